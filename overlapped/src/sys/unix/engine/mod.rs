//! What starts operations and learns of their end: io_uring or, where that is not to be had, readiness. The two have the same method
//! set, and each lies in two parts. Any thread may use an [`Engine`] at any time; [`Queues`] lie behind the lock of their lane.
//!
//! - `new(mode) -> (Engine, Queues)`: for any thread, or for the calling one only;
//! - `start(queues, token, request, on)`, `receive_each`, `cancel(queues, token)`, `cancel_all(queues)`: hand over, without waiting;
//! - `fill(queues)`, `enter(wait)`, `recount(queues)`: let the kernel see what was handed over, and sleep until something ends;
//! - `enlist(queues, fd)`, `strike(queues, place)`: have a descriptor that is used again and again at hand, and no more;
//! - `send_now(queues, request, fd)`: a send that need not wait, at once;
//! - `reap(queues, requests, into)`: what ended; `has_completions()`, `unsubmitted()`: whether there is something to do, without the lock;
//! - `wake()`: end another thread's sleep; `watch(queues, engine)`: be woken when another engine has completions;
//! - of the queues: `seal()`: accept no more; `in_flight()`; and the buffers of pools.

pub(super) mod choice;
mod files;
mod poller;
mod readiness;
#[cfg(target_os = "linux")]
mod survey;
#[cfg(target_os = "linux")]
mod table;
#[cfg(target_os = "linux")]
mod uring;

use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::sys::Request;
use crate::sys::memory::Pool;
use crate::{Buffer, Result};
use choice::Kind;

/// What a completion is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum About {
    /// The request that a line has in the kernel.
    Line = 0,
    /// The standing receive of a line.
    Standing = 1,
    /// A request without an order.
    Loose = 2,
    /// A cancel of one of these: the answer to it.
    CancelLine = 4,
    CancelStanding = 5,
    CancelLoose = 6,
    // From here on, with this bit, it is no request.
    /// Somebody called [`Engine::wake`].
    Woken = 8,
    /// The engine that [`Engine::watch`] named has something.
    Watched = 9,
    /// Nobody cares.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "rings tell of everything"))]
    Nothing = 10,
}

/// Names a request in the kernel: what it is, where the lane keeps it, and the how-many-eth it is, so that a name is not used again soon.
/// It is the request's `user_data`: 4 bits, 28 and 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) about: About,
    pub(crate) at: u32,
    pub(crate) seq: u32,
}

impl Token {
    /// The most that a lane can keep of a kind.
    pub(crate) const MOST: usize = 1 << 28;
    #[cfg(target_os = "linux")]
    const MESSAGE: u64 = About::Woken as u64 | 1 << 32;

    pub(crate) fn new(about: About, at: usize, seq: u32) -> Self {
        Self { about, at: at as u32, seq }
    }

    /// As a request carries it through the kernel.
    fn user_data(self) -> u64 {
        self.about as u64 | u64::from(self.at) << 4 | u64::from(self.seq) << 32
    }

    #[inline]
    fn from_user_data(user_data: u64) -> Self {
        let about = match user_data & 15 {
            0 => About::Line,
            1 => About::Standing,
            2 => About::Loose,
            4 => About::CancelLine,
            5 => About::CancelStanding,
            6 => About::CancelLoose,
            8 => About::Woken,
            9 => About::Watched,
            _ => About::Nothing,
        };
        Self { about, at: (user_data >> 4) as u32 & (Self::MOST - 1) as u32, seq: (user_data >> 32) as u32 }
    }

    /// The cancel of it, or what it is the cancel of.
    pub(crate) fn opposite(self) -> Self {
        let about = match self.about {
            About::Line => About::CancelLine,
            About::Standing => About::CancelStanding,
            About::Loose => About::CancelLoose,
            About::CancelLine => About::Line,
            About::CancelStanding => About::Standing,
            About::CancelLoose => About::Loose,
            other => other,
        };
        Self { about, ..self }
    }
}

/// The end of a request in the kernel, or something that a standing one has brought. As the kernel writes it, so that it can be copied as
/// a whole; what it says is read where it is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    user_data: u64,
    pub(crate) result: i32,
    flags: u32,
}

