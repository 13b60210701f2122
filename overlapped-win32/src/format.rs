//! `FormatMessage`: the texts of error codes, in words of our own.

use std::ffi::{CStr, c_char, c_void};

use crate::boundary::boundary;
use crate::types::{Code, DWORD, Outcome};

const ALLOCATE_BUFFER: DWORD = 0x100;
const IGNORE_INSERTS: DWORD = 0x200;
const FROM_STRING: DWORD = 0x400;
const FROM_HMODULE: DWORD = 0x800;
const FROM_SYSTEM: DWORD = 0x1000;
const ARGUMENT_ARRAY: DWORD = 0x2000;
const MAX_WIDTH: DWORD = 0xff;

/// ERROR_MR_MID_NOT_FOUND.
const NO_SUCH_MESSAGE: Code = Code(317);
/// ERROR_RESOURCE_TYPE_NOT_FOUND: modules have no messages here.
const NO_RESOURCES: Code = Code(1813);

fn text(code: DWORD) -> Option<&'static str> {
    Some(match code {
        0 => "The operation succeeded.",
        1 => "There is no such function.",
        2 => "The file does not exist.",
        3 => "The path does not exist.",
        4 => "Too many files are open.",
        5 => "Access is denied.",
        6 => "The handle is not valid.",
        8 => "There is not enough memory for this command.",
        11 => "The format is wrong.",
        12 => "The access code is not valid.",
        13 => "The data are not valid.",
        14 => "There is not enough memory for this operation.",
        15 => "There is no such drive.",
        18 => "There are no more files.",
        19 => "The medium is write-protected.",
        21 => "The device is not ready.",
        24 => "The length of the command is wrong.",
        25 => "The place on the disk cannot be reached.",
        29 => "The device cannot be written to.",
        30 => "The device cannot be read from.",
        31 => "The device does not work.",
        32 => "The file is in use by another process.",
        33 => "A part of the file is locked by another process.",
        38 => "The end of the file has been reached.",
        39 | 112 => "The disk is full.",
        50 => "The request is not supported.",
        52 => "The name exists already on the network.",
        53 => "The path on the network was not found.",
        59 => "An unexpected network error occurred.",
        64 => "The connection is gone: its other end, or this one, has closed or reset it.",
        67 => "The name on the network was not found.",
        80 => "The file exists already.",
        87 => "A parameter is wrong.",
        89 => "No more processes can be started.",
        109 => "The pipe has been ended.",
        110 => "The device or file cannot be opened.",
        111 => "The file name is too long.",
        120 => "The function is not available on this system.",
        121 => "The time limit has run out.",
        122 => "The buffer is too small for what was asked for.",
        123 => "The name, or a part of it, is not well-formed.",
        126 => "The module was not found.",
        127 => "The procedure was not found.",
        131 => "The place would be before the beginning of the file.",
        145 => "The directory is not empty.",
        161 => "The path is not valid.",
        170 => "What was asked for is in use.",
        183 => "A thing of this name exists already.",
        192 => "The wait ended because a routine ran.",
        203 => "There is no such environment variable.",
        206 => "The name is too long.",
        230 => "The state of the pipe is not valid.",
        231 => "All instances of the pipe are busy.",
        232 => "The pipe is being closed, or has no data.",
        233 => "There is no process at the other end of the pipe.",
        234 => "There are more data than fit.",
        258 => "The wait ended because its time ran out.",
        259 => "There are no more items.",
        267 => "The name is not that of a directory.",
        288 => "A lock was to be released by one who does not hold it.",
        298 => "The semaphore would be counted beyond its maximum.",
        487 => "The address is not valid.",
        534 => "The result is too large for 32 bits.",
        535 => "There is a process at the other end of the pipe.",
        536 => "The pipe waits for a process to open its other end.",
        735 => "The wait was abandoned: its object has been closed.",
        995 => "The operation was cancelled: its thread has ended, or the program asked for it.",
        996 => "The overlapped operation has not ended yet.",
        997 => "The overlapped operation is in progress.",
        998 => "The memory cannot be accessed.",
        1001 => "The stack is used up.",
        1004 => "The flags are not valid.",
        1113 => "The text has no form in the other encoding.",
        1117 => "The device failed.",
        1131 => "This could never end: a deadlock was found.",
        1168 => "What was looked for was not found.",
        1223 => "The user has cancelled it.",
        1225 => "The other end refused the connection.",
        1226 => "The connection was closed in an orderly way.",
        1227 => "The address is in use already.",
        1229 => "There is no such connection.",
        1230 => "The connection is active already.",
        1231 => "The network cannot be reached.",
        1232 => "The host cannot be reached.",
        1233 => "The host does not know the protocol.",
        1234 => "Nobody is at that port of the host.",
        1235 => "The request was aborted.",
        1236 => "This end aborted the connection.",
        1237 => "The operation did not succeed; it can be tried again.",
        1359 => "An internal error occurred.",
        1450 => "The system has not enough resources for this.",
        1460 => "The operation ended because its time ran out.",
        1784 => "The buffer is not valid for this operation.",
        10004 => "A blocking call was cancelled.",
        10009 => "The file handle is not valid.",
        10013 => "The socket may not be used in this way.",
        10014 => "An address given in the call does not point to memory of the program.",
        10022 => "An argument is not valid, or the socket is not in a state for this.",
        10024 => "Too many sockets are open.",
        10035 => "The operation cannot be done at once, and the socket does not block.",
        10036 => "A blocking operation is in progress.",
        10037 => "An operation of this kind is in progress already.",
        10038 => "The handle is not that of a socket.",
        10039 => "A destination is needed, and none was given.",
        10040 => "The message is longer than the buffer, or than a message may be.",
        10041 => "The protocol does not fit the type of the socket.",
        10042 => "The protocol does not know the option, or not at this level.",
        10043 => "The protocol is not there.",
        10044 => "The address family does not know this type of socket.",
        10045 => "The socket does not support this operation.",
        10046 => "The protocol family is not there.",
        10047 => "The address does not fit the protocol.",
        10048 => "The address, with its port, is in use already.",
        10049 => "The address is none of this machine's.",
        10050 => "The network is down.",
        10051 => "The network cannot be reached.",
        10052 => "The connection was broken by the network.",
        10053 => "The connection was aborted by this machine.",
        10054 => "The connection was reset by its other end.",
        10055 => "There is no memory, or no room in a queue, for this.",
        10056 => "The socket is connected already.",
        10057 => "The socket is not connected, and no address was given.",
        10058 => "The socket has been shut down in this direction.",
        10059 => "There are too many references to an object of the kernel.",
        10060 => "The other end did not answer in time.",
        10061 => "The other end refused the connection: nobody listens there.",
        10062 => "The name cannot be translated.",
        10063 => "The name is too long.",
        10064 => "The host is down.",
        10065 => "The host cannot be reached.",
        10091 => "The network is not ready.",
        10092 => "This version of Winsock is not there.",
        10093 => "WSAStartup has not been called, or did not succeed.",
        10101 => "The other end is shutting down in an orderly way.",
        10109 => "There is no such class.",
        11001 => "There is no such host.",
        11002 => "The name server did not answer; later it may.",
        11003 => "The name server failed.",
        11004 => "The name is valid and has no data of this kind.",
        _ => return None,
    })
}

