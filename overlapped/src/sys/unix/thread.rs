//! A thread that hears of the ends of operations itself: its lane, its queue, and its waits.
//!
//! Each thread that uses routines, APCs or events has a *desk*: a lane of its own, whose queue takes APCs and ends alike, first in, first
//! out. The engine of that lane is entered by this thread only (DEFER_TASKRUN: the kernel itself does the work of a completion only in
//! there), and the wait *is* that entering: nobody hands anything over. A thread without operations of its own needs no engine, and
//! sleeps aside.
//!
//! Events and futures must not depend on what a thread of the program does. Their operations are in the lane of a thread of the library,
//! the *reaper*, which is started with the first of them and does nothing but wait. It also keeps the time limits of free handles.

use std::cell::{Cell as Slot, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::task::{Wake, Waker};
use std::thread as std_thread;
use std::time::{Duration, Instant};

use slab::Slab;

use super::engine::{Mode, Wait};
use super::lane::{Books, Holder, Lane};
use super::line::Direction;
use super::queue::Item;
use super::timers::Timers;
use super::worker::Worker;
use super::{Handle, Way, raw};
use crate::sync::Mutex;
use crate::sys::{Cell, Ended, Request};
use crate::{Error, Result, trace};

/// The lanes of all threads that live, by their numbers.
static LANES: Mutex<BTreeMap<u32, Weak<Lane>>> = Mutex::new(BTreeMap::new());
static LAST_LANE: AtomicU32 = AtomicU32::new(0);
static REAPER: OnceLock<Arc<Lane>> = OnceLock::new();
/// Held while the reaper is being started.
static STARTING: Mutex<()> = Mutex::new(());
/// The deadlines of free handles.
static TIMERS: Timers = Timers::new();

thread_local! {
    static HERE: Desk = Desk::new();
    /// This thread has an engine of its own.
    static HAS_ENGINE: Slot<bool> = const { Slot::new(false) };
    /// The lane that this thread was given before it began.
    static GIVEN: Slot<Option<Arc<Lane>>> = const { Slot::new(None) };
}

/// How a wait ended.
pub(super) enum Outcome<T> {
    /// It found what it looked for.
    Found(T),
    /// Routines or APCs ran.
    Ran,
    TimeUp,
}

type Routine = Box<dyn FnOnce(Ended)>;

/// What a thread has for itself.
pub(super) struct Desk {
    lane: Arc<Lane>,
    /// They stay on this thread, whoever ends their operations. A request knows only the place.
    routines: RefCell<Slab<Routine>>,
    /// Inside `block_on`: futures' operations run here.
    blocking: Slot<bool>,
}

fn new_lane() -> Arc<Lane> {
    let mut lanes = LANES.lock();
    let id = loop {
        let id = LAST_LANE.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if id != 0 && !lanes.contains_key(&id) {
            break id;
        }
    };
    let lane = Arc::new(Lane::of_thread(id));
    lanes.insert(id, Arc::downgrade(&lane));
    lane
}

/// Works with the lane of a thread. `None`: that thread has ended.
#[inline]
pub(super) fn with_lane<R>(id: u32, work: impl FnOnce(&Lane) -> R) -> Option<R> {
    if HERE.try_with(|desk| desk.lane.id == id) == Ok(true) {
        return Some(HERE.with(|desk| work(&desk.lane)));
    }
    if let Some(reaper) = REAPER.get().filter(|reaper| reaper.id == id) {
        return Some(work(reaper));
    }
    Some(work(&*of_another(id)?))
}

#[inline(never)]
fn of_another(id: u32) -> Option<Arc<Lane>> {
    LANES.lock().get(&id).and_then(Weak::upgrade)
}

/// Works with the desk of this thread, or with one made for the purpose if the thread is ending.
pub(super) fn with_desk<R>(work: impl FnOnce(&Desk) -> R) -> R {
    let mut work = Some(work);
    let mut done = HERE.try_with(|desk| work.take().map(|work| work(desk))).ok().flatten();
    if let Some(work) = work {
        done = Some(work(&Desk::new()));
    }
    done.expect("one of the two has worked")
}

/// Queues the end of an operation to the thread of a lane. Gives it back if that thread has ended.
pub(super) fn queue_to(lane: u32, ended: Ended) -> Option<Ended> {
    let mut ended = Some(ended);
    with_lane(lane, |lane| {
        lane.work(|books| {
            if !books.ended
                && let Some(ended) = ended.take()
            {
                books.ready.push(ended);
            }
        });
        lane.nudge();
    });
    ended
}

/// Tells the end of an operation where it is wanted.
pub(super) fn tell(ended: Ended) {
    match &ended.way {
        Way::Port => {} // of a port that is closed
        Way::Cell { cell, .. } => {
            let cell = Arc::clone(cell);
            cell.deliver(ended);
        }
        Way::Routine { home, .. } => {
            let home = *home;
            if let Some(ended) = queue_to(home, ended) {
                Handle::take_back(ended); // the thread has ended
            }
        }
        Way::Raw(_) => raw::tell_elsewhere(ended),
    }
}

impl Desk {
    fn new() -> Self {
        let lane = GIVEN.try_with(Slot::take).ok().flatten().unwrap_or_else(new_lane);
        lane.settle_in();
        Self { lane, routines: RefCell::default(), blocking: Slot::new(false) }
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    #[inline]
    fn equip(&self) -> Result<()> {
        if self.lane.equipped().is_some() {
            return Ok(());
        }
        self.lane.equip(Mode::Owned, None)?;
        HAS_ENGINE.set(true);
        Ok(())
    }

    /// Waits until `look` finds something, time is up or, if it is alertable, routines or APCs have run.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        alertable: bool,
        mut look: impl FnMut() -> Option<T>,
    ) -> Outcome<T> {
        let lane = &*self.lane;
        let mut entered = lane.equipped().is_none();
        loop {
            if let Some(found) = look() {
                return Outcome::Found(found);
            }
            if alertable && lane.has_work() {
                if self.run() {
                    return Outcome::Ran;
                }
                continue; // ends of futures' operations, perhaps
            }
            let expired = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if expired && entered {
                return Outcome::TimeUp;
            }
            // Announced first, looked afterwards: whoever queues or sets something either is seen here or sees this thread waiting. A
            // wake-up from before is forgotten first: one who gave it has queued something before that.
            lane.awake();
            lane.set_holder(Holder::Waiting);
            if lane.equipped().is_some() {
                lane.feed(None);
            }
            let found = look();
            if found.is_none() && !(alertable && lane.has_work()) {
                self.sleep(deadline.filter(|_| !expired), expired);
                entered = true;
            }
            lane.set_holder(Holder::Running);
            if !alertable {
                lane.reap(); // so that what stands in line goes on; nothing runs
            }
            if let Some(found) = found {
                return Outcome::Found(found);
            }
        }
    }

    /// Lets operations go on and runs what is there, without waiting.
    fn look_in(&self) {
        if self.lane.equipped().is_some() {
            self.lane.feed(None);
            self.sleep(None, true);
        }
        self.run();
    }

    fn sleep(&self, deadline: Option<Instant>, poll: bool) {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let _sleeping = trace::wait();
        match (self.lane.equipped(), timeout) {
            (Some(_), timeout) => {
                let wait = if poll { Wait::No } else { Wait::For { timeout, gather: None } };
                if self.lane.enter(wait).is_err() {
                    std_thread::yield_now(); // refused for the moment: tried again
                }
            }
            (None, Some(timeout)) => std_thread::park_timeout(timeout),
            (None, None) => std_thread::park(),
        }
    }

    /// Runs everything that is queued, and what is queued meanwhile, within reason: a flood of APCs must not keep the thread here.
    /// Returns whether routines or APCs were among it.
    fn run(&self) -> bool {
        const MORE: usize = 8192;
        let mut ran = false;
        let mut left = self.lane.work(|books| books.ready.len()) + MORE;
        while self.lane.has_work()
            && left > 0
            && let Some(item) = self.lane.work(|books| books.next(&self.lane))
        {
            left -= 1;
            ran |= self.run_one(item);
        }
        ran
    }

    #[inline]
    fn run_one(&self, item: Item) -> bool {
        match item {
            Item::Apc(apc) => {
                let _running = trace::apc();
                apc();
            }
            Item::Ended(mut ended) => match std::mem::replace(&mut ended.way, Way::Port) {
                Way::Routine { at, .. } => {
                    let routine = self.routines.borrow_mut().remove(at);
                    let _running = trace::routine(ended.id);
                    routine(ended);
                }
                Way::Cell { cell, .. } => {
                    cell.deliver(ended);
                    return false;
                }
                Way::Raw(raw) => {
                    let _running = trace::routine(ended.id);
                    raw.run(ended);
                }
                Way::Port => unreachable!("a thread's lane has no handles of a port"),
            },
        }
        true
    }

    /// Lets everything go that is this thread's business. Of `mine` the operations are ended, others go on elsewhere.
    fn evacuate(&self, mine: impl Fn(&Way) -> bool) {
        let lane = &*self.lane;
        if lane.equipped().is_none() {
            return;
        }
        lane.work(|books| {
            let lines: Vec<_> = books.lines.iter().map(|(at, _)| at).collect();
            for at in lines {
                books.end_early(lane, at, Error::OPERATION_ABORTED, |request| mine(&request.way));
                books.recall(lane, at);
                books.go_on(lane, at);
            }
            let Books { loose, queues: Some(queues), .. } = books else { return };
            for (at, loose) in loose {
                if mine(&loose.request.way) {
                    loose.ended_by = Some(Error::OPERATION_ABORTED);
                }
                lane.engine().cancel(queues, loose.token(at));
            }
        });
        while lane.is_engaged() {
            lane.feed(None);
            let soon = Wait::For { timeout: Some(Duration::from_millis(5)), gather: None };
            if lane.enter(soon).is_err() {
                std_thread::yield_now();
            }
            lane.reap();
        }
    }
}

impl Drop for Desk {
    /// The thread ends: its operations are cancelled, what is queued for it is dropped, and what others wait for goes on elsewhere.
    fn drop(&mut self) {
        let queued = self.lane.work(|books| {
            books.ended = true;
            books.ready.take_all()
        });
        let routines = std::mem::take(&mut *self.routines.borrow_mut());
        drop(routines);
        for item in queued {
            match item {
                Item::Apc(apc) => drop(apc),
                Item::Ended(ended) if matches!(ended.way, Way::Cell { .. }) => tell(ended),
                Item::Ended(ended) if matches!(ended.way, Way::Raw(_)) => drop(ended), // what it had taken is in the caller's memory
                Item::Ended(ended) => Handle::take_back(ended),
            }
        }
        let id = self.lane.id;
        self.evacuate(|way| way.runs_in(id));
        // Lines that are left have no operation; they may have received something.
        let lines = self.lane.work(|books| {
            let all: Vec<_> = books.lines.iter().map(|(at, _)| at).collect();
            all.into_iter().map(|at| books.remove(&self.lane, at)).collect::<Vec<_>>()
        });
        for line in lines {
            if let Some(handle) = line.handle.upgrade() {
                handle.lay_to_rest(line);
            }
        }
        self.lane.retire();
        LANES.lock().remove(&id);
    }
}

// The ways of routines, events and futures.

/// The way of a routine that is to run on this thread.
pub(crate) fn routine(routine: impl FnOnce(Ended) + 'static) -> Result<Way> {
    let mut routine = Some(routine);
    HERE.try_with(|desk| {
        desk.equip()?;
        let routine = routine.take().expect("taken once");
        let at = desk.routines.borrow_mut().insert(Box::new(routine));
        Ok(Way::Routine { home: desk.lane.id, at })
    })
    .unwrap_or(Err(Error::GEN_FAILURE)) // the thread is ending
}

/// The number of this thread's lane, which gets an engine if it has none.
pub(super) fn equipped_here() -> Result<u32> {
    let equipped = HERE.try_with(|desk| desk.equip().map(|()| desk.lane.id));
    equipped.unwrap_or(Err(Error::GEN_FAILURE)) // the thread is ending
}

/// The way of a cell that the reaper fills.
pub(crate) fn reaped(cell: &Arc<Cell>) -> Result<Way> {
    Ok(Way::Cell { home: reaper()?.id, cell: Arc::clone(cell) })
}

/// The way of a cell that is looked into by polling: filled on this thread if it is inside `block_on`, else by the reaper.
pub(crate) fn polled(cell: &Arc<Cell>) -> Result<Way> {
    let here = HERE.try_with(|desk| {
        let here = desk.blocking.get() && desk.equip().is_ok();
        here.then_some(desk.lane.id)
    });
    match here {
        Ok(Some(home)) => Ok(Way::Cell { home, cell: Arc::clone(cell) }),
        _ => reaped(cell),
    }
}

/// The lane of the reaper, which is started if need be.
#[inline]
pub(super) fn reaper() -> Result<&'static Arc<Lane>> {
    REAPER.get().map_or_else(start_reaper, Ok)
}

