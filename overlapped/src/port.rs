//! The completion port: a queue of packets that any worker may take from, and the handles that deliver to it.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::engine::Engine;
use crate::fs::File;
use crate::net::{TcpListener, TcpStream, UdpSocket};
use crate::sync::Mutex;
use crate::sys::{self, Delivered, Operation, OperationId, Request, Way};
use crate::{Buffer, Error, Result};

/// How many workers of a port may run at once.
///
/// Win32: the `NumberOfConcurrentThreads` of `CreateIoCompletionPort`. A worker that blocks in its handler does not
/// count: the port lets another one run in its place, within 10 ms and usually within 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Concurrency {
    /// As many as the machine has processors for this process.
    #[default]
    Processors,
    /// This many; 0 means [`Concurrency::Processors`].
    Limit(usize),
}

impl From<usize> for Concurrency {
    fn from(limit: usize) -> Self {
        match limit {
            0 => Self::Processors,
            limit => Self::Limit(limit),
        }
    }
}

impl Concurrency {
    fn limit(self) -> usize {
        match self {
            Self::Limit(limit) if limit > 0 => limit.min(sys::MAX_CONCURRENCY),
            _ => thread::available_parallelism().map_or(1, usize::from).min(sys::MAX_CONCURRENCY),
        }
    }
}

/// The settings of a port that are seldom needed. See [`CompletionPort::builder`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Builder {
    concurrency: Concurrency,
    gather: Option<(u32, Duration)>,
    engine: Option<Engine>,
}

impl Builder {
    /// How many workers may run at once.
    pub fn concurrency(mut self, concurrency: impl Into<Concurrency>) -> Self {
        self.concurrency = concurrency.into();
        self
    }

    /// Lets a waiting worker sleep until `packets` operations have ended or, from the first on, `delay` has passed.
    ///
    /// On a busy server this trades up to `delay` of latency for fewer wake-ups, and so for processor time. Off by default.
    ///
    /// It needs io_uring and Linux 6.12, and has no effect elsewhere. Readiness ends a wait with the first socket that is ready; to wait for more
    /// behind that would be another sleep and another wake-up, of which this is to save some. Windows has nothing of the kind.
    pub fn gather(mut self, packets: u32, delay: Duration) -> Self {
        self.gather = Some((packets.max(1), delay));
        self
    }

    /// Asks for an engine, instead of the one that works best here or that the environment variable `OVERLAPPED_ENGINE` names.
    ///
    /// It concerns this port only. If that engine is not to be had, [`build`](Self::build) fails and says why.
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Creates the port.
    ///
    /// # Errors
    /// As [`CompletionPort::new`].
    pub fn build<K, M>(self) -> Result<CompletionPort<K, M>>
    where
        K: Send + Sync + 'static,
        M: Send + 'static,
    {
        let port = sys::Port::new(self.concurrency.limit(), self.gather, self.engine)?;
        Ok(CompletionPort { port, types: PhantomData })
    }
}

/// A queue of completion packets, and the threads that take from it.
///
/// `K` is the type of the key that a handle keeps ([`associate`](Self::associate)); `M` is that of the messages that the program
/// posts itself ([`post`](Self::post)).
///
/// Win32: [I/O Completion Ports](https://learn.microsoft.com/en-us/windows/win32/fileio/i-o-completion-ports).
///
/// Dropping the port closes it.
///
/// ```
/// use overlapped::{CompletionPort, Concurrency, Error, Packet};
/// use std::time::Duration;
///
/// let port: CompletionPort<(), &str> = CompletionPort::builder().concurrency(1).build()?;
/// port.post("first")?;
/// port.post("second")?;
/// assert!(matches!(port.dequeue(None)?, Packet::Posted("first")));
/// assert!(matches!(port.dequeue(Duration::ZERO)?, Packet::Posted("second")));
/// assert_eq!(port.dequeue(Duration::from_millis(1)).unwrap_err(), Error::WAIT_TIMEOUT);
/// # overlapped::Result::Ok(())
/// ```
pub struct CompletionPort<K = (), M = ()> {
    port: Arc<sys::Port>,
    types: PhantomData<fn(K) -> M>,
}

