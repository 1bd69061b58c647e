//! Runs the steps of one host: programs durably on the host, the rest from here.
//!
//! The intention is recorded before the host hears of it. After a lost link the same attempts are asked
//! for again; nothing that may have started is ever started twice.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    Means, Stop,
    attached::{self, Attached},
    hold::{Holds, Leaves, Manner},
    host::{Stopped, since},
    link::{Link, LinkError, to_failure},
};
use crate::{
    durable::{
        Attempt, AttemptState, Beginning, Closing, Doubt, DurableError, Ending, Following, Refusal, Segment,
        SegmentStep, StepEnd, StepNews,
    },
    event::{Happening, HostState, SentStep, UndoState},
    model::{
        Failure, FailureClass, HostName, HostOutcome, Receipt, Redactor, Secret, Span, StepId, StepOutcome, clean,
    },
    plan::{HostPlan, PlannedStep, PlannedUndo},
    steps::{ControllerWork, HostProgram, Progress, Reach, Work},
    transport::{Captured, Exec, Stream},
};

/// How one step ended.
pub(super) struct Ran {
    pub(super) index: usize,
    pub(super) outcome: StepOutcome,
    pub(super) receipt: Receipt,
    pub(super) start: Start,
}

/// Whether a step that did not end well can have changed the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Its program ran, or may have.
    Begun,
    /// It certainly did not, so there is nothing to take back.
    Never,
    /// It did not, and nothing of this run can: the host belongs to another controller now.
    Fenced,
}

/// What became of a step whose result nobody knew when the run was taken up again.
pub(super) enum Resolved {
    /// It is done.
    Done,
    /// It is known that a new attempt does no harm.
    Again,
    Failed(Failure),
    /// Still nobody knows.
    Unknown(Failure),
}

/// Steps that were run together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) ran: Vec<Ran>,
    /// The step after these may be sent again.
    pub(super) again: bool,
    /// It was sent, and not only asked for.
    pub(super) started: bool,
}

/// Works on one host under its lease.
pub(super) struct Worker {
    host: HostName,
    means: Means,
    holds: Holds,
    redactor: Redactor,
    /// Facts of the run for notices.
    words: BTreeMap<String, String>,
    /// Number of the last attempt of each part of each step; every number is used once.
    attempts: BTreeMap<(StepId, bool), u32>,
    segments: u32,
}

/// Lines of output that go into an event: the last ones, which usually tell why.
const LINES_KEPT: usize = 20;

/// One program to run, with what its events need.
struct Job<'a> {
    step: &'a PlannedStep,
    attempt: Attempt,
    program: HostProgram,
    /// Undos have events of their own.
    is_undo: bool,
    /// Its start was recorded before, by a controller that went away.
    announced: bool,
}

/// How one job ended. Jobs that were not begun are not among the answers.
struct JobEnd {
    outcome: StepOutcome,
    receipt: Receipt,
    /// Why nobody knows the result, where nobody does.
    doubt: Option<Doubt>,
    start: Start,
}

impl JobEnd {
    /// A job that ended before its program ran.
    fn never(failure: Failure) -> Self {
        let outcome = StepOutcome::Failed { failure };
        Self { outcome, receipt: Receipt::default(), doubt: None, start: Start::Never }
    }

    fn unknown(failure: Failure) -> Self {
        let outcome = StepOutcome::Unknown { failure };
        Self { outcome, receipt: Receipt::default(), doubt: None, start: Start::Begun }
    }
}

/// What became of an unknown.
enum Settled {
    Done,
    /// It may be sent again, as a new attempt.
    Again,
    No,
}

/// Attempts at one repeat-safe step before an unknown is left to a person.
const MOST_ATTEMPTS: u32 = 3;

/// Calls in a row that may bring nothing but doubt before a step is left to a person.
const MOST_DOUBTS: u32 = 5;

/// Times that a file is gone on with after a lost link, and an attached step begun anew.
const MOST_CONNECTIONS: u32 = 5;
/// How often a step's silence is measured.
const IDLE_LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Longest time for looking what became of a step.
const LOOK_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// What is told while a segment runs, for the recorder.
enum Told {
    Started(usize),
    Ended(usize, Box<StepEnd>),
}

