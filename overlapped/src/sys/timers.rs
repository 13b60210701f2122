//! The deadlines of operations: of a port's, or of all free handles'.
//!
//! A handle has at most one live entry here: the earliest moment at which one of its operations may be overdue. It is not taken
//! out when the operation ends in time, but looked at when it is due. So an operation with a deadline costs next to nothing.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{OnceLock, Weak};
use std::time::{Duration, Instant};

use super::Handle;
use crate::sync::Mutex;

pub(super) struct Timers {
    heap: Mutex<BinaryHeap<Entry>>,
    /// The [`Moment`] of the first entry; 0 if there is none.
    next: AtomicU64,
}

struct Entry {
    at: Instant,
    handle: Weak<Handle>,
}

impl Ord for Entry {
    /// The earliest is the greatest: a `BinaryHeap` gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

/// A moment in eight bytes: nanoseconds since [`epoch`], plus 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(NonZeroU64);

impl Moment {
    /// What lies before the epoch is the epoch. `None` beyond the end of time.
    fn of(at: Instant) -> Option<Self> {
        let nanos = at.saturating_duration_since(epoch()).as_nanos();
        Some(Self(NonZeroU64::MIN.checked_add(nanos.try_into().ok()?)?))
    }

    /// `None` beyond the end of time.
    #[cfg_attr(windows, allow(dead_code, reason = "there requests are not that small"))]
    pub(super) fn in_future(timeout: Duration) -> Option<Self> {
        Self::of(Instant::now().checked_add(timeout)?)
    }

    pub(super) fn instant(self) -> Instant {
        epoch() + Duration::from_nanos(self.0.get() - 1)
    }
}

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

impl Timers {
    pub(super) const fn new() -> Self {
        Self { heap: Mutex::new(BinaryHeap::new()), next: AtomicU64::new(0) }
    }

    /// Returns whether it is due before all others.
    pub(super) fn add(&self, at: Instant, handle: Weak<Handle>) -> bool {
        let mut heap = self.heap.lock();
        let first = heap.peek().is_none_or(|next| at < next.at);
        heap.push(Entry { at, handle });
        self.publish(&heap);
        first
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        NonZeroU64::new(self.next.load(SeqCst)).map(|next| Moment(next).instant())
    }

    /// Lets every handle that is due look at its operations.
    pub(super) fn fire(&self) {
        if self.next().is_none_or(|next| next > Instant::now()) {
            return;
        }
        let now = Instant::now();
        loop {
            let due = {
                let mut heap = self.heap.lock();
                let due = if heap.peek().is_some_and(|entry| entry.at <= now) { heap.pop() } else { None };
                self.publish(&heap);
                due
            };
            let Some(entry) = due else { return };
            if let Some(handle) = entry.handle.upgrade() {
                handle.expire(now);
            }
        }
    }

    #[cfg_attr(windows, allow(dead_code, reason = "there no port has timers of its own"))]
    pub(super) fn clear(&self) {
        let entries = std::mem::take(&mut *self.heap.lock());
        self.next.store(0, SeqCst);
        drop(entries);
    }

    fn publish(&self, heap: &BinaryHeap<Entry>) {
        let next = heap.peek().and_then(|entry| Moment::of(entry.at));
        self.next.store(next.map_or(0, |next| next.0.get()), SeqCst);
    }
}
