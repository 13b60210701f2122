//! The echo server on a completion port.

use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use overlapped::net::{TcpListener, TcpStream, UdpSocket};
use overlapped::{Associated, Buffer, BufferPool, CompletionPort, Error, OperationId, Packet};

use super::roster::{Connection, Door, Next, Roster};
use super::{Summary, Tally, on_signal, say};
use crate::cli::Serve;
use crate::limits;

type Datagrams = Associated<UdpSocket, Tally>;

/// What the main thread is told while the workers serve.
enum News {
    /// SIGINT or SIGTERM.
    Signal(&'static str),
    /// A listener ran into a shortage and is to accept again after a pause.
    Short(Door),
    /// The same for a datagram socket.
    ShortDatagrams(Datagrams, Buffer),
    /// The last connection of a server that is stopping has left.
    Empty,
    /// The workers have ended.
    Ended,
}

/// How long a listener does not accept after a shortage: trying at once would only spin.
const PAUSE: Duration = Duration::from_millis(100);
/// Memory that the receive buffers may take together.
const POOL_BYTES: usize = 32 << 20;
/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_535;
/// Receives outstanding on each datagram socket: so many can arrive while others are echoed.
const DATAGRAMS: usize = 16;

struct Server {
    port: CompletionPort<Tally>,
    pool: BufferPool,
    limited: bool,
    idle_timeout: Option<Duration>,
    roster: Mutex<Roster>,
    news: Sender<News>,
    shortage_reported: AtomicBool,
    stopping: AtomicBool,
}

/// Serves until a signal ends it.
pub(super) fn serve(options: &Serve) -> Result<Summary> {
    let (news, hear) = mpsc::channel();
    let signal = news.clone();
    on_signal(move |name| drop(signal.send(News::Signal(name))))?;

    let port = CompletionPort::builder()
        .concurrency(usize::from(options.concurrency))
        .build()
        .context("cannot create a completion port on io_uring")?;
    let workers = options.workers.map_or(2 * port.concurrency(), usize::from);
    let pool = BufferPool::new(options.buffer_size, (POOL_BYTES / options.buffer_size).clamp(16, 2048))?;
    let server = Server {
        pool,
        limited: options.max_connections.is_some(),
        idle_timeout: options.idle_timeout,
        roster: Mutex::new(Roster::new(options.max_connections.map(|most| most as usize))),
        news: news.clone(),
        shortage_reported: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        port,
    };

    let mut sockets = Vec::new();
    for address in &options.listen {
        sockets.push(bind(address, options.udp).with_context(|| format!("cannot listen on {address}"))?);
    }
    let mut doors = Vec::new();
    let mut datagrams = Vec::new();
    let mut ready = Vec::new();
    for (listener, udp) in sockets {
        ready.push(listener.local_addr()?.to_string());
        let door = server.port.associate(listener, Tally::default())?;
        server.open(&door)?;
        doors.push(door);
        if let Some(socket) = udp {
            ready.push(format!("{}/udp", socket.local_addr()?));
            let socket = server.port.associate(socket, Tally::default())?;
            for _ in 0..DATAGRAMS {
                socket.recv_from(Buffer::with_capacity(DATAGRAM_BYTES))?;
            }
            datagrams.push(socket);
        }
    }

    thread::scope(|scope| {
        let running = scope.spawn(|| {
            let ended = server.port.run(workers, |packet| server.handle(packet));
            let _ = news.send(News::Ended);
            ended
        });
        for address in ready {
            say(format_args!(
                "listening on {address} (model {}, engine {}, {workers} workers, concurrency {})",
                options.model.name(),
                server.port.engine(),
                server.port.concurrency(),
            ));
        }
        server.listen_to(&hear, &doors, &datagrams, options.grace);
        server.port.close();
        running.join().map_err(|_| anyhow!("a worker panicked"))?.context("the completion port failed")
    })?;
    let mut summary = server.roster().close();
    doors.iter().for_each(|door| summary.add(door.key()));
    datagrams.iter().for_each(|socket| summary.add(socket.key()));
    Ok(summary)
}

/// What has arrived can still be received, and behind it stands the end. So a connection of a server that is stopping finishes
/// by the same path as if its peer had shut its sending half.
fn receive_no_more(connection: &Connection) {
    // Straight to the socket: to the library, shutting the receiving half means that nothing is received any more.
    // Fails if the peer has gone, which is as well.
    let _ = connection.options(|socket| socket.shutdown(Shutdown::Read));
}

/// Binds a listener and, if wanted, a datagram socket with the same port.
fn bind(address: &str, udp: bool) -> Result<(TcpListener, Option<UdpSocket>)> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let mut attempts = 20;
    loop {
        let listener = TcpListener::bind(&addresses[..])?;
        if !udp {
            return Ok((listener, None));
        }
        let picked = addresses.iter().any(|address| address.port() == 0);
        match UdpSocket::bind(listener.local_addr()?) {
            Ok(socket) => return Ok((listener, Some(socket))),
            // The system picked a port that is free for TCP only: let it pick another.
            Err(Error::ADDRESS_IN_USE) if picked && attempts > 0 => attempts -= 1,
            Err(error) => return Err(error).context("UDP"),
        }
    }
}

