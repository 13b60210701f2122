//! compio: a runtime per thread, and the kernel deals out the connections.
//!
//! Two ways to use it. By default, as its examples do: a buffer per connection, the default runtime. With
//! `--multishot`, the most the library offers: multishot receives out of a buffer pool, a tuned ring.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::num::NonZero;

use clap::Parser;
use compio::buf::{IntoInner, IoBuf};
use compio::driver::ProactorBuilder;
use compio::io::{AsyncRead, AsyncReadMulti, AsyncWriteExt};
use compio::net::TcpStream;
use compio::runtime::RuntimeBuilder;
use futures_util::StreamExt;
use overlapped_bench::server::{Handler, Options};

/// A TCP echo server on compio
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Set up the ring with SINGLE_ISSUER and DEFER_TASKRUN
    #[arg(long)]
    tuned: bool,
    /// Receive by multishot into a pool of buffers
    #[arg(long)]
    multishot: bool,
    /// How many buffers the pool has (for --multishot)
    #[arg(long, default_value = "2048")]
    buffers: NonZero<u16>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    arguments.options.serve_on_each_worker(|worker, listener| serve(&arguments, worker, listener))?;
    Ok(())
}

fn serve(arguments: &Arguments, worker: usize, listener: TcpListener) -> io::Result<()> {
    let mut proactor = ProactorBuilder::new();
    if arguments.tuned {
        proactor.capacity(4096).single_issuer(true).defer_taskrun(true);
    }
    if arguments.multishot {
        proactor.buffer_pool_size(arguments.buffers).buffer_pool_buffer_len(arguments.options.buffer_size());
    }
    let runtime = RuntimeBuilder::new().with_proactor(proactor).build()?;
    let multishot = arguments.multishot;
    runtime.block_on(async {
        let listener = compio::net::TcpListener::from_std(listener)?;
        let handler = arguments.options.handler();
        let buffer_size = arguments.options.buffer_size();
        loop {
            let (stream, _) = listener.accept().await?;
            match multishot {
                true => compio::runtime::spawn(echo_multishot(stream, handler, worker)).detach(),
                false => compio::runtime::spawn(echo(stream, buffer_size, handler, worker)).detach(),
            }
        }
    })
}

async fn echo(mut stream: TcpStream, buffer_size: usize, handler: Handler, worker: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(buffer_size);
    loop {
        buffer.clear();
        let (received, filled) = stream.read(buffer).await.into();
        buffer = filled;
        let received: usize = received?;
        if received == 0 {
            return Ok(());
        }
        handler.handle(worker, &mut buffer[..received]);
        let (sent, slice) = stream.write_all(buffer.slice(..received)).await.into();
        sent?;
        buffer = slice.into_inner();
    }
}

async fn echo_multishot(stream: TcpStream, handler: Handler, worker: usize) -> io::Result<()> {
    let (mut reader, mut writer) = (&stream, &stream);
    loop {
        let mut received = std::pin::pin!(reader.read_multi(0));
        loop {
            match received.next().await {
                Some(Ok(mut buffer)) if !buffer.is_empty() => {
                    handler.handle(worker, &mut buffer);
                    let (sent, _buffer) = writer.write_all(buffer).await.into();
                    sent?;
                }
                // Out of buffers is no error of this connection's. The multishot has ended with it: ask again.
                Some(Err(error)) if error.kind() == ErrorKind::ResourceBusy => break,
                Some(Err(error)) => return Err(error),
                Some(Ok(_)) | None => return Ok(()),
            }
        }
    }
}
