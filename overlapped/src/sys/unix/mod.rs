//! Linux: here we are the kernel that Windows programs expect.
//!
//! The way of an operation, from top to bottom: [`handle`] takes it and puts it in line, [`engine`] starts it, the kernel does
//! it, [`lane`] reaps it, [`handle`] decides what that means, and [`port`] gives the packet to a worker.

mod cancel;
mod engine;
mod handle;
mod lane;
mod monitor;
mod port;
mod request;
mod standing;
mod timers;
mod worker;

pub(crate) use handle::Handle;
pub(crate) use port::{MAX_CONCURRENCY, Port};

/// A handle of the system, owned.
pub(crate) type Descriptor = std::os::fd::OwnedFd;
