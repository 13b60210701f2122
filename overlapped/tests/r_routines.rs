//! R: completion routines, APCs, and the alertable waits that run them.

mod common;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use common::*;
use overlapped::alertable::{self, FOREVER, Thread, Waited, Woken};
use overlapped::done::{self, Done};
use overlapped::fs::File;
use overlapped::net::{TcpListener, TcpStream};
use overlapped::{Buffer, BufferPool, CompletionPort, Error, Event, Operation, Packet, Pending, event};

/// What ran, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    /// An APC that notes `what`.
    fn apc(&self, what: &'static str) -> impl FnOnce() + Send + use<> {
        let log = self.clone();
        move || log.note(what)
    }

    /// A routine that notes `what`.
    fn routine<T>(&self, what: &'static str) -> impl FnOnce(T) + use<T> {
        let log = self.clone();
        move |_| log.note(what)
    }
}

fn queue_here(apc: impl FnOnce() + Send + 'static) {
    alertable::queue_apc(&alertable::current(), apc).unwrap();
}

/// Starts a send with a routine that notes `what`, and sees to it that it has ended: the peer has the byte.
fn ended_send(log: &Log, what: &'static str) -> (TcpStream, std::net::TcpStream) {
    let (conn, mut peer) = free_pair();
    conn.send(Buffer::from("x")).then(log.routine(what)).unwrap();
    alertable::flush();
    peer.read_exact(&mut [0]).unwrap();
    (conn, peer)
}

// Where and when

#[test]
fn r01_a_routine_runs_only_on_the_issuing_thread_and_only_in_an_alertable_wait() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        peer.write_all(b"here").unwrap(); // it succeeds at once, which changes nothing
        let told = Rc::new(Cell::new(None));
        let routine = |told: &Rc<Cell<_>>| {
            let told = Rc::clone(told);
            move |done: done::Received| told.set(Some((thread::current().id(), done.result)))
        };
        conn.recv(Buffer::with_capacity(8)).then(routine(&told)).unwrap();
        let quiet = |place| assert!(told.get().is_none(), "it ran in {place}");
        quiet("the call that started it");
        alertable::flush();
        quiet("a flush");
        conn.send(Buffer::from("x")).then(|_| {}).unwrap();
        quiet("another call");
        thread::sleep(MOMENT);
        quiet("a sleep of the system");
        assert_eq!(Event::manual_reset().wait(MOMENT), Err(Error::WAIT_TIMEOUT));
        quiet("a wait that is not alertable");
        let other = thread::spawn(|| alertable::sleep(MOMENT));
        assert_eq!(other.join().unwrap(), Woken::TimeUp, "another thread ran something");
        quiet("another thread's wait");
        assert_eq!(alertable::sleep(LONG), Woken::Routines);
        run_until("the routine", || told.get().is_some());
        assert_eq!(told.get(), Some((thread::current().id(), Ok(4))));
    });
}

#[test]
fn r01_a_routine_of_an_operation_that_fails_at_once_runs_in_the_wait_too() {
    // Windows returns the error and never calls the routine. Here the buffer has to come back, and there is one place to look (C02).
    watched(|| {
        let (conn, _peer) = free_pair();
        conn.shutdown(Shutdown::Write).unwrap();
        let told = Rc::new(RefCell::new(None));
        conn.send(Buffer::from("x"))
            .then({
                let told = Rc::clone(&told);
                move |done| *told.borrow_mut() = Some(done)
            })
            .unwrap();
        assert!(told.borrow().is_none(), "it ran in the call that started it");
        assert_eq!(alertable::sleep(LONG), Woken::Routines);
        let done = told.take().expect("the routine has run");
        assert_eq!((done.result, done.sent, &done.buffer[..]), (Err(Error::SHUTDOWN), 0, &b"x"[..]));
    });
}

#[test]
fn r01_each_thread_runs_its_own_routines() {
    // All receive from one datagram socket; who posted a receive hears of it, whoever else waits.
    watched(|| {
        let (socket, address) = free_udp();
        let wrong = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let here = thread::current().id();
                    let heard = Rc::new(RefCell::new(Vec::new()));
                    for _ in 0..20 {
                        let heard = Rc::clone(&heard);
                        socket
                            .recv_from(Buffer::with_capacity(8))
                            .then(move |_| heard.borrow_mut().push(thread::current().id()))
                            .unwrap();
                    }
                    run_until("its twenty datagrams", || heard.borrow().len() == 20);
                    wrong.fetch_add(heard.borrow().iter().filter(|id| **id != here).count(), Ordering::SeqCst);
                });
            }
            let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            for _ in 0..60 {
                sender.send_to(b"datagram", address).unwrap();
            }
        });
        assert_eq!(wrong.into_inner(), 0);
    });
}

// One queue

#[test]
fn r02_one_wait_runs_all_that_is_queued_first_in_first_out() {
    watched(|| {
        let ran = Arc::new(Mutex::new(Vec::new()));
        for n in 0..100 {
            let ran = Arc::clone(&ran);
            queue_here(move || ran.lock().unwrap().push(n));
        }
        assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        assert_eq!(*ran.lock().unwrap(), (0..100).collect::<Vec<_>>());
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::TimeUp, "something was left");
    });
}

#[test]
fn r02_one_wait_runs_the_routines_of_all_operations_that_have_ended() {
    watched(|| {
        let log = Log::default();
        let _conns: Vec<_> = (0..50).map(|_| ended_send(&log, "sent")).collect();
        assert!(log.is_empty());
        assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        assert_eq!(log.take().len(), 50);
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::TimeUp, "something was left");
    });
}

#[test]
fn r02_routines_and_apcs_share_one_queue() {
    watched(|| {
        let log = Log::default();
        queue_here(log.apc("apc"));
        // Two operations that end one after the other; the first queues an APC, which comes behind the second.
        let (first, mut first_peer) = free_pair();
        first
            .send(Buffer::from("x"))
            .then({
                let log = log.clone();
                move |_| {
                    log.note("first routine");
                    queue_here(log.apc("apc of the first routine"));
                }
            })
            .unwrap();
        alertable::flush();
        first_peer.read_exact(&mut [0]).unwrap();
        let _second = ended_send(&log, "second routine");
        assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        assert_eq!(log.take(), ["apc", "first routine", "second routine", "apc of the first routine"]);
    });
}

#[test]
fn r02_what_a_thread_queues_to_itself_comes_behind_what_has_ended() {
    watched(|| {
        let log = Log::default();
        let _one = ended_send(&log, "routine");
        queue_here(log.apc("apc"));
        let _two = ended_send(&log, "second routine");
        queue_here(log.apc("second apc"));
        assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        assert_eq!(log.take(), ["routine", "apc", "second routine", "second apc"]);
    });
}

