//! Work outside of a step's processes: what stands for a container here has a session of its own, holds no
//! lock, and is found by its label alone.

use std::time::Duration;

use longshore::durable::{
    Attempt, AttemptState, Beginning, Doubt, Ending, LeaseError, Outside, Segment, SegmentStep, StepEnd, work_label,
};

use crate::{
    host::{Shell, for_each_shell},
    play::{LIMIT, Play, act_of, limited, segment, until},
};

/// Starts a container that lives so long, as a daemon would, and returns when it can be found: a process that
/// just replaces itself has no environment for a moment.
fn container(seconds: &str) -> String {
    format!(
        "CONTAINER=$LONGSHORE_WORK@$LONGSHORE_TEST_HOST setsid sh -c 'exec sleep {seconds}' </dev/null >/dev/null 2>&1 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&- &\n\
         tries=0; until grep -qs sleep /proc/$!/comm && grep -qs \"CONTAINER=$LONGSHORE_WORK@$LONGSHORE_TEST_HOST\" /proc/$!/environ || [ $tries -gt 300 ]; do tries=$((tries + 1)); done\n"
    )
}

fn outside() -> Outside {
    Outside {
        alive: "if grep -qs \"CONTAINER=$LONGSHORE_WORK@$LONGSHORE_TEST_HOST\" /proc/[0-9]*/environ; then exit 0; fi; exit 1".to_owned(),
        stop: "for entry in $(grep -ls \"CONTAINER=$LONGSHORE_WORK@$LONGSHORE_TEST_HOST\" /proc/[0-9]*/environ); do \
               entry=${entry#/proc/}; kill -9 \"${entry%/environ}\"; done; echo stopped >>\"$LONGSHORE_STEP_DIR/stops\""
            .to_owned(),
    }
}

fn starting(id: &str, act: &str, limit: Duration) -> Segment {
    let mut segment = limited(id, act, limit);
    segment.steps[0].outside = Some(outside());
    segment
}

/// Containers of the attempt that live.
fn containers(play: &Play, attempt: &Attempt) -> usize {
    let mark = format!("CONTAINER={}@{}", work_label(play.side.run(), attempt), play.host.dir.path().display());
    let environments = play.host.processes().into_iter().map(|(id, _)| std::fs::read(format!("/proc/{id}/environ")));
    let has = |text: Vec<u8>| text.split(|byte| *byte == 0).any(|word| word == mark.as_bytes());
    environments.filter(|read| read.as_ref().is_ok_and(|text| has(text.clone()))).count()
}

/// Kills the processes whose command line is meant, also those that come up meanwhile.
fn kill(play: &Play, meant: impl Fn(&str) -> bool) {
    for _ in 0..50 {
        let processes = play.host.processes();
        let meant: Vec<i32> = processes.iter().filter(|(_, command)| meant(command)).map(|(id, _)| *id).collect();
        if meant.is_empty() {
            return;
        }
        for id in meant {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn run(play: &Play, segment: &Segment) -> StepEnd {
    let (end, mut telling) = play.run(segment).await;
    end.expect("followed");
    telling.remove(&segment.steps[0].attempt.to_string()).and_then(|mut told| told.ends.pop()).expect("ended")
}

#[tokio::test]
async fn r49_a_step_lingers_while_its_container_lives() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let begin = std::time::Instant::now();
        let end = run(&play, &starting("a", &container("6"), LIMIT)).await;
        let attempt = act_of(0, "a");
        // A machine so busy that the container ended meanwhile shows nothing.
        if begin.elapsed() < Duration::from_secs(5) {
            assert_eq!(end.ending, Ending::Lingering { result: "rc.0".to_owned() }, "{shell:?}");
            let taken = play.host.side("run-2").acquire("ben", "{}", Beginning::First).await;
            if containers(&play, &attempt) > 0 {
                assert!(matches!(taken, Err(LeaseError::HeldBy { running: true, .. })), "{shell:?}: {taken:?}");
            }
        }
        play.becomes(&attempt, |state| *state == AttemptState::Ended(Ending::Changed)).await;
        assert_eq!(containers(&play, &attempt), 0, "{shell:?}: a verdict beside a container");
        assert!(!play.host.attempt("run-1", "01-a.keep/stops").exists(), "{shell:?}: nobody asked to stop it");
    })
    .await;
}

