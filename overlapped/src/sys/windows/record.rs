//! An operation in the kernel: the `OVERLAPPED`, whatever else the kernel reads and writes, and the request. One allocation, which
//! nobody moves or frees from the call that starts the operation until its packet has been reaped.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of};
use std::net::SocketAddr;
use std::os::windows::io::{AsRawHandle, AsRawSocket, BorrowedHandle, FromRawSocket, OwnedHandle, OwnedSocket};
use std::ptr::{self, NonNull};
use std::sync::{Arc, OnceLock};

use socket2::{SockAddr, SockAddrStorage};
use windows_sys::Win32::Foundation::{ERROR_IO_PENDING, GetLastError, STATUS_PENDING};
use windows_sys::Win32::Networking::WinSock::{
    INVALID_SOCKET, IPPROTO_TCP, LPFN_ACCEPTEX, LPFN_CONNECTEX, SIO_GET_EXTENSION_FUNCTION_POINTER, SO_PROTOCOL_INFOW,
    SO_UPDATE_ACCEPT_CONTEXT, SO_UPDATE_CONNECT_CONTEXT, SOCK_STREAM, SOCKADDR_STORAGE, SOCKET, SOL_SOCKET,
    WSA_FLAG_NO_HANDLE_INHERIT, WSA_FLAG_OVERLAPPED, WSABUF, WSAID_ACCEPTEX, WSAID_CONNECTEX, WSAIoctl,
    WSAPROTOCOL_INFOW, WSARecv, WSARecvFrom, WSASend, WSASendTo, WSASocketW, bind, getsockname, getsockopt, recv,
    setsockopt,
};
use windows_sys::Win32::Storage::FileSystem::{FlushFileBuffers, ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, CancelSynchronousIo, OVERLAPPED};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::Threading::{GetCurrentThread, QueueUserWorkItem, WT_EXECUTELONGFUNCTION};
use windows_sys::core::GUID;

use super::iocp::key;
use super::{Descriptor, last_error};
use crate::sync::Mutex;
use crate::sys::{Operation, Request};
use crate::{Buffer, Error, Result};

/// At most this many bytes in one piece: more lies in several pieces of one call, or is moved in several calls.
const MOST_BYTES: usize = 1 << 30;

/// At most this many pieces in one call: Winsock names no limit, but what lies below it may have one. What is behind is copied together.
const MOST_PIECES: usize = 1024;

/// What AcceptEx wants for each of the two addresses that it writes.
const ADDRESS_ROOM: usize = size_of::<SOCKADDR_STORAGE>() + 16;

#[repr(C)]
pub(super) struct Record {
    overlapped: OVERLAPPED,
    /// What a receive reads at its start and writes at its end.
    flags: u32,
    buffers: Vec<WSABUF>,
    /// Pieces of what is to be sent, copied together.
    joined: Vec<u8>,
    address: Option<Box<Address>>,
    accepting: Option<Box<Accepting>>,
    errand: Option<Arc<Errand>>,
    /// How the errand failed.
    failure: Option<Error>,
    request: Box<Request>,
}

// The kernel's packet points to the OVERLAPPED, and is taken for the record.
const _: () = assert!(offset_of!(Record, overlapped) == 0);

struct Address {
    storage: SockAddrStorage,
    len: i32,
}

struct Accepting {
    socket: OwnedSocket,
    addresses: [u8; 2 * ADDRESS_ROOM],
}

/// What a thread of the system's pool does because it may block: a flush, and all of a file that was not opened for overlapped operations.
struct Errand {
    /// Open until it is done, whatever becomes of the handle.
    file: OwnedHandle,
    /// The thread, while it is in the call.
    thread: Mutex<Option<OwnedHandle>>,
}

/// A record that the kernel has: its name, by which it is found and cancelled.
pub(super) struct InKernel {
    at: NonNull<Record>,
    errand: Option<Arc<Errand>>,
}

// SAFETY: it only names the record. Who reaps it is the only one to open it, and what is in it may go to any thread.
unsafe impl Send for InKernel {}

