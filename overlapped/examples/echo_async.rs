//! An echo server with a task for each connection, on one thread. `cargo run --release -p overlapped --example echo_async [ADDRESS]`

use async_executor::LocalExecutor;
use overlapped::net::{TcpListener, TcpStream};
use overlapped::{BufferPool, Result, alertable};

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9190".into());
    let pool = BufferPool::new(16 * 1024, 1024)?;
    let listener = TcpListener::bind(address.as_str())?;
    println!("listening on {}", listener.local_addr()?);

    let tasks = LocalExecutor::new();
    alertable::block_on(tasks.run(async {
        loop {
            let stream = listener.accept().await.result?;
            stream.set_nodelay(true)?;
            tasks.spawn(echo(stream, &pool)).detach();
        }
    }))
}

async fn echo(mut conn: TcpStream, pool: &BufferPool) {
    loop {
        let received = conn.recv_pooled(pool).await;
        match received.result {
            Ok(0) | Err(_) => return, // the last owner is dropped here: closed
            Ok(_) => {
                let sent = received.conn.send(received.buffer).await;
                match sent.result {
                    Ok(_) => conn = sent.conn,
                    Err(_) => return,
                }
            }
        }
    }
}
