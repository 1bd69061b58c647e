//! `[rollout]` of a playbook: canary, waves, soak, who promotes, and how much may go wrong.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::window::OutsideWindow;
use crate::model::Span;

/// How the hosts are taken: canary, waves, window, soak, budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RolloutDoc {
    /// The first wave: a few representative hosts.
    pub canary: Option<Canary>,
    /// The waves after the canary, in order: counts, percentages of all hosts, groups such as `"group:eu"`, and `rest`
    /// as the last. Everything in one wave when left out.
    pub waves: Vec<WaveHosts>,
    /// Hosts worked on at once within a wave. 10 when left out.
    pub at_once: Option<u32>,
    /// How long a finished wave must stay green before the next begins: a length of time, or a table with more to
    /// say. No time at all when left out.
    pub soak: Option<Soak>,
    /// Who lets the next wave begin.
    pub promote: Promote,
    /// What becomes of a host whose turn comes outside its window.
    pub outside_window: OutsideWindow,
    /// What becomes of a host that is red before anything is changed. Its gates must hold either way.
    pub baseline: Baseline,
    /// How many hosts may go wrong before no more are started.
    pub budget: Budget,
}

/// What a red check before the change means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The host is parked: left as it was found.
    #[default]
    Park,
    /// It is told, and the host is worked on all the same: for what mends hosts that are down. A fact that such a host
    /// does not tell is what an earlier run recorded of it.
    Tell,
}

impl Baseline {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(crate) fn is_park(&self) -> bool {
        *self == Self::Park
    }
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
    pub soak: Option<Soak>,
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

/// The hosts of a wave: so many of those that are left, or those that a selector names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaveHosts {
    Amount(Amount),
    /// Those of the playbook's hosts that are left and that it selects. Written with `group:` in front.
    Selector(String),
}

impl WaveHosts {
    /// Returns the selector, where it is one.
    pub fn selector(&self) -> Option<&str> {
        match self {
            Self::Amount(_) => None,
            Self::Selector(selector) => Some(selector),
        }
    }
}

impl Serialize for WaveHosts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Amount(amount) => amount.serialize(serializer),
            Self::Selector(selector) => serializer.collect_str(&format_args!("group:{selector}")),
        }
    }
}

impl<'de> Deserialize<'de> for WaveHosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::Value as Json;
        let wrong = || {
            D::Error::custom(
                "expected a count such as `2`, a percentage such as \"10%\", a group such as \"group:eu\", or \"rest\"",
            )
        };
        let json = Json::deserialize(deserializer)?;
        let selector = json.as_str().and_then(|text| text.strip_prefix("group:")).map(str::trim);
        if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
            return Ok(Self::Selector(selector.to_owned()));
        }
        serde_json::from_value(json).map(Self::Amount).map_err(|_| wrong())
    }
}

impl JsonSchema for WaveHosts {
    fn schema_name() -> Cow<'static, str> {
        "WaveHosts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description":
                "A count; a percentage of all selected hosts such as `\"10%\"`, rounded up; a group such as \
                 `\"group:eu\"`, where any selector may follow; or `\"rest\"`, for the last wave.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^([0-9]{1,2}%|100%|rest|group:.+)$" }
            ]
        })
    }
}

/// How a finished wave is watched. Written as a length of time, or as a table with more to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Soak {
    #[serde(rename = "for")]
    pub length: Span,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub red: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flaps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<u32>,
}

impl Soak {
    /// A soak of this length, watched in the usual way.
    pub fn of(length: Span) -> Self {
        Self { length, every: None, healthy: None, within: None, red: None, flaps: None, control: None }
    }
}

/// The table form of a soak.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "SoakTable")]
struct SoakTable {
    /// How long the wave must stay green.
    #[serde(rename = "for")]
    length: Span,
    /// How often the checks are made. A tenth of the soak when left out, but from `1s` to `15s`.
    #[serde(default)]
    every: Option<Span>,
    /// A host is healthy after so many green rounds in a row. 1 when left out.
    #[serde(default)]
    healthy: Option<u32>,
    /// How long a host may take until it is healthy; until then a red round does not count. No time when left out.
    #[serde(default)]
    within: Option<Span>,
    /// A healthy host fails after so many red rounds in a row: one bad answer is no trend. 3 when left out.
    #[serde(default)]
    red: Option<u32>,
    /// A host fails when it has turned from green to red so often, even if it comes back each time. 3 when left out.
    #[serde(default)]
    flaps: Option<u32>,
    /// Hosts not yet upgraded that are looked at beside the wave: where they turn red as well, it is not the release.
    /// 3 when left out.
    #[serde(default)]
    control: Option<u32>,
}

impl From<SoakTable> for Soak {
    fn from(table: SoakTable) -> Self {
        let SoakTable { length, every, healthy, within, red, flaps, control } = table;
        Self { length, every, healthy, within, red, flaps, control }
    }
}

impl<'de> Deserialize<'de> for Soak {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Soak;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as `10m`, or a table with `for`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Soak, E> {
                text.parse().map(Soak::of).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Soak, A::Error> {
                SoakTable::deserialize(MapAccessDeserializer::new(map)).map(Soak::from)
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

impl JsonSchema for Soak {
    fn schema_name() -> Cow<'static, str> {
        "Soak".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let length = generator.subschema_for::<Span>();
        let table = generator.subschema_for::<SoakTable>();
        json_schema!({
            "description": "How a finished wave is watched. Written as a length of time, or as a table with more to say.",
            "anyOf": [length, table]
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
///
/// Percentages are of all hosts of the run, rounded down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Budget {
    /// Failed hosts allowed, those that failed in their soak included. 0 when left out.
    pub failed: Option<Amount>,
    /// Unreachable hosts allowed. No limit when left out.
    pub unreachable: Option<Amount>,
    /// Hosts whose soak may prove nothing either way, as long as others of their wave pass it. 0 when left out.
    pub inconclusive: Option<Amount>,
    /// Hosts that may be found red, or behind a closed gate, before anything is changed on them. No limit when left
    /// out.
    pub parked: Option<Amount>,
    /// So many hosts with the same error halt at once. No limit when left out.
    pub same_failure: Option<u32>,
    /// What is allowed within each single wave, beside what is allowed in the run.
    pub wave: WaveBudget,
}

/// How many hosts of one wave may go wrong. Inclusive; percentages are of the wave's hosts, rounded down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct WaveBudget {
    /// Failed hosts allowed. The run's budget alone counts when left out.
    pub failed: Option<Amount>,
    /// Unreachable hosts allowed. The run's budget alone counts when left out.
    pub unreachable: Option<Amount>,
    /// Hosts whose soak may prove nothing. The run's budget alone counts when left out.
    pub inconclusive: Option<Amount>,
    /// Hosts that may be parked. The run's budget alone counts when left out.
    pub parked: Option<Amount>,
}
