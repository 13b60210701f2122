//! Ring set-up, and a provided-buffer ring: memory the kernel picks receive buffers from by itself.

use std::io;
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::squeue::Entry;
use io_uring::types::BufRingEntry;
use io_uring::{IoUring, SubmissionQueue, Submitter};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// How the kernel runs a ring's completion work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskRun {
    /// `SINGLE_ISSUER | DEFER_TASKRUN`: only inside the owner's `io_uring_enter`.
    Deferred,
    /// `COOP_TASKRUN`: at the owner's next transition to the kernel, whichever that is.
    Cooperative,
}

/// A ring for one thread. The completion queue is several times the submission queue, since one multishot request
/// makes many completions.
pub fn build(entries: u32, task_run: TaskRun) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(entries * 8).setup_submit_all();
    match task_run {
        TaskRun::Deferred => builder.setup_single_issuer().setup_defer_taskrun(),
        TaskRun::Cooperative => builder.setup_single_issuer().setup_coop_taskrun(),
    };
    builder.build(entries)
}

/// Queues an entry; where the queue is full, hands what is queued to the kernel first.
///
/// # Safety
///
/// Memory the entry points to must stay valid, and untouched where the kernel writes, until its completion is reaped.
#[inline]
pub unsafe fn push(submitter: &Submitter<'_>, queue: &mut SubmissionQueue<'_>, entry: &Entry) -> io::Result<()> {
    // SAFETY: the caller keeps the entry's memory valid; that is this function's own condition.
    while unsafe { queue.push(entry) }.is_err() {
        queue.sync();
        tolerate_interruption(submitter.submit())?;
        queue.sync();
    }
    Ok(())
}

/// `enter` may come back early, for a signal or because completions have to be reaped first. Both mean: reap, go on.
pub fn tolerate_interruption(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            // EBUSY: the completion queue has overflowed. EAGAIN: the kernel is short of memory for the moment.
            Some(libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

/// Equal buffers that the kernel takes from a shared ring, one per receive that has data.
///
/// The memory is never unmapped: the kernel may write to it for as long as the ring it is registered with lives, and
/// both live as long as the process.
pub struct BufferRing {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    buffer_size: usize,
    mask: u16,
    /// Where the next buffer goes. The kernel sees it when it is published.
    tail: u16,
}

impl BufferRing {
    /// Registers `count` (a power of two, at most 32,768) buffers of `buffer_size` bytes as group `group`.
    pub fn register(submitter: &Submitter<'_>, group: u16, count: u16, buffer_size: usize) -> io::Result<BufferRing> {
        if !count.is_power_of_two() || count > 1 << 15 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the number of buffers must be a power of two and at most 32768",
            ));
        }
        let entries = map::<BufRingEntry>(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = map::<u8>(usize::from(count) * buffer_size)?;
        // The kernel goes round all buffers, so with small pages nearly every receive misses the TLB. Only advice: where
        // it is not taken, everything works.
        // SAFETY: the range is the mapping just made, and this advice does not change what is in it.
        unsafe {
            let len = usize::from(count) * buffer_size;
            madvise(memory.as_ptr().cast(), len, Advice::LinuxHugepage).ok();
        }
        // SAFETY: `entries` is page-aligned, zeroed, has room for `count` entries and is never unmapped.
        unsafe { submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, count, group, 0)? };
        let mut ring = BufferRing { entries, memory, buffer_size, mask: count - 1, tail: 0 };
        for buffer in 0..count {
            ring.give_back(buffer);
        }
        ring.publish();
        Ok(ring)
    }

    pub fn count(&self) -> usize {
        usize::from(self.mask) + 1
    }

    /// Where a buffer begins.
    #[inline]
    pub fn pointer(&self, buffer: u16) -> *mut u8 {
        assert!(buffer <= self.mask, "the kernel named a buffer we never gave it");
        // SAFETY: `memory` holds `mask + 1` buffers, and `buffer` is one of them, checked above.
        unsafe { self.memory.as_ptr().add(usize::from(buffer) * self.buffer_size) }
    }

    /// The first `len` bytes of a buffer that a completion has handed to us.
    ///
    /// # Safety
    ///
    /// The kernel must have picked `buffer`, and it must not have been given back since, nor be in use for a send.
    #[inline]
    pub unsafe fn bytes(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        assert!(len <= self.buffer_size);
        // SAFETY: the range is inside the mapping; that nobody else uses it now is the caller's promise.
        unsafe { slice::from_raw_parts_mut(self.pointer(buffer), len) }
    }

    /// Returns a buffer. The kernel sees it at the next [`publish`](Self::publish).
    #[inline]
    pub fn give_back(&mut self, buffer: u16) {
        let pointer = self.pointer(buffer) as u64;
        let slot = usize::from(self.tail & self.mask);
        // SAFETY: the slot is inside the mapping, and at most `count` buffers are ever out, so it is not one that the
        // kernel may still read. The first entry's last two bytes are the tail, so fields are set, never the whole.
        let entry = unsafe { &mut *self.entries.as_ptr().add(slot) };
        entry.set_addr(pointer);
        entry.set_len(self.buffer_size as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see the buffers given back so far.
    #[inline]
    pub fn publish(&mut self) {
        // SAFETY: `entries` is the ring's base; its tail is two aligned bytes there that only we write.
        let tail = unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail)
        };
        // Release: the kernel reads the tail with acquire and must then see the entries written before it.
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed pages that stay mapped until the process ends.
fn map<T>(len: usize) -> io::Result<NonNull<T>> {
    // SAFETY: an anonymous mapping at an address of the kernel's choice takes nothing away from anybody.
    let address =
        unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)? };
    Ok(NonNull::new(address.cast()).expect("mmap does not place a mapping at address 0 unasked"))
}
