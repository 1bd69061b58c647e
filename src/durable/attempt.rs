//! The words of the protocol: attempts, segments, and what is told of them.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    model::{KeptBy, Receipt, RunId, StepId},
    transport::{Captured, Stream},
};

/// Names one install on its host: all who change that install meet in this name's lease.
///
/// Made of what identifies the install on the machine (its directory, unit or app), not of what an
/// inventory calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstallKey(String);

impl InstallKey {
    /// Digests the words that identify the install.
    pub fn of(words: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for word in words {
            hasher.update((word.len() as u64).to_be_bytes());
            hasher.update(word.as_bytes());
        }
        let mut key = String::with_capacity(32);
        for byte in hasher.finalize().iter().take(16) {
            // Writing to a text cannot fail.
            let _ = write!(key, "{byte:02x}");
        }
        Self(key)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which of a step's programs an attempt runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The look and the act.
    Act,
    Undo,
}

/// One intention to run a part of a step. Its number is an idempotency key, not a counter of tries:
/// the same attempt may be sent any number of times and starts at most once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt {
    pub step: StepId,
    pub part: Part,
    /// Counts from 1.
    pub number: u32,
}

impl Attempt {
    pub fn act(step: StepId, number: u32) -> Self {
        Self { step, part: Part::Act, number }
    }

    pub fn undo(step: StepId, number: u32) -> Self {
        Self { step, part: Part::Undo, number }
    }

    /// The attempt's directory on the host, below the run's.
    pub(super) fn directory(&self) -> String {
        match self.part {
            Part::Act => format!("{}.{}", self.step, self.number),
            Part::Undo => format!("{}.undo{}", self.step, self.number),
        }
    }
}

/// The name of an attempt's work outside of its processes: `$LONGSHORE_WORK`.
///
/// Good for a container's label, the name of a unit, `PGAPPNAME` (63 bytes); no other attempt of any run has it.
pub fn work_label(run: &RunId, attempt: &Attempt) -> String {
    // A step's id begins with its position, so its beginning is unique in the run.
    let step: String = attempt.step.as_str().chars().take(20).collect();
    let number = attempt.directory();
    let number = number.rsplit('.').next().unwrap_or_default();
    let run: String = run.as_str().chars().take(30).collect();
    format!("{run}.{}.{number}", step.trim_end_matches('-'))
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.directory())
    }
}

/// Consecutive steps of a host that travel as one program and run without the controller.
#[derive(Debug, Clone)]
pub struct Segment {
    /// `[a-z0-9-]{1,64}`. New for every launch, also when the same attempts are sent again.
    pub id: String,
    pub steps: Vec<SegmentStep>,
}

/// Work that a step starts outside of its own processes, where no lock shows that it lives.
///
/// Both are programs for `sh`, which see `$LONGSHORE_WORK` and the step's folder, and no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// Exit 0: some of it lives; 1: none does; anything else cannot tell, and counts as living.
    pub alive: String,
    /// Stops it. May run more than once.
    pub stop: String,
}

/// The way back of a step that may cut the controller off, armed on the host before the step starts.
///
/// Unless [`HostSide::confirm`](super::HostSide::confirm) comes in time the host stops what is left of the step and
/// runs the undo, as an attempt of its own in the segment [`watcher_of`](super::watcher_of) the step's. A step with one
/// travels alone.
///
/// It survives a restart of the host where something there starts it again ([`HostSide::boot_hook`](super::HostSide::boot_hook))
/// and it needs no secrets; its time begins anew with that. A step that [restarts](SegmentStep::restarts) the host is refused
/// ([`Refusal::NoHook`]) where that is not so; others start all the same.
#[derive(Debug, Clone)]
pub struct Deadman {
    /// Counted by the host's uptime from just before the start; whole seconds. Of a step that restarts the host, from when
    /// the host is back, or from the end of the step's limit if it does not restart.
    pub within: Duration,
    /// The attempt of the undo: [`Part::Undo`] of the same step.
    pub undo: Attempt,
    /// The undo's program, for `sh`.
    pub program: String,
    /// Longest time of the undo.
    pub limit: Duration,
    /// Names of the variables, out of the segment's secrets, that the undo may see.
    pub secrets: Vec<String>,
    /// The undo restarts the host: see [`SegmentStep::restarts`].
    pub restarts: bool,
}

