//! Closing a run on the host: what stays for its rollback, what goes at once, what goes by age.

use std::{path::Path, process::Command, sync::Arc};

use longshore::{
    durable::{AttemptState, Beginning, DurableError, Ending, Following, HostSide, Lease, LeaseError, SegmentStep},
    model::{HostOutcome, KeptBy, RunId},
};

use crate::{
    host::{Host, for_each_shell, step},
    play::{LIMIT, Play, Telling, act_of, listen, segment},
};

/// Prints two receipts with much around them, and keeps something for an undo.
const ACT: &str = "echo kept >\"$LONGSHORE_STEP_DIR/before\"; echo longshore-receipt file /a b; \
                   head -c 5000000 /dev/zero; echo; echo longshore-receipt size 7; echo noise >&2; sleep 0.1";

async fn finish(play: &Play) {
    let mut both = segment("s", [("one", ACT), ("two", "exit 3")]);
    both.steps.push(SegmentStep::new(act_of(2, "never"), "exit 0", LIMIT));
    let (end, _) = play.run(&both).await;
    assert_eq!(end.expect("followed")[..2], [Ending::Changed, Ending::Failed { status: 3 }]);
    play.side.release(&play.lease).await.expect("released");
}

async fn states(side: &HostSide) -> Vec<AttemptState> {
    let all = [act_of(0, "one"), act_of(1, "two"), act_of(2, "never")];
    let status = side.status(&all).await.expect("status");
    status.attempts.into_iter().map(|status| status.state).collect()
}

fn expected() -> Vec<AttemptState> {
    let ended = AttemptState::Ended;
    vec![ended(Ending::Changed), ended(Ending::Failed { status: 3 }), AttemptState::NotStarted]
}

/// Kilobytes that a folder takes.
fn size(folder: &Path) -> u64 {
    let said = Command::new("du").arg("-sk").arg(folder).output().expect("du");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a size")
}

#[tokio::test]
async fn a_closed_run_keeps_results_receipts_and_what_its_undos_need() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        finish(&play).await;
        assert!(size(&play.host.attempt("run-1", "")) > 4000, "{shell:?}");
        play.side.shelve().await.expect("shelved");
        // Again does no harm.
        play.side.shelve().await.expect("shelved");
        assert_eq!(states(&play.side).await, expected(), "{shell:?}");
        let status = play.side.status(&[]).await.expect("status");
        assert!(status.known && status.closed && status.live_segments.is_empty(), "{shell:?}: {status:?}");
        let kept = std::fs::read_to_string(play.host.attempt("run-1", "01-one.keep/before")).expect("kept");
        assert_eq!(kept, "kept\n", "{shell:?}");
        assert!(size(&play.host.attempt("run-1", "")) < 100, "{shell:?}");
        assert_eq!(std::fs::read_dir(play.host.root().join("trash")).expect("trash").count(), 0, "{shell:?}");
        // Whoever asks later is told the receipts, and the truth.
        let mut following = Following::new("s", [0, 1].map(|at| (act_of(at, ["one", "two"][at]), LIMIT, false)));
        let mut telling = Telling::new();
        play.side.attach(&mut following, &mut listen(&mut telling)).await.expect("attached");
        let end = &telling["01-one.1"].ends[0];
        assert_eq!(end.ending, Ending::Changed, "{shell:?}");
        assert_eq!((end.receipt.get("file"), end.receipt.get("size")), (Some("/a b"), Some("7")), "{shell:?}");
        // A ledger that lost the host's end does not begin its steps anew.
        let refused = play.side.acquire("anna", "{}", Beginning::Again).await.expect_err("it has ended");
        assert!(matches!(refused, LeaseError::Ended { outcome: HostOutcome::Done }), "{shell:?}: {refused}");
        // Taking the lease again opens the run again.
        play.side.acquire("anna", "{}", Beginning::Anew).await.expect("lease");
        assert!(!play.side.status(&[]).await.expect("status").closed, "{shell:?}");
    })
    .await;
}

#[tokio::test]
async fn a_run_of_which_nothing_is_left_is_forgotten_and_a_live_one_is_neither() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let long = segment("s", [("long", "sleep 0.7")]);
        let (run, ()) = tokio::join!(play.run(&long), async {
            play.is_running(&act_of(0, "long")).await;
            for refused in [play.side.forget().await, play.side.shelve().await] {
                let refused = refused.expect_err("it runs");
                assert!(matches!(refused, DurableError::StillRuns { .. }), "{refused}");
            }
        });
        assert_eq!(run.0.expect("followed"), [Ending::Changed]);
        play.side.release(&play.lease).await.expect("released");
        play.side.forget().await.expect("forgotten");
        assert!(!play.host.attempt("run-1", "").exists());
        assert_eq!(std::fs::read_dir(play.host.root().join("trash")).expect("trash").count(), 0);
    })
    .await;
}

