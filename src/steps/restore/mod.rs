//! Puts saved data back beside what is live, compares it, and swaps by renaming. What was there before is kept.
//!
//! Whatever is restored, the way is the same: the copy is chosen, and compared with its receipt; nothing
//! may be using what is live; there must be room for both; the copy is loaded under a name of its own,
//! counted, and only then takes the place of what is live, which keeps its data as `NAME_pre_RUN`. Until
//! the swap nothing that is live was touched. The undo swaps back, and keeps what had been restored as
//! `NAME_undone_RUN`. Nothing here deletes data.

#[cfg(test)]
mod tests;

use std::{fmt::Write as _, time::Duration};

use jiff::{Timestamp, civil::Date};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HostProgram, PostgresSource, Problem, SqliteSource, StepKind, Template, Texts, Undoing, Work,
    backup::{COUNTS, SQLITE_PROOF, TOOLS},
    command::CommandLine,
    shell::{self, path_word},
};
use crate::model::{Effect, Redactor, quote};

/// Puts saved data back. Exactly one of `postgres`, `sqlite`, `files` and `command` must be there, and one copy:
/// `from`, `latest`, or the receipt that the step requires.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Restore {
    /// The copy: absolute, or below `~/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The newest copy of a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
    /// Why a copy without a receipt beside it may be put back. Refused when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<String>,
    /// What reads the copy from standard input and writes it as it was before it was encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decrypt: Option<CommandLine>,
    /// A `PostgreSQL` database. It is kept as `DATABASE_pre_RUN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSource>,
    /// An `SQLite` file. It is kept as `FILE_pre_RUN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<SqliteSource>,
    /// Files and folders. Each is kept as `PATH_pre_RUN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<RestoredFiles>,
    /// Whatever a command restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<RestoreCommand>,
    /// Whether sessions of the database are ended. A database that is in use is refused when left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end_sessions: bool,
    /// Whether owners and rights within the database are left out: its roles do not exist on this server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_owners: bool,
}

/// The newest copy of a name, as a `backup` step left it, with its receipt beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Latest {
    /// Folder of the copies: absolute, or below `~/`.
    pub folder: String,
    /// The copies' name.
    pub name: String,
    /// Not later than this: a day, or a moment, of UTC: `2026-11-13`, `2026-11-13T04:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Files and folders to put back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RestoredFiles {
    /// What of the archive to put back, each where it was: absolute paths. Each is replaced as a whole.
    pub paths: Texts,
}

/// A command of the product's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RestoreCommand {
    /// Puts `$LONGSHORE_BACKUP_FILE` back.
    pub run: CommandLine,
    /// Proves what is there then: exit 0.
    pub check: CommandLine,
    /// Where the command keeps what it replaces, in words.
    pub keeps: String,
}

/// Longest name of a database on a server that was not built otherwise.
const NAME_LENGTH: usize = 63;

/// What may be put behind the name: `_restore_` and a run's number.
const NAME_SUFFIX: usize = 18;

impl Restore {
    /// What is put back, for messages.
    fn what(&self) -> String {
        let what = [
            self.postgres.as_ref().map(|target| format!("database {}", target.database)),
            self.sqlite.as_ref().map(|target| target.file.clone()),
            self.files.as_ref().map(|target| target.paths.0.join(" ")),
            self.command.as_ref().map(|target| target.run.shown()),
        ];
        what.into_iter().flatten().next().unwrap_or_default()
    }

    /// Where what is replaced is kept.
    fn kept(&self) -> String {
        let kept = [
            self.postgres.as_ref().map(|target| format!("database {}_pre_RUN", target.database)),
            self.sqlite.as_ref().map(|target| format!("{}_pre_RUN", target.file)),
            self.files.as_ref().map(|target| {
                target
                    .paths
                    .iter()
                    .map(|path| format!("{}_pre_RUN", path.trim_end_matches('/')))
                    .collect::<Vec<_>>()
                    .join(" ")
            }),
            self.command.as_ref().map(|target| target.keeps.clone()),
        ];
        kept.into_iter().flatten().next().unwrap_or_default()
    }

