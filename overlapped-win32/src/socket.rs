//! Sockets: how they begin, what they are bound and connected to, their options, and their end.

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use overlapped::Error;
use overlapped::raw::{self, Operation, Side};

use crate::address::{self, AF_INET, AF_INET6, Address};
use crate::boundary::{boundary, set_last_error};
use crate::file::{self, File};
use crate::handle::{self, Object};
use crate::network::{FD_ACCEPT, FD_CONNECT, Selection};
use crate::share;
use crate::status::{errno, last_winsock, of_errno_winsock};
use crate::types::*;

pub(crate) const SOCK_STREAM: i32 = 1;
pub(crate) const SOCK_DGRAM: i32 = 2;
const SOCK_RAW: i32 = 3;
pub(crate) const FLAG_OVERLAPPED: DWORD = 1;

/// What a socket has that a file has not.
#[repr(C)]
pub(crate) struct Socket {
    pub(crate) family: i32,
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
    pub(crate) nonblocking: AtomicBool,
    /// Milliseconds, 0 for ever. Of plain receives and sends only, so the system knows nothing of them.
    pub(crate) receive_timeout: AtomicU32,
    pub(crate) send_timeout: AtomicU32,
    pub(crate) listening: AtomicBool,
    /// `bind` has succeeded, or something that binds.
    pub(crate) bound: AtomicBool,
    /// A connect has been begun without waiting for its end.
    pub(crate) connecting: AtomicBool,
    pub(crate) connected: AtomicBool,
    pub(crate) exclusive: AtomicBool,
    /// The program has set SO_REUSEADDR.
    pub(crate) reuse: AtomicBool,
    /// Given to AcceptEx, which may be given it once.
    pub(crate) claimed: AtomicBool,
    /// Connected by AcceptEx, and the program has not yet said SO_UPDATE_ACCEPT_CONTEXT.
    pub(crate) accepted: AtomicBool,
    /// Disconnected, to be used again: for ConnectEx it counts as bound.
    pub(crate) reused: AtomicBool,
    /// Network events are asked for: there is a selection.
    pub(crate) selected: AtomicBool,
    /// When it was first seen to be connected.
    since: OnceLock<Instant>,
    pub(crate) selection: Mutex<Option<Selection>>,
    /// The other side, when it was last asked for.
    peer: Mutex<Option<SocketAddr>>,
}

impl Socket {
    pub(crate) fn new(family: i32, kind: i32, protocol: i32) -> Self {
        Self {
            family,
            kind,
            protocol,
            nonblocking: AtomicBool::new(false),
            receive_timeout: AtomicU32::new(0),
            send_timeout: AtomicU32::new(0),
            listening: AtomicBool::new(false),
            bound: AtomicBool::new(false),
            connecting: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            exclusive: AtomicBool::new(false),
            reuse: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
            accepted: AtomicBool::new(false),
            reused: AtomicBool::new(false),
            since: OnceLock::new(),
            selected: AtomicBool::new(false),
            selection: Mutex::new(None),
            peer: Mutex::new(None),
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.kind == SOCK_STREAM
    }

    /// When it was connected.
    pub(crate) fn since(&self) -> Option<&Instant> {
        self.connected.load(SeqCst).then(|| self.since.get_or_init(Instant::now))
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.nonblocking.load(SeqCst)
    }

    pub(crate) fn limit(&self, side: Side) -> Option<Duration> {
        let timeout = match side {
            Side::Receive => &self.receive_timeout,
            Side::Send => &self.send_timeout,
        };
        match timeout.load(SeqCst) {
            0 => None,
            ms => Some(Duration::from_millis(ms.into())),
        }
    }
}

impl File {
    /// What a socket has; asked of sockets only.
    pub(crate) fn as_socket(&self) -> &Socket {
        self.socket.as_ref().expect("looked up as a socket")
    }
}

impl File {
    /// The other side's address, also after the connection has gone.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let socket = self.as_socket();
        match peer_address(self.fd()) {
            Some(peer) => {
                *handle::lock(&socket.peer) = Some(peer);
                Some(peer)
            }
            None if socket.connected.load(SeqCst) => *handle::lock(&socket.peer),
            None => None,
        }
    }
}

