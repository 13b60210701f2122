//! A thread that hears of the ends of operations itself: its queue, and its waits.
//!
//! Each thread that uses routines, APCs or waits has a *desk*. Its queue takes APCs and ends alike, first in, first out, and lies here, not in
//! the kernel: so what a thread never came to is dropped with it, and a panic goes through the wait that it was in. What the kernel is given is
//! an APC that does nothing, the *doorbell*: it ends the thread's alertable wait, whatever that is.

use std::cell::{Cell as Slot, RefCell};
use std::collections::VecDeque;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use slab::Slab;
use windows_sys::Win32::System::Threading::{QueueUserAPC, SleepEx};

use super::library::library;
use super::record::this_thread;
use super::{Handle, Way, millis_until};
use crate::sync::Mutex;
use crate::sys::{Cell, Ended, OperationId};
use crate::{Error, Result, trace};

thread_local! {
    static HERE: Desk = Desk::new();
    /// The thread that this one was to become before it began.
    static GIVEN: Slot<Option<Arc<Being>>> = const { Slot::new(None) };
}

/// How a wait ended.
pub(super) enum Outcome<T> {
    /// It found what it looked for.
    Found(T),
    /// Routines or APCs ran.
    Ran,
    TimeUp,
}

/// A thread, as others know it.
pub(crate) struct Being {
    queue: Mutex<Queue>,
    /// Its handle, once it runs.
    native: OnceLock<OwnedHandle>,
    /// An APC is on its way to it, and it has not looked since.
    rung: AtomicBool,
}

#[derive(Default)]
struct Queue {
    ended: bool,
    items: VecDeque<Item>,
}

enum Item {
    Apc(Box<dyn FnOnce() + Send>),
    Routine { at: usize, ended: Ended },
}

struct Routine {
    routine: Box<dyn FnOnce(Ended)>,
    /// What it waits for.
    operation: Option<(Weak<Handle>, OperationId)>,
}

/// What a thread has for itself.
pub(super) struct Desk {
    being: Arc<Being>,
    /// They stay on this thread, whoever ends their operations. A request knows only the place.
    routines: RefCell<Slab<Routine>>,
    /// Inside `block_on`.
    blocking: Slot<bool>,
}

impl Being {
    fn new() -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), native: OnceLock::new(), rung: AtomicBool::new(false) })
    }

    /// Queues an item, unless the thread has ended.
    fn queue(&self, item: Item) -> std::result::Result<(), Item> {
        let mut queue = self.queue.lock();
        if queue.ended {
            return Err(item);
        }
        queue.items.push_back(item);
        drop(queue);
        self.ring();
        Ok(())
    }

    /// Queues the end of an operation whose routine the thread keeps at this place.
    pub(super) fn queue_routine(&self, at: usize, ended: Ended) -> std::result::Result<(), Ended> {
        match self.queue(Item::Routine { at, ended }) {
            Err(Item::Routine { ended, .. }) => Err(ended),
            _ => Ok(()),
        }
    }

    /// Ends the thread's alertable wait, the present one or the next.
    ///
    /// The item is queued first, and the doorbell rung afterwards, if nobody has; the thread forgets the ringing first and looks into the
    /// queue afterwards: so one of the two sees the other.
    fn ring(&self) {
        if let Some(native) = self.native.get()
            && !self.rung.swap(true, SeqCst)
        {
            // SAFETY: the routine does nothing, and needs nothing. A thread that has ended refuses it.
            unsafe { QueueUserAPC(Some(doorbell), native.as_raw_handle(), 0) };
        }
    }

    fn next(&self) -> Option<Item> {
        self.queue.lock().items.pop_front()
    }

    fn len(&self) -> usize {
        self.queue.lock().items.len()
    }
}

// SAFETY: it asks for nothing; `unsafe` is a part of the type that the kernel's callers have.
unsafe extern "system" fn doorbell(_: usize) {}

/// Works with the desk of this thread, or with one made for the purpose if the thread is ending.
pub(super) fn with_desk<R>(work: impl FnOnce(&Desk) -> R) -> R {
    let mut work = Some(work);
    let mut done = HERE.try_with(|desk| work.take().map(|work| work(desk))).ok().flatten();
    if let Some(work) = work {
        done = Some(work(&Desk::new()));
    }
    done.expect("one of the two has worked")
}

impl Desk {
    fn new() -> Self {
        let being = GIVEN.try_with(Slot::take).ok().flatten().unwrap_or_else(Being::new);
        if let Some(native) = this_thread() {
            let _ = being.native.set(native);
        }
        Self { being, routines: RefCell::default(), blocking: Slot::new(false) }
    }

    /// Waits until `look` finds something, time is up or, if it is alertable, routines or APCs have run. `sleep` is the kernel's wait, for
    /// so many milliseconds at most: it, too, may find something.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        alertable: bool,
        mut look: impl FnMut() -> Option<T>,
        mut sleep: impl FnMut(u32) -> Option<T>,
    ) -> Outcome<T> {
        let mut slept = false;
        loop {
            if let Some(found) = look() {
                return Outcome::Found(found);
            }
            if alertable {
                self.being.rung.store(false, SeqCst);
                if self.run() {
                    return Outcome::Ran;
                }
            }
            let expired = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if expired && slept {
                return Outcome::TimeUp;
            }
            slept = expired;
            // Whoever sets off what `look` finds rings afterwards.
            if let Some(found) = look() {
                return Outcome::Found(found);
            }
            let _sleeping = trace::wait();
            if let Some(found) = sleep(millis_until(deadline)) {
                return Outcome::Found(found);
            }
        }
    }

    /// Runs everything that is queued, and what is queued meanwhile, within reason: a flood of APCs must not keep the thread here.
    /// Returns whether there was anything.
    fn run(&self) -> bool {
        const MORE: usize = 8192;
        let mut left = self.being.len();
        let any = left > 0;
        left += MORE;
        while left > 0
            && let Some(item) = self.being.next()
        {
            left -= 1;
            self.run_one(item);
        }
        any
    }

    fn run_one(&self, item: Item) {
        match item {
            Item::Apc(apc) => {
                let _running = trace::apc();
                apc();
            }
            Item::Routine { at, ended } => {
                let routine = self.routines.borrow_mut().remove(at).routine;
                let _running = trace::routine(ended.id);
                routine(ended);
            }
        }
    }
}

