//! epoll itself: a wait is one system call, where that of the `polling` crate, which arms a timer and its notifier each time, is five.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use super::{EVENTS, Interest, Mode, Told};

pub(crate) struct Poller {
    epoll: OwnedFd,
    /// Never read: each write is an edge.
    bell: OwnedFd,
}

/// The bell's key, which is nobody else's.
const BELL: u64 = u64::MAX;

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, bell })
    }

    /// What is readable when there is something to be told.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Asks to be told of a descriptor, or for something else. What is so already is told, too.
    pub(crate) fn ask(&self, fd: RawFd, key: u64, interest: Interest, mode: Mode) -> io::Result<()> {
        let mut flags = match mode {
            Mode::Edge => EventFlags::ET | EventFlags::RDHUP | EventFlags::PRI,
            Mode::Once => EventFlags::ONESHOT,
        };
        flags.set(EventFlags::IN, interest.read);
        flags.set(EventFlags::OUT, interest.write);
        // SAFETY: the call looks the number up; one that is closed is refused.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        match epoll::add(&self.epoll, fd, EventData::new_u64(key), flags) {
            Err(Errno::EXIST) => epoll::modify(&self.epoll, fd, EventData::new_u64(key), flags)?,
            added => added?,
        }
        Ok(())
    }

    /// Asks no more. A descriptor that is closed is forgotten by itself.
    pub(crate) fn forget(&self, fd: RawFd) {
        // SAFETY: as above.
        let _ = epoll::delete(&self.epoll, unsafe { BorrowedFd::borrow_raw(fd) });
    }

    /// Ends a wait, or the next one.
    pub(crate) fn ring(&self) {
        // It can fail only when 2^64 wake-ups have gone unread.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Waits until there is something to be told, or somebody has rung, or for so long. Any number of threads may.
    pub(crate) fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let timeout =
            timeout.map(|timeout| Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }));
        events.0.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events.0), timeout.as_ref()) {
            Err(Errno::INTR) => {} // a signal came: the caller looks at what there is
            waited => _ = waited?,
        }
        Ok(())
    }
}

/// Where the kernel puts events.
pub(crate) struct Events(Vec<epoll::Event>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Told> {
        let told = |event: &epoll::Event| {
            let (key, flags) = (event.data.u64(), event.flags);
            let over = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            Told {
                key,
                readable: over || flags.contains(EventFlags::IN),
                writable: over || flags.contains(EventFlags::OUT),
                ending: over || flags.contains(EventFlags::PRI),
            }
        };
        self.0.iter().map(told).filter(|told| told.key != BELL)
    }
}
