//! Takes the lease on a host away from the run that holds it, for a person, with a reason.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    EngineError, Means, hold,
    host::{outcome_unreached, since},
    link::{Link, LinkError},
    run_started,
};
use crate::{
    durable::{DurableError, LeaseError},
    event::Happening,
    model::{ExitCode, Failure, FailureClass, HostName, HostOutcome},
    plan::Plan,
};

/// Unlocks one host of the plan, for each of the users whose programs a lease may be for. What was taken from
/// whom, and why, is recorded.
pub async fn unlock(
    plan: Arc<Plan>,
    host: HostName,
    users: Vec<Option<String>>,
    reason: String,
    means: Means,
) -> Result<ExitCode, EngineError> {
    let record = |what| means.recorder.record(Some(&host), what);
    means.recorder.record(None, run_started(&plan, "unlock")).await?;
    means.recorder.record(None, Happening::WaveStarted { wave: 0, name: "all".to_owned() }).await?;
    let begun = Instant::now();
    record(Happening::HostStarted { wave: 0 }).await?;
    let of = &plan.hosts[&host];
    let unlocked = async {
        let mut link = Link::open(&host, of, &means).await?;
        let session = link.session().await?;
        let sides: Vec<_> = users
            .iter()
            .map(|user| (user, hold::host_side(of, Arc::clone(&session), link.run_as(user.as_deref()), &means)))
            .collect();
        // All or none: a run that goes on as one user is not to lose what it has as another.
        for (user, side) in &sides {
            side.may_unlock().await.map_err(|error| refused(&error, user.as_deref()))?;
        }
        let mut taken = Vec::new();
        for (user, side) in &sides {
            let whose = side.unlock().await.map_err(|error| refused(&error, user.as_deref()))?;
            // One run has one owner, whoever its programs become.
            if let Some(whose) = whose.filter(|whose| !taken.contains(whose)) {
                taken.push(whose);
            }
        }
        link.close().await;
        Ok::<_, LinkError>(taken)
    };
    let (outcome, failure) = match unlocked.await {
        Ok(taken) if !taken.is_empty() => {
            let taken: Vec<_> = taken.iter().map(|(run, owner)| format!("run {run} of {owner}")).collect();
            let value = format!("{}: {reason}", taken.join(" and "));
            record(Happening::FactRead { fact: "unlocked".to_owned(), value }).await?;
            (HostOutcome::Done, None)
        }
        Ok(_) => (HostOutcome::Unchanged, None),
        Err(LinkError::Failed(failure)) => (outcome_unreached(&failure), Some(failure)),
        Err(LinkError::Ledger(error)) => return Err(error.into()),
    };
    record(Happening::HostFinished { outcome, failure, before: None, after: None, took: since(begun) }).await?;
    means.recorder.record(None, Happening::WaveFinished { wave: 0 }).await?;
    let exit = outcome.exit_code();
    means.recorder.record(None, Happening::RunFinished { exit }).await?;
    Ok(exit)
}

fn refused(error: &LeaseError, user: Option<&str>) -> LinkError {
    let (failure, hint) = match error {
        // Nothing is in doubt: it was asked for too early.
        LeaseError::Durable(DurableError::StillRuns { what }) => {
            let what = format!("a step of run {what} still runs on the host, so no lease was taken away");
            let hint = "wait for it to end, or end it on the host; then type this again".to_owned();
            (Failure::new(FailureClass::Refused, what), Some(hint))
        }
        error => (Failure::from_error(error.class(), error), error.hint()),
    };
    let failure = match user {
        Some(user) => failure.because(format!("asked as {user}")),
        None => failure,
    };
    LinkError::Failed(match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}
