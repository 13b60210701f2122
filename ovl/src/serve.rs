//! `ovl serve`: what the echo servers of all models have in common.

mod desk;
mod event;
mod futures;
mod guests;
mod port;
mod roster;
mod routine;
mod summary;

use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use overlapped::net::{TcpListener, UdpSocket};
use overlapped::{Buffer, CompletionPort, Error};

use crate::cli::{Model, Serve};
use crate::{platform, text, trace};
use desk::{Desk, Hearing};
use summary::Stopped;

/// Receives outstanding on each datagram socket: so many can arrive while others are echoed.
const DATAGRAMS: usize = 16;

/// Room for the largest datagram.
fn datagram_buffer() -> Buffer {
    Buffer::with_capacity(65_535)
}

/// Serves until a signal ends it and returns the exit code.
pub(crate) fn run(options: &Serve) -> Result<u8> {
    if options.end_with_parent {
        platform::end_with_parent()?;
    }
    platform::raise_descriptors();
    let started = Instant::now();
    let summary = trace::recorded(options.trace.as_deref(), || {
        let setup = Setup::new(options)?;
        let desk = Arc::clone(&setup.desk);
        match options.model {
            Model::Port => port::serve(setup)?,
            Model::Routine => routine::serve(setup)?,
            Model::Event => event::serve(setup)?,
            Model::Async => futures::serve(setup)?,
        }
        Ok(desk.summary())
    })?;
    say(format_args!("{}", Stopped { summary, after: started.elapsed() }));
    Ok(0)
}

/// Prints a line at once. That nobody reads it any more is no reason to end.
fn say(line: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What a server of any model begins with.
struct Setup<'a> {
    options: &'a Serve,
    desk: Arc<Desk>,
    hearing: Hearing,
    listeners: Vec<TcpListener>,
    sockets: Vec<UdpSocket>,
    addresses: Addresses,
}

impl<'a> Setup<'a> {
    fn new(options: &'a Serve) -> Result<Self> {
        let (desk, hearing) = Desk::new(options)?;
        let (mut listeners, mut sockets, mut addresses) = (Vec::new(), Vec::new(), Addresses(Vec::new()));
        for address in &options.listen {
            let (listener, socket) =
                bind(address, options.udp).with_context(|| format!("cannot listen on {address}"))?;
            addresses.0.push(listener.local_addr()?.to_string());
            listeners.push(listener);
            if let Some(socket) = socket {
                addresses.0.push(format!("{}/udp", socket.local_addr()?));
                sockets.push(socket);
            }
        }
        Ok(Self { options, desk, hearing, listeners, sockets, addresses })
    }

    /// Threads to begin with.
    fn threads(&self) -> usize {
        self.options.threads.map_or(1, usize::from)
    }

    /// What the main thread does from the ready lines to the end of the grace, in the models without a port. At the first signal it
    /// closes listeners and sockets, and has `stop` tell the threads to let everybody go.
    fn conduct(&self, engine: &str, stop: impl Fn()) {
        let (model, threads) = (self.options.model.name(), text::count(self.threads() as u64, "thread"));
        self.addresses.announce(format_args!("model {model}, engine {engine}, {threads}"));
        self.desk.conduct(&self.hearing, self.options.grace, || {
            self.listeners.iter().for_each(TcpListener::close);
            self.sockets.iter().for_each(UdpSocket::close);
            stop();
        });
    }
}

/// What operations run on. Asked first, so that threads and tasks need not say each that there is none.
fn engine() -> Result<&'static str> {
    let port: CompletionPort =
        CompletionPort::builder().concurrency(1).build().context("cannot start (`ovl doctor` says more)")?;
    Ok(port.engine())
}

/// Where the server listens.
struct Addresses(Vec<String>);

impl Addresses {
    /// Prints the ready lines.
    fn announce(&self, how: fmt::Arguments<'_>) {
        self.0.iter().for_each(|address| say(format_args!("listening on {address} ({how})")));
    }
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
