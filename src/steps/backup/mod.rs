//! Saves data of the host beside it, and proves the copy before it counts.
//!
//! Whatever the source, one copy is made the same way: free space and place are checked first; the
//! copy is produced under a temporary name, read to its end, or restored, by another program than the
//! one that wrote it; compared with the size of the last; summed; and only then gets its name, and a receipt beside
//! it: `NAME-TIME-RUN.EXT` and `NAME-TIME-RUN.EXT.receipt`. A copy without a receipt does not count.

mod retention;
mod source;
#[cfg(test)]
mod tests;

use std::{fmt::Write as _, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HostProgram, Problem, Size, StepKind, Template, Texts, Undoing, Work,
    command::CommandLine,
    shell::{self, path_word},
};
use crate::model::{Effect, Redactor, quote};

pub use retention::Keep;
pub use source::{CommandSource, ElsewhereSource, FilesSource, PostgresSource, SqliteSource};

/// Saves data, and proves the copy. Exactly one source must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Backup {
    /// A `PostgreSQL` database, by `pg_dump`, with the number of rows of each table at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSource>,
    /// An `SQLite` file, complete even while something writes to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<SqliteSource>,
    /// Files and folders, as one archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSource>,
    /// Whatever a command saves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandSource>,
    /// A copy that lies elsewhere, known by an id: a snapshot, a repository for recovery to any moment, a cloud's backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<ElsewhereSource>,
    /// Folder on the host that keeps the copies: absolute, or below `~/`. Made where it is missing.
    pub to: String,
    /// First part of the copies' names: letters, digits, `-`, `_`. Copies of another name are left alone.
    pub name: String,
    /// How far the copy is proven. `read` when left out.
    #[serde(default)]
    pub verify: Verify,
    /// Which copies stay once this one is proven. All when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// Smallest size that is plausible, in percent of the last copy's; 0 for any. 50 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plausible: Option<u8>,
    /// Free space that must remain below `to`. `64MiB` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve: Option<String>,
    /// Folders that `to` may not lie in, such as the data's own.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub away_from: Texts,
    /// Whether `to` must be on another volume than the folders of `away-from`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_volume: bool,
    /// Encrypts the copy once it is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<Encrypt>,
    /// Whether a source that holds nothing (no tables, no files) is no mistake.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_empty: bool,
}

/// How far a copy is proven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verify {
    /// Read to its end by another program than the one that wrote it.
    #[default]
    Read,
    /// Restored into a scratch database or folder, and counted or compared there.
    Scratch,
}

/// A program that encrypts standard input to standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Encrypt {
    /// The command, such as `["age", "-r", "age1..."]`.
    pub run: CommandLine,
    /// What the copy's name ends with: `age`, `gpg`.
    pub extension: String,
}

/// Functions that every program here relies on, and those that restore.
pub(super) const TOOLS: &str = include_str!("tools.sh");

/// The query `$counts`: every table with its number of rows.
pub(super) const COUNTS: &str = include_str!("counts.sh");

/// Functions that prove the copy of an `SQLite` file.
pub(super) const SQLITE_PROOF: &str = include_str!("sqlite_proof.sh");

/// Free space that must remain unless the step says otherwise.
const RESERVE: Size = Size(64 << 20);

