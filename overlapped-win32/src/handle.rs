//! Handles: numbers that C programs hold, and what they stand for.
//!
//! A handle is a place in one table, for sockets and everything else, and the how-many-eth use of that place. So one that is closed, or was
//! never given out, is found out, until its place has been used 1,024 times again, and places wait before they are used again.
//! Values are multiples of 4 that fit in 31 bits: programs keep the low bits of handles for themselves, and sockets in an `int`.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use overlapped::raw::Lock;

use crate::boundary::boundary;
use crate::file::File;
use crate::port::Port;
use crate::signal::Signal;
use crate::thread::Thread;
use crate::types::{BOOL, Code, DWORD, FALSE, HANDLE, Outcome, SOCKET, TRUE};
use crate::waits::Wait;

/// What a handle stands for. Handles that were duplicated stand for one object.
#[derive(Clone)]
pub(crate) enum Object {
    /// A socket or file.
    File(Arc<File>),
    /// A completion port.
    Port(Arc<Port>),
    /// An event, mutex or semaphore.
    Signal(Arc<Signal>),
    /// A thread.
    Thread(Arc<Thread>),
    /// A wait that calls back.
    Wait(Arc<Wait>),
}

impl Object {
    /// What is waited for if the handle is.
    pub(crate) fn signal(&self) -> Option<Arc<Signal>> {
        match self {
            Self::File(file) => Some(file.signal()),
            Self::Port(port) => Some(Signal::of_port(&port.raw)),
            Self::Signal(signal) => Some(Arc::clone(signal)),
            Self::Thread(thread) => Some(thread.ended()),
            Self::Wait(_) => None,
        }
    }
}

impl Object {
    /// Another handle stands for it.
    fn opened(&self) {
        match self {
            Self::File(file) => _ = file.handles.fetch_add(1, SeqCst),
            Self::Port(port) => _ = port.handles.fetch_add(1, SeqCst),
            Self::Signal(_) | Self::Thread(_) | Self::Wait(_) => {} // what they are ends when nobody uses them any more
        }
    }

    /// A handle of it is closed; with the last one it is.
    pub(crate) fn closed(&self) {
        match self {
            Self::File(file) if file.handles.fetch_sub(1, SeqCst) == 1 => file.close(),
            Self::Port(port) if port.handles.fetch_sub(1, SeqCst) == 1 => port.close(),
            Self::File(_) | Self::Port(_) | Self::Signal(_) | Self::Thread(_) | Self::Wait(_) => {}
        }
    }
}

const INDEX_BITS: u32 = 19;
const GENERATION_BITS: u32 = 10;
/// The handles that a process may have at once.
const MOST: usize = 1 << INDEX_BITS;
const CHUNK: usize = 1024;
/// So many places wait before the first of them is used again.
const REST: usize = 128;
/// `HANDLE_FLAG_INHERIT`.
const INHERIT: DWORD = 1;
/// `HANDLE_FLAG_PROTECT_FROM_CLOSE`.
const PROTECT_FROM_CLOSE: DWORD = 2;
/// 0 is no handle, and the first few look like flags.
const FIRST: u32 = 16;

#[derive(Default)]
struct Place {
    generation: u32,
    /// HANDLE_FLAG_…
    flags: DWORD,
    object: Option<Object>,
}

struct Free {
    /// Places that were given back, the oldest first.
    places: VecDeque<u32>,
    /// Places from here on have never been used.
    unused: u32,
}

type Chunk = Box<[Lock<Place>]>;

/// Chunks stay where they are, so a look takes the lock of one place only.
static CHUNKS: [OnceLock<Chunk>; MOST / CHUNK] = [const { OnceLock::new() }; MOST / CHUNK];
static FREE: Mutex<Free> = Mutex::new(Free { places: VecDeque::new(), unused: FIRST });

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[inline]
fn split(handle: usize) -> Option<(u32, u32)> {
    if handle & 3 != 0 || handle >> (2 + INDEX_BITS + GENERATION_BITS) != 0 {
        return None;
    }
    let number = (handle >> 2) as u32;
    Some((number & (MOST as u32 - 1), number >> INDEX_BITS))
}

fn place(index: u32) -> Option<&'static Lock<Place>> {
    CHUNKS[index as usize / CHUNK].get()?.get(index as usize % CHUNK)
}

