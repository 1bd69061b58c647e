//! Plans of whole projects: the steps of each hop, who is refused, what must be read.

use std::fs;

use super::*;
use crate::plan::{Asked, Installed};

mod ahead;
mod digest;
mod each;

const INVENTORY: &str = r#"
[hosts.a-1]
[hosts.a-2]
allow-tags = ["pr-*"]
"#;

const ROLE: &str = r#"
vars = { path = "/srv/app" }
[version]
command = { run = "cat {{path}}/version" }

[[gate]]
name = "The release is there"
command = { run = "test -d {{path}}/{{release.version}}" }
[[gate]]
name = "Every variable is set"
command = { run = "env-has {{#each release.requires-env}}{{this}} {{/each}}" }
[[gate]]
name = "There is room"
disk = { path = "{{path}}", free = "1GiB" }

[[check]]
name = "It answers"
http = { url = "http://localhost/health", json = { version = "{{wanted}}" } }

[[upgrade]]
name = "Say that it begins"
command = "wall {{upgrade.from}} to {{upgrade.to}} by {{#each upgrade.hops}}{{this}} {{/each}}"
when = "hop.first"
effect = "read"
[[upgrade]]
name = "Back up"
command = "pg_dump >{{hop.to}}.dump"
effect = "read"
only-for = ["minor", "major"]
[[upgrade]]
name = "Pin"
command = "pin {{installed}} {{wanted}}"
[[upgrade]]
name = "Migrate"
command = "migrate {{#if release.migration}}{{release.migration}}{{/if}}"
effect = "data"
requires = [{ receipt = "Back up" }]
only-for = ["minor", "major"]
[[upgrade]]
name = "Switch"
command = "switch {{release.version}}"
[[upgrade]]
name = "Tell"
command = "wall done"
effect = "read"
once-per-hop = false
"#;

const RELEASES: &str = r#"
release = [
    { version = "1.0.0", migration = "100" },
    { version = "1.0.1" },
    { version = "1.1.0", migration = "110", requires-env = ["A"] },
    { version = "1.2.0", migration = "120", requires-env = ["B"], notes = "Look at the clock." },
    { version = "2.0.0" },
]
"#;

const CHANGELOG: &str = "\
# Changelog
## 2.0.0
## 1.2.0
### Required action
- Set `B`.
## 1.1.0
### BREAKING CHANGES
- All is new.
## 1.0.1
";

const PLAYBOOK: &str = r#"
role = "app"
action = "upgrade"
hosts = "all"
"#;

/// A project folder whose files can be changed before it is planned.
struct Bench {
    folder: tempfile::TempDir,
    order: Order,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Timestamp::UNIX_EPOCH;
        let order = Order::new("test", Purpose::Apply, folder.path().join("playbooks"), now);
        let bench = Self { folder, order };
        let role = |file: &str| format!("roles/app/{file}");
        bench
            .file("inventory/fleet.toml", INVENTORY)
            .file(&role("role.toml"), ROLE)
            .file(&role("releases.toml"), RELEASES)
            .file(&role("CHANGELOG.md"), CHANGELOG)
            .file("playbooks/up.toml", PLAYBOOK)
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("written");
        self
    }

    fn to(mut self, version: &str) -> Self {
        self.order.to = Some(Version::new(version));
        self
    }

    /// Both hosts were asked, and have this.
    fn has(self, version: &str) -> Self {
        self.found("a-1", Installed::Known(Version::new(version))).found("a-2", Installed::Known(Version::new(version)))
    }

    fn found(mut self, host: &str, installed: Installed) -> Self {
        let facts = BTreeMap::from([("arch".to_owned(), "x86_64".to_owned())]);
        self.order.read.insert(name(host), Reading { installed, facts, ..Reading::default() });
        self
    }

    fn compile(&self) -> Result<Plan, Vec<Diagnostic>> {
        let (project, found) = Project::load_with_home(self.folder.path(), None);
        let errors = |found: &[Diagnostic]| found.iter().any(|found| found.severity == crate::config::Severity::Error);
        assert!(!errors(&found), "{found:?}");
        let (playbook, found) = project.load_playbook(&self.folder.path().join("playbooks/up.toml"));
        assert!(!errors(&found), "{found:?}");
        compile(&project, &playbook.expect("a playbook"), &self.order)
    }

    fn plan(&self) -> Plan {
        self.compile().expect("a plan")
    }
}

fn name(text: &str) -> HostName {
    text.parse().expect("a name")
}

/// The commands of a host's steps, each after its hop.
fn steps(plan: &Plan, host: &str) -> Vec<String> {
    let steps = &plan.hosts[&name(host)].steps;
    let hop = |hop: Option<usize>| hop.map_or_else(|| "-".to_owned(), |hop| hop.to_string());
    steps.iter().map(|step| format!("{} {}", hop(step.hop), step.action.kind().summary())).collect()
}

