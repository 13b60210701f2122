//! Completion ports.

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use overlapped::Error;
use overlapped::raw::{self, Packet};

use crate::boundary::boundary;
use crate::handle::{self, Object};
use crate::overlapped::Overlapped;
use crate::process;
use crate::status;
use crate::types::*;

pub(crate) struct Port {
    pub(crate) raw: raw::Port,
    /// Its last handle is closed. The port itself lives while files are associated with it.
    closed: AtomicBool,
    pub(crate) handles: AtomicUsize,
}

/// `OVERLAPPED_ENTRY`.
#[repr(C)]
pub struct Entry {
    key: usize,
    overlapped: *mut Overlapped,
    internal: usize,
    bytes: DWORD,
}

const _: () = assert!(size_of::<Entry>() == 32);

/// No operation has this name: who is given it looks whether the port is closed.
const CLOSED: Packet = Packet { key: 0, overlapped: usize::MAX, bytes: 0, status: status::CANCELLED };

thread_local! {
    /// The port that this thread took from last, and its handle: a worker asks for it again and again.
    static LAST: Cell<Option<(HANDLE, Arc<Port>)>> = const { Cell::new(None) };
}

impl Port {
    pub(crate) fn new(concurrency: DWORD) -> Outcome<Arc<Self>> {
        process::mind_the_end();
        let raw = raw::Port::new(concurrency as usize).map_err(|error| Code(error.code()))?;
        Ok(Arc::new(Self { raw, closed: AtomicBool::new(false), handles: AtomicUsize::new(0) }))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Its last handle was closed: what waits is released, what is queued is of no interest any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.raw.post(CLOSED);
    }

    /// Queues a packet.
    pub(crate) fn post(&self, packet: Packet) {
        if !self.is_closed() {
            self.raw.post(packet);
        }
    }

    fn dequeue(&self, timeout: Option<Duration>, alertable: bool) -> Outcome<Packet> {
        if self.is_closed() {
            return Err(Code::INVALID_HANDLE);
        }
        let packet = if alertable { self.raw.dequeue_alertable(timeout) } else { self.raw.dequeue(timeout) };
        match packet {
            Ok(_) if self.is_closed() => {
                self.raw.post(CLOSED); // for the next one who waits
                Err(Code::ABANDONED_WAIT_0)
            }
            Ok(packet) => Ok(packet),
            Err(Error::WAIT_TIMEOUT) => Err(Code::WAIT_TIMEOUT),
            Err(error) => Err(Code(error.code())),
        }
    }
}

fn find(handle: HANDLE) -> Outcome<Arc<Port>> {
    match handle::object(handle)? {
        Object::Port(port) => Ok(port),
        _ => Err(Code::INVALID_HANDLE),
    }
}

/// Works with the port of a handle that this thread is likely to have used before.
#[inline]
fn with<R>(handle: HANDLE, work: impl FnOnce(&Port) -> Outcome<R>) -> Outcome<R> {
    // Taken out meanwhile, so that nobody counts: what runs inside may ask for a port, too.
    let port = match LAST.with(Cell::take) {
        Some((known, port)) if known == handle && !port.is_closed() => port,
        _ => find(handle)?,
    };
    let done = work(&port);
    LAST.with(|last| last.set(Some((handle, port)))); // in place: `LAST.set` would move it about
    done
}

fn timeout(ms: DWORD) -> Option<Duration> {
    (ms != INFINITE).then(|| Duration::from_millis(ms.into()))
}

boundary! {
    /// `CreateIoCompletionPort`.
    fn ovl_CreateIoCompletionPort(file: HANDLE, existing: HANDLE, key: usize, concurrency: DWORD) -> HANDLE, else (ptr::null_mut()) {
        if file == INVALID_HANDLE_VALUE {
            if !existing.is_null() {
                return Err(Code::INVALID_PARAMETER);
            }
            return handle::give(Object::Port(Port::new(concurrency)?));
        }
        let Object::File(file) = handle::object(file)? else { return Err(Code::INVALID_HANDLE) };
        if existing.is_null() {
            let port = Port::new(concurrency)?;
            file.associate(&port, key)?;
            return handle::give(Object::Port(port));
        }
        file.associate(&find(existing)?, key)?;
        Ok(existing)
    }

    /// `PostQueuedCompletionStatus`.
    fn ovl_PostQueuedCompletionStatus(port: HANDLE, bytes: DWORD, key: usize, overlapped: *mut Overlapped) -> BOOL, else (FALSE) {
        with(port, |port| {
            port.raw.post(Packet { key, overlapped: overlapped as usize, bytes, status: status::SUCCESS });
            Ok(TRUE)
        })
    }

    /// `GetQueuedCompletionStatus`.
    fn ovl_GetQueuedCompletionStatus(port: HANDLE, bytes: *mut DWORD, key: *mut usize, overlapped: *mut *mut Overlapped, ms: DWORD) -> BOOL, else (FALSE) {
        if bytes.is_null() || key.is_null() || overlapped.is_null() {
            return Err(Code::NOACCESS);
        }
        let packet = with(port, |port| port.dequeue(timeout(ms), false));
        let packet = packet.inspect_err(|_| {
            // SAFETY: not null, so the caller's variable. Key and bytes are left alone.
            unsafe { overlapped.write(ptr::null_mut()) };
        })?;
        // SAFETY: not null, so the caller's variables.
        unsafe {
            bytes.write(packet.bytes);
            key.write(packet.key);
            overlapped.write(packet.overlapped as *mut Overlapped);
        }
        if status::is_success(packet.status) { Ok(TRUE) } else { Err(status::win32(packet.status)) }
    }

    /// `GetQueuedCompletionStatusEx`.
    fn ovl_GetQueuedCompletionStatusEx(port: HANDLE, entries: *mut Entry, most: DWORD, taken: *mut DWORD, ms: DWORD, alertable: BOOL) -> BOOL, else (FALSE) {
        if entries.is_null() || taken.is_null() || most == 0 {
            return Err(Code::INVALID_PARAMETER);
        }
        with(port, |port| {
            let mut count = 0;
            let mut next = Some(port.dequeue(timeout(ms), alertable != FALSE)?);
            while let Some(packet) = next {
                let entry = Entry {
                    key: packet.key,
                    overlapped: packet.overlapped as *mut Overlapped,
                    internal: packet.status as usize,
                    bytes: packet.bytes,
                };
                // SAFETY: the caller has room for `most` entries.
                unsafe { entries.add(count).write(entry) };
                count += 1;
                next = if count < most as usize { port.raw.dequeue_queued() } else { None };
            }
            // SAFETY: not null, so the caller's variable.
            unsafe { taken.write(count as DWORD) };
            Ok(TRUE)
        })
    }
}
