//! A: association. Much of it is kept by the types, which is tested by what compiles.

mod common;

use std::cell::Cell;
use std::future::IntoFuture;
use std::io::Write;
use std::rc::Rc;

use common::*;
use overlapped::alertable::{self, Woken};
use overlapped::fs::File;
use overlapped::net::{TcpListener, TcpStream, UdpSocket};
use overlapped::{
    Associated, Buffer, BufferPool, CompletionPort, Error, Event, OperationId, Overlapped, Packet, Result,
};

/// Fails to compile unless the type lacks the trait: with it, the `_` could be either of two types.
macro_rules! assert_lacks {
    ($trait:path: $($type:ty),+ $(,)?) => {$({
        trait Ambiguous<A> {
            fn check() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        struct Has;
        impl<T: ?Sized + $trait> Ambiguous<Has> for T {}
        <$type as Ambiguous<_>>::check();
    })+};
}

#[test]
fn a01_a_port_is_created_alone_and_handles_are_associated_with_it_afterwards() {
    watched(|| {
        let port: CompletionPort<u32> = CompletionPort::new(1).unwrap();
        let (one, mut one_peer) = pair(&port, 1);
        let (two, mut two_peer) = pair(&port, 2);
        for (conn, peer) in [(&one, &mut one_peer), (&two, &mut two_peer)] {
            conn.recv(Buffer::with_capacity(1)).unwrap();
            peer.write_all(b"x").unwrap();
            assert_eq!(received(&port).conn.key(), conn.key());
        }
    });
}

#[test]
fn a01_a_closed_port_takes_no_handle_and_the_handle_is_closed() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        port.close();
        let (ours, mut peer) = plain_pair();
        assert_eq!(port.associate(TcpStream::from(ours), ()).unwrap_err(), Error::ABANDONED_WAIT);
        assert_eq!(std::io::Read::read(&mut peer, &mut [0]).unwrap(), 0);
    });
}

#[test]
fn a02_a_handle_has_one_association_because_associating_consumes_it() {
    let _: fn(&CompletionPort, TcpStream, ()) -> Result<Associated<TcpStream>> = CompletionPort::associate;
    assert_lacks!(Overlapped: Associated<TcpListener>, Associated<TcpStream>, Associated<UdpSocket>, Associated<File>);
}

#[test]
fn a02_a_handle_that_somebody_else_owns_too_is_refused_with_87() {
    // A clone names the same handle, and could start operations that go elsewhere.
    watched_but_not_by_wine("a handle cannot change over from one completion port to another", || {
        let port: CompletionPort<&str> = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = free_pair();
        let clone = conn.clone();
        let error = port.associate(conn, "refused").unwrap_err();
        assert_eq!((error, error.code()), (Error::INVALID_PARAMETER, 87));
        // It stays what it was, for whoever has it.
        peer.write_all(b"x").unwrap();
        assert_eq!(block_on(clone.recv(Buffer::with_capacity(8))).result, Ok(1));
        let conn = port.associate(clone, "taken").unwrap();
        peer.write_all(b"yz").unwrap();
        conn.recv(Buffer::with_capacity(8)).unwrap();
        assert_eq!(received(&port).result, Ok(2));
        let (listener, address) = free_listener();
        let clone = listener.clone();
        assert_eq!(port.associate(listener, "").unwrap_err(), Error::INVALID_PARAMETER);
        port.associate(clone, "").unwrap().accept().unwrap();
        let _client = connect(address);
        assert!(matches!(next(&port), Packet::Accepted { result: Ok(_), .. }));
    });
}

