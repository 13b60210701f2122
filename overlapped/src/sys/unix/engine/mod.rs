//! What starts operations and learns of their end. There is one engine today, io_uring; a second one has this method set:
//!
//! - `new() -> (Engine, Reaper)`: the reaper is the right to take completions, held by one thread at a time;
//! - `start(request, fd)`, `cancel(request)`, `cancel_all()`: hand over, without waiting;
//! - `enter(wait)`: let the kernel see what was handed over, and sleep until something ends;
//! - `reap(reaper, |event|)`: what ended;
//! - `wake()`: end another thread's sleep; `watch(engine)`: be woken when another engine has completions;
//! - `seal()`: accept no more; `in_flight()`, `unsubmitted()`, `has_completions()`.

mod uring;

pub(super) use uring::{Event, InKernel, Reaper, Ring as Engine, Wait};
