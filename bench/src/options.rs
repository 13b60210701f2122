//! The runner's command line.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};

use crate::servers::{Contender, KINDS};

/// Compares echo servers: processor time per message, throughput, latency and memory
#[derive(Parser)]
#[command(version, about)]
pub struct Options {
    #[command(subcommand)]
    pub benchmark: Option<Benchmark>,
    /// Which servers take part
    #[arg(long, global = true, value_delimiter = ',', value_name = "NAME,...")]
    pub servers: Vec<String>,
    /// One more server, as 'NAME=KIND ARGUMENTS'; or 'KIND=ARGUMENTS' to change one
    #[arg(long, global = true, value_name = "SPEC")]
    pub server: Vec<Contender>,
    /// The server that the ratios are taken to
    #[arg(long, global = true, default_value = "uring", value_name = "NAME")]
    pub baseline: String,
    /// What to measure, each as CONNECTIONSxSIZE or CONNECTIONSxSIZExPIPELINE
    #[arg(long, global = true, value_delimiter = ',', value_name = "64x4096,...")]
    pub scenarios: Vec<Scenario>,
    /// How many times each server has its turn
    #[arg(long, global = true)]
    pub rounds: Option<usize>,
    /// How many times servers are started anew, each time for a share of the rounds: where their memory lies differs from one start to
    /// the next [default: 5]
    #[arg(long, global = true)]
    pub starts: Option<usize>,
    /// How long a turn is, in milliseconds [default: 100, and longer with many connections]
    #[arg(long, global = true)]
    pub round_ms: Option<u64>,
    /// A first impression within a minute or two: fewer scenarios, fewer and shorter rounds
    #[arg(long, global = true)]
    pub quick: bool,
    /// Connections for `memory`, `blocking` and `imbalance`
    #[arg(long, global = true)]
    pub connections: Option<u32>,
    /// Threads per server for `blocking` and `imbalance`
    #[arg(long, global = true, default_value_t = 2)]
    pub workers: u16,
    /// Processor time of a message's handler in `imbalance`, in microseconds
    #[arg(long, global = true, default_value_t = 100)]
    pub work_us: u64,
    /// How long a slow message's handler blocks in `blocking`, in milliseconds
    #[arg(long, global = true, default_value_t = 20)]
    pub slow_ms: u64,
    /// One message in so many is slow in `blocking`
    #[arg(long, global = true, default_value_t = 100)]
    pub slow_every: u32,
    /// Seeds the order of turns [default: random, and printed]
    #[arg(long, global = true, default_value_t = fastrand::u64(..1_000_000), hide_default_value = true)]
    pub seed: u64,
    /// Write everything measured as JSON; `-` is standard output, without the tables
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the ratios
    #[arg(long, global = true, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Use the servers as they were built before
    #[arg(long, global = true)]
    pub no_build: bool,
}

#[derive(Clone, Copy, Subcommand)]
pub enum Benchmark {
    /// Processor time per message, throughput and latency (and `memory` after it: the default)
    Paired,
    /// Memory per idle connection
    Memory,
    /// What becomes of other requests when some handlers block
    Blocking,
    /// What becomes of throughput when one worker has all the busy connections
    Imbalance,
}

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    pub connections: u32,
    pub size: u32,
    pub pipeline: u32,
}

impl FromStr for Scenario {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Scenario> {
        let numbers = text
            .split('x')
            .map(str::parse)
            .collect::<Result<Vec<u32>, _>>()
            .with_context(|| format!("{text:?} is not CONNECTIONSxSIZE"))?;
        ensure!(!numbers.contains(&0), "nothing in {text:?} can be 0");
        match numbers[..] {
            [connections, size] => Ok(scenario(connections, size, 1)),
            [connections, size, pipeline] => Ok(scenario(connections, size, pipeline)),
            _ => bail!("{text:?} is not CONNECTIONSxSIZE or CONNECTIONSxSIZExPIPELINE"),
        }
    }
}

const fn scenario(connections: u32, size: u32, pipeline: u32) -> Scenario {
    Scenario { connections, size, pipeline }
}

impl Scenario {
    pub fn title(&self) -> String {
        let connections = match self.connections {
            1 => "1 connection".to_owned(),
            many => format!("{} connections", grouped(many)),
        };
        let size = match self.size {
            kib if kib % 1024 == 0 => format!("{} KiB", kib / 1024),
            bytes => format!("{bytes} B"),
        };
        match self.pipeline {
            1 => format!("{connections}, {size}"),
            deep => format!("{connections}, {size}, {deep} under way"),
        }
    }
}

fn grouped(number: u32) -> String {
    match number {
        0..10_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

impl Options {
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 15 } else { 51 }).max(1)
    }

    /// The rounds of each start.
    pub fn rounds_by_start(&self) -> Vec<usize> {
        let starts = self.starts.unwrap_or(5).clamp(1, self.rounds());
        (0..starts).map(|start| self.rounds() * (start + 1) / starts - self.rounds() * start / starts).collect()
    }

    /// Short, so that what disturbs a turn disturbs the baseline's too; but long enough for all connections to have
    /// several messages echoed.
    pub fn round_ms(&self, connections: u32) -> u64 {
        self.round_ms.unwrap_or((u64::from(connections) / 25).max(100)).max(1)
    }

    pub fn scenarios(&self) -> Vec<Scenario> {
        if !self.scenarios.is_empty() {
            return self.scenarios.clone();
        }
        let quick = [scenario(64, 64, 1), scenario(1000, 64, 1)];
        let all = [
            scenario(1, 64, 1),
            scenario(64, 64, 1),
            scenario(1000, 64, 1),
            scenario(10_000, 64, 1),
            scenario(64, 64, 16),
            scenario(64, 4096, 1),
            scenario(64, 16_384, 1),
            scenario(64, 65_536, 1),
        ];
        match self.quick {
            true => quick.to_vec(),
            false => all.to_vec(),
        }
    }

    /// Who takes part: those named by `--servers` or else the usual ones, changed and joined by those of `--server`.
    pub fn contenders(&self) -> anyhow::Result<Vec<Contender>> {
        let mut contenders = match self.servers.is_empty() {
            true => KINDS
                .iter()
                .filter(|kind| kind.by_default)
                .map(|kind| Contender::named(kind.name))
                .collect::<anyhow::Result<Vec<_>>>()?,
            false => {
                let own = |name: &&String| !self.server.iter().any(|own| own.name == **name);
                self.servers.iter().filter(own).map(|name| Contender::named(name)).collect::<anyhow::Result<_>>()?
            }
        };
        for own in &self.server {
            match contenders.iter_mut().find(|known| known.name == own.name) {
                Some(known) => *known = own.clone(),
                None => contenders.push(own.clone()),
            }
        }
        Ok(contenders)
    }
}
