//! How far a failure gets: canaries, budgets, gates, and the host itself, taken back on its own disk.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use longshore::model::HostOutcome;

use crate::{command::Ran, fleet::Fleet};

const PROFILE: &str = r#"profile = "app"
[profiles.app]
extends = "host"
[profiles.app.verbs.version]
command = { run = "cat version", dir = "{{path}}" }
"#;

/// The steps of every playbook here. Files on the host tell the host how to behave.
const STEPS: &str = r#"
[[steps]]
name = "Settings"
file = { to = "{{path}}/app.conf", content = "version = {{wanted}}\n", mode = "0600" }

[[steps]]
name = "Pin"
env = { file = "{{path}}/.env", set = { TAG = "{{wanted}}", NEW = "yes" } }

[[steps]]
name = "Remove the old"
file = { to = "{{path}}/old.conf", state = "absent" }

[[steps]]
name = "Switch"
command = { run = "echo switch >>trace; echo {{wanted}} >version; if [ -e broken ]; then cat broken >&2; exit 3; fi", dir = "{{path}}" }
undo = { command = { run = "echo 1.0.0 >version; echo back >>trace; test ! -e stuck", dir = "{{path}}" } }

[[gate]]
name = "The gate is open"
command = { run = ["test", "!", "-e", "{{path}}/closed"] }

[[check]]
name = "The app is healthy"
command = { run = ["test", "!", "-e", "{{path}}/red"] }
"#;

const NAMES: [&str; 6] = ["web-1", "web-2", "web-3", "web-4", "web-5", "web-6"];

/// Puts every host's home back to how it was installed.
fn install(fleet: &Fleet) {
    for name in NAMES {
        let home = &fleet.host(name).home;
        for entry in fs::read_dir(home).expect("a home").flatten().filter(|entry| entry.file_name() != "state") {
            fs::remove_file(entry.path()).expect("only files lie there");
        }
        for (file, text, mode) in [
            ("version", "1.0.0\n", 0o644),
            ("app.conf", "version = 1.0.0\n# by hand: ü\n", 0o640),
            (".env", "# kept\nTAG='1.0.0'  # note\nOTHER=x\n", 0o600),
            ("old.conf", "gone soon, without a line break", 0o604),
        ] {
            fs::write(home.join(file), text).expect("written");
            fs::set_permissions(home.join(file), fs::Permissions::from_mode(mode)).expect("ours");
        }
    }
}

/// Everything in a host's home but its trace and what was put there to make it misbehave.
fn snapshot(home: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let entries = fs::read_dir(home).expect("a home").flatten();
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| !["state", "trace", "broken", "red", "closed", "stuck"].contains(&name.as_str()))
        .map(|(name, path)| {
            let mode = fs::metadata(&path).expect("just listed").permissions().mode() & 0o7777;
            (name, (mode, fs::read(path).expect("readable")))
        })
        .collect()
}

fn outcomes(fleet: &Fleet) -> BTreeMap<String, Option<HostOutcome>> {
    let ran = fleet.longshore(["--output", "json", "history", "show", "last"]).run().expect_code(0);
    ran.state().hosts.iter().map(|(name, host)| (name.to_string(), host.outcome)).collect()
}

/// Applies the steps under a rollout, on freshly installed hosts of which some misbehave.
fn apply(fleet: &Fleet, rollout: &str, odd: &[(&str, &str)]) -> Ran {
    install(fleet);
    for (host, file) in odd {
        fs::write(fleet.host(host).home.join(file), format!("{file} on {host} at 12:00:01\n")).expect("written");
    }
    fleet.write("playbooks/up.toml", &format!("hosts = \"all\"\nto = \"2.0.0\"\n{rollout}\n{STEPS}"));
    fleet.longshore(["apply", "up", "--yes"]).run()
}

/// Asserts that these hosts are as they were installed, and that only those of them in `back` were ever touched.
#[track_caller]
fn assert_as_installed(fleet: &Fleet, hosts: &[&str], back: &[&str]) {
    let installed = {
        let model = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str, mode: u32| {
            fs::write(model.path().join(name), text).expect("written");
            fs::set_permissions(model.path().join(name), fs::Permissions::from_mode(mode)).expect("ours");
        };
        file("version", "1.0.0\n", 0o644);
        file("app.conf", "version = 1.0.0\n# by hand: ü\n", 0o640);
        file(".env", "# kept\nTAG='1.0.0'  # note\nOTHER=x\n", 0o600);
        file("old.conf", "gone soon, without a line break", 0o604);
        snapshot(model.path())
    };
    for &name in hosts {
        assert_eq!(snapshot(&fleet.host(name).home), installed, "{name}");
        let trace = if back.contains(&name) { "switch\nback\n" } else { "" };
        assert_eq!(fleet.read(name, "trace"), trace, "{name}");
        fleet.assert_released(name);
    }
}

