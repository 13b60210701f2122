//! `ovl client`: what it prints, and how it tells bad servers apart.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use predicates::prelude::*;
use predicates::str::contains;

use crate::support::{Server, ovl, server};

/// Reads a message of `bytes` bytes.
fn read(stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut message = vec![0; bytes];
    stream.read_exact(&mut message).expect("the client sends");
    message
}

/// Long enough that what is written before and after arrives apart.
const APART: Duration = Duration::from_millis(100);

#[test]
fn lines_come_back_and_q_leaves() {
    let server = Server::start(&[]);
    for quit in ["q", "Q"] {
        let input = format!("hello\n\nGrüße, 世界\r\n{quit}\nnot sent\n");
        ovl(["client", &server.address()])
            .write_stdin(input)
            .assert()
            .code(0)
            .stdout("hello\nGrüße, 世界\n")
            .stderr("");
    }
    let ended = server.stop();
    assert_eq!((ended.number("messages"), ended.number("errors")), (4, 0), "{}", ended.out);
}

#[test]
fn the_end_of_the_input_leaves_and_the_last_line_needs_no_end() {
    let server = Server::start(&[]);
    ovl(["client", &server.address()]).write_stdin("no line end").assert().code(0).stdout("no line end\n");
    ovl(["client", &server.address()]).write_stdin("").assert().code(0).stdout("");
}

#[test]
fn a_small_buffer_of_the_server_shows_as_pieces_with_the_cause() {
    let server = Server::start(&["--buffer-size", "50"]);
    // On a busy machine the pieces of one message may join before the client sees them; not those of all.
    let line = "0123456789".repeat(12) + "\n";
    let output = ovl(["client", &server.address()]).write_stdin(line.repeat(200)).assert().code(0).get_output().clone();
    let out = String::from_utf8(output.stdout).expect("text");
    assert_eq!(out.lines().filter(|echo| line.trim_end() == *echo).count(), 200);
    assert!(out.contains("120 bytes sent at once came back in 3 pieces: 50 + 50 + 20"), "{out}");
    assert_eq!(out.matches("Why: TCP is a stream").count(), 1, "{out}");
    assert!(server.stop().number("messages") >= 600);
}

#[test]
fn the_sizes_of_the_pieces_are_printed_under_the_echo() {
    let address = server(|mut stream| {
        let message = read(&mut stream, 120);
        for piece in message.chunks(50) {
            stream.write_all(piece).expect("the client reads");
            thread::sleep(APART);
        }
    });
    let line = "a".repeat(120);
    let expected =
        format!("{line}\n  120 bytes sent at once came back in 3 pieces: 50 + 50 + 20\n  Why: TCP is a stream");
    let told = contains("a buffer of 50 bytes").and(contains("not by WSASend"));
    ovl(["client", &address]).write_stdin(line.clone()).assert().code(0).stdout(contains(expected)).stdout(told);
    ovl(["client", "--quiet", &address]).write_stdin(line.clone()).assert().code(0).stdout(line + "\n");
}

#[test]
fn a_character_that_comes_in_two_pieces_is_printed_whole() {
    let address = server(|mut stream| {
        let message = read(&mut stream, 6);
        stream.write_all(&message[..4]).expect("the client reads");
        thread::sleep(APART);
        stream.write_all(&message[4..]).expect("the client reads");
    });
    ovl(["client", "-q", &address]).write_stdin("世界\n").assert().code(0).stdout("世界\n");
}

#[test]
fn bytes_that_are_no_text_are_escaped() {
    let server = Server::start(&[]);
    ovl(["client", &server.address()])
        .write_stdin(b"a\xff\x1b[1m\n".to_vec())
        .assert()
        .code(0)
        .stdout("a\\xff\\u{1b}[1m\n");
}