#[tokio::test]
async fn r49_the_next_step_waits_for_the_container_of_the_one_before() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let look = "! grep -qs \"CONTAINER=run-1.01-a.1@$LONGSHORE_TEST_HOST\" /proc/[0-9]*/environ";
        let mut both = segment("s", [("a", container("0.8").as_str()), ("b", look)]);
        both.steps[0].outside = Some(outside());
        let (end, _) = play.run(&both).await;
        assert_eq!(end.expect("followed"), [Ending::Changed, Ending::Changed], "{shell:?}");
    })
    .await;
}

#[tokio::test]
async fn r49_the_time_limit_stops_the_container_too() {
    for_each_shell(async |shell| {
        for stubborn in ["", "trap '' TERM; "] {
            let play = Play::begin(shell).await;
            let act = format!("{stubborn}{}sleep 60", container("60"));
            let end = run(&play, &starting("a", &act, Duration::from_secs(1))).await;
            assert_eq!(end.ending, Ending::KilledByLimit, "{shell:?} {stubborn}");
            assert_eq!(containers(&play, &act_of(0, "a")), 0, "{shell:?} {stubborn}");
            play.host.falls_silent(Duration::from_secs(20)).await.expect("silent");
        }
    })
    .await;
}

#[tokio::test]
async fn r49_cancelling_stops_the_container_too() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let attempt = act_of(0, "a");
        let long = starting("a", &format!("{}sleep 60", container("60")), LIMIT);
        let (end, ()) = tokio::join!(run(&play, &long), async {
            play.is_running(&attempt).await;
            until(|| containers(&play, &attempt) > 0).await;
            play.side.cancel(std::slice::from_ref(&attempt)).await.expect("cancelled");
        });
        assert_eq!(end.ending, Ending::Cancelled, "{shell:?}");
        assert_eq!(containers(&play, &attempt), 0, "{shell:?}");
    })
    .await;
}

#[tokio::test]
async fn r49_a_container_whose_client_was_killed_is_no_unknown_before_it_has_ended() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let attempt = act_of(0, "a");
        let long = starting("a", &format!("{}sleep 61", container("60")), LIMIT);
        let killer = async {
            play.is_running(&attempt).await;
            until(|| containers(&play, &attempt) > 0).await;
            // Everything but the container, as a client's out-of-memory kill with its session does.
            kill(&play, |command| !command.contains("sleep 60"));
        };
        let (_, ()) = tokio::join!(play.run(&long), killer);
        assert_eq!(containers(&play, &attempt), 1, "{shell:?}");
        let lives = play.state(&attempt).await;
        assert!(matches!(lives, AttemptState::Ended(Ending::Lingering { .. })), "{shell:?}: {lives:?}");
        let closed = play.side.close(&attempt, longshore::durable::Closing::NotDone).await.expect_err("it lives");
        assert!(matches!(closed, longshore::durable::DurableError::StillRuns { .. }), "{shell:?}: {closed}");
        kill(&play, |command| command.contains("sleep 60"));
        play.becomes(&attempt, |state| *state == AttemptState::Ended(Ending::Unknown { why: Doubt::Lost })).await;
    })
    .await;
}

#[tokio::test]
async fn r49_who_cannot_tell_counts_as_living() {
    let play = Play::begin(Shell::Dash).await;
    let mut one = segment("a", [("a", "exit 0")]);
    let broken = Outside { alive: "exit 7".to_owned(), stop: "exit 0".to_owned() };
    one.steps = vec![SegmentStep { outside: Some(broken), ..one.steps[0].clone() }];
    assert_eq!(run(&play, &one).await.ending, Ending::Lingering { result: "rc.0".to_owned() });
    let named = "[ \"$LONGSHORE_RUN $LONGSHORE_STEP $LONGSHORE_ATTEMPT $LONGSHORE_WORK\" = \
                 'run-1 01-b 01-b.1 run-1.01-b.1' ] && [ -d \"$LONGSHORE_STEP_DIR\" ] || exit";
    let mut two = segment("b", [("b", &*format!("{named} 9"))]);
    let told = Outside { alive: format!("{named} 0; exit 1"), stop: "exit 0".to_owned() };
    two.steps[0].outside = Some(told);
    assert_eq!(run(&play, &two).await.ending, Ending::Changed);
}
