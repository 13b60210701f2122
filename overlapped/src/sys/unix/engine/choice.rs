//! Which engine. io_uring where it works, and readiness where it does not; or the one that was asked for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::engine::Obstacle;
pub(super) use crate::sys::EngineKind as Kind;
use crate::{Error, Result};

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

/// What the process's operations run on, if `obstacle` is what keeps them from io_uring; and whether that was asked for.
pub(crate) fn chosen(obstacle: Option<Obstacle>) -> (Result<Kind>, bool) {
    let error = match obstacle {
        None => None,
        Some(Obstacle::Missing) => Some(Error::IO_URING_MISSING),
        Some(Obstacle::SwitchedOff(_) | Obstacle::Forbidden | Obstacle::Denied) => Some(Error::IO_URING_FORBIDDEN),
        Some(Obstacle::OutOfMemory) => Some(Error::NOT_ENOUGH_MEMORY),
        Some(Obstacle::TooOld) => Some(Error::IO_URING_TOO_OLD),
        Some(Obstacle::Other(error)) => Some(error),
    };
    match (asked_for(), error) {
        (Err(error), _) => (Err(error), true),
        (Ok(Some(Kind::IoUring)), Some(error)) => (Err(error), true),
        (Ok(Some(kind)), _) => (Ok(kind), true),
        (Ok(None), Some(error)) if is_unavailable(error) => (Ok(Kind::Readiness), false),
        (Ok(None), Some(error)) => (Err(error), false),
        (Ok(None), None) => (Ok(Kind::IoUring), false),
    }
}
