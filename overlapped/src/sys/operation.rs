//! An operation as data: what is asked for, and how it ended. The same on every platform.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Descriptor, Handle, InFlight, Way};
use crate::{Buffer, BufferPool, Error, Result};

/// Names one operation of a handle, from its start to its end. Never used twice in a process.
///
/// Win32 programs use the address of the `OVERLAPPED` for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub(crate) u64);

impl OperationId {
    /// Of an operation that never started.
    pub(crate) const NONE: Self = Self(0);
}

/// What kind of handle it is, where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(unreachable_pub, reason = "named by a sealed trait, which is public as far as the compiler knows")]
pub enum Kind {
    /// A socket that listens.
    Listener,
    /// A socket that is or will be connected.
    Stream,
    /// A socket of datagrams.
    Datagram,
    /// A file.
    File,
}

/// What is asked for, with the memory that it needs. Kept small: it is moved with each packet.
#[derive(Debug)]
pub(crate) enum Operation {
    /// `accepted`: the connection that it brought.
    Accept {
        standing: bool,
        accepted: Option<Descriptor>,
    },
    Connect {
        address: Box<SocketAddr>,
    },
    Recv {
        buffer: Buffer,
    },
    /// `buffer` is empty until data has arrived.
    RecvPooled {
        pool: BufferPool,
        buffer: Buffer,
    },
    Send {
        buffer: Buffer,
    },
    SendVectored {
        buffers: Vec<Buffer>,
    },
    /// `from` is known at the end.
    RecvFrom {
        buffer: Buffer,
        from: Option<Box<SocketAddr>>,
    },
    /// With flags of the system's. `from` is known at the end.
    #[cfg_attr(windows, allow(dead_code, reason = "the C face is for Linux"))]
    RecvVectored {
        buffers: Vec<Buffer>,
        flags: i32,
        from: Option<Box<SocketAddr>>,
    },
    SendTo {
        buffer: Buffer,
        address: Box<SocketAddr>,
    },
    ReadAt {
        buffer: Buffer,
        offset: u64,
    },
    WriteAt {
        buffer: Buffer,
        offset: u64,
    },
    Sync {
        #[cfg_attr(windows, allow(dead_code, reason = "there all of the file is flushed"))]
        data_only: bool,
    },
}

/// An operation from its start to its end. It owns all memory that the system may touch, and lives until the system has let go of it.
///
/// Each message touches two of these. On Linux one is two cache lines (see the assertion below), and small enough to be moved without a call.
#[allow(unreachable_pub, reason = "named by a sealed trait, which is public as far as the compiler knows")]
pub struct Request {
    pub(crate) id: OperationId,
    pub(crate) handle: Arc<Handle>,
    pub(crate) operation: Operation,
    /// Who is to be told.
    pub(crate) way: Way,
    /// Why it failed.
    pub(crate) error: Option<Error>,
    /// Bytes moved so far, also where it failed; of an operation that succeeded the count that it ended with.
    pub(crate) moved: usize,
    /// What the platform needs meanwhile.
    pub(crate) in_flight: InFlight,
}

/// An operation that has ended.
pub(crate) type Ended = Box<Request>;

impl Request {
    /// Inlined, so that it is made where it stays: what is moved as a whole right after its parts were written makes the processor wait.
    #[inline(always)]
    pub(crate) fn new(handle: &Arc<Handle>, operation: Operation, way: Way) -> Box<Self> {
        Box::write(
            recycle::spare(),
            Self {
                id: OperationId::NONE,
                handle: Arc::clone(handle),
                operation,
                way,
                error: None,
                moved: 0,
                in_flight: InFlight::default(),
            },
        )
    }

    /// What is in the box, whose memory is kept for the next request.
    #[inline(always)]
    pub(crate) fn unbox(self: Box<Self>) -> Self {
        recycle::take(self)
    }

    /// It has ended, with this result.
    #[inline]
    pub(crate) fn end(mut self: Box<Self>, result: Result<usize>) -> Ended {
        self.error = result.err();
        self.moved = result.unwrap_or(self.moved);
        self
    }

    /// How it ended.
    #[inline]
    pub(crate) fn result(&self) -> Result<usize> {
        self.error.map_or(Ok(self.moved), Err)
    }
}

#[cfg(all(unix, target_pointer_width = "64"))]
const _: () = assert!(size_of::<Request>() <= 128);

/// Memory of requests that have ended, for those that start next. A busy server has hundreds under way, and the allocator keeps only a few
/// of a size at hand.
mod recycle {
    use std::cell::RefCell;
    use std::mem::MaybeUninit;

    use super::Request;

    /// How many a thread keeps.
    const MOST: usize = 1024;

    thread_local! {
        #[allow(clippy::vec_box, reason = "the allocation is what is kept")]
        static SPARE: RefCell<Vec<Box<MaybeUninit<Request>>>> = const { RefCell::new(Vec::new()) };
    }

    #[inline]
    pub(super) fn spare() -> Box<MaybeUninit<Request>> {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        spare.unwrap_or_else(Box::new_uninit)
    }

    #[inline(always)]
    pub(super) fn take(request: Box<Request>) -> Request {
        let at = Box::into_raw(request).cast::<MaybeUninit<Request>>();
        // SAFETY: `at` came from a Box of a Request, whose layout MaybeUninit shares; the request is read out once, and the
        // memory is from then on treated as uninitialised.
        let (request, memory) = unsafe { (at.cast::<Request>().read(), Box::from_raw(at)) };
        // A thread that is ending keeps nothing.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST {
                spare.push(memory);
            }
        });
        request
    }
}

/// What a port delivers.
pub(crate) enum Delivered {
    Ended(Ended),
    Posted(Box<dyn Any + Send>),
}
