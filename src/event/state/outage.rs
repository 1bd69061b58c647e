//! The time in which a host's product was down, as its steps' marks and the controller's clock say.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::model::{Downtime, Span, StepId, StepOutcome};

/// How long a product was down, and since when it still is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outage {
    marks: BTreeMap<StepId, Downtime>,
    /// What keeps it down: a maintenance page that is shown while the product is stopped makes two.
    depth: usize,
    over: Duration,
    was_down: bool,
    /// Since when it is down.
    pub since: Option<Timestamp>,
}

impl Outage {
    pub(super) fn new(marks: BTreeMap<StepId, Downtime>) -> Self {
        Self { marks, ..Self::default() }
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
        let Some(mark) = self.mark(step).filter(|_| outcome.is_good()) else { return };
        if *outcome == StepOutcome::Unchanged && mark.begins() && self.depth == 1 {
            // It found nothing to take down.
            self.depth = 0;
            self.since = None;
        } else if mark.ends() {
            self.less(at);
        }
    }

    /// Taking back the step with which the product came up takes it down again.
    pub(super) fn undo_started(&mut self, step: &StepId, at: Timestamp) {
        if self.mark(step) == Some(Downtime::Ends) {
            self.down(at);
        }
    }

    pub(super) fn undone(&mut self, step: &StepId, at: Timestamp) {
        if self.mark(step).is_some_and(Downtime::begins) {
            self.less(at);
        }
    }

    /// The product is up, whatever the marks say.
    pub(super) fn up(&mut self, at: Timestamp) {
        self.depth = 0;
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
