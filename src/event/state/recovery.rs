//! The part of a host's state that incidents and the ways on make.

use super::{HostState, Refusal};
use crate::model::{Failure, HostName, HostOutcome};

impl HostState {
    pub(super) fn begin_incident(&mut self, host: &HostName, failure: &Failure) -> Result<(), Refusal> {
        if self.unwound_for.is_some() {
            return Err(Refusal::Unwinding(host.clone()));
        }
        if self.incident_open {
            return Err(Refusal::IncidentTwice(host.clone()));
        }
        self.incident = Some(failure.clone());
        self.incident_open = true;
        self.incidents += 1;
        self.way = None;
        Ok(())
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
