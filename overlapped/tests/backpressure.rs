//! A client that floods and never reads does not make the server grow; and then every byte comes back.
//!
//! Alone in this file: it measures the memory of its process.

mod common;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::{BufferPool, CompletionPort, Packet};

#[test]
#[cfg_attr(windows, ignore = "it asks Linux how much memory or how many descriptors are in use")]
fn a_flood_of_64_mb_that_nobody_reads_stays_with_the_client_and_comes_back_in_order() {
    watched(|| {
        const FLOOD: usize = 64 << 20;
        let port: CompletionPort = CompletionPort::new(2).unwrap();
        let pool = BufferPool::new(16 << 10, 64).unwrap();
        let (listener, address) = listener(&port, ());
        listener.accept_each().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                port.run(3, |packet| {
                    match packet {
                        Packet::Accepted { result, .. } => drop(port.associate(result?, ())?.recv_pooled(&pool)?),
                        Packet::Received { result: Ok(0) | Err(_), .. } => {}
                        Packet::Received { conn, buffer, .. } => drop(conn.send(buffer)?),
                        Packet::Sent { conn, .. } => drop(conn.recv_pooled(&pool)?),
                        other => panic!("unexpected {other:?}"),
                    }
                    Ok(())
                })
                .unwrap();
            });
            let client = connect(address);
            let mut reader = client.try_clone().unwrap();
            let (written, stalled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
            let before = resident();
            let writer = {
                let written = Arc::clone(&written);
                let mut client = client;
                scope.spawn(move || {
                    while written.load(Ordering::SeqCst) < FLOOD {
                        let offset = written.load(Ordering::SeqCst);
                        client.write_all(&pattern(64, offset as u64, 64 << 10)).unwrap();
                        written.store(offset + (64 << 10), Ordering::SeqCst);
                    }
                })
            };
            // The writer comes to a stop: the server does not take in what it cannot give back.
            let mut last = 0;
            let mut still = 0;
            let mut most = 0;
            while still < 30 {
                thread::sleep(Duration::from_millis(10));
                let now = written.load(Ordering::SeqCst);
                still = if now == last { still + 1 } else { 0 };
                last = now;
                most = most.max(resident());
                assert!(now < FLOOD, "the server swallowed 64 MB that nobody read");
            }
            stalled.store(true, Ordering::SeqCst);
            let grown = most.saturating_sub(before);
            // Another connection is served meanwhile.
            let mut other = connect(address);
            write_pattern(&mut other, 65, 0, 1000);
            read_pattern(&mut other, 65, 0, 1000);
            // And then every byte comes back, in order.
            read_pattern(&mut reader, 64, 0, FLOOD);
            most = most.max(resident());
            writer.join().unwrap();
            reader.flush().unwrap();
            port.close();
            println!("stopped after {last} bytes; memory grew by {grown}, at most {}", most.saturating_sub(before));
            assert!(grown < 8 << 20, "{grown} bytes of memory for one client that does not read");
            assert!(most.saturating_sub(before) < 8 << 20);
        });
    });
}
