//! The state of a run, folded from its events: the only fold. Reports, resume and the exit code read it.
//!
//! Any prefix of a run's events folds; an event that cannot follow is refused and changes nothing.
//! What one host went through is folded in `host`, its steps in `step`, incidents and the ways on in `recovery`.

mod host;
mod outage;
mod recovery;
mod refusal;
mod step;
#[cfg(test)]
mod tests;

use indexmap::IndexMap;
use jiff::Timestamp;

use super::{Event, HaltClass, Happening, HostLine, WaveLine};
use crate::model::{ExitCode, HostName, HostOutcome, RunId, Span, Verdict, Way};

pub use host::{Activity, CheckState, CommandState, Health, HostState, SoakState};
pub use outage::Outage;
pub use refusal::{IllegalEvent, Refusal};
pub use step::{SentSegment, StepState, UndoSent, UndoState};

/// What is known of a run after some of its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunState {
    /// `None` until the run began.
    pub run: Option<RunId>,
    pub title: String,
    /// `apply`, `check`, `exec`, `rollback`.
    pub purpose: String,
    pub plan_digest: String,
    /// The finished run that this one takes back.
    pub rolls_back: Option<RunId>,
    /// What a `look` is a look at, where that is no upgrade: `prefetch`, `rollback`.
    pub looks_at: Option<String>,
    pub started: Option<Timestamp>,
    /// `None` while the run goes on, and for ever when its controller died.
    pub ended: Option<Timestamp>,
    /// When the last folded event happened.
    pub latest: Option<Timestamp>,
    /// Sequence of the last folded event.
    pub sequence: u64,
    pub waves: Vec<WaveState>,
    /// In the order of the waves.
    pub hosts: IndexMap<HostName, HostState>,
    /// The first reason for which no new host was started.
    pub halted: Option<Halt>,
    pub interrupted: Option<Interruption>,
    /// Who let it start hosts outside their windows, the last time it was begun or taken up so.
    pub overridden: Option<Overridden>,
    /// While no new host begins, because a person said so.
    pub paused: Option<Pause>,
    /// The exit code the run itself recorded at its end. See also [`RunState::exit_code`].
    pub exit: Option<ExitCode>,
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveState {
    pub name: String,
    pub hosts: Vec<HostName>,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    /// The soak that goes on, and since when.
    pub soaking: Option<(Timestamp, Span)>,
    /// What the last soak said.
    pub soak: Option<Verdict>,
}

/// Why no new host was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    pub reason: String,
    pub class: HaltClass,
    pub at: Timestamp,
    /// Every host had had its turn.
    pub nothing_left: bool,
}

/// A person's word that windows do not bind the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overridden {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
}

/// A person's word that no new host may begin for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub by: String,
    pub reason: Option<String>,
}

/// How a person stopped the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interruption {
    /// No new hosts; running ones come to a safe point.
    Draining,
    /// The controller left hosts in the middle of their steps.
    Detached,
}

impl WaveState {
    /// Whether the wave goes on when the run is taken up for `hosts`: it never ended, or one of them is in it.
    pub fn needs(&self, hosts: &[HostName]) -> bool {
        self.ended.is_none() || self.hosts.iter().any(|host| hosts.contains(host))
    }
}

impl RunState {
    pub fn new() -> Self {
        Self::default()
    }

    /// Folds a whole run, or the beginning of one.
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Self, IllegalEvent> {
        let mut state = Self::new();
        for event in events {
            state.apply(event)?;
        }
        Ok(state)
    }

