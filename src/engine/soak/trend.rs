//! What becomes of one watched host over the rounds of a soak: healthy, red for good, or never at rest.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    model::{Span, Verdict},
    plan::Watch,
};

/// What one round saw of a host.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    Green,
    /// A check failed.
    Red(String),
    /// It could not be measured.
    Error(String),
    /// It went down and came back between two looks.
    Restarted(String),
}

/// The rounds of one host so far.
pub(super) struct Trend<'a> {
    rules: &'a Watch,
    /// It was healthy once: from then on, red rounds count.
    settled: bool,
    green: usize,
    red: usize,
    /// Of the red rounds in a row, whether one was a finding.
    found: bool,
    flaps: usize,
    counts: BTreeMap<String, u64>,
}

impl<'a> Trend<'a> {
    pub(super) fn new(rules: &'a Watch) -> Self {
        Self { rules, settled: false, green: 0, red: 0, found: false, flaps: 0, counts: BTreeMap::new() }
    }

    /// Whether nothing is open: it is healthy now.
    pub(super) fn is_healthy(&self) -> bool {
        self.settled && self.red == 0
    }

    /// Folds one round in. Returns the verdict and why, once the host is past saving.
    pub(super) fn absorb(&mut self, seen: Seen, elapsed: Duration) -> Option<(Verdict, String)> {
        let (words, found) = match seen {
            Seen::Green => {
                self.green += 1;
                self.red = 0;
                self.found = false;
                self.settled |= self.green >= self.rules.healthy;
                return (!self.settled && elapsed >= self.rules.within.0 && self.rules.healthy > 1)
                    .then(|| (Verdict::Fail, self.never_healthy("green, but not for long enough")));
            }
            Seen::Restarted(words) => return Some((Verdict::Fail, words)),
            Seen::Red(words) => (words, true),
            Seen::Error(words) => (words, false),
        };
        if self.settled && self.red == 0 {
            self.flaps += 1;
        }
        self.green = 0;
        self.red += 1;
        self.found |= found;
        let verdict = if self.found { Verdict::Fail } else { Verdict::Error };
        if self.settled && self.flaps >= self.rules.flaps {
            return Some((verdict, format!("turned red {} times: {words}", self.flaps)));
        }
        if !self.settled && elapsed < self.rules.within.0 {
            return None;
        }
        if !self.settled && !self.rules.within.0.is_zero() {
            return Some((verdict, self.never_healthy(&words)));
        }
        (self.red >= self.rules.red).then_some((verdict, words))
    }

    /// Keeps the counts first seen, and says which of them has grown since.
    pub(super) fn grown<'r>(&mut self, counts: impl Iterator<Item = (&'r str, u64)>) -> Option<String> {
        let mut words = None;
        for (check, count) in counts {
            let first = self.counts.entry(check.to_owned()).or_insert(count);
            // A container that was made anew counts from nothing.
            *first = count.min(*first);
            if count > *first && words.is_none() {
                let times = count - *first;
                let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
                words = Some(format!("check `{check}`: restarted {times} since the soak began"));
            }
        }
        words
    }

    fn never_healthy(&self, words: &str) -> String {
        let within: Span = self.rules.within;
        match self.rules.healthy {
            1 => format!("not healthy within {within}: {words}"),
            rounds => format!("not green {rounds} times in a row within {within}: {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules, rounds, and in which of them the host falls.
    type Case<'a> = (Watch, &'a str, Option<(usize, Verdict)>);

    /// Plays rounds a second apart: `g`reen, `r`ed, `e`rror. Returns in which (from 1) the host fell, and how.
    fn falls(rules: &Watch, rounds: &str) -> Option<(usize, Verdict)> {
        let mut trend = Trend::new(rules);
        rounds.chars().enumerate().find_map(|(round, seen)| {
            let seen = match seen {
                'g' => Seen::Green,
                'r' => Seen::Red("red".to_owned()),
                _ => Seen::Error("away".to_owned()),
            };
            let (verdict, _) = trend.absorb(seen, Duration::from_secs(round as u64))?;
            Some((round + 1, verdict))
        })
    }

    #[test]
    fn one_bad_answer_is_no_trend_and_the_limit_of_each_rule_is_inclusive() {
        use Verdict::{Error, Fail};
        let usual = Watch::default();
        let settle = |healthy, within| Watch { healthy, within: Span::seconds(within), ..Watch::default() };
        let cases: &[Case<'_>] = &[
            (usual.clone(), "ggggg", None),
            (usual.clone(), "grrg", None),
            (usual.clone(), "grrr", Some((4, Fail))),
            (usual.clone(), "rrr", Some((3, Fail))),
            (usual.clone(), "geee", Some((4, Error))),
            (usual.clone(), "gere", Some((4, Fail))),
            (usual.clone(), "grgrg", None),
            (usual.clone(), "grgrgr", Some((6, Fail))),
            (Watch { flaps: 1, ..usual.clone() }, "ggr", Some((3, Fail))),
            (Watch { red: 1, ..usual.clone() }, "ggr", Some((3, Fail))),
            (settle(1, 4), "rrrgg", None),
            (settle(1, 4), "rrrrr", Some((5, Fail))),
            (settle(1, 4), "eeeee", Some((5, Error))),
            (settle(3, 6), "rgrrggg", None),
            (settle(3, 6), "grggrgg", Some((7, Fail))),
        ];
        for (rules, rounds, expected) in cases {
            assert_eq!(falls(rules, rounds), *expected, "{rounds} under {rules:?}");
        }
    }

    #[test]
    fn a_count_may_fall_and_never_grow() {
        let rules = Watch::default();
        let mut trend = Trend::new(&rules);
        let mut grown = |count| trend.grown([("restarts", count)].into_iter());
        assert_eq!(grown(5), None);
        assert_eq!(grown(5), None);
        assert_eq!(grown(0), None, "made anew");
        assert!(grown(2).is_some_and(|words| words.contains("restarted 2 times")));
    }
}
