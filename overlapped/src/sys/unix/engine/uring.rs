//! io_uring.
//!
//! A ring belongs to a lane. Any thread may put requests into its submission queue (behind a lock) and any may reap (with the
//! [`Reaper`], of which there is one); so completions must not depend on the thread that submitted: COOP_TASKRUN, never
//! DEFER_TASKRUN. References: `io_uring_setup(2)`, `io_uring_enter(2)`, `io_uring_register(2)`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};

use crate::Error;
use crate::sync::Mutex;
use crate::sys::Operation;
use crate::sys::memory::{Memory, Pool};
use crate::sys::unix::cancel::Cancel;
use crate::sys::unix::request::{MOST_BYTES, Message, Request, vector};
use crate::sys::unix::standing::Standing;
use crate::{Buffer, Result};

/// Room for requests that are handed over between two calls into the kernel; more are handed over earlier.
const SQ_ENTRIES: u32 = 1024;
/// So many buffers of a pool a ring is given at first.
const FIRST_STOCK: usize = 64;
/// Room for completions; the kernel keeps what does not fit (`IORING_FEAT_NODROP`).
const CQ_ENTRIES: u32 = 8192;

// Not in the io-uring crate: <linux/io_uring.h>.
const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
/// Linux 6.15: do not show a waiting thread as "waiting for I/O".
const ENTER_NO_IOWAIT: u32 = 1 << 7;
/// Wait for data before the first attempt to receive.
const RECVSEND_POLL_FIRST: u16 = 1 << 0;

/// `user_data` is the address of a request, or one of these. Requests are aligned to 8, so the low bits tell.
const TAG_MASK: u64 = 7;
const TAG_REQUEST: u64 = 0;
const TAG_WAKE: u64 = 1;
const MESSAGE: u64 = TAG_WAKE | 1 << 3;
const TAG_IGNORE: u64 = 2;
const TAG_WATCH: u64 = 3;
const TAG_STANDING: u64 = 4;
const TAG_CANCEL: u64 = 5;

const _: () = assert!(align_of::<Request>() >= 8 && align_of::<Standing>() >= 8 && align_of::<Cancel>() >= 8);

/// The operations that the library is built of, all of which a kernel must have.
const NEEDED: [u8; 11] = [
    opcode::Accept::CODE,
    opcode::Connect::CODE,
    opcode::Recv::CODE,
    opcode::RecvMsg::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Fsync::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel::CODE,
];

/// Names a request that the kernel has, so that it can be cancelled: its `user_data`. Never dereferenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InKernel(u64);

/// The right to take completions. There is one a ring, and it lies behind a lock.
#[derive(Debug)]
pub(crate) struct Reaper(());

/// What a completion says.
pub(crate) enum Event<'a> {
    /// A request has ended; the kernel has let go of its memory. `nonempty`: the socket has more to read.
    Ended { request: Box<Request>, key: InKernel, result: i32, nonempty: bool },
    /// A standing request has brought something and goes on.
    Another { request: &'a Request, result: i32 },
    /// A standing receive has brought a result and, with data, the buffer it is in. `more`: it goes on.
    Arrived { standing: &'a Standing, result: i32, buffer: Option<Buffer>, more: bool },
    /// The kernel did not find what was to be cancelled, or could not.
    NotFound(Box<Cancel>),
    /// Somebody called [`Ring::wake`].
    Woken,
    /// The ring that [`Ring::watch`] named has completions.
    Watched(usize),
}

/// How long to wait in [`Ring::enter`].
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// Not at all, but let the kernel post what is ready.
    No,
    /// Until something ends, or for this long; `gather`: until so many have ended or so much time has passed since the first.
    For { timeout: Option<Duration>, gather: Option<(u32, Duration)> },
}

pub(crate) struct Ring {
    ring: IoUring,
    wake: OwnedFd,
    submission: Mutex<Submission>,
    pools: Mutex<Vec<Provided>>,
    /// Requests that were handed over, cancels among them; written under the submission lock.
    started: AtomicUsize,
    /// Requests that were reaped.
    ended: AtomicUsize,
    /// Entries in the submission queue that the kernel has not seen.
    unsubmitted: AtomicU32,
    /// Flags that this kernel knows for every enter.
    enter_flags: u32,
    can_gather: bool,
    can_message: bool,
    standing_receives: AtomicBool,
    /// A pool's buffers are shared among so many rings.
    shares: usize,
}

