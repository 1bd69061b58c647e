//! A plan, or what became of it, as a checklist in Markdown: to be ticked by hand, or as a record of who did what.

use std::fmt::Write as _;

use super::{
    page::{Page, cell, line},
    plan::{Detail, alike},
    table::{names_of, standing},
    words,
};
use crate::{
    event::{CheckState, HostState, Phase, RunState, StepState, UndoState},
    model::{Downtime, RunNumber, StepOutcome, StepPart, Verdict},
    plan::{HostPlan, Plan},
};

/// Longest cause beside a box, in characters.
const LONGEST: usize = 200;

/// Renders a plan as a list of open boxes: what is looked at before, each step, what must hold after. Hosts for which
/// the same is planned share a list.
pub fn checklist(plan: &Plan, page: &Page) -> String {
    let mut text = format!("# {}\n\n", escape(&plan.title));
    let to = plan.wanted.as_ref().map(|to| format!(" to {}", escape(to.as_str()))).unwrap_or_default();
    let (hosts, waves) = (words::count(plan.hosts.len(), "host"), words::count(plan.waves.len(), "wave"));
    let _ = writeln!(text, "{hosts}{to} in {waves}. Plan of {}.\n", page.date(plan.made_at));
    for (names, host) in alike(plan, Detail::Brief, &|_| String::new()) {
        let from =
            host.stated.as_ref().or(host.found.as_ref()).map(|found| format!(", now {}", escape(found.as_str())));
        let _ = writeln!(text, "## {}{}\n", escape(&names_of(&names)), from.unwrap_or_default());
        let before: Vec<_> = host.gates.iter().map(|gate| gate.name.clone()).collect();
        boxes(&mut text, "Before", &before);
        boxes(&mut text, "Steps", &steps_of(host));
        let after: Vec<_> = host.checks.iter().map(|check| check.name.clone()).collect();
        boxes(&mut text, "After", &after);
    }
    for (name, host) in &plan.hosts {
        if let Some(refused) = &host.refused {
            let _ = writeln!(
                text,
                "- [ ] {}: left as it is, {}",
                escape(name.as_str()),
                escape(&line(&refused.reason, LONGEST))
            );
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Each step with what an operator has to know of it beforehand.
fn steps_of(host: &HostPlan) -> Vec<String> {
    let of_step = |(index, step): (usize, &crate::plan::PlannedStep)| {
        let mut notes = Vec::new();
        match step.timing.downtime {
            Some(Downtime::Begins) => notes.push("down from here"),
            Some(Downtime::During) if step.timing.proven_at.is_some() => notes.push("down from here"),
            Some(Downtime::During) if host.is_proven_at_end() => notes.push("down from here until the checks pass"),
            Some(Downtime::During) => notes.push("down meanwhile"),
            Some(Downtime::Ends) if step.timing.proven_at.is_some() => {}
            Some(Downtime::Ends) if host.is_proven_at_end() => notes.push("down until the checks pass"),
            Some(Downtime::Ends) => notes.push("up again"),
            None => {}
        }
        if host.steps.iter().any(|other| other.timing.proven_at == Some(index)) {
            notes.push("up again");
        }
        if host.point_of_no_return == Some(index) {
            notes.push("the point of no return");
        }
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        format!("{}. {}{notes}", index + 1, step.name)
    };
    host.steps.iter().enumerate().map(of_step).collect()
}

fn boxes(text: &mut String, title: &str, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let _ = writeln!(text, "{title}:\n");
    for name in names {
        let _ = writeln!(text, "- [ ] {}", escape(&cell(name)));
    }
    text.push('\n');
}

/// Renders what became of a run: a ticked box for what was done and holds, an open one with the reason for the rest.
pub fn done_checklist(state: &RunState, number: RunNumber, page: &Page) -> String {
    let mut text = format!("# {}\n\n", escape(&state.title));
    let begun = state.started.map(|at| format!(", begun {}", page.date(at))).unwrap_or_default();
    let _ = writeln!(text, "Run {number}: {}{begun}.\n", words::count(state.hosts.len(), "host"));
    for (name, host) in &state.hosts {
        let (word, _) = standing(host);
        let _ = writeln!(text, "## {}: {word}\n", escape(name.as_str()));
        for (title, phases) in [("Before", [Phase::Baseline, Phase::Gate]), ("", [Phase::After, Phase::Unwound])] {
            if title.is_empty() {
                done_steps(&mut text, host);
            }
            for (phase, heading) in phases.map(|phase| (phase, heading(phase))) {
                done_checks(&mut text, heading, host.checks.iter().filter(|check| check.phase == phase));
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn heading(phase: Phase) -> &'static str {
    match phase {
        Phase::Baseline => "Healthy before",
        Phase::Gate => "Before",
        Phase::Unwound => "After it was taken back",
        Phase::After | Phase::Soak | Phase::Control | Phase::Sweep => "After",
    }
}

fn done_checks<'a>(text: &mut String, title: &str, checks: impl Iterator<Item = &'a CheckState>) {
    let mut checks = checks.peekable();
    if checks.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "{title}:\n");
    for check in checks {
        let name = escape(&cell(&check.name));
        let _ = match check.verdict {
            Verdict::Pass => writeln!(text, "- [x] {name}"),
            verdict => writeln!(text, "- [ ] {name}: {verdict}, {}", escape(&line(&check.seen, LONGEST))),
        };
    }
    text.push('\n');
}

fn done_steps(text: &mut String, host: &HostState) {
    if host.steps_total == 0 && host.steps.is_empty() {
        return;
    }
    text.push_str("Steps:\n\n");
    let of_part = |part: fn(&StepPart) -> bool| host.steps.values().filter(move |step| part(&step.part));
    let mut begun = 0;
    for step in of_part(StepPart::is_main) {
        begun += 1;
        done_step(text, &format!("{begun}. "), step);
    }
    if begun < host.steps_total {
        let _ = writeln!(text, "- [ ] {} not begun", words::count(host.steps_total - begun, "further step"));
    }
    for step in of_part(|part| !part.is_main()) {
        done_step(text, "", step);
    }
    text.push('\n');
}

fn done_step(text: &mut String, number: &str, step: &StepState) {
    let name = escape(&cell(&step.name));
    let took = step.took.map(|took| format!(", {}", words::duration(took.0))).unwrap_or_default();
    let why = |failure: &crate::model::Failure| escape(&line(&failure.to_string(), LONGEST));
    let _ = match (&step.outcome, &step.undo) {
        (Some(outcome), UndoState::Undone) if outcome.is_good() => {
            writeln!(text, "- [ ] {number}{name}: done and taken back")
        }
        (_, UndoState::Failed(failure)) => {
            writeln!(text, "- [ ] {number}{name}: taking it back failed, {}", why(failure))
        }
        (Some(StepOutcome::Changed), _) => writeln!(text, "- [x] {number}{name}{took}"),
        (Some(StepOutcome::Unchanged), _) => writeln!(text, "- [x] {number}{name}, nothing to do"),
        (Some(StepOutcome::Skipped { reason }), _) => {
            writeln!(text, "- [x] {number}{name}, skipped: {}", escape(&line(reason, LONGEST)))
        }
        (Some(StepOutcome::Failed { failure }), _) => writeln!(text, "- [ ] {number}{name}: failed, {}", why(failure)),
        (Some(StepOutcome::Unknown { failure }), _) => {
            writeln!(text, "- [ ] {number}{name}: unknown, {}", why(failure))
        }
        (None, _) => writeln!(text, "- [ ] {number}{name}: begun"),
    };
}

/// Names come from documents and hosts: nothing in them is Markdown.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
