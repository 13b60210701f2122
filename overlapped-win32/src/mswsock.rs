//! Microsoft's extensions: AcceptEx, ConnectEx, DisconnectEx, TransmitFile, and where they are got from.
//!
//! Each is a chain of operations of the library, of which the caller sees one: its end is told when the last of the chain has ended.

use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use overlapped::raw::{End, Home, Listener, Next, Operation, Side, Span, Tag};
use overlapped::{Error, Result};

use crate::address::{self, AF_INET, AF_INET6, LEN_V4, LEN_V6};
use crate::boundary::boundary;
use crate::file::{self, Call, File, OF_ANOTHER, Routine, status_of};
use crate::handle::{self, Object, lock};
use crate::overlapped::Overlapped;
use crate::signal::{self, Signal, this_thread};
use crate::socket::{checked, is_connected, local_address, peer_address, set_int};
use crate::thread;
use crate::transfer;
use crate::types::*;

/// What an address needs in AcceptEx's buffer beyond itself.
const ADDRESS_EXTRA: usize = 16;
const TF_DISCONNECT: DWORD = 1;
const TF_REUSE_SOCKET: DWORD = 2;

/// A chain of operations.
struct Chain {
    /// Whose operation the caller thinks it is.
    file: Arc<File>,
    overlapped: *const Overlapped,
    event: Option<Arc<Signal>>,
    silent: bool,
    step: Mutex<Step>,
}

// SAFETY: the addresses are the caller's, and valid until the end was told, on whatever thread that is.
unsafe impl Send for Chain {}
// SAFETY: as above; what changes is behind a lock.
unsafe impl Sync for Chain {}

/// What is under way.
enum Step {
    Accept {
        socket: Arc<File>,
        room: Room,
    },
    FirstData {
        socket: Arc<File>,
    },
    Connect {
        data: Vec<u8>,
    },
    /// The data lives here while it is sent.
    FirstSend {
        _data: Vec<u8>,
    },
    /// What is before it in line is sent.
    Disconnect {
        reuse: bool,
    },
    Transmit {
        _mappings: Vec<Mapping>,
        flags: DWORD,
    },
    Over,
}

/// AcceptEx's buffer.
#[derive(Clone, Copy)]
struct Room {
    buffer: *mut u8,
    receive: usize,
    local: usize,
    remote: usize,
}

impl Chain {
    /// # Safety
    /// `overlapped` is the caller's until the end was told.
    unsafe fn new(file: &Arc<File>, overlapped: *const Overlapped, step: Step) -> Outcome<Arc<Self>> {
        // SAFETY: the caller's promise; it is not null.
        let of = unsafe { &*overlapped };
        let event = signal::of_overlapped(of.event)?;
        match &event {
            Some(event) => event.reset(),
            None => file.lower(),
        }
        of.begin();
        let silent = of.event as usize & 1 != 0;
        Ok(Arc::new(Self { file: Arc::clone(file), overlapped, event, silent, step: Mutex::new(step) }))
    }

    /// The first operation, on the file itself.
    ///
    /// # Safety
    /// The memory is the caller's, or the step's.
    unsafe fn begin(self: Arc<Self>, operation: Operation) -> Outcome<()> {
        let direct = self.file.depart();
        if !direct || self.event.is_some() {
            thread::remember(&self.file);
        }
        let data = usize::from(self.event.is_some());
        let tag = Tag { overlapped: self.overlapped as usize, data, thread: this_thread() };
        let listener = Arc::clone(&self) as Arc<dyn Listener>;
        // SAFETY: the caller's promise.
        let started = unsafe { self.file.raw.clone().start(operation, listener, tag, Home::Reaper, !direct, None) };
        if let Err(error) = started {
            self.file.land();
            // SAFETY: the end has not been told.
            unsafe { &*self.overlapped }.finish(error.status(), 0);
            return Err(Code(error.code()));
        }
        Ok(())
    }

