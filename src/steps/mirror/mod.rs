//! Copies files that never change once they are there: videos, uploads, archives. Only what is new moves.
//!
//! Everything is looked at before anything is touched: a source that is empty, a file that changed although such files do
//! not, and more removals than were allowed are found first. Afterwards both sides are compared.

#[cfg(test)]
mod tests;

use std::{fmt::Write as _, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    HostProgram, Problem, StepKind, Template, Texts, Undoing, Work,
    backup::TOOLS,
    copies::name_problem,
    shell::{self, path_word},
};
use crate::model::{Effect, Redactor, quote};

/// Copies folders of files that never change once they are there, to another folder, another host or an object store; or
/// back from there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mirror {
    /// The folders: absolute, or a remote of rclone such as `store:fovea/videos`. Each comes into a folder of its own last
    /// name.
    pub from: Texts,
    /// Where to: a folder on the host, a remote of rclone such as `store:fovea`, or `host:/path` for rsync.
    pub to: String,
    /// The program that copies.
    #[serde(default)]
    pub by: Tool,
    /// Patterns of what to leave out, as the program reads them.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub exclude: Texts,
    /// Whether files may change. When left out, one that did is an error: it may be damaged, and its good copy is not
    /// overwritten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changing: bool,
    /// How many files may be removed there because they are gone here. Nothing is ever removed when left out; where more
    /// would be, nothing is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_at_most: Option<u32>,
    /// Whether a folder without files is no mistake.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_empty: bool,
    /// Where to leave a receipt, for `copy` checks and `longshore backups`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
}

/// A program that copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// Folders, and every store that rclone knows.
    #[default]
    Rclone,
    /// Folders, and other hosts by SSH.
    Rsync,
}

/// Where a mirror leaves its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    /// Folder on the host: absolute, or below `~/`. Made where it is missing.
    pub folder: String,
    /// First part of the receipts' names.
    pub name: String,
}

impl Mirror {
    fn program(&self) -> String {
        let yes = |is: bool| if is { "yes" } else { "no" };
        let places = self.from.iter().map(|path| path_word(path.trim_end_matches('/')));
        let mut text = String::from(TOOLS);
        let _ = writeln!(text, "sources={}", places.collect::<Vec<_>>().join("'\n'"));
        let _ = writeln!(text, "to={}", path_word(self.to.trim_end_matches('/')));
        let _ = writeln!(text, "excludes={}", quote(&self.exclude.0.join("\n")));
        let _ = writeln!(text, "changeable={} empty={}", yes(self.changing), yes(self.may_be_empty));
        let removable = self.remove_at_most.map(|most| most.to_string()).unwrap_or_default();
        let _ = writeln!(text, "removable={removable}");
        let (record, name) =
            self.record.as_ref().map_or(("''".to_owned(), ""), |record| (path_word(&record.folder), &record.name));
        let _ = writeln!(text, "record={record}\nname={}", quote(name));
        text.push_str(match self.by {
            Tool::Rclone => include_str!("rclone.sh"),
            Tool::Rsync => include_str!("rsync.sh"),
        });
        text.push_str(include_str!("frame.sh"));
        text
    }

    /// What is wrong with a place, if it can be told.
    fn place_problem(key: &str, place: &str) -> Option<Problem> {
        if place.contains("{{") || Redactor::mentions_secret(place) || place.starts_with('/') || place.starts_with("~/")
        {
            return None;
        }
        if let Some((store, _)) = place.split_once("://") {
            let message = format!("`{place}` is an address, which neither rclone nor rsync reads");
            return Some(Problem::new(key, message).hint(format!(
                "rclone knows a store by the name of its configuration, as in `{store}:bucket/folder`; rsync knows folders and hosts"
            )));
        }
        let is_place = place.split_once(':').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte))
        });
        (!is_place || place.starts_with('-')).then(|| {
            Problem::new(key, format!("`{place}` is neither an absolute path nor a place elsewhere"))
                .hint("begin it with `/`, with `~/`, or with the name of a remote and `:`")
        })
    }
}

impl StepKind for Mirror {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        for (index, place) in self.from.0.iter_mut().enumerate() {
            visit(Template::Text, &format!("from.{index}"), place);
        }
        visit(Template::Text, "to", &mut self.to);
        for (index, pattern) in self.exclude.0.iter_mut().enumerate() {
            visit(Template::Text, &format!("exclude.{index}"), pattern);
        }
        if let Some(record) = &mut self.record {
            visit(Template::Text, "record.folder", &mut record.folder);
            visit(Template::Text, "record.name", &mut record.name);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.from.is_empty() {
            problems.push(Problem::new("from", "it does not say what to copy"));
        }
        let mut names: Vec<&str> = Vec::new();
        for (index, place) in self.from.iter().enumerate() {
            let key = format!("from.{index}");
            problems.extend(Self::place_problem(&key, place));
            let name = place.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
            if name.is_empty() {
                problems.push(Problem::new(&key, "it has no last name, so nothing can be named after it"));
            } else if names.contains(&name) {
                problems.push(Problem::new(&key, format!("two folders are named `{name}`, and would be mixed")));
            }
            names.push(name);
        }
        problems.extend(Self::place_problem("to", &self.to));
        let is_other_host = self.to.contains(':') && !self.to.starts_with('/');
        if self.by == Tool::Rsync && self.remove_at_most.is_some() && is_other_host {
            problems.push(
                Problem::new("remove-at-most", "rsync removes nothing on another host here")
                    .hint("leave it out, or use rclone with a remote of the kind `sftp`"),
            );
        }
        if let Some(record) = &self.record {
            problems.extend(shell::path_problem("record.folder", Some(&record.folder)));
            problems.extend(name_problem(&record.name).map(|problem| problem.below("record")));
        }
        problems
    }

    fn summary(&self) -> String {
        let from = Redactor::mask(&self.from.0.join(" "));
        shell::one_line(&format!("copy what is new of {from} to {}", Redactor::mask(&self.to)))
    }

    fn effect(&self) -> Effect {
        // It adds files beside what runs.
        Effect::Code
    }

    fn timeout(&self) -> Duration {
        Duration::from_hours(12)
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        Undoing::Nothing
    }

    fn work(&self) -> Work<'_> {
        Work::Host(HostProgram { act: self.program(), ..HostProgram::default() })
    }
}
