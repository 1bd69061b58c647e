//! The table of a health sweep: hosts against checks, the same ones folded, what differs marked.

use indexmap::{IndexMap, IndexSet};

use super::{
    page::{Page, Tone, cell},
    table::{names_of, severity, standing, totals},
    trouble, words,
};
use crate::{
    event::{CheckState, HostState, Phase, RunState},
    model::{HostName, RunNumber, Verdict},
};

/// Renders a sweep. Checks are columns; where their names do not fit, they are numbered and listed below.
pub fn sweep(state: &RunState, number: Option<RunNumber>, page: &Page) -> String {
    let checks: IndexSet<&str> = swept(state).map(|check| check.name.as_str()).collect();
    let usual = usual_version(state);
    let names_fit = checks.iter().map(|name| name.chars().count() + 3).sum::<usize>() + 45 <= page.width;

    let mut rows: IndexMap<(u8, Vec<String>), Vec<&HostName>> = IndexMap::new();
    let mut drifted = false;
    for (name, host) in &state.hosts {
        let (word, tone) = colour(host);
        let mut row = vec![page.paint(tone, word), version(host, usual.as_ref(), page, &mut drifted)];
        row.extend(checks.iter().map(|check| verdict(host, check, page)));
        rows.entry((rank(host), row)).or_default().push(name);
    }
    rows.sort_by(|left, _, right, _| left.0.cmp(&right.0));
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|((_, row), names)| [vec![names_of(&names)], row].concat()).collect();

    let numbers: Vec<String> = (1..=checks.len()).map(|number| number.to_string()).collect();
    let names: Vec<String> = checks.iter().map(|name| cell(name)).collect();
    let mut head = vec!["host", "result", "version"];
    head.extend(if names_fit { &names } else { &numbers }.iter().map(String::as_str));
    let mut text = page.table(&head, &rows);
    if !names_fit {
        for (number, name) in numbers.iter().zip(&names) {
            text.push_str(&page.wrap(&format!("{number:>3}  {name}"), 5));
        }
    }
    if let (true, Some((usual, count))) = (drifted, &usual) {
        text.push_str(&page.wrap(&format!("  *  not {usual}, which {} have", words::count(*count, "host")), 5));
    }
    let seen = bad_checks(state, page);
    if !seen.is_empty() {
        text.push('\n');
        text.push_str(&seen);
    }
    text.push_str(&trouble::trouble(&without_red(state), number, page));
    text.push_str(&totals(state, false, page, &colour));
    text
}

fn swept(state: &RunState) -> impl Iterator<Item = &CheckState> {
    state.hosts.values().flat_map(|host| &host.checks).filter(|check| check.phase == Phase::Sweep)
}

/// The version most hosts have, and how many; `None` where no version leads.
fn usual_version(state: &RunState) -> Option<(String, usize)> {
    let mut counts: IndexMap<&str, usize> = IndexMap::new();
    for version in state.hosts.values().filter_map(seen_version) {
        *counts.entry(version).or_default() += 1;
    }
    counts.sort_by(|_, left, _, right| right.cmp(left));
    match (counts.get_index(0), counts.get_index(1)) {
        (Some((_, first)), Some((_, second))) if first == second => None,
        (Some((version, count)), _) => Some((cell(version), *count)),
        (None, _) => None,
    }
}

/// The version this sweep itself saw; what the plan once knew says nothing about today.
fn seen_version(host: &HostState) -> Option<&str> {
    host.address.as_ref().and_then(|_| host.version())
}

fn version(host: &HostState, usual: Option<&(String, usize)>, page: &Page, drifted: &mut bool) -> String {
    let Some(version) = seen_version(host).map(cell) else { return String::new() };
    if usual.is_some_and(|(usual, _)| *usual != version) {
        *drifted = true;
        return page.paint(Tone::Odd, &format!("{version} *"));
    }
    version
}

fn is_red(host: &HostState) -> bool {
    host.checks.iter().any(|check| check.phase == Phase::Sweep && check.verdict != Verdict::Pass)
}

/// Whether its checks are all there is to say of the host.
fn only_red(host: &HostState) -> bool {
    is_red(host) && host.failure.as_ref().is_none_or(|f| f.class == crate::model::FailureClass::Check)
}

fn rank(host: &HostState) -> u8 {
    if is_red(host) { severity(host.outcome).max(8) } else { severity(host.outcome) }
}

/// The word for a host of a sweep.
pub(super) fn word(host: &HostState) -> &'static str {
    colour(host).0
}

/// The same, with its tone. Only what every check passed is green.
fn colour(host: &HostState) -> (&'static str, Tone) {
    if only_red(host) {
        ("red", Tone::Bad)
    } else if host.outcome.is_some_and(crate::model::HostOutcome::is_good) {
        ("green", Tone::Good)
    } else {
        standing(host)
    }
}

fn verdict(host: &HostState, check: &str, page: &Page) -> String {
    let found = host.checks.iter().find(|known| known.phase == Phase::Sweep && known.name == check);
    match found.map(|check| check.verdict) {
        Some(Verdict::Pass) => page.paint(Tone::Good, "pass"),
        Some(Verdict::Fail) => page.paint(Tone::Bad, "FAIL"),
        Some(verdict) => page.paint(Tone::Odd, verdict.as_str()),
        None => "-".to_owned(),
    }
}

/// Says what each check saw that did not pass, the same sights folded.
fn bad_checks(state: &RunState, page: &Page) -> String {
    let mut sights: IndexMap<(&str, Verdict, String), Vec<&HostName>> = IndexMap::new();
    for (name, host) in &state.hosts {
        for check in host.checks.iter().filter(|c| c.phase == Phase::Sweep && c.verdict != Verdict::Pass) {
            sights.entry((&check.name, check.verdict, cell(&check.seen))).or_default().push(name);
        }
    }
    let mut text = String::new();
    for ((check, verdict, seen), names) in sights {
        let word = page.paint(if verdict == Verdict::Fail { Tone::Bad } else { Tone::Odd }, verdict.as_str());
        text.push_str(&page.wrap(&format!("{}: {word}: {}: {seen}", names_of(&names), cell(check)), 2));
    }
    text
}

/// The same state without the hosts of which the table has said everything.
fn without_red(state: &RunState) -> RunState {
    let mut rest = state.clone();
    rest.hosts.retain(|_, host| !only_red(host));
    rest
}
