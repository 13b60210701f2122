//! The demonstration as a web page: one file, which needs nothing else.
//!
//! The pictures are SVG of our own and not of a plotting library's, so that they take the page's colours, by day and by night, and
//! its fonts.

use std::time::Duration;

use askama::Template;
use jiff::Timestamp;

use super::Row;
use super::chart::{Bars, Percentiles, Series, Spread};
use crate::cli::{Demo, Model};
use crate::{platform, text};

/// On what it ran, and when.
pub(super) struct Machine {
    pub(super) kernel: String,
    pub(super) processors: usize,
    pub(super) date: String,
}

impl Machine {
    pub(super) fn this() -> Self {
        Self {
            kernel: platform::system(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            date: Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }
}

/// What the template shows.
#[derive(Template)]
#[template(path = "demo.html")]
struct Page<'a> {
    /// All models ran, and each byte came back right.
    well: bool,
    verified: String,
    rows: &'a [Row],
    /// A line for each thing that was measured, with a cell for each model.
    table: Vec<(&'static str, Vec<String>)>,
    pictures: Vec<Pictures>,
    facts: Vec<(&'static str, String)>,
    again: String,
}

/// All pictures, in one size.
struct Pictures {
    /// The screens that they are for, as the style sheet calls them.
    size: &'static str,
    spread: Spread,
    percentiles: Percentiles,
    cpu: Bars,
}

impl Pictures {
    fn new(size: &'static str, rows: &[Row], width: f64, height: f64) -> Self {
        let series = rows.iter().map(|row| Series { name: row.model.name(), latency: &row.report.latency });
        let series: Vec<_> = series.collect();
        let cpu = |row: &Row| (row.model.name(), row.cpu_us().unwrap_or(0.0), row.cpu());
        Self {
            size,
            spread: Spread::new(&series, width),
            percentiles: Percentiles::new(&series, width, height),
            cpu: Bars::new(&rows.iter().map(cpu).collect::<Vec<_>>(), width),
        }
    }
}

/// The page as text.
pub(super) fn render(rows: &[Row], options: &Demo, machine: &Machine) -> String {
    let engine = rows.first().map_or("none", |row| row.report.engine);
    let page = Page {
        well: rows.len() == Model::ALL.len() && rows.iter().all(|row| row.report.is_ok()),
        verified: text::size(rows.iter().map(|row| row.report.bytes_verified).sum()),
        rows,
        table: table(rows),
        pictures: vec![Pictures::new("wide", rows, 720.0, 340.0), Pictures::new("narrow", rows, 340.0, 300.0)],
        facts: vec![
            ("date", machine.date.clone()),
            ("system", machine.kernel.clone()),
            ("processors", format!("{}, shared by server and load", machine.processors)),
            ("engine", engine.to_owned()),
            ("connections", text::thousands(options.connections.into())),
            ("message", text::count(options.size as u64, "byte")),
            ("each model ran for", text::time(options.duration)),
            ("made by", concat!("ovl ", env!("CARGO_PKG_VERSION")).to_owned()),
        ],
        again: command(options),
    };
    page.render().expect("writing to a String")
}

fn table(rows: &[Row]) -> Vec<(&'static str, Vec<String>)> {
    let line = |name, cell: fn(&Row) -> String| (name, rows.iter().map(cell).collect());
    vec![
        line("messages/s", Row::rate),
        line("p50", |row| row.latency(|at| at.p50)),
        line("p90", |row| row.latency(|at| at.p90)),
        line("p99", |row| row.latency(|at| at.p99)),
        line("p99.9", |row| row.latency(|at| at.p99_9)),
        line("slowest", |row| row.latency(|at| at.max)),
        line("CPU per message", Row::cpu),
        line("server threads", |row| row.threads.to_string()),
        line("verified", |row| text::size(row.report.bytes_verified)),
        line("verdict", |row| if row.report.is_ok() { "all right" } else { "WRONG" }.to_owned()),
    ]
}

/// What shows the same again.
fn command(options: &Demo) -> String {
    let ms = Duration::as_millis(&options.duration);
    format!("ovl demo --duration {ms}ms --connections {} --size {} --html FILE", options.connections, options.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Connections, Failures, Faults, Measured, Options, Report};
    use hdrhistogram::Histogram;
    use roxmltree::{Document, Node, ParsingOptions};

    const OPTIONS: Demo =
        Demo { duration: Duration::from_millis(2500), connections: 64, size: 64, win32: false, html: None };

    /// A model that has shown latencies around `median_us`, with a tail, and a few that are far out.
    fn row(model: Model, median_us: f64, tail: f64, cpu_us: f64) -> Row {
        const MESSAGES: u64 = 200_000;
        let mut latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        for n in 0..MESSAGES {
            let quantile = (n as f64 + 0.5) / MESSAGES as f64;
            let spread = (quantile / (1.0 - quantile)).powf(0.12) * (1.0 + tail * quantile.powi(40));
            latency.record((median_us * spread * 1e3) as u64).expect("in bounds");
        }
        let options = Options {
            connections: OPTIONS.connections,
            size_bytes: OPTIONS.size,
            pipeline: 1,
            duration_s: Some(2.5),
            messages: None,
            omit_s: 0.0,
            threads: 1,
            seed: 1,
        };
        let measured = Measured {
            connections: Connections { requested: 64, connected: 64, failed: 0 },
            elapsed: OPTIONS.duration,
            messages: MESSAGES,
            bytes_verified: MESSAGES * OPTIONS.size as u64,
            latency,
            faults: Faults::default(),
            failures: Failures::default(),
            interrupted: false,
        };
        let report = Report::new("127.0.0.1:9190".to_owned(), "io_uring", options, measured);
        Row { model, report, cpu: Duration::from_secs_f64(cpu_us * MESSAGES as f64 / 1e6), threads: 3 }
    }

    fn page(rows: &[Row]) -> String {
        let machine =
            Machine { kernel: "Linux <6> & more".to_owned(), processors: 2, date: "2026-11-23 12:00 UTC".to_owned() };
        render(rows, &OPTIONS, &machine)
    }

    fn all() -> Vec<Row> {
        vec![
            row(Model::Port, 474.0, 1.5, 8.86),
            row(Model::Routine, 390.0, 0.8, 7.1),
            row(Model::Event, 910.0, 2.5, 19.3),
            row(Model::Async, 420.0, 1.0, 7.9),
        ]
    }

    fn parse(page: &str) -> Document<'_> {
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error} in {page}"))
    }

    fn elements<'a>(page: &'a Document<'_>, name: &'a str) -> impl Iterator<Item = Node<'a, 'a>> {
        page.descendants().filter(move |node| node.has_tag_name(name))
    }

