//! Links that break, answers that are lost, launches that come twice, logins that print.

use std::sync::Arc;

use futures::StreamExt;
use longshore::{
    durable::{AttemptState, Beginning, Doubt, DurableError, Ending, Following},
    model::Secret,
};

use crate::{
    host::{Host, Shell, for_each_shell},
    play::{LIMIT, Play, Telling, act_of, listen, segment, until},
};

/// Three steps that leave a trace and print, in three pieces each.
fn programs(host: &Host) -> Vec<(String, String)> {
    let trace = host.place("trace");
    ["one", "two", "three"]
        .iter()
        .map(|name| {
            let act = format!(
                "echo begin {name} >>{trace}; echo out {name}; echo err {name} >&2; sleep 0.15; echo more {name}; \
                 echo end {name} >>{trace}"
            );
            ((*name).to_owned(), act)
        })
        .collect()
}

/// Runs a segment over a link that is lost after so many bytes, and takes it up again until it has ended.
/// Returns whether the link was lost at all.
async fn cut_after(bytes: usize) -> bool {
    let host = Host::new(Shell::Dash);
    let play = Play::on(Arc::clone(&host)).await;
    let programs = programs(&host);
    let segment = segment("s", programs.iter().map(|(name, act)| (name.as_str(), act.as_str())));
    let mut following = Following::of(&segment);
    let mut telling = Telling::new();
    let mut side = play.side.reconnected(host.session_cut_after(bytes));
    let mut result = side.run_segment(&play.lease, &segment, &[], &mut following, &mut listen(&mut telling)).await;
    let cut = result.is_err();
    for _ in 0..20 {
        match &result {
            Ok(_) => break,
            Err(error) => assert!(error.leaves_doubt(), "{error}"),
        }
        // The first link after it is lost as well, a little later.
        let early = following.open().count() == programs.len();
        side = side.reconnected(if early { host.session_cut_after(400) } else { host.session() });
        result = side.attach(&mut following, &mut listen(&mut telling)).await;
    }
    let end = result.expect("followed in the end");
    let lines = host.lines("trace");
    if end.endings.iter().all(|(_, ending)| *ending == Ending::NotStarted { refusal: None }) {
        // Cut before the wrapper was started: nothing has run, and nothing will.
        assert!(bytes < 100 && lines.is_empty(), "cut after {bytes}: {end:?}, {lines:?}");
        return cut;
    }
    assert!(end.is_done(), "cut after {bytes}: {end:?}");
    for (name, _) in &programs {
        let told = telling.iter().find(|(attempt, _)| attempt.contains(name.as_str())).expect("told").1;
        assert_eq!(told.started, 1, "cut after {bytes}: {name} was told as started {} times", told.started);
        assert_eq!(told.out, format!("out {name}\nmore {name}\n").into_bytes(), "cut after {bytes}");
        assert_eq!(told.err, format!("err {name}\n").into_bytes(), "cut after {bytes}");
        assert_eq!(told.ends.len(), 1);
    }
    let wanted: Vec<String> =
        programs.iter().flat_map(|(name, _)| [format!("begin {name}"), format!("end {name}")]).collect();
    assert_eq!(lines, wanted, "cut after {bytes}");
    cut
}

#[tokio::test]
async fn r04_r05_r09_a_link_cut_after_any_byte_is_taken_up_again_without_loss_or_repetition() {
    let places = std::iter::successors(Some(0), |bytes| Some(1 + bytes + bytes / 8)).take_while(|bytes| *bytes < 4000);
    let cuts: Vec<bool> = futures::stream::iter(places).map(cut_after).buffer_unordered(10).collect().await;
    let cut = cuts.iter().filter(|cut| **cut).count();
    assert!(cut > 20 && cut < cuts.len(), "{cut} of {} places were within the exchange", cuts.len());
}

