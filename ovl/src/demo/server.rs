//! A server in a process of its own, so that its processor time can be told from the load's.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::Model;
use crate::text;

/// `ovl serve` on a free port of this machine.
pub(super) struct Server {
    child: Child,
    pub(super) address: String,
}

impl Server {
    pub(super) fn start(model: Model) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program itself")?;
        let mut child = Command::new(program)
            .args(["serve", "--end-with-parent", "--listen", "127.0.0.1:0", "--model", model.name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // Ctrl-C is for us; we end the server
            .spawn()
            .context("cannot start a server")?;
        let mut ready = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        out.read_line(&mut ready).context("cannot read from the server")?;
        let address = ready.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
        let Some(address) = address.map(str::to_owned) else {
            let mut complaint = String::new();
            let _ = child.stderr.take().expect("stderr is piped").read_to_string(&mut complaint);
            let _ = child.wait();
            bail!("the server of model {} did not start: {}", model.name(), complaint.trim());
        };
        child.stdout = Some(out.into_inner());
        Ok(Self { child, address })
    }

    /// Processor time of all its threads, in user code and in the kernel.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        // Behind the name, which may hold anything, stand: state, 10 numbers, utime, stime.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    pub(super) fn threads(&self) -> Result<u64> {
        let status = self.proc("status")?;
        let count = status.lines().find_map(|line| line.strip_prefix("Threads:"));
        count.and_then(|count| count.trim().parse().ok()).context("no thread count in /proc")
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}: did the server end?"))
    }

    /// Ends it in good order.
    pub(super) fn stop(mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM); // gone already: `try_wait` tells how
        }
        let asked = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the server ended with {status}"),
                None if asked.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                None => bail!("the server did not end within {}", text::time(PATIENCE)),
            }
        }
    }
}

impl Drop for Server {
    /// After an error: the server must not outlive us.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
