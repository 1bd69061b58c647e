//! How hosts get to the version wanted, as the command line says it: `--direct`, `--from`, `--ack`.

use std::collections::BTreeMap;

use super::{error::CliError, prompt, run, screen::Screen};
use crate::{
    config::suggest,
    model::{Acknowledged, ExitCode, HostName, Version},
    plan::{Asked, Plan},
    report,
};

/// How hosts get to the version wanted.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Course {
    /// Go there in one hop where no required stop lies between; what is passed over counts all the same
    #[arg(long)]
    pub(super) direct: bool,

    /// Say which version a host has that does not tell it; may be given several times
    #[arg(long, value_name = "HOST=VERSION")]
    pub(super) from: Vec<String>,

    /// Say that the notes of this release were read; may be given several times
    #[arg(long, value_name = "VERSION")]
    pub(super) ack: Vec<String>,
}

impl Course {
    /// Reads `--from HOST=VERSION`.
    pub(super) fn stated(&self) -> Result<BTreeMap<HostName, Version>, CliError> {
        let wrong = |text: &str| {
            CliError::with_hint(
                format!("`--from {text}` does not name a host and its version"),
                "write `--from berlin-1=0.3.2`, once for each host that does not tell its version",
            )
        };
        self.from
            .iter()
            .map(|text| {
                let (host, version) = text.split_once('=').ok_or_else(|| wrong(text))?;
                let host = HostName::new(host.trim()).map_err(|_| wrong(text))?;
                if version.trim().is_empty() {
                    return Err(wrong(text));
                }
                Ok((host, Version::new(version.trim())))
            })
            .collect()
    }

    /// Records in the plan what `--ack` names.
    pub(super) fn acknowledge(&self, plan: Plan) -> Result<Plan, CliError> {
        let mut read = Vec::new();
        for name in &self.ack {
            let named = Version::new(name.trim());
            let is_meant = |version: &&Version| version.compare(&named) == Some(std::cmp::Ordering::Equal);
            let noted = || plan.notes.iter().map(|notes| &notes.version);
            let Some(version) = noted().find(is_meant) else {
                let all: Vec<_> = noted().map(Version::as_str).collect();
                let hint = if all.is_empty() {
                    "no release on the way has any; leave out `--ack`".to_owned()
                } else {
                    format!("the releases on the way with notes are {}", suggest::list(&all))
                };
                return Err(CliError::with_hint(format!("there are no notes of `{name}` to acknowledge"), hint));
            };
            read.push(version.clone());
        }
        Ok(record(plan, &read))
    }
}

/// Adds to the plan that these were read, now and by this person.
fn record(mut plan: Plan, read: &[Version]) -> Plan {
    let new: Vec<_> = plan.unacknowledged().map(|notes| &notes.version).filter(|v| read.contains(v)).cloned().collect();
    if new.is_empty() {
        return plan;
    }
    let at = jiff::Timestamp::now();
    plan.acknowledged.extend(new.into_iter().map(|version| Acknowledged { version, by: run::owner(), at }));
    plan.seal()
}

/// Makes sure that what the releases ask of a person was read: by name, on the command line or at the terminal.
pub(super) async fn all_read(plan: Plan, screen: &Screen) -> Result<Plan, CliError> {
    let open: Vec<_> = plan.unacknowledged().cloned().collect();
    if open.is_empty() {
        return Ok(plan);
    }
    if !screen.can_ask {
        let names: Vec<_> = open.iter().map(|notes| notes.version.as_str()).collect();
        let said: Vec<_> = names.iter().map(|name| format!("--ack {name}")).collect();
        return Err(CliError::with_hint(
            format!("the notes of {} have not been acknowledged", suggest::list(&names)),
            format!("read them in `longshore plan`, then say `{}`", said.join(" ")),
        ));
    }
    let mut read = Vec::new();
    for notes in open {
        screen.tell(&report::release_notes(&notes, &screen.page_for_errors()));
        let version = notes.version;
        let question = format!("Type {version} once this is read and done: ");
        let asked = tokio::task::spawn_blocking(move || prompt::ask(&question));
        let answer = tokio::select! {
            answer = asked => answer.ok().flatten(),
            _ = tokio::signal::ctrl_c() => return Err(CliError::Interrupted),
        };
        if answer.is_none_or(|answer| answer.trim() != version.as_str()) {
            return Err(CliError::usage(format!("the notes of {version} were not acknowledged; nothing was done")));
        }
        read.push(version);
    }
    Ok(record(plan, &read))
}

/// What the refusals in a plan mean for the exit code of a command that only makes it.
pub(super) fn exit_of(plan: &Plan) -> ExitCode {
    let asked = || plan.hosts.values().filter_map(|host| host.refused.as_ref()).map(|refused| refused.asked);
    if asked().any(|asked| asked == Asked::Yes) {
        ExitCode::Refused
    } else if asked().any(|asked| asked == Asked::Unreached) {
        ExitCode::SomeUnreachable
    } else {
        ExitCode::Good
    }
}

/// Whether there is no host on which anything could be done.
pub(super) fn is_hopeless(plan: &Plan) -> bool {
    plan.hosts.values().all(|host| host.refused.as_ref().is_some_and(|refused| refused.asked == Asked::Yes))
}

/// Whether there is a host that the plan was made for without asking it.
pub(super) fn is_offline(plan: &Plan) -> bool {
    plan.hosts.values().any(|host| host.refused.as_ref().is_some_and(|refused| refused.asked == Asked::Offline))
}
