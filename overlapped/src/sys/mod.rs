//! What each platform supplies, and the only place in the crate that chooses one.
//!
//! The contract, in the order in which an operation meets it:
//! - [`Port::new`], [`Port::post`], [`Port::dequeue`], [`Port::dequeue_alertable`], [`Port::dequeue_queued`], [`Port::flush`],
//!   [`Port::leave`], [`Port::close`], [`Port::is_closed`], [`Port::concurrency`], [`Port::engine`]: the queue and its workers;
//! - [`Handle::new`] owns a [`Descriptor`]; [`Handle::associate`], [`Handle::key`], [`Handle::with_descriptor`], [`Handle::descriptor`];
//! - [`Handle::start`]: an [`Operation`] begins, and ends in one [`Ended`], which goes the [`Way`] that was asked for: to the port, to a
//!   routine, or into a [`Cell`]; [`Handle::cancel`], [`Handle::shutdown`], [`Handle::close`]; [`Handle::abandon`],
//!   [`Handle::take_back`]: nobody wants the end;
//! - [`thread`]: alertable waits, APCs, and the ways of routines, events and futures; [`Event`]: flags and the waits for them;
//! - [`EngineKind`], [`survey`], [`chosen_engine`], [`pretend_missing`]: what does the operations, and why;
//! - [`InFlight`]: what a [`Request`] needs besides;
//! - [`open_options`]: how files are opened; [`is_code_of`] and `errnos`: how the system numbers its errors;
//! - [`memory`]: the bytes that the system may write, the same everywhere, with [`advise_large_pages`].

mod cell;
mod lock;
pub(crate) mod memory;
mod operation;
mod timers;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub(crate) use cell::Cell;
#[cfg(unix)]
pub(crate) use operation::recycle::Spare;
pub(crate) use operation::{Delivered, Ended, Operation, Request};
#[cfg_attr(windows, allow(unreachable_pub, reason = "only the C face names kinds, and it is for Linux"))]
pub use operation::{Kind, OperationId};
#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

pub(crate) use platform::{
    Descriptor, Event, Handle, InFlight, MAX_CONCURRENCY, Port, Way, advise_large_pages, chosen_engine, errnos,
    is_code_of, open_options, pretend_missing, survey, thread,
};

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// This event was set; of a wait for all, 0.
    Signalled(usize),
    /// Routines or APCs ran; no event was consumed. Win32: `WAIT_IO_COMPLETION`.
    Routines,
}

/// What does the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum EngineKind {
    /// io_uring: operations are the kernel's, and so are their ends. Linux 5.19 or later, where it is allowed.
    IoUring = 1,
    /// Readiness (epoll, kqueue): the library tries an operation, waits until it would not wait, and tries again.
    Readiness = 2,
    /// Windows' own completion ports.
    Iocp = 3,
}

impl EngineKind {
    /// Its name: `io_uring`, `readiness` or `iocp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Readiness => "readiness",
            Self::Iocp => "iocp",
        }
    }
}

/// Nobody needs the C face where the real one is.
#[cfg(not(unix))]
pub(crate) mod raw {}
#[cfg(unix)]
pub(crate) use unix::raw;
