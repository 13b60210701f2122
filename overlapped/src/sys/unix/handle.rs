//! A handle of a port: its descriptor, its key, and its operations in line.
//!
//! The kernel may reorder two receives, or two sends, of one stream. So a handle lets the kernel have one of each at a time and
//! keeps the others here, in line; that is all there is to the order that users rely on. Accepts and file operations have
//! no order and go straight through.
//!
//! A handle stays with one lane as long as it has operations that have not been dequeued, so that their packets queue in
//! order. Then it goes where it is next used.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::engine::InKernel;
use super::lane::Lane;
use super::request::{Request, Step};
use super::{Descriptor, Port};
use crate::sync::Mutex;
use crate::sys::memory::Pool;
use crate::sys::{Ended, Kind, Operation, OperationId};
use crate::{Error, Result};

pub(crate) struct Handle {
    port: Arc<Port>,
    kind: Kind,
    key: Box<dyn Any + Send + Sync>,
    /// Operations that were started and whose packets have not been dequeued.
    outstanding: AtomicU32,
    state: Mutex<State>,
}

struct State {
    /// `None` once it is closed.
    fd: Option<OwnedFd>,
    closed: bool,
    lane: usize,
    receives: Line,
    sends: Line,
    /// Operations without an order.
    others: Vec<Flight>,
    sending: Half,
    receiving: Half,
    /// The last receive emptied the socket: the next one need not try before it waits.
    drained: bool,
    /// When the port's timers will next look at this handle.
    timer_at: Option<Instant>,
}

/// Operations of one direction: at most one in the kernel, the others behind it.
#[derive(Default)]
struct Line {
    in_kernel: Option<Flight>,
    queued: VecDeque<Box<Request>>,
    /// The first in `queued` waits for a buffer of its pool.
    stalled: bool,
}

/// What we know of a request while the kernel has it.
struct Flight {
    id: OperationId,
    key: InKernel,
    lane: usize,
    deadline: Option<Instant>,
    /// Why we asked the kernel to end it early.
    ended_by: Option<Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Open,
    /// To be shut when what is in line has left.
    ShutWhenIdle,
    Shut,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Receive,
    Send,
    None,
}

/// In which line an operation stands. A connect goes before the sends that follow it.
fn direction(operation: &Operation) -> Direction {
    match operation {
        Operation::Recv { .. } | Operation::RecvPooled { .. } | Operation::RecvFrom { .. } => Direction::Receive,
        Operation::Connect { .. }
        | Operation::Send { .. }
        | Operation::SendVectored { .. }
        | Operation::SendTo { .. } => Direction::Send,
        Operation::Accept { .. } | Operation::ReadAt { .. } | Operation::WriteAt { .. } | Operation::Sync { .. } => {
            Direction::None
        }
    }
}

impl State {
    fn line(&mut self, direction: Direction) -> Option<&mut Line> {
        match direction {
            Direction::Receive => Some(&mut self.receives),
            Direction::Send => Some(&mut self.sends),
            Direction::None => None,
        }
    }

    /// Gives a request to the kernel, through the handle's lane. A closed port gives it back.
    fn issue(&mut self, request: Box<Request>, port: &Port) -> std::result::Result<(), Box<Request>> {
        let (id, deadline, direction) = (request.id, request.deadline, direction(&request.operation));
        let Some(fd) = &self.fd else { return Err(request) };
        let key = port.lane(self.lane).engine().start(request, fd.as_raw_fd(), self.drained)?;
        let flight = Flight { id, key, lane: self.lane, deadline, ended_by: None };
        match self.line(direction) {
            Some(line) => line.in_kernel = Some(flight),
            None => self.others.push(flight),
        }
        Ok(())
    }

    /// Gives the kernel the next of a line, if it is free. What a closed port refuses goes to `refused`.
    fn issue_next(&mut self, direction: Direction, port: &Port, refused: &mut VecDeque<Box<Request>>) {
        loop {
            let Some(line) = self.line(direction) else { return };
            if line.in_kernel.is_some() || line.stalled {
                return;
            }
            let Some(request) = line.queued.pop_front() else { return };
            match self.issue(request, port) {
                Ok(()) => return,
                Err(request) => refused.push_back(request),
            }
        }
    }

