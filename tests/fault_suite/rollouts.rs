//! Faults and the rollout around the hosts: who is never touched, and how long is watched.

use std::time::{Duration, Instant};

use longshore::{
    event::{Event, Happening},
    model::HostOutcome,
};

use crate::{
    controller::{self, Controller},
    field::{Field, Host, Project},
    judge::state,
};

const WITHIN: Duration = Duration::from_secs(60);

/// Whether anything ever was done on a host: nothing lies there, neither a line nor a state folder.
fn is_untouched(host: &Host, project: &Project) -> bool {
    !host.state.exists() && (1..=project.steps).all(|step| project.traced(host, step) == (0, 0))
}

/// A canary of two, whose check is red once the work was done, unless `good` says otherwise.
fn canaries(field: &Field, rollout: &str, check: &str) -> Project {
    field.project(1, &|_| String::new()).with_playbook(
        1,
        &format!(
            r#"
[rollout]
canary = {{ hosts = ["web-1", "web-2"] }}
waves = [2, "rest"]
{rollout}

[[steps]]
name = "Append 1"
command = {{ run = "echo 'b 1' >>{{{{trace}}}}; sleep 0.3; echo 'e 1' >>{{{{trace}}}}" }}
undo = {{ command = {{ run = "sed -i 's/ 1$/ back/' {{{{trace}}}}" }} }}

[[check]]
name = "Healthy"
command = {{ run = {check:?} }}
"#
        ),
    )
}

#[test]
fn r63_beyond_a_bad_canary_no_host_is_touched_even_when_the_controller_dies_over_it() {
    let red = "if grep -q '^e 1' {{trace}}; then echo red >&2; exit 1; fi";
    for dies_after in [None, Some(0), Some(150), Some(400), Some(700)] {
        let field = Field::lab(7);
        let project = canaries(&field, "", &red.replace("if grep", "if test -e {{trace}} && grep"));
        let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
        if let Some(after) = dies_after {
            project.wait_until(|event| matches!(event.what, Happening::HostStarted { .. }));
            std::thread::sleep(Duration::from_millis(after));
            controller.kill();
        }
        let mut code = controller.wait(WITHIN).expect("it ends");
        let mut said = controller.said();
        if dies_after.is_some() && state(&project).is_some_and(|state| state.ended.is_none()) {
            (code, said) = controller::run(&project.path, &["resume"], WITHIN).expect("it ends");
            assert_eq!(code, 5, "died after {dies_after:?}: {said}");
        } else if dies_after.is_none() {
            assert_eq!(code, 5, "{said}");
        }
        let state = state(&project).expect("a run");
        for host in &field.hosts[..2] {
            let outcome = state.hosts[&host.name].outcome;
            // The second of them may not have begun when the first was red.
            let is_back = outcome == Some(HostOutcome::Undone) && project.traced(host, 1) == (0, 0);
            assert!(is_back || outcome.is_none(), "died after {dies_after:?}: {} is {outcome:?}: {said}", host.name);
        }
        let touched: Vec<_> =
            field.hosts[2..].iter().filter(|host| !is_untouched(host, &project)).map(|host| &host.name).collect();
        assert!(touched.is_empty(), "died after {dies_after:?}: {touched:?} were touched: {said}");
    }
}

/// When something first happened at or after `since`.
fn when(events: &[Event], since: u64, what: impl Fn(&Event) -> bool) -> Option<(u64, jiff::Timestamp)> {
    events.iter().find(|event| event.sequence >= since && what(event)).map(|event| (event.sequence, event.at))
}

#[test]
fn r64_a_soak_that_the_controllers_death_cut_is_watched_for_what_was_missing_before_anybody_goes_on() {
    const SOAK: Duration = Duration::from_secs(5);
    let field = Field::lab(4);
    let project = canaries(&field, &format!("soak = \"{}s\"", SOAK.as_secs()), "true");
    let is_soaking = |event: &Event| matches!(event.what, Happening::SoakStarted { .. });
    let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
    project.wait_until(is_soaking);
    let watched = Instant::now();
    std::thread::sleep(Duration::from_millis(1500));
    controller.kill();
    // The most that can have been watched; what is missing must be watched after it.
    let watched = watched.elapsed() + Duration::from_millis(100);
    let before = project.events().len() as u64;
    // A soak that is over when it should not be would be seen below; the time nobody watched does not count.
    std::thread::sleep(SOAK.saturating_sub(watched));
    let (code, said) = controller::run(&project.path, &["resume"], WITHIN).expect("it ends");
    assert_eq!(code, 0, "{said}");
    let events = project.events();
    let (number, begun) = when(&events, before + 1, is_soaking).expect("the soak begins again");
    let (_, ended) = when(&events, number, |event| matches!(event.what, Happening::SoakFinished { .. }))
        .expect("the soak comes to its end");
    let soaked = Duration::try_from(ended.duration_since(begun)).expect("it ended after it began");
    let missing = SOAK.saturating_sub(watched);
    println!("R64: watched {watched:.1?} of {SOAK:?}, died, watched {soaked:.1?} more");
    assert!(soaked >= missing, "{soaked:?} of the missing {missing:?}");
    // Nobody of the next wave begins before that; as the control group of the soak they are looked at.
    for host in &field.hosts[2..] {
        let begins = |event: &Event| {
            event.host.as_ref() == Some(&host.name) && matches!(event.what, Happening::HostStarted { .. })
        };
        let (_, at) = when(&events, 1, begins).expect("its turn came");
        assert!(at >= ended, "{} began at {at}, the soak ended at {ended}", host.name);
        assert_eq!(project.traced(host, 1), (1, 1));
    }
}
