//! How a failed host ends: taken back where the plan lets it, or held for a person.

use super::{DoneStep, Stopped, Turn};
use crate::{
    engine::{
        checks::Patience,
        link::Link,
        program::{Worker, hidden},
        unwind::{self, Unwound},
    },
    event::{Happening, Phase, UndoSent, UndoState},
    model::{Effect, Failure, HostOutcome, StepId, Version},
};

impl Turn<'_> {
    /// Takes a failed host back where the plan lets it, or holds it for a person.
    pub(super) async fn failed(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: Failure,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let is_changed = |done: &&DoneStep| done.changed && self.of.steps[done.index].effect != Effect::Read;
        let changed = || self.done.iter().filter(is_changed).map(|done| &self.of.steps[done.index]);
        // A data step that found nothing to do moved no data, and what follows it is no point of no return.
        if let Some(passed) = changed().find(|step| step.effect.passes_no_return()) {
            let held = failure.hint(format!(
                "step `{}` changed data, so pointing the code back is no rollback: choose between going on, code rollback and restore",
                passed.name
            ));
            return Ok((HostOutcome::Held, Some(held)));
        }
        if self.plan.rollout.before_data == crate::plan::BeforeData::Hold {
            return Ok((HostOutcome::Held, Some(failure)));
        }
        if changed().next().is_none() {
            return Ok((HostOutcome::Failed, Some(failure)));
        }
        let what = Happening::UnwindStarted { failure: hidden(failure.clone(), &link.redactor) };
        self.means.recorder.record(Some(&self.host), what).await?;
        self.unwind(worker, link, failure).await
    }

    /// Takes the done steps back and proves that the host is where it was.
    pub(super) async fn unwind(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: Failure,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        match unwind::steps(self, worker, link).await? {
            Unwound::Stuck(undo) => {
                let hint = undo.hint.clone().unwrap_or_else(|| {
                    let (run, host) = (&self.means.run, &self.host);
                    format!(
                        "the host is stuck between two versions: `longshore history show {run} --host {host}` has everything it said; mend what the undo needs, then `longshore retry {run} --stuck` goes on with it"
                    )
                });
                Ok((HostOutcome::Stuck, Some(failure.because(format!("taking it back failed: {undo}")).hint(hint))))
            }
            Unwound::Back { left } => {
                self.after = self.read_version(link).await?;
                let checks = self.of.checks.iter().filter(|check| !check.after_only).collect();
                if let Some(red) = self.check(link, checks, Phase::Unwound, Patience::AsPlanned).await? {
                    let held = failure.because(format!("it was taken back, but is not healthy: {red}"));
                    return Ok((HostOutcome::Stuck, Some(held)));
                }
                if self.before.is_some() && self.before != self.after {
                    let seen = self.after.as_ref().map_or("unknown", Version::as_str);
                    return Ok((
                        HostOutcome::Stuck,
                        Some(failure.because(format!("it was taken back, but its version is {seen}"))),
                    ));
                }
                if left.is_empty() {
                    return Ok((HostOutcome::Undone, Some(failure)));
                }
                let left = format!("not taken back, having no undo: {}", left.join(", "));
                Ok((HostOutcome::Failed, Some(failure.because(left))))
            }
        }
    }

    /// Whether the undo of a step was under way when the run was cut off.
    pub(in crate::engine) fn undo_begun(&self, step: &StepId) -> bool {
        let past = self.past.as_ref().and_then(|past| past.steps.get(step));
        past.is_some_and(|state| state.undo == UndoState::Running)
    }

    /// Which of a step's undos is the first that is not known to be done.
    pub(in crate::engine) fn undo_from(&self, step: &StepId) -> usize {
        self.past.as_ref().and_then(|past| past.steps.get(step)).map_or(0, |state| state.undo_from)
    }

    /// What was sent of an undo that was under way when the run was cut off.
    pub(in crate::engine) fn undo_sent(&self, step: &StepId) -> Option<UndoSent> {
        let past = self.past.as_ref().and_then(|past| past.steps.get(step));
        past.filter(|state| state.undo == UndoState::Running)?.undo_sent.clone()
    }
}
