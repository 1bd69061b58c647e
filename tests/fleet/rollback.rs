//! Incidents, the ways on from a hold, and rollbacks of finished upgrades, with plain files over real sshd.

use std::fs;

use longshore::model::HostOutcome;

use crate::{command::Ran, fleet::Fleet};

/// A product of plain files: `version`, `head` of its migrations, `data`, `app.conf`. Other files on a host tell it how
/// to behave; every step that changes something notes it in `trace`.
const ROLE: &str = r#"
about = "Plain files"

[version]
command = { run = "cat version", dir = "{{path}}" }

[migration]
command = { run = "cat head", dir = "{{path}}" }

[newest]
command = { run = "tail -n 1 data", dir = "{{path}}" }

[[upgrade]]
name = "Back up"
effect = "read"
[upgrade.command]
dir = "{{path}}"
run = '''
cp data backup
echo "longshore-receipt file $PWD/backup"
echo "longshore-receipt size $(($(wc -c <backup)))"
echo "longshore-receipt sha256 $(sha256sum backup | cut -d ' ' -f 1)"
echo "longshore-receipt verified read to its end"
'''

[[upgrade]]
name = "Settings"
file = { to = "{{path}}/app.conf", content = "version = {{wanted}}\n", mode = "0600" }

[[upgrade]]
name = "Migrate"
effect = "data"
requires = [{ receipt = "Back up", younger-than = "1h" }]
command = { run = "echo migrate >>trace; [ -e nothing-to-migrate ] || { echo new >>data; echo {{release.migration}} >head; }", dir = "{{path}}" }

[[upgrade]]
name = "Switch"
command = { run = "echo switch >>trace; [ ! -e broken ]; cp version version.old; echo {{wanted}} >version", dir = "{{path}}" }
undo = { command = { run = "[ ! -e stuck ]; [ ! -e version.old ] || cp version.old version; echo back >>trace", dir = "{{path}}" } }

[[incident]]
name = "Stop"
command = { run = "echo stop >>trace", dir = "{{path}}" }
undo = { command = { run = "echo start >>trace", dir = "{{path}}" } }

[[incident]]
name = "Keep the data"
effect = "read"
command = { run = "cp data evidence", dir = "{{path}}" }

[[safety-copy]]
name = "Copy the data"
command = { run = "cp data copy; echo \"longshore-receipt file $PWD/copy\"", dir = "{{path}}" }

[[restore]]
name = "Put the backup back"
effect = "data"
requires = [{ receipt = "Back up" }]
command = { run = "echo restore >>trace; cp \"$LONGSHORE_RECEIPT_FILE\" data.new; mv data.new data; echo 1 >head", dir = "{{path}}" }

[[check]]
name = "It is not ill"
command = { run = ["test", "!", "-e", "{{path}}/ill"] }
"#;

const RELEASES: &str = "[[release]]\nversion = \"0.3.2\"\n[[release]]\nversion = \"0.4.0\"\nmigration = \"2\"\n";

const PLAYBOOK: &str = "role = \"app\"\naction = \"upgrade\"\nhosts = \"all\"\nto = \"0.4.0\"\n\
                        [rollout]\nbudget = { failed = 9 }\n";

/// Hosts with 0.3.2 installed; `odd` lays files on some.
fn fleet(count: usize, odd: &[(&str, &str)]) -> Option<Fleet> {
    let mut fleet = Fleet::new()?;
    for number in 1..=count {
        let home = fleet.add(&format!("web-{number}"), |sshd| sshd).home.clone();
        for (file, text) in [("version", "0.3.2\n"), ("head", "1\n"), ("data", "old\n"), ("app.conf", "mine\n")] {
            fs::write(home.join(file), text).expect("written");
        }
    }
    fleet.write_inventory("");
    fleet.trust_all();
    fleet.write("roles/app/role.toml", ROLE);
    fleet.write("roles/app/releases.toml", RELEASES);
    fleet.write("playbooks/up.toml", PLAYBOOK);
    for (host, file) in odd {
        fs::write(fleet.host(host).home.join(file), "").expect("written");
    }
    Some(fleet)
}

