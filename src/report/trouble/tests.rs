//! What a person reads at three in the morning: what happened, how the host stands, what to type.

use super::*;
use crate::{
    event::{Happening, Phase, story::Story},
    model::{Receipt, Span, StepOutcome},
    report::Page,
};

/// The trouble of one host that ended so, after what `before` tells.
fn told(outcome: HostOutcome, failure: Failure, before: impl FnOnce(&mut Story)) -> String {
    let mut story = Story::new("apply", "Upgrade", &[("all", &["web-1"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    story.begin("web-1", 0);
    before(&mut story);
    story.finish("web-1", outcome, Some(failure), None, None);
    story.say("", Happening::WaveFinished { wave: 0 });
    story.say("", Happening::RunFinished { exit: outcome.exit_code() });
    trouble(&story.fold(), Some(RunNumber(42)), &Page::plain(200))
}

fn failed(class: FailureClass, message: &str) -> Failure {
    Failure::new(class, message)
}

#[test]
fn a_cause_is_told_once_also_where_an_undo_failed_over_it() {
    let first = failed(FailureClass::Step, "step `Switch` failed").because("it ended with status 7");
    let last = first.clone().because("taking it back failed: undo of step `Pin` failed");
    let text = told(HostOutcome::Stuck, last, |story| {
        story.start("web-1", 0).end("web-1", 0, StepOutcome::Changed);
        story.start("web-1", 3).end("web-1", 3, StepOutcome::Failed { failure: first.clone() });
        story.say("web-1", Happening::UnwindStarted { failure: first.clone() });
    });
    assert_eq!(text.matches("cause: it ended with status 7").count(), 1, "{text}");
    assert!(text.contains("cause: taking it back failed"), "{text}");
}

#[test]
fn a_red_check_is_told_once_and_a_second_one_all_the_same() {
    let seen = "exit status 1 (expected 0): 502 bad gateway";
    for (cause, times) in [(format!("red before we began: `Healthy`: {seen}"), 1), ("no room".to_owned(), 1)] {
        let text = told(HostOutcome::Parked, failed(FailureClass::Gate, &cause), |story| {
            story.check("web-1", Phase::Baseline, "Healthy", Verdict::Fail, seen);
        });
        assert_eq!(text.matches("502 bad gateway").count(), times, "{text}");
    }
}

#[test]
fn a_path_keeps_the_name_of_its_host() {
    let path = "`/srv/web-1/state` and `web-1/data` are full on `web-1`: http://web-1/health";
    let text = told(HostOutcome::Failed, failed(FailureClass::Step, path), |_| {});
    assert!(
        text.contains("`/srv/web-1/state` and `web-1/data` are full on the host: http://the host/health"),
        "{text}"
    );
}

#[test]
fn a_host_on_which_nothing_was_begun_is_said_to_be_so() {
    let failure = || failed(FailureClass::Unreachable, "no connection");
    let nothing = "nothing was begun on it";
    assert!(told(HostOutcome::Unreachable, failure(), |_| {}).contains(nothing));
    let begun = told(HostOutcome::Unreachable, failure(), |story| {
        story.start("web-1", 0);
    });
    assert!(!begun.contains(nothing), "{begun}");
}

#[test]
fn what_to_type_names_the_run_by_its_number() {
    let hint = "`longshore retry 01hqrun0000000000000000000 --held`";
    let text = told(HostOutcome::Unknown, failed(FailureClass::Unknown, "may have happened").hint(hint), |_| {});
    assert!(text.contains("hint: `longshore retry 0042 --held`"), "{text}");
}

#[test]
fn a_restore_is_offered_only_where_there_is_one() {
    let offered = |no_restore: bool| {
        let failure = failed(FailureClass::Step, "step `Switch` failed");
        told(HostOutcome::Held, failure.clone(), |story| {
            story.start("web-1", 1);
            story.say(
                "web-1",
                Happening::StepFinished {
                    step: Story::id(1),
                    attempt: 1,
                    outcome: StepOutcome::Changed,
                    took: Span::seconds(1),
                    receipt: Receipt::default().with("verified", "read to its end"),
                    difference: None,
                    output: Vec::new(),
                },
            );
            story.say("web-1", Happening::IncidentStarted { failure, no_restore });
        })
    };
    let text = offered(false);
    assert!(text.contains("--as restore") && text.contains("--as roll-forward"), "{text}");
    let text = offered(true);
    assert!(!text.contains("--as restore") && text.contains("--as roll-forward"), "{text}");
}

#[test]
fn a_host_whose_state_is_lost_is_offered_no_way_that_would_send_it_more() {
    let failure = failed(FailureClass::Unknown, "state lost").hint("nothing more is sent to it in this run");
    let text = told(HostOutcome::Held, failure, |story| {
        story.start("web-1", 0);
    });
    assert!(text.contains("hint: nothing more is sent") && !text.contains("--as "), "{text}");
}

#[test]
fn among_several_troubles_advice_says_whom_it_is_for() {
    let mut story = Story::new("apply", "Upgrade", &[("all", &["web-1", "web-2", "web-3"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    for (name, hint) in [("web-1", "mend its disk"), ("web-2", "mend its clock"), ("web-3", "mend its clock")] {
        story.begin(name, 0);
        let failure = failed(FailureClass::Gate, &format!("it is not well: {hint}")).hint(hint);
        story.finish(name, HostOutcome::Parked, Some(failure), None, None);
    }
    let text = trouble(&story.fold(), Some(RunNumber(42)), &Page::plain(200));
    assert!(
        text.contains("hint: web-1: mend its disk\n") && text.contains("hint: web-[2,3]: mend its clock\n"),
        "{text}"
    );
    let alone = told(HostOutcome::Parked, failed(FailureClass::Gate, "not well").hint("mend its disk"), |_| {});
    assert!(alone.contains("hint: mend its disk\n"), "{alone}");
}
