//! The port: lanes, the workers that wait, and what the program posts itself.
//!
//! A worker needs a lane to run. It sleeps in its lane's engine when there is nothing to do; a worker without a lane sleeps
//! aside. Both stand in one stack, and the last to come is the first to be released (P02). The scheduling lock is taken when a
//! worker goes to sleep or wakes, never for a packet.
//!
//! Lock order: a lane, what is seldom needed of a handle, and last the scheduling lock (a buffer that goes back to its pool may wake a
//! lane). The posted queue is taken with none of these held.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::engine::{Engine, Mode, Wait};
use super::lane::{Books, Holder, Lane};
use super::monitor;
use super::thread as own;
use super::timers::Timers;
use super::worker::{Worker, this_tid};
use crate::sync::Mutex;
use crate::sys::{Delivered, Ended, EngineKind};
use crate::{Error, Result, trace};

/// The most lanes of a port.
pub(crate) const MAX_CONCURRENCY: usize = 1024;

/// After so many packets a worker lets the engine see what was started, even if more packets wait.
const BATCH: u32 = 256;

pub(crate) struct Port {
    lanes: Box<[Lane]>,
    gather: Option<(u32, Duration)>,
    engine: EngineKind,
    sched: Mutex<Sched>,
    /// How many workers wait, to be looked at without the lock.
    waiting: AtomicUsize,
    posted: Mutex<VecDeque<Box<dyn Any + Send>>>,
    posted_len: AtomicUsize,
    pub(super) timers: Timers,
    /// Where the next operation of a thread that is no worker goes.
    rotation: AtomicUsize,
    closed: AtomicBool,
    /// Held while the port is being closed, so that everybody who closes it waits for the end of that.
    closing: Mutex<()>,
    /// The thread that holds `closing`: user data that it drops may close the port in turn.
    closer: AtomicI32,
}

/// Says who closes a port, until it is dropped: a drop of user data may panic.
struct Closer<'a>(&'a AtomicI32);

impl<'a> Closer<'a> {
    fn new(closer: &'a AtomicI32, this: i32) -> Self {
        closer.store(this, Ordering::SeqCst);
        Self(closer)
    }
}

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Sched {
    /// Workers that wait; the last to come is at the end. Some hold a lane and sleep in its engine.
    waiters: Vec<Arc<Worker>>,
    /// Who holds each lane.
    holders: Vec<Option<Arc<Worker>>>,
}

impl Sched {
    fn position(&self, worker: &Arc<Worker>) -> Option<usize> {
        self.waiters.iter().rposition(|waiter| Arc::ptr_eq(waiter, worker))
    }
}

impl Port {
    pub(crate) fn new(
        concurrency: usize,
        gather: Option<(u32, Duration)>,
        engine: Option<EngineKind>,
    ) -> Result<Arc<Self>> {
        let lanes: Box<[Lane]> = (0..concurrency).map(|index| Lane::of_port(index, concurrency)).collect();
        lanes[0].equip(Mode::Shared(concurrency), engine)?;
        let engine = lanes[0].engine().kind(); // the others have the same
        let port = Arc::new(Self {
            gather,
            engine,
            sched: Mutex::new(Sched { waiters: Vec::new(), holders: vec![None; concurrency] }),
            lanes,
            waiting: AtomicUsize::new(0),
            posted: Mutex::default(),
            posted_len: AtomicUsize::new(0),
            timers: Timers::new(),
            rotation: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            closing: Mutex::new(()),
            closer: AtomicI32::new(0),
        });
        monitor::watch(&port)?;
        Ok(port)
    }

