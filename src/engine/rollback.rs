//! The plan that takes a finished upgrade back: for each host the shape that fits what the run recorded.

use indexmap::IndexMap;
use jiff::Timestamp;

use super::backup_of;
use crate::{
    event::{HostState, RunState, StepState, UndoState},
    model::{Downtime, Effect, HostName, HostOutcome, RunId, RunNumber, Span, StepId, StepOutcome, StepPart, Way},
    plan::{
        Estimate, FailureBudget, HostPlan, HostRollback, KeptReceipt, Plan, PlannedStep, PlannedUndo, Promote, Purpose,
        Recovery, Shape, Summary, TakenStep, Timing, Watch, Wave, made_ahead,
    },
};

/// A finished run that is to be taken back.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    pub id: &'a RunId,
    pub number: RunNumber,
    pub plan: &'a Plan,
    pub state: &'a RunState,
}

/// A host that cannot be taken back, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBack {
    pub host: HostName,
    pub why: String,
    /// It ended so that there is nothing to take back: no trouble where nobody named the host.
    pub nothing_to_do: bool,
}

/// What going back means for one host, and why.
struct Back {
    shape: Shape,
    why: String,
}

/// Makes the plan that takes `hosts` back to where the run found them: one wave, as many at once as then.
///
/// Only what the run recorded counts: its own steps, in reverse, and its own backup of that very host.
pub fn rollback(finished: Finished<'_>, hosts: &[HostName], now: Timestamp) -> (Option<Plan>, Vec<NotBack>) {
    let (mut plans, mut refused, mut warnings) =
        (IndexMap::new(), Vec::new(), IndexMap::<String, Vec<HostName>>::new());
    for host in hosts {
        let (Some(of), Some(state)) = (finished.plan.hosts.get(host), finished.state.hosts.get(host)) else {
            let why = format!("run {} did not concern it", finished.number);
            refused.push(NotBack { host: host.clone(), why, nothing_to_do: false });
            continue;
        };
        match host_plan(finished, host, of, state) {
            Ok((plan, left)) => {
                for warning in left {
                    warnings.entry(warning).or_default().push(host.clone());
                }
                plans.insert(host.clone(), plan);
            }
            Err((why, nothing_to_do)) => refused.push(NotBack { host: host.clone(), why, nothing_to_do }),
        }
    }
    if plans.is_empty() {
        return (None, refused);
    }
    let wave = Wave {
        name: "all".to_owned(),
        hosts: plans.keys().cloned().collect(),
        soak: Span::seconds(0),
        watch: Watch::default(),
        promote: Promote::Auto,
        budget: FailureBudget::default(),
    };
    let names = |hosts: &[HostName]| hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
    let mut plan = Plan {
        made_at: now,
        digest: String::new(),
        title: format!("Rollback of run {}: {}", finished.number, finished.plan.title),
        playbook: None,
        purpose: Purpose::Rollback,
        wanted: None,
        waves: vec![wave],
        warnings: warnings.into_iter().map(|(warning, hosts)| format!("{warning} ({})", names(&hosts))).collect(),
        hosts: plans,
        // What the releases on the way there ask of a person, and what going there put at risk, is not asked or told again.
        notes: Vec::new(),
        acknowledged: Vec::new(),
        summary: None,
        ..finished.plan.clone()
    };
    plan.summary = Some(Summary::of(&plan));
    (Some(plan.seal()), refused)
}

/// What stands of the run's steps on a host.
fn stands(state: &HostState, step: &PlannedStep) -> bool {
    state.steps.get(&step.id).is_some_and(StepState::stands)
}

