//! What the integration tests share.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses a part of this")]

use std::any::Any;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use overlapped::net::{TcpListener, TcpStream, UdpSocket};
use overlapped::{Associated, Buffer, CompletionPort, Error, OperationId, Packet, Result};

/// How long a test may take before it counts as hung. Never a measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What no test should have to wait for on a busy machine, but a hang may.
pub const LONG: Duration = Duration::from_secs(20);

/// Long enough for something that is wrong to show itself, where a test says that nothing happens.
pub const MOMENT: Duration = Duration::from_millis(50);

/// Runs a test, and fails it if it hangs. The stuck thread is left behind.
pub fn watched(body: impl FnOnce() + Send + 'static) {
    watched_for(PATIENCE, body);
}

pub fn watched_for(patience: Duration, body: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let name = thread::current().name().unwrap_or("test").to_owned();
    let thread = thread::Builder::new()
        .name(name)
        .spawn(move || {
            body();
            let _ = done.send(());
        })
        .unwrap();
    match ended.recv_timeout(patience) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the test hangs: no end after {patience:?}"),
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    }
}

/// Waits until `condition` holds; `what` says for whom it failed.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub type Conn<K = ()> = Associated<TcpStream, K>;

/// A connection whose one end belongs to `port`; the other is the test's.
pub fn pair<K, M>(port: &CompletionPort<K, M>, key: K) -> (Conn<K>, std::net::TcpStream)
where
    K: Send + Sync + 'static,
    M: Send + 'static,
{
    let (ours, peer) = plain_pair();
    (port.associate(TcpStream::from(ours), key).unwrap(), peer)
}

pub fn plain_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, from) = listener.accept().unwrap();
    assert_eq!(from, peer.local_addr().unwrap(), "somebody else connected");
    peer.set_read_timeout(Some(LONG)).unwrap();
    peer.set_write_timeout(Some(LONG)).unwrap();
    (ours, peer)
}

pub fn listener<K, M>(port: &CompletionPort<K, M>, key: K) -> (Associated<TcpListener, K>, SocketAddr)
where
    K: Send + Sync + 'static,
    M: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (port.associate(listener, key).unwrap(), address)
}

pub fn udp<M: Send + 'static>(port: &CompletionPort<(), M>) -> (Associated<UdpSocket>, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (port.associate(socket, ()).unwrap(), address)
}

pub fn connect(address: SocketAddr) -> std::net::TcpStream {
    let client = std::net::TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.set_write_timeout(Some(LONG)).unwrap();
    client
}

/// Closes a connection with a reset instead of an orderly end.
pub fn reset(peer: std::net::TcpStream) {
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
}

/// The next packet, which has to come.
pub fn next<K: Send + Sync + 'static, M: Send + 'static>(port: &CompletionPort<K, M>) -> Packet<K, M> {
    port.dequeue(LONG).expect("a packet")
}

/// Says that no packet comes.
pub fn assert_quiet<K, M>(port: &CompletionPort<K, M>)
where
    K: Debug + Send + Sync + 'static,
    M: Debug + Send + 'static,
{
    if let Ok(packet) = port.dequeue(MOMENT) {
        panic!("a packet came although none was due: {packet:?}");
    }
}

/// Lets the kernel see what this thread has started, without taking a packet.
pub fn hand_over<K, M>(port: &CompletionPort<K, M>)
where
    K: Debug + Send + Sync + 'static,
    M: Debug + Send + 'static,
{
    if let Ok(packet) = port.dequeue(Duration::ZERO) {
        panic!("a packet came although none was due: {packet:?}");
    }
}

pub struct Received<K: 'static = ()> {
    pub conn: Conn<K>,
    pub id: OperationId,
    pub buffer: Buffer,
    pub result: Result<usize>,
}

/// The packet of a receive, which has to be the next.
pub fn received<K, M>(port: &CompletionPort<K, M>) -> Received<K>
where
    K: Debug + Send + Sync + 'static,
    M: Debug + Send + 'static,
{
    match next(port) {
        Packet::Received { conn, id, buffer, result } => Received { conn, id, buffer, result },
        other => panic!("expected a receive, got {other:?}"),
    }
}

