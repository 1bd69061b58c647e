//! Reaching hosts over SSH, by russh: every russh type stays inside this module.
//!
//! `route` decides the way from the inventory and `~/.ssh/config`; `connect` goes it, hop by hop, with
//! `host_key` judging and `auth` logging in; `session` runs programs on what was reached.

mod auth;
mod channel;
mod client;
pub mod config;
mod connect;
mod host_key;
mod identity;
mod jump;
mod keyring;
pub mod known_hosts;
pub mod login;
mod patience;
mod pattern;
mod proxy_command;
mod route;
mod run;
mod script;
mod session;
mod sudo;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use russh::keys::PublicKey;

use self::{connect::Switchboard, known_hosts::HostId, patience::Patience, route::Route, session::SshSession};
use super::{Session, SshTarget, Target, Transport, TransportError, Way};
use crate::model::{Secret, SecretSource};

/// Opens SSH connections. Cheap to clone: clones share jump connections, keys and limits.
#[derive(Clone)]
pub struct SshTransport {
    switchboard: Arc<Switchboard>,
}

/// Everything the transport would otherwise read from its surroundings.
#[derive(Clone)]
pub struct SshOptions {
    pub resolver: Arc<config::Resolver>,
    /// The project's own `known_hosts`, asked before the user's and the system's.
    pub known_hosts: Option<PathBuf>,
    pub prompter: Arc<dyn Prompter>,
    /// Turns a reference into its value. May block: it is called where that does no harm.
    pub secrets: SecretReader,
    /// Socket of the agent (`SSH_AUTH_SOCK`), unless `~/.ssh/config` names another.
    pub agent: Option<PathBuf>,
    /// Asked about keys that are not known. `None` refuses them.
    pub trust: Option<Arc<dyn TrustRecorder>>,
    pub limits: Limits,
    /// The clock that says whether a host's certificate is still valid.
    pub now: fn() -> SystemTime,
}

impl SshOptions {
    /// Options that ask nobody, know no secret and trust no unknown key.
    pub fn new(resolver: config::Resolver) -> Self {
        Self {
            resolver: Arc::new(resolver),
            known_hosts: None,
            prompter: Arc::new(NoPrompter),
            secrets: Arc::new(|_| Err("no secrets can be read here".to_owned())),
            agent: None,
            trust: None,
            limits: Limits::default(),
            #[expect(
                clippy::disallowed_methods,
                reason = "certificates expire by the real clock; tests bring another"
            )]
            now: SystemTime::now,
        }
    }
}

/// Turns a reference to a secret into its value, or says why it cannot.
pub type SecretReader = Arc<dyn Fn(&SecretSource) -> Result<Secret, String> + Send + Sync>;

/// Limits on connecting, each for one phase of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections opening at once, in all and to one address. sshd drops the eleventh (`MaxStartups`).
    pub opening: usize,
    pub opening_per_address: usize,
    /// To the end of the TCP connection, unless `ConnectTimeout` says otherwise.
    pub tcp: Duration,
    /// From the first byte to the end of the key exchange, unless `ConnectTimeout` says otherwise.
    pub handshake: Duration,
    /// For the answer to one offer of a key or password.
    pub authentication: Duration,
    pub channel_open: Duration,
    pub keepalive_interval: Duration,
    pub keepalive_count: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            opening: 64,
            opening_per_address: 8,
            tcp: Duration::from_secs(15),
            handshake: Duration::from_secs(20),
            authentication: Duration::from_secs(45),
            channel_open: Duration::from_secs(20),
            keepalive_interval: Duration::from_secs(10),
            keepalive_count: 3,
        }
    }
}

/// Asks a person. Every question is put once and its answer remembered for the process.
///
/// `None` means that there is nobody to ask, or that they declined.
#[async_trait]
pub trait Prompter: Send + Sync {
    /// Asks for the passphrase of a key file; `again` when the last answer did not fit.
    async fn passphrase(&self, key: &Path, again: bool) -> Option<Secret>;

    /// Asks for a user's password; `again` when the last answer was refused.
    async fn password(&self, user: &str, address: &str, again: bool) -> Option<Secret>;

    /// Puts a host's own questions (keyboard-interactive) and returns as many answers.
    async fn answers(&self, questions: &Questions) -> Option<Vec<Secret>>;
}

