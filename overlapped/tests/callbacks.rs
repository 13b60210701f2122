//! What the program's own code may do where the library calls it: in a handler, and in the `Drop` of a key or a message.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::{Buffer, BufferPool, CompletionPort, Error, Packet};

/// Does something with the port when it is dropped, and counts.
struct Caller {
    port: Weak<CompletionPort<Caller, Caller>>,
    act: fn(&CompletionPort<Caller, Caller>),
    drops: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller")
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(port) = self.port.upgrade() {
            (self.act)(&port);
        }
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

type CallerPort = Arc<CompletionPort<Caller, Caller>>;

fn caller_port() -> CallerPort {
    Arc::new(CompletionPort::builder().concurrency(1).build().unwrap())
}

fn close(port: &CompletionPort<Caller, Caller>) {
    port.close();
}

fn post(port: &CompletionPort<Caller, Caller>) {
    let message = Caller { port: Weak::new(), act: |_| {}, drops: Arc::default() };
    let _ = port.post(message);
}

fn dequeue(port: &CompletionPort<Caller, Caller>) {
    let _ = port.dequeue(Duration::ZERO);
}

#[test]
fn a_queued_message_whose_drop_closes_posts_or_dequeues_does_not_stop_the_close() {
    for act in [close, post, dequeue] {
        watched(move || {
            let (port, drops) = (caller_port(), Arc::new(AtomicUsize::new(0)));
            for _ in 0..3 {
                port.post(Caller { port: Arc::downgrade(&port), act, drops: Arc::clone(&drops) }).unwrap();
            }
            port.close();
            assert_eq!(drops.load(Ordering::SeqCst), 3);
        });
    }
}

#[test]
fn a_key_whose_drop_closes_posts_or_dequeues_does_not_stop_the_close() {
    for act in [close, post, dequeue] {
        watched(move || {
            let (port, drops) = (caller_port(), Arc::new(AtomicUsize::new(0)));
            let key = || Caller { port: Arc::downgrade(&port), act, drops: Arc::clone(&drops) };
            // One whose packet is queued, one whose receive is in the kernel, one with a receive in line.
            let (ready, mut peer) = pair(&port, key());
            std::io::Write::write_all(&mut peer, b"x").unwrap();
            ready.recv(Buffer::with_capacity(1)).unwrap();
            drop(ready);
            let (pending, _peer) = pair(&port, key());
            pending.recv(Buffer::with_capacity(1)).unwrap();
            drop(pending);
            let (line, _peer) = pair(&port, key());
            line.recv(Buffer::with_capacity(1)).unwrap();
            line.recv(Buffer::with_capacity(1)).unwrap();
            drop(line);
            port.post(Caller { port: Weak::new(), act: |_| {}, drops: Arc::default() }).unwrap();
            assert!(port.dequeue(LONG).is_ok()); // the kernel has seen them
            port.close();
            wait_until("all keys are dropped", || drops.load(Ordering::SeqCst) == 3);
        });
    }
}

#[test]
fn a_message_that_is_posted_to_a_closed_port_may_close_and_post_when_it_is_dropped() {
    watched(|| {
        let (port, drops) = (caller_port(), Arc::new(AtomicUsize::new(0)));
        port.close();
        for act in [close, post] {
            let message = Caller { port: Arc::downgrade(&port), act, drops: Arc::clone(&drops) };
            assert_eq!(port.post(message).unwrap_err(), Error::ABANDONED_WAIT);
        }
        assert_eq!(drops.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn two_threads_that_close_a_port_both_see_its_messages_dropped() {
    struct Slow(Arc<AtomicUsize>);
    impl Drop for Slow {
        fn drop(&mut self) {
            thread::sleep(Duration::from_millis(20));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    watched(|| {
        let port: CompletionPort<(), Slow> = CompletionPort::builder().concurrency(1).build().unwrap();
        let drops = Arc::new(AtomicUsize::new(0));
        port.post(Slow(Arc::clone(&drops))).unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    port.close();
                    assert_eq!(drops.load(Ordering::SeqCst), 1, "close returned before the message was dropped");
                });
            }
        });
    });
}

#[test]
fn a_panic_in_a_handler_closes_the_port_and_goes_on_in_the_caller_of_run() {
    watched(|| {
        let port: CompletionPort<(), u32> = CompletionPort::builder().concurrency(2).build().unwrap();
        let (conn, _peer) = pair(&port, ());
        conn.recv(Buffer::with_capacity(1)).unwrap();
        port.post(7).unwrap();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            port.run(4, |packet| match packet {
                Packet::Posted(number) => panic!("number {number}"),
                _ => Ok(()),
            })
        }));
        assert_eq!(panic_text(panic.unwrap_err()), "number 7");
        assert_eq!(port.post(8).unwrap_err(), Error::ABANDONED_WAIT);
        assert_eq!(port.dequeue(Duration::ZERO).unwrap_err(), Error::ABANDONED_WAIT);
    });
}

