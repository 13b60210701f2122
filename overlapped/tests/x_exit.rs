//! X and C11 for routines, events and futures: cancelling, closing, and the exit of a thread; and S02, their order when they are mixed.

mod common;

use std::cell::Cell;
use std::future::IntoFuture;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::alertable::{self, Woken};
use overlapped::done::{self, Done};
use overlapped::net::TcpStream;
use overlapped::{Buffer, BufferPool, Error, Event, Operation, OperationId, Pending};

// Cancelling

#[test]
fn x01_any_threads_operation_can_be_cancelled_however_its_end_is_told() {
    watched(|| {
        let (conn, _peer) = free_pair();
        let receive = || conn.recv(Buffer::with_capacity(123));
        let aborted = |done: &done::Received| {
            assert_eq!((done.result, done.buffer.capacity()), (Err(Error::OPERATION_ABORTED), 123));
        };
        let told = Rc::new(Cell::new(false));
        let here = Rc::clone(&told);
        let routine = receive()
            .then(move |done| {
                aborted(&done);
                here.set(true);
            })
            .unwrap();
        let event = Event::manual_reset();
        let pending = receive().signal(&event).unwrap();
        let mut future = receive().into_future();
        start(&mut future);
        thread::scope(|scope| {
            scope.spawn(|| {
                conn.cancel(pending.id()).unwrap();
                event.wait(LONG).unwrap();
                conn.cancel(routine).unwrap();
            });
        });
        aborted(&pending.wait());
        assert!(!told.get(), "the routine waits for its own thread");
        run_until("the routine", || told.get());
        future.cancel();
        aborted(&block_on(future));
        assert_eq!(conn.cancel_all(), Err(Error::NOT_FOUND));
    });
}

#[test]
fn x01_all_operations_of_a_handle_can_be_cancelled_at_once() {
    watched(|| {
        let (conn, _peer) = free_pair();
        let (other, mut other_peer) = free_pair();
        let told = Rc::new(Cell::new(0));
        let event = Event::manual_reset();
        let untouched = other.recv(Buffer::with_capacity(8)).signal(&event).unwrap();
        let pending: Vec<_> =
            (0..3).map(|_| conn.recv(Buffer::with_capacity(8)).signal(&Event::manual_reset()).unwrap()).collect();
        for _ in 0..3 {
            let told = Rc::clone(&told);
            conn.recv(Buffer::with_capacity(8))
                .then(move |done| {
                    assert_eq!(done.result, Err(Error::OPERATION_ABORTED));
                    told.set(told.get() + 1);
                })
                .unwrap();
        }
        conn.cancel_all().unwrap();
        for pending in pending {
            assert_eq!(pending.wait().result, Err(Error::OPERATION_ABORTED));
        }
        run_until("the routines", || told.get() == 3);
        assert_eq!(conn.cancel_all(), Err(Error::NOT_FOUND));
        other_peer.write_all(b"x").unwrap();
        assert_eq!(untouched.wait().result, Ok(1));
    });
}

#[test]
fn x01_what_has_ended_cannot_be_cancelled() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        let event = Event::manual_reset();
        let mut pending = conn.recv(Buffer::with_capacity(8)).signal(&event).unwrap();
        let id = pending.id();
        peer.write_all(b"x").unwrap();
        event.wait(LONG).unwrap();
        assert_eq!(pending.cancel(), Err(Error::NOT_FOUND), "ended, and not yet asked for");
        assert_eq!(pending.try_result().unwrap().result, Ok(1));
        assert_eq!((pending.cancel(), conn.cancel(id)), (Err(Error::NOT_FOUND), Err(Error::NOT_FOUND)));
        // An old id does not hit the next operation.
        let told = Rc::new(Cell::new(None));
        let here = Rc::clone(&told);
        conn.recv(Buffer::with_capacity(8)).then(move |done| here.set(Some(done.result))).unwrap();
        assert_eq!(conn.cancel(id), Err(Error::NOT_FOUND));
        peer.write_all(b"y").unwrap();
        run_until("the routine", || told.get().is_some());
        assert_eq!(told.get(), Some(Ok(1)));
    });
}

