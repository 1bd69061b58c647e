//! Selectors: which hosts a playbook or a command means.
//!
//! `prod:&eu:!canary` is the hosts of `prod` that are also in `eu` and not in `canary`. Terms that
//! add come first, then those that restrict, then those that take away, however they are ordered.

use std::{collections::HashSet, ops::Range};

use super::{Project, suggest};
use crate::model::{GroupName, HostName};

/// Why a selector selects nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    #[error("the selector is empty")]
    Nothing,
    #[error("`{selector}` does not say which hosts to begin with")]
    NoBeginning { selector: String, range: Range<usize> },
    #[error("`{term}` is not a part of a selector")]
    Syntax { term: String, range: Range<usize> },
    #[error("there is no {what} `{name}`")]
    Unknown { what: &'static str, name: String, suggestion: Option<String>, range: Range<usize> },
    #[error("`{selector}` selects no host")]
    Empty { selector: String, suggestion: Option<String> },
}

impl SelectError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Nothing => Some("name hosts, groups or tags, or the whole fleet: `all`".to_owned()),
            Self::NoBeginning { selector, .. } => Some(format!("begin with the whole fleet: `all:{selector}`")),
            Self::Syntax { .. } => Some(
                "write names, globs, ranges (`web-[1-3,7]`), `tag=NAME` or `profile=NAME`, joined by `:`, `:&` or `:!`"
                    .to_owned(),
            ),
            Self::Unknown { suggestion, .. } => {
                Some(suggestion.clone().unwrap_or_else(|| "`longshore hosts` lists hosts, groups and tags".to_owned()))
            }
            Self::Empty { suggestion, .. } => {
                Some(suggestion.clone().unwrap_or_else(|| "`longshore hosts` lists hosts, groups and tags".to_owned()))
            }
        }
    }

    /// Returns the part of the selector that is wrong, if it is not all of it.
    pub fn range(&self) -> Option<Range<usize>> {
        match self {
            Self::NoBeginning { range, .. } | Self::Syntax { range, .. } | Self::Unknown { range, .. } => {
                Some(range.clone())
            }
            Self::Nothing | Self::Empty { .. } => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    Add,
    Restrict,
    TakeAway,
}

struct Term<'a> {
    join: Join,
    text: &'a str,
    range: Range<usize>,
}

/// Returns the hosts a selector means, in the order of the inventory. Never an empty list.
pub(super) fn select(project: &Project, selector: &str) -> Result<Vec<HostName>, SelectError> {
    let terms = terms(selector)?;
    if !terms.iter().any(|term| term.join == Join::Add) {
        let selector = selector.trim().trim_start_matches([':', ',']).to_owned();
        return Err(SelectError::NoBeginning { selector, range: terms[0].range.clone() });
    }
    let mut added = HashSet::new();
    let mut restricting = Vec::new();
    let mut taken = HashSet::new();
    for term in &terms {
        let hosts = term_hosts(project, term)?;
        match term.join {
            Join::Add => added.extend(hosts),
            Join::Restrict => restricting.push(hosts),
            Join::TakeAway => taken.extend(hosts),
        }
    }
    let selected: Vec<HostName> = project
        .inventory
        .hosts
        .keys()
        .filter(|host| {
            added.contains(*host) && restricting.iter().all(|hosts| hosts.contains(*host)) && !taken.contains(*host)
        })
        .cloned()
        .collect();
    if selected.is_empty() {
        return Err(SelectError::Empty {
            selector: selector.to_owned(),
            suggestion: project
                .inventory
                .hosts
                .is_empty()
                .then(|| "the inventory has no hosts: add `[hosts.NAME]` to a file in `inventory/`".to_owned()),
        });
    }
    Ok(selected)
}

fn terms(selector: &str) -> Result<Vec<Term<'_>>, SelectError> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut in_brackets = false;
    let separates = |c: char| {
        in_brackets = (in_brackets || c == '[') && c != ']';
        c == ':' || c == ',' && !in_brackets
    };
    for piece in selector.split_inclusive(separates) {
        let raw = piece.strip_suffix([':', ',']).unwrap_or(piece);
        let text = raw.trim();
        let at = start + (raw.len() - raw.trim_start().len());
        let range = at..at + text.len();
        // Of an empty term there is only the sign after it to show.
        let whole = start..start + piece.len();
        start = whole.end;
        let (join, name) = match text.strip_prefix('&') {
            Some(rest) => (Join::Restrict, rest),
            None => text.strip_prefix('!').map_or((Join::Add, text), |rest| (Join::TakeAway, rest)),
        };
        let name = name.trim();
        if text.is_empty() && selector.trim().is_empty() {
            return Err(SelectError::Nothing);
        }
        let plain = name.split_once('=').map_or(name, |(_, value)| value);
        let plausible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '?');
        let names = unfold(plain);
        if !names.iter().flatten().all(|name| name.chars().all(plausible))
            || plain.starts_with('-')
            || plain.is_empty()
            || names.is_none()
        {
            let term = if text.is_empty() { piece.to_owned() } else { text.to_owned() };
            let range = if text.is_empty() { whole } else { range };
            return Err(SelectError::Syntax { term, range });
        }
        terms.push(Term { join, text: name, range });
    }
    if terms.is_empty() {
        return Err(SelectError::Nothing);
    }
    Ok(terms)
}