    /// Takes the flight of a request that the kernel has given back.
    fn land(&mut self, direction: Direction, key: InKernel) -> Flight {
        let flight = match self.line(direction) {
            Some(line) => line.in_kernel.take_if(|flight| flight.key == key),
            None => self.others.iter().position(|flight| flight.key == key).map(|at| self.others.swap_remove(at)),
        };
        flight.expect("what the kernel gives back was issued through this handle")
    }

    /// Ends every operation that `which` picks: at once if it is in line (it is moved to `ended`), through the kernel if that
    /// has it. Returns how many it picked.
    fn end_early(
        &mut self,
        port: &Port,
        error: Error,
        ended: &mut VecDeque<Box<Request>>,
        which: impl Fn(OperationId, Option<Instant>) -> bool,
    ) -> usize {
        let before = ended.len();
        let mut in_kernel = 0;
        for line in [&mut self.receives, &mut self.sends] {
            let queued = std::mem::take(&mut line.queued);
            for request in queued {
                match which(request.id, request.deadline) {
                    true => ended.push_back(request),
                    false => line.queued.push_back(request),
                }
            }
            line.stalled &= !line.queued.is_empty();
        }
        let flights = self.receives.in_kernel.iter_mut().chain(&mut self.sends.in_kernel).chain(&mut self.others);
        for flight in flights.filter(|flight| which(flight.id, flight.deadline)) {
            in_kernel += 1;
            if flight.ended_by.is_none() {
                flight.ended_by = Some(error);
                port.lane(flight.lane).engine().cancel(flight.key);
            }
        }
        ended.len() - before + in_kernel
    }

    /// Does what waited for operations to end: shutting the sending half, closing the descriptor.
    fn settle(&mut self) {
        if self.sending == Half::ShutWhenIdle && self.sends.in_kernel.is_none() && self.sends.queued.is_empty() {
            self.sending = Half::Shut;
            if let Some(fd) = &self.fd {
                // Nobody is left to be told; a connection that has gone meanwhile needs no shutting.
                let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
            }
        }
        if self.closed && self.receives.in_kernel.is_none() && self.sends.in_kernel.is_none() && self.others.is_empty()
        {
            self.fd = None;
        }
    }

    /// Sees to it that the timers look at this handle at `deadline`.
    fn schedule(&mut self, deadline: Instant, handle: &Arc<Handle>) {
        if self.timer_at.is_none_or(|at| deadline < at) {
            self.timer_at = Some(deadline);
            handle.port.timers.add(deadline, Arc::downgrade(handle));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let queued = self.receives.queued.iter().chain(&self.sends.queued).filter_map(|request| request.deadline);
        let flights = self.receives.in_kernel.iter().chain(&self.sends.in_kernel).chain(&self.others);
        let in_kernel = flights.filter(|flight| flight.ended_by.is_none()).filter_map(|flight| flight.deadline);
        queued.chain(in_kernel).min()
    }
}

impl Handle {
    pub(crate) fn new(port: Arc<Port>, fd: Descriptor, kind: Kind, key: Box<dyn Any + Send + Sync>) -> Result<Self> {
        if port.is_closed() {
            return Err(Error::ABANDONED_WAIT);
        }
        // Overlapped operations wait whatever the descriptor's mode; io_uring would answer EAGAIN on a non-blocking one.
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        if flags.contains(OFlags::NONBLOCK) {
            rustix::fs::fcntl_setfl(&fd, flags - OFlags::NONBLOCK)?;
        }
        let state = State {
            fd: Some(fd),
            closed: false,
            lane: 0,
            receives: Line::default(),
            sends: Line::default(),
            others: Vec::new(),
            sending: Half::Open,
            receiving: Half::Open,
            drained: false,
            timer_at: None,
        };
        Ok(Self { port, kind, key, outstanding: AtomicU32::new(0), state: Mutex::new(state) })
    }

    pub(crate) fn key(&self) -> &(dyn Any + Send + Sync) {
        &*self.key
    }

    /// For people to read: the number of the descriptor, if it is open.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.state.lock().fd.as_ref().map(AsRawFd::as_raw_fd)
    }

