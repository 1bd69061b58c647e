//! The command check: what a command on the host exits with and says.

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, Instant},
};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        self, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::{Probed, Problem, Reach, Template, Texts, answer, check, command::CommandLine, json, shell};
use crate::{
    model::{Verdict, clean_line},
    transport::{Exec, Status},
};

/// A command on the host and what it must say. Written as text for `sh`, as a list of words, or as a
/// table with more to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommandCheck {
    pub run: CommandLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inconclusive: Vec<u32>,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub contains: Texts,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    pub not_contains: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub json: json::Expected,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jq: Option<String>,
}

/// The table form of a command check.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "CommandCheckTable")]
struct Table {
    /// The command: text for `sh`, or a list of words that are quoted as they are. Must change nothing.
    run: CommandLine,
    /// Folder on the host to run it in: absolute, or below `~/`. The login folder when left out.
    #[serde(default)]
    dir: Option<String>,
    /// Environment variables for it, by name.
    #[serde(default)]
    env: IndexMap<String, String>,
    /// Exit status expected. `0` when left out.
    #[serde(default)]
    exit: Option<u32>,
    /// Exit statuses that prove nothing either way.
    #[serde(default)]
    inconclusive: Vec<u32>,
    /// Texts that standard output must contain.
    #[serde(default)]
    contains: Texts,
    /// Texts that standard output must not contain.
    #[serde(default)]
    not_contains: Texts,
    /// A regular expression that standard output must match somewhere.
    #[serde(default)]
    matches: Option<String>,
    /// Values that the JSON on standard output must have, by path: `status`, `items.0.name`, `/a/b`.
    /// A text also equals a number, `true` or `false` that is written so.
    #[serde(default)]
    json: json::Expected,
    /// A jq expression on the JSON on standard output that must give `true` (or anything but `false` and `null`).
    #[serde(default)]
    jq: Option<String>,
}

impl From<Table> for CommandCheck {
    fn from(table: Table) -> Self {
        let Table { run, dir, env, exit, inconclusive, contains, not_contains, matches, json, jq } = table;
        Self { run, dir, env, exit, inconclusive, contains, not_contains, matches, json, jq }
    }
}

impl From<CommandLine> for CommandCheck {
    fn from(run: CommandLine) -> Self {
        Self {
            run,
            dir: None,
            env: IndexMap::new(),
            exit: None,
            inconclusive: Vec::new(),
            contains: Texts::default(),
            not_contains: Texts::default(),
            matches: None,
            json: IndexMap::new(),
            jq: None,
        }
    }
}

impl CommandCheck {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        self.run.templates("run", visit);
        if let Some(dir) = &mut self.dir {
            visit(Template::Text, "dir", dir);
        }
        for (name, value) in &mut self.env {
            visit(Template::Text, &format!("env.{name}"), value);
        }
        answer::templates(
            &mut answer::Parts {
                contains: &mut self.contains,
                not_contains: &mut self.not_contains,
                matches: &mut self.matches,
                json: &mut self.json,
                jq: &mut self.jq,
            },
            visit,
        );
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = self.run.problem("run").into_iter().collect();
        problems.extend(shell::path_problem("dir", self.dir.as_deref()));
        problems.extend(shell::variable_problems("env", self.env.keys()));
        if self.inconclusive.contains(&self.exit.unwrap_or(0)) {
            problems.push(Problem::new("inconclusive", "the expected exit status is among those that prove nothing"));
        }
        problems.extend(self.expectations().problems());
        problems
    }

    pub(super) fn expectations(&self) -> answer::Expectations<'_> {
        answer::Expectations {
            contains: &self.contains,
            not_contains: &self.not_contains,
            matches: self.matches.as_deref(),
            json: &self.json,
            jq: self.jq.as_deref(),
        }
    }

    pub(super) fn summary(&self) -> String {
        self.run.shown()
    }

    pub(super) async fn probe(&self, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let place = shell::Place { dir: self.dir.as_deref(), env: &self.env };
        let mut exec = Exec::script(format!("{}{}", place.enter(), shell::run_text(&self.run.to_shell(), &[])));
        exec.timeout = Some(timeout);
        exec.keep = OUTPUT;
        exec.run_as.clone_from(&reach.run_as);
        exec.secrets = shell::secrets_in(&exec.program, reach.redactor);
        let began = Instant::now();
        let ended = match reach.session.run(exec, &mut ()).await {
            Ok(ended) => ended,
            Err(error) => return Probed::from_transport(&error),
        };
        let time = check::took(began.elapsed());
        let expected = self.exit.unwrap_or(0);
        let seen = match &ended.status {
            // How long it took would keep the same failure of several hosts from being told once.
            Status::Exited(code) => format!("exit status {code}"),
            Status::Signaled(name) => format!("ended by signal {name} after {time}"),
        };
        if ended.status != Status::Exited(expected) {
            let is_open = matches!(ended.status, Status::Exited(code) if self.inconclusive.contains(&code));
            let verdict = if is_open { Verdict::Inconclusive } else { Verdict::Fail };
            let said = if ended.err.total > 0 { ended.err.bytes() } else { ended.out.bytes() };
            let said = match clean_line(&said, SAID) {
                said if said.is_empty() => said,
                said => format!(": {said}"),
            };
            return Probed::new(verdict, format!("{seen} (expected {expected}){said}"));
        }
        match self.expectations().judge(&ended.out.bytes(), reach.redactor).await {
            Ok(None) => Probed::pass(format!("{seen} in {time}")),
            // Where the middle is missing, a text that is not there proves nothing.
            Ok(Some(_)) if !ended.out.is_complete() => {
                Probed::error(format!("{seen}, but the output was too long to be judged"))
            }
            Ok(Some(wrong)) => Probed::fail(format!("{seen}, but the output {wrong}")),
            Err(reason) => Probed::error(reason),
        }
    }
}

/// How many characters a failed check tells of what its command said.
const SAID: usize = 300;

/// How much of the output is judged.
const OUTPUT: usize = 2 * 1024 * 1024;

impl<'de> Deserialize<'de> for CommandCheck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;
        impl<'de> Visitor<'de> for Shape {
            type Value = CommandCheck;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command as text, a list of words, or a table with `run`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CommandCheck, E> {
                Ok(CommandLine::Shell(text.to_owned()).into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<CommandCheck, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(|words| CommandLine::Words(words).into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CommandCheck, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(CommandCheck::from)
            }
        }
        deserializer.deserialize_any(Shape)
    }
}

impl JsonSchema for CommandCheck {
    fn schema_name() -> Cow<'static, str> {
        "CommandCheck".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let line = generator.subschema_for::<CommandLine>();
        let table = generator.subschema_for::<Table>();
        json_schema!({
            "description": "A command on the host and what it must say. Written as text for `sh`, as a list of words, \
                            or as a table with more to say.",
            "anyOf": [line, table]
        })
    }
}
