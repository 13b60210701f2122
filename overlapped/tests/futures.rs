//! Futures: under every executor, dropped, cancelled, moved, and never losing anything.
//!
//! The races print their seed; `OVERLAPPED_SEED=… cargo test --test futures race` runs them again, `OVERLAPPED_ROUNDS=…` for longer.

mod common;

use std::future::{Future, IntoFuture};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use overlapped::alertable::{self, FOREVER, Woken};
use overlapped::done::{self, Done};
use overlapped::fs::File;
use overlapped::net::{TcpListener, TcpStream};
use overlapped::{Buffer, BufferPool, Completion, Error, Event, Operation};
use smol::future::{or, yield_now};

/// A receive that has not started.
fn receive(conn: &TcpStream) -> Completion<done::Received> {
    conn.recv(Buffer::with_capacity(64)).into_future()
}

// Under every executor

/// Accepts so many connections and gives each to `spawn`.
async fn serve(listener: TcpListener, connections: usize, spawn: impl Fn(TcpStream)) {
    for _ in 0..connections {
        spawn(listener.accept().await.result.expect("a connection"));
    }
}

async fn echo(conn: TcpStream, pool: BufferPool) {
    loop {
        let done = conn.recv_pooled(&pool).await;
        if done.result.expect("the stream goes on") == 0 {
            break;
        }
        conn.send(done.buffer).await.result.expect("the client takes it");
    }
}

const CONNECTIONS: usize = 64;

/// Starts an echo server with `server`, which returns when it has accepted all connections, and lets the clients check what comes back.
fn echo_server(server: impl FnOnce(TcpListener, BufferPool)) {
    // Fewer buffers than connections: they go round.
    let pool = BufferPool::new(2048, 32).unwrap();
    let (listener, address) = free_listener();
    let clients = thread::spawn(move || echo_clients(address, CONNECTIONS as u64, 30_000));
    server(listener, pool);
    clients.join().unwrap();
}

#[test]
fn an_echo_server_works_under_tokio_with_several_threads() {
    watched(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
        echo_server(|listener, pool| {
            let serving = serve(listener, CONNECTIONS, |conn| drop(tokio::spawn(echo(conn, pool.clone()))));
            runtime.block_on(serving);
        });
    });
}

#[test]
fn an_echo_server_works_under_tokio_with_one_thread() {
    watched(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        echo_server(|listener, pool| {
            runtime.block_on(async {
                let (tell, told) = smol::channel::unbounded();
                serve(listener, CONNECTIONS, |conn| {
                    let (pool, tell) = (pool.clone(), tell.clone());
                    tokio::spawn(async move {
                        echo(conn, pool).await;
                        tell.send(()).await.unwrap();
                    });
                })
                .await;
                for _ in 0..CONNECTIONS {
                    told.recv().await.unwrap();
                }
            });
        });
    });
}

#[test]
fn an_echo_server_works_under_smol_with_several_threads() {
    watched(|| {
        let executor = Arc::new(smol::Executor::new());
        let (stop, stopped) = smol::channel::unbounded::<()>();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
                thread::spawn(move || smol::block_on(executor.run(stopped.recv())))
            })
            .collect();
        echo_server(|listener, pool| {
            let there = Arc::clone(&executor);
            let spawn = move |conn| there.spawn(echo(conn, pool.clone())).detach();
            smol::block_on(executor.spawn(serve(listener, CONNECTIONS, spawn)));
        });
        drop(stop);
        for thread in threads {
            assert!(thread.join().unwrap().is_err(), "the channel is closed");
        }
    });
}

