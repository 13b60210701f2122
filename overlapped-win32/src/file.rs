//! Files and sockets: what a handle of I/O stands for, and the start of its operations.

use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use overlapped::raw::{self, End, Home, Listener, Next, Operation, Packet, Side, Tag};
use overlapped::{Error, Result};

use crate::address::Address;
use crate::disk::{self, Access};
use crate::handle::{self, Object, lock};
use crate::overlapped::Overlapped;
use crate::pipe::Pipe;
use crate::port::Port;
use crate::signal::{self, Flag, Signal, this_thread};
use crate::socket::Socket;
use crate::status;
use crate::thread;
use crate::types::*;

/// A socket or file. What each operation looks at comes first, in one place.
#[repr(C)]
pub(crate) struct File {
    pub(crate) raw: raw::Handle,
    bound: OnceLock<Bound>,
    /// The library itself knows the association. If operations were under way when it came, packets are posted instead.
    direct: AtomicBool,
    modes: AtomicU8,
    /// It was opened for overlapped operations.
    pub(crate) overlapped: bool,
    pub(crate) access: Access,
    /// The handle itself, which is signalled by operations without an event.
    flag: Flag,
    /// What only a socket has.
    pub(crate) socket: Option<Socket>,
    /// An end of a pipe, which has operations of its own: then `raw` has none.
    pub(crate) pipe: Option<Arc<Pipe>>,
    /// It is deleted when it is closed.
    doomed: OnceLock<CString>,
    /// Held while it is associated with a port, and while the first operations without one are started.
    binding: Mutex<()>,
    /// Operations under way that the library does not know to be a port's.
    free: AtomicUsize,
    pub(crate) handles: AtomicUsize,
    /// Operations of this file that go on in another one: the overlapped, and where.
    followed: Mutex<Vec<(usize, Weak<File>)>>,
}

struct Bound {
    port: Arc<Port>,
    key: usize,
}

/// `FILE_SKIP_COMPLETION_PORT_ON_SUCCESS` has no effect but on pipes: no other operation succeeds at once, as far as its caller is told.
pub(crate) const SKIP_PORT_ON_SUCCESS: u8 = 1;
/// `FILE_SKIP_SET_EVENT_ON_HANDLE`.
pub(crate) const SKIP_SET_EVENT: u8 = 2;

/// In [`Tag::data`]: it has an event.
pub(crate) const HAS_EVENT: usize = 1;
/// In [`Tag::data`]: what it belongs to is an operation of another file's.
pub(crate) const OF_ANOTHER: usize = 2;

/// `LPOVERLAPPED_COMPLETION_ROUTINE` and `LPWSAOVERLAPPED_COMPLETION_ROUTINE`; the latter has the flags besides.
pub(crate) type Routine = unsafe extern "C" fn(DWORD, DWORD, *mut Overlapped, DWORD);

/// How the caller of an operation wants to hear of its end.
pub(crate) struct Call {
    pub(crate) overlapped: *const Overlapped,
    pub(crate) routine: Option<Routine>,
    /// Whose codes the routine gets.
    pub(crate) winsock: bool,
    /// Where the sender of a datagram is to be written.
    pub(crate) from: Option<Address>,
}

impl Call {
    /// By the port, an event, or the handle.
    pub(crate) fn plain(overlapped: *const Overlapped) -> Self {
        Self { overlapped, routine: None, winsock: true, from: None }
    }
}

/// Hears of an operation that has an event, a routine, or something to write.
struct Heard {
    file: Arc<File>,
    event: Option<Arc<Signal>>,
    /// The low bit of the event: no packet.
    silent: bool,
    routine: Option<Routine>,
    winsock: bool,
    from: Option<Address>,
}

// SAFETY: the addresses are the caller's, and valid until the operation ends, on whatever thread that is.
unsafe impl Send for Heard {}
// SAFETY: as above.
unsafe impl Sync for Heard {}

