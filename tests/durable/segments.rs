//! Segments as they go when nothing fails, and what they tell.

use std::time::{Duration, Instant};

use longshore::{
    durable::{Attempt, Beginning, Ending, Following, Segment, SegmentStep, StepNews},
    model::Secret,
    transport::Stream,
};

use crate::host::{Host, Shell, step};

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_segment_runs_its_steps_in_order_and_tells_all_of_them() {
    for shell in Shell::all() {
        let host = Host::new(shell);
        let side = host.side("run-1");
        let (ability, lease) = side.open("anna@laptop", "{}", Beginning::First).await.expect("able and free");
        assert!(ability.free_kib > 16 * 1024, "{ability:?}");
        let trace = host.place("trace");
        let segment = Segment {
            id: "s1".to_owned(),
            steps: vec![
                SegmentStep::new(
                    Attempt::act(step(0, "one"), 1),
                    format!(
                        "echo one >>{trace}; echo hello; echo longshore-receipt path /x y; echo oops >&2; umask; pwd"
                    ),
                    LIMIT,
                ),
                SegmentStep::new(Attempt::act(step(1, "two"), 1), format!("echo two >>{trace}"), LIMIT).look("exit 0"),
                SegmentStep::new(
                    Attempt::act(step(2, "three"), 1),
                    format!("echo \"$LONGSHORE_SECRET_a-$LONGSHORE_SECRET_b\" >>{trace}; : >$LONGSHORE_STEP_DIR/kept"),
                    LIMIT,
                )
                .look("exit 10")
                .secrets(["LONGSHORE_SECRET_a".to_owned()]),
                SegmentStep::new(Attempt::act(step(3, "four"), 1), "exit 7", LIMIT),
                SegmentStep::new(Attempt::act(step(4, "five"), 1), format!("echo five >>{trace}"), LIMIT),
            ],
        };
        let secrets = [
            ("LONGSHORE_SECRET_a".to_owned(), Secret::new("it's")),
            ("LONGSHORE_SECRET_b".to_owned(), Secret::new("hidden")),
        ];
        let mut following = Following::of(&segment);
        let mut told = Vec::new();
        let mut ends = Vec::new();
        let begin = Instant::now();
        let end = side
            .run_segment(&lease, &segment, &secrets, &mut following, &mut |attempt, news| match news {
                StepNews::Started => told.push(format!("{attempt} started")),
                StepNews::Output { stream, offset, bytes } => {
                    let stream = if stream == Stream::Out { "out" } else { "err" };
                    told.push(format!("{attempt} {stream} {offset} {}", String::from_utf8_lossy(bytes).escape_debug()));
                }
                StepNews::Gap { .. } => told.push("gap".to_owned()),
                StepNews::Ended(end) => ends.push(end),
            })
            .await
            .expect("segment");
        eprintln!("{shell:?} {:?} {told:#?}", begin.elapsed());
        let endings: Vec<Ending> = end.endings.iter().map(|(_, ending)| ending.clone()).collect();
        assert_eq!(endings[..4], [Ending::Changed, Ending::Unchanged, Ending::Changed, Ending::Failed { status: 7 }]);
        assert_eq!(host.lines("trace"), ["one", "it's-"]);
        assert_eq!(ends[0].receipt.get("path"), Some("/x y"));
        assert_eq!(ends[0].err.text(), "oops\n");
        side.release(&lease).await.expect("release");
        host.falls_silent(Duration::from_secs(3)).await.expect("silent");
    }
}

#[tokio::test]
async fn r30_r29_a_host_that_cannot_be_durable_says_why_and_gives_no_lease() {
    let host = Host::new(Shell::Busybox);
    std::fs::remove_file(host.dir.path().join("bin/flock")).expect("flock");
    let error = host.side("run-1").open("anna", "{}", Beginning::First).await.expect_err("no flock");
    assert_eq!(error.to_string(), "the host cannot keep steps safe from faults: the host has no `flock`");

    let host = Host::new(Shell::Dash);
    let odd = host.side("run-1").state_root(host.place("a b"));
    let error = odd.open("anna", "{}", Beginning::First).await.expect_err("a blank in the path");
    assert!(error.to_string().contains("cannot be used as a directory for state"), "{error}");

    std::os::unix::fs::symlink("/tmp", host.root()).expect("link");
    let error = host.side("run-1").open("anna", "{}", Beginning::First).await.expect_err("a link");
    assert!(error.to_string().ends_with("is a symbolic link"), "{error}");
    assert!(!host.root().join("host-id").exists());
}
