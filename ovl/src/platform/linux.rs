//! What only Linux is asked.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

pub(crate) use crate::arrivals::watch;

/// The system's number of this thread.
pub(crate) fn thread_number() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

/// Ends this process, as a signal would, when its parent ends.
pub(crate) fn end_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("cannot follow the parent process")
}

/// Processor time of all threads of a process, in user code and in the kernel.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let stat = proc(process, "stat")?;
    // Behind the name, which may hold anything, stand: state, 10 numbers, utime, stime.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

pub(crate) fn threads(process: u32) -> Result<u64> {
    let status = proc(process, "status")?;
    let count = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    count.and_then(|count| count.trim().parse().ok()).context("no thread count in /proc")
}

fn proc(process: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}: did the server end?"))
}
