//! A line: the operations of one direction of a handle, in order.
//!
//! The kernel may reorder two receives, or two sends, of one stream. So it has one of each at a time and the others wait behind it;
//! that is all there is to the order that users rely on. A line is kept by a lane, behind that lane's lock, and stays with it as long
//! as it has operations; then it goes where the handle is next used.
//!
//! A receive into a buffer of a pool need not be a request of its own. The first one arms a *standing receive* (multishot); from then on
//! data comes by itself, into buffers of the pool, and goes to the receives that wait in line, in order. What comes when none waits is
//! held here until one is started. If more comes than that, the peer is sending ahead: the standing receive is ended, so that the
//! rest stays in the socket and the peer is slowed down, and receives go to the kernel one by one until the stream is calm again.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Weak};

use super::engine::{About, Completion, Place, Queues, Target, Token};
use super::lane::{Books, Lane};
use super::request::Step;
use super::timers::Moment;
use super::{Handle, Way, prefetch};
use crate::sys::{Ended, Kind, Operation, Request};
use crate::{Buffer, BufferPool, Error, Result};

/// So many receives in a row must have emptied the socket before a standing one is armed again.
const CALM: u8 = 16;
/// After so many requests the engine has the descriptor at hand.
const REGULAR: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Receive = 0,
    /// A connect goes before the sends that follow it.
    Send = 1,
}

/// In which line an operation stands. Accepts and file operations have no order.
#[inline]
pub(super) fn direction(operation: &Operation) -> Option<Direction> {
    match operation {
        Operation::Recv { .. }
        | Operation::RecvPooled { .. }
        | Operation::RecvFrom { .. }
        | Operation::RecvVectored { .. } => Some(Direction::Receive),
        Operation::Connect { .. }
        | Operation::Send { .. }
        | Operation::SendVectored { .. }
        | Operation::SendTo { .. } => Some(Direction::Send),
        Operation::Accept { .. } | Operation::ReadAt { .. } | Operation::WriteAt { .. } | Operation::Sync { .. } => {
            None
        }
    }
}

/// One cache line: a message touches two of these.
#[repr(align(64))]
pub(super) struct Line {
    pub(super) handle: Weak<Handle>,
    /// The oldest operation: in the kernel, served by the standing receive, or waiting.
    first: Option<Box<Request>>,
    /// What is behind it or was received too early; most of the time nothing is.
    surplus: Option<Box<Surplus>>,
    /// What has come in: bytes of a stream, or datagrams.
    taken_in: u64,
    /// The number of the request that the kernel has: that is `first`.
    flight: Option<NonZeroU32>,
    standing: Option<Standing>,
    /// Where the engine has the descriptor at hand, and how many requests it has been given without.
    place: Option<Place>,
    requests: u8,
    pub(super) direction: Direction,
    /// Receives in a row that have emptied the socket.
    calm: u8,
    /// The last receive emptied the socket: the next one need not try before it waits.
    drained: bool,
    /// `first` waits for a buffer of its pool.
    stalled: bool,
    /// The handle is closed when `first` has come back.
    pub(super) closing: bool,
    /// The handle is closed: nobody wants what still comes.
    deaf: bool,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Line>() == 64);

#[derive(Default)]
struct Surplus {
    /// Operations behind the first, so none if there is no first.
    rest: VecDeque<Box<Request>>,
    /// What has been received and nobody has asked for yet, with its position in the stream, in that order.
    held: VecDeque<(u64, Held)>,
    /// The descriptor of a handle that was dropped, while the kernel may not have seen all that names it.
    kept: Option<OwnedFd>,
    /// Why we asked the kernel to end early what it has.
    ended_by: Option<Error>,
}

/// A standing receive that the kernel has. Its group keeps the pool.
struct Standing {
    group: u16,
    seq: u32,
    /// The thread that held the lane when it was armed. Its completions interrupt that thread, wherever it then is.
    tid: i32,
    ending: bool,
}

enum Held {
    /// Bytes, of which the first so many have been taken.
    Data(Buffer, usize),
    Datagram(Buffer, Option<Box<SocketAddr>>),
    End(Result<usize>),
}

impl Line {
    pub(super) fn new(handle: &Arc<Handle>, direction: Direction) -> Self {
        Self {
            handle: Arc::downgrade(handle),
            direction,
            first: None,
            surplus: None,
            flight: None,
            standing: None,
            taken_in: 0,
            place: None,
            requests: 0,
            calm: CALM,
            drained: false,
            stalled: false,
            closing: false,
            deaf: false,
        }
    }

