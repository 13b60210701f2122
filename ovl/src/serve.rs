//! `ovl serve`: what the echo servers of all models have in common.

mod port;
mod roster;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use overlapped::Error;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::cli::{Model, Serve};
use crate::{limits, signals, text};

/// Serves until a signal ends it and returns the exit code.
pub(crate) fn run(options: &Serve) -> Result<u8> {
    if options.end_with_parent {
        set_parent_process_death_signal(Some(Signal::TERM)).context("cannot follow the parent process")?;
    }
    limits::raise_descriptors();
    let started = Instant::now();
    let summary = match options.model {
        Model::Port => port::serve(options)?,
    };
    say(format_args!("{}", Stopped { summary, after: started.elapsed() }));
    Ok(0)
}

/// Prints a line at once. That nobody reads it any more is no reason to end.
fn say(line: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The key of every handle: what went through it.
///
/// Counted here and summed up at the end, so that workers share no counter. One operation of a connection is outstanding
/// at a time, which is why a load and a store do for an addition.
#[derive(Debug, Default)]
struct Tally {
    /// The connection's number, from 1; 0 for other handles.
    number: u64,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// A receive is outstanding, and so no send.
    receiving: AtomicBool,
}

impl Tally {
    fn of(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Counts an echo of this many bytes.
    fn echoed(&self, bytes: usize) {
        self.messages.store(self.messages.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.bytes.store(self.bytes.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
    }

    /// The same, where several workers may count at once.
    fn echoed_shared(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What a server did in its life.
#[derive(Debug, Default)]
struct Summary {
    connections: u64,
    peak: u64,
    messages: u64,
    bytes: u64,
    /// Connections closed for idleness.
    idle: u64,
    /// Connections that the end of the grace period cut off.
    cut_off: u64,
    errors: BTreeMap<u32, u64>,
}

impl Summary {
    fn add(&mut self, tally: &Tally) {
        self.messages += tally.messages.load(Ordering::Relaxed);
        self.bytes += tally.bytes.load(Ordering::Relaxed);
    }

    fn add_error(&mut self, error: Error) {
        *self.errors.entry(error.code()).or_default() += 1;
    }
}

/// The summary as it is printed.
struct Stopped {
    summary: Summary,
    after: Duration,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { summary, after } = self;
        let number = text::thousands;
        writeln!(f, "stopped after {}", text::time(*after))?;
        writeln!(f, "  connections  {} (peak {})", number(summary.connections), number(summary.peak))?;
        writeln!(f, "  messages     {}", number(summary.messages))?;
        writeln!(f, "  bytes        {} ({})", number(summary.bytes), text::size(summary.bytes))?;
        write!(f, "  errors       {}", number(summary.errors.values().sum()))?;
        for (code, times) in &summary.errors {
            write!(f, "\n    {} times: {}", number(*times), Error::from_code(*code))?;
        }
        if summary.idle > 0 {
            write!(f, "\n  idle         {} closed by --idle-timeout", text::count(summary.idle, "connection"))?;
        }
        if summary.cut_off > 0 {
            write!(
                f,
                "\n  cut off      {} still busy when --grace was over",
                text::count(summary.cut_off, "connection")
            )?;
        }
        Ok(())
    }
}

/// Calls `first` at the first SIGINT or SIGTERM.
fn on_signal(first: impl FnOnce(&'static str) + Send + 'static) -> Result<()> {
    signals::two_stage(first).context("cannot catch signals")
}
