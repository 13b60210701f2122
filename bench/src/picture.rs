//! The ratios as a picture: a panel per scenario, a row per server, a faint dot per round, a bar for the median.

use std::fmt::Write;

use crate::report::{PairedScenario, Report};

const WIDTH: f64 = 980.0;
const PANEL_WIDTH: f64 = 460.0;
const MARGIN: f64 = 20.0;
const LABEL_WIDTH: f64 = 132.0;
const VALUE_WIDTH: f64 = 48.0;
const ROW: f64 = 22.0;
const PANEL_HEAD: f64 = 40.0;
const PANEL_FOOT: f64 = 34.0;
const PAGE_HEAD: f64 = 78.0;

/// No axis goes further: beyond, a dot is not drawn and a bar is cut, with its value beside it.
const MOST_RATIO: f64 = 4.0;

const STYLE: &str = "
    text { font: 13px system-ui, 'Helvetica Neue', Arial, sans-serif; fill: #24292f }
    .title { font-size: 19px; font-weight: 600 } .note, .tick { font-size: 11.5px; fill: #57606a }
    .panel { font-size: 14px; font-weight: 600 } .value { font-weight: 600 } .right { text-anchor: end } .middle { text-anchor: middle }
    .grid { stroke: #d8dee4 } .one { stroke: #24292f; stroke-dasharray: 4 3 }
    .bar { fill: #4c78a8 } .baseline { fill: #8c959f } .dot { fill: #24292f; fill-opacity: .22 }
";

/// The whole file.
pub fn draw(report: &Report) -> String {
    let panels: Vec<_> =
        report.paired.iter().filter(|result| result.servers.iter().any(|server| server.ratio.is_some())).collect();
    let mut body = String::new();
    let mut top = PAGE_HEAD;
    for row in panels.chunks(2) {
        let mut height: f64 = 0.0;
        for (column, result) in row.iter().enumerate() {
            let left = MARGIN + column as f64 * (PANEL_WIDTH + MARGIN);
            panel(&mut body, result, &report.baseline, left, top);
            height = height.max(panel_height(result));
        }
        top += height;
    }
    let height = top + MARGIN;
    let mut page = String::new();
    let out = &mut page;
    line(
        out,
        format_args!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}'>"
        ),
    );
    line(out, format_args!("<style>{STYLE}</style>"));
    line(out, format_args!("<rect width='{WIDTH}' height='{height}' fill='white'/>"));
    line(
        out,
        format_args!(
            "<text class='title' x='{MARGIN}' y='32'>Server processor time per echoed message, relative to {}</text>",
            escaped(&report.baseline)
        ),
    );
    line(
        out,
        format_args!(
            "<text class='note' x='{MARGIN}' y='54'>Less is better. Bar: median of paired rounds ({} wanted); dots: the rounds counted. {}, Linux {}.</text>",
            report.rounds,
            escaped(&report.machine.processor),
            escaped(&report.machine.kernel)
        ),
    );
    page.push_str(&body);
    page.push_str("</svg>\n");
    page
}

fn panel_height(result: &PairedScenario) -> f64 {
    PANEL_HEAD + result.servers.len() as f64 * ROW + PANEL_FOOT
}

fn panel(out: &mut String, result: &PairedScenario, baseline: &str, left: f64, top: f64) {
    let ratios = || result.servers.iter().filter_map(|server| server.ratio.as_ref());
    let widest = ratios().map(|ratio| ratio.quartiles[1].max(ratio.median)).fold(1.0, f64::max);
    // The next half beyond everything, so that the ticks are round numbers.
    let end = ((widest * 1.05 * 2.0).ceil() / 2.0).clamp(1.5, MOST_RATIO);
    let axis_left = left + LABEL_WIDTH;
    let axis_width = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH;
    let x = |ratio: f64| axis_left + ratio.min(end) / end * axis_width;
    let rows_top = top + PANEL_HEAD;
    let rows_end = rows_top + result.servers.len() as f64 * ROW;

    line(out, format_args!("<text class='panel' x='{left}' y='{:.1}'>{}</text>", top + 24.0, result.scenario.title()));
    for half in 0..=(end * 2.0) as u32 {
        let ratio = f64::from(half) / 2.0;
        line(
            out,
            format_args!(
                "<line class='grid' x1='{0:.1}' x2='{0:.1}' y1='{rows_top:.1}' y2='{rows_end:.1}'/>",
                x(ratio)
            ),
        );
        line(
            out,
            format_args!("<text class='tick middle' x='{:.1}' y='{:.1}'>{ratio}</text>", x(ratio), rows_end + 16.0),
        );
    }
    for (row, server) in result.servers.iter().enumerate() {
        let Some(ratio) = &server.ratio else { continue };
        let middle = rows_top + (row as f64 + 0.5) * ROW;
        let class = if server.server == baseline { "baseline" } else { "bar" };
        line(
            out,
            format_args!(
                "<text class='right' x='{:.1}' y='{:.1}'>{}</text>",
                axis_left - 8.0,
                middle + 4.5,
                escaped(&server.server)
            ),
        );
        line(
            out,
            format_args!(
                "<rect class='{class}' x='{axis_left:.1}' y='{:.1}' width='{:.1}' height='{:.1}' rx='2'/>",
                middle - 6.5,
                x(ratio.median) - axis_left,
                13.0
            ),
        );
        if server.server != baseline {
            for each in ratio.each.iter().filter(|&&each| each <= end) {
                line(out, format_args!("<circle class='dot' cx='{:.1}' cy='{middle:.1}' r='2.2'/>", x(*each)));
            }
        }
        line(
            out,
            format_args!(
                "<text class='value right' x='{:.1}' y='{:.1}'>{:.2}</text>",
                left + PANEL_WIDTH,
                middle + 4.5,
                ratio.median
            ),
        );
    }
    line(
        out,
        format_args!("<line class='one' x1='{0:.1}' x2='{0:.1}' y1='{rows_top:.1}' y2='{rows_end:.1}'/>", x(1.0)),
    );
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string cannot fail");
}

/// Names come from the command line.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