    #[inline]
    pub(super) fn is_of(&self, handle: *const Handle) -> bool {
        std::ptr::eq(self.handle.as_ptr(), handle)
    }

    /// No operation, and nothing in the kernel: it may go elsewhere.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.first.is_none() && self.standing.is_none()
    }

    /// No operation, and nothing in the kernel or held: what is done on the descriptor now is in order.
    pub(super) fn is_clear(&self) -> bool {
        self.is_idle() && !self.holds()
    }

    /// Nothing of it is in the kernel.
    pub(super) fn is_aground(&self) -> bool {
        self.flight.is_none() && self.standing.is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.surplus.as_ref().map_or(0, |surplus| surplus.rest.len())
    }

    #[inline]
    pub(super) fn push(&mut self, request: Box<Request>) {
        match self.first {
            None => self.first = Some(request),
            Some(_) => self.surplus().rest.push_back(request),
        }
    }

    /// Takes the first out of the line.
    #[inline]
    fn shift(&mut self) -> Option<Box<Request>> {
        self.stalled = false;
        let next = self.surplus.as_mut().and_then(|surplus| surplus.rest.pop_front());
        std::mem::replace(&mut self.first, next)
    }

    fn surplus(&mut self) -> &mut Surplus {
        self.surplus.get_or_insert_default()
    }

    /// Whether it has received something that nobody has asked for yet.
    #[inline]
    fn holds(&self) -> bool {
        self.surplus.as_ref().is_some_and(|surplus| !surplus.held.is_empty())
    }

    /// Keeps the descriptor until nothing of it is in the kernel.
    pub(super) fn keep(&mut self, fd: Option<OwnedFd>) {
        self.surplus().kept = fd;
    }

    pub(super) fn first(&self) -> Option<&Request> {
        self.first.as_deref()
    }

    /// Has what its next end will touch fetched into the cache.
    #[inline]
    pub(super) fn prefetch(&self) {
        if let Some(first) = &self.first {
            prefetch(&**first);
        }
        prefetch(self.handle.as_ptr());
    }

    #[inline]
    pub(super) fn first_mut(&mut self) -> Option<&mut Request> {
        self.first.as_deref_mut()
    }

    /// Whether the standing receive is what its first waits for.
    #[inline]
    fn is_served(&self, lane: &Lane, queues: &Queues) -> bool {
        match (&self.standing, &self.first) {
            (Some(standing), Some(first)) => {
                !standing.ending
                    && !self.holds()
                    && first.way.is_at_home(lane)
                    && first.pool().is_some_and(|pool| Arc::ptr_eq(queues.pool(standing.group), &pool.0))
            }
            _ => false,
        }
    }

    /// Whether nothing but the first is to be thought of.
    #[inline]
    fn is_plain(&self) -> bool {
        !self.closing
            && self
                .surplus
                .as_ref()
                .is_none_or(|surplus| surplus.rest.is_empty() && surplus.held.is_empty() && surplus.ended_by.is_none())
    }

    /// The pool whose buffers its first waits for.
    pub(super) fn wanted_pool(&self) -> Option<&BufferPool> {
        self.first.as_ref().filter(|_| self.stalled)?.pool()
    }

    pub(super) fn unstall(&mut self) {
        self.stalled = false;
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        let rest = self.surplus.iter().flat_map(|surplus| &surplus.rest);
        self.first.iter().chain(rest).map(|request| &**request)
    }

    pub(super) fn requests_mut(&mut self) -> impl Iterator<Item = &mut Request> {
        let rest = self.surplus.iter_mut().flat_map(|surplus| &mut surplus.rest);
        self.first.iter_mut().chain(rest).map(|request| &mut **request)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let ending = self.flight.is_some() && self.surplus.as_ref().is_some_and(|surplus| surplus.ended_by.is_some());
        self.requests().skip(usize::from(ending)).filter_map(|request| request.in_flight.deadline).min()
    }

    /// Takes what it has out, to be dropped with no lock held. Nothing of it is in the kernel.
    pub(super) fn clear(&mut self) -> impl Sized + use<> {
        (self.first.take(), self.surplus.take())
    }

    /// Ends `request` with what is held.
    fn fill(&mut self, mut request: Box<Request>) -> Ended {
        let all = &mut self.surplus.as_mut().expect("asked only when something is held").held;
        let (position, held) = all.front_mut().expect("asked only when something is held");
        request.in_flight.position = *position;
        let mut used_up = true;
        let result = match (&mut request.operation, held) {
            (Operation::RecvPooled { buffer, .. }, Held::Data(data, 0)) => {
                *buffer = std::mem::take(data);
                Ok(buffer.len())
            }
            (Operation::RecvPooled { buffer, .. }, Held::Data(data, taken)) => {
                request.in_flight.position += *taken as u64;
                *buffer = Buffer::from(data[*taken..].to_vec());
                Ok(buffer.len())
            }
            (Operation::Recv { buffer }, Held::Data(data, taken)) => {
                let bytes = buffer.capacity().min(data.len() - *taken);
                request.in_flight.position += *taken as u64;
                buffer.clear();
                buffer.0.append(&data[*taken..*taken + bytes]);
                *taken += bytes;
                used_up = *taken == data.len();
                Ok(bytes)
            }
            (Operation::RecvFrom { buffer, from }, Held::Datagram(data, sender)) => {
                buffer.clear();
                let bytes = buffer.0.append(&data[..data.len().min(buffer.capacity())]);
                *from = sender.take();
                if bytes < data.len() { Err(Error::MORE_DATA) } else { Ok(bytes) }
            }
            (_, Held::End(result)) => *result,
            _ => Err(Error::INVALID_PARAMETER), // a datagram's receive on a stream, or the other way round
        };
        if used_up {
            all.pop_front();
        }
        request.moved = result.unwrap_or(0);
        let result = request.handle.correct(&request.operation, result);
        request.end(result)
    }

    /// Holds what a receive had taken and nobody wants, where it belongs among all that is held.
    pub(super) fn put_back(&mut self, ended: &mut Ended) {
        let result = ended.result();
        let held = match (&mut ended.operation, result) {
            (Operation::Recv { buffer } | Operation::RecvPooled { buffer, .. }, Ok(1..)) => {
                Held::Data(std::mem::take(buffer), 0)
            }
            (Operation::RecvFrom { buffer, from }, Ok(_) | Err(Error::MORE_DATA)) => {
                Held::Datagram(std::mem::take(buffer), from.take())
            }
            _ => return,
        };
        self.hold(ended.in_flight.position, held);
    }

    /// Holds something at its position, which counts from where its first bytes that are left stand.
    fn hold(&mut self, position: u64, held: Held) {
        let all = &mut self.surplus().held;
        let stands = |(at, held): &(u64, Held)| *at + if let Held::Data(_, taken) = held { *taken as u64 } else { 0 };
        let at = all.iter().position(|other| stands(other) > position).unwrap_or(all.len());
        all.insert(at, (position, held));
    }

    /// The position of something that has just come in.
    #[inline]
    fn take_in(&mut self, units: u64) -> u64 {
        let position = self.taken_in;
        self.taken_in += units;
        position
    }
}

