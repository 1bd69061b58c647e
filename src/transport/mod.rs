//! Reaching a host: one connection for each host and run, many channels on it.
//!
//! The traits here are what the engine and the steps know. `ssh` reaches hosts over russh, `local`
//! runs commands on the controller itself, `scripted` answers from a table in tests.

pub mod local;
pub mod scripted;
pub mod ssh;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::model::{FailureClass, HostName, RemoteCommand, Secret};

/// Where and how to reach a host: what the inventory says, before `~/.ssh/config` is consulted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub host: HostName,
    pub way: Way,
    /// The user to become for every step that does not say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<Become>,
}

/// The way to a host's shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Way {
    /// Commands run on the controller itself.
    Controller,
    Ssh(SshTarget),
}

/// What the inventory says about an SSH server. What it leaves open, `~/.ssh/config` and defaults fill.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SshTarget {
    /// Name to look up in `~/.ssh/config`, and address to connect to unless that says `HostName`.
    pub address: String,
    pub port: Option<u16>,
    pub user: Option<String>,
    /// Jump hosts in order, each `[user@]address[:port]`. Overrides `ProxyJump`; empty leaves it be.
    pub jump: Vec<String>,
    /// Key files to offer, before those of `~/.ssh/config`.
    pub identity_files: Vec<PathBuf>,
    /// Where the password comes from, when one is needed.
    pub password: Option<crate::model::SecretSource>,
    pub connect_timeout: Option<crate::model::Span>,
    pub host_key_alias: Option<String>,
    pub forward_agent: bool,
    /// How to log in at those jump hosts of which the inventory says it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jump_logins: Vec<JumpLogin>,
}

/// How to log in at a jump host that is a host of the inventory itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JumpLogin {
    /// The jump host as it stands in [`SshTarget::jump`].
    pub jump: String,
    pub identity_files: Vec<PathBuf>,
    pub password: Option<crate::model::SecretSource>,
    pub connect_timeout: Option<crate::model::Span>,
    pub host_key_alias: Option<String>,
}

/// Become another user by `sudo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Become {
    pub user: String,
    /// Where the password for `sudo` comes from, when it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<crate::model::SecretSource>,
}

/// Opens connections. One for a process; it keeps what is shared: configuration, agent, known hosts,
/// jump connections, the limit on openings at once.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Connects and authenticates. Retries what is worth retrying, within `within`.
    async fn connect(&self, target: &Target, within: Duration) -> Result<Arc<dyn Session>, TransportError>;
}

