//! TCP and UDP sockets.
//!
//! A socket has operations in two forms. Those of the free socket give an [`Operation`], which says itself how its end is to be
//! announced: by a routine, an event, or a future. A socket that is associated with a port has the same by the same names, and their
//! ends are packets of the port. Two receives posted on one stream are filled in the order in which they were posted, and sends leave in the
//! order in which they were started, however many threads took part.
//!
//! A free socket can be cloned, which is cheap, and names the same socket. It is closed when its last owner is dropped; an operation
//! in flight is one.
//!
//! Win32: Winsock's overlapped calls. Options of a socket: `options`, with the whole of [`socket2`].

use std::io;
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::done::{Accepted, Connected, Received, ReceivedFrom, Sent, SentTo, SentVectored};
use crate::port::free_handle;
use crate::port::sealed::Sealed;
use crate::sys::{self, Descriptor, Kind, OperationId};
use crate::{Associated, Buffer, BufferPool, Error, Operation, Result};

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// So long the address of a listener may still become free on Linux. A process that is killed leaves its rings to the kernel, which takes them
/// apart a little later, and the listeners whose accepts are in them keep their addresses until then.
const PATIENCE: Duration = Duration::from_millis(if cfg!(target_os = "linux") { 400 } else { 0 });

/// A TCP socket that listens for connections.
#[derive(Clone, Debug)]
pub struct TcpListener(Arc<sys::Handle>);

/// A TCP connection, or a socket that is about to become one ([`TcpStream::unconnected`]).
#[derive(Clone, Debug)]
pub struct TcpStream(Arc<sys::Handle>);

/// A UDP socket.
#[derive(Clone, Debug)]
pub struct UdpSocket(Arc<sys::Handle>);

/// Makes a socket for the first address that works.
fn bind(
    address: impl ToSocketAddrs,
    kind: Type,
    protocol: Protocol,
    ready: impl Fn(&Socket) -> io::Result<()>,
) -> Result<Socket> {
    let mut failure = Error::INVALID_PARAMETER; // no address at all
    for address in address.to_socket_addrs()? {
        let attempt = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
            if address.is_ipv6() {
                // `[::]` serves IPv4 as well; a single address has only one family.
                socket.set_only_v6(!address.ip().is_unspecified())?;
            }
            if kind == Type::STREAM {
                socket.set_reuse_address(cfg!(unix))?; // restart at once; on Windows the option would mean port theft
            }
            socket.bind(&address.into())?;
            ready(&socket)?;
            Ok(socket)
        };
        let begun = Instant::now();
        loop {
            match attempt() {
                Ok(socket) => return Ok(socket),
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && kind == Type::STREAM
                        && begun.elapsed() < PATIENCE =>
                {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) => {
                    failure = io::Error::into(error);
                    break;
                }
            }
        }
    }
    Err(failure)
}

impl TcpListener {
    /// Listens on `address`, the first that works if it resolves to several. Port 0 picks a free one. `[::]` is dual stack:
    /// it takes IPv4 connections too.
    ///
    /// On Linux an address that is in use is tried again for up to 0.4 s, which this call then takes: a server that was killed may hold it
    /// some milliseconds longer than it lives, and its successor should not fail for that.
    ///
    /// Win32: `WSASocket`, `bind`, `listen`. For another way of making one, use `From<socket2::Socket>`.
    ///
    /// # Errors
    /// [`Error::ADDRESS_IN_USE`], [`Error::ADDRESS_NOT_AVAILABLE`], [`Error::ACCESS_DENIED`] for a privileged port.
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self> {
        bind(address, Type::STREAM, Protocol::TCP, |socket| socket.listen(BACKLOG)).map(Self::from)
    }

    /// Accepts one connection: [`Accepted`]. Several may be outstanding.
    ///
    /// Win32: [`AcceptEx`](https://learn.microsoft.com/en-us/windows/win32/api/mswsock/nf-mswsock-acceptex), which needs a
    /// socket made beforehand; here the connection's socket comes with the end.
    pub fn accept(&self) -> Operation<Accepted> {
        Operation::new(&self.0, sys::Operation::Accept { standing: false, accepted: None })
    }
}

impl TcpStream {
    /// A socket of the family of `address`, to be connected ([`connect`](Self::connect)).
    ///
    /// # Errors
    /// [`Error::TOO_MANY_OPEN_FILES`], [`Error::ADDRESS_FAMILY`].
    pub fn unconnected(address: SocketAddr) -> Result<Self> {
        Ok(Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?.into())
    }

    pub(crate) fn from_fd(fd: Descriptor) -> Self {
        Self(sys::Handle::new(fd, Kind::Stream))
    }

    /// Connects to `address`: [`Connected`]. Sends started meanwhile wait for it.
    ///
    /// Win32: [`ConnectEx`](https://learn.microsoft.com/en-us/windows/win32/api/mswsock/nc-mswsock-lpfn_connectex).
    pub fn connect(&self, address: SocketAddr) -> Operation<Connected> {
        Operation::new(&self.0, sys::Operation::Connect { address: Box::new(address) })
    }

