//! A client that sends lines and checks, byte by byte, that they come back.
//!
//! TCP is a stream: one send may be answered in several receives. So it reads until as many bytes came back as were sent, and
//! looks for more than that before it goes on.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead, ErrorKind, IsTerminal, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::Client;
use crate::{platform, text};

/// How a server failed to echo. Each has an exit code of its own.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    ClosedEarly { received: usize, expected: usize, reset: bool },
    OtherBytes { offset: usize, sent: u8, received: u8 },
    TooMany { surplus: Vec<u8> },
    Late { received: usize, expected: usize, waited: Duration },
}

impl Wrong {
    fn exit_code(&self) -> u8 {
        match self {
            Self::ClosedEarly { .. } => 3,
            Self::OtherBytes { .. } => 4,
            Self::TooMany { .. } => 5,
            Self::Late { .. } => 6,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedEarly { received, expected, reset } => {
                let how = if *reset { "reset" } else { "closed" };
                match expected {
                    0 => write!(f, "the server {how} the connection between two messages"),
                    _ => {
                        write!(f, "the server {how} the connection early: {received} of {expected} bytes had come back")
                    }
                }
            }
            Self::OtherBytes { offset, sent, received } => write!(
                f,
                "the server answered with other bytes: byte {offset} was sent as {} and came back as {}",
                text::byte(*sent),
                text::byte(*received)
            ),
            Self::TooMany { surplus } => write!(
                f,
                "the server answered with more bytes than were sent: {} too many, \"{}\"",
                surplus.len(),
                text::printable(surplus)
            ),
            Self::Late { received, expected, waited } => {
                write!(f, "nothing came for {}: {received} of {expected} bytes were back", text::time(*waited))
            }
        }
    }
}

/// Runs the session and returns the exit code.
pub(crate) fn run(options: &Client) -> Result<u8> {
    let stream = connect(&options.address, options.timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(options.timeout))?;
    let interactive = io::stdin().is_terminal();
    let mut session = Session { stream, timeout: options.timeout, explained: false };
    if interactive {
        eprintln!("connected to {}; type a message and press Enter, q leaves", session.stream.peer_addr()?);
    }
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        if interactive {
            eprint!("> ");
        }
        line.clear();
        let ended = input.read_until(b'\n', &mut line).context("cannot read the input")? == 0;
        if ended && interactive {
            eprintln!();
        }
        let message = line.strip_suffix(b"\n").unwrap_or(&line);
        let message = message.strip_suffix(b"\r").unwrap_or(message);
        if ended || message == b"q" || message == b"Q" {
            return match session.leave()? {
                Ok(()) => Ok(0),
                Err(wrong) => Ok(complain(&wrong)),
            };
        }
        if message.is_empty() {
            continue;
        }
        let (received, mut outcome) = session.exchange(message)?;
        if interactive && outcome.is_ok() {
            outcome = session.look_for_surplus(MOMENT)?.map_or(Ok(()), Err);
        }
        let shown = session.show(message.len(), &received, options.quiet);
        if shown.is_err() {
            return Ok(0); // nobody reads our output any more: leave, as `head` expects
        }
        if let Err(wrong) = outcome {
            return Ok(complain(&wrong));
        }
    }
}

fn complain(wrong: &Wrong) -> u8 {
    eprintln!("ovl: {wrong}");
    wrong.exit_code()
}

