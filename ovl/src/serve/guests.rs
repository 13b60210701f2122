//! A connection of a model whose handles belong to no port, and all of those that one thread serves.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use overlapped::done::{Received, Sent};
use overlapped::net::TcpStream;
use overlapped::{Buffer, Operation};

use super::desk::Desk;
use super::summary::Tally;

/// A connection and what went through it.
///
/// Its operations are made here, and are the same for all models, which differ in how they hear of the end: `then`, `signal`
/// or `await`.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) stream: TcpStream,
    pub(super) tally: Tally,
}

impl Guest {
    /// What has come, in a buffer that is taken when it comes.
    pub(super) fn receive(&self, desk: &Desk) -> Operation<Received> {
        self.tally.receiving.store(true, Ordering::Relaxed);
        if desk.is_stopping() {
            self.receive_no_more();
        }
        desk.within(self.stream.recv_pooled(&desk.pool))
    }

    /// All of what was received goes back.
    pub(super) fn send(&self, desk: &Desk, buffer: Buffer) -> Operation<Sent> {
        self.tally.receiving.store(false, Ordering::Relaxed);
        desk.within(self.stream.send(buffer))
    }

    /// What has arrived can still be received, and behind it stands the end. So a connection of a server that is stopping
    /// finishes by the same path as if its peer had shut its sending half.
    fn receive_no_more(&self) {
        // Straight to the socket: to the library, shutting the receiving half means that nothing is received any more.
        // Fails if the peer has gone, which is as well.
        let _ = self.stream.options(|socket| socket.shutdown(Shutdown::Read));
    }
}

/// The connections of one thread: nobody else comes here, so nothing is locked.
#[derive(Debug, Default)]
pub(super) struct Guests(RefCell<HashMap<u64, Rc<Guest>>>);

impl Guests {
    pub(super) fn enter(&self, guest: Guest) -> Rc<Guest> {
        let guest = Rc::new(guest);
        self.0.borrow_mut().insert(guest.tally.number, Rc::clone(&guest));
        guest
    }

    /// Closes the connection.
    pub(super) fn leave(&self, guest: &Guest) {
        self.0.borrow_mut().remove(&guest.tally.number);
        guest.stream.close();
    }

    /// The server is stopping: lets everybody go as soon as what they sent is echoed. Those that are being sent to see to it
    /// themselves with the next receive.
    pub(super) fn let_go(&self) {
        let guests = self.0.borrow();
        guests
            .values()
            .filter(|guest| guest.tally.receiving.load(Ordering::Relaxed))
            .for_each(|guest| guest.receive_no_more());
    }

    /// The thread ends: who is still here is cut off.
    pub(super) fn cut_off(&self, desk: &Desk) {
        self.0.take().values().for_each(|guest| desk.cut_off(&guest.tally));
    }
}