impl Deadman {
    pub(super) fn as_step(&self) -> SegmentStep {
        let step = SegmentStep::new(self.undo.clone(), self.program.clone(), self.limit);
        SegmentStep { restarts: self.restarts, ..step.secrets(self.secrets.iter().cloned()) }
    }
}

/// One step of a segment.
#[derive(Debug, Clone)]
pub struct SegmentStep {
    pub attempt: Attempt,
    /// Looks before acting: exit 0 nothing to do, 10 act, anything else cannot tell. `None`: always act.
    pub look: Option<String>,
    /// The program, for `sh`.
    pub act: String,
    /// Longest time of look and act together; counted in whole seconds, rounded up.
    pub limit: Duration,
    /// Names of the variables, out of the segment's secrets, that this step may see.
    pub secrets: Vec<String>,
    /// The step leaves a process running on purpose: do not wait for it, do not count it as lingering.
    pub leaves_running: bool,
    /// The programs work in the folder of a step of an earlier run on the same install: its undo, say.
    /// `None`: in the step's own.
    pub keep_of: Option<KeptBy>,
    /// What it starts outside of its processes: while that lives the attempt lingers, and limit and cancel stop it.
    pub outside: Option<Outside>,
    /// It takes itself back unless it is confirmed.
    pub deadman: Option<Deadman>,
    /// It restarts the host: done only once the host has another boot id than at its start, failed when it still has
    /// that one at the end of its limit, and under way in between, whatever its program's status. It travels alone.
    pub restarts: bool,
}

impl SegmentStep {
    pub fn new(attempt: Attempt, act: impl Into<String>, limit: Duration) -> Self {
        Self {
            attempt,
            look: None,
            act: act.into(),
            limit,
            secrets: Vec::new(),
            leaves_running: false,
            keep_of: None,
            outside: None,
            deadman: None,
            restarts: false,
        }
    }

    #[must_use]
    pub fn look(mut self, look: impl Into<String>) -> Self {
        self.look = Some(look.into());
        self
    }

    #[must_use]
    pub fn secrets(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.secrets = names.into_iter().collect();
        self
    }

    /// Runs in the folder of a step of an earlier run on the same install. Refused where that is gone
    /// ([`DurableError::KeepGone`](super::DurableError::KeepGone)).
    #[must_use]
    pub fn keep_of(mut self, keep_of: Option<KeptBy>) -> Self {
        self.keep_of = keep_of;
        self
    }
}

/// What is told of an attempt while a segment is followed. In order; exactly one `Ended` for each attempt.
#[derive(Debug)]
pub enum StepNews<'a> {
    /// The start is durable on the host: from here on the step may have run.
    Started,
    /// Output from `offset` of the stream on. No byte twice, none left out up to the first 4 MiB.
    Output {
        stream: Stream,
        offset: u64,
        bytes: &'a [u8],
    },
    /// What was printed between the first 4 MiB and the last 64 KiB was not kept.
    Gap {
        stream: Stream,
    },
    Ended(StepEnd),
}

/// How an attempt ended, with what it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    pub ending: Ending,
    pub out: Captured,
    pub err: Captured,
    /// From the step's `longshore-receipt KEY VALUE` lines.
    pub receipt: Receipt,
    /// By the host's clock; `None` where it is not known.
    pub took: Option<Duration>,
}

/// How a segment ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentEnd {
    /// Every attempt with its ending, in order.
    pub endings: Vec<(Attempt, Ending)>,
}

impl SegmentEnd {
    /// Whether all of it was done.
    pub fn is_done(&self) -> bool {
        self.endings.iter().all(|(_, ending)| matches!(ending, Ending::Changed | Ending::Unchanged))
    }
}

/// The state in which nothing of an attempt will happen any more, as far as the host can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The look found nothing to do.
    Unchanged,
    /// The act ended with 0.
    Changed,
    /// The act ended with this status; 128 and a signal's number when a signal ended it.
    Failed { status: u32 },
    /// The look could not tell, so the act did not run.
    CannotTell { status: u32 },
    /// Stopped at its time limit.
    KilledByLimit,
    /// Stopped on request.
    Cancelled,
    /// It was to restart the host, which still had the boot id of its start when its time was over.
    NotRestarted,
    /// It ended, but something it started still runs. Hold; no undo beside it.
    Lingering { result: String },
    /// It may or may not have happened. Only its look, or a person, can say.
    Unknown { why: Doubt },
    /// Its result was unknown, and its look or a person found it done.
    FoundDone,
    /// Its result was unknown, and it was found not done: a new attempt may start.
    FoundNotDone,
    /// Fenced off before it started; it never will.
    Void,
    /// It has not run. The same attempt may be sent again unless the refusal says otherwise.
    NotStarted { refusal: Option<Refusal> },
}

