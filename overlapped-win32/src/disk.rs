//! Files: opening, reading and writing them, where they end.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use overlapped::Error;
use overlapped::raw::{Kind, Operation, Side, Span};

use crate::boundary::{boundary, set_last_error};
use crate::file::{Call, File, Routine};
use crate::handle::{self, Object};
use crate::overlapped::Overlapped;
use crate::pipe;
use crate::rendezvous;
use crate::socket::is_connected;
use crate::status::{errno, last_win32};
use crate::types::*;

const GENERIC_READ: DWORD = 0x8000_0000;
const GENERIC_WRITE: DWORD = 0x4000_0000;
const GENERIC_ALL: DWORD = 0x1000_0000;
const FILE_READ_DATA: DWORD = 1;
const FILE_WRITE_DATA: DWORD = 2;
const FILE_APPEND_DATA: DWORD = 4;
const FILE_FLAG_WRITE_THROUGH: DWORD = 0x8000_0000;
const FILE_FLAG_OVERLAPPED: DWORD = 0x4000_0000;
const FILE_FLAG_DELETE_ON_CLOSE: DWORD = 0x0400_0000;
const FILE_FLAG_BACKUP_SEMANTICS: DWORD = 0x0200_0000;
const INVALID_FILE_SIZE: DWORD = DWORD::MAX;
const INVALID_SET_FILE_POINTER: DWORD = DWORD::MAX;
const MAX_PATH: usize = 260;

/// What a handle may be used for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// The system's path: a drive's letter is left aside, and separators may be of either kind.
fn system_path(path: &CStr) -> Outcome<CString> {
    let mut bytes = path.to_bytes();
    if bytes.is_empty() {
        return Err(Code(3)); // ERROR_PATH_NOT_FOUND
    }
    if bytes.eq_ignore_ascii_case(b"NUL") {
        return Ok(c"/dev/null".to_owned());
    }
    if bytes.eq_ignore_ascii_case(b"CONIN$") || bytes.eq_ignore_ascii_case(b"CONOUT$") {
        return Ok(c"/dev/tty".to_owned());
    }
    if let Some(rest) = bytes.strip_prefix(br"\\?\").or(bytes.strip_prefix(br"\\.\")) {
        bytes = rest;
    }
    if let [letter, b':', rest @ ..] = bytes
        && letter.is_ascii_alphabetic()
        && !rest.is_empty()
    {
        bytes = rest;
    }
    let bytes: Vec<u8> = bytes.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
    CString::new(bytes).map_err(|_| Code::INVALID_NAME)
}

/// # Safety
/// Null, or a C string.
pub(crate) unsafe fn path_of(path: *const c_char) -> Outcome<CString> {
    if path.is_null() {
        return Err(Code(3)); // ERROR_PATH_NOT_FOUND
    }
    // SAFETY: the caller's promise.
    system_path(unsafe { CStr::from_ptr(path) })
}

/// What the system says about a path, in Win32's words.
pub(crate) fn path_error(path: &CStr) -> Code {
    match errno() {
        // A part of the way is missing, or the file itself.
        libc::ENOENT => match Path::new(OsStr::from_bytes(path.to_bytes())).parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => Code(3),
            _ => Code::FILE_NOT_FOUND,
        },
        libc::EEXIST => Code::FILE_EXISTS,
        _ => last_win32(),
    }
}

