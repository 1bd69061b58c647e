//! Runs the steps of one host: programs durably on the host, the rest from here.
//!
//! The intention is recorded before the host hears of it. After a lost link the same attempts are asked
//! for again; nothing that may have started is ever started twice.

mod channel;
mod confirm;
mod ending;
mod jobs;
mod outside;
mod settle;
mod tell;

use std::{collections::BTreeMap, sync::Mutex};

use tokio::time::Instant;

use super::{
    Means, Stop,
    hold::{Holds, Leaves, Manner},
    host::{Proof, Stopped, outcome_unreached},
    link::Link,
    renew::Gone,
};
use crate::{
    durable::{Attempt, DurableError},
    event::{HostState, StepState, UndoSent, UndoState},
    model::{Effect, Failure, FailureClass, HostName, HostOutcome, Receipt, Redactor, StepId, StepOutcome},
    plan::{HostPlan, PlannedCheck, PlannedStep, PlannedUndo},
    steps::{HostProgram, Outside, Work},
};

use confirm::no_way_back;
use ending::not_durable;
pub(super) use ending::outcome;
use jobs::{Job, JobEnd};
pub(super) use settle::Resolved;
pub(super) use tell::{hidden, hidden_receipt, kept_lines, secrets_in};

/// How one step ended.
pub(super) struct Ran {
    pub(super) index: usize,
    pub(super) outcome: StepOutcome,
    pub(super) receipt: Receipt,
    pub(super) start: Start,
    /// When its end was heard of.
    pub(super) at: Instant,
}

/// Whether a step that did not end well can have changed the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Its program ran, or may have.
    Begun,
    /// It certainly did not, so there is nothing to take back.
    Never,
    /// It ran, was not confirmed in time, and the host took it back by itself.
    TakenBack,
    /// It did not, and nothing of this run can: the host belongs to another controller now.
    Fenced,
}

/// Steps that were run together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) ran: Vec<Ran>,
    /// The step after these may be sent again.
    pub(super) again: bool,
    /// It was sent, and not only asked for.
    pub(super) started: bool,
}

/// Works on one host under its lease.
pub(super) struct Worker {
    host: HostName,
    means: Means,
    holds: Holds,
    redactor: Redactor,
    /// Facts of the run for notices.
    words: BTreeMap<String, String>,
    /// Number of the last attempt of each part of each step; every number is used once.
    attempts: BTreeMap<(StepId, bool), u32>,
    segments: u32,
    /// Attempts whose start was recorded, and no end, when the run was taken up again.
    open: BTreeMap<StepId, u32>,
    /// How the work of the plan's steps outside of their processes is found.
    outside: BTreeMap<StepId, Outside>,
    /// What must pass before a step is confirmed.
    gates: Vec<PlannedCheck>,
    checks: Vec<PlannedCheck>,
    /// The step that was begun and has not ended.
    under_way: Mutex<Option<String>>,
}

impl Worker {
    /// Asks what the host can do, and takes its lease.
    pub(super) async fn begin(
        host: &HostName,
        of: &HostPlan,
        manifest: String,
        past: Option<&HostState>,
        link: &mut Link,
        means: &Means,
    ) -> Result<Self, Stopped> {
        let words = BTreeMap::from([
            ("run".to_owned(), means.run.to_string()),
            ("host".to_owned(), host.to_string()),
            ("owner".to_owned(), means.owner.clone()),
        ]);
        let mut holds = Holds::new(of, manifest, past);
        let mut taken = take_all(&mut holds, of, past, link, means).await;
        if let (Ok(()), Some(past)) = (&taken, past) {
            taken = holds.remembers(of, past, link).await;
        }
        if let Err(stopped) = taken {
            // What was taken before the refusal is given back: nothing was begun under it.
            holds.give_back(link).await;
            return Err(stopped);
        }
        let (attempts, segments) = past.map_or_else(Default::default, recall);
        let outside = of.steps.iter().filter_map(|step| match step.work() {
            Work::Host(program) => Some((step.id.clone(), *program.outside?)),
            Work::Controller(_) => None,
        });
        let redactor = link.redactor.clone();
        let gates = of.gates.clone();
        let checks = of.checks.iter().filter(|check| !check.after_only).cloned().collect();
        Ok(Self {
            host: host.clone(),
            means: means.clone(),
            holds,
            redactor,
            words,
            attempts,
            segments,
            open: past.map_or_else(BTreeMap::new, |past| {
                let open = past.steps.iter().filter(|(_, step)| step.outcome.is_none());
                open.map(|(id, step)| (id.clone(), step.attempt)).collect()
            }),
            outside: outside.collect(),
            under_way: Mutex::default(),
            gates,
            checks,
        })
    }

