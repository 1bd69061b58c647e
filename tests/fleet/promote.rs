//! A wave that waits for a person is let go on from another terminal, and by nothing that was said before its time.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use longshore::{
    ledger::{Control, Ledger},
    model::RunNumber,
};

use crate::{command::flat, fleet::Fleet};

const PLAYBOOK: &str = r#"
hosts = "all"

[rollout]
canary = { hosts = 1, promote = "manual" }

[[steps]]
name = "Take a while"
command = { run = "echo begun >>trace; n=0; until [ -e go ] || [ $n -ge 600 ]; do sleep 0.1; n=$((n+1)); done; echo ended >>trace", dir = "{{path}}" }
no-undo = "there is nothing to take back"
"#;

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_wave_waits_for_a_person_at_another_terminal_and_heeds_no_word_of_before() {
    let Some(fleet) = Fleet::of(2) else { return };
    fleet.write("playbooks/slow.toml", PLAYBOOK);
    let trace = |host: &str| flat(&fleet.read(host, "trace"));
    let plan = fleet.longshore(["plan", "slow"]).run().expect_code(0);
    plan.says("asked whether to go on after canary");

    let running = fleet.longshore(["apply", "slow", "--yes"]).start();
    wait_until("the canary begins", || trace("web-01") == "begun");
    // What goes on is no trouble yet, and nobody knows its exit code.
    fleet.longshore(["status"]).run().expect_code(0).says("under way");
    assert!(!fleet.longshore(["status"]).run().out.contains("exit code"));
    fleet.longshore(["resume"]).run().expect_code(6).tells("run 0001 is being worked on by another longshore");
    fleet.longshore(["retry", "--failed"]).run().expect_code(6);
    // The pause is over with this word, and the canary, of which nothing is known yet, is not promoted by it.
    fleet.longshore(["pause"]).run().expect_code(0);
    fleet.longshore(["status"]).run().expect_code(0).tells("no new hosts until `longshore promote 0001`");
    fleet.longshore(["promote"]).run().expect_code(0).tells("asked run 0001 to promote");
    // Where nothing waits the person is told so, and what the run does.
    let early = fleet.longshore(["promote"]).run().expect_code(2);
    let early = early.tells("run 0001 waits for nobody, so there is nothing to promote");
    early.tells("canary is under way, 0 of 1 host ended; a person is asked once it is over");
    // Nor is a word heeded that came while nobody looked.
    let ledger = Ledger::open(&fleet.project(), Arc::new(jiff::Timestamp::now)).expect("a ledger");
    ledger.request(RunNumber(1), Control::Promote, "anna@elsewhere", None).expect("asked");
    // Words are taken in order, and a pause is one that can be seen to be taken.
    fleet.longshore(["pause", "--reason", "the phone"]).run().expect_code(0);
    wait_until("the words are taken", || !ledger.is_paused(RunNumber(1), jiff::Timestamp::MAX).expect("it is read"));
    wait_until("who paused it is told", || fleet.longshore(["status"]).run().err.contains("is paused by"));
    fleet.longshore(["status"]).run().tells("(the phone): no new hosts until `longshore promote 0001`");
    fleet.longshore(["promote"]).run().expect_code(0);
    wait_until("the pause is over", || fleet.longshore(["status"]).run().err.contains("is running, by"));
    for host in ["web-01", "web-02"] {
        fs::write(fleet.host(host).home.join("go"), "").expect("written");
    }
    wait_until("the run waits", || fleet.longshore(["status"]).run().err.contains("waits for a person"));
    let status = fleet.longshore(["status"]).run().tells("`longshore promote 0001` lets the wave after canary begin");
    assert_eq!([trace("web-01"), trace("web-02")], ["begun ended", ""], "{status}");

    fleet.longshore(["promote", "--reason", "the figures are good"]).run().expect_code(0);
    let ran = running.finish().expect_code(0);
    let ran = ran.tells("but nothing waits for it").tells(": the figures are good");
    assert_eq!(trace("web-02"), "begun ended", "{ran}");
    fleet.longshore(["history", "show", "last"]).run().says("canary was promoted by").says(": the figures are good");
    let events = fleet.longshore(["history", "show", "last", "--output", "json"]).run().expect_code(0);
    assert_eq!(events.out.matches("\"wave-promoted\"").count(), 1, "{events}");
    fleet.longshore(["history", "show", "last"]).run().says("paused by").says("the pause was ended by");
    fleet.assert_nothing_runs();

    // Nobody there, nobody asked: what a person ends instead begins no more hosts.
    let running = fleet.longshore(["apply", "slow", "--yes"]).start();
    wait_until("the run waits", || fleet.longshore(["status"]).run().err.contains("waits for a person"));
    fleet.longshore(["abort"]).run().expect_code(0);
    let ran = running.finish().expect_code(130);
    assert_eq!(trace("web-02"), "begun ended", "{ran}");
    fleet.longshore(["status"]).run().tells("has ended");

    // Taken up again it runs again: it is seen, steered and ended as before, and its history tells by whom.
    let taken_up = || {
        let running = fleet.longshore(["resume"]).start();
        wait_until("the run waits again", || fleet.longshore(["status"]).run().err.contains("waits for a person"));
        fleet.longshore(["history"]).run().says("running");
        let process = format!("process {}", running.id());
        fleet.longshore(["history", "--output", "json"]).run().says(&process);
        fleet.longshore(["status"]).run().says("Begun ");
        running
    };
    let running = taken_up();
    fleet.longshore(["abort", "--reason", "not today"]).run().expect_code(0);
    running.finish().expect_code(130);
    fleet.longshore(["history", "show", "last"]).run().says("by the word of").says(": not today");
    let running = taken_up();
    fleet.longshore(["promote"]).run().expect_code(0);
    let ran = running.finish().expect_code(0);
    assert_eq!(trace("web-02"), "begun ended begun ended", "{ran}");
    fleet.longshore(["status"]).run().tells("has ended");
}

