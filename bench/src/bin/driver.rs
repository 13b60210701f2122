//! The load generator: one thread that keeps connections busy in a closed loop and checks what comes back.
//!
//! It shares no code with any server but the ring set-up, is started once per server, and takes its orders on standard
//! input: each line `run MILLISECONDS` makes one round on connections that stay open. See [`overlapped_bench::protocol`].

use std::io::{self, BufRead, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use io_uring::squeue::{self, Flags};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, types};
use overlapped_bench::protocol::{Load, ORDINARY_BELOW, Placement, Report, Round, SLOW, WHO};
use overlapped_bench::ring::{self, BufferRing, TaskRun, tolerate_interruption};
use overlapped_bench::server::CONGESTION_CONTROL;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use socket2::SockRef;

/// Drives an echo server; takes its orders from the runner
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    load: Load,
}

fn main() -> ExitCode {
    let load = Arguments::parse().load;
    match drive(&load) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&Report::Failed(format!("{error:#}"))).ok();
            ExitCode::FAILURE
        }
    }
}

fn drive(load: &Load) -> anyhow::Result<()> {
    ensure!(load.slow_every == 0 || load.pipeline == 1, "marking messages as slow needs a pipeline of 1");
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;

    let (streams, connections_by_worker) = connect(load)?;
    let mut ring = ring::build(4096, TaskRun::Deferred)?;
    let files: Vec<_> = streams.iter().map(|stream| stream.as_raw_fd()).collect();
    ring.submitter().register_files(&files)?;
    let mut driver = Driver::new(load, &mut ring)?;
    // One message each, every byte compared; the rounds only compare samples.
    driver.round(Duration::ZERO, Check::Everything)?;
    report(&Report::Ready { connections_by_worker })?;
    for order in io::stdin().lock().lines() {
        let order = order?;
        let millis = order
            .strip_prefix("run ")
            .and_then(|millis| millis.parse().ok())
            .with_context(|| format!("no such order: {order:?}"))?;
        let round = driver.round(Duration::from_millis(millis), Check::Samples)?;
        report(&Report::Round(round))?;
    }
    Ok(())
}

fn report(report: &Report) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, report)?;
    writeln!(stdout)?;
    Ok(stdout.flush()?)
}

// ---- Connecting --------------------------------------------------------------------------------------------------

/// Far below any listen backlog, so that no SYN is ever dropped.
const CONNECTIONS_PER_BATCH: usize = 128;

/// How many connections to try for one that is wanted, where their placement matters.
const TRIES_PER_CONNECTION: usize = 32;

/// Opens the connections and asks of each which worker serves it, which also shows that it has been accepted.
fn connect(load: &Load) -> anyhow::Result<(Vec<TcpStream>, Vec<u32>)> {
    let wanted = load.connections as usize;
    let workers = usize::from(load.workers.max(1));
    let most_on = |worker: usize| match load.placement {
        Placement::Any => wanted,
        Placement::One if worker == 0 => wanted,
        Placement::One => 0,
        Placement::Even => wanted.div_ceil(workers),
    };
    let mut streams = Vec::with_capacity(wanted);
    let mut by_worker = vec![0; workers];
    let mut tried = 0;
    while streams.len() < wanted {
        if tried > wanted.max(64) * TRIES_PER_CONNECTION {
            bail!("the server would not spread its connections as asked ({by_worker:?})");
        }
        let batch = match load.placement {
            Placement::Any => CONNECTIONS_PER_BATCH.min(wanted - streams.len()),
            Placement::One | Placement::Even => CONNECTIONS_PER_BATCH,
        };
        let mut opened = Vec::with_capacity(batch);
        for _ in 0..batch {
            let stream = TcpStream::connect(load.address)
                .with_context(|| format!("connection {}", streams.len() + opened.len()))?;
            stream.set_nodelay(true)?;
            SockRef::from(&stream).set_tcp_congestion(CONGESTION_CONTROL)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            opened.push(stream);
        }
        tried += batch;
        for mut stream in opened {
            let worker = ask_worker(&mut stream).with_context(|| format!("connection {}", streams.len()))?;
            ensure!(worker < workers, "worker {worker} of {workers} answered");
            if streams.len() < wanted && (by_worker[worker] as usize) < most_on(worker) {
                by_worker[worker] += 1;
                streams.push(stream);
            }
        }
    }
    Ok((streams, by_worker))
}

