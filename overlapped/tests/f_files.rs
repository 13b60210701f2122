//! F01, F02: files.

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use common::*;
use overlapped::fs::File;
use overlapped::{Associated, Buffer, CompletionPort, Error, Packet};

/// A file of this test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(content: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("overlapped-test-{}-{number}", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }

    fn open(&self, port: &CompletionPort) -> Associated<File> {
        let file = fs::File::options().read(true).write(true).open(&self.0).unwrap();
        port.associate(File::from(file), ()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn read(port: &CompletionPort) -> (overlapped::Result<usize>, Buffer) {
    match next(port) {
        Packet::Read { result, buffer, .. } => (result, buffer),
        other => panic!("expected a read, got {other:?}"),
    }
}

fn written(port: &CompletionPort) -> overlapped::Result<usize> {
    match next(port) {
        Packet::Written { result, .. } => result,
        other => panic!("expected a write, got {other:?}"),
    }
}

#[test]
fn f01_each_operation_uses_its_own_offset() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(2).unwrap();
        let scratch = Scratch::new(b"");
        let file = scratch.open(&port);
        for block in (0..64u64).rev() {
            file.write_at(Buffer::from(pattern(9, block * 1000, 1000)), block * 1000).unwrap();
        }
        for _ in 0..64 {
            assert_eq!(written(&port), Ok(1000));
        }
        file.sync(true).unwrap();
        assert!(matches!(next(&port), Packet::Synced { result: Ok(()), .. }));
        file.sync(false).unwrap();
        assert!(matches!(next(&port), Packet::Synced { result: Ok(()), .. }));
        assert_pattern(9, 0, &fs::read(&scratch.0).unwrap());
        let mut at = std::collections::HashMap::new();
        for offset in [63_000, 0, 31_500, 7] {
            at.insert(file.read_at(Buffer::with_capacity(500), offset).unwrap(), offset);
        }
        for _ in 0..4 {
            let Packet::Read { id, buffer, result, .. } = next(&port) else { panic!() };
            assert_eq!(result, Ok(500));
            assert_pattern(9, at.remove(&id).unwrap(), &buffer);
        }
    });
}

#[test]
fn f01_the_offset_of_all_ones_appends() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let scratch = Scratch::new(b"begin");
        let file = scratch.open(&port);
        file.write_at(Buffer::from(" end"), u64::MAX).unwrap();
        // To io_uring this offset means the descriptor's own position, which would overwrite the beginning.
        assert_eq!(written(&port), Ok(4));
        assert_eq!(fs::read(&scratch.0).unwrap(), b"begin end");
        file.read_at(Buffer::with_capacity(8), u64::MAX).unwrap();
        let (result, _) = read(&port);
        assert!(matches!(result, Err(Error::INVALID_PARAMETER | Error::HANDLE_EOF)), "{result:?}");
    });
}

#[test]
fn f02_a_short_read_at_the_tail_is_success_and_at_the_end_there_is_an_error() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let scratch = Scratch::new(b"0123456789");
        let file = scratch.open(&port);
        file.read_at(Buffer::with_capacity(64), 7).unwrap();
        let (result, buffer) = read(&port);
        assert_eq!((result, &buffer[..]), (Ok(3), &b"789"[..]));
        for offset in [10, 11, 1 << 40] {
            file.read_at(Buffer::with_capacity(64), offset).unwrap();
            assert_eq!(read(&port).0, Err(Error::HANDLE_EOF));
        }
        file.read_at(Buffer::empty(), 3).unwrap();
        assert_eq!(read(&port).0, Ok(0), "a read of nothing is no end of file");
    });
}

#[test]
fn a_buffer_from_a_static_slice_can_be_read_into() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let scratch = Scratch::new(b"0123456789");
        let file = scratch.open(&port);
        let buffer = Buffer::from("static");
        let room = buffer.capacity();
        file.read_at(buffer, 0).unwrap();
        let (result, buffer) = read(&port);
        assert_eq!((result, &buffer[..]), (Ok(room), &b"0123456789"[..room]));
    });
}

#[test]
fn a_write_that_the_file_refuses_is_an_error_of_its_packet() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let scratch = Scratch::new(b"x");
        let file = port.associate(File::open(&scratch.0).unwrap(), ()).unwrap(); // for reading only
        file.write_at(Buffer::from("y"), 0).unwrap();
        let Packet::Written { result, written, buffer, .. } = next(&port) else { panic!() };
        assert_eq!((result.is_err(), written, &buffer[..]), (true, 0, &b"y"[..]));
        assert_eq!(fs::read(&scratch.0).unwrap(), b"x");
        assert_eq!(File::open(scratch.0.with_extension("missing")).unwrap_err(), Error::FILE_NOT_FOUND);
    });
}
