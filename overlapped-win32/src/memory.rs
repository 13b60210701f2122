//! Heaps and pages, and what is known of the machine.

use std::ffi::c_void;
use std::sync::Mutex;

use crate::boundary::{boundary, set_last_error};
use crate::types::{BOOL, Code, DWORD, FALSE, HANDLE, TRUE};

const HEAP_ZERO_MEMORY: DWORD = 0x08;
const HEAP_REALLOC_IN_PLACE_ONLY: DWORD = 0x10;
const ZEROINIT: u32 = 0x40; // GMEM_ and LMEM_

/// All heaps are the C library's; only the number tells them apart.
const PROCESS_HEAP: HANDLE = 0x0100_0000 as HANDLE;

fn allocate(bytes: usize, zeroed: bool) -> *mut c_void {
    let bytes = bytes.max(1);
    // SAFETY: plain requests for memory.
    unsafe { if zeroed { libc::calloc(1, bytes) } else { libc::malloc(bytes) } }
}

/// # Safety
/// `memory` is of [`allocate`], or null.
unsafe fn reallocate(memory: *mut c_void, bytes: usize, zeroed: bool) -> *mut c_void {
    // SAFETY: as above; the memory behind what there was is ours.
    unsafe {
        let before = if memory.is_null() { 0 } else { libc::malloc_usable_size(memory) };
        let grown = libc::realloc(memory, bytes.max(1));
        if zeroed && !grown.is_null() && bytes > before {
            grown.cast::<u8>().add(before).write_bytes(0, bytes - before);
        }
        grown
    }
}

boundary! {
    /// `GetProcessHeap`.
    fn ovl_GetProcessHeap() -> HANDLE, else (std::ptr::null_mut()) {
        Ok(PROCESS_HEAP)
    }

    /// `HeapCreate`: heaps do not have memory of their own; what is in one is to be freed before it is destroyed.
    fn ovl_HeapCreate(_options: DWORD, _initial: usize, _most: usize) -> HANDLE, else (std::ptr::null_mut()) {
        Ok(PROCESS_HEAP)
    }

    /// `HeapDestroy`.
    fn ovl_HeapDestroy(_heap: HANDLE) -> BOOL {
        TRUE
    }

    /// `HeapAlloc`.
    fn ovl_HeapAlloc(_heap: HANDLE, flags: DWORD, bytes: usize) -> *mut c_void, else (std::ptr::null_mut()) {
        Ok(allocate(bytes, flags & HEAP_ZERO_MEMORY != 0))
    }

    /// `HeapReAlloc`.
    fn ovl_HeapReAlloc(_heap: HANDLE, flags: DWORD, memory: *mut c_void, bytes: usize) -> *mut c_void, else (std::ptr::null_mut()) {
        // SAFETY: of `HeapAlloc`, as Win32 asks.
        unsafe {
            if flags & HEAP_REALLOC_IN_PLACE_ONLY != 0 {
                let fits = !memory.is_null() && bytes <= libc::malloc_usable_size(memory);
                return if fits { Ok(memory) } else { Err(Code::NOT_ENOUGH_MEMORY) };
            }
            Ok(reallocate(memory, bytes, flags & HEAP_ZERO_MEMORY != 0))
        }
    }

    /// `HeapFree`.
    fn ovl_HeapFree(_heap: HANDLE, _flags: DWORD, memory: *mut c_void) -> BOOL, else (FALSE) {
        // SAFETY: of `HeapAlloc`, or null.
        unsafe { libc::free(memory) };
        Ok(TRUE)
    }

    /// `HeapSize`: what the memory has room for, which may be more than was asked for.
    fn ovl_HeapSize(_heap: HANDLE, _flags: DWORD, memory: *mut c_void) -> usize, else (usize::MAX) {
        // SAFETY: of `HeapAlloc`.
        Ok(unsafe { libc::malloc_usable_size(memory) })
    }

    /// `GlobalAlloc`: a moveable block is its own handle, and stays.
    fn ovl_GlobalAlloc(flags: u32, bytes: usize) -> HANDLE, else (std::ptr::null_mut()) {
        Ok(allocate(bytes, flags & ZEROINIT != 0))
    }

    /// `GlobalReAlloc`.
    fn ovl_GlobalReAlloc(memory: HANDLE, bytes: usize, flags: u32) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: of `GlobalAlloc`.
        Ok(unsafe { reallocate(memory, bytes, flags & ZEROINIT != 0) })
    }

    /// `GlobalFree`.
    fn ovl_GlobalFree(memory: HANDLE) -> HANDLE, else (memory) {
        // SAFETY: of `GlobalAlloc`, or null.
        unsafe { libc::free(memory) };
        Ok(std::ptr::null_mut())
    }

    /// `GlobalLock`.
    fn ovl_GlobalLock(memory: HANDLE) -> *mut c_void, else (std::ptr::null_mut()) {
        Ok(memory)
    }

    /// `GlobalUnlock`: no lock is left, so FALSE and no error.
    fn ovl_GlobalUnlock(_memory: HANDLE) -> BOOL {
        set_last_error(0);
        FALSE
    }

    /// `GlobalSize`: what the memory has room for.
    fn ovl_GlobalSize(memory: HANDLE) -> usize {
        // SAFETY: of `GlobalAlloc`, or null, which has none.
        unsafe { libc::malloc_usable_size(memory) }
    }

    /// `LocalAlloc`.
    fn ovl_LocalAlloc(flags: u32, bytes: usize) -> HANDLE, else (std::ptr::null_mut()) {
        Ok(allocate(bytes, flags & ZEROINIT != 0))
    }

    /// `LocalReAlloc`.
    fn ovl_LocalReAlloc(memory: HANDLE, bytes: usize, flags: u32) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: of `LocalAlloc`.
        Ok(unsafe { reallocate(memory, bytes, flags & ZEROINIT != 0) })
    }

    /// `LocalFree`, of what `FormatMessage` allocated, too.
    fn ovl_LocalFree(memory: HANDLE) -> HANDLE, else (memory) {
        // SAFETY: of `LocalAlloc`, or null.
        unsafe { libc::free(memory) };
        Ok(std::ptr::null_mut())
    }
}

