//! What the library tells `tracing`, in one place: every event and span, all with the target `overlapped` and the level TRACE.
//!
//! Without the feature `tracing` all of this is empty. With it, and with no subscriber that wants the level, each call is one relaxed
//! load and a branch; its arguments are looked into only behind that.
//!
//! | event | when | fields |
//! |---|---|---|
//! | `issued` | an operation is about to start | `id`, `operation`, `handle` |
//! | `completed` | it has ended; of a standing accept: each time, and the last time it is called `accept` | `id`, `operation`, `handle`, `result`: bytes, or the error as text |
//! | `queued` | its packet lies in the queue of a lane | `id`, `lane` |
//! | `dequeued` | a worker has taken the packet | `id` |
//! | `posted` | a message lies in a port's queue | |
//! | `released` | a worker that waited is let go, with a lane | `worker`, `lane` |
//! | `handed_over` | a blocked worker's lane goes to another | `lane`, `from`, `to` |
//! | `apc_queued` | an APC lies in a thread's queue | |
//!
//! | span | while | fields |
//! |---|---|---|
//! | `routine` | a completion routine runs | `id` |
//! | `apc` | an APC runs | |
//! | `alertable` | a thread is in an alertable wait, asleep or running what that wait is for | `timeout_ms`, if there is one |
//! | `wait` | a thread sleeps: a worker in its lane or aside, a thread in a wait of any kind | |
//!
//! Workers and threads are named by the system's numbers.
//!
//! A subscriber is foreign code: call these with as few locks held as can be, and `issued` before anybody can see the end.

use std::time::Duration;

use crate::Result;
use crate::sys::{Handle, Operation, OperationId};

macro_rules! vocabulary {
    (
        $(event $event:ident($($arg:ident: $type:ty),*) { $($field:ident = $value:expr),* })*
        $(span $span:ident($($span_arg:ident: $span_type:ty),*) { $($span_field:ident = $span_value:expr),* })*
    ) => {
        $(
            #[inline(always)]
            #[cfg_attr(not(feature = "tracing"), allow(unused_variables))]
            #[cfg_attr(windows, allow(dead_code, reason = "there the kernel schedules, and tells nobody"))]
            pub(crate) fn $event($($arg: $type),*) {
                #[cfg(feature = "tracing")]
                tracing::event!(
                    name: stringify!($event), target: "overlapped", tracing::Level::TRACE,
                    $($field = $value,)* stringify!($event)
                );
            }
        )*
        $(
            #[inline(always)]
            #[cfg_attr(not(feature = "tracing"), allow(unused_variables))]
            pub(crate) fn $span($($span_arg: $span_type),*) -> Span {
                Span {
                    #[cfg(feature = "tracing")]
                    _entered: tracing::trace_span!(target: "overlapped", stringify!($span), $($span_field = $span_value),*).entered(),
                }
            }
        )*
    };
}

vocabulary! {
    event issued(id: OperationId, operation: &Operation, handle: &Handle) {
        id = number(id), operation = name(operation), handle = descriptor(handle)
    }
    event queued(id: OperationId, lane: u32) { id = number(id), lane = lane }
    event dequeued(id: OperationId) { id = number(id) }
    event posted() {}
    event released(worker: i32, lane: u32) { worker = worker, lane = lane }
    event handed_over(lane: u32, from: i32, to: i32) { lane = lane, from = from, to = to }
    event apc_queued() {}

    span routine(id: OperationId) { id = number(id) }
    span apc() {}
    span alertable(timeout: Option<Duration>) { timeout_ms = timeout.map(|timeout| timeout.as_millis() as u64) }
    span wait() {}
}

/// The one event whose field has two types.
#[inline(always)]
#[cfg_attr(not(feature = "tracing"), allow(unused_variables))]
pub(crate) fn completed(id: OperationId, operation: &Operation, handle: &Handle, result: Result<usize>) {
    #[cfg(feature = "tracing")]
    match result {
        Ok(bytes) => tracing::event!(
            name: "completed", target: "overlapped", tracing::Level::TRACE,
            id = number(id), operation = name(operation), handle = descriptor(handle), result = bytes, "completed"
        ),
        Err(error) => tracing::event!(
            name: "completed", target: "overlapped", tracing::Level::TRACE,
            id = number(id), operation = name(operation), handle = descriptor(handle), result = %error, "completed"
        ),
    }
}

/// A span that ends when this is dropped, on the thread that began it.
#[must_use = "the span ends when this is dropped"]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::EnteredSpan,
}

#[cfg(feature = "tracing")]
fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Accept { standing: true, .. } => "accept_each",
        Operation::Accept { standing: false, .. } => "accept",
        Operation::Connect { .. } => "connect",
        Operation::Recv { .. } => "recv",
        Operation::RecvPooled { .. } => "recv_pooled",
        Operation::Send { .. } => "send",
        Operation::SendVectored { .. } => "send_vectored",
        Operation::RecvFrom { .. } => "recv_from",
        Operation::RecvVectored { .. } => "recv_vectored",
        Operation::SendTo { .. } => "send_to",
        Operation::ReadAt { .. } => "read_at",
        Operation::WriteAt { .. } => "write_at",
        Operation::Sync { .. } => "sync",
    }
}

#[cfg(feature = "tracing")]
fn number(id: OperationId) -> u64 {
    id.0
}

/// By which other tools know it too.
#[cfg(feature = "tracing")]
#[allow(
    clippy::useless_conversion,
    reason = "a handle's number is as wide as this on Windows, and a descriptor's narrower"
)]
fn descriptor(handle: &Handle) -> i64 {
    handle.raw_fd().into()
}
