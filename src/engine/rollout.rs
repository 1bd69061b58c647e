//! The rules of a rollout: waves, a sliding window of hosts in each, and the barrier between two.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};

use super::{
    Choice, EngineError, HostEnd, Means, Mode, Stop, Windows, Word,
    budget::{self, Over, Tally},
    host,
    memory::Memory,
    queue::Queue,
    run_started,
    soak::{Soak, SoakEnd, Soaked},
};
use crate::{
    event::{HaltClass, Happening, HostState, RecordError, Recorder, RunState},
    model::{ExitCode, Failure, FailureClass, HostName, HostOutcome, Span, Verdict},
    plan::{Plan, Purpose, Scope, Wave},
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
    /// What a person chose and approved for hosts.
    choices: BTreeMap<HostName, Choice>,
    /// What the run knows of its hosts, where some of them may be taken back after their turn.
    memory: Option<Arc<Memory>>,
    /// Why no more are started, where failed hosts are the reason.
    given_up: Option<String>,
}

/// Why no more hosts are started.
struct Halt {
    class: HaltClass,
    reason: String,
}

impl Rollout {
    pub(super) fn new(plan: &Arc<Plan>, mode: Mode, means: Means, past: Option<Past>) -> Self {
        let mut tally = Tally::new(plan);
        let mut codes = Vec::new();
        if let Some(past) = &past {
            // What went wrong before counts, but it was a person who decided to go on: only more of it halts.
            for (name, host) in past.state.hosts.iter().filter(|(name, _)| !past.hosts.contains(name)) {
                let Some(outcome) = host.outcome else { continue };
                let _ = tally.absorb(host.wave, name, outcome, host.failure.as_ref());
                codes.push(outcome.exit_code_for(host.failure.as_ref()));
                // A wave that is not finished soaks anew, and its hosts with it.
                let stands = past.state.waves.get(host.wave).is_some_and(|wave| !wave.needs(&past.hosts));
                // Who was taken back for its soak has counted already.
                let counted = |verdict| verdict == Verdict::Fail && budget::is_failure(outcome);
                let soak = host.soak.as_ref().filter(|soak| stands && soak.verdict != Verdict::Pass);
                if let Some(soak) = soak.filter(|soak| !counted(soak.verdict)) {
                    let _ = tally.absorb_soak(host.wave, name, soak.verdict, &soak.seen);
                    codes.push(ExitCode::HostFailed);
                }
            }
        }
        let mut means = means;
        let soaks = plan.waves.iter().any(|wave| !wave.soak.0.is_zero());
        // What a rollback did is not taken back again.
        let applies = mode == Mode::Apply && plan.purpose == Purpose::Apply;
        let memory = (applies && (soaks || plan.rollout.scope != Scope::Host))
            .then(|| Arc::new(Memory::new(past.as_ref().map(|past| past.state.clone()), &means)));
        if let Some(memory) = &memory {
            means.recorder = Arc::clone(memory) as Arc<dyn Recorder>;
        }
        Self {
            plan: Arc::clone(plan),
            mode,
            means,
            tally,
            codes,
            past,
            memory,
            given_up: None,
            choices: BTreeMap::new(),
        }
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
        // One that was taken back since proves nothing any more.
        let has_it = |host: &HostState| host.taken_back.is_none() && host.outcome.is_some_and(HostOutcome::is_good);
        let good = |host: &&HostName| !past.hosts.contains(host) && past.state.hosts.get(*host).is_some_and(has_it);
        wave.hosts.iter().filter(good).cloned().collect()
    }

    /// Takes along what a person chose and approved.
    pub(super) fn choose(mut self, choices: BTreeMap<HostName, Choice>) -> Self {
        self.choices = choices;
        self
    }

