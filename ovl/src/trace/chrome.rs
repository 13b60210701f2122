//! The trace event format of Chrome: what each record becomes in the file.
//!
//! - A thread is a track with its name. Spans are slices on it, and so is what a worker does between two packets.
//! - An operation is a slice of its own from its start to its end, on a track with the operations of that kind of its handle.
//! - An arrow leads from the end of an operation to the routine, or to the worker, that was told of it.
//! - All else is a mark on the thread where it happened.
//!
//! <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Fields, Record, What};
use crate::platform;

const HEAD: &[u8] = b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
const FOOT: &[u8] = b"\n]}\n";

/// Operations that have ended and whose names are kept for who is told of them.
const MOST_ENDED: usize = 1 << 16;

/// The file is a whole JSON value whenever [`flush`](Self::flush) is not just writing: each time the new events go where its last
/// bytes were, with those bytes behind them, in one write. So it can be opened whatever ends the program.
pub(super) struct ChromeFile {
    file: File,
    /// How long the file is without `FOOT`.
    length: u64,
    /// To be written.
    pending: Vec<u8>,
    events: u64,
    process: u32,
    last_arrow: u64,
    /// By their ids.
    in_flight: HashMap<u64, Operation>,
    ended: BTreeMap<u64, Operation>,
    /// What each worker is doing, by thread.
    packets: HashMap<u32, Packet>,
}

struct Operation {
    name: String,
    /// From its ends that nobody has been told of yet. A standing accept has several.
    arrows: VecDeque<u64>,
}

/// A worker has taken a packet and not yet asked for the next.
struct Packet {
    since: Duration,
    name: String,
    arrow: Option<u64>,
    fields: Fields,
}

#[derive(Default, Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: &'static str,
    /// In microseconds, as all times of the format.
    ts: f64,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id2: Option<Local>,
    /// How far an instant reaches: `t`, its thread; `g`, everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bind_id: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    flow_in: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    flow_out: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<&'a Fields>,
}

