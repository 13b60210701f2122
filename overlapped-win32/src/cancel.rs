//! Cancelling, and what else is said of operations from outside.

use std::sync::Arc;

use crate::boundary::boundary;
use crate::file::File;
use crate::handle::{self, Object};
use crate::overlapped::Overlapped;
use crate::signal::this_thread;
use crate::thread;
use crate::types::*;

pub(crate) fn file(handle: HANDLE) -> Outcome<Arc<File>> {
    match handle::object(handle)? {
        Object::File(file) => Ok(file),
        _ => Err(Code::INVALID_HANDLE),
    }
}

boundary! {
    /// `CancelIo`: what the calling thread has started.
    fn ovl_CancelIo(handle: HANDLE) -> BOOL, else (FALSE) {
        let me = this_thread();
        file(handle)?.cancel(|tag| tag.thread == me);
        Ok(TRUE)
    }

    /// `CancelIoEx`: one operation or, if it is null, all.
    fn ovl_CancelIoEx(handle: HANDLE, overlapped: *const Overlapped) -> BOOL, else (FALSE) {
        let name = overlapped as usize;
        match file(handle)?.cancel(|tag| name == 0 || tag.overlapped == name) {
            true => Ok(TRUE),
            false => Err(Code::NOT_FOUND),
        }
    }

    /// `CancelSynchronousIo`.
    fn ovl_CancelSynchronousIo(handle: HANDLE) -> BOOL, else (FALSE) {
        match thread::of_handle(handle)?.interrupt() {
            true => Ok(TRUE),
            false => Err(Code::NOT_FOUND),
        }
    }

    /// `SetFileCompletionNotificationModes`.
    fn ovl_SetFileCompletionNotificationModes(handle: HANDLE, modes: u8) -> BOOL, else (FALSE) {
        let file = file(handle)?;
        if !file.overlapped {
            return Err(Code::INVALID_PARAMETER);
        }
        file.add_modes(modes);
        Ok(TRUE)
    }

    /// `DuplicateHandle`, within this process.
    fn ovl_DuplicateHandle(_from: HANDLE, handle: HANDLE, _to: HANDLE, target: *mut HANDLE, _access: DWORD, _inherit: BOOL, options: DWORD) -> BOOL, else (FALSE) {
        const DUPLICATE_CLOSE_SOURCE: DWORD = 1;
        let object = match handle as isize {
            thread::THIS_THREAD => Object::Thread(thread::current()),
            _ => handle::object(handle)?,
        };
        if !target.is_null() {
            let duplicate = handle::give(object)?;
            // SAFETY: not null, so the caller's variable.
            unsafe { target.write(duplicate) };
        }
        if options & DUPLICATE_CLOSE_SOURCE != 0
            && let Some(object) = handle::take(handle as usize, |_| true)
        {
            object.closed();
        }
        Ok(TRUE)
    }
}
