//! E: events, the waits for them, and operations that set them.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use overlapped::alertable::{self, FOREVER, Waited, Woken};
use overlapped::fs::File;
use overlapped::net::TcpStream;
use overlapped::{Buffer, BufferPool, CompletionPort, Error, Event, Pending, done, event};

// Events by themselves

#[test]
fn e01_a_manual_reset_event_stays_set_and_releases_all() {
    watched(|| {
        let event = Event::manual_reset();
        assert!(!event.is_set(), "unset at first");
        assert_eq!(event.wait(Duration::ZERO), Err(Error::WAIT_TIMEOUT));
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let event = event.clone();
                thread::spawn(move || event.wait(FOREVER))
            })
            .collect();
        event.set();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(()));
        }
        assert_eq!((event.wait(FOREVER), event.wait(Duration::ZERO), event.is_set()), (Ok(()), Ok(()), true));
        event.reset();
        event.reset();
        assert_eq!((event.wait(Duration::ZERO), event.is_set()), (Err(Error::WAIT_TIMEOUT), false));
    });
}

#[test]
fn e01_an_auto_reset_event_releases_one_and_falls() {
    watched(|| {
        let event = Event::auto_reset();
        assert!(!event.is_set(), "unset at first");
        event.set();
        event.set(); // it is set already: two sets are one
        assert!(event.is_set() && event.is_set(), "looking consumes nothing");
        assert_eq!(event.wait(FOREVER), Ok(()));
        assert_eq!((event.wait(Duration::ZERO), event.is_set()), (Err(Error::WAIT_TIMEOUT), false));
        event.set();
        event.reset();
        assert_eq!(event.wait(Duration::ZERO), Err(Error::WAIT_TIMEOUT));
        // Of eight that wait each set releases one.
        let released = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let (event, released) = (event.clone(), Arc::clone(&released));
                thread::spawn(move || {
                    event.wait(FOREVER).unwrap();
                    released.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        for n in 1..=8 {
            event.set();
            wait_until("one is released", || released.load(Ordering::SeqCst) == n);
            assert!(!event.is_set());
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn e01_a_clone_names_the_same_event() {
    watched(|| {
        let event = Event::auto_reset();
        let clone = event.clone();
        let waiter = thread::spawn(move || clone.wait(FOREVER));
        event.set();
        assert_eq!(waiter.join().unwrap(), Ok(()));
        assert!(!event.is_set());
    });
}

#[test]
fn e02_up_to_64_events_and_neither_none_nor_more() {
    watched(|| {
        let events: Vec<_> = (0..65).map(|_| Event::auto_reset()).collect();
        let all: Vec<_> = events.iter().collect();
        assert_eq!(event::MAX_EVENTS, 64);
        events[63].set();
        assert_eq!(event::wait_any(&all[..64], FOREVER), Ok(63));
        assert_eq!(event::wait_any(&all[..64], Duration::ZERO), Err(Error::WAIT_TIMEOUT));
        events.iter().for_each(Event::set);
        assert_eq!(event::wait_all(&all[..64], FOREVER), Ok(()));
        assert_eq!(event::wait_all(&all[64..], Duration::ZERO), Ok(()), "the one that was left out was not consumed");
        events.iter().for_each(Event::set);
        for wrong in [&[][..], &all[..]] {
            assert_eq!(event::wait_any(wrong, FOREVER), Err(Error::INVALID_PARAMETER));
            assert_eq!(event::wait_all(wrong, FOREVER), Err(Error::INVALID_PARAMETER));
            assert_eq!(alertable::wait_any(wrong, FOREVER), Err(Error::INVALID_PARAMETER));
            assert_eq!(alertable::wait_all(wrong, FOREVER), Err(Error::INVALID_PARAMETER));
        }
        assert_eq!(Error::INVALID_PARAMETER.code(), 87);
        assert!(events.iter().all(Event::is_set), "a wait that is not valid consumes nothing");
    });
}

#[test]
fn e02_an_event_may_be_there_twice_for_any_and_not_for_all() {
    watched(|| {
        let (one, two) = (Event::auto_reset(), Event::auto_reset());
        let clone = one.clone();
        one.set();
        two.set();
        assert_eq!(event::wait_all(&[&one, &two, &one], FOREVER), Err(Error::INVALID_PARAMETER));
        assert_eq!(event::wait_all(&[&one, &two, &clone], FOREVER), Err(Error::INVALID_PARAMETER), "by another name");
        assert_eq!(alertable::wait_all(&[&one, &one], FOREVER), Err(Error::INVALID_PARAMETER));
        assert!(one.is_set() && two.is_set());
        two.reset();
        assert_eq!(event::wait_any(&[&two, &one, &clone], FOREVER), Ok(1));
        assert!(!one.is_set());
        // While it waits, too: one set, one index, once.
        let (there, clone) = (one.clone(), one.clone());
        let waiter = thread::spawn(move || event::wait_any(&[&there, &clone], FOREVER));
        one.set();
        assert_eq!(waiter.join().unwrap(), Ok(0));
        assert!(!one.is_set());
    });
}

#[test]
fn e02_the_lowest_index_that_is_set_wins_and_only_it_is_consumed() {
    watched(|| {
        let events: Vec<_> = (0..10).map(|_| Event::auto_reset()).collect();
        let all: Vec<_> = events.iter().collect();
        for index in [7, 3, 9] {
            events[index].set();
        }
        for index in [3, 7, 9] {
            assert_eq!(event::wait_any(&all, FOREVER), Ok(index));
        }
        assert_eq!(event::wait_any(&all, Duration::ZERO), Err(Error::WAIT_TIMEOUT));
        events[5].set();
        events[6].set();
        assert_eq!(alertable::wait_any(&all, FOREVER), Ok(Waited::Signalled(5)));
        assert!(events[6].is_set());
    });
}

#[test]
fn e02_waiting_for_all_takes_all_or_none() {
    watched(|| {
        let (one, two, manual) = (Event::auto_reset(), Event::auto_reset(), Event::manual_reset());
        one.set();
        manual.set();
        assert_eq!(event::wait_all(&[&one, &two, &manual], MOMENT), Err(Error::WAIT_TIMEOUT));
        assert!(one.is_set() && manual.is_set(), "it took one although it did not get all");
        // While somebody waits for all of them, others can have each.
        let (one_there, two_there) = (one.clone(), two.clone());
        let all = thread::spawn(move || event::wait_all(&[&one_there, &two_there], FOREVER));
        assert_eq!(one.wait(LONG), Ok(()));
        two.set();
        assert_eq!(two.wait(LONG), Ok(()));
        thread::sleep(MOMENT);
        assert!(!all.is_finished());
        two.set();
        thread::sleep(MOMENT);
        assert!(!all.is_finished() && two.is_set());
        one.set();
        assert_eq!(all.join().unwrap(), Ok(()));
        assert!(!one.is_set() && !two.is_set());
        assert!(manual.is_set());
        assert_eq!(event::wait_all(&[&manual], FOREVER), Ok(()));
        assert!(manual.is_set(), "a manual-reset event stays set");
    });
}

#[test]
fn e02_threads_that_wait_for_the_same_pair_in_both_orders_do_not_stop_each_other() {
    watched(|| {
        const ROUNDS: usize = 3000;
        let (one, two) = (Event::auto_reset(), Event::auto_reset());
        let taken = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = [(one.clone(), two.clone()), (two.clone(), one.clone())]
            .into_iter()
            .map(|(first, second)| {
                let taken = Arc::clone(&taken);
                thread::spawn(move || {
                    while taken.load(Ordering::SeqCst) < ROUNDS {
                        if event::wait_all(&[&first, &second], MOMENT).is_ok() {
                            taken.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        for round in 0..ROUNDS {
            one.set();
            two.set();
            wait_until("somebody takes both", || taken.load(Ordering::SeqCst) > round);
            assert!(!one.is_set() && !two.is_set());
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(taken.load(Ordering::SeqCst), ROUNDS);
    });
}

#[test]
fn e02_each_set_is_consumed_once_by_threads_that_race_for_it() {
    // Some wait for one, some for any, some for pairs; alertably or not. Whoever sets an event waits until it has fallen.
    watched(|| {
        const EVENTS: usize = 4;
        const SETS: usize = 1500;
        let events: Arc<Vec<_>> = Arc::new((0..EVENTS).map(|_| Event::auto_reset()).collect());
        let taken: Arc<Vec<_>> = Arc::new((0..EVENTS).map(|_| AtomicUsize::new(0)).collect());
        let over = Event::manual_reset();
        let takers: Vec<_> = (0..6)
            .map(|number| {
                let (events, taken, over) = (Arc::clone(&events), Arc::clone(&taken), over.clone());
                thread::spawn(move || {
                    let mut random = Random(number);
                    while !over.is_set() {
                        let first = random.below(EVENTS as u64) as usize;
                        let second = (first + 1 + random.below(EVENTS as u64 - 1) as usize) % EVENTS;
                        let pair = [&events[first], &events[second]];
                        // Whoever wants both has to give up now and then, or it could be the only one left.
                        let limit = Duration::from_millis(1 + random.below(3));
                        let got = match random.below(5) {
                            0 => events[first].wait(limit).map(|()| vec![first]),
                            1 => event::wait_any(&pair, limit).map(|index| vec![[first, second][index]]),
                            2 => event::wait_all(&pair, limit).map(|()| vec![first, second]),
                            3 => alertable::wait_any(&pair, limit).map(|waited| match waited {
                                Waited::Signalled(index) => vec![[first, second][index]],
                                Waited::Routines => panic!("nothing was queued"),
                            }),
                            _ => alertable::wait_all(&pair, limit).map(|_| vec![first, second]),
                        };
                        match got {
                            Ok(indices) => indices.into_iter().for_each(|index| {
                                taken[index].fetch_add(1, Ordering::SeqCst);
                            }),
                            Err(error) => assert_eq!(error, Error::WAIT_TIMEOUT),
                        }
                    }
                })
            })
            .collect();
        thread::scope(|scope| {
            for index in 0..EVENTS {
                let (events, taken) = (&events, &taken);
                scope.spawn(move || {
                    for n in 0..SETS {
                        events[index].set();
                        wait_until("somebody takes it", || taken[index].load(Ordering::SeqCst) > n);
                        assert!(!events[index].is_set());
                    }
                });
            }
        });
        over.set();
        for taker in takers {
            taker.join().unwrap();
        }
        assert!(taken.iter().all(|taken| taken.load(Ordering::SeqCst) == SETS), "{taken:?}");
    });
}

#[test]
fn e02_a_set_that_races_with_the_timeout_is_consumed_or_stays() {
    watched(|| {
        let event = Event::auto_reset();
        let mut random = Random(2);
        let (mut in_time, mut too_late) = (0, 0);
        let rounds = if wine() { 300 } else { 1500 }; // there a thread takes its time to begin
        for round in 0..rounds {
            let micros = random.below(300);
            let waited = thread::scope(|scope| {
                scope.spawn(|| {
                    let start = Instant::now();
                    spin_until(|| start.elapsed() > Duration::from_micros(micros));
                    event.set();
                });
                event.wait(Duration::from_micros(150))
            });
            // The set has happened by now.
            match waited {
                Ok(()) => {
                    assert!(!event.is_set(), "round {round}: consumed, and still set");
                    in_time += 1;
                }
                Err(_) => {
                    assert!(event.is_set(), "round {round}: not consumed, and not set");
                    event.reset();
                    too_late += 1;
                }
            }
        }
        println!("{in_time} in time, {too_late} too late");
    });
}

// Operations that set events

fn receive(conn: &TcpStream, event: &Event) -> Pending<done::Received> {
    conn.recv(Buffer::with_capacity(8)).signal(event).unwrap()
}

#[test]
fn c01_an_operation_that_succeeds_at_once_sets_its_event_all_the_same() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        peer.write_all(b"here").unwrap();
        let event = Event::auto_reset();
        let mut pending = receive(&conn, &event);
        assert_eq!(event.wait(LONG), Ok(()));
        assert_eq!(pending.try_result().unwrap().result, Ok(4));
    });
}

#[test]
fn c03_a_failure_sets_the_event_too_and_hands_back_handle_and_buffer() {
    watched(|| {
        let (conn, peer) = free_pair();
        let event = Event::auto_reset();
        let mut pending = conn.recv(Buffer::with_capacity(77)).signal(&event).unwrap();
        reset(peer);
        assert_eq!(event.wait(LONG), Ok(()));
        let done = pending.try_result().unwrap();
        assert_eq!((done.result, done.buffer.len(), done.buffer.capacity()), (Err(Error::NETNAME_DELETED), 0, 77));
        // One that fails at once: Windows returns the error from the call and leaves the event alone.
        let mut pending = done.conn.send(Buffer::from("x")).signal(&event).unwrap();
        assert_eq!(event.wait(LONG), Ok(()));
        assert_eq!(pending.try_result().unwrap().result, Err(Error::NETNAME_DELETED));
    });
}

#[test]
fn c04_the_result_is_there_when_the_event_is_set() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let (tell, told) = mpsc::channel::<()>();
        let writer = thread::spawn(move || {
            for () in told {
                peer.write_all(b"x").unwrap();
            }
        });
        for round in 0..3000 {
            // With the event set by a writer that comes before, after, and at the same time.
            let event = if round % 2 == 0 { Event::auto_reset() } else { Event::manual_reset() };
            tell.send(()).unwrap();
            let mut pending = receive(&conn, &event);
            if round % 3 == 0 {
                event.wait(FOREVER).unwrap();
            } else {
                // Looking at the event without waiting for it is no different.
                wait_until("the event", || event.is_set());
            }
            assert!(pending.is_done(), "round {round}: the event is set, and the operation has not ended");
            assert_eq!(pending.try_result().expect("the result is there").result, Ok(1));
        }
        drop(tell);
        writer.join().unwrap();
    });
}

#[test]
fn c08_an_operation_says_whether_it_has_ended() {
    // Win32: HasOverlappedIoCompleted.
    watched(|| {
        let (conn, mut peer) = free_pair();
        let pending = receive(&conn, &Event::manual_reset());
        assert!(!pending.is_done());
        thread::sleep(MOMENT);
        assert!(!pending.is_done());
        peer.write_all(b"x").unwrap();
        wait_until("it ends", || pending.is_done());
        assert_eq!(pending.wait().result, Ok(1));
    });
}

#[test]
fn c09_the_event_is_reset_at_the_start_and_set_at_the_end_even_at_once() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        for event in [Event::manual_reset(), Event::auto_reset()] {
            event.set();
            let pending = receive(&conn, &event);
            assert!(!event.is_set(), "not reset by the start");
            thread::sleep(MOMENT);
            assert!(!event.is_set(), "set before the end");
            peer.write_all(b"x").unwrap();
            assert_eq!(event.wait(LONG), Ok(()));
            assert_eq!(pending.wait().result, Ok(1));
            // One that is over at once.
            event.set();
            peer.write_all(b"x").unwrap();
            let pending = receive(&conn, &event);
            assert_eq!(pending.wait().result, Ok(1));
            assert_eq!(event.wait(LONG), Ok(()));
        }
    });
}

#[test]
fn c09_every_kind_of_operation_sets_its_event() {
    watched(|| {
        let event = Event::auto_reset();
        let ended = |what| assert_eq!(event.wait(LONG), Ok(()), "{what} does not set its event");
        let (listener, address) = free_listener();
        let mut accepted = listener.accept().signal(&event).unwrap();
        let mut client = connect(address);
        ended("accept");
        let conn = accepted.try_result().unwrap().result.unwrap();
        let mut connected = TcpStream::unconnected(address).unwrap().connect(address).signal(&event).unwrap();
        ended("connect");
        assert_eq!(connected.try_result().unwrap().result, Ok(()));
        let pool = BufferPool::new(16, 4).unwrap();
        let mut received = conn.recv_pooled(&pool).signal(&event).unwrap();
        client.write_all(b"pooled").unwrap();
        ended("recv_pooled");
        assert_eq!(&received.try_result().unwrap().buffer[..], b"pooled");
        let mut sent = conn.send(Buffer::from("out")).signal(&event).unwrap();
        ended("send");
        assert_eq!(sent.try_result().unwrap().result, Ok(3));
        let mut sent = conn.send_vectored(vec![Buffer::from("o"), Buffer::from("ut")]).signal(&event).unwrap();
        ended("send_vectored");
        assert_eq!(sent.try_result().unwrap().result, Ok(3));
        client.read_exact(&mut [0; 6]).unwrap();
        let (socket, here) = free_udp();
        let mut received = socket.recv_from(Buffer::with_capacity(16)).signal(&event).unwrap();
        let mut sent = socket.send_to(Buffer::from("datagram"), here).signal(&Event::manual_reset()).unwrap();
        ended("recv_from");
        assert_eq!(received.try_result().unwrap().result, Ok((8, here)));
        assert_eq!(sent.wait_for(LONG).unwrap().result, Ok(8));
        let path = std::env::temp_dir().join(format!("overlapped-events-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut written = file.write_at(Buffer::from("written"), 5).signal(&event).unwrap();
        ended("write_at");
        assert_eq!(written.try_result().unwrap().result, Ok(7));
        let mut synced = file.sync(true).signal(&event).unwrap();
        ended("sync");
        assert_eq!(synced.try_result().unwrap().result, Ok(()));
        let mut read = file.read_at(Buffer::with_capacity(4), 7).signal(&event).unwrap();
        ended("read_at");
        assert_eq!(&read.try_result().unwrap().buffer[..], b"itte");
    });
}

#[test]
fn c10_a_result_that_is_not_there_yet_is_incomplete_and_one_that_was_taken_is_gone() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let event = Event::manual_reset();
        let mut pending = receive(&conn, &event);
        for _ in 0..3 {
            assert_eq!(pending.try_result().unwrap_err(), Error::IO_INCOMPLETE);
        }
        assert_eq!(Error::IO_INCOMPLETE.code(), 996);
        peer.write_all(b"x").unwrap();
        event.wait(LONG).unwrap();
        assert_eq!(pending.try_result().unwrap().result, Ok(1));
        assert_eq!(pending.try_result().unwrap_err(), Error::INVALID_PARAMETER);
        assert_eq!(pending.wait_for(LONG).unwrap_err(), Error::INVALID_PARAMETER);
        assert_eq!(pending.wait_for(Duration::ZERO).unwrap_err(), Error::INVALID_PARAMETER);
        assert_eq!(pending.wait_alertable(FOREVER).unwrap_err(), Error::INVALID_PARAMETER);
        assert!(pending.is_done());
    });
}

#[test]
fn c10_waiting_for_a_result_waits_for_the_operation_and_not_for_its_event() {
    // Windows waits for the event, so an auto-reset one that somebody else took, or that was reset, makes that wait endless.
    watched(|| {
        let (conn, mut peer) = free_pair();
        let event = Event::auto_reset();
        let pending = receive(&conn, &event);
        event.set(); // by whomever: it says nothing about the operation
        thread::scope(|scope| {
            let waiter = scope.spawn(|| pending.wait().result);
            thread::sleep(MOMENT);
            assert!(!waiter.is_finished(), "the event was set, the operation has not ended");
            event.reset();
            peer.write_all(b"x").unwrap();
            event.wait(LONG).unwrap(); // consumes it
            assert_eq!(waiter.join().unwrap(), Ok(1));
        });
    });
}

#[test]
fn c14_waiting_for_a_result_with_a_limit() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let mut pending = receive(&conn, &Event::manual_reset());
        let ran = Arc::new(AtomicUsize::new(0));
        let queue = || {
            let ran = Arc::clone(&ran);
            alertable::queue_apc(&alertable::current(), move || {
                ran.fetch_add(1, Ordering::SeqCst);
            })
            .unwrap();
        };
        queue();
        // A limit of zero runs no APC, alertable or not.
        assert_eq!(pending.wait_for(Duration::ZERO).unwrap_err(), Error::IO_INCOMPLETE);
        assert_eq!(pending.wait_alertable(Duration::ZERO).unwrap_err(), Error::IO_INCOMPLETE);
        assert_eq!(pending.wait_for(Duration::from_millis(5)).unwrap_err(), Error::WAIT_TIMEOUT);
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        assert_eq!(pending.wait_alertable(LONG).unwrap_err(), Error::WAIT_IO_COMPLETION);
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert_eq!(pending.wait_alertable(Duration::from_millis(5)).unwrap_err(), Error::WAIT_TIMEOUT);
        let writer = thread::spawn(move || {
            thread::sleep(MOMENT);
            peer.write_all(b"x").unwrap();
            peer
        });
        assert_eq!(pending.wait_alertable(FOREVER).unwrap().result, Ok(1));
        let mut peer = writer.join().unwrap();
        // One that has ended: the result comes before any APC.
        queue();
        peer.write_all(b"xy").unwrap();
        let event = Event::manual_reset();
        for zero in [false, true] {
            let mut pending = conn.recv(Buffer::with_capacity(1)).signal(&event).unwrap();
            event.wait(LONG).unwrap();
            let limit = if zero { Duration::ZERO } else { LONG };
            assert_eq!(pending.wait_alertable(limit).unwrap().result, Ok(1));
        }
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::Routines);
    });
}

