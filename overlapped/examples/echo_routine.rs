//! An echo server with completion routines, on one thread. `cargo run --release -p overlapped --example echo_routine [ADDRESS]`

use overlapped::net::{TcpListener, TcpStream};
use overlapped::{Buffer, BufferPool, Result, alertable};

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9190".into());
    let pool = BufferPool::new(16 * 1024, 1024)?;
    let listener = TcpListener::bind(address.as_str())?;
    println!("listening on {}", listener.local_addr()?);
    accept(&listener, pool)?;

    loop {
        alertable::sleep(alertable::FOREVER);
    }
}

fn accept(listener: &TcpListener, pool: BufferPool) -> Result<()> {
    listener.accept().then(move |accepted| {
        let served = accepted.result.and_then(|stream| {
            stream.set_nodelay(true)?;
            receive(&stream, pool.clone())
        });
        // A panic goes through the sleep, and so ends the server.
        served.and_then(|()| accept(&accepted.listener, pool)).expect("a connection can be accepted");
    })?;
    Ok(())
}

fn receive(conn: &TcpStream, pool: BufferPool) -> Result<()> {
    conn.recv_pooled(&pool.clone()).then(|received| match received.result {
        Ok(0) | Err(_) => {} // the last owner is dropped here: closed
        Ok(_) => send(&received.conn, received.buffer, pool).expect("an operation can be started"),
    })?;
    Ok(())
}

fn send(conn: &TcpStream, buffer: Buffer, pool: BufferPool) -> Result<()> {
    conn.send(buffer).then(|sent| {
        if sent.result.is_ok() {
            receive(&sent.conn, pool).expect("an operation can be started");
        }
    })?;
    Ok(())
}
