//! Where C calls in: the last error of each thread, and the macro that every function is made with.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::types::{Code, DWORD, Outcome};

thread_local! {
    /// One for Win32 and Winsock, as on Windows.
    static LAST: Cell<DWORD> = const { Cell::new(0) };
}

pub(crate) fn last_error() -> DWORD {
    LAST.try_with(Cell::get).unwrap_or(0)
}

pub(crate) fn set_last_error(code: DWORD) {
    let _ = LAST.try_with(|last| last.set(code)); // a thread that is ending has none
}

/// Runs the body of a function. Nothing unwinds into C.
#[inline]
pub(crate) fn call<T>(otherwise: T, body: impl FnOnce() -> Outcome<T>) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(Code(code))) => {
            set_last_error(code);
            otherwise
        }
        Err(panic) => {
            report(&*panic);
            set_last_error(Code::INTERNAL_ERROR.0);
            otherwise
        }
    }
}

/// As [`call`], and success is an error of 0: Winsock's way.
#[inline]
pub(crate) fn winsock<T>(otherwise: T, body: impl FnOnce() -> Outcome<T>) -> T {
    call(otherwise, || {
        let value = body()?;
        set_last_error(0);
        Ok(value)
    })
}

/// The panic hook has said what and where; this says what it means.
#[cold]
fn report(panic: &dyn Any) {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    eprintln!("overlapped-win32: a fault of the library's, reported as error 1359: {}", text.unwrap_or("(no text)"));
}

/// Functions for C. `else` is what one returns when its body gives an error, which becomes the last error; with `winsock` success sets
/// that to 0. Without `else` the body gives the value itself, and a fault the default one.
///
/// ```text
/// boundary! {
///     /// `CloseHandle`.
///     fn ovl_CloseHandle(handle: HANDLE) -> BOOL, else (FALSE) {
///         handle::close(handle)?;
///         Ok(TRUE)
///     }
///
///     /// `listen`.
///     fn ovl_listen(s: SOCKET, backlog: i32) -> i32, winsock else (SOCKET_ERROR) { … }
///
///     /// `GetLastError`.
///     fn ovl_GetLastError() -> DWORD {
///         last_error()
///     }
/// }
/// ```
macro_rules! boundary {
    () => {};
    (
        $(#[$doc:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty, else ($otherwise:expr) $body:block
        $($rest:tt)*
    ) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            $crate::boundary::call($otherwise, || $body)
        }
        $crate::boundary::boundary! { $($rest)* }
    };
    (
        $(#[$doc:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty, winsock else ($otherwise:expr) $body:block
        $($rest:tt)*
    ) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            $crate::boundary::winsock($otherwise, || $body)
        }
        $crate::boundary::boundary! { $($rest)* }
    };
    (
        $(#[$doc:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
        $($rest:tt)*
    ) => {
        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            $crate::boundary::call(Default::default(), || {
                let body = || $body;
                Ok(body())
            })
        }
        $crate::boundary::boundary! { $($rest)* }
    };
}
pub(crate) use boundary;

boundary! {
    /// `GetLastError`.
    fn ovl_GetLastError() -> DWORD {
        last_error()
    }

    /// `SetLastError`.
    fn ovl_SetLastError(code: DWORD) {
        set_last_error(code);
    }

    /// `WSAGetLastError`.
    fn ovl_WSAGetLastError() -> i32 {
        last_error() as i32
    }

    /// `WSASetLastError`.
    fn ovl_WSASetLastError(code: i32) {
        set_last_error(code as DWORD);
    }
}
