//! The database's settings and tables, and how older ones become today's.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::LedgerError;

/// Marks the file as ours: `LSHR`.
const APPLICATION: i64 = 0x4c53_4852;

/// How long to wait for another longshore that writes to the same ledger.
const BUSY: Duration = Duration::from_secs(30);

/// A ledger up to this size is checked at every opening; a larger one only after a crash.
const ALWAYS_CHECKED: u64 = 32 << 20;

/// Each makes the next format out of the one before it. Never changed, only added to.
const MIGRATIONS: &[&str] = &[
    "
    create table runs (
        number      integer primary key,
        id          text not null unique,
        title       text not null,
        purpose     text not null,
        plan_digest text not null,
        hosts       integer not null,
        controller  text not null,
        begun_at    text not null,
        ended_at    text,
        exit        text,
        plan        text not null
    ) strict;

    -- One row for each event; `line` is the event as JSON, whole, also of kinds not known here.
    create table events (
        run      integer not null references runs (number),
        sequence integer not null,
        host     text,
        kind     text not null,
        line     text not null,
        primary key (run, sequence)
    ) strict, without rowid;
    create index events_of_a_host on events (run, host, sequence) where host is not null;
    create index outcomes on events (run, host) where kind = 'host-finished';

    -- What a person asked of a run from another terminal.
    create table requests (
        id       integer primary key autoincrement,
        run      integer not null references runs (number),
        control  text not null,
        by       text not null,
        reason   text,
        made_at  text not null,
        taken_at text
    ) strict;
    create index open_requests on requests (run, id) where taken_at is null;
",
    "
    -- What `SQLite` does not notice: a byte that flipped in a text. See `chain.rs`.
    alter table events add column chain text;
    alter table runs add column plan_check text;
",
];

/// Opens the database for writing: checked, and in today's format.
pub(super) fn open(path: &Path, left_behind: bool) -> Result<Connection, LedgerError> {
    let mut connection = connect(path)?;
    let damaged = |error| damaged(error, path);
    // Looked at before anything is set: a file that is not ours stays as it is.
    identify(&connection, path).map_err(|error| match error {
        LedgerError::Database(error) => damaged(error),
        other => other,
    })?;
    let size = std::fs::metadata(path).map_or(0, |found| found.len());
    if left_behind || size <= ALWAYS_CHECKED {
        check(&connection, path, "quick_check")?;
    }
    connection.pragma_update(None, "journal_mode", "wal").map_err(damaged)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Has the database checked by itself: `quick_check`, or `integrity_check`, which takes its time.
pub(super) fn check(connection: &Connection, path: &Path, how: &str) -> Result<(), LedgerError> {
    let found: String = connection
        .query_row(&format!("pragma {how}(1)"), [], |row| row.get(0))
        .map_err(|error| damaged(error, path))?;
    if found == "ok" { Ok(()) } else { Err(LedgerError::Damaged { path: path.to_owned(), detail: found }) }
}

/// Tells a damaged file from other trouble.
fn damaged(error: rusqlite::Error, path: &Path) -> LedgerError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => LedgerError::NotALedger(path.to_owned()),
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            LedgerError::Damaged { path: path.to_owned(), detail: error.to_string() }
        }
        _ => LedgerError::Database(error),
    }
}

/// Opens the database beside the writer, for questions only.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, LedgerError> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Returns the format of a ledger of ours, 0 for a new file.
fn identify(connection: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (application != 0 || found != 0 || tables != 0) {
        return Err(LedgerError::NotALedger(path.to_owned()));
    }
    let known = i64::try_from(MIGRATIONS.len()).expect("few migrations");
    if found > known {
        return Err(LedgerError::Newer { path: path.to_owned(), found, known });
    }
    Ok(found)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    // Asked again inside the transaction: another process may be doing the same just now.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = usize::try_from(identify(&transaction, path)?).unwrap_or(0);
    for migration in &MIGRATIONS[found..] {
        transaction.execute_batch(migration)?;
    }
    if found != MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).expect("few migrations"))?;
    }
    transaction.commit()?;
    Ok(())
}