/// The memory of a record whose call failed at once under Wine. Windows queues no packet then; Wine may do so all the same (it does for a
/// datagram that is too long), and writes to the OVERLAPPED. So the memory stays until that packet has come, and if none comes, for ever.
struct Left(#[allow(dead_code, reason = "it only has to be there")] Box<MaybeUninit<Record>>);

// SAFETY: nobody looks at what is in it.
unsafe impl Send for Left {}

static LEFT: Mutex<BTreeMap<usize, Left>> = Mutex::new(BTreeMap::new());

impl Left {
    /// Takes the contents out, and keeps the memory.
    ///
    /// # Safety
    /// The record was leaked by its `issue`, and is the caller's.
    unsafe fn behind(record: NonNull<Record>) -> Box<Record> {
        // SAFETY: the contents are taken once, and the memory is freed as such, without them.
        let (contents, memory) =
            unsafe { (record.read(), Box::from_raw(record.as_ptr().cast::<MaybeUninit<Record>>())) };
        LEFT.lock().insert(record.as_ptr().addr(), Self(memory));
        Box::new(contents)
    }

    /// Whether a packet points to such memory, which is freed then.
    fn is_one(packet: *mut OVERLAPPED) -> bool {
        LEFT.lock().remove(&packet.addr()).is_some()
    }
}

/// Whether this is not Windows itself but Wine, which says so by a function of its own.
fn is_wine() -> bool {
    static IS_WINE: OnceLock<bool> = OnceLock::new();
    *IS_WINE.get_or_init(|| {
        // SAFETY: the names are strings with an end, and the module is in every process. What is found is not called.
        unsafe {
            let module = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
            !module.is_null() && GetProcAddress(module, c"wine_get_version".as_ptr().cast()).is_some()
        }
    })
}

/// What became of a cancel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// The operation will end soon.
    Asked,
    /// It was not found, although it goes on: it is to be cancelled again.
    NotYet,
    /// It has ended, and its packet was not yet taken.
    Ended,
}

impl InKernel {
    pub(super) fn is(&self, packet: *mut OVERLAPPED) -> bool {
        self.at.as_ptr().cast() == packet
    }

    /// Asks the kernel to end it.
    ///
    /// The caller holds the lock under which records are reaped, and this one was not.
    pub(super) fn cancel(&self, descriptor: Option<&Descriptor>) -> Cancelled {
        if let Some(errand) = &self.errand
            && let Some(thread) = &*errand.thread.lock()
        {
            // SAFETY: the handle is open. While it lies there the thread is in the errand's call, or just before or behind it.
            unsafe { CancelSynchronousIo(thread.as_raw_handle()) };
        }
        // SAFETY: the handle is open. The pointer is only compared with those of the operations in flight.
        if descriptor.is_some_and(|descriptor| unsafe { CancelIoEx(descriptor.raw(), self.at.as_ptr().cast()) } != 0) {
            return Cancelled::Asked;
        }
        // SAFETY: the record was not reaped (caller's promise), so it is there; the kernel may write the word at any time, and it is
        // read as such.
        let status = unsafe { (&raw const (*self.at.as_ptr()).overlapped.Internal).read_volatile() };
        if status == STATUS_PENDING as usize { Cancelled::NotYet } else { Cancelled::Ended }
    }
}

/// What became of an operation that was given to the kernel.
pub(super) enum Issued {
    /// A packet will come.
    Pending(InKernel),
    /// It has ended, and no packet will come.
    Ended(Box<Record>, Result<()>, usize),
}

/// What a call that starts an operation says.
enum Called {
    Pending,
    Done(u32),
    Failed(Error),
}

impl Called {
    /// Of Winsock's calls: 0 is success.
    fn socket(result: i32, bytes: u32) -> Self {
        Self::new(result == 0, bytes)
    }

    fn new(success: bool, bytes: u32) -> Self {
        if success {
            return Self::Done(bytes);
        }
        // Winsock's last error is the same number (WSA_IO_PENDING is ERROR_IO_PENDING).
        // SAFETY: reads a number of this thread.
        match unsafe { GetLastError() } {
            ERROR_IO_PENDING => Self::Pending,
            code => Self::Failed(Error::from_errno(code as i32)),
        }
    }
}

/// What the end of a record means.
pub(super) enum Step {
    /// Not done yet: it is to be issued again.
    Again,
    /// Data, or the end, is there for a receive from a pool.
    Readable,
    Done(Result<usize>),
}

