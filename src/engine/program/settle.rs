//! Finds out what became of a step whose result nobody knows.
//!
//! The host is asked, then the step's own look. While nobody can tell, nothing is repeated.

use std::time::Duration;

use super::{
    Worker,
    ending::outcome,
    jobs::{Job, JobEnd},
    tell::secrets_in,
};
use crate::{
    durable::{Attempt, AttemptState, Closing, Doubt, Ending},
    engine::{hold::Manner, host::Stopped, link::Link},
    event::{Happening, HostState},
    model::{Failure, StepOutcome},
    plan::PlannedStep,
    steps::{HostProgram, Work},
    transport::Exec,
};

/// What became of a step whose result nobody knew when the run was taken up again.
pub(in crate::engine) enum Resolved {
    /// It is done.
    Done,
    /// It is known that a new attempt does no harm.
    Again,
    Failed(Failure),
    /// Still nobody knows.
    Unknown(Failure),
}

/// What became of an unknown.
enum Settled {
    Done,
    /// It may be sent again, as a new attempt.
    Again,
    No,
}

/// Attempts at one repeat-safe step before an unknown is left to a person.
const MOST_ATTEMPTS: u32 = 3;

/// Longest time for looking what became of a step.
const LOOK_WITHIN: Duration = Duration::from_secs(60);

impl Worker {
    /// Runs jobs, and finds out what became of one whose result nobody knows, where that can be found out.
    pub(super) async fn run_and_settle(
        &mut self,
        jobs: Vec<Job<'_>>,
        attach: Option<String>,
        link: &mut Link,
    ) -> Result<(Vec<JobEnd>, bool), Stopped> {
        let known: Vec<_> = jobs.iter().map(|job| (job.step, job.attempt.clone(), job.program.look.clone())).collect();
        let mut ends = self.run_jobs(jobs, attach, link).await?;
        if let Some(end) = ends.pop_if(|end| end.withheld.is_some()) {
            let (step, attempt, _) = &known[ends.len()];
            let job = Job {
                step,
                attempt: attempt.clone(),
                program: HostProgram::default(),
                is_undo: false,
                part: 0,
                announced: true,
                deadman: None,
            };
            let mut end = self.confirm(&job, end, link).await?;
            let (output, took) = end.withheld.take().unwrap_or_default();
            self.finished(&job, &end, output, took).await?;
            ends.push(end);
        }
        if !ends.last().is_some_and(|end| matches!(end.doubt, Some(Doubt::Lost | Doubt::Rebooted))) {
            return Ok((ends, false));
        }
        let (step, attempt, look) = &known[ends.len() - 1];
        let last = ends.last_mut().expect("looked at above");
        match self.settle(step, attempt, look.as_deref(), link).await? {
            Settled::Done => {
                last.outcome = StepOutcome::Changed;
                Ok((ends, false))
            }
            Settled::Again => {
                ends.pop();
                Ok((ends, true))
            }
            Settled::No => Ok((ends, false)),
        }
    }

    /// Resolves an unknown: only the step's own look does, or its word that it may run twice.
    async fn settle(
        &mut self,
        step: &PlannedStep,
        attempt: &Attempt,
        look: Option<&str>,
        link: &mut Link,
    ) -> Result<Settled, Stopped> {
        let means = self.means.clone();
        let session = link.session().await?;
        let done = if step.repeat_safe && attempt.number < MOST_ATTEMPTS {
            Some((false, "it may run twice without harm"))
        } else if let Some(look) = look {
            let mut exec = Exec::script(look).timeout(step.timeout.0.min(LOOK_WITHIN));
            exec.run_as = link.run_as(step.run_as.as_deref());
            exec.secrets = secrets_in(look, &link.redactor);
            let looked = session.run(exec, &mut ()).await;
            looked.is_ok_and(|ended| ended.is_success()).then_some((true, "looking finds nothing left to do"))
        } else {
            None
        };
        let Some((done, evidence)) = done else { return Ok(Settled::No) };
        let closing = if done { Closing::Done } else { Closing::NotDone };
        if let Manner::Durable(held) = self.holds.manner(step.run_as.as_deref(), link, &means).await?
            && held.side.close(attempt, closing).await.is_err()
        {
            return Ok(Settled::No);
        }
        self.found(step, attempt, done, evidence).await?;
        Ok(if done { Settled::Done } else { Settled::Again })
    }

    /// Finds out what became of a step that was left unknown before the run was taken up again.
    ///
    /// The host is asked first, then the step's look. While nobody can tell, no new attempt is made: the
    /// host would refuse it, and one that lost its state could not.
    pub(in crate::engine) async fn resolve(
        &mut self,
        step: &PlannedStep,
        past: &HostState,
        link: &mut Link,
    ) -> Result<Resolved, Stopped> {
        let Some(state) = past.steps.get(&step.id) else { return Ok(Resolved::Again) };
        let (Some(StepOutcome::Unknown { failure }), Work::Host(program)) = (&state.outcome, step.work()) else {
            return Ok(Resolved::Again);
        };
        let attempt = Attempt::act(step.id.clone(), state.attempt);
        let means = self.means.clone();
        let mut known = None;
        if let Manner::Durable(held) = self.holds.manner(step.run_as.as_deref(), link, &means).await?
            && let Ok(status) = held.side.status(std::slice::from_ref(&attempt)).await
        {
            known = status.attempts.into_iter().next().map(|attempt| attempt.state);
        }
        let found = match known {
            Some(AttemptState::Ended(Ending::Changed | Ending::Unchanged | Ending::FoundDone)) => Some(true),
            Some(AttemptState::Ended(Ending::FoundNotDone | Ending::Void)) => Some(false),
            Some(AttemptState::Ended(
                ending @ (Ending::Failed { .. }
                | Ending::CannotTell { .. }
                | Ending::KilledByLimit
                | Ending::Cancelled
                | Ending::NotRestarted),
            )) => {
                let (outcome, _) = outcome(&ending, &[]).expect("it has a result");
                self.found(step, &attempt, false, "the host knows its result now").await?;
                return Ok(match outcome {
                    StepOutcome::Failed { failure } => Resolved::Failed(failure),
                    _ => Resolved::Unknown(failure.clone()),
                });
            }
            Some(
                AttemptState::Running { .. }
                | AttemptState::Pending
                | AttemptState::Queued
                | AttemptState::Ended(Ending::Lingering { .. }),
            ) => return Ok(Resolved::Unknown(failure.clone())),
            Some(
                AttemptState::NotStarted | AttemptState::Ended(Ending::NotStarted { .. } | Ending::Unknown { .. }),
            )
            | None => None,
        };
        if let Some(done) = found {
            self.found(step, &attempt, done, "the host knows its result now").await?;
            return Ok(if done { Resolved::Done } else { Resolved::Again });
        }
        Ok(match self.settle(step, &attempt, program.look.as_deref(), link).await? {
            Settled::Done => Resolved::Done,
            Settled::Again => Resolved::Again,
            Settled::No => Resolved::Unknown(failure.clone()),
        })
    }

    async fn found(&self, step: &PlannedStep, attempt: &Attempt, done: bool, evidence: &str) -> Result<(), Stopped> {
        let what = Happening::StepFound {
            step: step.id.clone(),
            attempt: attempt.number,
            done,
            evidence: evidence.to_owned(),
            by: None,
            undo: false,
        };
        Ok(self.means.recorder.record(Some(&self.host), what).await?)
    }
}
