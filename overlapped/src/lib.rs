//! Overlapped I/O for Linux programs: completion ports as Windows has them, on io_uring.
//!
//! An operation is *started* and runs while the program does something else. Its end is a packet in the queue of a
//! [`CompletionPort`], from which any worker thread takes it. A handler may block: the port then lets another worker
//! run. Every operation ends in exactly one packet, which hands back the handle and the buffer, whatever ended it.
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
//! - [`net`]: TCP and UDP sockets; [`fs`]: files. Their operations are methods of the *associated* handle.
//! - [`Buffer`], [`BufferPool`]: the memory that travels with an operation.
//! - [`Error`]: one type, over a Win32 code.
//!
//! # What it does not do
//! No TLS, no HTTP, no executor. It is not a readiness library: there is nothing to poll.
//! What differs from Windows is listed, with the reason, in `docs/deviations.md` of the repository.

pub mod alertable;
mod buffer;
pub mod done;
mod error;
pub mod event;
pub mod fs;
pub mod net;
mod operation;
mod port;
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
