//! What servers of all models have in common: the same tests for each.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::Duration;

use predicates::str::contains;
use rustix::process::Signal;

use crate::support::{FOREVER, OVL, Server, echo, eventually, ovl};

/// The flags that make a server one of a model.
#[derive(Clone, Copy)]
struct Model(&'static [&'static str]);

impl Model {
    fn serve(self, more: &[&str]) -> Server {
        Server::start(&[self.0, more].concat())
    }
}

/// A module of tests for each model, and one for several threads where that is another thing than one.
macro_rules! for_each_model {
    ($($behaviour:ident,)*) => {
        for_each_model! { port ["--model", "port"] $($behaviour)* }
        for_each_model! { routine ["--model", "routine"] $($behaviour)* }
        for_each_model! { routine_on_three_threads ["--model", "routine", "--threads", "3"] $($behaviour)* }
        for_each_model! { event ["--model", "event"] $($behaviour)* }
        for_each_model! { futures ["--model", "async"] $($behaviour)* }
        for_each_model! { futures_on_two_threads ["--model", "async", "--threads", "2"] $($behaviour)* }
    };
    ($name:ident $flags:tt $($behaviour:ident)*) => {
        mod $name {
            $(#[test]
            fn $behaviour() {
                super::$behaviour(super::Model(&$flags));
            })*
        }
    };
}

for_each_model! {
    the_load_finds_every_byte_right,
    a_receive_takes_no_more_than_the_buffer_holds,
    the_summary_counts_connections_messages_bytes_and_the_peak,
    a_reset_is_counted_as_an_error_and_concerns_nobody_else,
    all_that_was_sent_before_a_half_close_comes_back_before_the_end,
    a_signal_ends_idle_connections_in_order_and_the_server_with_code_0,
    after_a_signal_what_was_received_is_still_echoed,
    the_grace_is_bounded,
    a_second_signal_ends_the_server_at_once,
    beyond_the_limit_a_client_waits_until_another_leaves,
    many_short_connections_pass_through_a_narrow_door,
    an_idle_connection_is_closed_and_one_that_is_not_stays,
    datagrams_are_echoed_whole_whatever_the_buffer_size,
    too_few_descriptors_are_reported_once_and_the_server_goes_on,
    that_nobody_reads_the_summary_is_no_failure,
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

fn the_load_finds_every_byte_right(model: Model) {
    let server = model.serve(&[]);
    ovl(["load", &server.address(), "-c", "20", "-n", "2000", "-s", "300", "-p", "5", "--threads", "2"])
        .assert()
        .code(0)
        .stdout(contains("OK: every byte came back right on 20 connections"));
    let ended = server.stop();
    assert_eq!(["connections", "bytes", "errors"].map(|word| ended.number(word)), [20, 600_000, 0], "{}", ended.out);
}

fn a_receive_takes_no_more_than_the_buffer_holds(model: Model) {
    let server = model.serve(&["--buffer-size", "50"]);
    let message: Vec<u8> = (0..1001u16).map(|n| n as u8).collect();
    echo(&mut server.connect(), &message);
    let ended = server.stop();
    assert!(ended.number("messages") >= 21, "{}", ended.out);
    assert_eq!((ended.number("bytes"), ended.number("errors")), (1001, 0), "{}", ended.out);
}

fn the_summary_counts_connections_messages_bytes_and_the_peak(model: Model) {
    let server = model.serve(&[]);
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

fn a_reset_is_counted_as_an_error_and_concerns_nobody_else(model: Model) {
    let server = model.serve(&[]);
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

fn all_that_was_sent_before_a_half_close_comes_back_before_the_end(model: Model) {
    let server = model.serve(&["--buffer-size", "1000"]);
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

fn a_signal_ends_idle_connections_in_order_and_the_server_with_code_0(model: Model) {
    for signal in [Signal::TERM, Signal::INT] {
        let server = model.serve(&["--grace", "50s"]);
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

fn after_a_signal_what_was_received_is_still_echoed(model: Model) {
    let mut server = model.serve(&["--grace", "50s", "--buffer-size", "4K"]);
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
    assert!(!ended.out.contains("cut off"), "{}", ended.out);
}

fn the_grace_is_bounded(model: Model) {
    let server = model.serve(&["--grace", "200ms"]);
    let stuck = server.connect();
    fill(&stuck);
    let ended = server.stop();
    assert!(ended.out.contains("cut off      1 connection still busy"), "{}", ended.out);
}

fn a_second_signal_ends_the_server_at_once(model: Model) {
    let mut server = model.serve(&["--grace", "1h"]);
    let stuck = server.connect();
    fill(&stuck);
    server.signal(Signal::INT);
    server.wait_for_err("once more to end at once");
    server.signal(Signal::INT);
    let ended = server.ended();
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    assert_eq!(ended.out, "");
}

fn beyond_the_limit_a_client_waits_until_another_leaves(model: Model) {
    let server = model.serve(&["--max-connections", "2", "--listen", "127.0.0.1:0"]);
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

fn many_short_connections_pass_through_a_narrow_door(model: Model) {
    let server = model.serve(&["--max-connections", "1"]);
    for number in 0..200u8 {
        echo(&mut server.connect(), &[number; 10]);
    }
    let ended = server.stop();
    assert_eq!((ended.number("connections"), ended.number("messages")), (200, 200), "{}", ended.out);
}

fn an_idle_connection_is_closed_and_one_that_is_not_stays(model: Model) {
    let server = model.serve(&["--idle-timeout", "1s"]);
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

fn datagrams_are_echoed_whole_whatever_the_buffer_size(model: Model) {
    let server = model.serve(&["--udp", "--buffer-size", "50"]);
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

fn too_few_descriptors_are_reported_once_and_the_server_goes_on(model: Model) {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" serve --listen 127.0.0.1:0 \"$@\"", OVL]).args(model.0);
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

fn that_nobody_reads_the_summary_is_no_failure(model: Model) {
    let ended = model.serve(&[]).stop_unread();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
}