impl Books {
    /// An operation joins a line, and goes on if it is the first.
    #[inline]
    pub(super) fn join(&mut self, lane: &Lane, at: usize, request: Box<Request>) {
        let line = &mut self.lines[at];
        let is_first = line.is_empty();
        line.push(request);
        // An empty line of sends has nothing that `go_on` would have to look at: it is where its first is at home, or else it moves.
        match line.direction {
            Direction::Send if is_first && lane.may_be_entered() => {
                debug_assert!(line.first().is_some_and(|first| first.way.is_at_home(lane)));
                self.issue(lane, at);
            }
            _ => self.go_on(lane, at),
        }
    }

    /// Lets a line go on: what has arrived goes to the receives that wait for it, and the kernel gets the next operation if it has
    /// none. A ring that belongs to another thread gets it when that thread comes round.
    #[inline]
    pub(super) fn go_on(&mut self, lane: &Lane, at: usize) {
        if !lane.may_be_entered() {
            self.later.push(at);
            return;
        }
        loop {
            let Self { lines, queues: Some(queues), .. } = self else { return };
            let line = &mut lines[at];
            if line.flight.is_some() || line.is_served(lane, queues) {
                return;
            }
            let Some(first) = &line.first else { return };
            if line.holds() {
                let request = line.shift().expect("looked at above");
                let ended = line.fill(request);
                self.received(lane, at, ended);
                continue;
            }
            let refusal = if first.way.is_dead(lane, self.ended) {
                Some(Error::OPERATION_ABORTED) // the thread that its routine was to run on has ended
            } else if !first.way.is_at_home(lane) {
                match &line.standing {
                    Some(_) => self.end_standing(lane, at),
                    None => self.after().emigrants.push(at),
                }
                return;
            } else {
                None
            };
            if line.stalled && refusal.is_none() {
                return;
            }
            if line.direction == Direction::Receive && refusal.is_none() && self.stand(lane, at) {
                return;
            }
            let refusal = refusal.or(self.queues().is_sealed().then_some(Error::ABANDONED_WAIT));
            match refusal {
                None => return self.issue(lane, at),
                Some(error) => {
                    let request = self.lines[at].shift().expect("looked at above");
                    self.deliver(lane, request.end(Err(error)));
                }
            }
        }
    }

