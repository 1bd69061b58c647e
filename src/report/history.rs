//! What there was: the table of runs, and everything that was heard in one of them.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;

use super::{
    live::{LONGEST_SENTENCE as LONGEST, sentence, titled},
    page::{Page, Tone, block, cell, line},
    table::{meaning, severity, tone},
    words,
};
use crate::{
    event::{Event, Happening, RunState},
    model::{ExitCode, Failure, HostName, HostOutcome, RunNumber},
};

/// A run as `longshore history` lists it.
#[derive(Debug, Clone)]
pub struct RunRow {
    pub number: RunNumber,
    pub begun: Timestamp,
    pub ended: Option<Timestamp>,
    pub purpose: String,
    /// What a `look` was a look at, where that was no upgrade.
    pub looks_at: Option<String>,
    pub title: String,
    pub hosts: usize,
    pub outcomes: BTreeMap<HostOutcome, usize>,
    pub exit: Option<ExitCode>,
    /// A process works on it just now.
    pub running: bool,
}

/// Renders the table of runs, in the order given.
pub fn history(runs: &[RunRow], page: &Page) -> String {
    if runs.is_empty() {
        return "no runs yet\n".to_owned();
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let took = run.ended.map(|ended| words::duration(ended.duration_since(run.begun).unsigned_abs()));
            vec![
                run.number.to_string(),
                page.date(run.begun),
                took.unwrap_or_default(),
                titled(&run.purpose, run.looks_at.as_deref(), &run.title),
                run.hosts.to_string(),
                outcome(run, page),
            ]
        })
        .collect();
    page.table(&["run", "begun", "took", "what", "hosts", "result"], &rows)
}

fn outcome(run: &RunRow, page: &Page) -> String {
    let mut outcomes: Vec<_> = run.outcomes.iter().collect();
    outcomes.sort_by_key(|(outcome, _)| severity(Some(**outcome)));
    let mut parts: Vec<String> = outcomes
        .into_iter()
        .map(|(outcome, count)| page.paint(tone(*outcome), &format!("{count} {}", word(*outcome, &run.purpose))))
        .collect();
    match (run.exit, run.running) {
        (Some(ExitCode::Good), _) if parts.is_empty() => parts.push("good".to_owned()),
        (Some(exit @ (ExitCode::Halted | ExitCode::Interrupted | ExitCode::Refused)), _) => {
            parts.push(page.paint(
                Tone::Bad,
                match exit {
                    ExitCode::Halted => "halted",
                    ExitCode::Interrupted => "interrupted",
                    _ => "refused",
                },
            ));
        }
        (Some(_), _) => {}
        (None, true) => parts.push(page.paint(Tone::Odd, "running")),
        (None, false) => parts.push(page.paint(Tone::Bad, "cut off")),
    }
    parts.join(", ")
}

/// What became of a host, in the words of the tables of such a run.
fn word(outcome: HostOutcome, purpose: &str) -> &'static str {
    match (purpose, outcome) {
        ("check", HostOutcome::Unchanged) => "green",
        ("look", HostOutcome::Done) => "looked at",
        _ => outcome.as_str(),
    }
}

/// Says which run it is, above what else is told of it.
pub fn heading(state: &RunState, number: RunNumber, page: &Page) -> String {
    let title = titled(&state.purpose, state.looks_at.as_deref(), &state.title);
    let mut text = page.wrap(&page.paint(Tone::Strong, &title), 2);
    let begun = state.started.map(|at| format!(", begun {}", page.date(at))).unwrap_or_default();
    let id = state.run.as_ref().map(|id| format!(", id {id}")).unwrap_or_default();
    let hosts = words::count(state.hosts.len(), "host");
    text.push_str(&page.wrap(&format!("run {number}: {hosts}{begun}{id}"), 2));
    text.push('\n');
    text
}

