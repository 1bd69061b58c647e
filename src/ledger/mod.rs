//! The journal of runs, in `SQLite` in the project: `.longshore/ledger.db`, private to its user.
//!
//! One thread writes, and commits whatever has queued in one transaction; an event is on the disk
//! before [`crate::event::Recorder::record`] returns. When a commit fails, every later record fails at once.
//! The plan is kept as the text it was handed in as: the ledger knows events, not plans.

mod chain;
mod control;
mod error;
mod folder;
mod history;
mod lost;
mod run;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use rusqlite::Connection;

use crate::model::{RunId, RunNumber};

pub use control::{Control, Request};
pub use error::LedgerError;
pub use history::RunRecord;
pub use run::RunHandle;

use run::RunLock;
use writer::Writer;

/// Tells the time. Passed in, so that tests decide what it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The journal of one project's runs. Cheap to clone; the last clone dropped closes it in good order.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    /// Apart from the writer's, so that reading a long history holds up no run.
    reader: Mutex<Connection>,
    folder: PathBuf,
    clock: Clock,
}

/// What is noted of a run when it begins.
#[derive(Debug, Clone)]
pub struct RunMeta {
    pub id: RunId,
    pub title: String,
    /// `apply`, `check`, `exec`, `rollback`.
    pub purpose: String,
    pub plan_digest: String,
    pub hosts: usize,
    /// Who runs it and where: `anna@laptop, process 4711`.
    pub controller: String,
}

impl Ledger {
    /// Opens the project's ledger, or makes a new one. Checks that it is private and whole.
    ///
    /// Where runs were recorded before and their ledger is gone, no new one is made: that is for `recover`.
    pub fn open(project: &Path, clock: Clock) -> Result<Self, LedgerError> {
        let (folder, path) = Self::place(project)?;
        lost::refuse_gone(&folder, &path)?;
        Self::open_at(folder, &path, clock)
    }

    /// As [`Ledger::open`], and makes a new one also where one is gone.
    pub fn open_anew(project: &Path, clock: Clock) -> Result<Self, LedgerError> {
        let (folder, path) = Self::place(project)?;
        Self::open_at(folder, &path, clock)
    }

    fn place(project: &Path) -> Result<(PathBuf, PathBuf), LedgerError> {
        let project = project.canonicalize().map_err(|source| LedgerError::io(project, source))?;
        let folder = project.join(".longshore");
        folder::prepare(&folder)?;
        let path = folder.join("ledger.db");
        Ok((folder, path))
    }

    fn open_at(folder: PathBuf, path: &Path, clock: Clock) -> Result<Self, LedgerError> {
        let left_behind = folder::prepare_database(path)?;
        let connection = schema::open(path, left_behind)?;
        let reader = schema::open_for_reading(path)?;
        let writer = Writer::start(connection, Arc::clone(&clock))?;
        Ok(Self { inner: Arc::new(Inner { writer, reader: Mutex::new(reader), folder, clock }) })
    }

    /// Returns `.longshore`, which is private.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Notes a new run and its plan, durably, and gives it the next number.
    ///
    /// The run stays locked for other processes for as long as the handle lives.
    pub fn begin_run(&self, plan: &str, meta: RunMeta) -> Result<RunHandle, LedgerError> {
        self.note_run(plan, meta, None)
    }

    /// As [`Ledger::begin_run`], under the number `number`, unless another run has that.
    pub fn restore_run(&self, plan: &str, meta: RunMeta, number: Option<RunNumber>) -> Result<RunHandle, LedgerError> {
        self.note_run(plan, meta, number)
    }

    fn note_run(&self, plan: &str, meta: RunMeta, wanted: Option<RunNumber>) -> Result<RunHandle, LedgerError> {
        let (folder, plan, now) = (self.inner.folder.clone(), plan.to_owned(), (self.inner.clock)());
        let id = meta.id.clone();
        let (number, lock) = self.inner.writer.run(move |connection| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let last: u32 = transaction.query_row("select coalesce(max(number), 0) from runs", [], |row| row.get(0))?;
            let taken = |number: RunNumber| {
                transaction
                    .query_row("select exists(select 1 from runs where number = ?1)", [number.0], |row| row.get(0))
            };
            let number = match wanted {
                Some(number) if !taken(number)? => number,
                // A number that a lost ledger gave away is not given to another run.
                _ => RunNumber(last.max(lost::last_number(&folder)) + 1),
            };
            let lock = RunLock::take(&folder, number, &meta.id)?;
            transaction.execute(
                "insert into runs (number, id, title, purpose, plan_digest, hosts, controller, begun_at, plan, plan_check)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                rusqlite::params![
                    number.0,
                    meta.id.as_str(),
                    meta.title,
                    meta.purpose,
                    meta.plan_digest,
                    i64::try_from(meta.hosts).unwrap_or(i64::MAX),
                    meta.controller,
                    now.to_string(),
                    plan,
                    chain::of_plan(&plan),
                ],
            )?;
            transaction.commit()?;
            Ok((number, lock))
        })?;
        Ok(RunHandle::new(self.clone(), number, id, lock, (0, String::new())))
    }

    /// Takes up a run again that no process works on, to record what follows. `controller` works on it from now on, and
    /// what was asked of it before and not heeded is asked no more.
    pub fn reopen_run(&self, number: RunNumber, controller: &str) -> Result<RunHandle, LedgerError> {
        let record = self.run(number)?;
        let lock = RunLock::take(&self.inner.folder, number, &record.id)?;
        // Read after the lock is ours: nobody else adds to it any more.
        self.verify_run(number)?;
        let last = self.last_of(number)?;
        let _ = self.take_requests(number)?;
        let controller = controller.to_owned();
        self.inner.writer.run(move |connection| {
            connection.execute(
                "update runs set controller = ?2 where number = ?1",
                rusqlite::params![number.0, controller],
            )?;
            Ok(())
        })?;
        Ok(RunHandle::new(self.clone(), number, record.id, lock, last))
    }

    fn path(&self) -> PathBuf {
        self.inner.folder.join("ledger.db")
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        // A reader that panicked left no half-done write behind: it has none.
        self.inner.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
