//! Options of sockets: Windows' numbers and forms, and the system's.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::SeqCst;

use crate::boundary::boundary;
use crate::file::{self, File};
use crate::socket::{checked, get_int, is_connected, set_int};
use crate::status::of_errno_winsock;
use crate::types::*;

const SOL_SOCKET: i32 = 0xFFFF;
const IPPROTO_IP: i32 = 0;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_IPV6: i32 = 41;

const SO_DEBUG: i32 = 0x1;
const SO_ACCEPTCONN: i32 = 0x2;
const SO_REUSEADDR: i32 = 0x4;
const SO_KEEPALIVE: i32 = 0x8;
const SO_DONTROUTE: i32 = 0x10;
const SO_BROADCAST: i32 = 0x20;
const SO_USELOOPBACK: i32 = 0x40;
const SO_LINGER: i32 = 0x80;
const SO_OOBINLINE: i32 = 0x100;
const SO_SNDBUF: i32 = 0x1001;
const SO_RCVBUF: i32 = 0x1002;
const SO_SNDLOWAT: i32 = 0x1003;
const SO_RCVLOWAT: i32 = 0x1004;
const SO_SNDTIMEO: i32 = 0x1005;
const SO_RCVTIMEO: i32 = 0x1006;
const SO_ERROR: i32 = 0x1007;
const SO_TYPE: i32 = 0x1008;
const SO_MAX_MSG_SIZE: i32 = 0x2003;
const SO_CONDITIONAL_ACCEPT: i32 = 0x3002;
const SO_CONNECT_TIME: i32 = 0x700C;
const SO_UPDATE_ACCEPT_CONTEXT: i32 = 0x700B;
const SO_UPDATE_CONNECT_CONTEXT: i32 = 0x7010;
const SO_EXCLUSIVEADDRUSE: i32 = !SO_REUSEADDR;
const SO_DONTLINGER: i32 = !SO_LINGER;

/// Two 16-bit fields, other than the system's.
#[repr(C)]
#[derive(Clone, Copy)]
struct Linger {
    on: u16,
    seconds: u16,
}

