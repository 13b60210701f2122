//! `--trace FILE`: what the library does, recorded for Perfetto and `chrome://tracing`.
//!
//! The library tells `tracing` (docs/tracing.md lists what). Here a layer makes a record of each event and span on the thread where
//! it happened, and a thread of its own turns records into the file, ten times a second.

mod chrome;

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{self, Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::registry::LookupSpan;

use crate::{platform, text};
use chrome::ChromeFile;

/// What the library's events and spans have as their target.
const TARGET: &str = "overlapped";

/// A trace has no more records than this, which makes a file of some 100 MB: what viewers still open.
const MOST_RECORDS: usize = 500_000;

/// How often records go to the file.
const FLUSH: Duration = Duration::from_millis(100);

/// Runs `serve`, and writes a trace of it to `file`, if there is one.
pub(crate) fn recorded<T>(file: Option<&Path>, serve: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(file) = file else { return serve() };
    let failure = || format!("cannot write the trace to {}", file.display());
    let trace = Trace::start(file, MOST_RECORDS).with_context(failure)?;
    set_global_default(registry().with(trace.layer())).context("cannot listen to the library")?;
    let served = serve()?;
    let Written { events, full } = trace.finish().with_context(failure)?;
    let limit = if full { ", which is all that a trace may hold: it ends before the server did" } else { "" };
    eprintln!(
        "ovl: {} has {} events{limit}; open it at https://ui.perfetto.dev or chrome://tracing",
        file.display(),
        text::thousands(events),
    );
    Ok(served)
}

/// Something that happened.
struct Record {
    /// Since the start of the trace. Of a span: its start.
    at: Duration,
    thread: u32,
    what: What,
}

enum What {
    /// The thread makes its first record.
    Thread {
        name: String,
    },
    Event {
        name: &'static str,
        fields: Fields,
    },
    Span {
        name: &'static str,
        fields: Fields,
        took: Duration,
    },
}

/// What an event or span says besides its name.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn number(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(field, _)| *field == name).and_then(|(_, value)| value.as_u64())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| *field == name).and_then(|(_, value)| value.as_str())
    }

    fn push(&mut self, field: &Field, value: impl Into<Value>) {
        // The message is the name once more, for subscribers that print.
        if field.name() != "message" {
            self.0.push((field.name(), value.into()));
        }
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            self.push(field, format!("{value:?}"));
        }
    }
}

/// The records that are not in the file yet.
#[derive(Default)]
struct Records {
    unwritten: Vec<Record>,
    threads: HashSet<u32>,
    in_all: usize,
}

struct Shared {
    start: Instant,
    most_records: usize,
    records: Mutex<Records>,
    /// Nothing more is recorded.
    over: AtomicBool,
}

impl Shared {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whether `records` holds all that a trace may hold.
    fn is_full(&self, records: &Records) -> bool {
        records.in_all >= self.most_records
    }

    fn record(&self, at: Duration, what: What) {
        let thread = this_thread();
        let mut records = self.records();
        if self.is_over() {
            return;
        }
        if records.threads.insert(thread) {
            let name = thread::current().name().unwrap_or("thread").to_owned();
            records.unwritten.push(Record { at, thread, what: What::Thread { name } });
        }
        records.unwritten.push(Record { at, thread, what });
        records.in_all += 1;
        if self.is_full(&records) {
            self.over.store(true, Ordering::Relaxed);
        }
    }
}

/// The number by which the system, and so any other tool, knows this thread.
fn this_thread() -> u32 {
    thread_local! {
        static NUMBER: Cell<u32> = const { Cell::new(0) };
    }
    if NUMBER.get() == 0 {
        NUMBER.set(platform::thread_number());
    }
    NUMBER.get()
}

/// A trace that is being recorded.
struct Trace {
    shared: Arc<Shared>,
    writer: JoinHandle<io::Result<Written>>,
}

/// What a finished trace has become.
struct Written {
    events: u64,
    full: bool,
}

impl Trace {
    fn start(file: &Path, most_records: usize) -> io::Result<Self> {
        let mut file = ChromeFile::create(file)?;
        let (records, over) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { start: Instant::now(), most_records, records, over });
        let theirs = Arc::clone(&shared);
        let writer = thread::Builder::new().name("trace".to_owned()).spawn(move || {
            let written = theirs.write(&mut file);
            theirs.over.store(true, Ordering::Relaxed); // if it failed: nobody takes the records any more
            written
        })?;
        Ok(Self { shared, writer })
    }

    fn layer(&self) -> Recorder {
        Recorder(Arc::clone(&self.shared))
    }

    fn finish(self) -> io::Result<Written> {
        self.shared.over.store(true, Ordering::Relaxed);
        self.writer.thread().unpark();
        self.writer.join().expect("the thread that writes does not panic")
    }
}

impl Shared {
    /// What the thread that writes does, until the trace is over.
    fn write(&self, file: &mut ChromeFile) -> io::Result<Written> {
        loop {
            thread::park_timeout(FLUSH);
            let (unwritten, full, over) = {
                let mut records = self.records();
                (std::mem::take(&mut records.unwritten), self.is_full(&records), self.is_over())
            };
            let last = unwritten.last().map(|record| record.at);
            unwritten.into_iter().for_each(|record| file.add(record));
            if over {
                // A full trace ends where it became full; what came later is not in it.
                let end = if full { last } else { None }.unwrap_or_else(|| self.now());
                file.end(end, full.then_some(self.most_records));
            }
            file.flush()?;
            if over {
                return Ok(Written { events: file.events(), full });
            }
        }
    }
}

/// Hears what the library tells.
struct Recorder(Arc<Shared>);

/// When a span was entered.
struct Entered(Duration);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // "Sometimes", since `enabled` says no when the trace is over.
        if metadata.target() == TARGET { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: layer::Context<'_, S>) -> bool {
        metadata.target() == TARGET && !self.0.is_over()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        let at = self.0.now();
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.record(at, What::Event { name: event.metadata().name(), fields });
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: layer::Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_enter(&self, id: &Id, context: layer::Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(Entered(self.0.now()));
        }
    }

    fn on_exit(&self, id: &Id, context: layer::Context<'_, S>) {
        let end = self.0.now();
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let (Some(Entered(at)), Some(fields)) = (extensions.remove(), extensions.remove()) {
            self.0.record(at, What::Span { name: span.name(), fields, took: end - at });
        }
    }
}

#[cfg(test)]
mod tests;
