//! `ovl load`: connections that keep messages outstanding, on a completion port of their own.
//!
//! Every connection is a small state machine in the key of its handle ([`Session`]). Workers carry it on at each packet; the
//! main thread looks after what must happen without one: the end of the run, and servers that fall silent.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use overlapped::net::TcpStream;
use overlapped::{Associated, Buffer, BufferPool, CompletionPort, Error, Packet};

use crate::cli::Load;
use crate::pattern::{Fault, Pattern, Verifier};
use crate::report::{Connections, Failures, Faults, Measured, Options, Report};
use crate::{client, limits, platform, text};

type Connection = Associated<TcpStream, Session>;

/// Connects that are outstanding at once, so that a listener's backlog does not overflow.
const BATCH: u32 = 128;
/// How often the main thread looks around.
const TICK: Duration = Duration::from_millis(100);
/// After a wrong byte, more is awaited until nothing has come for this long: it shows what the fault was.
const QUIET: Duration = Duration::from_millis(300);
/// And this long at most.
const MOST_EVIDENCE: Duration = Duration::from_secs(3);
/// How long a server may take to close when all is done; it is no fault if it does not.
const FAREWELL: Duration = Duration::from_secs(1);
/// Messages that are sent together are joined into buffers of about this size.
const SEND_BYTES: usize = 64 << 10;
/// Memory that the receive buffers may take together.
const POOL_BYTES: usize = 64 << 20;
const DEFAULT_DURATION: Duration = Duration::from_secs(5);

/// Runs the command and returns the exit code.
pub(crate) fn run(options: &Load) -> Result<u8> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    platform::two_stage(move |_| flag.store(true, Ordering::Relaxed)).context("cannot catch signals")?;
    let report = measure(options, &interrupted)?;
    match options.json.as_deref() {
        Some(path) if path == Path::new("-") => {
            write!(io::stdout(), "{}", report.json()).context("cannot write the report")?
        }
        Some(path) => {
            fs::write(path, report.json()).with_context(|| format!("cannot write the report to {}", path.display()))?;
            let _ = writeln!(io::stdout(), "{report}"); // nobody reads it: the exit code still tells
        }
        None => drop(writeln!(io::stdout(), "{report}")),
    }
    Ok(if report.is_ok() { 0 } else { 1 })
}

/// Puts the load on the server and reports. Ends early when `interrupted` is set.
pub(crate) fn measure(options: &Load, interrupted: &AtomicBool) -> Result<Report> {
    limits::make_room_for(options.connections)?;
    let address = look_up(&options.address, options.connect_timeout)?;
    let port = CompletionPort::builder()
        .concurrency(usize::from(options.threads))
        .build()
        .context("cannot create a completion port (`ovl doctor` says more)")?;
    let engine = port.engine();
    let outstanding = options.size.saturating_mul(options.pipeline as usize);
    let buffer_size = outstanding.clamp(4 << 10, 64 << 10);
    let wanted = 2 * options.connections as usize;
    let pool = BufferPool::new(buffer_size, wanted.clamp(64, POOL_BYTES / buffer_size).min(4096))?;
    let (news, hear) = mpsc::channel();
    let run = Run {
        options,
        address,
        port,
        pool,
        news: news.clone(),
        connections: Mutex::default(),
        next: AtomicU32::new(0),
        tried: AtomicU32::new(0),
        live: AtomicU32::new(options.connections),
        stopping: AtomicBool::new(false),
        measure_from: OnceLock::new(),
        shards: (0..options.threads).map(|_| Mutex::new(Shard::new())).collect(),
        outcome: Mutex::default(),
    };
    let (elapsed, interrupted) = thread::scope(|scope| {
        let running = scope.spawn(|| {
            let ended = run.port.run(usize::from(options.threads), |packet| run.handle(packet));
            let _ = news.send(News::Ended);
            ended
        });
        let elapsed = run.conduct(&hear, interrupted);
        run.port.close();
        running.join().map_err(|_| anyhow!("a worker panicked"))?.context("the completion port failed")?;
        elapsed
    })?;
    let measured = run.measured(elapsed, interrupted);
    let asked = Options {
        connections: options.connections,
        size_bytes: options.size,
        pipeline: options.pipeline,
        duration_s: options.messages.is_none().then(|| options.duration.unwrap_or(DEFAULT_DURATION).as_secs_f64()),
        messages: options.messages,
        omit_s: options.omit.as_secs_f64(),
        threads: options.threads,
        seed: options.seed,
    };
    Ok(Report::new(address.to_string(), engine, asked, measured))
}

