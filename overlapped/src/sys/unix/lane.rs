//! A lane: an engine, the operations that are in it, and the queue of what has ended.
//!
//! A port has as many lanes as its concurrency value. A worker holds one while it runs, so the lanes *are* the limit. A thread that
//! waits alertably has a lane of its own, which nobody else enters. What a lane knows lies behind one lock: an operation takes it when
//! it is started and when its end is taken, and no other.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use slab::Slab;

use super::engine::{About, Completion, Engine, Mode, Queues, Requests, Target, Token, Wait};
use super::line::Line;
use super::queue::{Item, Queue};
use super::request::Step;
use super::worker::{Worker, this_tid};
use super::{Handle, Port, Way, prefetch, raw, thread};
use crate::sync::Mutex;
use crate::sys::lock::Lock;
use crate::sys::{Ended, EngineKind, Operation, OperationId, Request};
use crate::{Error, Result, trace};

/// So many completions are taken out of the engine at a time.
const REAPED_AT_ONCE: usize = 32;
/// So many completions ahead a line is fetched into the cache, and what hangs on it.
const LINE_AHEAD: usize = 8;
const REQUEST_AHEAD: usize = 4;
/// So many ahead what a request of the C face has besides, and what hangs on that.
const RAW_AHEAD: usize = 2;
const LISTENER_AHEAD: usize = 1;

/// Microseconds since the first time that somebody asked.
fn micros() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// Who holds a lane, and what that worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Holder {
    Nobody = 0,
    /// It runs a handler, or the library's own code.
    Running = 1,
    /// It sleeps in the engine, or is about to.
    Waiting = 2,
}

pub(super) struct Lane {
    /// Of a port's lane the index; of a thread's a number that no other thread's has.
    pub(super) id: u32,
    kind: Kind,
    /// Of a port's.
    pub(super) is_one_of_several: bool,
    engine: OnceLock<Engine>,
    books: Lock<Books>,
    /// Something is queued: to be looked at without the lock.
    ready: AtomicBool,
    /// Of a port's lane written under the scheduling lock, of a thread's by the thread.
    holder: AtomicU8,
    /// The kernel's id of the thread that holds the lane.
    pub(super) tid: AtomicI32,
    /// Counts the packets that its holder asked for: as long as it stands still, the holder is in its handler.
    pub(super) beat: AtomicU64,
    /// Its holder is out of the port's code. It may block there; in here it holds locks, for a moment.
    pub(super) in_handler: AtomicBool,
    /// Packets taken since the engine was last entered.
    pub(super) since_enter: AtomicU32,
    /// Its holder has been woken and has not yet come round.
    kicked: AtomicBool,
    /// Threads that are on their way into the engine's sleep, or in it.
    pub(super) sleepers: AtomicUsize,
    /// When its holder last woke, when it last took a packet while others waited, and how long after the one before: all in microseconds.
    busy_since: AtomicU64,
    last_take: AtomicU64,
    pace: AtomicU64,
    /// Nobody holds it, and a sleeping worker of another lane is told when something ends here.
    watched: Arc<AtomicBool>,
    /// There are lines that wait for a buffer.
    pub(super) starving: AtomicBool,
    /// One of them has come since the last [`Self::feed`]: no pool has been asked for it.
    pub(super) unfed: AtomicBool,
    /// One of them could go on elsewhere, but not yet: look again soon.
    pub(super) impatient: AtomicBool,
    /// What a pool calls when a buffer comes back.
    hungry: OnceLock<Waker>,
    /// A thread's lane: who sleeps aside while there is no engine.
    sleeper: OnceLock<Thread>,
    /// A thread's lane: its thread waits for a packet of a port, alertably.
    elsewhere: Mutex<Option<Arc<Worker>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    OfPort,
    OfThread,
}

