//! The limit on open descriptors.

use anyhow::{Result, bail};

use crate::platform::{CURE, raise_descriptors};

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
