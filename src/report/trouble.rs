//! What went wrong, in full: once for all hosts to which the same happened, then what to type next.

use std::fmt::Write as _;

use indexmap::{IndexMap, IndexSet};

use super::{
    page::{Page, Tone, line},
    table::{names_of, severity, without_name},
    words,
};
use crate::{
    event::{HostState, RunState, UndoState, WaveState},
    model::{Failure, FailureClass, HostName, HostOutcome, RunNumber, Verdict},
};

/// Most different troubles told in full. More than that is not read, and `history show` has it all.
const MOST: usize = 12;

/// Last lines of a host shown with its trouble.
const LINES: usize = 5;

/// Begins the lines that say why.
const CAUSE: &str = "cause: ";

/// Longest line shown, in characters.
const LONGEST: usize = 400;

/// Hosts by how bad it is and what is told of them.
type Troubles<'a> = IndexMap<(u8, Vec<String>), Vec<(&'a HostName, &'a HostState)>>;

pub(super) fn trouble(state: &RunState, number: Option<RunNumber>, page: &Page) -> String {
    let mut troubles: Troubles<'_> = IndexMap::new();
    for (name, host) in &state.hosts {
        let Some(outcome) = host.outcome.filter(|outcome| is_trouble(*outcome)) else { continue };
        let told = tell(name, host, outcome, &state.purpose);
        if !told.is_empty() {
            troubles.entry((severity(host.outcome), told)).or_default().push((name, host));
        }
    }
    troubles.sort_by(|left, _, right, _| left.0.cmp(&right.0));

    let mut text = String::new();
    let mut hints = IndexSet::new();
    let mut advised: IndexMap<String, Vec<&HostName>> = IndexMap::new();
    let mut heard: IndexSet<&HostName> = IndexSet::new();
    let left_out = troubles.len().saturating_sub(MOST);
    let is_one_of_many = troubles.len() > 1;
    // The worst stand last, so it is the first that are left out.
    for ((_, told), hosts) in troubles.into_iter().skip(left_out) {
        let names: Vec<_> = hosts.iter().map(|(name, _)| *name).collect();
        let (first, host) = hosts[0];
        let said = host.outcome.map_or("", |outcome| saying(outcome, in_a_step(host), names.len()));
        let title = format!("{}: `{}` {said}", page.paint(Tone::Bad, "error"), names_of(&names));
        let _ = write!(text, "\n{}", page.wrap(&title, 2));
        let failure = host.failure.as_ref().or(host.unwound_for.as_ref());
        let (causes, rest): (Vec<_>, Vec<_>) = told.iter().partition(|sentence| sentence.starts_with(CAUSE));
        for sentence in causes {
            text.push_str(&page.wrap(&format!("  {sentence}"), 4));
        }
        let output = failure.map(|failure| failure.output.as_slice()).unwrap_or_default();
        for said in &output[output.len().saturating_sub(LINES)..] {
            let _ = writeln!(text, "  {first} | {}", line(said, LONGEST));
        }
        for sentence in rest {
            text.push_str(&page.wrap(&format!("  {sentence}"), 4));
        }
        if let Some(hint) = failure.and_then(|failure| failure.hint.as_deref()) {
            // The same advice for several hosts is given once, with all their names.
            let mut advice = line(hint, LONGEST).replace(&format!("`{first}`"), "`HOST`");
            if let (Some(run), Some(number)) = (&state.run, number) {
                advice = advice.replace(run.as_str(), &number.to_string());
            }
            advised.entry(advice).or_default().extend(&names);
        }
        // Nothing more than the cause was heard of a host on which nothing ran.
        if !host.steps.is_empty() || !host.checks.is_empty() {
            heard.insert(first);
        }
    }
    for (advice, names) in advised {
        let all = names_of(&names);
        // Among several troubles, advice says whom it is for.
        let says_whom =
            !is_one_of_many || advice.contains("`HOST`") || names.iter().any(|name| advice.contains(name.as_str()));
        let advice = advice.replace("`HOST`", &format!("`{all}`"));
        hints.insert(if says_whom { advice } else { format!("{all}: {advice}") });
    }
    let rollout = !matches!(state.purpose.as_str(), "check" | "exec" | "look");
    if let Some(number) = number.filter(|_| rollout && state.ended.is_some()) {
        hints.extend(ways_on(state, number));
    }
    if let (Some(number), Some(first)) = (number, heard.first()) {
        let name = if heard.len() == 1 { first.as_str() } else { "HOST" };
        hints.insert(format!("`longshore history show {number} --host {name}` prints everything that was said there"));
    }
    if left_out > 0 {
        let _ = writeln!(text, "\nand {} more, told by `longshore history show`", words::count(left_out, "trouble"));
    }
    text.push('\n');
    for hint in &hints {
        text.push_str(&page.wrap(&format!("{}: {hint}", page.paint(Tone::Strong, "hint")), 2));
    }
    if !hints.is_empty() {
        text.push('\n');
    }
    text
}

