//! How a step with an effect runs on a host: detached, with its own spool, never twice.
//!
//! The shell half stands in the `.sh` files beside this one; [`HostSide`] sends them and reads their
//! answers. It decides nothing about a run: it starts what it is told, says what the host knows, and
//! leaves the ledger and the verdict to the engine. `docs/durability.md` describes the protocol.

mod ability;
mod attempt;
mod control;
mod error;
mod follow;
mod launch;
mod lease;
mod recover;
mod status;
mod wire;

use std::{sync::Arc, time::Duration};

use crate::{
    model::{RunId, Secret, StepId},
    transport::Session,
};

pub use ability::{HostAbility, Scope};
pub use attempt::{
    Attempt, AttemptState, AttemptStatus, Deadman, Doubt, Ending, InstallKey, Outside, Part, Refusal, Segment,
    SegmentEnd, SegmentStep, StepEnd, StepNews, work_label,
};
pub use control::{Closing, Confirmation};
pub use error::{DurableError, LeaseError};
pub use follow::Following;
pub use launch::{MOST_STEPS, watcher_of};
pub use lease::{Beginning, Lease, RENEWAL, TERM};
pub use recover::KnownRun;
pub use status::RunStatus;

/// The host's half of the protocol, for one run, one install and one acting user.
#[derive(Clone)]
pub struct HostSide {
    session: Arc<dyn Session>,
    run: RunId,
    install: InstallKey,
    run_as: Option<(String, Option<Secret>)>,
    /// `None`: `/var/lib/longshore` for root, else `$HOME/.local/state/longshore`.
    root: Option<String>,
    grace: Duration,
    scope: Scope,
    term: Duration,
    any_disk: bool,
}

impl HostSide {
    pub fn new(session: Arc<dyn Session>, run: RunId, install: InstallKey) -> Self {
        Self {
            session,
            run,
            install,
            run_as: None,
            root: None,
            grace: Duration::from_secs(10),
            scope: Scope::None,
            term: TERM,
            any_disk: false,
        }
    }

    /// Acts as another user, who then has a state and a lease of their own.
    #[must_use]
    pub fn run_as(mut self, run_as: Option<(String, Option<Secret>)>) -> Self {
        self.run_as = run_as;
        self
    }

    /// Keeps the state in another directory of the host: absolute, on a local disk.
    #[must_use]
    pub fn state_root(mut self, root: impl Into<String>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Time between TERM and KILL, and for what a step left behind to go away by itself.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Starts segments outside the login session, as [`HostSide::probe`] found possible.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Leases last this long instead of [`TERM`]: for tests of what happens when they run out.
    #[must_use]
    pub fn term(mut self, term: Duration) -> Self {
        self.term = term;
        self
    }

    /// Accepts a state on a disk that does not survive a restart: for hosts in containers, and for tests.
    #[must_use]
    pub fn any_disk(mut self) -> Self {
        self.any_disk = true;
        self
    }

    /// The same host over a new connection.
    #[must_use]
    pub fn reconnected(&self, session: Arc<dyn Session>) -> Self {
        Self { session, ..self.clone() }
    }

    /// The path of a file that a step keeps for itself, as one word for the host's shell.
    ///
    /// Its folder is `$LONGSHORE_STEP_DIR` of the step's programs.
    pub fn keep_path(&self, step: &StepId, file: &str) -> String {
        let root = match &self.root {
            // The prelude refuses a root with characters that would need quotes.
            Some(root) => root.clone(),
            None => "$(if [ \"$(id -u)\" = 0 ]; then echo /var/lib/longshore; else echo \"$HOME/.local/state/longshore\"; fi)".to_owned(),
        };
        format!("\"{root}/{}/runs/{}/{step}.keep/{file}\"", self.install.as_str(), self.run)
    }

    pub fn run(&self) -> &RunId {
        &self.run
    }
}
