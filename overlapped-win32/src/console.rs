//! The console, and its control handler.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::thread;

use crate::boundary::boundary;
use crate::disk::{Access, of_descriptor};
use crate::types::{BOOL, Code, DWORD, FALSE, HANDLE, INVALID_HANDLE_VALUE, Outcome, TRUE};

/// A function of the program's that is asked in turn, the one that came last first.
type Handler = unsafe extern "C" fn(DWORD) -> BOOL;

const CTRL_C_EVENT: DWORD = 0;
const CTRL_BREAK_EVENT: DWORD = 1;
const CTRL_CLOSE_EVENT: DWORD = 2;

struct Control {
    handlers: Vec<Handler>,
    /// `SetConsoleCtrlHandler(NULL, TRUE)`.
    ignore_ctrl_c: bool,
}

static CONTROL: Mutex<Control> = Mutex::new(Control { handlers: Vec::new(), ignore_ctrl_c: false });
/// Where the signal handler writes; -1 before there is one.
static PIPE: AtomicI32 = AtomicI32::new(-1);

fn control() -> std::sync::MutexGuard<'static, Control> {
    CONTROL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn event_of(signal: c_int) -> DWORD {
    match signal {
        libc::SIGINT => CTRL_C_EVENT,
        libc::SIGQUIT => CTRL_BREAK_EVENT,
        _ => CTRL_CLOSE_EVENT, // the terminal, or whoever ends the process, wants it gone
    }
}

/// Tells the thread, and does no more: this runs wherever the signal found the process.
extern "C" fn on_signal(signal: c_int) {
    // SAFETY: `write` may be called here; the byte is on the stack. `errno` stays what the interrupted code left there.
    unsafe {
        let errno = *libc::__errno_location();
        let byte = signal as u8;
        libc::write(PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Asks the handlers. Windows, too, has a thread of its own for that.
fn answer(signal: c_int) {
    let event = event_of(signal);
    let (handlers, ignored) = {
        let control = control();
        (control.handlers.clone(), control.ignore_ctrl_c && event == CTRL_C_EVENT)
    };
    // SAFETY: the program gave them, and has not taken them back.
    let handled = ignored || handlers.iter().rev().any(|&handler| unsafe { handler(event) } != FALSE);
    if handled && event != CTRL_CLOSE_EVENT {
        return;
    }
    // SAFETY: what was printed leaves, and the signal does what it does without a handler.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
    }
}

/// Listens to signals, from the first handler on.
fn listen() -> Outcome<()> {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let mut ends = [-1; 2];
        // SAFETY: a place for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return;
        }
        let [from, to] = ends;
        let started = thread::Builder::new().name("ovl-console".to_owned()).spawn(move || {
            let mut byte = 0_u8;
            loop {
                // SAFETY: a place for one byte.
                match unsafe { libc::read(from, (&raw mut byte).cast(), 1) } {
                    1 => answer(byte.into()),
                    0 => return,
                    _ => {} // interrupted
                }
            }
        });
        if started.is_err() {
            return;
        }
        PIPE.store(to, Ordering::Relaxed);
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler calls nothing that may not be called from one; calls that were interrupted go on.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
                action.sa_flags = libc::SA_RESTART;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
        }
    });
    if PIPE.load(Ordering::Relaxed) < 0 { Err(Code::NOT_ENOUGH_MEMORY) } else { Ok(()) }
}

boundary! {
    /// `SetConsoleCtrlHandler`. Ctrl-C is SIGINT, Ctrl-Break SIGQUIT, closing SIGTERM and SIGHUP.
    fn ovl_SetConsoleCtrlHandler(handler: Option<Handler>, add: BOOL) -> BOOL, else (FALSE) {
        listen()?;
        let mut control = control();
        match (handler, add != FALSE) {
            (None, ignore) => control.ignore_ctrl_c = ignore,
            (Some(handler), true) => control.handlers.push(handler),
            (Some(handler), false) => {
                let place = control.handlers.iter().rposition(|&known| std::ptr::fn_addr_eq(known, handler));
                control.handlers.remove(place.ok_or(Code::INVALID_PARAMETER)?);
            }
        }
        Ok(TRUE)
    }

    /// `GenerateConsoleCtrlEvent`, for this process.
    fn ovl_GenerateConsoleCtrlEvent(event: DWORD, _group: DWORD) -> BOOL, else (FALSE) {
        let signal = match event {
            CTRL_C_EVENT => libc::SIGINT,
            CTRL_BREAK_EVENT => libc::SIGQUIT,
            _ => return Err(Code::INVALID_PARAMETER),
        };
        // SAFETY: a signal to ourselves.
        unsafe { libc::kill(libc::getpid(), signal) };
        Ok(TRUE)
    }
}

