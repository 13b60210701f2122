//! S02, S04: order, under short sends, pausing readers, several operations outstanding and several workers.

mod common;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::{Buffer, BufferPool, CompletionPort, OperationId, Packet};

/// Reads `len` bytes of the stream in random pieces, with pauses, and checks them.
fn read_with_pauses(mut peer: std::net::TcpStream, seed: u64, len: usize) {
    let mut random = Random(seed);
    let mut offset = 0;
    while offset < len {
        let piece = (1 + random.below(60_000) as usize).min(len - offset);
        read_pattern(&mut peer, seed, offset as u64, piece);
        offset += piece;
        if random.chance(20) {
            thread::sleep(Duration::from_micros(random.below(1500)));
        }
    }
}

#[test]
fn s02_s04_many_sends_outstanding_leave_in_order_although_each_goes_in_pieces() {
    watched(|| {
        for lanes in [1, 2] {
            let port: CompletionPort<usize> = CompletionPort::new(lanes).unwrap();
            const CONNECTIONS: usize = 4;
            let ended = AtomicUsize::new(0);
            let mut started = 0;
            thread::scope(|scope| {
                scope.spawn(|| {
                    port.run(lanes + 1, |packet| {
                        match packet {
                            Packet::Sent { buffer, result, .. } => assert_eq!(result, Ok(buffer.len())),
                            Packet::SentVectored { sent, result, .. } => assert_eq!(result, Ok(sent)),
                            other => panic!("unexpected {other:?}"),
                        }
                        ended.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    })
                    .unwrap();
                });
                let mut readers = Vec::new();
                for key in 0..CONNECTIONS {
                    let (conn, peer) = pair(&port, key);
                    conn.options(|socket| socket.set_send_buffer_size(4096)).unwrap();
                    let (seed, mut random) = (key as u64, Random(key as u64));
                    let mut offset = 0;
                    for _ in 0..40 {
                        let mut piece = |len: u64| {
                            offset += len;
                            Buffer::from(pattern(seed, offset - len, len as usize))
                        };
                        if random.chance(30) {
                            let buffers = (0..5).map(|_| piece(random.below(9000))).collect();
                            conn.send_vectored(buffers).unwrap();
                        } else {
                            conn.send(piece(random.below(60_000))).unwrap();
                        }
                        started += 1;
                    }
                    conn.shutdown(Shutdown::Write).unwrap(); // behind all of them
                    readers.push(scope.spawn(move || {
                        let mut end = peer.try_clone().unwrap();
                        read_with_pauses(peer, seed, offset as usize);
                        assert_eq!(end.read(&mut [0]).unwrap(), 0, "and then the end");
                    }));
                }
                readers.into_iter().for_each(|reader| reader.join().unwrap());
                wait_until("every send has its packet", || ended.load(Ordering::SeqCst) == started);
                port.close();
            });
        }
    });
}

#[test]
fn s02_packets_of_one_connection_come_in_posting_order_and_their_bytes_join() {
    // One thread dequeues, others push the lanes forward; several receives are always outstanding, with and without a pool.
    watched(|| {
        for (lanes, pooled) in [(1, false), (2, false), (2, true)] {
            let port: CompletionPort<usize> = CompletionPort::new(lanes).unwrap();
            let pool = BufferPool::new(700, 64).unwrap();
            const LEN: usize = 1 << 20;
            const CONNECTIONS: usize = 3;
            let mut random = Random(lanes as u64);
            let mut expected: Vec<VecDeque<OperationId>> = vec![VecDeque::new(); CONNECTIONS];
            let mut offsets = [0u64; CONNECTIONS];
            let mut conns = Vec::new();
            let mut receive = |conn: &Conn<usize>| match pooled && random.chance(50) {
                true => conn.recv_pooled(&pool).unwrap(),
                false => conn.recv(Buffer::with_capacity(1 + random.below(3000) as usize)).unwrap(),
            };
            let mut writers = Vec::new();
            for (key, ids) in expected.iter_mut().enumerate() {
                let (conn, mut peer) = pair(&port, key);
                ids.extend((0..8).map(|_| receive(&conn)));
                conns.push(conn);
                writers.push(thread::spawn(move || {
                    write_pattern(&mut peer, key as u64, 0, LEN);
                    peer
                }));
            }
            while offsets.iter().any(|offset| *offset < LEN as u64) {
                let packet = received(&port);
                let key = *packet.conn.key();
                assert_eq!(expected[key].pop_front(), Some(packet.id), "connection {key}");
                let n = packet.result.unwrap();
                assert!(n > 0);
                assert_pattern(key as u64, offsets[key], &packet.buffer);
                offsets[key] += n as u64;
                expected[key].push_back(receive(&packet.conn));
            }
            writers.into_iter().for_each(|writer| drop(writer.join().unwrap()));
        }
    });
}

