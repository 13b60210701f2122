//! C11, counted: thousands of operations, ended in every way there is, leave nothing behind: no buffer, descriptor or thread.
//!
//! Alone in this file: it counts what its process has.

mod common;

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::fs::File;
use overlapped::net::TcpStream;
use overlapped::{Buffer, BufferPool, CompletionPort, Error, Packet};

type Key = Arc<()>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Success,
    Reset,
    PeerCloses,
    CancelEach,
    CancelAll,
    Deadline,
    HandleClosed,
    ThreadExit,
    PortClosed,
}

const ENDS: [End; 9] = [
    End::Success,
    End::Reset,
    End::PeerCloses,
    End::CancelEach,
    End::CancelAll,
    End::Deadline,
    End::HandleClosed,
    End::ThreadExit,
    End::PortClosed,
];

const CONNECTIONS: usize = 12;
/// Operations that are started on each connection.
const EACH: usize = 10;

/// One port, `CONNECTIONS` connections, and on each `EACH` operations that all end in this way. Says how many were started.
fn round(end: End, lanes: usize, pool: &BufferPool, key: &Key) -> usize {
    let port: CompletionPort<Key> = CompletionPort::new(lanes).unwrap();
    let ended = AtomicUsize::new(0);
    let started = AtomicUsize::new(0);
    let (tell, exited) = std::sync::mpsc::channel::<()>();
    let (listener, address) = listener(&port, Arc::clone(key));
    let mut peers = Vec::new();
    let mut conns = Vec::new();
    for _ in 0..CONNECTIONS {
        let (conn, peer) = pair(&port, Arc::clone(key));
        conn.options(|socket| socket.set_send_buffer_size(4096)).unwrap();
        conns.push(conn);
        peers.push(peer);
    }
    let expected = |error: Option<Error>| match end {
        End::Success | End::ThreadExit => error.is_none(),
        End::Reset => matches!(error, None | Some(Error::NETNAME_DELETED)),
        End::PeerCloses => matches!(error, None | Some(Error::NETNAME_DELETED)),
        End::CancelEach | End::CancelAll => matches!(error, None | Some(Error::OPERATION_ABORTED)),
        End::Deadline => matches!(error, None | Some(Error::SEM_TIMEOUT)),
        End::HandleClosed => {
            matches!(error, None | Some(Error::CONNECTION_ABORTED | Error::OPERATION_ABORTED | Error::INVALID_HANDLE))
        }
        End::PortClosed => true,
    };
    let start = |conn: &Conn<Key>| {
        let conn = match end {
            End::Deadline => conn.within(Duration::from_millis(5)),
            _ => conn.clone(),
        };
        let mut ids = Vec::new();
        for n in 0..EACH / 2 {
            ids.push(match n % 3 {
                0 => conn.recv_pooled(pool).unwrap(),
                1 => conn.recv(pool.take().unwrap_or_else(|| Buffer::with_capacity(8))).unwrap(),
                _ => conn.recv(Buffer::with_capacity(8)).unwrap(),
            });
            // Small ones that go at once; for some ends a large one that cannot.
            let large = n == 3 && !matches!(end, End::Success | End::ThreadExit);
            ids.push(match n % 2 {
                _ if large => conn.send(Buffer::from(vec![0; 1 << 20])).unwrap(),
                0 => conn.send(Buffer::from("eight by")).unwrap(),
                _ => conn.send_vectored(vec![Buffer::from("eight "), Buffer::from("by")]).unwrap(),
            });
        }
        started.fetch_add(ids.len(), Ordering::SeqCst);
        ids
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            port.run(lanes + 1, |packet| {
                let (id, error) = ending(&packet);
                assert!(id.is_some() && expected(error), "{end:?}: {packet:?}");
                if !matches!(packet, Packet::Accepted { more: true, .. }) {
                    ended.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
            .unwrap();
        });
        // Operations of the listener: three that end, one that stands.
        listener.accept_each().unwrap();
        started.fetch_add(1, Ordering::SeqCst);
        let clients: Vec<_> = (0..3).map(|_| connect(address)).collect();
        match end {
            End::ThreadExit => {
                scope.spawn(|| {
                    conns.iter().for_each(|conn| drop(start(conn)));
                    drop(tell);
                });
                let _ = exited.recv();
            }
            End::CancelEach => {
                for conn in &conns {
                    for id in start(conn) {
                        let _ = conn.cancel(id); // or it has ended
                    }
                }
            }
            _ => conns.iter().for_each(|conn| drop(start(conn))),
        }
        match end {
            End::Success | End::ThreadExit => {
                // Five receives of at most eight bytes each (the pool's buffers are as small).
                for peer in &mut peers {
                    peer.write_all(&[1; 8 * EACH / 2]).unwrap();
                }
            }
            End::Reset => peers.drain(..).for_each(reset),
            End::PeerCloses => peers.clear(),
            End::CancelAll => conns.iter().for_each(|conn| while conn.cancel_all().is_ok() {}),
            End::HandleClosed => conns.iter().for_each(|conn| conn.close()),
            End::CancelEach | End::Deadline => {}
            End::PortClosed => port.close(),
        }
        if end != End::PortClosed {
            // The listener's standing accept ends with its handle; it counts as the others do.
            let all = || ended.load(Ordering::SeqCst) + 1 == started.load(Ordering::SeqCst);
            wait_until(&format!("{end:?} on {lanes} lanes: every operation has its packet"), all);
            for peer in &peers {
                let _ = peer.shutdown(Shutdown::Both);
            }
        }
        drop(clients);
        port.close();
    });
    let ended = ended.load(Ordering::SeqCst);
    let started = started.load(Ordering::SeqCst);
    assert!(ended <= started, "{end:?}: {ended} packets for {started} operations");
    started
}

