//! tokio: the current-thread runtime, or the multi-thread one for more than one worker.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use overlapped_bench::server::{Handler, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// A TCP echo server on tokio
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

thread_local! {
    /// Which of the runtime's threads this is.
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

fn main() -> anyhow::Result<()> {
    let options = Arguments::parse().options;
    let runtime = match options.workers() {
        1 => Builder::new_current_thread().enable_io().build()?,
        workers => {
            let next = AtomicUsize::new(0);
            Builder::new_multi_thread()
                .worker_threads(workers)
                .on_thread_start(move || WORKER.set(next.fetch_add(1, Ordering::Relaxed)))
                .enable_io()
                .build()?
        }
    };
    let listener = options.listen()?;
    listener.set_nonblocking(true)?;
    runtime.block_on(async {
        // Accepting is a task too: the thread that calls `block_on` is no worker of a multi-thread runtime.
        tokio::spawn(accept(listener, options)).await?
    })?;
    Ok(())
}

async fn accept(listener: std::net::TcpListener, options: Options) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let handler = options.handler();
    let buffer_size = options.buffer_size();
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream, buffer_size, handler));
    }
}

async fn echo(mut stream: TcpStream, buffer_size: usize, handler: Handler) -> io::Result<()> {
    let mut buffer = vec![0; buffer_size];
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        handler.handle(WORKER.get(), &mut buffer[..received]);
        stream.write_all(&buffer[..received]).await?;
    }
}
