//! Readiness: try the operation; if it would wait, be told when it would not, and try again.
//!
//! As io_uring's, an engine lies in two parts: what any thread may use at any time ([`Readiness`]: sleep, wake), and what lies behind the
//! lane's lock ([`Queues`]: the operations that wait, and what is known of their sockets). A socket is registered when an operation on it
//! would wait for the first time: once, edge-triggered, for both directions, so that a message costs no registration.
//!
//! An edge says that a state may have changed. It is noted when it comes, and the operation is tried when its end is asked for
//! ([`Readiness::next`]): data is received just before it is handled, and nothing is received that nobody asked for. Only a send before
//! which nothing waits is tried where it starts ([`Readiness::send_now`]). Files know no readiness; their operations are done by a few
//! threads ([`files`]).
//! References: `epoll(7)`, `recv(2)`, `send(2)`, `connect(2)`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};

use super::files::{self, Job};
use super::poller::{self, Events, Interest, Poller, Told};
use super::{About, Completion, Requests, Target, Token, Wait};
use crate::sync::Mutex;
use crate::sys::memory::{Memory, Pool};
use crate::sys::unix::host::NO_SIGNAL;
use crate::sys::unix::prefetch;
use crate::sys::unix::request::{InFlight, MOST_BYTES, Message, room, vector};
use crate::sys::{Kind, Operation, Request};
use crate::{Buffer, Result};

/// So many operations are tried without an edge between two calls to [`Readiness::enter`]; further ones wait for the next, so that
/// others have their turn.
const BUDGET: u32 = 256;
/// So many sends are tried at their start in a row, whose ends come before what else is to be tried.
const IN_A_ROW: u32 = 64;
/// After so many events of a socket that nothing waits for here it is registered no longer. Its line has gone elsewhere, perhaps.
const IDLE_EVENTS: u8 = 8;

pub(crate) struct Readiness {
    shared: Arc<Shared>,
    /// What lies in the queues to be looked at. Written under the lane's lock.
    queued: AtomicUsize,
    /// How many operations wait. Written under the lane's lock.
    waiting: AtomicU32,
}

/// What the threads of [`files`] have in common with an engine.
pub(super) struct Shared {
    poller: Poller,
    /// It was rung by [`Readiness::wake`].
    woken: AtomicBool,
    inbox: Mutex<Vec<Event>>,
    inbox_len: AtomicUsize,
    /// Threads that are in the kernel's wait, or on their way there.
    sleepers: AtomicUsize,
}

#[derive(Clone, Copy)]
pub(super) enum Event {
    /// What the kernel told of a socket, or of another engine.
    Told(Told),
    /// A file's operation has ended.
    Ended(Token, i32),
    Woken,
}

/// What of an engine lies behind the lane's lock.
pub(crate) struct Queues {
    /// By their descriptors.
    sockets: Vec<Option<Box<Socket>>>,
    /// The descriptors of what waits, by the places in the lane.
    lines: Vec<RawFd>,
    loose: Vec<RawFd>,
    /// What has ended otherwise than by an attempt.
    done: VecDeque<Completion>,
    /// Sockets whose operations are to be tried.
    todo: VecDeque<RawFd>,
    /// The same, after the next [`Readiness::enter`].
    deferred: Vec<RawFd>,
    /// Taken out of the inbox, to be gone through.
    events: Vec<Event>,
    in_flight: usize,
    waiting: u32,
    /// Operations that may still be tried without being waited for.
    budget: u32,
    /// Sends that were tried at their start since somebody has looked at what is to be tried.
    in_a_row: u32,
    /// Whose turn it is: of what has ended, or of what is to be tried.
    turn: bool,
    generation: u32,
    sealed: bool,
}

/// What is known of a socket. A message touches one, and so one line of the cache.
#[repr(align(64))]
struct Socket {
    /// Whose it is: a descriptor's number is used again.
    handle: u64,
    generation: u32,
    /// What it is registered for; empty: it is not.
    interest: Interest,
    /// The operations that wait: of a line for each direction,
    reader: Option<Place>,
    writer: Option<Place>,
    /// and the accepts.
    #[allow(clippy::box_collection, reason = "only listeners have some")]
    accepts: Option<Box<VecDeque<Place>>>,
    /// It may be; if not, there will be an edge.
    readable: bool,
    writable: bool,
    /// The end, an error or urgent data has been told of: a short receive has not emptied the socket.
    ending: bool,
    /// It is in `todo` or `deferred`.
    listed: bool,
    /// Set for the accepts of a listener.
    nonblocking: bool,
    /// The writer is a connect that has begun.
    connecting: bool,
    kind: Kind,
    idle: u8,
}

