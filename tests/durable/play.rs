//! A controller for the tests: one host, one lease, and what was told of each attempt.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use longshore::durable::{
    Attempt, AttemptState, Beginning, DurableError, Ending, Following, HostSide, Lease, Segment, SegmentStep, StepEnd,
    StepNews,
};
use longshore::transport::Stream;

use crate::host::{Host, Shell, step};

pub const LIMIT: Duration = Duration::from_secs(20);

pub struct Play {
    pub host: Arc<Host>,
    pub side: HostSide,
    pub lease: Lease,
}

/// What was told of one attempt.
#[derive(Debug, Default)]
pub struct Told {
    pub started: usize,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    pub gaps: usize,
    pub ends: Vec<StepEnd>,
}

pub type Telling = BTreeMap<String, Told>;

impl Play {
    pub async fn on(host: Arc<Host>) -> Self {
        let side = host.side("run-1");
        let lease = side.acquire("anna@laptop", "{}", Beginning::First).await.expect("lease");
        Self { host, side, lease }
    }

    pub async fn begin(shell: Shell) -> Self {
        Self::on(Host::new(shell)).await
    }

    pub async fn run(&self, segment: &Segment) -> (Result<Vec<Ending>, DurableError>, Telling) {
        let mut following = Following::of(segment);
        let mut telling = Telling::new();
        let end = self.side.run_segment(&self.lease, segment, &[], &mut following, &mut listen(&mut telling)).await;
        (end.map(|end| end.endings.into_iter().map(|(_, ending)| ending).collect()), telling)
    }

    /// Runs one program as step `name`, and returns its end.
    pub async fn one(&self, name: &str, act: &str) -> StepEnd {
        let (end, mut telling) = self.run(&segment(name, [(name, act)])).await;
        end.expect("followed");
        telling.remove(&act_of(0, name).to_string()).and_then(|mut told| told.ends.pop()).expect("ended")
    }

    pub async fn state(&self, attempt: &Attempt) -> AttemptState {
        let status = self.side.status(std::slice::from_ref(attempt)).await.expect("status");
        status.attempts[0].state.clone()
    }

    /// Asks until the attempt is in the state wanted.
    pub async fn becomes(&self, attempt: &Attempt, wanted: impl Fn(&AttemptState) -> bool) {
        for _ in 0..500 {
            let state = self.state(attempt).await;
            if wanted(&state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{attempt} is still {:?}", self.state(attempt).await);
    }

    pub async fn is_running(&self, attempt: &Attempt) {
        self.becomes(attempt, |state| matches!(state, AttemptState::Running { .. })).await;
    }
}

/// Keeps what is told, and insists on its order.
pub fn listen(telling: &mut Telling) -> impl FnMut(&Attempt, StepNews<'_>) + Send {
    |attempt, news| {
        let told = telling.entry(attempt.to_string()).or_default();
        assert!(told.ends.is_empty(), "{attempt} was told on after its end");
        match news {
            StepNews::Started => told.started += 1,
            StepNews::Output { stream, offset, bytes } => {
                let kept = if stream == Stream::Out { &mut told.out } else { &mut told.err };
                assert_eq!(offset, kept.len() as u64, "{attempt} skipped or repeated output");
                kept.extend_from_slice(bytes);
            }
            StepNews::Gap { .. } => told.gaps += 1,
            StepNews::Ended(end) => told.ends.push(end),
        }
    }
}

pub fn act_of(index: usize, name: &str) -> Attempt {
    Attempt::act(step(index, name), 1)
}

/// A segment of programs, by name and text.
pub fn segment<'a>(id: &str, programs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Segment {
    let steps = programs
        .into_iter()
        .enumerate()
        .map(|(index, (name, act))| SegmentStep::new(act_of(index, name), act, LIMIT))
        .collect();
    Segment { id: id.to_owned(), steps }
}

/// A segment of one program with a limit.
pub fn limited(id: &str, act: &str, limit: Duration) -> Segment {
    let mut segment = segment(id, [(id, act)]);
    segment.steps[0].limit = limit;
    segment
}

/// Waits until something is so: what is waited for in vain fails a test instead of hanging it.
#[track_caller]
pub fn until(is_so: impl Fn() -> bool) -> impl Future<Output = ()> {
    let (asked, end) = (std::panic::Location::caller(), std::time::Instant::now() + Duration::from_secs(60));
    async move {
        while !is_so() {
            assert!(std::time::Instant::now() < end, "waited in vain at {asked}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
