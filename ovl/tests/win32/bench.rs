//! What the tests share: a directory, `ovl cc`, programs that are ended when the test is.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

pub(crate) const OVL: &str = env!("CARGO_BIN_EXE_ovl");

/// Where the C programs are.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlapped-win32/tests/c")
}

/// A directory of one test.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            directory: tempfile::Builder::new()
                .prefix(&format!("ovl-{name}-"))
                .tempdir()
                .expect("a temporary directory"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory of ours")).expect("a directory");
        fs::write(&path, text).expect("a file of ours");
        path
    }

    /// Runs `ovl cc` or `ovl c++`, with another compiler if one is named.
    pub(crate) fn try_compile(
        &self,
        wrapper: &str,
        compiler: Option<&str>,
        sources: &[&Path],
        flags: &[&str],
    ) -> (PathBuf, Output) {
        let program = self.path(&format!(
            "{}-{}",
            sources[0].file_stem().expect("a name").to_string_lossy(),
            compiler.unwrap_or(wrapper)
        ));
        let mut command = Command::new(OVL);
        command.arg(wrapper).args(flags).args(sources).arg("-o").arg(&program);
        if let Some(compiler) = compiler {
            command.env(if wrapper == "cc" { "CC" } else { "CXX" }, compiler);
        }
        (program, command.output().expect("ovl runs"))
    }

    /// The same, which must succeed and say nothing.
    pub(crate) fn compile(&self, wrapper: &str, sources: &[&Path], flags: &[&str]) -> PathBuf {
        let (program, output) = self.try_compile(wrapper, None, sources, flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{wrapper} {flags:?} {sources:?}:\n{said}");
        program
    }

    /// mingw-w64's compiler, which has Windows' headers.
    pub(crate) fn mingw(&self) -> Option<&'static str> {
        has("x86_64-w64-mingw32-gcc")
    }
}

/// A tool that need not be there, except where everything has to be tested (`CI=true`, as `.ci/run` sets it). What is not tested without it is
/// said past the test harness, which shows nothing of a test that passes, and counted.
pub(crate) fn has(tool: &'static str) -> Option<&'static str> {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let found = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{tool} is not installed, and CI skips nothing");
        let count = 1 + SKIPPED.fetch_add(1, Ordering::Relaxed);
        let _ = writeln!(std::io::stderr(), "SKIPPED ({count}): what needs {tool}, which is not installed");
    }
    found.then_some(tool)
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn output_of(command: &mut Command) -> String {
    let (output, in_time) = run(command, Duration::from_secs(120));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(in_time, "{command:?} does not end; so far:\n{said}");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Runs a program, for so long at most, and says whether it ended by itself.
pub(crate) fn run(command: &mut Command, most: Duration) -> (Output, bool) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut streams = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let readers = thread::spawn(move || {
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = streams.1.read_to_end(&mut text);
            text
        });
        let mut text = Vec::new();
        let _ = streams.0.read_to_end(&mut text);
        (text, errors.join().expect("it only reads"))
    });
    let deadline = Instant::now() + most;
    let mut in_time = true;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            break status;
        }
        if Instant::now() > deadline {
            in_time = false;
            let _ = child.kill();
            break child.wait().expect("a child of ours");
        }
        thread::sleep(Duration::from_millis(20));
    };
    let (stdout, stderr) = readers.join().expect("they only read");
    (Output { status, stdout, stderr }, in_time)
}

/// A server that is ended when the test is.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts a program with a free port as its argument, and waits until it listens.
    pub(crate) fn start(program: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let child = Command::new(program)
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut server = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !listens(port) {
            assert!(server.child.try_wait().expect("a child of ours").is_none(), "{} has ended", program.display());
            assert!(Instant::now() < deadline, "{} does not listen", program.display());
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Ctrl-C, or whatever else; whether it ended within a time.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether anybody listens at a port, without connecting: a server should see its clients only.
fn listens(port: u16) -> bool {
    let wanted = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().any(|line| {
        let mut columns = line.split_whitespace();
        columns.nth(1) == Some(&wanted) && columns.nth(1) == Some("0A")
    })
}