/// Makes one host's plan, and says what it leaves as it is. Or says why there is none.
fn host_plan(
    finished: Finished<'_>,
    host: &HostName,
    of: &HostPlan,
    state: &HostState,
) -> Result<(HostPlan, Vec<String>), (String, bool)> {
    match state.outcome {
        Some(HostOutcome::Done) => {}
        Some(HostOutcome::Unchanged) => return Err(("the run changed nothing there".to_owned(), true)),
        Some(HostOutcome::Undone) => return Err(("it was taken back in the run itself".to_owned(), true)),
        Some(HostOutcome::Held) => {
            let way = |way: &str| format!("`longshore resume {} --as {way} --host {host}`", finished.number);
            let mut ways = way(Way::CodeRollback.as_str());
            if !state.no_restore && backup_of(of, state).is_some() {
                ways.push_str(" or ");
                ways.push_str(&way(Way::Restore.as_str()));
            }
            let why = format!("it is held: {ways} takes it back");
            return Err((why, false));
        }
        // Refused, unreachable, parked, not started: whatever kept the run from it.
        _ if state.steps.is_empty() => return Err(("the run did not begin there".to_owned(), true)),
        other => {
            let stands = other.map_or("not finished", HostOutcome::as_str);
            return Err((format!("its upgrade is {stands}: only a finished one is taken back"), false));
        }
    }
    if of.rollback.is_some() {
        return Err(("the run is a rollback itself: upgrade the host again".to_owned(), false));
    }
    let Back { shape, why } = shape(of, state).map_err(|why| (why, false))?;
    let mut steps = Vec::new();
    let mut restores = Vec::new();
    let mut copies = Vec::new();
    // The role's own steps come first; where they do not take the data back those alone that leave it.
    let by_role = of.recovery.rollback.iter();
    steps.extend(by_role.filter(|step| shape == Shape::Schema || !step.effect.passes_no_return()).cloned());
    if shape == Shape::Data {
        copies.extend(steps.len()..steps.len() + of.recovery.safety_copy.len());
        steps.extend(of.recovery.safety_copy.iter().cloned());
        restores.extend(steps.len()..steps.len() + of.recovery.restore.len());
        steps.extend(of.recovery.restore.iter().cloned());
    }
    let mut left = Vec::new();
    for step in of.steps.iter().rev().filter(|step| stands(state, step)) {
        // Data is taken back by a restore, and by nothing else.
        if !step.effect.passes_no_return() {
            take_back(finished.id, step, &mut steps, &mut left);
        }
    }
    for (index, step) in steps.iter_mut().enumerate() {
        step.id = StepId::new(index, &step.name);
        step.part = StepPart::Main;
        step.hop = None;
    }
    let id = |indices: Vec<usize>| indices.into_iter().map(|index| steps[index].id.clone()).collect::<Vec<_>>();
    // Of several backups, one for each hop, only those from before the data was changed lead back to where it was.
    let before = of.steps.iter().position(|step| step.effect.passes_no_return() && stands(state, step));
    let receipts = of.steps[..before.unwrap_or(of.steps.len())].iter().filter_map(|step| {
        let known = state.steps.get(&step.id).filter(|known| !known.receipt.is_empty())?;
        let ended = made_ahead(&known.receipt).or(known.ended)?;
        Some(KeptReceipt { step: step.name.clone(), receipt: known.receipt.clone(), ended })
    });
    let rollback = HostRollback {
        of: finished.id.clone(),
        number: finished.number,
        shape,
        why,
        to: state.before.clone(),
        backup: backup_of(of, state).map(|backup| backup.ended).filter(|_| shape == Shape::Data),
        receipts: receipts.collect(),
        copies: id(copies),
        restores: id(restores),
    };
    let mut plan = HostPlan {
        found: state.after.clone(),
        // Going back is for when something is wrong, and that keeps to no hours.
        windows: Vec::new(),
        // It follows no path, and what was read for the upgrade's plan says nothing of today.
        path: Vec::new(),
        facts: IndexMap::new(),
        assumed: false,
        stated: None,
        refused: None,
        estimate: None,
        gates: Vec::new(),
        checks: of.checks.iter().filter(|check| !check.after_only).cloned().collect(),
        migration: None,
        point_of_no_return: None,
        steps,
        recovery: Recovery {
            restore_keeps: of.recovery.restore_keeps.clone(),
            newest: of.recovery.newest.clone(),
            ..Recovery::default()
        },
        rollback: Some(rollback),
        ..of.clone()
    };
    plan.estimate = Some(Estimate::of(&plan));
    Ok((plan, left))
}

