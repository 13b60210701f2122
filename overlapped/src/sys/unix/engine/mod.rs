//! What starts operations and learns of their end. There is one engine today, io_uring; a second one has this method set, and lies in
//! two parts as this one does. Any thread may use an `Engine` at any time; `Queues` lie behind the lock of their lane.
//!
//! - `new(mode) -> (Engine, Queues)`: for any thread, or for the calling one only;
//! - `start(queues, token, request, fd)`, `receive_each`, `cancel(queues, token)`, `cancel_all(queues)`: hand over, without waiting;
//! - `fill(queues)`, `enter(wait)`, `recount(queues)`: let the kernel see what was handed over, and sleep until something ends;
//! - `next(queues)`: what ended; `has_completions()`, `unsubmitted()`: whether there is something to do, without the lock;
//! - `wake()`: end another thread's sleep; `watch(queues, engine)`: be woken when another engine has completions;
//! - of the queues: `seal()`: accept no more; `in_flight()`; and the buffers of pools.

mod uring;

pub(super) use uring::{About, Completion, Mode, Queues, Ring as Engine, Token, Wait};
