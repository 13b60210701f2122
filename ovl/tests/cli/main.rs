//! The built program, as its users run it.

mod client;
mod demo;
mod load;
mod models;
mod serve;
mod support;
mod trace;
