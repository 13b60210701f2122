//! Events: flags that threads wait for.

use std::fmt;
use std::time::Duration;

use crate::sys;
use crate::{Error, Result};

pub(crate) use crate::sys::Waited;

/// The most events of one wait: Win32's `MAXIMUM_WAIT_OBJECTS`.
pub const MAX_EVENTS: usize = 64;

/// A flag that threads can wait for. A clone names the same event.
///
/// Win32: [Event Objects](https://learn.microsoft.com/en-us/windows/win32/sync/event-objects).
///
/// ```
/// use overlapped::{Error, Event, event};
/// use std::time::Duration;
///
/// let (door, bell) = (Event::manual_reset(), Event::auto_reset());
/// bell.set();
/// assert_eq!(event::wait_any(&[&door, &bell], None)?, 1);
/// assert!(!bell.is_set()); // consumed by the wait
/// assert_eq!(door.wait(Duration::from_millis(1)), Err(Error::WAIT_TIMEOUT));
/// # overlapped::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Event(pub(crate) sys::Event);

impl Event {
    /// An event that stays set until it is reset, and releases all who wait. Unset at first.
    ///
    /// Win32: `CreateEvent` with `bManualReset`, `WSACreateEvent`.
    pub fn manual_reset() -> Self {
        Self(sys::Event::new(true))
    }

    /// An event that releases one waiter and falls. Unset at first.
    ///
    /// Win32: `CreateEvent`.
    pub fn auto_reset() -> Self {
        Self(sys::Event::new(false))
    }

    /// Sets it.
    ///
    /// Win32: `SetEvent`, `WSASetEvent`.
    pub fn set(&self) {
        self.0.set();
    }

    /// Unsets it.
    ///
    /// Win32: `ResetEvent`, `WSAResetEvent`.
    pub fn reset(&self) {
        self.0.reset();
    }

    /// Whether it is set. Looks, and consumes nothing.
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Waits until it is set, at most `timeout` (`None`: for ever). An auto-reset event falls.
    ///
    /// Win32: [`WaitForSingleObject`](https://learn.microsoft.com/en-us/windows/win32/api/synchapi/nf-synchapi-waitforsingleobject).
    ///
    /// # Errors
    /// [`Error::WAIT_TIMEOUT`] if it was not set in time, never early.
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> Result<()> {
        wait_any(&[self], timeout).map(drop)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish()
    }
}

/// Waits until one of `events` is set, and says which: the one with the lowest index. Only that one is consumed.
///
/// Win32: [`WaitForMultipleObjects`](https://learn.microsoft.com/en-us/windows/win32/api/synchapi/nf-synchapi-waitformultipleobjects),
/// `WSAWaitForMultipleEvents`.
///
/// # Errors
/// [`Error::WAIT_TIMEOUT`]; [`Error::INVALID_PARAMETER`] if there are no events, or more than [`MAX_EVENTS`].
pub fn wait_any(events: &[&Event], timeout: impl Into<Option<Duration>>) -> Result<usize> {
    match wait_for(events, false, timeout.into(), false)? {
        Waited::Signalled(index) => Ok(index),
        Waited::Routines => unreachable!("no routine runs in a wait that is not alertable"),
    }
}

/// Waits until all of `events` are set at once, and consumes all of them, or none.
///
/// Win32: `WaitForMultipleObjects` with `bWaitAll`.
///
/// # Errors
/// As [`wait_any`]; [`Error::INVALID_PARAMETER`] also if an event is there twice.
pub fn wait_all(events: &[&Event], timeout: impl Into<Option<Duration>>) -> Result<()> {
    wait_for(events, true, timeout.into(), false).map(drop)
}

pub(crate) fn wait_for(events: &[&Event], all: bool, timeout: Option<Duration>, alertable: bool) -> Result<Waited> {
    if events.is_empty() || events.len() > MAX_EVENTS {
        return Err(Error::INVALID_PARAMETER);
    }
    let twice = |(at, event): (usize, &&Event)| events[..at].iter().any(|other| other.0.is(&event.0));
    if all && events.iter().enumerate().any(twice) {
        return Err(Error::INVALID_PARAMETER);
    }
    let events: Vec<_> = events.iter().map(|event| &event.0).collect();
    wait(&events, all, timeout, alertable)
}

pub(crate) fn wait(events: &[&sys::Event], all: bool, timeout: Option<Duration>, alertable: bool) -> Result<Waited> {
    sys::Event::wait(events, all, timeout, alertable)
}
