//! The rules of a rollout: waves, a sliding window of hosts in each, and the barrier between two.

use std::sync::Arc;

use futures::{StreamExt as _, stream::FuturesUnordered};

use super::{EngineError, Means, Mode, Stop, budget::Tally, host, run_started, soak};
use crate::{
    event::{HaltClass, Happening, RecordError, RunState},
    model::{ExitCode, HostName, HostOutcome, Verdict},
    plan::{Plan, Wave},
};

/// What came before, when a run is taken up again.
pub(super) struct Past {
    pub(super) state: RunState,
    /// The hosts whose turn comes now; all others stay as they ended.
    pub(super) hosts: Vec<HostName>,
    pub(super) purpose: String,
}

/// Takes the plan's hosts wave by wave.
pub(super) struct Rollout {
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
    pub(super) fn new(plan: &Arc<Plan>, mode: Mode, means: Means, past: Option<Past>) -> Self {
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

    pub(super) async fn run(mut self) -> Result<ExitCode, EngineError> {
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
