//! `playbooks/*.toml`: which hosts, which role and action, under which rollout.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{inventory::Value, role::RoleCheck, rollout::RolloutDoc, step::StepDoc};
use crate::model::Version;

/// Which hosts, what to do on them, and how carefully. Either `role` and `action`, or `steps` of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Playbook {
    /// What it is for, as tables show it. The name of the file when left out.
    #[serde(default)]
    pub name: Option<String>,
    /// The role's folder name under `roles/`.
    #[serde(default)]
    pub role: Option<String>,
    /// Which of the role's actions: `upgrade`, `backup`, `restore`, `rollback`, `deploy`, `drill` or one of its own.
    #[serde(default)]
    pub action: Option<String>,
    /// Selector: `prod:&eu:!canary`, `tag=gpu`, `web-*`. The whole fleet must be named: `all`.
    pub hosts: String,
    /// The version wanted, unless `--to` names another.
    #[serde(default)]
    pub to: Option<Version>,
    /// Go to the version wanted in one hop where no required stop lies between, instead of one minor at a time.
    /// What the releases passed over need is asked for all the same.
    #[serde(default)]
    pub direct: bool,
    /// Let the path pass a major release. Only with an action of the role's own: a major is a project, and no push.
    #[serde(default)]
    pub allow_major: bool,
    /// Variables, by name. They win over the role's and the profile's, and lose to the host's.
    #[serde(default)]
    pub vars: IndexMap<String, Value>,
    /// Steps of the playbook's own, instead of a role's action.
    #[serde(default)]
    pub steps: Vec<StepDoc>,
    /// Gates beside those of the role.
    #[serde(default)]
    pub gate: Vec<RoleCheck>,
    /// Health checks beside those of the role.
    #[serde(default)]
    pub check: Vec<RoleCheck>,
    /// How the hosts are taken: canary, waves, soak, budget.
    #[serde(default)]
    pub rollout: RolloutDoc,
    /// What happens to a host that fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

impl Playbook {
    /// A playbook that only looks: the checks of a role, or of the profiles alone.
    pub fn sweep(hosts: &str, role: Option<String>) -> Self {
        Self {
            name: None,
            role,
            action: None,
            hosts: hosts.to_owned(),
            to: None,
            direct: false,
            allow_major: false,
            vars: IndexMap::new(),
            steps: Vec::new(),
            gate: Vec::new(),
            check: Vec::new(),
            rollout: RolloutDoc::default(),
            on_failure: OnFailure::default(),
        }
    }
}

/// What happens to a host that fails.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct OnFailure {
    /// Before the point of no return.
    pub before_data: BeforeData,
    /// From the point of no return on.
    pub after_data: AfterData,
    /// What failed hosts take back with them when they halt the run.
    pub scope: Scope,
}

/// Before the point of no return.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BeforeData {
    /// Take back this host's done steps, last first.
    #[default]
    Undo,
    /// Leave the host as it stands, for a person.
    Hold,
}

/// From the point of no return on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AfterData {
    /// Leave the host as it stands, for a person.
    #[default]
    Hold,
}

/// What failed hosts take back with them when they halt the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Nobody: each host is taken back by itself.
    #[default]
    Host,
    /// The hosts of their wave that were upgraded in this run.
    Wave,
    /// All hosts that were upgraded in this run.
    Run,
}