#[test]
fn a_message_larger_than_any_buffer_comes_back() {
    let server = Server::start(&[]);
    let line = "x".repeat(5_000_000) + "\n";
    ovl(["client", "-q", &server.address()]).write_stdin(line.clone()).assert().code(0).stdout(line);
    assert_eq!(server.stop().number("bytes"), 5_000_000);
}

#[test]
fn a_server_that_closes_early_is_code_3() {
    let address = server(|mut stream| {
        let message = read(&mut stream, 10);
        stream.write_all(&message[..4]).expect("the client reads");
    });
    ovl(["client", &address])
        .write_stdin("0123456789\n")
        .assert()
        .code(3)
        .stdout(contains("0123\n"))
        .stderr(contains("closed the connection early: 4 of 10 bytes had come back"));
}

#[test]
fn a_server_that_resets_the_connection_is_code_3() {
    // Closing with bytes unread resets.
    let address = server(|stream| {
        let mut first = [0];
        (&stream).read_exact(&mut first).expect("the client sends");
    });
    ovl(["client", &address]).write_stdin("0123456789\n").assert().code(3).stderr(contains("0 of 10 bytes"));
}

#[test]
fn a_server_that_closes_between_messages_is_code_3() {
    let address = server(|mut stream| {
        let message = read(&mut stream, 5);
        stream.write_all(&message).expect("the client reads");
    });
    ovl(["client", &address]).write_stdin("hello\n".repeat(100_000)).assert().code(3).stdout(contains("hello"));
}

#[test]
fn other_bytes_are_code_4_with_the_offset() {
    let address = server(|mut stream| {
        let mut message = read(&mut stream, 10);
        message[7] ^= 0x20;
        stream.write_all(&message).expect("the client reads");
        thread::sleep(APART);
    });
    ovl(["client", &address])
        .write_stdin("ABCDEFGHIJ\n")
        .assert()
        .code(4)
        .stdout(contains("ABCDEFGhIJ"))
        .stderr(contains("byte 7 was sent as 0x48 'H' and came back as 0x68 'h'"));
}

#[test]
fn too_many_bytes_are_code_5_whether_they_come_at_once_or_later() {
    let at_once = server(|mut stream| {
        let message = read(&mut stream, 5);
        stream.write_all(&[&message[..], b"!!"].concat()).expect("the client reads");
        thread::sleep(APART);
    });
    let later = server(|mut stream| {
        let message = read(&mut stream, 5);
        stream.write_all(&message).expect("the client reads");
        thread::sleep(APART);
        let _ = stream.write_all(b"!!");
        thread::sleep(APART);
    });
    for address in [at_once, later] {
        ovl(["client", &address])
            .write_stdin("hello\n")
            .assert()
            .code(5)
            .stdout(contains("hello"))
            .stderr(contains("more bytes than were sent: 2 too many, \"!!\""));
    }
}

#[test]
fn an_answer_that_does_not_come_is_code_6() {
    let address = server(|mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink())));
    ovl(["client", "--timeout", "200ms", &address])
        .write_stdin("hello\n")
        .assert()
        .code(6)
        .stderr(contains("nothing came for 200 ms: 0 of 5 bytes"));
}

#[test]
fn nobody_there_is_code_1_and_says_how_to_start_a_server() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("binds");
    ovl(["client", &address.to_string()]).assert().code(1).stderr(contains(format!("ovl serve --listen {address}")));
}

#[test]
fn wrong_usage_is_code_2() {
    ovl(["client", "9190"]).assert().code(2).stderr(contains("HOST:PORT"));
    ovl(["client", "--timeout", "soon"]).assert().code(2).stderr(contains("such as 5s"));
    ovl(["sing"]).assert().code(2);
    ovl([]).assert().code(2).stderr(contains("demo"));
}

#[test]
fn the_help_lists_the_exit_codes() {
    ovl(["client", "--help"])
        .assert()
        .code(0)
        .stdout(contains("Exit codes:").and(contains("4  the server answered with other bytes")));
}
