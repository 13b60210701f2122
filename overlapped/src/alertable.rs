//! Alertable waits, in which a thread runs the completion routines and asynchronous procedure calls (APCs) that are queued to it.
//!
//! A routine interrupts nobody: it waits until its thread says that it is ready for it, by waiting alertably. One such wait runs all
//! that is queued, first in, first out, and returns. The loop of a server is one line.
//!
//! ```
//! use overlapped::net::{TcpListener, TcpStream};
//! use overlapped::{Buffer, alertable};
//! use std::{cell::Cell, rc::Rc};
//!
//! fn echo(conn: TcpStream) -> overlapped::Result<()> {
//!     conn.recv(Buffer::with_capacity(4096)).then(|done| match done.result {
//!         Ok(0) | Err(_) => {} // the last owner is dropped: closed
//!         Ok(_) => drop(done.conn.send(done.buffer).then(|done| drop(echo(done.conn)))),
//!     })?;
//!     Ok(())
//! }
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let client = std::net::TcpStream::connect(listener.local_addr()?)?;
//! let accepted = Rc::new(Cell::new(false)); // routines stay on their thread: no lock, no Arc
//! let flag = Rc::clone(&accepted);
//! listener.accept().then(move |done| {
//!     flag.set(true);
//!     echo(done.result.unwrap()).unwrap();
//! })?;
//! while !accepted.get() {
//!     alertable::sleep(alertable::FOREVER);
//! }
//! # drop(client);
//! # overlapped::Result::Ok(())
//! ```
//!
//! Win32: [Asynchronous Procedure Calls](https://learn.microsoft.com/en-us/windows/win32/sync/asynchronous-procedure-calls),
//! [Alertable I/O](https://learn.microsoft.com/en-us/windows/win32/fileio/alertable-i-o).

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use crate::event::{self, Event};
use crate::sys;
use crate::{Error, Result};

pub use crate::sys::Waited;

/// No time limit: Win32's `INFINITE`.
pub const FOREVER: Option<Duration> = None;

/// Why a [`sleep`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Time is up; nothing ran. Win32: 0.
    TimeUp,
    /// Routines or APCs ran. Win32: `WAIT_IO_COMPLETION`.
    Routines,
}

/// Sleeps until routines or APCs have run, or `timeout` is over. All that are queued run. `Duration::ZERO` runs what is there.
///
/// The thread sleeps in its own ring, in which the operations of its routines are: what ends wakes it directly.
///
/// Win32: [`SleepEx`](https://learn.microsoft.com/en-us/windows/win32/api/synchapi/nf-synchapi-sleepex) with `bAlertable`.
///
/// # Panics
/// A panic of a routine goes through here. What was queued behind it stays queued.
pub fn sleep(timeout: impl Into<Option<Duration>>) -> Woken {
    if sys::thread::sleep(timeout.into()) { Woken::Routines } else { Woken::TimeUp }
}

/// As [`event::wait_any`], alertably: if routines or APCs run, the wait ends with [`Waited::Routines`] and no event is consumed. If an
/// event is set already, it is returned and nothing runs.
///
/// Win32: `WaitForMultipleObjectsEx`, `WSAWaitForMultipleEvents` with `fAlertable`.
///
/// # Errors
/// As [`event::wait_any`].
pub fn wait_any(events: &[&Event], timeout: impl Into<Option<Duration>>) -> Result<Waited> {
    event::wait_for(events, false, timeout.into(), true)
}

/// As [`event::wait_all`], alertably. When all are set: [`Waited::Signalled`]`(0)`.
///
/// Win32: `WaitForMultipleObjectsEx` with `bWaitAll`.
///
/// # Errors
/// As [`event::wait_all`].
pub fn wait_all(events: &[&Event], timeout: impl Into<Option<Duration>>) -> Result<Waited> {
    event::wait_for(events, true, timeout.into(), true)
}

/// A thread to which APCs can be queued. A clone names the same thread.
#[derive(Clone)]
pub struct Thread(sys::thread::Thread);

