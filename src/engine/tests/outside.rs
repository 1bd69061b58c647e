//! Hosts that cannot keep steps safe: resumed all the same, and never beside what a step left running outside of its processes.

use super::*;

const OUTSIDE: &[&str] = &["is-alive", "stop-it", "one", "undo-one", "two"];

/// A step that starts such work, and one after it.
fn starting() -> Vec<PlannedStep> {
    let mut one = step("one");
    let outside = json!({ "alive": "is-alive $LONGSHORE_WORK", "stop": "stop-it $LONGSHORE_WORK" });
    let action = json!({ "command": { "run": "run-one", "outside": outside } });
    one.action = serde_json::from_value(action).expect("a command");
    one.timeout = Span::seconds(60);
    vec![one, step("two")]
}

fn alive() -> Answer {
    Answer::to("is-alive")
}

/// The names under which work was asked for or started, in order and without repetition.
fn labels(transport: &ScriptedTransport) -> Vec<String> {
    let texts = transport.texts("web-1");
    let mut labels: Vec<String> = texts
        .iter()
        .filter_map(|text| text.split("LONGSHORE_WORK=").nth(1)?.split_whitespace().next().map(str::to_owned))
        .filter(|label| label.contains(".01-one."))
        .collect();
    labels.dedup();
    labels
}

#[tokio::test(start_paused = true)]
async fn d9_resume_waits_for_what_a_dead_controllers_step_left_running_outside() {
    // It lives for three questions after the controller died.
    let transport = attached().answer(alive().status(1).times(2)).answer(alive().times(3)).answer(alive().status(1));
    let bench = Bench::new(transport.clone());
    let plan = plan(&[&["web-1"]], starting());
    let is_begun = |event: &Event| matches!(event.what, Happening::StepStarted { .. });
    let length = {
        let bench = Bench::new(attached().answer(alive().status(1)));
        bench.apply(&plan).await;
        bench.notes.events().iter().position(is_begun).expect("it began") as u64 + 1
    };
    bench.notes.die_after(Some(length));
    assert!(apply(Arc::new(plan.clone()), Mode::Apply, bench.means.clone()).await.is_err(), "it did not die");
    assert_eq!(ran(&transport, "web-1", OUTSIDE), ["is-alive", "one", "is-alive"]);
    bench.notes.die_after(None);
    assert_eq!(bench.resume(&plan, &["web-1"], "resume").await, ExitCode::Good);
    let resumed = ["is-alive", "is-alive", "is-alive", "is-alive", "one", "is-alive", "two"];
    assert_eq!(ran(&transport, "web-1", OUTSIDE)[3..], resumed);
    assert_eq!(labels(&transport).len(), 1, "it was asked for under another name: {:?}", labels(&transport));
}

#[tokio::test(start_paused = true)]
async fn d9_what_does_not_end_in_time_holds_the_host_and_nothing_is_begun_beside_it() {
    for status in [0, 2] {
        let lost = Answer::to("run-one").times(1).fails(|| TransportError::LinkLost { source: None });
        let transport = attached().answer(alive().status(1).times(1)).answer(alive().status(status)).answer(lost);
        let bench = Bench::new(transport.clone());
        let plan = plan(&[&["web-1"]], starting());
        assert_eq!(bench.apply(&plan).await, ExitCode::PersonNeeded);
        let state = bench.notes.state();
        assert_eq!(state.hosts[0].outcome, Some(HostOutcome::Unknown));
        let failure = state.hosts[0].failure.clone().expect("why");
        assert!(failure.to_string().contains("still runs on the host"), "{failure}");
        let ran = ran(&transport, "web-1", OUTSIDE);
        assert_eq!(ran.iter().filter(|word| *word == "one").count(), 1, "{ran:?}");
        assert!(!ran.iter().any(|word| word == "two" || word == "undo-one"), "{ran:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn d9_a_step_whose_work_outlives_it_is_no_end_to_build_on() {
    let transport = attached().answer(alive().status(1).times(1)).answer(alive());
    let bench = Bench::new(transport.clone());
    assert_eq!(bench.apply(&plan(&[&["web-1"]], starting())).await, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Unknown));
    let ran = ran(&transport, "web-1", OUTSIDE);
    assert!(ran.contains(&"one".to_owned()) && !ran.contains(&"two".to_owned()), "{ran:?}");
}

#[tokio::test(start_paused = true)]
async fn d9_the_time_limit_stops_what_a_step_left_running_outside() {
    let transport =
        attached().answer(alive().status(1)).answer(Answer::to("stop-it")).answer(Answer::to("run-one").hangs());
    let bench = Bench::new(transport.clone());
    bench.apply(&plan(&[&["web-1"]], starting())).await;
    assert_eq!(ran(&transport, "web-1", OUTSIDE)[..3], ["is-alive", "one", "stop-it"]);
}

#[tokio::test(start_paused = true)]
async fn d9_a_step_is_not_taken_back_beside_what_it_left_running() {
    // Quiet when it ended; started again by what it is, it lives when the next step fails.
    let transport = attached()
        .answer(alive().status(1).times(2))
        .answer(alive().times(2))
        .answer(alive().status(1))
        .answer(Answer::to("two").status(1).times(1));
    let bench = Bench::new(transport.clone());
    assert_eq!(bench.apply(&plan(&[&["web-1"]], starting())).await, ExitCode::HostFailed);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone));
    let ran = ran(&transport, "web-1", OUTSIDE);
    assert_eq!(ran[ran.len() - 4..], ["is-alive", "is-alive", "is-alive", "undo-one"], "{ran:?}");
}

#[tokio::test(start_paused = true)]
async fn d9_r02_a_controller_that_dies_at_any_event_is_resumed_to_the_same_end() {
    let steps = || vec![step("one"), step("two"), step("three")];
    let third = |text: &str| text.contains("three") && !text.contains("undo");
    for (status, end) in [(0, HostOutcome::Done), (1, HostOutcome::Undone)] {
        let transport = || attached().answer(Answer::where_text(third).status(status));
        let plan = plan(&[&["web-1"]], steps());
        let unfaulted = Bench::new(transport());
        unfaulted.apply(&plan).await;
        assert_eq!(unfaulted.notes.outcome("web-1"), Some(end));
        for length in 1..unfaulted.notes.events().len() as u64 {
            let bench = Bench::new(transport());
            bench.notes.die_after(Some(length));
            assert!(apply(Arc::new(plan.clone()), Mode::Apply, bench.means.clone()).await.is_err(), "event {length}");
            bench.notes.die_after(None);
            bench.resume(&plan, &["web-1"], "resume").await;
            assert_eq!(bench.notes.outcome("web-1"), Some(end), "event {length}");
        }
    }
}
