//! The front desk: what the threads of a server share, whatever its model, and how the main thread hears of them.
//!
//! Who comes and goes passes here, and so do shortages and the end; messages do not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use overlapped::done::Done;
use overlapped::net::TcpStream;
use overlapped::{BufferPool, Error, Operation};

use super::guests::Guest;
use super::roster::{Later, Next, Roster};
use super::summary::{Summary, Tally};
use crate::cli::Serve;
use crate::platform;

/// How long a listener does not accept after a shortage: trying at once would only spin.
const PAUSE: Duration = Duration::from_millis(100);
/// Memory that the receive buffers may take together.
const POOL_BYTES: usize = 32 << 20;

/// What the main thread is told while others serve.
enum News {
    /// SIGINT or SIGTERM.
    Signal(&'static str),
    /// Something ran into a shortage, and this is to be done after a pause.
    Short(Later),
    /// The last connection of a server that is stopping has left.
    Empty,
    /// A thread has ended.
    Ended,
}

pub(super) struct Desk {
    /// The receive buffers of all connections.
    pub(super) pool: BufferPool,
    pub(super) idle_timeout: Option<Duration>,
    /// The number of connections is.
    pub(super) is_limited: bool,
    /// What went through the datagram sockets.
    datagrams: Tally,
    roster: Mutex<Roster>,
    news: Sender<News>,
    shortage_reported: AtomicBool,
    stopping: AtomicBool,
}

/// What a listener has brought.
pub(super) enum Arrived {
    /// Somebody to be served, in a place of its own.
    Guest(Guest),
    /// Nobody, or nobody who is to be served now.
    Nobody,
    /// Nobody, as descriptors or memory are short: the listener is to pause.
    Shortage,
}

/// Tells the main thread when a thread ends, in whatever way: before the server does it means that it cannot go on.
pub(super) struct Serving<'a>(&'a Desk);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let _ = self.0.news.send(News::Ended); // who hears nothing more has finished
    }
}

/// Where the main thread hears of the others.
pub(super) struct Hearing(Receiver<News>);

impl Desk {
    pub(super) fn new(options: &Serve) -> Result<(Arc<Self>, Hearing)> {
        let (news, hearing) = mpsc::channel();
        let signal = news.clone();
        platform::two_stage(move |name| drop(signal.send(News::Signal(name)))).context("cannot catch signals")?;
        let desk = Self {
            pool: BufferPool::new(options.buffer_size, (POOL_BYTES / options.buffer_size).clamp(16, 2048))?,
            idle_timeout: options.idle_timeout,
            is_limited: options.max_connections.is_some(),
            datagrams: Tally::default(),
            roster: Mutex::new(Roster::new(options.max_connections.map(u64::from))),
            news,
            shortage_reported: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        };
        Ok((Arc::new(desk), Hearing(hearing)))
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With a time limit, if idle connections are to be closed.
    pub(super) fn within<T: Done>(&self, operation: Operation<T>) -> Operation<T> {
        match self.idle_timeout {
            None => operation,
            Some(limit) => operation.within(limit),
        }
    }

    /// Whether a listener may accept now. If not, what would `open` it is called when it may.
    pub(super) fn may_accept(&self, open: impl FnOnce() -> Later) -> bool {
        self.roster().may_accept(open)
    }

    /// An accept has ended.
    pub(super) fn arrived(&self, result: overlapped::Result<TcpStream>) -> Arrived {
        match result {
            Ok(stream) => match self.roster().admit(stream) {
                Some((stream, number)) => Arrived::Guest(self.guest(stream, number)),
                None => Arrived::Nobody,
            },
            // Our own closing of the listener.
            Err(_) if self.is_stopping() => Arrived::Nobody,
            // Somebody who left while the system was still letting them in.
            Err(error @ Error::CONNECTION_ABORTED) => {
                self.count_error(error);
                Arrived::Nobody
            }
            Err(error) => {
                self.report_shortage(error);
                Arrived::Shortage
            }
        }
    }

    fn guest(&self, stream: TcpStream, number: u64) -> Guest {
        if let Err(error) = stream.set_nodelay(true) {
            self.count_error(error);
        }
        Guest { stream, tally: Tally::of(number) }
    }

    /// Somebody leaves, whose connection `close` closes. Who waited for the place gets it, and is to be served.
    #[must_use = "who waited for the place is to be served"]
    pub(super) fn leave(&self, tally: &Tally, error: Option<Error>, close: impl FnOnce()) -> Option<Guest> {
        let mut roster = self.roster();
        match error {
            Some(Error::SEM_TIMEOUT) if self.idle_timeout.is_some() => roster.summary.idle += 1,
            Some(error) => roster.summary.add_error(error),
            None => {}
        }
        roster.summary.add(tally);
        let next = roster.leave();
        drop(roster); // a door that opens comes back to it
        close(); // now: whom it lets know that there is a place finds one
        match next {
            Next::Serve(stream, number) => return Some(self.guest(stream, number)),
            Next::Open(doors) => doors.into_iter().for_each(|open| open()),
            Next::Finish => drop(self.news.send(News::Empty)), // who hears nothing more has finished
        }
        None
    }

    /// The grace is over, and this one is still here.
    pub(super) fn cut_off(&self, tally: &Tally) {
        let mut roster = self.roster();
        roster.summary.cut_off += 1;
        roster.summary.add(tally);
    }

    /// A datagram went back, or not.
    pub(super) fn echoed_datagram(&self, result: overlapped::Result<usize>) {
        match result {
            Ok(bytes) => self.datagrams.echoed_shared(bytes),
            Err(error) => self.count_error(error),
        }
    }

    pub(super) fn count_error(&self, error: Error) {
        self.roster().summary.add_error(error);
    }

    /// Has something done after a pause: there is a shortage now.
    pub(super) fn after_pause(&self, later: Later) {
        if !self.is_stopping() {
            let _ = self.news.send(News::Short(later)); // who hears nothing more has finished
        }
    }

    /// Each thread that serves holds this.
    pub(super) fn serving(&self) -> Serving<'_> {
        Serving(self)
    }