#[test]
fn the_first_error_of_a_handler_closes_the_port_and_is_what_run_returns() {
    watched(|| {
        let port: CompletionPort<(), u32> = CompletionPort::builder().concurrency(1).build().unwrap();
        for number in 0..10 {
            port.post(number).unwrap();
        }
        let seen = Mutex::new(Vec::new());
        let workers = if wine() { 1 } else { 3 }; // Wine does not limit how many run
        let ended = port.run(workers, |packet| {
            let Packet::Posted(number) = packet else { return Ok(()) };
            seen.lock().unwrap().push(number);
            if number == 2 { Err(Error::DISK_FULL) } else { Ok(()) }
        });
        assert_eq!(ended.unwrap_err(), Error::DISK_FULL);
        assert_eq!(seen.into_inner().unwrap(), [0, 1, 2], "with one lane nothing runs after the error");
        assert_eq!(port.post(0).unwrap_err(), Error::ABANDONED_WAIT);
    });
}

#[test]
fn an_error_after_the_close_is_a_consequence_and_not_reported() {
    watched(|| {
        let port: CompletionPort<(), ()> = CompletionPort::new(1).unwrap();
        port.post(()).unwrap();
        let ended = port.run(2, |_| {
            port.close();
            port.post(()) // fails: closed
        });
        assert_eq!(ended, Ok(()));
    });
}

#[test]
fn a_handler_may_close_its_port_with_everything_in_flight() {
    watched(|| {
        let port: CompletionPort<(), ()> = CompletionPort::new(2).unwrap();
        let pool = BufferPool::new(64, 8).unwrap();
        let mut peers = Vec::new();
        for _ in 0..20 {
            let (conn, peer) = pair(&port, ());
            conn.recv_pooled(&pool).unwrap();
            conn.recv(Buffer::with_capacity(8)).unwrap();
            conn.within(Duration::from_secs(60)).recv(pool.take().unwrap_or_default()).unwrap();
            peers.push(peer);
        }
        port.post(()).unwrap();
        port.run(4, |packet| {
            assert!(matches!(packet, Packet::Posted(())), "nothing else has ended: {packet:?}");
            port.close();
            Ok(())
        })
        .unwrap();
        drop(port);
        wait_until("the pool has all buffers back", || pool.available() == 8);
    });
}

#[test]
fn a_port_that_is_dropped_with_operations_in_flight_closes_handles_nobody_holds() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        let (conn, mut peer) = pair(&port, ());
        conn.recv(Buffer::with_capacity(16)).unwrap();
        hand_over(&port);
        drop(conn);
        drop(port);
        let mut rest = [0; 1];
        let ended = std::io::Read::read(&mut peer, &mut rest);
        assert!(matches!(ended, Ok(0) | Err(_)), "the connection is closed");
    });
}

#[test]
fn a_port_can_be_kept_in_the_keys_of_its_own_handles() {
    // A cycle that close() has to break: port -> in-flight receive -> handle -> key -> port.
    struct Key(OnceLock<Arc<CompletionPort<Arc<Key>, ()>>>);
    watched(|| {
        let port = Arc::new(CompletionPort::builder().concurrency(1).build::<Arc<Key>, ()>().unwrap());
        let key = Arc::new(Key(OnceLock::new()));
        assert!(key.0.set(Arc::clone(&port)).is_ok());
        let (conn, _peer) = pair(&*port, Arc::clone(&key));
        conn.recv(Buffer::with_capacity(1)).unwrap();
        drop(conn);
        let weak = Arc::downgrade(&port);
        let observer = Arc::downgrade(&key);
        drop(key);
        port.close();
        drop(port);
        wait_until("key and port are gone", || observer.upgrade().is_none() && weak.upgrade().is_none());
    });
}

#[test]
fn run_on_a_closed_port_returns_at_once() {
    watched(|| {
        let port: CompletionPort = CompletionPort::new(1).unwrap();
        port.close();
        port.close();
        assert_eq!(port.run(2, |_| Ok(())), Ok(()));
    });
}
