//! overlapped: completion routines, a thread per worker, and the kernel deals out the connections.

use std::io;

use clap::Parser;
use overlapped::net::{TcpListener, TcpStream};
use overlapped::{Buffer, BufferPool, Result, alertable};
use overlapped_bench::server::{Handler, Options};

/// A TCP echo server on overlapped's completion routines
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// How many buffers the pool has
    #[arg(long, default_value_t = 2048)]
    buffers: usize,
    /// Receive into a buffer of the connection's own instead of one of the pool
    #[arg(long)]
    own_buffers: bool,
}

/// What the routines of a thread share. It lives as long as the thread, which is for ever.
struct Server {
    pool: BufferPool,
    own_buffers: bool,
    handler: Handler,
    worker: usize,
}

fn main() -> io::Result<()> {
    let Arguments { options, buffers, own_buffers } = Arguments::parse();
    options.serve_on_each_worker(|worker, listener| {
        let pool = BufferPool::new(options.buffer_size(), buffers)?;
        let server: &Server = Box::leak(Box::new(Server { pool, own_buffers, handler: options.handler(), worker }));
        server.accept(&listener.into())?;
        loop {
            alertable::sleep(alertable::FOREVER);
        }
    })
}

/// With the first operation the thread has got its ring; from then on none can fail to start.
const STARTED: &str = "the thread has its ring";

impl Server {
    fn accept(&'static self, listener: &TcpListener) -> Result<()> {
        listener.accept().then(|accepted| {
            let conn = accepted.result.expect("a connection can be accepted");
            self.receive(&conn, Buffer::empty()).expect(STARTED);
            self.accept(&accepted.listener).expect(STARTED);
        })?;
        Ok(())
    }

    fn receive(&'static self, conn: &TcpStream, sent: Buffer) -> Result<()> {
        let receive = match self.own_buffers {
            true if sent.capacity() == 0 => conn.recv(Buffer::with_capacity(self.pool.buffer_size())),
            true => conn.recv(sent),
            false => {
                drop(sent); // back into the pool before it is asked
                conn.recv_pooled(&self.pool)
            }
        };
        receive.then(|mut received| match received.result {
            Ok(0) | Err(_) => {}
            Ok(_) => {
                self.handler.handle(self.worker, &mut received.buffer);
                self.send(&received.conn, received.buffer).expect(STARTED);
            }
        })?;
        Ok(())
    }

    fn send(&'static self, conn: &TcpStream, buffer: Buffer) -> Result<()> {
        conn.send(buffer).then(|sent| {
            if sent.result.is_ok() {
                self.receive(&sent.conn, sent.buffer).expect(STARTED);
            }
        })?;
        Ok(())
    }
}
