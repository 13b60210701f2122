//! Readiness: `select`, `WSAPoll`, and network events.
//!
//! Network events are Windows' own: each is recorded once, and again only after the call that re-enables it. So one thread of the library
//! is told by the system that something is new with a socket, looks what it is, and records what is enabled; a call that re-enables looks, too.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use overlapped::raw;

use crate::boundary::boundary;
use crate::file::{self, File};
use crate::handle::lock;
use crate::signal::{self, Signal};
use crate::socket::{checked, get_int, is_connected};
use crate::status::{errno, last_winsock, of_errno_winsock};
use crate::types::*;

pub(crate) const FD_READ: u32 = 1;
pub(crate) const FD_WRITE: u32 = 2;
pub(crate) const FD_OOB: u32 = 4;
pub(crate) const FD_ACCEPT: u32 = 8;
pub(crate) const FD_CONNECT: u32 = 16;
pub(crate) const FD_CLOSE: u32 = 32;
const FD_MAX_EVENTS: usize = 10;

/// What a program wants to know of a socket, and what of that there is.
pub(crate) struct Selection {
    event: Arc<Signal>,
    wanted: u32,
    recorded: u32,
    /// Those that may be recorded.
    enabled: u32,
    errors: [i32; FD_MAX_EVENTS],
    /// Its name in the watcher.
    id: u64,
}

/// `WSANETWORKEVENTS`.
#[repr(C)]
pub struct NetworkEvents {
    events: i32,
    errors: [i32; FD_MAX_EVENTS],
}

/// `WSAPOLLFD`.
#[repr(C)]
pub struct PollFd {
    socket: SOCKET,
    events: i16,
    revents: i16,
}

const _: () = assert!(size_of::<PollFd>() == 16 && size_of::<NetworkEvents>() == 44);

/// The head of Windows' `fd_set`; the array is as long as the program made it.
#[repr(C)]
pub struct FdSet {
    count: u32,
    sockets: [SOCKET; 1],
}

/// Windows' `timeval`.
#[repr(C)]
pub struct TimeVal {
    seconds: i32,
    microseconds: i32,
}

/// Who is told by the system.
struct Watcher {
    epoll: RawFd,
    files: Mutex<HashMap<u64, Weak<File>>>,
}

static WATCHER: OnceLock<Watcher> = OnceLock::new();
static LAST_ID: AtomicU64 = AtomicU64::new(0);

fn watcher() -> Outcome<&'static Watcher> {
    if let Some(watcher) = WATCHER.get() {
        return Ok(watcher);
    }
    // SAFETY: no pointers.
    let epoll = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    let mut started = Ok(());
    let watcher = WATCHER.get_or_init(|| {
        let watch = std::thread::Builder::new().name("overlapped events".into()).stack_size(256 * 1024).spawn(watch);
        started = watch.map(drop);
        Watcher { epoll, files: Mutex::default() }
    });
    started.map_err(|_| Code::WSAENOBUFS)?;
    if watcher.epoll != epoll {
        // SAFETY: ours, and unused: another thread was first.
        unsafe { libc::close(epoll) };
    }
    Ok(watcher)
}

fn watch() {
    let watcher = WATCHER.wait();
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    loop {
        // SAFETY: room for so many.
        let count = unsafe { libc::epoll_wait(watcher.epoll, events.as_mut_ptr(), events.len() as i32, -1) };
        for event in &events[..count.max(0) as usize] {
            let id = event.u64;
            let file = lock(&watcher.files).get(&id).and_then(Weak::upgrade);
            match file {
                Some(file) => file.look_for_events(),
                None => _ = lock(&watcher.files).remove(&id),
            }
        }
    }
}

fn poll_one(fd: RawFd, events: i16) -> i16 {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one entry, which lives through the call.
    if unsafe { libc::poll(&mut poll, 1, 0) } > 0 { poll.revents } else { 0 }
}

fn bytes_to_read(fd: RawFd) -> i32 {
    let mut bytes = 0i32;
    // SAFETY: the system writes an int.
    unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut bytes) };
    bytes
}

impl File {
    /// A call has re-enabled these network events.
    #[inline]
    pub(crate) fn reenable(&self, events: u32) {
        let Some(socket) = &self.socket else { return };
        if socket.selected.load(SeqCst) {
            if let Some(selection) = &mut *lock(&socket.selection) {
                selection.enabled |= events;
            }
            self.look_for_events();
        }
    }

