//! What is done days ahead, and what the upgrade makes of it.

use std::fs;

use crate::fleet::Fleet;

/// No window is ever open: a prefetch is not bound by that.
const PROFILE: &str = r#"profile = "app"
window = { dates = "2000-01-01", zone = "UTC" }
[profiles.app]
extends = "host"
[profiles.app.verbs.version]
command = { run = "cat version", dir = "{{path}}" }
[profiles.app.verbs.fetch]
ahead = true
expected = "10m"
undo = { command = { run = "rm -rf releases/{{wanted}}", dir = "{{path}}" } }
[profiles.app.verbs.fetch.command]
run = "echo {{wanted}} >>fetched; test -f store; mkdir -p releases/{{wanted}}"
creates = "{{path}}/releases/{{wanted}}"
dir = "{{path}}"
"#;

const PLAYBOOK: &str = r#"
hosts = "all"
to = "2.0.0"

[[gate]]
name = "There is room"
disk = { path = "{{path}}", free = "1KiB" }

[[gate]]
name = "Never open ahead of time"
command = { run = "test -f open", dir = "{{path}}" }

[[steps]]
name = "Fetch the release"
verb = "fetch"

[[steps]]
name = "Cut over"
command = { run = "echo {{wanted}} >version", dir = "{{path}}" }
undo = { command = { run = "echo 1.0.0 >version", dir = "{{path}}" } }
downtime = "during"
"#;

fn fleet() -> Option<Fleet> {
    let mut fleet = Fleet::new()?;
    for name in ["web-1", "web-2"] {
        let host = fleet.add(name, |sshd| sshd);
        fs::write(host.home.join("version"), "1.0.0\n").expect("written");
        fs::write(host.home.join("store"), "").expect("written");
    }
    fleet.write_inventory(PROFILE);
    fleet.trust_all();
    fleet.write("playbooks/up.toml", PLAYBOOK);
    Some(fleet)
}

/// What was fetched on each of the two hosts, in order.
fn fetched(fleet: &Fleet) -> [String; 2] {
    ["web-1", "web-2"].map(|host| fleet.read(host, "fetched").replace('\n', " ").trim().to_owned())
}

fn remove(fleet: &Fleet, host: &str) {
    fs::remove_dir_all(fleet.host(host).home.join("releases")).expect("removed");
}

