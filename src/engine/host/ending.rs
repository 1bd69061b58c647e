//! How a failed host ends: taken back where the plan lets it, or held for a person.

use super::{DoneStep, Stopped, Turn};
use crate::{
    engine::{
        checks::Patience,
        link::Link,
        program::{Worker, hidden},
        unwind::{self, Unwound},
    },
    event::{Happening, HostState, Phase, UndoSent, UndoState},
    model::{Effect, Failure, FailureClass, HostOutcome, StepId, Version, Way},
    plan::{BeforeData, Purpose},
};

/// Whether the code of before can run on the data as it is.
enum Data {
    /// No step changed any.
    Untouched,
    /// It can, and why.
    Fits(String),
    Moved,
}

impl Turn<'_> {
    /// Takes a failed host back where the plan lets it, or holds it for a person.
    pub(super) async fn failed(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: Failure,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        if self.plan.purpose == Purpose::Rollback && !self.done.iter().any(|done| done.changed) {
            return Ok((HostOutcome::Failed, Some(failure.because("nothing was taken back".to_owned()))));
        }
        if self.plan.purpose == Purpose::Rollback {
            let (run, host) = (&self.means.run, &self.host);
            let stuck = failure.hint(format!(
                "the host is between two versions: mend what `longshore history show {run} --host {host}` tells, then \
                 `longshore retry {run} --host {host}` goes on with taking it back"
            ));
            return Ok((HostOutcome::Stuck, Some(stuck)));
        }
        let data = self.data(link).await?;
        // A data step that found nothing to do moved no data, and what follows it is no point of no return.
        if matches!(data, Data::Moved) {
            return self.incident(worker, link, failure).await;
        }
        if self.plan.rollout.before_data == BeforeData::Hold {
            return Ok((HostOutcome::Held, Some(failure)));
        }
        let changed = |effect: Effect| effect != Effect::Read;
        // Where only the host took something back, it is still to be proven that it is where it was.
        let any = self.to_take_back().any(|done| changed(self.of.steps[done.index].effect));
        if !any && !self.took_itself_back {
            return Ok((HostOutcome::Failed, Some(failure)));
        }
        self.unwind_from_here(worker, link, failure).await
    }

    /// The steps that are taken back where the host fails, in order. What a prefetch brought does no harm and stays: only
    /// what was done half must not be found there by the next.
    pub(in crate::engine) fn to_take_back(&self) -> impl DoubleEndedIterator<Item = &DoneStep> {
        let stays = self.plan.purpose == Purpose::Prefetch;
        self.done.iter().filter(move |done| done.changed && (done.half || !stays))
    }

    /// Begins to take the host back.
    async fn unwind_from_here(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: Failure,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let what = Happening::UnwindStarted { failure: hidden(failure.clone(), &link.redactor) };
        self.means.recorder.record(Some(&self.host), what).await?;
        self.unwind(worker, link, failure).await
    }

    /// Goes on with taking the host back; holds it where its data moved, unless its undos have begun already.
    ///
    /// A host that is well, and goes back only because others failed, is no incident: what runs there goes on.
    pub(super) async fn back_or_held(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: Failure,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let begun = |past: &HostState| past.undo_begun();
        if self.past.as_ref().is_some_and(begun) || !matches!(self.data(link).await?, Data::Moved) {
            return self.unwind(worker, link, failure).await;
        }
        if failure.class != FailureClass::GivenUp {
            return self.incident(worker, link, failure).await;
        }
        let changed = self.data_changed().unwrap_or_default();
        let hint = "pointing the code back is no rollback there: a person chooses how the host goes on";
        Ok((HostOutcome::Held, Some(failure.because(changed).hint(hint))))
    }

    /// Judges whether the code of before can run on the data as it is now.
    async fn data(&mut self, link: &mut Link) -> Result<Data, Stopped> {
        if self.changed_data().next().is_none() {
            return Ok(Data::Untouched);
        }
        if let Some(migration) = &self.of.migration {
            self.head_after = self.read_fact(migration, "migration", link).await?;
        }
        if self.changed_data().any(|(_, step)| step.effect == Effect::Irreversible) {
            return Ok(Data::Moved);
        }
        if let (Some(before), Some(after)) = (&self.head_before, &self.head_after)
            && before == after
        {
            return Ok(Data::Fits(format!("its migrations did not move: {after}")));
        }
        if self.changed_data().all(|(_, step)| step.backward_compatible) {
            return Ok(Data::Fits("the release is marked `backward-compatible`".to_owned()));
        }
        Ok(Data::Moved)
    }

    /// Goes on with a host that was taken up again on the way a person chose, or that was cut off on it.
    pub(super) async fn on_its_way(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
    ) -> Result<Option<(HostOutcome, Option<Failure>)>, Stopped> {
        let Some(past) = self.past.clone() else { return Ok(None) };
        let unwinding = past.unwinding().cloned();
        if past.incident_open && unwinding.is_none() {
            let failure = past.incident.clone().unwrap_or_else(held_before);
            self.data(link).await?;
            return self.incident(worker, link, failure).await.map(Some);
        }
        let failure = unwinding.clone().or_else(|| past.incident.clone()).unwrap_or_else(held_before);
        match past.way {
            Some(Way::Restore) => self.restore(worker, link, failure).await.map(Some),
            Some(Way::CodeRollback) if unwinding.is_none() => {
                self.unwind_from_here(worker, link, failure).await.map(Some)
            }
            Some(Way::CodeRollback) => self.unwind(worker, link, failure).await.map(Some),
            None if unwinding.is_some() => Box::pin(self.back_or_held(worker, link, failure)).await.map(Some),
            // Without a choice of its own, going on with a held host is going forward.
            Some(Way::RollForward) | None => {
                let stuck = self.incident_back(worker, link).await?;
                Ok(stuck.map(|undo| (HostOutcome::Stuck, Some(self.stuck(failure, &undo)))))
            }
        }
    }

    /// Takes the done steps back and proves that the host is where it was. Data stays as it is.
    pub(super) async fn unwind(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: Failure,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let left = match unwind::steps(self, worker, link).await? {
            Unwound::Stuck(undo) => return Ok((HostOutcome::Stuck, Some(self.stuck(failure, &undo)))),
            Unwound::Back { left } => left,
        };
        if let Some(undo) = self.incident_back(worker, link).await? {
            return Ok((HostOutcome::Stuck, Some(self.stuck(failure, &undo))));
        }
        let kept: Vec<_> = self.changed_data().map(|(_, step)| format!("`{}`", step.name)).collect();
        let failure = match (kept.is_empty(), self.restored) {
            (true, _) => failure,
            (false, true) => failure.because("the data of the run's own backup was put back".to_owned()),
            (false, false) => {
                let why = match self.data(link).await? {
                    Data::Fits(why) => format!(" ({why})"),
                    Data::Moved | Data::Untouched => String::new(),
                };
                failure.because(format!("the code was taken back; data stays as {} left it{why}", kept.join(", ")))
            }
        };
        self.after = self.read_version(link).await?;
        let checks = self.of.checks.iter().filter(|check| !check.after_only).collect();
        if let Some(red) = self.check(link, checks, Phase::Unwound, Patience::AsPlanned).await? {
            let why = format!("it was taken back, but is not healthy: {red}");
            return Ok((HostOutcome::Stuck, Some(self.not_back(failure, why))));
        }
        if self.before.is_some() && self.before != self.after {
            let [before, seen] =
                [&self.before, &self.after].map(|version| version.as_ref().map_or("unknown", Version::as_str));
            let why = format!("it was taken back, but its version is {seen}, and was {before}");
            return Ok((HostOutcome::Stuck, Some(self.not_back(failure, why))));
        }
        if left.is_empty() {
            return Ok((HostOutcome::Undone, Some(failure)));
        }
        let left = format!("not taken back, having no undo: {}", left.join(", "));
        Ok((HostOutcome::Failed, Some(failure.because(left))))
    }

    fn stuck(&self, failure: Failure, undo: &Failure) -> Failure {
        let hint = undo.hint.clone().unwrap_or_else(|| {
            let (run, host) = (&self.means.run, &self.host);
            format!(
                "the host is stuck between two versions: `longshore history show {run} --host {host}` has everything it said; mend what the undo needs, then `longshore retry {run} --stuck` goes on with it"
            )
        });
        failure.because(format!("taking it back failed: {undo}")).output(undo.output.clone()).hint(hint)
    }

    /// Every undo was done, and yet the host is not where it was.
    fn not_back(&self, failure: Failure, why: String) -> Failure {
        let run = &self.means.run;
        failure.because(why).hint(format!("mend it on the host, then `longshore retry {run} --stuck` looks again"))
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

/// What is blamed where a host was held before anything was known of a failure.
fn held_before() -> Failure {
    Failure::new(FailureClass::Step, "the host was held, and a person chose how it goes on")
}