/// Calls of WSAStartup without their WSACleanup.
static STARTED: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn started() -> Outcome<()> {
    if STARTED.load(SeqCst) == 0 { Err(Code::WSANOTINITIALISED) } else { Ok(()) }
}

/// What a call of the system's gave, or Winsock's name for its error.
pub(crate) fn checked(result: i32) -> Outcome<i32> {
    if result < 0 { Err(last_winsock()) } else { Ok(result) }
}

/// An address of the system's, with its length.
pub(crate) fn system_address(address: SocketAddr) -> socket2_address::Storage {
    socket2_address::Storage::new(address)
}

/// `sockaddr_storage` and back.
pub(crate) mod socket2_address {
    use super::*;

    pub(crate) struct Storage {
        pub(crate) storage: libc::sockaddr_storage,
        pub(crate) len: libc::socklen_t,
    }

    impl Storage {
        pub(crate) fn empty() -> Self {
            // SAFETY: plain data, for which all zeroes is valid.
            let storage = unsafe { MaybeUninit::zeroed().assume_init() };
            Self { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
        }

        pub(crate) fn new(address: SocketAddr) -> Self {
            let mut this = Self::empty();
            let bytes = address::to_bytes(address);
            // SAFETY: the storage is larger than any address; the layouts agree, but for the family, which is set below.
            unsafe { (&raw mut this.storage).cast::<u8>().copy_from_nonoverlapping(bytes.bytes.as_ptr(), bytes.len) };
            this.storage.ss_family =
                if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as libc::sa_family_t;
            this.len = bytes.len as libc::socklen_t;
            this
        }

        pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
            (&raw const self.storage).cast()
        }

        pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
            (&raw mut self.storage).cast()
        }

        /// What the system wrote.
        pub(crate) fn address(&self) -> Option<SocketAddr> {
            let mut bytes = [0; address::LEN_V6];
            // SAFETY: the storage is larger.
            unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping((&raw const self.storage).cast(), bytes.len()) };
            let family = match i32::from(self.storage.ss_family) {
                libc::AF_INET => AF_INET,
                libc::AF_INET6 => AF_INET6,
                _ => return None,
            };
            bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
            address::from_bytes(&bytes).ok()
        }
    }
}
use socket2_address::Storage;

fn create(family: i32, kind: i32, protocol: i32, overlapped: bool) -> Outcome<SOCKET> {
    started()?;
    let (family, domain) = match family {
        AF_INET => (AF_INET, libc::AF_INET),
        AF_INET6 => (AF_INET6, libc::AF_INET6),
        // The family follows from the protocol, which has to be given then.
        address::AF_UNSPEC if protocol != 0 || kind != 0 => (AF_INET, libc::AF_INET),
        address::AF_UNSPEC => return Err(Code::WSAEINVAL),
        _ => return Err(Code::WSAEAFNOSUPPORT),
    };
    let kind = match (kind, protocol) {
        (0, libc::IPPROTO_TCP) => SOCK_STREAM,
        (0, libc::IPPROTO_UDP) => SOCK_DGRAM,
        (SOCK_STREAM | SOCK_DGRAM | SOCK_RAW, _) => kind,
        _ => return Err(Code::WSAESOCKTNOSUPPORT),
    };
    match (kind, protocol) {
        (SOCK_STREAM, 0 | libc::IPPROTO_TCP) | (SOCK_DGRAM, 0 | libc::IPPROTO_UDP) | (SOCK_RAW, _) => {}
        _ => return Err(Code::WSAEPROTONOSUPPORT),
    }
    // SAFETY: no pointers.
    let fd = checked(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the system just gave it to us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if family == AF_INET6 {
        set_int(fd.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?; // Windows' default
    }
    give(fd, Socket::new(family, kind, protocol), overlapped)
}

pub(crate) fn give(fd: OwnedFd, socket: Socket, overlapped: bool) -> Outcome<SOCKET> {
    let kind = if socket.is_stream() { raw::Kind::Stream } else { raw::Kind::Datagram };
    handle::open(Object::File(File::new(fd, kind, Some(socket), overlapped))).map_err(|_| Code::WSAEMFILE)
}

pub(crate) fn set_int(fd: RawFd, level: i32, name: i32, value: i32) -> Outcome<()> {
    // SAFETY: the system reads an int.
    checked(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size_of::<i32>() as u32) }).map(drop)
}