/// Connects to the first of the host's addresses that answers.
pub(crate) fn connect(address: &str, timeout: Duration) -> Result<TcpStream> {
    let addresses: Vec<SocketAddr> =
        address.to_socket_addrs().with_context(|| format!("cannot look up {address}"))?.collect();
    let mut failure = io::Error::from(ErrorKind::NotFound);
    for candidate in addresses {
        match TcpStream::connect_timeout(&candidate, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    let cure = if failure.kind() == ErrorKind::ConnectionRefused {
        format!(" (nothing listens there: start one with `ovl serve --listen {address}`)")
    } else {
        String::new()
    };
    Err(failure).with_context(|| format!("cannot connect to {address}{cure}"))
}

/// What came back for a message, and where its pieces end.
#[derive(Debug, Default)]
struct Received {
    bytes: Vec<u8>,
    ends: BTreeSet<usize>,
}

impl Received {
    fn pieces(&self) -> Vec<usize> {
        let ends = self.ends.iter().copied();
        let starts = [0].into_iter().chain(ends.clone());
        ends.zip(starts).map(|(end, start)| end - start).collect()
    }
}

struct Session {
    stream: TcpStream,
    timeout: Duration,
    /// The reason for pieces is given once.
    explained: bool,
}

/// For a terminal's user a moment is nothing, and a surplus that follows at once is seen with the message that caused it.
const MOMENT: Duration = Duration::from_millis(20);

impl Session {
    /// Sends a message and reads until it is back, or it shows that it will not be.
    fn exchange(&mut self, message: &[u8]) -> Result<(Received, Result<(), Wrong>)> {
        if let Some(wrong) = self.look_for_surplus(Duration::ZERO)? {
            return Ok((Received::default(), Err(wrong)));
        }
        let stream = &self.stream;
        let (sent, seen) = platform::watch(stream, message)?;
        // What did not fit is sent by a thread, while this one reads: of two long messages neither must wait for the other.
        let rest = &message[sent..];
        thread::scope(|scope| {
            let sender = (!rest.is_empty()).then(|| scope.spawn(|| (&mut &*stream).write_all(rest)));
            let mut received = Received { bytes: Vec::new(), ends: seen };
            let outcome = read_back(stream, message, &mut received, self.timeout)?;
            if outcome.is_err() {
                let _ = stream.shutdown(Shutdown::Both); // ends the sender if it still waits
            }
            let sent = sender.map_or(Ok(()), |sender| sender.join().expect("the sender does not panic"));
            if outcome.is_ok() {
                sent.context("cannot send")?; // otherwise the reader has said why
            }
            Ok((received, outcome))
        })
    }

    /// Whether something arrives within `time` though nothing is due: bytes, or the end.
    fn look_for_surplus(&self, time: Duration) -> Result<Option<Wrong>> {
        let mut surplus = [0; 256];
        let read = if time.is_zero() {
            platform::read_now(&self.stream, &mut surplus)
        } else {
            self.stream.set_read_timeout(Some(time))?;
            let read = (&self.stream).read(&mut surplus);
            self.stream.set_read_timeout(Some(self.timeout))?;
            read
        };
        match read {
            Ok(0) => Ok(Some(Wrong::ClosedEarly { received: 0, expected: 0, reset: false })),
            Ok(bytes) => Ok(Some(Wrong::TooMany { surplus: surplus[..bytes].to_vec() })),
            Err(error) if is_time_up(&error) => Ok(None),
            Err(error) if is_reset(&error) => Ok(Some(Wrong::ClosedEarly { received: 0, expected: 0, reset: true })),
            Err(error) => Err(error).context("cannot receive"),
        }
    }

    /// Says that nothing more will be sent, and waits a little for the server to close: what still comes is too much.
    fn leave(&self) -> Result<Result<(), Wrong>> {
        const PATIENCE: Duration = Duration::from_secs(1);
        if let Some(wrong @ Wrong::TooMany { .. }) = self.look_for_surplus(Duration::ZERO)? {
            return Ok(Err(wrong));
        }
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return Ok(Ok(())); // the server was faster
        }
        match self.look_for_surplus(PATIENCE.min(self.timeout))? {
            Some(wrong @ Wrong::TooMany { .. }) => Ok(Err(wrong)),
            _ => Ok(Ok(())),
        }
    }

    /// Prints an echo, whole, so that no character is cut apart, and in which pieces it came.
    fn show(&mut self, sent: usize, received: &Received, quiet: bool) -> io::Result<()> {
        if received.bytes.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text::printable(&received.bytes))?;
        let pieces = received.pieces();
        if pieces.len() > 1 && !quiet {
            writeln!(out, "  {}", describe_pieces(sent, &pieces))?;
            if !self.explained {
                self.explained = true;
                writeln!(out, "  {}", explain_pieces(&pieces))?;
            }
        }
        out.flush()
    }
}

