//! A ring's own table of descriptors.
//!
//! A request that names a place of it spares the kernel the way through the process's table and the count of users, which is worth it
//! for a socket that is used again and again. What stands here is open, whatever becomes of the descriptor: who closes that has to strike
//! it off first. Reference: `io_uring_register(2)`, `IORING_REGISTER_FILES2`, `IORING_REGISTER_FILES_UPDATE`.

use std::os::fd::RawFd;

use io_uring::Submitter;
use rustix::process::{Resource, getrlimit};

/// The most places; the kernel takes eight bytes for each.
const MOST: u32 = 16_384;
/// It takes the place of a descriptor where one is struck off.
const NONE: RawFd = -1;

#[derive(Default)]
pub(super) struct Table {
    state: State,
    /// Places that were used and are free.
    vacant: Vec<u32>,
    /// Places below this have been used.
    used: u32,
    /// What a thread that may not strike it off has left to the one that may.
    leaving: Vec<u32>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Made when it is first needed.
    #[default]
    None,
    Has(u32),
    /// The kernel refuses it, or the ring is done with.
    Never,
}

impl Table {
    /// None, ever.
    pub(super) fn never() -> Self {
        Self { state: State::Never, ..Self::default() }
    }

    /// Enters a descriptor, and returns its place. By a thread that may enter the ring.
    pub(super) fn enlist(&mut self, ring: &Submitter<'_>, fd: RawFd) -> Option<u32> {
        if self.state == State::None {
            let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX); // the kernel allows no more places than that
            let places = open.min(u64::from(MOST)) as u32;
            self.state = ring.register_files_sparse(places).map_or(State::Never, |()| State::Has(places));
        }
        let State::Has(places) = self.state else { return None };
        let place = match self.vacant.pop() {
            Some(place) => place,
            None if self.used < places => {
                self.used += 1;
                self.used - 1
            }
            None => return None,
        };
        match ring.register_files_update(place, &[fd]) {
            Ok(_) => Some(place),
            Err(_) => {
                self.vacant.push(place);
                None
            }
        }
    }

    /// Strikes a descriptor off. `here`: the calling thread may enter the ring; otherwise that is left to [`Self::tidy`].
    pub(super) fn strike(&mut self, ring: &Submitter<'_>, place: u32, here: bool) {
        if self.state == State::Never {
            return; // all of it has gone
        }
        if !here {
            self.leaving.push(place);
            return;
        }
        // Emptying a place needs no memory; should it fail all the same, the place is lost and goes with the ring.
        if ring.register_files_update(place, &[NONE]).is_ok() {
            self.vacant.push(place);
        }
    }

    /// Strikes off what others have left. By a thread that may enter the ring.
    #[inline]
    pub(super) fn tidy(&mut self, ring: &Submitter<'_>) {
        while let Some(place) = self.leaving.pop() {
            self.strike(ring, place, true);
        }
    }

    /// Strikes all off: the ring is done with.
    pub(super) fn clear(&mut self, ring: &Submitter<'_>) {
        if let State::Has(_) = std::mem::replace(&mut self.state, State::Never) {
            // If it is refused, closing the ring does it, a little later.
            let _ = ring.unregister_files();
        }
    }
}
