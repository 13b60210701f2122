//! A server in a process of its own, so that its processor time can be told from the load's.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cli::Model;
use crate::{platform, text};

/// `ovl serve`, or another program, on a free port of this machine.
pub(super) struct Server {
    child: Child,
    /// SIGTERM ends it in good order.
    is_ours: bool,
    /// A process that works for it, too.
    helper: Option<u32>,
    pub(super) address: String,
}

impl Server {
    pub(super) fn start(model: Model) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program itself")?;
        let mut child = platform::apart(&mut Command::new(program))
            .args(["serve", "--end-with-parent", "--listen", "127.0.0.1:0", "--model", model.name()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
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
        Ok(Self { child, is_ours: true, helper: None, address })
    }

    #[cfg(target_os = "linux")]
    /// A program that takes a port for its argument, and says nothing when it listens. A helper's processor time is its own.
    pub(super) fn start_program(program: &mut Command, helper: Option<u32>) -> Result<Self> {
        const PATIENCE: Duration = Duration::from_secs(30);
        let name = format!("{program:?}");
        let address =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("no free port")?;
        // Ctrl-C is for it, too: it knows of no parent.
        let program = program.arg(address.port().to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = program.spawn().with_context(|| format!("cannot start {name}"))?;
        let mut server = Self { child, is_ours: false, helper, address: address.to_string() };
        let asked = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended with {status}");
            }
            if asked.elapsed() > PATIENCE {
                bail!("{name} does not listen");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Processor time of all its threads, in user code and in the kernel.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let helper = self.helper.map_or(Ok(Duration::ZERO), platform::cpu_time)?;
        Ok(platform::cpu_time(self.child.id())? + helper)
    }

    pub(super) fn threads(&self) -> Result<u64> {
        platform::threads(self.child.id())
    }

    /// Ends it in good order.
    pub(super) fn stop(mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        if !self.is_ours {
            return Ok(()); // it serves for ever, and is killed when it is dropped
        }
        platform::ask_to_end(&mut self.child);
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
