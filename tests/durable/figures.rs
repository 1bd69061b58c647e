//! What a durable step costs. Ignored by default: the figures want a quiet machine.

use std::time::{Duration, Instant};

use longshore::durable::{Attempt, Beginning, Following, Segment, SegmentStep};

use crate::host::{Host, Shell, step};

/// Processes made on this machine since it was started.
fn processes() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").expect("/proc/stat");
    let line = text.lines().find(|line| line.starts_with("processes ")).expect("processes");
    line.split(' ').nth(1).and_then(|count| count.parse().ok()).expect("count")
}

#[tokio::test]
#[ignore = "a figure: wants a quiet machine"]
async fn a_durable_step_costs_the_host_at_most_15_ms() {
    const STEPS: u32 = 100;
    for shell in Shell::all() {
        let host = Host::new(shell);
        let side = host.side("run-1");
        let lease = side.acquire("anna", "{}", Beginning::First).await.expect("lease");
        for (what, act) in [("silent", "true"), ("printing", "echo hello")] {
            let steps = (0..STEPS as usize)
                .map(|index| SegmentStep::new(Attempt::act(step(index, what), 1), act, Duration::from_secs(20)));
            let segment = Segment { id: what.to_owned(), steps: steps.collect() };
            let mut following = Following::of(&segment);
            let (begin, before) = (Instant::now(), processes());
            let end = side.run_segment(&lease, &segment, &[], &mut following, &mut |_, _| {}).await.expect("segment");
            let (took, made) = (begin.elapsed(), processes() - before);
            assert!(end.is_done(), "{end:?}");
            println!(
                "{shell:?}, {what}: {:.1} ms and {:.1} processes a step, {:.1} ms for the segment",
                took.as_secs_f64() * 1000.0 / f64::from(STEPS),
                f64::from(u32::try_from(made).expect("few")) / f64::from(STEPS),
                took.as_secs_f64() * 1000.0,
            );
            assert!(took / STEPS < Duration::from_millis(15), "{shell:?}, {what}: {:?} a step", took / STEPS);
        }
    }
}