    /// Receives what is there, up to the buffer's capacity: [`Received`].
    ///
    /// Several may be outstanding; they are filled in the order in which they were started. A buffer without room waits until data, or the
    /// end, is there and takes none of it.
    ///
    /// Win32: [`WSARecv`](https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-wsarecv).
    pub fn recv(&self, buffer: Buffer) -> Operation<Received> {
        Operation::new(&self.0, sys::Operation::Recv { buffer })
    }

    /// Receives into a buffer of `pool`, taken only when data is there: [`Received`].
    ///
    /// If the receive ends without data (an error, or the peer's end) the buffer that comes back is empty and not of the pool.
    pub fn recv_pooled(&self, pool: &BufferPool) -> Operation<Received> {
        Operation::new(&self.0, sys::Operation::RecvPooled { pool: pool.clone(), buffer: Buffer::empty() })
    }

    /// Sends all of `buffer`: [`Sent`], when the system has accepted every byte.
    ///
    /// Several may be outstanding; they leave in the order in which they were started.
    ///
    /// Win32: [`WSASend`](https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-wsasend).
    pub fn send(&self, buffer: Buffer) -> Operation<Sent> {
        Operation::new(&self.0, sys::Operation::Send { buffer })
    }

    /// Sends all of several buffers, in order and without gaps: [`SentVectored`].
    ///
    /// Win32: `WSASend` with several `WSABUF`.
    pub fn send_vectored(&self, buffers: Vec<Buffer>) -> Operation<SentVectored> {
        Operation::new(&self.0, sys::Operation::SendVectored { buffers })
    }
}

/// What a stream has besides operations, with a port or without.
macro_rules! stream {
    ($stream:ty $(, $key:ident)?) => {
        impl$(<$key: 'static>)? $stream {
            /// Shuts a half of the connection. The sending half is shut behind the sends that are outstanding; one started later
            /// ends with [`Error::SHUTDOWN`]. It has no completion.
            ///
            /// Win32: [`shutdown`](https://learn.microsoft.com/en-us/windows/win32/api/winsock/nf-winsock-shutdown).
            ///
            /// # Errors
            /// [`Error::NOT_CONNECTED`]; [`Error::INVALID_HANDLE`] if the handle was closed.
            pub fn shutdown(&self, how: Shutdown) -> Result<()> {
                self.handle().shutdown(how)
            }

            /// Sends small pieces at once instead of waiting to fill a segment (`TCP_NODELAY`).
            ///
            /// # Errors
            /// What `setsockopt` says; [`Error::INVALID_HANDLE`] if the handle was closed.
            pub fn set_nodelay(&self, nodelay: bool) -> Result<()> {
                self.options(|socket| socket.set_tcp_nodelay(nodelay))
            }

            /// The other side's address.
            ///
            /// # Errors
            /// [`Error::NOT_CONNECTED`]; [`Error::INVALID_HANDLE`] if the handle was closed.
            pub fn peer_addr(&self) -> Result<SocketAddr> {
                self.options(|socket| socket.peer_addr())?.as_socket().ok_or(Error::ADDRESS_FAMILY)
            }
        }
    };
}

stream!(TcpStream);
stream!(Associated<TcpStream, K>, K);

impl UdpSocket {
    /// A socket bound to `address`; `[::]` is dual stack.
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self> {
        bind(address, Type::DGRAM, Protocol::UDP, |_| Ok(())).map(Self::from)
    }

    /// Receives one datagram: [`ReceivedFrom`].
    ///
    /// Win32: [`WSARecvFrom`](https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-wsarecvfrom).
    pub fn recv_from(&self, buffer: Buffer) -> Operation<ReceivedFrom> {
        Operation::new(&self.0, sys::Operation::RecvFrom { buffer, from: None })
    }

    /// Sends one datagram: [`SentTo`].
    ///
    /// Win32: [`WSASendTo`](https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-wsasendto).
    pub fn send_to(&self, buffer: Buffer, address: SocketAddr) -> Operation<SentTo> {
        Operation::new(&self.0, sys::Operation::SendTo { buffer, address: Box::new(address) })
    }
}

