//! The one thread that writes. It takes whatever has queued and commits it together, so that a
//! hundred hosts wait for one write of the disk and not for a hundred.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::{Clock, LedgerError, chain, run::RunChannel};
use crate::{
    event::{Event, Happening, RecordError},
    model::HostName,
};

/// Most events in one transaction: bounds the wait of the first of them.
const BATCH: usize = 4096;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;
type Answer = oneshot::Sender<Result<(), RecordError>>;

enum Work {
    Record(Box<Record>),
    Job(Job),
}

/// An event on its way to the disk.
pub(super) struct Record {
    pub run: Arc<RunChannel>,
    pub host: Option<HostName>,
    pub what: Happening,
    pub answer: Answer,
}

/// The sending end of the writing thread. Dropping it writes what has queued, then closes.
pub(super) struct Writer {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, clock: Clock) -> Result<Self, LedgerError> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || Thread { connection, clock, broken: None }.serve(&receiver))
            .map_err(|source| LedgerError::io(std::path::Path::new("ledger.db"), source))?;
        Ok(Self { work: Some(sender), thread: Some(thread) })
    }

    /// Queues an event. Its answer comes once it is on the disk.
    pub(super) fn record(&self, record: Record) {
        // A thread that is gone drops the answer, and the waiting end reads that as an error.
        if let Some(work) = &self.work {
            let _ = work.send(Work::Record(Box::new(record)));
        }
    }

    /// Runs `job` on the writing thread, after what has queued, and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (sender, receiver) = mpsc::channel();
        let job: Job = Box::new(move |connection| {
            let _ = sender.send(job(connection));
        });
        let sent = self.work.as_ref().is_some_and(|work| work.send(Work::Job(job)).is_ok());
        if !sent {
            return Err(LedgerError::Closed);
        }
        receiver.recv().map_err(|_| LedgerError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Thread {
    connection: Connection,
    clock: Clock,
    /// Why a commit failed. What comes after it would have a gap before it, so nothing does.
    broken: Option<String>,
}

impl Thread {
    fn serve(mut self, work: &mpsc::Receiver<Work>) {
        let mut records = Vec::new();
        while let Ok(first) = work.recv() {
            let mut next = Some(first);
            let mut job = None;
            while let Some(work_item) = next {
                match work_item {
                    Work::Record(record) => records.push(*record),
                    Work::Job(found) => {
                        job = Some(found);
                        break;
                    }
                }
                next = if records.len() < BATCH { work.try_recv().ok() } else { None };
            }
            self.commit(&mut records);
            if let Some(job) = job {
                job(&mut self.connection);
            }
        }
        if self.broken.is_some() {
            // Closing folds the log into the database, which flushes again what could not be flushed. Whoever opens
            // the ledger next reads from the disk what is there.
            std::mem::forget(self.connection);
        }
    }

    fn commit(&mut self, records: &mut Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let events = match &self.broken {
            Some(reason) => Err(reason.clone()),
            None => self.store(records).map_err(|error| error.to_string()),
        };
        match events {
            Ok(events) => {
                for (record, event) in records.drain(..).zip(events) {
                    record.run.tell(&event);
                    let _ = record.answer.send(Ok(()));
                }
            }
            Err(reason) => {
                for record in records.drain(..) {
                    let _ = record.answer.send(Err(RecordError(reason.clone())));
                }
                self.broken = Some(reason);
            }
        }
    }

    fn store(&mut self, records: &[Record]) -> Result<Vec<Event>, rusqlite::Error> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut events = Vec::with_capacity(records.len());
        for record in records {
            let mut last = record.run.last();
            let event = Event {
                run: record.run.id.clone(),
                sequence: last.0 + 1,
                at: (self.clock)(),
                host: record.host.clone(),
                what: record.what.clone(),
            };
            let line = serde_json::to_string(&event).expect("an event is plain data");
            let chain = chain::next(&last.1, &line);
            insert(&transaction, record.run.number.0, &event, &line, &chain)?;
            *last = (event.sequence, chain);
            events.push(event);
        }
        transaction.commit()?;
        Ok(events)
    }
}

fn insert(
    transaction: &Transaction<'_>,
    run: u32,
    event: &Event,
    line: &str,
    chain: &str,
) -> Result<(), rusqlite::Error> {
    let sequence = i64::try_from(event.sequence).expect("fewer events than that");
    transaction
        .prepare_cached("insert into events (run, sequence, host, kind, line, chain) values (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(rusqlite::params![
            run,
            sequence,
            event.host.as_ref().map(HostName::as_str),
            event.what.kind(),
            line,
            chain,
        ])?;
    if let Happening::RunFinished { exit } = &event.what {
        let exit = serde_json::to_value(exit).expect("an exit code is plain data");
        transaction
            .prepare_cached("update runs set ended_at = ?2, exit = ?3 where number = ?1")?
            .execute(rusqlite::params![run, event.at.to_string(), exit.as_str()])?;
    }
    // A run that is taken up again has no end until it comes to one.
    if let Happening::RunResumed { .. } = &event.what {
        transaction.prepare_cached("update runs set ended_at = null, exit = null where number = ?1")?.execute([run])?;
    }
    Ok(())
}