/// Renders what people did about a run: notes that were read, approvals, promotions, pauses, an abort, windows set aside. Empty where
/// there was nothing of that sort.
pub fn people(events: &[Event], page: &Page) -> String {
    let mut text = String::new();
    let mut told = RunState::new();
    for event in events {
        let _ = told.apply(event);
        if let Happening::RunStarted { acknowledged, .. } = &event.what {
            for read in acknowledged {
                let said = format!("the notes of {} were read by {}", cell(read.version.as_str()), cell(&read.by));
                text.push_str(&page.wrap(&format!("{} {said}", page.date(read.at)), 2));
            }
        }
        let is_of_people = matches!(
            event.what,
            Happening::RunResumed { .. }
                | Happening::WavePromoted { .. }
                | Happening::Paused { .. }
                | Happening::Unpaused { .. }
                | Happening::Interrupted { .. }
                | Happening::WindowsOverridden { .. }
                | Happening::WayChosen { .. }
                | Happening::Approved { .. }
        );
        let Some(sentence) = sentence(event, &told, page).filter(|_| is_of_people) else { continue };
        let name = event.host.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        text.push_str(&page.wrap(&format!("{} {name}{sentence}", page.date(event.at)), 2));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// Renders everything that was heard in a run, or of one host of it, in the order it happened.
pub fn show(state: &RunState, number: RunNumber, events: &[Event], host: Option<&HostName>, page: &Page) -> String {
    let mut text = heading(state, number, page);
    let mut told = RunState::new();
    let mut known = Vec::new();
    for event in events {
        // A damaged history is still shown: only the fold for the wording of its lines stops.
        let _ = told.apply(event);
        if host.is_some() && event.host.as_ref() != host {
            continue;
        }
        let Some(sentence) = sentence(event, &told, page) else { continue };
        let name = event.host.as_ref().filter(|_| host.is_none()).map(|name| format!("{name}: ")).unwrap_or_default();
        let _ = writeln!(text, "{} {name}{}", page.clock(event.at), sentence);
        details(&mut text, event, &mut known);
    }
    if let Some(behind) = super::behind::behind(state, page).filter(|_| host.is_none()) {
        let _ = write!(text, "\n{behind}");
    }
    if let Some(exit) = state.exit.filter(|_| host.is_none()) {
        let _ = writeln!(text, "\nexit code {}: {}", exit.number(), meaning(exit));
    }
    text
}

/// Writes what an event carries beyond its sentence, indented below it. A failure is told in full once.
fn details<'a>(text: &mut String, event: &'a Event, known: &mut Vec<&'a Failure>) {
    let mut put = |label: &str, said: &str| {
        for said in block(said).lines() {
            let _ = writeln!(text, "         {label}{said}");
        }
    };
    let failure = match &event.what {
        Happening::StepFinished { outcome, .. } => outcome.failure(),
        Happening::UnwindStarted { failure } | Happening::LinkLost { failure } => Some(failure),
        Happening::UndoFinished { failure, .. } | Happening::HostFinished { failure, .. } => failure.as_ref(),
        _ => None,
    };
    if let Some(failure) = failure.filter(|failure| !known.contains(failure)) {
        known.push(failure);
        if failure.to_string().chars().count() > LONGEST {
            for cause in &failure.causes {
                put("cause: ", cause);
            }
        }
        for said in &failure.output {
            put("| ", said);
        }
        if let Some(hint) = &failure.hint {
            put("hint: ", hint);
        }
    }
    match &event.what {
        Happening::RunStarted { acknowledged, .. } => {
            for read in acknowledged {
                put("acknowledged: ", &format!("{} by {}", read.version, read.by));
            }
        }
        Happening::StepFinished { outcome, receipt, difference, output, .. } => {
            if outcome.failure().is_none_or(|failure| failure.output != *output) {
                for said in output {
                    put("| ", said);
                }
            }
            if let Some(difference) = difference {
                put("", difference);
            }
            for (fact, value) in &receipt.0 {
                put(&format!("{}: ", line(fact, 40)), value);
            }
        }
        Happening::CommandFinished { out, err, .. } => {
            put("| ", out);
            put("err | ", err);
        }
        _ => {}
    }
}
