//! `roles/<product>/role.toml`: one product's runbook.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{inventory::Value, step::StepDoc};
use crate::{model::Span, steps::Check};

/// One product's runbook: its actions, checks and what they need.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Role {
    /// One line on the product.
    pub about: Option<String>,
    /// Default values of the variables; every one that templates use must be here, in the profile or in the inventory.
    pub vars: IndexMap<String, Value>,
    /// Variables that a host must set, each with what it is for.
    pub requires: IndexMap<String, String>,
    /// How to read the installed version: a command on the host that prints it on its first line.
    pub version: Option<StepDoc>,
    /// Bring a host to another version.
    pub upgrade: Vec<StepDoc>,
    pub backup: Vec<StepDoc>,
    pub restore: Vec<StepDoc>,
    pub rollback: Vec<StepDoc>,
    pub deploy: Vec<StepDoc>,
    pub drill: Vec<StepDoc>,
    /// Actions of the product's own, by name.
    pub actions: IndexMap<String, Vec<StepDoc>>,
    /// Checks made before anything changes: all must pass or the host is left as found.
    pub gate: Vec<RoleCheck>,
    /// Checks of the product's health: made before (the baseline), after, during the soak, and by `check`.
    pub check: Vec<RoleCheck>,
}

/// A check of a role: exactly one kind of probe, with a name and how often to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoleCheck {
    pub name: String,
    /// The probe. See the reference of checks.
    #[serde(default)]
    pub http: Option<crate::steps::HttpCheck>,
    #[serde(default)]
    pub tcp: Option<crate::steps::TcpCheck>,
    #[serde(default)]
    pub command: Option<crate::steps::CommandCheck>,
    #[serde(default)]
    pub disk: Option<crate::steps::DiskCheck>,
    #[serde(default)]
    pub ssh: Option<crate::steps::SshCheck>,
    /// Try again until it passes. The last verdict counts.
    #[serde(default)]
    pub retry: Option<super::step::Retry>,
    /// Longest time of one try.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Made only after the change, not for the baseline: it holds for the new version alone.
    #[serde(default)]
    pub after_only: bool,
}

impl RoleCheck {
    /// Returns the probe as the check step has it.
    pub fn to_check(&self) -> Check {
        Check {
            http: self.http.clone(),
            tcp: self.tcp.clone(),
            command: self.command.clone(),
            disk: self.disk.clone(),
            ssh: self.ssh.clone(),
        }
    }
}
