//! The kernel's completion port: a queue of packets.

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_COMPLETION_INFORMATION, FileReplaceCompletionInformation, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, IO_STATUS_BLOCK, OVERLAPPED, OVERLAPPED_ENTRY,
    PostQueuedCompletionStatus,
};

use super::last_error;
use crate::Result;

/// What a packet is about: its completion key. The program's own key is with the handle.
pub(super) mod key {
    /// The kernel has let go of a record, at whose start the packet points.
    pub(in super::super) const RECORD: usize = 0;
    /// An operation has ended without the kernel's packet: a request.
    pub(in super::super) const ENDED: usize = 1;
    /// The program's own message.
    pub(in super::super) const POSTED: usize = 2;
    /// A handle whose receive waited for a buffer.
    pub(in super::super) const HUNGRY: usize = 3;
    /// Nothing: somebody is to look around.
    pub(in super::super) const WAKE: usize = 4;
}

pub(super) struct Iocp(OwnedHandle);

impl Iocp {
    /// `concurrency`: how many threads that take from it the kernel lets run; 0: as many as there are processors.
    pub(super) fn new(concurrency: usize) -> Result<Self> {
        // SAFETY: without a handle to associate the call makes a new port.
        let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, concurrency as u32) };
        if port.is_null() {
            return Err(last_error());
        }
        // SAFETY: the port was just made, and is nobody else's.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(port) }))
    }

    fn raw(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// From now on the operations of `handle` end here.
    pub(super) fn associate(&self, handle: HANDLE) -> Result<()> {
        // SAFETY: both handles are open: the caller holds the lock under which its own is closed.
        let port = unsafe { CreateIoCompletionPort(handle, self.raw(), key::RECORD, 0) };
        if port.is_null() { Err(last_error()) } else { Ok(()) }
    }

    /// As [`Self::associate`], for a handle whose operations have ended elsewhere so far. Windows 8.1 or later.
    pub(super) fn adopt(&self, handle: HANDLE) -> Result<()> {
        let information =
            FILE_COMPLETION_INFORMATION { Port: self.raw(), Key: ptr::without_provenance_mut(key::RECORD) };
        let mut status = IO_STATUS_BLOCK::default();
        // SAFETY: both handles are open, as above; the structure is that of this information class, and is read before the call returns.
        let result = unsafe {
            NtSetInformationFile(
                handle,
                &mut status,
                ptr::from_ref(&information).cast(),
                size_of_val(&information) as u32,
                FileReplaceCompletionInformation,
            )
        };
        super::outcome(result as u32 as usize)
    }

    /// Queues a packet of our own. `payload` is not looked at.
    pub(super) fn post<T>(&self, key: usize, bytes: u32, payload: *mut T) -> Result<()> {
        // SAFETY: the pointer only passes through the queue, to whoever knows from the key what it is.
        let posted = unsafe { PostQueuedCompletionStatus(self.raw(), bytes, key, payload.cast::<OVERLAPPED>()) };
        if posted == 0 { Err(last_error()) } else { Ok(()) }
    }

    /// Takes what is queued, at least one packet, into the front of `entries`. How many; `WAIT_TIMEOUT` if there is none in time.
    pub(super) fn take(&self, entries: &mut [OVERLAPPED_ENTRY], timeout_ms: u32, alertable: bool) -> Result<usize> {
        let mut count = 0;
        // SAFETY: the kernel writes at most as many entries as the slice has, and says how many.
        let taken = unsafe {
            GetQueuedCompletionStatusEx(
                self.raw(),
                entries.as_mut_ptr(),
                entries.len() as u32,
                &mut count,
                timeout_ms,
                alertable.into(),
            )
        };
        if taken == 0 { Err(last_error()) } else { Ok(count as usize) }
    }
}
