//! Memory that the kernel may read and write: the insides of `Buffer` and `BufferPool`.
//!
//! A [`Memory`] owns its bytes alone. While an operation is in flight its `Memory` lies in the operation's record,
//! where no user code can reach it, and it comes back with the completion. *Reap, then free.*

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;

use super::lock::Lock;
use crate::sync::Mutex;

/// Where the bytes come from, and so where they go back to.
enum Owner {
    /// A `Vec<u8>`, taken apart.
    Vec { capacity: usize },
    /// Read-only; never written, never freed.
    Static { capacity: usize },
    /// Number `index` of a pool.
    Pool { pool: Arc<Pool>, index: u32 },
    /// Somebody else, who keeps them alive and untouched as long as this lives. Never grows, never freed.
    #[cfg_attr(windows, allow(dead_code, reason = "the C face is for Linux"))]
    Borrowed { capacity: usize },
}

/// Uniquely owned bytes: as many as its capacity at `start`, of which the first `len` are initialised.
pub(crate) struct Memory {
    start: NonNull<u8>,
    len: usize,
    /// Knows the capacity: it goes wherever an operation goes, and so is kept small.
    owner: Owner,
}

// SAFETY: `start` is owned by this value alone (or points to immutable static bytes); nothing about it is bound to a thread.
unsafe impl Send for Memory {}
// SAFETY: through a shared reference the bytes can only be read.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn from_vec(vec: Vec<u8>) -> Self {
        let mut vec = ManuallyDrop::new(vec);
        let start = NonNull::new(vec.as_mut_ptr()).expect("a Vec's pointer is never null");
        Self { start, len: vec.len(), owner: Owner::Vec { capacity: vec.capacity() } }
    }

    pub(crate) fn from_static(bytes: &'static [u8]) -> Self {
        Self { start: NonNull::from(bytes).cast(), len: bytes.len(), owner: Owner::Static { capacity: bytes.len() } }
    }

    /// `capacity` bytes of somebody else's, of which the first `len` are initialised.
    ///
    /// # Safety
    /// They stay where they are, and nobody else writes to them (or reads what is written), as long as this lives.
    #[cfg_attr(windows, allow(dead_code, reason = "the C face is for Linux"))]
    pub(crate) unsafe fn borrowed(start: *mut u8, len: usize, capacity: usize) -> Self {
        let start = NonNull::new(start).unwrap_or(NonNull::dangling());
        Self { start, len, owner: Owner::Borrowed { capacity } }
    }

    /// A free buffer of `pool`.
    pub(crate) fn take(pool: &Arc<Pool>) -> Option<Self> {
        let index = pool.free.lock().pop()?;
        // SAFETY: the index was on the free list, and so in nobody's hands.
        Some(unsafe { Self::from_pool(Arc::clone(pool), index) })
    }

    /// Buffer `index` of `pool`.
    ///
    /// # Safety
    /// The index was taken out of the pool ([`Pool::take_many`]) and nobody else holds it.
    pub(crate) unsafe fn from_pool(pool: Arc<Pool>, index: u32) -> Self {
        let start = pool.address(index);
        Self { start, len: 0, owner: Owner::Pool { pool, index } }
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        match &self.owner {
            Owner::Vec { capacity } | Owner::Static { capacity } | Owner::Borrowed { capacity } => *capacity,
            Owner::Pool { pool, .. } => pool.buffer_size,
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialised (field invariant) and live as long as `self`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.make_writable();
        // SAFETY: as in `as_slice`; `&mut self` makes the access exclusive, and the bytes are not the static ones.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends as many of `bytes` as there is room for and says how many; a `Vec`'s memory grows.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> usize {
        self.make_writable();
        if let Owner::Vec { capacity } = self.owner
            && capacity - self.len < bytes.len()
        {
            let mut vec = std::mem::replace(self, Self::from_vec(Vec::new())).into_vec();
            vec.reserve(bytes.len());
            *self = Self::from_vec(vec);
        }
        let n = bytes.len().min(self.capacity() - self.len);
        // SAFETY: `len + n <= capacity`, so the destination is inside the allocation, which `&mut self` makes exclusive;
        // `bytes` is a borrowed slice and cannot overlap it.
        unsafe { self.start.as_ptr().add(self.len).copy_from_nonoverlapping(bytes.as_ptr(), n) };
        self.len += n;
        n
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self.owner {
            Owner::Vec { capacity } => {
                let memory = ManuallyDrop::new(self);
                // SAFETY: start, length and capacity are those of the Vec that `from_vec` took apart (len only ever set to
                // initialised bytes), and `ManuallyDrop` leaves this the only owner.
                unsafe { Vec::from_raw_parts(memory.start.as_ptr(), memory.len, capacity) }
            }
            Owner::Static { .. } | Owner::Pool { .. } | Owner::Borrowed { .. } => self.as_slice().to_vec(),
        }
    }

    /// Where the kernel may write, and how much. Static bytes are left alone: there is new room instead of them.
    pub(crate) fn room(&mut self) -> (*mut u8, usize) {
        if let Owner::Static { capacity } = self.owner {
            *self = Self::from_vec(Vec::with_capacity(capacity));
        }
        (self.start.as_ptr(), self.capacity())
    }

    /// Where the kernel may read, from the byte `from` on, and how much.
    pub(crate) fn filled(&self, from: usize) -> (*const u8, usize) {
        assert!(from <= self.len, "sent {from} of {} bytes", self.len);
        // SAFETY: `from <= len <= capacity`: inside the allocation, or one past its end.
        (unsafe { self.start.as_ptr().add(from) }, self.len - from)
    }

    /// Says that the first `len` bytes have been written.
    ///
    /// # Safety
    /// The kernel, or whoever was given [`Self::room`], has written them.
    pub(crate) unsafe fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "{len} bytes in a buffer of {}", self.capacity());
        self.len = len;
    }

    /// Static bytes are copied before they are written.
    fn make_writable(&mut self) {
        if let Owner::Static { .. } = self.owner {
            *self = Self::from_vec(self.as_slice().to_vec());
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match &self.owner {
            // SAFETY: the parts of the Vec that `from_vec` took apart; length 0, since bytes need no drop.
            Owner::Vec { capacity } => drop(unsafe { Vec::from_raw_parts(self.start.as_ptr(), 0, *capacity) }),
            Owner::Static { .. } | Owner::Borrowed { .. } => {}
            Owner::Pool { pool, index } => pool.give_back(*index), // the one `Memory` of this index ends here
        }
    }
}

