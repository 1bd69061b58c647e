//! What happens in a run, as facts in the past tense; the state folded from them; the recorder.
//!
//! Events are stored, so they are a format: fields are added as optional, meanings never change,
//! and a kind that this version does not know reads as [`Happening::Unknown`].

mod state;
#[cfg(test)]
pub(crate) mod story;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{
    Acknowledged, Approval, Downtime, Effect, ExitCode, Failure, HostName, HostOutcome, Receipt, RunId, Span, StepId,
    StepOutcome, StepPart, Verdict, Version, Way,
};

pub use state::{
    Activity, CheckState, CommandState, Halt, Health, HostState, IllegalEvent, Interruption, Outage, Overridden, Pause,
    Refusal, RunState, SentSegment, SoakState, StepState, UndoSent, UndoState, WaveState,
};

/// One fact of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub run: RunId,
    /// Counts from 1 within the run, without gaps.
    pub sequence: u64,
    /// The controller's clock, UTC.
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened. `event` names the kind in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Happening {
    /// The run began; everything a report needs to know of the plan.
    RunStarted {
        title: String,
        plan_digest: String,
        /// `apply`, `check`, `exec`, `rollback`.
        purpose: String,
        waves: Vec<WaveLine>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        hosts: BTreeMap<HostName, HostLine>,
        /// The finished run that this one takes back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rolls_back: Option<RunId>,
        /// What a `look` is a look at, where that is no upgrade: `prefetch`, `rollback`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        looks_at: Option<String>,
        /// Whose notes were read, and by whom.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        acknowledged: Vec<Acknowledged>,
    },
    /// The run was taken up again, by `resume` or `retry`, for these hosts.
    RunResumed {
        by: String,
        /// `resume` or `retry`.
        purpose: String,
        hosts: Vec<HostName>,
    },
    /// A person let the run start hosts outside their windows.
    WindowsOverridden {
        by: String,
        reason: String,
    },
    /// The ledger was lost, and what precedes and follows was written anew from what the hosts know.
    RunRecovered {
        by: String,
        /// How many hosts the plan was for.
        planned: usize,
        /// Hosts that did not answer: what they did is not known.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        silent: Vec<HostName>,
    },
    WaveStarted {
        wave: usize,
        name: String,
    },
    /// A person let the wave after this one begin.
    WavePromoted {
        wave: usize,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A person let no new hosts begin, from another terminal.
    Paused {
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A person ended the pause.
    Unpaused {
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A host's turn came. Recorded before the host is touched.
    HostStarted {
        wave: usize,
    },
    /// A host's turn came outside its window, and the run waits for that.
    HostDeferred {
        reason: String,
        until: Timestamp,
    },
    Connected {
        address: String,
        user: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host_key: Option<String>,
    },
    /// The host gave its lease, for programs of one of its users.
    LeaseTaken {
        /// The user that steps become; none for the login's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The identity that the host made for itself. Another one later in the run: another host, or its state is gone.
        host_id: String,
    },
    /// A fact was read: `version`, `free-disk`, ...
    FactRead {
        fact: String,
        value: String,
    },
    /// A check was made, once it has its final verdict.
    CheckFinished {
        phase: Phase,
        check: String,
        verdict: Verdict,
        seen: String,
        took: Span,
    },
    /// Steps are about to be sent to the host together. Recorded before the host hears of them.
    SegmentSent {
        segment: String,
        steps: Vec<SentStep>,
    },
    /// A step was started, or is about to be.
    StepStarted {
        step: StepId,
        name: String,
        effect: Effect,
        attempt: u32,
        /// What the step belongs to; the plan's own steps when left out.
        #[serde(default, skip_serializing_if = "StepPart::is_main")]
        part: StepPart,
    },
    StepFinished {
        step: StepId,
        attempt: u32,
        #[serde(flatten)]
        outcome: StepOutcome,
        took: Span,
        #[serde(default, skip_serializing_if = "Receipt::is_empty")]
        receipt: Receipt,
        /// What `--check` or `--diff` would show, secrets hidden.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        difference: Option<String>,
        /// Last lines of output, cleaned, secrets hidden.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        output: Vec<String>,
    },
    /// What became of a step whose result nobody knew, and how that was found out.
    StepFound {
        step: StepId,
        attempt: u32,
        /// It is done; otherwise it is not, and may be tried again.
        done: bool,
        evidence: String,
        /// The person who said so; none where a look or the host did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// It was the undo of the step whose result nobody knew.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        undo: bool,
    },
    /// The host failed after its data was changed, and what the role prepared for that begins.
    IncidentStarted {
        failure: Failure,
        /// There is nothing that a restore could put back: no verified backup of the run, or no word of the role on how.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        no_restore: bool,
    },
    /// A person chose how the held host goes on.
    WayChosen {
        way: Way,
        by: String,
    },
    /// A person approved what is never done by default.
    Approved {
        #[serde(flatten)]
        approval: Approval,
    },
    /// The host failed, and its done steps are being taken back, last first.
    UnwindStarted {
        failure: Failure,
    },
    UndoStarted {
        step: StepId,
        name: String,
    },
    UndoFinished {
        step: StepId,
        /// None: taken back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// Which of the step's undos failed, from 0.
        #[serde(default, skip_serializing_if = "is_first")]
        part: usize,
        took: Span,
    },
    /// The link was lost and found again in the middle of a step.
    LinkLost {
        failure: Failure,
    },
    LinkRestored {
        after: Span,
    },
    HostFinished {
        outcome: HostOutcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Version>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Version>,
        took: Span,
    },
    SoakStarted {
        wave: usize,
        length: Span,
    },
    SoakFinished {
        wave: usize,
        verdict: Verdict,
    },
    /// What the soak of its wave says of one host.
    HostSoaked {
        wave: usize,
        verdict: Verdict,
        /// Why it is not `pass`, in words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        seen: String,
    },
    WaveFinished {
        wave: usize,
    },
    /// Hosts of an ad-hoc command: how it ended and what it printed.
    CommandFinished {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
        out: String,
        err: String,
        /// Bytes printed in all on both streams.
        total: u64,
        /// Bytes of them that were not kept, where `out` or `err` says so.
        #[serde(default, skip_serializing_if = "is_none_left_out")]
        left_out: u64,
        took: Span,
    },
    /// No new host will be started, and why.
    Halted {
        reason: String,
        class: HaltClass,
        /// Every host had had its turn: a budget is exceeded, and nothing was left to halt.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        nothing_left: bool,
    },
    /// A person asked the run to stop; running hosts come to a safe point.
    Interrupted {
        detached: bool,
        /// Whose word it was, where it came from another terminal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    RunFinished {
        exit: ExitCode,
    },
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Happening {
    /// The names of all kinds, as JSON has them in `event`. Documented in `docs/events.md`.
    pub const KINDS: [&'static str; 36] = [
        "run-started",
        "run-resumed",
        "windows-overridden",
        "run-recovered",
        "wave-started",
        "wave-promoted",
        "paused",
        "unpaused",
        "host-deferred",
        "host-started",
        "connected",
        "lease-taken",
        "fact-read",
        "check-finished",
        "segment-sent",
        "step-started",
        "step-finished",
        "step-found",
        "incident-started",
        "way-chosen",
        "approved",
        "unwind-started",
        "undo-started",
        "undo-finished",
        "link-lost",
        "link-restored",
        "host-finished",
        "soak-started",
        "soak-finished",
        "host-soaked",
        "wave-finished",
        "command-finished",
        "halted",
        "interrupted",
        "run-finished",
        "unknown",
    ];

    /// Returns the name of the kind, one of [`Happening::KINDS`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "run-started",
            Self::RunResumed { .. } => "run-resumed",
            Self::WindowsOverridden { .. } => "windows-overridden",
            Self::HostDeferred { .. } => "host-deferred",
            Self::RunRecovered { .. } => "run-recovered",
            Self::WaveStarted { .. } => "wave-started",
            Self::WavePromoted { .. } => "wave-promoted",
            Self::Paused { .. } => "paused",
            Self::Unpaused { .. } => "unpaused",
            Self::HostStarted { .. } => "host-started",
            Self::Connected { .. } => "connected",
            Self::LeaseTaken { .. } => "lease-taken",
            Self::FactRead { .. } => "fact-read",
            Self::CheckFinished { .. } => "check-finished",
            Self::SegmentSent { .. } => "segment-sent",
            Self::StepStarted { .. } => "step-started",
            Self::StepFinished { .. } => "step-finished",
            Self::StepFound { .. } => "step-found",
            Self::IncidentStarted { .. } => "incident-started",
            Self::WayChosen { .. } => "way-chosen",
            Self::Approved { .. } => "approved",
            Self::UnwindStarted { .. } => "unwind-started",
            Self::UndoStarted { .. } => "undo-started",
            Self::UndoFinished { .. } => "undo-finished",
            Self::LinkLost { .. } => "link-lost",
            Self::LinkRestored { .. } => "link-restored",
            Self::HostFinished { .. } => "host-finished",
            Self::SoakStarted { .. } => "soak-started",
            Self::SoakFinished { .. } => "soak-finished",
            Self::HostSoaked { .. } => "host-soaked",
            Self::WaveFinished { .. } => "wave-finished",
            Self::CommandFinished { .. } => "command-finished",
            Self::Halted { .. } => "halted",
            Self::Interrupted { .. } => "interrupted",
            Self::RunFinished { .. } => "run-finished",
            Self::Unknown => "unknown",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none_left_out(bytes: &u64) -> bool {
    *bytes == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_first(part: &usize) -> bool {
    *part == 0
}

/// One step of a segment that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SentStep {
    pub step: StepId,
    pub attempt: u32,
    /// It takes the step back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo: bool,
    /// Which of the step's undos it is, from 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub part: usize,
}

/// Why a run started no more hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltClass {
    Budget,
    Soak,
    Ledger,
    Person,
}

/// When in a host's turn a check was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Baseline,
    Gate,
    After,
    /// After the host was taken back: proof that it is where it was.
    Unwound,
    Soak,
    /// On a host not yet upgraded, to know whether what is red in a soak is red there, too.
    Control,
    Sweep,
}

/// A wave as reports name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WaveLine {
    pub name: String,
    pub hosts: Vec<HostName>,
}

/// A host as reports name it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostLine {
    pub profile: String,
    pub steps: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Version>,
    /// The steps with which the product goes down or comes up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub downtime: BTreeMap<StepId, Downtime>,
    /// Of those with which it comes up, the steps that prove it: it counts as down until those are done.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proven_by: BTreeMap<StepId, StepId>,
    /// Where no step proves it, the checks at the end do: until the host has come to a good end it counts as down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proven_at_end: bool,
}

/// Makes events durable. The engine awaits it before it does the next thing.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Returns once the event cannot be lost any more.
    async fn record(&self, host: Option<&HostName>, what: Happening) -> Result<(), RecordError>;
}

/// The event could not be made durable: nothing new may be started.
#[derive(Debug, thiserror::Error)]
#[error("the ledger cannot be written: {0}")]
pub struct RecordError(pub String);