/// Names the commands that take hosts further once a rollout has ended.
fn ways_on(state: &RunState, number: RunNumber) -> Vec<String> {
    use HostOutcome::{Failed, Interrupted, NotStarted, Parked, Undone, Unreachable};
    let any = |which: &dyn Fn(Option<HostOutcome>) -> bool| state.hosts.values().any(|host| which(host.outcome));
    let mut ways = Vec::new();
    let shut = |host: &HostState| host.failure.as_ref().is_some_and(|failure| failure.class == FailureClass::Window);
    let open = |host: &HostState| matches!(host.outcome, None | Some(Interrupted | NotStarted)) && !shut(host);
    let has = |wave: &WaveState, which: &dyn Fn(&HostState) -> bool| {
        wave.hosts.iter().filter_map(|name| state.hosts.get(name)).any(which)
    };
    let is_good = |host: &HostState| host.outcome.is_some_and(HostOutcome::is_good);
    for wave in state.waves.iter().filter(|wave| wave.ended.is_none() && has(wave, &is_good)) {
        // The budget may halt for hosts that failed before; here it is the soak that let nobody go on.
        let name = &wave.name;
        match wave.soak {
            Some(Verdict::Inconclusive | Verdict::Error | Verdict::Unverified) => ways.push(format!(
                "the soak of {name} says nothing about the release: mend what is red, then `longshore resume {number}` begins it anew"
            )),
            Some(Verdict::Fail) => ways.push(format!(
                "the release did not stay green on {name}: mend it there and `longshore resume {number}` begins the soak anew, \
                 or leave the others as they are"
            )),
            // Where others are still to begin, that goes on with it as well.
            _ if wave.soaking.is_some() && !state.hosts.values().any(open) => ways.push(format!(
                "the soak of {name} was cut off: `longshore resume {number}` watches for the time that is missing"
            )),
            _ => {}
        }
    }
    if state.hosts.values().any(shut) {
        ways.push(format!(
            "`longshore retry {number} --not-started` takes the hosts that were outside their windows; with `--wait` it waits \
             for them"
        ));
    }
    // A wave of which no host ended well lets no other begin.
    let barred = state.waves.iter().find(|wave| wave.ended.is_none());
    let barred = barred.filter(|wave| !has(wave, &|host| is_good(host) || open(host) || shut(host)));
    if state.hosts.values().any(open) && barred.is_none() {
        ways.push(format!("`longshore resume {number}` goes on with the hosts that are not finished"));
    }
    let closed = |host: &HostState| {
        let class = host.failure.as_ref().map(|failure| failure.class);
        host.outcome == Some(Failed) && class == Some(FailureClass::GivenUp)
    };
    let failed = |host: &HostState| matches!(host.outcome, Some(Failed | Undone | Parked)) && !closed(host);
    if state.hosts.values().any(failed) {
        ways.push(format!("once mended, `longshore retry {number} --failed` takes them through the plan again"));
    }
    // One whose state is lost, or that refuses steps, has a way of its own, which its hint says.
    let chooses = |host: &HostState| {
        let class = host.failure.as_ref().map(|failure| failure.class);
        host.outcome == Some(HostOutcome::Held) && !matches!(class, Some(FailureClass::Unknown | FailureClass::Refused))
    };
    let held = |after_data: bool| {
        let held = state.hosts.iter().filter(move |(_, host)| chooses(host) && (host.incidents > 0) == after_data);
        held.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    for after_data in [true, false] {
        let hosts = held(after_data);
        let Some(first) = hosts.first() else { continue };
        let host = if hosts.len() == 1 { *first } else { "HOST" };
        let way = |way: &str, does: &str| format!("`longshore resume {number} --as {way} --host {host}` {does}");
        ways.push(way("roll-forward", "goes on with the step that failed, once that is mended"));
        if after_data {
            ways.push(way(
                "code-rollback",
                "points the code back and leaves the data new: only if the old release can run on it",
            ));
        } else {
            ways.push(way("code-rollback", "takes the host's steps back"));
        }
        let has_backup = |name: &&&str| state.hosts.iter().any(|(host, of)| host.as_str() == **name && has_backup(of));
        if let Some(first) = hosts.iter().find(has_backup).filter(|_| after_data) {
            let host = if hosts.len() == 1 { *first } else { "HOST" };
            let way = |does: &str| format!("`longshore resume {number} --as restore --host {host}` {does}");
            ways.push(way("copies the data as it is, puts back this run's backup and the code of before; what was written since is lost, so it asks first"));
        }
    }
    if any(&|outcome| outcome == Some(Unreachable)) {
        ways.push(format!("`longshore retry {number} --unreached` tries the hosts again that could not be reached"));
    }
    if let Some(wave) = barred.filter(|_| state.hosts.values().any(open)) {
        let name = &wave.name;
        ways.push(format!(
            "once a host of {name} ended well, `longshore resume {number}` goes on with the hosts that are not finished"
        ));
    }
    ways
}

/// Whether the run left a verified backup of the host that its role could put back.
fn has_backup(host: &HostState) -> bool {
    !host.no_restore
        && host.steps.values().any(|step| {
            let is_good = step.outcome.as_ref().is_some_and(crate::model::StepOutcome::is_good);
            is_good && step.receipt.get("verified").is_some_and(|how| !how.trim().is_empty())
        })
}

fn is_trouble(outcome: HostOutcome) -> bool {
    !outcome.is_good() && outcome != HostOutcome::NotStarted
}

/// Whether a step was begun of which nothing more was heard.
fn in_a_step(host: &HostState) -> bool {
    host.steps.values().any(|step| step.outcome.is_none())
}

/// Says how a host stands after its trouble, for one host or several.
fn saying(outcome: HostOutcome, in_a_step: bool, hosts: usize) -> &'static str {
    let one = hosts == 1;
    match outcome {
        HostOutcome::Done | HostOutcome::Unchanged => "",
        HostOutcome::Undone if one => "failed and was taken back to where it was",
        HostOutcome::Undone => "failed and were taken back to where they were",
        HostOutcome::Failed => "failed",
        HostOutcome::Parked if one => "was red before anything was done, and was left as found",
        HostOutcome::Parked => "were red before anything was done, and were left as found",
        HostOutcome::Held if one => "waits for a person",
        HostOutcome::Held => "wait for a person",
        HostOutcome::Stuck if one => "is stuck: it is not back where it was",
        HostOutcome::Stuck => "are stuck: they are not back where they were",
        HostOutcome::Unknown if one => "is in doubt: nobody can tell whether a step happened",
        HostOutcome::Unknown => "are in doubt: nobody can tell whether a step happened",
        HostOutcome::Unreachable => "could not be reached",
        HostOutcome::Refused if one => "was refused",
        HostOutcome::Refused => "were refused",
        HostOutcome::Interrupted if in_a_step && one => "was left in the middle of a step",
        HostOutcome::Interrupted if in_a_step => "were left in the middle of a step",
        HostOutcome::Interrupted if one => "was stopped between two steps",
        HostOutcome::Interrupted => "were stopped between two steps",
        HostOutcome::NotStarted => "not started",
    }
}

