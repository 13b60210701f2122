//! Everything at once, at random: connections, workers, sizes, cancels and deadlines. Every byte is accounted for, in order.
//!
//! The seed is printed; `OVERLAPPED_SEED=… cargo test --test stress` runs it again, `OVERLAPPED_ROUNDS=…` for longer.

mod common;

use std::collections::HashSet;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::*;
use overlapped::{Buffer, BufferPool, CompletionPort, Error, OperationId, Packet};

/// What a connection's key knows: how far its streams have come.
struct Stream {
    seed: u64,
    random: Mutex<Random>,
    /// One at a time looks at a packet of this connection and starts the next receive.
    progress: Mutex<Progress>,
    /// Ids that were started and have not ended.
    live: Mutex<HashSet<OperationId>>,
}

#[derive(Default)]
struct Progress {
    received: u64,
    sent: u64,
    finished: bool,
}

type Port = CompletionPort<Arc<Stream>, ()>;

#[test]
fn bytes_are_accounted_for_in_order_whatever_is_cancelled_or_times_out() {
    let seed = seed();
    let rounds = variable("OVERLAPPED_ROUNDS").unwrap_or(6);
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        watched(move || one_round(seed));
    }
}

/// The server echoes: it receives (with a buffer, or from the pool; with a deadline at times) and sends back what came, while
/// a third thread cancels at random. What was cancelled is started again. The clients check every byte.
fn one_round(seed: u64) {
    let mut random = Random(seed);
    let lanes = 1 + random.below(3) as usize;
    let workers = lanes + random.below(3) as usize;
    let connections = 1 + random.below(10);
    let pool = BufferPool::new(1 + random.below(2000) as usize, 2 + random.below(30) as usize).unwrap();
    let available = pool.available();
    println!("seed {seed}: {connections} connections, {workers} workers, {lanes} lanes, {pool:?}");
    let port: Port = CompletionPort::builder().concurrency(lanes).build().unwrap();
    let open = AtomicU64::new(connections);
    let cancels = AtomicUsize::new(0);
    let streams: Mutex<Vec<Conn<Arc<Stream>>>> = Mutex::new(Vec::new());

    thread::scope(|scope| {
        let mut clients = Vec::new();
        for number in 0..connections {
            let seed = random.next();
            let len = random.below(300_000);
            let stream = Stream {
                seed,
                random: Mutex::new(Random(seed ^ 1)),
                progress: Mutex::default(),
                live: Mutex::default(),
            };
            let (conn, peer) = pair(&port, Arc::new(stream));
            if random.chance(50) {
                conn.options(|socket| socket.set_send_buffer_size(4096)).unwrap();
            }
            let _turn = conn.key().progress.lock().unwrap();
            receive(&conn, &pool);
            streams.lock().unwrap().push(conn.clone());
            drop(_turn);
            clients.push(scope.spawn(move || client(peer, seed, len, number)));
        }
        scope.spawn(|| {
            port.run(workers, |packet| {
                handle(packet, &pool);
                if open.load(Ordering::SeqCst) == 0 { Ok(()) } else { settle(&streams, &open, &port) }
            })
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        });
        let mut chaos = Random(seed ^ 2);
        scope.spawn({
            let (open, streams, cancels) = (&open, &streams, &cancels);
            move || {
                while open.load(Ordering::SeqCst) > 0 {
                    let conn = {
                        let streams = streams.lock().unwrap();
                        streams.get(chaos.below(connections) as usize).cloned()
                    };
                    let Some(conn) = conn else { continue };
                    // Receives only: a send that was cut cannot be told from one that was not without counting, which `handle` does.
                    let id = conn.key().live.lock().unwrap().iter().next().copied();
                    if let Some(id) = id
                        && conn.cancel(id).is_ok()
                    {
                        cancels.fetch_add(1, Ordering::SeqCst);
                    }
                    thread::sleep(Duration::from_micros(chaos.below(300)));
                }
            }
        });
        for client in clients {
            client.join().unwrap_or_else(|panic| panic!("seed {seed}: {}", panic_text(panic)));
        }
    });
    for conn in streams.into_inner().unwrap() {
        assert!(conn.key().live.lock().unwrap().is_empty(), "seed {seed}: an operation never ended");
    }
    drop(port);
    wait_until("all buffers are back", || pool.available() == available);
    println!("{} cancels hit", cancels.into_inner());
}