    /// Gives the first of a line to the kernel.
    #[inline]
    fn issue(&mut self, lane: &Lane, at: usize) {
        let seq = self.next_seq();
        let Self { lines, queues, .. } = self;
        let line = &mut lines[at];
        let (Some(request), Some(queues)) = (&mut line.first, queues) else { return };
        let fd = request.handle.raw_fd();
        if line.place.is_none() {
            line.requests += 1;
            if line.requests > REGULAR {
                line.requests = 0;
                line.place = lane.engine().enlist(queues, fd);
            }
        }
        let on = Target { fd, place: line.place, drained: line.drained };
        lane.engine().start(queues, Token::new(About::Line, at, seq.get()), request, on);
        line.flight = Some(seq);
    }

    /// The engine lets go of a line's descriptor, which is to be closed or replaced, or of which the line is to go elsewhere.
    pub(super) fn strike(&mut self, lane: &Lane, at: usize) {
        let Self { lines, queues: Some(queues), .. } = self else { return };
        let Some(place) = lines[at].place.take() else { return };
        let here = lane.may_be_entered();
        lane.engine().strike(queues, place, here);
        if !here {
            self.after().rouse = true; // so that it is done soon
        }
    }

    /// Takes a line out.
    pub(super) fn remove(&mut self, lane: &Lane, at: usize) -> Line {
        self.strike(lane, at);
        self.lines.remove(at)
    }

    /// A line whose handle is closed has nothing in the kernel any more.
    #[cold]
    fn land(&mut self, lane: &Lane, at: usize, handle: &Handle) {
        self.strike(lane, at);
        self.lines[at].closing = false;
        handle.unpin();
    }

    /// Whether the next receive is a standing one's business. Arms one where it should be, and ends one that is in the way.
    fn stand(&mut self, lane: &Lane, at: usize) -> bool {
        let line = &self.lines[at];
        let Some(first) = &line.first else { return true };
        let wanted = first.pool().filter(|_| first.handle.kind() == Kind::Stream && line.calm >= CALM);
        match (&line.standing, wanted) {
            (Some(standing), Some(pool))
                if !standing.ending && Arc::ptr_eq(self.queues().pool(standing.group), &pool.0) =>
            {
                true
            }
            (Some(_), _) => {
                self.end_standing(lane, at);
                true // until it has landed
            }
            (None, Some(pool)) if self.queues().has_standing_receives() && !self.queues().is_sealed() => {
                let (pool, fd, seq) = (pool.clone(), first.handle.raw_fd(), self.next_seq().get());
                let token = Token::new(About::Standing, at, seq);
                let group = lane.engine().receive_each(self.queues_mut(), token, fd, &pool.0);
                let tid = lane.tid.load(SeqCst);
                self.lines[at].standing = Some(Standing { group, seq, tid, ending: false });
                true
            }
            (None, _) => false,
        }
    }

    /// Asks the kernel to end the standing receive of a line. What it brings until then is still taken.
    pub(super) fn end_standing(&mut self, lane: &Lane, at: usize) {
        let Self { lines, queues: Some(queues), .. } = self else { return };
        let Some(standing) = &mut lines[at].standing else { return };
        if !std::mem::replace(&mut standing.ending, true) && !queues.is_sealed() {
            lane.engine().cancel(queues, Token::new(About::Standing, at, standing.seq));
        }
    }

