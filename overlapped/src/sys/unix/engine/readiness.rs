//! Readiness: try the operation; if it would wait, be told when it would not, and try again.
//!
//! As io_uring's, an engine lies in two parts: what any thread may use at any time ([`Readiness`]: sleep, wake), and what lies behind the
//! lane's lock ([`Queues`]: the operations that wait, and what is known of their sockets). A socket is registered when an operation on it
//! would wait for the first time: once, edge-triggered, for both directions, so that a message costs no registration.
//!
//! An edge says that a state may have changed. It is noted when it comes, and the operation is tried when its end is asked for
//! ([`Readiness::next`]): data is received just before it is handled, and nothing is received that nobody asked for. Files know no
//! readiness; their operations are done by a few threads ([`files`]).
//! References: `epoll(7)`, `recv(2)`, `send(2)`, `connect(2)`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use slab::Slab;

use super::files::{self, Job};
use super::{About, Completion, Token, Wait};
use crate::sync::Mutex;
use crate::sys::memory::{Memory, Pool};
use crate::sys::unix::request::{MOST_BYTES, Message, room, vector};
use crate::sys::{Kind, Operation, Request};
use crate::{Buffer, Result};

/// Events that are taken from the kernel at a time.
const EVENTS: usize = 1024;
/// So many operations are tried at their start between two calls to [`Readiness::enter`]; further ones wait for the next, so that others
/// have their turn.
const BUDGET: u32 = 256;
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
    epoll: OwnedFd,
    /// Never read: each write is an edge.
    bell: OwnedFd,
    /// The bell was rung by [`Readiness::wake`].
    woken: AtomicBool,
    inbox: Mutex<Vec<Event>>,
    inbox_len: AtomicUsize,
    /// Threads that are in the kernel's wait, or on their way there.
    sleepers: AtomicUsize,
}

#[derive(Clone, Copy)]
pub(super) enum Event {
    /// Of a socket: which one, the how-many-eth under that number, and what the kernel said.
    Edge(RawFd, u32, EventFlags),
    /// A file's operation has ended.
    Ended(Token, i32),
    Woken,
    Watched(u32),
}

/// What of an engine lies behind the lane's lock.
pub(crate) struct Queues {
    /// By their descriptors.
    sockets: Vec<Option<Box<Socket>>>,
    /// The operations that wait, by their places in the lane.
    lines: Vec<Option<Op>>,
    loose: Vec<Option<Op>>,
    /// What has ended.
    done: VecDeque<Completion>,
    /// Sockets whose operations are to be tried.
    todo: VecDeque<RawFd>,
    /// The same, after the next [`Readiness::enter`].
    deferred: Vec<RawFd>,
    /// Taken out of the inbox, to be gone through.
    events: Vec<Event>,
    pools: Slab<Arc<Pool>>,
    in_flight: usize,
    waiting: u32,
    /// Operations that may still be tried at their start.
    budget: u32,
    /// Whose turn it is: of what has ended, or of what is to be tried.
    turn: bool,
    generation: u32,
    sealed: bool,
}

/// What is known of a socket.
struct Socket {
    /// Whose it is: a descriptor's number is used again.
    handle: u64,
    generation: u32,
    /// What it is registered for; empty: it is not.
    interest: EventFlags,
    /// It may be; if not, there will be an edge.
    readable: bool,
    writable: bool,
    /// The end, an error or urgent data has been told of: a short receive has not emptied the socket.
    ending: bool,
    /// It is in `todo` or `deferred`.
    listed: bool,
    /// Set for the accepts of a listener.
    nonblocking: bool,
    kind: Kind,
    idle: u8,
    /// The places of the lines whose operations wait.
    reader: Option<u32>,
    writer: Option<u32>,
    /// The accepts that wait, by their places.
    accepts: VecDeque<u32>,
}

/// An operation on its way.
pub(super) struct Op {
    pub(super) token: Token,
    pub(super) fd: RawFd,
    pub(super) entry: Entry,
}

// SAFETY: what the entry points to is owned by its request, which stays where it is until the completion has been reaped, and which may
// itself go to other threads.
unsafe impl Send for Op {}

