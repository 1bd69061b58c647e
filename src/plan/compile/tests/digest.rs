//! A plan's digest against what the plan does: every word of the documents, and every file they name.

use std::fs;

use proptest::prelude::*;

use super::{
    super::{Order, compile},
    Diagnostic, Project,
};
use crate::plan::{Plan, Purpose, Reading};

/// Files of a project in which much can be said.
const FILES: &[(&str, &str)] = &[
    (
        "inventory/fleet.toml",
        r#"
[defaults]
user = "deploy"
profile = "app"
vars = { path = "/srv/app", token = { secret = { env = "TOKEN" } } }

[hosts.a-1]
address = "198.51.100.1"
window = { days = "Mon-Thu", from = "01:00", to = "04:00", zone = "Europe/Berlin" }

[hosts.a-2]
address = "198.51.100.2"
jump = "a-1"
become = { user = "root" }

[hosts.a-3]
address = "198.51.100.3"

[profiles.app]
extends = "host"

[profiles.app.verbs.switch]
command = { run = "switch-by-profile", dir = "{{path}}" }
undo = { command = { run = "switch-back", dir = "{{path}}" } }
"#,
    ),
    (
        "roles/app/role.toml",
        r#"
[version]
command = { run = "cat {{path}}/version" }

[migration]
command = { run = "cat {{path}}/head" }

[[gate]]
name = "There is room"
disk = { path = "{{path}}", free = "1GiB" }

[[check]]
name = "It answers"
http = { url = "http://localhost/health", json = { status = "ok" } }
retry = { every = "2s", for = "90s" }

[[upgrade]]
name = "Back up"
command = "back-up"
effect = "read"

[[upgrade]]
name = "Configure"
file = { to = "{{path}}/app.conf", template = "files/app.conf", mode = "0600" }

[[upgrade]]
name = "Bring the program"
file = { to = "{{path}}/program", from = "files/program" }

[[upgrade]]
name = "Bring the sources"
tree = { from = "files/sources", to = "{{path}}/sources" }

[[upgrade]]
name = "Keep the token"
file = { to = "{{path}}/token", content = "{{token}}" }

[[upgrade]]
name = "Wait for it"
command = "wait-for-it"
no-undo = "it only waits"
timeout = "7m"
expected = "11s"
repeat-safe = true
retry = { every = "3s", for = "33s" }

[[upgrade]]
name = "Close the door"
confirm-within = "61s"
command = "close"
undo = { command = "open" }

[[upgrade]]
name = "Migrate"
command = "migrate"
effect = "data"
downtime = "during"
requires = [{ receipt = "Back up", younger-than = "1h" }]

[[upgrade]]
name = "Switch"
verb = "switch"
repeat-safe = true

[[incident]]
name = "Stop"
command = "stop-it"
undo = { command = "start-it" }

[[safety-copy]]
name = "Copy"
command = "copy-it"

[[restore]]
name = "Put it back"
effect = "data"
requires = [{ receipt = "Back up" }]
command = "put-it-back"

[[rollback]]
name = "Send traffic back"
command = "send-back"
"#,
    ),
    (
        "roles/app/releases.toml",
        "[[release]]\nversion = \"1.0.0\"\n[[release]]\nversion = \"1.1.0\"\nnotes = \"Look at the clock.\"\nrequires-env = [\"A\"]\n[[release]]\nversion = \"1.1.1\"\n",
    ),
    ("roles/app/files/app.conf", "version = {{wanted}}\nworkers = 4\n"),
    ("roles/app/files/program", "#!/bin/sh\necho program\n"),
    ("roles/app/files/sources/main.c", "int main;\n"),
    (
        "playbooks/up.toml",
        r#"
role = "app"
action = "upgrade"
hosts = "all"
to = "1.1.0"

[rollout]
canary = { hosts = 1, soak = "5m" }
waves = [1, "rest"]
at-once = 3
soak = { for = "2m", every = "15s", healthy = 3, within = "1m", red = 3, flaps = 2, control = 4 }
promote = "auto"
outside-window = "leave"
baseline = "park"

[rollout.budget]
failed = 0
unreachable = 1
inconclusive = 1
parked = 2
same-failure = 2

[rollout.budget.wave]
failed = 0

[on-failure]
before-data = "undo"
after-data = "hold"
scope = "host"
"#,
    ),
];