fn words(fleet: &Fleet, host: &str, file: &str) -> String {
    fleet.read(host, file).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a host has: version, data, settings.
fn has(fleet: &Fleet, host: &str) -> [String; 3] {
    ["version", "data", "app.conf"].map(|file| words(fleet, host, file))
}

/// The `[[approve]]` that a refusal asks for, as a file.
fn approval(fleet: &Fleet, ran: &Ran, host: &str) -> String {
    let text = crate::command::flat(&ran.err);
    let backup = text.split("backup = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it says the time");
    let text = format!("[[approve]]\nhost = \"{host}\"\naction = \"restore\"\nbackup = \"{backup}\"\nby = \"anna\"\n");
    fleet.write("approvals.toml", &text).to_string_lossy().into_owned()
}

#[test]
fn g_34_g_35_g_36_g_38_each_way_on_works_from_a_held_run_over_ssh() {
    let broken = ["web-1", "web-2", "web-3", "web-4"].map(|host| (host, "broken"));
    let Some(fleet) = fleet(4, &broken) else { return };
    let ran = fleet.longshore(["apply", "up", "--yes"]).run().expect_code(3);
    let ran = ran
        .says("data was changed by `Migrate`; its migrations were at 1, now 2")
        .says("done by itself since: `Stop`, `Keep the data`")
        .says("the backup of this run: `Back up`,")
        .says("`longshore resume 0001 --as roll-forward --host HOST` goes on with the step that failed")
        .says("`longshore resume 0001 --as restore --host HOST` copies the data as it is");
    for (host, _) in broken {
        assert_eq!(words(&fleet, host, "trace"), "migrate switch stop", "{ran}");
        assert_eq!(words(&fleet, host, "evidence"), "old new", "{ran}");
    }

    // Forward, once mended: the others stay held.
    fs::remove_file(fleet.host("web-1").home.join("broken")).expect("mended");
    let ran = fleet.longshore(["resume", "--as", "roll-forward", "--host", "web-1"]).run().expect_code(3);
    assert_eq!(ran.row("web-1")[1], "done", "{ran}");
    assert_eq!(has(&fleet, "web-1"), ["0.4.0", "old new", "version = 0.4.0"], "{ran}");
    assert_eq!(words(&fleet, "web-1", "trace"), "migrate switch stop start switch", "{ran}");

    // Back by code alone: a person's decision, and the table says that data stays new.
    let ran = fleet.longshore(["resume", "--as", "code-rollback", "--host", "web-2"]).run().expect_code(3);
    let ran = ran.says("data stays as `Migrate` left it");
    assert_eq!(ran.row("web-2")[1], "undone", "{ran}");
    assert_eq!(has(&fleet, "web-2"), ["0.3.2", "old new", "mine"], "{ran}");

    // Back with its data: refused without a word for this very backup, done with it.
    let restore = ["resume", "--as", "restore", "--host", "web-3"];
    let ran = fleet.longshore(restore).run().expect_code(6);
    let ran = ran
        .tells("nobody can be asked here to approve restore of web-3, and the default is no")
        .tells("newest data on the host: new");
    // What is told is what the host has now; where it does not say, what it had when it was held.
    fs::rename(fleet.host("web-3").home.join("data"), fleet.host("web-3").home.join("away")).expect("moved");
    let blind = fleet.longshore(restore).run().expect_code(6);
    blind.tells("newest data on the host: new when it was held, and not known now: asking ended with status 1");
    fs::rename(fleet.host("web-3").home.join("away"), fleet.host("web-3").home.join("data")).expect("moved");
    assert_eq!(words(&fleet, "web-3", "trace"), "migrate switch stop", "{ran}");
    let file = approval(&fleet, &ran, "web-3");
    let other = fs::read_to_string(&file).expect("just written").replace("backup = \"20", "backup = \"19");
    fs::write(&file, other).expect("written");
    fleet.longshore(restore.into_iter().chain(["--approvals", &file])).run().expect_code(6).tells("does not approve");
    let file = approval(&fleet, &ran, "web-3");
    let ran = fleet.longshore(restore.into_iter().chain(["--approvals", &file])).run().expect_code(3);
    let ran = ran.says("the data of the run's own backup was put back");
    assert_eq!(has(&fleet, "web-3"), ["0.3.2", "old", "mine"], "{ran}");
    assert_eq!(words(&fleet, "web-3", "copy"), "old new", "{ran}");
    let told = fleet.longshore(["history", "show", "1", "--host", "web-3"]).run().expect_code(0);
    told.says("restore of the backup of")
        .says("was approved by anna in a file of approvals")
        .says("restore was chosen by");

    // The same at a terminal: the name of the host, typed by somebody who has read what would be lost.
    let restore = ["resume", "--as", "restore", "--host", "web-4"];
    let asked = "Type the host's name to approve this, anything else to leave it: ";
    let held = has(&fleet, "web-4");
    for wrong in ["web-3", "y", ""] {
        let ran = fleet.longshore(restore).answer(&[(asked, wrong)]).expect_code(6).tells("was not approved");
        assert_eq!(has(&fleet, "web-4"), held, "{ran}");
        assert_eq!(words(&fleet, "web-4", "trace"), "migrate switch stop", "{ran}");
    }
    let ran = fleet.longshore(restore).answer(&[(asked, "web-4")]).expect_code(1);
    let ran = ran.tells("backup: `Back up` of 20").tells("newest data on the host: new").tells("lost: everything that");
    assert_eq!(has(&fleet, "web-4"), ["0.3.2", "old", "mine"], "{ran}");
    assert_eq!(words(&fleet, "web-4", "copy"), "old new", "{ran}");
    fleet.longshore(["history", "show", "1"]).run().says("web-4: restore of the backup of").says("at a terminal");
    fleet.assert_nothing_runs();
}

/// What the held run would go on with is not there any more, so it does not; and it need not wait for ever.
#[test]
fn g_34_a_held_host_that_another_run_brought_back_is_not_gone_on_with_and_is_closed_by_a_person() {
    let Some(fleet) = fleet(2, &[("web-1", "broken"), ("web-2", "broken")]) else { return };
    fleet.longshore(["apply", "up", "--yes"]).run().expect_code(3);
    let mend = "hosts = \"web-1\"\n[[steps]]\nname = \"Schema back\"\nno-undo = \"it is over\"\n\
                command = { run = \"echo mended >>trace; echo 1 >head\", dir = \"{{path}}\" }\n";
    fleet.write("playbooks/mend.toml", mend);
    // Looking at it, or running what changes nothing there, is in nobody's way.
    fleet.longshore(["check", "all"]).run();
    let ran = fleet.longshore(["apply", "mend", "--yes"]).run().expect_code(0);
    let ran = ran.tells("web-1 still waits for a person in run 0001");
    assert!(!crate::command::flat(&ran.err).contains("web-2 still waits"), "{ran}");

    for words in [
        vec!["resume", "1", "--as", "roll-forward", "--host", "web-1"],
        vec!["resume", "1", "--as", "code-rollback", "--host", "web-1"],
        vec!["resume", "1", "--as", "restore", "--host", "web-1"],
        vec!["retry", "1", "--held", "--as-planned"],
    ] {
        let ran = fleet.longshore(words).run().expect_code(6);
        ran.tells("run 0001 does not go on with what has changed since: web-1 (by run 0003)")
            .tells("`longshore close 0001 --host web-1 --reason TEXT`");
    }
    assert_eq!(words(&fleet, "web-1", "trace"), "migrate switch stop mended");
    // The other is as it was, and goes on.
    let ran = fleet.longshore(["resume", "1", "--as", "code-rollback", "--host", "web-2"]).run().expect_code(3);
    assert_eq!(ran.row("web-2")[1], "undone", "{ran}");

    let close = ["close", "1", "--host", "web-1", "--reason", "run 3 took its schema back"];
    fleet.longshore(close).run().expect_code(0).tells("web-1: closed in run 0001");
    assert_eq!(words(&fleet, "web-1", "trace"), "migrate switch stop mended");
    // Nobody is waited for any more, and it is told why.
    let ran = fleet.longshore(["resume", "1"]).run().expect_code(1);
    assert!(!crate::command::flat(&format!("{ran}")).contains("held"), "{ran}");
    let told = fleet.longshore(["history", "show", "1", "--host", "web-1"]).run();
    told.says("closed by").says("run 3 took its schema back");
    fleet.longshore(close).run().expect_code(2).tells("web-1 is failed, neither held nor stuck");
}

#[test]
fn f_30_g_27_g_38_s_45_a_finished_upgrade_goes_back_in_the_shape_that_fits_each_host() {
    let Some(fleet) = fleet(3, &[("web-2", "nothing-to-migrate")]) else { return };
    fleet.longshore(["apply", "up", "--yes"]).run().expect_code(0);
    assert_eq!(has(&fleet, "web-1"), ["0.4.0", "old new", "version = 0.4.0"]);
    fs::write(fleet.host("web-1").home.join("data"), "old\nnew\ntoday\n").expect("written");

    // The plan says which host goes back how, and why; nobody is touched by it.
    let kept = fleet.project().join("back.json").display().to_string();
    let ran = fleet.longshore(["rollback", "1", "-o", &kept]).run().expect_code(0);
    let ran = ran
        .says("back to 0.3.2: code, because its migrations did not move: 1")
        .says("back to 0.3.2: data and code, because data was changed by `Migrate`; the backup is of")
        .says("whether to change the data of web-[1,3]")
        .says("windows do not bind it");
    // Of the upgrade's own risk nothing is told again.
    assert!(!ran.out.contains("to take it back") && !ran.out.contains("no return"), "{ran}");
    assert_eq!(has(&fleet, "web-2")[0], "0.4.0", "{ran}");

    // Looking asks for no approval, makes no backup of anything and changes nothing.
    let ran = fleet.longshore(["rollback", "1", "--check"]).run().expect_code(0);
    for host in ["web-1", "web-3"] {
        assert_eq!(words(&fleet, host, "trace"), "migrate switch", "{ran}");
        assert_eq!([&has(&fleet, host)[0], &words(&fleet, host, "copy")], ["0.4.0", ""], "{ran}");
    }
    fleet.longshore(["history", "show", "last"]).run().expect_code(0).says("rollback --check Rollback of run 0001");

    // Code alone: the settings come back from what the upgrade's own step kept on the host.
    let ran = fleet.longshore(["rollback", "last", "web-2", "--yes"]).run().expect_code(0);
    assert_eq!(ran.row("web-2")[1..4], ["done", "2/2", "0.4.0 → 0.3.2"], "{ran}");
    assert_eq!(has(&fleet, "web-2"), ["0.3.2", "old", "mine"], "{ran}");
    assert_eq!(words(&fleet, "web-2", "trace"), "migrate switch back", "{ran}");

    // Twice is refused, and so is a plan that was kept before.
    let ran = fleet.longshore(["rollback", "1", "web-2", "--yes"]).run().expect_code(6);
    ran.tells("web-2: it was taken back already, by run 0003");
    fleet.longshore(["apply", &kept]).run().expect_code(6).tells("taken back already");

    // With data: never by `--yes` alone.
    let ran = fleet.longshore(["rollback", "1", "web-1", "--yes"]).run().expect_code(6);
    let ran = ran.tells("backup: `Back up` of 20").tells(" ago").tells("newest data on the host: today");
    let ran = ran.tells("lost: everything that was written on web-1 since").tells("kept: the data as it is now");
    assert_eq!(words(&fleet, "web-1", "trace"), "migrate switch", "{ran}");
    let file = approval(&fleet, &ran, "web-1");
    let ran = fleet.longshore(["rollback", "1", "web-1", "--yes", "--approvals", &file]).run().expect_code(0);
    assert_eq!(has(&fleet, "web-1"), ["0.3.2", "old", "mine"], "{ran}");
    assert_eq!(words(&fleet, "web-1", "copy"), "old new today", "{ran}");
    assert_eq!(words(&fleet, "web-1", "trace"), "migrate switch restore back", "{ran}");

    // A later run changed the third: what the first did to it cannot be taken back any more.
    fleet.write(
        "playbooks/touch.toml",
        "hosts = \"web-3\"\n[[steps]]\ncommand = { run = \"echo more >>other\", dir = \"{{path}}\" }\nundo = { command = { run = \"rm other\", dir = \"{{path}}\" } }\n",
    );
    fleet.longshore(["apply", "touch", "--yes"]).run().expect_code(0);
    let ran = fleet.longshore(["rollback", "1", "web-3", "--yes"]).run().expect_code(6);
    ran.tells("web-3: run 0005 changed it since");
    // Unless that was taken back itself: then it stands where the first left it.
    fleet.longshore(["rollback", "5", "web-3", "--yes"]).run().expect_code(0);
    let ran = fleet.longshore(["rollback", "1", "web-3", "--yes"]).run().expect_code(6);
    let file = approval(&fleet, &ran, "web-3");
    let ran = fleet.longshore(["rollback", "1", "web-3", "--yes", "--approvals", &file]).run().expect_code(0);
    assert_eq!(has(&fleet, "web-3"), ["0.3.2", "old", "mine"], "{ran}");

    // It is a run of its own, and says of which.
    let told = fleet.longshore(["--output", "json", "history", "show", "3"]).run().expect_code(0);
    let state = told.state();
    assert_eq!(state.purpose, "rollback");
    assert!(state.rolls_back.is_some());
    fleet.assert_nothing_runs();
}

#[test]
fn g_29_a_later_upgrade_that_was_taken_back_by_code_alone_keeps_an_earlier_one_from_going_back() {
    let Some(fleet) = fleet(1, &[]) else { return };
    fleet.longshore(["apply", "up", "--yes"]).run().expect_code(0);
    let newer = "[[release]]\nversion = \"0.5.0\"\nmigration = \"3\"\nbackward-compatible = true\n";
    fleet.write("roles/app/releases.toml", &format!("{RELEASES}{newer}"));
    fleet.write("playbooks/up.toml", &PLAYBOOK.replace("0.4.0", "0.5.0"));
    fleet.longshore(["apply", "up", "--yes"]).run().expect_code(0);
    fleet
        .longshore(["rollback", "1", "--yes"])
        .run()
        .expect_code(6)
        .tells("web-1: run 0002 changed it since: take that");
    fleet.longshore(["rollback", "2", "--yes"]).run().expect_code(0);
    assert_eq!((words(&fleet, "web-1", "version"), words(&fleet, "web-1", "head")), ("0.4.0".into(), "3".into()));
    let ran = fleet.longshore(["rollback", "1", "--yes"]).run().expect_code(6);
    ran.tells("web-1: run 0002 changed its data since, and run 0003 took back the code alone");
}

#[test]
fn s_44_an_undo_that_fails_in_a_rollback_leaves_the_host_stuck_and_is_gone_on_with() {
    let Some(fleet) = fleet(1, &[("web-1", "nothing-to-migrate")]) else { return };
    fleet.longshore(["apply", "up", "--yes"]).run().expect_code(0);
    fs::write(fleet.host("web-1").home.join("stuck"), "").expect("written");
    let ran = fleet.longshore(["rollback", "last", "--yes"]).run().expect_code(3);
    assert_eq!(ran.row("web-1")[1], "stuck", "{ran}");
    assert_eq!(has(&fleet, "web-1")[2], "version = 0.4.0", "what lies below stays: {ran}");
    let again = fleet.longshore(["rollback", "1", "--yes"]).run().expect_code(6);
    again.tells("run 0002 began to take it back: `longshore retry 0002 --host web-1` goes on");
    fs::remove_file(fleet.host("web-1").home.join("stuck")).expect("mended");
    let ran = fleet.longshore(["retry", "2", "--host", "web-1"]).run().expect_code(0);
    assert_eq!(has(&fleet, "web-1"), ["0.3.2", "old", "mine"], "{ran}");
    let state = fleet.longshore(["--output", "json", "history", "show", "2"]).run().expect_code(0).state();
    assert!(state.hosts.values().all(|host| host.outcome == Some(HostOutcome::Done)));
}

#[test]
fn g_28_who_approves_that_a_schema_is_taken_back_is_told_the_newest_data() {
    let Some(fleet) = fleet(1, &[]) else { return };
    let (before, after) = ROLE.split_once("[[safety-copy]]").expect("it copies");
    let (_, after) = after.split_once("[[check]]").expect("it checks");
    let back = "[[rollback]]\nname = \"Take the schema back\"\neffect = \"data\"\nunprotected = \"the migration can be run backwards\"\n\
                command = { run = \"echo schema >>trace; echo 1 >head\", dir = \"{{path}}\" }\n\n[[check]]";
    fleet.write("roles/app/role.toml", &format!("{before}{back}{after}"));
    fleet.longshore(["apply", "up", "--yes"]).run().expect_code(0);
    fs::write(fleet.host("web-1").home.join("data"), "old\nnew\ntoday\n").expect("written");
    let ran = fleet.longshore(["rollback", "1", "--yes"]).run().expect_code(6);
    let ran = ran.tells("changes data: `Take the schema back`").tells("newest data on the host: today");
    assert_eq!(words(&fleet, "web-1", "trace"), "migrate switch", "{ran}");
    let word = "[[approve]]\nhost = \"web-1\"\naction = \"rollback\"\nby = \"anna\"\n";
    let file = fleet.write("approvals.toml", word).to_string_lossy().into_owned();
    let ran = fleet.longshore(["rollback", "1", "--yes", "--approvals", &file]).run().expect_code(0);
    assert_eq!(has(&fleet, "web-1"), ["0.3.2", "old new today", "mine"], "{ran}");
    assert_eq!(words(&fleet, "web-1", "trace"), "migrate switch schema back", "{ran}");
}