const _: () = assert!(size_of::<Socket>() == 64);

/// Where the lane keeps a request, and the how-many-eth it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    at: u32,
    seq: u32,
}

impl Place {
    #[inline]
    fn of(token: Token) -> Self {
        Self { at: token.at, seq: token.seq }
    }

    #[inline]
    fn token(self, about: About) -> Token {
        Token { about, at: self.at, seq: self.seq }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Read,
    Write,
}

/// What its operation waits for. `None`: it is a file's.
#[inline]
fn side(operation: &Operation) -> Option<Side> {
    match operation {
        Operation::Accept { .. }
        | Operation::Recv { .. }
        | Operation::RecvPooled { .. }
        | Operation::RecvFrom { .. }
        | Operation::RecvVectored { .. } => Some(Side::Read),
        Operation::Connect { .. }
        | Operation::Send { .. }
        | Operation::SendVectored { .. }
        | Operation::SendTo { .. } => Some(Side::Write),
        Operation::ReadAt { .. } | Operation::WriteAt { .. } | Operation::Sync { .. } => None,
    }
}

/// An attempt's result if it would wait.
const WOULD_WAIT: i32 = -libc::EAGAIN;

thread_local! {
    static SCRATCH: RefCell<Events> = RefCell::new(Events::new());
}

/// The keys of what is registered: a socket's descriptor and generation or, with this bit, the name of another engine.
const WATCH: u64 = 1 << 31;

impl Shared {
    /// Puts something in front of who enters next, and sees to it that nobody sleeps over it.
    pub(super) fn put(&self, event: Event) {
        let mut inbox = self.inbox.lock();
        inbox.push(event);
        self.inbox_len.store(inbox.len(), Ordering::SeqCst);
        drop(inbox);
        self.poller.ring(); // always: another engine may watch this one
    }
}

impl Readiness {
    pub(crate) fn new() -> Result<(Self, Queues)> {
        let shared = Shared {
            poller: Poller::new()?,
            woken: AtomicBool::new(false),
            inbox: Mutex::default(),
            inbox_len: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
        };
        let queues = Queues {
            sockets: Vec::new(),
            lines: Vec::new(),
            loose: Vec::new(),
            done: VecDeque::new(),
            todo: VecDeque::new(),
            deferred: Vec::new(),
            events: Vec::new(),
            in_flight: 0,
            waiting: 0,
            budget: BUDGET,
            in_a_row: 0,
            turn: false,
            generation: 0,
            sealed: false,
        };
        let engine = Self { shared: Arc::new(shared), queued: AtomicUsize::new(0), waiting: AtomicU32::new(0) };
        Ok((engine, queues))
    }

