//! What a prefetch did, for the plan of the upgrade.

use crate::{
    event::{RunState, UndoState},
    model::{RunNumber, StepOutcome},
    plan::{self, DoneAhead, Plan},
};

/// Returns which steps a prefetch did, by what it recorded. Whether they are still there it does not know.
pub fn done_ahead(plan: &Plan, state: &RunState, number: RunNumber) -> Vec<DoneAhead> {
    let mut done = Vec::new();
    for (host, of) in &plan.hosts {
        let Some(known) = state.hosts.get(host) else { continue };
        for step in &of.steps {
            let Some(state) = known.steps.get(&step.id) else { continue };
            let is_good = state.outcome.as_ref().is_some_and(StepOutcome::is_good);
            if !is_good || state.undo == UndoState::Undone {
                continue;
            }
            done.push(DoneAhead {
                host: host.clone(),
                action: step.action.clone(),
                run_as: step.run_as.clone(),
                run: number,
                at: plan::made_ahead(&state.receipt).or(state.ended).unwrap_or(state.started),
                receipt: state.receipt.clone(),
            });
        }
    }
    done
}