    /// The kernel has given a request back: decides what that means, and issues what comes next.
    pub(super) fn line_ended(&mut self, lane: &Lane, completion: &Completion) {
        let at = completion.token().at as usize;
        let Self { lines, queues: Some(queues), .. } = self else { return };
        let line = &mut lines[at];
        let seq = line.flight.take().expect("what the kernel gives back was issued for this line");
        debug_assert_eq!(seq.get(), completion.token().seq);
        // The usual way of a send: all of it has gone, and nothing waits for that.
        if line.direction == Direction::Send
            && line.is_plain()
            && let Some(request) = line.first.take_if(|request| request.sends_rest(completion.result))
        {
            request.handle.shut_when_idle();
            let sent = request.moved + completion.result as usize;
            return self.deliver(lane, request.end(Ok(sent)));
        }
        let ended_by = line.surplus.as_mut().and_then(|surplus| surplus.ended_by.take());
        let request = line.first.as_mut().expect("what is in the kernel is the first of its line");
        if let Some(index) = completion.buffer()
            && let Operation::RecvPooled { pool, buffer } = &mut request.operation
            && let Some(data) = queues.chosen(request.in_flight.group, Arc::clone(&pool.0), index, completion.result)
        {
            *buffer = data;
        }
        let step = request.advance(completion.result);
        if line.direction == Direction::Receive {
            request.in_flight.position = line.taken_in;
            line.taken_in += match (&request.operation, completion.result) {
                (Operation::RecvFrom { .. }, _) => 1,
                (Operation::Recv { buffer }, _) if buffer.capacity() == 0 => 0, // poll's mask
                (_, bytes) => bytes.max(0) as u64,
            };
            line.drained = !completion.nonempty();
            line.calm = if completion.nonempty() { 0 } else { line.calm.saturating_add(1) };
        }
        let result = match (step, ended_by) {
            (Step::Done(Err(Error::OPERATION_ABORTED | Error::NO_SYSTEM_RESOURCES)) | Step::Again, Some(error)) => {
                Err(error)
            }
            (Step::Done(result), Some(_)) => result,
            (Step::Done(Err(Error::NO_SYSTEM_RESOURCES)), None) if request.pool().is_some() => {
                queues.ran_out(&request.pool().expect("a pooled receive").0);
                return self.starve(lane, at);
            }
            // Cancelled although nobody asked for it: the kernel does that to the requests of a thread that exits, and we do when
            // something is to go elsewhere. The operation outlives it, and keeps its place, so that nothing overtakes it.
            (Step::Done(Err(Error::OPERATION_ABORTED)) | Step::Again, None) => match request.handle.is_closed() {
                true => Err(request.handle.closed_error()),
                false => {
                    request.in_flight.again = true;
                    return self.go_on(lane, at);
                }
            },
            (Step::Done(result), None) => request.handle.correct(&request.operation, result),
        };
        let cancelled = ended_by.is_some() && result.is_err();
        if line.holds() && !cancelled {
            line.hold_behind(result);
            return self.go_on(lane, at);
        }
        let request = line.shift().expect("looked at above");
        let (direction, closing) = (line.direction, line.closing && line.is_aground());
        if direction == Direction::Send && line.first.is_none() {
            request.handle.shut_when_idle();
        }
        if closing {
            self.land(lane, at, &request.handle);
        }
        match direction {
            Direction::Receive => self.received(lane, at, request.end(result)),
            Direction::Send => self.deliver(lane, request.end(result)),
        }
        if !self.lines[at].is_empty() {
            self.go_on(lane, at);
        }
    }

    /// A receive has ended. If nobody wants that, what it had taken is for the next one, before anything that comes behind.
    #[inline]
    fn received(&mut self, lane: &Lane, at: usize, mut ended: Ended) {
        if let Way::Cell { cell, .. } = &ended.way
            && cell.is_abandoned()
        {
            self.lines[at].put_back(&mut ended);
            ended.error = Some(Error::OPERATION_ABORTED);
        }
        self.deliver(lane, ended);
    }

