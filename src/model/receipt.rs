//! Proof that a step leaves behind, so that it can be undone or relied on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a step leaves as proof: plain facts by name, stored with its end.
///
/// Facts are kebab-case words with text values: `path`, `sha256`, `size` (bytes), `before`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Receipt(pub BTreeMap<String, String>);

impl Receipt {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, fact: &str) -> Option<&str> {
        self.0.get(fact).map(String::as_str)
    }

    #[must_use]
    pub fn with(mut self, fact: &str, value: impl Into<String>) -> Self {
        self.0.insert(fact.to_owned(), value.into());
        self
    }
}
