//! From the version installed to the version wanted: the hops of one host, or why there is no way.
//!
//! Pure: it knows releases and versions, and neither hosts nor steps. One minor at a time unless the way is to be
//! direct; no required stop is passed over; what is passed over counts all the same.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::{
    config::{
        Changelog,
        documents::{Release, ReleaseKind, Releases},
    },
    model::Version,
};

/// One upgrade on the way of a host: from one version to the next that is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hop {
    pub from: Version,
    pub to: Version,
    /// How big a step it is: that of the biggest release on it.
    pub class: ReleaseKind,
    /// Why a patch is treated as a minor.
    #[serde(default)]
    pub raised: Vec<String>,
    /// Releases between `from` and `to` that are not installed.
    #[serde(default)]
    pub skips: Vec<Version>,
    /// Environment variables that `to` needs and `from` did not.
    #[serde(default)]
    pub requires_env: Vec<String>,
    /// Heads of the migrations on the way, in order.
    #[serde(default)]
    pub migrations: Vec<String>,
    /// `to` may not be passed over.
    #[serde(default)]
    pub required_stop: bool,
    /// Releases on the way with something that a person must know.
    #[serde(default)]
    pub notes: Vec<Version>,
    /// Whether `from` can run on the data of `to`: every release on the way says so.
    #[serde(default)]
    pub backward_compatible: bool,
}

/// What the way is looked for with.
#[derive(Debug, Clone, Copy)]
pub struct Atlas<'a> {
    /// The product's releases, if they are listed at all.
    pub releases: Option<&'a Releases>,
    pub changelog: Option<&'a Changelog>,
    /// Whether the wanted release and the minors on the way must say what they bring.
    pub needs_notes: bool,
    /// As few hops as required stops allow.
    pub direct: bool,
    pub allow_major: bool,
}

/// Why a host cannot be brought to the version wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    #[error("{installed} is installed, and {wanted} is older")]
    Downgrade { installed: Version, wanted: Version },
    #[error("{to} is a major release after {from}")]
    Major { from: Version, to: Version },
    #[error("release {version} is blocked: {why}")]
    Blocked { version: Version, why: String },
    #[error("the way to {wanted} must stop at {version}, and that is blocked: {why}")]
    BlockedStop { version: Version, wanted: Version, why: String },
    #[error("there is no release {version}")]
    Unlisted { version: Version },
    #[error("`{tag}` is {is}, not a release")]
    Tag { tag: Version, is: &'static str },
    #[error("{version} is a pre-release")]
    PreRelease { version: Version },
    #[error("`{installed}` is installed, and nobody can say which releases lie between it and {wanted}")]
    Astray { installed: Version, wanted: Version },
    #[error("nobody said what these releases bring: {}", list(.versions))]
    NoNotes { versions: Vec<Version> },
}

fn list(versions: &[Version]) -> String {
    versions.iter().map(Version::as_str).collect::<Vec<_>>().join(", ")
}

impl NoWay {
    /// Says what to change or type.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Downgrade { .. } => {
                "an upgrade never goes back: `longshore rollback` takes a finished one back".to_owned()
            }
            Self::Major { to, .. } => format!(
                "a major is a project of its own: a playbook with `allow-major = true` and an action made for {to}"
            ),
            Self::Blocked { .. } => "choose another release with `--to`".to_owned(),
            Self::BlockedStop { .. } => "ask the product's makers which release takes its place".to_owned(),
            Self::Unlisted { .. } => "add it to `releases.toml`, or choose another with `--to`".to_owned(),
            Self::Tag { tag, .. } | Self::PreRelease { version: tag } => {
                format!("a host that may have it says so: `allow-tags = [\"{tag}\"]`")
            }
            Self::Astray { .. } => {
                "if you know which release it is, say `--from HOST=VERSION`; else add it to `releases.toml`".to_owned()
            }
            Self::NoNotes { .. } => {
                "write their entries into the role's `CHANGELOG.md`, or `notes` into `releases.toml`".to_owned()
            }
        })
    }
}

