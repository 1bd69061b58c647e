//! What earlier runs recorded of hosts, for the checks of a sweep that compare with it.

use std::collections::{BTreeMap, BTreeSet};

use super::{error::CliError, run::Workshop};
use crate::{
    config::{Project, documents::Playbook},
    engine,
    ledger::Ledger,
    model::HostName,
    plan::{self, Installed, Order, Plan, Reading},
};

/// Runs looked through for what was recorded. A sweep carries on what it compared with, so mostly the last one has it.
const MOST_RUNS: usize = 200;

pub(super) type Facts = BTreeMap<HostName, BTreeSet<String>>;

/// Makes the plan of a sweep anew with the facts that its checks name: as the last upgrade or sweep recorded them, or,
/// where none did, as the hosts say now. `anew` passes over all records.
///
/// What the hosts say now is in the new plan, and so is what the next sweep compares with; a check that compares with
/// nothing else is `unverified` this time.
pub(super) async fn with_records(
    plan: Plan,
    anew: bool,
    (project, playbook): (&Project, &Playbook),
    order: Order,
    workshop: &Workshop,
) -> Result<Plan, CliError> {
    let mut wanted: Facts = BTreeMap::new();
    for (host, of) in &plan.hosts {
        let names = of.facts.iter().filter(|(_, fact)| fact.relied_on && fact.value.is_none());
        let names: BTreeSet<_> = names.map(|(name, _)| name.clone()).collect();
        if !names.is_empty() {
            wanted.insert(host.clone(), names);
        }
    }
    if wanted.is_empty() {
        return Ok(plan);
    }
    let mut read = if anew { BTreeMap::new() } else { recorded(workshop.ledger(), &mut wanted)? };
    let mut questions = plan::questions(project, playbook, &order).map_err(CliError::Documents)?;
    questions.retain(|host, of| {
        // The version is read by the sweep itself.
        of.version.clear();
        of.facts.retain(|name, _| wanted.get(host).is_some_and(|names| names.contains(name)));
        !of.facts.is_empty()
    });
    if !questions.is_empty() {
        for (host, now) in engine::ask(questions, workshop.means_without_run()).await {
            read.entry(host).or_default().facts.extend(now.facts);
        }
    }
    let order = Order { read, unrecorded: wanted, ..order };
    plan::compile(project, playbook, &order).map_err(CliError::Documents)
}

/// Adds the facts that hosts were asked for and did not tell, as the last upgrade or sweep recorded them. A host that is
/// down tells little, and what a plan compares with is what it was before that.
///
/// Returns the names of those that were found, by host. Of a host that could not be reached nothing is added.
pub(super) fn not_told(
    asked: Facts,
    read: &mut BTreeMap<HostName, Reading>,
    ledger: &Ledger,
) -> Result<Facts, CliError> {
    let mut wanted = Facts::new();
    for (host, names) in asked {
        let Some(reading) = read.get(&host).filter(|read| !matches!(read.installed, Installed::Unreached(_))) else {
            continue;
        };
        let names: BTreeSet<_> = names.into_iter().filter(|name| !reading.facts.contains_key(name)).collect();
        if !names.is_empty() {
            wanted.insert(host, names);
        }
    }
    let mut found = Facts::new();
    for (host, record) in recorded(ledger, &mut wanted)? {
        found.insert(host.clone(), record.facts.keys().cloned().collect());
        read.entry(host).or_default().facts.extend(record.facts);
    }
    Ok(found)
}

/// The newest record of each wanted fact; what was found is wanted no more.
fn recorded(ledger: &Ledger, wanted: &mut Facts) -> Result<BTreeMap<HostName, Reading>, CliError> {
    let mut found: BTreeMap<HostName, Reading> = BTreeMap::new();
    let runs = ledger.runs(MOST_RUNS)?;
    for run in runs.iter().filter(|run| matches!(run.purpose.as_str(), "apply" | "check")) {
        if wanted.is_empty() {
            break;
        }
        // A plan of another longshore may be none that can be read here; an older run may do as well.
        let Ok(plan) = serde_json::from_str::<Plan>(&ledger.plan(run.number)?) else { continue };
        wanted.retain(|host, names| {
            let Some(of) = plan.hosts.get(host) else { return true };
            names.retain(|name| {
                let Some(value) = of.facts.get(name).and_then(|fact| fact.value.clone()) else { return true };
                found.entry(host.clone()).or_default().facts.insert(name.clone(), value);
                false
            });
            !names.is_empty()
        });
    }
    Ok(found)
}