    /// How much an [`Self::enter`] may let go on: what waits has to be asked for, since nothing ends by itself.
    pub(crate) fn unsubmitted(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Has a request tried, when an end is asked for or the socket becomes ready. It must stay where it is, in its owner's hands, until its
    /// completion has been reaped.
    #[inline(never)] // io_uring's stands in its place where that is hot
    pub(crate) fn start(&self, queues: &mut Queues, token: Token, request: &mut Request, on: Target) {
        let fd = on.fd;
        queues.in_flight += 1;
        let Some(side) = side(&request.operation) else {
            files::submit(Job::new(&self.shared, token, fd, request));
            return;
        };
        prepare(request);
        queues.note(token, fd);
        let budget = queues.budget;
        let socket = queues.socket(fd, request);
        match side {
            Side::Read if token.about == About::Loose => {
                socket.accepts.get_or_insert_default().push_back(Place::of(token));
            }
            Side::Read => socket.reader = Some(Place::of(token)),
            Side::Write => socket.writer = Some(Place::of(token)),
        }
        let ready = if side == Side::Read { socket.readable } else { socket.writable };
        if ready && !std::mem::replace(&mut socket.listed, true) {
            if budget > 0 {
                queues.budget -= 1;
                queues.todo.push_back(fd);
            } else {
                queues.deferred.push(fd);
            }
        }
        queues.waiting += 1;
        self.publish(queues);
    }

    /// Tries a send at once, before which no other waits. Returns its result, or nothing if it would wait, or is to wait for its turn:
    /// then it is to be started.
    #[inline(never)] // as above
    pub(crate) fn send_now(&self, queues: &mut Queues, request: &Request, fd: RawFd) -> Option<i32> {
        let Operation::Send { buffer } = &request.operation else { return None };
        if queues.budget == 0 || queues.in_a_row >= IN_A_ROW {
            return None;
        }
        queues.budget -= 1;
        queues.in_a_row += 1;
        let socket = queues.socket(fd, request);
        if !socket.writable || socket.writer.is_some() {
            return None;
        }
        match socket.send(fd, buffer, request.moved) {
            WOULD_WAIT => {
                let _ = socket.await_edge(&self.shared.poller, fd, Side::Write); // if it fails, it is tried, and fails, again
                None
            }
            result => Some(result),
        }
    }

    /// There are no standing receives here: a receive waits without a buffer as it is.
    /// A descriptor is a descriptor.
    pub(crate) fn enlist(&self, _queues: &mut Queues, _fd: RawFd) -> Option<super::Place> {
        None
    }

    pub(crate) fn strike(&self, _queues: &mut Queues, _place: super::Place, _here: bool) {}

    pub(crate) fn receive_each(&self, _queues: &mut Queues, _token: Token, _fd: RawFd, _pool: &Arc<Pool>) -> u16 {
        unreachable!("readiness has no standing receives")
    }

    /// Ends a request that waits. One that has ended, or a file's that has begun, is let be.
    pub(crate) fn cancel(&self, queues: &mut Queues, token: Token) {
        if queues.unpark(token) || files::withdraw(&self.shared, token) {
            queues.done.push_back(Completion::of(token, -libc::ECANCELED));
        }
        self.publish(queues);
    }

    /// Ends all requests that wait.
    pub(crate) fn cancel_all(&self, queues: &mut Queues) {
        let mut ended = files::withdraw_all(&self.shared);
        for socket in queues.sockets.iter_mut().flatten() {
            socket.connecting = false;
            let lines = socket.reader.take().into_iter().chain(socket.writer.take());
            let waiting = lines.map(|place| place.token(About::Line));
            let accepts = socket.accepts.take().into_iter().flat_map(|accepts| *accepts);
            ended.extend(waiting.chain(accepts.map(|place| place.token(About::Loose))));
        }
        queues.waiting = 0;
        queues.done.extend(ended.into_iter().map(|token| Completion::of(token, -libc::ECANCELED)));
        self.publish(queues);
    }

    /// Ends the sleep of the thread that waits in [`Self::enter`], or the next one.
    pub(crate) fn wake(&self) {
        self.shared.woken.store(true, Ordering::SeqCst);
        self.shared.poller.ring();
    }

    /// Nothing is needed for that here.
    pub(crate) fn hang_bell(&self) -> Result<()> {
        Ok(())
    }

    /// What is readable when there are events.
    pub(crate) fn watchable(&self) -> RawFd {
        self.shared.poller.descriptor()
    }

    /// One completion [`About::Watched`] when `other`, which is called `name`, is readable.
    pub(crate) fn watch(&self, queues: &mut Queues, other: RawFd, name: usize) {
        let key = WATCH | (name as u64) << 32;
        let watched = self.shared.poller.ask(other, key, Interest::READ, poller::Mode::Once);
        if watched.is_err() {
            // It is closed, or cannot be watched: whoever asked looks for himself.
            queues.done.push_back(Completion::of(Token::new(About::Watched, name, 0), 0));
            self.publish(queues);
        }
    }

    /// Before an [`Self::enter`]: what waited for that is to be tried.
    pub(crate) fn fill(&self, queues: &mut Queues) -> (u32, bool) {
        queues.budget = BUDGET;
        if !queues.deferred.is_empty() {
            queues.todo.extend(queues.deferred.drain(..));
            self.publish(queues);
        }
        (0, false)
    }

    pub(crate) fn recount(&self, _queues: &mut Queues) {}

    /// Takes events from the kernel and, as `wait` says, sleeps until there are some. Any thread may.
    pub(crate) fn enter(&self, _to_submit: u32, wait: Wait) -> Result<()> {
        let shared = &*self.shared;
        let sleeps = matches!(wait, Wait::For { .. });
        let mut timeout = match wait {
            Wait::No => Some(Duration::ZERO),
            Wait::For { timeout, .. } => timeout,
        };
        if sleeps {
            // SeqCst on both sides: here "count, then look whether something is there", below and in `put` "put it there, then look who
            // sleeps". One of the two sees the other.
            shared.sleepers.fetch_add(1, Ordering::SeqCst);
            if self.has_completions() {
                timeout = Some(Duration::ZERO);
            }
        }
        let take = |events: &mut Events| -> Result<()> {
            let waited = shared.poller.wait(events, timeout);
            if sleeps {
                shared.sleepers.fetch_sub(1, Ordering::SeqCst);
            }
            waited?;
            let woken = shared.woken.load(Ordering::SeqCst) && shared.woken.swap(false, Ordering::SeqCst);
            if woken || !events.is_empty() {
                let mut inbox = shared.inbox.lock();
                inbox.extend(events.iter().map(Event::Told));
                inbox.extend(woken.then_some(Event::Woken));
                shared.inbox_len.store(inbox.len(), Ordering::SeqCst);
            }
            Ok(()) // time may be up, or a signal have come: the caller looks at what there is
        };
        let here = SCRATCH.try_with(|scratch| take(&mut scratch.borrow_mut()));
        here.unwrap_or_else(|_| take(&mut Events::new()))?; // the thread is ending
        // What would have ended another thread's sleep has been taken away from it: something from the kernel, or only the bell.
        if shared.inbox_len.load(Ordering::SeqCst) > 0 && shared.sleepers.load(Ordering::SeqCst) > 0 {
            shared.poller.ring();
        }
        Ok(())
    }

    /// Whether there is something to look at; an end may come of it.
    #[inline]
    pub(crate) fn has_completions(&self) -> bool {
        // In this order, and acquired: `fetch` counts what it takes out of the inbox among what is queued before it empties that.
        self.shared.inbox_len.load(Ordering::SeqCst) > 0 || self.queued.load(Ordering::Acquire) > 0
    }

    /// Takes the next end. One only: it may be the receive itself that is done here, and nobody is to wait for several of those.
    #[inline(never)] // as above
    pub(crate) fn next(&self, queues: &mut Queues, requests: &mut impl Requests) -> Option<Completion> {
        if self.shared.inbox_len.load(Ordering::SeqCst) > 0 {
            self.fetch(queues);
        }
        let completion = loop {
            // In turn, so that a socket that is always ready does not keep the others waiting, nor they what has ended.
            if !queues.done.is_empty() {
                queues.turn = !queues.turn;
                if queues.turn || queues.todo.is_empty() {
                    break queues.done.pop_front();
                }
            }
            queues.in_a_row = 0;
            let Some(fd) = queues.todo.pop_front() else { break None };
            Self::look_ahead(queues, requests);
            if let Some(completion) = self.look(queues, fd, requests) {
                break Some(completion);
            }
        };
        if let Some(completion) = &completion
            && !completion.more()
            && !matches!(completion.token().about, About::Woken | About::Watched)
        {
            queues.in_flight -= 1;
        }
        self.publish(queues);
        completion
    }

    /// Goes through what has come in.
    fn fetch(&self, queues: &mut Queues) {
        let mut events = std::mem::take(&mut queues.events);
        {
            let mut inbox = self.shared.inbox.lock();
            // In this order: who looks without a lock always sees one of the two.
            self.queued.store(inbox.len(), Ordering::Release);
            std::mem::swap(&mut *inbox, &mut events);
            self.shared.inbox_len.store(0, Ordering::SeqCst);
        }
        for event in events.drain(..) {
            match event {
                Event::Told(told) if told.key & WATCH != 0 => {
                    let name = (told.key >> 32) as usize;
                    queues.done.push_back(Completion::of(Token::new(About::Watched, name, 0), 0));
                }
                Event::Told(told) => self.edge(queues, told),
                Event::Ended(token, result) => queues.done.push_back(Completion::of(token, result)),
                Event::Woken => queues.done.push_back(Completion::of(Token::new(About::Woken, 0, 0), 0)),
            }
        }
        queues.events = events;
    }

    /// The state of a socket may have changed.
    #[inline]
    fn edge(&self, queues: &mut Queues, told: Told) {
        let (fd, generation) = ((told.key & (WATCH - 1)) as RawFd, (told.key >> 32) as u32);
        let Some(Some(socket)) = queues.sockets.get_mut(fd as usize) else { return };
        if socket.generation != generation {
            return; // of one that had the number before
        }
        socket.readable |= told.readable;
        socket.writable |= told.writable;
        socket.ending |= told.ending;
        if socket.is_awaited() {
            if !std::mem::replace(&mut socket.listed, true) {
                queues.todo.push_back(fd);
            }
            return;
        }
        socket.idle += 1;
        if socket.idle >= IDLE_EVENTS {
            self.shared.poller.forget(fd);
            queues.sockets[fd as usize] = None; // nothing is known of it any more
        }
    }

    /// Has what those that are next need fetched, a step further with each that goes before. A system call, and more, lies between.
    #[inline]
    fn look_ahead(queues: &Queues, requests: &impl Requests) {
        let socket = |nth: usize| queues.sockets.get(*queues.todo.get(nth)? as usize)?.as_deref();
        if let Some(third) = socket(2) {
            prefetch(third);
        }
        if let Some(reader) = socket(1).and_then(|second| second.reader) {
            requests.is_coming(reader.at);
        }
        if let Some(reader) = socket(0).and_then(|first| first.reader) {
            requests.is_near(reader.at);
        }
    }

    /// Tries what waits for a socket, until something has ended.
    #[inline]
    fn look(&self, queues: &mut Queues, fd: RawFd, requests: &mut impl Requests) -> Option<Completion> {
        let socket = queues.sockets.get_mut(fd as usize)?.as_mut()?;
        socket.listed = false;
        loop {
            let (token, side) = socket.to_try()?;
            let request = requests.request(token);
            let mut result = socket.attempt(fd, request);
            if result == WOULD_WAIT {
                match socket.await_edge(&self.shared.poller, fd, side) {
                    Ok(()) => continue,
                    Err(error) => result = -error.raw_os_error().unwrap_or(libc::EIO),
                }
            }
            let more = result >= 0 && request.is_standing_accept();
            if !more {
                socket.forget(token);
                queues.waiting -= 1;
            }
            // There may be more to do.
            if socket.to_try().is_some() {
                socket.listed = true;
                queues.todo.push_back(fd);
            }
            let nonempty = socket.readable && socket.interest != Interest::NONE;
            return Some(Completion::new(token, result, more, nonempty));
        }
    }

    /// Tells those who look without the lock what there is.
    #[inline]
    fn publish(&self, queues: &Queues) {
        self.queued.store(queues.done.len() + queues.todo.len(), Ordering::Release);
        self.waiting.store(queues.waiting, Ordering::Relaxed);
    }

    /// The engine is done with: nothing is in flight.
    pub(crate) fn retire(&self, queues: &mut Queues) {
        assert!(queues.in_flight == 0 || std::thread::panicking(), "an engine was retired with requests in flight");
        queues.sockets.clear();
    }

    /// An attempt takes its buffer out of the pool itself.
    pub(crate) fn refill(&self, _queues: &mut Queues) {}
}

impl Queues {
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn seal(&mut self) {
        self.sealed = true;
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed
    }

