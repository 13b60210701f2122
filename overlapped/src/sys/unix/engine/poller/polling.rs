//! The `polling` crate, which knows each system's own way.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use polling::PollMode;

use super::{EVENTS, Interest, Mode, Told};

const _: () = assert!(usize::BITS >= 64, "a key is a descriptor and its generation, and `polling` takes a usize");

pub(crate) struct Poller(polling::Poller);

impl Poller {
    pub(crate) fn new() -> std::io::Result<Self> {
        polling::Poller::new().map(Self)
    }

    /// What is readable when there is something to be told.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Asks to be told of a descriptor, or for something else. What is so already is told, too.
    pub(crate) fn ask(&self, fd: RawFd, key: u64, interest: Interest, mode: Mode) -> std::io::Result<()> {
        let event = polling::Event::new(key as usize, interest.read, interest.write);
        let mode = match mode {
            Mode::Edge => PollMode::Edge,
            Mode::Once => PollMode::Oneshot,
        };
        // SAFETY: the kernel looks the number up, and forgets a descriptor that is closed. What the crate itself then still remembers is
        // the number, which is met below.
        match unsafe { self.0.add_with_mode(fd, event, mode) } {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // SAFETY: as above.
                self.0.modify_with_mode(unsafe { BorrowedFd::borrow_raw(fd) }, event, mode)
            }
            added => added,
        }
    }

    /// Asks no more. A descriptor that is closed is forgotten by itself.
    pub(crate) fn forget(&self, fd: RawFd) {
        // SAFETY: as above.
        let _ = self.0.delete(unsafe { BorrowedFd::borrow_raw(fd) });
    }

    /// Ends a wait, or the next one.
    pub(crate) fn ring(&self) {
        let _ = self.0.notify(); // it fails only if the notifier is full, and then it has been rung
    }

    /// Waits until there is something to be told, or somebody has rung, or for so long. One thread can: for others it is over at once.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> std::io::Result<()> {
        events.0.clear();
        let waited = self.0.wait(&mut events.0, timeout)?;
        if waited == 0 && timeout != Some(Duration::ZERO) {
            std::thread::yield_now(); // perhaps to the one who waits here, and has been woken to go
        }
        Ok(())
    }
}

/// Where the kernel puts events.
pub(crate) struct Events(polling::Events);

impl Events {
    pub(crate) fn new() -> Self {
        Self(polling::Events::with_capacity(EVENTS.try_into().expect("there is room for some")))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Told> {
        // Whether the end has come behind the data is not to be seen.
        let told = |event: polling::Event| Told {
            key: event.key as u64,
            readable: event.readable,
            writable: event.writable,
            ending: true,
        };
        self.0.iter().map(told)
    }
}
