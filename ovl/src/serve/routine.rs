//! The echo server on completion routines: the thread that started an operation is called when it has ended, while it sleeps
//! alertably, and at no other time. So what a thread knows is its own, and nothing is locked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use anyhow::{Context, Result, anyhow};
use overlapped::alertable::{self, Thread};
use overlapped::done::Done;
use overlapped::net::{TcpListener, UdpSocket};
use overlapped::{Buffer, Error, Operation};

use super::desk::{Arrived, Desk};
use super::guests::{Guest, Guests};
use super::roster::Later;
use super::{DATAGRAMS, Setup, datagram_buffer, engine};

/// What one thread serves with.
struct Here {
    desk: Arc<Desk>,
    guests: Guests,
    over: Cell<bool>,
    failure: Cell<Option<Error>>,
}

thread_local! {
    /// Where an APC, which another thread has queued, finds what this thread has.
    static HERE: RefCell<Option<Rc<Here>>> = const { RefCell::new(None) };
}

/// Queues an APC to a thread: it is called there, in its next alertable wait.
fn tell(thread: &Thread, apc: impl FnOnce(&Rc<Here>) -> overlapped::Result<()> + Send + 'static) {
    let apc = move || {
        if let Some(here) = HERE.with_borrow(Option::clone) {
            apc(&here).unwrap_or_else(|error| here.fail(error));
        }
    };
    let _ = alertable::queue_apc(thread, apc); // one that has ended needs to be told nothing
}

/// What has this thread, whoever calls it, let a listener accept.
fn opener(listener: &TcpListener) -> Later {
    let (thread, listener) = (alertable::current(), listener.clone());
    Box::new(move || tell(&thread, |here| here.accept(listener)))
}

/// Serves until a signal ends it.
pub(super) fn serve(setup: Setup<'_>) -> Result<()> {
    let engine = engine()?;
    let (ready, started) = mpsc::channel();
    let mut threads = Vec::new();
    for number in 1..=setup.threads() {
        let (desk, ready) = (Arc::clone(&setup.desk), ready.clone());
        let (listeners, sockets) = (setup.listeners.clone(), setup.sockets.clone());
        let named = thread::Builder::new().name(format!("routines {number}"));
        let thread = alertable::spawn_from(named, move || run(desk, &listeners, &sockets, &ready));
        threads.push(thread.context("cannot start a thread")?);
    }
    for _ in &threads {
        started.recv().expect("each thread says whether it has begun").context("a thread cannot begin to serve")?;
    }
    setup.conduct(engine, || threads.iter().for_each(|thread| tell(thread.thread(), Here::let_go)));
    threads.iter().for_each(|thread| tell(thread.thread(), Here::end));
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a thread panicked"))?.context("a thread failed")?;
    }
    Ok(())
}

/// What each thread does.
fn run(
    desk: Arc<Desk>,
    listeners: &[TcpListener],
    sockets: &[UdpSocket],
    ready: &Sender<overlapped::Result<()>>,
) -> overlapped::Result<()> {
    let here = Rc::new(Here { desk, guests: Guests::default(), over: Cell::new(false), failure: Cell::new(None) });
    let _serving = here.desk.serving();
    HERE.set(Some(Rc::clone(&here)));
    let begun = here.begin(listeners, sockets);
    let _ = ready.send(begun); // the main thread listens until all have begun, or does not care any more
    while !here.over.get() {
        alertable::sleep(alertable::FOREVER);
    }
    HERE.take();
    here.guests.cut_off(&here.desk);
    here.failure.get().map_or(Ok(()), Err)
}

impl Here {
    fn begin(self: &Rc<Self>, listeners: &[TcpListener], sockets: &[UdpSocket]) -> overlapped::Result<()> {
        listeners.iter().try_for_each(|listener| self.accept(listener.clone()))?;
        sockets
            .iter()
            .flat_map(|socket| [socket; DATAGRAMS])
            .try_for_each(|socket| self.receive_from(socket, datagram_buffer()))
    }

    /// Starts an operation, at whose end `routine` is called.
    fn start<T: Done>(
        self: &Rc<Self>,
        operation: Operation<T>,
        routine: impl FnOnce(&Rc<Self>, T) -> overlapped::Result<()> + 'static,
    ) -> overlapped::Result<()> {
        let here = Rc::clone(self);
        let routine = move |done| routine(&here, done).unwrap_or_else(|error| here.fail(error));
        operation.then(routine).map(drop)
    }

    /// An operation could not be started: this thread cannot go on.
    fn fail(&self, error: Error) {
        self.failure.set(Some(error));
        self.over.set(true);
    }

    /// The server is stopping.
    fn let_go(self: &Rc<Self>) -> overlapped::Result<()> {
        self.guests.let_go();
        Ok(())
    }

    fn end(self: &Rc<Self>) -> overlapped::Result<()> {
        self.over.set(true);
        Ok(())
    }

    /// Lets a listener accept, if there is room.
    fn accept(self: &Rc<Self>, listener: TcpListener) -> overlapped::Result<()> {
        if !self.desk.may_accept(|| opener(&listener)) {
            return Ok(());
        }
        self.start(listener.accept(), |here, done| {
            match here.desk.arrived(done.result) {
                Arrived::Guest(guest) => here.welcome(guest)?,
                Arrived::Nobody => {}
                Arrived::Shortage => {
                    here.desk.after_pause(opener(&done.listener));
                    return Ok(());
                }
            }
            here.accept(done.listener)
        })
    }

    /// Begins to serve a connection.
    fn welcome(self: &Rc<Self>, guest: Guest) -> overlapped::Result<()> {
        self.receive(self.guests.enter(guest))
    }

    fn receive(self: &Rc<Self>, guest: Rc<Guest>) -> overlapped::Result<()> {
        self.start(guest.receive(&self.desk), move |here, done| match done.result {
            // The peer has shut its sending half, and everything received before was echoed before: close.
            Ok(0) => here.leave(&guest, None),
            Ok(_) => here.send(guest, done.buffer),
            Err(error) => here.leave(&guest, Some(error)),
        })
    }

    fn send(self: &Rc<Self>, guest: Rc<Guest>, buffer: Buffer) -> overlapped::Result<()> {
        self.start(guest.send(&self.desk, buffer), move |here, done| match done.result {
            Ok(bytes) => {
                guest.tally.echoed(bytes);
                drop(done.buffer); // back into the pool before the next receive may ask for it
                here.receive(guest)
            }
            Err(error) => here.leave(&guest, Some(error)),
        })
    }

    /// Closes a connection and gives its place to the next.
    fn leave(self: &Rc<Self>, guest: &Guest, error: Option<Error>) -> overlapped::Result<()> {
        match self.desk.leave(&guest.tally, error, || self.guests.leave(guest)) {
            Some(next) => self.welcome(next),
            None => Ok(()),
        }
    }

    fn receive_from(self: &Rc<Self>, socket: &UdpSocket, buffer: Buffer) -> overlapped::Result<()> {
        self.start(socket.recv_from(buffer), |here, done| match done.result {
            Ok((_, from)) => here.start(done.socket.send_to(done.buffer, from), |here, done| {
                here.desk.echoed_datagram(done.result);
                here.receive_from(&done.socket, done.buffer.cleared())
            }),
            Err(_) if here.desk.is_stopping() => Ok(()),
            Err(error) => {
                here.desk.count_error(error);
                let (thread, socket, buffer) = (alertable::current(), done.socket, done.buffer.cleared());
                let again = move || tell(&thread, move |here| here.receive_from(&socket, buffer));
                here.desk.after_pause(Box::new(again));
                Ok(())
            }
        })
    }
}