#[cold]
fn start_reaper() -> Result<&'static Arc<Lane>> {
    let _starting = STARTING.lock();
    if let Some(reaper) = REAPER.get() {
        return Ok(reaper);
    }
    let (answer, started) = mpsc::channel();
    std_thread::Builder::new().name("overlapped reaper".into()).stack_size(256 * 1024).spawn(move || {
        HERE.with(|desk| {
            let equipped = desk.equip().map(|()| Arc::clone(&desk.lane));
            let able = equipped.is_ok();
            let _ = answer.send(equipped); // who asked waits for it
            if able {
                reap(desk);
            }
        });
    })?;
    let lane = started.recv().unwrap_or(Err(Error::GEN_FAILURE))?;
    Ok(REAPER.get_or_init(|| lane))
}

fn reap(desk: &Desk) -> ! {
    loop {
        // A waker is the user's, and may panic; the others are still called.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let next = TIMERS.next();
                desk.wait(next, true, || (TIMERS.next() != next).then_some(())); // or until there is another one to mind
                TIMERS.fire();
            }
        }));
    }
}

/// The deadlines of free handles, which the reaper minds.
pub(super) fn timers() -> &'static Timers {
    &TIMERS
}

/// A deadline was set that is due before all others.
pub(super) fn mind_the_clock() {
    if let Some(reaper) = REAPER.get() {
        reaper.nudge();
    }
}

