//! Programs that run detached on the host: sent as one segment, followed over as many connections as it takes.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

use super::{
    Start, Worker,
    channel::MOST_CONNECTIONS,
    confirm::{found_within, undo_program},
    ending::{did_not_come_back, left_under_way, outcome, unless_refused},
    tell::{LastLine, hidden, hidden_receipt, kept_lines, secrets_in, secrets_named},
};
use crate::{
    durable::{
        Attempt, Deadman, Doubt, DurableError, Ending, Following, Outside, Refusal, Segment, SegmentStep, StepEnd,
        StepNews,
    },
    engine::{
        Stop,
        hold::Manner,
        host::Stopped,
        link::{Link, LinkError},
    },
    event::{Happening, SentStep},
    model::{Failure, FailureClass, HostOutcome, Receipt, Span, StepOutcome},
    plan::PlannedStep,
    steps::{HostProgram, Progress, Upload},
};

/// One program to run, with what its events need.
pub(super) struct Job<'a> {
    pub(super) step: &'a PlannedStep,
    pub(super) attempt: Attempt,
    pub(super) program: HostProgram,
    /// Undos have events of their own.
    pub(super) is_undo: bool,
    /// Which of the step's undos it is.
    pub(super) part: usize,
    /// Its start was recorded before, by a controller that went away.
    pub(super) announced: bool,
    /// Its way back, armed on the host before it starts.
    pub(super) deadman: Option<Deadman>,
}

impl Job<'_> {
    /// How the host's turn ends when it is not found again in the middle of it.
    fn left(&self, error: LinkError) -> Stopped {
        if self.program.restarts { did_not_come_back(error, self.step) } else { left_under_way(error, self.step) }
    }

    /// Whether its end is known only once it was confirmed, or was not.
    fn must_be_confirmed(&self) -> bool {
        !self.is_undo && self.step.confirm_within.is_some() && undo_program(self.step).is_some()
    }
}

/// How one job ended. Jobs that were not begun are not among the answers.
pub(super) struct JobEnd {
    pub(super) outcome: StepOutcome,
    pub(super) receipt: Receipt,
    /// Why nobody knows the result, where nobody does.
    pub(super) doubt: Option<Doubt>,
    pub(super) start: Start,
    /// What goes into its event, where that is not recorded yet because it must be confirmed first.
    pub(super) withheld: Option<(Vec<String>, Option<Span>)>,
    /// When it was heard of: others of its segment may take long after it, and what it saved grows old meanwhile.
    pub(super) at: Instant,
}

impl JobEnd {
    /// A job that ended before its program ran.
    pub(super) fn never(failure: Failure) -> Self {
        let outcome = StepOutcome::Failed { failure };
        Self {
            outcome,
            receipt: Receipt::default(),
            doubt: None,
            start: Start::Never,
            withheld: None,
            at: Instant::now(),
        }
    }

    pub(super) fn unknown(failure: Failure) -> Self {
        let outcome = StepOutcome::Unknown { failure };
        Self {
            outcome,
            receipt: Receipt::default(),
            doubt: None,
            start: Start::Begun,
            withheld: None,
            at: Instant::now(),
        }
    }
}

/// Calls in a row that may bring nothing but doubt before a step is left to a person.
const MOST_DOUBTS: u32 = 5;

/// How often a step's silence is measured.
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is told while a segment runs, for the recorder.
enum Told {
    Started(usize),
    Ended(usize, Box<StepEnd>),
}

impl Worker {
    /// Runs jobs; with `attach`, follows the segment of that name instead of sending them.
    pub(super) async fn run_jobs(
        &mut self,
        jobs: Vec<Job<'_>>,
        attach: Option<String>,
        link: &mut Link,
    ) -> Result<Vec<JobEnd>, Stopped> {
        let user = jobs[0].step.run_as.clone();
        let means = self.means.clone();
        if let Manner::Attached { reason } = self.holds.manner(user.as_deref(), link, &means).await? {
            let reason = reason.clone();
            return self.run_attached_jobs(jobs, &reason, link).await;
        }
        for job in jobs.iter().filter(|_| attach.is_none()) {
            if let Some(upload) = &job.program.upload
                && let Err(failure) = self.upload(job, upload, link).await?
            {
                self.started(job).await?;
                let end = JobEnd::never(failure);
                self.finished(job, &end, Vec::new(), None).await?;
                return Ok(vec![end]);
            }
        }
        self.run_durably(jobs, user.as_deref(), attach, link).await
    }

