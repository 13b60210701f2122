//! The port of a program: the kernel's, and the count of what will still come there.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use windows_sys::Win32::System::IO::OVERLAPPED_ENTRY;
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

use super::iocp::{Iocp, key};
use super::record::Record;
use super::{Handle, millis_until, thread as own};
use crate::sync::Mutex;
use crate::sys::{Delivered, Ended, EngineKind, Request};
use crate::{Error, Result, trace};

/// The most workers that the kernel is told to let run.
pub(crate) const MAX_CONCURRENCY: usize = 1024;

pub(crate) struct Port {
    iocp: Iocp,
    concurrency: usize,
    /// Ends and messages that are queued, or will be: the port is not closed before they have been taken.
    due: AtomicUsize,
    /// Workers in the kernel's wait.
    waiting: AtomicUsize,
    /// To be cancelled when it is closed.
    handles: Mutex<HashMap<u64, Weak<Handle>>>,
    closed: AtomicBool,
    /// Held while the port is being closed, so that everybody who closes it waits for the end of that.
    closing: Mutex<()>,
    /// The thread that holds `closing`: user data that it drops may close the port in turn.
    closer: AtomicU64,
}

thread_local! {
    /// The port that this thread has dequeued from last, by its address.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// Says who closes a port, until it is dropped: a drop of user data may panic.
struct Closer<'a>(&'a AtomicU64);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.store(0, SeqCst);
    }
}

/// A message, as it lies in the kernel's queue: behind a thin pointer.
type Message = Box<dyn Any + Send>;

