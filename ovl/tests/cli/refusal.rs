//! A seccomp filter that refuses io_uring and nothing else.

use std::error::Error;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// `io_uring_setup`, `io_uring_enter` and `io_uring_register`: the same numbers on every architecture but Alpha.
const SYSTEM_CALLS: [i64; 3] = [425, 426, 427];

/// From now on this thread, and every process that it starts, gets `errno` for an answer. There is no way back.
pub(crate) fn refuse_io_uring(errno: u32) -> Result<(), Box<dyn Error>> {
    let rules = SYSTEM_CALLS.map(|call| (call, Vec::new())).into_iter().collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter(&program)?)
}
