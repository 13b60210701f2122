//! The library's own port and the one thread that takes from it: for free handles, which have no port of the program, for time limits, and
//! for receives that wait for a buffer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use windows_sys::Win32::System::IO::OVERLAPPED_ENTRY;

use super::iocp::{Iocp, key};
use super::record::Record;
use super::timers::Timers;
use super::{Handle, millis_until};
use crate::sync::Mutex;
use crate::{Error, Result};

pub(super) struct Library {
    iocp: Iocp,
    timers: Timers,
}

static LIBRARY: OnceLock<Library> = OnceLock::new();
/// Held while it is being started.
static STARTING: Mutex<()> = Mutex::new(());

/// It is started if need be.
pub(super) fn library() -> Result<&'static Library> {
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let _starting = STARTING.lock();
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let library = Library { iocp: Iocp::new(1)?, timers: Timers::new() };
    std::thread::Builder::new().name("overlapped reaper".into()).spawn(|| LIBRARY.wait().reap())?;
    Ok(LIBRARY.get_or_init(|| library))
}

impl Library {
    pub(super) fn iocp(&self) -> &Iocp {
        &self.iocp
    }

    /// A deadline of one of the operations of `handle`.
    pub(super) fn schedule(&self, deadline: Instant, handle: Weak<Handle>) {
        if self.timers.add(deadline, handle) {
            // Refused only when memory is out; then what is due is found with the next packet.
            let _ = self.iocp.post(key::WAKE, 0, std::ptr::null_mut::<()>());
        }
    }

    /// A buffer has come back for `handle`.
    pub(super) fn feed(&self, handle: Arc<Handle>) {
        let at = Arc::into_raw(handle).cast_mut();
        if self.iocp.post(key::HUNGRY, 0, at).is_err() {
            // SAFETY: the pointer was not queued, so the share in the handle is ours still.
            drop(unsafe { Arc::from_raw(at.cast_const()) });
        }
    }

    fn reap(&self) -> ! {
        let mut entries = [OVERLAPPED_ENTRY::default(); 64];
        loop {
            let taken = match self.iocp.take(&mut entries, millis_until(self.timers.next()), false) {
                Ok(taken) => taken,
                Err(Error::WAIT_TIMEOUT) => 0,
                Err(_) => {
                    std::thread::yield_now(); // short of memory: tried again
                    0
                }
            };
            for entry in &entries[..taken] {
                // A waker is the user's, and may panic; the others are still called.
                let _ = catch_unwind(AssertUnwindSafe(|| attend(entry)));
            }
            let _ = catch_unwind(AssertUnwindSafe(|| self.timers.fire()));
        }
    }
}

fn attend(entry: &OVERLAPPED_ENTRY) {
    match entry.lpCompletionKey {
        key::RECORD => {
            // SAFETY: the packet is one of the kernel's, or an errand's, and is taken once.
            let Some((record, status)) = (unsafe { Record::reap(entry.lpOverlapped) }) else { return };
            let ended = Handle::reap(record, entry.lpOverlapped, status, entry.dwNumberOfBytesTransferred as usize);
            debug_assert!(ended.is_none(), "only ports hand out ends");
        }
        key::HUNGRY => {
            // SAFETY: `feed` gave its share in the handle to this packet.
            unsafe { Arc::from_raw(entry.lpOverlapped.cast::<Handle>().cast_const()) }.feed();
        }
        _ => {} // to look at the clock
    }
}
