//! Steps that need the open channel: programs on hosts that cannot keep them safe, and the controller's own work.
//!
//! Nothing of them outlives the link.

use tokio::time::Instant;

use super::{
    Ran, Start, Worker,
    ending::{not_durable, unless_refused},
    jobs::{Job, JobEnd},
    outside::Place,
    ran,
    tell::{LastLine, hidden, kept_lines, secrets_in},
};
use crate::{
    durable::work_label,
    engine::{
        Stop,
        attached::{self, Attached},
        host::{Stopped, since},
        link::{Link, to_failure},
    },
    event::HostState,
    model::{Effect, Failure, FailureClass, HostOutcome, Receipt, StepOutcome},
    plan::PlannedStep,
    steps::{ControllerWork, HostProgram, Progress, Reach},
    transport::{Status, Stream, TransportError},
};

/// Times that a file is gone on with after a lost link, and an attached step begun anew.
pub(super) const MOST_CONNECTIONS: u32 = 5;

impl Worker {
    /// Runs jobs one by one over the open channel. What may not run twice does not run at all.
    pub(super) async fn run_attached_jobs(
        &mut self,
        jobs: Vec<Job<'_>>,
        reason: &str,
        link: &mut Link,
    ) -> Result<Vec<JobEnd>, Stopped> {
        let mut ends = Vec::new();
        for mut job in jobs {
            // What was open when the controller died is begun again, under its number.
            job.announced |= !job.is_undo && self.open.get(&job.attempt.step) == Some(&job.attempt.number);
            let job = &job;
            // An undo goes on: a host half taken back is no safe point.
            if self.means.control.stop_now() > Stop::No && !job.is_undo {
                break;
            }
            let begun = Instant::now();
            self.started(job).await?;
            let (end, output) = if job.step.repeat_safe || job.is_undo {
                let Some(ended) = self.attached(job, link).await? else { break };
                ended
            } else {
                (JobEnd::never(not_durable(reason)), Vec::new())
            };
            self.finished(job, &end, output, Some(since(begun))).await?;
            let good = end.outcome.is_good();
            ends.push(end);
            if !good {
                break;
            }
        }
        Ok(ends)
    }

    /// Runs a job over the open channel; after a lost link anew, where that does no harm. Never beside what it started
    /// before; `None`: not at all, because somebody wants to leave.
    async fn attached(&mut self, job: &Job<'_>, link: &mut Link) -> Result<Option<(JobEnd, Vec<String>)>, Stopped> {
        let mut connections = 1;
        loop {
            match self.place_for(job, link).await? {
                Place::Free => {}
                Place::Left => return Ok(None),
                Place::Taken(failure) => return Ok(Some((JobEnd::unknown(failure), Vec::new()))),
            }
            let (end, output) = self.attached_once(job, link).await?;
            let lost = matches!(&end.outcome, StepOutcome::Unknown { .. }) && link.open_session().is_none();
            let again = lost && !job.is_undo && connections < MOST_CONNECTIONS;
            if !again || self.means.control.stop_now() > Stop::No {
                return Ok(Some((end, output)));
            }
            connections += 1;
        }
    }

    async fn attached_once(&mut self, job: &Job<'_>, link: &mut Link) -> Result<(JobEnd, Vec<String>), Stopped> {
        let session = link.session().await?;
        let run_as = link.run_as(job.step.run_as.as_deref());
        if let Some(upload) = &job.program.upload {
            let progress = |progress: Progress| (self.means.progress)(&self.host, progress);
            let to = attached::upload_path(self.means.run.as_str(), &job.attempt.step);
            if let Err(error) = crate::steps::upload(&session, run_as.clone(), upload, &to, &progress).await {
                return Ok((JobEnd::never(error.to_failure()), Vec::new()));
            }
        }
        let attached = Attached {
            run: self.means.run.as_str(),
            step: &job.attempt.step,
            keep_of: job.program.keep_of.as_ref(),
            work: work_label(&self.means.run, &job.attempt),
            look: job.program.look.as_deref(),
            act: &job.program.act,
            limit: job.step.timeout.0,
            idle: job.step.idle_timeout.map(|idle| idle.0),
            run_as,
            secrets: secrets_in(
                &format!("{}{}", job.program.look.as_deref().unwrap_or(""), job.program.act),
                &link.redactor,
            ),
        };
        let (host, means) = (&self.host, &self.means);
        let mut last = LastLine::new(&link.redactor);
        let mut lines = |stream: Stream, bytes: &[u8]| {
            if let Some(line) = last.take(stream, bytes) {
                (means.progress)(host, Progress::Line(line));
            }
        };
        Ok(match attached.run(&session, &mut lines).await {
            Ok(end) => {
                let output = kept_lines(&end.ended.out, &end.ended.err, &link.redactor);
                let ran = !end.unchanged && !end.cannot_tell;
                let lingers =
                    if ran { self.lingers(job, &result_of(&end.ended.status), &output, link).await? } else { None };
                let outcome = if let Some(lingers) = lingers {
                    lingers
                } else if end.unchanged {
                    StepOutcome::Unchanged
                } else if end.ended.is_success() {
                    StepOutcome::Changed
                } else {
                    let what = if end.cannot_tell {
                        "looking before acting failed".to_owned()
                    } else {
                        format!("it ended with {}", end.ended.status)
                    };
                    StepOutcome::Failed { failure: Failure::new(FailureClass::Step, what).output(output.clone()) }
                };
                let receipt = attached::receipt(&end.ended.out);
                let start = if end.cannot_tell { Start::Never } else { Start::Begun };
                let (outcome, start) = unless_refused(&receipt, (outcome, start));
                (JobEnd { outcome, receipt, doubt: None, start, withheld: None, at: Instant::now() }, output)
            }
            Err(error) => {
                let failure = to_failure(&error, host);
                let end = if error.leaves_doubt() {
                    // Nothing says that it has ended: no undo beside it.
                    let mut failure = failure.because("it may still run on the host");
                    failure.class = FailureClass::Unknown;
                    if matches!(error, TransportError::TimedOut { .. } | TransportError::Idle { .. })
                        && let Some(why) = self.stop_outside(job, link).await?
                    {
                        failure = failure.because(why);
                    }
                    JobEnd::unknown(failure)
                } else {
                    JobEnd::never(failure)
                };
                (end, Vec::new())
            }
        })
    }