    /// Records what is there and enabled.
    fn look_for_events(&self) {
        let socket = self.as_socket();
        let mut selection = lock(&socket.selection);
        let Some(selection) = &mut *selection else { return };
        let fd = self.fd();
        let ready = poll_one(fd, libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP | libc::POLLPRI);
        if ready & libc::POLLNVAL != 0 {
            return; // closed
        }
        let ended = ready & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0;
        if socket.listening.load(SeqCst) {
            if ready & libc::POLLIN != 0 {
                selection.record(FD_ACCEPT, 0);
            }
            return;
        }
        if socket.connecting.load(SeqCst) {
            if ready & (libc::POLLOUT | libc::POLLERR | libc::POLLHUP) == 0 {
                return;
            }
            match get_int(fd, libc::SOL_SOCKET, libc::SO_ERROR) {
                Ok(0) if is_connected(self) => {
                    selection.record(FD_CONNECT, 0);
                    selection.enabled |= FD_WRITE;
                }
                Ok(0) => return,
                Ok(errno) => {
                    socket.connecting.store(false, SeqCst);
                    return selection.record(FD_CONNECT, of_errno_winsock(errno).0);
                }
                Err(_) => return,
            }
        }
        if socket.is_stream() && !socket.connected.load(SeqCst) {
            return;
        }
        if ready & libc::POLLPRI != 0 {
            selection.record(FD_OOB, 0);
        }
        let readable = match socket.is_stream() {
            true => bytes_to_read(fd) > 0,
            false => ready & libc::POLLIN != 0,
        };
        if readable {
            selection.record(FD_READ, 0);
        }
        if ready & libc::POLLOUT != 0 && !ended {
            selection.record(FD_WRITE, 0);
        }
        // The end is told when all before it has been read.
        if ended && socket.is_stream() && !readable {
            let error = match ready & libc::POLLERR {
                0 => 0,
                _ => get_int(fd, libc::SOL_SOCKET, libc::SO_ERROR).unwrap_or(libc::ECONNRESET),
            };
            selection.record(FD_CLOSE, if error == 0 { 0 } else { of_errno_winsock(error).0 });
        }
    }

    /// Has events recorded from now on, and what was recorded forgotten.
    pub(crate) fn select_events(self: &Arc<Self>, event: Option<Arc<Signal>>, wanted: u32) -> Outcome<()> {
        let socket = self.as_socket();
        let watcher = watcher()?;
        let Some(event) = event.filter(|_| wanted != 0) else {
            socket.selected.store(false, SeqCst);
            if let Some(former) = lock(&socket.selection).take() {
                lock(&watcher.files).remove(&former.id);
                // SAFETY: no pointer is needed to remove one.
                unsafe { libc::epoll_ctl(watcher.epoll, libc::EPOLL_CTL_DEL, self.fd(), std::ptr::null_mut()) };
            }
            return Ok(());
        };
        socket.nonblocking.store(true, SeqCst);
        {
            let mut selection = lock(&socket.selection);
            let (id, command) = match &*selection {
                Some(former) => (former.id, libc::EPOLL_CTL_MOD),
                None => (LAST_ID.fetch_add(1, SeqCst), libc::EPOLL_CTL_ADD),
            };
            let mut enabled = FD_READ | FD_OOB | FD_ACCEPT | FD_CONNECT | FD_CLOSE;
            if !socket.is_stream() || is_connected(self) {
                enabled |= FD_WRITE;
            }
            *selection = Some(Selection { event, wanted, recorded: 0, enabled, errors: [0; FD_MAX_EVENTS], id });
            lock(&watcher.files).insert(id, Arc::downgrade(self));
            let flags = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET;
            let mut entry = libc::epoll_event { events: flags as u32, u64: id };
            // SAFETY: the entry lives through the call.
            checked(unsafe { libc::epoll_ctl(watcher.epoll, command, self.fd(), &mut entry) })?;
        }
        socket.selected.store(true, SeqCst);
        self.look_for_events();
        Ok(())
    }

    /// The selection of a listener is that of its connections, until they have their own.
    pub(crate) fn inherit_events(self: &Arc<Self>, from: &File) {
        let selected = lock(&from.as_socket().selection).as_ref().map(|of| (Arc::clone(&of.event), of.wanted));
        if let Some((event, wanted)) = selected {
            let _ = self.select_events(Some(event), wanted);
        }
    }
}