    pub(crate) fn pool(&self, _group: u16) -> &Arc<Pool> {
        unreachable!("readiness has no standing receives")
    }

    pub(crate) fn disarm(&mut self, _group: u16) {}

    pub(crate) fn has_standing_receives(&self) -> bool {
        false
    }

    pub(crate) fn no_standing_receives(&mut self) {}

    pub(crate) fn chosen(&mut self, _group: u16, _pool: Arc<Pool>, _index: u16, _result: i32) -> Option<Buffer> {
        unreachable!("an attempt puts its buffer where it belongs")
    }

    pub(crate) fn is_scarce(&self, pool: &Arc<Pool>) -> bool {
        pool.free() <= pool.count as usize / 4
    }

    pub(crate) fn ran_out(&mut self, _pool: &Arc<Pool>) {}

    pub(crate) fn has_buffers(&self, pool: &Arc<Pool>) -> bool {
        pool.free() > 0
    }

    /// What is known of the socket of a request's handle.
    #[inline]
    fn socket(&mut self, fd: RawFd, request: &Request) -> &mut Socket {
        let (at, handle) = (fd as usize, request.handle.id());
        if self.sockets.get(at).is_none_or(|known| known.as_ref().is_none_or(|socket| socket.handle != handle)) {
            self.make_acquaintance(at, handle, request.handle.kind());
        }
        let socket = self.sockets[at].as_mut().expect("put there if it was not");
        socket.idle = 0;
        socket
    }