/// The id and result of a send, whose packet has to be the next.
pub fn sent<K, M>(port: &CompletionPort<K, M>) -> (OperationId, usize, Result<usize>)
where
    K: Debug + Send + Sync + 'static,
    M: Debug + Send + 'static,
{
    match next(port) {
        Packet::Sent { id, sent, result, .. } => (id, sent, result),
        other => panic!("expected a send, got {other:?}"),
    }
}

pub fn posted<K, M>(port: &CompletionPort<K, M>) -> M
where
    K: Debug + Send + Sync + 'static,
    M: Debug + Send + 'static,
{
    match next(port) {
        Packet::Posted(message) => message,
        other => panic!("expected a post, got {other:?}"),
    }
}

/// What ended, whatever it was: its id (none for a post) and its error, if it failed.
pub fn ending<K, M>(packet: &Packet<K, M>) -> (Option<OperationId>, Option<Error>) {
    match packet {
        Packet::Accepted { id, result, .. } => (Some(*id), result.as_ref().err().copied()),
        Packet::Connected { id, result, .. } | Packet::Synced { id, result, .. } => (Some(*id), result.err()),
        Packet::Received { id, result, .. }
        | Packet::Sent { id, result, .. }
        | Packet::SentVectored { id, result, .. }
        | Packet::SentTo { id, result, .. }
        | Packet::Read { id, result, .. }
        | Packet::Written { id, result, .. } => (Some(*id), result.err()),
        Packet::ReceivedFrom { id, result, .. } => (Some(*id), result.err()),
        _ => (None, None),
    }
}

/// Byte `offset` of a stream that has this seed: loss, repetition and disorder all show.
pub fn byte(seed: u64, offset: u64) -> u8 {
    let mut x = (offset >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x = (x ^ x >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x = (x ^ x >> 29).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x >> (8 * (offset & 7))) as u8
}

/// `len` bytes of the stream with this seed, from `offset` on.
pub fn pattern(seed: u64, offset: u64, len: usize) -> Vec<u8> {
    (offset..offset + len as u64).map(|at| byte(seed, at)).collect()
}

/// Says that `bytes` are those of the stream from `offset` on.
pub fn assert_pattern(seed: u64, offset: u64, bytes: &[u8]) {
    if let Some(at) = bytes.iter().zip(offset..).position(|(got, at)| *got != byte(seed, at)) {
        panic!("byte {} of stream {seed} is wrong (at {at} of a piece of {})", offset + at as u64, bytes.len());
    }
}

/// Reads `len` bytes of the stream from `offset` on, and checks them.
pub fn read_pattern(peer: &mut std::net::TcpStream, seed: u64, offset: u64, len: usize) {
    let mut chunk = vec![0; 64 * 1024];
    let mut done = 0;
    while done < len {
        let room = chunk.len().min(len - done);
        let n = peer.read(&mut chunk[..room]).expect("the stream goes on");
        assert!(n > 0, "the stream ended after {done} of {len} bytes");
        assert_pattern(seed, offset + done as u64, &chunk[..n]);
        done += n;
    }
}

pub fn write_pattern(peer: &mut std::net::TcpStream, seed: u64, offset: u64, len: usize) {
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(64 * 1024);
        peer.write_all(&pattern(seed, offset + done as u64, piece)).expect("the peer takes it");
        done += piece;
    }
}

/// Random numbers that can be had again: splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Uses the processor until `done` says so; the thread never sleeps.
pub fn spin_until(done: impl Fn() -> bool) {
    while !done() {
        std::hint::spin_loop();
    }
}

/// The text of a panic.
pub fn panic_text(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "?".to_owned(), |text| (*text).to_owned()),
    }
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1 // the directory itself
}

/// Threads of this process.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Memory of this process that is in use, in bytes.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// A listener whose backlog is full: who connects to it waits, until [`std::net::TcpListener::accept`] makes room.
pub fn full_listener() -> (std::net::TcpListener, SocketAddr, Vec<socket2::Socket>) {
    use socket2::{Domain, Protocol, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut filler = Vec::new();
    // One fits into a backlog of nought; the others are still knocking.
    for _ in 0..4 {
        let client = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&address);
        filler.push(client);
        thread::sleep(Duration::from_millis(5));
    }
    (listener.into(), address.as_socket().unwrap(), filler)
}