#[test]
fn several_operations_may_share_an_event() {
    // It says that one of them has ended; which, they say themselves.
    watched(|| {
        let event = Event::auto_reset();
        let (conns, mut peers): (Vec<_>, Vec<_>) = (0..10).map(|_| free_pair()).unzip();
        let mut pending: Vec<_> = conns.iter().map(|conn| Some(receive(conn, &event))).collect();
        thread::scope(|scope| {
            scope.spawn(|| peers.iter_mut().for_each(|peer| peer.write_all(b"x").unwrap()));
            while pending.iter().any(Option::is_some) {
                event.wait(LONG).unwrap();
                for pending in &mut pending {
                    if pending.as_ref().is_some_and(Pending::is_done) {
                        assert_eq!(pending.take().unwrap().wait().result, Ok(1));
                    }
                }
            }
        });
    });
}

#[test]
fn many_threads_may_wait_for_the_event_of_one_operation() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let event = Event::manual_reset();
        let pending = receive(&conn, &event);
        let waiters: Vec<_> = (0..16)
            .map(|number| {
                let event = event.clone();
                thread::spawn(move || match number % 3 {
                    0 => event.wait(FOREVER),
                    1 => event::wait_any(&[&Event::manual_reset(), &event], LONG).map(|index| assert_eq!(index, 1)),
                    _ => alertable::wait_all(&[&event], LONG).map(|waited| assert_eq!(waited, Waited::Signalled(0))),
                })
            })
            .collect();
        peer.write_all(b"x").unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(()));
        }
        assert_eq!(pending.wait().result, Ok(1));
    });
}

