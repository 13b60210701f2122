//! The geometry of the pictures: scales, ticks and outlines in the units of an SVG. What they look like is said in the template.

use hdrhistogram::Histogram;

/// What one model has shown, in nanoseconds.
pub(super) struct Series<'a> {
    pub(super) name: &'static str,
    pub(super) latency: &'a Histogram<u64>,
}

impl Series<'_> {
    /// In microseconds.
    fn at_quantile(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// A place on an axis with its label, which is empty for one between.
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// A range of values, drawn logarithmically between two places.
struct Scale {
    values: [f64; 2],
    places: [f64; 2],
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let [low, high] = self.values.map(f64::ln);
        let share = (value.clamp(self.values[0], self.values[1]).ln() - low) / (high - low);
        round(self.places[0] + share * (self.places[1] - self.places[0]))
    }

    /// At 1, 2 and 5 of each decade, with labels so far apart at least, or else only on the decades.
    fn ticks(&self, apart: f64) -> Vec<Tick> {
        let [low, high] = self.values;
        let all = (self.at(2.0 * low) - self.at(low)).abs() > apart; // the least distance: from 1 to 2, from 5 to 10
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let values = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| (digit, digit * 10f64.powi(decade))));
        let inside = values.filter(|(_, value)| (low..=high).contains(value));
        let label = |digit, us| if all || digit == 1.0 { micros(us) } else { String::new() };
        inside.map(|(digit, us)| Tick { at: self.at(us), label: label(digit, us) }).collect()
    }
}

/// Microseconds that are 1, 2 or 5 times a power of ten.
fn micros(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{} µs", round(us)),
        us if us < 1e6 => format!("{} ms", round(us / 1e3)),
        us => format!("{} s", round(us / 1e6)),
    }
}

/// To the tenth: finer is not seen, and makes the file larger.
fn round(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

/// A line through points.
fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let points: Vec<String> = points.into_iter().map(|(x, y)| format!("{} {}", round(x), round(y))).collect();
    format!("M{}", points.join("L"))
}

/// Where the drawing is in its picture.
pub(super) struct Frame {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

/// How the latencies of each model are spread: the higher, the more messages took that long.
pub(super) struct Spread {
    pub(super) frame: Frame,
    pub(super) ticks: Vec<Tick>,
    pub(super) hills: Vec<Hill>,
}

pub(super) struct Hill {
    pub(super) name: &'static str,
    pub(super) foot: f64,
    pub(super) top: f64,
    pub(super) outline: String,
    /// Where the median and the 99th percentile are.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Spread {
    const PITCH: f64 = 58.0;
    const PEAK: f64 = 48.0;