impl Worker {
    /// Asks what the host can do, and takes its lease.
    pub(super) async fn begin(
        host: &HostName,
        of: &HostPlan,
        past: Option<&HostState>,
        link: &mut Link,
        means: &Means,
    ) -> Result<Self, Stopped> {
        let words = BTreeMap::from([
            ("run".to_owned(), means.run.to_string()),
            ("host".to_owned(), host.to_string()),
            ("owner".to_owned(), means.owner.clone()),
        ]);
        let was_sent = past.is_some_and(|past| past.segment.is_some());
        let beginning = if was_sent { Beginning::Again } else { Beginning::First };
        let mut holds = Holds::new(of, beginning, means);
        if let Err(stopped) = take_all(&mut holds, of, link, means).await {
            // What was taken before the refusal is given back: nothing was begun under it.
            holds.give_back(link).await;
            return Err(stopped);
        }
        let (attempts, segments) = past.map_or_else(Default::default, recall);
        let redactor = link.redactor.clone();
        Ok(Self { host: host.clone(), means: means.clone(), holds, redactor, words, attempts, segments })
    }

    /// Gives the leases back.
    pub(super) async fn release(&self, link: &mut Link) {
        self.holds.give_back(link).await;
    }

    /// Closes the run on the host. Only once the ledger has the host's end: until then what the host keeps is
    /// what `resume` goes by.
    pub(super) async fn close(&self, link: &Link, leaves: Leaves) {
        self.holds.close(link, leaves).await;
    }

    /// Runs consecutive host programs. Ends at the first that does not end well, or when asked to stop.
    pub(super) async fn run_segment(
        &mut self,
        of: &HostPlan,
        steps: Range<usize>,
        link: &mut Link,
    ) -> Result<Batch, Stopped> {
        let first = steps.start;
        let planned = &of.steps[steps];
        let deadline = planned[0].retry.as_ref().map(|retry| Instant::now() + retry.within.0);
        loop {
            let mut jobs = Vec::new();
            for step in planned {
                let Work::Host(program) = step.action.kind().work() else { continue };
                let attempt = self.next_attempt(step, false);
                jobs.push(Job { step, attempt, program, is_undo: false, announced: false });
            }
            let numbers: Vec<_> = jobs.iter().map(|job| (job.step.id.clone(), job.attempt.number)).collect();
            let (ends, again) = self.run_and_settle(jobs, None, link).await?;
            // The same attempt is sent again of what did not begin: its number was not used.
            for (id, number) in numbers.into_iter().skip(ends.len() + usize::from(again)) {
                self.attempts.insert((id, false), number - 1);
            }
            let failed = matches!(ends.last(), Some(JobEnd { outcome: StepOutcome::Failed { .. }, .. }));
            if let (true, Some(retry), Some(deadline)) = (failed, &planned[0].retry, deadline)
                && Instant::now() + retry.every.0 < deadline
                && self.means.control.stop_now() == Stop::No
            {
                tokio::select! {
                    () = tokio::time::sleep(retry.every.0) => continue,
                    () = self.means.control.asked_for(Stop::Drain) => {}
                }
            }
            let ran = ends.into_iter().enumerate();
            let ran = ran.map(|(offset, end)| self::ran(first + offset, end));
            return Ok(Batch { ran: ran.collect(), again, started: true });
        }
    }

    /// Goes on with the segment that was sent before the run was taken up again, if it has open ends.
    pub(super) async fn reattach(
        &mut self,
        of: &HostPlan,
        past: &HostState,
        link: &mut Link,
    ) -> Result<Batch, Stopped> {
        let Some(sent) = &past.segment else { return Ok(Batch::default()) };
        let mut jobs = Vec::new();
        let mut indices = Vec::new();
        for one in sent.steps.iter().filter(|one| !one.undo) {
            let state = past.steps.get(&one.step).filter(|state| state.attempt == one.attempt);
            if state.is_some_and(|state| state.outcome.is_some()) {
                continue;
            }
            let Some(index) = of.steps.iter().position(|step| step.id == one.step) else { continue };
            let Work::Host(program) = of.steps[index].action.kind().work() else { continue };
            let attempt = Attempt::act(one.step.clone(), one.attempt);
            jobs.push(Job { step: &of.steps[index], attempt, program, is_undo: false, announced: state.is_some() });
            indices.push(index);
        }
        if jobs.is_empty() {
            return Ok(Batch::default());
        }
        let numbers: Vec<_> = jobs.iter().map(|job| (job.step.id.clone(), job.attempt.number)).collect();
        let (ends, again) = self.run_and_settle(jobs, Some(sent.name.clone()), link).await?;
        for (id, number) in numbers.into_iter().take(ends.len() + usize::from(again)) {
            self.attempts.insert((id, false), number);
        }
        let ran = ends.into_iter().zip(indices);
        let ran = ran.map(|(end, index)| self::ran(index, end));
        Ok(Batch { ran: ran.collect(), again, started: false })
    }

