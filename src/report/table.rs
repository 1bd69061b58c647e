//! The table at the end of a run: what became of each host, the same ones folded, the worst last;
//! then what went wrong in full, the totals, and what to type next.

use std::fmt::Write as _;

use indexmap::IndexMap;
use jiff::Timestamp;

use super::{
    page::{Page, Tone, cell, line},
    trouble, words,
};
use crate::{
    event::{HostState, Outage, Phase, RunState, StepState, UndoState},
    model::{ExitCode, Failure, HostName, HostOutcome, RunNumber, StepOutcome, Verdict},
};

/// Longest cause in the table, in characters.
const LONGEST_CAUSE: usize = 72;

/// Renders the end of a run, or how far one came that was cut off.
pub fn results(state: &RunState, number: Option<RunNumber>, page: &Page) -> String {
    table(state, number, false, page)
}

/// Renders how far a run has come; while it is `running`, it has no exit code yet.
pub fn standing_of(state: &RunState, number: Option<RunNumber>, running: bool, page: &Page) -> String {
    table(state, number, running && state.ended.is_none(), page)
}

fn table(state: &RunState, number: Option<RunNumber>, running: bool, page: &Page) -> String {
    let one_wave = state.waves.len() < 2;
    let only_looked = state.purpose == "look";
    let standing = |host: &HostState| match if only_looked { looked(host) } else { standing(host) } {
        ("waiting", tone) if state.ended.is_some() => ("not started", tone),
        ("unfinished", _) if running => ("under way", Tone::Plain),
        other => other,
    };
    let mut rows: IndexMap<(u8, Vec<String>), Vec<&HostName>> = IndexMap::new();
    for (name, host) in &state.hosts {
        let (word, tone) = standing(host);
        let row = vec![
            if one_wave { String::new() } else { cell(&host.wave_name) },
            page.paint(tone, word),
            if only_looked { would_change(host) } else { steps(host) },
            version(host, page),
            health(host),
            brief_cause(name, host).unwrap_or_default(),
        ];
        rows.entry((severity(host.outcome), row)).or_default().push(name);
    }
    rows.sort_by(|left, _, right, _| left.0.cmp(&right.0));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|((_, mut row), names)| {
            row.insert(4, downtime(state, &names, page));
            [vec![names_of(&names)], row].concat()
        })
        .collect();

    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str(
            &page.table_with_notes(&["host", "wave", "result", "steps", "version", "down", "health", "cause"], &rows),
        );
    }
    text.push_str(&trouble::trouble(state, number, page));
    text.push_str(&totals(state, running, page, &standing));
    text
}

/// Says in a line or two how many hosts ended how, why the run halted, and what the exit code means.
pub(super) fn totals(
    state: &RunState,
    running: bool,
    page: &Page,
    standing: &dyn Fn(&HostState) -> (&'static str, Tone),
) -> String {
    let mut kinds: IndexMap<&str, (u8, Tone, usize)> = IndexMap::new();
    for host in state.hosts.values() {
        let (word, tone) = standing(host);
        kinds.entry(word).or_insert((severity(host.outcome), tone, 0)).2 += 1;
    }
    kinds.sort_by(|_, left, _, right| left.0.cmp(&right.0));
    let counts: Vec<_> =
        kinds.iter().map(|(word, (_, tone, count))| page.paint(*tone, &format!("{count} {word}"))).collect();
    let mut text = format!("{}: {}", words::count(state.hosts.len(), "host"), counts.join(", "));
    let since_start = |at: Timestamp| Some(words::duration(at.duration_since(state.started?).unsigned_abs()));
    // One that has not ended goes on after its last event.
    let until = state.ended.or(state.latest.filter(|_| page.now.is_none()));
    match (until.and_then(since_start), page.now.and_then(since_start)) {
        (Some(took), _) => drop(write!(text, ". Took {took}.")),
        (None, Some(ago)) => drop(write!(text, ". Begun {ago} ago.")),
        (None, None) => {}
    }
    text.push('\n');
    if let Some(word) = &state.overridden {
        let what = format!("windows did not bind it, by the word of {}: {}", cell(&word.by), cell(&word.reason));
        text.push_str(&page.wrap(&page.paint(Tone::Odd, &what), 2));
    }
    if let Some(halt) = &state.halted {
        let word = if halt.nothing_left { "over budget" } else { "halted" };
        text.push_str(&page.wrap(&format!("{}: {}", page.paint(Tone::Bad, word), cell(&halt.reason)), 2));
    }
    text.push_str(&super::behind::behind(state, page).unwrap_or_default());
    let exit = state.exit.unwrap_or_else(|| state.exit_code());
    if exit != ExitCode::Good && !running {
        let _ = writeln!(text, "exit code {}: {}", exit.number(), meaning(exit));
    }
    text
}

/// Says what an exit code means, as `docs/exit-codes.md` does.
pub(super) fn meaning(exit: ExitCode) -> &'static str {
    match exit {
        ExitCode::Good => "all good",
        ExitCode::HostFailed => "a host failed",
        ExitCode::BadInput => "the command line or the documents are wrong",
        ExitCode::PersonNeeded => "a person is needed",
        ExitCode::SomeUnreachable => "some hosts could not be reached, the rest is good",
        ExitCode::Halted => "halted before all hosts were begun",
        ExitCode::Refused => "refused",
        ExitCode::Interrupted => "interrupted",
    }
}

