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

use std::ptr::NonNull;

pub(crate) use handle::Handle;
pub(crate) use port::{MAX_CONCURRENCY, Port};

/// A handle of the system, owned.
pub(crate) type Descriptor = std::os::fd::OwnedFd;

/// Fewer, larger pages for a pool: a ring that goes through its buffers otherwise misses the TLB with each.
pub(crate) fn advise_large_pages(start: NonNull<u8>, len: usize) {
    const PAGE: usize = 4096;
    let skip = start.as_ptr().align_offset(PAGE).min(len);
    let whole = (len - skip) / PAGE * PAGE;
    // SAFETY: the range lies in the caller's allocation; the advice changes no contents. Where there are no such pages it is
    // refused, and nothing is lost.
    let _ = unsafe { rustix::mm::madvise(start.as_ptr().add(skip).cast(), whole, rustix::mm::Advice::LinuxHugepage) };
}
