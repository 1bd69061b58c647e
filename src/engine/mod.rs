//! Runs a plan: wave by wave, a sliding window of hosts in each, a barrier between.
//!
//! The engine decides nothing that the plan has not decided. It knows neither ledger nor terminal:
//! what happens goes to a [`Recorder`], and an event is durable before the next thing is done.

mod attached;
mod budget;
mod checks;
mod exec;
mod hold;
mod host;
mod link;
mod look;
mod program;
mod soak;
mod sweep;
#[cfg(test)]
mod tests;
mod unlock;
mod unwind;

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::watch;

use crate::{
    event::{HaltClass, Happening, HostLine, RecordError, Recorder, RunState, WaveLine},
    model::{ExitCode, Failure, HostName, HostOutcome, RunId, Secret, SecretSource, Verdict},
    plan::{Plan, Wave},
    steps::Progress,
    transport::Transport,
};

use budget::Tally;
pub use exec::{AdHoc, exec};
pub use sweep::{sweep, versions};
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
}

impl Control {
    pub(crate) fn stop_now(&self) -> Stop {
        *self.stop.borrow()
    }

    fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Returns once the run is not paused, or is to stop.
    async fn unpaused(&self) {
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
    /// Waits for the person's word after `wave`. False: do not go on.
    async fn promoted(&self, wave: &str) -> bool;
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
}

/// Runs the plan to its end. What happened is in the events; the value says how it ended.
pub async fn apply(plan: Arc<Plan>, mode: Mode, means: Means) -> Result<ExitCode, EngineError> {
    Rollout::new(&plan, mode, means, None).run().await
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
    if past.run.is_none() {
        // Its controller died before the first event: nothing was begun.
        return apply(plan, Mode::Apply, means).await;
    }
    let purpose = purpose.to_owned();
    Rollout::new(&plan, Mode::Apply, means, Some(Past { state: past, hosts, purpose })).run().await
}

/// What came before, when a run is taken up again.
struct Past {
    state: RunState,
    /// The hosts whose turn comes now; all others stay as they ended.
    hosts: Vec<HostName>,
    purpose: String,
}

struct Rollout {
    plan: Arc<Plan>,
    mode: Mode,
    means: Means,
    tally: Tally,
    codes: Vec<ExitCode>,
    past: Option<Past>,
}

/// Why no more hosts are started.
struct Halt {
    class: HaltClass,
    reason: String,
}

impl Rollout {
    fn new(plan: &Arc<Plan>, mode: Mode, means: Means, past: Option<Past>) -> Self {
        let mut tally = Tally::new(plan.rollout.budget.clone());
        let mut codes = Vec::new();
        if let Some(past) = &past {
            // What went wrong before counts, but it was a person who decided to go on: only more of it halts.
            for (name, host) in past.state.hosts.iter().filter(|(name, _)| !past.hosts.contains(name)) {
                if let Some(outcome) = host.outcome {
                    let _ = tally.absorb(name, outcome, host.failure.as_ref());
                    codes.push(outcome.exit_code());
                }
            }
        }
        Self { plan: Arc::clone(plan), mode, means, tally, codes, past }
    }

    /// The hosts of a wave whose turn comes in this run; `None`: the wave is over.
    fn todo(&self, index: usize, wave: &Wave) -> Option<Vec<HostName>> {
        let Some(past) = &self.past else { return Some(wave.hosts.clone()) };
        let needs = past.state.waves.get(index).is_none_or(|state| state.needs(&past.hosts));
        needs.then(|| wave.hosts.iter().filter(|host| past.hosts.contains(host)).cloned().collect())
    }

    /// Whether hosts of later waves have their turn in this run.
    fn more_after(&self, index: usize) -> bool {
        let later = self.plan.waves.iter().enumerate().skip(index + 1);
        later.into_iter().any(|(index, wave)| self.todo(index, wave).is_some_and(|hosts| !hosts.is_empty()))
    }

    /// The hosts of a wave that ended well before this run was taken up.
    fn good_before(&self, wave: &Wave) -> Vec<HostName> {
        let Some(past) = &self.past else { return Vec::new() };
        let good = |host: &&HostName| {
            !past.hosts.contains(host)
                && past.state.hosts.get(*host).and_then(|h| h.outcome).is_some_and(HostOutcome::is_good)
        };
        wave.hosts.iter().filter(good).cloned().collect()
    }