impl Selection {
    fn record(&mut self, event: u32, error: DWORD) {
        if self.enabled & event == 0 {
            return;
        }
        self.enabled &= !event;
        if self.wanted & event == 0 {
            return;
        }
        self.recorded |= event;
        self.errors[event.trailing_zeros() as usize] = error as i32;
        self.event.set();
    }
}

/// One of `select`'s sets, as a slice.
///
/// # Safety
/// Null, or the caller's set.
unsafe fn set<'a>(set: *mut FdSet) -> &'a [SOCKET] {
    if set.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts((&raw const (*set).sockets).cast(), (*set).count as usize) }
}

/// Whether the system's answers for a socket mean anything: of one that is not connected they do not.
fn counts(file: &File) -> bool {
    let socket = file.as_socket();
    !socket.is_stream()
        || socket.listening.load(SeqCst)
        || socket.connecting.load(SeqCst)
        || socket.connected.load(SeqCst)
}

/// Polls until something is ready or time is up.
fn poll_until(polls: &mut [libc::pollfd], deadline: Option<Instant>) -> Outcome<i32> {
    raw::flush();
    loop {
        let left = deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            left.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32
        });
        // SAFETY: the entries live through the call.
        match unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, left) } {
            0 if left < 0 || deadline.is_some_and(|deadline| deadline > Instant::now()) => {}
            count @ 0.. => return Ok(count),
            _ if errno() == libc::EINTR => {}
            _ => return Err(last_winsock()),
        }
    }
}

