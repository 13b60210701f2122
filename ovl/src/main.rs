//! `ovl`: echo servers in four models of overlapped I/O, a client and a load generator that verify every byte.

#[cfg(target_os = "linux")]
mod arrivals;
#[cfg(target_os = "linux")]
mod cc;
mod cli;
mod client;
mod demo;
mod doctor;
mod limits;
mod load;
mod pattern;
#[cfg_attr(unix, path = "platform/unix.rs")]
#[cfg_attr(windows, path = "platform/windows.rs")]
mod platform;
mod report;
mod serve;
#[cfg(unix)]
mod signals;
mod text;
mod trace;

use std::process::ExitCode;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let result = match &Cli::of_this_process().command {
        Command::Demo(options) => demo::run(options),
        Command::Serve(options) => serve::run(options),
        Command::Client(options) => client::run(options),
        Command::Load(options) => load::run(options),
        #[cfg(target_os = "linux")]
        Command::Cc(options) => cc::run(cc::Language::C, options),
        #[cfg(target_os = "linux")]
        Command::Cxx(options) => cc::run(cc::Language::Cxx, options),
        Command::Doctor(options) => doctor::run(options),
    };
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("ovl: {error:#}");
            ExitCode::FAILURE
        }
    }
}
