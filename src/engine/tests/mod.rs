//! The engine against hosts that answer from a table, on a clock that only the test lets go; and against
//! real shells on this machine. Every event is folded as it is recorded: one out of order fails the test.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::watch;

use super::{Control, Means, Mode, Promoter, Secrets, Stop, Windows, Word, apply, resume};
use crate::{
    config::documents::{AfterData, Baseline, BeforeData, OutsideWindow, Promote, Scope},
    event::{Event, Happening, RecordError, Recorder, RunState},
    model::{Effect, ExitCode, HostName, HostOutcome, RunId, Secret, SecretId, SecretSource, Span, StepId, StepPart},
    plan::{FailureBudget, HostPlan, Plan, PlannedCheck, PlannedStep, PlannedUndo, Purpose, Rollout, Watch, Wave},
    transport::{
        Exec, Program, Target, Transport, TransportError, Way,
        scripted::{Answer, Request, ScriptedTransport},
    },
};

mod ahead;
mod durable;
mod leases;
mod outside;
mod recovery;
mod rollout;
mod windows;

/// What was recorded, and what it adds up to.
#[derive(Default)]
struct Notes {
    events: Mutex<Vec<Event>>,
    state: Mutex<RunState>,
    clock: Mutex<Option<Clock>>,
    /// Nothing is recorded after so many events.
    last: Mutex<Option<u64>>,
}

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

impl Notes {
    fn die_after(&self, last: Option<u64>) {
        *self.last.lock().expect("not poisoned") = last;
    }

    /// Lets events have the time of a clock; without one all happen at once.
    fn told_by(&self, clock: Clock) {
        *self.clock.lock().expect("not poisoned") = Some(clock);
    }

    fn state(&self) -> RunState {
        self.state.lock().expect("not poisoned").clone()
    }

    fn events(&self) -> Vec<Event> {
        self.events.lock().expect("not poisoned").clone()
    }

    fn outcomes(&self) -> Vec<(String, Option<HostOutcome>)> {
        self.state().hosts.iter().map(|(name, host)| (name.to_string(), host.outcome)).collect()
    }

    fn outcome(&self, host: &str) -> Option<HostOutcome> {
        self.state().hosts[&name(host)].outcome
    }
}

#[async_trait]
impl Recorder for Notes {
    async fn record(&self, host: Option<&HostName>, what: Happening) -> Result<(), RecordError> {
        let mut state = self.state.lock().expect("not poisoned");
        if self.last.lock().expect("not poisoned").is_some_and(|last| state.sequence >= last) {
            return Err(RecordError("the controller is gone".to_owned()));
        }
        let event = Event {
            run: state.run.clone().unwrap_or_else(RunId::generate),
            sequence: state.sequence + 1,
            at: self.clock.lock().expect("not poisoned").as_ref().map_or(Timestamp::UNIX_EPOCH, |clock| clock()),
            host: host.cloned(),
            what,
        };
        state.apply(&event).map_err(|error| RecordError(error.to_string()))?;
        self.events.lock().expect("not poisoned").push(event);
        Ok(())
    }
}

struct Vault;

impl Secrets for Vault {
    fn resolve(&self, source: &SecretSource) -> Result<Secret, String> {
        match source {
            SecretSource::Env(name) => Ok(Secret::new(format!("value-of-{name}"))),
            other => Err(format!("{other:?} is not here")),
        }
    }
}

struct Nobody;

#[async_trait]
impl Promoter for Nobody {
    async fn promoted(&self, _: &str) -> Option<Word> {
        None
    }
}

