//! What a person types in a scenario.

use std::fmt::Write as _;

use serde::Deserialize;

use longshore::model::{HostName, RunNumber, Span, Way};

/// A command that is typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Then {
    pub(crate) does: Command,
    /// How long after the end of what came before.
    pub(crate) after: Option<Span>,
    /// Only these hosts: names, with `*` for any text at the end.
    pub(crate) hosts: Vec<String>,
    /// What a person has to approve, anna approves for these.
    pub(crate) approved: Vec<String>,
    /// The releases whose notes were read.
    pub(crate) ack: Vec<String>,
    /// The name and the reason with which windows are set aside.
    pub(crate) glass: Option<(String, String)>,
    /// The plan is shown first.
    pub(crate) shows_plan: bool,
    pub(crate) at_once: Option<usize>,
    pub(crate) per_minute: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    #[default]
    Apply,
    Prefetch,
    Rollback,
    Resume,
    RetryUnreached,
    RetryFailed,
    RetryNotStarted,
    RetryStuck,
    RollForward,
    CodeRollback,
    Restore,
}

impl Command {
    pub(crate) fn way(self) -> Option<Way> {
        match self {
            Self::RollForward => Some(Way::RollForward),
            Self::CodeRollback => Some(Way::CodeRollback),
            Self::Restore => Some(Way::Restore),
            _ => None,
        }
    }

    /// Whether it is a run of its own.
    pub(crate) fn begins_a_run(self) -> bool {
        matches!(self, Self::Apply | Self::Prefetch | Self::Rollback)
    }
}

impl Then {
    /// As a person types it, with the run it is about.
    pub(crate) fn typed(&self, of: RunNumber) -> String {
        let mut text = match self.does {
            Command::Apply => "apply upgrade.toml".to_owned(),
            Command::Prefetch => "prefetch upgrade.toml".to_owned(),
            Command::Rollback => format!("rollback {of}"),
            Command::Resume => "resume".to_owned(),
            Command::RetryUnreached => "retry --unreached".to_owned(),
            Command::RetryFailed => "retry --failed".to_owned(),
            Command::RetryNotStarted => "retry --not-started".to_owned(),
            Command::RetryStuck => "retry --stuck".to_owned(),
            Command::RollForward => "resume --as roll-forward".to_owned(),
            Command::CodeRollback => "resume --as code-rollback".to_owned(),
            Command::Restore => "resume --as restore".to_owned(),
        };
        for host in &self.hosts {
            let _ = write!(text, "{}{host}", if self.does == Command::Rollback { " " } else { " --host " });
        }
        for version in &self.ack {
            let _ = write!(text, " --ack {version}");
        }
        if let Some((by, reason)) = &self.glass {
            let _ = write!(text, " --break-glass {by} --reason {reason:?}");
        }
        if let Some(count) = self.per_minute {
            let _ = write!(text, " --per-minute {count}");
        }
        if !self.approved.is_empty() {
            let _ = write!(text, "  (approved for {})", self.approved.join(", "));
        }
        text
    }

    pub(crate) fn concerns(&self, host: &HostName) -> bool {
        self.hosts.is_empty() || is_named(&self.hosts, host.as_str())
    }
}

/// Whether a host is one of these names, with `*` for any text at the end.
pub(crate) fn is_named(names: &[String], host: &str) -> bool {
    names.iter().any(|name| match name.strip_suffix('*') {
        Some(start) => host.starts_with(start),
        None => host == name,
    })
}
