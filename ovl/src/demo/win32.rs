//! Servers in C that were written for Windows, compiled by `ovl cc`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use super::Row;
use super::server::Server;
use crate::cc;
use crate::cli::{Demo, Model};

/// How many there are.
pub(super) const PROGRAMS: usize = 2;

/// A server in C that was written for Windows.
struct Program {
    source: &'static str,
    model: Model,
    /// In the table.
    name: &'static str,
}

const ALL: [Program; PROGRAMS] = [
    Program { source: "IOCPEchoServ.c", model: Model::Port, name: "port, C" },
    Program { source: "CmplRouEchoServ.c", model: Model::Routine, name: "routine, C" },
];

/// What `--win32` has shown.
pub(super) const EXPLANATION: &str = "\nThe rows with a C are programs that were written for Windows, compiled as they are:\n  \
                     ovl cc IOCPEchoServ.c -o iocp-echo && ./iocp-echo";

impl Program {
    /// As anybody would: with `ovl cc`.
    fn compile(&self, directory: &Path) -> Result<PathBuf> {
        let source = cc::programs()?.join(self.source);
        let program = directory.join(self.source).with_extension("");
        let ovl = std::env::current_exe().context("cannot find this program itself")?;
        let output = Command::new(ovl)
            .args(["cc", "-O2", "-o"])
            .arg(&program)
            .arg(&source)
            .output()
            .context("cannot run `ovl cc`")?;
        if !output.status.success() {
            bail!("{} does not compile:\n{}", source.display(), String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(program)
    }
}

/// Compiles and measures each, until it is interrupted.
pub(super) fn measure(options: &Demo, interrupted: &AtomicBool) -> Result<Vec<(&'static str, Row)>> {
    let bench = tempfile::tempdir().context("no temporary directory")?;
    let mut rows = Vec::new();
    for program in &ALL {
        if !interrupted.load(Ordering::Relaxed) {
            let server = Server::start_program(&program.compile(bench.path())?)?;
            rows.push((program.name, Row::of(program.model, server, options, interrupted)?));
        }
    }
    Ok(rows)
}
