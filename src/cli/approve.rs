//! Approvals: a person's word for what is never done by default, typed at the terminal or in a file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    error::CliError,
    prompt,
    run::{Workshop, owner},
    screen::Screen,
};
use crate::{
    engine::{self, Answer, Answers, Backup},
    model::{Approval, Failure, HostName, Version, clean_line},
    plan::{Asked, HostPlan, NeedsApproval, Plan, PlannedStep},
    report::words,
};

/// Where approvals come from beside the terminal.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ApprovalArgs {
    /// File of approvals and of answers to manual checks, for what nobody at a terminal is asked about
    #[arg(long, value_name = "FILE")]
    approvals: Option<PathBuf>,
}

/// A file of approvals: `[[approve]]` tables.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Approvals {
    #[serde(default)]
    approve: Vec<Approve>,
    /// Answers to the questions of manual checks.
    #[serde(default)]
    answer: Vec<Answered>,
}

/// An answer in a file: it names the very question, so that an old one answers nothing new.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Answered {
    host: HostName,
    question: String,
    answer: YesNo,
    /// Who looked.
    by: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum YesNo {
    Yes,
    No,
}

impl Approvals {
    fn read(path: &Path) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path).map_err(|source| CliError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| {
            CliError::with_hint(
                format!("`{}` is no file of approvals: {}", path.display(), error.message()),
                "each is a table: `[[approve]]` with `host`, `action`, `by`, and `backup` or `steps` and `to`; or \
                 `[[answer]]` with `host`, `question`, `answer` and `by`",
            )
        })
    }
}

impl ApprovalArgs {
    /// Returns what answers the questions of manual checks: the file, as it is whenever somebody asks.
    pub(super) fn answers(&self) -> Answers {
        let path = self.approvals.clone();
        Arc::new(move |host, question| {
            // Somebody may be writing it just now: what cannot be read has no answer yet.
            let file = Approvals::read(path.as_deref()?).ok()?;
            let given = file.answer.into_iter().rfind(|given| given.host == *host && given.question == question)?;
            Some(Answer { yes: given.answer == YesNo::Yes, by: given.by })
        })
    }
}

/// One approval in a file: it names what exactly it is for, so that an old one approves nothing new.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Approve {
    host: HostName,
    /// `irreversible`, `restore` or `rollback`.
    action: String,
    /// When the backup was made that is put back, to the second.
    #[serde(default)]
    backup: Option<Timestamp>,
    /// The steps that nothing takes back, and the version to which they lead.
    #[serde(default)]
    steps: Vec<String>,
    #[serde(default)]
    to: Option<Version>,
    /// Who approves it.
    by: String,
}

/// What a person is asked to approve on one host.
pub(super) struct Question<'a> {
    pub(super) host: &'a HostName,
    pub(super) needed: NeedsApproval,
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
        let file = Approvals::read(path)?;
        Ok(Self { file, path: Some(path), screen })
    }

    /// Returns the approval of what is asked, or an error that says what is missing.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Approval, CliError> {
        let Question { host, needed, facts } = question;
        let NeedsApproval { action, backup, steps, to } = needed;
        let second = |at: Option<Timestamp>| at.map(Timestamp::as_second);
        let given = self.file.approve.iter().find(|given| {
            given.host == *host
                && given.action == action
                && second(given.backup) == second(backup)
                && given.steps == steps
                && given.to == to
        });
        let approval = |by: String, how: &str| Approval {
            action: action.to_owned(),
            by,
            how: how.to_owned(),
            backup,
            steps: steps.clone(),
            to: to.clone(),
        };
        if let Some(given) = given {
            return Ok(approval(given.by.clone(), "file"));
        }
        let lines = facts.iter().fold(String::new(), |lines, fact| lines + "  " + fact + "\n");
        let what = match action {
            "irreversible" => format!("what cannot be taken back on {host}"),
            _ => format!("{action} of {host}"),
        };
        if self.path.is_some() || !self.screen.can_ask {
            let mut keys = format!("host = \"{host}\", action = \"{action}\"");
            keys.extend(backup.map(|at| format!(", backup = \"{at:.0}\"")));
            if !steps.is_empty() {
                let quoted: Vec<_> = steps.iter().map(|step| toml::Value::from(step.as_str()).to_string()).collect();
                keys.push_str(&format!(", steps = [{}]", quoted.join(", ")));
            }
            keys.extend(to.as_ref().map(|to| format!(", to = \"{to}\"")));
            let message = match self.path {
                Some(path) => format!("`{}` does not approve {what}", path.display()),
                None => format!("nobody can be asked here to approve {what}, and the default is no"),
            };
            return Err(CliError::Refused {
                message: format!("{message}\n{}", lines.trim_end()),
                hint: Some(format!(
                    "ask at a terminal, or `--approvals FILE` with `approve = [{{ {keys}, by = \"NAME\" }}]`"
                )),
            });
        }
        self.screen.tell(&format!("\n{host}: {action}\n{lines}"));
        let question = "Type the host's name to approve this, anything else to leave it: ".to_owned();
        if prompt::typed(question).await?.as_deref() == Some(host.as_str()) {
            return Ok(approval(owner(), "typed"));
        }
        Err(CliError::Refused { message: format!("{what} was not approved; nothing was done"), hint: None })
    }
}

