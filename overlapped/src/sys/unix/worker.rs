//! A thread that takes packets from a port. It becomes one with its first dequeue and belongs to one port at most.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};

use super::{Port, host};

const NO_LANE: usize = usize::MAX;

pub(super) struct Worker {
    port: Weak<Port>,
    thread: Thread,
    /// The kernel's id of the thread.
    pub(super) tid: i32,
    /// The lane that it holds. Written under the port's scheduling lock.
    lane: AtomicUsize,
}

/// Leaves the port when the thread ends.
struct Membership(Arc<Worker>);

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(port) = self.0.port.upgrade() {
            port.dismiss(&self.0);
        }
    }
}

thread_local! {
    static MEMBERSHIP: RefCell<Option<Membership>> = const { RefCell::new(None) };
    static TID: Cell<i32> = const { Cell::new(0) };
    /// The lane that this thread held last, to be looked at first.
    static LAST_LANE: Cell<usize> = const { Cell::new(0) };
}

/// The kernel's id of the calling thread.
#[inline]
pub(super) fn this_tid() -> i32 {
    match TID.get() {
        0 => {
            let tid = host::thread_number();
            TID.set(tid);
            tid
        }
        tid => tid,
    }
}

impl Worker {
    /// This thread as a worker of `port`; it stops being one of another.
    pub(super) fn join(port: &Arc<Port>) -> Arc<Self> {
        if let Some(worker) = Self::of(port) {
            return worker;
        }
        let worker = Arc::new(Self {
            port: Arc::downgrade(port),
            thread: thread::current(),
            tid: this_tid(),
            lane: AtomicUsize::new(NO_LANE),
        });
        let former = MEMBERSHIP.replace(Some(Membership(Arc::clone(&worker))));
        drop(former); // outside the cell: leaving the other port may run anything
        worker
    }

    /// Whether this thread is a worker of `port`.
    pub(super) fn is_of(port: &Arc<Port>) -> bool {
        Self::of(port).is_some()
    }

    /// This thread, if it is a worker of `port`.
    fn of(port: &Arc<Port>) -> Option<Arc<Self>> {
        MEMBERSHIP.with_borrow(|membership| {
            let worker = &membership.as_ref()?.0;
            std::ptr::eq(worker.port.as_ptr(), Arc::as_ptr(port)).then(|| Arc::clone(worker))
        })
    }

    /// The lane of `port` that this thread holds.
    #[inline]
    pub(super) fn current_lane(port: &Port) -> Option<usize> {
        let (lanes, tid) = (port.lanes(), this_tid());
        let holds = |lane: &usize| lanes[*lane].tid.load(Ordering::Relaxed) == tid;
        let last = LAST_LANE.get();
        if last < lanes.len() && holds(&last) {
            return Some(last);
        }
        let lane = (0..lanes.len()).find(holds)?;
        LAST_LANE.set(lane);
        Some(lane)
    }

    /// The port that this thread is a worker of.
    pub(super) fn port() -> Option<Arc<Port>> {
        // A thread that is ending is no worker any more.
        MEMBERSHIP.try_with(|membership| membership.borrow().as_ref()?.0.port.upgrade()).ok().flatten()
    }

    /// This thread is no longer a worker of `port`.
    pub(super) fn leave(port: &Arc<Port>) {
        if Self::is_of(port) {
            drop(MEMBERSHIP.take());
        }
    }

    #[inline]
    pub(super) fn lane(&self) -> Option<usize> {
        match self.lane.load(Ordering::SeqCst) {
            NO_LANE => None,
            lane => Some(lane),
        }
    }

    pub(super) fn set_lane(&self, lane: Option<usize>) {
        self.lane.store(lane.unwrap_or(NO_LANE), Ordering::SeqCst);
    }

    pub(super) fn unpark(&self) {
        self.thread.unpark();
    }

    /// Ends its wait for a packet.
    pub(super) fn disturb(&self) {
        if let Some(port) = self.port.upgrade() {
            port.disturb(self);
        }
    }
}
