//! Programs for Windows, compiled by `ovl cc` and `ovl c++` and run.

// Elsewhere there is nothing to compile them with.
#![cfg(target_os = "linux")]

mod bench;
mod demo;
mod headers;
mod names;
mod programs;