impl<K: Send + Sync + 'static> CompletionPort<K, ()> {
    /// Creates a port whose posted messages are `()`. For messages of a type of your own use [`CompletionPort::builder`].
    ///
    /// Win32: [`CreateIoCompletionPort`](https://learn.microsoft.com/en-us/windows/win32/fileio/createiocompletionport)
    /// with `INVALID_HANDLE_VALUE`.
    ///
    /// # Errors
    /// [`Error::IO_URING_MISSING`], [`Error::IO_URING_FORBIDDEN`] or [`Error::IO_URING_TOO_OLD`] where io_uring was asked for and is not
    /// to be had; [`Error::UNKNOWN_ENGINE`] if `OVERLAPPED_ENGINE` names none;
    /// [`Error::TOO_MANY_OPEN_FILES`], [`Error::NOT_ENOUGH_MEMORY`] when a limit is reached.
    pub fn new(concurrency: impl Into<Concurrency>) -> Result<Self> {
        CompletionPort::builder().concurrency(concurrency).build()
    }
}

impl CompletionPort {
    /// The settings of a port, to be changed before it is built. The types of key and message are inferred, or named at
    /// [`Builder::build`].
    ///
    /// ```
    /// # use overlapped::CompletionPort;
    /// use std::time::Duration;
    ///
    /// let port: CompletionPort<u32, String> =
    ///     CompletionPort::builder().concurrency(2).gather(64, Duration::from_micros(50)).build()?;
    /// # overlapped::Result::Ok(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<K: Send + Sync + 'static, M: Send + 'static> CompletionPort<K, M> {
    /// Binds a handle to this port for life, with a key of the program's own.
    ///
    /// The handle is consumed: from now on its operations end here and nowhere else. What comes back is cheap to clone;
    /// the handle is closed when the last clone is dropped. An operation in flight and the packet of its end are owners too.
    ///
    /// Win32: `CreateIoCompletionPort` with a file handle; the key is its `CompletionKey`.
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed; [`Error::INVALID_PARAMETER`] if the handle has clones or operations in
    /// flight, whose ends would go elsewhere. The handle is dropped.
    pub fn associate<H: Overlapped>(&self, handle: H, key: K) -> Result<Associated<H, K>> {
        Ok(Associated::new(sys::Handle::associate(handle.into_handle(), &self.port, Box::new(key))?))
    }

    /// Queues a message of the program's own. It is delivered as [`Packet::Posted`], behind those posted before it.
    ///
    /// Win32: [`PostQueuedCompletionStatus`](https://learn.microsoft.com/en-us/windows/win32/fileio/postqueuedcompletionstatus).
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed; the message is dropped.
    pub fn post(&self, message: M) -> Result<()> {
        self.port.post(Box::new(message))
    }