/// Chooses the shape of a host's rollback from what the run recorded of it.
fn shape(of: &HostPlan, state: &HostState) -> Result<Back, String> {
    let changed: Vec<_> =
        of.steps.iter().filter(|step| step.effect.passes_no_return() && stands(state, step)).collect();
    let names: Vec<_> = changed.iter().map(|step| format!("`{}`", step.name)).collect();
    let names = names.join(", ");
    let by_role = &of.recovery.rollback;
    let back = |shape, why: String| Ok(Back { shape, why });
    let schema = by_role.iter().any(|step| step.effect.passes_no_return());
    let traffic = by_role.iter().any(|step| !step.effect.passes_no_return());
    if let Some(last) = changed.iter().find(|step| step.effect == Effect::Irreversible) {
        return Err(format!("`{}` cannot be taken back at all", last.name));
    }
    let reason = if changed.is_empty() {
        Some("no data was changed".to_owned())
    } else if let Some(after) = unmoved(state) {
        Some(format!("its migrations did not move: {after}; data stays as {names} left it"))
    } else if changed.iter().all(|step| step.backward_compatible) {
        Some(format!("the release is marked `backward-compatible`; data stays as {names} left it"))
    } else {
        None
    };
    if let Some(reason) = reason {
        if traffic {
            return back(Shape::Traffic, format!("{reason}; the role takes traffic back first"));
        }
        return back(Shape::Code, reason);
    }
    if schema {
        return back(Shape::Schema, format!("data was changed by {names}, and the role takes its schema back"));
    }
    if of.recovery.restore.is_empty() {
        return Err(format!("data was changed by {names}, and its role has no `[[restore]]`"));
    }
    let Some(backup) = backup_of(of, state) else {
        return Err(format!("data was changed by {names}, and the run left no verified backup of it"));
    };
    let first = if traffic { "; the role takes traffic back first" } else { "" };
    back(
        Shape::Data,
        format!("data was changed by {names}; the backup is of {:.0}, by `{}`{first}", backup.ended, backup.step),
    )
}

/// The head of the host's migrations, where the run is known not to have moved it.
fn unmoved(state: &HostState) -> Option<&str> {
    let head = |fact: &str| state.facts.get(fact).map(String::as_str).filter(|head| *head != "unknown");
    head("migration").filter(|after| head("migration-before") == Some(*after))
}

/// Whether data is, for all that is known, not as releases of before the run expect it, unless it was brought back.
pub fn leaves_data_new(state: &HostState) -> bool {
    let changed = |step: &StepState| {
        step.part.is_main()
            && step.undo != UndoState::Undone
            && step.effect.is_none_or(Effect::passes_no_return)
            && !matches!(step.outcome, Some(StepOutcome::Unchanged | StepOutcome::Skipped { .. }))
    };
    unmoved(state).is_none() && state.steps.values().any(changed)
}

/// Adds what takes one step of the run back.
fn take_back(run: &RunId, step: &PlannedStep, into: &mut Vec<PlannedStep>, left: &mut Vec<String>) {
    let taken = |by_kind| Some(TakenStep { run: run.clone(), step: step.id.clone(), by_kind });
    // The product goes down where it came up, and the other way round.
    let down = step.timing.downtime.map(Downtime::reversed);
    let of = |undo: &PlannedStep, name: String, by_kind, (is_first, is_last)| PlannedStep {
        name,
        effect: Effect::Code,
        undo: PlannedUndo::Nothing,
        requires: Vec::new(),
        retry: undo.retry.clone().filter(|_| undo.repeat_safe),
        takes_back: taken(by_kind),
        confirm_within: None,
        timing: Timing {
            expected: undo.timing.expected,
            downtime: down.filter(|down| match down {
                Downtime::Begins => is_first,
                Downtime::Ends => is_last,
                Downtime::During => true,
            }),
            proven_at: None,
        },
        ..undo.clone()
    };
    match &step.undo {
        PlannedUndo::Nothing => {}
        PlannedUndo::ByProgram => into.push(of(step, format!("Take back: {}", step.name), true, (true, true))),
        PlannedUndo::By(steps) => {
            for (index, undo) in steps.iter().enumerate() {
                let part = if steps.len() > 1 { format!(", {} of {}", index + 1, steps.len()) } else { String::new() };
                let place = (index == 0, index + 1 == steps.len());
                into.push(of(undo, format!("Take back: {}{part}", step.name), false, place));
            }
        }
        PlannedUndo::Impossible { reason, waived } => {
            if !waived {
                left.push(format!("step `{}` has no undo and stays as it is: {reason}", step.name));
            }
        }
    }
}

/// Whether a run changed a host so that what an earlier one did cannot be taken back any more.
pub fn changed_by(state: &HostState) -> bool {
    let touched = |step: &StepState| {
        step.undo != UndoState::Undone
            && step.effect.is_none_or(|effect| effect != Effect::Read)
            && matches!(
                step.outcome,
                None | Some(StepOutcome::Changed | StepOutcome::Failed { .. } | StepOutcome::Unknown { .. })
            )
    };
    state.steps.values().any(touched)
}