#[test]
fn r02_an_apc_of_another_thread_may_overtake_what_the_thread_has_not_looked_at() {
    // On Windows the kernel queues both, so the routine comes first. Here an end is queued when its thread looks into its ring, which
    // nobody else can do for it. All of it runs in one wait, as there.
    watched(|| {
        let log = Log::default();
        let _conn = ended_send(&log, "routine");
        let (here, apc) = (alertable::current(), log.apc("apc"));
        thread::spawn(move || alertable::queue_apc(&here, apc).unwrap()).join().unwrap();
        assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        let mut ran = log.take();
        ran.sort();
        assert_eq!(ran, ["apc", "routine"]);
    });
}

#[test]
fn r02_an_operation_that_a_routine_starts_is_told_in_this_wait_or_the_next() {
    // On Windows in this one, if it ends at once. Here the kernel may hear of it only with the next wait.
    watched(|| {
        fn receive(conn: &TcpStream, log: Log) {
            let routine = move |done: done::Received| {
                log.note(["a", "b", "c", "d"][usize::from(done.buffer[0] - b'a')]);
                if done.buffer[0] < b'd' {
                    receive(&done.conn, log);
                }
            };
            conn.recv(Buffer::with_capacity(1)).then(routine).unwrap();
        }
        let (conn, mut peer) = free_pair();
        peer.write_all(b"abcd").unwrap();
        let log = Log::default();
        receive(&conn, log.clone());
        for most in 1..=4 {
            assert_eq!(alertable::sleep(FOREVER), Woken::Routines, "the data is there: each wait has something to run");
            let ran = log.0.lock().unwrap().len();
            assert!(ran >= most, "a wait ran nothing");
            if ran == 4 {
                println!("{most} waits");
                break;
            }
        }
        assert_eq!(log.take(), ["a", "b", "c", "d"]);
    });
}

#[test]
fn r02_what_is_queued_by_what_runs_runs_in_the_same_wait() {
    watched(|| {
        fn chain(left: u32, ran: Arc<AtomicUsize>) {
            ran.fetch_add(1, Ordering::SeqCst);
            if left > 0 {
                queue_here(move || chain(left - 1, ran));
            }
        }
        let ran = Arc::new(AtomicUsize::new(0));
        let first = Arc::clone(&ran);
        queue_here(move || chain(999, first));
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::Routines);
        assert_eq!(ran.load(Ordering::SeqCst), 1000);
    });
}

#[test]
fn r02_apcs_of_many_threads_all_run_once_and_in_the_order_of_each() {
    // The target goes in and out of its waits all the time: no wake-up may be missed, or it sleeps with something queued.
    watched(|| {
        const EACH: usize = 5000;
        let (tell, told) = mpsc::channel();
        let target = thread::spawn(move || {
            tell.send(alertable::current()).unwrap();
            ORDERS.with_borrow_mut(|orders| *orders = vec![Vec::new(); 3]);
            while ORDERS.with_borrow(|orders| orders.iter().map(Vec::len).sum::<usize>() < 3 * EACH) {
                assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
            }
            ORDERS.take()
        });
        let thread = told.recv().unwrap();
        thread::scope(|scope| {
            for sender in 0..3 {
                let thread = &thread;
                scope.spawn(move || {
                    let mut random = Random(sender as u64);
                    for n in 0..EACH {
                        alertable::queue_apc(thread, move || ORDERS.with_borrow_mut(|orders| orders[sender].push(n)))
                            .unwrap();
                        if random.chance(20) {
                            thread::yield_now(); // lets the target fall asleep now and then
                        }
                    }
                });
            }
        });
        for order in target.join().unwrap() {
            assert_eq!(order, (0..EACH).collect::<Vec<_>>());
        }
    });
}

thread_local! {
    /// Which APCs of each sender have run on this thread, in order.
    static ORDERS: RefCell<Vec<Vec<usize>>> = const { RefCell::new(Vec::new()) };
}

// The waits

#[test]
fn r03_a_sleep_says_whether_time_was_up_or_something_ran() {
    watched(|| {
        assert_eq!(alertable::sleep(Duration::from_millis(5)), Woken::TimeUp);
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::TimeUp);
        let log = Log::default();
        queue_here(log.apc("apc"));
        let start = Instant::now();
        assert_eq!(alertable::sleep(Duration::from_secs(3600)), Woken::Routines);
        assert!(start.elapsed() < LONG, "it went on sleeping");
        assert_eq!(log.take(), ["apc"]);
        // An operation that ends while the thread sleeps wakes it, and one that times out.
        let (conn, mut peer) = free_pair();
        conn.recv(Buffer::with_capacity(8)).then(log.routine("received")).unwrap();
        let writer = thread::spawn(move || {
            thread::sleep(MOMENT);
            peer.write_all(b"x").unwrap();
            peer
        });
        assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        assert_eq!(log.take(), ["received"]);
        let _peer = writer.join().unwrap();
        conn.recv(Buffer::with_capacity(8)).within(MOMENT).then(log.routine("timed out")).unwrap();
        assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        assert_eq!(log.take(), ["timed out"]);
    });
}

#[test]
fn r03_a_sleep_of_zero_drains_the_queue() {
    watched(|| {
        let log = Log::default();
        queue_here(log.apc("one"));
        queue_here(log.apc("two"));
        let _conn = ended_send(&log, "sent");
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::Routines);
        assert_eq!(log.take(), ["one", "two", "sent"]);
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::TimeUp);
    });
}

#[test]
fn r03_a_wait_that_is_not_alertable_leaves_the_queue_alone() {
    watched(|| {
        let log = Log::default();
        let _conn = ended_send(&log, "routine");
        queue_here(log.apc("apc"));
        let (set, unset) = (Event::manual_reset(), Event::manual_reset());
        set.set();
        set.wait(FOREVER).unwrap();
        assert_eq!(unset.wait(Duration::ZERO), Err(Error::WAIT_TIMEOUT));
        assert_eq!(unset.wait(MOMENT), Err(Error::WAIT_TIMEOUT));
        assert_eq!(event::wait_any(&[&unset, &set], FOREVER), Ok(1));
        assert_eq!(event::wait_any(&[&unset, &unset], MOMENT), Err(Error::WAIT_TIMEOUT));
        assert_eq!(event::wait_all(&[&unset, &set], MOMENT), Err(Error::WAIT_TIMEOUT));
        let (conn, mut peer) = free_pair();
        let mut pending = conn.recv(Buffer::with_capacity(8)).signal(&Event::manual_reset()).unwrap();
        assert_eq!(pending.try_result().unwrap_err(), Error::IO_INCOMPLETE);
        assert_eq!(pending.wait_for(MOMENT).unwrap_err(), Error::WAIT_TIMEOUT);
        peer.write_all(b"x").unwrap();
        assert_eq!(pending.wait().result, Ok(1));
        assert!(block_on(conn.send(Buffer::from("x"))).result.is_ok());
        assert!(log.is_empty(), "something ran: {:?}", log.take());
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::Routines);
        let mut ran = log.take();
        ran.sort();
        assert_eq!(ran, ["apc", "routine"]);
    });
}

