//! How numbers, times and unknown bytes look to a person.

use std::fmt::Write as _;
use std::time::Duration;

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 message`, `2 messages`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", thousands(number))
}

/// A number of bytes with the unit that keeps it short: `640 B`, `1.50 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{} {name}", three_digits(bytes as f64 / unit as f64)),
        None => format!("{bytes} B"),
    }
}

/// Microseconds with the unit that keeps them short: `42.1 µs`, `1.05 ms`, `2.00 s`.
pub(crate) fn micros(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{} µs", three_digits(us)),
        us if us < 1e6 => format!("{} ms", three_digits(us / 1e3)),
        us => format!("{} s", three_digits(us / 1e6)),
    }
}

/// `5 s`, `1.5 s`, `200 ms`.
pub(crate) fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => format!("{} ms", (s * 1e3).round()),
        s => format!("{} s", (s * 10.0).round() / 10.0),
    }
}

fn three_digits(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

/// Bytes as text that a terminal can show: what is no UTF-8, or would steer the terminal, is written as an escape.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => text.push('\t'),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a String");
        }
    }
    text
}

/// One byte, as a number and, if it has a sign, the sign.
pub(crate) fn byte(byte: u8) -> String {
    match byte {
        b' '..=b'~' => format!("0x{byte:02x} '{}'", byte as char),
        _ => format!("0x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_counted() {
        assert_eq!([0, 999, 1000, 1234567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 1000].map(|n| count(n, "piece")), ["0 pieces", "1 piece", "1,000 pieces"]);
    }

    #[test]
    fn units_keep_numbers_short() {
        assert_eq!([0, 1023, 1536, 3 << 30].map(size), ["0 B", "1023 B", "1.50 KiB", "3.00 GiB"]);
        assert_eq!(
            [9.994, 42.14, 999.0, 1050.0, 2e6].map(micros),
            ["9.99 µs", "42.1 µs", "999 µs", "1.05 ms", "2.00 s"]
        );
        assert_eq!([5000, 1500, 200].map(|ms| time(Duration::from_millis(ms))), ["5 s", "1.5 s", "200 ms"]);
    }

    #[test]
    fn what_a_terminal_cannot_show_is_escaped() {
        assert_eq!(printable("Grüße, 世界".as_bytes()), "Grüße, 世界");
        assert_eq!(printable(b"a\xffb\xe4\xb8"), "a\\xffb\\xe4\\xb8");
        assert_eq!(printable(b"\x1b[31mred\t."), "\\u{1b}[31mred\t.");
    }
}
