//! `ovl doctor`: what operations run on here, what this system allows, and the line that cures what it lacks.

use anyhow::{Context, Result};
use overlapped::engine::{self, Obstacle};
use serde::Serialize;

use crate::cli::Doctor;
use crate::platform;
use crate::text;

/// The name and version of the JSON report.
const SCHEMA: &str = "overlapped.doctor/1";
/// Fewer descriptors are few for a server.
const DESCRIPTORS: u64 = 16_384;
/// With fewer ports that the system gives out, a client or load generator soon has none left.
const PORTS: u64 = 16_384;
/// With a shorter queue, connections that come at once are turned away.
const BACKLOG: u64 = 1024;

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    /// What operations run on: `io_uring` or `readiness`; null if nothing is to be had.
    engine: Option<&'static str>,
    /// Why nothing is to be had.
    error: Option<String>,
    /// The environment variable `OVERLAPPED_ENGINE` asks for it.
    forced: bool,
    kernel: String,
    io_uring: IoUring,
    limits: Limits,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct IoUring {
    works: bool,
    obstacle: Option<String>,
    features: Vec<Feature>,
}

#[derive(Serialize)]
struct Feature {
    name: &'static str,
    since: &'static str,
    purpose: &'static str,
    needed: bool,
    present: bool,
}

/// What the system allows. Null: no limit, or not known.
#[derive(Default, Serialize)]
pub(crate) struct Limits {
    pub(crate) descriptors_soft: Option<u64>,
    pub(crate) descriptors_hard: Option<u64>,
    pub(crate) memlock_bytes_soft: Option<u64>,
    pub(crate) memlock_bytes_hard: Option<u64>,
    pub(crate) ephemeral_ports: Option<(u64, u64)>,
    pub(crate) somaxconn: Option<u64>,
}

/// Something that could be better.
#[derive(Serialize)]
struct Finding {
    what: String,
    cures: Vec<Cure>,
}

/// What helps, and where it is to be written.
#[derive(Serialize)]
struct Cure {
    place: &'static str,
    line: String,
}

pub(crate) fn run(options: &Doctor) -> Result<u8> {
    let report = Report::new(engine::report());
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report).context("cannot write the report")?),
        false => report.print(),
    }
    Ok(u8::from(report.engine.is_none()))
}

impl Report {
    fn new(engine: engine::Report) -> Self {
        let limits = platform::limits();
        let mut findings = Vec::new();
        if let Some(obstacle) = engine.obstacle {
            findings.push(Finding { what: format!("{obstacle}"), cures: cures(obstacle) });
        }
        limits.judge(&mut findings);
        let feature = |feature: &engine::Feature| Feature {
            name: feature.name,
            since: feature.since,
            purpose: feature.purpose,
            needed: feature.needed,
            present: feature.present,
        };
        Self {
            schema: SCHEMA,
            engine: engine.engine.ok().map(|engine| engine.name()),
            error: engine.engine.err().map(|error| error.to_string()),
            forced: engine.forced,
            kernel: platform::version(),
            io_uring: IoUring {
                works: engine.obstacle.is_none() && !engine.features.is_empty(),
                obstacle: engine.obstacle.map(|obstacle| obstacle.to_string()),
                features: engine.features.iter().map(feature).collect(),
            },
            limits,
            findings,
        }
    }

    fn print(&self) {
        let forced = if self.forced { ", as OVERLAPPED_ENGINE asks" } else { "" };
        match (&self.engine, &self.error) {
            (Some(engine), _) => row("engine", format_args!("{engine}{forced}")),
            (None, error) => row("engine", format_args!("none: {}", error.as_deref().unwrap_or("unknown"))),
        }
        row("kernel", &self.kernel);
        if self.io_uring.works || self.io_uring.obstacle.is_some() {
            row("io_uring", self.io_uring.in_short());
        }
        let features = &self.io_uring.features;
        let names = |needed: bool, present: bool| {
            let its = features.iter().filter(|feature| (feature.needed, feature.present) == (needed, present));
            its.map(|feature| match present {
                true => feature.name.to_owned(),
                false => format!("{} (Linux {})", feature.name, feature.since),
            })
            .collect::<Vec<_>>()
            .join(", ")
        };
        for (title, needed, present) in [
            ("needed", true, true),
            ("NEEDED, not there", true, false),
            ("optional", false, true),
            ("optional, not there", false, false),
        ] {
            let names = names(needed, present);
            if !names.is_empty() {
                row(&format!("  {title}"), names);
            }
        }
        let limit = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), text::thousands);
        let bytes = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), text::size);
        let Limits {
            descriptors_soft,
            descriptors_hard,
            memlock_bytes_soft,
            memlock_bytes_hard,
            ephemeral_ports,
            somaxconn,
        } = &self.limits;
        match (descriptors_soft, descriptors_hard) {
            (None, None) => row("descriptors", "unlimited"),
            (soft, hard) => row("descriptors", format_args!("{}, at most {}", limit(*soft), limit(*hard))),
        }
        if platform::LOCKS_MEMORY {
            row(
                "locked memory",
                format_args!("{}, at most {}", bytes(*memlock_bytes_soft), bytes(*memlock_bytes_hard)),
            );
        }
        if let Some((first, last)) = ephemeral_ports {
            row("ephemeral ports", format_args!("{first} to {last}"));
        }
        if let Some(somaxconn) = somaxconn {
            row("listen queue", format_args!("{somaxconn} connections"));
        }
        if self.findings.is_empty() {
            println!("\nNothing is amiss.");
        }
        for Finding { what, cures } in &self.findings {
            println!("\n! {what}");
            for Cure { place, line } in cures {
                println!("  {place:<16}{line}");
            }
        }
    }
}