#[test]
fn a02_a_handle_with_an_operation_in_flight_is_refused_with_87_however_it_is_to_end() {
    watched_but_not_by_wine("a handle cannot change over from one completion port to another", || {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        // An operation is an owner of its handle: the last one that a failed association leaves.
        let (conn, mut peer) = free_pair();
        let event = Event::manual_reset();
        let pending = conn.recv(Buffer::with_capacity(8)).signal(&event).unwrap();
        assert_eq!(port.associate(conn, ()).unwrap_err(), Error::INVALID_PARAMETER);
        peer.write_all(b"x").unwrap();
        let conn = pending.wait().conn;
        // A routine, whose end has come and has not been told: it is in flight until then.
        let told = Rc::new(Cell::new(None));
        conn.recv(Buffer::with_capacity(8))
            .then({
                let told = Rc::clone(&told);
                move |done| told.set(Some(done.conn))
            })
            .unwrap();
        assert_eq!(port.associate(conn, ()).unwrap_err(), Error::INVALID_PARAMETER);
        peer.write_all(b"x").unwrap();
        assert_eq!(alertable::sleep(LONG), Woken::Routines);
        let conn = told.take().unwrap();
        // A future that has started.
        let mut future = conn.recv(Buffer::with_capacity(8)).into_future();
        start(&mut future);
        assert_eq!(port.associate(conn, ()).unwrap_err(), Error::INVALID_PARAMETER);
        peer.write_all(b"x").unwrap();
        let conn = block_on(future).conn;
        // Free again.
        let conn = port.associate(conn, ()).unwrap();
        peer.write_all(b"xyz").unwrap();
        conn.recv(Buffer::with_capacity(8)).unwrap();
        assert_eq!(received(&port).result, Ok(3));
        assert_quiet(&port);
    });
}

#[test]
fn a02_a_handle_that_was_used_without_a_port_brings_along_what_it_had_taken_from_the_stream() {
    // Somebody drops a receive that has data, and associates the handle: the data is the first of what the port sees.
    watched_but_not_by_wine("a handle cannot change over from one completion port to another", || {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let pool = BufferPool::new(4, 8).unwrap();
        let (conn, mut peer) = free_pair();
        let event = Event::manual_reset();
        peer.write_all(b"first ").unwrap();
        let pending = conn.recv(Buffer::with_capacity(64)).signal(&event).unwrap();
        event.wait(LONG).unwrap();
        drop(pending);
        let conn = port.associate(conn, ()).unwrap();
        peer.write_all(b"second").unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        loop {
            conn.recv_pooled(&pool).unwrap();
            let packet = received(&port);
            if packet.result.unwrap() == 0 {
                break;
            }
            bytes.extend_from_slice(&packet.buffer);
        }
        assert_eq!(bytes, b"first second");
    });
}

#[test]
fn a02_a_handle_is_free_as_soon_as_its_operation_has_been_told() {
    // However busy the library's thread still is with having told it.
    watched_but_not_by_wine("a handle cannot change over from one completion port to another", || {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let event = Event::auto_reset();
        for round in 0..300 {
            let (conn, mut peer) = free_pair();
            peer.write_all(b"x").unwrap();
            let conn = match round % 4 {
                0 => {
                    let pending = conn.recv(Buffer::with_capacity(8)).signal(&event).unwrap();
                    drop(conn);
                    pending.wait().conn
                }
                1 => {
                    let mut pending = conn.recv(Buffer::with_capacity(8)).signal(&event).unwrap();
                    event.wait(LONG).unwrap();
                    drop(conn);
                    pending.try_result().unwrap().conn
                }
                2 => {
                    drop(conn.recv(Buffer::with_capacity(8)));
                    block_on(conn.recv(Buffer::with_capacity(8)));
                    conn
                }
                _ => {
                    alertable::block_on(conn.recv(Buffer::with_capacity(8)));
                    conn
                }
            };
            if let Err(error) = port.associate(conn, ()) {
                panic!("round {round}: {error}");
            }
        }
    });
}

#[test]
fn a06_a_handle_of_a_port_has_no_routines_events_or_futures() {
    // Its operations start at once, and what they give is a name. Windows refuses the routine at run time (87, 10022).
    let _: fn(&Associated<TcpStream>, Buffer) -> Result<OperationId> = Associated::<TcpStream>::recv;
    let _: fn(&Associated<File>, Buffer, u64) -> Result<OperationId> = Associated::<File>::read_at;
    assert_lacks!(std::future::IntoFuture: OperationId);
    // A routine that was started before an association keeps the association from being made:
    // `a02_a_handle_with_an_operation_in_flight_is_refused_with_87_however_it_is_to_end`.
}

#[test]
fn a03_what_is_not_overlapped_cannot_be_associated() {
    assert_lacks!(Overlapped: std::fs::File, std::net::TcpStream, socket2::Socket, u32, &TcpStream);
}