fn refusal(plan: &Plan, host: &str) -> String {
    let host = &plan.hosts[&name(host)];
    assert!(host.steps.is_empty() && host.checks.is_empty() && host.gates.is_empty(), "nothing is done there");
    host.refused.as_ref().expect("a refusal").reason.clone()
}

#[test]
fn f_04_a_patch_runs_neither_backup_nor_migration() {
    let plan = Bench::new().to("1.0.1").has("1.0.0").plan();
    assert_eq!(
        steps(&plan, "a-1"),
        ["0 wall 1.0.0 to 1.0.1 by 1.0.1", "0 pin 1.0.0 1.0.1", "0 switch 1.0.1", "0 wall done"]
    );
    let host = &plan.hosts[0];
    assert_eq!((host.path.len(), host.point_of_no_return), (1, None));
    assert!(plan.notes.is_empty());
}

#[test]
fn f_13_f_15_a_minor_backs_up_before_anything_changes_and_migrates() {
    let plan = Bench::new().to("1.1.0").has("1.0.1").plan();
    assert_eq!(
        steps(&plan, "a-1"),
        [
            "0 wall 1.0.1 to 1.1.0 by 1.1.0",
            "0 pg_dump >1.1.0.dump",
            "0 pin 1.0.1 1.1.0",
            "0 migrate 110",
            "0 switch 1.1.0",
            "0 wall done"
        ]
    );
    assert_eq!(plan.hosts[0].point_of_no_return, Some(3));
    let gates: Vec<_> = plan.hosts[0].gates.iter().map(|gate| format!("{:?}", gate.check.command)).collect();
    assert!(gates[1].contains("env-has A"), "{gates:?}");
}

#[test]
fn f_03_the_whole_action_runs_in_each_hop_and_each_hop_is_proven_before_the_next() {
    let plan = Bench::new().to("1.2.0").has("1.0.0").plan();
    assert_eq!(
        steps(&plan, "a-1"),
        [
            "0 wall 1.0.0 to 1.2.0 by 1.1.0 1.2.0",
            "0 pg_dump >1.1.0.dump",
            "0 pin 1.0.0 1.1.0",
            "0 migrate 110",
            "0 switch 1.1.0",
            "0 http http://localhost/health 2xx",
            "1 pg_dump >1.2.0.dump",
            "1 pin 1.1.0 1.2.0",
            "1 migrate 120",
            "1 switch 1.2.0",
            "1 wall done",
        ]
    );
    let host = &plan.hosts[0];
    let ids: BTreeSet<_> = host.steps.iter().map(|step| step.id.to_string()).collect();
    assert_eq!(ids.len(), host.steps.len(), "no two steps are the same to the ledger");
    assert_eq!(host.steps[5].name, "It answers (1.1.0)");
    // What both hops need is asked for before the first.
    let gates: Vec<_> = host.gates.iter().map(|gate| gate.name.as_str()).collect();
    assert_eq!(
        gates,
        [
            "The release is there",
            "Every variable is set",
            "There is room",
            "The release is there (1.2.0)",
            "Every variable is set (1.2.0)"
        ]
    );
}

#[test]
fn f_14_f_17_the_notes_of_every_release_on_the_way_are_to_be_acknowledged() {
    let bench = Bench::new().to("1.2.0").has("1.0.0");
    let plan = bench.plan();
    let notes: Vec<_> = plan.notes.iter().map(|notes| notes.version.as_str()).collect();
    assert_eq!(notes, ["1.1.0", "1.2.0"]);
    assert_eq!(plan.notes[0].breaking.as_deref(), Some("- All is new."));
    assert_eq!(plan.notes[1].required_action.as_deref(), Some("- Set `B`."));
    assert_eq!(plan.notes[1].notes.as_deref(), Some("Look at the clock."));
    assert_eq!(plan.unacknowledged().count(), 2);
    let mut read = plan.clone();
    read.acknowledged.push(crate::model::Acknowledged {
        version: Version::new("1.1.0"),
        by: "anna@laptop".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    });
    assert_eq!(read.unacknowledged().count(), 1);
    assert!(!read.is_intact(), "who has read it is part of the digest");

    let direct = Bench { order: Order { direct: true, ..bench.order.clone() }, ..bench };
    let plan = direct.plan();
    assert_eq!(plan.hosts[0].path[0].requires_env, ["A", "B"]);
    assert_eq!(plan.notes.len(), 2, "what is passed over is to be read, too");
    assert!(steps(&plan, "a-1").contains(&"0 migrate 120".to_owned()));
    let gates = format!("{:?}", plan.hosts[0].gates[1].check.command);
    assert!(gates.contains("env-has A B"), "f_18: both variables are asked for: {gates}");
}