#[test]
fn p14_a_dequeue_runs_no_routine_and_no_apc() {
    watched(|| {
        let port: CompletionPort<(), u32> = CompletionPort::builder().concurrency(1).build().unwrap();
        let log = Log::default();
        queue_here(log.apc("apc"));
        assert_eq!(port.dequeue(MOMENT).unwrap_err(), Error::WAIT_TIMEOUT);
        port.post(5).unwrap();
        assert_eq!(posted(&port), 5);
        assert!(log.is_empty());
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::Routines);
    });
}

/// What an alertable dequeue says: a message, or that routines or APCs ran.
fn alerted(port: &CompletionPort<(), u32>) -> Option<u32> {
    match port.dequeue_alertable(LONG) {
        Ok(Packet::Posted(message)) => Some(message),
        Err(Error::WAIT_IO_COMPLETION) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn p14_an_alertable_dequeue_takes_a_packet_or_runs_what_is_queued() {
    watched(|| {
        let port: CompletionPort<(), u32> = CompletionPort::builder().concurrency(1).build().unwrap();
        let log = Log::default();
        // A thread that has not dequeued here before runs its APCs first.
        port.post(1).unwrap();
        queue_here(log.apc("first"));
        assert_eq!(alerted(&port), None);
        assert_eq!(log.take(), ["first"]);
        assert_eq!(alerted(&port), Some(1));
        // After that packets come first, and what is queued stays.
        port.post(2).unwrap();
        port.post(3).unwrap();
        queue_here(log.apc("later"));
        queue_here(log.apc("at once"));
        let mut packets = Vec::new();
        assert_eq!(port.dequeue_batch_alertable(&mut packets, 8, None), Ok(2));
        assert!(log.is_empty());
        assert_eq!(port.dequeue_batch_alertable(&mut packets, 8, None), Err(Error::WAIT_IO_COMPLETION));
        assert_eq!(log.take(), ["later", "at once"]);
        let (_conn, _peer) = ended_send(&log, "sent");
        assert_eq!(alerted(&port), None);
        assert_eq!(log.take(), ["sent"]);
        // Polls look at both, and a wait in vain takes its time.
        assert_eq!(port.dequeue_alertable(Duration::ZERO).unwrap_err(), Error::WAIT_TIMEOUT);
        queue_here(log.apc("polled"));
        assert_eq!(port.dequeue_alertable(Duration::ZERO).unwrap_err(), Error::WAIT_IO_COMPLETION);
        assert_eq!(log.take(), ["polled"]);
        let begun = Instant::now();
        assert_eq!(port.dequeue_alertable(MOMENT).unwrap_err(), Error::WAIT_TIMEOUT);
        assert!(begun.elapsed() >= MOMENT);
        port.close();
        queue_here(log.apc("never asked for"));
        assert_eq!(port.dequeue_alertable(None).unwrap_err(), Error::ABANDONED_WAIT);
        assert!(log.is_empty());
    });
}

#[test]
fn p14_an_alertable_dequeue_hears_of_everything_while_it_sleeps() {
    // A packet, an APC and the end of an operation with a routine come at random moments, also just when the thread goes to sleep.
    watched(|| {
        const ROUNDS: u32 = 300;
        let port: Arc<CompletionPort<(), u32>> = Arc::new(CompletionPort::builder().concurrency(1).build().unwrap());
        let (conn, mut peer) = free_pair();
        let (tell, heard) = mpsc::channel();
        let theirs = Arc::clone(&port);
        let sleeper = alertable::spawn(move || {
            fn receive(conn: &TcpStream, tell: mpsc::Sender<&'static str>) {
                let again = conn.clone();
                let routine = move |done: done::Received| {
                    if done.result == Ok(1) {
                        tell.send("data").unwrap();
                        receive(&again, tell);
                    }
                };
                conn.recv(Buffer::with_capacity(1)).then(routine).unwrap();
            }
            receive(&conn, tell.clone());
            loop {
                match alerted(&theirs) {
                    Some(u32::MAX) => return,
                    Some(_) => tell.send("packet").unwrap(),
                    None => {}
                }
            }
        })
        .unwrap();
        let (queue, apcs) = mpsc::channel();
        let mut random = Random(14);
        for round in 0..ROUNDS {
            thread::sleep(Duration::from_micros(random.below(200)));
            match random.below(3) {
                0 => {
                    port.post(round).unwrap();
                    assert_eq!(heard.recv_timeout(LONG), Ok("packet"));
                }
                1 => {
                    let queue = queue.clone();
                    alertable::queue_apc(sleeper.thread(), move || queue.send(round).unwrap()).unwrap();
                    assert_eq!(apcs.recv_timeout(LONG), Ok(round));
                }
                _ => {
                    peer.write_all(b"x").unwrap();
                    assert_eq!(heard.recv_timeout(LONG), Ok("data"));
                }
            }
        }
        port.post(u32::MAX).unwrap();
        sleeper.join().unwrap();
    });
}

#[test]
fn p14_workers_without_a_lane_hear_of_apcs_too() {
    watched(|| {
        const WORKERS: usize = 3;
        let port: Arc<CompletionPort<(), u32>> = Arc::new(CompletionPort::builder().concurrency(1).build().unwrap());
        let (tell, told) = mpsc::channel();
        let workers: Vec<_> = (0..WORKERS)
            .map(|at| {
                let (port, builder) = (Arc::clone(&port), thread::Builder::new().name(format!("worker {at}")));
                alertable::spawn_from(builder, move || while alerted(&port) != Some(0) {}).unwrap()
            })
            .collect();
        for round in 0..20 {
            for (at, worker) in workers.iter().enumerate() {
                let tell = tell.clone();
                let apc = move || tell.send(thread::current().name().map(str::to_owned)).unwrap();
                alertable::queue_apc(worker.thread(), apc).unwrap();
                assert_eq!(told.recv_timeout(LONG), Ok(Some(format!("worker {at}"))), "round {round}");
            }
        }
        (0..WORKERS).for_each(|_| port.post(0).unwrap());
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
#[cfg_attr(windows, ignore = "it asks Linux how often a thread has slept")]
fn p14_a_thread_that_dequeues_alertably_sleeps_until_there_is_something() {
    watched(|| {
        let port: Arc<CompletionPort<(), u32>> = Arc::new(CompletionPort::builder().concurrency(1).build().unwrap());
        let (conn, mut peer) = free_pair();
        let theirs = Arc::clone(&port);
        let thread = alertable::spawn(move || {
            conn.recv(Buffer::with_capacity(8)).then(|_| ()).unwrap();
            let before = sleeps_so_far();
            assert_eq!(alerted(&theirs), None);
            sleeps_so_far() - before
        })
        .unwrap();
        thread::sleep(Duration::from_secs(1));
        peer.write_all(b"x").unwrap();
        let slept = thread.join().unwrap();
        assert!((1..50).contains(&slept), "it slept {slept} times in a second");
    });
}

/// Two sends with routines, more than goes at once, to a peer that reads all of it: the second cannot begin before the first has ended,
/// and each goes in many pieces. `wait` gets what the reader will do when it has everything.
fn sends_while(wait: impl FnOnce(mpsc::Sender<Box<dyn FnOnce() + Send>>)) {
    const LEN: usize = 2 << 20;
    let (conn, mut peer) = free_pair();
    conn.options(|socket| socket.set_send_buffer_size(1 << 16)).unwrap();
    let told = Rc::new(RefCell::new(Vec::new()));
    for n in 0..2 {
        let told = Rc::clone(&told);
        conn.send(Buffer::from(pattern(3, (n * LEN) as u64, LEN)))
            .then(move |done| told.borrow_mut().push((n, done.result)))
            .unwrap();
    }
    let (tell, told_what) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let reader = thread::spawn(move || {
        read_pattern(&mut peer, 3, 0, 2 * LEN);
        told_what.recv().unwrap()();
    });
    wait(tell);
    reader.join().unwrap();
    assert!(told.borrow().is_empty(), "a routine ran in a wait that is not alertable");
    run_until("both routines", || told.borrow().len() == 2);
    assert_eq!(*told.borrow(), [(0, Ok(LEN)), (1, Ok(LEN))]);
}

#[test]
fn r03_waits_that_are_not_alertable_push_forward_the_operations_of_routines() {
    // On Windows the kernel goes on by itself, whatever the thread does.
    watched(|| {
        let set_when_read = |tell: mpsc::Sender<Box<dyn FnOnce() + Send>>| {
            let (event, clone) = (Event::manual_reset(), Event::manual_reset());
            clone.set();
            let there = event.clone();
            tell.send(Box::new(move || there.set())).unwrap();
            (event, clone)
        };
        sends_while(|tell| set_when_read(tell).0.wait(FOREVER).unwrap());
        sends_while(|tell| assert_eq!(event::wait_any(&[&set_when_read(tell).0], FOREVER), Ok(0)));
        sends_while(|tell| {
            let (event, set) = set_when_read(tell);
            event::wait_all(&[&event, &set], FOREVER).unwrap();
        });
        for limited in [false, true] {
            sends_while(|tell| {
                let (conn, mut peer) = free_pair();
                let mut pending = conn.recv(Buffer::with_capacity(1)).signal(&Event::manual_reset()).unwrap();
                tell.send(Box::new(move || peer.write_all(b"x").unwrap())).unwrap();
                let done = if limited { pending.wait_for(LONG).unwrap() } else { pending.wait() };
                assert_eq!(done.result, Ok(1));
            });
        }
        sends_while(|tell| {
            let port: Arc<CompletionPort<(), ()>> = Arc::new(CompletionPort::builder().concurrency(1).build().unwrap());
            let poster = Arc::clone(&port);
            tell.send(Box::new(move || poster.post(()).unwrap())).unwrap();
            posted(&port);
        });
    });
}

#[test]
fn r03_a_flush_hands_over_what_was_started_to_a_thread_that_waits_for_something_else() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let log = Log::default();
        conn.send(Buffer::from("flushed")).then(log.routine("sent")).unwrap();
        alertable::flush();
        let mut bytes = [0; 7];
        peer.read_exact(&mut bytes).unwrap(); // a call that the library knows nothing of
        assert_eq!(&bytes, b"flushed");
        assert_eq!(alertable::sleep(LONG), Woken::Routines);
        assert_eq!(log.take(), ["sent"]);
    });
}

#[test]
#[cfg_attr(windows, ignore = "it asks Linux for the processor time of a thread")]
fn r03_a_thread_that_sleeps_for_ever_uses_no_processor() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let thread = alertable::spawn(move || {
            let done = Rc::new(Cell::new(false));
            let flag = Rc::clone(&done);
            conn.recv(Buffer::with_capacity(8)).then(move |_| flag.set(true)).unwrap();
            let start = Instant::now();
            let before = processor_time();
            while !done.get() {
                alertable::sleep(FOREVER);
            }
            (processor_time() - before, start.elapsed())
        })
        .unwrap();
        thread::sleep(Duration::from_secs(1));
        peer.write_all(b"x").unwrap();
        let (used, passed) = thread.join().unwrap();
        assert!(used < passed / 20, "{used:?} of processor time in {passed:?}");
    });
}

