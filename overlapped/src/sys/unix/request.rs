//! An operation in flight: its data, the kernel-visible memory that it needs, and what a result means for it.

use std::net::SocketAddr;
use std::ptr;

use socket2::{SockAddr, SockAddrStorage};

use super::timers::Moment;
use crate::sys::{Operation, Request};
use crate::{Buffer, BufferPool, Error, Result};

/// The kernel takes at most this many buffers in one call (`UIO_MAXIOV`).
const MOST_BUFFERS: usize = 1024;
/// And at most this many bytes: more is moved in several calls.
pub(super) const MOST_BYTES: usize = 1 << 30;

/// What a request needs besides while it is in flight. It may itself be moved: memory that the kernel touches is elsewhere, in buffers
/// and in the box.
#[derive(Default)]
#[allow(unreachable_pub, reason = "a field of a type that a sealed trait names")]
pub struct InFlight {
    pub(super) deadline: Option<Moment>,
    pub(super) message: Option<Box<Message>>,
    /// The buffer group that the kernel was told to choose from.
    pub(super) group: u16,
    /// Where what it received stands in the stream.
    pub(super) position: u64,
    /// It was in the kernel before.
    pub(super) again: bool,
    /// A connect that goes on by itself, and is only waited for.
    pub(super) connecting: bool,
}

/// A `msghdr` and what it points to. Boxed, so that it does not move while the kernel reads it.
pub(super) struct Message {
    pub(super) header: libc::msghdr,
    pub(super) vector: Vec<libc::iovec>,
    pub(super) address: SockAddrStorage,
    pub(super) address_len: libc::socklen_t,
}

// SAFETY: the pointers point into the message itself and into buffers of the request that owns it, and go wherever it goes.
unsafe impl Send for Message {}

impl Message {
    /// A header over `vector`.
    pub(super) fn new(vector: Vec<libc::iovec>) -> Box<Self> {
        // SAFETY: a msghdr is plain data, for which all zeroes is valid.
        let header = unsafe { std::mem::zeroed() };
        let mut message = Box::new(Self { header, vector, address: SockAddrStorage::zeroed(), address_len: 0 });
        message.header.msg_iov = message.vector.as_mut_ptr();
        message.header.msg_iovlen = message.vector.len() as _;
        message
    }

    /// A header over `vector`, with the address to send to.
    pub(super) fn to(address: SocketAddr, vector: Vec<libc::iovec>) -> Box<Self> {
        let address = SockAddr::from(address);
        let mut message = Self::new(vector);
        message.address_len = address.len();
        message.address = address.as_storage();
        let len = message.address_len;
        message.with_address(len)
    }

    /// Lets the header point to the address, `len` bytes of it.
    pub(super) fn with_address(mut self: Box<Self>, len: libc::socklen_t) -> Box<Self> {
        self.header.msg_name = ptr::from_mut(&mut self.address).cast();
        self.header.msg_namelen = len;
        self
    }

    /// The address that the kernel wrote.
    fn received_from(self) -> Option<SocketAddr> {
        // SAFETY: the storage was zeroed and the kernel wrote `msg_namelen` bytes of a socket address into it.
        unsafe { SockAddr::new(self.address, self.header.msg_namelen) }.as_socket()
    }
}

/// The part of `buffers` behind the first `moved` bytes, as the kernel wants it.
pub(super) fn vector(buffers: &[Buffer], moved: usize) -> Vec<libc::iovec> {
    let mut skip = moved;
    let mut vector = Vec::with_capacity(buffers.len().min(MOST_BUFFERS));
    for buffer in buffers {
        let from = skip.min(buffer.len());
        skip -= from;
        let (start, len) = buffer.0.filled(from);
        if len > 0 && vector.len() < MOST_BUFFERS {
            vector.push(libc::iovec { iov_base: start.cast_mut().cast(), iov_len: len });
        }
    }
    vector
}

/// The room of `buffers`, as the kernel wants it.
pub(super) fn room(buffers: &mut [Buffer]) -> Vec<libc::iovec> {
    let room = |buffer: &mut Buffer| {
        let (start, len) = buffer.0.room();
        libc::iovec { iov_base: start.cast(), iov_len: len }
    };
    buffers.iter_mut().take(MOST_BUFFERS).map(room).collect()
}

/// What a result means.
pub(super) enum Step {
    /// Not done yet: issue it again.
    Again,
    Done(Result<usize>),
}

impl Request {
    /// The pool that it receives from.
    #[inline]
    pub(super) fn pool(&self) -> Option<&BufferPool> {
        match &self.operation {
            Operation::RecvPooled { pool, .. } => Some(pool),
            _ => None,
        }
    }

