//! What one host went through, folded from the events that name it.

use indexmap::IndexMap;
use jiff::Timestamp;

use super::{
    outage::Outage,
    refusal::Refusal,
    step::{SentSegment, StepState, UndoState},
};
use crate::{
    event::{Happening, HostLine, Phase, SentStep},
    model::{
        Approval, Effect, ExitCode, Failure, FailureClass, HostName, HostOutcome, RunNumber, Span, StepId, StepOutcome,
        Verdict, Version, Way,
    },
};

/// What is known of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    /// Index and name of its wave.
    pub wave: usize,
    pub wave_name: String,
    pub profile: String,
    /// What it is doing, as data.
    pub activity: Activity,
    /// Steps planned. Never less than the steps seen.
    pub steps_total: usize,
    /// In the order in which they began.
    pub steps: IndexMap<StepId, StepState>,
    /// The latest verdict of each check in each phase; the check made last stands last.
    pub checks: Vec<CheckState>,
    pub facts: IndexMap<String, String>,
    pub address: Option<String>,
    pub user: Option<String>,
    pub wanted: Option<Version>,
    pub before: Option<Version>,
    pub after: Option<Version>,
    /// The identity of the host, by the user whose lease it gave; none: there is nothing it has to remember.
    pub host_ids: IndexMap<Option<String>, String>,
    /// Its turn came to an end before, and there it may say so.
    pub came_to_end: bool,
    /// The users whose lease it gave since: there it does not say so any more.
    pub leased: Vec<Option<String>>,
    /// When its window opens, where it waits for that, and why.
    pub deferred: Option<(Timestamp, String)>,
    /// The time in which its product is down.
    pub downtime: Outage,
    /// The segment sent last: what the host may still be working on.
    pub segment: Option<SentSegment>,
    /// Number of the last attempt at taking each step back.
    pub undo_attempts: IndexMap<StepId, u32>,
    /// What the last soak said of it.
    pub soak: Option<SoakState>,
    /// The ad-hoc command, where there was one.
    pub command: Option<CommandState>,
    /// What began the latest incident: the failure after data was changed.
    pub incident: Option<Failure>,
    /// The incident's steps have not come to their end.
    pub incident_open: bool,
    /// How many incidents there were.
    pub incidents: u32,
    /// When the latest began there was nothing that a restore could put back.
    pub no_restore: bool,
    /// How a person said that the held host goes on, until it came to an end that way.
    pub way: Option<Way>,
    pub approvals: Vec<Approval>,
    /// What began the unwinding.
    pub unwound_for: Option<Failure>,
    pub outcome: Option<HostOutcome>,
    /// The later run that took the finished upgrade back. No event of this run tells: whoever knows the other sets it.
    pub taken_back: Option<RunNumber>,
    /// Why the outcome is not a good one.
    pub failure: Option<Failure>,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    pub took: Option<Span>,
    /// When the run first left it without what was wanted: its turn ended so, or the run did before its turn came. However
    /// often it was tried since.
    pub left_behind: Option<Timestamp>,
}

/// What a soak said of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoakState {
    pub verdict: Verdict,
    /// Why it is not `pass`.
    pub seen: String,
}

/// What a host is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// Its turn has not come.
    Waiting,
    Connecting,
    /// Connected, between two things.
    Ready,
    /// The last check made; the next may be on its way.
    Checking {
        phase: Phase,
        check: String,
    },
    Step {
        step: StepId,
        since: Timestamp,
    },
    Unwinding,
    Undo {
        step: StepId,
        since: Timestamp,
    },
    /// The link was lost; what it did before may go on without us.
    Reconnecting {
        since: Timestamp,
    },
    Finished,
}

/// The latest verdict of one check in one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckState {
    pub phase: Phase,
    pub name: String,
    pub verdict: Verdict,
    pub seen: String,
    pub took: Span,
}

/// How an ad-hoc command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandState {
    pub status: Option<u32>,
    pub signal: Option<String>,
    pub out: String,
    pub err: String,
    pub total: u64,
    /// Bytes of `total` that were not kept.
    pub left_out: u64,
    pub took: Span,
}

