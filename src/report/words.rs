//! Wording helpers: plurals, lengths of time, sizes, names of hosts folded into ranges.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// Returns `1 host`, `2 hosts`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = match noun {
        "inch" | "batch" | "patch" => "es",
        _ => "s",
    };
    if number == 1 { format!("1 {noun}") } else { format!("{} {noun}{plural}", thousands(number as u64)) }
}

/// Returns a number with its thousands apart: `12,345`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a length of time in at most two units, as precise as a reader needs: `4.2s`, `1m 12s`, `2h 5m`.
pub fn duration(length: Duration) -> String {
    let millis = length.as_millis();
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{millis}ms"),
        1..10 if millis % 1000 >= 100 => format!("{seconds}.{}s", millis % 1000 / 100),
        1..60 => format!("{seconds}s"),
        60..3_600 => two((seconds / 60, "m"), (seconds % 60, "s")),
        3_600..86_400 => two((seconds / 3_600, "h"), (seconds % 3_600 / 60, "m")),
        _ => two((seconds / 86_400, "d"), (seconds % 86_400 / 3_600, "h")),
    }
}

fn two((large, large_unit): (u64, &str), (small, small_unit): (u64, &str)) -> String {
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit} {small}{small_unit}") }
}

/// Returns a size in bytes, in steps of 1024: `512 B`, `1.5 KiB`, `10 MiB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut unit = 0;
    let mut tenths = u128::from(size) * 10 / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if tenths < 100 && tenths % 10 != 0 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", tenths / 10, UNITS[unit])
    }
}

/// Joins words as a sentence does: `a`, `a and b`, `a, b and c`.
pub fn and(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Folds names of hosts into ranges: `web-[1-3,7]`, `berlin-1`, `db-[01-12]`.
///
/// Names that differ in one number only are folded; leading zeros are kept apart from numbers without.
/// Families come in the order of their first name.
pub fn ranges<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut families: Vec<Family<'a>> = Vec::new();
    let mut known: BTreeMap<(&str, &str, usize), usize> = BTreeMap::new();
    for name in names {
        let Some((prefix, number, suffix)) = split(name) else {
            families.push(Family { prefix: name, suffix: "", width: 0, numbers: Vec::new() });
            continue;
        };
        let width = if number.starts_with('0') && number.len() > 1 { number.len() } else { 0 };
        let Ok(value) = number.parse::<u64>() else {
            families.push(Family { prefix: name, suffix: "", width: 0, numbers: Vec::new() });
            continue;
        };
        // `08` and `10` belong to one family of two digits, `8` and `10` to another.
        let padded = [number.len(), 0].into_iter().find_map(|w| {
            let wanted = if width > 0 { width } else { w };
            known.get(&(prefix, suffix, wanted)).copied()
        });
        let index = padded.unwrap_or_else(|| {
            families.push(Family { prefix, suffix, width, numbers: Vec::new() });
            known.insert((prefix, suffix, width), families.len() - 1);
            families.len() - 1
        });
        families[index].numbers.push(value);
    }
    families.into_iter().map(Family::fold).collect()
}

/// Names alike but for one number.
struct Family<'a> {
    prefix: &'a str,
    suffix: &'a str,
    /// Digits of a number with leading zeros; 0 without.
    width: usize,
    numbers: Vec<u64>,
}

impl Family<'_> {
    fn fold(mut self) -> String {
        self.numbers.sort_unstable();
        self.numbers.dedup();
        let width = self.width;
        match self.numbers.as_slice() {
            [] => self.prefix.to_owned(),
            [one] => format!("{}{one:0width$}{}", self.prefix, self.suffix),
            numbers => {
                let mut text = format!("{}[", self.prefix);
                let mut rest = numbers;
                while let [first, ..] = rest {
                    let run = (0_u64..).zip(rest).take_while(|(offset, number)| first + offset == **number).count();
                    let last = rest[run - 1];
                    if !text.ends_with('[') {
                        text.push(',');
                    }
                    let _ = match run {
                        1 => write!(text, "{first:0width$}"),
                        2 => write!(text, "{first:0width$},{last:0width$}"),
                        _ => write!(text, "{first:0width$}-{last:0width$}"),
                    };
                    rest = &rest[run..];
                }
                text.push(']');
                text.push_str(self.suffix);
                text
            }
        }
    }
}

/// Splits a name around its last number. An address is no family: its parts say where it is.
fn split(name: &str) -> Option<(&str, &str, &str)> {
    if name.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b':') {
        return None;
    }
    // The number of a host's own name, not one of its domain: `web-1.eu2.example.org`.
    let label = name.find('.').unwrap_or(name.len());
    let end = name[..label].rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |last| last + 1);
    Some((&name[..start], &name[start..end], &name[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::unfold;

    #[test]
    fn hosts_are_folded_into_ranges() {
        let table: &[(&[&str], &str)] = &[
            (&["web-1", "web-2", "web-3"], "web-[1-3]"),
            (&["web-10", "web-9", "web-8", "web-1"], "web-[1,8-10]"),
            (&["web-1", "db", "web-2"], "web-[1,2] db"),
            (&["n01", "n02", "n03", "n10"], "n[01-03,10]"),
            (&["n1", "n01"], "n1 n01"),
            (&["web-1.eu", "web-2.eu", "web-2.us"], "web-[1,2].eu web-2.us"),
            (&["10.0.0.1", "10.0.0.2"], "10.0.0.1 10.0.0.2"),
            (&["a1b2", "a1b3"], "a1b[2,3]"),
            (&["x99999999999999999999999"], "x99999999999999999999999"),
        ];
        for (names, expected) in table {
            assert_eq!(ranges(names.iter().copied()).join(" "), *expected);
            // A selector takes what a table prints.
            let mut unfolded: Vec<_> =
                ranges(names.iter().copied()).iter().filter_map(|range| unfold(range)).flatten().collect();
            let mut names: Vec<_> = names.to_vec();
            unfolded.sort();
            names.sort_unstable();
            names.dedup();
            assert_eq!(unfolded, names);
        }
    }

    #[test]
    fn lengths_of_time_are_as_precise_as_needed() {
        let table = [
            (0, "0ms"),
            (12, "12ms"),
            (1_000, "1s"),
            (4_260, "4.2s"),
            (59_999, "59s"),
            (72_000, "1m 12s"),
            (120_000, "2m"),
            (7_500_000, "2h 5m"),
            (180_000_000, "2d 2h"),
        ];
        for (millis, expected) in table {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn sizes_and_counts_read_well() {
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(10 << 20), bytes(u64::MAX)].join(" "),
            "0 B 1023 B 1.5 KiB 10 MiB 16383 PiB"
        );
        assert_eq!(
            [count(0, "host"), count(1, "host"), count(12_345, "host")].join(", "),
            "0 hosts, 1 host, 12,345 hosts"
        );
        assert_eq!(and(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
