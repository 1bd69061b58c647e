//! The part of a host's state that incidents and the ways on make.

use super::{HostState, Refusal, StepState, UndoState};
use crate::model::{Effect, Failure, FailureClass, HostName, HostOutcome, StepOutcome};

impl HostState {
    pub(super) fn begin_incident(&mut self, host: &HostName, failure: &Failure) -> Result<(), Refusal> {
        if self.unwound_for.is_some() && self.undo_begun() {
            return Err(Refusal::Unwinding(host.clone()));
        }
        // It was to be taken back, and its data turned out to have moved.
        self.unwound_for = None;
        if self.incident_open {
            return Err(Refusal::IncidentTwice(host.clone()));
        }
        self.incident = Some(failure.clone());
        self.incident_open = true;
        self.incidents += 1;
        self.way = None;
        Ok(())
    }

    /// The data of before was put back: what changed it counts as not done.
    pub(super) fn data_is_back(&mut self) {
        let changed = self.steps.values_mut().filter(|step| changes_data(step));
        changed.for_each(|step| step.undo = UndoState::Undone);
    }

    /// A host that was taken back, or failed before it was changed, reads and saves anew what it read and saved, unless
    /// that is of data which was changed since and stays so.
    ///
    /// Does nothing to any other host.
    pub fn begin_anew(&mut self) {
        let unchanged = || self.steps.values().all(|step| !step.part.is_main() || leaves_no_trace(step));
        match self.outcome {
            Some(HostOutcome::Undone) => {}
            Some(HostOutcome::Failed) if unchanged() => {}
            _ => return,
        }
        let stays = self.steps.values().any(|step| changes_data(step) && step.stands());
        if !stays {
            let read = self.steps.values_mut().filter(|step| step.part.is_main() && step.effect == Some(Effect::Read));
            read.for_each(|step| step.undo = UndoState::Undone);
        }
    }

    /// Whether taking back any of the plan's own steps has begun.
    pub fn undo_begun(&self) -> bool {
        self.steps.values().any(|step| step.part.is_main() && step.undo != UndoState::None)
    }

    /// An end that is no cut closes what was under way.
    pub(super) fn end_way(&mut self, outcome: HostOutcome) {
        use HostOutcome::{Interrupted, Stuck, Unknown, Unreachable};
        if !matches!(outcome, Interrupted | Stuck | Unknown | Unreachable) {
            self.incident_open = false;
            self.way = None;
        }
    }

    /// Steps of the plan: those of an incident or a restore are told apart from them.
    pub(super) fn count_steps(&mut self) {
        let seen = self.steps.values().filter(|step| step.part.is_main()).count();
        self.steps_total = self.steps_total.max(seen);
    }
}

/// Whether nothing of a step is left on the host but what it read or saved.
fn leaves_no_trace(step: &StepState) -> bool {
    use FailureClass::{Gate, Refused};
    match &step.outcome {
        _ if step.undo == UndoState::Undone || step.effect == Some(Effect::Read) => true,
        Some(StepOutcome::Unchanged | StepOutcome::Skipped { .. }) => true,
        Some(StepOutcome::Failed { failure }) => matches!(failure.class, Gate | Refused),
        Some(StepOutcome::Changed | StepOutcome::Unknown { .. }) | None => false,
    }
}

fn changes_data(step: &StepState) -> bool {
    step.part.is_main() && step.effect.is_some_and(Effect::passes_no_return)
}
