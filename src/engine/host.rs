//! One host's turn: lease, baseline, gates, steps, after-checks, release of the lease.

mod ending;
mod incident;
mod moved;
mod receipts;
mod restore;
mod steps;
mod taken;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    HostEnd, Means, Mode, Stop,
    checks::{self, Patience},
    hold::Leaves,
    link::{Link, LinkError},
    look,
    manifest::Manifest,
    program::{Worker, hidden},
    renew::Gone,
};
use crate::{
    event::{Happening, HostState, Phase, RecordError},
    model::{Approval, Failure, FailureClass, HostName, HostOutcome, Span, Verdict, Version, Way},
    plan::{Asked, Baseline, HostPlan, Plan, PlannedCheck, Purpose, Reading},
    steps::Action,
};

pub(super) use receipts::{DoneStep, Ended, Proof, REFUSED};
pub use restore::{Backup, backup_of};
use steps::Steps;
pub(super) use taken::take_back;

/// The value of a fact that could not be read.
const UNKNOWN: &str = "unknown";

/// What came before a host's turn.
#[derive(Default)]
pub(super) struct Before {
    /// What the ledger knows of the host, where the run was taken up again.
    pub(super) past: Option<HostState>,
    /// How a person said that it goes on.
    pub(super) way: Option<Way>,
    pub(super) approvals: Vec<Approval>,
}

/// Takes one host's turn to its end. Only a failing ledger is an error.
pub(super) async fn run(
    plan: Arc<Plan>,
    host: HostName,
    wave: usize,
    mode: Mode,
    before: Before,
    means: Means,
) -> Result<(HostEnd, Site), RecordError> {
    let begun = Instant::now();
    means.recorder.record(Some(&host), Happening::HostStarted { wave }).await?;
    let Before { mut past, way, approvals } = before;
    if let Some(past) = &mut past {
        past.begin_anew();
    }
    if let (Some(past), Some(way)) = (&mut past, way) {
        means.recorder.record(Some(&host), Happening::WayChosen { way, by: means.owner.clone() }).await?;
        past.way = Some(way);
    }
    // What was saved ahead and is too old by now is saved again.
    let fresh = plan.hosts[&host].without_stale((means.now)());
    let host_plan = fresh.as_ref().unwrap_or(&plan.hosts[&host]);
    let mut turn = Turn {
        plan: &plan,
        host: host.clone(),
        of: host_plan,
        means: &means,
        before: None,
        after: None,
        done: Vec::new(),
        aside: Vec::new(),
        head_before: None,
        head_after: None,
        restored: false,
        took_itself_back: false,
        approvals,
        past,
        unverified: false,
    };
    let mut site = Site::default();
    let (outcome, failure) = match turn.take(mode, wave, &mut site).await {
        Ok(ended) => ended,
        // It was not looked for any longer because a person wants to leave.
        Err(Stopped::Ended(HostOutcome::Unreachable, failure)) if means.control.stop_now() == Stop::Detach => {
            (HostOutcome::Interrupted, failure)
        }
        Err(Stopped::Ended(outcome, failure)) => (outcome, failure),
        Err(Stopped::Ledger(error)) => return Err(error),
    };
    let what = Happening::HostFinished {
        outcome,
        failure: failure.clone(),
        before: turn.before,
        after: turn.after,
        took: since(begun),
    };
    means.recorder.record(Some(&host), what).await?;
    Ok((HostEnd { host, outcome, failure, unverified: turn.unverified }, site))
}

/// What is still open when a host's turn ends, until its end is in the ledger.
#[derive(Default)]
pub(super) struct Site {
    link: Option<Link>,
    worker: Option<Worker>,
    /// What the run leaves on the host; `None` while there is something to go on with.
    leaves: Option<Leaves>,
}

impl Site {
    /// Closes the run on the host where it may be, and closes the link.
    pub(super) async fn leave(self) {
        let Some(link) = self.link else { return };
        if let (Some(worker), Some(leaves)) = (self.worker, self.leaves) {
            worker.close(&link, leaves).await;
        }
        link.close().await;
    }
}

/// How a turn ends whose lease is not ours any more.
fn without_lease(gone: Gone, under_way: Option<String>) -> (HostOutcome, Option<Failure>) {
    let Gone { outcome, mut failure } = gone;
    let Some(step) = under_way else { return (outcome, Some(failure)) };
    failure.class = FailureClass::Unknown;
    let failure = failure.because(format!("step `{step}` was under way, and may or may not have happened"));
    (HostOutcome::Unknown, Some(failure))
}

