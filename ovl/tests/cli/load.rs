//! `ovl load`: what it measures, and the faults that it finds.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use predicates::prelude::*;
use predicates::str::contains;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{OVL, Server, ovl, server};

const SIZE: usize = 100;

/// Echoes messages of [`SIZE`] bytes, each as `change` would have it, which is given its number.
fn faulty(change: impl Fn(usize, Vec<u8>) -> Vec<u8> + Clone + Send + 'static) -> String {
    server(move |mut stream| {
        let mut message = vec![0; SIZE];
        for number in 0.. {
            if stream.read_exact(&mut message).is_err() || stream.write_all(&change(number, message.clone())).is_err() {
                return;
            }
        }
    })
}

/// Runs a load that must fail and returns its report.
fn failing(address: &str, more: &[&str]) -> Value {
    let args = ["load", address, "-n", "50", "-s", "100", "-c", "1", "--timeout", "500ms", "--json", "-"];
    let output = ovl(args.into_iter().chain(more.iter().copied())).assert().code(1).stderr("").get_output().clone();
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verdict"], "failed");
    assert_eq!(report["connections"]["failed"], 1);
    report
}

/// The fault that was found: its kind, offset and number of bytes.
fn fault(report: &Value) -> (String, u64, u64) {
    let found = &report["faults"]["first"][0];
    let kind = found["kind"].as_str().unwrap_or_else(|| panic!("{report}")).to_owned();
    assert_eq!(report["faults"][&kind], 1);
    (kind, found["offset"].as_u64().expect("a number"), found["bytes"].as_u64().expect("a number"))
}

#[test]
fn a_good_server_passes_and_every_message_is_counted() {
    let server = Server::start(&[]);
    let args =
        ["load", &server.address(), "-c", "7", "-n", "1000", "-s", "300", "-p", "5", "--threads", "2", "--json", "-"];
    let output = ovl(args).assert().code(0).stderr("").get_output().clone();
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["schema"], "overlapped.load/1");
    assert_eq!(report["verdict"], "ok");
    assert_eq!((report["messages"].as_u64(), report["bytes_verified"].as_u64()), (Some(1000), Some(300_000)));
    assert_eq!(report["connections"]["connected"], 7);
    let latency = &report["latency_us"];
    let order =
        ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"].map(|name| latency[name].as_f64().expect("a number"));
    assert!(order.is_sorted() && order[0] > 0.0, "{latency}");
    let ended = server.stop();
    assert_eq!(
        (ended.number("bytes"), ended.number("connections"), ended.number("errors")),
        (300_000, 7, 0),
        "{}",
        ended.out
    );
}

#[test]
fn more_connections_than_messages_are_fine() {
    let server = Server::start(&[]);
    ovl(["load", &server.address(), "-c", "20", "-n", "3"]).assert().code(0).stdout(contains("OK: every byte"));
    assert_eq!(server.stop().number("messages"), 3);
}

#[test]
fn messages_of_any_size_pass_a_server_of_any_buffer() {
    let server = Server::start(&["--buffer-size", "50"]);
    for (size, pipeline) in [("1", "1"), ("1", "300"), ("49", "3"), ("51", "3"), ("200K", "2")] {
        ovl(["load", &server.address(), "-c", "3", "-n", "30", "-s", size, "-p", pipeline]).assert().code(0);
    }
}

#[test]
fn a_run_for_a_time_leaves_its_warm_up_out() {
    let server = Server::start(&[]);
    let args = ["load", &server.address(), "-c", "2", "-d", "300ms", "--omit", "200ms", "--json", "-"];
    let output = ovl(args).assert().code(0).get_output().clone();
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let number = |name: &str| report[name].as_f64().expect("a number");
    assert!((0.29..0.5).contains(&number("elapsed_s")), "{report}");
    assert!(number("messages") > 0.0 && number("bytes_verified") > 64.0 * number("messages"), "{report}");
}

#[test]
fn the_table_goes_to_the_screen_when_the_json_goes_to_a_file() {
    let server = Server::start(&[]);
    let file = std::env::temp_dir().join(format!("ovl-load-{}.json", std::process::id()));
    let path = file.to_str().expect("text");
    let told = contains("p99.99").and(contains("messages per second")).and(contains("OK: every byte came back right"));
    ovl(["load", &server.address(), "-n", "100", "--json", path]).assert().code(0).stdout(told).stderr("");
    let report: Value = serde_json::from_slice(&fs::read(&file).expect("written")).expect("JSON");
    assert_eq!(report["messages"], 100);
    fs::remove_file(file).expect("is there");
}

#[test]
fn loss_in_the_stream_is_found() {
    let address = faulty(|number, message| if number == 7 { message[..90].to_vec() } else { message });
    // The next message shows that bytes are missing; or, with one outstanding, their absence does.
    for pipeline in ["1", "3"] {
        assert_eq!(fault(&failing(&address, &["-p", pipeline])), ("loss".to_owned(), 790, 10));
    }
}

