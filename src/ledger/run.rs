//! One run that is being recorded: its lock, its numbers, and those who listen.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{Ledger, LedgerError, folder, writer::Record};
use crate::{
    event::{Event, Happening, RecordError, Recorder},
    model::{HostName, RunId, RunNumber},
};

/// The right to record one run. No other process has it until the last clone is dropped.
#[derive(Clone)]
pub struct RunHandle {
    ledger: Ledger,
    run: Arc<RunChannel>,
    lock: Arc<RunLock>,
}

impl RunHandle {
    pub(super) fn new(ledger: Ledger, number: RunNumber, id: RunId, lock: RunLock, last: (u64, String)) -> Self {
        let run = RunChannel { number, id, last: Mutex::new(last), listeners: Mutex::default() };
        Self { ledger, run: Arc::new(run), lock: Arc::new(lock) }
    }

    pub fn number(&self) -> RunNumber {
        self.run.number
    }

    pub fn id(&self) -> &RunId {
        &self.run.id
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the folder where the run keeps files on the controller; it exists and is private.
    pub fn folder(&self) -> &Path {
        &self.lock.folder
    }

    /// Calls `listener` with each event that is durable from now on, in order, before the recorder's
    /// caller goes on. It runs on the writing thread, so it must not wait and not record.
    pub fn listen(&self, listener: impl Fn(&Event) + Send + 'static) {
        self.run.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(move |event| {
            listener(event);
            true
        }));
    }

    /// Returns each event that is durable from now on, in order; none is dropped.
    /// Forgets all listeners, so that what they hold is let go.
    pub fn silence(&self) {
        self.run.listeners.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let listener = move |event: &Event| sender.send(event.clone()).is_ok();
        self.run.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
        receiver
    }
}

#[async_trait]
impl Recorder for RunHandle {
    async fn record(&self, host: Option<&HostName>, what: Happening) -> Result<(), RecordError> {
        let (answer, answered) = oneshot::channel();
        let run = Arc::clone(&self.run);
        self.ledger.inner.writer.record(Record { run, host: host.cloned(), what, answer });
        answered.await.unwrap_or_else(|_| Err(RecordError(LedgerError::Closed.to_string())))
    }
}

/// Hears an event; says whether it wants more.
type Listener = Box<dyn Fn(&Event) -> bool + Send>;

/// What the writing thread needs to know of a run.
pub(super) struct RunChannel {
    pub number: RunNumber,
    pub id: RunId,
    /// Sequence and sum of the last event. Only the writing thread counts on; a number is never used twice, as a
    /// failed commit ends all.
    last: Mutex<(u64, String)>,
    listeners: Mutex<Vec<Listener>>,
}

impl RunChannel {
    pub(super) fn last(&self) -> MutexGuard<'_, (u64, String)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: &Event) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener(event));
    }
}

/// The exclusive lock of a run, held by the kernel: it ends with the process, however that ends.
pub(super) struct RunLock {
    folder: PathBuf,
    _file: File,
}

impl RunLock {
    pub(super) fn take(private: &Path, number: RunNumber, id: &RunId) -> Result<Self, LedgerError> {
        let folder = Self::folder(private, number, id);
        folder::private_folder(&private.join("runs"))?;
        folder::private_folder(&folder)?;
        let path = folder.join("lock");
        let file = folder::private_file(&path)?;
        // `history` looks at the lock for a moment; that is not another longshore at work.
        for patience in (0..5).rev() {
            match file.try_lock() {
                Ok(()) => return Ok(Self { folder, _file: file }),
                Err(TryLockError::WouldBlock) if patience > 0 => std::thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(source)) => return Err(LedgerError::io(&path, source)),
            }
        }
        Err(LedgerError::Running(number))
    }

    /// Whether some process has the lock.
    pub(super) fn is_taken(private: &Path, number: RunNumber, id: &RunId) -> bool {
        let path = Self::folder(private, number, id).join("lock");
        File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn folder(private: &Path, number: RunNumber, id: &RunId) -> PathBuf {
        // With the id: numbers begin again when a ledger was lost and made anew.
        private.join("runs").join(format!("{number}-{id}"))
    }
}