/// The tasks of one thread, and whoever runs them.
fn echo_server_of_one_thread(listener: TcpListener, pool: &BufferPool, connections: usize, run: impl Fn(Tasks<'_>)) {
    let executor = smol::LocalExecutor::new();
    run(Box::pin(executor.run(async {
        let (tell, told) = smol::channel::unbounded();
        serve(listener, connections, |conn| {
            let (pool, tell) = (pool.clone(), tell.clone());
            let task = async move {
                echo(conn, pool).await;
                tell.send(()).await.unwrap();
            };
            executor.spawn(task).detach();
        })
        .await;
        for _ in 0..connections {
            told.recv().await.unwrap();
        }
    })));
}

type Tasks<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

#[test]
fn an_echo_server_works_under_block_on_with_the_tasks_of_one_thread() {
    watched(|| {
        echo_server(|listener, pool| {
            echo_server_of_one_thread(listener, &pool, CONNECTIONS, |tasks| alertable::block_on(tasks));
        });
    });
}

#[test]
fn an_echo_server_works_under_block_on_with_several_threads_that_share_a_listener() {
    watched(|| {
        echo_server(|listener, pool| {
            // Each takes its share and no more, so that each can end.
            let threads: Vec<_> = [20, 20, 24]
                .into_iter()
                .map(|share| {
                    let (listener, pool) = (listener.clone(), pool.clone());
                    thread::spawn(move || {
                        echo_server_of_one_thread(listener, &pool, share, |tasks| alertable::block_on(tasks));
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    });
}

#[test]
fn an_echo_server_works_with_nothing_but_the_standard_library() {
    watched(|| {
        echo_server(|listener, pool| {
            echo_server_of_one_thread(listener, &pool, CONNECTIONS, |tasks| block_on(tasks));
        });
    });
}

/// Runs a future to its end.
type Run<'a> = &'a dyn Fn(Tasks<'_>);

/// Both ways to run a future on a thread: in its own ring, and with the library's thread.
fn each_way(test: fn(Run<'_>)) {
    watched(move || test(&|tasks| alertable::block_on(tasks)));
    watched(move || test(&|tasks| block_on(tasks)));
}

#[test]
fn every_operation_can_be_awaited() {
    each_way(|run| {
        run(Box::pin(async {
            let (listener, address) = free_listener();
            let mut client = connect(address);
            let done = listener.accept().await;
            assert_eq!(done.listener.local_addr(), Ok(address));
            let conn = done.result.unwrap();
            assert_eq!(conn.peer_addr(), Ok(client.local_addr().unwrap()));
            let done = TcpStream::unconnected(address).unwrap().connect(address).await;
            assert_eq!((done.result, done.conn.peer_addr()), (Ok(()), Ok(address)));
            client.write_all(b"bytes").unwrap();
            let done = conn.recv(Buffer::with_capacity(77)).await;
            assert_eq!((done.result, &done.buffer[..], done.buffer.capacity()), (Ok(5), &b"bytes"[..], 77));
            let pool = BufferPool::new(16, 4).unwrap();
            client.write_all(b"pooled").unwrap();
            let done = done.conn.recv_pooled(&pool).await;
            assert_eq!((done.result, &done.buffer[..]), (Ok(6), &b"pooled"[..]));
            let done = done.conn.send(Buffer::from("out")).await;
            assert_eq!((done.result, done.sent, &done.buffer[..]), (Ok(3), 3, &b"out"[..]));
            let done = done.conn.send_vectored(vec![Buffer::from("o"), Buffer::from("ut")]).await;
            assert_eq!((done.result, done.sent, done.buffers.len()), (Ok(3), 3, 2));
            client.read_exact(&mut [0; 6]).unwrap();
            reset(client);
            assert_eq!(receive(&done.conn).await.result, reset_before());
            let (socket, here) = free_udp();
            let done = socket.send_to(Buffer::from("datagram"), here).await;
            assert_eq!((done.result, &done.buffer[..]), (Ok(8), &b"datagram"[..]));
            let done = done.socket.recv_from(Buffer::with_capacity(16)).await;
            assert_eq!((done.result, &done.buffer[..]), (Ok((8, here)), &b"datagram"[..]));
            let path = std::env::temp_dir().join(format!("overlapped-futures-{}", std::process::id()));
            let file = File::create(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let done = file.write_at(Buffer::from("written"), 5).await;
            assert_eq!((done.result, done.written, &done.buffer[..]), (Ok(7), 7, &b"written"[..]));
            let done = done.file.sync(false).await;
            assert_eq!(done.result, Ok(()));
            let done = done.file.read_at(Buffer::with_capacity(4), 7).await;
            assert_eq!((done.result, &done.buffer[..]), (Ok(4), &b"itte"[..]));
        }));
    });
}

// Waking

#[test]
fn a_future_starts_at_its_first_poll_and_not_before() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        peer.write_all(b"data").unwrap();
        let idle = receive(&conn);
        thread::sleep(MOMENT);
        // It has not taken the data, and it is not in line.
        assert_eq!(&block_on(receive(&conn)).buffer[..], b"data");
        drop(idle);
        assert_eq!(conn.cancel_all(), Err(Error::NOT_FOUND));
    });
}

#[test]
fn the_waker_of_the_last_poll_is_called() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let mut future = receive(&conn);
        let (first, first_waker) = Wakes::new();
        let (second, second_waker) = Wakes::new();
        for waker in [&first_waker, &second_waker] {
            assert!(pin!(&mut future).poll(&mut Context::from_waker(waker)).is_pending());
        }
        peer.write_all(b"x").unwrap();
        wait_until("the second waker is called", || second.count() > 0);
        assert_eq!(first.count(), 0, "nobody listens to the first any more");
        let Poll::Ready(done) = poll(&mut future) else { panic!("woken, and not ready") };
        assert_eq!(done.result, Ok(1));
    });
}

#[test]
fn a_future_that_is_polled_by_two_threads_in_turn_ends_for_the_last() {
    watched(|| {
        for _ in 0..200 {
            let (conn, mut peer) = free_pair();
            let mut future = receive(&conn);
            start(&mut future);
            let mut future = thread::spawn(move || {
                start(&mut future);
                future
            })
            .join()
            .unwrap();
            thread::scope(|scope| {
                scope.spawn(|| peer.write_all(b"x").unwrap());
                assert_eq!(block_on(&mut future).result, Ok(1));
            });
        }
    });
}

#[test]
fn block_on_may_wait_for_what_other_threads_do() {
    // Nothing of the library: it has to be woken all the same, each time.
    watched(|| {
        let (ask, asked) = smol::channel::bounded::<u32>(1);
        let (answer, answered) = smol::channel::bounded::<u32>(1);
        let other = thread::spawn(move || {
            while let Ok(n) = asked.recv_blocking() {
                answer.send_blocking(n + 1).unwrap();
            }
        });
        let last = alertable::block_on(async move {
            let mut n = 0;
            while n < 3000 {
                ask.send(n).await.unwrap();
                n = answered.recv().await.unwrap();
            }
            n
        });
        assert_eq!(last, 3000);
        other.join().unwrap();
    });
}

#[test]
fn a_waker_of_block_on_does_no_harm_after_its_end_nor_after_that_of_its_thread() {
    watched(|| {
        let own_waker = || alertable::block_on(std::future::poll_fn(|context| Poll::Ready(context.waker().clone())));
        let waker = own_waker();
        waker.wake_by_ref();
        waker.wake();
        let (conn, mut peer) = free_pair();
        peer.write_all(b"x").unwrap();
        assert_eq!(alertable::block_on(receive(&conn)).result, Ok(1));
        thread::spawn(own_waker).join().unwrap().wake();
    });
}

#[test]
fn io_goes_on_although_a_task_never_sleeps() {
    each_way(|run| {
        run(Box::pin(async {
            let (conn, mut peer) = free_pair();
            let busy = async {
                loop {
                    yield_now().await;
                }
            };
            let writer = thread::spawn(move || {
                thread::sleep(MOMENT);
                peer.write_all(b"data").unwrap();
                peer
            });
            assert_eq!(&or(receive(&conn), busy).await.buffer[..], b"data");
            writer.join().unwrap();
        }));
    });
}

#[test]
fn block_on_within_itself_panics_and_leaves_all_as_it_was() {
    watched(|| {
        let panicked = alertable::block_on(async {
            let inner = catch_unwind(|| alertable::block_on(async {}));
            let (conn, mut peer) = free_pair();
            peer.write_all(b"x").unwrap();
            assert_eq!(receive(&conn).await.result, Ok(1));
            inner.is_err()
        });
        assert!(panicked);
        let outer = catch_unwind(|| alertable::block_on(async { panic!("of the future") }));
        assert_eq!(panic_text(outer.unwrap_err()), "of the future");
        assert_eq!(alertable::block_on(async { 5 }), 5);
    });
}

#[test]
#[cfg_attr(windows, ignore = "it asks Linux for the processor time of a thread")]
fn a_thread_that_awaits_uses_no_processor() {
    watched(|| {
        for own_ring in [false, true] {
            let (conn, mut peer) = free_pair();
            let waiter = thread::spawn(move || {
                let (before, start) = (processor_time(), Instant::now());
                let done = if own_ring { alertable::block_on(receive(&conn)) } else { block_on(receive(&conn)) };
                assert_eq!(done.result, Ok(1));
                (processor_time() - before, start.elapsed())
            });
            thread::sleep(Duration::from_secs(1));
            peer.write_all(b"x").unwrap();
            let (used, passed) = waiter.join().unwrap();
            assert!(used < passed / 20, "{used:?} of processor time in {passed:?}");
        }
    });
}

// Dropping and cancelling

#[test]
fn dropping_a_future_cancels_it_and_gives_its_buffer_back() {
    each_way(|run| {
        run(Box::pin(async {
            let pool = BufferPool::new(8, 1).unwrap();
            let (conn, mut peer) = free_pair();
            for polls in 0..3 {
                let mut future = conn.recv(pool.take().unwrap()).into_future();
                for _ in 0..polls {
                    start(&mut future);
                    yield_now().await;
                }
                drop(future);
                let start = Instant::now();
                while pool.available() == 0 {
                    assert!(start.elapsed() < LONG, "the buffer does not come back");
                    yield_now().await;
                }
                assert_eq!(conn.cancel_all(), Err(Error::NOT_FOUND));
            }
            peer.write_all(b"data").unwrap();
            assert_eq!(&receive(&conn).await.buffer[..], b"data");
            // The last owner was the operation.
            let mut future = receive(&conn);
            drop(conn);
            start(&mut future);
            drop(future);
            yield_now().await;
        }));
    });
}

#[test]
fn dropping_the_last_owner_with_its_future_closes_the_stream() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let mut future = receive(&conn);
        start(&mut future);
        drop(conn);
        drop(future);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn cancel_and_collect_gives_995_or_the_data() {
    each_way(|run| {
        run(Box::pin(async {
            let (conn, mut peer) = free_pair();
            // Before its first poll: it never starts.
            peer.write_all(b"data").unwrap();
            let mut future = receive(&conn);
            future.cancel();
            let done = future.await;
            assert_eq!((done.result, done.buffer.capacity()), (Err(Error::OPERATION_ABORTED), 64));
            // While there is data, at several points: it is in the end, or still in the stream.
            for polls in 0..5 {
                let mut future = receive(&conn);
                let mut done = None;
                for _ in 0..polls {
                    if let Poll::Ready(ready) = poll(&mut future) {
                        done = Some(ready);
                        break;
                    }
                    yield_now().await;
                }
                future.cancel();
                future.cancel();
                let done = if let Some(done) = done { done } else { future.await };
                if done.result == Err(Error::OPERATION_ABORTED) {
                    assert_eq!(&receive(&conn).await.buffer[..], b"data", "after {polls} polls");
                } else {
                    assert_eq!((done.result, &done.buffer[..]), (Ok(4), &b"data"[..]), "after {polls} polls");
                }
                peer.write_all(b"data").unwrap();
            }
            assert_eq!(&receive(&conn).await.buffer[..], b"data");
            // While it pends.
            let mut future = receive(&conn);
            start(&mut future);
            yield_now().await;
            future.cancel();
            let done = future.await;
            assert_eq!((done.result, done.buffer.capacity()), (Err(Error::OPERATION_ABORTED), 64));
            assert_eq!(Error::OPERATION_ABORTED.code(), 995);
        }));
    });
}

#[test]
fn a_future_of_a_thread_that_sleeps_in_its_ring_may_be_cancelled_or_closed_by_another() {
    watched(|| {
        type End = fn(&TcpStream);
        let ends: [(End, Error); 2] = [
            (|conn| conn.cancel_all().unwrap(), Error::OPERATION_ABORTED),
            (|conn| conn.close(), Error::CONNECTION_ABORTED),
        ];
        for (end, error) in ends {
            let (conn, _peer) = free_pair();
            let there = conn.clone();
            let (tell, told) = mpsc::channel();
            let waiter = thread::spawn(move || {
                alertable::block_on(async {
                    let mut future = receive(&there);
                    start(&mut future);
                    tell.send(this_thread()).unwrap();
                    future.await.result
                })
            });
            let id = told.recv().unwrap();
            wait_until("it sleeps", || sleeps(id));
            end(&conn);
            assert_eq!(waiter.join().unwrap(), Err(error));
        }
    });
}

#[test]
fn a_cancelled_send_says_how_much_of_it_left() {
    each_way(|run| {
        run(Box::pin(async {
            let all = pattern(6, 0, 8 << 20);
            for round in 0..20 {
                let (conn, mut peer) = free_pair();
                conn.options(|socket| socket.set_send_buffer_size(1 << 16)).unwrap();
                let mut future = conn.send(Buffer::from(all.clone())).into_future();
                start(&mut future);
                let (go_on, goes_on) = mpsc::channel::<()>();
                let reader = thread::spawn(move || {
                    // Reads some, so that the send goes on in pieces just when it is cancelled, and the rest when all is over.
                    let mut bytes = Vec::new();
                    (&peer).take(20_000 * round).read_to_end(&mut bytes).unwrap();
                    goes_on.recv().unwrap();
                    peer.read_to_end(&mut bytes).unwrap();
                    bytes
                });
                for _ in 0..round {
                    yield_now().await;
                    start(&mut future); // the system does not take so much of it
                }
                future.cancel();
                let done = future.await;
                assert_eq!((done.result, &done.buffer[..]), (Err(Error::OPERATION_ABORTED), &all[..]));
                let sent = done.sent;
                drop((conn, done));
                go_on.send(()).unwrap();
                let bytes = reader.join().unwrap();
                assert_pattern(6, 0, &bytes);
                assert_eq!(bytes.len(), sent);
            }
        }));
    });
}

#[test]
fn what_is_sent_behind_a_dropped_send_follows_what_had_left_of_it() {
    each_way(|run| {
        run(Box::pin(async {
            let all = pattern(7, 0, 1 << 20);
            for round in 0..20u64 {
                let (conn, mut peer) = free_pair();
                conn.options(|socket| socket.set_send_buffer_size(1 << 16)).unwrap();
                let mut future = conn.send(Buffer::from(all.clone())).into_future();
                start(&mut future);
                let reader = thread::spawn(move || {
                    let mut bytes = Vec::new();
                    peer.read_to_end(&mut bytes).unwrap();
                    bytes
                });
                for _ in 0..round {
                    yield_now().await;
                }
                drop(future);
                // The mark is no part of the pattern: it would be of another seed.
                let done = conn.send(Buffer::from(pattern(8, 0, 64))).await;
                assert_eq!(done.result, Ok(64));
                conn.shutdown(Shutdown::Write).unwrap();
                let bytes = reader.join().unwrap();
                let left = bytes.len() - 64;
                assert_pattern(7, 0, &bytes[..left]);
                assert_pattern(8, 0, &bytes[left..]);
            }
        }));
    });
}

#[test]
fn t01_limits_that_are_over_at_once_end_operations_all_the_same() {
    // The time limit may pass while the operation is being started, handed over, or on its way to another thread.
    each_way(|run| {
        run(Box::pin(async {
            let mut random = Random(11);
            let (listener, _) = free_listener();
            let (conn, _peer) = free_pair();
            let (socket, _) = free_udp();
            for _ in 0..1500 {
                let limit = Duration::from_micros(random.below(60));
                let start = Instant::now();
                let result = match random.below(3) {
                    0 => listener.accept().within(limit).await.result.map(drop),
                    1 => conn.recv(Buffer::with_capacity(8)).within(limit).await.result.map(drop),
                    _ => socket.recv_from(Buffer::with_capacity(8)).within(limit).await.result.map(drop),
                };
                assert_eq!(result, Err(Error::SEM_TIMEOUT));
                assert!(start.elapsed() >= limit);
            }
        }));
    });
}

#[test]
fn of_two_receives_the_one_that_loses_loses_nothing() {
    each_way(|run| {
        run(Box::pin(async {
            let ((left, mut left_peer), (right, mut right_peer)) = (free_pair(), free_pair());
            let mut random = Random(9);
            let (mut written, mut read) = ([0u64; 2], [0u64; 2]);
            for _ in 0..2000 {
                for (side, peer) in [&mut left_peer, &mut right_peer].into_iter().enumerate() {
                    if random.chance(60) {
                        let piece = 1 + random.below(100);
                        write_pattern(peer, side as u64, written[side], piece as usize);
                        written[side] += piece;
                    }
                }
                if written == read {
                    write_pattern(&mut left_peer, 0, written[0], 1);
                    written[0] += 1;
                }
                let select = or(async { (0, left.recv(Buffer::with_capacity(50)).await) }, async {
                    (1, right.recv(Buffer::with_capacity(50)).await)
                });
                let (side, done) = select.await;
                assert!(done.result.unwrap() > 0);
                assert_pattern(side as u64, read[side], &done.buffer);
                read[side] += done.buffer.len() as u64;
            }
            for (side, (conn, peer)) in [(&left, left_peer), (&right, right_peer)].into_iter().enumerate() {
                drop(peer);
                loop {
                    let done = receive(conn).await;
                    if done.result.unwrap() == 0 {
                        break;
                    }
                    assert_pattern(side as u64, read[side], &done.buffer);
                    read[side] += done.buffer.len() as u64;
                }
            }
            assert_eq!(read, written);
        }));
    });
}

// Moving

/// Starts an operation under `block_on` of another thread, which leaves it and then does `afterwards`, until `over` is told.
fn started_elsewhere<T: Done>(
    operation: Operation<T>,
    afterwards: Afterwards,
) -> (Completion<T>, mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (tell, told) = mpsc::channel();
    let (over, is_over) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut future = operation.into_future();
        alertable::block_on(async {
            start(&mut future);
            yield_now().await; // the kernel has it now
            start(&mut future);
        });
        tell.send(future).unwrap();
        afterwards(&is_over);
    });
    let future = told.recv().unwrap();
    if wine() {
        // What comes while that thread is on its way out is lost: a receive of it ends with 0 bytes, now and then.
        thread::sleep(MOMENT);
    }
    (future, over, thread)
}

fn say_what_wine_does() {
    if wine() {
        println!("WINE DIFFERS: a thread that ends takes data with it");
    }
}

type Afterwards = fn(&mpsc::Receiver<()>);

/// What a thread may do after it has left `block_on`: end, block where the library does not know of it, compute, sleep alertably.
const AFTERWARDS: [Afterwards; 4] = [
    |_| {},
    |over| over.recv().unwrap(),
    |over| spin_until(|| over.try_recv().is_ok()),
    |over| {
        while over.try_recv().is_err() {
            alertable::sleep(MOMENT);
        }
    },
];

#[test]
fn a_future_that_left_its_block_on_ends_elsewhere_whatever_its_first_thread_does() {
    say_what_wine_does();
    watched(|| {
        for afterwards in AFTERWARDS {
            for own_ring in [false, true] {
                let (conn, mut peer) = free_pair();
                let (future, over, thread) = started_elsewhere(conn.recv(Buffer::with_capacity(64)), afterwards);
                let writer = thread::spawn(move || {
                    thread::sleep(MOMENT);
                    peer.write_all(b"data").unwrap();
                    peer
                });
                let done = if own_ring { alertable::block_on(future) } else { block_on(future) };
                assert_eq!((done.result, &done.buffer[..]), (Ok(4), &b"data"[..]));
                let _ = over.send(());
                thread.join().unwrap();
                writer.join().unwrap();
            }
        }
    });
}

#[test]
fn every_kind_of_future_ends_elsewhere() {
    say_what_wine_does();
    watched(|| {
        // At once, for connecting to somebody who is busy takes seconds.
        thread::scope(|scope| {
            for afterwards in AFTERWARDS {
                scope.spawn(move || every_kind_ends_elsewhere(afterwards));
            }
        });
    });
}

fn every_kind_ends_elsewhere(afterwards: Afterwards) {
    let mut left_behind = Vec::new();
    let mut keep = |(over, thread)| left_behind.push((over, thread));
    let (listener, address) = free_listener();
    let (future, over, thread) = started_elsewhere(listener.accept(), afterwards);
    keep((over, thread));
    let client = connect(address);
    assert_eq!(block_on(future).result.unwrap().peer_addr(), Ok(client.local_addr().unwrap()));

    let (server, full, _filler) = full_listener();
    let connecting = TcpStream::unconnected(full).unwrap();
    let (future, over, thread) = started_elsewhere(connecting.connect(full), afterwards);
    keep((over, thread));
    server.set_nonblocking(true).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let _ = server.accept(); // makes room: the next SYN is answered
                thread::sleep(Duration::from_millis(5));
            }
        });
        assert_eq!(block_on(future).result, Ok(()));
        done.store(true, Ordering::SeqCst);
    });

    let (conn, mut peer) = free_pair();
    conn.options(|socket| socket.set_send_buffer_size(1 << 16)).unwrap();
    const LEN: usize = 2 << 20;
    let (future, over, thread) = started_elsewhere(conn.send(Buffer::from(pattern(10, 0, LEN))), afterwards);
    keep((over, thread));
    let reader = thread::spawn(move || read_pattern(&mut peer, 10, 0, LEN));
    assert_eq!(block_on(future).result, Ok(LEN));
    reader.join().unwrap();

    let pool = BufferPool::new(16, 4).unwrap();
    let (conn, mut peer) = free_pair();
    let (future, over, thread) = started_elsewhere(conn.recv_pooled(&pool), afterwards);
    keep((over, thread));
    peer.write_all(b"pooled").unwrap();
    assert_eq!(&block_on(future).buffer[..], b"pooled");

    let (socket, address) = free_udp();
    let (future, over, thread) = started_elsewhere(socket.recv_from(Buffer::with_capacity(16)), afterwards);
    keep((over, thread));
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"datagram", address).unwrap();
    assert_eq!(&block_on(future).buffer[..], b"datagram");

    let (conn, _peer) = free_pair();
    let limit = Duration::from_millis(30);
    let (future, over, thread) = started_elsewhere(conn.recv(Buffer::with_capacity(16)).within(limit), afterwards);
    keep((over, thread));
    assert_eq!(block_on(future).result, Err(Error::SEM_TIMEOUT));
    for (over, thread) in left_behind {
        let _ = over.send(());
        thread.join().unwrap();
    }
}

