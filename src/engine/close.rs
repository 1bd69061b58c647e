//! A person says what became of a step whose result nobody knows, so that the host can go on.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    EngineError, Means, Stop,
    hold::{Holds, Manner},
    host::{Stopped, since},
    link::Link,
    manifest::Manifest,
};
use crate::{
    durable::{Attempt, AttemptState, Closing, Doubt, Ending},
    event::{Happening, HostState, RunState},
    model::{ExitCode, Failure, FailureClass, HostName, HostOutcome, Span, StepId},
    plan::{Plan, PlannedUndo},
};

/// What a person says of one attempt.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub step: StepId,
    /// It is about taking the step back.
    pub undo: bool,
    pub done: bool,
    pub by: String,
    pub reason: String,
}

/// Closes an attempt under the host's lease, on the host and in the ledger. The host waits for `retry` afterwards.
///
/// Refused while the attempt may still run, and where the host knows its result: what is known is not overruled.
/// The failure of the host's turn says so; the host then stays as it was.
pub async fn close(
    plan: Arc<Plan>,
    past: RunState,
    host: HostName,
    verdict: Verdict,
    means: Means,
) -> Result<ExitCode, EngineError> {
    let was = &past.hosts[&host];
    let record = |what| means.recorder.record(Some(&host), what);
    let all = |what| means.recorder.record(None, what);
    let (by, purpose) = (verdict.by.clone(), "close".to_owned());
    all(Happening::RunResumed { by, purpose, hosts: vec![host.clone()] }).await?;
    all(Happening::WaveStarted { wave: was.wave, name: was.wave_name.clone() }).await?;
    let begun = Instant::now();
    record(Happening::HostStarted { wave: was.wave }).await?;
    let closed = tokio::select! {
        closed = close_there(&plan, was, &host, &verdict, &means) => closed,
        () = means.control.asked_for(Stop::Detach) => Err(Stopped::Ended(HostOutcome::Interrupted, None)),
    };
    let (outcome, failure) = match closed {
        Ok(()) => {
            record(Happening::StepFound {
                step: verdict.step.clone(),
                attempt: attempt_of(was, &verdict).number,
                done: verdict.done,
                evidence: verdict.reason.clone(),
                by: Some(verdict.by.clone()),
                undo: verdict.undo,
            })
            .await?;
            let (outcome, flag) =
                if verdict.undo { (HostOutcome::Stuck, "--stuck") } else { (HostOutcome::Held, "--held") };
            let what = format!(
                "{} `{}` was closed as {} by {}",
                if verdict.undo { "the undo of step" } else { "step" },
                name_of(was, &verdict.step),
                if verdict.done { "done" } else { "not done" },
                verdict.by,
            );
            let failure = Failure::new(FailureClass::Controller, what)
                .because(verdict.reason.clone())
                .hint(format!("`longshore retry {} {flag}` goes on with the host", means.run));
            (outcome, Some(failure))
        }
        // Nothing was decided, so the host waits for what it waited for.
        Err(Stopped::Ended(_, failure)) => {
            let mut kept = was.failure.clone().unwrap_or_else(|| Failure::new(FailureClass::Unknown, "in doubt"));
            if let Some(failure) = failure {
                kept.hint = failure.hint.clone().or(kept.hint);
                kept = kept.because(format!("it could not be closed: {failure}"));
            }
            (was.outcome.unwrap_or(HostOutcome::Unknown), Some(kept))
        }
        Err(Stopped::Ledger(error)) => return Err(error.into()),
    };
    record(Happening::HostFinished { outcome, failure, before: None, after: None, took: since(begun) }).await?;
    end_again(&past, &host, past.exit.into_iter().chain([outcome.exit_code()]), &means).await
}

/// What a person says of a host with which a run is to do nothing more.
#[derive(Debug, Clone)]
pub struct Closed {
    pub by: String,
    pub reason: String,
}

/// Closes a host that waits for a person, in the ledger alone: the run is over there, as it failed and as it stands.
pub async fn close_host(past: RunState, host: HostName, word: Closed, means: Means) -> Result<ExitCode, EngineError> {
    let was = &past.hosts[&host];
    let record = |what| means.recorder.record(Some(&host), what);
    let all = |what| means.recorder.record(None, what);
    let purpose = "close".to_owned();
    all(Happening::RunResumed { by: word.by.clone(), purpose, hosts: vec![host.clone()] }).await?;
    all(Happening::WaveStarted { wave: was.wave, name: was.wave_name.clone() }).await?;
    record(Happening::HostStarted { wave: was.wave }).await?;
    let mut failure = Failure::new(FailureClass::GivenUp, format!("closed by {}", word.by)).because(word.reason);
    if let Some(before) = &was.failure {
        failure = failure.because(format!("before: {}", before.message));
    }
    let outcome = HostOutcome::Failed;
    let took = Span::seconds(0);
    record(Happening::HostFinished { outcome, failure: Some(failure), before: None, after: None, took }).await?;
    // How the run exited before says no more than the hosts do, and this one was part of it.
    let halted = past.halted.as_ref().filter(|halt| !halt.nothing_left).map(|_| ExitCode::Halted);
    end_again(&past, &host, halted.into_iter().chain([outcome.exit_code()]), &means).await
}