/// What lies behind the lock of a lane.
pub(super) struct Books {
    /// Comes with the engine.
    pub(super) queues: Option<Queues>,
    pub(super) lines: Slab<Line>,
    pub(super) loose: Slab<Loose>,
    /// What has ended, first in, first out.
    pub(super) ready: Queue,
    /// Completions that have just been taken out of the engine. Empty at any other time.
    batch: Vec<Completion>,
    /// Lines whose first waits for a buffer.
    pub(super) starved: Vec<usize>,
    /// Lines that another thread has added to, and that only the lane's own may let go on.
    pub(super) later: Vec<usize>,
    /// The flags of the lanes that this one watches.
    watches: Slab<Arc<AtomicBool>>,
    seq: NonZeroU32,
    /// Numbers for operations that are this lane's to give.
    ids: Range<u64>,
    /// Whether others have been told that `ready` is not empty.
    told: bool,
    after: Option<Box<After>>,
    /// The thread whose lane it was has ended.
    pub(super) ended: bool,
}

/// A request without an order, in the kernel.
pub(super) struct Loose {
    pub(super) request: Box<Request>,
    pub(super) seq: u32,
    /// Why we asked the kernel to end it early.
    pub(super) ended_by: Option<Error>,
    /// The handle is closed when it has come back.
    pub(super) closing: bool,
}

impl Loose {
    pub(super) fn token(&self, at: usize) -> Token {
        Token::new(About::Loose, at, self.seq)
    }
}

/// The requests that an engine has, for it to look at.
struct InEngine<'a> {
    lines: &'a mut Slab<Line>,
    loose: &'a mut Slab<Loose>,
}

impl Requests for InEngine<'_> {
    #[inline]
    fn is_coming(&self, at: u32) {
        if let Some(line) = self.lines.get(at as usize) {
            prefetch(line);
        }
    }

    #[inline]
    fn is_near(&self, at: u32) {
        if let Some(line) = self.lines.get(at as usize) {
            line.prefetch();
        }
    }

    #[inline]
    fn request(&mut self, token: Token) -> &mut Request {
        match token.about {
            About::Loose => &mut self.loose[token.at as usize].request,
            _ => self.lines[token.at as usize].first_mut().expect("what an engine has is the first of its line"),
        }
    }
}

/// What is left to be done when the lock is free again.
#[derive(Default)]
pub(super) struct After {
    /// Ends that are to be told elsewhere.
    abroad: Vec<Ended>,
    /// Lines whose next operation is to be issued elsewhere.
    pub(super) emigrants: Vec<usize>,
    /// Requests without an order that are to be issued elsewhere.
    #[allow(clippy::vec_box, reason = "a request stays in its box")]
    pub(super) loose: Vec<Box<Request>>,
    /// Ends that nobody wants, to be dropped.
    pub(super) ended: Vec<Ended>,
    /// Handles to be dropped: this may be their last owner, and the key in them is the user's.
    pub(super) handles: Vec<Arc<Handle>>,
    /// A wake-up was taken from somebody, or there is something for the lane's own thread to do.
    pub(super) rouse: bool,
}

impl Books {
    fn new() -> Self {
        Self {
            queues: None,
            lines: Slab::new(),
            loose: Slab::new(),
            ready: Queue::default(),
            batch: Vec::with_capacity(REAPED_AT_ONCE),
            starved: Vec::new(),
            later: Vec::new(),
            watches: Slab::new(),
            seq: NonZeroU32::MIN,
            ids: 0..0,
            told: false,
            after: None,
            ended: false,
        }
    }

    #[inline]
    pub(super) fn queues(&self) -> &Queues {
        self.queues.as_ref().expect("a lane that is used has an engine")
    }

    #[inline]
    pub(super) fn queues_mut(&mut self) -> &mut Queues {
        self.queues.as_mut().expect("a lane that is used has an engine")
    }

    pub(super) fn after(&mut self) -> &mut After {
        self.after.get_or_insert_default()
    }

    #[inline]
    pub(super) fn next_seq(&mut self) -> NonZeroU32 {
        self.seq = self.seq.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.seq
    }

    /// The id of an operation that starts here. Lanes take them in blocks: a count that all threads share would be one more thing to
    /// wait for with each operation.
    #[inline]
    pub(super) fn next_id(&mut self) -> OperationId {
        const BLOCK: u64 = 1 << 16;
        static TAKEN: AtomicU64 = AtomicU64::new(1); // 0 is `OperationId::NONE`
        OperationId(self.ids.next().unwrap_or_else(|| {
            let first = TAKEN.fetch_add(BLOCK, Ordering::Relaxed);
            self.ids = first + 1..first + BLOCK;
            first
        }))
    }

