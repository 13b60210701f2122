//! What each platform supplies, and the only place in the crate that chooses one.
//!
//! The contract, in the order in which an operation meets it:
//! - [`Port::new`], [`Port::post`], [`Port::dequeue`], [`Port::dequeue_queued`], [`Port::flush`], [`Port::leave`], [`Port::close`],
//!   [`Port::is_closed`], [`Port::concurrency`], [`Port::engine`]: the queue and its workers;
//! - [`Handle::new`]: association, which consumes a [`Descriptor`]; [`Handle::key`], [`Handle::with_descriptor`], [`Handle::descriptor`];
//! - [`Handle::start`]: an [`Operation`] begins, and ends in one [`Ended`] at the port; [`Handle::cancel`], [`Handle::shutdown`],
//!   [`Handle::close`];
//! - [`memory`]: the bytes that the system may write, the same everywhere, with [`advise_large_pages`].

pub(crate) mod memory;
mod operation;
#[cfg(unix)]
mod unix;

pub use operation::OperationId;
pub(crate) use operation::{Delivered, Ended, Kind, Operation};
#[cfg(unix)]
pub(crate) use unix::{Descriptor, Handle, MAX_CONCURRENCY, Port, advise_large_pages};