/// The health of a host, from the checks of the latest phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health<'a> {
    pub phase: Phase,
    pub passed: usize,
    pub total: usize,
    /// The first check that did not pass.
    pub first_bad: Option<&'a CheckState>,
}

impl HostState {
    pub(super) fn new(wave: usize, wave_name: &str, line: &HostLine) -> Self {
        Self {
            wave,
            wave_name: wave_name.to_owned(),
            profile: line.profile.clone(),
            activity: Activity::Waiting,
            steps_total: line.steps,
            steps: IndexMap::new(),
            checks: Vec::new(),
            facts: IndexMap::new(),
            address: None,
            user: None,
            wanted: line.wanted.clone(),
            before: line.version.clone(),
            after: None,
            host_ids: IndexMap::new(),
            came_to_end: false,
            leased: Vec::new(),
            deferred: None,
            downtime: Outage::new(line),
            segment: None,
            undo_attempts: IndexMap::new(),
            soak: None,
            command: None,
            incident: None,
            incident_open: false,
            incidents: 0,
            no_restore: false,
            way: None,
            approvals: Vec::new(),
            unwound_for: None,
            outcome: None,
            taken_back: None,
            failure: None,
            started: None,
            ended: None,
            took: None,
            left_behind: None,
        }
    }

    /// Counts the steps that ended well, skipped ones included, and were not taken back.
    pub fn steps_done(&self) -> usize {
        let done = |step: &&StepState| {
            step.part.is_main()
                && step.outcome.as_ref().is_some_and(StepOutcome::is_good)
                && step.undo != UndoState::Undone
        };
        self.steps.values().filter(done).count()
    }

    /// Counts the steps that ended well, taken back or not: how far the host came.
    pub fn steps_reached(&self) -> usize {
        let good = |step: &&StepState| step.part.is_main() && step.outcome.as_ref().is_some_and(StepOutcome::is_good);
        self.steps.values().filter(good).count()
    }

    /// Returns the step that runs, with its position from 1.
    pub fn current_step(&self) -> Option<(usize, &StepState)> {
        let (Activity::Step { step, .. } | Activity::Undo { step, .. }) = &self.activity else { return None };
        self.steps.get_full(step).map(|(index, _, state)| (index + 1, state))
    }