#[test]
fn a_message_that_is_lost_is_found() {
    let address = faulty(|number, message| if number == 7 { Vec::new() } else { message });
    assert_eq!(fault(&failing(&address, &["-p", "4"])), ("loss".to_owned(), 700, 100));
}

#[test]
fn repetition_is_found() {
    let address = faulty(|number, message| if number == 7 { message.repeat(2) } else { message });
    for pipeline in ["1", "4"] {
        assert_eq!(fault(&failing(&address, &["-p", pipeline])), ("repetition".to_owned(), 800, 100));
    }
}

#[test]
fn reordering_is_found() {
    let address = server(|mut stream| {
        let mut pair = vec![0; 2 * SIZE];
        for number in 0.. {
            if stream.read_exact(&mut pair).is_err() {
                return;
            }
            if number == 3 {
                pair.rotate_left(SIZE);
            }
            if stream.write_all(&pair).is_err() {
                return;
            }
        }
    });
    assert_eq!(fault(&failing(&address, &["-p", "4"])), ("reordering".to_owned(), 600, 100));
}

#[test]
fn corruption_is_found() {
    let address = faulty(|number, mut message| {
        if number == 7 {
            message[42] ^= 1;
        }
        message
    });
    assert_eq!(fault(&failing(&address, &[])), ("corruption".to_owned(), 742, 1));
}

#[test]
fn surplus_is_found_even_behind_the_last_message() {
    let address = faulty(|number, mut message| {
        if number == 49 {
            message.extend_from_slice(&[0; 30]);
        }
        message
    });
    assert_eq!(fault(&failing(&address, &[])), ("surplus".to_owned(), 5000, 30));
}

#[test]
fn a_fault_on_one_connection_is_told_with_its_offset_and_leaves_the_others_alone() {
    let connections = Arc::new(AtomicUsize::new(0));
    let address = server(move |mut stream: TcpStream| {
        let bad = connections.fetch_add(1, Ordering::Relaxed).is_multiple_of(10);
        let mut message = [0; SIZE];
        for number in 0.. {
            if stream.read_exact(&mut message).is_err() {
                return;
            }
            if bad && number == 2 {
                message[0] ^= 0xff;
            }
            if stream.write_all(&message).is_err() {
                return;
            }
        }
    });
    let told = contains(": corruption at offset 200: 1 byte came back changed").count(3);
    ovl(["load", &address, "-c", "30", "-n", "600", "-s", "100"])
        .assert()
        .code(1)
        .stdout(told.and(contains("FAILED: 3 of 30 connections went wrong")));
}

#[test]
fn a_server_that_closes_early_is_a_failure_and_no_fault() {
    let address = server(|mut stream| {
        let mut message = [0; SIZE];
        for _ in 0..5 {
            stream.read_exact(&mut message).expect("the load sends");
            stream.write_all(&message).expect("the load reads");
        }
        stream.read_exact(&mut message).expect("the load sends");
    });
    let report = failing(&address, &[]);
    assert_eq!(report["errors"][0]["doing"], "receive");
    assert!(report["errors"][0]["error"].as_str().expect("text").contains("closed"), "{report}");
    assert_eq!(report["bytes_verified"], 500);
    assert_eq!(report["faults"]["first"], Value::Array(Vec::new()));
}

#[test]
fn nobody_there_is_a_failure_with_a_cure() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr()).expect("binds");
    ovl(["load", &address.to_string(), "-c", "200"])
        .assert()
        .code(1)
        .stdout(contains("connect failed 200 times: the connection was refused").and(contains("ovl serve --listen")));
}

#[test]
fn too_few_descriptors_are_refused_with_the_limit_and_the_cure() {
    let command = "ulimit -n 100; exec \"$0\" load 127.0.0.1:1 --connections 500";
    let output = Command::new("sh").args(["-c", command, OVL]).output().expect("runs");
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("may open only 100") && err.contains("ulimit -n") && err.contains("LimitNOFILE"), "{err}");
}

#[test]
fn ctrl_c_ends_early_and_reports_what_was_measured() {
    let server = Server::start(&[]);
    let child = Command::new(OVL)
        .args(["load", &server.address(), "-c", "2", "-d", "10m", "--json", "-"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    thread::sleep(Duration::from_millis(700));
    kill_process(Pid::from_raw(child.id() as i32).expect("a process"), Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), report["interrupted"].as_bool()), (Some(0), Some(true)), "{report}");
}

#[test]
fn wrong_usage_is_code_2() {
    for args in [
        &["--size", "0"][..],
        &["--connections", "0"],
        &["--pipeline", "0"],
        &["--duration", "1s", "--messages", "5"],
        &["--threads", "0"],
        &["nowhere"],
    ] {
        ovl(["load"].into_iter().chain(args.iter().copied())).assert().code(2).stdout("");
    }
}