    /// Takes the next packet, waiting for one at most `timeout`: `None` waits for ever, `Duration::ZERO` polls.
    ///
    /// With its first dequeue a thread becomes a worker of this port, and stops being one of any other. While it does not
    /// wait it counts against the concurrency value, unless it is blocked.
    ///
    /// Win32: [`GetQueuedCompletionStatus`](https://learn.microsoft.com/en-us/windows/win32/api/ioapiset/nf-ioapiset-getqueuedcompletionstatus).
    ///
    /// # Errors
    /// [`Error::WAIT_TIMEOUT`] if no packet came in time, never early; [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn dequeue(&self, timeout: impl Into<Option<Duration>>) -> Result<Packet<K, M>> {
        self.port.dequeue(timeout.into()).map(Packet::new)
    }

    /// Takes the next packet in an alertable wait: routines and APCs of this thread run meanwhile, and end the wait.
    ///
    /// A packet that is queued comes first, and the APCs stay; but a thread that has not dequeued from this port before runs its APCs first.
    ///
    /// Win32: [`GetQueuedCompletionStatusEx`](https://learn.microsoft.com/en-us/windows/win32/fileio/getqueuedcompletionstatusex-func)
    /// with `fAlertable`.
    ///
    /// ```
    /// use overlapped::{CompletionPort, Error, Packet, alertable};
    ///
    /// let port: CompletionPort<(), u32> = CompletionPort::builder().concurrency(1).build()?;
    /// alertable::queue_apc(&alertable::current(), || println!("an APC"))?;
    /// assert_eq!(port.dequeue_alertable(None).unwrap_err(), Error::WAIT_IO_COMPLETION);
    /// port.post(5)?;
    /// assert!(matches!(port.dequeue_alertable(None)?, Packet::Posted(5)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`dequeue`](Self::dequeue); [`Error::WAIT_IO_COMPLETION`] after routines or APCs ran.
    pub fn dequeue_alertable(&self, timeout: impl Into<Option<Duration>>) -> Result<Packet<K, M>> {
        self.port.dequeue_alertable(timeout.into()).map(Packet::new)
    }

    /// Takes up to `most` packets into `packets`, in order, waiting for the first only. Returns how many: at least 1.
    ///
    /// Packets that carry failures count as any other.
    ///
    /// Win32: [`GetQueuedCompletionStatusEx`](https://learn.microsoft.com/en-us/windows/win32/fileio/getqueuedcompletionstatusex-func).
    ///
    /// # Errors
    /// As [`dequeue`](Self::dequeue); [`Error::INVALID_PARAMETER`] if `most` is 0.
    pub fn dequeue_batch(
        &self,
        packets: &mut Vec<Packet<K, M>>,
        most: usize,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<usize> {
        self.fill(packets, most, || self.dequeue(timeout))
    }

    /// As [`dequeue_batch`](Self::dequeue_batch), in an alertable wait: see [`dequeue_alertable`](Self::dequeue_alertable).
    ///
    /// Win32: `GetQueuedCompletionStatusEx` with `fAlertable`.
    ///
    /// # Errors
    /// As [`dequeue_batch`](Self::dequeue_batch); [`Error::WAIT_IO_COMPLETION`] after routines or APCs ran.
    pub fn dequeue_batch_alertable(
        &self,
        packets: &mut Vec<Packet<K, M>>,
        most: usize,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<usize> {
        self.fill(packets, most, || self.dequeue_alertable(timeout))
    }

    fn fill(
        &self,
        packets: &mut Vec<Packet<K, M>>,
        most: usize,
        first: impl FnOnce() -> Result<Packet<K, M>>,
    ) -> Result<usize> {
        if most == 0 {
            return Err(Error::INVALID_PARAMETER);
        }
        packets.push(first()?);
        let mut taken = 1;
        while taken < most
            && let Some(delivered) = self.port.dequeue_queued()
        {
            packets.push(Packet::new(delivered));
            taken += 1;
        }
        Ok(taken)
    }

    /// Starts `workers` threads (at least one) that take packets and hand each to `handler`, and waits for them.
    ///
    /// A handler may block; more workers than the concurrency value are there to step in meanwhile. Returns when the port is
    /// closed, which any thread may do, a handler included.
    ///
    /// # Errors
    /// The first error that a handler returns closes the port and is returned, so that `?` in a handler means: this server
    /// cannot go on. What concerns one connection only comes in the `result` of its packet, to be dealt with there.
    /// An error that a handler returns once the port is closed is the consequence of that, and not reported.
    ///
    /// # Panics
    /// If a handler panics: the port is closed and the panic goes on in the caller.
    pub fn run(&self, workers: usize, handler: impl Fn(Packet<K, M>) -> Result<()> + Sync) -> Result<()> {
        let failure = Mutex::new(None);
        let fail = |error| {
            if !self.port.is_closed() {
                failure.lock().get_or_insert(error);
                self.close();
            }
        };
        let worker = || {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                loop {
                    match self.dequeue(None) {
                        Ok(packet) => handler(packet).unwrap_or_else(&fail),
                        Err(Error::ABANDONED_WAIT) => break,
                        Err(error) => break fail(error), // the system refuses the worker what it needs
                    }
                }
            }));
            self.port.leave();
            if let Err(panic) = ended {
                self.close();
                resume_unwind(panic);
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..workers.max(1))
                .map_while(|number| {
                    let name = format!("worker {number}");
                    thread::Builder::new()
                        .name(name)
                        .spawn_scoped(scope, worker)
                        .map_err(|error| fail(error.into()))
                        .ok()
                })
                .collect();
            for thread in threads {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        });
        match failure.lock().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Hands to the kernel what this thread has started and not yet handed over.
    ///
    /// A worker's operations go to the kernel in batches, when it next asks for a packet. A handler that starts an operation and
    /// then computes for long calls this in between. (One that *blocks* need not: the port hands its operations over.)
    pub fn flush(&self) {
        self.port.flush();
    }

    /// How many workers may run at once.
    pub fn concurrency(&self) -> usize {
        self.port.concurrency()
    }

    /// What the port runs on: `"io_uring"` or `"readiness"`. See [`engine`](crate::engine).
    pub fn engine(&self) -> &'static str {
        self.port.engine().name()
    }

    /// Closes the port: waiting workers return, queued packets are dropped with the buffers and handles in them, and so are
    /// those of operations still in flight, which are cancelled. When it returns the kernel has let go of every buffer.
    ///
    /// Win32: `CloseHandle` on the port, after which its waiters see `ERROR_ABANDONED_WAIT_0`.
    pub fn close(&self) {
        self.port.close();
    }
}

