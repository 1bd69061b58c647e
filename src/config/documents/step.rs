//! A step as documents write it: exactly one kind, and what holds for every kind.

use std::{borrow::Cow, fmt, marker::PhantomData};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::releases::ReleaseKind;
use crate::{
    model::{Downtime, Effect, Span},
    steps::{
        Action, Backup, Check, Collect, Command, Deliver, Env, Fetch, File, Line, Mirror, Notify, Reboot, Restore,
        Script, Tree, Wait,
    },
};

/// A step. Exactly one of the kinds (`verb`, `command`, `script`, ...) must be there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StepDoc {
    /// What the step is for, as tables show it. What the step does, in one line, when left out.
    pub name: Option<String>,

    /// Does what the host's profile says for this verb. What stands beside it holds for every step of the verb.
    pub verb: Option<String>,
    /// Runs a command on the host.
    pub command: Option<Command>,
    /// Runs a script on the host.
    pub script: Option<Script>,
    /// Puts a file on the host.
    pub file: Option<File>,
    /// Brings a folder of the controller to the host, only what has changed.
    pub tree: Option<Tree>,
    /// Brings a file from the host to the controller.
    pub fetch: Option<Fetch>,
    /// Requires or sets keys of a dotenv file on the host.
    pub env: Option<Env>,
    /// Changes a word in lines of a text file on the host.
    pub line: Option<Line>,
    /// Makes one probe; the step fails when it does not pass.
    pub check: Option<Check>,
    /// Waits for a time, or until a check passes.
    pub wait: Option<Wait>,
    /// Tells people.
    pub notify: Option<Notify>,
    /// Saves data beside it, and proves the copy.
    pub backup: Option<Backup>,
    /// Puts saved data back, and keeps what it replaces.
    pub restore: Option<Restore>,
    /// Copies files that are never changed once they are there to another host or an object store.
    pub mirror: Option<Mirror>,
    /// Brings the newest copy that a backup left to the controller.
    pub collect: Option<Collect>,
    /// Brings a copy that `collect` brought to the host.
    pub deliver: Option<Deliver>,
    /// Restarts the host, and waits until it is back.
    pub reboot: Option<Reboot>,
    /// Makes all checks of the product's health at this place: the role's, the playbook's, the profile's. The host goes on
    /// only where they all pass. Only in actions of roles and in a playbook's steps.
    pub health: Option<bool>,

    /// What the step does to the host. That of its kind when left out.
    pub effect: Option<Effect>,
    /// Longest time the step may take. That of its kind when left out.
    pub timeout: Option<Span>,
    /// Longest silence of the step's program. Any when left out.
    pub idle_timeout: Option<Span>,
    /// How long the step usually takes: what windows and the plan count with, and nothing is cut short by. Its undo is
    /// counted as long, unless that says otherwise. What is usual for its kind when left out.
    pub expected: Option<Span>,
    /// Whether `longshore prefetch` may do the step days ahead: it changes nothing that runs. With the upgrade it is asked
    /// for again, and finds nothing to do while what it fetched is still there. What the verb's own steps say when left
    /// out, and otherwise `false`.
    pub ahead: Option<bool>,
    /// Whether the product goes down with the step, or is up again after it. Neither when left out.
    pub downtime: Option<Downtime>,
    /// How to take the step back: one or more steps. What its kind knows by itself when left out.
    pub undo: Option<Box<OneOrMany<StepDoc>>>,
    /// For a step that may cut the controller off (sshd, firewall, network, `reboot`). The host takes it back by itself
    /// unless the controller comes back within this time, over a new connection, and finds gates and checks passing. After a
    /// restart of the host the time begins anew. Needs an undo that is one program on the host.
    pub confirm_within: Option<Span>,
    /// Why the step is not taken back. The plan says it, and does not warn.
    pub no_undo: Option<String>,
    /// User to run as; `login` is the login user. The host's `become` when left out.
    #[serde(rename = "become")]
    pub run_as: Option<String>,
    /// Try again while the step fails; only for steps that may run twice. Never when left out. In an `undo`, too, but for
    /// that of a step with `confirm-within`.
    pub retry: Option<Retry>,
    /// Whether the step may run twice without harm. What its kind and effect say when left out.
    pub repeat_safe: Option<bool>,
    /// Run the step only where this variable is set and not false, empty or zero; `!name` the other way round.
    /// Everywhere when left out.
    pub when: Option<String>,
    /// Do the step once for each item of a list, one after the other in its order: `{ service = "services" }` sets the
    /// variable `service` to each item of the variable `services`. A verb's steps are all done for one item before the
    /// next begins, and taken back in reverse. Once in all when left out.
    pub for_each: Option<IndexMap<String, String>>,
    /// Run the step in each hop of the path; `false`: once in all, in the last hop. `true` when left out.
    pub once_per_hop: Option<bool>,
    /// Run the step only in hops of these classes (`patch`, `minor`, `major`), and where no hop is known: so that a
    /// patch needs neither backup nor migration. In every hop when left out.
    pub only_for: Vec<ReleaseKind>,
    /// Receipts of earlier steps without which this one does not start. A receipt counts only where it says what
    /// verified it (`verified`); a `file` in it must still be there with its `size` and `sha256`. Its values are the
    /// variables `LONGSHORE_RECEIPT_FILE` and so on of the step.
    pub requires: Vec<Requirement>,
    /// Why a step that changes data needs no backup. The plan says it, and warns.
    pub unprotected: Option<String>,
}

