//! What Linux and the other Unixes are asked for beside the standard library.

use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::net::RecvFlags;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "elsewhere.rs")]
mod host;

use crate::doctor::Limits;
pub(crate) use crate::signals::two_stage;
pub(crate) use host::{cpu_time, end_with_parent, thread_number, threads, watch};

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

/// Memory that the kernel shares with a program may count against a limit.
pub(crate) const LOCKS_MEMORY: bool = true;

/// What gives more ephemeral ports.
pub(crate) const PORTS: &[(&str, &str)] = &[
    ("sysctl", "net.ipv4.ip_local_port_range=\"1024 65535\""),
    ("docker, podman", "run --sysctl net.ipv4.ip_local_port_range=\"1024 65535\" …"),
];

/// What this system allows this process.
pub(crate) fn limits() -> Limits {
    let (descriptors, memlock) = (getrlimit(Resource::Nofile), getrlimit(Resource::Memlock));
    let numbers = |path: &str| -> Vec<u64> {
        let text = fs::read_to_string(Path::new("/proc/sys/net").join(path)).unwrap_or_default();
        text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
    };
    Limits {
        descriptors_soft: descriptors.current,
        descriptors_hard: descriptors.maximum,
        memlock_bytes_soft: memlock.current,
        memlock_bytes_hard: memlock.maximum,
        ephemeral_ports: match numbers("ipv4/ip_local_port_range")[..] {
            [first, last] => Some((first, last)),
            _ => None,
        },
        somaxconn: numbers("core/somaxconn").first().copied(),
    }
}

/// The system's version, as exactly as it tells it.
pub(crate) fn version() -> String {
    system()
}

/// The system's name and version.
pub(crate) fn system() -> String {
    let system = rustix::system::uname();
    format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy())
}

/// Receives what is there; [`io::ErrorKind::WouldBlock`] if nothing is.
pub(crate) fn read_now(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let (bytes, _) = rustix::net::recv(stream, buffer, RecvFlags::DONTWAIT)?;
    Ok(bytes)
}

pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
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
