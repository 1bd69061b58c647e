//! What must hold when all is over, whatever happened in between.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use longshore::{
    event::{HostState, RunState},
    ledger::Ledger,
    model::{HostOutcome, StepOutcome},
};

use crate::{
    field::{Field, Host, Project},
    victims,
};

/// Longest time for what a dead step leaves behind to be gone: the watch of a killed supervisor looks up so often.
const SILENT_WITHIN: Duration = Duration::from_secs(20);

/// What may have become of a host's steps, by what was done to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// A step may have failed: it was killed, or the host had no room for it.
    pub failed: bool,
    /// Nobody may know what became of a step.
    pub unknown: bool,
    /// The lease may be left to run out by itself: a full disk does not take it back.
    pub lease: bool,
}

/// Reads the project's last rollout from its ledger.
pub fn state(project: &Project) -> Option<RunState> {
    let ledger = Ledger::open(&project.path, Arc::new(jiff::Timestamp::now)).ok()?;
    let run = ledger.runs(50).ok()?.into_iter().find(|run| run.purpose == "apply")?;
    RunState::fold(&ledger.events(run.number, None).ok()?).ok()
}

/// Says what is wrong, and how each host ended.
pub fn judge(
    field: &Field,
    project: &Project,
    exit: i32,
    allowed: &BTreeMap<String, Allowed>,
) -> (Vec<String>, BTreeMap<String, HostOutcome>) {
    let mut wrong = Vec::new();
    let mut ends = BTreeMap::new();
    let Some(state) = state(project) else { return (vec!["the ledger has no run".to_owned()], ends) };
    for host in &field.hosts {
        let name = host.name.to_string();
        let allowed = allowed.get(&name).copied().unwrap_or_default();
        let Some(of) = state.hosts.get(&host.name) else {
            wrong.push(format!("{name}: the ledger does not know it"));
            continue;
        };
        let found = judge_host(project, host, of, allowed);
        wrong.extend(found.into_iter().map(|what| format!("{name}: {what}")));
        if let Some(outcome) = of.outcome {
            ends.insert(name, outcome);
        }
    }
    let expected = expected_exit(&ends);
    if exit != expected {
        wrong.push(format!("exit code {exit} instead of {expected} for {ends:?}"));
    }
    (wrong, ends)
}

fn judge_host(project: &Project, host: &Host, of: &HostState, allowed: Allowed) -> Vec<String> {
    let mut wrong = Vec::new();
    for step in 1..=project.steps {
        let traced = project.traced(host, step);
        let known = of.steps.values().find(|known| known.name == format!("Append {step}"));
        let outcome = known.and_then(|known| known.outcome.as_ref());
        if traced.0 > 1 || traced.1 > 1 {
            wrong.push(format!("step {step} ran twice: {traced:?}, told as {outcome:?}"));
        }
        let lies = match outcome {
            Some(StepOutcome::Changed) => traced != (1, 1),
            None => traced != (0, 0),
            Some(StepOutcome::Failed { .. }) => !allowed.failed,
            Some(StepOutcome::Unknown { .. }) => !allowed.unknown,
            Some(StepOutcome::Unchanged | StepOutcome::Skipped { .. }) => true,
        };
        if lies {
            wrong.push(format!("step {step} is told as {outcome:?}, its lines are {traced:?}"));
        }
    }
    let is_unknown = of.steps.values().any(|step| matches!(step.outcome, Some(StepOutcome::Unknown { .. })));
    let fits = match of.outcome {
        Some(HostOutcome::Done) => (1..=project.steps).all(|step| project.traced(host, step) == (1, 1)),
        // No room to keep a step from running twice, and nobody typed `retry` any more: nothing was begun.
        Some(HostOutcome::Refused) => allowed.failed && of.steps.values().all(|step| step.outcome.is_none()),
        Some(HostOutcome::Unknown | HostOutcome::Held) => is_unknown && allowed.unknown,
        Some(HostOutcome::Failed | HostOutcome::Undone | HostOutcome::Stuck) => allowed.failed && !is_unknown,
        _ => false,
    };
    if !fits {
        let failure = of.failure.as_ref().map(ToString::to_string).unwrap_or_default();
        wrong.push(format!("ended as {:?}: {failure}", of.outcome));
    }
    wrong.extend(lease_left(host).filter(|_| !allowed.lease));
    wrong.extend(processes_left(host));
    wrong
}

/// The exit code that the outcomes ask for.
fn expected_exit(ends: &BTreeMap<String, HostOutcome>) -> i32 {
    let codes = ends.values().map(|end| match end {
        HostOutcome::Done | HostOutcome::Unchanged => 0,
        HostOutcome::Unknown | HostOutcome::Held | HostOutcome::Stuck => 3,
        HostOutcome::Unreachable => 4,
        HostOutcome::Refused => 6,
        _ => 1,
    });
    let codes: Vec<i32> = codes.collect();
    [3, 5, 1, 6, 4].into_iter().find(|code| codes.contains(code)).unwrap_or(0)
}

/// Says who still has the host's lease.
pub fn lease_left(host: &Host) -> Option<String> {
    let installs = fs::read_dir(&host.state).into_iter().flatten().flatten();
    let leases = installs.filter_map(|install| fs::read_to_string(install.path().join("lease")).ok());
    let held: Vec<String> = leases.filter(|lease| !lease.starts_with("- ")).collect();
    (!held.is_empty()).then(|| format!("its lease is held: {}", held.join(", ").trim()))
}

/// Says what still runs for the host.
fn processes_left(host: &Host) -> Option<String> {
    let until = Instant::now() + SILENT_WITHIN;
    loop {
        let left = victims::of(&host.mark);
        if left.is_empty() {
            return None;
        }
        if Instant::now() > until {
            let commands: Vec<_> = left.iter().map(|process| process.command.trim()).collect();
            return Some(format!("still running: {}", commands.join("; ")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
