//! Ten steps over twenty hosts, four of which are in four different kinds of trouble.

use std::{collections::BTreeMap, net::TcpListener, time::Duration};

use longshore::{
    event::Happening,
    model::{FailureClass, HostOutcome},
};

use crate::fleet::Fleet;

/// Steps that may not run twice note that they ran in the host's `trace`, and their undos that they took it back.
const PLAYBOOK: &str = r#"
name = "Ten steps"
hosts = "all"
to = "2.0.0"

[rollout]
at-once = 20
# All four that go wrong are within the budget: three failed, one unreachable.
budget = { failed = 3, unreachable = 1 }

[[steps]]
name = "Stop"
command = { run = "echo stop >>trace", dir = "{{path}}" }
undo = { command = { run = "echo start-again >>trace", dir = "{{path}}" } }

[[steps]]
name = "Write the settings"
file = { to = "{{path}}/app.conf", content = "name = {{host.name}}\nversion = {{wanted}}\n", mode = "0640" }

[[steps]]
name = "Pin"
env = { file = "{{path}}/.env", set = { TAG = "{{wanted}}" } }

[[steps]]
name = "Back up"
effect = "read"
command = { run = "echo backup >>trace; cp version version.old", dir = "{{path}}" }

[[steps]]
name = "Fetch"
script = { text = "echo fetch >>trace\nprintf '%s' {{wanted}} >next\n", dir = "{{path}}" }
undo = { command = { run = "rm -f next; echo unfetch >>trace", dir = "{{path}}" } }

[[steps]]
name = "Keep what it said"
fetch = { from = "{{path}}/version" }

[[steps]]
name = "Switch"
command = { run = "echo switch >>trace; if [ -e broken ]; then echo 'port 80 is already allocated' >&2; exit 3; fi; cp next version", dir = "{{path}}" }
undo = { command = { run = "cp version.old version; echo switch-back >>trace", dir = "{{path}}" } }

[[steps]]
name = "Wait for it"
wait = { until = { command = { run = "cat version", dir = "{{path}}", contains = "{{wanted}}" } }, every = "200ms", within = "5s" }

[[steps]]
name = "Look at it"
check = { command = { run = ["test", "-s", "{{path}}/app.conf"] } }

[[steps]]
name = "Start"
command = { run = "echo start >>trace", dir = "{{path}}" }
undo = { command = { run = "echo stop-again >>trace", dir = "{{path}}" } }

[[check]]
name = "The version stands there"
command = { run = ["test", "-s", "{{path}}/version"] }
"#;

const PROFILE: &str = r#"profile = "app"
[profiles.app]
extends = "host"
[profiles.app.verbs.version]
command = { run = "cat version", dir = "{{path}}" }
"#;

