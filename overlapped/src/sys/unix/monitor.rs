//! The monitor: one thread of the process that looks after workers who do not come round.
//!
//! Windows knows when a thread blocks; here somebody has to look. Each millisecond, while there is somebody to step in, the monitor
//! looks at every lane whose holder is in its handler. If the holder has asked for no packet since the last look *and* the kernel
//! says that it sleeps, its lane goes to the worker that came last. One that computes keeps its lane, as on Windows. Where nobody can
//! step in the monitor looks less often, only to hand over what a handler has started and not got round to submitting.
//! When nothing runs it sleeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use super::engine::Wait;
use super::lane::{Holder, Lane};
use super::{Port, host};
use crate::Result;
use crate::sync::Mutex;

/// How often it looks while a worker waits that could step in.
const ALERT: Duration = Duration::from_millis(1);
/// How often it looks while workers run and nobody could step in.
const CALM: Duration = Duration::from_millis(10);
/// After so long with nothing to see it sleeps.
const PATIENCE: Duration = Duration::from_millis(100);

static PORTS: Mutex<Vec<Watched>> = Mutex::new(Vec::new());
static THREAD: OnceLock<Thread> = OnceLock::new();
static ASLEEP: AtomicBool = AtomicBool::new(false);

struct Watched {
    port: Weak<Port>,
    /// The beat of each lane when it was last looked at.
    beats: Vec<u64>,
}

/// Puts a port under observation, for as long as it lives.
pub(super) fn watch(port: &Arc<Port>) -> Result<()> {
    let mut ports = PORTS.lock();
    if THREAD.get().is_none() {
        let monitor = thread::Builder::new().name("overlapped monitor".into()).stack_size(128 * 1024).spawn(run)?;
        let _ = THREAD.set(monitor.thread().clone());
    }
    ports.push(Watched { port: Arc::downgrade(port), beats: vec![0; port.lanes().len()] });
    Ok(())
}

/// Lets the kernel have what was started on any port and not yet handed over: the process is about to end.
pub(super) fn flush() {
    const PATIENCE: u32 = 20;
    for _ in 0..PATIENCE {
        let ports: Vec<_> = PORTS.lock().iter().filter_map(|watched| watched.port.upgrade()).collect();
        for port in &ports {
            for lane in port.lanes() {
                if lane.equipped().is_some_and(|engine| engine.unsubmitted() > 0) {
                    let _ = lane.enter(Wait::No); // there is nobody left to try again
                }
            }
        }
        if !ports.is_empty() || THREAD.get().is_none() {
            return;
        }
        thread::sleep(Duration::from_micros(200)); // the monitor has just taken the list to look at them
    }
}

/// There may be something to see.
#[inline]
pub(super) fn wake() {
    if ASLEEP.load(Ordering::SeqCst)
        && ASLEEP.swap(false, Ordering::SeqCst)
        && let Some(thread) = THREAD.get()
    {
        thread.unpark();
    }
}

fn run() {
    let mut idle = Duration::ZERO;
    loop {
        let (pause, busy) = look();
        match busy {
            true => {
                idle = Duration::ZERO;
                thread::sleep(pause);
            }
            false if idle < PATIENCE => {
                idle += pause;
                thread::sleep(pause);
            }
            false => {
                // Said first, looked again afterwards: a wake-up that comes in between finds the flag set.
                ASLEEP.store(true, Ordering::SeqCst);
                if !look().1 {
                    while ASLEEP.load(Ordering::SeqCst) {
                        thread::park();
                    }
                }
                ASLEEP.store(false, Ordering::SeqCst);
                idle = Duration::ZERO;
            }
        }
    }
}

/// Looks at every port. Returns when to look again, and whether there is anything to look after now.
fn look() -> (Duration, bool) {
    let (mut pause, mut busy) = (CALM, false);
    let mut ports = std::mem::take(&mut *PORTS.lock());
    ports.retain_mut(|watched| {
        let Some(port) = watched.port.upgrade() else { return false };
        if !port.is_closed() {
            // What times out here may drop a key of the user's, whose drop may panic; the other ports are still looked after.
            busy |= catch_unwind(AssertUnwindSafe(|| look_at(&port, &mut watched.beats))).unwrap_or(true);
            if port.has_reserve() || busy && port.somebody_waits() {
                pause = ALERT;
            }
        }
        true
    });
    PORTS.lock().append(&mut ports);
    (pause, busy)
}

/// Whether there is anything to look after.
fn look_at(port: &Arc<Port>, beats: &mut [u64]) -> bool {
    let mut busy = false;
    for (lane, seen) in port.lanes().iter().zip(beats) {
        if lane.equipped().is_none() {
            continue;
        }
        match lane.holder() {
            Holder::Waiting => {}
            Holder::Nobody if !lane.is_engaged() && !lane.is_ready() => {}
            Holder::Nobody => {
                busy = true;
                port.push_forward(lane);
                if lane.is_ready() {
                    port.release_one();
                }
            }
            Holder::Running => {
                let beat = lane.beat.load(Ordering::Relaxed);
                if std::mem::replace(seen, beat) == beat {
                    long_in_handler(port, lane);
                }
                busy = true;
            }
        }
    }
    port.timers.fire();
    busy
}

fn long_in_handler(port: &Arc<Port>, lane: &Lane) {
    let tid = lane.tid.load(Ordering::SeqCst);
    if lane.in_handler.load(Ordering::Relaxed) && port.has_reserve() && host::is_blocked(tid) {
        port.relieve(lane, tid);
        return;
    }
    port.push_forward(lane);
    if lane.is_ready() {
        port.release_one(); // whoever sleeps in another lane takes it from here
    }
}