/// What `VirtualAlloc` has given out: begin and length.
static RESERVED: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

const MEM_COMMIT: DWORD = 0x1000;
const MEM_RESERVE: DWORD = 0x2000;
const MEM_DECOMMIT: DWORD = 0x4000;
const MEM_RELEASE: DWORD = 0x8000;
/// Where Windows lets reservations begin.
const GRANULARITY: usize = 0x1_0000;

fn page() -> usize {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

fn protection(protect: DWORD) -> Option<i32> {
    Some(match protect & 0xff {
        0x01 => libc::PROT_NONE,
        0x02 => libc::PROT_READ,
        0x04 | 0x08 => libc::PROT_READ | libc::PROT_WRITE,
        0x10 => libc::PROT_EXEC,
        0x20 => libc::PROT_READ | libc::PROT_EXEC,
        0x40 | 0x80 => libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
        _ => return None,
    })
}

/// Whole pages that cover a range.
fn pages(address: usize, bytes: usize) -> (usize, usize) {
    let begin = address & !(page() - 1);
    (begin, (address + bytes).next_multiple_of(page()) - begin)
}

fn reserve(address: usize, bytes: usize, protect: i32) -> Result<usize, Code> {
    let length = bytes.next_multiple_of(page());
    let wanted = address & !(GRANULARITY - 1);
    let flags = libc::MAP_PRIVATE
        | libc::MAP_ANONYMOUS
        | libc::MAP_NORESERVE
        | if wanted == 0 { 0 } else { libc::MAP_FIXED_NOREPLACE };
    // Room to begin where Windows would.
    let room = if wanted == 0 { length + GRANULARITY } else { length };
    // SAFETY: new memory, which replaces none.
    let mapped = unsafe { libc::mmap(wanted as *mut c_void, room, protect, flags, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(if wanted == 0 { Code::NOT_ENOUGH_MEMORY } else { Code(487) });
    }
    let mapped = mapped as usize;
    let begin = if wanted == 0 { mapped.next_multiple_of(GRANULARITY) } else { mapped };
    for (from, to) in [(mapped, begin), (begin + length, mapped + room)] {
        if to > from {
            // SAFETY: of what was mapped just now, the ends that are not wanted.
            unsafe { libc::munmap(from as *mut c_void, to - from) };
        }
    }
    RESERVED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((begin, length));
    Ok(begin)
}

boundary! {
    /// `VirtualAlloc`.
    fn ovl_VirtualAlloc(address: *mut c_void, bytes: usize, kind: DWORD, protect: DWORD) -> *mut c_void, else (std::ptr::null_mut()) {
        let Some(protect) = protection(protect) else { return Err(Code::INVALID_PARAMETER) };
        if bytes == 0 || bytes > isize::MAX as usize / 2 || kind & (MEM_COMMIT | MEM_RESERVE) == 0 {
            return Err(Code::INVALID_PARAMETER);
        }
        let address = address as usize;
        if kind & MEM_RESERVE != 0 || address == 0 {
            let protect = if kind & MEM_COMMIT != 0 { protect } else { libc::PROT_NONE };
            return reserve(address, bytes, protect).map(|begin| begin as *mut c_void);
        }
        let (begin, length) = pages(address, bytes);
        let reserved = RESERVED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !reserved.iter().any(|&(from, room)| from <= begin && begin + length <= from + room) {
            return Err(Code(487)); // ERROR_INVALID_ADDRESS
        }
        // SAFETY: pages of a reservation, which is the caller's.
        match unsafe { libc::mprotect(begin as *mut c_void, length, protect) } {
            0 => Ok(begin as *mut c_void),
            _ => Err(Code::NOT_ENOUGH_MEMORY),
        }
    }

    /// `VirtualFree`.
    fn ovl_VirtualFree(address: *mut c_void, bytes: usize, kind: DWORD) -> BOOL, else (FALSE) {
        let address = address as usize;
        let mut reserved = RESERVED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match kind {
            MEM_RELEASE if bytes == 0 => {
                let Some(place) = reserved.iter().position(|&(begin, _)| begin == address) else { return Err(Code(487)) };
                let (begin, length) = reserved.swap_remove(place);
                // SAFETY: a whole reservation, which the caller gives back.
                unsafe { libc::munmap(begin as *mut c_void, length) };
                Ok(TRUE)
            }
            MEM_DECOMMIT => {
                let Some(&(from, room)) = reserved.iter().find(|&&(from, room)| from <= address && address < from + room) else {
                    return Err(Code(487));
                };
                let (begin, length) = if bytes == 0 { (from, room) } else { pages(address, bytes) };
                if begin + length > from + room {
                    return Err(Code::INVALID_PARAMETER);
                }
                // SAFETY: pages of a reservation, whose content the caller gives up.
                unsafe {
                    libc::madvise(begin as *mut c_void, length, libc::MADV_DONTNEED);
                    libc::mprotect(begin as *mut c_void, length, libc::PROT_NONE);
                }
                Ok(TRUE)
            }
            _ => Err(Code::INVALID_PARAMETER),
        }
    }

    /// `VirtualProtect`. What the protection was is not known here: `*old` gets PAGE_READWRITE.
    fn ovl_VirtualProtect(address: *mut c_void, bytes: usize, protect: DWORD, old: *mut DWORD) -> BOOL, else (FALSE) {
        let Some(protect) = protection(protect) else { return Err(Code::INVALID_PARAMETER) };
        if old.is_null() {
            return Err(Code::NOACCESS);
        }
        let (begin, length) = pages(address as usize, bytes);
        // SAFETY: the caller's own pages, and place.
        unsafe {
            if libc::mprotect(begin as *mut c_void, length, protect) != 0 {
                return Err(Code(487));
            }
            old.write(0x04);
        }
        Ok(TRUE)
    }

    /// `VirtualLock`.
    fn ovl_VirtualLock(address: *mut c_void, bytes: usize) -> BOOL, else (FALSE) {
        // SAFETY: changes no content.
        if unsafe { libc::mlock(address, bytes) } == 0 { Ok(TRUE) } else { Err(Code(1453)) } // ERROR_WORKING_SET_QUOTA
    }

    /// `VirtualUnlock`.
    fn ovl_VirtualUnlock(address: *mut c_void, bytes: usize) -> BOOL, else (FALSE) {
        // SAFETY: changes no content.
        if unsafe { libc::munlock(address, bytes) } == 0 { Ok(TRUE) } else { Err(Code(158)) } // ERROR_NOT_LOCKED
    }

    /// `SecureZeroMemory`: also where the compiler thinks that nobody looks.
    fn ovl_SecureZeroMemory(memory: *mut c_void, bytes: usize) -> *mut c_void, else (memory) {
        // SAFETY: the caller's.
        unsafe { libc::explicit_bzero(memory, bytes) };
        Ok(memory)
    }
}

/// `SYSTEM_INFO`.
#[repr(C)]
pub struct SYSTEM_INFO {
    architecture: u16,
    reserved: u16,
    page_size: DWORD,
    lowest_address: usize,
    highest_address: usize,
    processor_mask: usize,
    processors: DWORD,
    processor_type: DWORD,
    granularity: DWORD,
    level: u16,
    revision: u16,
}

const _: () = assert!(size_of::<SYSTEM_INFO>() == 48);

boundary! {
    /// `GetSystemInfo`: the processors are those that this process may use.
    fn ovl_GetSystemInfo(info: *mut SYSTEM_INFO) {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (architecture, processor_type) = if cfg!(target_arch = "x86_64") { (9, 8664) } else { (12, 0) };
        let found = SYSTEM_INFO {
            architecture,
            reserved: 0,
            page_size: page() as DWORD,
            lowest_address: GRANULARITY,
            highest_address: 0x7fff_fffe_ffff,
            processor_mask: if processors >= 64 { usize::MAX } else { (1 << processors) - 1 },
            processors: processors as DWORD,
            processor_type,
            granularity: GRANULARITY as DWORD,
            level: 6,
            revision: 0,
        };
        if !info.is_null() {
            // SAFETY: the caller's.
            unsafe { info.write(found) };
        }
    }

    /// `GetNativeSystemInfo`.
    fn ovl_GetNativeSystemInfo(info: *mut SYSTEM_INFO) {
        // SAFETY: as its own.
        unsafe { ovl_GetSystemInfo(info) };
    }

    /// `SetErrorMode`: there are no boxes that it could keep away.
    fn ovl_SetErrorMode(_mode: u32) -> u32 {
        0
    }

    /// `IsDebuggerPresent`.
    fn ovl_IsDebuggerPresent() -> BOOL {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        BOOL::from(tracer.is_some_and(|pid| pid.trim() != "0"))
    }

    /// `DebugBreak`.
    fn ovl_DebugBreak() {
        // SAFETY: a signal to this thread, as asked for.
        unsafe { libc::raise(libc::SIGTRAP) };
    }
}
