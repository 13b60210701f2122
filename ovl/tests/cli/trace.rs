//! `ovl serve --trace FILE`: what is in the file, whatever ends the server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use predicates::str::contains;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Server, eventually, ovl};

/// A file of this test's own, which goes with it.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("ovl-cli-{name}-{}.json", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("plain")
    }

    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).expect("the server wrote it");
        let whole: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        whole["traceEvents"].as_array().expect("events").clone()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn echo(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).expect("sends");
    let mut echo = vec![0; message.len()];
    stream.read_exact(&mut echo).expect("receives");
    assert_eq!(echo, message);
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_else(|| panic!("no {field} in {event}"))
}

/// How many operations of each kind there were. Each that began ended once, and not before.
fn operations(events: &[Value]) -> BTreeMap<&str, usize> {
    let id = |event: &Value| text(&event["id2"], "local").to_owned();
    let (mut open, mut began) = (BTreeMap::new(), BTreeSet::new());
    let mut kinds = BTreeMap::new();
    for event in events {
        match text(event, "ph") {
            "b" => {
                assert!(began.insert(id(event)), "began twice: {event}");
                open.insert(id(event), event);
                *kinds.entry(text(&event["args"], "operation")).or_default() += 1;
            }
            "e" => {
                let start = open.remove(&id(event)).unwrap_or_else(|| panic!("never began: {event}"));
                assert!(start["ts"].as_f64() <= event["ts"].as_f64(), "{start} {event}");
                assert_eq!(start["name"], event["name"]);
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "never ended: {open:?}");
    kinds
}

#[test]
fn a_trace_shows_each_operation_from_its_start_to_its_end_and_names_the_threads() {
    for model in ["port", "routine", "event", "async"] {
        let file = File::new(model);
        let server = Server::start(&["--model", model, "--trace", file.path()]);
        let mut stream = server.connect();
        for message in 0..5u8 {
            echo(&mut stream, &[message; 64]);
        }
        let ended = server.stop();
        assert!(ended.err.contains(file.path()) && ended.err.contains("ui.perfetto.dev"), "{}", ended.err);

        let events = file.events();
        let kinds = operations(&events);
        assert_eq!(kinds.get("send"), Some(&5), "{model}: {kinds:?}");
        assert!(kinds.get("recv_pooled").is_some_and(|receives| (5..=6).contains(receives)), "{model}: {kinds:?}");
        let sent: Vec<_> = events
            .iter()
            .filter(|event| event["ph"] == "e" && text(event, "name").starts_with("send "))
            .map(|event| &event["args"]["result"])
            .collect();
        assert_eq!(sent, [64; 5], "{model}");

        let named: BTreeSet<_> =
            events.iter().filter(|event| event["name"] == "thread_name").map(|event| event["tid"].as_u64()).collect();
        for event in events.iter().filter(|event| event["ph"] == "X" || event["ph"] == "i") {
            assert!(named.contains(&event["tid"].as_u64()), "{model}: on a thread without a name: {event}");
        }
        assert!(!named.is_empty(), "{model}");
    }
}

#[test]
fn an_arrow_leads_to_each_packet_and_routine_from_the_end_of_its_operation() {
    for (model, told) in [("port", "packet: "), ("routine", "routine: ")] {
        let file = File::new(&format!("arrows-{model}"));
        let server = Server::start(&["--model", model, "--trace", file.path()]);
        echo(&mut server.connect(), b"hello");
        server.stop();
        let events = file.events();
        let arrows = |end: &str| -> BTreeMap<&str, &Value> {
            events.iter().filter(|event| event[end] == true).map(|event| (text(event, "bind_id"), event)).collect()
        };
        let (from, to) = (arrows("flow_out"), arrows("flow_in"));
        assert!(to.len() >= 3, "an accept, a receive and a send at least: {to:?}");
        for (arrow, heard) in to {
            let end = from.get(arrow).unwrap_or_else(|| panic!("from nowhere: {heard}"));
            assert!(end["ts"].as_f64() <= heard["ts"].as_f64(), "{end} {heard}");
            assert!(text(heard, "name").starts_with(told), "{heard}");
        }
    }
}

#[test]
fn the_file_is_whole_when_a_second_signal_ends_the_server_at_once() {
    let file = File::new("second-signal");
    let mut server = Server::start(&["--trace", file.path(), "--grace", "1h"]);
    let mut stream = server.connect();
    echo(&mut stream, b"hello");
    eventually("the trace has the echo", || file.events().iter().any(|event| text(event, "name").starts_with("send ")));
    // So that there is something to wait for: it never reads.
    stream.set_nonblocking(true).expect("valid");
    while stream.write(&[7; 65536]).is_ok() {}
    server.signal(Signal::INT);
    server.wait_for_err("once more to end at once");
    server.signal(Signal::INT);
    assert_eq!(server.ended().code, Some(130));
    assert!(!file.events().is_empty());
}

#[test]
fn a_trace_that_cannot_be_written_is_told_with_code_1() {
    ovl(["serve", "--listen", "127.0.0.1:0", "--trace", "/nowhere/trace.json"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("cannot write the trace to /nowhere/trace.json: No such file or directory"));
}
