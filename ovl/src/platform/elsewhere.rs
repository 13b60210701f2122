//! What the other Unixes are asked. It has been compiled for FreeBSD and macOS, and not run.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Signal, getpid, getppid, kill_process};

/// In which pieces the answer arrives is not watched here: nothing is sent yet, and nothing was seen.
pub(crate) fn watch(_stream: &TcpStream, _message: &[u8]) -> io::Result<(usize, BTreeSet<usize>)> {
    Ok((0, BTreeSet::new()))
}

/// A number of this thread: the first that asks is 1.
pub(crate) fn thread_number() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Ends this process, as a signal would, when its parent ends: then it has another one.
pub(crate) fn end_with_parent() -> Result<()> {
    let parent = getppid();
    let watch = move || {
        while getppid() == parent {
            thread::sleep(Duration::from_millis(200));
        }
        let _ = kill_process(getpid(), Signal::TERM); // of our own, so it is allowed
    };
    thread::Builder::new().name("parent".to_owned()).spawn(watch).context("cannot follow the parent process")?;
    Ok(())
}

/// Processor time of all threads of a process, in user code and in the kernel.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let text = ps(process, &["-o", "time="])?;
    duration(text.trim()).with_context(|| format!("`ps` says that the server has used {text:?}"))
}

/// From `[[DAYS-]HOURS:]MINUTES:SECONDS`, with a fraction where the system has one.
fn duration(text: &str) -> Option<Duration> {
    let (days, time) = text.split_once('-').unwrap_or(("0", text));
    let mut seconds = days.parse::<f64>().ok()? * 86_400.0;
    let mut units = [1.0, 60.0, 3600.0].into_iter();
    for part in time.rsplit(':') {
        seconds += part.parse::<f64>().ok()? * units.next()?;
    }
    Some(Duration::from_secs_f64(seconds))
}

/// One line a thread, below a head.
pub(crate) fn threads(process: u32) -> Result<u64> {
    let each = if cfg!(target_vendor = "apple") { "-M" } else { "-H" };
    Ok(ps(process, &[each])?.lines().count().saturating_sub(1) as u64)
}

fn ps(process: u32, what: &[&str]) -> Result<String> {
    let told = Command::new("ps").args(what).args(["-p", &process.to_string()]).output().context("cannot run `ps`")?;
    Ok(String::from_utf8_lossy(&told.stdout).into_owned())
}