impl<K, M> Drop for CompletionPort<K, M> {
    fn drop(&mut self) {
        self.port.close();
    }
}

impl<K, M> fmt::Debug for CompletionPort<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionPort").field("concurrency", &self.port.concurrency()).finish_non_exhaustive()
    }
}

/// A handle that can be associated with a port: [`TcpListener`], [`TcpStream`], [`UdpSocket`], [`File`].
///
/// Sealed: other handles are not overlapped.
pub trait Overlapped: sealed::Sealed {}

impl<H: sealed::Sealed> Overlapped for H {}

pub(crate) mod sealed {
    use std::sync::Arc;

    use crate::sys::Handle;

    pub trait Sealed {
        fn into_handle(self) -> Arc<Handle>;
    }
}

/// What a handle without a port has in common with those of every kind.
macro_rules! free_handle {
    ($handle:ident) => {
        impl $handle {
            pub(crate) fn of(handle: std::sync::Arc<crate::sys::Handle>) -> Self {
                Self(handle)
            }

            #[allow(dead_code, reason = "files have no use for it")]
            fn handle(&self) -> &crate::sys::Handle {
                &self.0
            }

            /// Cancels one operation. It ends with [`Error::OPERATION_ABORTED`](crate::Error::OPERATION_ABORTED), or normally if that
            /// came first; this call does not wait.
            ///
            /// Win32: [`CancelIoEx`](https://learn.microsoft.com/en-us/windows/win32/fileio/cancelioex-func) with an overlapped.
            ///
            /// # Errors
            /// [`Error::NOT_FOUND`](crate::Error::NOT_FOUND) if the handle has no such operation in flight.
            pub fn cancel(&self, operation: crate::OperationId) -> crate::Result<()> {
                self.0.cancel(Some(operation))
            }

            /// Cancels all operations of the handle.
            ///
            /// Win32: `CancelIoEx` without an overlapped.
            ///
            /// # Errors
            /// [`Error::NOT_FOUND`](crate::Error::NOT_FOUND) if there are none in flight.
            pub fn cancel_all(&self) -> crate::Result<()> {
                self.0.cancel(None)
            }

            /// Closes the handle now, whoever else has clones. Operations in flight end with
            /// [`Error::CONNECTION_ABORTED`](crate::Error::CONNECTION_ABORTED), an accept with
            /// [`Error::OPERATION_ABORTED`](crate::Error::OPERATION_ABORTED); those started later with
            /// [`Error::INVALID_HANDLE`](crate::Error::INVALID_HANDLE).
            ///
            /// Win32: `closesocket`, `CloseHandle`.
            pub fn close(&self) {
                self.0.close();
            }
        }
    };
}
pub(crate) use free_handle;

/// A handle that belongs to a port, with its key. Made by [`CompletionPort::associate`].
///
/// A clone names the same handle. Its operations are in [`net`](crate::net) and [`fs`](crate::fs)' words: `recv`, `send`,
/// `accept`, `read_at` … Each starts at once, returns an [`OperationId`], and ends in one [`Packet`].
///
/// Starting fails with [`Error::ABANDONED_WAIT`] once the port is closed, and with nothing else: all that concerns the
/// operation itself, a handle closed in the meantime included, comes with its packet.
pub struct Associated<H, K = ()> {
    pub(crate) handle: Arc<sys::Handle>,
    timeout: Option<Duration>,
    types: PhantomData<fn(H) -> K>,
}

