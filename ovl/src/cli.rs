//! The command line: every flag with its meaning, its default and its check in one place.

#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

/// Where servers listen and clients connect unless told otherwise.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:9190";

/// Echo servers in four models of overlapped I/O, a verifying client and a load generator.
#[derive(Debug, Parser)]
#[command(name = "ovl", version, about, max_term_width = 100)]
#[command(after_help = "Start with `ovl demo`. Or, in two terminals: `ovl serve` and `ovl client`.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The arguments of this process. Ends it, with 2, if they are wrong.
    pub(crate) fn of_this_process() -> Self {
        let cli = Self::parse();
        if let Command::Serve(options) = &cli.command
            && let Err(wrong) = options.suit_the_model()
        {
            let mut command = Self::command();
            command.build();
            let serve = command.find_subcommand_mut("serve").expect("it was parsed");
            serve.error(ErrorKind::ArgumentConflict, wrong).exit();
        }
        cli
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve, measure and verify in each model, and show the result: the place to begin
    Demo(Demo),
    /// Run an echo server, in one of four models
    Serve(Serve),
    /// Talk to an echo server and check what it answers
    Client(Client),
    /// Put verified load on an echo server and measure it
    Load(Load),
    #[cfg(target_os = "linux")]
    /// Compile C programs that were written for Windows, with the system's C compiler
    Cc(Compile),
    #[cfg(target_os = "linux")]
    /// Compile C++ programs that were written for Windows, with the system's C++ compiler
    #[command(name = "c++")]
    Cxx(Compile),
    /// Say what operations run on here, what this system allows, and what cures its shortcomings
    Doctor(Doctor),
}

/// How a server hears that an operation has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// A completion port: what ends is a packet in its queue, and any worker takes the next
    #[default]
    Port,
    /// Completion routines: the thread that started an operation is called at its end, while it sleeps alertably
    Routine,
    /// Events: each operation sets one at its end. A thread can wait for 64, one of them its own: N connections need N/63 threads
    Event,
    /// Futures: a task for each connection awaits one operation after the other
    Async,
}

impl Model {
    pub(crate) const ALL: [Self; 4] = [Self::Port, Self::Routine, Self::Event, Self::Async];

    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Routine => "routine",
            Self::Event => "event",
            Self::Async => "async",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
The first Ctrl-C (or SIGTERM) stops accepting, lets what was received be echoed, prints a summary and exits with 0.
A second one exits at once with 130.

Each receive takes what is there, up to the buffer's size, and is echoed before the next: a message that is longer leaves in \
pieces (try `--buffer-size 50`), and a client that does not read is not read from.")]
pub(crate) struct Serve {
    /// How the server hears that an operation has ended
    #[arg(long, value_enum, default_value_t)]
    pub(crate) model: Model,
    /// Address to listen on, as HOST:PORT; port 0 picks a free one. Can be given several times
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADDRESS, value_parser = address)]
    pub(crate) listen: Vec<String>,
    /// Model port: threads that take packets [default: twice the concurrency]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) workers: Option<u16>,
    /// Model port: how many workers may run at once, not counting those that are blocked; 0 means one per processor
    /// [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<u16>,
    /// Models routine and async: threads, which share the listeners; each serves whom it has accepted. Model event: threads to
    /// begin with, among which handles are shared out; more are started when these are full [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) threads: Option<u16>,
    /// Bytes that one receive takes at most (50, 16K, 1M)
    #[arg(long, value_name = "BYTES", default_value = "16K", value_parser = buffer_size)]
    pub(crate) buffer_size: usize,
    /// Serve at most so many connections at once. One that comes in beyond gets connected by the system, and waits
    /// unanswered until another leaves
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,
    /// Close a connection on which nothing was received, or nothing could be sent, for this long (30s, 500ms, 5m)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    /// Echo datagrams, too, on the same addresses
    #[arg(long)]
    pub(crate) udp: bool,
    /// How long echoes in flight may take to finish after the first Ctrl-C
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// Record what the library does in a file that Perfetto (<https://ui.perfetto.dev>) and chrome://tracing open
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    pub(crate) end_with_parent: bool,
}

