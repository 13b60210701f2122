//! overlapped: futures under `alertable::block_on`, a thread per worker, and the kernel deals out the connections. A task for
//! each connection, on an executor that lives on one thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use async_executor::LocalExecutor;
use async_task::Runnable;
use clap::{Parser, ValueEnum};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use overlapped::net::{TcpListener, TcpStream};
use overlapped::{Buffer, BufferPool, Result, alertable};
use overlapped_bench::server::{Handler, Options};

/// A TCP echo server on overlapped's futures
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
    /// Who polls the tasks
    #[arg(long, value_enum, default_value_t = Executor::Queue)]
    executor: Executor,
}

#[derive(Clone, Copy, ValueEnum)]
enum Executor {
    /// Tasks of async-task, and a queue of this thread's
    Queue,
    /// `LocalExecutor` of async-executor
    Local,
    /// `FuturesUnordered` of futures-util
    Unordered,
}

/// What the tasks of a thread share.
struct Server {
    pool: BufferPool,
    own_buffers: bool,
    handler: Handler,
    worker: usize,
}

fn main() -> io::Result<()> {
    let Arguments { options, buffers, own_buffers, executor } = Arguments::parse();
    options.serve_on_each_worker(|worker, listener| {
        let pool = BufferPool::new(options.buffer_size(), buffers)?;
        let server = Rc::new(Server { pool, own_buffers, handler: options.handler(), worker });
        let listener = TcpListener::from(listener);
        match executor {
            Executor::Queue => alertable::block_on(server.on_queue(listener))?,
            Executor::Local => alertable::block_on(server.on_local_executor(listener))?,
            Executor::Unordered => alertable::block_on(server.on_futures_unordered(listener))?,
        }
        Ok(())
    })
}

thread_local! {
    static READY: RefCell<VecDeque<Runnable>> = const { RefCell::new(VecDeque::new()) };
    /// Of who polls them.
    static WAKER: RefCell<Waker> = RefCell::new(Waker::noop().clone());
}

/// A task of this thread can go on. Nobody else wakes one: all that they await ends here.
fn ready(task: Runnable) {
    let is_first = READY.with_borrow_mut(|ready| {
        ready.push_back(task);
        ready.len() == 1
    });
    if is_first {
        WAKER.with_borrow(Waker::wake_by_ref);
    }
}

fn next_ready() -> Option<Runnable> {
    READY.with_borrow_mut(VecDeque::pop_front)
}

impl Server {
    async fn on_queue(self: Rc<Self>, listener: TcpListener) -> Result<()> {
        let mut accept = pin!(listener.accept().into_future());
        loop {
            let accepted = poll_fn(|context| {
                WAKER.with_borrow_mut(|waker| waker.clone_from(context.waker()));
                while let Some(task) = next_ready() {
                    task.run();
                }
                accept.as_mut().poll(context)
            });
            let stream = accepted.await.result?;
            accept.set(listener.accept().into_future());
            let server = Rc::clone(&self);
            let (task, handle) = async_task::spawn_local(async move { server.echo(stream).await }, ready);
            task.schedule();
            handle.detach();
        }
    }

    async fn on_local_executor(&self, listener: TcpListener) -> Result<()> {
        let executor = LocalExecutor::new();
        let accept = async {
            loop {
                let stream = listener.accept().await.result?;
                executor.spawn(self.echo(stream)).detach();
            }
        };
        executor.run(accept).await
    }

    async fn on_futures_unordered(&self, listener: TcpListener) -> Result<()> {
        let mut tasks = FuturesUnordered::new();
        loop {
            let mut accept = pin!(listener.accept().into_future());
            let accepted = poll_fn(|context| {
                // Those that have ended are no news, but there is none to hear of behind a `None`: then all wait for the accept.
                while let Poll::Ready(Some(())) = tasks.poll_next_unpin(context) {}
                accept.as_mut().poll(context)
            });
            let stream = accepted.await.result?;
            tasks.push(self.echo(stream));
        }
    }

    async fn echo(&self, mut conn: TcpStream) {
        let mut buffer = Buffer::empty();
        loop {
            let receive = match self.own_buffers {
                true if buffer.capacity() == 0 => conn.recv(Buffer::with_capacity(self.pool.buffer_size())),
                true => conn.recv(buffer),
                false => {
                    drop(buffer); // back into the pool before it is asked
                    conn.recv_pooled(&self.pool)
                }
            };
            let mut received = receive.await;
            if let Ok(0) | Err(_) = received.result {
                return;
            }
            self.handler.handle(self.worker, &mut received.buffer);
            let sent = received.conn.send(received.buffer).await;
            if sent.result.is_err() {
                return;
            }
            (conn, buffer) = (sent.conn, sent.buffer);
        }
    }
}