impl<H, K> Clone for Associated<H, K> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), timeout: None, types: PhantomData }
    }
}

impl<H, K: 'static> Associated<H, K> {
    fn new(handle: Arc<sys::Handle>) -> Self {
        Self { handle, timeout: None, types: PhantomData }
    }

    /// The same handle with a time limit on the operations started through it.
    ///
    /// One that has not ended after `timeout` is cancelled and ends with [`Error::SEM_TIMEOUT`] (Winsock: `WSAETIMEDOUT`),
    /// never early; data that arrived first wins. The limit counts from the call, a wait behind other operations included.
    ///
    /// ```
    /// # use overlapped::{net::UdpSocket, CompletionPort, Packet, Error, Buffer};
    /// # use std::time::Duration;
    /// # let port: CompletionPort = CompletionPort::new(1)?;
    /// let socket = port.associate(UdpSocket::bind("127.0.0.1:0")?, ())?;
    /// socket.within(Duration::from_millis(5)).recv_from(Buffer::with_capacity(64))?;
    /// let Packet::ReceivedFrom { result, .. } = port.dequeue(None)? else { panic!("nothing else is under way") };
    /// assert_eq!(result.unwrap_err(), Error::SEM_TIMEOUT);
    /// # overlapped::Result::Ok(())
    /// ```
    #[must_use = "the limit holds for operations started through the handle that is returned"]
    pub fn within(&self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self.clone() }
    }

    /// The key that the handle was associated with.
    pub fn key(&self) -> &K {
        self.handle.key().downcast_ref().expect("associate() put a K there")
    }

    /// Cancels one operation. It ends with [`Error::OPERATION_ABORTED`], or normally if that came first; this call does not wait.
    ///
    /// Win32: [`CancelIoEx`](https://learn.microsoft.com/en-us/windows/win32/fileio/cancelioex-func) with an overlapped.
    ///
    /// # Errors
    /// [`Error::NOT_FOUND`] if the handle has no such operation in flight.
    pub fn cancel(&self, operation: OperationId) -> Result<()> {
        self.handle.cancel(Some(operation))
    }

    /// Cancels all operations of the handle.
    ///
    /// Win32: `CancelIoEx` without an overlapped.
    ///
    /// # Errors
    /// [`Error::NOT_FOUND`] if there are none in flight.
    pub fn cancel_all(&self) -> Result<()> {
        self.handle.cancel(None)
    }

    /// Closes the handle now, whoever else has clones. Operations in flight end with [`Error::CONNECTION_ABORTED`], an
    /// accept with [`Error::OPERATION_ABORTED`]; those started later with [`Error::INVALID_HANDLE`].
    ///
    /// Win32: `closesocket`, `CloseHandle`.
    pub fn close(&self) {
        self.handle.close();
    }

    #[inline(always)]
    pub(crate) fn start(&self, operation: Operation) -> Result<OperationId> {
        let request = Request::new(Arc::clone(&self.handle), operation, Way::Port);
        sys::Handle::start(request, self.timeout).map_err(|(error, _)| error)
    }

    pub(crate) fn handle(&self) -> &sys::Handle {
        &self.handle
    }
}

impl<H, K> fmt::Debug for Associated<H, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Associated").field(&self.handle.descriptor()).finish()
    }
}

