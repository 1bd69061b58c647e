//! Values that documents may write in more than one shape: one text or several, statuses, sizes.
//!
//! Each is read by its shape alone, so that a mistake inside is reported as itself.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer},
    ser::SerializeSeq as _,
};

/// One text, or several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts(pub Vec<String>);

impl Texts {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, String> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Texts {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Into<String>> From<T> for Texts {
    fn from(text: T) -> Self {
        Self(vec![text.into()])
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            many => many.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(text.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Texts, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Texts)
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

impl JsonSchema for Texts {
    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// HTTP statuses that are expected: `200`, `"2xx"`, `"200-204"`, or a list of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<(u16, u16)>);

impl Statuses {
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl From<u16> for Statuses {
    fn from(status: u16) -> Self {
        Self(vec![(status, status)])
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { " or " } else { "" }, status_text(*range))?;
        }
        Ok(())
    }
}

fn status_text((first, last): (u16, u16)) -> String {
    if first == last {
        first.to_string()
    } else if first % 100 == 0 && last == first + 99 {
        format!("{}xx", first / 100)
    } else {
        format!("{first}-{last}")
    }
}

fn status_range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    if let Some(hundred) = text.strip_suffix("xx") {
        let hundred: u16 = hundred.parse().ok().filter(|hundred| (1..=5).contains(hundred))?;
        return Some((hundred * 100, hundred * 100 + 99));
    }
    match text.split_once('-') {
        Some((first, last)) => Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last),
        None => number(text).map(|status| (status, status)),
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [(first, last)] = self.0.as_slice() {
            return if first == last {
                serializer.serialize_u16(*first)
            } else {
                serializer.serialize_str(&status_text((*first, *last)))
            };
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for range in &self.0 {
            if range.0 == range.1 {
                list.serialize_element(&range.0)?;
            } else {
                list.serialize_element(&status_text(*range))?;
            }
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status such as 200, \"2xx\" or \"200-204\", or a list of them")
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<Statuses, E> {
                self.visit_str(&status.to_string())
            }

            fn visit_i64<E: de::Error>(self, status: i64) -> Result<Statuses, E> {
                self.visit_str(&status.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Statuses, E> {
                status_range(text)
                    .map(|range| Statuses(vec![range]))
                    .ok_or_else(|| E::custom(format!("`{text}` is not an HTTP status such as 200, 2xx or 200-204")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Statuses, A::Error> {
                let mut all = Vec::new();
                while let Some(Statuses(some)) = list.next_element()? {
                    all.extend(some);
                }
                if all.is_empty() {
                    return Err(de::Error::invalid_length(0, &"at least one status"));
                }
                Ok(Statuses(all))
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

impl JsonSchema for Statuses {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = serde_json::json!({
            "anyOf": [
                { "type": "integer", "minimum": 100, "maximum": 599 },
                { "type": "string", "pattern": "^([1-5]xx|[1-5][0-9][0-9](-[1-5][0-9][0-9])?)$" }
            ]
        });
        json_schema!({
            "description": "HTTP statuses: 200, \"2xx\", \"200-204\", or a list of these.",
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }],
            "examples": [200, "2xx", [200, 304]]
        })
    }
}

/// A number of bytes as people write it: `64MiB`, `1.5 GB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 13] = [
    ("B", 1),
    ("k", 1000),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("kiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("", 1),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size such as `64MiB`, `2GB` or `4096`");
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.len() > 3 || (number.contains('.') && fraction.is_empty()) {
            return Err(wrong());
        }
        let bytes = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(unit)).ok_or_else(wrong)?;
        let thousandths: u64 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
        // Divided before multiplied where that loses nothing, so that no unit can overflow.
        let part = if unit >= 1000 { unit / 1000 * thousandths + unit % 1000 * thousandths / 1000 } else { 0 };
        bytes.checked_add(part).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.iter().find(|(_, unit)| self.0 >= *unit) {
            None => write!(f, "{}B", self.0),
            Some((name, unit)) if self.0.is_multiple_of(*unit) => write!(f, "{}{name}", self.0 / unit),
            Some((name, unit)) => {
                let tenths = u128::from(self.0) * 10 / u128::from(*unit);
                write!(f, "{}.{}{name}", tenths / 10, tenths % 10)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_shape_and_written_back() {
        for text in ["200", "\"2xx\"", "\"200-204\"", "[200,\"3xx\"]"] {
            let statuses: Statuses = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&statuses).expect("serializable"), text);
        }
        let statuses: Statuses = serde_json::from_str("[204, \"3xx\"]").expect("valid");
        let seen: Vec<u16> = [200, 204, 299, 300, 399, 400].into_iter().filter(|s| statuses.contains(*s)).collect();
        assert_eq!(seen, [204, 300, 399]);
        assert_eq!(statuses.to_string(), "204 or 3xx");
        for bad in ["99", "\"6xx\"", "\"300-200\"", "[]", "true", "\"ok\""] {
            assert!(serde_json::from_str::<Statuses>(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let table =
            [("4096", 4096), ("2GiB", 2 << 30), ("1.5 GB", 1_500_000_000), ("64 MiB", 64 << 20), ("0.5KiB", 512)];
        for (text, bytes) in table {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "GiB", "-1", "2 XB", "1.", "1.2345GB", "99999999TiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!(Size(2 << 30).to_string(), "2GiB");
        assert_eq!(Size(1_610_612_737).to_string(), "1.5GiB");
        assert_eq!(Size(17).to_string(), "17B");
    }

    #[test]
    fn one_text_is_a_list_of_one() {
        assert_eq!(serde_json::from_str::<Texts>("\"a\"").expect("valid"), Texts::from("a"));
        assert_eq!(serde_json::from_str::<Texts>("[\"a\",\"b\"]").expect("valid").0, ["a", "b"]);
        assert!(serde_json::from_str::<Texts>("[1]").is_err());
    }
}