/// Closes the port when every connection has finished.
fn settle(streams: &Mutex<Vec<Conn<Arc<Stream>>>>, open: &AtomicU64, port: &Port) -> overlapped::Result<()> {
    let left = streams.lock().unwrap().iter().filter(|conn| !conn.key().progress.lock().unwrap().finished).count();
    open.fetch_min(left as u64, Ordering::SeqCst); // another worker may have counted later and be here first
    if left == 0 {
        port.close();
    }
    Ok(())
}

fn receive(conn: &Conn<Arc<Stream>>, pool: &BufferPool) {
    let stream = Arc::clone(conn.key());
    let mut random = stream.random.lock().unwrap();
    let limited = conn.within(Duration::from_micros(random.below(3000)));
    let conn = if random.chance(20) { &limited } else { conn };
    let mut live = stream.live.lock().unwrap();
    let id = match random.chance(50) {
        true => conn.recv_pooled(pool).unwrap(),
        false => conn.recv(Buffer::with_capacity(1 + random.below(5000) as usize)).unwrap(),
    };
    assert!(live.insert(id));
}

fn send(conn: &Conn<Arc<Stream>>, buffer: Buffer) {
    let mut live = conn.key().live.lock().unwrap();
    assert!(live.insert(conn.send(buffer).unwrap()));
}

fn handle(packet: Packet<Arc<Stream>>, pool: &BufferPool) {
    match packet {
        Packet::Received { conn, id, buffer, result } => {
            let stream = Arc::clone(conn.key());
            let mut progress = stream.progress.lock().unwrap();
            assert!(stream.live.lock().unwrap().remove(&id), "a packet without an operation");
            match result {
                Ok(0) => {
                    conn.shutdown(Shutdown::Write).unwrap();
                    progress.finished = true;
                }
                Ok(_) => {
                    assert_pattern(stream.seed, progress.received, &buffer);
                    progress.received += buffer.len() as u64;
                    send(&conn, buffer);
                }
                Err(Error::OPERATION_ABORTED | Error::SEM_TIMEOUT) => receive(&conn, pool),
                Err(error) => panic!("a receive ended with {error}"),
            }
        }
        Packet::Sent { conn, id, buffer, sent, result } => {
            let stream = Arc::clone(conn.key());
            let mut progress = stream.progress.lock().unwrap();
            assert!(stream.live.lock().unwrap().remove(&id), "a packet without an operation");
            assert_pattern(stream.seed, progress.sent, &buffer);
            progress.sent += sent as u64;
            match result {
                Ok(n) => {
                    assert_eq!((n, sent), (buffer.len(), buffer.len()));
                    receive(&conn, pool);
                }
                // What was not sent goes again.
                Err(Error::OPERATION_ABORTED) => send(&conn, Buffer::from(buffer[sent..].to_vec())),
                Err(error) => panic!("a send ended with {error}"),
            }
        }
        other => panic!("unexpected {:?}", ending(&other)),
    }
}

fn client(peer: std::net::TcpStream, seed: u64, len: u64, number: u64) {
    let mut reader = peer.try_clone().unwrap();
    let reader = thread::Builder::new()
        .name(format!("reader {number}"))
        .spawn(move || {
            read_pattern(&mut reader, seed, 0, len as usize);
            assert_eq!(std::io::Read::read(&mut reader, &mut [0]).unwrap(), 0, "more came back than was sent");
        })
        .unwrap();
    let (mut writer, mut random, mut offset) = (peer, Random(seed ^ 3), 0);
    while offset < len {
        let piece = (1 + random.below(20_000)).min(len - offset);
        write_pattern(&mut writer, seed, offset, piece as usize);
        offset += piece;
        if random.chance(10) {
            thread::sleep(Duration::from_micros(random.below(2000)));
        }
    }
    writer.shutdown(Shutdown::Write).unwrap();
    reader.join().unwrap_or_else(|panic| panic!("{}", panic_text(panic)));
}