#[track_caller]
fn assert_upgraded(fleet: &Fleet, hosts: &[&str]) {
    for &name in hosts {
        let read = |file| fleet.read(name, file);
        assert_eq!([read("version"), read("trace")], ["2.0.0\n", "switch\n"], "{name}");
        assert_eq!(read(".env"), "# kept\nTAG=2.0.0  # note\nOTHER=x\nNEW=yes\n", "{name}");
        assert!(!fleet.host(name).home.join("old.conf").exists(), "{name}");
        fleet.assert_released(name);
    }
}

#[test]
fn a_failure_gets_no_further_than_the_rollout_lets_it() {
    let Some(mut fleet) = Fleet::new() else { return };
    for name in NAMES {
        fleet.add(name, |sshd| sshd);
    }
    fleet.write_inventory(PROFILE);
    fleet.trust_all();

    // The canary fails: it is taken back, byte by byte, and nobody beyond it is touched.
    let waves = "[rollout]\ncanary = { hosts = [\"web-1\"] }\nwaves = [2, \"rest\"]\n";
    let ran = apply(&fleet, waves, &[("web-1", "broken")]).expect_code(5);
    let ran =
        ran.says("halted: 1 failed, and the budget allows none in the run").says("exit code 5").says("broken on web-1");
    assert_eq!(ran.row("web-1")[2..5], ["undone", "3/4", "1.0.0"], "{ran}");
    assert_as_installed(&fleet, &NAMES, &["web-1"]);
    let begun: Vec<_> = outcomes(&fleet).into_iter().filter(|(_, outcome)| outcome.is_some()).collect();
    assert_eq!(begun, [("web-1".to_owned(), Some(HostOutcome::Undone))]);

    // All is well: canary, then two, then the rest.
    let ran = apply(&fleet, waves, &[]).expect_code(0).says("6 done");
    for (row, wave) in [("web-1", "canary"), ("web-[2,3]", "wave 1"), ("web-[4-6]", "wave 2")] {
        assert_eq!(ran.row(row)[1..5], [wave, "done", "4/4", "1.0.0 → 2.0.0"], "{ran}");
    }
    assert_upgraded(&fleet, &NAMES);

    // Red before we begin, or a gate that is closed: parked, untouched, and counted as such.
    let wide = "[rollout]\nat-once = 1\nbudget = { failed = 2, parked = 2 }\n";
    let ran = apply(&fleet, wide, &[("web-2", "red"), ("web-5", "closed")]).expect_code(1);
    let ran = ran.says("red before we began: `The app is healthy`").says("gate `The gate is open`");
    assert_eq!(ran.row("web-2")[1], "parked", "{ran}");
    assert_eq!(ran.row("web-5")[1], "parked", "{ran}");
    assert_as_installed(&fleet, &["web-2", "web-5"], &[]);
    assert_upgraded(&fleet, &["web-1", "web-3", "web-4", "web-6"]);

    // One too many for the budget: the third failure halts, and whoever has not begun does not begin.
    let odd = [("web-1", "red"), ("web-2", "broken"), ("web-3", "broken"), ("web-4", "broken")];
    apply(&fleet, wide, &odd).expect_code(5).says("halted: 3 failed, and the budget allows 2 in the run");
    assert_as_installed(&fleet, &NAMES, &["web-2", "web-3", "web-4"]);

    // Parked hosts have a budget of their own: the third of them halts, though only one host failed.
    let odd = [("web-1", "red"), ("web-2", "broken"), ("web-3", "closed"), ("web-4", "red")];
    let ran = apply(&fleet, wide, &odd).expect_code(5).says("halted: 3 parked, and the budget allows 2 in the run");
    assert_as_installed(&fleet, &NAMES, &["web-2"]);
    assert_eq!(ran.row("web-3")[1], "parked", "{ran}");

    // The same error on two hosts halts, whatever the budget; names and numbers in it do not count.
    let same = "[rollout]\nat-once = 1\nbudget = { failed = 5, same-failure = 2 }\n";
    let odd = [("web-1", "broken"), ("web-2", "red"), ("web-4", "broken")];
    let ran = apply(&fleet, same, &odd).expect_code(5);
    ran.says("2 hosts failed with the same error, and the run halts at 2 (web-1, web-4)");
    assert_as_installed(&fleet, &["web-1", "web-2", "web-4", "web-5", "web-6"], &["web-1", "web-4"]);
    assert_upgraded(&fleet, &["web-3"]);

    // The very last host fails: there was nobody left to halt for, so a host failed, and that is all.
    let ran = apply(&fleet, "rollout = { at-once = 1 }", &[("web-6", "broken")]).expect_code(1);
    assert!(!ran.out.contains("halted"), "{ran}");
    assert_as_installed(&fleet, &["web-6"], &["web-6"]);

    // An undo fails: the host is stuck, which a person has to see, and that outweighs the halt.
    let ran = apply(&fleet, waves, &[("web-1", "broken"), ("web-1", "stuck")]).expect_code(3);
    let ran = ran.says("stuck").says("halted").says("exit code 3: a person is needed");
    assert_eq!(ran.row("web-1")[2], "stuck", "{ran}");
    // Nothing below the step whose undo failed was taken back.
    assert!(fleet.read("web-1", "app.conf").starts_with("version = 2.0.0"), "{ran}");
    assert_as_installed(&fleet, &["web-2", "web-6"], &[]);

    // After data was changed nobody points the code back: the host is held as it stands.
    let data = "[rollout]\nat-once = 1\nbudget = { failed = 1 }\n[[steps]]\nname = \"Migrate\"\neffect = \"data\"\nunprotected = \"for the test\"\ncommand = { run = \"echo migrated >>data\", dir = \"{{path}}\" }\n";
    let ran = apply(&fleet, data, &[("web-3", "broken")]).expect_code(3);
    let ran = ran.says("data was changed by `Migrate`").says("5 done, 1 held");
    assert_eq!(ran.row("web-3")[1], "held", "{ran}");
    assert_eq!([fleet.read("web-3", "data"), fleet.read("web-3", "trace")], ["migrated\n", "switch\n"]);

    fleet.assert_nothing_runs();
}

