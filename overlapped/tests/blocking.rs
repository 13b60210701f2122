//! P04, P06, P07: how many workers run at once, and what happens when one blocks.

mod common;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::{Buffer, BufferPool, CompletionPort, Concurrency, Packet};

/// A door that handlers block at, asleep in the kernel.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Block,
    Compute,
    Quick,
}

#[test]
fn p04_zero_is_the_number_of_processors_and_another_number_is_itself() {
    let here = thread::available_parallelism().unwrap().get();
    for (asked, given) in [
        (Concurrency::Processors, here),
        (Concurrency::Limit(0), here),
        (Concurrency::from(0), here),
        (Concurrency::Limit(1), 1),
        (Concurrency::Limit(3), 3),
    ] {
        let port: CompletionPort = CompletionPort::new(asked).unwrap();
        assert_eq!(port.concurrency(), given, "{asked:?}");
    }
}

#[test]
fn p06_two_handlers_that_block_do_not_stop_a_port_for_two() {
    watched(|| {
        let port: CompletionPort<(), Task> = CompletionPort::builder().concurrency(2).build().unwrap();
        let (gate, blocked, quick) = (Gate::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(4, |packet| {
                    match packet {
                        Packet::Posted(Task::Block) => {
                            blocked.fetch_add(1, Ordering::SeqCst);
                            gate.pass();
                        }
                        _ => {
                            quick.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    Ok(())
                })
                .unwrap();
            });
            port.post(Task::Block).unwrap();
            port.post(Task::Block).unwrap();
            wait_until("both block", || blocked.load(Ordering::SeqCst) == 2);
            for _ in 0..100 {
                port.post(Task::Quick).unwrap();
            }
            wait_until("the others step in", || quick.load(Ordering::SeqCst) == 100);
            gate.open();
            port.close();
        });
    });
}

#[test]
fn p06_a_worker_that_blocks_is_replaced_again_and_again() {
    // Each of the first three blocks with packets waiting; the fourth still serves.
    watched(|| {
        let port: CompletionPort<(), Task> = CompletionPort::builder().concurrency(1).build().unwrap();
        let (gate, blocked, quick) = (Gate::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(4, |packet| {
                    match packet {
                        Packet::Posted(Task::Block) => {
                            blocked.fetch_add(1, Ordering::SeqCst);
                            gate.pass();
                        }
                        _ => drop(quick.fetch_add(1, Ordering::SeqCst)),
                    }
                    Ok(())
                })
                .unwrap();
            });
            for _ in 0..3 {
                port.post(Task::Block).unwrap();
            }
            for _ in 0..50 {
                port.post(Task::Quick).unwrap();
            }
            wait_until("three block and one serves", || {
                (blocked.load(Ordering::SeqCst), quick.load(Ordering::SeqCst)) == (3, 50)
            });
            gate.open();
            // All four work again afterwards: four that wait for each other.
            for _ in 0..50 {
                port.post(Task::Quick).unwrap();
            }
            wait_until("it goes on", || quick.load(Ordering::SeqCst) == 100);
            port.close();
        });
    });
}

#[test]
fn p04_two_handlers_that_compute_keep_the_others_out() {
    watched_but_not_by_wine("it does not limit how many workers run", || {
        let port: CompletionPort<(), Task> = CompletionPort::builder().concurrency(2).build().unwrap();
        let (stop, computing, others) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(4, |packet| {
                    match packet {
                        Packet::Posted(Task::Compute) => {
                            computing.fetch_add(1, Ordering::SeqCst);
                            spin_until(|| stop.load(Ordering::SeqCst));
                        }
                        _ => drop(others.fetch_add(1, Ordering::SeqCst)),
                    }
                    Ok(())
                })
                .unwrap();
            });
            port.post(Task::Compute).unwrap();
            port.post(Task::Compute).unwrap();
            wait_until("both compute", || computing.load(Ordering::SeqCst) == 2);
            for _ in 0..10 {
                port.post(Task::Quick).unwrap();
            }
            thread::sleep(Duration::from_millis(500)); // some hundred looks of the monitor
            let intruders = others.load(Ordering::SeqCst);
            stop.store(true, Ordering::SeqCst);
            wait_until("then the rest is served", || others.load(Ordering::SeqCst) == 10);
            port.close();
            assert_eq!(intruders, 0, "the limit is two, and two were running");
        });
    });
}