/// The address to connect to. If a name has several, the first that answers.
fn look_up(address: &str, timeout: Duration) -> Result<SocketAddr> {
    let addresses: Vec<SocketAddr> =
        address.to_socket_addrs().with_context(|| format!("cannot look up {address}"))?.collect();
    match addresses[..] {
        [only] => Ok(only),
        _ => Ok(client::connect(address, timeout)?.peer_addr()?),
    }
}

/// What the main thread is told by the workers.
enum News {
    /// Every connect has ended, well or not.
    Connected,
    /// No connection is left.
    Done,
    /// The workers have ended.
    Ended,
}

/// The key of a connection: who it is and how far it has come.
#[derive(Debug)]
struct Session {
    number: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    pattern: Pattern,
    verifier: Verifier,
    /// Messages that it may still send.
    messages_remaining: u64,
    /// Bytes that were given to sends.
    sent: u64,
    /// Messages that are back, whole.
    messages_back: u64,
    /// When each message that is outstanding was sent.
    starts: VecDeque<Instant>,
    /// When something last came back, or the phase began.
    last: Instant,
    /// Memory of a send that has ended, for the next.
    spare: Vec<u8>,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Connected,
    Running,
    /// A wrong byte came at this time: sends no more, and gathers what else comes.
    Suspicious(Instant),
    /// All is back and the sending half shut: waits for the server to close.
    Leaving,
    Ended,
}

/// Why a connection ends.
enum End {
    Well,
    Fault(Fault),
    Failure(&'static str, Option<Error>),
}

/// What the connections of one thread have measured. Several, so that threads seldom meet.
struct Shard {
    latency: Histogram<u64>,
    messages: u64,
    last: Option<Instant>,
}

impl Shard {
    fn new() -> Self {
        const LONGEST_NS: u64 = 3_600_000_000_000;
        let latency = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("valid bounds");
        Self { latency, messages: 0, last: None }
    }
}

#[derive(Default)]
struct Outcome {
    connected: u64,
    failed: u64,
    bytes_verified: u64,
    faults: Faults,
    failures: Failures,
}

struct Run<'a> {
    options: &'a Load,
    address: SocketAddr,
    port: CompletionPort<Session>,
    pool: BufferPool,
    news: Sender<News>,
    connections: Mutex<Vec<Connection>>,
    /// The number of the next connection.
    next: AtomicU32,
    /// Connects that have ended.
    tried: AtomicU32,
    /// Connections that have not ended, those that have not begun included.
    live: AtomicU32,
    stopping: AtomicBool,
    /// When the warm-up is over.
    measure_from: OnceLock<Instant>,
    shards: Vec<Mutex<Shard>>,
    outcome: Mutex<Outcome>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// What workers do.
impl Run<'_> {
    fn handle(&self, packet: Packet<Session>) -> overlapped::Result<()> {
        match packet {
            Packet::Connected { conn, result, .. } => self.connected(&conn, result),
            Packet::Received { conn, buffer, result, .. } => {
                let mut state = lock(&conn.key().state);
                let end = match result {
                    Ok(0) => self.closed(&mut state),
                    Ok(_) => self.received(&conn, &mut state, &buffer)?,
                    Err(error) => Some(self.failed(&mut state, "receive", error)),
                };
                drop(buffer); // back into the pool before the next receive may ask for it
                match end {
                    Some(end) => self.end(&conn, &mut state, end),
                    None => drop(conn.recv_pooled(&self.pool)?),
                }
                Ok(())
            }
            Packet::Sent { conn, buffer, result, .. } => {
                let mut state = lock(&conn.key().state);
                match result {
                    Ok(_) => state.spare = buffer.into_vec(),
                    // What came back before the server went shows in the receive.
                    Err(_) if matches!(state.phase, Phase::Suspicious(_)) => {}
                    Err(error) => {
                        let end = self.failed(&mut state, "send", error);
                        self.end(&conn, &mut state, end);
                    }
                }
                Ok(())
            }
            _ => Ok(()), // nothing else is started here
        }
    }

