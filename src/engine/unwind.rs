//! Takes back the steps done on one host, last first.

use super::{
    Stop,
    host::{Stopped, Turn, since},
    link::Link,
    program::{Worker, hidden},
};
use crate::{
    event::Happening,
    model::{Failure, FailureClass, StepOutcome},
    plan::{PlannedStep, PlannedUndo},
    steps::{HostProgram, Work},
};

/// How taking back ended.
pub(super) enum Unwound {
    /// As far as the undos go; `left` names the steps that have none.
    Back {
        left: Vec<String>,
    },
    Stuck(Failure),
}

/// Takes back the done steps of a host, last first, the half-run one included.
///
/// Stops at the first undo that fails and reports the host as stuck: taking back what lies below
/// a step that still stands can break the host further than leaving it.
pub(super) async fn steps(turn: &Turn<'_>, worker: &mut Worker, link: &mut Link) -> Result<Unwound, Stopped> {
    let mut left = Vec::new();
    for done in turn.to_take_back().rev() {
        let step = &turn.of.steps[done.index];
        // Data is not taken back by pointing back: only a restore does that, and only a person begins one.
        if step.effect.passes_no_return() {
            continue;
        }
        if let PlannedUndo::Impossible { reason, .. } = &step.undo {
            // A step the plan's author accepted as it stands is kept; a half-run one is said either way.
            if !step.undo_is_waived() {
                left.push(format!("{} ({reason})", step.name));
            }
            continue;
        }
        if let Some(failure) = one(turn, step, worker, link).await? {
            return Ok(Unwound::Stuck(failure));
        }
    }
    Ok(Unwound::Back { left })
}

/// Takes one step back, where it has an undo. Returns why that failed.
pub(super) async fn one(
    turn: &Turn<'_>,
    step: &PlannedStep,
    worker: &mut Worker,
    link: &mut Link,
) -> Result<Option<Failure>, Stopped> {
    if matches!(step.undo, PlannedUndo::Nothing | PlannedUndo::Impossible { .. }) {
        return Ok(None);
    }
    let begun = tokio::time::Instant::now();
    let mut sent = turn.undo_sent(&step.id);
    let mut at = 0;
    if !turn.undo_begun(&step.id) {
        let started = Happening::UndoStarted { step: step.id.clone(), name: step.name.clone() };
        turn.means.recorder.record(Some(&turn.host), started).await?;
    }
    let outcome = match &step.undo {
        PlannedUndo::By(steps) => {
            let mut outcome = StepOutcome::Unchanged;
            // The parts before the one that was sent last, or failed, have been done.
            let from = sent.as_ref().map_or_else(|| turn.undo_from(&step.id), |sent| sent.part);
            let before = from.min(steps.len() - 1);
            for (part, undo) in steps.iter().enumerate().skip(before) {
                at = part;
                let deadline = undo.retry.as_ref().map(|retry| tokio::time::Instant::now() + retry.within.0);
                loop {
                    outcome = match undo.action.kind().work() {
                        Work::Host(program) => worker.run_undo(step, (part, undo), program, sent.take(), link).await?,
                        Work::Controller(work) => worker.act(undo, work, link).await?.0,
                    };
                    let (Some(retry), Some(deadline)) = (&undo.retry, deadline) else { break };
                    let failed = matches!(outcome, StepOutcome::Failed { .. });
                    if !failed || tokio::time::Instant::now() + retry.every.0 >= deadline {
                        break;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(retry.every.0) => {}
                        // A person who stops the run lets what is taken back come to its end; one who leaves does not.
                        () = turn.means.control.asked_for(Stop::Detach) => break,
                    }
                }
                if !outcome.is_good() {
                    break;
                }
            }
            outcome
        }
        PlannedUndo::ByProgram => match step.action.kind().work() {
            Work::Host(program) => {
                let act = program.undo.unwrap_or_else(|| "exit 0".to_owned());
                let program = HostProgram { act, ..HostProgram::default() };
                worker.run_undo(step, (0, step), program, sent.take(), link).await?
            }
            Work::Controller(_) => StepOutcome::Unchanged,
        },
        PlannedUndo::Nothing | PlannedUndo::Impossible { .. } => return Ok(None),
    };
    let failure = outcome.failure().cloned().map(|failure| hidden(failure, &link.redactor));
    let finished = Happening::UndoFinished {
        step: step.id.clone(),
        part: if failure.is_some() { at } else { 0 },
        failure: failure.clone(),
        took: since(begun),
    };
    turn.means.recorder.record(Some(&turn.host), finished).await?;
    if let Some(failure) = failure {
        let mut named = Failure::new(FailureClass::Undo, format!("undo of step `{}` failed", step.name));
        named.causes.push(failure.message);
        named.causes.extend(failure.causes);
        if failure.class == FailureClass::Unknown {
            let (run, host, id) = (&turn.means.run, &turn.host, &step.id);
            named = named.hint(format!(
                "look whether it was taken back, then `longshore close {run} --host {host} --step {id} --undo --as done --reason TEXT` (or `--as not-done`), then `longshore retry {run} --stuck`"
            ));
        }
        return Ok(Some(named.output(failure.output)));
    }
    Ok(None)
}
