//! Pipes: the two ends of one, what is read and written through them, and the functions for their handles. How ends find each other is
//! `rendezvous.rs`'s.
//!
//! A pipe is a pair of connected Unix sockets, so its ends may be in two processes. On a pipe of messages each is preceded by its length; on
//! a pipe of bytes there is nothing but bytes. What cannot be done at once waits in the end's queues, and the thread of `rendezvous.rs` goes
//! on with it when the system says so: both of the library's engines stay out of it, because a read here may take several steps, and a
//! message that is larger than the buffer has to stay.

use std::collections::VecDeque;
use std::ffi::c_char;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use overlapped::raw::{self, Tag};

use crate::boundary::{boundary, set_last_error};
use crate::disk::{self, Access};
use crate::file::{File, HAS_EVENT, Routine, SKIP_PORT_ON_SUCCESS};
use crate::handle::{self, Object, lock};
use crate::overlapped::Overlapped;
use crate::rendezvous::{self, Name};
use crate::signal::{self, Signal, this_thread};
use crate::status::{self, errno};
use crate::thread;
use crate::types::*;
use crate::wide::narrow;

const LISTENING: DWORD = 0xC000_00B3;
const DISCONNECTED: DWORD = 0xC000_00B0;
const BROKEN: DWORD = 0xC000_014B;
const CLOSING: DWORD = 0xC000_00B1;
const EMPTY: DWORD = 0xC000_00D9;
/// A warning: what fits was read, and the message goes on.
const MORE_DATA: DWORD = 0x8000_0005;

const PIPE_ACCESS_INBOUND: DWORD = 1;
const PIPE_ACCESS_OUTBOUND: DWORD = 2;
const FILE_FLAG_FIRST_PIPE_INSTANCE: DWORD = 0x0008_0000;
const FILE_FLAG_OVERLAPPED: DWORD = 0x4000_0000;
const PIPE_NOWAIT: DWORD = 1;
const PIPE_READMODE_MESSAGE: DWORD = 2;
const PIPE_TYPE_MESSAGE: DWORD = 4;
const PIPE_REJECT_REMOTE_CLIENTS: DWORD = 8;
const PIPE_SERVER_END: DWORD = 1;

/// What the first instance of a pipe was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Design {
    /// PIPE_ACCESS_…, as the server has it.
    pub(crate) direction: DWORD,
    pub(crate) messages: bool,
    pub(crate) most_instances: DWORD,
    pub(crate) out_size: DWORD,
    pub(crate) in_size: DWORD,
    pub(crate) default_timeout: DWORD,
}

/// Which end of a pipe it is.
enum End {
    /// Of this name, which lives as long as there are such ends.
    Server(Arc<Name>),
    Client,
    /// Of `CreatePipe`.
    Anonymous,
}

/// An end of a pipe.
pub(crate) struct Pipe {
    end: End,
    design: Design,
    state: Mutex<State>,
}

/// Where an end is in its life.
enum Phase {
    /// A client may come.
    Listening,
    Connected(Link),
    /// The server has disconnected the client.
    Disconnected,
    Closed,
}

/// A connection with the other end.
pub(crate) struct Link {
    pub(crate) fd: OwnedFd,
    /// What both ends look at. An anonymous pipe has none.
    pub(crate) page: Option<Page>,
}

/// Memory that both ends share: its first word says that the server has disconnected the client, so that what has not been read is lost.
pub(crate) struct Page(*mut AtomicU32);

// SAFETY: a mapping that lives as long as this, and an atomic in it.
unsafe impl Send for Page {}

impl Page {
    const SIZE: usize = 4096;

    /// Memory for both ends, and the descriptor that the other one gets.
    pub(crate) fn new() -> Outcome<(Self, OwnedFd)> {
        // SAFETY: a C string; the descriptor is new and ours.
        let fd = unsafe {
            let fd = libc::memfd_create(c"overlapped pipe".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
            if fd < 0 || libc::ftruncate(fd, Self::SIZE as libc::off_t) != 0 {
                return Err(status::last_win32());
            }
            // Nobody can take away what the other one has mapped.
            libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL);
            std::os::fd::FromRawFd::from_raw_fd(fd)
        };
        Ok((Self::of(&fd)?, fd))
    }

    /// The memory of a descriptor that the other end has sent.
    pub(crate) fn of(fd: &OwnedFd) -> Outcome<Self> {
        // SAFETY: no pointers; a structure for which all zeroes is valid; a new mapping, at an address of the system's choice.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            let sealed = libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) & libc::F_SEAL_SHRINK != 0;
            if !sealed || libc::fstat(fd.as_raw_fd(), &mut stat) != 0 || stat.st_size < Self::SIZE as i64 {
                return Err(Code::INVALID_DATA);
            }
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let at = libc::mmap(ptr::null_mut(), Self::SIZE, access, libc::MAP_SHARED, fd.as_raw_fd(), 0);
            if at == libc::MAP_FAILED { Err(status::last_win32()) } else { Ok(Self(at.cast())) }
        }
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: mapped as long as this lives, and aligned.
        unsafe { &*self.0 }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: made by `of`, and nobody uses it any more.
        unsafe { libc::munmap(self.0.cast(), Self::SIZE) };
    }
}

struct State {
    phase: Phase,
    /// Reads end where a message does.
    message_mode: bool,
    nowait: bool,
    /// The length of the next message, as far as it has come.
    header: Vec<u8>,
    /// Of the message that is being read: what is left of it, in `held` and in the socket.
    message: Option<usize>,
    /// What a read had taken that was cancelled.
    held: VecDeque<u8>,
    connects: VecDeque<Pending>,
    reads: VecDeque<Pending>,
    writes: VecDeque<Pending>,
}

/// An operation that waits.
struct Pending {
    tag: Tag,
    job: Job,
    told: Told,
}

/// What is to be done. Memory is the caller's until the end was told.
enum Job {
    Connect,
    Read {
        to: *mut u8,
        len: usize,
        got: usize,
    },
    Write {
        from: *const u8,
        len: usize,
        /// With the message's length, if there is one.
        sent: usize,
        /// The answer is to be read: `TransactNamedPipe`.
        answer: Option<(*mut u8, usize)>,
    },
    /// The rest of a message that was cancelled when part of it had gone.
    Rest {
        bytes: Vec<u8>,
        sent: usize,
    },
}

