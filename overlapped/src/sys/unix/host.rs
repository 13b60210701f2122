//! What each of the Unixes does in its own way. Linux's is tested; the others' has been compiled, and not run.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use rustix::net::SendFlags;

/// A send on a connection that has gone is an error, and no signal.
#[cfg(not(target_vendor = "apple"))]
pub(super) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(super) const NO_SIGNAL: SendFlags = SendFlags::empty(); // the socket is told so: see `keep_quiet`

/// The same, said to the socket where a send cannot say it.
pub(super) fn keep_quiet(_socket: &OwnedFd) {
    #[cfg(target_vendor = "apple")]
    let _ = rustix::net::sockopt::set_socket_nosigpipe(_socket, true); // or it is no socket
}

/// The system's number of the calling thread, for [`is_blocked`].
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn thread_number() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

#[cfg(target_os = "freebsd")]
pub(super) fn thread_number() -> i32 {
    // SAFETY: it takes nothing, and cannot fail.
    unsafe { libc::pthread_getthreadid_np() }
}

#[cfg(target_vendor = "apple")]
pub(super) fn thread_number() -> i32 {
    // SAFETY: of the calling thread, which is there. The port is borrowed and not to be given back.
    unsafe { libc::pthread_mach_thread_np(libc::pthread_self()) as i32 }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple")))]
pub(super) fn thread_number() -> i32 {
    static LAST: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);
    LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1
}

/// Whether a thread of this process sleeps in the kernel. One that has ended holds its lane no longer, or is about to say so.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_blocked(thread: i32) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/self/task/{thread}/stat")) else { return false };
    // pid (name) state …; the name may contain anything, parentheses included. State `R` is running or ready to run.
    let state = stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 2));
    state.is_some_and(|state| *state != b'R')
}

#[cfg(target_os = "freebsd")]
pub(super) fn is_blocked(thread: i32) -> bool {
    let name =
        [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID | libc::KERN_PROC_INC_THREAD, std::process::id() as i32];
    let ask = |room: *mut libc::kinfo_proc, len: &mut usize| {
        // SAFETY: `room` is null, and only the length is asked for, or has `len` bytes.
        unsafe { libc::sysctl(name.as_ptr(), name.len() as _, room.cast(), len, std::ptr::null(), 0) }
    };
    let mut len = 0;
    if ask(std::ptr::null_mut(), &mut len) != 0 {
        return false;
    }
    let mut threads: Vec<libc::kinfo_proc> = Vec::with_capacity(len / size_of::<libc::kinfo_proc>() + 8); // some may have come since
    len = threads.capacity() * size_of::<libc::kinfo_proc>();
    if ask(threads.as_mut_ptr(), &mut len) != 0 {
        return false;
    }
    // SAFETY: the kernel wrote so many bytes, all of them plain data.
    unsafe { threads.set_len(len / size_of::<libc::kinfo_proc>()) };
    threads.iter().any(|other| other.ki_tid == thread && other.ki_stat != libc::SRUN)
}

#[cfg(target_vendor = "apple")]
pub(super) fn is_blocked(thread: i32) -> bool {
    // SAFETY: it is plain data, for which all zeroes is valid.
    let mut info: libc::thread_basic_info = unsafe { std::mem::zeroed() };
    let mut count = libc::THREAD_BASIC_INFO_COUNT;
    // SAFETY: there is room for so many words; a thread that has ended is refused.
    let asked =
        unsafe { libc::thread_info(thread as _, libc::THREAD_BASIC_INFO as _, (&raw mut info).cast(), &mut count) };
    asked == libc::KERN_SUCCESS && info.run_state != libc::TH_STATE_RUNNING
}

/// Nobody knows: a worker that blocks keeps its lane.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple")))]
pub(super) fn is_blocked(_thread: i32) -> bool {
    false
}

/// Whether a socket that was connected is so no longer.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn has_lost_connection(socket: RawFd) -> bool {
    const TCP_CLOSE: u8 = 7;
    let (mut state, mut len) = (0u8, 1);
    let at = (&raw mut state).cast();
    // SAFETY: the kernel writes at most `len` bytes of its `tcp_info`, the first of which is the state, to `state`. A descriptor that
    // is closed is refused.
    let result = unsafe { libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, at, &mut len) };
    result == 0 && len == 1 && state == TCP_CLOSE
}

/// There a reset takes the peer's name away, too.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn has_lost_connection(socket: RawFd) -> bool {
    // SAFETY: the call looks the number up; one that is closed is refused.
    rustix::net::getpeername(unsafe { std::os::fd::BorrowedFd::borrow_raw(socket) }).is_err()
}

/// Puts what `from` is behind the number of `to`.
pub(super) fn replace(from: impl AsFd, to: &mut OwnedFd) -> rustix::io::Result<()> {
    #[cfg(not(target_vendor = "apple"))]
    return rustix::io::dup3(from, to, rustix::io::DupFlags::CLOEXEC);
    #[cfg(target_vendor = "apple")]
    return rustix::io::dup2(from, to).and_then(|()| rustix::io::fcntl_setfd(to, rustix::io::FdFlags::CLOEXEC));
}

/// Fewer, larger pages for a pool: a ring that goes through its buffers otherwise misses the TLB with each.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn advise_large_pages(start: NonNull<u8>, len: usize) {
    const PAGE: usize = 4096;
    let skip = start.as_ptr().align_offset(PAGE).min(len);
    let whole = (len - skip) / PAGE * PAGE;
    // SAFETY: the range lies in the caller's allocation; the advice changes no contents. Where there are no such pages it is
    // refused, and nothing is lost.
    let _ = unsafe { rustix::mm::madvise(start.as_ptr().add(skip).cast(), whole, rustix::mm::Advice::LinuxHugepage) };
}

/// Other systems see to that by themselves, or do not.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn advise_large_pages(_start: NonNull<u8>, _len: usize) {}
