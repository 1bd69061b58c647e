//! How steps end when they misbehave: limits, signals, what they leave behind, what they print.

use std::time::{Duration, Instant};

use longshore::durable::{Attempt, AttemptState, Doubt, Ending, Refusal, Segment, SegmentStep};

use crate::{
    host::{Host, Shell, for_each_shell, step},
    play::{LIMIT, Play, act_of, limited, segment, until},
};

/// Kills the process whose number is word `word` of a file of the step's.
fn kill_noted(host: &Host, attempt: &Attempt, file: &str, word: usize) {
    let path = host.attempt("run-1", &attempt.to_string()).join(file);
    let text = std::fs::read_to_string(path).expect("noted");
    let id = text.split_whitespace().nth(word).and_then(|id| id.parse().ok()).expect("a number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL).expect("killed");
}

fn kill_wrapper(host: &Host, attempt: &Attempt) {
    kill_noted(host, attempt, "start", 2);
}

fn kill_supervisor(host: &Host, attempt: &Attempt) {
    kill_noted(host, attempt, "pid", 0);
}

#[tokio::test]
async fn r47_a_step_that_ignores_term_is_killed_after_the_grace() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let begin = Instant::now();
        let act = "trap '' TERM; (trap '' TERM; sleep 60) & sleep 60; sleep 60";
        let (end, _) = play.run(&limited("stubborn", act, Duration::from_secs(1))).await;
        assert_eq!(end.expect("followed"), [Ending::KilledByLimit], "{shell:?}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{shell:?}: {:?}", begin.elapsed());
        play.host.falls_silent(Duration::from_secs(5)).await.expect("silent");
    })
    .await;
}

#[tokio::test]
async fn a_step_that_obeys_term_is_over_at_its_limit() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let begin = Instant::now();
        let (end, telling) =
            play.run(&limited("slow", "echo before; sleep 60; echo after", Duration::from_secs(1))).await;
        assert_eq!(end.expect("followed"), [Ending::KilledByLimit], "{shell:?}");
        assert_eq!(telling["01-slow.1"].out, b"before\n");
        assert!(begin.elapsed() < Duration::from_secs(4), "{shell:?}: {:?}", begin.elapsed());
        play.host.falls_silent(Duration::from_secs(3)).await.expect("silent");
    })
    .await;
}

#[tokio::test]
async fn a_look_that_is_cut_at_the_limit_does_not_lead_to_the_act() {
    let play = Play::begin(Shell::Dash).await;
    let trace = play.host.place("trace");
    let mut segment = limited("looking", &format!("echo acted >>{trace}"), Duration::from_secs(1));
    // Its status says "act" although it only was cut.
    segment.steps[0].look = Some("sleep 60 || exit 10; exit 10".to_owned());
    let (end, _) = play.run(&segment).await;
    assert_eq!(end.expect("followed"), [Ending::KilledByLimit]);
    assert_eq!(play.host.lines("trace"), Vec::<String>::new());
}

#[tokio::test]
async fn a_look_that_cannot_tell_fails_the_step_before_it_acts() {
    let play = Play::begin(Shell::Dash).await;
    let trace = play.host.place("trace");
    let mut segment = segment("s", [("blind", format!("echo acted >>{trace}").as_str())]);
    segment.steps[0].look = Some("exit 3".to_owned());
    let (end, _) = play.run(&segment).await;
    assert_eq!(end.expect("followed"), [Ending::CannotTell { status: 3 }]);
    assert_eq!(play.host.lines("trace"), Vec::<String>::new());
}

#[tokio::test]
async fn r48_a_process_left_behind_holds_back_the_next_step() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let trace = play.host.place("trace");
        let (first, second) = (format!("(sleep 6; echo late >>{trace}) & exit 0"), format!("echo next >>{trace}"));
        let (end, _) = play.run(&segment("s", [("leaves", first.as_str()), ("next", second.as_str())])).await;
        let lingering = Ending::Lingering { result: "rc.0".to_owned() };
        // Nothing of the second is in doubt: its turn did not come.
        let refused = Ending::NotStarted { refusal: Some(Refusal::EarlierStep) };
        assert_eq!(end.expect("followed"), [lingering, refused], "{shell:?}");
        assert_eq!(play.host.lines("trace"), Vec::<String>::new());
        // When it is gone the result counts.
        play.becomes(&act_of(0, "leaves"), |state| *state == AttemptState::Ended(Ending::Changed)).await;
        assert_eq!(play.host.lines("trace"), ["late"]);
    })
    .await;
}