#[test]
fn a_future_that_left_its_block_on_may_be_dropped_or_cancelled_elsewhere() {
    say_what_wine_does();
    watched(|| {
        for afterwards in AFTERWARDS {
            let pool = BufferPool::new(16, 1).unwrap();
            let (conn, mut peer) = free_pair();
            let (future, over, thread) = started_elsewhere(conn.recv(pool.take().unwrap()), afterwards);
            drop(future);
            wait_until("the buffer is back", || pool.available() == 1);
            let (mut future, second_over, second) = started_elsewhere(conn.recv(pool.take().unwrap()), afterwards);
            future.cancel();
            let result = block_on(future).result;
            // Of a thread that has ended Wine may say so: see `say_what_wine_does`.
            assert!(result == Err(Error::OPERATION_ABORTED) || wine() && result == Ok(0), "{result:?}");
            peer.write_all(b"data").unwrap();
            assert_eq!(&block_on(receive(&conn)).buffer[..], b"data");
            for (over, thread) in [(over, thread), (second_over, second)] {
                let _ = over.send(());
                thread.join().unwrap();
            }
        }
    });
}

#[test]
fn a_future_may_begin_with_the_librarys_thread_and_end_in_a_ring_of_its_own_thread() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let mut future = receive(&conn);
        start(&mut future);
        let writer = thread::spawn(move || {
            thread::sleep(MOMENT);
            peer.write_all(b"x").unwrap();
        });
        assert_eq!(alertable::block_on(future).result, Ok(1));
        writer.join().unwrap();
    });
}

