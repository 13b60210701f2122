//! In which pieces an answer arrives.
//!
//! TCP shows no pieces to one who comes late: what has arrived is read as one. And one who sleeps until the first piece is there
//! does come late, as a server on the same machine has sent the others meanwhile. So for a moment two threads, each on a
//! processor of its own, look on without sleeping how the socket fills. Two, as Linux likes to run the server on the processor
//! that woke it, in place of the one who looks.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{SendFlags, send};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// How long to look for an answer without sleeping. Only who talks to a server nearby gains by it, and that one answers soon.
const MOMENT: Duration = Duration::from_millis(5);

/// Sends what of `message` fits into the socket, and watches the answer arrive, for a moment at most. Returns how many bytes
/// were sent, and after how many bytes of the answer a piece was seen to end. Receives nothing.
pub(crate) fn watch(stream: &TcpStream, message: &[u8]) -> io::Result<(usize, BTreeSet<usize>)> {
    let looking = AtomicBool::new(false);
    let over = AtomicBool::new(false);
    let look = || look_on(stream, message.len(), &over);
    thread::scope(|scope| {
        let all = sched_getaffinity(None);
        let other = other_processors().and_then(|others| {
            let mut own = CpuSet::new();
            own.set(sched_getcpu());
            let _ = sched_setaffinity(None, &own);
            let looking = &looking;
            let watcher = move || {
                // Not allowed to? It then shares this processor, and is of less use.
                let _ = sched_setaffinity(None, &others);
                let _ = ioctl_fionread(stream); // the first look is slow
                looking.store(true, Ordering::Release);
                look()
            };
            thread::Builder::new().spawn_scoped(scope, watcher).ok()
        });
        while other.is_some() && !looking.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let sent: io::Result<usize> = match send(stream, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            // The server has gone: what it left, and how it went, is for the receive to find.
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(message.len()),
            Err(error) => Err(error.into()),
        };
        let mut seen = if sent.is_ok() { look() } else { BTreeSet::new() };
        over.store(true, Ordering::Relaxed);
        if let Ok(all) = all {
            let _ = sched_setaffinity(None, &all);
        }
        if let Some(other) = other {
            seen.extend(other.join().expect("who looks on does not panic"));
        }
        Ok((sent?, seen))
    })
}

/// The processors that this thread may use, without the one that it is on; `None` if it has no choice.
fn other_processors() -> Option<CpuSet> {
    let mut others = sched_getaffinity(None).ok()?;
    others.unset(sched_getcpu());
    (others.count() > 0).then_some(others)
}

/// Notes how many bytes there are to be received, whenever it is more than before, until all `expected` are or it is `over`.
fn look_on(stream: &TcpStream, expected: usize, over: &AtomicBool) -> BTreeSet<usize> {
    let start = Instant::now();
    let mut seen = BTreeSet::new();
    let mut most = 0;
    while most < expected && !over.load(Ordering::Relaxed) && start.elapsed() < MOMENT {
        match ioctl_fionread(stream) {
            Ok(bytes) if bytes as usize > most => {
                most = bytes as usize;
                seen.insert(most);
            }
            _ => std::hint::spin_loop(),
        }
    }
    seen
}