fn open(path: &CStr, access: DWORD, disposition: DWORD, attributes: DWORD) -> Outcome<HANDLE> {
    const CREATE_NEW: DWORD = 1;
    const CREATE_ALWAYS: DWORD = 2;
    const OPEN_EXISTING: DWORD = 3;
    const OPEN_ALWAYS: DWORD = 4;
    const TRUNCATE_EXISTING: DWORD = 5;
    let read = access & (GENERIC_READ | GENERIC_ALL | FILE_READ_DATA) != 0;
    let write = access & (GENERIC_WRITE | GENERIC_ALL | FILE_WRITE_DATA | FILE_APPEND_DATA) != 0;
    let append = access & FILE_APPEND_DATA != 0 && access & (GENERIC_WRITE | GENERIC_ALL | FILE_WRITE_DATA) == 0;
    let mut flags = libc::O_CLOEXEC | if append { libc::O_APPEND } else { 0 };
    flags |= match (read, write) {
        (true, true) => libc::O_RDWR,
        (false, true) => libc::O_WRONLY,
        _ => libc::O_RDONLY,
    };
    flags |= match disposition {
        CREATE_NEW => libc::O_CREAT | libc::O_EXCL,
        CREATE_ALWAYS => libc::O_CREAT | libc::O_TRUNC,
        OPEN_EXISTING => 0,
        OPEN_ALWAYS => libc::O_CREAT,
        TRUNCATE_EXISTING if access & (GENERIC_WRITE | GENERIC_ALL) != 0 => libc::O_TRUNC,
        _ => return Err(Code::INVALID_PARAMETER),
    };
    flags |= if attributes & FILE_FLAG_WRITE_THROUGH != 0 { libc::O_DSYNC } else { 0 };
    // SAFETY: a C string.
    let existed = unsafe { libc::access(path.as_ptr(), libc::F_OK) } == 0;
    // SAFETY: a C string.
    let fd = unsafe { libc::open(path.as_ptr(), flags, 0o666) };
    if fd < 0 {
        return Err(path_error(path));
    }
    // SAFETY: the system just gave it to us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the system fills a structure for which all zeroes is valid.
    let mode = unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(fd.as_raw_fd(), &mut stat);
        stat.st_mode & libc::S_IFMT
    };
    if mode == libc::S_IFDIR && attributes & FILE_FLAG_BACKUP_SEMANTICS == 0 {
        return Err(Code::ACCESS_DENIED);
    }
    let file = File::of_disk(fd, Access { read, write }, attributes & FILE_FLAG_OVERLAPPED != 0);
    if attributes & FILE_FLAG_DELETE_ON_CLOSE != 0 {
        file.delete_on_close(path.to_owned());
    }
    let handle = handle::give(Object::File(file))?;
    let known = existed && matches!(disposition, CREATE_ALWAYS | OPEN_ALWAYS);
    set_last_error(if known { Code::ALREADY_EXISTS.0 } else { 0 });
    Ok(handle)
}

/// The client's end of a named pipe.
fn open_pipe(name: &str, access: DWORD, disposition: DWORD, attributes: DWORD) -> Outcome<HANDLE> {
    const OPEN_EXISTING: DWORD = 3;
    const OPEN_ALWAYS: DWORD = 4;
    if !matches!(disposition, OPEN_EXISTING | OPEN_ALWAYS) {
        return Err(Code::ACCESS_DENIED); // pipes are made by CreateNamedPipe
    }
    let access = Access {
        read: access & (GENERIC_READ | GENERIC_ALL | FILE_READ_DATA) != 0,
        write: access & (GENERIC_WRITE | GENERIC_ALL | FILE_WRITE_DATA) != 0,
    };
    let pipe = rendezvous::open(name, access)?;
    let file = File::of_pipe(Arc::clone(&pipe), access, attributes & FILE_FLAG_OVERLAPPED != 0);
    let handle = file.and_then(|file| handle::give(Object::File(file))).inspect_err(|_| pipe.close())?;
    set_last_error(0);
    Ok(handle)
}

/// A handle for a descriptor of the system's, of which it gets a duplicate: for the standard streams.
pub(crate) fn of_descriptor(fd: i32, access: Access) -> Outcome<HANDLE> {
    // SAFETY: no pointers.
    let duplicate = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if duplicate < 0 {
        return Err(Code::INVALID_HANDLE);
    }
    // SAFETY: the system just gave it to us.
    let duplicate = unsafe { OwnedFd::from_raw_fd(duplicate) };
    handle::give(Object::File(File::of_disk(duplicate, access, false)))
}

impl File {
    fn of_disk(fd: OwnedFd, access: Access, overlapped: bool) -> Arc<Self> {
        File::with_access(fd, Kind::File, None, overlapped, access)
    }
}

/// The file of a HANDLE.
pub(crate) fn file(handle: HANDLE) -> Outcome<Arc<File>> {
    match handle::object(handle)? {
        Object::File(file) => Ok(file),
        _ => Err(Code::INVALID_HANDLE),
    }
}

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