#[test]
fn a_pending_operation_may_be_waited_for_by_another_thread_and_outlives_the_one_that_started_it() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let event = Event::manual_reset();
        let there = event.clone();
        let pending = thread::spawn(move || receive(&conn, &there)).join().unwrap();
        assert!(!pending.is_done());
        let waiter = thread::spawn(move || pending.wait().result);
        peer.write_all(b"x").unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(1));
        assert!(event.is_set());
    });
}

// Dropping

/// Receives until `len` bytes have come, with buffers of these sizes in turn, pooled if 4.
fn receive_all(conn: &TcpStream, len: usize, sizes: &[usize]) -> Vec<u8> {
    let pool = BufferPool::new(4, 4).unwrap();
    let mut bytes = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.len() >= len {
            break;
        }
        let receive = if *size == 4 { conn.recv_pooled(&pool) } else { conn.recv(Buffer::with_capacity(*size)) };
        let done = receive.signal(&Event::manual_reset()).unwrap().wait();
        let n = done.result.unwrap();
        assert!(n > 0 || *size == 0, "the stream ended after {} bytes", bytes.len());
        assert_eq!(n, done.buffer.len());
        bytes.extend_from_slice(&done.buffer);
    }
    bytes
}

#[test]
fn a_pending_operation_that_is_dropped_is_cancelled() {
    watched(|| {
        let pool = BufferPool::new(8, 1).unwrap();
        let (conn, mut peer) = free_pair();
        let event = Event::manual_reset();
        let pending = conn.recv(pool.take().unwrap()).signal(&event).unwrap();
        let id = pending.id();
        drop(pending);
        wait_until("the buffer is back", || pool.available() == 1);
        assert_eq!(conn.cancel(id), Err(Error::NOT_FOUND));
        assert_eq!(conn.cancel_all(), Err(Error::NOT_FOUND));
        // What comes then is the next receive's.
        peer.write_all(b"data").unwrap();
        assert_eq!(receive_all(&conn, 4, &[8]), b"data");
        // And its stream is closed if it was the last owner.
        let pending = receive(&conn, &event);
        drop(conn);
        drop(pending);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn x02_what_a_dropped_receive_had_taken_goes_to_the_next_in_order() {
    watched(|| {
        for sizes in [&[64][..], &[1], &[4], &[3, 4, 0, 64]] {
            let (conn, mut peer) = free_pair();
            let event = Event::manual_reset();
            peer.write_all(b"taken ").unwrap();
            let pending = conn.recv(Buffer::with_capacity(64)).signal(&event).unwrap();
            event.wait(LONG).unwrap();
            drop(pending);
            peer.write_all(b"and what came later").unwrap();
            assert_eq!(receive_all(&conn, 25, sizes), b"taken and what came later");
            // From a pool as well, and behind it the orderly end.
            let pool = BufferPool::new(64, 1).unwrap();
            peer.write_all(b"pooled").unwrap();
            let pending = conn.recv_pooled(&pool).signal(&event).unwrap();
            event.wait(LONG).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            drop(pending);
            assert_eq!(receive_all(&conn, 6, sizes), b"pooled");
            for _ in 0..2 {
                assert_eq!(receive(&conn, &event).wait().result, Ok(0));
            }
            // The pool has its only buffer again: another stream can have it.
            let (other, mut other_peer) = free_pair();
            other_peer.write_all(b"x").unwrap();
            assert_eq!(other.recv_pooled(&pool).signal(&event).unwrap().wait().result, Ok(1));
        }
    });
}

#[test]
fn x02_what_several_dropped_receives_had_taken_keeps_its_order_however_they_are_dropped() {
    watched(|| {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let (conn, mut peer) = free_pair();
            let mut pending: Vec<_> = (0..3)
                .map(|_| {
                    let event = Event::manual_reset();
                    let receive = conn.recv(Buffer::with_capacity(4)).signal(&event).unwrap();
                    (event, Some(receive))
                })
                .collect();
            peer.write_all(b"one two trio").unwrap();
            pending.iter().for_each(|(event, _)| event.wait(LONG).unwrap());
            order.into_iter().for_each(|index| drop(pending[index].1.take()));
            peer.write_all(b" more").unwrap();
            assert_eq!(receive_all(&conn, 17, &[5]), b"one two trio more", "dropped in the order {order:?}");
        }
    });
}

#[test]
fn x02_what_a_dropped_receive_had_taken_goes_to_one_that_waits_already() {
    // Whatever comes next comes behind it.
    watched(|| {
        for waiting in 1..=2 {
            let (conn, mut peer) = free_pair();
            let (first, second) = (Event::manual_reset(), Event::manual_reset());
            let taken = conn.recv(Buffer::with_capacity(4)).signal(&first).unwrap();
            let receives: Vec<_> =
                (0..waiting).map(|_| conn.recv(Buffer::with_capacity(4)).signal(&second).unwrap()).collect();
            peer.write_all(b"one ").unwrap();
            first.wait(LONG).unwrap();
            assert!(!second.is_set());
            drop(taken);
            let mut receives = receives.into_iter();
            let done = receives.next().unwrap().wait();
            assert_eq!((done.result, &done.buffer[..]), (Ok(4), &b"one "[..]));
            peer.write_all(b"two ").unwrap();
            let next =
                receives.next().map_or_else(|| receive_all(&conn, 4, &[4]), |next| next.wait().buffer.into_vec());
            assert_eq!(next, b"two ");
        }
    });
}

#[test]
fn x02_a_receive_in_line_that_is_dropped_takes_nothing() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let event = Event::manual_reset();
        let [first, second, third] = [(); 3].map(|()| conn.recv(Buffer::with_capacity(4)).signal(&event).unwrap());
        drop(second);
        peer.write_all(b"one two ").unwrap();
        assert_eq!(&first.wait().buffer[..], b"one ");
        assert_eq!(&third.wait().buffer[..], b"two ");
    });
}

