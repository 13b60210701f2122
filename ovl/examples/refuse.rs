//! Runs a program that is refused io_uring, as container runtimes do by default: `refuse EPERM|ENOSYS|EACCES|ENOMEM PROGRAM ARGUMENTS…`.
//!
//! ```console
//! $ cargo build -p ovl --example refuse
//! $ target/debug/examples/refuse EPERM cargo run -- doctor
//! ```

#[cfg(target_os = "linux")]
#[path = "../tests/cli/refusal.rs"]
mod refusal;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::io::Errno;

    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [errno, program, rest @ ..] = &arguments[..] else {
        return Err("usage: refuse EPERM|ENOSYS|EACCES|ENOMEM PROGRAM ARGUMENTS…".into());
    };
    let errno = match errno.to_str() {
        Some("EPERM") => Errno::PERM,
        Some("ENOSYS") => Errno::NOSYS,
        Some("EACCES") => Errno::ACCESS,
        Some("ENOMEM") => Errno::NOMEM,
        _ => return Err(format!("not known here: {}", errno.display()).into()),
    };
    refusal::refuse_io_uring(errno.raw_os_error() as u32)?;
    Err(Command::new(program).args(rest).exec().into())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("refuse: there is no io_uring here");
}
