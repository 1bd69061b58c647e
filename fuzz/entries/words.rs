//! Single words and the output of programs: versions, sizes, lengths of time, jump hosts, anything printed.

use std::cmp::Ordering;

use longshore::{
    model::{HostName, RunId, RunNumber, Span, StepId, Version, clean, clean_line},
    steps::Size,
    transport::ssh::config::JumpHop,
};

/// Cleaning leaves nothing that a terminal obeys, and has nothing more to do the second time.
pub fn cleaning(data: &[u8]) {
    let cleaned = clean(data);
    super::assert_is_tame(&cleaned);
    assert_eq!(clean(cleaned.as_bytes()), cleaned, "cleaning twice is cleaning once");
    for limit in [0, 1, 7, 80] {
        let line = clean_line(data, limit);
        assert!(!line.contains('\n'), "{line:?} is several lines");
        assert!(line.chars().count() <= limit + 1, "{line:?} is longer than {limit}");
    }
}

/// What is read as a word is written so that it reads back, and orders are orders.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<&str> = text.split('\n').take(3).collect();
    for word in &lines {
        if let Ok(span) = word.parse::<Span>() {
            assert_eq!(span.to_string().parse(), Ok(span), "{word:?}");
        }
        if let Ok(size) = word.parse::<Size>() {
            let Size(again) = size.to_string().parse().expect("a size as it is shown");
            // What is shown is rounded down to a tenth of its unit.
            assert!(again <= size.0 && again >= size.0 - size.0 / 10, "{word:?} became {again}");
        }
        if let Ok(name) = HostName::new(*word) {
            assert_eq!(name.as_str(), *word);
            super::assert_is_tame(name.as_str());
        }
        if let Some(run) = RunId::from_text(word) {
            assert!(run.as_str().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{run:?}");
        }
        let _ = word.parse::<RunNumber>();
        let step = StepId::new(0, word);
        let named = step.as_str();
        assert!(named.len() <= 64 && named.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{named}");
        if let Ok(hops) = JumpHop::parse_list(word) {
            assert!(hops.iter().all(|hop| !hop.host.is_empty() && !hop.host.starts_with('-')), "{word:?}");
        }
    }
    let versions: Vec<Version> = lines.iter().map(|line| Version::new(*line)).collect();
    for one in &versions {
        assert_eq!(one.compare(one), Some(Ordering::Equal));
        for other in &versions {
            assert_eq!(one.compare(other), other.compare(one).map(Ordering::reverse), "{one:?} and {other:?}");
        }
    }
    if let [a, b, c] = versions.as_slice()
        && a.compare(b) == Some(Ordering::Less)
        && b.compare(c) == Some(Ordering::Less)
    {
        assert_eq!(a.compare(c), Some(Ordering::Less), "{a:?}, {b:?} and {c:?}");
    }
}