    pub(super) fn new(series: &[Series<'_>], width: f64) -> Self {
        let (left, top) = (62.0, 8.0);
        let bottom = top + Self::PITCH * series.len() as f64;
        let frame = Frame { width, height: bottom + 24.0, left, right: width - 12.0, top, bottom };
        let scale = Scale { values: range(series, 0.001, 0.99), places: [frame.left, frame.right] };
        let bars = ((frame.right - frame.left) / 3.0) as usize;
        let shares: Vec<_> = series.iter().map(|series| shares(series, &scale, bars)).collect();
        let highest = shares.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
        let hills = series.iter().zip(&shares).enumerate().map(|(number, (series, shares))| {
            let foot = top + Self::PITCH * (number + 1) as f64;
            let step = (frame.right - frame.left) / bars as f64;
            let points = shares
                .iter()
                .enumerate()
                .map(|(bar, share)| (frame.left + (bar as f64 + 0.5) * step, foot - share / highest * Self::PEAK));
            let ends = [(frame.left, foot), (frame.right, foot)];
            let outline = path(ends[..1].iter().copied().chain(points).chain(ends[1..].iter().copied()));
            let [p50, p99] = [0.5, 0.99].map(|quantile| scale.at(series.at_quantile(quantile)));
            Hill { name: series.name, foot, top: foot - Self::PEAK, outline, p50, p99 }
        });
        let hills = hills.collect();
        Self { ticks: scale.ticks(40.0), frame, hills }
    }
}

/// Which share of the messages is in each of so many equal parts of the scale; slightly smoothed, since many parts are narrow.
fn shares(series: &Series<'_>, scale: &Scale, parts: usize) -> Vec<f64> {
    let mut counts = vec![0.0; parts];
    let [from, to] = scale.places;
    for value in series.latency.iter_recorded() {
        let us = value.value_iterated_to() as f64 / 1e3;
        if (scale.values[0]..scale.values[1]).contains(&us) {
            let part = (scale.at(us) - from) / (to - from) * parts as f64;
            counts[(part as usize).min(parts - 1)] += value.count_since_last_iteration() as f64;
        }
    }
    let total = series.latency.len().max(1) as f64;
    let near = |part: usize, by: isize| part.checked_add_signed(by).and_then(|part| counts.get(part)).unwrap_or(&0.0);
    let smooth = |part| (near(part, -1) + 2.0 * near(part, 0) + near(part, 1)) / 4.0;
    (0..parts).map(|part| smooth(part) / total).collect()
}

/// From which to which value the series go between two quantiles, in microseconds, with a little room on both sides.
fn range(series: &[Series<'_>], from: f64, to: f64) -> [f64; 2] {
    let low = series.iter().map(|series| series.at_quantile(from)).fold(f64::INFINITY, f64::min);
    let high = series.iter().map(|series| series.at_quantile(to)).fold(0.0, f64::max);
    let low = if low.is_finite() { low.max(0.1) } else { 1.0 };
    [low * 0.8, high.max(2.0 * low) * 1.2]
}

/// Latency over percentile, the way HdrHistogram draws it: each step to the right is a tenth of the messages that were left.
pub(super) struct Percentiles {
    pub(super) frame: Frame,
    pub(super) x: Vec<Tick>,
    pub(super) y: Vec<Tick>,
    pub(super) lines: Vec<Line>,
}

pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) path: String,
    /// Where it ends, and where there is room for its name.
    pub(super) end: (f64, f64),
    pub(super) name_at: f64,
}

impl Percentiles {
    /// A percentile is drawn while so many messages lie beyond it: fewer are chance.
    pub(super) const BEYOND: u64 = 10;

    pub(super) fn new(series: &[Series<'_>], width: f64, height: f64) -> Self {
        let frame = Frame { width, height, left: 56.0, right: width - 60.0, top: 10.0, bottom: height - 40.0 };
        // Powers of ten that are left at the end: 2 is the 99th percentile.
        let nines = |series: &Series<'_>| (series.latency.len() as f64 / Self::BEYOND as f64).max(10.0).log10();
        let most = series.iter().map(nines).fold(1.0, f64::max);
        let x = |nines: f64| frame.left + nines / most * (frame.right - frame.left);
        let scale = Scale { values: range(series, 0.01, 1.0 - 0.1f64.powf(most)), places: [frame.bottom, frame.top] };
        let mut lines: Vec<_> = series
            .iter()
            .map(|series| {
                const STEPS: u32 = 200;
                let point = |step: u32| {
                    let nines = nines(series) * f64::from(step) / f64::from(STEPS);
                    (x(nines), scale.at(series.at_quantile(1.0 - 0.1f64.powf(nines))))
                };
                let end = point(STEPS);
                let end = (round(end.0), end.1);
                Line { name: series.name, path: path((0..=STEPS).map(point)), end, name_at: end.1 }
            })
            .collect();
        part(&mut lines, frame.bottom);
        let marks = [
            (0.5, "50 %"),
            (0.9, "90 %"),
            (0.99, "99 %"),
            (0.999, "99.9 %"),
            (0.9999, "99.99 %"),
            (0.99999, "99.999 %"),
        ];
        let marks = marks.map(|(quantile, label): (f64, &str)| (-(1.0 - quantile).log10(), label));
        let shown = marks.into_iter().filter(|(nines, _)| *nines <= most + 1e-9);
        let mut last = f64::NEG_INFINITY;
        let tick = |(nines, label): (f64, &str)| {
            let at = round(x(nines));
            let room = at - last > 6.5 * label.len() as f64;
            if room {
                last = at;
            }
            Tick { at, label: if room { label.to_owned() } else { String::new() } }
        };
        Self { x: shown.map(tick).collect(), y: scale.ticks(14.0), lines, frame }
    }
}

/// Moves names apart that would lie upon each other; none goes below `bottom`.
fn part(lines: &mut [Line], bottom: f64) {
    const APART: f64 = 15.0;
    let mut order: Vec<&mut Line> = lines.iter_mut().collect();
    order.sort_by(|a, b| a.end.1.total_cmp(&b.end.1));
    let mut least = f64::NEG_INFINITY;
    for line in &mut order {
        line.name_at = line.end.1.max(least);
        least = line.name_at + APART;
    }
    let mut most = bottom;
    for line in order.iter_mut().rev() {
        line.name_at = round(line.name_at.min(most));
        most = line.name_at - APART;
    }
}

/// A bar for each model, as long as its value is large.
pub(super) struct Bars {
    pub(super) frame: Frame,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Bar {
    pub(super) name: &'static str,
    pub(super) top: f64,
    pub(super) length: f64,
    pub(super) label: String,
}

impl Bars {
    const PITCH: f64 = 32.0;
    pub(super) const THICK: f64 = 20.0;

