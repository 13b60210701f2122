//! The result of a load: what was measured, what went wrong, and both as JSON and as a table.
//!
//! # The JSON report, schema `overlapped.load/1`
//! One object. Fields may be added under the same version; one that changes its meaning or goes raises the number.
//! - `schema`: `"overlapped.load/1"`.
//! - `verdict`: `"ok"` if every byte came back right on every connection, else `"failed"`. `interrupted`: ended by a signal.
//! - `address`, `engine`, `options`: what was asked for. `options.duration_s` or `options.messages` is null.
//! - `connections`: how many were `requested`, `connected`, and `failed` (not connected, or ended by an error or a fault).
//! - `elapsed_s`: the measured time, without `omit_s`. `messages`, `bytes` (one way) and their rates are of that time.
//! - `bytes_verified`: bytes that came back in order and right, of the whole run.
//! - `latency_us`: of the messages started in the measured time; null if there were none.
//! - `faults`: how many connections had each kind as their first fault, and the first few in full, with the number of the
//!   connection and the `offset` in its stream.
//! - `errors`: failures of connections other than faults: `doing` what, `error` in words, the Win32 `code` (null: the server closed it), how many `times`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::pattern::{Fault, Kind};
use crate::text;

/// The name and version of the JSON report.
const SCHEMA: &str = "overlapped.load/1";

/// The result of a load.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) interrupted: bool,
    pub(crate) address: String,
    pub(crate) engine: &'static str,
    pub(crate) options: Options,
    pub(crate) connections: Connections,
    pub(crate) elapsed_s: f64,
    pub(crate) messages: u64,
    pub(crate) messages_per_s: f64,
    pub(crate) bytes: u64,
    pub(crate) bytes_per_s: f64,
    pub(crate) bytes_verified: u64,
    pub(crate) latency_us: Option<Latency>,
    /// The same in full, in nanoseconds.
    #[serde(skip)]
    pub(crate) latency: Histogram<u64>,
    pub(crate) faults: Faults,
    pub(crate) errors: Vec<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    Failed,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Options {
    pub(crate) connections: u32,
    pub(crate) size_bytes: usize,
    pub(crate) pipeline: u32,
    pub(crate) duration_s: Option<f64>,
    pub(crate) messages: Option<u64>,
    pub(crate) omit_s: f64,
    pub(crate) threads: u16,
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Connections {
    pub(crate) requested: u64,
    pub(crate) connected: u64,
    pub(crate) failed: u64,
}

/// How long messages took, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    #[serde(rename = "p99.9")]
    pub(crate) p99_9: f64,
    #[serde(rename = "p99.99")]
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// From a histogram of nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |quantile| us(histogram.value_at_quantile(quantile));
        Some(Self {
            min: us(histogram.min()),
            mean: (histogram.mean() / 10.0).round() / 100.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: us(histogram.max()),
        })
    }
}

/// What the verifiers found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Faults {
    pub(crate) loss: u64,
    pub(crate) repetition: u64,
    pub(crate) reordering: u64,
    pub(crate) corruption: u64,
    pub(crate) surplus: u64,
    pub(crate) first: Vec<Found>,
}

/// A fault and the connection on which it was found.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) connection: u64,
    #[serde(flatten)]
    pub(crate) fault: Fault,
}

impl Faults {
    /// So many are reported in full.
    const SHOWN: usize = 10;

    pub(crate) fn add(&mut self, connection: u64, fault: Fault) {
        *match fault.kind {
            Kind::Loss => &mut self.loss,
            Kind::Repetition => &mut self.repetition,
            Kind::Reordering => &mut self.reordering,
            Kind::Corruption => &mut self.corruption,
            Kind::Surplus => &mut self.surplus,
        } += 1;
        if self.first.len() < Self::SHOWN {
            self.first.push(Found { connection, fault });
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.loss + self.repetition + self.reordering + self.corruption + self.surplus
    }
}

/// Connections that failed in one and the same way.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) doing: &'static str,
    pub(crate) error: String,
    pub(crate) code: Option<u32>,
    pub(crate) times: u64,
}