    pub(crate) fn concurrency(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn engine(&self) -> EngineKind {
        self.engine
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    #[inline]
    pub(super) fn lane(&self, index: usize) -> &Lane {
        &self.lanes[index]
    }

    pub(super) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// The lane that the calling thread holds.
    #[inline]
    pub(super) fn current_lane(&self) -> Option<usize> {
        Worker::current_lane(self)
    }

    /// The lane for an operation that the calling thread starts: its own or, if it has none, one that somebody looks after, in turn.
    #[inline]
    pub(super) fn lane_here(&self) -> usize {
        let count = self.lanes.len();
        if count == 1 {
            return 0;
        }
        self.current_lane().unwrap_or_else(|| {
            let turn = self.rotation.fetch_add(1, Ordering::Relaxed);
            (0..count)
                .map(|offset| (turn + offset) % count)
                .find(|lane| self.lanes[*lane].holder() != Holder::Nobody && self.lanes[*lane].equipped().is_some())
                .unwrap_or(0)
        })
    }

    pub(super) fn somebody_waits(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    // Queueing.

    pub(crate) fn post(&self, message: Box<dyn Any + Send>) -> Result<()> {
        let mut posted = self.posted.lock();
        if self.is_closed() {
            drop(posted); // before the message, whose drop is the user's
            return Err(Error::ABANDONED_WAIT);
        }
        posted.push_back(message);
        self.posted_len.store(posted.len(), Ordering::SeqCst);
        drop(posted);
        trace::posted();
        self.release_one();
        Ok(())
    }

    /// Something has been put into a lane by a thread that does not hold it: somebody has to look.
    pub(super) fn attend(&self, lane: usize) {
        match self.lanes[lane].holder() {
            Holder::Waiting => self.lanes[lane].wake(),
            // It looks before it sleeps; if it is in its handler for long, the monitor does.
            Holder::Running => monitor::wake(),
            Holder::Nobody => {
                self.release_one();
                monitor::wake();
            }
        }
    }

    // Dequeueing.

    #[inline]
    pub(crate) fn dequeue(self: &Arc<Self>, timeout: Option<Duration>) -> Result<Delivered> {
        // The short way, for a worker that holds a lane in which something is queued.
        if let Some(lane) = self.current_lane().map(|lane| &self.lanes[lane]) {
            let batch = lane.since_enter.load(Ordering::Relaxed);
            if !self.is_closed() && batch < BATCH {
                lane.enter_port();
                lane.since_enter.store(batch + 1, Ordering::Relaxed);
                if let Some(delivered) = self.take(lane, batch) {
                    lane.in_handler.store(true, Ordering::Relaxed);
                    return Ok(delivered);
                }
            }
        }
        let worker = Worker::join(self);
        // A timeout beyond the end of time is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let delivered = self.dequeue_as(&worker, deadline, timeout == Some(Duration::ZERO), None);
        self.go_out(&worker);
        delivered
    }

    /// As [`Self::dequeue`], and the thread's routines and APCs run meanwhile: [`Error::WAIT_IO_COMPLETION`]. A packet that is queued comes
    /// first, unless the thread has not dequeued here before (P14).
    pub(crate) fn dequeue_alertable(self: &Arc<Self>, timeout: Option<Duration>) -> Result<Delivered> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let poll = timeout == Some(Duration::ZERO);
        let ran = || own::sleep(Some(Duration::ZERO));
        if !self.is_closed() && !Worker::is_of(self) && ran() {
            return Err(Error::WAIT_IO_COMPLETION);
        }
        let worker = Worker::join(self);
        loop {
            let delivered = own::awaited_by(&worker, |own| self.dequeue_as(&worker, deadline, poll, Some(own)));
            self.go_out(&worker);
            match delivered {
                Err(Error::WAIT_TIMEOUT | Error::WAIT_IO_COMPLETION) if ran() => return Err(Error::WAIT_IO_COMPLETION),
                Err(Error::WAIT_IO_COMPLETION) => {} // ends of futures' operations, perhaps
                delivered => return delivered,
            }
        }
    }

    /// `own`: the thread's own lane, if what is queued there ends the wait.
    fn dequeue_as(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        deadline: Option<Instant>,
        poll: bool,
        own: Option<&Lane>,
    ) -> Result<Delivered> {
        let mut polled = false;
        loop {
            if self.is_closed() {
                return Err(Error::ABANDONED_WAIT);
            }
            let Some(index) = worker.lane() else {
                self.park(worker, deadline, own)?;
                continue;
            };
            let lane = &self.lanes[index];
            lane.enter_port();
            let batch = lane.since_enter.load(Ordering::Relaxed);
            if batch < BATCH {
                lane.since_enter.store(batch + 1, Ordering::Relaxed);
                if let Some(delivered) = self.take(lane, batch) {
                    self.unlist(worker);
                    return Ok(delivered);
                }
                if polled || deadline.is_some_and(|deadline| deadline <= Instant::now()) && !poll {
                    self.unlist(worker);
                    return Err(Error::WAIT_TIMEOUT);
                }
                if own.is_some_and(Lane::has_work) {
                    self.unlist(worker);
                    return Err(Error::WAIT_IO_COMPLETION);
                }
            }
            polled = poll;
            self.advance(worker, lane, deadline, poll || batch >= BATCH, own)?;
        }
    }

    /// The worker leaves the port's code with what it has got.
    fn go_out(&self, worker: &Worker) {
        if let Some(lane) = worker.lane() {
            self.lanes[lane].in_handler.store(true, Ordering::Relaxed);
        }
    }

    /// Takes a packet if one is queued, without asking the engine.
    pub(crate) fn dequeue_queued(self: &Arc<Self>) -> Option<Delivered> {
        let lane = &self.lanes[self.current_lane()?];
        if self.is_closed() { None } else { self.take(lane, 1) }
    }

    /// The next packet for the holder of `lane`: of its own queue, posted, or of another lane.
    fn take(&self, lane: &Lane, batch: u32) -> Option<Delivered> {
        let posted = || self.pop_posted().map(Delivered::Posted);
        let own = || self.pop(lane).map(Delivered::Ended);
        // In turn, so that a handler that posts to itself does not keep the others waiting, nor they it.
        // Now and then another lane comes first: its worker may compute for long while there is always something to do here.
        let delivered = match batch {
            _ if batch % 32 == 31 => self.steal(lane).map(Delivered::Ended).or_else(own).or_else(posted),
            _ if batch.is_multiple_of(2) => posted().or_else(own),
            _ => own().or_else(posted),
        };
        let delivered = delivered.or_else(|| self.steal(lane).map(Delivered::Ended))?;
        // What is left is for whoever waits, unless this worker comes to it in a moment: to wake another and share with it costs more than
        // a short handler.
        if lane.is_one_of_several && self.somebody_waits() && lane.is_behind() {
            lane.reap(); // it may be a wake-up only
            let some_left = lane.is_ready() || self.posted_len.load(Ordering::SeqCst) > 0;
            if some_left && self.lanes.iter().any(|lane| lane.holder() != Holder::Running) {
                self.release_one();
            }
        }
        Some(delivered)
    }

    /// The next packet of a lane.
    #[inline]
    fn pop(&self, lane: &Lane) -> Option<Ended> {
        let ended = lane.pop()?;
        trace::dequeued(ended.id);
        if lane.is_one_of_several {
            ended.handle.dequeued(&ended.operation);
        }
        Some(ended)
    }

    #[inline]
    fn pop_posted(&self) -> Option<Box<dyn Any + Send>> {
        if self.posted_len.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut posted = self.posted.lock();
        let message = posted.pop_front();
        self.posted_len.store(posted.len(), Ordering::SeqCst);
        message
    }

    /// Other lanes whose packets nobody is about to take: their holders run, or there is none.
    fn busy_lanes(&self, own: &Lane) -> impl Iterator<Item = &Lane> {
        let (before, from) = self.lanes.split_at(own.id as usize);
        from[1..].iter().chain(before).filter(|lane| lane.holder() != Holder::Waiting)
    }

    fn steal(&self, own: &Lane) -> Option<Ended> {
        self.busy_lanes(own).find_map(|lane| {
            let before = lane.equipped().map_or(0, Engine::unsubmitted);
            let ended = self.pop(lane);
            if lane.equipped().is_some_and(|engine| engine.unsubmitted() > before) {
                let _ = lane.enter(Wait::No); // what comes next in line; its holder may be busy for long
            }
            lane.pass_on();
            ended
        })
    }

    /// Lets the engine see what was started, sleeps until something ends, and turns completions into packets.
    fn advance(
        self: &Arc<Self>,
        worker: &Arc<Worker>,
        lane: &Lane,
        deadline: Option<Instant>,
        poll: bool,
        own: Option<&Lane>,
    ) -> Result<()> {
        if poll {
            lane.feed(Some(self));
            lane.awake();
            lane.enter(Wait::No)?;
            self.timers.fire();
            return Ok(());
        }
        own::push_forward(|own| lane.watch(own));
        lane.sleepers.fetch_add(1, Ordering::SeqCst);
        if !self.announce(worker, lane) {
            lane.sleepers.fetch_sub(1, Ordering::SeqCst);
            return Ok(()); // the lane was taken away
        }
        // Announced first, looked afterwards: whoever queues something either is seen here or sees this worker waiting.
        lane.feed(Some(self));
        let alerted = own.is_some_and(Lane::is_alerted);
        let nothing = !self.is_closed() && self.posted_len.load(Ordering::SeqCst) == 0 && !lane.is_ready() && !alerted;
        let wait = if nothing && !self.look_around(lane) {
            let soon = lane.impatient.load(Ordering::SeqCst).then(|| Instant::now() + Duration::from_millis(1));
            let until = [deadline, self.timers.next(), soon].into_iter().flatten().min();
            Wait::For {
                timeout: until.map(|until| until.saturating_duration_since(Instant::now())),
                gather: self.gather,
            }
        } else {
            Wait::No
        };
        let entered = {
            let _sleeping = matches!(wait, Wait::For { .. }).then(trace::wait);
            lane.enter(wait)
        };
        lane.sleepers.fetch_sub(1, Ordering::SeqCst);
        if lane.is_one_of_several {
            lane.begin();
        }
        if self.waiting.load(Ordering::SeqCst) > 1 {
            lane.reap(); // whether there is a packet for a later comer, or it was a wake-up only
        }
        self.resume(worker, lane);
        self.timers.fire();
        entered
    }

    /// Whether another lane has something to take. Looks after the lanes that nobody holds: submits for them, and asks to be
    /// told when something ends there.
    fn look_around(&self, own: &Lane) -> bool {
        let mut found = false;
        for lane in self.busy_lanes(own) {
            let Some(engine) = lane.equipped() else { continue };
            if lane.holder() == Holder::Nobody {
                if engine.unsubmitted() > 0 {
                    let _ = lane.enter(Wait::No); // tried again by whoever looks next
                }
                if lane.is_engaged() {
                    own.watch(lane);
                }
            }
            found |= lane.has_work();
        }
        found
    }

    // Scheduling: who holds which lane. All of it under the scheduling lock.

    /// The worker is about to sleep in its lane's engine; unless it has no lane any more.
    fn announce(&self, worker: &Arc<Worker>, lane: &Lane) -> bool {
        let mut sched = self.sched.lock();
        if worker.lane() != Some(lane.id as usize) {
            return false;
        }
        if sched.position(worker).is_none() {
            sched.waiters.push(Arc::clone(worker));
            self.publish(&sched);
        }
        // Cleared before the look that follows: a wake-up from here on is either seen by that or ends the sleep. One that was
        // meant for a former holder may have set it.
        lane.awake();
        lane.set_holder(Holder::Waiting);
        true
    }

    /// The worker waits no longer.
    fn unlist(&self, worker: &Arc<Worker>) {
        if self.somebody_waits() {
            let mut sched = self.sched.lock();
            if let Some(at) = sched.position(worker) {
                sched.waiters.remove(at);
                self.publish(&sched);
            }
        }
    }

    /// The worker has slept. If a later comer waits and there is something to do, the lane goes to that one (P02).
    fn resume(&self, worker: &Arc<Worker>, lane: &Lane) {
        let mut sched = self.sched.lock();
        if worker.lane() != Some(lane.id as usize) {
            return; // taken away meanwhile; the worker keeps its place in the stack
        }
        lane.awake();
        lane.set_holder(Holder::Running);
        let Some(at) = sched.position(worker) else { return }; // released
        let later = sched.waiters[at + 1..].iter().rposition(|waiter| waiter.lane().is_none());
        match later {
            Some(offset) if lane.is_ready() => {
                let heir = sched.waiters.remove(at + 1 + offset);
                self.hand_over(&mut sched, lane, &heir);
            }
            _ if lane.is_ready() || self.posted_len.load(Ordering::SeqCst) > 0 || sched.waiters.len() == 1 => {
                sched.waiters.remove(at);
            }
            // Woken for nothing, as far as can be seen from here: it keeps its place, until it has taken something.
            _ => {}
        }
        self.publish(&sched);
        if !sched.waiters.is_empty() {
            monitor::wake();
        }
    }

    /// Gives a lane, whoever held it, to a worker that sleeps aside and is no longer in the stack.
    fn hand_over(&self, sched: &mut Sched, lane: &Lane, heir: &Arc<Worker>) {
        match sched.holders[lane.id as usize].replace(Arc::clone(heir)) {
            Some(former) => {
                former.set_lane(None);
                trace::handed_over(lane.id, former.tid, heir.tid);
            }
            None => trace::released(heir.tid, lane.id),
        }
        lane.tid.store(heir.tid, Ordering::SeqCst);
        lane.in_handler.store(false, Ordering::Relaxed);
        lane.set_holder(Holder::Running);
        heir.set_lane(Some(lane.id as usize));
        heir.unpark();
    }

    /// Sleeps aside until there is a lane for this worker.
    fn park(&self, worker: &Arc<Worker>, deadline: Option<Instant>, own: Option<&Lane>) -> Result<()> {
        loop {
            let alerted = own.is_some_and(Lane::is_alerted);
            {
                let mut sched = self.sched.lock();
                if worker.lane().is_some() {
                    return Ok(());
                }
                let expired = deadline.is_some_and(|deadline| deadline <= Instant::now());
                // A lane that cannot have an engine, for want of descriptors perhaps, is none; the first has had one from the start.
                let usable = |lane: &&Lane| {
                    lane.holder() == Holder::Nobody
                        && lane.equip(Mode::Shared(self.lanes.len()), Some(self.engine)).is_ok()
                };
                let free = self.lanes.iter().find(usable);
                let at = sched.position(worker);
                // One who has waited before gives way to later comers (P02).
                let later = at.and_then(|at| {
                    sched.waiters[at + 1..].iter().rposition(|other| other.lane().is_none()).map(|n| at + 1 + n)
                });
                if let (Some(lane), Some(later), false) = (free, later, self.is_closed()) {
                    let heir = sched.waiters.remove(later);
                    self.hand_over(&mut sched, lane, &heir);
                    self.publish(&sched);
                    continue;
                }
                if self.is_closed() || free.is_some() || expired || alerted {
                    if let Some(at) = at {
                        sched.waiters.remove(at);
                        self.publish(&sched);
                    }
                    let Some(lane) = free.filter(|_| !self.is_closed()) else {
                        return Err(match alerted {
                            _ if self.is_closed() => Error::ABANDONED_WAIT,
                            true => Error::WAIT_IO_COMPLETION,
                            false => Error::WAIT_TIMEOUT,
                        });
                    };
                    self.hand_over(&mut sched, lane, worker);
                    continue;
                }
                if at.is_none() {
                    sched.waiters.push(Arc::clone(worker));
                    self.publish(&sched);
                }
            }
            monitor::wake(); // from now on there is somebody to step in for a worker that blocks
            let soon = own::push_forward(|_| ()).then(|| Instant::now() + Duration::from_millis(1));
            let _sleeping = trace::wait();
            match deadline.into_iter().chain(soon).min() {
                Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
                None => thread::park(),
            }
        }
    }

    /// Releases the worker that came last, if the concurrency value allows it.
    pub(super) fn release_one(&self) {
        if !self.somebody_waits() {
            return;
        }
        let mut sched = self.sched.lock();
        let Some(at) = (0..sched.waiters.len())
            .rev()
            .find(|at| sched.waiters[*at].lane().is_some() || self.spare_lane().is_some())
        else {
            return;
        };
        let worker = sched.waiters.remove(at);
        match worker.lane() {
            Some(lane) => {
                trace::released(worker.tid, lane as u32);
                self.lanes[lane].set_holder(Holder::Running);
                self.lanes[lane].wake();
            }
            None => {
                let lane = self.spare_lane().expect("looked for above, under this lock");
                // Its holder, if it has one, sleeps in the engine: it wakes, finds the lane gone, and sleeps aside.
                if lane.holder() == Holder::Waiting {
                    lane.wake();
                }
                self.hand_over(&mut sched, lane, &worker);
            }
        }
        self.publish(&sched);
        monitor::wake();
    }

    /// Something else than a packet has come for a worker, who may be waiting.
    pub(super) fn disturb(&self, worker: &Worker) {
        let _sched = self.sched.lock();
        match worker.lane() {
            Some(lane) => self.lanes[lane].wake(),
            None => worker.unpark(),
        }
    }

    /// A lane that a worker could run in: one that nobody holds, or whose holder sleeps.
    fn spare_lane(&self) -> Option<&Lane> {
        let with = |holder| self.lanes.iter().find(move |lane| lane.holder() == holder);
        let unheld =
            with(Holder::Nobody).filter(|lane| lane.equip(Mode::Shared(self.lanes.len()), Some(self.engine)).is_ok());
        unheld.or_else(|| with(Holder::Waiting))
    }

    /// The holder of `lane` is blocked in its handler: the worker that came last steps in.
    pub(super) fn relieve(&self, lane: &Lane, blocked: i32) {
        let mut sched = self.sched.lock();
        if lane.holder() != Holder::Running || lane.tid.load(Ordering::SeqCst) != blocked {
            return; // it has come round
        }
        if let Some(at) = sched.waiters.iter().rposition(|waiter| waiter.lane().is_none()) {
            let heir = sched.waiters.remove(at);
            self.hand_over(&mut sched, lane, &heir);
            self.publish(&sched);
        }
    }

    /// Whether somebody waits who has no lane.
    pub(super) fn has_reserve(&self) -> bool {
        self.somebody_waits() && self.sched.lock().waiters.iter().any(|waiter| waiter.lane().is_none())
    }

    /// Whether there is a packet to be taken.
    pub(super) fn has_packets(&self) -> bool {
        let ended = |lane: &Lane| {
            lane.reap(); // it may be a wake-up only
            lane.is_ready()
        };
        self.posted_len.load(Ordering::SeqCst) > 0 || self.lanes.iter().any(ended)
    }

    pub(crate) fn leave(self: &Arc<Self>) {
        Worker::leave(self);
    }

    /// A worker leaves the port, for another one or because its thread ends.
    pub(super) fn dismiss(&self, worker: &Arc<Worker>) {
        let mut sched = self.sched.lock();
        if let Some(at) = sched.position(worker) {
            sched.waiters.remove(at);
            self.publish(&sched);
        }
        let Some(lane) = worker.lane() else { return };
        worker.set_lane(None);
        sched.holders[lane] = None;
        self.lanes[lane].tid.store(0, Ordering::SeqCst);
        self.lanes[lane].set_holder(Holder::Nobody);
        drop(sched);
        let lane = &self.lanes[lane];
        if lane.has_work() || lane.is_engaged() || self.posted_len.load(Ordering::SeqCst) > 0 {
            self.release_one(); // to take the lane, or to watch it
            monitor::wake();
        }
    }

    fn publish(&self, sched: &Sched) {
        self.waiting.store(sched.waiters.len(), Ordering::SeqCst);
    }

    // Flushing and closing.

    pub(crate) fn flush(&self) {
        if let Some(lane) = self.current_lane().map(|lane| &self.lanes[lane])
            && lane.engine().unsubmitted() > 0
        {
            let _ = lane.enter(Wait::No); // what it could not hand over stays, and goes with the next try
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let this = this_tid();
        if self.closer.load(Ordering::SeqCst) == this {
            return; // from a drop of user data below; it goes on there
        }
        let _closing = self.closing.lock();
        let _closer = Closer::new(&self.closer, this);
        {
            let sched = self.sched.lock();
            for worker in &sched.waiters {
                match worker.lane() {
                    Some(lane) => self.lanes[lane].wake(),
                    None => worker.unpark(),
                }
            }
        }
        let used = || self.lanes.iter().filter(|lane| lane.equipped().is_some());
        used().for_each(|lane| lane.work(|books| books.queues_mut().seal()));
        for lane in used() {
            while lane.is_engaged() {
                lane.work(|books| lane.engine().cancel_all(books.queues_mut()));
                let soon = Wait::For { timeout: Some(Duration::from_millis(5)), gather: None };
                if lane.enter(soon).is_err() {
                    thread::yield_now();
                }
                lane.reap();
            }
        }
        for lane in used() {
            let dropped = lane.work(Books::clear);
            drop(dropped); // outside the lock: keys are the user's
        }
        self.timers.clear();
        let messages = std::mem::take(&mut *self.posted.lock());
        self.posted_len.store(0, Ordering::SeqCst);
        drop(messages);
    }

    /// Moves what is stuck in a lane whose holder does not come round: hands over its requests, and turns completions into packets,
    /// so that what stands in line behind them goes on. No handler runs here.
    pub(super) fn push_forward(self: &Arc<Self>, lane: &Lane) {
        let Some(engine) = lane.equipped() else { return };
        if self.is_closed() {
            return;
        }
        if engine.unsubmitted() > 0 {
            let _ = lane.enter(Wait::No); // tried again at the next look
        }
        lane.feed(Some(self));
        lane.reap();
    }
}

// A closed port has nothing in the kernel, and one that was not closed has handles that keep it alive.
impl Drop for Port {
    fn drop(&mut self) {
        debug_assert!(!self.lanes.iter().any(Lane::is_engaged));
    }
}
