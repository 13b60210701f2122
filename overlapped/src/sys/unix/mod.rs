//! Linux, and the other Unixes: here we are the kernel that Windows programs expect.
//!
//! The way of an operation, from top to bottom: [`handle`] takes it, [`mod@line`] puts it in order, [`engine`] starts it, the kernel does
//! it, [`lane`] reaps it, [`mod@line`] decides what that means, and the end goes its [`Way`]: to a worker of a [`port`], or to the
//! [`thread`] that hears of it, which runs the routine, or fills the cell and sets the event.

mod engine;
mod event;
mod handle;
mod host;
mod lane;
mod line;
mod monitor;
mod port;
mod queue;
pub(crate) mod raw;
mod request;
pub(crate) mod thread;
use super::timers;
mod worker;

use std::sync::Arc;

use super::Cell;
pub(crate) use engine::choice::chosen as chosen_engine;
pub(crate) use engine::{pretend_missing, survey};
pub(crate) use event::Event;
pub(crate) use handle::Handle;
pub(crate) use host::advise_large_pages;
pub(crate) use port::{MAX_CONCURRENCY, Port};
#[allow(unreachable_pub, reason = "a field of a type that a sealed trait names")]
pub use request::InFlight;

/// A handle of the system, owned.
pub(crate) type Descriptor = std::os::fd::OwnedFd;

/// Who is told of the end of an operation.
pub(crate) enum Way {
    /// The port that the handle is associated with.
    Port,
    /// The routine that a thread keeps at this place. `home`: that thread's lane.
    Routine { home: u32, at: usize },
    /// Whoever looks into the cell. `home`: the lane of the thread that fills it.
    Cell { home: u32, cell: Arc<Cell> },
    /// A listener of the C face, which says at the end where that goes.
    Raw(Box<raw::Raw>), // boxed, so that the others stay small
}

impl Way {
    /// The thread's lane in which such an operation is to be issued.
    #[inline]
    fn home(&self) -> Option<u32> {
        match self {
            Self::Port => None,
            Self::Routine { home, .. } | Self::Cell { home, .. } => Some(*home),
            Self::Raw(raw) => raw.home(),
        }
    }

    #[inline]
    fn is_at_home(&self, lane: &lane::Lane) -> bool {
        self.home().is_none_or(|home| home == lane.id)
    }

    /// Whether its routine is to run on the thread of this lane.
    fn runs_in(&self, lane: u32) -> bool {
        match self {
            Self::Port | Self::Cell { .. } => false,
            Self::Routine { home, .. } => *home == lane,
            Self::Raw(raw) => raw.runs_in(lane),
        }
    }

    /// Its routine was to run on a thread that has ended. `ended`: that of `lane` has.
    #[inline]
    fn is_dead(&self, lane: &lane::Lane, ended: bool) -> bool {
        ended && self.runs_in(lane.id)
    }

    /// For something more of a standing accept, which only ports have.
    fn again(&self) -> Self {
        debug_assert!(matches!(self, Self::Port));
        Self::Port
    }
}

/// Whether `code`, the system's, is the failure that has these numbers.
pub(crate) fn is_code_of(code: i32, errnos: &[i32], _win32: u32, _winsock: u32) -> bool {
    errnos.contains(&code)
}

/// The numbers of these names.
macro_rules! errnos {
    ($($errno:ident)*) => {
        &[$(libc::$errno),*]
    };
}
pub(crate) use errnos;

/// How a file is opened.
pub(crate) fn open_options() -> std::fs::OpenOptions {
    std::fs::OpenOptions::new()
}

/// Asks the processor to fetch the first two cache lines of what lies at `place`, without waiting for it.
///
/// Between locked instructions no two cache misses overlap, unless they are asked for.
#[inline(always)]
fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of::<T>().min(128)).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which neither reads nor faults, whatever the address.
        unsafe { _mm_prefetch(place.cast::<i8>().wrapping_add(line), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place; // elsewhere its intrinsic is not stable
}
