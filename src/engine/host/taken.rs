//! Taking back a host whose turn had ended well: it failed in its soak, or its wave or its run is given up.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Site, Stopped, Turn, UNKNOWN, since};
use crate::{
    engine::{HostEnd, Means, Stop, link::Link, manifest::Manifest, program::Worker, program::hidden},
    event::{Happening, HostState, RecordError},
    model::{Effect, Failure, HostName, HostOutcome},
    plan::{BeforeData, Plan},
};

/// Takes a done host back, or holds it where its data was changed. `past` is what the run knows of it.
pub(in crate::engine) async fn take_back(
    plan: Arc<Plan>,
    host: HostName,
    past: HostState,
    failure: Failure,
    means: Means,
) -> Result<HostEnd, RecordError> {
    let begun = Instant::now();
    // Said before the host is looked for: from here on it does not count as upgraded.
    means.recorder.record(Some(&host), Happening::UnwindStarted { failure: failure.clone() }).await?;
    let mut turn = Turn {
        plan: &plan,
        host: host.clone(),
        of: &plan.hosts[&host],
        means: &means,
        before: past.before.clone(),
        after: past.after.clone(),
        done: Vec::new(),
        aside: Vec::new(),
        head_before: None,
        head_after: None,
        restored: false,
        took_itself_back: false,
        approvals: Vec::new(),
        past: Some(past),
        unverified: false,
    };
    let mut site = Site::default();
    let (outcome, failure) = match turn.back(&mut site, failure).await {
        Ok(ended) => ended,
        Err(Stopped::Ended(HostOutcome::Unreachable, failure)) if means.control.stop_now() == Stop::Detach => {
            (HostOutcome::Interrupted, failure)
        }
        Err(Stopped::Ended(outcome, failure)) => (outcome, failure),
        Err(Stopped::Ledger(error)) => return Err(error),
    };
    let what = Happening::HostFinished {
        outcome,
        failure: failure.clone(),
        before: turn.before,
        after: turn.after,
        took: since(begun),
    };
    means.recorder.record(Some(&host), what).await?;
    site.leave().await;
    Ok(HostEnd { host, outcome, failure, unverified: false })
}

impl Turn<'_> {
    async fn back(&mut self, site: &mut Site, failure: Failure) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        if let Some(past) = &self.past {
            self.done = self.stood_before(past);
            self.head_before = past.facts.get("migration-before").cloned().filter(|head| head != UNKNOWN);
        }
        let changed = || self.done.iter().filter(|done| done.changed).map(|done| &self.of.steps[done.index]);
        if !changed().any(|step| step.effect.passes_no_return()) {
            if self.plan.rollout.before_data == BeforeData::Hold {
                return Ok((HostOutcome::Held, Some(failure)));
            }
            if changed().all(|step| step.effect == Effect::Read) {
                return Ok((HostOutcome::Failed, Some(failure)));
            }
        }
        let link = site.link.insert(Link::open(&self.host, self.of, self.means).await?);
        let wave = self.plan.waves.iter().position(|wave| wave.hosts.contains(&self.host)).unwrap_or_default();
        let manifest = Manifest::of(self.plan, &self.host, wave).to_text(self.means);
        let worker = Worker::begin(&self.host, self.of, manifest, self.past.as_ref(), link, self.means).await?;
        let worker = site.worker.insert(worker);
        let ended = Box::pin(self.back_or_held(worker, link, failure)).await;
        site.leaves = self.leaves(&ended, worker.has_sent());
        worker.release(link).await;
        let (outcome, failure) = ended?;
        Ok((outcome, failure.map(|failure| hidden(failure, &link.redactor))))
    }
}
