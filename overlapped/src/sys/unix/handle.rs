//! A handle of a port: its descriptor, its key, and its operations in line.
//!
//! The kernel may reorder two receives, or two sends, of one stream. So a handle lets the kernel have one of each at a time and
//! keeps the others here, in line; that is all there is to the order that users rely on. Accepts and file operations have
//! no order and go straight through.
//!
//! A line stays with one lane as long as it has operations that have not been dequeued, so that their packets queue in
//! order. Then it goes where the handle is next used.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::cancel::Cancel;
use super::engine::InKernel;
use super::lane::Lane;
use super::request::{Request, Step};
use super::standing::{Inflow, Standing, StandingFlight, pool_of};
use super::{Descriptor, Port};
use crate::sync::Mutex;
use crate::sys::memory::Pool;
use crate::sys::{Ended, Kind, Operation, OperationId};
use crate::{Buffer, Error, Result};

pub(crate) struct Handle {
    port: Arc<Port>,
    kind: Kind,
    key: Box<dyn Any + Send + Sync>,
    /// Operations of each line that were started and whose packets have not been dequeued.
    receives_outstanding: AtomicU32,
    sends_outstanding: AtomicU32,
    state: Mutex<State>,
}

struct State {
    /// `None` once it is closed.
    fd: Option<OwnedFd>,
    closed: bool,
    /// What broke the connection. Linux says so once, and then that it ended orderly.
    broken: Option<Error>,
    receives: Line,
    inflow: Inflow,
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
    /// Where its packets go.
    lane: u32,
    /// The first in `queued` waits for a buffer of its pool.
    stalled: bool,
}

/// What we know of a request while the kernel has it.
struct Flight {
    id: OperationId,
    key: InKernel,
    lane: u32,
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

    /// Gives a request to the kernel, through the lane of its line or, if it has none, through `elsewhere`. A closed port gives it
    /// back.
    fn issue(&mut self, request: Box<Request>, elsewhere: usize, port: &Port) -> std::result::Result<(), Box<Request>> {
        let (id, deadline, direction) = (request.id, request.deadline, direction(&request.operation));
        let Some(fd) = &self.fd else { return Err(request) };
        let lane = match direction {
            Direction::Receive => self.receives.lane,
            Direction::Send => self.sends.lane,
            Direction::None => elsewhere as u32,
        };
        let key = port.lane(lane as usize).engine().start(request, fd.as_raw_fd(), self.drained)?;
        let flight = Flight { id, key, lane, deadline, ended_by: None };
        match self.line(direction) {
            Some(line) => line.in_kernel = Some(flight),
            None => self.others.push(flight),
        }
        Ok(())
    }

    /// Lets a line go on: what has arrived goes to the receives that wait for it, and the kernel gets the next operation if it has
    /// none. What ends here is delivered.
    fn go_on(&mut self, direction: Direction, handle: &Arc<Handle>, deliver: &mut impl FnMut(Ended)) {
        let port = &handle.port;
        if direction == Direction::Receive && self.receives.in_kernel.is_none() {
            while !self.inflow.is_empty()
                && let Some(request) = self.receives.queued.pop_front()
            {
                let mut filled = self.inflow.fill(request);
                filled.result = self.correct(&filled.operation, filled.result);
                deliver(filled);
            }
            if self.stand(handle) {
                return;
            }
        }
        loop {
            let Some(line) = self.line(direction) else { return };
            if line.in_kernel.is_some() || line.stalled {
                return;
            }
            let Some(request) = line.queued.pop_front() else { return };
            match self.issue(request, 0, port) {
                Ok(()) => return,
                Err(request) => deliver(request.end(Err(Error::ABANDONED_WAIT))),
            }
        }
    }

    /// Whether the next receive is a standing one's business. Arms one where it should be, and ends one that is in the way.
    fn stand(&mut self, handle: &Arc<Handle>) -> bool {
        let Some(next) = self.receives.queued.front() else { return true };
        if self.receives.stalled {
            return true;
        }
        let port = &handle.port;
        let wanted = pool_of(next).filter(|_| handle.kind == Kind::Stream && self.inflow.is_calm());
        match (&mut self.inflow.flight, wanted) {
            (Some(flight), Some(pool)) if !flight.ending && Arc::ptr_eq(&flight.standing.pool.0, &pool.0) => true,
            (Some(flight), _) => {
                flight.end(port);
                true // until it has landed
            }
            (None, Some(pool)) => {
                let lane = port.lane(self.receives.lane as usize);
                let Some(fd) = self.fd.as_ref().filter(|_| lane.engine().has_standing_receives()) else { return false };
                let standing = Standing::new(handle, pool);
                match lane.engine().receive_each(&standing, fd.as_raw_fd()) {
                    Some(key) => {
                        let (lane, tid) = (self.receives.lane, lane.tid.load(SeqCst));
                        self.inflow.flight = Some(StandingFlight { standing, key, lane, tid, ending: false });
                        true
                    }
                    None => false, // the port is closed, and refuses the receive too
                }
            }
            (None, None) => false,
        }
    }

