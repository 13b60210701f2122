//! Functions that take wide text. `wchar_t` is the C library's, 32 bits, so that `L"…"`, `wcslen` and `wprintf` go with it; what Windows
//! has in 16 bits is one character here. The functions of narrow text do the work, in UTF-8.

use std::ffi::{CStr, CString, c_char, c_void};

use crate::boundary::{boundary, last_error};
use crate::types::{BOOL, Code, DWORD, FALSE, HANDLE, INVALID_HANDLE_VALUE, Outcome};

/// Wide text as narrow. Null stays null.
///
/// # Safety
/// `text` is null, or ends with a null.
pub(crate) unsafe fn narrow(text: *const u32) -> Option<CString> {
    if text.is_null() {
        return None;
    }
    let mut result = String::new();
    let mut at = text;
    loop {
        // SAFETY: not behind the null.
        let unit = unsafe { at.read() };
        if unit == 0 {
            break;
        }
        result.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        // SAFETY: there is at least the null.
        at = unsafe { at.add(1) };
    }
    Some(CString::new(result).expect("its nulls were the end"))
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr())
}

/// Narrow text as wide, with its null.
fn wide(text: &CStr) -> Vec<u32> {
    text.to_string_lossy().chars().map(u32::from).chain([0]).collect()
}

/// Copies text to a place of the caller's that has room for it.
///
/// # Safety
/// `to` has room for `text`.
unsafe fn copy(text: &[u32], to: *mut u32) {
    // SAFETY: as above.
    unsafe { text.as_ptr().copy_to_nonoverlapping(to, text.len()) };
}

boundary! {
    /// `CreateFileW`.
    fn ovl_CreateFileW(
        path: *const u32,
        access: DWORD,
        share: DWORD,
        security: *const u8,
        disposition: DWORD,
        attributes: DWORD,
        template: HANDLE,
    ) -> HANDLE, else (INVALID_HANDLE_VALUE) {
        // SAFETY: the caller's text.
        let path = unsafe { narrow(path) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::disk::ovl_CreateFileA(pointer(&path), access, share, security, disposition, attributes, template) })
    }

    /// `DeleteFileW`.
    fn ovl_DeleteFileW(path: *const u32) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let path = unsafe { narrow(path) };
        // SAFETY: of our own.
        Ok(unsafe { crate::disk::ovl_DeleteFileA(pointer(&path)) })
    }

    /// `GetTempPathW`.
    fn ovl_GetTempPathW(size: DWORD, to: *mut u32) -> DWORD, else (0) {
        let mut narrow = [0; 4097];
        // SAFETY: a place of our own, and its size.
        let length = unsafe { crate::disk::ovl_GetTempPathA(narrow.len() as DWORD, narrow.as_mut_ptr()) };
        if length == 0 || length as usize >= narrow.len() {
            return Ok(length);
        }
        // SAFETY: it was filled, with a null.
        let wide = wide(unsafe { CStr::from_ptr(narrow.as_ptr()) });
        if wide.len() > size as usize {
            return Ok(wide.len() as DWORD);
        }
        // SAFETY: as much room as the caller says.
        unsafe { copy(&wide, to) };
        Ok(wide.len() as DWORD - 1)
    }

    /// `GetTempFileNameW`. `to` has room for MAX_PATH characters.
    fn ovl_GetTempFileNameW(path: *const u32, prefix: *const u32, unique: u32, to: *mut u32) -> u32, else (0) {
        // SAFETY: the caller's texts.
        let (path, prefix) = unsafe { (narrow(path), narrow(prefix)) };
        let mut made = [0; 4097];
        // SAFETY: a place of our own, larger than is asked for.
        let number = unsafe { crate::disk::ovl_GetTempFileNameA(pointer(&path), pointer(&prefix), unique, made.as_mut_ptr()) };
        if number != 0 {
            // SAFETY: it was filled, with a null.
            let wide = wide(unsafe { CStr::from_ptr(made.as_ptr()) });
            if wide.len() > 260 {
                return Err(Code(111)); // ERROR_BUFFER_OVERFLOW
            }
            // SAFETY: as much room as Win32 asks for.
            unsafe { copy(&wide, to) };
        }
        Ok(number)
    }

    /// `GetFileAttributesW`.
    fn ovl_GetFileAttributesW(path: *const u32) -> DWORD, else (DWORD::MAX) {
        // SAFETY: the caller's text.
        let path = unsafe { narrow(path) };
        // SAFETY: of our own.
        Ok(unsafe { crate::disk::ovl_GetFileAttributesA(pointer(&path)) })
    }

    /// `CreateEventW`.
    fn ovl_CreateEventW(attributes: *const u8, manual: BOOL, set: BOOL, name: *const u32) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::signal::ovl_CreateEventA(attributes, manual, set, pointer(&name)) })
    }

    /// `CreateMutexW`.
    fn ovl_CreateMutexW(attributes: *const u8, owned: BOOL, name: *const u32) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::signal::ovl_CreateMutexA(attributes, owned, pointer(&name)) })
    }

    /// `CreateSemaphoreW`.
    fn ovl_CreateSemaphoreW(attributes: *const u8, count: i32, most: i32, name: *const u32) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::signal::ovl_CreateSemaphoreA(attributes, count, most, pointer(&name)) })
    }

    /// `WSAAddressToStringW`.
    fn ovl_WSAAddressToStringW(name: *const u8, length: DWORD, info: *const u8, to: *mut u32, room: *mut DWORD) -> i32, else (-1) {
        let mut narrow = [0; 80];
        let mut size = narrow.len() as DWORD;
        // SAFETY: a place of our own, and its size; the rest as Win32 asks.
        if unsafe { crate::names::ovl_WSAAddressToStringA(name, length, info, narrow.as_mut_ptr(), &mut size) } != 0 {
            return Ok(-1);
        }
        // SAFETY: it was filled, with a null; the caller's places, and as much room as it says.
        unsafe {
            let wide = wide(CStr::from_ptr(narrow.as_ptr()));
            if to.is_null() || room.is_null() {
                return Err(Code::WSAEFAULT);
            }
            let had = room.replace(wide.len() as DWORD);
            if wide.len() > had as usize {
                return Err(Code::WSAEFAULT);
            }
            copy(&wide, to);
        }
        Ok(0)
    }

    /// `WSAStringToAddressW`.
    fn ovl_WSAStringToAddressW(from: *const u32, family: i32, info: *const u8, name: *mut u8, length: *mut i32) -> i32, else (-1) {
        // SAFETY: the caller's text.
        let from = unsafe { narrow(from) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::names::ovl_WSAStringToAddressA(pointer(&from), family, info, name, length) })
    }

    /// `InetPtonW`.
    fn ovl_InetPtonW(family: i32, text: *const u32, to: *mut c_void) -> i32, else (-1) {
        // SAFETY: the caller's text.
        let text = unsafe { narrow(text) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::names::ovl_inet_pton(family, pointer(&text), to.cast()) })
    }

    /// `InetNtopW`.
    fn ovl_InetNtopW(family: i32, address: *const c_void, to: *mut u32, size: usize) -> *const u32, else (std::ptr::null()) {
        let mut narrow = [0; 80];
        // SAFETY: a place of our own, and its size.
        let made = unsafe { crate::names::ovl_inet_ntop(family, address.cast(), narrow.as_mut_ptr(), narrow.len()) };
        if made.is_null() {
            return Err(Code(last_error()));
        }
        // SAFETY: it was filled, with a null.
        let wide = wide(unsafe { CStr::from_ptr(narrow.as_ptr()) });
        if to.is_null() || wide.len() > size {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: as much room as the caller says.
        unsafe { copy(&wide, to) };
        Ok(to)
    }
}

