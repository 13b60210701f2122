//! What a server has done: counted for each connection, summed up at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use overlapped::Error;

use crate::text;

/// What went through a handle.
///
/// Counted here and summed up when it is closed, so that threads share no counter. One operation of a connection is outstanding
/// at a time, which is why a load and a store do for an addition.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The connection's number, from 1; 0 for other handles.
    pub(super) number: u64,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// A receive is outstanding, and so no send.
    pub(super) receiving: AtomicBool,
}

impl Tally {
    pub(super) fn of(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Counts an echo of this many bytes.
    pub(super) fn echoed(&self, bytes: usize) {
        self.messages.store(self.messages.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.bytes.store(self.bytes.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
    }

    /// The same, where several threads may count at once.
    pub(super) fn echoed_shared(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What a server did in its life.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) connections: u64,
    /// Connections at once, at most.
    pub(super) peak: u64,
    messages: u64,
    bytes: u64,
    /// Connections closed for idleness.
    pub(super) idle: u64,
    /// Connections that the end of the grace period cut off.
    pub(super) cut_off: u64,
    errors: BTreeMap<u32, u64>,
}

impl Summary {
    pub(super) fn add(&mut self, tally: &Tally) {
        self.messages += tally.messages.load(Ordering::Relaxed);
        self.bytes += tally.bytes.load(Ordering::Relaxed);
    }

    pub(super) fn add_error(&mut self, error: Error) {
        *self.errors.entry(error.code()).or_default() += 1;
    }
}

/// The summary as it is printed.
pub(super) struct Stopped {
    pub(super) summary: Summary,
    pub(super) after: Duration,
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
