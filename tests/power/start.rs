//! R19: a host's disk is cut off while steps start on it. No start that led to a command may be forgotten.

use std::{path::Path, sync::Arc, time::Duration};

use longshore::{
    durable::{Attempt, AttemptState, Beginning, Ending, Following, HostSide, InstallKey, Segment, SegmentStep},
    model::{RunId, StepId},
};

use crate::{
    apart,
    disk::Shelf,
    host::{Host, Shell},
    moment, report, rounds,
};

#[test]
fn r19_no_start_is_forgotten_when_a_host_s_power_is_cut() {
    let _ = apart("start::cuts", &[]);
}

#[test]
fn r19_without_flushing_the_same_test_finds_forgotten_starts() {
    let _ = apart("start::cuts", &[("LONGSHORE_POWER_BLIND", "yes")]);
}

fn side(host: &Arc<Host>, run: &str, root: &Path) -> HostSide {
    HostSide::new(host.session(), RunId::from_text(run).expect("an id"), InstallKey::of(&["test"]))
        .state_root(root.join("state").display().to_string())
        .grace(Duration::from_secs(1))
        .any_disk()
}

#[tokio::test]
#[ignore = "run by the tests above, in a mount namespace"]
async fn cuts() {
    let blind = std::env::var_os("LONGSHORE_POWER_BLIND").is_some();
    let shelf = Shelf::new();
    let host = Host::new(Shell::Dash);
    if blind {
        // A host whose `sync` does nothing.
        let deaf = host.dir.path().join("bin/sync");
        std::fs::write(&deaf, "#!/bin/sh\nexit 0\n").expect("written");
        std::fs::set_permissions(&deaf, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    }
    let (mut cuts, mut looked, mut lost) = (0, 0, Vec::new());
    while cuts < rounds() && (lost.is_empty() || !blind) {
        let disk = shelf.disk();
        let run = format!("run-{cuts}");
        let side = side(&host, &run, &disk.root);
        let lease = side.acquire("anna", "{}", Beginning::First).await.expect("lease");
        // A disk for a dozen cuts: it is small, and the cuts shall meet it in every state.
        for _ in 0..12.min(rounds() - cuts) {
            cuts += 1;
            // What the steps themselves say lies on another disk, whose power stays on.
            let attempts: Vec<Attempt> =
                (0..4).map(|at| Attempt::act(StepId::new(at, &format!("cut-{cuts}")), 1)).collect();
            let steps = attempts.iter().map(|attempt| {
                let act = format!("echo {attempt} >>{}; sleep 0.01", host.place("begun"));
                SegmentStep::new(attempt.clone(), act, Duration::from_secs(10))
            });
            let segment = Segment { id: format!("seg-{cuts}"), steps: steps.collect() };
            let mut following = Following::of(&segment);
            let mut ignore = |_: &Attempt, _: longshore::durable::StepNews<'_>| {};
            let work = side.run_segment(&lease, &segment, &[], &mut following, &mut ignore);
            let wait = async {
                // Around the starts, that is: from the first command on, and now and then before it.
                let until =
                    std::time::Instant::now() + if cuts % 6 == 0 { moment(150) } else { Duration::from_secs(10) };
                let first = attempts[0].to_string();
                while std::time::Instant::now() < until && !host.lines("begun").contains(&first) {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                tokio::time::sleep(moment(90)).await;
                let begun = host.lines("begun");
                // Cutting blocks this thread, and with it nothing of what runs on the host.
                (begun, shelf.cut())
            };
            let (ran, (begun, clone)) = tokio::join!(work, wait);
            let end = ran.expect("followed");
            assert!(end.is_done(), "{end:?}");
            let begun: Vec<_> = attempts.iter().filter(|one| begun.contains(&one.to_string())).cloned().collect();
            looked += begun.len();
            let found = self::side(&host, &run, &clone.root).status(&begun).await.expect("answers");
            for status in found.attempts {
                let known = matches!(
                    &status.state,
                    AttemptState::Running { .. }
                        | AttemptState::Ended(
                            Ending::Changed
                                | Ending::Unknown {
                                    why: longshore::durable::Doubt::Lost | longshore::durable::Doubt::Rebooted
                                }
                        )
                );
                if !known {
                    lost.push(format!("cut {cuts}: {} had begun, the disk says {:?}", status.attempt, status.state));
                }
            }
        }
        side.release(&lease).await.expect("released");
        host.falls_silent(Duration::from_secs(20)).await.expect("nothing of it runs");
        drop(disk);
    }
    report("host, starts", cuts, looked, &lost, blind);
}
