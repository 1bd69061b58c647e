//! Putting back the data that this run saved of this host, with a person's approval, and the code of before.

use jiff::Timestamp;

use super::{DoneStep, Ended, Stopped, Turn};
use crate::{
    engine::{
        link::Link,
        program::{Worker, hidden},
    },
    event::{Happening, HostState, UndoState},
    model::{Failure, FailureClass, HostOutcome, Receipt, StepOutcome},
    plan::{HostPlan, PlannedStep, leaves, made_ahead},
};

impl Turn<'_> {
    /// Steps that changed data, or may have, in order.
    pub(super) fn changed_data(&self) -> impl Iterator<Item = (&DoneStep, &PlannedStep)> {
        let steps = self.done.iter().map(|done| (done, &self.of.steps[done.index]));
        steps.filter(|(done, step)| done.changed && step.effect.passes_no_return())
    }

    /// Whether a step came before the data was changed: only such a one saved what a restore is to put back.
    fn came_before_data(&self) -> impl Fn(&DoneStep) -> bool + use<> {
        let first = self.changed_data().next().map_or(usize::MAX, |(done, _)| done.index);
        move |done| done.index < first
    }

    /// The backup that a restore puts back: made by this run on this host before its data was changed, and verified.
    pub(super) fn backup(&self) -> Option<(&str, &Receipt, Ended)> {
        let named = self.of.recovery.restore.iter().flat_map(|step| &step.requires);
        let before = self.came_before_data();
        named
            .flat_map(|needed| self.done.iter().rev().filter(|done| before(done)).map(move |done| (needed, done)))
            .find_map(|(needed, done)| {
                let name = self.of.steps[done.index].name.as_str();
                let verified = done.receipt.get("verified").is_some_and(|how| !how.trim().is_empty());
                (verified && leaves(name, &needed.receipt)).then_some((name, &done.receipt, done.ended))
            })
    }

    /// Copies the data as it is, puts the saved data back, then takes the code back.
    ///
    /// Nothing is replaced before a copy of it has been proven, and nothing without a person's approval of this
    /// very backup.
    pub(super) async fn restore(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: Failure,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let unwinding = self.past.as_ref().is_some_and(|past| past.unwinding().is_some());
        if !unwinding && let Some(held) = self.put_back(worker, link, &failure).await? {
            return Ok((HostOutcome::Held, Some(held)));
        }
        self.restored = true;
        if !unwinding {
            let what = Happening::UnwindStarted { failure: hidden(failure.clone(), &link.redactor) };
            self.means.recorder.record(Some(&self.host), what).await?;
        }
        self.unwind(worker, link, failure).await
    }

    /// Puts the saved data back. Returns why the host has to be held, when that did not work.
    async fn put_back(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: &Failure,
    ) -> Result<Option<Failure>, Stopped> {
        let nothing = |why: String| Some(failure.clone().because(format!("nothing was restored: {why}")));
        let of = self.of;
        if of.recovery.restore.is_empty() {
            return Ok(nothing("the role does not say how, in `[[restore]]`".to_owned()));
        }
        let Some((_, backup, ended)) = self.backup() else {
            return Ok(nothing("this run left no verified backup of the host".to_owned()));
        };
        let (at, backup_file) = (self.ended_at(ended), backup.get("file").map(str::to_owned));
        if !self.approvals.iter().any(|approval| approval.action == "restore" && approval.backup == Some(at)) {
            return Ok(nothing(format!("nobody approved putting back the backup of {at:.0}")));
        }
        self.take_up_aside(worker, link).await?;
        let before = self.came_before_data();
        for step in &of.recovery.safety_copy {
            let outcome = self.once(step, &self.proof_among(step, &before), worker, link).await?;
            if let Some(why) = why_not(&outcome) {
                return Ok(nothing(format!("the copy of the data as it is now was not made: `{}`: {why}", step.name)));
            }
        }
        let copies = of.recovery.safety_copy.iter();
        let copies: Vec<_> = copies
            .filter_map(|step| self.aside.iter().find(|aside| aside.step == step.id))
            .map(|aside| &aside.receipt)
            .collect();
        if of.recovery.restore_keeps.is_none() && copies.iter().all(|receipt| receipt.is_empty()) {
            return Ok(nothing("the safety copy left no receipt, so nobody knows that there is one".to_owned()));
        }
        if backup_file.is_some() && copies.iter().any(|receipt| receipt.get("file") == backup_file.as_deref()) {
            return Ok(nothing("the safety copy went into the very file of the backup".to_owned()));
        }
        let copy = copies.iter().find_map(|receipt| receipt.get("file")).map(str::to_owned);
        let mut begun = false;
        for step in &of.recovery.restore {
            let outcome = self.once(step, &self.proof_among(step, &before), worker, link).await?;
            if let Some(why) = why_not(&outcome) {
                let refused = outcome.failure().is_some_and(|failure| failure.class == FailureClass::Gate);
                if refused && !begun {
                    return Ok(nothing(why));
                }
                let copy = copy.or_else(|| of.recovery.restore_keeps.clone());
                let copy = copy.map(|copy| format!("; the data of before: {copy}")).unwrap_or_default();
                let held = failure.clone().because(format!("restoring failed at `{}`: {why}{copy}", step.name));
                return Ok(Some(
                    held.output(outcome.failure().map(|failure| failure.output.clone()).unwrap_or_default()),
                ));
            }
            begun |= step.effect.passes_no_return();
        }
        Ok(None)
    }
}