/// Inserts: `%1` to `%99`, with `!s!` or the like behind it, from an array; `%n` is a line break, `%%` a percent sign, `%0` the end.
///
/// # Safety
/// `array`, unless null, has an entry for each insert, and those that are texts end with a null.
unsafe fn insert(format: &str, array: *const usize) -> Outcome<String> {
    let mut result = String::with_capacity(format.len());
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        result.push_str(before);
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            let mut characters = after.chars();
            match characters.next() {
                Some('n') => result.push_str("\r\n"),
                Some('r') => result.push('\r'),
                Some('t') => result.push('\t'),
                Some(other) => result.push(other),
                None => {}
            }
            rest = characters.as_str();
            continue;
        }
        let digits = digits.min(2);
        let number: usize = after[..digits].parse().expect("they are digits");
        rest = &after[digits..];
        if number == 0 {
            return Ok(result);
        }
        let mut conversion = "s";
        if let Some((named, behind)) = rest.strip_prefix('!').and_then(|rest| rest.split_once('!')) {
            (conversion, rest) = (named, behind);
        }
        if array.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: the caller's promise.
        let value = unsafe { array.add(number - 1).read() };
        match conversion.trim_start_matches(|c: char| c.is_ascii_digit() || "-+ #.".contains(c)) {
            // SAFETY: as above.
            "s" | "hs" => result.push_str(&unsafe { CStr::from_ptr(value as *const c_char) }.to_string_lossy()),
            "d" | "i" | "ld" | "li" => result.push_str(&(value as i32).to_string()),
            "u" | "lu" => result.push_str(&(value as u32).to_string()),
            "x" | "lx" => result.push_str(&format!("{:x}", value as u32)),
            "X" | "lX" => result.push_str(&format!("{:X}", value as u32)),
            "c" => result.push(value as u8 as char),
            _ => return Err(Code::INVALID_PARAMETER),
        }
    }
    result.push_str(rest);
    Ok(result)
}

