//! `ovl serve`: its ready line, its limits and its end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use predicates::str::contains;
use rustix::process::Signal;

use crate::support::{FOREVER, OVL, Server, eventually, ovl};

fn echo(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).expect("sends");
    let mut echo = vec![0; message.len()];
    stream.read_exact(&mut echo).expect("receives");
    assert_eq!(echo, message);
}

/// Whether the server answers on this connection within a moment.
fn is_answered(stream: &mut TcpStream, wait: Duration) -> bool {
    stream.set_read_timeout(Some(wait)).expect("valid");
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(bytes) => bytes == 1,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Sends without ever reading until the server takes no more.
fn fill(stream: &TcpStream) {
    stream.set_nonblocking(true).expect("valid");
    let mut full = 0;
    while full < 20 {
        match (&mut &*stream).write(&[7; 65536]) {
            Ok(_) => full = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                full += 1;
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).expect("valid");
}

#[test]
fn each_listener_prints_its_ready_line() {
    let server = Server::start(&["--listen", "127.0.0.1:0", "--workers", "3", "--concurrency", "2"]);
    assert_eq!(server.ready.len(), 2);
    for (line, ready) in server.ready.iter().enumerate() {
        let address = server.address_of(line);
        assert_eq!(*ready, format!("listening on {address} (model port, engine io_uring, 3 workers, concurrency 2)\n"));
        echo(&mut TcpStream::connect(address).expect("connects"), b"hello");
    }
    assert_eq!(server.stop().number("connections"), 2);
}

#[test]
fn there_are_twice_as_many_workers_as_may_run() {
    let server = Server::start(&["--concurrency", "3"]);
    assert!(server.ready[0].contains("6 workers, concurrency 3"), "{:?}", server.ready);
}

#[test]
fn the_summary_counts_connections_messages_bytes_and_the_peak() {
    let server = Server::start(&[]);
    for _ in 0..2 {
        let mut streams = [server.connect(), server.connect(), server.connect()];
        streams.iter_mut().for_each(|stream| echo(stream, &[1; 100]));
        for stream in &mut streams {
            stream.shutdown(Shutdown::Write).expect("connected");
            assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
        }
    }
    let ended = server.stop();
    let counts = ["connections", "messages", "bytes", "errors"].map(|word| ended.number(word));
    assert_eq!(counts, [6, 6, 600, 0], "{}", ended.out);
    assert!(ended.out.contains("(peak 3)"), "{}", ended.out);
}

#[test]
fn a_reset_is_counted_as_an_error_and_concerns_nobody_else() {
    let server = Server::start(&[]);
    let mut other = server.connect();
    let unread = server.connect();
    (&unread).write_all(&[1; 1000]).expect("sends");
    assert_eq!(unread.peek(&mut [0]).expect("the echo"), 1);
    drop(unread); // with bytes unread: a reset
    echo(&mut other, b"hello");
    // The reset is there when a later connection has come and gone.
    let mut later = server.connect();
    echo(&mut later, b"hello");
    let ended = server.stop();
    assert_eq!((ended.number("errors"), ended.number("connections")), (1, 3), "{}", ended.out);
    assert!(ended.out.contains("1 times: the connection was reset by the peer"), "{}", ended.out);
}

#[test]
fn all_that_was_sent_before_a_half_close_comes_back_before_the_end() {
    let server = Server::start(&["--buffer-size", "1000"]);
    let mut stream = server.connect();
    let sent: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    let mut writer = stream.try_clone().expect("clones");
    let to_send = sent.clone();
    let sender = thread::spawn(move || {
        writer.write_all(&to_send).expect("sends");
        writer.shutdown(Shutdown::Write).expect("connected");
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("receives");
    sender.join().expect("sends");
    assert_eq!(back, sent);
    assert_eq!(server.stop().number("errors"), 0);
}

#[test]
fn a_signal_ends_idle_connections_in_order_and_the_server_with_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&["--grace", "50s"]);
        let mut idle = server.connect();
        echo(&mut idle, b"hello");
        server.signal(signal);
        assert_eq!(idle.read(&mut [0]).expect("the end, not a reset"), 0);
        let ended = server.ended();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert_eq!((ended.number("connections"), ended.number("errors")), (1, 0), "{}", ended.out);
        assert!(!ended.out.contains("cut off"), "{}", ended.out);
    }
}

#[test]
fn after_a_signal_what_was_received_is_still_echoed() {
    let mut server = Server::start(&["--grace", "50s", "--buffer-size", "4K"]);
    let mut stream = server.connect();
    fill(&stream);
    server.signal(Signal::TERM);
    server.wait_for_err("finishing");
    let mut back = Vec::new();
    let end = stream.read_to_end(&mut back);
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    assert!(back.iter().all(|byte| *byte == 7));
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.number("bytes") >= back.len() as u64 && back.len() > 65536, "{} {}", back.len(), ended.out);
}