/// An id of this process, so that viewers show what has it under the process.
#[derive(Serialize)]
struct Local {
    local: String,
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

impl ChromeFile {
    /// Creates it, without an event yet.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut file = Self {
            file: File::create(path)?,
            length: 0,
            pending: HEAD.to_vec(),
            events: 0,
            process: std::process::id(),
            last_arrow: 0,
            in_flight: HashMap::new(),
            ended: BTreeMap::new(),
            packets: HashMap::new(),
        };
        let name = Fields(vec![("name", json!("ovl serve"))]);
        file.event(Event { name: "process_name", ph: "M", args: Some(&name), ..Event::default() });
        file.flush()?;
        Ok(file)
    }

    /// How many events there are.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Brings the file up to date.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let new = self.pending.len() as u64;
        self.pending.extend_from_slice(FOOT);
        platform::write_all_at(&self.file, &self.pending, self.length)?;
        self.pending.clear();
        self.length += new;
        Ok(())
    }

    pub(super) fn add(&mut self, record: Record) {
        let Record { at, thread, what } = record;
        match what {
            What::Thread { name } => {
                let name = Fields(vec![("name", Value::String(name))]);
                self.event(Event { name: "thread_name", ph: "M", tid: thread, args: Some(&name), ..Event::default() });
            }
            What::Event { name, fields } => match (name, fields.number("id")) {
                ("issued", Some(id)) => self.issued(at, thread, id, &fields),
                ("completed", Some(id)) => self.completed(at, thread, id, &fields),
                ("dequeued", Some(id)) => {
                    self.asks_again(at, thread);
                    let (name, arrow) = self.told(id, "packet");
                    self.packets.insert(thread, Packet { since: at, name, arrow, fields });
                }
                _ => self.mark(name, "t", at, thread, &fields),
            },
            What::Span { name, fields, took } => {
                if matches!(name, "wait" | "alertable") {
                    self.asks_again(at, thread);
                }
                let (name, arrow) = match fields.number("id") {
                    Some(id) => self.told(id, name),
                    None => (name.to_owned(), None),
                };
                self.slice(&name, at, took, thread, arrow, &fields);
            }
        }
    }

    /// Ends everything that has begun, at `at`, and says so if that is because of a limit.
    pub(super) fn end(&mut self, at: Duration, limit: Option<usize>) {
        let mut threads: Vec<_> = self.packets.keys().copied().collect();
        threads.sort_unstable();
        threads.into_iter().for_each(|thread| self.asks_again(at, thread));
        let mut in_flight: Vec<_> = self.in_flight.drain().collect();
        in_flight.sort_unstable_by_key(|(id, _)| *id);
        let note = Fields(vec![("note", json!("was in flight when the trace ended"))]);
        for (id, operation) in in_flight {
            self.operation(&operation.name, "e", id, at, self.process, &note);
        }
        if let Some(most) = limit {
            let text = format!("The limit of {most} records is reached. Nothing that came later is in this trace.");
            self.mark(&text, "g", at, self.process, &Fields::default());
        }
    }

    fn issued(&mut self, at: Duration, thread: u32, id: u64, fields: &Fields) {
        let kind = fields.text("operation").unwrap_or("operation");
        let name = match fields.number("handle") {
            Some(handle) => format!("{kind} (handle {handle})"),
            None => kind.to_owned(),
        };
        self.operation(&name, "b", id, at, thread, fields);
        self.mark("issued", "t", at, thread, fields);
        self.in_flight.insert(id, Operation { name, arrows: VecDeque::new() });
    }

    fn completed(&mut self, at: Duration, thread: u32, id: u64, fields: &Fields) {
        let mut arrow = None;
        if let Some(mut operation) = self.in_flight.remove(&id) {
            self.last_arrow += 1;
            arrow = Some(self.last_arrow);
            operation.arrows.push_back(self.last_arrow);
            if fields.text("operation") == Some("accept_each") {
                self.operation(&operation.name, "n", id, at, thread, fields);
                self.in_flight.insert(id, operation);
            } else {
                self.operation(&operation.name, "e", id, at, thread, fields);
                self.ended.insert(id, operation);
                if self.ended.len() > MOST_ENDED {
                    self.ended.pop_first();
                }
            }
        }
        // A slice without length, for a mark can have no arrow.
        self.event(Event {
            name: "completed",
            ph: "X",
            ts: micros(at),
            tid: thread,
            dur: Some(0.0),
            flow_out: arrow.is_some(),
            bind_id: arrow.map(hex),
            args: Some(fields),
            ..Event::default()
        });
    }

    /// Somebody is told of an end: what to call that, and the arrow that leads there.
    fn told(&mut self, id: u64, what: &str) -> (String, Option<u64>) {
        let Some(operation) = self.in_flight.get_mut(&id).or_else(|| self.ended.get_mut(&id)) else {
            return (what.to_owned(), None);
        };
        let told = (format!("{what}: {}", operation.name), operation.arrows.pop_front());
        if operation.arrows.is_empty() {
            self.ended.remove(&id);
        }
        told
    }

    /// A thread waits again or takes the next packet, so it is done with the last.
    fn asks_again(&mut self, at: Duration, thread: u32) {
        if let Some(Packet { since, name, arrow, fields }) = self.packets.remove(&thread) {
            self.slice(&name, since, at.saturating_sub(since), thread, arrow, &fields);
        }
    }

    fn slice(&mut self, name: &str, at: Duration, took: Duration, thread: u32, arrow: Option<u64>, fields: &Fields) {
        self.event(Event {
            name,
            ph: "X",
            ts: micros(at),
            tid: thread,
            dur: Some(micros(took)),
            flow_in: arrow.is_some(),
            bind_id: arrow.map(hex),
            args: Some(fields),
            ..Event::default()
        });
    }

    fn operation(&mut self, name: &str, ph: &'static str, id: u64, at: Duration, thread: u32, fields: &Fields) {
        self.event(Event {
            name,
            ph,
            ts: micros(at),
            tid: thread,
            cat: Some("operation"),
            id2: Some(Local { local: hex(id) }),
            args: Some(fields),
            ..Event::default()
        });
    }

    fn mark(&mut self, name: &str, scope: &'static str, at: Duration, thread: u32, fields: &Fields) {
        let ts = micros(at);
        self.event(Event { name, ph: "i", ts, tid: thread, s: Some(scope), args: Some(fields), ..Event::default() });
    }

    fn event(&mut self, event: Event<'_>) {
        if self.events > 0 {
            self.pending.extend_from_slice(b",\n");
        }
        let event = Event { pid: self.process, ..event };
        serde_json::to_writer(&mut self.pending, &event).expect("it is plain data, and a Vec takes it");
        self.events += 1;
    }
}

fn hex(id: u64) -> String {
    format!("{id:#x}")
}
