//! Waits.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepKind, Template, Undoing, Work};
use crate::model::{Effect, Span};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
/// Waits for a time, or until a check passes.
pub struct Wait {
    #[serde(default, rename = "for")]
    pub length: Option<Span>,
    #[serde(default)]
    pub until: Option<super::Check>,
    #[serde(default)]
    pub every: Option<Span>,
    #[serde(default)]
    pub within: Option<Span>,
}

impl StepKind for Wait {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        let _ = visit;
        unimplemented!()
    }

    fn summary(&self) -> String {
        unimplemented!()
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        Undoing::Nothing
    }

    fn work(&self) -> Work<'_> {
        unimplemented!()
    }
}