/// Hears of an operation that its caller waits for.
struct Awaited {
    file: Arc<File>,
    done: Arc<Signal>,
    outcome: Mutex<Option<Finished>>,
}

/// What became of an operation that was waited for.
pub(crate) struct Finished {
    pub(crate) result: Result<usize>,
    /// Also where the result is an error.
    pub(crate) moved: usize,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) accepted: Option<OwnedFd>,
}

/// The status of an end.
pub(crate) fn status_of(result: Result<usize>) -> DWORD {
    match result {
        Ok(_) => status::SUCCESS,
        Err(error) => error.status(),
    }
}

impl File {
    pub(crate) fn new(fd: OwnedFd, kind: raw::Kind, socket: Option<Socket>, overlapped: bool) -> Arc<Self> {
        Self::with_access(fd, kind, socket, overlapped, Access { read: true, write: true })
    }

    pub(crate) fn with_access(
        fd: OwnedFd,
        kind: raw::Kind,
        socket: Option<Socket>,
        overlapped: bool,
        access: Access,
    ) -> Arc<Self> {
        Arc::new(Self::with_all(fd, kind, socket, None, overlapped, access))
    }

    /// An end of a pipe. It has a descriptor like any other file, although the pipe's own is elsewhere and comes and goes.
    pub(crate) fn of_pipe(pipe: Arc<Pipe>, access: Access, overlapped: bool) -> Outcome<Arc<Self>> {
        // SAFETY: no pointers; the descriptor is new and ours.
        let fd = unsafe {
            match libc::eventfd(0, libc::EFD_CLOEXEC) {
                ..0 => return Err(status::last_win32()),
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        Ok(Arc::new(Self::with_all(fd, raw::Kind::File, None, Some(pipe), overlapped, access)))
    }

    fn with_all(
        fd: OwnedFd,
        kind: raw::Kind,
        socket: Option<Socket>,
        pipe: Option<Arc<Pipe>>,
        overlapped: bool,
        access: Access,
    ) -> Self {
        Self {
            raw: raw::Handle::new(fd, kind),
            bound: OnceLock::new(),
            direct: AtomicBool::new(false),
            modes: AtomicU8::new(0),
            overlapped,
            access,
            flag: Flag::default(),
            socket,
            pipe,
            doomed: OnceLock::new(),
            binding: Mutex::new(()),
            free: AtomicUsize::new(0),
            handles: AtomicUsize::new(0),
            followed: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn delete_on_close(&self, path: CString) {
        let _ = self.doomed.set(path);
    }

    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(self.flag.signal())
    }

    /// An operation without an event is about to start.
    #[inline]
    pub(crate) fn lower(&self) {
        self.flag.lower();
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.raw.raw_fd()
    }

    pub(crate) fn has_port(&self) -> bool {
        self.bound.get().is_some()
    }

    /// Binds it to a port, once and for all.
    pub(crate) fn associate(&self, port: &Arc<Port>, key: usize) -> Outcome<()> {
        if !self.overlapped {
            return Err(Code::INVALID_PARAMETER);
        }
        let _binding = lock(&self.binding);
        if self.has_port() {
            return Err(Code::INVALID_PARAMETER);
        }
        let bound = self.bound.get_or_init(|| Bound { port: Arc::clone(port), key });
        self.bind(bound);
        Ok(())
    }

    /// Lets the library know the association, unless something is under way. `binding` is held.
    fn bind(&self, bound: &Bound) {
        if self.free.load(SeqCst) == 0 && self.raw.associate(&bound.port.raw).is_ok() {
            self.direct.store(true, SeqCst);
        }
    }

    pub(crate) fn add_modes(&self, modes: u8) {
        self.modes.fetch_or(modes & (SKIP_PORT_ON_SUCCESS | SKIP_SET_EVENT), SeqCst);
    }

    pub(crate) fn has_mode(&self, mode: u8) -> bool {
        self.modes.load(SeqCst) & mode != 0
    }

    /// An operation is about to start. `true`: its packet comes by itself.
    #[inline]
    pub(crate) fn depart(&self) -> bool {
        if self.direct.load(SeqCst) {
            return true;
        }
        let _binding = lock(&self.binding);
        if let Some(bound) = self.bound.get() {
            self.bind(bound);
        }
        let direct = self.direct.load(SeqCst);
        if !direct {
            self.free.fetch_add(1, SeqCst);
        }
        direct
    }

    /// An operation has ended.
    pub(crate) fn land(&self) {
        if !self.direct.load(SeqCst) {
            self.free.fetch_sub(1, SeqCst);
        }
    }

    /// An operation without an event has ended: the handle itself is signalled.
    #[inline]
    pub(crate) fn flash(&self) {
        if self.modes.load(SeqCst) & SKIP_SET_EVENT == 0 {
            self.flag.set();
        }
    }

    /// Where the end of an operation goes that has no routine.
    #[inline]
    fn next(&self) -> Next {
        match self.bound.get() {
            Some(bound) if self.direct.load(SeqCst) => Next::Packet(bound.key),
            Some(_) => Next::Run, // to post it
            None => Next::Nothing,
        }
    }

    /// Posts the packet of an operation.
    pub(crate) fn post(&self, overlapped: usize, bytes: usize, status: DWORD) {
        if let Some(Bound { port, key }) = self.bound.get() {
            port.post(Packet { key: *key, overlapped, bytes: bytes as u32, status });
        }
    }

    /// Starts an operation; its end is told as the caller wants it.
    ///
    /// # Safety
    /// The memory in `operation` and `call` is the caller's until the end was told.
    pub(crate) unsafe fn start(self: Arc<Self>, operation: Operation, call: Call) -> Outcome<()> {
        // SAFETY: the caller's promise; it is not null.
        let overlapped = unsafe { &*call.overlapped };
        let event = if call.routine.is_some() { None } else { signal::of_overlapped(overlapped.event)? };
        let silent = call.routine.is_none() && overlapped.event as usize & 1 != 0;
        match &event {
            Some(event) => event.reset(),
            None if call.routine.is_none() => self.lower(),
            None => {}
        }
        overlapped.begin();
        let direct = self.depart();
        let is_send = matches!(operation, Operation::Send(_) | Operation::SendVectored(_) | Operation::SendTo(..));
        // What is sent leaves now: on a port's ring with the next look, which the library sees to; otherwise at once.
        let eager = is_send && !direct;
        let home = if call.routine.is_some() && !is_send { Home::Here } else { Home::Reaper };
        let tag =
            Tag { overlapped: call.overlapped as usize, data: usize::from(event.is_some()), thread: this_thread() };
        if !direct || event.is_some() {
            thread::remember(&self);
        }
        let raw = self.raw.clone();
        let plain = event.is_none() && !silent && call.routine.is_none() && call.from.is_none();
        let listener: Arc<dyn Listener> = match plain {
            true => self,
            false => Arc::new(Heard {
                file: self,
                event,
                silent,
                routine: call.routine,
                winsock: call.winsock,
                from: call.from,
            }),
        };
        // SAFETY: the caller's promise.
        let started = unsafe { raw.start(operation, listener, tag, home, eager, None) };
        if let Err(error) = started {
            overlapped.finish(error.status(), 0);
            return Err(Code(error.code()));
        }
        Ok(())
    }

    /// Tells the end of an operation that was done in the call that started it.
    ///
    /// # Safety
    /// As [`Self::start`].
    pub(crate) unsafe fn finish_at_once(self: &Arc<Self>, result: Result<usize>, call: Call) -> Outcome<()> {
        // SAFETY: the caller's promise; it is not null.
        let overlapped = unsafe { &*call.overlapped };
        let event = if call.routine.is_some() { None } else { signal::of_overlapped(overlapped.event)? };
        let silent = call.routine.is_none() && overlapped.event as usize & 1 != 0;
        let (status, bytes) = (status_of(result), result.unwrap_or(0));
        overlapped.finish(status, bytes);
        if let Some(routine) = call.routine {
            let address = call.overlapped as usize;
            let code = if call.winsock { status::winsock(status) } else { status::win32(status) };
            let code = if status == status::SUCCESS { 0 } else { code.0 };
            let apc = move || {
                // SAFETY: the caller gave it for this.
                thread::inside(|| unsafe { routine(code, bytes as DWORD, address as *mut Overlapped, 0) });
            };
            raw::Thread::current().queue(Box::new(apc));
            return Ok(());
        }
        match event {
            Some(event) => event.set(),
            None => self.flash(),
        }
        if !silent {
            self.post(call.overlapped as usize, bytes, status);
        }
        Ok(())
    }

    /// A thread ends: what it has started without a port is cancelled, and what has an event.
    pub(crate) fn desert(&self, thread: raw::ThreadId) {
        let port = self.has_port();
        self.cancel(|tag| tag.thread == thread && (!port || tag.data & HAS_EVENT != 0));
    }

    /// Does an operation and waits for its end, running routines and APCs meanwhile.
    ///
    /// # Safety
    /// The memory in `operation` is the caller's.
    pub(crate) unsafe fn perform(self: &Arc<Self>, operation: Operation, limit: Option<Duration>) -> Outcome<Finished> {
        let awaited =
            Arc::new(Awaited { file: Arc::clone(self), done: Signal::flag(false), outcome: Mutex::new(None) });
        let name = Arc::as_ptr(&awaited) as usize;
        let eager = !matches!(operation, Operation::Accept | Operation::Connect(_));
        self.depart();
        let tag = Tag { overlapped: name, data: 0, thread: this_thread() };
        let listener = Arc::clone(&awaited) as Arc<dyn Listener>;
        // SAFETY: the caller's promise, and the end is waited for below.
        let started = unsafe { self.raw.clone().start(operation, listener, tag, Home::Reaper, eager, None) };
        if let Err(error) = started {
            self.land();
            return Err(Code(error.winsock_code()));
        }
        let me = thread::current();
        me.set_waiting(Some((Arc::downgrade(self), name)));
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut late = false;
        loop {
            match signal::wait(std::slice::from_ref(&awaited.done), false, deadline.filter(|_| !late), true) {
                signal::WAIT_OBJECT_0 => break,
                signal::WAIT_TIMEOUT => {
                    late = true;
                    self.raw.cancel(|tag| tag.overlapped == name);
                }
                _ => {} // APCs ran; it goes on waiting
            }
        }
        me.set_waiting(None);
        let mut finished = lock(&awaited.outcome).take().expect("the signal says that it is there");
        if late && finished.result == Err(Error::OPERATION_ABORTED) {
            finished.result = Err(Error::SEM_TIMEOUT);
        }
        Ok(finished)
    }

    /// Does something with the descriptor in its place among the operations of a side. `None`: one of them is under way.
    pub(crate) fn in_order<R>(&self, side: Side, work: impl FnOnce(RawFd) -> R) -> Option<R> {
        self.raw.in_order(side, work)
    }

    /// An operation of this file goes on in another one, or no longer.
    pub(crate) fn follow(&self, overlapped: usize, elsewhere: Option<&Arc<File>>) {
        let mut followed = lock(&self.followed);
        match elsewhere {
            Some(file) => followed.push((overlapped, Arc::downgrade(file))),
            None => followed.retain(|(other, _)| *other != overlapped),
        }
    }

    /// Cancels the operations that `which` picks. Returns whether there were any.
    pub(crate) fn cancel(&self, which: impl Fn(&Tag) -> bool) -> bool {
        let own = self.raw.cancel(|tag| tag.data & OF_ANOTHER == 0 && which(tag));
        let followed = lock(&self.followed).clone();
        let elsewhere = followed.iter().filter_map(|(overlapped, file)| Some((overlapped, file.upgrade()?)));
        let elsewhere = elsewhere.map(|(overlapped, file)| {
            file.raw.cancel(|tag| tag.data & OF_ANOTHER != 0 && tag.overlapped == *overlapped && which(tag))
        });
        let of_pipe = self.pipe.as_ref().map_or(0, |pipe| pipe.cancel(&which));
        own + of_pipe + elsewhere.sum::<usize>() > 0
    }

    /// Its last handle is closed.
    pub(crate) fn close(&self) {
        self.raw.flush_sends(); // what was sent has left, if the system takes it
        self.raw.close();
        if let Some(pipe) = &self.pipe {
            pipe.close();
        }
        if let Some(path) = self.doomed.get() {
            disk::delete(path);
        }
        let followed = std::mem::take(&mut *lock(&self.followed));
        for (overlapped, file) in
            followed.into_iter().filter_map(|(overlapped, file)| Some((overlapped, file.upgrade()?)))
        {
            file.raw.cancel(|tag| tag.data & OF_ANOTHER != 0 && tag.overlapped == overlapped);
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.raw.close();
    }
}

impl Listener for File {
    #[inline]
    fn ended(&self, end: &mut End<'_>) -> Next {
        // SAFETY: the caller of the operation keeps its OVERLAPPED until the end was told, which is now.
        let overlapped = unsafe { &*(end.tag().overlapped as *const Overlapped) };
        let next = self.next();
        self.land();
        overlapped.finish(status_of(end.result()), end.moved());
        self.flash();
        next
    }

    fn refused(&self) {
        self.land();
    }

    fn run(self: Arc<Self>, end: &mut End<'_>) {
        self.post(end.tag().overlapped, end.moved(), status_of(end.result()));
    }
}

impl Listener for Heard {
    fn ended(&self, end: &mut End<'_>) -> Next {
        // SAFETY: as above.
        let overlapped = unsafe { &*(end.tag().overlapped as *const Overlapped) };
        if let Some(address) = &self.from {
            // SAFETY: as above.
            unsafe { address.write(end.from()) };
        }
        let next = match self.routine {
            Some(_) => Next::Apc(end.tag().thread),
            None if self.silent => Next::Nothing,
            None => self.file.next(),
        };
        self.file.land();
        overlapped.finish(status_of(end.result()), end.moved());
        match &self.event {
            Some(event) => event.set(),
            None if self.routine.is_none() => self.file.flash(),
            None => {}
        }
        next
    }

    fn refused(&self) {
        self.file.land();
    }

    fn run(self: Arc<Self>, end: &mut End<'_>) {
        let overlapped = end.tag().overlapped;
        let status = status_of(end.result());
        let Some(routine) = self.routine else { return self.file.post(overlapped, end.moved(), status) };
        let code = match (status, self.winsock) {
            (status::SUCCESS, _) => 0,
            (_, true) => status::winsock(status).0,
            (_, false) => status::win32(status).0,
        };
        let bytes = if code == 0 { end.moved() } else { 0 };
        // SAFETY: the caller gave it for this.
        thread::inside(|| unsafe { routine(code, bytes as DWORD, overlapped as *mut Overlapped, 0) });
    }
}

impl Listener for Awaited {
    fn ended(&self, end: &mut End<'_>) -> Next {
        let finished =
            Finished { result: end.result(), moved: end.moved(), from: end.from(), accepted: end.accepted() };
        *lock(&self.outcome) = Some(finished);
        self.file.land();
        self.done.set();
        Next::Nothing
    }
}

/// The socket of a SOCKET.
#[inline]
pub(crate) fn socket(s: SOCKET) -> Outcome<Arc<File>> {
    match handle::find(s) {
        Some(Object::File(file)) if file.socket.is_some() => Ok(file),
        _ => Err(Code::WSAENOTSOCK),
    }
}