/// The end of an operation, or a posted message.
///
/// Each variant hands back the handle and the buffer, so nothing has to be looked up. `result` is what
/// `GetQueuedCompletionStatus` tells: the bytes, or the error.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields say the same everywhere: `id` names the operation, `result` is its outcome")]
pub enum Packet<K = (), M = ()> {
    /// A connection came in ([`accept`](Associated::accept), [`accept_each`](Associated::accept_each)). `more`: the
    /// operation goes on and will bring others.
    Accepted { listener: Associated<TcpListener, K>, id: OperationId, result: Result<TcpStream>, more: bool },
    /// [`connect`](Associated::connect) ended.
    Connected { conn: Associated<TcpStream, K>, id: OperationId, result: Result<()> },
    /// Bytes came in. `Ok(0)`: the peer has shut its sending half (or the buffer had no room).
    Received { conn: Associated<TcpStream, K>, id: OperationId, buffer: Buffer, result: Result<usize> },
    /// All of `buffer` was accepted by the system, or `result` is an error and the first `sent` bytes were.
    Sent { conn: Associated<TcpStream, K>, id: OperationId, buffer: Buffer, sent: usize, result: Result<usize> },
    /// As [`Packet::Sent`], for [`send_vectored`](Associated::send_vectored).
    SentVectored {
        conn: Associated<TcpStream, K>,
        id: OperationId,
        buffers: Vec<Buffer>,
        sent: usize,
        result: Result<usize>,
    },
    /// A datagram came in, from the address in `result`. One that is longer than the buffer fills it, loses the rest and is
    /// [`Error::MORE_DATA`].
    ReceivedFrom {
        socket: Associated<UdpSocket, K>,
        id: OperationId,
        buffer: Buffer,
        result: Result<(usize, SocketAddr)>,
    },
    /// A datagram was sent.
    SentTo { socket: Associated<UdpSocket, K>, id: OperationId, buffer: Buffer, result: Result<usize> },
    /// [`read_at`](Associated::read_at) ended. At or past the end of the file: [`Error::HANDLE_EOF`].
    Read { file: Associated<File, K>, id: OperationId, buffer: Buffer, result: Result<usize> },
    /// [`write_at`](Associated::write_at) ended; as [`Packet::Sent`].
    Written { file: Associated<File, K>, id: OperationId, buffer: Buffer, written: usize, result: Result<usize> },
    /// [`sync`](Associated::sync) ended.
    Synced { file: Associated<File, K>, id: OperationId, result: Result<()> },
    /// A message that the program posted itself.
    Posted(M),
}

impl<K: Send + Sync + 'static, M: Send + 'static> Packet<K, M> {
    /// Not inlined, so that it is made where it is wanted, of pieces as large as they are read in.
    #[inline(never)]
    fn new(delivered: Delivered) -> Self {
        let ended = match delivered {
            Delivered::Ended(ended) => ended,
            Delivered::Posted(message) => return Self::Posted(Self::message(message)),
        };
        let (id, moved, result) = (ended.id, ended.moved, ended.result());
        ended.dissolve(|handle, operation| match operation {
            Operation::Accept { standing: more, accepted } => {
                let accepted = |_| accepted.expect("an accept that succeeded brings a socket");
                let result = result.map(accepted).map(TcpStream::from_fd);
                Self::Accepted { listener: Associated::new(handle), id, result, more }
            }
            Operation::Connect { .. } => {
                Self::Connected { conn: Associated::new(handle), id, result: result.map(drop) }
            }
            Operation::Recv { buffer } | Operation::RecvPooled { buffer, .. } => {
                Self::Received { conn: Associated::new(handle), id, buffer, result }
            }
            Operation::Send { buffer } => Self::Sent { conn: Associated::new(handle), id, buffer, sent: moved, result },
            Operation::SendVectored { buffers } => {
                Self::SentVectored { conn: Associated::new(handle), id, buffers, sent: moved, result }
            }
            Operation::RecvFrom { buffer, from } => {
                let result = result.and_then(|bytes| Ok((bytes, *from.ok_or(Error::ADDRESS_FAMILY)?)));
                Self::ReceivedFrom { socket: Associated::new(handle), id, buffer, result }
            }
            Operation::RecvVectored { .. } => unreachable!("an operation of the C face, which has its own packets"),
            Operation::SendTo { buffer, .. } => Self::SentTo { socket: Associated::new(handle), id, buffer, result },
            Operation::ReadAt { buffer, .. } => Self::Read { file: Associated::new(handle), id, buffer, result },
            Operation::WriteAt { buffer, .. } => {
                Self::Written { file: Associated::new(handle), id, buffer, written: moved, result }
            }
            Operation::Sync { .. } => Self::Synced { file: Associated::new(handle), id, result: result.map(drop) },
        })
    }

    fn message(message: Box<dyn Any + Send>) -> M {
        *message.downcast().expect("post() put an M there")
    }
}
