//! `ovl`: echo servers on a completion port, a client and a load generator that verify every byte.

mod arrivals;
mod cli;
mod client;
mod demo;
mod limits;
mod load;
mod pattern;
mod report;
mod serve;
mod signals;
mod text;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let result = match &Cli::parse().command {
        Command::Demo(options) => demo::run(options),
        Command::Serve(options) => serve::run(options),
        Command::Client(options) => client::run(options),
        Command::Load(options) => load::run(options),
    };
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("ovl: {error:#}");
            ExitCode::FAILURE
        }
    }
}
