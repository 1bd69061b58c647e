//! The fold: stored samples, prefixes, and what cannot follow.

use std::collections::BTreeSet;

use super::*;
use crate::{
    event::{
        Phase,
        story::{Story, host},
    },
    model::{Effect, Failure, FailureClass, StepOutcome, StepPart, Version},
};

/// Reads the samples that earlier versions stored.
fn samples() -> Vec<(String, Vec<String>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the samples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("a sample");
            (path.display().to_string(), text.lines().map(str::to_owned).collect())
        })
        .collect()
}

fn refusal(story: &Story) -> Refusal {
    RunState::fold(&story.events).expect_err("a story that cannot be folded").why
}

#[test]
fn stored_samples_of_every_kind_still_read_and_write_back_the_same() {
    let mut kinds = BTreeSet::new();
    for (file, lines) in samples() {
        let mut state = RunState::new();
        for line in lines {
            let event: Event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{file}: {error}\n{line}"));
            kinds.insert(event.what.kind());
            state.apply(&event).unwrap_or_else(|error| panic!("{file}: {error}\n{line}"));
            if event.what != Happening::Unknown {
                let again: serde_json::Value = serde_json::to_value(&event).expect("an event");
                let stored: serde_json::Value = serde_json::from_str(&line).expect("json");
                assert_eq!(again, stored, "{file}");
            }
        }
    }
    assert_eq!(kinds, BTreeSet::from(Happening::KINDS), "add a sample of a new kind to tests/events");
}

