//! What can be waited for: events, mutexes, semaphores, threads, files; and the waits.
//!
//! Each such object has a [`Signal`]. A wait enters its thread's lane into the list of each signal, and looks; whoever changes a signal does
//! that first and wakes those in the list afterwards. So one of the two sees the other.

use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Release, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use overlapped::raw::{self, Thread, ThreadId, Waited};

use crate::boundary::{boundary, set_last_error};
use crate::handle::{self, Object, lock};
use crate::types::*;

pub(crate) const WAIT_OBJECT_0: DWORD = 0;
pub(crate) const WAIT_ABANDONED_0: DWORD = 0x80;
pub(crate) const WAIT_IO_COMPLETION: DWORD = 0xC0;
pub(crate) const WAIT_TIMEOUT: DWORD = 0x102;
pub(crate) const WAIT_FAILED: DWORD = u32::MAX;
/// Handles of one wait.
const MAXIMUM_WAIT_OBJECTS: usize = 64;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A manual-reset event; a thread or a file, too.
    Flag,
    /// An auto-reset event.
    Auto,
    Mutex,
    Semaphore {
        most: i32,
    },
    /// A completion port: signalled while packets are queued.
    Port,
}

/// What can be waited for.
pub(crate) struct Signal {
    kind: Kind,
    /// Of a `Flag` whether it is set. The others' state is behind the lock.
    flag: AtomicBool,
    port: Option<raw::Port>,
    /// How many wait, to be looked at without the lock.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    /// An auto-reset event: 1 if it is set. A semaphore's count. How often a mutex is owned.
    count: i32,
    owner: Option<ThreadId>,
    /// The thread that owned a mutex has ended.
    abandoned: bool,
    waiters: Vec<Thread>,
}

impl Signal {
    pub(crate) fn new(kind: Kind, count: i32) -> Arc<Self> {
        let flag = AtomicBool::new(kind == Kind::Flag && count > 0);
        let state = State { count, owner: None, abandoned: false, waiters: Vec::new() };
        Arc::new(Self { kind, flag, port: None, waiting: AtomicUsize::new(0), state: Mutex::new(state) })
    }

    /// Of a port. Nothing tells of it: who waits looks again and again.
    pub(crate) fn of_port(port: &raw::Port) -> Arc<Self> {
        let state = State { count: 0, owner: None, abandoned: false, waiters: Vec::new() };
        Arc::new(Self {
            kind: Kind::Port,
            flag: AtomicBool::new(false),
            port: Some(port.clone()),
            waiting: AtomicUsize::new(0),
            state: Mutex::new(state),
        })
    }

    pub(crate) fn flag(set: bool) -> Arc<Self> {
        Self::new(Kind::Flag, i32::from(set))
    }

    /// Sets an event.
    #[inline]
    pub(crate) fn set(&self) {
        match self.kind {
            Kind::Flag => self.flag.store(true, SeqCst),
            _ => lock(&self.state).count = 1,
        }
        self.tell();
    }

    /// Resets an event.
    #[inline]
    pub(crate) fn reset(&self) {
        match self.kind {
            Kind::Flag => self.flag.store(false, SeqCst),
            _ => lock(&self.state).count = 0,
        }
    }

    /// Resets a flag for an operation that is about to start. Whoever tells of its end sets it, and sees this: starting takes a lock.
    #[inline]
    pub(crate) fn lower(&self) {
        self.flag.store(false, Release);
    }

    /// It is a flag, which a wait leaves set.
    pub(crate) fn stays_set(&self) -> bool {
        matches!(self.kind, Kind::Flag | Kind::Port)
    }

    fn is_event(&self) -> bool {
        matches!(self.kind, Kind::Flag | Kind::Auto)
    }

    /// Wakes those who wait; each looks for itself.
    #[inline]
    fn tell(&self) {
        if self.waiting.load(SeqCst) > 0 {
            lock(&self.state).waiters.iter().for_each(Thread::wake);
        }
    }

    /// Whether `me` could take it now.
    fn is_free(&self, state: &State, me: ThreadId) -> bool {
        match self.kind {
            Kind::Flag => self.flag.load(SeqCst),
            Kind::Port => self.port.as_ref().is_some_and(raw::Port::has_packets),
            Kind::Auto | Kind::Semaphore { .. } => state.count > 0,
            Kind::Mutex => state.count == 0 || state.owner == Some(me),
        }
    }

