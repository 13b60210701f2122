//! What the C face stands on: operations on memory that the caller keeps alive, whose ends are told to a *listener*.
//!
//! A listener hears of an end at once, whichever thread reaps it, so that the caller's `OVERLAPPED` and events say what is so. It answers
//! where the end goes from there: into the queue of the handle's port, to a thread's APCs, or on to a next step. All of it
//! belongs to the caller: what is refused, and with which code, is decided above.

use std::net::{Shutdown, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::line::Direction;
use super::request::{Message, Step, vector};
use super::thread::{self, Outcome, with_desk};
use super::worker::Worker;
use super::{Way, monitor, prefetch};
pub use crate::sys::lock::{Guard, Lock};
use crate::sys::memory::Memory;
use crate::sys::{self, Delivered, Ended, Request, Spare};
pub use crate::sys::{Kind, OperationId};
use crate::{Buffer, Error, Result, trace};

/// Where the end of an operation goes once its listener has heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A packet of the port that the handle is associated with, with this key.
    Packet(usize),
    /// [`Listener::run`], on this thread, in an alertable wait.
    Apc(ThreadId),
    /// [`Listener::run`] at once, on whatever thread this is, with no lock held.
    Run,
    /// Nowhere.
    Nothing,
}

/// The number of a thread: see [`Thread`].
pub type ThreadId = u32;

/// What the caller wants to find again with the end of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Tag {
    /// Names the operation.
    pub overlapped: usize,
    /// Anything at all.
    pub data: usize,
    /// Who started it.
    pub thread: ThreadId,
}

/// Hears of the ends of operations.
pub trait Listener: Send + Sync {
    /// It has ended. A lock of the library is held: what this does is set flags, wake waits, and nothing else. Says where the end goes.
    fn ended(&self, end: &mut End<'_>) -> Next;

    /// It was not started. Nothing else comes.
    fn refused(&self) {}

    /// What is left to be done, if [`Next`] said so.
    fn run(self: Arc<Self>, _end: &mut End<'_>) {}
}

/// The way of an operation of the C face.
pub(crate) struct Raw {
    listener: Arc<dyn Listener>,
    tag: Tag,
    home: Option<u32>,
    next: Next,
    eager: bool,
}

thread_local! {
    static SPARE: Spare<Raw> = const { Spare::new() };
}

impl Raw {
    fn boxed(self) -> Box<Self> {
        let memory = SPARE.try_with(Spare::take).ok().flatten();
        Box::write(memory.unwrap_or_else(Box::new_uninit), self)
    }

    /// Keeps the memory for the next operation.
    fn drop_box(self: Box<Self>) {
        let _ = SPARE.try_with(|spare| spare.empty(self)); // a thread that is ending keeps nothing
    }

    /// The thread's lane that it is issued in.
    #[inline]
    pub(super) fn home(&self) -> Option<u32> {
        self.home
    }

    /// Whether the thread of this lane is the one that is to hear of it, and nobody else.
    pub(super) fn runs_in(&self, lane: u32) -> bool {
        self.home == Some(lane) && self.tag.thread == lane
    }

    /// Has what its end will touch fetched into the cache.
    #[inline]
    pub(super) fn prefetch(&self) {
        prefetch(Arc::as_ptr(&self.listener).cast::<[u8; 128]>());
        prefetch(self.tag.overlapped as *const [u8; 32]);
    }

    #[inline]
    pub(super) fn is_eager(&self) -> bool {
        self.eager
    }

    pub(super) fn run(self, mut ended: Ended) {
        self.listener.run(&mut End { request: &mut ended, tag: self.tag });
    }
}

/// The end of an operation.
pub struct End<'a> {
    request: &'a mut Request,
    tag: Tag,
}

impl End<'_> {
    /// What was given with it.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// How it ended.
    pub fn result(&self) -> Result<usize> {
        self.request.result()
    }

    /// Bytes moved, also where the result is an error.
    pub fn moved(&self) -> usize {
        self.request.moved
    }

    /// The sender of a datagram.
    pub fn from(&self) -> Option<SocketAddr> {
        match &self.request.operation {
            sys::Operation::RecvFrom { from, .. } | sys::Operation::RecvVectored { from, .. } => {
                from.as_deref().copied()
            }
            _ => None,
        }
    }

    /// The connection that an accept brought.
    pub fn accepted(&mut self) -> Option<OwnedFd> {
        match &mut self.request.operation {
            sys::Operation::Accept { accepted, .. } => accepted.take(),
            _ => None,
        }
    }
}

