//! One error type, over a Win32 code, and the one table that relates it to errno, Winsock and NTSTATUS.

use std::fmt;
use std::io;

use crate::sys;

/// The result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A Win32 error code: what `GetLastError` would return after `GetQueuedCompletionStatus`.
///
/// Small and `Copy`, so that it can be matched, stored and compared. An error of the system that has no Win32
/// code keeps its errno: see [`Error::raw_os_error`].
///
/// Reference: [System Error Codes](https://learn.microsoft.com/en-us/windows/win32/debug/system-error-codes).
///
/// ```
/// use overlapped::Error;
/// use std::io::ErrorKind;
///
/// let error = Error::NETNAME_DELETED;
/// assert_eq!(error.code(), 64);
/// assert_eq!(error.winsock_code(), 10054);
/// assert_eq!(error.kind(), ErrorKind::ConnectionReset);
/// println!("{error}"); // the connection was reset by the peer (Win32 error 64)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Error(u32);

/// Win32 reserves bit 29 for codes that an application defines; an errno without a Win32 code travels under it.
const ERRNO: u32 = 1 << 29;

/// A row of the table: one failure, as each of four interfaces names it.
struct Row {
    code: u32,
    winsock: u32,
    status: u32,
    errno: &'static [i32],
    kind: io::ErrorKind,
    text: &'static str,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $winsock:literal, $status:literal, [$($errno:ident)*], $kind:ident, $text:literal;)*) => {
        impl Error {
            $($(#[$doc])* pub const $name: Error = Error($code);)*
        }
        const TABLE: &[Row] = &[$(Row {
            code: $code,
            winsock: $winsock,
            status: $status,
            errno: sys::errnos!($($errno)*),
            kind: io::ErrorKind::$kind,
            text: $text,
        }),*];
    };
}

errors! {
    // name = Win32, Winsock, NTSTATUS, [errno], kind, text
    /// `ERROR_FILE_NOT_FOUND` (2).
    FILE_NOT_FOUND = 2, 2, 0xC0000034, [ENOENT], NotFound, "the file does not exist";
    /// `ERROR_PATH_NOT_FOUND` (3).
    PATH_NOT_FOUND = 3, 3, 0xC000003A, [ENOTDIR], NotFound, "a part of the path is not a directory";
    /// `ERROR_TOO_MANY_OPEN_FILES` (4).
    TOO_MANY_OPEN_FILES = 4, 10024, 0xC000011F, [EMFILE ENFILE], Other, "too many open files: raise the descriptor limit (`ulimit -n`)";
    /// `ERROR_ACCESS_DENIED` (5).
    ACCESS_DENIED = 5, 10013, 0xC0000022, [EACCES EPERM EISDIR], PermissionDenied, "access is denied";
    /// `ERROR_INVALID_HANDLE` (6): the handle is closed, or not of the kind that the call wants.
    INVALID_HANDLE = 6, 10038, 0xC0000008, [EBADF], InvalidInput, "the handle is closed or of the wrong kind";
    /// `ERROR_NOT_ENOUGH_MEMORY` (8).
    NOT_ENOUGH_MEMORY = 8, 10055, 0xC0000017, [ENOMEM], OutOfMemory, "the system is out of memory, or a memory limit is too low";
    /// `ERROR_WRITE_PROTECT` (19).
    WRITE_PROTECT = 19, 19, 0xC00000A2, [EROFS], ReadOnlyFilesystem, "the file system is read-only";
    /// `ERROR_GEN_FAILURE` (31): an APC was queued to a thread that has ended.
    GEN_FAILURE = 31, 31, 0xC0000001, [], Other, "the thread has ended, or a device failed";
    /// `ERROR_HANDLE_EOF` (38): a read at or past the end of the file.
    HANDLE_EOF = 38, 10022, 0xC0000011, [], UnexpectedEof, "the end of the file was reached";
    /// `ERROR_NOT_SUPPORTED` (50).
    NOT_SUPPORTED = 50, 10045, 0xC00000BB, [EOPNOTSUPP ENOSYS], Unsupported, "the system does not support this operation";
    /// `ERROR_UNEXP_NET_ERR` (59): what a port reports for a socket that is not connected.
    NOT_CONNECTED = 59, 10057, 0xC0000140, [ENOTCONN], NotConnected, "the socket is not connected";
    /// `ERROR_NETNAME_DELETED` (64): the peer reset the connection.
    NETNAME_DELETED = 64, 10054, 0xC000020D, [ECONNRESET EPIPE ENETRESET], ConnectionReset, "the connection was reset by the peer";
    /// `ERROR_FILE_EXISTS` (80).
    FILE_EXISTS = 80, 80, 0xC0000035, [EEXIST], AlreadyExists, "the file exists already";
    /// `ERROR_INVALID_PARAMETER` (87).
    INVALID_PARAMETER = 87, 10022, 0xC000000D, [EINVAL], InvalidInput, "an argument is not valid";
    /// `ERROR_DISK_FULL` (112).
    DISK_FULL = 112, 112, 0xC000007F, [ENOSPC], StorageFull, "the disk is full";
    /// `ERROR_SEM_TIMEOUT` (121): the time limit of an operation ran out, or the network's did.
    SEM_TIMEOUT = 121, 10060, 0xC00000B5, [ETIMEDOUT], TimedOut, "the operation timed out";
    /// `ERROR_INSUFFICIENT_BUFFER` (122).
    INSUFFICIENT_BUFFER = 122, 10014, 0xC0000023, [], InvalidInput, "the buffer is too small";
    /// `WAIT_IO_COMPLETION` (192): an alertable wait ended because routines or APCs ran.
    WAIT_IO_COMPLETION = 192, 192, 0x000000C0, [], Interrupted, "completion routines or APCs ran";
    /// `ERROR_FILE_TOO_LARGE` (223).
    FILE_TOO_LARGE = 223, 223, 0xC0000904, [EFBIG], FileTooLarge, "the file is too large";
    /// `ERROR_MORE_DATA` (234): a datagram was longer than the buffer; the rest of it is lost.
    MORE_DATA = 234, 10040, 0x80000005, [EMSGSIZE], Other, "the datagram is longer than the buffer, or than the network takes";
    /// `WAIT_TIMEOUT` (258): a wait was in vain.
    WAIT_TIMEOUT = 258, 258, 0x00000102, [], TimedOut, "the wait timed out";
    /// `ERROR_ABANDONED_WAIT_0` (735): the port was closed.
    ABANDONED_WAIT = 735, 735, 0x00000080, [], BrokenPipe, "the completion port was closed";
    /// `ERROR_OPERATION_ABORTED` (995): the operation was cancelled.
    OPERATION_ABORTED = 995, 995, 0xC0000120, [ECANCELED], Interrupted, "the operation was cancelled";
    /// `ERROR_IO_INCOMPLETE` (996): the operation has not ended yet.
    IO_INCOMPLETE = 996, 996, 0x00000103, [], WouldBlock, "the operation has not ended yet";
    /// `ERROR_NOACCESS` (998).
    NOACCESS = 998, 10014, 0xC0000005, [EFAULT], InvalidInput, "an address is not accessible";
    /// `ERROR_IO_DEVICE` (1117).
    IO_DEVICE = 1117, 1117, 0xC0000185, [EIO], Other, "the device reported an error";
    /// `ERROR_NOT_FOUND` (1168): nothing to cancel.
    NOT_FOUND = 1168, 1168, 0xC0000225, [], NotFound, "there is no such operation to cancel";
    /// `ERROR_CONNECTION_REFUSED` (1225).
    CONNECTION_REFUSED = 1225, 10061, 0xC0000236, [ECONNREFUSED], ConnectionRefused, "the connection was refused: nothing listens there";
    /// `ERROR_NETWORK_UNREACHABLE` (1231).
    NETWORK_UNREACHABLE = 1231, 10051, 0xC000023C, [ENETUNREACH], NetworkUnreachable, "the network cannot be reached";
    /// `ERROR_HOST_UNREACHABLE` (1232).
    HOST_UNREACHABLE = 1232, 10065, 0xC000023D, [EHOSTUNREACH], HostUnreachable, "the host cannot be reached";
    /// `ERROR_PORT_UNREACHABLE` (1234).
    PORT_UNREACHABLE = 1234, 10054, 0xC000023F, [], ConnectionReset, "nothing listens on the datagram's port";
    /// `ERROR_CONNECTION_ABORTED` (1236): the handle was closed on this side.
    CONNECTION_ABORTED = 1236, 10053, 0xC0000241, [ECONNABORTED], ConnectionAborted, "the handle was closed with the operation pending";
    /// `ERROR_NO_SYSTEM_RESOURCES` (1450).
    NO_SYSTEM_RESOURCES = 1450, 10055, 0xC000009A, [ENOBUFS], Other, "the system is short of resources";
    /// This system has no io_uring. Not a Win32 code.
    IO_URING_MISSING = 0x2000_1001, 10045, 0xC00000BB, [], Unsupported, "this kernel has no io_uring, or a sandbox hides it; Linux 5.19 or later is needed, or the engine `readiness`";
    /// io_uring is there and forbidden to this process. Not a Win32 code.
    IO_URING_FORBIDDEN = 0x2000_1002, 10013, 0xC0000022, [], PermissionDenied,
        "io_uring is forbidden here: set the sysctl kernel.io_uring_disabled to 0 or, in a container, use a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register";
    /// io_uring is there, and lacks something that is needed. Not a Win32 code.
    IO_URING_TOO_OLD = 0x2000_1003, 10045, 0xC00000BB, [], Unsupported, "this kernel's io_uring is too old; Linux 5.19 or later is needed";
    /// The environment variable `OVERLAPPED_ENGINE` names no engine. Not a Win32 code.
    UNKNOWN_ENGINE = 0x2000_1004, 87, 0xC000000D, [], InvalidInput,
        "the environment variable OVERLAPPED_ENGINE names no engine: unset it, or set it to `uring` or `readiness`";
    /// Windows' own completion ports are asked for, and this is not Windows; or another engine, and it is. Not a Win32 code.
    OTHER_SYSTEMS_ENGINE = 0x2000_1005, 50, 0xC00000BB, [], Unsupported, "this engine is another operating system's: ask for none, and the one that is here is taken";
    /// `WSAEWOULDBLOCK` (10035).
    WOULD_BLOCK = 10035, 10035, 0xC0000006, [EAGAIN], WouldBlock, "the operation would block";
    /// `WSAEALREADY` (10037).
    ALREADY = 10037, 10037, 0xC0000718, [EALREADY EINPROGRESS], Other, "an operation is in progress already";
    /// `WSAENOTSOCK` (10038).
    NOT_SOCKET = 10038, 10038, 0xC0000024, [ENOTSOCK], InvalidInput, "the handle is not a socket";
    /// `WSAEDESTADDRREQ` (10039).
    DESTINATION_REQUIRED = 10039, 10039, 0xC000000D, [EDESTADDRREQ], InvalidInput, "a destination address is needed";
    /// `WSAENOPROTOOPT` (10042).
    NO_PROTOCOL_OPTION = 10042, 10042, 0xC0000002, [ENOPROTOOPT], InvalidInput, "the socket has no such option";
    /// `WSAEAFNOSUPPORT` (10047).
    ADDRESS_FAMILY = 10047, 10047, 0xC000A013, [EAFNOSUPPORT EPROTONOSUPPORT], Unsupported, "the address family is not supported";
    /// `WSAEADDRINUSE` (10048).
    ADDRESS_IN_USE = 10048, 10048, 0xC000020A, [EADDRINUSE], AddrInUse, "the address is in use already";
    /// `WSAEADDRNOTAVAIL` (10049).
    ADDRESS_NOT_AVAILABLE = 10049, 10049, 0xC0000141, [EADDRNOTAVAIL], AddrNotAvailable, "the address is not one of this host, or its ports are used up";
    /// `WSAENETDOWN` (10050).
    NETWORK_DOWN = 10050, 10050, 0xC000023E, [ENETDOWN EHOSTDOWN], NetworkDown, "the network is down";
    /// `WSAEISCONN` (10056).
    ALREADY_CONNECTED = 10056, 10056, 0xC000013A, [EISCONN], Other, "the socket is connected already";
    /// `WSAESHUTDOWN` (10058): a send after this side shut its sending half.
    SHUTDOWN = 10058, 10058, 0xC000013D, [ESHUTDOWN], BrokenPipe, "this half of the connection was shut down";
}

impl Error {
    /// The Win32 code, as `GetQueuedCompletionStatus` followed by `GetLastError` gives it.
    pub const fn code(self) -> u32 {
        self.0
    }