    /// Takes it, which is free. Returns whether it is a mutex that was abandoned.
    fn take(&self, state: &mut State, me: ThreadId) -> bool {
        match self.kind {
            Kind::Flag | Kind::Port => false,
            Kind::Auto | Kind::Semaphore { .. } => {
                state.count -= 1;
                false
            }
            Kind::Mutex => {
                if state.count == 0 {
                    OWNED.with(|owned| owned.0.borrow_mut().push(std::ptr::from_ref(self) as usize));
                }
                state.count += 1;
                state.owner = Some(me);
                std::mem::take(&mut state.abandoned)
            }
        }
    }

    fn try_take(&self, me: ThreadId) -> Option<bool> {
        if self.kind == Kind::Flag {
            return self.flag.load(SeqCst).then_some(false);
        }
        let mut state = lock(&self.state);
        self.is_free(&state, me).then(|| self.take(&mut state, me))
    }

    /// Takes all of them, or none. They are all different.
    fn try_take_all(signals: &[Arc<Self>], me: ThreadId) -> Option<bool> {
        let mut ordered: Vec<_> = signals.iter().collect();
        ordered.sort_by_key(|signal| Arc::as_ptr(signal)); // so that two who want the same do not wait for each other
        let mut states: Vec<(_, MutexGuard<'_, State>)> =
            ordered.into_iter().map(|signal| (signal, lock(&signal.state))).collect();
        let all = states.iter().all(|(signal, state)| signal.is_free(state, me));
        all.then(|| states.iter_mut().fold(false, |abandoned, (signal, state)| signal.take(state, me) | abandoned))
    }

    fn release_mutex(&self) -> Outcome<()> {
        let mut state = lock(&self.state);
        if self.kind != Kind::Mutex {
            return Err(Code::INVALID_HANDLE);
        }
        if state.owner != Some(this_thread()) || state.count == 0 {
            return Err(Code::NOT_OWNER);
        }
        state.count -= 1;
        if state.count == 0 {
            state.owner = None;
            let this = std::ptr::from_ref(self) as usize;
            OWNED.with(|owned| owned.0.borrow_mut().retain(|other| *other != this));
        }
        drop(state);
        self.tell();
        Ok(())
    }

    fn release_semaphore(&self, by: i32) -> Outcome<i32> {
        let Kind::Semaphore { most } = self.kind else { return Err(Code::INVALID_HANDLE) };
        let mut state = lock(&self.state);
        let before = state.count;
        match before.checked_add(by) {
            _ if by <= 0 => return Err(Code::INVALID_PARAMETER),
            Some(count) if count <= most => state.count = count,
            _ => return Err(Code::TOO_MANY_POSTS),
        }
        drop(state);
        self.tell();
        Ok(before)
    }

    /// Its owner's thread has ended.
    fn abandon(&self) {
        let mut state = lock(&self.state);
        (state.count, state.owner, state.abandoned) = (0, None, true);
        drop(state);
        self.tell();
    }
}

/// The flag of a file's handle, which every operation without an event lowers and sets and hardly anybody waits for. It becomes a signal
/// with the first wait; until then it is a byte beside what an operation looks at anyhow.
#[derive(Default)]
pub(crate) struct Flag {
    state: AtomicU8,
    signal: OnceLock<Arc<Signal>>,
}

impl Flag {
    const LOW: u8 = 0;
    const SET: u8 = 1;
    /// The signal has it.
    const SIGNAL: u8 = 2;

    #[inline]
    pub(crate) fn set(&self) {
        if !self.change(Self::SET) {
            self.signal().set();
        }
    }

    #[inline]
    pub(crate) fn lower(&self) {
        if !self.change(Self::LOW) {
            self.signal().lower();
        }
    }

    /// `false`: the signal has it.
    #[inline]
    fn change(&self, to: u8) -> bool {
        loop {
            match self.state.load(SeqCst) {
                Self::SIGNAL => return false,
                same if same == to => return true,
                other if self.state.compare_exchange(other, to, SeqCst, SeqCst).is_ok() => return true,
                _ => {}
            }
        }
    }