#[test]
fn a_future_may_go_to_another_thread_while_its_first_goes_on_in_block_on() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let (tell, told) = mpsc::channel();
        let (over, is_over) = smol::channel::bounded::<()>(1);
        let first = thread::spawn(move || {
            alertable::block_on(async {
                let mut future = receive(&conn);
                start(&mut future);
                tell.send(future).unwrap();
                is_over.recv().await.unwrap();
            });
        });
        let future: Completion<_> = told.recv().unwrap();
        let writer = thread::spawn(move || {
            thread::sleep(MOMENT);
            peer.write_all(b"x").unwrap();
        });
        assert_eq!(block_on(future).result, Ok(1));
        over.send_blocking(()).unwrap();
        first.join().unwrap();
        writer.join().unwrap();
    });
}

// The races

/// How many rounds each race has, all together more than a hundred thousand.
fn rounds(default: u64) -> u64 {
    let default = if wine() { default / 20 } else { default }; // there each operation is some hundred times as slow
    variable("OVERLAPPED_ROUNDS").unwrap_or(default)
}

/// What became of the receives of a race.
#[derive(Debug, Default)]
struct Fates {
    dropped: u64,
    aborted: u64,
    timed_out: u64,
    /// Data came although it had been cancelled, or with the cancel.
    data_after_all: u64,
    data: u64,
}