boundary! {
    /// `select`. The first argument has no meaning.
    fn ovl_select(_count: i32, read: *mut FdSet, write: *mut FdSet, except: *mut FdSet, timeout: *const TimeVal) -> i32, winsock else (SOCKET_ERROR) {
        // SAFETY: the caller's promise.
        let (sets, timeout) = unsafe { ([set(read), set(write), set(except)], timeout.as_ref()) };
        if sets.iter().all(|set| set.is_empty()) {
            return Err(Code::WSAEINVAL);
        }
        let mut files: Vec<(SOCKET, Arc<File>)> = Vec::new();
        let mut polls: Vec<libc::pollfd> = Vec::new();
        for (which, set) in sets.iter().enumerate() {
            for s in *set {
                let at = match files.iter().position(|(other, _)| other == s) {
                    Some(at) => at,
                    None => {
                        let file = file::socket(*s)?;
                        polls.push(libc::pollfd { fd: if counts(&file) { file.fd() } else { -1 }, events: 0, revents: 0 });
                        files.push((*s, file));
                        files.len() - 1
                    }
                };
                let connecting = files[at].1.as_socket().connecting.load(SeqCst);
                polls[at].events |= match which {
                    0 => libc::POLLIN,
                    1 => libc::POLLOUT,
                    _ if connecting => libc::POLLPRI | libc::POLLOUT,
                    _ => libc::POLLPRI,
                };
            }
        }
        let deadline = match timeout {
            Some(time) if time.seconds < 0 || time.microseconds < 0 => return Err(Code::WSAEINVAL),
            Some(time) => {
                let wait = std::time::Duration::new(time.seconds as u64, 0)
                    + std::time::Duration::from_micros(time.microseconds as u64);
                Some(Instant::now() + wait)
            }
            None => None,
        };
        poll_until(&mut polls, deadline)?;
        let is_in = |at: usize, which: usize| polls_of(&files[at].1, polls[at].revents) & (1 << which) != 0;
        let mut count = 0;
        for (which, set) in [read, write, except].into_iter().enumerate() {
            // SAFETY: null, or the caller's set, whose array is as long as its count was.
            let Some(set) = (unsafe { set.as_mut() }) else { continue };
            // SAFETY: as above.
            let sockets = unsafe { std::slice::from_raw_parts_mut((&raw mut set.sockets).cast::<SOCKET>(), set.count as usize) };
            let mut kept = 0;
            for at in 0..sockets.len() {
                let s = sockets[at];
                if files.iter().position(|(other, _)| *other == s).is_some_and(|at| is_in(at, which)) {
                    sockets[kept] = s;
                    kept += 1;
                }
            }
            set.count = kept as u32;
            count += kept as i32;
        }
        Ok(count)
    }

    /// `WSAPoll`.
    fn ovl_WSAPoll(fds: *mut PollFd, count: u32, timeout: i32) -> i32, winsock else (SOCKET_ERROR) {
        const RDNORM: i16 = 0x100;
        const RDBAND: i16 = 0x200;
        const WRNORM: i16 = 0x10;
        const ERR: i16 = 1;
        const HUP: i16 = 2;
        const NVAL: i16 = 4;
        if fds.is_null() || count == 0 {
            return Err(Code::WSAEINVAL);
        }
        // SAFETY: the caller's promise.
        let fds = unsafe { std::slice::from_raw_parts_mut(fds, count as usize) };
        let files: Vec<_> = fds.iter().map(|fd| file::socket(fd.socket)).collect();
        let mut polls: Vec<_> = fds.iter().zip(&files).map(|(wanted, file)| {
            let mut events = 0;
            for (theirs, ours) in [(RDNORM, libc::POLLIN), (RDBAND, libc::POLLPRI), (WRNORM, libc::POLLOUT)] {
                events |= if wanted.events & theirs != 0 { ours } else { 0 };
            }
            let fd = file.as_ref().map_or(-1, |file| if counts(file) { file.fd() } else { -1 });
            libc::pollfd { fd, events, revents: 0 }
        }).collect();
        let unknown = fds.iter().zip(&files).any(|(fd, file)| file.is_err() && fd.socket as isize >= 0);
        let deadline = match timeout {
            _ if unknown => Some(Instant::now()),
            ..0 => None,
            ms => signal::deadline(ms as DWORD),
        };
        poll_until(&mut polls, deadline)?;
        let mut ready = 0;
        for ((fd, file), poll) in fds.iter_mut().zip(&files).zip(&polls) {
            fd.revents = match file {
                Err(_) if fd.socket as isize >= 0 => NVAL,
                Err(_) => 0,
                Ok(_) => {
                    let mut revents = 0;
                    for (ours, theirs) in [
                        (libc::POLLIN, RDNORM),
                        (libc::POLLPRI, RDBAND),
                        (libc::POLLOUT, WRNORM),
                        (libc::POLLERR, ERR),
                        (libc::POLLHUP, HUP),
                    ] {
                        revents |= if poll.revents & ours != 0 { theirs } else { 0 };
                    }
                    revents
                }
            };
            ready += i32::from(fd.revents != 0);
        }
        Ok(ready)
    }

    /// `WSAEventSelect`.
    fn ovl_WSAEventSelect(s: SOCKET, event: HANDLE, events: i32) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        let event = signal::of_overlapped(event).map_err(|_| Code::WSAEINVAL)?;
        if event.is_none() && events != 0 {
            return Err(Code::WSAEINVAL);
        }
        file.select_events(event, events as u32)?;
        Ok(0)
    }

    /// `WSAEnumNetworkEvents`. Slots of events that were not recorded are left alone.
    fn ovl_WSAEnumNetworkEvents(s: SOCKET, event: HANDLE, events: *mut NetworkEvents) -> i32, winsock else (SOCKET_ERROR) {
        let file = file::socket(s)?;
        // SAFETY: null, or the caller's variable.
        let events = unsafe { events.as_mut() }.ok_or(Code::WSAEFAULT)?;
        let event = signal::of_overlapped(event).map_err(|_| Code::WSAEINVAL)?;
        let mut selection = lock(&file.as_socket().selection);
        if let Some(event) = event {
            event.reset();
        }
        events.events = 0;
        if let Some(selection) = &mut *selection {
            let recorded = std::mem::take(&mut selection.recorded);
            events.events = recorded as i32;
            for bit in (0..FD_MAX_EVENTS).filter(|bit| recorded & 1 << bit != 0) {
                events.errors[bit] = selection.errors[bit];
            }
        }
        Ok(0)
    }
}

/// In which of `select`'s sets a socket belongs: bits 0 to 2.
fn polls_of(file: &File, revents: i16) -> i32 {
    let failed = file.as_socket().connecting.load(SeqCst) && revents & (libc::POLLERR | libc::POLLHUP) != 0;
    let read = revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 && !failed;
    let write = revents & libc::POLLOUT != 0 && !failed;
    let except = revents & libc::POLLPRI != 0 || failed;
    i32::from(read) | i32::from(write) << 1 | i32::from(except) << 2
}