    async fn run(mut self) -> Result<ExitCode, EngineError> {
        let purpose = match self.mode {
            Mode::Apply => "apply",
            Mode::Look { .. } => "look",
        };
        match &self.past {
            None => self.record(run_started(&self.plan, purpose)).await?,
            Some(past) => {
                let (by, purpose, hosts) = (self.means.owner.clone(), past.purpose.clone(), past.hosts.clone());
                self.record(Happening::RunResumed { by, purpose, hosts }).await?;
            }
        }
        let plan = Arc::clone(&self.plan);
        let mut halted = None;
        for (index, wave) in plan.waves.iter().enumerate() {
            let Some(todo) = self.todo(index, wave) else { continue };
            if todo.is_empty() && self.past.as_ref().is_some_and(|past| past.purpose == "retry") {
                // A retry concerns its hosts and lets no others begin.
                continue;
            }
            halted = self.promoted(index).await?;
            if halted.is_none() {
                halted = self.run_wave(index, wave, &todo).await?;
            }
            if halted.is_some() {
                break;
            }
        }
        if let Some(halt) = halted {
            if self.means.control.stop_now() > Stop::No {
                self.codes.push(ExitCode::Interrupted);
                self.record(Happening::Interrupted { detached: self.means.control.stop_now() == Stop::Detach }).await?;
            } else {
                self.codes.push(match halt.class {
                    HaltClass::Person => ExitCode::Interrupted,
                    HaltClass::Budget | HaltClass::Soak | HaltClass::Ledger => ExitCode::Halted,
                });
                self.record(Happening::Halted { reason: halt.reason, class: halt.class }).await?;
            }
        }
        let exit = ExitCode::most_telling(self.codes.iter().copied());
        self.record(Happening::RunFinished { exit }).await?;
        Ok(exit)
    }

    /// Waits for a person before a wave, where the wave before says so.
    async fn promoted(&self, index: usize) -> Result<Option<Halt>, EngineError> {
        let past = self.past.as_ref().and_then(|past| past.state.waves.get(index));
        let begun_before = past.is_some_and(|wave| wave.started.is_some());
        let Some(before) = index.checked_sub(1).map(|before| &self.plan.waves[before]) else { return Ok(None) };
        if begun_before || self.mode != Mode::Apply || before.promote != crate::plan::Promote::Manual {
            return Ok(None);
        }
        let promoted = tokio::select! {
            promoted = self.means.control.promoter.promoted(&before.name) => promoted,
            () = self.means.control.asked_for(Stop::Drain) => false,
        };
        Ok((!promoted).then(|| Halt { class: HaltClass::Person, reason: format!("{} was not promoted", before.name) }))
    }

