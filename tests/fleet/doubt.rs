//! What went wrong in the middle: a result that nobody knows, a key that was revoked, a playbook that changed, a
//! controller that broke or was told to go.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use longshore::{event::Happening, model::HostOutcome};
use nix::sys::signal::Signal;

use crate::fleet::Fleet;

fn fleet(playbook: &str) -> Option<Fleet> {
    let fleet = Fleet::of(1)?;
    fleet.write("playbooks/doubt.toml", playbook);
    Some(fleet)
}

/// The first time, its result is lost with the process that alone knows it.
const LOST: &str = r#"
hosts = "all"

[[steps]]
name = "Switch"
command = { run = "echo switch >>trace; test -e ok || kill -9 $PPID; exit 0", dir = "{{path}}" }
no-undo = "there is nothing to take back"

[[steps]]
name = "Go on"
command = { run = "echo second >>trace", dir = "{{path}}" }
no-undo = "there is nothing to take back"
"#;

#[test]
fn a_step_in_doubt_is_closed_by_name_as_done_and_the_host_goes_on_behind_it() {
    let Some(fleet) = fleet(LOST) else { return };
    let ran = fleet.longshore(["apply", "doubt", "--yes"]).run().expect_code(3);
    let ran = ran.says("may or may not have happened").says("nothing is repeated by itself");
    let ran = ran.says("longshore close").says("--host web-01 --step").says("--as done --reason TEXT");
    assert_eq!(fleet.read("web-01", "trace"), "switch\n", "{ran}");
    // Trying again finds out nothing, and repeats nothing.
    fleet.longshore(["retry", "1", "--held"]).run().expect_code(3).says("may or may not have happened");
    assert_eq!(fleet.read("web-01", "trace"), "switch\n");

    let close =
        ["close", "1", "--host", "web-01", "--step", "Switch", "--as", "done", "--reason", "the link points there"];
    fleet.longshore(close).run().expect_code(0).tells("step `Switch` was closed as done by");
    fleet.longshore(["status", "1"]).run().expect_code(0).says("the link points there").says("retry");
    let told = fleet.longshore(["--output", "json", "history", "show", "1"]).run().expect_code(0);
    let found = told.happened("web-01").into_iter().find_map(|what| match what {
        Happening::StepFound { done, evidence, by, .. } => Some((done, evidence, by.is_some())),
        _ => None,
    });
    assert_eq!(found, Some((true, "the link points there".to_owned(), true)), "{told}");
    fleet.assert_lease_free("web-01");
    // What is known is not overruled.
    fleet.longshore(close).run().expect_code(2).tells("is known to have ended well");

    fleet.longshore(["retry", "1", "--held"]).run().expect_code(0);
    assert_eq!(fleet.read("web-01", "trace"), "switch\nsecond\n");
    fleet.assert_nothing_runs();
}

#[test]
fn a_step_in_doubt_is_closed_as_not_done_and_runs_once_more() {
    let Some(fleet) = fleet(LOST) else { return };
    fleet.longshore(["apply", "doubt", "--yes"]).run().expect_code(3);
    let close = |step| ["close", "1", "--host", "web-01", "--step", step, "--as", "not-done", "--reason", "looked"];
    fleet.longshore(close("Swich")).run().expect_code(2).tells("web-01 has begun no step `Swich`");
    fleet.longshore(close("Switch")).run().expect_code(0).tells("closed as not done");
    std::fs::write(fleet.host("web-01").home.join("ok"), "").expect("written");
    fleet.longshore(["retry", "1", "--held"]).run().expect_code(0);
    assert_eq!(fleet.read("web-01", "trace"), "switch\nswitch\nsecond\n");
}

#[test]
fn r51_a_stuck_host_is_taken_back_further_by_retry_and_a_lost_undo_is_closed_by_name() {
    let playbook = r#"
hosts = "all"

[[steps]]
name = "Switch"
command = { run = "echo switch >>trace", dir = "{{path}}" }
undo = { command = { run = "echo back >>trace; test -e ok || kill -9 $PPID; exit 0", dir = "{{path}}" } }

[[steps]]
name = "Break"
command = { run = "exit 1", dir = "{{path}}" }
no-undo = "there is nothing to take back"
"#;
    let Some(fleet) = fleet(playbook) else { return };
    let ran = fleet.longshore(["apply", "doubt", "--yes"]).run().expect_code(3);
    let ran = ran.says("--undo --as done").says("--stuck");
    assert_eq!(ran.row("web-01")[1], "stuck", "{ran}");
    assert_eq!(fleet.read("web-01", "trace"), "switch\nback\n");
    // Nobody knows whether it was taken back, so it is not taken back again beside that.
    fleet.longshore(["retry", "1", "--stuck"]).run().expect_code(3);
    assert_eq!(fleet.read("web-01", "trace"), "switch\nback\n");
    let close =
        ["close", "1", "--host", "web-01", "--step", "Switch", "--undo", "--as", "not-done", "--reason", "looked"];
    fleet.longshore(close).run().expect_code(0).tells("--stuck");
    std::fs::write(fleet.host("web-01").home.join("ok"), "").expect("written");
    let ran = fleet.longshore(["retry", "1", "--stuck"]).run().expect_code(1);
    assert_eq!(ran.row("web-01")[1], "undone", "{ran}");
    assert_eq!(fleet.read("web-01", "trace"), "switch\nback\nback\n");
    fleet.assert_lease_free("web-01");
}

const SLOW: &str = r#"
hosts = "all"

