//! The types and the codes that functions of more than one file use, as the headers have them.

use std::ffi::c_void;

/// 1 or 0.
pub type BOOL = i32;
/// A whole number of 32 bits, on every system.
pub type DWORD = u32;
/// A small multiple of 4, not an address; or one of a few large numbers.
pub type HANDLE = *mut c_void;
/// A handle by another name.
pub type SOCKET = usize;

pub const TRUE: BOOL = 1;
pub const FALSE: BOOL = 0;
pub const INFINITE: DWORD = u32::MAX;
pub const INVALID_HANDLE_VALUE: HANDLE = usize::MAX as HANDLE;
pub const INVALID_SOCKET: SOCKET = usize::MAX;
pub const SOCKET_ERROR: i32 = -1;

/// A code of Win32 or Winsock, as `GetLastError` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub DWORD);

/// What a function gives back, or why it cannot.
pub type Outcome<T> = Result<T, Code>;

macro_rules! codes {
    ($($name:ident = $code:literal;)*) => {
        #[allow(dead_code, reason = "the list is the documentation's, not ours")]
        impl Code { $(pub const $name: Code = Code($code);)* }
    };
}

codes! {
    FILE_NOT_FOUND = 2;
    ACCESS_DENIED = 5;
    INVALID_HANDLE = 6;
    NOT_ENOUGH_MEMORY = 8;
    INVALID_ACCESS = 12;
    INVALID_DATA = 13;
    OUTOFMEMORY = 14;
    SHARING_VIOLATION = 32;
    HANDLE_EOF = 38;
    NOT_SUPPORTED = 50;
    NETNAME_DELETED = 64;
    FILE_EXISTS = 80;
    INVALID_PARAMETER = 87;
    BROKEN_PIPE = 109;
    SEM_TIMEOUT = 121;
    INSUFFICIENT_BUFFER = 122;
    INVALID_NAME = 123;
    NEGATIVE_SEEK = 131;
    ALREADY_EXISTS = 183;
    PIPE_BUSY = 231;
    NO_DATA = 232;
    PIPE_NOT_CONNECTED = 233;
    MORE_DATA = 234;
    NOT_OWNER = 288;
    TOO_MANY_POSTS = 298;
    PIPE_CONNECTED = 535;
    PIPE_LISTENING = 536;
    ABANDONED_WAIT_0 = 735;
    OPERATION_ABORTED = 995;
    IO_INCOMPLETE = 996;
    IO_PENDING = 997;
    NOACCESS = 998;
    INTERNAL_ERROR = 1359;
    NOT_FOUND = 1168;
    INVALID_USER_BUFFER = 1784;
    WAIT_TIMEOUT = 258;
    WAIT_IO_COMPLETION = 192;
    GEN_FAILURE = 31;
    WSAEINTR = 10004;
    WSAEBADF = 10009;
    WSAEACCES = 10013;
    WSAEFAULT = 10014;
    WSAEINVAL = 10022;
    WSAEMFILE = 10024;
    WSAEWOULDBLOCK = 10035;
    WSAEINPROGRESS = 10036;
    WSAEALREADY = 10037;
    WSAENOTSOCK = 10038;
    WSAEDESTADDRREQ = 10039;
    WSAEMSGSIZE = 10040;
    WSAEPROTOTYPE = 10041;
    WSAENOPROTOOPT = 10042;
    WSAEPROTONOSUPPORT = 10043;
    WSAESOCKTNOSUPPORT = 10044;
    WSAEOPNOTSUPP = 10045;
    WSAEAFNOSUPPORT = 10047;
    WSAEADDRINUSE = 10048;
    WSAEADDRNOTAVAIL = 10049;
    WSAECONNABORTED = 10053;
    WSAECONNRESET = 10054;
    WSAENOBUFS = 10055;
    WSAEISCONN = 10056;
    WSAENOTCONN = 10057;
    WSAESHUTDOWN = 10058;
    WSAETIMEDOUT = 10060;
    WSAECONNREFUSED = 10061;
    WSANOTINITIALISED = 10093;
    WSAVERNOTSUPPORTED = 10092;
    WSAHOST_NOT_FOUND = 11001;
    WSATRY_AGAIN = 11002;
    WSANO_RECOVERY = 11003;
    WSANO_DATA = 11004;
}