#[test]
fn a_dropped_accept_that_had_a_connection_leaves_it_to_the_next() {
    watched(|| {
        let (listener, address) = free_listener();
        let event = Event::manual_reset();
        let pending = listener.accept().signal(&event).unwrap();
        let first = connect(address);
        event.wait(LONG).unwrap();
        drop(pending);
        let done = listener.accept().signal(&event).unwrap().wait();
        assert_eq!(done.result.unwrap().peer_addr(), Ok(first.local_addr().unwrap()));
        // One that waits already gets it as well.
        let taken = listener.accept().signal(&event).unwrap();
        let second = connect(address);
        event.wait(LONG).unwrap();
        let waiting = listener.accept().signal(&Event::manual_reset()).unwrap();
        drop(taken);
        assert_eq!(waiting.wait().result.unwrap().peer_addr(), Ok(second.local_addr().unwrap()));
    });
}

#[test]
fn a_connection_that_nobody_wanted_is_closed_with_its_listener() {
    watched(|| {
        let (listener, address) = free_listener();
        let event = Event::manual_reset();
        let pending = listener.accept().signal(&event).unwrap();
        let mut client = connect(address);
        event.wait(LONG).unwrap();
        drop(pending);
        drop(listener);
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "it is still open");
    });
}

#[test]
fn a_datagram_of_a_dropped_receive_goes_to_the_next_whole_with_its_sender() {
    watched(|| {
        let (socket, address) = free_udp();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = sender.local_addr().unwrap();
        let event = Event::manual_reset();
        let pending = socket.recv_from(Buffer::with_capacity(64)).signal(&event).unwrap();
        sender.send_to(b"first datagram", address).unwrap();
        event.wait(LONG).unwrap();
        drop(pending);
        sender.send_to(b"second", address).unwrap();
        for expected in [&b"first datagram"[..], b"second"] {
            let done = socket.recv_from(Buffer::with_capacity(64)).signal(&event).unwrap().wait();
            assert_eq!((done.result, &done.buffer[..]), (Ok((expected.len(), from)), expected));
        }
        // One that is too long for the next buffer is cut, as if it had only now come in.
        let pending = socket.recv_from(Buffer::with_capacity(64)).signal(&event).unwrap();
        sender.send_to(b"long one", address).unwrap();
        event.wait(LONG).unwrap();
        drop(pending);
        let done = socket.recv_from(Buffer::with_capacity(4)).signal(&event).unwrap().wait();
        assert_eq!((done.result, &done.buffer[..]), (Err(Error::MORE_DATA), &b"long"[..]));
    });
}