/// Asks for the approval of every one of these hosts that needs one and has none, before anything is begun.
pub(super) async fn all(
    plan: &Plan,
    hosts: impl IntoIterator<Item = (&HostName, &[Approval])>,
    args: &ApprovalArgs,
    workshop: &Workshop,
    screen: &Screen,
) -> Result<BTreeMap<HostName, Approval>, CliError> {
    let approver = Approver::new(args, screen)?;
    let mut asked = Vec::new();
    for (host, given) in hosts {
        let refused = plan
            .hosts
            .get(host)
            .is_some_and(|of| of.refused.as_ref().is_some_and(|refused| refused.asked == Asked::Yes));
        let Some(needed) =
            plan.approval(host).filter(|needed| !refused && !given.iter().any(|given| needed.is_given_by(given)))
        else {
            continue;
        };
        asked.push((host, needed));
    }
    let newest = newest(asked.iter().map(|(host, _)| (*host, &plan.hosts[*host])), workshop).await;
    let mut approved = BTreeMap::new();
    for (host, needed) in asked {
        let facts = facts(host, &plan.hosts[host], &needed, newest.get(host));
        approved.insert(host.clone(), approver.ask(Question { host, needed, facts }).await?);
    }
    Ok(approved)
}

/// When the newest data on a host was written, as it says now, or why it does not.
pub(super) type Newest = Result<String, Failure>;

/// Asks hosts for their newest data, where their plans say how: what an approval would cost.
pub(super) async fn newest<'a>(
    hosts: impl IntoIterator<Item = (&'a HostName, &'a HostPlan)>,
    workshop: &Workshop,
) -> BTreeMap<HostName, Newest> {
    engine::newest(hosts, workshop.means_without_run()).await
}

fn newest_in_words(newest: Option<&Newest>, held: Option<&str>) -> Option<String> {
    let said = match (newest, held) {
        (Some(Ok(now)), _) => now.clone(),
        (Some(Err(why)), Some(held)) => format!("{held} when it was held, and not known now: {why}"),
        (Some(Err(why)), None) => format!("not known: {why}"),
        (None, held) => held?.to_owned(),
    };
    Some(format!("newest data on the host: {said}"))
}

/// What a person should know before approving.
fn facts(host: &HostName, of: &HostPlan, needed: &NeedsApproval, newest: Option<&Newest>) -> Vec<String> {
    let names = |steps: &mut dyn Iterator<Item = &PlannedStep>| {
        words::and(&steps.map(|step| format!("`{}`", step.name)).collect::<Vec<_>>())
    };
    let Some(rollback) = &of.rollback else {
        let path = match (&of.found, &needed.to) {
            (Some(found), Some(to)) => vec![format!("path: {found} to {to}")],
            (None, Some(to)) => vec![format!("path: to {to}")],
            (_, None) => Vec::new(),
        };
        if needed.action == "restore" {
            let restores = of.steps.iter().filter(|step| needed.steps.contains(&step.name));
            let told = restores.flat_map(|step| {
                let kind = step.action.kind();
                let kept = kind.keeps().map(|keeps| format!("kept: what is there now, by {keeps}"));
                [Some(format!("`{}`: {}", step.name, kind.summary())), kept]
            });
            let lost = format!("lost: everything that was written on {host} since the copy was made");
            let newest = newest_in_words(newest, None);
            return path.into_iter().chain(told.flatten()).chain(newest).chain([lost]).collect();
        }
        let steps: Vec<_> = needed.steps.iter().map(|step| format!("`{step}`")).collect();
        let steps = format!("cannot be taken back: {}, by no undo, rollback or restore", words::and(&steps));
        return path.into_iter().chain([steps]).collect();
    };
    let mut facts = vec![format!("why: {}", rollback.why)];
    let backup = rollback.receipts.iter().find(|kept| Some(kept.ended) == rollback.backup);
    let Some(kept) = backup else {
        let mut steps = of.steps.iter().filter(|step| step.effect.passes_no_return());
        facts.push(format!("changes data: {}", names(&mut steps)));
        facts.extend(newest_in_words(newest, None));
        return facts;
    };
    let backup = Backup { step: kept.step.clone(), receipt: kept.receipt.clone(), ended: kept.ended };
    let mut copies = of.steps.iter().filter(|step| rollback.copies.contains(&step.id));
    let keeps = of.recovery.restore_keeps.clone().unwrap_or_else(|| names(&mut copies));
    facts.extend(backup_facts(host, &backup, newest_in_words(newest, None), &keeps));
    facts
}

/// What a person should know before the backup of an unfinished run is put back. `held` is the newest data that the
/// host had when it was held.
pub(super) fn held_facts(
    host: &HostName,
    backup: &Backup,
    newest: Option<&Newest>,
    held: Option<&str>,
    keeps: &str,
) -> Vec<String> {
    backup_facts(host, backup, newest_in_words(newest, held), keeps)
}

/// Says which backup would be put back on a host, what would be lost, and how what is there now is kept.
fn backup_facts(host: &HostName, backup: &Backup, newest: Option<String>, keeps: &str) -> Vec<String> {
    let age = Timestamp::now().duration_since(backup.ended).unsigned_abs();
    let mut facts = vec![format!("backup: `{}` of {:.0}, {} ago", backup.step, backup.ended, words::duration(age))];
    for (fact, label) in
        [("file", "file"), ("size", "bytes"), ("verified", "verified"), ("newest", "newest data in the backup")]
    {
        if let Some(value) = backup.receipt.get(fact) {
            facts.push(format!("{label}: {}", clean_line(value.as_bytes(), 200)));
        }
    }
    facts.extend(newest);
    facts.push(format!("lost: everything that was written on {host} since {:.0}", backup.ended));
    facts.push(format!("kept: the data as it is now, by {keeps}"));
    facts
}
