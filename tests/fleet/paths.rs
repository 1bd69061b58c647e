//! Gates of an upgrade's path that no flag opens, and a patch that turns out to be more than one.

use std::fs;

use crate::{command::flat, fleet::Fleet};

/// A product whose fetched release says whether it brings migrations: a file `pending`. Its backup is verified where
/// the host has the file `verified`.
const ROLE: &str = r#"
about = "Plain files"

[version]
command = { run = "cat version", dir = "{{path}}" }

[[upgrade]]
name = "Fetch"
command = { run = "echo fetch >>trace; echo {{wanted}} >next", dir = "{{path}}" }
undo = { command = { run = "rm -f next; echo unfetch >>trace", dir = "{{path}}" } }

[[upgrade]]
name = "The fetched release brings no migration"
only-for = ["patch"]
check = { command = { run = "[ ! -e {{path}}/pending ] || { echo '1 migration is pending'; exit 1; }" } }

[[upgrade]]
name = "Back up"
only-for = ["minor", "major"]
effect = "read"
command = { run = "echo backup >>trace; [ ! -e verified ] || echo 'longshore-receipt verified read to its end'", dir = "{{path}}" }

[[upgrade]]
name = "Migrate"
only-for = ["minor", "major"]
effect = "data"
requires = [{ receipt = "Back up", younger-than = "1h" }]
command = { run = "echo migrate >>trace", dir = "{{path}}" }

[[upgrade]]
name = "Switch"
command = { run = "echo switch >>trace; cp next version", dir = "{{path}}" }
undo = { command = { run = "echo switch-back >>trace; echo 1.0.0 >version", dir = "{{path}}" } }
"#;

fn fleet(releases: &str, to: &str) -> Option<Fleet> {
    let mut fleet = Fleet::new()?;
    for name in ["web-1", "web-2"] {
        let host = fleet.add(name, |sshd| sshd);
        fs::write(host.home.join("version"), "1.0.0\n").expect("written");
    }
    fleet.write_inventory("");
    fleet.trust_all();
    fleet.write("roles/app/role.toml", ROLE);
    fleet.write("roles/app/releases.toml", releases);
    fleet.write(
        "playbooks/up.toml",
        &format!(
            "role = \"app\"\naction = \"upgrade\"\nhosts = \"all\"\nto = \"{to}\"\n[rollout]\nbudget = {{ failed = 9 }}\n"
        ),
    );
    Some(fleet)
}

fn trace(fleet: &Fleet, host: &str) -> String {
    flat(&fleet.read(host, "trace"))
}

#[test]
fn f_07_a_patch_whose_image_turns_out_to_migrate_stops_before_it_and_goes_as_the_minor_that_it_is() {
    let releases = "[[release]]\nversion = \"1.0.0\"\n[[release]]\nversion = \"1.0.1\"\n";
    let Some(fleet) = fleet(releases, "1.0.1") else { return };
    fs::write(fleet.host("web-1").home.join("pending"), "").expect("written");
    fs::write(fleet.host("web-1").home.join("verified"), "").expect("written");
    let ran = fleet.longshore(["apply", "up", "--yes"]).run().expect_code(1);
    let ran = ran.says("1 migration is pending");
    assert_eq!([&ran.row("web-1")[1], &ran.row("web-2")[1]], ["undone", "done"], "{ran}");
    assert_eq!(trace(&fleet, "web-1"), "fetch unfetch", "it was switched, or migrated: {ran}");
    assert_eq!(trace(&fleet, "web-2"), "fetch switch", "{ran}");

    // Once that is written down, it is a minor: with a backup first, and its migration.
    fleet.write("roles/app/releases.toml", &releases.replace("1.0.1\"", "1.0.1\"\nmigration = \"2\""));
    let ran = fleet.longshore(["apply", "up", "--yes", "--limit", "web-1"]).run().expect_code(0);
    assert_eq!(trace(&fleet, "web-1"), "fetch unfetch fetch backup migrate switch", "{ran}");
    fleet.assert_nothing_runs();
}

