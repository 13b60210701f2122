//! What does the operations: io_uring or, where that is not to be had, readiness.
//!
//! The library takes io_uring where it works. It does not look at the kernel's version: it asks for what it needs. Where that is refused
//! (container runtimes do by default, some distributions too) or missing, it takes readiness, and a program is the same on both.
//!
//! The environment variable `OVERLAPPED_ENGINE`, set to `uring` or `readiness`, asks for one for the whole process, and
//! [`Builder::engine`](crate::Builder::engine) for one port. Asking for what is not to be had is an error, which says why.
//!
//! ```
//! let report = overlapped::engine::report();
//! match (report.engine, report.obstacle) {
//!     (Ok(engine), None) => println!("{engine}"),
//!     (Ok(engine), Some(obstacle)) => println!("{engine}: {obstacle}"),
//!     (Err(error), _) => println!("none: {error}"),
//! }
//! ```

use std::fmt;

pub use crate::sys::EngineKind as Engine;
use crate::{Error, Result, sys};

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What operations of this process run on, and what there is to say about that. See [`report`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What ports, routines, events and futures run on, unless a port is built with another one; or why there is none.
    pub engine: Result<Engine>,
    /// `OVERLAPPED_ENGINE` asks for it.
    pub forced: bool,
    /// Why io_uring is not to be had. `None`: it works.
    pub obstacle: Option<Obstacle>,
    /// What of io_uring this kernel has, and what it lacks. Empty if it does not even answer.
    pub features: Vec<Feature>,
}

/// Something that a kernel's io_uring may have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Feature {
    /// What it is called.
    pub name: &'static str,
    /// The version of Linux that brought it.
    pub since: &'static str,
    /// What it is good for.
    pub purpose: &'static str,
    /// io_uring is not used without it.
    pub needed: bool,
    /// This kernel has it.
    pub present: bool,
}

/// Why io_uring is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// There is no such system call: the kernel was built without it, or a sandbox hides it (ENOSYS).
    Missing,
    /// The sysctl `kernel.io_uring_disabled` has this value: 1, unprivileged processes may not use it; 2, none may.
    SwitchedOff(u8),
    /// A sandbox forbids it; most often the seccomp profile of a container runtime (EPERM).
    Forbidden,
    /// A security module forbids it: SELinux, say (EACCES).
    Denied,
    /// There is not enough memory, or a limit on locked memory is too low (ENOMEM).
    OutOfMemory,
    /// It lacks something that is needed.
    TooOld,
    /// Something else was in the way.
    Other(Error),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("this kernel has no io_uring, or a sandbox hides it"),
            Self::SwitchedOff(1) => {
                f.write_str("the sysctl kernel.io_uring_disabled is 1: only privileged processes may use io_uring")
            }
            Self::SwitchedOff(value) => {
                write!(f, "the sysctl kernel.io_uring_disabled is {value}: nobody may use io_uring")
            }
            Self::Forbidden => f.write_str("a sandbox forbids io_uring; most often a container's seccomp profile"),
            Self::Denied => f.write_str("a security module, such as SELinux, forbids io_uring"),
            Self::OutOfMemory => f.write_str("io_uring got no memory, or the limit on locked memory is too low"),
            Self::TooOld => f.write_str("this kernel's io_uring lacks something that is needed"),
            Self::Other(error) => error.fmt(f),
        }
    }
}

/// What operations of this process run on, and why not on something else. It asks the kernel each time.
pub fn report() -> Report {
    let (obstacle, features) = sys::survey();
    let (engine, forced) = sys::chosen_engine(obstacle);
    Report { engine, forced, obstacle, features }
}

/// Lets this process believe that its kernel lacks the io_uring operations of these names, as [`Feature::name`] has them. For tests of
/// old kernels.
#[doc(hidden)]
pub fn pretend_missing(names: &[&str]) {
    sys::pretend_missing(names);
}
