//! A handle: its descriptor, its key, and the seats of its two lines.
//!
//! The operations of a handle stand in a line for each direction ([`line`](mod@super::line)); accepts and file operations, which have no
//! order, go straight to the kernel. A handle that is associated with a port has its lines in the port's lanes; a free one has
//! them in the lanes of the threads that want to hear of their ends.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::engine::{About, Token, Wait};
use super::lane::{Books, Lane};
use super::line::{Direction, Line, direction};
use super::request::Step;
use super::timers::{Moment, Timers};
use super::{Descriptor, Port, Way, host, raw, thread};
use crate::sync::Mutex;
use crate::sys::{Ended, Kind, Operation, OperationId, Request};
use crate::{Error, Result, trace};

/// What each operation looks at comes first, so that it lies together in the cache.
#[repr(C)]
#[allow(unreachable_pub, reason = "named by a sealed trait, which is public as far as the compiler knows")]
pub struct Handle {
    association: OnceLock<Association>,
    /// Where its lines are.
    seats: [Seat; 2],
    raw: RawFd,
    closed: AtomicBool,
    sending: AtomicU8,
    receiving: AtomicU8,
    kind: Kind,
    /// Operations of each line that were started and whose packets have not been dequeued; counted where a port has several lanes.
    outstanding: [AtomicU32; 2],
    /// The error that broke the connection, or 0. Linux says so once, and then that it ended orderly.
    broken: AtomicU32,
    /// Connections lie in `cold.accepted`.
    has_accepted: AtomicBool,
    /// Changes with the socket behind it.
    id: AtomicU64,
    cold: Mutex<Cold>,
}

struct Association {
    port: Arc<Port>,
    key: Box<dyn Any + Send + Sync>,
}

/// What is seldom needed. Its lock comes after a lane's.
struct Cold {
    /// `None` once it is closed.
    fd: Option<OwnedFd>,
    /// What a close waits for.
    pins: usize,
    /// Requests without an order: the lane, the place there, and the number.
    loose: Vec<(u32, usize, u32)>,
    /// When the timers will next look at this handle.
    timer_at: Option<Instant>,
    /// Lines whose lane has gone. They are empty, except for what was received.
    resting: [Option<Box<Line>>; 2],
    /// Connections that an accept brought and nobody wanted.
    accepted: VecDeque<OwnedFd>,
}

/// The state of a half of a connection.
mod half {
    pub(super) const OPEN: u8 = 0;
    /// To be shut when what is in line has left.
    pub(super) const SHUT_WHEN_IDLE: u8 = 1;
    pub(super) const SHUT: u8 = 2;
}

/// Where a line is: a lane and the place there, or nowhere. Changed under the lock of the lane, and behind that under the cold one
/// if it was nowhere.
#[derive(Default)]
struct Seat(AtomicU64);

impl Seat {
    #[inline]
    fn get(&self) -> Option<(u32, usize)> {
        match self.0.load(SeqCst) {
            0 => None,
            seat => Some(((seat >> 32) as u32, (seat as u32 - 1) as usize)),
        }
    }

    fn set(&self, seat: Option<(u32, usize)>) {
        self.0.store(seat.map_or(0, |(lane, at)| u64::from(lane) << 32 | (at as u64 + 1)), SeqCst);
    }
}

/// What became of an attempt to start.
enum Attempt {
    Started(OperationId),
    /// The line has moved: look again.
    Again,
    /// The line is idle here, and its operation is to be issued elsewhere.
    Move(usize),
    /// The lane takes nothing any more.
    Refused,
}

static LAST_ID: AtomicU64 = AtomicU64::new(0);

fn next_id() -> u64 {
    LAST_ID.fetch_add(1, SeqCst) + 1
}

/// The count or error that a result of the kernel means.
pub(super) fn count(result: i32) -> Result<usize> {
    if result < 0 { Err(Error::from_errno(-result)) } else { Ok(result as usize) }
}

impl Handle {
    pub(crate) fn new(fd: Descriptor, kind: Kind) -> Arc<Self> {
        let_block(&fd);
        host::keep_quiet(&fd);
        Arc::new(Self {
            id: AtomicU64::new(next_id()),
            association: OnceLock::new(),
            seats: Default::default(),
            outstanding: Default::default(),
            kind,
            raw: fd.as_raw_fd(),
            closed: AtomicBool::new(false),
            sending: AtomicU8::new(half::OPEN),
            receiving: AtomicU8::new(half::OPEN),
            has_accepted: AtomicBool::new(false),
            broken: AtomicU32::new(0),
            cold: Mutex::new(Cold {
                fd: Some(fd),
                pins: 0,
                loose: Vec::new(),
                timer_at: None,
                resting: [None, None],
                accepted: VecDeque::new(),
            }),
        })
    }