impl Record {
    /// Gives an operation to the kernel. `skips`: an immediate success of this handle queues no packet. `synchronous`: it is a file
    /// that was not opened for overlapped operations.
    ///
    /// The caller holds the lock under which the handle is closed, and under which records are reaped.
    pub(super) fn issue(request: Box<Request>, descriptor: &Descriptor, skips: bool, synchronous: bool) -> Issued {
        let (flags, buffers, joined) = (0, Vec::new(), Vec::new());
        let overlapped = OVERLAPPED::default();
        let (address, accepting, errand, failure) = (None, None, None, None);
        let mut record =
            Box::new(Self { overlapped, flags, buffers, joined, address, accepting, errand, failure, request });
        if let Err(error) = record.prepare(descriptor, synchronous) {
            return Issued::Ended(record, Err(error), 0);
        }
        let errand = record.errand.clone();
        let record = NonNull::from(Box::leak(record));
        // SAFETY: the record was prepared, is ours alone, and stays where it is until it is reaped.
        let called = unsafe { Self::call(record.as_ptr(), descriptor) };
        let (result, bytes) = match called {
            Called::Pending => return Issued::Pending(InKernel { at: record, errand }),
            Called::Done(_) if !skips => return Issued::Pending(InKernel { at: record, errand }),
            Called::Done(bytes) => (Ok(()), bytes as usize),
            Called::Failed(error) => (Err(error), 0),
        };
        if result.is_err() && is_wine() {
            // SAFETY: the call has ended the operation; a packet may come, and is known then.
            return Issued::Ended(unsafe { Left::behind(record) }, result, bytes);
        }
        // SAFETY: the call has ended the operation and queues no packet, so the record is ours again.
        Issued::Ended(unsafe { Box::from_raw(record.as_ptr()) }, result, bytes)
    }

