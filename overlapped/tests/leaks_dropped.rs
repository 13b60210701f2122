//! C11 and R06, counted: thousands of operations without a port, ended or dropped in every way there is, leave nothing behind: no buffer,
//! descriptor, thread or pool.
//!
//! Alone in this file: it counts what its process has.

mod common;

use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::alertable;
use overlapped::done::Done;
use overlapped::fs::File;
use overlapped::net::{TcpListener, TcpStream, UdpSocket};
use overlapped::{BufferPool, Event, Operation};
use smol::future::yield_now;

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    NeverStarted,
    FutureDropped,
    /// Some polls later: it may have ended.
    FutureDroppedLater,
    FutureCancelled,
    PendingDropped,
    PendingDroppedLater,
    PendingCancelled,
    /// The thread ends before the kernel has heard of it.
    RoutineNeverHandedOver,
    /// The thread ends while it pends, or has ended and was not told.
    RoutineNeverTold,
    RoutineCancelled,
    TimedOut,
}

use Fate::*;

const FATES: [Fate; 11] = [
    NeverStarted,
    FutureDropped,
    FutureDroppedLater,
    FutureCancelled,
    PendingDropped,
    PendingDroppedLater,
    PendingCancelled,
    RoutineNeverHandedOver,
    RoutineNeverTold,
    RoutineCancelled,
    TimedOut,
];

/// Lets an operation meet its fate. `token` is in every routine.
async fn meet<T: Done>(operation: Operation<T>, fate: Fate, token: &Arc<()>, cancel: impl Fn()) {
    let event = Event::manual_reset();
    let inside = Arc::clone(token);
    match fate {
        NeverStarted => drop(operation),
        FutureDropped => drop(Started::new(operation)),
        FutureDroppedLater => {
            let mut future = operation.into_future();
            for _ in 0..3 {
                if poll(&mut future).is_ready() {
                    return;
                }
                yield_now().await;
            }
        }
        FutureCancelled => {
            let mut future = operation.into_future();
            if poll(&mut future).is_pending() {
                future.cancel();
                future.await;
            }
        }
        PendingDropped => drop(operation.signal(&event).unwrap()),
        PendingDroppedLater => {
            let _pending = operation.signal(&event).unwrap();
            let _ = event.wait(Duration::from_micros(100));
        }
        PendingCancelled => {
            let pending = operation.signal(&event).unwrap();
            let _ = pending.cancel(); // or it has ended
            drop(pending.wait());
        }
        RoutineNeverHandedOver => {
            operation.then(move |done| drop((done, inside))).unwrap();
        }
        RoutineNeverTold => {
            operation.then(move |done| drop((done, inside))).unwrap();
            alertable::flush();
        }
        RoutineCancelled => {
            let told = Rc::new(Cell::new(false));
            let tell = Rc::clone(&told);
            operation
                .then(move |done| {
                    tell.set(true);
                    drop((done, inside));
                })
                .unwrap();
            cancel();
            run_until("the routine", || told.get());
        }
        TimedOut => drop(operation.within(Duration::from_micros(100)).await),
    }
}

/// Handles for operations of every kind, most of which never end by themselves.
struct Handles {
    conn: TcpStream,
    /// Its buffers are full: nothing can be sent.
    full: TcpStream,
    listener: TcpListener,
    address: SocketAddr,
    socket: UdpSocket,
    datagrams: SocketAddr,
    file: File,
    /// To be connected to somebody who does not answer.
    unanswered: SocketAddr,
    peers: Vec<std::net::TcpStream>,
}

