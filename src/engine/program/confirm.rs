//! Steps that the host takes back by itself unless the controller comes back to confirm them.
//!
//! The end of such a step is recorded only when it is known which of both it was: a controller that dies in
//! between finds the step open, and asks again.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Start, Worker,
    jobs::{Job, JobEnd},
    tell::secrets_named,
};
use crate::{
    durable::{Attempt, Confirmation, Deadman, DurableError},
    engine::{
        Stop,
        checks::{self, Patience},
        hold::Manner,
        host::Stopped,
        link::{Link, to_failure},
    },
    event::{Phase, UndoSent},
    model::{Failure, FailureClass, HostOutcome, Span, StepOutcome, Verdict},
    plan::{PlannedStep, PlannedUndo},
    steps::{HostProgram, Work},
};

/// First pause between two looks at a host that is not well yet. Each is twice as long as the one before: an sshd
/// that turns us away for now may soon do so for longer.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Longest pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What a host's uptime, in whole seconds, may be late by.
const LATE_BY: Duration = Duration::from_secs(3);

/// Time beyond all limits of the step for which its host is looked for.
const FOUND_WITHIN: Duration = Duration::from_secs(60);

/// How long a host is looked for, from the start of a step that has to be confirmed, by what it may take: the step, what
/// the controller may come late by, and the way back, after which it may let us in again.
pub(super) fn found_within(step: &PlannedStep, within: Span) -> Duration {
    let undo = undo_program(step).map_or(Duration::ZERO, |(undo, _)| undo.timeout.0);
    step.timeout.0 + 2 * within.0 + if step.action.restarts_host() { undo + FOUND_WITHIN } else { Duration::ZERO }
}

/// Why the host could not take back a step that restarts it, where it could not.
pub(super) fn no_way_back(step: &PlannedStep, hook: Option<&str>) -> Option<Failure> {
    let (_, program) = undo_program(step)?;
    let (why, hint) = if hook.is_none() {
        (
            "nothing there is known to start programs when it comes up: systemd does not run, or this user does not linger there, \
             and no cron runs that has `crontab`",
            "install cron on the host, `loginctl enable-linger` its user, or say `become = \"root\"` on the step",
        )
    } else if !secrets_named(&program.act).is_empty() {
        (
            "its undo needs a secret, and no secret is kept on a host",
            "put what the undo needs on the host before, or leave `confirm-within` out",
        )
    } else {
        return None;
    };
    let what = format!("the host could not take step `{}` back by itself after its restart", step.name);
    let failure = Failure::new(FailureClass::Refused, what).because(why);
    Some(failure.because("nothing was begun").hint(hint))
}

/// The undo of a step as one program of the host, which is what can be armed there.
pub(super) fn undo_program(step: &PlannedStep) -> Option<(&PlannedStep, HostProgram)> {
    match &step.undo {
        PlannedUndo::ByProgram => match step.action.kind().work() {
            Work::Host(program) => {
                let act = program.undo?;
                Some((step, HostProgram { act, keep_of: program.keep_of, ..HostProgram::default() }))
            }
            Work::Controller(_) => None,
        },
        PlannedUndo::By(steps) => match steps.as_slice() {
            [undo] => match undo.action.kind().work() {
                Work::Host(program) => Some((undo, program)),
                Work::Controller(_) => None,
            },
            _ => None,
        },
        PlannedUndo::Nothing | PlannedUndo::Impossible { .. } => None,
    }
}

impl Worker {
    /// The way back to arm before the step starts, where it has one.
    pub(super) fn deadman(&self, step: &PlannedStep) -> Option<Deadman> {
        let within = step.confirm_within?.0;
        let (undo, program) = undo_program(step)?;
        let used = self.attempts.get(&(step.id.clone(), true)).copied().unwrap_or(0);
        Some(Deadman {
            within,
            undo: Attempt::undo(step.id.clone(), used + 1),
            secrets: secrets_named(&program.act),
            restarts: program.restarts,
            program: program.act,
            limit: undo.timeout.0,
        })
    }

    /// Comes back over a new connection, looks at the host, and confirms the step; or waits until the host took it
    /// back. Returns how the step ended after all.
    pub(super) async fn confirm(&mut self, job: &Job<'_>, end: JobEnd, link: &mut Link) -> Result<JobEnd, Stopped> {
        let (Some(within), Some((undo, program))) = (job.step.confirm_within, undo_program(job.step)) else {
            return Ok(end);
        };
        if end.start == Start::Fenced {
            return Ok(end);
        }
        let begun = Instant::now();
        // The host counts from before the start, so its time is over before this one, unless it was restarted.
        let over = begun + within.0 + LATE_BY;
        let limits = within.0 + undo.timeout.0 + FOUND_WITHIN;
        link.be_patient(Some(begun + limits));
        let confirmed = self.confirm_patiently(job, &end, (begun + within.0, over), link).await;
        let confirmed = match confirmed {
            Ok(confirmed) => confirmed,
            Err(stopped) => {
                link.be_patient(None);
                return Err(stopped);
            }
        };
        let ended = match confirmed {
            Known::Stands => Ok(end),
            // It never began, so nothing was armed.
            Known::Lost(_) if end.start == Start::Never => Ok(end),
            Known::Lost(failure) => Ok(JobEnd::unknown(failure)),
            Known::NotConfirmed(why) => {
                let failure = not_confirmed(within, end.outcome.failure(), why.as_ref());
                let failure = failure.because("the host did not take it back by itself");
                Ok(JobEnd { outcome: StepOutcome::Failed { failure }, start: Start::Begun, ..end })
            }
            Known::Fired { watcher, why } => {
                let failure = not_confirmed(within, end.outcome.failure(), why.as_ref());
                let attempt = self.attempts.get(&(job.step.id.clone(), true)).copied().unwrap_or(0) + 1;
                let begun = watcher.map(|segment| UndoSent { segment, attempt, part: 0 });
                let taken = self.run_undo(job.step, (0, undo), program, begun, link).await;
                taken.map(|taken| match taken.failure() {
                    // Class gate: nothing of it is left to take back.
                    None => {
                        let failure = failure.because("the host took it back by itself");
                        JobEnd { outcome: StepOutcome::Failed { failure }, start: Start::TakenBack, ..end }
                    }
                    Some(undo) => {
                        let mut failure = failure.because(format!("the host's own undo failed: {undo}"));
                        failure.class = FailureClass::Undo;
                        JobEnd { outcome: StepOutcome::Failed { failure }, start: Start::Begun, ..end }
                    }
                })
            }
        };
        link.be_patient(None);
        ended
    }