#[test]
fn s_08_a_plan_says_why_a_version_is_not_known_and_which_source_was_silent() {
    let releases = "[[release]]\nversion = \"1.0.0\"\n[[release]]\nversion = \"1.0.1\"\n";
    let Some(fleet) = fleet(releases, "1.0.1") else { return };
    fs::remove_file(fleet.host("web-1").home.join("version")).expect("removed");
    let silent = "cat: version: No such file or directory";
    let ran = fleet.longshore(["plan", "up"]).run().expect_code(6);
    ran.says("web-1: the installed version is unknown").says(&format!("cause: {silent}")).tells(silent);
    let ran = fleet.longshore(["apply", "up", "--yes"]).run().expect_code(6).says(&format!("cause: {silent}"));
    assert_eq!([trace(&fleet, "web-1"), trace(&fleet, "web-2")], ["", "fetch switch"], "{ran}");

    // Of several sources one may be silent: the others tell, and it is said.
    let two = ROLE
        .replace("[version]\n", "[[version]]\ncommand = { run = \"cat label\", dir = \"{{path}}\" }\n[[version]]\n");
    fleet.write("roles/app/role.toml", &two);
    fs::write(fleet.host("web-1").home.join("label"), "tag=1.0.0\n").expect("written");
    let ran = fleet.longshore(["hosts", "--facts", "--role", "app"]).run().expect_code(0);
    let note = |host: &str, file: &str| {
        format!(
            "note: a source of the version of {host} told nothing, and the others agree: cat: {file}: No such file or directory"
        )
    };
    ran.tells(&note("web-1", "version")).tells(&note("web-2", "label"));
    fs::write(fleet.host("web-2").home.join("label"), "1.0.0\n").expect("written");
    fleet
        .longshore(["plan", "up"])
        .run()
        .expect_code(6)
        .says("web-2: its sources do not agree on the version: 1.0.0, 1.0.1");
    fleet.assert_nothing_runs();
}

/// Every option of `apply`, `resume` and `retry` that could say "do it all the same", with a value.
const FLAGS: [(&str, &[&str]); 8] = [
    ("--yes", &["--yes"]),
    ("--direct", &["--direct"]),
    ("--ack", &["--ack", "1.1.0"]),
    ("--from", &["--from", "web-1=1.0.0"]),
    ("--approvals", &["--approvals", "approvals.toml"]),
    ("--break-glass", &["--break-glass", "anna", "--reason", "because"]),
    ("--wait", &["--wait"]),
    ("--as-planned", &["--as-planned"]),
];

/// Options that say what is done, or how it is shown, and not whether.
const HARMLESS: [&str; 16] = [
    "--to",
    "--limit",
    "--check",
    "--diff",
    "--reason",
    "--help",
    "--as",
    "--host",
    "--failed",
    "--unreached",
    "--held",
    "--stuck",
    "--refused",
    "--not-started",
    "--progress",
    "--no-soak",
];

