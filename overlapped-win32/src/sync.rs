//! Critical sections, slim locks, condition variables: in the program's own memory, with Windows' sizes, and without handles.
//!
//! A lock is one of parking_lot's that lies in the place; zeroes are an open one.

#![allow(non_camel_case_types, reason = "the structures have Win32's names")]

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::lock_api::{RawMutex as _, RawRwLock as _};
use parking_lot::{RawMutex, RawRwLock};
use parking_lot_core::{DEFAULT_PARK_TOKEN, DEFAULT_UNPARK_TOKEN, ParkResult, park, unpark_all, unpark_one};

use crate::boundary::boundary;
use crate::types::{BOOL, Code, DWORD, FALSE, INFINITE, Outcome, TRUE};

/// `CRITICAL_SECTION`. Programs look at none of it, or at who owns it.
#[repr(C)]
pub struct CRITICAL_SECTION {
    debug_info: AtomicUsize,
    lock_count: i32,
    /// The owner's alone.
    recursion: std::cell::Cell<i32>,
    owner: AtomicU64,
    lock: RawMutex,
    spin_count: usize,
}

/// `SRWLOCK`.
#[repr(transparent)]
pub struct SRWLOCK(RawRwLock);

/// `CONDITION_VARIABLE`: only its address counts.
#[repr(transparent)]
pub struct CONDITION_VARIABLE(AtomicUsize);

/// `INIT_ONCE`.
#[repr(transparent)]
pub struct INIT_ONCE(AtomicPtr<c_void>);

const _: () = assert!(size_of::<CRITICAL_SECTION>() == 40 && std::mem::offset_of!(CRITICAL_SECTION, owner) == 16);
const _: () = assert!(size_of::<SRWLOCK>() == 8 && size_of::<CONDITION_VARIABLE>() == 8 && size_of::<INIT_ONCE>() == 8);

fn me() -> u64 {
    thread_local! {
        // SAFETY: asks for a number.
        static ID: u64 = unsafe { libc::gettid() } as u64;
    }
    ID.with(|id| *id)
}

impl CRITICAL_SECTION {
    fn enter(&self, wait: bool) -> bool {
        if self.owner.load(Ordering::Relaxed) == me() {
            self.recursion.set(self.recursion.get() + 1);
            return true;
        }
        if wait {
            self.lock.lock();
        } else if !self.lock.try_lock() {
            return false;
        }
        self.owner.store(me(), Ordering::Relaxed);
        self.recursion.set(1);
        true
    }

    /// Leaving one that is another's does nothing: on Windows it ruins the section.
    fn leave(&self) {
        if self.owner.load(Ordering::Relaxed) != me() {
            return;
        }
        self.recursion.set(self.recursion.get() - 1);
        if self.recursion.get() == 0 {
            self.owner.store(0, Ordering::Relaxed);
            // SAFETY: this thread locked it.
            unsafe { self.lock.unlock() };
        }
    }
}

/// What lies in the program's memory.
///
/// # Safety
/// `place` is null, or one of these that was initialized, or zeroes.
unsafe fn at<'a, T>(place: *mut T) -> Outcome<&'a T> {
    // SAFETY: as above, and none of them is borrowed mutably.
    unsafe { place.as_ref() }.ok_or(Code::NOACCESS)
}