impl Completion {
    // As in <linux/io_uring.h>.
    const BUFFER: u32 = 1 << 0;
    const MORE: u32 = 1 << 1;
    const NONEMPTY: u32 = 1 << 2;

    fn new(token: Token, result: i32, more: bool, nonempty: bool) -> Self {
        let flags = if more { Self::MORE } else { 0 } | if nonempty { Self::NONEMPTY } else { 0 };
        Self { user_data: token.user_data(), result, flags }
    }

    /// The end of a request.
    fn of(token: Token, result: i32) -> Self {
        Self::new(token, result, false, false)
    }

    #[inline]
    pub(crate) fn token(&self) -> Token {
        Token::from_user_data(self.user_data)
    }

    /// The buffer of its group that the kernel chose.
    #[inline]
    pub(crate) fn buffer(&self) -> Option<u16> {
        (self.flags & Self::BUFFER != 0).then_some((self.flags >> 16) as u16)
    }

    /// It goes on.
    #[inline]
    pub(crate) fn more(&self) -> bool {
        self.flags & Self::MORE != 0
    }

    /// The socket has more to read.
    #[inline]
    pub(crate) fn nonempty(&self) -> bool {
        self.flags & Self::NONEMPTY != 0
    }
}

/// Who may enter an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Any thread. A pool's buffers are shared among so many engines.
    Shared(usize),
    /// The thread that made it.
    Owned,
}

/// How long to wait in [`Engine::enter`].
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// Not at all, but let the kernel post what is ready.
    No,
    /// Until something ends, or for this long; `gather`: until so many have ended or so much time has passed since the first.
    For {
        timeout: Option<Duration>,
        #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only rings gather"))]
        gather: Option<(u32, Duration)>,
    },
}

/// Where an engine has a descriptor at hand: a number, kept small.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only rings have such places"))]
pub(crate) struct Place(NonZeroU32);

