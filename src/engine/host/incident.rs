//! A host that failed after its data was changed: what its role prepared is done, then a person is asked, and
//! goes on the way that person chose.

use std::fmt::Write as _;

use super::{Ended, Proof, Stopped, Turn};
use crate::{
    engine::{
        Stop,
        link::Link,
        program::{Batch, Worker, hidden},
        unwind,
    },
    event::{Happening, HostState, StepState, UndoState},
    model::{Failure, FailureClass, HostOutcome, Receipt, Span, StepId, StepOutcome, StepPart},
    plan::PlannedStep,
    steps::Work,
};

/// Times that a step is sent again that the host did not begin.
const MOST_SENDS: u32 = 3;

/// A step beside the plan's own that ended in this turn, or before.
pub(super) struct Aside {
    pub(super) step: StepId,
    pub(super) name: String,
    pub(super) outcome: StepOutcome,
    pub(super) receipt: Receipt,
    pub(super) ended: Ended,
}

impl Turn<'_> {
    /// Runs what the role prepared for an incident, and holds the host for a person.
    ///
    /// A step of it that fails does not keep the others from running: each makes the host a little safer.
    pub(super) async fn incident(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: Failure,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        if self.past.as_ref().is_some_and(|past| past.incident_open) {
            self.take_up_aside(worker, link).await?;
        } else {
            let failure = hidden(failure.clone(), &link.redactor);
            let what = Happening::IncidentStarted { failure, no_restore: self.backup().is_none() };
            self.means.recorder.record(Some(&self.host), what).await?;
            // What stood here of an earlier incident says nothing of this one.
            self.aside.clear();
        }
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        let of = self.of;
        for step in &of.recovery.incident {
            match self.once(step, &self.proof(step), worker, link).await? {
                outcome if outcome.is_good() => done.push(format!("`{}`", step.name)),
                outcome => {
                    let why = outcome.failure().map(ToString::to_string).unwrap_or_default();
                    failed.push(format!("`{}` could not be done for the incident: {why}", step.name));
                }
            }
        }
        if let Some(newest) = &of.recovery.newest {
            self.read_fact(newest, "newest", link).await?;
        }
        let mut held = failure;
        held.causes.extend(self.data_changed());
        if !done.is_empty() {
            held.causes.push(format!("done by itself since: {}", done.join(", ")));
        }
        held.causes.extend(failed);
        held.causes.push(self.backup_in_words());
        Ok((HostOutcome::Held, Some(held)))
    }

    /// Says which steps changed data, and how far its migrations moved.
    pub(super) fn data_changed(&self) -> Option<String> {
        let names: Vec<_> = self.changed_data().map(|(_, step)| format!("`{}`", step.name)).collect();
        if names.is_empty() {
            return None;
        }
        let mut text = format!("data was changed by {}", names.join(", "));
        if self.of.migration.is_some() {
            let word = |head: &Option<String>| head.clone().unwrap_or_else(|| "unknown".to_owned());
            let _ =
                write!(text, "; its migrations were at {}, now {}", word(&self.head_before), word(&self.head_after));
        }
        Some(text)
    }

    /// Says which backup a restore would put back.
    fn backup_in_words(&self) -> String {
        let Some((name, receipt, ended)) = self.backup() else {
            let why = if self.of.recovery.restore.is_empty() {
                "nothing is put back: the role does not say how, in `[[restore]]`"
            } else {
                "there is no verified backup of this run that a restore could put back"
            };
            return why.to_owned();
        };
        // The second is the ledger's to tell: an approval goes by it.
        let at = self.ended_at(ended).strftime("%Y-%m-%dT%H:%MZ");
        let mut text = format!("the backup of this run: `{name}`, {at}");
        if let Some(age) = self.age(ended) {
            let _ = write!(text, " ({} ago)", Span::seconds(age.as_secs()));
        }
        for fact in ["file", "size", "verified"] {
            if let Some(value) = receipt.get(fact) {
                let _ = match fact {
                    "size" => write!(text, ", {value} bytes"),
                    "verified" => write!(text, ", verified: {value}"),
                    _ => write!(text, ", {value}"),
                };
            }
        }
        text
    }

    /// Takes back what the incident did, last first: traffic, what was stopped. Evidence has no undo and stays.
    pub(super) async fn incident_back(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
    ) -> Result<Option<Failure>, Stopped> {
        let of = self.of;
        for step in of.recovery.incident.iter().rev() {
            let stands = |state: &StepState| {
                state.part == StepPart::Incident
                    && state.undo != UndoState::Undone
                    && matches!(state.outcome, Some(StepOutcome::Changed | StepOutcome::Failed { .. }))
            };
            if !self.past.as_ref().and_then(|past| past.steps.get(&step.id)).is_some_and(stands) {
                continue;
            }
            if let Some(failure) = unwind::one(self, step, worker, link).await? {
                return Ok(Some(failure));
            }
        }
        Ok(None)
    }

    /// Runs a step beside the plan's own, unless it ended well before.
    pub(super) async fn once(
        &mut self,
        step: &PlannedStep,
        proof: &Result<Proof, Failure>,
        worker: &mut Worker,
        link: &mut Link,
    ) -> Result<StepOutcome, Stopped> {
        let before = self.aside.iter().find(|aside| aside.step == step.id && aside.outcome.is_good());
        if let Some(aside) = before {
            return Ok(aside.outcome.clone());
        }
        let proof = match proof {
            Ok(proof) => proof,
            Err(failure) => return Ok(StepOutcome::Failed { failure: failure.clone() }),
        };
        for _ in 0..MOST_SENDS {
            let batch = match step.work() {
                Work::Host(_) => worker.run_segment(std::slice::from_ref(step), 0, proof, link).await?,
                Work::Controller(work) => {
                    let ran = worker.run_attached(step, 0, work, self.past.as_ref(), link).await?;
                    Batch { ran: vec![ran], ..Batch::default() }
                }
            };
            if let Some(ran) = batch.ran.into_iter().next() {
                self.note(step, ran.outcome.clone(), ran.receipt, Ended::Now(tokio::time::Instant::now()));
                return Ok(ran.outcome);
            }
            if self.means.control.stop_now() > Stop::No {
                let failure = Failure::new(FailureClass::Controller, format!("stopped before step `{}`", step.name));
                return Err(Stopped::Ended(HostOutcome::Interrupted, Some(failure)));
            }
        }
        let failure = Failure::new(FailureClass::Step, "the host did not begin it, and did not say why");
        Ok(StepOutcome::Failed { failure })
    }

    fn note(&mut self, step: &PlannedStep, outcome: StepOutcome, receipt: Receipt, ended: Ended) {
        self.aside.retain(|aside| aside.step != step.id);
        self.aside.push(Aside { step: step.id.clone(), name: step.name.clone(), outcome, receipt, ended });
    }

    /// Finds out what became of the steps beside the plan's own that were begun before the run was taken up again.
    pub(super) async fn take_up_aside(&mut self, worker: &mut Worker, link: &mut Link) -> Result<(), Stopped> {
        let Some(past) = self.past.clone() else { return Ok(()) };
        let of = self.of;
        let steps: Vec<&PlannedStep> = of.recovery.steps().collect();
        for step in &steps {
            if let Some((outcome, state)) = ended_well(&past, step) {
                let ended = Ended::Before(state.ended.unwrap_or(state.started));
                self.note(step, outcome.clone(), state.receipt.clone(), ended);
            }
        }
        let sent = past.segment.as_ref().map(|segment| segment.sent);
        for ran in worker.reattach(&steps, &past, link).await?.ran {
            let ended = sent.map_or_else(|| Ended::Now(tokio::time::Instant::now()), Ended::Before);
            self.note(steps[ran.index], ran.outcome, ran.receipt, ended);
        }
        Ok(())
    }
}

/// How a step beside the plan's own ended, if it did well, and in the latest incident: what an earlier one copied
/// or restored is not the data of now.
fn ended_well<'a>(past: &'a HostState, step: &PlannedStep) -> Option<(&'a StepOutcome, &'a StepState)> {
    let state = past.steps.get(&step.id)?;
    let stale = !step.part.is_main() && state.incident < past.incidents;
    let outcome = state.outcome.as_ref().filter(|outcome| outcome.is_good())?;
    (!stale && state.undo != UndoState::Undone).then_some((outcome, state))
}
