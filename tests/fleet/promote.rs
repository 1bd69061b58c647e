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
    // The pause is over with this word, and the canary, of which nothing is known yet, is not promoted by it.
    fleet.longshore(["pause"]).run().expect_code(0);
    fleet.longshore(["status"]).run().expect_code(0).tells("run 0001 is paused: no new hosts until");
    fleet.longshore(["promote"]).run().expect_code(0).tells("asked run 0001 to promote");
    // Where nothing waits the person is told so, and what the run does.
    let early = fleet.longshore(["promote"]).run().expect_code(2);
    let early = early.tells("run 0001 waits for nobody, so there is nothing to promote");
    early.tells("canary is under way, 0 of 1 host ended; a person is asked once it is over");
    // Nor is a word heeded that came while nobody looked.
    let ledger = Ledger::open(&fleet.project(), Arc::new(jiff::Timestamp::now)).expect("a ledger");
    ledger.request(RunNumber(1), Control::Promote, "anna@elsewhere", None).expect("asked");
    // Words are taken in order, and a pause is one that can be seen to be taken.
    fleet.longshore(["pause"]).run().expect_code(0);
    wait_until("the words are taken", || !ledger.is_paused(RunNumber(1), jiff::Timestamp::MAX).expect("it is read"));
    for host in ["web-01", "web-02"] {
        fs::write(fleet.host(host).home.join("go"), "").expect("written");
    }
    fleet.longshore(["promote"]).run().expect_code(0);
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
