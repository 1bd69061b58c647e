//! Lengths of time as people write them: `90s`, `5m`, `1h 30m`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time from a document: whole milliseconds, never negative, at most ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// Ten years: what is longer is a slip, and a deadline that far away cannot be counted to.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

impl Span {
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a length of time such as `90s`, `5m` or `1h 30m`");
        let span: jiff::SignedDuration = text.trim().parse().map_err(|_| wrong())?;
        let length = Duration::try_from(span).map_err(|_| wrong())?;
        if length.subsec_nanos() % 1_000_000 != 0 {
            return Err(format!("`{text}` is finer than a millisecond"));
        }
        if length > LONGEST {
            return Err(format!("`{text}` is longer than ten years"));
        }
        Ok(Self(length))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_secs();
        let millis = self.0.subsec_millis();
        if millis != 0 {
            return if total == 0 { write!(f, "{millis}ms") } else { write!(f, "{total}s {millis}ms") };
        }
        let parts = [(total / 3_600, "h"), (total % 3_600 / 60, "m"), (total % 60, "s")];
        let mut written = false;
        for (count, unit) in parts {
            if count > 0 {
                write!(f, "{}{count}{unit}", if written { " " } else { "" })?;
                written = true;
            }
        }
        if written { Ok(()) } else { f.write_str("0s") }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time: 90s, 5m, 1h 30m.",
            "examples": ["90s", "5m", "1h 30m"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["90s", "5m", "1h 30m", "250ms", "0s", "48h", "1s 500ms"] {
            let span: Span = text.parse().expect(text);
            let again: Span = span.to_string().parse().expect("own text");
            assert_eq!(span, again, "{text} became {span}");
        }
        assert_eq!("90s".parse::<Span>().map(|s| s.to_string()), Ok("1m 30s".to_owned()));
        for bad in ["", "5", "five minutes", "-3s", "1us", "87601h", "2562047788015215h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?} was accepted");
        }
    }
}