    /// Starts the next connect, if there is one left to start.
    fn connect_next(&self) -> overlapped::Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.options.connections {
                return Ok(());
            }
            let socket = TcpStream::unconnected(self.address).and_then(|stream| {
                stream.set_nodelay(true)?;
                Ok(stream)
            });
            match socket {
                Ok(stream) => {
                    let connection = self.port.associate(stream, self.session(number))?;
                    lock(&self.connections).push(connection.clone());
                    connection.within(self.options.connect_timeout).connect(self.address)?;
                    return Ok(());
                }
                Err(error) => {
                    let mut outcome = lock(&self.outcome);
                    outcome.failed += 1;
                    outcome.failures.add("connect", Some(error));
                    drop(outcome);
                    self.one_less();
                    self.one_tried();
                }
            }
        }
    }

    fn session(&self, number: u32) -> Session {
        let pattern = Pattern::new(self.options.seed, number.into());
        let connections = u64::from(self.options.connections);
        let share = |messages: u64| messages / connections + u64::from(u64::from(number) < messages % connections);
        let state = State {
            phase: Phase::Connecting,
            pattern,
            verifier: Verifier::new(pattern),
            messages_remaining: self.options.messages.map_or(u64::MAX, share),
            sent: 0,
            messages_back: 0,
            starts: VecDeque::new(),
            last: Instant::now(),
            spare: Vec::new(),
        };
        Session { number, state: Mutex::new(state) }
    }

    fn connected(&self, connection: &Connection, result: overlapped::Result<()>) -> overlapped::Result<()> {
        let mut state = lock(&connection.key().state);
        match result {
            Ok(()) => {
                state.phase = Phase::Connected;
                lock(&self.outcome).connected += 1;
            }
            Err(error) => self.end(connection, &mut state, End::Failure("connect", Some(error))),
        }
        drop(state);
        self.one_tried();
        self.connect_next()
    }

    /// Counts a connect that has ended.
    fn one_tried(&self) {
        if self.tried.fetch_add(1, Ordering::Relaxed) + 1 == self.options.connections {
            let _ = self.news.send(News::Connected);
        }
    }

    /// Sends up to `messages` more, as far as there are any left.
    fn send(&self, connection: &Connection, state: &mut State, messages: u64) -> overlapped::Result<()> {
        if self.stopping.load(Ordering::Relaxed) {
            state.messages_remaining = 0;
        }
        let mut messages = messages.min(state.messages_remaining);
        state.messages_remaining -= messages;
        let together = (SEND_BYTES / self.options.size).max(1) as u64;
        while messages > 0 {
            let now_sent = messages.min(together);
            messages -= now_sent;
            let bytes = now_sent as usize * self.options.size;
            let mut buffer = mem::take(&mut state.spare);
            buffer.clear();
            state.pattern.append(state.sent, bytes, &mut buffer);
            state.sent += bytes as u64;
            let now = Instant::now();
            state.starts.extend((0..now_sent).map(|_| now));
            connection.send(Buffer::from(buffer))?;
        }
        Ok(())
    }

    /// Bytes came. Says so if that is the connection's end; else it is to receive on.
    fn received(&self, connection: &Connection, state: &mut State, bytes: &[u8]) -> overlapped::Result<Option<End>> {
        let now = Instant::now();
        state.last = now;
        let sent = state.sent;
        if state.phase == Phase::Ended {
            return Ok(Some(End::Well)); // the main thread has ended it meanwhile
        }
        if !state.verifier.take(bytes, sent) {
            if !matches!(state.phase, Phase::Suspicious(_)) {
                state.phase = Phase::Suspicious(now);
            }
            return Ok(None);
        }
        let back = state.verifier.verified() / self.options.size as u64;
        let newly_back = back - state.messages_back;
        state.messages_back = back;
        if newly_back > 0 {
            self.record(connection.key().number, state, newly_back, now);
            self.send(connection, state, newly_back)?;
            if state.sent == state.verifier.verified() {
                self.leave(connection, state);
            }
        }
        Ok(None)
    }

    /// All is back: say so to the server.
    fn leave(&self, connection: &Connection, state: &mut State) {
        state.phase = Phase::Leaving;
        state.last = Instant::now();
        // If it fails the server has gone, and the receive that is started next tells.
        let _ = connection.shutdown(Shutdown::Write);
    }

    fn record(&self, number: u32, state: &mut State, messages: u64, now: Instant) {
        let from = self.measure_from.get().copied().unwrap_or(now);
        let mut shard = lock(&self.shards[number as usize % self.shards.len()]);
        for start in state.starts.drain(..messages as usize) {
            if start >= from {
                let ns = now.duration_since(start).as_nanos();
                shard.latency.saturating_record(u64::try_from(ns).unwrap_or(u64::MAX));
            }
        }
        // What comes back after the end of the time does not count into the rate, but its latency counts.
        if now >= from && !self.stopping.load(Ordering::Relaxed) {
            shard.messages += messages;
        }
        shard.last = Some(now);
    }

    /// The server has shut its sending half.
    fn closed(&self, state: &mut State) -> Option<End> {
        Some(match (state.phase, state.verifier.finish(state.sent)) {
            (Phase::Suspicious(_), Some(fault)) => End::Fault(fault),
            (Phase::Leaving | Phase::Ended, _) | (_, None) => End::Well,
            (_, Some(_)) => End::Failure("receive", None),
        })
    }

    fn failed(&self, state: &mut State, doing: &'static str, error: Error) -> End {
        match (state.phase, state.verifier.finish(state.sent)) {
            (Phase::Suspicious(_), Some(fault)) => End::Fault(fault),
            // Everything is back: how a server ends a connection that is over is its affair.
            (Phase::Leaving, None) => End::Well,
            _ => End::Failure(doing, Some(error)),
        }
    }

    fn end(&self, connection: &Connection, state: &mut State, end: End) {
        if state.phase == Phase::Ended {
            return;
        }
        state.phase = Phase::Ended;
        let mut outcome = lock(&self.outcome);
        outcome.bytes_verified += state.verifier.verified();
        match end {
            End::Well => {}
            End::Fault(fault) => {
                outcome.failed += 1;
                outcome.faults.add(u64::from(connection.key().number), fault);
            }
            End::Failure(doing, error) => {
                outcome.failed += 1;
                outcome.failures.add(doing, error);
            }
        }
        drop(outcome);
        connection.close();
        self.one_less();
    }

    fn one_less(&self) {
        if self.live.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = self.news.send(News::Done);
        }
    }
}