impl Turn<'_> {
    /// Says what a person has not approved of what is never done by default.
    pub(super) fn unapproved(&self) -> Option<Failure> {
        let needed = self.plan.approval(&self.host)?;
        if self.approvals.iter().any(|approval| needed.is_given_by(approval)) {
            return None;
        }
        let what = match (needed.backup, needed.steps.as_slice()) {
            (Some(at), _) => format!("nobody approved putting back the backup of {at:.0}"),
            (None, []) => "nobody approved taking the schema back".to_owned(),
            (None, steps) => {
                let steps: Vec<_> = steps.iter().map(|step| format!("`{step}`")).collect();
                let what = if needed.action == "restore" {
                    "putting other data in place"
                } else {
                    "what cannot be taken back"
                };
                format!("nobody approved {what}: {}", steps.join(", "))
            }
        };
        let hint = "the command that begins the run asks at a terminal, or takes `--approvals FILE`";
        Some(Failure::new(FailureClass::Refused, what).hint(hint))
    }

    /// Says why the restore of a rollback may not begin: there is no proven copy of what it replaces.
    pub(super) fn no_copy(&self, step: &PlannedStep) -> Option<Failure> {
        let rollback = self.of.rollback.as_ref().filter(|rollback| rollback.restores.first() == Some(&step.id))?;
        let copies = self.done.iter().filter(|done| rollback.copies.contains(&self.of.steps[done.index].id));
        let copies: Vec<_> = copies.map(|done| &done.receipt).collect();
        let file = |receipt: &Receipt| receipt.get("file").map(str::to_owned);
        let backups: Vec<_> = rollback.receipts.iter().filter_map(|kept| file(&kept.receipt)).collect();
        let refused = |what: &str| Some(Failure::new(FailureClass::Gate, what).because("nothing was restored"));
        if self.of.recovery.restore_keeps.is_none() && copies.iter().all(|receipt| receipt.is_empty()) {
            return refused("the safety copy left no receipt, so nobody knows that there is one");
        }
        if copies.iter().filter_map(|receipt| file(receipt)).any(|copy| backups.contains(&copy)) {
            return refused("the safety copy went into the very file of the backup");
        }
        None
    }
}

/// The backup of a run that a restore would put back on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The step that made it.
    pub step: String,
    pub receipt: Receipt,
    pub ended: Timestamp,
}

/// Returns the backup that a restore would put back: made by this run on this host before its data was changed,
/// and verified. `None`: there is none.
pub fn backup_of(of: &HostPlan, state: &HostState) -> Option<Backup> {
    let changed = |step: &PlannedStep| {
        let state = state.steps.get(&step.id).filter(|state| state.undo != UndoState::Undone);
        let half = |failure: &Failure| !matches!(failure.class, FailureClass::Gate | FailureClass::Refused);
        state.and_then(|state| state.outcome.as_ref()).is_some_and(|outcome| match outcome {
            StepOutcome::Changed => true,
            StepOutcome::Failed { failure } | StepOutcome::Unknown { failure } => half(failure),
            StepOutcome::Unchanged | StepOutcome::Skipped { .. } => false,
        })
    };
    let data = of.steps.iter().position(|step| step.effect.passes_no_return() && changed(step));
    let before = &of.steps[..data.unwrap_or(of.steps.len())];
    let mut named = of.recovery.restore.iter().flat_map(|step| &step.requires);
    named.find_map(|needed| {
        before.iter().rev().filter(|step| leaves(&step.name, &needed.receipt)).find_map(|step| {
            let state = state.steps.get(&step.id)?;
            state.receipt.get("verified").filter(|how| !how.trim().is_empty())?;
            let ended = made_ahead(&state.receipt).or(state.ended)?;
            Some(Backup { step: step.name.clone(), receipt: state.receipt.clone(), ended })
        })
    })
}

fn why_not(outcome: &StepOutcome) -> Option<String> {
    match outcome {
        StepOutcome::Unchanged | StepOutcome::Changed => None,
        StepOutcome::Skipped { reason } => Some(reason.clone()),
        StepOutcome::Failed { failure } | StepOutcome::Unknown { failure } => Some(failure.to_string()),
    }
}