#[cfg(target_os = "linux")]
impl Place {
    fn new(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// What a request is started on.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "readiness looks for itself"))]
pub(crate) struct Target {
    pub(crate) fd: RawFd,
    /// Where the engine has it at hand ([`Engine::enlist`]).
    pub(crate) place: Option<Place>,
    /// The socket is known to be empty.
    pub(crate) drained: bool,
}

/// Where a lane keeps the requests that its engine has.
pub(super) trait Requests {
    fn request(&mut self, token: Token) -> &mut Request;

    /// It will be asked for after the next but one, or after the next. Any place will do.
    fn is_coming(&self, at: u32);
    fn is_near(&self, at: u32);
}

#[allow(clippy::large_enum_variant, reason = "a lane has one, in place")]
pub(crate) enum Engine {
    #[cfg(target_os = "linux")]
    Uring(uring::Ring),
    Readiness(readiness::Readiness),
}

/// What of an engine lies behind the lane's lock.
pub(crate) enum Queues {
    #[cfg(target_os = "linux")]
    Uring(uring::Queues),
    Readiness(readiness::Queues),
}

#[cfg(target_os = "linux")]
pub(crate) use survey::{pretend_missing, survey};

/// There is no io_uring here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn survey() -> (Option<crate::engine::Obstacle>, Vec<crate::engine::Feature>) {
    (Some(crate::engine::Obstacle::Missing), Vec::new())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pretend_missing(_names: &[&str]) {}

/// Does the same with whichever engine it is.
macro_rules! with {
    ($self:expr, $engine:ident => $do:expr) => {
        match $self {
            #[cfg(target_os = "linux")]
            Self::Uring($engine) => $do,
            Self::Readiness($engine) => $do,
        }
    };
    ($self:expr, $queues:expr, $engine:ident, $its:ident => $do:expr) => {
        match ($self, $queues) {
            #[cfg(target_os = "linux")]
            (Self::Uring($engine), Queues::Uring($its)) => $do,
            (Self::Readiness($engine), Queues::Readiness($its)) => $do,
            #[cfg(target_os = "linux")]
            _ => unreachable!("an engine and its queues are made together"),
        }
    };
}

impl Engine {
    /// `kind`: which one, if it has to be that one.
    pub(crate) fn new(mode: Mode, kind: Option<Kind>) -> Result<(Self, Queues)> {
        choice::make(kind, |kind| match kind {
            #[cfg(target_os = "linux")]
            Kind::IoUring => uring::Ring::new(mode).map(|(ring, queues)| (Self::Uring(ring), Queues::Uring(queues))),
            #[cfg(not(target_os = "linux"))]
            Kind::IoUring => {
                let _ = mode; // any thread may enter the other engine
                Err(crate::Error::IO_URING_MISSING)
            }
            Kind::Readiness => {
                readiness::Readiness::new().map(|(engine, queues)| (Self::Readiness(engine), Queues::Readiness(queues)))
            }
            Kind::Iocp => Err(crate::Error::OTHER_SYSTEMS_ENGINE),
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            #[cfg(target_os = "linux")]
            Self::Uring(_) => Kind::IoUring,
            Self::Readiness(_) => Kind::Readiness,
        }
    }

    /// How much waits for an [`Self::enter`].
    #[inline]
    pub(crate) fn unsubmitted(&self) -> u32 {
        with!(self, engine => engine.unsubmitted())
    }

    /// Hands a request over. It must stay where it is, in its owner's hands, until its completion has been reaped.
    #[inline]
    pub(crate) fn start(&self, queues: &mut Queues, token: Token, request: &mut Request, on: Target) {
        with!(self, queues, engine, queues => engine.start(queues, token, request, on));
    }

    /// Has a descriptor at hand from now on, where the engine can. What it returns is good until [`Self::strike`], and keeps the file open
    /// until then. Of an engine that is owned by its owner.
    pub(crate) fn enlist(&self, queues: &mut Queues, fd: RawFd) -> Option<Place> {
        with!(self, queues, engine, queues => engine.enlist(queues, fd))
    }

    /// Lets go of it. `here`: by a thread that may enter the engine; otherwise it is done when one does.
    pub(crate) fn strike(&self, queues: &mut Queues, place: Place, here: bool) {
        with!(self, queues, engine, queues => engine.strike(queues, place, here));
    }

    /// Does a send at once, of a line that has nothing else, where that is worth while. Returns its result if it has been done, or a part.
    #[inline]
    pub(crate) fn send_now(&self, queues: &mut Queues, request: &Request, fd: RawFd) -> Option<i32> {
        match (self, queues) {
            (Self::Readiness(engine), Queues::Readiness(queues)) => engine.send_now(queues, request, fd),
            #[cfg(target_os = "linux")]
            _ => None,
        }
    }

    /// Hands a standing receive over, which takes buffers of `pool`. Returns the group of those.
    #[inline]
    pub(crate) fn receive_each(&self, queues: &mut Queues, token: Token, fd: RawFd, pool: &Arc<Pool>) -> u16 {
        with!(self, queues, engine, queues => engine.receive_each(queues, token, fd, pool))
    }

    /// Asks for a request to be ended early. Its completion comes in any case.
    pub(crate) fn cancel(&self, queues: &mut Queues, token: Token) {
        with!(self, queues, engine, queues => engine.cancel(queues, token));
    }

    /// Asks for all requests to be ended early.
    pub(crate) fn cancel_all(&self, queues: &mut Queues) {
        with!(self, queues, engine, queues => engine.cancel_all(queues));
    }

    /// Ends the sleep of the thread that waits in [`Self::enter`], or the next one.
    pub(crate) fn wake(&self) {
        with!(self, engine => engine.wake());
    }

    /// Makes [`Self::watch`] work for an engine that is owned. By its owner, who then sleeps in another one.
    pub(crate) fn hang_bell(&self) -> Result<()> {
        with!(self, engine => engine.hang_bell())
    }

    /// One completion [`About::Watched`] when `other`, which is called `name`, has completions or, if it is owned, work.
    pub(crate) fn watch(&self, queues: &mut Queues, other: &Engine, name: usize) {
        let other = with!(other, engine => engine.watchable());
        with!(self, queues, engine, queues => engine.watch(queues, other, name));
    }

    /// Before an [`Self::enter`]. Returns how much there is to submit, and whether something is left besides.
    #[inline]
    pub(crate) fn fill(&self, queues: &mut Queues) -> (u32, bool) {
        with!(self, queues, engine, queues => engine.fill(queues))
    }

    /// After an [`Self::enter`]: how much is left to submit.
    #[inline]
    pub(crate) fn recount(&self, queues: &mut Queues) {
        with!(self, queues, engine, queues => engine.recount(queues));
    }

    /// Lets the kernel see what was handed over and, as `wait` says, sleeps until something has ended. Of a shared engine any thread may.
    #[inline]
    pub(crate) fn enter(&self, to_submit: u32, wait: Wait) -> Result<()> {
        with!(self, engine => engine.enter(to_submit, wait))
    }

    /// Whether there may be completions to reap.
    #[inline]
    pub(crate) fn has_completions(&self) -> bool {
        with!(self, engine => engine.has_completions())
    }

    /// Takes the oldest completions, as many as fit.
    #[inline]
    pub(super) fn reap(&self, queues: &mut Queues, requests: &mut impl Requests, into: &mut Vec<Completion>) {
        match (self, queues) {
            #[cfg(target_os = "linux")]
            (Self::Uring(engine), Queues::Uring(queues)) => engine.reap(queues, into),
            (Self::Readiness(engine), Queues::Readiness(queues)) => into.extend(engine.next(queues, requests)),
            #[cfg(target_os = "linux")]
            _ => unreachable!("an engine and its queues are made together"),
        }
    }

    /// Gives pools' buffers back that have not been used. The engine is done with: nothing is in flight.
    pub(crate) fn retire(&self, queues: &mut Queues) {
        with!(self, queues, engine, queues => engine.retire(queues));
    }

    /// Tops up what the engine has of each pool. Of one that is owned by its owner only.
    #[inline]
    pub(crate) fn refill(&self, queues: &mut Queues) {
        with!(self, queues, engine, queues => engine.refill(queues));
    }
}

impl Queues {
    /// Requests that have been started and not reaped.
    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        with!(self, queues => queues.in_flight())
    }

    /// Accepts no further requests. Those that are in flight are reaped as before.
    pub(crate) fn seal(&mut self) {
        with!(self, queues => queues.seal());
    }

    #[inline]
    pub(crate) fn is_sealed(&self) -> bool {
        with!(self, queues => queues.is_sealed())
    }

    /// Whether there are standing receives.
    #[inline]
    pub(crate) fn has_standing_receives(&self) -> bool {
        with!(self, queues => queues.has_standing_receives())
    }

    pub(crate) fn no_standing_receives(&mut self) {
        with!(self, queues => queues.no_standing_receives());
    }

    /// The buffer of `group` that was chosen, if something was put into it; otherwise it goes back at once. `pool`: whose group it is.
    #[inline(always)]
    pub(crate) fn chosen(&mut self, group: u16, pool: Arc<Pool>, index: u16, result: i32) -> Option<Buffer> {
        with!(self, queues => queues.chosen(group, pool, index, result))
    }

    /// The pool of a standing receive's group.
    #[inline]
    pub(crate) fn pool(&self, group: u16) -> &Arc<Pool> {
        with!(self, queues => queues.pool(group))
    }

    /// A standing receive of `group` is over.
    pub(crate) fn disarm(&mut self, group: u16) {
        with!(self, queues => queues.disarm(group));
    }

    /// Whether there are few buffers of `pool` left.
    pub(crate) fn is_scarce(&self, pool: &Arc<Pool>) -> bool {
        with!(self, queues => queues.is_scarce(pool))
    }

    /// A receive found no buffer of `pool`.
    pub(crate) fn ran_out(&mut self, pool: &Arc<Pool>) {
        with!(self, queues => queues.ran_out(pool));
    }

    /// Whether a receive would find a buffer of `pool`.
    pub(crate) fn has_buffers(&self, pool: &Arc<Pool>) -> bool {
        with!(self, queues => queues.has_buffers(pool))
    }
}