// What the main thread does.
impl Run<'_> {
    /// Connects, runs, ends; returns how long the measured time was, and whether it was cut short.
    fn conduct(&self, news: &mpsc::Receiver<News>, interrupted: &AtomicBool) -> Result<(Duration, bool)> {
        let progress = self.progress();
        let mut timeline: Option<Timeline> = None;
        let mut cut_short = false;
        for _ in 0..BATCH.min(self.options.connections) {
            self.connect_next()?;
        }
        loop {
            let now = Instant::now();
            let stop = timeline.as_ref().and_then(|line| line.stop).filter(|_| !self.stopping.load(Ordering::Relaxed));
            let wait = stop.map_or(TICK, |stop| TICK.min(stop.saturating_duration_since(now)));
            match news.recv_timeout(wait) {
                Ok(News::Connected) if self.live.load(Ordering::Relaxed) > 0 => timeline = Some(self.start()?),
                Ok(News::Connected | News::Done | News::Ended) => break,
                Err(_) => {}
            }
            let now = Instant::now();
            if stop.is_some_and(|stop| stop <= now) {
                self.stopping.store(true, Ordering::Relaxed);
            }
            if interrupted.load(Ordering::Relaxed) && !cut_short {
                cut_short = true;
                self.stopping.store(true, Ordering::Relaxed);
                match &mut timeline {
                    Some(line) => line.stop = Some(now),
                    None => break, // not even connected: nothing to wait for
                }
            }
            self.look_after(now);
            self.show(&progress, timeline.as_ref(), now);
        }
        progress.finish_and_clear();
        let Some(Timeline { from, stop, .. }) = timeline else { return Ok((Duration::ZERO, cut_short)) };
        // Without a time to stop at, and when all connections ended before it, the last message is the end.
        let last = self.shards.iter().filter_map(|shard| lock(shard).last).max().unwrap_or(from);
        let end = if self.stopping.load(Ordering::Relaxed) { stop.unwrap_or(last) } else { last };
        Ok((end.saturating_duration_since(from), cut_short))
    }

    /// All are connected: lets them begin.
    fn start(&self) -> Result<Timeline> {
        let started = Instant::now();
        let from = *self.measure_from.get_or_init(|| started + self.options.omit);
        for connection in lock(&self.connections).iter() {
            let mut state = lock(&connection.key().state);
            if state.phase != Phase::Connected {
                continue;
            }
            state.phase = Phase::Running;
            state.last = Instant::now();
            connection.recv_pooled(&self.pool)?;
            self.send(connection, &mut state, u64::from(self.options.pipeline))?;
            if state.sent == 0 {
                self.leave(connection, &mut state); // more connections than messages
            }
        }
        let stop = match self.options.messages {
            Some(_) => None,
            None => Some(from + self.options.duration.unwrap_or(DEFAULT_DURATION)),
        };
        Ok(Timeline { started, from, stop })
    }

    /// Ends what would never end by itself.
    fn look_after(&self, now: Instant) {
        let connections = lock(&self.connections);
        for connection in connections.iter() {
            let mut state = lock(&connection.key().state);
            let silent = now.saturating_duration_since(state.last);
            let end = match state.phase {
                Phase::Connecting | Phase::Connected | Phase::Ended => None,
                Phase::Running if silent < self.options.timeout => None,
                Phase::Suspicious(since) if silent < QUIET && now.saturating_duration_since(since) < MOST_EVIDENCE => {
                    None
                }
                Phase::Leaving if silent < FAREWELL => None,
                Phase::Leaving => Some(End::Well),
                Phase::Running | Phase::Suspicious(_) => {
                    let sent = state.sent;
                    Some(state.verifier.finish(sent).map_or(End::Well, End::Fault))
                }
            };
            if let Some(end) = end {
                self.end(connection, &mut state, end);
            }
        }
    }

    /// A line on a terminal; nothing elsewhere.
    fn progress(&self) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {msg}").expect("a valid template");
        bar.set_style(style);
        bar
    }

    fn show(&self, progress: &ProgressBar, timeline: Option<&Timeline>, now: Instant) {
        if progress.is_hidden() {
            return;
        }
        let Some(timeline) = timeline else {
            let tried = self.tried.load(Ordering::Relaxed);
            progress.set_message(format!("connecting: {tried} of {}", self.options.connections));
            return;
        };
        let messages: u64 = self.shards.iter().map(|shard| lock(shard).messages).sum();
        let seconds = now.saturating_duration_since(timeline.from).as_secs_f64();
        let passed = now.saturating_duration_since(timeline.started).as_secs_f64();
        let share = match (timeline.stop, self.options.messages) {
            (Some(stop), _) => passed / stop.saturating_duration_since(timeline.started).as_secs_f64(),
            (None, total) => messages as f64 / total.unwrap_or(u64::MAX) as f64,
        };
        progress.set_position((share.min(1.0) * 1000.0) as u64);
        let rate = if seconds > 0.0 { (messages as f64 / seconds).round() as u64 } else { 0 };
        let what = match () {
            () if now < timeline.from => "warming up",
            () if self.stopping.load(Ordering::Relaxed) => "finishing",
            () => "messages per second",
        };
        let live = text::count(self.live.load(Ordering::Relaxed).into(), "connection");
        let faults = match lock(&self.outcome).failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        progress.set_message(format!("{passed:.1} s, {} {what}, {live}{faults}", text::thousands(rate)));
    }

    fn measured(self, elapsed: Duration, interrupted: bool) -> Measured {
        let mut latency = Shard::new().latency;
        let mut messages = 0;
        for shard in self.shards {
            let shard = shard.into_inner().unwrap_or_else(PoisonError::into_inner);
            latency.add(shard.latency).expect("all have the same bounds");
            messages += shard.messages;
        }
        let outcome = self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        Measured {
            connections: Connections {
                requested: self.options.connections.into(),
                connected: outcome.connected,
                failed: outcome.failed,
            },
            elapsed,
            messages,
            bytes_verified: outcome.bytes_verified,
            latency,
            faults: outcome.faults,
            failures: outcome.failures,
            interrupted,
        }
    }
}

/// The times of a run.
struct Timeline {
    started: Instant,
    /// The warm-up ends and measuring begins.
    from: Instant,
    /// Nothing is sent any more; `None` if the number of messages is the end.
    stop: Option<Instant>,
}
