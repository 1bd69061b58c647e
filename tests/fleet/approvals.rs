//! What cannot be taken back is done only on a person's word, for each host: typed at a terminal, or in a file.

use std::fs;

use crate::{command::flat, fleet::Fleet};

const PLAYBOOK: &str = r#"
hosts = "all"
to = "2.0.0"
rollout = { at-once = 1, budget = { failed = 0 } }

[[steps]]
name = "Drop the old tables"
effect = "irreversible"
unprotected = "nothing reads them any more"
command = { run = "echo drop >>trace; sleep {{pause}}; [ ! -e broken ]", dir = "{{path}}" }
"#;

const ASKED: &str = "Type the host's name to approve this, anything else to leave it: ";

fn fleet() -> Option<Fleet> {
    let mut fleet = Fleet::new()?;
    for name in ["web-1", "web-2"] {
        fleet.add(name, |sshd| sshd);
    }
    fleet.write_inventory("vars = { pause = 0 }");
    fleet.trust_all();
    fleet.write("playbooks/drop.toml", PLAYBOOK);
    Some(fleet)
}

fn traces(fleet: &Fleet) -> [String; 2] {
    ["web-1", "web-2"].map(|host| flat(&fleet.read(host, "trace")))
}

fn approvals(fleet: &Fleet, hosts: &[&str], keys: &str) -> String {
    let one = |host| format!("[[approve]]\nhost = \"{host}\"\naction = \"irreversible\"\n{keys}by = \"anna\"\n");
    let text: String = hosts.iter().map(one).collect();
    fleet.write("approvals.toml", &text).to_string_lossy().into_owned()
}

/// The keys with which the step of the playbook is approved.
const EXACT: &str = "steps = [\"Drop the old tables\"]\nto = \"2.0.0\"\n";

#[test]
fn g_36_what_cannot_be_taken_back_is_done_on_no_flag_alone() {
    let Some(fleet) = fleet() else { return };
    fleet
        .longshore(["plan", "drop"])
        .run()
        .expect_code(0)
        .says("asked whether to do what cannot be taken back on web-[1,2]: its name, typed for each");
    let ran = fleet.longshore(["apply", "drop", "--yes"]).run().expect_code(6);
    let ran = ran
        .tells("nobody can be asked here to approve what cannot be taken back on web-1, and the default is no")
        .tells("cannot be taken back: `Drop the old tables`, by no undo, rollback or restore")
        .tells("steps = [\"Drop the old tables\"], to = \"2.0.0\", by = \"NAME\"");
    assert_eq!(traces(&fleet), ["", ""], "{ran}");
    let kept = fleet.project().join("plan.json").display().to_string();
    fleet.longshore(["plan", "drop", "-o", &kept]).run().expect_code(0);
    fleet.longshore(["apply", &kept]).run().expect_code(6).tells("the default is no");

    // An approval of one host, of another step, of another version, or of no step is none.
    for (hosts, keys) in [
        (&["web-1"][..], EXACT),
        (&["web-1", "web-2"], "steps = [\"Drop the new tables\"]\nto = \"2.0.0\"\n"),
        (&["web-1", "web-2"], "steps = [\"Drop the old tables\"]\nto = \"1.9.0\"\n"),
        (&["web-1", "web-2"], ""),
    ] {
        let file = approvals(&fleet, hosts, keys);
        let ran = fleet.longshore(["apply", "drop", "--yes", "--approvals", &file]).run().expect_code(6);
        let ran = ran.tells("does not approve what cannot be taken back");
        assert_eq!(traces(&fleet), ["", ""], "{ran}");
    }

    // Looking changes nothing, and so asks nothing.
    fleet.longshore(["apply", "drop", "--check"]).run().expect_code(0);
    let file = approvals(&fleet, &["web-1", "web-2"], EXACT);
    let ran = fleet.longshore(["apply", &kept, "--approvals", &file]).run().expect_code(0);
    assert_eq!(traces(&fleet), ["drop", "drop"], "{ran}");
    let told = fleet.longshore(["history", "show", "last", "--host", "web-2"]).run().expect_code(0);
    told.says("irreversible `Drop the old tables` was approved by anna in a file of approvals");
    let told = fleet.longshore(["history", "show", "last"]).run().expect_code(0);
    told.says("web-1: irreversible `Drop the old tables` was approved by anna in a file of approvals");
    fleet.assert_nothing_runs();
}

