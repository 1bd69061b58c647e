//! What a person should know before saying yes.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::{
    config::{ResolvedHost, documents::RolloutDoc, matches_glob},
    model::{Effect, HostName},
    plan::{
        HostPlan, PlannedUndo, Reading, Wave,
        waves::{self, Traits},
    },
};

/// What a person should know before saying yes.
pub(super) fn warnings(
    hosts: &[HostName],
    made: &[Wave],
    rollout: &RolloutDoc,
    traits: &BTreeMap<HostName, Traits>,
    plans: &IndexMap<HostName, HostPlan>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let (Some(canary), Some(first)) = (&rollout.canary, made.first()) {
        let mut facts = canary.represent.clone();
        if facts.is_empty() {
            facts.push("profile".to_owned());
        }
        let missing = waves::uncovered(hosts, &first.hosts, &facts, traits);
        if !missing.is_empty() {
            warnings.push(format!("the canary does not cover: {}", missing.join(", ")));
        }
    } else if hosts.len() > 1 && plans.values().any(|plan| plan.steps.iter().any(|step| step.effect != Effect::Read)) {
        warnings.push("there is no canary: all hosts get the change without a trial".to_owned());
    }
    let mut without = IndexMap::<String, usize>::new();
    for step in plans.values().flat_map(|plan| &plan.steps) {
        if let PlannedUndo::Impossible { waived: false, .. } = &step.undo {
            *without.entry(step.name.clone()).or_default() += 1;
        }
    }
    for (step, count) in without {
        warnings.push(format!(
            "step `{step}` has no undo (on {count} hosts): a host that fails after it is not fully taken back"
        ));
    }
    let mut unprotected = IndexMap::<(&str, &str), usize>::new();
    for step in plans.values().flat_map(|plan| &plan.steps).filter(|step| step.effect.passes_no_return()) {
        if let (Some(reason), true) = (&step.unprotected, step.requires.is_empty()) {
            *unprotected.entry((&step.name, reason)).or_default() += 1;
        }
    }
    for ((step, reason), count) in unprotected {
        let hosts = if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") };
        warnings.push(format!("step `{step}` changes data without a backup (on {hosts}): {reason}"));
    }
    if plans.values().any(|plan| !plan.steps.is_empty() && plan.checks.is_empty()) {
        warnings.push("some hosts have no health check: their success means only that the steps ended well".to_owned());
    }
    warnings
}

/// Which hosts have a fact that their profile had rather otherwise: by what is told of it.
pub(super) type OddFacts = IndexMap<String, Vec<HostName>>;

/// Notes the facts of a host that its profile had rather otherwise. What is not known is not odd.
pub(super) fn note_odd_facts(host: &ResolvedHost, reading: Option<&Reading>, into: &mut OddFacts) {
    let Some(reading) = reading else { return };
    for (name, wanted) in &host.prefers_facts {
        let Some(found) = reading.facts.get(name) else { continue };
        if !wanted.0.iter().any(|glob| matches_glob(glob, found)) {
            let (profile, wanted) = (&host.profile, wanted.0.join("` or `"));
            let said = format!("the fact `{name}` is `{found}`, and the profile `{profile}` is made for `{wanted}`");
            into.entry(said).or_default().push(host.name.clone());
        }
    }
}

pub(super) fn of_facts(odd: &OddFacts) -> Vec<String> {
    let names = |hosts: &[HostName]| hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
    odd.iter().map(|(said, hosts)| format!("{said}: {}", names(hosts))).collect()
}

/// Facts that hosts did not tell, and that their checks compare with.
pub(super) fn of_silence(plans: &IndexMap<HostName, HostPlan>) -> Vec<String> {
    let mut silent = IndexMap::<(&str, &str), Vec<&str>>::new();
    for (host, plan) in plans.iter().filter(|(_, plan)| plan.refused.is_none()) {
        for check in &plan.checks {
            for fact in &check.unrecorded {
                silent.entry((fact, &check.name)).or_default().push(host.as_str());
            }
        }
    }
    let said = silent.iter().map(|((fact, check), hosts)| {
        format!("the fact `{fact}` is not known, so `{check}` is `unverified` at best: {}", hosts.join(", "))
    });
    said.collect()
}

/// What the plan takes on trust: versions that nobody read.
pub(super) fn of_versions(plans: &IndexMap<HostName, HostPlan>) -> Vec<String> {
    let names = |is: &dyn Fn(&HostPlan) -> bool| {
        let names: Vec<_> = plans.iter().filter(|(_, plan)| is(plan)).map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let mut warnings = Vec::new();
    if let Some(hosts) = names(&|plan| plan.assumed) {
        let what = "could not be asked and planned as having what most others have; refused should that not be so";
        warnings.push(format!("{what}: {hosts}"));
    }
    if let Some(hosts) = names(&|plan| plan.stated.is_some() && plan.found != plan.stated) {
        warnings.push(format!("a person said which version is installed, and no one proved it: {hosts}"));
    }
    warnings
}
