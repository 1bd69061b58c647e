//! The failure budget: counts what went wrong, in the run and in each wave, and says when no more hosts may be started.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::fingerprint::fingerprint;
use crate::{
    model::{Failure, FailureClass, HostName, HostOutcome, Verdict},
    plan::{FailureBudget, Plan},
};

/// Counts the hosts that went wrong: by class, in the run and in each wave, and by error.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    run: Counts,
    waves: Vec<(String, Counts)>,
    same_failure: Option<usize>,
    hosts: BTreeSet<HostName>,
    same: BTreeMap<String, Vec<HostName>>,
}

/// What one budget allows, and what it has been asked for so far.
#[derive(Debug, Clone)]
struct Counts {
    budget: FailureBudget,
    failed: usize,
    unreachable: usize,
    inconclusive: usize,
    parked: usize,
}

/// The classes a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Failed,
    Unreachable,
    Inconclusive,
    Parked,
}

impl Class {
    fn of(outcome: HostOutcome) -> Option<Self> {
        match outcome {
            HostOutcome::Unreachable => Some(Self::Unreachable),
            HostOutcome::Failed
            | HostOutcome::Undone
            | HostOutcome::Held
            | HostOutcome::Stuck
            | HostOutcome::Unknown => Some(Self::Failed),
            // Nothing of ours was on it yet, so that it says nothing about the release.
            HostOutcome::Parked => Some(Self::Parked),
            HostOutcome::Done
            | HostOutcome::Unchanged
            | HostOutcome::Refused
            | HostOutcome::Interrupted
            | HostOutcome::NotStarted => None,
        }
    }
}

/// A limit that is passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Over {
    /// How many counted, and what the budget allows.
    pub(crate) limit: String,
    /// Who counted, and for what, where not every host of its class does.
    of: Option<String>,
}

impl Over {
    fn class(limit: String) -> Self {
        Self { limit, of: None }
    }
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.limit)?;
        self.of.as_ref().map_or(Ok(()), |of| write!(f, " {of}"))
    }
}

/// Whether a host that ended so counts as failed.
pub(crate) fn is_failure(outcome: HostOutcome) -> bool {
    Class::of(outcome) == Some(Class::Failed)
}

impl Counts {
    fn new(budget: FailureBudget) -> Self {
        Self { budget, failed: 0, unreachable: 0, inconclusive: 0, parked: 0 }
    }

    /// Counts one host. Returns what is exceeded now, in words.
    fn add(&mut self, class: Class) -> Option<String> {
        let (count, limit, word) = match class {
            Class::Failed => (&mut self.failed, self.budget.failed, "failed"),
            Class::Unreachable => (&mut self.unreachable, self.budget.unreachable, "unreachable"),
            Class::Inconclusive => (&mut self.inconclusive, self.budget.inconclusive, "inconclusive"),
            Class::Parked => (&mut self.parked, self.budget.parked, "parked"),
        };
        *count += 1;
        let (count, limit) = (*count, limit?);
        (count > limit).then(|| match limit {
            0 => format!("{count} {word}, and the budget allows none"),
            limit => format!("{count} {word}, and the budget allows {limit}"),
        })
    }
}

impl Tally {
    pub(crate) fn new(plan: &Plan) -> Self {
        let wave = |wave: &crate::plan::Wave| (wave.name.clone(), Counts::new(wave.budget.clone()));
        Self {
            run: Counts::new(plan.rollout.budget.clone()),
            waves: plan.waves.iter().map(wave).collect(),
            same_failure: plan.rollout.budget.same_failure,
            hosts: plan.hosts.keys().cloned().collect(),
            same: BTreeMap::new(),
        }
    }

    /// Counts one finished host of a wave. Returns why the run must halt, when it must.
    pub(crate) fn absorb(
        &mut self,
        wave: usize,
        host: &HostName,
        outcome: HostOutcome,
        failure: Option<&Failure>,
    ) -> Option<Over> {
        // Who was taken back for others did not fail.
        let given_up = failure.is_some_and(|failure| failure.class == FailureClass::GivenUp);
        let class = Class::of(outcome).filter(|_| !given_up);
        let exceeded = class.and_then(|class| self.count(wave, class));
        // What was red before, or away, is no error of the release, however alike it is.
        let counts = class == Some(Class::Failed);
        let repeated = failure.filter(|_| counts).and_then(|failure| self.repeats(host, failure));
        repeated.or(exceeded)
    }

    /// Counts what the soak says of one host of a wave, and in which words. Returns why the run must halt, when it must.
    pub(crate) fn absorb_soak(&mut self, wave: usize, host: &HostName, verdict: Verdict, words: &str) -> Option<Over> {
        match verdict {
            Verdict::Pass => None,
            Verdict::Fail => {
                let exceeded = self.count(wave, Class::Failed);
                self.repeats(host, &soaked(words)).or(exceeded)
            }
            Verdict::Inconclusive | Verdict::Error | Verdict::Unverified => self.count(wave, Class::Inconclusive),
        }
    }

    fn count(&mut self, wave: usize, class: Class) -> Option<Over> {
        let in_run = self.run.add(class).map(|words| format!("{words} in the run"));
        let in_wave = self.waves.get_mut(wave).and_then(|(name, counts)| {
            let words = counts.add(class)?;
            Some(format!("{name}: {words} within a wave"))
        });
        in_run.or(in_wave).map(Over::class)
    }

    fn repeats(&mut self, host: &HostName, failure: &Failure) -> Option<Over> {
        let limit = self.same_failure?;
        if matches!(failure.class, FailureClass::Refused | FailureClass::Unreachable) {
            return None;
        }
        let hosts = self.same.entry(fingerprint(failure, &self.hosts.iter().collect())).or_default();
        // Its steps, its soak, and what it said when it was taken back are one host's trouble.
        if !hosts.contains(host) {
            hosts.push(host.clone());
        }
        (hosts.len() >= limit).then(|| {
            let names = hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
            Over {
                limit: format!("{} hosts failed with the same error, and the run halts at {limit}", hosts.len()),
                of: Some(format!("({names}): {failure}")),
            }
        })
    }
}

/// The failure of a host that did not stay green in its soak.
pub(crate) fn soaked(words: &str) -> Failure {
    Failure::new(FailureClass::Check, "it did not stay green in its soak").because(words)
}
