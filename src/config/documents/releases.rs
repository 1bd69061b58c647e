//! `roles/<product>/releases.toml`: a product's releases, oldest first or in any order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Version;

/// A product's releases.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Releases {
    /// The releases, each a `[[release]]`.
    pub release: Vec<Release>,
}

/// One release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Release {
    /// The version, as the product writes it.
    pub version: Version,
    /// How big a step it is. What the version says when left out.
    #[serde(default)]
    pub kind: Option<ReleaseKind>,
    /// Head of the migrations after this release, when it has any.
    #[serde(default)]
    pub migration: Option<String>,
    /// Environment variables that this release needs and the one before it did not.
    #[serde(default)]
    pub requires_env: Vec<String>,
    /// No upgrade may skip it. Read, and not yet acted on.
    #[serde(default)]
    pub required_stop: bool,
    /// The release before it can run on this one's data. Read, and not yet acted on.
    #[serde(default)]
    pub backward_compatible: bool,
    /// Why it must never be installed. A plan that wants it is refused.
    #[serde(default)]
    pub blocked: Option<String>,
    /// What an operator must know or do.
    #[serde(default)]
    pub notes: Option<String>,
}

impl Releases {
    pub fn get(&self, version: &Version) -> Option<&Release> {
        self.release.iter().find(|release| release.version == *version)
    }
}

/// How big a step a release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseKind {
    Patch,
    Minor,
    Major,
}