    /// The error of a Win32 code.
    pub const fn from_code(code: u32) -> Self {
        Self(code)
    }

    /// The error for an errno of the system; on Windows, for what `GetLastError` or `WSAGetLastError` gives. One without a Win32 code
    /// is kept as it is.
    pub fn from_errno(errno: i32) -> Self {
        match TABLE.iter().find(|row| sys::is_code_of(errno, row.errno, row.code, row.winsock)) {
            Some(row) => Self(row.code),
            None if cfg!(windows) => Self(errno as u32),
            None => Self(ERRNO | errno as u32),
        }
    }

    /// The same failure in Winsock's numbers, as `WSAGetOverlappedResult` followed by `WSAGetLastError` gives it.
    pub fn winsock_code(self) -> u32 {
        self.row().map_or(self.0, |row| row.winsock)
    }

    /// The same failure as the NTSTATUS that stands in an `OVERLAPPED`'s `Internal`; `STATUS_UNSUCCESSFUL` if it has none.
    pub fn status(self) -> u32 {
        self.row().map_or(0xC0000001, |row| row.status)
    }

    /// The failure that has this NTSTATUS; the first of several.
    #[doc(hidden)]
    pub fn from_status(status: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.status == status).map(|row| Self(row.code))
    }

    /// The system's errno, where the failure has no Win32 code.
    pub const fn raw_os_error(self) -> Option<i32> {
        let errno = self.0 ^ ERRNO;
        if errno < 0x1000 { Some(errno as i32) } else { None }
    }

