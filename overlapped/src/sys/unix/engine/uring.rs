//! io_uring.
//!
//! A ring belongs to a lane, in two parts: what any thread may use at any time ([`Ring`]: enter, wake), and what lies behind the lane's
//! lock ([`Queues`]: both queues, the buffers). A ring that is [`Shared`](Mode::Shared) may be entered by any thread, so completions
//! must not depend on the one that submitted: COOP_TASKRUN, never DEFER_TASKRUN. One that is [`Owned`](Mode::Owned) is entered by one
//! thread only, and nothing of it happens elsewhere: DEFER_TASKRUN.
//! References: `io_uring_setup(2)`, `io_uring_enter(2)`, `io_uring_register(2)`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;

use super::survey::{self, NEEDED};
use super::table::Table;
use super::{About, Completion, Mode, Place, Target, Token, Wait};
use crate::sys::memory::{Memory, Pool};
use crate::sys::unix::prefetch;
use crate::sys::unix::request::{MOST_BYTES, Message, room, vector};
use crate::sys::{Operation, Request};
use crate::{Buffer, Error, Result};

/// Room for requests that are handed over between two calls into the kernel; more are handed over earlier.
const SQ_ENTRIES: u32 = 1024;
/// So many buffers of a pool a ring is given at first.
const FIRST_STOCK: usize = 64;
/// It is given more if it still runs out after so long, and not only again after so long.
const PASSING: Duration = Duration::from_millis(20);
const LASTING: Duration = Duration::from_secs(1);
/// Room for completions; the kernel keeps what does not fit (`IORING_FEAT_NODROP`).
const CQ_ENTRIES: u32 = 8192;

// Not in the io-uring crate: <linux/io_uring.h>.
const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
/// Linux 6.15: do not show a waiting thread as "waiting for I/O".
const ENTER_NO_IOWAIT: u32 = 1 << 7;
/// Wait for data before the first attempt to receive.
const RECVSEND_POLL_FIRST: u16 = 1 << 0;

pub(crate) struct Ring {
    ring: IoUring,
    wake: OwnedFd,
    /// Entries in the submission queue that the kernel has not seen. Written under the lane's lock.
    unsubmitted: AtomicU32,
    /// Flags that this kernel knows for every enter.
    enter_flags: u32,
    can_gather: bool,
    can_message: bool,
    /// The eventfd's poll has ended and has to be armed again.
    deaf: AtomicBool,
    /// Tells another ring that there is work in this one, which is owned: a poll of the ring itself does not.
    bell: OnceLock<OwnedFd>,
}

/// What of a ring lies behind the lane's lock.
pub(crate) struct Queues {
    /// What found the submission queue full.
    backlog: VecDeque<squeue::Entry>,
    /// Requests in the kernel, or on the way there, cancels among them.
    in_flight: usize,
    sealed: bool,
    /// By their groups. One that nobody else has any more goes, and its number is used again.
    pools: Slab<Provided>,
    mode: Mode,
    standing_receives: bool,
    table: Table,
}