    /// To look at it: `OVL_PAGE=page.html cargo test -p ovl the_page_shows`.
    #[test]
    fn the_page_shows_each_model_in_the_table_and_in_each_picture() {
        let page = page(&all());
        if let Some(path) = std::env::var_os("OVL_PAGE") {
            std::fs::write(path, &page).expect("writes the page");
        }
        let document = parse(&page);
        for model in Model::ALL.map(Model::name) {
            let with = |name| elements(&document, name).filter(|node| node.attribute("class") == Some(model)).count();
            assert_eq!((with("th"), with("g")), (1, 6), "{model}: a column, and in three pictures of two sizes");
        }
        let text: String = document.descendants().filter_map(|node| node.text()).collect();
        for shown in
            ["Linux <6> & more", "2026-11-23 12:00 UTC", "io_uring", "All right", "80,000", "48.8 MiB", "19.3 µs"]
        {
            assert!(text.contains(shown), "{shown}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = page(&all());
        for foreign in ["http:", "https:", "//", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_wrong_byte_and_a_missing_model_are_not_all_right() {
        let mut rows = all();
        rows[1].report.verdict = crate::report::Verdict::Failed;
        let text = page(&rows);
        assert!(text.contains("WRONG") && !text.contains("All right"));
        rows.truncate(1);
        assert!(!page(&rows).contains("All right"));
        parse(&page(&[]));
    }
}
