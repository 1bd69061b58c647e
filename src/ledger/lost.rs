//! A ledger that is damaged or gone: noticed, set aside, never repaired in place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Ledger, LedgerError, run::RunLock};
use crate::model::{RunId, RunNumber};

/// Refuses to go on without a ledger where the folders of runs say that there was one.
pub(super) fn refuse_gone(folder: &Path, path: &Path) -> Result<(), LedgerError> {
    let runs = if path.exists() { 0 } else { noted_runs(folder).len() };
    if runs == 0 { Ok(()) } else { Err(LedgerError::Gone { path: path.to_owned(), runs }) }
}

/// The highest number that was given to a run here, by the folders of runs; 0 for none.
pub(super) fn last_number(folder: &Path) -> u32 {
    noted_runs(folder).iter().map(|(number, _)| number.0).max().unwrap_or(0)
}

/// The runs of this controller, by the names of their folders.
fn noted_runs(folder: &Path) -> Vec<(RunNumber, RunId)> {
    let entries = fs::read_dir(folder.join("runs")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| {
            let (number, id) = name.split_once('-')?;
            Some((number.parse().ok()?, RunId::from_text(id)?))
        })
        .collect()
}

impl Ledger {
    /// The runs that were recorded in this project, whether its ledger is still there or not.
    pub fn noted_runs(project: &Path) -> Vec<(RunNumber, RunId)> {
        noted_runs(&project.join(".longshore"))
    }

    /// A run of this project that some process works on just now.
    pub fn busy_run(project: &Path) -> Option<RunNumber> {
        let folder = project.join(".longshore");
        let busy = |(number, id): &(RunNumber, RunId)| RunLock::is_taken(&folder, *number, id);
        noted_runs(&folder).into_iter().find(busy).map(|(number, _)| number)
    }

    /// Moves a ledger that cannot be used, with the files beside it, to names that say so. Nothing in it changes.
    ///
    /// Returns where the ledger is now; `None` where there was none.
    pub fn set_aside(project: &Path, when: jiff::Timestamp) -> Result<Option<PathBuf>, LedgerError> {
        let folder = project.join(".longshore");
        let stamp = when.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut aside = None;
        // The log first: beside a new database it would be taken for that one's.
        for end in ["-shm", "-wal", ""] {
            let from = folder.join(format!("ledger.db{end}"));
            let to = folder.join(format!("ledger.damaged-{stamp}.db{end}"));
            match fs::rename(&from, &to) {
                Ok(()) => aside = Some(to),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(LedgerError::io(&from, source)),
            }
        }
        let synced = fs::File::open(&folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| LedgerError::io(&folder, source))?;
        Ok(aside)
    }
}
