//! One probe with a verdict: http, tcp, a command, disk space, an SSH login, a count of restarts, requests in order, a person's answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    CommandCheck, ControllerWork, CopyCheck, DiskCheck, Done, HttpCheck, ManualCheck, Probed, Problem, Reach,
    RestartsCheck, ScenarioCheck, Side, SshCheck, StepError, StepKind, TcpCheck, Template, Undoing, Work,
};
use crate::{
    model::{Effect, Receipt, Span, Verdict},
    transport::{ByteStream, Session, TransportError},
};

/// Longest time of one probe unless it says otherwise.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// One probe: exactly one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Check {
    /// An HTTP request and what its answer must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// A TCP port that must accept connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
    /// A command on the host and what it must say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandCheck>,
    /// Free space that must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskCheck>,
    /// A login over SSH that must work: for products that are SSH servers themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshCheck>,
    /// How often the product was restarted: a count that may not grow during a soak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<RestartsCheck>,
    /// HTTP requests in order, as a user would make them: log in, ask, wait for a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<ScenarioCheck>,
    /// A proven copy of the data that must be there, and young enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyCheck>,
    /// A question to a person; `unverified` until it is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual: Option<ManualCheck>,
}

/// The one probe of a check.
pub(super) enum One<'a> {
    Http(&'a HttpCheck),
    Tcp(&'a TcpCheck),
    Command(&'a CommandCheck),
    Disk(&'a DiskCheck),
    Ssh(&'a SshCheck),
    Restarts(&'a RestartsCheck),
    Scenario(&'a ScenarioCheck),
    Copy(&'a CopyCheck),
    Manual(&'a ManualCheck),
}

impl Check {
    /// Returns the probe; `None` unless there is exactly one.
    pub(super) fn one(&self) -> Option<One<'_>> {
        let mut all = [
            self.http.as_ref().map(One::Http),
            self.tcp.as_ref().map(One::Tcp),
            self.command.as_ref().map(One::Command),
            self.disk.as_ref().map(One::Disk),
            self.ssh.as_ref().map(One::Ssh),
            self.restarts.as_ref().map(One::Restarts),
            self.scenario.as_ref().map(One::Scenario),
            self.copy.as_ref().map(One::Copy),
            self.manual.as_ref().map(One::Manual),
        ]
        .into_iter()
        .flatten();
        all.next().filter(|_| all.next().is_none())
    }

    fn kinds(&self) -> Vec<&'static str> {
        [
            ("http", self.http.is_some()),
            ("tcp", self.tcp.is_some()),
            ("command", self.command.is_some()),
            ("disk", self.disk.is_some()),
            ("ssh", self.ssh.is_some()),
            ("restarts", self.restarts.is_some()),
            ("scenario", self.scenario.is_some()),
            ("copy", self.copy.is_some()),
            ("manual", self.manual.is_some()),
        ]
        .into_iter()
        .filter_map(|(kind, there)| there.then_some(kind))
        .collect()
    }
}

impl StepKind for Check {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        fn below<'a>(
            kind: &'static str,
            visit: &'a mut dyn FnMut(Template, &str, &mut String),
        ) -> impl FnMut(Template, &str, &mut String) + 'a {
            move |template, key, text| visit(template, &format!("{kind}.{key}"), text)
        }
        if let Some(check) = &mut self.http {
            check.templates(&mut below("http", visit));
        }
        if let Some(check) = &mut self.tcp {
            check.templates(&mut below("tcp", visit));
        }
        if let Some(check) = &mut self.command {
            check.templates(&mut below("command", visit));
        }
        if let Some(check) = &mut self.disk {
            check.templates(&mut below("disk", visit));
        }
        if let Some(check) = &mut self.ssh {
            check.templates(&mut below("ssh", visit));
        }
        if let Some(check) = &mut self.restarts {
            check.templates(&mut below("restarts", visit));
        }
        if let Some(check) = &mut self.scenario {
            check.templates(&mut below("scenario", visit));
        }
        if let Some(check) = &mut self.copy {
            check.templates(&mut below("copy", visit));
        }
        if let Some(check) = &mut self.manual {
            check.templates(&mut below("manual", visit));
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self.kinds().as_slice() {
            [] => {
                vec![
                    Problem::new("", "the check has no probe").hint(
                        "add `http`, `tcp`, `command`, `disk`, `ssh`, `restarts`, `scenario`, `copy` or `manual`",
                    ),
                ]
            }
            [_, second, ..] => {
                vec![Problem::new(second, "a check has exactly one probe").hint("write one check for each probe")]
            }
            [kind] => {
                let problems = match self.one() {
                    Some(One::Http(check)) => check.problems(),
                    Some(One::Tcp(check)) => check.problems(),
                    Some(One::Command(check)) => check.problems(),
                    Some(One::Disk(check)) => check.problems(),
                    Some(One::Ssh(check)) => check.problems(),
                    Some(One::Restarts(check)) => check.problems(),
                    Some(One::Scenario(check)) => check.problems(),
                    Some(One::Copy(check)) => check.problems(),
                    Some(One::Manual(check)) => check.problems(),
                    None => Vec::new(),
                };
                problems.into_iter().map(|problem| problem.below(kind)).collect()
            }
        }
    }

    fn summary(&self) -> String {
        match self.one() {
            Some(One::Http(check)) => check.summary(),
            Some(One::Tcp(check)) => check.summary(),
            Some(One::Command(check)) => check.summary(),
            Some(One::Disk(check)) => check.summary(),
            Some(One::Ssh(check)) => check.summary(),
            Some(One::Restarts(check)) => check.summary(),
            Some(One::Scenario(check)) => check.summary(),
            Some(One::Copy(check)) => check.summary(),
            Some(One::Manual(check)) => check.summary(),
            None => "check".to_owned(),
        }
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    fn timeout(&self) -> Duration {
        // The probe's own limit says more than the engine's could, so that it comes first.
        self.longest(LIMIT) + Duration::from_secs(5)
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        Undoing::Nothing
    }

    fn work(&self) -> Work<'_> {
        Work::Controller(self)
    }
}

impl Check {
    /// How long one look may take, with this limit for one answer unless the check has its own.
    pub fn longest(&self, timeout: Duration) -> Duration {
        let own = match self.one() {
            Some(One::Http(check)) => check.timeout,
            Some(One::Ssh(check)) => check.timeout,
            Some(One::Tcp(check)) => check.timeout,
            Some(One::Scenario(check)) => Some(Span(check.longest(timeout))),
            Some(One::Command(_) | One::Disk(_) | One::Restarts(_) | One::Copy(_) | One::Manual(_)) | None => None,
        };
        own.map_or(timeout, |Span(own)| own.max(timeout))
    }

    /// Looks once, for about `timeout` unless the check has a limit of its own. Never an error: what
    /// could not be measured has the verdict `error`.
    pub async fn probe(&self, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let began = Instant::now();
        let mut probed = match self.one() {
            Some(One::Http(check)) => check.probe(reach, timeout).await,
            Some(One::Tcp(check)) => check.probe(reach, timeout).await,
            Some(One::Command(check)) => check.probe(reach, timeout).await,
            Some(One::Disk(check)) => check.probe(reach, timeout).await,
            Some(One::Ssh(check)) => check.probe(reach, timeout).await,
            Some(One::Restarts(check)) => check.probe(reach, timeout).await,
            Some(One::Scenario(check)) => check.probe(reach, timeout).await,
            Some(One::Copy(check)) => check.probe(reach, timeout).await,
            // Whoever has an answer of a person does not ask here.
            Some(One::Manual(_)) => Probed::new(Verdict::Unverified, "nobody has answered"),
            None => Probed::error("the check must have exactly one probe"),
        };
        // A product that goes down with the link to its host was not measured.
        if probed.verdict == Verdict::Fail && reach.session.is_closed() {
            probed.verdict = Verdict::Error;
        }
        probed.seen = reach.redactor.hide(&probed.seen);
        tracing::debug!(verdict = %probed.verdict, seen = probed.seen, took = ?began.elapsed(), "probed");
        probed
    }
}

#[async_trait]
impl ControllerWork for Check {
    async fn look(&self, reach: &Reach<'_>) -> Result<Option<String>, StepError> {
        // Looking is all a check does: what is not as it must be is an error here, too.
        self.act(reach).await.map(|_| None)
    }

    async fn act(&self, reach: &Reach<'_>) -> Result<Done, StepError> {
        let probed = self.probe(reach, LIMIT).await;
        match probed.verdict {
            Verdict::Pass => Ok(Done {
                changed: false,
                receipt: Receipt::default().with("seen", probed.seen.clone()),
                probe: Some(probed),
            }),
            verdict => Err(StepError::Check { what: self.summary(), verdict, seen: probed.seen }),
        }
    }
}

impl Probed {
    pub(super) fn new(verdict: Verdict, seen: impl Into<String>) -> Self {
        Self { verdict, seen: seen.into(), count: None }
    }

    pub(super) fn pass(seen: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, seen)
    }

    pub(super) fn fail(seen: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, seen)
    }

    pub(super) fn error(seen: impl Into<String>) -> Self {
        Self::new(Verdict::Error, seen)
    }

    /// What an error of the transport says about a probe: that nothing answers is a finding, that
    /// nobody could ask is not.
    pub(super) fn from_transport(error: &TransportError) -> Self {
        let verdict = match error {
            TransportError::Connect { .. }
            | TransportError::ConnectTimeout { .. }
            | TransportError::Channel(_)
            | TransportError::TimedOut { .. }
            | TransportError::Idle { .. } => Verdict::Fail,
            _ => Verdict::Error,
        };
        let mut seen = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            seen = format!("{seen}: {error}");
            cause = error.source();
        }
        Self::new(verdict, seen)
    }
}

/// Opens a connection from the host or from the controller.
pub(super) async fn open(
    side: Side,
    session: &Arc<dyn Session>,
    address: &str,
    port: u16,
) -> Result<Box<dyn ByteStream>, TransportError> {
    if side == Side::Host {
        return session.open_tcp(address, port).await;
    }
    match tokio::net::TcpStream::connect((address, port)).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(source) => Err(TransportError::Connect { address: format!("{address}:{port}"), source }),
    }
}

/// A time of an answer as probes say it: `12 ms`, `1.5 s`.
pub(super) fn took(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..10_000 => format!("{millis} ms"),
        millis => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
    }
}

#[cfg(test)]
mod tests;