    /// Returns once a lease is not ours any more, with what that means.
    pub(super) fn watch(&self) -> impl Future<Output = Gone> + use<> {
        self.holds.watch()
    }

    /// The name of the step that was begun and has not ended.
    pub(super) fn under_way(&self) -> Option<String> {
        self.under_way.lock().ok().and_then(|step| step.clone())
    }

    /// Whether anything of this run was ever sent to the host.
    pub(super) fn has_sent(&self) -> bool {
        self.segments > 0
    }

    /// Gives the leases back.
    pub(super) async fn release(&self, link: &mut Link) {
        self.holds.give_back(link).await;
    }

    /// Closes the run on the host. Only once the ledger has the host's end: until then what the host keeps is
    /// what `resume` goes by.
    pub(super) async fn close(&self, link: &Link, leaves: Leaves) {
        self.holds.close(link, leaves).await;
    }

    /// Runs consecutive host programs. Ends at the first that does not end well, or when asked to stop.
    pub(super) async fn run_segment(
        &mut self,
        planned: &[PlannedStep],
        first: usize,
        proof: &Proof,
        link: &mut Link,
    ) -> Result<Batch, Stopped> {
        let deadline = planned[0].retry.as_ref().map(|retry| Instant::now() + retry.within.0);
        loop {
            let mut jobs = Vec::new();
            for (offset, step) in planned.iter().enumerate() {
                let Work::Host(mut program) = step.work() else { continue };
                if offset == 0 {
                    program.act = proof.before(&program.act);
                    program.look = program.look.map(|look| format!("{}{look}", proof.values));
                }
                let attempt = self.next_attempt(step, false);
                let deadman = self.deadman(step);
                jobs.push(Job { step, attempt, program, is_undo: false, part: 0, announced: false, deadman });
            }
            let numbers: Vec<_> = jobs.iter().map(|job| (job.step.id.clone(), job.attempt.number)).collect();
            let (ends, again) = self.run_and_settle(jobs, None, link).await?;
            // The same attempt is sent again of what did not begin: its number was not used.
            for (id, number) in numbers.into_iter().skip(ends.len() + usize::from(again)) {
                self.attempts.insert((id, false), number - 1);
            }
            let failed = matches!(ends.last(), Some(JobEnd { outcome: StepOutcome::Failed { .. }, .. }));
            if let (true, Some(retry), Some(deadline)) = (failed, &planned[0].retry, deadline)
                && Instant::now() + retry.every.0 < deadline
                && self.means.control.stop_now() == Stop::No
            {
                tokio::select! {
                    () = tokio::time::sleep(retry.every.0) => continue,
                    () = self.means.control.asked_for(Stop::Drain) => {}
                }
            }
            let ran = ends.into_iter().enumerate();
            let ran = ran.map(|(offset, end)| self::ran(first + offset, end));
            return Ok(Batch { ran: ran.collect(), again, started: true });
        }
    }

    /// Goes on with the segment that was sent before the run was taken up again, if it has open ends, as far as it
    /// has to do with `steps`.
    pub(super) async fn reattach(
        &mut self,
        steps: &[&PlannedStep],
        past: &HostState,
        link: &mut Link,
    ) -> Result<Batch, Stopped> {
        let Some(sent) = &past.segment else { return Ok(Batch::default()) };
        let mut jobs = Vec::new();
        let mut indices = Vec::new();
        for one in sent.steps.iter().filter(|one| !one.undo) {
            let state = past.steps.get(&one.step).filter(|state| state.attempt == one.attempt);
            if state.is_some_and(|state| state.outcome.is_some()) {
                continue;
            }
            let Some(index) = steps.iter().position(|step| step.id == one.step) else { continue };
            let Work::Host(program) = steps[index].work() else { continue };
            let attempt = Attempt::act(one.step.clone(), one.attempt);
            jobs.push(Job {
                step: steps[index],
                attempt,
                program,
                is_undo: false,
                part: 0,
                announced: state.is_some(),
                deadman: None,
            });
            indices.push(index);
        }
        if jobs.is_empty() {
            return Ok(Batch::default());
        }
        let numbers: Vec<_> = jobs.iter().map(|job| (job.step.id.clone(), job.attempt.number)).collect();
        let (ends, again) = self.run_and_settle(jobs, Some(sent.name.clone()), link).await?;
        for (id, number) in numbers.into_iter().take(ends.len() + usize::from(again)) {
            self.attempts.insert((id, false), number);
        }
        let ran = ends.into_iter().zip(indices);
        let ran = ran.map(|(end, index)| self::ran(index, end));
        Ok(Batch { ran: ran.collect(), again, started: false })
    }

