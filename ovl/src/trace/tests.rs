//! The library's vocabulary, said by hand, and what of it is in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use tracing::subscriber::with_default;
use tracing::{Level, event, trace_span};

use super::*;

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ovl-trace-{name}-{}.json", std::process::id()))
}

/// Traces what `happens` says, and reads the file back.
fn traced(name: &str, most_records: usize, happens: impl FnOnce(&Trace)) -> Vec<Value> {
    let file = path(name);
    let trace = Trace::start(&file, most_records).expect("a file");
    with_default(registry().with(trace.layer()), || happens(&trace));
    let written = trace.finish().expect("written");
    let events = read(&file);
    assert_eq!(events.len() as u64, written.events);
    fs::remove_file(file).expect("it is there");
    events
}

fn read(file: &PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("the file");
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    value["traceEvents"].as_array().expect("events").clone()
}

fn issued(id: u64, operation: &str, handle: i64) {
    event!(name: "issued", target: TARGET, Level::TRACE, id, operation, handle, "issued");
}

fn completed(id: u64, operation: &str, handle: i64, result: u64) {
    event!(name: "completed", target: TARGET, Level::TRACE, id, operation, handle, result, "completed");
}

fn failed(id: u64, operation: &str, handle: i64, error: &overlapped::Error) {
    event!(name: "completed", target: TARGET, Level::TRACE, id, operation, handle, result = %error, "completed");
}

fn dequeued(id: u64) {
    event!(name: "dequeued", target: TARGET, Level::TRACE, id, "dequeued");
}

/// Everything the library can say, each once or more, on two threads.
fn everything() {
    issued(1, "accept_each", 5);
    completed(1, "accept_each", 5, 0);
    event!(name: "queued", target: TARGET, Level::TRACE, id = 1u64, lane = 0u64, "queued");
    dequeued(1);
    issued(2, "recv_pooled", 7);
    event!(name: "posted", target: TARGET, Level::TRACE, "posted");
    event!(name: "released", target: TARGET, Level::TRACE, worker = 3u64, lane = 0u64, "released");
    event!(name: "handed_over", target: TARGET, Level::TRACE, lane = 0u64, from = 3u64, to = 4u64, "handed_over");
    trace_span!(target: TARGET, "wait").in_scope(|| completed(2, "recv_pooled", 7, 64));
    dequeued(2);
    issued(3, "send", 7);
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let second = thread::Builder::new().name("second".to_owned()).spawn(move || {
        tracing::dispatcher::with_default(&dispatch, || {
            trace_span!(target: TARGET, "alertable", timeout_ms = Some(1500u64)).in_scope(|| {
                failed(3, "send", 7, &overlapped::Error::OPERATION_ABORTED);
                trace_span!(target: TARGET, "routine", id = 3u64).in_scope(|| issued(4, "recv", 7));
                trace_span!(target: TARGET, "apc").in_scope(|| ());
            });
            event!(name: "apc_queued", target: TARGET, Level::TRACE, "apc_queued");
        });
    });
    second.expect("a thread").join().expect("no panic");
    trace_span!(target: TARGET, "wait").in_scope(|| ());
    completed(1, "accept", 5, 0); // the last time it is an ordinary accept
}

fn phase<'a>(events: &'a [Value], ph: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["ph"] == ph).collect()
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_else(|| panic!("no {field} in {event}"))
}

fn id(event: &Value) -> &str {
    text(&event["id2"], "local")
}

