//! A health sweep: connect, read the version, make the checks. Changes nothing, takes no lease.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    EngineError, Means, Stop,
    checks::{self, Patience},
    host::{outcome_unreached, since},
    link::{Link, LinkError},
    run_started,
};
use crate::{
    event::{Happening, Phase, RecordError, WaveLine},
    model::{ExitCode, Failure, FailureClass, HostName, HostOutcome, Verdict, Version, clean_line},
    plan::{HostPlan, Plan},
    steps::{Action, Work},
    transport::Exec,
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
    let at_once = plan.rollout.at_once.max(1);
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
        means.recorder.record(None, Happening::Interrupted { detached: false }).await?;
    }
    let exit = ExitCode::most_telling(codes);
    means.recorder.record(None, Happening::RunFinished { exit }).await?;
    Ok(exit)
}

/// Reads the installed version of every host that says how. Records nothing that a plan depends on.
pub async fn versions(plan: Arc<Plan>, means: Means) -> BTreeMap<HostName, Result<Option<Version>, Failure>> {
    let hosts: Vec<_> =
        plan.hosts.iter().filter(|(_, of)| of.version.is_some()).map(|(host, _)| host.clone()).collect();
    stream::iter(hosts)
        .map(|host| {
            let (plan, means) = (Arc::clone(&plan), means.clone());
            async move {
                let of = &plan.hosts[&host];
                let read = async {
                    let mut link = Link::open(&host, of, &means).await?;
                    let version = read_version(&host, of, &mut link, &means).await?;
                    link.close().await;
                    Ok::<_, LinkError>(version)
                };
                let read = tokio::select! {
                    read = read => read,
                    () = means.control.asked_for(Stop::Drain) => {
                        Err(LinkError::Failed(Failure::new(FailureClass::Controller, "stopped by a person")))
                    }
                };
                let version = read.map_err(|error| match error {
                    LinkError::Failed(failure) => failure,
                    LinkError::Ledger(error) => Failure::from_error(FailureClass::Controller, &error),
                });
                (host, version)
            }
        })
        .buffer_unordered(VERSIONS_AT_ONCE)
        .collect()
        .await
}

/// Hosts asked for their version together: reading is cheap, and a person waits for the plan.
const VERSIONS_AT_ONCE: usize = 64;

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
        version = read_version(host, of, &mut link, means).await?;
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

/// Reads the installed version as the role says, and records it. `None`: not asked, or not known.
pub(super) async fn read_version(
    host: &HostName,
    of: &HostPlan,
    link: &mut Link,
    means: &Means,
) -> Result<Option<Version>, LinkError> {
    let Some(action) = &of.version else { return Ok(None) };
    let found = match ask(action, of, link).await {
        Ok(text) => text,
        Err(AskError::Link(error)) => return Err(error),
        Err(AskError::Answer(_)) => String::new(),
    };
    let shown = if found.is_empty() { "unknown".to_owned() } else { found.clone() };
    means.recorder.record(Some(host), Happening::FactRead { fact: "version".to_owned(), value: shown }).await?;
    Ok((!found.is_empty()).then(|| Version::new(found)))
}

enum AskError {
    Link(LinkError),
    /// The command failed; a version that cannot be read is unknown, never guessed.
    Answer(#[expect(dead_code, reason = "kept for the debugger")] Failure),
}

async fn ask(action: &Action, of: &HostPlan, link: &mut Link) -> Result<String, AskError> {
    let session = link.session().await.map_err(AskError::Link)?;
    let Work::Host(program) = action.kind().work() else { return Ok(String::new()) };
    let secrets = super::program::secrets_in(&program.act, &link.redactor);
    let mut exec = Exec::script(program.act).timeout(Duration::from_secs(60));
    exec.run_as = link.run_as(of.target.run_as.as_ref().map(|run_as| run_as.user.as_str()));
    exec.secrets = secrets;
    let ended = session
        .run(exec, &mut ())
        .await
        .map_err(|error| AskError::Answer(Failure::from_error(error.class(), &error)))?;
    if !ended.is_success() {
        return Err(AskError::Answer(Failure::new(
            FailureClass::Step,
            format!("reading the version ended with {}", ended.status),
        )));
    }
    let first = ended.out.text().lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned();
    Ok(link.redactor.hide(&clean_line(first.as_bytes(), 80)))
}
