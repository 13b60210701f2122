//! The process's pool of threads: work, and the ends of operations.
//!
//! It is a port of the library's own with threads at it. A thread more is started when work comes and all are at work, so that work which
//! waits for other work does not stop.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use overlapped::raw::Packet;

use crate::boundary::boundary;
use crate::cancel;
use crate::handle::lock;
use crate::overlapped::Overlapped;
use crate::port::Port;
use crate::status;
use crate::thread;
use crate::types::*;

/// `WT_EXECUTELONGFUNCTION` and the like make no difference.
type Work = unsafe extern "C" fn(*mut c_void) -> DWORD;
/// `LPOVERLAPPED_COMPLETION_ROUTINE`, on a thread of the pool.
type IoRoutine = unsafe extern "C" fn(DWORD, DWORD, *mut Overlapped);
/// `PTP_WIN32_IO_CALLBACK`.
type IoCallback = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, u32, usize, *mut PoolIo);
/// `PTP_SIMPLE_CALLBACK`.
type SimpleCallback = unsafe extern "C" fn(*mut c_void, *mut c_void);
/// `PTP_WORK_CALLBACK`.
type WorkCallback = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut PoolWork);

const MOST_THREADS: usize = 512;

struct Pool {
    port: Arc<Port>,
    threads: AtomicUsize,
    idle: AtomicUsize,
    /// Packets posted and not yet taken.
    posted: AtomicUsize,
}

static POOL: OnceLock<Pool> = OnceLock::new();

/// What a packet of the pool means: its key is the address of one of these, which lives as long as packets may come.
enum Meaning {
    /// The overlapped is a `Box<dyn FnOnce>` of ours.
    Work,
    /// `BindIoCompletionCallback`.
    Bound(IoRoutine),
    /// `CreateThreadpoolIo`.
    Io(*mut PoolIo),
}

// SAFETY: an address that is only handed back to its owner.
unsafe impl Send for Meaning {}
// SAFETY: as above.
unsafe impl Sync for Meaning {}

static WORK: Meaning = Meaning::Work;

/// `TP_IO`.
pub struct PoolIo {
    callback: IoCallback,
    context: *mut c_void,
    /// Operations that were announced and have not been called back.
    pending: Mutex<usize>,
    idle: Condvar,
    closed: AtomicBool,
}

/// `TP_WORK`.
pub struct PoolWork {
    callback: WorkCallback,
    context: *mut c_void,
    pending: Mutex<usize>,
    idle: Condvar,
    closed: AtomicBool,
}

pub(crate) type Job = Box<dyn FnOnce() + Send>;

fn pool() -> Outcome<&'static Pool> {
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let port = Port::new(0)?;
    let new = Pool { port, threads: AtomicUsize::new(0), idle: AtomicUsize::new(0), posted: AtomicUsize::new(0) };
    Ok(POOL.get_or_init(|| new))
}

/// Has something done by a thread of the pool.
pub(crate) fn submit(job: Job) -> Outcome<()> {
    pool()?.submit(job);
    Ok(())
}

impl Pool {
    /// Work has come, or is to: somebody must be there.
    fn staff(&'static self) {
        let busy = self.idle.load(SeqCst) <= self.posted.load(SeqCst);
        if busy && self.threads.load(SeqCst) < MOST_THREADS {
            self.threads.fetch_add(1, SeqCst);
            let started = std::thread::Builder::new().name("overlapped pool".into()).spawn(|| self.serve());
            if started.is_err() {
                self.threads.fetch_sub(1, SeqCst);
            }
        }
    }

    fn submit(&'static self, job: Job) {
        let job = Box::into_raw(Box::new(job));
        let key = &raw const WORK as usize;
        self.staff();
        self.posted.fetch_add(1, SeqCst);
        self.port.post(Packet { key, overlapped: job as usize, bytes: 0, status: status::SUCCESS });
    }

