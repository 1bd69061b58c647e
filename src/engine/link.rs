//! The connection to one host for the length of its turn: opened once, found again when it is lost.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{Means, Stop};
use crate::{
    event::{Happening, RecordError},
    model::{Failure, FailureClass, HostName, Redactor, Secret, Span},
    plan::HostPlan,
    transport::{Session, Target, Transport, TransportError},
};

/// One host's connection and what goes with it.
pub(super) struct Link {
    host: HostName,
    target: Target,
    means: Means,
    session: watch::Sender<Option<Arc<dyn Session>>>,
    pub(super) redactor: Redactor,
    /// Password for `sudo`, once resolved.
    sudo_password: Option<Secret>,
    /// Until when the host is looked for even where it refuses us: it may be about to let us in again.
    patient: Option<Instant>,
    /// It restarts, and is not looked for any longer than that.
    restarts: bool,
}

/// Why there is no link.
pub(super) enum LinkError {
    /// The failure is ready to be shown; the host was not reached, or not found again.
    Failed(Failure),
    Ledger(RecordError),
}

impl From<RecordError> for LinkError {
    fn from(error: RecordError) -> Self {
        Self::Ledger(error)
    }
}

/// Longest time to look for a host whose link was lost in the middle of its turn.
const FIND_AGAIN_WITHIN: Duration = Duration::from_secs(300);

/// Longest time to look for a host only to give its lease back, which runs out by itself anyway.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(5);

/// Longest time for saying good-bye.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

impl Link {
    /// Resolves the host's secrets and connects, and records that it did.
    pub(super) async fn open(host: &HostName, plan: &HostPlan, means: &Means) -> Result<Self, LinkError> {
        let link = Self::watching(host, plan, means).await?;
        let session = link.session.borrow().clone();
        if let Some(session) = session {
            let peer = session.peer();
            let what = Happening::Connected {
                address: peer.address.clone(),
                user: peer.user.clone(),
                host_key: peer.host_key.clone(),
            };
            link.means.recorder.record(Some(host), what).await?;
        }
        Ok(link)
    }

    /// Connects to a host whose turn it is not: that of its turn stays the connection in the ledger.
    pub(super) async fn watching(host: &HostName, plan: &HostPlan, means: &Means) -> Result<Self, LinkError> {
        let left = async {
            means.control.asked_for(Stop::Detach).await;
            let failure = Failure::new(FailureClass::Unreachable, "left before the host was reached");
            LinkError::Failed(failure.hint("`longshore resume` goes on with it"))
        };
        tokio::select! {
            opened = Self::reach(host, plan, means) => opened,
            left = left => Err(left),
        }
    }

    async fn reach(host: &HostName, plan: &HostPlan, means: &Means) -> Result<Self, LinkError> {
        let (redactor, sudo_password) = resolve_secrets(plan, means).await.map_err(LinkError::Failed)?;
        let link = Self {
            host: host.clone(),
            target: plan.target.clone(),
            means: means.clone(),
            session: watch::Sender::new(None),
            redactor,
            sudo_password,
            patient: None,
            restarts: false,
        };
        let connected = link.connect(link.means.connect_within).await;
        let session = connected.map_err(|error| LinkError::Failed(to_failure(&error, host)))?;
        link.session.send_replace(Some(session));
        Ok(link)
    }

    /// Returns the live session, looking for the host again when the link was lost.
    pub(super) async fn session(&mut self) -> Result<Arc<dyn Session>, LinkError> {
        if let Some(session) = self.open_session() {
            return Ok(session);
        }
        let lost = TransportError::LinkLost { source: None };
        self.find_again(&lost).await
    }

    /// Returns the session if the link stands.
    pub(super) fn open_session(&self) -> Option<Arc<dyn Session>> {
        self.session.borrow().as_ref().filter(|session| !session.is_closed()).map(Arc::clone)
    }

    /// Returns a session for a last word to the host, over a new connection where the old one was cut.
    pub(super) async fn last_session(&mut self) -> Option<Arc<dyn Session>> {
        if self.open_session().is_none() {
            // A host that is gone would only hold up the others.
            let connected = self.connect(self.means.connect_within.min(LAST_WORD_WITHIN)).await.ok();
            self.session.send_replace(connected);
        }
        self.open_session()
    }

    /// Connects anew though the old connection may stand: proof that the host lets us in.
    pub(super) async fn anew(&mut self) -> Result<Arc<dyn Session>, TransportError> {
        let session = self.connect(self.means.connect_within).await?;
        if let Some(old) = self.session.send_replace(Some(Arc::clone(&session))) {
            // One that was cut off may not answer, and nobody waits for it.
            tokio::spawn(async move { tokio::time::timeout(CLOSE_WITHIN, old.close()).await });
        }
        Ok(session)
    }

    /// Looks for the host until then, should it be lost, also where it refuses us.
    pub(super) fn be_patient(&mut self, until: Option<Instant>) {
        (self.patient, self.restarts) = (until, false);
    }

    /// Looks for the host until then and no longer, also where it refuses us: it is about to restart.
    pub(super) fn expect_restart(&mut self, until: Instant) {
        (self.patient, self.restarts) = (Some(until), true);
    }