#[test]
fn s02_receives_fill_in_posting_order_whoever_dequeues_them() {
    // Several workers process packets in any order; put into the order of their ids, the bytes join.
    watched(|| {
        let port: CompletionPort = CompletionPort::new(2).unwrap();
        let (conn, mut peer) = pair(&port, ());
        const LEN: usize = 2 << 20;
        let pieces = Mutex::new(Vec::new());
        let total = AtomicUsize::new(0);
        for _ in 0..16 {
            conn.recv(Buffer::with_capacity(1000)).unwrap();
        }
        let order = Mutex::new(());
        thread::scope(|scope| {
            scope.spawn(move || write_pattern(&mut peer, 21, 0, LEN));
            port.run(4, |packet| {
                let Packet::Received { conn, id, buffer, result } = packet else { panic!("{packet:?}") };
                let n = result.unwrap_or(0);
                pieces.lock().unwrap().push((id, buffer));
                if total.fetch_add(n, Ordering::SeqCst) + n == LEN {
                    port.close();
                }
                let _in_turn = order.lock().unwrap(); // ids in the order of the calls
                let _ = conn.recv(Buffer::with_capacity(1000)); // refused once the port is closed
                Ok(())
            })
            .unwrap();
        });
        let mut pieces = pieces.into_inner().unwrap();
        pieces.sort_by_key(|(id, _)| *id);
        let mut offset = 0;
        for (_, buffer) in pieces {
            assert_pattern(21, offset, &buffer);
            offset += buffer.len() as u64;
        }
        assert_eq!(offset, LEN as u64);
    });
}

#[test]
fn s02_an_echo_with_many_sends_outstanding_keeps_the_order_with_several_workers() {
    // The server never waits for its sends: it receives on, one receive at a time, and queues each piece as a send.
    watched(|| {
        let port: CompletionPort = CompletionPort::new(2).unwrap();
        let pool = BufferPool::new(512, 256).unwrap();
        let (listener, address) = listener(&port, ());
        listener.accept_each().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(4, |packet| {
                    match packet {
                        Packet::Accepted { result, .. } => {
                            let conn = port.associate(result?, ())?;
                            conn.options(|socket| socket.set_send_buffer_size(4096))?;
                            conn.recv_pooled(&pool)?;
                        }
                        Packet::Received { result: Ok(0) | Err(_), .. } => {}
                        Packet::Received { conn, buffer, .. } => {
                            conn.send(buffer)?;
                            conn.recv_pooled(&pool)?;
                        }
                        Packet::Sent { result, .. } => drop(result.unwrap()),
                        other => panic!("unexpected {other:?}"),
                    }
                    Ok(())
                })
                .unwrap();
            });
            let clients: Vec<_> = (0..6u64)
                .map(|seed| {
                    scope.spawn(move || {
                        let mut writer = connect(address);
                        let reader = writer.try_clone().unwrap();
                        const LEN: usize = 400_000;
                        let reader = thread::spawn(move || read_with_pauses(reader, seed, LEN));
                        let mut random = Random(seed + 100);
                        let mut offset = 0;
                        while offset < LEN {
                            let piece = (1 + random.below(5000) as usize).min(LEN - offset);
                            writer.write_all(&pattern(seed, offset as u64, piece)).unwrap();
                            offset += piece;
                        }
                        reader.join().unwrap();
                    })
                })
                .collect();
            let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
            port.close();
            assert!(ended.iter().all(Result::is_ok));
        });
    });
}

#[test]
fn s02_sends_that_several_threads_start_leave_whole_and_in_the_order_of_the_calls() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(2).unwrap();
        let (conn, mut peer) = pair(&port, ());
        conn.options(|socket| socket.set_send_buffer_size(4096)).unwrap();
        // Each thread sends records of 5000 bytes that all carry its mark and number; records may interleave, bytes may not.
        const RECORD: usize = 5000;
        const EACH: u8 = 30;
        let over = &AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| port.run(3, |_| Ok(())).unwrap());
            for mark in 0..4u8 {
                let conn = conn.clone();
                scope.spawn(move || {
                    for number in 0..EACH {
                        let mut record = vec![mark; RECORD];
                        record[1] = number;
                        conn.send(Buffer::from(record)).unwrap();
                    }
                    if wine() {
                        // A thread that ends takes with it what it has started: a send of it is not heard of again, now and then.
                        println!("WINE DIFFERS: a thread that ends takes data with it");
                        wait_until("all has come", || over.load(Ordering::SeqCst));
                    }
                });
            }
            let mut next = [0; 4];
            let mut record = [0; RECORD];
            for _ in 0..4 * usize::from(EACH) {
                peer.read_exact(&mut record).unwrap();
                let mark = record[0];
                assert_eq!(record[1], next[usize::from(mark)], "records of one thread keep their order");
                next[usize::from(mark)] += 1;
                record[1] = mark;
                assert!(record.iter().all(|byte| *byte == mark), "a record was torn");
            }
            over.store(true, Ordering::SeqCst);
            port.close();
        });
    });
}