/// Runs the undo of run 1's first step in a run of its own.
async fn take_back(side: &HostSide, lease: &Lease) -> Result<Ending, DurableError> {
    let of = KeptBy { run: RunId::from_text("run-1").expect("run"), step: step(0, "one") };
    let mut back = segment("back", [("back", "cat \"$LONGSHORE_STEP_DIR/before\"; rm \"$LONGSHORE_STEP_DIR/before\"")]);
    back.steps[0] = back.steps[0].clone().keep_of(Some(of));
    let mut telling = Telling::new();
    let mut following = Following::of(&back);
    let end = side.run_segment(lease, &back, &[], &mut following, &mut listen(&mut telling)).await?;
    if let Some(told) = telling.get("01-back.1") {
        assert_eq!(String::from_utf8_lossy(&told.out), if told.started == 1 { "kept\n" } else { "" });
    }
    Ok(end.endings[0].1.clone())
}

#[tokio::test]
async fn a_later_run_takes_a_closed_one_back_with_what_it_kept() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        finish(&play).await;
        play.side.shelve().await.expect("shelved");
        let later = play.host.side("run-2");
        let lease = later.acquire("ben", "{}", Beginning::First).await.expect("lease");
        assert_eq!(take_back(&later, &lease).await.expect("taken back"), Ending::Changed, "{shell:?}");
        // Gone is gone: nothing is started without it.
        play.side.forget().await.expect("forgotten");
        let third = play.host.side("run-3");
        later.release(&lease).await.expect("released");
        let lease = third.acquire("ben", "{}", Beginning::First).await.expect("lease");
        let refused = take_back(&third, &lease).await.expect_err("nothing is there");
        assert!(matches!(&refused, DurableError::KeepGone { .. }) && !refused.leaves_doubt(), "{refused}");
    })
    .await;
}

/// Closes a run.
async fn close(host: &Arc<Host>, run: &str) {
    let side = host.side(run);
    let lease = side.acquire("anna", "{}", Beginning::First).await.expect("lease");
    side.release(&lease).await.expect("released");
    side.shelve().await.expect("shelved");
}

fn date(file: &Path, age: &str) {
    assert!(Command::new("touch").args(["-d", age]).arg(file).status().expect("touch").success());
}

#[tokio::test]
async fn r36_a_run_goes_by_age_only_when_it_was_closed_and_the_host_s_clock_can_be_right() {
    for_each_shell(async |shell| {
        let host = Host::new(shell);
        let dated = ["old-0", "old-1", "old-2", "old-3", "old-4", "old-5", "needed", "same-boot"];
        for run in dated.iter().chain(&["young", "wrong-clock"]) {
            close(&host, run).await;
        }
        for run in dated {
            std::fs::write(host.attempt(run, "closed"), "another-boot 7\n").expect("mark");
        }
        let uptime = std::fs::read_to_string("/proc/uptime").expect("uptime");
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot");
        let now = uptime.split('.').next().expect("seconds");
        std::fs::write(host.attempt("same-boot", "closed"), format!("{} {now}\n", boot.trim())).expect("mark");
        for run in dated {
            date(&host.attempt(run, "closed"), "40 days ago");
        }
        date(&host.attempt("young", "closed"), "29 days ago");
        date(&host.attempt("wrong-clock", "closed"), "1970-01-02");
        let open = host.side("open");
        let lease = open.acquire("anna", "{}", Beginning::First).await.expect("lease");
        open.release(&lease).await.expect("released");
        date(&host.attempt("open", "manifest"), "40 days ago");
        date(&host.attempt("open", ""), "40 days ago");
        // A rollback of it begins: its time begins anew.
        std::fs::create_dir_all(host.attempt("needed", "01-one.keep")).expect("keep");
        std::fs::write(host.attempt("needed", "01-one.keep/before"), "kept\n").expect("keep");
        let later = host.side("later");
        let lease = later.acquire("ben", "{}", Beginning::First).await.expect("lease");
        let mut back = segment("back", [("back", "exit 0")]);
        let of = KeptBy { run: RunId::from_text("needed").expect("run"), step: step(0, "one") };
        back.steps[0] = back.steps[0].clone().keep_of(Some(of));
        let mut ignore = |_: &longshore::durable::Attempt, _: longshore::durable::StepNews<'_>| {};
        later.run_segment(&lease, &back, &[], &mut Following::of(&back), &mut ignore).await.expect("ran");
        later.release(&lease).await.expect("released");

        let left = || (0..6).filter(|old| host.attempt(&format!("old-{old}"), "").exists()).count();
        assert_eq!(left(), 6, "{shell:?}");
        later.shelve().await.expect("shelved");
        assert_eq!(left(), 2, "{shell:?}: a few at a time");
        later.shelve().await.expect("shelved");
        assert_eq!(left(), 0, "{shell:?}");
        for stays in ["young", "wrong-clock", "needed", "same-boot", "open", "later"] {
            assert!(host.attempt(stays, "manifest").exists(), "{shell:?}: {stays} is gone");
        }
        // What a wrong clock dated is as old as today.
        let renewed = std::fs::metadata(host.attempt("wrong-clock", "closed")).expect("mark").modified().expect("time");
        assert!(renewed.elapsed().expect("past").as_secs() < 3600, "{shell:?}");
        assert_eq!(std::fs::read_dir(host.root().join("trash")).expect("trash").count(), 0, "{shell:?}");
    })
    .await;
}