    /// An operation has ended: queues that here, or sees to it that it is told elsewhere.
    #[inline]
    pub(super) fn deliver(&mut self, lane: &Lane, mut ended: Ended) {
        trace::completed(ended.id, &ended.operation, &ended.handle, ended.result());
        let here = match ended.way {
            Way::Raw(_) => raw::tell(&mut ended, lane.of_thread_id()),
            _ => ended.way.is_at_home(lane),
        };
        match here && !self.ended && !self.queues().is_sealed() {
            true => {
                if lane.kind == Kind::OfPort {
                    trace::queued(ended.id, lane.id);
                }
                self.ready.push(ended);
            }
            false => self.after().abroad.push(ended),
        }
    }

    /// The next of what has ended, or an APC.
    #[inline]
    pub(super) fn next(&mut self, lane: &Lane) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop() {
                return Some(item);
            }
            if !self.reap_some(lane) {
                return None;
            }
        }
    }

    /// The next of what has ended, in a lane without APCs.
    #[inline]
    fn next_end(&mut self, lane: &Lane) -> Option<Ended> {
        loop {
            if let Some(ended) = self.ready.pop_end() {
                return Some(ended);
            }
            if !self.reap_some(lane) {
                return None;
            }
        }
    }

    /// Turns all completions into ends.
    pub(super) fn reap(&mut self, lane: &Lane) {
        while self.reap_some(lane) {}
    }

    /// Turns a few completions into ends. `false`: there was none.
    fn reap_some(&mut self, lane: &Lane) -> bool {
        let Self { queues: Some(queues), batch, lines, loose, .. } = self else { return false };
        lane.engine().reap(queues, &mut InEngine { lines, loose }, batch);
        match batch[..] {
            [] => return false,
            [completion] => {
                batch.clear();
                self.complete(lane, &completion);
                return true;
            }
            _ => {}
        }
        let mut batch = std::mem::take(&mut self.batch);
        for at in 0..batch.len() {
            self.look_ahead(&batch[at..]);
            self.complete(lane, &batch[at]);
        }
        batch.clear();
        self.batch = batch;
        true
    }

    /// Has what the completions behind this one are about fetched into the cache: first the line, later what hangs on it.
    #[inline]
    fn look_ahead(&self, batch: &[Completion]) {
        let line = |ahead: usize| {
            let token = batch.get(ahead)?.token();
            matches!(token.about, About::Line | About::Standing).then(|| self.lines.get(token.at as usize)).flatten()
        };
        if let Some(line) = line(LINE_AHEAD) {
            prefetch(line);
        }
        if let Some(line) = line(REQUEST_AHEAD) {
            line.prefetch();
        }
        let raw = |ahead: usize| match &line(ahead)?.first()?.way {
            Way::Raw(raw) => Some(&**raw),
            _ => None,
        };
        if let Some(raw) = raw(RAW_AHEAD) {
            prefetch(raw);
        }
        if let Some(raw) = raw(LISTENER_AHEAD) {
            raw.prefetch();
        }
    }

    #[inline]
    fn complete(&mut self, lane: &Lane, completion: &Completion) {
        match completion.token().about {
            About::Line => self.line_ended(lane, completion),
            About::Standing => self.arrived(lane, completion),
            About::Loose => self.loose_ended(lane, completion),
            About::CancelLine | About::CancelStanding | About::CancelLoose => {
                if completion.result == -libc::ENOENT || completion.result == -libc::EALREADY {
                    self.not_found(lane, completion.token().opposite());
                }
            }
            // If another thread sleeps here, or is on its way, it was meant for that one.
            About::Woken => {
                let taken_away = match lane.kind {
                    Kind::OfPort => lane.sleepers.load(Ordering::SeqCst) > 0,
                    Kind::OfThread => !lane.is_mine(),
                };
                if taken_away {
                    self.after().rouse = true;
                }
            }
            About::Watched => {
                let watched = self.watches.try_remove(completion.token().at as usize);
                watched.into_iter().for_each(|watched| watched.store(false, Ordering::SeqCst));
            }
            About::Nothing => {}
        }
    }

    /// Gives a request without an order to the kernel.
    pub(super) fn issue_loose(&mut self, lane: &Lane, request: Box<Request>) -> (usize, u32) {
        let seq = self.next_seq().get();
        let on = Target { fd: request.handle.raw_fd(), place: None, drained: false };
        let at = self.loose.insert(Loose { request, seq, ended_by: None, closing: false });
        let Self { loose, queues: Some(queues), .. } = self else { return (at, seq) };
        lane.engine().start(queues, Token::new(About::Loose, at, seq), &mut loose[at].request, on);
        (at, seq)
    }

    /// A request without an order has ended or, if it is a standing accept, brought something.
    fn loose_ended(&mut self, lane: &Lane, completion: &Completion) {
        let at = completion.token().at as usize;
        let loose = &mut self.loose[at];
        debug_assert_eq!(loose.seq, completion.token().seq);
        let handle = &loose.request.handle;
        if completion.more() {
            let result = super::handle::count(completion.result);
            let ended = handle.accepted(loose.request.id, result, true, loose.request.way.again());
            return self.deliver(lane, ended);
        }
        let (again, result) = match (loose.request.advance(completion.result), loose.ended_by) {
            (Step::Done(Err(Error::OPERATION_ABORTED)) | Step::Again, Some(error)) => (false, Err(error)),
            (Step::Done(result), Some(_)) => (false, result),
            // Cancelled although nobody asked for it, or to be looked at again: see `line_ended`.
            (Step::Done(Err(Error::OPERATION_ABORTED)) | Step::Again, None) => match loose.request.handle.is_closed() {
                true => (false, Err(loose.request.handle.closed_error())),
                false => (true, Ok(0)),
            },
            // A standing accept that the kernel ended, although neither we nor the listener did.
            (Step::Done(result), None) => {
                let goes_on = loose.request.is_standing_accept() && super::handle::passes(&result);
                if goes_on {
                    let ended =
                        loose.request.handle.accepted(loose.request.id, result, true, loose.request.way.again());
                    self.deliver(lane, ended);
                }
                (goes_on, result)
            }
        };
        let Loose { request, closing, .. } = self.loose.remove(at);
        let handle = Arc::clone(&request.handle);
        handle.landed(lane.id, at, completion.token().seq);
        if again && request.way.is_at_home(lane) {
            handle.issue_loose(self, lane, request);
        } else if again {
            self.after().loose.push(request);
        } else {
            let ended = match request.operation {
                Operation::Accept { .. } => handle.accepted(request.id, result, false, request.way),
                _ => request.end(result),
            };
            self.deliver(lane, ended);
            if closing {
                handle.unpin();
            }
        }
        drop(handle); // not the last owner: the request or its end is one
    }

    /// Takes the end of an operation out of the queue.
    pub(super) fn retract(&mut self, handle: &Handle, operation: OperationId) -> Option<Ended> {
        self.ready.extract(|ended| ended.id == operation && std::ptr::eq(&*ended.handle, handle)).pop()
    }

    /// Takes the ends of cells' operations out of the queue.
    pub(super) fn take_cells(&mut self) -> Vec<Ended> {
        self.ready.extract(|ended| matches!(ended.way, Way::Cell { .. }))
    }

    /// Takes everything out: nothing is in the kernel. To be dropped with no lock held.
    pub(super) fn clear(&mut self) -> impl Sized + use<> {
        let lines: Vec<_> = self.lines.iter_mut().map(|(_, line)| line.clear()).collect();
        let loose: Vec<_> = self.loose.drain().collect();
        self.starved.clear();
        (lines, loose, self.ready.take_all())
    }
}