/// Sleeps alertably. Returns whether routines or APCs ran.
pub(crate) fn sleep(timeout: Option<Duration>) -> bool {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let _alertable = trace::alertable(timeout);
    with_desk(|desk| matches!(desk.wait(deadline, true, || None::<()>), Outcome::Ran))
}

/// Does something in which this thread waits as a worker of a port, and what is queued for it ends that wait. `wait` gets the thread's lane.
pub(super) fn awaited_by<R>(worker: &Arc<Worker>, wait: impl FnOnce(&Lane) -> R) -> R {
    struct Elsewhere(Arc<Lane>);

    impl Drop for Elsewhere {
        fn drop(&mut self) {
            self.0.wait_elsewhere(None);
        }
    }

    let elsewhere = Elsewhere(with_desk(|desk| Arc::clone(&desk.lane)));
    elsewhere.0.wait_elsewhere(Some(worker));
    wait(&elsewhere.0)
}

/// Hands over to the kernel what this thread has started.
pub(crate) fn flush() {
    let _ = HERE.try_with(|desk| {
        if desk.lane.equipped().is_some_and(|engine| engine.unsubmitted() > 0) {
            let _ = desk.lane.enter(Wait::No); // what it could not hand over goes with the next try
        }
    });
}

/// Lets the operations of this thread's own lane go on; nothing runs. Returns whether the kernel has some: they go on only in here, so who
/// sleeps elsewhere has to come back, or to have the lane watched.
pub(super) fn push_forward(watch: impl FnOnce(&Lane)) -> bool {
    if !HAS_ENGINE.get() {
        return false;
    }
    let engaged = HERE.try_with(|desk| {
        let lane = &*desk.lane;
        // In this order: what comes from now on rings.
        let bell = lane.engine().hang_bell();
        lane.feed(None);
        let _ = lane.enter(Wait::No); // what it could not hand over goes with the next try
        lane.reap();
        let engaged = lane.is_engaged();
        if engaged && bell.is_ok() {
            watch(lane);
        }
        engaged
    });
    engaged.unwrap_or(false)
}