/// `count` buffers of `buffer_size` bytes in one allocation, and the list of those that are free.
pub(crate) struct Pool {
    start: NonNull<u8>,
    layout: Layout,
    stride: usize,
    pub(crate) buffer_size: usize,
    pub(crate) count: u32,
    /// Last in, first out: the buffer that was touched last is the one in the cache.
    free: Lock<Vec<u32>>,
    /// Somebody waits for a buffer. Protocol: see `give_back`.
    hungry: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
    /// How many rings have buffers of it.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only rings are given buffers beforehand"))]
    pub(crate) users: AtomicUsize,
}

// SAFETY: the allocation is owned by the pool; its bytes are only reached through a `Memory`, of which there is one an index.
unsafe impl Send for Pool {}
// SAFETY: as above; the lists are behind locks.
unsafe impl Sync for Pool {}

impl Pool {
    pub(crate) fn new(buffer_size: usize, count: u32) -> Self {
        assert!(buffer_size > 0 && count > 0, "a pool has at least one buffer of at least one byte");
        // Buffers a power of two apart would all fall into the same few cache sets; one line more spreads them.
        let stride = buffer_size.next_multiple_of(64) + 64;
        let layout =
            Layout::from_size_align(stride * count as usize, 16).expect("a pool smaller than the address space");
        // SAFETY: the size is not zero (asserted above). Zeroed memory of this size comes fresh from the kernel and
        // takes no room until it is touched.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        super::advise_large_pages(start, layout.size());
        Self {
            start,
            layout,
            stride,
            buffer_size,
            count,
            free: Lock::new((0..count).rev().collect()),
            hungry: AtomicBool::new(false),
            waiting: Mutex::new(Vec::new()),
            users: AtomicUsize::new(0),
        }
    }

    pub(crate) fn address(&self, index: u32) -> NonNull<u8> {
        assert!(index < self.count);
        // SAFETY: `index < count`, so the offset is inside the allocation.
        unsafe { self.start.add(index as usize * self.stride) }
    }

    pub(crate) fn free(&self) -> usize {
        self.free.lock().len()
    }

    /// Moves up to `most` free buffers to `give`.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only rings are given buffers beforehand"))]
    pub(crate) fn take_many(&self, most: usize, mut give: impl FnMut(u32)) {
        let mut free = self.free.lock();
        let keep = free.len().saturating_sub(most);
        free.drain(keep..).rev().for_each(&mut give);
    }

    /// Takes a free buffer.
    #[inline]
    #[cfg_attr(windows, allow(dead_code, reason = "there the system takes them"))]
    pub(crate) fn take_one(&self) -> Option<u32> {
        self.free.lock().pop()
    }

    /// Takes back an index that [`Pool::take_many`] gave, or that a `Memory` held.
    pub(crate) fn give_back(&self, index: u32) {
        self.free.lock().push(index);
        self.tell();
    }

    /// Wakes those who wait for a buffer: one has come back, or has gone to a lane from which it can be had.
    pub(crate) fn tell(&self) {
        // SeqCst on both sides: here "push, then look at `hungry`", in `wake_on_return` "set `hungry`, then look at `free`".
        // One of the two sees the other.
        if self.hungry.load(Ordering::SeqCst) {
            let waiting = {
                let mut waiting = self.waiting.lock();
                self.hungry.store(false, Ordering::SeqCst);
                std::mem::take(&mut *waiting)
            };
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Wakes `waker` when a buffer has come back; at once if one is there.
    pub(crate) fn wake_on_return(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock();
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        drop(waiting);
        self.hungry.store(true, Ordering::SeqCst);
        if self.free() > 0 {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`. Every `Memory` and every ring that holds an index holds an `Arc` of
        // the pool, so none is left.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