/// Counts failures by what was being done and the error.
#[derive(Debug, Default)]
pub(crate) struct Failures(BTreeMap<(&'static str, Option<u32>), u64>);

impl Failures {
    /// `None`: the server closed the connection.
    pub(crate) fn add(&mut self, doing: &'static str, error: Option<overlapped::Error>) {
        *self.0.entry((doing, error.map(overlapped::Error::code))).or_default() += 1;
    }

    fn list(&self) -> Vec<Failure> {
        let words = |code: Option<u32>| match code {
            Some(code) => overlapped::Error::from_code(code).to_string(),
            None => "the server closed the connection with messages outstanding".to_owned(),
        };
        self.0.iter().map(|(&(doing, code), &times)| Failure { doing, error: words(code), code, times }).collect()
    }
}

/// What a run has gathered, before it is put in words.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) connections: Connections,
    pub(crate) elapsed: Duration,
    pub(crate) messages: u64,
    pub(crate) bytes_verified: u64,
    pub(crate) latency: Histogram<u64>,
    pub(crate) faults: Faults,
    pub(crate) failures: Failures,
    pub(crate) interrupted: bool,
}

impl Report {
    pub(crate) fn new(address: String, engine: &'static str, options: Options, measured: Measured) -> Self {
        let seconds = measured.elapsed.as_secs_f64();
        let rate = |number: f64| if seconds > 0.0 { number / seconds } else { 0.0 };
        let bytes = measured.messages * options.size_bytes as u64;
        let connections = measured.connections;
        let well = connections.failed == 0 && measured.faults.total() == 0 && measured.bytes_verified > 0;
        Self {
            schema: SCHEMA,
            verdict: if well { Verdict::Ok } else { Verdict::Failed },
            interrupted: measured.interrupted,
            address,
            engine,
            options,
            connections,
            elapsed_s: seconds,
            messages: measured.messages,
            messages_per_s: rate(measured.messages as f64),
            bytes,
            bytes_per_s: rate(bytes as f64),
            bytes_verified: measured.bytes_verified,
            latency_us: Latency::of(&measured.latency),
            latency: measured.latency,
            faults: measured.faults,
            errors: measured.failures.list(),
        }
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.verdict == Verdict::Ok
    }

    /// As JSON, with an end of line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings can be written") + "\n"
    }
}

/// A table with a header, the first column left and the others right.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { size_bytes, pipeline, .. } = self.options;
        let Connections { requested, connected, failed } = self.connections;
        let measured = match self.elapsed_s {
            0.0 => "nothing".to_owned(),
            seconds => text::time(Duration::from_secs_f64(seconds)),
        };
        writeln!(
            f,
            "{} to {}, messages of {}, {pipeline} outstanding on each; {measured} measured{}",
            text::count(requested, "connection"),
            self.address,
            text::count(size_bytes as u64, "byte"),
            if self.interrupted { " (interrupted)" } else { "" },
        )?;
        let sum = [
            ("messages", text::thousands(self.messages)),
            ("messages per second", text::thousands(self.messages_per_s.round() as u64)),
            ("bytes per second, each way", text::size(self.bytes_per_s.round() as u64)),
            ("bytes verified", text::thousands(self.bytes_verified)),
        ];
        let latency = self.latency_us.map(|latency| {
            let Latency { min, mean, p50, p90, p99, p99_9, p99_99, max } = latency;
            [
                ("latency min", min),
                ("mean", mean),
                ("p50", p50),
                ("p90", p90),
                ("p99", p99),
                ("p99.9", p99_9),
                ("p99.99", p99_99),
                ("max", max),
            ]
        });
        let latency = latency.into_iter().flatten().map(|(name, us)| (name, text::micros(us)));
        for (name, value) in sum.into_iter().chain(latency) {
            writeln!(f, "  {name:<27} {value:>16}")?;
        }
        for Failure { doing, error, times, .. } in &self.errors {
            writeln!(f, "{doing} failed {}: {error}", text::count(*times, "time"))?;
        }
        let refused = Some(overlapped::Error::CONNECTION_REFUSED.code());
        if self.errors.iter().any(|failure| failure.code == refused) {
            writeln!(f, "start a server there with `ovl serve --listen {}`", self.address)?;
        }
        for Found { connection, fault } in &self.faults.first {
            writeln!(f, "connection {connection}: {fault}")?;
        }
        let hidden = self.faults.total() - self.faults.first.len() as u64;
        if hidden > 0 {
            writeln!(f, "and {} more", text::count(hidden, "fault"))?;
        }
        match self.verdict {
            Verdict::Ok => write!(f, "OK: every byte came back right on {}", text::count(connected, "connection")),
            Verdict::Failed if failed == 0 => write!(f, "FAILED: nothing came back"),
            Verdict::Failed => write!(f, "FAILED: {failed} of {} went wrong", text::count(requested, "connection")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Report {
        let mut latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        (1..=1000u64).for_each(|us| latency.record(us * 1000).expect("in bounds"));
        let mut faults = Faults::default();
        faults.add(7, Fault { kind: Kind::Reordering, offset: 4096, bytes: 64 });
        let mut failures = Failures::default();
        failures.add("connect", Some(overlapped::Error::CONNECTION_REFUSED));
        failures.add("connect", Some(overlapped::Error::CONNECTION_REFUSED));
        let options = Options {
            connections: 10,
            size_bytes: 64,
            pipeline: 4,
            duration_s: Some(2.0),
            messages: None,
            omit_s: 0.5,
            threads: 1,
            seed: 1,
        };
        let measured = Measured {
            connections: Connections { requested: 10, connected: 8, failed: 3 },
            elapsed: Duration::from_millis(1500),
            messages: 3000,
            bytes_verified: 200_000,
            latency,
            faults,
            failures,
            interrupted: false,
        };
        Report::new("127.0.0.1:9190".to_owned(), "io_uring", options, measured)
    }

    #[test]
    fn the_json_report_keeps_its_schema() {
        insta::assert_snapshot!(example().json());
    }

    #[test]
    fn the_table_says_it_all() {
        insta::assert_snapshot!(example().to_string());
    }
}