/// The calling thread.
///
/// Win32: `GetCurrentThread`, duplicated into a handle that means the same thread everywhere.
pub fn current() -> Thread {
    Thread(sys::thread::Thread::current())
}

/// Queues `apc` to `thread`, which runs it in its next alertable wait, or in the one that it is in. If the thread ends before, the APC is
/// dropped.
///
/// Win32: [`QueueUserAPC`](https://learn.microsoft.com/en-us/windows/win32/api/processthreadsapi/nf-processthreadsapi-queueuserapc).
///
/// # Errors
/// [`Error::GEN_FAILURE`] if the thread has ended; the APC is dropped.
pub fn queue_apc(thread: &Thread, apc: impl FnOnce() + Send + 'static) -> Result<()> {
    if thread.0.queue(Box::new(apc)) { Ok(()) } else { Err(Error::GEN_FAILURE) }
}

/// A thread that was started with [`spawn`].
#[derive(Debug)]
pub struct JoinHandle<T> {
    handle: thread::JoinHandle<T>,
    thread: Thread,
}

impl<T> JoinHandle<T> {
    /// The thread, to queue APCs to.
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Waits for its end. As [`std::thread::JoinHandle::join`].
    ///
    /// # Errors
    /// The panic with which it ended.
    pub fn join(self) -> thread::Result<T> {
        self.handle.join()
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

/// Starts a thread. APCs that are queued to it before it runs are called before `function` is.
///
/// Win32: `CreateThread`.
///
/// # Errors
/// What the system says when it cannot have another thread.
pub fn spawn<F, T>(function: F) -> Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_from(thread::Builder::new(), function)
}

/// As [`spawn`], with a name and a stack size (in bytes) of the program's own.
///
/// Win32: the `dwStackSize` of `CreateThread`, and
/// [`SetThreadDescription`](https://learn.microsoft.com/en-us/windows/win32/api/processthreadsapi/nf-processthreadsapi-setthreaddescription).
///
/// # Errors
/// Those of [`spawn`].
///
/// ```
/// use std::thread;
/// use overlapped::alertable;
///
/// let builder = thread::Builder::new().name("echo".into()).stack_size(256 * 1024);
/// let thread = alertable::spawn_from(builder, || thread::current().name().map(str::to_owned))?;
/// assert_eq!(thread.join().unwrap().as_deref(), Some("echo"));
/// # Ok::<(), overlapped::Error>(())
/// ```
pub fn spawn_from<F, T>(builder: thread::Builder, function: F) -> Result<JoinHandle<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let thread = sys::thread::Thread::unborn();
    let being = thread.clone();
    let handle = builder.spawn(move || {
        being.become_this();
        sys::thread::sleep(Some(Duration::ZERO));
        function()
    })?;
    Ok(JoinHandle { handle, thread: Thread(thread) })
}

/// Runs a future to its end on this thread. Operations that it awaits run in this thread's own ring, and where it would wait, the
/// thread waits alertably in that ring: nobody else takes part.
///
/// For many tasks give it the future of an executor that lives on one thread, say `smol::LocalExecutor::run`. A future that waits for
/// something else may be woken from any thread. An [`Operation`](crate::Operation) may be given as it is.
///
/// An operation that was started in this ring ends when this thread waits in the library, or has left `block_on`: a future that is sent to another
/// thread does not end while this one sleeps in something else, a lock or a channel say, *inside* `block_on`.
///
/// # Panics
/// If called from within itself, and with the panic of a routine.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    let here = sys::thread::Blocking::begin();
    let waker = here.waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        here.wait();
    }
}

/// Hands to the kernel what this thread has started with routines and not yet handed over.
///
/// Operations go to the kernel in batches, with the next wait of the library. A thread that starts an operation and then computes for
/// long calls this in between.
pub fn flush() {
    sys::thread::flush();
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread").field("ended", &self.0.has_ended()).finish()
    }
}