impl Serve {
    /// Not each flag means something to each model. For one that does not: what to do instead.
    fn suit_the_model(&self) -> Result<(), String> {
        let model = self.model.name();
        match self.model {
            Model::Port if self.threads.is_some() => {
                Err("--threads needs --model routine, event or async: the threads of a port are its --workers"
                    .to_owned())
            }
            Model::Routine | Model::Event | Model::Async if self.workers.is_some() => {
                Err(format!("--workers needs --model port: how many threads model {model} has is said with --threads"))
            }
            Model::Routine | Model::Event | Model::Async if self.concurrency.is_some() => Err(format!(
                "--concurrency needs --model port: nothing but a port keeps threads from running; how many model {model} has \
                 is said with --threads"
            )),
            Model::Port | Model::Routine | Model::Event | Model::Async => Ok(()),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Sends each line of the input, without its line end, and reads until as many bytes came back. `q` or `Q` alone, or the end \
of the input, leaves. Empty lines are not sent.

Exit codes:
  0  every byte came back, and none besides
  1  no connection, or another failure of input or output
  2  wrong usage
  3  the server closed the connection too early
  4  the server answered with other bytes than were sent
  5  the server answered with more bytes than were sent
  6  the answer did not come in time")]
pub(crate) struct Client {
    /// The server, as HOST:PORT
    #[arg(value_name = "ADDR", default_value = DEFAULT_ADDRESS, value_parser = address)]
    pub(crate) address: String,
    /// How long to wait for a connection, and for the next bytes of an answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Print the echoes only, and nothing about pieces
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each connection keeps `--pipeline` messages outstanding and sends the next when one has come back (a closed loop). Every byte \
is compared with a pseudo-random stream of the connection's own, so loss, repetition, reordering, corruption and surplus are \
told apart, with the offset. Latency counts from the start of a message's send until its last byte is back.

Exit codes: 0 if every byte came back right on every connection, 1 if not, 2 wrong usage.")]
pub(crate) struct Load {
    /// The server, as HOST:PORT
    #[arg(value_name = "ADDR", default_value = DEFAULT_ADDRESS, value_parser = address)]
    pub(crate) address: String,
    /// Connections, all open at once
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Bytes in a message (64, 16K, 1M)
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = message_size)]
    pub(crate) size: usize,
    /// Messages that each connection keeps outstanding
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) pipeline: u32,
    /// How long to send (10s, 500ms, 1m) [default: 5s]
    #[arg(short, long, value_name = "TIME", value_parser = duration, conflicts_with = "messages")]
    pub(crate) duration: Option<Duration>,
    /// Send this many messages, shared out evenly among the connections, instead of for a time
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: Option<u64>,
    /// Leave the first part out of the measurement, as warm-up; it is verified all the same
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration_or_none)]
    pub(crate) omit: Duration,
    /// Threads that produce the load
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// How long a connection may take to come about
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,
    /// How long to wait for bytes that are due before they count as lost
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// The bytes that are sent depend on this number alone
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the result as JSON to a file, or to standard output (-) in place of the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 only if every byte came back right, from each server in the table.")]
pub(crate) struct Demo {
    /// How long to run each model
    #[arg(short, long, value_name = "TIME", default_value = "2.5s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Connections to drive it with
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Bytes in a message
    #[arg(short, long, value_name = "BYTES", default_value = "64", value_parser = message_size)]
    pub(crate) size: usize,
    /// Compile servers in C that were written for Windows, as they are, and measure them beside ours. Where Wine is
    /// installed (wine, wineserver and x86_64-w64-mingw32-gcc on the PATH) the same sources run as .exe under it, too
    #[arg(long)]
    pub(crate) win32: bool,
    /// Write the result as a web page, too: one file, with pictures, that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[cfg(target_os = "linux")]
#[derive(Debug, Args)]
#[command(after_help = "\
Runs $CC, or cc (c++: $CXX, or c++) with the arguments as they are, and what a Windows program needs besides: the headers of \
overlapped-win32, in whatever spelling the sources include them; what Microsoft's compilers let pass; the library, when it links. \
A static copy of the library goes into the program; `-static` makes all of it static, `--ovl-shared` uses the shared library. \
Libraries of Windows' (-lws2_32, ws2_32.lib) are left out.

Headers and library are looked for in $OVERLAPPED_WIN32 (with include/overlapped-win32 and lib in it), beside the installed `ovl`, \
and in the build tree. What ports and what does not: docs/porting.md.

Exit code: the compiler's.")]
pub(crate) struct Compile {
    /// What the compiler is given: `-c`, `-o`, `-O2`, sources, objects, libraries …
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
On Linux io_uring is used where it works, and readiness where it does not; OVERLAPPED_ENGINE=uring or =readiness in the environment \
asks for one. Windows has its own completion ports.

Exit code: 0 if there is an engine to run on, 1 if the one that was asked for is not to be had.")]
pub(crate) struct Doctor {
    /// Print JSON instead
    #[arg(long)]
    pub(crate) json: bool,
}

/// `HOST:PORT`, looked up later.
fn address(text: &str) -> Result<String, String> {
    let example = "write HOST:PORT, such as 127.0.0.1:9190, [::1]:9190 or localhost:9190";
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("the port is missing: {example}"))?;
    if host.is_empty() {
        return Err(format!("the host is missing: {example}"));
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(format!("an IPv6 address stands in brackets: {example}"));
    }
    port.parse::<u16>().map_err(|_| format!("`{port}` is no port (0 to 65535): {example}"))?;
    Ok(text.to_owned())
}

/// A number of bytes: `50`, `16K`, `16KiB`, `1M`.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        unit => return Err(format!("`{unit}` is no unit: write bytes, or K, M, G for 1024, 1024², 1024³ of them")),
    };
    let number: usize = digits.parse().map_err(|_| "write a number of bytes, such as 50, 16K or 1M".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

fn bytes_up_to(text: &str, most: usize) -> Result<usize, String> {
    match bytes(text)? {
        0 => Err("must be at least 1 byte".to_owned()),
        bytes if bytes > most => Err(format!("must be at most {}M", most >> 20)),
        bytes => Ok(bytes),
    }
}

fn buffer_size(text: &str) -> Result<usize, String> {
    bytes_up_to(text, 64 << 20)
}

fn message_size(text: &str) -> Result<usize, String> {
    bytes_up_to(text, 64 << 20)
}

/// A time: `2`, `1.5s`, `500ms`, `5m`, `1h`; a bare number is seconds. At most a year, so that sums of times stay times.
fn duration_or_none(text: &str) -> Result<Duration, String> {
    let example = "write a time such as 5s, 500ms or 2m";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("`{unit}` is no unit of time: {example}")),
    };
    let number: f64 = digits.parse().map_err(|_| example.to_owned())?;
    match Duration::try_from_secs_f64(number * unit) {
        Ok(time) if time <= Duration::from_secs(366 * 24 * 3600) => Ok(time),
        _ => Err(format!("out of range: {example}")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_none(text)? {
        Duration::ZERO => Err("must be more than 0".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_take_binary_units() {
        for (text, expected) in [("50", 50), ("16K", 16384), ("16kib", 16384), ("1M", 1 << 20), ("7B", 7)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "K", "1.5K", "-1", "16X", "99999999999999999999", "18446744073709551615G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert!(buffer_size("0").is_err() && buffer_size("65M").is_err());
    }

    #[test]
    fn times_take_units_and_fractions() {
        for (text, ms) in
            [("2", 2000), ("1.5s", 1500), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("0.25", 250)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "0", "-1s", "1d", "nan", "inf", "1e300", "5 apples"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration_or_none("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn an_address_is_host_and_port() {
        for text in ["127.0.0.1:9190", "localhost:0", "[::1]:80", "[::]:65535"] {
            assert_eq!(address(text).as_deref(), Ok(text));
        }
        for text in ["9190", ":9190", "::1:80", "localhost", "localhost:", "localhost:65536", "localhost:http"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