    /// Runs an undo's program in the directory of the step it takes back.
    ///
    /// `begun` names the segment in which it was sent before the run was taken up again.
    pub(super) async fn run_undo(
        &mut self,
        of: &PlannedStep,
        undo: &PlannedStep,
        program: HostProgram,
        begun: Option<String>,
        link: &mut Link,
    ) -> Result<StepOutcome, Stopped> {
        let attempt = self.next_attempt(of, true);
        let job = |attempt: &Attempt| Job {
            step: undo,
            attempt: attempt.clone(),
            program: program.clone(),
            is_undo: true,
            announced: false,
        };
        let mut end = match begun {
            Some(segment) => self.run_jobs(vec![job(&attempt)], Some(segment), link).await?.pop(),
            None => None,
        };
        if end.is_none() {
            // Not begun, then or now: the same attempt starts at most once.
            end = self.run_jobs(vec![job(&attempt)], None, link).await?.pop();
        }
        Ok(end.map_or_else(
            || StepOutcome::Failed { failure: Failure::new(FailureClass::Undo, "the host did not begin it") },
            |end| end.outcome,
        ))
    }

    /// Runs jobs, and finds out what became of one whose result nobody knows, where that can be found out.
    async fn run_and_settle(
        &mut self,
        jobs: Vec<Job<'_>>,
        attach: Option<String>,
        link: &mut Link,
    ) -> Result<(Vec<JobEnd>, bool), Stopped> {
        let known: Vec<_> = jobs.iter().map(|job| (job.step, job.attempt.clone(), job.program.look.clone())).collect();
        let mut ends = self.run_jobs(jobs, attach, link).await?;
        if !ends.last().is_some_and(|end| matches!(end.doubt, Some(Doubt::Lost | Doubt::Rebooted))) {
            return Ok((ends, false));
        }
        let (step, attempt, look) = &known[ends.len() - 1];
        let last = ends.last_mut().expect("looked at above");
        match self.settle(step, attempt, look.as_deref(), link).await? {
            Settled::Done => {
                last.outcome = StepOutcome::Changed;
                Ok((ends, false))
            }
            Settled::Again => {
                ends.pop();
                Ok((ends, true))
            }
            Settled::No => Ok((ends, false)),
        }
    }

    /// Resolves an unknown: only the step's own look does, or its word that it may run twice.
    async fn settle(
        &mut self,
        step: &PlannedStep,
        attempt: &Attempt,
        look: Option<&str>,
        link: &mut Link,
    ) -> Result<Settled, Stopped> {
        let means = self.means.clone();
        let session = link.session().await?;
        let done = if step.repeat_safe && attempt.number < MOST_ATTEMPTS {
            Some((false, "it may run twice without harm"))
        } else if let Some(look) = look {
            let mut exec = Exec::script(look).timeout(step.timeout.0.min(LOOK_WITHIN));
            exec.run_as = link.run_as(step.run_as.as_deref());
            exec.secrets = secrets_in(look, &link.redactor);
            let looked = session.run(exec, &mut ()).await;
            looked.is_ok_and(|ended| ended.is_success()).then_some((true, "looking finds nothing left to do"))
        } else {
            None
        };
        let Some((done, evidence)) = done else { return Ok(Settled::No) };
        let closing = if done { Closing::Done } else { Closing::NotDone };
        if let Manner::Durable(held) = self.holds.manner(step.run_as.as_deref(), link, &means).await?
            && held.side.close(attempt, closing).await.is_err()
        {
            return Ok(Settled::No);
        }
        self.found(step, attempt, done, evidence).await?;
        Ok(if done { Settled::Done } else { Settled::Again })
    }