#[test]
fn p04_never_more_run_than_the_limit_while_nobody_blocks() {
    watched_but_not_by_wine("it does not limit how many workers run", || {
        for limit in [1, 2] {
            let port: CompletionPort<(), u32> = CompletionPort::builder().concurrency(limit).build().unwrap();
            let (running, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
            thread::scope(|scope| {
                scope.spawn(|| {
                    port.run(6, |_| {
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        for n in 0..20_000u32 {
                            std::hint::black_box(n);
                        }
                        running.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    })
                    .unwrap();
                });
                for number in 0..3000 {
                    port.post(number).unwrap();
                }
                wait_until("all are served", || done.load(Ordering::SeqCst) == 3000);
                port.close();
            });
            let most = most.into_inner();
            assert!(most <= limit, "{most} ran at once where {limit} may");
        }
    });
}

#[test]
fn p07_a_blocked_worker_that_wakes_may_exceed_the_limit_but_nobody_new_is_admitted() {
    watched_but_not_by_wine("it does not limit how many workers run", || {
        let port: CompletionPort<(), Task> = CompletionPort::builder().concurrency(1).build().unwrap();
        let gate = Gate::default();
        let (blocked, woken, computing) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(4, |packet| {
                    match packet {
                        Packet::Posted(Task::Block) => {
                            blocked.store(true, Ordering::SeqCst);
                            gate.pass();
                            woken.store(true, Ordering::SeqCst);
                            spin_until(|| stop.load(Ordering::SeqCst));
                        }
                        Packet::Posted(Task::Compute) => {
                            computing.store(true, Ordering::SeqCst);
                            spin_until(|| stop.load(Ordering::SeqCst));
                        }
                        _ => drop(served.fetch_add(1, Ordering::SeqCst)),
                    }
                    Ok(())
                })
                .unwrap();
            });
            port.post(Task::Block).unwrap();
            wait_until("the first blocks", || blocked.load(Ordering::SeqCst));
            port.post(Task::Compute).unwrap();
            wait_until("another steps in", || computing.load(Ordering::SeqCst));
            gate.open();
            wait_until("now two run where one may", || woken.load(Ordering::SeqCst));
            for _ in 0..5 {
                port.post(Task::Quick).unwrap();
            }
            thread::sleep(Duration::from_millis(300));
            let admitted = served.load(Ordering::SeqCst);
            stop.store(true, Ordering::SeqCst);
            wait_until("the rest follows", || served.load(Ordering::SeqCst) == 5);
            port.close();
            assert_eq!(admitted, 0);
        });
    });
}

#[test]
fn p06_one_lane_serves_a_hundred_connections_while_its_worker_sleeps_a_second() {
    watched(|| {
        let port: CompletionPort<u32, ()> = CompletionPort::builder().concurrency(1).build().unwrap();
        let pool = BufferPool::new(256, 256).unwrap();
        let (listener, address) = listener(&port, 0);
        listener.accept_each().unwrap();
        let (asleep, awake) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(2, |packet| {
                    match packet {
                        Packet::Accepted { result, .. } => {
                            port.associate(result?, 1)?.recv_pooled(&pool)?;
                        }
                        Packet::Received { result: Ok(0) | Err(_), .. } => {}
                        Packet::Received { conn, buffer, .. } => drop(conn.send(buffer)?),
                        Packet::Sent { conn, .. } => drop(conn.recv_pooled(&pool)?),
                        Packet::Posted(()) => {
                            asleep.store(true, Ordering::SeqCst);
                            thread::sleep(Duration::from_secs(if wine() { 5 } else { 1 })); // all takes longer there
                            awake.store(true, Ordering::SeqCst);
                        }
                        other => panic!("unexpected {other:?}"),
                    }
                    Ok(())
                })
                .unwrap();
            });
            let mut early: Vec<_> = (0..50).map(|_| connect(address)).collect();
            for client in &mut early {
                client.write_all(b"ping").unwrap();
                client.read_exact(&mut [0; 4]).unwrap();
            }
            port.post(()).unwrap();
            wait_until("one sleeps", || asleep.load(Ordering::SeqCst));
            // Fifty that were there, and fifty that come now.
            let mut clients = early;
            clients.extend((0..50).map(|_| connect(address)));
            for round in 0..3u64 {
                for (client, seed) in clients.iter_mut().zip(0..) {
                    write_pattern(client, seed, round * 100, 100);
                }
                for (client, seed) in clients.iter_mut().zip(0..) {
                    read_pattern(client, seed, round * 100, 100);
                }
            }
            assert!(!awake.load(Ordering::SeqCst), "a hundred connections waited for the sleeper");
            port.close();
        });
    });
}

