//! The runs of a scenario: each with its plan, with what was recorded of it, and with what became of it.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use longshore::{
    engine::{self, Choice, Finished, Means, Mode, Stop},
    event::{Event, Happening, HostState, RecordError, Recorder, RunState},
    model::{Acknowledged, Approval, ExitCode, HostName, HostOutcome, RunId, RunNumber, StepOutcome, Version},
    plan::{NeedsApproval, Pace, Plan},
    report,
};

use super::command::{Command, Then, is_named};

/// Tells the time of a scenario.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One run: what was planned, and what was recorded of it.
pub(crate) struct Run {
    pub(crate) does: Command,
    pub(crate) number: RunNumber,
    pub(crate) plan: Arc<Plan>,
    pub(crate) notes: Arc<Notes>,
}

/// The id of the n-th run.
pub(crate) fn id(number: usize) -> RunId {
    RunId::from_text(&format!("01scenario000000000000000{number}")).expect("an id")
}

impl Run {
    pub(crate) fn new(does: Command, plan: Plan, before: usize, since: Timestamp, clock: &Clock) -> Self {
        let number = u32::try_from(before + 1).expect("a handful");
        Self {
            does,
            number: RunNumber(number),
            plan: Arc::new(plan),
            notes: Arc::new(Notes::new(id(before), since, clock)),
        }
    }

    pub(crate) fn state(&self) -> RunState {
        self.notes.state.lock().expect("not poisoned").clone()
    }

    /// Begins the run, or takes it up again.
    pub(crate) async fn go(&self, then: &Then, means: Means) -> ExitCode {
        let (plan, past) = (Arc::clone(&self.plan), self.state());
        let approved = |host: &HostName, state: Option<&HostState>| {
            let needed = match then.does {
                Command::Restore => engine::backup_of(&plan.hosts[host], state?).map(|backup| NeedsApproval {
                    action: "restore",
                    backup: Some(backup.ended),
                    steps: Vec::new(),
                    to: None,
                }),
                _ => plan.approval(host),
            };
            needed.filter(|_| is_named(&then.approved, host.as_str())).map(|needed| Approval {
                action: needed.action.to_owned(),
                by: "anna".to_owned(),
                how: "typed".to_owned(),
                backup: needed.backup,
                steps: needed.steps,
                to: needed.to,
            })
        };
        let ended = if then.does.begins_a_run() {
            let given = plan.hosts.keys().filter_map(|host| Some((host.clone(), approved(host, None)?))).collect();
            engine::apply_approved(Arc::clone(&plan), given, Mode::Apply, means).await
        } else {
            let choices = past
                .hosts
                .iter()
                .filter(|(name, host)| then.concerns(name) && is_taken_up(then.does, host))
                .map(|(name, host)| {
                    (name.clone(), Choice { way: then.does.way(), approval: approved(name, Some(host)) })
                })
                .collect();
            let purpose = match then.does.way() {
                Some(way) => way.as_str(),
                None if then.does == Command::Resume => "resume",
                None => "retry",
            };
            engine::go_on(Arc::clone(&plan), past, choices, purpose, means).await
        };
        ended.expect("events in a legal order")
    }
}

/// Whether a command takes up a host of the run.
fn is_taken_up(does: Command, host: &HostState) -> bool {
    let is = |outcomes: &[HostOutcome]| host.outcome.is_some_and(|outcome| outcomes.contains(&outcome));
    match does {
        Command::Resume => host.goes_on(),
        Command::RetryUnreached => is(&[HostOutcome::Unreachable]),
        Command::RetryNotStarted => is(&[HostOutcome::NotStarted]),
        Command::RetryFailed => is(&[HostOutcome::Failed, HostOutcome::Undone, HostOutcome::Parked]),
        Command::RetryStuck => is(&[HostOutcome::Stuck]),
        Command::RollForward | Command::CodeRollback | Command::Restore => is(&[HostOutcome::Held]),
        Command::Apply | Command::Prefetch | Command::Rollback => false,
    }
}