#[tokio::test]
async fn half_a_closing_never_looks_like_not_started() {
    for_each_shell(async |shell| {
        for hook in ["run-marked", "segments-gone", "spools-gone"] {
            let play = Play::begin(shell).await;
            finish(&play).await;
            let once = play.host.place("once");
            play.host.hook(hook, &format!("mkdir {once} 2>/dev/null || exit 0; kill -9 $PPID"));
            let cut = play.side.shelve().await.expect_err("killed");
            assert!(cut.leaves_doubt(), "{shell:?} at {hook}: {cut}");
            assert_eq!(states(&play.side).await, expected(), "{shell:?} at {hook}");
            assert!(play.host.attempt("run-1", "01-one.keep/before").exists(), "{shell:?} at {hook}");
            play.side.shelve().await.expect("shelved");
            assert_eq!(states(&play.side).await, expected(), "{shell:?} at {hook}");
            assert!(size(&play.host.root()) < 200, "{shell:?} at {hook}");
        }
    })
    .await;
}

#[tokio::test]
async fn r27_a_host_remembers_its_runs_their_manifests_and_how_each_ended() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let (run, _) = play.run(&segment("seg-1-one", [("one", "true"), ("two", "exit 3")])).await;
        run.expect("followed");
        let asked = async |side: &longshore::durable::HostSide| side.known_runs(None).await.expect("answers");
        let known = asked(&play.side).await;
        assert_eq!(known.len(), 1, "{shell:?}: {known:?}");
        let names: Vec<_> = known[0].segments.iter().flat_map(|(_, names)| names.clone()).collect();
        assert_eq!((known[0].ended, names), (None, vec!["01-one.1".to_owned(), "02-two.1".to_owned()]), "{shell:?}");
        let ends: Vec<_> = known[0].attempts.iter().map(|status| status.state.clone()).collect();
        let expected = [Ending::Changed, Ending::Failed { status: 3 }].map(AttemptState::Ended);
        assert_eq!(ends, expected, "{shell:?}");
        // A note of the end keeps all there is; finishing keeps the note alone.
        play.side.release(&play.lease).await.expect("released");
        play.side.note_end(HostOutcome::Held).await.expect("noted");
        let known = asked(&play.side).await;
        assert_eq!((known[0].ended, known[0].attempts.len()), (Some(HostOutcome::Held), 2), "{shell:?}");
        let manifest = "first\n{\"a b\":  \"c\\n d\"}";
        let lease = play.side.acquire("anna", manifest, Beginning::Anew).await.expect("lease");
        assert_eq!(asked(&play.side).await[0].ended, None, "{shell:?}");
        play.side.release(&lease).await.expect("released");
        play.side.finish(HostOutcome::Undone).await.expect("finished");
        let known = asked(&play.side).await;
        assert_eq!((known[0].ended, known[0].attempts.len()), (Some(HostOutcome::Undone), 0), "{shell:?}");
        // Another run of the same install, with a manifest that must come back as it went.
        let other = play.host.side("run-2");
        other.acquire("anna", manifest, Beginning::First).await.expect("lease");
        let known = asked(&other).await;
        assert_eq!(known.len(), 2, "{shell:?}");
        assert_eq!(known[1].manifest, "{\"a b\":  \"c\\n d\"}", "{shell:?}");
        let only = longshore::model::RunId::from_text("run-2").expect("an id");
        assert_eq!(other.known_runs(Some(&only)).await.expect("answers").len(), 1, "{shell:?}");
    })
    .await;
}