/// Why nobody can tell what became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// What ran it was killed from outside before it could record the result.
    Lost,
    /// The host was restarted in the middle.
    Rebooted,
    /// The host does not know the run any more: state deleted, host replaced, snapshot put back.
    StateLost,
}

/// Why a host did not start a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The lease is not ours any more.
    Fenced { run: String, token: u64 },
    /// Somebody started this very attempt already, or runs it now.
    Claimed,
    /// An earlier attempt has begun and has no result; close it first.
    EarlierOpen,
    /// Something of another attempt of this step still runs.
    StillRuns,
    /// The disk is full, or cannot be written.
    NoSpace,
    /// The disk does not confirm that it has written.
    NoSync,
    /// The lock around starts was not free for 10 s: a stopped process holds it.
    Stuck,
    /// An earlier step of the segment did not end well.
    EarlierStep,
    /// The segment was asked to stop before it.
    Stopped,
    /// What a step of an earlier run kept is not there any more.
    KeepGone,
    /// Nothing on the host would take the step back after the restart that it brings.
    NoHook,
    /// Another reason, as the host names it.
    Host(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Nobody has it now: a person took it from us.
            Self::Fenced { run, .. } if run == "-" => f.write_str("the lease was taken away by `longshore unlock`"),
            Self::Fenced { run, token } => write!(f, "the lease went to run {run} (token {token})"),
            Self::Claimed => f.write_str("this attempt was started before"),
            Self::EarlierOpen => f.write_str("an earlier attempt began and has no result"),
            Self::StillRuns => f.write_str("something of another attempt still runs"),
            Self::NoSpace => f.write_str("the host's disk is full or cannot be written"),
            Self::NoSync => f.write_str("the host's disk does not confirm what it writes"),
            Self::Stuck => f.write_str("the host's lock was not free within 10 s; a stopped process holds it"),
            Self::EarlierStep => f.write_str("an earlier step did not end well"),
            Self::Stopped => f.write_str("asked to stop before it"),
            Self::NoHook => f.write_str("nothing there would take it back after the restart"),
            Self::KeepGone => f.write_str("what the earlier run kept for it is gone"),
            Self::Host(reason) => write!(f, "the host refused: {reason}"),
        }
    }
}

/// What the host knows of an attempt now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptStatus {
    pub attempt: Attempt,
    pub state: AttemptState,
}

/// The states of section 4 of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptState {
    /// Nothing has run; send the same attempt again.
    NotStarted,
    /// A live segment still has it before it: send nothing, attach.
    Queued,
    /// About to start.
    Pending,
    /// It runs. Orphaned: what started it is gone, its result will still be recorded.
    Running { orphaned: bool },
    /// At its end, with the reason in [`Ending`].
    Ended(Ending),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_install_key_depends_on_every_word_and_on_their_borders() {
        assert_ne!(InstallKey::of(&["a", "bc"]), InstallKey::of(&["ab", "c"]));
        assert_eq!(InstallKey::of(&["/srv/fovea"]).as_str().len(), 32);
    }

    #[test]
    fn a_work_label_fits_everywhere_and_tells_attempts_apart() {
        let run = RunId::from_text("01arz3ndektsv4rrffq69g5fav").expect("run");
        let step = StepId::new(0, "Restore into a database beside the live one");
        let label = work_label(&run, &Attempt::act(step.clone(), 123));
        assert_eq!(label, "01arz3ndektsv4rrffq69g5fav.01-restore-into-a-da.123");
        assert!(label.len() <= 63);
        assert!(work_label(&run, &Attempt::undo(step, 123)).ends_with(".undo123"));
    }

    #[test]
    fn an_undo_has_a_directory_of_its_own() {
        let step = StepId::new(0, "Switch");
        assert_eq!(Attempt::act(step.clone(), 2).to_string(), "01-switch.2");
        assert_eq!(Attempt::undo(step, 1).to_string(), "01-switch.undo1");
    }
}
