//! What happens in a run, as facts in the past tense; the state folded from them; the recorder.
//!
//! Events are stored, so they are a format: fields are added as optional, meanings never change,
//! and a kind that this version does not know reads as [`Happening::Unknown`].

mod state;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{
    Effect, ExitCode, Failure, HostName, HostOutcome, Receipt, RunId, Span, StepId, StepOutcome, Verdict, Version,
};

pub use state::{HostState, IllegalEvent, RunState, StepState, WaveState};

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
    },
    WaveStarted {
        wave: usize,
        name: String,
    },
    /// A host's turn came. Recorded before the host is touched.
    HostStarted {
        wave: usize,
    },
    Connected {
        address: String,
        user: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host_key: Option<String>,
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
    /// A step is about to start. Recorded before the host hears of it.
    StepStarted {
        step: StepId,
        name: String,
        effect: Effect,
        attempt: u32,
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
        took: Span,
    },
    /// No new host will be started, and why.
    Halted {
        reason: String,
        class: HaltClass,
    },
    /// A person asked the run to stop; running hosts come to a safe point.
    Interrupted {
        detached: bool,
    },
    RunFinished {
        exit: ExitCode,
    },
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
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
