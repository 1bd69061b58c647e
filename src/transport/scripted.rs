//! Answers from a table, for tests: no network, no processes, and time only as far as the clock is let go.
//!
//! ```
//! # use longshore::transport::scripted::{Answer, ScriptedTransport};
//! let transport = ScriptedTransport::new()
//!     .refuses("web-3")
//!     .answer(Answer::to("docker pull").on("web-2").status(1).err("manifest unknown\n"))
//!     .answer(Answer::to("docker ps").out("app\n"));
//! ```

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    ByteStream, Capture, Ended, Exec, Output, Peer, Program, Session, Status, Stream, Target, Transport, TransportError,
};
use crate::model::HostName;

/// One thing that was asked of a host, in the order in which all were asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub host: String,
    pub request: Request,
}

/// What was asked of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Connect,
    /// A program: the text of a script, or a command as a shell would read it.
    Run {
        text: String,
        /// The names alone; values are not kept.
        secrets: Vec<String>,
        run_as: Option<String>,
        stdin: Vec<u8>,
    },
    Tcp {
        address: String,
        port: u16,
    },
    Close,
}

impl Request {
    /// The text of a program; empty for anything else.
    pub fn text(&self) -> &str {
        match self {
            Self::Run { text, .. } => text,
            Self::Connect | Self::Tcp { .. } | Self::Close => "",
        }
    }
}

type Failing = Arc<dyn Fn() -> TransportError + Send + Sync>;
type Speaking = Arc<dyn Fn(&Exec) -> (u32, String) + Send + Sync>;

#[derive(Clone)]
enum Reply {
    Ends {
        status: Status,
        out: Vec<u8>,
        err: Vec<u8>,
    },
    Computes(Speaking),
    Fails(Failing),
    /// Never, unless the program has a time limit.
    Hangs,
}

/// A row of the table: which programs it answers, and how.
#[derive(Clone)]
pub struct Answer {
    host: Option<String>,
    matches: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    reply: Reply,
    times: Option<usize>,
    after: Duration,
}

impl Answer {
    /// Answers every program whose text contains `part`; good, and without output, until said otherwise.
    pub fn to(part: &str) -> Self {
        let part = part.to_owned();
        Self::where_text(move |text| text.contains(&part))
    }

    /// Answers every program.
    pub fn to_all() -> Self {
        Self::where_text(|_| true)
    }

    /// Answers every program whose text satisfies `matches`.
    pub fn where_text(matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self {
            host: None,
            matches: Arc::new(matches),
            reply: Reply::Ends { status: Status::Exited(0), out: Vec::new(), err: Vec::new() },
            times: None,
            after: Duration::ZERO,
        }
    }

    /// Only on this host.
    #[must_use]
    pub fn on(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Only so many times; the rows below answer afterwards.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Only after this time, as the clock of the test goes.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = delay;
        self
    }

    #[must_use]
    pub fn status(mut self, code: u32) -> Self {
        *self.ends().0 = Status::Exited(code);
        self
    }

    /// Ended by this signal: `KILL`.
    #[must_use]
    pub fn signal(mut self, name: &str) -> Self {
        *self.ends().0 = Status::Signaled(name.to_owned());
        self
    }

    #[must_use]
    pub fn out(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        *self.ends().1 = bytes.into();
        self
    }

    #[must_use]
    pub fn err(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        *self.ends().2 = bytes.into();
        self
    }

    /// Exit status and output made from what was sent.
    #[must_use]
    pub fn computed(mut self, answer: impl Fn(&Exec) -> (u32, String) + Send + Sync + 'static) -> Self {
        self.reply = Reply::Computes(Arc::new(answer));
        self
    }

    /// No end is known: the link, or anything else below the program, failed.
    #[must_use]
    pub fn fails(mut self, error: impl Fn() -> TransportError + Send + Sync + 'static) -> Self {
        self.reply = Reply::Fails(Arc::new(error));
        self
    }

    /// Never ends by itself: up to its time limit, or for ever.
    #[must_use]
    pub fn hangs(mut self) -> Self {
        self.reply = Reply::Hangs;
        self
    }

    fn ends(&mut self) -> (&mut Status, &mut Vec<u8>, &mut Vec<u8>) {
        if !matches!(self.reply, Reply::Ends { .. }) {
            self.reply = Reply::Ends { status: Status::Exited(0), out: Vec::new(), err: Vec::new() };
        }
        match &mut self.reply {
            Reply::Ends { status, out, err } => (status, out, err),
            Reply::Computes(_) | Reply::Fails(_) | Reply::Hangs => unreachable!("made so above"),
        }
    }
}

/// A service that hosts can reach: what it says to whoever connects and has spoken.
#[derive(Debug, Clone)]
struct Service {
    host: Option<String>,
    port: u16,
    says: Vec<u8>,
}