/// Time since `begun`, in whole milliseconds.
pub(super) fn since(begun: Instant) -> Span {
    Span(Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

/// Why a host's turn ended before its time.
pub(super) enum Stopped {
    Ledger(RecordError),
    Ended(HostOutcome, Option<Failure>),
}

impl From<RecordError> for Stopped {
    fn from(error: RecordError) -> Self {
        Self::Ledger(error)
    }
}

impl From<LinkError> for Stopped {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Ledger(error) => Self::Ledger(error),
            LinkError::Failed(failure) => Self::Ended(outcome_unreached(&failure), Some(failure)),
        }
    }
}

/// A host that could not be reached is a class of its own; one that refused us has failed.
pub(super) fn outcome_unreached(failure: &Failure) -> HostOutcome {
    match failure.class {
        FailureClass::Refused => HostOutcome::Refused,
        FailureClass::Unknown => HostOutcome::Unknown,
        class if class.is_unreachable() => HostOutcome::Unreachable,
        _ => HostOutcome::Failed,
    }
}

/// One host's turn in a run.
pub(super) struct Turn<'a> {
    pub(super) plan: &'a Plan,
    pub(super) host: HostName,
    pub(super) of: &'a HostPlan,
    pub(super) means: &'a Means,
    before: Option<Version>,
    after: Option<Version>,
    /// Steps that changed the host, or may have, in order.
    pub(super) done: Vec<DoneStep>,
    /// Steps beside the plan's own that ended: of an incident, of a restore.
    aside: Vec<incident::Aside>,
    /// Head of the data's migrations before the steps, and after them; `None` where it cannot be read.
    head_before: Option<String>,
    head_after: Option<String>,
    /// The run's own backup was put back.
    restored: bool,
    /// A step was not confirmed in time, and the host took it back by itself.
    took_itself_back: bool,
    /// What a person approved for the host.
    approvals: Vec<Approval>,
    /// What the ledger knows of the host, where the run was taken up again.
    past: Option<HostState>,
    /// A person was to look at the host, and nobody has answered.
    pub(super) unverified: bool,
}

