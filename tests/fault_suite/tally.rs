//! What is counted over all rounds, and its text.

use std::{collections::BTreeMap, fmt::Write as _};

#[derive(Debug, Default)]
pub struct Tally {
    pub rounds: u64,
    /// Hosts that went through a round.
    pub turns: u64,
    pub controllers_killed: u64,
    pub resumes: u64,
    pub faults: BTreeMap<String, u64>,
    pub ends: BTreeMap<String, u64>,
    /// Aimed kills of one process other than the supervisor that hit, and the unknowns after them.
    pub single_kills: u64,
    pub single_unknown: u64,
    pub violations: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.turns += other.turns;
        self.controllers_killed += other.controllers_killed;
        self.resumes += other.resumes;
        self.single_kills += other.single_kills;
        self.single_unknown += other.single_unknown;
        for (name, count) in other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in other.ends {
            *self.ends.entry(name).or_default() += count;
        }
        self.violations.extend(other.violations);
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "rounds {}; hosts' turns {}; controllers killed {}; resumes {}\n",
            self.rounds, self.turns, self.controllers_killed, self.resumes
        );
        let list = |counts: &BTreeMap<String, u64>| {
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(text, "faults: {}", list(&self.faults));
        let _ = writeln!(text, "hosts ended: {}", list(&self.ends));
        let _ = writeln!(
            text,
            "unknown after a kill of one process other than the supervisor: {} of {}",
            self.single_unknown, self.single_kills
        );
        let _ = writeln!(text, "violations: {}", self.violations.len());
        for violation in &self.violations {
            let _ = writeln!(text, "{violation}");
        }
        text
    }

    /// Whether at most two of a hundred such kills left a step unknown; few kills say nothing.
    pub fn is_unknown_rare(&self) -> bool {
        self.single_kills < 200 || self.single_unknown * 50 <= self.single_kills
    }
}