/// Who hears of an end.
enum Told {
    Overlapped {
        file: Arc<File>,
        overlapped: *const Overlapped,
        event: Option<Arc<Signal>>,
        /// The low bit of the event: no packet.
        silent: bool,
        routine: Option<(Routine, raw::Thread)>,
    },
    Waiter(Arc<Waiter>),
    Nobody,
}

// SAFETY: the addresses are the caller's, and valid until the end was told, on whatever thread that is.
unsafe impl Send for Pending {}

/// Waits for an operation.
struct Waiter {
    done: Arc<Signal>,
    outcome: Mutex<Option<Ended>>,
}

/// How an operation ended: its status and bytes.
#[derive(Clone, Copy, Debug)]
struct Ended(DWORD, usize);

impl Ended {
    /// Not an error that the call itself gives back and nobody else hears of.
    fn is_told(self) -> bool {
        self.0 >> 30 != 3
    }
}

impl Told {
    /// `at_once`: in the call that started it.
    fn tell(&self, Ended(status, bytes): Ended, at_once: bool) {
        let (file, overlapped, event, silent, routine) = match self {
            Self::Nobody => return,
            Self::Waiter(waiter) => {
                *lock(&waiter.outcome) = Some(Ended(status, bytes));
                return waiter.done.set();
            }
            Self::Overlapped { file, overlapped, event, silent, routine } => (file, overlapped, event, silent, routine),
        };
        let address = *overlapped as usize;
        // SAFETY: the caller keeps it until the end was told, which is now.
        unsafe { &**overlapped }.finish(status, bytes);
        if let Some((routine, thread)) = routine {
            let routine = *routine;
            let code = if status == 0 { 0 } else { status::win32(status).0 };
            let bytes = if matches!(status, 0 | MORE_DATA) { bytes as DWORD } else { 0 };
            thread.queue(Box::new(move || {
                // SAFETY: the caller gave it for this.
                thread::inside(|| unsafe { routine(code, bytes, address as *mut Overlapped, 0) });
            }));
            return;
        }
        match event {
            Some(event) => event.set(),
            None => file.flash(),
        }
        let skipped = at_once && status == 0 && file.has_mode(SKIP_PORT_ON_SUCCESS);
        if !silent && !skipped {
            file.post(address, bytes, status);
        }
    }
}

/// What the system says of a socket that has nothing, or no room.
fn would_wait() -> bool {
    matches!(errno(), libc::EAGAIN | libc::EINTR)
}

/// # Safety
/// There is room for `len` bytes.
unsafe fn receive(fd: RawFd, to: *mut u8, len: usize, flags: i32) -> isize {
    loop {
        // SAFETY: the caller's promise.
        let got = unsafe { libc::recv(fd, to.cast(), len, flags | libc::MSG_DONTWAIT) };
        if got >= 0 || errno() != libc::EINTR {
            return got;
        }
    }
}

impl State {
    /// Why nothing can be read or written, if so.
    fn refusal(&self) -> Option<DWORD> {
        match &self.phase {
            Phase::Listening => Some(LISTENING),
            Phase::Disconnected => Some(DISCONNECTED),
            Phase::Closed => Some(BROKEN),
            Phase::Connected(Link { page: Some(page), .. }) if page.word().load(SeqCst) != 0 => Some(DISCONNECTED),
            Phase::Connected(_) => None,
        }
    }

    fn fd(&self) -> RawFd {
        match &self.phase {
            Phase::Connected(link) => link.fd.as_raw_fd(),
            _ => -1,
        }
    }

    /// Takes bytes of the pipe. `None`: there are none now.
    ///
    /// # Safety
    /// There is room for `len` bytes.
    unsafe fn take(&mut self, to: *mut u8, len: usize) -> Option<Result<usize, DWORD>> {
        if !self.held.is_empty() {
            let count = len.min(self.held.len());
            for (at, byte) in self.held.drain(..count).enumerate() {
                // SAFETY: the caller's promise.
                unsafe { to.add(at).write(byte) };
            }
            return Some(Ok(count));
        }
        // SAFETY: the caller's promise.
        match unsafe { receive(self.fd(), to, len, 0) } {
            0 if len > 0 => Some(Err(BROKEN)),
            got @ 0.. => Some(Ok(got as usize)),
            _ if would_wait() => None,
            _ => Some(Err(BROKEN)),
        }
    }

    /// Looks for a message to read. `None`: there is none now.
    fn begin_message(&mut self) -> Option<Result<usize, DWORD>> {
        if let Some(left) = self.message {
            return Some(Ok(left));
        }
        while self.header.len() < 4 {
            let mut bytes = [0; 4];
            let missing = 4 - self.header.len();
            // SAFETY: there is room for four.
            match unsafe { receive(self.fd(), bytes.as_mut_ptr(), missing, 0) } {
                got @ 1.. => self.header.extend_from_slice(&bytes[..got as usize]),
                0 => return Some(Err(BROKEN)),
                _ if would_wait() => return None,
                _ => return Some(Err(BROKEN)),
            }
        }
        let len = u32::from_le_bytes([self.header[0], self.header[1], self.header[2], self.header[3]]) as usize;
        self.header.clear();
        self.message = Some(len);
        Some(Ok(len))
    }

    /// Goes on with a read. `None`: it has to wait.
    fn read(&mut self, messages: bool, to: *mut u8, len: usize, got: &mut usize) -> Option<Ended> {
        if let Some(status) = self.refusal() {
            return Some(Ended(status, 0));
        }
        if !messages {
            if len == 0 {
                let mut byte = 0;
                // SAFETY: one byte.
                return match unsafe { receive(self.fd(), &mut byte, 1, libc::MSG_PEEK) } {
                    1.. => Some(Ended(0, 0)),
                    0 => Some(Ended(BROKEN, 0)),
                    _ => None,
                };
            }
            // SAFETY: the caller of the read has the room.
            return match unsafe { self.take(to, len) }? {
                Ok(count) => Some(Ended(0, count)),
                Err(status) => Some(Ended(status, 0)),
            };
        }
        loop {
            let left = match self.begin_message() {
                Some(Ok(left)) => left,
                // By bytes: what there is.
                _ if !self.message_mode && *got > 0 => return Some(Ended(0, *got)),
                Some(Err(status)) => return Some(Ended(status, 0)),
                None => return None,
            };
            if left == 0 {
                self.message = None;
                if self.message_mode {
                    return Some(Ended(0, *got));
                }
                continue; // a message of nothing, to one who reads bytes
            }
            if *got == len {
                return Some(Ended(if self.message_mode { MORE_DATA } else { 0 }, *got));
            }
            // SAFETY: the caller of the read has the room.
            match unsafe { self.take(to.add(*got), left.min(len - *got)) } {
                Some(Ok(count)) => {
                    *got += count;
                    self.message = Some(left - count);
                    if left == count {
                        self.message = None;
                        if self.message_mode || *got == len {
                            return Some(Ended(0, *got));
                        }
                    }
                }
                _ if !self.message_mode && *got > 0 => return Some(Ended(0, *got)),
                Some(Err(status)) => return Some(Ended(status, 0)),
                None => return None,
            }
        }
    }