/// What a tag is, by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    /// A version of three numbers (or fewer), and what was built from it.
    Release,
    /// A version with something behind a `-`.
    PreRelease,
    /// `sha256:...`: exactly one image, of no known version.
    Digest,
    /// Of a pull request: `pr-12`.
    PullRequest,
    /// What it means changes: `latest`, `develop`.
    Floating,
    /// Any other text.
    Other,
}

impl TagKind {
    pub fn of(tag: &Version) -> Self {
        let text = tag.as_str();
        if let Some(version) = tag.semver() {
            return if version.pre.is_empty() { Self::Release } else { Self::PreRelease };
        }
        let lower = text.to_ascii_lowercase();
        let (word, _) = lower.split_once(['-', '_', '.', '/']).unwrap_or((&lower, ""));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if text.starts_with("sha256:") || text.starts_with("sha512:") {
            Self::Digest
        } else if matches!(word, "pr" | "mr" | "pull") || word.strip_prefix("pr").is_some_and(is_number) {
            Self::PullRequest
        } else if FLOATING.contains(&word) {
            Self::Floating
        } else {
            Self::Other
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Release => "a version",
            Self::PreRelease => "a pre-release",
            Self::Digest => "a digest",
            Self::PullRequest => "the build of a pull request",
            Self::Floating => "a tag that floats",
            Self::Other => "a tag",
        }
    }
}

/// Words that tags begin with whose meaning changes from day to day.
const FLOATING: [&str; 19] = [
    "latest",
    "stable",
    "edge",
    "nightly",
    "main",
    "master",
    "trunk",
    "develop",
    "development",
    "dev",
    "next",
    "beta",
    "alpha",
    "canary",
    "staging",
    "head",
    "snapshot",
    "release",
    "rolling",
];

