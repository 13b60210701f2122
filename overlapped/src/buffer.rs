//! Buffers that travel: into an operation, through the kernel, and back with the completion.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::sys::memory::{Memory, Pool};
use crate::{Error, Result};

/// Bytes that an operation takes and its completion gives back.
///
/// It reads as a slice of the bytes that are *in* it. A receive fills it from the start, up to its
/// [`capacity`](Self::capacity), whatever was in it before; a send sends what is in it.
///
/// A buffer comes from a [`BufferPool`], a `Vec<u8>` or a static slice. Win32 calls it `WSABUF`, and there the
/// program has to keep it alive and untouched until the operation has ended; here it is moved, and nobody can touch it.
///
/// ```
/// use overlapped::Buffer;
///
/// let mut buffer = Buffer::with_capacity(16);
/// buffer.extend_from_slice(b"hello")?;
/// assert_eq!((&buffer[..], buffer.capacity()), (&b"hello"[..], 16));
/// assert_eq!(buffer.into_vec(), b"hello");
/// # overlapped::Result::Ok(())
/// ```
pub struct Buffer(pub(crate) Memory);

impl Buffer {
    /// An empty buffer without room, which costs no allocation.
    pub fn empty() -> Self {
        Self(Memory::from_static(&[]))
    }

    /// An empty buffer with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Memory::from_vec(Vec::with_capacity(bytes)))
    }

    /// How many bytes it has room for. A receive fills at most these.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Keeps the first `bytes` bytes.
    pub fn truncate(&mut self, bytes: usize) {
        self.0.truncate(bytes);
    }

    /// Takes all bytes out; the room stays.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// The same buffer, emptied: `conn.recv(buffer.cleared())`.
    #[must_use]
    pub fn cleared(mut self) -> Self {
        self.clear();
        self
    }

    /// Appends `bytes`. A buffer from a `Vec` grows; one from a pool does not.
    ///
    /// # Errors
    /// [`Error::INSUFFICIENT_BUFFER`] if they do not fit into a pool's buffer; nothing is appended then.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<()> {
        let len = self.len();
        if self.0.append(bytes) == bytes.len() {
            return Ok(());
        }
        self.truncate(len);
        Err(Error::INSUFFICIENT_BUFFER)
    }

    /// The bytes as a `Vec`: without a copy if the buffer came from one.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl DerefMut for Buffer {
    /// The bytes that are in it, to be changed. A static slice is copied first.
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }
}

impl io::Write for Buffer {
    /// Appends what there is room for.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.append(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.len(), self.capacity())
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(vec: Vec<u8>) -> Self {
        Self(Memory::from_vec(vec))
    }
}

impl From<&'static [u8]> for Buffer {
    fn from(bytes: &'static [u8]) -> Self {
        Self(Memory::from_static(bytes))
    }
}

impl From<&'static str> for Buffer {
    fn from(text: &'static str) -> Self {
        text.as_bytes().into()
    }
}

impl<const N: usize> From<&'static [u8; N]> for Buffer {
    fn from(bytes: &'static [u8; N]) -> Self {
        bytes[..].into()
    }
}

/// A fixed number of buffers of one size, lent out and taken back when they are dropped.
///
/// With [`recv_pooled`](crate::Associated::recv_pooled) a buffer is taken only when data has arrived, so a thousand idle
/// connections need none. An empty pool delays such a receive until a buffer comes back; it fails nothing, drops
/// nothing and disturbs no other connection.
///
/// A port with several lanes (see [`Concurrency`](crate::Concurrency)) shares the pool out among them: give it some dozens
/// of buffers a lane. Cloning is cheap and names the same pool.
///
/// On io_uring the pool becomes a provided-buffer ring
/// ([`io_uring_register_buf_ring(3)`](https://man7.org/linux/man-pages/man3/io_uring_register_buf_ring.3.html)).
///
/// ```
/// use overlapped::BufferPool;
///
/// let pool = BufferPool::new(4096, 2)?;
/// let (a, b) = (pool.take(), pool.take());
/// assert!(a.is_some() && b.is_some() && pool.take().is_none());
/// drop(a);
/// assert_eq!(pool.available(), 1);
/// # overlapped::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct BufferPool(pub(crate) Arc<Pool>);

impl BufferPool {
    /// The most buffers that a pool can have: what one ring of the kernel holds.
    pub const MAX_BUFFERS: usize = 32_768;

    /// A pool of `count` buffers of `buffer_size` bytes each. Memory is used as buffers are first filled.
    ///
    /// # Errors
    /// [`Error::INVALID_PARAMETER`] if `buffer_size` is 0 or above 1 GiB, or `count` is 0 or above [`Self::MAX_BUFFERS`].
    pub fn new(buffer_size: usize, count: usize) -> Result<Self> {
        if !(1..=1 << 30).contains(&buffer_size) || !(1..=Self::MAX_BUFFERS).contains(&count) {
            return Err(Error::INVALID_PARAMETER);
        }
        Ok(Self(Arc::new(Pool::new(buffer_size, count as u32))))
    }

    /// An empty buffer of the pool, or `None` if all are in use.
    pub fn take(&self) -> Option<Buffer> {
        Memory::take(&self.0).map(Buffer)
    }

    /// The room of each buffer, in bytes.
    pub fn buffer_size(&self) -> usize {
        self.0.buffer_size
    }

    /// How many buffers the pool has in all.
    pub fn count(&self) -> usize {
        self.0.count as usize
    }

    /// How many buffers lie in the pool: neither lent out nor set aside for the kernel to receive into.
    pub fn available(&self) -> usize {
        self.0.free()
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BufferPool({} of {} buffers of {} bytes free)", self.available(), self.count(), self.buffer_size())
    }
}
