//! A kernel whose io_uring lacks an operation.
//!
//! Alone in this file: what a process pretends, it pretends for good.

#![cfg(unix)] // about Linux.

mod common;

use common::*;
use overlapped::engine::{Engine, Obstacle, pretend_missing, report};
use overlapped::{CompletionPort, Error};

#[test]
fn where_one_operation_is_missing_readiness_takes_its_place_and_io_uring_asked_for_says_why() {
    watched(|| {
        let asked = std::env::var_os("OVERLAPPED_ENGINE").is_some();
        let refused = report().obstacle.is_some(); // for another reason, which comes first
        pretend_missing(&["connect"]);
        let report = report();
        if !refused {
            assert_eq!(report.obstacle, Some(Obstacle::TooOld));
            let missing: Vec<_> = report.features.iter().filter(|its| its.needed && !its.present).collect();
            assert!(matches!(missing[..], [feature] if feature.name == "connect"), "{missing:?}");
            let error = CompletionPort::builder().engine(Engine::IoUring).build::<(), ()>().unwrap_err();
            assert_eq!(error, Error::IO_URING_TOO_OLD);
        }
        if !asked {
            assert_eq!((report.engine, report.forced), (Ok(Engine::Readiness), false));
            let port: CompletionPort = CompletionPort::new(1).unwrap();
            assert_eq!(port.engine(), "readiness");
        }
        let port: CompletionPort = CompletionPort::builder().engine(Engine::Readiness).build().unwrap();
        assert_eq!(port.engine(), "readiness");
        let (conn, mut peer) = pair(&port, ());
        std::io::Write::write_all(&mut peer, b"hello").unwrap();
        conn.recv(overlapped::Buffer::with_capacity(5)).unwrap();
        let packet = port.dequeue(None).unwrap();
        assert!(matches!(packet, overlapped::Packet::Received { result: Ok(5), .. }), "{packet:?}");
    });
}
