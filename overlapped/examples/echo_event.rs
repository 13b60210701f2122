//! An echo server on events, on one thread. `cargo run --release -p overlapped --example echo_event [ADDRESS]`
//!
//! A wait takes 64 events: that of the accept, and those of 63 connections. The next connection is closed as it comes. Windows
//! programs start a thread for each 63.

use overlapped::done::{Accepted, Received, Sent};
use overlapped::net::TcpListener;
use overlapped::{BufferPool, Event, Pending, Result, event};

enum Waiting {
    Accept(Pending<Accepted>),
    Receive(Pending<Received>),
    Send(Pending<Sent>),
}

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9190".into());
    let pool = BufferPool::new(16 * 1024, 1024)?;
    let listener = TcpListener::bind(address.as_str())?;
    println!("listening on {}", listener.local_addr()?);
    let door = Event::auto_reset();
    let accept = listener.accept().signal(&door)?;

    let mut all = vec![(door, Waiting::Accept(accept))];
    loop {
        let events: Vec<_> = all.iter().map(|(event, _)| event).collect();
        let first = event::wait_any(&events, None)?;
        let (event, ended) = all.remove(first);
        let next = match ended {
            Waiting::Accept(accept) => {
                let stream = accept.wait().result?;
                stream.set_nodelay(true)?;
                if all.len() + 1 < event::MAX_EVENTS {
                    let own = Event::auto_reset();
                    let receive = stream.recv_pooled(&pool).signal(&own)?;
                    all.push((own, Waiting::Receive(receive)));
                }
                Waiting::Accept(listener.accept().signal(&event)?)
            }
            Waiting::Receive(receive) => match receive.wait() {
                Received { result: Ok(0) | Err(_), .. } => continue, // the last owner is dropped here: closed
                Received { conn, buffer, .. } => Waiting::Send(conn.send(buffer).signal(&event)?),
            },
            Waiting::Send(send) => match send.wait() {
                Sent { conn, result: Ok(_), .. } => Waiting::Receive(conn.recv_pooled(&pool).signal(&event)?),
                Sent { .. } => continue,
            },
        };
        all.push((event, next)); // at the back of the line: a wait prefers who is in front
    }
}
