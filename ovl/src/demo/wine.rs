//! The same sources as programs for Windows, by mingw-w64, under Wine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};

use crate::cc;

const COMPILER: &str = "x86_64-w64-mingw32-gcc";
const PATIENCE: Duration = Duration::from_secs(10);
const TOOLS: [&str; 3] = ["wine", "wineserver", COMPILER];

/// What has to be there and is not.
fn missing() -> Vec<&'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = |tool: &str| env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    TOOLS.into_iter().filter(|tool| !there(tool)).collect()
}

/// A Windows of its own, in a directory that goes with it.
pub(super) struct Wine {
    /// What Windows' kernel does is done in this process, for all programs.
    server: Child,
    directory: tempfile::TempDir,
}

impl Wine {
    /// Takes seconds.
    pub(super) fn start() -> Result<Self> {
        let missing = missing();
        ensure!(missing.is_empty(), "not on the PATH: {}", missing.join(", "));
        let directory = tempfile::Builder::new().prefix("ovl-wine-").tempdir().context("no temporary directory")?;
        // Without a program it would end at once; in the foreground it is our child, whose time can be asked for.
        let server = at_home(Command::new("wineserver"), directory.path())?
            .args(["--foreground", "--persistent=60"])
            .spawn()
            .context("cannot start wineserver")?;
        let mut wine = Self { server, directory };
        wine.await_server()?; // a program that is sooner starts another
        let prepared = wine.command("wine")?.args(["wineboot", "--init"]).status().context("cannot run wine")?;
        ensure!(prepared.success(), "Wine does not start: wineboot ended with {prepared}");
        ensure!(wine.server.try_wait()?.is_none(), "Wine does not start: its server has ended");
        Ok(wine)
    }

    /// It works in the directory of its socket.
    fn await_server(&mut self) -> Result<()> {
        let socket = format!("/proc/{}/cwd/socket", self.server.id());
        let asked = Instant::now();
        while !Path::new(&socket).exists() {
            if let Some(status) = self.server.try_wait()? {
                bail!("wineserver ended with {status}");
            }
            ensure!(asked.elapsed() < PATIENCE, "wineserver does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(super) fn command(&self, program: &str) -> Result<Command> {
        at_home(Command::new(program), self.directory.path())
    }

    /// The process whose work is Wine's, whatever program it is done for.
    pub(super) fn server(&self) -> u32 {
        self.server.id()
    }

    /// With Windows' own headers, as mingw-w64 has them. Those are in lower case, and a source may write them in any.
    pub(super) fn compile(&self, source: &Path) -> Result<PathBuf> {
        let spellings = self.directory.path().join("spellings");
        cc::spellings(source, &spellings)?;
        let name = source.file_name().context("a source has a name")?;
        let program = self.directory.path().join(name).with_extension("exe");
        let mut compiler = Command::new(COMPILER);
        compiler
            .args(["-O2", "-static", "-w", "-D_WIN32_WINNT=0x0A00", "-isystem"])
            .arg(&spellings)
            .arg("-o")
            .arg(&program);
        compiler.arg(source).args(["-lws2_32", "-lmswsock"]);
        let output = compiler.output().with_context(|| format!("cannot run {COMPILER}"))?;
        if !output.status.success() {
            bail!(
                "{COMPILER} does not compile {}:\n{}",
                source.display(),
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        Ok(program)
    }
}

impl Drop for Wine {
    /// All that runs in it ends, too.
    fn drop(&mut self) {
        let _ = self.command("wineserver").map(|mut command| command.arg("--kill").status());
        let asked = Instant::now();
        while matches!(self.server.try_wait(), Ok(None)) {
            if asked.elapsed() > PATIENCE {
                let _ = self.server.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Quiet, without a display, and with nothing of it outside a directory.
fn at_home(mut command: Command, directory: &Path) -> Result<Command> {
    let (prefix, temporary) = (directory.join("prefix"), directory.join("tmp"));
    fs::create_dir_all(&prefix)?;
    fs::create_dir_all(&temporary)?;
    command.env("WINEPREFIX", prefix).env("TMPDIR", temporary).env_remove("XDG_RUNTIME_DIR");
    command
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", "mscoree,mshtml,winemenubuilder.exe=")
        .env_remove("DISPLAY");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}