    /// Records the loss and connects again with growing pauses.
    pub(super) async fn find_again(&mut self, why: &TransportError) -> Result<Arc<dyn Session>, LinkError> {
        self.session.send_replace(None);
        let since = Instant::now();
        self.means
            .recorder
            .record(Some(&self.host), Happening::LinkLost { failure: to_failure(why, &self.host) })
            .await?;
        let mut pause = Duration::from_millis(250);
        loop {
            let left = FIND_AGAIN_WITHIN.saturating_sub(since.elapsed());
            let left = if self.patient.is_some() { self.means.connect_within } else { left };
            let connected = tokio::select! {
                connected = self.connect(left.min(self.means.connect_within)) => connected,
                () = self.means.control.asked_for(Stop::Detach) => return Err(LinkError::Failed(to_failure(why, &self.host))),
            };
            match connected {
                Ok(session) => {
                    let after =
                        Span(Duration::from_millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)));
                    self.means.recorder.record(Some(&self.host), Happening::LinkRestored { after }).await?;
                    self.session.send_replace(Some(Arc::clone(&session)));
                    return Ok(session);
                }
                Err(error) => {
                    let patient = self.patient.is_some_and(|until| Instant::now() + pause < until);
                    let hopeless = self.restarts || error.class() != FailureClass::Unreachable;
                    if !patient && (hopeless || since.elapsed() + pause >= FIND_AGAIN_WITHIN) {
                        return Err(LinkError::Failed(to_failure(&error, &self.host)));
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.means.control.asked_for(Stop::Detach) => return Err(LinkError::Failed(to_failure(why, &self.host))),
            }
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }

    async fn connect(&self, within: Duration) -> Result<Arc<dyn Session>, TransportError> {
        self.means.transport.connect(&self.target, within).await
    }

    /// Returns the user to become and the password for it, for `user` of a step.
    pub(super) fn run_as(&self, user: Option<&str>) -> Option<(String, Option<Secret>)> {
        user.map(|user| (user.to_owned(), self.sudo_password.clone()))
    }

    /// A way to the host for what goes on beside the host's turn.
    pub(super) fn line(&self) -> Line {
        Line {
            target: self.target.clone(),
            transport: Arc::clone(&self.means.transport),
            within: self.means.connect_within,
            shared: self.session.subscribe(),
            own: None,
        }
    }

    pub(super) async fn close(self) {
        let session = self.session.borrow().clone();
        if let Some(session) = session {
            // A host that does not answer any more must not keep its slot, nor a person who leaves.
            let leaving = self.means.control.stop_now() == Stop::Detach;
            let within = if leaving { CLOSE_WITHIN / 20 } else { CLOSE_WITHIN };
            let _ = tokio::time::timeout(within, session.close()).await;
        }
    }
}

/// Reaches a host beside its turn: over the turn's connection while that stands, else over one of its own.
pub(super) struct Line {
    target: Target,
    transport: Arc<dyn Transport>,
    within: Duration,
    shared: watch::Receiver<Option<Arc<dyn Session>>>,
    own: Option<Arc<dyn Session>>,
}

impl Line {
    pub(super) async fn session(&mut self) -> Result<Arc<dyn Session>, TransportError> {
        let shared = self.shared.borrow().as_ref().filter(|session| !session.is_closed()).map(Arc::clone);
        if let Some(session) = shared {
            self.own = None;
            return Ok(session);
        }
        if let Some(session) = self.own.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let session = self.transport.connect(&self.target, self.within).await?;
        self.own = Some(Arc::clone(&session));
        Ok(session)
    }
}

async fn resolve_secrets(plan: &HostPlan, means: &Means) -> Result<(Redactor, Option<Secret>), Failure> {
    let sudo = plan.target.run_as.as_ref().and_then(|run_as| run_as.password.clone());
    if plan.secrets.is_empty() && sudo.is_none() {
        return Ok((Redactor::default(), None));
    }
    let sources: Vec<_> = plan.secrets.iter().map(|(id, source)| (id.clone(), source.clone())).collect();
    let resolver = Arc::clone(&means.secrets);
    // A secret may come from a command, so this may take its time.
    let resolved = tokio::task::spawn_blocking(move || {
        let secrets = sources
            .into_iter()
            .map(|(id, source)| {
                resolver.resolve(&source).map(|value| (id.clone(), value)).map_err(|why| (id.as_str().to_owned(), why))
            })
            .collect::<Result<_, _>>()?;
        let sudo = sudo
            .map(|source| resolver.resolve(&source).map_err(|why| ("become.password".to_owned(), why)))
            .transpose()?;
        let redactor = Redactor::new(secrets);
        Ok((sudo.iter().fold(redactor, Redactor::hiding), sudo))
    });
    let resolved =
        resolved.await.unwrap_or_else(|_| Err(("secrets".to_owned(), "reading it was broken off".to_owned())));
    resolved.map_err(|(name, why): (String, String)| {
        Failure::new(FailureClass::Input, format!("the secret `{name}` has no value here")).because(why)
    })
}

/// Turns a transport's error into data, with what to do next.
pub(super) fn to_failure(error: &TransportError, host: &HostName) -> Failure {
    let failure = Failure::from_error(error.class(), error);
    match error.hint(host) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