    /// A further operation, of whatever file. `thread`: who started the first.
    ///
    /// # Safety
    /// As [`Self::begin`].
    unsafe fn go_on(self: &Arc<Self>, file: &Arc<File>, operation: Operation, thread: u32) {
        let own = Arc::ptr_eq(file, &self.file);
        if !own {
            file.depart();
        }
        let data = usize::from(self.event.is_some()) | if own { 0 } else { OF_ANOTHER };
        let tag = Tag { overlapped: self.overlapped as usize, data, thread };
        let listener = Arc::clone(self) as Arc<dyn Listener>;
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { file.raw.clone().start(operation, listener, tag, Home::Reaper, false, None) } {
            if !own {
                file.land();
            }
            self.end(Err(error), 0);
        }
    }

    /// It is over.
    fn end(&self, result: Result<usize>, moved: usize) {
        let step = std::mem::replace(&mut *lock(&self.step), Step::Over);
        if let Step::FirstData { .. } = step {
            self.file.follow(self.overlapped as usize, None);
        }
        drop(step);
        let status = status_of(result);
        self.file.land();
        // SAFETY: the end has not been told until now.
        unsafe { &*self.overlapped }.finish(status, moved);
        match &self.event {
            Some(event) => event.set(),
            None => self.file.flash(),
        }
        if !self.silent {
            self.file.post(self.overlapped as usize, moved, status);
        }
    }

    /// A connection has come.
    fn accepted(self: &Arc<Self>, fd: Option<OwnedFd>, socket: Arc<File>, room: Room, thread: u32) {
        let Some(fd) = fd else { return self.end(Err(Error::NETNAME_DELETED), 0) };
        let (local, remote) = (local_address(fd.as_raw_fd()), peer_address(fd.as_raw_fd()));
        if socket.raw.replace(fd).is_err() {
            return self.end(Err(Error::OPERATION_ABORTED), 0); // the accept socket was closed meanwhile
        }
        // SAFETY: the buffer is the caller's until the end was told, and was found large enough.
        unsafe {
            room.write(room.receive, room.local, local);
            room.write(room.receive + room.local, room.remote, remote);
        }
        let with = socket.as_socket();
        with.connected.store(true, SeqCst);
        with.bound.store(true, SeqCst);
        with.accepted.store(true, SeqCst);
        if room.receive == 0 {
            return self.end(Ok(0), 0);
        }
        *lock(&self.step) = Step::FirstData { socket: Arc::clone(&socket) };
        self.file.follow(self.overlapped as usize, Some(&socket));
        // SAFETY: as above.
        unsafe { self.go_on(&socket, Operation::Recv(Span(room.buffer, room.receive)), thread) };
        if self.file.raw.is_closed() {
            socket.raw.cancel(|tag| tag.overlapped == self.overlapped as usize && tag.data & OF_ANOTHER != 0);
        }
    }
}

impl Room {
    /// # Safety
    /// There are `len` bytes from `at` on.
    unsafe fn write(&self, at: usize, len: usize, address: Option<SocketAddr>) {
        let Some(address) = address.map(address::to_bytes) else { return };
        // SAFETY: the caller's promise, and no more than there is room for.
        unsafe { self.buffer.add(at).copy_from_nonoverlapping(address.bytes.as_ptr(), address.len.min(len)) };
    }
}

impl Listener for Chain {
    fn ended(&self, _end: &mut End<'_>) -> Next {
        Next::Run // to start what follows, or to post
    }

    fn run(self: Arc<Self>, end: &mut End<'_>) {
        let (result, moved, thread) = (end.result(), end.moved(), end.tag().thread);
        let step = std::mem::replace(&mut *lock(&self.step), Step::Over);
        match (step, result) {
            (Step::Accept { socket, room }, Ok(_)) => self.accepted(end.accepted(), socket, room, thread),
            // A listener that is closed cancels.
            (Step::Accept { .. }, Err(Error::CONNECTION_ABORTED)) => self.end(Err(Error::OPERATION_ABORTED), 0),
            (Step::FirstData { socket }, result) => {
                self.file.follow(self.overlapped as usize, None);
                socket.land();
                self.end(result, moved);
            }
            (Step::Connect { data }, Ok(_)) => {
                let socket = self.file.as_socket();
                socket.connected.store(true, SeqCst);
                if data.is_empty() {
                    return self.end(Ok(0), 0);
                }
                let span = Span(data.as_ptr().cast_mut(), data.len());
                *lock(&self.step) = Step::FirstSend { _data: data };
                // SAFETY: the data lives in the step, which is replaced when the operation has ended.
                unsafe { self.go_on(&Arc::clone(&self.file), Operation::Send(span), thread) };
            }
            (Step::Disconnect { reuse }, Ok(_)) => {
                let result = disconnect(&self.file, reuse);
                self.end(result.map(|()| 0).map_err(|code| Error::from_code(code.0)), 0);
            }
            (Step::Transmit { flags, .. }, Ok(_)) if flags & (TF_DISCONNECT | TF_REUSE_SOCKET) != 0 => {
                let _ = disconnect(&self.file, flags & TF_REUSE_SOCKET != 0);
                self.end(result, moved);
            }
            (_, result) => self.end(result, moved),
        }
    }
}