#[test]
fn a04_each_packet_carries_the_key_of_the_handle_and_an_accept_that_of_the_listener() {
    watched(|| {
        let port: CompletionPort<String> = CompletionPort::new(2).unwrap();
        let (listener, address) = listener(&port, "listener".to_owned());
        listener.accept_each().unwrap();
        let mut client = connect(address);
        let Packet::Accepted { listener, result, .. } = next(&port) else { panic!() };
        assert_eq!(listener.key(), "listener");
        let conn = port.associate(result.unwrap(), "accepted".to_owned()).unwrap();
        conn.recv(Buffer::with_capacity(4)).unwrap();
        conn.clone().send(Buffer::from("x")).unwrap();
        client.write_all(b"y").unwrap();
        for _ in 0..2 {
            let key = match next(&port) {
                Packet::Received { conn, .. } | Packet::Sent { conn, .. } => conn.key().clone(),
                other => panic!("{other:?}"),
            };
            assert_eq!(key, "accepted");
        }
        let _second = connect(address);
        let Packet::Accepted { listener, .. } = next(&port) else { panic!() };
        assert_eq!(listener.key(), "listener", "also when accepted sockets are associated");
    });
}

#[test]
fn a04_keys_may_differ_for_handles_of_one_kind_and_are_never_mixed_up() {
    watched(|| {
        let port: CompletionPort<usize> = CompletionPort::new(2).unwrap();
        let mut pairs: Vec<_> = (0..100).map(|key| pair(&port, key)).collect();
        for (conn, peer) in &mut pairs {
            conn.recv(Buffer::with_capacity(8)).unwrap();
            peer.write_all(&conn.key().to_le_bytes()).unwrap();
        }
        for _ in 0..100 {
            let packet = received(&port);
            assert_eq!(&packet.buffer[..], packet.conn.key().to_le_bytes());
        }
    });
}

#[test]
fn a05_an_operation_needs_an_association_before_it_starts() {
    // Windows looks at the association when the operation ends. Here operations are methods of the associated handle.
    let _: fn(&Associated<TcpStream>, Buffer) -> Result<overlapped::OperationId> = Associated::<TcpStream>::recv;
}

#[test]
fn a07_an_accepted_socket_does_not_inherit_the_association() {
    watched(|| {
        let port: CompletionPort<()> = CompletionPort::new(1).unwrap();
        let other: CompletionPort<u8> = CompletionPort::new(1).unwrap();
        let (listener, address) = listener(&port, ());
        listener.accept().unwrap();
        let mut client = connect(address);
        let Packet::Accepted { result, .. } = next(&port) else { panic!() };
        let conn = other.associate(result.unwrap(), 9).unwrap(); // to a port of another type
        client.write_all(b"x").unwrap();
        conn.recv(Buffer::with_capacity(1)).unwrap();
        assert_eq!(*received(&other).conn.key(), 9);
        assert_quiet(&port);
    });
}

#[test]
fn a07_clones_name_one_handle_with_one_key_and_one_port() {
    watched(|| {
        let port: CompletionPort<u32> = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = pair(&port, 5);
        let clone = conn.clone();
        drop(conn);
        clone.recv(Buffer::with_capacity(1)).unwrap();
        peer.write_all(b"x").unwrap(); // still open
        let packet = received(&port);
        assert_eq!((*packet.conn.key(), packet.result), (5, Ok(1)));
        drop((clone, packet));
        assert_eq!(std::io::Read::read(&mut peer, &mut [0]).unwrap(), 0, "closed with its last owner");
    });
}

#[test]
fn a08_plain_calls_on_the_socket_queue_no_packet() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = pair(&port, ());
        conn.options(|socket| socket.send(b"plain")).unwrap();
        std::io::Read::read_exact(&mut peer, &mut [0; 5]).unwrap();
        peer.write_all(b"plain").unwrap();
        let mut bytes = [std::mem::MaybeUninit::uninit(); 5];
        assert_eq!(conn.options(|socket| socket.recv(&mut bytes)), Ok(5));
        conn.shutdown(std::net::Shutdown::Both).unwrap();
        assert_quiet(&port);
    });
}