    /// The functions of what is restored, and everything they expect.
    fn functions(&self) -> String {
        let mut text = String::from(TOOLS);
        let _ = writeln!(text, "file={}", self.from.as_deref().map(path_word).unwrap_or_default());
        let latest = self.latest.as_ref();
        let _ = writeln!(text, "in={}", latest.map(|latest| path_word(&latest.folder)).unwrap_or_default());
        let _ = writeln!(text, "name={}", quote(latest.map_or("", |latest| &latest.name)));
        let until = latest.and_then(|latest| latest.until.as_deref()).and_then(stamp).unwrap_or_default();
        let _ = writeln!(text, "until={until}");
        let _ = writeln!(text, "unproven={}", quote(self.unproven.as_deref().unwrap_or_default()));
        let opened =
            self.decrypt.as_ref().map_or_else(|| "cat".to_owned(), |run| format!("eval {}", quote(&run.to_shell())));
        let _ = writeln!(text, "opened() {{ {opened} <\"$file\"; }}");
        text.push_str(include_str!("frame.sh"));
        if let Some(target) = &self.postgres {
            let local = target.through.is_some() || target.host.as_deref().is_none_or(|host| host.starts_with('/'));
            let _ = writeln!(text, "local={}", if local { "yes" } else { "" });
            let _ = writeln!(text, "owners={}", if self.no_owners { "no" } else { "yes" });
            let _ = writeln!(text, "sessions={}", if self.end_sessions { "end" } else { "refuse" });
            let _ = writeln!(text, "database={}", quote(&target.database));
            let _ = writeln!(text, "head={}", quote(target.head.as_deref().unwrap_or_default()));
            text.push_str("maintenance=postgres\n");
            text.push_str(&target.client());
            text.push_str(COUNTS);
            text.push_str(include_str!("postgres.sh"));
        }
        if let Some(target) = &self.sqlite {
            let _ = writeln!(text, "live={}", path_word(&target.file));
            let _ = writeln!(text, "tables={}", quote(&target.tables.0.join("\n")));
            let _ = writeln!(text, "head={}", quote(target.head.as_deref().unwrap_or_default()));
            text.push_str(SQLITE_PROOF);
            text.push_str(include_str!("sqlite.sh"));
        }
        if let Some(target) = &self.files {
            let paths = target.paths.iter().map(|path| path_word(path)).collect::<Vec<_>>().join("'\n'");
            let _ = writeln!(text, "paths={paths}");
            text.push_str(include_str!("files.sh"));
        }
        if let Some(target) = &self.command {
            let _ = writeln!(text, "put_back() (set -e; eval {})", quote(&target.run.to_shell()));
            let _ = writeln!(text, "verify() (set -e; eval {})", quote(&target.check.to_shell()));
            let _ = writeln!(text, "keeps={}", quote(&target.keeps));
            text.push_str(include_str!("command.sh"));
        }
        text
    }

    fn copy_problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("from", self.from.as_deref()).into_iter().collect();
        if let Some(latest) = &self.latest {
            problems.extend(shell::path_problem("latest.folder", Some(&latest.folder)));
            let until = latest.until.as_deref().filter(|text| !text.contains("{{"));
            if until.is_some_and(|text| stamp(text).is_none()) {
                problems.push(
                    Problem::new("latest.until", "it is neither a day nor a moment")
                        .hint("`2026-11-13`, or `2026-11-13T04:00:00Z`"),
                );
            }
            if self.from.is_some() {
                problems.push(Problem::new("latest", "the copy is named already").hint("keep `from` or `latest`"));
            }
        }
        if self.unproven.as_deref().is_some_and(|reason| reason.trim().is_empty()) {
            problems.push(Problem::new("unproven", "it needs a reason"));
        }
        problems.extend(self.decrypt.as_ref().and_then(|run| run.problem("decrypt")));
        problems
    }
}

