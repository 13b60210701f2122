//! Sending and receiving: plain, and overlapped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use overlapped::raw::{Operation, Side, Span};
use overlapped::{Error, Result};

use crate::address::{self, Address};
use crate::boundary::boundary;
use crate::file::{self, Call, File, Routine};
use crate::network::{FD_READ, FD_WRITE};
use crate::overlapped::Overlapped;
use crate::socket::socket2_address::Storage;
use crate::socket::{self, is_connected};
use crate::status::{errno, of_errno_winsock};
use crate::types::*;

const MSG_OOB: i32 = 0x1;
const MSG_PEEK: i32 = 0x2;
const MSG_DONTROUTE: i32 = 0x4;
const MSG_WAITALL: i32 = 0x8;
const MSG_TRUNC: DWORD = 0x100;
const MSG_PARTIAL: i32 = 0x8000;
/// Buffers of one call.
const MOST_BUFFERS: DWORD = 1024;

/// `WSABUF`: the length comes first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WsaBuf {
    len: DWORD,
    bytes: *mut u8,
}

const _: () = assert!(size_of::<WsaBuf>() == 16);

impl WsaBuf {
    fn span(&self) -> Span {
        Span(self.bytes, self.len as usize)
    }
}

/// # Safety
/// `buffers` is null or points to so many.
unsafe fn gather<'a>(buffers: *const WsaBuf, count: DWORD) -> Outcome<&'a [WsaBuf]> {
    if buffers.is_null() {
        return Err(Code::WSAEFAULT);
    }
    if count == 0 || count > MOST_BUFFERS {
        return Err(Code::WSAEINVAL);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(buffers, count as usize) })
}

fn send_flags(flags: i32) -> Outcome<i32> {
    if flags & !(MSG_OOB | MSG_DONTROUTE | MSG_PARTIAL) != 0 {
        return Err(Code::WSAEOPNOTSUPP);
    }
    let oob = if flags & MSG_OOB != 0 { libc::MSG_OOB } else { 0 };
    let route = if flags & MSG_DONTROUTE != 0 { libc::MSG_DONTROUTE } else { 0 };
    Ok(oob | route | libc::MSG_NOSIGNAL)
}

fn receive_flags(flags: i32, stream: bool) -> Outcome<i32> {
    if flags & !(MSG_OOB | MSG_PEEK | MSG_WAITALL | MSG_PARTIAL) != 0 || flags & MSG_WAITALL != 0 && !stream {
        return Err(Code::WSAEOPNOTSUPP);
    }
    let oob = if flags & MSG_OOB != 0 { libc::MSG_OOB } else { 0 };
    let peek = if flags & MSG_PEEK != 0 { libc::MSG_PEEK } else { 0 };
    let all = if flags & MSG_WAITALL != 0 { libc::MSG_WAITALL } else { 0 };
    Ok(oob | peek | all)
}

/// Pieces of memory as the system wants them.
fn vector(buffers: &[WsaBuf]) -> Vec<libc::iovec> {
    buffers.iter().map(|buffer| libc::iovec { iov_base: buffer.bytes.cast(), iov_len: buffer.len as usize }).collect()
}

fn total(buffers: &[WsaBuf]) -> usize {
    buffers.iter().map(|buffer| buffer.len as usize).sum()
}

/// What a receive brought.
struct Received {
    bytes: usize,
    from: Option<SocketAddr>,
    /// A datagram was longer.
    cut: bool,
}

/// Receives what is there, without waiting. `None`: nothing is.
///
/// # Safety
/// The buffers are the caller's.
unsafe fn receive_now(fd: i32, buffers: &[WsaBuf], flags: i32) -> Option<std::result::Result<Received, i32>> {
    let mut vector = vector(buffers);
    let mut name = Storage::empty();
    // SAFETY: plain data, for which all zeroes is valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = vector.as_mut_ptr();
    header.msg_iovlen = vector.len() as _;
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = name.len;
    // SAFETY: the header points to what lives through the call, and to the caller's buffers.
    let received = unsafe { libc::recvmsg(fd, &mut header, flags | libc::MSG_DONTWAIT) };
    if received >= 0 {
        let from = if header.msg_namelen > 0 { name.address() } else { None };
        return Some(Ok(Received { bytes: received as usize, from, cut: header.msg_flags & libc::MSG_TRUNC != 0 }));
    }
    match errno() {
        libc::EAGAIN | libc::EINTR => None,
        errno => Some(Err(errno)),
    }
}