    /// The record that a packet points to, and the status. `None`: its operation has ended before.
    ///
    /// # Safety
    /// `at` comes from a packet with [`key::RECORD`], of which there is one a record.
    pub(super) unsafe fn reap(at: *mut OVERLAPPED) -> Option<(Box<Self>, usize)> {
        if is_wine() && Left::is_one(at) {
            return None;
        }
        let record = at.cast::<Self>();
        // SAFETY: the OVERLAPPED is the record's first member (asserted above); the record was leaked by `issue`, and the kernel has
        // let go of it (caller's promise).
        let record = unsafe { Box::from_raw(record) };
        let status = record.overlapped.Internal;
        Some((record, status))
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// How it ended, after the packet's status.
    pub(super) fn outcome(&self, status: usize) -> Result<()> {
        self.failure.map_or_else(|| super::outcome(status), Err)
    }

    /// Fills in what the call needs.
    fn prepare(&mut self, descriptor: &Descriptor, synchronous: bool) -> Result<()> {
        let moved = self.request.moved;
        match &mut self.request.operation {
            Operation::Accept { .. } => {
                let socket = another_like(descriptor)?;
                self.accepting = Some(Box::new(Accepting { socket, addresses: [0; 2 * ADDRESS_ROOM] }));
            }
            Operation::Connect { address } => {
                be_bound(descriptor, address)?;
                self.address = Some(Address::of(**address));
            }
            Operation::Recv { buffer } => self.buffers = vec![room(buffer)],
            // Without room it waits for data, and takes none.
            Operation::RecvPooled { .. } => self.buffers = vec![WSABUF { len: 0, buf: ptr::null_mut() }],
            Operation::Send { buffer } => self.buffers = pieces(std::slice::from_ref(buffer), &mut self.joined),
            Operation::SendVectored { buffers } => self.buffers = pieces(buffers, &mut self.joined),
            Operation::RecvFrom { buffer, .. } => {
                self.buffers = vec![room(buffer)];
                let storage = SockAddrStorage::zeroed();
                let len = storage.size_of();
                self.address = Some(Box::new(Address { storage, len }));
            }
            Operation::RecvVectored { .. } => return Err(Error::NOT_SUPPORTED), // the C face's; there it is for Linux
            Operation::SendTo { buffer, address } => {
                self.buffers = pieces(std::slice::from_ref(buffer), &mut self.joined);
                self.address = Some(Address::of(**address));
            }
            Operation::ReadAt { offset, .. } => self.overlapped = at_offset(*offset),
            Operation::WriteAt { offset: u64::MAX, .. } => self.overlapped = at_offset(u64::MAX), // behind what is there
            Operation::WriteAt { offset, .. } => self.overlapped = at_offset(*offset + moved as u64),
            Operation::Sync { .. } => {}
        }
        if let Descriptor::File(file) = descriptor
            && (synchronous || matches!(self.request.operation, Operation::Sync { .. }))
        {
            self.errand = Some(Arc::new(Errand { file: file.try_clone()?, thread: Mutex::default() }));
            self.overlapped.Internal = STATUS_PENDING as usize;
        }
        Ok(())
    }

    /// Starts the operation.
    ///
    /// # Safety
    /// `this` is a record that was prepared, and is the caller's until here; afterwards it is the kernel's, and whoever reaps it, unless
    /// the answer says otherwise. So it is not looked at after the call.
    unsafe fn call(this: *mut Self, descriptor: &Descriptor) -> Called {
        let mut bytes = 0;
        let handle = descriptor.raw();
        let socket = handle as SOCKET;
        // SAFETY: `this` is valid and ours (caller's promise), and no reference to it is made that outlives the statement. What each call
        // reads and writes lies in the record, or in buffers of its request, and so lives until the packet. The descriptor is open.
        unsafe {
            if (*this).errand.is_some() {
                return match QueueUserWorkItem(Some(run_errand), this.cast(), WT_EXECUTELONGFUNCTION) {
                    0 => Called::Failed(last_error()),
                    _ => Called::Pending,
                };
            }
            let overlapped = this.cast::<OVERLAPPED>();
            let (buffers, count) = ((*this).buffers.as_ptr(), (*this).buffers.len() as u32);
            let address = (&raw mut (*this).address).cast::<*mut Address>().read();
            match &mut (*this).request.operation {
                Operation::Accept { .. } => {
                    let Ok(Some(accept_ex)) = extension::<LPFN_ACCEPTEX>(&ACCEPT_EX, socket, &WSAID_ACCEPTEX) else {
                        return Called::Failed(Error::NOT_SUPPORTED);
                    };
                    let accepting: *mut Accepting = &mut **(*this).accepting.as_mut().expect("it was prepared");
                    let new = (*accepting).socket.as_raw_socket() as SOCKET;
                    let addresses = (&raw mut (*accepting).addresses).cast();
                    let room = ADDRESS_ROOM as u32;
                    Called::new(accept_ex(socket, new, addresses, 0, room, room, &mut bytes, overlapped) != 0, 0)
                }
                Operation::Connect { .. } => {
                    let Ok(Some(connect_ex)) = extension::<LPFN_CONNECTEX>(&CONNECT_EX, socket, &WSAID_CONNECTEX)
                    else {
                        return Called::Failed(Error::NOT_SUPPORTED);
                    };
                    let (to, len) = ((&raw const (*address).storage).cast(), (*address).len);
                    Called::new(connect_ex(socket, to, len, ptr::null(), 0, &mut bytes, overlapped) != 0, 0)
                }
                Operation::Recv { .. } | Operation::RecvPooled { .. } => {
                    let flags = &raw mut (*this).flags;
                    let result = WSARecv(socket, buffers, count, &mut bytes, flags, overlapped, None);
                    Called::socket(result, bytes)
                }
                Operation::Send { .. } | Operation::SendVectored { .. } => {
                    let result = WSASend(socket, buffers, count, &mut bytes, 0, overlapped, None);
                    Called::socket(result, bytes)
                }
                Operation::RecvFrom { .. } => {
                    let flags = &raw mut (*this).flags;
                    let (from, len) = ((&raw mut (*address).storage).cast(), &raw mut (*address).len);
                    let result = WSARecvFrom(socket, buffers, count, &mut bytes, flags, from, len, overlapped, None);
                    Called::socket(result, bytes)
                }
                Operation::SendTo { .. } => {
                    let (to, len) = ((&raw const (*address).storage).cast(), (*address).len);
                    let result = WSASendTo(socket, buffers, count, &mut bytes, 0, to, len, overlapped, None);
                    Called::socket(result, bytes)
                }
                Operation::ReadAt { buffer, .. } => {
                    let (start, len) = buffer.0.room();
                    let read = ReadFile(handle, start, len.min(MOST_BYTES) as u32, &mut bytes, overlapped);
                    Called::new(read != 0, bytes)
                }
                Operation::WriteAt { buffer, .. } => {
                    let (start, len) = buffer.0.filled((*this).request.moved);
                    let written = WriteFile(handle, start, len.min(MOST_BYTES) as u32, &mut bytes, overlapped);
                    Called::new(written != 0, bytes)
                }
                Operation::Sync { .. } => Called::Failed(Error::INVALID_HANDLE), // not a file
                Operation::RecvVectored { .. } => Called::Failed(Error::NOT_SUPPORTED),
            }
        }
    }

    /// What the end means for the operation: what the kernel has written is taken over.
    pub(super) fn finish(
        self,
        result: Result<()>,
        bytes: usize,
        descriptor: Option<&Descriptor>,
    ) -> (Box<Request>, Step) {
        let Self { mut request, address, accepting, .. } = self;
        let cut = result == Err(Error::MORE_DATA);
        let step = match (&mut request.operation, result) {
            (Operation::Accept { accepted, .. }, Ok(())) => {
                let new = accepting.expect("an accept has a socket").socket;
                if let Some(listener) = descriptor {
                    inherit(&new, listener);
                }
                *accepted = Some(Descriptor::Socket(new));
                Step::Done(Ok(0))
            }
            (Operation::Connect { .. }, Ok(())) => {
                if let Some(Descriptor::Socket(socket)) = descriptor {
                    set_option(socket, SO_UPDATE_CONNECT_CONTEXT, &[]);
                }
                Step::Done(Ok(0))
            }
            (Operation::RecvPooled { .. }, Ok(())) => Step::Readable,
            (Operation::RecvFrom { buffer, from }, Ok(()) | Err(Error::MORE_DATA)) => {
                let address = address.expect("a receive of a datagram has room for an address");
                // SAFETY: the storage was zeroed, and the kernel wrote `len` bytes of a socket address into it.
                let address = unsafe { SockAddr::new(address.storage, address.len) };
                *from = address.as_socket().map(Box::new);
                // Of a datagram that was cut as much as there was room for is there.
                let bytes = if cut { buffer.capacity().min(MOST_BYTES) } else { bytes };
                // SAFETY: the kernel wrote that many bytes into the room that it was given.
                unsafe { buffer.0.set_len(bytes) };
                request.moved = bytes;
                Step::Done(result.map(|()| bytes))
            }
            (Operation::Recv { buffer } | Operation::ReadAt { buffer, .. }, Ok(())) => {
                if buffer.capacity() > 0 {
                    // SAFETY: the kernel wrote that many bytes into the room that it was given.
                    unsafe { buffer.0.set_len(bytes) };
                }
                let nothing = bytes == 0 && buffer.capacity() > 0;
                let is_read = matches!(request.operation, Operation::ReadAt { .. });
                request.moved = bytes;
                Step::Done(if nothing && is_read { Err(Error::HANDLE_EOF) } else { Ok(bytes) })
            }
            (
                Operation::Send { .. }
                | Operation::SendVectored { .. }
                | Operation::SendTo { .. }
                | Operation::WriteAt { .. },
                _,
            ) => {
                request.moved += bytes;
                let to_move = to_move(&request.operation);
                assert!(request.moved <= to_move, "the kernel moved {} of {to_move} bytes", request.moved);
                let is_file = matches!(request.operation, Operation::WriteAt { .. });
                match result {
                    Err(error) => Step::Done(Err(error)),
                    Ok(()) if request.moved == to_move => Step::Done(Ok(to_move)),
                    Ok(()) if is_file && bytes > 0 => Step::Again,
                    // A socket's send is whole, or has failed.
                    Ok(()) => Step::Done(Err(Error::IO_DEVICE)),
                }
            }
            (Operation::Sync { .. } | Operation::RecvVectored { .. }, Ok(())) => Step::Done(Ok(0)),
            (_, Err(error)) => Step::Done(Err(error)),
        };
        (request, step)
    }
}

impl Address {
    fn of(address: SocketAddr) -> Box<Self> {
        let address = SockAddr::from(address);
        Box::new(Self { len: address.len(), storage: address.as_storage() })
    }
}

/// Where the kernel may write.
fn room(buffer: &mut Buffer) -> WSABUF {
    let (start, len) = buffer.0.room();
    WSABUF { len: len.min(MOST_BYTES) as u32, buf: start }
}

/// Where the kernel may read: all that is in `buffers`, in order. `joined` is memory for the tail of many.
fn pieces(buffers: &[Buffer], joined: &mut Vec<u8>) -> Vec<WSABUF> {
    let filled = buffers.iter().filter(|buffer| !buffer.is_empty());
    let mut pieces: Vec<_> = filled.clone().take(MOST_PIECES - 1).flat_map(|buffer| in_pieces(buffer)).collect();
    joined.extend(filled.skip(MOST_PIECES - 1).flat_map(|buffer| buffer.iter()));
    pieces.extend(in_pieces(joined));
    if pieces.is_empty() {
        pieces.push(WSABUF { len: 0, buf: ptr::null_mut() }); // none at all is refused
    }
    pieces
}

fn in_pieces(bytes: &[u8]) -> impl Iterator<Item = WSABUF> + '_ {
    bytes.chunks(MOST_BYTES).map(|piece| WSABUF { len: piece.len() as u32, buf: piece.as_ptr().cast_mut() })
}