/// Takes the line of a free handle, which has no operation, out of the thread's lane that it is in.
pub(super) fn rest(handle: &Arc<Handle>, direction: Direction) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let begun = Instant::now();
    loop {
        let line = handle.in_line(direction, |lane, books, at| {
            if books.lines[at].is_idle() {
                return Ok(books.remove(lane, at));
            }
            books.recall(lane, at); // a standing receive: what it brings until it has ended is kept
            Err(lane.is_mine())
        });
        match line {
            None => return Ok(()),
            Some(Ok(line)) => handle.lay_to_rest(line),
            Some(Err(mine)) if begun.elapsed() < PATIENCE => {
                if mine {
                    with_desk(|desk| {
                        let _ = desk.lane.enter(Wait::For { timeout: Some(Duration::from_millis(5)), gather: None });
                        desk.lane.reap();
                    });
                } else {
                    std_thread::sleep(Duration::from_micros(50));
                }
            }
            Some(Err(_)) => return Err(Error::INVALID_PARAMETER), // its thread does not come by the kernel
        }
    }
}

/// A thread to which APCs can be queued.
#[derive(Clone)]
pub(crate) struct Thread(Arc<Lane>);

impl Thread {
    pub(crate) fn current() -> Self {
        Self(with_desk(|desk| Arc::clone(&desk.lane)))
    }

