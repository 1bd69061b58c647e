//! Ctrl-C: once comes to a safe point, twice lets go, and what was let go of is taken up again.

use std::time::{Duration, Instant};

use longshore::model::HostOutcome;
use nix::sys::signal::Signal;

use crate::{command::Running, fleet::Fleet};

const PLAYBOOK: &str = r#"
hosts = "all"
rollout = { at-once = 1, budget = { failed = 1 } }

[[steps]]
name = "Settings"
file = { to = "{{path}}/app.conf", content = "new\n" }

[[steps]]
name = "Take a while"
command = { run = "echo begun >>trace; sleep 3; echo ended >>trace", dir = "{{path}}" }
no-undo = "there is nothing to take back"

[[steps]]
name = "Go on"
command = { run = "echo second >>trace; test ! -e broken", dir = "{{path}}" }
no-undo = "there is nothing to take back"
"#;

fn fleet() -> Option<Fleet> {
    let fleet = Fleet::of(2)?;
    fleet.write("playbooks/slow.toml", PLAYBOOK);
    for host in &fleet.hosts {
        std::fs::write(host.home.join("app.conf"), "old\n").expect("written");
    }
    Some(fleet)
}

/// Waits until the trace of a host is this.
#[track_caller]
fn wait_for_trace(fleet: &Fleet, host: &str, trace: &str) {
    let until = Instant::now() + Duration::from_secs(30);
    while fleet.read(host, "trace") != trace {
        assert!(Instant::now() < until, "{host} has {:?} instead of {trace:?}", fleet.read(host, "trace"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Applies the playbook and returns once its first step runs on the first host.
fn begun(fleet: &Fleet) -> Running {
    let running = fleet.longshore(["apply", "slow", "--yes"]).start();
    wait_for_trace(fleet, "web-01", "begun\n");
    running
}

#[test]
fn one_interrupt_lets_the_running_step_end_and_begins_nothing_more() {
    let Some(fleet) = fleet() else { return };
    let running = begun(&fleet);
    running.signal(Signal::SIGINT);
    let ran = running.finish().expect_code(130);
    let ran = ran.tells("Stopping:").says("stopped after step 2 of 3").says("exit code 130: interrupted");
    assert_eq!(ran.row("web-01")[1..3], ["interrupted", "2/3"], "{ran}");
    assert_eq!([fleet.read("web-01", "trace"), fleet.read("web-02", "trace")], ["begun\nended\n", ""]);
    fleet.assert_lease_free("web-01");
    fleet.assert_nothing_runs();

    // It goes on where it was, and with whoever had not begun. What was done before the interrupt can still be
    // taken back after it.
    let broken = fleet.host("web-01").home.join("broken");
    std::fs::write(broken, "").expect("written");
    let ran = fleet.longshore(["resume"]).run().expect_code(1).says("1 done, 1 undone");
    for (host, settings) in [("web-01", "old\n"), ("web-02", "new\n")] {
        assert_eq!(fleet.read(host, "trace"), "begun\nended\nsecond\n");
        assert_eq!(fleet.read(host, "app.conf"), settings, "{ran}");
        assert_eq!(fleet.assert_released(host), 1);
    }
    fleet.assert_nothing_runs();
}

#[test]
fn two_interrupts_let_go_and_the_step_ends_by_itself() {
    let Some(fleet) = fleet() else { return };
    let running = begun(&fleet);
    running.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(200));
    let again = Instant::now();
    running.signal(Signal::SIGINT);
    let ran = running.finish();
    assert!(again.elapsed() < Duration::from_secs(2), "it did not let go: {ran}");
    let ran = ran.expect_code(130);
    let ran = ran.tells("Leaving now.").tells("left in the middle: web-01 (Take a while)");
    ran.says("may have half happened: Take a while");
    assert_eq!(fleet.read("web-01", "trace"), "begun\n");
    wait_for_trace(&fleet, "web-01", "begun\nended\n");

    // Somebody else is kept away while nobody has looked at it; the run itself takes it up again, and runs
    // nothing twice.
    let other = fleet.longshore(["apply", "slow", "--yes", "--limit", "web-01"]).run().expect_code(6);
    other.says("has this host").says("`longshore unlock HOST --reason TEXT` takes the host earlier");
    let ran = fleet.longshore(["resume", "1"]).run().expect_code(0).says("2 done");
    for host in ["web-01", "web-02"] {
        assert_eq!(fleet.read(host, "trace"), "begun\nended\nsecond\n", "{ran}");
        assert_eq!(fleet.assert_released(host), 1);
    }
    let told = fleet.longshore(["--output", "json", "history", "show", "1"]).run().expect_code(0);
    assert!(told.state().hosts.values().all(|host| host.outcome == Some(HostOutcome::Done)), "{told}");
    fleet.assert_nothing_runs();
}
