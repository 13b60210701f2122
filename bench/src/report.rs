//! What is measured, as data (the JSON) and as tables.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use overlapped_bench::protocol::Round;
use serde::{Deserialize, Serialize};

use crate::options::{Options, Scenario};

/// Changes whenever the meaning of a field does.
const SCHEMA: &str = "overlapped-bench/1";

#[derive(Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub seed: u64,
    pub baseline: String,
    pub rounds: usize,
    pub machine: Machine,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paired: Vec<PairedScenario>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<MemoryResult>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocking: Vec<BlockingResult>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imbalance: Vec<ImbalanceResult>,
}

#[derive(Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub kernel: String,
}

#[derive(Serialize, Deserialize)]
pub struct PairedScenario {
    pub scenario: Scenario,
    pub round_ms: u64,
    /// Some server had hardly any undisturbed rounds, so all rounds count.
    pub disturbed: bool,
    pub servers: Vec<PairedServer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failure>,
}

/// A server that did not echo what it was sent, or stopped.
#[derive(Serialize, Deserialize)]
pub struct Failure {
    pub server: String,
    pub error: String,
}

impl Failure {
    pub fn new(server: &str, error: &anyhow::Error) -> Failure {
        eprintln!("{server} failed: {error:#}");
        Failure { server: server.to_owned(), error: format!("{error:#}") }
    }
}

#[derive(Serialize, Deserialize)]
pub struct PairedServer {
    pub server: String,
    /// Of the server's processor time per message, to the baseline's in the same round; absent without a baseline.
    pub ratio: Option<Ratio>,
    pub rounds_counted: usize,
    /// Medians over the rounds counted
    pub cpu_ns_per_message: f64,
    pub messages_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// The share of the time that the server and the driver were running. A driver near 1 was the limit.
    pub server_busy: f64,
    pub driver_busy: f64,
    pub turns: Vec<Turn>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Ratio {
    /// Of the rounds' ratios. This is the result.
    pub median: f64,
    pub lowest: f64,
    pub quartiles: [f64; 2],
    /// The server's lower quartile of processor time per message to the baseline's: what is left to see where so much
    /// else ran that few rounds were undisturbed. Disturbance only ever adds.
    pub quiet: f64,
    /// By round, of those counted.
    pub each: Vec<f64>,
}

/// A server's part of a round.
#[derive(Clone, Serialize, Deserialize)]
pub struct Turn {
    pub server_cpu_ns: u64,
    /// For how long server and driver were ready to run while other programs ran
    pub waited_ns: u64,
    /// Other programs ran for more than a small part of the time: not counted where enough other turns were not.
    pub disturbed: bool,
    #[serde(flatten)]
    pub round: Round,
}

#[derive(Serialize, Deserialize)]
pub struct MemoryResult {
    pub server: String,
    pub connections: u32,
    pub message_size: u32,
    pub resident_bytes_before: i64,
    pub resident_bytes_per_connection: f64,
    pub proportional_bytes_per_connection: f64,
}

/// Latencies are those of the messages that did not ask to block.
#[derive(Serialize, Deserialize)]
pub struct BlockingResult {
    pub server: String,
    pub messages_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
}

#[derive(Serialize, Deserialize)]
pub struct ImbalanceResult {
    pub server: String,
    pub skew_can_be_made: bool,
    pub skewed_messages_per_second: f64,
    pub even_messages_per_second: f64,
    pub skewed_to_even: f64,
}

/// The share of a turn that other programs may take before it counts as disturbed.
const MOST_WAITING: f64 = 0.03;

/// So many undisturbed rounds are enough to leave the others out.
const ENOUGH_TURNS: usize = 5;

impl Turn {
    pub fn new(round: Round, server_cpu: Duration, waited: Duration) -> Turn {
        let waited_ns = waited.as_nanos() as u64;
        Turn {
            server_cpu_ns: server_cpu.as_nanos() as u64,
            waited_ns,
            disturbed: waited_ns as f64 > MOST_WAITING * round.elapsed_ns as f64,
            round,
        }
    }