impl StepDoc {
    /// Lists the kinds that are there, by key. `verb` counts as one. A well-formed step has exactly one.
    pub fn kinds(&self) -> Vec<&'static str> {
        let present = [
            ("verb", self.verb.is_some()),
            ("command", self.command.is_some()),
            ("script", self.script.is_some()),
            ("file", self.file.is_some()),
            ("tree", self.tree.is_some()),
            ("fetch", self.fetch.is_some()),
            ("env", self.env.is_some()),
            ("line", self.line.is_some()),
            ("check", self.check.is_some()),
            ("wait", self.wait.is_some()),
            ("notify", self.notify.is_some()),
            ("backup", self.backup.is_some()),
            ("restore", self.restore.is_some()),
            ("mirror", self.mirror.is_some()),
            ("collect", self.collect.is_some()),
            ("deliver", self.deliver.is_some()),
            ("reboot", self.reboot.is_some()),
            ("health", self.health.is_some()),
        ];
        present.into_iter().filter_map(|(kind, there)| there.then_some(kind)).collect()
    }

    /// Whether the step may run twice: the document's own word, or what follows from effect and kind.
    pub fn is_repeat_safe(&self) -> bool {
        self.repeat_safe.unwrap_or_else(|| {
            self.effect == Some(Effect::Read) || self.action().is_some_and(|action| action.kind().is_repeat_safe())
        })
    }

    /// Returns what the step does, unless it is a verb.
    pub fn action(&self) -> Option<Action> {
        None.or_else(|| self.command.clone().map(Action::Command))
            .or_else(|| self.script.clone().map(Action::Script))
            .or_else(|| self.file.clone().map(Action::File))
            .or_else(|| self.tree.clone().map(Action::Tree))
            .or_else(|| self.fetch.clone().map(Action::Fetch))
            .or_else(|| self.env.clone().map(Action::Env))
            .or_else(|| self.line.clone().map(Action::Line))
            .or_else(|| self.check.clone().map(Action::Check))
            .or_else(|| self.wait.clone().map(Action::Wait))
            .or_else(|| self.notify.clone().map(Action::Notify))
            .or_else(|| self.backup.clone().map(Action::Backup))
            .or_else(|| self.restore.clone().map(Action::Restore))
            .or_else(|| self.mirror.clone().map(Action::Mirror))
            .or_else(|| self.collect.clone().map(Action::Collect))
            .or_else(|| self.deliver.clone().map(Action::Deliver))
            .or_else(|| self.reboot.clone().map(Action::Reboot))
    }
}

/// Try again: every so often, for so long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retry {
    /// Pause between two tries.
    pub every: Span,
    /// How long to go on trying.
    #[serde(rename = "for")]
    pub within: Span,
}

/// A receipt that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Requirement {
    /// Name of the step that leaves it.
    pub receipt: String,
    /// How old it may be at most. Any age when left out.
    #[serde(default)]
    pub younger_than: Option<Span>,
}

/// One of something, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

/// Decides by the shape alone, and reads on in place, so that a mistake inside is reported as itself.
struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one, or a list of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(OneOrMany)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(table)).map(|one| OneOrMany(vec![one]))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        T::deserialize(text.into_deserializer()).map(|one| OneOrMany(vec![one]))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(|one| OneOrMany(vec![one]))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        T::deserialize(number.into_deserializer()).map(|one| OneOrMany(vec![one]))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        T::deserialize(value.into_deserializer()).map(|one| OneOrMany(vec![one]))
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
