//! What hosts told while a plan was made: versions and facts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    model::{HostName, Version, clean_line},
    steps::Action,
};

/// What one host told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reading {
    pub installed: Installed,
    /// By name; what could not be read is not there.
    pub facts: BTreeMap<String, String>,
    /// Why sources of the version told nothing, each in its own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// The installed version, as far as anybody knows. Never guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Installed {
    /// Nobody asked, or there is no way to ask.
    #[default]
    NotAsked,
    Known(Version),
    /// It was asked, and nothing told it.
    Unknown,
    /// Two sources say different things: each with what it says.
    Disagree(Vec<String>),
    /// The host could not be asked, and why.
    Unreached(String),
}

impl Reading {
    pub fn known(version: Version) -> Self {
        Self { installed: Installed::Known(version), ..Self::default() }
    }

    /// Puts together what several sources say of the version: first lines, or `tag=` and `digest=`. They must agree;
    /// one that says nothing is passed over, and why it does is kept.
    pub fn of_sources(said: &[Result<String, String>]) -> Self {
        let (mut versions, mut digests) = (Vec::<Version>::new(), Vec::<String>::new());
        let mut silent: Vec<String> = Vec::new();
        for source in said {
            let why = match source {
                Ok(text) if told(text).is_empty() => "it printed no version".to_owned(),
                Ok(_) => continue,
                Err(why) => why.clone(),
            };
            if !silent.contains(&why) {
                silent.push(why);
            }
        }
        for line in said.iter().flatten().flat_map(|text| told(text)) {
            match line {
                Told::Version(version) => {
                    let is_known = |known: &Version| known.compare(&version) == Some(std::cmp::Ordering::Equal);
                    if !versions.iter().any(is_known) {
                        versions.push(version);
                    }
                }
                Told::Digest(digest) => {
                    if !digests.contains(&digest) {
                        digests.push(digest);
                    }
                }
            }
        }
        let mut facts = BTreeMap::new();
        if let [digest] = digests.as_slice() {
            facts.insert("digest".to_owned(), digest.clone());
        }
        let installed = match (versions.len(), digests.len()) {
            (0 | 1, 0 | 1) => versions.pop().map_or(Installed::Unknown, Installed::Known),
            (2.., _) => Installed::Disagree(versions.iter().map(ToString::to_string).collect()),
            _ => Installed::Disagree(digests),
        };
        Self { installed, facts, silent }
    }
}

impl Installed {
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Known(version) => Some(version),
            _ => None,
        }
    }

    /// Says it in one word or sentence, for events and tables.
    pub fn shown(&self) -> String {
        match self {
            Self::NotAsked => "not asked".to_owned(),
            Self::Known(version) => version.to_string(),
            Self::Unknown => "unknown".to_owned(),
            Self::Disagree(said) => format!("sources disagree: {}", said.join(", ")),
            Self::Unreached(_) => "unreachable".to_owned(),
        }
    }
}

enum Told {
    Version(Version),
    Digest(String),
}

/// Reads what one source printed: lines of `tag=`, `version=` and `digest=`, or else its first line alone.
fn told(text: &str) -> Vec<Told> {
    let lines: Vec<String> =
        text.lines().map(|line| clean_line(line.trim().as_bytes(), 80)).filter(|line| !line.is_empty()).collect();
    let named: Vec<Told> = lines
        .iter()
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            match key.trim() {
                "tag" | "version" if !value.trim().is_empty() => Some(Told::Version(Version::new(value.trim()))),
                "digest" if !value.trim().is_empty() => Some(Told::Digest(value.trim().to_owned())),
                _ => None,
            }
        })
        .collect();
    let is_named = lines.first().is_some_and(|line| {
        line.split_once('=').is_some_and(|(key, _)| matches!(key.trim(), "tag" | "version" | "digest"))
    });
    if is_named {
        return named;
    }
    lines.into_iter().next().map(|line| Told::Version(Version::new(line))).into_iter().collect()
}

/// A fact of a host in its plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PlannedFact {
    /// What was read; `None` when nobody asked, or it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How it is read. Kept in a plan only where the plan depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<Action>,
    /// Something of the plan follows from it: a host where it moved is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relied_on: bool,
}

/// Finds the version that most hosts have: what those that could not be asked are planned for. The first of equals.
pub(super) fn usual_version<'a>(
    hosts: impl Iterator<Item = &'a HostName>,
    read: &'a BTreeMap<HostName, Reading>,
) -> Option<&'a Version> {
    let mut counts: Vec<(&Version, usize)> = Vec::new();
    for version in hosts.filter_map(|host| read.get(host)?.installed.version()) {
        match counts.iter_mut().find(|(known, _)| *known == version) {
            Some((_, count)) => *count += 1,
            None => counts.push((version, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(version, _)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(said: &[&str]) -> Reading {
        let answer =
            |text: &&str| if text.is_empty() { Err("no such file".to_owned()) } else { Ok((*text).to_owned()) };
        Reading::of_sources(&said.iter().map(answer).collect::<Vec<_>>())
    }

    #[test]
    fn s_08_four_sources_tell_one_version_and_one_that_says_nothing_is_passed_over() {
        let endpoint = "1.4.2\n";
        let label = "tag=v1.4.2\ndigest=sha256:aa\n";
        let (link, file) = ("\n  1.4.2  \nmore", "version=1.4.2");
        let known = Installed::Known(Version::new("1.4.2"));
        for source in [endpoint, link, file] {
            assert_eq!(read(&[source]).installed, known, "{source:?}");
        }
        let all = read(&[endpoint, label, link, file]);
        assert_eq!(all.installed, known);
        assert_eq!(all.facts["digest"], "sha256:aa");
        assert_eq!(read(&["", link]).installed, known);
        assert_eq!(read(&["", link]).silent, ["no such file"]);
        assert_eq!(read(&["", ""]).installed, Installed::Unknown);
        assert_eq!(read(&["", "\n", "tag=", ""]).silent, ["no such file", "it printed no version"]);
        assert_eq!(read(&["digest=sha256:aa"]).installed, Installed::Unknown, "a digest is no version");
    }

    #[test]
    fn sources_that_disagree_are_told_and_nothing_is_guessed() {
        let disagree = |said: &[&str]| match read(said).installed {
            Installed::Disagree(said) => said.join(" "),
            other => panic!("{other:?}"),
        };
        assert_eq!(disagree(&["1.4.2", "tag=1.5.0"]), "1.4.2 1.5.0");
        assert_eq!(disagree(&["tag=1.4.2\ndigest=sha256:aa", "digest=sha256:bb"]), "sha256:aa sha256:bb");
        assert_eq!(disagree(&["main", "1.4.2", "main"]), "main 1.4.2");
    }
}
