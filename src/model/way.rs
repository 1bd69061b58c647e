//! What a step belongs to on its host, and how a held host goes on.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Version;

/// What a step belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepPart {
    /// The plan's own steps.
    #[default]
    Main,
    /// What happens by itself once a host failed after its data was changed.
    Incident,
    /// The copy of the data that a restore replaces.
    SafetyCopy,
    /// Putting saved data back.
    Restore,
}

impl StepPart {
    pub fn is_main(&self) -> bool {
        *self == Self::Main
    }
}

/// How a held host goes on, as a person chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// With the plan, from the step that failed.
    RollForward,
    /// Back to the code of before; the data stays as it is.
    CodeRollback,
    /// Back to the data of the run's own backup, and to the code of before.
    Restore,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::RollForward, Self::CodeRollback, Self::Restore];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::RollForward => "roll-forward",
            Self::CodeRollback => "code-rollback",
            Self::Restore => "restore",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A person's word for what is never done by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Approval {
    /// `irreversible`, `restore`, `rollback`.
    pub action: String,
    pub by: String,
    /// `typed` at a terminal, or the `file` of approvals.
    pub how: String,
    /// When the backup was made that may be put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<jiff::Timestamp>,
    /// The steps that nothing takes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// The version to which they lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
}
