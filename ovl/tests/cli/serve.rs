//! `ovl serve`: its ready lines, and what only one model has.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use predicates::str::contains;
use rustix::process::Signal;

use crate::support::{OVL, Server, echo, ovl};

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

/// The kernel takes the rings of a process that was killed apart a little later, and a listener with them.
#[test]
fn a_server_that_was_killed_is_started_again_at_once() {
    let start = |address: &str| {
        let mut command = Command::new(OVL);
        command.args(["serve", "--listen", address]);
        Server::spawn(command, 1)
    };
    let mut server = start("127.0.0.1:0");
    let address = server.address();
    for _ in 0..20 {
        echo(&mut server.connect(), b"hello");
        server.signal(Signal::KILL);
        assert_eq!(server.ended().code, None);
        server = start(&address);
    }
    assert_eq!(server.address(), address);
}

#[test]
fn an_address_that_another_server_has_is_refused() {
    let server = Server::start(&[]);
    let address = server.address();
    ovl(["serve", "--listen", address.as_str()]).assert().failure().stderr(contains("cannot listen on"));
}

#[test]
fn there_are_twice_as_many_workers_as_may_run() {
    let server = Server::start(&["--concurrency", "3"]);
    assert!(server.ready[0].contains("6 workers, concurrency 3"), "{:?}", server.ready);
}

#[test]
fn models_without_a_port_say_how_many_threads_they_begin_with() {
    for (model, more, threads) in [
        ("routine", &[][..], "1 thread"),
        ("routine", &["--threads", "3"], "3 threads"),
        ("event", &[], "1 thread"),
        ("event", &["--threads", "2"], "2 threads"),
        ("async", &["--threads", "2"], "2 threads"),
    ] {
        let server = Server::start(&[&["--model", model], more].concat());
        let address = server.address();
        let expected = format!("listening on {address} (model {model}, engine io_uring, {threads})\n");
        assert_eq!(server.ready, [expected]);
    }
}

#[test]
fn a_flag_that_means_nothing_to_the_model_is_refused_and_the_cure_is_named() {
    for (model, flag, cure) in [
        (
            "port",
            "--threads",
            "--threads needs --model routine, event or async: the threads of a port are its --workers",
        ),
        (
            "routine",
            "--workers",
            "--workers needs --model port: how many threads model routine has is said with --threads",
        ),
        ("event", "--workers", "--workers needs --model port"),
        ("async", "--workers", "--workers needs --model port"),
        ("routine", "--concurrency", "--concurrency needs --model port"),
        ("event", "--concurrency", "--concurrency needs --model port"),
        ("async", "--concurrency", "--concurrency needs --model port"),
    ] {
        ovl(["serve", "--model", model, flag, "1"]).assert().code(2).stdout("").stderr(contains(cure));
    }
}

#[test]
fn with_events_there_is_another_thread_for_each_63_handles() {
    let server = Server::start(&["--model", "event"]);
    let mut streams = vec![server.connect()];
    echo(&mut streams[0], b"all threads of the library are there");
    let with_one = server.threads();
    streams.extend((1..200).map(|_| server.connect()));
    // Twice, and the second time in the other order: each one's turn comes, wherever it stands in its thread.
    for (number, stream) in streams.iter_mut().enumerate() {
        echo(stream, &[number as u8; 20]);
    }
    for (number, stream) in streams.iter_mut().enumerate().rev() {
        echo(stream, &[number as u8; 30]);
    }
    // 200 connections and a listener: 4 times 63.
    assert_eq!(server.threads(), with_one + 3);
    // Places that become free are taken again.
    for mut leaving in streams.drain(..100) {
        leaving.shutdown(Shutdown::Write).expect("connected");
        assert_eq!(leaving.read(&mut [0]).expect("the end"), 0);
    }
    streams.extend((0..100).map(|_| server.connect()));
    streams.iter_mut().for_each(|stream| echo(stream, b"again"));
    assert_eq!(server.threads(), with_one + 3);
    let ended = server.stop();
    assert!(ended.out.contains("(peak 20"), "{}", ended.out);
    let counts = ["connections", "errors"].map(|word| ended.number(word));
    assert_eq!(counts, [300, 0], "{}", ended.out);
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