impl Server {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker does with a packet.
    fn handle(&self, packet: Packet<Tally>) -> overlapped::Result<()> {
        match packet {
            Packet::Accepted { listener, result, more, .. } => self.accepted(&listener, result, more),
            // The peer has shut its sending half, and everything received before was echoed before: close.
            Packet::Received { conn, result: Ok(0), .. } => self.leave(&conn, None),
            Packet::Received { conn, buffer, result: Ok(_), .. } => {
                conn.key().receiving.store(false, Ordering::Relaxed);
                self.send(&conn, buffer).map(drop)
            }
            Packet::Received { conn, result: Err(error), .. } => self.leave(&conn, Some(error)),
            Packet::Sent { conn, result: Ok(bytes), buffer, .. } => {
                conn.key().echoed(bytes);
                drop(buffer); // back into the pool before the next receive may ask for it
                self.receive(&conn).map(drop)
            }
            Packet::Sent { conn, result: Err(error), .. } => self.leave(&conn, Some(error)),
            Packet::ReceivedFrom { socket, buffer, result, .. } => match result {
                Ok((_, from)) => socket.send_to(buffer, from).map(drop),
                Err(error) => self.datagram_failed(socket, buffer, error),
            },
            Packet::SentTo { socket, buffer, result, .. } => {
                match result {
                    Ok(bytes) => socket.key().echoed_shared(bytes),
                    Err(error) => self.roster().summary.add_error(error),
                }
                socket.recv_from(buffer.cleared()).map(drop)
            }
            _ => Ok(()), // nothing else is started here
        }
    }

    /// Lets a listener accept: all who come, or one by one if their number is limited.
    fn open(&self, door: &Door) -> overlapped::Result<()> {
        if self.limited { door.accept() } else { door.accept_each() }.map(drop)
    }

    fn accepted(&self, door: &Door, result: overlapped::Result<TcpStream>, more: bool) -> overlapped::Result<()> {
        match result {
            Ok(stream) => {
                let admitted = self.roster().admit(stream);
                if let Some(stream) = admitted {
                    self.welcome(stream)?;
                }
            }
            // Somebody who left while the system was still letting them in.
            Err(error) if more || error == Error::CONNECTION_ABORTED => self.roster().summary.add_error(error),
            Err(error) => {
                if !self.roster().is_stopping() {
                    self.report_shortage(error);
                    let _ = self.news.send(News::Short(door.clone()));
                }
                return Ok(());
            }
        }
        if !more && self.roster().may_open(door) {
            self.open(door)?;
        }
        Ok(())
    }

    /// Begins to serve a connection.
    fn welcome(&self, stream: TcpStream) -> overlapped::Result<()> {
        if let Err(error) = stream.set_nodelay(true) {
            self.roster().summary.add_error(error);
        }
        let number = self.roster().next_number();
        let connection = self.port.associate(stream, Tally::of(number))?;
        let entered = self.roster().enter(connection.clone());
        if entered { self.receive(&connection).map(drop) } else { Ok(()) }
    }

    fn receive(&self, connection: &Connection) -> overlapped::Result<OperationId> {
        // With `stop`, which writes what this reads and reads what this writes: one of the two sees the other.
        connection.key().receiving.store(true, Ordering::SeqCst);
        if self.stopping.load(Ordering::SeqCst) {
            receive_no_more(connection);
        }
        match self.idle_timeout {
            None => connection.recv_pooled(&self.pool),
            Some(limit) => connection.within(limit).recv_pooled(&self.pool),
        }
    }

