//! Overlapped I/O for Linux programs, as Windows has it: completion ports, completion routines, events; on io_uring.
//!
//! An operation is *started* and runs while the program does something else. Every operation has exactly one end, which hands back the
//! handle and the buffer, whatever ended it. There are four ways to hear of it:
//!
//! - a packet in the queue of a [`CompletionPort`], from which any worker thread takes it. A handler may block: the port then lets
//!   another worker run;
//! - a routine ([`Operation::then`]), called on the thread that started the operation, in an [`alertable`] wait;
//! - an [`Event`] ([`Operation::signal`]) that threads wait for;
//! - a future: `.await`, under any executor or under [`alertable::block_on`].
//!
//! ```
//! use overlapped::net::{TcpListener, TcpStream};
//! use overlapped::{BufferPool, CompletionPort, Concurrency, Packet};
//! use std::io::{Read, Write};
//!
//! # fn main() -> overlapped::Result<()> {
//! let port = CompletionPort::new(Concurrency::Processors)?;
//! let pool = BufferPool::new(4096, 64)?;
//! let listener = port.associate(TcpListener::bind("127.0.0.1:0")?, ())?;
//! let address = listener.local_addr()?;
//! listener.accept_each()?;
//!
//! std::thread::scope(|scope| {
//!     scope.spawn(|| {
//!         let mut client = std::net::TcpStream::connect(address).unwrap();
//!         client.write_all(b"hello").unwrap();
//!         let mut echo = [0; 5];
//!         client.read_exact(&mut echo).unwrap();
//!         assert_eq!(&echo, b"hello");
//!         port.close(); // `run` returns
//!     });
//!     port.run(2, |packet| {
//!         match packet {
//!             Packet::Accepted { result, .. } => {
//!                 port.associate(result?, ())?.recv_pooled(&pool)?;
//!             }
//!             Packet::Received { result: Ok(0) | Err(_), .. } => {} // the last owner is dropped: closed
//!             Packet::Received { conn, buffer, .. } => {
//!                 conn.send(buffer)?;
//!             }
//!             Packet::Sent { conn, .. } => {
//!                 conn.recv_pooled(&pool)?;
//!             }
//!             _ => {}
//!         }
//!         Ok(())
//!     })
//! })
//! # }
//! ```
//!
//! # What is where
//! - [`CompletionPort`], [`Packet`], [`Associated`]: the port, what it delivers, and a handle that delivers to it.
//! - [`net`]: TCP and UDP sockets; [`fs`]: files. Operations of a free handle give an [`Operation`], which ends in one of the types
//!   in [`done`]; those of an associated one have the same names, start at once and end in a packet.
//! - [`alertable`]: waits in which routines run, APCs; [`event`]: events and waits for them.
//! - [`Buffer`], [`BufferPool`]: the memory that travels with an operation.
//! - [`Error`]: one type, over a Win32 code.
//!
//! # What it does not do
//! No TLS, no HTTP, no executor (`block_on` runs one future). It is not a readiness library: there is nothing to poll.
//! The feature `tracing` tells that crate what becomes of each operation: `docs/tracing.md` of the repository.
//! What differs from Windows is listed, with the reason, in `docs/deviations.md` of the repository.

pub mod alertable;
mod buffer;
pub mod done;
pub mod engine;
mod error;
pub mod event;
pub mod fs;
pub mod net;
mod operation;
mod port;
#[doc(hidden)]
pub mod raw;
mod sync;
// The one place that may hold `unsafe`: each block there states the fact that makes it sound.
#[allow(unsafe_code)]
mod sys;
mod trace;

pub use buffer::{Buffer, BufferPool};
pub use error::{Error, Result};
pub use event::Event;
pub use operation::{Completion, Operation, Pending};
pub use port::{Associated, Builder, CompletionPort, Concurrency, Overlapped, Packet};
pub use sys::OperationId;