impl Turn<'_> {
    /// Takes the turn. What is still open afterwards is left in `site`.
    async fn take(
        &mut self,
        mode: Mode,
        wave: usize,
        site: &mut Site,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        if let Some(refused) = self.refused().filter(|(asked, _)| *asked == Asked::Yes) {
            return Ok((HostOutcome::Refused, Some(refused.1)));
        }
        if mode == Mode::Apply
            && let Some(unread) = self.unread()
        {
            return Ok((HostOutcome::Refused, Some(unread)));
        }
        let link = Link::open(&self.host, self.of, self.means).await.map_err(|error| match error {
            // In the middle of its steps, it is caught up like one that cannot be reached.
            LinkError::Failed(failure) if self.past.is_some() && failure.class == FailureClass::Authentication => {
                Stopped::Ended(HostOutcome::Unreachable, Some(failure))
            }
            error => error.into(),
        })?;
        let link = site.link.insert(link);
        if let Some((_, refused)) = self.refused() {
            return Ok((HostOutcome::Refused, Some(refused)));
        }
        let ended = match mode {
            Mode::Apply => {
                let manifest = Manifest::of(self.plan, &self.host, wave).to_text(self.means);
                let past = self.past.as_ref();
                let worker = tokio::select! {
                    biased;
                    worker = Worker::begin(&self.host, self.of, manifest, past, link, self.means) => worker,
                    () = self.means.control.asked_for(Stop::Detach) => Err(Stopped::Ended(HostOutcome::Interrupted, None)),
                };
                match worker {
                    Ok(worker) => {
                        let worker = site.worker.insert(worker);
                        let ended = self.apply(worker, link).await;
                        site.leaves = self.leaves(&ended, worker.has_sent());
                        ended
                    }
                    Err(stopped) => Err(stopped),
                }
            }
            Mode::Look { diff } => {
                let means = self.means;
                tokio::select! {
                    biased;
                    looked = self.look(link, diff) => looked,
                    () = means.control.asked_for(Stop::Detach) => Ok((HostOutcome::Interrupted, None)),
                }
            }
        };
        let hide = |failure: Option<Failure>| failure.map(|failure| hidden(failure, &link.redactor));
        match ended {
            Ok((outcome, failure)) => Ok((outcome, hide(failure))),
            Err(Stopped::Ended(outcome, failure)) => Err(Stopped::Ended(outcome, hide(failure))),
            Err(error) => Err(error),
        }
    }

    async fn look(&mut self, link: &mut Link, diff: bool) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let reading = self.read(link).await?;
        self.before = reading.installed.version().cloned();
        self.after.clone_from(&self.before);
        if let Some(moved) = self.moved(&reading) {
            return Ok((HostOutcome::Refused, Some(moved)));
        }
        let seen = look::steps(&self.host, self.of, link, diff, self.means).await?;
        Ok(match seen.failure {
            Some(failure) => (HostOutcome::Failed, Some(failure)),
            None if seen.changes => (HostOutcome::Done, None),
            None => (HostOutcome::Unchanged, None),
        })
    }

    async fn apply(&mut self, worker: &mut Worker, link: &mut Link) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let (gone, means) = (worker.watch(), self.means);
        let ended = tokio::select! {
            biased;
            ended = self.with_lease(worker, link) => ended,
            // Nothing of ours may go on beside another controller: checks and the controller's own steps included.
            gone = gone => Ok(without_lease(gone, worker.under_way())),
            // What can say more of where it was left says so first; a check that hangs has nothing to say.
            () = means.control.asked_for(Stop::Detach) => {
                let what = match worker.under_way() {
                    Some(step) => format!("left in the middle of step `{step}`"),
                    None => "left between two steps".to_owned(),
                };
                Ok((HostOutcome::Interrupted, Some(Failure::new(FailureClass::Controller, what))))
            }
        };
        let left =
            matches!(&ended, Ok((HostOutcome::Interrupted, _)) | Err(Stopped::Ended(HostOutcome::Interrupted, _)));
        if left && self.means.control.stop_now() == Stop::Detach {
            // What goes on there has the lease for as long as it runs; then it runs out by itself, unless
            // `resume` takes it up before. Waiting for that is not what a person asked for.
            return ended;
        }
        worker.release(link).await;
        ended
    }

    /// What the run leaves on the host. Only one where nothing is left to go on with may be closed there; what
    /// the undos of a finished upgrade need stays for its rollback.
    fn leaves(&self, ended: &Result<(HostOutcome, Option<Failure>), Stopped>, has_sent: bool) -> Option<Leaves> {
        use HostOutcome::{Done, Failed, Held, Parked, Refused, Stuck, Unchanged, Undone};
        match ended {
            // Nothing of a prefetch is taken back later.
            Ok((Done, _)) if self.plan.purpose == Purpose::Prefetch => Some(Leaves::Nothing),
            Ok((Done, _)) => Some(Leaves::Undos),
            Ok((Undone, _)) => Some(Leaves::Note(Undone)),
            // Before anything was sent there is nothing that could be done a second time.
            Ok((outcome @ (Failed | Held | Stuck), _)) if has_sent => Some(Leaves::All(*outcome)),
            Ok((Unchanged | Parked, _)) => Some(Leaves::Nothing),
            Ok((Refused, _)) if self.done.is_empty() => Some(Leaves::Nothing),
            _ => None,
        }
    }

    async fn with_lease(
        &mut self,
        worker: &mut Worker,
        link: &mut Link,
    ) -> Result<(HostOutcome, Option<Failure>), Stopped> {
        let mut begun_before = false;
        if let Some(past) = &self.past {
            self.before.clone_from(&past.before);
            self.head_before = past.facts.get("migration-before").cloned().filter(|head| head != UNKNOWN);
            self.done = self.stood_before(past);
            // A host that was taken back, or never came to its steps, begins anew: baseline and gates included.
            let stands = !self.done.is_empty() && past.outcome != Some(HostOutcome::Undone);
            begun_before = stands || past.is_in_the_middle();
            if let Some(ended) = self.on_its_way(worker, link).await? {
                return Ok(ended);
            }
        }
        if !begun_before && let Some(ended) = self.may_begin(link).await? {
            return Ok(ended);
        }

        let failure = match self.steps(worker, link).await? {
            Steps::Interrupted => {
                let failure = (!self.done.is_empty()).then(|| {
                    Failure::new(
                        FailureClass::Controller,
                        format!("stopped after step {} of {}", self.done_count(), self.of.steps.len()),
                    )
                });
                return Ok((HostOutcome::Interrupted, failure));
            }
            Steps::Unknown(failure) => return Ok((HostOutcome::Unknown, Some(failure))),
            Steps::Fenced(failure) => return Ok((HostOutcome::Refused, Some(failure))),
            Steps::Failed(failure) => failure,
            Steps::AllDone { changed } => {
                self.after = self.read_version(link).await?;
                if let Some(migration) = &self.of.migration {
                    self.head_after = self.read_fact(migration, "migration", link).await?;
                }
                match self.prove(link).await? {
                    None => return Ok((if changed { HostOutcome::Done } else { HostOutcome::Unchanged }, None)),
                    Some(failure) => failure,
                }
            }
        };
        self.failed(worker, link, failure).await
    }

    /// Reads the version, the baseline and the gates. Returns how the turn ends, when it may not begin.
    async fn may_begin(&mut self, link: &mut Link) -> Result<Option<(HostOutcome, Option<Failure>)>, Stopped> {
        let reading = self.read(link).await?;
        self.before = reading.installed.version().cloned();
        if let Some(moved) = self.moved(&reading) {
            return Ok(Some((HostOutcome::Refused, Some(moved))));
        }
        if let Some(migration) = &self.of.migration {
            self.head_before = self.read_fact(migration, "migration-before", link).await?;
        }
        if let Some(failure) = self.unapproved() {
            return Ok(Some((HostOutcome::Refused, Some(failure))));
        }
        if self.of.rollback.is_some() {
            // It is taken back because it is not well, so it is not asked whether it is.
            return Ok(None);
        }
        let baseline: Vec<_> = self.of.checks.iter().filter(|check| !check.after_only).collect();
        let red = self.check(link, baseline, Phase::Baseline, Patience::Once).await?;
        if let Some(failure) = red.filter(|_| self.plan.rollout.baseline == Baseline::Park) {
            let hint = "the host was red before anything was changed: mend it, then `longshore retry --failed`";
            return Ok(Some((HostOutcome::Parked, Some(failure.hint(hint)))));
        }
        let gates = self.of.gates.iter().collect();
        let closed = self.check(link, gates, Phase::Gate, Patience::AsPlanned).await?;
        Ok(closed.map(|failure| (HostOutcome::Parked, Some(failure))))
    }

    fn done_count(&self) -> usize {
        self.done.last().map_or(0, |step| step.index + 1)
    }

    /// Proves that the host is what the plan wanted: its version and its health.
    async fn prove(&mut self, link: &mut Link) -> Result<Option<Failure>, Stopped> {
        let brings_there = self.plan.purpose != Purpose::Prefetch && !self.of.version.is_empty();
        if let Some(wanted) = self.plan.wanted.as_ref().filter(|_| brings_there) {
            let is = self.after.as_ref();
            if is.and_then(|is| is.compare(wanted)) != Some(std::cmp::Ordering::Equal) {
                let seen = is.map_or_else(|| "its version is unknown".to_owned(), |is| format!("it runs {is}"));
                return Ok(Some(Failure::new(FailureClass::Check, format!("wanted {wanted}, but {seen}"))));
            }
        }
        if let Some(to) = self.of.rollback.as_ref().and_then(|back| back.to.as_ref())
            && !self.of.version.is_empty()
            && self.after.as_ref() != Some(to)
        {
            let seen = self.after.as_ref().map_or("unknown", Version::as_str);
            let what = format!("it should be back at {to}, but its version is {seen}");
            return Ok(Some(Failure::new(FailureClass::Check, what)));
        }
        let phase = if self.of.rollback.is_some() { Phase::Unwound } else { Phase::After };
        self.check(link, self.of.checks.iter().collect(), phase, Patience::AsPlanned).await
    }

    async fn check(
        &mut self,
        link: &mut Link,
        checks: Vec<&PlannedCheck>,
        phase: Phase,
        patience: Patience,
    ) -> Result<Option<Failure>, Stopped> {
        let round = checks::make(&self.host, link, checks, phase, patience, self.means).await?;
        // For want of an answer nothing is taken back: the check stays unverified, and the table says so.
        self.unverified |= round.verdict() == Verdict::Unverified;
        if matches!(round.verdict(), Verdict::Pass | Verdict::Unverified) {
            return Ok(None);
        }
        let (class, what) = match phase {
            Phase::Gate => (FailureClass::Gate, "gate"),
            Phase::Baseline => (FailureClass::Gate, "red before we began:"),
            Phase::After | Phase::Unwound | Phase::Soak | Phase::Control | Phase::Sweep => {
                (FailureClass::Check, "check")
            }
        };
        Ok(round.failure(class, what))
    }

    /// Reads a fact as the role says, and records it. `None`: not known.
    async fn read_fact(&self, action: &Action, fact: &str, link: &mut Link) -> Result<Option<String>, Stopped> {
        Ok(super::ask::read_fact(&self.host, self.of, (action, fact), link, self.means).await?)
    }

    async fn read_version(&self, link: &mut Link) -> Result<Option<Version>, Stopped> {
        Ok(self.read(link).await?.installed.version().cloned())
    }

    async fn read(&self, link: &mut Link) -> Result<Reading, Stopped> {
        Ok(super::ask::read(&self.host, self.of, link, self.means).await?)
    }
}
