//! One scenario: a fleet, a playbook, what goes wrong, what a person does; and the run of it under a paused clock.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Notify;

use longshore::{
    config::{Project, Severity},
    engine::{self, Control, Means, Promoter, Secrets, Stop, Windows},
    event::Recorder,
    model::{RunNumber, Secret, SecretSource, Span},
    plan::{self, Plan},
    report::{self, Detail, Page},
};

use super::{
    command::{Command, Then},
    run::{Clock, Hands, Notes, Run, Steering, id},
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
    /// The version wanted.
    #[serde(default = "usual")]
    to: String,
    /// Which of the roles in `product`: `role.toml`, unless it says another.
    #[serde(default)]
    role: Role,
    /// The product's `releases.toml`.
    #[serde(default)]
    releases: Option<String>,
    /// When it begins.
    #[serde(default = "usual_beginning")]
    begins: Timestamp,
    /// What is typed first: `apply`, unless it says something else.
    #[serde(default)]
    first: Then,
    fleet: Vec<Part>,
    #[serde(default)]
    fault: Vec<Fault>,
    #[serde(default)]
    person: Vec<Act>,
    /// What is typed afterwards.
    #[serde(default)]
    then: Vec<Then>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Role {
    /// Four steps, the second of which may change data.
    #[default]
    Usual,
    /// Every way back there is: incident, safety copy, restore, migrations that can be read.
    Data,
    /// What may be fetched ahead of time.
    Ahead,
    /// A step that may cut the controller off.
    Door,
}

impl Role {
    fn text(self) -> &'static str {
        match self {
            Self::Usual => include_str!("product/role.toml"),
            Self::Data => include_str!("product/data.toml"),
            Self::Ahead => include_str!("product/ahead.toml"),
            Self::Door => include_str!("product/door.toml"),
        }
    }
}

fn usual() -> String {
    "1.4.9".to_owned()
}

/// A Monday, at eight in the morning UTC.
fn usual_beginning() -> Timestamp {
    Timestamp::from_second(1_772_438_400).expect("a time")
}

/// Hosts that are alike.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Part {
    /// The name, with a number behind it.
    name: String,
    hosts: usize,
    /// As the plan is told; `unknown` tells nothing.
    version: String,
    /// What is installed by the time of the run, where it is another.
    #[serde(default)]
    really: Option<String>,
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

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, source: &SecretSource) -> Result<Secret, String> {
        Err(format!("{source:?} is not here"))
    }
}

struct Word(Arc<Notify>);

#[async_trait]
impl Promoter for Word {
    async fn promoted(&self, _: &str) -> Option<engine::Word> {
        self.0.notified().await;
        Some(engine::Word { by: Some("anna".to_owned()), reason: None })
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
        let whole = self.plan(folder.path());
        let versions = self.fleet.iter().flat_map(Part::hosts);
        let versions =
            versions.map(|(name, part)| (name, part.really.as_ref().unwrap_or(&part.version).clone())).collect();
        let world = Arc::new(World::new(versions, self.fault.clone()));
        let clock: Clock = {
            let (world, begins) = (Arc::clone(&world), self.begins);
            Arc::new(move || begins + jiff::SignedDuration::try_from(world.now()).expect("a short time"))
        };
        let mut text = format!("{}\n", self.says.trim());
        let mut runs: Vec<Run> = Vec::new();
        for then in std::iter::once(&self.first).chain(&self.then) {
            tokio::time::sleep(then.after.map_or(Duration::ZERO, |after| after.0)).await;
            // A rollback is of the last upgrade.
            let of = runs.iter().rfind(|run| run.does == Command::Apply).map_or(RunNumber(1), |run| run.number);
            let _ = writeln!(text, "\n$ longshore {}\n", then.typed(of));
            if then.does.begins_a_run() {
                let looks = || self.means(&world, &clock, folder.path(), &Steering::new().0);
                let Some(plan) = then.plan(&whole, &runs, clock(), looks, &mut text).await else { continue };
                runs.push(Run::new(then.does, plan, runs.len(), self.begins, &clock));
            }
            let run = runs.last().expect("a run was begun");
            if then.shows_plan {
                text.push_str(&report::plan(&run.plan, Detail::Brief, &Page::plain(100)));
                text.push('\n');
            }
            let (steering, hands) = Steering::new();
            let mut means = self.means(&world, &clock, folder.path(), &steering);
            means.recorder = Arc::clone(&run.notes) as Arc<dyn Recorder>;
            means.run = run.notes.run.clone();
            if let Some((by, reason)) = &then.glass {
                means.windows = Windows::Overridden { by: by.clone(), reason: reason.clone() };
            }
            // Nothing takes a day: what hangs is found here, and not by whoever waits for the tests.
            let ran = tokio::time::timeout(Duration::from_hours(24), run.go(then, means));
            let exit = tokio::select! {
                exit = ran => Some(exit.expect("it ends")),
                () = self.people(&world, &hands) => None,
            };
            let state = run.state();
            let page = Page { now: Some(clock()), ..Page::plain(100) };
            text.push_str(&report::results(&state, Some(run.number), &page));
            match exit {
                Some(exit) => assert_eq!(exit, state.exit_code(), "the run and the fold disagree\n{text}"),
                None => text.push_str("the controller died\n"),
            }
            let story = std::mem::take(&mut *run.notes.story.lock().expect("not poisoned"));
            let _ = write!(text, "\nafter\n{story}");
        }
        // What still runs on the hosts comes to its end.
        tokio::time::sleep(Duration::from_hours(1)).await;
        let _ = write!(text, "\n{}", truth(&world));
        text
    }

