//! Child processes: how they are built, started, pinned, asked, measured and ended.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use overlapped_bench::protocol::{Load, Placement, Report, Round};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::options::Options;
use crate::servers::{Contender, MadeFrom};

/// Under `cargo run` only the runner itself is built; this builds the rest.
pub fn build_servers(options: &Options) -> anyhow::Result<()> {
    let Some(cargo) = env::var_os("CARGO").filter(|_| !options.no_build) else {
        return Ok(());
    };
    if cfg!(debug_assertions) {
        eprintln!("warning: unoptimised servers measure nothing; use `cargo run --release`");
    }
    let profile: &[&str] = match cfg!(debug_assertions) {
        true => &[],
        false => &["--release"],
    };
    let build = |package: &Path| {
        let mut command = Command::new(&cargo);
        command.args(["build", "--quiet"]).args(profile).current_dir(package);
        command
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    done(build(here).arg("--bins"), "the servers")?;
    let binaries = env::current_exe()?.parent().context("a program lies in a folder")?.to_owned();
    let source = here.join("c/echo-win32.c");
    for made_from in options.contenders()?.iter().map(|contender| contender.kind.made_from) {
        match made_from {
            MadeFrom::Rust => {}
            MadeFrom::C => {
                let product = binaries.join("product");
                done(build(&here.join("..")).arg("--target-dir").arg(&product), "ovl")?;
                let ovl = product.join(profile.first().map_or("debug", |_| "release")).join("ovl");
                let echo = binaries.join("echo-win32");
                done(Command::new(ovl).args(["cc", "-O2"]).arg(&source).arg("-o").arg(echo), "the C server")?;
            }
            MadeFrom::CForWindows => build_for_wine(&source, &binaries)?,
        }
    }
    Ok(())
}

/// An .exe, and a script that runs it with a Wine prefix of its own, which is made here: that takes longer than a server may take to start.
fn build_for_wine(source: &Path, binaries: &Path) -> anyhow::Result<()> {
    let exe = binaries.join("echo-win32.exe");
    let compile = ["-O2", "-static", "-o"];
    done(
        Command::new("x86_64-w64-mingw32-gcc").args(compile).arg(&exe).arg(source).arg("-lws2_32"),
        "the C server for Windows, by gcc-mingw-w64",
    )?;
    let script = binaries.join("echo-wine");
    let text = "#!/bin/sh\nhere=$(dirname \"$0\")\nexport WINEPREFIX=\"$here/wine\" WINEDEBUG=-all\nexec wine \"$here/echo-win32.exe\" \"$@\"\n";
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    // Without arguments it says how it is used, and that it was not.
    let mut first = Command::new(&script);
    let status = first.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    anyhow::ensure!(status.code() == Some(2), "the C server does not run under Wine ({status}); is wine installed?");
    // Wine's sockets belong to its server process, which stays for a while: it would listen in the network that we are about to leave.
    let _ = Command::new("wineserver").arg("--kill").env("WINEPREFIX", binaries.join("wine")).status();
    Ok(())
}

fn done(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("{} could not be started", command.get_program().display()))?;
    match status.success() {
        true => Ok(()),
        false => bail!("{what} could not be built"),
    }
}

/// The processors for the servers and for the drivers.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub servers: Option<usize>,
    pub drivers: Option<usize>,
}

impl Cores {
    /// One each, so that a server's work is all its own and on one processor.
    pub fn apart() -> anyhow::Result<Cores> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let (first, second) = (cores.next(), cores.next());
        if second.is_none() {
            eprintln!("warning: one processor for servers and drivers; throughput and latency mean nothing");
        }
        Ok(Cores { servers: first, drivers: second })
    }

    pub const SHARED: Cores = Cores { servers: None, drivers: None };
}

/// A child that does not outlive this value, nor this process.
struct Guarded {
    child: Child,
}

