//! Servers in C that were written for Windows, compiled by `ovl cc`; and, where there is Wine, for Windows.

#[path = "wine.rs"]
mod wine;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::server::Server;
use super::{PATIENCE, Row, say};
use crate::cc;
use crate::cli::{Demo, Model};
use wine::Wine;

/// A server in C that was written for Windows.
struct Program {
    source: &'static str,
    model: Model,
    /// In the table.
    name: &'static str,
    name_under_wine: &'static str,
}

const ALL: [Program; 2] = [
    Program { source: "IOCPEchoServ.c", model: Model::Port, name: "port, C", name_under_wine: "port, .exe under Wine" },
    Program {
        source: "CmplRouEchoServ.c",
        model: Model::Routine,
        name: "routine, C",
        name_under_wine: "routine, .exe under Wine",
    },
];

/// Wine takes some hundred times a connection's messages for the time of one here.
const MOST_UNDER_WINE: u32 = 200;
const PATIENCE_UNDER_WINE: Duration = Duration::from_secs(30);

/// What `--win32` has shown.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) rows: Vec<(&'static str, Row)>,
    /// There is one for each program.
    pub(super) is_complete: bool,
    pub(super) explanation: String,
}

impl Program {
    fn source(&self) -> Result<PathBuf> {
        Ok(cc::programs()?.join(self.source))
    }

    /// As anybody would: with `ovl cc`.
    fn compile(&self, directory: &Path) -> Result<PathBuf> {
        let source = self.source()?;
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

    fn under_wine(&self, wine: &Wine, options: &Demo, interrupted: &AtomicBool) -> Result<Row> {
        let program = wine.compile(&self.source()?)?;
        let server = Server::start_program(wine.command("wine")?.arg(program), Some(wine.server()))?;
        let options = Demo { connections: options.connections.min(MOST_UNDER_WINE), html: None, ..*options };
        Row::of(self.model, server, &options, PATIENCE_UNDER_WINE, interrupted)
    }
}

/// Compiles and measures each, until it is interrupted.
pub(super) fn measure(options: &Demo, interrupted: &AtomicBool) -> Result<Shown> {
    let bench = tempfile::tempdir().context("no temporary directory")?;
    let mut shown = Shown {
        explanation: "\nThe rows with a C are programs that were written for Windows, compiled as they are:\n  \
                      ovl cc IOCPEchoServ.c -o iocp-echo && ./iocp-echo"
            .to_owned(),
        ..Shown::default()
    };
    let goes_on = || !interrupted.load(Ordering::Relaxed);
    for program in ALL.iter().take_while(|_| goes_on()) {
        let server = Server::start_program(&mut Command::new(program.compile(bench.path())?), None)?;
        shown.rows.push((program.name, Row::of(program.model, server, options, PATIENCE, interrupted)?));
    }
    if !goes_on() {
        return Ok(shown);
    }
    say("The same sources as .exe under Wine, which first makes itself a directory; that takes some seconds.\n");
    let wine = match Wine::start() {
        Ok(wine) => wine,
        Err(why) => {
            shown.explanation += &format!("\nThe same sources as .exe under Wine were left out: {why:#}.");
            shown.is_complete = true;
            return Ok(shown);
        }
    };
    for program in ALL.iter().take_while(|_| goes_on()) {
        shown.rows.push((program.name_under_wine, program.under_wine(&wine, options, interrupted)?));
    }
    shown.explanation += "\nThose with .exe are the same sources, compiled by mingw-w64; the processor time is theirs and the wineserver's.";
    if options.connections > MOST_UNDER_WINE {
        shown.explanation += &format!("\nUnder Wine they had {MOST_UNDER_WINE} connections, which it copes with.");
    }
    shown.is_complete = shown.rows.len() == 2 * ALL.len();
    Ok(shown)
}
