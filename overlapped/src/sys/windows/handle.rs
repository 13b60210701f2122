//! A handle: its descriptor, its key, and its operations.
//!
//! The kernel keeps the order of the operations of a socket, so they are given to it at once. Three things have to wait here, in a line:
//! sends for a connect that is under way; what comes behind a receive from a pool, which is two steps; and receives of a
//! free handle for the one before them, since what nobody wants of its end goes to the next.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use socket2::SockRef;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Storage::FileSystem::SetFileCompletionNotificationModes;
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::WindowsProgramming::{
    FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, FILE_SKIP_SET_EVENT_ON_HANDLE,
};

use super::iocp::Iocp;
use super::library::library;
use super::record::{Cancelled, InKernel, Issued, Record, Step, receive_now};
use super::{Descriptor, Port, Way, thread};
use crate::sync::Mutex;
use crate::sys::{Ended, Kind, Operation, OperationId, Request};
use crate::{Buffer, BufferPool, Error, Result, trace};

#[allow(unreachable_pub, reason = "named by a sealed trait, which is public as far as the compiler knows")]
pub struct Handle {
    id: u64,
    association: OnceLock<Association>,
    /// How many operations it has had.
    count: AtomicU64,
    kind: Kind,
    raw: usize,
    closed: AtomicBool,
    sending: AtomicU8,
    receiving: AtomicU8,
    state: Mutex<State>,
}

struct Association {
    port: Arc<Port>,
    key: Box<dyn Any + Send + Sync>,
}

struct State {
    /// `None` once it is closed.
    descriptor: Option<Descriptor>,
    engaged: Engaged,
    lines: [Line; 3],
    /// Connections that an accept brought and nobody wanted.
    accepted: VecDeque<Descriptor>,
    /// When the timers will next look at this handle.
    timer_at: Option<Instant>,
}

/// Where the kernel tells the ends of the operations of its descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Engaged {
    Nowhere,
    /// At a port; `skips`: an immediate success queues no packet.
    Somewhere {
        skips: bool,
    },
    /// Nowhere, for it was not opened for overlapped operations: threads do them.
    Never,
}

/// Which line an operation stands in. What has no order has the third.
const RECEIVES: usize = 0;
const SENDS: usize = 1;
const LOOSE: usize = 2;

fn line_of(operation: &Operation) -> usize {
    match operation {
        Operation::Recv { .. }
        | Operation::RecvPooled { .. }
        | Operation::RecvFrom { .. }
        | Operation::RecvVectored { .. } => RECEIVES,
        Operation::Connect { .. }
        | Operation::Send { .. }
        | Operation::SendVectored { .. }
        | Operation::SendTo { .. } => SENDS,
        Operation::Accept { .. } | Operation::ReadAt { .. } | Operation::WriteAt { .. } | Operation::Sync { .. } => {
            LOOSE
        }
    }
}

#[derive(Default)]
struct Line {
    queued: VecDeque<Box<Request>>,
    in_kernel: Vec<Issue>,
    /// What was received and nobody wanted, by where it stood in the stream.
    held: BTreeMap<(u64, u64), Piece>,
    position: u64,
    /// The end of a receive is being told; what it brought may come back.
    telling: bool,
    /// The first in line waits for a buffer of its pool.
    stalled: bool,
}

/// An operation in the kernel.
struct Issue {
    id: OperationId,
    record: InKernel,
    deadline: Option<Instant>,
    /// Why it was asked to end, and so what it ends with.
    ended_by: Option<Error>,
    /// It was asked to end.
    cancelled: bool,
    /// Nothing else of its line may be in the kernel.
    alone: bool,
    accepts: bool,
    /// Where its second step takes a buffer.
    pool: Option<BufferPool>,
}

/// Bytes of a stream, or a datagram.
struct Piece {
    bytes: VecDeque<u8>,
    from: Option<Box<SocketAddr>>,
}

/// What is to be seen to when the lock is no longer held.
#[derive(Default)]
struct After {
    ended: Vec<Ended>,
    /// The line waits for the first of these to be told.
    telling: bool,
}

