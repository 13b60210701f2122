//! P: ports and their workers. P04, P06 and P07 are in `blocking.rs`.

mod common;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use overlapped::{Buffer, BufferPool, CompletionPort, Error, Packet};

type Numbers = CompletionPort<(), u32>;

fn numbers(concurrency: usize) -> Numbers {
    CompletionPort::builder().concurrency(concurrency).build().unwrap()
}

#[test]
fn p01_packets_are_queued_first_in_first_out() {
    watched(|| {
        let port = numbers(1);
        for number in 0..2000 {
            port.post(number).unwrap();
        }
        for number in 0..2000 {
            assert_eq!(posted(&port), number);
        }
        assert_quiet(&port);
    });
}

#[test]
fn p01_more_posts_than_waiters_leave_the_surplus_oldest_first() {
    watched(|| {
        let port = Arc::new(numbers(4));
        let (tell, told) = mpsc::channel();
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (port, tell) = (Arc::clone(&port), tell.clone());
                thread::spawn(move || tell.send(posted(&port)).unwrap())
            })
            .collect();
        thread::sleep(MOMENT); // mostly they wait by now
        for number in 0..10 {
            port.post(number).unwrap();
        }
        let mut taken: Vec<_> = (0..3).map(|_| told.recv_timeout(LONG).unwrap()).collect();
        taken.sort();
        assert_eq!(taken, [0, 1, 2]);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        for number in 3..10 {
            assert_eq!(posted(&port), number);
        }
    });
}

#[test]
fn p01_completions_of_one_lane_are_queued_in_the_order_in_which_they_ended() {
    watched(|| {
        let port: CompletionPort<u32> = CompletionPort::new(1).unwrap();
        let (conns, mut peers): (Vec<_>, Vec<_>) = (0..20).map(|key| pair(&port, key)).unzip();
        for conn in &conns {
            conn.recv(Buffer::with_capacity(1)).unwrap();
        }
        hand_over(&port);
        let order: Vec<u32> = (0..20).map(|n| n * 7 % 20).collect();
        for key in &order {
            peers[*key as usize].write_all(b"x").unwrap();
        }
        let seen: Vec<u32> = (0..20).map(|_| *received(&port).conn.key()).collect();
        assert_eq!(seen, order);
    });
}

type Waiter = (ThreadId, thread::JoinHandle<()>);

/// Threads that dequeue one packet each and say their number; they come to wait one after the other.
fn waiters_in_turn(port: &Arc<Numbers>, count: usize) -> (mpsc::Receiver<(usize, u32)>, Vec<Waiter>) {
    let (tell, told) = mpsc::channel();
    let threads = (0..count)
        .map(|number| {
            let (port, tell) = (Arc::clone(port), tell.clone());
            let (started, start) = mpsc::channel();
            let thread = thread::spawn(move || {
                started.send(this_thread()).unwrap();
                let packet = posted(&port);
                tell.send((number, packet)).unwrap();
            });
            let tid = start.recv().unwrap();
            wait_until("the thread waits", || asleep(tid));
            (tid, thread)
        })
        .collect();
    (told, threads)
}

/// Whether a thread sleeps, and goes on sleeping: it has arrived in its wait.
fn asleep(tid: ThreadId) -> bool {
    (0..10).all(|_| {
        thread::sleep(Duration::from_millis(2));
        sleeps(tid)
    })
}

#[test]
fn p02_waiting_workers_are_released_last_in_first_out() {
    watched_but_not_by_wine("it releases the worker that came first", || {
        for lanes in [1, 2, 4] {
            let port = Arc::new(numbers(lanes));
            let (told, mut threads) = waiters_in_turn(&port, 4);
            for packet in 0..4 {
                // One that ends lets another look after its lane; that one goes back to its place.
                threads.iter().for_each(|(tid, _)| wait_until("the rest sleeps", || asleep(*tid)));
                let (_, last) = threads.pop().unwrap();
                port.post(packet).unwrap();
                assert_eq!(told.recv_timeout(LONG).unwrap(), (threads.len(), packet), "{lanes} lanes");
                last.join().unwrap(); // it is no worker any more, and its lane is free
            }
        }
    });
}