/// Joins hosts into ranges.
pub(super) fn names_of(names: &[&HostName]) -> String {
    words::ranges(names.iter().map(|name| name.as_str())).join(", ")
}

/// The word for how a host stands, and how it is meant.
pub(super) fn standing(host: &HostState) -> (&'static str, Tone) {
    match host.outcome {
        Some(outcome) if outcome.is_good() && host.unverified().is_some() => (Verdict::Unverified.as_str(), Tone::Odd),
        Some(outcome) => (outcome.as_str(), tone(outcome)),
        None if host.started.is_none() => ("waiting", Tone::Quiet),
        None => ("unfinished", Tone::Bad),
    }
}

/// The word for a host at which `apply --check` only looked.
fn looked(host: &HostState) -> (&'static str, Tone) {
    match host.outcome {
        Some(outcome) if outcome.is_good() && changed(host) > 0 => ("would change", Tone::Odd),
        Some(outcome) if outcome.is_good() => ("unchanged", Tone::Good),
        _ => standing(host),
    }
}

fn changed(host: &HostState) -> usize {
    host.steps.values().filter(|step| step.outcome == Some(StepOutcome::Changed)).count()
}

fn would_change(host: &HostState) -> String {
    if host.outcome.is_some_and(HostOutcome::is_good) {
        format!("{} of {}", changed(host), host.steps_total)
    } else {
        String::new()
    }
}

pub(super) fn tone(outcome: HostOutcome) -> Tone {
    match outcome {
        HostOutcome::Done | HostOutcome::Unchanged => Tone::Good,
        HostOutcome::NotStarted => Tone::Quiet,
        HostOutcome::Undone
        | HostOutcome::Parked
        | HostOutcome::Unreachable
        | HostOutcome::Refused
        | HostOutcome::Interrupted => Tone::Odd,
        HostOutcome::Failed | HostOutcome::Held | HostOutcome::Stuck | HostOutcome::Unknown => Tone::Bad,
    }
}

/// How much a person should look at it: the worst stands last, where the eye is after a long run.
pub(super) fn severity(outcome: Option<HostOutcome>) -> u8 {
    match outcome {
        Some(HostOutcome::Done) => 0,
        Some(HostOutcome::Unchanged) => 1,
        Some(HostOutcome::NotStarted) => 2,
        Some(HostOutcome::Interrupted) => 3,
        Some(HostOutcome::Refused) => 4,
        Some(HostOutcome::Unreachable) => 5,
        Some(HostOutcome::Parked) => 6,
        Some(HostOutcome::Undone) => 7,
        Some(HostOutcome::Failed) => 8,
        None => 9,
        Some(HostOutcome::Held) => 10,
        Some(HostOutcome::Unknown) => 11,
        Some(HostOutcome::Stuck) => 12,
    }
}

/// How long hosts were down at most; of one that still is, since when.
fn downtime(state: &RunState, names: &[&HostName], page: &Page) -> String {
    let outages = || names.iter().filter_map(|name| state.hosts.get(*name)).map(|host| &host.downtime);
    if let Some(since) = outages().filter_map(|outage| outage.since).min() {
        return page.paint(Tone::Bad, &format!("since {}", page.clock(since)));
    }
    match outages().filter_map(Outage::length).max() {
        // Shorter than anybody would notice.
        Some(longest) if longest.0 < std::time::Duration::from_secs(1) => "<1s".to_owned(),
        Some(longest) if names.len() == 1 => words::duration(longest.0),
        Some(longest) => format!("up to {}", words::duration(longest.0)),
        None => String::new(),
    }
}

