//! The echo server on futures: each connection is a task, which reads as if it waited. Each thread has an executor of its own, and
//! its operations in a ring of its own, so what it knows is not shared.

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use async_channel::{Receiver, Sender};
use async_executor::LocalExecutor;
use overlapped::alertable;
use overlapped::net::{TcpListener, UdpSocket};

use super::desk::{Arrived, Desk};
use super::guests::{Guest, Guests};
use super::roster::Later;
use super::{DATAGRAMS, Setup, datagram_buffer, engine};

/// What a thread is asked to do.
enum Order {
    /// Tasks to be started.
    Accept(TcpListener),
    Serve(Guest),
    EchoDatagrams(UdpSocket),
    /// The server is stopping.
    LetGo,
}

/// What one thread serves with.
struct Here {
    desk: Arc<Desk>,
    guests: Guests,
    orders: Sender<Order>,
}

/// Serves until a signal ends it.
pub(super) fn serve(setup: Setup<'_>) -> Result<()> {
    let engine = engine()?;
    let mut threads = Vec::new();
    for number in 1..=setup.threads() {
        let (orders, to_do) = async_channel::unbounded();
        setup.listeners.iter().for_each(|listener| give(&orders, Order::Accept(listener.clone())));
        let sockets = setup.sockets.iter().flat_map(|socket| [socket; DATAGRAMS]);
        sockets.for_each(|socket| give(&orders, Order::EchoDatagrams(socket.clone())));
        let (desk, own) = (Arc::clone(&setup.desk), orders.clone());
        let thread = thread::Builder::new()
            .name(format!("tasks {number}"))
            .spawn(move || run(desk, own, &to_do))
            .context("cannot start a thread")?;
        threads.push((orders, thread));
    }
    setup.conduct(engine, || threads.iter().for_each(|(orders, _)| give(orders, Order::LetGo)));
    for (orders, thread) in threads {
        orders.close();
        thread.join().map_err(|_| anyhow!("a thread panicked"))?;
    }
    Ok(())
}

fn give(orders: &Sender<Order>, order: Order) {
    let _ = orders.try_send(order); // fails if the thread has ended, and then it is over anyway
}

/// What each thread does: starts the tasks that it is given, and carries all of them on, until there are no more orders.
fn run(desk: Arc<Desk>, orders: Sender<Order>, to_do: &Receiver<Order>) {
    let here = Here { desk, guests: Guests::default(), orders };
    let _serving = here.desk.serving();
    let tasks = LocalExecutor::new();
    alertable::block_on(tasks.run(async {
        while let Ok(order) = to_do.recv().await {
            match order {
                Order::Accept(listener) => tasks.spawn(here.accept(listener)).detach(),
                Order::Serve(guest) => tasks.spawn(here.serve(guest)).detach(),
                Order::EchoDatagrams(socket) => tasks.spawn(here.echo_datagrams(socket)).detach(),
                Order::LetGo => here.guests.let_go(),
            }
        }
    }));
    here.guests.cut_off(&here.desk);
}

impl Here {
    /// Has this thread, whoever calls it, follow an order.
    fn later(&self, order: Order) -> Later {
        let orders = self.orders.clone();
        Box::new(move || give(&orders, order))
    }

    /// Takes in who comes, as long as there is room.
    async fn accept(&self, listener: TcpListener) {
        let again = || self.later(Order::Accept(listener.clone()));
        while self.desk.may_accept(again) {
            match self.desk.arrived(listener.accept().await.result) {
                Arrived::Guest(guest) => give(&self.orders, Order::Serve(guest)),
                Arrived::Nobody => {}
                Arrived::Shortage => return self.desk.after_pause(again()),
            }
        }
    }

    /// A connection from its beginning to its end.
    async fn serve(&self, guest: Guest) {
        let guest = self.guests.enter(guest);
        let error = self.echo(&guest).await.err();
        if let Some(next) = self.desk.leave(&guest.tally, error, || self.guests.leave(&guest)) {
            give(&self.orders, Order::Serve(next));
        }
    }

    async fn echo(&self, guest: &Guest) -> overlapped::Result<()> {
        loop {
            let received = guest.receive(&self.desk).await;
            if received.result? == 0 {
                return Ok(()); // the peer has shut its sending half, and everything received before was echoed before
            }
            let sent = guest.send(&self.desk, received.buffer).await;
            guest.tally.echoed(sent.result?);
        }
    }

    async fn echo_datagrams(&self, socket: UdpSocket) {
        let mut buffer = datagram_buffer();
        loop {
            let received = socket.recv_from(buffer).await;
            match received.result {
                Ok((_, from)) => {
                    let sent = socket.send_to(received.buffer, from).await;
                    self.desk.echoed_datagram(sent.result);
                    buffer = sent.buffer.cleared();
                }
                Err(_) if self.desk.is_stopping() => return,
                Err(error) => {
                    self.desk.count_error(error);
                    return self.desk.after_pause(self.later(Order::EchoDatagrams(socket)));
                }
            }
        }
    }
}
