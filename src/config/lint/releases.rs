//! A product's releases: each once, in an order, and known to the changelog.

use std::cmp::Ordering;

use super::Findings;
use crate::{
    config::{
        Changelog,
        documents::Releases,
        source::{KeyPath, Source},
    },
    model::Version,
};

/// Judges the releases by themselves.
pub(super) fn releases(releases: &Releases, source: &Source, found: &mut Findings<'_>) {
    let list = KeyPath::root().key("release");
    for (index, release) in releases.release.iter().enumerate() {
        let at = list.index(index).key("version");
        let same = |other: &Version| release.version.compare(other) == Some(std::cmp::Ordering::Equal);
        if releases.release[..index].iter().any(|earlier| same(&earlier.version)) {
            let message = format!("the release `{}` is there twice", release.version);
            found.error(source.place(&at), message, Some("keep one of them".to_owned()));
        }
        if release.version.as_str().trim().is_empty() {
            found.error(source.place(&at), "a version cannot be empty", None);
        }
        if release.required_stop && release.blocked.is_some() {
            let message =
                format!("no host comes past the release `{}`: it must stop there, and must not", release.version);
            let hint = "mark the release that takes its place as `required-stop` instead".to_owned();
            found.warning(source.key_place(&list.index(index).key("blocked")), message, Some(hint));
        }
        for (position, name) in release.requires_env.iter().enumerate() {
            let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let at = list.index(index).key("requires-env").index(position);
                let message = format!("`{}` cannot be the name of an environment variable", name.escape_debug());
                found.error(source.place(&at), message, None);
            }
        }
    }
    order(releases, source, found);
}

/// Tells releases that stand where they do not belong, and migrations that go back.
fn order(releases: &Releases, source: &Source, found: &mut Findings<'_>) {
    let list = KeyPath::root().key("release");
    for (index, pair) in releases.release.windows(2).enumerate() {
        let [earlier, later] = pair else { continue };
        if later.version.compare(&earlier.version) == Some(Ordering::Less) {
            let message = format!("the release `{}` stands after `{}`, which is newer", later.version, earlier.version);
            let hint = "list the releases oldest first".to_owned();
            found.warning(source.place(&list.index(index + 1).key("version")), message, Some(hint));
        }
    }
    let mut sorted: Vec<(usize, &crate::config::documents::Release)> = releases.release.iter().enumerate().collect();
    if sorted.iter().all(|(_, release)| release.version.semver().is_some()) {
        sorted.sort_by_key(|(_, release)| release.version.semver());
    }
    let mut heads: Vec<(&str, &Version)> = Vec::new();
    for (index, release) in sorted {
        let Some(head) = release.migration.as_deref() else { continue };
        if heads.last().is_some_and(|(last, _)| *last == head) {
            continue;
        }
        let goes_back = heads.iter().find(|(earlier, _)| *earlier == head);
        // Heads that are numbers grow; of names nobody knows which is the later.
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| (text.trim_start_matches('0').len(), text.trim_start_matches('0').to_owned());
        let older = heads.last().filter(|(last, _)| {
            is_number(last) && is_number(head) && last.len() == head.len() && number(head) < number(last)
        });
        if let Some((_, version)) = goes_back.or(older) {
            let message = format!("the migrations of `{}` go back to before those of `{version}`", release.version);
            let hint = "`migration` is the last migration of all after the release, not of its own alone".to_owned();
            found.warning(source.place(&list.index(index).key("migration")), message, Some(hint));
        }
        heads.push((head, &release.version));
    }
}

/// Tells releases that the changelog does not know, and the other way round.
pub(super) fn against_changelog(releases: &Releases, changelog: &Changelog, source: &Source, found: &mut Findings<'_>) {
    let list = KeyPath::root().key("release");
    for (index, release) in releases.release.iter().enumerate() {
        if changelog.get(&release.version).is_none() && release.notes.is_none() && release.blocked.is_none() {
            let message = format!("`CHANGELOG.md` has no entry for the release `{}`", release.version);
            let hint = "a plan that brings it is refused without one: write it, or `notes` here".to_owned();
            found.warning(source.place(&list.index(index).key("version")), message, Some(hint));
        }
    }
    // Entries older than everything listed are history.
    let Some(first) = releases.release.first() else { return };
    for entry in &changelog.entries {
        let is_newer =
            releases.release.iter().all(|release| entry.version.compare(&release.version) == Some(Ordering::Greater));
        if is_newer {
            let message =
                format!("`CHANGELOG.md` tells of `{}` (line {}), which is not listed here", entry.version, entry.line);
            let hint = format!(
                "add it as a `[[release]]`, or `longshore plan` cannot bring it; the first one here is {}",
                first.version
            );
            found.warning(source.place(&list.index(releases.release.len() - 1).key("version")), message, Some(hint));
        }
    }
}
