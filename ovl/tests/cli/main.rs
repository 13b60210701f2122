//! The built program, as its users run it.

// They use signals, and what Unix says of processes; elsewhere `ci/windows` tries the tool.
#![cfg(unix)]

mod client;
mod demo;
#[cfg(target_os = "linux")]
mod doctor;
mod load;
mod models;
#[cfg(target_os = "linux")]
mod refusal;
mod serve;
mod support;
mod trace;
