//! Brings a file from the host to the controller.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepKind, Template, Undoing, Work};
use crate::model::{Effect, Span};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
/// Brings a file from the host to the run's folder on the controller.
pub struct Fetch {
    /// Path on the host.
    pub from: String,
    /// Local path, relative to the run's folder. The file's own name when left out.
    #[serde(default)]
    pub to: Option<String>,
}

impl StepKind for Fetch {
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
