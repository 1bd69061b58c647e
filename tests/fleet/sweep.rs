//! Sweeps that compare with what was there before: with what was recorded, and never with nothing.

use std::fs;

use crate::{command::flat, fleet::Fleet};

const ROLE: &str = r#"
about = "A product that is known by its key"

[facts.key]
effect = "read"
command = "cat {{path}}/key"

[[upgrade]]
name = "Set the version"
command = "echo 2 >{{path}}/version"
no-undo = "for the test"

[[check]]
name = "The key is that of before"
command = "[ \"$(cat {{path}}/key)\" = {{#if facts.key}}{{facts.key}}{{else}}\"$(cat {{path}}/key)\"{{/if}} ]"

[[check]]
name = "There is a key"
when = "facts.key"
command = "[ -s {{path}}/key ]"
"#;

/// The verdicts of the last sweep on a host, in the order of the role.
fn verdicts(fleet: &Fleet, host: &str) -> Vec<String> {
    let state = fleet.longshore(["--output", "json", "history", "show", "last"]).run().expect_code(0).state();
    let (_, of) = state.hosts.iter().find(|(name, _)| name.as_str() == host).expect("the host");
    of.checks.iter().map(|check| check.verdict.to_string()).collect()
}

#[test]
fn g_25_s_33_a_sweep_compares_with_what_was_recorded_and_passes_nothing_that_it_cannot_compare() {
    let Some(fleet) = Fleet::of(2) else { return };
    fleet.write("roles/keyed/role.toml", ROLE);
    fleet.write("playbooks/up.toml", "role = \"keyed\"\naction = \"upgrade\"\nhosts = \"all\"\n");
    let set = |host: &str, key: &str| fs::write(fleet.host(host).home.join("key"), key).expect("written");
    for host in ["web-01", "web-02"] {
        set(host, "the first");
    }
    let check = |arguments: &[&str]| fleet.longshore(["check", "all"].iter().chain(arguments).copied()).run();

    // Nothing is recorded yet: what cannot be compared has not passed. From now on it can.
    let ran = check(&[]).expect_code(1).says("nothing was recorded to compare with (key)");
    assert_eq!(verdicts(&fleet, "web-01"), ["unverified", "pass"], "{ran}");
    let ran = check(&[]).expect_code(0);
    assert_eq!(verdicts(&fleet, "web-01"), ["pass", "pass"], "{ran}");

    // One that differs from what was recorded stays red, however often it is looked at.
    set("web-02", "another");
    for _ in 0..2 {
        let ran = check(&[]).expect_code(1);
        assert_eq!(
            (verdicts(&fleet, "web-01"), verdicts(&fleet, "web-02")),
            (vec!["pass".to_owned(), "pass".to_owned()], vec!["fail".to_owned(), "pass".to_owned()]),
            "{ran}"
        );
    }
    // A person may take it as it is.
    check(&["--anew"]).expect_code(1);
    assert_eq!(verdicts(&fleet, "web-02"), ["unverified", "pass"]);
    check(&[]).expect_code(0);

    // So does an upgrade, whose own checks have compared: with what it found right before.
    set("web-01", "of the upgrade");
    fleet.longshore(["apply", "up", "--yes"]).run().expect_code(0);
    let ran = check(&[]).expect_code(0);
    assert_eq!(verdicts(&fleet, "web-01"), ["pass", "pass"], "{ran}");
    set("web-01", "the first");
    check(&[]).expect_code(1);
    assert_eq!(verdicts(&fleet, "web-01"), ["fail", "pass"]);

    // Nor does an upgrade pass what its host did not tell before it; the plan says so.
    fs::remove_file(fleet.host("web-02").home.join("key")).expect("removed");
    let told = "the fact `key` is not known, so `The key is that of before` is `unverified` at best: web-02";
    assert!(flat(&fleet.longshore(["plan", "up"]).run().expect_code(0).out).contains(told));
    let ran = fleet.longshore(["apply", "up", "--yes"]).run().expect_code(3);
    assert_eq!(verdicts(&fleet, "web-01").last().map(String::as_str), Some("pass"), "{ran}");
    assert!(verdicts(&fleet, "web-02").iter().any(|verdict| verdict == "unverified"), "{ran}");

    // What a host does not tell, and nobody recorded, is not compared either.
    fleet.write(
        "roles/keyed/role.toml",
        &ROLE.replace("cat {{path}}/key\"\n\n[[upgrade", "cat {{path}}/gone\"\n\n[[upgrade"),
    );
    let ran = check(&["--anew"]).expect_code(1);
    assert_eq!(verdicts(&fleet, "web-01"), ["unverified"], "{ran}");
}

#[test]
fn a_sweep_and_the_facts_of_hosts_mark_the_version_that_most_do_not_have() {
    let Some(fleet) = Fleet::of(3) else { return };
    let role = "about = \"A product that tells its version\"\n[version]\ncommand = \"cat {{path}}/version\"\n\
        [[check]]\nname = \"It is well\"\ncommand = \"[ ! -e {{path}}/ill ]\"\n";
    fleet.write("roles/told/role.toml", role);
    for (host, version) in [("web-01", "2.1.0"), ("web-02", "2.0.9"), ("web-03", "2.1.0")] {
        fs::write(fleet.host(host).home.join("version"), version).expect("written");
    }
    let ran = fleet.longshore(["check", "all"]).run().expect_code(0).says("not 2.1.0, which 2 hosts have");
    assert_eq!([&ran.row("web-02")[2], &ran.row("web-[01,03]")[2]], ["2.0.9 *", "2.1.0"], "{ran}");
    assert!(!ran.out.contains("Since run"), "{ran}");
    // What changed since is told, once.
    fs::write(fleet.host("web-02").home.join("version"), "2.1.0").expect("written");
    fs::write(fleet.host("web-03").home.join("version"), "2.2.0").expect("written");
    fs::write(fleet.host("web-03").home.join("ill"), "").expect("written");
    let ran = fleet.longshore(["check", "all"]).run().expect_code(1);
    let ran = ran.says(
        "Since run 0001: web-02: version 2.0.9 → 2.1.0 web-03: version 2.1.0 → 2.2.0 web-03: It is well: pass → fail",
    );
    assert!(!ran.out.contains("web-01: "), "{ran}");
    let ran = fleet.longshore(["check", "all"]).run().expect_code(1);
    assert!(!ran.out.contains("Since run"), "{ran}");
    fs::write(fleet.host("web-02").home.join("version"), "2.0.9").expect("written");
    fs::write(fleet.host("web-03").home.join("version"), "2.1.0").expect("written");
    let ran = fleet.longshore(["hosts", "all", "--facts"]).run().expect_code(0).says("not what most hosts have");
    assert_eq!([&ran.row("web-02")[1], &ran.row("web-[01,03]")[1]], ["2.0.9 *", "2.1.0"], "{ran}");
}