    /// The standing receive of a line has brought something, or ended.
    pub(super) fn arrived(&mut self, lane: &Lane, completion: &Completion) {
        let at = completion.token().at as usize;
        let Self { lines, queues: Some(queues), .. } = self else { return };
        let line = &mut lines[at];
        let standing = line.standing.as_mut().expect("what the kernel has was armed for this line");
        debug_assert_eq!(standing.seq, completion.token().seq);
        let usual = completion.more() && !standing.ending && standing.tid == lane.tid.load(Relaxed);
        let group = standing.group;
        let pool = Arc::as_ptr(queues.pool(group));
        let is_of_its_pool = |first: &Request| first.pool().is_some_and(|wanted| Arc::as_ptr(&wanted.0) == pool);
        // The usual way: data, for a receive that waits for it, from a standing one that goes on. It needs its pool no more.
        if usual
            && completion.result > 0
            && !line.holds()
            && let Some(index) = completion.buffer()
            && let Some(first) = &mut line.first
            && is_of_its_pool(first)
            && let Operation::RecvPooled { pool, .. } =
                std::mem::replace(&mut first.operation, Operation::Sync { data_only: false })
        {
            let bytes = completion.result as usize;
            let buffer = queues.chosen(group, pool.0, index, completion.result).unwrap_or_default();
            first.operation = Operation::Recv { buffer };
            first.moved = bytes;
            first.in_flight.position = line.taken_in;
            line.taken_in += bytes as u64;
            let request = line.shift().expect("looked at above");
            self.received(lane, at, request.end(Ok(bytes)));
            return if self.lines[at].holds() {
                self.go_on(lane, at)
            };
        }
        let pool = BufferPool(Arc::clone(queues.pool(group)));
        let data =
            completion.buffer().and_then(|index| queues.chosen(group, Arc::clone(&pool.0), index, completion.result));
        if !completion.more() {
            line.standing = None;
            queues.disarm(group);
        }
        let mut starving = false;
        match (completion.result, data) {
            _ if line.deaf => {}
            (1.., Some(data)) => {
                let position = line.take_in(data.len() as u64);
                line.hold(position, Held::Data(data, 0));
            }
            (0.., _) => line.hold(u64::MAX, Held::End(Ok(0))),
            (result, _) if result == -libc::ECANCELED => {} // by us, or by the exit of a thread
            (result, _) if result == -libc::EINVAL => queues.no_standing_receives(),
            (result, _) if result == -libc::ENOBUFS => {
                queues.ran_out(&pool.0);
                // A receive into a buffer of its own or of another pool, first in line by now, needs none of this one's.
                starving = line.first.as_deref().is_some_and(is_of_its_pool);
            }
            (result, _) => line.hold(u64::MAX, Held::End(Err(Error::from_errno(-result)))),
        }
        if line.standing.is_none() && line.surplus.as_ref().is_some_and(|surplus| surplus.kept.is_some()) {
            self.remove(lane, at); // nothing else was left of its handle
            return;
        }
        if line.closing
            && line.is_aground()
            && let Some(handle) = line.handle.upgrade()
        {
            self.land(lane, at, &handle);
            self.after().handles.push(handle);
        }
        if starving {
            self.starve(lane, at);
        }
        self.go_on(lane, at);
        self.hold_little(lane, at, &pool);
    }

    /// Something may have come unasked. One piece is what a quick peer does: it is held; but not in the pool's memory if that is scarce.
    /// More than one is a peer that sends ahead.
    fn hold_little(&mut self, lane: &Lane, at: usize, pool: &BufferPool) {
        let Self { lines, queues: Some(queues), .. } = self else { return };
        let line = &mut lines[at];
        let held = line.surplus.as_mut().map(|surplus| &mut surplus.held);
        let ahead = held.as_ref().is_some_and(|held| held.len() > 1);
        if let Some((_, Held::Data(data, _))) = held.and_then(VecDeque::back_mut)
            && queues.is_scarce(&pool.0)
        {
            let mut copy = Buffer::with_capacity(data.len());
            copy.0.append(data);
            *data = copy;
        }
        if ahead {
            line.calm = 0;
        }
        // Armed by a worker that has since lost the lane: the present one arms it anew.
        let foreign = line.standing.as_ref().is_some_and(|standing| standing.tid != lane.tid.load(SeqCst));
        if ahead || foreign {
            self.end_standing(lane, at);
        }
    }

    /// The kernel did not find what was to be cancelled, or could not: it was just trying it again, or has given it back by now.
    pub(super) fn not_found(&mut self, lane: &Lane, target: Token) {
        let at = target.at as usize;
        let needed = match target.about {
            About::Line => self.lines.get(at).and_then(|line| line.flight).map(NonZeroU32::get),
            About::Standing => self.lines.get(at).and_then(|line| line.standing.as_ref()).map(|standing| standing.seq),
            _ => self.loose.get(at).map(|loose| loose.seq),
        };
        if needed == Some(target.seq) && !self.queues().is_sealed() {
            lane.engine().cancel(self.queues_mut(), target);
        }
    }

