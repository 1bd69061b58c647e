//! Keeps one lease of a host's turn alive, and says when it is not ours any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::link::Line;
use crate::{
    durable::{DurableError, HostSide, Lease, LeaseError},
    model::{Failure, FailureClass, HostOutcome, Span},
    transport::TransportError,
};

/// A lease that ended under a turn that still goes on.
#[derive(Debug, Clone)]
pub(super) struct Gone {
    /// How the turn ends where no step was under way.
    pub(super) outcome: HostOutcome,
    pub(super) failure: Failure,
}

/// What renewing takes.
pub(super) struct Renewal {
    pub(super) side: HostSide,
    pub(super) lease: Lease,
    pub(super) term: Duration,
    pub(super) line: Line,
    pub(super) is_followed: Arc<AtomicBool>,
    pub(super) gone: watch::Sender<Option<Gone>>,
}

/// Renewals in a term: three may fail before the lease runs out.
const TIMES_IN_TERM: u32 = 4;

impl Renewal {
    /// Renews until it is dropped, or the lease is not ours. The term counts from before the last request that
    /// was granted, so the host never thinks it over before we do.
    pub(super) async fn run(mut self, asked: Instant) {
        let every = self.term / TIMES_IN_TERM;
        let mut granted = asked;
        let mut pause = every;
        loop {
            tokio::time::sleep(pause).await;
            let asked = Instant::now();
            let error = match timeout(every, self.renew()).await {
                Ok(Ok(())) => {
                    (granted, pause) = (asked, every);
                    continue;
                }
                // A dead predecessor's request came late. The next start meets it, and takes the lease anew.
                Ok(Err(LeaseError::Lost { run, .. })) if run == self.side.run().as_str() => return,
                Ok(Err(error @ LeaseError::Lost { .. })) => {
                    self.say_gone(&error, HostOutcome::Refused);
                    return;
                }
                Ok(Err(error)) => error,
                Err(_) => DurableError::from(TransportError::LinkLost { source: None }).into(),
            };
            tracing::warn!("the lease was not renewed: {error}");
            pause = every / 6;
            if granted.elapsed() >= self.term && !self.is_followed.load(Ordering::SeqCst) {
                self.say_gone(&error, HostOutcome::Unreachable);
                return;
            }
        }
    }

    async fn renew(&mut self) -> Result<(), LeaseError> {
        let session = self.line.session().await.map_err(DurableError::from)?;
        self.side.reconnected(session).renew(&self.lease).await
    }

    fn say_gone(&self, error: &LeaseError, outcome: HostOutcome) {
        let failure = if outcome == HostOutcome::Refused {
            Failure::from_error(FailureClass::Refused, error)
                .hint("see who works on the host; then `longshore retry --refused` goes on where it was")
        } else {
            let what = format!("the lease on this host could not be renewed for {}", Span(self.term));
            let mut failure = Failure::new(FailureClass::Unreachable, what).because(error.to_string());
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                failure = failure.because(error.to_string());
                cause = error.source();
            }
            failure.hint("nothing more was begun on it; `longshore retry --unreached` goes on where it was")
        };
        let _ = self.gone.send(Some(Gone { outcome, failure }));
    }
}
