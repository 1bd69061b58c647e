//! What a host answers: the other half of the durable protocol, web servers, `df`, anything a check asks.

use std::{
    collections::BTreeMap,
    io::Cursor,
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use longshore::{
    durable::{
        Attempt, Beginning, Closing, Ending, Following, HostSide, InstallKey, Lease, Segment, SegmentStep, StepNews,
    },
    model::{Redactor, RunId, StepId},
    steps::{Check, Reach},
    transport::{ByteStream, Capture, Ended, Exec, Output, Peer, Program, Session, Status, Stream, TransportError},
};
use tokio::runtime::{Builder, Runtime};

/// A host that answers everything with the same bytes.
///
/// A line that begins with `@` is an answer of the durable protocol: the question's own mark is put in.
struct Foreign {
    out: Vec<u8>,
    status: u32,
    piece: usize,
    peer: Peer,
}

impl Foreign {
    /// The first byte says in how large pieces the rest comes and how the program ended.
    fn host(data: &[u8]) -> Arc<dyn Session> {
        let (first, out) = data.split_first().map_or((0, data), |(first, out)| (*first, out));
        Arc::new(Self {
            out: out.to_vec(),
            status: if first & 0x80 == 0 { 0 } else { u32::from(first & 7) },
            piece: usize::from(first & 0x7f) + 1,
            peer: Peer::default(),
        })
    }
}

#[async_trait]
impl Session for Foreign {
    async fn run(&self, exec: Exec, output: &mut (dyn Output + '_)) -> Result<Ended, TransportError> {
        let mark = match &exec.program {
            Program::Script(text) => text.strip_prefix("N=").and_then(|text| text.lines().next()).unwrap_or_default(),
            Program::Command(_) => "",
        };
        let mut said = Vec::new();
        for line in self.out.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_prefix(b"@") {
                Some(rest) => said.extend([mark.as_bytes(), b" ", rest].concat()),
                None => said.extend_from_slice(line),
            }
        }
        let mut out = Capture::new(exec.keep);
        for piece in said.chunks(self.piece) {
            output.absorb(Stream::Out, piece);
            out.push(piece);
        }
        let mut err = Capture::new(exec.keep);
        err.push(&self.out);
        Ok(Ended { status: Status::Exited(self.status), out: out.finish(), err: err.finish() })
    }

    async fn open_tcp(&self, _: &str, _: u16) -> Result<Box<dyn ByteStream>, TransportError> {
        Ok(Box::new(tokio::io::join(Cursor::new(self.out.clone()), tokio::io::sink())))
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    async fn close(&self) {}
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Each attempt of a segment ends exactly once or the telling is an error; no answer is believed in part.
pub fn durable(data: &[u8]) {
    let run = RunId::from_text("01hqrun0000000000000000000").expect("a run");
    let side = HostSide::new(Foreign::host(data), run, InstallKey::of(&["fuzz"]));
    let attempts = [Attempt::act(StepId::new(0, "one"), 1), Attempt::act(StepId::new(1, "two"), 1)];
    runtime().block_on(async {
        let _ = side.probe().await.map_err(|error| error.to_string());
        let _ = side.acquire("anna@laptop", "{}", Beginning::First).await.map_err(|error| error.to_string());
        let _ = side.open("anna@laptop", "{}", Beginning::Again).await.map_err(|error| error.to_string());
        let _ = side.unlock().await.map_err(|error| error.to_string());
        if let Ok(status) = side.status(&attempts).await {
            assert_eq!(status.attempts.len(), attempts.len(), "a status for each attempt");
        }
        let _ = side.cancel(&attempts).await.map_err(|error| error.to_string());
        let _ = side.close(&attempts[0], Closing::Done).await.map_err(|error| error.to_string());
        let lease = Lease { token: 1, owner: "anna@laptop".to_owned(), host_id: "h".to_owned() };
        let _ = side.renew(&lease).await.map_err(|error| error.to_string());
        let _ = side.release(&lease).await.map_err(|error| error.to_string());

        let steps = attempts.map(|attempt| SegmentStep::new(attempt, "true", Duration::from_secs(1)));
        let segment = Segment { id: "s1".to_owned(), steps: steps.to_vec() };
        let mut following = Following::of(&segment);
        let (mut started, mut ended) = (Vec::new(), 0);
        let mut on = |attempt: &Attempt, news: StepNews<'_>| match news {
            StepNews::Started => started.push(attempt.clone()),
            StepNews::Ended(end) => {
                ended += 1;
                let believed = !matches!(end.ending, Ending::NotStarted { .. }) || !started.contains(attempt);
                assert!(believed, "{attempt} started and is called not started");
            }
            StepNews::Output { .. } | StepNews::Gap { .. } => {}
        };
        let told = side.run_segment(&lease, &segment, &[], &mut following, &mut on).await;
        let open = following.open().count();
        assert!(started.len() <= 2 && ended == 2 - open, "{started:?} started, {ended} ended, {open} open");
        if let Ok(told) = told {
            assert_eq!((told.endings.len(), ended), (2, 2), "{told:?}");
        }
    });
}

/// Checks whose answers the host makes up: each ends in a verdict, in a line that is fit to be shown.
pub fn checks(data: &[u8]) {
    static CHECKS: LazyLock<Vec<Check>> = LazyLock::new(|| {
        [
            "http = { url = 'http://127.0.0.1/health', json = { status = 'ok', 'a.0.b' = 1 } }",
            "http = { url = 'http://127.0.0.1/', status = '2xx', matches = '^v[0-9.]+$' }",
            "command = { run = 'x', json = { '/a/b' = [1, true, 'x'] } }",
            "command = { run = 'x', jq = '.a | length > 1 and (.b // 0) < 3' }",
            "disk = { path = '/', free = '1GiB', free-percent = 10 }",
            "tcp = { connect = 'localhost:22' }",
        ]
        .iter()
        .map(|text| toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")))
        .collect()
    });
    let session = Foreign::host(data);
    let redactor = Redactor::default();
    let words = BTreeMap::new();
    let reach = Reach {
        session: &session,
        redactor: &redactor,
        run_as: None,
        words: &words,
        local: PathBuf::from("/nonexistent"),
        progress: &|_| {},
    };
    runtime().block_on(async {
        for check in CHECKS.iter() {
            let probed = check.probe(&reach, Duration::from_secs(5)).await;
            assert!(!probed.seen.is_empty(), "{check:?} says nothing");
            super::assert_is_tame(&probed.seen);
            assert!(probed.seen.len() < 4096, "{} bytes seen", probed.seen.len());
        }
    });
}