// Time

/// Around the edges of a millisecond, which is the unit of some clocks.
const LIMITS: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_micros(1),
    Duration::from_micros(100),
    Duration::from_micros(999),
    Duration::from_micros(1000),
    Duration::from_micros(1001),
    Duration::from_micros(20_300),
];

/// Says that `wait` takes at least `limit`.
fn not_early(what: &str, limit: Duration, wait: impl FnOnce()) {
    let start = Instant::now();
    wait();
    let passed = start.elapsed();
    assert!(passed >= limit, "{what} took {passed:?}, which is less than {limit:?}");
}

#[test]
fn t01_no_wait_and_no_sleep_ends_early() {
    watched(|| {
        let (one, two) = (Event::manual_reset(), Event::auto_reset());
        two.set();
        let (conn, _peer) = free_pair();
        let mut pending = receive(&conn, &one);
        for limit in LIMITS {
            let elapsed = Err(Error::WAIT_TIMEOUT);
            not_early("an event", limit, || assert_eq!(one.wait(limit), elapsed));
            not_early("wait_any", limit, || assert_eq!(event::wait_any(&[&one, &one], limit).map(drop), elapsed));
            not_early("wait_all", limit, || assert_eq!(event::wait_all(&[&two, &one], limit), elapsed));
            not_early("alertable any", limit, || assert_eq!(alertable::wait_any(&[&one], limit).map(drop), elapsed));
            not_early("alertable all", limit, || {
                assert_eq!(alertable::wait_all(&[&two, &one], limit).map(drop), elapsed);
            });
            not_early("a sleep", limit, || assert_eq!(alertable::sleep(limit), Woken::TimeUp));
            let incomplete = if limit.is_zero() { Error::IO_INCOMPLETE } else { Error::WAIT_TIMEOUT };
            not_early("an operation", limit, || assert_eq!(pending.wait_for(limit).unwrap_err(), incomplete));
            not_early("an operation, alertably", limit, || {
                assert_eq!(pending.wait_alertable(limit).unwrap_err(), incomplete);
            });
        }
    });
}

