//! One scenario: a fleet, a playbook, what goes wrong, what a person does; and the run of it under a paused clock.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::{Notify, watch};

use longshore::{
    config::{Project, Severity},
    engine::{self, Control, Means, Mode, Promoter, Secrets, Stop, Windows},
    event::{Event, Happening, RecordError, Recorder, RunState},
    model::{HostName, HostOutcome, RunId, RunNumber, Secret, SecretSource, Span},
    plan::{self, Plan},
    report::{self, Page},
};

use super::{
    wire::Simulated,
    world::{Fault, World},
};

/// A scenario as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(clippy::unsafe_derive_deserialize, reason = "the unsafe method is one that a macro of tokio makes")]
pub(crate) struct Scenario {
    /// The rule that it shows.
    pub(crate) says: String,
    /// What the playbook has beside its role, action and hosts.
    playbook: String,
    fleet: Vec<Part>,
    #[serde(default)]
    fault: Vec<Fault>,
    #[serde(default)]
    person: Vec<Act>,
    /// What is typed afterwards.
    #[serde(default)]
    then: Vec<Then>,
}

/// Hosts that are alike.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Part {
    /// The name, with a number behind it.
    name: String,
    hosts: usize,
    version: String,
    #[serde(default)]
    profile: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    vars: BTreeMap<String, String>,
    /// More of the host, as the inventory has it.
    #[serde(default)]
    more: String,
}