#[derive(Default)]
struct Submission {
    /// What found the submission queue full.
    backlog: VecDeque<squeue::Entry>,
    sealed: bool,
}

impl Ring {
    /// `shares`: how many rings share each buffer pool.
    pub(crate) fn new(shares: usize) -> Result<(Self, Reaper)> {
        let ring = IoUring::builder()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(CQ_ENTRIES)
            .dontfork()
            .build(SQ_ENTRIES)
            .map_err(unavailable)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(unavailable)?;
        let params = ring.params();
        if !NEEDED.iter().all(|code| probe.is_supported(*code))
            || !params.is_feature_ext_arg()
            || !params.is_feature_nodrop()
        {
            return Err(Error::IO_URING_TOO_OLD);
        }
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // SAFETY: nothing is submitted and nothing waited for; a kernel that does not know the flag says EINVAL.
        let no_iowait = unsafe { ring.submitter().enter::<libc::sigset_t>(0, 0, ENTER_NO_IOWAIT, None) }.is_ok();
        let min_wait = SubmitArgs::new().min_wait_usec(1);
        // SAFETY: as above; a kernel without the minimum wait finds a reserved field set and says EINVAL.
        let can_gather =
            unsafe { ring.submitter().enter(0, 0, ENTER_GETEVENTS | ENTER_EXT_ARG, Some(&min_wait)) }.is_ok();
        let mut ring = Self {
            ring,
            wake,
            submission: Mutex::default(),
            pools: Mutex::new(Vec::new()),
            started: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            unsubmitted: AtomicU32::new(0),
            enter_flags: if no_iowait { ENTER_NO_IOWAIT } else { 0 },
            can_gather,
            can_message: false,
            standing_receives: AtomicBool::new(true),
            shares,
        };
        ring.can_message = ring.message();
        ring.listen_for_wakes();
        Ok((ring, Reaper(())))
    }

    /// Requests that have been started and not reaped.
    pub(crate) fn in_flight(&self) -> usize {
        // In this order: the difference may be too large for a moment, never too small.
        let ended = self.ended.load(Ordering::SeqCst);
        self.started.load(Ordering::SeqCst).wrapping_sub(ended)
    }

    /// Whether something waits for an [`Self::enter`].
    pub(crate) fn unsubmitted(&self) -> bool {
        self.unsubmitted.load(Ordering::SeqCst) > 0
    }

