//! Draws docs/five-messages.svg: five messages, one on each of five connections, through a server of each model.
//!
//! ```console
//! $ cargo build --release
//! $ cargo run --release -p ovl --example five_messages -- docs/five-messages.svg
//! ```
//!
//! It starts `ovl serve --model MODEL --trace FILE` for each model, sends, and draws what is in the traces: nothing else. Traces that
//! were recorded before can be named behind the picture, in the order of the models.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The models, and how each hears of a completion.
const MODELS: [(&str, &str, &str); 4] = [
    ("port", "Completion port", "any worker takes the next packet"),
    ("routine", "Completion routines", "called on the thread that asked, inside its alertable wait"),
    ("event", "Events", "a thread waits for any of them; another thread of the library sets them"),
    ("async", "Futures", "a task for each connection, polled on one thread"),
];

const MESSAGES: usize = 5;
const BYTES: usize = 64;
/// So often the five are sent. Drawn is the round of median length.
const ROUNDS: usize = 101;

#[cfg(unix)]
fn ask_to_end(server: &Child) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    Ok(kill_process(Pid::from_child(server), Signal::TERM)?)
}

#[cfg(not(unix))]
fn ask_to_end(_server: &Child) -> Result<()> {
    bail!("there are no signals here to end a server with: name traces that were recorded elsewhere")
}

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let picture = arguments.next().context("name the picture to be drawn, such as docs/five-messages.svg")?;
    let given: Vec<PathBuf> = arguments.collect();
    let traces = match given.is_empty() {
        true => MODELS.iter().map(|(model, ..)| record(model)).collect::<Result<_>>()?,
        false => given.clone(),
    };
    ensure!(traces.len() == MODELS.len(), "there are {} models, and so many traces", MODELS.len());
    let scenes: Vec<Scene> = traces
        .iter()
        .map(|trace| Scene::read(trace).with_context(|| trace.display().to_string()))
        .collect::<Result<_>>()?;
    for trace in traces.iter().filter(|trace| !given.contains(trace)) {
        fs::remove_file(trace)?;
    }
    fs::write(&picture, draw(&scenes)).with_context(|| picture.display().to_string())
}

/// Has a server of this model echo the messages, and returns its trace.
fn record(model: &str) -> Result<PathBuf> {
    let program = env::current_exe()?.parent().and_then(Path::parent).context("where is this?")?.join("ovl");
    let trace = env::temp_dir().join(format!("five-messages-{model}.json"));
    let mut server = Command::new(&program)
        .args(["serve", "--end-with-parent", "--listen", "127.0.0.1:0", "--model", model, "--trace"])
        .arg(&trace)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{}: build it first", program.display()))?;
    let mut ready = String::new();
    let mut out = BufReader::new(server.stdout.take().expect("piped"));
    out.read_line(&mut ready)?;
    let address = ready.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
    let address = address.with_context(|| format!("the server of model {model} did not start"))?;

    let mut connections = Vec::new();
    for _ in 0..MESSAGES {
        let connection = TcpStream::connect(address)?;
        connection.set_nodelay(true)?;
        connections.push(connection);
    }
    for _ in 0..ROUNDS {
        thread::sleep(Duration::from_millis(2)); // so that everybody sleeps again
        for connection in &mut connections {
            connection.write_all(&[7; BYTES])?;
        }
        for connection in &mut connections {
            connection.read_exact(&mut [0; BYTES])?;
        }
    }
    ask_to_end(&server)?;
    out.read_to_string(&mut ready)?;
    if !server.wait()?.success() {
        bail!("the server of model {model} did not end well");
    }
    Ok(trace)
}

/// From and until, in microseconds.
#[derive(Clone, Copy)]
struct Span {
    from: f64,
    to: f64,
}

impl Span {
    fn of(event: &Value) -> Self {
        let from = number(event, "ts");
        Self { from, to: from + event["dur"].as_f64().unwrap_or(0.0) }
    }

    fn meets(&self, other: Self) -> bool {
        self.from <= other.to && self.to >= other.from
    }
}

/// What is drawn of a trace: one round.
struct Scene {
    /// From the first message's arrival to the last echo's departure.
    time: Span,
    /// By thread.
    threads: BTreeMap<u64, Thread>,
    /// The receive that took the message and the send of its echo, by handle.
    connections: BTreeMap<u64, [Span; 2]>,
}

#[derive(Default)]
struct Thread {
    name: String,
    asleep: Vec<Span>,
    alertable: Vec<Span>,
    /// Packets and routines.
    handled: Vec<(Span, u64)>,
    /// When an operation was started, and on which handle.
    issued: Vec<(f64, u64)>,
    completed: Vec<(f64, u64)>,
}

