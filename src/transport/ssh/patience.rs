//! How long an opening may take: a time limit that stands still while a person is being asked.
//!
//! Somebody typing a passphrase must not make the hosts that wait for the key unreachable.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::transport::TransportError;

/// Counts the time in which a person was asked for something. One for a process.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    before: Duration,
    open: usize,
    since: Option<Instant>,
}

impl Pauses {
    /// Stops all clocks until the returned value is dropped.
    pub(super) fn pause(self: &Arc<Self>) -> Pause {
        let mut counted = self.lock();
        if counted.open == 0 {
            counted.since = Some(Instant::now());
        }
        counted.open += 1;
        Pause(Arc::clone(self))
    }

    fn total(&self) -> Duration {
        let counted = self.lock();
        counted.before + counted.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pause that lasts as long as this value.
#[derive(Debug)]
pub(super) struct Pause(Arc<Pauses>);

impl Drop for Pause {
    fn drop(&mut self) {
        let mut counted = self.0.lock();
        counted.open -= 1;
        if counted.open == 0
            && let Some(since) = counted.since.take()
        {
            counted.before += since.elapsed();
        }
    }
}

/// The limit for one opening, from the first try to the last.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    stretch: Stretch,
}

/// A length of time from an instant on, pauses not counted.
#[derive(Debug, Clone)]
struct Stretch {
    pauses: Arc<Pauses>,
    from: Instant,
    paused_before: Duration,
    length: Duration,
    /// Time of this one that did not count.
    extra: Arc<Mutex<Duration>>,
}

impl Stretch {
    fn new(pauses: &Arc<Pauses>, length: Duration) -> Self {
        Self {
            pauses: Arc::clone(pauses),
            from: Instant::now(),
            paused_before: pauses.total(),
            length,
            extra: Arc::default(),
        }
    }

    fn left(&self) -> Duration {
        let paused = self.pauses.total().saturating_sub(self.paused_before);
        (self.length + paused + *self.extra()).saturating_sub(self.from.elapsed())
    }

    fn extra(&self) -> MutexGuard<'_, Duration> {
        self.extra.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Patience {
    pub(super) fn new(pauses: &Arc<Pauses>, length: Duration) -> Self {
        Self { stretch: Stretch::new(pauses, length) }
    }

    pub(super) fn left(&self) -> Duration {
        self.stretch.left()
    }

    /// Waits for `work`, however long it takes, and counts none of it.
    pub(super) async fn wait_uncounted<T>(&self, work: impl Future<Output = T>) -> T {
        let from = Instant::now();
        let paused = self.stretch.pauses.total();
        let done = work.await;
        // What was a pause anyway is not taken off twice.
        let paused = self.stretch.pauses.total().saturating_sub(paused);
        *self.stretch.extra() += from.elapsed().saturating_sub(paused);
        done
    }

    /// Waits for `work`, at most `limit` and at most what is left of the whole.
    pub(super) async fn wait<T>(
        &self,
        what: impl FnOnce() -> String,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, TransportError> {
        let left = self.left();
        // Cut short by the whole, it is the whole that was too short: what was left of it tells nothing.
        let told = if left < limit { self.stretch.length } else { limit };
        let limit = limit.min(left);
        let stretch = Stretch::new(&self.stretch.pauses, limit);
        tokio::pin!(work);
        loop {
            let left = stretch.left();
            if left.is_zero() {
                return Err(TransportError::ConnectTimeout { what: what(), limit: told });
            }
            // A pause that began meanwhile lengthens the wait: look again when the time seems over.
            if let Ok(done) = tokio::time::timeout(left, &mut work).await {
                return Ok(done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_limit_and_names_what_was_waited_for() {
        let patience = Patience::new(&Arc::new(Pauses::default()), Duration::from_secs(60));
        let error = patience
            .wait(|| "the handshake".to_owned(), Duration::from_secs(5), std::future::pending::<()>())
            .await
            .expect_err("nothing ever comes");
        assert_eq!(error.to_string(), "the handshake took longer than 5s");
        assert_eq!(patience.left(), Duration::from_secs(55));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_turn_does_not_count() {
        let pauses = Arc::new(Pauses::default());
        let patience = Patience::new(&pauses, Duration::from_secs(10));
        let turn = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let _person = pauses.pause();
            tokio::time::sleep(Duration::from_secs(20)).await;
        };
        patience.wait_uncounted(turn).await;
        assert_eq!(patience.left(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_a_person_is_asked_does_not_count() {
        let pauses = Arc::new(Pauses::default());
        let patience = Patience::new(&pauses, Duration::from_secs(10));
        let person = async {
            let pause = pauses.pause();
            tokio::time::sleep(Duration::from_secs(40)).await;
            drop(pause);
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        let done = patience.wait(|| "a person".to_owned(), Duration::from_secs(10), person).await;
        assert!(done.is_ok(), "{done:?}");
        assert!(patience.left() <= Duration::from_secs(5), "{:?}", patience.left());
    }
}
