//! R2, R54: the controller dies at each event of a run, before it is on the disk and after; `resume` reaches the same end.
//!
//! The engine runs in this process, with a recorder that stops for ever at the n-th event. Then all of it is dropped,
//! as a `kill -9` would, and what is in the ledger is taken up by an engine that knows nothing else.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use longshore::{
    config,
    engine::{self, Control, Means, Mode, Promoter, Secrets, Stop, Word},
    event::{Happening, RecordError, Recorder, RunState},
    ledger::{Ledger, RunHandle, RunMeta},
    model::{HostName, HostOutcome, RunId, Secret, SecretSource},
    plan::{self, Plan},
    transport::ssh::{SshOptions, SshTransport, config::Resolver},
};
use tokio::sync::{Notify, watch};

use crate::{
    field::{Field, Project},
    judge::lease_left,
    victims,
};

const STEPS: usize = 3;

/// Where the recorder stops for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Never,
    Before(u64),
    After(u64),
}

struct Mortal {
    inner: RunHandle,
    death: Death,
    count: AtomicU64,
    died: Arc<Notify>,
}

#[async_trait]
impl Recorder for Mortal {
    async fn record(&self, host: Option<&HostName>, what: Happening) -> Result<(), RecordError> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let (last, is_kept) = match self.death {
            Death::Never => (u64::MAX, true),
            Death::Before(last) => (last, false),
            Death::After(last) => (last, true),
        };
        if number < last || (number == last && is_kept) {
            self.inner.record(host, what).await?;
        }
        if number >= last {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, _: &SecretSource) -> Result<Secret, String> {
        Err("there are none".to_owned())
    }
}

struct Nobody;

#[async_trait]
impl Promoter for Nobody {
    async fn promoted(&self, _: &str) -> Option<Word> {
        Some(Word { by: None, reason: None })
    }
}

fn means(project: &Project, handle: &RunHandle, recorder: Arc<dyn Recorder>) -> Means {
    let mut options = SshOptions::new(Resolver::empty(PathBuf::from("/nonexistent"), "nobody".to_owned()));
    options.known_hosts = Some(project.path.join("known_hosts"));
    // Whoever cannot ask any more asks for nothing.
    let (_, stop) = watch::channel(Stop::No);
    let (_, paused) = watch::channel(false);
    Means {
        transport: Arc::new(SshTransport::new(options)),
        recorder,
        secrets: Arc::new(NoSecrets),
        control: Control { stop, paused, promoter: Arc::new(Nobody), aborted: Arc::default() },
        at_most: usize::MAX,
        answers: Arc::new(|_, _| None),
        progress: Arc::new(|_, _| {}),
        run: handle.id().clone(),
        owner: "tester@controller".to_owned(),
        local: handle.folder().to_path_buf(),
        connect_within: Duration::from_secs(10),
        now: Arc::new(jiff::Timestamp::now),
        windows: longshore::engine::Windows::AsPlanned,
        lease_term: longshore::durable::TERM,
    }
}

fn plan_of(project: &Project) -> Arc<Plan> {
    let (documents, _) = config::Project::load(&project.path);
    let (playbook, _) = documents.load_playbook(&project.path.join("playbooks/work.toml"));
    let base = project.path.join("playbooks");
    let order = plan::Order::new("Work", plan::Purpose::Apply, base, jiff::Timestamp::now());
    Arc::new(plan::compile(&documents, &playbook.expect("a playbook"), &order).expect("a plan"))
}

fn ledger_of(project: &Project) -> Ledger {
    Ledger::open(&project.path, Arc::new(jiff::Timestamp::now)).expect("a ledger")
}

/// What counts at the end: how hosts and steps ended, and what the hosts themselves have.
type End = BTreeMap<String, (Option<HostOutcome>, Vec<String>, Vec<(usize, usize)>)>;