impl Fates {
    fn assert_that_it_shows_something(&self) {
        println!("{self:?}");
        let Self { dropped, aborted, data_after_all, data, .. } = *self;
        assert!(dropped.min(aborted).min(data_after_all).min(data) > 0, "this race was none: {self:?}");
    }
}

/// Writes the bytes of stream `seed` in small pieces, never far ahead of what is `read`, until it is `over`.
/// Says how many it wrote.
fn race_writer(mut peer: std::net::TcpStream, seed: u64, read: &AtomicU64, over: &AtomicBool) -> u64 {
    let mut random = Random(seed ^ 5);
    let mut written = 0;
    while !over.load(Ordering::SeqCst) {
        if written - read.load(Ordering::SeqCst) > 256 {
            thread::yield_now();
            continue;
        }
        let piece = 1 + random.below(40);
        write_pattern(&mut peer, seed, written, piece as usize);
        written += piece;
        // So that it meets the reader at another point each time.
        let (start, pause) = (Instant::now(), Duration::from_nanos(random.below(20_000)));
        spin_until(|| start.elapsed() > pause);
    }
    peer.shutdown(Shutdown::Write).unwrap();
    written
}

/// Receives with up to three futures at a time, which are polled some times and then awaited, cancelled and awaited, or dropped.
/// What those bring that were awaited is the stream, without a gap. Returns when it is `over` and the stream has ended.
async fn race_reader(conn: TcpStream, seed: u64, rounds: u64, read: &AtomicU64, over: &AtomicBool) -> (u64, Fates) {
    let mut random = Random(seed);
    let mut fates = Fates::default();
    let pools = [BufferPool::new(16, 4).unwrap(), BufferPool::new(24, 2).unwrap()];
    let mut offset = 0;
    for _ in 0..rounds {
        let mut count = if random.chance(75) { 1 } else { 2 + random.below(2) as usize };
        let mut receives: Vec<(Completion<done::Received>, Option<done::Received>)> = Vec::new();
        let take = |future: &mut Completion<done::Received>| match poll(future) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        };
        for _ in 0..count {
            let receive = match random.below(4) {
                pool @ (0 | 1) => conn.recv_pooled(&pools[pool as usize]),
                2 => conn.recv(Buffer::with_capacity(1 + random.below(16) as usize)),
                _ => conn.recv(Buffer::with_capacity(200)),
            };
            let limited = random.chance(10);
            let receive = if limited { receive.within(Duration::from_micros(random.below(300))) } else { receive };
            let mut future = receive.into_future();
            let done = take(&mut future);
            receives.push((future, done));
        }
        for _ in 0..random.below(4) {
            yield_now().await;
            let (future, done) = &mut receives[random.below(count as u64) as usize];
            if done.is_none() {
                *done = take(future);
            }
        }
        // The first of them are awaited, the rest dropped. What was awaited may not lie behind what is dropped: its bytes would have been
        // delivered out of order by the program itself.
        let delivered = receives.iter().rposition(|(_, done)| done.is_some()).map_or(0, |last| last + 1);
        let awaited = delivered.max(random.below(count as u64 + 1) as usize);
        for (future, done) in receives.drain(..awaited) {
            let (mut future, mut cancelled) = (future, false);
            let done = match done {
                Some(done) => done,
                None => {
                    if random.chance(60) {
                        future.cancel();
                        cancelled = true;
                    }
                    future.await
                }
            };
            match done.result {
                Ok(n) => {
                    assert!(n == done.buffer.len() && n > 0, "seed {seed}: {n} bytes, at {offset}");
                    assert_pattern(seed, offset, &done.buffer);
                    offset += n as u64;
                    read.store(offset, Ordering::SeqCst);
                    *if cancelled { &mut fates.data_after_all } else { &mut fates.data } += 1;
                }
                Err(Error::OPERATION_ABORTED) if cancelled => fates.aborted += 1,
                Err(Error::SEM_TIMEOUT) => fates.timed_out += 1,
                Err(error) => panic!("seed {seed}: {error}, at {offset}"),
            }
        }
        count -= awaited;
        while count > 0 {
            drop(receives.swap_remove(random.below(count as u64) as usize));
            fates.dropped += 1;
            count -= 1;
        }
    }
    over.store(true, Ordering::SeqCst);
    loop {
        let done = conn.recv(Buffer::with_capacity(4096)).await;
        if done.result.unwrap() == 0 {
            return (offset, fates);
        }
        assert_pattern(seed, offset, &done.buffer);
        offset += done.buffer.len() as u64;
        read.store(offset, Ordering::SeqCst);
    }
}

