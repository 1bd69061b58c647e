//! What is prepared for a host whose data was changed, and what taking a finished upgrade back consists of.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PlannedStep;
use crate::{
    model::{Receipt, RunId, RunNumber, StepId, Version},
    steps::Action,
};

/// What is prepared for a host that fails after its data was changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Recovery {
    /// Stops the broken release, keeps evidence: by itself, before a person is asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incident: Vec<PlannedStep>,
    /// Copies the data as it is, before other data takes its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub safety_copy: Vec<PlannedStep>,
    /// Puts the data of the backup back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restore: Vec<PlannedStep>,
    /// How the restore itself keeps what it replaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_keeps: Option<String>,
    /// Takes a finished upgrade back beyond its undos: schema, traffic.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rollback: Vec<PlannedStep>,
    /// Reads when the newest data was written: its first line of output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Box<Action>>,
}

impl Recovery {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Lists every step that is prepared, whatever it is for.
    pub fn steps(&self) -> impl Iterator<Item = &PlannedStep> {
        self.incident.iter().chain(&self.safety_copy).chain(&self.restore).chain(&self.rollback)
    }
}

/// The finished upgrade of one host that a plan takes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostRollback {
    /// The run that upgraded the host.
    pub of: RunId,
    pub number: RunNumber,
    pub shape: Shape,
    /// Why this shape is the right one for the host.
    pub why: String,
    /// The version to which the host goes back.
    #[serde(default)]
    pub to: Option<Version>,
    /// When the backup was made that is put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Timestamp>,
    /// What steps of that run left as proof, before it changed data.
    #[serde(default)]
    pub receipts: Vec<KeptReceipt>,
    /// The steps that copy the data as it is.
    #[serde(default)]
    pub copies: Vec<StepId>,
    /// The steps that put the backup back: none begins before there is a copy.
    #[serde(default)]
    pub restores: Vec<StepId>,
}

impl HostRollback {
    /// What a person has to approve before it begins: the action, and when the backup was made that is put back.
    pub fn approval(&self) -> Option<(&'static str, Option<Timestamp>)> {
        match self.shape {
            Shape::Code | Shape::Traffic => None,
            Shape::Data => Some(("restore", self.backup)),
            Shape::Schema => Some(("rollback", None)),
        }
    }
}

/// What going back means for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// The code is pointed back; data stays as it is.
    Code,
    /// The backup of the run is restored, and the code is pointed back.
    Data,
    /// The role's rollback steps take the schema back, and the code is pointed back.
    Schema,
    /// The role's rollback steps take traffic back, and the code is pointed back.
    Traffic,
}

impl Shape {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Data => "data and code",
            Self::Schema => "schema and code",
            Self::Traffic => "traffic and code",
        }
    }
}

/// A receipt of a finished run, with the name of the step that left it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeptReceipt {
    pub step: String,
    pub receipt: Receipt,
    pub ended: Timestamp,
}

/// The step of a finished run that a step takes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TakenStep {
    pub run: RunId,
    pub step: StepId,
    /// By the undo of the step's own kind; otherwise the step that takes it back is one like any other.
    pub by_kind: bool,
}

/// Whether a requirement that names `receipt` means the step called `step`: it, or a part of its verb.
pub fn leaves(step: &str, receipt: &str) -> bool {
    step.strip_prefix(receipt).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
}
