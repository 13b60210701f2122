//! Names and addresses: as text, and as the system's resolver knows them.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

use crate::address::{self, AF_INET, AF_INET6, AF_UNSPEC};
use crate::boundary::{boundary, set_last_error};
use crate::socket::socket2_address::Storage;
use crate::socket::{SOCK_DGRAM, SOCK_STREAM, started};
use crate::types::*;

/// `ADDRINFOA`.
#[repr(C)]
pub struct AddrInfo {
    flags: i32,
    family: i32,
    kind: i32,
    protocol: i32,
    len: usize,
    canonical: *mut c_char,
    address: *mut u8,
    next: *mut AddrInfo,
}

const _: () = assert!(size_of::<AddrInfo>() == 48);

impl AddrInfo {
    /// Makes an `ADDRINFOW` of each in a list: the names in it wide. There was none if there is no memory.
    pub(crate) fn widen(&mut self) {
        let mut next = Some(self);
        while let Some(info) = next {
            if !info.canonical.is_null() {
                // SAFETY: a text of C's allocator, which this list owns; the new one has room for what is copied.
                unsafe {
                    let wide = crate::wide::wide(CStr::from_ptr(info.canonical));
                    libc::free(info.canonical.cast());
                    let place = libc::malloc(size_of_val(&*wide)).cast::<u32>();
                    if !place.is_null() {
                        place.copy_from_nonoverlapping(wide.as_ptr(), wide.len());
                    }
                    info.canonical = place.cast();
                }
            }
            // SAFETY: the list is the caller's, who lent its head.
            next = unsafe { info.next.as_mut() };
        }
    }
}

/// `HOSTENT`.
#[repr(C)]
pub struct HostEnt {
    name: *const c_char,
    aliases: *const *const c_char,
    family: i16,
    len: i16,
    addresses: *const *const u8,
}

/// `SERVENT`, in the order that it has on 64 bits.
#[repr(C)]
pub struct ServEnt {
    name: *const c_char,
    aliases: *const *const c_char,
    proto: *const c_char,
    port: i16,
}

/// `PROTOENT`.
#[repr(C)]
pub struct ProtoEnt {
    name: *const c_char,
    aliases: *const *const c_char,
    number: i16,
}

const AI_PASSIVE: i32 = 1;
const AI_CANONNAME: i32 = 2;
const AI_NUMERICHOST: i32 = 4;
const AI_NUMERICSERV: i32 = 8;
const NI_NOFQDN: i32 = 1;
const NI_NUMERICHOST: i32 = 2;
const NI_NAMEREQD: i32 = 4;
const NI_NUMERICSERV: i32 = 8;
const NI_DGRAM: i32 = 16;

/// Windows' code for what the resolver says.
fn resolver_error(code: i32) -> Code {
    match code {
        libc::EAI_AGAIN => Code::WSATRY_AGAIN,
        libc::EAI_BADFLAGS => Code::WSAEINVAL,
        libc::EAI_FAIL => Code::WSANO_RECOVERY,
        libc::EAI_FAMILY => Code::WSAEAFNOSUPPORT,
        libc::EAI_MEMORY => Code::NOT_ENOUGH_MEMORY,
        libc::EAI_SERVICE => Code(10109), // WSATYPE_NOT_FOUND
        libc::EAI_SOCKTYPE => Code::WSAESOCKTNOSUPPORT,
        _ => Code::WSAHOST_NOT_FOUND,
    }
}

fn system_family(family: i32) -> Outcome<i32> {
    match family {
        AF_UNSPEC => Ok(libc::AF_UNSPEC),
        AF_INET => Ok(libc::AF_INET),
        AF_INET6 => Ok(libc::AF_INET6),
        _ => Err(Code::WSAEAFNOSUPPORT),
    }
}

/// # Safety
/// Null, or a C string.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: the caller's promise.
    if text.is_null() { None } else { Some(unsafe { CStr::from_ptr(text) }) }
}

/// An answer of the resolver, freed when it is dropped.
struct Answers(*mut libc::addrinfo);

impl Drop for Answers {
    fn drop(&mut self) {
        // SAFETY: the resolver gave it to us.
        unsafe { libc::freeaddrinfo(self.0) };
    }
}

