//! What other runs did to the hosts of one: those that came after it, and those that still wait for a person there.

use std::collections::BTreeMap;

use super::{error::CliError, screen::Screen};
use crate::{
    engine,
    event::{HostState, RunState},
    ledger::{Ledger, RunRecord},
    model::{HostName, HostOutcome, RunNumber},
};

/// The later runs that changed hosts of a run which it would go on with in the middle: what it left there is not there
/// any more. A host that begins anew is asked for its version and its gates instead.
pub(super) fn changed_since(
    ledger: &Ledger,
    record: &RunRecord,
    state: &RunState,
    hosts: &[HostName],
) -> Result<BTreeMap<HostName, RunNumber>, CliError> {
    let in_the_middle = |host: &&HostName| {
        let known = state.hosts.get(*host);
        known.is_some_and(|known| known.outcome != Some(HostOutcome::Undone) && engine::changed_by(known))
    };
    let mut open: Vec<_> = hosts.iter().filter(in_the_middle).collect();
    let mut found = BTreeMap::new();
    let changes = |run: &RunRecord| matches!(run.purpose.as_str(), "apply" | "rollback");
    for run in ledger.runs(usize::MAX)?.into_iter().filter(|run| run.number > record.number && changes(run)) {
        if open.is_empty() {
            break;
        }
        let later = fold(ledger, run.number)?;
        open.retain(|host| {
            let changed =
                later.hosts.get(*host).is_some_and(|known| !was_taken_back(known) && engine::changed_by(known));
            if changed {
                found.insert((*host).clone(), run.number);
            }
            !changed
        });
    }
    Ok(found)
}

fn was_taken_back(host: &HostState) -> bool {
    host.outcome == Some(HostOutcome::Undone)
}

/// Names the earlier runs in which hosts still wait for a person that this one brought to a good end.
pub(super) fn say_what_waits(
    ledger: &Ledger,
    number: RunNumber,
    state: &RunState,
    screen: &Screen,
) -> Result<(), CliError> {
    let good = |host: &HostName| {
        let known = state.hosts.get(host);
        known.is_some_and(|known| known.outcome == Some(HostOutcome::Done) && engine::changed_by(known))
    };
    let waits = |outcome: &HostOutcome| matches!(outcome, HostOutcome::Held | HostOutcome::Stuck);
    let earlier = ledger.runs(usize::MAX)?.into_iter();
    for run in earlier.filter(|run| run.number < number && run.outcomes.keys().any(waits)) {
        for (host, known) in &fold(ledger, run.number)?.hosts {
            if known.outcome.as_ref().is_some_and(waits) && good(host) {
                let run = run.number;
                screen.say(&format!(
                    "note: {host} still waits for a person in run {run}; if that is over, \
                     `longshore close {run} --host {host} --reason TEXT` says so"
                ));
            }
        }
    }
    Ok(())
}

fn fold(ledger: &Ledger, number: RunNumber) -> Result<RunState, CliError> {
    RunState::fold(&ledger.events(number, None)?).map_err(|error| CliError::usage(error.to_string()))
}
