//! `ovl demo`.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{self, Command, Stdio};

use predicates::str::contains;
use roxmltree::{Document, ParsingOptions};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{OVL, ovl};

const MODELS: [&str; 4] = ["port", "routine", "event", "async"];

/// The rows of the table, cell by cell.
fn rows(out: &str) -> Vec<Vec<&str>> {
    let rows = out.lines().filter_map(|line| line.strip_prefix('│')?.strip_suffix('│'));
    let rows = rows.map(|row| row.split('┆').map(str::trim).collect::<Vec<_>>());
    rows.filter(|cells| MODELS.contains(&cells[0])).collect()
}

#[test]
fn the_demo_shows_each_model_with_every_byte_verified() {
    let ran = ovl(["demo", "--duration", "500ms", "--connections", "8"]).assert().code(0).stderr("");
    let out = String::from_utf8(ran.get_output().stdout.clone()).expect("text");
    let rows = rows(&out);
    assert_eq!(rows.iter().map(|cells| cells[0]).collect::<Vec<_>>(), MODELS, "{out}");
    for cells in rows {
        let [_, rate, _, _, _, threads, verified, good_for] = cells[..] else { panic!("{cells:?}") };
        for number in [rate, threads, verified] {
            let number = number.replace(',', "").parse::<u64>();
            assert!(number.is_ok_and(|number| number > 0), "{cells:?}");
        }
        assert_eq!(good_for.split(' ').count(), 6, "{good_for}");
    }
    for text in ["came back right", "io_uring", "ovl serve"] {
        assert!(out.contains(text), "{out}");
    }
}

#[test]
fn messages_of_any_size_will_do() {
    ovl(["demo", "-d", "300ms", "-c", "3", "-s", "100K"]).assert().code(0).stdout(contains("came back right"));
}

#[test]
fn with_more_connections_than_a_thread_can_wait_for_all_models_serve_them() {
    ovl(["demo", "-d", "300ms", "-c", "150"]).assert().code(0).stdout(contains("came back right"));
}

#[test]
fn the_page_is_well_formed_and_holds_what_the_table_does() {
    let path = env::temp_dir().join(format!("ovl-demo-{}.html", process::id()));
    let file = path.to_str().expect("text");
    let ran =
        ovl(["demo", "-d", "300ms", "-c", "4", "-s", "100", "--html", file]).assert().code(0).stdout(contains(file));
    let out = String::from_utf8(ran.get_output().stdout.clone()).expect("text");
    let page = fs::read_to_string(&path).expect("it was written");
    fs::remove_file(&path).expect("it is there");
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&page, options).expect("well-formed");
    let text: String = document.descendants().filter_map(|node| node.text()).collect();
    for cells in rows(&out) {
        // The rate, the latencies and the processor time.
        for shown in [&cells[..1], &cells[1..5]].concat() {
            assert!(text.contains(shown), "{shown}");
        }
        let drawn =
            document.descendants().filter(|node| node.has_tag_name("g") && node.attribute("class") == Some(cells[0]));
        assert!(drawn.count() >= 3, "{}", cells[0]);
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    for shown in [kernel.trim(), "io_uring", "100 bytes", "300 ms", "All right"] {
        assert!(text.contains(shown), "{shown}");
    }
}

#[test]
fn a_page_that_cannot_be_written_is_told_before_anything_runs() {
    ovl(["demo", "--html", "/nonexistent/page.html"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("cannot write /nonexistent/page.html"));
}

#[test]
fn a_demo_that_is_interrupted_says_so_and_is_no_success() {
    let mut command = Command::new(OVL);
    command.args(["demo", "-d", "30s", "-c", "2"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut demo = command.spawn().expect("ovl starts");
    let mut out = BufReader::new(demo.stdout.take().expect("piped"));
    let mut begun = String::new();
    out.read_line(&mut begun).expect("it says what it does");
    kill_process(Pid::from_raw(demo.id() as i32).expect("a process"), Signal::INT).expect("it runs");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("text");
    let ended = demo.wait_with_output().expect("ends");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(rest.contains("Interrupted") && !rest.contains("came back right"), "{rest}");
    assert!(rows(&rest).len() < MODELS.len(), "{rest}");
}