    /// Binds a free handle to a port. It must have no other owner.
    pub(crate) fn associate(handle: Arc<Self>, port: &Arc<Port>, key: Box<dyn Any + Send + Sync>) -> Result<Arc<Self>> {
        if port.is_closed() {
            return Err(Error::ABANDONED_WAIT);
        }
        if Arc::strong_count(&handle) > 1 {
            return Err(Error::INVALID_PARAMETER); // clones, or operations: each has a share
        }
        Self::bind_to(&handle, port, key)?;
        Ok(handle)
    }

    /// Binds a free handle to a port. It must have no operation.
    pub(super) fn bind_to(handle: &Arc<Self>, port: &Arc<Port>, key: Box<dyn Any + Send + Sync>) -> Result<()> {
        // What it has received and nobody has asked for stays with it, as a line at rest.
        for direction in [Direction::Receive, Direction::Send] {
            thread::rest(handle, direction)?;
        }
        // Accepts on readiness have set it otherwise.
        if handle.kind == Kind::Listener
            && let Some(fd) = &handle.cold.lock().fd
        {
            let_block(fd);
        }
        let _ = handle.association.set(Association { port: Arc::clone(port), key }); // it is free
        Ok(())
    }

    pub(crate) fn key(&self) -> &(dyn Any + Send + Sync) {
        &*self.association.get().expect("only an associated handle is asked for its key").key
    }

    /// No other handle of the process has it, then or later, and no other socket of this one.
    pub(super) fn id(&self) -> u64 {
        self.id.load(Relaxed) // it changes while no operation is under way, and whoever starts one knows that by other means
    }

