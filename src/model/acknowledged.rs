//! That a person has read what a release asks for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Version;

/// Somebody said by name that the notes of a release were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Acknowledged {
    pub version: Version,
    /// `user@controller`.
    pub by: String,
    pub at: Timestamp,
}