// What a routine may do

#[test]
fn r04_a_routine_may_start_operations_and_queue_apcs() {
    watched(|| {
        fn echo(conn: TcpStream, log: Log) {
            conn.recv(Buffer::with_capacity(8))
                .then(move |done| {
                    log.note("received");
                    if done.result != Ok(0) {
                        done.conn
                            .send(done.buffer)
                            .then(move |done| {
                                log.note("sent");
                                queue_here(log.apc("apc"));
                                echo(done.conn, log);
                            })
                            .unwrap();
                    }
                })
                .unwrap();
        }
        let (conn, mut peer) = free_pair();
        let log = Log::default();
        echo(conn, log.clone());
        let client = thread::spawn(move || {
            for offset in (0..24).step_by(8) {
                write_pattern(&mut peer, 4, offset, 8);
                read_pattern(&mut peer, 4, offset, 8);
            }
        });
        let ended = || log.0.lock().unwrap().iter().filter(|what| **what == "received").count() == 4;
        run_until("the echo of three pieces, and the end", ended);
        client.join().unwrap();
        let once = ["received", "sent", "apc"];
        assert_eq!(log.take(), [&once[..], &once, &once, &["received"]].concat());
    });
}

#[test]
fn r04_a_routine_may_wait_alertably_which_runs_the_rest() {
    watched(|| {
        type Wait = fn();
        let waits: [Wait; 4] = [
            || assert_eq!(alertable::sleep(FOREVER), Woken::Routines),
            || {
                let event = Event::auto_reset();
                assert_eq!(alertable::wait_any(&[&event], FOREVER), Ok(Waited::Routines));
            },
            || {
                let (one, two) = (Event::auto_reset(), Event::auto_reset());
                assert_eq!(alertable::wait_all(&[&one, &two], FOREVER), Ok(Waited::Routines));
            },
            || {
                let (conn, _peer) = free_pair();
                let mut pending = conn.recv(Buffer::empty()).signal(&Event::manual_reset()).unwrap();
                assert_eq!(pending.wait_alertable(FOREVER).unwrap_err(), Error::WAIT_IO_COMPLETION);
            },
        ];
        for wait in waits {
            let log = Log::default();
            queue_here({
                let log = log.clone();
                move || {
                    log.note("outer begins");
                    wait();
                    log.note("outer ends");
                }
            });
            queue_here(log.apc("one"));
            queue_here(log.apc("two"));
            let _conn = ended_send(&log, "routine");
            assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
            assert_eq!(log.take(), ["outer begins", "one", "two", "routine", "outer ends"]);
            assert_eq!(alertable::sleep(Duration::ZERO), Woken::TimeUp);
        }
    });
}

