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
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* } from $ended:ident with $result:ident, $operation:pat => $value:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[allow(missing_docs, reason = "the fields say the same everywhere: the handle, the buffer, and the outcome")]
        pub struct $name { $(pub $field: $type,)* }

        impl sealed::Done for $name {
            fn new(ended: Ended) -> Self {
                let $result = ended.result();
                let $ended = ended.unbox();
                match $ended.operation {
                    $operation => $value,
                    _ => unreachable!("an operation ends as what it was started as"),
                }
            }
        }
    )*};
}

ends! {
    /// A connection came in ([`TcpListener::accept`]).
    Accepted { listener: TcpListener, result: Result<TcpStream>, } from ended with result, Operation::Accept { accepted, .. } => Self {
        listener: TcpListener::of(ended.handle),
        result: result.map(|_| TcpStream::from_fd(accepted.expect("an accept that succeeded brings a socket"))),
    };
    /// [`TcpStream::connect`] ended.
    Connected { conn: TcpStream, result: Result<()>, } from ended with result, Operation::Connect { .. } => Self {
        conn: TcpStream::of(ended.handle),
        result: result.map(drop),
    };
    /// Bytes came in. `Ok(0)`: the peer has shut its sending half (or the buffer had no room).
    Received { conn: TcpStream, buffer: Buffer, result: Result<usize>, }
    from ended with result, Operation::Recv { buffer } | Operation::RecvPooled { buffer, .. } => Self {
        conn: TcpStream::of(ended.handle),
        buffer,
        result,
    };
    /// All of `buffer` was accepted by the system, or `result` is an error and the first `sent` bytes were.
    Sent { conn: TcpStream, buffer: Buffer, sent: usize, result: Result<usize>, } from ended with result, Operation::Send { buffer } => Self {
        conn: TcpStream::of(ended.handle),
        buffer,
        sent: ended.moved,
        result,
    };
    /// As [`Sent`], for [`TcpStream::send_vectored`].
    SentVectored { conn: TcpStream, buffers: Vec<Buffer>, sent: usize, result: Result<usize>, }
    from ended with result, Operation::SendVectored { buffers } => Self {
        conn: TcpStream::of(ended.handle),
        buffers,
        sent: ended.moved,
        result,
    };
    /// A datagram came in, from the address in `result`. One that is longer than the buffer fills it, loses the rest and is
    /// [`Error::MORE_DATA`].
    ReceivedFrom { socket: UdpSocket, buffer: Buffer, result: Result<(usize, SocketAddr)>, }
    from ended with result, Operation::RecvFrom { buffer, from } => Self {
        socket: UdpSocket::of(ended.handle),
        buffer,
        result: result.and_then(|bytes| Ok((bytes, *from.ok_or(Error::ADDRESS_FAMILY)?))),
    };
    /// A datagram was sent.
    SentTo { socket: UdpSocket, buffer: Buffer, result: Result<usize>, } from ended with result, Operation::SendTo { buffer, .. } => Self {
        socket: UdpSocket::of(ended.handle),
        buffer,
        result,
    };
    /// [`File::read_at`] ended. At or past the end of the file: [`Error::HANDLE_EOF`].
    Read { file: File, buffer: Buffer, result: Result<usize>, } from ended with result, Operation::ReadAt { buffer, .. } => Self {
        file: File::of(ended.handle),
        buffer,
        result,
    };
    /// [`File::write_at`] ended; as [`Sent`].
    Written { file: File, buffer: Buffer, written: usize, result: Result<usize>, }
    from ended with result, Operation::WriteAt { buffer, .. } => Self {
        file: File::of(ended.handle),
        buffer,
        written: ended.moved,
        result,
    };
    /// [`File::sync`] ended.
    Synced { file: File, result: Result<()>, } from ended with result, Operation::Sync { .. } => Self {
        file: File::of(ended.handle),
        result: result.map(drop),
    };
}