#[test]
fn g_36_at_a_terminal_each_host_is_approved_by_its_name() {
    let Some(fleet) = fleet() else { return };
    for wrong in ["y", "yes", "web-1", ""] {
        let answers = [(ASKED, "web-1"), (ASKED, wrong)];
        let ran = fleet.longshore(["apply", "drop", "--yes"]).answer(&answers).expect_code(6);
        let ran = ran.tells("what cannot be taken back on web-2 was not approved; nothing was done");
        assert_eq!(traces(&fleet), ["", ""], "{ran}");
    }
    let answers = [("Apply this to 2 hosts? [y/N] ", "y"), (ASKED, "web-1"), (ASKED, "web-2")];
    let ran = fleet.longshore(["apply", "drop"]).answer(&answers).expect_code(0);
    assert_eq!(traces(&fleet), ["drop", "drop"], "{ran}");
    let told = fleet.longshore(["history", "show", "last", "--host", "web-1"]).run().expect_code(0);
    told.says("irreversible `Drop the old tables` was approved by").says("at a terminal");
}

#[test]
fn what_was_approved_holds_for_the_run_and_for_no_other() {
    let Some(fleet) = fleet() else { return };
    fs::write(fleet.host("web-1").home.join("broken"), "").expect("written");
    let file = approvals(&fleet, &["web-1", "web-2"], EXACT);
    let ran = fleet.longshore(["apply", "drop", "--yes", "--approvals", &file]).run();
    assert_eq!(traces(&fleet), ["drop", ""], "a failed host halts the run\n{ran}");
    // The same plan goes on by what was approved for it.
    let ran = fleet.longshore(["retry", "--not-started"]).run();
    assert_eq!(traces(&fleet), ["drop", "drop"], "{ran}");
    fleet.longshore(["apply", "drop", "--yes"]).run().expect_code(6).tells("the default is no");

    // A controller that died before it could write down what was approved leaves a run that asks.
    let cut = fleet.longshore(["apply", "drop", "--yes", "--approvals", &file]).env("LONGSHORE_PANIC_AT", "1").run();
    assert_eq!(traces(&fleet), ["drop", "drop"], "{cut}");
    fleet.longshore(["resume"]).run().expect_code(6).tells("the default is no");
    assert_eq!(traces(&fleet), ["drop", "drop"]);
    fs::remove_file(fleet.host("web-1").home.join("broken")).expect("mended");
    let ran = fleet.longshore(["resume", "--approvals", &file]).run().expect_code(0);
    assert_eq!(traces(&fleet), ["drop drop", "drop drop"], "{ran}");
}

/// A role with an action that puts a copy back that somebody brought.
const PUT_BACK: &str = r#"
about = "Plain files"

[newest]
command = { run = "tail -n 1 data", dir = "{{path}}" }

[[actions.put-back]]
name = "Put the copy back"
restore = { from = "{{path}}/copy", unproven = "brought by hand", command = { run = "cp \"$LONGSHORE_BACKUP_FILE\" {{path}}/data", check = "test -s {{path}}/data", keeps = "data.old" } }
"#;

#[test]
fn who_approves_a_restore_step_is_told_the_newest_data_that_it_would_replace() {
    let Some(fleet) = fleet() else { return };
    fleet.write("roles/app/role.toml", PUT_BACK);
    fleet.write("playbooks/back.toml", "role = \"app\"\naction = \"put-back\"\nhosts = \"all\"\n");
    for (file, text) in [("copy", "old\n"), ("data", "old\nof today\n")] {
        fs::write(fleet.host("web-1").home.join(file), text).expect("written");
    }
    let ran = fleet.longshore(["apply", "back", "--yes"]).run().expect_code(6);
    let ran = ran
        .tells("nobody can be asked here to approve restore of web-1, and the default is no")
        .tells("newest data on the host: of today")
        .tells("lost: everything that was written on web-1 since the copy was made");
    assert_eq!(fleet.read("web-1", "data"), "old\nof today\n", "{ran}");
    // A host that does not say it is asked about all the same.
    let file = approvals(&fleet, &["web-1"], "steps = [\"Put the copy back\"]\n");
    let text = fs::read_to_string(&file).expect("just written").replace("irreversible", "restore");
    fs::write(&file, text).expect("written");
    let ran = fleet.longshore(["apply", "back", "--yes", "--approvals", &file]).run().expect_code(6);
    ran.tells("does not approve restore of web-2")
        .tells("newest data on the host: not known: asking ended with status 1");
}
