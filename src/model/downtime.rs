//! Where in a host's steps its product is down.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a step does to the product's users: what the downtime is counted from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Downtime {
    /// The product is down from the start of this step on.
    Begins,
    /// The product comes up again with this step. It counts as up once the checks have passed: those that the action
    /// makes at a later step (`health = true`), or else those at the end.
    Ends,
    /// The product goes down with this step, and comes up again with it.
    During,
}

impl Downtime {
    /// Whether the product goes down with such a step.
    pub fn begins(self) -> bool {
        matches!(self, Self::Begins | Self::During)
    }

    /// Whether the product is up again after such a step.
    pub fn ends(self) -> bool {
        matches!(self, Self::Ends | Self::During)
    }

    /// What taking such a step back does.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Begins => Self::Ends,
            Self::Ends => Self::Begins,
            Self::During => Self::During,
        }
    }
}
