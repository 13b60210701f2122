//! How the ends of a named pipe find each other, in one process or in two of the same user.
//!
//! A name is an abstract Unix socket that the server's process listens at, with the user's number in it; it goes when the process does. Who
//! connects says what it wants and is told what it gets. The namespace belongs to everybody, so each side asks the system who the other is:
//! somebody else's server or client is turned away with ERROR_ACCESS_DENIED, and never taken for the right one.
//!
//! One thread of the library accepts, and tells the ends of pipes when they may go on.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use overlapped::raw;

use crate::disk::Access;
use crate::handle::lock;
use crate::pipe::{Design, Link, Page, Pipe};
use crate::status::{errno, last_win32};
use crate::types::*;

pub(crate) const NMPWAIT_NOWAIT: DWORD = 1;
const NMPWAIT_USE_DEFAULT_WAIT: DWORD = 0;
const PIPE_ACCESS_INBOUND: DWORD = 1;
const PIPE_ACCESS_OUTBOUND: DWORD = 2;

/// A name that this process listens at. Its last end's close takes it away.
pub(crate) struct Name {
    text: String,
    listener: OwnedFd,
    instances: Mutex<Vec<Weak<Pipe>>>,
    /// Clients that wait for an instance.
    waiters: Mutex<Vec<OwnedFd>>,
}

/// The names of this process. Its lock comes before that of an end, and that before the one of the sources.
static NAMES: Mutex<Vec<Arc<Name>>> = Mutex::new(Vec::new());

/// What the thread is told of.
#[derive(Clone)]
enum Source {
    Listener(Weak<Name>),
    /// Has connected, and not yet said what it wants.
    Guest(Arc<OwnedFd>, Weak<Name>),
    Pipe(Weak<Pipe>),
    /// A descriptor for another process waits here.
    Offer(Arc<Offer>),
}

/// A socket's descriptor, for one process.
struct Offer {
    listener: OwnedFd,
    fd: OwnedFd,
    state: u8,
    process: DWORD,
}

struct Service {
    epoll: OwnedFd,
    sources: Mutex<HashMap<u64, Source>>,
}

static SERVICE: OnceLock<Service> = OnceLock::new();
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// What one who connects says: this, and what it wants.
const HELLO: &[u8; 6] = b"ovlpip";
const OPEN: u8 = 1;
const WAIT: u8 = 2;
/// What it hears: an error or 0, and the design.
const ANSWER: usize = 28;
/// So long a server's process may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

fn service() -> Outcome<&'static Service> {
    static STARTING: Mutex<()> = Mutex::new(());
    let _starting = lock(&STARTING);
    if let Some(service) = SERVICE.get() {
        return Ok(service);
    }
    // SAFETY: no pointers.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if epoll < 0 {
        return Err(last_win32());
    }
    let thread = std::thread::Builder::new().name("overlapped pipes".into()).stack_size(256 * 1024);
    thread.spawn(serve).map_err(|_| Code::NOT_ENOUGH_MEMORY)?;
    // SAFETY: the system just gave it to us.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    Ok(SERVICE.get_or_init(|| Service { epoll, sources: Mutex::default() }))
}

impl Service {
    fn watch(&self, fd: RawFd, events: i32, source: Source) -> Outcome<()> {
        let id = LAST_ID.fetch_add(1, SeqCst);
        let mut sources = lock(&self.sources);
        if sources.len() >= 64 && sources.len().is_power_of_two() {
            sources.retain(|_, source| match source {
                Source::Pipe(pipe) => pipe.strong_count() > 0,
                Source::Listener(name) | Source::Guest(_, name) => name.strong_count() > 0,
                Source::Offer(_) => true,
            });
        }
        sources.insert(id, source);
        drop(sources);
        let mut event = libc::epoll_event { events: events as u32, u64: id };
        // SAFETY: the event lives through the call.
        let added = unsafe {
            match libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) {
                0 => 0,
                _ if errno() == libc::EEXIST => {
                    libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_MOD, fd, &mut event)
                }
                failed => failed,
            }
        };
        if added != 0 {
            lock(&self.sources).remove(&id);
            return Err(last_win32());
        }
        Ok(())
    }
}

/// Lets an end go on when its socket may.
pub(crate) fn watch_pipe(fd: RawFd, pipe: &Arc<Pipe>) -> Outcome<()> {
    let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
    service()?.watch(fd, events, Source::Pipe(Arc::downgrade(pipe)))
}