[[steps]]
name = "Take a while"
command = { run = "echo begun >>trace; sleep 3; echo ended >>trace", dir = "{{path}}" }
no-undo = "there is nothing to take back"

[[steps]]
name = "Go on"
command = { run = "echo second >>trace", dir = "{{path}}" }
no-undo = "there is nothing to take back"
"#;

#[track_caller]
fn wait_for_trace(fleet: &Fleet, trace: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while fleet.read("web-01", "trace") != trace {
        assert!(Instant::now() < until, "{:?} instead of {trace:?}", fleet.read("web-01", "trace"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn r46_a_key_revoked_in_the_middle_leaves_the_step_to_the_host_and_resume_takes_it_up() {
    let Some(fleet) = fleet(SLOW) else { return };
    let running = fleet.longshore(["apply", "doubt", "--yes"]).start();
    wait_for_trace(&fleet, "begun\n");
    let sshd = &fleet.host("web-01").sshd;
    sshd.authorize("");
    sshd.cut();
    let ran = running.finish().expect_code(4);
    assert_eq!(ran.row("web-01")[1], "unreachable", "{ran}");
    let ran = ran.says("what runs on the host goes on").says("`longshore resume`");
    // Both steps were sent as one segment, which the host takes to its end.
    wait_for_trace(&fleet, "begun\nended\nsecond\n");
    // While nobody is let in, nothing changes.
    let again = fleet.longshore(["resume", "1"]).run().expect_code(4);
    assert_eq!(again.row("web-01")[1], "unreachable", "{again}");
    sshd.authorize(&format!("{}\n", fleet.lab.public("me")));
    fleet.longshore(["resume", "1"]).run().expect_code(0);
    assert_eq!(fleet.read("web-01", "trace"), "begun\nended\nsecond\n", "{ran}");
    fleet.assert_nothing_runs();
}

#[test]
fn r53_a_second_sigterm_or_sighup_lets_go_like_a_second_interrupt() {
    for (first, second) in [(Signal::SIGTERM, Signal::SIGTERM), (Signal::SIGHUP, Signal::SIGTERM)] {
        let Some(fleet) = fleet(SLOW) else { return };
        let running = fleet.longshore(["apply", "doubt", "--yes"]).start();
        wait_for_trace(&fleet, "begun\n");
        running.signal(first);
        std::thread::sleep(Duration::from_millis(300));
        running.signal(second);
        let ran = running.finish().expect_code(130).tells("Leaving now.").tells("left in the middle: web-01");
        assert_eq!(ran.row("web-01")[1], "interrupted", "{ran}");
        fleet.longshore(["resume", "1"]).run().expect_code(0);
        assert_eq!(fleet.read("web-01", "trace"), "begun\nended\nsecond\n", "{first} {second}");
    }
}

#[test]
fn r53_a_reader_that_went_away_neither_ends_nor_breaks_a_run() {
    for output in ["human", "json"] {
        let Some(fleet) = fleet(SLOW) else { return };
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let running = fleet.longshore(["--output", output, "apply", "doubt", "--yes"]).stdout(writer).start();
        wait_for_trace(&fleet, "begun\n");
        // As `head -1` does: a little is read, and then nothing more.
        if output == "json" {
            assert_eq!(reader.read(&mut [0; 1]).expect("an event"), 1);
        }
        drop(reader);
        let ran = running.finish().expect_code(0);
        assert!(!ran.err.contains("panicked") && !ran.err.contains("Broken pipe"), "{ran}");
        assert_eq!(fleet.read("web-01", "trace"), "begun\nended\nsecond\n", "{ran}");
        let told = fleet.longshore(["--output", "json", "history", "show", "1"]).run().expect_code(0);
        assert!(told.state().hosts.values().all(|host| host.outcome == Some(HostOutcome::Done)), "{told}");
    }
}

#[test]
fn r54_a_controller_that_breaks_names_resume_and_leaves_a_ledger_that_goes_on() {
    let Some(fleet) = fleet(SLOW) else { return };
    let ran = fleet.longshore(["apply", "doubt", "--yes"]).env("LONGSHORE_PANIC_AT", "9").run();
    assert!(ran.code.is_some_and(|code| code != 0), "{ran}");
    let ran = ran.tells("told to break").tells("longshore broke").tells("`longshore resume`");
    fleet.longshore(["resume", "1"]).run().expect_code(0);
    assert_eq!(fleet.read("web-01", "trace"), "begun\nended\nsecond\n", "{ran}");
    fleet.assert_nothing_runs();
}

#[test]
fn r55_a_run_is_not_gone_on_with_once_its_playbook_has_changed() {
    let Some(fleet) = fleet(SLOW) else { return };
    let running = fleet.longshore(["apply", "doubt", "--yes"]).start();
    wait_for_trace(&fleet, "begun\n");
    running.signal(Signal::SIGINT);
    running.finish().expect_code(130);
    fleet.write("playbooks/doubt.toml", &SLOW.replace("echo second", "echo other"));
    for call in [["resume", "1"].as_slice(), &["retry", "1", "--host", "web-01"]] {
        let ran = fleet.longshore(call.iter().copied()).run().expect_code(6);
        let ran = ran.tells("have changed since the run was planned").tells("sha256:");
        ran.tells("web-01: step `Go on`").tells("`--as-planned`");
    }
    assert_eq!(fleet.read("web-01", "trace"), "begun\nended\n");
    fleet.longshore(["resume", "1", "--as-planned"]).run().expect_code(0);
    assert_eq!(fleet.read("web-01", "trace"), "begun\nended\nsecond\n");
}