    #[cold]
    fn make_acquaintance(&mut self, at: usize, handle: u64, kind: Kind) {
        if at >= self.sockets.len() {
            self.sockets.resize_with(at + 1, || None);
        }
        let former = &mut self.sockets[at];
        debug_assert!(!former.as_ref().is_some_and(|socket| socket.is_awaited()), "closed while something waits");
        self.generation = self.generation.wrapping_add(1);
        *former = Some(Box::new(Socket::new(handle, self.generation, kind)));
    }

    /// Notes which socket the request of a place is for.
    #[inline]
    fn note(&mut self, token: Token, fd: RawFd) {
        let (places, at) =
            (if token.about == About::Loose { &mut self.loose } else { &mut self.lines }, token.at as usize);
        if at >= places.len() {
            places.resize(at + 1, -1);
        }
        places[at] = fd;
    }

    /// Takes a request out of what waits, if it is there.
    fn unpark(&mut self, token: Token) -> bool {
        let places = if token.about == About::Loose { &self.loose } else { &self.lines };
        let Some(fd) = places.get(token.at as usize).and_then(|fd| usize::try_from(*fd).ok()) else { return false };
        let waited = self.sockets.get_mut(fd).and_then(Option::as_mut).is_some_and(|socket| socket.forget(token));
        self.waiting -= u32::from(waited);
        waited
    }
}

impl Socket {
    fn new(handle: u64, generation: u32, kind: Kind) -> Self {
        Self {
            handle,
            generation,
            interest: Interest::NONE,
            reader: None,
            writer: None,
            accepts: None,
            readable: true,
            writable: true,
            ending: false,
            listed: false,
            nonblocking: false,
            connecting: false,
            kind,
            idle: 0,
        }
    }