#[test]
fn the_grace_is_bounded() {
    let server = Server::start(&["--grace", "200ms"]);
    let stuck = server.connect();
    fill(&stuck);
    let ended = server.stop();
    assert!(ended.out.contains("cut off      1 connection still busy"), "{}", ended.out);
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut server = Server::start(&["--grace", "1h"]);
    let stuck = server.connect();
    fill(&stuck);
    server.signal(Signal::INT);
    server.wait_for_err("once more to end at once");
    server.signal(Signal::INT);
    let ended = server.ended();
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    assert_eq!(ended.out, "");
}

#[test]
fn beyond_the_limit_a_client_waits_until_another_leaves() {
    let server = Server::start(&["--max-connections", "2", "--listen", "127.0.0.1:0"]);
    let (mut first, mut second) = (server.connect(), server.connect());
    echo(&mut first, b"1");
    echo(&mut second, b"2");
    // Through either listener.
    let mut waiting = [server.connect(), TcpStream::connect(server.address_of(1)).expect("connects")];
    for stream in &mut waiting {
        stream.write_all(b"x").expect("sends");
        assert!(!is_answered(stream, Duration::from_millis(200)));
    }
    drop(first);
    eventually("one of them is served", || {
        waiting.iter_mut().any(|stream| is_answered(stream, Duration::from_millis(50)))
    });
    drop(second);
    drop(waiting);
    let mut later = server.connect();
    echo(&mut later, b"3");
    let ended = server.stop();
    assert_eq!(ended.number("connections"), 5, "{}", ended.out);
    assert!(ended.out.contains("(peak 2)"), "{}", ended.out);
}

#[test]
fn many_short_connections_pass_through_a_narrow_door() {
    let server = Server::start(&["--max-connections", "1"]);
    for number in 0..200u8 {
        echo(&mut server.connect(), &[number; 10]);
    }
    let ended = server.stop();
    assert_eq!((ended.number("connections"), ended.number("messages")), (200, 200), "{}", ended.out);
}

#[test]
fn an_idle_connection_is_closed_and_one_that_is_not_stays() {
    let server = Server::start(&["--idle-timeout", "1s"]);
    let mut idle = server.connect();
    let mut busy = server.connect();
    echo(&mut idle, b"hello");
    let end = thread::spawn(move || idle.read(&mut [0]).expect("the end, not a reset"));
    while !end.is_finished() {
        echo(&mut busy, b"still here");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(end.join().expect("no panic"), 0);
    echo(&mut busy, b"still here");
    let ended = server.stop();
    assert!(ended.out.contains("1 connection closed by --idle-timeout"), "{}", ended.out);
    assert_eq!(ended.number("errors"), 0, "{}", ended.out);
}

#[test]
fn datagrams_are_echoed_whole_whatever_the_buffer_size() {
    let server = Server::start(&["--udp", "--buffer-size", "50"]);
    let address = server.address_of(1);
    assert_eq!(address, server.address_of(0), "TCP and UDP share the port");
    assert_eq!(server.ready[1].replace("/udp", ""), server.ready[0], "the lines differ in nothing else");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    socket.set_read_timeout(Some(FOREVER)).expect("valid");
    for bytes in [1, 50, 51, 1400, 60_000, 0] {
        let datagram = vec![9; bytes];
        socket.send_to(&datagram, address).expect("sends");
        let mut back = vec![0; 65536];
        let (length, from) = socket.recv_from(&mut back).expect("receives");
        assert_eq!((length, from), (bytes, address));
        assert_eq!(back[..length], datagram);
    }
    echo(&mut server.connect(), b"TCP, too");
    let ended = server.stop();
    assert_eq!((ended.number("messages"), ended.number("errors")), (7, 0), "{}", ended.out);
}

#[test]
fn too_few_descriptors_are_reported_once_and_the_server_goes_on() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" serve --listen 127.0.0.1:0", OVL]);
    let mut server = Server::spawn(command, 1);
    let mut streams: Vec<_> = (0..60).map(|_| server.connect()).collect();
    let err = server.wait_for_err("ulimit -n");
    assert!(err.contains("cannot accept: too many open files"), "{err}");
    // It stays so for a while: no second report.
    thread::sleep(Duration::from_millis(500));
    streams.truncate(5);
    let mut late = server.connect();
    echo(&mut late, b"served after all");
    streams.iter_mut().for_each(|stream| echo(stream, b"and so are the others"));
    let ended = server.stop();
    assert!(!ended.err.contains("cannot accept"), "{}", ended.err);
    assert!(ended.number("errors") >= 1, "{}", ended.out);
}

#[test]
fn an_address_in_use_is_told_with_code_1() {
    let server = Server::start(&[]);
    ovl(["serve", "--listen", &server.address()])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains(format!("cannot listen on {}: the address is in use", server.address())));
}

#[test]
fn wrong_usage_is_code_2() {
    for args in [
        ["--buffer-size", "0"],
        ["--buffer-size", "1X"],
        ["--workers", "0"],
        ["--max-connections", "0"],
        ["--idle-timeout", "0s"],
        ["--model", "magic"],
        ["--listen", "9190"],
    ] {
        ovl(["serve"].into_iter().chain(args)).assert().code(2).stdout("");
    }
}

#[test]
fn that_nobody_reads_the_summary_is_no_failure() {
    let ended = Server::start(&[]).stop_unread();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
}