/// What is to be done, as the kernel wants it. Pointers are to memory of the request.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    Accept {
        standing: bool,
    },
    Connect {
        address: *const libc::sockaddr,
        len: libc::socklen_t,
    },
    /// A connect that has begun.
    Connecting {
        address: *const libc::sockaddr,
        len: libc::socklen_t,
    },
    /// The same, of which only the state of the socket is asked for.
    Connected,
    /// A receive of nothing.
    Poll,
    Recv {
        start: *mut u8,
        len: usize,
    },
    RecvPooled {
        group: u16,
    },
    RecvMsg {
        message: *mut libc::msghdr,
        flags: i32,
    },
    Send {
        start: *const u8,
        len: usize,
    },
    SendMsg {
        message: *const libc::msghdr,
    },
    Read {
        start: *mut u8,
        len: usize,
        offset: u64,
    },
    /// `None`: at the end.
    Write {
        start: *const u8,
        len: usize,
        offset: Option<u64>,
    },
    Sync {
        data_only: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Read,
    Write,
    File,
}

impl Entry {
    #[inline]
    fn side(&self) -> Side {
        match self {
            Self::Accept { .. } | Self::Poll | Self::Recv { .. } | Self::RecvPooled { .. } | Self::RecvMsg { .. } => {
                Side::Read
            }
            Self::Connect { .. }
            | Self::Connecting { .. }
            | Self::Connected
            | Self::Send { .. }
            | Self::SendMsg { .. } => Side::Write,
            Self::Read { .. } | Self::Write { .. } | Self::Sync { .. } => Side::File,
        }
    }
}

/// What an attempt came to.
enum Attempt {
    /// It would wait.
    Wait,
    /// A connect has begun: from now on this is what waits.
    Goes(Entry),
    Done {
        result: i32,
        buffer: Option<u16>,
    },
}

thread_local! {
    /// Where the kernel puts events.
    static SCRATCH: RefCell<Vec<epoll::Event>> = const { RefCell::new(Vec::new()) };
}

/// The keys of what is registered: a socket's descriptor and generation or, with this bit, something else.
const SPECIAL: u64 = 1 << 31;
const BELL: u64 = SPECIAL;
const WATCH: u64 = SPECIAL | 1;

impl Shared {
    /// Puts something in front of who enters next, and sees to it that nobody sleeps over it.
    pub(super) fn put(&self, event: Event) {
        let mut inbox = self.inbox.lock();
        inbox.push(event);
        self.inbox_len.store(inbox.len(), Ordering::SeqCst);
        drop(inbox);
        // Always: another engine may watch this one.
        self.ring();
    }