    /// A thread that has not begun.
    pub(crate) fn unborn() -> Self {
        Self(new_lane())
    }

    /// The calling thread is the one.
    pub(crate) fn become_this(&self) {
        GIVEN.set(Some(Arc::clone(&self.0)));
        HERE.with(|_| ());
    }

    /// Queues an APC. `false`: the thread has ended.
    pub(crate) fn queue(&self, apc: Box<dyn FnOnce() + Send>) -> bool {
        let lane = &*self.0;
        // What has ended so far comes first in the queue.
        if lane.is_mine() && lane.is_engaged() {
            let _ = lane.enter(Wait::No);
            lane.reap();
        }
        trace::apc_queued();
        let mut apc = Some(apc);
        lane.work(|books| {
            if !books.ended
                && let Some(apc) = apc.take()
            {
                books.ready.push_apc(apc);
            }
        });
        lane.nudge();
        apc.is_none()
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.0
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.work(|books| books.ended)
    }
}

/// A thread is inside `block_on`.
pub(crate) struct Blocking {
    parked: Arc<Parked>,
    /// How often in a row it was woken before it waited.
    awake: Slot<u32>,
}

struct Parked {
    woken: AtomicBool,
    lane: Arc<Lane>,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Set first, looked at who waits afterwards; the other side announces itself and then looks.
        if !self.woken.swap(true, Ordering::SeqCst) {
            self.lane.nudge();
        }
    }
}

impl Blocking {
    pub(crate) fn begin() -> Self {
        HERE.with(|desk| {
            assert!(!desk.blocking.replace(true), "block_on was called from within itself");
            let parked = Parked { woken: AtomicBool::new(false), lane: Arc::clone(&desk.lane) };
            Self { parked: Arc::new(parked), awake: Slot::new(0) }
        })
    }

    pub(crate) fn waker(&self) -> Waker {
        Arc::clone(&self.parked).into()
    }

    /// Waits, alertably, until the waker has been called.
    pub(crate) fn wait(&self) {
        // A future that always wakes itself must not keep the thread's operations waiting.
        const MOST: u32 = 16;
        let woken = || self.parked.woken.swap(false, Ordering::SeqCst).then_some(());
        HERE.with(|desk| {
            if woken().is_some() {
                self.awake.set(self.awake.get() + 1);
                if self.awake.get().is_multiple_of(MOST) {
                    desk.look_in();
                }
                return;
            }
            self.awake.set(0);
            let _alertable = trace::alertable(None);
            while !matches!(desk.wait(None, true, woken), Outcome::Found(())) {}
        });
    }
}

impl Drop for Blocking {
    /// Operations that are awaited here and have not ended go on elsewhere: their futures may have, too.
    fn drop(&mut self) {
        let _ = HERE.try_with(|desk| {
            desk.blocking.set(false);
            let (lane, id) = (&*desk.lane, desk.lane.id);
            let (ended, left) = lane.work(|books| (books.take_cells(), books.has_cells(id)));
            ended.into_iter().for_each(tell);
            if left && let Ok(reaper) = reaper() {
                lane.work(|books| books.readdress(id, reaper.id));
                desk.evacuate(|_| false);
            }
        });
    }
}

impl Books {
    /// Whether operations are here whose cells were to be filled by this thread.
    fn has_cells(&self, id: u32) -> bool {
        let is_cell = |request: &Request| matches!(request.way, Way::Cell { home, .. } if home == id);
        self.lines.iter().any(|(_, line)| line.requests().any(is_cell))
            || self.loose.iter().any(|(_, loose)| is_cell(&loose.request))
    }

    /// The cells that `from` was to fill are filled by `to`.
    fn readdress(&mut self, from: u32, to: u32) {
        let in_lines = self.lines.iter_mut().flat_map(|(_, line)| line.requests_mut());
        let loose = self.loose.iter_mut().map(|(_, loose)| &mut *loose.request);
        for request in in_lines.chain(loose) {
            match &mut request.way {
                Way::Cell { home, .. } if *home == from => *home = to,
                _ => {}
            }
        }
    }
}
