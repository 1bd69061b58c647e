//! The table of what hosts told of themselves: versions and facts, the same ones folded, what differs marked.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::{
    page::{Page, Tone, cell},
    table::names_of,
    words,
};
use crate::{
    model::HostName,
    plan::{Installed, Reading},
};

/// A fact that is another on each host, so that nothing would fold.
const RESTLESS: &str = "free-disk";

/// Renders versions and facts. What most hosts have is not marked; what differs from it is.
pub fn facts(read: &BTreeMap<HostName, Reading>, page: &Page) -> String {
    let names: BTreeSet<&str> =
        read.values().flat_map(|of| of.facts.keys()).map(String::as_str).filter(|name| *name != RESTLESS).collect();
    let version = usual(read.values().filter_map(|of| of.installed.version()).map(crate::model::Version::as_str));
    let usually: Vec<Option<&str>> = names
        .iter()
        .map(|name| usual(read.values().filter_map(|of| of.facts.get(*name)).map(String::as_str)))
        .collect();
    let mut differs = false;
    let mut mark = |value: &str, usual: Option<&str>| {
        if usual.is_none_or(|usual| usual == value) {
            return cell(value);
        }
        differs = true;
        page.paint(Tone::Odd, &format!("{} *", cell(value)))
    };
    let mut rows: IndexMap<Vec<String>, Vec<&HostName>> = IndexMap::new();
    for (host, of) in read {
        let mut row = vec![match &of.installed {
            Installed::Known(found) => mark(found.as_str(), version),
            Installed::NotAsked => String::new(),
            // Who is away, or has no version, is not what most are either.
            other => mark(&other.shown(), version),
        }];
        row.extend(
            names
                .iter()
                .zip(&usually)
                .map(|(name, usual)| of.facts.get(*name).map_or_else(String::new, |value| mark(value, *usual))),
        );
        rows.entry(row).or_default().push(host);
    }
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(row, hosts)| [vec![names_of(&hosts)], row, vec![free(&hosts, read)]].concat()).collect();
    let mut head = vec!["host", "version"];
    head.extend(&names);
    head.push(RESTLESS);
    let mut text = page.table(&head, &rows);
    if differs {
        text.push_str("  *  not what most hosts have\n");
    }
    text.push_str(&format!("{}\n", words::count(read.len(), "host")));
    text
}

/// The value that most have; `None` where no value leads.
fn usual<'a>(values: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut counts: IndexMap<&str, usize> = IndexMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts.sort_by(|_, left, _, right| right.cmp(left));
    match (counts.get_index(0), counts.get_index(1)) {
        (Some((_, first)), Some((_, second))) if first == second => None,
        (first, _) => first.map(|(value, _)| *value),
    }
}

/// The least free disk space among hosts.
fn free(hosts: &[&HostName], read: &BTreeMap<HostName, Reading>) -> String {
    let size = |host: &&HostName| read.get(*host)?.facts.get(RESTLESS)?.split(' ').next()?.parse::<u64>().ok();
    let least = hosts.iter().filter_map(size).min();
    let or_more = if hosts.len() > 1 { " or more" } else { "" };
    least.map_or_else(String::new, |mebibytes| format!("{}{or_more}", words::bytes(mebibytes * 1024 * 1024)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Version;

    #[test]
    fn what_differs_from_most_is_marked_and_the_same_is_folded() {
        let reading = |version: &str, arch: &str, free: &str| {
            let facts = [("arch", arch), ("free-disk", free)].map(|(name, value)| (name.to_owned(), value.to_owned()));
            Reading { facts: facts.into(), ..Reading::known(Version::new(version)) }
        };
        let mut read: BTreeMap<HostName, Reading> = BTreeMap::new();
        let name = |text: &str| text.parse::<HostName>().expect("a name");
        read.insert(name("a-1"), reading("1.0.0", "x86_64", "900 MiB"));
        read.insert(name("a-2"), reading("1.0.0", "x86_64", "100 MiB"));
        read.insert(name("a-3"), reading("1.1.0", "x86_64", "500 MiB"));
        read.insert(
            name("a-4"),
            Reading { installed: Installed::Unreached("no route".to_owned()), ..Reading::default() },
        );
        let text = facts(&read, &Page::plain(80));
        assert!(text.contains("a-[1,2]") && text.contains("1.1.0 *"), "{text}");
        assert!(!text.contains("1.0.0 *") && text.contains("100 MiB or more"), "{text}");
        assert!(text.contains("unreachable *") && text.contains("4 hosts"), "{text}");
    }
}
