//! Why the ledger cannot be used.

use std::path::{Path, PathBuf};

use crate::model::RunNumber;

/// Why the ledger cannot be used, or does not have what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("cannot use `{}`", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is a symbolic link", .0.display())]
    Symlink(PathBuf),
    #[error("`{}` is not a {expected}", path.display())]
    Kind { path: PathBuf, expected: &'static str },
    #[error("`{}` belongs to another user (id {owner}, not {user})", path.display())]
    Foreign { path: PathBuf, owner: u32, user: u32 },
    #[error("`{}` is on a network file system ({kind}), on which the ledger would not be safe", path.display())]
    Network { path: PathBuf, kind: &'static str },
    #[error("`{}` is not a ledger of longshore", .0.display())]
    NotALedger(PathBuf),
    #[error("`{}` was written by a newer longshore (format {found}, this one knows {known})", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("the ledger `{}` is damaged: {detail}", path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("the ledger `{}` is gone, and {}", path.display(), runs_were(*runs))]
    Gone { path: PathBuf, runs: usize },
    #[error("the ledger cannot be read or written")]
    Database(#[from] rusqlite::Error),
    #[error("the ledger's writer has stopped")]
    Closed,
    #[error("there is no run `{0}`")]
    NoRun(String),
    #[error("run {0} is being worked on by another longshore")]
    Running(RunNumber),
    #[error("event {sequence} of run {run} cannot be read")]
    Event {
        run: RunNumber,
        sequence: u64,
        #[source]
        source: serde_json::Error,
    },
}

impl LedgerError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// What to change or type next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Symlink(path) => Some(format!(
                "what longshore keeps is private: replace the link `{}` by what it points to",
                path.display()
            )),
            Self::Foreign { path, .. } => Some(format!(
                "run longshore as the user who owns the project, or hand `{}` over with `chown -R`",
                path.display()
            )),
            Self::Network { .. } => Some("keep the project on a local disk".to_owned()),
            Self::Newer { .. } => Some("install the newer longshore again".to_owned()),
            Self::NotALedger(_) | Self::Damaged { .. } => Some(
                "nothing was changed. `longshore recover` sets it aside, asks the hosts what they know and makes a \
                 new ledger of that"
                    .to_owned(),
            ),
            Self::Gone { .. } => Some(
                "put it back if you have it. `longshore recover` asks the hosts what they know and makes a new \
                 ledger of that"
                    .to_owned(),
            ),
            Self::NoRun(_) => Some("`longshore history` lists the runs".to_owned()),
            Self::Event { .. } => Some("it may come from a newer longshore".to_owned()),
            Self::Kind { path, .. } => {
                Some(format!("move `{}` away: longshore keeps its own files there", path.display()))
            }
            Self::Database(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                Some("make room on this machine's disk; nothing was begun".to_owned())
            }
            Self::Running(number) => Some(format!(
                "`longshore status {number}` shows it from here, and `pause`, `promote` and `abort` steer it"
            )),
            Self::Io { .. } | Self::Database(_) | Self::Closed => None,
        }
    }
}

fn runs_were(runs: usize) -> String {
    if runs == 1 { "a run was recorded in it".to_owned() } else { format!("{runs} runs were recorded in it") }
}