/// Receives and waits until something is there.
///
/// # Safety
/// The buffers are the caller's.
unsafe fn receive(file: &Arc<File>, buffers: &[WsaBuf], flags: i32, from: Option<Address>) -> Outcome<usize> {
    let socket = file.as_socket();
    let flags = receive_flags(flags, socket.is_stream())?;
    if socket.is_stream() && !is_connected(file) {
        return Err(Code::WSAENOTCONN);
    }
    if !socket.is_stream() && !socket.bound.load(SeqCst) {
        return Err(Code::WSAEINVAL);
    }
    if file.raw.is_shut(Side::Receive) {
        return Err(Code::WSAESHUTDOWN);
    }
    // All of it, in one go: that waits in any case.
    let waits = flags & libc::MSG_WAITALL != 0;
    // SAFETY: the caller's promise.
    let now = || file.in_order(Side::Receive, |fd| unsafe { receive_now(fd, buffers, flags) }).flatten();
    let received = match if waits { None } else { now() } {
        Some(received) => received,
        None if socket.is_nonblocking() => {
            file.reenable(FD_READ);
            return Err(Code::WSAEWOULDBLOCK);
        }
        None => {
            let spans = buffers.iter().map(WsaBuf::span).collect();
            // SAFETY: the caller's promise; the end is waited for.
            let finished = unsafe { file.perform(Operation::RecvVectored(spans, flags), socket.limit(Side::Receive)) }?;
            match finished.result {
                Ok(bytes) => Ok(Received { bytes, from: finished.from, cut: false }),
                Err(Error::MORE_DATA) => Ok(Received { bytes: finished.moved, from: finished.from, cut: true }),
                Err(error) => return Err(interrupted(error)),
            }
        }
    };
    file.reenable(FD_READ);
    let received = received.map_err(of_errno_winsock)?;
    if let Some(from) = from {
        // SAFETY: the caller's variables.
        unsafe { from.write(received.from) };
    }
    if received.cut && !socket.is_stream() { Err(Code::WSAEMSGSIZE) } else { Ok(received.bytes) }
}

/// What a plain call says of an operation that somebody ended.
fn interrupted(error: Error) -> Code {
    match error {
        Error::CONNECTION_ABORTED => Code::WSAEINTR, // closed
        error => Code(error.winsock_code()),
    }
}

/// Sends, all of it if the socket waits.
///
/// # Safety
/// The buffers are the caller's.
unsafe fn send(file: &Arc<File>, buffers: &[WsaBuf], flags: i32, to: Option<SocketAddr>) -> Outcome<usize> {
    let socket = file.as_socket();
    let flags = send_flags(flags)?;
    if socket.is_stream() && !is_connected(file) || !socket.is_stream() && to.is_none() && !is_connected(file) {
        return Err(Code::WSAENOTCONN);
    }
    if file.raw.is_shut(Side::Send) {
        return Err(Code::WSAESHUTDOWN);
    }
    let to = to.filter(|_| !socket.is_stream());
    if socket.is_nonblocking() || flags & libc::MSG_OOB != 0 || to.is_some() {
        let sent = file.in_order(Side::Send, |fd| {
            let mut vector = vector(buffers);
            let name = to.map(Storage::new);
            // SAFETY: plain data, for which all zeroes is valid.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_iov = vector.as_mut_ptr();
            header.msg_iovlen = vector.len() as _;
            if let Some(name) = &name {
                header.msg_name = name.as_ptr().cast_mut().cast();
                header.msg_namelen = name.len;
            }
            // SAFETY: the header points to what lives through the call, and to the caller's buffers.
            match unsafe { libc::sendmsg(fd, &header, flags | libc::MSG_DONTWAIT) } {
                0.. if to.is_some() => Ok(total(buffers)),
                sent if sent >= 0 => Ok(sent as usize),
                _ => Err(errno()),
            }
        });
        match sent {
            Some(Ok(bytes)) => {
                socket.bound.store(true, SeqCst); // a datagram's first binds it
                return Ok(bytes);
            }
            Some(Err(libc::EAGAIN | libc::EINTR)) | None if socket.is_nonblocking() => {
                file.reenable(FD_WRITE);
                return Err(Code::WSAEWOULDBLOCK);
            }
            Some(Err(libc::EAGAIN | libc::EINTR)) | None => {}
            Some(Err(errno)) => return Err(send_error(file, of_errno_winsock(errno))),
        }
    }
    let operation = match (to, buffers) {
        (Some(to), [one]) => Operation::SendTo(one.span(), to),
        (Some(_), _) => return Err(Code::WSAEWOULDBLOCK), // in pieces, to a socket whose buffer is full
        (None, [one]) => Operation::Send(one.span()),
        (None, _) => Operation::SendVectored(buffers.iter().map(WsaBuf::span).collect()),
    };
    // SAFETY: the caller's promise; the end is waited for.
    let finished = unsafe { file.perform(operation, socket.limit(Side::Send)) }?;
    match finished.result {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(send_error(file, interrupted(error))),
    }
}

