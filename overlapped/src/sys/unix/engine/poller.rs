//! Who tells what is ready: epoll on Linux; elsewhere, through the `polling` crate, what the system has (kqueue on macOS and the BSDs). The
//! two have the same method set. `--cfg overlapped_polling` chooses the second on Linux, too, so that what runs elsewhere is tested.

#[cfg(all(target_os = "linux", not(overlapped_polling)))]
mod epoll;
#[cfg(not(all(target_os = "linux", not(overlapped_polling))))]
mod polling;

#[cfg(all(target_os = "linux", not(overlapped_polling)))]
pub(super) use epoll::{Events, Poller};
#[cfg(not(all(target_os = "linux", not(overlapped_polling))))]
pub(super) use polling::{Events, Poller};

/// Events that are taken from the kernel at a time.
const EVENTS: usize = 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interest {
    pub(super) const NONE: Self = Self { read: false, write: false };
    pub(super) const READ: Self = Self { read: true, write: false };
    pub(super) const BOTH: Self = Self { read: true, write: true };

    pub(super) fn contains(self, other: Self) -> bool {
        self.read >= other.read && self.write >= other.write
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self { read: self.read | other.read, write: self.write | other.write }
    }
}

/// How often it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each time that something changes.
    Edge,
    Once,
}

/// What the kernel has told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// Of whom: as it was registered.
    pub(super) key: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The end, an error or urgent data is there, or may be.
    pub(super) ending: bool,
}