/// The ids of operations that began, having checked that each ended once, later, under the same name.
fn operations(events: &[Value]) -> BTreeSet<String> {
    let mut open = BTreeMap::new();
    let mut all = BTreeSet::new();
    for event in events {
        match text(event, "ph") {
            "b" => {
                assert!(all.insert(id(event).to_owned()), "began twice: {event}");
                open.insert(id(event), event);
            }
            "n" => assert!(open.contains_key(id(event)), "{event}"),
            "e" => {
                let began = open.remove(id(event)).unwrap_or_else(|| panic!("never began: {event}"));
                assert_eq!(began["name"], event["name"]);
                assert!(began["ts"].as_f64() <= event["ts"].as_f64(), "{began} {event}");
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "never ended: {open:?}");
    all
}

#[test]
fn every_word_of_the_vocabulary_is_in_the_file() {
    let events = traced("every-word", 1000, |_| everything());
    assert_eq!(operations(&events).len(), 4);
    let names: BTreeSet<_> = events.iter().map(|event| text(event, "name")).collect();
    for name in [
        "issued",
        "completed",
        "queued",
        "posted",
        "released",
        "handed_over",
        "apc_queued",
        "wait",
        "apc",
        "alertable",
        "routine: send (handle 7)",
        "packet: accept_each (handle 5)",
        "packet: recv_pooled (handle 7)",
        "recv (handle 7)",
    ] {
        assert!(names.contains(name), "no {name} among {names:?}");
    }
    let sleep = events.iter().find(|event| event["name"] == "alertable").expect("it was there");
    assert_eq!(sleep["args"]["timeout_ms"], 1500);
}

#[test]
fn threads_have_their_names_and_events_are_on_the_thread_where_they_happened() {
    let events = traced("threads", 1000, |_| everything());
    let named: BTreeMap<_, _> = phase(&events, "M")
        .into_iter()
        .filter(|event| event["name"] == "thread_name")
        .map(|event| (text(&event["args"], "name"), &event["tid"]))
        .collect();
    assert_eq!(named.len(), 2, "{named:?}");
    let routine = events.iter().find(|event| text(event, "name").starts_with("routine")).expect("it ran");
    assert_eq!(routine["tid"], *named["second"]);
}

#[test]
fn an_arrow_leads_from_each_end_to_who_was_told_of_it() {
    let events = traced("arrows", 1000, |_| everything());
    let slices = phase(&events, "X");
    let arrows = |end: &str| -> BTreeMap<&str, &Value> {
        let with = slices.iter().filter(|event| event[end] == true);
        with.map(|event| (text(event, "bind_id"), *event)).collect()
    };
    let (from, to) = (arrows("flow_out"), arrows("flow_in"));
    for (arrow, told) in &to {
        let end = from.get(arrow).unwrap_or_else(|| panic!("from nowhere: {told}"));
        assert_eq!(end["args"]["id"], told["args"]["id"]);
        assert!(end["ts"].as_f64() <= told["ts"].as_f64(), "{end} {told}");
    }
    assert_eq!((from.len(), to.len()), (4, 3), "of the end of the accept nobody was told");
}

#[test]
fn an_error_is_told_in_words() {
    let events = traced("error", 1000, |_| everything());
    let end = phase(&events, "e").into_iter().find(|event| text(event, "name").starts_with("send")).expect("it ended");
    assert_eq!(text(&end["args"], "result"), overlapped::Error::OPERATION_ABORTED.to_string());
}

#[test]
fn what_is_in_flight_at_the_end_ends_with_a_note() {
    let events = traced("in-flight", 1000, |_| {
        issued(1, "recv", 7);
        dequeued(99);
    });
    assert_eq!(operations(&events).len(), 1);
    let end = phase(&events, "e")[0];
    assert!(text(&end["args"], "note").contains("in flight"), "{end}");
    assert_eq!(text(phase(&events, "X")[0], "name"), "packet", "of an operation that nobody has heard of");
}

#[test]
fn the_limit_is_the_last_event_and_nothing_came_later() {
    let events = traced("limit", 5, |_| {
        for id in 1..1000 {
            issued(id, "recv", 7);
        }
    });
    assert_eq!(operations(&events).len(), 5);
    let last = events.last().expect("not empty");
    assert!(text(last, "name").contains("limit of 5 records is reached"), "{last}");
    assert_eq!(text(last, "s"), "g", "across all tracks");
    assert!(events.iter().all(|event| event["ts"].as_f64() <= last["ts"].as_f64()));
}

#[test]
fn the_file_is_whole_while_the_trace_goes_on() {
    let events = traced("whole", 1000, |_| {
        let file = path("whole");
        for id in 1..=3 {
            issued(id, "recv", 7);
            let begun = || phase(&read(&file), "b").len() as u64;
            while begun() < id {
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
    assert_eq!(operations(&events).len(), 3);
}

#[test]
fn what_is_not_the_librarys_is_not_in_the_trace() {
    let events = traced("targets", 1000, |trace| {
        event!(name: "issued", target: "somebody", Level::TRACE, id = 1u64, operation = "recv");
        trace_span!(target: "somebody", "wait").in_scope(|| issued(2, "recv", 7));
        assert!(!trace.shared.is_over());
    });
    assert_eq!(operations(&events).into_iter().collect::<Vec<_>>(), ["0x2"]);
    assert!(phase(&events, "X").is_empty());
}

#[test]
fn a_trace_that_is_over_asks_for_nothing() {
    let file = path("over");
    let trace = Trace::start(&file, 1000).expect("a file");
    let subscriber = registry().with(trace.layer());
    trace.finish().expect("written");
    with_default(subscriber, || {
        assert!(!tracing::enabled!(target: TARGET, Level::TRACE));
        everything();
    });
    assert_eq!(operations(&read(&file)).len(), 0);
    fs::remove_file(file).expect("it is there");
}

#[test]
fn a_span_is_no_longer_than_it_took() {
    let events = traced("span", 1000, |_| {
        trace_span!(target: TARGET, "wait").in_scope(|| thread::sleep(Duration::from_millis(20)));
    });
    let wait = phase(&events, "X")[0];
    let took = wait["dur"].as_f64().expect("a number");
    assert!((20_000.0..10_000_000.0).contains(&took), "{wait}");
}