impl Lane {
    fn with(id: u32, kind: Kind, is_one_of_several: bool) -> Self {
        Self {
            id,
            kind,
            is_one_of_several,
            engine: OnceLock::new(),
            books: Lock::new(Books::new()),
            ready: AtomicBool::new(false),
            holder: AtomicU8::new(Holder::Nobody as u8),
            tid: AtomicI32::new(0),
            beat: AtomicU64::new(0),
            in_handler: AtomicBool::new(false),
            since_enter: AtomicU32::new(0),
            kicked: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            last_take: AtomicU64::new(0),
            pace: AtomicU64::new(0),
            watched: Arc::default(),
            starving: AtomicBool::new(false),
            unfed: AtomicBool::new(false),
            impatient: AtomicBool::new(false),
            hungry: OnceLock::new(),
            sleeper: OnceLock::new(),
            elsewhere: Mutex::new(None),
        }
    }

    /// One of `count`.
    pub(super) fn of_port(index: usize, count: usize) -> Self {
        Self::with(index as u32, Kind::OfPort, count > 1)
    }

    pub(super) fn of_thread(id: u32) -> Self {
        Self::with(id, Kind::OfThread, false)
    }

    /// Gives the lane its engine, if it has none. Called under the port's scheduling lock, or by the thread whose lane it is.
    pub(super) fn equip(&self, mode: Mode, kind: Option<EngineKind>) -> Result<()> {
        if self.engine.get().is_none() {
            let (engine, queues) = Engine::new(mode, kind)?;
            self.books.lock().queues = Some(queues);
            let _ = self.engine.set(engine);
        }
        Ok(())
    }

