//! The failure budget: counts what went wrong, in the run and in each wave, and says when no more hosts may be started.

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
    ) -> Option<String> {
        // Who was taken back for others did not fail.
        let given_up = failure.is_some_and(|failure| failure.class == FailureClass::GivenUp);
        let class = Class::of(outcome).filter(|_| !given_up);
        let exceeded = class.and_then(|class| self.count(wave, class));
        // What was red before, or away, is no error of the release, however alike it is.
        let counts = class == Some(Class::Failed);
        let repeated = failure.filter(|_| counts).and_then(|failure| self.repeats(host, failure));
        repeated.or(exceeded)
    }

    /// Counts what the soak says of one host of a wave. Returns why the run must halt, when it must.
    pub(crate) fn absorb_soak(&mut self, wave: usize, verdict: Verdict) -> Option<String> {
        match verdict {
            Verdict::Pass => None,
            Verdict::Fail => self.count(wave, Class::Failed),
            Verdict::Inconclusive | Verdict::Error | Verdict::Unverified => self.count(wave, Class::Inconclusive),
        }
    }

    fn count(&mut self, wave: usize, class: Class) -> Option<String> {
        let in_run = self.run.add(class);
        let in_wave = self.waves.get_mut(wave).and_then(|(name, counts)| {
            let words = counts.add(class)?;
            Some(format!("{name}: {words} within a wave"))
        });
        in_run.or(in_wave)
    }

    fn repeats(&mut self, host: &HostName, failure: &Failure) -> Option<String> {
        let limit = self.same_failure?;
        if matches!(failure.class, FailureClass::Refused | FailureClass::Unreachable) {
            return None;
        }
        let hosts = self.same.entry(fingerprint(failure, &self.hosts.iter().collect())).or_default();
        hosts.push(host.clone());
        (hosts.len() >= limit).then(|| {
            let names = hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
            format!("{} hosts failed with the same error ({names}): {failure}", hosts.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use HostOutcome::{Done, Failed, Held, NotStarted, Parked, Refused, Stuck, Undone, Unknown, Unreachable};

    use super::*;
    use crate::engine::tests::plan_of;

    fn host(n: usize) -> HostName {
        HostName::new(format!("web-{n}")).expect("a valid name")
    }

    fn none() -> FailureBudget {
        FailureBudget::default()
    }

    /// Feeds the outcomes, so many to a wave, and returns at which of them (from 1) the run halts.
    fn halts_at(run: &FailureBudget, wave: &FailureBudget, size: usize, outcomes: &[HostOutcome]) -> Option<usize> {
        let mut plan = plan_of(outcomes.len().div_ceil(size), size);
        plan.rollout.budget = run.clone();
        plan.waves.iter_mut().for_each(|one| one.budget = wave.clone());
        let mut tally = Tally::new(&plan);
        let mut outcomes = outcomes.iter().enumerate();
        outcomes.position(|(i, outcome)| tally.absorb(i / size, &host(i), *outcome, None).is_some()).map(|i| i + 1)
    }

    #[test]
    fn budgets_of_the_run_are_inclusive_and_each_class_has_its_own() {
        let failed = |count| FailureBudget { failed: Some(count), ..none() };
        let unreachable = |count| FailureBudget { unreachable: Some(count), ..failed(0) };
        let parked = |count| FailureBudget { parked: Some(count), ..failed(0) };
        let cases: &[(FailureBudget, &[HostOutcome], Option<usize>)] = &[
            (failed(0), &[Done, Done], None),
            (failed(0), &[Done, Failed], Some(2)),
            (failed(0), &[Undone], Some(1)),
            (failed(1), &[Failed, Done], None),
            (failed(1), &[Failed, Done, Held], Some(3)),
            (failed(2), &[Stuck, Unknown, Undone], Some(3)),
            (failed(3), &[Stuck, Unknown, Undone], None),
            (failed(0), &[Unreachable, Unreachable, Parked, Parked], None),
            (unreachable(0), &[Unreachable], Some(1)),
            (unreachable(1), &[Unreachable], None),
            (unreachable(1), &[Unreachable, Unreachable], Some(2)),
            (parked(0), &[Parked], Some(1)),
            (parked(1), &[Parked, Done], None),
            (parked(1), &[Parked, Done, Parked], Some(3)),
            (none(), &[Failed, Failed, Unreachable, Parked], None),
            (failed(0), &[Refused, NotStarted, HostOutcome::Interrupted], None),
        ];
        for (budget, outcomes, expected) in cases {
            assert_eq!(halts_at(budget, &none(), 10, outcomes), *expected, "{outcomes:?} under {budget:?}");
        }
    }

    #[test]
    fn budgets_of_a_wave_begin_anew_with_each_wave_and_the_runs_go_on() {
        let failed = |count| FailureBudget { failed: Some(count), ..none() };
        let cases: &[(FailureBudget, FailureBudget, &[HostOutcome], Option<usize>)] = &[
            (none(), failed(1), &[Failed, Done, Failed, Done], None),
            (none(), failed(1), &[Failed, Failed, Done, Done], Some(2)),
            (none(), failed(1), &[Failed, Done, Failed, Failed], Some(4)),
            (failed(2), failed(1), &[Failed, Done, Failed, Done], None),
            (failed(1), failed(1), &[Failed, Done, Failed, Done], Some(3)),
            (failed(5), failed(0), &[Done, Done, Done, Failed], Some(4)),
        ];
        for (run, wave, outcomes, expected) in cases {
            assert_eq!(halts_at(run, wave, 2, outcomes), *expected, "{outcomes:?} under {run:?} and {wave:?}");
        }
    }

    #[test]
    fn what_a_soak_says_counts_in_the_class_it_belongs_to() {
        let mut plan = plan_of(1, 4);
        plan.rollout.budget = FailureBudget { failed: Some(1), inconclusive: Some(0), ..none() };
        let mut tally = Tally::new(&plan);
        assert_eq!(tally.absorb_soak(0, Verdict::Pass), None);
        assert_eq!(tally.absorb_soak(0, Verdict::Fail), None);
        assert!(tally.clone().absorb(0, &host(1), Failed, None).is_some(), "both are failed hosts");
        assert!(tally.clone().absorb_soak(0, Verdict::Error).is_some_and(|words| words.contains("inconclusive")));
        assert!(tally.absorb_soak(0, Verdict::Inconclusive).is_some());
    }

    #[test]
    fn the_same_error_on_two_hosts_halts_whatever_the_names_and_numbers_and_in_whichever_wave() {
        let mut plan = plan_of(3, 1);
        plan.rollout.budget = FailureBudget { failed: Some(10), same_failure: Some(2), ..none() };
        let mut tally = Tally::new(&plan);
        let failure = |host: &str, port: u32| {
            Failure::new(FailureClass::Step, format!("step `start` failed on {host}"))
                .because(format!("port {port} is in use since 10:02:{port}"))
        };
        let other = Failure::new(FailureClass::Step, "no space left on device");
        assert_eq!(tally.absorb(0, &host(0), Undone, Some(&failure("web-0", 80))), None);
        assert_eq!(tally.absorb(1, &host(1), Undone, Some(&other)), None);
        assert_eq!(tally.absorb(1, &host(1), Parked, Some(&failure("web-1", 80))), None, "it was red before");
        let reason = tally.absorb(2, &host(2), Undone, Some(&failure("web-2", 81)));
        assert!(reason.is_some_and(|r| r.starts_with("2 hosts failed with the same error (web-0, web-2)")));
    }
}
