//! A: association. Much of it is kept by the types, which is tested by what compiles.

mod common;

use std::io::Write;

use common::*;
use overlapped::fs::File;
use overlapped::net::{TcpListener, TcpStream, UdpSocket};
use overlapped::{Associated, Buffer, CompletionPort, Error, Overlapped, Packet, Result};

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
    // A clone names the same handle: while there is one, nobody can promise that it stays without a port.
    let port: CompletionPort = CompletionPort::new(1).unwrap();
    let stream = TcpStream::from(plain_pair().0);
    let clone = stream.clone();
    assert_eq!(port.associate(stream, ()).unwrap_err(), Error::INVALID_PARAMETER);
    port.associate(clone, ()).unwrap();
}

#[test]
fn a03_what_is_not_overlapped_cannot_be_associated() {
    assert_lacks!(Overlapped: std::fs::File, std::net::TcpStream, std::os::fd::OwnedFd, u32, &TcpStream);
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
    // Windows looks at the association when the operation ends. Here operations that end at a port are methods of the associated handle,
    // and a handle with operations in flight cannot be associated.
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
