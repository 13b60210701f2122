//! overlapped: events, and a thread for each 63 connections, as Windows programs have it: a wait takes 64 events, and one of
//! them tells of newcomers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use clap::Parser;
use overlapped::done::{Received, Sent};
use overlapped::net::{TcpListener, TcpStream};
use overlapped::{BufferPool, Event, Pending, Result, event};
use overlapped_bench::server::{Handler, Options};

/// A TCP echo server on overlapped's events
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// How many buffers the pool has
    #[arg(long, default_value_t = 2048)]
    buffers: usize,
}

const MOST_CONNECTIONS: usize = event::MAX_EVENTS - 1;

fn main() -> io::Result<()> {
    let Arguments { options, buffers } = Arguments::parse();
    let pool = BufferPool::new(options.buffer_size(), buffers)?;
    let listener = TcpListener::from(options.listen()?);
    let door = Event::auto_reset();
    let mut threads: Vec<Member> = Vec::new();
    loop {
        let stream = listener.accept().signal(&door)?.wait().result?;
        let member = match threads.iter().position(|member| member.load.load(Ordering::Relaxed) < MOST_CONNECTIONS) {
            Some(free) => &threads[free],
            None => {
                threads.push(Member::start(pool.clone(), options.handler())?);
                &threads[threads.len() - 1]
            }
        };
        member.load.fetch_add(1, Ordering::Relaxed);
        member.send.send(stream).expect("the thread runs as long as this one");
        member.newcomer.set();
    }
}

/// A thread that serves, as seen from the one that accepts.
struct Member {
    /// How many connections it has or is about to have.
    load: Arc<AtomicUsize>,
    send: Sender<TcpStream>,
    newcomer: Event,
}

impl Member {
    fn start(pool: BufferPool, handler: Handler) -> io::Result<Member> {
        let (send, newcomers) = mpsc::channel();
        let (load, newcomer) = (Arc::new(AtomicUsize::new(0)), Event::auto_reset());
        let thread = Thread { pool, handler, newcomers, load: Arc::clone(&load) };
        let event = newcomer.clone();
        thread::Builder::new().spawn(move || {
            if let Err(error) = thread.serve(event) {
                // The others would go on, and the numbers would be of half a server.
                eprintln!("a thread: {error}");
                std::process::exit(1);
            }
        })?;
        Ok(Member { load, send, newcomer })
    }
}

struct Thread {
    pool: BufferPool,
    handler: Handler,
    newcomers: Receiver<TcpStream>,
    load: Arc<AtomicUsize>,
}

enum Waiting {
    Receive(Pending<Received>),
    Send(Pending<Sent>),
}

impl Thread {
    fn serve(self, newcomer: Event) -> Result<()> {
        // The connection `n` waits for the event `n + 1`.
        let mut events = vec![newcomer];
        let mut connections = Vec::new();
        loop {
            event::wait_any(&events.iter().collect::<Vec<_>>(), None)?;
            // A wait prefers the first that is set. Who has set its event meanwhile is served too: all are served alike, and fewer
            // waits are needed.
            let mut at = 0;
            while at < connections.len() {
                match self.advance(&mut connections[at], &events[at + 1])? {
                    true => at += 1,
                    false => {
                        connections.swap_remove(at);
                        events.swap_remove(at + 1);
                        self.load.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
            for stream in self.newcomers.try_iter() {
                let event = Event::auto_reset();
                connections.push(Waiting::Receive(stream.recv_pooled(&self.pool).signal(&event)?));
                events.push(event);
            }
        }
    }

    /// Goes on with a connection if what it waits for has ended. False: it is closed.
    fn advance(&self, waiting: &mut Waiting, event: &Event) -> Result<bool> {
        *waiting = match waiting {
            Waiting::Receive(receive) if receive.is_done() => match receive.try_result()? {
                Received { result: Ok(0) | Err(_), .. } => return Ok(false),
                Received { conn, mut buffer, .. } => {
                    self.handler.handle(0, &mut buffer);
                    Waiting::Send(conn.send(buffer).signal(event)?)
                }
            },
            Waiting::Send(send) if send.is_done() => match send.try_result()? {
                Sent { result: Err(_), .. } => return Ok(false),
                Sent { conn, buffer, .. } => {
                    drop(buffer); // back into the pool before it is asked
                    Waiting::Receive(conn.recv_pooled(&self.pool).signal(event)?)
                }
            },
            Waiting::Receive(_) | Waiting::Send(_) => return Ok(true),
        };
        Ok(true)
    }
}