    /// Goes on with a write. `None`: it has to wait.
    fn write(&self, messages: bool, from: *const u8, len: usize, sent: &mut usize) -> Option<Ended> {
        let header = (len as u32).to_le_bytes();
        let front = if messages { header.len() } else { 0 };
        if let Some(status) = self.refusal() {
            return Some(Ended(status, 0));
        }
        loop {
            if *sent == front + len {
                return Some(Ended(0, len));
            }
            let skip = (*sent).min(front);
            let at = *sent - skip;
            let mut vector = [
                libc::iovec { iov_base: header[skip..].as_ptr().cast_mut().cast(), iov_len: front - skip },
                // SAFETY: inside the caller's memory, or behind its last byte.
                libc::iovec { iov_base: unsafe { from.add(at) }.cast_mut().cast(), iov_len: len - at },
            ];
            // SAFETY: plain data, for which all zeroes is valid; the header points to what lives through the call.
            let now = unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                (message.msg_iov, message.msg_iovlen) = (vector.as_mut_ptr(), vector.len() as _);
                libc::sendmsg(self.fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            };
            match now {
                0.. => *sent += now as usize,
                _ if errno() == libc::EINTR => {}
                _ if errno() == libc::EAGAIN => return None,
                // The other end is closed, or gone by the server's will.
                _ => return Some(Ended(self.refusal().unwrap_or(CLOSING), 0)),
            }
        }
    }

    /// Goes on with an operation. `None`: it has to wait.
    fn go_on(&mut self, messages: bool, job: &mut Job) -> Option<Ended> {
        match job {
            Job::Connect => None,
            Job::Read { to, len, got } => self.read(messages, *to, *len, got),
            Job::Write { from, len, sent, .. } => self.write(messages, *from, *len, sent),
            Job::Rest { bytes, sent } => self.write(false, bytes.as_ptr(), bytes.len(), sent),
        }
    }

    /// Goes on with what waits, as far as it can be done.
    fn progress(&mut self, messages: bool) {
        while let Some(mut first) = self.writes.pop_front() {
            let Some(ended) = self.go_on(messages, &mut first.job) else {
                self.writes.push_front(first);
                break;
            };
            match first.job {
                Job::Write { answer: Some((to, len)), .. } if ended.0 == 0 => {
                    self.reads.push_back(Pending { job: Job::Read { to, len, got: 0 }, ..first });
                }
                _ => first.told.tell(ended, false),
            }
        }
        while let Some(mut first) = self.reads.pop_front() {
            let Some(ended) = self.go_on(messages, &mut first.job) else {
                self.reads.push_front(first);
                break;
            };
            first.told.tell(ended, false);
        }
    }

    /// Ends all that waits.
    fn end_all(&mut self, status: DWORD) {
        for queue in [&mut self.connects, &mut self.reads, &mut self.writes] {
            queue.drain(..).for_each(|pending| pending.told.tell(Ended(status, 0), false));
        }
    }

    /// Forgets what belonged to a connection.
    fn forget(&mut self) {
        self.header.clear();
        self.held.clear();
        self.message = None;
    }
}

impl Pipe {
    fn new(end: End, design: Design, phase: Phase) -> Arc<Self> {
        let state = State {
            phase,
            message_mode: false,
            nowait: false,
            header: Vec::new(),
            message: None,
            held: VecDeque::new(),
            connects: VecDeque::new(),
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        };
        Arc::new(Self { end, design, state: Mutex::new(state) })
    }

    /// A client's end, connected.
    pub(crate) fn client(link: Link, design: Design) -> Outcome<Arc<Self>> {
        let fd = link.fd.as_raw_fd();
        let pipe = Self::new(End::Client, design, Phase::Connected(link));
        rendezvous::watch_pipe(fd, &pipe)?;
        Ok(pipe)
    }

