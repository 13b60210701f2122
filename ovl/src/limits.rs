//! The limit on open descriptors.

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How to raise the limit; what every message about it ends with.
pub(crate) const CURE: &str =
    "raise it with `ulimit -n NUMBER` in the shell (as root beyond the hard limit), or LimitNOFILE= in a systemd unit";

/// Raises the soft limit to the hard one, which any process may, and returns how many descriptors it now allows.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If it fails the old limit still holds, and that is what is returned.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Descriptors that a process needs beside its connections: standard streams, rings, the executable's own.
const BESIDE: u64 = 64;

/// Makes room for `connections`, or says what is in the way.
pub(crate) fn make_room_for(connections: u32) -> Result<()> {
    let allowed = raise_descriptors();
    let needed = u64::from(connections) + BESIDE;
    if needed > allowed {
        bail!(
            "{connections} connections need {needed} descriptors, but this process may open only {allowed} \
             (RLIMIT_NOFILE): {CURE}, or ask for at most {} connections",
            allowed.saturating_sub(BESIDE)
        );
    }
    Ok(())
}