/// An operation has ended: its listener hears of it. Returns whether its end belongs into the queue of the lane where this happens.
/// `thread`: whose lane that is, if it is a thread's.
pub(super) fn tell(ended: &mut Ended, thread: Option<u32>) -> bool {
    let Way::Raw(mut raw) = std::mem::replace(&mut ended.way, Way::Port) else { return false };
    let (tag, next);
    tag = raw.tag;
    next = raw.listener.ended(&mut End { request: ended, tag });
    raw.next = next;
    ended.way = Way::Raw(raw);
    if !matches!(next, Next::Packet(_)) && thread.is_none() {
        ended.handle.told_elsewhere(&ended.operation);
    }
    match next {
        Next::Packet(_) => thread.is_none(),
        Next::Apc(home) => thread == Some(home),
        Next::Run | Next::Nothing => false,
    }
}

/// What is left to be done is not the business of the lane where it ended.
pub(super) fn tell_elsewhere(mut ended: Ended) {
    let Way::Raw(raw) = &ended.way else { return };
    let (listener, tag, next) = (Arc::clone(&raw.listener), raw.tag, raw.next);
    match next {
        Next::Packet(_) | Next::Nothing => {} // of a port that is closed
        Next::Run => listener.run(&mut End { request: &mut ended, tag }),
        Next::Apc(home) => drop(thread::queue_to(home, ended)), // given back: that thread has ended
    }
}

/// Does the first of a line at once, if the system lets it. `None`: it has to wait, for what is left of it.
pub(super) fn attempt(request: &mut Request) -> Option<Result<usize>> {
    let fd = request.handle.raw_fd();
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let sent = match &request.operation {
        sys::Operation::Send { buffer } => {
            let (bytes, len) = buffer.0.filled(request.moved);
            // SAFETY: the bytes are the buffer's, which the request owns.
            unsafe { libc::send(fd, bytes.cast(), len, flags) }
        }
        sys::Operation::SendVectored { buffers } => {
            let message = Message::new(vector(buffers, request.moved));
            // SAFETY: the header points into the message and to the buffers, which live through the call.
            unsafe { libc::sendmsg(fd, &message.header, flags) }
        }
        sys::Operation::SendTo { buffer, address } => {
            let message = Message::to(**address, vector(std::slice::from_ref(buffer), 0));
            // SAFETY: as above.
            unsafe { libc::sendmsg(fd, &message.header, flags) }
        }
        _ => return None,
    };
    let result = match sent {
        0.. => sent.min(i32::MAX as isize) as i32,
        _ => match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) | None => return None,
            Some(errno) => -errno,
        },
    };
    match request.advance(result) {
        Step::Again => None,
        Step::Done(result) => Some(request.handle.correct(&request.operation, result)),
    }
}

/// What is asked for. All memory is the caller's: see [`Handle::start`].
#[derive(Debug)]
pub enum Operation {
    /// A connection.
    Accept,
    /// To this address.
    Connect(SocketAddr),
    /// Into this memory.
    Recv(Span),
    /// Into these pieces, in order; with flags of `recvmsg`; the sender is to be known.
    RecvVectored(Vec<Span>, i32),
    /// One datagram; the sender is to be known.
    RecvFrom(Span),
    /// All of it.
    Send(Span),
    /// All of these pieces, in order.
    SendVectored(Vec<Span>),
    /// One datagram, to this address.
    SendTo(Span, SocketAddr),
    /// From this offset of a file.
    ReadAt(Span, u64),
    /// To this offset of a file; all ones appends.
    WriteAt(Span, u64),
}

/// Memory of the caller's: where, and how many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Span(pub *mut u8, pub usize);

impl Span {
    /// # Safety
    /// As [`Memory::borrowed`]. `filled`: the bytes are to be read, not written.
    unsafe fn borrow(self, filled: bool) -> Buffer {
        let len = if filled { self.1 } else { 0 };
        // SAFETY: the caller's promise.
        Buffer(unsafe { Memory::borrowed(self.0, len, self.1) })
    }
}

impl Operation {
    /// # Safety
    /// As [`Handle::start`].
    unsafe fn borrow(self) -> sys::Operation {
        // SAFETY: the caller's promise, for each.
        unsafe {
            let pieces = |spans: Vec<Span>, filled| spans.into_iter().map(|span| span.borrow(filled)).collect();
            match self {
                Self::Accept => sys::Operation::Accept { standing: false, accepted: None },
                Self::Connect(address) => sys::Operation::Connect { address: Box::new(address) },
                Self::Recv(span) => sys::Operation::Recv { buffer: span.borrow(false) },
                Self::RecvVectored(spans, flags) => {
                    sys::Operation::RecvVectored { buffers: pieces(spans, false), flags, from: None }
                }
                Self::RecvFrom(span) => sys::Operation::RecvFrom { buffer: span.borrow(false), from: None },
                Self::Send(span) => sys::Operation::Send { buffer: span.borrow(true) },
                Self::SendVectored(spans) => sys::Operation::SendVectored { buffers: pieces(spans, true) },
                Self::SendTo(span, address) => {
                    sys::Operation::SendTo { buffer: span.borrow(true), address: Box::new(address) }
                }
                Self::ReadAt(span, offset) => sys::Operation::ReadAt { buffer: span.borrow(false), offset },
                Self::WriteAt(span, offset) => sys::Operation::WriteAt { buffer: span.borrow(true), offset },
            }
        }
    }
}

