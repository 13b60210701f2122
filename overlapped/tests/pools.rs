//! Buffer pools: what an empty one delays, and what it never does.

mod common;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::{Buffer, BufferPool, CompletionPort, Error, Packet};

/// An echo server whose pool has `buffers` buffers for 50 connections, all of which talk at the same time.
fn fifty_connections_share(buffers: usize, lanes: usize) {
    const CONNECTIONS: usize = 50;
    const BYTES: usize = 4000;
    let port: CompletionPort = CompletionPort::new(lanes).unwrap();
    let pool = BufferPool::new(100, buffers).unwrap();
    let mut peers = Vec::new();
    let mut conns = Vec::new();
    for _ in 0..CONNECTIONS {
        let (conn, peer) = pair(&port, ());
        conn.recv_pooled(&pool).unwrap();
        conns.push(conn);
        peers.push(peer);
    }
    let conns_kept = conns; // closed by nobody before the end
    thread::scope(|scope| {
        scope.spawn(|| {
            port.run(lanes + 1, |packet| {
                match packet {
                    Packet::Received { result, conn, buffer, .. } => {
                        assert!(result.unwrap() > 0, "no connection ends in this test");
                        conn.send(buffer)?;
                    }
                    Packet::Sent { conn, result, .. } => {
                        result.unwrap();
                        conn.recv_pooled(&pool)?;
                    }
                    other => panic!("unexpected {other:?}"),
                }
                Ok(())
            })
            .unwrap();
        });
        let clients: Vec<_> = peers
            .into_iter()
            .zip(0..)
            .map(|(mut peer, seed)| {
                scope.spawn(move || {
                    write_pattern(&mut peer, seed, 0, BYTES);
                    read_pattern(&mut peer, seed, 0, BYTES);
                    peer
                })
            })
            .collect();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        port.close();
        assert!(ended.iter().all(Result::is_ok));
    });
    drop(conns_kept);
    drop(port);
    wait_until("all buffers are back", || pool.available() == buffers);
}

#[test]
fn two_buffers_serve_fifty_connections_on_one_lane() {
    watched(|| fifty_connections_share(2, 1));
}

#[test]
fn two_buffers_serve_fifty_connections_on_two_lanes() {
    watched(|| fifty_connections_share(2, 2));
}

#[test]
fn one_buffer_serves_fifty_connections_on_two_lanes() {
    watched(|| fifty_connections_share(1, 2));
}

#[test]
fn an_idle_connection_ties_up_no_buffer() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(64, 1).unwrap();
        let idle: Vec<_> = (0..20).map(|_| pair(&port, ())).collect();
        for (conn, _) in &idle {
            conn.recv_pooled(&pool).unwrap();
        }
        hand_over(&port);
        let (busy, mut peer) = pair(&port, ());
        for round in 0..10 {
            busy.recv_pooled(&pool).unwrap();
            peer.write_all(&[round]).unwrap();
            let packet = received(&port);
            assert_eq!((packet.result, &packet.buffer[..]), (Ok(1), &[round][..]));
        }
    });
}

#[test]
fn an_empty_pool_delays_a_receive_until_a_buffer_comes_back() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(64, 1).unwrap();
        let taken = pool.take().unwrap();
        let (conn, mut peer) = pair(&port, ());
        conn.recv_pooled(&pool).unwrap();
        peer.write_all(b"patience").unwrap();
        assert_quiet(&port);
        let waiter = thread::spawn(move || received(&port));
        thread::sleep(MOMENT); // so that, mostly, it is a sleeper that is woken
        drop(taken);
        let packet = waiter.join().unwrap();
        assert_eq!((packet.result, &packet.buffer[..]), (Ok(8), &b"patience"[..]));
    });
}

#[test]
fn an_empty_pool_disturbs_no_receive_with_a_buffer_of_its_own() {
    watched(|| {
        let port: CompletionPort<u32> = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(64, 1).unwrap();
        let _taken = pool.take().unwrap();
        let (starved, mut peer) = pair(&port, 1);
        starved.recv_pooled(&pool).unwrap();
        peer.write_all(b"waits").unwrap();
        let (other, mut other_peer) = pair(&port, 2);
        other.recv(Buffer::with_capacity(64)).unwrap();
        other_peer.write_all(b"goes").unwrap();
        let packet = received(&port);
        assert_eq!((*packet.conn.key(), &packet.buffer[..]), (2, &b"goes"[..]));
        assert_quiet(&port);
    });
}

#[test]
fn the_end_of_a_connection_is_told_although_the_pool_is_empty() {
    // A receive that ends without data needs no buffer in the end; the end must not be lost, whenever it is told.
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(64, 1).unwrap();
        let taken = pool.take().unwrap();
        let (conn, peer) = pair(&port, ());
        conn.recv_pooled(&pool).unwrap();
        hand_over(&port);
        drop(peer);
        let _ =
            port.dequeue(MOMENT).map(|packet| assert_eq!(ending(&packet).1, None)).map_err(|_| drop(taken)).map_err(
                |()| {
                    let packet = received(&port);
                    assert_eq!(packet.result, Ok(0));
                    assert!(packet.buffer.is_empty());
                },
            );
    });
}