/// A live connection to one host. Dropping the last reference closes it.
#[async_trait]
pub trait Session: Send + Sync {
    /// Runs one program to its end.
    ///
    /// `Ok` means that the host said how it ended. Everything else, a lost link included, is an
    /// error, and the program may still run.
    async fn run(&self, exec: Exec, output: &mut (dyn Output + '_)) -> Result<Ended, TransportError>;

    /// Runs a program whose standard input is `exec.stdin` and then everything `from` yields.
    ///
    /// Made for what is too large for memory. The end of input follows only when all of `from` was
    /// read: if reading fails, the program is cut off. Unless overridden, `from` is read whole first.
    async fn push(&self, from: &mut (dyn AsyncRead + Send + Unpin), mut exec: Exec) -> Result<Ended, TransportError> {
        from.read_to_end(&mut exec.stdin).await.map_err(|source| TransportError::Local { doing: "reading", source })?;
        self.run(exec, &mut ()).await
    }

    /// Runs a program and writes its standard output to `into`, none of it kept in [`Ended`].
    ///
    /// What is written before an error stays written. Unless overridden, the output is held whole first.
    async fn pull(&self, exec: Exec, into: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<Ended, TransportError> {
        let mut held = Vec::new();
        let mut ended = self
            .run(exec, &mut |stream, bytes: &[u8]| {
                if stream == Stream::Out {
                    held.extend_from_slice(bytes);
                }
            })
            .await?;
        let local = |source| TransportError::Local { doing: "writing", source };
        into.write_all(&held).await.map_err(local)?;
        into.flush().await.map_err(local)?;
        ended.out = Captured { total: ended.out.total, ..Captured::default() };
        Ok(ended)
    }

    /// Connects from the host to `address:port`, as the host sees it.
    async fn open_tcp(&self, address: &str, port: u16) -> Result<Box<dyn ByteStream>, TransportError>;

    /// Says whether the connection has been lost.
    fn is_closed(&self) -> bool;

    /// What is known of the other end.
    fn peer(&self) -> &Peer;

    /// Closes the connection in good order. Idempotent.
    async fn close(&self);
}

/// A two-way byte stream: TCP, or a channel through SSH.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// What is known of the host once connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The user logged in as.
    pub user: String,
    pub address: String,
    /// Fingerprint of the host key, as OpenSSH writes it (`SHA256:...`).
    pub host_key: Option<String>,
    /// How authentication was won: `publickey (agent)`, `password`, ...
    pub authenticated_by: String,
}

/// One program to run on a host.
#[derive(Debug, Clone)]
pub struct Exec {
    pub program: Program,
    /// Bytes for its standard input; the end follows. With `Program::Script` they follow the script.
    pub stdin: Vec<u8>,
    /// Variables set by the script on standard input: never in an argument, never in a file.
    pub secrets: Vec<(String, Secret)>,
    /// Run as another user.
    pub run_as: Option<(String, Option<Secret>)>,
    /// Longest time to the end of the program. `None` waits for as long as the caller does.
    pub timeout: Option<Duration>,
    /// Longest silence of the program. `None` allows any.
    pub idle_timeout: Option<Duration>,
    /// How much of each stream is kept: the first and the last half of it, in bytes.
    pub keep: usize,
}

/// Kept of a program's output unless told otherwise: 256 KiB of each stream.
pub const KEEP: usize = 256 * 1024;

impl Exec {
    /// A program given as text for `sh`, sent on standard input, so that nothing of it is in an argument.
    pub fn script(text: impl Into<String>) -> Self {
        Self::new(Program::Script(text.into()))
    }

    /// A command run by the user's login shell, as `ssh host command` would.
    pub fn command(command: RemoteCommand) -> Self {
        Self::new(Program::Command(command))
    }

    fn new(program: Program) -> Self {
        Self {
            program,
            stdin: Vec::new(),
            secrets: Vec::new(),
            run_as: None,
            timeout: None,
            idle_timeout: None,
            keep: KEEP,
        }
    }

    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }
}

/// How a program is handed to the host.
#[derive(Debug, Clone)]
pub enum Program {
    /// Exec of the constant `/bin/sh`; the text goes in on standard input.
    ///
    /// The shell reads its program to the end before it runs any of it, so a command inside that reads
    /// standard input gets `Exec::stdin`, and never a line of the program.
    Script(String),
    /// Exec of these words, quoted.
    Command(RemoteCommand),
}

/// Takes a program's output while it runs. Called in order, from one task.
pub trait Output: Send {
    fn absorb(&mut self, stream: Stream, bytes: &[u8]);
}

/// Takes nothing.
impl Output for () {
    fn absorb(&mut self, _: Stream, _: &[u8]) {}
}

impl<F: FnMut(Stream, &[u8]) + Send> Output for F {
    fn absorb(&mut self, stream: Stream, bytes: &[u8]) {
        self(stream, bytes);
    }
}

/// Which stream a byte came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    Out,
    Err,
}

/// How a program ended, as the host said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub status: Status,
    pub out: Captured,
    pub err: Captured,
}

impl Ended {
    pub fn is_success(&self) -> bool {
        self.status == Status::Exited(0)
    }
}

