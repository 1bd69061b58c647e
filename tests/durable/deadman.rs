//! Steps that take themselves back unless they are confirmed: exactly one of both, whatever dies.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use longshore::durable::{
    Attempt, AttemptState, Beginning, Confirmation, Deadman, Ending, Following, LeaseError, Segment, watcher_of,
};

use crate::{
    host::{Host, Shell, for_each_shell},
    play::{LIMIT, Play, Telling, act_of, listen, segment},
};

pub fn undo() -> Attempt {
    Attempt::undo(act_of(0, "cut").step, 1)
}

/// A step that leaves its mark in the trace, as its undo does.
pub fn watched(host: &Host, act: &str, within: Duration) -> Segment {
    let trace = host.place("trace");
    let mut segment = segment("s", [("cut", format!("echo act >>{trace}; {act}").as_str())]);
    let program = format!("echo undo >>{trace}; echo taken back; sleep 0.1; echo undone >>{trace}");
    segment.steps[0].deadman =
        Some(Deadman { within, undo: undo(), program, limit: LIMIT, secrets: Vec::new(), restarts: false });
    segment
}

fn count(host: &Host, word: &str) -> usize {
    host.lines("trace").iter().filter(|line| *line == word).count()
}

pub fn fired() -> Confirmation {
    Confirmation::Fired { watcher: Some(watcher_of("s")) }
}

/// Follows the undo to its end.
pub async fn follow_undo(play: &Play) -> (Ending, String) {
    let mut following = Following::new(watcher_of("s"), [(undo(), LIMIT, false)]);
    let mut telling = Telling::new();
    let end = play.side.attach(&mut following, &mut listen(&mut telling)).await.expect("attached");
    let said = telling.remove(&undo().to_string()).map(|told| told.out).unwrap_or_default();
    (end.endings[0].1.clone(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn a_step_that_is_confirmed_stands() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let segment = watched(&play.host, "exit 0", Duration::from_secs(60));
        let (end, _) = play.run(&segment).await;
        assert_eq!(end.expect("followed"), [Ending::Changed], "{shell:?}");
        assert_eq!(play.state(&undo()).await, AttemptState::Queued, "{shell:?}");
        for _ in 0..2 {
            assert_eq!(
                play.side.confirm(&act_of(0, "cut")).await.expect("asked"),
                Confirmation::Confirmed,
                "{shell:?}"
            );
        }
        play.side.release(&play.lease).await.expect("released");
        play.host.falls_silent(Duration::from_secs(10)).await.expect("silent");
        assert_eq!(play.host.lines("trace"), ["act"], "{shell:?}");
        assert_eq!(play.state(&undo()).await, AttemptState::NotStarted, "{shell:?}");
    })
    .await;
}

#[tokio::test]
async fn a_step_that_nobody_confirms_is_taken_back_by_the_host_alone() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let segment = watched(&play.host, "exit 0", Duration::from_secs(3));
        let begin = std::time::Instant::now();
        let (end, _) = play.run(&segment).await;
        assert_eq!(end.expect("followed"), [Ending::Changed], "{shell:?}");
        // Nobody else gets the host while it may still take itself back.
        let taken = play.host.side("run-2").acquire("ben", "{}", Beginning::First).await;
        assert!(matches!(taken, Err(LeaseError::HeldBy { running: true, .. })), "{shell:?}: {taken:?}");
        let changed = |state: &AttemptState| *state == AttemptState::Ended(Ending::Changed);
        play.becomes(&undo(), changed).await;
        assert!(begin.elapsed() >= Duration::from_secs(3), "{shell:?}: taken back too early");
        assert_eq!(play.host.lines("trace"), ["act", "undo", "undone"], "{shell:?}");
        assert_eq!(play.side.confirm(&act_of(0, "cut")).await.expect("asked"), fired(), "{shell:?}");
        assert_eq!(follow_undo(&play).await, (Ending::Changed, "taken back\n".to_owned()), "{shell:?}");
        play.side.release(&play.lease).await.expect("released");
        play.host.falls_silent(Duration::from_secs(10)).await.expect("silent");
    })
    .await;
}