/// Ends a run again that was taken up for one host. `exits` are its own and those of the run.
async fn end_again(
    past: &RunState,
    host: &HostName,
    exits: impl Iterator<Item = ExitCode>,
    means: &Means,
) -> Result<ExitCode, EngineError> {
    let all = |what| means.recorder.record(None, what);
    let wave = past.hosts[host].wave;
    if past.waves.get(wave).is_some_and(|wave| wave.ended.is_some()) {
        all(Happening::WaveFinished { wave }).await?;
    }
    if let Some(halt) = &past.halted {
        all(Happening::Halted { reason: halt.reason.clone(), class: halt.class, nothing_left: halt.nothing_left })
            .await?;
    }
    let others = past.hosts.iter().filter(|(name, _)| *name != host);
    let others = others.filter_map(|(_, host)| host.outcome).map(HostOutcome::exit_code);
    let exit = ExitCode::most_telling(others.chain(exits));
    // A run that was cut off still has its end before it.
    if past.ended.is_some() {
        all(Happening::RunFinished { exit }).await?;
    }
    Ok(exit)
}

/// Closes the attempt on the host, where the host keeps attempts.
async fn close_there(
    plan: &Plan,
    was: &HostState,
    host: &HostName,
    verdict: &Verdict,
    means: &Means,
) -> Result<(), Stopped> {
    let of = &plan.hosts[host];
    let mut link = Link::open(host, of, means).await?;
    let manifest = Manifest::of(plan, host, was.wave).to_text(means);
    let mut holds = Holds::new(of, manifest, Some(was));
    let closed = async {
        let step = of.steps.iter().find(|step| step.id == verdict.step);
        let part = was.steps.get(&verdict.step).and_then(|state| state.undo_sent.as_ref()).map_or(0, |sent| sent.part);
        let user = step.and_then(|step| match &step.undo {
            PlannedUndo::By(undos) if verdict.undo => undos.get(part).and_then(|undo| undo.run_as.clone()),
            _ => step.run_as.clone(),
        });
        let attempt = attempt_of(was, verdict);
        let Manner::Durable(held) = holds.manner(user.as_deref(), &mut link, means).await? else {
            // The host keeps nothing of it.
            return Ok(());
        };
        let failed = |error: crate::durable::DurableError| {
            let mut failure = Failure::from_error(error.class(), &error);
            failure.hint = error.hint();
            Stopped::Ended(HostOutcome::Unknown, Some(failure))
        };
        let refused = |what: &str, hint: &str| {
            let failure = Failure::new(FailureClass::Refused, what).hint(hint);
            Err(Stopped::Ended(HostOutcome::Refused, Some(failure)))
        };
        let again = format!("`longshore retry {} --host {host}` takes it up", means.run);
        // An attempt after the one in doubt was refused because of that, so all up to the last are looked at.
        let attempts: Vec<_> = (1..=attempt.number).map(|number| Attempt { number, ..attempt.clone() }).collect();
        let status = held.side.status(&attempts).await.map_err(failed)?;
        let mut open = Vec::new();
        for one in &status.attempts {
            match &one.state {
                AttemptState::Ended(Ending::Unknown { why: Doubt::Lost | Doubt::Rebooted }) => open.push(&one.attempt),
                AttemptState::Running { .. } | AttemptState::Pending | AttemptState::Queued => {
                    return refused("it still runs on the host", &again);
                }
                AttemptState::Ended(Ending::Lingering { .. }) => {
                    let hint =
                        "wait for that to end, or end it on the host; then close the step, or take the host up again";
                    return refused("it ended, but something it started still runs on the host", hint);
                }
                // It never came there, so it cannot come late; or it was decided before, and the ledger did not hear of it.
                AttemptState::NotStarted
                | AttemptState::Ended(
                    Ending::Void | Ending::FoundNotDone | Ending::FoundDone | Ending::NotStarted { .. },
                ) => {}
                AttemptState::Ended(_) if one.attempt.number < attempt.number => {}
                AttemptState::Ended(_) => return refused("the host knows its result by now", &again),
            }
        }
        let closing = if verdict.done { Closing::Done } else { Closing::NotDone };
        for attempt in open {
            held.side.close(attempt, closing).await.map_err(failed)?;
        }
        held.side.void(&[attempt]).await.map(|_| ()).map_err(failed)
    };
    let closed = closed.await;
    holds.give_back(&mut link).await;
    link.close().await;
    closed
}

fn attempt_of(was: &HostState, verdict: &Verdict) -> Attempt {
    let state = was.steps.get(&verdict.step);
    if verdict.undo {
        let sent = state.and_then(|state| state.undo_sent.as_ref()).map_or(1, |sent| sent.attempt);
        Attempt::undo(verdict.step.clone(), sent)
    } else {
        Attempt::act(verdict.step.clone(), state.map_or(1, |state| state.attempt))
    }
}

fn name_of(was: &HostState, step: &StepId) -> String {
    was.steps.get(step).map_or_else(|| step.to_string(), |state| state.name.clone())
}