boundary! {
    /// `InitializeCriticalSection`.
    fn ovl_InitializeCriticalSection(section: *mut CRITICAL_SECTION) {
        if !section.is_null() {
            // SAFETY: the caller's; zeroes are an open lock.
            unsafe { section.write_bytes(0, 1) };
        }
    }

    /// `InitializeCriticalSectionAndSpinCount`.
    fn ovl_InitializeCriticalSectionAndSpinCount(section: *mut CRITICAL_SECTION, spin_count: DWORD) -> BOOL, else (FALSE) {
        // SAFETY: the caller's.
        unsafe {
            ovl_InitializeCriticalSection(section);
            at(section)?;
            (*section).spin_count = spin_count as usize;
        }
        Ok(TRUE)
    }

    /// `InitializeCriticalSectionEx`.
    fn ovl_InitializeCriticalSectionEx(section: *mut CRITICAL_SECTION, spin_count: DWORD, _flags: DWORD) -> BOOL, else (FALSE) {
        // SAFETY: the caller's.
        Ok(unsafe { ovl_InitializeCriticalSectionAndSpinCount(section, spin_count) })
    }

    /// `SetCriticalSectionSpinCount`: how long to spin is found out here.
    fn ovl_SetCriticalSectionSpinCount(_section: *mut CRITICAL_SECTION, _spin_count: DWORD) -> DWORD {
        0
    }

    /// `EnterCriticalSection`.
    fn ovl_EnterCriticalSection(section: *mut CRITICAL_SECTION) {
        // SAFETY: an initialized one.
        if let Ok(section) = unsafe { at(section) } {
            section.enter(true);
        }
    }

    /// `TryEnterCriticalSection`.
    fn ovl_TryEnterCriticalSection(section: *mut CRITICAL_SECTION) -> BOOL, else (FALSE) {
        // SAFETY: an initialized one.
        Ok(BOOL::from(unsafe { at(section) }?.enter(false)))
    }

    /// `LeaveCriticalSection`.
    fn ovl_LeaveCriticalSection(section: *mut CRITICAL_SECTION) {
        // SAFETY: an initialized one.
        if let Ok(section) = unsafe { at(section) } {
            section.leave();
        }
    }

    /// `DeleteCriticalSection`.
    fn ovl_DeleteCriticalSection(_section: *mut CRITICAL_SECTION) {}

    /// `InitializeSRWLock`.
    fn ovl_InitializeSRWLock(lock: *mut SRWLOCK) {
        if !lock.is_null() {
            // SAFETY: the caller's; zeroes are an open lock.
            unsafe { lock.write_bytes(0, 1) };
        }
    }

    /// `AcquireSRWLockExclusive`.
    fn ovl_AcquireSRWLockExclusive(lock: *mut SRWLOCK) {
        // SAFETY: an initialized one.
        if let Ok(lock) = unsafe { at(lock) } {
            lock.0.lock_exclusive();
        }
    }

    /// `AcquireSRWLockShared`.
    fn ovl_AcquireSRWLockShared(lock: *mut SRWLOCK) {
        // SAFETY: an initialized one.
        if let Ok(lock) = unsafe { at(lock) } {
            lock.0.lock_shared();
        }
    }

    /// `ReleaseSRWLockExclusive`.
    fn ovl_ReleaseSRWLockExclusive(lock: *mut SRWLOCK) {
        // SAFETY: the caller holds it, as Win32 asks.
        unsafe {
            if let Ok(lock) = at(lock) {
                lock.0.unlock_exclusive();
            }
        }
    }

    /// `ReleaseSRWLockShared`.
    fn ovl_ReleaseSRWLockShared(lock: *mut SRWLOCK) {
        // SAFETY: the caller holds it, as Win32 asks.
        unsafe {
            if let Ok(lock) = at(lock) {
                lock.0.unlock_shared();
            }
        }
    }

    /// `TryAcquireSRWLockExclusive`.
    fn ovl_TryAcquireSRWLockExclusive(lock: *mut SRWLOCK) -> u8 {
        // SAFETY: an initialized one.
        u8::from(unsafe { at(lock) }.is_ok_and(|lock| lock.0.try_lock_exclusive()))
    }

    /// `TryAcquireSRWLockShared`.
    fn ovl_TryAcquireSRWLockShared(lock: *mut SRWLOCK) -> u8 {
        // SAFETY: an initialized one.
        u8::from(unsafe { at(lock) }.is_ok_and(|lock| lock.0.try_lock_shared()))
    }

    /// `InitializeConditionVariable`.
    fn ovl_InitializeConditionVariable(variable: *mut CONDITION_VARIABLE) {
        if !variable.is_null() {
            // SAFETY: the caller's.
            unsafe { variable.write_bytes(0, 1) };
        }
    }

    /// `WakeConditionVariable`.
    fn ovl_WakeConditionVariable(variable: *mut CONDITION_VARIABLE) {
        // SAFETY: the address is used as a key only, and nobody else parks on it.
        unsafe { unpark_one(variable as usize, |_| DEFAULT_UNPARK_TOKEN) };
    }

    /// `WakeAllConditionVariable`.
    fn ovl_WakeAllConditionVariable(variable: *mut CONDITION_VARIABLE) {
        // SAFETY: as above.
        unsafe { unpark_all(variable as usize, DEFAULT_UNPARK_TOKEN) };
    }

    /// `SleepConditionVariableCS`: the section is left and entered as often as the thread was in it.
    fn ovl_SleepConditionVariableCS(variable: *mut CONDITION_VARIABLE, section: *mut CRITICAL_SECTION, timeout_ms: DWORD)
        -> BOOL, else (FALSE) {
        // SAFETY: an initialized one, which the caller is in.
        let section = unsafe { at(section) }?;
        let times = section.recursion.get();
        sleep(variable as usize, timeout_ms, || (0..times).for_each(|_| section.leave()), || {
            (0..times).for_each(|_| {
                section.enter(true);
            });
        })
    }

    /// `SleepConditionVariableSRW`.
    fn ovl_SleepConditionVariableSRW(variable: *mut CONDITION_VARIABLE, lock: *mut SRWLOCK, timeout_ms: DWORD, flags: u32)
        -> BOOL, else (FALSE) {
        // SAFETY: an initialized one.
        let lock = &unsafe { at(lock) }?.0;
        match flags {
            // SAFETY: the caller holds it that way, as Win32 asks.
            0 => sleep(variable as usize, timeout_ms, || unsafe { lock.unlock_exclusive() }, || lock.lock_exclusive()),
            // SAFETY: as above.
            1 => sleep(variable as usize, timeout_ms, || unsafe { lock.unlock_shared() }, || lock.lock_shared()),
            _ => Err(Code::INVALID_PARAMETER),
        }
    }

    /// `InitOnceInitialize`.
    fn ovl_InitOnceInitialize(once: *mut INIT_ONCE) {
        if !once.is_null() {
            // SAFETY: the caller's.
            unsafe { once.write_bytes(0, 1) };
        }
    }

    /// `InitOnceExecuteOnce`.
    fn ovl_InitOnceExecuteOnce(
        once: *mut INIT_ONCE,
        function: Option<unsafe extern "C" fn(*mut INIT_ONCE, *mut c_void, *mut *mut c_void) -> BOOL>,
        parameter: *mut c_void,
        context: *mut *mut c_void,
    ) -> BOOL, else (FALSE) {
        // SAFETY: an initialized one.
        let state = &unsafe { at(once) }?.0;
        let function = function.ok_or(Code::INVALID_PARAMETER)?;
        loop {
            match state.compare_exchange(std::ptr::null_mut(), RUNNING, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    let mut result = std::ptr::null_mut();
                    // SAFETY: the program's function, with what it asks for.
                    let ended = unsafe { function(once, parameter, &mut result) } != FALSE;
                    let after = if ended { result.map_addr(|address| address & !3 | DONE) } else { std::ptr::null_mut() };
                    state.store(after, Ordering::Release);
                    // SAFETY: the address is a key.
                    unsafe { unpark_all(once as usize, DEFAULT_UNPARK_TOKEN) };
                    if !ended {
                        return Err(Code(crate::boundary::last_error()));
                    }
                }
                Err(now) if now == RUNNING => {
                    // SAFETY: the callbacks only look at the state.
                    unsafe { park(once as usize, || state.load(Ordering::Acquire) == RUNNING, || (), |_, _| (), DEFAULT_PARK_TOKEN, None) };
                }
                Err(now) => {
                    if !context.is_null() {
                        // SAFETY: the caller's.
                        unsafe { context.write(now.map_addr(|address| address & !3)) };
                    }
                    return Ok(TRUE);
                }
            }
        }
    }
}