    /// Sends the jobs as one segment and follows it to its end, over as many connections as it takes.
    async fn run_durably(
        &mut self,
        jobs: Vec<Job<'_>>,
        user: Option<&str>,
        attached_to: Option<String>,
        link: &mut Link,
    ) -> Result<Vec<JobEnd>, Stopped> {
        let mut attach = attached_to.is_some();
        let name = attached_to.unwrap_or_else(|| {
            self.segments += 1;
            format!("seg-{}-{}", self.segments, jobs[0].attempt).replace('.', "-").chars().take(60).collect()
        });
        let segment = Segment { id: name, steps: jobs.iter().map(segment_step).collect() };
        if !attach {
            let sent = jobs.iter().map(|job| SentStep {
                step: job.attempt.step.clone(),
                attempt: job.attempt.number,
                undo: job.is_undo,
                part: job.part,
            });
            let intention = Happening::SegmentSent { segment: segment.id.clone(), steps: sent.collect() };
            self.means.recorder.record(Some(&self.host), intention).await?;
        }

        let texts: String = segment
            .steps
            .iter()
            .flat_map(|step| {
                let undo = step.deadman.as_ref().map_or("", |deadman| &deadman.program);
                [step.look.as_deref().unwrap_or(""), &step.act, undo]
            })
            .collect();
        let secrets = secrets_in(&texts, &link.redactor);
        // An undo is not asked to stop: a host half taken back is no safe point.
        let may_stop = !jobs.iter().any(|job| job.is_undo);
        let mut begun: Vec<bool> = jobs.iter().map(|job| job.announced).collect();
        let mut doubts = 0;
        let redactor = link.redactor.clone();
        let mut following = Following::of(&segment);
        let mut ends: Vec<Option<JobEnd>> = jobs.iter().map(|_| None).collect();
        // A dead predecessor's request for the lease came late and fenced us off. It will start nothing; we ask again.
        let mut fenced = false;
        let run = self.means.run.clone();
        let is_own_fence = |told: &Told| {
            let Told::Ended(_, end) = told else { return false };
            matches!(&end.ending, Ending::NotStarted { refusal: Some(Refusal::Fenced { run: by, .. }) } if by == run.as_str())
        };
        let means = self.means.clone();
        if let Some(within) = jobs[0].step.confirm_within.filter(|_| jobs[0].must_be_confirmed()) {
            // It may lock us out, until the host takes it back.
            link.be_patient(Some(Instant::now() + found_within(jobs[0].step, within)));
        } else if jobs[0].program.restarts {
            link.expect_restart(Instant::now() + jobs[0].step.timeout.0);
        }
        let mut idle: Option<(usize, Span)> = None;
        let _follows = self.holds.follows();
        loop {
            let session = match link.session().await {
                Ok(session) => session,
                Err(error) if attach => return Err(jobs[0].left(error)),
                Err(error) => return Err(error.into()),
            };
            self.holds.reconnected(&session);
            let Manner::Durable(held) = self.holds.manner(user, link, &means).await? else {
                unreachable!("a host does not stop being durable in the middle of its turn");
            };
            let (side, lease) = (held.side.clone(), held.lease.clone());
            let (sender, mut told) = mpsc::unbounded_channel();
            let host = &self.host;
            let mut last = LastLine::new(&redactor);
            let heard = std::sync::Mutex::new((false, Instant::now()));
            let mut on = |attempt: &Attempt, news: StepNews<'_>| {
                if let Ok(mut heard) = heard.lock() {
                    *heard = (true, Instant::now());
                }
                let Some(index) = jobs.iter().position(|job| job.attempt == *attempt) else { return };
                let told = match news {
                    StepNews::Started => Told::Started(index),
                    StepNews::Ended(end) => Told::Ended(index, Box::new(end)),
                    StepNews::Gap { .. } => return,
                    StepNews::Output { bytes, stream, .. } => {
                        if let Some(line) = last.take(stream, bytes) {
                            (means.progress)(host, Progress::Line(line));
                        }
                        return;
                    }
                };
                // The receiver lives until the segment was followed to its end.
                let _ = sender.send(told);
            };
            let attached = attach;
            let followed = async {
                if attached {
                    side.attach(&mut following, &mut on).await
                } else {
                    side.run_segment(&lease, &segment, &secrets, &mut following, &mut on).await
                }
            };
            tokio::pin!(followed);
            let drain = async {
                means.control.asked_for(Stop::Drain).await;
                // One that cannot be told goes on to its end, which does no harm.
                let _ = side.request_stop(&segment.id).await;
            };
            let detach = means.control.asked_for(Stop::Detach);
            tokio::pin!(drain, detach);
            let mut draining = !may_stop;
            let mut silence = tokio::time::interval(IDLE_LOOK_EVERY);
            let result = loop {
                tokio::select! {
                    biased;
                    Some(news) = told.recv() => {
                        fenced |= is_own_fence(&news);
                        self.tell(&jobs, news, (attached || fenced, idle), &mut ends, &mut begun, link).await?;
                    }
                    result = &mut followed => break result,
                    // Asked beside the following: a host slow to answer holds up neither news nor leaving.
                    () = &mut drain, if !draining => draining = true,
                    _ = silence.tick() => {
                        let current = ends.iter().position(Option::is_none).filter(|_| idle.is_none());
                        let limit = current.and_then(|index| jobs[index].step.idle_timeout);
                        let quiet = heard.lock().map(|heard| heard.1.elapsed()).unwrap_or_default();
                        if let (Some(index), Some(limit)) = (current, limit.filter(|limit| quiet > limit.0)) {
                            idle = Some((index, limit));
                            // One that cannot be told is stopped by its own time limit.
                            let _ = side.cancel(std::slice::from_ref(&jobs[index].attempt)).await;
                        }
                    }
                    () = &mut detach => {
                        let failure = Failure::new(FailureClass::Controller, "left in the middle of its steps; the host goes on with them");
                        return Err(Stopped::Ended(HostOutcome::Interrupted, Some(failure)));
                    }
                }
            };
            while let Ok(news) = told.try_recv() {
                fenced |= is_own_fence(&news);
                self.tell(&jobs, news, (attached || fenced, idle), &mut ends, &mut begun, link).await?;
            }
            let heard = heard.lock().is_ok_and(|heard| heard.0);
            // A host on its way down lets in and cuts off, as often as it likes.
            let going_down = jobs[0].program.restarts && matches!(result, Err(DurableError::Transport(_)));
            doubts = if heard || going_down { 0 } else { doubts + 1 };
            match result {
                Ok(_) => {
                    if fenced {
                        self.holds.forget(user);
                    }
                    break;
                }
                Err(error) if error.leaves_doubt() && doubts < MOST_DOUBTS => {
                    // The first time at once; a host that answers nothing but nonsense is not asked without pause.
                    let pause = Duration::from_millis(250 << doubts) * u32::from(doubts > 1);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = means.control.asked_for(Stop::Detach) => {}
                    }
                    attach = true;
                    if let DurableError::Transport(lost) = &error
                        && let Err(error) = link.find_again(lost).await
                    {
                        return Err(jobs[0].left(error));
                    }
                }
                Err(error) => {
                    let Some(index) = ends.iter().position(Option::is_none) else { break };
                    let mut failure = Failure::from_error(error.class(), &error);
                    if let Some(hint) = error.hint() {
                        failure = failure.hint(hint);
                    }
                    // What was sent and perhaps began goes on, whatever the host says to a question about it.
                    let may_run = attached || heard || begun[index] || error.leaves_doubt();
                    let unknown = may_run || error.class() == FailureClass::Unknown;
                    let end = if unknown {
                        failure.class = FailureClass::Unknown;
                        JobEnd::unknown(failure)
                    } else {
                        JobEnd::never(failure)
                    };
                    if !begun[index] {
                        self.started(&jobs[index]).await?;
                    }
                    ends[index] = Some(self.finished_unless_confirmed(&jobs[index], end, Vec::new(), None).await?);
                    break;
                }
            }
        }
        if jobs[0].program.restarts {
            link.be_patient(None);
            if ends[0].as_ref().is_some_and(|end| end.outcome == StepOutcome::Changed) {
                // Our lease outlived the host's restart for a while only, and may be another's by now.
                self.holds.assert(link, &means).await?;
            }
        }
        Ok(ends.into_iter().map_while(|end| end).collect())
    }

    /// Records what was told of a job.
    async fn tell(
        &self,
        jobs: &[Job<'_>],
        told: Told,
        (attached, idle): (bool, Option<(usize, Span)>),
        ends: &mut [Option<JobEnd>],
        begun: &mut [bool],
        link: &Link,
    ) -> Result<(), Stopped> {
        match told {
            Told::Started(index) if begun[index] => Ok(()),
            Told::Started(index) => {
                begun[index] = true;
                self.started(&jobs[index]).await
            }
            Told::Ended(index, end) => {
                let job = &jobs[index];
                let output = kept_lines(&end.out, &end.err, &link.redactor);
                let lost = Ending::Unknown { why: Doubt::StateLost };
                let forgotten = begun[index] && matches!(end.ending, Ending::NotStarted { .. });
                // The ledger saw it start: a host that does not know of it lost its state.
                let ending = if forgotten { &lost } else { &end.ending };
                if attached && matches!(ending, Ending::NotStarted { .. }) {
                    // Refused under the lease of a controller that is gone, our own new one included: it is sent again.
                    return Ok(());
                }
                let Some((outcome, start)) = outcome(ending, &output) else { return Ok(()) };
                let outcome = match (ending, idle.filter(|(silent, _)| *silent == index)) {
                    (Ending::Cancelled, Some((_, limit))) => {
                        let failure = Failure::new(FailureClass::TimedOut, format!("it said nothing for {limit}"));
                        StepOutcome::Failed { failure: failure.output(output.clone()) }
                    }
                    _ => outcome,
                };
                let (outcome, start) = unless_refused(&end.receipt, (outcome, start));
                let doubt = if let Ending::Unknown { why } = ending { Some(*why) } else { None };
                if !std::mem::replace(&mut begun[index], true) {
                    self.started(job).await?;
                }
                let finished =
                    JobEnd { outcome, receipt: end.receipt.clone(), doubt, start, withheld: None, at: Instant::now() };
                ends[index] = Some(self.finished_unless_confirmed(job, finished, output, end.took.map(Span)).await?);
                Ok(())
            }
        }
    }

    async fn upload(
        &mut self,
        job: &Job<'_>,
        upload: &Upload,
        link: &mut Link,
    ) -> Result<Result<(), Failure>, Stopped> {
        let means = self.means.clone();
        let mut connections = 0;
        loop {
            let session = link.session().await?;
            let run_as = link.run_as(job.step.run_as.as_deref());
            let Manner::Durable(held) = self.holds.manner(job.step.run_as.as_deref(), link, &means).await? else {
                unreachable!("asked only where the host is durable");
            };
            let to = held.side.keep_path(&job.attempt.step, "upload");
            let progress = |progress: Progress| (means.progress)(&self.host, progress);
            let sent = crate::steps::upload(&session, run_as, upload, &to, &progress).await;
            connections += 1;
            match sent {
                Ok(()) => return Ok(Ok(())),
                // What has arrived stays there, and the rest follows over the next connection.
                Err(_) if link.open_session().is_none() && connections < MOST_CONNECTIONS => {}
                Err(error) => return Ok(Err(error.to_failure())),
            }
            if self.means.control.stop_now() == Stop::Detach {
                return Err(Stopped::Ended(HostOutcome::Interrupted, None));
            }
        }
    }

    pub(super) async fn started(&self, job: &Job<'_>) -> Result<(), Stopped> {
        if let Ok(mut under_way) = self.under_way.lock() {
            *under_way = Some(job.step.name.clone());
        }
        if job.is_undo || job.announced {
            return Ok(());
        }
        let what = Happening::StepStarted {
            step: job.step.id.clone(),
            name: job.step.name.clone(),
            effect: job.step.effect,
            attempt: job.attempt.number,
            part: job.step.part,
        };
        Ok(self.means.recorder.record(Some(&self.host), what).await?)
    }

    /// Records the end of a job, or keeps what would be recorded of one that must be confirmed first.
    async fn finished_unless_confirmed(
        &self,
        job: &Job<'_>,
        mut end: JobEnd,
        output: Vec<String>,
        took: Option<Span>,
    ) -> Result<JobEnd, Stopped> {
        if job.must_be_confirmed() {
            end.withheld = Some((output, took));
        } else {
            self.finished(job, &end, output, took).await?;
        }
        Ok(end)
    }

    pub(super) async fn finished(
        &self,
        job: &Job<'_>,
        end: &JobEnd,
        output: Vec<String>,
        took: Option<Span>,
    ) -> Result<(), Stopped> {
        if let Ok(mut under_way) = self.under_way.lock() {
            *under_way = None;
        }
        if job.is_undo {
            return Ok(());
        }
        let what = Happening::StepFinished {
            step: job.step.id.clone(),
            attempt: job.attempt.number,
            outcome: match end.outcome.clone() {
                StepOutcome::Failed { failure } => StepOutcome::Failed { failure: hidden(failure, &self.redactor) },
                StepOutcome::Unknown { failure } => StepOutcome::Unknown { failure: hidden(failure, &self.redactor) },
                outcome => outcome,
            },
            took: took.unwrap_or(Span::seconds(0)),
            receipt: hidden_receipt(&end.receipt, &self.redactor),
            difference: None,
            output,
        };
        Ok(self.means.recorder.record(Some(&self.host), what).await?)
    }
}

fn segment_step(job: &Job<'_>) -> SegmentStep {
    let mut step = SegmentStep::new(job.attempt.clone(), job.program.act.clone(), job.step.timeout.0);
    let mut texts = job.program.act.clone();
    if let Some(look) = &job.program.look {
        texts.push_str(look);
        step = step.look(look.clone());
    }
    let outside = job.program.outside.as_ref();
    step.outside = outside.map(|outside| Outside { alive: outside.alive.clone(), stop: outside.stop.clone() });
    step.deadman.clone_from(&job.deadman);
    step.restarts = job.program.restarts;
    step.secrets(secrets_named(&texts)).keep_of(job.program.keep_of.clone())
}