fn ask_worker(stream: &mut TcpStream) -> anyhow::Result<usize> {
    let question = [WHO, 0, 1, 2, 3, 4, 5, 6];
    stream.write_all(&question)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    ensure!(answer[0] == WHO && answer[2..] == question[2..], "the answer {answer:?} is no echo");
    Ok(usize::from(answer[1]))
}

// ---- What is sent ------------------------------------------------------------------------------------------------

/// The bytes of all connections: each sends the same endless cycle from a place of its own, so nothing is kept per
/// connection, any piece of it is contiguous in memory, and bytes that are lost, doubled, moved or of another connection
/// are noticed.
struct Pattern {
    /// One cycle and as much of the next as a piece may be long.
    bytes: Vec<u8>,
    slow_message: Vec<u8>,
}

/// A prime, so that messages of any usual size begin everywhere in the cycle.
const CYCLE: u64 = 65_521;

impl Pattern {
    fn new(longest_piece: usize, message_size: usize) -> Pattern {
        let mut random = fastrand::Rng::with_seed(0x6F76_6C70);
        let cycle: Vec<u8> = (0..CYCLE).map(|_| random.u8(..ORDINARY_BELOW)).collect();
        let bytes = cycle.iter().copied().cycle().take(CYCLE as usize + longest_piece).collect();
        let mut slow_message: Vec<u8> = (0..message_size).map(|_| random.u8(..ORDINARY_BELOW)).collect();
        slow_message[0] = SLOW;
        Pattern { bytes, slow_message }
    }

    #[inline]
    fn piece(&self, from: u64, len: usize) -> &[u8] {
        let from = (from % CYCLE) as usize;
        &self.bytes[from..from + len]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Everything,
    /// The first and the last bytes of each receive: enough to notice whatever has moved, at next to no cost.
    Samples,
}

const SAMPLE: usize = 16;

impl Check {
    #[inline]
    fn same(self, expected: &[u8], received: &[u8]) -> bool {
        if self == Check::Everything || received.len() <= 2 * SAMPLE {
            return expected == received;
        }
        let last = received.len() - SAMPLE;
        expected[..SAMPLE] == received[..SAMPLE] && expected[last..] == received[last..]
    }
}

// ---- Rounds ------------------------------------------------------------------------------------------------------

const GROUP: u16 = 0;
const BUFFERS: u16 = 1024;
const BUFFER_SIZE: usize = 64 * 1024;

struct Connection {
    /// Where in the cycle its byte 0 is.
    start: u64,
    /// Bytes echoed so far.
    received: u64,
    /// Bytes that the messages begun so far end at.
    wanted: u64,
    /// Bytes handed to the kernel to send so far.
    sent: u64,
    /// The length of the last send.
    sending_len: u64,
    /// A send is in the kernel, and its completion will tell. (With a pipeline of 1 none is asked for: the echo tells.)
    sending: bool,
    receiving: bool,
    /// The message under way is marked slow.
    slow: bool,
}

struct Driver<'a> {
    submitter: Submitter<'a>,
    queue: SubmissionQueue<'a>,
    completions: Option<CompletionQueue<'a>>,
    buffers: BufferRing,
    pattern: Pattern,
    connections: Vec<Connection>,
    /// When each message under way was begun: a ring of as many as the pipeline is deep, for each connection.
    begun: Vec<Instant>,
    size: u64,
    pipeline: u64,
    slow_every: u32,
    spin: bool,
    random: fastrand::Rng,
    check: Check,
    now: Instant,
    deadline: Instant,
    last_echo: Instant,
    under_way: u64,
    messages: u64,
    slow_messages: u64,
    /// In nanoseconds.
    latencies: Histogram<u64>,
}

/// `IORING_ENTER_GETEVENTS`: with nothing to wait for, only the completions' work is done.
const ENTER_GETEVENTS: u32 = 1;