    /// The nearest [`io::ErrorKind`].
    pub fn kind(self) -> io::ErrorKind {
        match (self.row(), self.raw_os_error()) {
            (Some(row), _) => row.kind,
            (None, Some(errno)) => io::Error::from_raw_os_error(errno).kind(),
            (None, None) => io::ErrorKind::Other,
        }
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.code == self.0)
    }
}

/// Of a code that is not Windows' (the customer's bit of an NTSTATUS, bit 29).
const OWN: u32 = 0x2000_0000;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.row(), self.raw_os_error()) {
            (Some(row), _) if self.0 & OWN != 0 => f.write_str(row.text),
            (Some(row), _) => write!(f, "{} (Win32 error {})", row.text, self.0),
            (None, Some(errno)) => io::Error::from_raw_os_error(errno).fmt(f),
            (None, None) => write!(f, "Win32 error {}", self.0),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}: {self})", self.0)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(error.kind(), error),
        }
    }
}

impl From<io::Error> for Error {
    /// The Win32 code of an error of the system; an error that this crate had wrapped comes out again.
    fn from(error: io::Error) -> Self {
        if let Some(errno) = error.raw_os_error() {
            return Self::from_errno(errno);
        }
        if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return *inner;
        }
        TABLE
            .iter()
            .find(|row| row.kind == error.kind() && row.kind != io::ErrorKind::Other)
            .map_or(Self(31), |row| Self(row.code)) // ERROR_GEN_FAILURE
    }
}

