//! Plans that are kept in files, and what `apply` makes of them.

use std::fs;

use crate::fleet::Fleet;

const PROFILE: &str = r#"profile = "app"
[profiles.app]
extends = "host"
[profiles.app.verbs.version]
command = { run = "cat version", dir = "{{path}}" }
"#;

const PLAYBOOK: &str = r#"
hosts = "all"
to = "2.0.0"
rollout = { budget = { failed = 0 } }

[[steps]]
name = "Write the new version down"
command = { run = "echo {{host.name}} >>trace; echo {{wanted}} >version", dir = "{{path}}" }
undo = { command = { run = "echo undone >>trace; echo 1.0.0 >version", dir = "{{path}}" } }
"#;

#[test]
fn a_kept_plan_is_done_as_it_was_reviewed_or_not_at_all() {
    let Some(mut fleet) = Fleet::new() else { return };
    for name in ["web-1", "web-2", "web-3"] {
        let host = fleet.add(name, |sshd| sshd);
        fs::write(host.home.join("version"), "1.0.0\n").expect("written");
    }
    fleet.write_inventory(PROFILE);
    fleet.trust_all();
    let playbook = fleet.write("playbooks/up.toml", PLAYBOOK);
    let file = fleet.project().join("plan.json");
    let plan = file.to_str().expect("text");

    // A playbook is not applied unread where nobody can be asked.
    fleet.longshore(["apply", "up"]).run().expect_code(2).tells("nobody can be asked here").tells("`--yes` goes ahead");
    assert_eq!(fleet.read("web-1", "trace"), "");

    let ran = fleet.longshore(["plan", "up", "-o", plan]).run().expect_code(0);
    ran.says("Write the new version down").says("2.0.0").tells("does exactly this");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).expect("a plan").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let kept = fs::read_to_string(&file).expect("a plan");

    // One byte elsewhere, and it is another plan.
    for (from, to) in [(">version", ">versiom"), ("\"failed\": 0", "\"failed\": 9"), ("sha256:", "sha256:0")] {
        let changed = kept.replacen(from, to, 1);
        assert_ne!(changed, kept, "{from}");
        fs::write(&file, changed).expect("written");
        fleet.longshore(["apply", plan]).run().expect_code(2).tells("was changed after it was made");
    }
    fs::write(&file, &kept[..kept.len() / 2]).expect("written");
    fleet.longshore(["apply", plan]).run().expect_code(2).tells("is not a plan");
    fs::write(&file, &kept).expect("written");
    fleet.longshore(["apply", plan, "--to", "3.0.0"]).run().expect_code(2).tells("a kept plan is applied as it is");
    for name in ["web-1", "web-2", "web-3"] {
        assert_eq!(fleet.read(name, "trace"), "", "{name}");
    }

    // Meanwhile one host moved, and the playbook became another: the plan does what it said, and only there.
    fs::write(fleet.host("web-2").home.join("version"), "1.1.0\n").expect("written");
    fs::write(playbook, PLAYBOOK.replace("echo {{host.name}}", "echo other")).expect("written");
    let ran = fleet.longshore(["apply", plan]).run().expect_code(6);
    let ran = ran.says("the host moved since the plan: it had 1.0.0, now it has 1.1.0").says("make a new plan");
    assert_eq!(ran.row("web-[1,3]")[1..4], ["done", "1/1", "1.0.0 → 2.0.0"], "{ran}");
    assert_eq!(ran.row("web-2")[1], "refused", "{ran}");
    assert_eq!([fleet.read("web-1", "trace"), fleet.read("web-2", "trace")], ["web-1\n", ""]);
    assert_eq!(fleet.read("web-2", "version"), "1.1.0\n");

    // A second time it is refused by all: they moved by it. Nothing ran twice.
    fleet.longshore(["apply", plan]).run().expect_code(6).says("3 refused");
    assert_eq!(fleet.read("web-3", "trace"), "web-3\n");

    // A playbook goes ahead on somebody's word; a lookahead needs none.
    let look = fleet.longshore(["apply", "up", "--limit", "web-2", "--check"]).run().expect_code(0);
    assert_eq!(fleet.read("web-2", "trace"), "", "{look}");
    fleet.longshore(["apply", "up", "--limit", "web-2", "--yes"]).run().expect_code(0).says("1.1.0 → 2.0.0");
    assert_eq!(fleet.read("web-2", "trace"), "other\n");

    // A host on which somebody else works is left to them.
    fs::write(fleet.host("web-1").home.join("version"), "1.0.0\n").expect("written");
    let lease = fs::read_dir(fleet.host("web-1").home.join("state"))
        .expect("a state folder")
        .flatten()
        .map(|install| install.path().join("lease"))
        .find(|lease| lease.exists())
        .expect("a lease");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    let uptime = fs::read_to_string("/proc/uptime").expect("an uptime");
    let uptime: u64 = uptime.split('.').next().and_then(|whole| whole.parse().ok()).expect("seconds");
    let held = format!("01other 9 eve@laptop {} {} {uptime}\n", boot.trim(), uptime + 300);
    fs::write(lease, held).expect("written");
    let ran = fleet.longshore(["apply", "up", "--limit", "web-1", "--yes"]).run().expect_code(6);
    ran.says("eve@laptop");
    assert_eq!(fleet.read("web-1", "trace"), "web-1\n");
    fleet.assert_nothing_runs();
}
