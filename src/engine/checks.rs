//! Makes checks on one host: all at once, each tried again for as long as the plan allows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;

use super::{
    Answer, Means, Stop,
    link::{Link, LinkError},
};
use crate::{
    event::{Happening, Phase},
    model::{Failure, FailureClass, HostName, Redactor, Span, Verdict},
    plan::PlannedCheck,
    steps::{Probed, Progress, Reach},
    transport::Session,
};

/// The checks of one phase, made and recorded.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) made: Vec<(String, Probed)>,
}

impl Round {
    /// The verdict of all together: the worst.
    pub(super) fn verdict(&self) -> Verdict {
        let worst = |wanted: Verdict| self.made.iter().any(|(_, probed)| probed.verdict == wanted);
        [Verdict::Fail, Verdict::Error, Verdict::Inconclusive, Verdict::Unverified]
            .into_iter()
            .find(|verdict| worst(*verdict))
            .unwrap_or(Verdict::Pass)
    }

    /// The counts that were read, by the name of their check.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.made.iter().filter_map(|(name, probed)| Some((name.as_str(), probed.count?)))
    }

    /// Describes what was not green, as a failure of the given class.
    pub(super) fn failure(&self, class: FailureClass, what: &str) -> Option<Failure> {
        let red: Vec<_> = self.made.iter().filter(|(_, probed)| probed.verdict != Verdict::Pass).collect();
        let ((name, probed), rest) = red.split_first()?;
        let mut failure = Failure::new(class, format!("{what} `{name}`: {}", probed.seen));
        for (name, probed) in rest {
            failure = failure.because(format!("and `{name}`: {}", probed.seen));
        }
        Some(failure)
    }
}

/// How long a check is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Once: what is seen now is what counts.
    Once,
    /// As the check's own `retry` says.
    AsPlanned,
}

/// Connections over which one round of checks is made before what was seen counts.
const MOST_CONNECTIONS: u32 = 3;

/// Makes the checks, concurrently, and records each verdict in the order of the plan.
pub(super) async fn make(
    host: &HostName,
    link: &mut Link,
    checks: Vec<&PlannedCheck>,
    phase: Phase,
    patience: Patience,
    means: &Means,
) -> Result<Round, LinkError> {
    if checks.is_empty() {
        return Ok(Round::default());
    }
    let mut connections = 0;
    let made = loop {
        let session = link.session().await?;
        let tries = checks.iter().map(|check| {
            let run_as = link.run_as(check.run_as.as_deref());
            attempt(host, &session, check, patience, run_as, &link.redactor, means)
        });
        let made = join_all(tries).await;
        connections += 1;
        let red = made.iter().any(|(probed, _)| probed.verdict != Verdict::Pass);
        // A link that was lost says nothing about the host's health: nothing is taken back for that.
        if !(red && session.is_closed()) || connections == MOST_CONNECTIONS {
            break made;
        }
    };
    let mut round = Round::default();
    for (check, (probed, took)) in checks.into_iter().zip(made) {
        let what = Happening::CheckFinished {
            phase,
            check: check.name.clone(),
            verdict: probed.verdict,
            seen: probed.seen.clone(),
            took,
        };
        means.recorder.record(Some(host), what).await?;
        round.made.push((check.name.clone(), probed));
    }
    Ok(round)
}

/// Tries one check until it passes or its time is over. The last verdict counts.
async fn attempt(
    host: &HostName,
    session: &Arc<dyn Session>,
    check: &PlannedCheck,
    patience: Patience,
    run_as: Option<(String, Option<crate::model::Secret>)>,
    redactor: &Redactor,
    means: &Means,
) -> (Probed, Span) {
    let begun = Instant::now();
    let retry = check.retry.as_ref().filter(|_| patience == Patience::AsPlanned);
    let deadline = begun + retry.map_or(Duration::ZERO, |retry| retry.within.0);
    let progress = |progress: Progress| (means.progress)(host, progress);
    let words = BTreeMap::new();
    let reach =
        Reach { session, redactor, run_as, words: &words, local: means.local.join(host.as_str()), progress: &progress };
    let look = async |timeout| match &check.check.manual {
        Some(manual) => answered(host, &manual.question, means),
        None => probe(check, &reach, timeout).await,
    };
    let mut probed = look(check.timeout.0).await;
    let is_final = |probed: &Probed| probed.verdict == Verdict::Pass || is_no(check, probed);
    while !is_final(&probed) && means.control.stop_now() != Stop::Detach {
        let pause = retry.map_or(Duration::ZERO, |retry| retry.every.0);
        if Instant::now() + pause >= deadline || session.is_closed() {
            break;
        }
        progress(Progress::Waiting(format!("{}: {}", check.name, probed.seen)));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = means.control.asked_for(Stop::Detach) => break,
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(500));
        let again = look(check.timeout.0.min(left)).await;
        if again.verdict == Verdict::Error && left < check.timeout.0 {
            // It was cut short, and the one before it could say more.
            break;
        }
        probed = again;
    }
    if probed.verdict == Verdict::Pass && !check.unrecorded.is_empty() {
        let names = check.unrecorded.join(", ");
        let seen = format!("nothing was recorded to compare with ({names}); {}", probed.seen);
        probed = Probed { verdict: Verdict::Unverified, seen, ..probed };
    }
    probed.seen = redactor.hide(&probed.seen);
    (probed, Span(Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX))))
}

/// What a person has said to the question of a manual check.
fn answered(host: &HostName, question: &str, means: &Means) -> Probed {
    let (verdict, seen) = match (means.answers)(host, question) {
        Some(Answer { yes: true, by }) => (Verdict::Pass, format!("{by}: yes")),
        Some(Answer { yes: false, by }) => (Verdict::Fail, format!("{by}: no")),
        None => (Verdict::Unverified, format!("nobody has answered: {question}")),
    };
    Probed { verdict, seen, count: None }
}

/// Whether a person has said no, which is not asked again.
fn is_no(check: &PlannedCheck, probed: &Probed) -> bool {
    check.check.manual.is_some() && probed.verdict == Verdict::Fail
}

/// Looks once; a probe that hangs is an error after twice its own time.
async fn probe(check: &PlannedCheck, reach: &Reach<'_>, timeout: Duration) -> Probed {
    match tokio::time::timeout(check.check.longest(timeout) + timeout, check.check.probe(reach, timeout)).await {
        Ok(probed) => probed,
        Err(_) => Probed { verdict: Verdict::Error, seen: format!("no answer within {}", Span(timeout)), count: None },
    }
}
