//! The manual check: a question that only a person can answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Problem, Template, shell};
use crate::model::Redactor;

/// A question to a person. As long as nobody has answered, the verdict is `unverified`, which is never taken for passed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ManualCheck {
    /// What to look at, as a question that `yes` is the good answer to. With `{{wanted}}` in it an answer holds for one
    /// version alone.
    pub question: String,
}

impl ManualCheck {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "question", &mut self.question);
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let is_empty = self.question.trim().is_empty();
        is_empty.then(|| Problem::new("question", "a person needs to know what to look at")).into_iter().collect()
    }

    pub(super) fn summary(&self) -> String {
        shell::one_line(&format!("a person: {}", Redactor::mask(&self.question)))
    }
}