const CP_ACP: u32 = 0;
const CP_OEMCP: u32 = 1;
const CP_THREAD_ACP: u32 = 3;
const CP_UTF8: u32 = 65001;
const MB_ERR_INVALID_CHARS: DWORD = 0x08;
const NO_UNICODE_TRANSLATION: Code = Code(1113);

/// All that a program takes for the system's encoding is UTF-8.
fn is_utf8(code_page: u32) -> Outcome<()> {
    match code_page {
        CP_ACP | CP_OEMCP | CP_THREAD_ACP | CP_UTF8 | 20127 => Ok(()),
        _ => Err(Code::INVALID_PARAMETER),
    }
}

boundary! {
    /// `MultiByteToWideChar`, from UTF-8.
    fn ovl_MultiByteToWideChar(code_page: u32, flags: DWORD, from: *const u8, length: i32, to: *mut u32, room: i32) -> i32, else (0) {
        is_utf8(code_page)?;
        if from.is_null() || length == 0 || room < 0 || (room > 0 && to.is_null()) {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: the caller's text, with its length or a null.
        let bytes = unsafe {
            match length {
                ..0 => CStr::from_ptr(from.cast()).to_bytes_with_nul(),
                _ => std::slice::from_raw_parts(from, length as usize),
            }
        };
        if flags & MB_ERR_INVALID_CHARS != 0 && std::str::from_utf8(bytes).is_err() {
            return Err(NO_UNICODE_TRANSLATION);
        }
        let wide: Vec<u32> = String::from_utf8_lossy(bytes).chars().map(u32::from).collect();
        if room > 0 {
            if wide.len() > room as usize {
                return Err(Code::INSUFFICIENT_BUFFER);
            }
            // SAFETY: as much room as the caller says.
            unsafe { copy(&wide, to) };
        }
        Ok(wide.len() as i32)
    }

    /// `WideCharToMultiByte`, to UTF-8. There is no character that it has not, so no default one is used.
    fn ovl_WideCharToMultiByte(
        code_page: u32,
        _flags: DWORD,
        from: *const u32,
        length: i32,
        to: *mut u8,
        room: i32,
        _default: *const c_char,
        used_default: *mut BOOL,
    ) -> i32, else (0) {
        is_utf8(code_page)?;
        if from.is_null() || length == 0 || room < 0 || (room > 0 && to.is_null()) {
            return Err(Code::INVALID_PARAMETER);
        }
        let bytes = if length < 0 {
            // SAFETY: the caller's text, with a null.
            unsafe { narrow(from) }.expect("not null").into_bytes_with_nul()
        } else {
            // SAFETY: the caller's text, with its length.
            let units = unsafe { std::slice::from_raw_parts(from, length as usize) };
            let text: String = units.iter().map(|&unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
            text.into_bytes()
        };
        if !used_default.is_null() {
            // SAFETY: the caller's.
            unsafe { used_default.write(FALSE) };
        }
        if room > 0 {
            if bytes.len() > room as usize {
                return Err(Code::INSUFFICIENT_BUFFER);
            }
            // SAFETY: as much room as the caller says.
            unsafe { bytes.as_ptr().copy_to_nonoverlapping(to, bytes.len()) };
        }
        Ok(bytes.len() as i32)
    }
}
