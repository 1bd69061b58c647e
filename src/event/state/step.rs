//! The steps of a host: sent, begun, ended, found by a person, taken back.

use jiff::Timestamp;

use super::{Activity, HostState, Refusal};
use crate::{
    event::{Happening, SentStep},
    model::{Effect, Failure, FailureClass, HostName, Receipt, Span, StepId, StepOutcome, StepPart},
};

/// One step on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepState {
    pub name: String,
    /// `None` for a step that was skipped before it began.
    pub effect: Option<Effect>,
    /// 0 for a step that was skipped before it began.
    pub attempt: u32,
    pub started: Timestamp,
    /// When it ended, or before: what its age is counted from.
    pub ended: Option<Timestamp>,
    /// What the step belongs to.
    pub part: StepPart,
    /// The incident of which it is a part, counted from 1.
    pub incident: u32,
    /// `None` while it runs.
    pub outcome: Option<StepOutcome>,
    pub took: Option<Span>,
    pub receipt: Receipt,
    pub difference: Option<String>,
    pub output: Vec<String>,
    pub undo: UndoState,
    /// The undos of the step before this one are done: it goes on here when it is tried again.
    pub undo_from: usize,
    /// What was sent last of the undo that runs, or ran.
    pub undo_sent: Option<UndoSent>,
    /// The host still has to know of the attempt: its run there was not closed since.
    pub is_kept: bool,
    /// The turn it belongs to came to its end: what became of it was weighed, and only a person's word tries it again.
    pub is_weighed: bool,
}

impl StepState {
    /// Whether the step stands on the host as far as is known: done, and not taken back.
    pub fn stands(&self) -> bool {
        self.outcome.as_ref() == Some(&StepOutcome::Changed) && self.undo != UndoState::Undone
    }
}

/// How far a step was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoState {
    /// Nobody tried.
    None,
    Running,
    Undone,
    Failed(Failure),
}

/// Steps that were sent to a host together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentSegment {
    pub name: String,
    pub steps: Vec<SentStep>,
    /// Longest ago that any of it can have ended.
    pub sent: Timestamp,
    /// The run was taken up again since: what is heard of it may have happened long ago.
    pub taken_up: bool,
}

/// An undo that was sent to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoSent {
    pub segment: String,
    pub attempt: u32,
    /// Which of the step's undos it is, from 0.
    pub part: usize,
}

impl HostState {
    pub(super) fn send_steps(&mut self, at: Timestamp, segment: &str, steps: &[SentStep]) {
        for sent in steps.iter().filter(|sent| sent.undo) {
            self.undo_attempts.insert(sent.step.clone(), sent.attempt);
            if let Some(state) = self.steps.get_mut(&sent.step) {
                let (segment, attempt, part) = (segment.to_owned(), sent.attempt, sent.part);
                state.undo_sent = Some(UndoSent { segment, attempt, part });
            }
        }
        let (name, steps) = (segment.to_owned(), steps.to_vec());
        self.segment = Some(SentSegment { name, steps, sent: at, taken_up: false });
    }

    /// A person said what became of an undo whose result nobody knew.
    pub(super) fn find_undo(&mut self, host: &HostName, step: &StepId, done: bool) -> Result<(), Refusal> {
        let refusal = Refusal::UndoNotBegun { host: host.clone(), step: step.clone() };
        let open = |state: &&mut StepState| matches!(state.undo, UndoState::Running | UndoState::Failed(_));
        let state = self.steps.get_mut(step).filter(open).ok_or(refusal)?;
        if done {
            state.undo = UndoState::Undone;
        } else if state.undo == UndoState::Running {
            state.undo = UndoState::Failed(Failure::new(FailureClass::Undo, "it was found not done"));
        }
        Ok(())
    }

    pub(super) fn start_step(&mut self, host: &HostName, at: Timestamp, what: &Happening) -> Result<(), Refusal> {
        let Happening::StepStarted { step, name, effect, attempt, part } = what else { return Ok(()) };
        if self.unwound_for.is_some() {
            return Err(Refusal::Unwinding(host.clone()));
        }
        let known = self.steps.get(step);
        if known.is_some_and(|known| known.outcome.is_none()) {
            return Err(Refusal::StepRunning { host: host.clone(), step: step.clone() });
        }
        if *attempt != known.map_or(0, |known| known.attempt) + 1 {
            return Err(Refusal::Attempt { host: host.clone(), step: step.clone(), attempt: *attempt });
        }
        let good = |known: &StepState| known.outcome.as_ref().is_some_and(StepOutcome::is_good);
        // Evidence is kept, data copied and restored anew in every incident.
        let anew = known.is_some_and(|known| !known.part.is_main() && known.incident < self.incidents);
        if known.is_some_and(|known| good(known) && known.undo != UndoState::Undone) && !anew {
            return Err(Refusal::StepEnded { host: host.clone(), step: step.clone() });
        }
        self.steps.insert(
            step.clone(),
            StepState {
                name: name.clone(),
                effect: Some(*effect),
                attempt: *attempt,
                started: at,
                ended: None,
                part: *part,
                incident: if part.is_main() { 0 } else { self.incidents },
                outcome: None,
                took: None,
                receipt: Receipt::default(),
                difference: None,
                output: Vec::new(),
                undo: UndoState::None,
                undo_from: 0,
                undo_sent: None,
                is_kept: true,
                is_weighed: false,
            },
        );
        self.count_steps();
        self.downtime.started(step, at);
        self.activity = Activity::Step { step: step.clone(), since: at };
        Ok(())
    }