pub(crate) fn get_int(fd: RawFd, level: i32, name: i32) -> Outcome<i32> {
    let (mut value, mut len) = (0i32, size_of::<i32>() as u32);
    // SAFETY: the system writes an int at most.
    checked(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &mut len) })?;
    Ok(value)
}

pub(crate) fn local_address(fd: RawFd) -> Option<SocketAddr> {
    let mut storage = Storage::empty();
    // SAFETY: the system writes at most `len` bytes.
    let result = unsafe { libc::getsockname(fd, storage.as_mut_ptr(), &mut storage.len) };
    if result == 0 { storage.address() } else { None }
}

pub(crate) fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    let mut storage = Storage::empty();
    // SAFETY: the system writes at most `len` bytes.
    let result = unsafe { libc::getpeername(fd, storage.as_mut_ptr(), &mut storage.len) };
    if result == 0 { storage.address() } else { None }
}

/// Whether the system has something for one who asks for `events`, now.
pub(crate) fn is_ready(fd: RawFd, events: i16) -> bool {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry, which lives through the call.
    unsafe { libc::poll(&mut poll, 1, 0) > 0 }
}

/// So long a call that does not wait gives the ring for what is there.
const SOON: Duration = Duration::from_millis(50);

/// A connection of a listener: at once, or waited for.
fn accept(listener: &Arc<File>) -> Outcome<OwnedFd> {
    let socket = listener.as_socket();
    if !socket.listening.load(SeqCst) {
        return Err(if socket.is_stream() { Code::WSAEINVAL } else { Code::WSAEOPNOTSUPP });
    }
    if socket.is_nonblocking() && !is_ready(listener.fd(), libc::POLLIN) {
        listener.reenable(FD_ACCEPT);
        return Err(Code::WSAEWOULDBLOCK);
    }
    // In the ring also where a connection is known to wait: another thread may take that one away.
    // SAFETY: no memory is named.
    let finished = unsafe { listener.perform(Operation::Accept, socket.is_nonblocking().then_some(SOON)) }?;
    listener.reenable(FD_ACCEPT);
    match (finished.result, finished.accepted) {
        (Err(Error::SEM_TIMEOUT), _) if socket.is_nonblocking() => Err(Code::WSAEWOULDBLOCK),
        (Ok(_), Some(fd)) => Ok(fd),
        (Err(Error::CONNECTION_ABORTED), _) => Err(Code::WSAEINTR), // closed
        (Err(error), _) => Err(Code(error.winsock_code())),
        (Ok(_), None) => Err(Code::WSAECONNRESET),
    }
}

/// A socket for a connection of `listener`, which it takes after.
fn adopt(listener: &File, fd: OwnedFd) -> Outcome<SOCKET> {
    let parent = listener.as_socket();
    let socket = Socket::new(parent.family, parent.kind, parent.protocol);
    socket.nonblocking.store(parent.is_nonblocking(), SeqCst);
    socket.bound.store(true, SeqCst);
    socket.connected.store(true, SeqCst);
    let s = give(fd, socket, listener.overlapped)?;
    if parent.selected.load(SeqCst) {
        file::socket(s)?.inherit_events(listener);
    }
    Ok(s)
}

/// Binds to any address, as calls do that need an address and have none.
pub(crate) fn bind_to_any(file: &File) -> Outcome<()> {
    let any = match file.as_socket().family {
        AF_INET6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        _ => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
    };
    bind(file, any)
}

