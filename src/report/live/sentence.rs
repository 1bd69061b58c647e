//! An event as one line for a person, without its time and host.

use std::fmt::Write as _;

use super::board::phase_word;
use crate::{
    event::{Event, Happening, HostState, Phase, RunState, StepState, UndoState},
    model::{Effect, Failure, HostOutcome, StepId, StepOutcome, StepPart, Verdict},
    report::{
        exec::ending,
        page::{Page, Tone, cell, line},
        table::{meaning, names_of, tone, version},
        words,
    },
};

/// Longest sentence of a failure in a line, in characters.
pub(in crate::report) const LONGEST: usize = 240;

/// Says what happened, given the state after it. `None` for what is not worth a line.
pub(in crate::report) fn sentence(event: &Event, state: &RunState, page: &Page) -> Option<String> {
    let host = event.host.as_ref().and_then(|name| state.hosts.get(name));
    Some(match &event.what {
        Happening::RunStarted { title, purpose, looks_at, .. } => {
            let hosts = words::count(state.hosts.len(), "host");
            let waves = match state.waves.len() {
                0 | 1 => String::new(),
                waves => format!(" in {}", words::count(waves, "wave")),
            };
            format!("{}: {hosts}{waves}", titled(purpose, looks_at.as_deref(), title))
        }
        Happening::WaveStarted { wave, name } => {
            let names: Vec<_> = state.waves.get(*wave).map(|wave| wave.hosts.iter().collect()).unwrap_or_default();
            let wave = format!("{}: {}", cell(name), line(&names_of(&names), LONGEST));
            page.paint(Tone::Strong, &wave)
        }
        Happening::HostStarted { .. }
        | Happening::LeaseTaken { .. }
        | Happening::SegmentSent { .. }
        | Happening::FactRead { .. }
        | Happening::UndoStarted { .. }
        // The green ones are told by the wave's verdict.
        | Happening::HostSoaked { verdict: Verdict::Pass, .. }
        | Happening::Unknown => return None,
        Happening::Connected { address, user, .. } => format!("connected to {} as {}", cell(address), cell(user)),
        Happening::CheckFinished { phase, check, verdict, seen, .. } => {
            // While it is green, a soak looks too often to be told each time.
            if matches!(phase, Phase::Soak | Phase::Control) && *verdict == Verdict::Pass {
                return None;
            }
            let tone = match verdict {
                Verdict::Pass => Tone::Good,
                Verdict::Fail => Tone::Bad,
                Verdict::Inconclusive | Verdict::Error | Verdict::Unverified => Tone::Odd,
            };
            let verdict = page.paint(tone, verdict.as_str());
            format!("check ({}) {}: {verdict}: {}", phase_word(*phase), cell(check), line(seen, LONGEST))
        }
        Happening::RunRecovered { by, planned, silent } => {
            let silent = if silent.is_empty() { String::new() } else { format!(", {} silent", silent.len()) };
            let planned = words::count(*planned, "host");
            format!("written anew by {} from what the hosts know ({planned} planned{silent})", cell(by))
        }
        Happening::RunResumed { by, purpose, hosts } => {
            let of_hosts = match hosts.len() {
                // For the soak of a wave whose hosts have all ended.
                0 => String::new(),
                count => format!(" for {}", words::count(count, "host")),
            };
            format!("{}: taken up by {}{of_hosts}", cell(purpose), cell(by))
        }
        Happening::WavePromoted { wave, by, reason } => {
            let name = state.waves.get(*wave).map_or_else(String::new, |wave| cell(&wave.name));
            format!("{name} was promoted by {}{}", cell(by), because(reason.as_deref()))
        }
        Happening::Paused { by, reason } => {
            format!("{} by {}{}", page.paint(Tone::Odd, "paused"), cell(by), because(reason.as_deref()))
        }
        Happening::Unpaused { by, reason } => {
            format!("the pause was ended by {}{}", cell(by), because(reason.as_deref()))
        }
        Happening::WindowsOverridden { by, reason } => {
            let what = page.paint(Tone::Odd, "windows do not bind this run");
            format!("{what}, by the word of {}: {}", cell(by), line(reason, LONGEST))
        }
        Happening::HostDeferred { reason, .. } => format!("waits: {}", line(reason, LONGEST)),
        Happening::StepFound { step, done, evidence, by, undo, .. } => {
            let of = if *undo { " undo" } else { "" };
            let found = if *done { "found done" } else { "found not done" };
            let by = by.as_ref().map(|by| format!(" by {}", cell(by))).unwrap_or_default();
            format!("{}{of} {found}{by}: {}", position(host, step), line(evidence, LONGEST))
        }
        Happening::StepStarted { step, name, attempt, .. } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            format!("{} {}{again}", position(host, step), cell(name))
        }
        Happening::StepFinished { step, outcome, took, .. } => {
            let took = words::duration((*took).into());
            let ended = match outcome {
                StepOutcome::Unchanged if only_reads(host, step) => {
                    format!("{} ({took})", page.paint(Tone::Good, "ok"))
                }
                StepOutcome::Unchanged => format!("nothing to do ({took})"),
                StepOutcome::Changed => page.paint(Tone::Good, &format!("done in {took}")),
                StepOutcome::Skipped { reason } => format!("skipped: {}", line(reason, LONGEST)),
                StepOutcome::Failed { failure } => {
                    let why = line(&without_step(failure, host, step), LONGEST);
                    format!("{} after {took}: {why}", page.paint(Tone::Bad, "failed"))
                }
                StepOutcome::Unknown { failure } => {
                    let why = line(&failure.to_string(), LONGEST);
                    format!("{} after {took}: {why}", page.paint(Tone::Bad, "in doubt"))
                }
            };
            format!("{} {}: {ended}", position(host, step), step_name(host, step))
        }
        Happening::IncidentStarted { failure, .. } => {
            let what = page.paint(Tone::Bad, "failed after data was changed");
            format!("{what}: {}; what the role prepared for that is done now", line(&failure.message, LONGEST))
        }
        Happening::WayChosen { way, by } => format!("{} was chosen by {}", way, cell(by)),
        Happening::Approved { approval } => {
            let backup = approval.backup.map(|at| format!(" of the backup of {at}")).unwrap_or_default();
            let what = match approval.steps.as_slice() {
                [] => cell(&approval.action).clone(),
                steps => words::and(&steps.iter().map(|step| format!("irreversible `{}`", cell(step))).collect::<Vec<_>>()),
            };
            let how = if approval.how == "typed" { "at a terminal" } else { "in a file of approvals" };
            format!("{what}{backup} was approved by {} {how}", cell(&approval.by))
        }
        Happening::UnwindStarted { failure } => {
            // The causes stand with the step or the check that failed, a line or two above.
            format!("{}: {}", page.paint(Tone::Odd, "is taken back"), line(&failure.message, LONGEST))
        }
        Happening::UndoFinished { step, failure, took, .. } => {
            let name = step_name(host, step);
            match failure {
                None => format!("took back {name} in {}", words::duration((*took).into())),
                Some(failure) => {
                    let why = line(&failure.to_string(), LONGEST);
                    format!("{} {name}: {why}", page.paint(Tone::Bad, "could not take back"))
                }
            }
        }
        Happening::LinkLost { failure } => {
            format!("{}: {}", page.paint(Tone::Odd, "link lost"), line(&failure.to_string(), LONGEST))
        }
        Happening::LinkRestored { after } => format!("link restored after {}", words::duration((*after).into())),
        Happening::HostFinished { outcome, took, .. } => finished(*outcome, (*took).into(), host, page),
        Happening::SoakStarted { wave, length } => {
            format!("{} soaks for {length}", wave_name(state, *wave))
        }
        Happening::SoakFinished { wave, verdict } => format!("soak of {}: {verdict}", wave_name(state, *wave)),
        Happening::HostSoaked { verdict, seen, .. } => {
            let tone = if *verdict == Verdict::Fail { Tone::Bad } else { Tone::Odd };
            format!("soak: {}: {}", page.paint(tone, verdict.as_str()), line(seen, LONGEST))
        }
        Happening::WaveFinished { wave } => format!("{} is finished", wave_name(state, *wave)),
        Happening::CommandFinished { total, .. } => {
            let ending = host.and_then(|host| host.command.as_ref()).map(ending).unwrap_or_default();
            format!("ended with {ending}, printed {}", words::bytes(*total))
        }
        Happening::Halted { reason, nothing_left: true, .. } => {
            format!("{}: {}", page.paint(Tone::Bad, "over budget"), line(reason, LONGEST))
        }
        Happening::Halted { reason, .. } => {
            format!("{}: {}; no new hosts are begun", page.paint(Tone::Bad, "halted"), line(reason, LONGEST))
        }
        Happening::Interrupted { detached: false, by, reason } => {
            let what = page.paint(Tone::Odd, "interrupted: hosts not begun were left alone");
            let by = by.as_ref().map(|by| format!(", by the word of {}", cell(by))).unwrap_or_default();
            format!("{what}{by}{}", because(reason.as_deref()))
        }
        Happening::Interrupted { detached: true, .. } => detached(state, page),
        Happening::RunFinished { exit } => format!("run finished: {}", meaning(*exit)),
    })
}