#[test]
fn x01_an_operation_that_the_kernel_has_not_seen_can_be_cancelled() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        peer.write_all(b"data").unwrap();
        let told = Rc::new(Cell::new(None));
        let here = Rc::clone(&told);
        let id = conn.recv(Buffer::with_capacity(8)).then(move |done| here.set(Some(done.result))).unwrap();
        let cancelled = conn.cancel(id);
        assert_eq!(told.get(), None, "a routine does not run in a call that cancels");
        run_until("the routine", || told.get().is_some());
        match told.get().unwrap() {
            Ok(4) => {}
            result => {
                assert_eq!((cancelled, result), (Ok(()), Err(Error::OPERATION_ABORTED)));
                assert_eq!(&block_on(conn.recv(Buffer::with_capacity(8))).buffer[..], b"data");
            }
        }
    });
}

#[test]
fn x02_closing_tells_each_operation_the_way_it_was_to_be_told() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        conn.options(|socket| socket.set_send_buffer_size(1 << 16)).unwrap();
        let told = Rc::new(Cell::new(None));
        let here = Rc::clone(&told);
        conn.recv(Buffer::with_capacity(8)).then(move |done| here.set(Some(done.result))).unwrap();
        let event = Event::manual_reset();
        let pending = conn.recv(Buffer::with_capacity(8)).signal(&event).unwrap();
        let mut future = conn.send(Buffer::from(vec![0; 8 << 20])).into_future();
        start(&mut future);
        conn.close();
        let aborted = Err(Error::CONNECTION_ABORTED);
        assert_eq!(block_on(future).result, aborted);
        assert_eq!(pending.wait().result, aborted);
        assert!(event.is_set());
        run_until("the routine", || told.get().is_some());
        assert_eq!(told.get(), Some(aborted));
        while peer.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
        // After that: each is told that there is no such handle, in its way.
        assert_eq!(block_on(conn.recv(Buffer::with_capacity(8))).result, Err(Error::INVALID_HANDLE));
        assert_eq!(conn.send(Buffer::from("x")).signal(&event).unwrap().wait().result, Err(Error::INVALID_HANDLE));
        let told = Rc::new(Cell::new(None));
        let here = Rc::clone(&told);
        conn.recv(Buffer::with_capacity(8)).then(move |done| here.set(Some(done.result))).unwrap();
        run_until("the routine", || told.get().is_some());
        assert_eq!(told.get(), Some(Err(Error::INVALID_HANDLE)));
        // A listener's accepts end with 995.
        let (listener, _) = free_listener();
        let pending = listener.accept().signal(&event).unwrap();
        listener.close();
        assert_eq!(pending.wait().result.unwrap_err(), Error::OPERATION_ABORTED);
    });
}

// The exit of a thread

/// Runs `work` on a thread of its own, to the end of that thread.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    // Joined by hand: the end of a scope does not wait for the destructors of a thread's local values.
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

#[test]
fn x04_a_threads_exit_cancels_the_operations_of_its_routines() {
    watched(|| {
        let pool = BufferPool::new(8, 6).unwrap();
        let (conn, mut peer) = free_pair();
        let (listener, address) = free_listener();
        let (socket, datagrams) = free_udp();
        let ran = Arc::new(AtomicUsize::new(0));
        let routine = || {
            let ran = Arc::clone(&ran);
            move || {
                ran.fetch_add(1, Ordering::SeqCst);
            }
        };
        on_a_thread(|| {
            for handed_over in [true, false] {
                let (one, two, three, four) = (routine(), routine(), routine(), routine());
                conn.recv(pool.take().unwrap()).then(move |_| one()).unwrap();
                conn.recv(pool.take().unwrap()).then(move |_| two()).unwrap(); // in line
                listener.accept().then(move |_| three()).unwrap();
                socket.recv_from(pool.take().unwrap()).then(move |_| four()).unwrap();
                if handed_over {
                    alertable::flush();
                }
            }
        });
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        // The operations are gone, with their buffers, and nothing of what comes now is lost.
        wait_until("the buffers are back", || pool.available() == 6);
        assert_eq!(Arc::strong_count(&ran), 1, "routines were left behind");
        for cancelled in [conn.cancel_all(), listener.cancel_all(), socket.cancel_all()] {
            assert_eq!(cancelled, Err(Error::NOT_FOUND));
        }
        peer.write_all(b"data").unwrap();
        assert_eq!(&block_on(conn.recv(Buffer::with_capacity(8))).buffer[..], b"data");
        let client = connect(address);
        let accepted = block_on(listener.accept()).result.unwrap();
        assert_eq!(accepted.peer_addr(), Ok(client.local_addr().unwrap()));
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"datagram", datagrams).unwrap();
        assert_eq!(&block_on(socket.recv_from(Buffer::with_capacity(8))).buffer[..], b"datagram");
    });
}

