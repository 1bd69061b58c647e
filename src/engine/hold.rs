//! The lease on one host for the length of its turn: taken, renewed in the background, given back.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::watch, task::JoinHandle};

use super::{Means, host::Stopped, link::Link};
use crate::{
    durable::{Beginning, DurableError, HostSide, InstallKey, Lease, LeaseError, RENEWAL},
    model::{Failure, FailureClass, HostName, HostOutcome, Secret},
    plan::HostPlan,
    transport::Session,
};

/// What a run that is over leaves on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// What taking it back would need.
    Undos,
    /// That the host came to this end, for a controller that loses its ledger.
    Note(HostOutcome),
    /// All that it has, and that note: a person goes on from there.
    All(HostOutcome),
    Nothing,
}

/// How the programs of one acting user are run on the host.
pub(super) enum Manner {
    /// Detached, with a lease.
    Durable(Box<Held>),
    /// Over the open channel, because the host cannot keep steps safe: repeat-safe steps only.
    Attached { reason: String },
}

/// A lease that is held and renewed.
pub(super) struct Held {
    pub(super) side: HostSide,
    pub(super) lease: Lease,
    renewal: JoinHandle<()>,
    session: watch::Sender<Arc<dyn Session>>,
}

impl Held {
    /// Goes on over a new connection.
    pub(super) fn reconnected(&mut self, session: &Arc<dyn Session>) {
        self.side = self.side.reconnected(Arc::clone(session));
        // The renewing task ends only with us.
        let _ = self.session.send(Arc::clone(session));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// The leases of one host's turn, one for each user that steps run as.
pub(super) struct Holds {
    held: BTreeMap<Option<String>, Manner>,
    host: HostName,
    /// Whom steps usually run as: the inventory's `state-dir` is theirs.
    usual: Option<String>,
    install: InstallKey,
    state_dir: Option<String>,
    manifest: String,
    beginning: Beginning,
}

impl Holds {
    /// `manifest` is kept on the host; `beginning` says whether anything was ever sent there in this run.
    pub(super) fn new(of: &HostPlan, manifest: String, beginning: Beginning) -> Self {
        Self {
            held: BTreeMap::new(),
            host: of.target.host.clone(),
            usual: of.target.run_as.as_ref().map(|run_as| run_as.user.clone()),
            install: InstallKey::of(&[&of.install]),
            state_dir: of.state_dir.clone(),
            manifest,
            beginning,
        }
    }

    /// Returns how programs of `user` are run, taking the lease at the first call.
    pub(super) async fn manner(
        &mut self,
        user: Option<&str>,
        link: &mut Link,
        means: &Means,
    ) -> Result<&mut Manner, Stopped> {
        let key = user.map(str::to_owned);
        if !self.held.contains_key(&key) {
            let manner = self.take(user, link, means).await?;
            self.held.insert(key.clone(), manner);
        }
        Ok(self.held.get_mut(&key).expect("just put there"))
    }

    async fn take(&self, user: Option<&str>, link: &mut Link, means: &Means) -> Result<Manner, Stopped> {
        let session = link.session().await?;
        let run_as = link.run_as(user);
        // A folder that is private to one user is no place for another.
        let state_dir = self.state_dir.as_deref().filter(|_| user == self.usual.as_deref());
        let mut side = side_of(self.install.clone(), state_dir, Arc::clone(&session), run_as, means);
        let lease = match side.open(&means.owner, &self.manifest, self.beginning).await {
            Ok((ability, lease)) => {
                side = side.scope(ability.scope);
                lease
            }
            Err(LeaseError::Durable(DurableError::NotDurable { reason })) if self.beginning != Beginning::First => {
                // It could, when the run began. Going on without the host's memory could repeat what was sent.
                let failure =
                    Failure::new(FailureClass::Refused, "the host can no longer keep a step from running twice")
                        .because(reason)
                        .hint("mend that on the host, then `longshore retry --held`: it goes on where it was");
                return Err(Stopped::Ended(HostOutcome::Held, Some(failure)));
            }
            Err(LeaseError::Durable(DurableError::NotDurable { reason })) => return Ok(Manner::Attached { reason }),
            Err(LeaseError::Ended { outcome }) if outcome.is_good() => return Err(Stopped::Ended(outcome, None)),
            Err(error @ LeaseError::Ended { outcome }) => {
                return match stopped(&error, &self.host) {
                    Stopped::Ended(_, failure) => Err(Stopped::Ended(outcome, failure)),
                    ledger @ Stopped::Ledger(_) => Err(ledger),
                };
            }
            Err(error) => return Err(stopped(&error, &self.host)),
        };
        let (sender, receiver) = watch::channel(session);
        let renewal = tokio::spawn(renew(side.clone(), lease.clone(), receiver));
        Ok(Manner::Durable(Box::new(Held { side, lease, renewal, session: sender })))
    }

    /// Goes on over a new connection.
    pub(super) fn reconnected(&mut self, session: &Arc<dyn Session>) {
        for manner in self.held.values_mut() {
            if let Manner::Durable(held) = manner {
                held.reconnected(session);
            }
        }
    }

    /// Drops a lease that is not ours any more; the next use takes it anew.
    pub(super) fn forget(&mut self, user: Option<&str>) {
        self.held.remove(&user.map(str::to_owned));
    }

    /// Gives all leases back. One that cannot be given back runs out by itself.
    pub(super) async fn give_back(&self, link: &mut Link) {
        for held in self.durable() {
            held.renewal.abort();
            // A link that is cut in this very moment is worth one more.
            for last in [false, true] {
                let Some(session) = link.last_session().await else { return };
                let Err(error) = held.side.reconnected(session).release(&held.lease).await else { break };
                let cut = matches!(&error, LeaseError::Durable(error) if error.leaves_doubt());
                if last || !cut {
                    tracing::info!("the lease runs out by itself: {error}");
                    break;
                }
            }
        }
    }

    /// Closes the run on the host.
    pub(super) async fn close(&self, link: &Link, leaves: Leaves) {
        let Some(session) = link.open_session() else { return };
        for held in self.durable() {
            let side = held.side.reconnected(Arc::clone(&session));
            let closed = match leaves {
                Leaves::Undos => side.shelve().await,
                Leaves::Note(outcome) => side.finish(outcome).await,
                Leaves::All(outcome) => side.note_end(outcome).await,
                Leaves::Nothing => side.forget().await,
            };
            if let Err(error) = closed {
                tracing::info!("the run's files stay on the host: {error}");
            }
        }
    }

    fn durable(&self) -> impl Iterator<Item = &Held> {
        self.held.values().filter_map(|manner| match manner {
            Manner::Durable(held) => Some(&**held),
            Manner::Attached { .. } => None,
        })
    }
}

/// The protocol's side of one host, for one acting user.
pub(super) fn host_side(
    of: &HostPlan,
    session: Arc<dyn Session>,
    run_as: Option<(String, Option<Secret>)>,
    means: &Means,
) -> HostSide {
    side_of(InstallKey::of(&[&of.install]), of.state_dir.as_deref(), session, run_as, means)
}

fn side_of(
    install: InstallKey,
    state_dir: Option<&str>,
    session: Arc<dyn Session>,
    run_as: Option<(String, Option<Secret>)>,
    means: &Means,
) -> HostSide {
    let side = HostSide::new(session, means.run.clone(), install).run_as(run_as);
    match state_dir {
        Some(state_dir) => side.state_root(state_dir),
        None => side,
    }
}

/// Renews a lease until it is dropped. What cannot be renewed is noticed where it counts: at the next start.
async fn renew(side: HostSide, lease: Lease, session: watch::Receiver<Arc<dyn Session>>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let side = side.reconnected(Arc::clone(&session.borrow()));
        if let Err(error) = side.renew(&lease).await {
            tracing::warn!("the lease was not renewed: {error}");
        }
    }
}

/// A lease that is not given ends the host's turn before anything is touched.
fn stopped(error: &LeaseError, host: &HostName) -> Stopped {
    let mut failure = Failure::from_error(error.class(), error);
    let hint = match error {
        LeaseError::Durable(DurableError::Transport(error)) => error.hint(host),
        error => error.hint(),
    };
    if let Some(hint) = hint {
        failure = failure.hint(hint);
    }
    let outcome = match failure.class {
        // Nothing was asked but the lease: an answer that did not come leaves no step in doubt.
        _ if matches!(error, LeaseError::Durable(error) if error.leaves_doubt()) => HostOutcome::Unreachable,
        FailureClass::Refused => HostOutcome::Refused,
        class if class.is_unreachable() => HostOutcome::Unreachable,
        FailureClass::Unknown => HostOutcome::Unknown,
        _ => HostOutcome::Failed,
    };
    Stopped::Ended(outcome, Some(failure))
}