    pub(super) fn finish_step(&mut self, host: &HostName, at: Timestamp, what: &Happening) -> Result<(), Refusal> {
        let Happening::StepFinished { step, attempt, outcome, took, receipt, difference, output } = what else {
            return Ok(());
        };
        if !self.steps.contains_key(step) && matches!(outcome, StepOutcome::Skipped { .. }) {
            let skipped = StepState {
                name: step.to_string(),
                effect: None,
                attempt: 0,
                started: at,
                ended: None,
                part: StepPart::Main,
                incident: 0,
                outcome: Some(outcome.clone()),
                took: Some(*took),
                receipt: receipt.clone(),
                difference: difference.clone(),
                output: output.clone(),
                undo: UndoState::None,
                undo_from: 0,
                undo_sent: None,
                is_kept: false,
                is_weighed: false,
            };
            self.steps.insert(step.clone(), skipped);
            self.count_steps();
            return Ok(());
        }
        let refusal = Refusal::StepNotBegun { host: host.clone(), step: step.clone() };
        let state = self.steps.get_mut(step).ok_or(refusal)?;
        if state.outcome.is_some() {
            return Err(Refusal::StepEnded { host: host.clone(), step: step.clone() });
        }
        if state.attempt != *attempt {
            return Err(Refusal::Attempt { host: host.clone(), step: step.clone(), attempt: *attempt });
        }
        let late = self.segment.as_ref().filter(|sent| sent.taken_up && sent.steps.iter().any(|one| one.step == *step));
        let after_start = state.started.checked_add(took.0).unwrap_or(at);
        state.ended = Some(late.map_or(at.min(after_start), |sent| sent.sent));
        self.downtime.finished(step, outcome, at);
        state.outcome = Some(outcome.clone());
        state.took = Some(*took);
        state.receipt = receipt.clone();
        difference.clone_into(&mut state.difference);
        output.clone_into(&mut state.output);
        self.resume();
        Ok(())
    }

    /// A person, or the host, said what became of a step whose result nobody knew.
    pub(super) fn find_step(
        &mut self,
        host: &HostName,
        (step, attempt): (&StepId, u32),
        done: bool,
        evidence: &str,
    ) -> Result<(), Refusal> {
        let refusal = Refusal::StepNotBegun { host: host.clone(), step: step.clone() };
        let known = |state: &&mut StepState| {
            state.attempt == attempt && matches!(state.outcome, Some(StepOutcome::Unknown { .. }))
        };
        let state = self.steps.get_mut(step).filter(known).ok_or(refusal)?;
        state.outcome = Some(if done {
            StepOutcome::Changed
        } else {
            let failure = Failure::new(FailureClass::Step, format!("it was found not done: {evidence}"));
            StepOutcome::Failed { failure }
        });
        self.resume();
        Ok(())
    }

    pub(super) fn start_undo(&mut self, host: &HostName, at: Timestamp, step: &StepId) -> Result<(), Refusal> {
        // What an incident did is taken back on the way forward, too.
        let of_incident = self.steps.get(step).is_some_and(|state| state.part == StepPart::Incident);
        if self.unwound_for.is_none() && !of_incident {
            return Err(Refusal::NotUnwinding(host.clone()));
        }
        let refusal = Refusal::StepNotBegun { host: host.clone(), step: step.clone() };
        let state = self.steps.get_mut(step).filter(|state| state.attempt > 0).ok_or(refusal)?;
        if matches!(state.undo, UndoState::Running | UndoState::Undone) {
            return Err(Refusal::UndoneTwice { host: host.clone(), step: step.clone() });
        }
        state.undo = UndoState::Running;
        state.undo_sent = None;
        self.downtime.undo_started(step, at);
        self.activity = Activity::Undo { step: step.clone(), since: at };
        Ok(())
    }

    pub(super) fn finish_undo(
        &mut self,
        host: &HostName,
        at: Timestamp,
        step: &StepId,
        part: usize,
        failure: Option<&Failure>,
    ) -> Result<(), Refusal> {
        let refusal = Refusal::UndoNotBegun { host: host.clone(), step: step.clone() };
        let running = |state: &&mut StepState| state.undo == UndoState::Running;
        let state = self.steps.get_mut(step).filter(running).ok_or(refusal)?;
        if failure.is_none() {
            self.downtime.undone(step, at);
        }
        state.undo = failure.cloned().map_or(UndoState::Undone, UndoState::Failed);
        state.undo_from = part;
        self.activity = if self.unwound_for.is_some() { Activity::Unwinding } else { Activity::Ready };
        Ok(())
    }
}
