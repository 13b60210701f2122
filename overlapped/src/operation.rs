//! An operation of a free handle, and the three ways to hear of its end: a routine, an event, a future.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::done::Done;
use crate::event::{self, Event};
use crate::sys::{self, Cell, OperationId, Request, Way};
use crate::{Error, Result};

/// An operation that has not started. It starts when it is told how its end is to be announced:
/// [`then`](Self::then) (a completion routine), [`signal`](Self::signal) (an event), or `.await`.
///
/// It comes from the methods of a handle without a port: [`TcpStream::recv`](crate::net::TcpStream::recv) and its like. An operation
/// in flight owns its handle and its buffer; both come back at its end.
#[must_use = "an operation starts with `then`, `signal` or `await`"]
pub struct Operation<T> {
    handle: Arc<sys::Handle>,
    operation: sys::Operation,
    timeout: Option<Duration>,
    ends_as: PhantomData<fn() -> T>,
}

impl<T: Done> Operation<T> {
    pub(crate) fn new(handle: &Arc<sys::Handle>, operation: sys::Operation) -> Self {
        Self { handle: Arc::clone(handle), operation, timeout: None, ends_as: PhantomData }
    }

    /// Sets a time limit. An operation that has not ended after `timeout` is cancelled and ends with [`Error::SEM_TIMEOUT`],
    /// never early; data that arrived first wins.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Starts it, and calls `routine` at its end: on this thread, inside one of its [alertable](crate::alertable) waits, never before.
    ///
    /// The routine may start operations, queue APCs, wait alertably itself, and drop its own handle. If the thread exits first, the
    /// operation is cancelled and the routine dropped without having run.
    ///
    /// Win32: the completion routine of `WSARecv`, `WSASend`, `ReadFileEx`, `WriteFileEx`; see
    /// [Alertable I/O](https://learn.microsoft.com/en-us/windows/win32/fileio/alertable-i-o).
    ///
    /// # Errors
    /// Those of [`CompletionPort::new`](crate::CompletionPort::new), with a thread's first routine: it gets a ring of its own then.
    /// The operation is dropped, and `routine` with it. All that concerns the operation itself comes with its end.
    pub fn then(self, routine: impl FnOnce(T) + 'static) -> Result<OperationId> {
        let way = sys::thread::routine(move |ended| routine(T::new(ended)))?;
        sys::Handle::start(Request::new(self.handle, self.operation, way), self.timeout).map_err(|(error, _)| error)
    }

    /// Starts it; `event` is reset now, and set when it has ended.
    ///
    /// Win32: the `hEvent` of an `OVERLAPPED`; see
    /// [Synchronization and Overlapped Input and Output](https://learn.microsoft.com/en-us/windows/win32/sync/synchronization-and-overlapped-input-and-output).
    ///
    /// # Errors
    /// Those of [`CompletionPort::new`](crate::CompletionPort::new), with the first such operation of the process.
    pub fn signal(self, event: &Event) -> Result<Pending<T>> {
        event.reset();
        let cell = Cell::with_event(event.0.clone());
        let way = sys::thread::reaped(&cell)?;
        let Self { handle, operation, timeout, .. } = self;
        let request = Request::new(Arc::clone(&handle), operation, way);
        let id = sys::Handle::start(request, timeout).map_err(|(error, _)| error)?;
        Ok(Pending { handle, cell, id, taken: false, ends_as: PhantomData })
    }
}

impl<T: Done> IntoFuture for Operation<T> {
    type Output = T;
    type IntoFuture = Completion<T>;

    fn into_future(self) -> Completion<T> {
        Completion { state: State::Idle(self) }
    }
}

impl<T> fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Operation").field(&self.operation).finish()
    }
}

/// The end of an operation, to be awaited. It starts at the first poll.
///
/// It works under any executor. Under [`alertable::block_on`](crate::alertable::block_on) operations run in the thread's own ring, which is
/// the fastest; elsewhere a thread of the library hears of their ends.
///
/// **Dropping it cancels the operation, and nothing that arrived is lost**: bytes that the operation had taken, or takes before the
/// cancel reaches it, go to the next receive of the handle, in order, a datagram likewise, and an accepted connection to the next accept.
/// A *send* that is dropped may have left in part or whole, and a file write too. To learn how far one got, use [`cancel`](Self::cancel) and
/// await it: the buffer comes back with the count.
#[must_use = "futures do nothing unless polled"]
pub struct Completion<T> {
    state: State<T>,
}

enum State<T> {
    Idle(Operation<T>),
    Started { handle: Arc<sys::Handle>, cell: Arc<Cell>, id: OperationId },
    Finished,
}

impl<T: Done> Completion<T> {
    /// Asks for the operation to be cancelled. Await it afterwards for its end: [`Error::OPERATION_ABORTED`] or, if that came first,
    /// the normal one, with the data.
    ///
    /// Win32: [`CancelIoEx`](https://learn.microsoft.com/en-us/windows/win32/fileio/cancelioex-func).
    pub fn cancel(&mut self) {
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Started { handle, cell, id } => {
                let _ = handle.cancel(Some(id)); // not found: it has ended
                self.state = State::Started { handle, cell, id };
            }
            State::Idle(Operation { handle, operation, .. }) => {
                self.end(Request::new(handle, operation, Way::Port), Error::OPERATION_ABORTED)
            }
            State::Finished => {}
        }
    }

    /// It ends without having started.
    fn end(&mut self, request: Box<Request>, error: Error) {
        let (handle, cell) = (Arc::clone(&request.handle), Cell::new(None));
        cell.deliver(request.end(Err(error)));
        self.state = State::Started { handle, cell, id: OperationId::NONE };
    }
}