#[derive(Default)]
struct Table {
    refusals: Vec<(String, Failing, Option<usize>)>,
    answers: Vec<Answer>,
    services: Vec<Service>,
    is_strict: bool,
    sent: Vec<Sent>,
}

/// Hosts that answer from a table. Clones share it, and what was sent.
#[derive(Clone, Default)]
pub struct ScriptedTransport(Arc<Mutex<Table>>);

impl ScriptedTransport {
    /// Makes hosts that can all be reached, and where every program ends well and says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row below those that are there. The first that fits answers.
    #[must_use]
    pub fn answer(self, answer: Answer) -> Self {
        self.table().answers.push(answer);
        self
    }

    /// Makes connecting to a host fail as if nothing listened there.
    #[must_use]
    pub fn refuses(self, host: &str) -> Self {
        let address = host.to_owned();
        self.refuses_with(host, None, move || TransportError::Connect {
            address: address.clone(),
            source: io::ErrorKind::ConnectionRefused.into(),
        })
    }

    /// Makes connecting to a host fail with this error: the first `times`, or always.
    #[must_use]
    pub fn refuses_with(
        self,
        host: &str,
        times: Option<usize>,
        error: impl Fn() -> TransportError + Send + Sync + 'static,
    ) -> Self {
        self.table().refusals.push((host.to_owned(), Arc::new(error), times));
        self
    }

    /// Lets something listen on a port of a host (of all, for `None`): it says `says` once it was spoken to, and closes.
    #[must_use]
    pub fn serves(self, host: Option<&str>, port: u16, says: impl Into<Vec<u8>>) -> Self {
        self.table().services.push(Service { host: host.map(str::to_owned), port, says: says.into() });
        self
    }

    /// Makes a program that no row answers an error instead of a success.
    #[must_use]
    pub fn strict(self) -> Self {
        self.table().is_strict = true;
        self
    }

    /// Everything that was asked so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.table().sent.clone()
    }

    /// The texts of the programs that were sent to a host so far.
    pub fn texts(&self, host: &str) -> Vec<String> {
        self.table()
            .sent
            .iter()
            .filter(|sent| sent.host == host && matches!(sent.request, Request::Run { .. }))
            .map(|sent| sent.request.text().to_owned())
            .collect()
    }

    /// Opens a session to a host without a target.
    pub fn session(&self, host: &HostName) -> Arc<dyn Session> {
        let peer = Peer {
            user: "tester".to_owned(),
            address: host.to_string(),
            host_key: None,
            authenticated_by: "nothing".to_owned(),
        };
        Arc::new(ScriptedSession { host: host.to_string(), table: self.clone(), peer, is_closed: Mutex::new(false) })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, host: &str, request: Request) {
        self.table().sent.push(Sent { host: host.to_owned(), request });
    }

    /// Takes the answer to a program; `None` where no row fits.
    fn take(&self, host: &str, text: &str) -> Option<Answer> {
        let mut table = self.table();
        let answer = table.answers.iter_mut().find(|answer| {
            answer.times != Some(0) && answer.host.as_deref().is_none_or(|name| name == host) && (answer.matches)(text)
        })?;
        if let Some(times) = &mut answer.times {
            *times -= 1;
        }
        Some(answer.clone())
    }
}

#[async_trait]
impl Transport for ScriptedTransport {
    async fn connect(&self, target: &Target, _: Duration) -> Result<Arc<dyn Session>, TransportError> {
        self.note(target.host.as_str(), Request::Connect);
        let mut table = self.table();
        let refusal =
            table.refusals.iter_mut().find(|(host, _, times)| host == target.host.as_str() && *times != Some(0));
        if let Some((_, error, times)) = refusal {
            if let Some(times) = times {
                *times -= 1;
            }
            return Err(error());
        }
        drop(table);
        Ok(self.session(&target.host))
    }
}

struct ScriptedSession {
    host: String,
    table: ScriptedTransport,
    peer: Peer,
    is_closed: Mutex<bool>,
}