/// Gives out a handle for an object.
pub(crate) fn open(object: Object) -> Outcome<usize> {
    object.opened();
    let index = {
        let mut free = lock(&FREE);
        match free.places.len() > REST {
            true => free.places.pop_front().expect("looked at just now"),
            false if (free.unused as usize) < MOST => {
                free.unused += 1;
                free.unused - 1
            }
            false => free.places.pop_front().ok_or(Code::NOT_ENOUGH_MEMORY)?,
        }
    };
    let chunk = CHUNKS[index as usize / CHUNK].get_or_init(|| (0..CHUNK).map(|_| Lock::default()).collect());
    let mut place = chunk[index as usize % CHUNK].lock();
    place.flags = 0;
    place.object = Some(object);
    Ok(((place.generation << INDEX_BITS | index) as usize) << 2)
}

/// What a handle stands for.
#[inline]
pub(crate) fn find(handle: usize) -> Option<Object> {
    let (index, generation) = split(handle)?;
    let place = place(index)?.lock();
    if place.generation == generation { place.object.clone() } else { None }
}

/// Takes a handle back if `fits` says so of its object. From then on it is none.
pub(crate) fn take(handle: usize, fits: impl FnOnce(&Object) -> bool) -> Option<Object> {
    let (index, generation) = split(handle)?;
    let mut place = place(index)?.lock();
    if place.generation != generation
        || !place.object.as_ref().is_some_and(fits)
        || place.flags & PROTECT_FROM_CLOSE != 0
    {
        return None;
    }
    let object = place.object.take();
    place.generation = (generation + 1) & ((1 << GENERATION_BITS) - 1);
    drop(place);
    lock(&FREE).places.push_back(index);
    object
}

/// The object of a handle, as a HANDLE.
#[inline]
pub(crate) fn object(handle: HANDLE) -> Outcome<Object> {
    find(handle as usize).ok_or(Code::INVALID_HANDLE)
}

/// A new HANDLE for an object.
pub(crate) fn give(object: Object) -> Outcome<HANDLE> {
    Ok(open(object)? as HANDLE)
}

/// A new SOCKET for an object.
#[allow(dead_code)]
pub(crate) fn give_socket(object: Object) -> Outcome<SOCKET> {
    open(object)
}

/// Works with the flags of a handle.
fn with_flags<R>(handle: HANDLE, work: impl FnOnce(&mut DWORD) -> R) -> Outcome<R> {
    let (index, generation) = split(handle as usize).ok_or(Code::INVALID_HANDLE)?;
    let mut place = place(index).ok_or(Code::INVALID_HANDLE)?.lock();
    match place.generation == generation && place.object.is_some() {
        true => Ok(work(&mut place.flags)),
        false => Err(Code::INVALID_HANDLE),
    }
}

boundary! {
    /// `GetHandleInformation`.
    fn ovl_GetHandleInformation(handle: HANDLE, flags: *mut DWORD) -> BOOL, else (FALSE) {
        let now = with_flags(handle, |flags| *flags)?;
        if flags.is_null() {
            return Err(Code::NOACCESS);
        }
        // SAFETY: not null, so the caller's variable.
        unsafe { flags.write(now) };
        Ok(TRUE)
    }

    /// `SetHandleInformation`. Whether it is inherited is kept and given back; there is no CreateProcess that would ask.
    fn ovl_SetHandleInformation(handle: HANDLE, mask: DWORD, flags: DWORD) -> BOOL, else (FALSE) {
        if mask & !(INHERIT | PROTECT_FROM_CLOSE) != 0 {
            return Err(Code::INVALID_PARAMETER);
        }
        with_flags(handle, |now| *now = *now & !mask | flags & mask)?;
        Ok(TRUE)
    }

    /// `CloseHandle`. Of the values that stand for the calling thread and process nothing has to be closed.
    fn ovl_CloseHandle(handle: HANDLE) -> BOOL, else (FALSE) {
        if matches!(handle as isize, -1 | -2) {
            return Ok(TRUE);
        }
        let object = take(handle as usize, |_| true).ok_or(Code::INVALID_HANDLE)?;
        object.closed();
        Ok(TRUE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing() -> Object {
        Object::Signal(Signal::flag(false))
    }

    #[test]
    fn handles_are_multiples_of_4_that_fit_an_int_and_closed_ones_are_found_out() {
        let mut seen = Vec::new();
        for _ in 0..5_000 {
            let handle = open(thing()).unwrap();
            assert!(handle.is_multiple_of(4) && handle > 0 && i32::try_from(handle).is_ok(), "{handle:#x}");
            assert!(!seen.contains(&handle), "{handle:#x} twice within 5,000");
            assert!(find(handle).is_some());
            for wrong in [handle + 1, handle + 2, handle | 1 << 33, usize::MAX, usize::MAX - 1, 0] {
                assert!(find(wrong).is_none(), "{wrong:#x}");
            }
            assert!(take(handle, |_| false).is_none());
            assert!(take(handle, |_| true).is_some());
            assert!(find(handle).is_none() && take(handle, |_| true).is_none());
            seen.push(handle);
        }
    }
}