    #[inline]
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    #[inline]
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.raw
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// For people to read: the number of the descriptor, if it is open.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.cold.lock().fd.as_ref().map(AsRawFd::as_raw_fd)
    }

    pub(crate) fn with_descriptor<T>(&self, f: impl FnOnce(&BorrowedFd<'_>) -> Result<T>) -> Result<T> {
        match &self.cold.lock().fd {
            Some(fd) if !self.is_closed() => f(&fd.as_fd()),
            _ => Err(Error::INVALID_HANDLE),
        }
    }

    pub(super) fn has_port(&self) -> bool {
        self.association.get().is_some()
    }

    #[inline]
    fn port(&self) -> Option<&Arc<Port>> {
        self.association.get().map(|association| &association.port)
    }

    fn timers(&self) -> &Timers {
        self.port().map_or(thread::timers(), |port| &port.timers)
    }

    /// Works with a lane of the port or of a thread. `None`: that thread has ended.
    #[inline]
    fn with_lane<R>(&self, lane: u32, work: impl FnOnce(&Lane) -> R) -> Option<R> {
        match self.association.get() {
            Some(association) => Some(work(association.port.lane(lane as usize))),
            None => thread::with_lane(lane, work),
        }
    }

    /// The lane that an operation is to be issued in.
    #[inline]
    fn home(&self, way: &Way) -> u32 {
        match (self.association.get(), way.home()) {
            (Some(association), _) => association.port.lane_here() as u32,
            (None, home) => home.unwrap_or(0),
        }
    }

    /// Something was put into a lane: its holder has to see it.
    #[inline]
    fn attend(&self, lane: &Lane) {
        if !lane.is_mine() {
            Self::call(lane, self.port());
        }
    }

    #[inline(never)]
    fn call(lane: &Lane, port: Option<&Arc<Port>>) {
        match port {
            Some(port) => port.attend(lane.id as usize),
            None => lane.nudge(),
        }
    }

    // Starting.

    /// Starts an operation of the request's handle. It ends once, and that is told the way that was asked for.
    pub(crate) fn start(
        request: Box<Request>,
        timeout: Option<Duration>,
    ) -> std::result::Result<OperationId, (Error, Box<Request>)> {
        let mut request = request;
        if let Some(timeout) = timeout {
            if request.handle.association.get().is_none()
                && let Err(error) = thread::reaper()
            {
                return Err((error, request)); // who would look at the clock?
            }
            request.in_flight.deadline = Moment::in_future(timeout);
        }
        match direction(&request.operation) {
            Some(direction) => {
                let handle = Arc::as_ptr(&request.handle);
                // SAFETY: the request owns a share of the handle, in the box that this call has until the request has joined its line. After
                // that `start_in_line` asks for the handle only under the lane's lock, without which no request ends.
                unsafe { &*handle }.start_in_line(direction, request)
            }
            None => Arc::clone(&request.handle).start_loose(request),
        }
    }

    /// The request is all that keeps the handle: see [`attempt`](Self::attempt).
    #[inline]
    fn start_in_line(
        &self,
        direction: Direction,
        request: Box<Request>,
    ) -> std::result::Result<OperationId, (Error, Box<Request>)> {
        let home = self.home(&request.way);
        let mut request = Some(request);
        loop {
            let seat = self.seats[direction as usize].get();
            let lane = seat.map_or(home, |(lane, _)| lane);
            let attempt = self.with_lane(lane, |lane| match lane.is_mine() {
                true => self.attempt(lane, direction, seat, home, &mut request),
                false => self.attempt_elsewhere(lane, direction, seat, home, &mut request),
            });
            match attempt {
                Some(Attempt::Started(id)) => return Ok(id),
                Some(Attempt::Again) => {}
                failed => {
                    if let Err(error) = self.prepare(failed, direction, seat, lane, home) {
                        return Err((error, request.expect("it was not started")));
                    }
                }
            }
        }
    }

    /// Does what is to be done before the next attempt.
    #[cold]
    fn prepare(
        &self,
        failed: Option<Attempt>,
        direction: Direction,
        seat: Option<(u32, usize)>,
        lane: u32,
        home: u32,
    ) -> Result<()> {
        match failed {
            Some(Attempt::Move(at)) => {
                self.with_lane(lane, |from| self.with_lane(home, |to| Self::relocate(from, at, to)));
            }
            // A line whose thread has ended rests, or is about to.
            Some(Attempt::Refused) | None if self.association.get().is_none() && lane != home => {
                self.forget_seat(direction, seat);
                std::thread::yield_now();
            }
            Some(Attempt::Refused) | None => return Err(Error::ABANDONED_WAIT),
            Some(Attempt::Started(_) | Attempt::Again) => {}
        }
        Ok(())
    }

    /// Tries to start `request` in a lane that is another's, whose holder has to see it.
    #[inline(never)]
    fn attempt_elsewhere(
        &self,
        lane: &Lane,
        direction: Direction,
        seat: Option<(u32, usize)>,
        home: u32,
        request: &mut Option<Box<Request>>,
    ) -> Attempt {
        let port = self.port().cloned();
        let attempt = self.attempt(lane, direction, seat, home, request);
        if let Attempt::Started(_) = attempt {
            Self::call(lane, port.as_ref());
        }
        attempt
    }

    /// Tries to start `request` in a lane, and takes it if it does. Then the handle may be gone as soon as the lane's lock is.
    #[inline]
    fn attempt(
        &self,
        lane: &Lane,
        direction: Direction,
        seat: Option<(u32, usize)>,
        home: u32,
        request: &mut Option<Box<Request>>,
    ) -> Attempt {
        lane.work(|books| {
            if books.ended || books.queues().is_sealed() {
                return Attempt::Refused;
            }
            let Some(at) = self.find(books, lane, direction, seat, request) else { return Attempt::Again };
            if lane.id != home && self.may_leave(&books.lines[at]) {
                return Attempt::Move(at);
            }
            if lane.is_one_of_several {
                self.outstanding[direction as usize].fetch_add(1, SeqCst);
            }
            let mut request = request.take().expect("it is started once");
            let id = books.next_id();
            request.id = id;
            trace::issued(id, &request.operation, self);
            if let Some(error) = self.refusal(direction) {
                books.deliver(lane, request.end(Err(error)));
                return Attempt::Started(id);
            }
            if let Way::Raw(raw) = &request.way
                && raw.is_eager()
                && books.lines[at].is_clear()
                && let Some(result) = raw::attempt(&mut request)
            {
                books.deliver(lane, request.end(result));
                return Attempt::Started(id);
            }
            if direction == Direction::Send
                && books.lines[at].is_clear()
                && let Some(result) = lane.engine().send_now(books.queues_mut(), &request, self.raw)
                && let Step::Done(result) = request.advance(result)
            {
                let result = self.correct(&request.operation, result);
                books.deliver(lane, request.end(result));
                return Attempt::Started(id);
            }
            if let Some(deadline) = request.in_flight.deadline {
                request.handle.schedule(deadline.instant());
            }
            books.join(lane, at, request);
            Attempt::Started(id)
        })
    }

    /// The place of a line in a lane: the one that it had, or a new one if it was nowhere.
    #[inline]
    fn find(
        &self,
        books: &mut Books,
        lane: &Lane,
        direction: Direction,
        seat: Option<(u32, usize)>,
        request: &Option<Box<Request>>,
    ) -> Option<usize> {
        if let Some((_, at)) = seat {
            let line = books.lines.get(at)?;
            return (line.is_of(self) && line.direction == direction).then_some(at);
        }
        request.as_ref()?.handle.take_seat(books, lane, direction)
    }

    /// A line that was nowhere gets its place.
    #[inline(never)]
    fn take_seat(self: &Arc<Self>, books: &mut Books, lane: &Lane, direction: Direction) -> Option<usize> {
        let mut cold = self.cold.lock();
        if self.seats[direction as usize].get().is_some() {
            return None; // by another thread, just now
        }
        let line = match cold.resting[direction as usize].take() {
            Some(line) => *line,
            None => Line::new(self, direction),
        };
        assert!(books.lines.len() < Token::MOST, "more lines than a lane can name");
        let at = books.lines.insert(line);
        self.seats[direction as usize].set(Some((lane.id, at)));
        Some(at)
    }

    /// Whether a line may go to another lane: nothing of it is under way. Packets of a port's handle have been dequeued, too, so that they
    /// keep their order.
    fn may_leave(&self, line: &Line) -> bool {
        let outstanding = match self.association.get() {
            Some(_) => self.outstanding[line.direction as usize].load(SeqCst) as usize,
            None => 0,
        };
        line.is_idle() && outstanding == 0
    }

    /// Whether a half of the connection was shut.
    pub(super) fn is_shut(&self, direction: Direction) -> bool {
        self.refusal(direction) == Some(Error::SHUTDOWN)
    }

    /// Why an operation cannot start.
    #[inline]
    fn refusal(&self, direction: Direction) -> Option<Error> {
        let half = match direction {
            Direction::Send => &self.sending,
            Direction::Receive => &self.receiving,
        };
        if self.is_closed() {
            Some(Error::INVALID_HANDLE)
        } else if half.load(SeqCst) != half::OPEN {
            Some(Error::SHUTDOWN)
        } else {
            None
        }
    }

    #[inline(never)]
    fn start_loose(self: &Arc<Self>, request: Box<Request>) -> std::result::Result<OperationId, (Error, Box<Request>)> {
        let home = self.home(&request.way);
        let mut request = Some(request);
        let started = self.with_lane(home, |lane| {
            let started = lane.work(|books| {
                if books.ended || books.queues().is_sealed() {
                    return None;
                }
                let mut request = request.take().expect("it is started once");
                let id = books.next_id();
                request.id = id;
                trace::issued(id, &request.operation, self);
                // To the kernel it would mean the descriptor's own position, which an overlapped file has not.
                let everywhere = matches!(request.operation, Operation::ReadAt { offset: u64::MAX, .. });
                if self.is_closed() || everywhere {
                    let error = if everywhere { Error::INVALID_PARAMETER } else { Error::INVALID_HANDLE };
                    books.deliver(lane, request.end(Err(error)));
                    return Some(id);
                }
                self.issue_loose(books, lane, request);
                Some(id)
            });
            if started.is_some() {
                self.attend(lane);
            }
            started
        });
        match started.flatten() {
            Some(id) => Ok(id),
            None => Err((Error::ABANDONED_WAIT, request.expect("it was not started"))),
        }
    }

    /// Gives a request without an order to the kernel; an accept may find its connection here.
    pub(super) fn issue_loose(self: &Arc<Self>, books: &mut Books, lane: &Lane, request: Box<Request>) {
        if self.has_accepted.load(SeqCst) && matches!(request.operation, Operation::Accept { .. }) {
            let mut cold = self.cold.lock();
            let accepted = cold.accepted.pop_front();
            self.has_accepted.store(!cold.accepted.is_empty(), SeqCst);
            drop(cold);
            if accepted.is_some() {
                let mut request = request;
                request.operation = Operation::Accept { standing: false, accepted };
                return books.deliver(lane, request.end(Ok(0)));
            }
        }
        if books.queues().is_sealed() {
            books.deliver(lane, request.end(Err(Error::ABANDONED_WAIT)));
            return;
        }
        let deadline = request.in_flight.deadline;
        let (at, seq) = books.issue_loose(lane, request);
        self.cold.lock().loose.push((lane.id, at, seq));
        // Behind that: a timer that fires in between looks there.
        if let Some(deadline) = deadline {
            self.schedule(deadline.instant());
        }
    }

    /// Gives a request without an order to the kernel where its end is wanted.
    pub(super) fn issue_at_home(request: Box<Request>) {
        let (handle, home) = (Arc::clone(&request.handle), request.way.home().unwrap_or(0));
        let mut request = Some(request);
        thread::with_lane(home, |lane| {
            lane.work(|books| {
                if !books.ended
                    && let Some(request) = request.take()
                {
                    handle.issue_loose(books, lane, request);
                }
            });
            lane.nudge();
        });
        if let Some(request) = request {
            thread::tell(request.end(Err(Error::OPERATION_ABORTED)));
        }
    }

    /// A request without an order is no longer in the kernel.
    pub(super) fn landed(&self, lane: u32, at: usize, seq: u32) {
        let mut cold = self.cold.lock();
        if let Some(index) = cold.loose.iter().position(|loose| *loose == (lane, at, seq)) {
            cold.loose.swap_remove(index);
        }
    }

    /// Takes a line from one lane to another. `false`: something of it is under way.
    pub(super) fn relocate(from: &Lane, at: usize, to: &Lane) -> bool {
        if from.id == to.id {
            return true;
        }
        let handle = from.work_with(to, |mine, others| {
            let Some(line) = mine.lines.get(at) else { return Some(None) }; // gone meanwhile
            let handle = line.handle.upgrade();
            let Some(handle) = handle else { return Some(None) };
            let undequeued = handle.outstanding[line.direction as usize].load(SeqCst) as usize > line.len();
            if !line.is_aground() || (handle.association.get().is_some() && undequeued) || others.ended {
                others.after().handles.push(handle);
                return None;
            }
            let mut line = mine.remove(from, at);
            line.unstall();
            let direction = line.direction;
            let at = others.lines.insert(line);
            handle.seats[direction as usize].set(Some((to.id, at)));
            others.go_on(to, at);
            Some(Some(handle))
        });
        let Some(handle) = handle else { return false };
        if let Some(handle) = handle {
            handle.attend(to);
        }
        true
    }

    /// The next operation of a line is to be issued in another thread's lane.
    pub(super) fn emigrate(from: &Lane, at: usize) {
        let home = from.work(|books| {
            let line = books.lines.get(at)?;
            let way = &line.first()?.way;
            if way.is_at_home(from) || !line.is_aground() { None } else { way.home() }
        });
        let Some(home) = home else { return }; // it has gone on meanwhile
        if thread::with_lane(home, |to| Self::relocate(from, at, to)) != Some(true) {
            // The thread has ended, or is about to.
            let dead = thread::with_lane(home, |lane| lane.work(|books| books.ended)).unwrap_or(true);
            if dead {
                from.work(|books| {
                    if books.lines.contains(at) {
                        let gone = |request: &Request| request.way.home() == Some(home);
                        books.end_early(from, at, Error::OPERATION_ABORTED, gone);
                        books.go_on(from, at);
                    }
                });
            }
        }
    }

    /// The lane of a line has gone.
    fn forget_seat(&self, direction: Direction, seat: Option<(u32, usize)>) {
        let cold = self.cold.lock();
        if self.seats[direction as usize].get() == seat && cold.resting[direction as usize].is_some() {
            self.seats[direction as usize].set(None);
        }
    }

    /// Puts a line to rest: its lane is about to go.
    pub(super) fn lay_to_rest(&self, line: Line) {
        let direction = line.direction;
        let mut cold = self.cold.lock();
        cold.resting[direction as usize] = Some(Box::new(line));
        self.seats[direction as usize].set(None);
    }

    /// Works with the line of a direction where it is. `None`: it is nowhere.
    pub(super) fn in_line<R>(
        &self,
        direction: Direction,
        mut work: impl FnMut(&Lane, &mut Books, usize) -> R,
    ) -> Option<R> {
        loop {
            let (lane, at) = self.seats[direction as usize].get()?;
            let done = self.with_lane(lane, |lane| {
                let done = lane.work(|books| {
                    let line = books.lines.get(at).filter(|line| line.is_of(self) && line.direction == direction);
                    line.is_some().then(|| work(lane, books, at))
                });
                if done.is_some() {
                    self.attend(lane);
                }
                done
            });
            match done {
                Some(Some(done)) => return Some(done),
                _ => std::thread::yield_now(), // it moves just now
            }
        }
    }

    /// The error that the socket has for us (`SO_ERROR`).
    pub(super) fn pending_error(&self) -> Option<Error> {
        let cold = self.cold.lock();
        let fd = cold.fd.as_ref()?;
        match rustix::net::sockopt::socket_error(fd) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error.into()),
        }
    }

    // Ending.

    /// The packet of one of its operations is about to be handed to a worker.
    #[inline]
    pub(super) fn dequeued(&self, operation: &Operation) {
        if let Some(direction) = direction(operation) {
            self.outstanding[direction as usize].fetch_sub(1, SeqCst);
        }
    }

    /// The end of one of its operations is told by other means than a packet.
    pub(super) fn told_elsewhere(&self, operation: &Operation) {
        if self.port().is_some_and(|port| port.concurrency() > 1) {
            self.dequeued(operation);
        }
    }

    /// Does something with the descriptor that must keep its place among the operations of a direction: `None`, and nothing is done, if
    /// one of them is under way.
    pub(super) fn in_order<R>(&self, direction: Direction, work: impl FnOnce(RawFd) -> R) -> Option<R> {
        let mut work = Some(work);
        let mut now = || work.take().map(|work| work(self.raw));
        match self.in_line(direction, |_, books, at| if books.lines[at].is_clear() { now() } else { None }) {
            Some(done) => done,
            None => now(), // it never had one
        }
    }

    /// Lets the kernel see what of a direction was started.
    pub(super) fn flush(&self, direction: Direction) {
        let Some((lane, _)) = self.seats[direction as usize].get() else { return };
        self.with_lane(lane, |lane| {
            if lane.may_be_entered() && lane.equipped().is_some_and(|engine| engine.unsubmitted() > 0) {
                let _ = lane.enter(Wait::No); // what it could not hand over goes with the next try
            }
        });
    }

    /// Puts another socket behind the same number. It is as new.
    pub(super) fn replace(&self, socket: OwnedFd) -> Result<()> {
        for direction in [Direction::Receive, Direction::Send] {
            self.in_line(direction, |lane, books, at| books.strike(lane, at));
        }
        let mut cold = self.cold.lock();
        match &mut cold.fd {
            Some(fd) if !self.is_closed() => host::replace(&socket, fd)?,
            _ => return Err(Error::INVALID_HANDLE),
        }
        self.id.store(next_id(), Relaxed); // what an engine knows is of the socket that was there
        self.sending.store(half::OPEN, SeqCst);
        self.receiving.store(half::OPEN, SeqCst);
        self.broken.store(0, SeqCst);
        Ok(())
    }

    /// What the result of a stream's operation really is: an end that follows a break is no orderly one.
    #[inline]
    pub(super) fn correct(&self, operation: &Operation, result: Result<usize>) -> Result<usize> {
        match result {
            Ok(1..) => result,
            _ => self.correct_end(operation, result),
        }
    }

    fn correct_end(&self, operation: &Operation, result: Result<usize>) -> Result<usize> {
        let broken = match self.broken.load(SeqCst) {
            0 => None,
            code => Some(Error::from_code(code)),
        };
        match (operation, result) {
            (Operation::Recv { buffer }, Ok(0)) if buffer.capacity() == 0 && broken.is_none() => result, // it asked for nothing
            (Operation::Recv { .. } | Operation::RecvPooled { .. } | Operation::RecvVectored { .. }, Ok(0)) => {
                match broken {
                    Some(error) => Err(error),
                    // Gone altogether, although this side has not shut its half: the end was a reset, of which an operation of the other
                    // direction has taken the error and may not have told us yet.
                    None if self.sending.load(SeqCst) == half::OPEN && host::has_lost_connection(self.raw) => {
                        self.broken.store(Error::NETNAME_DELETED.code(), SeqCst);
                        Err(Error::NETNAME_DELETED)
                    }
                    None => result,
                }
            }
            (
                Operation::Recv { .. }
                | Operation::RecvPooled { .. }
                | Operation::RecvVectored { .. }
                | Operation::Send { .. }
                | Operation::SendVectored { .. },
                Err(error),
            ) => {
                let breaks =
                    [Error::NETNAME_DELETED, Error::SEM_TIMEOUT, Error::HOST_UNREACHABLE, Error::NETWORK_UNREACHABLE];
                if breaks.contains(&error) {
                    self.broken.store(error.code(), SeqCst);
                }
                result
            }
            _ => result,
        }
    }

    pub(super) fn accepted(self: &Arc<Self>, id: OperationId, result: Result<usize>, more: bool, way: Way) -> Ended {
        // SAFETY: the kernel gave this descriptor to us as the result of an accept, and this is the only place that takes it.
        let accepted = result.ok().map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        let operation = Operation::Accept { standing: more, accepted };
        let mut request = Request::new(Arc::clone(self), operation, way);
        request.id = id;
        request.end(result)
    }

    /// Nobody wants the end of an operation. What it brought goes to the next one.
    pub(crate) fn take_back(mut ended: Ended) {
        let handle = Arc::clone(&ended.handle);
        if let (Operation::Accept { accepted, .. }, None) = (&mut ended.operation, ended.error) {
            return handle.take_back_accepted(accepted.take());
        }
        if direction(&ended.operation) != Some(Direction::Receive) {
            return;
        }
        while handle.in_line(Direction::Receive, |lane, books, at| books.put_back(lane, at, &mut ended)).is_none() {
            let mut cold = handle.cold.lock();
            if handle.seats[Direction::Receive as usize].get().is_none() {
                let line = cold.resting[0].get_or_insert_with(|| Box::new(Line::new(&handle, Direction::Receive)));
                line.put_back(&mut ended);
                return;
            }
        }
    }

    fn take_back_accepted(&self, accepted: Option<OwnedFd>) {
        let mut cold = self.cold.lock();
        if self.is_closed() {
            drop(cold);
            return;
        }
        cold.accepted.extend(accepted);
        self.has_accepted.store(true, SeqCst);
        let in_kernel = cold.loose.clone();
        drop(cold);
        // One that waits in the kernel for another connection is to look here.
        for (lane, at, seq) in in_kernel {
            self.with_lane(lane, |lane| {
                lane.work(|books| {
                    if books.loose.get(at).is_some_and(|loose| loose.seq == seq && loose.ended_by.is_none()) {
                        lane.engine().cancel(books.queues_mut(), Token::new(About::Loose, at, seq));
                    }
                });
                self.attend(lane);
            });
        }
    }

    /// Nobody wants the end of an operation any more, which may just be on its way: cancels it.
    pub(crate) fn abandon(&self, operation: OperationId) {
        let found = self.in_line(Direction::Receive, |lane, books, at| {
            books.reap(lane);
            match books.retract(self, operation) {
                // Nothing that came behind it may be told before what it had taken.
                Some(mut ended) => {
                    books.put_back(lane, at, &mut ended);
                    books.after().ended.push(ended);
                    true
                }
                None => false,
            }
        });
        if found != Some(true) {
            let _ = self.cancel(Some(operation)); // not found: its end is being told, and will be taken back
        }
    }

    /// Cancels one operation, or all.
    pub(crate) fn cancel(&self, operation: Option<OperationId>) -> Result<()> {
        let which = |request: &Request| operation.is_none_or(|operation| operation == request.id);
        match self.end_early(Error::OPERATION_ABORTED, which) {
            0 => Err(Error::NOT_FOUND),
            _ => Ok(()),
        }
    }

    /// What its operations end with when it is closed.
    pub(super) fn closed_error(&self) -> Error {
        if self.kind == Kind::Listener { Error::OPERATION_ABORTED } else { Error::CONNECTION_ABORTED }
    }

    pub(crate) fn close(&self) {
        let first = {
            let mut cold = self.cold.lock();
            cold.pins += 1; // until all below has been looked at
            !self.closed.swap(true, SeqCst)
        };
        let error = self.closed_error();
        if first {
            for direction in [Direction::Receive, Direction::Send] {
                let held = self.in_line(direction, |lane, books, at| {
                    books.reap(lane);
                    let held = books.deafen(lane, at);
                    books.end_early(lane, at, error, |_| true);
                    let line = &mut books.lines[at];
                    if line.is_aground() {
                        books.strike(lane, at);
                    } else {
                        line.closing = true;
                        self.cold.lock().pins += 1;
                    }
                    held
                });
                drop(held);
            }
            self.end_loose(error, &|_| true, true);
        }
        let mut cold = self.cold.lock();
        let rest = (std::mem::take(&mut cold.resting), std::mem::take(&mut cold.accepted));
        drop(cold);
        drop(rest);
        self.unpin();
    }

    /// Something that a close waits for has come.
    pub(super) fn unpin(&self) {
        let mut cold = self.cold.lock();
        cold.pins -= 1;
        let fd = if cold.pins == 0 { cold.fd.take() } else { None };
        drop(cold);
        drop(fd);
    }

    /// Ends what is overdue.
    pub(in crate::sys) fn expire(self: &Arc<Self>, now: Instant) {
        self.cold.lock().timer_at = None;
        self.end_early(Error::SEM_TIMEOUT, |request| request.in_flight.deadline.is_some_and(|at| at.instant() <= now));
        let mut next: Option<Moment> = None;
        for direction in [Direction::Receive, Direction::Send] {
            let in_line = self.in_line(direction, |_, books, at| books.lines[at].next_deadline()).flatten();
            next = next.into_iter().chain(in_line).min();
        }
        let loose = self.cold.lock().loose.clone();
        for (lane, at, seq) in loose {
            let deadline = self.with_lane(lane, |lane| {
                lane.work(|books| {
                    let loose = books.loose.get(at).filter(|loose| loose.seq == seq && loose.ended_by.is_none())?;
                    loose.request.in_flight.deadline
                })
            });
            next = next.into_iter().chain(deadline.flatten()).min();
        }
        if let Some(deadline) = next.map(Moment::instant)
            && let Some(timer) = self.timer(deadline)
        {
            self.timers().add(timer, Arc::downgrade(self));
        }
    }

    /// Ends every operation that `which` picks: at once if it waits, through the kernel if that has it. Returns how many.
    pub(super) fn end_early(&self, error: Error, which: impl Fn(&Request) -> bool) -> usize {
        let mut count = 0;
        for direction in [Direction::Receive, Direction::Send] {
            count += self
                .in_line(direction, |lane, books, at| {
                    books.reap(lane); // what has ended cannot be ended early
                    let count = books.end_early(lane, at, error, &which);
                    if count > 0 {
                        books.go_on(lane, at);
                        if direction == Direction::Send && books.lines[at].is_empty() {
                            self.shut_when_idle();
                        }
                    }
                    count
                })
                .unwrap_or(0);
        }
        count + self.end_loose(error, &which, false)
    }

    fn end_loose(&self, error: Error, which: &dyn Fn(&Request) -> bool, closing: bool) -> usize {
        let in_kernel = self.cold.lock().loose.clone();
        let mut count = 0;
        for (lane, at, seq) in in_kernel {
            self.with_lane(lane, |lane| {
                lane.work(|books| {
                    books.reap(lane);
                    let Books { loose, queues: Some(queues), .. } = books else { return };
                    let Some(loose) = loose.get_mut(at).filter(|loose| loose.seq == seq) else { return };
                    if !which(&loose.request) {
                        return;
                    }
                    count += 1;
                    if closing && !loose.closing {
                        loose.closing = true;
                        self.cold.lock().pins += 1;
                    }
                    if loose.ended_by.replace(error).is_none() && !queues.is_sealed() {
                        lane.engine().cancel(queues, Token::new(About::Loose, at, seq));
                    }
                });
                self.attend(lane);
            });
        }
        count
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.with_descriptor(|fd| Ok(rustix::net::getpeername(fd)?))?; // not connected: says so
        if how != Shutdown::Write {
            // Linux would end a pending receive, and drop nothing; Windows lets it complete and refuses later ones.
            self.receiving.store(half::SHUT, SeqCst);
        }
        if how != Shutdown::Read
            && self.sending.compare_exchange(half::OPEN, half::SHUT_WHEN_IDLE, SeqCst, SeqCst).is_ok()
            && self.in_line(Direction::Send, |_, books, at| books.lines[at].is_empty()).unwrap_or(true)
        {
            self.shut_when_idle();
        }
        Ok(())
    }

    /// All sends have left: shuts the sending half if that was asked for.
    #[inline]
    pub(super) fn shut_when_idle(&self) {
        if self.sending.load(SeqCst) == half::SHUT_WHEN_IDLE
            && self.sending.compare_exchange(half::SHUT_WHEN_IDLE, half::SHUT, SeqCst, SeqCst).is_ok()
            && let Some(fd) = &self.cold.lock().fd
        {
            // Nobody is left to be told; a connection that has gone meanwhile needs no shutting.
            let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
        }
    }

    // Time limits.

    /// When the timers are to look at this handle, if not earlier already.
    fn timer(&self, deadline: Instant) -> Option<Instant> {
        let mut cold = self.cold.lock();
        cold.timer_at.is_none_or(|at| deadline < at).then(|| *cold.timer_at.insert(deadline))
    }

    /// Sees to it that the timers look at this handle at `deadline`.
    #[inline(never)]
    fn schedule(self: &Arc<Self>, deadline: Instant) {
        if let Some(deadline) = self.timer(deadline)
            && self.timers().add(deadline, Arc::downgrade(self))
            && self.association.get().is_none()
        {
            thread::mind_the_clock();
        }
    }
}

