//! C: what completes, and how it is told. C11 is in `leaks.rs` too.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::*;
use overlapped::{Buffer, CompletionPort, Error, OperationId, Packet};

#[test]
fn c01_an_operation_that_succeeds_at_once_still_queues_its_packet() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = pair(&port, ());
        peer.write_all(b"here").unwrap();
        conn.recv(Buffer::with_capacity(8)).unwrap();
        assert_eq!(received(&port).result, Ok(4));
        conn.send(Buffer::from("x")).unwrap();
        assert_eq!(sent(&port).2, Ok(1));
        assert_quiet(&port);
    });
}

#[test]
fn c02_one_that_fails_at_once_queues_its_packet_like_any_other() {
    // Windows queues none and returns the error. Here the buffer has to come back, and there is one place to look.
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let (conn, _peer) = pair(&port, ());
        conn.shutdown(Shutdown::Write).unwrap();
        let id = conn.send(Buffer::from("x")).unwrap();
        let Packet::Sent { id: ended, buffer, sent, result, .. } = next(&port) else { panic!() };
        assert_eq!((ended, &buffer[..], sent, result), (id, &b"x"[..], 0, Err(Error::SHUTDOWN)));
        assert_quiet(&port);
        port.close();
        assert_eq!(conn.recv(Buffer::empty()).unwrap_err(), Error::ABANDONED_WAIT, "and then no packet comes");
    });
}

#[test]
fn c03_the_packet_of_a_failure_carries_handle_key_and_buffer() {
    watched(|| {
        let port: CompletionPort<&str> = CompletionPort::new(1).unwrap();
        let (conn, peer) = pair(&port, "key");
        conn.recv(Buffer::with_capacity(77)).unwrap();
        hand_over(&port);
        reset(peer);
        let packet = received(&port);
        assert_eq!((packet.result, *packet.conn.key()), (Err(Error::NETNAME_DELETED), "key"));
        assert_eq!((packet.buffer.len(), packet.buffer.capacity()), (0, 77));
    });
}

#[test]
fn c11_every_operation_has_one_packet_whatever_ends_it() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(2).unwrap();
        let started = Mutex::new(std::collections::HashSet::new());
        let (ended, rounds) = (AtomicUsize::new(0), 300);
        let start = |id: OperationId| assert!(started.lock().unwrap().insert(id), "an id was used twice");
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(3, |packet| {
                    let id = ending(&packet).0.unwrap();
                    // It may come before the call that started it has returned (C13).
                    wait_until("its id is known", || started.lock().unwrap().contains(&id));
                    assert!(started.lock().unwrap().remove(&id), "two packets for one operation");
                    ended.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })
                .unwrap();
            });
            for round in 0..rounds {
                let (conn, mut peer) = pair(&port, ());
                for n in 0..5 {
                    start(conn.recv(Buffer::with_capacity(4)).unwrap());
                    start(conn.send(Buffer::from(vec![n; 100])).unwrap());
                }
                match round % 6 {
                    0 => reset(peer),
                    1 => drop(peer),
                    2 => conn.close(),
                    3 => assert!(conn.cancel_all().is_ok()),
                    4 => {
                        peer.write_all(b"twenty bytes and more").unwrap();
                        let _ = conn.cancel_all();
                    }
                    _ => {
                        peer.write_all(b"x").unwrap();
                        conn.shutdown(Shutdown::Both).unwrap();
                        peer.shutdown(Shutdown::Both).unwrap();
                    }
                }
            }
            wait_until("all have ended", || ended.load(Ordering::SeqCst) == rounds * 10);
            thread::sleep(MOMENT);
            assert!(started.lock().unwrap().is_empty());
            assert_eq!(ended.load(Ordering::SeqCst), rounds * 10);
            port.close();
        });
    });
}

#[test]
fn c12_a_vector_of_buffers_is_taken_by_the_call_and_comes_back_with_the_packet() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = pair(&port, ());
        conn.send_vectored(vec![Buffer::from("one "), Buffer::from(b"two ".to_vec()), Buffer::from("three")]).unwrap();
        let Packet::SentVectored { buffers, sent, result, .. } = next(&port) else { panic!() };
        assert_eq!((buffers.len(), sent, result), (3, 13, Ok(13)));
        assert_eq!(buffers.iter().flat_map(|buffer| buffer.to_vec()).collect::<Vec<_>>(), b"one two three");
        let mut bytes = [0; 13];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"one two three");
    });
}

#[test]
fn c13_a_packet_may_be_dequeued_before_the_call_that_started_it_has_returned() {
    // Workers take packets while this thread is still starting operations: nothing is lost, nothing breaks.
    watched(|| {
        let port: CompletionPort = CompletionPort::new(2).unwrap();
        let (conn, mut peer) = pair(&port, ());
        let ended = AtomicUsize::new(0);
        const SENDS: usize = 20_000;
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(2, |packet| {
                    assert!(matches!(packet, Packet::Sent { result: Ok(4), .. }), "{packet:?}");
                    ended.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })
                .unwrap();
            });
            let reader = scope.spawn(move || read_pattern(&mut peer, 1, 0, SENDS * 4));
            for n in 0..SENDS as u64 {
                conn.send(Buffer::from(pattern(1, n * 4, 4))).unwrap();
            }
            reader.join().unwrap();
            wait_until("every packet comes", || ended.load(Ordering::SeqCst) == SENDS);
            port.close();
        });
    });
}

#[test]
fn c16_a_call_that_returns_an_error_has_no_packet() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let (conn, _peer) = pair(&port, ());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| port.dequeue(None).map(|packet| format!("{packet:?}")));
            port.close();
            assert_eq!(conn.recv(Buffer::with_capacity(1)).unwrap_err(), Error::ABANDONED_WAIT);
            assert_eq!(waiter.join().unwrap(), Err(Error::ABANDONED_WAIT));
        });
    });
}

#[test]
fn the_codes_of_a_failure_are_those_of_both_faces() {
    let faces = [
        (Error::OPERATION_ABORTED, 995, 995),
        (Error::NETNAME_DELETED, 64, 10054),
        (Error::CONNECTION_ABORTED, 1236, 10053),
        (Error::CONNECTION_REFUSED, 1225, 10061),
        (Error::SEM_TIMEOUT, 121, 10060),
        (Error::MORE_DATA, 234, 10040),
        (Error::HANDLE_EOF, 38, 10022),
        (Error::NOT_CONNECTED, 59, 10057),
    ];
    for (error, code, winsock) in faces {
        assert_eq!((error.code(), error.winsock_code()), (code, winsock));
        assert_eq!(Error::from(std::io::Error::from(error)), error);
    }
}