/// What a person gave as the reason, where one was given.
fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {}", line(reason, LONGEST))).unwrap_or_default()
}

fn finished(outcome: HostOutcome, took: std::time::Duration, host: Option<&HostState>, page: &Page) -> String {
    let mut text = page.paint(tone(outcome), outcome.as_str());
    if let Some(host) = host {
        let version = version(host, page);
        if outcome.is_good() && !version.is_empty() {
            let _ = write!(text, ", {version}");
        }
        if let Some(failure) = &host.failure {
            // What a step failed of was told with the step.
            let of_step = |step: &StepState| step.outcome.as_ref()?.failure().map(|failure| failure.message.clone());
            let told = host.steps.values().any(|step| of_step(step).as_ref() == Some(&failure.message));
            let why = if told { failure.message.clone() } else { failure.to_string() };
            let _ = write!(text, ": {}", line(&why, LONGEST));
        }
    }
    if took.is_zero() { text } else { format!("{text} (took {})", words::duration(took)) }
}

/// Says which host was in the middle of what: nobody watches over it any more.
fn detached(state: &RunState, page: &Page) -> String {
    let unfinished = |host: &HostState| {
        let step = host.steps.values().rev().find(|step| step.outcome.is_none() || step.undo == UndoState::Running)?;
        let doing = if step.undo == UndoState::Running { "taking back " } else { "" };
        Some(format!("({doing}{})", cell(&step.name)))
    };
    let hosts: Vec<_> = state
        .hosts
        .iter()
        .filter(|(_, host)| host.started.is_some() && host.outcome.is_none_or(|o| o == HostOutcome::Interrupted))
        .filter_map(|(name, host)| Some(format!("{name} {}", unfinished(host)?)))
        .collect();
    let told = page.paint(Tone::Bad, "detached");
    if hosts.is_empty() {
        format!("{told}: no host was in the middle of a step")
    } else {
        format!("{told}: left in the middle: {}", hosts.join(", "))
    }
}