#[test]
fn r04_a_routine_may_wait_without_being_alertable_which_leaves_the_rest_for_later() {
    watched(|| {
        let log = Log::default();
        queue_here({
            let log = log.clone();
            move || {
                log.note("begins");
                assert_eq!(Event::manual_reset().wait(MOMENT), Err(Error::WAIT_TIMEOUT));
                let (conn, mut peer) = free_pair();
                peer.write_all(b"x").unwrap();
                let pending = conn.recv(Buffer::with_capacity(8)).signal(&Event::manual_reset()).unwrap();
                assert_eq!(pending.wait().result, Ok(1));
                log.note("ends");
            }
        });
        queue_here(log.apc("next"));
        assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        assert_eq!(log.take(), ["begins", "ends", "next"]);
    });
}

#[test]
fn r04_a_routine_may_run_a_future_to_its_end() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        peer.write_all(b"question").unwrap();
        let log = Log::default();
        conn.recv(Buffer::with_capacity(8))
            .then({
                let log = log.clone();
                move |done| {
                    let done = alertable::block_on(async {
                        let done = done.conn.send(done.buffer).await;
                        done.conn.recv(Buffer::with_capacity(8)).await
                    });
                    assert_eq!(&done.buffer[..], b"answer");
                    log.note("done");
                }
            })
            .unwrap();
        let client = thread::spawn(move || {
            peer.read_exact(&mut [0; 8]).unwrap();
            peer.write_all(b"answer").unwrap();
            peer
        });
        run_until("the routine", || !log.is_empty());
        client.join().unwrap();
    });
}

#[test]
fn r04_a_routine_may_drop_its_own_stream() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        peer.write_all(b"x").unwrap();
        // The only owner: the operation has taken it along.
        conn.recv(Buffer::with_capacity(8)).then(|done| drop(done.conn)).unwrap();
        drop(conn);
        assert_eq!(alertable::sleep(LONG), Woken::Routines);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "it is closed");
    });
}

#[test]
fn r04_a_routine_may_close_its_stream_with_operations_in_flight() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let ends = Rc::new(RefCell::new(Vec::new()));
        conn.recv(Buffer::with_capacity(1)).then(|done| done.conn.close()).unwrap();
        for _ in 0..3 {
            let ends = Rc::clone(&ends);
            conn.recv(Buffer::with_capacity(1)).then(move |done| ends.borrow_mut().push(done.result)).unwrap();
        }
        peer.write_all(b"x").unwrap();
        run_until("all are told", || ends.borrow().len() == 3);
        assert_eq!(*ends.borrow(), [Err(Error::CONNECTION_ABORTED); 3]);
    });
}

// APCs and the events that a thread waits for

/// Starts a thread that says who it is and then calls `wait`, and returns when it sleeps.
fn waiting_thread<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> (Thread, thread::JoinHandle<T>) {
    let (tell, told) = mpsc::channel();
    let handle = thread::spawn(move || {
        tell.send((alertable::current(), this_thread())).unwrap();
        wait()
    });
    let (thread, id) = told.recv().unwrap();
    wait_until("the thread sleeps", || sleeps(id));
    (thread, handle)
}

#[test]
fn r05_an_apc_ends_a_wait_and_its_event_stays_even_if_the_apc_sets_it() {
    watched(|| {
        let (event, other) = (Event::auto_reset(), Event::auto_reset());
        other.set();
        type Wait = fn(&Event, &Event) -> overlapped::Result<Waited>;
        let waits: [Wait; 3] = [
            |event, _| alertable::wait_any(&[event], FOREVER),
            |event, _| alertable::wait_any(&[event, &Event::manual_reset()], LONG),
            |event, other| alertable::wait_all(&[event, other], FOREVER),
        ];
        for wait in waits {
            event.reset();
            let (here, there) = (event.clone(), other.clone());
            let (thread, handle) = waiting_thread(move || wait(&here, &there));
            let sets = event.clone();
            alertable::queue_apc(&thread, move || sets.set()).unwrap();
            assert_eq!(handle.join().unwrap(), Ok(Waited::Routines));
            assert!(event.is_set() && other.is_set(), "an event was consumed");
        }
    });
}

#[test]
fn r05_an_apc_ends_the_wait_for_an_operation_which_can_be_waited_for_again() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let (thread, handle) = waiting_thread(move || {
            let mut pending = conn.recv(Buffer::with_capacity(8)).signal(&Event::manual_reset()).unwrap();
            let first = pending.wait_alertable(FOREVER).map(|done| done.result);
            (first, pending.wait_alertable(FOREVER).map(|done| done.result))
        });
        // The APC itself lets the operation end.
        alertable::queue_apc(&thread, move || peer.write_all(b"x").unwrap()).unwrap();
        assert_eq!(handle.join().unwrap(), (Err(Error::WAIT_IO_COMPLETION), Ok(Ok(1))));
    });
}

#[test]
fn r05_an_event_that_is_set_already_is_returned_and_the_apc_stays() {
    watched(|| {
        let (one, two) = (Event::auto_reset(), Event::auto_reset());
        let log = Log::default();
        let _conn = ended_send(&log, "routine");
        queue_here(log.apc("apc"));
        two.set();
        assert_eq!(alertable::wait_any(&[&one, &two], FOREVER), Ok(Waited::Signalled(1)));
        assert!(!two.is_set());
        one.set();
        two.set();
        assert_eq!(alertable::wait_all(&[&one, &two], FOREVER), Ok(Waited::Signalled(0)));
        let (conn, mut peer) = free_pair();
        peer.write_all(b"x").unwrap();
        let event = Event::manual_reset();
        let mut pending = conn.recv(Buffer::with_capacity(8)).signal(&event).unwrap();
        event.wait(LONG).unwrap();
        assert_eq!(pending.wait_alertable(FOREVER).unwrap().result, Ok(1));
        assert!(log.is_empty(), "something ran although the event was set: {:?}", log.take());
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::Routines);
        assert_eq!(log.take().len(), 2);
    });
}

#[test]
fn r05_an_apc_that_is_queued_already_ends_the_wait_at_once() {
    watched(|| {
        let event = Event::auto_reset();
        for timeout in [Some(Duration::ZERO), Some(LONG), FOREVER] {
            let log = Log::default();
            queue_here(log.apc("apc"));
            assert_eq!(alertable::wait_any(&[&event], timeout), Ok(Waited::Routines));
            assert_eq!(log.take(), ["apc"]);
        }
        assert_eq!(alertable::wait_any(&[&event], Duration::ZERO), Err(Error::WAIT_TIMEOUT));
        // A wait that is not valid runs nothing.
        let log = Log::default();
        queue_here(log.apc("apc"));
        assert_eq!(alertable::wait_any(&[], FOREVER), Err(Error::INVALID_PARAMETER));
        assert_eq!(alertable::wait_all(&[&event, &event], FOREVER), Err(Error::INVALID_PARAMETER));
        assert!(log.is_empty());
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::Routines);
    });
}