impl Then {
    /// The plan of a run that is begun: `whole` as it is or as far as it may be done ahead, or the one that takes the
    /// last upgrade back. Says what is left as it is. `None`: there is nothing to do.
    pub(crate) async fn plan(
        &self,
        whole: &Plan,
        runs: &[Run],
        now: Timestamp,
        looks: impl Fn() -> Means,
        text: &mut String,
    ) -> Option<Plan> {
        match self.does {
            Command::Prefetch => {
                let pace = Pace { at_once: self.at_once.unwrap_or(4), per_minute: self.per_minute };
                Some(whole.clone().ahead(pace).expect("steps that may be done ahead"))
            }
            Command::Rollback => {
                let of = runs.iter().rfind(|run| run.does == Command::Apply).expect("there was an upgrade");
                let state = of.state();
                let finished = Finished { id: &of.notes.run, number: of.number, plan: &of.plan, state: &state };
                let hosts: Vec<_> = of.plan.hosts.keys().filter(|host| self.concerns(host)).cloned().collect();
                let (plan, left) = engine::rollback(finished, &hosts, now);
                for not in left.iter().filter(|not| !self.hosts.is_empty() || !not.nothing_to_do) {
                    let _ = writeln!(text, "note: {} is left as it is: {}", not.host, not.why);
                }
                plan
            }
            _ => {
                let ahead = runs.iter().filter(|run| run.does == Command::Prefetch);
                let done: Vec<_> =
                    ahead.flat_map(|run| engine::done_ahead(&run.plan, &run.state(), run.number)).collect();
                let read = |version: &String| Acknowledged {
                    version: Version::new(version.as_str()),
                    by: "anna".to_owned(),
                    at: now,
                };
                let acknowledged = self.ack.iter().map(read).collect();
                let plan = Plan { made_at: now, acknowledged, ..whole.clone() }.seal().with_prefetched(&done);
                let Some(look) = plan.to_look_at() else { return Some(plan) };
                let seen = engine::look_over(Arc::new(look), looks()).await.expect("it is only looked");
                let there = |host: &HostName, step: &longshore::model::StepId| {
                    let step = seen.hosts.get(host).and_then(|host| host.steps.get(step));
                    step.is_some_and(|step| step.outcome == Some(StepOutcome::Unchanged))
                };
                Some(plan.with_prefetched_only(there))
            }
        }
    }
}

/// What a run is steered by, and the hands that steer it.
pub(crate) struct Steering {
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) paused: watch::Receiver<bool>,
    pub(crate) promotion: Arc<Notify>,
}

pub(crate) struct Hands {
    pub(crate) stop: watch::Sender<Stop>,
    pub(crate) pause: watch::Sender<bool>,
    pub(crate) promotion: Arc<Notify>,
}

impl Steering {
    pub(crate) fn new() -> (Self, Hands) {
        let (stop, stopped) = watch::channel(Stop::No);
        let (pause, paused) = watch::channel(false);
        let promotion = Arc::new(Notify::new());
        (Self { stop: stopped, paused, promotion: Arc::clone(&promotion) }, Hands { stop, pause, promotion })
    }
}

/// What was recorded, and what it adds up to.
pub(crate) struct Notes {
    pub(crate) run: RunId,
    /// When the scenario began.
    since: Timestamp,
    /// What happened to waves, with the time since the beginning.
    pub(crate) story: Mutex<String>,
    clock: Clock,
    pub(crate) state: Mutex<RunState>,
}

impl Notes {
    pub(crate) fn new(run: RunId, since: Timestamp, clock: &Clock) -> Self {
        Self { run, since, story: Mutex::default(), clock: Arc::clone(clock), state: Mutex::default() }
    }
}

#[async_trait]
impl Recorder for Notes {
    async fn record(&self, host: Option<&HostName>, what: Happening) -> Result<(), RecordError> {
        let mut state = self.state.lock().expect("not poisoned");
        let (run, sequence, at) = (self.run.clone(), state.sequence + 1, (self.clock)());
        let event = Event { run, sequence, at, host: host.cloned(), what };
        state.apply(&event).map_err(|error| RecordError(error.to_string()))?;
        if let Some(line) = line(&event.what, &state, self.since) {
            let since = Duration::try_from(at.duration_since(self.since)).expect("time goes on");
            let since = report::words::duration(Duration::from_secs(since.as_secs()));
            let _ = writeln!(self.story.lock().expect("not poisoned"), "  {since}: {line}");
        }
        Ok(())
    }
}

/// What the story tells of an event.
fn line(what: &Happening, state: &RunState, since: Timestamp) -> Option<String> {
    let name = |wave: usize| state.waves[wave].name.as_str();
    Some(match what {
        Happening::WaveStarted { name, .. } => format!("{name} begins"),
        Happening::SoakStarted { wave, length } => {
            format!("{}; {} soaks for {length}", ends(state, *wave, since), name(*wave))
        }
        Happening::SoakFinished { wave, verdict } => format!("the soak of {} is over: {verdict}", name(*wave)),
        Happening::WaveFinished { wave } if state.waves[*wave].soak.is_none() => {
            format!("{}; {} is finished", ends(state, *wave, since), name(*wave))
        }
        Happening::WaveFinished { wave } => format!("{} is finished", name(*wave)),
        Happening::Halted { nothing_left: true, .. } => "a budget is exceeded, and nothing is left to halt".to_owned(),
        Happening::Halted { .. } => "halted".to_owned(),
        Happening::Interrupted { .. } => "interrupted".to_owned(),
        _ => return None,
    })
}

/// When the hosts of a wave had ended: half of them, and all but the last.
fn ends(state: &RunState, wave: usize, since: Timestamp) -> String {
    let hosts = &state.waves[wave].hosts;
    let mut ends: Vec<_> = hosts.iter().filter_map(|host| state.hosts[host].ended).collect();
    ends.sort();
    let at = |index: usize| {
        let since = Duration::try_from(ends[index].duration_since(since)).expect("time goes on");
        report::words::duration(Duration::from_secs(since.as_secs()))
    };
    match ends.len() {
        0 => "no host has ended".to_owned(),
        1 => format!("its host ended at {}", at(0)),
        count => format!("half of {count} hosts ended by {}, all but one by {}", at(count / 2 - 1), at(count - 2)),
    }
}
