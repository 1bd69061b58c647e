//! What steps left as proof, and whether it is good enough for those that rely on it.

use tokio::time::Instant;

use super::Turn;
use crate::{
    model::{Failure, FailureClass, Receipt},
    plan::PlannedStep,
};

/// A step that changed the host, or may have.
pub(in crate::engine) struct DoneStep {
    pub(in crate::engine) index: usize,
    pub(super) receipt: Receipt,
    /// When it ended; `None` where that was before the run was taken up again.
    pub(super) ended: Option<Instant>,
    /// False for a step that found nothing to do, and stands here for its receipt alone.
    pub(in crate::engine) changed: bool,
}

impl Turn<'_> {
    /// Says which receipt a step needs and does not have.
    pub(super) fn missing_receipt(&self, step: &PlannedStep) -> Option<Failure> {
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
}