impl Answers {
    fn ask(host: Option<&CStr>, service: Option<&CStr>, hints: &libc::addrinfo) -> Outcome<Self> {
        let mut answers = ptr::null_mut();
        let raw = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: C strings or null, and a variable for the answer.
        match unsafe { libc::getaddrinfo(raw(host), raw(service), hints, &mut answers) } {
            0 => Ok(Self(answers)),
            code => Err(resolver_error(code)),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &libc::addrinfo> {
        // SAFETY: a list that lives as long as `self`.
        let follow = |at: *mut libc::addrinfo| unsafe { at.as_ref() };
        std::iter::successors(follow(self.0), move |answer| follow(answer.ai_next))
    }
}

fn hints() -> libc::addrinfo {
    // SAFETY: plain data, for which all zeroes is valid.
    unsafe { std::mem::zeroed() }
}

fn address_of(answer: &libc::addrinfo) -> Option<SocketAddr> {
    let mut storage = Storage::empty();
    let len = (answer.ai_addrlen as usize).min(size_of::<libc::sockaddr_storage>());
    // SAFETY: the resolver says that there are so many bytes.
    unsafe { storage.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(answer.ai_addr.cast(), len) };
    storage.address()
}

/// # Safety
/// As getaddrinfo.
unsafe fn get_addr_info(
    node: *const c_char,
    service: *const c_char,
    wanted: *const AddrInfo,
    result: *mut *mut AddrInfo,
) -> Outcome<()> {
    started()?;
    if result.is_null() {
        return Err(Code::WSAEINVAL);
    }
    // SAFETY: the caller's promise.
    let (node, service, wanted) = unsafe {
        result.write(ptr::null_mut());
        (text(node), text(service), wanted.as_ref())
    };
    if node.is_none() && service.is_none() {
        return Err(Code::WSAHOST_NOT_FOUND);
    }
    let mut hints = hints();
    if let Some(wanted) = wanted {
        hints.ai_family = system_family(wanted.family)?;
        (hints.ai_socktype, hints.ai_protocol) = (wanted.kind, wanted.protocol);
        for (theirs, ours) in [
            (AI_PASSIVE, libc::AI_PASSIVE),
            (AI_CANONNAME, libc::AI_CANONNAME),
            (AI_NUMERICHOST, libc::AI_NUMERICHOST),
            (AI_NUMERICSERV, libc::AI_NUMERICSERV),
        ] {
            hints.ai_flags |= if wanted.flags & theirs != 0 { ours } else { 0 };
        }
    }
    // Windows names this host by the empty string.
    let this_host = node.filter(|node| node.is_empty()).map(|_| host_name());
    let answers = Answers::ask(this_host.as_deref().or(node), service.filter(|text| !text.is_empty()), &hints)?;
    let unspecified = wanted.is_none_or(|wanted| wanted.kind == 0);
    let mut first = ptr::null_mut();
    let mut end: *mut *mut AddrInfo = &mut first;
    for answer in answers.iter() {
        // The system gives an answer for each type of socket; Windows one, of no type.
        if unspecified && answer.ai_socktype != libc::SOCK_STREAM {
            continue;
        }
        let Some(address) = address_of(answer) else { continue };
        let address = address::to_bytes(address);
        // SAFETY: C's allocator; freed by freeaddrinfo.
        unsafe {
            let bytes = libc::malloc(address.len).cast::<u8>();
            let info = libc::malloc(size_of::<AddrInfo>()).cast::<AddrInfo>();
            if bytes.is_null() || info.is_null() {
                return Err(Code::NOT_ENOUGH_MEMORY);
            }
            bytes.copy_from_nonoverlapping(address.bytes.as_ptr(), address.len);
            let canonical =
                if answer.ai_canonname.is_null() { ptr::null_mut() } else { libc::strdup(answer.ai_canonname) };
            info.write(AddrInfo {
                flags: 0,
                family: if answer.ai_family == libc::AF_INET { AF_INET } else { AF_INET6 },
                kind: wanted.map_or(0, |wanted| wanted.kind),
                protocol: wanted.map_or(0, |wanted| wanted.protocol),
                len: address.len,
                canonical,
                address: bytes,
                next: ptr::null_mut(),
            });
            end.write(info);
            end = &raw mut (*info).next;
        }
    }
    // SAFETY: not null, so the caller's variable.
    unsafe { result.write(first) };
    if first.is_null() { Err(Code::WSAHOST_NOT_FOUND) } else { Ok(()) }
}

fn host_name() -> CString {
    let mut name = [0u8; 256];
    // SAFETY: room for all but the last byte, which stays 0.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), 255) };
    CStr::from_bytes_until_nul(&name).unwrap_or(c"localhost").to_owned()
}

/// What the old functions give: memory of the thread's, until the next call.
#[derive(Default)]
struct Kept {
    name: CString,
    bytes: Vec<[u8; 16]>,
    pointers: Vec<*const u8>,
    host: Option<Box<HostEnt>>,
    service: Option<Box<ServEnt>>,
    protocol: Option<Box<ProtoEnt>>,
    none: Option<Box<[*const c_char; 1]>>,
    proto_name: CString,
    text: CString,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

impl Kept {
    fn no_aliases(&mut self) -> *const *const c_char {
        self.none.get_or_insert_with(|| Box::new([ptr::null()])).as_ptr()
    }

    fn host(&mut self, name: CString, addresses: Vec<IpAddr>) -> *const HostEnt {
        let family = if addresses.first().is_some_and(IpAddr::is_ipv6) { AF_INET6 } else { AF_INET };
        self.name = name;
        self.bytes = addresses
            .iter()
            .map(|address| match address {
                IpAddr::V4(v4) => {
                    let mut bytes = [0; 16];
                    bytes[..4].copy_from_slice(&v4.octets());
                    bytes
                }
                IpAddr::V6(v6) => v6.octets(),
            })
            .collect();
        self.pointers = self.bytes.iter().map(|bytes| bytes.as_ptr()).chain([ptr::null()]).collect();
        let host = HostEnt {
            name: self.name.as_ptr(),
            aliases: self.no_aliases(),
            family: family as i16,
            len: if family == AF_INET { 4 } else { 16 },
            addresses: self.pointers.as_ptr(),
        };
        &raw const **self.host.insert(Box::new(host))
    }
}

fn host_by_name(name: &CStr) -> Outcome<(CString, Vec<IpAddr>)> {
    let mut hints = hints();
    (hints.ai_family, hints.ai_socktype) = (libc::AF_INET, libc::SOCK_STREAM);
    hints.ai_flags = libc::AI_CANONNAME;
    let this_host = host_name();
    let name = if name.is_empty() { &this_host } else { name };
    let answers = Answers::ask(Some(name), None, &hints)?;
    let addresses = answers.iter().filter_map(|answer| Some(address_of(answer)?.ip())).collect();
    // SAFETY: null, or a C string that lives with the answer.
    let canonical = answers.iter().find_map(|answer| unsafe { text(answer.ai_canonname) });
    Ok((canonical.unwrap_or(name).to_owned(), addresses))
}

/// The parts of an address as `inet_addr` takes it: decimal, octal or hexadecimal; the last one fills what is left.
fn loose_address(text: &CStr) -> Option<Ipv4Addr> {
    let text = text.to_str().ok()?.trim_end();
    if text == " " || text.is_empty() {
        return None;
    }
    let parts: Vec<u32> = text
        .split('.')
        .map(|part| match part.strip_prefix("0x").or(part.strip_prefix("0X")) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(part, 8).ok(),
            None => part.parse().ok(),
        })
        .collect::<Option<_>>()?;
    let (last, front) = parts.split_last()?;
    if front.len() > 3 || front.iter().any(|part| *part > 255) {
        return None;
    }
    let room = 32 - 8 * front.len() as u32;
    if room < 32 && *last >= 1 << room {
        return None;
    }
    let high = front.iter().enumerate().fold(0, |sum, (at, part)| sum | part << (24 - 8 * at));
    Some(Ipv4Addr::from(high | last))
}

/// Writes a text and its end. Gives how many bytes that needs, the end included.
///
/// # Safety
/// There is room for `room` bytes.
unsafe fn write_text(to: *mut c_char, room: usize, text: &str) -> Result<usize, usize> {
    let needed = text.len() + 1;
    if to.is_null() || room < needed {
        return Err(needed);
    }
    // SAFETY: the caller's promise.
    unsafe {
        to.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        to.add(text.len()).write(0);
    }
    Ok(needed)
}

boundary! {
    /// `getaddrinfo`. Gives the error itself, and leaves it as the last one.
    fn ovl_getaddrinfo(node: *const c_char, service: *const c_char, hints: *const AddrInfo, result: *mut *mut AddrInfo) -> i32 {
        // SAFETY: the caller's promise.
        let code = unsafe { get_addr_info(node, service, hints, result) }.err().map_or(0, |code| code.0);
        set_last_error(code);
        code as i32
    }

    /// `freeaddrinfo`.
    fn ovl_freeaddrinfo(info: *mut AddrInfo) {
        let mut next = info;
        while !next.is_null() {
            // SAFETY: made by getaddrinfo, with C's allocator.
            unsafe {
                let info = next.read();
                libc::free(info.address.cast());
                libc::free(info.canonical.cast());
                libc::free(next.cast());
                next = info.next;
            }
        }
    }

    /// `getnameinfo`.
    fn ovl_getnameinfo(name: *const u8, len: i32, host: *mut c_char, host_len: DWORD, service: *mut c_char, service_len: DWORD, flags: i32) -> i32 {
        let ask = || {
            started()?;
            // SAFETY: the caller's promise.
            let address = unsafe { address::read(name, len) }?;
            let storage = Storage::new(address);
            let mut ours = 0;
            for (theirs, flag) in [
                (NI_NOFQDN, libc::NI_NOFQDN),
                (NI_NUMERICHOST, libc::NI_NUMERICHOST),
                (NI_NAMEREQD, libc::NI_NAMEREQD),
                (NI_NUMERICSERV, libc::NI_NUMERICSERV),
                (NI_DGRAM, libc::NI_DGRAM),
            ] {
                ours |= if flags & theirs != 0 { flag } else { 0 };
            }
            // SAFETY: an address that lives through the call, and the caller's memory.
            match unsafe { libc::getnameinfo(storage.as_ptr(), storage.len, host, host_len, service, service_len, ours) } {
                0 => Ok(()),
                code => Err(resolver_error(code)),
            }
        };
        let code = ask().err().map_or(0, |code: Code| code.0);
        set_last_error(code);
        code as i32
    }

    /// `gethostname`.
    fn ovl_gethostname(name: *mut c_char, len: i32) -> i32, winsock else (SOCKET_ERROR) {
        started()?;
        // SAFETY: the caller's promise.
        let written = unsafe { write_text(name, len.max(0) as usize, &host_name().to_string_lossy()) };
        written.map(|_| 0).map_err(|_| Code::WSAEFAULT)
    }

    /// `gethostbyname`.
    fn ovl_gethostbyname(name: *const c_char) -> *const HostEnt, winsock else (ptr::null()) {
        started()?;
        // SAFETY: the caller's promise. Null is this host.
        let name = unsafe { text(name) }.unwrap_or(c"");
        let (name, addresses) = host_by_name(name)?;
        Ok(KEPT.with_borrow_mut(|kept| kept.host(name, addresses)))
    }

    /// `gethostbyaddr`.
    fn ovl_gethostbyaddr(bytes: *const u8, len: i32, family: i32) -> *const HostEnt, winsock else (ptr::null()) {
        started()?;
        let ip: IpAddr = match (family, len) {
            _ if bytes.is_null() => return Err(Code::WSAEFAULT),
            // SAFETY: the caller's promise.
            (AF_INET, 4..) => Ipv4Addr::from(unsafe { bytes.cast::<[u8; 4]>().read() }).into(),
            // SAFETY: the caller's promise.
            (AF_INET6, 16..) => Ipv6Addr::from(unsafe { bytes.cast::<[u8; 16]>().read() }).into(),
            _ => return Err(Code::WSAEFAULT),
        };
        let storage = Storage::new((ip, 0).into());
        let mut name: [c_char; 1025] = [0; 1025];
        // SAFETY: an address and memory that live through the call.
        let code = unsafe {
            libc::getnameinfo(storage.as_ptr(), storage.len, name.as_mut_ptr(), 1024, ptr::null_mut(), 0, libc::NI_NAMEREQD)
        };
        if code != 0 {
            return Err(resolver_error(code));
        }
        // SAFETY: the resolver wrote a C string.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_owned();
        Ok(KEPT.with_borrow_mut(|kept| kept.host(name, vec![ip])))
    }

    /// `getservbyname`.
    fn ovl_getservbyname(name: *const c_char, proto: *const c_char) -> *const ServEnt, winsock else (ptr::null()) {
        started()?;
        // SAFETY: the caller's promise.
        let (name, proto) = unsafe { (text(name).ok_or(Code::WSAEFAULT)?, text(proto)) };
        let mut hints = hints();
        hints.ai_socktype = if proto.is_some_and(|proto| proto == c"udp") { SOCK_DGRAM } else { SOCK_STREAM };
        let answers = Answers::ask(None, Some(name), &hints).map_err(|_| Code::WSANO_DATA)?;
        let port = answers.iter().find_map(address_of).ok_or(Code::WSANO_DATA)?.port();
        Ok(KEPT.with_borrow_mut(|kept| {
            kept.name = name.to_owned();
            kept.proto_name = proto.unwrap_or(c"tcp").to_owned();
            let service = ServEnt {
                name: kept.name.as_ptr(),
                aliases: kept.no_aliases(),
                proto: kept.proto_name.as_ptr(),
                port: port.to_be() as i16,
            };
            &raw const **kept.service.insert(Box::new(service))
        }))
    }

    /// `getservbyport`.
    fn ovl_getservbyport(port: i32, proto: *const c_char) -> *const ServEnt, winsock else (ptr::null()) {
        started()?;
        // SAFETY: the caller's promise.
        let proto = unsafe { text(proto) };
        let storage = Storage::new((Ipv4Addr::UNSPECIFIED, u16::from_be(port as u16)).into());
        let mut name: [c_char; 64] = [0; 64];
        let flags = if proto.is_some_and(|proto| proto == c"udp") { libc::NI_DGRAM } else { 0 };
        // SAFETY: an address and memory that live through the call.
        let code = unsafe { libc::getnameinfo(storage.as_ptr(), storage.len, ptr::null_mut(), 0, name.as_mut_ptr(), 63, flags) };
        // SAFETY: the resolver wrote a C string.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        // The number itself: nobody knows a name.
        if code != 0 || name.to_bytes().iter().all(u8::is_ascii_digit) {
            return Err(Code::WSANO_DATA);
        }
        Ok(KEPT.with_borrow_mut(|kept| {
            kept.name = name.to_owned();
            kept.proto_name = proto.unwrap_or(c"tcp").to_owned();
            let service = ServEnt {
                name: kept.name.as_ptr(),
                aliases: kept.no_aliases(),
                proto: kept.proto_name.as_ptr(),
                port: port as i16,
            };
            &raw const **kept.service.insert(Box::new(service))
        }))
    }

    /// `getprotobyname`.
    fn ovl_getprotobyname(name: *const c_char) -> *const ProtoEnt, winsock else (ptr::null()) {
        started()?;
        // SAFETY: the caller's promise.
        let name = unsafe { text(name) }.ok_or(Code::WSAEFAULT)?;
        let number = match name.to_bytes().to_ascii_lowercase().as_slice() {
            b"ip" => 0,
            b"icmp" => 1,
            b"tcp" => 6,
            b"udp" => 17,
            b"ipv6" => 41,
            b"icmpv6" | b"ipv6-icmp" => 58,
            _ => return Err(Code::WSANO_DATA),
        };
        Ok(KEPT.with_borrow_mut(|kept| {
            kept.proto_name = name.to_owned();
            let protocol = ProtoEnt { name: kept.proto_name.as_ptr(), aliases: kept.no_aliases(), number };
            &raw const **kept.protocol.insert(Box::new(protocol))
        }))
    }

    /// `inet_addr`: INADDR_NONE for what is none.
    fn ovl_inet_addr(address: *const c_char) -> u32 {
        // SAFETY: the caller's promise.
        let address = unsafe { text(address) }.and_then(loose_address);
        address.map_or(u32::MAX, |address| u32::from_ne_bytes(address.octets()))
    }

    /// `inet_ntoa`: memory of the thread's, until its next call.
    fn ovl_inet_ntoa(address: u32) -> *const c_char, else (ptr::null()) {
        let text = CString::new(Ipv4Addr::from(address.to_ne_bytes()).to_string()).unwrap_or_default();
        Ok(KEPT.with_borrow_mut(|kept| {
            kept.text = text;
            kept.text.as_ptr()
        }))
    }

    /// `inet_pton`, `InetPtonA`.
    fn ovl_inet_pton(family: i32, address: *const c_char, to: *mut u8) -> i32, else (-1) {
        // SAFETY: the caller's promise.
        let address = unsafe { text(address) }.filter(|_| !to.is_null()).ok_or(Code::WSAEFAULT)?;
        let address = address.to_str().unwrap_or("");
        let octets: Option<Vec<u8>> = match family {
            AF_INET => address.parse::<Ipv4Addr>().ok().map(|v4| v4.octets().to_vec()),
            AF_INET6 => address.parse::<Ipv6Addr>().ok().map(|v6| v6.octets().to_vec()),
            _ => return Err(Code::WSAEAFNOSUPPORT),
        };
        let Some(octets) = octets else { return Ok(0) };
        // SAFETY: the caller has room for an address of the family.
        unsafe { to.copy_from_nonoverlapping(octets.as_ptr(), octets.len()) };
        Ok(1)
    }

    /// `inet_ntop`, `InetNtopA`.
    fn ovl_inet_ntop(family: i32, address: *const u8, to: *mut c_char, room: usize) -> *const c_char, else (ptr::null()) {
        if address.is_null() || to.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        let text = match family {
            // SAFETY: the caller has an address of the family.
            AF_INET => Ipv4Addr::from(unsafe { address.cast::<[u8; 4]>().read() }).to_string(),
            // SAFETY: as above.
            AF_INET6 => Ipv6Addr::from(unsafe { address.cast::<[u8; 16]>().read() }).to_string(),
            _ => return Err(Code::WSAEAFNOSUPPORT),
        };
        // SAFETY: the caller's promise.
        unsafe { write_text(to, room, &text) }.map(|_| to.cast_const()).map_err(|_| Code::INVALID_PARAMETER)
    }

    /// `WSAAddressToStringA`.
    fn ovl_WSAAddressToStringA(name: *const u8, len: DWORD, _info: *const u8, to: *mut c_char, room: *mut DWORD) -> i32, winsock else (SOCKET_ERROR) {
        started()?;
        // SAFETY: the caller's promise.
        let (address, room) = unsafe { (address::read(name, len as i32)?, room.as_mut().ok_or(Code::WSAEFAULT)?) };
        let text = if address.port() == 0 { address.ip().to_string() } else { address.to_string() };
        // SAFETY: the caller's promise.
        match unsafe { write_text(to, *room as usize, &text) } {
            Ok(needed) => *room = needed as DWORD,
            Err(needed) => {
                *room = needed as DWORD;
                return Err(Code::WSAEFAULT);
            }
        }
        Ok(0)
    }

    /// `WSAStringToAddressA`.
    fn ovl_WSAStringToAddressA(from: *const c_char, family: i32, _info: *const u8, name: *mut u8, len: *mut i32) -> i32, winsock else (SOCKET_ERROR) {
        started()?;
        // SAFETY: the caller's promise.
        let (from, len) = unsafe { (text(from).ok_or(Code::WSAEFAULT)?, len.as_mut().ok_or(Code::WSAEFAULT)?) };
        let from = from.to_str().map_err(|_| Code::WSAEINVAL)?;
        let address = from
            .parse::<SocketAddr>()
            .or_else(|_| from.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| (ip, 0).into()))
            .map_err(|_| Code::WSAEINVAL)?;
        if address.is_ipv4() != (family == AF_INET) {
            return Err(Code::WSAEINVAL);
        }
        let bytes = address::to_bytes(address);
        if name.is_null() || (*len as usize) < bytes.len {
            *len = bytes.len as i32;
            return Err(Code::WSAEFAULT);
        }
        // SAFETY: there is room, as was just seen.
        unsafe { name.copy_from_nonoverlapping(bytes.bytes.as_ptr(), bytes.len) };
        *len = bytes.len as i32;
        Ok(0)
    }
}
