//! Events: flags, and the threads that wait for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::thread::{self, Outcome};
use crate::sync::Mutex;
use crate::sys::Waited;
use crate::{Error, Result, trace};

#[derive(Clone)]
pub(crate) struct Event(Arc<Inner>);

struct Inner {
    manual: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    set: bool,
    /// The lanes of the threads that wait. Each looks for itself when it is woken.
    waiters: Vec<Arc<Lane>>,
}

impl Event {
    pub(crate) fn new(manual: bool) -> Self {
        Self(Arc::new(Inner { manual, state: Mutex::default() }))
    }

    pub(crate) fn set(&self) {
        let mut state = self.0.state.lock();
        state.set = true;
        // A waiter is in the list before it says that it sleeps, and looks at the flag after that: so one of the two sees the other.
        state.waiters.iter().for_each(|waiter| waiter.nudge());
    }

    pub(crate) fn reset(&self) {
        self.0.state.lock().set = false;
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.state.lock().set
    }

    /// Whether both name the same event.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes the event if it is set.
    fn take(&self) -> bool {
        let mut state = self.0.state.lock();
        let set = state.set;
        state.set &= self.0.manual;
        set
    }

    /// Takes all of them, or none.
    fn take_all(events: &[&Self]) -> bool {
        let mut ordered: Vec<_> = events.iter().map(|event| &event.0).collect();
        ordered.sort_by_key(|inner| Arc::as_ptr(inner)); // so that two who want the same do not wait for each other
        let mut states: Vec<_> = ordered.iter().map(|inner| (inner.manual, inner.state.lock())).collect();
        let all = states.iter().all(|(_, state)| state.set);
        if all {
            states.iter_mut().for_each(|(manual, state)| state.set &= *manual);
        }
        all
    }

    /// Waits for one or all of some events, which are all different if it is for all.
    pub(crate) fn wait(events: &[&Self], all: bool, timeout: Option<Duration>, alertable: bool) -> Result<Waited> {
        let look = || match all {
            true => Self::take_all(events).then_some(0),
            false => events.iter().position(|event| event.take()),
        };
        if let Some(index) = look() {
            return Ok(Waited::Signalled(index));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let _alertable = alertable.then(|| trace::alertable(timeout));
        thread::with_desk(|desk| {
            let _registered = Registered::new(events, desk.lane());
            match desk.wait(deadline, alertable, look) {
                Outcome::Found(index) => Ok(Waited::Signalled(index)),
                Outcome::Ran => Ok(Waited::Routines),
                Outcome::TimeUp => Err(Error::WAIT_TIMEOUT),
            }
        })
    }
}

/// A thread is among the waiters of some events, until this is dropped.
struct Registered<'a> {
    events: &'a [&'a Event],
    lane: &'a Arc<Lane>,
}

impl<'a> Registered<'a> {
    fn new(events: &'a [&'a Event], lane: &'a Arc<Lane>) -> Self {
        for event in events {
            event.0.state.lock().waiters.push(Arc::clone(lane));
        }
        Self { events, lane }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        for event in self.events {
            let waiters = &mut event.0.state.lock().waiters;
            if let Some(at) = waiters.iter().rposition(|waiter| Arc::ptr_eq(waiter, self.lane)) {
                waiters.swap_remove(at);
            }
        }
    }
}