/// The causes, what was taken back and what was not. Hosts with the same answer are told together.
fn tell(name: &HostName, host: &HostState, outcome: HostOutcome, purpose: &str) -> Vec<String> {
    let causes = |failure: &Failure| -> Vec<String> {
        let same = |text: &str| without_name(&line(text, LONGEST), name);
        std::iter::once(&failure.message)
            .chain(&failure.causes)
            .map(|cause| format!("{CAUSE}{}", same(cause)))
            .collect()
    };
    let mut told = host.unwound_for.as_ref().map(causes).unwrap_or_default();
    if let Some(failure) = &host.failure {
        let last = causes(failure);
        // What was tried again and failed for the same is told once.
        if last.starts_with(&told) {
            told = last;
        } else if !last.iter().all(|cause| told.contains(cause)) {
            told.extend(last);
        }
    }
    if let Some(bad) = host.health().and_then(|health| health.first_bad) {
        let (check, seen) = (line(&bad.name, LONGEST), line(&bad.seen, LONGEST));
        let is_told =
            |cause: &String| cause.contains(&format!("`{check}`")) && cause.contains(&without_name(&seen, name));
        if !told.iter().any(is_told) {
            told.push(format!("check: {check}: {} ({seen})", bad.verdict));
        }
    }
    let undone: Vec<_> = host
        .steps
        .values()
        .rev()
        .filter(|step| step.undo == UndoState::Undone)
        .map(|step| line(&step.name, 80))
        .collect();
    let kept: Vec<_> = host
        .steps
        .values()
        .filter(|step| step.stands())
        .map(|step| match step.receipt.get("path") {
            Some(path) => format!("{} ({})", line(&step.name, 80), line(path, 200)),
            None => line(&step.name, 80),
        })
        .collect();
    let half: Vec<_> = host
        .steps
        .values()
        .filter(|step| {
            let ended_well = step.outcome.as_ref().is_some_and(crate::model::StepOutcome::is_good);
            // What was refused did not begin, and what was not confirmed was taken back by the host.
            let refused = step.outcome.as_ref().and_then(crate::model::StepOutcome::failure).is_some_and(|failure| {
                matches!(failure.class, crate::model::FailureClass::Refused | crate::model::FailureClass::Gate)
            });
            !ended_well && !refused && step.undo != UndoState::Undone
        })
        .map(|step| line(&step.name, 80))
        .collect();
    let mut parts = Vec::new();
    if !undone.is_empty() {
        parts.push(format!("undone: {}", undone.join(", ")));
    }
    if !kept.is_empty() {
        parts.push(format!("{}: {}", if undone.is_empty() { "done" } else { "kept" }, kept.join(", ")));
    }
    if !half.is_empty() && outcome != HostOutcome::Undone {
        parts.push(format!("may have half happened: {}", half.join(", ")));
    }
    let is_rollout = !matches!(purpose, "check" | "exec" | "look");
    let may_have_begun = !host.steps.is_empty() || host.segment.is_some();
    if is_rollout
        && !may_have_begun
        && matches!(outcome, HostOutcome::Failed | HostOutcome::Refused | HostOutcome::Unreachable)
    {
        told.push("nothing was begun on it".to_owned());
    }
    // Looking did nothing, whatever it found.
    let has_acted = purpose != "look";
    if has_acted && !parts.is_empty() {
        told.push(parts.join(". "));
    }
    told
}

#[cfg(test)]
mod tests;
