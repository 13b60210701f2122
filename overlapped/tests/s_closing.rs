//! S09: a socket that was used often, which an engine may have at hand in a table of its own, is closed as any other, in every way.

mod common;

use std::io::Read;
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::alertable::{self, Woken};
use overlapped::net::TcpStream;
use overlapped::{Associated, Buffer, BufferPool, CompletionPort};

/// Operations enough to be at hand.
const OFTEN: usize = 50;

/// Sends and receives often, and leaves nothing under way.
fn use_often(port: &CompletionPort, conn: &Associated<TcpStream>, peer: &mut std::net::TcpStream) {
    for _ in 0..OFTEN {
        conn.send(Buffer::from("ping")).unwrap();
        assert_eq!(sent(port).2, Ok(4));
        read_exactly(peer, b"ping");
        write_pattern(peer, 1, 0, 4);
        conn.recv(Buffer::with_capacity(4)).unwrap();
        assert_eq!(received(port).result, Ok(4));
    }
}

fn read_exactly(peer: &mut std::net::TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

/// The other side is told that it is over, whatever had been sent before.
fn is_over(mut peer: std::net::TcpStream) {
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = [0; 65536];
    loop {
        match peer.read(&mut bytes) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the peer was not told: {error}"),
        }
    }
}

#[test]
fn s09_a_socket_of_a_port_that_was_used_often_is_closed_in_every_way() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(8, 4096).unwrap();
        let often = || {
            let (conn, mut peer) = pair(&port, ());
            use_often(&port, &conn, &mut peer);
            (conn, peer)
        };
        // Dropped, with nothing under way.
        let (conn, peer) = often();
        drop(conn);
        is_over(peer);
        // Closed, and kept.
        let (conn, peer) = often();
        conn.close();
        is_over(peer);
        // On another thread.
        let (other, peer) = often();
        thread::spawn(move || drop(other)).join().unwrap();
        is_over(peer);
        // With a receive that waits, of its own and of a pool.
        for pooled in [false, true] {
            let (conn, peer) = often();
            match pooled {
                true => conn.recv_pooled(&pool).unwrap(),
                false => conn.recv(Buffer::with_capacity(1)).unwrap(),
            };
            hand_over(&port);
            conn.close();
            assert!(received(&port).result.is_err());
            hand_over(&port);
            is_over(peer);
        }
        // With a send that waits.
        let (conn, peer) = often();
        conn.options(|socket| socket.set_send_buffer_size(4096)).unwrap();
        conn.send(Buffer::from(vec![0; 16 << 20])).unwrap();
        hand_over(&port);
        conn.close();
        assert!(sent(&port).2.is_err());
        is_over(peer);
        // Its sending half alone.
        let (conn, peer) = often();
        conn.shutdown(Shutdown::Write).unwrap();
        is_over(peer);
        drop(conn);
        // After its port.
        let (conn, peer) = often();
        port.close();
        drop(conn);
        is_over(peer);
    });
}

#[test]
fn s09_many_sockets_that_were_used_often_are_closed_one_after_the_other() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        for _ in 0..100 {
            let (conn, mut peer) = pair(&port, ());
            let (second, mut second_peer) = pair(&port, ());
            use_often(&port, &conn, &mut peer);
            use_often(&port, &second, &mut second_peer);
            drop(conn);
            is_over(peer);
            use_often(&port, &second, &mut second_peer);
            drop(second);
            is_over(second_peer);
        }
    });
}

/// A free stream that this thread's routines have used often.
fn often_here() -> (TcpStream, std::net::TcpStream) {
    let (conn, mut peer) = free_pair();
    often_again(&conn, &mut peer);
    (conn, peer)
}

fn often_again(conn: &TcpStream, peer: &mut std::net::TcpStream) {
    for _ in 0..OFTEN {
        conn.send(Buffer::from("ping")).then(|done| assert_eq!(done.result, Ok(4))).unwrap();
        assert_eq!(alertable::sleep(LONG), Woken::Routines);
        read_exactly(peer, b"ping");
    }
}

#[test]
fn s09_a_socket_of_a_thread_that_was_used_often_is_closed_in_every_way() {
    watched(|| {
        // Here, dropped and closed.
        let (conn, peer) = often_here();
        drop(conn);
        is_over(peer);
        let (conn, peer) = often_here();
        conn.close();
        is_over(peer);
        // By another thread while this one sleeps, alertably and not.
        for closes in [false, true] {
            let (conn, peer) = often_here();
            let (told, tell) = mpsc::channel();
            let other = thread::spawn(move || {
                thread::sleep(Duration::from_millis(20)); // it sleeps by then, most likely
                if closes {
                    conn.close();
                }
                drop(conn);
                is_over(peer);
                told.send(()).unwrap();
            });
            run_until("the other has closed it", || tell.try_recv().is_ok());
            other.join().unwrap();
        }
    });
}

#[test]
fn s09_a_socket_that_moved_from_one_thread_to_another_is_closed() {
    watched(|| {
        let (conn, mut peer) = often_here();
        // This thread sleeps alertably meanwhile, and lets go although nobody calls it.
        let here = alertable::current();
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20)); // it sleeps by then, most likely
            often_again(&conn, &mut peer);
            drop(conn);
            is_over(peer);
            alertable::queue_apc(&here, || {}).unwrap();
        });
        assert_eq!(alertable::sleep(LONG), Woken::Routines);
        other.join().unwrap();
        // And after the thread that had used it has ended.
        let (conn, peer) = thread::spawn(often_here).join().unwrap();
        drop(conn);
        is_over(peer);
    });
}

#[test]
fn s09_a_socket_that_was_used_often_by_a_thread_goes_to_a_port_and_is_closed() {
    watched_but_not_by_wine("a handle cannot change over from one completion port to another", || {
        let (conn, mut peer) = often_here();
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let conn = port.associate(conn, ()).unwrap();
        use_often(&port, &conn, &mut peer);
        drop(conn);
        is_over(peer);
    });
}
