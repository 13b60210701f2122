//! monoio: a runtime per thread, and the kernel deals out the connections.

use std::io;
use std::net::TcpListener;

use clap::Parser;
use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, RuntimeBuilder};
use overlapped_bench::server::{Handler, Options};

/// A TCP echo server on monoio
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

fn serve(options: &Options, worker: usize, listener: TcpListener) -> io::Result<()> {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().with_entries(4096).build()?;
    runtime.block_on(async {
        let listener = monoio::net::TcpListener::from_std(listener)?;
        let handler = options.handler();
        let buffer_size = options.buffer_size();
        loop {
            let (stream, _) = listener.accept().await?;
            monoio::spawn(echo(stream, buffer_size, handler, worker));
        }
    })
}

async fn echo(mut stream: TcpStream, buffer_size: usize, handler: Handler, worker: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer_size];
    loop {
        let result;
        (result, buffer) = stream.read(buffer).await;
        let received = result?;
        if received == 0 {
            return Ok(());
        }
        handler.handle(worker, &mut buffer[..received]);
        let (result, sent) = stream.write_all(buffer.slice_mut(..received)).await;
        result?;
        buffer = sent.into_inner();
    }
}
