//! Puts a file on the host.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepKind, Template, Undoing, Work};
use crate::model::{Effect, Span};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
/// Puts a file on the host: atomic, and unchanged when it is equal.
pub struct File {
    /// Path on the host.
    pub to: String,
    #[serde(default)]
    pub content: Option<String>,
    /// Template file of the project, relative to the document.
    #[serde(default)]
    pub template: Option<String>,
    /// Local file, copied as it is, relative to the document.
    #[serde(default)]
    pub from: Option<String>,
    /// Octal, as text: `0640`.
    #[serde(default)]
    pub mode: Option<String>,
    /// `user` or `user:group`.
    #[serde(default)]
    pub owner: Option<String>,
}

impl StepKind for File {
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