    fn serve(&'static self) {
        loop {
            self.idle.fetch_add(1, SeqCst);
            let packet = self.port.raw.dequeue(None);
            self.idle.fetch_sub(1, SeqCst);
            let Ok(packet) = packet else { continue };
            // SAFETY: every key of this port is the address of a meaning that lives.
            match unsafe { &*(packet.key as *const Meaning) } {
                Meaning::Work => {
                    self.posted.fetch_sub(1, SeqCst);
                    // SAFETY: `submit` made it, and a packet is taken once.
                    let job = unsafe { Box::from_raw(packet.overlapped as *mut Job) };
                    thread::inside(job);
                }
                Meaning::Bound(routine) => {
                    self.staff();
                    let code = code_of(packet.status);
                    // SAFETY: the program gave it for this.
                    thread::inside(|| unsafe { routine(code, packet.bytes, packet.overlapped as *mut Overlapped) });
                }
                Meaning::Io(io) => {
                    self.staff();
                    let (io, overlapped) = (*io, packet.overlapped as *mut c_void);
                    // SAFETY: it lives until it is closed and nothing of it is pending.
                    unsafe {
                        ((*io).callback)(
                            std::ptr::null_mut(),
                            (*io).context,
                            overlapped,
                            code_of(packet.status),
                            packet.bytes as usize,
                            io,
                        );
                        (*io).landed();
                    }
                }
            }
        }
    }
}

fn code_of(status: DWORD) -> DWORD {
    if status::is_success(status) { 0 } else { status::win32(status).0 }
}

impl PoolIo {
    fn landed(&self) {
        let mut pending = lock(&self.pending);
        *pending = pending.saturating_sub(1);
        self.idle.notify_all();
    }
}