fn number(event: &Value, field: &str) -> f64 {
    event[field].as_f64().unwrap_or(f64::NAN)
}

impl Scene {
    fn read(trace: &Path) -> Result<Self> {
        let mut whole: Value = serde_json::from_str(&fs::read_to_string(trace)?)?;
        let Value::Array(mut events) = whole["traceEvents"].take() else { bail!("there are no events in it") };
        events.sort_by(|a, b| number(a, "ts").total_cmp(&number(b, "ts")));

        // Each receive with the send of its echo, in the order in which the echoes left.
        let (mut starts, mut handles, mut receives) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut echoes = Vec::new();
        for event in &events {
            let args = &event["args"];
            match (event["ph"].as_str(), args["id"].as_u64()) {
                (Some("b"), Some(id)) => drop(starts.insert(id, number(event, "ts"))),
                (Some("e"), Some(id)) if args["result"] == BYTES => {
                    let span = Span { from: starts[&id], to: number(event, "ts") };
                    let handle = args["handle"].as_u64().context("a handle without a number")?;
                    handles.insert(id, handle);
                    if args["operation"].as_str().is_some_and(|operation| operation.starts_with("recv")) {
                        receives.insert(handle, span);
                    } else if let Some(receive) = receives.remove(&handle) {
                        echoes.push((handle, [receive, span]));
                    }
                }
                _ => {}
            }
        }
        // A round begins when all echoes of the last one have come back.
        let mut rounds: Vec<(Span, BTreeMap<u64, [Span; 2]>)> = Vec::new();
        for round in echoes.chunks_exact(MESSAGES) {
            let connections: BTreeMap<_, _> = round.iter().copied().collect();
            ensure!(connections.len() == MESSAGES, "a round without a message of each connection");
            let from = connections.values().map(|[receive, _]| receive.to).fold(f64::INFINITY, f64::min);
            let to = connections.values().map(|[_, send]| send.to).fold(0.0, f64::max);
            rounds.push((Span { from, to }, connections));
        }
        rounds.sort_by(|(a, _), (b, _)| (a.to - a.from).total_cmp(&(b.to - b.from)));
        ensure!(!rounds.is_empty(), "no round of {MESSAGES} messages");
        let (time, connections) = rounds.swap_remove(rounds.len() / 2);

        let mut threads: BTreeMap<u64, Thread> = BTreeMap::new();
        for event in &events {
            let (Some(tid), Some(name)) = (event["tid"].as_u64(), event["name"].as_str()) else { continue };
            let (args, span) = (&event["args"], Span::of(event));
            let about = args["handle"].as_u64().or_else(|| handles.get(&args["id"].as_u64()?).copied());
            if name == "thread_name" {
                threads.entry(tid).or_default().name = args["name"].as_str().unwrap_or_default().to_owned();
            }
            if !matches!(event["ph"].as_str(), Some("X" | "i")) {
                continue;
            }
            let thread = threads.entry(tid).or_default();
            match (name, about) {
                ("wait", _) => thread.asleep.push(span),
                ("alertable", _) => thread.alertable.push(span),
                _ if !span.meets(time) => {}
                ("issued", Some(handle)) => thread.issued.push((span.from, handle)),
                ("completed", Some(handle)) => thread.completed.push((span.from, handle)),
                (_, Some(handle)) if name.starts_with("packet") || name.starts_with("routine") => {
                    thread.handled.push((span, handle));
                }
                _ => {}
            }
        }
        // Threads that did nothing for these messages are not shown.
        threads.retain(|_, thread| {
            !(thread.handled.is_empty() && thread.issued.is_empty() && thread.completed.is_empty())
        });
        Ok(Self { time, threads, connections })
    }
}

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 24.0;
const LABEL: f64 = 118.0;
const HEAD: f64 = 92.0;
const TITLE: f64 = 38.0;
const THREAD: f64 = 30.0;
const CONNECTION: f64 = 13.0;
const AXIS: f64 = 26.0;
const GAP: f64 = 18.0;
/// Shown before the first arrival and behind the last departure, as a part of the time between.
const BEFORE: f64 = 0.06;

const COLOURS: [&str; MESSAGES] = ["#4c78a8", "#e4883a", "#54a24b", "#b279a2", "#d1495b"];

