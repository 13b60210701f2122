//! What tests ask the system about itself.

use std::time::Duration;

/// The system's name of a thread.
pub type ThreadId = rustix::thread::Pid;

pub fn this_thread() -> ThreadId {
    rustix::thread::gettid()
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1 // the directory itself
}

/// As the kernel cuts it.
const FILES: &str = "overlapped file";

/// Threads of this process, without those that come and go: the kernel's for its rings, and [`file_threads`].
pub fn threads() -> usize {
    threads_named(|name| !name.starts_with("iou-") && !name.starts_with(FILES))
}

/// Threads that do file operations where the kernel does not. Each ends when it has had nothing to do for a while.
pub fn file_threads() -> usize {
    threads_named(|name| name.starts_with(FILES))
}

fn threads_named(which: impl Fn(&str) -> bool) -> usize {
    let name = |task: &std::path::Path| std::fs::read_to_string(task.join("comm")).unwrap_or_default();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.filter(|task| which(&name(&task.as_ref().unwrap().path()))).count()
}

/// Processor time that this thread has used.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// How often this thread has gone to sleep.
pub fn sleeps_so_far() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    count.trim().parse().unwrap()
}

/// Whether a thread of this process (by its id) sleeps or is blocked.
pub fn sleeps(thread: ThreadId) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    // The name is in parentheses and may hold anything; the state comes behind it.
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

/// Memory of this process that is in use, in bytes.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