    fn send(&self, connection: &Connection, buffer: Buffer) -> overlapped::Result<OperationId> {
        match self.idle_timeout {
            None => connection.send(buffer),
            Some(limit) => connection.within(limit).send(buffer),
        }
    }

    /// Closes a connection and gives its place to the next.
    fn leave(&self, connection: &Connection, error: Option<Error>) -> overlapped::Result<()> {
        let next = {
            let mut roster = self.roster();
            match error {
                Some(Error::SEM_TIMEOUT) if self.idle_timeout.is_some() => roster.summary.idle += 1,
                Some(error) => roster.summary.add_error(error),
                None => {}
            }
            roster.leave(connection)
        };
        connection.close();
        match next {
            Next::Serve(stream) => self.welcome(stream),
            Next::Open(doors) => doors.iter().try_for_each(|door| self.open(door)),
            Next::Finish => {
                let _ = self.news.send(News::Empty);
                Ok(())
            }
        }
    }

    fn datagram_failed(&self, socket: Datagrams, buffer: Buffer, error: Error) -> overlapped::Result<()> {
        let mut roster = self.roster();
        if roster.is_stopping() {
            return Ok(());
        }
        roster.summary.add_error(error);
        let _ = self.news.send(News::ShortDatagrams(socket, buffer));
        Ok(())
    }

    fn report_shortage(&self, error: Error) {
        self.roster().summary.add_error(error);
        if self.shortage_reported.swap(true, Ordering::Relaxed) {
            return;
        }
        let cure = if error == Error::TOO_MANY_OPEN_FILES {
            format!("\n     to serve more at once, {}; --max-connections keeps below it", limits::CURE)
        } else {
            String::new()
        };
        eprintln!("ovl: cannot accept: {error}; newcomers wait until others leave (said once){cure}");
    }

    /// What the main thread does: resumes what is paused, and at a signal brings the server to its end.
    fn listen_to(&self, news: &Receiver<News>, doors: &[Door], datagrams: &[Datagrams], grace: Duration) {
        let mut paused: Vec<(Instant, News)> = Vec::new();
        let mut deadline = None;
        loop {
            let next = paused.iter().map(|(due, _)| *due).chain(deadline).min();
            let heard = match next {
                None => news.recv().map_err(RecvTimeoutError::from),
                Some(due) => news.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match heard {
                Ok(News::Signal(name)) => {
                    eprintln!("{name}: finishing what is in flight (once more to end at once)");
                    if self.stop(doors, datagrams) {
                        return;
                    }
                    deadline = Some(Instant::now() + grace);
                }
                Ok(short @ (News::Short(_) | News::ShortDatagrams(..))) => paused.push((Instant::now() + PAUSE, short)),
                Ok(News::Empty | News::Ended) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if deadline.is_some_and(|end| end <= Instant::now()) => return,
                Err(RecvTimeoutError::Timeout) => {
                    for (_, short) in paused.extract_if(.., |(due, _)| *due <= Instant::now()) {
                        self.resume(short);
                    }
                }
            }
        }
    }

    /// Starts again what had paused. Fails only if the port is closed, and then it is over anyway.
    fn resume(&self, short: News) {
        match short {
            News::Short(door) => {
                let open = self.roster().may_open(&door);
                if open {
                    let _ = self.open(&door);
                }
            }
            News::ShortDatagrams(socket, buffer) => drop(socket.recv_from(buffer.cleared())),
            _ => {}
        }
    }

    /// Accepts no more, and lets everybody go as soon as what they sent is echoed. True: nobody is here.
    fn stop(&self, doors: &[Door], datagrams: &[Datagrams]) -> bool {
        self.stopping.store(true, Ordering::SeqCst);
        let here = self.roster().stop();
        doors.iter().for_each(Associated::close);
        datagrams.iter().for_each(Associated::close);
        // Those that are being sent to do so themselves when that is done.
        here.iter().filter(|connection| connection.key().receiving.load(Ordering::SeqCst)).for_each(receive_no_more);
        here.is_empty()
    }
}