/// What may be changed, each without the others: the file, the words, and what stands there then.
const EDITS: &[(usize, &str, &str)] = &[
    (0, "user = \"deploy\"", "user = \"ops\""),
    (0, "path = \"/srv/app\"", "path = \"/opt/app\""),
    (0, "198.51.100.1", "198.51.100.9"),
    (0, "from = \"01:00\"", "from = \"02:00\""),
    (0, "zone = \"Europe/Berlin\"", "zone = \"Europe/London\""),
    (0, "env = \"TOKEN\"", "env = \"OTHER\""),
    (0, "jump = \"a-1\"", "jump = \"a-3\""),
    (0, "user = \"root\"", "user = \"app\""),
    (0, "switch-by-profile", "switch-otherwise"),
    (0, "switch-back", "switch-back-otherwise"),
    (1, "cat {{path}}/version", "head {{path}}/version"),
    (1, "cat {{path}}/head", "head {{path}}/head"),
    (1, "free = \"1GiB\"", "free = \"2GiB\""),
    (1, "localhost/health", "localhost/healthz"),
    (1, "for = \"90s\"", "for = \"91s\""),
    (1, "\"back-up\"", "\"back-up-otherwise\""),
    (1, "mode = \"0600\"", "mode = \"0640\""),
    (1, "\"wait-for-it\"", "\"wait-longer\""),
    (1, "timeout = \"7m\"", "timeout = \"8m\""),
    (1, "expected = \"11s\"", "expected = \"12s\""),
    (1, "\"switch\"\nrepeat-safe = true", "\"switch\"\nrepeat-safe = false"),
    (1, "for = \"33s\"", "for = \"34s\""),
    (1, "confirm-within = \"61s\"", "confirm-within = \"62s\""),
    (1, "\"open\"", "\"open-wide\""),
    (1, "downtime = \"during\"", "downtime = \"begins\""),
    (1, "younger-than = \"1h\"", "younger-than = \"2h\""),
    (1, "\"stop-it\"", "\"kill-it\""),
    (1, "\"start-it\"", "\"restart-it\""),
    (1, "\"copy-it\"", "\"copy-all\""),
    (1, "\"put-it-back\"", "\"put-all-back\""),
    (1, "\"send-back\"", "\"send-all-back\""),
    (2, "Look at the clock.", "Look at the disk."),
    (2, "\"1.1.0\"\n", "\"1.1.0\"\nbackward-compatible = true\n"),
    (3, "workers = 4", "workers = 5"),
    (4, "echo program", "echo programs"),
    (5, "int main;", "long main;"),
    (6, "canary = { hosts = 1,", "canary = { hosts = 2,"),
    (6, "soak = \"5m\"", "soak = \"6m\""),
    (6, "at-once = 3", "at-once = 2"),
    (6, "for = \"2m\"", "for = \"3m\""),
    (6, "every = \"15s\"", "every = \"16s\""),
    (6, "healthy = 3", "healthy = 4"),
    (6, "within = \"1m\"", "within = \"90s\""),
    (6, "red = 3", "red = 4"),
    (6, "flaps = 2", "flaps = 3"),
    (6, "control = 4", "control = 1"),
    (6, "promote = \"auto\"", "promote = \"manual\""),
    (6, "outside-window = \"leave\"", "outside-window = \"wait\""),
    (6, "baseline = \"park\"", "baseline = \"tell\""),
    (6, "failed = 0\nunreachable", "failed = 1\nunreachable"),
    (6, "unreachable = 1", "unreachable = 2"),
    (6, "inconclusive = 1", "inconclusive = 0"),
    (6, "parked = 2", "parked = 1"),
    (6, "same-failure = 2", "same-failure = 3"),
    (6, "[rollout.budget.wave]\nfailed = 0", "[rollout.budget.wave]\nfailed = 1"),
    (6, "before-data = \"undo\"", "before-data = \"hold\""),
    (6, "scope = \"host\"", "scope = \"wave\""),
    // With another release wanted, what is said of this one may make no difference.
    (6, "to = \"1.1.0\"", "to = \"1.1.1\""),
];

/// The edits before it each make a difference whatever else is edited.
const APART: usize = EDITS.len() - 1;

/// The plan of the project with some of the edits.
fn plan(edits: &[usize]) -> Plan {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for (index, (path, text)) in FILES.iter().enumerate() {
        let mut text = (*text).to_owned();
        for (_, from, to) in edits.iter().map(|edit| EDITS[*edit]).filter(|(file, ..)| *file == index) {
            assert_eq!(text.matches(from).count(), 1, "`{from}` stands in {path} once");
            text = text.replace(from, to);
        }
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("written");
    }
    let (project, _) = Project::load_with_home(root, None);
    let (playbook, found) = project.load_playbook(&root.join("playbooks/up.toml"));
    let said = |found: &[Diagnostic]| found.iter().map(|one| one.message.clone()).collect::<Vec<_>>().join("; ");
    assert!(found.is_empty(), "{}", said(&found));
    let mut order = Order::new("test", Purpose::Apply, root.join("playbooks"), jiff::Timestamp::UNIX_EPOCH);
    for host in ["a-1", "a-2", "a-3"] {
        order.read.insert(host.parse().expect("a name"), Reading::known(crate::model::Version::new("1.0.0")));
    }
    let mut plan =
        compile(&project, &playbook.expect("a playbook"), &order).unwrap_or_else(|found| panic!("{}", said(&found)));
    let refused: Vec<_> = plan.hosts.values().filter_map(|host| host.refused.as_ref()).collect();
    assert!(refused.is_empty(), "{refused:?}");
    // Where the project lies is no difference.
    let text = serde_json::to_string(&plan).expect("plain data").replace(&*root.to_string_lossy(), "/project");
    plan = serde_json::from_str(&text).expect("a plan");
    plan.seal()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two projects that differ in anything that is done have plans of different digests, and the same project has
    /// one digest, whoever makes the plan.
    #[test]
    fn a_plan_s_digest_changes_when_anything_it_does_changes(
        one in prop::collection::btree_set(0..APART, 0..4),
        other in prop::collection::btree_set(0..APART, 0..4),
    ) {
        let of = |edits: &std::collections::BTreeSet<usize>| plan(&edits.iter().copied().collect::<Vec<_>>()).digest;
        prop_assert_eq!(of(&one) == of(&other), one == other, "{:?} and {:?}", one, other);
    }
}

#[test]
fn each_thing_that_a_plan_does_is_in_its_digest() {
    let mut digests = std::collections::BTreeMap::from([(plan(&[]).digest, "nothing")]);
    for (index, (_, from, _)) in EDITS.iter().enumerate() {
        if let Some(same) = digests.insert(plan(&[index]).digest, from) {
            panic!("`{from}` and `{same}` can be changed with the same digest");
        }
    }
}