    pub(crate) fn is_listening(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::Listening)
    }

    /// Whether ConnectNamedPipe waits for a client.
    pub(crate) fn is_awaited(&self) -> bool {
        let state = lock(&self.state);
        matches!(state.phase, Phase::Listening) && !state.connects.is_empty()
    }

    pub(crate) fn design(&self) -> Design {
        self.design
    }

    /// A client has come, which is to be greeted. Gives the connection back if this end is not listening any more.
    pub(crate) fn connected(&self, link: Link, greet: impl FnOnce(RawFd) -> bool) -> Option<Link> {
        let mut state = lock(&self.state);
        if !matches!(state.phase, Phase::Listening) {
            return Some(link);
        }
        if !greet(link.fd.as_raw_fd()) {
            return None; // it has gone again
        }
        state.forget();
        state.phase = Phase::Connected(link);
        state.connects.drain(..).for_each(|pending| pending.told.tell(Ended(0, 0), false));
        None
    }

    /// The system says that something may be done.
    pub(crate) fn look(&self) {
        lock(&self.state).progress(self.design.messages);
    }

    /// Cancels the operations that `which` picks. Returns how many.
    pub(crate) fn cancel(&self, which: impl Fn(&Tag) -> bool) -> usize {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let mut ended = Vec::new();
        for queue in [&mut state.connects, &mut state.reads, &mut state.writes] {
            let (picked, kept) =
                queue.drain(..).partition(|pending| !matches!(pending.told, Told::Nobody) && which(&pending.tag));
            *queue = kept;
            let picked: VecDeque<Pending> = picked;
            ended.extend(picked);
        }
        let count = ended.len();
        for pending in ended {
            let mut moved = 0;
            match pending.job {
                // What it had taken of a message stays.
                Job::Read { to, got, .. } if got > 0 => {
                    // SAFETY: the read has filled them, and its end has not been told.
                    let bytes = unsafe { std::slice::from_raw_parts(to, got) };
                    state.held = bytes.iter().copied().chain(state.held.drain(..)).collect();
                    state.message = Some(state.message.unwrap_or(0) + got);
                }
                // What the other end has begun to read has to have an end.
                Job::Write { from, len, sent, .. } if sent > 0 && self.design.messages => {
                    let header = (len as u32).to_le_bytes();
                    // SAFETY: the caller's, and the end has not been told.
                    let body = unsafe { std::slice::from_raw_parts(from, len) };
                    let bytes = header.iter().chain(body).skip(sent).copied().collect();
                    let tag = Tag { overlapped: 0, data: 0, thread: 0 };
                    state.writes.push_front(Pending { tag, job: Job::Rest { bytes, sent: 0 }, told: Told::Nobody });
                }
                Job::Write { sent, .. } => moved = sent,
                _ => {}
            }
            pending.told.tell(Ended(status::CANCELLED, moved), false);
        }
        state.progress(self.design.messages);
        count
    }

    /// Its last handle is closed.
    pub(crate) fn close(self: &Arc<Self>) {
        if let End::Server(name) = &self.end {
            name.leave(self);
        }
        let mut state = lock(&self.state);
        state.phase = Phase::Closed; // which closes the socket: what was written can still be read
        state.end_all(BROKEN);
        state.forget();
    }

    /// Starts an operation, or does it. `None`: its end will be told.
    fn start(&self, mut pending: Pending) -> Option<Ended> {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let is_write = matches!(pending.job, Job::Write { .. });
        let waits = if is_write { !state.writes.is_empty() } else { !state.reads.is_empty() };
        if let Some(status) = state.refusal().filter(|_| waits) {
            return Some(Ended(status, 0));
        }
        let ended = if waits { None } else { state.go_on(self.design.messages, &mut pending.job) };
        if let (Some(Ended(0, _)), Job::Write { answer: Some((to, len)), .. }) = (ended, &pending.job) {
            pending.job = Job::Read { to: *to, len: *len, got: 0 };
            state.reads.push_back(pending);
            state.progress(self.design.messages);
            return None;
        }
        let ended = ended.or_else(|| state.nowait.then(|| Self::unwilling(state, self.design.messages, &mut pending)));
        match ended {
            Some(ended) if ended.is_told() => pending.told.tell(ended, true),
            Some(_) => {}
            None if is_write => state.writes.push_back(pending),
            None => state.reads.push_back(pending),
        }
        ended
    }

    /// What an operation does that would wait, on an end that does not.
    fn unwilling(state: &mut State, messages: bool, pending: &mut Pending) -> Ended {
        match &pending.job {
            Job::Write { from, len, sent, .. } if messages && *sent > 0 => {
                let header = (*len as u32).to_le_bytes();
                // SAFETY: the caller's, through the call.
                let body = unsafe { std::slice::from_raw_parts(*from, *len) };
                let bytes = header.iter().chain(body).skip(*sent).copied().collect();
                let tag = Tag { overlapped: 0, data: 0, thread: 0 };
                state.writes.push_back(Pending { tag, job: Job::Rest { bytes, sent: 0 }, told: Told::Nobody });
                Ended(0, *len)
            }
            Job::Write { sent, .. } => Ended(0, *sent),
            Job::Read { to, got, .. } if *got > 0 => {
                // SAFETY: filled just now.
                let bytes = unsafe { std::slice::from_raw_parts(*to, *got) };
                state.held = bytes.iter().copied().chain(state.held.drain(..)).collect();
                state.message = Some(state.message.unwrap_or(0) + *got);
                Ended(EMPTY, 0)
            }
            _ => Ended(EMPTY, 0),
        }
    }

    /// The server has a client that has closed its end.
    fn is_deserted(state: &State) -> bool {
        let mut poll = libc::pollfd { fd: state.fd(), events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: one entry, which lives through the call.
        unsafe { libc::poll(&mut poll, 1, 0) > 0 && poll.revents & (libc::POLLRDHUP | libc::POLLHUP) != 0 }
    }
}

// What is asked for, and how its end is told.

/// An operation of a handle's whose end the OVERLAPPED, an event, the port or a routine tells. `Ok`: it is done.
///
/// # Safety
/// Memory is the caller's until the end was told.
unsafe fn begin(
    file: &Arc<File>,
    overlapped: *const Overlapped,
    routine: Option<Routine>,
    start: impl FnOnce(Pending) -> Option<Ended>,
    job: Job,
) -> Outcome<Option<Ended>> {
    // SAFETY: the caller's promise; it is not null.
    let of = unsafe { &*overlapped };
    let event = if routine.is_some() { None } else { signal::of_overlapped(of.event)? };
    match &event {
        Some(event) => event.reset(),
        None if routine.is_none() => file.lower(),
        None => {}
    }
    of.begin();
    let silent = routine.is_none() && of.event as usize & 1 != 0;
    let data = if event.is_some() { HAS_EVENT } else { 0 };
    let tag = Tag { overlapped: overlapped as usize, data, thread: this_thread() };
    thread::remember(file);
    let routine = routine.map(|routine| (routine, raw::Thread::current()));
    let told = Told::Overlapped { file: Arc::clone(file), overlapped, event, silent, routine };
    match start(Pending { tag, job, told }) {
        Some(Ended(status, _)) if status >> 30 == 3 => {
            of.finish(status, 0);
            Err(status::win32(status))
        }
        ended => Ok(ended),
    }
}

/// An operation that is waited for.
fn perform(file: &Arc<File>, start: impl FnOnce(Pending) -> Option<Ended>, job: Job) -> Ended {
    let waiter = Arc::new(Waiter { done: Signal::flag(false), outcome: Mutex::new(None) });
    let name = Arc::as_ptr(&waiter) as usize;
    let tag = Tag { overlapped: name, data: 0, thread: this_thread() };
    if let Some(ended) = start(Pending { tag, job, told: Told::Waiter(Arc::clone(&waiter)) }) {
        return ended;
    }
    let me = thread::current();
    me.set_waiting(Some((Arc::downgrade(file), name)));
    signal::wait(std::slice::from_ref(&waiter.done), false, None, false);
    me.set_waiting(None);
    lock(&waiter.outcome).take().expect("the signal says that it is there")
}