#[test]
fn r05_a_set_and_an_apc_that_race_are_both_seen() {
    // One comes first and ends the wait; the other is still there for the next.
    watched(|| {
        let event = Event::auto_reset();
        let rounds = 2000;
        let (seen, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (there, seen_there, ran_there) = (event.clone(), Arc::clone(&seen), Arc::clone(&ran));
        let (thread, handle) = waiting_thread(move || {
            while seen_there.load(Ordering::SeqCst) + ran_there.load(Ordering::SeqCst) < 2 * rounds {
                match alertable::wait_any(&[&there], FOREVER).unwrap() {
                    Waited::Signalled(0) => {
                        seen_there.fetch_add(1, Ordering::SeqCst);
                    }
                    Waited::Signalled(index) => panic!("there is no event {index}"),
                    Waited::Routines => {}
                }
            }
        });
        for round in 1..=rounds {
            let ran_there = Arc::clone(&ran);
            let apc = move || {
                ran_there.fetch_add(1, Ordering::SeqCst);
            };
            thread::scope(|scope| {
                scope.spawn(|| event.set());
                alertable::queue_apc(&thread, apc).unwrap();
            });
            wait_until("both are seen", || (seen.load(Ordering::SeqCst), ran.load(Ordering::SeqCst)) == (round, round));
        }
        handle.join().unwrap();
    });
}

// Before a thread runs, and after

#[test]
fn r06_an_apc_that_is_queued_before_the_thread_first_waits_runs_in_that_wait() {
    watched(|| {
        let (tell, told) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let log = Log::default();
        let there = log.clone();
        let handle = thread::spawn(move || {
            tell.send(alertable::current()).unwrap();
            gone.recv().unwrap();
            assert!(there.is_empty(), "it ran outside of an alertable wait");
            alertable::sleep(FOREVER)
        });
        alertable::queue_apc(&told.recv().unwrap(), log.apc("apc")).unwrap();
        go.send(()).unwrap();
        assert_eq!(handle.join().unwrap(), Woken::Routines);
        assert_eq!(log.take(), ["apc"]);
    });
}

#[test]
fn r06_an_apc_that_is_queued_before_the_thread_runs_is_called_before_its_function() {
    // The thread may be quicker than the call that queues; then the APC runs in the wait below. Once it has to be slower.
    watched(|| {
        let before = AtomicBool::new(false);
        wait_until("an APC is queued before its thread runs", || {
            let log = Log::default();
            let there = log.clone();
            let handle = alertable::spawn(move || {
                let queued_before = !there.is_empty();
                there.note("function");
                if !queued_before {
                    assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
                }
                queued_before
            })
            .unwrap();
            alertable::queue_apc(handle.thread(), log.apc("apc")).unwrap();
            let queued_before = handle.join().unwrap();
            let order = if queued_before { ["apc", "function"] } else { ["function", "apc"] };
            assert_eq!(log.take(), order);
            before.fetch_or(queued_before, Ordering::SeqCst);
            queued_before
        });
        assert!(before.into_inner());
    });
}

#[test]
fn r06_a_spawned_thread_gives_back_what_its_function_returned_or_its_panic() {
    watched(|| {
        let handle = alertable::spawn(alertable::current).unwrap();
        let (outside, inside) = (handle.thread().clone(), handle.join().unwrap());
        for thread in [outside, inside] {
            assert_eq!(alertable::queue_apc(&thread, || {}), Err(Error::GEN_FAILURE));
        }
        let handle = alertable::spawn(|| assert!(MOMENT.is_zero(), "of the function")).unwrap();
        let thread = handle.thread().clone();
        assert_eq!(panic_text(handle.join().unwrap_err()), "of the function");
        assert_eq!(alertable::queue_apc(&thread, || {}), Err(Error::GEN_FAILURE));
    });
}

#[test]
fn r06_a_thread_that_has_ended_takes_no_apc_and_the_apc_is_dropped() {
    watched(|| {
        let thread = thread::spawn(alertable::current).join().unwrap();
        let token = Arc::new(());
        let inside = Arc::clone(&token);
        let error = alertable::queue_apc(&thread, move || drop(inside)).unwrap_err();
        assert_eq!((error, error.code()), (Error::GEN_FAILURE, 31));
        assert_eq!(Arc::strong_count(&token), 1);
    });
}

#[test]
fn r06_what_is_queued_to_a_thread_that_never_waits_vanishes_with_it() {
    watched(|| {
        let token = Arc::new(());
        let inside = Arc::clone(&token);
        let (tell, told) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let handle = thread::spawn(move || {
            let here = alertable::current();
            tell.send(here.clone()).unwrap();
            alertable::queue_apc(&here, move || unreachable!("{inside:?} without an alertable wait")).unwrap();
            gone.recv().unwrap();
        });
        let thread = told.recv().unwrap();
        for _ in 0..10 {
            let inside = Arc::clone(&token);
            alertable::queue_apc(&thread, move || unreachable!("{inside:?} without an alertable wait")).unwrap();
        }
        assert_eq!(Arc::strong_count(&token), 12);
        go.send(()).unwrap();
        handle.join().unwrap();
        assert_eq!(Arc::strong_count(&token), 1, "with the thread, not with the last handle of it: that is still here");
        drop(thread);
    });
}

/// Notes the thread on which it is dropped. It cannot leave the one where it was made.
struct Here {
    dropped_on: Arc<Mutex<Vec<ThreadId>>>,
    _not_send: Rc<()>,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.dropped_on.lock().unwrap().push(thread::current().id());
    }
}

#[test]
fn r06_routines_that_never_ran_are_dropped_on_their_own_thread() {
    watched(|| {
        let dropped_on = Arc::new(Mutex::new(Vec::new()));
        let there = Arc::clone(&dropped_on);
        let (conn, mut peer) = free_pair();
        peer.write_all(b"x").unwrap();
        let id = thread::spawn(move || {
            let (never, _peer) = free_pair();
            // One that has ended, one that was handed over and pends, one that waits in line, one that was not handed over.
            for (number, conn) in [&conn, &never, &never, &conn].into_iter().enumerate() {
                let here = Here { dropped_on: Arc::clone(&there), _not_send: Rc::new(()) };
                conn.recv(Buffer::with_capacity(8)).then(move |_| unreachable!("{:?}", here._not_send)).unwrap();
                if number == 2 {
                    alertable::flush();
                }
            }
            assert!(there.lock().unwrap().is_empty());
            thread::current().id()
        })
        .join()
        .unwrap();
        assert_eq!(*dropped_on.lock().unwrap(), [id; 4]);
    });
}