#[tokio::test]
async fn a_process_left_behind_for_a_moment_is_waited_for() {
    let play = Play::begin(Shell::Dash).await;
    let trace = play.host.place("trace");
    let (first, second) = (format!("(sleep 0.3; echo late >>{trace}) & exit 0"), format!("echo next >>{trace}"));
    let (end, _) = play.run(&segment("s", [("leaves", first.as_str()), ("next", second.as_str())])).await;
    assert_eq!(end.expect("followed"), [Ending::Changed, Ending::Changed]);
    assert_eq!(play.host.lines("trace"), ["late", "next"]);
}

#[tokio::test]
async fn a_step_that_leaves_a_process_on_purpose_does_not_wait_for_it() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let mut segment = segment("s", [("serve", "sleep 20 & echo up"), ("next", "echo next")]);
        segment.steps[0].leaves_running = true;
        let begin = Instant::now();
        let (end, telling) = play.run(&segment).await;
        assert_eq!(end.expect("followed"), [Ending::Changed, Ending::Changed]);
        assert_eq!(telling["01-serve.1"].out, b"up\n");
        assert!(begin.elapsed() < Duration::from_secs(4), "{shell:?}: {:?}", begin.elapsed());
        assert!(!play.host.processes().is_empty(), "what was left on purpose is gone");
    })
    .await;
}

#[tokio::test]
async fn r12_a_step_whose_supervisor_is_killed_has_no_verdict_while_it_lives() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let trace = play.host.place("trace");
        let act = format!("echo begin >>{trace}; sleep 1.5; echo end >>{trace}");
        let segment = segment("s", [("orphan", act.as_str())]);
        let attempt = act_of(0, "orphan");
        let (run, ()) = tokio::join!(play.run(&segment), async {
            play.is_running(&attempt).await;
            until(|| !play.host.lines("trace").is_empty()).await;
            kill_supervisor(&play.host, &attempt);
            let end = std::time::Instant::now() + LIMIT;
            while play.host.lines("trace").len() < 2 {
                assert!(std::time::Instant::now() < end, "{shell:?}: it never ends");
                let state = play.state(&attempt).await;
                // The trace may have grown since.
                let ended = matches!(state, AttemptState::Ended(Ending::Unknown { .. } | Ending::Changed));
                assert!(!ended || play.host.lines("trace").len() == 2, "{shell:?}: {state:?} while it lives");
            }
        });
        assert_eq!(run.0.expect("followed"), [Ending::Unknown { why: Doubt::Lost }], "{shell:?}");
        assert_eq!(play.host.lines("trace"), ["begin", "end"]);
    })
    .await;
}

#[tokio::test]
async fn r11_a_step_whose_wrapper_is_killed_ends_with_its_real_code() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let segment = segment("s", [("first", "sleep 0.5; echo said; exit 3"), ("second", "true")]);
        let attempt = act_of(0, "first");
        let (run, ()) = tokio::join!(play.run(&segment), async {
            play.is_running(&attempt).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            kill_wrapper(&play.host, &attempt);
            play.becomes(&attempt, |state| *state == AttemptState::Running { orphaned: true }).await;
        });
        let (end, telling) = run;
        let end = end.expect("followed");
        assert_eq!(end, [Ending::Failed { status: 3 }, Ending::NotStarted { refusal: None }], "{shell:?}");
        assert_eq!(telling["01-first.1"].out, b"said\n");
    })
    .await;
}

#[tokio::test]
async fn the_limit_holds_although_the_wrapper_is_gone() {
    let play = Play::begin(Shell::Dash).await;
    let segment = limited("s", "trap '' TERM; while :; do sleep 1; done", Duration::from_secs(2));
    let attempt = act_of(0, "s");
    let (run, ()) = tokio::join!(play.run(&segment), async {
        play.is_running(&attempt).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        kill_wrapper(&play.host, &attempt);
    });
    assert_eq!(run.0.expect("followed"), [Ending::KilledByLimit]);
    play.host.falls_silent(Duration::from_secs(3)).await.expect("silent");
}

#[tokio::test]
async fn r13_a_step_whose_shell_is_killed_failed_with_137() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        assert_eq!(play.one("suicide", "kill -9 $$").await.ending, Ending::Failed { status: 137 }, "{shell:?}");
    })
    .await;
}

