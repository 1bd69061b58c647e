//! One host's turn: lease, baseline, gates, steps, after-checks, release of the lease.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    HostEnd, Means, Mode, Stop,
    checks::{self, Patience},
    link::{Link, LinkError},
    look,
    program::{Batch, Ran, Resolved, Start, Worker, hidden},
    unwind::{self, Unwound},
};
use crate::{
    durable::MOST_STEPS,
    event::{Happening, HostState, Phase, RecordError, StepState, UndoState},
    model::{
        Effect, Failure, FailureClass, HostName, HostOutcome, Receipt, Span, StepId, StepOutcome, Verdict, Version,
    },
    plan::{HostPlan, Plan, PlannedCheck, PlannedStep},
    steps::Work,
};

/// Times that a host may not begin what it was sent, without a reason, before that is a failure.
const MOST_UNBEGUN: u32 = 3;

/// Takes one host's turn to its end. Only a failing ledger is an error.
pub(super) async fn run(
    plan: Arc<Plan>,
    host: HostName,
    wave: usize,
    mode: Mode,
    past: Option<HostState>,
    means: Means,
) -> Result<HostEnd, RecordError> {
    let begun = Instant::now();
    means.recorder.record(Some(&host), Happening::HostStarted { wave }).await?;
    let host_plan = &plan.hosts[&host];
    let mut turn = Turn {
        plan: &plan,
        host: host.clone(),
        of: host_plan,
        means: &means,
        before: None,
        after: None,
        done: Vec::new(),
        past,
    };
    let mut site = Site::default();
    let (outcome, failure) = match turn.take(mode, &mut site).await {
        Ok(ended) => ended,
        // It was not looked for any longer because a person wants to leave.
        Err(Stopped::Ended(HostOutcome::Unreachable, failure)) if means.control.stop_now() == Stop::Detach => {
            (HostOutcome::Interrupted, failure)
        }
        Err(Stopped::Ended(outcome, failure)) => (outcome, failure),
        Err(Stopped::Ledger(error)) => return Err(error),
    };
    let what = Happening::HostFinished {
        outcome,
        failure: failure.clone(),
        before: turn.before,
        after: turn.after,
        took: since(begun),
    };
    means.recorder.record(Some(&host), what).await?;
    site.leave().await;
    Ok(HostEnd { host, outcome, failure })
}

/// What is still open when a host's turn ends, until its end is in the ledger.
#[derive(Default)]
struct Site {
    link: Option<Link>,
    worker: Option<Worker>,
    /// Nothing is left to go on with or to take back: the host may forget the run.
    may_forget: bool,
}

impl Site {
    /// Lets the host forget the run where it may, and closes the link.
    async fn leave(self) {
        let Some(link) = self.link else { return };
        if let Some(worker) = self.worker.filter(|_| self.may_forget) {
            worker.clean(&link).await;
        }
        link.close().await;
    }
}

/// Time since `begun`, in whole milliseconds.
pub(super) fn since(begun: Instant) -> Span {
    Span(Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

/// Why a host's turn ended before its time.
pub(super) enum Stopped {
    Ledger(RecordError),
    Ended(HostOutcome, Option<Failure>),
}

impl From<RecordError> for Stopped {
    fn from(error: RecordError) -> Self {
        Self::Ledger(error)
    }
}

impl From<LinkError> for Stopped {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Ledger(error) => Self::Ledger(error),
            LinkError::Failed(failure) => Self::Ended(outcome_unreached(&failure), Some(failure)),
        }
    }
}

/// A host that could not be reached is a class of its own; one that refused us has failed.
pub(super) fn outcome_unreached(failure: &Failure) -> HostOutcome {
    match failure.class {
        FailureClass::Refused => HostOutcome::Refused,
        FailureClass::Unknown => HostOutcome::Unknown,
        class if class.is_unreachable() => HostOutcome::Unreachable,
        _ => HostOutcome::Failed,
    }
}

/// A step that changed the host, or may have.
pub(super) struct DoneStep {
    pub(super) index: usize,
    receipt: Receipt,
    /// When it ended; `None` where that was before the run was taken up again.
    ended: Option<Instant>,
    /// False for a step that found nothing to do, and stands here for its receipt alone.
    pub(super) changed: bool,
}

/// One host's turn in a run.
pub(super) struct Turn<'a> {
    pub(super) plan: &'a Plan,
    pub(super) host: HostName,
    pub(super) of: &'a HostPlan,
    pub(super) means: &'a Means,
    before: Option<Version>,
    after: Option<Version>,
    /// Steps that changed the host, or may have, in order.
    pub(super) done: Vec<DoneStep>,
    /// What the ledger knows of the host, where the run was taken up again.
    past: Option<HostState>,
}

