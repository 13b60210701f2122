//! Ctrl-C in two stages: the first asks to finish, the second ends the program at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// The exit code of a program that Ctrl-C ended, as shells know it.
const INTERRUPTED: i32 = 130;

/// Calls `first` with the name of the first SIGINT or SIGTERM, on a thread of its own. At the second the process exits
/// from inside the signal handler, so that nothing that hangs can keep it.
pub(crate) fn two_stage(first: impl FnOnce(&'static str) + Send + 'static) -> io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the flag is looked at before it is set.
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            first(if signal == SIGINT { "SIGINT" } else { "SIGTERM" });
        }
        // Keeps `signals` and with it the handlers; the second signal needs no thread.
        loop {
            thread::park();
        }
    })?;
    Ok(())
}