fn serve() {
    let service = SERVICE.wait();
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    loop {
        // SAFETY: room for so many.
        let count =
            unsafe { libc::epoll_wait(service.epoll.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, -1) };
        for event in &events[..count.max(0) as usize] {
            let id = event.u64;
            let source = lock(&service.sources).get(&id).cloned();
            let gone = match source {
                Some(Source::Pipe(pipe)) => pipe.upgrade().map(|pipe| pipe.look()).is_none(),
                Some(Source::Listener(name)) => name.upgrade().map(|name| name.welcome(service)).is_none(),
                Some(Source::Guest(fd, name)) => {
                    lock(&service.sources).remove(&id);
                    if let Some(name) = name.upgrade() {
                        name.attend(fd);
                    }
                    false
                }
                Some(Source::Offer(offer)) => offer.hand_over(),
                None => false,
            };
            if gone {
                lock(&service.sources).remove(&id);
            }
        }
    }
}

/// The process and the user at the other end of a socket.
pub(crate) fn credentials(fd: RawFd) -> Outcome<(i32, u32)> {
    // SAFETY: plain data, for which all zeroes is valid; the system writes no more than its size.
    unsafe {
        let mut of: libc::ucred = std::mem::zeroed();
        let mut len = size_of::<libc::ucred>() as u32;
        match libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut of).cast(), &mut len) {
            0 => Ok((of.pid, of.uid)),
            _ => Err(last_win32()),
        }
    }
}

fn user() -> u32 {
    // SAFETY: no arguments.
    unsafe { libc::geteuid() }
}

fn is_of_this_user(fd: RawFd) -> bool {
    credentials(fd).is_ok_and(|(_, uid)| uid == user())
}

/// The name in a path of the form `\\.\pipe\name`, in lower case, for capitals do not count. `None`: it is no pipe's.
pub(crate) fn name_of(path: &CStr) -> Option<Outcome<String>> {
    let text = path.to_string_lossy().replace('/', "\\");
    let rest = text.strip_prefix(r"\\")?;
    let (machine, rest) = rest.split_once('\\')?;
    let (word, name) = rest.split_once('\\')?;
    if !word.eq_ignore_ascii_case("pipe") {
        return None;
    }
    if machine != "." && machine != "?" {
        return Some(Err(Code(53))); // ERROR_BAD_NETPATH: pipes do not leave this machine
    }
    if name.is_empty() || name.len() > 256 {
        return Some(Err(Code::INVALID_NAME));
    }
    Some(Ok(name.to_lowercase()))
}

/// The socket's name of a pipe.
fn address(name: &str) -> (libc::sockaddr_un, u32) {
    let text = format!("overlapped-win32/{}/pipe/{name}", user());
    if text.len() < 108 {
        return abstract_name(&text);
    }
    // Too long for the system: told apart by a sum (FNV-1a) of 128 bits.
    let sum = name.bytes().fold(0x6c62272e07bb014262b821756295c58d_u128, |sum, byte| {
        (sum ^ u128::from(byte)).wrapping_mul(0x0000000001000000000000000000013B)
    });
    abstract_name(&format!("overlapped-win32/{}/long/{sum:032x}", user()))
}

/// A socket that listens, and does not wait for who connects. Another process may have the name: ERROR_ACCESS_DENIED.
fn listen((address, len): &(libc::sockaddr_un, u32)) -> Outcome<OwnedFd> {
    let listener = socket()?;
    let fd = listener.as_raw_fd();
    // SAFETY: the address lives through the call.
    if unsafe { libc::bind(fd, std::ptr::from_ref(address).cast(), *len) } != 0 {
        return Err(if errno() == libc::EADDRINUSE { Code::ACCESS_DENIED } else { last_win32() });
    }
    // SAFETY: no pointers.
    unsafe {
        libc::fcntl(fd, libc::F_SETFL, libc::O_RDWR | libc::O_NONBLOCK);
        if libc::listen(fd, 128) != 0 { Err(last_win32()) } else { Ok(listener) }
    }
}

fn socket() -> Outcome<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last_win32());
    }
    // SAFETY: the system just gave it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

// The server's side.

