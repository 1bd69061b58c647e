//! Names that come from files, validated once at the edge and trusted afterwards.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// Why a text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name cannot be empty")]
    Empty,
    #[error("a name has at most {max} characters, this one has {length}")]
    TooLong { length: usize, max: usize },
    #[error("a name begins with a letter or a digit, not with `{0}`")]
    Start(String),
    #[error("a name consists of letters, digits, `.`, `_` and `-`, not `{0}`")]
    Character(String),
    #[error("`{0}` has a meaning of its own in selectors")]
    Reserved(String),
}

/// Longest name accepted, in characters: what a directory entry on any host can carry.
const MAX: usize = 64;

fn validate(text: &str) -> Result<(), NameError> {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return Err(NameError::Empty) };
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::Start(first.escape_default().to_string()));
    }
    if let Some(odd) = characters.find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        return Err(NameError::Character(odd.escape_default().to_string()));
    }
    if text.len() > MAX {
        return Err(NameError::TooLong { length: text.len(), max: MAX });
    }
    if text == "all" {
        return Err(NameError::Reserved(text.to_owned()));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$meta:meta])* $type:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Validates `text` as a name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                validate(&text)?;
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" })
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// One install; the unit of upgrade and rollback, whatever it runs on.
    HostName
}
name! {
    /// A named set of hosts.
    GroupName
}
name! {
    /// How the product is installed on a host.
    ProfileName
}
name! {
    /// A free label of a host.
    Tag
}

/// Whether a text is safe as the name of a directory on any host and as a word in any shell.
fn is_plain(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
}

/// Names a step within a host's plan, and its directory on the host.
///
/// Made by the plan from the step's position and name: `[a-z0-9-]{1,64}`, unique on the host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepId(String);

impl StepId {
    /// Returns the id of the step at `position` (from 0) called `name`.
    pub fn new(position: usize, name: &str) -> Self {
        let mut id = format!("{:02}-", position + 1);
        for c in name.chars().take(200) {
            if c.is_ascii_alphanumeric() {
                id.push(c.to_ascii_lowercase());
            } else if !id.ends_with('-') {
                id.push('-');
            }
        }
        id.truncate(48);
        Self(id.trim_end_matches('-').to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StepId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_plain(&text) {
            Ok(Self(text))
        } else {
            Err(format!("`{}` is not the id of a step", text.escape_default()))
        }
    }
}

impl From<StepId> for String {
    fn from(id: StepId) -> Self {
        id.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Identifies a run everywhere and for ever, also on the hosts; a lower-case ULID.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// Makes a new id from the clock and randomness. Only `cli` calls it.
    pub fn generate() -> Self {
        Self(ulid::Ulid::generate().to_string().to_ascii_lowercase())
    }

    /// Returns the id written as `text`, which tests and the ledger provide.
    pub fn from_text(text: &str) -> Option<Self> {
        is_plain(text).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RunId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::from_text(&text).ok_or_else(|| format!("`{}` is not the id of a run", text.escape_default()))
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a step of an earlier run keeps on a host for its undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeptBy {
    pub run: RunId,
    pub step: StepId,
}

impl fmt::Display for KeptBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.step)
    }
}

/// A run's short number within its project, as people say it: `0042`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunNumber(pub u32);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

impl FromStr for RunNumber {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim_start_matches('#').parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_a_path_or_an_option_is_refused() {
        for bad in ["", "-rf", "../x", "a/b", "a b", "a\nb", "\u{202e}a", "all", &"x".repeat(65)] {
            assert!(HostName::new(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["web-1", "198.51.100.7", "db_main.eu", "0"] {
            assert!(HostName::new(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_step_id_is_a_safe_directory_name() {
        assert_eq!(StepId::new(0, "Back up Postgres!").as_str(), "01-back-up-postgres");
        assert_eq!(StepId::new(11, "../../etc").as_str(), "12-etc");
        assert_eq!(StepId::new(2, "§§§").as_str(), "03");
        assert!(StepId::new(3, &"long ".repeat(40)).as_str().len() <= 48);
    }
}