/// States of an [`INIT_ONCE`] besides zero; behind `DONE` are the other bits of the context.
const RUNNING: *mut c_void = std::ptr::without_provenance_mut(1);
const DONE: usize = 2;

/// Waits at a condition variable. `release` is called when the thread stands in the queue, so no wake-up after it is lost.
fn sleep(variable: usize, timeout_ms: DWORD, release: impl FnOnce(), acquire: impl FnOnce()) -> Outcome<BOOL> {
    let deadline = (timeout_ms != INFINITE).then(|| Instant::now() + Duration::from_millis(timeout_ms.into()));
    // SAFETY: `release` unlocks the program's lock, which parks on another address; the others do nothing.
    let result = unsafe { park(variable, || true, release, |_, _| (), DEFAULT_PARK_TOKEN, deadline) };
    acquire();
    match result {
        ParkResult::TimedOut => Err(Code(1460)), // ERROR_TIMEOUT
        ParkResult::Unparked(_) | ParkResult::Invalid => Ok(TRUE),
    }
}

/// `SLIST_HEADER`: the first entry, and under one lock with the number of them.
#[repr(C, align(16))]
pub struct SLIST_HEADER {
    first: AtomicPtr<SLIST_ENTRY>,
    lock: RawMutex,
    depth: std::cell::Cell<u16>,
}