/// A race whose reader is run by `run`.
fn race(seed: u64, rounds: u64, run: impl FnOnce(Tasks<'_>)) {
    let (conn, peer) = free_pair();
    let (read, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let _over = Over(&over);
        let writer = scope.spawn(|| race_writer(peer, seed, &read, &over));
        run(Box::pin(async {
            let (offset, fates) = race_reader(conn, seed, rounds, &read, &over).await;
            assert_eq!(offset, writer.join().unwrap(), "seed {seed}: bytes are missing at the end");
            fates.assert_that_it_shows_something();
        }));
    });
}

#[test]
fn x02_cancels_that_race_with_data_lose_no_byte_in_the_threads_own_ring() {
    let seed = seed();
    watched(move || race(seed, rounds(50_000), |reader| alertable::block_on(reader)));
}

#[test]
fn x02_cancels_that_race_with_data_lose_no_byte_with_the_librarys_thread() {
    let seed = seed();
    watched(move || race(seed, rounds(50_000), |reader| block_on(reader)));
}

#[test]
fn x02_cancels_that_race_with_data_lose_no_byte_in_tasks_that_wander_between_threads() {
    let seed = seed();
    watched(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
        let races: Vec<_> = (0..3)
            .map(|number| {
                let seed = seed.wrapping_add(number);
                let (conn, peer) = free_pair();
                let (read, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
                let writer = thread::spawn({
                    let (read, over) = (Arc::clone(&read), Arc::clone(&over));
                    move || race_writer(peer, seed, &read, &over)
                });
                let reader = runtime.spawn({
                    let over = Arc::clone(&over);
                    async move { race_reader(conn, seed, rounds(5000), &read, &over).await }
                });
                (reader, writer, over)
            })
            .collect();
        for (reader, writer, over) in races {
            let read = runtime.block_on(reader);
            over.store(true, Ordering::SeqCst);
            let written = writer.join().unwrap();
            assert_eq!(read.unwrap_or_else(|panic| panic!("{panic}")).0, written);
        }
    });
}