#[test]
fn a_pause_holds_up_no_run_whose_hosts_have_all_begun() {
    let Some(fleet) = Fleet::of(1) else { return };
    fleet.write("playbooks/slow.toml", PLAYBOOK);
    let running = fleet.longshore(["apply", "slow", "--yes"]).start();
    wait_until("the host begins", || flat(&fleet.read("web-01", "trace")) == "begun");
    fleet.longshore(["pause"]).run().expect_code(0);
    wait_until("it is paused", || fleet.longshore(["status"]).run().err.contains("is paused by"));
    fs::write(fleet.host("web-01").home.join("go"), "").expect("written");
    running.finish().expect_code(0).tells("paused by");
}

#[test]
fn a_canary_that_was_taken_back_lets_no_wave_begin() {
    let Some(fleet) = Fleet::of(2) else { return };
    let playbook = r#"
hosts = "all"

[rollout]
canary = { hosts = 1, soak = "1m" }

[[steps]]
name = "Switch"
command = { run = "echo new >>trace", dir = "{{path}}" }
undo = { command = { run = "echo old >>trace", dir = "{{path}}" } }

[[steps]]
name = "Settings"
file = { to = "{{path}}/app.conf", content = "new" }
"#;
    fleet.write("playbooks/switch.toml", playbook);
    let trace = |host: &str| flat(&fleet.read(host, "trace"));
    let running = fleet.longshore(["apply", "switch", "--yes"]).start();
    wait_until("it soaks", || fleet.longshore(["status"]).run().err.contains("canary soaks for 1m"));
    fleet.longshore(["abort"]).run().expect_code(0);
    running.finish().expect_code(130);
    // A soak of the last wave is owed, too.
    let running = fleet.longshore(["apply", "switch", "--yes", "--limit", "web-02"]).start();
    wait_until("it soaks", || fleet.longshore(["status"]).run().err.contains("canary soaks for 1m"));
    fleet.longshore(["abort"]).run().expect_code(0);
    let ran = running.finish().expect_code(130);
    ran.says("the soak of canary was cut off: `longshore resume 0002` watches for the time that is missing");
    // What the waves are held to is the plan's to say: another soak is told, and not passed over.
    fleet.write("playbooks/switch.toml", &playbook.replace("1m", "2m"));
    fleet.longshore(["resume", "1"]).run().expect_code(6).tells("what its waves are held to");
    fleet.write("playbooks/switch.toml", playbook);
    let ran = fleet.longshore(["rollback", "1", "web-02", "--yes"]).run().expect_code(6);
    ran.tells("web-02: the run did not begin there");
    fleet.longshore(["rollback", "2", "--check"]).run().expect_code(0).says("would take back: write");
    fleet.longshore(["rollback", "2", "-o", "back.json"]).run().expect_code(0);
    fleet.longshore(["rollback", "2", "--yes"]).run().expect_code(0);
    let ran = fleet.longshore(["apply", "back.json"]).run().expect_code(6).tells("taken back already, by run 0004");
    ran.tells("`longshore rollback 0002 -o FILE` makes a plan of the hosts that can go back now");
    fleet.longshore(["rollback", "1", "--yes"]).run().expect_code(0);
    assert_eq!([trace("web-01"), trace("web-02")], ["new old", "new old"]);
    let ran = fleet.longshore(["resume", "1"]).run().expect_code(5);
    let ran = ran.tells("web-01 was taken back since, by run 0005").says("no host of canary ended well");
    assert_eq!(trace("web-02"), "new old", "{ran}");
}
