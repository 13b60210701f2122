//! The process: its end, and what belongs to each of its threads.

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::{Mutex, Once};

use overlapped::raw;

use crate::boundary::{boundary, set_last_error};
use crate::handle::lock;
use crate::thread::STILL_ACTIVE;
use crate::types::*;

/// What `GetCurrentProcess` gives.
const THIS_PROCESS: isize = -1;
const TLS_OUT_OF_INDEXES: DWORD = DWORD::MAX;
const MOST_SLOTS: usize = 1088;

static SLOTS: Mutex<Vec<bool>> = Mutex::new(Vec::new());

thread_local! {
    static VALUES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Sees to it that what was sent leaves before the process ends.
pub(crate) fn mind_the_end() {
    static ONCE: Once = Once::new();
    extern "C" fn at_exit() {
        let _ = std::panic::catch_unwind(raw::flush_all);
    }
    ONCE.call_once(|| {
        // SAFETY: a function that lives as long as the process.
        unsafe { libc::atexit(at_exit) };
    });
}

fn slot(index: DWORD) -> Outcome<usize> {
    match lock(&SLOTS).get(index as usize) {
        Some(true) => Ok(index as usize),
        _ => Err(Code::INVALID_PARAMETER),
    }
}

/// `ExitProcess`. What is registered with `atexit` runs, and streams are flushed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ovl_ExitProcess(code: u32) -> ! {
    // SAFETY: the caller's promise.
    unsafe { libc::exit(code as i32) }
}

boundary! {
    /// `TerminateProcess`, of this one.
    fn ovl_TerminateProcess(process: HANDLE, code: u32) -> BOOL, else (FALSE) {
        match process as isize {
            // SAFETY: nothing of this process goes on.
            THIS_PROCESS => unsafe { libc::_exit(code as i32) },
            _ => Err(Code::INVALID_HANDLE),
        }
    }

    /// `GetExitCodeProcess`, of this one: it has not ended.
    fn ovl_GetExitCodeProcess(process: HANDLE, code: *mut DWORD) -> BOOL, else (FALSE) {
        if process as isize != THIS_PROCESS {
            return Err(Code::INVALID_HANDLE);
        }
        if code.is_null() {
            return Err(Code::NOACCESS);
        }
        // SAFETY: not null, so the caller's variable.
        unsafe { code.write(STILL_ACTIVE) };
        Ok(TRUE)
    }

    /// `GetCurrentProcess`.
    fn ovl_GetCurrentProcess() -> isize {
        THIS_PROCESS
    }

    /// `GetCurrentProcessId`.
    fn ovl_GetCurrentProcessId() -> DWORD {
        std::process::id()
    }

    /// `TlsAlloc`.
    fn ovl_TlsAlloc() -> DWORD, else (TLS_OUT_OF_INDEXES) {
        let mut slots = lock(&SLOTS);
        let index = match slots.iter().position(|used| !used) {
            Some(index) => index,
            None if slots.len() < MOST_SLOTS => {
                slots.push(false);
                slots.len() - 1
            }
            None => return Err(Code::NOT_ENOUGH_MEMORY),
        };
        slots[index] = true;
        Ok(index as DWORD)
    }

    /// `TlsFree`.
    fn ovl_TlsFree(index: DWORD) -> BOOL, else (FALSE) {
        let index = slot(index)?;
        lock(&SLOTS)[index] = false;
        Ok(TRUE)
    }

    /// `TlsSetValue`.
    fn ovl_TlsSetValue(index: DWORD, value: *mut c_void) -> BOOL, else (FALSE) {
        let index = slot(index)?;
        VALUES.with_borrow_mut(|values| {
            if values.len() <= index {
                values.resize(index + 1, 0);
            }
            values[index] = value as usize;
        });
        Ok(TRUE)
    }

    /// `TlsGetValue`. A value of 0 is told from a failure by the last error.
    fn ovl_TlsGetValue(index: DWORD) -> *mut c_void, else (std::ptr::null_mut()) {
        let index = slot(index)?;
        set_last_error(0);
        Ok(VALUES.with_borrow(|values| values.get(index).copied().unwrap_or(0)) as *mut c_void)
    }
}
