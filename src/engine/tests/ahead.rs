//! What is done ahead: at its own pace, nobody holding up another, and what was fetched stays.

use super::*;
use crate::plan::{Pace, Window};

const WORDS: &[&str] = &["one", "two", "undo-one", "undo-two", "cut-over"];

/// The plan of an upgrade whose first two steps may be done ahead, as far as they may.
fn ahead_of(hosts: &[&str], pace: Pace) -> Plan {
    let ahead = |text: &str| PlannedStep { ahead: true, ..step(text) };
    let mut whole = plan(&[hosts], vec![ahead("one"), ahead("two"), step("cut-over")]);
    whole.wanted = Some(crate::model::Version::new("2.0.0"));
    whole.ahead(pace).expect("a plan")
}

const TWO: Pace = Pace { at_once: 2, per_minute: None };

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_ahead_holds_up_nobody_and_only_its_half_step_is_taken_back() {
    let bad = Answer::where_text(|text| text.contains("two") && !text.contains("undo-two")).on("web-1").status(1);
    let transport = attached().answer(bad);
    let bench = Bench::new(transport.clone());
    let plan = ahead_of(&["web-1", "web-2", "web-3"], TWO);
    assert_eq!(bench.apply(&plan).await, ExitCode::HostFailed);
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "undo-two"]);
    let outcomes: Vec<_> = bench.notes.outcomes().into_iter().filter_map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, [HostOutcome::Undone, HostOutcome::Done, HostOutcome::Done]);
    let state = bench.notes.state();
    assert_eq!((state.purpose.as_str(), state.halted), ("prefetch", None));
    // Nobody was to be brought to the release.
    assert_eq!(state.hosts[&name("web-2")].wanted, None);

    // Once mended, it goes on from the step that failed: the other one stayed.
    assert_eq!(bench.resume(&plan, &["web-1"], "retry").await, ExitCode::HostFailed);
    assert_eq!(ran(&transport, "web-1", WORDS), ["one", "two", "undo-two", "two", "undo-two"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_hosts_are_begun_in_a_minute_than_the_pace_says() {
    let bench = Bench::new(attached());
    bench.notes.told_by(clock());
    let plan = ahead_of(&["web-1", "web-2", "web-3", "web-4"], Pace { at_once: 4, per_minute: Some(3) });
    assert_eq!(bench.apply(&plan).await, ExitCode::Good);
    let begun = bench.notes.events().into_iter().filter(|event| matches!(event.what, Happening::HostStarted { .. }));
    let noon = "2026-11-21T12:00:00Z".parse::<Timestamp>().expect("a time");
    let begun: Vec<_> = begun.map(|event| event.at.duration_since(noon).as_secs()).collect();
    assert_eq!(begun, [0, 20, 40, 60]);
}

#[tokio::test(start_paused = true)]
async fn s_11_a_prefetch_goes_on_outside_windows_and_is_bound_by_those_that_say_so() {
    for (ahead, outcome) in [(false, HostOutcome::Done), (true, HostOutcome::NotStarted)] {
        let mut whole = plan(&[&["web-1"]], vec![PlannedStep { ahead: true, ..step("one") }, step("cut-over")]);
        let night = Window { from: Some("01:00".to_owned()), to: Some("04:00".to_owned()), ..Window::default() };
        whole.hosts[0].windows = vec![Window { zone: "UTC".to_owned(), ahead, ..night }];
        let bench = Bench::new(attached());
        bench.apply(&whole.ahead(TWO).expect("a plan")).await;
        assert_eq!(bench.notes.outcome("web-1"), Some(outcome), "ahead = {ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_is_closed_ahead_parks_the_host() {
    let transport = attached().answer(Answer::to("probe").status(1));
    let bench = Bench::new(transport.clone());
    let mut whole = plan(&[&["web-1"]], vec![PlannedStep { ahead: true, ..step("one") }, step("cut-over")]);
    whole.hosts[0].gates = vec![PlannedCheck { ahead: true, ..check("probe") }];
    bench.apply(&whole.ahead(TWO).expect("a plan")).await;
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Parked));
    assert_eq!(ran(&transport, "web-1", WORDS), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn f_16_what_was_saved_ahead_is_as_old_as_it_is_and_not_as_old_as_the_look_at_it() {
    // 113: the attached program's word for "nothing to do". The bench's clock begins on the 21st, at noon.
    let receipt = "longshore-receipt verified read\nlongshore-receipt prefetched 2026-11-20T12:00:00Z\n";
    for (hours, exit) in [(25, ExitCode::Good), (24, ExitCode::HostFailed)] {
        let transport = attached().answer(Answer::to("one").status(113).out(receipt));
        let bench = Bench::new(transport.clone());
        let younger_than = Some(Span::seconds(hours * 3600));
        let requires = vec![crate::plan::Requirement { receipt: "one".to_owned(), younger_than }];
        let migrate = PlannedStep { requires, ..data_step("two") };
        assert_eq!(bench.apply(&plan(&[&["web-1"]], vec![bare_step("one"), migrate])).await, exit, "{hours} hours");
        assert_eq!(ran(&transport, "web-1", WORDS).contains(&"two".to_owned()), exit == ExitCode::Good);
    }
}
