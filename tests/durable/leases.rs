//! Two controllers and one host: who may start what.

use std::{sync::Arc, time::Duration};

use longshore::durable::{AttemptState, Beginning, DurableError, Ending, LeaseError, Refusal, TERM};

use crate::{
    host::{Host, Shell, for_each_shell},
    play::{Play, act_of, segment, until},
};

#[tokio::test]
async fn r32_a_second_controller_is_told_who_has_the_host() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let other = play.host.side("run-2");
        let refused = other.acquire("ben@desk", "{}", Beginning::First).await.expect_err("held");
        let LeaseError::HeldBy { run, owner, age, free_in, running } = refused else { panic!("{refused}") };
        assert_eq!((run.as_str(), owner.as_str(), running), ("run-1", "anna@laptop", false));
        assert!(age.expect("same boot") < Duration::from_secs(10));
        assert!(free_in + Duration::from_secs(20) > TERM && free_in <= TERM, "{free_in:?}");
        play.side.renew(&play.lease).await.expect("renewed");
        play.side.release(&play.lease).await.expect("released");
        let lease = other.acquire("ben@desk", "{}", Beginning::First).await.expect("free");
        assert_eq!(lease.token, play.lease.token + 1);
        assert_eq!(lease.host_id, play.lease.host_id);
        let lost = play.side.renew(&play.lease).await.expect_err("gone");
        assert!(matches!(lost, LeaseError::Lost { ref run, .. } if run == "run-2"), "{lost}");
    })
    .await;
}

#[tokio::test]
async fn r35_the_lease_of_a_dead_controller_runs_out() {
    let host = Host::new(Shell::Dash);
    // Long enough that even a busy machine asks for it twice within it.
    let short = host.side("run-1").term(Duration::from_secs(5));
    let dead = short.acquire("anna", "{}", Beginning::First).await.expect("lease");
    let other = host.side("run-2");
    assert!(other.acquire("ben", "{}", Beginning::First).await.is_err());
    tokio::time::sleep(Duration::from_millis(6100)).await;
    let lease = other.acquire("ben", "{}", Beginning::First).await.expect("it has run out");
    assert!(lease.token > dead.token);
}

#[tokio::test]
async fn r34_a_host_is_not_taken_over_while_a_step_runs() {
    let host = Host::new(Shell::Dash);
    let mut play = Play::on(Arc::clone(&host)).await;
    play.lease =
        host.side("run-1").term(Duration::from_secs(1)).acquire("anna", "{}", Beginning::First).await.expect("ours");
    let segment = segment("s", [("long", "sleep 3")]);
    let other = host.side("run-2");
    let (run, ()) = tokio::join!(play.run(&segment), async {
        play.is_running(&act_of(0, "long")).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let refused = other.acquire("ben", "{}", Beginning::First).await.expect_err("a step runs");
        assert!(matches!(refused, LeaseError::HeldBy { running: true, .. }), "{refused}");
        let refused = other.unlock().await.expect_err("a step runs");
        assert!(matches!(refused, LeaseError::Durable(DurableError::StillRuns { .. })), "{refused}");
    });
    assert_eq!(run.0.expect("followed"), [Ending::Changed]);
}

#[tokio::test]
async fn r33_a_controller_that_wakes_up_after_a_takeover_starts_nothing() {
    for_each_shell(async |shell| {
        let host = Host::new(shell);
        let mut play = Play::on(Arc::clone(&host)).await;
        play.lease = host
            .side("run-1")
            .term(Duration::from_secs(1))
            .acquire("anna", "{}", Beginning::First)
            .await
            .expect("ours");
        let trace = host.place("trace");
        // Its launcher is stopped before the wrapper runs: no lock says that it is there.
        host.hook("launch-moved", &format!("echo $PPID >{}; kill -STOP $PPID", host.place("stopped")));
        let act = format!("echo started >>{trace}");
        let segment = segment("s", [("late", act.as_str())]);
        let other = host.side("run-2");
        let (run, ()) = tokio::join!(play.run(&segment), async {
            until(|| !host.lines("stopped").is_empty()).await;
            tokio::time::sleep(Duration::from_millis(2100)).await;
            other.acquire("ben", "{}", Beginning::First).await.expect("run out");
            let id: i32 = host.lines("stopped")[0].parse().expect("process");
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGCONT).expect("woken");
        });
        let fenced = Refusal::Fenced { run: "run-2".to_owned(), token: play.lease.token + 1 };
        assert_eq!(run.0.expect("followed"), [Ending::NotStarted { refusal: Some(fenced) }], "{shell:?}");
        assert_eq!(host.lines("trace"), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_resumed_run_fences_its_own_dead_predecessor() {
    let play = Play::begin(Shell::Dash).await;
    let resumed = play.side.acquire("anna", "{}", Beginning::Again).await.expect("resumed");
    assert!(resumed.token > play.lease.token);
    let (end, _) = play.run(&segment("s", [("late", "true")])).await;
    let fenced = Refusal::Fenced { run: "run-1".to_owned(), token: resumed.token };
    assert_eq!(end.expect("followed"), [Ending::NotStarted { refusal: Some(fenced) }]);
}

#[tokio::test]
async fn a_voided_attempt_never_starts_even_when_its_wrapper_was_on_the_way() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let host = &play.host;
        let trace = host.place("trace");
        host.hook("locked", &format!("echo $PPID >{}; kill -STOP $PPID", host.place("stopped")));
        let act = format!("echo started >>{trace}");
        let segment = segment("s", [("fenced", act.as_str())]);
        let attempt = act_of(0, "fenced");
        let (run, ()) = tokio::join!(play.run(&segment), async {
            until(|| !host.lines("stopped").is_empty()).await;
            assert_eq!(play.state(&attempt).await, AttemptState::Pending);
            play.side.void(std::slice::from_ref(&attempt)).await.expect("void");
            let id: i32 = host.lines("stopped")[0].parse().expect("process");
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGCONT).expect("woken");
        });
        assert_eq!(run.0.expect("followed"), [Ending::Void], "{shell:?}");
        assert_eq!(host.lines("trace"), Vec::<String>::new());
        assert_eq!(play.state(&attempt).await, AttemptState::Ended(Ending::Void));
    })
    .await;
}