#[test]
fn ten_steps_over_twenty_hosts_tell_four_causes_apart() {
    let Some(mut fleet) = Fleet::new() else { return };
    for number in 1..=19 {
        let refuses = number == 5;
        let host = fleet.add(&format!("web-{number:02}"), |sshd| if refuses { sshd.authorized(&[]) } else { sshd });
        std::fs::write(host.home.join("version"), "1.0.0\n").expect("written");
        std::fs::write(host.home.join(".env"), "# kept\nTAG=1.0.0\n").expect("written");
    }
    std::fs::write(fleet.host("web-07").home.join("broken"), "").expect("written");
    // The twentieth takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_port = silent.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let held: Vec<_> = silent.incoming().collect();
        drop(held);
    });
    let silent_host = format!(
        "{PROFILE}\n[hosts.web-20]\naddress = \"127.0.0.1\"\nport = {silent_port}\nconnect-timeout = \"3s\"\nvars = {{ path = \"/nonexistent\" }}\n",
    );
    // Defaults come first in the file, so the profile's tables follow them.
    fleet.write_inventory(&silent_host);
    fleet.trust_all();
    // Another key than its own is known of the third.
    fleet.lab.key("another", &[]);
    let known = std::fs::read_to_string(fleet.project().join("known_hosts")).expect("just written");
    let third = &fleet.host("web-03").sshd;
    fleet.write("known_hosts", &known.replace(&third.public_key(), &fleet.lab.public("another")));
    fleet.write("playbooks/ten.toml", PLAYBOOK);

    let ran = fleet.longshore(["apply", "ten", "--yes"]).run().expect_code(1);

    // The table: sixteen done, and four different causes.
    let done = ran.row("web-[01,02,04,06,08-19]");
    assert_eq!(&done[1..5], ["done", "10/10", "1.0.0 → 2.0.0", "1/1 green"], "{ran}");
    let third = ran.row("web-03");
    assert!(third[1] == "failed" && third.last().is_some_and(|cause| cause.contains("has changed")), "{ran}");
    let fifth = ran.row("web-05");
    assert!(fifth[1] == "failed" && fifth.last().is_some_and(|cause| cause.contains("refused user")), "{ran}");
    let seventh = ran.row("web-07");
    assert_eq!(&seventh[1..4], ["undone", "6/10", "1.0.0"], "{ran}");
    assert!(seventh.last().is_some_and(|cause| cause.contains("step `Switch` failed")), "{ran}");
    let last = ran.row("web-20");
    assert!(last[1] == "unreachable" && last.last().is_some_and(|cause| cause.contains("took longer than")), "{ran}");
    let ran = ran
        .says("20 hosts: 16 done, 1 unreachable, 1 undone, 2 failed.")
        .says("exit code 1: a host failed")
        .says("web-07 | port 80 is already allocated")
        .says("undone: Switch, Fetch, Pin, Write the settings, Stop");
    assert!(ran.took < Duration::from_secs(60), "one slow host held up the others: {ran}");

    // The events say the same in words for programs.
    let told = fleet.longshore(["--output", "json", "history", "show", "last"]).run().expect_code(0);
    let state = told.state();
    let classes: BTreeMap<&str, (HostOutcome, FailureClass)> = state
        .hosts
        .iter()
        .filter_map(|(name, host)| Some((name.as_str(), (host.outcome?, host.failure.as_ref()?.class))))
        .collect();
    let expected = BTreeMap::from([
        ("web-03", (HostOutcome::Failed, FailureClass::HostKeyChanged)),
        ("web-05", (HostOutcome::Failed, FailureClass::Authentication)),
        ("web-07", (HostOutcome::Undone, FailureClass::Step)),
        ("web-20", (HostOutcome::Unreachable, FailureClass::Unreachable)),
    ]);
    assert_eq!(classes, expected);

    // The hosts' own disks: every step that may not run twice ran once.
    for number in 1..=19 {
        let name = format!("web-{number:02}");
        let trace = fleet.read(&name, "trace").lines().collect::<Vec<_>>().join(" ");
        let (expected, version) = match number {
            3 | 5 => ("", "1.0.0"),
            7 => ("stop backup fetch switch switch-back unfetch start-again", "1.0.0"),
            _ => ("stop backup fetch switch start", "2.0.0"),
        };
        assert_eq!((trace.as_str(), fleet.read(&name, "version").trim()), (expected, version), "{name}");
        let env = format!("# kept\nTAG={version}\n");
        assert_eq!(fleet.read(&name, ".env"), env, "{name}");
        let settings = format!("name = {name}\nversion = 2.0.0\n");
        let written = if version == "2.0.0" { settings.as_str() } else { "" };
        assert_eq!(fleet.read(&name, "app.conf"), written, "{name}");
        // No second run of a step hides behind an attempt that nobody speaks of.
        let started = |what: &Happening| matches!(what, Happening::StepStarted { attempt, .. } if *attempt > 1);
        assert!(!told.happened(&name).iter().any(started), "{name}");
    }

    // What was fetched lies in the run's folder, one for each host; nothing of the run is left on the hosts.
    let fetched = fleet.fetched("version");
    assert_eq!(fetched.len(), 17, "{fetched:?}");
    assert!(fetched.values().all(|text| text == "1.0.0\n"), "{fetched:?}");
    for number in 1..=19 {
        let leases = fleet.assert_released(&format!("web-{number:02}"));
        assert_eq!(leases, usize::from(![3, 5].contains(&number)), "web-{number:02}");
    }
    fleet.assert_nothing_runs();
}