/// Connects, datagrams and files: they end in success, failure and cancellation, and with the port.
fn other_operations(pool: &BufferPool, key: &Key) {
    let port: CompletionPort<Key> = CompletionPort::new(1).unwrap();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for cancel in [false, true] {
        let conn = port.associate(TcpStream::unconnected(nobody).unwrap(), Arc::clone(key)).unwrap();
        let id = conn.connect(nobody).unwrap();
        let _ = conn.send(Buffer::from("behind")).unwrap();
        if cancel {
            let _ = conn.cancel(id);
        }
        for _ in 0..2 {
            assert!(ending(&next(&port)).1.is_some());
        }
    }
    let socket = overlapped::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let socket = port.associate(socket, Arc::clone(key)).unwrap();
    for _ in 0..3 {
        socket.recv_from(pool.take().unwrap()).unwrap();
    }
    socket.send_to(Buffer::from("to itself"), address).unwrap();
    let mut seen = [ending(&next(&port)).1, ending(&next(&port)).1];
    seen.sort_by_key(Option::is_some);
    assert_eq!(seen, [None, Some(Error::MORE_DATA)], "nine bytes do not fit into eight");
    let path = std::env::temp_dir().join(format!("overlapped-leaks-{}", std::process::id()));
    let file = port.associate(File::create(&path).unwrap(), Arc::clone(key)).unwrap();
    std::fs::remove_file(&path).unwrap();
    for offset in 0..20 {
        file.write_at(Buffer::from("eight by"), offset * 8).unwrap();
        file.read_at(pool.take().unwrap_or_default(), 1000).unwrap();
    }
    for _ in 0..40 {
        drop(next(&port));
    }
    file.sync(false).unwrap();
    // The port is dropped with a sync and two receives under way.
}

#[test]
#[cfg_attr(windows, ignore = "it asks Linux how much memory or how many descriptors are in use")]
fn c11_whatever_ends_them_operations_have_one_packet_and_leave_nothing_behind() {
    watched(|| {
        let pool = BufferPool::new(8, 256).unwrap();
        let key: Key = Arc::new(());
        round(End::Success, 1, &pool, &key); // the first use starts what stays: the monitor
        let alike = |threads_before: usize, descriptors_before: usize| {
            (threads(), descriptors()) == (threads_before, descriptors_before)
        };
        wait_until("the first port is gone", || Arc::strong_count(&key) == 1 && pool.available() == 256);
        thread::sleep(MOMENT);
        let (threads_before, descriptors_before) = (threads(), descriptors());
        let mut total = 0;
        for turn in 0..20 {
            for end in ENDS {
                total += round(end, 1 + turn % 2, &pool, &key);
                wait_until(&format!("after {end:?} all buffers are back"), || pool.available() == 256);
                wait_until(&format!("after {end:?} all keys are dropped"), || Arc::strong_count(&key) == 1);
                wait_until(&format!("after {end:?} no descriptor and no thread is left over"), || {
                    alike(threads_before, descriptors_before)
                });
            }
            other_operations(&pool, &key);
            wait_until("all is as before", || {
                (pool.available(), Arc::strong_count(&key)) == (256, 1) && alike(threads_before, descriptors_before)
            });
        }
        assert!(total > 20_000, "{total}");
        println!("{total} operations");
    });
}
