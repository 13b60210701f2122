//! `ovl demo`: a server of each model, the same verified load on each, and what came of it.

mod chart;
mod page;
mod server;
#[cfg_attr(not(target_os = "linux"), path = "demo/win32_elsewhere.rs")]
mod win32;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::CellAlignment;

use crate::cli::{self, Demo, Model};
use crate::report::{self, Latency, Report};
use crate::{load, platform, text};
use server::Server;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the demonstration and returns the exit code.
pub(crate) fn run(options: &Demo) -> Result<u8> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    platform::two_stage(move |_| flag.store(true, Ordering::Relaxed)).context("cannot catch signals")?;
    let page = options.html.as_deref().map(create).transpose()?; // before, and not after, all the work
    let Demo { duration, connections, size, .. } = options;
    say(&format!(
        "An echo server of each model on a free port of this machine, and {} that send {} at a time for {}\n\
         and compare every byte that comes back.\n",
        text::count(u64::from(*connections), "connection"),
        text::count(*size as u64, "byte"),
        text::time(*duration),
    ));
    let mut rows = Vec::new();
    for model in Model::ALL {
        if !interrupted.load(Ordering::Relaxed) {
            rows.push(Row::measure(model, options, &interrupted)?);
        }
    }
    let win32 = match options.win32 {
        true => win32::measure(options, &interrupted)?,
        false => win32::Shown { is_complete: true, ..win32::Shown::default() },
    };
    let all =
        || rows.iter().map(|row| (row.model.name(), row)).chain(win32.rows.iter().map(|(name, row)| (*name, row)));
    say(&table(all()));
    all().map(|(_, row)| row).filter(|row| !row.report.is_ok()).for_each(|row| say(&row.report.to_string()));
    let complete = rows.len() == Model::ALL.len() && win32.is_complete;
    let well = complete && all().all(|(_, row)| row.report.is_ok());
    if well {
        say(&explanation(&rows));
        if options.win32 {
            say(&win32.explanation);
        }
    } else if interrupted.load(Ordering::Relaxed) {
        say("Interrupted.");
    } else {
        say("Something went wrong; see above.");
    }
    if let Some((mut file, path)) = page {
        let page = page::render(&rows, options, &page::Machine::this());
        file.write_all(page.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("\nThe same with pictures: {}", path.display()));
    }
    Ok(if well { 0 } else { 1 })
}

fn create(path: &Path) -> Result<(File, &Path)> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((file, path))
}

fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}"); // nobody reads it: the exit code still tells
}

impl Model {
    /// What to choose it for, in six words.
    fn good_for(self) -> &'static str {
        match self {
            Self::Port => "many connections, handlers that may block",
            Self::Routine => "one thread, own state, no locks",
            Self::Event => "few handles, waited for beside others",
            Self::Async => "straight-line code, one task per connection",
        }
    }

    /// What happens when an operation has ended.
    fn how(self) -> &'static str {
        match self {
            Self::Port => "a packet is put into a queue, and any of a few threads takes it",
            Self::Routine => "the thread that started it is called, while it sleeps alertably",
            Self::Event => "an event is set, and a thread waits for up to 64 of them at once",
            Self::Async => "the task that awaits it goes on",
        }
    }
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
        Self::of(model, Server::start(model)?, options, PATIENCE, interrupted)
    }

    fn of(model: Model, server: Server, options: &Demo, patience: Duration, interrupted: &AtomicBool) -> Result<Self> {
        let load = cli::Load {
            address: server.address.clone(),
            connections: options.connections,
            size: options.size,
            pipeline: 1,
            duration: Some(options.duration),
            messages: None,
            omit: Duration::ZERO,
            threads: 1,
            connect_timeout: patience,
            timeout: patience,
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

    /// The server's processor time for each message, in microseconds.
    fn cpu_us(&self) -> Option<f64> {
        match self.report.bytes_verified / self.report.options.size_bytes as u64 {
            0 => None,
            messages => Some(self.cpu.as_secs_f64() * 1e6 / messages as f64),
        }
    }

    fn cpu(&self) -> String {
        micros(self.cpu_us())
    }

    fn latency(&self, which: fn(&Latency) -> f64) -> String {
        micros(self.report.latency_us.as_ref().map(which))
    }

    fn rate(&self) -> String {
        text::thousands(self.report.messages_per_s.round() as u64)
    }

    fn verified(&self) -> String {
        let wrong = if self.report.is_ok() { "" } else { ", WRONG" };
        text::thousands(self.report.bytes_verified) + wrong
    }
}

/// A time, or that there is none.
fn micros(us: Option<f64>) -> String {
    us.map_or_else(|| "-".to_owned(), text::micros)
}

fn table<'a>(rows: impl Iterator<Item = (&'a str, &'a Row)>) -> String {
    let header = [
        "model",
        "messages/s",
        "p50",
        "p99",
        "server CPU\nper message",
        "server\nthreads",
        "bytes verified",
        "good for",
    ];
    let cells = |(name, row): (&str, &Row)| {
        vec![
            name.to_owned(),
            row.rate(),
            row.latency(|at| at.p50),
            row.latency(|at| at.p99),
            row.cpu(),
            row.threads.to_string(),
            row.verified(),
            row.model.good_for().to_owned(),
        ]
    };
    let mut table = report::table(&header, rows.map(cells));
    let last = table.column_mut(header.len() - 1).expect("as many columns as headers");
    last.set_cell_alignment(CellAlignment::Left);
    table.to_string()
}

/// What a newcomer has just seen, and what to look at next.
fn explanation(rows: &[Row]) -> String {
    let verified = rows.iter().map(|row| row.report.bytes_verified).sum();
    let mut text = format!(
        "Each byte of {} came back right. The servers ran on {}: they started receives and sends without\n\
         waiting for them. The models differ in what happens when one has ended:\n",
        text::size(verified),
        rows[0].report.engine,
    );
    for model in Model::ALL {
        text += &format!("  {:<9}{}\n", model.name(), model.how());
    }
    text + "\nNext, in two terminals:\n  \
         ovl serve --buffer-size 50        a server whose receives take 50 bytes at most (try --model routine, too)\n  \
         ovl client                        type a line longer than that, and see how it comes back\n\
         More load:  ovl load --connections 1000 --pipeline 16        All there is:  ovl --help"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_is_good_for_takes_six_words() {
        for model in Model::ALL {
            assert_eq!(model.good_for().split(' ').count(), 6, "{}", model.name());
        }
    }
}