/// Makes an instance of a pipe: the first one, which others may follow, or one of these.
pub(crate) fn add_instance(
    name: &str,
    design: Design,
    first: bool,
    make: impl FnOnce(&Arc<Name>, Design) -> Arc<Pipe>,
) -> Outcome<Arc<Pipe>> {
    let service = service()?;
    let mut names = lock(&NAMES);
    let known = names.iter().find(|known| known.text == name).cloned();
    let name = match known {
        Some(_) if first => return Err(Code::ACCESS_DENIED),
        Some(known) => {
            let live = known.live();
            let of_first = live.first().map_or(design, |pipe| pipe.design());
            if of_first.direction != design.direction || of_first.messages != design.messages {
                return Err(Code::ACCESS_DENIED);
            }
            if live.len() >= of_first.most_instances as usize && of_first.most_instances < 255 {
                return Err(Code::PIPE_BUSY);
            }
            known
        }
        None => {
            // Instances of one pipe are one process's.
            let listener = listen(&address(name))?;
            let fd = listener.as_raw_fd();
            let made = Arc::new(Name {
                text: name.to_owned(),
                listener,
                instances: Mutex::default(),
                waiters: Mutex::default(),
            });
            service.watch(fd, libc::EPOLLIN, Source::Listener(Arc::downgrade(&made)))?;
            names.push(Arc::clone(&made));
            made
        }
    };
    let pipe = make(&name, design);
    lock(&name.instances).push(Arc::downgrade(&pipe));
    drop(names);
    name.listens_again();
    Ok(pipe)
}

impl Name {
    fn live(&self) -> Vec<Arc<Pipe>> {
        lock(&self.instances).iter().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn count(&self) -> DWORD {
        self.live().len() as DWORD
    }

    /// An instance is closed.
    pub(crate) fn leave(self: &Arc<Self>, pipe: &Arc<Pipe>) {
        let mut names = lock(&NAMES);
        let mut instances = lock(&self.instances);
        instances.retain(|instance| instance.strong_count() > 0 && !std::ptr::eq(instance.as_ptr(), Arc::as_ptr(pipe)));
        if instances.is_empty() {
            names.retain(|name| !Arc::ptr_eq(name, self));
            // The address is free from now on, whoever still holds the name.
            // SAFETY: no pointers.
            unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
            lock(&self.waiters).clear();
        }
    }

    /// An instance may be connected to: who waits is told.
    pub(crate) fn listens_again(&self) {
        for fd in lock(&self.waiters).drain(..) {
            answer(fd.as_raw_fd(), 0, None, None);
        }
    }

    /// Somebody has connected.
    fn welcome(self: &Arc<Self>, service: &Service) {
        loop {
            // SAFETY: nobody asks for the address.
            let fd = unsafe {
                let flags = libc::SOCK_CLOEXEC;
                libc::accept4(self.listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags)
            };
            if fd < 0 {
                if errno() == libc::EMFILE {
                    std::thread::sleep(Duration::from_millis(10)); // it stays in the queue, and we are told again
                }
                return;
            }
            // SAFETY: the system just gave it to us.
            let fd = Arc::new(unsafe { OwnedFd::from_raw_fd(fd) });
            let raw = fd.as_raw_fd();
            if !is_of_this_user(raw) {
                answer(raw, Code::ACCESS_DENIED.0, None, None);
                continue;
            }
            let events = libc::EPOLLIN | libc::EPOLLONESHOT;
            let _ = service.watch(raw, events, Source::Guest(fd, Arc::downgrade(self)));
        }
    }

    /// Somebody says what it wants.
    fn attend(self: &Arc<Self>, guest: Arc<OwnedFd>) {
        let Ok(guest) = Arc::try_unwrap(guest) else { return };
        let mut said = [0; 8];
        // SAFETY: room for eight bytes, which were sent in one piece.
        let got = unsafe { libc::recv(guest.as_raw_fd(), said.as_mut_ptr().cast(), said.len(), libc::MSG_DONTWAIT) };
        if got != said.len() as isize || said[..6] != *HELLO {
            return;
        }
        let fd = guest.as_raw_fd();
        let mut instances = self.live();
        instances.sort_by_key(|pipe| !pipe.is_awaited()); // where ConnectNamedPipe waits comes first
        let design = instances.first().map(|pipe| pipe.design());
        let listening = instances.into_iter().filter(|pipe| pipe.is_listening());
        if said[6] == WAIT {
            // Looked for with the lock held, so that who begins to listen just now finds this one.
            let mut waiters = lock(&self.waiters);
            if listening.count() > 0 {
                answer(fd, 0, design, None);
            } else if answer(fd, Code::PIPE_BUSY.0, design, None) {
                waiters.retain(|waiter| !is_gone(waiter.as_raw_fd()));
                waiters.push(guest);
            }
            return;
        }
        let Some(design) = design else { return };
        let (reads, writes) = (said[7] & 1 != 0, said[7] & 2 != 0);
        let refused = reads && design.direction & PIPE_ACCESS_OUTBOUND == 0
            || writes && design.direction & PIPE_ACCESS_INBOUND == 0;
        if refused {
            answer(fd, Code::ACCESS_DENIED.0, None, None);
            return;
        }
        let Ok((page, memory)) = Page::new() else {
            answer(fd, Code::NOT_ENOUGH_MEMORY.0, None, None);
            return;
        };
        let mut link = Link { fd: guest, page: Some(page) };
        for pipe in listening {
            // The answer goes first: what the server writes comes behind it. And nobody closes the socket until it is watched.
            let greet = |fd| answer(fd, 0, Some(design), Some(memory.as_raw_fd())) && watch_pipe(fd, &pipe).is_ok();
            match pipe.connected(link, greet) {
                None => return,
                Some(back) => link = back,
            }
        }
        answer(fd, Code::PIPE_BUSY.0, None, None);
    }
}

fn is_gone(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one entry, which lives through the call.
    unsafe { libc::poll(&mut poll, 1, 0) > 0 }
}

/// The name of an abstract socket.
fn abstract_name(text: &str) -> (libc::sockaddr_un, u32) {
    // SAFETY: plain data, for which all zeroes is valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    assert!(text.len() < address.sun_path.len(), "{text} is too long");
    for (to, from) in address.sun_path[1..].iter_mut().zip(text.bytes()) {
        *to = from as libc::c_char;
    }
    (address, (std::mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + text.len()) as u32)
}

/// Lets one process have a socket's descriptor.
pub(crate) fn offer(number: DWORD, fd: OwnedFd, state: u8, process: DWORD) -> Outcome<()> {
    let service = service()?;
    let listener =
        listen(&abstract_name(&format!("overlapped-win32/{}/socket/{}/{number}", user(), std::process::id())))?;
    let raw = listener.as_raw_fd();
    service.watch(raw, libc::EPOLLIN, Source::Offer(Arc::new(Offer { listener, fd, state, process })))
}

impl Offer {
    /// Somebody has come for it. `true`: it was the right one.
    fn hand_over(&self) -> bool {
        // SAFETY: nobody asks for the address; the descriptor is new and ours.
        let guest = unsafe {
            match libc::accept4(
                self.listener.as_raw_fd(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                libc::SOCK_CLOEXEC,
            ) {
                ..0 => return false,
                fd => OwnedFd::from_raw_fd(fd),
            }
        };
        let who = credentials(guest.as_raw_fd());
        let right = who.is_ok_and(|(pid, uid)| pid as DWORD == self.process && uid == user());
        if !right {
            answer(guest.as_raw_fd(), Code::WSAEACCES.0, None, None);
            return false;
        }
        let state = Design {
            direction: self.state.into(),
            messages: false,
            most_instances: 0,
            out_size: 0,
            in_size: 0,
            default_timeout: 0,
        };
        answer(guest.as_raw_fd(), 0, Some(state), Some(self.fd.as_raw_fd()))
    }
}

/// Takes up the descriptor that another process offers, and what it says of it.
pub(crate) fn take_up(process: DWORD, number: DWORD) -> Outcome<(OwnedFd, u8)> {
    let fd = socket()?;
    let (address, len) = abstract_name(&format!("overlapped-win32/{}/socket/{process}/{number}", user()));
    // SAFETY: the address lives through the call.
    if unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) } != 0
        || !is_of_this_user(fd.as_raw_fd())
    {
        return Err(Code::WSAEINVAL);
    }
    if !is_ready(fd.as_raw_fd(), Some(Instant::now() + PATIENCE)) {
        return Err(Code::WSAETIMEDOUT);
    }
    match hear(fd.as_raw_fd()) {
        Ok((0, state, Some(given))) => Ok((given, state.direction as u8)),
        Ok((0, _, None)) | Err(_) => Err(Code::WSAEINVAL),
        Ok((code, _, _)) => Err(Code(code)),
    }
}