/// What every socket has besides operations, with a port or without.
macro_rules! socket {
    ($socket:ty $(, $key:ident)?) => {
        impl$(<$key: 'static>)? $socket {
            /// Looks at or changes the options of the socket.
            ///
            /// ```
            /// # use overlapped::net::UdpSocket;
            /// # let socket = UdpSocket::bind("127.0.0.1:0")?;
            /// socket.options(|socket| socket.set_recv_buffer_size(1 << 20))?;
            /// # overlapped::Result::Ok(())
            /// ```
            ///
            /// # Errors
            /// What `options` returns; [`Error::INVALID_HANDLE`] if the handle was closed.
            pub fn options<T>(&self, options: impl FnOnce(SockRef<'_>) -> io::Result<T>) -> Result<T> {
                self.handle().with_descriptor(|fd| Ok(options(SockRef::from(fd))?))
            }

            /// This side's address.
            ///
            /// # Errors
            /// What `getsockname` says; [`Error::INVALID_HANDLE`] if the handle was closed.
            pub fn local_addr(&self) -> Result<SocketAddr> {
                self.options(|socket| socket.local_addr())?.as_socket().ok_or(Error::ADDRESS_FAMILY)
            }
        }
    };
}

macro_rules! sockets {
    ($($socket:ident, $kind:ident, $std:ty;)*) => {$(
        free_handle!($socket);
        socket!($socket);
        socket!(Associated<$socket, K>, K);

        impl Sealed for $socket {
            fn into_handle(self) -> Arc<sys::Handle> {
                self.0
            }
        }

        impl From<Socket> for $socket {
            /// Takes over a socket that was made and set up elsewhere.
            fn from(socket: Socket) -> Self {
                Self(sys::Handle::new(socket.into(), Kind::$kind))
            }
        }

        impl From<$std> for $socket {
            fn from(socket: $std) -> Self {
                Socket::from(socket).into()
            }
        }
    )*};
}

sockets! {
    TcpListener, Listener, std::net::TcpListener;
    TcpStream, Stream, std::net::TcpStream;
    UdpSocket, Datagram, std::net::UdpSocket;
}

impl<K: 'static> Associated<TcpListener, K> {
    /// Accepts one connection: [`Packet::Accepted`](crate::Packet::Accepted). Several may be outstanding.
    ///
    /// Win32: [`AcceptEx`](https://learn.microsoft.com/en-us/windows/win32/api/mswsock/nf-mswsock-acceptex), which needs a
    /// socket made beforehand; here the connection's socket comes with the packet.
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn accept(&self) -> Result<OperationId> {
        self.start(sys::Operation::Accept { standing: false, accepted: None })
    }

    /// Accepts connections until it is cancelled or the listener closed: a packet each, and a last one, in which `more` is
    /// false, with the error that ended it. A connection that failed on its way in is reported and does not end it; a shortage
    /// of descriptors or memory does, so that the program can decide when to try again.
    ///
    /// Linux: multishot accept, which is one request for all connections.
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn accept_each(&self) -> Result<OperationId> {
        self.start(sys::Operation::Accept { standing: true, accepted: None })
    }
}

impl<K: 'static> Associated<TcpStream, K> {
    /// Connects to `address`: [`Packet::Connected`](crate::Packet::Connected). Sends started meanwhile wait for it.
    ///
    /// Win32: [`ConnectEx`](https://learn.microsoft.com/en-us/windows/win32/api/mswsock/nc-mswsock-lpfn_connectex).
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn connect(&self, address: SocketAddr) -> Result<OperationId> {
        self.start(sys::Operation::Connect { address: Box::new(address) })
    }

    /// Receives what is there, up to the buffer's capacity: [`Packet::Received`](crate::Packet::Received).
    ///
    /// Several may be outstanding; they are filled in the order of the calls. A buffer without room waits until data, or the
    /// end, is there and takes none of it.
    ///
    /// Win32: [`WSARecv`](https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-wsarecv).
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn recv(&self, buffer: Buffer) -> Result<OperationId> {
        self.start(sys::Operation::Recv { buffer })
    }

    /// Receives into a buffer of `pool`, taken only when data is there: [`Packet::Received`](crate::Packet::Received).
    ///
    /// If the receive ends without data (an error, or the peer's end) the packet's buffer is empty and not of the pool.
    ///
    /// Win32 programs post a receive of zero bytes and read when it completes.
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn recv_pooled(&self, pool: &BufferPool) -> Result<OperationId> {
        self.start(sys::Operation::RecvPooled { pool: pool.clone(), buffer: Buffer::empty() })
    }

    /// Sends all of `buffer`: [`Packet::Sent`](crate::Packet::Sent), when the system has accepted every byte.
    ///
    /// Several may be outstanding; they leave in the order of the calls. How many is the program's to bound: what a peer does
    /// not read waits here.
    ///
    /// Win32: [`WSASend`](https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-wsasend).
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn send(&self, buffer: Buffer) -> Result<OperationId> {
        self.start(sys::Operation::Send { buffer })
    }

    /// Sends all of several buffers, in order and without gaps: [`Packet::SentVectored`](crate::Packet::SentVectored).
    ///
    /// Win32: `WSASend` with several `WSABUF`.
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn send_vectored(&self, buffers: Vec<Buffer>) -> Result<OperationId> {
        self.start(sys::Operation::SendVectored { buffers })
    }
}

impl<K: 'static> Associated<UdpSocket, K> {
    /// Receives one datagram: [`Packet::ReceivedFrom`](crate::Packet::ReceivedFrom).
    ///
    /// Win32: [`WSARecvFrom`](https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-wsarecvfrom).
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn recv_from(&self, buffer: Buffer) -> Result<OperationId> {
        self.start(sys::Operation::RecvFrom { buffer, from: None })
    }

    /// Sends one datagram: [`Packet::SentTo`](crate::Packet::SentTo).
    ///
    /// Win32: [`WSASendTo`](https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-wsasendto).
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`] if the port was closed.
    pub fn send_to(&self, buffer: Buffer, address: SocketAddr) -> Result<OperationId> {
        self.start(sys::Operation::SendTo { buffer, address: Box::new(address) })
    }
}