/// What is wrong with a read or write before it starts.
fn check(file: &File, way: Way, buffer: *const u8, len: DWORD) -> Outcome<()> {
    match way {
        Way::Read if !file.access.read => return Err(Code::ACCESS_DENIED),
        Way::Write if !file.access.write => return Err(Code::ACCESS_DENIED),
        Way::Read if buffer.is_null() && len > 0 => return Err(Code::NOACCESS),
        Way::Write if buffer.is_null() && len > 0 => return Err(Code::INVALID_USER_BUFFER),
        _ => {}
    }
    if file.socket.is_some() {
        if !is_connected(file) {
            return Err(Code(59)); // ERROR_UNEXP_NET_ERR
        }
        let side = if way == Way::Read { Side::Receive } else { Side::Send };
        if file.raw.is_shut(side) {
            return Err(Code(if way == Way::Read { 64 } else { 1236 }));
        }
    }
    Ok(())
}

fn operation(file: &File, way: Way, span: Span, offset: u64) -> Operation {
    match (way, file.socket.is_some()) {
        (Way::Read, true) => Operation::Recv(span),
        (Way::Write, true) => Operation::Send(span),
        (Way::Read, false) => Operation::ReadAt(span, offset),
        (Way::Write, false) => Operation::WriteAt(span, offset),
    }
}

/// Reads or writes without overlapping: at the file's own position, or at the overlapped's, behind which that then is.
///
/// # Safety
/// The memory is the caller's.
unsafe fn transfer(
    file: &File,
    way: Way,
    buffer: *mut u8,
    len: usize,
    overlapped: Option<&Overlapped>,
) -> Outcome<usize> {
    let fd = file.fd();
    let mut moved = 0;
    loop {
        let offset = overlapped.map(|overlapped| overlapped.offset());
        let append = offset == Some(u64::MAX) && way == Way::Write;
        if append {
            // SAFETY: no pointers.
            unsafe { libc::lseek(fd, 0, libc::SEEK_END) };
        }
        let at = offset.filter(|_| !append).map(|offset| (offset + moved as u64) as libc::off_t);
        // SAFETY: the caller's memory, as far as it is left.
        let done = unsafe {
            let (to, left) = (buffer.add(moved).cast(), len - moved);
            match (way, at) {
                (Way::Read, None) => libc::read(fd, to, left),
                (Way::Read, Some(at)) => libc::pread(fd, to, left, at),
                (Way::Write, None) => libc::write(fd, to, left),
                (Way::Write, Some(at)) => libc::pwrite(fd, to, left, at),
            }
        };
        match done {
            0.. => {
                moved += done as usize;
                let all = way == Way::Read || moved == len || done == 0;
                if !all {
                    continue;
                }
                if let Some(at) = offset.filter(|_| !append) {
                    // SAFETY: no pointers.
                    unsafe { libc::lseek(fd, (at + moved as u64) as libc::off_t, libc::SEEK_SET) };
                }
                return Ok(moved);
            }
            _ if errno() == libc::EINTR => {}
            _ if errno() == libc::EPIPE => return Err(Code::NO_DATA),
            _ => return Err(last_win32()),
        }
    }
}

/// `ReadFile` and `WriteFile`.
///
/// # Safety
/// As those.
unsafe fn plain(
    handle: HANDLE,
    way: Way,
    buffer: *mut u8,
    len: DWORD,
    bytes: *mut DWORD,
    overlapped: *const Overlapped,
) -> Outcome<BOOL> {
    let file = file(handle)?;
    // SAFETY: null, or the caller's.
    let (with, count) = unsafe { (overlapped.as_ref(), bytes.as_mut()) };
    if let Some(count) = count {
        *count = 0;
    }
    if file.overlapped && with.is_none() {
        return Err(Code::INVALID_PARAMETER);
    }
    check(&file, way, buffer, len)?;
    if let Some(pipe) = &file.pipe {
        // SAFETY: the caller's promise.
        return unsafe {
            match way {
                Way::Read => pipe::read(&file, pipe, (buffer, len as usize), bytes, overlapped),
                Way::Write => pipe::write(&file, pipe, (buffer, len as usize), bytes, overlapped),
            }
        };
    }
    let span = Span(buffer, len as usize);
    if file.overlapped
        && let Some(with) = with
    {
        let call = Call { overlapped, routine: None, winsock: false, from: None };
        // SAFETY: the caller's promise.
        unsafe { Arc::clone(&file).start(operation(&file, way, span, with.offset()), call) }?;
        return Err(Code::IO_PENDING);
    }
    let moved = match &file.socket {
        None => {
            // SAFETY: the caller's promise.
            let moved = unsafe { transfer(&file, way, buffer, len as usize, with) };
            match (moved, with) {
                // At the end, with an overlapped, it is an error; without, no bytes.
                (Ok(0), Some(with)) if way == Way::Read && len > 0 => {
                    with.finish(Error::HANDLE_EOF.status(), 0);
                    return Err(Code::HANDLE_EOF);
                }
                (moved, _) => moved?,
            }
        }
        Some(socket) => {
            let side = if way == Way::Read { Side::Receive } else { Side::Send };
            // SAFETY: the caller's promise; the end is waited for.
            let finished = unsafe { file.perform(operation(&file, way, span, 0), socket.limit(side)) }?;
            finished.result.map_err(|error| Code(error.code()))?
        }
    };
    if let Some(with) = with {
        with.finish(0, moved);
    }
    if !bytes.is_null() {
        // SAFETY: not null, so the caller's variable.
        unsafe { bytes.write(moved as DWORD) };
    }
    Ok(TRUE)
}