/// A send after the sending half was shut says so; the system says that the pipe is broken.
fn send_error(file: &File, code: Code) -> Code {
    match code {
        Code::WSAESHUTDOWN if !file.raw.is_shut(Side::Send) => Code::WSAECONNRESET,
        code => code,
    }
}

/// Where an overlapped call without an overlapped goes, and what a socket that cannot do otherwise does.
fn is_plain(file: &File, overlapped: *const Overlapped) -> bool {
    overlapped.is_null() || !file.overlapped
}

/// # Safety
/// `bytes` is null or the caller's variable.
unsafe fn give(bytes: *mut DWORD, count: usize) -> Outcome<i32> {
    if !bytes.is_null() {
        // SAFETY: the caller's promise.
        unsafe { bytes.write(count as DWORD) };
    }
    Ok(0)
}

/// Starts an overlapped operation.
///
/// # Safety
/// Memory is the caller's until the end was told.
unsafe fn start(
    file: Arc<File>,
    operation: Operation,
    overlapped: *const Overlapped,
    routine: Option<Routine>,
    from: Option<Address>,
) -> Outcome<i32> {
    if routine.is_some() && file.has_port() {
        return Err(Code::WSAEINVAL);
    }
    // SAFETY: the caller's promise.
    unsafe { file.start(operation, Call { overlapped, routine, winsock: true, from }) }?;
    Err(Code::IO_PENDING)
}

/// `WSARecv` and `WSARecvFrom`.
///
/// # Safety
/// As those.
unsafe fn wsa_receive(
    s: SOCKET,
    buffers: *const WsaBuf,
    count: DWORD,
    bytes: *mut DWORD,
    flags: *mut DWORD,
    from: Option<Address>,
    overlapped: *const Overlapped,
    routine: Option<Routine>,
) -> Outcome<i32> {
    let file = file::socket(s)?;
    // SAFETY: the caller's promise.
    let buffers = unsafe { gather(buffers, count) }?;
    if flags.is_null() || overlapped.is_null() && bytes.is_null() {
        return Err(Code::WSAEFAULT);
    }
    // SAFETY: not null, so the caller's variable.
    let wanted = unsafe { *flags } as i32;
    if is_plain(&file, overlapped) {
        // SAFETY: the caller's promise.
        let received = unsafe { receive(&file, buffers, wanted, from) }?;
        if let Some(overlapped) = unsafe_ref(overlapped) {
            overlapped.finish(0, received);
        }
        // SAFETY: the caller's promise.
        return unsafe { give(bytes, received) };
    }
    let socket = file.as_socket();
    let system = receive_flags(wanted, socket.is_stream())?;
    if socket.is_stream() {
        if !is_connected(&file) {
            return Err(Code::WSAENOTCONN);
        }
    } else if !socket.bound.load(SeqCst) {
        return Err(Code::WSAEINVAL);
    }
    if file.raw.is_shut(Side::Receive) {
        return Err(Code::WSAESHUTDOWN);
    }
    let operation = match buffers {
        [one] if system == 0 && socket.is_stream() => Operation::Recv(one.span()),
        [one] if system == 0 => Operation::RecvFrom(one.span()),
        _ => Operation::RecvVectored(buffers.iter().map(WsaBuf::span).collect(), system),
    };
    // SAFETY: the caller's promise.
    unsafe { start(file, operation, overlapped, routine, from) }
}

fn unsafe_ref<'a>(overlapped: *const Overlapped) -> Option<&'a Overlapped> {
    // SAFETY: null, or the caller's.
    unsafe { overlapped.as_ref() }
}

