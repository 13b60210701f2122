//! Which engine. io_uring where it works, and readiness where it does not; or the one that was asked for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::{Error, Result};

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(unreachable_pub, reason = "the public name is in `engine`")]
#[non_exhaustive]
pub enum Kind {
    /// io_uring: operations are the kernel's, and so are their ends. Linux 5.19 or later, where it is allowed.
    IoUring = 1,
    /// Readiness (epoll, kqueue): the library tries an operation, waits until it would not wait, and tries again.
    Readiness = 2,
}

impl Kind {
    /// Its name: `io_uring` or `readiness`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Readiness => "readiness",
        }
    }
}

/// What was found to work here, once that is known.
static FOUND: AtomicU8 = AtomicU8::new(0);

/// What `OVERLAPPED_ENGINE` says. Looked at once: a process does not change its engine as it goes.
pub(super) fn asked_for() -> Result<Option<Kind>> {
    static ASKED: OnceLock<Result<Option<Kind>>> = OnceLock::new();
    *ASKED.get_or_init(|| match std::env::var_os("OVERLAPPED_ENGINE") {
        None => Ok(None),
        Some(name) => match name.to_str() {
            Some("") => Ok(None),
            Some("uring" | "io_uring") => Ok(Some(Kind::IoUring)),
            Some("readiness") => Ok(Some(Kind::Readiness)),
            _ => Err(Error::UNKNOWN_ENGINE),
        },
    })
}

/// Whether readiness may take the place of an io_uring that fails in this way. A shortage of descriptors, say, would be its own as well.
pub(super) fn is_unavailable(error: Error) -> bool {
    [
        Error::IO_URING_MISSING,
        Error::IO_URING_FORBIDDEN,
        Error::IO_URING_TOO_OLD,
        Error::NOT_ENOUGH_MEMORY, // a limit on locked memory
    ]
    .contains(&error)
}

/// Makes an engine: of this kind, of the one that the environment asks for, or of the one that works.
pub(super) fn make<T>(kind: Option<Kind>, mut make: impl FnMut(Kind) -> Result<T>) -> Result<T> {
    let wanted = match kind {
        Some(kind) => Some(kind),
        None => asked_for()?.or(match FOUND.load(Ordering::Relaxed) {
            1 => Some(Kind::IoUring),
            2 => Some(Kind::Readiness),
            _ => None,
        }),
    };
    if let Some(kind) = wanted {
        return make(kind);
    }
    let (found, made) = match make(Kind::IoUring) {
        Err(error) if is_unavailable(error) => (Kind::Readiness, make(Kind::Readiness)),
        made => (Kind::IoUring, made),
    };
    if made.is_ok() {
        FOUND.store(found as u8, Ordering::Relaxed);
    }
    made
}