#[tokio::test]
async fn voiding_what_has_started_says_so() {
    let play = Play::begin(Shell::Dash).await;
    play.one("s", "true").await;
    let states = play.side.void(&[act_of(0, "s"), act_of(1, "never")]).await.expect("void");
    assert_eq!(states[0].state, AttemptState::Ended(Ending::Changed));
    assert_eq!(states[1].state, AttemptState::Ended(Ending::Void));
}

#[tokio::test]
async fn a_void_cut_half_way_is_made_again() {
    let play = Play::begin(Shell::Dash).await;
    play.host.hook("void-written", "kill -9 $PPID");
    let attempt = act_of(0, "s");
    assert!(play.side.void(std::slice::from_ref(&attempt)).await.is_err());
    play.host.unhook();
    assert_eq!(play.state(&attempt).await, AttemptState::NotStarted);
    play.side.void(std::slice::from_ref(&attempt)).await.expect("void");
    assert_eq!(play.state(&attempt).await, AttemptState::Ended(Ending::Void));
}

#[tokio::test]
async fn of_a_void_cut_half_way_nothing_is_taken_for_an_attempt_that_was_staged() {
    let play = Play::begin(Shell::Dash).await;
    play.host.hook("void-written", "kill -9 $PPID");
    assert!(play.side.void(&[act_of(0, "s")]).await.is_err());
    play.host.unhook();
    let end = play.one("s", "echo hello").await;
    assert_eq!((end.ending, end.out.text()), (Ending::Changed, "hello\n".to_owned()));
}

#[tokio::test]
async fn a_lease_cut_half_way_leaves_the_one_before() {
    let play = Play::begin(Shell::Dash).await;
    play.host.hook("lease-written", "kill -9 $PPID");
    assert!(play.side.acquire("anna", "{}", Beginning::Again).await.is_err());
    play.host.unhook();
    play.side.renew(&play.lease).await.expect("still ours");
}

#[tokio::test]
async fn r61_a_stopped_holder_of_the_mutex_is_reported_after_ten_seconds_and_not_broken() {
    let play = Play::begin(Shell::Dash).await;
    let host = &play.host;
    host.hook("checked", &format!("echo $PPID >{}; kill -STOP $PPID", host.place("stopped")));
    let segment = segment("s", [("slow", "true")]);
    let (run, ()) = tokio::join!(play.run(&segment), async {
        until(|| !host.lines("stopped").is_empty()).await;
        let begin = std::time::Instant::now();
        let stuck = play.side.renew(&play.lease).await.expect_err("stuck");
        assert!(matches!(stuck, LeaseError::Durable(DurableError::Stuck { .. })), "{stuck}");
        let took = begin.elapsed();
        assert!(took > Duration::from_secs(9) && took < Duration::from_secs(14), "{took:?}");
        let id: i32 = host.lines("stopped")[0].parse().expect("process");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGCONT).expect("woken");
    });
    assert_eq!(run.0.expect("followed"), [Ending::Changed]);
}

#[tokio::test]
async fn unlocking_takes_the_lease_and_its_token_from_the_owner() {
    let play = Play::begin(Shell::Dash).await;
    let other = play.host.side("run-2");
    assert_eq!(other.unlock().await.expect("unlocked"), Some(("run-1".to_owned(), "anna@laptop".to_owned())));
    let (end, _) = play.run(&segment("s", [("late", "true")])).await;
    assert!(
        matches!(&end.expect("followed")[..], [Ending::NotStarted { refusal: Some(Refusal::Fenced { .. }) }]),
        "the old owner was not fenced"
    );
    other.acquire("ben", "{}", Beginning::First).await.expect("free");
    assert_eq!(play.host.side("run-3").unlock().await.expect("unlocked"), Some(("run-2".to_owned(), "ben".to_owned())));
    assert_eq!(play.host.side("run-3").unlock().await.expect("unlocked"), None);
}
