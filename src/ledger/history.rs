//! Questions about the runs there were.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{Ledger, LedgerError, run::RunLock};
use crate::{
    event::Event,
    model::{ExitCode, HostName, HostOutcome, RunId, RunNumber},
};

/// A run as the ledger lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    pub number: RunNumber,
    pub id: RunId,
    pub title: String,
    pub purpose: String,
    /// What a `look` was a look at, where that was no upgrade.
    pub looks_at: Option<String>,
    pub plan_digest: String,
    pub hosts: usize,
    pub controller: String,
    pub begun: Timestamp,
    pub ended: Option<Timestamp>,
    pub exit: Option<ExitCode>,
    /// How many hosts ended in which way, so far.
    pub outcomes: BTreeMap<HostOutcome, usize>,
    /// Whether a process works on it just now. One that neither ended nor runs was cut off.
    pub running: bool,
}

impl RunRecord {
    /// Whether the run does steps on hosts, and so can be gone on with; others look, or run one command.
    pub fn changes_hosts(&self) -> bool {
        matches!(self.purpose.as_str(), "apply" | "rollback" | "prefetch")
    }
}

const COLUMNS: &str = "select number, id, title, purpose, plan_digest, hosts, controller, begun_at, ended_at, exit, \
     case purpose when 'look' then (select json_extract(line, '$.looks-at') from events where run = number and sequence = 1) end \
     from runs";

impl Ledger {
    /// Lists the latest runs, the last one first.
    pub fn runs(&self, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(&format!("{COLUMNS} order by number desc limit ?1"))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let records = statement.query_map([limit], read_record)?.collect::<Result<Vec<_>, _>>()?;
        records.into_iter().map(|record| self.complete(&reader, record)).collect()
    }

    /// Returns one run.
    pub fn run(&self, number: RunNumber) -> Result<RunRecord, LedgerError> {
        let reader = self.reader();
        let found = reader
            .prepare_cached(&format!("{COLUMNS} where number = ?1"))?
            .query_row([number.0], read_record)
            .optional()?;
        let record = found.ok_or_else(|| LedgerError::NoRun(number.to_string()))?;
        self.complete(&reader, record)
    }

    /// Finds a run as people name it: its number (`42`, `0042`, `#42`), its id or the beginning of it, `last`.
    pub fn find(&self, text: &str) -> Result<RunRecord, LedgerError> {
        let no_run = || LedgerError::NoRun(crate::model::clean_line(text.as_bytes(), 80));
        let by_number = text.parse::<RunNumber>().ok().filter(|_| text.len() <= 10);
        if let Some(number) = by_number {
            return self.run(number).map_err(|error| match error {
                LedgerError::NoRun(_) => no_run(),
                other => other,
            });
        }
        if text == "last" {
            return self.runs(1)?.pop().ok_or_else(no_run);
        }
        let numbers: Vec<u32> = {
            let reader = self.reader();
            let mut statement =
                reader.prepare_cached("select number from runs where substr(id, 1, length(?1)) = ?1 limit 2")?;
            statement.query_map([text], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        match numbers.as_slice() {
            [one] if !text.is_empty() => self.run(RunNumber(*one)),
            _ => Err(no_run()),
        }
    }

    /// Returns a run's events in order, or those of one host.
    pub fn events(&self, number: RunNumber, host: Option<&HostName>) -> Result<Vec<Event>, LedgerError> {
        if host.is_none() {
            self.verify_run(number)?;
        }
        self.lines(number, host, 0)?
            .into_iter()
            .map(|(sequence, line)| {
                serde_json::from_str(&line).map_err(|source| LedgerError::Event { run: number, sequence, source })
            })
            .collect()
    }

    /// Returns a run's events after `sequence` as they are stored, one JSON object each, with their sequence.
    ///
    /// Kinds that only a newer version knows are as that version wrote them.
    pub fn lines(
        &self,
        number: RunNumber,
        host: Option<&HostName>,
        after: u64,
    ) -> Result<Vec<(u64, String)>, LedgerError> {
        self.run(number)?;
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "select sequence, line from events where run = ?1 and sequence > ?2 and (?3 is null or host = ?3)
             order by sequence",
        )?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let lines = statement
            .query_map(rusqlite::params![number.0, after, host.map(HostName::as_str)], |row| {
                Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        Ok(lines)
    }

    /// Returns the plan of a run, exactly as it was handed in.
    pub fn plan(&self, number: RunNumber) -> Result<String, LedgerError> {
        let reader = self.reader();
        let found: Option<(String, Option<String>)> = reader
            .prepare_cached("select plan, plan_check from runs where number = ?1")?
            .query_row([number.0], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (plan, check) = found.ok_or_else(|| LedgerError::NoRun(number.to_string()))?;
        if check.is_some_and(|check| check != super::chain::of_plan(&plan)) {
            return Err(self.damaged(format!("the plan of run {number} is not what was recorded")));
        }
        Ok(plan)
    }

    /// The sequence and the sum of a run's last event.
    pub(super) fn last_of(&self, number: RunNumber) -> Result<(u64, String), LedgerError> {
        let last: Option<(i64, Option<String>)> = self
            .reader()
            .prepare_cached("select sequence, chain from events where run = ?1 order by sequence desc limit 1")?
            .query_row([number.0], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(last.map_or((0, String::new()), |(sequence, chain)| (sequence.unsigned_abs(), chain.unwrap_or_default())))
    }

    /// Adds what stands in other places: the outcomes so far, and whether a process works on it.
    fn complete(&self, reader: &Connection, mut record: RunRecord) -> Result<RunRecord, LedgerError> {
        // Of a host that was taken back after it had finished, the last word counts.
        let mut statement = reader.prepare_cached(
            "select json_extract(line, '$.outcome'), max(sequence) from events
             where run = ?1 and kind = 'host-finished' group by host",
        )?;
        let mut rows = statement.query([record.number.0])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            if let Ok(outcome) = serde_json::from_value(serde_json::Value::String(name)) {
                *record.outcomes.entry(outcome).or_default() += 1;
            }
        }
        record.running = record.ended.is_none() && RunLock::is_taken(&self.inner.folder, record.number, &record.id);
        Ok(record)
    }
}

fn read_record(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let text = |index| row.get::<_, String>(index);
    let odd = |index, what: String| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, what.into())
    };
    let time = |index, text: String| text.parse::<Timestamp>().map_err(|error| odd(index, error.to_string()));
    let id = text(1)?;
    Ok(RunRecord {
        number: RunNumber(row.get(0)?),
        id: RunId::from_text(&id).ok_or_else(|| odd(1, format!("`{id}` is not the id of a run")))?,
        title: text(2)?,
        purpose: text(3)?,
        plan_digest: text(4)?,
        hosts: usize::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
        controller: text(6)?,
        begun: time(7, text(7)?)?,
        ended: row.get::<_, Option<String>>(8)?.map(|text| time(8, text)).transpose()?,
        // An exit code of a newer version reads as none.
        exit: row
            .get::<_, Option<String>>(9)?
            .and_then(|name| serde_json::from_value(serde_json::Value::String(name)).ok()),
        looks_at: row.get(10)?,
        outcomes: BTreeMap::new(),
        running: false,
    })
}