fn steps(host: &HostState) -> String {
    if host.steps_total == 0 || host.started.is_none() {
        return String::new();
    }
    format!("{}/{}", host.steps_reached(), host.steps_total)
}

pub(super) fn version(host: &HostState, page: &Page) -> String {
    let before = host.before.as_ref().map(|version| cell(version.as_str()));
    let after = host.after.as_ref().map(|version| cell(version.as_str()));
    match (before, after) {
        (Some(before), Some(after)) if before != after => format!("{before} {} {after}", page.arrow()),
        // A host that stopped half way may be on neither; the question mark says so.
        (Some(before), None) if host.steps.values().any(StepState::stands) => format!("{before} {} ?", page.arrow()),
        (_, Some(version)) | (Some(version), None) => version,
        (None, None) => host.version().map(cell).unwrap_or_default(),
    }
}

pub(super) fn health(host: &HostState) -> String {
    let Some(health) = host.health() else { return String::new() };
    let when = match health.phase {
        // A host that failed after its baseline has not been looked at since.
        Phase::Baseline if host.outcome.is_some_and(|outcome| !outcome.is_good()) => " before",
        Phase::Gate => " gates",
        _ => "",
    };
    match health.first_bad {
        // The soak asks nobody, so that all may be green in it.
        None if host.unverified().is_some() => {
            let asked = host.unverified().map(|check| format!("{}: {}", cell(&check.name), check.verdict));
            asked.unwrap_or_default()
        }
        None => format!("{}/{} green{when}", health.passed, health.total),
        Some(bad) if bad.verdict == Verdict::Fail => format!("{}: {}", cell(&bad.name), cell(&bad.seen)),
        Some(bad) => format!("{}: {} ({})", cell(&bad.name), bad.verdict, cell(&bad.seen)),
    }
}

/// Why a host is not good, in a few words. All causes stand below the table.
fn brief_cause(name: &HostName, host: &HostState) -> Option<String> {
    let command = || Some(super::exec::ending(host.command.as_ref().filter(|command| command.status != Some(0))?));
    let soak = || host.soak.as_ref().filter(|soak| soak.verdict != Verdict::Pass);
    let soaked = || soak().map(|soak| format!("soak: {}: {}", soak.verdict, soak.seen));
    let deferred = || Some(host.deferred.as_ref().filter(|_| host.outcome.is_none())?.1.clone());
    let brief = failure(host).map(|failure| failure.message.clone()).or_else(soaked).or_else(command).or_else(deferred);
    brief.map(|cause| line(&without_name(&cause, name), LONGEST_CAUSE))
}

/// Puts `the host` where a text names it: beside its name, and so that the same trouble reads the same. A path keeps it:
/// somebody may want to go there.
pub(super) fn without_name(text: &str, name: &HostName) -> String {
    let name = name.as_str();
    let is_part = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let is_address = before.ends_with("//");
        let in_path = !is_address && (before.ends_with('/') || after.starts_with('/'));
        let alone = !in_path && !before.ends_with(is_part) && !after.starts_with(is_part);
        let (before, after) = match (before.strip_suffix('`'), after.strip_prefix('`')) {
            (Some(before), Some(after)) => (before, after),
            _ => (before, after),
        };
        plain.push_str(before);
        plain.push_str(if alone { "the host" } else { name });
        rest = after;
    }
    plain + rest
}

/// The failure to blame for a host that is not good: its own, that of an undo, or that of a step.
fn failure(host: &HostState) -> Option<&Failure> {
    if host.failure.is_some() {
        return host.failure.as_ref();
    }
    if host.outcome.is_none_or(HostOutcome::is_good) {
        return None;
    }
    let undo = host.steps.values().find_map(|step| match &step.undo {
        UndoState::Failed(failure) => Some(failure),
        _ => None,
    });
    undo.or_else(|| host.steps.values().find_map(|step| step.outcome.as_ref().and_then(StepOutcome::failure)))
}