/// What a host asks in keyboard-interactive authentication. Texts are the host's: clean before showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Questions {
    pub user: String,
    pub address: String,
    pub name: String,
    pub instructions: String,
    pub prompts: Vec<Question>,
}

/// One question, and whether the answer may be seen while it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub prompt: String,
    pub echo: bool,
}

/// Stands in where there is no terminal.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrompter;

#[async_trait]
impl Prompter for NoPrompter {
    async fn passphrase(&self, _: &Path, _: bool) -> Option<Secret> {
        None
    }

    async fn password(&self, _: &str, _: &str, _: bool) -> Option<Secret> {
        None
    }

    async fn answers(&self, _: &Questions) -> Option<Vec<Secret>> {
        None
    }
}

/// Decides about host keys that are not known. Changed and revoked keys are never put to it.
pub trait TrustRecorder: Send + Sync {
    /// Whether to go on; if so, the recorder has written the key down.
    fn accepts(&self, key: &OfferedKey) -> bool;
}

/// A key that a server proved to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKey {
    pub address: String,
    pub algorithm: String,
    /// As OpenSSH writes it: `SHA256:...`.
    pub fingerprint: String,
    pub key: PublicKey,
    /// What it is to be filed under in `known_hosts`.
    pub id: HostId,
    /// Whether it is the key of a jump host on the way, not of the host asked for.
    pub is_jump: bool,
}

impl SshTransport {
    pub fn new(options: SshOptions) -> Self {
        Self { switchboard: Arc::new(Switchboard::new(options)) }
    }

    /// Learns the host key of `target` without logging in there.
    ///
    /// Where a jump host on the way is itself unknown, its key comes back instead (`is_jump`): trust it,
    /// then ask again. Jump hosts that are known are logged in to.
    pub async fn probe_host_key(&self, target: &Target, within: Duration) -> Result<OfferedKey, TransportError> {
        let ssh = ssh_target(target)?;
        let route = self.route(ssh).await?;
        let patience = Patience::new(self.switchboard.pauses(), within);
        for index in 0..route.hops.len() - 1 {
            match self.switchboard.jumps().link(&self.switchboard, &route, index, &patience).await {
                Ok(_) => {}
                Err(setback) if matches!(setback.error, TransportError::HostKeyUnknown { .. }) => {
                    return self.switchboard.learn(&route, index, &patience).await;
                }
                Err(setback) => return Err(setback.error),
            }
        }
        self.switchboard.learn(&route, route.hops.len() - 1, &patience).await
    }

    /// Reads `known_hosts` anew at the next connection.
    pub fn forget_known_hosts(&self) {
        self.switchboard.forget_known_hosts();
    }

    /// Closes the connections to jump hosts. Sessions through them end.
    pub async fn close(&self) {
        self.switchboard.close().await;
    }

    async fn route(&self, target: &SshTarget) -> Result<Arc<Route>, TransportError> {
        let (target, options) = (target.clone(), self.switchboard.options().clone());
        // `Match exec` runs commands.
        tokio::task::spawn_blocking(move || Route::to(&target, &options).map(Arc::new)).await.unwrap_or_else(|_| {
            Err(TransportError::Configuration("deciding the way to the host was broken off".to_owned()))
        })
    }
}

fn ssh_target(target: &Target) -> Result<&SshTarget, TransportError> {
    match &target.way {
        Way::Ssh(ssh) => Ok(ssh),
        Way::Controller => {
            Err(TransportError::Configuration(format!("`{}` is the controller and not reached by SSH", target.host)))
        }
    }
}

#[async_trait]
impl Transport for SshTransport {
    async fn connect(&self, target: &Target, within: Duration) -> Result<Arc<dyn Session>, TransportError> {
        let ssh = ssh_target(target)?;
        let route = self.route(ssh).await?;
        // The inventory's word on one host is for all tries together, as the caller's is.
        let within = ssh.connect_timeout.map_or(within, |own| within.min(own.0));
        let patience = Patience::new(self.switchboard.pauses(), within);
        let link = self.switchboard.connect(&route, &patience).await?;
        Ok(Arc::new(SshSession::new(link, self.switchboard.options().limits)))
    }
}