#[async_trait]
impl Session for ScriptedSession {
    async fn run(&self, exec: Exec, output: &mut (dyn Output + '_)) -> Result<Ended, TransportError> {
        let text = match &exec.program {
            Program::Script(text) => text.clone(),
            Program::Command(command) => command.to_shell(),
        };
        self.table.note(
            &self.host,
            Request::Run {
                text: text.clone(),
                secrets: exec.secrets.iter().map(|(name, _)| name.clone()).collect(),
                run_as: exec.run_as.as_ref().map(|(user, _)| user.clone()),
                stdin: exec.stdin.clone(),
            },
        );
        if self.is_closed() {
            return Err(TransportError::LinkLost { source: None });
        }
        let answer = match self.table.take(&self.host, &text) {
            Some(answer) => answer,
            None if self.table.table().is_strict => {
                return Err(TransportError::Configuration(format!("nothing answers on `{}`: {text}", self.host)));
            }
            None => Answer::to_all(),
        };
        let limit = exec.timeout.unwrap_or(Duration::MAX);
        let delay = if matches!(answer.reply, Reply::Hangs) { Duration::MAX } else { answer.after };
        if delay >= limit {
            match exec.timeout {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
            return Err(TransportError::TimedOut { limit });
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let (status, out, err) = match answer.reply {
            Reply::Ends { status, out, err } => (status, out, err),
            Reply::Computes(answer) => {
                let (code, out) = answer(&exec);
                (Status::Exited(code), out.into_bytes(), Vec::new())
            }
            Reply::Fails(error) => {
                let error = error();
                if matches!(error, TransportError::LinkLost { .. }) {
                    self.lose();
                }
                return Err(error);
            }
            Reply::Hangs => return std::future::pending().await,
        };
        let mut captures = [Capture::new(exec.keep), Capture::new(exec.keep)];
        for (capture, stream, bytes) in [(0, Stream::Out, &out), (1, Stream::Err, &err)] {
            if !bytes.is_empty() {
                captures[capture].push(bytes);
                output.absorb(stream, bytes);
            }
        }
        let [out, err] = captures.map(Capture::finish);
        Ok(Ended { status, out, err })
    }

    async fn open_tcp(&self, address: &str, port: u16) -> Result<Box<dyn ByteStream>, TransportError> {
        self.table.note(&self.host, Request::Tcp { address: address.to_owned(), port });
        let service = self
            .table
            .table()
            .services
            .iter()
            .find(|service| service.port == port && service.host.as_deref().is_none_or(|host| host == self.host))
            .cloned();
        let Some(service) = service else {
            let source = io::ErrorKind::ConnectionRefused.into();
            return Err(TransportError::Connect { address: format!("{address}:{port}"), source });
        };
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let mut heard = [0; 4096];
            // Whatever was said: the answer is the same. An end without a word is a probe of the port alone.
            if theirs.read(&mut heard).await.is_ok_and(|length| length > 0) {
                let _ = theirs.write_all(&service.says).await;
            }
        });
        Ok(Box::new(ours))
    }

    fn is_closed(&self) -> bool {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    async fn close(&self) {
        self.table.note(&self.host, Request::Close);
        self.lose();
    }
}

impl ScriptedSession {
    fn lose(&self) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        name.parse().expect("a name")
    }

    fn target(name: &str) -> Target {
        Target { host: host(name), way: crate::transport::Way::Controller, run_as: None }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_row_that_fits_answers() {
        let transport = ScriptedTransport::new()
            .answer(Answer::to("pull").on("web-2").status(1).err("no such tag\n"))
            .answer(Answer::to("pull").times(1).out("first\n"))
            .answer(Answer::to("pull").out("again\n").after(Duration::from_mins(1)));
        let (one, two) = (transport.session(&host("web-1")), transport.session(&host("web-2")));
        let failed = two.run(Exec::script("docker pull x"), &mut ()).await.expect("it ends");
        assert_eq!((failed.status, failed.err.text()), (Status::Exited(1), "no such tag\n".to_owned()));
        let began = tokio::time::Instant::now();
        for expected in ["first\n", "again\n"] {
            let ended = one.run(Exec::script("docker pull x"), &mut ()).await.expect("it ends");
            assert_eq!(ended.out.text(), expected);
        }
        assert_eq!(began.elapsed(), Duration::from_mins(1));
        assert!(one.run(Exec::script("docker ps"), &mut ()).await.expect("it ends").is_success());
        assert_eq!(transport.texts("web-1"), ["docker pull x", "docker pull x", "docker ps"]);
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_refuse_hang_and_lose_their_link() {
        let transport = ScriptedTransport::new()
            .refuses("web-1")
            .answer(Answer::to("hang").hangs())
            .answer(Answer::to("cut").fails(|| TransportError::LinkLost { source: None }))
            .strict();
        let second = Duration::from_secs(1);
        assert!(matches!(
            transport.connect(&target("web-1"), second).await.map(|_| ()),
            Err(TransportError::Connect { .. })
        ));
        let session = transport.connect(&target("web-2"), second).await.expect("reachable");
        let result = session.run(Exec::script("hang").timeout(second), &mut ()).await;
        assert!(matches!(result, Err(TransportError::TimedOut { .. })), "{result:?}");
        let result = session.run(Exec::script("never heard of"), &mut ()).await;
        assert!(matches!(result, Err(TransportError::Configuration(_))), "{result:?}");
        let result = session.run(Exec::script("cut"), &mut ()).await;
        assert!(matches!(result, Err(TransportError::LinkLost { .. })), "{result:?}");
        assert!(session.is_closed());
    }
}
