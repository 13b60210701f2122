//! Files, read and written at offsets.
//!
//! Operations of one file are independent: they may run at the same time and end in any order.

use std::path::Path;
use std::sync::Arc;

use crate::done::{Read, Synced, Written};
use crate::port::free_handle;
use crate::port::sealed::Sealed;
use crate::sys::{self, Kind, OperationId};
use crate::{Associated, Buffer, Operation, Result};

/// An open file.
///
/// Win32: a handle of `CreateFile` with `FILE_FLAG_OVERLAPPED`.
///
/// ```
/// use overlapped::{fs::File, Buffer, CompletionPort, Packet};
///
/// let port: CompletionPort = CompletionPort::new(1)?;
/// let path = std::env::temp_dir().join(format!("overlapped-doc-{}", std::process::id()));
/// let file = port.associate(File::create(&path)?, ())?;
/// file.write_at(Buffer::from("overlapped"), 0)?;
/// assert!(matches!(port.dequeue(None)?, Packet::Written { result: Ok(10), .. }));
/// file.read_at(Buffer::with_capacity(64), 4)?;
/// let Packet::Read { buffer, .. } = port.dequeue(None)? else { panic!("nothing else is under way") };
/// assert_eq!(&buffer[..], b"lapped");
/// # std::fs::remove_file(path)?;
/// # overlapped::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct File(Arc<sys::Handle>);

free_handle!(File);

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`Error::FILE_NOT_FOUND`](crate::Error::FILE_NOT_FOUND), [`Error::ACCESS_DENIED`](crate::Error::ACCESS_DENIED).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(sys::open_options().read(true).open(path)?.into())
    }

    /// Opens a file for reading and writing, new or emptied. For other ways, use `From<std::fs::File>`.
    ///
    /// # Errors
    /// [`Error::PATH_NOT_FOUND`](crate::Error::PATH_NOT_FOUND), [`Error::ACCESS_DENIED`](crate::Error::ACCESS_DENIED).
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Ok(sys::open_options().read(true).write(true).create(true).truncate(true).open(path)?.into())
    }

    /// Reads from `offset` (bytes) on, up to the buffer's capacity: [`Read`]. Less than that at the tail is success; at or past the
    /// end it is [`Error::HANDLE_EOF`](crate::Error::HANDLE_EOF).
    ///
    /// Win32: [`ReadFileEx`](https://learn.microsoft.com/en-us/windows/win32/api/fileapi/nf-fileapi-readfileex),
    /// [`ReadFile`](https://learn.microsoft.com/en-us/windows/win32/api/fileapi/nf-fileapi-readfile) with an overlapped.
    pub fn read_at(&self, buffer: Buffer, offset: u64) -> Operation<Read> {
        Operation::new(&self.0, sys::Operation::ReadAt { buffer, offset })
    }

    /// Writes all of `buffer` at `offset` (bytes): [`Written`].
    ///
    /// Win32: [`WriteFileEx`](https://learn.microsoft.com/en-us/windows/win32/api/fileapi/nf-fileapi-writefileex),
    /// [`WriteFile`](https://learn.microsoft.com/en-us/windows/win32/api/fileapi/nf-fileapi-writefile) with an overlapped.
    pub fn write_at(&self, buffer: Buffer, offset: u64) -> Operation<Written> {
        Operation::new(&self.0, sys::Operation::WriteAt { buffer, offset })
    }

    /// Brings what was written to the disk, `data_only` or the file's attributes too: [`Synced`]. It covers writes that have ended.
    ///
    /// Win32: [`FlushFileBuffers`](https://learn.microsoft.com/en-us/windows/win32/api/fileapi/nf-fileapi-flushfilebuffers).
    pub fn sync(&self, data_only: bool) -> Operation<Synced> {
        Operation::new(&self.0, sys::Operation::Sync { data_only })
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        Self(sys::Handle::new(file.into(), Kind::File))
    }
}

impl Sealed for File {
    fn into_handle(self) -> Arc<sys::Handle> {
        self.0
    }
}

impl<K: 'static> Associated<File, K> {
    /// Reads from `offset` (bytes) on, up to the buffer's capacity: [`Packet::Read`](crate::Packet::Read). Less than that at
    /// the tail is success; at or past the end it is [`Error::HANDLE_EOF`](crate::Error::HANDLE_EOF).
    ///
    /// Win32: [`ReadFile`](https://learn.microsoft.com/en-us/windows/win32/api/fileapi/nf-fileapi-readfile) with an overlapped.
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`](crate::Error::ABANDONED_WAIT) if the port was closed.
    pub fn read_at(&self, buffer: Buffer, offset: u64) -> Result<OperationId> {
        self.start(sys::Operation::ReadAt { buffer, offset })
    }

    /// Writes all of `buffer` at `offset` (bytes): [`Packet::Written`](crate::Packet::Written).
    ///
    /// Win32: [`WriteFile`](https://learn.microsoft.com/en-us/windows/win32/api/fileapi/nf-fileapi-writefile) with an overlapped.
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`](crate::Error::ABANDONED_WAIT) if the port was closed.
    pub fn write_at(&self, buffer: Buffer, offset: u64) -> Result<OperationId> {
        self.start(sys::Operation::WriteAt { buffer, offset })
    }

    /// Brings what was written to the disk, `data` only or the file's attributes too: [`Packet::Synced`](crate::Packet::Synced).
    /// It covers writes whose packets have been seen.
    ///
    /// Win32: [`FlushFileBuffers`](https://learn.microsoft.com/en-us/windows/win32/api/fileapi/nf-fileapi-flushfilebuffers).
    ///
    /// # Errors
    /// [`Error::ABANDONED_WAIT`](crate::Error::ABANDONED_WAIT) if the port was closed.
    pub fn sync(&self, data_only: bool) -> Result<OperationId> {
        self.start(sys::Operation::Sync { data_only })
    }
}
