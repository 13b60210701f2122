//! What happens when the system has no descriptor left for a thread's ring.
//!
//! Alone in this file: it takes the descriptors of its whole process.

#![cfg(unix)] // Windows has no limit of descriptors that a process could take for itself.

mod common;

use std::fs;
use std::sync::Arc;

use common::*;
use overlapped::alertable;
use overlapped::{Buffer, Error, Event};

/// Takes every descriptor there is.
fn hoard() -> Vec<fs::File> {
    std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect()
}

#[test]
fn r10_an_operation_that_could_not_start_is_never_told_and_what_it_owned_is_dropped() {
    watched(|| {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(60), maximum: before.maximum }).unwrap();
        let (conn, mut peer) = free_pair();
        let event = Event::manual_reset();
        let token = Arc::new(());
        let hoarded = hoard();
        // A routine needs a ring of its thread, an event and a future the library's thread with its own.
        let inside = Arc::clone(&token);
        let error = conn.recv(Buffer::with_capacity(8)).then(move |_| unreachable!("{inside:?}")).unwrap_err();
        assert_eq!(error, Error::TOO_MANY_OPEN_FILES);
        assert_eq!(Arc::strong_count(&token), 1, "the routine was kept");
        let error = conn.recv(Buffer::with_capacity(8)).signal(&event).unwrap_err();
        assert_eq!(error, Error::TOO_MANY_OPEN_FILES);
        let done = block_on(conn.recv(Buffer::with_capacity(77)));
        assert_eq!((done.result, done.buffer.capacity()), (Err(Error::TOO_MANY_OPEN_FILES), 77));
        drop(done);
        let done = alertable::block_on(async { conn.recv(Buffer::with_capacity(77)).await });
        assert_eq!((done.result, done.buffer.capacity()), (Err(Error::TOO_MANY_OPEN_FILES), 77));
        drop(done);
        assert_eq!(conn.cancel_all(), Err(Error::NOT_FOUND));
        // What needs no ring goes on.
        let ran = Arc::clone(&token);
        alertable::queue_apc(&alertable::current(), move || drop(ran)).unwrap();
        assert_eq!(alertable::sleep(LONG), alertable::Woken::Routines);
        event.set();
        assert_eq!(event.wait(LONG), Ok(()));
        // And all the rest as soon as there are descriptors again.
        drop(hoarded);
        std::io::Write::write_all(&mut peer, b"abc").unwrap();
        assert_eq!(block_on(conn.recv(Buffer::with_capacity(1))).result, Ok(1));
        assert_eq!(conn.recv(Buffer::with_capacity(1)).signal(&event).unwrap().wait().result, Ok(1));
        conn.recv(Buffer::with_capacity(1)).then(|done| assert_eq!(done.result, Ok(1))).unwrap();
        assert_eq!(alertable::sleep(LONG), alertable::Woken::Routines);
        setrlimit(Resource::Nofile, before).unwrap();
    });
}