    /// What the result of a stream's operation really is: an end that follows a break is no orderly one.
    fn correct(&mut self, operation: &Operation, result: Result<usize>) -> Result<usize> {
        match (operation, result) {
            (Operation::Recv { buffer }, Ok(0)) if buffer.capacity() == 0 && self.broken.is_none() => result, // it asked for nothing
            (Operation::Recv { .. } | Operation::RecvPooled { .. }, Ok(0)) => {
                if self.broken.is_none() && self.sending == Half::Open && self.fd.as_ref().is_some_and(is_reset) {
                    self.broken = Some(Error::NETNAME_DELETED);
                }
                self.broken.map_or(result, Err)
            }
            (
                Operation::Recv { .. }
                | Operation::RecvPooled { .. }
                | Operation::Send { .. }
                | Operation::SendVectored { .. },
                Err(error),
            ) => {
                let breaks =
                    [Error::NETNAME_DELETED, Error::SEM_TIMEOUT, Error::HOST_UNREACHABLE, Error::NETWORK_UNREACHABLE];
                if breaks.contains(&error) {
                    self.broken = Some(error);
                }
                result
            }
            _ => result,
        }
    }

    /// Why we asked the kernel to end a request that it has just given back, if we did.
    fn ended_by(&mut self, direction: Direction, key: InKernel) -> Option<Error> {
        let flight = match self.line(direction) {
            Some(line) => line.in_kernel.as_ref(),
            None => self.others.iter().find(|flight| flight.key == key),
        };
        flight.and_then(|flight| flight.ended_by)
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
        handle: &Arc<Handle>,
        error: Error,
        ended: &mut VecDeque<Box<Request>>,
        which: impl Fn(OperationId, Option<Instant>) -> bool,
    ) -> usize {
        let before = ended.len();
        let mut in_kernel = 0;
        for line in [&mut self.receives, &mut self.sends] {
            // Without its first the line is not stalled any more.
            line.stalled &= line.queued.front().is_some_and(|first| !which(first.id, first.deadline));
            let queued = std::mem::take(&mut line.queued);
            for request in queued {
                match which(request.id, request.deadline) {
                    true => ended.push_back(request),
                    false => line.queued.push_back(request),
                }
            }
        }
        let flights = self.receives.in_kernel.iter_mut().chain(&mut self.sends.in_kernel).chain(&mut self.others);
        for flight in flights.filter(|flight| which(flight.id, flight.deadline)) {
            in_kernel += 1;
            if flight.ended_by.is_none() {
                flight.ended_by = Some(error);
                let cancel = Cancel::Request { handle: Arc::downgrade(handle), key: flight.key };
                handle.port.lane(flight.lane as usize).engine().cancel(Box::new(cancel));
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
            broken: None,
            receives: Line::default(),
            inflow: Inflow::default(),
            sends: Line::default(),
            others: Vec::new(),
            sending: Half::Open,
            receiving: Half::Open,
            drained: false,
            timer_at: None,
        };
        let (receives_outstanding, sends_outstanding) = (AtomicU32::new(0), AtomicU32::new(0));
        Ok(Self { port, kind, key, receives_outstanding, sends_outstanding, state: Mutex::new(state) })
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
        let request = Request::new(id, Arc::clone(self), operation, deadline);

        let (mut ended, mut others) = (None, Vec::new()); // seldom more than one: it costs no allocation
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // With one lane there is nothing to choose, and nothing to count.
        let several = self.port.concurrency() > 1;
        let home = || here.unwrap_or_else(|| self.port.home_lane()) as u32;
        let lane = match direction {
            Direction::Receive => {
                if several && self.receives_outstanding.fetch_add(1, SeqCst) == 0 && state.inflow.flight.is_none() {
                    state.receives.lane = home();
                }
                state.receives.lane
            }
            Direction::Send => {
                if several && self.sends_outstanding.fetch_add(1, SeqCst) == 0 {
                    state.sends.lane = home();
                }
                state.sends.lane
            }
            Direction::None => home(),
        };
        let refusal = match direction {
            _ if state.closed => Some(Error::INVALID_HANDLE),
            Direction::Send if state.sending != Half::Open => Some(Error::SHUTDOWN),
            Direction::Receive if state.receiving != Half::Open => Some(Error::SHUTDOWN),
            // To the kernel it would mean the descriptor's own position, which an overlapped file has not.
            _ if matches!(request.operation, Operation::ReadAt { offset: u64::MAX, .. }) => {
                Some(Error::INVALID_PARAMETER)
            }
            _ => None,
        };
        if let Some(error) = refusal {
            drop(guard);
            self.port.deliver(request.end(Err(error)), lane as usize);
            return Ok(id);
        }
        if let Some(deadline) = deadline {
            state.schedule(deadline, self);
        }
        match state.line(direction) {
            Some(line) => {
                line.queued.push_back(request);
                state.go_on(direction, self, &mut |end| match ended {
                    None => ended = Some(end),
                    Some(_) => others.push(end),
                });
            }
            None => {
                if let Err(request) = state.issue(request, lane as usize, &self.port) {
                    ended = Some(request.end(Err(Error::ABANDONED_WAIT)));
                }
            }
        }
        drop(guard);
        for ended in ended.into_iter().chain(others) {
            self.port.deliver(ended, lane as usize); // a closed port drops it
        }
        if self.port.is_closed() {
            return Err(Error::ABANDONED_WAIT);
        }
        if here != Some(lane as usize) {
            self.port.attend(lane as usize);
        }
        Ok(id)
    }

    /// The packet of one of its operations is about to be handed to a worker.
    pub(super) fn dequeued(&self, operation: &Operation) {
        if self.port.concurrency() == 1 {
            return;
        }
        match direction(operation) {
            Direction::Receive => _ = self.receives_outstanding.fetch_sub(1, SeqCst),
            Direction::Send => _ = self.sends_outstanding.fetch_sub(1, SeqCst),
            Direction::None => {}
        }
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
        let direction = direction(&request.operation);
        let step = request.advance(result);

        let mut guard = request.handle.state.lock();
        let state = &mut *guard;
        if direction == Direction::Receive {
            state.drained = !nonempty;
            state.inflow.received(nonempty);
        }
        let ended_by = state.ended_by(direction, key);
        let result = match (step, ended_by) {
            (Step::Done(Err(Error::OPERATION_ABORTED | Error::NO_SYSTEM_RESOURCES)) | Step::Again, Some(error)) => {
                Err(error)
            }
            (Step::Done(result), Some(_)) => result,
            (Step::Done(Err(Error::NO_SYSTEM_RESOURCES)), None) if pool_of(&request).is_some() => {
                drop(guard);
                return Self::starved(request, key, lane, deliver);
            }
            // Cancelled although nobody asked for it: the kernel does that to the requests of a thread that exits. The operation
            // outlives it.
            (Step::Done(Err(Error::OPERATION_ABORTED)) | Step::Again, None) => {
                drop(guard);
                return Self::again(request, key, lane, deliver);
            }
            (Step::Done(result), None) => state.correct(&request.operation, result),
        };
        // A standing accept that the kernel ended, although neither we nor the listener did.
        if matches!(request.operation, Operation::Accept { standing: true, .. })
            && ended_by.is_none()
            && passes(&result)
        {
            drop(guard);
            deliver(request.handle.accepted(request.id, result, true));
            return Self::again(request, key, lane, deliver);
        }
        state.land(direction, key);
        state.go_on(direction, &request.handle, deliver);
        state.settle();
        drop(guard);
        match request.operation {
            Operation::Accept { .. } => deliver(request.handle.accepted(request.id, result, false)),
            _ => deliver(request.end(result)),
        }
    }

    /// Gives a request to the kernel once more. Until here it has kept its place, so that nothing overtakes it.
    fn again(request: Box<Request>, key: InKernel, lane: &Lane, deliver: &mut impl FnMut(Ended)) {
        let handle = Arc::clone(&request.handle);
        let direction = direction(&request.operation);
        let elsewhere = handle.port.current_lane().unwrap_or(lane.index);
        let mut state = handle.state.lock();
        // It may have been cancelled since its result was looked at.
        let ended_by = state.land(direction, key).ended_by;
        let refused = match ended_by {
            None if !state.closed => state.issue(request, elsewhere, &handle.port).err(),
            _ => Some(request),
        };
        if let Some(request) = refused {
            state.go_on(direction, &handle, deliver);
            state.settle();
            deliver(request.end(Err(ended_by.unwrap_or(handle.closed_error()))));
        }
    }

    /// A receive found its pool empty. It goes back to the head of its line and waits there.
    fn starved(request: Box<Request>, key: InKernel, lane: &Lane, deliver: &mut impl FnMut(Ended)) {
        if let Some(pool) = pool_of(&request) {
            lane.engine().ran_out(&pool.0);
        }
        let handle = Arc::clone(&request.handle);
        let mut state = handle.state.lock();
        match state.land(Direction::Receive, key).ended_by {
            None => {
                state.receives.queued.push_front(request);
                state.receives.stalled = true;
                drop(state);
                lane.starve(handle);
            }
            Some(error) => {
                state.go_on(Direction::Receive, &handle, deliver);
                state.settle();
                deliver(request.end(Err(error)));
            }
        }
    }

    /// What its operations end with when it is closed.
    fn closed_error(&self) -> Error {
        if self.kind == Kind::Listener { Error::OPERATION_ABORTED } else { Error::CONNECTION_ABORTED }
    }

    /// The standing receive of a handle has brought something, or ended. Returns the handle if this may be
    /// its last owner: to be dropped with no lock held, since the key in it is the user's.
    pub(super) fn arrived(
        standing: &Standing,
        result: i32,
        buffer: Option<Buffer>,
        more: bool,
        lane: &Lane,
        deliver: &mut impl FnMut(Ended),
    ) -> Option<Arc<Self>> {
        let handle = standing.handle.upgrade()?; // else dropped meanwhile; so is the buffer
        let mut kept_by_packet = false;
        let mut deliver = |ended| {
            kept_by_packet = true;
            deliver(ended);
        };
        let mut guard = handle.state.lock();
        let state = &mut *guard;
        if !more {
            state.inflow.flight = None;
        }
        match (result, buffer) {
            _ if state.closed => {}
            (1.., Some(buffer)) => state.inflow.hold(buffer),
            (0.., _) => state.inflow.hold_end(Ok(0)),
            (_, _) if result == -libc::ECANCELED || result == -libc::EINVAL => {} // ended by us, by the exit of a thread, or not known
            (_, _) if result == -libc::ENOBUFS => {
                lane.engine().ran_out(&standing.pool.0);
                // A receive into a buffer of its own, first in line by now, needs none of the pool's.
                if state.receives.queued.front().is_some_and(|next| pool_of(next).is_some()) {
                    state.receives.stalled = true;
                    lane.starve(Arc::clone(&handle));
                }
            }
            _ => state.inflow.hold_end(Err(Error::from_errno(-result))),
        }
        state.go_on(Direction::Receive, &handle, &mut deliver);
        if !state.inflow.is_empty() {
            state.inflow.settle(lane.engine().is_scarce(&standing.pool.0), &handle.port);
        }
        if let Some(flight) = &mut state.inflow.flight
            && flight.tid != lane.tid.load(SeqCst)
        {
            flight.end(&handle.port); // armed by a worker that has since lost the lane; the present one arms it anew
        }
        state.settle();
        drop(guard);
        (!kept_by_packet).then_some(handle)
    }

    /// A standing accept has brought a connection and goes on.
    pub(super) fn another(request: &Request, result: i32, deliver: &mut impl FnMut(Ended)) {
        let handle = &request.handle;
        let result = if result < 0 { Err(Error::from_errno(-result)) } else { Ok(result as usize) };
        deliver(handle.accepted(request.id, result, true));
    }

    fn accepted(self: &Arc<Self>, id: OperationId, result: Result<usize>, more: bool) -> Ended {
        // SAFETY: the kernel gave this descriptor to us as the result of an accept, and this is the only place that takes it.
        let accepted = result.ok().map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        let operation = Operation::Accept { standing: more, accepted };
        Ended { id, handle: Arc::clone(self), operation, result, moved: 0 }
    }

    /// The pool that its next receive waits for, if it does.
    pub(super) fn wanted_pool(&self) -> Option<Arc<Pool>> {
        let state = self.state.lock();
        match &state.receives.queued.front()?.operation {
            Operation::RecvPooled { pool, .. } if state.receives.stalled => Some(Arc::clone(&pool.0)),
            _ => None,
        }
    }

    /// There are buffers again for its next receive: on its own lane or, `elsewhere`, on another one. The line can go there only if
    /// no packet of it waits where it was. Returns whether the receive goes on.
    pub(super) fn unstall(self: &Arc<Self>, elsewhere: Option<usize>) -> bool {
        let mut ended = Vec::new();
        let mut state = self.state.lock();
        if let Some(lane) = elsewhere {
            if self.receives_outstanding.load(SeqCst) as usize > state.receives.queued.len() {
                return false;
            }
            state.receives.lane = lane as u32;
        }
        state.receives.stalled = false;
        state.go_on(Direction::Receive, self, &mut |end| ended.push(end));
        let lane = state.receives.lane as usize;
        drop(state);
        for ended in ended {
            self.port.deliver(ended, lane);
        }
        if elsewhere.is_some() {
            self.port.attend(lane);
        }
        true
    }

    /// Whether it has asked the kernel to end this request, and the kernel has not given it back.
    pub(super) fn is_cancelling(&self, key: InKernel) -> bool {
        let state = self.state.lock();
        let mut flights = state.receives.in_kernel.iter().chain(&state.sends.in_kernel).chain(&state.others);
        flights.any(|flight| flight.key == key && flight.ended_by.is_some())
    }

    /// Cancels one operation, or all.
    pub(crate) fn cancel(self: &Arc<Self>, operation: Option<OperationId>) -> Result<()> {
        match self.end_early(
            Error::OPERATION_ABORTED,
            |_| {},
            |id, _| operation.is_none_or(|operation| operation == id),
        ) {
            0 => Err(Error::NOT_FOUND),
            _ => Ok(()),
        }
    }

    pub(crate) fn close(self: &Arc<Self>) {
        let error = self.closed_error();
        let close = |state: &mut State| {
            state.closed = true;
            if let Some(flight) = &mut state.inflow.flight {
                flight.end(&self.port);
            }
            drop(state.inflow.clear());
        };
        self.end_early(error, close, |_, _| true);
        if let Some(lane) = self.standing_lane() {
            self.port.attend(lane);
        }
    }

    /// The lane of its standing receive, if it has one.
    fn standing_lane(&self) -> Option<usize> {
        self.state.lock().inflow.flight.as_ref().map(|flight| flight.lane as usize)
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
        self: &Arc<Self>,
        error: Error,
        first: impl FnOnce(&mut State),
        which: impl Fn(OperationId, Option<Instant>) -> bool,
    ) -> usize {
        let mut ended = VecDeque::new();
        let mut state = self.state.lock();
        first(&mut state);
        let count = state.end_early(self, error, &mut ended, which);
        let mut next = Vec::new();
        state.go_on(Direction::Receive, self, &mut |end| next.push(end));
        state.settle();
        let (receives, sends) = (state.receives.lane as usize, state.sends.lane as usize);
        let others = state.others.first().map(|flight| flight.lane as usize);
        drop(state);
        if count > 0 {
            // The kernel has to see the cancels, and what comes next.
            let here = self.port.current_lane();
            [Some(receives), Some(sends), others]
                .into_iter()
                .flatten()
                .filter(|lane| here != Some(*lane))
                .for_each(|lane| self.port.attend(lane));
        }
        for request in ended {
            let lane = if direction(&request.operation) == Direction::Send { sends } else { receives };
            self.port.deliver(request.end(Err(error)), lane);
        }
        next.into_iter().for_each(|ended| self.port.deliver(ended, receives));
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

impl Drop for Handle {
    /// Nobody waits for anything; only a standing receive may be left, and must go before the socket can.
    fn drop(&mut self) {
        let flight = self.state.lock().inflow.flight.take();
        if let Some(mut flight) = flight {
            let lane = flight.lane as usize;
            flight.end(&self.port);
            if self.port.current_lane() != Some(lane) {
                self.port.attend(lane);
            }
        }
    }
}

/// Whether a connection whose end was just read is gone altogether, although this side has not shut its half: then the end was a
/// reset, of which an operation of the other direction has taken the error and may not have told us yet.
fn is_reset(fd: &OwnedFd) -> bool {
    const TCP_CLOSE: u8 = 7;
    let (mut state, mut len) = (0u8, 1);
    // SAFETY: the kernel writes at most `len` bytes of its `tcp_info`, the first of which is the state, to `state`.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut state).cast(), &mut len)
    };
    result == 0 && len == 1 && state == TCP_CLOSE
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
