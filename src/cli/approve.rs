//! Approvals: a person's word for what is never done by default, typed at the terminal or in a file.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::{error::CliError, prompt, run::owner, screen::Screen};
use crate::{
    engine::Backup,
    model::{Approval, HostName, clean_line},
    report::words,
};

/// Where approvals come from beside the terminal.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ApprovalArgs {
    /// File of approvals, for what nobody at a terminal is asked about
    #[arg(long, value_name = "FILE")]
    approvals: Option<PathBuf>,
}

/// A file of approvals: `[[approve]]` tables.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Approvals {
    #[serde(default)]
    approve: Vec<Approve>,
}

/// One approval in a file: it names what exactly it is for, so that an old one approves nothing new.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Approve {
    host: HostName,
    /// `restore` or `rollback`.
    action: String,
    /// When the backup was made that is put back, to the second.
    #[serde(default)]
    backup: Option<Timestamp>,
    /// Who approves it.
    by: String,
}

/// What a person is asked to approve on one host.
pub(super) struct Question<'a> {
    pub(super) host: &'a HostName,
    pub(super) action: &'static str,
    pub(super) backup: Option<Timestamp>,
    /// What is known, in whole lines: the backup's time and age, what would be lost.
    pub(super) facts: Vec<String>,
}

/// Asks for approvals one after the other. The default is no.
pub(super) struct Approver<'a> {
    file: Approvals,
    path: Option<&'a Path>,
    screen: &'a Screen,
}

impl<'a> Approver<'a> {
    pub(super) fn new(args: &'a ApprovalArgs, screen: &'a Screen) -> Result<Self, CliError> {
        let Some(path) = args.approvals.as_deref() else {
            return Ok(Self { file: Approvals::default(), path: None, screen });
        };
        let text = std::fs::read_to_string(path).map_err(|source| CliError::Read { path: path.to_owned(), source })?;
        let file = toml::from_str(&text).map_err(|error| {
            CliError::with_hint(
                format!("`{}` is no file of approvals: {}", path.display(), error.message()),
                "each is a table: `[[approve]]` with `host`, `action`, `backup` and `by`",
            )
        })?;
        Ok(Self { file, path: Some(path), screen })
    }

    /// Returns the approval of what is asked, or an error that says what is missing.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Approval, CliError> {
        let Question { host, action, backup, facts } = question;
        let second = |at: Option<Timestamp>| at.map(Timestamp::as_second);
        let given = self
            .file
            .approve
            .iter()
            .find(|given| given.host == *host && given.action == action && second(given.backup) == second(backup));
        if let Some(given) = given {
            return Ok(Approval { action: action.to_owned(), by: given.by.clone(), how: "file".to_owned(), backup });
        }
        let lines = facts.iter().fold(String::new(), |lines, fact| lines + "  " + fact + "\n");
        if self.path.is_some() || !self.screen.can_ask {
            let at = backup.map(|at| format!(", backup = \"{at:.0}\"")).unwrap_or_default();
            let what = match self.path {
                Some(path) => format!("`{}` does not approve to {action} {host}", path.display()),
                None => format!("nobody can be asked here whether to {action} {host}, and the default is no"),
            };
            return Err(CliError::Refused {
                message: format!("{what}\n{}", lines.trim_end()),
                hint: Some(format!(
                    "ask at a terminal, or `--approvals FILE` with `approve = [{{ host = \"{host}\", action = \"{action}\"{at}, by = \"NAME\" }}]`"
                )),
            });
        }
        self.screen.tell(&format!("\n{host}: {action}\n{lines}"));
        let question = "Type the host's name to approve this, anything else to leave it: ".to_owned();
        if prompt::typed(question).await?.as_deref() == Some(host.as_str()) {
            return Ok(Approval { action: action.to_owned(), by: owner(), how: "typed".to_owned(), backup });
        }
        Err(CliError::Refused { message: format!("{action} of {host} was not approved; nothing was done"), hint: None })
    }
}

/// Says which backup would be put back on a host, what would be lost, and how what is there now is kept.
pub(super) fn backup_facts(host: &HostName, backup: &Backup, newest: Option<&str>, keeps: &str) -> Vec<String> {
    let age = Timestamp::now().duration_since(backup.ended).unsigned_abs();
    let mut facts = vec![format!("backup: `{}` of {:.0}, {} ago", backup.step, backup.ended, words::duration(age))];
    for (fact, label) in
        [("file", "file"), ("size", "bytes"), ("verified", "verified"), ("newest", "newest data in the backup")]
    {
        if let Some(value) = backup.receipt.get(fact) {
            facts.push(format!("{label}: {}", clean_line(value.as_bytes(), 200)));
        }
    }
    if let Some(newest) = newest {
        facts.push(format!("newest data on the host: {newest}"));
    }
    facts.push(format!("lost: everything that was written on {host} since {:.0}", backup.ended));
    facts.push(format!("kept: the data as it is now, by {keeps}"));
    facts
}
