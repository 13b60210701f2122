//! What Windows is asked for beside the standard library.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::os::windows::fs::FileExt;
use std::os::windows::process::CommandExt;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use winsafe::{FILETIME, HPROCESS, HPROCESSLIST, co};

use crate::doctor::Limits;

/// The exit code of a program that Ctrl-C ended, as shells know it.
const INTERRUPTED: i32 = 130;

type First = Box<dyn FnOnce(&'static str) + Send>;

/// What the first Ctrl-C calls.
static FIRST: Mutex<Option<First>> = Mutex::new(None);

/// Calls `first` with the name of the first event that asks to end, on a thread of its own. At the second the process exits.
pub(crate) fn two_stage(first: impl FnOnce(&'static str) + Send + 'static) -> io::Result<()> {
    *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(first));
    ctrlc::set_handler(|| {
        if !ask("Ctrl-C") {
            process::exit(INTERRUPTED);
        }
    })
    .map_err(io::Error::other)
}

/// Whether it was the first time.
fn ask(name: &'static str) -> bool {
    let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
    first.map(|first| first(name)).is_some()
}

/// There is no limit on handles that one could reach, or raise.
pub(crate) const CURE: &str = "close other programs";

pub(crate) fn raise_descriptors() -> u64 {
    u64::MAX
}

/// No limit on locked memory concerns what we do.
pub(crate) const LOCKS_MEMORY: bool = false;

/// What gives more ephemeral ports.
pub(crate) const PORTS: &[(&str, &str)] =
    &[("as administrator", "netsh int ipv4 set dynamicport tcp start=1025 num=64511")];

/// What this system allows this process: of what Linux limits Windows has the ephemeral ports only.
pub(crate) fn limits() -> Limits {
    let ports = || {
        let told = Command::new("netsh").args(["int", "ipv4", "show", "dynamicport", "tcp"]).output().ok()?;
        dynamic_ports(&String::from_utf8_lossy(&told.stdout))
    };
    Limits { ephemeral_ports: ports(), ..Limits::default() }
}

/// The first and the last: netsh shows the first and how many they are, each behind a colon, and all else in the person's language.
fn dynamic_ports(told: &str) -> Option<(u64, u64)> {
    let numbers = told.lines().filter_map(|line| line.rsplit_once(':')?.1.trim().parse::<u64>().ok());
    match numbers.collect::<Vec<_>>()[..] {
        [first, count] if count > 0 => Some((first, first + count - 1)),
        _ => None,
    }
}

/// The system's version, as its command interpreter says it.
pub(crate) fn version() -> String {
    let told = Command::new("cmd").args(["/d", "/c", "ver"]).output();
    let text = told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { system() } else { text }
}

/// The system's name and the processor's.
pub(crate) fn system() -> String {
    format!("Windows on {}", std::env::consts::ARCH)
}

/// A number of this thread: the first that asks is 1.
pub(crate) fn thread_number() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// In which pieces the answer arrives is not watched here: nothing is sent yet, and nothing was seen.
pub(crate) fn watch(_stream: &TcpStream, _message: &[u8]) -> io::Result<(usize, BTreeSet<usize>)> {
    Ok((0, BTreeSet::new()))
}

/// Receives what is there; [`ErrorKind::WouldBlock`] if nothing is.
pub(crate) fn read_now(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    stream.set_nonblocking(true)?;
    let read = (&mut &*stream).read(buffer);
    stream.set_nonblocking(false)?;
    read
}

pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset)? {
            0 => return Err(ErrorKind::WriteZero.into()),
            written => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
        }
    }
    Ok(())
}

/// Ends this process in good order when its parent ends, or closes our standard input.
pub(crate) fn end_with_parent() -> Result<()> {
    let watch = || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink()); // an error is an end, too
        // Before there is anybody to be asked? Then it is about to be.
        while !ask("end of the parent") {
            thread::sleep(Duration::from_millis(10));
        }
    };
    thread::Builder::new().name("parent".to_owned()).spawn(watch).context("cannot follow the parent process")?;
    Ok(())
}

/// Prepares the start of a server that [`ask_to_end`] is to end: Ctrl-C is for us.
pub(crate) fn apart(command: &mut Command) -> &mut Command {
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    command.stdin(Stdio::piped()).creation_flags(CREATE_NEW_PROCESS_GROUP)
}

/// Asks a server to end in good order: by the end of its standard input.
pub(crate) fn ask_to_end(server: &mut Child) {
    drop(server.stdin.take());
}

/// Processor time of all threads of a process, in user code and in the kernel.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let gone = || "cannot ask for the server's processor time: did it end?";
    let process = HPROCESS::OpenProcess(co::PROCESS::QUERY_LIMITED_INFORMATION, false, process).with_context(gone)?;
    let (_, _, kernel, user) = process.GetProcessTimes().with_context(gone)?;
    Ok(duration(kernel) + duration(user))
}

/// A span, which is counted in units of 100 nanoseconds.
fn duration(span: FILETIME) -> Duration {
    Duration::from_nanos((u64::from(span.dwHighDateTime) << 32 | u64::from(span.dwLowDateTime)) * 100)
}

pub(crate) fn threads(process: u32) -> Result<u64> {
    let mut list = HPROCESSLIST::CreateToolhelp32Snapshot(co::TH32CS::SNAPPROCESS, None)?;
    for entry in list.iter_processes() {
        let entry = entry?;
        if entry.th32ProcessID == process {
            return Ok(entry.cntThreads.into());
        }
    }
    anyhow::bail!("the server is not among the processes: did it end?")
}

#[cfg(test)]
mod tests {
    use super::dynamic_ports;

    #[test]
    fn the_ports_are_read_in_any_language() {
        let told = "\r\nProtocol tcp Dynamic Port Range\r\n---------------------------------\r\nStart Port      : 49152\r\nNumber of Ports : 16384\r\n\r\n";
        assert_eq!(dynamic_ports(told), Some((49_152, 65_535)));
        let told = "Dynamischer Portbereich des Protokolls \"tcp\"\n---\nStartport: 1025\nAnzahl von Ports: 64511\n";
        assert_eq!(dynamic_ports(told), Some((1025, 65_535)));
        assert_eq!(dynamic_ports(""), None);
        assert_eq!(dynamic_ports("The requested operation requires elevation: 1"), None);
    }
}