    /// Whether the first signal has come.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn report_shortage(&self, error: Error) {
        self.count_error(error);
        if self.shortage_reported.swap(true, Ordering::Relaxed) {
            return;
        }
        let cure = if error == Error::TOO_MANY_OPEN_FILES {
            format!("\n     to serve more at once, {}; --max-connections keeps below it", platform::CURE)
        } else {
            String::new()
        };
        eprintln!("ovl: cannot accept: {error}; newcomers wait until others leave (said once){cure}");
    }

    /// What the main thread does while others serve: resumes what has paused and, at the first signal, calls `stop`, which closes
    /// the listeners and lets everybody go as soon as what they sent is echoed. Returns when nobody is left, or `grace` is over.
    pub(super) fn conduct(&self, Hearing(news): &Hearing, grace: Duration, stop: impl Fn()) {
        let mut paused: Vec<(Instant, Later)> = Vec::new();
        let mut deadline = None;
        loop {
            let next = paused.iter().map(|(due, _)| *due).chain(deadline).min();
            let heard = match next {
                None => news.recv().map_err(RecvTimeoutError::from),
                Some(due) => news.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match heard {
                Ok(News::Signal(name)) => {
                    eprintln!("{name}: finishing what is in flight (once more to end at once)");
                    self.stopping.store(true, Ordering::SeqCst);
                    self.roster().stop();
                    stop();
                    if self.roster().is_empty() {
                        return;
                    }
                    deadline = Some(Instant::now() + grace);
                }
                Ok(News::Short(later)) => paused.push((Instant::now() + PAUSE, later)),
                Ok(News::Empty | News::Ended) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if deadline.is_some_and(|end| end <= Instant::now()) => return,
                Err(RecvTimeoutError::Timeout) => {
                    paused.extract_if(.., |(due, _)| *due <= Instant::now()).for_each(|(_, later)| later());
                }
            }
        }
    }

    /// The summary, when all threads have ended.
    pub(super) fn summary(&self) -> Summary {
        let mut summary = std::mem::take(&mut self.roster().summary);
        summary.add(&self.datagrams);
        summary
    }
}
