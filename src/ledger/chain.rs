//! A sum beside each event, over its line and the sum before it: what was changed, left out or put in shows.
//!
//! The database knows when its pages do not fit together, and not when a byte flips inside a text. The sums find
//! accidents; who can write the file can write the sums.

use sha2::{Digest as _, Sha256};

use super::{Ledger, LedgerError, schema};
use crate::model::RunNumber;

/// Bytes of a sum that are kept.
const KEPT: usize = 12;

/// Returns the sum of an event's line that follows the sum `before`; empty before the first.
pub(super) fn next(before: &str, line: &str) -> String {
    sum(&[before, line])
}

/// Returns the sum of a plan's text.
pub(super) fn of_plan(plan: &str) -> String {
    sum(&["plan", plan])
}

fn sum(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher
        .finalize()
        .iter()
        .take(KEPT)
        .fold(String::with_capacity(2 * KEPT), |text, byte| text + &format!("{byte:02x}"))
}

impl Ledger {
    /// Looks at all of it: what the database says of itself, and whether every plan and event is what was recorded.
    pub fn verify(&self) -> Result<(), LedgerError> {
        let path = self.path();
        schema::check(&self.reader(), &path, "integrity_check")?;
        for run in self.runs(usize::MAX)? {
            self.plan(run.number)?;
            self.verify_run(run.number)?;
        }
        Ok(())
    }

    /// Whether a run's events are what was recorded. Those of before there were sums are believed.
    pub(super) fn verify_run(&self, number: RunNumber) -> Result<(), LedgerError> {
        let reader = self.reader();
        let mut statement =
            reader.prepare_cached("select sequence, line, chain from events where run = ?1 order by sequence")?;
        let mut rows = statement.query([number.0])?;
        let (mut before, mut expected) = (String::new(), 1);
        while let Some(row) = rows.next()? {
            let (sequence, line): (i64, String) = (row.get(0)?, row.get(1)?);
            let found: Option<String> = row.get(2)?;
            let wanted = next(&before, &line);
            if sequence != expected || found.as_ref().is_some_and(|found| *found != wanted) {
                return Err(self.damaged(format!("event {expected} of run {number} is not what was recorded")));
            }
            (before, expected) = (found.unwrap_or_default(), sequence + 1);
        }
        Ok(())
    }

    pub(super) fn damaged(&self, detail: String) -> LedgerError {
        LedgerError::Damaged { path: self.path(), detail }
    }
}