/// What a person does while a run goes on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Act {
    /// Counted from the beginning of the scenario.
    at: Span,
    does: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Does {
    Pause,
    Promote,
    Abort,
    /// The controller dies.
    Kill,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Then {
    does: Again,
    /// How long after the end of what came before.
    #[serde(default)]
    after: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Again {
    Resume,
    RetryUnreached,
    RetryFailed,
    RetryNotStarted,
}

/// The clock of the scenarios begins here.
const BEGINNING: i64 = 1_772_438_400;

/// What was recorded, and what it adds up to.
struct Notes {
    run: RunId,
    /// What happened to waves, with the time since the beginning.
    story: Mutex<String>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<RunState>,
}

#[async_trait]
impl Recorder for Notes {
    async fn record(&self, host: Option<&HostName>, what: Happening) -> Result<(), RecordError> {
        let mut state = self.state.lock().expect("not poisoned");
        let (run, sequence, at) = (self.run.clone(), state.sequence + 1, (self.clock)());
        let event = Event { run, sequence, at, host: host.cloned(), what };
        state.apply(&event).map_err(|error| RecordError(error.to_string()))?;
        if let Some(line) = line(&event.what, &state) {
            let since = Duration::try_from(at.duration_since(beginning())).expect("time goes on");
            let since = report::words::duration(Duration::from_secs(since.as_secs()));
            let _ = writeln!(self.story.lock().expect("not poisoned"), "  {since}: {line}");
        }
        Ok(())
    }
}

fn beginning() -> Timestamp {
    Timestamp::from_second(BEGINNING).expect("a time")
}

/// What the story tells of an event.
fn line(what: &Happening, state: &RunState) -> Option<String> {
    let name = |wave: usize| state.waves[wave].name.as_str();
    Some(match what {
        Happening::WaveStarted { name, .. } => format!("{name} begins"),
        Happening::SoakStarted { wave, length } => {
            format!("{}; {} soaks for {length}", ends(state, *wave), name(*wave))
        }
        Happening::SoakFinished { wave, verdict } => format!("the soak of {} is over: {verdict}", name(*wave)),
        Happening::WaveFinished { wave } if state.waves[*wave].soak.is_none() => {
            format!("{}; {} is finished", ends(state, *wave), name(*wave))
        }
        Happening::WaveFinished { wave } => format!("{} is finished", name(*wave)),
        Happening::Halted { nothing_left: true, .. } => "a budget is exceeded, and nothing is left to halt".to_owned(),
        Happening::Halted { .. } => "halted".to_owned(),
        Happening::Interrupted { .. } => "interrupted".to_owned(),
        _ => return None,
    })
}

/// When the hosts of a wave had ended: half of them, and all but the last.
fn ends(state: &RunState, wave: usize) -> String {
    let hosts = &state.waves[wave].hosts;
    let mut ends: Vec<_> = hosts.iter().filter_map(|host| state.hosts[host].ended).collect();
    ends.sort();
    let at = |index: usize| {
        let since = Duration::try_from(ends[index].duration_since(beginning())).expect("time goes on");
        report::words::duration(Duration::from_secs(since.as_secs()))
    };
    match ends.len() {
        0 => "no host has ended".to_owned(),
        1 => format!("its host ended at {}", at(0)),
        count => format!("half of {count} hosts ended by {}, all but one by {}", at(count / 2 - 1), at(count - 2)),
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, source: &SecretSource) -> Result<Secret, String> {
        Err(format!("{source:?} is not here"))
    }
}

struct Word(Arc<Notify>);

#[async_trait]
impl Promoter for Word {
    async fn promoted(&self, _: &str) -> bool {
        self.0.notified().await;
        true
    }
}

impl Scenario {
    pub(crate) fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("a scenario");
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Plays it, and tells what a person would see after each command, and what is true.
    pub(crate) async fn play(&self) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plan = Arc::new(self.plan(folder.path()));
        let versions = self.fleet.iter().flat_map(Part::hosts).map(|(name, part)| (name, part.version.clone()));
        let world = Arc::new(World::new(versions.collect(), self.fault.clone()));
        let clock: Arc<dyn Fn() -> Timestamp + Send + Sync> = {
            let world = Arc::clone(&world);
            Arc::new(move || {
                let since = jiff::SignedDuration::try_from(world.now()).expect("a short time");
                beginning() + since
            })
        };
        let run: RunId = RunId::from_text("01scenario0000000000000000").expect("an id");
        let notes = Arc::new(Notes {
            run: run.clone(),
            story: Mutex::default(),
            clock: Arc::clone(&clock),
            state: Mutex::default(),
        });
        let mut text = format!("{}\n", self.says.trim());
        let _ = writeln!(text, "\n$ longshore apply upgrade.toml\n");
        let mut again: Option<Again> = None;
        let mut rest = self.then.iter();
        loop {
            let (stop, stopped) = watch::channel(Stop::No);
            let (pause, paused) = watch::channel(false);
            let promotion = Arc::new(Notify::new());
            let promoter = Arc::new(Word(Arc::clone(&promotion)));
            let means = Means {
                transport: Arc::new(Simulated(Arc::clone(&world))),
                recorder: Arc::clone(&notes) as Arc<dyn Recorder>,
                secrets: Arc::new(NoSecrets),
                control: Control { stop: stopped, paused, promoter },
                progress: Arc::new(|_, _| {}),
                run: run.clone(),
                owner: "anna@laptop".to_owned(),
                lease_term: longshore::durable::TERM,
                local: folder.path().to_path_buf(),
                connect_within: Duration::from_secs(10),
                now: Arc::clone(&clock),
                windows: Windows::AsPlanned,
                at_most: usize::MAX,
                answers: Arc::new(|_, _| None),
            };
            let past = notes.state.lock().expect("not poisoned").clone();
            let ran = async {
                let plan = Arc::clone(&plan);
                let ended = match again {
                    None => engine::apply(plan, Mode::Apply, means).await,
                    Some(again) => {
                        let hosts = chosen(&past, again);
                        let purpose = if again == Again::Resume { "resume" } else { "retry" };
                        engine::resume(plan, past, hosts, purpose, means).await
                    }
                };
                ended.expect("events in a legal order")
            };
            let person = async {
                for act in &self.person {
                    let Some(left) = act.at.0.checked_sub(world.now()) else { continue };
                    tokio::time::sleep(left).await;
                    match act.does {
                        Does::Pause => drop(pause.send_replace(true)),
                        Does::Promote => {
                            pause.send_replace(false);
                            promotion.notify_one();
                        }
                        Does::Abort => drop(stop.send_replace(Stop::Drain)),
                        Does::Kill => return,
                    }
                }
                std::future::pending::<()>().await;
            };
            // Nothing takes a day: what hangs is found here, and not by whoever waits for the tests.
            let exit = tokio::select! {
                exit = tokio::time::timeout(Duration::from_hours(24), ran) => Some(exit.expect("it ends")),
                () = person => None,
            };
            let state = notes.state.lock().expect("not poisoned").clone();
            text.push_str(&report::results(
                &state,
                Some(RunNumber(1)),
                &Page { now: Some(clock()), ..Page::plain(100) },
            ));
            match exit {
                Some(exit) => assert_eq!(exit, state.exit_code(), "the run and the fold disagree\n{text}"),
                None => text.push_str("the controller died\n"),
            }
            let story = std::mem::take(&mut *notes.story.lock().expect("not poisoned"));
            let _ = write!(text, "\nafter\n{story}");
            let Some(next) = rest.next() else { break };
            tokio::time::sleep(next.after.map_or(Duration::ZERO, |after| after.0)).await;
            again = Some(next.does);
            let typed = match next.does {
                Again::Resume => "resume",
                Again::RetryUnreached => "retry --unreached",
                Again::RetryFailed => "retry --failed",
                Again::RetryNotStarted => "retry --not-started",
            };
            let _ = writeln!(text, "\n$ longshore {typed}\n");
        }
        // What still runs on the hosts comes to its end.
        tokio::time::sleep(Duration::from_hours(1)).await;
        let _ = write!(text, "\n{}", truth(&world));
        text
    }

    /// Writes the project and compiles the playbook, as the command does.
    fn plan(&self, root: &Path) -> Plan {
        let write = |file: &str, text: &str| {
            let file = root.join(file);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(file, text).expect("a file");
        };
        let mut inventory = include_str!("product/fleet.toml").to_owned();
        let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, part) in self.fleet.iter().flat_map(Part::hosts) {
            let profile = part.profile.as_deref().unwrap_or("small");
            let vars = part.vars.iter().map(|(key, value)| format!("{key} = {value:?}")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(
                inventory,
                "[hosts.{name}]\naddress = \"{name}\"\nprofile = \"{profile}\"\nvars = {{ {vars} }}\n{}",
                part.more
            );
            for group in &part.groups {
                groups.entry(group).or_default().push(name.clone());
            }
        }
        for (group, hosts) in groups {
            let _ = writeln!(inventory, "[groups.{group}]\nhosts = {hosts:?}");
        }
        write("inventory/fleet.toml", &inventory);
        write("roles/product/role.toml", include_str!("product/role.toml"));
        let head = "role = \"product\"\naction = \"upgrade\"\nhosts = \"all\"\nto = \"1.4.9\"\n";
        write("playbooks/upgrade.toml", &format!("{head}{}", self.playbook));
        let (project, mut found) = Project::load_with_home(root, None);
        let (playbook, more) = project.load_playbook(&root.join("playbooks/upgrade.toml"));
        found.extend(project.lint());
        found.extend(more);
        found.retain(|one| one.severity == Severity::Error);
        let playbook = playbook.unwrap_or_else(|| panic!("{}", report::diagnostics::render(&found, false)));
        assert!(found.is_empty(), "{}", report::diagnostics::render(&found, false));
        let versions = self.fleet.iter().flat_map(Part::hosts);
        let order = plan::Order {
            title: "Upgrade the product".to_owned(),
            playbook: None,
            purpose: plan::Purpose::Apply,
            to: None,
            limit: None,
            now: beginning(),
            read: versions
                .map(|(name, part)| {
                    let version = longshore::model::Version::new(&*part.version);
                    (name.parse().expect("a name"), plan::Reading::known(version))
                })
                .collect(),
            from: std::collections::BTreeMap::new(),
            direct: false,
            base: root.to_path_buf(),
        };
        plan::compile(&project, &playbook, &order)
            .unwrap_or_else(|problems| panic!("{}", report::diagnostics::render(&problems, false)))
    }
}

impl Part {
    fn hosts(&self) -> impl Iterator<Item = (String, &Self)> {
        let digits = self.hosts.to_string().len();
        (1..=self.hosts).map(move |n| (format!("{}-{n:0digits$}", self.name), self))
    }
}

/// The hosts that a command takes up.
fn chosen(state: &RunState, again: Again) -> Vec<HostName> {
    let is_chosen = |outcome: Option<HostOutcome>, host: &longshore::event::HostState| match again {
        Again::Resume => host.goes_on(),
        Again::RetryUnreached => outcome == Some(HostOutcome::Unreachable),
        Again::RetryNotStarted => outcome == Some(HostOutcome::NotStarted),
        Again::RetryFailed => {
            matches!(outcome, Some(HostOutcome::Failed | HostOutcome::Undone | HostOutcome::Parked))
        }
    };
    state.hosts.iter().filter(|(_, host)| is_chosen(host.outcome, host)).map(|(name, _)| name.clone()).collect()
}

/// What the hosts really have, whatever was said of them.
fn truth(world: &World) -> String {
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in world.names() {
        let is = world.with(&name, |host| {
            let lease = if host.lease.is_some() { ", lease not given back" } else { "" };
            let moved = host.schema.as_ref().filter(|schema| **schema != host.version);
            let schema = moved.map(|schema| format!(", data of {schema}")).unwrap_or_default();
            let mut twice = String::new();
            for verb in ["fetch", "backup", "migrate", "switch"] {
                if host.commands.iter().filter(|command| *command == verb).count() > 1 {
                    let _ = write!(twice, ", {verb} more than once");
                }
            }
            format!("{}{schema}{lease}{twice}", host.version)
        });
        alike.entry(is).or_default().push(name);
    }
    let mut text = "in truth:\n".to_owned();
    for (is, hosts) in alike {
        let names = report::words::ranges(hosts.iter().map(String::as_str)).join(", ");
        let _ = writeln!(text, "  {is}: {} ({names})", hosts.len());
    }
    text
}
