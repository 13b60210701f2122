//! Where the end of an operation lies until somebody asks for it: a future's or a pending operation's.

use std::sync::Arc;
use std::task::Waker;

use super::{Ended, Event, Handle, OperationId};
use crate::sync::Mutex;

pub(crate) struct Cell {
    state: Mutex<State>,
    /// What the program wants to be set.
    event: Option<Event>,
    /// Set at the end, for those who wait for this very operation.
    ended: Option<Event>,
}

#[derive(Default)]
struct State {
    end: Option<Ended>,
    done: bool,
    waker: Option<Waker>,
    /// Nobody will ask.
    abandoned: bool,
}

impl Cell {
    /// For somebody who polls.
    pub(crate) fn new(waker: Option<Waker>) -> Arc<Self> {
        let state = State { waker, ..State::default() };
        Arc::new(Self { state: Mutex::new(state), event: None, ended: None })
    }

    /// For somebody who waits, and wants an event to be set.
    pub(crate) fn with_event(event: Event) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), event: Some(event), ended: Some(Event::new(true)) })
    }

    /// The operation has ended. The order is that of Windows: first the outcome, then the event.
    pub(crate) fn deliver(&self, ended: Ended) {
        let mut state = self.state.lock();
        state.done = true;
        if state.abandoned {
            drop(state);
            Handle::take_back(ended);
            return;
        }
        state.end = Some(ended);
        let waker = state.waker.take();
        drop(state);
        for event in self.ended.iter().chain(&self.event) {
            event.set();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether nobody will ask.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.state.lock().abandoned
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.lock().done
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
        state.abandoned = true;
        state.waker = None;
        let (done, end) = (state.done, state.end.take());
        drop(state);
        match end {
            Some(end) => Handle::take_back(end),
            None if done => {} // taken
            None => handle.abandon(id),
        }
    }
}