#[test]
fn f_16_t_02_no_combination_of_flags_changes_data_without_a_verified_backup() {
    let releases = "[[release]]\nversion = \"1.0.0\"\n[[release]]\nversion = \"1.1.0\"\nmigration = \"2\"\nnotes = \"Read this.\"\n";
    let Some(fleet) = fleet(releases, "1.1.0") else { return };
    let approvals = "[[approve]]\nhost = \"web-1\"\naction = \"irreversible\"\nsteps = [\"Migrate\"]\nto = \"1.1.0\"\nby = \"anna\"\n";
    let file = fleet.write("approvals.toml", approvals).display().to_string();
    let words = |flags: &[(&str, &[&str])]| {
        let words = flags.iter().flat_map(|(_, words)| words.iter());
        words.map(|word| if *word == "approvals.toml" { file.clone() } else { (*word).to_owned() }).collect::<Vec<_>>()
    };

    // A new option is weighed here before it is in a release.
    let global = fleet.longshore(["--help"]).run().out;
    for command in ["apply", "resume", "retry"] {
        let help = fleet.longshore([command, "--help"]).run().out;
        for option in help.split(|c: char| c.is_whitespace() || c == ',').filter(|word| word.starts_with("--")) {
            let option = option.trim_end_matches(|c: char| !c.is_ascii_lowercase());
            let known = FLAGS.iter().any(|(flag, _)| *flag == option) || HARMLESS.contains(&option);
            assert!(known || global.contains(option), "`{command} {option}` is not weighed");
        }
    }

    let own: Vec<_> =
        FLAGS.into_iter().filter(|(flag, _)| !["--yes", "--ack", "--as-planned"].contains(flag)).collect();
    // Where nobody can be asked, notes that nobody acknowledged keep everything from being begun.
    let unread = fleet.longshore(["apply", "up", "--yes"]).run().expect_code(2);
    let unread = unread.tells("have not been acknowledged").tells("then say `--ack 1.1.0`");
    assert_eq!(trace(&fleet, "web-1"), "", "{unread}");
    fleet.longshore(["history"]).run().says("no runs yet");
    for chosen in 0..1_u32 << own.len() {
        let mut flags: Vec<_> =
            own.iter().enumerate().filter(|(bit, _)| (chosen >> bit) & 1 == 1).map(|(_, flag)| *flag).collect();
        if flags.iter().filter(|(flag, _)| ["--break-glass", "--wait"].contains(flag)).count() == 2 {
            continue;
        }
        // Without these two nothing begins at all where nobody can be asked.
        flags.extend([FLAGS[0], FLAGS[2]]);
        let words = words(&flags);
        let words = words.iter().map(String::as_str);
        let ran = fleet.longshore(["apply", "up", "--limit", "web-1"].into_iter().chain(words)).run().expect_code(1);
        let ran = ran.says("there is no receipt of `Back up`");
        assert!(!trace(&fleet, "web-1").contains("migrate"), "{ran}");
        assert_eq!(fleet.read("web-1", "version"), "1.0.0\n", "{ran}");
    }
    for flags in
        [&[][..], &[FLAGS[7]], &[FLAGS[4]], &[FLAGS[5]], &[FLAGS[7], FLAGS[4], FLAGS[5]], &[FLAGS[7], FLAGS[6]]]
    {
        let words = words(flags);
        let words = words.iter().map(String::as_str);
        let ran = fleet.longshore(["retry", "--failed"].into_iter().chain(words)).run().expect_code(1);
        let ran = ran.says("there is no receipt of `Back up`");
        assert!(!trace(&fleet, "web-1").contains("migrate"), "{ran}");
    }
    // What opens the gate is a backup that was verified.
    fs::write(fleet.host("web-1").home.join("verified"), "").expect("written");
    let ran = fleet.longshore(["retry", "--failed"]).run().expect_code(0);
    assert!(trace(&fleet, "web-1").ends_with("fetch backup migrate switch"), "{ran}");
    // Who read the notes of the release is told with the run.
    fleet.longshore(["history", "show", "last"]).run().says("the notes of 1.1.0 were read by");
}

#[test]
fn a_blocked_release_is_refused_with_its_line_its_reason_and_what_to_do() {
    let releases = "[[release]]\nversion = \"1.0.0\"\n\n[[release]]\nversion = \"1.1.0\"\nrequired-stop = true\n\
                    blocked = \"does not start\"\n\n[[release]]\nversion = \"1.2.0\"\nblocked = \"loses mail\"\n\n\
                    [[release]]\nversion = \"1.3.0\"\n";
    let Some(fleet) = fleet(releases, "1.3.0") else { return };
    // The one wanted: nothing is planned, whichever host it would be for.
    let named = fleet.longshore(["plan", "up", "--to", "1.2.0"]).run().expect_code(2);
    let named = named.tells("error: release 1.2.0 is blocked: loses mail").tells("roles/app/releases.toml:11:11");
    named.tells("blocked = \"loses mail\"").tells("hint: choose another release with `--to`");
    // One on the way that cannot be gone around: the host is refused.
    let plan = fleet.longshore(["plan", "up"]).run().expect_code(6);
    let plan = plan.says("the way to 1.3.0 must stop at 1.1.0, and that is blocked: does not start");
    plan.says("`roles/app/releases.toml:7` blocks it").says("ask the product's makers which release takes its place");
    // In a playbook it is wrong before anybody asks for a plan.
    let up =
        fs::read_to_string(fleet.project().join("playbooks/up.toml")).expect("a playbook").replace("1.3.0", "1.2.0");
    fleet.write("playbooks/up.toml", &up);
    let lint = fleet.longshore(["lint"]).run().expect_code(2);
    let lint = lint.says("the release `1.2.0` is never to be installed: loses mail").says("playbooks/up.toml:4:6");
    lint.says("hint: choose another release; `roles/app/releases.toml:11` blocks this one");
    assert_eq!([trace(&fleet, "web-1"), trace(&fleet, "web-2")], ["", ""]);
}