/// Reads until all of `message` is back, or something is wrong. What has come is in `received` either way.
fn read_back(
    mut stream: &TcpStream,
    message: &[u8],
    received: &mut Received,
    timeout: Duration,
) -> Result<Result<(), Wrong>> {
    let expected = message.len();
    // A little more than is due is enough to see that there are too many.
    let mut buffer = vec![0; (expected + 256).min(64 << 10)];
    while received.bytes.len() < expected {
        let offset = received.bytes.len();
        let bytes = match stream.read(&mut buffer) {
            Ok(0) => return Ok(Err(Wrong::ClosedEarly { received: offset, expected, reset: false })),
            Ok(bytes) => &buffer[..bytes],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if is_time_up(&error) => {
                return Ok(Err(Wrong::Late { received: offset, expected, waited: timeout }));
            }
            Err(error) if is_reset(&error) => {
                return Ok(Err(Wrong::ClosedEarly { received: offset, expected, reset: true }));
            }
            Err(error) => return Err(error).context("cannot receive"),
        };
        let due = &message[offset..];
        received.bytes.extend_from_slice(bytes);
        received.ends.insert(received.bytes.len());
        if let Some(at) = bytes.iter().zip(due).position(|(came, sent)| came != sent) {
            return Ok(Err(Wrong::OtherBytes { offset: offset + at, sent: due[at], received: bytes[at] }));
        }
        if bytes.len() > due.len() {
            return Ok(Err(Wrong::TooMany { surplus: bytes[due.len()..].to_vec() }));
        }
    }
    Ok(Ok(()))
}

fn is_time_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

fn describe_pieces(sent: usize, pieces: &[usize]) -> String {
    const SHOWN: usize = 12;
    let mut sizes: Vec<String> = pieces.iter().take(SHOWN).map(usize::to_string).collect();
    if pieces.len() > SHOWN {
        sizes.push("…".to_owned());
    }
    format!(
        "{} sent at once came back in {} pieces: {}",
        text::count(sent as u64, "byte"),
        pieces.len(),
        sizes.join(" + ")
    )
}

/// Why: the reader of `WSASend`'s documentation may suspect it, and it is not to blame.
fn explain_pieces(pieces: &[usize]) -> String {
    let (last, full) = pieces.split_last().expect("more than one piece");
    let buffer = full[0];
    // A piece that was read late holds several; so multiples of the first agree with it, too.
    let whose = if full.iter().all(|piece| piece.is_multiple_of(buffer)) && *last <= buffer * 64 {
        format!("a buffer of {buffer} bytes, it seems,")
    } else {
        "a buffer smaller than this message".to_owned()
    };
    format!(
        "Why: TCP is a stream: it keeps bytes in order, not messages together.\n  \
         The server receives into {whose} and echoes what each receive brought.\n  \
         No send was divided: not by this client, and not by WSASend."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_told_from_the_pieces() {
        assert_eq!(describe_pieces(120, &[50, 50, 20]), "120 bytes sent at once came back in 3 pieces: 50 + 50 + 20");
        assert!(explain_pieces(&[50, 50, 20]).contains("a buffer of 50 bytes"));
        assert!(explain_pieces(&[50, 100, 20]).contains("a buffer of 50 bytes"));
        assert!(explain_pieces(&[50, 30, 20]).contains("smaller than this message"));
    }

    #[test]
    fn many_pieces_are_not_all_listed() {
        let text = describe_pieces(2000, &[50; 40]);
        assert!(text.contains("40 pieces") && text.ends_with("+ …"), "{text}");
    }
}
