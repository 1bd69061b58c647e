//! `playbooks/*.toml`: which hosts, which role and action, under which rollout.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{inventory::Value, role::RoleCheck, step::StepDoc};
use crate::model::{Span, Version};

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
            vars: IndexMap::new(),
            steps: Vec::new(),
            gate: Vec::new(),
            check: Vec::new(),
            rollout: RolloutDoc::default(),
            on_failure: OnFailure::default(),
        }
    }
}

/// How the hosts are taken: canary, waves, window, soak, budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RolloutDoc {
    /// The first wave: a few representative hosts.
    pub canary: Option<Canary>,
    /// Sizes of the waves after the canary: counts, percentages of all hosts, `rest` as the last.
    /// Everything in one wave when left out.
    pub waves: Vec<Amount>,
    /// Hosts worked on at once within a wave. 10 when left out.
    pub at_once: Option<u32>,
    /// How long a finished wave must stay green before the next begins. No time at all when left out.
    pub soak: Option<Span>,
    /// Who lets the next wave begin.
    pub promote: Promote,
    /// How many hosts may go wrong before no more are started.
    pub budget: Budget,
}

/// The first wave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Canary {
    /// How many hosts, their names, or a selector.
    pub hosts: CanaryHosts,
    /// Facts by which the hosts chosen by a count should differ: `profile`, `version`, or a variable's name.
    /// `profile` when left out.
    #[serde(default)]
    pub represent: Vec<String>,
    /// Soak of the canary alone. The rollout's when left out.
    #[serde(default)]
    pub soak: Option<Span>,
    /// Who ends the canary alone. The rollout's `promote` when left out.
    #[serde(default)]
    pub promote: Option<Promote>,
}

/// Which hosts are the canary.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CanaryHosts {
    Count(u32),
    Selector(String),
    Names(Vec<String>),
}

impl<'de> Deserialize<'de> for CanaryHosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::Value as Json;
        let wrong = || D::Error::custom("`hosts` of a canary is a count, a selector, or a list of names");
        match Json::deserialize(deserializer)? {
            Json::Number(count) => {
                count.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).map(Self::Count).ok_or_else(wrong)
            }
            Json::String(selector) => Ok(Self::Selector(selector)),
            Json::Array(names) => names
                .into_iter()
                .map(|n| n.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map(Self::Names)
                .ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

impl JsonSchema for CanaryHosts {
    fn schema_name() -> Cow<'static, str> {
        "CanaryHosts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "string" },
            { "type": "array", "items": { "type": "string" } }
        ] })
    }
}

/// A number of hosts: a count, a percentage, or the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    Count(u32),
    /// Of all selected hosts; rounds up in waves, down in budgets.
    Percent(u32),
    Rest,
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Rest => f.write_str("rest"),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(_) | Self::Rest => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::Value as Json;
        let wrong = || D::Error::custom("expected a count such as `2`, a percentage such as \"10%\", or \"rest\"");
        match Json::deserialize(deserializer)? {
            Json::Number(count) => {
                count.as_u64().and_then(|n| u32::try_from(n).ok()).map(Self::Count).ok_or_else(wrong)
            }
            Json::String(text) if text == "rest" => Ok(Self::Rest),
            Json::String(text) => text
                .strip_suffix('%')
                .and_then(|n| n.trim().parse().ok())
                .filter(|n| *n <= 100)
                .map(Self::Percent)
                .ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description":
                "A count; a percentage of all selected hosts such as `\"10%\"`, rounded up in waves and down in budgets; \
                 or `\"rest\"`, for the last wave.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^([0-9]{1,2}%|100%|rest)$" }]
        })
    }
}

/// Who lets the next wave begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Promote {
    /// The checks do.
    #[default]
    Auto,
    /// A person does.
    Manual,
}

/// How many hosts may go wrong before no more are started. Inclusive: `0` halts at the first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Budget {
    /// Failed hosts allowed. 0 when left out.
    pub failed: Option<Amount>,
    /// Unreachable hosts allowed. No limit when left out.
    pub unreachable: Option<Amount>,
    /// Inconclusive hosts allowed. No limit when left out.
    pub inconclusive: Option<Amount>,
    /// So many hosts with the same error halt at once. No limit when left out.
    pub same_failure: Option<u32>,
}

/// What happens to a host that fails.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct OnFailure {
    /// Before the point of no return.
    pub before_data: BeforeData,
    /// From the point of no return on.
    pub after_data: AfterData,
    /// What a failed host takes with it. Only `host` as yet.
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

/// What a failed host takes with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Nothing but itself.
    #[default]
    Host,
    /// The hosts of its wave.
    Wave,
    /// All hosts of the run.
    Run,
}