/// Room for one descriptor beside a message.
#[repr(C, align(8))]
struct Control([u8; 24]);

/// Answers one who has connected, and hands over a descriptor.
fn answer(fd: RawFd, code: DWORD, design: Option<Design>, hand_over: Option<RawFd>) -> bool {
    let design = design.map_or([0; 6], |design| {
        let messages = DWORD::from(design.messages);
        [design.direction, messages, design.most_instances, design.out_size, design.in_size, design.default_timeout]
    });
    let mut bytes = Vec::with_capacity(ANSWER);
    [code].iter().chain(&design).for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control([0; 24]);
    // SAFETY: plain data, for which all zeroes is valid; the header points to what lives through the call, and the control message has
    // room for a descriptor.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut vector, 1);
        if let Some(hand_over) = hand_over {
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(4) as _;
            let header = &mut *libc::CMSG_FIRSTHDR(&message);
            header.cmsg_level = libc::SOL_SOCKET;
            header.cmsg_type = libc::SCM_RIGHTS;
            header.cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(hand_over);
        }
        libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) == ANSWER as isize
    }
}

// The client's side.

/// Connects to a name's server, and says what is wanted.
fn connect(name: &str, what: u8, access: u8) -> Outcome<OwnedFd> {
    let fd = socket()?;
    let (address, len) = address(name);
    // SAFETY: the address lives through the call.
    while unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) } != 0 {
        match errno() {
            libc::EINTR => {}
            libc::ECONNREFUSED | libc::ENOENT => return Err(Code::FILE_NOT_FOUND),
            _ => return Err(last_win32()),
        }
    }
    if !is_of_this_user(fd.as_raw_fd()) {
        return Err(Code::ACCESS_DENIED);
    }
    let mut hello = [0; 8];
    hello[..6].copy_from_slice(HELLO);
    (hello[6], hello[7]) = (what, access);
    // SAFETY: the bytes live through the call.
    let sent = unsafe { libc::send(fd.as_raw_fd(), hello.as_ptr().cast(), hello.len(), libc::MSG_NOSIGNAL) };
    if sent == hello.len() as isize { Ok(fd) } else { Err(Code::FILE_NOT_FOUND) }
}