    #[inline]
    pub(super) fn equipped(&self) -> Option<&Engine> {
        self.engine.get()
    }

    #[inline]
    pub(super) fn engine(&self) -> &Engine {
        self.engine.get().expect("a lane that is used has an engine")
    }

    /// Works on what lies behind the lock, and does what is left to be done when it is free again.
    #[inline]
    pub(super) fn work<R>(&self, work: impl FnOnce(&mut Books) -> R) -> R {
        let mut books = self.books.lock();
        let result = work(&mut books);
        let after = self.publish(&mut books);
        drop(books);
        if let Some(after) = after {
            self.see_to(*after);
        }
        result
    }

    /// Two lanes at once, always locked in the same order.
    pub(super) fn work_with<R>(&self, other: &Lane, work: impl FnOnce(&mut Books, &mut Books) -> R) -> R {
        let (mut mine, mut others);
        if std::ptr::from_ref(self) < std::ptr::from_ref(other) {
            mine = self.books.lock();
            others = other.books.lock();
        } else {
            others = other.books.lock();
            mine = self.books.lock();
        }
        let result = work(&mut mine, &mut others);
        let after = (self.publish(&mut mine), other.publish(&mut others));
        drop((mine, others));
        after.0.into_iter().for_each(|after| self.see_to(*after));
        after.1.into_iter().for_each(|after| other.see_to(*after));
        result
    }

    /// Tells those who look without the lock whether something is queued.
    #[inline]
    fn publish(&self, books: &mut Books) -> Option<Box<After>> {
        let ready = !books.ready.is_empty();
        if ready != books.told {
            books.told = ready;
            self.ready.store(ready, Ordering::SeqCst);
        }
        books.after.take()
    }

    #[cold]
    fn see_to(&self, after: After) {
        let After { abroad, emigrants, loose, ended, handles, rouse } = after;
        if rouse {
            self.rouse();
        }
        for ended in abroad {
            thread::tell(ended);
        }
        for at in emigrants {
            Handle::emigrate(self, at);
        }
        for request in loose {
            Handle::issue_at_home(request);
        }
        drop((ended, handles));
    }

    #[inline]
    pub(super) fn holder(&self) -> Holder {
        match self.holder.load(Ordering::SeqCst) {
            0 => Holder::Nobody,
            1 => Holder::Running,
            _ => Holder::Waiting,
        }
    }

    pub(super) fn set_holder(&self, holder: Holder) {
        self.holder.store(holder as u8, Ordering::SeqCst);
    }

    /// The number of the thread whose lane it is, if it is one's.
    #[inline]
    fn of_thread_id(&self) -> Option<u32> {
        (self.kind == Kind::OfThread).then_some(self.id)
    }

    /// Whether the calling thread holds it.
    #[inline]
    pub(super) fn is_mine(&self) -> bool {
        self.tid.load(Ordering::Relaxed) == this_tid()
    }

    /// Whether the calling thread may enter its engine, and change what is registered there.
    #[inline]
    pub(super) fn may_be_entered(&self) -> bool {
        self.kind == Kind::OfPort || self.is_mine()
    }

    /// Its holder has slept, and has something to do.
    pub(super) fn begin(&self) {
        self.busy_since.store(micros(), Ordering::Relaxed);
    }

