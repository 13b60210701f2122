//! Operations of files, where the kernel does not do them by itself: a few threads of the process, started as they are needed.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, PoisonError};
use std::thread;
use std::time::Duration;

use super::Token;
use super::readiness::{Event, Shared, result_of};
use crate::sync::Mutex;
use crate::sys::unix::request::MOST_BYTES;
use crate::sys::{Operation, Request};

/// The most threads. They wait for a disk, not for a processor.
const THREADS: usize = 4;
/// After so long with nothing to do a thread ends.
const PATIENCE: Duration = Duration::from_millis(200);

/// An operation, and who is to hear of its end.
pub(super) struct Job {
    engine: Arc<Shared>,
    token: Token,
    fd: RawFd,
    task: Task,
}

/// What is to be done. Pointers are to memory of the request.
#[derive(Clone, Copy)]
enum Task {
    Read {
        start: *mut u8,
        len: usize,
        offset: u64,
    },
    /// `None`: at the end.
    Write {
        start: *const u8,
        len: usize,
        offset: Option<u64>,
    },
    Sync {
        data_only: bool,
    },
}

// SAFETY: what a task points to is owned by its request, which stays where it is until the completion has been reaped, and which may
// itself go to other threads.
unsafe impl Send for Task {}

impl Job {
    pub(super) fn new(engine: &Arc<Shared>, token: Token, fd: RawFd, request: &mut Request) -> Self {
        let moved = request.moved;
        let task = match &mut request.operation {
            Operation::ReadAt { buffer, offset } => {
                let (start, len) = buffer.0.room();
                Task::Read { start, len: len.min(MOST_BYTES), offset: *offset }
            }
            Operation::WriteAt { buffer, offset } => {
                let (start, len) = buffer.0.filled(moved);
                // All ones means: append.
                let offset = (*offset != u64::MAX).then(|| *offset + moved as u64);
                Task::Write { start, len: len.min(MOST_BYTES), offset }
            }
            Operation::Sync { data_only } => Task::Sync { data_only: *data_only },
            _ => unreachable!("a socket's"),
        };
        Self { engine: Arc::clone(engine), token, fd, task }
    }
}

struct State {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static STATE: Mutex<State> = Mutex::new(State { waiting: VecDeque::new(), threads: 0, idle: 0 });
static MORE: Condvar = Condvar::new();

pub(super) fn submit(job: Job) {
    let mut state = STATE.lock();
    state.waiting.push_back(job);
    if state.idle >= state.waiting.len() || state.threads == THREADS {
        drop(state);
        MORE.notify_one();
        return;
    }
    state.threads += 1;
    let spawned = thread::Builder::new().name("overlapped files".into()).stack_size(128 * 1024).spawn(run);
    if spawned.is_err() {
        state.threads -= 1;
        if state.threads == 0 {
            // Nobody is there to do it.
            let job = state.waiting.pop_back();
            drop(state);
            job.into_iter().for_each(|job| job.engine.put(Event::Ended(job.token, -libc::EAGAIN)));
        }
    }
}

/// Takes back an operation that nobody has begun.
pub(super) fn withdraw(engine: &Arc<Shared>, token: Token) -> bool {
    let waiting = &mut STATE.lock().waiting;
    let at = waiting.iter().position(|job| job.token == token && Arc::ptr_eq(&job.engine, engine));
    at.is_some_and(|at| waiting.remove(at).is_some())
}

/// Takes back all operations of an engine that nobody has begun.
pub(super) fn withdraw_all(engine: &Arc<Shared>) -> Vec<Token> {
    let mut withdrawn = Vec::new();
    STATE.lock().waiting.retain(|job| {
        let its = Arc::ptr_eq(&job.engine, engine);
        if its {
            withdrawn.push(job.token);
        }
        !its
    });
    withdrawn
}

fn run() {
    let mut state = STATE.lock();
    loop {
        while let Some(Job { engine, token, fd, task }) = state.waiting.pop_front() {
            drop(state);
            let result = execute(fd, task);
            engine.put(Event::Ended(token, result));
            drop(engine);
            state = STATE.lock();
        }
        state.idle += 1;
        let (still, waited) = MORE.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner);
        state = still;
        state.idle -= 1;
        if waited.timed_out() && state.waiting.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

/// Does it. The result is a count, or a negative errno.
fn execute(fd: RawFd, task: Task) -> i32 {
    let result = match task {
        // SAFETY: the memory is the request's, which is in its owner's hands until the end has been told and reaped.
        Task::Read { start, len, offset } => unsafe { libc::pread(fd, start.cast(), len, offset as libc::off_t) },
        // SAFETY: as above.
        Task::Write { start, len, offset: Some(offset) } => unsafe {
            libc::pwrite(fd, start.cast(), len, offset as libc::off_t)
        },
        Task::Write { start, len, offset: None } => append(fd, start, len),
        // SAFETY: no memory is handed over.
        Task::Sync { data_only } => unsafe {
            #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
            let result = if data_only { libc::fdatasync(fd) } else { libc::fsync(fd) };
            #[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd")))]
            let result = (data_only, libc::fsync(fd)).1;
            result as isize
        },
    };
    result_of(result)
}

#[cfg(target_os = "linux")]
fn append(fd: RawFd, start: *const u8, len: usize) -> isize {
    let vector = libc::iovec { iov_base: start.cast_mut().cast(), iov_len: len };
    // SAFETY: one vector, on this stack, over memory of the request.
    unsafe { libc::pwritev2(fd, &raw const vector, 1, 0, libc::RWF_APPEND) }
}

/// Not in one step, as on Linux: two that append at once may meet.
#[cfg(not(target_os = "linux"))]
fn append(fd: RawFd, start: *const u8, len: usize) -> isize {
    // SAFETY: the memory is the request's; the offset of the descriptor is used for nothing else.
    unsafe {
        match libc::lseek(fd, 0, libc::SEEK_END) {
            -1 => -1,
            end => libc::pwrite(fd, start.cast(), len, end),
        }
    }
}