impl StepKind for Restore {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        if let Some(from) = &mut self.from {
            visit(Template::Text, "from", from);
        }
        if let Some(latest) = &mut self.latest {
            visit(Template::Text, "latest.folder", &mut latest.folder);
            visit(Template::Text, "latest.name", &mut latest.name);
            if let Some(until) = &mut latest.until {
                visit(Template::Text, "latest.until", until);
            }
        }
        if let Some(run) = &mut self.decrypt {
            run.templates("decrypt", visit);
        }
        if let Some(target) = &mut self.postgres {
            target.templates(visit);
        }
        if let Some(target) = &mut self.sqlite {
            target.templates(visit);
        }
        if let Some(target) = &mut self.files {
            for (index, path) in target.paths.0.iter_mut().enumerate() {
                visit(Template::Text, &format!("files.paths.{index}"), path);
            }
        }
        if let Some(target) = &mut self.command {
            target.run.templates("command.run", visit);
            target.check.templates("command.check", visit);
            visit(Template::Text, "command.keeps", &mut target.keeps);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let there = [
            ("postgres", self.postgres.is_some()),
            ("sqlite", self.sqlite.is_some()),
            ("files", self.files.is_some()),
            ("command", self.command.is_some()),
        ];
        let there: Vec<_> = there.into_iter().filter_map(|(key, there)| there.then_some(key)).collect();
        let mut problems = self.copy_problems();
        match there.as_slice() {
            [] => problems.push(
                Problem::new("", "it does not say what to put back")
                    .hint("add `postgres`, `sqlite`, `files` or `command`"),
            ),
            [_] => {}
            [_, second, ..] => {
                problems.push(Problem::new(second, "a restore puts one thing back").hint("make it two steps"));
            }
        }
        if let Some(target) = &self.postgres {
            problems.extend(target.problems());
            if matches!(target.database.as_str(), "postgres" | "template0" | "template1") {
                problems.push(Problem::new("postgres.database", "the server's own database is not swapped"));
            }
            if !target.database.contains("{{") && target.database.len() + NAME_SUFFIX > NAME_LENGTH {
                problems.push(Problem::new(
                    "postgres.database",
                    format!(
                        "the name has more than {} bytes: `_pre_RUN` does not fit behind it",
                        NAME_LENGTH - NAME_SUFFIX
                    ),
                ));
            }
        } else if self.end_sessions || self.no_owners {
            let key = if self.end_sessions { "end-sessions" } else { "no-owners" };
            problems.push(Problem::new(key, "it is for `postgres` alone"));
        }
        problems.extend(self.sqlite.as_ref().into_iter().flat_map(SqliteSource::problems));
        if let Some(target) = &self.files {
            if target.paths.is_empty() {
                problems.push(Problem::new("files.paths", "it does not say which files"));
            }
            for (index, path) in target.paths.iter().enumerate() {
                let key = format!("files.paths.{index}");
                problems.extend(shell::path_problem(&key, Some(path)));
                if path.contains('\n') {
                    problems.push(Problem::new(&key, "the path has a line break in it"));
                }
                if path.trim_end_matches('/').is_empty() {
                    problems.push(Problem::new(&key, "everything cannot be replaced as a whole"));
                }
            }
        }
        if let Some(target) = &self.command {
            problems.extend(target.run.problem("command.run"));
            problems.extend(target.check.problem("command.check"));
            if target.keeps.trim().is_empty() {
                problems.push(Problem::new("command.keeps", "it does not say where what is replaced is kept"));
            }
        }
        problems
    }

    fn summary(&self) -> String {
        let from = match (&self.from, &self.latest) {
            (Some(from), _) => Redactor::mask(from),
            (None, Some(latest)) => {
                let until = latest.until.as_deref().map(|until| format!(" until {until}")).unwrap_or_default();
                Redactor::mask(&format!("the newest {}/{}-*{until}", latest.folder, latest.name))
            }
            (None, None) => "the backup it requires".to_owned(),
        };
        shell::one_line(&format!(
            "restore {} from {from}, keeping {}",
            Redactor::mask(&self.what()),
            Redactor::mask(&self.kept())
        ))
    }

    fn effect(&self) -> Effect {
        Effect::Data
    }

    fn timeout(&self) -> Duration {
        Duration::from_hours(2)
    }

    fn expected(&self) -> Duration {
        Duration::from_mins(2)
    }

    fn is_repeat_safe(&self) -> bool {
        // A half-done one is begun anew, and a done one is found done; only of a command nobody knows.
        self.command.is_none()
    }

    fn keeps(&self) -> Option<String> {
        Some(self.kept())
    }

    fn undo(&self) -> Undoing {
        if self.command.is_some() {
            Undoing::Impossible { reason: "how a restore by a command is taken back is not known" }
        } else {
            Undoing::ByProgram
        }
    }

    fn work(&self) -> Work<'_> {
        let functions = self.functions();
        let undo = self
            .command
            .is_none()
            .then(|| format!("{functions}mend() {{ :; }}\nmade_here=\ntrap 'mend' EXIT\ntake_back\n"));
        Work::Host(HostProgram {
            look: self.command.is_none().then(|| format!("{functions}{}", include_str!("look.sh"))),
            act: format!("{functions}{}", include_str!("act.sh")),
            undo,
            ..HostProgram::default()
        })
    }
}

/// A day or a moment as it stands in the name of a copy; a day means its end.
fn stamp(text: &str) -> Option<String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment.strftime("%Y%m%dT%H%M%SZ").to_string());
    }
    let day: Date = text.parse().ok().filter(|_| text.len() == 10)?;
    Some(day.strftime("%Y%m%dT235959Z").to_string())
}