const RECEIVE: u64 = 0;
const SEND: u64 = 1 << 32;

impl<'a> Driver<'a> {
    fn new(load: &Load, ring: &'a mut IoUring) -> anyhow::Result<Driver<'a>> {
        let buffers = BufferRing::register(&ring.submitter(), GROUP, BUFFERS, BUFFER_SIZE)?;
        let (mut submitter, queue, completions) = ring.split();
        submitter.register_ring_fd()?;
        let size = load.size as usize;
        let pipeline = load.pipeline as usize;
        let connections = (0..u64::from(load.connections))
            .map(|index| Connection {
                start: index * 7919,
                received: 0,
                wanted: 0,
                sent: 0,
                sending_len: 0,
                sending: false,
                receiving: false,
                slow: false,
            })
            .collect::<Vec<_>>();
        let now = Instant::now();
        Ok(Driver {
            submitter,
            queue,
            completions: Some(completions),
            buffers,
            pattern: Pattern::new(BUFFER_SIZE.max(size * pipeline), size),
            begun: vec![now; connections.len() * pipeline],
            connections,
            size: size as u64,
            pipeline: pipeline as u64,
            slow_every: load.slow_every,
            spin: load.spin,
            random: fastrand::Rng::with_seed(u64::from(load.address.port())),
            check: Check::Everything,
            now,
            deadline: now,
            last_echo: now,
            under_way: 0,
            messages: 0,
            slow_messages: 0,
            latencies: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        })
    }

    /// Keeps every connection busy for so long, then waits for the last echoes. At least one message each.
    fn round(&mut self, duration: Duration, check: Check) -> anyhow::Result<Round> {
        let mut completions = self.completions.take().expect("rounds do not nest");
        self.check = check;
        self.latencies.reset();
        self.messages = 0;
        self.slow_messages = 0;
        let cpu_before = processor_time();
        let start = Instant::now();
        self.now = start;
        self.deadline = start + duration;
        for index in 0..self.connections.len() {
            if !self.connections[index].receiving {
                self.receive(index)?;
            }
            let messages = match duration {
                Duration::ZERO => 1,
                _ => self.pipeline,
            };
            self.begin(index, messages)?;
        }
        while self.under_way > 0 {
            self.queue.sync();
            let entered = match self.spin {
                // SAFETY: entries were pushed with what they point to alive until their completions, and there are no arguments.
                true => unsafe { self.submitter.enter::<()>(self.queue.len() as u32, 0, ENTER_GETEVENTS, None) },
                false => self.submitter.submit_and_wait(1),
            };
            tolerate_interruption(entered)?;
            self.queue.sync();
            completions.sync();
            self.now = Instant::now();
            for completion in &mut completions {
                self.complete(&completion)?;
            }
            completions.sync();
            self.buffers.publish();
        }
        self.completions = Some(completions);
        let elapsed = self.last_echo - start;
        Ok(Round {
            messages: self.messages,
            slow_messages: self.slow_messages,
            elapsed_ns: elapsed.as_nanos() as u64,
            driver_cpu_ns: (processor_time() - cpu_before).as_nanos() as u64,
            p50_ns: self.latencies.value_at_quantile(0.5),
            p99_ns: self.latencies.value_at_quantile(0.99),
            p999_ns: self.latencies.value_at_quantile(0.999),
            max_ns: self.latencies.max(),
        })
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> anyhow::Result<()> {
        let index = completion.user_data() as u32 as usize;
        let what = completion.user_data() & SEND;
        match what {
            SEND => self.sent(index, completion.result()),
            _ => self.received(index, completion),
        }
        .with_context(|| format!("connection {index}"))
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        self.connections[index].receiving = true;
        let entry = opcode::RecvMulti::new(types::Fixed(index as u32), GROUP).build().user_data(RECEIVE | index as u64);
        self.push(entry)
    }

    fn received(&mut self, index: usize, completion: &cqueue::Entry) -> anyhow::Result<()> {
        let result = completion.result();
        let more = cqueue::more(completion.flags());
        match (result, cqueue::buffer_select(completion.flags())) {
            (1.., Some(buffer)) => {
                let len = result as usize;
                // SAFETY: this completion has just handed us the buffer, and it has not been given back.
                let bytes = unsafe { self.buffers.bytes(buffer, len) };
                let connection = &mut self.connections[index];
                ensure!(connection.received + len as u64 <= connection.sent, "more came back than was sent");
                let expected = match connection.slow {
                    false => self.pattern.piece(connection.start + connection.received, len),
                    true => {
                        let from = (connection.received % self.size) as usize;
                        &self.pattern.slow_message[from..from + len]
                    }
                };
                ensure!(
                    self.check.same(expected, bytes),
                    "bytes {}..+{len} are not what was sent",
                    connection.received
                );
                connection.received += len as u64;
                self.buffers.give_back(buffer);
                self.finish_messages(index, len as u64)?;
            }
            // All buffers were filled at once; they are free again by now.
            (result, _) if result == -libc::ENOBUFS => {}
            (0, _) => bail!("the server closed the connection"),
            (result, _) => return Err(io::Error::from_raw_os_error(-result).into()),
        }
        if !more {
            // What was given back must be visible before the kernel looks for a buffer again.
            self.buffers.publish();
            self.receive(index)?;
        }
        Ok(())
    }

    /// Counts the messages whose last byte was among the `len` just received, and begins as many anew.
    fn finish_messages(&mut self, index: usize, len: u64) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let finished_before = (connection.received - len) / self.size;
        let finished = connection.received / self.size;
        let count = finished - finished_before;
        if count == 0 {
            return Ok(());
        }
        self.last_echo = self.now;
        self.messages += count;
        self.under_way -= count;
        if mem::take(&mut connection.slow) {
            self.slow_messages += 1;
        } else {
            for message in finished_before..finished {
                let slot = index as u64 * self.pipeline + message % self.pipeline;
                let latency = self.now - self.begun[slot as usize];
                self.latencies.saturating_record((latency.as_nanos() as u64).max(1));
            }
        }
        match self.now < self.deadline {
            true => self.begin(index, count),
            false => Ok(()),
        }
    }

    fn begin(&mut self, index: usize, messages: u64) -> io::Result<()> {
        let connection = &mut self.connections[index];
        for message in 0..messages {
            let number = connection.wanted / self.size + message;
            let slot = index as u64 * self.pipeline + number % self.pipeline;
            self.begun[slot as usize] = self.now;
        }
        connection.wanted += messages * self.size;
        self.under_way += messages;
        // Not in the round that warms up and checks everything: it would block in a server for nothing.
        if self.slow_every > 0 && self.check == Check::Samples {
            connection.slow = self.random.u32(..self.slow_every) == 0;
        }
        match connection.sending {
            true => Ok(()),
            false => self.send(index),
        }
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let len = (connection.wanted - connection.sent) as usize;
        let piece = match connection.slow {
            false => self.pattern.piece(connection.start + connection.sent, len),
            true => {
                let from = (connection.sent % self.size) as usize;
                &self.pattern.slow_message[from..from + len]
            }
        };
        let entry = opcode::Send::new(types::Fixed(index as u32), piece.as_ptr(), len as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(SEND | index as u64);
        connection.sent = connection.wanted;
        connection.sending_len = len as u64;
        // A short send counts as a failure to the kernel where MSG_WAITALL is set, so it is not skipped.
        let entry = match self.pipeline {
            1 => entry.flags(Flags::SKIP_SUCCESS),
            _ => {
                connection.sending = true;
                entry
            }
        };
        self.push(entry)
    }

    fn sent(&mut self, index: usize, result: i32) -> anyhow::Result<()> {
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result).into());
        }
        let connection = &mut self.connections[index];
        connection.sending = false;
        // With MSG_WAITALL a send is short only when something is wrong, and then the next one says what.
        connection.sent -= connection.sending_len - result as u64;
        match connection.sent < connection.wanted {
            true => Ok(self.send(index)?),
            false => Ok(()),
        }
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: entries point into the pattern, which is never written, moved or freed while the ring exists: the
        // driver's process ends with both.
        unsafe { ring::push(&self.submitter, &mut self.queue, &entry) }
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
