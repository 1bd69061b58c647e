//! Runs one command on the host.

use std::{borrow::Cow, fmt};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        self, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::{HostProgram, Outside, Problem, StepKind, Template, Undoing, Work, shell};
use crate::model::{Effect, Redactor, RemoteCommand};

/// Runs a command. Written as text for `sh`, as a list of words, or as a table with more to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Command {
    pub run: CommandLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unless: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creates: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removes: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ok: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
}

/// The table form of a command.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "CommandTable")]
struct Table {
    /// The command: text for `sh`, or a list of words that are quoted as they are. Text runs with
    /// `set -e`: the first command that fails ends it.
    run: CommandLine,
    /// Folder on the host to run it in: absolute, or below `~/`. The login folder when left out.
    #[serde(default)]
    dir: Option<String>,
    /// Environment variables for it, by name.
    #[serde(default)]
    env: IndexMap<String, String>,
    /// A condition in `sh`: where it exits with 0 there is nothing to do.
    #[serde(default)]
    unless: Option<String>,
    /// A path on the host: where it exists there is nothing to do.
    #[serde(default)]
    creates: Option<String>,
    /// A path on the host: where it is missing there is nothing to do.
    #[serde(default)]
    removes: Option<String>,
    /// Exit statuses that count as done. `[0]` when left out.
    #[serde(default)]
    ok: Vec<u32>,
    /// What it starts outside of its own processes: containers, database sessions.
    #[serde(default)]
    outside: Option<Outside>,
}

impl From<Table> for Command {
    fn from(table: Table) -> Self {
        let Table { run, dir, env, unless, creates, removes, ok, outside } = table;
        Self { run, dir, env, unless, creates, removes, ok, outside }
    }
}

impl From<CommandLine> for Command {
    fn from(run: CommandLine) -> Self {
        Self {
            run,
            dir: None,
            env: IndexMap::new(),
            unless: None,
            creates: None,
            removes: None,
            ok: Vec::new(),
            outside: None,
        }
    }
}

/// A command line: text for `sh`, or words that are quoted as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    Shell(String),
    Words(Vec<String>),
}

impl CommandLine {
    pub(super) fn templates(&mut self, key: &str, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        match self {
            Self::Shell(text) => visit(Template::Shell, key, text),
            Self::Words(words) => {
                for (index, word) in words.iter_mut().enumerate() {
                    visit(Template::Text, &format!("{key}.{index}"), word);
                }
            }
        }
    }

    pub(super) fn problem(&self, key: &str) -> Option<Problem> {
        let empty = match self {
            Self::Shell(text) => text.trim().is_empty(),
            Self::Words(words) => words.first().is_none_or(|word| word.trim().is_empty()),
        };
        empty.then(|| Problem::new(key, "the command is empty"))
    }

    /// Returns the command as text for `sh`.
    pub fn to_shell(&self) -> String {
        match self {
            Self::Shell(text) => text.clone(),
            Self::Words(words) => RemoteCommand::new(words).to_shell(),
        }
    }

    /// Returns the command in one line for plans and messages; secrets are masked.
    pub(super) fn shown(&self) -> String {
        let text = match self {
            Self::Shell(text) => shell::flat(text),
            // Masked before quoting, or a reference to a variable would be shown.
            Self::Words(words) => RemoteCommand::new(words.iter().map(|word| Redactor::mask(word))).to_shell(),
        };
        shell::one_line(&Redactor::mask(&text))
    }
}

impl StepKind for Command {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        self.run.templates("run", visit);
        if let Some(dir) = &mut self.dir {
            visit(Template::Text, "dir", dir);
        }
        for (name, value) in &mut self.env {
            visit(Template::Text, &format!("env.{name}"), value);
        }
        if let Some(unless) = &mut self.unless {
            visit(Template::Shell, "unless", unless);
        }
        if let Some(creates) = &mut self.creates {
            visit(Template::Text, "creates", creates);
        }
        if let Some(removes) = &mut self.removes {
            visit(Template::Text, "removes", removes);
        }
        if let Some(outside) = &mut self.outside {
            outside.templates(visit);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = self.run.problem("run").into_iter().collect();
        problems.extend(shell::path_problem("dir", self.dir.as_deref()));
        problems.extend(shell::path_problem("creates", self.creates.as_deref()));
        problems.extend(shell::path_problem("removes", self.removes.as_deref()));
        problems.extend(shell::variable_problems("env", self.env.keys()));
        problems.extend(self.outside.iter().flat_map(Outside::problems));
        problems
    }

    fn summary(&self) -> String {
        self.run.shown()
    }

    fn effect(&self) -> Effect {
        Effect::Code
    }

    fn expected(&self) -> std::time::Duration {
        std::time::Duration::from_secs(30)
    }

    fn is_repeat_safe(&self) -> bool {
        false
    }

    fn undo(&self) -> Undoing {
        Undoing::Impossible { reason: "a command has no undo of its own" }
    }

    fn work(&self) -> Work<'_> {
        let place = shell::Place { dir: self.dir.as_deref(), env: &self.env };
        let conditions = shell::Conditions {
            unless: self.unless.as_deref(),
            creates: self.creates.as_deref(),
            removes: self.removes.as_deref(),
        };
        Work::Host(HostProgram {
            look: conditions.look(&place),
            act: format!("{}{}", place.enter(), shell::run_text(&self.run.to_shell(), &self.ok)),
            outside: self.outside.as_ref().map(|outside| Box::new(outside.in_place(&place))),
            ..HostProgram::default()
        })
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command as text, a list of words, or a table with `run`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Command, E> {
                Ok(CommandLine::Shell(text.to_owned()).into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Command, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(|words| CommandLine::Words(words).into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Command, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(Command::from)
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

impl JsonSchema for Command {
    fn schema_name() -> Cow<'static, str> {
        "Command".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let line = generator.subschema_for::<CommandLine>();
        let table = generator.subschema_for::<Table>();
        json_schema!({
            "description":
                "Runs a command. Written as text for `sh`, as a list of words, or as a table with more to say.",
            "anyOf": [line, table]
        })
    }
}

impl Serialize for CommandLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Shell(text) => serializer.serialize_str(text),
            Self::Words(words) => words.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = CommandLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command as text or a list of words")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CommandLine, E> {
                Ok(CommandLine::Shell(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<CommandLine, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(CommandLine::Words)
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

impl JsonSchema for CommandLine {
    fn schema_name() -> Cow<'static, str> {
        "CommandLine".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text for `sh`, or a list of words that are quoted as they are.",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 }
            ]
        })
    }
}

#[cfg(test)]
mod tests;
