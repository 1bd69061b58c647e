//! Runs a plan: wave by wave, a sliding window of hosts in each, a barrier between.
//!
//! The engine decides nothing that the plan has not decided. It knows neither ledger nor terminal:
//! what happens goes to a [`Recorder`], and an event is durable before the next thing is done.

mod ahead;
mod ask;
mod attached;
mod budget;
mod checks;
mod close;
mod exec;
mod fingerprint;
mod hold;
mod host;
mod link;
mod look;
mod manifest;
mod memory;
mod program;
mod queue;
mod recover;
mod renew;
mod rollback;
mod rollout;
mod soak;
mod sweep;
#[cfg(test)]
mod tests;
mod unlock;
mod unwind;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    event::{Happening, HostLine, RecordError, Recorder, RunState, WaveLine},
    model::{Approval, Downtime, ExitCode, Failure, HostName, HostOutcome, RunId, Secret, SecretSource, StepId, Way},
    plan::{HostPlan, Plan, Purpose},
    steps::Progress,
    transport::Transport,
};

pub use ahead::done_ahead;
pub use ask::{ask, newest, read_out};
pub use close::{Closed, Verdict, close, close_host};
pub use exec::{AdHoc, exec};
pub use host::{Backup, backup_of};
pub use manifest::{Manifest, ManifestError};
use memory::Memory;
pub use recover::{Remembered, recall, record, survey};
pub use rollback::{Finished, NotBack, changed_by, leaves_data_new, rollback};
use rollout::{Past, Rollout};
pub use sweep::sweep;
pub use unlock::unlock;

/// What a run needs of the outside. Shared by all its hosts.
#[derive(Clone)]
pub struct Means {
    pub transport: Arc<dyn Transport>,
    pub recorder: Arc<dyn Recorder>,
    pub secrets: Arc<dyn Secrets>,
    pub control: Control,
    /// Takes what may be dropped: output lines, percentages.
    #[expect(clippy::type_complexity, reason = "said once; a name for it would only hide that it is a function")]
    pub progress: Arc<dyn Fn(&HostName, Progress) + Send + Sync>,
    pub run: RunId,
    /// Who runs it, for leases: `user@controller`.
    pub owner: String,
    /// Where the run keeps files on the controller; private.
    pub local: PathBuf,
    /// Longest time for connecting to one host, all tries together.
    pub connect_within: Duration,
    /// Tells the time.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// How long a lease on a host lasts without renewal: [`crate::durable::TERM`], less only in tests.
    pub lease_term: Duration,
    /// What windows mean to this run.
    pub windows: Windows,
    /// What people have answered to the questions of manual checks.
    pub answers: Answers,
    /// Hosts worked on at once at most, whatever the plan says: what this process may keep open.
    pub at_most: usize,
}

impl Means {
    /// Returns how many hosts are worked on at once where `wanted` are asked for.
    fn at_once(&self, wanted: usize) -> usize {
        wanted.min(self.at_most).max(1)
    }
}

/// A person's answer to a manual check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub yes: bool,
    pub by: String,
}

/// Looks up what a person has answered to a question about a host; `None`: nobody has, so far. May block shortly.
pub type Answers = Arc<dyn Fn(&HostName, &str) -> Option<Answer> + Send + Sync>;

/// What a host's window means to a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Windows {
    /// What the plan says.
    #[default]
    AsPlanned,
    /// A host outside its window is waited for, whatever the plan says.
    Wait,
    /// Nothing, by the word of a person.
    Overridden { by: String, reason: String },
}

/// Resolves references to secrets, late, on the controller. May block.
pub trait Secrets: Send + Sync {
    fn resolve(&self, source: &SecretSource) -> Result<Secret, String>;
}

/// What a person asks of a run that is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    #[default]
    No,
    /// No new hosts; running ones reach a safe point.
    Drain,
    /// Leave at once; what runs on the hosts goes on.
    Detach,
}

/// How a run is steered from outside.
#[derive(Clone)]
pub struct Control {
    pub stop: watch::Receiver<Stop>,
    /// While true, no new host is started.
    pub paused: watch::Receiver<bool>,
    pub promoter: Arc<dyn Promoter>,
    /// Whose word it was that the run is to stop, where it came from another terminal.
    pub aborted: Arc<OnceLock<Word>>,
}

impl Control {
    pub(crate) fn stop_now(&self) -> Stop {
        *self.stop.borrow()
    }

    pub(crate) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Returns once the run is not paused, or is to stop.
    pub(crate) async fn unpaused(&self) {
        let mut paused = self.paused.clone();
        tokio::select! {
            // Where nobody could end the pause any more, there is none.
            _ = paused.wait_for(|paused| !paused) => {}
            () = self.asked_for(Stop::Drain) => {}
        }
    }

    /// Returns once the person asks for at least `level`. Never, when nobody can ask any more.
    pub(crate) async fn asked_for(&self, level: Stop) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|now| *now >= level).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Lets the next wave begin, where the plan says that a person does.
#[async_trait]
pub trait Promoter: Send + Sync {
    /// Waits for the person's word after `wave`. `None`: do not go on.
    async fn promoted(&self, wave: &str) -> Option<Word>;
}

/// A person's word: that the next wave may begin, or that the run is to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// `None`: whoever runs this.
    pub by: Option<String>,
    pub reason: Option<String>,
}

/// How the steps of a plan are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For real.
    Apply,
    /// Only the looking half of each step (`--check`, and with `diff` the differences).
    Look { diff: bool },
}