#[test]
fn t01_the_time_limit_of_an_operation_never_ends_it_early_however_its_end_is_told() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let receive = |limit| conn.recv(Buffer::with_capacity(8)).within(limit);
        let timed_out = Err(Error::SEM_TIMEOUT);
        for limit in LIMITS {
            not_early("a routine", limit, || {
                let (tell, told) = mpsc::channel();
                receive(limit).then(move |done| tell.send(done.result).unwrap()).unwrap();
                assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
                assert_eq!(told.try_recv().unwrap(), timed_out);
            });
            not_early("an event", limit, || {
                let event = Event::auto_reset();
                let mut pending = receive(limit).signal(&event).unwrap();
                event.wait(FOREVER).unwrap();
                assert_eq!(pending.try_result().unwrap().result, timed_out);
            });
            not_early("a future", limit, || assert_eq!(block_on(receive(limit)).result, timed_out));
            not_early("a future in its thread's own ring", limit, || {
                let receive = receive(limit);
                assert_eq!(alertable::block_on(async { receive.await.result }), timed_out);
            });
        }
        assert_eq!(Error::SEM_TIMEOUT.code(), 121);
        // What comes in time wins, and nothing was lost by all those that did not.
        peer.write_all(b"in time").unwrap();
        assert_eq!(block_on(receive(LONG)).result, Ok(7));
    });
}

