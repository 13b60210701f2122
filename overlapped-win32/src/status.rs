//! What a failure is called: NTSTATUS, Win32, Winsock.

use overlapped::Error;

use crate::types::{Code, DWORD};

pub(crate) const SUCCESS: DWORD = 0;
pub(crate) const PENDING: DWORD = 0x103;
pub(crate) const CANCELLED: DWORD = 0xC000_0120;

/// Statuses that the library itself never gives, or under another number.
const MORE: [(DWORD, DWORD, DWORD); 13] = [
    (0xC000_013B, 64, 10053),  // local disconnect
    (0xC000_013C, 64, 10054),  // remote disconnect
    (0xC000_0140, 59, 10057),  // not connected
    (0xC000_0023, 122, 10014), // buffer too small
    (0xC000_00B0, 233, 10057), // pipe disconnected
    (0xC000_014B, 109, 10054), // pipe broken
    (0xC000_00B1, 232, 10054), // pipe closing
    (0xC000_00AD, 230, 10022), // pipe in the wrong state
    (0xC000_00AE, 231, 10022), // pipe busy
    (0xC000_00B2, 535, 10056), // pipe connected
    (0xC000_00B3, 536, 10057), // pipe listening
    (0xC000_00D9, 232, 10035), // pipe empty
    (0x8000_0005, 234, 10040), // more data
];

/// What `GetOverlappedResult` and the port make of a status.
pub(crate) fn win32(status: DWORD) -> Code {
    match MORE.iter().find(|row| row.0 == status) {
        Some(row) => Code(row.1),
        None => Code(Error::from_status(status).map_or(317, Error::code)), // ERROR_MR_MID_NOT_FOUND
    }
}

/// What `WSAGetOverlappedResult` makes of it.
pub(crate) fn winsock(status: DWORD) -> Code {
    match MORE.iter().find(|row| row.0 == status) {
        Some(row) => Code(row.2),
        None => Code(Error::from_status(status).map_or(10022, Error::winsock_code)),
    }
}

/// Whether it is one of success, or of a warning that is none for Win32.
pub(crate) fn is_success(status: DWORD) -> bool {
    (status as i32) >= 0
}

/// Winsock's name for what the system said last.
pub(crate) fn last_winsock() -> Code {
    of_errno_winsock(errno())
}

/// Win32's name for what the system said last.
pub(crate) fn last_win32() -> Code {
    Code(known(Error::from_errno(errno())).code())
}

pub(crate) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub(crate) fn of_errno_winsock(errno: i32) -> Code {
    match errno {
        libc::EPROTONOSUPPORT => Code::WSAEPROTONOSUPPORT,
        libc::ESOCKTNOSUPPORT => Code::WSAESOCKTNOSUPPORT,
        libc::EPROTOTYPE => Code::WSAEPROTOTYPE,
        libc::EPIPE => Code::WSAESHUTDOWN,
        libc::EINTR => Code::WSAEINTR,
        libc::ENOPROTOOPT => Code::WSAENOPROTOOPT,
        _ => Code(known(Error::from_errno(errno)).winsock_code()),
    }
}

/// An errno without a Win32 code is a general failure to C programs.
fn known(error: Error) -> Error {
    if error.raw_os_error().is_some() { Error::GEN_FAILURE } else { error }
}
