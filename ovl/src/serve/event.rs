//! The echo server on events: each operation sets an event when it has ended, and a thread waits until one of its events is set. It
//! can wait for 64 at a time, of which one calls it to its orders, so handles are shared out among threads as Windows programs
//! do it: 63 to each, and another thread when all are full.

use std::iter;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use overlapped::alertable::FOREVER;
use overlapped::done::{Accepted, Received, ReceivedFrom, Sent, SentTo};
use overlapped::net::{TcpListener, UdpSocket};
use overlapped::{Buffer, Error, Event, Pending, event};

use super::desk::{Arrived, Desk};
use super::guests::{Guest, Guests};
use super::roster::Later;
use super::{DATAGRAMS, Setup, datagram_buffer, engine};

/// Operations that a thread waits for.
const PLACES: usize = event::MAX_EVENTS - 1;

/// Something to be waited for.
enum Job {
    Accept(TcpListener),
    Serve(Guest),
    EchoDatagrams(UdpSocket),
}

/// What a thread is asked to do.
enum Order {
    Take(Job),
    /// The server is stopping.
    LetGo,
    End,
}

/// A thread, as others see it.
struct Group {
    orders: Sender<Order>,
    /// Set when there are orders.
    bell: Event,
    /// Places that are taken.
    taken: usize,
    thread: JoinHandle<overlapped::Result<()>>,
}

impl Group {
    fn give(&self, order: Order) {
        let _ = self.orders.send(order); // fails if the thread has ended, and then it is over anyway
        self.bell.set();
    }
}

/// All threads. `None` when it is over.
struct Groups {
    desk: Arc<Desk>,
    list: Mutex<Option<Vec<Group>>>,
}

/// Serves until a signal ends it.
pub(super) fn serve(setup: Setup<'_>) -> Result<()> {
    let engine = engine()?;
    let groups = Arc::new(Groups { desk: Arc::clone(&setup.desk), list: Mutex::default() });
    let threads = (0..setup.threads()).map(|number| groups.start(number)).collect::<overlapped::Result<_>>();
    *groups.list() = Some(threads.context("cannot start a thread")?);
    setup.listeners.iter().for_each(|listener| groups.place(Job::Accept(listener.clone())));
    let sockets = setup.sockets.iter().flat_map(|socket| [socket; DATAGRAMS]);
    sockets.for_each(|socket| groups.place(Job::EchoDatagrams(socket.clone())));
    setup.conduct(engine, || groups.list().iter().flatten().for_each(|group| group.give(Order::LetGo)));
    let ended = groups.list().take();
    for group in ended.into_iter().flatten() {
        group.give(Order::End);
        group.thread.join().map_err(|_| anyhow!("a thread panicked"))?.context("a thread failed")?;
    }
    Ok(())
}

impl Groups {
    fn list(&self) -> MutexGuard<'_, Option<Vec<Group>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, number: usize) -> overlapped::Result<Group> {
        let (orders, to_do) = mpsc::channel();
        let bell = Event::auto_reset();
        let (groups, to_hear) = (Arc::clone(self), bell.clone());
        let run = move || {
            let _serving = groups.desk.serving();
            let here = Here { groups: &groups, number, guests: Guests::default() };
            let ended = here.run(&to_do, &to_hear);
            here.guests.cut_off(&groups.desk);
            ended
        };
        let thread = thread::Builder::new().name(format!("events {}", number + 1)).spawn(run)?;
        Ok(Group { orders, bell, taken: 0, thread })
    }

    /// Gives a job to the thread with the most room, or to a new one if there is no room.
    fn place(self: &Arc<Self>, mut job: Job) {
        while let Err((error, refused)) = self.try_place(job) {
            match refused {
                // A connection that no thread can serve.
                Job::Serve(guest) => match self.desk.leave(&guest.tally, Some(error), || guest.stream.close()) {
                    Some(next) => job = Job::Serve(next),
                    None => return,
                },
                other => {
                    self.desk.count_error(error);
                    return self.desk.after_pause(self.later(other));
                }
            }
        }
    }

    fn try_place(self: &Arc<Self>, job: Job) -> Result<(), (Error, Job)> {
        let mut list = self.list();
        let Some(groups) = list.as_mut() else { return Ok(()) }; // it is over
        let with_room = groups.iter().enumerate().filter(|(_, group)| group.taken < PLACES);
        let at = match with_room.min_by_key(|(_, group)| group.taken) {
            Some((at, _)) => at,
            None => {
                match self.start(groups.len()) {
                    Ok(group) => groups.push(group),
                    Err(error) => return Err((error, job)),
                }
                groups.len() - 1
            }
        };
        groups[at].taken += 1;
        groups[at].give(Order::Take(job));
        Ok(())
    }

    /// Places a job, whoever calls it.
    fn later(self: &Arc<Self>, job: Job) -> Later {
        let groups = Arc::clone(self);
        Box::new(move || groups.place(job))
    }

    /// A place of this thread has become free.
    fn freed(&self, number: usize) {
        if let Some(groups) = self.list().as_mut() {
            groups[number].taken -= 1;
        }
    }
}

/// What one thread serves with.
struct Here<'a> {
    groups: &'a Arc<Groups>,
    number: usize,
    guests: Guests,
}

/// An operation, and the event that it sets.
struct Place {
    event: Event,
    doing: Doing,
}

enum Doing {
    Accept(Pending<Accepted>),
    Receive(Rc<Guest>, Pending<Received>),
    Send(Rc<Guest>, Pending<Sent>),
    ReceiveFrom(Pending<ReceivedFrom>),
    SendTo(Pending<SentTo>),
}