#[test]
fn t01_each_of_several_limits_ends_its_own_operation() {
    // A later one at the head of the line, shorter ones behind it, all told differently.
    watched(|| {
        let (conn, _peer) = free_pair();
        let start = Instant::now();
        let limits = [200, 100, 50].map(Duration::from_millis);
        let (tell, told) = mpsc::channel();
        let event = Event::manual_reset();
        let [first, second, third] = limits.map(|limit| conn.recv(Buffer::with_capacity(8)).within(limit));
        let pending = first.signal(&event).unwrap();
        second.then(move |done| tell.send((done.result, start.elapsed())).unwrap()).unwrap();
        assert_eq!(block_on(third).result, Err(Error::SEM_TIMEOUT));
        assert!(start.elapsed() >= limits[2]);
        while alertable::sleep(FOREVER) != Woken::Routines {}
        let (result, passed) = told.try_recv().unwrap();
        assert_eq!(result, Err(Error::SEM_TIMEOUT));
        assert!(passed >= limits[1]);
        assert_eq!(pending.wait().result, Err(Error::SEM_TIMEOUT));
        assert!(start.elapsed() >= limits[0]);
    });
}

#[test]
fn t01_a_limit_beyond_all_time_is_none() {
    watched(|| {
        for limit in [Duration::MAX, Duration::from_secs(1 << 60), Duration::from_secs(1 << 33)] {
            let (event, here) = (Event::auto_reset(), alertable::current());
            let over = Arc::new(AtomicBool::new(false));
            let (there, is_over) = (event.clone(), Arc::clone(&over));
            let (conn, mut peer) = free_pair();
            let helper = thread::spawn(move || {
                thread::sleep(MOMENT);
                there.set();
                wait_until("the wait ends", || !there.is_set());
                thread::sleep(MOMENT);
                alertable::queue_apc(&here, move || is_over.store(true, Ordering::SeqCst)).unwrap();
                peer.write_all(b"xx").unwrap();
                peer
            });
            assert_eq!(event.wait(limit), Ok(()));
            assert_eq!(alertable::sleep(limit), Woken::Routines);
            assert!(over.load(Ordering::SeqCst));
            let mut pending = conn.recv(Buffer::with_capacity(1)).within(limit).signal(&event).unwrap();
            assert_eq!(pending.wait_for(limit).unwrap().result, Ok(1));
            assert_eq!(block_on(conn.recv(Buffer::with_capacity(1)).within(limit)).result, Ok(1));
            helper.join().unwrap();
        }
    });
}