    /// To be waited for.
    pub(crate) fn signal(&self) -> &Arc<Signal> {
        self.signal.get_or_init(|| {
            let signal = Signal::flag(false);
            loop {
                let now = self.state.load(SeqCst);
                signal.flag.store(now == Self::SET, SeqCst);
                if self.state.compare_exchange(now, Self::SIGNAL, SeqCst, SeqCst).is_ok() {
                    return signal; // whoever changes it from now on waits until it is here
                }
            }
        })
    }
}

std::thread_local! {
    /// The mutexes that this thread owns.
    static OWNED: Owned = const { Owned(std::cell::RefCell::new(Vec::new())) };
}

/// Mutexes, by their addresses. What is left at the thread's end is abandoned.
struct Owned(std::cell::RefCell<Vec<usize>>);

/// All there are, so that they are found by their addresses.
static MUTEXES: Mutex<Vec<std::sync::Weak<Signal>>> = Mutex::new(Vec::new());

impl Drop for Owned {
    fn drop(&mut self) {
        let owned = self.0.take();
        if owned.is_empty() {
            return;
        }
        let mutexes: Vec<_> = lock(&MUTEXES).iter().filter_map(std::sync::Weak::upgrade).collect();
        for mutex in mutexes.iter().filter(|mutex| owned.contains(&(Arc::as_ptr(mutex) as usize))) {
            mutex.abandon();
        }
    }
}

/// The number of the calling thread, as the library has it.
pub(crate) fn this_thread() -> ThreadId {
    std::thread_local!(static THIS: ThreadId = Thread::current().id());
    THIS.try_with(|this| *this).unwrap_or_else(|_| Thread::current().id())
}

/// A thread is among the waiters of some signals, until this is dropped.
struct Entered<'a>(&'a [Arc<Signal>], Thread);

impl<'a> Entered<'a> {
    fn new(signals: &'a [Arc<Signal>]) -> Self {
        let thread = Thread::current();
        for signal in signals {
            lock(&signal.state).waiters.push(thread.clone());
            signal.waiting.fetch_add(1, SeqCst);
        }
        Self(signals, thread)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        for signal in self.0 {
            let waiters = &mut lock(&signal.state).waiters;
            if let Some(at) = waiters.iter().rposition(|waiter| waiter.id() == self.1.id()) {
                waiters.swap_remove(at);
            }
            signal.waiting.fetch_sub(1, SeqCst);
        }
    }
}

/// Waits for one or all of some signals, which are all different if it is for all. Gives what `WaitForMultipleObjectsEx` does.
pub(crate) fn wait(signals: &[Arc<Signal>], all: bool, deadline: Option<Instant>, alertable: bool) -> DWORD {
    let me = this_thread();
    let look = || match all {
        true => Signal::try_take_all(signals, me).map(|abandoned| (0, abandoned)),
        false => signals.iter().enumerate().find_map(|(at, signal)| Some((at as DWORD, signal.try_take(me)?))),
    };
    let answer = |(at, abandoned)| if abandoned { WAIT_ABANDONED_0 + at } else { WAIT_OBJECT_0 + at };
    // What is there already is taken, and APCs stay (R05).
    if let Some(found) = look() {
        return answer(found);
    }
    let _entered = Entered::new(signals);
    let polls = signals.iter().any(|signal| signal.kind == Kind::Port);
    loop {
        let soon = polls.then(|| Instant::now() + Duration::from_millis(2));
        match raw::wait(soon.into_iter().chain(deadline).min(), alertable, look) {
            Waited::Found(found) => return answer(found),
            Waited::Ran => return WAIT_IO_COMPLETION,
            Waited::TimeUp if polls && deadline.is_none_or(|deadline| deadline > Instant::now()) => {}
            Waited::TimeUp => return WAIT_TIMEOUT,
        }
    }
}

/// When a wait of so many milliseconds ends. It is never early, and only INFINITE is for ever.
pub(crate) fn deadline(milliseconds: DWORD) -> Option<Instant> {
    (milliseconds != INFINITE).then(|| Instant::now() + Duration::from_millis(milliseconds.into()))
}

/// What a handle's signal is, if it can be waited for.
pub(crate) fn of_handle(handle: HANDLE) -> Outcome<Arc<Signal>> {
    match handle::object(handle)? {
        Object::Signal(signal) => Ok(signal),
        object => object.signal().ok_or(Code::INVALID_HANDLE),
    }
}

