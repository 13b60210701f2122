//! A thread per connection, with nothing but the standard library.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;

use clap::Parser;
use overlapped_bench::server::{Handler, Options};

/// A TCP echo server with a thread per connection
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// An echo needs little; the default of 2 MiB would only be address space.
const STACK_SIZE: usize = 64 * 1024;

fn main() -> anyhow::Result<()> {
    let options = Arguments::parse().options;
    let listener = options.listen()?;
    let handler = options.handler();
    for stream in listener.incoming() {
        let stream = stream?;
        let buffer_size = options.buffer_size();
        thread::Builder::new()
            .stack_size(STACK_SIZE)
            // An error ends this connection and concerns no other.
            .spawn(move || drop(echo(stream, buffer_size, handler)))?;
    }
    Ok(())
}

fn echo(mut stream: TcpStream, buffer_size: usize, handler: Handler) -> io::Result<()> {
    let mut buffer = vec![0; buffer_size];
    loop {
        let received = stream.read(&mut buffer)?;
        if received == 0 {
            return Ok(());
        }
        handler.handle(0, &mut buffer[..received]);
        stream.write_all(&buffer[..received])?;
    }
}
