//! Both engines in one process.

#![cfg(unix)] // Windows has one engine.

mod common;

use std::io::Write;

use common::*;
use overlapped::engine::{Engine, report};
use overlapped::net::TcpListener;
use overlapped::{Buffer, CompletionPort, Event, Packet};

/// The engines that are to be had here.
fn engines() -> Vec<Engine> {
    let both = [Engine::IoUring, Engine::Readiness];
    both.into_iter().filter(|engine| *engine == Engine::Readiness || report().obstacle.is_none()).collect()
}

#[test]
fn a_port_runs_on_the_engine_that_it_is_built_with() {
    watched(|| {
        for engine in engines() {
            let port: CompletionPort = CompletionPort::builder().engine(engine).build().unwrap();
            assert_eq!(port.engine(), engine.name());
            assert_eq!(port.engine(), engine.to_string());
        }
    });
}

#[test]
fn a_listener_that_has_accepted_elsewhere_accepts_on_each_engine() {
    watched(|| {
        for engine in engines() {
            let port: CompletionPort = CompletionPort::builder().engine(engine).concurrency(1).build().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            // First on what the process runs on, and with nobody there to connect.
            let event = Event::manual_reset();
            let pending = listener.accept().signal(&event).unwrap();
            let first = std::net::TcpStream::connect(address).unwrap();
            pending.wait().result.unwrap();
            let listener = port.associate(listener, ()).unwrap();
            listener.accept().unwrap();
            assert!(port.dequeue(MOMENT).is_err(), "{engine}: nobody has connected");
            let mut second = std::net::TcpStream::connect(address).unwrap();
            let Packet::Accepted { result, .. } = port.dequeue(None).unwrap() else { panic!("an accept") };
            let conn = port.associate(result.unwrap(), ()).unwrap();
            second.write_all(b"hello").unwrap();
            conn.recv(Buffer::with_capacity(8)).unwrap();
            assert!(matches!(port.dequeue(None).unwrap(), Packet::Received { result: Ok(5), .. }));
            drop(first);
        }
    });
}