#[test]
fn a_receive_that_waits_for_a_buffer_can_be_cancelled_and_the_next_in_line_goes_on() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(64, 1).unwrap();
        let taken = pool.take().unwrap();
        let (conn, mut peer) = pair(&port, ());
        let starved = conn.recv_pooled(&pool).unwrap();
        let behind = conn.recv(Buffer::with_capacity(64)).unwrap();
        peer.write_all(b"data").unwrap();
        assert_quiet(&port); // the first finds no buffer, the second stands behind it
        conn.cancel(starved).unwrap();
        let packet = received(&port);
        assert_eq!((packet.id, packet.result), (starved, Err(Error::OPERATION_ABORTED)));
        let packet = received(&port);
        assert_eq!((packet.id, packet.result, &packet.buffer[..]), (behind, Ok(4), &b"data"[..]));
        drop(taken);
    });
}

#[test]
fn a_receive_that_waits_for_a_buffer_can_time_out_and_the_next_in_line_goes_on() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(64, 1).unwrap();
        let _taken = pool.take().unwrap();
        let (conn, mut peer) = pair(&port, ());
        let starved = conn.within(Duration::from_millis(30)).recv_pooled(&pool).unwrap();
        let behind = conn.recv(Buffer::with_capacity(64)).unwrap();
        peer.write_all(b"data").unwrap();
        let packet = received(&port);
        assert_eq!((packet.id, packet.result), (starved, Err(Error::SEM_TIMEOUT)));
        let packet = received(&port);
        assert_eq!((packet.id, packet.result), (behind, Ok(4)));
    });
}

#[test]
fn a_cancelled_receive_that_met_an_empty_pool_says_that_it_was_cancelled() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(64, 1).unwrap();
        let (conn, mut peer) = pair(&port, ());
        let (other, mut other_peer) = pair(&port, ());
        let id = conn.recv_pooled(&pool).unwrap();
        hand_over(&port); // the kernel has it, and a buffer for it
        other.recv_pooled(&pool).unwrap();
        other_peer.write_all(b"first").unwrap();
        let first = received(&port);
        assert_eq!(first.result, Ok(5)); // and has that buffer
        peer.write_all(b"data").unwrap(); // the kernel finds no buffer, and nobody has looked yet
        conn.cancel(id).unwrap();
        let packet = received(&port);
        assert_eq!((packet.id, packet.result), (id, Err(Error::OPERATION_ABORTED)));
        drop(first);
        conn.recv_pooled(&pool).unwrap();
        assert_eq!(&received(&port).buffer[..], b"data", "what had arrived is still there");
    });
}

#[test]
fn a_buffer_set_aside_for_one_lane_is_not_kept_from_another() {
    watched(|| {
        let port: CompletionPort<u32, usize> = CompletionPort::builder().concurrency(2).build().unwrap();
        let pool = BufferPool::new(64, 1).unwrap();
        let (conns, mut peers): (Vec<_>, Vec<_>) = (0..2).map(|key| pair(&port, key)).unzip();
        let started = AtomicUsize::new(0);
        let (tell, told) = std::sync::mpsc::channel();
        let tell = std::sync::Mutex::new(tell);
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(2, |packet| {
                    match packet {
                        // Two workers at the same time, so each on a lane of its own.
                        Packet::Posted(number) => {
                            conns[number].recv_pooled(&pool)?;
                            port.flush();
                            started.fetch_add(1, Ordering::SeqCst);
                            spin_until(|| started.load(Ordering::SeqCst) == 2);
                        }
                        Packet::Received { conn, result, .. } => {
                            assert_eq!(result, Ok(1));
                            tell.lock().unwrap().send(*conn.key()).unwrap();
                        }
                        other => panic!("unexpected {other:?}"),
                    }
                    Ok(())
                })
                .unwrap();
            });
            for number in 0..2 {
                port.post(number).unwrap();
            }
            wait_until("both have started", || started.load(Ordering::SeqCst) == 2);
            let mut ended = Vec::new();
            for key in [1, 0] {
                peers[key].write_all(b"x").unwrap();
                ended.push((key, told.recv_timeout(Duration::from_secs(10))));
            }
            port.close();
            assert_eq!(ended, [(1, Ok(1)), (0, Ok(0))]);
        });
    });
}

#[test]
#[cfg_attr(windows, ignore = "it asks Linux how much memory or how many descriptors are in use")]
fn memory_does_not_grow_while_receives_wait_for_a_buffer() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(64, 1).unwrap();
        let taken = pool.take().unwrap();
        let mut starved: Vec<_> = (0..50).map(|_| pair(&port, ())).collect();
        for (conn, peer) in &mut starved {
            conn.recv_pooled(&pool).unwrap();
            peer.write_all(b"x").unwrap();
        }
        assert_quiet(&port);
        let before = resident();
        for _ in 0..20_000 {
            port.post(()).unwrap();
            posted(&port);
            hand_over(&port); // each look asks for a buffer again
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes more for 50 receives that wait");
        drop(taken);
        for _ in 0..50 {
            assert_eq!(received(&port).result, Ok(1));
        }
    });
}