impl Queues {
    /// Requests that have been started and not reaped.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Accepts no further requests. Those that the kernel has are reaped as before.
    pub(crate) fn seal(&mut self) {
        self.sealed = true;
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Whether the kernel knows standing receives (Linux 6.0).
    pub(crate) fn has_standing_receives(&self) -> bool {
        self.standing_receives
    }

    pub(crate) fn no_standing_receives(&mut self) {
        self.standing_receives = false;
    }

    /// The buffer of `group` that the kernel chose, if it put something into it; otherwise it goes back at once.
    /// `pool`: whose group it is.
    #[inline(always)]
    pub(crate) fn chosen(&mut self, group: u16, pool: Arc<Pool>, index: u16, result: i32) -> Option<Buffer> {
        let provided = &mut self.pools[usize::from(group)];
        assert!(Arc::ptr_eq(&provided.pool, &pool), "a group belongs to one pool");
        provided.stock -= 1;
        // SAFETY: the kernel consumed this index from the ring, where `refill` had put it after taking it from this pool.
        let mut memory = unsafe { Memory::from_pool(pool, u32::from(index)) };
        if result <= 0 {
            return None;
        }
        // SAFETY: the kernel wrote `result` bytes into it.
        unsafe { memory.set_len(result as usize) };
        // Among a thousand connections it has left the cache since. The handler will not have to wait for it.
        prefetch(memory.as_slice().as_ptr());
        Some(Buffer(memory))
    }

    /// The pool of a standing receive's group.
    #[inline]
    pub(crate) fn pool(&self, group: u16) -> &Arc<Pool> {
        &self.pools[usize::from(group)].pool
    }

    /// A standing receive of `group` is over.
    pub(crate) fn disarm(&mut self, group: u16) {
        self.pools[usize::from(group)].armed -= 1;
    }

    /// Whether there are few buffers of `pool`, for the kernel and in the pool.
    pub(crate) fn is_scarce(&self, pool: &Arc<Pool>) -> bool {
        match self.provided(pool) {
            Some(provided) => provided.stock + provided.pool.free() <= provided.share / 4,
            None => true,
        }
    }

    /// The kernel has run out of buffers of `pool`.
    pub(crate) fn ran_out(&mut self, pool: &Arc<Pool>) {
        if let Some((_, provided)) = self.pools.iter_mut().find(|(_, provided)| Arc::ptr_eq(&provided.pool, pool)) {
            provided.ran_out();
        }
    }

    /// Whether the kernel has buffers of `pool`.
    pub(crate) fn has_buffers(&self, pool: &Arc<Pool>) -> bool {
        self.provided(pool).is_some_and(|provided| provided.stock > 0)
    }

    fn provided(&self, pool: &Arc<Pool>) -> Option<&Provided> {
        self.pools.iter().map(|(_, provided)| provided).find(|provided| Arc::ptr_eq(&provided.pool, pool))
    }
}

impl Ring {
    pub(crate) fn new(mode: Mode) -> Result<(Self, Queues)> {
        let mut builder = IoUring::builder();
        builder.setup_submit_all().setup_clamp().setup_cqsize(CQ_ENTRIES).dontfork();
        let built = match mode {
            Mode::Shared(_) => builder.setup_coop_taskrun().build(SQ_ENTRIES),
            // Linux 6.1; before that an owned ring is like a shared one.
            Mode::Owned => {
                let mut deferred = builder.clone();
                match deferred.setup_single_issuer().setup_defer_taskrun().build(SQ_ENTRIES) {
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                        builder.setup_coop_taskrun().build(SQ_ENTRIES)
                    }
                    built => built,
                }
            }
        };
        let ring = built.map_err(unavailable)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(unavailable)?;
        let params = ring.params();
        if !NEEDED.iter().all(|(code, ..)| survey::has(&probe, *code))
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
            unsubmitted: AtomicU32::new(0),
            enter_flags: if no_iowait { ENTER_NO_IOWAIT } else { 0 },
            can_gather,
            can_message: false,
            deaf: AtomicBool::new(false),
            bell: OnceLock::new(),
        };
        let mut queues = Queues {
            backlog: VecDeque::new(),
            in_flight: 0,
            sealed: false,
            pools: Slab::new(),
            mode,
            standing_receives: true,
            table: Table::default(),
        };
        ring.can_message = ring.message();
        // Before Linux 6.13, which has both, what was struck off stays open until requests of others that were under way have ended. And one
        // of several lanes gives lines to others all the time, while its ring is busy: to strike them off would wait for that.
        if !ring.can_message || matches!(mode, Mode::Shared(2..)) {
            queues.table = Table::never();
        }
        ring.listen_for_wakes(&mut queues);
        Ok((ring, queues))
    }

    /// How much waits for an [`Self::enter`].
    pub(crate) fn unsubmitted(&self) -> u32 {
        self.unsubmitted.load(Ordering::SeqCst)
    }

    /// Hands a request over; the next [`Self::enter`] lets the kernel see it. It must stay where it is, in its owner's hands, until its
    /// completion has been reaped.
    #[inline]
    pub(crate) fn start(&self, queues: &mut Queues, token: Token, request: &mut Request, on: Target) {
        let (fd, flags) = match on.place {
            Some(place) => (Fd(place.index() as RawFd), squeue::Flags::FIXED_FILE),
            None => (Fd(on.fd), squeue::Flags::empty()),
        };
        queues.in_flight += 1;
        // A send's is made right in the queue: to copy what was just written in parts would make the processor wait.
        if let Operation::Send { buffer } = &request.operation {
            let entry = send(fd, buffer, request.moved).flags(flags).user_data(token.user_data());
            // SAFETY: as below.
            return unsafe { self.push(queues, entry) };
        }
        let entry = self.entry(queues, request, fd, on.drained).flags(flags).user_data(token.user_data());
        // SAFETY: what the entry points to is owned by the request, which the lane keeps until it is reaped.
        unsafe { self.push(queues, entry) };
    }

    /// Enters a descriptor into the ring's table. Of a ring that is owned by its owner.
    pub(crate) fn enlist(&self, queues: &mut Queues, fd: RawFd) -> Option<Place> {
        queues.table.enlist(&self.ring.submitter(), fd).map(Place::new)
    }

    /// Strikes it off. `here`: by a thread that may enter the ring; otherwise it is done when one does.
    pub(crate) fn strike(&self, queues: &mut Queues, place: Place, here: bool) {
        queues.table.strike(&self.ring.submitter(), place.index(), here);
    }

    /// Hands a standing receive over, which takes buffers of `pool`. Returns the group of those.
    pub(crate) fn receive_each(&self, queues: &mut Queues, token: Token, fd: RawFd, pool: &Arc<Pool>) -> u16 {
        let group = self.group(queues, pool);
        let entry = opcode::RecvMulti::new(Fd(fd), group).build();
        queues.pools[usize::from(group)].armed += 1;
        queues.in_flight += 1;
        // SAFETY: the entry points to nothing.
        unsafe { self.push(queues, entry.user_data(token.user_data())) };
        group
    }

    /// Asks the kernel to end a request early. Its completion comes in any case, and so does the cancel's own.
    pub(crate) fn cancel(&self, queues: &mut Queues, token: Token) {
        let entry = opcode::AsyncCancel::new(token.user_data()).build().user_data(token.opposite().user_data());
        queues.in_flight += 1;
        // SAFETY: the entry points to nothing.
        unsafe { self.push(queues, entry) };
    }

    /// Asks the kernel to end all requests early.
    pub(crate) fn cancel_all(&self, queues: &mut Queues) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build().user_data(About::Nothing as u64);
        // SAFETY: the entry points to nothing.
        unsafe { self.push(queues, entry) };
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
        let entry = opcode::MsgRingData::new(Fd(self.ring.as_raw_fd()), 0, Token::MESSAGE, None).build();
        // SAFETY: the call reads one submission queue entry, which lives on this stack; -1 stands for "no ring of one's own".
        unsafe { libc::syscall(libc::SYS_io_uring_register, -1, REGISTER_SEND_MSG_RING, &raw const entry, 1) == 0 }
    }

    /// Makes [`Self::watch`] work for a ring that is owned. By its owner, who then sleeps in another one.
    pub(crate) fn hang_bell(&self) -> Result<()> {
        match self.bell.get() {
            Some(bell) => _ = rustix::io::read(bell, &mut [0; 8]), // what it has rung for has been seen to
            None => {
                let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                self.ring.submitter().register_eventfd(bell.as_raw_fd())?;
                let _ = self.bell.set(bell);
            }
        }
        Ok(())
    }

    /// What is readable when this ring has completions or, if it is owned, work.
    pub(crate) fn watchable(&self) -> RawFd {
        self.bell.get().map_or(self.ring.as_raw_fd(), AsRawFd::as_raw_fd)
    }

    /// One completion [`About::Watched`] when `other`, which is called `name`, is readable.
    pub(crate) fn watch(&self, queues: &mut Queues, other: RawFd, name: usize) {
        let entry = opcode::PollAdd::new(Fd(other), libc::POLLIN as u32).build();
        // SAFETY: the entry points to nothing. A descriptor that has been closed by then is refused, and the watch over.
        unsafe { self.push(queues, entry.user_data(Token::new(About::Watched, name, 0).user_data())) };
    }

    /// The eventfd is never read: each write wakes the poll again.
    fn listen_for_wakes(&self, queues: &mut Queues) {
        let entry = opcode::PollAdd::new(Fd(self.wake.as_raw_fd()), libc::POLLIN as u32).multi(true).build();
        // SAFETY: the entry points to nothing; the eventfd lives as long as the ring.
        unsafe { self.push(queues, entry.user_data(About::Woken as u64)) };
    }

    /// # Safety
    /// What the entry points to lives until its completion.
    #[inline(always)]
    unsafe fn push(&self, queues: &mut Queues, entry: squeue::Entry) {
        // SAFETY: the lock around `queues` makes this the only user of the submission queue.
        let mut queue = unsafe { self.ring.submission_shared() };
        // SAFETY: the caller's promise.
        if !queues.backlog.is_empty() || unsafe { queue.push(&entry) }.is_err() {
            queues.backlog.push_back(entry);
        }
        self.unsubmitted.store((queue.len() + queues.backlog.len()) as u32, Ordering::Release);
    }

    /// Before an [`Self::enter`]: moves the backlog into the submission queue as far as it fits. Returns what is in the queue, and
    /// whether some is left.
    pub(crate) fn fill(&self, queues: &mut Queues) -> (u32, bool) {
        if self.deaf.load(Ordering::Relaxed) && !queues.sealed {
            self.deaf.store(false, Ordering::Relaxed);
            self.listen_for_wakes(queues);
        }
        queues.table.tidy(&self.ring.submitter());
        // SAFETY: as in `push`.
        let mut queue = unsafe { self.ring.submission_shared() };
        while let Some(entry) = queues.backlog.front() {
            // SAFETY: the promise that `push` was given.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            queues.backlog.pop_front();
        }
        (queue.len() as u32, !queues.backlog.is_empty())
    }

    /// After an [`Self::enter`]: how many entries the kernel has left.
    pub(crate) fn recount(&self, queues: &mut Queues) {
        // SAFETY: as in `push`.
        let queue = unsafe { self.ring.submission_shared() };
        self.unsubmitted.store((queue.len() + queues.backlog.len()) as u32, Ordering::Release);
    }

    /// Lets the kernel see `to_submit` entries and, as `wait` says, sleeps until something has ended. Of a shared ring any thread may.
    pub(crate) fn enter(&self, to_submit: u32, wait: Wait) -> Result<()> {
        let mut args = SubmitArgs::new();
        let (want, timespec);
        match wait {
            Wait::For { timeout, gather } => {
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
            }
            Wait::No => want = 0,
        }
        let flags = self.enter_flags | ENTER_GETEVENTS | ENTER_EXT_ARG;
        // SAFETY: the arguments live on this stack until the call returns; entries were pushed under `push`'s contract.
        let entered = unsafe { self.ring.submitter().enter(to_submit, want, flags, Some(&args)) };
        let Err(error) = entered else { return Ok(()) };
        match error.raw_os_error() {
            // Time is up, or a signal came: the caller looks at what there is.
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            // The kernel is short of memory, or wants completions taken out first: those are there to be reaped.
            Some(libc::EAGAIN | libc::EBUSY) => {
                if !self.has_completions() {
                    std::thread::yield_now();
                }
                Ok(())
            }
            _ => Err(error.into()),
        }
    }

    /// Whether completions wait to be reaped.
    #[inline]
    pub(crate) fn has_completions(&self) -> bool {
        // SAFETY: only the indices are looked at, with atomic loads; dropping the view stores the head that it read, which is
        // prevented below.
        let queue = std::mem::ManuallyDrop::new(unsafe { self.ring.completion_shared() });
        !queue.is_empty()
    }

    /// Takes the oldest completions, as many as fit.
    pub(crate) fn reap(&self, queues: &mut Queues, into: &mut Vec<Completion>) {
        let room = into.capacity() - into.len();
        // SAFETY: the lock around `queues` makes this the only user of the completion queue.
        let entries = unsafe { self.ring.completion_shared() };
        for entry in entries.take(room) {
            let completion = Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() };
            if completion.user_data & About::Woken as u64 == 0 {
                queues.in_flight -= usize::from(!completion.more());
            } else if completion.token().about == About::Woken
                && completion.user_data != Token::MESSAGE
                && !completion.more()
            {
                self.deaf.store(true, Ordering::Relaxed);
            }
            into.push(completion);
        }
    }

    /// Gives pools' buffers back that the kernel has not used. The ring is done with: nothing is in flight.
    pub(crate) fn retire(&self, queues: &mut Queues) {
        assert!(queues.in_flight == 0 || std::thread::panicking(), "a ring was retired with requests in the kernel");
        // Closing the ring's descriptor would not be proof that the kernel is done with the buffer rings; this is.
        while let Some((group, _)) = queues.pools.iter().next() {
            self.forget_pool(queues, group);
        }
        queues.table.clear(&self.ring.submitter());
    }

    /// Tops up what the kernel has of each pool. Of a ring that is owned by its owner only.
    pub(crate) fn refill(&self, queues: &mut Queues) {
        let mut forgotten = None;
        for (group, provided) in &mut queues.pools {
            if Arc::strong_count(&provided.pool) == 1 && provided.armed == 0 {
                forgotten = Some(group); // no operation and no buffer of it is left, and nobody who could make one
            } else if provided.stock < provided.target {
                provided.refill();
            }
        }
        if let Some(group) = forgotten {
            self.forget_pool(queues, group);
        }
    }

    fn forget_pool(&self, queues: &mut Queues, group: usize) {
        let mut provided = queues.pools.remove(group);
        if self.ring.submitter().unregister_buf_ring(group as u16).is_ok() {
            provided.give_back();
        }
    }

    /// The submission queue entry of a request: one arm an operation.
    fn entry(&self, queues: &mut Queues, request: &mut Request, fd: Fd, drained: bool) -> squeue::Entry {
        let moved = request.moved;
        match &mut request.operation {
            Operation::Accept { standing: true, .. } => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build(),
            Operation::Accept { standing: false, .. } => {
                opcode::Accept::new(fd, ptr::null_mut(), ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
            }
            Operation::Connect { .. } if request.in_flight.connecting => {
                opcode::PollAdd::new(fd, libc::POLLOUT as u32).build()
            }
            Operation::Connect { address } => {
                let message = request.in_flight.message.insert(Message::to(**address, Vec::new()));
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
                let group = self.group(queues, &pool.0);
                request.in_flight.group = group;
                opcode::Recv::new(fd, ptr::null_mut(), 0)
                    .ioprio(poll_first(drained))
                    .buf_group(group)
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT)
            }
            Operation::Send { buffer } => send(fd, buffer, moved),
            Operation::SendVectored { buffers } => {
                let message = request.in_flight.message.insert(Message::new(vector(buffers, moved)));
                opcode::SendMsg::new(fd, &message.header).flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32).build()
            }
            Operation::RecvFrom { buffer, .. } => {
                let (room, len) = buffer.0.room();
                let vector = vec![libc::iovec { iov_base: room.cast(), iov_len: len }];
                let message = Message::new(vector).with_address(size_of::<libc::sockaddr_storage>() as u32);
                opcode::RecvMsg::new(fd, &mut request.in_flight.message.insert(message).header).build()
            }
            Operation::RecvVectored { buffers, flags, .. } => {
                let vector = room(buffers);
                let message = Message::new(vector).with_address(size_of::<libc::sockaddr_storage>() as u32);
                let header = &mut request.in_flight.message.insert(message).header;
                opcode::RecvMsg::new(fd, header).flags(*flags as u32).ioprio(poll_first(drained)).build()
            }
            Operation::SendTo { buffer, address } => {
                let message = Message::to(**address, vector(std::slice::from_ref(buffer), 0));
                let message = request.in_flight.message.insert(message);
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

    /// The buffer group of `pool` on this ring, made at first use.
    fn group(&self, queues: &mut Queues, pool: &Arc<Pool>) -> u16 {
        if let Some((group, _)) = queues.pools.iter().find(|(_, provided)| Arc::ptr_eq(&provided.pool, pool)) {
            return group as u16;
        }
        let group = queues.pools.vacant_key() as u16;
        let mut provided = Provided::new(Arc::clone(pool), queues.mode);
        // SAFETY: the memory of the buffer ring is owned by `provided`, which is kept until it has been unregistered
        // (`Ring::retire`). A refusal shows as ENOBUFS at each receive; kernels that have multishot accept have this too.
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
        queues.pools.insert(provided);
        group
    }
}

#[inline(always)]
fn send(fd: Fd, buffer: &Buffer, moved: usize) -> squeue::Entry {
    let (bytes, len) = buffer.0.filled(moved);
    opcode::Send::new(fd, bytes, len.min(MOST_BYTES) as u32).flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build()
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
    /// Standing receives that take from it.
    armed: usize,
    /// How many the kernel has.
    stock: usize,
    /// How many it is given at a time: as few as serve, so that the same buffers are used again while they are in the cache.
    target: usize,
    /// Since when it has been running out.
    short: Option<Instant>,
    /// How many it may have.
    share: usize,
}

// SAFETY: `start` is an allocation of its own, touched under the lock around the list of these, and by the kernel.
unsafe impl Send for Provided {}

impl Provided {
    fn new(pool: Arc<Pool>, mode: Mode) -> Self {
        let entries = pool.count.next_power_of_two() as u16;
        let layout = Self::layout(entries);
        // SAFETY: the size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let users = pool.users.fetch_add(1, Ordering::Relaxed).min(16);
        let share = match mode {
            Mode::Shared(rings) => pool.count as usize / rings,
            // Nobody knows how many will come: half of what is left for each.
            Mode::Owned => pool.count as usize >> (users + 1),
        };
        let share = share.max(1);
        Self {
            pool,
            start: start.cast(),
            entries,
            tail: 0,
            armed: 0,
            stock: 0,
            short: None,
            target: share.min(FIRST_STOCK),
            share,
        }
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

    /// One burst is got over with the few; a load that keeps running out is given more at a time.
    fn ran_out(&mut self) {
        let now = Instant::now();
        match self.short.map(|since| now - since) {
            Some(lasting) if (PASSING..LASTING).contains(&lasting) => {
                self.target = (self.target * 4).min(self.share);
                self.short = None;
            }
            Some(lasting) if lasting < PASSING => {}
            _ => self.short = Some(now),
        }
        self.refill();
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
        self.pool.users.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: allocated in `new` with this layout. The kernel no longer uses it: `Ring::retire` unregistered it.
        unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.entries)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel has consumed comes back at some time; here never, which makes no difference to the rule.
    fn run_out(provided: &mut Provided, since: Option<Duration>) -> usize {
        provided.stock = 0;
        if let Some(since) = since {
            provided.short = Some(Instant::now() - since);
        }
        provided.ran_out();
        assert!(provided.stock > 0, "it was given none");
        provided.target
    }

    #[test]
    fn a_ring_that_keeps_running_out_is_given_more_buffers_at_a_time() {
        let mut provided = Provided::new(Arc::new(Pool::new(16, 8192)), Mode::Shared(4));
        assert_eq!((provided.target, provided.share), (FIRST_STOCK, 2048));
        assert_eq!(run_out(&mut provided, None), FIRST_STOCK, "a burst, perhaps");
        assert_eq!(run_out(&mut provided, None), FIRST_STOCK, "the same burst");
        assert_eq!(run_out(&mut provided, Some(LASTING)), FIRST_STOCK, "another burst, long after");
        assert_eq!(run_out(&mut provided, Some(PASSING)), 4 * FIRST_STOCK, "it goes on");
        assert_eq!(run_out(&mut provided, None), 4 * FIRST_STOCK, "counted anew");
        assert_eq!(run_out(&mut provided, Some(PASSING)), 16 * FIRST_STOCK);
        assert_eq!(run_out(&mut provided, Some(PASSING)), 2048, "never more than its share");
        assert_eq!(run_out(&mut provided, Some(PASSING)), 2048);
    }
}