#[test]
fn hosts_that_are_not_there_are_a_class_of_their_own() {
    let Some(mut fleet) = Fleet::new() else { return };
    for name in NAMES {
        fleet.add(name, |sshd| sshd);
    }
    fleet.write_inventory(PROFILE);
    fleet.trust_all();
    for name in ["web-2", "web-4"] {
        // Its files stay, so that it can be seen that nobody was there.
        let index = fleet.hosts.iter().position(|host| host.name == name).expect("it is there");
        fleet.hosts[index].sshd.stop();
    }
    let rollout = |allowed: u32| format!("[rollout]\nat-once = 1\nbudget = {{ unreachable = {allowed} }}\n");
    let within = |fleet: &Fleet, rollout: &str| {
        install(fleet);
        fleet.write("playbooks/up.toml", &format!("hosts = \"all\"\nto = \"2.0.0\"\n{rollout}\n{STEPS}"));
        fleet.longshore(["--connect-timeout", "1s", "apply", "up", "--yes"]).run()
    };
    let ran = within(&fleet, &rollout(2)).expect_code(4).says("4 done, 2 unreachable");
    ran.tells("note: web-2 did not tell its version: no connection to").says("exit code 4");
    assert_upgraded(&fleet, &["web-1", "web-3", "web-5", "web-6"]);

    let ran = within(&fleet, &rollout(1)).expect_code(5);
    ran.says("halted: 2 unreachable, and the budget allows 1 in the run").says("2 done");
    assert_upgraded(&fleet, &["web-1", "web-3"]);
    assert_as_installed(&fleet, &["web-5", "web-6"], &[]);
    fleet.assert_nothing_runs();
}

#[test]
fn a_host_that_is_not_well_after_it_was_taken_back_is_told_how_to_go_on() {
    let Some(fleet) = Fleet::of(1) else { return };
    let playbook = r#"
hosts = "all"

[[steps]]
name = "Break it"
command = { run = "touch red; false", dir = "{{path}}" }
undo = { command = "true" }

[[check]]
name = "The app is healthy"
command = { run = ["test", "!", "-e", "{{path}}/red"] }
"#;
    fleet.write("playbooks/break.toml", playbook);
    let ran = fleet.longshore(["apply", "break", "--yes"]).run().expect_code(3);
    let ran = ran.says("is stuck: it is not back where it was").says("it was taken back, but is not healthy");
    ran.says("mend it on the host, then `longshore retry 0001 --stuck` looks again");
    fs::remove_file(fleet.host("web-01").home.join("red")).expect("mended");
    fleet.longshore(["retry", "0001", "--stuck"]).run().expect_code(1).says("1 undone");
}