#[test]
fn p02_io_too_releases_the_worker_that_came_last() {
    watched_but_not_by_wine("it releases the worker that came first", || {
        let port = Arc::new(CompletionPort::<(), ()>::new(1).unwrap());
        let (conn, mut peer) = pair(&port, ());
        conn.recv(Buffer::with_capacity(1)).unwrap();
        let (tell, told) = mpsc::channel();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (port, tell) = (Arc::clone(&port), tell.clone());
                let (started, start) = mpsc::channel();
                let thread = thread::spawn(move || {
                    started.send(this_thread()).unwrap();
                    if port.dequeue(None).is_ok() {
                        tell.send(number).unwrap();
                    }
                });
                let tid = start.recv().unwrap();
                wait_until("the thread waits", || asleep(tid));
                thread
            })
            .collect();
        peer.write_all(b"x").unwrap();
        assert_eq!(told.recv_timeout(LONG).unwrap(), 2);
        port.close();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn p03_a_worker_that_asks_while_packets_are_queued_gets_one_before_any_that_waits() {
    watched_but_not_by_wine("it does not limit how many workers run", || {
        // The asking worker posts itself, so that it certainly asks while the packet is queued; the waiters are parked behind a
        // limit of one, which the asking one fills.
        let port = Arc::new(numbers(1));
        assert_eq!(port.dequeue(Duration::ZERO).unwrap_err(), Error::WAIT_TIMEOUT); // this thread has the lane
        let taken = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let (port, taken) = (Arc::clone(&port), Arc::clone(&taken));
                thread::spawn(move || {
                    while port.dequeue(None).is_ok() {
                        taken.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        // Spins rather than sleeps: who sleeps gives up its place.
        let start = Instant::now();
        spin_until(|| start.elapsed() > Duration::from_millis(30));
        for number in 0..500 {
            port.post(number).unwrap();
            assert!(matches!(port.dequeue(Duration::ZERO), Ok(Packet::Posted(got)) if got == number));
        }
        let by_others = taken.load(Ordering::SeqCst);
        port.close();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(by_others, 0);
    });
}

#[test]
fn p05_a_thread_joins_with_its_first_dequeue_and_leaves_when_it_exits() {
    watched(|| {
        let port = Arc::new(numbers(1));
        // Each thread holds the only lane when it exits; the next one gets it.
        for number in 0..20 {
            port.post(number).unwrap();
            let port = Arc::clone(&port);
            assert_eq!(thread::spawn(move || posted(&port)).join().unwrap(), number);
        }
    });
}

#[test]
fn p08_a_worker_that_moves_to_another_port_frees_its_place_at_the_first() {
    watched_but_not_by_wine("it does not limit how many workers run", || {
        let (first, second) = (Arc::new(numbers(1)), Arc::new(numbers(1)));
        first.post(1).unwrap();
        assert_eq!(posted(&first), 1); // this thread fills the limit of the first
        let (tell, told) = mpsc::channel();
        let waiter = {
            let first = Arc::clone(&first);
            thread::spawn(move || tell.send(posted(&first)).unwrap())
        };
        first.post(2).unwrap();
        let start = Instant::now();
        spin_until(|| start.elapsed() > Duration::from_millis(100));
        assert!(told.try_recv().is_err(), "the limit is one, and this thread computes");
        assert_eq!(second.dequeue(Duration::ZERO).unwrap_err(), Error::WAIT_TIMEOUT); // moves
        spin_until(|| start.elapsed() > LONG || waiter.is_finished());
        assert_eq!(told.try_recv(), Ok(2));
        waiter.join().unwrap();
    });
}

#[test]
fn p08_a_thread_may_go_to_and_fro_between_two_ports() {
    watched(|| {
        let (first, second) = (numbers(1), numbers(2));
        for number in 0..200 {
            first.post(number).unwrap();
            second.post(number).unwrap();
            assert_eq!((posted(&first), posted(&second)), (number, number));
        }
    });
}

#[test]
fn p09_a_timeout_of_zero_polls_and_a_finite_one_elapses() {
    watched(|| {
        let port = numbers(1);
        let start = Instant::now();
        for _ in 0..100 {
            assert_eq!(port.dequeue(Duration::ZERO).unwrap_err(), Error::WAIT_TIMEOUT);
        }
        assert!(start.elapsed() < LONG);
        let start = Instant::now();
        assert_eq!(port.dequeue(Duration::from_millis(30)).unwrap_err(), Error::WAIT_TIMEOUT);
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(Error::WAIT_TIMEOUT.code(), 258);
    });
}

#[test]
fn p09_a_worker_without_a_lane_times_out_too() {
    watched(|| {
        let port = numbers(1);
        hand_over(&port); // this thread has the only lane
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let start = Instant::now();
                let ended = port.dequeue(Duration::from_millis(20)).unwrap_err();
                (ended, start.elapsed())
            });
            spin_until(|| other.is_finished());
            let (ended, elapsed) = other.join().unwrap();
            assert_eq!(ended, Error::WAIT_TIMEOUT);
            assert!(elapsed >= Duration::from_millis(20));
        });
    });
}