    fn is_awaited(&self) -> bool {
        self.reader.is_some() || self.writer.is_some() || self.first_accept().is_some()
    }

    fn first_accept(&self) -> Option<Place> {
        self.accepts.as_ref()?.front().copied()
    }

    /// What waits and may be tried.
    #[inline]
    fn to_try(&self) -> Option<(Token, Side)> {
        if self.readable {
            if let Some(reader) = self.reader {
                return Some((reader.token(About::Line), Side::Read));
            }
            if let Some(accept) = self.first_accept() {
                return Some((accept.token(About::Loose), Side::Read));
            }
        }
        let writer = self.writer.filter(|_| self.writable)?;
        Some((writer.token(About::Line), Side::Write))
    }

    /// A request waits no longer. Returns whether it has.
    #[inline]
    fn forget(&mut self, token: Token) -> bool {
        let place = Place::of(token);
        if token.about == About::Loose {
            let accepts = self.accepts.get_or_insert_default();
            let before = accepts.len();
            accepts.retain(|other| *other != place);
            return accepts.len() < before;
        }
        if self.reader == Some(place) {
            self.reader = None;
        } else if self.writer == Some(place) {
            self.writer = None;
            self.connecting = false;
        } else {
            return false;
        }
        true
    }

    /// An operation would wait: from now on there is an edge when it would not any more.
    #[inline]
    fn await_edge(&mut self, poller: &Poller, fd: RawFd, side: Side) -> std::io::Result<()> {
        let mut wanted = match self.kind {
            // A datagram socket has an edge for each datagram that has left; so it is told only if it is waited for.
            Kind::Datagram | Kind::Listener => Interest::READ,
            _ => Interest::BOTH,
        };
        match side {
            Side::Read => self.readable = false,
            Side::Write => {
                self.writable = false;
                wanted = Interest::BOTH;
            }
        }
        if !self.interest.contains(wanted) {
            wanted = wanted.union(self.interest);
            let key = u64::from(self.generation) << 32 | fd as u64;
            // An edge comes at once if the socket has become ready in between.
            poller.ask(fd, key, wanted, poller::Mode::Edge)?;
            self.interest = wanted;
        }
        Ok(())
    }