fn term_hosts(project: &Project, term: &Term<'_>) -> Result<HashSet<HostName>, SelectError> {
    let hosts = &project.inventory.hosts;
    if term.text.contains('[') {
        let mut found = HashSet::new();
        for name in unfold(term.text).unwrap_or_default() {
            found.extend(term_hosts(project, &Term { join: term.join, text: &name, range: term.range.clone() })?);
        }
        return Ok(found);
    }
    let unknown = |what, name: &str, suggestion| SelectError::Unknown {
        what,
        name: name.to_owned(),
        suggestion,
        range: term.range.clone(),
    };
    if let Some((key, value)) = term.text.split_once('=') {
        let of: fn(&Project, &HostName) -> Vec<String> = match key {
            "tag" => |project, host| project.tags_of(host).iter().map(ToString::to_string).collect(),
            "profile" => |project, host| vec![project.profile_of(host).to_string()],
            "group" => |project, host| project.groups_of(host).iter().map(ToString::to_string).collect(),
            "host" => |_, host| vec![host.to_string()],
            other => {
                let suggestion = suggest::hint(other, ["tag", "profile", "group", "host"]);
                return Err(unknown("selector", &format!("{other}="), suggestion));
            }
        };
        let mut known = Vec::new();
        let mut found = HashSet::new();
        for host in hosts.keys() {
            for label in of(project, host) {
                if matches_glob(value, &label) {
                    found.insert(host.clone());
                }
                known.push(label);
            }
        }
        if found.is_empty() && !is_glob(value) {
            let exists = match key {
                "group" => project.inventory.groups.contains_key(value),
                "profile" => project.profiles.contains_key(value),
                _ => false,
            };
            if !exists {
                known.sort();
                known.dedup();
                let what = if key == "tag" {
                    "host with the tag"
                } else if key == "profile" {
                    "profile"
                } else {
                    key_word(key)
                };
                return Err(unknown(what, value, suggest::hint(value, known.iter().map(String::as_str))));
            }
        }
        return Ok(found);
    }
    if term.text == "all" {
        return Ok(hosts.keys().cloned().collect());
    }
    if is_glob(term.text) {
        return Ok(hosts.keys().filter(|host| matches_glob(term.text, host.as_str())).cloned().collect());
    }
    let group = project.inventory.groups.get_key_value(term.text).map(|(name, _)| name);
    let host = hosts.get_key_value(term.text).map(|(name, _)| name);
    if group.is_none() && host.is_none() {
        let groups = project.inventory.groups.keys().map(GroupName::as_str);
        let names: Vec<&str> = groups.chain(hosts.keys().map(HostName::as_str)).chain(["all"]).collect();
        let tagged = hosts.keys().any(|host| project.tags_of(host).iter().any(|tag| tag.as_str() == term.text));
        let suggestion = if tagged {
            Some(format!("`{0}` is a tag: write `tag={0}`", term.text))
        } else if project.profiles.contains_key(term.text) {
            Some(format!("`{0}` is a profile: write `profile={0}`", term.text))
        } else {
            suggest::hint(term.text, names)
        };
        return Err(unknown("host or group", term.text, suggestion));
    }
    let mut found: HashSet<HostName> = host.into_iter().cloned().collect();
    if let Some(group) = group {
        found.extend(project.members(group).iter().cloned());
    }
    Ok(found)
}

/// Returns the names that one with a list of numbers stands for, as tables print them: `web-[1-3,7]`, `db-[01-12]`.
///
/// A name without brackets is itself. `None` where what is in the brackets is no such list, or stands for more than
/// 10,000 names.
pub fn unfold(text: &str) -> Option<Vec<String>> {
    let Some((prefix, rest)) = text.split_once('[') else {
        return (!text.contains(']')).then(|| vec![text.to_owned()]);
    };
    let (list, suffix) = rest.split_once(']')?;
    let suffixes = unfold(suffix)?;
    let mut names = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?;
        let (from, to) = (number(first)?, number(last)?);
        let many = usize::try_from(to.checked_sub(from)?).ok()?.checked_add(1)?.checked_mul(suffixes.len())?;
        if names.len().checked_add(many)? > MOST_NAMES {
            return None;
        }
        let width = if first.starts_with('0') { first.len() } else { 0 };
        for number in from..=to {
            names.extend(suffixes.iter().map(|suffix| format!("{prefix}{number:0width$}{suffix}")));
        }
    }
    Some(names)
}

/// What a list of numbers may stand for.
const MOST_NAMES: usize = 10_000;

fn key_word(key: &str) -> &'static str {
    if key == "group" { "group" } else { "host" }
}

pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether `text` is what `glob` describes: `*` is any text, `?` any one character.
pub fn matches_glob(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    // Where to go on after the last star: the place after it, and how much of the text it took.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if g < glob.len() && glob[g] == '*' {
            star = Some((g + 1, t));
            g += 1;
        } else if g < glob.len() && (glob[g] == '?' || glob[g] == text[t]) {
            g += 1;
            t += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            g = after;
            t = taken + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests;