impl Guarded {
    fn start(binary: &str, arguments: &[String], core: Option<usize>) -> anyhow::Result<Guarded> {
        let mut path: PathBuf = env::current_exe()?;
        path.set_file_name(binary);
        let mut command = Command::new(&path);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let pin = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if let Some(core) = core {
                let mut set = CpuSet::new();
                set.set(core);
                sched_setaffinity(None, &set)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec `pin` makes two system calls and neither allocates nor takes a lock.
        unsafe { command.pre_exec(pin) };
        let child = command.spawn().with_context(|| format!("{} could not be started", path.display()))?;
        Ok(Guarded { child })
    }

    /// For how long it was ready to run and something else ran instead. Of a process with several threads nothing can be
    /// said: they wait for each other.
    fn kept_waiting(&self) -> anyhow::Result<Duration> {
        let process = format!("/proc/{}", self.child.id());
        if fs::read_dir(format!("{process}/task"))?.count() > 1 {
            return Ok(Duration::ZERO);
        }
        // Three numbers: nanoseconds running, nanoseconds waiting to run, and turns.
        let text = fs::read_to_string(format!("{process}/schedstat"))?;
        let waiting = text.split_whitespace().nth(1).map(str::parse);
        let waiting = waiting.with_context(|| format!("schedstat is {text:?}"))??;
        Ok(Duration::from_nanos(waiting))
    }

    fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().expect("it is a pipe, taken once"))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The next line, or an error when none comes in time or ever.
fn line(from: &mut BufReader<ChildStdout>, within: Duration) -> anyhow::Result<String> {
    let mut line = String::new();
    if from.buffer().is_empty() {
        let timeout = Timespec::try_from(within)?;
        let mut fds = [PollFd::new(from.get_ref(), PollFlags::IN)];
        if poll(&mut fds, Some(&timeout))? == 0 {
            bail!("nothing heard for {} s", within.as_secs());
        }
    }
    match from.read_line(&mut line)? {
        0 => bail!("it ended without a word"),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// A running server.
pub struct Server {
    pub name: String,
    pub address: SocketAddr,
    process: Guarded,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    pub fn start(contender: &Contender, extra: &[String], core: Option<usize>) -> anyhow::Result<Server> {
        let mut arguments = vec!["127.0.0.1:0".to_owned()];
        arguments.extend(contender.kind.arguments.iter().map(|&word| word.to_owned()));
        arguments.extend_from_slice(extra);
        arguments.extend_from_slice(&contender.arguments);
        let mut process = Guarded::start(contender.kind.binary, &arguments, core)?;
        let mut stdout = process.stdout();
        let first = line(&mut stdout, Duration::from_secs(10)).with_context(|| format!("server {}", contender.name))?;
        let address = first
            .strip_prefix("listening on ")
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("server {} began with {first:?}", contender.name))?;
        Ok(Server { name: contender.name.clone(), address, process, _stdout: stdout })
    }

    /// The processor time of all its threads so far, of those that have ended and the kernel's io workers too.
    pub fn processor_time(&self) -> io::Result<Duration> {
        let mut clock = 0;
        // SAFETY: the call writes a clock id to the local it is given, and nothing else.
        let error = unsafe { libc::clock_getcpuclockid(self.pid() as i32, &mut clock) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let mut time = MaybeUninit::uninit();
        // SAFETY: the call writes a timespec to the local it is given, and nothing else.
        if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has succeeded, so it has written the timespec.
        let time: libc::timespec = unsafe { time.assume_init() };
        Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }

    /// Its memory now: resident, and the part of it that is not shared with others.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let file = format!("/proc/{}/smaps_rollup", self.pid());
        let text = fs::read_to_string(&file).context(file)?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"))
                .and_then(|kib| kib.trim().parse::<i64>().ok())
                .map(|kib| kib * 1024)
                .with_context(|| format!("smaps_rollup has no {name}"))
        };
        Ok(Memory { resident: field("Rss:")?, proportional: field("Pss:")? })
    }

    /// See [`Driver::kept_waiting`].
    pub fn kept_waiting(&self) -> anyhow::Result<Duration> {
        self.process.kept_waiting()
    }

    fn pid(&self) -> u32 {
        self.process.child.id()
    }
}

/// In bytes; signed, for differences.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub resident: i64,
    pub proportional: i64,
}

/// A driver with its connections to one server.
pub struct Driver {
    server: String,
    /// How many connections each of the server's workers serves, as far as that says anything.
    pub connections_by_worker: Vec<u32>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    process: Guarded,
}

/// For connecting 10,000 times to a busy machine, and beyond the length of a round.
const PATIENCE: Duration = Duration::from_secs(60);

impl Driver {
    pub fn start(server: &Server, load: &Load, core: Option<usize>) -> anyhow::Result<Driver> {
        let placement = match load.placement {
            Placement::Any => "any",
            Placement::One => "one",
            Placement::Even => "even",
        };
        let arguments = [
            server.address.to_string(),
            format!("--connections={}", load.connections),
            format!("--size={}", load.size),
            format!("--pipeline={}", load.pipeline),
            format!("--slow-every={}", load.slow_every),
            format!("--placement={placement}"),
            format!("--workers={}", load.workers),
        ];
        let arguments = arguments.into_iter().chain(load.spin.then(|| "--spin".to_owned())).collect::<Vec<_>>();
        let mut process = Guarded::start("driver", &arguments, core)?;
        let stdout = process.stdout();
        let stdin = process.child.stdin.take().expect("it is a pipe, taken once");
        let mut driver =
            Driver { server: server.name.clone(), connections_by_worker: Vec::new(), stdin, stdout, process };
        match driver.hear(PATIENCE)? {
            Report::Ready { connections_by_worker } => driver.connections_by_worker = connections_by_worker,
            other => bail!("the driver of {} began with {other:?}", driver.server),
        }
        Ok(driver)
    }

    /// One round on all connections.
    pub fn round(&mut self, millis: u64) -> anyhow::Result<Round> {
        writeln!(self.stdin, "run {millis}")?;
        match self.hear(PATIENCE + Duration::from_millis(millis))? {
            Report::Round(round) => Ok(round),
            other => bail!("the driver of {} answered {other:?}", self.server),
        }
    }

    /// For how long it has been ready to run while other programs ran.
    pub fn kept_waiting(&self) -> anyhow::Result<Duration> {
        self.process.kept_waiting()
    }

    fn hear(&mut self, within: Duration) -> anyhow::Result<Report> {
        let context = || format!("the driver of server {}", self.server);
        let line = line(&mut self.stdout, within).with_context(context)?;
        match serde_json::from_str(&line).with_context(context)? {
            Report::Failed(why) => bail!("server {}: {why}", self.server),
            report => Ok(report),
        }
    }
}

/// A load without anything special.
pub fn plain_load(server: &Server, connections: u32, size: u32, pipeline: u32) -> Load {
    Load {
        address: server.address,
        connections,
        size,
        pipeline,
        slow_every: 0,
        spin: false,
        placement: Placement::Any,
        workers: 1,
    }
}
