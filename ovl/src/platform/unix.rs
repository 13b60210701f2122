//! What Linux is asked for beside the standard library.

use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::RecvFlags;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, set_parent_process_death_signal, setrlimit,
};

pub(crate) use crate::arrivals::watch;
pub(crate) use crate::signals::two_stage;

/// How to raise the limit on open descriptors; what every message about it ends with.
pub(crate) const CURE: &str =
    "raise it with `ulimit -n NUMBER` in the shell (as root beyond the hard limit), or LimitNOFILE= in a systemd unit";

/// Raises the soft limit to the hard one, which any process may, and returns how many descriptors it now allows.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If it fails the old limit still holds, and that is what is returned.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The system's name and version.
pub(crate) fn system() -> String {
    let system = rustix::system::uname();
    format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy())
}

/// The system's number of this thread.
pub(crate) fn thread_number() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

/// Receives what is there; [`io::ErrorKind::WouldBlock`] if nothing is.
pub(crate) fn read_now(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let (bytes, _) = rustix::net::recv(stream, buffer, RecvFlags::DONTWAIT)?;
    Ok(bytes)
}

pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Ends this process, as a signal would, when its parent ends.
pub(crate) fn end_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("cannot follow the parent process")
}

/// Prepares the start of a server that [`ask_to_end`] is to end: Ctrl-C is for us.
pub(crate) fn apart(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).process_group(0)
}

/// Asks a server to end in good order.
pub(crate) fn ask_to_end(server: &mut Child) {
    if let Some(pid) = Pid::from_raw(server.id() as i32) {
        let _ = kill_process(pid, Signal::TERM); // gone already: waiting for it tells how
    }
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