#[tokio::test]
async fn r10_the_same_launch_at_once_and_again_starts_each_step_once() {
    for_each_shell(async |shell| {
        let host = Host::new(shell);
        let play = Play::on(Arc::clone(&host)).await;
        let programs = programs(&host);
        let segment = segment("s", programs.iter().map(|(name, act)| (name.as_str(), act.as_str())));
        let mut again = segment.clone();
        again.id = "again".to_owned();
        let (first, second, third) = tokio::join!(play.run(&segment), play.run(&segment), play.run(&again));
        let (late, _) = play.run(&segment).await;
        let mut done = 0;
        for (end, _) in [first, second, third] {
            let end = end.expect("followed");
            assert!(end.iter().all(|ending| matches!(ending, Ending::Changed | Ending::NotStarted { .. })), "{end:?}");
            done += usize::from(end.iter().all(|ending| *ending == Ending::Changed));
        }
        assert!(done >= 1, "{shell:?}: nobody saw it done");
        assert_eq!(late.expect("followed"), [Ending::Changed, Ending::Changed, Ending::Changed]);
        let begun = host.lines("trace").iter().filter(|line| line.starts_with("begin")).count();
        assert_eq!(begun, 3, "{shell:?}: {:?}", host.lines("trace"));
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_comes_back_is_told_everything_again() {
    let play = Play::begin(Shell::Dash).await;
    let segment = segment("s", [("one", "echo one; sleep 0.5; echo more"), ("two", "echo two")]);
    let mut following = Following::of(&segment);
    let side = play.side.reconnected(play.host.session_cut_after(200));
    let error = side.run_segment(&play.lease, &segment, &[], &mut following, &mut |_, _| {}).await.expect_err("cut");
    assert!(error.leaves_doubt());
    let limits = segment.steps.iter().map(|step| (step.attempt.clone(), step.limit, step.leaves_running));
    let mut fresh = Following::new("s", limits);
    let mut telling = Telling::new();
    let end = play.side.attach(&mut fresh, &mut listen(&mut telling)).await.expect("followed");
    assert!(end.is_done());
    assert_eq!(telling["01-one.1"].out, b"one\nmore\n");
    assert_eq!(telling["02-two.1"].out, b"two\n");
}

#[tokio::test]
async fn r31_what_a_login_prints_is_not_taken_for_an_answer() {
    for_each_shell(async |shell| {
        let host = Host::new(shell);
        host.login("echo welcome; echo 'end' ; echo noise >&2; printf 'no line break'; echo 0000 ended x >&2; printf '\\0\\377'");
        let play = Play::on(host).await;
        let end = play.one("s", "echo hello").await;
        assert_eq!((end.ending, end.out.text()), (Ending::Changed, "hello\n".to_owned()), "{shell:?}");
    })
    .await;
}

#[tokio::test]
async fn r58_a_run_deleted_on_the_host_is_unknown_and_never_sent_again() {
    let play = Play::begin(Shell::Dash).await;
    play.one("s", "true").await;
    let run = play.host.attempt("run-1", "");
    std::fs::remove_dir_all(run).expect("removed");
    let lost = AttemptState::Ended(Ending::Unknown { why: Doubt::StateLost });
    assert_eq!(play.state(&act_of(0, "s")).await, lost);
    let (end, _) = play.run(&segment("t", [("s", "true")])).await;
    assert!(matches!(end, Err(DurableError::StateLost { .. })), "{end:?}");
    let lease = play.side.acquire("anna", "{}", Beginning::Again).await;
    assert!(lease.is_err(), "{lease:?}");
}

#[tokio::test]
async fn r17_a_step_that_a_reboot_cut_is_unknown_and_not_sent_again() {
    let play = Play::begin(Shell::Dash).await;
    let trace = play.host.place("trace");
    let act = format!("echo begin >>{trace}; sleep 30");
    let segment = segment("s", [("cut", act.as_str()), ("next", "true")]);
    let host = Arc::clone(&play.host);
    let (_, able) = tokio::join!(play.run(&segment), async {
        until(|| !host.lines("trace").is_empty()).await;
        let host = Arc::clone(&host);
        tokio::task::spawn_blocking(move || host.restart()).await.expect("restarted")
    });
    if !able {
        return;
    }
    let attempts = [act_of(0, "cut"), act_of(1, "next")];
    let status = play.side.status(&attempts).await.expect("status");
    assert_eq!(status.attempts[0].state, AttemptState::Ended(Ending::Unknown { why: Doubt::Rebooted }));
    assert_eq!(status.attempts[1].state, AttemptState::NotStarted);
    let mut following = Following::of(&segment);
    let end = play.side.attach(&mut following, &mut |_, _| {}).await.expect("followed");
    assert_eq!(end.endings[0].1, Ending::Unknown { why: Doubt::Rebooted });
    assert_eq!(play.host.lines("trace"), ["begin"]);
}

#[tokio::test]
async fn half_a_segment_that_a_power_cut_left_is_not_waited_for() {
    for_each_shell(async |shell| {
        for missing in ["alive", "slot", "tick"] {
            let play = Play::begin(shell).await;
            let segment = segment("s", [("s", "true")]);
            play.host.hook("launch-moved", "kill -9 $PPID");
            assert!(play.run(&segment).await.0.is_err());
            play.host.unhook();
            std::fs::remove_file(play.host.attempt("run-1", "s.segment").join(missing)).expect("removed");
            let mut following = Following::of(&segment);
            let end = tokio::time::timeout(LIMIT, play.side.attach(&mut following, &mut |_, _| {})).await;
            let end = end.unwrap_or_else(|_| panic!("{shell:?}: without `{missing}` it is waited for"));
            assert_eq!(
                end.expect("followed").endings[0].1,
                Ending::NotStarted { refusal: None },
                "{shell:?}: {missing}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn s9_a_secret_is_in_no_file_and_in_no_argument() {
    const VALUE: &str = "correct-horse-battery";
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let mut segment = segment("s", [("s", "printf %s \"$LONGSHORE_SECRET_db\" | wc -c; sleep 0.3")]);
        segment.steps[0].secrets = vec!["LONGSHORE_SECRET_db".to_owned()];
        let secrets = [("LONGSHORE_SECRET_db".to_owned(), Secret::new(VALUE))];
        let mut following = Following::of(&segment);
        let mut telling = Telling::new();
        let mut listener = listen(&mut telling);
        let (end, ()) = tokio::join!(
            play.side.run_segment(&play.lease, &segment, &secrets, &mut following, &mut listener),
            async {
                play.is_running(&act_of(0, "s")).await;
                for (id, command) in play.host.processes() {
                    assert!(!command.contains(VALUE), "process {id} has it in `{command}`");
                }
            }
        );
        drop(listener);
        assert!(end.expect("followed").is_done());
        assert_eq!(String::from_utf8_lossy(&telling["01-s.1"].out).trim(), VALUE.len().to_string());
        let found =
            std::process::Command::new("grep").args(["-r", VALUE]).arg(play.host.root()).output().expect("grep");
        assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    })
    .await;
}

#[tokio::test]
async fn s15_state_is_private_whatever_the_umask_and_steps_keep_theirs() {
    use std::os::unix::fs::PermissionsExt;
    fn walk(path: &std::path::Path) {
        let mode = std::fs::metadata(path).expect("mode").permissions().mode() & 0o7777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            std::fs::read_dir(path).expect("list").flatten().for_each(|entry| walk(&entry.path()));
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
    let host = Host::new(Shell::Dash);
    host.login("umask 000");
    let play = Play::on(host).await;
    let end = play.one("s", "umask").await;
    assert_eq!(end.out.text().trim(), "0000");
    walk(&play.host.root());
}
