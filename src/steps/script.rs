//! Runs a script on the host.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepKind, Template, Undoing, Work};
use crate::model::{Effect, Span};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
/// Runs a script, from a file of the project or written here.
pub struct Script {
    /// File of the project, relative to the document.
    #[serde(default)]
    pub file: Option<String>,
    /// The script itself, for `sh`.
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub dir: Option<String>,
    #[serde(default)]
    pub env: IndexMap<String, String>,
    #[serde(default)]
    pub unless: Option<String>,
}

impl StepKind for Script {
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
        Undoing::Impossible { reason: "a script has no undo of its own" }
    }

    fn work(&self) -> Work<'_> {
        unimplemented!()
    }
}
