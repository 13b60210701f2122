//! Servers in C that were written for Windows: at home here, so `ovl cc` is for Linux.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};

use super::Row;
use crate::cli::Demo;

pub(super) const PROGRAMS: usize = 0;
pub(super) const EXPLANATION: &str = "";

pub(super) fn measure(_options: &Demo, _interrupted: &AtomicBool) -> Result<Vec<(&'static str, Row)>> {
    bail!("--win32 compiles programs for Windows on Linux; here use your own compiler");
}