/// Where the operations of a handle without a port run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// In the ring of the calling thread, which lets them go on in its waits.
    Here,
    /// In the library's own thread.
    Reaper,
}

/// A socket or file.
#[derive(Clone, Debug)]
pub struct Handle(Arc<sys::Handle>);

/// Of which operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Receives.
    Receive,
    /// Sends and connects.
    Send,
}

impl Side {
    fn direction(self) -> Direction {
        match self {
            Self::Receive => Direction::Receive,
            Self::Send => Direction::Send,
        }
    }
}

impl Handle {
    /// Takes over a descriptor.
    pub fn new(fd: OwnedFd, kind: Kind) -> Self {
        Self(sys::Handle::new(fd, kind))
    }

    /// Binds it to a port, for life. It has no operation, and gets none meanwhile: that is the caller's to see to.
    ///
    /// # Errors
    /// Something of it is in the ring of a thread that does not come by the kernel.
    pub fn associate(&self, port: &Port) -> Result<()> {
        sys::Handle::bind_to(&self.0, &port.0, Box::new(())) // the key comes with each end
    }

    /// Starts an operation. `eager`: a send is done at once as far as it can be.
    ///
    /// # Safety
    /// The memory that the operation names stays valid, and is left alone, until the listener has heard of the end.
    ///
    /// # Errors
    /// Those of a ring that has to be made. The listener hears that it was [`refused`](Listener::refused).
    pub unsafe fn start(
        self,
        operation: Operation,
        listener: Arc<dyn Listener>,
        tag: Tag,
        home: Home,
        eager: bool,
        timeout: Option<Duration>,
    ) -> Result<OperationId> {
        let home = match home {
            _ if self.0.has_port() => Ok(None),
            Home::Here => thread::equipped_here().map(Some),
            Home::Reaper => thread::reaper().map(|reaper| Some(reaper.id)),
        };
        let home = home.inspect_err(|_| listener.refused())?;
        let way = Way::Raw(Raw { listener, tag, home, next: Next::Nothing, eager }.boxed());
        // SAFETY: the caller's promise.
        let operation = unsafe { operation.borrow() };
        sys::Handle::start(Request::new(self.0, operation, way), timeout).map_err(|(error, request)| {
            if let Way::Raw(raw) = &request.way {
                raw.listener.refused();
            }
            error
        })
    }

    /// Does something with the descriptor that has its place among the operations of a side. `None`, and nothing is done, if one of them is
    /// under way. A lock of the library is held meanwhile.
    pub fn in_order<R>(&self, side: Side, work: impl FnOnce(RawFd) -> R) -> Option<R> {
        self.0.in_order(side.direction(), work)
    }

    /// Cancels the operations that `which` picks. Returns how many.
    pub fn cancel(&self, which: impl Fn(&Tag) -> bool) -> usize {
        let which = |request: &Request| matches!(&request.way, Way::Raw(raw) if which(&raw.tag));
        self.0.end_early(Error::OPERATION_ABORTED, which)
    }

    /// Takes the ends of its operations that the kernel has told and nobody has asked for yet.
    pub fn look(&self) {
        for direction in [Direction::Receive, Direction::Send] {
            self.0.in_line(direction, |lane, books, _| {
                if lane.may_be_entered() {
                    books.reap(lane);
                }
            });
        }
    }

    /// Lets the kernel have the sends that were started.
    pub fn flush_sends(&self) {
        self.0.flush(Direction::Send);
    }

    /// Ends its operations, and closes the descriptor when the kernel has none left.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether a half was shut, or is to be when what is in line has left.
    pub fn is_shut(&self, side: Side) -> bool {
        self.0.is_shut(side.direction())
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Shuts a half, or both; the sending one behind what is in line.
    ///
    /// # Errors
    /// It is not connected.
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.0.shutdown(how)
    }

    /// The descriptor's number, which stays the same as long as this lives and is not closed.
    pub fn raw_fd(&self) -> RawFd {
        self.0.raw_fd()
    }

    /// Puts another socket behind the same number: a connection that was accepted, or an unused one. No operation is under way.
    ///
    /// # Errors
    /// What `dup3` says; it was closed.
    pub fn replace(&self, socket: OwnedFd) -> Result<()> {
        self.0.replace(socket)
    }
}

/// A completion port.
#[derive(Clone)]
pub struct Port(Arc<sys::Port>);

