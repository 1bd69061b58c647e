//! Windows: nobody is started outside of one, nobody is cut short by one, and who waits gets his turn.

use super::*;
use crate::{
    model::FailureClass,
    plan::{Estimate, Window},
};

/// The test's clock begins at noon, UTC.
fn window(from: &str, to: &str) -> Window {
    Window { from: Some(from.to_owned()), to: Some(to.to_owned()), zone: "UTC".to_owned(), ..Window::default() }
}

fn minutes(count: u64) -> Span {
    Span::seconds(count * 60)
}

/// A plan of one wave: each host with its window and how long it needs.
fn plan_of(hosts: &[(&str, Option<Window>, u64)]) -> Plan {
    let names: Vec<_> = hosts.iter().map(|(name, ..)| *name).collect();
    let mut plan = plan(&[names.as_slice()], vec![step("one")]);
    for (host, window, need) in hosts {
        let of = plan.hosts.get_mut(&name(host)).expect("a host");
        of.windows = window.clone().into_iter().collect();
        of.estimate = Some(Estimate { forward: minutes(*need), back: minutes(0), downtime: None });
    }
    plan.seal()
}

/// When each host was started, in minutes after noon.
fn starts(bench: &Bench) -> Vec<(String, i64)> {
    let noon = "2026-11-21T12:00:00Z".parse::<Timestamp>().expect("a time");
    let begun = bench.notes.events().into_iter().filter(|event| matches!(event.what, Happening::HostStarted { .. }));
    let at = |event: Event| (event.host.expect("a host").to_string(), event.at.duration_since(noon).as_mins());
    begun.map(at).collect()
}

fn bench(transport: impl Transport + 'static) -> Bench {
    let bench = Bench::new(transport);
    bench.notes.told_by(clock());
    bench
}

#[tokio::test(start_paused = true)]
async fn s_11_a_host_outside_its_window_is_not_started_and_the_others_are() {
    let transport = attached();
    let bench = bench(transport.clone());
    let night = Some(window("01:00", "04:00"));
    let exit = bench.apply(&plan_of(&[("web-1", night, 5), ("web-2", None, 5)])).await;
    assert_eq!(exit, ExitCode::Refused);
    assert_eq!(bench.notes.state().exit_code(), exit, "the fold and the run disagree");
    assert_eq!(bench.notes.outcome("web-2"), Some(HostOutcome::Done));
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::NotStarted));
    assert!(transport.texts("web-1").is_empty(), "it was touched");
    let failure = bench.notes.state().hosts[&name("web-1")].failure.clone().expect("a reason");
    assert_eq!(failure.class, FailureClass::Window);
    assert_eq!(failure.message, "outside its window (opens Sun 01:00 UTC)");
    assert!(failure.hint.expect("a hint").contains("retry --not-started"));
}

#[tokio::test(start_paused = true)]
async fn s_11_a_host_whose_estimate_with_its_rollback_passes_the_end_is_not_started() {
    for (back, outcome) in [(20, HostOutcome::Done), (21, HostOutcome::NotStarted)] {
        let bench = bench(attached());
        let mut plan = plan_of(&[("web-1", Some(window("11:00", "12:30")), 10)]);
        let of = plan.hosts.get_mut(&name("web-1")).expect("a host");
        of.estimate = Some(Estimate { forward: minutes(10), back: minutes(back), downtime: None });
        bench.apply(&plan).await;
        assert_eq!(bench.notes.outcome("web-1"), Some(outcome), "{back} minutes back");
    }
}

