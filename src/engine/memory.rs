//! What the run itself remembers of its hosts: the fold of its own events, for what it takes back later.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    event::{Event, Happening, RecordError, Recorder, RunState},
    model::{HostName, RunId},
};

/// Passes events on to the recorder, and folds those that are durable.
pub(super) struct Memory {
    recorder: Arc<dyn Recorder>,
    run: RunId,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<RunState>,
}

impl Memory {
    /// `before` is what the ledger knows of the run, where it is taken up again.
    pub(super) fn new(before: Option<RunState>, means: &super::Means) -> Self {
        Self {
            recorder: Arc::clone(&means.recorder),
            run: means.run.clone(),
            now: Arc::clone(&means.now),
            state: Mutex::new(before.unwrap_or_default()),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Recorder for Memory {
    async fn record(&self, host: Option<&HostName>, what: Happening) -> Result<(), RecordError> {
        self.recorder.record(host, what.clone()).await?;
        let mut state = self.state();
        let run = state.run.clone().unwrap_or_else(|| self.run.clone());
        let event = Event { run, sequence: state.sequence + 1, at: (self.now)(), host: host.cloned(), what };
        state.apply(&event).map_err(|error| RecordError(error.to_string()))
    }
}