#[test]
fn p09_no_timeout_waits_until_a_packet_comes() {
    watched(|| {
        let port = numbers(1);
        thread::scope(|scope| {
            for timeout in [None, Some(Duration::MAX), Some(Duration::from_secs(1 << 40))] {
                let port = &port;
                let waiter = scope.spawn(move || port.dequeue(timeout));
                thread::sleep(MOMENT);
                assert!(!waiter.is_finished());
                port.post(1).unwrap();
                assert!(matches!(waiter.join().unwrap(), Ok(Packet::Posted(1))));
            }
        });
    });
}

#[test]
fn p10_closing_releases_all_waiters() {
    watched(|| {
        for lanes in [1, 2] {
            let port = numbers(lanes);
            thread::scope(|scope| {
                let waiters: Vec<_> = (0..5).map(|_| scope.spawn(|| port.dequeue(None))).collect();
                let timed = scope.spawn(|| port.dequeue(LONG));
                thread::sleep(MOMENT);
                port.close();
                for waiter in waiters {
                    assert_eq!(waiter.join().unwrap().unwrap_err(), Error::ABANDONED_WAIT);
                }
                assert_eq!(timed.join().unwrap().unwrap_err(), Error::ABANDONED_WAIT);
            });
            assert_eq!(port.dequeue(None).unwrap_err().code(), 735);
        }
    });
}

#[test]
fn p10_closing_while_threads_come_to_wait_misses_none() {
    watched(|| {
        for round in 0..200 {
            let port = numbers(1 + round % 2);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| assert_eq!(port.dequeue(None).unwrap_err(), Error::ABANDONED_WAIT));
                }
                port.close();
            });
        }
    });
}

#[test]
fn p11_closing_drops_what_is_queued() {
    watched(|| {
        let port: CompletionPort<Arc<()>, Arc<()>> = CompletionPort::builder().concurrency(1).build().unwrap();
        let pool = BufferPool::new(64, 4).unwrap();
        let (key, message) = (Arc::new(()), Arc::new(()));
        let mut peers = Vec::new();
        for _ in 0..3 {
            let (conn, mut peer) = pair(&port, Arc::clone(&key));
            conn.recv_pooled(&pool).unwrap();
            conn.send(pool.take().unwrap_or_default()).unwrap();
            peer.write_all(b"data").unwrap();
            peers.push(peer);
        }
        for _ in 0..5 {
            port.post(Arc::clone(&message)).unwrap();
        }
        drop(next(&port)); // so that completions were reaped and are queued
        port.close();
        assert_eq!((Arc::strong_count(&key), Arc::strong_count(&message)), (1, 1));
        drop(port);
        wait_until("buffers come back", || pool.available() == 4);
        for peer in &mut peers {
            let mut rest = Vec::new();
            let _ = std::io::Read::read_to_end(peer, &mut rest); // ends: the handle was closed
        }
    });
}

#[test]
fn p12_handles_outlive_their_port_and_do_no_harm() {
    watched(|| {
        let port: CompletionPort<String> = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = pair(&port, "key".to_owned());
        let (idle, mut idle_peer) = pair(&port, "idle".to_owned());
        conn.recv(Buffer::with_capacity(8)).unwrap();
        hand_over(&port);
        drop(port);
        peer.write_all(b"late").unwrap();
        assert_eq!(conn.key(), "key");
        assert_eq!(conn.recv(Buffer::with_capacity(8)).unwrap_err(), Error::ABANDONED_WAIT);
        assert_eq!(conn.send(Buffer::from("x")).unwrap_err(), Error::ABANDONED_WAIT);
        assert_eq!(conn.cancel_all().unwrap_err(), Error::NOT_FOUND);
        assert!(conn.peer_addr().is_ok(), "the handle is still open");
        idle.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(std::io::Read::read(&mut idle_peer, &mut [0]).unwrap(), 0);
        conn.close();
    });
}

#[test]
fn p13_a_batch_takes_what_is_there_in_order_and_leaves_the_rest() {
    watched(|| {
        let port = numbers(1);
        for number in 0..10 {
            port.post(number).unwrap();
        }
        let mut packets = Vec::new();
        assert_eq!(port.dequeue_batch(&mut packets, 4, None), Ok(4));
        assert_eq!(port.dequeue_batch(&mut packets, 100, None), Ok(6), "without waiting for more");
        let seen: Vec<_> = packets.into_iter().map(|packet| matches!(packet, Packet::Posted(n) if n < 10)).collect();
        assert_eq!(seen, [true; 10]);
        assert_eq!(port.dequeue_batch(&mut Vec::new(), 4, Duration::ZERO), Err(Error::WAIT_TIMEOUT));
        assert_eq!(port.dequeue_batch(&mut Vec::new(), 0, None), Err(Error::INVALID_PARAMETER));
        for number in 0..600 {
            port.post(number).unwrap();
        }
        let mut packets = Vec::new();
        while packets.len() < 600 {
            port.dequeue_batch(&mut packets, 7, None).unwrap();
        }
        let order = packets.into_iter().map(|packet| if let Packet::Posted(n) = packet { n } else { u32::MAX });
        assert!(order.eq(0..600));
    });
}