#[test]
fn x04_what_had_come_in_for_a_routine_that_never_ran_is_the_next_receives() {
    // X02: the routine will never be told, so the data is "still in the socket".
    watched(|| {
        let pool = BufferPool::new(8, 8).unwrap();
        for pooled in [false, true] {
            let (conn, mut peer) = free_pair();
            let (listener, address) = free_listener();
            let (socket, datagrams) = free_udp();
            peer.write_all(b"one two ").unwrap();
            let client = connect(address);
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"datagram", datagrams).unwrap();
            on_a_thread(|| {
                for _ in 0..2 {
                    let receive = if pooled { conn.recv_pooled(&pool) } else { conn.recv(Buffer::with_capacity(4)) };
                    receive.then(|_| unreachable!("there was no alertable wait")).unwrap();
                }
                listener.accept().then(|_| unreachable!("there was no alertable wait")).unwrap();
                let receive = socket.recv_from(Buffer::with_capacity(8));
                receive.then(|_| unreachable!("there was no alertable wait")).unwrap();
                alertable::flush(); // they have ended, or are about to
                assert_eq!(Event::manual_reset().wait(MOMENT), Err(Error::WAIT_TIMEOUT)); // and now they are queued
            });
            peer.write_all(b"three").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            let mut bytes = Vec::new();
            loop {
                let done = block_on(conn.recv(Buffer::with_capacity(3)));
                if done.result.unwrap() == 0 {
                    break;
                }
                bytes.extend_from_slice(&done.buffer);
            }
            assert_eq!(bytes, b"one two three");
            let accepted = block_on(listener.accept()).result.unwrap();
            assert_eq!(accepted.peer_addr(), Ok(client.local_addr().unwrap()));
            assert_eq!(&block_on(socket.recv_from(Buffer::with_capacity(8))).buffer[..], b"datagram");
        }
    });
}

#[test]
fn x04_a_send_whose_routine_dies_with_its_thread_left_in_part_and_the_next_follows_it() {
    watched(|| {
        let (conn, mut peer) = free_pair();
        conn.options(|socket| socket.set_send_buffer_size(1 << 16)).unwrap();
        on_a_thread(|| {
            for seed in [20, 21] {
                let send = conn.send(Buffer::from(pattern(seed, 0, 4 << 20)));
                send.then(|_| unreachable!("there was no alertable wait")).unwrap();
            }
            alertable::flush();
        });
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            peer.read_to_end(&mut bytes).unwrap();
            bytes
        });
        assert_eq!(block_on(conn.send(Buffer::from(pattern(22, 0, 64)))).result, Ok(64));
        conn.shutdown(Shutdown::Write).unwrap();
        let bytes = reader.join().unwrap();
        let left = bytes.len() - 64;
        assert!(
            left < 4 << 20,
            "the peer read nothing before the thread's end, so the first cannot have gone as a whole"
        );
        assert_pattern(20, 0, &bytes[..left]);
        assert_pattern(22, 0, &bytes[left..]);
    });
}

#[test]
fn x04_operations_of_events_and_futures_outlive_the_thread_that_started_them() {
    // On Windows they are cancelled with it. Here they belong to whoever holds the `Pending` or the future.
    watched(|| {
        let pool = BufferPool::new(16, 4).unwrap();
        let event = Event::manual_reset();
        let (one, mut one_peer) = free_pair();
        let (two, mut two_peer) = free_pair();
        let (three, mut three_peer) = free_pair();
        let (pending, outside, inside) = on_a_thread(|| {
            let pending = one.recv_pooled(&pool).signal(&event).unwrap();
            let mut outside = two.recv(Buffer::with_capacity(8)).into_future();
            start(&mut outside);
            let mut inside = three.recv(Buffer::with_capacity(8)).into_future();
            alertable::block_on(async {
                start(&mut inside);
                smol::future::yield_now().await;
                start(&mut inside);
            });
            (pending, outside, inside)
        });
        thread::sleep(MOMENT);
        assert!(!event.is_set() && !pending.is_done(), "it ended with its thread");
        for peer in [&mut one_peer, &mut two_peer, &mut three_peer] {
            peer.write_all(b"data").unwrap();
        }
        assert_eq!(&pending.wait().buffer[..], b"data");
        assert_eq!(&block_on(outside).buffer[..], b"data");
        assert_eq!(&alertable::block_on(inside).buffer[..], b"data");
    });
}