/// The state of a half of a connection.
mod half {
    pub(super) const OPEN: u8 = 0;
    /// To be shut when what is in line has left.
    pub(super) const SHUT_WHEN_IDLE: u8 = 1;
    pub(super) const SHUT: u8 = 2;
}

static LAST_ID: AtomicU64 = AtomicU64::new(0);
static LAST_OPERATION: AtomicU64 = AtomicU64::new(0);

impl Handle {
    pub(crate) fn new(descriptor: Descriptor, kind: Kind) -> Arc<Self> {
        if let Descriptor::Socket(_) = descriptor {
            // For the second step of a receive from a pool. Overlapped operations wait all the same. What is no socket shows with its
            // first operation.
            let _ = SockRef::from(&descriptor).set_nonblocking(true);
        }
        Arc::new(Self {
            id: LAST_ID.fetch_add(1, SeqCst) + 1,
            association: OnceLock::new(),
            count: AtomicU64::new(0),
            kind,
            raw: descriptor.raw() as usize,
            closed: AtomicBool::new(false),
            sending: AtomicU8::new(half::OPEN),
            receiving: AtomicU8::new(half::OPEN),
            state: Mutex::new(State {
                descriptor: Some(descriptor),
                engaged: Engaged::Nowhere,
                lines: Default::default(),
                accepted: VecDeque::new(),
                timer_at: None,
            }),
        })
    }

    /// Binds a free handle to a port. It must have no other owner.
    pub(crate) fn associate(handle: Arc<Self>, port: &Arc<Port>, key: Box<dyn Any + Send + Sync>) -> Result<Arc<Self>> {
        if port.is_closed() {
            return Err(Error::ABANDONED_WAIT);
        }
        // The library's thread may still be busy with having told the last end.
        let patience = Instant::now() + Duration::from_millis(50);
        let used = handle.count.load(Relaxed) > 0;
        while used && Arc::strong_count(&handle) > 1 && Instant::now() < patience {
            std::thread::yield_now();
        }
        if Arc::strong_count(&handle) > 1 {
            return Err(Error::INVALID_PARAMETER); // clones, or operations: each has a share
        }
        let mut state = handle.state.lock();
        if let Some(descriptor) = &state.descriptor {
            state.engaged = match state.engaged {
                Engaged::Nowhere => handle.engage(descriptor, port.iocp(), false)?,
                Engaged::Somewhere { skips } => {
                    // To the kernel the handle belongs to the library's port, and an old one leaves it there.
                    port.iocp().adopt(descriptor.raw()).map_err(|_| Error::INVALID_PARAMETER)?;
                    Engaged::Somewhere { skips }
                }
                Engaged::Never => Engaged::Never,
            };
        }
        drop(state);
        port.enter(&handle);
        let _ = handle.association.set(Association { port: Arc::clone(port), key }); // it is free, and ours alone
        Ok(handle)
    }

    /// Has the ends of operations told at a port.
    fn engage(&self, descriptor: &Descriptor, iocp: &Iocp, skip: bool) -> Result<Engaged> {
        match iocp.associate(descriptor.raw()) {
            Ok(()) => {}
            // The kernel refuses a file that is not overlapped.
            Err(Error::INVALID_PARAMETER) if self.kind == Kind::File => return Ok(Engaged::Never),
            Err(error) => return Err(error),
        }
        // An immediate success needs no way through the queue if it is told right where it was started. A layer over Winsock may
        // queue it nevertheless, and so may old systems for datagrams.
        let skips = skip
            && match self.kind {
                Kind::File => true,
                Kind::Stream => is_the_systems_own(descriptor),
                Kind::Listener | Kind::Datagram => false,
            };
        let skip = if skips { FILE_SKIP_COMPLETION_PORT_ON_SUCCESS } else { 0 };
        let skips = skips && set_modes(descriptor.raw(), skip | FILE_SKIP_SET_EVENT_ON_HANDLE);
        Ok(Engaged::Somewhere { skips })
    }

