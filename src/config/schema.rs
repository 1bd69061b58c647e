//! JSON Schemas of the documents, made from the same Rust types that read them.

use std::sync::OnceLock;

use serde_json::Value as Json;

use super::documents::{Inventory, Playbook, Profile, Releases, Role};

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    Inventory,
    Role,
    Playbook,
    Profile,
    Releases,
}

impl DocumentKind {
    pub const ALL: [Self; 5] = [Self::Inventory, Self::Role, Self::Playbook, Self::Profile, Self::Releases];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Role => "role",
            Self::Playbook => "playbook",
            Self::Profile => "profile",
            Self::Releases => "releases",
        }
    }
}

/// Returns the JSON Schema (draft 2020-12) of a kind of document.
pub fn of(kind: DocumentKind) -> &'static Json {
    static SCHEMAS: [OnceLock<Json>; 5] = [const { OnceLock::new() }; 5];
    SCHEMAS[kind as usize].get_or_init(|| {
        let mut schema = match kind {
            DocumentKind::Inventory => schemars::schema_for!(Inventory),
            DocumentKind::Role => schemars::schema_for!(Role),
            DocumentKind::Playbook => schemars::schema_for!(Playbook),
            DocumentKind::Profile => schemars::schema_for!(Profile),
            DocumentKind::Releases => schemars::schema_for!(Releases),
        }
        .to_value();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("title".to_owned(), format!("longshore {}", kind.as_str()).into());
        }
        schema
    })
}
