//! `OVERLAPPED`: the state of an operation that its caller can see, and the questions about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::Instant;

use overlapped::raw;

use crate::boundary::boundary;
use crate::file::{self, File};
use crate::handle::{self, Object};
use crate::signal::{self, Signal, WAIT_IO_COMPLETION, WAIT_OBJECT_0};
use crate::status;
use crate::types::*;

/// `OVERLAPPED` and `WSAOVERLAPPED`, as Windows lays them out. All that we keep of an operation is elsewhere.
#[repr(C)]
pub struct Overlapped {
    /// The status. Written last, with release order.
    pub internal: AtomicUsize,
    /// The bytes.
    pub internal_high: AtomicUsize,
    /// Of a file, the offset's low half.
    pub offset: DWORD,
    /// Of a file, the offset's high half.
    pub offset_high: DWORD,
    /// An event or null; with a routine, the program's own.
    pub event: HANDLE,
}

const _: () = assert!(size_of::<Overlapped>() == 32 && std::mem::offset_of!(Overlapped, event) == 24);

impl Overlapped {
    /// The offset in a file.
    pub(crate) fn offset(&self) -> u64 {
        u64::from(self.offset_high) << 32 | u64::from(self.offset)
    }

    pub(crate) fn begin(&self) {
        self.internal.store(status::PENDING as usize, Release);
    }

    /// Release: who sees the status sees the bytes, and what was received.
    #[inline]
    pub(crate) fn finish(&self, status: DWORD, bytes: usize) {
        self.internal_high.store(bytes, Relaxed);
        self.internal.store(status as usize, Release);
    }

    pub(crate) fn status(&self) -> Option<DWORD> {
        match self.internal.load(Acquire) as DWORD {
            status::PENDING => None,
            status => Some(status),
        }
    }
}

/// How a question about a result ended: the status, or why there is none.
enum Answer {
    Ended(DWORD),
    Not(Code),
}

/// Looks at an operation's result, and waits for it if it is not there.
fn ask(
    file: Option<&Arc<File>>,
    overlapped: &Overlapped,
    deadline: Option<Instant>,
    poll: bool,
    alertable: bool,
) -> Outcome<Answer> {
    if overlapped.status().is_none()
        && let Some(file) = file
    {
        file.raw.look();
    }
    if let Some(status) = overlapped.status() {
        return Ok(Answer::Ended(status));
    }
    if poll {
        raw::flush();
        return Ok(Answer::Not(Code::IO_INCOMPLETE));
    }
    // For the event, or else the handle; not for the status.
    let event: Arc<Signal> = match signal::of_overlapped(overlapped.event)? {
        Some(event) => event,
        None => file.ok_or(Code::INVALID_HANDLE)?.signal(),
    };
    match signal::wait(&[event], false, deadline, alertable) {
        WAIT_OBJECT_0 => Ok(match overlapped.status() {
            Some(status) => Answer::Ended(status),
            None => Answer::Not(Code::IO_INCOMPLETE),
        }),
        WAIT_IO_COMPLETION => Ok(Answer::Not(Code::WAIT_IO_COMPLETION)),
        _ => Ok(Answer::Not(Code::WAIT_TIMEOUT)),
    }
}

/// Gives the bytes, and the error of the status, if it is one.
///
/// # Safety
/// `bytes` is null or the caller's variable.
unsafe fn tell(
    overlapped: &Overlapped,
    answer: Answer,
    bytes: *mut DWORD,
    code: impl Fn(DWORD) -> Code,
) -> Outcome<BOOL> {
    let status = match answer {
        Answer::Ended(status) => status,
        Answer::Not(code) => return Err(code),
    };
    if !bytes.is_null() {
        // SAFETY: the caller's promise.
        unsafe { bytes.write(overlapped.internal_high.load(Relaxed) as DWORD) };
    }
    if status::is_success(status) { Ok(TRUE) } else { Err(code(status)) }
}

/// # Safety
/// Of `GetOverlappedResultEx`.
unsafe fn get_result(
    handle: HANDLE,
    overlapped: *const Overlapped,
    bytes: *mut DWORD,
    ms: DWORD,
    alertable: BOOL,
) -> Outcome<BOOL> {
    // SAFETY: null, or the caller's.
    let overlapped = unsafe { overlapped.as_ref() }.ok_or(Code::INVALID_PARAMETER)?;
    let file = match handle::find(handle as usize) {
        Some(Object::File(file)) => Some(file),
        _ => None, // asked for only if there is something to wait for
    };
    let answer = ask(file.as_ref(), overlapped, signal::deadline(ms), ms == 0, alertable != FALSE)?;
    // SAFETY: the caller's promise.
    unsafe { tell(overlapped, answer, bytes, status::win32) }
}

boundary! {
    /// `GetOverlappedResult`.
    fn ovl_GetOverlappedResult(handle: HANDLE, overlapped: *const Overlapped, bytes: *mut DWORD, wait: BOOL) -> BOOL, else (FALSE) {
        // SAFETY: the caller's promise.
        unsafe { get_result(handle, overlapped, bytes, if wait != FALSE { INFINITE } else { 0 }, FALSE) }
    }

    /// `GetOverlappedResultEx`.
    fn ovl_GetOverlappedResultEx(handle: HANDLE, overlapped: *const Overlapped, bytes: *mut DWORD, ms: DWORD, alertable: BOOL) -> BOOL, else (FALSE) {
        // SAFETY: the caller's promise.
        unsafe { get_result(handle, overlapped, bytes, ms, alertable) }
    }

    /// `WSAGetOverlappedResult`.
    fn ovl_WSAGetOverlappedResult(s: SOCKET, overlapped: *const Overlapped, bytes: *mut DWORD, wait: BOOL, flags: *mut DWORD) -> BOOL, winsock else (FALSE) {
        let file = file::socket(s)?;
        // SAFETY: null, or the caller's.
        let overlapped = unsafe { overlapped.as_ref() }.ok_or(Code::WSAEFAULT)?;
        if bytes.is_null() || flags.is_null() {
            return Err(Code::WSAEFAULT);
        }
        let answer = ask(Some(&file), overlapped, None, wait == FALSE, false)?;
        // SAFETY: not null, so the caller's variables.
        unsafe {
            flags.write(0);
            tell(overlapped, answer, bytes, status::winsock)
        }
    }
}