    pub(super) fn is_standing_accept(&self) -> bool {
        matches!(self.operation, Operation::Accept { standing: true, .. })
    }

    /// How many bytes it is to send or write in all.
    fn to_move(&self) -> usize {
        match &self.operation {
            Operation::Send { buffer } | Operation::WriteAt { buffer, .. } => buffer.len(),
            Operation::SendVectored { buffers } => buffers.iter().map(|buffer| buffer.len()).sum(),
            _ => 0,
        }
    }

    /// Whether it is a send of one buffer, and `result` says that what was left of it has gone.
    #[inline]
    pub(super) fn sends_rest(&self, result: i32) -> bool {
        matches!(&self.operation, Operation::Send { buffer } if result > 0 && self.moved + result as usize == buffer.len())
    }

    /// What the kernel's `result` (a count, or a negative errno) means for this operation.
    pub(super) fn advance(&mut self, result: i32) -> Step {
        if let Operation::Connect { .. } = self.operation {
            return self.connected(result);
        }
        let moved = match result {
            0.. => result as usize,
            // The kernel asks to try again: a signal came in between.
            _ if result == -libc::EINTR => return Step::Again,
            _ => return Step::Done(Err(Error::from_errno(-result))),
        };
        match &mut self.operation {
            Operation::Send { .. } | Operation::SendVectored { .. } | Operation::WriteAt { .. } => {
                self.moved += moved;
                let to_move = self.to_move();
                assert!(self.moved <= to_move, "the kernel moved {} of {to_move} bytes", self.moved);
                match moved {
                    // Nothing went although something was left: no second try could end otherwise.
                    0 if self.moved < to_move => Step::Done(Err(Error::IO_DEVICE)),
                    _ if self.moved < to_move => Step::Again,
                    _ => Step::Done(Ok(to_move)),
                }
            }
            // It only waited; `result` is poll's mask.
            Operation::Recv { buffer } if buffer.capacity() == 0 => {
                Step::Done(if result & i32::from(libc::POLLERR) != 0 { Err(Error::NETNAME_DELETED) } else { Ok(0) })
            }
            Operation::Recv { buffer } => {
                // SAFETY: the kernel wrote `moved` bytes into the room that `recv` was given.
                unsafe { buffer.0.set_len(moved) };
                self.moved = moved;
                Step::Done(Ok(moved))
            }
            Operation::RecvFrom { buffer, from } => {
                let message = self.in_flight.message.take().expect("a recvmsg has a message");
                let cut = message.header.msg_flags & libc::MSG_TRUNC != 0;
                // SAFETY: the kernel wrote `moved` bytes into the room that the message's vector named; without MSG_TRUNC
                // among the call's flags it counts only what it wrote.
                unsafe { buffer.0.set_len(moved) };
                *from = message.received_from().map(Box::new);
                self.moved = moved;
                Step::Done(if cut { Err(Error::MORE_DATA) } else { Ok(moved) })
            }
            Operation::RecvVectored { from, .. } => {
                let message = self.in_flight.message.take().expect("a recvmsg has a message");
                let cut = message.header.msg_flags & libc::MSG_TRUNC != 0;
                *from = message.received_from().map(Box::new);
                self.moved = moved;
                Step::Done(if cut { Err(Error::MORE_DATA) } else { Ok(moved) })
            }
            Operation::ReadAt { buffer, .. } => {
                let room = buffer.capacity();
                // SAFETY: the kernel wrote `moved` bytes into the room that `read` was given.
                unsafe { buffer.0.set_len(moved) };
                self.moved = moved;
                Step::Done(if moved == 0 && room > 0 { Err(Error::HANDLE_EOF) } else { Ok(moved) })
            }
            // The engine has put the buffer there.
            Operation::RecvPooled { .. } | Operation::SendTo { .. } => {
                self.moved = moved;
                Step::Done(Ok(moved))
            }
            Operation::Accept { .. } | Operation::Connect { .. } | Operation::Sync { .. } => Step::Done(Ok(moved)),
        }
    }

    /// What a result means for a connect. What had been begun goes on although the request was taken out of the kernel: a second one
    /// is told so, and then waits for the outcome.
    fn connected(&mut self, result: i32) -> Step {
        match -result {
            0 => Step::Done(Ok(0)),
            libc::EINTR => Step::Again,
            libc::EALREADY if self.in_flight.again => {
                self.in_flight.connecting = true;
                Step::Again
            }
            libc::EISCONN if self.in_flight.again => Step::Done(Ok(0)),
            ..0 if self.in_flight.connecting => Step::Done(self.handle.pending_error().map_or(Ok(0), Err)), // poll's mask
            errno => Step::Done(Err(Error::from_errno(errno))),
        }
    }
}