/// Waits until a socket has something, or the time is over.
fn is_ready(fd: RawFd, deadline: Option<Instant>) -> bool {
    raw::flush();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let ms = left.map_or(-1, |left| left.as_millis().saturating_add(1).min(60_000) as i32);
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives through the call.
        match unsafe { libc::poll(&mut poll, 1, ms) } {
            1.. => return true,
            _ if left.is_some_and(|left| left.is_zero()) => return false,
            _ => {}
        }
    }
}

/// What the server says: the code, the design, and the descriptor that came with it.
fn hear(fd: RawFd) -> Outcome<(DWORD, Design, Option<OwnedFd>)> {
    let mut bytes = [0; ANSWER];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control([0; 24]);
    // SAFETY: plain data, for which all zeroes is valid; the header points to what lives through the call. The descriptor is new and ours.
    let (got, given) = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut vector, 1);
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        let got = libc::recvmsg(fd, &mut message, libc::MSG_CMSG_CLOEXEC | libc::MSG_WAITALL);
        let header = if got > 0 { libc::CMSG_FIRSTHDR(&message) } else { std::ptr::null_mut() };
        let rights = !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS;
        let given = rights.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()));
        (got, given)
    };
    if got != ANSWER as isize {
        return Err(Code::FILE_NOT_FOUND); // the server has closed its last end just now
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at * 4], bytes[at * 4 + 1], bytes[at * 4 + 2], bytes[at * 4 + 3]]);
    let design = Design {
        direction: word(1),
        messages: word(2) != 0,
        most_instances: word(3),
        out_size: word(4),
        in_size: word(5),
        default_timeout: word(6),
    };
    Ok((word(0), design, given))
}

/// The client's end of a pipe.
pub(crate) fn open(name: &str, access: Access) -> Outcome<Arc<Pipe>> {
    let fd = connect(name, OPEN, u8::from(access.read) | u8::from(access.write) << 1)?;
    if !is_ready(fd.as_raw_fd(), Some(Instant::now() + PATIENCE)) {
        return Err(Code::SEM_TIMEOUT);
    }
    let (code, design, memory) = hear(fd.as_raw_fd())?;
    if code != 0 {
        return Err(Code(code));
    }
    let page = Page::of(&memory.ok_or(Code::INVALID_DATA)?)?;
    Pipe::client(Link { fd, page: Some(page) }, design)
}

/// Waits until an instance of a pipe may be connected to.
pub(crate) fn wait(name: &str, ms: DWORD) -> Outcome<()> {
    let fd = connect(name, WAIT, 0)?;
    if !is_ready(fd.as_raw_fd(), Some(Instant::now() + PATIENCE)) {
        return Err(Code::SEM_TIMEOUT);
    }
    let (code, design, _) = hear(fd.as_raw_fd())?;
    match code {
        0 => return Ok(()),
        code if code == Code::PIPE_BUSY.0 => {}
        code => return Err(Code(code)),
    }
    let ms = match ms {
        NMPWAIT_USE_DEFAULT_WAIT => design.default_timeout,
        ms => ms,
    };
    let deadline = (ms != INFINITE).then(|| Instant::now() + Duration::from_millis(ms.into()));
    if !is_ready(fd.as_raw_fd(), deadline) {
        return Err(Code::SEM_TIMEOUT);
    }
    hear(fd.as_raw_fd()).map(drop)
}