/// A run ended because its own ledger failed, or never began.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the run was stopped: running steps go on, nothing new was started")]
    Ledger(#[from] RecordError),
}

/// How one host ended, for the rollout.
#[derive(Debug, Clone)]
pub(crate) struct HostEnd {
    pub(crate) host: HostName,
    pub(crate) outcome: HostOutcome,
    pub(crate) failure: Option<Failure>,
    /// A person was to look at it, and nobody has answered.
    pub(crate) unverified: bool,
}

impl HostEnd {
    fn exit_code(&self) -> ExitCode {
        if self.unverified && self.outcome.is_good() { ExitCode::PersonNeeded } else { self.outcome.exit_code() }
    }
}

/// Runs the plan to its end. What happened is in the events; the value says how it ended.
pub async fn apply(plan: Arc<Plan>, mode: Mode, means: Means) -> Result<ExitCode, EngineError> {
    apply_approved(plan, BTreeMap::new(), mode, means).await
}

/// Runs the plan to its end, with what a person approved for its hosts.
pub async fn apply_approved(
    plan: Arc<Plan>,
    approvals: BTreeMap<HostName, Approval>,
    mode: Mode,
    means: Means,
) -> Result<ExitCode, EngineError> {
    let choices = approvals.into_iter().map(|(host, approval)| (host, Choice::approved(Some(approval)))).collect();
    Box::pin(Rollout::new(&plan, mode, means, None).choose(choices).run()).await
}

/// Looks at every step of a plan, and returns what was found. Changes nothing.
pub async fn look_over(plan: Arc<Plan>, means: Means) -> Result<RunState, EngineError> {
    let memory = Arc::new(Memory::new(None, &means));
    let means = Means { recorder: Arc::clone(&memory) as Arc<dyn Recorder>, ..means };
    apply(plan, Mode::Look { diff: false }, means).await?;
    let state = memory.state().clone();
    Ok(state)
}

/// Takes a run up again for `hosts`: each goes on exactly where it was, from what the ledger (`past`) and
/// the host itself say together.
pub async fn resume(
    plan: Arc<Plan>,
    past: RunState,
    hosts: Vec<HostName>,
    purpose: &str,
    means: Means,
) -> Result<ExitCode, EngineError> {
    let choices = hosts.into_iter().map(|host| (host, Choice::default())).collect();
    go_on(plan, past, choices, purpose, means).await
}

/// How a host goes on, as a person chose, with what that person approved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// For a held host.
    pub way: Option<Way>,
    pub approval: Option<Approval>,
}

impl Choice {
    pub fn approved(approval: Option<Approval>) -> Self {
        Self { way: None, approval }
    }
}

/// Takes a run up again for the hosts that have a choice, each with what a person chose and approved for it.
pub async fn go_on(
    plan: Arc<Plan>,
    past: RunState,
    choices: BTreeMap<HostName, Choice>,
    purpose: &str,
    means: Means,
) -> Result<ExitCode, EngineError> {
    let past = past.run.is_some().then(|| {
        let hosts = plan.hosts.keys().filter(|host| choices.contains_key(*host)).cloned().collect();
        Past { state: past, hosts, purpose: purpose.to_owned() }
    });
    // Where its controller died before the first event, nothing was begun.
    Box::pin(Rollout::new(&plan, Mode::Apply, means, past).choose(choices).run()).await
}

/// Makes the opening event of a run from its plan.
fn run_started(plan: &Plan, purpose: &str) -> Happening {
    Happening::RunStarted {
        title: plan.title.clone(),
        plan_digest: plan.digest.clone(),
        acknowledged: plan.acknowledged.clone(),
        purpose: purpose.to_owned(),
        waves: plan.waves.iter().map(|wave| WaveLine { name: wave.name.clone(), hosts: wave.hosts.clone() }).collect(),
        hosts: plan
            .hosts
            .iter()
            .map(|(name, host)| {
                let line = HostLine {
                    profile: host.profile.clone(),
                    steps: host.steps.len(),
                    version: host.found.clone().filter(|_| !host.assumed),
                    // What is only fetched does not bring a host there.
                    wanted: plan.wanted.clone().filter(|_| plan.purpose != Purpose::Prefetch),
                    // Looking takes nothing down.
                    downtime: if purpose == "look" { BTreeMap::new() } else { downtime(host) },
                    proven_by: proven_by(host),
                    proven_at_end: purpose != "look" && host.is_proven_at_end(),
                };
                (name.clone(), line)
            })
            .collect(),
        rolls_back: plan.hosts.values().find_map(|host| Some(host.rollback.as_ref()?.of.clone())),
        looks_at: (purpose == "look" && plan.purpose != Purpose::Apply).then(|| plan.purpose.as_str().to_owned()),
    }
}

/// The steps with which a host's product goes down or comes up.
fn downtime(host: &HostPlan) -> BTreeMap<StepId, Downtime> {
    let marks = host.steps.iter().filter_map(|step| Some((step.id.clone(), step.timing.downtime?)));
    marks.collect()
}

/// The steps that prove that a product is up, by the steps with which it comes up.
fn proven_by(host: &HostPlan) -> BTreeMap<StepId, StepId> {
    let proof = |at: usize| host.steps.get(at).map(|proof| proof.id.clone());
    host.steps.iter().filter_map(|step| Some((step.id.clone(), proof(step.timing.proven_at?)?))).collect()
}