/// How many bytes it is to send or write in all.
fn to_move(operation: &Operation) -> usize {
    match operation {
        Operation::Send { buffer } | Operation::SendTo { buffer, .. } | Operation::WriteAt { buffer, .. } => {
            buffer.len()
        }
        Operation::SendVectored { buffers } => buffers.iter().map(|buffer| buffer.len()).sum(),
        _ => 0,
    }
}

fn at_offset(offset: u64) -> OVERLAPPED {
    let mut overlapped = OVERLAPPED::default();
    overlapped.Anonymous.Anonymous.Offset = offset as u32;
    overlapped.Anonymous.Anonymous.OffsetHigh = (offset >> 32) as u32;
    overlapped
}

/// Does what may block, on a thread of the system's pool, and queues the packet that the kernel would have queued.
// SAFETY: only `Record::call` names it, which gives it a record.
unsafe extern "system" fn run_errand(record: *mut c_void) -> u32 {
    let record = record.cast::<Record>();
    let mut bytes = 0;
    // SAFETY: the record was given to this errand alone, which owns it until the packet is queued below.
    let (handle, failure) = unsafe {
        let this = &mut *record;
        let errand = this.errand.take().expect("it was prepared");
        let file = errand.file.as_raw_handle();
        let mut overlapped = OVERLAPPED { Internal: 0, ..this.overlapped }; // a synchronous handle is given the offset so, and waits
        *errand.thread.lock() = this_thread();
        let moved = this.request.moved;
        let done = match &mut this.request.operation {
            Operation::ReadAt { buffer, .. } => {
                let (start, len) = buffer.0.room();
                ReadFile(file, start, len.min(MOST_BYTES) as u32, &mut bytes, &mut overlapped)
            }
            Operation::WriteAt { buffer, .. } => {
                let (start, len) = buffer.0.filled(moved);
                WriteFile(file, start, len.min(MOST_BYTES) as u32, &mut bytes, &mut overlapped)
            }
            _ => FlushFileBuffers(file),
        };
        if done == 0 {
            this.failure = Some(last_error()); // before anything else is called
        }
        *errand.thread.lock() = None;
        this.overlapped.Internal = 0;
        (Arc::clone(&this.request.handle), this.failure)
    };
    let bytes = if failure.is_some() { 0 } else { bytes };
    // Refused only when the system has no memory for the packet; the operation's end would be lost.
    while handle.iocp().post(key::RECORD, bytes, record).is_err() {
        std::thread::yield_now();
    }
    0
}