impl Drop for Desk {
    /// The thread ends: the operations of its routines are cancelled, and what is queued for it is dropped.
    fn drop(&mut self) {
        let queued = {
            let mut queue = self.being.queue.lock();
            queue.ended = true;
            std::mem::take(&mut queue.items)
        };
        let mut waited_for = Vec::new();
        let routines = std::mem::take(&mut *self.routines.borrow_mut());
        for (_, routine) in routines {
            waited_for.extend(routine.operation);
        }
        for item in queued {
            match item {
                Item::Apc(apc) => drop(apc),
                Item::Routine { ended, .. } => Handle::take_back(ended),
            }
        }
        for (handle, operation) in waited_for {
            if let Some(handle) = handle.upgrade() {
                handle.abandon(operation);
            }
        }
    }
}

// The ways of routines, events and futures.

/// The way of a routine that is to run on this thread.
pub(crate) fn routine(routine: impl FnOnce(Ended) + 'static) -> Result<Way> {
    library()?;
    let mut routine = Some(routine);
    HERE.try_with(|desk| {
        let routine = Box::new(routine.take().expect("taken once"));
        let at = desk.routines.borrow_mut().insert(Routine { routine, operation: None });
        Ok(Way::Routine { thread: Arc::clone(&desk.being), at })
    })
    .unwrap_or(Err(Error::GEN_FAILURE)) // the thread is ending
}

/// Says what a routine of this thread waits for.
pub(super) fn routine_of(at: usize, handle: &Arc<Handle>, operation: OperationId) {
    let _ = HERE.try_with(|desk| {
        if let Some(routine) = desk.routines.borrow_mut().get_mut(at) {
            routine.operation = Some((Arc::downgrade(handle), operation));
        }
    });
}

/// The way of a cell that the library's thread fills.
pub(crate) fn reaped(cell: &Arc<Cell>) -> Result<Way> {
    library()?;
    Ok(Way::Cell(Arc::clone(cell)))
}

/// The way of a cell that is looked into by polling: the same.
pub(crate) fn polled(cell: &Arc<Cell>) -> Result<Way> {
    reaped(cell)
}

/// Sleeps alertably. Returns whether routines or APCs ran.
pub(crate) fn sleep(timeout: Option<Duration>) -> bool {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let _alertable = trace::alertable(timeout);
    with_desk(|desk| matches!(desk.wait(deadline, true, || None::<()>, sleep_alertably), Outcome::Ran))
}

fn sleep_alertably<T>(timeout_ms: u32) -> Option<T> {
    // SAFETY: APCs of this crate do nothing; those of others are theirs.
    unsafe { SleepEx(timeout_ms, 1) };
    None
}

/// What was started is in the kernel.
pub(crate) fn flush() {}

/// A thread to which APCs can be queued.
#[derive(Clone)]
pub(crate) struct Thread(Arc<Being>);

impl Thread {
    pub(crate) fn current() -> Self {
        Self(with_desk(|desk| Arc::clone(&desk.being)))
    }

    /// A thread that has not begun.
    pub(crate) fn unborn() -> Self {
        Self(Being::new())
    }

    /// The calling thread is the one.
    pub(crate) fn become_this(&self) {
        GIVEN.set(Some(Arc::clone(&self.0)));
        HERE.with(|_| ());
    }

    /// Queues an APC. `false`: the thread has ended.
    pub(crate) fn queue(&self, apc: Box<dyn FnOnce() + Send>) -> bool {
        trace::apc_queued();
        self.0.queue(Item::Apc(apc)).is_ok()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.queue.lock().ended
    }
}

/// A thread is inside `block_on`.
pub(crate) struct Blocking(Arc<Parked>);

struct Parked {
    woken: AtomicBool,
    being: Arc<Being>,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Set first, rung afterwards; the other side forgets the ringing and then looks.
        if !self.woken.swap(true, SeqCst) {
            self.being.ring();
        }
    }
}

impl Blocking {
    pub(crate) fn begin() -> Self {
        HERE.with(|desk| {
            assert!(!desk.blocking.replace(true), "block_on was called from within itself");
            Self(Arc::new(Parked { woken: AtomicBool::new(false), being: Arc::clone(&desk.being) }))
        })
    }

    pub(crate) fn waker(&self) -> Waker {
        Arc::clone(&self.0).into()
    }

    /// Waits, alertably, until the waker has been called.
    pub(crate) fn wait(&self) {
        let woken = || self.0.woken.swap(false, SeqCst).then_some(());
        HERE.with(|desk| {
            let _alertable = trace::alertable(None);
            while !matches!(desk.wait(None, true, woken, sleep_alertably), Outcome::Found(())) {}
        });
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        let _ = HERE.try_with(|desk| desk.blocking.set(false));
    }
}