impl Atlas<'_> {
    /// Finds the way. No hops: the host is there already.
    ///
    /// `allows` says which tags that are no releases may be installed on the host.
    pub fn way(
        &self,
        installed: &Version,
        wanted: &Version,
        allows: &dyn Fn(&Version) -> bool,
    ) -> Result<Vec<Hop>, NoWay> {
        let listed = self.releases.map(|releases| releases.release.as_slice()).filter(|list| !list.is_empty());
        let target = listed.map(|list| list.iter().find(|release| is_same(&release.version, wanted)));
        if let Some(Some(Release { version, blocked: Some(why), .. })) = target {
            return Err(NoWay::Blocked { version: version.clone(), why: why.clone() });
        }
        let kind = TagKind::of(wanted);
        match (target, kind) {
            (Some(Some(_)), _) | (None, TagKind::Release) => {}
            (Some(None), TagKind::Release) => return Err(NoWay::Unlisted { version: wanted.clone() }),
            (None, TagKind::PreRelease) if allows(wanted) => {}
            // Nothing is known of what lies between, and the host may have it all the same.
            (_, _) if allows(wanted) => {
                let is = is_same(installed, wanted) && kind == TagKind::Digest;
                return Ok(if is { Vec::new() } else { vec![Hop::to_tag(installed, wanted, kind)] });
            }
            (_, TagKind::PreRelease) => return Err(NoWay::PreRelease { version: wanted.clone() }),
            (_, _) => return Err(NoWay::Tag { tag: wanted.clone(), is: kind.words() }),
        }
        if is_same(installed, wanted) {
            return Ok(Vec::new());
        }
        let ahead = ahead(listed, installed, wanted)?;
        self.hops(installed, wanted, &ahead)
    }

    fn hops(&self, installed: &Version, wanted: &Version, ahead: &[Ahead]) -> Result<Vec<Hop>, NoWay> {
        if let Some(major) = ahead.iter().find(|one| one.class == ReleaseKind::Major && !self.allow_major) {
            return Err(NoWay::Major { from: installed.clone(), to: major.release.version.clone() });
        }
        for one in ahead.iter().filter(|one| one.release.required_stop) {
            if let Some(why) = &one.release.blocked {
                return Err(NoWay::BlockedStop {
                    version: one.release.version.clone(),
                    wanted: wanted.clone(),
                    why: why.clone(),
                });
            }
        }
        let mut hops: Vec<Hop> = Vec::new();
        let (mut next, mut line) = (0, 0);
        while next < ahead.len() {
            let end = next + self.furthest(&ahead[next..], line);
            let from = hops.last().map_or(installed, |hop| &hop.to).clone();
            hops.push(self.hop(from, &ahead[next..=end]));
            (next, line) = (end + 1, ahead[end].line);
        }
        let silent: Vec<Version> = if self.needs_notes {
            let stops = |version: &Version| hops.iter().any(|hop| hop.to == *version);
            let matters = |one: &&Ahead| {
                // What a blocked release brought is in those after it.
                one.is_meant(ahead) && (one.class > ReleaseKind::Patch || stops(&one.release.version))
            };
            ahead
                .iter()
                .filter(matters)
                .filter(|one| !self.is_told(&one.release))
                .map(|one| one.release.version.clone())
                .collect()
        } else {
            Vec::new()
        };
        if silent.is_empty() { Ok(hops) } else { Err(NoWay::NoNotes { versions: silent }) }
    }

    /// Finds how far one hop may go: an index. The last is the one wanted.
    fn furthest(&self, ahead: &[Ahead], line: usize) -> usize {
        let mut best = None;
        let mut lines = 0;
        let mut last_line = line;
        for (index, one) in ahead.iter().enumerate().filter(|(_, one)| one.is_installable(ahead)) {
            if one.line != last_line {
                lines += 1;
                last_line = one.line;
            }
            if lines > 1 && !self.direct && best.is_some() {
                break;
            }
            best = Some(index);
            if one.release.required_stop {
                break;
            }
        }
        best.unwrap_or(ahead.len() - 1)
    }

    fn hop(&self, from: Version, over: &[Ahead]) -> Hop {
        let (to, skipped) = over.split_last().expect("a hop goes to a release");
        let mut class = over.iter().map(|one| one.class).max().unwrap_or(ReleaseKind::Patch);
        let mut raised = Vec::new();
        if class == ReleaseKind::Patch {
            for one in over {
                let version = &one.release.version;
                if one.moves {
                    raised.push(format!("{version} migrates the database"));
                }
                if !one.release.requires_env.is_empty() {
                    raised.push(format!("{version} needs {}", one.release.requires_env.join(", ")));
                }
                if self.breaks(version) {
                    raised.push(format!("{version} has breaking changes or a required action"));
                }
            }
            if !raised.is_empty() {
                class = ReleaseKind::Minor;
            }
        }
        let mut requires_env: Vec<String> = Vec::new();
        for name in over.iter().flat_map(|one| &one.release.requires_env) {
            if !requires_env.contains(name) {
                requires_env.push(name.clone());
            }
        }
        let tells = |one: &&Ahead| one.release.notes.is_some() || self.breaks(&one.release.version);
        Hop {
            from,
            to: to.release.version.clone(),
            class,
            raised,
            skips: skipped.iter().map(|one| one.release.version.clone()).collect(),
            requires_env,
            migrations: over.iter().filter(|one| one.moves).filter_map(|one| one.release.migration.clone()).collect(),
            required_stop: to.release.required_stop,
            notes: over.iter().filter(tells).map(|one| one.release.version.clone()).collect(),
            backward_compatible: over.iter().all(|one| one.release.backward_compatible),
        }
    }

    fn breaks(&self, version: &Version) -> bool {
        let entry = self.changelog.and_then(|changelog| changelog.get(version));
        entry.is_some_and(|entry| entry.breaking.is_some() || entry.required_action.is_some())
    }

    fn is_told(&self, release: &Release) -> bool {
        release.notes.is_some() || self.changelog.is_some_and(|changelog| changelog.get(&release.version).is_some())
    }
}