    /// Summarises the checks of the latest phase; gates count only where nothing else was checked.
    pub fn health(&self) -> Option<Health<'_>> {
        // What was seen of it as one of the control group says nothing about its own turn.
        let own = || self.checks.iter().rev().filter(|check| check.phase != Phase::Control);
        let latest = own().find(|check| check.phase != Phase::Gate).or_else(|| own().next())?;
        let checks = || self.checks.iter().filter(|check| check.phase == latest.phase);
        Some(Health {
            phase: latest.phase,
            passed: checks().filter(|check| check.verdict == Verdict::Pass).count(),
            total: checks().count(),
            first_bad: checks().find(|check| check.verdict != Verdict::Pass),
        })
    }

    /// Returns the version the host has as far as is known: read after the run, else before it.
    pub fn version(&self) -> Option<&str> {
        let read = || self.facts.get("version").map(String::as_str);
        self.after.as_ref().map(Version::as_str).or_else(read).or(self.before.as_ref().map(Version::as_str))
    }

    /// The first check that only a person can make and nobody has made, once the host was changed.
    pub fn unverified(&self) -> Option<&CheckState> {
        self.checks.iter().find(|check| check.phase == Phase::After && check.verdict == Verdict::Unverified)
    }

    /// What its sweep and its ad-hoc command say about the exit code.
    pub(super) fn exit_of_probes(&self) -> ExitCode {
        let red = self.checks.iter().any(|check| check.phase == Phase::Sweep && check.verdict != Verdict::Pass);
        let failed = self.command.as_ref().is_some_and(|command| command.status != Some(0));
        if red || failed { ExitCode::HostFailed } else { ExitCode::Good }
    }

    /// Opens the host's turn again. What was done stands; an unwinding that had not ended goes on.
    pub(super) fn take_up(&mut self) {
        if self.unwinding().is_none() {
            self.unwound_for = None;
        }
        if let Some(segment) = &mut self.segment {
            segment.taken_up = true;
        }
        if self.outcome.is_some() {
            self.steps.values_mut().for_each(|step| step.is_weighed = true);
        }
        self.begin_anew();
        self.outcome = None;
        self.failure = None;
        self.deferred = None;
        self.started = None;
        self.ended = None;
        self.took = None;
        self.soak = None;
        self.activity = Activity::Waiting;
    }

    /// Why the host was being taken back when its turn was cut off; `None` where that had come to its end.
    pub fn unwinding(&self) -> Option<&Failure> {
        use HostOutcome::{Interrupted, Refused, Stuck, Unknown, Unreachable};
        let cut_off = matches!(self.outcome, None | Some(Unreachable | Interrupted | Unknown | Stuck | Refused));
        self.unwound_for.as_ref().filter(|_| cut_off)
    }

    /// Whether a step was sent or begun, and nobody has said how it ended.
    pub fn is_in_the_middle(&self) -> bool {
        let ended = |sent: &SentStep| {
            let state = self.steps.get(&sent.step).filter(|state| state.attempt >= sent.attempt);
            state.is_some_and(|state| !matches!(state.outcome, None | Some(StepOutcome::Unknown { .. })))
        };
        let open = |step: &StepState| matches!(step.outcome, None | Some(StepOutcome::Unknown { .. }));
        let sent = self.segment.iter().flat_map(|segment| &segment.steps).filter(|sent| !sent.undo);
        // Of a segment only its first open step can be under way, and only while none before it failed.
        let failed = self.segment.iter().flat_map(|segment| &segment.steps).any(|sent| {
            self.steps
                .get(&sent.step)
                .and_then(|state| state.outcome.as_ref())
                .is_some_and(|outcome| !outcome.is_good())
        });
        self.steps.values().any(open) || (!failed && sent.into_iter().any(|sent| !ended(sent)))
    }

    /// Whether the host is between where it was and where it shall be: a step stands, runs, or is being taken back.
    pub fn is_under_way(&self) -> bool {
        let finished = self.outcome.is_some_and(HostOutcome::is_good);
        !finished
            && (self.unwinding().is_some() || self.is_in_the_middle() || self.steps.values().any(StepState::stands))
    }

    /// Whether `resume` takes the host up: its turn was cut off, or has not come.
    pub fn goes_on(&self) -> bool {
        match self.outcome {
            None | Some(HostOutcome::Interrupted | HostOutcome::NotStarted) => true,
            // It went away in the middle of its steps.
            Some(HostOutcome::Unreachable | HostOutcome::Unknown) => self.has_begun(),
            Some(_) => false,
        }
    }

    /// Whether anything was sent to the host or begun on it.
    pub fn has_begun(&self) -> bool {
        self.segment.is_some() || !self.steps.is_empty()
    }

    pub(super) fn start(&mut self, name: &HostName, at: Timestamp) -> Result<(), Refusal> {
        if self.outcome.is_some() {
            return Err(Refusal::HostFinished(name.clone()));
        }
        if self.started.is_some() {
            return Err(Refusal::HostBegunTwice(name.clone()));
        }
        self.started = Some(at);
        self.deferred = None;
        self.activity = Activity::Connecting;
        Ok(())
    }

    /// Folds in an event of this host. Checks everything before it changes anything.
    pub(super) fn absorb(&mut self, name: &HostName, at: Timestamp, what: &Happening) -> Result<(), Refusal> {
        if let Happening::HostFinished { outcome, failure, before, after, took } = what {
            return self.finish(name, at, *outcome, failure.as_ref(), (before.as_ref(), after.as_ref()), *took);
        }
        if let Happening::HostDeferred { reason, until } = what {
            if self.started.is_some() || self.outcome.is_some() {
                return Err(Refusal::HostBegunTwice(name.clone()));
            }
            self.deferred = Some((*until, reason.clone()));
            return Ok(());
        }
        // A host whose turn has not come may be looked at as one that does not have the release.
        let as_control = matches!(what, Happening::CheckFinished { phase: Phase::Control, .. })
            || matches!(what, Happening::LinkLost { .. } | Happening::LinkRestored { .. });
        if let Happening::Approved { approval } = what {
            // Approved before its turn comes.
            self.approvals.push(approval.clone());
            return Ok(());
        }
        if self.started.is_none() && !as_control {
            return Err(Refusal::HostNotBegun(name.clone()));
        }
        // A finished host is still watched in the soak, and may be taken back with its wave.
        let afterwards = match what {
            Happening::CheckFinished { phase, .. } => matches!(phase, Phase::Soak | Phase::Control),
            Happening::UnwindStarted { .. } => self.outcome.is_some_and(HostOutcome::is_good),
            Happening::Connected { .. }
            | Happening::FactRead { .. }
            | Happening::LinkLost { .. }
            | Happening::LinkRestored { .. } => true,
            _ => false,
        };
        if self.outcome.is_some() && !afterwards {
            return Err(Refusal::HostFinished(name.clone()));
        }
        match what {
            Happening::Connected { address, user, .. } => {
                self.address = Some(address.clone());
                self.user = Some(user.clone());
                self.rest();
            }
            Happening::LeaseTaken { user, host_id } => {
                self.host_ids.insert(user.clone(), host_id.clone());
                self.leased.push(user.clone());
            }
            Happening::FactRead { fact, value } => {
                self.facts.insert(fact.clone(), value.clone());
            }
            Happening::CheckFinished { phase, check, verdict, seen, took } => {
                self.checks.retain(|known| known.phase != *phase || known.name != *check);
                self.checks.push(CheckState {
                    phase: *phase,
                    name: check.clone(),
                    verdict: *verdict,
                    seen: seen.clone(),
                    took: *took,
                });
                if self.outcome.is_none() && matches!(self.activity, Activity::Ready | Activity::Checking { .. }) {
                    self.activity = Activity::Checking { phase: *phase, check: check.clone() };
                }
            }
            Happening::SegmentSent { segment, steps } => self.send_steps(at, segment, steps),
            Happening::StepFound { step, done, undo: true, .. } => self.find_undo(name, step, *done)?,
            Happening::StepFound { step, attempt, done, evidence, .. } => {
                self.find_step(name, (step, *attempt), *done, evidence)?;
            }
            Happening::StepStarted { effect, .. } => {
                self.start_step(name, at, what)?;
                if *effect != Effect::Read {
                    // Whatever version an earlier turn ended with, nobody knows it any more.
                    self.after = None;
                }
            }
            Happening::StepFinished { .. } => self.finish_step(name, at, what)?,
            Happening::UnwindStarted { failure } => {
                if self.unwound_for.is_some() {
                    return Err(Refusal::Unwinding(name.clone()));
                }
                self.unwound_for = Some(failure.clone());
                self.outcome = None;
                self.ended = None;
                self.activity = Activity::Unwinding;
            }
            Happening::IncidentStarted { failure, no_restore } => {
                self.begin_incident(name, failure)?;
                self.no_restore = *no_restore;
            }
            Happening::WayChosen { way, .. } => self.way = Some(*way),
            Happening::UndoStarted { step, .. } => self.start_undo(name, at, step)?,
            Happening::UndoFinished { step, failure, part, .. } => {
                self.finish_undo(name, at, step, *part, failure.as_ref())?;
            }
            Happening::LinkLost { .. } => {
                if self.started.is_some() && self.outcome.is_none() {
                    self.activity = Activity::Reconnecting { since: at };
                }
            }
            Happening::LinkRestored { .. } => self.resume(),
            Happening::CommandFinished { status, signal, out, err, total, left_out, took } => {
                self.command = Some(CommandState {
                    status: *status,
                    signal: signal.clone(),
                    out: out.clone(),
                    err: err.clone(),
                    total: *total,
                    left_out: *left_out,
                    took: *took,
                });
                self.rest();
            }
            // Those of the run as a whole, and those handled above.
            Happening::RunStarted { .. }
            | Happening::Approved { .. }
            | Happening::RunResumed { .. }
            | Happening::RunRecovered { .. }
            | Happening::WaveStarted { .. }
            | Happening::HostStarted { .. }
            | Happening::HostFinished { .. }
            | Happening::HostDeferred { .. }
            | Happening::WavePromoted { .. }
            | Happening::Paused { .. }
            | Happening::Unpaused { .. }
            | Happening::WindowsOverridden { .. }
            | Happening::SoakStarted { .. }
            | Happening::SoakFinished { .. }
            | Happening::HostSoaked { .. }
            | Happening::WaveFinished { .. }
            | Happening::Halted { .. }
            | Happening::Interrupted { .. }
            | Happening::RunFinished { .. }
            | Happening::Unknown => {}
        }
        Ok(())
    }

    /// Whether nothing is left on the host to go on with when its turn ends so: it may forget the run.
    fn may_be_forgotten(&self, outcome: HostOutcome) -> bool {
        use HostOutcome::{Done, Parked, Refused, Unchanged, Undone};
        let holds = |step: &StepState| {
            let half = step
                .outcome
                .as_ref()
                .is_none_or(|outcome| outcome.failure().is_some_and(|failure| failure.class != FailureClass::Refused));
            step.undo != UndoState::Undone && (step.stands() || half || !step.receipt.is_empty())
        };
        match outcome {
            Done | Unchanged | Undone | Parked => true,
            Refused => !self.steps.values().any(holds),
            _ => false,
        }
    }

    fn finish(
        &mut self,
        name: &HostName,
        at: Timestamp,
        outcome: HostOutcome,
        failure: Option<&Failure>,
        (before, after): (Option<&Version>, Option<&Version>),
        took: Span,
    ) -> Result<(), Refusal> {
        if self.outcome.is_some() {
            return Err(Refusal::HostFinished(name.clone()));
        }
        if self.started.is_none() && outcome.is_good() {
            return Err(Refusal::OutcomeWithoutTurn { host: name.clone(), outcome });
        }
        if outcome == HostOutcome::Undone && self.way == Some(Way::Restore) {
            self.data_is_back();
        }
        self.end_way(outcome);
        if self.may_be_forgotten(outcome) {
            self.host_ids.clear();
            self.steps.values_mut().for_each(|step| step.is_kept = false);
        }
        self.outcome = Some(outcome);
        self.came_to_end = true;
        self.left_behind = if outcome.is_good() { None } else { self.left_behind.or(Some(at)) };
        self.leased.clear();
        self.failure = failure.cloned().or_else(|| self.unwound_for.clone());
        self.before = before.cloned().or(self.before.take());
        self.after = after.cloned().or(self.after.take());
        if outcome.is_good() || outcome == HostOutcome::Undone {
            // Its checks have proven that it is up.
            self.downtime.up(at);
        }
        self.ended = Some(at);
        self.took = Some(took);
        self.activity = Activity::Finished;
        Ok(())
    }

    /// Goes back to the step that still runs, where there is one.
    pub(super) fn resume(&mut self) {
        if self.outcome.is_some() || self.started.is_none() {
            return;
        }
        let undoing = self.steps.iter().rev().find(|(_, step)| step.undo == UndoState::Running);
        let running = || self.steps.iter().rev().find(|(_, step)| step.outcome.is_none());
        self.activity = match (undoing, &self.unwound_for) {
            (Some((id, step)), _) => Activity::Undo { step: id.clone(), since: step.started },
            (None, Some(_)) => Activity::Unwinding,
            (None, None) => {
                running().map_or(Activity::Ready, |(id, step)| Activity::Step { step: id.clone(), since: step.started })
            }
        };
    }

    fn rest(&mut self) {
        if self.outcome.is_none() && matches!(self.activity, Activity::Connecting | Activity::Reconnecting { .. }) {
            self.resume();
        }
    }
}
