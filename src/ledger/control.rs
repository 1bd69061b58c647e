//! What a person asks of a run from another terminal; the run takes it up when it looks.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::OptionalExtension as _;

use super::{Ledger, LedgerError};
use crate::model::RunNumber;

/// What can be asked of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Start no new hosts until promoted.
    Pause,
    /// Let the next wave begin.
    Promote,
    /// End the rollout; running hosts come to a safe point.
    Abort,
}

impl Control {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Promote => "promote",
            Self::Abort => "abort",
        }
    }
}

impl FromStr for Control {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Pause, Self::Promote, Self::Abort].into_iter().find(|control| control.as_str() == text).ok_or(())
    }
}

/// One thing asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub control: Control,
    pub by: String,
    pub reason: Option<String>,
    pub made: Timestamp,
}

impl Ledger {
    /// Asks something of a run, durably.
    pub fn request(
        &self,
        number: RunNumber,
        control: Control,
        by: &str,
        reason: Option<&str>,
    ) -> Result<(), LedgerError> {
        self.run(number)?;
        let (by, reason, now) = (by.to_owned(), reason.map(str::to_owned), (self.inner.clock)());
        self.inner.writer.run(move |connection| {
            connection.execute(
                "insert into requests (run, control, by, reason, made_at) values (?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![number.0, control.as_str(), by, reason, now.to_string()],
            )?;
            Ok(())
        })
    }

    /// Whether a run starts no new hosts because a person asked so. A word that was heeded before `since`, when its
    /// controller began, was for another one that is gone.
    pub fn is_paused(&self, number: RunNumber, since: Timestamp) -> Result<bool, LedgerError> {
        let reader = self.reader();
        let mut statement = reader.prepare_cached(
            "select control, taken_at from requests where run = ?1 and control in ('pause', 'promote')
             order by id desc limit 1",
        )?;
        let last: Option<(String, Option<String>)> =
            statement.query_row([number.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(last.is_some_and(|(control, taken)| {
            let taken = taken.and_then(|taken| taken.parse::<Timestamp>().ok());
            control == Control::Pause.as_str() && taken.is_none_or(|taken| taken >= since)
        }))
    }

    /// Takes what was asked of a run since the last time, in order; each is taken once.
    pub fn take_requests(&self, number: RunNumber) -> Result<Vec<Request>, LedgerError> {
        let open: i64 = self
            .reader()
            .prepare_cached("select count(*) from requests where run = ?1 and taken_at is null")?
            .query_row([number.0], |row| row.get(0))?;
        if open == 0 {
            // The usual answer, and it costs no write.
            return Ok(Vec::new());
        }
        let now = (self.inner.clock)();
        self.inner.writer.run(move |connection| {
            let mut statement = connection.prepare_cached(
                "update requests set taken_at = ?2 where run = ?1 and taken_at is null
                 returning id, control, by, reason, made_at",
            )?;
            let mut taken: Vec<(i64, Option<Request>)> = statement
                .query_map(rusqlite::params![number.0, now.to_string()], |row| {
                    let control = row.get::<_, String>(1)?.parse::<Control>();
                    let made = row.get::<_, String>(4)?.parse::<Timestamp>();
                    let (by, reason) = (row.get(2)?, row.get(3)?);
                    // What only a newer version understands is taken and let be.
                    let request =
                        control.ok().zip(made.ok()).map(|(control, made)| Request { control, by, reason, made });
                    Ok((row.get(0)?, request))
                })?
                .collect::<Result<_, _>>()?;
            taken.sort_by_key(|(id, _)| *id);
            Ok(taken.into_iter().filter_map(|(_, request)| request).collect())
        })
    }
}