    pub(crate) fn key(&self) -> &(dyn Any + Send + Sync) {
        &*self.association.get().expect("only an associated handle is asked for its key").key
    }

    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "it names the handle in traces"))]
    pub(crate) fn raw_fd(&self) -> i64 {
        self.raw as i64
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// For people to read: the number of the handle, if it is open.
    pub(crate) fn descriptor(&self) -> Option<usize> {
        self.state.lock().descriptor.is_some().then_some(self.raw)
    }

    pub(crate) fn with_descriptor<T>(&self, f: impl FnOnce(&Descriptor) -> Result<T>) -> Result<T> {
        match &self.state.lock().descriptor {
            Some(descriptor) => f(descriptor),
            None => Err(Error::INVALID_HANDLE),
        }
    }

    fn port(&self) -> Option<&Arc<Port>> {
        self.association.get().map(|association| &association.port)
    }

    /// The queue where its operations end.
    pub(super) fn iocp(&self) -> &Iocp {
        match self.port() {
            Some(port) => port.iocp(),
            None => library().expect("an operation of a free handle has started it").iocp(),
        }
    }

    // Starting.

    /// Starts an operation. It ends once, and that is told the way that was asked for.
    pub(crate) fn start(
        request: Box<Request>,
        timeout: Option<Duration>,
    ) -> std::result::Result<OperationId, (Error, Box<Request>)> {
        Arc::clone(&request.handle).start_here(request, timeout)
    }

    fn start_here(
        self: &Arc<Self>,
        request: Box<Request>,
        timeout: Option<Duration>,
    ) -> std::result::Result<OperationId, (Error, Box<Request>)> {
        let needed =
            timeout.is_some() || self.port().is_none() || matches!(request.operation, Operation::RecvPooled { .. });
        if needed && let Err(error) = library() {
            return Err((error, request));
        }
        if let Some(port) = self.port()
            && !port.admit()
        {
            return Err((Error::ABANDONED_WAIT, request));
        }
        let mut request = request;
        let line = line_of(&request.operation);
        self.count.fetch_add(1, Relaxed);
        let id = OperationId(LAST_OPERATION.fetch_add(1, Relaxed) + 1);
        request.id = id;
        request.in_flight.deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if let Way::Routine { at, .. } = request.way {
            thread::routine_of(at, self, id);
        }
        trace::issued(id, &request.operation, self);
        let mut after = After::default();
        {
            let mut state = self.state.lock();
            match self.refusal(&request.operation) {
                Some(error) => after.ended.push(request.end(Err(error))),
                None => {
                    if let Some(deadline) = request.in_flight.deadline {
                        self.schedule(&mut state, deadline);
                    }
                    state.lines[line].queued.push_back(request);
                    self.go_on(&mut state, line, &mut after);
                }
            }
        }
        self.settle(line, after);
        Ok(id)
    }

    /// Why an operation cannot start.
    fn refusal(&self, operation: &Operation) -> Option<Error> {
        let half = match line_of(operation) {
            RECEIVES => self.receiving.load(SeqCst),
            SENDS => self.sending.load(SeqCst),
            _ => half::OPEN,
        };
        if self.is_closed() {
            Some(Error::INVALID_HANDLE)
        } else if half != half::OPEN {
            Some(Error::SHUTDOWN)
        } else if matches!(operation, Operation::ReadAt { offset: u64::MAX, .. }) {
            // To the kernel it would mean the file's own position, which an overlapped file has not.
            Some(Error::INVALID_PARAMETER)
        } else {
            None
        }
    }

    /// Whether the first in line may go to the kernel now.
    fn may_issue(&self, line: &Line, which: usize) -> bool {
        let Some(next) = line.queued.front() else { return false };
        let alone = line.in_kernel.iter().any(|issue| issue.alone);
        match which {
            RECEIVES if line.telling || line.stalled => false,
            RECEIVES if self.port().is_none() || is_alone(&next.operation) || !line.held.is_empty() => {
                line.in_kernel.is_empty()
            }
            SENDS if is_alone(&next.operation) => line.in_kernel.is_empty(),
            _ => !alone || which == LOOSE,
        }
    }

    /// Gives to the kernel what may go there.
    fn go_on(self: &Arc<Self>, state: &mut State, which: usize, after: &mut After) {
        while self.may_issue(&state.lines[which], which) {
            let request = state.lines[which].queued.pop_front().expect("there is a first");
            self.issue(state, which, request, after);
        }
        if which == SENDS && state.lines[SENDS].is_empty() {
            self.shut_when_idle(state);
        }
    }

    fn issue(self: &Arc<Self>, state: &mut State, which: usize, mut request: Box<Request>, after: &mut After) {
        if self.port().is_some_and(|port| port.is_closed()) {
            return after.ended.push(request.end(Err(Error::ABANDONED_WAIT)));
        }
        if which == RECEIVES && !state.lines[which].held.is_empty() {
            return self.serve(state, request, after);
        }
        if let Operation::Accept { accepted, .. } = &mut request.operation
            && let Some(connection) = state.accepted.pop_front()
        {
            *accepted = Some(connection);
            return self.ended(state, which, request, Ok(0), after);
        }
        let Some(descriptor) = &state.descriptor else {
            return self.ended(state, which, request, Err(Error::INVALID_HANDLE), after);
        };
        if state.engaged == Engaged::Nowhere {
            match library().and_then(|library| self.engage(descriptor, library.iocp(), true)) {
                Ok(engaged) => state.engaged = engaged,
                Err(error) => return self.ended(state, which, request, Err(error), after),
            }
        }
        let skips = matches!(state.engaged, Engaged::Somewhere { skips: true });
        let (id, deadline) = (request.id, request.in_flight.deadline);
        let alone = is_alone(&request.operation);
        let accepts = matches!(request.operation, Operation::Accept { .. });
        let pool = match &request.operation {
            Operation::RecvPooled { pool, .. } => Some(pool.clone()),
            _ => None,
        };
        match Record::issue(request, descriptor, skips, state.engaged == Engaged::Never) {
            Issued::Pending(record) => {
                let (ended_by, cancelled) = (None, false);
                let issue = Issue { id, record, deadline, ended_by, cancelled, alone, accepts, pool };
                state.lines[which].in_kernel.push(issue);
            }
            Issued::Ended(record, result, bytes) => self.came_back(state, which, *record, (result, bytes), None, after),
        }
    }

    // Ending.

    /// The kernel has let go of a record. What has ended at a port is returned to whoever asks there; the rest is told.
    #[allow(clippy::boxed_local, reason = "it comes in its box")]
    pub(super) fn reap(record: Box<Record>, packet: *mut OVERLAPPED, status: usize, bytes: usize) -> Option<Ended> {
        let handle = Arc::clone(&record.request().handle);
        let which = line_of(&record.request().operation);
        let mut after = After::default();
        {
            let mut state = handle.state.lock();
            let issues = &mut state.lines[which].in_kernel;
            let at =
                issues.iter().position(|issue| issue.record.is(packet)).expect("what is in the kernel is in the books");
            let issue = issues.remove(at);
            let result = record.outcome(status);
            handle.came_back(&mut state, which, *record, (result, bytes), issue.ended_by, &mut after);
            handle.go_on(&mut state, which, &mut after);
        }
        let first = (handle.port().is_some() && !after.ended.is_empty()).then(|| after.ended.remove(0));
        handle.settle(which, after);
        first
    }

    fn came_back(
        self: &Arc<Self>,
        state: &mut State,
        which: usize,
        record: Record,
        (result, bytes): (Result<()>, usize),
        ended_by: Option<Error>,
        after: &mut After,
    ) {
        let (mut request, step) = record.finish(result, bytes, state.descriptor.as_ref());
        let result = match step {
            Step::Again => return self.issue(state, which, request, after),
            // What is there stays in the socket.
            Step::Readable if let Some(error) = ended_by => Err(error),
            Step::Readable => match self.receive_pooled(state, &mut request) {
                Some(result) => result,
                None => return state.lines[which].queued.push_front(request),
            },
            Step::Done(result) => result,
        };
        let result = match (result, ended_by) {
            (Err(Error::OPERATION_ABORTED), None) if !self.is_over() => {
                // Recalled, to look at what has come back in the meantime; or with its thread, for which nobody here has asked.
                return state.lines[which].queued.push_front(request);
            }
            (Err(_), Some(error)) => Err(error),
            (Err(Error::OPERATION_ABORTED), None) if self.is_closed() => Err(self.closed_error()),
            (result, _) => result,
        };
        if let Operation::Accept { standing: true, accepted } = &mut request.operation
            && ended_by.is_none()
            && !self.is_over()
            && passes(&result)
        {
            let accepted = accepted.take();
            let mut each = Request::new(Arc::clone(self), Operation::Accept { standing: true, accepted }, Way::Port);
            each.id = request.id;
            if let Some(port) = self.port() {
                port.admit_more();
            }
            after.ended.push(each.end(result));
            return state.lines[which].queued.push_front(request);
        }
        if let Operation::Accept { standing, .. } = &mut request.operation {
            *standing = false; // the last one
        }
        self.ended(state, which, request, result, after);
    }

    /// Nothing more of it will go to the kernel.
    fn is_over(&self) -> bool {
        self.is_closed() || self.port().is_some_and(|port| port.is_closed())
    }

    /// The second step of a receive from a pool: data, or the end, is there. `None`: there is not, or no buffer for it.
    fn receive_pooled(self: &Arc<Self>, state: &mut State, request: &mut Request) -> Option<Result<usize>> {
        let Operation::RecvPooled { pool, buffer } = &mut request.operation else {
            unreachable!("nothing else has two steps")
        };
        let Some(descriptor) = &state.descriptor else { return Some(Err(self.closed_error())) };
        let Some(mut memory) = pool.take() else {
            state.lines[RECEIVES].stalled = true;
            let hungry = Hungry { handle: Arc::downgrade(self) };
            pool.0.wake_on_return(&Waker::from(Arc::new(hungry)));
            return None;
        };
        match receive_now(descriptor, &mut memory) {
            Ok(0) => Some(Ok(0)),
            Ok(bytes) => {
                *buffer = memory;
                request.moved = bytes;
                Some(Ok(bytes))
            }
            Err(Error::WOULD_BLOCK) => None, // somebody else took it
            Err(error) => Some(Err(error)),
        }
    }

    /// A buffer has come back to a pool for which a receive waits.
    pub(super) fn feed(self: &Arc<Self>) {
        let mut after = After::default();
        {
            let mut state = self.state.lock();
            state.lines[RECEIVES].stalled = false;
            self.go_on(&mut state, RECEIVES, &mut after);
        }
        self.settle(RECEIVES, after);
    }

    /// An operation has ended.
    fn ended(
        self: &Arc<Self>,
        state: &mut State,
        which: usize,
        mut request: Box<Request>,
        result: Result<usize>,
        after: &mut After,
    ) {
        if which == RECEIVES {
            let line = &mut state.lines[RECEIVES];
            line.position += 1;
            request.in_flight.position = (line.position, 0);
            if !line.held.is_empty() && !line.telling {
                // What came back in the meantime stands before what it has brought, or before the end.
                let mut ended = request.end(result);
                line.put_back(&mut ended);
                return self.serve(state, ended, after);
            }
            if self.port().is_none() {
                line.telling = true;
                after.telling = true;
            }
        }
        after.ended.push(request.end(result));
    }

    /// Ends a receive with what came back.
    fn serve(self: &Arc<Self>, state: &mut State, mut request: Box<Request>, after: &mut After) {
        let line = &mut state.lines[RECEIVES];
        let result = match &mut request.operation {
            Operation::Recv { buffer } if buffer.capacity() == 0 => Ok(0),
            Operation::Recv { buffer } => {
                let _ = buffer.0.room();
                request.in_flight.position = line.first_held();
                Ok(line.fill(buffer))
            }
            Operation::RecvPooled { pool, buffer } => {
                let Some(mut memory) = pool.take() else {
                    line.stalled = true;
                    let hungry = Hungry { handle: Arc::downgrade(self) };
                    pool.0.wake_on_return(&Waker::from(Arc::new(hungry)));
                    return line.queued.push_front(request);
                };
                request.in_flight.position = line.first_held();
                let bytes = line.fill(&mut memory);
                *buffer = memory;
                Ok(bytes)
            }
            Operation::RecvFrom { buffer, from } => {
                let (position, piece) = line.held.pop_first().expect("something is held");
                request.in_flight.position = position;
                *from = piece.from;
                let _ = buffer.0.room();
                buffer.clear();
                let bytes = piece.bytes.len().min(buffer.capacity());
                buffer.0.append(&piece.bytes.iter().copied().take(bytes).collect::<Vec<_>>());
                if bytes < piece.bytes.len() { Err(Error::MORE_DATA) } else { Ok(bytes) }
            }
            _ => unreachable!("only receives are served"),
        };
        request.moved = result.unwrap_or(0);
        if self.port().is_none() {
            line.telling = true;
            after.telling = true;
        }
        after.ended.push(request.end(result));
    }

    /// Tells what has ended. Behind that the line goes on, if it waited for it.
    fn settle(self: &Arc<Self>, which: usize, mut after: After) {
        loop {
            for ended in after.ended.drain(..) {
                Self::tell(ended);
            }
            if !std::mem::take(&mut after.telling) {
                return;
            }
            let mut state = self.state.lock();
            state.lines[which].telling = false;
            self.go_on(&mut state, which, &mut after);
        }
    }

    /// The end goes its way.
    fn tell(ended: Ended) {
        trace::completed(ended.id, &ended.operation, &ended.handle, ended.result());
        match &ended.way {
            Way::Port => {
                if let Some(association) = ended.handle.association.get() {
                    let port = Arc::clone(&association.port);
                    port.queue(ended);
                }
            }
            Way::Cell(cell) => {
                let cell = Arc::clone(cell);
                cell.deliver(ended);
            }
            Way::Routine { thread, at } => {
                let (thread, at) = (Arc::clone(thread), *at);
                if let Err(ended) = thread.queue_routine(at, ended) {
                    Self::take_back(ended); // the thread has ended
                }
            }
        }
    }

    /// Nobody wants the end of an operation. What it brought goes to the next one.
    pub(crate) fn take_back(mut ended: Ended) {
        let handle = Arc::clone(&ended.handle);
        let mut state = handle.state.lock();
        let state = &mut *state;
        if handle.is_closed() {
            return;
        }
        let which = if let Operation::Accept { accepted, .. } = &mut ended.operation {
            let Some(connection) = accepted.take() else { return };
            state.accepted.push_back(connection);
            LOOSE
        } else if line_of(&ended.operation) == RECEIVES && state.lines[RECEIVES].put_back(&mut ended) {
            RECEIVES
        } else {
            return;
        };
        // Those that wait in the kernel for something else are to look here.
        let State { lines, descriptor, .. } = state;
        let mut again = false;
        for issue in lines[which].in_kernel.iter_mut().filter(|issue| which == RECEIVES || issue.accepts) {
            again |= issue.cancel(descriptor.as_ref()) == Cancelled::NotYet;
        }
        if again {
            handle.schedule(state, soon());
        }
    }

    /// Nobody wants the end of an operation any more, which may just be on its way: cancels it.
    pub(crate) fn abandon(self: &Arc<Self>, operation: OperationId) {
        let _ = self.cancel(Some(operation)); // not found: its end is being told, and will be taken back
    }

    /// Cancels one operation, or all.
    pub(crate) fn cancel(self: &Arc<Self>, operation: Option<OperationId>) -> Result<()> {
        let which = |id: OperationId, _| operation.is_none_or(|operation| operation == id);
        match self.end_early(Error::OPERATION_ABORTED, which) {
            0 => Err(Error::NOT_FOUND),
            _ => Ok(()),
        }
    }

    /// What its operations end with when it is closed.
    fn closed_error(&self) -> Error {
        if self.kind == Kind::Listener { Error::OPERATION_ABORTED } else { Error::CONNECTION_ABORTED }
    }

    pub(crate) fn close(self: &Arc<Self>) {
        if self.closed.swap(true, SeqCst) {
            return;
        }
        self.end_early(self.closed_error(), |_, _| true);
        let mut state = self.state.lock();
        let held = state.lines.each_mut().map(|line| std::mem::take(&mut line.held));
        let rest = (state.descriptor.take(), std::mem::take(&mut state.accepted), held);
        drop(state);
        drop(rest);
    }

    /// Ends every operation of a port that was closed.
    pub(super) fn end_all(self: &Arc<Self>) {
        self.end_early(Error::OPERATION_ABORTED, |_, _| true);
    }

    /// Ends every operation that `which` picks: at once if it waits here, else through the kernel. How many were not over already.
    fn end_early(self: &Arc<Self>, error: Error, which: impl Fn(OperationId, Option<Instant>) -> bool) -> usize {
        let mut count = 0;
        for line in [RECEIVES, SENDS, LOOSE] {
            let mut after = After::default();
            {
                let mut state = self.state.lock();
                let State { lines, descriptor, .. } = &mut *state;
                let Line { queued, in_kernel, stalled, .. } = &mut lines[line];
                let mut again = false;
                for issue in in_kernel.iter_mut().filter(|issue| which(issue.id, issue.deadline)) {
                    let cancelled = issue.cancel(descriptor.as_ref());
                    again |= cancelled == Cancelled::NotYet;
                    if cancelled != Cancelled::Ended || issue.pool.as_ref().is_some_and(|pool| pool.available() == 0) {
                        issue.ended_by = issue.ended_by.or(Some(error));
                        count += 1;
                    }
                }
                let mut at = 0;
                while let Some(request) = queued.get(at) {
                    if !which(request.id, request.in_flight.deadline) {
                        at += 1;
                    } else if let Some(request) = queued.remove(at) {
                        *stalled &= at > 0; // it was the first that waited for a buffer
                        after.ended.push(request.end(Err(error)));
                        count += 1;
                    }
                }
                if again {
                    self.schedule(&mut state, soon());
                }
            }
            // Told before what stands behind them goes on, and perhaps ends at once.
            after.ended.drain(..).for_each(Self::tell);
            self.go_on(&mut self.state.lock(), line, &mut after);
            self.settle(line, after);
        }
        count
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> Result<()> {
        self.with_descriptor(|descriptor| Ok(SockRef::from(descriptor).peer_addr().map(drop)?))?; // not connected: says so
        if how != Shutdown::Write {
            // A receive that pends completes, later ones are refused; the peer is not told.
            self.receiving.store(half::SHUT, SeqCst);
        }
        if how != Shutdown::Read
            && self.sending.compare_exchange(half::OPEN, half::SHUT_WHEN_IDLE, SeqCst, SeqCst).is_ok()
        {
            let state = self.state.lock();
            if state.lines[SENDS].is_empty() {
                self.shut_when_idle(&state);
            }
        }
        Ok(())
    }

    /// All sends have left: shuts the sending half if that was asked for.
    fn shut_when_idle(&self, state: &State) {
        if self.sending.load(SeqCst) == half::SHUT_WHEN_IDLE
            && self.sending.compare_exchange(half::SHUT_WHEN_IDLE, half::SHUT, SeqCst, SeqCst).is_ok()
            && let Some(descriptor) = &state.descriptor
        {
            // Nobody is left to be told; a connection that has gone meanwhile needs no shutting.
            let _ = SockRef::from(descriptor).shutdown(Shutdown::Write);
        }
    }

    // Time limits.

    /// Ends what is overdue.
    pub(in crate::sys) fn expire(self: &Arc<Self>, now: Instant) {
        self.state.lock().timer_at = None;
        self.end_early(Error::SEM_TIMEOUT, |_, deadline| deadline.is_some_and(|at| at <= now));
        let mut state = self.state.lock();
        let in_lines = state.lines.iter().flat_map(|line| {
            let queued = line.queued.iter().filter_map(|request| request.in_flight.deadline);
            let issued = line.in_kernel.iter().filter(|issue| issue.ended_by.is_none());
            queued.chain(issued.filter_map(|issue| issue.deadline))
        });
        // What is overdue and could not be cancelled has ended, and only waits to be told.
        let mut next = in_lines.filter(|at| *at > now).min();
        let State { lines, descriptor, .. } = &mut *state;
        for issue in lines.iter_mut().flat_map(|line| &mut line.in_kernel).filter(|issue| issue.cancelled) {
            if issue.cancel(descriptor.as_ref()) == Cancelled::NotYet {
                next = next.into_iter().chain([soon()]).min();
            }
        }
        if let Some(next) = next {
            self.schedule(&mut state, next);
        }
    }

    /// Sees to it that the timers look at this handle at `deadline`.
    fn schedule(self: &Arc<Self>, state: &mut State, deadline: Instant) {
        if state.timer_at.is_none_or(|at| deadline < at) {
            state.timer_at = Some(deadline);
            if let Ok(library) = library() {
                library.schedule(deadline, Arc::downgrade(self));
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(association) = self.association.get() {
            association.port.forget(self.id);
        }
    }
}

impl Issue {
    fn cancel(&mut self, descriptor: Option<&Descriptor>) -> Cancelled {
        self.cancelled = true;
        self.record.cancel(descriptor)
    }
}

impl Line {
    fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.in_kernel.is_empty()
    }

    fn first_held(&self) -> (u64, u64) {
        *self.held.first_key_value().expect("something is held").0
    }

    /// Fills a buffer with bytes that are held, and says how many.
    fn fill(&mut self, buffer: &mut Buffer) -> usize {
        buffer.clear();
        while buffer.len() < buffer.capacity()
            && let Some(((receive, at), mut piece)) = self.held.pop_first()
        {
            let taken = piece.bytes.len().min(buffer.capacity() - buffer.len());
            buffer.0.append(&piece.bytes.drain(..taken).collect::<Vec<_>>());
            if !piece.bytes.is_empty() {
                // Under a place of its own: what was taken may come back, and stands before it then.
                self.held.insert((receive, at + taken as u64), piece);
            }
        }
        buffer.len()
    }

    /// Holds what a receive has brought for the next one. Whether it has brought anything.
    fn put_back(&mut self, ended: &mut Ended) -> bool {
        let position = ended.in_flight.position;
        let result = ended.result();
        let (buffer, from) = match (&mut ended.operation, result) {
            (Operation::Recv { buffer } | Operation::RecvPooled { buffer, .. }, Ok(1..)) => (buffer, None),
            (Operation::RecvFrom { buffer, from }, Ok(_) | Err(Error::MORE_DATA)) => (buffer, from.take()),
            _ => return false,
        };
        self.held.insert(position, Piece { bytes: buffer.iter().copied().collect(), from });
        buffer.clear();
        true
    }
}

/// When a cancel that did not find its operation is repeated.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(1)
}

/// Whether nothing else of its line may be in the kernel with it.
fn is_alone(operation: &Operation) -> bool {
    matches!(operation, Operation::RecvPooled { .. } | Operation::Connect { .. })
}

/// Whether a standing accept goes on after this: a connection that failed on its way in does not end it, a shortage does.
fn passes(result: &Result<usize>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => [
            Error::CONNECTION_ABORTED,
            Error::NETNAME_DELETED,
            Error::NETWORK_DOWN,
            Error::NETWORK_UNREACHABLE,
            Error::HOST_UNREACHABLE,
            Error::SEM_TIMEOUT,
        ]
        .contains(error),
    }
}

/// Wakes a handle whose receive waits for a buffer.
struct Hungry {
    handle: Weak<Handle>,
}

impl Wake for Hungry {
    /// On a thread of the library: who gives back a buffer may hold the lock of another handle.
    fn wake(self: Arc<Self>) {
        if let (Some(handle), Ok(library)) = (self.handle.upgrade(), library()) {
            library.feed(handle);
        }
    }
}

/// Whether the socket is one of the system's own providers, and so a handle to the kernel.
fn is_the_systems_own(descriptor: &Descriptor) -> bool {
    super::record::service_flags(descriptor)
        .is_some_and(|flags| flags & windows_sys::Win32::Networking::WinSock::XP1_IFS_HANDLES != 0)
}

fn set_modes(handle: HANDLE, modes: u32) -> bool {
    // SAFETY: the handle is open: the caller holds the lock under which it is closed.
    unsafe { SetFileCompletionNotificationModes(handle, modes as u8) != 0 }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("kind", &self.kind)
            .field("descriptor", &self.descriptor())
            .finish_non_exhaustive()
    }
}
