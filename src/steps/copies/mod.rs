//! The copies that `backup` steps left on a host, as their receipts tell of them.
//!
//! Ages are by the clock of the host that made the copies: two clocks are never compared.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Probed, Problem, Reach, Size, Template, backup::TOOLS, shell};
use crate::{
    model::{Redactor, Span, clean_line, quote},
    transport::{Exec, Status},
};

/// A proven copy that must be there, and young enough.
///
/// What a `backup` step left, with its receipt beside it and as long as that says. The check passes on the newest one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CopyCheck {
    /// Folder of the copies: absolute, or below `~/`.
    pub folder: String,
    /// The copies' name.
    pub name: String,
    /// How old the newest may be at most, by the host's own clock. Any age when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub younger_than: Option<Span>,
    /// Whether the newest is read to its end and compared with the sha256 of its receipt: a copy that was damaged
    /// where it lies is none. Takes as long as reading it; only its length is compared otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub intact: bool,
}

/// A copy with a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SavedCopy {
    pub file: String,
    /// When it was begun, by the host's clock.
    pub made: Timestamp,
    /// How long ago that was when the host was asked, by the same clock.
    pub age: Span,
    /// What its receipt says: `size`, `sha256`, `rows`, `head`, `verified`, `run`, ...
    pub facts: BTreeMap<String, String>,
    /// Why it is no copy to rely on, where it is none.
    pub flaw: Option<String>,
}

impl SavedCopy {
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.facts.get(key).map(String::as_str)
    }

    /// Bytes, as the receipt says.
    pub fn size(&self) -> Option<u64> {
        self.fact("size")?.parse().ok()
    }

    /// Its name without the folder.
    pub fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}

/// The program that tells of all copies of a name in a folder. Read what it prints with [`read_copies`].
pub fn list_copies(folder: &str, name: &str) -> String {
    format!("{TOOLS}in={}\nname={}\n{}", shell::path_word(folder), quote(name), include_str!("list.sh"))
}

/// Reads what the program of [`list_copies`] printed: the copies, oldest first. An error says what cannot be so.
pub fn read_copies(said: &str) -> Result<Vec<SavedCopy>, String> {
    let mut lines = said.lines();
    let now = lines
        .next()
        .and_then(|line| moment(line.strip_prefix("now ")?))
        .ok_or_else(|| "the host does not tell its time".to_owned())?;
    let mut copies: Vec<SavedCopy> = Vec::new();
    let mut lengths: Vec<Option<u64>> = Vec::new();
    for line in lines {
        let Some((what, rest)) = line.split_once(' ') else { continue };
        match (what, copies.last_mut()) {
            ("copy", _) => {
                let file = clean_line(rest.as_bytes(), 4096);
                copies.push(SavedCopy {
                    file,
                    made: now,
                    age: Span(Duration::ZERO),
                    facts: BTreeMap::new(),
                    flaw: None,
                });
                lengths.push(None);
            }
            ("length", Some(_)) => {
                if let Some(last) = lengths.last_mut() {
                    *last = rest.trim().parse().ok();
                }
            }
            ("fact", Some(copy)) => {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                copy.facts.insert(clean_line(key.as_bytes(), 64), clean_line(value.as_bytes(), 400));
            }
            _ => {}
        }
    }
    for (copy, length) in copies.iter_mut().zip(lengths) {
        judge(copy, length, now);
    }
    copies.sort_by(|left, right| (left.made, &left.file).cmp(&(right.made, &right.file)));
    Ok(copies)
}

/// Says when a copy was made, and whether it is what its receipt says.
fn judge(copy: &mut SavedCopy, length: Option<u64>, now: Timestamp) {
    let flaw = match (copy.fact("stamp").and_then(moment), copy.size(), length) {
        (None, ..) => Some("its receipt does not say when it was made".to_owned()),
        _ if copy.fact("verified").is_none() => Some("nobody proved it".to_owned()),
        (Some(made), ..) if made.duration_since(now) > SignedDuration::from_mins(1) => {
            Some("it was made in the future, by the host's clock".to_owned())
        }
        (Some(_), ..) if copy.fact("id").is_some() => None,
        (Some(_), Some(size), Some(length)) if size == length => None,
        (Some(_), Some(size), Some(length)) => Some(format!("it has {length} bytes, its receipt says {size}")),
        (Some(_), Some(_), None) => Some("the file is gone".to_owned()),
        (Some(_), None, _) => Some("its receipt does not say how long it is".to_owned()),
    };
    if let Some(made) = copy.fact("stamp").and_then(moment) {
        copy.made = made;
        copy.age = Span(now.duration_since(made).try_into().unwrap_or_default());
    }
    copy.flaw = flaw;
}