    /// Runs one wave to its barrier. Returns why the run must not go on, when it must not.
    async fn run_wave(&mut self, index: usize, wave: &Wave, todo: &[HostName]) -> Result<Option<Halt>, EngineError> {
        self.record(Happening::WaveStarted { wave: index, name: wave.name.clone() }).await?;
        let mut waiting = todo.iter();
        let mut running = FuturesUnordered::new();
        let mut good = self.good_before(wave);
        let mut halt: Option<Halt> = None;
        loop {
            while halt.is_none() && running.len() < self.plan.rollout.at_once.max(1) {
                if self.means.control.stop_now() > Stop::No {
                    halt = Some(stopped_by_person());
                    break;
                }
                if self.means.control.is_paused() && !running.is_empty() {
                    break;
                }
                if self.means.control.is_paused() {
                    self.means.control.unpaused().await;
                    // What ended the pause may be the wish to stop.
                    continue;
                }
                let Some(host) = waiting.next() else { break };
                let past = self.past.as_ref().and_then(|past| past.state.hosts.get(host));
                let past = past.filter(|past| past.has_begun()).cloned();
                let (plan, means) = (Arc::clone(&self.plan), self.means.clone());
                running.push(host::run(plan, host.clone(), index, self.mode, past, means));
            }
            let unpaused = async {
                if halt.is_none() && waiting.len() > 0 && self.means.control.is_paused() {
                    self.means.control.unpaused().await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            let end = tokio::select! {
                end = running.next() => end,
                // The window is filled again at once, not when the next host ends.
                () = unpaused => {
                    if self.means.control.stop_now() > Stop::No {
                        halt = Some(stopped_by_person());
                    }
                    continue;
                }
            };
            let Some(end) = end else { break };
            let end = end?;
            self.codes.push(end.outcome.exit_code());
            let over = self.tally.absorb(&end.host, end.outcome, end.failure.as_ref());
            // Looking harms nobody, so a budget does not end it.
            if let (Mode::Apply, Some(reason)) = (self.mode, over) {
                // The first reason stands; hosts in flight come to their own end.
                halt.get_or_insert(Halt { class: HaltClass::Budget, reason });
            }
            if end.outcome.is_good() {
                good.push(end.host);
            }
        }
        // A budget that is used up by the very last host has nobody left to halt for.
        if waiting.as_slice().is_empty() && !self.more_after(index) {
            halt.take_if(|halt| halt.class == HaltClass::Budget);
        }
        if halt.is_none() && self.means.control.stop_now() > Stop::No {
            halt = Some(stopped_by_person());
        }
        if halt.is_none() && self.mode == Mode::Apply && good.is_empty() && !todo.is_empty() && self.more_after(index) {
            // Whatever the budget allows: such a wave proves nothing for the hosts after it.
            let reason = format!("no host of {} ended well", wave.name);
            halt = Some(Halt { class: HaltClass::Budget, reason });
        }
        if halt.is_none() && self.mode == Mode::Apply && !good.is_empty() && !wave.soak.0.is_zero() {
            halt = self.soak(index, wave, &good).await?;
        }
        if halt.is_none() {
            // A wave whose barrier was not passed goes on when the run is taken up again.
            self.record(Happening::WaveFinished { wave: index }).await?;
        }
        Ok(halt)
    }

    /// Watches the hosts of a finished wave for its soak.
    async fn soak(&mut self, index: usize, wave: &Wave, hosts: &[HostName]) -> Result<Option<Halt>, EngineError> {
        self.record(Happening::SoakStarted { wave: index, length: wave.soak }).await?;
        let seen = soak::watch(&self.plan, hosts, wave.soak.0, &self.means).await?;
        self.record(Happening::SoakFinished { wave: index, verdict: seen.verdict }).await?;
        Ok(match seen.verdict {
            Verdict::Pass => None,
            Verdict::Fail => {
                self.codes.push(ExitCode::HostFailed);
                Some(Halt {
                    class: HaltClass::Soak,
                    reason: format!("{} did not stay green: {}", wave.name, seen.words),
                })
            }
            Verdict::Inconclusive | Verdict::Error | Verdict::Unverified => {
                let reason = self.tally.absorb_inconclusive(seen.hosts).unwrap_or_default();
                let words = if reason.is_empty() { seen.words } else { format!("{}; {reason}", seen.words) };
                Some(Halt {
                    class: HaltClass::Soak,
                    reason: format!("the soak of {} proved nothing: {words}", wave.name),
                })
            }
        })
    }

    async fn record(&self, what: Happening) -> Result<(), RecordError> {
        self.means.recorder.record(None, what).await
    }
}

fn stopped_by_person() -> Halt {
    Halt { class: HaltClass::Person, reason: "stopped by a person".to_owned() }
}

/// Makes the opening event of a run from its plan.
fn run_started(plan: &Plan, purpose: &str) -> Happening {
    Happening::RunStarted {
        title: plan.title.clone(),
        plan_digest: plan.digest.clone(),
        purpose: purpose.to_owned(),
        waves: plan.waves.iter().map(|wave| WaveLine { name: wave.name.clone(), hosts: wave.hosts.clone() }).collect(),
        hosts: plan
            .hosts
            .iter()
            .map(|(name, host)| {
                let line = HostLine {
                    profile: host.profile.clone(),
                    steps: host.steps.len(),
                    version: host.found.clone(),
                    wanted: plan.wanted.clone(),
                };
                (name.clone(), line)
            })
            .collect(),
    }
}