    /// Finds out what became of a step that was left unknown before the run was taken up again.
    ///
    /// The host is asked first, then the step's look. While nobody can tell, no new attempt is made: the
    /// host would refuse it, and one that lost its state could not.
    pub(super) async fn resolve(
        &mut self,
        step: &PlannedStep,
        past: &HostState,
        link: &mut Link,
    ) -> Result<Resolved, Stopped> {
        let Some(state) = past.steps.get(&step.id) else { return Ok(Resolved::Again) };
        let (Some(StepOutcome::Unknown { failure }), Work::Host(program)) = (&state.outcome, step.action.kind().work())
        else {
            return Ok(Resolved::Again);
        };
        let attempt = Attempt::act(step.id.clone(), state.attempt);
        let means = self.means.clone();
        let mut known = None;
        if let Manner::Durable(held) = self.holds.manner(step.run_as.as_deref(), link, &means).await?
            && let Ok(status) = held.side.status(std::slice::from_ref(&attempt)).await
        {
            known = status.attempts.into_iter().next().map(|attempt| attempt.state);
        }
        let found = match known {
            Some(AttemptState::Ended(Ending::Changed | Ending::Unchanged | Ending::FoundDone)) => Some(true),
            Some(AttemptState::Ended(Ending::FoundNotDone | Ending::Void)) => Some(false),
            Some(AttemptState::Ended(
                ending
                @ (Ending::Failed { .. } | Ending::CannotTell { .. } | Ending::KilledByLimit | Ending::Cancelled),
            )) => {
                let (outcome, _) = outcome(&ending, &[]).expect("it has a result");
                self.found(step, &attempt, false, "the host knows its result now").await?;
                return Ok(match outcome {
                    StepOutcome::Failed { failure } => Resolved::Failed(failure),
                    _ => Resolved::Unknown(failure.clone()),
                });
            }
            Some(
                AttemptState::Running { .. }
                | AttemptState::Pending
                | AttemptState::Queued
                | AttemptState::Ended(Ending::Lingering { .. }),
            ) => return Ok(Resolved::Unknown(failure.clone())),
            Some(
                AttemptState::NotStarted | AttemptState::Ended(Ending::NotStarted { .. } | Ending::Unknown { .. }),
            )
            | None => None,
        };
        if let Some(done) = found {
            self.found(step, &attempt, done, "the host knows its result now").await?;
            return Ok(if done { Resolved::Done } else { Resolved::Again });
        }
        Ok(match self.settle(step, &attempt, program.look.as_deref(), link).await? {
            Settled::Done => Resolved::Done,
            Settled::Again => Resolved::Again,
            Settled::No => Resolved::Unknown(failure.clone()),
        })
    }

    async fn found(&self, step: &PlannedStep, attempt: &Attempt, done: bool, evidence: &str) -> Result<(), Stopped> {
        let what = Happening::StepFound {
            step: step.id.clone(),
            attempt: attempt.number,
            done,
            evidence: evidence.to_owned(),
        };
        Ok(self.means.recorder.record(Some(&self.host), what).await?)
    }

    fn next_attempt(&mut self, step: &PlannedStep, is_undo: bool) -> Attempt {
        let number = self.attempts.entry((step.id.clone(), is_undo)).or_default();
        *number += 1;
        if is_undo { Attempt::undo(step.id.clone(), *number) } else { Attempt::act(step.id.clone(), *number) }
    }