#[tokio::test(start_paused = true)]
async fn s_11_a_window_that_closes_during_the_run_lets_nobody_begin_and_cuts_nobody_short() {
    // Each host takes twenty minutes, one after the other; the window ends after half an hour.
    let transport = attached().answer(Answer::to("one").after(Duration::from_secs(1200)));
    let bench = bench(transport);
    let of = || Some(window("12:00", "12:30"));
    let mut plan = plan_of(&[("web-1", of(), 5), ("web-2", of(), 5), ("web-3", of(), 5)]);
    plan.rollout.at_once = 1;
    plan.hosts.values_mut().for_each(|host| host.steps[0].timeout = minutes(60));
    assert_eq!(bench.apply(&plan).await, ExitCode::Refused);
    let outcomes: Vec<_> = bench.notes.outcomes().into_iter().map(|(_, outcome)| outcome.expect("ended")).collect();
    assert_eq!(outcomes, [HostOutcome::Done, HostOutcome::Done, HostOutcome::NotStarted]);
    assert_eq!(starts(&bench), [("web-1".to_owned(), 0), ("web-2".to_owned(), 20)]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_starts_each_host_in_its_window_and_holds_up_nobody_else() {
    let bench = bench(attached());
    let mut plan = plan_of(&[
        ("web-1", Some(window("18:00", "19:00")), 5),
        ("web-2", None, 5),
        ("web-3", Some(window("15:00", "15:30")), 5),
    ]);
    plan.rollout.at_once = 1;
    plan.rollout.outside_window = OutsideWindow::Wait;
    assert_eq!(bench.apply(&plan).await, ExitCode::Good);
    let expected = [("web-2", 0), ("web-3", 180), ("web-1", 360)].map(|(host, at)| (host.to_owned(), at));
    assert_eq!(starts(&bench), expected);
    let deferred: Vec<_> = bench
        .notes
        .events()
        .into_iter()
        .filter_map(|event| match event.what {
            Happening::HostDeferred { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(deferred, ["outside its window (opens Sat 18:00 UTC)", "outside its window (opens Sat 15:00 UTC)"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_a_window_stops_when_it_is_told_to() {
    let bench = bench(attached());
    let mut plan = plan_of(&[("web-1", Some(window("18:00", "19:00")), 5)]);
    plan.rollout.outside_window = OutsideWindow::Wait;
    let stop = bench.stop.clone();
    let (exit, ()) = tokio::join!(bench.apply(&plan), async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        stop.send_replace(Stop::Drain);
    });
    assert_eq!(exit, ExitCode::Interrupted);
    assert!(starts(&bench).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_person_may_set_windows_aside_with_name_and_reason_and_the_run_says_so() {
    let mut bench = bench(attached());
    bench.means.windows = Windows::Overridden { by: "anna".to_owned(), reason: "CVE-2026-1".to_owned() };
    let plan = plan_of(&[("web-1", Some(window("01:00", "04:00")), 5)]);
    assert_eq!(bench.apply(&plan).await, ExitCode::Good);
    let overridden = bench.notes.state().overridden.expect("it is recorded");
    assert_eq!((overridden.by.as_str(), overridden.reason.as_str()), ("anna", "CVE-2026-1"));
}

#[tokio::test(start_paused = true)]
async fn a_host_in_the_middle_of_its_steps_goes_on_outside_its_window() {
    // Its link is lost for good in the second step: the host stands between two versions.
    let lost = Answer::to("two").fails(|| TransportError::NoStatus);
    let bench = bench(attached().answer(lost));
    let mut plan = plan(&[&["web-1"]], vec![step("one"), step("two")]);
    plan.hosts.get_mut(&name("web-1")).expect("a host").windows = vec![window("12:00", "12:30")];
    bench.apply(&plan).await;
    assert!(bench.notes.state().hosts[&name("web-1")].is_under_way());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    bench.resume(&plan, &["web-1"], "resume").await;
    assert_eq!(starts(&bench).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_host_left_for_its_window_is_brought_in_later_by_a_retry() {
    let bench = bench(attached());
    let plan = plan_of(&[("web-1", Some(window("18:00", "19:00")), 5), ("web-2", None, 5)]);
    bench.apply(&plan).await;
    tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
    assert_eq!(bench.resume(&plan, &["web-1"], "retry").await, ExitCode::Good);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Done));
}

#[tokio::test(start_paused = true)]
async fn s_05_the_downtime_of_a_host_is_measured_from_its_marks() {
    use crate::model::Downtime;
    let transport = attached()
        .answer(Answer::to("one").after(Duration::from_secs(7)))
        .answer(Answer::where_text(|text| text.contains("two")).after(Duration::from_secs(40)));
    let bench = bench(transport);
    let mut steps = vec![step("one"), step("two"), step("three")];
    steps[1].timing.downtime = Some(Downtime::Begins);
    steps[2].timing.downtime = Some(Downtime::Ends);
    assert_eq!(bench.apply(&plan(&[&["web-1"]], steps)).await, ExitCode::Good);
    let downtime = bench.notes.state().hosts[&name("web-1")].downtime.clone();
    assert_eq!((downtime.length(), downtime.since), (Some(Span::seconds(40)), None));
}

#[tokio::test(start_paused = true)]
async fn s_05_what_was_started_is_down_until_its_checks_have_passed_and_while_it_is_taken_back() {
    use crate::model::Downtime;
    // Stopped for 40 s, started, 30 s until its check passes, 5 s of something else; which fails, once.
    for fails in [None, Some("check"), Some("tidy-up")] {
        let slow = |name: &'static str, seconds| {
            let answer = Answer::where_text(move |text| text.contains(name) && !text.contains("undo"));
            answer.after(Duration::from_secs(seconds)).status(u32::from(fails == Some(name)))
        };
        let transport = attached()
            .answer(slow("stop", 40))
            .answer(slow("check", 30))
            .answer(slow("tidy-up", 5))
            .answer(Answer::to("undo-stop").after(Duration::from_secs(9)));
        let bench = bench(transport);
        let mut steps = vec![step("stop"), step("start"), step("check"), step("tidy-up")];
        steps[0].timing.downtime = Some(Downtime::Begins);
        steps[1].timing.downtime = Some(Downtime::Ends);
        steps[1].timing.proven_at = Some(2);
        bench.apply(&plan(&[&["web-1"]], steps)).await;
        let state = bench.notes.state();
        let outage = &state.hosts[&name("web-1")].downtime;
        // Where something else fails after the check, it was up for five seconds in between.
        let down = if fails.is_none() { 70 } else { 70 + 9 };
        assert_eq!((outage.length(), outage.since), (Some(Span::seconds(down)), None), "{fails:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn s_05_where_no_step_proves_it_the_product_is_down_until_the_checks_at_the_end_have_passed() {
    use crate::model::Downtime;
    // Restarted in 20 s; its checks take 6 s, and are red after the change, or after it was taken back as well.
    for (reds, down, is_down) in [(0, 26, false), (1, 35, false), (2, 0, true)] {
        let slow = |answer: Answer| answer.after(Duration::from_secs(6));
        let transport = attached()
            .answer(slow(Answer::to("probe").times(1)))
            .answer(slow(Answer::to("probe").times(reds)).status(1))
            .answer(slow(Answer::to("probe")))
            .answer(Answer::to("undo-one").after(Duration::from_secs(3)))
            .answer(Answer::to("one").after(Duration::from_secs(20)));
        let bench = bench(transport);
        let mut steps = vec![step("one")];
        steps[0].timing.downtime = Some(Downtime::During);
        let mut plan = plan(&[&["web-1"]], steps);
        plan.hosts[0].checks = vec![check("probe")];
        bench.apply(&plan).await;
        let state = bench.notes.state();
        let outage = &state.hosts[&name("web-1")].downtime;
        assert_eq!(outage.since.is_some(), is_down, "{reds} red: {:?}", bench.notes.outcome("web-1"));
        assert_eq!(outage.length(), (!is_down).then_some(Span::seconds(down)), "{reds} red");
    }
}

#[tokio::test(start_paused = true)]
async fn s_05_a_host_that_is_taken_back_was_down_until_it_was_up_again() {
    use crate::model::Downtime;
    let failing = Answer::where_text(|text| text.contains("two") && !text.contains("undo"));
    let transport = attached()
        .answer(failing.after(Duration::from_secs(20)).status(1))
        .answer(Answer::to("undo-one").after(Duration::from_secs(9)));
    let bench = bench(transport);
    let mut steps = vec![step("one"), step("two")];
    steps[0].timing.downtime = Some(Downtime::Begins);
    steps[1].timing.downtime = Some(Downtime::Ends);
    bench.apply(&plan(&[&["web-1"]], steps)).await;
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone));
    let downtime = bench.notes.state().hosts[&name("web-1")].downtime.clone();
    assert_eq!((downtime.length(), downtime.since), (Some(Span::seconds(29)), None));
}
