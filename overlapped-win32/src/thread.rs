//! Threads, and what is queued to them.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use overlapped::raw;

use crate::boundary::boundary;
use crate::file::File;
use crate::handle::{self, Object, lock};
use crate::signal::{self, Signal};
use crate::status::last_win32;
use crate::types::*;

pub(crate) const STILL_ACTIVE: DWORD = 259;
const CREATE_SUSPENDED: DWORD = 4;
/// Of an ideal processor: none.
const MAXIMUM_PROCESSORS: DWORD = 64;
const THIS_PROCESS: isize = -1;
/// What `GetCurrentThread` gives.
pub(crate) const THIS_THREAD: isize = -2;

/// A thread of the program's.
pub(crate) struct Thread {
    pub(crate) raw: raw::Thread,
    ended: Arc<Signal>,
    code: AtomicU32,
    /// The system's number of it; 0 as long as it has not begun.
    tid: AtomicI32,
    /// The processor that it would like best; nothing depends on it.
    ideal: AtomicU32,
    /// How often it was suspended before it began.
    gate: Arc<Gate>,
    /// The operation of a plain call that it waits for.
    waits_for: Mutex<Option<(Weak<File>, usize)>>,
}

#[derive(Default)]
struct Gate {
    suspended: Mutex<u32>,
    opened: std::sync::Condvar,
}

impl Thread {
    fn new(raw: raw::Thread, suspended: bool) -> Arc<Self> {
        let gate = Gate { suspended: Mutex::new(u32::from(suspended)), ..Gate::default() };
        Arc::new(Self {
            raw,
            ended: Signal::flag(false),
            code: AtomicU32::new(STILL_ACTIVE),
            tid: AtomicI32::new(0),
            ideal: AtomicU32::new(MAXIMUM_PROCESSORS),
            gate: Arc::new(gate),
            waits_for: Mutex::new(None),
        })
    }

    /// It waits for an operation of this name, or no longer.
    pub(crate) fn set_waiting(&self, waits_for: Option<(Weak<File>, usize)>) {
        *lock(&self.waits_for) = waits_for;
    }

    /// Cancels the operation that it waits for. Returns whether it does.
    pub(crate) fn interrupt(&self) -> bool {
        let waits_for = lock(&self.waits_for).clone();
        let Some((Some(file), name)) = waits_for.map(|(file, name)| (file.upgrade(), name)) else { return false };
        file.cancel(|tag| tag.overlapped == name)
    }

    /// Set when it has ended.
    pub(crate) fn ended(&self) -> Arc<Signal> {
        Arc::clone(&self.ended)
    }
}

/// What a thread of the program's has for itself. Dropped when it ends, after all that was made later.
struct Here {
    thread: RefCell<Option<Arc<Thread>>>,
    /// The files on which it has started operations without a port.
    files: RefCell<Vec<Weak<File>>>,
}

thread_local! {
    static HERE: Here = const { Here { thread: RefCell::new(None), files: RefCell::new(Vec::new()) } };
    /// Routines and APCs of the program's that are running, one inside the other.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
    /// What it was told to end with.
    static CODE: Cell<DWORD> = const { Cell::new(0) };
}

/// The calling thread.
pub(crate) fn current() -> Arc<Thread> {
    HERE.with(|here| {
        let mut thread = here.thread.borrow_mut();
        let thread = thread.get_or_insert_with(|| {
            let thread = Thread::new(raw::Thread::current(), false);
            thread.tid.store(tid(), SeqCst);
            know(&thread);
            thread
        });
        Arc::clone(thread)
    })
}

/// The threads that have a handle, or have asked who they are.
static THREADS: Mutex<Vec<Weak<Thread>>> = Mutex::new(Vec::new());

/// It can be found by its number from now on.
fn know(thread: &Arc<Thread>) {
    let mut threads = lock(&THREADS);
    threads.retain(|thread| thread.strong_count() > 0);
    threads.push(Arc::downgrade(thread));
}

