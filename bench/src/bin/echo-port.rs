//! overlapped: a completion port.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use overlapped::engine::Engine;
use overlapped::{BufferPool, CompletionPort, Packet};
use overlapped_bench::server::Options;

/// A TCP echo server on overlapped's completion port
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Threads that take packets; by default one for one worker, and otherwise some to step in for those that block
    #[arg(long)]
    threads: Option<usize>,
    /// How many buffers the pool has
    #[arg(long, default_value_t = 2048)]
    buffers: usize,
    /// Receive into a buffer of the connection's own instead of one of the pool
    #[arg(long)]
    own_buffers: bool,
    /// Wait for so many packets at once, if they come within --gather-us
    #[arg(long)]
    gather: Option<u32>,
    /// How long to wait for them, in microseconds
    #[arg(long, default_value_t = 50)]
    gather_us: u64,
    /// Run on readiness, as where io_uring is not to be had
    #[arg(long)]
    readiness: bool,
}

thread_local! {
    /// Which worker this thread is.
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
}

fn main() -> io::Result<()> {
    let Arguments { options, threads, buffers, own_buffers, gather, gather_us, readiness } = Arguments::parse();
    let workers = options.workers();
    let threads = threads.unwrap_or(if workers == 1 { 1 } else { 8 * workers });
    let handler = options.handler();
    let next = AtomicUsize::new(0);
    let this_worker = || match WORKER.get() {
        Some(worker) => worker,
        None => {
            let worker = next.fetch_add(1, Ordering::Relaxed);
            WORKER.set(Some(worker));
            worker
        }
    };

    let mut settings = CompletionPort::builder().concurrency(workers);
    if let Some(packets) = gather {
        settings = settings.gather(packets, Duration::from_micros(gather_us));
    }
    if readiness {
        settings = settings.engine(Engine::Readiness);
    }
    let port: CompletionPort = settings.build()?;
    let pool = BufferPool::new(options.buffer_size(), buffers)?;
    let listener = port.associate(options.listen()?.into(), ())?;
    let listener: overlapped::Associated<overlapped::net::TcpListener> = listener;
    listener.accept_each()?;
    Ok(port.run(threads, |packet| {
        match packet {
            Packet::Accepted { result, .. } => {
                let conn = port.associate(result?, ())?;
                match own_buffers {
                    true => conn.recv(Vec::with_capacity(options.buffer_size()).into())?,
                    false => conn.recv_pooled(&pool)?,
                };
            }
            Packet::Received { result: Ok(0) | Err(_), .. } => {}
            Packet::Received { conn, mut buffer, .. } => {
                handler.handle(this_worker() % workers, &mut buffer);
                conn.send(buffer)?;
            }
            Packet::Sent { conn, buffer, result: Ok(_), .. } => {
                match own_buffers {
                    true => conn.recv(buffer)?,
                    false => conn.recv_pooled(&pool)?,
                };
            }
            _ => {}
        }
        Ok(())
    })?)
}
