//! One command on many hosts, ad hoc: no lease, no steps, no undo.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use indexmap::IndexMap;
use tokio::time::Instant;

use super::{
    EngineError, Means, Stop,
    host::{outcome_unreached, since},
    link::{Link, LinkError, to_failure},
};
use crate::{
    event::{Happening, HostLine, RecordError, WaveLine},
    model::{ExitCode, Failure, FailureClass, HostName, HostOutcome, RemoteCommand, clean},
    plan::HostPlan,
    steps::Progress,
    transport::{Captured, Exec, Status, Stream, TransportError},
};

/// A command for many hosts.
pub struct AdHoc {
    pub command: RemoteCommand,
    /// Run the words as one text for `sh`, not as a command and its arguments.
    pub shell: bool,
    pub hosts: IndexMap<HostName, HostPlan>,
    pub at_once: usize,
    pub timeout: Option<Duration>,
    pub stdin: Vec<u8>,
}

/// Runs the command on all hosts, at most `at_once` together.
pub async fn exec(ad_hoc: Arc<AdHoc>, means: Means) -> Result<ExitCode, EngineError> {
    let names: Vec<_> = ad_hoc.hosts.keys().cloned().collect();
    let hosts = ad_hoc
        .hosts
        .iter()
        .map(|(name, of)| (name.clone(), HostLine { profile: of.profile.clone(), ..HostLine::default() }));
    let started = Happening::RunStarted {
        title: ad_hoc.command.to_string(),
        acknowledged: Vec::new(),
        plan_digest: String::new(),
        purpose: "exec".to_owned(),
        waves: vec![WaveLine { name: "all".to_owned(), hosts: names.clone() }],
        hosts: hosts.collect(),
        rolls_back: None,
        looks_at: None,
    };
    means.recorder.record(None, started).await?;
    means.recorder.record(None, Happening::WaveStarted { wave: 0, name: "all".to_owned() }).await?;
    let mut ends = stream::iter(names)
        .map(|host| {
            let (ad_hoc, means) = (Arc::clone(&ad_hoc), means.clone());
            async move { on_host(&ad_hoc, &host, &means).await }
        })
        .buffer_unordered(means.at_once(ad_hoc.at_once));
    let mut codes = Vec::new();
    while let Some(outcome) = ends.next().await {
        codes.push(outcome?.exit_code());
    }
    means.recorder.record(None, Happening::WaveFinished { wave: 0 }).await?;
    if means.control.stop_now() > Stop::No {
        codes.push(ExitCode::Interrupted);
        means.recorder.record(None, Happening::Interrupted { detached: false, by: None, reason: None }).await?;
    }
    let exit = ExitCode::most_telling(codes);
    means.recorder.record(None, Happening::RunFinished { exit }).await?;
    Ok(exit)
}

async fn on_host(ad_hoc: &AdHoc, host: &HostName, means: &Means) -> Result<HostOutcome, RecordError> {
    let begun = Instant::now();
    let (outcome, failure) = if means.control.stop_now() > Stop::No {
        (HostOutcome::NotStarted, None)
    } else {
        means.recorder.record(Some(host), Happening::HostStarted { wave: 0 }).await?;
        tokio::select! {
            ended = run(ad_hoc, host, means) => ended?,
            () = means.control.asked_for(Stop::Drain) => {
                let failure = Failure::new(FailureClass::Unknown, "stopped by a person; the command may go on on the host");
                (HostOutcome::Interrupted, Some(failure))
            }
        }
    };
    if outcome != HostOutcome::NotStarted {
        let what = Happening::HostFinished { outcome, failure, before: None, after: None, took: since(begun) };
        means.recorder.record(Some(host), what).await?;
    }
    Ok(outcome)
}

async fn run(ad_hoc: &AdHoc, host: &HostName, means: &Means) -> Result<(HostOutcome, Option<Failure>), RecordError> {
    let begun = Instant::now();
    let of = &ad_hoc.hosts[host];
    let mut link = match Link::open(host, of, means).await {
        Ok(link) => link,
        Err(LinkError::Failed(failure)) => return Ok((outcome_unreached(&failure), Some(failure))),
        Err(LinkError::Ledger(error)) => return Err(error),
    };
    let run_as = link.run_as(of.target.run_as.as_ref().map(|run_as| run_as.user.as_str()));
    let mut exec = if ad_hoc.shell || run_as.is_some() {
        let text = if ad_hoc.shell { ad_hoc.command.words().join(" ") } else { ad_hoc.command.to_shell() };
        Exec::script(text)
    } else {
        Exec::command(ad_hoc.command.clone())
    };
    exec.stdin.clone_from(&ad_hoc.stdin);
    exec.timeout = ad_hoc.timeout;
    exec.run_as = run_as;
    let session = match link.session().await {
        Ok(session) => session,
        Err(LinkError::Failed(failure)) => return Ok((outcome_unreached(&failure), Some(failure))),
        Err(LinkError::Ledger(error)) => return Err(error),
    };
    let mut lines = |_: Stream, bytes: &[u8]| {
        let text = clean(bytes);
        if let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) {
            (means.progress)(host, Progress::Line(line.to_owned()));
        }
    };
    let ended = session.run(exec, &mut lines).await;
    let end = match ended {
        Ok(ended) => {
            let (status, signal) = match &ended.status {
                Status::Exited(code) => (Some(*code), None),
                Status::Signaled(name) => (None, Some(name.clone())),
            };
            let good = ended.is_success();
            let failure =
                (!good).then(|| Failure::new(FailureClass::Step, format!("the command ended with {}", ended.status)));
            let what = Happening::CommandFinished {
                status,
                signal,
                out: shown(&ended.out),
                err: shown(&ended.err),
                total: ended.out.total + ended.err.total,
                left_out: left_out(&ended.out) + left_out(&ended.err),
                took: since(begun),
            };
            means.recorder.record(Some(host), what).await?;
            (if good { HostOutcome::Done } else { HostOutcome::Failed }, failure)
        }
        Err(error) => {
            // A link that goes in the middle says nothing of how the command ended, or whether it has.
            let in_the_dark = matches!(error, TransportError::LinkLost { .. } | TransportError::NoStatus);
            let failure = to_failure(&error, host);
            let outcome = if in_the_dark { HostOutcome::Unknown } else { outcome_unreached(&failure) };
            let failure =
                if error.leaves_doubt() { failure.because("the command may still run on the host") } else { failure };
            (outcome, Some(failure))
        }
    };
    link.close().await;
    Ok(end)
}

/// The kept output as text, with a note where some of it is missing.
fn shown(captured: &Captured) -> String {
    if captured.is_complete() {
        return clean(&captured.bytes());
    }
    let missing = left_out(captured);
    format!("{}\n[... {missing} bytes left out ...]\n{}", clean(&captured.head), clean(&captured.tail))
}

/// Bytes of a stream that were not kept.
fn left_out(captured: &Captured) -> u64 {
    captured.total - (captured.head.len() + captured.tail.len()) as u64
}
