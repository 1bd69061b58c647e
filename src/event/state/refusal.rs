//! Why an event cannot follow those before it.

use crate::model::{HostName, HostOutcome, RunId, StepId};

/// An event that cannot follow those before it: the ledger is damaged, or the engine has a mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {sequence} of the run cannot follow those before it: {why}")]
pub struct IllegalEvent {
    pub sequence: u64,
    pub why: Refusal,
}

/// The rule that the event breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("event {expected} was expected")]
    Gap { expected: u64 },
    #[error("the run has not begun")]
    NotBegun,
    #[error("the run began twice")]
    BegunTwice,
    #[error("it belongs to run {0}")]
    OtherRun(RunId),
    #[error("the run has ended")]
    AfterEnd,
    #[error("the plan has no wave {0}")]
    UnknownWave(usize),
    #[error("wave {0} has not begun")]
    WaveNotBegun(usize),
    #[error("wave {0} is past that already")]
    WaveTwice(usize),
    #[error("wave {0} is not soaking")]
    NotSoaking(usize),
    #[error("it names no host")]
    NoHost,
    #[error("the plan has no host `{0}`")]
    UnknownHost(HostName),
    #[error("`{0}` has not begun its turn")]
    HostNotBegun(HostName),
    #[error("`{0}` began its turn twice")]
    HostBegunTwice(HostName),
    #[error("`{0}` has finished its turn")]
    HostFinished(HostName),
    #[error("`{host}` cannot be {outcome} without having begun")]
    OutcomeWithoutTurn { host: HostName, outcome: HostOutcome },
    #[error("`{0}` is being taken back")]
    Unwinding(HostName),
    #[error("`{0}` is not being taken back")]
    NotUnwinding(HostName),
    #[error("the incident of `{0}` is not over")]
    IncidentTwice(HostName),
    #[error("attempt {attempt} of step {step} on `{host}` is not the next one")]
    Attempt { host: HostName, step: StepId, attempt: u32 },
    #[error("step {step} on `{host}` has not begun")]
    StepNotBegun { host: HostName, step: StepId },
    #[error("step {step} on `{host}` has ended")]
    StepEnded { host: HostName, step: StepId },
    #[error("step {step} on `{host}` is still running")]
    StepRunning { host: HostName, step: StepId },
    #[error("step {step} on `{host}` has been taken back")]
    UndoneTwice { host: HostName, step: StepId },
    #[error("the undo of step {step} on `{host}` has not begun")]
    UndoNotBegun { host: HostName, step: StepId },
}
