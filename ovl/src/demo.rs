//! `ovl demo`: a server of each model, verified load on it, and what came of it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{self, Demo, Model};
use crate::report::{self, Report};
use crate::{load, signals, text};

/// The models, one row each.
const MODELS: [Model; 1] = [Model::Port];

/// Runs the demonstration and returns the exit code.
pub(crate) fn run(options: &Demo) -> Result<u8> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    signals::two_stage(move |_| flag.store(true, Ordering::Relaxed)).context("cannot catch signals")?;
    let Demo { duration, connections, size } = options;
    say(&format!(
        "An echo server for each model on a free port of this machine, and {} that send {} for {}\n\
         and compare every byte that comes back.\n",
        text::count(u64::from(*connections), "connection"),
        text::count(*size as u64, "byte") + " at a time",
        text::time(*duration),
    ));
    let mut rows = Vec::new();
    for model in MODELS {
        if !interrupted.load(Ordering::Relaxed) {
            rows.push(Row::measure(model, options, &interrupted)?);
        }
    }
    let header =
        ["model", "messages/s", "p50", "p99", "server CPU per message", "server threads", "bytes verified", "verdict"];
    say(&report::table(&header, rows.iter().map(Row::cells)).to_string());
    rows.iter().filter(|row| !row.report.is_ok()).for_each(|row| say(&row.report.to_string()));
    let well = !rows.is_empty() && rows.iter().all(|row| row.report.is_ok());
    if well {
        let (verified, engine) = (rows.iter().map(|row| row.report.bytes_verified).sum(), rows[0].report.engine);
        say(&format!(
            "Each byte of {} came back right. The server ran on {engine}: its receives and sends were\n\
             started without waiting, and a few threads took their completions from one port.\n\n\
             Next, in two terminals:\n  \
             ovl serve --buffer-size 50        a server whose receives take 50 bytes at most\n  \
             ovl client                        type a line longer than that, and see how it comes back\n\
             More load:  ovl load --connections 1000 --pipeline 16        All there is:  ovl --help",
            text::size(verified),
        ));
    } else {
        say("Something went wrong; see above.");
    }
    Ok(if well { 0 } else { 1 })
}

fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}"); // nobody reads it: the exit code still tells
}

/// What a model has shown.
struct Row {
    model: Model,
    report: Report,
    cpu: Duration,
    threads: u64,
}

impl Row {
    fn measure(model: Model, options: &Demo, interrupted: &AtomicBool) -> Result<Self> {
        let server = Server::start(model)?;
        let load = cli::Load {
            address: server.address.clone(),
            connections: options.connections,
            size: options.size,
            pipeline: 1,
            duration: Some(options.duration),
            messages: None,
            omit: Duration::ZERO,
            threads: 1,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            seed: 1,
            json: None,
        };
        let before = server.cpu_time()?;
        let report = load::measure(&load, interrupted)?;
        let cpu = server.cpu_time()?.saturating_sub(before);
        let threads = server.threads()?;
        server.stop()?;
        Ok(Self { model, report, cpu, threads })
    }

    fn cells(&self) -> Vec<String> {
        let latency = |which: fn(&report::Latency) -> f64| {
            self.report.latency_us.as_ref().map_or_else(|| "-".to_owned(), |latency| text::micros(which(latency)))
        };
        let cpu = match self.report.bytes_verified / self.report.options.size_bytes as u64 {
            0 => "-".to_owned(),
            messages => text::micros(self.cpu.as_secs_f64() * 1e6 / messages as f64),
        };
        vec![
            self.model.name().to_owned(),
            text::thousands(self.report.messages_per_s.round() as u64),
            latency(|latency| latency.p50),
            latency(|latency| latency.p99),
            cpu,
            self.threads.to_string(),
            text::thousands(self.report.bytes_verified),
            if self.report.is_ok() { "all right" } else { "WRONG" }.to_owned(),
        ]
    }
}

/// A server in a process of its own, so that its processor time can be told from the load's.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(model: Model) -> Result<Self> {
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
    fn cpu_time(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        // Behind the name, which may hold anything, stand: state, 10 numbers, utime, stime.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    fn threads(&self) -> Result<u64> {
        let status = self.proc("status")?;
        let count = status.lines().find_map(|line| line.strip_prefix("Threads:"));
        count.and_then(|count| count.trim().parse().ok()).context("no thread count in /proc")
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}: did the server end?"))
    }

    /// Ends it in good order.
    fn stop(mut self) -> Result<()> {
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
