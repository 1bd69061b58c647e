//! One probe with a verdict.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StepKind, Template, Undoing, Work};
use crate::model::{Effect, Span};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
/// One probe: exactly one kind.
pub struct Check {
    pub http: Option<super::HttpCheck>,
    pub tcp: Option<TcpCheck>,
    pub command: Option<CommandCheck>,
    pub disk: Option<DiskCheck>,
    pub ssh: Option<SshCheck>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TcpCheck {
    /// `address:port`.
    pub connect: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CommandCheck {
    pub run: super::command::CommandLine,
    #[serde(default)]
    pub exit: Option<u32>,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiskCheck {
    pub path: String,
    /// `2GiB`.
    pub free: String,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SshCheck {
    /// `address:port`.
    pub connect: String,
    pub user: String,
}

/// Makes probes. See [`Check::probe`].
#[async_trait::async_trait]
pub trait Probe: Send + Sync {
    /// Looks once. Never an error: what could not be measured has the verdict `error`.
    async fn probe(&self, reach: &super::Reach<'_>, timeout: std::time::Duration) -> super::Probed;
}

impl StepKind for Check {
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