/// Ends a connection, of which nothing is in line any more.
fn disconnect(file: &File, reuse: bool) -> Outcome<()> {
    if !reuse {
        let _ = file.raw.shutdown(Shutdown::Write); // a connection that has gone needs no shutting
        return Ok(());
    }
    let socket = file.as_socket();
    let _ = file.raw.shutdown(Shutdown::Both);
    let domain = if socket.family == AF_INET6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no pointers; the descriptor is new and ours.
    let fresh = unsafe {
        OwnedFd::from_raw_fd(checked(libc::socket(domain, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, socket.protocol))?)
    };
    file.raw.replace(fresh).map_err(|error| Code(error.winsock_code()))?;
    socket.connected.store(false, SeqCst);
    socket.bound.store(false, SeqCst);
    socket.accepted.store(false, SeqCst);
    socket.claimed.store(false, SeqCst);
    socket.reused.store(true, SeqCst);
    Ok(())
}

/// A part of a file in memory.
struct Mapping {
    start: *mut libc::c_void,
    len: usize,
}

// SAFETY: read-only memory that nobody else has.
unsafe impl Send for Mapping {}

impl Mapping {
    /// `len` bytes from `offset` on; where they begin.
    fn new(fd: i32, offset: u64, len: usize) -> Outcome<(Option<Self>, *mut u8)> {
        if len == 0 {
            return Ok((None, ptr::null_mut()));
        }
        const PAGE: u64 = 4096;
        let skip = (offset % PAGE) as usize;
        let (map_len, from) = (len + skip, (offset - skip as u64) as libc::off_t);
        // SAFETY: a new mapping, at an address of the system's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), map_len, libc::PROT_READ, libc::MAP_SHARED, fd, from) };
        if start == libc::MAP_FAILED {
            return Err(Code::INVALID_HANDLE);
        }
        // SAFETY: inside the mapping.
        Ok((Some(Self { start, len: map_len }), unsafe { start.cast::<u8>().add(skip) }))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and nobody uses it any more.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

/// `TRANSMIT_FILE_BUFFERS`.
#[repr(C)]
pub struct TransmitBuffers {
    head: *mut u8,
    head_len: DWORD,
    tail: *mut u8,
    tail_len: DWORD,
}

/// `TRANSMIT_PACKETS_ELEMENT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PacketElement {
    flags: DWORD,
    len: DWORD,
    /// Of a file the offset, or -1 for where it is; else an address.
    at: i64,
    file: HANDLE,
}

const _: () = assert!(size_of::<PacketElement>() == 24);

/// A part of a file, from its own position if no other is named; 0 bytes stand for the rest of it.
///
/// # Safety
/// The mapping outlives the use of the span.
unsafe fn part_of(
    from: HANDLE,
    offset: Option<u64>,
    count: DWORD,
    mappings: &mut Vec<Mapping>,
) -> Outcome<Option<Span>> {
    let Object::File(source) = handle::object(from)? else { return Err(Code::INVALID_HANDLE) };
    // SAFETY: no pointers.
    let offset = offset.unwrap_or_else(|| unsafe { libc::lseek(source.fd(), 0, libc::SEEK_CUR) }.max(0) as u64);
    // SAFETY: the system fills a structure for which all zeroes is valid.
    let size = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        checked(libc::fstat(source.fd(), &mut stat))?;
        stat.st_size as u64
    };
    let left = size.saturating_sub(offset);
    let len = if count == 0 { left } else { left.min(count.into()) };
    let (mapping, start) = Mapping::new(source.fd(), offset, len as usize)?;
    mappings.extend(mapping);
    Ok((len > 0).then_some(Span(start, len as usize)))
}

