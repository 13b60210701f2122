//! Win32's overlapped I/O for C and C++ programs on Linux: the functions behind the headers in `include/`.
//!
//! Each function has the name of the Win32 one with `ovl_` before it; the headers bind the Win32 names to those, so that nothing here
//! collides with the C library. What a function does is what Microsoft's documentation says; what it does not is in `docs/deviations.md`.
//!
//! # Safety
//! Every function asks of its caller what Win32 asks: pointers are null where that is allowed, or point to what the documentation names;
//! buffers and `OVERLAPPED`s of an operation stay where they are until its end has been told; routines do not unwind. Handles are checked:
//! one that is closed, or none at all, is an error and no more.

// Windows has the functions themselves, and what Linux alone has stands behind them here: elsewhere there is nothing.
#![cfg(target_os = "linux")]
#![allow(non_snake_case, reason = "the functions have Win32's names")]

mod boundary;
mod handle;
mod status;
mod types;

// What concerns handles, sockets and completion.
mod address;
mod cancel;
mod disk;
mod file;
mod mswsock;
mod names;
mod network;
mod options;
mod overlapped;
mod pipe;
mod pool;
mod port;
mod process;
mod rendezvous;
mod share;
mod signal;
mod socket;
mod thread;
mod transfer;
mod waits;

// What does not.
mod console;
mod environment;
mod format;
mod memory;
mod sync;
mod text;
mod time;
mod wide;