#[test]
fn an_event_is_one_flat_object_on_one_line() {
    let mut story = Story::new("apply", "Two\nlines", &[("all", &["a"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    story.begin("a", 0).start("a", 3);
    let failure = Failure::new(FailureClass::Step, "no").because("none");
    story.end("a", 3, StepOutcome::Failed { failure });
    let lines = story.lines();
    assert_eq!(lines.lines().count(), story.events.len());
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("json");
    assert_eq!(
        last,
        serde_json::json!({
            "run": "01hqrun0000000000000000000",
            "sequence": 6,
            "at": "2026-03-01T09:00:05Z",
            "host": "a",
            "event": "step-finished",
            "step": "04-switch",
            "attempt": 1,
            "result": "failed",
            "failure": { "class": "step", "message": "no", "causes": ["none"] },
            "took": "1s",
            "output": ["port is already allocated"],
        })
    );
}

#[test]
fn a_kind_of_a_newer_version_is_skipped_and_still_counted() {
    let line = r#"{"run":"01hqrun0000000000000000000","sequence":2,"at":"2026-03-01T09:00:01Z","host":"a",
        "event":"host-danced","how":{"long":3},"list":[1,null,2.5]}"#;
    let event: Event = serde_json::from_str(line).expect("a newer event");
    assert_eq!(event.what, Happening::Unknown);
    let story = Story::new("apply", "", &[("all", &["a"])]);
    let mut state = story.fold();
    state.apply(&event).expect("skipped");
    assert_eq!((state.sequence, state.hosts[&host("a")].activity.clone()), (2, Activity::Waiting));
}

#[test]
fn every_prefix_folds_and_folding_twice_gives_the_same() {
    for story in [Story::upgrade(), Story::sweep(), Story::exec()] {
        for length in 0..=story.events.len() {
            let state = RunState::fold(&story.events[..length]).expect("a prefix");
            assert_eq!(state.sequence, length as u64);
            assert_eq!(state, RunState::fold(&story.events[..length]).expect("a prefix"));
        }
    }
}

#[test]
fn an_event_told_twice_or_left_out_is_refused_and_changes_nothing() {
    let story = Story::upgrade();
    let mut state = RunState::new();
    for (index, event) in story.events.iter().enumerate() {
        if let Some(later) = story.events.get(index + 1) {
            let before = state.clone();
            assert_eq!(state.apply(later).expect_err("a gap").why, Refusal::Gap { expected: index as u64 + 1 });
            assert_eq!(state, before);
        }
        state.apply(event).expect("the next event");
        assert!(state.apply(event).is_err(), "{event:?} was folded twice");
    }
}

#[test]
fn dropping_any_event_a_later_one_relies_on_is_noticed() {
    // Without its beginning, an end cannot follow: renumbered, so that the gap alone does not tell.
    let story = Story::upgrade();
    let mut noticed = 0;
    for dropped in 0..story.events.len() {
        let what = &story.events[dropped].what;
        let begins = matches!(
            what,
            Happening::RunStarted { .. }
                | Happening::WaveStarted { .. }
                | Happening::HostStarted { .. }
                | Happening::StepStarted { .. }
                | Happening::UnwindStarted { .. }
                | Happening::UndoStarted { .. }
                | Happening::SoakStarted { .. }
        );
        let mut rest = story.events.clone();
        rest.remove(dropped);
        for (index, event) in rest.iter_mut().enumerate() {
            event.sequence = index as u64 + 1;
        }
        let unreached = matches!(&story.events.get(dropped + 1), Some(Event { what: Happening::HostFinished { outcome, .. }, .. })
            if *outcome == HostOutcome::Unreachable);
        if begins && !unreached {
            assert!(RunState::fold(&rest).is_err(), "nobody missed {what:?}");
            noticed += 1;
        }
    }
    assert!(noticed > 20, "{noticed}");
}

#[test]
fn what_cannot_follow_is_refused_with_the_reason() {
    let begun = || {
        let mut story = Story::new("apply", "", &[("canary", &["a"]), ("rest", &["b"])]);
        story.say("", Happening::WaveStarted { wave: 0, name: "canary".to_owned() });
        story
    };
    let failure = || Failure::new(FailureClass::Step, "no");

    let mut story = begun();
    story.good("a", 0).finish("a", HostOutcome::Done, None, None, None);
    assert_eq!(refusal(&story), Refusal::HostFinished(host("a")));

    let mut story = begun();
    story.begin("a", 0).end("a", 0, StepOutcome::Changed);
    assert_eq!(refusal(&story), Refusal::StepNotBegun { host: host("a"), step: Story::id(0) });

    let mut story = begun();
    story.begin("a", 0).start("a", 0).start("a", 0);
    assert_eq!(refusal(&story), Refusal::StepRunning { host: host("a"), step: Story::id(0) });

    let mut story = begun();
    story.begin("a", 0).start("a", 0).end("a", 0, StepOutcome::Changed).end("a", 0, StepOutcome::Changed);
    assert_eq!(refusal(&story), Refusal::StepEnded { host: host("a"), step: Story::id(0) });

    let mut story = begun();
    story.begin("b", 1);
    assert_eq!(refusal(&story), Refusal::WaveNotBegun(1));

    let mut story = begun();
    story.begin("stranger", 0);
    assert_eq!(refusal(&story), Refusal::UnknownHost(host("stranger")));

    let mut story = begun();
    story.finish("a", HostOutcome::Done, None, None, None);
    assert_eq!(refusal(&story), Refusal::OutcomeWithoutTurn { host: host("a"), outcome: HostOutcome::Done });

    let mut story = begun();
    story.begin("a", 0).say("a", Happening::UndoStarted { step: Story::id(0), name: String::new() });
    assert_eq!(refusal(&story), Refusal::NotUnwinding(host("a")));

    let mut story = begun();
    story.begin("a", 0).say("a", Happening::UnwindStarted { failure: failure() }).start("a", 0);
    assert_eq!(refusal(&story), Refusal::Unwinding(host("a")));

    let mut story = begun();
    story.say("", Happening::RunFinished { exit: ExitCode::Good }).begin("a", 0);
    assert_eq!(refusal(&story), Refusal::AfterEnd);

    let mut story = begun();
    story.say("", Happening::SoakFinished { wave: 0, verdict: Verdict::Pass });
    assert_eq!(refusal(&story), Refusal::NotSoaking(0));
}

#[test]
fn a_failed_step_may_be_tried_again_and_only_as_the_next_attempt() {
    let mut story = Story::new("apply", "", &[("all", &["a"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    let failure = Failure::new(FailureClass::Step, "no");
    story.begin("a", 0).start("a", 0).end("a", 0, StepOutcome::Failed { failure });
    let attempt = |attempt| Happening::StepStarted {
        step: Story::id(0),
        name: "Fetch images".to_owned(),
        effect: crate::model::Effect::Read,
        attempt,
        part: StepPart::Main,
    };
    story.say("a", attempt(2));
    assert_eq!(story.fold().hosts[&host("a")].steps[&Story::id(0)].attempt, 2);
    story.events.pop();
    story.say("a", attempt(3));
    assert!(matches!(refusal(&story), Refusal::Attempt { attempt: 3, .. }));
}

#[test]
fn a_finished_host_is_watched_in_the_soak_and_can_be_taken_back_with_its_wave() {
    let mut story = Story::new("apply", "", &[("all", &["a"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    story.good("a", 0).check("a", Phase::Soak, "API answers", Verdict::Fail, "expected 200, got 503");
    let state = story.fold();
    let health = state.hosts[&host("a")].health().expect("health");
    assert_eq!((health.phase, health.passed, health.total), (Phase::Soak, 0, 1));
    story.say("a", Happening::UnwindStarted { failure: Failure::new(FailureClass::Check, "red in the soak") });
    assert_eq!(story.fold().hosts[&host("a")].outcome, None);
    story.finish("a", HostOutcome::Undone, None, None, Some("0.3.2"));
    let state = story.fold();
    let a = &state.hosts[&host("a")];
    assert_eq!(a.outcome, Some(HostOutcome::Undone));
    assert_eq!(a.failure.as_ref().map(|f| f.message.as_str()), Some("red in the soak"));
}

#[test]
fn the_state_tells_how_far_a_host_came_and_what_was_taken_back() {
    let state = Story::upgrade().fold();
    let undone = &state.hosts[&host("web-5")];
    assert_eq!((undone.steps_done(), undone.steps_reached(), undone.steps_total), (2, 3, 4));
    assert_eq!(undone.steps[&Story::id(3)].undo, UndoState::Undone);
    assert_eq!(undone.version(), Some("0.3.2"));
    assert!(matches!(state.hosts[&host("db-1")].steps[&Story::id(3)].undo, UndoState::Failed(_)));
    assert_eq!(
        state.outcomes().into_iter().collect::<Vec<_>>(),
        [(HostOutcome::Done, 4), (HostOutcome::Undone, 1), (HostOutcome::Stuck, 1), (HostOutcome::Unreachable, 2),]
    );
}

#[test]
fn the_exit_code_is_the_most_telling_of_all_hosts() {
    assert_eq!(Story::upgrade().fold().exit_code(), ExitCode::PersonNeeded);
    assert_eq!(Story::sweep().fold().exit_code(), ExitCode::HostFailed);
    assert_eq!(Story::exec().fold().exit_code(), ExitCode::HostFailed);

    let begun = || {
        let mut story = Story::new("apply", "", &[("all", &["a", "b", "c"])]);
        story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
        story
    };
    let ends = |outcome| {
        let mut story = begun();
        story.good("a", 0).begin("b", 0).finish("b", outcome, None, None, None);
        story.fold().exit_code()
    };
    assert_eq!(ends(HostOutcome::Done), ExitCode::Good);
    assert_eq!(ends(HostOutcome::Unreachable), ExitCode::SomeUnreachable);
    assert_eq!(ends(HostOutcome::Refused), ExitCode::Refused);
    assert_eq!(ends(HostOutcome::Undone), ExitCode::HostFailed);
    assert_eq!(ends(HostOutcome::Held), ExitCode::PersonNeeded);

    let mut story = begun();
    story.good("a", 0).undone("b", 0);
    let reason = "1 host failed, 0 were allowed".to_owned();
    story.say("", Happening::Halted { reason, class: HaltClass::Budget, nothing_left: false });
    assert_eq!(story.fold().exit_code(), ExitCode::Halted);
    story.finish("c", HostOutcome::NotStarted, None, None, None);
    assert_eq!(story.fold().exit_code(), ExitCode::Halted);

    let mut story = begun();
    story.begin("a", 0).start("a", 0);
    assert_eq!(story.fold().exit_code(), ExitCode::PersonNeeded, "its controller died in the middle");
    story.say("", Happening::Interrupted { detached: true, by: None, reason: None });
    assert_eq!(story.fold().exit_code(), ExitCode::Interrupted);
}

#[test]
fn a_sweep_is_only_good_when_every_check_passed() {
    for (verdict, expected) in [
        (Verdict::Pass, ExitCode::Good),
        (Verdict::Fail, ExitCode::HostFailed),
        (Verdict::Error, ExitCode::HostFailed),
        (Verdict::Inconclusive, ExitCode::HostFailed),
        (Verdict::Unverified, ExitCode::HostFailed),
    ] {
        let mut story = Story::new("check", "", &[("all", &["a"])]);
        story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
        story.begin("a", 0).check("a", Phase::Sweep, "API", verdict, "");
        story.finish("a", HostOutcome::Done, None, None, None);
        assert_eq!(story.fold().exit_code(), expected, "{verdict}");
    }
}

#[test]
#[ignore = "prints samples in today's format; what is new in them belongs beside the old ones in tests/events"]
fn print_samples() {
    for story in [Story::upgrade(), Story::sweep(), Story::exec()] {
        println!("{}", story.lines());
    }
}

#[test]
fn a_run_is_paused_until_a_person_ends_that_or_the_run_ends() {
    let pause = || Happening::Paused { by: "anna".to_owned(), reason: Some("lunch".to_owned()) };
    let mut story = Story::new("apply", "Two", &[("all", &["a"])]);
    story.say("", pause());
    assert_eq!(story.fold().paused.map(|pause| pause.reason), Some(Some("lunch".to_owned())));
    story.say("", Happening::Unpaused { by: "ben".to_owned(), reason: None });
    assert_eq!(story.fold().paused, None);
    story.say("", pause()).say("", Happening::RunFinished { exit: ExitCode::Good });
    assert_eq!(story.fold().paused, None);
    // A word that comes when the run has just ended changes nothing.
    story.say("", pause());
    assert_eq!(story.fold().paused, None);
}

#[test]
fn what_an_earlier_turn_ended_with_is_no_version_of_one_that_changes_the_host_anew() {
    let mut story = Story::new("apply", "Two", &[("all", &["a"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    story.undone("a", 0);
    story.say("", Happening::WaveFinished { wave: 0 }).say("", Happening::RunFinished { exit: ExitCode::HostFailed });
    assert_eq!(story.fold().hosts[0].after.as_ref().map(Version::as_str), Some("0.3.2"));
    let hosts = vec![host("a")];
    story.say("", Happening::RunResumed { by: "anna".to_owned(), purpose: "retry".to_owned(), hosts });
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() }).begin("a", 0);
    let what = Happening::StepStarted {
        step: Story::id(3),
        name: "Switch".to_owned(),
        effect: Effect::Code,
        attempt: 2,
        part: StepPart::Main,
    };
    story.say("a", what);
    assert_eq!(story.fold().hosts[0].after, None);
}