    /// Whether its holder has been busy for so long, or takes so long for a packet, that others should take what is left. Asked by the
    /// holder, with each packet that it takes while others wait.
    pub(super) fn is_behind(&self) -> bool {
        const BUSY: u64 = 200;
        const SLOW: u64 = 20;
        let now = micros();
        let last = self.last_take.swap(now, Ordering::Relaxed);
        let begun = self.busy_since.load(Ordering::Relaxed);
        if last > begun {
            self.pace.store(now.saturating_sub(last), Ordering::Relaxed);
        }
        now.saturating_sub(begun) > BUSY || self.pace.load(Ordering::Relaxed) > SLOW
    }

    /// Its holder asks for a packet.
    #[inline]
    pub(super) fn enter_port(&self) {
        let beat = self.beat.load(Ordering::Relaxed);
        self.beat.store(beat.wrapping_add(1), Ordering::Relaxed);
        self.in_handler.store(false, Ordering::Relaxed);
    }

    /// Whether something is queued.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// Whether there is something to take here.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.is_ready() || self.equipped().is_some_and(Engine::has_completions)
    }

    /// Whether the kernel has something of it.
    pub(super) fn is_engaged(&self) -> bool {
        self.equipped().is_some() && self.books.lock().queues().in_flight() > 0
    }

    /// The next end, if there is something to take.
    #[inline]
    pub(super) fn pop(&self) -> Option<Ended> {
        if !self.has_work() {
            return None;
        }
        self.work(|books| books.next_end(self))
    }

    /// Turns completions into packets, for others to take.
    pub(super) fn reap(&self) {
        if self.equipped().is_some_and(Engine::has_completions) {
            self.work(|books| books.reap(self));
        }
        self.pass_on();
    }

    /// Something was taken out of the engine by a thread that may not be the lane's holder.
    pub(super) fn pass_on(&self) {
        // Another thread has looked and is about to sleep: what was taken out here would have kept it awake. One that sleeps
        // already wakes from any completion, so this does not go round. Or what was taken out has found its pool empty, and the
        // other, who has fed the lane before, is the one to feed it again.
        if (self.is_ready() || self.unfed.load(Ordering::SeqCst)) && self.sleepers.load(Ordering::SeqCst) > 0 {
            self.engine().wake();
        }
    }

    /// Lets the engine see what was started and, as `wait` says, sleeps until something has ended.
    pub(super) fn enter(&self, wait: Wait) -> Result<()> {
        let engine = self.engine();
        loop {
            let (to_submit, backlog) = engine.fill(self.books.lock().queues_mut());
            // With a backlog there is another round to go, so the kernel must not wait in this one.
            let entered = engine.enter(to_submit, if backlog { Wait::No } else { wait });
            if to_submit > 0 {
                engine.recount(self.books.lock().queues_mut());
            }
            entered?;
            if !backlog || engine.has_completions() {
                return Ok(());
            }
        }
    }

    /// Ends its holder's sleep, once.
    pub(super) fn wake(&self) {
        if !self.kicked.swap(true, Ordering::SeqCst) {
            self.rouse();
        }
    }

    fn rouse(&self) {
        if self.kind == Kind::OfThread
            && let Some(worker) = &*self.elsewhere.lock()
        {
            return worker.disturb();
        }
        match (self.engine.get(), self.sleeper.get()) {
            (Some(engine), _) => engine.wake(),
            (None, Some(thread)) => thread.unpark(),
            (None, None) => {} // it has not begun
        }
    }

    /// Something has been put into a thread's lane by another thread.
    pub(super) fn nudge(&self) {
        if self.holder() == Holder::Waiting {
            self.wake();
        }
    }

    /// Its holder has come round.
    pub(super) fn awake(&self) {
        self.kicked.store(false, Ordering::SeqCst);
        self.since_enter.store(0, Ordering::Relaxed);
    }

    /// Its thread waits for a packet of a port as this worker, and is to hear of what is queued here, too; or waits no longer.
    pub(super) fn wait_elsewhere(&self, worker: Option<&Arc<Worker>>) {
        *self.elsewhere.lock() = worker.cloned();
        self.set_holder(if worker.is_some() { Holder::Waiting } else { Holder::Running });
    }

    /// Whether something is queued for its thread, which is about to sleep elsewhere: a wake-up from before is forgotten first, as who gave
    /// it has queued something before that.
    pub(super) fn is_alerted(&self) -> bool {
        self.awake();
        self.has_work()
    }

    /// This thread is the one whose lane it is.
    pub(super) fn settle_in(&self) {
        let _ = self.sleeper.set(std::thread::current());
        self.tid.store(this_tid(), Ordering::SeqCst);
        self.set_holder(Holder::Running);
    }

    /// Has `other` watched by this lane: who sleeps here is told when something ends there.
    pub(super) fn watch(&self, other: &Lane) {
        if !other.watched.swap(true, Ordering::SeqCst) {
            self.work(|books| {
                let at = books.watches.insert(Arc::clone(&other.watched));
                self.engine().watch(books.queues_mut(), other.engine(), at);
            });
        }
    }

    /// Nothing is in flight any more: gives back what the engine has of pools. By the thread whose lane it is, if of one.
    pub(super) fn retire(&self) {
        if let Some(engine) = self.engine.get()
            && let Some(queues) = &mut self.books.lock().queues
        {
            engine.retire(queues);
        }
    }

    fn refill(&self, books: &mut Books) {
        self.engine().refill(books.queues_mut());
    }

    // Lines that wait for a buffer.

    /// Tops up the engine's buffers, and lets receives that waited for one go on. `port`: whose lane it is, if of a port.
    pub(super) fn feed(&self, port: Option<&Arc<Port>>) {
        self.unfed.store(false, Ordering::SeqCst);
        let starving = self.starving.load(Ordering::SeqCst);
        self.work(|books| {
            self.refill(books);
            for at in std::mem::take(&mut books.later) {
                if books.lines.contains(at) {
                    books.go_on(self, at);
                }
            }
        });
        if !starving {
            return;
        }
        let mut impatient = false;
        let mut movable = Vec::new();
        self.work(|books| {
            for at in std::mem::take(&mut books.starved) {
                let Some(line) = books.lines.get(at) else { continue };
                let Some(pool) = line.wanted_pool().map(|pool| Arc::clone(&pool.0)) else {
                    books.go_on(self, at); // who starved was ended early
                    continue;
                };
                let mut fed = books.queues().has_buffers(&pool);
                if !fed {
                    // Asked first, looked again afterwards: a buffer that comes back in between is not missed.
                    pool.wake_on_return(self.hungry.get_or_init(|| Hungry::waker(self, port)));
                    self.refill(books);
                    fed = books.queues().has_buffers(&pool);
                }
                if fed {
                    books.lines[at].unstall();
                    books.go_on(self, at);
                    continue;
                }
                books.starved.push(at);
                movable.push((pool, at));
            }
        });
        // Another lane may have been given buffers that it does not use.
        for (pool, at) in movable {
            let rich = port.and_then(|port| {
                let mut others = port.lanes().iter().filter(|lane| lane.id != self.id && lane.equipped().is_some());
                others.find(|lane| lane.books.lock().queues().has_buffers(&pool))
            });
            if let Some(rich) = rich {
                impatient |= !Handle::relocate(self, at, rich); // its packets have to be dequeued first; nobody will tell when they were
            }
        }
        let starving = !self.books.lock().starved.is_empty();
        self.starving.store(starving, Ordering::SeqCst);
        self.impatient.store(impatient, Ordering::SeqCst);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.retire();
    }
}

/// Wakes a lane when a buffer comes back.
enum Hungry {
    Port(Weak<Port>, usize),
    Thread(u32),
}

impl Hungry {
    fn waker(lane: &Lane, port: Option<&Arc<Port>>) -> Waker {
        let hungry = match port {
            Some(port) => Self::Port(Arc::downgrade(port), lane.id as usize),
            None => Self::Thread(lane.id),
        };
        Arc::new(hungry).into()
    }
}

impl Wake for Hungry {
    fn wake(self: Arc<Self>) {
        match &*self {
            Self::Port(port, lane) => {
                if let Some(port) = port.upgrade() {
                    port.attend(*lane);
                }
            }
            Self::Thread(lane) => _ = thread::with_lane(*lane, Lane::nudge),
        }
    }
}