/// What a call gives back for an end. `bytes` is written where there are some.
///
/// # Safety
/// Null, or the caller's variable.
unsafe fn give(bytes: *mut DWORD, Ended(status, moved): Ended) -> Outcome<BOOL> {
    if !bytes.is_null() && status >> 30 != 3 {
        // SAFETY: the caller's promise.
        unsafe { bytes.write(moved as DWORD) };
    }
    if status == 0 { Ok(TRUE) } else { Err(status::win32(status)) }
}

/// Does a read, write or transaction as the handle has it: overlapped or not.
///
/// # Safety
/// As `ReadFile`.
unsafe fn transfer(
    file: &Arc<File>,
    pipe: &Arc<Pipe>,
    job: Job,
    bytes: *mut DWORD,
    overlapped: *const Overlapped,
) -> Outcome<BOOL> {
    if !file.overlapped || overlapped.is_null() {
        let ended = perform(file, |pending| pipe.start(pending), job);
        // SAFETY: null, or the caller's.
        if let Some(overlapped) = unsafe { overlapped.as_ref() } {
            overlapped.finish(ended.0, ended.1);
        }
        // SAFETY: the caller's promise.
        return unsafe { give(bytes, ended) };
    }
    // SAFETY: the caller's promise.
    match unsafe { begin(file, overlapped, None, |pending| pipe.start(pending), job) }? {
        // SAFETY: the caller's promise.
        Some(ended) => unsafe { give(bytes, ended) },
        None => Err(Code::IO_PENDING),
    }
}

/// `ReadFile` on a pipe. What is wrong with the arguments was said before.
///
/// # Safety
/// As that.
pub(crate) unsafe fn read(
    file: &Arc<File>,
    pipe: &Arc<Pipe>,
    (to, len): (*mut u8, usize),
    bytes: *mut DWORD,
    overlapped: *const Overlapped,
) -> Outcome<BOOL> {
    // SAFETY: the caller's promise.
    unsafe { transfer(file, pipe, Job::Read { to, len, got: 0 }, bytes, overlapped) }
}

/// `WriteFile` on a pipe.
///
/// # Safety
/// As that.
pub(crate) unsafe fn write(
    file: &Arc<File>,
    pipe: &Arc<Pipe>,
    (from, len): (*const u8, usize),
    bytes: *mut DWORD,
    overlapped: *const Overlapped,
) -> Outcome<BOOL> {
    // SAFETY: the caller's promise.
    unsafe { transfer(file, pipe, Job::Write { from, len, sent: 0, answer: None }, bytes, overlapped) }
}

/// `ReadFileEx` and `WriteFileEx` on a pipe.
///
/// # Safety
/// As those.
pub(crate) unsafe fn extended(
    file: &Arc<File>,
    pipe: &Arc<Pipe>,
    reads: bool,
    (memory, len): (*mut u8, usize),
    overlapped: *const Overlapped,
    routine: Option<Routine>,
) -> Outcome<()> {
    let job = match reads {
        true => Job::Read { to: memory, len, got: 0 },
        false => Job::Write { from: memory, len, sent: 0, answer: None },
    };
    // SAFETY: the caller's promise. What was done at once is told by the routine all the same.
    unsafe { begin(file, overlapped, routine, |pending| pipe.start(pending), job) }.map(drop)
}

/// `FlushFileBuffers` on a pipe: waits until the other end has read all.
pub(crate) fn flush(pipe: &Pipe) -> Outcome<BOOL> {
    loop {
        {
            let state = lock(&pipe.state);
            if let Some(status) = state.refusal() {
                return Err(status::win32(status));
            }
            let mut unread = 0i32;
            // SAFETY: the system writes an int.
            unsafe { libc::ioctl(state.fd(), libc::TIOCOUTQ, &raw mut unread) };
            if unread == 0 && state.writes.is_empty() {
                return Ok(TRUE);
            }
            if Pipe::is_deserted(&state) {
                return Err(Code::BROKEN_PIPE);
            }
        }
        // Nobody tells when the other end has read.
        raw::wait(Some(Instant::now() + Duration::from_millis(1)), false, || None::<()>);
    }
}

/// The pipe of a handle.
fn find(handle: HANDLE) -> Outcome<(Arc<File>, Arc<Pipe>)> {
    let file = disk::file(handle)?;
    let pipe = file.pipe.clone().ok_or(Code(1))?; // ERROR_INVALID_FUNCTION
    Ok((file, pipe))
}

impl Pipe {
    fn name(&self) -> Outcome<&Arc<Name>> {
        match &self.end {
            End::Server(name) => Ok(name),
            End::Client | End::Anonymous => Err(Code(1)), // ERROR_INVALID_FUNCTION
        }
    }

    /// Sets the modes of PIPE_READMODE_MESSAGE and PIPE_NOWAIT.
    fn set_modes(&self, modes: DWORD) -> Outcome<()> {
        if modes & !(PIPE_READMODE_MESSAGE | PIPE_NOWAIT) != 0 {
            return Err(Code::INVALID_PARAMETER);
        }
        if modes & PIPE_READMODE_MESSAGE != 0 && !self.design.messages {
            return Err(Code::INVALID_PARAMETER);
        }
        let mut state = lock(&self.state);
        state.message_mode = modes & PIPE_READMODE_MESSAGE != 0;
        state.nowait = modes & PIPE_NOWAIT != 0;
        Ok(())
    }

    /// Who is at the other end.
    fn peer(&self) -> Outcome<DWORD> {
        let state = lock(&self.state);
        if let Some(status) = state.refusal() {
            return Err(status::win32(status));
        }
        rendezvous::credentials(state.fd()).map(|(pid, _)| pid as DWORD)
    }
}

/// Both ends of an anonymous pipe: one to read from, one to write to.
fn anonymous() -> Outcome<(HANDLE, HANDLE)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: room for two; they are new and ours.
    let fds: [OwnedFd; 2] = unsafe {
        if libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) != 0 {
            return Err(status::last_win32());
        }
        fds.map(|fd| std::os::fd::FromRawFd::from_raw_fd(fd))
    };
    let design = Design {
        direction: PIPE_ACCESS_INBOUND,
        messages: false,
        most_instances: 1,
        out_size: 4096,
        in_size: 4096,
        default_timeout: 50,
    };
    let accesses = [Access { read: true, write: false }, Access { read: false, write: true }];
    let mut handles = [ptr::null_mut(); 2];
    for ((handle, fd), access) in handles.iter_mut().zip(fds).zip(accesses) {
        let raw = fd.as_raw_fd();
        let pipe = Pipe::new(End::Anonymous, design, Phase::Connected(Link { fd, page: None }));
        rendezvous::watch_pipe(raw, &pipe)?;
        *handle = handle::give(Object::File(File::of_pipe(pipe, access, false)?))?;
    }
    Ok((handles[0], handles[1]))
}