/// `WSASend` and `WSASendTo`.
///
/// # Safety
/// As those.
unsafe fn wsa_send(
    s: SOCKET,
    buffers: *const WsaBuf,
    count: DWORD,
    bytes: *mut DWORD,
    flags: DWORD,
    to: (*const u8, i32),
    overlapped: *const Overlapped,
    routine: Option<Routine>,
) -> Outcome<i32> {
    let file = file::socket(s)?;
    // SAFETY: the caller's promise.
    let buffers = unsafe { gather(buffers, count) }?;
    if overlapped.is_null() && bytes.is_null() {
        return Err(Code::WSAEFAULT);
    }
    // SAFETY: the caller's promise.
    let to = if to.0.is_null() { None } else { Some(unsafe { address::read(to.0, to.1) }?) };
    if is_plain(&file, overlapped) {
        // SAFETY: the caller's promise.
        let sent = unsafe { send(&file, buffers, flags as i32, to) }?;
        if let Some(overlapped) = unsafe_ref(overlapped) {
            overlapped.finish(0, sent);
        }
        // SAFETY: the caller's promise.
        return unsafe { give(bytes, sent) };
    }
    let socket = file.as_socket();
    send_flags(flags as i32)?;
    if !is_connected(&file) && (socket.is_stream() || to.is_none()) {
        return Err(Code::WSAENOTCONN);
    }
    if file.raw.is_shut(Side::Send) {
        return Err(Code::WSAESHUTDOWN);
    }
    let operation = match (to.filter(|_| !socket.is_stream()), buffers) {
        (None, [one]) => Operation::Send(one.span()),
        (None, _) => Operation::SendVectored(buffers.iter().map(WsaBuf::span).collect()),
        (Some(to), [one]) => {
            if !socket.bound.load(SeqCst) {
                socket::bind_to_any(&file)?;
            }
            Operation::SendTo(one.span(), to)
        }
        (Some(to), _) => {
            // SAFETY: the caller's promise. A datagram in pieces is sent at once.
            let sent = unsafe { send(&file, buffers, flags as i32, Some(to)) };
            let result: Result<usize> = sent.map_err(|code| Error::from_code(code.0));
            // SAFETY: the caller's promise.
            unsafe { file.finish_at_once(result, Call { overlapped, routine, winsock: true, from: None }) }?;
            return Err(Code::IO_PENDING);
        }
    };
    // SAFETY: the caller's promise.
    unsafe { start(file, operation, overlapped, routine, None) }
}

fn one(bytes: *const u8, len: i32) -> Outcome<WsaBuf> {
    match DWORD::try_from(len) {
        Ok(0) => Ok(WsaBuf { len: 0, bytes: bytes.cast_mut() }),
        Ok(len) if !bytes.is_null() => Ok(WsaBuf { len, bytes: bytes.cast_mut() }),
        _ => Err(Code::WSAEFAULT),
    }
}

/// `WSAMSG`.
#[repr(C)]
pub struct WsaMsg {
    name: *mut u8,
    name_len: i32,
    buffers: *const WsaBuf,
    count: DWORD,
    control: WsaBuf,
    flags: DWORD,
}

const _: () = assert!(size_of::<WsaMsg>() == 56);

/// # Safety
/// `message` is null or the caller's.
unsafe fn message_of<'a>(s: SOCKET, message: *mut WsaMsg) -> Outcome<&'a mut WsaMsg> {
    let file = file::socket(s)?;
    // SAFETY: the caller's promise.
    let message = unsafe { message.as_mut() }.ok_or(Code::WSAEFAULT)?;
    // For sockets of datagrams only.
    if file.as_socket().is_stream() { Err(Code::WSAEOPNOTSUPP) } else { Ok(message) }
}

