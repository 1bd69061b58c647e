//! Requires or sets keys of a dotenv file.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepKind, Template, Undoing, Work};
use crate::model::{Effect, Span};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
/// Requires or sets keys of a dotenv file; comments, order and mode are kept.
pub struct Env {
    /// Path on the host.
    pub file: String,
    /// Keys that must be there and not empty.
    #[serde(default)]
    pub require: Vec<String>,
    #[serde(default)]
    pub set: IndexMap<String, String>,
}

impl StepKind for Env {
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
        true
    }

    fn undo(&self) -> Undoing {
        Undoing::ByProgram
    }

    fn work(&self) -> Work<'_> {
        unimplemented!()
    }
}