/// Sends pieces, overlapped or not, and disconnects if that is wanted.
///
/// # Safety
/// The pieces are the caller's, or in the mappings.
unsafe fn transmit(
    file: &Arc<File>,
    mut spans: Vec<Span>,
    mappings: Vec<Mapping>,
    overlapped: *const Overlapped,
    flags: DWORD,
) -> Outcome<BOOL> {
    if spans.is_empty() {
        spans.push(Span(ptr::null_mut(), 0));
    }
    let operation = if spans.len() == 1 { Operation::Send(spans[0]) } else { Operation::SendVectored(spans) };
    if overlapped.is_null() || !file.overlapped {
        // SAFETY: the caller's promise, and the mappings live here; the end is waited for.
        let finished = unsafe { file.perform(operation, None) }?;
        drop(mappings);
        finished.result.map_err(|error| Code(error.winsock_code()))?;
        if flags & (TF_DISCONNECT | TF_REUSE_SOCKET) != 0 {
            disconnect(file, flags & TF_REUSE_SOCKET != 0)?;
        }
        return Ok(TRUE);
    }
    // SAFETY: the caller's promise; the mappings live in the step.
    unsafe {
        Chain::new(file, overlapped, Step::Transmit { _mappings: mappings, flags })
            .and_then(|chain| chain.begin(operation))
    }?;
    Err(Code::IO_PENDING)
}

/// `GUID`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Guid(u32, u16, u16, [u8; 8]);

/// The functions that are asked for by GUID.
fn extension(guid: Guid) -> Option<usize> {
    const SOCKETS: [u8; 8] = [0x95, 0xCA, 0x00, 0x80, 0x5F, 0x48, 0xA1, 0x92];
    let functions: [(Guid, usize); 8] = [
        (Guid(0xB5367DF0, 0xCBAC, 0x11CF, SOCKETS), ovl_TransmitFile as *const () as usize),
        (Guid(0xB5367DF1, 0xCBAC, 0x11CF, SOCKETS), ovl_AcceptEx as *const () as usize),
        (Guid(0xB5367DF2, 0xCBAC, 0x11CF, SOCKETS), ovl_GetAcceptExSockaddrs as *const () as usize),
        (
            Guid(0x25A207B9, 0xDDF3, 0x4660, [0x8E, 0xE9, 0x76, 0xE5, 0x8C, 0x74, 0x06, 0x3E]),
            ovl_ConnectEx as *const () as usize,
        ),
        (
            Guid(0x7FDA2E11, 0x8630, 0x436F, [0xA0, 0x31, 0xF5, 0x36, 0xA6, 0xEE, 0xC1, 0x57]),
            ovl_DisconnectEx as *const () as usize,
        ),
        (
            Guid(0xD9689DA0, 0x1F90, 0x11D3, [0x99, 0x71, 0x00, 0xC0, 0x4F, 0x68, 0xC8, 0x76]),
            ovl_TransmitPackets as *const () as usize,
        ),
        (
            Guid(0xF689D7C8, 0x6F1F, 0x436B, [0x8A, 0x53, 0xE5, 0x4F, 0xE3, 0x51, 0xC3, 0x22]),
            transfer::ovl_WSARecvMsg as *const () as usize,
        ),
        (
            Guid(0xA441E712, 0x754F, 0x43CA, [0x84, 0xA7, 0x0D, 0xEE, 0x44, 0xCF, 0x60, 0x6D]),
            transfer::ovl_WSASendMsg as *const () as usize,
        ),
    ];
    functions.iter().find(|(known, _)| *known == guid).map(|(_, function)| *function)
}

/// `struct tcp_keepalive`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Keepalive {
    on: u32,
    time_ms: u32,
    interval_ms: u32,
}

/// # Safety
/// `from` is null or points to `len` bytes.
unsafe fn input<T: Copy>(from: *const u8, len: DWORD) -> Outcome<T> {
    if from.is_null() || (len as usize) < size_of::<T>() {
        return Err(Code::WSAEFAULT);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { from.cast::<T>().read_unaligned() })
}