impl Backup {
    fn size(text: Option<&str>, default: Size) -> Size {
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// What is saved, for messages.
    fn what(&self) -> String {
        let source = [
            self.postgres.as_ref().map(|source| format!("database {}", source.database)),
            self.sqlite.as_ref().map(|source| source.file.clone()),
            self.files.as_ref().map(|source| source.paths.0.join(" ")),
            self.command.as_ref().map(|source| source.run.shown()),
            self.elsewhere.as_ref().map(|source| source.run.shown()),
        ];
        source.into_iter().flatten().next().unwrap_or_default()
    }

    /// The functions of the source, and what they expect.
    fn source(&self) -> String {
        let scratch = if self.verify == Verify::Scratch { "yes" } else { "no" };
        let empty = if self.may_be_empty { "yes" } else { "no" };
        let functions = None
            .or_else(|| self.postgres.as_ref().map(PostgresSource::functions))
            .or_else(|| self.sqlite.as_ref().map(SqliteSource::functions))
            .or_else(|| self.files.as_ref().map(FilesSource::functions))
            .or_else(|| self.command.as_ref().map(CommandSource::functions))
            .or_else(|| self.elsewhere.as_ref().map(ElsewhereSource::functions));
        format!("scratch={scratch} empty={empty}\n{}", functions.unwrap_or_default())
    }

    fn program(&self) -> String {
        let mut text = String::from(TOOLS);
        let _ = writeln!(text, "to={}", path_word(&self.to));
        let _ = writeln!(text, "name={}", quote(&self.name));
        let _ = writeln!(text, "reserve={}", Self::size(self.reserve.as_deref(), RESERVE).0);
        // An id has no size that says anything.
        let plausible = if self.elsewhere.is_some() { 0 } else { self.plausible.unwrap_or(50) };
        let _ = writeln!(text, "plausible={plausible}");
        let away = self.away_from.iter().map(|path| path_word(path)).collect::<Vec<_>>().join("'\n'");
        let _ = writeln!(text, "away={away}");
        let _ = writeln!(text, "apart={}", if self.other_volume { "yes" } else { "no" });
        if let Some(encrypt) = &self.encrypt {
            let _ = writeln!(text, "sealed={}", quote(&encrypt.extension));
            let _ = writeln!(text, "seal() {{ eval {}; }}", quote(&encrypt.run.to_shell()));
        }
        text.push_str(&self.source());
        text.push_str(include_str!("frame.sh"));
        if let Some(keep) = &self.keep {
            text.push_str(&keep.prune());
        }
        text
    }
}

impl StepKind for Backup {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        if let Some(source) = &mut self.postgres {
            source.templates(visit);
        }
        if let Some(source) = &mut self.sqlite {
            source.templates(visit);
        }
        if let Some(source) = &mut self.files {
            source.templates(visit);
        }
        if let Some(source) = &mut self.command {
            source.templates(visit);
        }
        if let Some(source) = &mut self.elsewhere {
            source.templates(visit);
        }
        visit(Template::Text, "to", &mut self.to);
        visit(Template::Text, "name", &mut self.name);
        if let Some(reserve) = &mut self.reserve {
            visit(Template::Text, "reserve", reserve);
        }
        for (index, path) in self.away_from.0.iter_mut().enumerate() {
            visit(Template::Text, &format!("away-from.{index}"), path);
        }
        if let Some(encrypt) = &mut self.encrypt {
            encrypt.run.templates("encrypt.run", visit);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let there = [
            ("postgres", self.postgres.is_some()),
            ("sqlite", self.sqlite.is_some()),
            ("files", self.files.is_some()),
            ("command", self.command.is_some()),
            ("elsewhere", self.elsewhere.is_some()),
        ];
        let there: Vec<_> = there.into_iter().filter_map(|(key, there)| there.then_some(key)).collect();
        let mut problems = Vec::new();
        match there.as_slice() {
            [] => problems.push(
                Problem::new("", "it does not say what to save")
                    .hint("add `postgres`, `sqlite`, `files`, `command` or `elsewhere`"),
            ),
            [_] => {}
            [_, second, ..] => problems.push(Problem::new(second, "a backup has one source").hint("make it two steps")),
        }
        problems.extend(self.postgres.as_ref().into_iter().flat_map(PostgresSource::problems));
        problems.extend(self.sqlite.as_ref().into_iter().flat_map(SqliteSource::problems));
        problems.extend(self.files.as_ref().into_iter().flat_map(FilesSource::problems));
        problems.extend(self.command.as_ref().into_iter().flat_map(CommandSource::problems));
        problems.extend(self.elsewhere.as_ref().into_iter().flat_map(ElsewhereSource::problems));
        if self.elsewhere.is_some() && self.encrypt.is_some() {
            problems.push(Problem::new("encrypt", "what lies elsewhere is not encrypted here"));
        }
        problems.extend(shell::path_problem("to", Some(&self.to)));
        if !self.name.contains("{{") && !is_plain(&self.name) {
            problems.push(
                Problem::new("name", format!("`{}` cannot begin the name of a copy", self.name))
                    .hint("use letters, digits, `-` and `_`, not beginning with `-`"),
            );
        }
        for (index, path) in self.away_from.iter().enumerate() {
            problems.extend(shell::path_problem(&format!("away-from.{index}"), Some(path)));
        }
        if self.other_volume && self.away_from.is_empty() {
            problems.push(Problem::new("other-volume", "it does not say other than which").hint("add `away-from`"));
        }
        if let Some(reserve) = self.reserve.as_deref().filter(|reserve| !reserve.contains("{{"))
            && let Err(message) = reserve.parse::<Size>()
        {
            problems.push(Problem::new("reserve", message));
        }
        if self.plausible.is_some_and(|percent| percent > 100) {
            problems.push(Problem::new("plausible", "a share lies between 0 and 100 percent"));
        }
        if let Some(encrypt) = &self.encrypt {
            problems.extend(encrypt.run.problem("encrypt.run"));
            if !is_plain(&encrypt.extension) {
                problems.push(Problem::new("encrypt.extension", "it is not the end of a file's name").hint("`age`"));
            }
        }
        if (self.command.is_some() || self.elsewhere.is_some()) && self.verify == Verify::Scratch {
            problems.push(
                Problem::new("verify", "a command's copy is proven by its own `check`").hint("leave out `verify`"),
            );
        }
        problems.extend(self.keep.as_ref().and_then(|keep| keep.problem("keep")));
        problems
    }

    fn summary(&self) -> String {
        let what = Redactor::mask(&self.what());
        shell::one_line(&format!("save {what} to {}/{}-*", Redactor::mask(&self.to), Redactor::mask(&self.name)))
    }

    fn effect(&self) -> Effect {
        // It adds a file beside what is saved, and nothing that runs sees it.
        Effect::Code
    }

    fn timeout(&self) -> Duration {
        Duration::from_hours(1)
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        // A proven copy is not thrown away because something else failed.
        Undoing::Nothing
    }

    fn work(&self) -> Work<'_> {
        Work::Host(HostProgram { act: self.program(), ..HostProgram::default() })
    }
}

/// Whether a text is safe as part of a file's name, in any shell and for any program.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