#[test]
fn x04_an_operation_in_line_behind_one_that_dies_with_its_thread_goes_on() {
    watched(|| {
        for routines in 1..4 {
            let (conn, mut peer) = free_pair();
            let event = Event::manual_reset();
            let (tell, told) = mpsc::channel();
            let (go, gone) = mpsc::channel::<()>();
            let thread = thread::spawn({
                let (conn, event) = (conn.clone(), event.clone());
                move || {
                    for _ in 0..routines {
                        conn.recv(Buffer::with_capacity(4)).then(|_| unreachable!("no alertable wait")).unwrap();
                    }
                    alertable::flush();
                    tell.send(conn.recv(Buffer::with_capacity(4)).signal(&event).unwrap()).unwrap();
                    gone.recv().unwrap();
                }
            });
            let pending = told.recv().unwrap();
            assert!(!event.is_set());
            go.send(()).unwrap();
            thread.join().unwrap();
            peer.write_all(b"data").unwrap();
            assert_eq!(&pending.wait().buffer[..], b"data");
        }
    });
}

#[test]
fn x04_a_thread_ends_although_its_operations_never_would() {
    // Of every kind, all at once, cancelled and reaped in the exit.
    watched(|| {
        for _ in 0..50 {
            let (_full, full, _filler) = FULL.with(|full| full.clone());
            on_a_thread(|| {
                let keep = |_: &dyn std::any::Any| {};
                let (conn, _peer) = free_pair();
                conn.options(|socket| socket.set_send_buffer_size(4096)).unwrap();
                conn.recv(Buffer::with_capacity(8)).then(move |done| keep(&done)).unwrap();
                conn.send(Buffer::from(vec![0; 8 << 20])).then(move |done| keep(&done)).unwrap();
                let (listener, _) = free_listener();
                listener.accept().then(move |done| keep(&done)).unwrap();
                let (socket, _) = free_udp();
                socket.recv_from(Buffer::with_capacity(8)).then(move |done| keep(&done)).unwrap();
                TcpStream::unconnected(full).unwrap().connect(full).then(move |done| keep(&done)).unwrap();
                alertable::sleep(Duration::ZERO);
            });
        }
    });
}

type Full = (Arc<std::net::TcpListener>, std::net::SocketAddr, Arc<Vec<socket2::Socket>>);

thread_local! {
    /// A listener whose backlog is full, for all rounds.
    static FULL: Full = {
        let (listener, address, filler) = full_listener();
        (Arc::new(listener), address, Arc::new(filler))
    };
}

// Exactly one end

/// How the operations of the next test end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Data,
    Reset,
    PeerCloses,
    CancelEach,
    CancelAll,
    Close,
    Deadline,
    ThreadExit,
}

const ENDS: [End; 8] = [
    End::Data,
    End::Reset,
    End::PeerCloses,
    End::CancelEach,
    End::CancelAll,
    End::Close,
    End::Deadline,
    End::ThreadExit,
];

/// What became of routines. Each is told once, or dropped untold.
#[derive(Default)]
struct Routines {
    told: AtomicUsize,
    dropped: AtomicUsize,
}

struct Routine(Arc<Routines>);