/// A handle that means this thread everywhere.
pub(super) fn this_thread() -> Option<OwnedHandle> {
    // SAFETY: the pseudo handle means this thread while it runs; it is only duplicated.
    unsafe { BorrowedHandle::borrow_raw(GetCurrentThread()) }.try_clone_to_owned().ok()
}

static ACCEPT_EX: OnceLock<LPFN_ACCEPTEX> = OnceLock::new();
static CONNECT_EX: OnceLock<LPFN_CONNECTEX> = OnceLock::new();

/// An extension function of Winsock. The one of the system's own TCP serves every socket.
fn extension<F: Copy + Default>(known: &OnceLock<F>, socket: SOCKET, name: &GUID) -> Result<F> {
    if let Some(function) = known.get() {
        return Ok(*function);
    }
    let (mut function, mut bytes) = (F::default(), 0);
    // SAFETY: the call reads the GUID and writes a function pointer of the type that belongs to it, which is what `F` is.
    let result = unsafe {
        WSAIoctl(
            socket,
            SIO_GET_EXTENSION_FUNCTION_POINTER,
            ptr::from_ref(name).cast(),
            size_of::<GUID>() as u32,
            (&raw mut function).cast(),
            size_of::<F>() as u32,
            &mut bytes,
            ptr::null_mut(),
            None,
        )
    };
    if result != 0 { Err(last_error()) } else { Ok(*known.get_or_init(|| function)) }
}