#[test]
fn p06_a_worker_that_blocks_in_a_socket_call_is_replaced() {
    // Not only sleeps and locks: a handler that does plain blocking I/O.
    watched(|| {
        let port: CompletionPort<(), Task> = CompletionPort::builder().concurrency(1).build().unwrap();
        let (ours, mut peer) = plain_pair();
        let served = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(2, |packet| {
                    match packet {
                        Packet::Posted(Task::Block) => (&ours).read_exact(&mut [0]).unwrap(),
                        _ => drop(served.fetch_add(1, Ordering::SeqCst)),
                    }
                    Ok(())
                })
                .unwrap();
            });
            port.post(Task::Block).unwrap();
            port.post(Task::Quick).unwrap();
            wait_until("the other serves", || served.load(Ordering::SeqCst) == 1);
            peer.write_all(b"x").unwrap();
            port.close();
        });
    });
}

#[test]
fn what_a_handler_has_started_goes_to_the_kernel_while_it_blocks_or_computes() {
    watched(|| {
        for (compute, workers) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
            let port: CompletionPort<(), Conn> = CompletionPort::builder().concurrency(1).build().unwrap();
            let (conn, mut peer) = pair(&port, ());
            let (arrived, sent) = (AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    port.run(workers, |packet| {
                        match packet {
                            Packet::Posted(conn) => {
                                conn.send(Buffer::from("now"))?;
                                // The handler ends only when the peer has the bytes, and never flushes.
                                if compute {
                                    spin_until(|| arrived.load(Ordering::SeqCst));
                                } else {
                                    wait_until("the peer has the bytes", || arrived.load(Ordering::SeqCst));
                                }
                            }
                            _ => sent.store(true, Ordering::SeqCst),
                        }
                        Ok(())
                    })
                    .unwrap();
                });
                port.post(conn).unwrap();
                let read = peer.read_exact(&mut [0; 3]);
                arrived.store(true, Ordering::SeqCst);
                read.unwrap_or_else(|error| panic!("compute: {compute}, {workers} workers: {error}"));
                wait_until("the packet comes too", || sent.load(Ordering::SeqCst));
                port.close();
            });
        }
    });
}

#[test]
fn flush_hands_over_what_a_computing_handler_has_started() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = pair(&port, ());
        hand_over(&port); // this thread is a worker now
        conn.send(Buffer::from("now")).unwrap();
        port.flush();
        peer.read_exact(&mut [0; 3]).unwrap(); // this thread has asked for no packet
        assert_eq!(sent(&port).2, Ok(3));
    });
}

#[test]
fn posts_that_never_end_do_not_stop_io() {
    watched(|| {
        for lanes in [1, 2] {
            let port: CompletionPort<(), ()> = CompletionPort::builder().concurrency(lanes).build().unwrap();
            let (conn, mut peer) = pair(&port, ());
            conn.recv(Buffer::with_capacity(16)).unwrap();
            let posts = AtomicUsize::new(0);
            thread::scope(|scope| {
                scope.spawn(|| {
                    port.run(lanes, |packet| {
                        match packet {
                            Packet::Posted(()) => {
                                posts.fetch_add(1, Ordering::SeqCst);
                                let _ = port.post(());
                            }
                            Packet::Received { conn, buffer, .. } => drop(conn.send(buffer)?),
                            Packet::Sent { conn, buffer, .. } => drop(conn.recv(buffer.cleared())?),
                            other => panic!("unexpected {other:?}"),
                        }
                        Ok(())
                    })
                    .unwrap();
                });
                // More posts than workers, so that there is always one.
                for _ in 0..4 {
                    port.post(()).unwrap();
                }
                wait_until("posts go round", || posts.load(Ordering::SeqCst) > 1000);
                for round in 0..20u8 {
                    peer.write_all(&[round; 10]).unwrap();
                    let mut echo = [0; 10];
                    peer.read_exact(&mut echo).unwrap();
                    assert_eq!(echo, [round; 10]);
                }
                port.close();
            });
        }
    });
}