/// `SLIST_ENTRY`.
#[repr(C, align(16))]
pub struct SLIST_ENTRY {
    next: *mut SLIST_ENTRY,
}

const _: () = assert!(size_of::<SLIST_HEADER>() == 16 && size_of::<SLIST_ENTRY>() == 16);

impl SLIST_HEADER {
    fn with<T>(&self, change: impl FnOnce(*mut SLIST_ENTRY, u16) -> (*mut SLIST_ENTRY, u16, T)) -> T {
        self.lock.lock();
        let (first, depth, result) = change(self.first.load(Ordering::Relaxed), self.depth.get());
        self.first.store(first, Ordering::Relaxed);
        self.depth.set(depth);
        // SAFETY: locked above.
        unsafe { self.lock.unlock() };
        result
    }
}

boundary! {
    /// `InitializeSListHead`.
    fn ovl_InitializeSListHead(list: *mut SLIST_HEADER) {
        // SAFETY: the caller's; zeroes are an empty list.
        unsafe { list.write_bytes(0, 1) };
    }

    /// `InterlockedPushEntrySList`.
    fn ovl_InterlockedPushEntrySList(list: *mut SLIST_HEADER, entry: *mut SLIST_ENTRY) -> *mut SLIST_ENTRY, else (std::ptr::null_mut()) {
        // SAFETY: an initialized list, and an entry that is in none.
        unsafe {
            Ok(at(list)?.with(|first, depth| {
                (*entry).next = first;
                (entry, depth.wrapping_add(1), first)
            }))
        }
    }

    /// `InterlockedPopEntrySList`.
    fn ovl_InterlockedPopEntrySList(list: *mut SLIST_HEADER) -> *mut SLIST_ENTRY, else (std::ptr::null_mut()) {
        // SAFETY: an initialized list; its entries are alive.
        unsafe {
            Ok(at(list)?.with(|first, depth| if first.is_null() { (first, depth, first) } else { ((*first).next, depth - 1, first) }))
        }
    }

    /// `InterlockedFlushSList`.
    fn ovl_InterlockedFlushSList(list: *mut SLIST_HEADER) -> *mut SLIST_ENTRY, else (std::ptr::null_mut()) {
        // SAFETY: an initialized list.
        Ok(unsafe { at(list) }?.with(|first, _| (std::ptr::null_mut(), 0, first)))
    }

    /// `QueryDepthSList`.
    fn ovl_QueryDepthSList(list: *mut SLIST_HEADER) -> u16, else (0) {
        // SAFETY: an initialized list.
        Ok(unsafe { at(list) }?.with(|first, depth| (first, depth, depth)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of this relies on it: programs initialize with zeroes.
    #[test]
    fn open_locks_are_zeroes() {
        // SAFETY: both have no padding, and any bytes may be looked at.
        unsafe {
            assert_eq!(std::mem::transmute::<RawRwLock, usize>(RawRwLock::INIT), 0);
            assert_eq!(std::mem::transmute::<RawMutex, u8>(RawMutex::INIT), 0);
        }
    }
}
