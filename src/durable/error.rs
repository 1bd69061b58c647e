//! What can go wrong between controller and host, kept apart by what the engine does about it.

use std::time::Duration;

use crate::{
    model::{FailureClass, HostOutcome, Span},
    transport::TransportError,
};

/// Why a call to the host brought no answer that can be acted on.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The link, or the login. See [`DurableError::leaves_doubt`].
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the host cannot keep steps safe from faults: {reason}")]
    NotDurable { reason: String },
    #[error("a stopped process on the host holds longshore's lock `{path}`")]
    Stuck { path: String },
    #[error("the disk that holds `{path}` on the host is full or cannot be written")]
    NoSpace { path: String },
    #[error("the disk that holds `{path}` on the host does not confirm what it writes")]
    NoSync { path: String },
    #[error("the file `{path}` on the host is damaged")]
    Damaged { path: String },
    #[error("the host does not know this run: its state in `{path}` is gone")]
    StateLost { path: String },
    #[error("what the earlier run kept in `{path}` on the host is gone")]
    KeepGone { path: String },
    #[error("`{what}` still runs on the host")]
    StillRuns { what: String },
    #[error("the program of step `{attempt}` cannot be sent: {reason}")]
    BadProgram { attempt: String, reason: &'static str },
    #[error("`{0}` cannot be the name of a segment, a step or a run on a host")]
    BadName(String),
    #[error("the host's answer to `{question}` is incomplete ({status}): {said}")]
    Garbled { question: &'static str, status: String, said: String },
    #[error("the host could not {question}: {reason}")]
    Host { question: &'static str, reason: String },
}

impl DurableError {
    /// Whether the host may have begun, and go on without us: reconnect if the session is closed, then
    /// [`attach`](super::HostSide::attach). Any other error says that nothing new has started.
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Transport(error) => error.leaves_doubt() || error.class() == FailureClass::Unreachable,
            Self::Garbled { .. } | Self::Host { .. } => true,
            Self::NotDurable { .. }
            | Self::Stuck { .. }
            | Self::NoSpace { .. }
            | Self::NoSync { .. }
            | Self::Damaged { .. }
            | Self::StateLost { .. }
            | Self::KeepGone { .. }
            | Self::StillRuns { .. }
            | Self::BadProgram { .. }
            | Self::BadName(_) => false,
        }
    }

    /// The class of the failure: what budgets and exit codes go by.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Transport(error) => error.class(),
            Self::NotDurable { .. } | Self::Damaged { .. } | Self::KeepGone { .. } => FailureClass::Refused,
            Self::StateLost { .. } | Self::StillRuns { .. } => FailureClass::Unknown,
            Self::BadProgram { .. } | Self::BadName(_) => FailureClass::Input,
            Self::Stuck { .. }
            | Self::NoSpace { .. }
            | Self::NoSync { .. }
            | Self::Garbled { .. }
            | Self::Host { .. } => FailureClass::Step,
        }
    }

    /// What to do next, where it can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Stuck { path } => Some(format!(
                "on the host, `fuser -v {path}` shows the process; end it or let it go on, then `longshore retry --failed`"
            )),
            Self::NoSpace { path } => {
                Some(format!("nothing was started: make room on the disk of `{path}` on the host"))
            }
            Self::StateLost { .. } => {
                Some("look at the host before anything else: it may have been replaced or put back".to_owned())
            }
            Self::KeepGone { .. } => Some(
                "a host keeps what an upgrade needs to be taken back for 30 days; take this step back by hand"
                    .to_owned(),
            ),
            Self::NoSync { path } => {
                Some(format!("look at the disk that holds `{path}` before anything else is started"))
            }
            Self::Damaged { path } => Some(format!("look at `{path}` and at the disk that holds it")),
            Self::StillRuns { .. } => {
                Some("wait for it to end, or end it on the host, then `longshore resume`".to_owned())
            }
            _ => None,
        }
    }
}

/// Why a lease was not given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("run {run} of {owner} has this host{}", since(*age))]
    HeldBy {
        run: String,
        owner: String,
        /// How long ago it was acquired; `None` when the host was restarted since.
        age: Option<Duration>,
        /// When it becomes free if it is not renewed; zero when only a running step keeps it.
        free_in: Duration,
        /// A step of that run is running now.
        running: bool,
    },
    /// The token is not ours any more.
    #[error("{}", lost(run, owner, *token))]
    Lost { run: String, owner: String, token: u64 },
    /// The host came to its end in this run, which the caller does not know.
    #[error("the host says that it came to its end in this run ({outcome}), and the ledger does not know of it")]
    Ended { outcome: HostOutcome },
    #[error(transparent)]
    Durable(#[from] DurableError),
}

fn lost(run: &str, owner: &str, token: u64) -> String {
    if run == "-" {
        // Nobody has it now: a person took it from us.
        return "the lease on this host was taken away by `longshore unlock`".to_owned();
    }
    format!("the lease on this host went to run {run} of {owner} (token {token})")
}

fn since(age: Option<Duration>) -> String {
    age.map(|age| format!(" since {} ago", Span(Duration::from_secs(age.as_secs())))).unwrap_or_default()
}

impl LeaseError {
    pub fn class(&self) -> FailureClass {
        match self {
            Self::HeldBy { .. } | Self::Lost { .. } => FailureClass::Refused,
            Self::Ended { .. } => FailureClass::Unknown,
            Self::Durable(error) => error.class(),
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::HeldBy { running: true, run, .. } => Some(format!(
                "a step of run {run} is running; wait for it, or stop that run with `longshore abort`; then `longshore retry --refused`"
            )),
            Self::HeldBy { free_in, .. } => Some(format!(
                "it is free in {} unless its owner renews it; then `longshore retry --refused`. If that run is gone for good, \
                 `longshore unlock HOST --reason TEXT` takes the host earlier",
                Span(Duration::from_secs(free_in.as_secs()))
            )),
            Self::Ended { .. } => {
                Some("the ledger lost its latest events; `longshore history show` has what is left of them".to_owned())
            }
            Self::Lost { .. } => Some(
                "nothing more of this run can start there; see who works on the host, then `longshore retry --refused` goes on"
                    .to_owned(),
            ),
            Self::Durable(error) => error.hint(),
        }
    }
}