#[test]
fn r06_apcs_that_race_with_the_end_of_their_thread_run_or_are_dropped_once() {
    struct Token(Arc<AtomicUsize>);
    impl Drop for Token {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    watched(|| {
        let mut random = Random(6);
        let (mut taken_in_all, mut refused_in_all) = (0, 0);
        for round in 0..300 {
            let (dropped, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let handle = alertable::spawn(move || {
                for _ in 0..round % 4 {
                    alertable::sleep(Duration::ZERO);
                }
            })
            .unwrap();
            let thread = handle.thread().clone();
            let (mut taken, mut refused) = (0, 0);
            while refused < 3 {
                let (token, ran) = (Token(Arc::clone(&dropped)), Arc::clone(&ran));
                let apc = move || {
                    let _token = token;
                    ran.fetch_add(1, Ordering::SeqCst);
                };
                match alertable::queue_apc(&thread, apc) {
                    Ok(()) => taken += 1,
                    Err(_) => refused += 1,
                }
                // Slower than they run, or a wait that runs all that is queued would never end.
                thread::sleep(Duration::from_micros(random.below(50)));
            }
            handle.join().unwrap();
            assert!(ran.load(Ordering::SeqCst) <= taken);
            assert_eq!(dropped.load(Ordering::SeqCst), taken + refused, "round {round}");
            taken_in_all += taken;
            refused_in_all += refused;
        }
        assert!(taken_in_all > 0 && refused_in_all > 0);
    });
}

#[test]
fn r06_a_thread_that_ends_may_call_the_library_from_what_is_dropped_then() {
    // In the drop of what was queued, and in that of the program's own thread-local values, which may come before or after the library's.
    struct Calls(Arc<AtomicUsize>);
    impl Drop for Calls {
        fn drop(&mut self) {
            let here = alertable::current();
            let _ = alertable::queue_apc(&here, || {}); // it may be too late
            let _ = alertable::sleep(Duration::ZERO);
            alertable::flush();
            let event = Event::auto_reset();
            event.set();
            event.wait(LONG).unwrap();
            let (conn, mut peer) = free_pair();
            let _ = conn.recv(Buffer::with_capacity(8)).then(|_| {}); // nor can this be sure of ever being told
            let pending = conn.send(Buffer::from("last words")).signal(&event).unwrap();
            assert_eq!(pending.wait().result, Ok(10));
            peer.read_exact(&mut [0; 10]).unwrap();
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local! {
        static EARLY: RefCell<Option<Calls>> = const { RefCell::new(None) };
        static LATE: RefCell<Option<Calls>> = const { RefCell::new(None) };
    }
    watched(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let there = Arc::clone(&calls);
        thread::spawn(move || {
            let calls = || Calls(Arc::clone(&there));
            EARLY.set(Some(calls()));
            let (apc, routine) = (calls(), calls());
            queue_here(move || drop(apc));
            let (conn, _peer) = free_pair();
            conn.recv(Buffer::with_capacity(8)).then(move |_| drop(routine)).unwrap();
            LATE.set(Some(calls()));
        })
        .join()
        .unwrap();
        wait_until("all four have been dropped", || calls.load(Ordering::SeqCst) == 4);
    });
}

// What a routine gets

/// What the routine of an operation is called with.
fn outcome<T: Done>(operation: Operation<T>) -> T {
    let told = Rc::new(RefCell::new(None));
    let here = Rc::clone(&told);
    operation.then(move |done| *here.borrow_mut() = Some(done)).unwrap();
    run_until("the routine", || told.borrow().is_some());
    told.take().unwrap()
}

#[test]
fn r07_a_routine_gets_the_handle_the_buffer_and_the_outcome_of_every_operation() {
    watched(|| {
        let (listener, address) = free_listener();
        let mut client = connect(address);
        let done = outcome(listener.accept());
        assert_eq!(done.listener.local_addr(), Ok(address));
        let conn = done.result.unwrap();
        assert_eq!(conn.peer_addr(), Ok(client.local_addr().unwrap()));

        let connecting = TcpStream::unconnected(address).unwrap();
        let done = outcome(connecting.connect(address));
        assert_eq!((done.result, done.conn.peer_addr()), (Ok(()), Ok(address)));

        client.write_all(b"bytes").unwrap();
        let done = outcome(conn.recv(Buffer::with_capacity(77)));
        assert_eq!((done.result, &done.buffer[..], done.buffer.capacity()), (Ok(5), &b"bytes"[..], 77));
        let pool = BufferPool::new(16, 4).unwrap();
        client.write_all(b"pooled").unwrap();
        let done = outcome(done.conn.recv_pooled(&pool));
        assert_eq!((done.result, &done.buffer[..]), (Ok(6), &b"pooled"[..]));

        let done = outcome(done.conn.send(Buffer::from("out")));
        assert_eq!((done.result, done.sent, &done.buffer[..]), (Ok(3), 3, &b"out"[..]));
        let buffers = vec![Buffer::from("o"), Buffer::from("ut")];
        let done = outcome(done.conn.send_vectored(buffers));
        assert_eq!((done.result, done.sent, done.buffers.len()), (Ok(3), 3, 2));
        client.read_exact(&mut [0; 6]).unwrap();

        let (socket, here) = free_udp();
        let done = outcome(socket.send_to(Buffer::from("datagram"), here));
        assert_eq!((done.result, &done.buffer[..]), (Ok(8), &b"datagram"[..]));
        let done = outcome(done.socket.recv_from(Buffer::with_capacity(16)));
        assert_eq!((done.result, &done.buffer[..]), (Ok((8, here)), &b"datagram"[..]));

        let path = std::env::temp_dir().join(format!("overlapped-routines-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let done = outcome(file.write_at(Buffer::from("written"), 5));
        assert_eq!((done.result, done.written, &done.buffer[..]), (Ok(7), 7, &b"written"[..]));
        let done = outcome(done.file.sync(false));
        assert_eq!(done.result, Ok(()));
        let done = outcome(done.file.read_at(Buffer::with_capacity(4), 7));
        assert_eq!((done.result, &done.buffer[..]), (Ok(4), &b"itte"[..]));
    });
}

#[test]
fn r07_a_routine_of_a_failure_gets_the_error_and_no_bytes() {
    watched(|| {
        let (conn, peer) = free_pair();
        reset(peer);
        let done = outcome(conn.recv(Buffer::with_capacity(77)));
        assert_eq!((done.result, done.buffer.len(), done.buffer.capacity()), (reset_before(), 0, 77));
        let done = outcome(done.conn.send(Buffer::from("out")));
        assert_eq!((done.result, done.sent, &done.buffer[..]), (Err(Error::NETNAME_DELETED), 0, &b"out"[..]));
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let connecting = TcpStream::unconnected(nobody).unwrap();
        let done = outcome(connecting.connect(nobody));
        assert_eq!(done.result, Err(Error::CONNECTION_REFUSED));
        let (listener, _) = free_listener();
        let limit = Duration::from_millis(5);
        let done = outcome(listener.accept().within(limit));
        assert_eq!(done.result.unwrap_err(), Error::SEM_TIMEOUT);
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let done = outcome(file.read_at(Buffer::with_capacity(8), 1 << 40));
        assert_eq!(done.result, Err(Error::HANDLE_EOF));
    });
}

// Which waits are alertable

#[test]
fn r08_sleeps_waits_for_events_and_waits_for_operations_are_alertable() {
    watched(|| {
        let unset = Event::manual_reset();
        let (conn, _peer) = free_pair();
        let mut pending = conn.recv(Buffer::with_capacity(8)).signal(&Event::manual_reset()).unwrap();
        type Wait = fn(&Event, &mut Pending<done::Received>) -> bool;
        let waits: [Wait; 4] = [
            |_, _| alertable::sleep(FOREVER) == Woken::Routines,
            |unset, _| alertable::wait_any(&[unset], FOREVER) == Ok(Waited::Routines),
            |unset, _| alertable::wait_all(&[unset], FOREVER) == Ok(Waited::Routines),
            |_, pending| pending.wait_alertable(FOREVER).is_err_and(|error| error == Error::WAIT_IO_COMPLETION),
        ];
        for wait in waits {
            let log = Log::default();
            let _conn = ended_send(&log, "routine");
            queue_here(log.apc("apc"));
            assert!(wait(&unset, &mut pending));
            assert_eq!(log.take().len(), 2);
            // And a routine whose operation ends during the wait.
            let (conn, mut peer) = free_pair();
            conn.recv(Buffer::with_capacity(8)).then(log.routine("later")).unwrap();
            let writer = thread::spawn(move || {
                thread::sleep(MOMENT);
                peer.write_all(b"x").unwrap();
                peer
            });
            assert!(wait(&unset, &mut pending));
            assert_eq!(log.take(), ["later"]);
            writer.join().unwrap();
        }
    });
}

#[test]
fn r08_a_thread_that_runs_a_future_runs_routines_and_apcs_meanwhile() {
    watched(|| {
        let log = Log::default();
        queue_here(log.apc("apc before"));
        let (routines, mut routines_peer) = free_pair();
        routines.recv(Buffer::with_capacity(8)).then(log.routine("routine")).unwrap();
        let (conn, mut peer) = free_pair();
        let here = alertable::current();
        let there = log.clone();
        let other = thread::spawn(move || {
            alertable::queue_apc(&here, there.apc("apc meanwhile")).unwrap();
            routines_peer.write_all(b"x").unwrap();
            wait_until("all three have run", || there.0.lock().unwrap().len() == 3);
            peer.write_all(b"the end").unwrap();
            (peer, routines_peer)
        });
        // They do not end it: it goes on until the future is ready.
        let done = alertable::block_on(conn.recv(Buffer::with_capacity(8)));
        assert_eq!(done.result, Ok(7));
        other.join().unwrap();
        assert_eq!(log.take().len(), 3);
    });
}

// Panics

#[test]
fn a_panic_goes_out_of_the_wait_and_leaves_the_rest_of_the_queue() {
    watched(|| {
        let event = Event::auto_reset();
        let (conn, _peer) = free_pair();
        let mut pending = conn.recv(Buffer::with_capacity(8)).signal(&Event::manual_reset()).unwrap();
        type Wait = fn(&Event, &mut Pending<done::Received>);
        let waits: [Wait; 5] = [
            |_, _| panic!("a sleep ended: {:?}", alertable::sleep(FOREVER)),
            |event, _| panic!("a wait ended: {:?}", alertable::wait_any(&[event], FOREVER)),
            |event, _| panic!("a wait ended: {:?}", alertable::wait_all(&[event], FOREVER)),
            |_, pending| panic!("a wait ended: {:?}", pending.wait_alertable(FOREVER)),
            |_, _| alertable::block_on(std::future::pending()),
        ];
        for by_routine in [false, true] {
            for wait in waits {
                let log = Log::default();
                queue_here(log.apc("before"));
                let (conn, mut peer) = free_pair();
                if by_routine {
                    conn.send(Buffer::from("x")).then(|_| panic!("of the routine")).unwrap();
                    alertable::flush();
                    peer.read_exact(&mut [0]).unwrap();
                } else {
                    queue_here(|| panic!("of the APC"));
                }
                let _conn = ended_send(&log, "after");
                let panic = catch_unwind(AssertUnwindSafe(|| wait(&event, &mut pending))).unwrap_err();
                assert!(panic_text(panic).starts_with("of the "));
                assert_eq!(log.take(), ["before"]);
                assert_eq!(alertable::sleep(Duration::ZERO), Woken::Routines);
                assert_eq!(log.take(), ["after"]);
            }
        }
        // The thread is as good as before.
        assert_eq!(alertable::sleep(Duration::ZERO), Woken::TimeUp);
        assert_eq!(alertable::block_on(async { 5 }), 5);
    });
}

#[test]
fn a_panic_in_a_wait_inside_of_a_routine_goes_through_both() {
    watched(|| {
        let log = Log::default();
        queue_here({
            let log = log.clone();
            move || {
                log.note("outer");
                alertable::sleep(FOREVER);
                unreachable!("the wait ended in a panic");
            }
        });
        queue_here(|| panic!("inside"));
        queue_here(log.apc("rest"));
        let panic = catch_unwind(|| alertable::sleep(FOREVER)).unwrap_err();
        assert_eq!(panic_text(panic), "inside");
        assert_eq!(log.take(), ["outer"]);
        assert_eq!(alertable::sleep(FOREVER), Woken::Routines);
        assert_eq!(log.take(), ["rest"]);
    });
}

// All together

thread_local! {
    static STOP: Cell<bool> = const { Cell::new(false) };
}

/// Accepts connections and echoes, as long as this thread is not told to stop. No lock, no atomic: all of it is this thread's.
fn serve(listener: &TcpListener, pool: &BufferPool) -> usize {
    let served = Rc::new(Cell::new(0));
    accept(listener, pool.clone(), Rc::clone(&served));
    while !STOP.get() {
        alertable::sleep(FOREVER);
    }
    served.get()
}

fn accept(listener: &TcpListener, pool: BufferPool, served: Rc<Cell<usize>>) {
    listener
        .accept()
        .then(move |done| {
            echo(&done.result.expect("a connection"), pool.clone());
            served.set(served.get() + 1);
            accept(&done.listener, pool, served);
        })
        .unwrap();
}

fn echo(conn: &TcpStream, pool: BufferPool) {
    conn.recv_pooled(&pool)
        .then(move |done| {
            if done.result.expect("the stream goes on") > 0 {
                done.conn
                    .send(done.buffer)
                    .then(move |done| {
                        done.result.expect("the client takes it");
                        echo(&done.conn, pool);
                    })
                    .unwrap();
            }
        })
        .unwrap();
}

#[test]
fn an_echo_server_on_routines_serves_64_connections_with_one_thread_and_with_three() {
    watched(|| {
        for threads in [1, 3] {
            // Fewer buffers than connections: they go round.
            let pool = BufferPool::new(2048, 32).unwrap();
            let (listener, address) = free_listener();
            let servers: Vec<_> = (0..threads)
                .map(|_| {
                    let (listener, pool) = (listener.clone(), pool.clone());
                    alertable::spawn(move || serve(&listener, &pool)).unwrap()
                })
                .collect();
            echo_clients(address, 64, 50_000);
            for server in &servers {
                alertable::queue_apc(server.thread(), || STOP.set(true)).unwrap();
            }
            let served: Vec<_> = servers.into_iter().map(|server| server.join().unwrap()).collect();
            assert_eq!(served.iter().sum::<usize>(), 64, "{served:?}");
            wait_until("all buffers are back", || pool.available() == 32);
        }
    });
}