/// Lists the releases after the one installed up to the one wanted, oldest first, each with its class.
fn ahead(listed: Option<&[Release]>, installed: &Version, wanted: &Version) -> Result<Vec<Ahead>, NoWay> {
    let astray = || NoWay::Astray { installed: installed.clone(), wanted: wanted.clone() };
    let Some(listed) = listed else {
        match installed.compare(wanted) {
            Some(Ordering::Less) => {}
            Some(_) => {
                return Err(NoWay::Downgrade { installed: installed.clone(), wanted: wanted.clone() });
            }
            None => return Err(astray()),
        }
        let release = Release::named(wanted.clone());
        return Ok(vec![Ahead { class: delta(installed, wanted), moves: false, line: 1, release }]);
    };
    let mut sorted: Vec<&Release> = listed.iter().collect();
    let is_ordered = sorted.iter().all(|release| release.version.semver().is_some());
    if is_ordered {
        sorted.sort_by_key(|release| release.version.semver());
    }
    let place = |version: &Version| sorted.iter().position(|release| is_same(&release.version, version));
    let end = place(wanted).ok_or_else(|| NoWay::Unlisted { version: wanted.clone() })?;
    let start = match place(installed) {
        Some(index) => index + 1,
        // What is not listed has its place where versions have an order.
        None if is_ordered && installed.semver().is_some() => {
            sorted.iter().take_while(|one| one.version.compare(installed) == Some(Ordering::Less)).count()
        }
        None => return Err(astray()),
    };
    if start > end {
        return Err(NoWay::Downgrade { installed: installed.clone(), wanted: wanted.clone() });
    }
    let mut before = installed.clone();
    // The head that the data has, as far as the releases up to here say.
    let mut head = sorted[..start].iter().rev().find_map(|release| release.migration.clone());
    let mut line = 0;
    let mut ahead = Vec::new();
    for release in &sorted[start..=end] {
        let class = release.kind.unwrap_or_else(|| delta(&before, &release.version));
        if class > ReleaseKind::Patch {
            line += 1;
        }
        let moves = release.migration.is_some() && release.migration != head;
        head = release.migration.clone().or(head);
        before = release.version.clone();
        ahead.push(Ahead { class, moves, line, release: (*release).clone() });
    }
    Ok(ahead)
}

/// A release on the way.
#[derive(Debug, Clone)]
struct Ahead {
    release: Release,
    /// How big a step it is after the release before it.
    class: ReleaseKind,
    /// Its migrations are others than those before.
    moves: bool,
    /// Counts the minors and majors on the way: those with the same number are patches of one.
    line: usize,
}

impl Ahead {
    /// Whether a hop may end there.
    fn is_installable(&self, ahead: &[Self]) -> bool {
        self.release.blocked.is_none() && self.is_meant(ahead)
    }

    /// Whether it is a release, and no trial of one. The last of `ahead` is wanted by name.
    fn is_meant(&self, ahead: &[Self]) -> bool {
        let is_wanted = ahead.last().is_some_and(|last| last.release.version == self.release.version);
        let is_release = self.release.version.semver().is_none_or(|version| version.pre.is_empty());
        is_wanted || is_release
    }
}

impl Hop {
    fn to_tag(from: &Version, to: &Version, kind: TagKind) -> Self {
        Self {
            from: from.clone(),
            to: to.clone(),
            class: ReleaseKind::Minor,
            raised: vec![format!("`{to}` is {}, and nobody can say what it brings", kind.words())],
            skips: Vec::new(),
            requires_env: Vec::new(),
            migrations: Vec::new(),
            required_stop: false,
            notes: Vec::new(),
            backward_compatible: false,
        }
    }
}

fn is_same(one: &Version, other: &Version) -> bool {
    one.compare(other) == Some(Ordering::Equal)
}

/// How big the step from one version to a later one is, by which of its numbers changed.
///
/// From a pre-release to its release it is as big as the release itself; a version that is no number may bring anything.
pub fn delta(from: &Version, to: &Version) -> ReleaseKind {
    let (Some(from), Some(to)) = (from.semver(), to.semver()) else { return ReleaseKind::Minor };
    if from.major != to.major {
        ReleaseKind::Major
    } else if from.minor != to.minor || (to.patch == 0 && from.patch == 0 && from.pre != to.pre) {
        ReleaseKind::Minor
    } else {
        ReleaseKind::Patch
    }
}