/// An option that is a number to both.
fn number(level: i32, name: i32) -> Option<(i32, i32)> {
    Some(match (level, name) {
        (SOL_SOCKET, SO_DEBUG) => (libc::SOL_SOCKET, libc::SO_DEBUG),
        (SOL_SOCKET, SO_ACCEPTCONN) => (libc::SOL_SOCKET, libc::SO_ACCEPTCONN),
        (SOL_SOCKET, SO_REUSEADDR) => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
        (SOL_SOCKET, SO_KEEPALIVE) => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        (SOL_SOCKET, SO_DONTROUTE) => (libc::SOL_SOCKET, libc::SO_DONTROUTE),
        (SOL_SOCKET, SO_BROADCAST) => (libc::SOL_SOCKET, libc::SO_BROADCAST),
        (SOL_SOCKET, SO_OOBINLINE) => (libc::SOL_SOCKET, libc::SO_OOBINLINE),
        (SOL_SOCKET, SO_RCVLOWAT) => (libc::SOL_SOCKET, libc::SO_RCVLOWAT),
        (IPPROTO_TCP, 1) => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        (IPPROTO_TCP, 3) => (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
        (IPPROTO_TCP, 16) => (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
        (IPPROTO_TCP, 17) => (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
        (IPPROTO_IP, 3) => (libc::IPPROTO_IP, libc::IP_TOS),
        (IPPROTO_IP, 4) => (libc::IPPROTO_IP, libc::IP_TTL),
        (IPPROTO_IP, 10) => (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL),
        (IPPROTO_IP, 11) => (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP),
        (IPPROTO_IPV6, 4) => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
        (IPPROTO_IPV6, 9) => (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF),
        (IPPROTO_IPV6, 10) => (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS),
        (IPPROTO_IPV6, 11) => (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP),
        (IPPROTO_IPV6, 27) => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        _ => return None,
    })
}

/// An option whose bytes are the same to both: addresses of multicast groups.
fn bytes(level: i32, name: i32) -> Option<(i32, i32)> {
    Some(match (level, name) {
        (IPPROTO_IP, 9) => (libc::IPPROTO_IP, libc::IP_MULTICAST_IF),
        (IPPROTO_IP, 12) => (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP),
        (IPPROTO_IP, 13) => (libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP),
        (IPPROTO_IPV6, 12) => (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP),
        (IPPROTO_IPV6, 13) => (libc::IPPROTO_IPV6, libc::IPV6_DROP_MEMBERSHIP),
        _ => return None,
    })
}

/// # Safety
/// `value` is null or points to `len` bytes.
unsafe fn number_of(value: *const u8, len: i32) -> Outcome<i32> {
    match len {
        _ if value.is_null() => Err(Code::WSAEFAULT),
        // SAFETY: the caller's promise.
        4.. => Ok(unsafe { value.cast::<i32>().read_unaligned() }),
        // A BOOLEAN is taken, too.
        // SAFETY: the caller's promise.
        1..=3 => Ok(i32::from(unsafe { *value })),
        _ => Err(Code::WSAEFAULT),
    }
}

fn set_linger(file: &File, on: bool, seconds: u16) -> Outcome<()> {
    let linger = libc::linger { l_onoff: i32::from(on), l_linger: seconds.into() };
    let (value, len) = ((&raw const linger).cast(), size_of::<libc::linger>() as u32);
    // SAFETY: the system reads a linger.
    checked(unsafe { libc::setsockopt(file.fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, len) }).map(drop)
}

fn linger_of(file: &File) -> Outcome<Linger> {
    // SAFETY: plain data, for which all zeroes is valid.
    let mut linger: libc::linger = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut len = size_of::<libc::linger>() as u32;
    // SAFETY: the system writes a linger at most.
    checked(unsafe {
        libc::getsockopt(file.fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw mut linger).cast(), &mut len)
    })?;
    Ok(Linger { on: (linger.l_onoff != 0).into(), seconds: linger.l_linger as u16 })
}

/// How long a socket has been connected.
fn connect_seconds(file: &File) -> DWORD {
    match file.as_socket().since() {
        Some(since) if is_connected(file) => since.elapsed().as_secs() as DWORD,
        _ => DWORD::MAX,
    }
}

/// # Safety
/// `value` is null or points to `len` bytes.
unsafe fn set(file: &File, level: i32, name: i32, value: *const u8, len: i32) -> Outcome<()> {
    let socket = file.as_socket();
    if let Some((level, name)) = bytes(level, name) {
        if value.is_null() || len <= 0 {
            return Err(Code::WSAEFAULT);
        }
        // SAFETY: the caller's promise.
        return checked(unsafe { libc::setsockopt(file.fd(), level, name, value.cast(), len as u32) }).map(drop);
    }
    // SAFETY: the caller's promise.
    let number_given = || unsafe { number_of(value, len) };
    match (level, name) {
        (SOL_SOCKET, SO_LINGER) => {
            if value.is_null() || len < 4 {
                return Err(Code::WSAEFAULT);
            }
            // SAFETY: the caller's promise.
            let linger = unsafe { value.cast::<Linger>().read_unaligned() };
            set_linger(file, linger.on != 0, linger.seconds)
        }
        (SOL_SOCKET, SO_DONTLINGER) => set_linger(file, number_given()? == 0, 0),
        (SOL_SOCKET, SO_EXCLUSIVEADDRUSE) => {
            socket.exclusive.store(number_given()? != 0, SeqCst);
            Ok(())
        }
        (SOL_SOCKET, SO_RCVTIMEO) => {
            socket.receive_timeout.store(number_given()? as u32, SeqCst);
            Ok(())
        }
        (SOL_SOCKET, SO_SNDTIMEO) => {
            socket.send_timeout.store(number_given()? as u32, SeqCst);
            Ok(())
        }
        // 0 asks Windows not to copy; the system would take its smallest.
        (SOL_SOCKET, SO_SNDBUF | SO_RCVBUF) if number_given()? == 0 => Ok(()),
        // The system doubles what it is given, for its own use, and says so when it is asked.
        (SOL_SOCKET, SO_SNDBUF) => set_int(file.fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, number_given()?),
        (SOL_SOCKET, SO_RCVBUF) => set_int(file.fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, number_given()?),
        (SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT) => {
            // The value is the listening socket.
            if value.is_null() || len < size_of::<SOCKET>() as i32 {
                return Err(Code::WSAEFAULT);
            }
            // SAFETY: the caller's promise.
            let listener = file::socket(unsafe { value.cast::<SOCKET>().read_unaligned() })?;
            if !listener.as_socket().listening.load(SeqCst) || !socket.connected.load(SeqCst) {
                return Err(Code::WSAEINVAL);
            }
            socket.accepted.store(false, SeqCst);
            Ok(())
        }
        (SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT) => match socket.connected.load(SeqCst) {
            true => Ok(()),
            false => Err(Code::WSAENOTCONN),
        },
        (SOL_SOCKET, SO_CONDITIONAL_ACCEPT | SO_USELOOPBACK | SO_SNDLOWAT) => Ok(()),
        (SOL_SOCKET, SO_ERROR | SO_TYPE | SO_ACCEPTCONN | SO_CONNECT_TIME) => Err(Code::WSAENOPROTOOPT),
        _ => {
            let (level, name) = number(level, name).ok_or(Code::WSAENOPROTOOPT)?;
            set_int(file.fd(), level, name, number_given()?)
        }
    }
}

/// What an option is.
enum Value {
    Number(i32),
    Linger(Linger),
}

fn get(file: &File, level: i32, name: i32) -> Outcome<Value> {
    let socket = file.as_socket();
    let number_of = |value: u32| Ok(Value::Number(value as i32));
    match (level, name) {
        (SOL_SOCKET, SO_LINGER) => linger_of(file).map(Value::Linger),
        (SOL_SOCKET, SO_DONTLINGER) => number_of((linger_of(file)?.on == 0).into()),
        (SOL_SOCKET, SO_EXCLUSIVEADDRUSE) => number_of(socket.exclusive.load(SeqCst).into()),
        (SOL_SOCKET, SO_RCVTIMEO) => number_of(socket.receive_timeout.load(SeqCst)),
        (SOL_SOCKET, SO_SNDTIMEO) => number_of(socket.send_timeout.load(SeqCst)),
        (SOL_SOCKET, SO_TYPE) => number_of(socket.kind as u32),
        (SOL_SOCKET, SO_ACCEPTCONN) => number_of(socket.listening.load(SeqCst).into()),
        (SOL_SOCKET, SO_CONNECT_TIME) => number_of(connect_seconds(file)),
        (SOL_SOCKET, SO_MAX_MSG_SIZE) => number_of(if socket.is_stream() { u32::MAX } else { 65507 }),
        (SOL_SOCKET, SO_ERROR) => match get_int(file.fd(), libc::SOL_SOCKET, libc::SO_ERROR)? {
            0 => number_of(0),
            errno => number_of(of_errno_winsock(errno).0),
        },
        (SOL_SOCKET, SO_SNDBUF) => Ok(Value::Number(get_int(file.fd(), libc::SOL_SOCKET, libc::SO_SNDBUF)? / 2)),
        (SOL_SOCKET, SO_RCVBUF) => Ok(Value::Number(get_int(file.fd(), libc::SOL_SOCKET, libc::SO_RCVBUF)? / 2)),
        // What was set by us is no choice of the program's.
        (SOL_SOCKET, SO_REUSEADDR) if socket.is_stream() && !socket.reuse.load(SeqCst) => number_of(0),
        _ => {
            let (level, name) = number(level, name).ok_or(Code::WSAENOPROTOOPT)?;
            Ok(Value::Number(get_int(file.fd(), level, name)?))
        }
    }
}

boundary! {
    /// `setsockopt`.
    fn ovl_setsockopt(s: SOCKET, level: i32, name: i32, value: *const u8, len: i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: the caller's promise.
        unsafe { set(&file, level, name, value, len) }?;
        if (level, name) == (SOL_SOCKET, SO_REUSEADDR) {
            file.as_socket().reuse.store(true, SeqCst);
        }
        Ok(0)
    }

    /// `getsockopt`.
    fn ovl_getsockopt(s: SOCKET, level: i32, name: i32, value: *mut u8, len: *mut i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: null, or the caller's variable.
        let len = unsafe { len.as_mut() }.filter(|_| !value.is_null()).ok_or(Code::WSAEFAULT)?;
        let given = get(&file, level, name)?;
        // SAFETY: the caller has room for `len` bytes.
        unsafe {
            match given {
                Value::Linger(linger) if *len >= 4 => value.cast::<Linger>().write_unaligned(linger),
                Value::Number(number) if *len >= 4 => value.cast::<i32>().write_unaligned(number),
                // A BOOLEAN will do for a flag.
                Value::Number(number) if *len >= 1 => {
                    value.write((number != 0).into());
                    *len = 1;
                    return Ok(0);
                }
                _ => return Err(Code::WSAEFAULT),
            }
        }
        *len = 4;
        Ok(0)
    }
}
