//! What surrounds the program: directories, the environment, its own name; and the few things done to files as a whole.

use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::{env, fs, io};

use crate::boundary::boundary;
use crate::disk::path_of;
use crate::types::{BOOL, Code, DWORD, FALSE, HANDLE, Outcome, TRUE};

const ENVVAR_NOT_FOUND: Code = Code(203);
const PATH_NOT_FOUND: Code = Code(3);

/// A path as the system writes it.
///
/// # Safety
/// `path` is null, or ends with a null.
unsafe fn path(path: *const c_char) -> Outcome<PathBuf> {
    // SAFETY: as above.
    Ok(OsString::from_vec(unsafe { path_of(path)? }.into_bytes()).into())
}

fn code(error: io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::NotFound => Code::FILE_NOT_FOUND,
        io::ErrorKind::AlreadyExists => Code::ALREADY_EXISTS,
        io::ErrorKind::DirectoryNotEmpty => Code(145),
        io::ErrorKind::NotADirectory => Code(267),
        io::ErrorKind::StorageFull => Code(112),
        _ => Code::ACCESS_DENIED,
    }
}

/// Copies text into the caller's buffer: its length without the null, or what it needs with the null.
///
/// # Safety
/// `to` has room for `size` bytes, or is null.
unsafe fn copy(text: &[u8], to: *mut c_char, size: DWORD) -> DWORD {
    if to.is_null() || text.len() >= size as usize {
        return text.len() as DWORD + 1;
    }
    // SAFETY: as above.
    unsafe {
        text.as_ptr().copy_to_nonoverlapping(to.cast(), text.len());
        to.add(text.len()).write(0);
    }
    text.len() as DWORD
}

/// A name of the caller's.
///
/// # Safety
/// `name` is null, or ends with a null.
unsafe fn named<'a>(name: *const c_char) -> Outcome<&'a OsStr> {
    if name.is_null() {
        return Err(Code::INVALID_PARAMETER);
    }
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    if name.is_empty() || name.contains(&b'=') {
        return Err(Code::INVALID_PARAMETER); // which the system would not survive
    }
    Ok(OsStr::from_bytes(name))
}