/// Reads `20261113T235959Z`.
fn moment(stamp: &str) -> Option<Timestamp> {
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", stamp.trim()).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Asks the host of `reach` for the copies of a name.
pub(super) async fn ask(
    reach: &Reach<'_>,
    folder: &str,
    name: &str,
    timeout: Duration,
) -> Result<Vec<SavedCopy>, Unasked> {
    let mut exec = Exec::script(list_copies(folder, name)).timeout(timeout);
    exec.run_as.clone_from(&reach.run_as);
    exec.secrets = shell::secrets_in(&exec.program, reach.redactor);
    let ended = reach.session.run(exec, &mut ()).await?;
    if ended.status != Status::Exited(0) {
        return Err(Unasked::Said(clean_line(&ended.err.bytes(), 200)));
    }
    if !ended.out.is_complete() {
        return Err(Unasked::Said(format!("more copies lie in {} than can be listed", Redactor::mask(folder))));
    }
    read_copies(&ended.out.text()).map_err(Unasked::Said)
}

/// Why the copies are not known.
pub(super) enum Unasked {
    Transport(crate::transport::TransportError),
    Said(String),
}

impl From<crate::transport::TransportError> for Unasked {
    fn from(error: crate::transport::TransportError) -> Self {
        Self::Transport(error)
    }
}

impl From<Unasked> for super::StepError {
    fn from(error: Unasked) -> Self {
        match error {
            Unasked::Transport(error) => Self::Transport(error),
            Unasked::Said(said) => Self::Refused(said),
        }
    }
}

impl CopyCheck {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "folder", &mut self.folder);
        visit(Template::Text, "name", &mut self.name);
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("folder", Some(&self.folder)).into_iter().collect();
        problems.extend(name_problem(&self.name));
        problems
    }

    pub(super) fn summary(&self) -> String {
        let of = format!("a proven copy {}/{}-*", Redactor::mask(&self.folder), Redactor::mask(&self.name));
        let of = if self.intact { format!("{of}, whole") } else { of };
        shell::one_line(&match self.younger_than {
            Some(limit) => format!("{of} younger than {limit}"),
            None => of,
        })
    }

    pub(super) async fn probe(&self, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let copies = match ask(reach, &self.folder, &self.name, timeout).await {
            Ok(copies) => copies,
            Err(Unasked::Transport(error)) => return Probed::error(Probed::from_transport(&error).seen),
            Err(Unasked::Said(said)) => return Probed::error(format!("the copies cannot be listed: {said}")),
        };
        let Some(newest) = copies.iter().rev().find(|copy| copy.flaw.is_none()) else {
            let flawed = copies.last().and_then(|copy| Some(format!("; {}: {}", copy.name(), copy.flaw.as_ref()?)));
            return Probed::fail(format!(
                "no proven copy named {}-* lies in {}{}",
                Redactor::mask(&self.name),
                Redactor::mask(&self.folder),
                flawed.unwrap_or_default()
            ));
        };
        let size = newest.size().map(|size| format!(", {}", Size(size))).unwrap_or_default();
        let seen = format!("{} is {} old{size}", newest.name(), rounded(newest.age));
        match self.younger_than {
            Some(limit) if newest.age.0 >= limit.0 => Probed::fail(format!("{seen}, expected less than {limit}")),
            _ if !self.intact => Probed::pass(seen),
            _ => self.compared(newest, &seen, reach, timeout).await,
        }
    }

    /// Reads the copy, and compares its sum with that of its receipt.
    async fn compared(&self, newest: &SavedCopy, seen: &str, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let Some(expected) = newest.fact("sha256") else {
            return Probed::fail(format!("{seen}; its receipt has no sha256"));
        };
        let mut exec = Exec::script(format!("{TOOLS}sum_of {}", quote(&newest.file))).timeout(timeout);
        exec.run_as.clone_from(&reach.run_as);
        let ended = match reach.session.run(exec, &mut ()).await {
            Ok(ended) => ended,
            Err(error) => return Probed::from_transport(&error),
        };
        let sum = ended.out.text();
        if ended.status != Status::Exited(0) || sum.trim().is_empty() {
            return Probed::error(format!("{seen}, and cannot be read: {}", clean_line(&ended.err.bytes(), 200)));
        }
        if sum.trim() == expected {
            Probed::pass(format!("{seen}, and whole"))
        } else {
            Probed::fail(format!("{seen}, and damaged: its sha256 is not that of its receipt"))
        }
    }
}

/// An age in whole minutes, once it has some.
fn rounded(Span(age): Span) -> Span {
    let seconds = age.as_secs();
    Span(Duration::from_secs(if seconds < 60 { seconds } else { seconds - seconds % 60 }))
}

/// What is wrong with the name of copies.
pub(super) fn name_problem(name: &str) -> Option<Problem> {
    (!name.contains("{{") && !super::backup::is_plain(name)).then(|| {
        Problem::new("name", format!("`{name}` cannot begin the name of a copy"))
            .hint("use letters, digits, `-` and `_`, not beginning with `-`")
    })
}