/// # Safety
/// `name` is null or a C string.
unsafe fn create(
    name: *const c_char,
    open: DWORD,
    mode: DWORD,
    most: DWORD,
    sizes: (DWORD, DWORD),
    timeout: DWORD,
) -> Outcome<HANDLE> {
    const OPEN_FLAGS: DWORD =
        FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE | 0x8000_0000 | 0x0100_0000 | 0x000C_0000;
    const MODES: DWORD = PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_NOWAIT | PIPE_REJECT_REMOTE_CLIENTS;
    if name.is_null() {
        return Err(Code::INVALID_NAME);
    }
    // SAFETY: the caller's promise.
    let name = rendezvous::name_of(unsafe { std::ffi::CStr::from_ptr(name) }).ok_or(Code::INVALID_NAME)??;
    let direction = open & (PIPE_ACCESS_INBOUND | PIPE_ACCESS_OUTBOUND);
    let messages = mode & PIPE_TYPE_MESSAGE != 0;
    let wrong_mode = mode & !MODES != 0 || mode & PIPE_READMODE_MESSAGE != 0 && !messages;
    if direction == 0 || open & !(3 | OPEN_FLAGS) != 0 || wrong_mode || !(1..=255).contains(&most) {
        return Err(Code::INVALID_PARAMETER);
    }
    let default_timeout = if timeout == 0 { 50 } else { timeout };
    let design =
        Design { direction, messages, most_instances: most, out_size: sizes.0, in_size: sizes.1, default_timeout };
    let access = Access { read: direction & PIPE_ACCESS_INBOUND != 0, write: direction & PIPE_ACCESS_OUTBOUND != 0 };
    let first = open & FILE_FLAG_FIRST_PIPE_INSTANCE != 0;
    let pipe = rendezvous::add_instance(&name, design, first, |name, design| {
        Pipe::new(End::Server(Arc::clone(name)), design, Phase::Listening)
    })?;
    let opened = pipe.set_modes(mode & (PIPE_READMODE_MESSAGE | PIPE_NOWAIT));
    let opened = opened.and_then(|()| File::of_pipe(Arc::clone(&pipe), access, open & FILE_FLAG_OVERLAPPED != 0));
    let handle = opened.and_then(|file| handle::give(Object::File(file)));
    if handle.is_err() {
        pipe.close();
    }
    set_last_error(0);
    handle
}