impl<T: Done> Future for Completion<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let State::Idle(_) = self.state
            && let State::Idle(operation) = std::mem::replace(&mut self.state, State::Finished)
        {
            let cell = Cell::new(Some(context.waker().clone()));
            let Operation { handle, operation, timeout, .. } = operation;
            let started = match sys::thread::polled(&cell) {
                Ok(way) => sys::Handle::start(Request::new(Arc::clone(&handle), operation, way), timeout),
                Err(error) => Err((error, Request::new(Arc::clone(&handle), operation, Way::Port))),
            };
            match started {
                Ok(id) => {
                    let ended = cell.is_done();
                    self.state = State::Started { handle, cell, id };
                    if !ended {
                        return Poll::Pending; // it has the waker
                    }
                }
                Err((error, request)) => self.end(request, error),
            }
        }
        let State::Started { cell, .. } = &self.state else { panic!("a completion was polled after its end") };
        match cell.take(Some(context.waker())) {
            Some(ended) => {
                self.state = State::Finished;
                Poll::Ready(T::new(ended))
            }
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        if let State::Started { handle, cell, id } = &self.state {
            cell.abandon(handle, *id);
        }
    }
}

impl<T> Unpin for Completion<T> {}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Idle(_) => "idle",
            State::Started { .. } => "started",
            State::Finished => "finished",
        };
        f.debug_tuple("Completion").field(&state).finish()
    }
}

/// An operation in flight whose end sets an event. Made by [`Operation::signal`].
///
/// The end itself is asked for here. Dropping it cancels the operation; what a [`Completion`] promises then holds here too.
#[must_use = "dropping it cancels the operation"]
pub struct Pending<T> {
    handle: Arc<sys::Handle>,
    cell: Arc<Cell>,
    id: OperationId,
    /// Its end has been handed out.
    taken: bool,
    ends_as: PhantomData<fn() -> T>,
}

impl<T: Done> Pending<T> {
    /// Names the operation.
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// Whether it has ended.
    ///
    /// Win32: `HasOverlappedIoCompleted`.
    pub fn is_done(&self) -> bool {
        self.cell.is_done()
    }

    /// Its end, if it is there.
    ///
    /// Win32: [`GetOverlappedResult`](https://learn.microsoft.com/en-us/windows/win32/api/ioapiset/nf-ioapiset-getoverlappedresult) without a
    /// wait.
    ///
    /// # Errors
    /// [`Error::IO_INCOMPLETE`] if it has not ended; [`Error::INVALID_PARAMETER`] if the end was taken before.
    pub fn try_result(&mut self) -> Result<T> {
        match self.cell.take(None) {
            Some(ended) => {
                self.taken = true;
                Ok(T::new(ended))
            }
            None if self.taken => Err(Error::INVALID_PARAMETER),
            None => Err(Error::IO_INCOMPLETE),
        }
    }

    /// Waits for its end. It waits for the operation, not for the event, so nobody else's wait can take it away.
    ///
    /// Win32: `GetOverlappedResult` with a wait.
    ///
    /// # Panics
    /// If the end was taken before.
    pub fn wait(mut self) -> T {
        self.wait_in(None, false).expect("a wait without a limit ends with the operation, and its end is there once")
    }

    /// Waits for its end, at most `timeout`.
    ///
    /// Win32: [`GetOverlappedResultEx`](https://learn.microsoft.com/en-us/windows/win32/api/ioapiset/nf-ioapiset-getoverlappedresultex).
    ///
    /// # Errors
    /// [`Error::WAIT_TIMEOUT`] if it has not ended by then, [`Error::IO_INCOMPLETE`] if `timeout` is zero.
    pub fn wait_for(&mut self, timeout: Duration) -> Result<T> {
        self.wait_in(Some(timeout), false)
    }

    /// Waits for its end in an alertable wait: routines and APCs of this thread run meanwhile, and end the wait.
    ///
    /// Win32: `GetOverlappedResultEx` with `bAlertable`.
    ///
    /// # Errors
    /// As [`wait_for`](Self::wait_for); [`Error::WAIT_IO_COMPLETION`] after routines or APCs ran.
    pub fn wait_alertable(&mut self, timeout: impl Into<Option<Duration>>) -> Result<T> {
        self.wait_in(timeout.into(), true)
    }

    fn wait_in(&mut self, timeout: Option<Duration>, alertable: bool) -> Result<T> {
        if timeout != Some(Duration::ZERO) && !self.is_done() {
            match event::wait(&[self.cell.ended()], false, timeout, alertable)? {
                event::Waited::Signalled(_) => {}
                event::Waited::Routines => return Err(Error::WAIT_IO_COMPLETION),
            }
        }
        self.try_result()
    }

    /// Asks for it to be cancelled. It ends with [`Error::OPERATION_ABORTED`], or normally if that came first; this call does not wait.
    ///
    /// # Errors
    /// [`Error::NOT_FOUND`] if it has ended.
    pub fn cancel(&self) -> Result<()> {
        self.handle.cancel(Some(self.id))
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.cell.abandon(&self.handle, self.id);
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("id", &self.id).field("done", &self.cell.is_done()).finish()
    }
}