    /// Runs jobs; with `attach`, follows the segment of that name instead of sending them.
    async fn run_jobs(
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
            });
            let intention = Happening::SegmentSent { segment: segment.id.clone(), steps: sent.collect() };
            self.means.recorder.record(Some(&self.host), intention).await?;
        }

        let texts: String =
            segment.steps.iter().flat_map(|step| [step.look.as_deref().unwrap_or(""), &step.act]).collect();
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
        let mut idle: Option<(usize, Span)> = None;
        loop {
            let session = match link.session().await {
                Ok(session) => session,
                Err(error) if attach => return Err(left_under_way(error, jobs[0].step)),
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
            doubts = if heard { 0 } else { doubts + 1 };
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
                        return Err(left_under_way(error, jobs[0].step));
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
                    self.finished(&jobs[index], &end, Vec::new(), None).await?;
                    ends[index] = Some(end);
                    break;
                }
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
                let doubt = if let Ending::Unknown { why } = ending { Some(*why) } else { None };
                if !std::mem::replace(&mut begun[index], true) {
                    self.started(job).await?;
                }
                let finished = JobEnd { outcome, receipt: end.receipt.clone(), doubt, start };
                self.finished(job, &finished, output, end.took.map(Span)).await?;
                ends[index] = Some(finished);
                Ok(())
            }
        }
    }

    /// Runs jobs one by one over the open channel. What may not run twice does not run at all.
    async fn run_attached_jobs(
        &mut self,
        jobs: Vec<Job<'_>>,
        reason: &str,
        link: &mut Link,
    ) -> Result<Vec<JobEnd>, Stopped> {
        let mut ends = Vec::new();
        for job in &jobs {
            // An undo goes on: a host half taken back is no safe point.
            if self.means.control.stop_now() > Stop::No && !job.is_undo {
                break;
            }
            let begun = Instant::now();
            self.started(job).await?;
            let (end, output) = if job.step.repeat_safe || job.is_undo {
                self.attached(job, link).await?
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

    /// Runs a job over the open channel; after a lost link anew, where that does no harm.
    async fn attached(&mut self, job: &Job<'_>, link: &mut Link) -> Result<(JobEnd, Vec<String>), Stopped> {
        for _ in 1..MOST_CONNECTIONS {
            let (end, output) = self.attached_once(job, link).await?;
            let lost = matches!(&end.outcome, StepOutcome::Unknown { .. }) && link.open_session().is_none();
            if !lost || job.is_undo || self.means.control.stop_now() > Stop::No {
                return Ok((end, output));
            }
        }
        self.attached_once(job, link).await
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
                let outcome = if end.unchanged {
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
                let start = if end.cannot_tell { Start::Never } else { Start::Begun };
                (JobEnd { outcome, receipt: attached::receipt(&end.ended.out), doubt: None, start }, output)
            }
            Err(error) => {
                let failure = to_failure(&error, host);
                let end = if error.leaves_doubt() {
                    // Nothing says that it has ended: no undo beside it.
                    let mut failure = failure.because("it may still run on the host");
                    failure.class = FailureClass::Unknown;
                    JobEnd::unknown(failure)
                } else {
                    JobEnd::never(failure)
                };
                (end, Vec::new())
            }
        })
    }

    async fn upload(
        &mut self,
        job: &Job<'_>,
        upload: &crate::steps::Upload,
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

    /// Runs a step that the controller does itself, with its events.
    pub(super) async fn run_attached(
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
            announced: false,
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
        let end = JobEnd { outcome, receipt, doubt: None, start: Start::Begun };
        self.finished(&job, &end, Vec::new(), Some(since(begun))).await?;
        Ok(ran(index, end))
    }

    /// Does a controller's step once, within its time.
    pub(super) async fn act(
        &mut self,
        step: &PlannedStep,
        work: &dyn ControllerWork,
        link: &mut Link,
    ) -> Result<(StepOutcome, Receipt), Stopped> {
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
        Ok(match tokio::time::timeout(step.timeout.0, work.act(&reach)).await {
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

    async fn started(&self, job: &Job<'_>) -> Result<(), Stopped> {
        if job.is_undo || job.announced {
            return Ok(());
        }
        let what = Happening::StepStarted {
            step: job.step.id.clone(),
            name: job.step.name.clone(),
            effect: job.step.effect,
            attempt: job.attempt.number,
        };
        Ok(self.means.recorder.record(Some(&self.host), what).await?)
    }

    async fn finished(
        &self,
        job: &Job<'_>,
        end: &JobEnd,
        output: Vec<String>,
        took: Option<Span>,
    ) -> Result<(), Stopped> {
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
    step.secrets(secrets_named(&texts)).keep_of(job.program.keep_of.clone())
}

/// The variables of secrets that a program's text refers to: it sees those and no others.
fn secrets_named(text: &str) -> Vec<String> {
    let prefix = "LONGSHORE_SECRET_";
    let mut names: Vec<String> = text
        .match_indices(prefix)
        .map(|(at, _)| text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What an ending means for the run, and whether the step had begun. `None`: it was not its turn.
fn outcome(ending: &Ending, output: &[String]) -> Option<(StepOutcome, Start)> {
    let failed = |class, what: String| {
        Some((StepOutcome::Failed { failure: Failure::new(class, what).output(output.to_vec()) }, Start::Begun))
    };
    match ending {
        Ending::Unchanged => Some((StepOutcome::Unchanged, Start::Begun)),
        Ending::Changed | Ending::FoundDone => Some((StepOutcome::Changed, Start::Begun)),
        Ending::Failed { status } => failed(FailureClass::Step, format!("it ended with status {status}")),
        // The look changes nothing, and the act did not run.
        Ending::CannotTell { status } => {
            failed(FailureClass::Step, format!("looking before acting ended with status {status}"))
                .map(|(outcome, _)| (outcome, Start::Never))
        }
        Ending::KilledByLimit => failed(FailureClass::TimedOut, "it was stopped at its time limit".to_owned()),
        Ending::Cancelled => failed(FailureClass::Step, "it was cancelled".to_owned()),
        Ending::FoundNotDone => failed(FailureClass::Step, "it was found not done".to_owned()),
        Ending::Lingering { result } => {
            let failure = Failure::new(FailureClass::Unknown, format!("it ended ({result}), but something it started still runs"))
                .hint("look at the host's processes; say `nohup` and redirect output if the step means to leave something running")
                .output(output.to_vec());
            Some((StepOutcome::Unknown { failure }, Start::Begun))
        }
        Ending::Unknown { why } => {
            let what = match why {
                Doubt::Lost => "what ran it was killed before it could record the result",
                Doubt::Rebooted => "the host was restarted in the middle of it",
                Doubt::StateLost => "the host does not know the run any more",
            };
            let failure = Failure::new(FailureClass::Unknown, what)
                .hint("look at the host: nothing is repeated by itself")
                .output(output.to_vec());
            Some((StepOutcome::Unknown { failure }, Start::Begun))
        }
        Ending::Void => Some((
            StepOutcome::Failed { failure: Failure::new(FailureClass::Refused, "it was fenced off before it started") },
            Start::Fenced,
        )),
        Ending::NotStarted { refusal } => {
            use crate::durable::Refusal;
            match refusal {
                None | Some(Refusal::EarlierStep | Refusal::Stopped) => None,
                // Something of the step runs, or may have: that is no failure to take back beside.
                Some(refusal @ (Refusal::Claimed | Refusal::EarlierOpen | Refusal::StillRuns)) => {
                    let failure =
                        Failure::new(FailureClass::Unknown, format!("the host did not start it again: {refusal}"))
                            .hint("look at the host; `longshore resume` asks again what became of it");
                    Some((StepOutcome::Unknown { failure }, Start::Begun))
                }
                Some(refusal) => {
                    let failure = Failure::new(FailureClass::Refused, format!("the host did not start it: {refusal}"));
                    let fenced = matches!(refusal, Refusal::Fenced { .. });
                    Some((StepOutcome::Failed { failure }, if fenced { Start::Fenced } else { Start::Never }))
                }
            }
        }
    }
}

fn ran(index: usize, end: JobEnd) -> Ran {
    Ran { index, outcome: end.outcome, receipt: end.receipt, start: end.start }
}

/// Takes the leases of all users that programs of the plan run as, before anything is begun under one of them.
async fn take_all(holds: &mut Holds, of: &HostPlan, link: &mut Link, means: &Means) -> Result<(), Stopped> {
    let undos = of.steps.iter().flat_map(|step| match &step.undo {
        PlannedUndo::By(steps) => steps.as_slice(),
        _ => &[],
    });
    for (step, is_undo) in of.steps.iter().map(|step| (step, false)).chain(undos.map(|undo| (undo, true))) {
        if !matches!(step.action.kind().work(), Work::Host(_)) {
            continue;
        }
        let Manner::Attached { reason } = holds.manner(step.run_as.as_deref(), link, means).await? else { continue };
        if !is_undo && !step.repeat_safe {
            let failure =
                not_durable(reason).because(format!("step `{}` must not run twice; nothing was begun", step.name));
            return Err(Stopped::Ended(HostOutcome::Refused, Some(failure)));
        }
    }
    Ok(())
}

fn not_durable(reason: &str) -> Failure {
    Failure::new(FailureClass::Refused, "the host cannot keep a step from running twice")
        .because(reason)
        .hint("say `repeat-safe = true` on the step if running it twice does no harm, or `state-dir` in the inventory")
}

/// The host was not found again in the middle of a step, which goes on without us.
fn left_under_way(error: LinkError, step: &PlannedStep) -> Stopped {
    match error {
        LinkError::Ledger(error) => Stopped::Ledger(error),
        LinkError::Failed(failure) => {
            let outcome = if failure.class.is_unreachable() { HostOutcome::Unreachable } else { HostOutcome::Unknown };
            let failure = failure
                .because(format!("steps from `{}` on were under way; what runs on the host goes on", step.name))
                .hint("`longshore resume` takes it up again once the host can be reached");
            Stopped::Ended(outcome, Some(failure))
        }
    }
}

/// The secrets that a text refers to, as variables: it sees those and no others.
pub(super) fn secrets_in(text: &str, redactor: &Redactor) -> Vec<(String, Secret)> {
    let named = secrets_named(text);
    let variables = redactor.secrets().iter().map(|(id, secret)| (id.variable(), secret.clone()));
    variables.filter(|(name, _)| named.contains(name)).collect()
}

fn hidden_receipt(receipt: &Receipt, redactor: &Redactor) -> Receipt {
    let hide = |(key, value): (&String, &String)| (redactor.hide(key), redactor.hide(value));
    Receipt(receipt.0.iter().map(hide).collect())
}

/// Hides secrets in everything a failure says.
pub(super) fn hidden(mut failure: Failure, redactor: &Redactor) -> Failure {
    failure.message = redactor.hide(&failure.message);
    for text in failure.causes.iter_mut().chain(&mut failure.output).chain(&mut failure.hint) {
        *text = redactor.hide(text);
    }
    failure
}

/// Finds the last whole line of what a program prints, cleaned, secrets hidden.
///
/// Output comes in pieces that may cut a secret in two, so nothing is shown before its line has ended.
struct LastLine<'a> {
    redactor: &'a Redactor,
    /// The beginning of the line each stream is at; `None` while it is too long to be shown.
    begun: [Option<Vec<u8>>; 2],
}

/// Longest line that is shown while a step runs, in bytes.
const LINE_SHOWN: usize = 4096;

impl<'a> LastLine<'a> {
    fn new(redactor: &'a Redactor) -> Self {
        Self { redactor, begun: [Some(Vec::new()), Some(Vec::new())] }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) -> Option<String> {
        let begun = &mut self.begun[usize::from(stream == Stream::Err)];
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            lengthen(begun, bytes);
            return None;
        };
        let (whole, rest) = bytes.split_at(end + 1);
        let mut ended = begun.take();
        // Of many lines only the last ones matter; the cut falls on the beginning of a line.
        let from = whole.len().saturating_sub(LINE_SHOWN);
        let from = if from == 0 {
            0
        } else {
            from + whole[from..].iter().position(|byte| *byte == b'\n').map_or(whole.len() - from, |at| at + 1)
        };
        if from > 0 {
            ended = Some(Vec::new());
        }
        lengthen(&mut ended, &whole[from..]);
        *begun = Some(Vec::new());
        lengthen(begun, rest);
        let text = ended.map(|ended| self.redactor.hide(&clean(&ended)))?;
        text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
    }
}

fn lengthen(line: &mut Option<Vec<u8>>, bytes: &[u8]) {
    if let Some(known) = line {
        if known.len() + bytes.len() > 2 * LINE_SHOWN {
            *line = None;
        } else {
            known.extend_from_slice(bytes);
        }
    }
}

/// What was kept of a stream. Where its middle was left out, the lines cut by that go too: half a secret
/// in them would not be known for one.
fn whole_lines(captured: &Captured) -> Vec<u8> {
    if captured.is_complete() {
        return captured.bytes();
    }
    let head = captured.head.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let tail = captured.tail.iter().position(|byte| *byte == b'\n').map_or(captured.tail.len(), |at| at + 1);
    [&captured.head[..head], b"[...]\n", &captured.tail[tail..]].concat()
}

/// The last lines of both streams for an event, standard error last, cleaned, secrets hidden.
fn kept_lines(out: &Captured, err: &Captured, redactor: &Redactor) -> Vec<String> {
    let tail = |captured: &Captured| -> Vec<String> {
        let text = redactor.hide(&clean(&whole_lines(captured)));
        let told = |line: &&str| !line.trim().is_empty() && !line.starts_with("longshore-receipt ");
        let lines: Vec<_> = text.lines().filter(told).map(str::to_owned).collect();
        lines[lines.len().saturating_sub(LINES_KEPT)..].to_vec()
    };
    [tail(out), tail(err)].concat()
}

/// The numbers of the attempts and segments that were used before the run was taken up again.
///
/// An attempt that was begun and has no result yet is not among them: it goes on under its number.
fn recall(past: &HostState) -> (BTreeMap<(StepId, bool), u32>, u32) {
    let mut attempts = BTreeMap::new();
    for (id, step) in &past.steps {
        let used = if step.outcome.is_some() { step.attempt } else { step.attempt.saturating_sub(1) };
        attempts.insert((id.clone(), false), used);
    }
    for (id, number) in &past.undo_attempts {
        let running = past.steps.get(id).is_some_and(|step| step.undo == UndoState::Running);
        attempts.insert((id.clone(), true), if running { number.saturating_sub(1) } else { *number });
    }
    let number = past.segment.as_ref().and_then(|segment| segment.name.split('-').nth(1)?.parse().ok());
    (attempts, number.unwrap_or(0))
}

/// The number under which a step was begun and not ended before the run was taken up again; 0 for none.
fn open_attempt(past: Option<&HostState>, step: &PlannedStep) -> u32 {
    let state = past.and_then(|past| past.steps.get(&step.id)).filter(|state| state.outcome.is_none());
    state.map_or(0, |state| state.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretId;

    fn redactor() -> Redactor {
        Redactor::new(BTreeMap::from([(SecretId::new("token"), Secret::new("hunter2hunter2"))]))
    }

    #[test]
    fn a_secret_that_comes_in_two_pieces_is_not_shown() {
        let redactor = redactor();
        for cut in 0..20 {
            let mut last = LastLine::new(&redactor);
            let text = b"key hunter2hunter2\n";
            let shown =
                [&text[..cut.min(text.len())], &text[cut.min(text.len())..]].map(|part| last.take(Stream::Out, part));
            let shown: Vec<_> = shown.into_iter().flatten().collect();
            assert_eq!(shown, ["key [hidden]"], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_end_is_neither_shown_nor_kept() {
        let redactor = redactor();
        let mut last = LastLine::new(&redactor);
        for _ in 0..1000 {
            assert_eq!(last.take(Stream::Out, &[b'x'; 1000]), None);
        }
        assert!(last.begun.iter().flatten().map(Vec::len).sum::<usize>() <= 2 * LINE_SHOWN);
        assert_eq!(last.take(Stream::Out, b"\n"), None);
        assert_eq!(last.take(Stream::Out, b"short\n").as_deref(), Some("short"));
        // Of a flood in one piece the last line is found, and the streams do not mix.
        let flood = [vec![b'y'; 9000], b"\nlast\nhalf".to_vec()].concat();
        assert_eq!(last.take(Stream::Err, &flood).as_deref(), Some("last"));
        assert_eq!(last.take(Stream::Err, b" done\n").as_deref(), Some("half done"));
    }

    #[test]
    fn half_a_secret_beside_what_was_left_out_is_not_kept() {
        let captured =
            Captured { head: b"begin\nhunter2hun".to_vec(), tail: b"er2hunter2\nend\n".to_vec(), total: 900 };
        let kept = kept_lines(&captured, &Captured::default(), &redactor());
        assert_eq!(kept, ["begin", "[...]", "end"]);
    }
}