/// A socket for the connection that `listener` is to accept.
fn another_like(listener: &Descriptor) -> Result<OwnedSocket> {
    let (mut storage, mut len) = (SOCKADDR_STORAGE::default(), size_of::<SOCKADDR_STORAGE>() as i32);
    // SAFETY: the call writes at most `len` bytes of an address into the storage.
    if unsafe { getsockname(listener.raw() as SOCKET, (&raw mut storage).cast(), &mut len) } != 0 {
        return Err(last_error());
    }
    let flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: makes a socket out of numbers.
    let socket = unsafe { WSASocketW(storage.ss_family.into(), SOCK_STREAM, IPPROTO_TCP, ptr::null(), 0, flags) };
    if socket == INVALID_SOCKET {
        return Err(last_error());
    }
    // SAFETY: it was just made, and is nobody else's.
    Ok(unsafe { OwnedSocket::from_raw_socket(socket as u64) })
}

/// ConnectEx wants a socket that is bound.
fn be_bound(descriptor: &Descriptor, to: &SocketAddr) -> Result<()> {
    let socket = descriptor.raw() as SOCKET;
    let (mut storage, mut len) = (SOCKADDR_STORAGE::default(), size_of::<SOCKADDR_STORAGE>() as i32);
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let any = SockAddr::from(any);
    // SAFETY: the first call writes at most `len` bytes of an address into the storage, the second reads one of the length given.
    unsafe {
        if getsockname(socket, (&raw mut storage).cast(), &mut len) == 0
            || bind(socket, any.as_ptr().cast(), any.len()) == 0
        {
            Ok(())
        } else {
            Err(last_error())
        }
    }
}

/// Makes an accepted socket fit for all calls.
fn inherit(new: &OwnedSocket, listener: &Descriptor) {
    set_option(new, SO_UPDATE_ACCEPT_CONTEXT, &(listener.raw() as SOCKET).to_ne_bytes());
}

/// It cannot fail but for a connection that has gone already, which its first operation says.
fn set_option(socket: &OwnedSocket, option: i32, value: &[u8]) {
    let start = if value.is_empty() { ptr::null() } else { value.as_ptr() };
    // SAFETY: the call reads the value, of the length given.
    let _ = unsafe { setsockopt(socket.as_raw_socket() as SOCKET, SOL_SOCKET, option, start, value.len() as i32) };
}

/// Receives what is there into `buffer`, without waiting: the socket is in non-blocking mode, which overlapped operations ignore.
pub(super) fn receive_now(descriptor: &Descriptor, buffer: &mut Buffer) -> Result<usize> {
    let (start, len) = buffer.0.room();
    // SAFETY: the call writes at most `len` bytes to `start`, where there is room for them.
    let received = unsafe { recv(descriptor.raw() as SOCKET, start, len.min(MOST_BYTES) as i32, 0) };
    if received < 0 {
        return Err(last_error());
    }
    // SAFETY: the call wrote that many bytes.
    unsafe { buffer.0.set_len(received as usize) };
    Ok(received as usize)
}

/// What the provider of a socket says of it (`dwServiceFlags1`).
pub(super) fn service_flags(descriptor: &Descriptor) -> Option<u32> {
    let (mut information, mut len) = (WSAPROTOCOL_INFOW::default(), size_of::<WSAPROTOCOL_INFOW>() as i32);
    // SAFETY: the call writes at most `len` bytes of that very structure.
    let result = unsafe {
        getsockopt(descriptor.raw() as SOCKET, SOL_SOCKET, SO_PROTOCOL_INFOW, (&raw mut information).cast(), &mut len)
    };
    (result == 0).then_some(information.dwServiceFlags1)
}
