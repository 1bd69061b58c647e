//! Versions as products write them: kept as text, ordered only where the order is certain.

use std::{cmp::Ordering, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A product's version, exactly as it was written.
///
/// `v1.2` and `1.2.0` compare as equal; `16-alpine` or a branch name compare with nothing.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the version as semver reads it, a leading `v` and missing parts allowed.
    pub fn semver(&self) -> Option<semver::Version> {
        let text = self.0.strip_prefix('v').unwrap_or(&self.0);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let missing = match core.split('.').count() {
            1 => ".0.0",
            2 => ".0",
            3 => "",
            _ => return None,
        };
        if !missing.is_empty() && !rest.is_empty() {
            return None;
        }
        semver::Version::parse(&format!("{core}{missing}{rest}")).ok()
    }

    /// Compares two versions; `None` where nobody can say which is newer.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if self.0 == other.0 {
            return Some(Ordering::Equal);
        }
        Some(self.semver()?.cmp(&other.semver()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_said_only_where_it_is_certain() {
        let compare = |a: &str, b: &str| Version::new(a).compare(&Version::new(b));
        assert_eq!(compare("v1.2.3", "1.2.3"), Some(Ordering::Equal));
        assert_eq!(compare("1.2", "1.2.1"), Some(Ordering::Less));
        assert_eq!(compare("1.10.0", "1.9.0"), Some(Ordering::Greater));
        assert_eq!(compare("1.3.0-rc.1", "1.3.0"), Some(Ordering::Less));
        assert_eq!(compare("16-alpine", "15.2"), None);
        assert_eq!(compare("1.2.3.4", "1.2.3"), None);
        assert_eq!(compare("main", "main"), Some(Ordering::Equal));
    }
}
