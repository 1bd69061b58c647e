//! What a step can do to a host, and so what taking it back means.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a step does to a host. Ordered from harmless to final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Changes nothing; may be repeated freely.
    Read,
    /// Changes what runs; an undo points it back.
    Code,
    /// Changes data; only a restore takes it back.
    Data,
    /// Cannot be taken back at all.
    Irreversible,
}

impl Effect {
    /// Whether pointing the code back after such a step is no rollback any more.
    pub fn passes_no_return(self) -> bool {
        matches!(self, Self::Data | Self::Irreversible)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Code => "code",
            Self::Data => "data",
            Self::Irreversible => "irreversible",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