/// How the steps ended.
enum Steps {
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
    /// Takes the turn. What is still open afterwards is left in `site`.
    async fn take(&mut self, mode: Mode, site: &mut Site) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let link = site.link.insert(Link::open(&self.host, self.of, self.means).await?);
        let ended = match mode {
            Mode::Apply => {
                let worker = Worker::begin(&self.host, self.of, self.past.as_ref(), link, self.means).await;
                match worker {
                    Ok(worker) => {
                        let worker = site.worker.insert(worker);
                        let ended = self.apply(worker, link).await;
                        site.may_forget = self.may_forget(&ended);
                        ended
                    }
                    Err(stopped) => Err(stopped),
                }
            }
            Mode::Look { diff } => self.look(link, diff).await,
        };
        let hide = |failure: Option<Failure>| failure.map(|failure| hidden(failure, &link.redactor));
        match ended {
            Ok((outcome, failure)) => Ok((outcome, hide(failure))),
            Err(Stopped::Ended(outcome, failure)) => Err(Stopped::Ended(outcome, hide(failure))),
            Err(error) => Err(error),
        }
    }

    async fn look(&mut self, link: &mut Link, diff: bool) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        self.before = self.read_version(link).await?;
        self.after.clone_from(&self.before);
        if let Some(moved) = self.moved() {
            return Ok((HostOutcome::Refused, Some(moved)));
        }
        let seen = look::steps(&self.host, self.of, link, diff, self.means).await?;
        Ok(match seen.failure {
            Some(failure) => (HostOutcome::Failed, Some(failure)),
            None if seen.changes => (HostOutcome::Done, None),
            None => (HostOutcome::Unchanged, None),
        })
    }

    async fn apply(&mut self, worker: &mut Worker, link: &mut Link) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let ended = self.with_lease(worker, link).await;
        let left =
            matches!(&ended, Ok((HostOutcome::Interrupted, _)) | Err(Stopped::Ended(HostOutcome::Interrupted, _)));
        if left && self.means.control.stop_now() == Stop::Detach {
            // What goes on there has the lease for as long as it runs; then it runs out by itself, unless
            // `resume` takes it up before. Waiting for that is not what a person asked for.
            return ended;
        }
        worker.release(link).await;
        ended
    }

    /// Only a host where nothing is left to go on with or to take back may forget the run: what the undos
    /// need is kept there.
    fn may_forget(&self, ended: &Result<(HostOutcome, Option<Failure>), Stopped>) -> bool {
        use HostOutcome::{Done, Parked, Refused, Unchanged, Undone};
        match ended {
            Ok((Done | Unchanged | Undone | Parked, _)) => true,
            Ok((Refused, _)) => self.done.is_empty(),
            _ => false,
        }
    }

    async fn with_lease(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let mut begun_before = false;
        if let Some(past) = &self.past {
            self.before.clone_from(&past.before);
            let failure = past.unwinding().cloned();
            self.done = self.stood_before(past);
            // A host that was taken back, or never came to its steps, begins anew: baseline and gates included.
            begun_before = !self.done.is_empty() || past.is_in_the_middle();
            if let Some(failure) = failure {
                return self.unwind(worker, link, failure).await;
            }
        }
        if !begun_before && let Some(ended) = self.may_begin(link).await? {
            return Ok(ended);
        }

        let failure = match self.steps(worker, link).await? {
            Steps::Interrupted => {
                let failure = (!self.done.is_empty()).then(|| {
                    Failure::new(
                        FailureClass::Controller,
                        format!("stopped after step {} of {}", self.done_count(), self.of.steps.len()),
                    )
                });
                return Ok((HostOutcome::Interrupted, failure));
            }
            Steps::Unknown(failure) => return Ok((HostOutcome::Unknown, Some(failure))),
            Steps::Fenced(failure) => return Ok((HostOutcome::Refused, Some(failure))),
            Steps::Failed(failure) => failure,
            Steps::AllDone { changed } => {
                self.after = self.read_version(link).await?;
                match self.prove(link).await? {
                    None => return Ok((if changed { HostOutcome::Done } else { HostOutcome::Unchanged }, None)),
                    Some(failure) => failure,
                }
            }
        };
        self.failed(worker, link, failure).await
    }

    /// Reads the version, the baseline and the gates. Returns how the turn ends, when it may not begin.
    async fn may_begin(&mut self, link: &mut Link) -> Result<Option<(HostOutcome, Option<Failure>)>, Stopped> {
        self.before = self.read_version(link).await?;
        if let Some(moved) = self.moved() {
            return Ok(Some((HostOutcome::Refused, Some(moved))));
        }
        let baseline: Vec<_> = self.of.checks.iter().filter(|check| !check.after_only).collect();
        if let Some(failure) = self.check(link, baseline, Phase::Baseline, Patience::Once).await? {
            let hint = "the host was red before anything was changed: mend it, then `longshore retry --failed`";
            return Ok(Some((HostOutcome::Parked, Some(failure.hint(hint)))));
        }
        let gates = self.of.gates.iter().collect();
        let closed = self.check(link, gates, Phase::Gate, Patience::AsPlanned).await?;
        Ok(closed.map(|failure| (HostOutcome::Parked, Some(failure))))
    }

    /// Says that the host is not what the plan was made for.
    fn moved(&self) -> Option<Failure> {
        let found = self.of.found.as_ref().filter(|found| self.before.as_ref() != Some(found))?;
        let now =
            self.before.as_ref().map_or_else(|| "its version cannot be read".to_owned(), |now| format!("it has {now}"));
        let moved = format!("the host moved since the plan: it had {found}, now {now}");
        Some(Failure::new(FailureClass::Refused, moved).hint("make a new plan"))
    }

    /// The steps that stood, or may have, when the run was cut off, in the plan's order.
    fn stood_before(&self, past: &HostState) -> Vec<DoneStep> {
        let steps = self.of.steps.iter().enumerate();
        let stood = steps.filter_map(|(index, step)| {
            let state = past.steps.get(&step.id)?;
            // What was refused did not begin.
            let begun = |failure: &Failure| failure.class != FailureClass::Refused;
            let half = state.outcome.as_ref().and_then(StepOutcome::failure).is_some_and(begun);
            let changed = state.undo != UndoState::Undone && (state.stands() || half);
            let proves = state.outcome == Some(StepOutcome::Unchanged) && !state.receipt.is_empty();
            (changed || proves).then(|| DoneStep { index, receipt: state.receipt.clone(), ended: None, changed })
        });
        stood.collect()
    }

    /// The undo of a step that was under way when the run was cut off: its segment and its number.
    pub(super) fn undo_begun(&self, step: &StepId) -> Option<(String, u32)> {
        let past = self.past.as_ref()?;
        let running = past.steps.get(step).is_some_and(|state| state.undo == UndoState::Running);
        let sent = past
            .segment
            .as_ref()
            .filter(|sent| running && sent.steps.iter().any(|one| one.undo && one.step == *step))?;
        Some((sent.name.clone(), past.undo_attempts.get(step).copied().unwrap_or(1)))
    }

    fn done_count(&self) -> usize {
        self.done.last().map_or(0, |step| step.index + 1)
    }

    /// Proves that the host is what the plan wanted: its version and its health.
    async fn prove(&mut self, link: &mut Link) -> Result<Option<Failure>, Stopped> {
        if let (Some(wanted), Some(_)) = (&self.plan.wanted, &self.of.version) {
            let is = self.after.as_ref();
            if is != Some(wanted) {
                let seen = is.map_or_else(|| "its version is unknown".to_owned(), |is| format!("it runs {is}"));
                return Ok(Some(Failure::new(FailureClass::Check, format!("wanted {wanted}, but {seen}"))));
            }
        }
        self.check(link, self.of.checks.iter().collect(), Phase::After, Patience::AsPlanned).await
    }

    async fn check(
        &self,
        link: &mut Link,
        checks: Vec<&PlannedCheck>,
        phase: Phase,
        patience: Patience,
    ) -> Result<Option<Failure>, Stopped> {
        let round = checks::make(&self.host, link, checks, phase, patience, self.means).await?;
        if round.verdict() == Verdict::Pass {
            return Ok(None);
        }
        let (class, what) = match phase {
            Phase::Gate => (FailureClass::Gate, "gate"),
            Phase::Baseline => (FailureClass::Gate, "red before we began:"),
            Phase::After | Phase::Unwound | Phase::Soak | Phase::Sweep => (FailureClass::Check, "check"),
        };
        Ok(round.failure(class, what))
    }

    async fn read_version(&self, link: &mut Link) -> Result<Option<Version>, Stopped> {
        Ok(super::sweep::read_version(&self.host, self.of, link, self.means).await?)
    }

    /// Runs the steps in order; host programs that follow each other travel together.
    async fn steps(&mut self, worker: &mut Worker, link: &mut Link) -> Result<Steps, Stopped> {
        let past = self.past.clone();
        let mut changed = self.done.iter().any(|step| step.changed);
        let mut next = past.as_ref().map_or(0, |past| self.first_open(past));
        // What was half done when the run was cut off is no more than that: it is tried again, or found done.
        self.done.retain(|step| step.index < next);
        let mut batch = match &past {
            Some(past) => worker.reattach(self.of, past, link).await?,
            None => Batch::default(),
        };
        let mut unbegun = 0;
        let mut left_unknown = past.as_ref();
        loop {
            let begun_any = !batch.ran.is_empty() || batch.again;
            for Ran { index, outcome, receipt, start } in std::mem::take(&mut batch.ran) {
                let done = DoneStep { index, receipt, ended: Some(Instant::now()), changed: false };
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
                            self.done.push(DoneStep { changed: true, ..done });
                        }
                        return Ok(if start == Start::Fenced { Steps::Fenced(named) } else { Steps::Failed(named) });
                    }
                    StepOutcome::Unknown { failure } => return Ok(Steps::Unknown(self.name_step(index, failure))),
                }
                next = index + 1;
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
                let failure = Failure::new(FailureClass::Step, "the host did not begin it, and did not say why");
                return Ok(Steps::Failed(self.name_step(next, &failure)));
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
                        };
                        batch = Batch { ran: vec![ran], ..Batch::default() };
                        continue;
                    }
                    Resolved::Failed(failure) => {
                        self.done.push(DoneStep {
                            index: next,
                            receipt: Receipt::default(),
                            ended: None,
                            changed: true,
                        });
                        return Ok(Steps::Failed(self.name_step(next, &failure)));
                    }
                    Resolved::Unknown(failure) => return Ok(Steps::Unknown(self.name_step(next, &failure))),
                }
            }
            if let Some(failure) = self.missing_receipt(step) {
                return Ok(Steps::Failed(self.name_step(next, &failure)));
            }
            batch = match step.action.kind().work() {
                Work::Host(_) => {
                    let end = next + self.segment_length(next);
                    worker.run_segment(self.of, next..end, link).await?
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
    fn first_open(&self, past: &HostState) -> usize {
        let stands = |state: &StepState| {
            state.outcome.as_ref().is_some_and(StepOutcome::is_good) && state.undo != UndoState::Undone
        };
        let open = self.of.steps.iter().position(|step| !past.steps.get(&step.id).is_some_and(stands));
        open.unwrap_or(self.of.steps.len())
    }

    /// Says which receipt a step needs and does not have.
    fn missing_receipt(&self, step: &PlannedStep) -> Option<Failure> {
        step.requires.iter().find_map(|needed| {
            let from = self.done.iter().rev().find(|done| self.of.steps[done.index].name == needed.receipt);
            let found = from.filter(|done| !done.receipt.is_empty());
            let refused = |what: String| Some(Failure::new(FailureClass::Gate, what));
            match (found, needed.younger_than) {
                (None, _) => refused(format!("it needs the receipt of `{}`, and there is none", needed.receipt)),
                (Some(_), None) => None,
                (Some(done), Some(limit)) => {
                    let young = done.ended.is_some_and(|ended| ended.elapsed() < limit.0);
                    (!young).then(|| {
                        let what = format!("the receipt of `{}` is not younger than {limit}", needed.receipt);
                        Failure::new(FailureClass::Gate, what)
                    })
                }
            }
        })
    }

    fn name_step(&self, index: usize, failure: &Failure) -> Failure {
        let mut named = failure.clone();
        named.causes.insert(0, failure.message.clone());
        named.message = format!(
            "step `{}` {}",
            self.of.steps[index].name,
            if failure.class == FailureClass::Unknown { "may or may not have happened" } else { "failed" }
        );
        named
    }

    /// How many steps from `first` on can travel as one program.
    fn segment_length(&self, first: usize) -> usize {
        let steps = &self.of.steps[first..];
        let together = steps.iter().take(MOST_STEPS).enumerate().take_while(|(offset, step)| {
            let Work::Host(program) = step.action.kind().work() else { return false };
            // A step that is tried again, needs a file first or relies on a receipt begins a segment of its own.
            let apart = step.retry.is_some() || program.upload.is_some() || !step.requires.is_empty();
            *offset == 0 || (!apart && steps[0].retry.is_none() && step.run_as == steps[0].run_as)
        });
        together.count().max(1)
    }

    /// Takes a failed host back where the plan lets it, or holds it for a person.
    async fn failed(
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
    async fn unwind(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
        failure: Failure,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        match unwind::steps(self, worker, link).await? {
            Unwound::Stuck(undo) => {
                let stuck = failure.because(format!("taking it back failed: {undo}")).hint(format!(
                    "the host is stuck between two versions: `longshore history show --host {}` has everything it said",
                    self.host
                ));
                Ok((HostOutcome::Stuck, Some(stuck)))
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
}
