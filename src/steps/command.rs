//! Runs one command on the host.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepKind, Template, Undoing, Work};
use crate::model::{Effect, Span};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
/// Runs a command. Written as text for `sh`, as a list of words, or as a table with more to say.
pub struct Command {
    /// The command: text for `sh`, or words that are quoted as they are.
    pub run: CommandLine,
    /// Folder to run it in.
    #[serde(default)]
    pub dir: Option<String>,
    /// Environment variables for it.
    #[serde(default)]
    pub env: IndexMap<String, String>,
    /// A shell condition: where it holds there is nothing to do.
    #[serde(default)]
    pub unless: Option<String>,
    /// Exit statuses that count as done. Only 0 when left out.
    #[serde(default)]
    pub ok: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CommandLine {
    Shell(String),
    Words(Vec<String>),
}

impl StepKind for Command {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        let _ = visit;
        unimplemented!()
    }

    fn summary(&self) -> String {
        unimplemented!()
    }

    fn effect(&self) -> Effect {
        Effect::Code
    }

    fn is_repeat_safe(&self) -> bool {
        false
    }

    fn undo(&self) -> Undoing {
        Undoing::Impossible { reason: "a command has no undo of its own" }
    }

    fn work(&self) -> Work<'_> {
        unimplemented!()
    }
}