    /// Runs an undo's program in the directory of the step it takes back.
    ///
    /// `begun` is what was sent of it before the run was taken up again.
    pub(super) async fn run_undo(
        &mut self,
        of: &PlannedStep,
        (part, undo): (usize, &PlannedStep),
        program: HostProgram,
        begun: Option<UndoSent>,
        link: &mut Link,
    ) -> Result<StepOutcome, Stopped> {
        let attempt = self.next_attempt(of, true);
        let job = |attempt: &Attempt| Job {
            step: undo,
            attempt: attempt.clone(),
            program: program.clone(),
            is_undo: true,
            part,
            announced: false,
            deadman: None,
        };
        let mut end = match begun {
            Some(sent) => self.run_jobs(vec![job(&attempt)], Some(sent.segment), link).await?.pop(),
            None => None,
        };
        if end.is_none() {
            // Not begun, then or now: the same attempt starts at most once.
            end = self.run_jobs(vec![job(&attempt)], None, link).await?.pop();
        }
        Ok(end.map_or_else(
            || StepOutcome::Failed { failure: Failure::new(FailureClass::Undo, "the host did not begin it") },
            |end| end.outcome,
        ))
    }

    fn next_attempt(&mut self, step: &PlannedStep, is_undo: bool) -> Attempt {
        let number = self.attempts.entry((step.id.clone(), is_undo)).or_default();
        *number += 1;
        if is_undo { Attempt::undo(step.id.clone(), *number) } else { Attempt::act(step.id.clone(), *number) }
    }
}

fn ran(index: usize, end: JobEnd) -> Ran {
    Ran { index, outcome: end.outcome, receipt: end.receipt, start: end.start, at: end.at }
}

/// Takes the leases of all users that programs of the plan run as, before anything is begun under one of them.
async fn take_all(
    holds: &mut Holds,
    of: &HostPlan,
    past: Option<&HostState>,
    link: &mut Link,
    means: &Means,
) -> Result<(), Stopped> {
    let undos = of.steps.iter().flat_map(|step| match &step.undo {
        PlannedUndo::By(steps) => steps.as_slice(),
        _ => &[],
    });
    let prepared = of.recovery.steps().map(|step| (step, true));
    let all = of.steps.iter().map(|step| (step, false)).chain(undos.map(|undo| (undo, true))).chain(prepared);
    for (step, for_later) in all {
        let on_host = matches!(step.work(), Work::Host(_));
        // The controller's own work is kept from two controllers just as well.
        if !on_host && step.effect == Effect::Read {
            continue;
        }
        let reason = match holds.manner(step.run_as.as_deref(), link, means).await? {
            Manner::Attached { reason } => reason,
            Manner::Durable(held) => {
                // One that was begun is armed, and its host may only just be coming up.
                let begun = past.is_some_and(|past| past.steps.contains_key(&step.id));
                if !for_later && !begun && step.confirm_within.is_some() && step.action.restarts_host() {
                    let hook = held.side.boot_hook().await.map_err(|error| not_asked(&error))?;
                    if let Some(failure) = no_way_back(step, hook.as_deref()) {
                        return Err(Stopped::Ended(HostOutcome::Refused, Some(failure)));
                    }
                }
                continue;
            }
        };
        if on_host && !for_later && (!step.repeat_safe || step.confirm_within.is_some()) {
            let failure =
                not_durable(reason).because(format!("step `{}` must not run twice; nothing was begun", step.name));
            return Err(Stopped::Ended(HostOutcome::Refused, Some(failure)));
        }
    }
    Ok(())
}

/// A question before anything was begun that got no answer.
fn not_asked(error: &DurableError) -> Stopped {
    let failure = Failure::from_error(error.class(), error);
    Stopped::Ended(outcome_unreached(&failure), Some(failure))
}

/// The numbers of the attempts and segments that were used before the run was taken up again.
///
/// An attempt that was begun and has no result yet is not among them: it goes on under its number.
fn recall(past: &HostState) -> (BTreeMap<(StepId, bool), u32>, u32) {
    let mut attempts = BTreeMap::new();
    for (id, step) in &past.steps {
        let used = if step.outcome.is_some() { step.attempt } else { step.attempt.saturating_sub(1) };
        attempts.insert((id.clone(), false), used);
    }
    for (id, number) in &past.undo_attempts {
        let sent = |step: &StepState| step.undo == UndoState::Running && step.undo_sent.is_some();
        let running = past.steps.get(id).is_some_and(sent);
        attempts.insert((id.clone(), true), if running { number.saturating_sub(1) } else { *number });
    }
    let number = past.segment.as_ref().and_then(|segment| segment.name.split('-').nth(1)?.parse().ok());
    (attempts, number.unwrap_or(0))
}