#[cfg(unix)]
impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::from_errno(errno.raw_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_a_function_in_both_directions() {
        let mut codes = HashSet::new();
        let mut errnos = HashSet::new();
        for row in TABLE {
            assert!(codes.insert(row.code), "code {} twice", row.code);
            assert!(Error(row.code).raw_os_error().is_none());
            for errno in row.errno {
                assert!(errnos.insert(*errno), "errno {errno} twice");
                let error = Error::from_errno(*errno);
                assert_eq!((error.code(), error.winsock_code(), error.status()), (row.code, row.winsock, row.status));
                assert_eq!(Error::from(io::Error::from(error)), error);
            }
        }
    }

    #[test]
    fn one_failure_has_the_two_faces_that_the_documentation_gives() {
        let faces = [
            (Error::OPERATION_ABORTED, 0xC0000120, 995, 995),
            (Error::NETNAME_DELETED, 0xC000020D, 64, 10054),
            (Error::CONNECTION_ABORTED, 0xC0000241, 1236, 10053),
            (Error::CONNECTION_REFUSED, 0xC0000236, 1225, 10061),
            (Error::SEM_TIMEOUT, 0xC00000B5, 121, 10060),
            (Error::NETWORK_UNREACHABLE, 0xC000023C, 1231, 10051),
            (Error::HOST_UNREACHABLE, 0xC000023D, 1232, 10065),
            (Error::PORT_UNREACHABLE, 0xC000023F, 1234, 10054),
            (Error::MORE_DATA, 0x80000005, 234, 10040),
            (Error::INSUFFICIENT_BUFFER, 0xC0000023, 122, 10014),
            (Error::HANDLE_EOF, 0xC0000011, 38, 10022),
            (Error::NOT_CONNECTED, 0xC0000140, 59, 10057),
        ];
        for (error, status, code, winsock) in faces {
            assert_eq!((error.status(), error.code(), error.winsock_code()), (status, code, winsock));
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_errno_without_a_code_passes_through() {
        let error = Error::from_errno(libc::EXDEV);
        assert_eq!(error.raw_os_error(), Some(libc::EXDEV));
        assert_eq!(io::Error::from(error).raw_os_error(), Some(libc::EXDEV));
        assert_eq!(error.to_string(), io::Error::from_raw_os_error(libc::EXDEV).to_string());
    }
}
