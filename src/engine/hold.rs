//! The leases on one host for the length of its turn: taken, renewed in the background, given back.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indexmap::IndexMap;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use super::{
    Means,
    host::Stopped,
    link::Link,
    renew::{self, Gone},
};
use crate::{
    durable::{Attempt, AttemptState, Beginning, DurableError, HostSide, InstallKey, Lease, LeaseError},
    event::{Happening, HostState, UndoState},
    model::{Failure, FailureClass, HostName, HostOutcome, Secret, StepOutcome},
    plan::HostPlan,
    steps::Work,
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
    /// The host's identity for each user, where it gave a lease before the run was taken up again.
    known: IndexMap<Option<String>, String>,
    /// The host came to an end in this run before, and gave these leases since.
    ended: Option<Vec<Option<String>>>,
    gone: watch::Sender<Option<Gone>>,
    /// The host works on its own: what it does outlives a lease that runs out.
    is_followed: Arc<AtomicBool>,
}

impl Holds {
    /// `manifest` is kept on the host; `past` is what the ledger knows of the host in this run.
    pub(super) fn new(of: &HostPlan, manifest: String, past: Option<&HostState>) -> Self {
        Self {
            held: BTreeMap::new(),
            host: of.target.host.clone(),
            usual: of.target.run_as.as_ref().map(|run_as| run_as.user.clone()),
            install: InstallKey::of(&[&of.install]),
            state_dir: of.state_dir.clone(),
            manifest,
            known: past.map(|past| past.host_ids.clone()).unwrap_or_default(),
            ended: past.filter(|past| past.came_to_end).map(|past| past.leased.clone()),
            gone: watch::Sender::new(None),
            is_followed: Arc::default(),
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
        let key = user.map(str::to_owned);
        let known = self.known.get(&key);
        let has_ended = self.ended.as_ref().is_some_and(|leased| !leased.contains(&key));
        let beginning = match (known.is_some(), has_ended) {
            (true, false) => Beginning::Again,
            (true, true) => Beginning::Anew,
            (false, true) => Beginning::Afresh,
            (false, false) => Beginning::First,
        };
        let asked = Instant::now();
        let lease = match side.open(&means.owner, &self.manifest, beginning).await {
            Ok((ability, lease)) => {
                side = side.scope(ability.scope);
                lease
            }
            Err(LeaseError::Durable(DurableError::NotDurable { reason })) if known.is_some() => {
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
        match known {
            Some(known) if *known != lease.host_id => {
                let _ = side.release(&lease).await;
                return Err(state_lost(format!(
                    "its identity is {}, and was {known} when the run began: it was replaced or put back",
                    lease.host_id
                )));
            }
            Some(_) => {}
            None => {
                let what = Happening::LeaseTaken { user: key, host_id: lease.host_id.clone() };
                means.recorder.record(Some(&self.host), what).await?;
            }
        }
        let task = renew::Renewal {
            side: side.clone(),
            lease: lease.clone(),
            term: means.lease_term,
            line: link.line(),
            is_followed: Arc::clone(&self.is_followed),
            gone: self.gone.clone(),
        };
        let renewal = tokio::spawn(task.run(asked));
        Ok(Manner::Durable(Box::new(Held { side, lease, renewal })))
    }

    /// Makes sure that the host still knows what the ledger saw it do: one that was put back to an earlier
    /// state would be given the next step on top of the wrong one.
    pub(super) async fn remembers(&mut self, of: &HostPlan, past: &HostState, link: &mut Link) -> Result<(), Stopped> {
        for (user, manner) in &self.held {
            let Manner::Durable(held) = manner else { continue };
            if !self.known.contains_key(user) {
                continue;
            }
            let steps = of
                .steps
                .iter()
                .filter(|step| step.run_as == *user && matches!(step.action.kind().work(), Work::Host(_)));
            let attempts: Vec<_> = steps
                .filter_map(|step| {
                    let state = past.steps.get(&step.id)?;
                    let good = state.outcome.as_ref().is_some_and(StepOutcome::is_good);
                    let stands = state.is_kept && good && state.attempt > 0 && state.undo != UndoState::Undone;
                    stands.then(|| Attempt::act(step.id.clone(), state.attempt))
                })
                .collect();
            if attempts.is_empty() {
                continue;
            }
            let side = held.side.reconnected(link.session().await?);
            let status = side.status(&attempts).await.map_err(|error| stopped(&error.into(), &self.host))?;
            let forgotten = status.attempts.iter().find(|one| !status.known || one.state == AttemptState::NotStarted);
            if let Some(forgotten) = forgotten {
                return Err(state_lost(format!(
                    "the ledger saw it do `{}`, and it knows nothing of that: it was put back to an earlier state",
                    forgotten.attempt.step
                )));
            }
        }
        Ok(())
    }

    /// Goes on over a new connection.
    pub(super) fn reconnected(&mut self, session: &Arc<dyn Session>) {
        for manner in self.held.values_mut() {
            if let Manner::Durable(held) = manner {
                held.side = held.side.reconnected(Arc::clone(session));
            }
        }
    }

    /// Returns once a lease is not ours any more, with what that means.
    pub(super) fn watch(&self) -> impl Future<Output = Gone> + use<> {
        let mut gone = self.gone.subscribe();
        async move {
            match gone.wait_for(Option::is_some).await.map(|gone| gone.clone()) {
                Ok(Some(gone)) => gone,
                _ => std::future::pending().await,
            }
        }
    }

    /// For as long as the answer lives, a lease may run out: what was begun on the host goes on there alone, and
    /// the host itself refuses what comes after, unless the lease is still ours.
    pub(super) fn follows(&self) -> Follows {
        self.is_followed.store(true, Ordering::SeqCst);
        Follows(Arc::clone(&self.is_followed))
    }

    /// Renews all leases now, before something that the host itself would not refuse.
    pub(super) async fn assert(&mut self, link: &mut Link, means: &Means) -> Result<(), Stopped> {
        let users: Vec<_> = self.held.keys().cloned().collect();
        for user in users {
            let Some(Manner::Durable(held)) = self.held.get(&user) else { continue };
            let side = held.side.reconnected(link.session().await?);
            match side.renew(&held.lease).await {
                Ok(()) => {}
                Err(LeaseError::Lost { run, .. }) if run == means.run.as_str() => {
                    // A dead predecessor's request for the lease came late.
                    self.forget(user.as_deref());
                    self.manner(user.as_deref(), link, means).await?;
                }
                Err(error) => return Err(stopped(&error, &self.host)),
            }
        }
        Ok(())
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
    // A folder that is private to one user is no place for another.
    let usual = of.target.run_as.as_ref().map(|run_as| &run_as.user);
    let state_dir = of.state_dir.as_deref().filter(|_| usual == run_as.as_ref().map(|(user, _)| user));
    side_of(InstallKey::of(&[&of.install]), state_dir, session, run_as, means)
}

fn side_of(
    install: InstallKey,
    state_dir: Option<&str>,
    session: Arc<dyn Session>,
    run_as: Option<(String, Option<Secret>)>,
    means: &Means,
) -> HostSide {
    let side = HostSide::new(session, means.run.clone(), install).run_as(run_as).term(means.lease_term);
    match state_dir {
        Some(state_dir) => side.state_root(state_dir),
        None => side,
    }
}

/// See [`Holds::follows`].
pub(super) struct Follows(Arc<AtomicBool>);

impl Drop for Follows {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// What the host knew of the run is gone: nothing is sent to it any more.
fn state_lost(why: String) -> Stopped {
    let failure = Failure::new(FailureClass::Unknown, "state lost: the host does not know what this run did on it")
        .because(why)
        .hint("nothing more is sent to it in this run; look at the host, then make a new plan for it");
    Stopped::Ended(HostOutcome::Held, Some(failure))
}

/// A lease that is not given ends the host's turn before anything is touched.
fn stopped(error: &LeaseError, host: &HostName) -> Stopped {
    if let LeaseError::Durable(DurableError::StateLost { path }) = error {
        return state_lost(format!("`{path}` is not there: the host was replaced, put back, or somebody removed it"));
    }
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