#[test]
#[cfg_attr(windows, ignore = "it asks Linux for the processor time of a thread")]
fn a_thread_that_waits_for_an_event_uses_no_processor() {
    watched(|| {
        let event = Event::manual_reset();
        for alertably in [false, true] {
            let there = event.clone();
            let waiter = thread::spawn(move || {
                let before = processor_time();
                let start = Instant::now();
                if alertably {
                    alertable::wait_any(&[&there], FOREVER).unwrap();
                } else {
                    event::wait_any(&[&there, &Event::manual_reset()], FOREVER).unwrap();
                }
                (processor_time() - before, start.elapsed())
            });
            thread::sleep(Duration::from_secs(1));
            event.set();
            let (used, passed) = waiter.join().unwrap();
            assert!(used < passed / 20, "{used:?} of processor time in {passed:?}");
            event.reset();
        }
    });
}

// All together

/// What a connection of the event server is waiting for.
enum Turn {
    Receiving(Pending<done::Received>),
    Sending(Pending<done::Sent>),
}

#[test]
fn an_echo_server_on_events_serves_as_many_connections_as_one_wait_takes() {
    watched(|| {
        const CONNECTIONS: usize = event::MAX_EVENTS - 1; // and the listener
        let pool = BufferPool::new(2048, 32).unwrap();
        let (listener, address) = free_listener();
        let clients = thread::spawn(move || echo_clients(address, CONNECTIONS as u64, 50_000));
        let door = Event::auto_reset();
        let mut accepting = listener.accept().signal(&door).unwrap();
        let mut turns: Vec<(Event, Option<Turn>)> = Vec::new();
        let mut finished = 0;
        while finished < CONNECTIONS {
            let events: Vec<_> = [&door].into_iter().chain(turns.iter().map(|(event, _)| event)).collect();
            let index = event::wait_any(&events, LONG).expect("something happens");
            if index == 0 {
                let conn = accepting.try_result().expect("the event says so").result.unwrap();
                let event = Event::auto_reset();
                let receiving = conn.recv_pooled(&pool).signal(&event).unwrap();
                turns.push((event, Some(Turn::Receiving(receiving))));
                if turns.len() < CONNECTIONS {
                    accepting = listener.accept().signal(&door).unwrap();
                }
                continue;
            }
            let (event, turn) = &mut turns[index - 1];
            *turn = match turn.take().expect("it was waiting for something") {
                Turn::Receiving(mut receiving) => {
                    let done = receiving.try_result().expect("the event says so");
                    match done.result.unwrap() {
                        0 => {
                            finished += 1;
                            None
                        }
                        _ => Some(Turn::Sending(done.conn.send(done.buffer).signal(event).unwrap())),
                    }
                }
                Turn::Sending(mut sending) => {
                    let done = sending.try_result().expect("the event says so");
                    done.result.unwrap();
                    drop(done.buffer);
                    Some(Turn::Receiving(done.conn.recv_pooled(&pool).signal(event).unwrap()))
                }
            };
        }
        clients.join().unwrap();
    });
}

#[test]
fn an_event_may_be_set_by_whoever_has_it_also_from_a_worker_of_a_port() {
    watched(|| {
        let port: Arc<CompletionPort<(), Event>> = Arc::new(CompletionPort::builder().concurrency(1).build().unwrap());
        let event = Event::auto_reset();
        let worker = {
            let port = Arc::clone(&port);
            thread::spawn(move || posted(&port).set())
        };
        port.post(event.clone()).unwrap();
        assert_eq!(event.wait(LONG), Ok(()));
        worker.join().unwrap();
        // And an operation may be waited for by one.
        let (conn, mut peer) = free_pair();
        let pending = Mutex::new(Some(receive(&conn, &event)));
        let worker = {
            let port = Arc::clone(&port);
            thread::spawn(move || {
                let event = posted(&port);
                let pending = pending.lock().unwrap().take().unwrap();
                let result = pending.wait().result;
                event.set();
                result
            })
        };
        let over = Event::manual_reset();
        port.post(over.clone()).unwrap();
        peer.write_all(b"x").unwrap();
        assert_eq!(worker.join().unwrap(), Ok(1));
        assert_eq!(over.wait(LONG), Ok(()));
    });
}
