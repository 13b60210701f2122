//! What there is to say of io_uring on this kernel.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::{IoUring, Probe, opcode, squeue};

use crate::Error;
use crate::engine::{Feature, Obstacle};

/// The operations that the library is built of, all of which a kernel must have.
pub(super) const NEEDED: [(u8, &str, &str); 11] = [
    (opcode::Accept::CODE, "accept", "5.5"),
    (opcode::Connect::CODE, "connect", "5.5"),
    (opcode::Recv::CODE, "recv", "5.6"),
    (opcode::RecvMsg::CODE, "recvmsg", "5.3"),
    (opcode::Send::CODE, "send", "5.6"),
    (opcode::SendMsg::CODE, "sendmsg", "5.3"),
    (opcode::Read::CODE, "read", "5.6"),
    (opcode::Write::CODE, "write", "5.6"),
    (opcode::Fsync::CODE, "fsync", "5.1"),
    (opcode::PollAdd::CODE, "poll", "5.1"),
    (opcode::AsyncCancel::CODE, "cancel", "5.5"),
];

/// Operations that this process pretends not to have, a bit each.
static PRETENDED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn pretend_missing(names: &[&str]) {
    for (code, name, _) in NEEDED {
        if names.contains(&name) {
            PRETENDED.fetch_or(1 << code, Ordering::SeqCst);
        }
    }
}

/// Whether the kernel has an operation.
pub(super) fn has(probe: &Probe, code: u8) -> bool {
    probe.is_supported(code) && PRETENDED.load(Ordering::SeqCst) & 1 << code == 0
}

/// Why a ring is not to be had, if it is not, and what the kernel has.
pub(crate) fn survey() -> (Option<Obstacle>, Vec<Feature>) {
    let plain = match IoUring::new(2) {
        Ok(ring) => ring,
        Err(error) => return (Some(obstacle(&error)), Vec::new()),
    };
    let mut probe = Probe::new();
    let probed = plain.submitter().register_probe(&mut probe);
    let mut features = Vec::new();
    let mut feature = |name, since, purpose, needed, present| {
        features.push(Feature { name, since, purpose, needed, present });
    };
    for (code, name, since) in NEEDED {
        feature(name, since, "an operation", true, has(&probe, code));
    }
    let params = plain.params();
    feature("nodrop", "5.5", "no end of an operation is lost", true, params.is_feature_nodrop());
    feature("ext_arg", "5.11", "waits with a time limit", true, params.is_feature_ext_arg());
    let cooperative = IoUring::<squeue::Entry>::builder().setup_submit_all().setup_coop_taskrun().build(2);
    feature("coop_taskrun", "5.19", "ends do not interrupt a handler", true, cooperative.is_ok());
    // It came with this one, and cannot be asked for without a socket.
    let multishot = probe.is_supported(opcode::SendZc::CODE);
    feature("multishot recv", "6.0", "a receive from a pool goes on by itself", false, multishot);
    let deferred =
        IoUring::<squeue::Entry>::builder().setup_submit_all().setup_single_issuer().setup_defer_taskrun().build(2);
    feature("defer_taskrun", "6.1", "routines: ends are worked on in alertable waits only", false, deferred.is_ok());
    feature("min_timeout", "6.12", "a port can gather packets", false, params.is_feature_min_timeout());
    feature("no_iowait", "6.15", "idle workers do not count as waiting for I/O", false, params.is_feature_no_iowait());
    let obstacle = match (probed, cooperative) {
        (Err(error), _) => Some(obstacle(&error)),
        (_, Err(error)) => Some(obstacle_of_flags(&error)),
        _ if features.iter().any(|feature| feature.needed && !feature.present) => Some(Obstacle::TooOld),
        _ => None,
    };
    (obstacle, features)
}

fn obstacle_of_flags(error: &std::io::Error) -> Obstacle {
    match error.raw_os_error() {
        Some(libc::EINVAL) => Obstacle::TooOld,
        _ => obstacle(error),
    }
}

fn obstacle(error: &std::io::Error) -> Obstacle {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => Obstacle::Missing,
        // Of 1 it also depends on who asks; but then it is not refused.
        Some(libc::EPERM) => match switched_off() {
            Some(value) if value > 0 => Obstacle::SwitchedOff(value),
            _ => Obstacle::Forbidden,
        },
        Some(libc::EACCES) => Obstacle::Denied,
        Some(libc::ENOMEM) => Obstacle::OutOfMemory,
        Some(libc::EINVAL) => Obstacle::TooOld,
        _ => Obstacle::Other(Error::from_errno(error.raw_os_error().unwrap_or(libc::EIO))),
    }
}

/// The sysctl, which there is since Linux 6.6.
fn switched_off() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}
