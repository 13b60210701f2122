//! Windows: the kernel is the implementation, and this passes on to it.
//!
//! The way of an operation, from top to bottom: [`handle`] takes it, makes a [`record`] and gives that to the kernel, which does the rest and
//! queues a packet to a completion [`port`]: that of the program, whose workers take it from there, or for free handles that of the
//! library, whose thread ([`library`]) runs no code of the program but wakers: it fills the cell, or queues the end to the
//! [`thread`] that hears of it and rings it up with an APC.
//!
//! Free handles do not use completion routines of the kernel. AcceptEx and ConnectEx have none; one that a thread has not run when it
//! exits takes with it the only word that the kernel has let go of a buffer; a panic cannot go through the kernel's dispatcher; and
//! what is awaited or waited for must not end with the thread that happened to start it. The alertable wait itself is the
//! kernel's, and so is the queue's doorbell.

mod event;
mod handle;
mod iocp;
mod library;
mod port;
mod record;
pub(crate) mod thread;

use std::fs::OpenOptions;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, AsRawHandle, AsRawSocket, AsSocket, BorrowedSocket, OwnedHandle, OwnedSocket};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{GetLastError, HANDLE, RtlNtStatusToDosError};
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;
use windows_sys::Win32::System::Threading::INFINITE;

use super::{Cell, EngineKind, timers};
use crate::engine::{Feature, Obstacle};
use crate::{Error, Result};
pub(crate) use event::Event;
pub(crate) use handle::Handle;
pub(crate) use port::{MAX_CONCURRENCY, Port};
use thread::Being;

/// A handle of the system, owned. Sockets are closed by another call than files.
#[derive(Debug)]
pub(crate) enum Descriptor {
    Socket(OwnedSocket),
    File(OwnedHandle),
}

impl Descriptor {
    /// What the calls for handles of all kinds want. A socket of the system's own providers is such a handle.
    fn raw(&self) -> HANDLE {
        match self {
            Self::Socket(socket) => socket.as_raw_socket() as usize as HANDLE,
            Self::File(file) => file.as_handle().as_raw_handle(),
        }
    }
}

impl From<socket2::Socket> for Descriptor {
    fn from(socket: socket2::Socket) -> Self {
        Self::Socket(socket.into())
    }
}

impl From<std::fs::File> for Descriptor {
    fn from(file: std::fs::File) -> Self {
        Self::File(file.into())
    }
}

impl AsSocket for Descriptor {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        match self {
            Self::Socket(socket) => socket.as_socket(),
            Self::File(_) => unreachable!("only sockets have options"),
        }
    }
}

/// Who is told of the end of an operation.
pub(crate) enum Way {
    /// The port that the handle is associated with.
    Port,
    /// The routine that a thread keeps at this place.
    Routine { thread: Arc<Being>, at: usize },
    /// Whoever looks into the cell.
    Cell(Arc<Cell>),
}

/// What a request needs besides while it is in flight. What the kernel touches is in the request's [`record`].
#[derive(Default)]
#[allow(unreachable_pub, reason = "a field of a type that a sealed trait names")]
pub struct InFlight {
    deadline: Option<Instant>,
    /// Where what it received stands in the stream: the receive that brought it, and the byte of that.
    position: (u64, u64),
}

/// Whether `code`, the system's, is the failure that has these numbers: Win32's, or Winsock's.
pub(crate) fn is_code_of(code: i32, _errnos: &[i32], win32: u32, winsock: u32) -> bool {
    // Of Winsock's codes that stand for several failures, those rows are not what a call means that fails with one.
    let rare = [Error::INVALID_HANDLE, Error::HANDLE_EOF, Error::INSUFFICIENT_BUFFER].map(Error::code).contains(&win32);
    code as u32 == win32 || code as u32 == winsock && !rare
}

/// The numbers of these names: there are none here.
macro_rules! errnos {
    ($($errno:ident)*) => {
        &[]
    };
}
pub(crate) use errnos;

/// How a file is opened whose operations are to be overlapped.
pub(crate) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(FILE_FLAG_OVERLAPPED);
    options
}

/// Nothing to be done: large pages are a privilege here.
pub(crate) fn advise_large_pages(_start: NonNull<u8>, _len: usize) {}

/// What the last call of this thread failed with.
fn last_error() -> Error {
    // SAFETY: reads a number of this thread.
    Error::from_errno(unsafe { GetLastError() } as i32)
}

/// What an NTSTATUS means, as `GetQueuedCompletionStatus` would translate it.
fn outcome(status: usize) -> Result<()> {
    let status = status as u32 as i32;
    // SAFETY: translates a number.
    if status >= 0 { Ok(()) } else { Err(Error::from_errno(unsafe { RtlNtStatusToDosError(status) } as i32)) }
}

/// The time until `deadline` in milliseconds, rounded up; a finite one never becomes infinite.
fn millis_until(deadline: Option<Instant>) -> u32 {
    let Some(deadline) = deadline else { return INFINITE };
    let left = deadline.saturating_duration_since(Instant::now());
    let millis = left.as_nanos().div_ceil(Duration::from_millis(1).as_nanos());
    u32::try_from(millis).unwrap_or(INFINITE).min(INFINITE - 1)
}

/// There is one engine, the kernel's own, and nothing in its way.
pub(crate) fn survey() -> (Option<Obstacle>, Vec<Feature>) {
    (None, Vec::new())
}

/// What the process's operations run on, and whether that was asked for: the environment has nothing to choose here.
pub(crate) fn chosen_engine(_obstacle: Option<Obstacle>) -> (Result<EngineKind>, bool) {
    (Ok(EngineKind::Iocp), false)
}

pub(crate) fn pretend_missing(_names: &[&str]) {}