boundary! {
    /// `CreateNamedPipeA`. Security attributes are left aside: only processes of the same user may connect.
    fn ovl_CreateNamedPipeA(name: *const c_char, open: DWORD, mode: DWORD, most: DWORD, out_size: DWORD, in_size: DWORD, timeout: DWORD, _security: *const u8) -> HANDLE, else (INVALID_HANDLE_VALUE) {
        // SAFETY: the caller's promise.
        unsafe { create(name, open, mode, most, (out_size, in_size), timeout) }
    }

    /// `CreateNamedPipeW`.
    fn ovl_CreateNamedPipeW(name: *const u32, open: DWORD, mode: DWORD, most: DWORD, out_size: DWORD, in_size: DWORD, timeout: DWORD, _security: *const u8) -> HANDLE, else (INVALID_HANDLE_VALUE) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) }.ok_or(Code::INVALID_NAME)?;
        // SAFETY: of our own.
        unsafe { create(name.as_ptr(), open, mode, most, (out_size, in_size), timeout) }
    }

    /// `ConnectNamedPipe`.
    fn ovl_ConnectNamedPipe(handle: HANDLE, overlapped: *const Overlapped) -> BOOL, else (FALSE) {
        let (file, pipe) = find(handle)?;
        let name = pipe.name()?;
        {
            let mut state = lock(&pipe.state);
            match state.phase {
                Phase::Connected(_) if Pipe::is_deserted(&state) => return Err(Code::NO_DATA),
                Phase::Connected(_) => return Err(Code::PIPE_CONNECTED),
                Phase::Closed => return Err(Code::INVALID_HANDLE),
                Phase::Listening if state.nowait => return Err(Code::PIPE_LISTENING),
                Phase::Listening => {}
                Phase::Disconnected => {
                    state.phase = Phase::Listening;
                    let nowait = state.nowait;
                    drop(state);
                    name.listens_again();
                    if nowait {
                        return Ok(TRUE);
                    }
                }
            }
        }
        // A client may have come by now.
        let start = |pending: Pending| {
            let mut state = lock(&pipe.state);
            match &state.phase {
                Phase::Listening => {
                    state.connects.push_back(pending);
                    None
                }
                Phase::Connected(_) => {
                    pending.told.tell(Ended(0, 0), true);
                    Some(Ended(0, 0))
                }
                Phase::Disconnected | Phase::Closed => Some(Ended(DISCONNECTED, 0)),
            }
        };
        if !file.overlapped || overlapped.is_null() {
            // SAFETY: no variable.
            return unsafe { give(ptr::null_mut(), perform(&file, start, Job::Connect)) };
        }
        // SAFETY: the caller's promise.
        match unsafe { begin(&file, overlapped, None, start, Job::Connect) }? {
            Some(_) => Ok(TRUE),
            None => Err(Code::IO_PENDING),
        }
    }

    /// `DisconnectNamedPipe`. What the client has not read is lost.
    fn ovl_DisconnectNamedPipe(handle: HANDLE) -> BOOL, else (FALSE) {
        let (_, pipe) = find(handle)?;
        pipe.name()?;
        let mut state = lock(&pipe.state);
        match &state.phase {
            Phase::Disconnected | Phase::Closed => return Err(Code::PIPE_NOT_CONNECTED),
            Phase::Listening => {}
            Phase::Connected(link) => {
                if let Some(page) = &link.page {
                    page.word().store(1, SeqCst);
                }
                // SAFETY: no pointers. The client's thread is woken by it, and finds the word set.
                unsafe { libc::shutdown(link.fd.as_raw_fd(), libc::SHUT_RDWR) };
            }
        }
        state.phase = Phase::Disconnected;
        state.end_all(DISCONNECTED);
        state.forget();
        Ok(TRUE)
    }

    /// `CreatePipe`. The size is the system's choice.
    fn ovl_CreatePipe(read: *mut HANDLE, write: *mut HANDLE, _security: *const u8, _size: DWORD) -> BOOL, else (FALSE) {
        if read.is_null() || write.is_null() {
            return Err(Code::NOACCESS);
        }
        let ends = anonymous()?;
        // SAFETY: not null, so the caller's variables.
        unsafe { (read.write(ends.0), write.write(ends.1)) };
        Ok(TRUE)
    }

    /// `TransactNamedPipe`.
    fn ovl_TransactNamedPipe(handle: HANDLE, from: *const u8, from_len: DWORD, to: *mut u8, to_len: DWORD, bytes: *mut DWORD, overlapped: *const Overlapped) -> BOOL, else (FALSE) {
        let (file, pipe) = find(handle)?;
        if !file.access.read || !file.access.write {
            return Err(Code::ACCESS_DENIED);
        }
        {
            let mut state = lock(&pipe.state);
            if let Some(status) = state.refusal() {
                return Err(status::win32(status));
            }
            if !state.message_mode {
                return Err(Code(230)); // ERROR_BAD_PIPE
            }
            // What is there already would be taken for the answer.
            if state.message.is_some() || matches!(state.begin_message(), Some(Ok(_))) || !state.reads.is_empty() {
                return Err(Code::PIPE_BUSY);
            }
        }
        if file.overlapped && overlapped.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        let job = Job::Write { from, len: from_len as usize, sent: 0, answer: Some((to, to_len as usize)) };
        // SAFETY: the caller's promise.
        unsafe { transfer(&file, &pipe, job, bytes, overlapped) }
    }

    /// `PeekNamedPipe`.
    fn ovl_PeekNamedPipe(handle: HANDLE, to: *mut u8, len: DWORD, bytes: *mut DWORD, available: *mut DWORD, left: *mut DWORD) -> BOOL, else (FALSE) {
        let (file, pipe) = find(handle)?;
        if !file.access.read {
            return Err(Code::ACCESS_DENIED);
        }
        let state = lock(&pipe.state);
        match state.refusal() {
            Some(LISTENING) => return Err(Code(230)), // ERROR_BAD_PIPE
            Some(status) => return Err(status::win32(status)),
            None => {}
        }
        let mut unread = 0i32;
        // SAFETY: the system writes an int.
        unsafe { libc::ioctl(state.fd(), libc::FIONREAD, &raw mut unread) };
        let mut raw = vec![0; unread.max(1) as usize];
        // SAFETY: there is so much room.
        let got = unsafe { receive(state.fd(), raw.as_mut_ptr(), raw.len(), libc::MSG_PEEK) };
        if got == 0 && state.held.is_empty() && state.message.is_none_or(|left| left == 0) {
            return Err(Code::BROKEN_PIPE);
        }
        let view = View::new(&state, pipe.design.messages, &raw[..got.max(0) as usize]);
        let count = if to.is_null() { 0 } else { view.shown.len().min(len as usize) };
        // SAFETY: the caller's, as large as it says; variables are null or the caller's.
        unsafe {
            if count > 0 {
                to.copy_from_nonoverlapping(view.shown.as_ptr(), count);
            }
            for (to, value) in [(bytes, count), (available, view.available), (left, view.message.saturating_sub(count))] {
                if !to.is_null() {
                    to.write(value as DWORD);
                }
            }
        }
        Ok(TRUE)
    }

    /// `SetNamedPipeHandleState`. What concerns pipes to other machines has to be left out.
    fn ovl_SetNamedPipeHandleState(handle: HANDLE, modes: *const DWORD, most: *const DWORD, timeout: *const DWORD) -> BOOL, else (FALSE) {
        let (_, pipe) = find(handle)?;
        if !most.is_null() || !timeout.is_null() {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: null, or the caller's variable.
        if let Some(modes) = unsafe { modes.as_ref() } {
            pipe.set_modes(*modes)?;
        }
        Ok(TRUE)
    }

    /// `GetNamedPipeHandleStateA`.
    fn ovl_GetNamedPipeHandleStateA(handle: HANDLE, modes: *mut DWORD, instances: *mut DWORD, most: *mut DWORD, timeout: *mut DWORD, user: *mut c_char, room: DWORD) -> BOOL, else (FALSE) {
        let (_, pipe) = find(handle)?;
        if !most.is_null() || !timeout.is_null() || !user.is_null() && room == 0 {
            return Err(Code::INVALID_PARAMETER);
        }
        let state = lock(&pipe.state);
        let now = if state.message_mode { PIPE_READMODE_MESSAGE } else { 0 } | if state.nowait { PIPE_NOWAIT } else { 0 };
        drop(state);
        let count = pipe.name().map_or(1, |name| name.count());
        // SAFETY: null, or the caller's.
        unsafe {
            for (to, value) in [(modes, now), (instances, count)] {
                if !to.is_null() {
                    to.write(value);
                }
            }
            if !user.is_null() {
                user.write(0); // nobody is impersonated
            }
        }
        Ok(TRUE)
    }

    /// `GetNamedPipeHandleStateW`.
    fn ovl_GetNamedPipeHandleStateW(handle: HANDLE, modes: *mut DWORD, instances: *mut DWORD, most: *mut DWORD, timeout: *mut DWORD, user: *mut u32, room: DWORD) -> BOOL, else (FALSE) {
        if !user.is_null() && room == 0 {
            return Err(Code::INVALID_PARAMETER);
        }
        // SAFETY: as Win32 asks of its caller.
        let done = unsafe { ovl_GetNamedPipeHandleStateA(handle, modes, instances, most, timeout, std::ptr::null_mut(), 0) };
        if done != FALSE && !user.is_null() {
            // SAFETY: the caller's.
            unsafe { user.write(0) };
        }
        Ok(done)
    }

    /// `GetNamedPipeInfo`.
    fn ovl_GetNamedPipeInfo(handle: HANDLE, flags: *mut DWORD, out_size: *mut DWORD, in_size: *mut DWORD, most: *mut DWORD) -> BOOL, else (FALSE) {
        let (_, pipe) = find(handle)?;
        let design = pipe.design;
        let end = if matches!(pipe.end, End::Client) { 0 } else { PIPE_SERVER_END };
        let kind = if design.messages { PIPE_TYPE_MESSAGE } else { 0 };
        let values = [(flags, end | kind), (out_size, design.out_size), (in_size, design.in_size), (most, design.most_instances)];
        for (to, value) in values {
            if !to.is_null() {
                // SAFETY: not null, so the caller's variable.
                unsafe { to.write(value) };
            }
        }
        Ok(TRUE)
    }

    /// `GetNamedPipeClientProcessId`.
    fn ovl_GetNamedPipeClientProcessId(handle: HANDLE, id: *mut DWORD) -> BOOL, else (FALSE) {
        let (_, pipe) = find(handle)?;
        let pid = if matches!(pipe.end, End::Client) { std::process::id() } else { pipe.peer()? };
        // SAFETY: null, or the caller's variable.
        *unsafe { id.as_mut() }.ok_or(Code::INVALID_PARAMETER)? = pid;
        Ok(TRUE)
    }

    /// `GetNamedPipeServerProcessId`.
    fn ovl_GetNamedPipeServerProcessId(handle: HANDLE, id: *mut DWORD) -> BOOL, else (FALSE) {
        let (_, pipe) = find(handle)?;
        let pid = if matches!(pipe.end, End::Client) { pipe.peer()? } else { std::process::id() };
        // SAFETY: null, or the caller's variable.
        *unsafe { id.as_mut() }.ok_or(Code::INVALID_PARAMETER)? = pid;
        Ok(TRUE)
    }

    /// `WaitNamedPipeA`.
    fn ovl_WaitNamedPipeA(name: *const c_char, ms: DWORD) -> BOOL, else (FALSE) {
        if name.is_null() {
            return Err(Code::INVALID_NAME);
        }
        // SAFETY: the caller's text.
        let name = rendezvous::name_of(unsafe { std::ffi::CStr::from_ptr(name) }).ok_or(Code::INVALID_NAME)??;
        rendezvous::wait(&name, ms)?;
        Ok(TRUE)
    }

    /// `WaitNamedPipeW`.
    fn ovl_WaitNamedPipeW(name: *const u32, ms: DWORD) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) }.ok_or(Code::INVALID_NAME)?;
        rendezvous::wait(&rendezvous::name_of(&name).ok_or(Code::INVALID_NAME)??, ms)?;
        Ok(TRUE)
    }

    /// `CallNamedPipeA`.
    fn ovl_CallNamedPipeA(name: *const c_char, from: *const u8, from_len: DWORD, to: *mut u8, to_len: DWORD, bytes: *mut DWORD, ms: DWORD) -> BOOL, else (FALSE) {
        if name.is_null() {
            return Err(Code::INVALID_NAME);
        }
        // SAFETY: the caller's text.
        let name = rendezvous::name_of(unsafe { std::ffi::CStr::from_ptr(name) }).ok_or(Code::INVALID_NAME)??;
        // SAFETY: the caller's promise.
        unsafe { call(&name, (from, from_len), (to, to_len), bytes, ms) }
    }

    /// `CallNamedPipeW`.
    fn ovl_CallNamedPipeW(name: *const u32, from: *const u8, from_len: DWORD, to: *mut u8, to_len: DWORD, bytes: *mut DWORD, ms: DWORD) -> BOOL, else (FALSE) {
        // SAFETY: the caller's text.
        let name = unsafe { narrow(name) }.ok_or(Code::INVALID_NAME)?;
        let name = rendezvous::name_of(&name).ok_or(Code::INVALID_NAME)??;
        // SAFETY: the caller's promise.
        unsafe { call(&name, (from, from_len), (to, to_len), bytes, ms) }
    }
}