/// # Safety
/// `to` is null or has room for `len` bytes.
unsafe fn output<T>(to: *mut u8, len: DWORD, value: T) -> Outcome<usize> {
    if to.is_null() || (len as usize) < size_of::<T>() {
        return Err(Code::WSAEFAULT);
    }
    // SAFETY: the caller's promise.
    unsafe { to.cast::<T>().write_unaligned(value) };
    Ok(size_of::<T>())
}

/// # Safety
/// As WSAIoctl.
unsafe fn control(
    file: &File,
    code: DWORD,
    from: *const u8,
    from_len: DWORD,
    to: *mut u8,
    to_len: DWORD,
) -> Outcome<usize> {
    const FIONBIO: DWORD = 0x8004_667E;
    const FIONREAD: DWORD = 0x4004_667F;
    const GET_EXTENSION_FUNCTION_POINTER: DWORD = 0xC800_0006;
    const KEEPALIVE_VALS: DWORD = 0x9800_0004;
    const UDP_CONNRESET: DWORD = 0x9800_000C;
    const UDP_NETRESET: DWORD = 0x9800_000F;
    const LOOPBACK_FAST_PATH: DWORD = 0x9800_0010;
    match code {
        GET_EXTENSION_FUNCTION_POINTER => {
            // SAFETY: the caller's promise.
            let guid = unsafe { input::<Guid>(from, from_len) }?;
            // SAFETY: the caller's promise.
            unsafe { output(to, to_len, extension(guid).ok_or(Code::WSAEINVAL)?) }
        }
        FIONBIO => {
            // SAFETY: the caller's promise.
            let on = unsafe { input::<u32>(from, from_len) }? != 0;
            file.as_socket().nonblocking.store(on, SeqCst);
            Ok(0)
        }
        FIONREAD => {
            let mut bytes = 0i32;
            // SAFETY: the system writes an int.
            checked(unsafe { libc::ioctl(file.fd(), libc::FIONREAD, &raw mut bytes) })?;
            // SAFETY: the caller's promise.
            unsafe { output(to, to_len, bytes as u32) }
        }
        KEEPALIVE_VALS => {
            // SAFETY: the caller's promise.
            let values = unsafe { input::<Keepalive>(from, from_len) }?;
            let seconds = |ms: u32| ms.div_ceil(1000).clamp(1, 32767) as i32;
            set_int(file.fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE, i32::from(values.on != 0))?;
            if values.on != 0 {
                set_int(file.fd(), libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds(values.time_ms))?;
                set_int(file.fd(), libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, seconds(values.interval_ms))?;
            }
            Ok(0)
        }
        // What they ask for is so, or makes no difference here.
        UDP_CONNRESET | UDP_NETRESET | LOOPBACK_FAST_PATH => Ok(0),
        _ => Err(Code::WSAEOPNOTSUPP),
    }
}

