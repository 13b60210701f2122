//! Where the end of an operation lies until somebody asks for it: a future's or a pending operation's.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::Waker;

use super::{Ended, Event, Handle, OperationId};
use crate::sys::lock::Lock;

pub(crate) struct Cell {
    state: Lock<State>,
    /// The operation has ended; its end may have been taken. Written under the lock.
    done: AtomicBool,
    /// Nobody will ask. Written under the lock.
    abandoned: AtomicBool,
    /// What the program wants to be set.
    event: Option<Event>,
    /// Set at the end, for those who wait for this very operation.
    ended: Option<Event>,
}

#[derive(Default)]
struct State {
    end: Option<Ended>,
    waker: Option<Waker>,
}

impl Cell {
    /// For somebody who polls.
    pub(crate) fn new(waker: Option<Waker>) -> Arc<Self> {
        let state = State { waker, ..State::default() };
        Self::of(state, None, None)
    }

    /// For somebody who waits, and wants an event to be set.
    pub(crate) fn with_event(event: Event) -> Arc<Self> {
        Self::of(State::default(), Some(event), Some(Event::new(true)))
    }

    fn of(state: State, event: Option<Event>, ended: Option<Event>) -> Arc<Self> {
        let (done, abandoned) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { state: Lock::new(state), done, abandoned, event, ended })
    }

    /// The operation has ended. The order is that of Windows: first the outcome, then the event.
    pub(crate) fn deliver(&self, ended: Ended) {
        let mut state = self.state.lock();
        self.done.store(true, Release);
        if self.is_abandoned() {
            drop(state);
            Handle::take_back(ended);
            return;
        }
        state.end = Some(ended);
        let waker = state.waker.take();
        drop(state);
        // The program's event first: who has waited for the operation may use that for the next one.
        for event in self.event.iter().chain(&self.ended) {
            event.set();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether nobody will ask.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Acquire)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Acquire)
    }

    /// Set when it has ended.
    pub(crate) fn ended(&self) -> &Event {
        self.ended.as_ref().expect("only who has asked for an event waits")
    }

    /// Takes the end, if it is there; otherwise `waker` will be called when it is.
    pub(crate) fn take(&self, waker: Option<&Waker>) -> Option<Ended> {
        let mut state = self.state.lock();
        let end = state.end.take();
        if end.is_none()
            && let Some(waker) = waker
            && !state.waker.as_ref().is_some_and(|old| old.will_wake(waker))
        {
            state.waker = Some(waker.clone());
        }
        end
    }

    /// Nobody wants the end any more: cancels the operation, and sees to it that nothing that it brought is lost.
    pub(crate) fn abandon(&self, handle: &Arc<Handle>, id: OperationId) {
        let mut state = self.state.lock();
        self.abandoned.store(true, Release);
        let (done, end, waker) = (self.is_done(), state.end.take(), state.waker.take());
        drop(state);
        drop(waker);
        match end {
            Some(end) => Handle::take_back(end),
            None if done => {} // taken
            None => handle.abandon(id),
        }
    }
}
