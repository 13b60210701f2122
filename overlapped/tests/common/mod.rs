//! What the integration tests share.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses a part of this")]

#[cfg_attr(unix, path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

use std::any::Any;
use std::fmt::Debug;
use std::future::{Future, IntoFuture};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use overlapped::done::Done;
use overlapped::net::{TcpListener, TcpStream, UdpSocket};
use overlapped::{
    Associated, Buffer, Completion, CompletionPort, Error, Operation, OperationId, Packet, Result, alertable,
};

#[allow(unused_imports, reason = "each test file uses a part")]
pub use system::*;

/// How long a test may take before it counts as hung. Never a measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What no test should have to wait for on a busy machine, but a hang may.
pub const LONG: Duration = Duration::from_secs(60);

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

/// Whether this is not Windows itself but Wine.
pub fn wine() -> bool {
    cfg!(windows) && std::path::Path::new(r"C:\windows\system32\winecfg.exe").exists()
}

/// Runs a test that fails under Wine, for this reason: there it has to fail, so that it is noticed when Wine has changed.
pub fn watched_but_not_by_wine(reason: &str, body: impl FnOnce() + Send + 'static) {
    if !wine() {
        return watched(body);
    }
    let ended = catch_unwind(AssertUnwindSafe(|| watched(body)));
    assert!(ended.is_err(), "Wine keeps this now: it did not because {reason}");
    println!("WINE DIFFERS: {reason}");
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

/// A connection whose one end is a handle without a port; the other is the test's.
pub fn free_pair() -> (TcpStream, std::net::TcpStream) {
    let (ours, peer) = plain_pair();
    (ours.into(), peer)
}

/// A listener without a port, and its address.
pub fn free_listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A datagram socket without a port, and its address.
pub fn free_udp() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// `connections` clients at once, each of which sends `len` bytes in random pieces and checks that they come back, and that nothing
/// comes behind them.
pub fn echo_clients(address: SocketAddr, connections: u64, len: u64) {
    let clients: Vec<_> = (0..connections)
        .map(|seed| {
            thread::spawn(move || {
                let (mut client, mut random, mut offset) = (connect(address), Random(seed), 0);
                while offset < len {
                    // Small enough for the buffers of two sockets: nobody waits for the other.
                    let piece = (1 + random.below(8000)).min(len - offset);
                    write_pattern(&mut client, seed, offset, piece as usize);
                    read_pattern(&mut client, seed, offset, piece as usize);
                    offset += piece;
                }
                client.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(client.read(&mut [0]).unwrap(), 0, "more came back than was sent");
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap_or_else(|panic| resume_unwind(panic));
    }
}

/// Runs what is queued to this thread until `condition` holds; `what` says for whom it failed.
pub fn run_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited in vain: {what}");
        alertable::sleep(Duration::from_millis(100));
    }
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

/// What a receive ends with that starts when the connection was reset already: under Wine it reads an orderly end.
pub fn reset_before() -> Result<usize> {
    if wine() { Ok(0) } else { Err(Error::NETNAME_DELETED) }
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

/// A number from the environment.
pub fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// The seed of a random test: printed, and taken back from `OVERLAPPED_SEED`.
pub fn seed() -> u64 {
    let new = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = variable("OVERLAPPED_SEED").unwrap_or_else(new);
    println!("OVERLAPPED_SEED={seed}");
    seed
}

/// Runs a future on this thread with nothing but the standard library: it parks between polls.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future.into_future());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A waker that counts.
#[derive(Default)]
pub struct Wakes(AtomicUsize);

impl Wakes {
    pub fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::<Self>::default();
        (Arc::clone(&wakes), wakes.into())
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once with a waker that does nothing.
pub fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Starts a future: polls it, and says that it is not ready.
pub fn start<F: Future + Unpin>(future: &mut F) {
    assert!(poll(future).is_pending(), "it has ended, and should not have");
}

/// A future that was started, and may have ended at once.
pub struct Started<T: Done> {
    future: Completion<T>,
    done: Option<T>,
}

impl<T: Done> Started<T> {
    pub fn new(operation: Operation<T>) -> Self {
        let mut future = operation.into_future();
        let done = match poll(&mut future) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        };
        Self { future, done }
    }

    pub fn cancel(&mut self) {
        self.future.cancel();
    }

    /// Waits for its end.
    pub fn finish(self) -> T {
        self.done.unwrap_or_else(|| block_on(self.future))
    }
}

/// Tells another thread at its end that all is over, also if this one fails.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Uses the processor until `done` says so; the thread never sleeps. Under Wine it lets others have it: each call of theirs needs Wine's
/// server, which is but one thread.
pub fn spin_until(done: impl Fn() -> bool) {
    let wine = wine();
    while !done() {
        if wine {
            thread::yield_now();
        }
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
