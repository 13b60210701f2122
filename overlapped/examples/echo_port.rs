//! An echo server on a completion port. `cargo run --release -p overlapped --example echo_port [ADDRESS]`

use overlapped::net::TcpListener;
use overlapped::{BufferPool, CompletionPort, Concurrency, Packet, Result};

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9190".into());
    let port = CompletionPort::new(Concurrency::Processors)?;
    let pool = BufferPool::new(16 * 1024, 1024)?;
    let listener = port.associate(TcpListener::bind(address.as_str())?, ())?;
    listener.accept_each()?;
    println!("listening on {}", listener.local_addr()?);

    port.run(2 * port.concurrency(), |packet| {
        match packet {
            Packet::Accepted { result: Ok(stream), .. } => {
                stream.set_nodelay(true)?;
                port.associate(stream, ())?.recv_pooled(&pool)?;
            }
            Packet::Accepted { result: Err(error), more, .. } => {
                eprintln!("a connection could not be accepted: {error}");
                if !more {
                    return Err(error);
                }
            }
            Packet::Received { result: Ok(0) | Err(_), .. } => {} // the last owner is dropped here: closed
            Packet::Received { conn, buffer, .. } => {
                conn.send(buffer)?;
            }
            Packet::Sent { conn, result: Ok(_), .. } => {
                conn.recv_pooled(&pool)?;
            }
            _ => {}
        }
        Ok(())
    })
}