    fn ring(&self) {
        // It can fail only when 2^64 wake-ups have gone unread.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}

impl Readiness {
    pub(crate) fn new() -> Result<(Self, Queues)> {
        let shared = Shared {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            woken: AtomicBool::new(false),
            inbox: Mutex::default(),
            inbox_len: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
        };
        epoll::add(&shared.epoll, &shared.bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        let queues = Queues {
            sockets: Vec::new(),
            lines: Vec::new(),
            loose: Vec::new(),
            done: VecDeque::new(),
            todo: VecDeque::new(),
            deferred: Vec::new(),
            events: Vec::new(),
            pools: Slab::new(),
            in_flight: 0,
            waiting: 0,
            budget: BUDGET,
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

    /// Tries a request; if it would wait, notes what it waits for. The request must stay where it is, in its owner's hands, until its
    /// completion has been reaped.
    #[inline(never)] // io_uring's stands in its place where that is hot
    pub(crate) fn start(&self, queues: &mut Queues, token: Token, request: &mut Request, fd: RawFd, _drained: bool) {
        let entry = queues.entry(request);
        queues.in_flight += 1;
        let op = Op { token, fd, entry };
        let side = entry.side();
        if side == Side::File {
            files::submit(Job { engine: Arc::clone(&self.shared), op });
            return;
        }
        let budget = queues.budget;
        let (kind, handle) = (request.handle.kind(), request.handle.id());
        let socket = queues.socket(fd, handle, kind);
        socket.idle = 0;
        let ready = if side == Side::Read { socket.readable } else { socket.writable };
        if !ready || !socket.accepts.is_empty() && side == Side::Read {
            queues.park(op); // behind what waits already, or for an edge
        } else if budget == 0 {
            socket.listed = true;
            queues.deferred.push(fd);
            queues.park(op);
        } else {
            queues.budget -= 1;
            if let Some(completion) = self.attempt(queues, op) {
                queues.done.push_back(completion);
            }
        }
        self.publish(queues);
    }

    /// There are no standing receives here: a receive waits without a buffer as it is.
    pub(crate) fn receive_each(&self, _queues: &mut Queues, _token: Token, _fd: RawFd, _pool: &Arc<Pool>) -> u16 {
        unreachable!("readiness has no standing receives")
    }

    /// Ends a request that waits. One that has ended, or a file's that has begun, is let be.
    pub(crate) fn cancel(&self, queues: &mut Queues, token: Token) {
        let op = match queues.unpark(token) {
            Some(op) => Some(op),
            None => files::withdraw(&self.shared, token),
        };
        if op.is_some() {
            queues.done.push_back(Completion::of(token, -libc::ECANCELED));
        }
        self.publish(queues);
    }

    /// Ends all requests that wait.
    pub(crate) fn cancel_all(&self, queues: &mut Queues) {
        let waiting = queues.lines.iter().chain(&queues.loose).flatten().map(|op| op.token);
        for token in waiting.collect::<Vec<_>>() {
            self.cancel(queues, token);
        }
        for token in files::withdraw_all(&self.shared) {
            queues.done.push_back(Completion::of(token, -libc::ECANCELED));
        }
        self.publish(queues);
    }

    /// Ends the sleep of the thread that waits in [`Self::enter`], or the next one.
    pub(crate) fn wake(&self) {
        self.shared.woken.store(true, Ordering::SeqCst);
        self.shared.ring();
    }

    /// Nothing is needed for that here.
    pub(crate) fn hang_bell(&self) -> Result<()> {
        Ok(())
    }

    /// What is readable when there are events.
    pub(crate) fn watchable(&self) -> RawFd {
        self.shared.epoll.as_raw_fd()
    }

    /// One completion [`About::Watched`] when `other`, which is called `name`, is readable.
    pub(crate) fn watch(&self, queues: &mut Queues, other: RawFd, name: usize) {
        // SAFETY: the call looks the number up; one that is closed is refused.
        let other = unsafe { BorrowedFd::borrow_raw(other) };
        let (key, flags) = (EventData::new_u64(WATCH | (name as u64) << 32), EventFlags::IN | EventFlags::ONESHOT);
        let watched = match epoll::add(&self.shared.epoll, other, key, flags) {
            Err(Errno::EXIST) => epoll::modify(&self.shared.epoll, other, key, flags),
            watched => watched,
        };
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
        const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let shared = &*self.shared;
        let sleeps = matches!(wait, Wait::For { .. });
        let mut timeout = match wait {
            Wait::No => Some(NO_TIME),
            Wait::For { timeout, .. } => timeout.map(|timeout| Timespec::try_from(timeout).unwrap_or(NO_TIME)),
        };
        if sleeps {
            // SeqCst on both sides: here "count, then look whether something is there", below and in `put` "put it there, then look who
            // sleeps". One of the two sees the other.
            shared.sleepers.fetch_add(1, Ordering::SeqCst);
            if self.has_completions() {
                timeout = Some(NO_TIME);
            }
        }
        let take = |events: &mut Vec<epoll::Event>| {
            events.clear();
            events.reserve(EVENTS);
            let waited = epoll::wait(&shared.epoll, spare_capacity(events), timeout.as_ref());
            if sleeps {
                shared.sleepers.fetch_sub(1, Ordering::SeqCst);
            }
            match waited {
                Ok(0) | Err(Errno::INTR) => return Ok(false), // time is up, or a signal came: the caller looks at what there is
                Ok(_) => {}
                Err(error) => return Err(error),
            }
            let mut inbox = shared.inbox.lock();
            for event in &*events {
                let (key, flags) = (event.data.u64(), event.flags);
                let number = (key >> 32) as u32;
                inbox.push(match key & 0xffff_ffff {
                    BELL if shared.woken.swap(false, Ordering::SeqCst) => Event::Woken,
                    BELL => continue, // something was put into the inbox
                    WATCH => Event::Watched(number),
                    fd => Event::Edge(fd as RawFd, number, flags),
                });
            }
            shared.inbox_len.store(inbox.len(), Ordering::SeqCst);
            Ok(!inbox.is_empty())
        };
        let here = SCRATCH.try_with(|scratch| take(&mut scratch.borrow_mut()));
        let taken = here.unwrap_or_else(|_| take(&mut Vec::new()))?; // the thread is ending
        // What would have ended another thread's sleep has been taken away from it.
        if taken && shared.sleepers.load(Ordering::SeqCst) > 0 {
            shared.ring();
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
    pub(crate) fn reap(&self, queues: &mut Queues, into: &mut Vec<Completion>) {
        into.extend(self.next(queues));
    }

    /// Takes the next end. Tries what is ready until there is one.
    #[inline(never)] // as above
    fn next(&self, queues: &mut Queues) -> Option<Completion> {
        let completion = loop {
            if queues.todo.is_empty() && self.shared.inbox_len.load(Ordering::SeqCst) > 0 {
                self.fetch(queues);
            }
            // In turn, so that a socket that is always ready does not keep the others waiting, nor they what has ended.
            queues.turn = !queues.turn;
            if (queues.turn || queues.todo.is_empty())
                && let Some(completion) = queues.done.pop_front()
            {
                break Some(completion);
            }
            let Some(fd) = queues.todo.pop_front() else {
                break None;
            };
            if let Some(completion) = self.look(queues, fd) {
                break Some(completion);
            }
        };
        if let Some(completion) = &completion
            && !completion.more
            && !matches!(completion.token.about, About::Woken | About::Watched)
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
                Event::Edge(fd, generation, flags) => self.edge(queues, fd, generation, flags),
                Event::Ended(token, result) => queues.done.push_back(Completion::of(token, result)),
                Event::Woken => queues.done.push_back(Completion::of(Token::new(About::Woken, 0, 0), 0)),
                Event::Watched(name) => {
                    queues.done.push_back(Completion::of(Token::new(About::Watched, name as usize, 0), 0));
                }
            }
        }
        queues.events = events;
    }

    /// The state of a socket may have changed.
    #[inline]
    fn edge(&self, queues: &mut Queues, fd: RawFd, generation: u32, flags: EventFlags) {
        let Some(Some(socket)) = queues.sockets.get_mut(fd as usize) else { return };
        if socket.generation != generation {
            return; // of one that had the number before
        }
        let over = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        socket.readable |= over || flags.contains(EventFlags::IN);
        socket.writable |= over || flags.contains(EventFlags::OUT);
        socket.ending |= over || flags.contains(EventFlags::PRI);
        if socket.is_awaited() {
            if !std::mem::replace(&mut socket.listed, true) {
                queues.todo.push_back(fd);
            }
            return;
        }
        socket.idle += 1;
        if socket.idle >= IDLE_EVENTS {
            // SAFETY: the call looks the number up; one that is closed is refused.
            let _ = epoll::delete(&self.shared.epoll, unsafe { BorrowedFd::borrow_raw(fd) });
            queues.sockets[fd as usize] = None; // nothing is known of it any more
        }
    }

    /// Tries what waits for a socket, until something has ended.
    #[inline]
    fn look(&self, queues: &mut Queues, fd: RawFd) -> Option<Completion> {
        loop {
            let socket = queues.sockets.get_mut(fd as usize)?.as_mut()?;
            socket.listed = false;
            let token = match (socket.next_read(), socket.writer) {
                (Some(reader), _) if socket.readable => reader,
                (_, Some(writer)) if socket.writable => (About::Line, writer),
                _ => return None,
            };
            let op = queues.take_op(token.0, token.1)?;
            let Some(completion) = self.attempt(queues, op) else { continue };
            // There may be more to do.
            if let Some(Some(socket)) = queues.sockets.get_mut(fd as usize)
                && socket.is_ready()
                && !std::mem::replace(&mut socket.listed, true)
            {
                queues.todo.push_back(fd);
            }
            return Some(completion);
        }
    }

    /// Tries an operation. What would wait is put among what waits.
    #[inline]
    fn attempt(&self, queues: &mut Queues, mut op: Op) -> Option<Completion> {
        let Queues { sockets, pools, .. } = queues;
        let socket = sockets[op.fd as usize].as_mut().expect("it was looked up when the operation started");
        let mut tried = socket.attempt(op.fd, op.entry, pools);
        if let Attempt::Goes(entry) = tried {
            op.entry = entry;
            tried = Attempt::Wait;
        }
        let (result, buffer) = match tried {
            Attempt::Done { result, buffer } => (result, buffer),
            _ => match socket.await_edge(&self.shared.epoll, op.fd, op.entry.side()) {
                Ok(()) => {
                    queues.park(op);
                    return None;
                }
                Err(errno) => (-errno.raw_os_error(), None),
            },
        };
        let more = matches!(op.entry, Entry::Accept { standing: true }) && result >= 0;
        let nonempty = socket.readable && !socket.interest.is_empty();
        let token = op.token;
        if more {
            queues.park_first(op);
        }
        Some(Completion { token, result, buffer, more, nonempty })
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
        queues.pools.clear();
        queues.sockets.clear();
    }

    /// Forgets pools that nobody else has any more.
    pub(crate) fn refill(&self, queues: &mut Queues) {
        queues.pools.retain(|_, pool| Arc::strong_count(pool) > 1);
    }
}

impl Completion {
    fn of(token: Token, result: i32) -> Self {
        Self { token, result, buffer: None, more: false, nonempty: false }
    }
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

    pub(crate) fn has_standing_receives(&self) -> bool {
        false
    }

    pub(crate) fn no_standing_receives(&mut self) {}

    #[inline]
    pub(crate) fn chosen(&mut self, group: u16, pool: Arc<Pool>, index: u16, result: i32) -> Option<Buffer> {
        assert!(Arc::ptr_eq(&self.pools[usize::from(group)], &pool), "a group belongs to one pool");
        // SAFETY: `Socket::attempt` took this index out of this pool, for this completion.
        let mut memory = unsafe { Memory::from_pool(pool, u32::from(index)) };
        if result <= 0 {
            return None;
        }
        // SAFETY: the kernel wrote `result` bytes into it.
        unsafe { memory.set_len(result as usize) };
        Some(Buffer(memory))
    }

    pub(crate) fn is_scarce(&self, pool: &Arc<Pool>) -> bool {
        pool.free() <= pool.count as usize / 4
    }

    pub(crate) fn ran_out(&mut self, _pool: &Arc<Pool>) {}

    pub(crate) fn has_buffers(&self, pool: &Arc<Pool>) -> bool {
        pool.free() > 0
    }

    /// The number of a pool here.
    fn group(&mut self, pool: &Arc<Pool>) -> u16 {
        match self.pools.iter().find(|(_, other)| Arc::ptr_eq(other, pool)) {
            Some((group, _)) => group as u16,
            None => self.pools.insert(Arc::clone(pool)) as u16,
        }
    }

    /// What is known of the socket of a handle.
    #[inline]
    fn socket(&mut self, fd: RawFd, handle: u64, kind: Kind) -> &mut Socket {
        let at = fd as usize;
        if at >= self.sockets.len() {
            self.sockets.resize_with(at + 1, || None);
        }
        let place = &mut self.sockets[at];
        if place.as_ref().is_none_or(|socket| socket.handle != handle) {
            debug_assert!(!place.as_ref().is_some_and(|socket| socket.is_awaited()), "closed while something waits");
            self.generation = self.generation.wrapping_add(1);
            *place = Some(Box::new(Socket::new(handle, self.generation, kind)));
        }
        place.as_mut().expect("put there if it was not")
    }

    fn place(&mut self, about: About, at: u32) -> &mut Option<Op> {
        let places = if about == About::Line { &mut self.lines } else { &mut self.loose };
        if at as usize >= places.len() {
            places.resize_with(at as usize + 1, || None);
        }
        &mut places[at as usize]
    }

    /// Puts an operation among what waits.
    #[inline]
    fn park(&mut self, op: Op) {
        let socket = self.sockets[op.fd as usize].as_mut().expect("it was looked up when the operation started");
        match op.entry.side() {
            Side::Write => socket.writer = Some(op.token.at),
            _ if op.token.about == About::Loose => socket.accepts.push_back(op.token.at),
            _ => socket.reader = Some(op.token.at),
        }
        self.put_op(op);
    }

    /// Puts an accept that goes on before those that wait.
    fn park_first(&mut self, op: Op) {
        let socket = self.sockets[op.fd as usize].as_mut().expect("it was looked up when the operation started");
        socket.accepts.push_front(op.token.at);
        if socket.readable && !std::mem::replace(&mut socket.listed, true) {
            self.todo.push_back(op.fd);
        }
        self.put_op(op);
    }

    #[inline]
    fn put_op(&mut self, op: Op) {
        self.waiting += 1;
        let place = self.place(op.token.about, op.token.at);
        debug_assert!(place.is_none(), "a place has one operation");
        *place = Some(op);
    }

    /// Takes an operation out of what waits, and out of its socket's list, where it is the first of its kind.
    #[inline]
    fn take_op(&mut self, about: About, at: u32) -> Option<Op> {
        let op = self.place(about, at).take()?;
        self.waiting -= 1;
        if let Some(Some(socket)) = self.sockets.get_mut(op.fd as usize) {
            match op.entry.side() {
                Side::Write => socket.writer = None,
                _ if about == About::Loose => socket.accepts.retain(|other| *other != at),
                _ => socket.reader = None,
            }
        }
        Some(op)
    }

    /// Takes an operation out of what waits, if it is there.
    fn unpark(&mut self, token: Token) -> Option<Op> {
        if self.place(token.about, token.at).as_ref().is_none_or(|op| op.token != token) {
            return None;
        }
        self.take_op(token.about, token.at)
    }

    /// What a request asks of the kernel: one arm an operation.
    #[inline]
    fn entry(&mut self, request: &mut Request) -> Entry {
        let moved = request.moved;
        match &mut request.operation {
            Operation::Accept { standing, .. } => Entry::Accept { standing: *standing },
            Operation::Connect { .. } if request.in_flight.connecting => Entry::Connected,
            Operation::Connect { address } => {
                let message = request.in_flight.message.insert(Message::to(**address, Vec::new()));
                Entry::Connect { address: (&raw const message.address).cast(), len: message.address_len }
            }
            // A receive of nothing waits for data, which the kernel's own does not.
            Operation::Recv { buffer } if buffer.capacity() == 0 => Entry::Poll,
            Operation::Recv { buffer } => {
                let (start, len) = buffer.0.room();
                Entry::Recv { start, len: len.min(MOST_BYTES) }
            }
            Operation::RecvPooled { pool, .. } => {
                let group = self.group(&pool.0);
                request.in_flight.group = group;
                Entry::RecvPooled { group }
            }
            Operation::Send { buffer } => {
                let (start, len) = buffer.0.filled(moved);
                Entry::Send { start, len: len.min(MOST_BYTES) }
            }
            Operation::SendVectored { buffers } => {
                let message = request.in_flight.message.insert(Message::new(vector(buffers, moved)));
                Entry::SendMsg { message: &raw const message.header }
            }
            Operation::RecvFrom { buffer, .. } => {
                let (room, len) = buffer.0.room();
                let vector = vec![libc::iovec { iov_base: room.cast(), iov_len: len }];
                let message = Message::new(vector).with_address(size_of::<libc::sockaddr_storage>() as libc::socklen_t);
                Entry::RecvMsg { message: &raw mut request.in_flight.message.insert(message).header, flags: 0 }
            }
            Operation::RecvVectored { buffers, flags, .. } => {
                let message =
                    Message::new(room(buffers)).with_address(size_of::<libc::sockaddr_storage>() as libc::socklen_t);
                Entry::RecvMsg { message: &raw mut request.in_flight.message.insert(message).header, flags: *flags }
            }
            Operation::SendTo { buffer, address } => {
                let message = Message::to(**address, vector(std::slice::from_ref(buffer), 0));
                let message = request.in_flight.message.insert(message);
                Entry::SendMsg { message: &raw const message.header }
            }
            Operation::ReadAt { buffer, offset } => {
                let (start, len) = buffer.0.room();
                Entry::Read { start, len: len.min(MOST_BYTES), offset: *offset }
            }
            Operation::WriteAt { buffer, offset } => {
                let (start, len) = buffer.0.filled(moved);
                // All ones means: append.
                let offset = (*offset != u64::MAX).then(|| *offset + moved as u64);
                Entry::Write { start, len: len.min(MOST_BYTES), offset }
            }
            Operation::Sync { data_only } => Entry::Sync { data_only: *data_only },
        }
    }
}

impl Socket {
    fn new(handle: u64, generation: u32, kind: Kind) -> Self {
        Self {
            handle,
            generation,
            interest: EventFlags::empty(),
            readable: true,
            writable: true,
            ending: false,
            listed: false,
            nonblocking: false,
            kind,
            idle: 0,
            reader: None,
            writer: None,
            accepts: VecDeque::new(),
        }
    }

    #[inline]
    fn next_read(&self) -> Option<(About, u32)> {
        match self.reader {
            Some(at) => Some((About::Line, at)),
            None if self.accepts.is_empty() => None,
            None => self.accepts.front().map(|at| (About::Loose, *at)),
        }
    }

    fn is_awaited(&self) -> bool {
        self.reader.is_some() || self.writer.is_some() || !self.accepts.is_empty()
    }

    /// Whether something waits that may be tried.
    #[inline]
    fn is_ready(&self) -> bool {
        self.readable && (self.reader.is_some() || !self.accepts.is_empty()) || self.writable && self.writer.is_some()
    }

    /// An operation would wait: from now on there is an edge when it would not any more.
    #[inline]
    fn await_edge(&mut self, epoll: &OwnedFd, fd: RawFd, side: Side) -> rustix::io::Result<()> {
        let mut wanted = match self.kind {
            // A datagram socket has an edge for each datagram that has left; so it is told only if it is waited for.
            Kind::Datagram | Kind::Listener => EventFlags::IN | EventFlags::ET,
            _ => EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::PRI | EventFlags::ET,
        };
        match side {
            Side::Read => self.readable = false,
            _ => {
                self.writable = false;
                wanted |= EventFlags::OUT;
            }
        }
        if self.interest.contains(wanted) {
            return Ok(());
        }
        // SAFETY: the descriptor of an operation's handle stays open as long as the operation waits.
        let descriptor = unsafe { BorrowedFd::borrow_raw(fd) };
        let key = EventData::new_u64(u64::from(self.generation) << 32 | fd as u64);
        wanted |= self.interest;
        // An edge comes at once if the socket has become ready in between.
        match epoll::add(epoll, descriptor, key, wanted) {
            Err(Errno::EXIST) => epoll::modify(epoll, descriptor, key, wanted)?,
            added => added?,
        }
        self.interest = wanted;
        Ok(())
    }

    /// Tries something, and notes what that says of the socket.
    #[inline]
    fn attempt(&mut self, fd: RawFd, entry: Entry, pools: &Slab<Arc<Pool>>) -> Attempt {
        const RECV: libc::c_int = libc::MSG_DONTWAIT;
        const SEND: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the descriptor of an operation's handle stays open until the operation has ended.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        let result = match entry {
            Entry::Recv { start, len } => {
                // SAFETY: the memory is the request's, which is in its owner's hands until this has ended.
                let room = unsafe { slice::from_raw_parts_mut(start.cast::<MaybeUninit<u8>>(), len) };
                let result = rustix::net::recv(socket, room, RecvFlags::DONTWAIT).map(|(bytes, _)| bytes.0.len());
                self.received(&result, len);
                return done(result, None);
            }
            Entry::RecvPooled { group } => {
                let pool = &pools[usize::from(group)];
                let Some(index) = pool.take_one() else {
                    // Not known to be readable: to be told so first, and then to find out.
                    if self.interest.is_empty() {
                        return Attempt::Wait;
                    }
                    return Attempt::Done { result: -libc::ENOBUFS, buffer: None };
                };
                let (start, len) = (pool.address(index).cast::<MaybeUninit<u8>>(), pool.buffer_size);
                // SAFETY: the index was taken out of the pool just now, so nobody else has that memory.
                let room = unsafe { slice::from_raw_parts_mut(start.as_ptr(), len) };
                let result = rustix::net::recv(socket, room, RecvFlags::DONTWAIT).map(|(bytes, _)| bytes.0.len());
                if result.is_err() {
                    pool.give_back(index);
                }
                self.received(&result, len);
                return done(result, Some(index as u16));
            }
            Entry::Send { start, len } => {
                // SAFETY: as for Recv; they have been written.
                let bytes = unsafe { slice::from_raw_parts(start, len) };
                return done(rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL), None);
            }
            // SAFETY: as for Recv; the message and what it points to are in the request's box.
            Entry::RecvMsg { message, flags } => unsafe { libc::recvmsg(fd, message, RECV | flags) },
            // SAFETY: as for RecvMsg.
            Entry::SendMsg { message } => unsafe { libc::sendmsg(fd, message, SEND) },
            Entry::Accept { .. } => return self.accept(fd),
            Entry::Connect { address, len } => return connect(fd, address, len),
            Entry::Connecting { address, len } => {
                return match poll_now(fd, libc::POLLOUT) {
                    0 => Attempt::Wait,
                    _ => connected(fd, address, len),
                };
            }
            Entry::Connected => return polled(fd, libc::POLLOUT),
            Entry::Poll => return polled(fd, libc::POLLIN | POLLRDHUP),
            Entry::Read { .. } | Entry::Write { .. } | Entry::Sync { .. } => unreachable!("a file's"),
        };
        if result >= 0 {
            return Attempt::Done { result: result as i32, buffer: None };
        }
        match errno() {
            libc::EAGAIN => Attempt::Wait,
            errno => Attempt::Done { result: -errno, buffer: None },
        }
    }

    /// A short receive of a stream has emptied the socket, and what comes from now on makes an edge; unless that has been.
    #[inline]
    fn received(&mut self, result: &rustix::io::Result<usize>, room: usize) {
        let short = matches!(result, Ok(bytes) if *bytes > 0 && *bytes < room);
        if short && !self.ending && self.kind == Kind::Stream && !self.interest.is_empty() {
            self.readable = false;
        }
    }

    fn accept(&mut self, fd: RawFd) -> Attempt {
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
        match accepted {
            0.. => Attempt::Done { result: accepted, buffer: None },
            _ if errno() == libc::EAGAIN => Attempt::Wait,
            _ => Attempt::Done { result: -errno(), buffer: None },
        }
    }
}

/// The result of a call that moves bytes. `buffer`: which one it moved them to.
#[inline]
fn done(result: rustix::io::Result<usize>, buffer: Option<u16>) -> Attempt {
    match result {
        Ok(bytes) => Attempt::Done { result: bytes as i32, buffer },
        Err(Errno::AGAIN) => Attempt::Wait,
        Err(errno) => Attempt::Done { result: -errno.raw_os_error(), buffer: None },
    }
}

/// Begins to connect.
fn connect(fd: RawFd, address: *const libc::sockaddr, len: libc::socklen_t) -> Attempt {
    set_nonblocking(fd, true);
    // SAFETY: the address is in the request's box, and so long.
    let errno = if unsafe { libc::connect(fd, address, len) } == 0 { 0 } else { errno() };
    set_nonblocking(fd, false);
    match errno {
        libc::EINPROGRESS => Attempt::Goes(Entry::Connecting { address, len }),
        errno => Attempt::Done { result: -errno, buffer: None },
    }
}

/// The outcome of a connect. On Linux a second call tells it, and makes the socket fit for what comes next.
#[cfg(target_os = "linux")]
fn connected(fd: RawFd, address: *const libc::sockaddr, len: libc::socklen_t) -> Attempt {
    match connect(fd, address, len) {
        Attempt::Done { result, .. } if result == -libc::EALREADY => Attempt::Wait,
        outcome => outcome,
    }
}

#[cfg(not(target_os = "linux"))]
fn connected(fd: RawFd, _address: *const libc::sockaddr, _len: libc::socklen_t) -> Attempt {
    // SAFETY: the descriptor of an operation's handle stays open as long as the operation waits.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let result = match rustix::net::sockopt::socket_error(fd) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) | Err(error) => -error.raw_os_error(),
    };
    Attempt::Done { result, buffer: None }
}

#[cfg(target_os = "linux")]
const POLLRDHUP: libc::c_short = libc::POLLRDHUP;
#[cfg(not(target_os = "linux"))]
const POLLRDHUP: libc::c_short = 0;

/// The errno of the call that has just failed.
pub(super) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// What is true of a descriptor now.
fn poll_now(fd: RawFd, events: libc::c_short) -> i32 {
    let mut asked = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry, on this stack.
    match unsafe { libc::poll(&raw mut asked, 1, 0) } {
        0.. => i32::from(asked.revents),
        _ => 0,
    }
}

/// What is asked for is a state.
fn polled(fd: RawFd, events: libc::c_short) -> Attempt {
    match poll_now(fd, events) {
        0 => Attempt::Wait,
        mask => Attempt::Done { result: mask, buffer: None },
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