    /// What a run needs; it is given its own recorder and its own id.
    fn means(&self, world: &Arc<World>, clock: &Clock, local: &Path, steering: &Steering) -> Means {
        Means {
            transport: Arc::new(Simulated(Arc::clone(world))),
            recorder: Arc::new(Notes::new(id(9), self.begins, clock)),
            secrets: Arc::new(NoSecrets),
            control: Control {
                stop: steering.stop.clone(),
                paused: steering.paused.clone(),
                promoter: Arc::new(Word(Arc::clone(&steering.promotion))),
                aborted: Arc::default(),
            },
            progress: Arc::new(|_, _| {}),
            run: id(9),
            owner: "anna@laptop".to_owned(),
            lease_term: longshore::durable::TERM,
            local: local.to_path_buf(),
            connect_within: Duration::from_secs(10),
            now: Arc::clone(clock),
            windows: Windows::AsPlanned,
            at_most: usize::MAX,
            answers: Arc::new(|_, _| None),
        }
    }

    /// Does what people do while a run goes on. Ends where the controller dies.
    async fn people(&self, world: &World, hands: &Hands) {
        for act in &self.person {
            let Some(left) = act.at.0.checked_sub(world.now()) else { continue };
            tokio::time::sleep(left).await;
            match act.does {
                Does::Pause => drop(hands.pause.send_replace(true)),
                Does::Promote => {
                    hands.pause.send_replace(false);
                    hands.promotion.notify_one();
                }
                Does::Abort => drop(hands.stop.send_replace(Stop::Drain)),
                Does::Kill => return,
            }
        }
        std::future::pending::<()>().await;
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
        write("roles/product/role.toml", self.role.text());
        if let Some(releases) = &self.releases {
            write("roles/product/releases.toml", releases);
        }
        let head = format!("role = \"product\"\naction = \"upgrade\"\nhosts = \"all\"\nto = \"{}\"\n", self.to);
        write("playbooks/upgrade.toml", &format!("{head}{}", self.playbook));
        let (project, mut found) = Project::load_with_home(root, None);
        let (playbook, more) = project.load_playbook(&root.join("playbooks/upgrade.toml"));
        found.extend(project.lint());
        found.extend(more);
        found.retain(|one| one.severity == Severity::Error);
        let playbook = playbook.unwrap_or_else(|| panic!("{}", report::diagnostics::render(&found, false)));
        assert!(found.is_empty(), "{}", report::diagnostics::render(&found, false));
        let versions = self.fleet.iter().flat_map(Part::hosts);
        let mut order = plan::Order::new("Upgrade the product", plan::Purpose::Apply, root.to_path_buf(), self.begins);
        order.read = versions
            .map(|(name, part)| {
                let reading = match part.version.as_str() {
                    "unknown" => plan::Reading::of_sources(&[Err("no such file".to_owned())]),
                    version => plan::Reading::known(longshore::model::Version::new(version)),
                };
                (name.parse().expect("a name"), reading)
            })
            .collect();
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

/// What the hosts really have, whatever was said of them.
fn truth(world: &World) -> String {
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in world.names() {
        let is = world.with(&name, |host| {
            let lease = if host.lease.is_some() { ", lease not given back" } else { "" };
            let stopped = if host.stopped { ", stopped" } else { "" };
            let away = if host.traffic_is_away { ", traffic sent away" } else { "" };
            let moved = host.schema.as_ref().filter(|schema| **schema != host.version);
            let schema = moved.map(|schema| format!(", data of {schema}")).unwrap_or_default();
            let mut twice = String::new();
            for verb in ["fetch", "backup", "migrate", "switch"] {
                if host.commands.iter().filter(|command| *command == verb).count() > 1 {
                    let _ = write!(twice, ", {verb} more than once");
                }
            }
            format!("{}{schema}{stopped}{away}{lease}{twice}", host.version)
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
