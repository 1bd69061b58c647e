//! The failure budget: counts what went wrong, and says when no more hosts may be started.

use std::collections::BTreeMap;

use crate::{
    model::{Failure, FailureClass, HostName, HostOutcome},
    plan::FailureBudget,
};

/// Counts the hosts that went wrong, by class and by error.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    budget: FailureBudget,
    failed: usize,
    unreachable: usize,
    inconclusive: usize,
    same: BTreeMap<String, Vec<HostName>>,
}

impl Tally {
    pub(crate) fn new(budget: FailureBudget) -> Self {
        Self { budget, failed: 0, unreachable: 0, inconclusive: 0, same: BTreeMap::new() }
    }

    /// Counts one finished host. Returns why the run must halt, when it must.
    pub(crate) fn absorb(
        &mut self,
        host: &HostName,
        outcome: HostOutcome,
        failure: Option<&Failure>,
    ) -> Option<String> {
        let exceeded = match outcome {
            HostOutcome::Unreachable => {
                self.unreachable += 1;
                over("unreachable", self.unreachable, self.budget.unreachable)
            }
            HostOutcome::Failed
            | HostOutcome::Undone
            | HostOutcome::Held
            | HostOutcome::Stuck
            | HostOutcome::Unknown
            | HostOutcome::Parked => {
                self.failed += 1;
                over("failed", self.failed, self.budget.failed)
            }
            HostOutcome::Done
            | HostOutcome::Unchanged
            | HostOutcome::Refused
            | HostOutcome::Interrupted
            | HostOutcome::NotStarted => None,
        };
        let repeated = failure.filter(|_| !outcome.is_good()).and_then(|failure| self.repeats(host, failure));
        repeated.or(exceeded)
    }

    /// Counts one wave whose soak proved nothing either way.
    pub(crate) fn absorb_inconclusive(&mut self, hosts: usize) -> Option<String> {
        self.inconclusive += hosts;
        over("inconclusive", self.inconclusive, self.budget.inconclusive)
    }

    fn repeats(&mut self, host: &HostName, failure: &Failure) -> Option<String> {
        let limit = self.budget.same_failure?;
        if matches!(failure.class, FailureClass::Refused | FailureClass::Unreachable) {
            return None;
        }
        let hosts = self.same.entry(fingerprint(host, failure)).or_default();
        hosts.push(host.clone());
        (hosts.len() >= limit).then(|| {
            let names = hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ");
            format!("{} hosts failed with the same error ({names}): {failure}", hosts.len())
        })
    }
}

fn over(class: &str, count: usize, limit: Option<usize>) -> Option<String> {
    let limit = limit?;
    (count > limit).then(|| match limit {
        0 => format!("{count} {class}, and the budget allows none"),
        limit => format!("{count} {class}, and the budget allows {limit}"),
    })
}

/// What is the same about an error on two hosts: its words, without host names, numbers and times.
fn fingerprint(host: &HostName, failure: &Failure) -> String {
    let mut text = format!("{:?} {} {}", failure.class, failure.message, failure.causes.join(" "));
    if let Some(last) = failure.output.last() {
        text.push(' ');
        text.push_str(last);
    }
    text = text.replace(host.as_str(), "HOST");
    let mut plain = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || ",;()[]\"'`=".contains(c)) {
        let is_variable = word.chars().any(|c| c.is_ascii_digit());
        plain.push_str(if is_variable { "N" } else { word });
        plain.push(' ');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: usize) -> HostName {
        HostName::new(format!("web-{n}")).expect("a valid name")
    }

    fn budget(failed: Option<usize>, unreachable: Option<usize>, same: Option<usize>) -> FailureBudget {
        FailureBudget { failed, unreachable, inconclusive: None, same_failure: same }
    }

    /// Feeds the outcomes and returns at which of them (from 1) the run halts.
    fn halts_at(budget: FailureBudget, outcomes: &[HostOutcome]) -> Option<usize> {
        let mut tally = Tally::new(budget);
        outcomes
            .iter()
            .enumerate()
            .position(|(i, outcome)| tally.absorb(&host(i), *outcome, None).is_some())
            .map(|i| i + 1)
    }

    #[test]
    fn budgets_are_inclusive_and_each_class_has_its_own() {
        use HostOutcome::{Done, Failed, Held, NotStarted, Parked, Refused, Stuck, Undone, Unknown, Unreachable};
        type Case<'a> = (Option<usize>, Option<usize>, &'a [HostOutcome], Option<usize>);
        let cases: &[Case<'_>] = &[
            (Some(0), None, &[Done, Done], None),
            (Some(0), None, &[Done, Failed], Some(2)),
            (Some(0), None, &[Undone], Some(1)),
            (Some(1), None, &[Failed, Done], None),
            (Some(1), None, &[Failed, Done, Held], Some(3)),
            (Some(2), None, &[Stuck, Unknown, Parked], Some(3)),
            (Some(0), None, &[Unreachable, Unreachable], None),
            (Some(0), Some(0), &[Unreachable], Some(1)),
            (Some(0), Some(1), &[Unreachable, Unreachable], Some(2)),
            (None, None, &[Failed, Failed, Failed], None),
            (Some(0), Some(0), &[Refused, NotStarted], None),
        ];
        for (failed, unreachable, outcomes, expected) in cases {
            assert_eq!(
                halts_at(budget(*failed, *unreachable, None), outcomes),
                *expected,
                "{outcomes:?} under {failed:?}/{unreachable:?}"
            );
        }
    }

    #[test]
    fn the_same_error_on_two_hosts_halts_whatever_the_names_and_numbers() {
        let mut tally = Tally::new(budget(Some(10), None, Some(2)));
        let failure = |host: &str, port: u32| {
            Failure::new(FailureClass::Step, format!("step `start` failed on {host}"))
                .because(format!("port {port} is in use since 10:02:{port}"))
        };
        let other = Failure::new(FailureClass::Step, "no space left on device");
        assert_eq!(tally.absorb(&host(1), HostOutcome::Undone, Some(&failure("web-1", 80))), None);
        assert_eq!(tally.absorb(&host(2), HostOutcome::Undone, Some(&other)), None);
        let reason = tally.absorb(&host(3), HostOutcome::Undone, Some(&failure("web-3", 81)));
        assert!(reason.is_some_and(|r| r.starts_with("2 hosts failed with the same error (web-1, web-3)")));
    }
}
