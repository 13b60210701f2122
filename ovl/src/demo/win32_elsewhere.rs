//! Servers in C that were written for Windows: at home here, so `ovl cc` is for Linux.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};

use super::Row;
use crate::cli::Demo;

#[derive(Default)]
pub(super) struct Shown {
    pub(super) rows: Vec<(&'static str, Row)>,
    pub(super) is_complete: bool,
    pub(super) explanation: String,
}

pub(super) fn measure(_options: &Demo, _interrupted: &AtomicBool) -> Result<Shown> {
    bail!("--win32 compiles programs for Windows on Linux; here use your own compiler");
}