#[tokio::test]
async fn a_step_that_still_runs_at_its_deadline_is_stopped_before_it_is_taken_back() {
    for_each_shell(async |shell| {
        for stubborn in ["", "trap '' TERM; "] {
            let play = Play::begin(shell).await;
            let act = format!("{stubborn}sleep 60; echo never >>{}", play.host.place("trace"));
            let (end, _) = play.run(&watched(&play.host, &act, Duration::from_secs(1))).await;
            assert_eq!(end.expect("followed"), [Ending::Cancelled], "{shell:?} {stubborn}");
            assert_eq!(follow_undo(&play).await.0, Ending::Changed, "{shell:?} {stubborn}");
            assert_eq!(play.host.lines("trace"), ["act", "undo", "undone"], "{shell:?} {stubborn}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_step_whose_starter_slept_past_the_deadline_never_starts() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        play.host.hook("armed", "sleep 4");
        let (end, _) = play.run(&watched(&play.host, "exit 0", Duration::from_secs(1))).await;
        assert_eq!(end.expect("followed"), [Ending::Void], "{shell:?}");
        assert_eq!(play.host.lines("trace"), [""; 0], "{shell:?}");
        play.host.falls_silent(Duration::from_secs(10)).await.expect("silent");
    })
    .await;
}

#[tokio::test]
async fn a_confirmation_that_comes_just_in_time_and_the_deadline_never_both_win() {
    let cases = Shell::all().into_iter().flat_map(|shell| (0..6_u64).map(move |round| (shell, round)));
    let rounds = cases.map(|(shell, round)| async move {
        let play = Play::begin(shell).await;
        let (end, _) = play.run(&watched(&play.host, "exit 0", Duration::from_secs(2))).await;
        if !matches!(end.expect("followed")[..], [Ending::Changed]) {
            // A machine so slow that the deadline was over before the start: fenced off.
            assert_eq!(count(&play.host, "act"), 0, "{shell:?} {round}");
            return None;
        }
        tokio::time::sleep(Duration::from_millis(900 + 400 * round)).await;
        let answer = play.side.confirm(&act_of(0, "cut")).await.expect("asked");
        play.host.falls_silent(Duration::from_secs(20)).await.expect("silent");
        let undone = count(&play.host, "undone");
        match answer {
            Confirmation::Confirmed => assert_eq!(undone, 0, "{shell:?} {round}"),
            Confirmation::Fired { .. } => assert_eq!(undone, 1, "{shell:?} {round}"),
        }
        Some(undone)
    });
    let mut both = [0, 0];
    for undone in futures::stream::iter(rounds).buffer_unordered(9).collect::<Vec<_>>().await.into_iter().flatten() {
        both[undone] += 1;
    }
    assert_ne!(both, [0, 0], "no step was begun in time");
    println!("{} confirmed, {} taken back", both[0], both[1]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Itself,
    Everything,
}

/// Kills at a hook, waits past the deadline, and goes on as the engine would.
async fn survive(shell: Shell, hook: &str, kill: Kill) -> Result<(), String> {
    let host = Host::new(shell);
    host.install_cron("");
    host.start_cron();
    let play = Play::on(Arc::clone(&host)).await;
    let segment = watched(&host, "exit 0", Duration::from_secs(2));
    let once = host.place("once");
    let here = host.place("here");
    match kill {
        Kill::Itself => host.hook(hook, &format!("mkdir {once} 2>/dev/null || exit 0; kill -9 $PPID")),
        Kill::Everything => host.hook(hook, &format!("mkdir {once} 2>/dev/null || exit 0; : >{here}; sleep 60")),
    }
    let killer = {
        let (host, here) = (Arc::clone(&host), here.clone());
        tokio::spawn(async move {
            while kill == Kill::Everything && !std::path::Path::new(&here).exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if kill == Kill::Everything {
                host.kill_all();
            }
        })
    };
    let attempt = act_of(0, "cut");
    let mut following = Following::of(&segment);
    let mut ignore = |_: &Attempt, _: longshore::durable::StepNews<'_>| {};
    // What the killed link leaves in doubt is asked below.
    let _ = play.side.run_segment(&play.lease, &segment, &[], &mut following, &mut ignore).await;
    if hook == "confirm-written" {
        let _ = play.side.confirm(&attempt).await;
    }
    for _ in 0..400 {
        if std::path::Path::new(&once).exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if !std::path::Path::new(&once).exists() {
        return Err("the hook was never reached".to_owned());
    }
    if kill == Kill::Everything {
        killer.await.map_err(|error| error.to_string())?;
    }
    host.falls_silent_but_for(Duration::from_secs(30), "bin/cron").await?;
    let began = count(&host, "act");
    let undone = count(&host, "undo");
    let state = play.state(&attempt).await;
    if began == 0 && undone == 0 {
        // It never started, and its watcher is gone with its starter.
        return match state {
            AttemptState::NotStarted | AttemptState::Ended(Ending::Void | Ending::Unknown { .. }) => Ok(()),
            other => Err(format!("it never began, the host says {other:?}")),
        };
    }
    // One process killed alone never keeps the host from taking itself back.
    if kill == Kill::Itself && undone != 1 {
        return Err(format!("taken back {undone} times by itself"));
    }
    let answer = play.side.confirm(&attempt).await.map_err(|error| error.to_string())?;
    match (&answer, undone) {
        (Confirmation::Confirmed, 0) => return Ok(()),
        (Confirmation::Fired { .. }, _) => {}
        other => return Err(format!("{other:?}")),
    }
    let ending = follow_undo(&play).await.0;
    match (&ending, undone) {
        (Ending::Changed, 1) | (Ending::Unknown { .. }, 0 | 1) => {}
        (Ending::NotStarted { .. }, 0) => {
            // Nobody is left on the host to do it: sent as usual, under the same number.
            let step = segment.steps[0].deadman.as_ref().expect("watched");
            let program = longshore::durable::SegmentStep::new(undo(), step.program.clone(), LIMIT);
            let lease = play.side.acquire("anna", "{}", Beginning::Again).await.map_err(|error| error.to_string())?;
            let again = Segment { id: "again".to_owned(), steps: vec![program] };
            let mut following = Following::of(&again);
            let end = play.side.run_segment(&lease, &again, &[], &mut following, &mut |_, _| {}).await;
            let end = end.map_err(|error| error.to_string())?;
            if end.endings[0].1 != Ending::Changed {
                return Err(format!("the undo sent again ended as {end:?}"));
            }
        }
        other => return Err(format!("the undo is {other:?}")),
    }
    let undone = count(&host, "undo");
    if undone > 1 { Err(format!("taken back {undone} times")) } else { Ok(()) }
}

#[tokio::test]
async fn wherever_something_dies_a_step_is_confirmed_or_taken_back_and_never_both() {
    let hooks = ["hooking", "hooked", "armed", "watching", "fired", "watch-stopped", "confirm-written"];
    let cases = Shell::all().into_iter().flat_map(|shell| {
        hooks.into_iter().flat_map(move |hook| [Kill::Itself, Kill::Everything].map(|kill| (shell, hook, kill)))
    });
    // Nothing of busybox's own starts it again.
    let cases = cases.filter(|(shell, hook, _)| (*shell, *hook) != (Shell::Busybox, "hooking"));
    let violations: Vec<String> = futures::stream::iter(cases)
        .map(|(shell, hook, kill)| async move {
            let violation = survive(shell, hook, kill).await.err()?;
            Some(format!("{shell:?}, {kill:?} killed at `{hook}`: {violation}"))
        })
        .buffer_unordered(8)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(violations.is_empty(), "{violations:#?}");
}