    pub(super) async fn run(mut self) -> Result<ExitCode, EngineError> {
        let purpose = match self.mode {
            Mode::Apply => self.plan.purpose.as_str(),
            Mode::Look { .. } => "look",
        };
        match &self.past {
            None => self.record(run_started(&self.plan, purpose)).await?,
            Some(past) => {
                let (by, purpose, hosts) = (self.means.owner.clone(), past.purpose.clone(), past.hosts.clone());
                self.record(Happening::RunResumed { by, purpose, hosts }).await?;
            }
        }
        if let Windows::Overridden { by, reason } = &self.means.windows {
            self.record(Happening::WindowsOverridden { by: by.clone(), reason: reason.clone() }).await?;
        }
        for (host, choice) in &self.choices {
            // Before any host is touched: what was approved is known, however the run is cut off.
            if let Some(approval) = choice.approval.clone() {
                self.means.recorder.record(Some(host), Happening::Approved { approval }).await?;
            }
        }
        let plan = Arc::clone(&self.plan);
        let mut halted = None;
        let mut last = 0;
        for (index, wave) in plan.waves.iter().enumerate() {
            let Some(todo) = self.todo(index, wave) else { continue };
            if todo.is_empty() && self.past.as_ref().is_some_and(|past| past.purpose != "resume") {
                // A retry, and what a person chose, concerns its hosts and lets no others begin.
                continue;
            }
            halted = self.promoted(index).await?;
            if halted.is_none() {
                last = index;
                halted = self.run_wave(index, wave, &todo).await?;
            }
            if halted.is_some() {
                break;
            }
        }
        if let Some(reason) = self.given_up.take().filter(|_| self.means.control.stop_now() == Stop::No) {
            self.take_others_back(last, &reason).await?;
        }
        if let Some(halt) = halted {
            if self.means.control.stop_now() > Stop::No {
                self.codes.push(ExitCode::Interrupted);
                let control = &self.means.control;
                let Word { by, reason } = control.aborted.get().cloned().unwrap_or(Word { by: None, reason: None });
                let detached = control.stop_now() == Stop::Detach;
                self.record(Happening::Interrupted { detached, by, reason }).await?;
            } else {
                self.codes.push(match halt.class {
                    HaltClass::Person => ExitCode::Interrupted,
                    HaltClass::Budget | HaltClass::Soak | HaltClass::Ledger => ExitCode::Halted,
                });
                let (reason, class) = (halt.reason, halt.class);
                self.record(Happening::Halted { reason, class, nothing_left: false }).await?;
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
            () = self.means.control.asked_for(Stop::Drain) => None,
        };
        let Some(Word { by, reason }) = promoted else {
            let reason = format!("{} was not promoted", before.name);
            return Ok(Some(Halt { class: HaltClass::Person, reason }));
        };
        let by = by.unwrap_or_else(|| self.means.owner.clone());
        self.record(Happening::WavePromoted { wave: index - 1, by, reason }).await?;
        Ok(None)
    }

    /// Runs one wave to its barrier. Returns why the run must not go on, when it must not.
    async fn run_wave(&mut self, index: usize, wave: &Wave, todo: &[HostName]) -> Result<Option<Halt>, EngineError> {
        self.record(Happening::WaveStarted { wave: index, name: wave.name.clone() }).await?;
        let mut queue = Queue::new(&self.plan, &self.means, self.mode, todo);
        let past_state = self.past.as_ref().map(|past| past.state.clone());
        let mut running = FuturesUnordered::new();
        let mut leaving = FuturesUnordered::new();
        let mut good = self.good_before(wave);
        let mut halt: Option<Halt> = None;
        'hosts: loop {
            // All ends that are known count before the next host begins; giving back what was held may take its time.
            if let Some(Some(end)) = running.next().now_or_never() {
                let (end, site): (HostEnd, host::Site) = end?;
                leaving.push(site.leave());
                self.ended(index, end, &mut good, &mut halt);
                continue;
            }
            'start: {
                if halt.is_some() || running.len() >= self.means.at_once(self.plan.rollout.at_once) {
                    break 'start;
                }
                if self.means.control.stop_now() > Stop::No {
                    halt = Some(stopped_by_person());
                    break 'start;
                }
                // Where none is left to begin, a pause holds nobody up.
                if self.means.control.is_paused() && (queue.is_empty() || !running.is_empty()) {
                    break 'start;
                }
                if self.means.control.is_paused() {
                    self.means.control.unpaused().await;
                    // What ended the pause may be the wish to stop.
                    continue 'hosts;
                }
                let Some(host) = queue.next(past_state.as_ref()).await? else { break 'start };
                let past = self.past.as_ref().and_then(|past| past.state.hosts.get(&host));
                let choice = self.choices.get(&host).cloned().unwrap_or_default();
                let approvals = past.iter().flat_map(|past| past.approvals.clone()).chain(choice.approval).collect();
                let past = past.filter(|past| past.has_begun()).cloned();
                let before = host::Before { past, way: choice.way, approvals };
                let (plan, means) = (Arc::clone(&self.plan), self.means.clone());
                running.push(host::run(plan, host, index, self.mode, before, means));
                // It begins at once, before the next is chosen.
                continue 'hosts;
            }
            let unpaused = async {
                if halt.is_none() && !queue.is_empty() && self.means.control.is_paused() {
                    self.means.control.unpaused().await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            if running.is_empty() && (halt.is_some() || queue.is_empty()) {
                break;
            }
            let free = running.len() < self.means.at_once(self.plan.rollout.at_once) && !self.means.control.is_paused();
            let nobody = running.is_empty();
            let opened =
                async { if halt.is_none() && free { queue.opens().await } else { std::future::pending().await } };
            let end = tokio::select! {
                Some(end) = running.next() => end,
                Some(()) = leaving.next() => continue,
                () = opened => continue,
                () = self.means.control.asked_for(Stop::Drain), if nobody => {
                    halt = Some(stopped_by_person());
                    continue;
                }
                // The window is filled again at once, not when the next host ends.
                () = unpaused => {
                    if self.means.control.stop_now() > Stop::No {
                        halt = Some(stopped_by_person());
                    }
                    continue;
                }
            };
            let (end, site) = end?;
            leaving.push(site.leave());
            self.ended(index, end, &mut good, &mut halt);
        }
        while leaving.next().await.is_some() {}
        self.codes.append(&mut queue.codes);
        // A budget that is exceeded by the very last host has nobody left to halt for. It is told all the same.
        let is_last = queue.is_empty() && !self.more_after(index);
        if let Some(Halt { class, reason }) = halt.take_if(|halt| is_last && halt.class == HaltClass::Budget) {
            self.record(Happening::Halted { reason, class, nothing_left: true }).await?;
        }
        if halt.is_none() && self.means.control.stop_now() > Stop::No {
            halt = Some(stopped_by_person());
        }
        if halt.is_none() && self.mode == Mode::Apply && good.is_empty() && self.more_after(index) {
            // Whatever the budget allows, and whoever took the run up: such a wave proves nothing for those after it.
            let reason = format!("no host of {} ended well", wave.name);
            halt = Some(Halt { class: HaltClass::Budget, reason });
        }
        if halt.is_none() && self.mode == Mode::Apply && !good.is_empty() && !wave.soak.0.is_zero() {
            // A soak that was cut off, and to which nobody came, is owed its missing time; any other the whole.
            let length = self.missing_soak(index).filter(|_| todo.is_empty()).unwrap_or(wave.soak);
            halt = self.soak(index, wave, &good, length).await?;
        }
        if halt.is_none() {
            // A wave whose barrier was not passed goes on when the run is taken up again.
            self.record(Happening::WaveFinished { wave: index }).await?;
        }
        Ok(halt)
    }

    /// Counts the end of a host's turn.
    fn ended(&mut self, wave: usize, end: HostEnd, good: &mut Vec<HostName>, halt: &mut Option<Halt>) {
        self.codes.push(end.exit_code());
        let over = self.tally.absorb(wave, &end.host, end.outcome, end.failure.as_ref());
        // Looking harms nobody, so a budget does not end it.
        if let (Mode::Apply, Some(over)) = (self.mode, over) {
            let reason = over.to_string();
            if budget::is_failure(end.outcome) {
                self.given_up.get_or_insert_with(|| reason.clone());
            }
            // The first reason stands; hosts in flight come to their own end.
            halt.get_or_insert(Halt { class: HaltClass::Budget, reason });
        }
        if end.outcome.is_good() {
            good.push(end.host);
        }
    }

    /// The time that a soak which was cut off had still to go: enough to see each host healthy, at the least.
    fn missing_soak(&self, index: usize) -> Option<Span> {
        let state = &self.past.as_ref()?.state;
        let (since, length) = state.waves.get(index)?.soaking?;
        let watched = state.latest?.duration_since(since).unsigned_abs();
        let watch = &self.plan.waves[index].watch;
        let rounds = u32::try_from(watch.healthy.max(watch.red)).unwrap_or(u32::MAX);
        let least = watch.every.0.saturating_mul(rounds).min(length.0);
        let missing = length.0.saturating_sub(watched).max(least);
        Some(Span(Duration::from_secs(missing.as_secs() + u64::from(missing.subsec_nanos() > 0))))
    }

    /// Watches the hosts of a finished wave for its soak.
    async fn soak(
        &mut self,
        index: usize,
        wave: &Wave,
        hosts: &[HostName],
        length: Span,
    ) -> Result<Option<Halt>, EngineError> {
        self.record(Happening::SoakStarted { wave: index, length }).await?;
        let plan = Arc::clone(&self.plan);
        let control = self.control_group(index);
        let soak = Soak { plan: &plan, wave: index, hosts, control, length: length.0, means: &self.means };
        let mut over: Option<Over> = None;
        let tally = &mut self.tally;
        let end = soak
            .watch(&mut |soaked| {
                if over.is_none() {
                    over = tally.absorb_soak(index, &soaked.host, soaked.verdict, &soaked.words);
                }
                over.is_some()
            })
            .await?;
        let SoakEnd::Over(soaked) = end else {
            // Nothing is said of it: what is missing is made up for when the run is taken up again.
            return Ok(Some(stopped_by_person()));
        };
        let bad: Vec<&Soaked> = soaked.iter().filter(|soaked| soaked.verdict != Verdict::Pass).collect();
        self.codes.extend(bad.iter().map(|_| ExitCode::HostFailed));
        let proven = soaked.len() > bad.len();
        // What the budget allows does not stop the others; what proves nothing never promotes.
        let halts = over.is_some() || !proven;
        let failed = bad.iter().any(|soaked| soaked.verdict == Verdict::Fail);
        let verdict = match (halts, failed) {
            (false, _) => Verdict::Pass,
            (true, true) => Verdict::Fail,
            (true, false) => Verdict::Inconclusive,
        };
        self.record(Happening::SoakFinished { wave: index, verdict }).await?;
        let failed = bad.iter().filter(|soaked| soaked.verdict == Verdict::Fail);
        let failed = failed.map(|soaked| (soaked.host.clone(), budget::soaked(&soaked.words)));
        self.take_back(failed.collect()).await?;
        if !halts {
            return Ok(None);
        }
        let told: Vec<_> = bad.iter().map(|soaked| format!("{}: {}", soaked.host, soaked.words)).collect();
        let mut words = told.first().cloned().unwrap_or_default();
        if told.len() > 1 {
            words = format!("{words}; and {} more", told.len() - 1);
        }
        let limit = over.map_or_else(|| "no host passed, whatever the budget allows".to_owned(), |over| over.limit);
        let reason = match verdict {
            Verdict::Fail => format!("{} did not stay green ({limit}): {words}", wave.name),
            _ => format!("the soak of {} proved nothing ({limit}): {words}", wave.name),
        };
        if verdict == Verdict::Fail {
            self.given_up.get_or_insert_with(|| reason.clone());
        }
        Ok(Some(Halt { class: HaltClass::Soak, reason }))
    }

    /// The first hosts of later waves that do not have the release.
    fn control_group(&self, index: usize) -> Vec<HostName> {
        let had_it = |host: &HostName| {
            let past = self.past.as_ref().and_then(|past| past.state.hosts.get(host));
            past.is_some_and(HostState::has_begun)
        };
        let later = self.plan.waves.iter().skip(index + 1).flat_map(|wave| &wave.hosts);
        later.filter(|host| !had_it(host)).take(self.plan.waves[index].watch.control).cloned().collect()
    }

    /// Takes the others back with the failed hosts that halted the run, as far as the plan says.
    async fn take_others_back(&mut self, last: usize, reason: &str) -> Result<(), RecordError> {
        let with = match self.plan.rollout.scope {
            Scope::Host => return Ok(()),
            Scope::Wave => "wave",
            Scope::Run => "run",
        };
        let failure = Failure::new(FailureClass::GivenUp, format!("its {with} was given up")).because(reason);
        let waves = self.plan.waves[..=last].iter().rev();
        let waves = waves.take(if self.plan.rollout.scope == Scope::Wave { 1 } else { usize::MAX });
        // The last to get the release are the first to lose it.
        let hosts = waves.flat_map(|wave| wave.hosts.iter().rev()).map(|host| (host.clone(), failure.clone()));
        let hosts = hosts.collect();
        self.take_back(hosts).await
    }

    /// Takes back those of the hosts that were upgraded in this run.
    async fn take_back(&mut self, hosts: Vec<(HostName, Failure)>) -> Result<(), RecordError> {
        let Some(memory) = self.memory.clone() else { return Ok(()) };
        let known = |host: &HostName| {
            let state = memory.state().hosts.get(host).cloned();
            state.filter(|state| state.outcome == Some(HostOutcome::Done))
        };
        let ends = futures::stream::iter(hosts)
            .filter_map(|(host, failure)| {
                let stopped = self.means.control.stop_now() > Stop::No;
                let past = known(&host).filter(|_| !stopped);
                let (plan, means) = (Arc::clone(&self.plan), self.means.clone());
                std::future::ready(past.map(|past| host::take_back(plan, host, past, failure, means)))
            })
            .buffer_unordered(self.means.at_once(self.plan.rollout.at_once))
            .collect::<Vec<_>>()
            .await;
        for end in ends {
            self.codes.push(end?.exit_code());
        }
        Ok(())
    }

    async fn record(&self, what: Happening) -> Result<(), RecordError> {
        self.means.recorder.record(None, what).await
    }
}

fn stopped_by_person() -> Halt {
    Halt { class: HaltClass::Person, reason: "stopped by a person".to_owned() }
}
