//! What does the operations: io_uring or, where that is not to be had, readiness.

pub use crate::sys::EngineKind as Engine;
