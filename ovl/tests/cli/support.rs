//! Servers to talk to: the real one as a child process, and small faulty ones as threads.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes on the slowest machine; a test that gets there hangs.
pub(crate) const FOREVER: Duration = Duration::from_secs(60);

pub(crate) const OVL: &str = env!("CARGO_BIN_EXE_ovl");

/// The program with these arguments, to be run to its end.
pub(crate) fn ovl<'a>(args: impl IntoIterator<Item = &'a str>) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(OVL);
    command.args(args).timeout(FOREVER);
    command
}

/// What is written to a program's standard output and error, and its exit code.
pub(crate) struct Ended {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

/// `ovl serve` in a child process.
pub(crate) struct Server {
    child: Child,
    out: BufReader<Box<dyn Read>>,
    pub(crate) ready: Vec<String>,
}

impl Server {
    /// Starts it on a free port with these arguments, and waits until it is ready.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new(OVL);
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(args);
        let lines = 1 + args.iter().filter(|arg| **arg == "--listen").count();
        Self::spawn(command, if args.contains(&"--udp") { 2 * lines } else { lines })
    }

    /// Runs a command that starts a server, and reads so many ready lines.
    pub(crate) fn spawn(mut command: Command, lines: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ovl starts");
        let mut out = BufReader::new(Box::new(child.stdout.take().expect("piped")) as Box<dyn Read>);
        let mut ready = Vec::new();
        for _ in 0..lines {
            let mut line = String::new();
            out.read_line(&mut line).expect("a ready line");
            if line.is_empty() {
                let mut err = String::new();
                child.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
                panic!("the server did not start: {err}");
            }
            ready.push(line);
        }
        Self { child, out, ready }
    }

    /// The address in a ready line.
    pub(crate) fn address_of(&self, line: usize) -> SocketAddr {
        let address = self.ready[line].strip_prefix("listening on ").and_then(|rest| rest.split([' ', '/']).next());
        address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{:?}", self.ready[line]))
    }

    pub(crate) fn address(&self) -> String {
        self.address_of(0).to_string()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address_of(0)).expect("connects");
        stream.set_read_timeout(Some(FOREVER)).expect("valid");
        stream.set_nodelay(true).expect("valid");
        stream
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs").count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).expect("a process"), signal).expect("it runs");
    }

    /// Reads its standard error up to a line that holds `text`.
    pub(crate) fn wait_for_err(&mut self, text: &str) -> String {
        let err = self.child.stderr.as_mut().expect("piped");
        let mut seen = String::new();
        let mut byte = [0];
        while !(seen.ends_with('\n') && seen.contains(text)) {
            assert_eq!(err.read(&mut byte).expect("readable"), 1, "it ended after: {seen}");
            seen.push(byte[0] as char);
        }
        seen
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let mut ended = Ended { out: String::new(), err: String::new(), code: None };
        self.out.read_to_string(&mut ended.out).expect("text");
        self.child.stderr.take().expect("piped").read_to_string(&mut ended.err).expect("text");
        ended.code = self.child.wait().expect("waits").code();
        ended
    }

    /// Closes the pipe that it prints to, sends SIGTERM and waits for its end.
    pub(crate) fn stop_unread(mut self) -> Ended {
        self.out = BufReader::new(Box::new(std::io::empty()));
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Sends SIGTERM, waits for its end and checks that it was an orderly one.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        let ended = self.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.out.starts_with("stopped after "), "{}", ended.out);
        ended
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The first number behind a word of the summary.
    pub(crate) fn number(&self, word: &str) -> u64 {
        let line = self.out.lines().find_map(|line| line.trim_start().strip_prefix(word));
        let number = line.and_then(|rest| rest.split_whitespace().next()).map(|number| number.replace(',', ""));
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {word} in {}", self.out))
    }
}

/// A server of ours: calls `talk` with each connection, on a thread of its own. It ends with the test's process.
pub(crate) fn server(talk: impl Fn(TcpStream) + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, talk) = (stream.expect("accepts"), talk.clone());
            stream.set_nodelay(true).expect("valid");
            thread::spawn(move || talk(stream));
        }
    });
    address
}

/// Sends a message and gets it back.
pub(crate) fn echo(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).expect("sends");
    let mut echo = vec![0; message.len()];
    stream.read_exact(&mut echo).expect("receives");
    assert_eq!(echo, message);
}

/// Waits until something is so; fails the test if it never is.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < FOREVER, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
