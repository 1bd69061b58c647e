//! A step as documents write it: exactly one kind, and what holds for every kind.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    model::{Effect, Span},
    steps::{Action, Check, Command, Env, Fetch, File, Notify, Script, Wait},
};

/// A step. Exactly one of the kinds (`verb`, `command`, `script`, ...) must be there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StepDoc {
    /// What the step is for, as tables show it. Made from the kind when left out.
    pub name: Option<String>,

    /// Does what the host's profile says for this verb.
    pub verb: Option<String>,
    pub command: Option<Command>,
    pub script: Option<Script>,
    pub file: Option<File>,
    pub fetch: Option<Fetch>,
    pub env: Option<Env>,
    pub check: Option<Check>,
    pub wait: Option<Wait>,
    pub notify: Option<Notify>,

    /// What the step does to the host: `read`, `code`, `data`, `irreversible`.
    pub effect: Option<Effect>,
    /// Longest time the step may take.
    pub timeout: Option<Span>,
    /// Longest silence of the step's program.
    pub idle_timeout: Option<Span>,
    /// How to take the step back, where the kind does not know by itself: one or more steps.
    pub undo: Option<Box<OneOrMany<StepDoc>>>,
    /// Why the step cannot be taken back. Said in the plan.
    pub no_undo: Option<String>,
    /// Run as this user instead of the host's `become`; `login` is the login user.
    #[serde(rename = "become")]
    pub run_as: Option<String>,
    /// Try again while the step fails. Only for steps that may run twice.
    pub retry: Option<Retry>,
    /// The step may run twice without harm.
    pub repeat_safe: Option<bool>,
    /// Run the step only where this variable or fact is set and not false, empty or zero.
    pub when: Option<String>,
    /// Run the step once for each hop of the path instead of once in all.
    pub once_per_hop: Option<bool>,
    /// Receipts of earlier steps without which this one does not start.
    pub requires: Vec<Requirement>,
}

impl StepDoc {
    /// Lists the kinds that are there, by key. `verb` counts as one. A well-formed step has exactly one.
    pub fn kinds(&self) -> Vec<&'static str> {
        let present = [
            ("verb", self.verb.is_some()),
            ("command", self.command.is_some()),
            ("script", self.script.is_some()),
            ("file", self.file.is_some()),
            ("fetch", self.fetch.is_some()),
            ("env", self.env.is_some()),
            ("check", self.check.is_some()),
            ("wait", self.wait.is_some()),
            ("notify", self.notify.is_some()),
        ];
        present.into_iter().filter_map(|(kind, there)| there.then_some(kind)).collect()
    }

    /// Returns what the step does, unless it is a verb.
    pub fn action(&self) -> Option<Action> {
        None.or_else(|| self.command.clone().map(Action::Command))
            .or_else(|| self.script.clone().map(Action::Script))
            .or_else(|| self.file.clone().map(Action::File))
            .or_else(|| self.fetch.clone().map(Action::Fetch))
            .or_else(|| self.env.clone().map(Action::Env))
            .or_else(|| self.check.clone().map(Action::Check))
            .or_else(|| self.wait.clone().map(Action::Wait))
            .or_else(|| self.notify.clone().map(Action::Notify))
    }
}

/// Try again: every so often, for so long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retry {
    pub every: Span,
    #[serde(rename = "for")]
    pub within: Span,
}

/// A receipt that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Requirement {
    /// Name of the step that leaves it.
    pub receipt: String,
    #[serde(default)]
    pub younger_than: Option<Span>,
}

/// One of something, or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Decided by the shape alone, so that a mistake inside is reported as itself.
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Array(items) => items
                .into_iter()
                .map(serde_json::from_value)
                .collect::<Result<_, _>>()
                .map(Self)
                .map_err(D::Error::custom),
            one => serde_json::from_value(one).map(|one| Self(vec![one])).map_err(D::Error::custom),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}