    fn cpu_ns_per_message(&self) -> f64 {
        self.server_cpu_ns as f64 / self.round.messages as f64
    }
}

impl PairedScenario {
    /// `turns` has each server's, round by round.
    pub fn new(
        scenario: Scenario,
        round_ms: u64,
        turns: Vec<(String, Vec<Turn>)>,
        failed: Vec<Failure>,
        baseline: &str,
    ) -> PairedScenario {
        let baseline = turns.iter().find(|(name, _)| name == baseline).map(|(_, turns)| turns.clone());
        let is_calm = |own: &[Turn], round: usize| {
            let base = baseline.as_ref().map(|turns| &turns[round]);
            !own[round].disturbed && base.is_none_or(|turn| !turn.disturbed)
        };
        let calm = |own: &[Turn]| (0..own.len()).filter(|&round| is_calm(own, round)).count();
        let disturbed = turns.iter().any(|(_, own)| calm(own) < ENOUGH_TURNS.min(own.len()));
        let servers = turns
            .into_iter()
            .map(|(server, own)| {
                let counted = (0..own.len()).filter(|&round| disturbed || is_calm(&own, round));
                let counted: Vec<usize> = counted.collect();
                PairedServer::new(server, own, baseline.as_deref(), &counted)
            })
            .collect();
        PairedScenario { scenario, round_ms, disturbed, servers, failed }
    }
}

impl PairedServer {
    /// `baseline` has the baseline's turns; `counted` are the rounds that count.
    fn new(server: String, turns: Vec<Turn>, baseline: Option<&[Turn]>, counted: &[usize]) -> PairedServer {
        let middle = |value: &dyn Fn(&Turn) -> f64| median(counted.iter().map(|&round| value(&turns[round])).collect());
        let elapsed = |turn: &Turn| turn.round.elapsed_ns as f64;
        let pairs = |baseline: &[Turn]| -> Vec<(f64, f64)> {
            let cpu = |turns: &[Turn], round: usize| turns[round].cpu_ns_per_message();
            counted.iter().map(|&round| (cpu(&turns, round), cpu(baseline, round))).collect()
        };
        PairedServer {
            server,
            ratio: baseline.map(|baseline| Ratio::new(&pairs(baseline))),
            rounds_counted: counted.len(),
            cpu_ns_per_message: middle(&Turn::cpu_ns_per_message),
            messages_per_second: middle(&|turn| turn.round.messages as f64 * 1e9 / elapsed(turn)),
            p50_us: middle(&|turn| turn.round.p50_ns as f64 / 1e3),
            p99_us: middle(&|turn| turn.round.p99_ns as f64 / 1e3),
            p999_us: middle(&|turn| turn.round.p999_ns as f64 / 1e3),
            server_busy: middle(&|turn| turn.server_cpu_ns as f64 / elapsed(turn)),
            driver_busy: middle(&|turn| turn.round.driver_cpu_ns as f64 / elapsed(turn)),
            turns,
        }
    }
}

impl Ratio {
    /// Of pairs of a server's and the baseline's processor time per message.
    fn new(pairs: &[(f64, f64)]) -> Ratio {
        let (own, base): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let each: Vec<f64> = pairs.iter().map(|(own, base)| own / base).collect();
        let ascending = sorted(each.clone());
        Ratio {
            median: median(each.clone()),
            lowest: ascending[0],
            quartiles: [lower_quartile(&ascending), upper_quartile(&ascending)],
            quiet: lower_quartile(&sorted(own)) / lower_quartile(&sorted(base)),
            each,
        }
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn lower_quartile(ascending: &[f64]) -> f64 {
    ascending[ascending.len() / 4]
}

fn upper_quartile(ascending: &[f64]) -> f64 {
    ascending[ascending.len() * 3 / 4]
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: Vec<f64>) -> f64 {
    let values = sorted(values);
    let half = values.len() / 2;
    match values.len() % 2 {
        0 => (values[half - 1] + values[half]) / 2.0,
        _ => values[half],
    }
}

impl Report {
    pub fn new(options: &Options) -> Report {
        eprintln!("seed {}", options.seed);
        Report {
            schema: SCHEMA.to_owned(),
            seed: options.seed,
            baseline: options.baseline.clone(),
            rounds: options.rounds(),
            machine: Machine::this(),
            paired: Vec::new(),
            memory: Vec::new(),
            blocking: Vec::new(),
            imbalance: Vec::new(),
        }
    }

    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.paired.iter().flat_map(|result| &result.failed)
    }

    pub fn write_json(&self, file: Option<&Path>) -> anyhow::Result<()> {
        let Some(file) = file else { return Ok(()) };
        let mut out: Box<dyn Write> = match file.to_str() {
            Some("-") => Box::new(io::stdout().lock()),
            _ => Box::new(File::create(file).with_context(|| file.display().to_string())?),
        };
        let mut buffered = BufWriter::new(&mut out);
        serde_json::to_writer_pretty(&mut buffered, self)?;
        writeln!(buffered)?;
        Ok(buffered.flush()?)
    }

    /// On standard output, unless the JSON goes there.
    pub fn print_tables(&self, json: Option<&Path>) {
        if json.is_some_and(|file| file.as_os_str() == "-") {
            return;
        }
        for result in &self.paired {
            println!();
            println!("{}", result.scenario.title());
            if result.disturbed {
                println!("  Other programs ran during nearly all of this: trust the ratios less, and nothing else.");
            }
            println!(
                "  {:18} {:>15} {:>7} {:>7} {:>9} {:>11} {:>9} {:>9} {:>9} {:>12} {:>6}",
                "",
                "CPU/message to",
                "quiet",
                "lowest",
                "CPU ns",
                "messages/s",
                "p50 µs",
                "p99 µs",
                "p99.9 µs",
                "busy",
                "rounds"
            );
            println!(
                "  {:18} {:>15} {:>7} {:>9} {:>11} {:>9} {:>9} {:>9} {:>12}",
                "", self.baseline, "", "/message", "", "", "", "", "server/drv"
            );
            for server in &result.servers {
                let (ratio, quiet, lowest) = match &server.ratio {
                    Some(ratio) => {
                        let half_spread = (ratio.quartiles[1] - ratio.quartiles[0]) / 2.0;
                        (
                            format!("{:.3} ± {half_spread:.3}", ratio.median),
                            format!("{:.3}", ratio.quiet),
                            format!("{:.3}", ratio.lowest),
                        )
                    }
                    None => ("–".to_owned(), "–".to_owned(), "–".to_owned()),
                };
                println!(
                    "  {:18} {ratio:>15} {quiet:>7} {lowest:>7} {:>9.0} {:>11.0} {:>9.1} {:>9.1} {:>9.1} {:>6.0}%/{:>3.0}% {:>6}",
                    server.server,
                    server.cpu_ns_per_message,
                    server.messages_per_second,
                    server.p50_us,
                    server.p99_us,
                    server.p999_us,
                    server.server_busy * 100.0,
                    server.driver_busy * 100.0,
                    server.rounds_counted,
                );
            }
        }
        for failure in self.failures() {
            println!("\nFAILED: {}", failure.error);
        }
        if !self.memory.is_empty() {
            println!();
            println!("memory per idle connection that has echoed one message, in bytes");
            println!("  {:18} {:>11} {:>8} {:>10} {:>14}", "", "connections", "message", "resident", "proportional");
            for result in &self.memory {
                println!(
                    "  {:18} {:>11} {:>8} {:>10.0} {:>14.0}",
                    result.server,
                    result.connections,
                    result.message_size,
                    result.resident_bytes_per_connection,
                    result.proportional_bytes_per_connection,
                );
            }
        }
        if !self.blocking.is_empty() {
            println!();
            println!("latency of the messages that do not block");
            println!("  {:18} {:>11} {:>10} {:>10} {:>10}", "", "messages/s", "p50 µs", "p99 µs", "p99.9 µs");
            for result in &self.blocking {
                println!(
                    "  {:18} {:>11.0} {:>10.0} {:>10.0} {:>10.0}",
                    result.server, result.messages_per_second, result.p50_us, result.p99_us, result.p999_us,
                );
            }
        }
        if !self.imbalance.is_empty() {
            println!();
            println!("throughput with all connections on one worker, to the same spread evenly");
            println!("  {:18} {:>8} {:>12} {:>12}", "", "ratio", "skewed/s", "even/s");
            for result in &self.imbalance {
                println!(
                    "  {:18} {:>8.3} {:>12.0} {:>12.0}{}",
                    result.server,
                    result.skewed_to_even,
                    result.skewed_messages_per_second,
                    result.even_messages_per_second,
                    match result.skew_can_be_made {
                        true => "",
                        false => "   (connections belong to no worker: the same load twice)",
                    }
                );
            }
        }
    }
}

impl Machine {
    fn this() -> Machine {
        let first = |file: &str, prefix: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(prefix));
            let value = line.map(|line| line.rsplit(": ").next().unwrap_or(line).to_owned());
            value.unwrap_or_else(|| "unknown".to_owned())
        };
        Machine {
            processor: first("/proc/cpuinfo", "model name"),
            processors: std::thread::available_parallelism().map_or(1, |count| count.get()),
            kernel: first("/proc/sys/kernel/osrelease", ""),
        }
    }
}