fn event(handle: HANDLE) -> Outcome<Arc<Signal>> {
    match handle::object(handle)? {
        Object::Signal(signal) if signal.is_event() => Ok(signal),
        _ => Err(Code::INVALID_HANDLE),
    }
}

/// The event in an `OVERLAPPED`, whose low bit may be set.
#[inline]
pub(crate) fn of_overlapped(event: HANDLE) -> Outcome<Option<Arc<Signal>>> {
    match event as usize & !1 {
        0 => Ok(None),
        handle => self::event(handle as HANDLE).map(Some),
    }
}

/// # Safety
/// There are `count` handles.
unsafe fn wait_for(count: DWORD, handles: *const HANDLE, all: BOOL, ms: DWORD, alertable: BOOL) -> Outcome<DWORD> {
    let count = count as usize;
    if count == 0 || count > MAXIMUM_WAIT_OBJECTS {
        return Err(Code::INVALID_PARAMETER);
    }
    if handles.is_null() {
        return Err(Code::NOACCESS);
    }
    // SAFETY: the caller's promise.
    let handles = unsafe { std::slice::from_raw_parts(handles, count) };
    let signals = handles.iter().map(|handle| of_handle(*handle)).collect::<Outcome<Vec<_>>>()?;
    let twice = |at: usize| signals[..at].iter().any(|other| Arc::ptr_eq(other, &signals[at]));
    if all != FALSE && (1..count).any(twice) {
        return Err(Code::INVALID_PARAMETER);
    }
    Ok(wait(&signals, all != FALSE && count > 1, deadline(ms), alertable != FALSE))
}

/// Objects that have a name, within this process.
static NAMED: Mutex<Vec<(CString, std::sync::Weak<Signal>)>> = Mutex::new(Vec::new());

/// # Safety
/// Null, or a C string.
unsafe fn name_of(name: *const c_char) -> Option<CString> {
    // SAFETY: the caller's promise.
    if name.is_null() { None } else { Some(unsafe { CStr::from_ptr(name) }.to_owned()).filter(|name| !name.is_empty()) }
}

fn named(name: &CStr) -> Option<Arc<Signal>> {
    lock(&NAMED).iter().find(|(known, _)| known.as_c_str() == name).and_then(|(_, signal)| signal.upgrade())
}

/// A handle for an object of this name, which is made if there is none. Returns whether there was.
fn create_named(name: Option<CString>, kind: Kind, count: i32) -> Outcome<(HANDLE, bool)> {
    let Some(name) = name else { return Ok((create(kind, count)?, false)) };
    if let Some(signal) = named(&name) {
        if std::mem::discriminant(&signal.kind) != std::mem::discriminant(&kind)
            && !(signal.is_event() && matches!(kind, Kind::Flag | Kind::Auto))
        {
            return Err(Code::INVALID_HANDLE); // the name is something else's
        }
        let handle = handle::give(Object::Signal(signal))?;
        set_last_error(Code::ALREADY_EXISTS.0);
        return Ok((handle, true));
    }
    let handle = create(kind, count)?;
    let mut named = lock(&NAMED);
    named.retain(|(_, signal)| signal.strong_count() > 0);
    named.push((name, Arc::downgrade(&of_handle(handle)?)));
    Ok((handle, false))
}

/// A handle for an object that has this name.
///
/// # Safety
/// A C string, or null.
unsafe fn open_named(name: *const c_char, fits: impl Fn(&Signal) -> bool) -> Outcome<HANDLE> {
    // SAFETY: the caller's promise.
    let name = unsafe { name_of(name) }.ok_or(Code::INVALID_PARAMETER)?;
    let signal = named(&name).filter(|signal| fits(signal)).ok_or(Code::FILE_NOT_FOUND)?;
    handle::give(Object::Signal(signal))
}

fn create(kind: Kind, count: i32) -> Outcome<HANDLE> {
    let signal = Signal::new(kind, count);
    if kind == Kind::Mutex {
        let mut mutexes = lock(&MUTEXES);
        mutexes.retain(|mutex| mutex.strong_count() > 0);
        mutexes.push(Arc::downgrade(&signal));
    }
    let handle = handle::give(Object::Signal(Arc::clone(&signal)))?;
    set_last_error(0); // ERROR_ALREADY_EXISTS would say that the name was taken
    Ok(handle)
}