fn end_of(field: &Field, project: &Project, state: &RunState) -> End {
    let hosts = field.hosts.iter().map(|host| {
        let of = &state.hosts[&host.name];
        let steps = of.steps.values().map(|step| format!("{}: {:?}", step.name, step.outcome)).collect();
        let lines = (1..=project.steps).map(|step| project.traced(host, step)).collect();
        (host.name.to_string(), (of.outcome, steps, lines))
    });
    hosts.collect()
}

/// Runs the plan until `death`, and again until its end. Returns the end and how many events there were before death.
fn run(field: &Field, death: Death) -> (End, u64) {
    let project = field.project_with(STEPS, &|_| "sleep 0.03".to_owned(), "");
    let plan = plan_of(&project);
    let counted = field.runtime.block_on(async {
        let ledger = ledger_of(&project);
        let meta = RunMeta {
            id: RunId::generate(),
            title: "Work".to_owned(),
            purpose: "apply".to_owned(),
            plan_digest: plan.digest.clone(),
            hosts: plan.hosts.len(),
            controller: "tester".to_owned(),
        };
        let text = serde_json::to_string(&*plan).expect("plain data");
        let handle = ledger.begin_run(&text, meta).expect("a run");
        let died = Arc::new(Notify::new());
        let recorder =
            Arc::new(Mortal { inner: handle.clone(), death, count: AtomicU64::new(0), died: Arc::clone(&died) });
        let engine = engine::apply(Arc::clone(&plan), Mode::Apply, means(&project, &handle, recorder.clone()));
        tokio::select! {
            ended = tokio::time::timeout(Duration::from_secs(60), engine) => {
                ended.expect("it ends").expect("the ledger works");
            }
            () = died.notified() => {}
        }
        recorder.count.load(Ordering::SeqCst)
    });
    let state = field.runtime.block_on(async {
        let ledger = ledger_of(&project);
        let number = ledger.runs(1).expect("runs")[0].number;
        let past = RunState::fold(&ledger.events(number, None).expect("events")).expect("a legal prefix");
        if past.ended.is_none() {
            let handle = ledger.reopen_run(number, "anna@laptop").expect("nobody has it any more");
            let hosts =
                plan.hosts.keys().filter(|host| past.hosts.get(*host).is_none_or(|host| host.outcome.is_none()));
            let hosts = hosts.cloned().collect();
            let means = means(&project, &handle, Arc::new(handle.clone()));
            let resumed = engine::resume(Arc::clone(&plan), past, hosts, "resume", means);
            let ended = tokio::time::timeout(Duration::from_secs(60), resumed).await;
            ended.unwrap_or_else(|_| panic!("{death:?}: the resumed run does not end")).expect("the ledger works");
        }
        RunState::fold(&ledger.events(number, None).expect("events")).expect("legal events")
    });
    assert!(state.ended.is_some(), "{death:?}: the run has no end");
    for host in &field.hosts {
        assert_eq!(lease_left(host), None, "{death:?}: {}", host.name);
    }
    (end_of(field, &project, &state), counted)
}

#[test]
fn r2_a_controller_that_dies_at_any_event_is_resumed_to_the_same_end() {
    let field = Field::lab(2);
    let (unfaulted, events) = run(&field, Death::Never);
    assert!(events > 15, "a run of {events} events");
    let is_long = std::env::var_os("LONGSHORE_FAULT_ALL").is_some();
    let mut deaths = 0;
    for number in (1..=events).filter(|number| is_long || number % 8 == 1) {
        for death in [Death::Before(number), Death::After(number)] {
            let (end, _) = run(&field, death);
            assert_eq!(end, unfaulted, "{death:?}");
            deaths += 1;
        }
    }
    println!("{events} events; {deaths} deaths, each resumed to the unfaulted end");
    let begun = std::time::Instant::now();
    while field.hosts.iter().any(|host| !victims::of(&host.mark).is_empty()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "processes are left");
        std::thread::sleep(Duration::from_millis(50));
    }
}