/// Starts a future, polls it up to three times, and then cancels and awaits it, drops it, or awaits it. None: it was dropped.
async fn ended_somehow<T: Done>(mut future: Completion<T>, random: &mut Random) -> Option<T> {
    for _ in 0..random.below(4) {
        if let Poll::Ready(done) = poll(&mut future) {
            return Some(done);
        }
        yield_now().await;
    }
    match random.below(3) {
        0 => return None,
        1 => future.cancel(),
        _ => {}
    }
    Some(future.await)
}

#[test]
fn x02_accepts_that_are_dropped_or_cancelled_lose_no_connection() {
    let seed = seed();
    for own_ring in [false, true] {
        watched(move || {
            const CLIENTS: u32 = 500;
            let (listener, address) = free_listener();
            let clients = thread::spawn(move || {
                let connect = |number: u32| {
                    let mut client = connect(address);
                    client.write_all(&number.to_le_bytes()).unwrap();
                    client
                };
                (0..CLIENTS).map(connect).collect::<Vec<_>>()
            });
            let accepting = async {
                let mut random = Random(seed);
                let mut missing: std::collections::BTreeSet<_> = (0..CLIENTS).collect();
                let mut dropped = 0;
                while !missing.is_empty() {
                    let accept = listener.accept();
                    let accept = if random.chance(20) { accept.within(Duration::from_micros(100)) } else { accept };
                    let Some(done) = ended_somehow(accept.into_future(), &mut random).await else {
                        dropped += 1;
                        continue;
                    };
                    match done.result {
                        Ok(conn) => {
                            let done = conn.recv(Buffer::with_capacity(4)).await;
                            let number = u32::from_le_bytes(done.buffer[..].try_into().unwrap());
                            assert!(missing.remove(&number), "seed {seed}: client {number} was accepted twice");
                        }
                        Err(error) => assert!([Error::OPERATION_ABORTED, Error::SEM_TIMEOUT].contains(&error)),
                    }
                }
                println!("{dropped} accepts were dropped");
            };
            if own_ring {
                alertable::block_on(accepting)
            } else {
                block_on(accepting)
            }
            clients.join().unwrap();
        });
    }
}

