//! Sockets that go to another process, or to another place of this one: `WSADuplicateSocket`.
//!
//! Within the process a duplicate stands for the same socket. For another process the descriptor waits at an abstract Unix socket, whose
//! number is in the protocol information; only the process that it is for gets it, and only once.

use std::collections::HashMap;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::boundary::boundary;
use crate::file::{self, File};
use crate::handle::{self, Object, lock};
use crate::rendezvous;
use crate::socket::{self, Socket, checked};
use crate::types::*;

/// `WSAPROTOCOL_INFOA`.
#[repr(C)]
pub struct ProtocolInfo {
    service_flags: [DWORD; 4],
    provider_flags: DWORD,
    provider: [u8; 16],
    /// Here: the process that has the socket.
    catalog_entry: DWORD,
    chain_len: i32,
    chain: [DWORD; 7],
    version: i32,
    family: i32,
    most_address: i32,
    least_address: i32,
    kind: i32,
    protocol: i32,
    protocol_offset: i32,
    byte_order: i32,
    security: i32,
    message_size: DWORD,
    /// Here: the number of the duplicate.
    reserved: DWORD,
    name: [u8; 256],
}

const _: () = assert!(size_of::<ProtocolInfo>() == 372);

/// Duplicates that nobody has made a socket of yet.
static OWN: Mutex<Option<HashMap<DWORD, Arc<File>>>> = Mutex::new(None);
static LAST: AtomicU32 = AtomicU32::new(0);

/// What the other process has to know of a socket that the system does not tell.
fn state_of(socket: &Socket) -> u8 {
    u8::from(socket.listening.load(SeqCst))
        | u8::from(socket.bound.load(SeqCst)) << 1
        | u8::from(socket.connected.load(SeqCst)) << 2
        | u8::from(socket.is_nonblocking()) << 3
}

fn with_state(socket: &Socket, state: u8) {
    socket.listening.store(state & 1 != 0, SeqCst);
    socket.bound.store(state & 2 != 0, SeqCst);
    socket.connected.store(state & 4 != 0, SeqCst);
    socket.nonblocking.store(state & 8 != 0, SeqCst);
}

/// The socket that a duplicate stands for.
///
/// # Safety
/// `info` was filled by WSADuplicateSocket.
pub(crate) unsafe fn take(info: *const u8, overlapped: bool) -> Outcome<SOCKET> {
    // SAFETY: the caller's promise.
    let info = unsafe { info.cast::<ProtocolInfo>().read_unaligned() };
    if info.catalog_entry == std::process::id() {
        let file = lock(&OWN).as_mut().and_then(|own| own.remove(&info.reserved)).ok_or(Code::WSAEINVAL)?;
        return handle::open(Object::File(file)).map_err(|_| Code::WSAEMFILE);
    }
    let (fd, state) = rendezvous::take_up(info.catalog_entry, info.reserved)?;
    let socket = Socket::new(info.family, info.kind, info.protocol);
    with_state(&socket, state);
    socket::give(fd, socket, overlapped)
}

boundary! {
    /// `WSADuplicateSocketA`.
    fn ovl_WSADuplicateSocketA(s: SOCKET, process: DWORD, info: *mut ProtocolInfo) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        if info.is_null() {
            return Err(Code::WSAEFAULT);
        }
        // SAFETY: no pointers.
        if process == 0 || unsafe { libc::kill(process as i32, 0) } != 0 && crate::status::errno() == libc::ESRCH {
            return Err(Code::WSAEINVAL);
        }
        let number = LAST.fetch_add(1, SeqCst) + 1;
        let of = file.as_socket();
        if process == std::process::id() {
            lock(&OWN).get_or_insert_default().insert(number, Arc::clone(&file));
        } else {
            // SAFETY: no pointers; the descriptor is new and ours.
            let duplicate = unsafe { OwnedFd::from_raw_fd(checked(libc::fcntl(file.fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3))?) };
            rendezvous::offer(number, duplicate, state_of(of), process)?;
        }
        // SAFETY: plain data, for which all zeroes is valid.
        let mut filled: ProtocolInfo = unsafe { std::mem::zeroed() };
        filled.catalog_entry = std::process::id();
        filled.reserved = number;
        filled.version = 2;
        filled.chain_len = 1;
        (filled.family, filled.kind, filled.protocol) = (of.family, of.kind, of.protocol);
        (filled.most_address, filled.least_address) = if of.family == crate::address::AF_INET6 { (28, 28) } else { (16, 16) };
        let name: &[u8] = if of.is_stream() { b"TCP" } else { b"UDP" };
        filled.name[..name.len()].copy_from_slice(name);
        // SAFETY: not null, so the caller's variable.
        unsafe { info.write_unaligned(filled) };
        Ok(0)
    }

    /// `WSADuplicateSocketW`: the protocol's name is wide, and all before it the same.
    fn ovl_WSADuplicateSocketW(s: SOCKET, process: DWORD, info: *mut u8) -> i32, winsock else (SOCKET_ERROR) {
        if info.is_null() {
            return Err(Code::WSAEFAULT);
        }
        // SAFETY: plain data, for which all zeroes is valid.
        let mut filled: ProtocolInfo = unsafe { std::mem::zeroed() };
        // SAFETY: a place of our own.
        if unsafe { ovl_WSADuplicateSocketA(s, process, &mut filled) } != 0 {
            return Err(Code(crate::boundary::last_error()));
        }
        let name: Vec<u32> = filled.name.iter().copied().map(u32::from).collect();
        // SAFETY: a `WSAPROTOCOL_INFOW` of the caller's, as the header has it.
        unsafe {
            info.copy_from_nonoverlapping((&raw const filled).cast(), offset_of!(ProtocolInfo, name));
            info.add(offset_of!(ProtocolInfo, name)).copy_from_nonoverlapping(name.as_ptr().cast(), size_of_val(&*name));
        }
        Ok(0)
    }
}