fn row(title: &str, text: impl std::fmt::Display) {
    println!("{title:<20}{text}");
}

impl IoUring {
    fn in_short(&self) -> String {
        match (self.works, &self.obstacle) {
            (true, _) => "works".to_owned(),
            (false, obstacle) => format!("does not work: {}", obstacle.as_deref().unwrap_or("unknown")),
        }
    }
}

impl Limits {
    fn judge(&self, findings: &mut Vec<Finding>) {
        if let Some(hard) = self.descriptors_hard
            && hard < DESCRIPTORS
        {
            findings.push(Finding {
                what: format!("{} descriptors at most: a connection needs one", text::thousands(hard)),
                cures: vec![
                    cure("shell, as root", "ulimit -Hn 65536 && ulimit -n 65536"),
                    cure("docker, podman", "run --ulimit nofile=65536:65536 …"),
                    cure("systemd", "LimitNOFILE=65536"),
                ],
            });
        } else if let Some(soft) = self.descriptors_soft
            && soft < DESCRIPTORS
        {
            findings.push(Finding {
                what: format!(
                    "{} descriptors, unless a program raises that itself, as ovl does: a connection needs one",
                    text::thousands(soft)
                ),
                cures: vec![
                    cure(
                        "shell",
                        format!("ulimit -n {}", self.descriptors_hard.map_or(65_536, |hard| hard.min(65_536))),
                    ),
                    cure("docker, podman", "run --ulimit nofile=65536:65536 …"),
                    cure("systemd", "LimitNOFILE=65536"),
                ],
            });
        }
        if let Some((first, last)) = self.ephemeral_ports
            && last.saturating_sub(first) + 1 < PORTS
        {
            findings.push(Finding {
                what: format!(
                    "{} ephemeral ports: a client or load generator to one address has no more connections than that",
                    text::thousands(last.saturating_sub(first) + 1)
                ),
                cures: platform::PORTS.iter().map(|(place, line)| cure(place, *line)).collect(),
            });
        }
        if let Some(somaxconn) = self.somaxconn
            && somaxconn < BACKLOG
        {
            findings.push(Finding {
                what: format!(
                    "{somaxconn} connections may wait for an accept: more that come at once are delayed by a second"
                ),
                cures: vec![
                    cure("sysctl", "net.core.somaxconn=4096"),
                    cure("docker, podman", "run --sysctl net.core.somaxconn=4096 …"),
                ],
            });
        }
    }
}

fn cure(place: &'static str, line: impl Into<String>) -> Cure {
    Cure { place, line: line.into() }
}

/// What gives a process io_uring.
fn cures(obstacle: Obstacle) -> Vec<Cure> {
    match obstacle {
        Obstacle::Missing => vec![
            cure("kernel", "Linux 5.19 or later, with CONFIG_IO_URING=y"),
            cure("docker, podman", "a sandbox such as gVisor has none: run --runtime runc …"),
        ],
        Obstacle::SwitchedOff(_) => vec![
            cure("sysctl", "kernel.io_uring_disabled=0"),
            cure("for good", "echo kernel.io_uring_disabled=0 >/etc/sysctl.d/60-io_uring.conf"),
        ],
        Obstacle::Forbidden => vec![
            cure(
                "docker, podman",
                "run --security-opt seccomp=PROFILE.json … (one that allows io_uring_setup, _enter, _register)",
            ),
            cure("  to try it", "run --security-opt seccomp=unconfined …"),
            cure("kubernetes", "securityContext: {seccompProfile: {type: Localhost, localhostProfile: PROFILE.json}}"),
            cure("systemd", "SystemCallFilter=@aio"),
        ],
        Obstacle::Denied => {
            vec![cure("SELinux", "ausearch -m avc -ts recent | audit2allow -M io_uring && semodule -i io_uring.pp")]
        }
        Obstacle::OutOfMemory => vec![
            cure("shell, as root", "ulimit -l unlimited"),
            cure("docker, podman", "run --ulimit memlock=-1 …"),
            cure("systemd", "LimitMEMLOCK=infinity"),
        ],
        Obstacle::TooOld => vec![cure("kernel", "Linux 5.19 or later")],
        _ => Vec::new(),
    }
}