/// The exit status, or the signal that ended the program: two different things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Exited(u32),
    /// Name without `SIG`, as SSH sends it: `KILL`, `TERM`.
    Signaled(String),
}

impl Status {
    /// Whether a signal ended it, told by its name or, as shells do, by its number above 128.
    pub fn is_kill(&self) -> bool {
        match self {
            Self::Exited(code) => (129..160).contains(code),
            Self::Signaled(_) => true,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "status {code}"),
            Self::Signaled(name) => write!(f, "signal {name}"),
        }
    }
}

/// What was kept of a stream: bounded whatever the program printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The first bytes.
    pub head: Vec<u8>,
    /// The last bytes, where not all were kept.
    pub tail: Vec<u8>,
    /// Bytes printed in all.
    pub total: u64,
}

impl Captured {
    /// Returns all that was kept; a gap is not marked.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), self.tail.as_slice()].concat()
    }

    /// Returns the kept text, invalid UTF-8 replaced; a gap is not marked.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    pub fn is_complete(&self) -> bool {
        self.total == (self.head.len() + self.tail.len()) as u64
    }
}

/// Collects a stream into a [`Captured`] of at most `keep` bytes.
#[derive(Debug)]
pub struct Capture {
    captured: Captured,
    tail: std::collections::VecDeque<u8>,
    half: usize,
}

impl Capture {
    pub fn new(keep: usize) -> Self {
        Self { captured: Captured::default(), tail: std::collections::VecDeque::new(), half: keep / 2 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.captured.total += bytes.len() as u64;
        let room = self.half - self.captured.head.len();
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        self.captured.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        let excess = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    pub fn finish(mut self) -> Captured {
        self.captured.tail = self.tail.into();
        self.captured
    }
}

/// Why a host could not be reached, or a program's end is not known.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("no connection to {address}")]
    Connect {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{what} took longer than {}", shown(*limit))]
    ConnectTimeout { what: String, limit: Duration },
    #[error("the SSH handshake with {address} failed")]
    Handshake {
        address: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the host key of {address} is not known ({algorithm} {fingerprint})")]
    HostKeyUnknown { address: String, algorithm: String, fingerprint: String },
    #[error("the host key of {address} has changed: {seen} was offered, {known} is known from {place}")]
    HostKeyChanged { address: String, known: String, seen: String, place: String },
    #[error("the host key of {address} is revoked ({fingerprint}, {place})")]
    HostKeyRevoked { address: String, fingerprint: String, place: String },
    #[error("{address} refused user `{user}`; tried: {tried}")]
    Authentication { address: String, user: String, tried: String },
    #[error("cannot become `{user}`: {reason}")]
    Become { user: String, reason: String },
    #[error("the link to the host was lost")]
    LinkLost {
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The channel closed with neither an exit status nor a signal.
    #[error("the host did not say how the program ended")]
    NoStatus,
    #[error("the host refused to open a channel: {0}")]
    Channel(String),
    /// The host answered with something else: a forced command, an account without a shell.
    #[error("the host did not run the program: it ended with {status}{}", quoted(.said))]
    NotRun { status: Status, said: String },
    #[error("the program did not end within {}", shown(*limit))]
    TimedOut { limit: Duration },
    #[error("the program said nothing for {}", shown(*limit))]
    Idle { limit: Duration },
    #[error("cannot start `{program}` on the controller")]
    Spawn {
        program: String,
        #[source]
        source: std::io::Error,
    },
    /// The controller's own end of a stream failed.
    #[error("{doing} the controller's end of the stream failed")]
    Local {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Configuration(String),
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" and said `{text}`") }
}

/// A limit in whole seconds, where it is what was left of one.
fn shown(limit: Duration) -> crate::model::Span {
    let seconds = (limit.as_millis() + 500) / 1000;
    crate::model::Span(if seconds == 0 {
        limit
    } else {
        Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
    })
}

impl TransportError {
    /// The class of the failure: what budgets and exit codes go by.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Handshake { .. } | Self::LinkLost { .. } => {
                FailureClass::Unreachable
            }
            // Killed before it could say a word: as if the link had been cut then. The account is not to blame.
            Self::NotRun { status, .. } if status.is_kill() => FailureClass::Unreachable,
            Self::HostKeyUnknown { .. } => FailureClass::HostKeyUnknown,
            Self::HostKeyChanged { .. } | Self::HostKeyRevoked { .. } => FailureClass::HostKeyChanged,
            Self::Authentication { .. } => FailureClass::Authentication,
            Self::Become { .. } => FailureClass::Become,
            Self::NoStatus => FailureClass::Unknown,
            Self::Channel(_) | Self::NotRun { .. } | Self::Spawn { .. } => FailureClass::Step,
            Self::Local { .. } => FailureClass::Controller,
            Self::TimedOut { .. } | Self::Idle { .. } => FailureClass::TimedOut,
            Self::Configuration(_) => FailureClass::Input,
        }
    }

