//! How things end: a check, a step, a host.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ExitCode, Failure, FailureClass};

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    Fail,
    /// Measured, but it proves nothing either way.
    Inconclusive,
    /// Could not be measured.
    Error,
    /// Nobody looked: never to be read as passed.
    Unverified,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
            Self::Unverified => "unverified",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum StepOutcome {
    /// It looked, and there was nothing to do.
    Unchanged,
    Changed,
    Failed {
        failure: Failure,
    },
    /// It may or may not have happened, and nobody can tell yet.
    Unknown {
        failure: Failure,
    },
    /// Not run, for the reason given.
    Skipped {
        reason: String,
    },
}

impl StepOutcome {
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Unchanged | Self::Changed | Self::Skipped { .. })
    }

    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure } | Self::Unknown { failure } => Some(failure),
            Self::Unchanged | Self::Changed | Self::Skipped { .. } => None,
        }
    }
}

/// How a run ended for one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostOutcome {
    /// All steps done, all checks green.
    Done,
    /// Nothing needed to change, all checks green.
    Unchanged,
    /// Failed, and taken back to where it was.
    Undone,
    /// Failed, and left as the table says.
    Failed,
    /// Red before we began, so nothing was begun.
    Parked,
    /// Waits for a person.
    Held,
    /// An undo failed.
    Stuck,
    /// Nobody can tell what happened.
    Unknown,
    Unreachable,
    /// Somebody else has it, or it moved since the plan.
    Refused,
    /// Stopped between two steps by a person; resumable.
    Interrupted,
    /// Never begun: the run halted or was interrupted first.
    NotStarted,
}

impl HostOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unchanged => "unchanged",
            Self::Undone => "undone",
            Self::Failed => "failed",
            Self::Parked => "parked",
            Self::Held => "held",
            Self::Stuck => "stuck",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
            Self::NotStarted => "not started",
        }
    }

    pub fn is_good(self) -> bool {
        matches!(self, Self::Done | Self::Unchanged)
    }

    /// What this outcome says about the exit code, taken alone.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Done | Self::Unchanged | Self::NotStarted => ExitCode::Good,
            Self::Undone | Self::Failed | Self::Parked => ExitCode::HostFailed,
            Self::Held | Self::Stuck | Self::Unknown => ExitCode::PersonNeeded,
            Self::Unreachable => ExitCode::SomeUnreachable,
            Self::Refused => ExitCode::Refused,
            Self::Interrupted => ExitCode::Interrupted,
        }
    }

    /// What it says with its reason: a host left for its window is one that the run refused to start.
    pub fn exit_code_for(self, failure: Option<&Failure>) -> ExitCode {
        match failure {
            Some(failure) if self == Self::NotStarted && failure.class == FailureClass::Window => ExitCode::Refused,
            _ => self.exit_code(),
        }
    }
}

impl fmt::Display for HostOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
