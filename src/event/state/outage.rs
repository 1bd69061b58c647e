//! The time in which a host's product was down, as its steps' marks and the controller's clock say.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    event::HostLine,
    model::{Downtime, Span, StepId, StepOutcome},
};

/// How long a product was down, and since when it still is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outage {
    marks: BTreeMap<StepId, Downtime>,
    proven_by: BTreeMap<StepId, StepId>,
    proven_at_end: bool,
    /// Steps with which it came up, which is not proven yet.
    unproven: Vec<StepId>,
    /// What keeps it down: a maintenance page that is shown while the product is stopped makes two.
    depth: usize,
    over: Duration,
    was_down: bool,
    /// Since when it is down.
    pub since: Option<Timestamp>,
}

impl Outage {
    pub(super) fn new(line: &HostLine) -> Self {
        Self {
            marks: line.downtime.clone(),
            proven_by: line.proven_by.clone(),
            proven_at_end: line.proven_at_end,
            ..Self::default()
        }
    }

    /// How long it was down in all, as far as that is over. `None` where it never was.
    pub fn length(&self) -> Option<Span> {
        self.was_down.then_some(Span(self.over))
    }

    fn mark(&self, step: &StepId) -> Option<Downtime> {
        self.marks.get(step).copied()
    }

    pub(super) fn started(&mut self, step: &StepId, at: Timestamp) {
        if self.mark(step).is_some_and(Downtime::begins) {
            self.down(at);
        }
    }

    pub(super) fn finished(&mut self, step: &StepId, outcome: &StepOutcome, at: Timestamp) {
        if outcome.is_good() {
            self.proves(step, at);
        }
        let Some(mark) = self.mark(step).filter(|_| outcome.is_good()) else { return };
        if *outcome == StepOutcome::Unchanged && mark.begins() && self.depth == 1 {
            // It found nothing to take down.
            self.depth = 0;
            self.since = None;
        } else if mark.ends() {
            if self.proven_at_end || self.proven_by.contains_key(step) {
                self.unproven.push(step.clone());
            } else {
                self.less(at);
            }
        }
    }

    /// What waited for this step is up now.
    fn proves(&mut self, proof: &StepId, at: Timestamp) {
        let waiting = self.unproven.len();
        self.unproven.retain(|step| self.proven_by.get(step) != Some(proof));
        for _ in self.unproven.len()..waiting {
            self.less(at);
        }
    }

    /// Taking back the step with which the product came up takes it down again.
    pub(super) fn undo_started(&mut self, step: &StepId, at: Timestamp) {
        let waiting = self.unproven.len();
        self.unproven.retain(|unproven| unproven != step);
        // What was never proven is down still.
        if waiting == self.unproven.len() && self.mark(step) == Some(Downtime::Ends) {
            self.down(at);
        }
    }

    pub(super) fn undone(&mut self, step: &StepId, at: Timestamp) {
        // What was started again is up when its checks have said so: at the good end of the host's turn.
        if self.mark(step).is_some_and(Downtime::begins) && !self.proven_at_end {
            self.less(at);
        }
    }

    /// The product is up, whatever the marks say.
    pub(super) fn up(&mut self, at: Timestamp) {
        self.depth = 0;
        self.unproven.clear();
        if let Some(since) = self.since.take() {
            self.was_down = true;
            let over = at.duration_since(since).as_millis();
            self.over += Duration::from_millis(u64::try_from(over).unwrap_or(0));
        }
    }

    fn down(&mut self, at: Timestamp) {
        self.depth += 1;
        self.since.get_or_insert(at);
    }

    fn less(&mut self, at: Timestamp) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            self.up(at);
        }
    }
}