/// Opens a pipe, sends a message, takes the answer, closes it.
///
/// # Safety
/// As `CallNamedPipe`.
unsafe fn call(
    name: &str,
    from: (*const u8, DWORD),
    to: (*mut u8, DWORD),
    bytes: *mut DWORD,
    ms: DWORD,
) -> Outcome<BOOL> {
    let pipe = loop {
        match rendezvous::open(name, Access { read: true, write: true }) {
            Err(Code::PIPE_BUSY) if ms != rendezvous::NMPWAIT_NOWAIT => rendezvous::wait(name, ms)?,
            opened => break opened?,
        }
    };
    let done = pipe.set_modes(PIPE_READMODE_MESSAGE).and_then(|()| {
        let file = File::of_pipe(Arc::clone(&pipe), Access { read: true, write: true }, false)?;
        let job = Job::Write { from: from.0, len: from.1 as usize, sent: 0, answer: Some((to.0, to.1 as usize)) };
        // SAFETY: the caller's promise.
        unsafe { transfer(&file, &pipe, job, bytes, ptr::null()) }
    });
    pipe.close();
    done
}

/// What there is to be read, without the lengths between messages.
struct View {
    /// As much as one read may give.
    shown: Vec<u8>,
    available: usize,
    /// The first message, from where it is read next; 0 on a pipe of bytes.
    message: usize,
}

impl View {
    fn new(state: &State, messages: bool, raw: &[u8]) -> Self {
        let mut shown: Vec<u8> = state.held.iter().copied().collect();
        if !messages {
            shown.extend_from_slice(raw);
            return Self { available: shown.len(), shown, message: 0 };
        }
        let (mut at, mut first) = (0, None);
        let mut available = shown.len();
        let mut left = state.message.map(|left| left - state.held.len().min(left));
        if let Some(all) = state.message {
            first = Some(all);
        }
        let header: Vec<u8> = state.header.iter().chain(raw).copied().collect();
        let raw = if left.is_none() { &header[..] } else { raw };
        loop {
            let len = match left.take() {
                Some(left) => left,
                None => {
                    let Some(header) = raw.get(at..at + 4) else { break };
                    at += 4;
                    let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
                    if first.is_some() && state.message_mode {
                        available += len.min(raw.len() - at); // shown by a later read
                        at += len.min(raw.len() - at);
                        continue;
                    }
                    first.get_or_insert(len);
                    len
                }
            };
            let here = len.min(raw.len() - at);
            shown.extend_from_slice(&raw[at..at + here]);
            available += here;
            at += here;
        }
        Self { shown, available, message: first.unwrap_or(0) }
    }
}