boundary! {
    /// `WSARecvMsg`. No option asks for control information here, so there is none.
    fn ovl_WSARecvMsg(s: SOCKET, message: *mut WsaMsg, bytes: *mut DWORD, overlapped: *const Overlapped, routine: Option<Routine>) -> i32, winsock else (SOCKET_ERROR) {
        // SAFETY: the caller's promise.
        let message = unsafe { message_of(s, message) }?;
        message.control.len = 0;
        let from = Address::new(message.name, &raw mut message.name_len);
        let mut unasked = 0;
        let bytes = if overlapped.is_null() && bytes.is_null() { &raw mut unasked } else { bytes };
        // SAFETY: the caller's promise.
        let received = unsafe { wsa_receive(s, message.buffers, message.count, bytes, &raw mut message.flags, from, overlapped, routine) };
        if received == Err(Code::WSAEMSGSIZE) {
            message.flags |= MSG_TRUNC;
        }
        received
    }

    /// `WSASendMsg`. Control information is refused.
    fn ovl_WSASendMsg(s: SOCKET, message: *mut WsaMsg, flags: DWORD, bytes: *mut DWORD, overlapped: *const Overlapped, routine: Option<Routine>) -> i32, winsock else (SOCKET_ERROR) {
        // SAFETY: the caller's promise.
        let message = unsafe { message_of(s, message) }?;
        if message.control.len > 0 {
            return Err(Code::WSAEOPNOTSUPP);
        }
        let mut unasked = 0;
        let bytes = if overlapped.is_null() && bytes.is_null() { &raw mut unasked } else { bytes };
        let to = (message.name.cast_const(), message.name_len);
        // SAFETY: the caller's promise.
        unsafe { wsa_send(s, message.buffers, message.count, bytes, flags, to, overlapped, routine) }
    }

    /// `recv`.
    fn ovl_recv(s: SOCKET, buffer: *mut u8, len: i32, flags: i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: the caller's promise.
        unsafe { receive(&file, &[one(buffer, len)?], flags, None) }.map(|bytes| bytes as i32)
    }

    /// `recvfrom`.
    fn ovl_recvfrom(s: SOCKET, buffer: *mut u8, len: i32, flags: i32, from: *mut u8, from_len: *mut i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: the caller's promise.
        unsafe { receive(&file, &[one(buffer, len)?], flags, Address::new(from, from_len)) }.map(|bytes| bytes as i32)
    }

    /// `send`.
    fn ovl_send(s: SOCKET, buffer: *const u8, len: i32, flags: i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: the caller's promise.
        unsafe { send(&file, &[one(buffer, len)?], flags, None) }.map(|bytes| bytes as i32)
    }

    /// `sendto`.
    fn ovl_sendto(s: SOCKET, buffer: *const u8, len: i32, flags: i32, to: *const u8, to_len: i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: the caller's promise.
        let to = if to.is_null() { None } else { Some(unsafe { address::read(to, to_len) }?) };
        // SAFETY: the caller's promise.
        unsafe { send(&file, &[one(buffer, len)?], flags, to) }.map(|bytes| bytes as i32)
    }

    /// `WSARecv`.
    fn ovl_WSARecv(s: SOCKET, buffers: *const WsaBuf, count: DWORD, bytes: *mut DWORD, flags: *mut DWORD, overlapped: *const Overlapped, routine: Option<Routine>) -> i32, winsock else (SOCKET_ERROR) {
        // SAFETY: the caller's promise.
        unsafe { wsa_receive(s, buffers, count, bytes, flags, None, overlapped, routine) }
    }

    /// `WSARecvFrom`.
    fn ovl_WSARecvFrom(s: SOCKET, buffers: *const WsaBuf, count: DWORD, bytes: *mut DWORD, flags: *mut DWORD, from: *mut u8, from_len: *mut i32, overlapped: *const Overlapped, routine: Option<Routine>) -> i32, winsock else (SOCKET_ERROR) {
        // SAFETY: the caller's promise.
        unsafe { wsa_receive(s, buffers, count, bytes, flags, Address::new(from, from_len), overlapped, routine) }
    }

    /// `WSASend`.
    fn ovl_WSASend(s: SOCKET, buffers: *const WsaBuf, count: DWORD, bytes: *mut DWORD, flags: DWORD, overlapped: *const Overlapped, routine: Option<Routine>) -> i32, winsock else (SOCKET_ERROR) {
        // SAFETY: the caller's promise.
        unsafe { wsa_send(s, buffers, count, bytes, flags, (std::ptr::null(), 0), overlapped, routine) }
    }

    /// `WSASendTo`.
    fn ovl_WSASendTo(s: SOCKET, buffers: *const WsaBuf, count: DWORD, bytes: *mut DWORD, flags: DWORD, to: *const u8, to_len: i32, overlapped: *const Overlapped, routine: Option<Routine>) -> i32, winsock else (SOCKET_ERROR) {
        // SAFETY: the caller's promise.
        unsafe { wsa_send(s, buffers, count, bytes, flags, (to, to_len), overlapped, routine) }
    }
}
