//! Events: the kernel's, and its waits for them.

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{HANDLE, WAIT_FAILED, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{CreateEventW, ResetEvent, SetEvent, WaitForMultipleObjectsEx};

use super::last_error;
use super::thread::{self, Outcome};
use crate::sys::Waited;
use crate::{Error, Result, trace};

#[derive(Clone)]
pub(crate) struct Event(Arc<OwnedHandle>);

// The kernel's query for the state of an event, which consumes nothing; `windows-sys` has it not.
// SAFETY: this is the signature that ntdll has had since the first NT: a handle, a class, where the answer goes, its length, and how much
// of that was written.
#[link(name = "ntdll", kind = "raw-dylib")]
unsafe extern "system" {
    fn NtQueryEvent(event: HANDLE, class: i32, information: *mut State, len: u32, written: *mut u32) -> i32;
}

#[repr(C)]
#[derive(Default)]
struct State {
    kind: i32,
    set: i32,
}

impl Event {
    pub(crate) fn new(manual: bool) -> Self {
        // SAFETY: makes an unnamed event out of flags.
        let event = unsafe { CreateEventW(ptr::null(), manual.into(), 0, ptr::null()) };
        assert!(!event.is_null(), "the system has no event to give: {}", last_error());
        // SAFETY: it was just made, and is nobody else's.
        Self(Arc::new(unsafe { OwnedHandle::from_raw_handle(event) }))
    }

    fn raw(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    pub(crate) fn set(&self) {
        // SAFETY: the handle is open as long as the event lives, here and below.
        unsafe { SetEvent(self.raw()) };
    }

    pub(crate) fn reset(&self) {
        // SAFETY: as above.
        unsafe { ResetEvent(self.raw()) };
    }

    pub(crate) fn is_set(&self) -> bool {
        let mut state = State::default();
        // SAFETY: the handle is open; the call writes the two numbers of this information class, which is 0.
        unsafe { NtQueryEvent(self.raw(), 0, &mut state, size_of::<State>() as u32, ptr::null_mut()) };
        state.set != 0
    }

    /// Whether both name the same event.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits for one or all of some events, which are all different if it is for all.
    pub(crate) fn wait(events: &[&Self], all: bool, timeout: Option<Duration>, alertable: bool) -> Result<Waited> {
        let mut handles: Vec<HANDLE> = Vec::with_capacity(events.len());
        for event in events {
            if !handles.contains(&event.raw()) {
                handles.push(event.raw()); // the kernel wants each once; the first index is the one that counts
            }
        }
        let ask = |timeout_ms, alertable: bool| {
            let (count, handles) = (handles.len() as u32, &handles);
            // SAFETY: the handles are open as long as the events live, which the caller has borrowed.
            let result =
                unsafe { WaitForMultipleObjectsEx(count, handles.as_ptr(), all.into(), timeout_ms, alertable.into()) };
            match result {
                WAIT_FAILED => Some(Err(last_error())),
                _ if result.wrapping_sub(WAIT_OBJECT_0) < count => Some(Ok(result - WAIT_OBJECT_0)),
                _ => None, // time is up, or an APC ran
            }
        };
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let _alertable = alertable.then(|| trace::alertable(timeout));
        // What is set already is returned, and nothing runs.
        if let Some(found) = ask(0, false) {
            return Self::found(found?, events, &handles, all);
        }
        thread::with_desk(|desk| match desk.wait(deadline, alertable, || None, |millis| ask(millis, alertable)) {
            Outcome::Found(found) => Self::found(found?, events, &handles, all),
            Outcome::Ran => Ok(Waited::Routines),
            Outcome::TimeUp => Err(Error::WAIT_TIMEOUT),
        })
    }

    fn found(found: u32, events: &[&Self], handles: &[HANDLE], all: bool) -> Result<Waited> {
        let handle = handles[found as usize];
        let index = events.iter().position(|event| !all && event.raw() == handle).unwrap_or(0);
        Ok(Waited::Signalled(index))
    }
}