/// What is done next in a place; `None`: it becomes free.
type Next = overlapped::Result<Option<Doing>>;

impl Here<'_> {
    fn run(&self, to_do: &Receiver<Order>, bell: &Event) -> overlapped::Result<()> {
        let mut places: Vec<Place> = Vec::new();
        loop {
            let events: Vec<&Event> = iter::once(bell).chain(places.iter().map(|place| &place.event)).collect();
            if event::wait_any(&events, FOREVER)? == 0 {
                while let Ok(order) = to_do.try_recv() {
                    match order {
                        Order::Take(job) => places.extend(self.begin(job)?),
                        Order::LetGo => self.guests.let_go(),
                        Order::End => return Ok(()),
                    }
                }
            }
            // The wait names the first event that is set. Others are by now, and all get their turn: else the first ones would be
            // served again and again before the last.
            places = places.into_iter().filter_map(|place| self.go_on(place).transpose()).collect::<Result<_, _>>()?;
        }
    }

    fn begin(&self, job: Job) -> overlapped::Result<Option<Place>> {
        let event = Event::manual_reset();
        let doing = match job {
            Job::Accept(listener) => self.accept(listener, &event),
            Job::Serve(guest) => self.receive(self.guests.enter(guest), &event),
            Job::EchoDatagrams(socket) => self.receive_from(&socket, datagram_buffer(), &event),
        };
        self.keep(event, doing?)
    }

    /// If the operation has ended, starts the next one in its place.
    fn go_on(&self, Place { event, doing }: Place) -> overlapped::Result<Option<Place>> {
        if !event.is_set() {
            return Ok(Some(Place { event, doing }));
        }
        let doing = match doing {
            Doing::Accept(mut pending) => self.accepted(pending.try_result()?, &event),
            Doing::Receive(guest, mut pending) => self.received(guest, pending.try_result()?, &event),
            Doing::Send(guest, mut pending) => self.sent(guest, pending.try_result()?, &event),
            Doing::ReceiveFrom(mut pending) => self.received_from(pending.try_result()?, &event),
            Doing::SendTo(mut pending) => self.sent_to(pending.try_result()?, &event),
        };
        self.keep(event, doing?)
    }

    fn keep(&self, event: Event, doing: Option<Doing>) -> overlapped::Result<Option<Place>> {
        if doing.is_none() {
            self.groups.freed(self.number);
        }
        Ok(doing.map(|doing| Place { event, doing }))
    }

    /// Lets a listener accept, if there is room.
    fn accept(&self, listener: TcpListener, event: &Event) -> Next {
        let may = self.groups.desk.may_accept(|| self.groups.later(Job::Accept(listener.clone())));
        may.then(|| listener.accept().signal(event).map(Doing::Accept)).transpose()
    }

    fn accepted(&self, done: Accepted, event: &Event) -> Next {
        match self.groups.desk.arrived(done.result) {
            Arrived::Guest(guest) => self.groups.place(Job::Serve(guest)),
            Arrived::Nobody => {}
            Arrived::Shortage => {
                self.groups.desk.after_pause(self.groups.later(Job::Accept(done.listener)));
                return Ok(None);
            }
        }
        self.accept(done.listener, event)
    }

    fn receive(&self, guest: Rc<Guest>, event: &Event) -> Next {
        let pending = guest.receive(&self.groups.desk).signal(event)?;
        Ok(Some(Doing::Receive(guest, pending)))
    }

    fn received(&self, guest: Rc<Guest>, done: Received, event: &Event) -> Next {
        match done.result {
            // The peer has shut its sending half, and everything received before was echoed before: close.
            Ok(0) => self.leave(&guest, None, event),
            Ok(_) => {
                let pending = guest.send(&self.groups.desk, done.buffer).signal(event)?;
                Ok(Some(Doing::Send(guest, pending)))
            }
            Err(error) => self.leave(&guest, Some(error), event),
        }
    }

    fn sent(&self, guest: Rc<Guest>, done: Sent, event: &Event) -> Next {
        match done.result {
            Ok(bytes) => {
                guest.tally.echoed(bytes);
                drop(done.buffer); // back into the pool before the next receive may ask for it
                self.receive(guest, event)
            }
            Err(error) => self.leave(&guest, Some(error), event),
        }
    }

    /// Closes a connection and gives its place to the next.
    fn leave(&self, guest: &Guest, error: Option<Error>, event: &Event) -> Next {
        match self.groups.desk.leave(&guest.tally, error, || self.guests.leave(guest)) {
            Some(next) => self.receive(self.guests.enter(next), event),
            None => Ok(None),
        }
    }

    fn receive_from(&self, socket: &UdpSocket, buffer: Buffer, event: &Event) -> Next {
        socket.recv_from(buffer).signal(event).map(Doing::ReceiveFrom).map(Some)
    }

    fn received_from(&self, done: ReceivedFrom, event: &Event) -> Next {
        match done.result {
            Ok((_, from)) => done.socket.send_to(done.buffer, from).signal(event).map(Doing::SendTo).map(Some),
            Err(_) if self.groups.desk.is_stopping() => Ok(None),
            Err(error) => {
                self.groups.desk.count_error(error);
                self.groups.desk.after_pause(self.groups.later(Job::EchoDatagrams(done.socket)));
                Ok(None)
            }
        }
    }

    fn sent_to(&self, done: SentTo, event: &Event) -> Next {
        self.groups.desk.echoed_datagram(done.result);
        self.receive_from(&done.socket, done.buffer.cleared(), event)
    }
}
