//! What all echo servers do alike: listen, announce themselves, and treat a message.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, Socket, Type};

use crate::protocol::{SLOW, WHO};

/// Long enough for a driver that opens connections in batches; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Every Linux has this one, and it sets no timers of its own.
pub const CONGESTION_CONTROL: &[u8] = b"reno";

/// The options that every echo server takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// The address to listen on; port 0 lets the kernel choose
    pub address: SocketAddr,
    /// The receive buffer, in bytes
    #[arg(long, default_value_t = 16 * 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub buffer_size: u32,
    /// How many threads serve
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    /// How long the handler blocks on a message that asks for it (its first byte is 0xFF), in milliseconds
    #[arg(long, default_value_t = 0)]
    pub slow_ms: u64,
    /// The processor time the handler spends on each receive, in microseconds
    #[arg(long, default_value_t = 0)]
    pub work_us: u64,
}

impl Options {
    pub fn buffer_size(&self) -> usize {
        self.buffer_size as usize
    }

    pub fn workers(&self) -> usize {
        usize::from(self.workers)
    }

    pub fn handler(&self) -> Handler {
        Handler { block_for: Duration::from_millis(self.slow_ms), work_for: Duration::from_micros(self.work_us) }
    }

    /// One listening socket, announced.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let listener = bind(self.address, false)?;
        announce(listener.local_addr()?)?;
        Ok(listener)
    }

    /// Runs `serve(worker, listener)` on as many threads as there are workers, each with a listening socket of its
    /// own on the same address (`SO_REUSEPORT`), so that the kernel deals out the connections.
    pub fn serve_on_each_worker<F>(&self, serve: F) -> io::Result<()>
    where
        F: Fn(usize, TcpListener) -> io::Result<()> + Send + Sync,
    {
        let first = bind(self.address, self.workers > 1)?;
        let address = first.local_addr()?;
        let mut listeners = vec![first];
        for _ in 1..self.workers {
            listeners.push(bind(address, true)?);
        }
        announce(address)?;
        let mut listeners = listeners.into_iter().enumerate();
        let (_, own) = listeners.next().expect("there is at least one worker");
        thread::scope(|scope| {
            for (worker, listener) in listeners {
                let serve = &serve;
                scope.spawn(move || {
                    if let Err(error) = serve(worker, listener) {
                        // The other workers would go on, and the numbers would be of half a server.
                        eprintln!("worker {worker}: {error}");
                        std::process::exit(1);
                    }
                });
            }
            serve(0, own)
        })
    }
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit this on Linux, so no server needs a system call per connection for it.
    socket.set_tcp_nodelay(true)?;
    // The congestion control too, and the driver does the same: one that paces by timers measures the timers on loopback.
    socket.set_tcp_congestion(CONGESTION_CONTROL)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Tells whoever started the server where it listens. Nothing else is ever written to standard output.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on {address}")?;
    stdout.flush()
}

/// What a server does with what it received, before it sends it back.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    block_for: Duration,
    work_for: Duration,
}

impl Handler {
    /// Treats one receive on behalf of `worker`. Blocks or computes where the options or the message ask for it.
    #[inline]
    pub fn handle(&self, worker: usize, received: &mut [u8]) {
        if !self.work_for.is_zero() {
            compute(self.work_for);
        }
        match received {
            [SLOW, ..] if !self.block_for.is_zero() => thread::sleep(self.block_for),
            [WHO, answer, ..] => *answer = worker as u8,
            _ => {}
        }
    }
}

/// Uses up processor time, not wall-clock time: a thread that was preempted meanwhile has not done its work.
#[cold]
fn compute(work_for: Duration) {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let end = now() + work_for;
    while now() < end {}
}