/// One run under test, and the hands that steer it.
struct Bench {
    notes: Arc<Notes>,
    means: Means,
    stop: watch::Sender<Stop>,
    pause: watch::Sender<bool>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(transport: impl Transport + 'static) -> Self {
        let notes = Arc::new(Notes::default());
        let (stop, stopped) = watch::channel(Stop::No);
        let (pause, paused) = watch::channel(false);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let means = Means {
            transport: Arc::new(transport),
            recorder: Arc::clone(&notes) as Arc<dyn Recorder>,
            secrets: Arc::new(Vault),
            control: Control { stop: stopped, paused, promoter: Arc::new(Nobody), aborted: Arc::default() },
            progress: Arc::new(|_, _| {}),
            run: RunId::generate(),
            owner: "anna@laptop".to_owned(),
            local: folder.path().to_path_buf(),
            connect_within: Duration::from_secs(5),
            now: clock(),
            windows: Windows::AsPlanned,
            at_most: usize::MAX,
            answers: Arc::new(|_, _| None),
            lease_term: crate::durable::TERM,
        };
        Self { notes, means, stop, pause, folder }
    }

    async fn apply(&self, plan: &Plan) -> ExitCode {
        apply(Arc::new(plan.clone()), Mode::Apply, self.means.clone()).await.expect("events in a legal order")
    }

    async fn look(&self, plan: &Plan) -> ExitCode {
        let mode = Mode::Look { diff: false };
        apply(Arc::new(plan.clone()), mode, self.means.clone()).await.expect("events in a legal order")
    }

    /// Asks for `stop` once the file says `word`.
    async fn stop_at(&self, file: &Path, word: &str, stop: Stop) {
        until(|| std::fs::read_to_string(file).is_ok_and(|text| text.contains(word))).await;
        self.stop.send_replace(stop);
    }

    async fn resume(&self, plan: &Plan, hosts: &[&str], purpose: &str) -> ExitCode {
        self.stop.send_replace(Stop::No);
        let hosts = hosts.iter().map(|host| name(host)).collect();
        let resumed = resume(Arc::new(plan.clone()), self.notes.state(), hosts, purpose, self.means.clone()).await;
        resumed.expect("events in a legal order")
    }
}

/// A clock that goes as the test's own, which may be paused. It begins on a Saturday at noon, UTC.
fn clock() -> Clock {
    let begun = tokio::time::Instant::now();
    let noon: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
    Arc::new(move || {
        let gone = jiff::SignedDuration::try_from(begun.elapsed()).expect("not so long");
        noon.checked_add(gone).expect("in range")
    })
}

fn name(text: &str) -> HostName {
    text.parse().expect("a name")
}

/// A code step that may be repeated, with an undo of its own; `text` is what it runs.
fn step(text: &str) -> PlannedStep {
    let undo = PlannedStep { undo: PlannedUndo::Nothing, ..bare_step(&format!("undo-{text}")) };
    PlannedStep { undo: PlannedUndo::By(vec![undo]), ..bare_step(text) }
}

fn bare_step(text: &str) -> PlannedStep {
    PlannedStep {
        id: StepId::new(0, text),
        name: text.to_owned(),
        effect: Effect::Code,
        timeout: Span::seconds(600),
        idle_timeout: None,
        action: serde_json::from_value(json!({ "command": text })).expect("a command"),
        undo: PlannedUndo::Nothing,
        run_as: None,
        repeat_safe: true,
        retry: None,
        requires: Vec::new(),
        unprotected: None,
        backward_compatible: false,
        part: StepPart::Main,
        takes_back: None,
        ahead: false,
        prefetched: None,
        confirm_within: None,
        timing: crate::plan::Timing::default(),
        hop: None,
    }
}

fn data_step(text: &str) -> PlannedStep {
    let undo = PlannedUndo::Impossible { reason: "only a restore takes data back".to_owned(), waived: true };
    PlannedStep { effect: Effect::Data, undo, ..bare_step(text) }
}

fn check(command: &str) -> PlannedCheck {
    PlannedCheck {
        unrecorded: Vec::new(),
        name: command.to_owned(),
        check: serde_json::from_value(json!({ "command": { "run": command } })).expect("a check"),
        timeout: Span::seconds(10),
        retry: None,
        after_only: false,
        ahead: false,
        run_as: None,
    }
}