boundary! {
    /// `CreateEventA`. Names are known within the process.
    fn ovl_CreateEventA(_attributes: *const u8, manual: BOOL, set: BOOL, name: *const c_char) -> HANDLE, else (std::ptr::null_mut()) {
        let kind = if manual != FALSE { Kind::Flag } else { Kind::Auto };
        // SAFETY: the caller's promise.
        Ok(create_named(unsafe { name_of(name) }, kind, i32::from(set != FALSE))?.0)
    }

    /// `SetEvent`.
    fn ovl_SetEvent(handle: HANDLE) -> BOOL, else (FALSE) {
        event(handle)?.set();
        Ok(TRUE)
    }

    /// `ResetEvent`.
    fn ovl_ResetEvent(handle: HANDLE) -> BOOL, else (FALSE) {
        event(handle)?.reset();
        Ok(TRUE)
    }

    /// `PulseEvent`: sets it, lets those who wait look, and resets it. As unreliable as on Windows.
    fn ovl_PulseEvent(handle: HANDLE) -> BOOL, else (FALSE) {
        let event = event(handle)?;
        event.set();
        std::thread::yield_now();
        event.reset();
        Ok(TRUE)
    }

    /// `CreateMutexA`.
    fn ovl_CreateMutexA(_attributes: *const u8, owned: BOOL, name: *const c_char) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's promise.
        let (handle, known) = create_named(unsafe { name_of(name) }, Kind::Mutex, 0)?;
        if owned != FALSE && !known {
            of_handle(handle)?.try_take(this_thread());
        }
        Ok(handle)
    }

    /// `OpenEventA`.
    fn ovl_OpenEventA(_access: DWORD, _inherit: BOOL, name: *const c_char) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's promise.
        unsafe { open_named(name, Signal::is_event) }
    }

    /// `OpenMutexA`.
    fn ovl_OpenMutexA(_access: DWORD, _inherit: BOOL, name: *const c_char) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's promise.
        unsafe { open_named(name, |signal| signal.kind == Kind::Mutex) }
    }

    /// `OpenSemaphoreA`.
    fn ovl_OpenSemaphoreA(_access: DWORD, _inherit: BOOL, name: *const c_char) -> HANDLE, else (std::ptr::null_mut()) {
        // SAFETY: the caller's promise.
        unsafe { open_named(name, |signal| matches!(signal.kind, Kind::Semaphore { .. })) }
    }

    /// `ReleaseMutex`.
    fn ovl_ReleaseMutex(handle: HANDLE) -> BOOL, else (FALSE) {
        of_handle(handle)?.release_mutex()?;
        Ok(TRUE)
    }

    /// `CreateSemaphoreA`.
    fn ovl_CreateSemaphoreA(_attributes: *const u8, count: i32, most: i32, name: *const c_char) -> HANDLE, else (std::ptr::null_mut()) {
        if most <= 0 || !(0..=most).contains(&count) {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: the caller's promise.
        Ok(create_named(unsafe { name_of(name) }, Kind::Semaphore { most }, count)?.0)
    }

    /// `ReleaseSemaphore`.
    fn ovl_ReleaseSemaphore(handle: HANDLE, by: i32, before: *mut i32) -> BOOL, else (FALSE) {
        let count = of_handle(handle)?.release_semaphore(by)?;
        if !before.is_null() {
            // SAFETY: not null, so the caller's variable.
            unsafe { before.write(count) };
        }
        Ok(TRUE)
    }

    /// `WaitForSingleObject`.
    fn ovl_WaitForSingleObject(handle: HANDLE, ms: DWORD) -> DWORD, else (WAIT_FAILED) {
        Ok(wait(&[of_handle(handle)?], false, deadline(ms), false))
    }

    /// `WaitForSingleObjectEx`.
    fn ovl_WaitForSingleObjectEx(handle: HANDLE, ms: DWORD, alertable: BOOL) -> DWORD, else (WAIT_FAILED) {
        Ok(wait(&[of_handle(handle)?], false, deadline(ms), alertable != FALSE))
    }

    /// `WaitForMultipleObjects`.
    fn ovl_WaitForMultipleObjects(count: DWORD, handles: *const HANDLE, all: BOOL, ms: DWORD) -> DWORD, else (WAIT_FAILED) {
        // SAFETY: the caller's promise.
        unsafe { wait_for(count, handles, all, ms, FALSE) }
    }

    /// `WaitForMultipleObjectsEx`.
    fn ovl_WaitForMultipleObjectsEx(count: DWORD, handles: *const HANDLE, all: BOOL, ms: DWORD, alertable: BOOL) -> DWORD, else (WAIT_FAILED) {
        // SAFETY: the caller's promise.
        unsafe { wait_for(count, handles, all, ms, alertable) }
    }

    /// `SignalObjectAndWait`.
    fn ovl_SignalObjectAndWait(signal: HANDLE, wait_on: HANDLE, ms: DWORD, alertable: BOOL) -> DWORD, else (WAIT_FAILED) {
        let (signal, wait_on) = (of_handle(signal)?, of_handle(wait_on)?);
        match signal.kind {
            Kind::Flag | Kind::Auto => signal.set(),
            Kind::Mutex => signal.release_mutex()?,
            Kind::Semaphore { .. } => _ = signal.release_semaphore(1)?,
            Kind::Port => return Err(Code::INVALID_HANDLE),
        }
        Ok(wait(&[wait_on], false, deadline(ms), alertable != FALSE))
    }

    /// `WSACreateEvent`.
    fn ovl_WSACreateEvent() -> HANDLE, else (std::ptr::null_mut()) {
        create(Kind::Flag, 0)
    }

    /// `WSASetEvent`.
    fn ovl_WSASetEvent(handle: HANDLE) -> BOOL, winsock else (FALSE) {
        event(handle)?.set();
        Ok(TRUE)
    }

    /// `WSAResetEvent`.
    fn ovl_WSAResetEvent(handle: HANDLE) -> BOOL, winsock else (FALSE) {
        event(handle)?.reset();
        Ok(TRUE)
    }

    /// `WSACloseEvent`.
    fn ovl_WSACloseEvent(handle: HANDLE) -> BOOL, winsock else (FALSE) {
        let event = handle::take(handle as usize, |object| matches!(object, Object::Signal(signal) if signal.is_event()));
        event.map(|_| TRUE).ok_or(Code::INVALID_HANDLE)
    }

    /// `WSAWaitForMultipleEvents`.
    fn ovl_WSAWaitForMultipleEvents(count: DWORD, handles: *const HANDLE, all: BOOL, ms: DWORD, alertable: BOOL) -> DWORD, else (WAIT_FAILED) {
        // SAFETY: the caller's promise.
        unsafe { wait_for(count, handles, all, ms, alertable) }
    }

    /// `Sleep`.
    fn ovl_Sleep(ms: DWORD) {
        raw::flush();
        match ms {
            0 => std::thread::yield_now(),
            _ => _ = raw::wait(deadline(ms), false, || None::<()>),
        }
    }

    /// `SleepEx`.
    fn ovl_SleepEx(ms: DWORD, alertable: BOOL) -> DWORD {
        match raw::wait(deadline(ms), alertable != FALSE, || None::<()>) {
            Waited::Ran => WAIT_IO_COMPLETION,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{Flag, this_thread};

    /// Whoever waits first sees what was said last, however the two meet.
    #[test]
    fn a_flag_that_becomes_a_signal_keeps_its_state() {
        const ROUNDS: usize = 5_000;
        for round in 0..ROUNDS {
            let flag = Flag::default();
            let last = round % 2 == 0;
            thread::scope(|scope| {
                scope.spawn(|| {
                    for turn in 0..round % 7 {
                        if turn % 2 == 0 { flag.set() } else { flag.lower() }
                    }
                    if last { flag.set() } else { flag.lower() }
                });
                let waits = scope.spawn(|| flag.signal().clone());
                let signal = flag.signal();
                assert!(std::sync::Arc::ptr_eq(signal, &waits.join().unwrap()), "one flag has two signals");
            });
            assert_eq!(flag.signal().try_take(this_thread()).is_some(), last, "round {round}");
            flag.lower();
            assert!(flag.signal().try_take(this_thread()).is_none());
            flag.set();
            assert!(flag.signal().try_take(this_thread()).is_some());
        }
    }
}
