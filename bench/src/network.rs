//! A network of the benchmark's own.
//!
//! What carries a server's bytes has to be the same for all. The Rust servers choose their congestion control themselves; a program for Windows
//! cannot, and gets the system's. So everything runs where that is what the others choose, and where nobody else's traffic and filters are.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::Context;
use overlapped_bench::server::CONGESTION_CONTROL;

/// In the environment of a runner that is in its own network.
const OWN: &str = "OVERLAPPED_BENCH_OWN_NETWORK";
const SYSTEMS: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Whether this program is in its own network.
pub fn is_own() -> bool {
    env::var_os(OWN).is_some()
}

/// Starts this program again in a network of its own, from which the world outside is not to be had. Returns if there can be none, and says
/// what that means.
pub fn enter() -> anyhow::Result<()> {
    let wanted = std::str::from_utf8(CONGESTION_CONTROL)?;
    // As root, or else as root of a user namespace, where those are allowed.
    for privileges in [&["--net"][..], &["--map-root-user", "--net"]] {
        let inside = |program: &str| {
            let script = format!("ip link set lo up && echo {wanted} >{SYSTEMS} && exec {program}");
            let mut command = Command::new("unshare");
            command.args(privileges).args(["--", "sh", "-c", &script, "sh"]);
            command
        };
        let tried = inside("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if tried.is_ok_and(|status| status.success()) {
            let error = inside("\"$@\"").arg(env::current_exe()?).args(env::args_os().skip(1)).env(OWN, "1").exec();
            return Err(error).context("unshare could be started a moment ago");
        }
    }
    let systems = fs::read_to_string(SYSTEMS).unwrap_or_default();
    if systems.trim() != wanted {
        eprintln!(
            "warning: no network of its own (that takes unshare, ip, and root or user namespaces): programs for Windows get the \
             system's congestion control, {}, and the others {wanted}; `sysctl net.ipv4.tcp_congestion_control={wanted}` makes them equal",
            systems.trim()
        );
    }
    Ok(())
}
