//! The runner: starts servers and drivers, lets them take turns, and compares.

mod memory;
mod network;
mod options;
mod paired;
mod picture;
mod process;
mod report;
mod servers;
mod workers;

use std::fs;

use anyhow::{Context, ensure};
use clap::Parser;

use options::{Benchmark, Options};

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !network::is_own() {
        process::build_servers(&options)?;
        network::enter()?;
    }
    let mut report = report::Report::new(&options);
    match options.benchmark {
        None => {
            report.paired = paired::run(&options)?;
            report.memory = memory::run(&options)?;
        }
        Some(Benchmark::Paired) => report.paired = paired::run(&options)?,
        Some(Benchmark::Memory) => report.memory = memory::run(&options)?,
        Some(Benchmark::Blocking) => report.blocking = workers::blocking(&options)?,
        Some(Benchmark::Imbalance) => report.imbalance = workers::imbalance(&options)?,
    }
    report.print_tables(options.json.as_deref());
    if let Some(file) = &options.svg {
        fs::write(file, picture::draw(&report)).with_context(|| file.display().to_string())?;
    }
    report.write_json(options.json.as_deref())?;
    ensure!(report.failures().next().is_none(), "a server failed");
    Ok(())
}