impl Routine {
    fn tell(&self) {
        self.0.told.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Routine {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Operations whose ends others than routines hear of, and the ids of all that have one.
struct Others {
    ids: Vec<OperationId>,
    receives: Vec<Pending<done::Received>>,
    sends: Vec<Pending<done::Sent>>,
    receiving: Vec<Started<done::Received>>,
    sending: Vec<Started<done::Sent>>,
}

const EACH: usize = 4;

/// Starts so many receives and sends on one connection in each way.
fn start_in_each_way(conn: &TcpStream, end: End, routines: &Arc<Routines>) -> Others {
    fn limited<T: Done>(operation: Operation<T>, end: End) -> Operation<T> {
        if end == End::Deadline { operation.within(Duration::from_millis(5)) } else { operation }
    }
    let mut others = Others { ids: vec![], receives: vec![], sends: vec![], receiving: vec![], sending: vec![] };
    for n in 0..EACH {
        let receive = || limited(conn.recv(Buffer::with_capacity(4)), end);
        // Small ones that go at once, and one that does not.
        let send = || limited(conn.send(Buffer::from(vec![0; if n == 3 { 1 << 20 } else { 4 }])), end);
        let [received, sent] = [(); 2].map(|()| Routine(Arc::clone(routines)));
        others.ids.push(receive().then(move |_| received.tell()).unwrap());
        others.ids.push(send().then(move |_| sent.tell()).unwrap());
        others.receives.push(receive().signal(&Event::manual_reset()).unwrap());
        others.sends.push(send().signal(&Event::manual_reset()).unwrap());
        others.ids.extend([others.receives[n].id(), others.sends[n].id()]);
        others.receiving.push(Started::new(receive()));
        others.sending.push(Started::new(send()));
    }
    alertable::flush();
    others
}

fn all_end_once(end: End) {
    let (conn, mut peer) = free_pair();
    conn.options(|socket| socket.set_send_buffer_size(1 << 16)).unwrap(); // small, but not so small that all this takes seconds
    let routines = Arc::<Routines>::default();
    let mut others = match end {
        End::ThreadExit => on_a_thread(|| start_in_each_way(&conn, end, &routines)),
        _ => start_in_each_way(&conn, end, &routines),
    };
    match end {
        End::Data => {
            peer.write_all(&[1; 3 * 4 * EACH]).unwrap();
            thread::spawn(move || std::io::copy(&mut peer, &mut std::io::sink()));
        }
        End::Reset => reset(peer),
        End::PeerCloses => drop(peer),
        End::CancelEach => {
            for id in others.ids.drain(..).rev() {
                let _ = conn.cancel(id); // or it has ended
            }
            others.receiving.iter_mut().for_each(Started::cancel);
            others.sending.iter_mut().for_each(Started::cancel);
        }
        // Those of its routines are cancelled by the exit, the rest here.
        End::CancelAll | End::ThreadExit => conn.cancel_all().unwrap(),
        End::Close => conn.close(),
        End::Deadline => {}
    }
    let told = if end == End::ThreadExit { 0 } else { 2 * EACH };
    run_until(&format!("{end:?}: all routines are told"), || routines.told.load(Ordering::SeqCst) == told);
    for mut pending in others.receives {
        pending.wait_for(LONG).unwrap_or_else(|error| panic!("{end:?}: no end: {error}"));
        assert_eq!(pending.try_result().unwrap_err(), Error::INVALID_PARAMETER, "{end:?}: two ends");
    }
    for mut pending in others.sends {
        pending.wait_for(LONG).unwrap_or_else(|error| panic!("{end:?}: no end: {error}"));
        assert_eq!(pending.try_result().unwrap_err(), Error::INVALID_PARAMETER, "{end:?}: two ends");
    }
    others.receiving.into_iter().for_each(|future| drop(future.finish()));
    others.sending.into_iter().for_each(|future| drop(future.finish()));
    assert_eq!(alertable::sleep(Duration::ZERO), Woken::TimeUp, "{end:?}: something was told twice");
    assert_eq!(conn.cancel_all(), Err(Error::NOT_FOUND), "{end:?}: something is in flight still");
    assert_eq!(routines.told.load(Ordering::SeqCst), told, "{end:?}");
    assert_eq!(routines.dropped.load(Ordering::SeqCst), 2 * EACH, "{end:?}: routines were left behind");
}

#[test]
fn c11_every_operation_has_one_end_whatever_ends_it_and_however_it_is_told() {
    watched(|| {
        for _ in 0..20 {
            ENDS.into_iter().for_each(all_end_once);
        }
    });
}

// Order

/// What three threads share that start operations on one stream, each in all ways in turn.
struct Posting {
    conn: TcpStream,
    /// Held while an operation is started, so that the order of the calls is known.
    next: Mutex<(usize, u64)>,
    /// What each operation, by its number, received.
    received: Mutex<Vec<Vec<u8>>>,
}

const EACH_THREAD: usize = 60;

impl Posting {
    fn new(conn: TcpStream) -> Arc<Self> {
        Arc::new(Self { conn, next: Mutex::new((0, 0)), received: Mutex::new(vec![Vec::new(); 3 * EACH_THREAD]) })
    }

    /// Runs `work` on three threads at once.
    fn on_three_threads(self: &Arc<Self>, work: impl Fn(&Arc<Self>, Random) + Sync) {
        thread::scope(|scope| {
            for seed in 0..3 {
                let work = &work;
                scope.spawn(move || work(self, Random(seed)));
            }
        });
    }

    fn note(&self, number: usize, done: &done::Received) {
        let n = done.result.unwrap();
        assert!(n > 0 && n == done.buffer.len());
        let old = std::mem::replace(&mut self.received.lock().unwrap()[number], done.buffer.to_vec());
        assert!(old.is_empty(), "two ends of one receive");
    }
}

#[test]
fn s02_receives_are_filled_in_posting_order_however_their_ends_are_told() {
    watched(|| {
        for round in 0..10 {
            let (conn, mut peer) = free_pair();
            // More buffers than receives: ends that nobody has asked for yet keep theirs, and they are asked for last.
            let pool = BufferPool::new(50, 8 * EACH_THREAD).unwrap();
            let posting = Posting::new(conn);
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                let _over = Over(&over);
                scope.spawn(|| {
                    // The last receive to be served is served by the last byte that comes, so it writes until all are.
                    let (mut random, mut written) = (Random(round), 0);
                    while !over.load(Ordering::SeqCst) {
                        let piece = 1 + random.below(60);
                        write_pattern(&mut peer, round, written, piece as usize);
                        written += piece;
                        thread::sleep(Duration::from_micros(random.below(200)));
                    }
                });
                posting.on_three_threads(|posting, mut random| {
                    let told = Rc::new(Cell::new(0));
                    let (mut pending, mut futures) = (Vec::new(), Vec::new());
                    for _ in 0..EACH_THREAD {
                        let mut next = posting.next.lock().unwrap();
                        let number = next.0;
                        next.0 += 1;
                        let conn = &posting.conn;
                        let receive = match round % 2 == 1 && random.chance(50) {
                            true => conn.recv_pooled(&pool),
                            false => conn.recv(Buffer::with_capacity(1 + random.below(50) as usize)),
                        };
                        match number % 3 {
                            0 => {
                                let (there, told) = (Arc::clone(posting), Rc::clone(&told));
                                let routine = move |done| {
                                    there.note(number, &done);
                                    told.set(told.get() + 1);
                                };
                                receive.then(routine).unwrap();
                            }
                            1 => pending.push((number, receive.signal(&Event::manual_reset()).unwrap())),
                            _ => futures.push((number, Started::new(receive))),
                        }
                        drop(next);
                        if random.chance(30) {
                            alertable::sleep(Duration::ZERO);
                        }
                    }
                    let routines = EACH_THREAD - pending.len() - futures.len();
                    run_until("the routines", || told.get() == routines);
                    pending.into_iter().for_each(|(number, pending)| posting.note(number, &pending.wait()));
                    futures.into_iter().for_each(|(number, future)| posting.note(number, &future.finish()));
                });
            });
            assert_pattern(round, 0, &posting.received.lock().unwrap().concat());
        }
    });
}

#[test]
fn s02_sends_leave_in_the_order_of_the_calls_however_their_ends_are_told() {
    watched(|| {
        for round in 0..10 {
            let (conn, mut peer) = free_pair();
            conn.options(|socket| socket.set_send_buffer_size(1 << 16)).unwrap();
            let reader = thread::spawn(move || {
                let mut bytes = Vec::new();
                peer.read_to_end(&mut bytes).unwrap();
                assert_pattern(round, 0, &bytes);
                bytes.len() as u64
            });
            let posting = Posting::new(conn);
            posting.on_three_threads(|posting, mut random| {
                let told = Rc::new(Cell::new(0));
                let (mut pending, mut futures) = (Vec::new(), Vec::new());
                for _ in 0..EACH_THREAD {
                    let mut next = posting.next.lock().unwrap();
                    let (number, offset) = *next;
                    let len = if random.chance(10) { 100_000 } else { 1 + random.below(1000) };
                    *next = (number + 1, offset + len);
                    let bytes = pattern(round, offset, len as usize);
                    let send = posting.conn.send(Buffer::from(bytes));
                    match number % 3 {
                        0 => {
                            let told = Rc::clone(&told);
                            let routine = move |done: done::Sent| {
                                assert_eq!(done.result, Ok(len as usize));
                                told.set(told.get() + 1);
                            };
                            send.then(routine).unwrap();
                        }
                        1 => pending.push((len, send.signal(&Event::manual_reset()).unwrap())),
                        _ => futures.push((len, Started::new(send))),
                    }
                    drop(next);
                    if random.chance(30) {
                        alertable::sleep(Duration::ZERO);
                    }
                }
                let routines = EACH_THREAD - pending.len() - futures.len();
                run_until("the routines", || told.get() == routines);
                let sent = |len: u64, done: done::Sent| assert_eq!(done.result, Ok(len as usize));
                pending.into_iter().for_each(|(len, pending)| sent(len, pending.wait()));
                futures.into_iter().for_each(|(len, future)| sent(len, future.finish()));
            });
            posting.conn.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reader.join().unwrap(), posting.next.lock().unwrap().1);
        }
    });
}