#[test]
fn x02_datagrams_are_received_once_each_and_in_order_whatever_is_dropped_or_cancelled() {
    let seed = seed();
    for own_ring in [false, true] {
        watched(move || {
            let (socket, address) = free_udp();
            let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
            let datagrams = rounds(5000);
            let (received, over) = (&received, &over);
            thread::scope(|scope| {
                let _over = Over(over);
                scope.spawn(move || {
                    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                    let mut random = Random(seed ^ 5);
                    let mut sent = 0u64;
                    while sent < datagrams && !over.load(Ordering::SeqCst) {
                        // So few that the system drops none.
                        if sent - received.load(Ordering::SeqCst) > 40 || random.chance(30) {
                            thread::yield_now();
                            continue;
                        }
                        sender.send_to(&sent.to_le_bytes(), address).unwrap();
                        sent += 1;
                    }
                });
                let receiving = async move {
                    let mut random = Random(seed);
                    let mut expected = 0u64;
                    while expected < datagrams {
                        let receive = socket.recv_from(Buffer::with_capacity(16)).into_future();
                        let Some(done) = ended_somehow(receive, &mut random).await else { continue };
                        match done.result {
                            Ok((n, _)) => {
                                let number = u64::from_le_bytes(done.buffer[..n].try_into().unwrap());
                                assert_eq!(number, expected, "seed {seed}");
                                expected += 1;
                                received.store(expected, Ordering::SeqCst);
                            }
                            Err(error) => assert_eq!(error, Error::OPERATION_ABORTED, "seed {seed}"),
                        }
                    }
                };
                if own_ring { alertable::block_on(receiving) } else { block_on(receiving) }
            });
        });
    }
}

#[test]
fn futures_events_and_routines_may_be_used_together_on_one_thread() {
    watched(|| {
        let ran = Arc::new(AtomicUsize::new(0));
        let (conn, mut peer) = free_pair();
        let event = Event::auto_reset();
        peer.write_all(b"123").unwrap();
        let there = Arc::clone(&ran);
        conn.recv(Buffer::with_capacity(1))
            .then(move |done| {
                assert_eq!(&done.buffer[..], b"1");
                there.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
        let pending = conn.recv(Buffer::with_capacity(1)).signal(&event).unwrap();
        let done = alertable::block_on(conn.recv(Buffer::with_capacity(1)));
        assert_eq!(&done.buffer[..], b"3");
        assert_eq!(&pending.wait().buffer[..], b"2");
        assert_eq!(event.wait(FOREVER), Ok(()));
        if ran.load(Ordering::SeqCst) == 0 {
            assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        }
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    });
}