    /// Hands a request over; the next [`Self::enter`] lets the kernel see it. `drained`: the socket is known to be empty.
    /// A sealed ring gives it back.
    pub(crate) fn start(
        &self,
        mut request: Box<Request>,
        fd: RawFd,
        drained: bool,
    ) -> std::result::Result<InKernel, Box<Request>> {
        let entry = self.entry(&mut request, Fd(fd), drained);
        let mut submission = self.submission.lock();
        if submission.sealed {
            return Err(request);
        }
        self.started.store(self.started.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        let key = Box::into_raw(request) as u64;
        // SAFETY: what the entry points to is owned by the request, which now belongs to the kernel until it is reaped.
        unsafe { self.push(&mut submission, entry.user_data(key | TAG_REQUEST)) };
        Ok(InKernel(key))
    }

    /// Hands a standing receive over. A sealed ring refuses.
    pub(crate) fn receive_each(&self, standing: &Arc<Standing>, fd: RawFd) -> Option<InKernel> {
        let group = self.group(&standing.pool.0);
        let entry = opcode::RecvMulti::new(Fd(fd), group).build();
        let mut submission = self.submission.lock();
        if submission.sealed {
            return None;
        }
        self.started.store(self.started.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        let key = Arc::into_raw(Arc::clone(standing)) as u64 | TAG_STANDING;
        // SAFETY: the entry points to nothing; the kernel's share of the record is given up at its last completion.
        unsafe { self.push(&mut submission, entry.user_data(key)) };
        Some(InKernel(key))
    }

    /// Whether the kernel knows standing receives (Linux 6.0).
    pub(crate) fn has_standing_receives(&self) -> bool {
        self.standing_receives.load(Ordering::Relaxed)
    }

    /// Asks the kernel to end a request early. Its completion comes in any case, and so does the cancel's own.
    pub(crate) fn cancel(&self, cancel: Box<Cancel>) {
        let mut submission = self.submission.lock();
        if submission.sealed {
            return; // whoever closes the port cancels everything
        }
        let entry = opcode::AsyncCancel::new(cancel.key().0).build();
        self.started.store(self.started.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        let user_data = Box::into_raw(cancel) as u64 | TAG_CANCEL;
        // SAFETY: the entry points to nothing; the record is taken back at its completion.
        unsafe { self.push(&mut submission, entry.user_data(user_data)) };
    }

    /// Asks the kernel to end all requests early.
    pub(crate) fn cancel_all(&self) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build().user_data(TAG_IGNORE);
        // SAFETY: as in `cancel`.
        unsafe { self.push(&mut self.submission.lock(), entry) };
    }

    /// Accepts no further requests. Those that the kernel has are reaped as before.
    pub(crate) fn seal(&self) {
        self.submission.lock().sealed = true;
    }

    /// Ends the sleep of the thread that waits in [`Self::enter`], or the next one.
    pub(crate) fn wake(&self) {
        if self.can_message && self.message() {
            return;
        }
        // It can fail only when 2^64 wake-ups have gone unread, and then one is pending.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Posts a completion to this ring, from whatever thread, without a request (Linux 6.13). The eventfd needs the thread that
    /// armed its poll to come by the kernel.
    fn message(&self) -> bool {
        const REGISTER_SEND_MSG_RING: libc::c_uint = 31;
        let entry = opcode::MsgRingData::new(Fd(self.ring.as_raw_fd()), 0, MESSAGE, None).build();
        // SAFETY: the call reads one submission queue entry, which lives on this stack; -1 stands for "no ring of one's own".
        unsafe { libc::syscall(libc::SYS_io_uring_register, -1, REGISTER_SEND_MSG_RING, &raw const entry, 1) == 0 }
    }

    /// One [`Event::Watched`] when `other`, which is called `name`, has completions.
    pub(crate) fn watch(&self, other: &Ring, name: usize) {
        let entry = opcode::PollAdd::new(Fd(other.ring.as_raw_fd()), libc::POLLIN as u32).build();
        // SAFETY: the entry points to nothing; the other ring's descriptor lives as long as the port, as does this ring's.
        unsafe { self.push(&mut self.submission.lock(), entry.user_data(TAG_WATCH | (name as u64) << 3)) };
    }

    /// The eventfd is never read: each write wakes the poll again.
    fn listen_for_wakes(&self) {
        let entry = opcode::PollAdd::new(Fd(self.wake.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
        // SAFETY: the entry points to nothing; the eventfd lives as long as the ring.
        unsafe { self.push(&mut self.submission.lock(), entry.user_data(TAG_WAKE)) };
    }

    /// # Safety
    /// What the entry points to lives until its completion.
    unsafe fn push(&self, submission: &mut Submission, entry: squeue::Entry) {
        // SAFETY: the lock on `submission` makes this the only user of the submission queue.
        let mut queue = unsafe { self.ring.submission_shared() };
        // SAFETY: the caller's promise.
        if !submission.backlog.is_empty() || unsafe { queue.push(&entry) }.is_err() {
            submission.backlog.push_back(entry);
        }
        self.unsubmitted.store((queue.len() + submission.backlog.len()) as u32, Ordering::Release);
    }

    /// Lets the kernel see what was handed over and, as `wait` says, sleeps until something has ended. Any thread may.
    pub(crate) fn enter(&self, wait: Wait) -> Result<()> {
        loop {
            let (to_submit, backlog) = self.fill();
            // With a backlog there is another round to go, so the kernel must not wait in this one.
            let (want, flags, mut args, timespec);
            match wait {
                Wait::For { timeout, gather } if !backlog => {
                    args = SubmitArgs::new();
                    if let Some(timeout) = timeout {
                        timespec = Timespec::from(timeout);
                        args = args.timespec(&timespec);
                    }
                    want = match gather.filter(|_| self.can_gather) {
                        Some((packets, delay)) => {
                            args = args.min_wait_usec(delay.as_micros().min(u32::MAX as u128) as u32);
                            packets
                        }
                        None => 1,
                    };
                    flags = self.enter_flags | ENTER_GETEVENTS | ENTER_EXT_ARG;
                }
                Wait::For { .. } | Wait::No => {
                    args = SubmitArgs::new();
                    want = 0;
                    flags = self.enter_flags | ENTER_GETEVENTS | ENTER_EXT_ARG;
                }
            }
            // SAFETY: the arguments live on this stack until the call returns; entries were pushed under `push`'s contract.
            let entered = unsafe { self.ring.submitter().enter(to_submit, want, flags, Some(&args)) };
            self.recount();
            if let Err(error) = entered {
                match error.raw_os_error() {
                    // Time is up, or a signal came: the caller looks at what there is.
                    Some(libc::ETIME | libc::EINTR) => {}
                    // The kernel is short of memory, or wants completions taken out first: those are there to be reaped.
                    Some(libc::EAGAIN | libc::EBUSY) => {
                        if !self.has_completions() {
                            std::thread::yield_now();
                        }
                        return Ok(());
                    }
                    _ => return Err(error.into()),
                }
            }
            if !backlog {
                return Ok(());
            }
        }
    }

    /// Moves the backlog into the submission queue as far as it fits. Returns what is in the queue, and whether some is left.
    fn fill(&self) -> (u32, bool) {
        let mut submission = self.submission.lock();
        // SAFETY: as in `push`.
        let mut queue = unsafe { self.ring.submission_shared() };
        while let Some(entry) = submission.backlog.front() {
            // SAFETY: the promise that `push` was given.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            submission.backlog.pop_front();
        }
        (queue.len() as u32, !submission.backlog.is_empty())
    }

    /// After an enter: how many entries the kernel has left.
    fn recount(&self) {
        let submission = self.submission.lock();
        // SAFETY: as in `push`.
        let queue = unsafe { self.ring.submission_shared() };
        self.unsubmitted.store((queue.len() + submission.backlog.len()) as u32, Ordering::Release);
    }

    /// Whether completions wait to be reaped, or the kernel has some that it has yet to post.
    pub(crate) fn has_completions(&self) -> bool {
        // SAFETY: only the indices are looked at, with atomic loads; dropping the view stores the head that it read, which is
        // prevented below.
        let queue = std::mem::ManuallyDrop::new(unsafe { self.ring.completion_shared() });
        !queue.is_empty()
    }

    /// Gives every completion that is there to `each`.
    pub(crate) fn reap(&self, _right: &mut Reaper, mut each: impl FnMut(Event<'_>)) {
        // SAFETY: the `Reaper` is borrowed mutably, and there is one a ring.
        let mut queue = unsafe { self.ring.completion_shared() };
        let (mut ended, mut deaf) = (0, false);
        for entry in &mut queue {
            let (user_data, result, flags) = (entry.user_data(), entry.result(), entry.flags());
            match user_data & TAG_MASK {
                TAG_REQUEST if cqueue::more(flags) => {
                    // SAFETY: the address of a request that the kernel still has, so it is alive; it is only read.
                    let request = unsafe { &*(user_data as *const Request) };
                    each(Event::Another { request, result });
                }
                TAG_REQUEST => {
                    ended += 1;
                    // SAFETY: the address that `start` got from `Box::into_raw`; this is its last completion, seen once.
                    let mut request = unsafe { Box::from_raw(user_data as *mut Request) };
                    if let Some(index) = cqueue::buffer_select(flags)
                        && let Operation::RecvPooled { pool, buffer } = &mut request.operation
                        && let Some(memory) = self.chosen(&pool.0, index, result)
                    {
                        *buffer = Buffer(memory);
                    }
                    let nonempty = cqueue::sock_nonempty(flags);
                    each(Event::Ended { request, key: InKernel(user_data), result, nonempty });
                }
                TAG_STANDING => {
                    let more = cqueue::more(flags);
                    let at = (user_data & !TAG_MASK) as *const Standing;
                    // SAFETY: the address that `receive_each` got from `Arc::into_raw`: alive until its last completion.
                    let standing = unsafe { &*at };
                    if result == -libc::EINVAL {
                        self.standing_receives.store(false, Ordering::Relaxed);
                    }
                    let memory =
                        cqueue::buffer_select(flags).and_then(|index| self.chosen(&standing.pool.0, index, result));
                    standing.landed.store(!more, Ordering::SeqCst);
                    each(Event::Arrived { standing, result, buffer: memory.map(Buffer), more });
                    if !more {
                        ended += 1;
                        // SAFETY: as above; this is its last completion, seen once, and the reference is no longer used.
                        drop(unsafe { Arc::from_raw(at) });
                    }
                }
                TAG_CANCEL => {
                    ended += 1;
                    // SAFETY: the address that `cancel` got from `Box::into_raw`; an answer has one completion.
                    let cancel = unsafe { Box::from_raw((user_data & !TAG_MASK) as *mut Cancel) };
                    if result == -libc::ENOENT || result == -libc::EALREADY {
                        each(Event::NotFound(cancel));
                    }
                }
                TAG_WAKE => {
                    deaf |= user_data != MESSAGE && !cqueue::more(flags);
                    each(Event::Woken);
                }
                TAG_WATCH => each(Event::Watched((user_data >> 3) as usize)),
                // The answer to `cancel_all`. Its outcome shows in the requests' own completions.
                _ => {}
            }
        }
        drop(queue);
        if ended > 0 {
            self.ended.fetch_add(ended, Ordering::SeqCst);
        }
        if deaf && !self.submission.lock().sealed {
            self.listen_for_wakes();
        }
    }

    /// The submission queue entry of a request: one arm an operation.
    fn entry(&self, request: &mut Request, fd: Fd, drained: bool) -> squeue::Entry {
        let moved = request.moved;
        match &mut request.operation {
            Operation::Accept { standing: true, .. } => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build(),
            Operation::Accept { standing: false, .. } => {
                opcode::Accept::new(fd, ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
            }
            Operation::Connect { address } => {
                let message = request.message.insert(Message::to(**address, Vec::new()));
                opcode::Connect::new(fd, ptr::from_ref(&message.address).cast(), message.address_len).build()
            }
            // A receive of nothing waits for data, which the kernel's own does not.
            Operation::Recv { buffer } if buffer.capacity() == 0 => {
                opcode::PollAdd::new(fd, (libc::POLLIN | libc::POLLRDHUP) as u32).build()
            }
            Operation::Recv { buffer } => {
                let (room, len) = buffer.0.room();
                opcode::Recv::new(fd, room, len.min(MOST_BYTES) as u32).ioprio(poll_first(drained)).build()
            }
            Operation::RecvPooled { pool, .. } => {
                let group = self.group(&pool.0);
                opcode::Recv::new(fd, ptr::null_mut(), 0)
                    .ioprio(poll_first(drained))
                    .buf_group(group)
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT)
            }
            Operation::Send { buffer } => {
                let (bytes, len) = buffer.0.filled(moved);
                opcode::Send::new(fd, bytes, len.min(MOST_BYTES) as u32)
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build()
            }
            Operation::SendVectored { buffers } => {
                let message = request.message.insert(Message::new(vector(buffers, moved)));
                opcode::SendMsg::new(fd, &message.header).flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32).build()
            }
            Operation::RecvFrom { buffer, .. } => {
                let (room, len) = buffer.0.room();
                let vector = vec![libc::iovec { iov_base: room.cast(), iov_len: len }];
                let message = Message::new(vector).with_address(size_of::<libc::sockaddr_storage>() as u32);
                opcode::RecvMsg::new(fd, &mut request.message.insert(message).header).build()
            }
            Operation::SendTo { buffer, address } => {
                let message = Message::to(**address, vector(std::slice::from_ref(buffer), 0));
                let message = request.message.insert(message);
                opcode::SendMsg::new(fd, &message.header).flags(libc::MSG_NOSIGNAL as u32).build()
            }
            Operation::ReadAt { buffer, offset } => {
                let (room, len) = buffer.0.room();
                opcode::Read::new(fd, room, len.min(MOST_BYTES) as u32).offset(*offset).build()
            }
            Operation::WriteAt { buffer, offset } => {
                let (bytes, len) = buffer.0.filled(moved);
                let write = opcode::Write::new(fd, bytes, len.min(MOST_BYTES) as u32);
                // All ones means: append. To the kernel it would mean the descriptor's own position.
                match *offset {
                    u64::MAX => write.offset(0).rw_flags(libc::RWF_APPEND).build(),
                    offset => write.offset(offset + moved as u64).build(),
                }
            }
            Operation::Sync { data_only } => {
                let flags = if *data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
                opcode::Fsync::new(fd).flags(flags).build()
            }
        }
    }

    // Provided buffers: one group a pool.

    /// The buffer group of `pool` on this ring, made at first use.
    fn group(&self, pool: &Arc<Pool>) -> u16 {
        let mut pools = self.pools.lock();
        if let Some(group) = pools.iter().position(|provided| Arc::ptr_eq(&provided.pool, pool)) {
            return group as u16;
        }
        let group = pools.len() as u16;
        let mut provided = Provided::new(Arc::clone(pool), self.shares);
        // SAFETY: the memory of the buffer ring is owned by `provided`, which is kept until it has been unregistered
        // (`Drop for Ring`). A refusal shows as ENOBUFS at each receive; kernels that have multishot accept have this too.
        let registered = unsafe {
            self.ring.submitter().register_buf_ring_with_flags(
                provided.start.as_ptr() as u64,
                provided.entries,
                group,
                0,
            )
        };
        match registered {
            Ok(()) => provided.refill(),
            Err(_) => (provided.target, provided.share) = (0, 0),
        }
        pools.push(provided);
        group
    }

    /// The buffer that the kernel chose, if it put something into it; otherwise it goes back at once.
    fn chosen(&self, pool: &Arc<Pool>, index: u16, result: i32) -> Option<Memory> {
        let mut pools = self.pools.lock();
        let provided = pools.iter_mut().find(|provided| Arc::ptr_eq(&provided.pool, pool));
        provided.expect("the kernel chooses from groups that are registered").stock -= 1;
        drop(pools);
        // SAFETY: the kernel consumed this index from the ring, where `refill` had put it after taking it from the pool.
        let mut memory = unsafe { Memory::from_pool(Arc::clone(pool), u32::from(index)) };
        if result <= 0 {
            return None;
        }
        // SAFETY: the kernel wrote `result` bytes into it.
        unsafe { memory.set_len(result as usize) };
        Some(memory)
    }

    /// Whether there are few buffers of `pool`, for the kernel and in the pool.
    pub(crate) fn is_scarce(&self, pool: &Arc<Pool>) -> bool {
        let mut pools = self.pools.lock();
        let Some(provided) = pools.iter_mut().find(|provided| Arc::ptr_eq(&provided.pool, pool)) else { return true };
        provided.stock + provided.pool.free() <= provided.share / 4
    }

    /// Tops up what the kernel has of each pool.
    pub(crate) fn refill(&self) {
        for provided in self.pools.lock().iter_mut() {
            if provided.stock < provided.target {
                provided.refill();
            }
        }
    }

    /// The kernel has run out of buffers of `pool`: it gets more at a time from now on.
    pub(crate) fn ran_out(&self, pool: &Arc<Pool>) {
        if let Some(provided) = self.pools.lock().iter_mut().find(|provided| Arc::ptr_eq(&provided.pool, pool)) {
            provided.target = (provided.target * 4).min(provided.share);
            provided.refill();
        }
    }

    /// Whether the kernel has buffers of `pool`.
    pub(crate) fn has_buffers(&self, pool: &Arc<Pool>) -> bool {
        self.pools.lock().iter().any(|provided| Arc::ptr_eq(&provided.pool, pool) && provided.stock > 0)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        assert!(self.in_flight() == 0 || std::thread::panicking(), "a ring was dropped with requests in the kernel");
        // Closing the ring's descriptor would not be proof that the kernel is done with the buffer rings; this is.
        for (group, provided) in self.pools.lock().iter_mut().enumerate() {
            if self.ring.submitter().unregister_buf_ring(group as u16).is_ok() {
                provided.give_back();
            }
        }
    }
}

fn poll_first(drained: bool) -> u16 {
    if drained { RECVSEND_POLL_FIRST } else { 0 }
}

/// Why io_uring is not to be had.
fn unavailable(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => Error::IO_URING_MISSING,
        Some(libc::EPERM | libc::EACCES) => Error::IO_URING_FORBIDDEN,
        Some(libc::EINVAL) => Error::IO_URING_TOO_OLD, // a flag of 5.19 was refused
        _ => error.into(),
    }
}

/// A pool's buffers, as far as this ring has them: a ring of entries that the kernel consumes from the head.
struct Provided {
    pool: Arc<Pool>,
    start: NonNull<BufRingEntry>,
    entries: u16,
    tail: u16,
    /// How many the kernel has.
    stock: usize,
    /// How many it is given at a time: as few as serve, so that the same buffers are used again while they are in the cache.
    target: usize,
    /// How many it may have.
    share: usize,
}

// SAFETY: `start` is an allocation of its own, touched under the lock around the list of these, and by the kernel.
unsafe impl Send for Provided {}

impl Provided {
    fn new(pool: Arc<Pool>, shares: usize) -> Self {
        let entries = pool.count.next_power_of_two() as u16;
        let layout = Self::layout(entries);
        // SAFETY: the size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let share = (pool.count as usize / shares).max(1);
        Self { pool, start: start.cast(), entries, tail: 0, stock: 0, target: share.min(FIRST_STOCK), share }
    }

    fn layout(entries: u16) -> Layout {
        Layout::from_size_align(usize::from(entries) * size_of::<BufRingEntry>(), 4096).expect("at most 512 KiB")
    }

    /// Takes back what the kernel has not consumed. It consumes in order, so those are the last `stock` below the tail.
    fn give_back(&mut self) {
        for back in 1..=self.stock as u16 {
            // SAFETY: masked, so inside the allocation; the ring is unregistered, so nobody else touches it.
            let entry =
                unsafe { self.start.add(usize::from(self.tail.wrapping_sub(back) & (self.entries - 1))).as_ref() };
            self.pool.give_back(u32::from(entry.bid()));
        }
        self.stock = 0;
    }

    fn refill(&mut self) {
        let (pool, start, mask) = (&self.pool, self.start, self.entries - 1);
        let (mut tail, before) = (self.tail, self.tail);
        pool.take_many(self.target.saturating_sub(self.stock), |index| {
            // SAFETY: masked, so inside the allocation; the kernel reads entries only below the published tail, and those it has
            // consumed are not read again: `stock` never exceeds the number of entries.
            let entry = unsafe { start.add(usize::from(tail & mask)).as_mut() };
            entry.set_addr(pool.address(index).as_ptr() as u64);
            entry.set_len(pool.buffer_size as u32);
            entry.set_bid(index as u16);
            tail = tail.wrapping_add(1);
        });
        self.stock += usize::from(tail.wrapping_sub(before));
        self.tail = tail;
        // SAFETY: `start` is the first entry of the ring, page-aligned and initialised: its reserved field is the tail.
        let published = unsafe { &*BufRingEntry::tail(start.as_ptr()).cast::<AtomicU16>() };
        // Release: the kernel, which loads the tail with acquire, then sees the entries below it.
        published.store(tail, Ordering::Release);
        if tail != before {
            pool.tell();
        }
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout. The kernel no longer uses it: `Drop for Ring` unregistered it.
        unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.entries)) }
    }
}