fn numbered(mut steps: Vec<PlannedStep>) -> Vec<PlannedStep> {
    for (index, step) in steps.iter_mut().enumerate() {
        step.id = StepId::new(index, &step.name);
    }
    steps
}

/// A plan of these waves in which every host has the same steps.
fn plan(waves: &[&[&str]], steps: Vec<PlannedStep>) -> Plan {
    let steps = numbered(steps);
    let host = |host: &&str| {
        let target = Target { host: name(host), way: Way::Controller, run_as: None };
        let mut of = HostPlan::bare(target, "host".to_owned());
        of.point_of_no_return = steps.iter().position(|step| step.effect.passes_no_return());
        of.steps.clone_from(&steps);
        of.install = (*host).to_owned();
        (name(host), of)
    };
    let wave = |(index, hosts): (usize, &&[&str])| Wave {
        name: if index == 0 && waves.len() > 1 { "canary".to_owned() } else { format!("wave {index}") },
        hosts: hosts.iter().map(|host| name(host)).collect(),
        soak: Span::seconds(0),
        watch: Watch::default(),
        promote: Promote::Auto,
        budget: FailureBudget::default(),
    };
    Plan {
        format: crate::plan::FORMAT,
        digest: String::new(),
        made_at: Timestamp::UNIX_EPOCH,
        title: "test".to_owned(),
        playbook: None,
        purpose: Purpose::Apply,
        role: None,
        action: None,
        wanted: None,
        waves: waves.iter().enumerate().map(wave).collect(),
        hosts: waves.iter().copied().flatten().map(host).collect(),
        rollout: Rollout {
            at_once: 10,
            budget: FailureBudget { failed: Some(0), ..FailureBudget::default() },
            before_data: BeforeData::Undo,
            after_data: AfterData::Hold,
            scope: Scope::Host,
            outside_window: OutsideWindow::Leave,
            baseline: Baseline::Park,
            per_minute: None,
        },
        summary: None,
        direct: false,
        notes: Vec::new(),
        acknowledged: Vec::new(),
        warnings: Vec::new(),
    }
    .seal()
}

/// A plan of so many waves of so many hosts, which do nothing.
pub(super) fn plan_of(waves: usize, size: usize) -> Plan {
    let names: Vec<String> = (0..waves * size).map(|n| format!("web-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let waves: Vec<&[&str]> = names.chunks(size).collect();
    plan(&waves, Vec::new())
}

/// Hosts that cannot be durable, so that every program is a row of the table.
fn attached() -> ScriptedTransport {
    let answer = |exec: &Exec| {
        let Program::Script(text) = &exec.program else { return (127, String::new()) };
        let nonce = text.lines().find_map(|line| line.strip_prefix("N=")).unwrap_or_default().trim_matches('\'');
        (0, format!("\n{nonce} durable no the test says so\n{nonce} end\n"))
    };
    ScriptedTransport::new().answer(Answer::to("durable no").computed(answer))
}

/// What was run on a host, in order: the words that name the test's commands.
fn ran(transport: &ScriptedTransport, host: &str, words: &[&str]) -> Vec<String> {
    let texts = transport.texts(host);
    let texts = texts.iter().filter(|text| !text.contains("durable no"));
    let mut sorted: Vec<&&str> = words.iter().collect();
    // `undo-one` contains `one`: the longest word that fits names the program.
    sorted.sort_by_key(|word| std::cmp::Reverse(word.len()));
    texts.filter_map(|text| sorted.iter().find(|word| text.contains(**word)).map(|word| (**word).to_string())).collect()
}

/// Waits until something is so: what is waited for in vain fails a test instead of hanging it.
#[track_caller]
fn until(is_so: impl Fn() -> bool) -> impl Future<Output = ()> {
    let (asked, end) = (std::panic::Location::caller(), std::time::Instant::now() + Duration::from_secs(60));
    async move {
        while !is_so() {
            assert!(std::time::Instant::now() < end, "waited in vain at {asked}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