    /// What to change or type next, where it can be said.
    pub fn hint(&self, host: &HostName) -> Option<String> {
        match self {
            Self::HostKeyUnknown { .. } => {
                Some(format!("`longshore trust {host}` shows the key; compare it with the host's own, then confirm"))
            }
            Self::HostKeyChanged { place, .. } => Some(format!(
                "if the host was reinstalled, remove the old key from {place} and run `longshore trust {host}`; \
                 if not, somebody may be in between: do not go on"
            )),
            Self::HostKeyRevoked { place, .. } => Some(format!("the key stands as @revoked in {place}")),
            Self::Authentication { user, .. } => Some(format!(
                "check `user` (now `{user}`) and `identity-files` of `{host}` in the inventory, or `ssh-add`"
            )),
            Self::Become { .. } => {
                Some("set `become.password` in the inventory, or allow the user in sudoers".to_owned())
            }
            Self::Connect { .. } | Self::ConnectTimeout { .. } => {
                Some(format!("check `address` and `port` of `{host}`, and that it is up"))
            }
            Self::NotRun { status, .. } if status.is_kill() => {
                Some(format!("something on `{host}` killed the login before it began: no memory left, or a logout?"))
            }
            Self::NotRun { .. } => Some(format!(
                "`{host}` needs an account with a POSIX shell and no forced command; see `command=` in authorized_keys"
            )),
            _ => None,
        }
    }

    /// Whether the program may have run, or still run, although this error came back.
    pub fn leaves_doubt(&self) -> bool {
        matches!(
            self,
            Self::LinkLost { .. } | Self::NoStatus | Self::TimedOut { .. } | Self::Idle { .. } | Self::Local { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r15_a_login_killed_before_it_began_is_no_fault_of_the_account() {
        let not_run = |status| TransportError::NotRun { status, said: String::new() };
        assert_eq!(not_run(Status::Signaled("KILL".to_owned())).class(), FailureClass::Unreachable);
        assert_eq!(not_run(Status::Exited(137)).class(), FailureClass::Unreachable);
        assert_eq!(not_run(Status::Exited(1)).class(), FailureClass::Step);
    }

    #[test]
    fn a_capture_keeps_both_ends_and_counts_the_rest() {
        let mut capture = Capture::new(8);
        for chunk in [b"ab".as_slice(), b"cdefg", b"", b"hijklmnop", b"q"] {
            capture.push(chunk);
        }
        let captured = capture.finish();
        assert_eq!(
            (captured.head.as_slice(), captured.tail.as_slice(), captured.total),
            (b"abcd".as_slice(), b"nopq".as_slice(), 17)
        );
        assert!(!captured.is_complete());
        let mut capture = Capture::new(8);
        capture.push(b"abcdef");
        let captured = capture.finish();
        assert_eq!(captured.bytes(), b"abcdef");
        assert!(captured.is_complete());
    }
}
