//! A health sweep: connect, read the version, make the checks. Changes nothing, takes no lease.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    EngineError, Means, Stop, ask,
    checks::{self, Patience},
    host::{outcome_unreached, since},
    link::{Link, LinkError},
    run_started,
};
use crate::{
    event::{Happening, Phase, RecordError, WaveLine},
    model::{ExitCode, FailureClass, HostName, HostOutcome, Verdict},
    plan::Plan,
};

/// Looks at all hosts of the plan, at most `at_once` of them together.
pub async fn sweep(plan: Arc<Plan>, means: Means) -> Result<ExitCode, EngineError> {
    let mut started = run_started(&plan, "check");
    let hosts: Vec<_> = plan.waves.iter().flat_map(|wave| wave.hosts.clone()).collect();
    if let Happening::RunStarted { waves, .. } = &mut started {
        // Looking has no barriers.
        *waves = vec![WaveLine { name: "all".to_owned(), hosts: hosts.clone() }];
    }
    means.recorder.record(None, started).await?;
    means.recorder.record(None, Happening::WaveStarted { wave: 0, name: "all".to_owned() }).await?;
    let at_once = means.at_once(plan.rollout.at_once);
    let mut ends = stream::iter(hosts)
        .map(|host| {
            let (plan, means) = (Arc::clone(&plan), means.clone());
            async move { look_at(&plan, &host, &means).await }
        })
        .buffer_unordered(at_once);
    let mut codes = Vec::new();
    while let Some(end) = ends.next().await {
        codes.push(end?.exit_code());
    }
    means.recorder.record(None, Happening::WaveFinished { wave: 0 }).await?;
    if means.control.stop_now() > Stop::No {
        codes.push(ExitCode::Interrupted);
        means.recorder.record(None, Happening::Interrupted { detached: false, by: None, reason: None }).await?;
    }
    let exit = ExitCode::most_telling(codes);
    means.recorder.record(None, Happening::RunFinished { exit }).await?;
    Ok(exit)
}

async fn look_at(plan: &Plan, host: &HostName, means: &Means) -> Result<HostOutcome, RecordError> {
    if means.control.stop_now() > Stop::No {
        return Ok(HostOutcome::NotStarted);
    }
    let begun = Instant::now();
    means.recorder.record(Some(host), Happening::HostStarted { wave: 0 }).await?;
    let of = &plan.hosts[host];
    let mut version = None;
    let seen = async {
        let mut link = Link::open(host, of, means).await?;
        version = ask::read(host, of, &mut link, means).await?.installed.version().cloned();
        let round =
            checks::make(host, &mut link, of.checks.iter().collect(), Phase::Sweep, Patience::Once, means).await?;
        link.close().await;
        Ok::<_, LinkError>(round)
    };
    let (outcome, failure) = match seen.await {
        Ok(round) if round.verdict() == Verdict::Pass => (HostOutcome::Unchanged, None),
        Ok(round) => (HostOutcome::Failed, round.failure(FailureClass::Check, "check")),
        Err(LinkError::Failed(failure)) => (outcome_unreached(&failure), Some(failure)),
        Err(LinkError::Ledger(error)) => return Err(error),
    };
    let what =
        Happening::HostFinished { outcome, failure, before: version.clone(), after: version, took: since(begun) };
    means.recorder.record(Some(host), what).await?;
    Ok(outcome)
}
