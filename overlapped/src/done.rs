//! How operations of free handles end: one type each, which hands back the handle and the buffer.
//!
//! They have the names and fields of the variants of [`Packet`](crate::Packet), which is how operations of associated handles
//! end. `result` is what `GetOverlappedResult` tells: the bytes, or the error.

use std::net::SocketAddr;

use crate::fs::File;
use crate::net::{TcpListener, TcpStream, UdpSocket};
use crate::sys::{Ended, Operation};
use crate::{Buffer, Error, Result};

/// An end of an operation.
///
/// Sealed: the types of this module are all there are.
pub trait Done: sealed::Done {}

impl<T: sealed::Done> Done for T {}

pub(crate) mod sealed {
    use crate::sys::Ended;

    pub trait Done: Send + 'static {
        fn new(ended: Ended) -> Self;
    }
}

macro_rules! ends {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* } from $handle:ident with $result:ident, $moved:ident, $operation:pat => $value:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[allow(missing_docs, reason = "the fields say the same everywhere: the handle, the buffer, and the outcome")]
        pub struct $name { $(pub $field: $type,)* }

        impl sealed::Done for $name {
            fn new(ended: Ended) -> Self {
                #[allow(unused_variables, reason = "most say nothing of their own")]
                let ($result, $moved) = (ended.result(), ended.moved);
                ended.dissolve(|$handle, operation| match operation {
                    $operation => $value,
                    _ => unreachable!("an operation ends as what it was started as"),
                })
            }
        }
    )*};
}

ends! {
    /// A connection came in ([`TcpListener::accept`]).
    Accepted { listener: TcpListener, result: Result<TcpStream>, } from handle with result, moved, Operation::Accept { accepted, .. } => Self {
        listener: TcpListener::of(handle),
        result: result.map(|_| TcpStream::from_fd(accepted.expect("an accept that succeeded brings a socket"))),
    };
    /// [`TcpStream::connect`] ended.
    Connected { conn: TcpStream, result: Result<()>, } from handle with result, moved, Operation::Connect { .. } => Self {
        conn: TcpStream::of(handle),
        result: result.map(drop),
    };
    /// Bytes came in. `Ok(0)`: the peer has shut its sending half (or the buffer had no room).
    Received { conn: TcpStream, buffer: Buffer, result: Result<usize>, }
    from handle with result, moved, Operation::Recv { buffer } | Operation::RecvPooled { buffer, .. } => Self {
        conn: TcpStream::of(handle),
        buffer,
        result,
    };
    /// All of `buffer` was accepted by the system, or `result` is an error and the first `sent` bytes were.
    Sent { conn: TcpStream, buffer: Buffer, sent: usize, result: Result<usize>, } from handle with result, moved, Operation::Send { buffer } => Self {
        conn: TcpStream::of(handle),
        buffer,
        sent: moved,
        result,
    };
    /// As [`Sent`], for [`TcpStream::send_vectored`].
    SentVectored { conn: TcpStream, buffers: Vec<Buffer>, sent: usize, result: Result<usize>, }
    from handle with result, moved, Operation::SendVectored { buffers } => Self {
        conn: TcpStream::of(handle),
        buffers,
        sent: moved,
        result,
    };
    /// A datagram came in, from the address in `result`. One that is longer than the buffer fills it, loses the rest and is
    /// [`Error::MORE_DATA`].
    ReceivedFrom { socket: UdpSocket, buffer: Buffer, result: Result<(usize, SocketAddr)>, }
    from handle with result, moved, Operation::RecvFrom { buffer, from } => Self {
        socket: UdpSocket::of(handle),
        buffer,
        result: result.and_then(|bytes| Ok((bytes, *from.ok_or(Error::ADDRESS_FAMILY)?))),
    };
    /// A datagram was sent.
    SentTo { socket: UdpSocket, buffer: Buffer, result: Result<usize>, } from handle with result, moved, Operation::SendTo { buffer, .. } => Self {
        socket: UdpSocket::of(handle),
        buffer,
        result,
    };
    /// [`File::read_at`] ended. At or past the end of the file: [`Error::HANDLE_EOF`].
    Read { file: File, buffer: Buffer, result: Result<usize>, } from handle with result, moved, Operation::ReadAt { buffer, .. } => Self {
        file: File::of(handle),
        buffer,
        result,
    };
    /// [`File::write_at`] ended; as [`Sent`].
    Written { file: File, buffer: Buffer, written: usize, result: Result<usize>, }
    from handle with result, moved, Operation::WriteAt { buffer, .. } => Self {
        file: File::of(handle),
        buffer,
        written: moved,
        result,
    };
    /// [`File::sync`] ended.
    Synced { file: File, result: Result<()>, } from handle with result, moved, Operation::Sync { .. } => Self {
        file: File::of(handle),
        result: result.map(drop),
    };
}
