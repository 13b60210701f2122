//! What the echo servers and the driver have in common.
//!
//! - [`server`]: the options and the behaviour every echo server shares, so that they differ only in how they wait.
//! - [`ring`]: the provided-buffer ring and the ring set-up used by the bare io_uring server and by the driver.
//! - [`protocol`]: what the driver is told and what it answers.
//!
//! The servers are `src/bin/echo-*.rs`, the driver is `src/bin/driver.rs`, the runner is `src/main.rs`.

pub mod protocol;
pub mod ring;
pub mod server;