/// What the program posts, or what became of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// The key of the handle.
    pub key: usize,
    /// The operation's name.
    pub overlapped: usize,
    /// How many bytes.
    pub bytes: u32,
    /// How it ended, as NTSTATUS.
    pub status: u32,
}

impl Packet {
    fn new(delivered: Delivered) -> Self {
        let mut ended = match delivered {
            Delivered::Ended(ended) => ended,
            Delivered::Posted(packet) => return *packet.downcast().expect("nothing else is posted"),
        };
        let Way::Raw(raw) = std::mem::replace(&mut ended.way, Way::Port) else {
            unreachable!("this port has no other operations")
        };
        let Next::Packet(key) = raw.next else { unreachable!("nothing else comes here") };
        let status = ended.error.map_or(0, Error::status);
        let packet = Self { key, overlapped: raw.tag.overlapped, bytes: ended.moved as u32, status };
        raw.drop_box();
        ended.dissolve(|handle, operation| drop((handle, operation)));
        packet
    }
}

impl Port {
    /// `concurrency`: 0 stands for the number of processors.
    ///
    /// # Errors
    /// There is no ring to be had.
    pub fn new(concurrency: usize) -> Result<Self> {
        let concurrency = match concurrency {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            limit => limit,
        };
        Ok(Self(sys::Port::new(concurrency.min(sys::MAX_CONCURRENCY), None, None)?))
    }

    /// Queues a packet.
    pub fn post(&self, packet: Packet) {
        let _ = self.0.post(Box::new(packet)); // it is never closed, only left alone
    }

    /// Takes a packet.
    ///
    /// # Errors
    /// [`Error::WAIT_TIMEOUT`], and what a ring says that has to be made.
    pub fn dequeue(&self, timeout: Option<Duration>) -> Result<Packet> {
        self.0.dequeue(timeout).map(Packet::new)
    }

    /// Takes a packet. Routines and APCs run meanwhile, and end the wait.
    ///
    /// # Errors
    /// As [`Self::dequeue`]; [`Error::WAIT_IO_COMPLETION`].
    pub fn dequeue_alertable(&self, timeout: Option<Duration>) -> Result<Packet> {
        self.0.dequeue_alertable(timeout).map(Packet::new)
    }

    /// Takes a packet if one is queued where this worker is.
    pub fn dequeue_queued(&self) -> Option<Packet> {
        self.0.dequeue_queued().map(Packet::new)
    }

    /// Whether there is a packet to be taken.
    pub fn has_packets(&self) -> bool {
        self.0.has_packets()
    }

    /// The calling thread is no longer a worker.
    pub fn leave(&self) {
        self.0.leave();
    }
}

// Threads and waits.

/// A thread: to queue APCs to, and to wake from a [`wait`].
#[derive(Clone)]
pub struct Thread(thread::Thread);

impl Thread {
    /// The calling one.
    pub fn current() -> Self {
        Self(thread::Thread::current())
    }

    /// One that has not begun.
    pub fn unborn() -> Self {
        Self(thread::Thread::unborn())
    }

    /// The calling thread is the one.
    pub fn become_this(&self) {
        self.0.become_this();
    }

    /// Its number.
    pub fn id(&self) -> ThreadId {
        self.0.lane().id
    }

    /// Queues an APC. `false`: the thread has ended.
    pub fn queue(&self, apc: Box<dyn FnOnce() + Send>) -> bool {
        self.0.queue(apc)
    }

    /// Lets it look again at what it waits for.
    pub fn wake(&self) {
        self.0.lane().nudge();
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// It found what it looked for.
    Found(T),
    /// Routines or APCs ran.
    Ran,
    /// Time is up.
    TimeUp,
}

/// Waits until `look` finds something, time is up or, if it is alertable, routines or APCs have run. Whoever makes something to be found
/// calls [`Thread::wake`] after that.
pub fn wait<T>(deadline: Option<Instant>, alertable: bool, look: impl FnMut() -> Option<T>) -> Waited<T> {
    flush();
    let _alertable =
        alertable.then(|| trace::alertable(deadline.map(|at| at.saturating_duration_since(Instant::now()))));
    with_desk(|desk| match desk.wait(deadline, alertable, look) {
        Outcome::Found(found) => Waited::Found(found),
        Outcome::Ran => Waited::Ran,
        Outcome::TimeUp => Waited::TimeUp,
    })
}

/// Lets the kernel have what this thread has started and not yet handed over, on its own ring and as a worker.
pub fn flush() {
    thread::flush();
    if let Some(port) = Worker::port() {
        port.flush();
    }
}

/// Lets the kernel have what was started on any port and by this thread: the process is about to end.
pub fn flush_all() {
    flush();
    monitor::flush();
}