impl Handles {
    fn new(unanswered: SocketAddr) -> Self {
        let (conn, peer) = free_pair();
        let (ours, full_peer) = plain_pair();
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[0; 65536]).is_ok() {}
        let (listener, address) = free_listener();
        let (socket, datagrams) = free_udp();
        let path = std::env::temp_dir().join(format!("overlapped-dropped-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let peers = vec![peer, full_peer];
        Self { conn, full: ours.into(), listener, address, socket, datagrams, file, unanswered, peers }
    }

    /// One operation of each kind meets its fate. Says how many they were.
    async fn all(&mut self, fate: Fate, pool: &BufferPool, pooled: &BufferPool, token: &Arc<()>, data: bool) -> usize {
        if data {
            // Something for each to take.
            self.peers[0].write_all(b"data for two receives").unwrap();
            self.peers.push(connect(self.address));
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", self.datagrams).unwrap();
        }
        let buffer = || {
            let mut buffer = pool.take().expect("a buffer");
            buffer.extend_from_slice(b"eight by").unwrap();
            buffer
        };
        let Self { conn, full, listener, socket, file, .. } = &*self;
        let all = |_cancelled: overlapped::Result<()>| {}; // not found: it has ended
        meet(conn.recv(pool.take().unwrap()), fate, token, || all(conn.cancel_all())).await;
        meet(conn.recv_pooled(pooled), fate, token, || all(conn.cancel_all())).await;
        meet(conn.recv(pool.take().unwrap()), fate, token, || all(conn.cancel_all())).await;
        meet(full.send(buffer()), fate, token, || all(full.cancel_all())).await;
        meet(full.send_vectored(vec![buffer(), buffer()]), fate, token, || all(full.cancel_all())).await;
        meet(listener.accept(), fate, token, || all(listener.cancel_all())).await;
        meet(socket.recv_from(pool.take().unwrap()), fate, token, || all(socket.cancel_all())).await;
        meet(socket.send_to(buffer(), self.datagrams), fate, token, || all(socket.cancel_all())).await;
        let connecting = TcpStream::unconnected(self.unanswered).unwrap();
        meet(connecting.connect(self.unanswered), fate, token, || all(connecting.cancel_all())).await;
        meet(file.write_at(buffer(), 0), fate, token, || all(file.cancel_all())).await;
        meet(file.read_at(pool.take().unwrap(), 0), fate, token, || all(file.cancel_all())).await;
        meet(file.sync(false), fate, token, || all(file.cancel_all())).await;
        12
    }
}

/// All of it on a thread of its own, which ends. Says how many operations there were.
fn round(fate: Fate, own_ring: bool, unanswered: SocketAddr, pools: &[BufferPool; 2], token: &Arc<()>) -> usize {
    let [pool, pooled] = pools.clone();
    let token = Arc::clone(token);
    thread::spawn(move || {
        let mut handles = Handles::new(unanswered);
        let all: Pin<Box<dyn Future<Output = usize>>> = Box::pin(async move {
            let mut count = 0;
            for turn in 0..6 {
                count += handles.all(fate, &pool, &pooled, &token, turn % 2 == 1).await;
            }
            count
        });
        if own_ring { alertable::block_on(all) } else { block_on(all) }
    })
    .join()
    .unwrap()
}

/// Pools that were used once, in each way, and dropped: their memory goes with them, although the rings that had their buffers stay.
fn pools_that_were_used_once_do_not_stay() {
    let use_once = |round: usize| {
        let pool = BufferPool::new(16 * 1024, 64).unwrap(); // a megabyte
        let mut all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        all.iter_mut().for_each(|buffer| buffer.extend_from_slice(&[1; 16 * 1024]).unwrap());
        drop(all);
        let (conn, mut peer) = free_pair();
        peer.write_all(b"data").unwrap();
        match round % 4 {
            0 => drop(block_on(conn.recv_pooled(&pool))),
            1 => drop(alertable::block_on(conn.recv_pooled(&pool))),
            2 => drop(conn.recv_pooled(&pool).signal(&Event::manual_reset()).unwrap().wait()),
            _ => {
                let told = Rc::new(Cell::new(false));
                let tell = Rc::clone(&told);
                conn.recv_pooled(&pool).then(move |_| tell.set(true)).unwrap();
                run_until("the routine", || told.get());
            }
        }
    };
    (0..20).for_each(use_once);
    let before = resident();
    (0..120).for_each(use_once);
    let grown = resident().saturating_sub(before);
    assert!(grown < 40 << 20, "120 pools of a megabyte were used and dropped, and the process grew by {grown} bytes");
}

#[test]
#[cfg_attr(windows, ignore = "it asks Linux how much memory or how many descriptors are in use")]
fn c11_operations_without_a_port_leave_nothing_behind_whatever_becomes_of_them() {
    watched_for(Duration::from_secs(120), || {
        // One for buffers that the test itself takes, and so can count; one to receive from, of which rings keep some.
        let pools = [BufferPool::new(16, 256).unwrap(), BufferPool::new(16, 256).unwrap()];
        let token = Arc::new(());
        let (_listener, unanswered, _filler) = full_listener();
        // The first use starts what stays.
        round(FutureDropped, false, unanswered, &pools, &token);
        round(RoutineNeverTold, false, unanswered, &pools, &token);
        wait_until("all buffers are back", || pools[0].available() == 256);
        thread::sleep(MOMENT);
        let before = (threads(), descriptors());
        let mut total = 0;
        for _ in 0..6 {
            for fate in FATES {
                for own_ring in [false, true] {
                    if own_ring && fate == RoutineCancelled {
                        continue; // a future that waits for a routine would have to be woken by it
                    }
                    total += round(fate, own_ring, unanswered, &pools, &token);
                    let after = |what| format!("{fate:?} (own ring: {own_ring}): {what}");
                    wait_until(&after("all buffers are back"), || pools[0].available() == 256);
                    wait_until(&after("all routines are dropped"), || Arc::strong_count(&token) == 1);
                    wait_until(&after("no thread and no descriptor is left"), || (threads(), descriptors()) == before);
                }
            }
        }
        wait_until("the threads for files have ended", || file_threads() == 0);
        println!("{total} operations");
        assert!(total > 5000, "{total}");
        pools_that_were_used_once_do_not_stay();
    });
}
