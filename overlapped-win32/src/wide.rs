//! Functions that take wide text. `wchar_t` is the C library's, 32 bits, so that `L"…"`, `wcslen` and `wprintf` go with it; what Windows
//! has in 16 bits is one character here. The functions of narrow text do the work, in UTF-8.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::OnceLock;

use crate::boundary::{boundary, last_error};
use crate::names::AddrInfo;
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
pub(crate) fn wide(text: &CStr) -> Vec<u32> {
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

/// What a function of narrow text gives that says how long it is, or, if there is too little room, how much it needs.
///
/// # Safety
/// `to` has room for `size` characters, and `of` fills the place that it gets.
unsafe fn filled(to: *mut u32, size: DWORD, of: impl FnOnce(*mut c_char, DWORD) -> DWORD) -> DWORD {
    let mut narrow = vec![0; 4 * 32768]; // more than Windows lets any of them have
    let length = of(narrow.as_mut_ptr(), narrow.len() as DWORD);
    if length == 0 || length as usize >= narrow.len() {
        return length;
    }
    // SAFETY: it was filled, with a null.
    let wide = wide(unsafe { CStr::from_ptr(narrow.as_ptr()) });
    if to.is_null() || wide.len() > size as usize {
        return wide.len() as DWORD;
    }
    // SAFETY: as above.
    unsafe { copy(&wide, to) };
    wide.len() as DWORD - 1
}

/// The arguments or the environment of a program with a `wmain`. They stay as long as it runs.
///
/// # Safety
/// Texts, and a null behind the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ovl_wide_texts(texts: *const *const c_char) -> *mut *mut u32 {
    let mut made = Vec::new();
    // SAFETY: the caller's promise.
    while let Some(text) = unsafe { texts.add(made.len()).read().as_ref() } {
        // SAFETY: the caller's promise.
        let text = wide(unsafe { CStr::from_ptr(text) });
        made.push(Box::leak(text.into_boxed_slice()).as_mut_ptr());
    }
    made.push(std::ptr::null_mut());
    Box::leak(made.into_boxed_slice()).as_mut_ptr()
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

    /// `OpenEventW`.
    fn ovl_OpenEventW(access: DWORD, inherit: BOOL, name: *const u32) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::signal::ovl_OpenEventA(access, inherit, pointer(&name)) })
    }

    /// `OpenMutexW`.
    fn ovl_OpenMutexW(access: DWORD, inherit: BOOL, name: *const u32) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::signal::ovl_OpenMutexA(access, inherit, pointer(&name)) })
    }

    /// `OpenSemaphoreW`.
    fn ovl_OpenSemaphoreW(access: DWORD, inherit: BOOL, name: *const u32) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::signal::ovl_OpenSemaphoreA(access, inherit, pointer(&name)) })
    }

    /// `CreateDirectoryW`.
    fn ovl_CreateDirectoryW(name: *const u32, security: *const u8) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::environment::ovl_CreateDirectoryA(pointer(&name), security) })
    }

    /// `RemoveDirectoryW`.
    fn ovl_RemoveDirectoryW(name: *const u32) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::environment::ovl_RemoveDirectoryA(pointer(&name)) })
    }

    /// `MoveFileW`.
    fn ovl_MoveFileW(from: *const u32, to: *const u32) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let from = unsafe { narrow(from) };
        // SAFETY: the caller's text.
        let to = unsafe { narrow(to) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::environment::ovl_MoveFileA(pointer(&from), pointer(&to)) })
    }

    /// `CopyFileW`.
    fn ovl_CopyFileW(from: *const u32, to: *const u32, fail_if_exists: BOOL) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let from = unsafe { narrow(from) };
        // SAFETY: the caller's text.
        let to = unsafe { narrow(to) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::environment::ovl_CopyFileA(pointer(&from), pointer(&to), fail_if_exists) })
    }

    /// `SetCurrentDirectoryW`.
    fn ovl_SetCurrentDirectoryW(name: *const u32) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::environment::ovl_SetCurrentDirectoryA(pointer(&name)) })
    }

    /// `SetEnvironmentVariableW`.
    fn ovl_SetEnvironmentVariableW(name: *const u32, value: *const u32) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: the caller's text.
        let value = unsafe { narrow(value) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::environment::ovl_SetEnvironmentVariableA(pointer(&name), pointer(&value)) })
    }

    /// `SetConsoleTitleW`.
    fn ovl_SetConsoleTitleW(title: *const u32) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let title = unsafe { narrow(title) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::console::ovl_SetConsoleTitleA(pointer(&title)) })
    }

    /// `GetModuleHandleW`.
    fn ovl_GetModuleHandleW(name: *const u32) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as Win32 asks of its caller.
        Ok(unsafe { crate::environment::ovl_GetModuleHandleA(pointer(&name)) })
    }

    /// `OutputDebugStringW`.
    fn ovl_OutputDebugStringW(text: *const u32) {
        // SAFETY: the caller's text.
        let text = unsafe { narrow(text) };
        // SAFETY: of our own.
        unsafe { crate::environment::ovl_OutputDebugStringA(pointer(&text)) }
    }

    /// `GetCurrentDirectoryW`.
    fn ovl_GetCurrentDirectoryW(size: DWORD, to: *mut u32) -> DWORD, else (0) {
        // SAFETY: as Win32 asks of its caller; the inner call gets a place of our own.
        Ok(unsafe { filled(to, size, |narrow, size| crate::environment::ovl_GetCurrentDirectoryA(size, narrow)) })
    }

    /// `GetEnvironmentVariableW`.
    fn ovl_GetEnvironmentVariableW(name: *const u32, to: *mut u32, size: DWORD) -> DWORD, else (0) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) };
        // SAFETY: as above.
        Ok(unsafe { filled(to, size, |narrow, size| crate::environment::ovl_GetEnvironmentVariableA(pointer(&name), narrow, size)) })
    }

    /// `GetModuleFileNameW`, of the program itself.
    fn ovl_GetModuleFileNameW(module: HANDLE, to: *mut u32, size: DWORD) -> DWORD, else (0) {
        let mut narrow = [0; 4097];
        // SAFETY: a place of our own, and its size.
        if unsafe { crate::environment::ovl_GetModuleFileNameA(module, narrow.as_mut_ptr(), narrow.len() as DWORD) } == 0 {
            return Err(Code(last_error()));
        }
        if to.is_null() || size == 0 {
            return Err(Code::INSUFFICIENT_BUFFER);
        }
        // SAFETY: it was filled, with a null.
        let mut wide = wide(unsafe { CStr::from_ptr(narrow.as_ptr()) });
        let fits = wide.len() <= size as usize;
        if !fits {
            wide.truncate(size as usize - 1);
            wide.push(0);
            crate::boundary::set_last_error(Code::INSUFFICIENT_BUFFER.0);
        }
        // SAFETY: as much room as the caller says.
        unsafe { copy(&wide, to) };
        Ok(if fits { wide.len() as DWORD - 1 } else { size })
    }

    /// `GetComputerNameW`.
    fn ovl_GetComputerNameW(to: *mut u32, size: *mut DWORD) -> BOOL, else (FALSE) {
        let mut narrow = [0; 257];
        let mut length = narrow.len() as DWORD;
        // SAFETY: places of our own.
        if size.is_null() || unsafe { crate::environment::ovl_GetComputerNameA(narrow.as_mut_ptr(), &mut length) } == FALSE {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: it was filled, with a null; the caller's places, and as much room as it says.
        unsafe {
            let wide = wide(CStr::from_ptr(narrow.as_ptr()));
            if to.is_null() || wide.len() > size.read() as usize {
                size.write(wide.len() as DWORD);
                return Err(Code(111)); // ERROR_BUFFER_OVERFLOW
            }
            size.write(wide.len() as DWORD - 1);
            copy(&wide, to);
        }
        Ok(crate::types::TRUE)
    }

    /// `GetCommandLineW`.
    fn ovl_GetCommandLineW() -> *const u32, else (std::ptr::null()) {
        static LINE: OnceLock<Vec<u32>> = OnceLock::new();
        // SAFETY: a text that stays.
        Ok(LINE.get_or_init(|| wide(unsafe { CStr::from_ptr(crate::environment::ovl_GetCommandLineA()) })).as_ptr())
    }

    /// `WriteConsoleW`.
    fn ovl_WriteConsoleW(output: HANDLE, from: *const u32, length: DWORD, written: *mut DWORD, reserved: *const c_void) -> BOOL, else (FALSE) {
        if from.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: so many characters, as the caller says.
        let units = unsafe { std::slice::from_raw_parts(from, length as usize) };
        let text: String = units.iter().map(|&unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        let mut bytes = 0;
        // SAFETY: a text and a place of our own.
        let done = unsafe { crate::console::ovl_WriteConsoleA(output, text.as_ptr(), text.len() as DWORD, &mut bytes, reserved) };
        // SAFETY: null, or the caller's.
        if let Some(written) = unsafe { written.as_mut() } {
            *written = if done == FALSE { 0 } else { length };
        }
        Ok(done)
    }

    /// `GetAddrInfoW`. Gives the error itself, and leaves it as the last one.
    fn ovl_GetAddrInfoW(node: *const u32, service: *const u32, hints: *const AddrInfo, result: *mut *mut AddrInfo) -> i32 {
        // SAFETY: the caller's texts.
        let (node, service) = unsafe { (narrow(node), narrow(service)) };
        // SAFETY: as Win32 asks of its caller.
        let code = unsafe { crate::names::ovl_getaddrinfo(pointer(&node), pointer(&service), hints, result) };
        if code == 0 {
            // SAFETY: it was filled, and each name in it comes from C's allocator.
            unsafe { (*result).as_mut().map(AddrInfo::widen) };
        }
        code
    }

    /// `GetNameInfoW`. Gives the error itself, and leaves it as the last one.
    fn ovl_GetNameInfoW(name: *const u8, len: i32, host: *mut u32, host_len: DWORD, service: *mut u32, service_len: DWORD, flags: i32) -> i32 {
        let mut made = ([0; 1026], [0; 64]);
        let room = |wanted: DWORD, to: *mut u32, most: usize| if to.is_null() || wanted == 0 { 0 } else { most as DWORD };
        let rooms = (room(host_len, host, made.0.len()), room(service_len, service, made.1.len()));
        // SAFETY: places of our own, and their sizes; the address as Win32 asks.
        let code = unsafe { crate::names::ovl_getnameinfo(name, len, made.0.as_mut_ptr(), rooms.0, made.1.as_mut_ptr(), rooms.1, flags) };
        if code != 0 {
            return code;
        }
        for (made, room, to, size) in [(&made.0[..], rooms.0, host, host_len), (&made.1[..], rooms.1, service, service_len)] {
            if room == 0 {
                continue;
            }
            // SAFETY: it was filled, with a null.
            let wide = wide(unsafe { CStr::from_ptr(made.as_ptr()) });
            if wide.len() > size as usize {
                crate::boundary::set_last_error(Code::INSUFFICIENT_BUFFER.0);
                return Code::INSUFFICIENT_BUFFER.0 as i32;
            }
            // SAFETY: as much room as the caller says.
            unsafe { copy(&wide, to) };
        }
        0
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