/// `ReadFileEx` and `WriteFileEx`.
///
/// # Safety
/// As those.
unsafe fn extended(
    handle: HANDLE,
    way: Way,
    buffer: *mut u8,
    len: DWORD,
    overlapped: *const Overlapped,
    routine: Option<Routine>,
) -> Outcome<BOOL> {
    let file = file(handle)?;
    // SAFETY: null, or the caller's.
    let with = unsafe { overlapped.as_ref() }.ok_or(Code::INVALID_PARAMETER)?;
    if !file.overlapped || file.has_port() || routine.is_none() {
        return Err(Code::INVALID_PARAMETER);
    }
    check(&file, way, buffer, len)?;
    if let Some(pipe) = &file.pipe {
        let memory = (buffer, len as usize);
        // SAFETY: the caller's promise.
        unsafe { pipe::extended(&file, pipe, way == Way::Read, memory, overlapped, routine) }?;
        set_last_error(0);
        return Ok(TRUE);
    }
    let call = Call { overlapped, routine, winsock: false, from: None };
    let operation = operation(&file, way, Span(buffer, len as usize), with.offset());
    // SAFETY: the caller's promise.
    unsafe { file.start(operation, call) }?;
    set_last_error(0);
    Ok(TRUE)
}

fn size(file: &File) -> Outcome<u64> {
    if file.socket.is_some() || file.pipe.is_some() {
        return Err(Code(1)); // ERROR_INVALID_FUNCTION
    }
    // SAFETY: the system fills a structure for which all zeroes is valid.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        match libc::fstat(file.fd(), &mut stat) {
            0 => Ok(stat.st_size as u64),
            _ => Err(last_win32()),
        }
    }
}

fn seek(file: &File, by: i64, method: DWORD) -> Outcome<i64> {
    let whence = match method {
        0 => libc::SEEK_SET,
        1 => libc::SEEK_CUR,
        2 => libc::SEEK_END,
        _ => return Err(Code::INVALID_PARAMETER),
    };
    // SAFETY: no pointers.
    match unsafe { libc::lseek(file.fd(), by, whence) } {
        at @ 0.. => Ok(at),
        _ if errno() == libc::EINVAL => Err(Code::NEGATIVE_SEEK),
        _ => Err(last_win32()),
    }
}

/// # Safety
/// There is room for `room` bytes, or none is asked for.
unsafe fn give_text(to: *mut c_char, room: usize, text: &[u8]) -> DWORD {
    if to.is_null() || room <= text.len() {
        return text.len() as DWORD + 1;
    }
    // SAFETY: the caller's promise, and it fits.
    unsafe {
        to.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        to.add(text.len()).write(0);
    }
    text.len() as DWORD
}

