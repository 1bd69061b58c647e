//! `roles/<product>/releases.toml`: a product's releases, oldest first or in any order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Version;

/// A product's releases. From them follows the path by which a host gets to the version wanted.
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
    /// Head of the migrations after this release, when it has any. A patch with another head than the release
    /// before it is treated as a minor.
    #[serde(default)]
    pub migration: Option<String>,
    /// Environment variables that this release needs and the one before it did not. A patch with any is treated
    /// as a minor.
    #[serde(default)]
    pub requires_env: Vec<String>,
    /// No upgrade may skip it, `--direct` or not.
    #[serde(default)]
    pub required_stop: bool,
    /// File of the release, as the folder of the releases on the controller has it: `app-1.4.0.tar.gz`.
    #[serde(default)]
    pub archive: Option<String>,
    /// SHA-256 of `archive`, as whoever made the release tells it.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The release before it can run on this one's data.
    #[serde(default)]
    pub backward_compatible: bool,
    /// Why it must never be installed. A plan that wants it is refused; one that comes past it goes around it.
    #[serde(default)]
    pub blocked: Option<String>,
    /// What an operator must know or do. Shown by `longshore plan`, and to be acknowledged by `--ack VERSION`.
    #[serde(default)]
    pub notes: Option<String>,
}

impl Release {
    /// A release of which nothing is known but its version.
    pub fn named(version: Version) -> Self {
        Self {
            version,
            kind: None,
            migration: None,
            requires_env: Vec::new(),
            required_stop: false,
            archive: None,
            sha256: None,
            backward_compatible: false,
            blocked: None,
            notes: None,
        }
    }
}

impl Releases {
    pub fn get(&self, version: &Version) -> Option<&Release> {
        self.release.iter().find(|release| release.version.compare(version) == Some(std::cmp::Ordering::Equal))
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

impl ReleaseKind {
    /// Returns the word that documents and tables have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
        }
    }
}
