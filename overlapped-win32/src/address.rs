//! Socket addresses: Windows' layout is the system's, but for the number of IPv6's family.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::types::*;

pub(crate) const AF_UNSPEC: i32 = 0;
pub(crate) const AF_INET: i32 = 2;
pub(crate) const AF_INET6: i32 = 23;

/// The sizes of `sockaddr_in` and `sockaddr_in6`.
pub(crate) const LEN_V4: usize = 16;
pub(crate) const LEN_V6: usize = 28;

/// An address as Windows writes it.
pub(crate) struct Bytes {
    pub(crate) bytes: [u8; LEN_V6],
    pub(crate) len: usize,
}

pub(crate) fn to_bytes(address: SocketAddr) -> Bytes {
    let mut bytes = [0; LEN_V6];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    let len = match address {
        SocketAddr::V4(v4) => {
            bytes[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&v4.ip().octets());
            LEN_V4
        }
        SocketAddr::V6(v6) => {
            bytes[..2].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
            bytes[8..24].copy_from_slice(&v6.ip().octets());
            bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            LEN_V6
        }
    };
    Bytes { bytes, len }
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Outcome<SocketAddr> {
    let family = bytes.get(..2).ok_or(Code::WSAEFAULT)?;
    let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    match i32::from(u16::from_ne_bytes([family[0], family[1]])) {
        AF_INET if bytes.len() >= LEN_V4 => {
            let port = u16::from_be_bytes([bytes[2], bytes[3]]);
            Ok(SocketAddrV4::new(Ipv4Addr::from(word(4)), port).into())
        }
        AF_INET6 if bytes.len() >= LEN_V6 => {
            let port = u16::from_be_bytes([bytes[2], bytes[3]]);
            let mut ip = [0; 16];
            ip.copy_from_slice(&bytes[8..24]);
            let (flow, scope) = (u32::from_ne_bytes(word(4)), u32::from_ne_bytes(word(24)));
            Ok(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
        }
        AF_INET | AF_INET6 => Err(Code::WSAEFAULT), // too short
        _ => Err(Code::WSAEAFNOSUPPORT),
    }
}

/// # Safety
/// `name` is null or points to `len` bytes.
pub(crate) unsafe fn read(name: *const u8, len: i32) -> Outcome<SocketAddr> {
    if name.is_null() || len < 2 {
        return Err(Code::WSAEFAULT);
    }
    // SAFETY: the caller's promise. More than an address of the longest kind is of no interest.
    from_bytes(unsafe { std::slice::from_raw_parts(name, (len as usize).min(LEN_V6)) })
}

/// Where a caller wants an address: memory, and its length, which is overwritten. Both may be null.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    pub(crate) name: *mut u8,
    pub(crate) len: *mut i32,
}

impl Address {
    /// `None` if it is not wanted.
    pub(crate) fn new(name: *mut u8, len: *mut i32) -> Option<Self> {
        if name.is_null() || len.is_null() { None } else { Some(Self { name, len }) }
    }

    /// # Safety
    /// The memory is still the caller's.
    pub(crate) unsafe fn write(&self, address: Option<SocketAddr>) {
        let Some(address) = address.map(to_bytes) else { return };
        // SAFETY: the caller's promise; no more than it has room for.
        unsafe {
            let room = (*self.len).max(0) as usize;
            self.name.copy_from_nonoverlapping(address.bytes.as_ptr(), room.min(address.len));
            self.len.write(address.len as i32);
        }
    }

    /// As [`Self::write`], where the room has to be enough.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn write_all(&self, address: SocketAddr) -> Outcome<()> {
        // SAFETY: the caller's promise.
        unsafe {
            if (*self.len).max(0) as usize >= to_bytes(address).len {
                self.write(Some(address));
                return Ok(());
            }
        }
        Err(Code::WSAEFAULT)
    }
}
