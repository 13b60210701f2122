//! Bare epoll, edge-triggered: what a careful program does without io_uring.
//!
//! One receive buffer per thread. A connection has memory of its own only while the kernel does not take all of its
//! echo. Each connection is registered once, for reading and writing, and never modified.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use clap::Parser;
use overlapped_bench::server::{Handler, Options};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

/// A TCP echo server on bare epoll
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> anyhow::Result<()> {
    let options = Arguments::parse().options;
    options.serve_on_each_worker(|worker, listener| serve(&options, worker, listener))?;
    Ok(())
}

const LISTENER: u64 = u64::MAX;
const EVENTS_PER_WAIT: usize = 1024;

struct Connection {
    stream: TcpStream,
    /// Received, but not yet taken back by the kernel; nothing is received until it is.
    unsent: Vec<u8>,
    /// The peer has finished or the connection is broken, as an event has told.
    ending: bool,
}

/// What a turn of echoing left a connection in.
enum Progress {
    /// Everything there was has been received, or the kernel does not take more for now.
    Open,
    Finished,
}

fn serve(options: &Options, worker: usize, listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let handler = options.handler();
    let mut buffer = vec![0; options.buffer_size()];
    // By file descriptor.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                accept_all(&listener, &poll, &mut connections)?;
                continue;
            }
            let slot = &mut connections[key as usize];
            let Some(connection) = slot else {
                continue;
            };
            let flags = event.flags;
            let ending = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            match connection.echo(&mut buffer, handler, worker, ending) {
                Ok(Progress::Open) => {}
                // Closing the only descriptor of the socket also takes it out of the epoll set.
                Ok(Progress::Finished) | Err(_) => *slot = None,
            }
        }
    }
}

fn accept_all(listener: &TcpListener, poll: &OwnedFd, connections: &mut Vec<Option<Connection>>) -> io::Result<()> {
    loop {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = match accept_with(listener, flags) {
            Ok(stream) => TcpStream::from(stream),
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(error) => return Err(error.into()),
        };
        let file = stream.as_raw_fd() as usize;
        epoll::add(
            poll,
            &stream,
            EventData::new_u64(file as u64),
            EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
        )?;
        if connections.len() <= file {
            connections.resize_with(file + 1, || None);
        }
        connections[file] = Some(Connection { stream, unsent: Vec::new(), ending: false });
    }
}

impl Connection {
    /// Echoes until nothing is left to receive or the kernel takes no more.
    fn echo(&mut self, buffer: &mut [u8], handler: Handler, worker: usize, ending: bool) -> io::Result<Progress> {
        // The edge is reported once; it may find us waiting to send.
        self.ending |= ending;
        if !self.send_unsent()? {
            return Ok(Progress::Open);
        }
        loop {
            let received = match self.stream.read(buffer) {
                Ok(0) => return Ok(Progress::Finished),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Open),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            handler.handle(worker, &mut buffer[..received]);
            let sent = send(&mut self.stream, &buffer[..received])?;
            if sent < received {
                self.unsent.extend_from_slice(&buffer[sent..received]);
                return Ok(Progress::Open);
            }
            // A short receive has emptied the socket: what comes later makes a new edge. Only the end of the stream
            // may have made its edge already.
            if received < buffer.len() && !self.ending {
                return Ok(Progress::Open);
            }
        }
    }

    /// Whether nothing is unsent any more.
    fn send_unsent(&mut self) -> io::Result<bool> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        let sent = send(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..sent);
        Ok(self.unsent.is_empty())
    }
}

/// Sends as much as the kernel takes now.
fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(more) => sent += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