boundary! {
    /// `CreateDirectoryA`.
    fn ovl_CreateDirectoryA(name: *const c_char, _security: *const u8) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let made = fs::create_dir(unsafe { path(name)? });
        made.map_err(|error| if error.kind() == io::ErrorKind::NotFound { PATH_NOT_FOUND } else { code(error) })?;
        Ok(TRUE)
    }

    /// `RemoveDirectoryA`.
    fn ovl_RemoveDirectoryA(name: *const c_char) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        fs::remove_dir(unsafe { path(name)? }).map_err(code)?;
        Ok(TRUE)
    }

    /// `MoveFileA`: it does not replace what is there.
    fn ovl_MoveFileA(from: *const c_char, to: *const c_char) -> BOOL, else (FALSE) {
        // SAFETY: the caller's texts.
        let (from, to) = unsafe { (path(from)?, path(to)?) };
        if to.symlink_metadata().is_ok() {
            return Err(Code::ALREADY_EXISTS);
        }
        fs::rename(from, to).map_err(code)?;
        Ok(TRUE)
    }

    /// `CopyFileA`.
    fn ovl_CopyFileA(from: *const c_char, to: *const c_char, fail_if_exists: BOOL) -> BOOL, else (FALSE) {
        // SAFETY: the caller's texts.
        let (from, to) = unsafe { (path(from)?, path(to)?) };
        if fail_if_exists != FALSE && to.symlink_metadata().is_ok() {
            return Err(Code::FILE_EXISTS);
        }
        fs::copy(from, to).map_err(code)?;
        Ok(TRUE)
    }

    /// `GetCurrentDirectoryA`.
    fn ovl_GetCurrentDirectoryA(size: DWORD, to: *mut c_char) -> DWORD, else (0) {
        let directory = env::current_dir().map_err(code)?;
        // SAFETY: as much room as the caller says.
        Ok(unsafe { copy(directory.as_os_str().as_bytes(), to, size) })
    }

    /// `SetCurrentDirectoryA`.
    fn ovl_SetCurrentDirectoryA(name: *const c_char) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        env::set_current_dir(unsafe { path(name)? }).map_err(code)?;
        Ok(TRUE)
    }

    /// `GetEnvironmentVariableA`.
    fn ovl_GetEnvironmentVariableA(name: *const c_char, to: *mut c_char, size: DWORD) -> DWORD, else (0) {
        // SAFETY: the caller's text.
        let value = env::var_os(unsafe { named(name)? }).ok_or(ENVVAR_NOT_FOUND)?;
        // SAFETY: as much room as the caller says.
        Ok(unsafe { copy(value.as_bytes(), to, size) })
    }

    /// `SetEnvironmentVariableA`.
    fn ovl_SetEnvironmentVariableA(name: *const c_char, value: *const c_char) -> BOOL, else (FALSE) {
        // SAFETY: the caller's texts. That nobody reads the environment meanwhile is the program's concern, as with `setenv`.
        unsafe {
            let name = CString::new(named(name)?.as_bytes()).expect("it was a C text");
            let set = if value.is_null() { libc::unsetenv(name.as_ptr()) } else { libc::setenv(name.as_ptr(), value, 1) };
            if set == 0 { Ok(TRUE) } else { Err(Code::NOT_ENOUGH_MEMORY) }
        }
    }

    /// `GetComputerNameA`: what is before the first dot, in capital letters.
    fn ovl_GetComputerNameA(to: *mut c_char, size: *mut DWORD) -> BOOL, else (FALSE) {
        if size.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        let mut name = [0_u8; 256];
        // SAFETY: a place of our own, with its size.
        unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
        let name = name.split(|&byte| byte == 0 || byte == b'.').next().unwrap_or_default().to_ascii_uppercase();
        // SAFETY: the caller's, and as much room as it says.
        unsafe {
            let copied = copy(&name, to, size.read());
            size.write(copied);
            if copied as usize == name.len() { Ok(TRUE) } else { Err(Code(111)) } // ERROR_BUFFER_OVERFLOW
        }
    }

    /// `GetModuleFileNameA`, of the program itself.
    fn ovl_GetModuleFileNameA(module: HANDLE, to: *mut c_char, size: DWORD) -> DWORD, else (0) {
        if !module.is_null() && module != THIS_MODULE {
            return Err(Code(126)); // ERROR_MOD_NOT_FOUND
        }
        let program = env::current_exe().map_err(code)?;
        let bytes = program.as_os_str().as_bytes();
        if size == 0 || to.is_null() {
            return Err(Code::INSUFFICIENT_BUFFER);
        }
        // SAFETY: as much room as the caller says.
        unsafe {
            if bytes.len() < size as usize {
                return Ok(copy(bytes, to, size));
            }
            copy(&bytes[..size as usize - 1], to, size);
        }
        crate::boundary::set_last_error(Code::INSUFFICIENT_BUFFER.0);
        Ok(size)
    }

    /// `GetModuleHandleA`, of the program itself; no other module has one.
    fn ovl_GetModuleHandleA(name: *const c_char) -> HANDLE, else (std::ptr::null_mut()) {
        if name.is_null() { Ok(THIS_MODULE) } else { Err(Code(126)) }
    }

    /// `GetCommandLineA`.
    fn ovl_GetCommandLineA() -> *const c_char, else (std::ptr::null()) {
        static LINE: OnceLock<CString> = OnceLock::new();
        let line = LINE.get_or_init(|| {
            let bytes = fs::read("/proc/self/cmdline").unwrap_or_default();
            let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes).split(|&byte| byte == 0);
            let quoted = words.map(|word| match word.is_empty() || word.contains(&b' ') {
                true => [b"\"", word, b"\""].concat(),
                false => word.to_vec(),
            });
            CString::new(quoted.collect::<Vec<_>>().join(&b' ')).expect("nulls were what it was cut at")
        });
        Ok(line.as_ptr())
    }

    /// `OutputDebugStringA`: to the standard error stream if OVERLAPPED_DEBUG is set, for there is no debugger that listens.
    fn ovl_OutputDebugStringA(text: *const c_char) {
        if !text.is_null() && env::var_os("OVERLAPPED_DEBUG").is_some() {
            // SAFETY: the caller's text.
            eprint!("{}", unsafe { CStr::from_ptr(text) }.to_string_lossy());
        }
    }

    /// `GetCurrentProcessorNumber`.
    fn ovl_GetCurrentProcessorNumber() -> DWORD {
        // SAFETY: asks for a number.
        unsafe { libc::sched_getcpu() as DWORD }
    }

    /// `SetThreadDescription`, of the calling thread; the system keeps 15 bytes.
    fn ovl_SetThreadDescription(thread: HANDLE, name: *const u32) -> i32 {
        // SAFETY: the caller's text.
        if let Some(name) = unsafe { crate::wide::narrow(name) }
            && thread as isize == THIS_THREAD
        {
            let short: Vec<u8> = name.to_bytes().iter().copied().take(15).chain([0]).collect();
            // SAFETY: a text with its null, shorter than 16 bytes.
            unsafe { libc::pthread_setname_np(libc::pthread_self(), short.as_ptr().cast()) };
        }
        0 // S_OK
    }
}

/// Where Windows puts programs.
const THIS_MODULE: HANDLE = 0x0040_0000 as HANDLE;
/// What `GetCurrentThread` gives.
const THIS_THREAD: isize = -2;