    /// Tries an operation, and notes what that says of the socket. Returns a count, what a poll says, or a negative errno.
    #[inline]
    fn attempt(&mut self, fd: RawFd, request: &mut Request) -> i32 {
        const RECV: libc::c_int = libc::MSG_DONTWAIT;
        const SEND: libc::c_int = libc::MSG_DONTWAIT | NO_SIGNAL.bits() as libc::c_int;
        match &mut request.operation {
            Operation::RecvPooled { pool, .. } => {
                let Some(index) = pool.0.take_one() else {
                    // Not known to be readable: to be told so first, and then to find out.
                    return if self.interest == Interest::NONE { WOULD_WAIT } else { -libc::ENOBUFS };
                };
                let result = self.receive(fd, pool.0.address(index).as_ptr(), pool.0.buffer_size);
                if result <= 0 {
                    pool.0.give_back(index);
                } else if let Operation::RecvPooled { pool, .. } =
                    std::mem::replace(&mut request.operation, Operation::Sync { data_only: false })
                {
                    // SAFETY: the index was taken out of this pool above, so nobody else has that memory.
                    let mut memory = unsafe { Memory::from_pool(pool.0, index) };
                    // SAFETY: the kernel has written so many bytes to it.
                    unsafe { memory.set_len(result as usize) };
                    request.operation = Operation::Recv { buffer: Buffer(memory) };
                }
                result
            }
            // A receive of nothing waits for data, which the kernel's own does not.
            Operation::Recv { buffer } if buffer.capacity() == 0 => poll_now(fd, libc::POLLIN | POLLRDHUP),
            Operation::Recv { buffer } => {
                let (start, room) = buffer.0.room();
                self.receive(fd, start, room.min(MOST_BYTES))
            }
            Operation::Send { buffer } => self.send(fd, buffer, request.moved),
            // SAFETY: the message and what it points to are the request's, which is in its owner's hands until this has ended.
            Operation::RecvFrom { .. } => result_of(unsafe { libc::recvmsg(fd, header(&mut request.in_flight), RECV) }),
            Operation::RecvVectored { flags, .. } => {
                // SAFETY: as above.
                result_of(unsafe { libc::recvmsg(fd, header(&mut request.in_flight), RECV | *flags) })
            }
            Operation::SendVectored { .. } | Operation::SendTo { .. } => {
                // SAFETY: as above.
                result_of(unsafe { libc::sendmsg(fd, header(&mut request.in_flight), SEND) })
            }
            Operation::Accept { .. } => self.accept(fd),
            // One of which only the state of the socket is asked for.
            Operation::Connect { .. } if request.in_flight.connecting => poll_now(fd, libc::POLLOUT),
            Operation::Connect { .. } => self.connect(fd, request),
            Operation::ReadAt { .. } | Operation::WriteAt { .. } | Operation::Sync { .. } => unreachable!("a file's"),
        }
    }

    /// Receives into memory of `room` bytes, which nobody looks at meanwhile.
    #[inline(always)] // twice in one place, behind which the processor has forgotten where to return to
    fn receive(&mut self, fd: RawFd, start: *mut u8, room: usize) -> i32 {
        // SAFETY: the memory is a buffer's, which is in its owner's hands: the request's, or the pool's that has lent it to us.
        let memory = unsafe { slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), room) };
        // SAFETY: the descriptor of an operation's handle stays open until the operation has ended.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        let bytes = match rustix::net::recv(socket, memory, RecvFlags::DONTWAIT) {
            Ok((_, bytes)) => bytes,
            Err(errno) => return -errno.raw_os_error(),
        };
        // A short receive of a stream has emptied the socket, and what comes from now on makes an edge; unless that has been.
        if bytes > 0 && bytes < room && self.tells_by_edges() {
            self.readable = false;
        }
        bytes as i32
    }

    #[inline]
    fn send(&mut self, fd: RawFd, buffer: &Buffer, moved: usize) -> i32 {
        let (start, len) = buffer.0.filled(moved);
        let len = len.min(MOST_BYTES);
        // SAFETY: the bytes are the buffer's, and have been written.
        let bytes = unsafe { slice::from_raw_parts(start, len) };
        // SAFETY: the descriptor of an operation's handle stays open until the operation has ended.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        let sent = match rustix::net::send(socket, bytes, SendFlags::DONTWAIT.union(NO_SIGNAL)) {
            Ok(sent) => sent,
            Err(errno) => return -errno.raw_os_error(),
        };
        // In the same way a short send has filled it.
        if sent < len && self.tells_by_edges() {
            self.writable = false;
        }
        sent as i32
    }

    /// Whether there will be an edge when a stream's socket that has been emptied, or filled, is so no longer.
    #[inline]
    fn tells_by_edges(&self) -> bool {
        !self.ending && self.kind == Kind::Stream && self.interest != Interest::NONE
    }

    fn accept(&mut self, fd: RawFd) -> i32 {
        if !std::mem::replace(&mut self.nonblocking, true) {
            // An accept, unlike a receive, cannot be told not to wait.
            set_nonblocking(fd, true);
        }
        // SAFETY: no memory is handed over.
        #[cfg(target_os = "linux")]
        let accepted = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) };
        // SAFETY: as above, and for a new descriptor of ours.
        #[cfg(not(target_os = "linux"))]
        let accepted = unsafe {
            let accepted = libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut());
            if accepted >= 0 {
                libc::fcntl(accepted, libc::F_SETFD, libc::FD_CLOEXEC);
            }
            accepted
        };
        result_of(accepted as isize)
    }

    /// Begins to connect, or asks what has become of that.
    fn connect(&mut self, fd: RawFd, request: &mut Request) -> i32 {
        let message = request.in_flight.message.as_ref().expect("prepared");
        let (address, len) = ((&raw const message.address).cast(), message.address_len);
        if self.connecting {
            return match poll_now(fd, libc::POLLOUT) {
                WOULD_WAIT => WOULD_WAIT,
                _ => connected(fd, address, len),
            };
        }
        match connect(fd, address, len) {
            result if result == -libc::EINPROGRESS => {
                self.connecting = true;
                WOULD_WAIT
            }
            result => result,
        }
    }
}