#[test]
fn io_that_never_ends_does_not_stop_posts() {
    watched(|| {
        for lanes in [1, 2] {
            let port: CompletionPort<(), u32> = CompletionPort::builder().concurrency(lanes).build().unwrap();
            // Writes of nothing to a socket end at once, each starts the next.
            let conns: Vec<_> = (0..4).map(|_| pair(&port, ())).collect();
            let (sends, last) = (AtomicUsize::new(0), AtomicUsize::new(0));
            thread::scope(|scope| {
                scope.spawn(|| {
                    port.run(lanes, |packet| {
                        match packet {
                            Packet::Posted(number) => last.store(number as usize, Ordering::SeqCst),
                            Packet::Sent { conn, buffer, .. } => {
                                sends.fetch_add(1, Ordering::SeqCst);
                                let _ = conn.send(buffer); // refused when the port is closed
                            }
                            other => panic!("unexpected {other:?}"),
                        }
                        Ok(())
                    })
                    .unwrap();
                });
                for (conn, _) in &conns {
                    conn.send(Buffer::empty()).unwrap();
                }
                wait_until("sends go round", || sends.load(Ordering::SeqCst) > 1000);
                for number in 1..20 {
                    port.post(number).unwrap();
                    wait_until("the post is served", || last.load(Ordering::SeqCst) == number as usize);
                }
                port.close();
            });
        }
    });
}

#[test]
fn a_lane_whose_worker_computes_is_served_by_a_worker_that_is_never_idle() {
    // Load imbalance is not a lane's fate: packets of the lane of a long handler are taken by the other worker, although that one
    // always has a post to serve.
    watched(|| {
        enum Message {
            Compute(Conn),
            Again,
        }
        let port: CompletionPort<(), Message> = CompletionPort::builder().concurrency(2).build().unwrap();
        let (conn, mut peer) = pair(&port, ());
        let (computing, stop, posts) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(2, |packet| {
                    match packet {
                        Packet::Posted(Message::Compute(conn)) => {
                            conn.recv(Buffer::with_capacity(16))?; // on this worker's lane
                            computing.store(true, Ordering::SeqCst);
                            spin_until(|| stop.load(Ordering::SeqCst));
                        }
                        Packet::Posted(Message::Again) => {
                            posts.fetch_add(1, Ordering::SeqCst);
                            let _ = port.post(Message::Again);
                        }
                        Packet::Received { conn, buffer, .. } => drop(conn.send(buffer)?),
                        Packet::Sent { .. } => {}
                        other => panic!("unexpected {:?}", ending(&other)),
                    }
                    Ok(())
                })
                .unwrap();
            });
            port.post(Message::Compute(conn)).unwrap();
            wait_until("one computes", || computing.load(Ordering::SeqCst));
            for _ in 0..3 {
                port.post(Message::Again).unwrap();
            }
            wait_until("the other has posts for ever", || posts.load(Ordering::SeqCst) > 1000);
            peer.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
            peer.write_all(b"ping").unwrap();
            let echo = peer.read_exact(&mut [0; 4]);
            stop.store(true, Ordering::SeqCst);
            port.close();
            echo.expect("the other worker takes the packet of the lane whose worker computes");
        });
    });
}

#[test]
fn p06_packets_that_were_taken_in_a_batch_of_completions_do_not_wait_for_a_handler_that_blocks() {
    // Ten connections get data at the same time; the handler of the first blocks until the other nine were served.
    watched(|| {
        let port: CompletionPort<u32, ()> = CompletionPort::builder().concurrency(1).build().unwrap();
        let mut peers = Vec::new();
        let mut conns = Vec::new();
        for key in 0..10 {
            let (conn, mut peer) = pair(&port, key);
            conn.recv(Buffer::with_capacity(8)).unwrap();
            peer.write_all(b"x").unwrap();
            peers.push(peer);
            conns.push(conn);
        }
        let (first, served) = (AtomicBool::new(true), AtomicUsize::new(0));
        port.run(2, |packet| {
            assert!(matches!(packet, Packet::Received { result: Ok(1), .. }), "{packet:?}");
            if first.swap(false, Ordering::SeqCst) {
                wait_until("nine were served meanwhile", || served.load(Ordering::SeqCst) == 9);
                port.close();
            } else {
                served.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn more_workers_than_lanes_all_take_part_when_they_have_to() {
    // Six handlers that wait for each other at a barrier, with a limit of two: each that blocks lets in the next.
    watched(|| {
        let port: CompletionPort<(), ()> = CompletionPort::builder().concurrency(2).build().unwrap();
        let barrier = Arc::new(std::sync::Barrier::new(6));
        for _ in 0..6 {
            port.post(()).unwrap();
        }
        let through = AtomicUsize::new(0);
        port.run(6, |_| {
            barrier.wait();
            if through.fetch_add(1, Ordering::SeqCst) == 5 {
                port.close();
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(through.into_inner(), 6);
    });
}