    /// The first of a line found its pool empty, and waits for a buffer.
    fn starve(&mut self, lane: &Lane, at: usize) {
        self.lines[at].stalled = true;
        self.starved.push(at);
        lane.starving.store(true, SeqCst);
        lane.unfed.store(true, SeqCst);
    }

    /// Ends every operation of a line that `which` picks: at once if it waits, through the kernel if that has it. Returns how many.
    pub(super) fn end_early(
        &mut self,
        lane: &Lane,
        at: usize,
        error: Error,
        which: impl Fn(&Request) -> bool,
    ) -> usize {
        let mut count = 0;
        let Self { lines, queues, .. } = self;
        let line = &mut lines[at];
        let mut ended = Vec::new();
        let rest = line.surplus.as_mut().map(|surplus| std::mem::take(&mut surplus.rest)).unwrap_or_default();
        let first = match line.flight {
            Some(seq) => {
                if line.first.as_deref().is_some_and(&which) {
                    count += 1;
                    if line.surplus().ended_by.replace(error).is_some() {
                        // Asked for already; the reason that came last counts as little as the first.
                    } else if let Some(queues) = queues
                        && !queues.is_sealed()
                    {
                        lane.engine().cancel(queues, Token::new(About::Line, at, seq.get()));
                    }
                }
                None
            }
            None => line.first.take(),
        };
        line.stalled &= first.as_deref().is_some_and(|first| !which(first));
        for request in first.into_iter().chain(rest) {
            match which(&request) {
                true => ended.push(request),
                false => line.push(request),
            }
        }
        count += ended.len();
        for request in ended {
            self.deliver(lane, request.end(Err(error)));
        }
        count
    }

    /// Asks the kernel to give back what a line has there, without ending it: it is to go on elsewhere, or with what is held.
    pub(super) fn recall(&mut self, lane: &Lane, at: usize) {
        self.end_standing(lane, at);
        let Self { lines, queues: Some(queues), .. } = self else { return };
        if let Some(seq) = lines[at].flight
            && !queues.is_sealed()
        {
            lane.engine().cancel(queues, Token::new(About::Line, at, seq.get()));
        }
    }

    /// Nobody wants what still comes. Returns what it held, to be dropped with no lock held.
    pub(super) fn deafen(&mut self, lane: &Lane, at: usize) -> impl Sized + use<> {
        self.end_standing(lane, at);
        let line = &mut self.lines[at];
        line.deaf = true;
        line.surplus.as_mut().map(|surplus| std::mem::take(&mut surplus.held))
    }

    /// A receive has ended and nobody wants its end: what it had taken goes to the next one.
    pub(super) fn put_back(&mut self, lane: &Lane, at: usize, ended: &mut Ended) {
        let line = &mut self.lines[at];
        if line.deaf {
            return;
        }
        line.put_back(ended);
        match line.flight {
            // The next one is in the kernel and waits for what comes behind.
            Some(_) => self.recall(lane, at),
            None => self.go_on(lane, at),
        }
    }
}

impl Line {
    /// A receive came back with something that belongs behind what is held. It waits again.
    fn hold_behind(&mut self, result: Result<usize>) {
        let Some(request) = &mut self.first else { return };
        request.moved = 0;
        let held = match (&mut request.operation, result) {
            (Operation::Recv { buffer }, Ok(_)) if buffer.capacity() == 0 => return, // it had only waited
            (Operation::Recv { buffer }, Ok(1..)) => {
                let data = Buffer::from(buffer.to_vec());
                buffer.clear();
                Held::Data(data, 0)
            }
            (Operation::RecvPooled { buffer, .. }, Ok(1..)) => Held::Data(std::mem::take(buffer), 0),
            (Operation::RecvFrom { buffer, from }, Ok(_) | Err(Error::MORE_DATA)) => {
                let data = Buffer::from(buffer.to_vec());
                buffer.clear();
                Held::Datagram(data, from.take())
            }
            (_, result) => {
                request.in_flight.position = u64::MAX;
                Held::End(result)
            }
        };
        let position = request.in_flight.position;
        self.hold(position, held);
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("direction", &self.direction)
            .field("operations", &self.len())
            .finish_non_exhaustive()
    }
}