impl Port {
    pub(crate) fn new(
        concurrency: usize,
        _gather: Option<(u32, Duration)>,
        engine: Option<EngineKind>,
    ) -> Result<Arc<Self>> {
        if engine.is_some_and(|engine| engine != EngineKind::Iocp) {
            return Err(Error::OTHER_SYSTEMS_ENGINE);
        }
        Ok(Arc::new(Self {
            iocp: Iocp::new(concurrency)?,
            concurrency,
            due: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            handles: Mutex::default(),
            closed: AtomicBool::new(false),
            closing: Mutex::new(()),
            closer: AtomicU64::new(0),
        }))
    }

    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency
    }

    pub(crate) fn engine(&self) -> EngineKind {
        EngineKind::Iocp
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub(super) fn iocp(&self) -> &Iocp {
        &self.iocp
    }

    // Handles and what they have under way.

    /// A handle was associated.
    pub(super) fn enter(&self, handle: &Arc<Handle>) {
        self.handles.lock().insert(handle.id(), Arc::downgrade(handle));
    }

    pub(super) fn forget(&self, handle: u64) {
        self.handles.lock().remove(&handle);
    }

    /// An operation is about to start, or a message to be queued: counted first, looked afterwards. Who closes the port does it the other
    /// way round, so one of the two sees the other. Whether the port takes it.
    pub(super) fn admit(&self) -> bool {
        self.admit_more();
        if self.is_closed() {
            self.due.fetch_sub(1, SeqCst);
            return false;
        }
        true
    }

    /// An operation that was admitted will end once more.
    pub(super) fn admit_more(&self) {
        self.due.fetch_add(1, SeqCst);
    }

    /// The end of an operation for which the kernel queues no packet.
    pub(super) fn queue(&self, ended: Ended) {
        trace::queued(ended.id, 0);
        self.insist(key::ENDED, Box::into_raw(ended));
    }

    /// Queues what must not be lost. It is refused only when the system has no memory for the packet.
    fn insist<T>(&self, key: usize, payload: *mut T) {
        while self.iocp.post(key, 0, payload).is_err() {
            thread::yield_now();
        }
    }

    pub(crate) fn post(&self, message: Message) -> Result<()> {
        if !self.admit() {
            return Err(Error::ABANDONED_WAIT);
        }
        trace::posted();
        self.insist(key::POSTED, Box::into_raw(Box::new(message)));
        Ok(())
    }

    // Dequeueing.

    pub(crate) fn dequeue(&self, timeout: Option<Duration>) -> Result<Delivered> {
        // A timeout beyond the end of time is none.
        self.dequeue_until(timeout.and_then(|timeout| Instant::now().checked_add(timeout)), false)
    }

    /// As [`Self::dequeue`], and the thread's routines and APCs run meanwhile: [`Error::WAIT_IO_COMPLETION`]. A packet that is queued comes
    /// first, unless the thread has not dequeued here before (P14).
    pub(crate) fn dequeue_alertable(&self, timeout: Option<Duration>) -> Result<Delivered> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut first = LAST.get() != ptr::from_ref(self) as usize && !self.is_closed();
        loop {
            if !first {
                match self.dequeue_until(Some(Instant::now()), false) {
                    Err(Error::WAIT_TIMEOUT) => {}
                    delivered => return delivered,
                }
            }
            first = false;
            // Looked first, slept afterwards: what is queued from here on rings.
            if own::sleep(Some(Duration::ZERO)) {
                return Err(Error::WAIT_IO_COMPLETION);
            }
            match self.dequeue_until(deadline, true) {
                Err(Error::WAIT_IO_COMPLETION) => {} // it has rung
                Err(Error::WAIT_TIMEOUT) if own::sleep(Some(Duration::ZERO)) => return Err(Error::WAIT_IO_COMPLETION),
                delivered => return delivered,
            }
        }
    }

    fn dequeue_until(&self, deadline: Option<Instant>, alertable: bool) -> Result<Delivered> {
        LAST.set(ptr::from_ref(self) as usize);
        let mut entry = [OVERLAPPED_ENTRY::default()];
        loop {
            // Counted first, looked afterwards, as in `admit`.
            self.waiting.fetch_add(1, SeqCst);
            let taken = if self.is_closed() {
                Err(Error::ABANDONED_WAIT)
            } else {
                let _sleeping = trace::wait();
                self.iocp.take(&mut entry, millis_until(deadline), alertable)
            };
            self.waiting.fetch_sub(1, SeqCst);
            match taken {
                Ok(_) => {
                    let delivered = self.open(&entry[0]);
                    if self.is_closed() {
                        drop(delivered);
                        return Err(Error::ABANDONED_WAIT);
                    }
                    if let Some(delivered) = delivered {
                        return Ok(delivered);
                    }
                }
                // The kernel's clock may be a little early.
                Err(Error::WAIT_TIMEOUT) if deadline.is_none_or(|deadline| deadline > Instant::now()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a packet if one is queued.
    pub(crate) fn dequeue_queued(&self) -> Option<Delivered> {
        self.dequeue(Some(Duration::ZERO)).ok()
    }

    /// What a packet brings. `None`: nothing for the program.
    fn open(&self, entry: &OVERLAPPED_ENTRY) -> Option<Delivered> {
        let at = entry.lpOverlapped;
        let delivered = match entry.lpCompletionKey {
            key::RECORD => {
                // SAFETY: the packet is one of the kernel's, or an errand's, and is taken once.
                let (record, status) = unsafe { Record::reap(at) }?;
                let ended = Handle::reap(record, at, status, entry.dwNumberOfBytesTransferred as usize)?;
                trace::completed(ended.id, &ended.operation, &ended.handle, ended.result());
                trace::dequeued(ended.id);
                Delivered::Ended(ended)
            }
            key::ENDED => {
                // SAFETY: `queue` gave the request to this packet.
                let ended = unsafe { Box::from_raw(at.cast::<Request>()) };
                trace::dequeued(ended.id);
                Delivered::Ended(ended)
            }
            key::POSTED => {
                // SAFETY: `post` gave the message to this packet.
                Delivered::Posted(*unsafe { Box::from_raw(at.cast::<Message>()) })
            }
            _ => return None,
        };
        self.due.fetch_sub(1, SeqCst);
        Some(delivered)
    }

    /// A thread belongs to a port as long as the kernel says so.
    pub(crate) fn leave(&self) {}

    /// What was started is in the kernel.
    pub(crate) fn flush(&self) {}

    // Closing.

    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        // SAFETY: asks for a number, which is never 0.
        let this = u64::from(unsafe { GetCurrentThreadId() });
        if self.closer.load(SeqCst) == this {
            return; // from a drop of user data below; it goes on there
        }
        let _closing = self.closing.lock();
        self.closer.store(this, SeqCst);
        let _closer = Closer(&self.closer);
        let mut entries = [OVERLAPPED_ENTRY::default(); 64];
        loop {
            let waiting = self.waiting.load(SeqCst);
            if waiting == 0 && self.due.load(SeqCst) == 0 {
                return;
            }
            let handles: Vec<_> = self.handles.lock().values().filter_map(Weak::upgrade).collect();
            for handle in handles {
                handle.end_all();
            }
            // What lies there is taken out, wake-ups of the last round included: so each worker finds its own.
            while let Ok(taken) = self.iocp.take(&mut entries, 0, false) {
                for entry in &entries[..taken] {
                    drop(self.open(entry));
                }
            }
            for _ in 0..waiting {
                let _ = self.iocp.post(key::WAKE, 0, ptr::null_mut::<()>()); // repeated, if need be
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

// A port that was closed has nothing queued; one that was not has handles and a `CompletionPort` that keep it alive.
impl Drop for Port {
    fn drop(&mut self) {
        debug_assert_eq!(self.due.load(SeqCst), 0, "somebody waits for an end that will not come");
    }
}