    pub(super) fn new(values: &[(&'static str, f64, String)], width: f64) -> Self {
        let frame = Frame {
            width,
            height: Self::PITCH * values.len() as f64 + 4.0,
            left: 62.0,
            right: width - 70.0,
            top: 4.0,
            bottom: Self::PITCH * values.len() as f64,
        };
        let longest = values.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
        let bars = values.iter().enumerate().map(|(number, (name, value, label))| Bar {
            name,
            top: frame.top + Self::PITCH * number as f64,
            length: round(value / longest * (frame.right - frame.left)),
            label: label.clone(),
        });
        Self { bars: bars.collect(), frame }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        values.into_iter().for_each(|us| histogram.record(us * 1000).expect("in bounds"));
        histogram
    }

    #[test]
    fn a_scale_is_logarithmic_and_keeps_to_its_places() {
        let scale = Scale { values: [10.0, 1000.0], places: [100.0, 0.0] };
        assert_eq!([1.0, 10.0, 100.0, 1000.0, 1e9].map(|value| scale.at(value)), [100.0, 100.0, 50.0, 0.0, 0.0]);
        let labels: Vec<_> = scale.ticks(10.0).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["10 µs", "20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"]);
        let wide = Scale { values: [10.0, 1e5], places: [0.0, 100.0] };
        let labels: Vec<_> =
            wide.ticks(10.0).into_iter().map(|tick| tick.label).filter(|label| !label.is_empty()).collect();
        assert_eq!(labels, ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms"]);
    }

    #[test]
    fn a_hill_holds_all_messages_and_stands_where_they_are() {
        let (fast, slow) = (histogram([100; 1000]), histogram([1000; 1000]));
        let series = [Series { name: "fast", latency: &fast }, Series { name: "slow", latency: &slow }];
        let scale = Scale { values: range(&series, 0.001, 0.999), places: [0.0, 600.0] };
        for (series, expected) in series.iter().zip([100.0, 1000.0]) {
            let shares = shares(series, &scale, 200);
            let sum: f64 = shares.iter().sum();
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            let top = (0..200).max_by(|a, b| shares[*a].total_cmp(&shares[*b])).expect("not empty");
            let place = scale.at(expected) / 3.0;
            assert!((top as f64 - place).abs() <= 1.0, "{top} {place}");
        }
        let spread = Spread::new(&series, 700.0);
        assert!(spread.hills[0].p50 < spread.hills[1].p50);
    }

    #[test]
    fn a_percentile_line_ends_where_ten_messages_are_left() {
        let latency = histogram((1..=100_000).map(|n| 100 + n / 100));
        let picture = Percentiles::new(&[Series { name: "one", latency: &latency }], 700.0, 300.0);
        let labels: Vec<_> = picture.x.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert_eq!(picture.x[4].at, picture.frame.right);
        assert_eq!(picture.lines[0].end.0, picture.frame.right);
    }

    #[test]
    fn names_of_lines_do_not_lie_upon_each_other() {
        let line = |y| Line { name: "a", path: String::new(), end: (0.0, y), name_at: y };
        let mut lines = [line(200.0), line(50.0), line(199.0), line(198.0)];
        part(&mut lines, 205.0);
        assert_eq!(lines.map(|line| line.name_at), [205.0, 50.0, 190.0, 175.0]);
    }

    #[test]
    fn nothing_measured_is_nothing_drawn_and_no_panic() {
        let latency = histogram([]);
        let series = [Series { name: "none", latency: &latency }];
        assert!(!Spread::new(&series, 340.0).hills[0].outline.contains("NaN"));
        assert!(!Percentiles::new(&series, 340.0, 300.0).lines[0].path.contains("NaN"));
        assert_eq!(Bars::new(&[("none", 0.0, "-".to_owned())], 340.0).bars[0].length, 0.0);
    }
}