/// The command line that a run's purpose stands for.
fn command(purpose: &str, looks_at: Option<&str>) -> String {
    match purpose {
        "look" => format!("{} --check", cell(looks_at.unwrap_or("apply"))),
        other => cell(other),
    }
}

/// What was typed, and what it is about: `apply Upgrade the shop`. A title that begins with the command has it once.
pub(in crate::report) fn titled(purpose: &str, looks_at: Option<&str>, title: &str) -> String {
    let (command, title) = (command(purpose, looks_at), cell(title));
    let begins = title.get(..command.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(&command));
    if begins { title } else { format!("{command} {title}") }
}

fn only_reads(host: Option<&HostState>, step: &StepId) -> bool {
    host.and_then(|host| host.steps.get(step)).is_some_and(|step| step.effect == Some(Effect::Read))
}

/// Why a step failed, without saying again that it did.
fn without_step(failure: &Failure, host: Option<&HostState>, step: &StepId) -> String {
    let name = host.and_then(|host| host.steps.get(step)).map(|step| format!("step `{}` failed", step.name));
    match failure.causes.as_slice() {
        [_, ..] if name.as_ref() == Some(&failure.message) => failure.causes.join(": "),
        _ => failure.to_string(),
    }
}

fn position(host: Option<&HostState>, step: &StepId) -> String {
    let Some(found) = host.and_then(|host| Some((host, host.steps.get_full(step)?))) else { return "step".to_owned() };
    let (host, (index, _, state)) = found;
    match state.part {
        StepPart::Main => {
            // Those of an incident stand between them, where the host went on after it.
            let number = host.steps.values().take(index + 1).filter(|step| step.part.is_main()).count();
            format!("step {number}/{}", host.steps_total)
        }
        StepPart::Incident => "incident:".to_owned(),
        StepPart::SafetyCopy => "safety copy:".to_owned(),
        StepPart::Restore => "restore:".to_owned(),
    }
}

fn step_name(host: Option<&HostState>, step: &StepId) -> String {
    host.and_then(|host| host.steps.get(step)).map_or_else(|| step.to_string(), |step| cell(&step.name))
}

fn wave_name(state: &RunState, wave: usize) -> String {
    state.waves.get(wave).map_or_else(|| format!("wave {wave}"), |wave| cell(&wave.name))
}