boundary! {
    /// `AcceptEx`.
    fn ovl_AcceptEx(listener: SOCKET, accept: SOCKET, buffer: *mut u8, receive: DWORD, local: DWORD, remote: DWORD, bytes: *mut DWORD, overlapped: *const Overlapped) -> BOOL, winsock else (FALSE) {
        let (file, socket) = (file::socket(listener)?, file::socket(accept)?);
        if overlapped.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        if buffer.is_null() || remote == 0 {
            return Err(Code::WSAEFAULT);
        }
        let with = socket.as_socket();
        let used = with.bound.load(SeqCst) || with.connected.load(SeqCst) || with.listening.load(SeqCst);
        if !file.as_socket().listening.load(SeqCst) || used || !with.is_stream() || with.family != file.as_socket().family {
            return Err(Code::WSAEINVAL);
        }
        if with.claimed.swap(true, SeqCst) {
            return Err(Code::WSAEINVAL);
        }
        let room = Room { buffer, receive: receive as usize, local: local as usize, remote: remote as usize };
        let least = ADDRESS_EXTRA + if with.family == AF_INET6 { LEN_V6 } else { LEN_V4 };
        if !bytes.is_null() {
            // SAFETY: the caller's variable.
            unsafe { bytes.write(0) };
        }
        if room.remote < least || room.local < least && room.local != 0 {
            with.claimed.store(false, SeqCst);
            // SAFETY: the caller's promise.
            let told = unsafe { file.finish_at_once(Err(Error::INSUFFICIENT_BUFFER), Call::plain(overlapped)) };
            return told.and(Err(Code::IO_PENDING));
        }
        let claimed = Arc::clone(&socket);
        // SAFETY: the caller's promise.
        let started = unsafe {
            Chain::new(&file, overlapped, Step::Accept { socket, room }).and_then(|chain| chain.begin(Operation::Accept))
        };
        if started.is_err() {
            claimed.as_socket().claimed.store(false, SeqCst);
        }
        started.and(Err(Code::IO_PENDING))
    }

    /// `GetAcceptExSockaddrs`.
    fn ovl_GetAcceptExSockaddrs(buffer: *mut u8, receive: DWORD, local_len: DWORD, remote_len: DWORD, local: *mut *mut u8, local_size: *mut i32, remote: *mut *mut u8, remote_size: *mut i32) {
        if buffer.is_null() {
            return;
        }
        let size = |at: *mut u8, room: DWORD| {
            // SAFETY: the caller has such a buffer.
            let family = if room < 2 { 0 } else { unsafe { at.cast::<u16>().read_unaligned() } };
            match i32::from(family) {
                AF_INET => LEN_V4 as i32,
                AF_INET6 => LEN_V6 as i32,
                _ => 0,
            }
        };
        // SAFETY: the caller has such a buffer, and the variables.
        unsafe {
            let first = buffer.add(receive as usize);
            let second = first.add(local_len as usize);
            for (to, value) in [(local, first), (remote, second)] {
                if !to.is_null() {
                    to.write(value);
                }
            }
            for (to, value) in [(local_size, size(first, local_len)), (remote_size, size(second, remote_len))] {
                if !to.is_null() {
                    to.write(value);
                }
            }
        }
    }

    /// `ConnectEx`.
    fn ovl_ConnectEx(s: SOCKET, name: *const u8, len: i32, data: *const u8, data_len: DWORD, sent: *mut DWORD, overlapped: *const Overlapped) -> BOOL, winsock else (FALSE) {
        let file = file::socket(s)?;
        if overlapped.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        let socket = file.as_socket();
        if is_connected(&file) {
            return Err(Code::WSAEISCONN);
        }
        let bound = socket.bound.load(SeqCst) || socket.reused.load(SeqCst);
        if !bound || socket.listening.load(SeqCst) || !socket.is_stream() {
            return Err(Code::WSAEINVAL);
        }
        // SAFETY: the caller's promise.
        let address = unsafe { address::read(name, len) }?;
        if (socket.family == AF_INET) != address.is_ipv4() {
            return Err(Code::WSAEAFNOSUPPORT);
        }
        let data = match data.is_null() {
            true => Vec::new(),
            // SAFETY: the caller's promise.
            false => unsafe { std::slice::from_raw_parts(data, data_len as usize) }.to_vec(),
        };
        if !sent.is_null() {
            // SAFETY: the caller's variable.
            unsafe { sent.write(0) };
        }
        // SAFETY: the caller's promise.
        unsafe {
            Chain::new(&file, overlapped, Step::Connect { data })
                .and_then(|chain| chain.begin(Operation::Connect(address)))
        }?;
        Err(Code::IO_PENDING)
    }

    /// `DisconnectEx`.
    fn ovl_DisconnectEx(s: SOCKET, overlapped: *const Overlapped, flags: DWORD, reserved: DWORD) -> BOOL, winsock else (FALSE) {
        let file = file::socket(s)?;
        if flags & !TF_REUSE_SOCKET != 0 || reserved != 0 {
            return Err(Code::WSAEINVAL);
        }
        if !is_connected(&file) {
            return Err(Code::WSAENOTCONN);
        }
        let reuse = flags & TF_REUSE_SOCKET != 0;
        // Nothing to send: it ends when all before it in line has been sent.
        let empty = Operation::Send(Span(ptr::null_mut(), 0));
        if overlapped.is_null() {
            if !file.raw.is_shut(Side::Send) {
                // SAFETY: no memory is named.
                unsafe { file.perform(empty, None) }?;
            }
            disconnect(&file, reuse)?;
            return Ok(TRUE);
        }
        if file.raw.is_shut(Side::Send) {
            let result = disconnect(&file, reuse).map(|()| 0).map_err(|code| Error::from_code(code.0));
            // SAFETY: the caller's promise.
            unsafe { file.finish_at_once(result, Call::plain(overlapped)) }?;
            return Err(Code::IO_PENDING);
        }
        // SAFETY: the caller's promise.
        unsafe { Chain::new(&file, overlapped, Step::Disconnect { reuse }).and_then(|chain| chain.begin(empty)) }?;
        Err(Code::IO_PENDING)
    }

    /// `TransmitFile`.
    fn ovl_TransmitFile(s: SOCKET, from: HANDLE, count: DWORD, _piece: DWORD, overlapped: *const Overlapped, buffers: *const TransmitBuffers, flags: DWORD) -> BOOL, winsock else (FALSE) {
        let file = file::socket(s)?;
        if !is_connected(&file) {
            return Err(Code::WSAENOTCONN);
        }
        if file.raw.is_shut(Side::Send) {
            return Err(Code::WSAESHUTDOWN);
        }
        // SAFETY: null, or the caller's.
        let (with, buffers) = unsafe { (overlapped.as_ref(), buffers.as_ref()) };
        let mut spans = Vec::new();
        if let Some(buffers) = buffers.filter(|buffers| buffers.head_len > 0) {
            spans.push(Span(buffers.head, buffers.head_len as usize));
        }
        let mut mappings = Vec::new();
        if !from.is_null() {
            let offset = with.map(Overlapped::offset);
            // SAFETY: the mapping lives as long as the operation.
            spans.extend(unsafe { part_of(from, offset, count, &mut mappings) }?);
        }
        if let Some(buffers) = buffers.filter(|buffers| buffers.tail_len > 0) {
            spans.push(Span(buffers.tail, buffers.tail_len as usize));
        }
        // SAFETY: the caller's promise.
        unsafe { transmit(&file, spans, mappings, overlapped, flags) }
    }

    /// `TransmitPackets`, on a stream: the elements leave one behind the other.
    fn ovl_TransmitPackets(s: SOCKET, elements: *const PacketElement, count: DWORD, _piece: DWORD, overlapped: *const Overlapped, flags: DWORD) -> BOOL, winsock else (FALSE) {
        const MEMORY: DWORD = 1;
        const FILE: DWORD = 2;
        let file = file::socket(s)?;
        if !file.as_socket().is_stream() {
            return Err(Code::WSAEOPNOTSUPP);
        }
        if !is_connected(&file) {
            return Err(Code::WSAENOTCONN);
        }
        if file.raw.is_shut(Side::Send) {
            return Err(Code::WSAESHUTDOWN);
        }
        if elements.is_null() && count > 0 {
            return Err(Code::WSAEFAULT);
        }
        let (mut spans, mut mappings) = (Vec::new(), Vec::new());
        for at in 0..count as usize {
            // SAFETY: the caller has so many.
            let element = unsafe { elements.add(at).read() };
            match element.flags & (MEMORY | FILE) {
                MEMORY => spans.push(Span(element.at as *mut u8, element.len as usize)),
                FILE => {
                    let offset = (element.at != -1).then_some(element.at as u64);
                    // SAFETY: the mapping lives as long as the operation.
                    spans.extend(unsafe { part_of(element.file, offset, element.len, &mut mappings) }?);
                }
                _ => return Err(Code::WSAEINVAL),
            }
        }
        // SAFETY: the caller's promise.
        unsafe { transmit(&file, spans, mappings, overlapped, flags) }
    }

    /// `WSAIoctl`.
    fn ovl_WSAIoctl(s: SOCKET, code: DWORD, from: *const u8, from_len: DWORD, to: *mut u8, to_len: DWORD, bytes: *mut DWORD, overlapped: *const Overlapped, routine: Option<Routine>) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        if bytes.is_null() && overlapped.is_null() {
            return Err(Code::WSAEFAULT);
        }
        // SAFETY: the caller's promise.
        let written = unsafe { control(&file, code, from, from_len, to, to_len) }?;
        if !bytes.is_null() {
            // SAFETY: not null, so the caller's variable.
            unsafe { bytes.write(written as DWORD) };
        }
        if !overlapped.is_null() {
            let call = Call { overlapped, routine, winsock: true, from: None };
            // SAFETY: the caller's promise.
            unsafe { file.finish_at_once(Ok(written), call) }?;
        }
        Ok(0)
    }
}
