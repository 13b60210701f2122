//! The echo server on a completion port: what ends is a packet in a queue, and any of a few workers takes the next one.

use std::collections::HashMap;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};
use overlapped::net::{TcpListener, TcpStream, UdpSocket};
use overlapped::{Associated, Buffer, CompletionPort, Error, Packet};

use super::desk::{Arrived, Desk};
use super::guests::Guest;
use super::roster::Later;
use super::summary::Tally;
use super::{DATAGRAMS, Setup, datagram_buffer};

type Connection = Associated<TcpStream, Tally>;
type Door = Associated<TcpListener, Tally>;
type Datagrams = Associated<UdpSocket, Tally>;

struct Server {
    port: CompletionPort<Tally>,
    desk: Arc<Desk>,
    connections: Mutex<HashMap<u64, Connection>>,
}

/// Serves until a signal ends it.
pub(super) fn serve(setup: Setup<'_>) -> Result<()> {
    let Setup { options, desk, hearing, listeners, sockets, addresses } = setup;
    let port = CompletionPort::builder()
        .concurrency(options.concurrency.map_or(0, usize::from))
        .build()
        .context("cannot create a completion port (`ovl doctor` says more)")?;
    let workers = options.workers.map_or(2 * port.concurrency(), usize::from);
    let server = Arc::new(Server { port, desk, connections: Mutex::default() });

    let associate = |listener| server.port.associate(listener, Tally::default());
    let doors: Vec<Door> = listeners.into_iter().map(associate).collect::<overlapped::Result<_>>()?;
    let associate = |socket| server.port.associate(socket, Tally::default());
    let datagrams: Vec<Datagrams> = sockets.into_iter().map(associate).collect::<overlapped::Result<_>>()?;
    doors.iter().try_for_each(|door| server.open(door))?;
    for socket in datagrams.iter().flat_map(|socket| [socket; DATAGRAMS]) {
        socket.recv_from(datagram_buffer())?;
    }

    thread::scope(|scope| {
        let running = scope.spawn(|| {
            let _serving = server.desk.serving();
            server.port.run(workers, |packet| server.handle(packet))
        });
        addresses.announce(format_args!(
            "model port, engine {}, {workers} workers, concurrency {}",
            server.port.engine(),
            server.port.concurrency()
        ));
        server.desk.conduct(&hearing, options.grace, || {
            doors.iter().for_each(Associated::close);
            datagrams.iter().for_each(Associated::close);
            server.let_go();
        });
        server.port.close();
        running.join().map_err(|_| anyhow!("a worker panicked"))?.context("the completion port failed")
    })?;
    server.connections().drain().for_each(|(_, connection)| server.desk.cut_off(connection.key()));
    Ok(())
}

impl Server {
    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker does with a packet.
    fn handle(self: &Arc<Self>, packet: Packet<Tally>) -> overlapped::Result<()> {
        match packet {
            Packet::Accepted { result: Err(error), more: true, .. } => self.desk.count_error(error),
            Packet::Accepted { listener, result, more, .. } => return self.accepted(&listener, result, more),
            // The peer has shut its sending half, and everything received before was echoed before: close.
            Packet::Received { conn, result: Ok(0), .. } => return self.leave(&conn, None),
            Packet::Received { conn, buffer, result: Ok(_), .. } => return self.send(&conn, buffer),
            Packet::Received { conn, result: Err(error), .. } => return self.leave(&conn, Some(error)),
            Packet::Sent { conn, result: Ok(bytes), buffer, .. } => {
                conn.key().echoed(bytes);
                drop(buffer); // back into the pool before the next receive may ask for it
                return self.receive(&conn);
            }
            Packet::Sent { conn, result: Err(error), .. } => return self.leave(&conn, Some(error)),
            Packet::ReceivedFrom { socket, buffer, result: Ok((_, from)), .. } => _ = socket.send_to(buffer, from)?,
            Packet::ReceivedFrom { result: Err(_), .. } if self.desk.is_stopping() => {}
            Packet::ReceivedFrom { socket, buffer, result: Err(error), .. } => {
                self.desk.count_error(error);
                self.desk.after_pause(Box::new(move || _ = socket.recv_from(buffer.cleared())));
            }
            Packet::SentTo { socket, buffer, result, .. } => {
                self.desk.echoed_datagram(result);
                socket.recv_from(buffer.cleared())?;
            }
            _ => {} // nothing else is started here
        }
        Ok(())
    }

    /// Lets a listener accept, if there is room: all who come, or one by one if their number is limited.
    fn open(self: &Arc<Self>, door: &Door) -> overlapped::Result<()> {
        if !self.desk.may_accept(|| self.opener(door)) {
            return Ok(());
        }
        if self.desk.is_limited { door.accept() } else { door.accept_each() }.map(drop)
    }

    fn opener(self: &Arc<Self>, door: &Door) -> Later {
        let (server, door) = (Arc::clone(self), door.clone());
        Box::new(move || _ = server.open(&door)) // it fails if the port is closed, and then it is over anyway
    }

    fn accepted(
        self: &Arc<Self>,
        door: &Door,
        result: overlapped::Result<TcpStream>,
        more: bool,
    ) -> overlapped::Result<()> {
        match self.desk.arrived(result) {
            Arrived::Guest(guest) => self.welcome(guest)?,
            Arrived::Nobody => {}
            Arrived::Shortage => {
                self.desk.after_pause(self.opener(door));
                return Ok(());
            }
        }
        if more { Ok(()) } else { self.open(door) }
    }

    /// Begins to serve a connection.
    fn welcome(&self, Guest { stream, tally }: Guest) -> overlapped::Result<()> {
        let number = tally.number;
        let connection = self.port.associate(stream, tally)?;
        self.connections().insert(number, connection.clone());
        self.receive(&connection)
    }

    fn receive(&self, connection: &Connection) -> overlapped::Result<()> {
        // With `let_go`, which reads what this writes after the server began to stop, which this reads: one of the two sees the other.
        connection.key().receiving.store(true, Ordering::SeqCst);
        if self.desk.is_stopping() {
            receive_no_more(connection);
        }
        match self.desk.idle_timeout {
            None => connection.recv_pooled(&self.desk.pool),
            Some(limit) => connection.within(limit).recv_pooled(&self.desk.pool),
        }
        .map(drop)
    }

    fn send(&self, connection: &Connection, buffer: Buffer) -> overlapped::Result<()> {
        connection.key().receiving.store(false, Ordering::Relaxed);
        match self.desk.idle_timeout {
            None => connection.send(buffer),
            Some(limit) => connection.within(limit).send(buffer),
        }
        .map(drop)
    }

    /// Closes a connection and gives its place to the next.
    fn leave(&self, connection: &Connection, error: Option<Error>) -> overlapped::Result<()> {
        self.connections().remove(&connection.key().number);
        match self.desk.leave(connection.key(), error, || connection.close()) {
            Some(guest) => self.welcome(guest),
            None => Ok(()),
        }
    }

    /// The server is stopping: lets everybody go as soon as what they sent is echoed. Those that are being sent to see to it
    /// themselves with the next receive.
    fn let_go(&self) {
        let connections = self.connections();
        connections.values().filter(|one| one.key().receiving.load(Ordering::SeqCst)).for_each(receive_no_more);
    }
}

/// As [`Guest::receive_no_more`].
fn receive_no_more(connection: &Connection) {
    let _ = connection.options(|socket| socket.shutdown(Shutdown::Read));
}