const STYLE: &str = "
    text { font: 12.5px system-ui, 'Helvetica Neue', Arial, sans-serif; fill: #24292f }
    .title { font-size: 19px; font-weight: 600 } .model { font-size: 14.5px; font-weight: 600 }
    .note, .tick { font-size: 11.5px; fill: #57606a } .small { font-size: 10.5px; fill: #57606a }
    .right { text-anchor: end } .middle { text-anchor: middle }
    .panel { fill: #f6f8fa } .grid { stroke: #d8dee4 } .lane { fill: #dfe4ea } .alertable { fill: none; stroke: #57606a } .asleep { fill: url(#sleep) }
    .end { stroke-width: 1.6 } .begin { fill: white; stroke-width: 1.6 } .lead { stroke-width: 1; stroke-dasharray: 2 2; opacity: .75 }
";

fn draw(scenes: &[Scene]) -> String {
    let longest = scenes.iter().map(|scene| scene.time.to - scene.time.from).fold(1.0, f64::max);
    let shown = longest * (1.0 + 2.0 * BEFORE);
    let scale = (WIDTH - 2.0 * MARGIN - LABEL - 12.0) / shown;
    let mut body = String::new();
    let mut top = HEAD;
    for (scene, (_, model, how)) in scenes.iter().zip(MODELS) {
        panel(&mut body, scene, model, how, top, scale, shown);
        top += height(scene) + GAP;
    }
    let height = top - GAP + MARGIN;
    let mut page = String::new();
    let out = &mut page;
    line(
        out,
        format_args!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0}' width='{WIDTH}' height='{height:.0}'>"
        ),
    );
    line(out, format_args!("<style>{STYLE}</style>"));
    line(
        out,
        format_args!(
            "<defs><pattern id='sleep' width='6' height='6' patternUnits='userSpaceOnUse' patternTransform='rotate(45)'>\
             <rect width='6' height='6' fill='#eef1f4'/><line x1='0' y1='0' x2='0' y2='6' stroke='#d3dae1' stroke-width='2'/></pattern></defs>"
        ),
    );
    line(out, format_args!("<rect width='{WIDTH}' height='{height:.0}' fill='white'/>"));
    line(
        out,
        format_args!("<text class='title' x='{MARGIN}' y='34'>Five messages through each of the four models</text>"),
    );
    line(
        out,
        format_args!(
            "<text class='note' x='{MARGIN}' y='54'>Sent at once, one on each of five connections, each with its colour. Drawn from what `ovl serve --trace` recorded: of {ROUNDS} rounds the \
             one of median length.</text>"
        ),
    );
    legend(out, 70.0);
    page.push_str(&body);
    page.push_str("</svg>\n");
    page
}

fn legend(out: &mut String, top: f64) {
    let (colour, middle) = (COLOURS[0], top + 5.0);
    let block = |attributes: &str, x: f64| format!("<rect {attributes} x='{x}' y='{top}' width='24' height='10'/>");
    let circle = |x: f64| format!("<circle class='begin' cx='{x}' cy='{middle}' r='3.2' stroke='{colour}'/>");
    let stroke = |x: f64| {
        let (y1, y2) = (top - 2.0, top + 12.0);
        format!("<line class='end' x1='{x}' x2='{x}' y1='{y1}' y2='{y2}' stroke='{colour}'/>")
    };
    let at = |x: f64| MARGIN + x;
    let entries = [
        (0.0, block("class='lane'", at(0.0)), 30.0, "thread runs"),
        (100.0, block("class='asleep'", at(100.0)), 30.0, "sleeps"),
        (174.0, block("class='alertable'", at(174.0)), 30.0, "alertable wait"),
        (284.0, block(&format!("rx='1.5' fill='{colour}'"), at(284.0)), 30.0, "handles a packet, runs a routine"),
        (492.0, circle(at(498.0)), 12.0, "starts an operation"),
        (616.0, stroke(at(620.0)), 12.0, "hears of an end"),
        (724.0, block(&format!("fill='{colour}' opacity='.28'"), at(724.0)), 30.0, "receive in flight"),
        (848.0, block(&format!("fill='{colour}'"), at(848.0)), 30.0, "send in flight"),
    ];
    for (x, symbol, wide, text) in entries {
        line(
            out,
            format_args!(
                "{symbol}<text class='small' x='{:.1}' y='{:.1}'>{text}</text>",
                MARGIN + x + wide,
                middle + 3.8
            ),
        );
    }
}

fn height(scene: &Scene) -> f64 {
    TITLE + scene.threads.len() as f64 * THREAD + 8.0 + scene.connections.len() as f64 * CONNECTION + AXIS
}

fn panel(out: &mut String, scene: &Scene, model: &str, how: &str, top: f64, scale: f64, shown: f64) {
    let left = MARGIN + LABEL;
    let start = scene.time.from - shown * BEFORE / (1.0 + 2.0 * BEFORE);
    let seen = Span { from: start, to: start + shown };
    let x = |time: f64| left + (time.clamp(seen.from, seen.to) - start) * scale;
    let colour = |handle: u64| {
        let index = scene.connections.keys().position(|each| *each == handle);
        index.map_or("#8c959f", |index| COLOURS[index % COLOURS.len()])
    };
    line(
        out,
        format_args!(
            "<rect class='panel' x='{:.1}' y='{top:.1}' width='{:.1}' height='{:.1}' rx='6'/>",
            MARGIN - 10.0,
            WIDTH - 2.0 * MARGIN + 20.0,
            height(scene)
        ),
    );
    line(
        out,
        format_args!(
            "<text x='{MARGIN}' y='{:.1}'><tspan class='model'>{model}</tspan><tspan class='note' dx='10'>{how}</tspan></text>",
            top + 23.0
        ),
    );

    let rows = top + TITLE;
    let bars = rows + scene.threads.len() as f64 * THREAD + 8.0;
    let bottom = bars + scene.connections.len() as f64 * CONNECTION;
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];
    let step = step.into_iter().find(|step| shown / step <= 14.0).unwrap_or(10_000.0);
    let mut tick = 0.0;
    while scene.time.from + tick < seen.to {
        let at = x(scene.time.from + tick);
        line(out, format_args!("<line class='grid' x1='{at:.1}' x2='{at:.1}' y1='{rows:.1}' y2='{bottom:.1}'/>"));
        line(out, format_args!("<text class='tick middle' x='{at:.1}' y='{:.1}'>{tick} µs</text>", bottom + 15.0));
        tick += step;
    }

    // Below: each connection's receive, and then the send of the echo.
    line(
        out,
        format_args!(
            "<text class='small right' x='{:.1}' y='{:.1}'>connections</text>",
            left - 10.0,
            (bars + bottom) / 2.0 + 3.0
        ),
    );
    for (row, (handle, [receive, send])) in scene.connections.iter().enumerate() {
        let y = bars + row as f64 * CONNECTION + 1.5;
        let mut bar = |span: &Span, opacity: f64| {
            let wide = (x(span.to) - x(span.from)).max(1.0);
            line(
                out,
                format_args!(
                    "<rect x='{:.1}' y='{y:.1}' width='{wide:.1}' height='{:.1}' fill='{}' opacity='{opacity}'/>",
                    x(span.from),
                    CONNECTION - 3.0,
                    colour(*handle)
                ),
            );
        };
        bar(receive, 0.28);
        bar(send, 1.0);
    }

    // Above: what each thread did.
    for (row, thread) in scene.threads.values().enumerate() {
        let y = rows + row as f64 * THREAD;
        let middle = y + THREAD / 2.0;
        line(
            out,
            format_args!(
                "<text class='small right' x='{:.1}' y='{:.1}'>{}</text>",
                left - 10.0,
                middle + 3.5,
                escaped(&thread.name)
            ),
        );
        let mut bar = |attributes: &str, span: Span, inset: f64| {
            let wide = (x(span.to) - x(span.from)).max(0.8);
            line(
                out,
                format_args!(
                    "<rect {attributes} x='{:.1}' y='{:.1}' width='{wide:.1}' height='{:.1}'/>",
                    x(span.from),
                    y + inset,
                    THREAD - 2.0 * inset
                ),
            );
        };
        bar("class='lane'", seen, 5.0);
        thread.asleep.iter().filter(|span| span.meets(seen)).for_each(|span| bar("class='asleep'", *span, 5.0));
        thread.alertable.iter().filter(|span| span.meets(seen)).for_each(|span| bar("class='alertable'", *span, 4.5));
        for (span, handle) in &thread.handled {
            bar(&format!("rx='1.5' fill='{}'", colour(*handle)), *span, 7.0);
        }
        for (at, handle) in thread.completed.iter().filter(|(at, _)| (seen.from..=seen.to).contains(at)) {
            line(
                out,
                format_args!(
                    "<line class='end' x1='{0:.1}' x2='{0:.1}' y1='{1:.1}' y2='{2:.1}' stroke='{3}'/>",
                    x(*at),
                    y + 2.0,
                    y + THREAD - 2.0,
                    colour(*handle)
                ),
            );
        }
        for (at, handle) in thread.issued.iter().filter(|(at, _)| (seen.from..=seen.to).contains(at)) {
            line(
                out,
                format_args!(
                    "<circle class='begin' cx='{:.1}' cy='{middle:.1}' r='3.2' stroke='{}'/>",
                    x(*at),
                    colour(*handle)
                ),
            );
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