/// The processors that a thread of the system's may run on, the first 64 of them. 0 stands for the calling one.
fn affinity(tid: i32) -> Outcome<u64> {
    let mut set = [0_u64; 16];
    // SAFETY: the system writes no more than there is room for.
    match unsafe { libc::sched_getaffinity(tid, size_of_val(&set), set.as_mut_ptr().cast()) } {
        0 => Ok(set[0]),
        _ => Err(last_win32()),
    }
}

fn set_affinity(tid: i32, mask: u64) -> Outcome<()> {
    let set = [mask, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: the system reads no more than there is.
    match unsafe { libc::sched_setaffinity(tid, size_of_val(&set), set.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(last_win32()),
    }
}

/// The processors that the process was given, the first 64 of them.
fn processors() -> Outcome<u64> {
    static GIVEN: OnceLock<u64> = OnceLock::new();
    let given = affinity(std::process::id() as i32)?;
    Ok(*GIVEN.get_or_init(|| given))
}

/// What the program has restricted the process to.
static PROCESS_MASK: AtomicU64 = AtomicU64::new(0);

fn process_mask() -> Outcome<u64> {
    match PROCESS_MASK.load(SeqCst) {
        0 => processors(),
        mask => Ok(mask),
    }
}

/// A thread has started an operation that is cancelled when it ends.
pub(crate) fn remember(file: &Arc<File>) {
    let _ = HERE.try_with(|here| {
        let mut files = here.files.borrow_mut();
        let this = Arc::as_ptr(file);
        if files.iter().rev().any(|other| other.as_ptr() == this) {
            return;
        }
        if files.len() >= 64 && files.len().is_power_of_two() {
            files.retain(|file| file.strong_count() > 0);
        }
        files.push(Arc::downgrade(file));
    });
}

impl Drop for Here {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Here {
    /// The thread ends: cancels what it has started, and says that it has ended. Once.
    fn leave(&self) {
        let me = self.thread.borrow().as_ref().map(|thread| thread.raw.id());
        for file in self.files.take().iter().filter_map(Weak::upgrade) {
            file.desert(me.unwrap_or_else(signal::this_thread));
        }
        if let Some(thread) = self.thread.take() {
            // Whoever sees the signal sees the code.
            thread.code.store(CODE.try_with(Cell::get).unwrap_or(0), SeqCst);
            thread.ended.set();
        }
    }
}

fn tid() -> i32 {
    // SAFETY: no arguments.
    unsafe { libc::gettid() }
}

/// `LPTHREAD_START_ROUTINE`, and what `_beginthread` and `_beginthreadex` take.
type Start = unsafe extern "C-unwind" fn(*mut c_void) -> DWORD;

/// What a new thread finds.
struct Birth {
    thread: Arc<Thread>,
    start: Start,
    argument: *mut c_void,
    /// `_beginthread`: the function gives nothing back.
    void: bool,
}

/// Begins a thread.
///
/// It is the system's own, without the standard library's frame around it: `ExitThread` unwinds its stack, and there is nothing of
/// Rust on that but functions without anything to drop.
unsafe extern "C-unwind" fn begin(birth: *mut c_void) -> *mut c_void {
    let (start, argument, void) = settle_in(birth.cast());
    // SAFETY: the caller of CreateThread's promise.
    let code = unsafe { start(argument) };
    CODE.set(if void { 0 } else { code });
    std::ptr::null_mut()
}

fn settle_in(birth: *mut Birth) -> (Start, *mut c_void, bool) {
    // SAFETY: made by `spawn` from a box, for this thread alone.
    let Birth { thread, start, argument, void } = *unsafe { Box::from_raw(birth) };
    thread.tid.store(tid(), SeqCst);
    know(&thread);
    HERE.with(|here| *here.thread.borrow_mut() = Some(Arc::clone(&thread)));
    thread.raw.become_this();
    let gate = Arc::clone(&thread.gate);
    let mut suspended = lock(&gate.suspended);
    while *suspended > 0 {
        suspended = gate.opened.wait(suspended).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
    drop(suspended);
    // What was queued before it began is called before its function.
    raw::wait(Some(std::time::Instant::now()), true, || None::<()>);
    (start, argument, void)
}

unsafe extern "C" {
    // As libc has it, but for the ABI: the function may be unwound by `pthread_exit`.
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        start: unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> i32;
}

unsafe extern "C-unwind" {
    fn pthread_exit(value: *mut c_void) -> !;
}

fn spawn(stack: usize, start: Start, argument: *mut c_void, suspended: bool, void: bool) -> Outcome<Arc<Thread>> {
    /// What Windows gives; pages are used only as they are touched.
    const STACK: usize = 1 << 20;
    let thread = Thread::new(raw::Thread::unborn(), suspended);
    let birth = Box::into_raw(Box::new(Birth { thread: Arc::clone(&thread), start, argument, void }));
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: initialised before it is used and destroyed afterwards; `birth` is the new thread's.
    let result = unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack.max(STACK).next_multiple_of(65536));
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        let mut id = 0;
        let result = pthread_create(&mut id, attributes.as_ptr(), begin, birth.cast());
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        result
    };
    if result != 0 {
        // SAFETY: there is no thread that would take it.
        drop(unsafe { Box::from_raw(birth) });
        return Err(Code::NOT_ENOUGH_MEMORY);
    }
    // Its number is told to the caller, so it has to have one.
    while thread.tid.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    Ok(thread)
}

/// The thread of a handle.
pub(crate) fn of_handle(handle: HANDLE) -> Outcome<Arc<Thread>> {
    if handle as isize == THIS_THREAD {
        return Ok(current());
    }
    match handle::object(handle)? {
        Object::Thread(thread) => Ok(thread),
        _ => Err(Code::INVALID_HANDLE),
    }
}

/// Calls a routine or APC of the program's.
pub(crate) fn inside<R>(call: impl FnOnce() -> R) -> R {
    struct Left;
    impl Drop for Left {
        fn drop(&mut self) {
            INSIDE.set(INSIDE.get() - 1);
        }
    }
    INSIDE.set(INSIDE.get() + 1);
    let _left = Left;
    call()
}

/// An APC of the program's.
type Apc = unsafe extern "C" fn(usize);

/// Ends the calling thread.
///
/// # Safety
/// As `ExitThread`.
unsafe fn exit(code: DWORD) -> ! {
    CODE.set(code);
    if INSIDE.get() > 0 {
        // The library waits below, and what it holds there must not be unwound. The thread has ended for all who look; what is left of it
        // sleeps until the process ends.
        HERE.with(Here::leave);
        raw::wait(Some(std::time::Instant::now()), false, || None::<()>); // so that its cancels are seen
        loop {
            // SAFETY: no arguments.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: the frames of this library between here and `begin` have nothing to drop.
    unsafe { pthread_exit(std::ptr::null_mut()) }
}

/// `ExitThread`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ovl_ExitThread(code: DWORD) -> ! {
    // SAFETY: the caller's promise.
    unsafe { exit(code) }
}

/// `_endthreadex`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ovl__endthreadex(code: DWORD) -> ! {
    // SAFETY: the caller's promise.
    unsafe { exit(code) }
}

/// `_endthread`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ovl__endthread() -> ! {
    // SAFETY: the caller's promise.
    unsafe { exit(0) }
}

boundary! {
    /// `CreateThread`.
    fn ovl_CreateThread(_attributes: *const u8, stack: usize, start: Option<Start>, argument: *mut c_void, flags: DWORD, id: *mut DWORD) -> HANDLE, else (std::ptr::null_mut()) {
        let start = start.ok_or(Code::INVALID_PARAMETER)?;
        let thread = spawn(stack, start, argument, flags & CREATE_SUSPENDED != 0, false)?;
        if !id.is_null() {
            // SAFETY: not null, so the caller's variable.
            unsafe { id.write(thread.tid.load(SeqCst) as DWORD) };
        }
        handle::give(Object::Thread(thread))
    }

    /// `_beginthreadex`.
    fn ovl__beginthreadex(_attributes: *const u8, stack: u32, start: Option<Start>, argument: *mut c_void, flags: u32, id: *mut u32) -> usize {
        // SAFETY: the caller's promise.
        unsafe { ovl_CreateThread(std::ptr::null(), stack as usize, start, argument, flags, id) as usize }
    }

    /// `_beginthread`. The handle closes itself when the thread ends, so it is given out and never valid: nobody may use it.
    fn ovl__beginthread(start: Option<Start>, stack: u32, argument: *mut c_void) -> usize, else (usize::MAX) {
        let thread = spawn(stack as usize, start.ok_or(Code::INVALID_PARAMETER)?, argument, false, true)?;
        let handle = handle::open(Object::Thread(Arc::clone(&thread)))?;
        lock(&UNOWNED).retain(|(handle, thread)| match thread.code.load(SeqCst) {
            STILL_ACTIVE => true,
            _ => {
                handle::take(*handle, |_| true);
                false
            }
        });
        lock(&UNOWNED).push((handle, thread));
        Ok(handle)
    }

    /// `GetCurrentThreadId`.
    fn ovl_GetCurrentThreadId() -> DWORD {
        thread_local!(static TID: DWORD = {
            current(); // so that OpenThread finds it
            tid() as DWORD
        });
        TID.with(|tid| *tid)
    }

    /// `GetCurrentThread`.
    fn ovl_GetCurrentThread() -> isize {
        THIS_THREAD
    }

    /// `OpenThread`: of this process.
    fn ovl_OpenThread(_access: DWORD, _inherit: BOOL, id: DWORD) -> HANDLE, else (std::ptr::null_mut()) {
        let threads: Vec<_> = lock(&THREADS).iter().filter_map(Weak::upgrade).collect();
        let found = threads.into_iter().rev().find(|thread| thread.tid.load(SeqCst) as DWORD == id && id != 0);
        handle::give(Object::Thread(found.ok_or(Code::INVALID_PARAMETER)?))
    }

    /// `SetThreadAffinityMask`. Gives the one before.
    fn ovl_SetThreadAffinityMask(handle: HANDLE, mask: u64) -> u64, else (0) {
        let thread = of_handle(handle)?;
        if mask == 0 || mask & !process_mask()? != 0 {
            return Err(Code::INVALID_PARAMETER);
        }
        let tid = thread.tid.load(SeqCst);
        let before = affinity(tid)?;
        set_affinity(tid, mask)?;
        Ok(before)
    }

    /// `SetProcessAffinityMask`, of this one: of all its threads, and those that they will start.
    fn ovl_SetProcessAffinityMask(process: HANDLE, mask: u64) -> BOOL, else (FALSE) {
        if process as isize != THIS_PROCESS {
            return Err(Code::INVALID_HANDLE);
        }
        if mask == 0 || mask & !processors()? != 0 {
            return Err(Code::INVALID_PARAMETER);
        }
        let threads = std::fs::read_dir("/proc/self/task").map_err(|_| Code::ACCESS_DENIED)?;
        for thread in threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            let _ = set_affinity(thread, mask); // it may have ended
        }
        PROCESS_MASK.store(mask, SeqCst);
        Ok(TRUE)
    }

    /// `GetProcessAffinityMask`.
    fn ovl_GetProcessAffinityMask(process: HANDLE, own: *mut u64, system: *mut u64) -> BOOL, else (FALSE) {
        if process as isize != THIS_PROCESS {
            return Err(Code::INVALID_HANDLE);
        }
        if own.is_null() || system.is_null() {
            return Err(Code::NOACCESS);
        }
        // SAFETY: not null, so the caller's variables.
        unsafe {
            own.write(process_mask()?);
            system.write(processors()?);
        }
        Ok(TRUE)
    }

    /// `SetThreadIdealProcessor`: kept and given back. The system knows better.
    fn ovl_SetThreadIdealProcessor(handle: HANDLE, processor: DWORD) -> DWORD, else (DWORD::MAX) {
        let thread = of_handle(handle)?;
        match processor {
            MAXIMUM_PROCESSORS => Ok(thread.ideal.load(SeqCst)),
            ..MAXIMUM_PROCESSORS => Ok(thread.ideal.swap(processor, SeqCst)),
            _ => Err(Code::INVALID_PARAMETER),
        }
    }

    /// `GetThreadId`.
    fn ovl_GetThreadId(handle: HANDLE) -> DWORD, else (0) {
        Ok(of_handle(handle)?.tid.load(SeqCst) as DWORD)
    }

    /// `GetExitCodeThread`.
    fn ovl_GetExitCodeThread(handle: HANDLE, code: *mut DWORD) -> BOOL, else (FALSE) {
        let thread = of_handle(handle)?;
        if code.is_null() {
            return Err(Code::NOACCESS);
        }
        // SAFETY: not null, so the caller's variable.
        unsafe { code.write(thread.code.load(SeqCst)) };
        Ok(TRUE)
    }

    /// `ResumeThread`, of one that was created suspended and has not begun.
    fn ovl_ResumeThread(handle: HANDLE) -> DWORD, else (DWORD::MAX) {
        let thread = of_handle(handle)?;
        let mut suspended = lock(&thread.gate.suspended);
        let before = *suspended;
        *suspended = before.saturating_sub(1);
        drop(suspended);
        thread.gate.opened.notify_all();
        Ok(before)
    }

    /// `SuspendThread`: refused for a thread that has begun, which the system cannot stop safely.
    fn ovl_SuspendThread(handle: HANDLE) -> DWORD, else (DWORD::MAX) {
        let thread = of_handle(handle)?;
        let mut suspended = lock(&thread.gate.suspended);
        if *suspended == 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        *suspended += 1;
        Ok(*suspended - 1)
    }

    /// `TerminateThread`: refused. A thread that is stopped anywhere keeps its locks.
    fn ovl_TerminateThread(handle: HANDLE, _code: DWORD) -> BOOL, else (FALSE) {
        of_handle(handle)?;
        Err(Code::NOT_SUPPORTED)
    }

    /// `SetThreadPriority`: taken, and left to the system.
    fn ovl_SetThreadPriority(handle: HANDLE, _priority: i32) -> BOOL, else (FALSE) {
        of_handle(handle).map(|_| TRUE)
    }

    /// `GetThreadPriority`: normal.
    fn ovl_GetThreadPriority(handle: HANDLE) -> i32, else (i32::MAX) {
        of_handle(handle).map(|_| 0)
    }

    /// `SwitchToThread`.
    fn ovl_SwitchToThread() -> BOOL {
        std::thread::yield_now();
        TRUE
    }

    /// `QueueUserAPC`.
    fn ovl_QueueUserAPC(apc: Option<Apc>, handle: HANDLE, data: usize) -> DWORD, else (0) {
        let thread = of_handle(handle)?;
        let apc = apc.ok_or(Code::INVALID_PARAMETER)?;
        if thread.code.load(SeqCst) != STILL_ACTIVE {
            return Err(Code::GEN_FAILURE);
        }
        // SAFETY: the caller gave it for this.
        let queued = thread.raw.queue(Box::new(move || inside(|| unsafe { apc(data) })));
        if queued { Ok(1) } else { Err(Code::GEN_FAILURE) }
    }
}

/// Handles of `_beginthread`, which nobody closes.
static UNOWNED: Mutex<Vec<(usize, Arc<Thread>)>> = Mutex::new(Vec::new());