#[test]
fn what_is_fetched_ahead_is_not_fetched_again_and_changes_nothing_that_runs() {
    let Some(fleet) = fleet() else { return };
    let kept = fleet.project().join("ahead.json").display().to_string();
    let plan = fleet.longshore(["prefetch", "up", "--plan", "-o", &kept]).run().expect_code(0).tells("ahead.json");
    let plan = plan.says("prefetch: 2 hosts in 1 wave; to 2.0.0").says("gates: There is room");
    assert!(!plan.out.contains("Cut over") && !plan.out.contains("Never open"), "{plan}");
    assert_eq!(fetched(&fleet), ["", ""]);
    let looked = fleet.longshore(["prefetch", "up", "--check"]).run().expect_code(0);
    assert_eq!(looked.row("web-[1,2]")[1], "would change", "{looked}");
    assert_eq!(fetched(&fleet), ["", ""]);
    fleet.longshore(["history"]).run().expect_code(0).says("prefetch --check up");
    fleet.longshore(["history", "show", "last"]).run().expect_code(0).says("prefetch --check up");

    // Outside every window, and past a gate that is closed for the upgrade.
    let ran = fleet.longshore(["prefetch", "up", "--per-minute", "600"]).run().expect_code(0);
    assert_eq!(ran.row("web-[1,2]")[1..4], ["done", "1/1", "1.0.0"], "{ran}");
    assert_eq!(fetched(&fleet), ["2.0.0", "2.0.0"]);
    for name in ["web-1", "web-2"] {
        assert_eq!(fleet.read(name, "version"), "1.0.0\n");
        fleet.assert_released(name);
    }
    fleet.longshore(["status"]).run().expect_code(0).tells("run 0002 has ended").says("1/1 green gates");
    fleet.longshore(["history"]).run().expect_code(0).says("prefetch up");

    // The plan of the upgrade has looked, and counts on it where it is.
    let plan = fleet.longshore(["plan", "up"]).run().expect_code(0).says("there since run 0002, ");
    let plan = plan.says("about 35s a host");
    assert_eq!(plan.row("1")[0], "1", "{plan}");

    // A second time only what is missing by then is fetched.
    remove(&fleet, "web-2");
    let ran = fleet.longshore(["prefetch", "up"]).run().expect_code(0);
    assert_eq!([&ran.row("web-1")[1], &ran.row("web-2")[1]], ["unchanged", "done"], "{ran}");
    assert_eq!(fetched(&fleet), ["2.0.0", "2.0.0 2.0.0"]);

    // What was removed after it was fetched is fetched by the upgrade, there and nowhere else.
    remove(&fleet, "web-2");
    let plan = fleet.longshore(["plan", "up"]).run().expect_code(0);
    plan.says("web-1 (profile app").says("web-2 (profile app").says("about 35s to 11m a host");
    for name in ["web-1", "web-2"] {
        fs::write(fleet.host(name).home.join("open"), "").expect("written");
    }
    let ran = fleet.longshore(["apply", "up", "--yes"]).run().expect_code(6);
    assert_eq!(ran.row("web-[1,2]")[1], "not started", "{ran}");
    let glass = ["apply", "up", "--yes", "--break-glass", "anna", "--reason", "a test"];
    let ran = fleet.longshore(glass).run().expect_code(0);
    assert_eq!(ran.row("web-[1,2]")[1], "done", "{ran}");
    assert_eq!(fetched(&fleet), ["2.0.0", "2.0.0 2.0.0 2.0.0"]);
    assert_eq!(fleet.read("web-1", "version"), "2.0.0\n");
}

#[test]
fn a_host_that_fails_ahead_is_tried_again_and_holds_up_no_other() {
    let Some(fleet) = fleet() else { return };
    fs::remove_file(fleet.host("web-1").home.join("store")).expect("removed");
    let ran = fleet.longshore(["prefetch", "up", "--at-once", "1"]).run().expect_code(1);
    assert_eq!([&ran.row("web-1")[1], &ran.row("web-2")[1]], ["undone", "done"], "{ran}");
    ran.says("longshore retry 0001 --failed");

    fs::write(fleet.host("web-1").home.join("store"), "").expect("written");
    let ran = fleet.longshore(["retry", "--failed"]).run().expect_code(0);
    assert_eq!(ran.row("web-[1,2]")[1..3], ["done", "1/1"], "{ran}");
    assert_eq!(fetched(&fleet), ["2.0.0 2.0.0", "2.0.0"]);
    fleet.longshore(["resume"]).run().expect_code(0).tells("nothing is left to do");

    // Documents that say something else by then are told, as for any run.
    fs::remove_file(fleet.host("web-1").home.join("store")).expect("removed");
    fleet.write("playbooks/up.toml", &PLAYBOOK.replace("2.0.0", "3.0.0"));
    let ran = fleet.longshore(["prefetch", "up"]).run().expect_code(1);
    assert_eq!([&ran.row("web-1")[1], &ran.row("web-2")[1]], ["undone", "done"], "{ran}");
    assert_eq!(
        fetched(&fleet),
        ["2.0.0 2.0.0 3.0.0", "2.0.0 3.0.0"],
        "another release is fetched, whatever is recorded"
    );
    fleet.write("playbooks/up.toml", &PLAYBOOK.replace("2.0.0", "3.0.0").replace("1KiB", "2KiB"));
    fleet.longshore(["retry", "--failed"]).run().expect_code(6).tells("the documents have changed");

    // A host that moved since it was planned is left alone.
    fs::write(fleet.host("web-1").home.join("version"), "4.0.0\n").expect("written");
    let ran = fleet.longshore(["retry", "--failed", "--as-planned"]).run().expect_code(6);
    ran.says("the host moved since the plan: it had 1.0.0, now it has 4.0.0");
    assert_eq!(fetched(&fleet)[0], "2.0.0 2.0.0 3.0.0");
}