#[test]
fn f_06_a_release_without_an_entry_is_refused() {
    let bench = Bench::new().to("1.1.0").has("1.0.1").file("roles/app/CHANGELOG.md", "## 1.0.1\n");
    assert_eq!(refusal(&bench.plan(), "a-1"), "nobody said what these releases bring: 1.1.0");
    let waived = bench.file("roles/app/role.toml", &format!("changelog = false\n{ROLE}"));
    assert!(waived.plan().hosts[0].refused.is_none());
}

#[test]
fn f_01_a_host_that_allows_a_tag_gets_it_and_the_others_are_refused() {
    let plan = Bench::new().to("pr-12").has("1.0.0").plan();
    assert_eq!(refusal(&plan, "a-1"), "`pr-12` is the build of a pull request, not a release");
    let allowed = &plan.hosts[&name("a-2")];
    assert_eq!((allowed.refused.as_ref(), allowed.path.len()), (None, 1));
    assert_eq!(plan.waves.iter().map(|wave| wave.hosts.len()).sum::<usize>(), 2, "who is refused is told in the end");
}

#[test]
fn f_33_a_major_needs_a_playbook_and_an_action_made_for_it() {
    let plan = Bench::new().to("2.0.0").has("1.2.0").plan();
    assert_eq!(refusal(&plan, "a-1"), "2.0.0 is a major release after 1.2.0");
    let role = format!("{ROLE}\n[[actions.to-two]]\nname = \"Rebuild\"\ncommand = \"rebuild {{{{hop.class}}}}\"\n");
    let playbook = "role = \"app\"\naction = \"to-two\"\nhosts = \"all\"\nallow-major = true\n";
    let bench = Bench::new().to("2.0.0").has("1.2.0").file("roles/app/role.toml", &role);
    let plan = bench.file("playbooks/up.toml", playbook).plan();
    assert_eq!(steps(&plan, "a-1"), ["0 rebuild major"]);
}

#[test]
fn s_08_a_version_that_nobody_knows_is_refused_unless_a_person_says_it() {
    let disagree = Installed::Disagree(vec!["1.0.0".to_owned(), "1.1.0".to_owned()]);
    let mut bench = Bench::new().to("1.1.0").found("a-1", Installed::Unknown).found("a-2", disagree);
    let plan = bench.plan();
    assert_eq!(refusal(&plan, "a-1"), "the installed version is unknown");
    assert_eq!(refusal(&plan, "a-2"), "its sources do not agree on the version: 1.0.0, 1.1.0");
    let hint = plan.hosts[0].refused.as_ref().and_then(|refused| refused.hint.clone());
    assert!(hint.is_some_and(|hint| hint.contains("--from a-1=VERSION")));

    bench.order.from = BTreeMap::from([(name("a-1"), Version::new("1.0.1"))]);
    let plan = bench.plan();
    assert!(steps(&plan, "a-1").contains(&"0 pin 1.0.1 1.1.0".to_owned()));
    assert!(plan.hosts[&name("a-2")].refused.is_some());
    assert!(plan.warnings.iter().any(|warning| warning.contains("no one proved it: a-1")), "{:?}", plan.warnings);

    // What all the others have is no reason to think that it has it, too.
    let known = Installed::Known(Version::new("1.0.1"));
    let among = Bench::new().to("1.1.0").found("a-1", Installed::Unknown).found("a-2", known).plan();
    assert_eq!(refusal(&among, "a-1"), "the installed version is unknown");
    assert!(among.hosts[&name("a-2")].refused.is_none());

    let contradicted = bench.found("a-1", Installed::Known(Version::new("1.0.0"))).plan();
    assert_eq!(refusal(&contradicted, "a-1"), "1.0.0 is installed, not 1.0.1 as `--from` says");
}

#[test]
fn a_host_that_could_not_be_asked_is_planned_as_the_others_and_an_offline_plan_is_only_read() {
    let away = Installed::Unreached("no route".to_owned());
    let known = Installed::Known(Version::new("1.0.1"));
    let plan = Bench::new().to("1.1.0").found("a-1", known).found("a-2", away.clone()).plan();
    assert_eq!(steps(&plan, "a-1"), steps(&plan, "a-2"));
    assert!(plan.hosts[&name("a-2")].assumed);
    let plan = Bench::new().to("1.1.0").found("a-1", away.clone()).found("a-2", away).plan();
    assert_eq!(plan.hosts[0].refused.as_ref().map(|refused| refused.asked), Some(Asked::Unreached));
    let role = "[[upgrade]]\nname = \"Switch\"\ncommand = \"switch {{release.version}}\"\n";
    let plan = Bench::new().to("1.1.0").file("roles/app/role.toml", role).plan();
    assert_eq!(plan.hosts[0].refused.as_ref().map(|refused| refused.asked), Some(Asked::Offline));
    assert_eq!(plan.hosts[0].steps.len(), 1, "it can be read");
}

