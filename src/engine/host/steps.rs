//! The steps of one host's turn, in order: which come next, which travel together, how they ended.

use std::time::Duration;

use tokio::time::Instant;

use super::{DoneStep, Ended, Stopped, Turn};
use crate::{
    durable::MOST_STEPS,
    engine::{
        Stop,
        link::Link,
        program::{Batch, Ran, Resolved, Start, Worker},
    },
    event::{HostState, StepState, UndoState},
    model::{Failure, FailureClass, Receipt, StepOutcome},
    plan::PlannedStep,
    steps::Work,
};

/// Times that a host may not begin what it was sent, without a reason, before that is a failure. Between them
/// the pause grows to some seconds: a link that breaks under every launch may be good again a moment later.
const MOST_UNBEGUN: u32 = 6;

/// The first pause before what was not begun is sent again a second time.
const UNBEGUN_PAUSE: Duration = Duration::from_millis(250);

/// How the steps ended.
pub(super) enum Steps {
    AllDone {
        changed: bool,
    },
    /// A person stopped the run between two steps.
    Interrupted,
    Failed(Failure),
    Unknown(Failure),
    /// Another controller has the host now.
    Fenced(Failure),
}

impl Turn<'_> {
    /// Runs the steps in order; host programs that follow each other travel together.
    pub(super) async fn steps(&mut self, worker: &mut Worker, link: &mut Link) -> Result<Steps, Stopped> {
        let past = self.past.clone();
        let mut changed = self.done.iter().any(|step| step.changed);
        let mut next = past.as_ref().map_or(0, |past| self.first_open(past));
        if let Some(failure) = past.as_ref().and_then(|past| self.failed_before(past, next)) {
            self.done = self.done_until(next + 1);
            return Ok(Steps::Failed(self.name_step(next, &failure)));
        }
        // What was half done when the run was cut off is no more than that: it is tried again, or found done.
        self.done = self.done_until(next);
        let mut batch = match &past {
            Some(past) => worker.reattach(&self.of.steps.iter().collect::<Vec<_>>(), past, link).await?,
            None => Batch::default(),
        };
        let mut unbegun = 0;
        let mut left_unknown = past.as_ref();
        loop {
            let begun_any = !batch.ran.is_empty() || batch.again;
            // What is only heard of now, after the run was taken up again, may have ended long ago.
            let late = past.as_ref().and_then(|past| past.segment.as_ref()).filter(|_| !batch.started);
            let ended = |at| late.map_or(Ended::Now(at), |sent| Ended::Before(sent.sent));
            for Ran { index, outcome, receipt, start, at } in std::mem::take(&mut batch.ran) {
                let ended = Turn::made(&receipt, ended(at));
                let done = DoneStep { index, receipt, ended, changed: false, half: false };
                match &outcome {
                    StepOutcome::Changed => {
                        changed = true;
                        self.done.push(DoneStep { changed: true, ..done });
                    }
                    StepOutcome::Unchanged => {
                        // A step that found nothing to do may still have left a receipt.
                        if !done.receipt.is_empty() {
                            self.done.push(done);
                        }
                    }
                    StepOutcome::Skipped { .. } => {}
                    StepOutcome::Failed { failure } => {
                        let named = self.name_step(index, failure);
                        if start == Start::Begun {
                            // Half run: its undo copes with that. What never began is not taken back.
                            self.done.push(DoneStep { changed: true, half: true, ..done });
                        }
                        self.took_itself_back = start == Start::TakenBack;
                        return Ok(if start == Start::Fenced { Steps::Fenced(named) } else { Steps::Failed(named) });
                    }
                    StepOutcome::Unknown { failure } => return Ok(Steps::Unknown(self.name_step(index, failure))),
                }
                next = index + 1;
            }
            self.done.sort_by_key(|done| done.index);
            // What stands of data that was not taken back with the code is not done again.
            while next < self.of.steps.len() && self.stands(next) {
                next += 1;
            }
            if next >= self.of.steps.len() {
                return Ok(Steps::AllDone { changed });
            }
            if self.means.control.stop_now() > Stop::No {
                return Ok(Steps::Interrupted);
            }
            let step = &self.of.steps[next];
            // Lost on its way, or between two controllers: the same attempt is sent again.
            unbegun = if batch.started && !begun_any { unbegun + 1 } else { 0 };
            if unbegun >= MOST_UNBEGUN {
                let failure = Failure::new(FailureClass::Step, "the host did not begin it, and did not say why")
                    .because(format!("it was sent {MOST_UNBEGUN} times; nothing of it ran"))
                    .hint("see that the link to the host holds and that it can start processes");
                return Ok(Steps::Failed(self.name_step(next, &failure)));
            }
            if unbegun > 1 {
                tokio::select! {
                    () = tokio::time::sleep(UNBEGUN_PAUSE * 2_u32.pow(unbegun - 2)) => {}
                    () = self.means.control.asked_for(Stop::Drain) => return Ok(Steps::Interrupted),
                }
            }
            if let Some(past) = left_unknown.take() {
                match worker.resolve(step, past, link).await? {
                    Resolved::Again => {}
                    Resolved::Done => {
                        let ran = Ran {
                            index: next,
                            outcome: StepOutcome::Changed,
                            receipt: Receipt::default(),
                            start: Start::Begun,
                            at: Instant::now(),
                        };
                        batch = Batch { ran: vec![ran], ..Batch::default() };
                        continue;
                    }
                    Resolved::Failed(failure) => {
                        let receipt = Receipt::default();
                        let ended = ended(Instant::now());
                        self.done.push(DoneStep { index: next, receipt, ended, changed: true, half: true });
                        return Ok(Steps::Failed(self.name_step(next, &failure)));
                    }
                    Resolved::Unknown(failure) => return Ok(Steps::Unknown(self.name_step(next, &failure))),
                }
            }
            let proof = match self.proof(step) {
                Ok(proof) => proof,
                Err(failure) => return Ok(Steps::Failed(failure)),
            };
            batch = match step.work() {
                Work::Host(_) => {
                    let end = next + self.segment_length(next);
                    worker.run_segment(&self.of.steps[next..end], next, &proof, link).await?
                }
                Work::Controller(work) => {
                    let ran = worker.run_attached(step, next, work, past.as_ref(), link).await?;
                    Batch { ran: vec![ran], ..Batch::default() }
                }
            };
            batch.started = true;
        }
    }

    /// The first step that has not ended well, or was taken back.
    pub(super) fn first_open(&self, past: &HostState) -> usize {
        let open = self.of.steps.iter().position(|step| !past.steps.get(&step.id).is_some_and(ended_well));
        open.unwrap_or(self.of.steps.len())
    }

    /// Whether a step ended well before the run was taken up again, and was not taken back.
    fn stands(&self, index: usize) -> bool {
        let past = self.past.as_ref().and_then(|past| past.steps.get(&self.of.steps[index].id));
        past.is_some_and(ended_well)
    }

    /// The done steps before `open`, and those after it that stand: data that was not taken back with the code.
    fn done_until(&mut self, open: usize) -> Vec<DoneStep> {
        let done = std::mem::take(&mut self.done);
        done.into_iter().filter(|done| done.index < open || self.stands(done.index)).collect()
    }

    /// How the open step ended before the run was cut off, where nobody has acted on it yet.
    ///
    /// A step that failed is not tried again by a `resume`: what it did half may not be done twice.
    fn failed_before(&self, past: &HostState, open: usize) -> Option<Failure> {
        use FailureClass::{Check, Step, TimedOut};
        let step = self.of.steps.get(open).filter(|step| step.retry.is_none())?;
        let state = past.steps.get(&step.id)?;
        let is_new = past.outcome.is_none() && !state.is_weighed && state.undo == UndoState::None;
        let failure = state.outcome.as_ref().and_then(StepOutcome::failure)?;
        (is_new && matches!(failure.class, Step | TimedOut | Check)).then(|| failure.clone())
    }

    /// The steps that stood, or may have, when the run was cut off, in the plan's order.
    pub(super) fn stood_before(&self, past: &HostState) -> Vec<DoneStep> {
        let steps = self.of.steps.iter().enumerate();
        let stood = steps.filter_map(|(index, step)| {
            let state = past.steps.get(&step.id)?;
            // What was refused did not begin.
            let begun = |failure: &Failure| !matches!(failure.class, FailureClass::Refused | FailureClass::Gate);
            let half = state.outcome.as_ref().and_then(StepOutcome::failure).is_some_and(begun);
            let changed = state.undo != UndoState::Undone && (state.stands() || half);
            let proves = state.outcome == Some(StepOutcome::Unchanged) && !state.receipt.is_empty();
            let ended = Turn::made(&state.receipt, Ended::Before(state.ended.unwrap_or(state.started)));
            (changed || proves).then(|| DoneStep { index, receipt: state.receipt.clone(), ended, changed, half })
        });
        stood.collect()
    }

    fn name_step(&self, index: usize, failure: &Failure) -> Failure {
        let mut named = failure.clone();
        named.causes.insert(0, failure.message.clone());
        named.message = format!(
            "step `{}` {}",
            self.of.steps[index].name,
            if failure.class == FailureClass::Unknown { "may or may not have happened" } else { "failed" }
        );
        if failure.class == FailureClass::Unknown && named.hint.is_none() {
            let (run, id) = (&self.means.run, &self.of.steps[index].id);
            named = named.hint(format!(
                "nothing is repeated by itself: look at the host, then `longshore close {run} --host {} --step {id} --as done --reason TEXT` (or `--as not-done`), then `longshore retry {run} --held`",
                self.host
            ));
        }
        named
    }

    /// How many steps from `first` on can travel as one program.
    fn segment_length(&self, first: usize) -> usize {
        let steps = &self.of.steps[first..];
        let together = steps.iter().take(MOST_STEPS).enumerate().take_while(|(offset, step)| {
            let Work::Host(program) = step.work() else { return false };
            // A step that is tried again, must be confirmed, restarts the host, needs a file first or relies on a receipt begins
            // a segment of its own.
            let alone = |step: &PlannedStep| {
                step.retry.is_some() || step.confirm_within.is_some() || step.action.restarts_host()
            };
            let apart = alone(step) || program.upload.is_some() || !step.requires.is_empty();
            *offset == 0
                || (!self.stands(first + offset) && !apart && !alone(&steps[0]) && step.run_as == steps[0].run_as)
        });
        together.count().max(1)
    }
}

fn ended_well(state: &StepState) -> bool {
    state.outcome.as_ref().is_some_and(StepOutcome::is_good) && state.undo != UndoState::Undone
}