#[test]
fn a_playbook_that_has_nothing_to_fetch_says_so() {
    let Some(fleet) = fleet() else { return };
    fleet.write("playbooks/up.toml", "hosts = \"all\"\n[[steps]]\nname = \"Blind\"\ncommand = \"true\"\n");
    let ran = fleet.longshore(["prefetch", "up"]).run().expect_code(2);
    ran.tells("nothing of this playbook may be done ahead").tells("`ahead = true`");
}

const SAVED: &str = r#"
hosts = "all"

[[steps]]
name = "Save the data"
ahead = true
backup = { files = { paths = ["{{path}}/data"] }, to = "{{path}}/backups", name = "data" }

[[steps]]
name = "Migrate"
command = { run = "echo \"$LONGSHORE_RECEIPT_FILE\" >>migrated", dir = "{{path}}" }
effect = "data"
requires = [{ receipt = "Save the data", younger-than = "24h" }]
"#;

/// The proven copies of a host, by name.
fn copies(fleet: &Fleet, host: &str) -> Vec<String> {
    let folder = fs::read_dir(fleet.host(host).home.join("backups")).into_iter().flatten().flatten();
    let names = folder.map(|entry| entry.path().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter_map(|name| Some(name.strip_suffix(".receipt")?.to_owned())).collect();
    names.sort();
    names
}

#[test]
fn f_16_a_backup_made_ahead_counts_while_it_is_young_and_whole_and_is_made_again_otherwise() {
    let Some(fleet) = fleet() else { return };
    for host in &fleet.hosts {
        fs::create_dir(host.home.join("data")).expect("a folder");
        fs::write(host.home.join("data/rows"), "one\n").expect("written");
    }
    fleet.write_inventory("");
    fleet.write("playbooks/up.toml", SAVED);
    fleet.longshore(["prefetch", "up"]).run().expect_code(0);
    assert_eq!(["web-1", "web-2"].map(|host| copies(&fleet, host).len()), [1, 1]);
    // A second time there is nothing to save.
    let ran = fleet.longshore(["prefetch", "up"]).run().expect_code(0);
    assert_eq!(ran.row("web-[1,2]")[1], "unchanged", "{ran}");
    assert_eq!(["web-1", "web-2"].map(|host| copies(&fleet, host).len()), [1, 1]);

    // Of a plan that was kept: one copy is damaged afterwards, its size the same.
    let kept = fleet.project().join("up.json").to_string_lossy().into_owned();
    fleet.longshore(["plan", "up", "-o", &kept]).run().expect_code(0).says("there since run 000");
    let copy = &copies(&fleet, "web-2")[0];
    let size = fs::metadata(copy).expect("a copy").len();
    fs::write(copy, vec![b'x'; usize::try_from(size).expect("small")]).expect("written");
    let ran = fleet.longshore(["apply", &kept]).run().expect_code(0);
    assert_eq!(ran.row("web-[1,2]")[1..3], ["done", "2/2"], "{ran}");
    assert_eq!(["web-1", "web-2"].map(|host| copies(&fleet, host).len()), [1, 2]);
    for host in ["web-1", "web-2"] {
        assert_eq!(fleet.read(host, "migrated").trim(), copies(&fleet, host).last().expect("a copy"), "{host}");
    }

    // Where it may not be that old, it is made in the run itself.
    fleet.write("playbooks/up.toml", &SAVED.replace("24h", "1s"));
    fleet.longshore(["apply", "up", "--yes"]).run();
    assert_eq!(["web-1", "web-2"].map(|host| copies(&fleet, host).len()), [2, 3]);
}