#[test]
fn the_budget_of_the_run_is_resolved_to_hosts_and_what_is_left_out_has_its_meaning() {
    let budget = |text: &str| {
        let playbook = format!("{PLAYBOOK}[rollout.budget]\n{text}\n");
        let budget = Bench::new().to("1.0.1").has("1.0.0").file("playbooks/up.toml", &playbook).plan().rollout.budget;
        (budget.failed, budget.unreachable, budget.inconclusive, budget.parked, budget.same_failure)
    };
    assert_eq!(budget(""), (Some(0), None, Some(0), None, None));
    let percents = "failed = \"50%\"\nunreachable = \"49%\"\ninconclusive = \"100%\"\nparked = \"99%\"";
    assert_eq!(budget(percents), (Some(1), Some(0), Some(2), Some(1), None), "of two hosts, rounded down");
    let counts = "failed = 3\nunreachable = 2\ninconclusive = 1\nparked = 0\nsame-failure = 2";
    assert_eq!(budget(counts), (Some(3), Some(2), Some(1), Some(0), Some(2)));
}

#[test]
fn facts_are_in_the_plan_and_those_it_relies_on_are_asked_again() {
    let role = format!(
        "requires-facts = {{ arch = [\"x86_64\", \"aarch64\"] }}\n{ROLE}\n[facts.shape]\ncommand = \"shape\"\n\
         [[upgrade]]\nname = \"Shape\"\ncommand = \"build {{{{facts.shape}}}}\"\n"
    );
    let mut bench = Bench::new().to("1.0.1").has("1.0.0").file("roles/app/role.toml", &role);
    for reading in bench.order.read.values_mut() {
        reading.facts.insert("shape".to_owned(), "round".to_owned());
        reading.facts.insert("os".to_owned(), "debian-12".to_owned());
        reading.facts.insert("free-disk".to_owned(), "7 MiB".to_owned());
    }
    let plan = bench.plan();
    assert!(steps(&plan, "a-1").contains(&"0 build round".to_owned()));
    let facts = &plan.hosts[0].facts;
    let relied = |name: &str| (facts[name].relied_on, facts[name].how.is_some(), facts[name].value.is_some());
    assert_eq!(relied("shape"), (true, true, true));
    assert_eq!(relied("arch"), (true, true, true));
    assert_eq!(relied("os"), (false, false, true));
    assert!(!facts.contains_key("free-disk"), "it moves by itself, and no plan should");
    bench.order.read.values_mut().for_each(|reading| drop(reading.facts.remove("free-disk")));
    // The plan says what it was made from, so that it can be made again.
    assert_eq!(plan.hosts[0].reading(), bench.order.read[&name("a-1")]);

    bench.order.read.get_mut(&name("a-1")).expect("read").facts.insert("arch".to_owned(), "armv7l".to_owned());
    let plan = bench.plan();
    assert_eq!(refusal(&plan, "a-1"), "the fact `arch` is `armv7l`, and the role wants `x86_64`, `aarch64`");
}

#[test]
fn t_01_one_playbook_makes_both_plans_and_the_profile_says_which() {
    let inventory = r#"
        [hosts.a-1]
        profile = "one"
        [hosts.a-2]
        profile = "two"
        [profiles.one]
        [profiles.one.verbs.switch]
        command = "compose up {{release.version}}"
        [profiles.two]
        [profiles.two.verbs.switch]
        command = "gcloud deploy {{release.version}}"
    "#;
    let role = "[version]\ncommand = \"cat version\"\n[[upgrade]]\nname = \"Switch\"\nverb = \"switch\"\n";
    let bench = Bench::new().to("1.0.1").has("1.0.0");
    let plan = bench.file("inventory/fleet.toml", inventory).file("roles/app/role.toml", role).plan();
    assert_eq!(steps(&plan, "a-1"), ["0 compose up 1.0.1"]);
    assert_eq!(steps(&plan, "a-2"), ["0 gcloud deploy 1.0.1"]);
}

#[test]
fn a_host_that_is_there_already_is_looked_at_by_every_step() {
    let plan = Bench::new().to("1.1.0").has("1.1.0").plan();
    assert!(plan.hosts[0].path.is_empty() && plan.hosts[0].refused.is_none());
    assert_eq!(plan.hosts[0].steps.len(), 6);
    assert!(plan.hosts[0].steps.iter().all(|step| step.hop.is_none()));
}