#[test]
fn a_pool_may_serve_two_ports_and_the_program_at_the_same_time() {
    watched(|| {
        let pool = BufferPool::new(64, 1).unwrap();
        let first: CompletionPort = CompletionPort::new(1).unwrap();
        let second: CompletionPort = CompletionPort::new(1).unwrap();
        let (one, mut one_peer) = pair(&first, ());
        let (two, mut two_peer) = pair(&second, ());
        one.recv_pooled(&pool).unwrap();
        hand_over(&first);
        one_peer.write_all(b"1").unwrap();
        let held = received(&first);
        assert_eq!(held.result, Ok(1));
        two.recv_pooled(&pool).unwrap();
        two_peer.write_all(b"2").unwrap();
        assert_quiet(&second);
        drop(held);
        assert_eq!(received(&second).result, Ok(1));
    });
}

#[test]
fn a_port_gives_the_pool_back_what_it_had_set_aside() {
    watched(|| {
        let pool = BufferPool::new(64, 16).unwrap();
        for _ in 0..3 {
            let port: CompletionPort = CompletionPort::new(2).unwrap();
            let (conn, mut peer) = pair(&port, ());
            conn.recv_pooled(&pool).unwrap();
            peer.write_all(b"x").unwrap();
            drop(received(&port));
            conn.recv_pooled(&pool).unwrap();
            drop(conn);
            drop(port);
            wait_until("all 16 are back", || pool.available() == 16);
        }
    });
}

#[test]
fn buffers_of_a_pool_never_alias() {
    // 8 buffers, filled through the kernel and through take() at once, each marked: nobody sees another's mark.
    watched(|| {
        let pool = BufferPool::new(32, 8).unwrap();
        let port: CompletionPort<u8> = CompletionPort::builder().concurrency(2).build().unwrap();
        let clashes = Arc::new(AtomicUsize::new(0));
        let mut held = Vec::new();
        let mut random = Random(1);
        let conns: Vec<_> = (0..4u8).map(|key| pair(&port, key)).collect();
        for (conn, _) in &conns {
            conn.recv_pooled(&pool).unwrap();
        }
        for round in 0..2000u32 {
            let (_, peer) = &conns[random.below(4) as usize];
            let mut peer: &std::net::TcpStream = peer;
            peer.write_all(&[round as u8; 8]).unwrap();
            if let Some(mut own) = pool.take() {
                own.extend_from_slice(&[0xFF; 32]).unwrap();
                held.push((own, vec![0xFF; 32]));
            }
            if let Ok(Packet::Received { conn, buffer, .. }) = port.dequeue(Duration::ZERO) {
                let copy = buffer.to_vec();
                held.push((buffer, copy));
                conn.recv_pooled(&pool).unwrap();
            }
            while held.len() > random.below(8) as usize {
                let (buffer, copy) = held.swap_remove(random.below(held.len() as u64) as usize);
                clashes.fetch_add(usize::from(buffer[..] != copy[..]), Ordering::SeqCst);
            }
        }
        assert_eq!(clashes.load(Ordering::SeqCst), 0);
    });
}

/// Each change of pool ends a standing receive, which may have taken something in by then. (That its buffers are not taken for those of the
/// other pool shows on threads' own rings: `x02_cancels_that_race_…`.)
#[test]
fn receives_of_one_stream_may_use_several_pools_in_turn() {
    const BYTES: usize = 20_000;
    watched(|| {
        let pools = [BufferPool::new(16, 2).unwrap(), BufferPool::new(24, 4).unwrap()];
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = pair(&port, ());
        let writer = thread::spawn(move || {
            let mut random = Random(2);
            let mut written = 0;
            while written < BYTES {
                let piece: Vec<u8> =
                    (written..BYTES.min(written + 1 + random.below(40) as usize)).map(|at| at as u8).collect();
                peer.write_all(&piece).unwrap();
                written += piece.len();
                if random.chance(30) {
                    thread::sleep(Duration::from_micros(random.below(200)));
                }
            }
        });
        let mut random = Random(3);
        let mut read = 0;
        while read < BYTES {
            conn.recv_pooled(&pools[random.below(2) as usize]).unwrap();
            let Ok(Packet::Received { buffer, result, .. }) = port.dequeue(LONG) else {
                panic!("no receive has ended")
            };
            assert_eq!(result, Ok(buffer.len()));
            for byte in &buffer[..] {
                assert_eq!(*byte, read as u8, "at {read}");
                read += 1;
            }
        }
        writer.join().unwrap();
        drop((conn, port));
        wait_until("all buffers are back", || pools.iter().all(|pool| pool.available() == pool.count()));
    });
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for (size, count) in [(0, 1), (1, 0), ((1 << 30) + 1, 1), (1, BufferPool::MAX_BUFFERS + 1)] {
        assert_eq!(BufferPool::new(size, count).unwrap_err(), Error::INVALID_PARAMETER);
    }
    let pool = BufferPool::new(1, BufferPool::MAX_BUFFERS).unwrap();
    assert_eq!((pool.count(), pool.available(), pool.buffer_size()), (32_768, 32_768, 1));
}