/// The message as `FormatMessage` gives it.
///
/// # Safety
/// As for `FormatMessage`: `source` is a text with FROM_STRING, `array` has what the inserts need.
unsafe fn message(flags: DWORD, source: *const c_char, code: DWORD, array: *const usize) -> Outcome<String> {
    let mut result = if flags & FROM_STRING != 0 {
        if source.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: the caller's text.
        let format = unsafe { CStr::from_ptr(source) }.to_string_lossy();
        if flags & IGNORE_INSERTS != 0 {
            format.into_owned()
        } else if flags & ARGUMENT_ARRAY == 0 && format.contains('%') && !array.is_null() {
            return Err(Code::NOT_SUPPORTED); // a va_list, which only C can read
        } else {
            // SAFETY: the caller's promise.
            unsafe { insert(&format, array)? }
        }
    } else if flags & FROM_SYSTEM != 0 {
        // A code of Win32 may come as an HRESULT.
        let code = if code >> 16 == 0x8007 { code & 0xffff } else { code };
        format!("{}\r\n", text(code).ok_or(NO_SUCH_MESSAGE)?)
    } else if flags & FROM_HMODULE != 0 {
        return Err(NO_RESOURCES);
    } else {
        return Err(Code::INVALID_PARAMETER);
    };
    if flags & MAX_WIDTH == MAX_WIDTH {
        result = result.replace("\r\n", " ");
    }
    Ok(result)
}

boundary! {
    /// `FormatMessageA`, in UTF-8.
    fn ovl_FormatMessageA(
        flags: DWORD,
        source: *const c_char,
        code: DWORD,
        _language: DWORD,
        buffer: *mut c_char,
        size: DWORD,
        arguments: *const usize,
    ) -> DWORD, else (0) {
        // SAFETY: as Win32 asks of its caller.
        let message = unsafe { message(flags, source, code, arguments)? };
        let to = place(flags, buffer.cast(), size as usize, message.len() + 1, 1)?;
        // SAFETY: the place has room for it and the null.
        unsafe {
            message.as_ptr().copy_to_nonoverlapping(to.cast(), message.len());
            to.cast::<u8>().add(message.len()).write(0);
        }
        Ok(message.len() as DWORD)
    }

    /// `FormatMessageW`. A source is wide, and so are the texts of inserts, of which there can be none here.
    fn ovl_FormatMessageW(
        flags: DWORD,
        source: *const u32,
        code: DWORD,
        _language: DWORD,
        buffer: *mut u32,
        size: DWORD,
        _arguments: *const usize,
    ) -> DWORD, else (0) {
        let message = if flags & FROM_STRING != 0 {
            // SAFETY: the caller's text.
            let narrow = unsafe { crate::wide::narrow(source) }.ok_or(Code::INVALID_PARAMETER)?;
            // SAFETY: of our own, and without inserts.
            unsafe { message(flags, narrow.as_ptr(), code, std::ptr::null())? }
        } else {
            // SAFETY: no source.
            unsafe { message(flags, std::ptr::null(), code, std::ptr::null())? }
        };
        let wide: Vec<u32> = message.chars().map(u32::from).chain([0]).collect();
        let to = place(flags, buffer.cast(), size as usize, wide.len(), 4)?;
        // SAFETY: the place has room for it.
        unsafe { wide.as_ptr().copy_to_nonoverlapping(to.cast(), wide.len()) };
        Ok(wide.len() as DWORD - 1)
    }
}

/// Where the message goes: the caller's buffer, or a new one whose address goes there. `LocalFree` frees it.
fn place(flags: DWORD, buffer: *mut c_void, size: usize, length: usize, unit: usize) -> Outcome<*mut c_void> {
    if buffer.is_null() {
        return Err(Code::INVALID_PARAMETER);
    }
    if flags & ALLOCATE_BUFFER == 0 {
        return if length <= size { Ok(buffer) } else { Err(Code::INSUFFICIENT_BUFFER) };
    }
    // SAFETY: new memory; `buffer` is a place for its address, says the flag.
    unsafe {
        let made = libc::malloc(length.max(size) * unit);
        if made.is_null() {
            return Err(Code::NOT_ENOUGH_MEMORY);
        }
        buffer.cast::<*mut c_void>().write_unaligned(made);
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_are_put_in() {
        let name = c"Ann";
        let array = [name.as_ptr() as usize, -5_i32 as u32 as usize];
        // SAFETY: the array has both.
        let made = unsafe { insert("%1 has %2!d!%% of it%n%0 and more", array.as_ptr()) };
        assert_eq!(made.as_deref(), Ok("Ann has -5% of it\r\n"));
        // SAFETY: no array is needed to see that there is none.
        assert_eq!(unsafe { insert("%1", std::ptr::null()) }, Err(Code::INVALID_PARAMETER));
    }

    #[test]
    fn every_text_is_a_sentence() {
        for code in 0..12_000 {
            if let Some(text) = text(code) {
                assert!(text.ends_with('.') && text.starts_with(|c: char| c.is_ascii_uppercase()), "{code}: {text}");
            }
        }
    }
}