#[tokio::test]
async fn r14_a_step_whose_drainers_are_killed_ends_at_once() {
    let play = Play::begin(Shell::Dash).await;
    let segment = segment("s", [("chatty", "while echo line; do sleep 0.05; done; exit 9")]);
    let begin = Instant::now();
    let (run, ()) = tokio::join!(play.run(&segment), async {
        play.is_running(&act_of(0, "chatty")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The shells that drain, with their `dd`s: whoever reads the pipes.
        let pid = play.host.attempt("run-1", "01-chatty.1").join("o");
        for (id, _) in play.host.processes() {
            if std::fs::read_link(format!("/proc/{id}/fd/0")).is_ok_and(|target| target == pid) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
            }
        }
    });
    let end = run.0.expect("followed");
    assert!(matches!(end[..], [Ending::Failed { .. }]), "{end:?}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn r37_much_output_is_kept_at_both_ends_and_costs_bounded_disk() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let act = "i=0; while [ $i -lt 20 ]; do head -c 1000000 /dev/zero | tr '\\0' a; i=$((i+1)); done; \
                   echo; echo longshore-receipt path /backup; printf 'the very end'";
        let segment = segment("s", [("loud", act)]);
        let (end, telling) = play.run(&segment).await;
        assert_eq!(end.expect("followed"), [Ending::Changed]);
        let told = &telling["01-loud.1"];
        assert_eq!(told.gaps, 1, "{shell:?}");
        assert!(told.out.len() <= 4 * 1024 * 1024 + 65536, "{} bytes", told.out.len());
        assert!(told.out.len() > 4 * 1024 * 1024 + 60000, "{} bytes", told.out.len());
        assert!(told.out.ends_with(b"\nlongshore-receipt path /backup\nthe very end"));
        assert_eq!(told.ends[0].receipt.get("path"), Some("/backup"));
        let size: u64 = ["out", "out.tail", "err"]
            .iter()
            .filter_map(|file| std::fs::metadata(play.host.attempt("run-1", "01-loud.1").join(file)).ok())
            .map(|file| file.len())
            .sum();
        assert!(size <= 4 * 1024 * 1024 + 65536, "{size} bytes on the host");
    })
    .await;
}

#[tokio::test]
async fn output_around_the_border_of_the_spool_is_kept_whole() {
    let play = Play::begin(Shell::Dash).await;
    for size in [4_194_303_u32, 4_194_304, 4_194_305, 4_200_000, 4_259_840] {
        let name = format!("s{size}");
        let act = format!("head -c {size} /dev/zero | tr '\\0' a; echo end >&2");
        let (end, telling) = play.run(&segment(&name, [(name.as_str(), act.as_str())])).await;
        assert_eq!(end.expect("followed"), [Ending::Changed]);
        let told = &telling[&act_of(0, &name).to_string()];
        assert_eq!(told.out.len(), size as usize);
        assert_eq!(told.err, b"end\n");
    }
}

#[tokio::test]
async fn r38_endless_output_ends_at_the_limit() {
    let play = Play::begin(Shell::Dash).await;
    let (end, _) = play.run(&limited("endless", "yes", Duration::from_secs(1))).await;
    assert_eq!(end.expect("followed"), [Ending::KilledByLimit]);
}

#[tokio::test]
async fn r39_binary_output_arrives_byte_for_byte() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
        std::fs::write(play.host.place("bytes"), &bytes).expect("bytes");
        let act = format!("cat {0}; cat {0} >&2", play.host.place("bytes"));
        let (end, telling) = play.run(&segment("s", [("binary", act.as_str())])).await;
        assert_eq!(end.expect("followed"), [Ending::Changed]);
        assert!(telling["01-binary.1"].out == bytes && telling["01-binary.1"].err == bytes, "{shell:?}");
    })
    .await;
}

#[tokio::test]
async fn slow_output_is_told_while_the_step_runs() {
    let play = Play::begin(Shell::Dash).await;
    let begin = Instant::now();
    let segment = segment("s", [("slow", "echo first; sleep 2; echo second")]);
    let mut following = longshore::durable::Following::of(&segment);
    let mut first = None;
    play.side
        .run_segment(&play.lease, &segment, &[], &mut following, &mut |_, news| {
            if let longshore::durable::StepNews::Output { .. } = news {
                first.get_or_insert(begin.elapsed());
            }
        })
        .await
        .expect("followed");
    assert!(first.expect("output") < Duration::from_millis(1500), "{first:?}");
}