#[test]
fn p13_a_batch_succeeds_although_some_packets_carry_failures() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = pair(&port, ());
        let first = conn.recv(Buffer::with_capacity(1)).unwrap();
        let second = conn.recv(Buffer::with_capacity(1)).unwrap();
        conn.shutdown(std::net::Shutdown::Write).unwrap();
        let refused = conn.send(Buffer::from("x")).unwrap();
        peer.write_all(b"a").unwrap();
        let mut packets = Vec::new();
        while packets.len() < 2 {
            port.dequeue_batch(&mut packets, 10, None).unwrap();
        }
        conn.cancel(second).unwrap();
        port.dequeue_batch(&mut packets, 10, None).unwrap();
        let mut told: Vec<_> = packets.iter().map(ending).collect();
        told.sort_by_key(|told| told.0);
        let expected = [(first, None), (second, Some(Error::OPERATION_ABORTED)), (refused, Some(Error::SHUTDOWN))];
        assert_eq!(told, expected.map(|(id, error)| (Some(id), error)));
    });
}

#[test]
fn p15_a_message_arrives_as_it_was_posted() {
    watched(|| {
        let port: CompletionPort<(), Box<dyn Fn(u64) -> u64 + Send>> =
            CompletionPort::builder().concurrency(1).build().unwrap();
        let secret = 0xFFFF_FFFF_FFFF_FFFF;
        port.post(Box::new(move |mask| secret ^ mask)).unwrap();
        let Ok(Packet::Posted(message)) = port.dequeue(None) else { panic!() };
        assert_eq!(message(1), u64::MAX - 1);
    });
}

#[test]
fn p01_a_port_that_is_used_by_many_threads_gives_each_packet_to_one() {
    watched(|| {
        let port = numbers(2);
        let seen = Mutex::new(vec![0u8; 4000]);
        let left = AtomicUsize::new(4000);
        thread::scope(|scope| {
            for poster in 0..4 {
                let port = &port;
                scope.spawn(move || (0..1000).for_each(|n| port.post(poster * 1000 + n).unwrap()));
            }
            port.run(5, |packet| {
                let Packet::Posted(number) = packet else { panic!() };
                seen.lock().unwrap()[number as usize] += 1;
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    port.close();
                }
                Ok(())
            })
            .unwrap();
        });
        assert!(seen.into_inner().unwrap().iter().all(|count| *count == 1));
    });
}

#[test]
fn p03_a_post_from_a_thread_that_is_no_worker_wakes_a_sleeper_every_time() {
    // Lost wake-ups show here as a hang: the poster waits for each answer before the next post.
    watched(|| {
        let port: CompletionPort<(), mpsc::Sender<()>> = CompletionPort::builder().concurrency(2).build().unwrap();
        let stopped = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(3, |packet| {
                    if let Packet::Posted(answer) = packet {
                        answer.send(()).unwrap();
                    }
                    Ok(())
                })
                .unwrap();
                stopped.store(true, Ordering::SeqCst);
            });
            let (answer, answered) = mpsc::channel();
            for round in 0..5000 {
                port.post(answer.clone()).unwrap();
                assert!(answered.recv_timeout(LONG).is_ok(), "post {round} was never served");
            }
            port.close();
        });
        assert!(stopped.into_inner());
    });
}

#[test]
fn a_port_that_gathers_still_delivers_single_packets_and_keeps_its_timeouts() {
    watched(|| {
        let port: CompletionPort<(), u32> =
            CompletionPort::builder().concurrency(1).gather(64, Duration::from_millis(2)).build().unwrap();
        let (conn, mut peer) = pair(&port, ());
        for _ in 0..5 {
            conn.recv(Buffer::with_capacity(8)).unwrap();
            peer.write_all(b"x").unwrap();
            assert_eq!(received(&port).result, Ok(1));
        }
        thread::scope(|scope| {
            scope.spawn(|| port.post(5).unwrap());
            assert_eq!(posted(&port), 5);
        });
        let start = Instant::now();
        assert_eq!(port.dequeue(Duration::from_millis(25)).unwrap_err(), Error::WAIT_TIMEOUT);
        assert!(start.elapsed() >= Duration::from_millis(25));
        conn.within(Duration::from_millis(10)).recv(Buffer::with_capacity(8)).unwrap();
        assert_eq!(received(&port).result, Err(Error::SEM_TIMEOUT));
    });
}