/// Waits until nothing is pending.
fn wait_for(pending: &Mutex<usize>, idle: &Condvar) {
    let mut pending = lock(pending);
    while *pending > 0 {
        pending = idle.wait(pending).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

/// An address that goes to another thread.
struct Sent<T>(*mut T);

// SAFETY: the program gave it for that.
unsafe impl<T> Send for Sent<T> {}

impl<T> Sent<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

boundary! {
    /// `QueueUserWorkItem`.
    fn ovl_QueueUserWorkItem(work: Option<Work>, context: *mut c_void, _flags: DWORD) -> BOOL, else (FALSE) {
        let work = work.ok_or(Code::INVALID_PARAMETER)?;
        let context = Sent(context);
        // SAFETY: the program gave it for this.
        pool()?.submit(Box::new(move || _ = unsafe { work(context.get()) }));
        Ok(TRUE)
    }

    /// `BindIoCompletionCallback`.
    fn ovl_BindIoCompletionCallback(handle: HANDLE, routine: Option<IoRoutine>, _flags: DWORD) -> BOOL, else (FALSE) {
        let routine = routine.ok_or(Code::INVALID_PARAMETER)?;
        let file = cancel::file(handle)?;
        let pool = pool()?;
        pool.staff();
        // A handle is bound for life, so what its packets mean lives as long as the process.
        let meaning = Box::leak(Box::new(Meaning::Bound(routine)));
        let bound = file.associate(&pool.port, std::ptr::from_mut(meaning) as usize);
        if bound.is_err() {
            // SAFETY: nobody has got it.
            drop(unsafe { Box::from_raw(meaning) });
        }
        bound.map(|()| TRUE)
    }

    /// `CreateThreadpoolIo`, in the process's pool.
    fn ovl_CreateThreadpoolIo(handle: HANDLE, callback: Option<IoCallback>, context: *mut c_void, _environment: *const u8) -> *mut PoolIo, else (std::ptr::null_mut()) {
        let callback = callback.ok_or(Code::INVALID_PARAMETER)?;
        let file = cancel::file(handle)?;
        let pool = pool()?;
        pool.staff();
        let io = PoolIo { callback, context, pending: Mutex::new(0), idle: Condvar::new(), closed: AtomicBool::new(false) };
        let io = Box::into_raw(Box::new(io));
        let meaning = Box::leak(Box::new(Meaning::Io(io)));
        if let Err(code) = file.associate(&pool.port, std::ptr::from_mut(meaning) as usize) {
            // SAFETY: nobody has got them.
            unsafe { drop((Box::from_raw(meaning), Box::from_raw(io))) };
            return Err(code);
        }
        Ok(io)
    }

    /// `StartThreadpoolIo`: before each operation.
    fn ovl_StartThreadpoolIo(io: *mut PoolIo) {
        // SAFETY: null, or made by CreateThreadpoolIo.
        if let Some(io) = unsafe { io.as_ref() } {
            *lock(&io.pending) += 1;
        }
    }

    /// `CancelThreadpoolIo`: the operation failed at once.
    fn ovl_CancelThreadpoolIo(io: *mut PoolIo) {
        // SAFETY: null, or made by CreateThreadpoolIo.
        if let Some(io) = unsafe { io.as_ref() } {
            io.landed();
        }
    }

    /// `WaitForThreadpoolIoCallbacks`. Callbacks that have not begun are waited for as well.
    fn ovl_WaitForThreadpoolIoCallbacks(io: *mut PoolIo, _cancel: BOOL) {
        // SAFETY: null, or made by CreateThreadpoolIo.
        if let Some(io) = unsafe { io.as_ref() } {
            wait_for(&io.pending, &io.idle);
        }
    }

    /// `CloseThreadpoolIo`. What it takes is kept, for a packet may still come.
    fn ovl_CloseThreadpoolIo(io: *mut PoolIo) {
        // SAFETY: null, or made by CreateThreadpoolIo.
        if let Some(io) = unsafe { io.as_ref() } {
            io.closed.store(true, SeqCst);
        }
    }

    /// `TrySubmitThreadpoolCallback`.
    fn ovl_TrySubmitThreadpoolCallback(callback: Option<SimpleCallback>, context: *mut c_void, _environment: *const u8) -> BOOL, else (FALSE) {
        let callback = callback.ok_or(Code::INVALID_PARAMETER)?;
        let context = Sent(context);
        // SAFETY: the program gave it for this.
        pool()?.submit(Box::new(move || unsafe { callback(std::ptr::null_mut(), context.get()) }));
        Ok(TRUE)
    }

    /// `CreateThreadpoolWork`.
    fn ovl_CreateThreadpoolWork(callback: Option<WorkCallback>, context: *mut c_void, _environment: *const u8) -> *mut PoolWork, else (std::ptr::null_mut()) {
        let callback = callback.ok_or(Code::INVALID_PARAMETER)?;
        let work = PoolWork { callback, context, pending: Mutex::new(0), idle: Condvar::new(), closed: AtomicBool::new(false) };
        Ok(Box::into_raw(Box::new(work)))
    }

    /// `SubmitThreadpoolWork`.
    fn ovl_SubmitThreadpoolWork(work: *mut PoolWork) {
        // SAFETY: null, or made by CreateThreadpoolWork.
        let (Some(of), Ok(pool)) = (unsafe { work.as_ref() }, pool()) else { return };
        *lock(&of.pending) += 1;
        let work = Sent(work);
        pool.submit(Box::new(move || {
            // SAFETY: it lives until it is closed and nothing of it is pending.
            let of = unsafe { &*work.get() };
            // SAFETY: the program gave it for this.
            unsafe { (of.callback)(std::ptr::null_mut(), of.context, work.get()) };
            let mut pending = lock(&of.pending);
            *pending -= 1;
            let last = *pending == 0 && of.closed.load(SeqCst);
            of.idle.notify_all();
            drop(pending);
            if last {
                // SAFETY: made by CreateThreadpoolWork, closed, and this was its last use.
                drop(unsafe { Box::from_raw(work.get()) });
            }
        }));
    }

    /// `WaitForThreadpoolWorkCallbacks`. Callbacks that have not begun are waited for as well.
    fn ovl_WaitForThreadpoolWorkCallbacks(work: *mut PoolWork, _cancel: BOOL) {
        // SAFETY: null, or made by CreateThreadpoolWork.
        if let Some(of) = unsafe { work.as_ref() } {
            wait_for(&of.pending, &of.idle);
        }
    }

    /// `CloseThreadpoolWork`: now, or when the last callback is over.
    fn ovl_CloseThreadpoolWork(work: *mut PoolWork) {
        // SAFETY: null, or made by CreateThreadpoolWork.
        let Some(of) = (unsafe { work.as_ref() }) else { return };
        let pending = lock(&of.pending);
        of.closed.store(true, SeqCst);
        let idle = *pending == 0;
        drop(pending);
        if idle {
            // SAFETY: made by CreateThreadpoolWork, and nothing of it is pending.
            drop(unsafe { Box::from_raw(work) });
        }
    }
}