/// The standard handles are made when they are asked for, and once.
static STANDARD: [OnceLock<usize>; 3] = [const { OnceLock::new() }; 3];

boundary! {
    /// `GetStdHandle`.
    fn ovl_GetStdHandle(which: DWORD) -> HANDLE, else (INVALID_HANDLE_VALUE) {
        let descriptor = match which as i32 {
            -10 => io::stdin().as_raw_fd(),
            -11 => io::stdout().as_raw_fd(),
            -12 => io::stderr().as_raw_fd(),
            _ => return Err(Code::INVALID_HANDLE),
        };
        let place = &STANDARD[descriptor as usize];
        if let Some(&handle) = place.get() {
            return Ok(handle as HANDLE);
        }
        let handle = of_descriptor(descriptor, Access { read: descriptor == 0, write: descriptor != 0 })?;
        Ok(*place.get_or_init(|| handle as usize) as HANDLE)
    }

    /// `SetConsoleTitleA`.
    fn ovl_SetConsoleTitleA(title: *const c_char) -> BOOL, else (FALSE) {
        if title.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: the caller's text.
        let title = unsafe { CStr::from_ptr(title) }.to_bytes();
        escape(&[b"\x1b]0;", title, b"\x07"].concat());
        Ok(TRUE)
    }

    /// `SetConsoleTextAttribute`.
    fn ovl_SetConsoleTextAttribute(_output: HANDLE, attributes: u16) -> BOOL, else (FALSE) {
        let colour = |bits: u16| [0, 4, 2, 6, 1, 5, 3, 7][usize::from(bits & 7)];
        let bright = |bits: u16| if bits & 8 != 0 { 60 } else { 0 };
        let (text, ground) = (attributes & 0xf, attributes >> 4 & 0xf);
        let ground_code = if ground == 0 { 49 } else { 40 + colour(ground) + bright(ground) };
        match text {
            7 if ground == 0 => escape(b"\x1b[0m"),
            _ => escape(format!("\x1b[{};{}m", 30 + colour(text) + bright(text), ground_code).as_bytes()),
        }
        Ok(TRUE)
    }

    /// `SetConsoleCursorPosition`. A `COORD` comes in one register, x below y.
    fn ovl_SetConsoleCursorPosition(_output: HANDLE, position: u32) -> BOOL, else (FALSE) {
        escape(format!("\x1b[{};{}H", (position >> 16) + 1, (position & 0xffff) + 1).as_bytes());
        Ok(TRUE)
    }

    /// `SetConsoleOutputCP`: text is UTF-8 here, whatever is set.
    fn ovl_SetConsoleOutputCP(_code_page: u32) -> BOOL {
        TRUE
    }

    /// `SetConsoleCP`.
    fn ovl_SetConsoleCP(_code_page: u32) -> BOOL {
        TRUE
    }

    /// `GetConsoleOutputCP`.
    fn ovl_GetConsoleOutputCP() -> u32 {
        65001
    }

    /// `GetConsoleMode`: what consoles begin with.
    fn ovl_GetConsoleMode(console: HANDLE, mode: *mut DWORD) -> BOOL, else (FALSE) {
        let input = STANDARD[0].get().is_some_and(|&handle| handle == console as usize);
        let terminal = if input { io::stdin().is_terminal() } else { io::stdout().is_terminal() };
        if !terminal || mode.is_null() {
            return Err(Code::INVALID_HANDLE);
        }
        // SAFETY: the caller's.
        unsafe { mode.write(if input { 0x1f7 } else { 0x7 }) };
        Ok(TRUE)
    }

    /// `SetConsoleMode`: escape sequences are always understood; for keys without a line there is `_getch`.
    fn ovl_SetConsoleMode(_console: HANDLE, _mode: DWORD) -> BOOL {
        TRUE
    }

    /// `WriteConsoleA`.
    fn ovl_WriteConsoleA(_output: HANDLE, text: *const u8, length: DWORD, written: *mut DWORD, _reserved: *const c_void)
        -> BOOL, else (FALSE) {
        // SAFETY: as much text as the caller says; its own place.
        unsafe {
            libc::fflush(std::ptr::null_mut()); // what the C library holds comes first
            let mut output = io::stdout();
            let done = output.write_all(std::slice::from_raw_parts(text, length as usize)).and_then(|()| output.flush());
            done.map_err(|_| Code::INVALID_HANDLE)?;
            if !written.is_null() {
                written.write(length);
            }
        }
        Ok(TRUE)
    }
}

/// An escape sequence, behind what the C library still holds; to terminals only.
fn escape(sequence: &[u8]) {
    if io::stdout().is_terminal() {
        // SAFETY: flushes all streams.
        unsafe { libc::fflush(std::ptr::null_mut()) };
        let _ = io::stdout().write_all(sequence).and_then(|()| io::stdout().flush()); // colours are not worth an error
    }
}