/// So long an address that is in use may still become free.
const PATIENCE: Duration = Duration::from_millis(400);

fn bind(file: &File, address: SocketAddr) -> Outcome<()> {
    let socket = file.as_socket();
    if socket.bound.load(SeqCst) {
        return Err(Code::WSAEINVAL);
    }
    if (socket.family == AF_INET) != address.is_ipv4() {
        return Err(Code::WSAEAFNOSUPPORT);
    }
    if socket.is_stream() && !socket.exclusive.load(SeqCst) {
        // Connections that have ended do not keep the address, as on Windows; another listener does.
        set_int(file.fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    }
    let storage = system_address(address);
    let begun = Instant::now();
    // SAFETY: the address lives through the call.
    while unsafe { libc::bind(file.fd(), storage.as_ptr(), storage.len) } != 0 {
        match errno() {
            // The system takes the rings of a process that has died apart a little later, and the sockets in them keep their
            // addresses until then: a server that is started again at once would not find its own free.
            libc::EADDRINUSE if socket.is_stream() && address.port() != 0 && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            libc::EINVAL => return Err(Code::WSAEINVAL),
            errno => return Err(of_errno_winsock(errno)),
        }
    }
    socket.bound.store(true, SeqCst);
    Ok(())
}

/// Connects, as `connect` does.
fn connect(file: &Arc<File>, address: SocketAddr) -> Outcome<()> {
    let socket = file.as_socket();
    if (socket.family == AF_INET) != address.is_ipv4() {
        return Err(Code::WSAEAFNOSUPPORT);
    }
    if socket.listening.load(SeqCst) {
        return Err(Code::WSAEINVAL);
    }
    let address = to_reach(address);
    if !socket.is_stream() {
        let storage = system_address(address);
        // SAFETY: the address lives through the call.
        checked(unsafe { libc::connect(file.fd(), storage.as_ptr(), storage.len) })?;
        socket.bound.store(true, SeqCst);
        socket.connected.store(true, SeqCst);
        return Ok(());
    }
    if socket.connected.load(SeqCst) {
        return Err(Code::WSAEISCONN);
    }
    if socket.is_nonblocking() || socket.connecting.load(SeqCst) {
        return connect_without_waiting(file, address);
    }
    // SAFETY: no memory is named.
    let finished = unsafe { file.perform(Operation::Connect(address), None) }?;
    match finished.result {
        Ok(_) => {
            socket.bound.store(true, SeqCst);
            socket.connected.store(true, SeqCst);
            Ok(())
        }
        Err(Error::CONNECTION_ABORTED) => Err(Code::WSAEINTR), // closed
        Err(error) => Err(Code(error.winsock_code())),
    }
}

/// An address that only stands for this machine is one to listen at. Windows says so of a connect, WSAEADDRNOTAVAIL; the system connects.
fn to_reach(address: SocketAddr) -> SocketAddr {
    address
}

fn connect_without_waiting(file: &Arc<File>, address: SocketAddr) -> Outcome<()> {
    let socket = file.as_socket();
    let storage = system_address(address);
    // The descriptor itself waits, because overlapped operations have to. Nobody else uses it while it is not connected.
    let result = with_nonblocking(file.fd(), || {
        // SAFETY: the address lives through the call.
        match unsafe { libc::connect(file.fd(), storage.as_ptr(), storage.len) } {
            0 => 0,
            _ => errno(),
        }
    });
    match result {
        0 | libc::EISCONN => {
            let again = socket.connecting.swap(false, SeqCst);
            socket.bound.store(true, SeqCst);
            socket.connected.store(true, SeqCst);
            // A second call that finds it connected says so.
            if result == 0 && !again { Ok(()) } else { Err(Code::WSAEISCONN) }
        }
        libc::EINPROGRESS | libc::EAGAIN => {
            socket.bound.store(true, SeqCst);
            socket.connecting.store(true, SeqCst);
            file.reenable(FD_CONNECT);
            Err(Code::WSAEWOULDBLOCK)
        }
        libc::EALREADY => Err(Code::WSAEALREADY),
        errno => {
            socket.connecting.store(false, SeqCst);
            Err(of_errno_winsock(errno))
        }
    }
}

/// Lets a call not wait that has no flag for it.
fn with_nonblocking<R>(fd: RawFd, call: impl FnOnce() -> R) -> R {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    let result = call();
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
    result
}

/// Whether a connect that was begun without waiting has succeeded by now.
pub(crate) fn is_connected(file: &File) -> bool {
    let socket = file.as_socket();
    if socket.connecting.load(SeqCst) && peer_address(file.fd()).is_some() {
        socket.connecting.store(false, SeqCst);
        socket.connected.store(true, SeqCst);
    }
    socket.connected.load(SeqCst)
}

/// `WSABUF`, of a condition function's.
#[repr(C)]
pub struct Blob {
    len: DWORD,
    bytes: *mut u8,
}

/// `LPCONDITIONPROC`.
type Condition =
    unsafe extern "C" fn(*const Blob, *mut Blob, *mut u8, *mut u8, *mut Blob, *mut Blob, *mut u32, usize) -> i32;

const WSADESCRIPTION_LEN: usize = 256;
const WSASYS_STATUS_LEN: usize = 128;

/// `WSADATA`, as it is for 64 bits.
#[repr(C)]
pub struct WsaData {
    version: u16,
    high_version: u16,
    max_sockets: u16,
    max_udp: u16,
    vendor: *mut u8,
    description: [u8; WSADESCRIPTION_LEN + 1],
    status: [u8; WSASYS_STATUS_LEN + 1],
}

const _: () = assert!(size_of::<WsaData>() == 408);

boundary! {
    /// `WSAStartup`. Versions from 1.0 to 2.2, and 2.2 for those who ask for more.
    fn ovl_WSAStartup(version: u16, data: *mut WsaData) -> i32 {
        let (major, minor) = (version & 0xFF, version >> 8);
        if data.is_null() {
            return Code::WSAEFAULT.0 as i32;
        }
        let agreed = match (major, minor) {
            (0, _) => return Code::WSAVERNOTSUPPORTED.0 as i32,
            (1, 0 | 1) | (2, 0..=2) => version,
            (1, _) => 0x0101,
            _ => 0x0202,
        };
        let mut text = [0; WSADESCRIPTION_LEN + 1];
        text[..11].copy_from_slice(b"WinSock 2.0");
        let mut running = [0; WSASYS_STATUS_LEN + 1];
        running[..7].copy_from_slice(b"Running");
        let old = major == 1;
        // SAFETY: not null, so the caller's variable.
        unsafe {
            data.write(WsaData {
                version: agreed,
                high_version: 0x0202,
                max_sockets: if old { 32767 } else { 0 },
                max_udp: if old { 65467 } else { 0 },
                vendor: std::ptr::null_mut(),
                description: text,
                status: running,
            });
        }
        STARTED.fetch_add(1, SeqCst);
        0
    }

    /// `WSACleanup`.
    fn ovl_WSACleanup() -> i32, winsock else (SOCKET_ERROR) {
        let left = STARTED.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1));
        left.map(|_| 0).map_err(|_| Code::WSANOTINITIALISED)
    }

    /// `socket`: with the overlapped attribute.
    fn ovl_socket(family: i32, kind: i32, protocol: i32) -> SOCKET, winsock else (INVALID_SOCKET) {
        create(family, kind, protocol, true)
    }

    /// `WSASocketA`. Protocol information of WSADuplicateSocket's makes a duplicate; other, groups and flags other than the overlapped one
    /// are left aside.
    fn ovl_WSASocketA(family: i32, kind: i32, protocol: i32, info: *const u8, _group: u32, flags: DWORD) -> SOCKET, winsock else (INVALID_SOCKET) {
        const FROM_PROTOCOL_INFO: i32 = -1;
        if !info.is_null() && family == FROM_PROTOCOL_INFO {
            started()?;
            // SAFETY: the caller's promise.
            return unsafe { share::take(info, flags & FLAG_OVERLAPPED != 0) };
        }
        create(family, kind, protocol, flags & FLAG_OVERLAPPED != 0)
    }

    /// `bind`.
    fn ovl_bind(s: SOCKET, name: *const u8, len: i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: the caller's promise.
        let address = unsafe { address::read(name, len) }?;
        bind(&file, address)?;
        Ok(0)
    }

    /// `listen`.
    fn ovl_listen(s: SOCKET, backlog: i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        let socket = file.as_socket();
        if !socket.is_stream() {
            return Err(Code::WSAEOPNOTSUPP);
        }
        if socket.connected.load(SeqCst) {
            return Err(Code::WSAEISCONN);
        }
        if !socket.bound.load(SeqCst) {
            return Err(Code::WSAEINVAL);
        }
        // SOMAXCONN asks for as much as is reasonable, and so does what is beyond.
        let backlog = if (1..4096).contains(&backlog) { backlog.max(200) } else { 4096 };
        // SAFETY: no pointers.
        checked(unsafe { libc::listen(file.fd(), backlog) })?;
        socket.listening.store(true, SeqCst);
        Ok(0)
    }

    /// `accept`.
    fn ovl_accept(s: SOCKET, name: *mut u8, len: *mut i32) -> SOCKET, winsock else (INVALID_SOCKET) {
        let file = file::socket(s)?;
        let fd = accept(&file)?;
        if let Some(address) = Address::new(name, len) {
            let peer = peer_address(fd.as_raw_fd());
            // SAFETY: the caller's variables.
            unsafe { address.write(peer) };
        }
        adopt(&file, fd)
    }

    /// `WSAAccept`. The condition is asked once the connection is there: one that it refuses is closed, one that it defers is handed on.
    fn ovl_WSAAccept(s: SOCKET, name: *mut u8, len: *mut i32, condition: Option<Condition>, data: usize) -> SOCKET, winsock else (INVALID_SOCKET) {
        const CF_REJECT: i32 = 1;
        let file = file::socket(s)?;
        let fd = accept(&file)?;
        let peer = peer_address(fd.as_raw_fd());
        if let Some(condition) = condition {
            let bytes = peer.map(address::to_bytes);
            let (from, from_len) = bytes.as_ref().map_or((std::ptr::null(), 0), |bytes| (bytes.bytes.as_ptr(), bytes.len));
            let caller = Blob { len: from_len as DWORD, bytes: from.cast_mut() };
            let (mut nothing, mut group) = (Blob { len: 0, bytes: std::ptr::null_mut() }, 0u32);
            let to = &raw mut nothing;
            // SAFETY: the caller gave it for this; what it is given lives through the call.
            let answer = unsafe { condition(&caller, to, std::ptr::null_mut(), std::ptr::null_mut(), to, to, &raw mut group, data) };
            match answer {
                0 => {}
                CF_REJECT => return Err(Code::WSAECONNREFUSED),
                _ => return Err(Code::WSATRY_AGAIN),
            }
        }
        if let Some(address) = Address::new(name, len) {
            // SAFETY: the caller's variables.
            unsafe { address.write(peer) };
        }
        adopt(&file, fd)
    }

    /// `WSAConnect`. Data and quality of service do not go with a connect.
    fn ovl_WSAConnect(s: SOCKET, name: *const u8, len: i32, _caller: *const u8, _callee: *const u8, _sqos: *const u8, _gqos: *const u8) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: the caller's promise.
        connect(&file, unsafe { address::read(name, len) }?)?;
        Ok(0)
    }

    /// `WSASendDisconnect`: shuts the sending half.
    fn ovl_WSASendDisconnect(s: SOCKET, _data: *const u8) -> i32 {
        // SAFETY: no pointers.
        unsafe { ovl_shutdown(s, 1) }
    }

    /// `WSARecvDisconnect`: shuts the receiving half.
    fn ovl_WSARecvDisconnect(s: SOCKET, _data: *const u8) -> i32 {
        // SAFETY: no pointers.
        unsafe { ovl_shutdown(s, 0) }
    }

    /// `connect`.
    fn ovl_connect(s: SOCKET, name: *const u8, len: i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: the caller's promise.
        connect(&file, unsafe { address::read(name, len) }?)?;
        Ok(0)
    }

    /// `closesocket`.
    fn ovl_closesocket(s: SOCKET) -> i32, winsock else (SOCKET_ERROR) {
        let is_socket = |object: &Object| matches!(object, Object::File(file) if file.socket.is_some());
        handle::take(s, is_socket).ok_or(Code::WSAENOTSOCK)?.closed();
        Ok(0)
    }

    /// `shutdown`.
    fn ovl_shutdown(s: SOCKET, how: i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        let how = match how {
            0 => Shutdown::Read,
            1 => Shutdown::Write,
            2 => Shutdown::Both,
            _ => return Err(Code::WSAEINVAL),
        };
        if !is_connected(&file) || file.as_socket().accepted.load(SeqCst) {
            return Err(Code::WSAENOTCONN);
        }
        file.peer(); // which the system forgets
        // A connection that has gone needs no shutting.
        match file.raw.shutdown(how) {
            Ok(()) | Err(Error::NOT_CONNECTED) => Ok(0),
            Err(error) => Err(Code(error.winsock_code())),
        }
    }

    /// `getsockname`.
    fn ovl_getsockname(s: SOCKET, name: *mut u8, len: *mut i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        let address = Address::new(name, len).ok_or(Code::WSAEFAULT)?;
        let socket = file.as_socket();
        if !socket.bound.load(SeqCst) || socket.accepted.load(SeqCst) {
            return Err(Code::WSAEINVAL);
        }
        let local = local_address(file.fd()).ok_or(Code::WSAEINVAL)?;
        // SAFETY: the caller's variables.
        unsafe { address.write_all(local) }?;
        Ok(0)
    }

    /// `getpeername`.
    fn ovl_getpeername(s: SOCKET, name: *mut u8, len: *mut i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        let address = Address::new(name, len).ok_or(Code::WSAEFAULT)?;
        if file.as_socket().accepted.load(SeqCst) {
            return Err(Code::WSAENOTCONN);
        }
        let peer = file.peer().ok_or(Code::WSAENOTCONN)?;
        // SAFETY: the caller's variables.
        unsafe { address.write_all(peer) }?;
        Ok(0)
    }

    /// `ioctlsocket`: FIONBIO, FIONREAD, SIOCATMARK.
    fn ovl_ioctlsocket(s: SOCKET, command: i32, argument: *mut u32) -> i32, winsock else (SOCKET_ERROR) {
        const FIONBIO: u32 = 0x8004_667E;
        const FIONREAD: u32 = 0x4004_667F;
        const SIOCATMARK: u32 = 0x4004_7307;
        let file = file::socket(s)?;
        // SAFETY: null, or the caller's variable.
        let argument = unsafe { argument.as_mut() }.ok_or(Code::WSAEFAULT)?;
        match command as u32 {
            FIONBIO if *argument == 0 && file.as_socket().selected.load(SeqCst) => return Err(Code::WSAEINVAL),
            FIONBIO => file.as_socket().nonblocking.store(*argument != 0, SeqCst),
            FIONREAD => {
                let mut bytes = 0i32;
                // SAFETY: the system writes an int.
                checked(unsafe { libc::ioctl(file.fd(), libc::FIONREAD, &raw mut bytes) })?;
                *argument = bytes as u32;
            }
            SIOCATMARK => *argument = 1,
            _ => return Err(Code::WSAEINVAL),
        }
        Ok(0)
    }
}

/// The last error of functions that give it back instead.
#[allow(dead_code)]
pub(crate) fn report(code: Code) -> i32 {
    set_last_error(code.0);
    code.0 as i32
}
