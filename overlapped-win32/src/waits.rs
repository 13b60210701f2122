//! Waits that call back: `RegisterWaitForSingleObject`. One thread waits for all objects and has the callbacks made by the process's pool.

use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Instant;

use crate::boundary::boundary;
use crate::handle::{self, Object, lock};
use crate::pool;
use crate::signal::{self, Signal, WAIT_TIMEOUT};
use crate::thread;
use crate::types::*;

const WT_EXECUTEINWAITTHREAD: DWORD = 0x04;
const WT_EXECUTEONLYONCE: DWORD = 0x08;
const WAIT_ABANDONED_0: DWORD = 0x80;

/// `WAITORTIMERCALLBACK`.
type Callback = unsafe extern "C" fn(*mut c_void, u8);

/// A wait that was registered.
pub(crate) struct Wait {
    signal: Arc<Signal>,
    callback: Callback,
    context: *mut c_void,
    ms: DWORD,
    flags: DWORD,
    state: Mutex<State>,
    /// No callback is under way any more.
    idle: Condvar,
}

// SAFETY: the context is the program's, and goes back to it only.
unsafe impl Send for Wait {}
// SAFETY: as above; what changes is behind a lock.
unsafe impl Sync for Wait {}

struct State {
    registered: bool,
    /// Callbacks that were begun, or are about to be.
    running: usize,
    /// Set when it is no longer registered and no callback is under way.
    tell: Option<Arc<Signal>>,
}

/// A wait and when its time is up.
type Entry = (Arc<Wait>, Option<Instant>);

struct Waits {
    entries: Mutex<Vec<Entry>>,
    /// Something has changed.
    changed: Arc<Signal>,
}

fn waits() -> Outcome<&'static Waits> {
    static WAITS: OnceLock<Waits> = OnceLock::new();
    static STARTING: Mutex<bool> = Mutex::new(false);
    let mut started = lock(&STARTING);
    let waits = WAITS.get_or_init(|| Waits { entries: Mutex::default(), changed: Signal::new(signal::Kind::Auto, 0) });
    if !*started {
        let thread = std::thread::Builder::new().name("overlapped waits".into());
        thread.spawn(|| waits.serve()).map_err(|_| Code::NOT_ENOUGH_MEMORY)?;
        *started = true;
    }
    Ok(waits)
}

impl Waits {
    fn serve(&'static self) {
        loop {
            let (signals, waits, deadline) = {
                let mut entries = lock(&self.entries);
                entries.retain(|(wait, _)| lock(&wait.state).registered);
                let signals: Vec<_> = std::iter::once(&self.changed)
                    .chain(entries.iter().map(|(wait, _)| &wait.signal))
                    .map(Arc::clone)
                    .collect();
                let waits: Vec<_> = entries.iter().map(|(wait, _)| Arc::clone(wait)).collect();
                (signals, waits, entries.iter().filter_map(|(_, deadline)| *deadline).min())
            };
            let ended = signal::wait(&signals, false, deadline, false);
            drop(signals);
            match ended {
                WAIT_TIMEOUT => {
                    let now = Instant::now();
                    let late: Vec<_> = lock(&self.entries)
                        .extract_if(.., |(_, deadline)| deadline.is_some_and(|at| at <= now))
                        .collect();
                    late.into_iter().for_each(|(wait, _)| self.fire(wait, true));
                }
                at => match (at & !WAIT_ABANDONED_0) as usize {
                    0 => {}
                    at => {
                        let wait = &waits[at - 1];
                        lock(&self.entries).retain(|(other, _)| !Arc::ptr_eq(other, wait));
                        self.fire(Arc::clone(wait), false);
                    }
                },
            }
        }
    }

    /// Waits for it, behind all others: one that is always signalled does not keep them from being looked at.
    fn arm(&self, wait: Arc<Wait>) {
        let deadline = signal::deadline(wait.ms);
        lock(&self.entries).push((wait, deadline));
    }

    /// Has the callback made.
    fn fire(&'static self, wait: Arc<Wait>, late: bool) {
        {
            let mut state = lock(&wait.state);
            if !state.registered {
                return;
            }
            state.running += 1;
        }
        let once = wait.flags & WT_EXECUTEONLYONCE != 0;
        // An event that stays set is looked at again when the callback has had the chance to reset it.
        let after = !once && wait.signal.stays_set();
        if !once && !after {
            self.arm(Arc::clone(&wait));
        }
        let of = Arc::clone(&wait);
        let call = move || {
            // SAFETY: the program gave it for this.
            thread::inside(|| unsafe { (of.callback)(of.context, u8::from(late)) });
            if after {
                self.arm(Arc::clone(&of));
                self.changed.set();
            }
            let mut state = lock(&of.state);
            state.running -= 1;
            of.idle.notify_all();
            state.tell();
        };
        if wait.flags & WT_EXECUTEINWAITTHREAD != 0 {
            return call();
        }
        match pool::submit(Box::new(call)) {
            Ok(()) => {}
            Err(_) => lock(&wait.state).running -= 1,
        }
    }
}

impl State {
    /// Tells who wants to know that nothing is under way any more.
    fn tell(&mut self) {
        if !self.registered
            && self.running == 0
            && let Some(signal) = self.tell.take()
        {
            signal.set();
        }
    }
}

/// Ends a wait. `event`: null, one to be set when no callback is under way, or INVALID_HANDLE_VALUE to wait for that here.
fn unregister(wait: HANDLE, event: HANDLE) -> Outcome<BOOL> {
    let tell = match event {
        event if event.is_null() || event == INVALID_HANDLE_VALUE => None,
        event => Some(signal::of_handle(event)?),
    };
    let Some(Object::Wait(wait)) = handle::take(wait as usize, |object| matches!(object, Object::Wait(_))) else {
        return Err(Code::INVALID_HANDLE);
    };
    let mut state = lock(&wait.state);
    state.registered = false;
    waits()?.changed.set(); // so that it is forgotten
    if event == INVALID_HANDLE_VALUE {
        while state.running > 0 {
            state = wait.idle.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        return Ok(TRUE);
    }
    let running = state.running > 0;
    state.tell = tell;
    state.tell();
    // It is unregistered all the same: this says that a callback has not returned.
    if running { Err(Code::IO_PENDING) } else { Ok(TRUE) }
}

boundary! {
    /// `RegisterWaitForSingleObject`.
    fn ovl_RegisterWaitForSingleObject(new: *mut HANDLE, object: HANDLE, callback: Option<Callback>, context: *mut c_void, ms: DWORD, flags: DWORD) -> BOOL, else (FALSE) {
        let signal = signal::of_handle(object)?;
        let callback = callback.ok_or(Code::INVALID_PARAMETER)?;
        if new.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        let state = Mutex::new(State { registered: true, running: 0, tell: None });
        let wait = Arc::new(Wait { signal, callback, context, ms, flags, state, idle: Condvar::new() });
        let waits = waits()?;
        // SAFETY: not null, so the caller's variable; it is there before the first callback.
        unsafe { new.write(handle::give(Object::Wait(Arc::clone(&wait)))?) };
        waits.arm(wait);
        waits.changed.set();
        Ok(TRUE)
    }

    /// `UnregisterWait`.
    fn ovl_UnregisterWait(wait: HANDLE) -> BOOL, else (FALSE) {
        unregister(wait, std::ptr::null_mut())
    }

    /// `UnregisterWaitEx`.
    fn ovl_UnregisterWaitEx(wait: HANDLE, event: HANDLE) -> BOOL, else (FALSE) {
        unregister(wait, event)
    }
}
