//! Steps that restart the host: the next boot id proves it, nothing else does, and no order is given twice.

use std::{sync::Arc, time::Duration};

use longshore::durable::{AttemptState, Beginning, Ending, Following, LeaseError, Segment, TERM};

use crate::{
    host::{Host, Shell, for_each_shell},
    play::{Play, act_of, limited, listen, until},
};

/// How long the host may take.
const WITHIN: Duration = Duration::from_secs(20);

/// A step that notes that the order was given, and goes on as `then` says.
fn restart(host: &Host, then: &str, within: Duration) -> Segment {
    let mut segment = limited("restart", &format!("echo order >>{}; {then}", host.place("trace")), within);
    segment.steps[0].restarts = true;
    segment
}

async fn ordered(host: &Arc<Host>) {
    until(|| !host.lines("trace").is_empty()).await;
}

/// Follows the segment to its end, over a new connection.
async fn attach(play: &Play, segment: &Segment) -> Ending {
    let mut following = Following::of(segment);
    let mut telling = crate::play::Telling::new();
    let end = play.side.attach(&mut following, &mut listen(&mut telling)).await.expect("followed");
    assert_eq!(telling[&act_of(0, "restart").to_string()].started, 1);
    end.endings[0].1.clone()
}

#[tokio::test]
async fn r18_a_restart_is_done_with_the_next_boot_id_however_the_order_for_it_ended() {
    for_each_shell(async |shell| {
        let still_runs = "sleep 60 & exit 0";
        for then in ["exit 0", "sleep 60", "kill -9 $PPID", "kill -TERM $$; sleep 1", still_runs] {
            let play = Play::begin(shell).await;
            let segment = restart(&play.host, then, WITHIN);
            let host = Arc::clone(&play.host);
            let (cut, able) = tokio::join!(play.run(&segment), async {
                ordered(&host).await;
                // The order was obeyed, and the host is still there: nobody may take that for its end.
                tokio::time::sleep(Duration::from_millis(1500)).await;
                let state = play.state(&act_of(0, "restart")).await;
                assert!(matches!(state, AttemptState::Running { .. }), "{shell:?} {then}: {state:?}");
                tokio::task::spawn_blocking(move || host.restart()).await.expect("restarted")
            });
            if !able {
                return;
            }
            assert!(cut.0.is_err(), "{shell:?} {then}: it was told to its end over a link that was cut");
            assert_eq!(attach(&play, &segment).await, Ending::Changed, "{shell:?} {then}");
            // Whoever sends it again gets no second restart.
            let mut again = segment.clone();
            again.id = "again".to_owned();
            let (end, _) = play.run(&again).await;
            assert!(
                matches!(end.expect("asked")[0], Ending::Changed | Ending::NotStarted { refusal: Some(_) }),
                "{shell:?} {then}"
            );
            assert_eq!(play.host.lines("trace"), ["order"], "{shell:?} {then}");
        }
    })
    .await;
}

#[tokio::test]
async fn r18_a_lost_link_and_dead_processes_are_no_restart() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let segment = restart(&play.host, "exit 0", Duration::from_secs(3));
        let host = Arc::clone(&play.host);
        let begun = std::time::Instant::now();
        let (cut, ()) = tokio::join!(play.run(&segment), async {
            ordered(&host).await;
            host.kill_all();
        });
        assert!(cut.0.is_err(), "{shell:?}");
        // It is waited for as long as the step may take, and then it has failed.
        assert_eq!(attach(&play, &segment).await, Ending::NotRestarted, "{shell:?}");
        assert!(begun.elapsed() >= Duration::from_secs(3), "{shell:?}: given up after {:?}", begun.elapsed());
    })
    .await;
}

#[tokio::test]
async fn an_order_that_the_host_does_not_take_has_failed_at_once() {
    for_each_shell(async |shell| {
        let play = Play::begin(shell).await;
        let (end, _) = play.run(&restart(&play.host, "exit 4", WITHIN)).await;
        assert_eq!(end.expect("followed"), [Ending::Failed { status: 4 }], "{shell:?}");
        let (end, _) = Play::begin(shell).await.run(&restart(&play.host, "sleep 60", Duration::from_secs(1))).await;
        assert_eq!(end.expect("followed"), [Ending::KilledByLimit], "{shell:?}");
    })
    .await;
}

#[tokio::test]
async fn after_a_restart_the_lease_is_for_its_own_run_alone_until_its_term_is_over() {
    let play = Play::begin(Shell::Dash).await;
    let host = Arc::clone(&play.host);
    if !tokio::task::spawn_blocking(move || host.restart()).await.expect("restarted") {
        return;
    }
    // The host says that it has been up for less than the term.
    let other = play.host.side("run-2");
    let refused = other.acquire("ben", "{}", Beginning::First).await;
    let Err(LeaseError::HeldBy { free_in, running: false, .. }) = refused else { panic!("{refused:?}") };
    assert!(free_in > Duration::from_secs(60) && free_in <= TERM, "{free_in:?}");
    // Ours goes on as it was, and from then on counts as any other.
    play.side.renew(&play.lease).await.expect("renewed");
    let end = play.one("next", "echo next").await;
    assert_eq!(end.ending, Ending::Changed);
    // One who comes back too late finds it gone.
    play.side.release(&play.lease).await.expect("released");
    other.clone().acquire("ben", "{}", Beginning::First).await.expect("free");
    assert!(matches!(play.side.renew(&play.lease).await, Err(LeaseError::Lost { .. })));
}

#[tokio::test]
async fn a_lease_that_nobody_came_back_for_is_free_once_the_term_is_over_after_a_restart() {
    let play = Play::begin(Shell::Dash).await;
    let host = Arc::clone(&play.host);
    if !tokio::task::spawn_blocking(move || host.restart()).await.expect("restarted") {
        return;
    }
    // Up for longer than this term already.
    let other = play.host.side("run-2").term(Duration::from_secs(5));
    other.acquire("ben", "{}", Beginning::First).await.expect("free");
    assert!(matches!(play.side.renew(&play.lease).await, Err(LeaseError::Lost { .. })));
}