    async fn confirm_patiently(
        &mut self,
        job: &Job<'_>,
        end: &JobEnd,
        (until, over): (Instant, Instant),
        link: &mut Link,
    ) -> Result<Known, Stopped> {
        let mut why = None;
        // What did not change the host is only disarmed, and so is what failed: the run takes it back as usual.
        let mut proven = !matches!(end.outcome, StepOutcome::Changed | StepOutcome::Unknown { .. });
        let mut pause = LOOK_AFTER;
        while !proven && end.outcome.is_good() {
            match self.prove(link).await? {
                None => proven = true,
                Some(failure) => {
                    why = Some(failure);
                    if Instant::now() + pause >= until {
                        break;
                    }
                    self.pause(pause).await?;
                    pause = (pause * 2).min(LOOK_EVERY);
                }
            }
        }
        if !proven {
            self.pause(over.saturating_duration_since(Instant::now())).await?;
        }
        loop {
            match self.decide(job, proven, link).await? {
                Ok(Confirmation::Confirmed) if proven => return Ok(Known::Stands),
                Ok(Confirmation::Confirmed) => return Ok(Known::NotConfirmed(why)),
                Ok(Confirmation::Fired { watcher }) => return Ok(Known::Fired { watcher, why }),
                // Also a host that cannot be asked takes the step back.
                Err(error) if error.leaves_doubt() && Instant::now() < over + FOUND_WITHIN => {
                    self.pause(pause).await?;
                    pause = (pause * 2).min(LOOK_EVERY);
                }
                Err(error) => {
                    let mut failure = Failure::from_error(FailureClass::Unknown, &error);
                    if let Some(hint) = error.hint() {
                        failure = failure.hint(hint);
                    }
                    return Ok(Known::Lost(failure));
                }
            }
        }
    }

    /// Looks at the host over a connection newer than the step: it can be reached, and its gates and checks pass.
    async fn prove(&mut self, link: &mut Link) -> Result<Option<Failure>, Stopped> {
        if let Err(error) = link.anew().await {
            return Ok(Some(to_failure(&error, &self.host)));
        }
        let means = self.means.clone();
        for (phase, planned, class) in [
            (Phase::Gate, self.gates.clone(), FailureClass::Gate),
            (Phase::After, self.checks.clone(), FailureClass::Check),
        ] {
            let round = checks::make(&self.host, link, planned.iter().collect(), phase, Patience::Once, &means).await?;
            if round.verdict() != Verdict::Pass {
                return Ok(round.failure(class, "check"));
            }
        }
        Ok(None)
    }

    /// Confirms the step, or has the host take it back. Its own time may have begun anew, so it is told and not waited for.
    async fn decide(
        &mut self,
        job: &Job<'_>,
        proven: bool,
        link: &mut Link,
    ) -> Result<Result<Confirmation, DurableError>, Stopped> {
        let means = self.means.clone();
        let session = link.session().await?;
        self.holds.reconnected(&session);
        let Manner::Durable(held) = self.holds.manner(job.step.run_as.as_deref(), link, &means).await? else {
            unreachable!("a step that must be confirmed is refused where the host is not durable");
        };
        Ok(if proven { held.side.confirm(&job.attempt).await } else { held.side.refuse(&job.attempt).await })
    }

    async fn pause(&self, length: Duration) -> Result<(), Stopped> {
        tokio::select! {
            () = tokio::time::sleep(length) => Ok(()),
            () = self.means.control.asked_for(Stop::Detach) => {
                let what = "left before a step was confirmed; the host takes it back by itself";
                Err(Stopped::Ended(HostOutcome::Interrupted, Some(Failure::new(FailureClass::Controller, what))))
            }
        }
    }
}

fn not_confirmed(within: Span, ended: Option<&Failure>, why: Option<&Failure>) -> Failure {
    let mut failure = Failure::new(FailureClass::Gate, format!("it was not confirmed within {within}"));
    for cause in ended.into_iter().chain(why) {
        failure = failure.because(cause.message.clone());
        failure.causes.extend(cause.causes.iter().cloned());
    }
    failure
}

/// What is known of a step that had to be confirmed.
enum Known {
    Stands,
    /// The host takes it back, or has.
    Fired {
        watcher: Option<String>,
        why: Option<Failure>,
    },
    /// It is not well, and yet the host does not take it back: it was confirmed before, by a controller that went away.
    NotConfirmed(Option<Failure>),
    /// The host does not say.
    Lost(Failure),
}