impl Drop for Handle {
    /// Nobody waits for anything; only a standing receive may be left, and must go before the socket can.
    fn drop(&mut self) {
        let fd = &mut self.cold.lock().fd.take();
        for direction in [Direction::Receive, Direction::Send] {
            let Some((lane, at)) = self.seats[direction as usize].get() else { continue };
            let this: *const Self = self;
            let rest = self.with_lane(lane, |lane| {
                let rest = lane.work(|books| {
                    books.lines.get(at).filter(|line| line.is_of(this))?;
                    if books.lines[at].is_aground() {
                        return Some((Some(books.remove(lane, at)), None));
                    }
                    let held = books.deafen(lane, at);
                    books.lines[at].keep(fd.take());
                    Some((None, Some(held)))
                });
                self.attend(lane);
                rest
            });
            drop(rest);
        }
    }
}

/// Overlapped operations wait whatever the descriptor's mode; io_uring would answer EAGAIN on a non-blocking one. What is no descriptor
/// shows with its first operation.
fn let_block(fd: &OwnedFd) {
    if let Ok(flags) = rustix::fs::fcntl_getfl(fd)
        && flags.contains(OFlags::NONBLOCK)
    {
        let _ = rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK);
    }
}

/// Whether a standing accept goes on after this: a connection that failed on its way in does not end it, a shortage does.
pub(super) fn passes(result: &Result<usize>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => [
            Error::CONNECTION_ABORTED,
            Error::ACCESS_DENIED, // a firewall rule
            Error::NETWORK_DOWN,
            Error::NETWORK_UNREACHABLE,
            Error::HOST_UNREACHABLE,
            Error::SEM_TIMEOUT,
            Error::from_errno(libc::EPROTO),
        ]
        .contains(error),
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("kind", &self.kind)
            .field("descriptor", &self.descriptor())
            .finish_non_exhaustive()
    }
}
