//! The looking half of a host's steps: what would change, without changing it.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    Means,
    host::{Stopped, since},
    link::Link,
    program::{hidden, secrets_in},
};
use crate::{
    event::Happening,
    model::{Failure, FailureClass, HostName, Receipt, Span, StepOutcome, clean},
    plan::{HostPlan, PlannedStep},
    steps::{LOOK_TO_DO, Progress, Reach, Work},
    transport::{Exec, Status},
};

/// What looking found.
pub(super) struct Looked {
    pub(super) changes: bool,
    /// The first look that failed where no step before it would change what it looks at.
    pub(super) failure: Option<Failure>,
}

/// Longest time for one look.
const LOOK_WITHIN: Duration = Duration::from_secs(60);

/// Looks at every step in order.
pub(super) async fn steps(
    host: &HostName,
    of: &HostPlan,
    link: &mut Link,
    diff: bool,
    means: &Means,
) -> Result<Looked, Stopped> {
    let mut looked = Looked { changes: false, failure: None };
    for step in &of.steps {
        let begun = Instant::now();
        let started = Happening::StepStarted {
            step: step.id.clone(),
            name: step.name.clone(),
            effect: step.effect,
            attempt: 1,
            part: step.part,
        };
        means.recorder.record(Some(host), started).await?;
        let (mut outcome, seen) = look_at(host, step, link, diff, means).await?;
        if let StepOutcome::Failed { failure } = outcome {
            let failure = hidden(failure, &link.redactor);
            if looked.changes {
                // It may look for what the steps before it have not made yet.
                let reason = format!("cannot be told before the steps before it are done: {failure}");
                outcome = StepOutcome::Skipped { reason };
            } else {
                let mut named = failure.clone();
                named.causes.insert(0, failure.message.clone());
                named.message = format!("looking at step `{}` failed", step.name);
                looked.failure.get_or_insert(named);
                outcome = StepOutcome::Failed { failure };
            }
        }
        looked.changes |= outcome == StepOutcome::Changed;
        let finished = Happening::StepFinished {
            step: step.id.clone(),
            attempt: 1,
            outcome,
            took: since(begun),
            receipt: Receipt::default(),
            difference: seen.map(|seen| link.redactor.hide(&seen)),
            output: Vec::new(),
        };
        means.recorder.record(Some(host), finished).await?;
    }
    Ok(looked)
}

async fn look_at(
    host: &HostName,
    step: &PlannedStep,
    link: &mut Link,
    diff: bool,
    means: &Means,
) -> Result<(StepOutcome, Option<String>), Stopped> {
    let session = link.session().await?;
    let run_as = link.run_as(step.run_as.as_deref());
    let takes_back = step.takes_back.as_ref().is_some_and(|taken| taken.by_kind);
    let would = if takes_back { "would take back" } else { "would run" };
    let would_run = || format!("{would}: {}", step.action.kind().summary());
    match step.work() {
        Work::Host(program) => {
            let Some(look) = program.look else { return Ok((StepOutcome::Changed, Some(would_run()))) };
            let preset = if diff { "LONGSHORE_DIFF=1; export LONGSHORE_DIFF\n" } else { "" };
            let mut exec = Exec::script(format!("{preset}{look}")).timeout(step.timeout.0.min(LOOK_WITHIN));
            exec.run_as = run_as;
            exec.secrets = secrets_in(&look, &link.redactor);
            Ok(match session.run(exec, &mut ()).await {
                Ok(ended) => match ended.status {
                    Status::Exited(0) => (StepOutcome::Unchanged, None),
                    Status::Exited(LOOK_TO_DO) => {
                        let said = ended.out.text();
                        let seen = clean(step.action.kind().difference(&said).as_bytes());
                        (StepOutcome::Changed, Some(if seen.is_empty() { would_run() } else { seen }))
                    }
                    status => {
                        let lines = clean(&ended.err.bytes()).lines().rev().take(5).map(str::to_owned).collect();
                        let failure =
                            Failure::new(FailureClass::Step, format!("looking ended with {status}")).output(lines);
                        (StepOutcome::Failed { failure }, None)
                    }
                },
                Err(error) => (StepOutcome::Failed { failure: super::link::to_failure(&error, host) }, None),
            })
        }
        Work::Controller(work) => {
            let words = BTreeMap::new();
            let progress = |progress: Progress| (means.progress)(host, progress);
            let reach = Reach {
                session: &session,
                redactor: &link.redactor,
                run_as,
                words: &words,
                local: means.local.join(host.as_str()),
                progress: &progress,
            };
            let limit = step.timeout.0.min(LOOK_WITHIN);
            let Ok(seen) = tokio::time::timeout(limit, work.look(&reach)).await else {
                let failure = Failure::new(FailureClass::TimedOut, format!("looking took longer than {}", Span(limit)));
                return Ok((StepOutcome::Failed { failure }, None));
            };
            Ok(match seen {
                Ok(None) => (StepOutcome::Unchanged, None),
                Ok(Some(seen)) => (StepOutcome::Changed, Some(seen)),
                Err(error) => (StepOutcome::Failed { failure: error.to_failure() }, None),
            })
        }
    }
}
