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
/// Each message touches two of these. On Linux one is two cache lines (see the assertion below).
#[repr(align(64))]
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
    pub(crate) fn new(handle: Arc<Handle>, operation: Operation, way: Way) -> Box<Self> {
        let memory = recycle::spare();
        Box::write(
            memory,
            Self {
                id: OperationId::NONE,
                handle,
                operation,
                way,
                error: None,
                moved: 0,
                in_flight: InFlight::default(),
            },
        )
    }

    /// Makes something of its handle and its operation, which are copied once only; its memory is kept for the next request.
    #[inline(always)]
    pub(crate) fn dissolve<R>(self: Box<Self>, make: impl FnOnce(Arc<Handle>, Operation) -> R) -> R {
        recycle::dissolve(self, make)
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
pub(super) mod recycle {
    use std::cell::RefCell;
    use std::mem::MaybeUninit;
    use std::ptr::{self, NonNull};

    use super::{Arc, Handle, Operation, Request};

    /// How many a thread keeps.
    const MOST: usize = 1024;

    thread_local! {
        static SPARE: Spare<Request> = const { Spare::new() };
    }

    /// Memory for values of one type.
    #[allow(clippy::vec_box, reason = "the allocation is what is kept")]
    pub(crate) struct Spare<T>(RefCell<Vec<Box<MaybeUninit<T>>>>);

    impl<T> Spare<T> {
        pub(crate) const fn new() -> Self {
            Self(RefCell::new(Vec::new()))
        }

        #[inline(always)]
        pub(crate) fn take(&self) -> Option<Box<MaybeUninit<T>>> {
            self.0.try_borrow_mut().ok()?.pop()
        }

        #[inline(always)]
        pub(crate) fn keep(&self, memory: Box<MaybeUninit<T>>) {
            match self.0.try_borrow_mut() {
                Ok(mut spare) if spare.len() < MOST => spare.push(memory),
                _ => {}
            }
        }

        /// Drops what is in the box, and keeps its memory.
        #[cfg_attr(windows, allow(dead_code, reason = "the C face is for Linux"))]
        #[inline(always)]
        pub(crate) fn empty(&self, full: Box<T>) {
            let at = Box::into_raw(full);
            // SAFETY: `at` came from a Box, and what is in it is dropped once: from then on the memory is uninitialised. MaybeUninit has
            // the layout of what it may hold.
            let memory = unsafe {
                ptr::drop_in_place(at);
                Box::from_raw(at.cast::<MaybeUninit<T>>())
            };
            self.keep(memory);
        }
    }

    /// Cannot unwind, so that what is to lie in it need not be kept elsewhere for that case.
    #[inline(always)]
    pub(super) fn spare() -> Box<MaybeUninit<Request>> {
        SPARE.try_with(Spare::take).ok().flatten().unwrap_or_else(|| new())
    }

    #[cold]
    extern "C" fn new() -> Box<MaybeUninit<Request>> {
        Box::new_uninit()
    }

    #[inline(always)]
    pub(super) fn dissolve<R>(request: Box<Request>, make: impl FnOnce(Arc<Handle>, Operation) -> R) -> R {
        let rest = Rest(Box::leak(request).into());
        let at = rest.0.as_ptr();
        // SAFETY: both are read out once, and neither used nor dropped there: see `Rest`.
        let (handle, operation) = unsafe { ((&raw const (*at).handle).read(), (&raw const (*at).operation).read()) };
        make(handle, operation) // right where it is wanted: the rest goes afterwards
    }

    /// What is left of a request whose handle and operation have been read out.
    struct Rest(NonNull<Request>);

    impl Drop for Rest {
        #[inline(always)]
        fn drop(&mut self) {
            let at = self.0.as_ptr();
            // SAFETY: `at` came from a Box, and nobody else has it. The two fields are dropped once and, like the others, not used again,
            // so that the memory is uninitialised from then on; its layout is the same.
            let memory = unsafe {
                ptr::drop_in_place(&raw mut (*at).way);
                ptr::drop_in_place(&raw mut (*at).in_flight);
                Box::from_raw(at.cast::<MaybeUninit<Request>>())
            };
            let _ = SPARE.try_with(|spare| spare.keep(memory)); // a thread that is ending keeps nothing
        }
    }
}

/// What a port delivers.
pub(crate) enum Delivered {
    Ended(Ended),
    Posted(Box<dyn Any + Send>),
}