/// Makes what the kernel needs besides the buffers.
#[inline]
fn prepare(request: &mut Request) {
    let message = match &mut request.operation {
        Operation::Recv { .. } | Operation::RecvPooled { .. } | Operation::Send { .. } | Operation::Accept { .. } => {
            return;
        }
        Operation::Connect { .. } if request.in_flight.connecting => return,
        Operation::Connect { address } => Message::to(**address, Vec::new()),
        Operation::SendVectored { buffers } => Message::new(vector(buffers, request.moved)),
        Operation::RecvFrom { buffer, .. } => Message::new(room(slice::from_mut(buffer)))
            .with_address(size_of::<libc::sockaddr_storage>() as libc::socklen_t),
        Operation::RecvVectored { buffers, .. } => {
            Message::new(room(buffers)).with_address(size_of::<libc::sockaddr_storage>() as libc::socklen_t)
        }
        Operation::SendTo { buffer, address } => Message::to(**address, vector(slice::from_ref(buffer), 0)),
        Operation::ReadAt { .. } | Operation::WriteAt { .. } | Operation::Sync { .. } => return,
    };
    request.in_flight.message = Some(message);
}

/// The header that was prepared.
fn header(in_flight: &mut InFlight) -> *mut libc::msghdr {
    &raw mut in_flight.message.as_mut().expect("prepared").header
}

/// What a system call has returned: a count, or a negative errno.
pub(super) fn result_of(returned: isize) -> i32 {
    if returned < 0 { -errno() } else { returned as i32 }
}

fn connect(fd: RawFd, address: *const libc::sockaddr, len: libc::socklen_t) -> i32 {
    set_nonblocking(fd, true);
    // SAFETY: the address is in the request's box, and so long.
    let result = result_of(unsafe { libc::connect(fd, address, len) } as isize);
    set_nonblocking(fd, false);
    result
}

/// The outcome of a connect. On Linux a second call tells it, and makes the socket fit for what comes next.
#[cfg(target_os = "linux")]
fn connected(fd: RawFd, address: *const libc::sockaddr, len: libc::socklen_t) -> i32 {
    match connect(fd, address, len) {
        result if result == -libc::EALREADY => WOULD_WAIT,
        outcome => outcome,
    }
}

#[cfg(not(target_os = "linux"))]
fn connected(fd: RawFd, _address: *const libc::sockaddr, _len: libc::socklen_t) -> i32 {
    // SAFETY: the descriptor of an operation's handle stays open as long as the operation waits.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    match rustix::net::sockopt::socket_error(fd) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) | Err(error) => -error.raw_os_error(),
    }
}

#[cfg(target_os = "linux")]
const POLLRDHUP: libc::c_short = libc::POLLRDHUP;
#[cfg(not(target_os = "linux"))]
const POLLRDHUP: libc::c_short = 0;

/// The errno of the call that has just failed.
fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// What is true of a descriptor now: poll's mask, or that nothing is.
fn poll_now(fd: RawFd, events: libc::c_short) -> i32 {
    let mut asked = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry, on this stack.
    match unsafe { libc::poll(&raw mut asked, 1, 0) } {
        1.. => i32::from(asked.revents),
        _ => WOULD_WAIT,
    }
}

fn set_nonblocking(fd: RawFd, nonblocking: bool) {
    // SAFETY: the descriptor of an operation's handle stays open as long as the operation waits.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    if let Ok(flags) = rustix::fs::fcntl_getfl(fd) {
        let mut wanted = flags;
        wanted.set(rustix::fs::OFlags::NONBLOCK, nonblocking);
        if wanted != flags {
            let _ = rustix::fs::fcntl_setfl(fd.as_fd(), wanted); // what it is then shows
        }
    }
}