#[tokio::test]
async fn cancelling_ends_a_step_and_what_left_its_session() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let act = "trap '' TERM; setsid sleep 60 & sleep 60; sleep 60";
        let segment = segment("s", [("stubborn", act), ("next", "true")]);
        let attempt = act_of(0, "stubborn");
        let (run, cancelled) = tokio::join!(play.run(&segment), async {
            play.is_running(&attempt).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            play.side.cancel(std::slice::from_ref(&attempt)).await.expect("cancelled")
        });
        assert_eq!(cancelled[0].state, AttemptState::Ended(Ending::Cancelled), "{shell:?}");
        assert_eq!(run.0.expect("followed")[0], Ending::Cancelled, "{shell:?}");
        play.host.falls_silent(Duration::from_secs(10)).await.expect("silent");
    })
    .await;
}

#[tokio::test]
async fn a_segment_asked_to_stop_ends_after_its_current_step() {
    let play = Play::begin(Shell::Dash).await;
    let segment = segment("s", [("current", "sleep 0.5"), ("next", "true")]);
    let (run, ()) = tokio::join!(play.run(&segment), async {
        play.is_running(&act_of(0, "current")).await;
        assert_eq!(play.state(&act_of(1, "next")).await, AttemptState::Queued);
        play.side.request_stop("s").await.expect("asked");
    });
    assert_eq!(run.0.expect("followed"), [Ending::Changed, Ending::NotStarted { refusal: Some(Refusal::Stopped) }]);
}

#[tokio::test]
async fn another_attempt_waits_until_the_one_before_is_closed() {
    let play = Play::begin(Shell::Dash).await;
    let one = |id: &str, attempt: Attempt, act: &str| Segment {
        id: id.to_owned(),
        steps: vec![SegmentStep::new(attempt, act, LIMIT)],
    };
    let stop = "kill -9 $(cat \"${LONGSHORE_STEP_DIR%.keep}.1/pid\" | cut -d' ' -f1); sleep 0.2";
    let first = act_of(0, "s");
    let (end, _) = play.run(&one("a", first.clone(), stop)).await;
    assert_eq!(end.expect("followed"), [Ending::Unknown { why: Doubt::Lost }]);
    let second = Attempt::act(step(0, "s"), 2);
    let (end, _) = play.run(&one("b", second.clone(), "true")).await;
    assert_eq!(end.expect("followed"), [Ending::NotStarted { refusal: Some(Refusal::EarlierOpen) }]);
    // An undo is for exactly this case.
    let (end, _) = play.run(&one("c", Attempt::undo(step(0, "s"), 1), "true")).await;
    assert_eq!(end.expect("followed"), [Ending::Changed]);
    let closed = play.side.close(&first, longshore::durable::Closing::NotDone).await.expect("closed");
    assert_eq!(closed[0].state, AttemptState::Ended(Ending::FoundNotDone));
    let (end, _) = play.run(&one("d", second, "true")).await;
    assert_eq!(end.expect("followed"), [Ending::Changed]);
}

#[tokio::test]
async fn an_undo_never_starts_beside_its_step() {
    let play = Play::begin(Shell::Dash).await;
    let act = segment("a", [("s", "sleep 1.5")]);
    let undo =
        Segment { id: "b".to_owned(), steps: vec![SegmentStep::new(Attempt::undo(step(0, "s"), 1), "true", LIMIT)] };
    let (first, second) = tokio::join!(play.run(&act), async {
        play.is_running(&act_of(0, "s")).await;
        play.run(&undo).await
    });
    assert_eq!(second.0.expect("followed"), [Ending::NotStarted { refusal: Some(Refusal::StillRuns) }]);
    assert_eq!(first.0.expect("followed"), [Ending::Changed]);
}

#[tokio::test]
async fn act_and_undo_share_one_private_directory() {
    let play = Play::begin(Shell::Dash).await;
    play.one("s", "echo old >\"$LONGSHORE_STEP_DIR/before\"").await;
    let undo = Segment {
        id: "undo".to_owned(),
        steps: vec![SegmentStep::new(Attempt::undo(step(0, "s"), 1), "cat \"$LONGSHORE_STEP_DIR/before\"", LIMIT)],
    };
    let (end, telling) = play.run(&undo).await;
    assert_eq!(end.expect("followed"), [Ending::Changed]);
    assert_eq!(telling["01-s.undo1"].out, b"old\n");
}