boundary! {
    /// `CreateFileA`. What others may do with the file meanwhile, security and template are left aside.
    fn ovl_CreateFileA(path: *const c_char, access: DWORD, _share: DWORD, _security: *const u8, disposition: DWORD, attributes: DWORD, _template: HANDLE) -> HANDLE, else (INVALID_HANDLE_VALUE) {
        // SAFETY: null, or the caller's text.
        if !path.is_null() && let Some(name) = rendezvous::name_of(unsafe { CStr::from_ptr(path) }) {
            return open_pipe(&name?, access, disposition, attributes);
        }
        // SAFETY: the caller's promise.
        open(&unsafe { path_of(path) }?, access, disposition, attributes)
    }

    /// `ReadFile`.
    fn ovl_ReadFile(handle: HANDLE, buffer: *mut u8, len: DWORD, bytes: *mut DWORD, overlapped: *const Overlapped) -> BOOL, else (FALSE) {
        // SAFETY: the caller's promise.
        unsafe { plain(handle, Way::Read, buffer, len, bytes, overlapped) }
    }

    /// `WriteFile`.
    fn ovl_WriteFile(handle: HANDLE, buffer: *const u8, len: DWORD, bytes: *mut DWORD, overlapped: *const Overlapped) -> BOOL, else (FALSE) {
        // SAFETY: the caller's promise.
        unsafe { plain(handle, Way::Write, buffer.cast_mut(), len, bytes, overlapped) }
    }

    /// `ReadFileEx`.
    fn ovl_ReadFileEx(handle: HANDLE, buffer: *mut u8, len: DWORD, overlapped: *const Overlapped, routine: Option<Routine>) -> BOOL, else (FALSE) {
        // SAFETY: the caller's promise.
        unsafe { extended(handle, Way::Read, buffer, len, overlapped, routine) }
    }

    /// `WriteFileEx`.
    fn ovl_WriteFileEx(handle: HANDLE, buffer: *const u8, len: DWORD, overlapped: *const Overlapped, routine: Option<Routine>) -> BOOL, else (FALSE) {
        // SAFETY: the caller's promise.
        unsafe { extended(handle, Way::Write, buffer.cast_mut(), len, overlapped, routine) }
    }

    /// `GetFileSize`.
    fn ovl_GetFileSize(handle: HANDLE, high: *mut DWORD) -> DWORD, else (INVALID_FILE_SIZE) {
        let size = size(&*file(handle)?)?;
        if !high.is_null() {
            // SAFETY: not null, so the caller's variable.
            unsafe { high.write((size >> 32) as DWORD) };
        }
        if size as DWORD == INVALID_FILE_SIZE {
            set_last_error(0); // which tells it from a failure
        }
        Ok(size as DWORD)
    }

    /// `GetFileSizeEx`.
    fn ovl_GetFileSizeEx(handle: HANDLE, to: *mut i64) -> BOOL, else (FALSE) {
        let size = size(&*file(handle)?)?;
        if to.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: not null, so the caller's variable.
        unsafe { to.write(size as i64) };
        Ok(TRUE)
    }

    /// `SetFilePointer`.
    fn ovl_SetFilePointer(handle: HANDLE, low: i32, high: *mut i32, method: DWORD) -> DWORD, else (INVALID_SET_FILE_POINTER) {
        let file = file(handle)?;
        // SAFETY: null, or the caller's variable.
        let high = unsafe { high.as_mut() };
        let by = match &high {
            Some(high) => i64::from(**high) << 32 | i64::from(low as u32),
            None => low.into(),
        };
        let at = seek(&file, by, method)?;
        match high {
            Some(high) => *high = (at >> 32) as i32,
            None if at > i64::from(u32::MAX) => return Err(Code::INVALID_PARAMETER),
            None => {}
        }
        set_last_error(0);
        Ok(at as DWORD)
    }

    /// `SetFilePointerEx`.
    fn ovl_SetFilePointerEx(handle: HANDLE, by: i64, to: *mut i64, method: DWORD) -> BOOL, else (FALSE) {
        let at = seek(&*file(handle)?, by, method)?;
        if !to.is_null() {
            // SAFETY: not null, so the caller's variable.
            unsafe { to.write(at) };
        }
        Ok(TRUE)
    }

    /// `SetEndOfFile`.
    fn ovl_SetEndOfFile(handle: HANDLE) -> BOOL, else (FALSE) {
        let file = file(handle)?;
        if !file.access.write {
            return Err(Code::ACCESS_DENIED);
        }
        let at = seek(&file, 0, 1)?;
        // SAFETY: no pointers.
        if unsafe { libc::ftruncate(file.fd(), at) } == 0 { Ok(TRUE) } else { Err(last_win32()) }
    }

    /// `FlushFileBuffers`.
    fn ovl_FlushFileBuffers(handle: HANDLE) -> BOOL, else (FALSE) {
        let file = file(handle)?;
        if file.socket.is_some() {
            return Ok(TRUE);
        }
        if !file.access.write {
            return Err(Code::ACCESS_DENIED);
        }
        if let Some(pipe) = &file.pipe {
            return pipe::flush(pipe);
        }
        // SAFETY: no pointers.
        match unsafe { libc::fsync(file.fd()) } {
            0 => Ok(TRUE),
            _ if errno() == libc::EINVAL => Ok(TRUE), // a stream that keeps nothing back
            _ => Err(last_win32()),
        }
    }

    /// `GetFileType`.
    fn ovl_GetFileType(handle: HANDLE) -> DWORD, else (0) {
        let file = file(handle)?;
        if file.pipe.is_some() {
            set_last_error(0);
            return Ok(3);
        }
        // SAFETY: the system fills a structure for which all zeroes is valid.
        let mode = unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            libc::fstat(file.fd(), &mut stat);
            stat.st_mode & libc::S_IFMT
        };
        set_last_error(0);
        Ok(match mode {
            libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => 1,
            libc::S_IFCHR => 2,
            _ => 3,
        })
    }

    /// `DeleteFileA`.
    fn ovl_DeleteFileA(path: *const c_char) -> BOOL, else (FALSE) {
        // SAFETY: the caller's promise.
        let path = unsafe { path_of(path) }?;
        // SAFETY: a C string.
        if unsafe { libc::unlink(path.as_ptr()) } == 0 { Ok(TRUE) } else { Err(path_error(&path)) }
    }

    /// `GetFileAttributesA`: of directories, of what may not be written to, and of the rest.
    fn ovl_GetFileAttributesA(path: *const c_char) -> DWORD, else (DWORD::MAX) {
        const READONLY: DWORD = 0x1;
        const DIRECTORY: DWORD = 0x10;
        const NORMAL: DWORD = 0x80;
        // SAFETY: the caller's promise.
        let path = unsafe { path_of(path) }?;
        // SAFETY: a C string, and a structure for which all zeroes is valid.
        let stat = unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            if libc::stat(path.as_ptr(), &mut stat) != 0 {
                return Err(path_error(&path));
            }
            stat
        };
        let directory = if stat.st_mode & libc::S_IFMT == libc::S_IFDIR { DIRECTORY } else { 0 };
        let readonly = if stat.st_mode & 0o200 == 0 { READONLY } else { 0 };
        Ok(if directory | readonly == 0 { NORMAL } else { directory | readonly })
    }

    /// `GetTempPathA`, with a separator at the end.
    fn ovl_GetTempPathA(room: DWORD, to: *mut c_char) -> DWORD {
        let mut path = std::env::temp_dir().into_os_string().as_bytes().to_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        // SAFETY: the caller's promise.
        unsafe { give_text(to, room as usize, &path) }
    }

    /// `GetTempFileNameA`. With 0 for the number the file is made.
    fn ovl_GetTempFileNameA(path: *const c_char, prefix: *const c_char, unique: u32, to: *mut c_char) -> u32, else (0) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if to.is_null() || prefix.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: the caller's promise.
        let (directory, prefix) = unsafe { (path_of(path)?, CStr::from_ptr(prefix)) };
        if !Path::new(OsStr::from_bytes(directory.to_bytes())).is_dir() {
            return Err(Code(267)); // ERROR_DIRECTORY
        }
        let prefix = &prefix.to_bytes()[..prefix.to_bytes().len().min(3)];
        for _ in 0..=0xFFFF {
            let number = match unique & 0xFFFF {
                0 => (std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, SeqCst)) & 0xFFFF).max(1),
                number => number,
            };
            let mut name = directory.to_bytes().to_vec();
            if name.last() != Some(&b'/') {
                name.push(b'/');
            }
            name.extend_from_slice(prefix);
            name.extend_from_slice(format!("{number:x}.tmp").as_bytes());
            if name.len() >= MAX_PATH {
                return Err(Code(111)); // ERROR_BUFFER_OVERFLOW
            }
            let path = CString::new(name).map_err(|_| Code::INVALID_NAME)?;
            if unique == 0 {
                // SAFETY: a C string.
                let fd = unsafe { libc::open(path.as_ptr(), libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC, 0o600) };
                if fd < 0 && errno() == libc::EEXIST {
                    continue;
                }
                if fd < 0 {
                    return Err(path_error(&path));
                }
                // SAFETY: just opened, and ours.
                unsafe { libc::close(fd) };
            }
            // SAFETY: the caller has room for MAX_PATH bytes.
            unsafe { give_text(to, MAX_PATH, path.to_bytes()) };
            return Ok(number);
        }
        Err(Code::FILE_EXISTS)
    }
}

/// Deletes a file that is closed.
pub(crate) fn delete(path: &CStr) {
    // SAFETY: a C string.
    unsafe { libc::unlink(path.as_ptr()) };
}