    /// Runs a step that the controller does itself, with its events.
    pub(in crate::engine) async fn run_attached(
        &mut self,
        step: &PlannedStep,
        index: usize,
        work: &dyn ControllerWork,
        past: Option<&HostState>,
        link: &mut Link,
    ) -> Result<Ran, Stopped> {
        let begun = Instant::now();
        // A controller that went away in the middle of it took nothing along that matters: it is done again.
        let job = Job {
            step,
            attempt: self.next_attempt(step, false),
            program: HostProgram::default(),
            is_undo: false,
            part: 0,
            announced: false,
            deadman: None,
        };
        let job = Job { announced: job.attempt.number == open_attempt(past, step), ..job };
        self.started(&job).await?;
        let deadline = step.retry.as_ref().map(|retry| begun + retry.within.0);
        let (outcome, receipt) = loop {
            let ended = self.act(step, work, link).await?;
            let (Some(retry), Some(deadline)) = (&step.retry, deadline) else { break ended };
            let again = matches!(ended.0, StepOutcome::Failed { .. }) && Instant::now() + retry.every.0 < deadline;
            if !again || self.means.control.stop_now() > Stop::No {
                break ended;
            }
            tokio::select! {
                () = tokio::time::sleep(retry.every.0) => {}
                () = self.means.control.asked_for(Stop::Drain) => break ended,
            }
        };
        let end = JobEnd { outcome, receipt, doubt: None, start: Start::Begun, withheld: None, at: Instant::now() };
        self.finished(&job, &end, Vec::new(), Some(since(begun))).await?;
        Ok(ran(index, end))
    }

    /// Does a controller's step once, within its time.
    pub(in crate::engine) async fn act(
        &mut self,
        step: &PlannedStep,
        work: &dyn ControllerWork,
        link: &mut Link,
    ) -> Result<(StepOutcome, Receipt), Stopped> {
        if step.effect != Effect::Read {
            // No host refuses what is done from here under a lease that is not ours any more.
            let means = self.means.clone();
            self.holds.assert(link, &means).await?;
        }
        let session = link.session().await?;
        let progress = |progress: Progress| (self.means.progress)(&self.host, progress);
        let reach = Reach {
            session: &session,
            redactor: &link.redactor,
            run_as: link.run_as(step.run_as.as_deref()),
            words: &self.words,
            local: self.means.local.join(self.host.as_str()),
            progress: &progress,
        };
        let acted = tokio::select! {
            acted = tokio::time::timeout(step.timeout.0, work.act(&reach)) => acted,
            // It ends with us: what it may have done by now is found out when the run is taken up again.
            () = self.means.control.asked_for(Stop::Detach) => {
                let failure = Failure::new(FailureClass::Controller, format!("left in the middle of step `{}`", step.name))
                    .hint("`longshore resume` looks again and goes on with it");
                return Err(Stopped::Ended(HostOutcome::Interrupted, Some(failure)));
            }
        };
        Ok(match acted {
            Ok(Ok(done)) => (if done.changed { StepOutcome::Changed } else { StepOutcome::Unchanged }, done.receipt),
            Ok(Err(error)) => {
                (StepOutcome::Failed { failure: hidden(error.to_failure(), &link.redactor) }, Receipt::default())
            }
            Err(_) => {
                let failure = Failure::new(FailureClass::TimedOut, format!("it was not done within {}", step.timeout));
                (StepOutcome::Failed { failure }, Receipt::default())
            }
        })
    }
}

/// A program's status as a host that can be durable would name its result.
fn result_of(status: &Status) -> String {
    match status {
        Status::Exited(status) => format!("rc.{status}"),
        Status::Signaled(signal) => format!("signal.{signal}"),
    }
}

/// The number under which a step was begun and not ended before the run was taken up again; 0 for none.
fn open_attempt(past: Option<&HostState>, step: &PlannedStep) -> u32 {
    let state = past.and_then(|past| past.steps.get(&step.id)).filter(|state| state.outcome.is_none());
    state.map_or(0, |state| state.attempt)
}