    pub(crate) fn with_descriptor<T>(&self, f: impl FnOnce(&BorrowedFd<'_>) -> Result<T>) -> Result<T> {
        match &self.state.lock().fd {
            Some(fd) => f(&fd.as_fd()),
            None => Err(Error::INVALID_HANDLE),
        }
    }

    /// Starts an operation. It ends in one packet.
    pub(crate) fn start(self: &Arc<Self>, operation: Operation, timeout: Option<Duration>) -> Result<OperationId> {
        if self.port.is_closed() {
            return Err(Error::ABANDONED_WAIT);
        }
        let direction = direction(&operation);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let here = self.port.current_lane();
        let id = self.port.next_id();
        let request = Box::new(Request { id, handle: Arc::clone(self), operation, deadline, moved: 0, message: None });

        let mut state = self.state.lock();
        if self.outstanding.fetch_add(1, Ordering::SeqCst) == 0 {
            state.lane = here.unwrap_or_else(|| self.port.home_lane());
        }
        let lane = state.lane;
        let refusal = match direction {
            _ if state.closed => Some(Error::INVALID_HANDLE),
            Direction::Send if state.sending != Half::Open => Some(Error::SHUTDOWN),
            Direction::Receive if state.receiving != Half::Open => Some(Error::SHUTDOWN),
            _ => None,
        };
        if let Some(error) = refusal {
            drop(state);
            self.port.deliver(request.end(Err(error)), lane);
            return Ok(id);
        }
        if let Some(deadline) = deadline {
            state.schedule(deadline, self);
        }
        let refused = match state.line(direction) {
            Some(line) if line.in_kernel.is_some() || !line.queued.is_empty() => {
                line.queued.push_back(request);
                None
            }
            _ => state.issue(request, &self.port).err(),
        };
        drop(state);
        if refused.is_some() {
            return Err(Error::ABANDONED_WAIT); // the port was closed in between; the request is dropped outside the lock
        }
        if here != Some(lane) {
            self.port.attend(lane);
        }
        Ok(id)
    }

    /// The packet of one of its operations is about to be handed to a worker.
    pub(super) fn dequeued(&self) {
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
    }

    /// The kernel has given a request back: decides what that means, issues what comes next, and gives packets to `deliver`.
    pub(super) fn complete(
        mut request: Box<Request>,
        key: InKernel,
        result: i32,
        nonempty: bool,
        lane: &Lane,
        deliver: &mut impl FnMut(Ended),
    ) {
        let handle = Arc::clone(&request.handle);
        let direction = direction(&request.operation);
        let step = request.advance(result);
        let mut refused = VecDeque::new();

        let mut state = handle.state.lock();
        let flight = state.land(direction, key);
        if direction == Direction::Receive {
            state.drained = !nonempty;
        }
        let step = match (step, flight.ended_by) {
            (Step::Done(Err(Error::OPERATION_ABORTED)) | Step::Again, Some(error)) => Step::Done(Err(error)),
            // Nobody asked for it: the kernel cancels the requests of a thread that exits. The operation outlives it.
            (Step::Done(Err(Error::OPERATION_ABORTED)), None) => Step::Again,
            (Step::Done(Err(Error::NO_SYSTEM_RESOURCES)), None)
                if matches!(request.operation, Operation::RecvPooled { .. }) =>
            {
                state.receives.queued.push_front(request);
                state.receives.stalled = true;
                drop(state);
                lane.starve(handle);
                return;
            }
            (step, _) => step,
        };
        let ended = match (step, &request.operation) {
            (Step::Again, _) => match state.issue(request, &handle.port) {
                Ok(()) => None,
                Err(request) => Some(request.end(Err(Error::ABANDONED_WAIT))),
            },
            // A standing accept that the kernel ended, although neither we nor the listener did.
            (Step::Done(result), Operation::Accept { standing: true })
                if flight.ended_by.is_none() && passes(&result) =>
            {
                let ended = handle.accepted(request.id, result, true);
                match state.issue(request, &handle.port) {
                    Ok(()) => {
                        handle.outstanding.fetch_add(1, Ordering::SeqCst);
                        Some(ended)
                    }
                    Err(_) => Some(Ended { more: false, ..ended }),
                }
            }
            (Step::Done(result), Operation::Accept { .. }) => Some(handle.accepted(request.id, result, false)),
            (Step::Done(result), _) => Some(request.end(result)),
        };
        state.issue_next(direction, &handle.port, &mut refused);
        state.settle();
        drop(state);

        ended.into_iter().for_each(&mut *deliver);
        for request in refused {
            deliver(request.end(Err(Error::ABANDONED_WAIT)));
        }
    }

    /// A standing accept has brought a connection and goes on.
    pub(super) fn another(request: &Request, result: i32, deliver: &mut impl FnMut(Ended)) {
        let handle = &request.handle;
        let result = if result < 0 { Err(Error::from_errno(-result)) } else { Ok(result as usize) };
        handle.outstanding.fetch_add(1, Ordering::SeqCst);
        deliver(handle.accepted(request.id, result, true));
    }

    fn accepted(self: &Arc<Self>, id: OperationId, result: Result<usize>, more: bool) -> Ended {
        // SAFETY: the kernel gave this descriptor to us as the result of an accept, and this is the only place that takes it.
        let accepted = result.ok().map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        let operation = Operation::Accept { standing: more };
        Ended { id, handle: Arc::clone(self), operation, result, moved: 0, accepted, more, from: None }
    }

    /// The pool that its next receive waits for, if it does.
    pub(super) fn wanted_pool(&self) -> Option<Arc<Pool>> {
        let state = self.state.lock();
        match &state.receives.queued.front()?.operation {
            Operation::RecvPooled { pool, .. } if state.receives.stalled => Some(Arc::clone(&pool.0)),
            _ => None,
        }
    }

    /// A buffer has come back to the pool that this handle's next receive waits for.
    pub(super) fn unstall(&self) {
        let mut refused = VecDeque::new();
        let mut state = self.state.lock();
        if std::mem::take(&mut state.receives.stalled) {
            state.issue_next(Direction::Receive, &self.port, &mut refused);
        }
        drop(state);
    }

    /// Cancels one operation, or all.
    pub(crate) fn cancel(&self, operation: Option<OperationId>) -> Result<()> {
        match self.end_early(
            Error::OPERATION_ABORTED,
            |_| {},
            |id, _| operation.is_none_or(|operation| operation == id),
        ) {
            0 => Err(Error::NOT_FOUND),
            _ => Ok(()),
        }
    }

    pub(crate) fn close(&self) {
        let error = if self.kind == Kind::Listener { Error::OPERATION_ABORTED } else { Error::CONNECTION_ABORTED };
        self.end_early(error, |state| state.closed = true, |_, _| true);
    }

    /// Ends what is overdue.
    pub(super) fn expire(self: &Arc<Self>, now: Instant) {
        self.end_early(
            Error::SEM_TIMEOUT,
            |state| state.timer_at = None,
            |_, deadline| deadline.is_some_and(|at| at <= now),
        );
        let mut state = self.state.lock();
        if let Some(deadline) = state.next_deadline() {
            state.schedule(deadline, self);
        }
    }

    fn end_early(
        &self,
        error: Error,
        first: impl FnOnce(&mut State),
        which: impl Fn(OperationId, Option<Instant>) -> bool,
    ) -> usize {
        let mut ended = VecDeque::new();
        let mut state = self.state.lock();
        first(&mut state);
        let count = state.end_early(&self.port, error, &mut ended, which);
        state.settle();
        let lane = state.lane;
        drop(state);
        if count > ended.len() && self.port.current_lane() != Some(lane) {
            self.port.attend(lane); // the kernel has to see the cancels
        }
        for request in ended {
            self.port.deliver(request.end(Err(error)), lane);
        }
        count
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> Result<()> {
        let mut state = self.state.lock();
        let Some(fd) = &state.fd else { return Err(Error::INVALID_HANDLE) };
        rustix::net::getpeername(fd)?; // not connected: says so
        if how != Shutdown::Write {
            // Linux would end a pending receive, and drop nothing; Windows lets it complete and refuses later ones.
            state.receiving = Half::Shut;
        }
        if how != Shutdown::Read && state.sending == Half::Open {
            state.sending = Half::ShutWhenIdle;
            state.settle();
        }
        Ok(())
    }
}

/// Whether a standing accept goes on after this: a connection that failed on its way in does not end it, a shortage does.
fn passes(result: &Result<usize>) -> bool {
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