    /// Folds one event in. An event that cannot follow is refused, and the state stays as it was.
    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        self.absorb(event).map_err(|why| IllegalEvent { sequence: event.sequence, why })?;
        self.sequence = event.sequence;
        self.latest = Some(event.at);
        Ok(())
    }

    fn absorb(&mut self, event: &Event) -> Result<(), Refusal> {
        if event.sequence != self.sequence + 1 {
            return Err(Refusal::Gap { expected: self.sequence + 1 });
        }
        match (&self.run, &event.what) {
            (_, Happening::Unknown) => return Ok(()),
            // A person's word may come before the run's first event is down, or when it has just ended.
            (run, Happening::Paused { .. } | Happening::Unpaused { .. }) if run.is_none() || self.ended.is_some() => {
                return Ok(());
            }
            (None, Happening::RunStarted { .. }) => {}
            (None, _) => return Err(Refusal::NotBegun),
            (Some(_), Happening::RunStarted { .. }) => return Err(Refusal::BegunTwice),
            (Some(run), _) if *run != event.run => return Err(Refusal::OtherRun(event.run.clone())),
            (Some(_), _) => {}
        }
        if let Happening::RunResumed { hosts, purpose, .. } = &event.what {
            self.take_up(hosts)?;
            // What a person chose holds from here on, however soon the run is cut off again.
            if let Some(way) = Way::ALL.into_iter().find(|way| way.as_str() == purpose) {
                let chosen = self.hosts.iter_mut().filter(|(name, _)| hosts.contains(name));
                chosen.for_each(|(_, host)| host.way = Some(way));
            }
            return Ok(());
        }
        if self.ended.is_some() {
            return Err(Refusal::AfterEnd);
        }
        match &event.what {
            // What it says of hosts is in the events after it.
            Happening::RunRecovered { .. } => {}
            Happening::RunStarted {
                title,
                plan_digest,
                purpose,
                waves,
                hosts,
                rolls_back,
                looks_at,
                acknowledged: _,
            } => {
                self.rolls_back.clone_from(rolls_back);
                self.looks_at.clone_from(looks_at);
                self.run = Some(event.run.clone());
                self.started = Some(event.at);
                title.clone_into(&mut self.title);
                plan_digest.clone_into(&mut self.plan_digest);
                purpose.clone_into(&mut self.purpose);
                self.lay_out(waves, hosts);
            }
            Happening::WindowsOverridden { by, reason } => {
                self.overridden = Some(Overridden { by: by.clone(), reason: reason.clone(), at: event.at });
            }
            Happening::WaveStarted { wave, .. } => {
                let state = self.wave(*wave)?;
                if state.started.is_some() {
                    return Err(Refusal::WaveTwice(*wave));
                }
                state.started = Some(event.at);
            }
            Happening::WavePromoted { wave, .. } => {
                self.begun_wave(*wave)?;
            }
            Happening::Paused { by, reason } => {
                self.paused = Some(Pause { by: by.clone(), reason: reason.clone() });
            }
            Happening::Unpaused { .. } => self.paused = None,
            Happening::SoakStarted { wave, length } => {
                let state = self.begun_wave(*wave)?;
                if state.soaking.is_some() {
                    return Err(Refusal::WaveTwice(*wave));
                }
                state.soaking = Some((event.at, *length));
                // What an earlier soak said of its hosts counts no more.
                for name in state.hosts.clone() {
                    if let Some(host) = self.hosts.get_mut(&name) {
                        host.soak = None;
                    }
                }
            }
            Happening::SoakFinished { wave, verdict } => {
                let state = self.begun_wave(*wave)?;
                if state.soaking.take().is_none() {
                    return Err(Refusal::NotSoaking(*wave));
                }
                state.soak = Some(*verdict);
            }
            Happening::HostSoaked { wave, verdict, seen } => {
                if self.begun_wave(*wave)?.soaking.is_none() {
                    return Err(Refusal::NotSoaking(*wave));
                }
                let name = event.host.as_ref().ok_or(Refusal::NoHost)?;
                let host = self.hosts.get_mut(name).ok_or_else(|| Refusal::UnknownHost(name.clone()))?;
                if host.started.is_none() {
                    return Err(Refusal::HostNotBegun(name.clone()));
                }
                host.soak = Some(SoakState { verdict: *verdict, seen: seen.clone() });
            }
            Happening::WaveFinished { wave } => {
                let state = self.begun_wave(*wave)?;
                if state.ended.is_some() {
                    return Err(Refusal::WaveTwice(*wave));
                }
                state.ended = Some(event.at);
            }
            Happening::Halted { reason, class, nothing_left } => {
                // The first reason is the telling one; what follows from it may be recorded, too.
                self.halted.get_or_insert_with(|| Halt {
                    reason: reason.clone(),
                    class: *class,
                    at: event.at,
                    nothing_left: *nothing_left,
                });
            }
            Happening::Interrupted { detached, .. } => {
                let how = if *detached { Interruption::Detached } else { Interruption::Draining };
                self.interrupted = self.interrupted.max(Some(how));
            }
            Happening::RunFinished { exit } => {
                self.ended = Some(event.at);
                self.exit = Some(*exit);
                for host in self.hosts.values_mut().filter(|host| host.outcome.is_none()) {
                    host.left_behind.get_or_insert(event.at);
                }
                self.paused = None;
            }
            Happening::HostStarted { wave } => self.start_host(event, *wave)?,
            _ => {
                let name = event.host.as_ref().ok_or(Refusal::NoHost)?;
                let host = self.hosts.get_mut(name).ok_or_else(|| Refusal::UnknownHost(name.clone()))?;
                host.absorb(name, event.at, &event.what)?;
            }
        }
        Ok(())
    }

    fn lay_out(&mut self, waves: &[WaveLine], hosts: &std::collections::BTreeMap<HostName, HostLine>) {
        for (index, wave) in waves.iter().enumerate() {
            for name in &wave.hosts {
                let line = hosts.get(name).cloned().unwrap_or_default();
                self.hosts.entry(name.clone()).or_insert_with(|| HostState::new(index, &wave.name, &line));
            }
            self.waves.push(WaveState {
                name: wave.name.clone(),
                hosts: wave.hosts.clone(),
                started: None,
                ended: None,
                soaking: None,
                soak: None,
            });
        }
        for (name, line) in hosts {
            self.hosts.entry(name.clone()).or_insert_with(|| HostState::new(0, "", line));
        }
    }

    /// Opens the run again for the hosts named; all others stay as they ended.
    fn take_up(&mut self, hosts: &[HostName]) -> Result<(), Refusal> {
        if let Some(unknown) = hosts.iter().find(|name| !self.hosts.contains_key(*name)) {
            return Err(Refusal::UnknownHost(unknown.clone()));
        }
        self.ended = None;
        self.exit = None;
        self.halted = None;
        self.interrupted = None;
        self.paused = None;
        for wave in &mut self.waves {
            if wave.needs(hosts) {
                wave.started = None;
                wave.ended = None;
                wave.soaking = None;
            }
        }
        for name in hosts {
            if let Some(host) = self.hosts.get_mut(name) {
                host.take_up();
            }
        }
        Ok(())
    }

    fn start_host(&mut self, event: &Event, wave: usize) -> Result<(), Refusal> {
        let name = event.host.as_ref().ok_or(Refusal::NoHost)?;
        if !self.waves.is_empty() && self.begun_wave(wave)?.ended.is_some() {
            return Err(Refusal::WaveTwice(wave));
        }
        if self.waves.is_empty() && !self.hosts.contains_key(name) {
            // An ad-hoc command need not lay its hosts out in waves.
            self.hosts.insert(name.clone(), HostState::new(0, "", &HostLine::default()));
        }
        let host = self.hosts.get_mut(name).ok_or_else(|| Refusal::UnknownHost(name.clone()))?;
        host.start(name, event.at)
    }

    fn wave(&mut self, wave: usize) -> Result<&mut WaveState, Refusal> {
        self.waves.get_mut(wave).ok_or(Refusal::UnknownWave(wave))
    }

    fn begun_wave(&mut self, wave: usize) -> Result<&mut WaveState, Refusal> {
        let state = self.wave(wave)?;
        if state.started.is_none() { Err(Refusal::WaveNotBegun(wave)) } else { Ok(state) }
    }

    /// Returns what longshore should tell its caller, judged from the hosts.
    ///
    /// A host still in the middle of its turn counts as interrupted where a person stopped the run, and
    /// needs a person otherwise. Of a sweep, every check that did not pass makes its host a failed one.
    pub fn exit_code(&self) -> ExitCode {
        let halted = self.halted.as_ref().filter(|halt| !halt.nothing_left);
        let halted = halted.map(|halt| match halt.class {
            HaltClass::Budget | HaltClass::Soak => ExitCode::Halted,
            HaltClass::Ledger => ExitCode::PersonNeeded,
            HaltClass::Person => ExitCode::Interrupted,
        });
        let interrupted = self.interrupted.map(|_| ExitCode::Interrupted);
        let hosts = self.hosts.values().flat_map(|host| [self.exit_of(host), host.exit_of_probes()]);
        ExitCode::most_telling(hosts.chain(halted).chain(interrupted))
    }

    fn exit_of(&self, host: &HostState) -> ExitCode {
        match host.outcome {
            Some(outcome)
                if outcome.is_good() && host.soak.as_ref().is_some_and(|soak| soak.verdict != Verdict::Pass) =>
            {
                ExitCode::HostFailed
            }
            Some(outcome) if outcome.is_good() && host.unverified().is_some() => ExitCode::PersonNeeded,
            Some(outcome) => outcome.exit_code_for(host.failure.as_ref()),
            None if host.started.is_none() => ExitCode::Good,
            None if self.interrupted.is_some() => ExitCode::Interrupted,
            None => ExitCode::PersonNeeded,
        }
    }

    /// Counts the finished hosts by outcome, in the order of severity. Hosts without one are left out.
    pub fn outcomes(&self) -> std::collections::BTreeMap<HostOutcome, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for outcome in self.hosts.values().filter_map(|host| host.outcome) {
            *counts.entry(outcome).or_default() += 1;
        }
        counts
    }

    /// Returns the hosts whose turn goes on, in the order of the plan.
    pub fn active(&self) -> impl Iterator<Item = (&HostName, &HostState)> {
        self.hosts.iter().filter(|(_, host)| host.started.is_some() && host.outcome.is_none())
    }
}
