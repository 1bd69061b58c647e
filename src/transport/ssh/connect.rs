//! Opening connections: each phase with its own time limit, few at once, tried again where that helps.

use std::{
    collections::HashMap,
    error::Error as _,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use russh::client;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    OfferedKey, SshOptions, auth,
    client::{Client, ClientError, Fate},
    host_key::{Judge, Purpose},
    jump::Jumps,
    keyring::Keyring,
    known_hosts::{KnownHosts, fingerprint},
    patience::{Patience, Pauses},
    proxy_command::ProxyCommand,
    route::{Hop, Route, Start},
};
use crate::transport::{ByteStream, Peer, TransportError};

/// What all connections of a process share.
pub(super) struct Switchboard {
    options: SshOptions,
    keyring: Keyring,
    jumps: Jumps,
    opening: Arc<Semaphore>,
    opening_by_address: Mutex<HashMap<String, Arc<Semaphore>>>,
    known_hosts: Mutex<HashMap<Vec<PathBuf>, Arc<KnownHosts>>>,
}

/// A live connection to one server, logged in.
pub(super) struct Link {
    pub(super) handle: client::Handle<Client>,
    pub(super) fate: Arc<Fate>,
    pub(super) peer: Peer,
    pub(super) forwards_agent: bool,
    /// Keeps the connection to the jump host alive for as long as this one needs it.
    _through: Option<Arc<Link>>,
}

/// Why one try did not work, and whether another may.
#[derive(Debug)]
pub(super) struct Setback {
    pub(super) error: TransportError,
    pub(super) again: Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// A person has to change something first.
    No,
    /// The host may be about to come up, or a packet was lost.
    Few,
    /// The server is there and busy.
    Many,
}

impl Again {
    fn tries(self) -> u32 {
        match self {
            Self::No => 1,
            Self::Few => 3,
            Self::Many => 8,
        }
    }
}

impl Setback {
    pub(super) fn last(error: TransportError) -> Self {
        Self { error, again: Again::No }
    }

    pub(super) fn few(error: TransportError) -> Self {
        Self { error, again: Again::Few }
    }

    pub(super) fn many(error: TransportError) -> Self {
        Self { error, again: Again::Many }
    }
}

impl Switchboard {
    pub(super) fn new(options: SshOptions) -> Self {
        Self {
            keyring: Keyring::new(Arc::clone(&options.prompter), Arc::clone(&options.secrets)),
            jumps: Jumps::default(),
            opening: Arc::new(Semaphore::new(options.limits.opening.max(1))),
            opening_by_address: Mutex::default(),
            known_hosts: Mutex::default(),
            options,
        }
    }

    pub(super) fn options(&self) -> &SshOptions {
        &self.options
    }

    pub(super) fn pauses(&self) -> &Arc<Pauses> {
        self.keyring.pauses()
    }

    pub(super) fn jumps(&self) -> &Jumps {
        &self.jumps
    }

    /// Connects to the last server of `route`, again and again where that may help.
    pub(super) async fn connect(
        self: &Arc<Self>,
        route: &Arc<Route>,
        patience: &Patience,
    ) -> Result<Arc<Link>, TransportError> {
        let last = route.hops.len() - 1;
        let mut tries = 0;
        loop {
            let setback = match self.log_in(route, last, patience).await {
                Ok(link) => return Ok(Arc::new(link)),
                Err(setback) => setback,
            };
            tries += 1;
            let pause = back_off(tries, rand::random_range(0.5..1.0));
            if tries >= setback.again.tries() || patience.left() <= pause {
                return Err(setback.error);
            }
            tracing::debug!(address = route.hops[last].address(), tries, error = %setback.error, "trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Connects to the server at `index` of `route` and logs in, once.
    pub(super) async fn log_in(
        self: &Arc<Self>,
        route: &Arc<Route>,
        index: usize,
        patience: &Patience,
    ) -> Result<Link, Setback> {
        let hop = &route.hops[index];
        let address = hop.address();
        // The way there first: who waits for a jump host must not keep others from opening it.
        let through = self.through(route, index, patience).await?;
        let _permits = self.enter(&address, patience).await;
        let purpose = Purpose::LogIn(self.options.trust.clone());
        let fate = Fate::new();
        let mut handle = self.shake_hands(route, index, through.as_ref(), purpose, &fate, patience).await?;
        let limit = self.options.limits.authentication;
        let by = auth::log_in(&mut handle, &fate, hop, &self.keyring, patience, limit).await?;
        let peer =
            Peer { user: hop.user.clone(), address, host_key: fate.offered().map(fingerprint), authenticated_by: by };
        Ok(Link { handle, fate, peer, forwards_agent: hop.forward_agent, _through: through })
    }

    /// Connects to the server at `index` just far enough to see its key.
    pub(super) async fn learn(
        self: &Arc<Self>,
        route: &Arc<Route>,
        index: usize,
        patience: &Patience,
    ) -> Result<OfferedKey, TransportError> {
        let hop = &route.hops[index];
        let through = self.through(route, index, patience).await.map_err(|setback| setback.error)?;
        let _permits = self.enter(&hop.address(), patience).await;
        let fate = Fate::new();
        let end = self.shake_hands(route, index, through.as_ref(), Purpose::Learn, &fate, patience).await;
        match (fate.offered(), end) {
            // The handshake is broken off at the key: that it did not succeed is no news.
            (Some(key), _) => {
                let is_jump = index + 1 < route.hops.len();
                Ok(OfferedKey::new(hop.address(), hop.id.clone(), key.clone(), is_jump))
            }
            (None, Err(setback)) => Err(setback.error),
            (None, Ok(_)) => Err(closed_early(&hop.address())),
        }
    }

    pub(super) fn forget_known_hosts(&self) {
        self.known_hosts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) async fn close(&self) {
        self.jumps.close().await;
    }

    async fn known_hosts(&self, files: &[PathBuf]) -> Result<Arc<KnownHosts>, Setback> {
        let cached = self.known_hosts.lock().unwrap_or_else(PoisonError::into_inner).get(files).cloned();
        if let Some(known) = cached {
            return Ok(known);
        }
        let paths = files.to_vec();
        // Going on without a file that cannot be read could accept a revoked key.
        let known = match tokio::task::spawn_blocking(move || KnownHosts::load(&paths)).await {
            Ok(Ok(known)) => Arc::new(known),
            Ok(Err(error)) => {
                let cause = error.source().map_or_else(String::new, |source| format!(": {source}"));
                return Err(Setback::last(TransportError::Configuration(format!("{error}{cause}"))));
            }
            Err(_) => {
                let message = "reading the known hosts was broken off".to_owned();
                return Err(Setback::last(TransportError::Configuration(message)));
            }
        };
        for warning in known.warnings() {
            tracing::warn!("{warning}");
        }
        self.known_hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(files.to_vec(), Arc::clone(&known));
        Ok(known)
    }

    /// Waits for a turn to open a connection to `address`. The address first: who waits for a busy one
    /// must not take a turn from the others. The wait is not the host's fault and costs none of its time; every
    /// turn before it has limits of its own.
    async fn enter(&self, address: &str, patience: &Patience) -> [OwnedSemaphorePermit; 2] {
        let own = Arc::clone(
            self.opening_by_address
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(address.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(self.options.limits.opening_per_address.max(1)))),
        );
        let all = Arc::clone(&self.opening);
        let turn = async move {
            let own = own.acquire_owned().await.expect("the semaphore is never closed");
            let all = all.acquire_owned().await.expect("the semaphore is never closed");
            [own, all]
        };
        patience.wait_uncounted(turn).await
    }

    async fn through(
        self: &Arc<Self>,
        route: &Arc<Route>,
        index: usize,
        patience: &Patience,
    ) -> Result<Option<Arc<Link>>, Setback> {
        match index.checked_sub(1) {
            Some(before) => self.jumps.link(self, route, before, patience).await.map(Some),
            None => Ok(None),
        }
    }

    /// Opens the byte stream to a server and does the SSH handshake on it, host key included.
    async fn shake_hands(
        &self,
        route: &Route,
        index: usize,
        through: Option<&Arc<Link>>,
        purpose: Purpose,
        fate: &Arc<Fate>,
        patience: &Patience,
    ) -> Result<client::Handle<Client>, Setback> {
        let hop = &route.hops[index];
        let address = hop.address();
        let judge = Judge {
            known: self.known_hosts(&hop.known_hosts).await?,
            id: hop.id.clone(),
            address: address.clone(),
            purpose,
            now_unix_seconds: (self.options.now)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        };
        let limits = &self.options.limits;
        let limit = hop.connect_timeout.unwrap_or(limits.tcp);
        let mut complaints = None;
        let stream: Box<dyn ByteStream> = match (through, &route.start) {
            (Some(jump), _) => jump.open_stream(hop, limits.channel_open, patience).await?,
            (None, Start::Tcp) => Box::new(connect_tcp(hop, limit, patience).await?),
            (None, Start::Command(command)) => {
                let proxy = ProxyCommand::start(command)
                    .map_err(|source| Setback::last(TransportError::Spawn { program: command.clone(), source }))?;
                complaints = Some(proxy.complaints());
                Box::new(proxy)
            }
        };
        let config = Arc::new(client::Config {
            nodelay: true,
            keepalive_interval: match hop.keepalive_interval.unwrap_or(limits.keepalive_interval) {
                Duration::ZERO => None,
                interval => Some(interval),
            },
            keepalive_max: hop.keepalive_count.unwrap_or(limits.keepalive_count) as usize,
            preferred: judge.preferred(),
            ..client::Config::default()
        });
        let client = Client {
            judge,
            fate: Arc::clone(fate),
            forward_agent: if hop.forward_agent { hop.agent.clone() } else { None },
        };
        let what = || format!("the SSH handshake with {address}");
        let handshake = client::connect_stream(config, stream, client);
        // As for OpenSSH, `ConnectTimeout` is for the handshake, too.
        match patience.wait(what, hop.connect_timeout.unwrap_or(limits.handshake), handshake).await {
            Ok(Ok(handle)) => Ok(handle),
            Ok(Err(error)) => {
                let mut setback = handshake_setback(error, &address);
                if let Some(complaints) = complaints {
                    let said = complaints.text().await;
                    if !said.is_empty() {
                        setback.error = TransportError::Handshake {
                            address,
                            source: format!("the ProxyCommand said: {said}").into(),
                        };
                    }
                }
                Err(setback)
            }
            Err(timeout) => Err(Setback::few(timeout)),
        }
    }
}

impl Link {
    pub(super) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Says goodbye and waits a moment for the connection to end.
    pub(super) async fn close(&self) {
        if self.handle.disconnect(russh::Disconnect::ByApplication, "", "").await.is_ok() {
            // A server that does not read any more must not hold us up.
            let _ = tokio::time::timeout(Duration::from_secs(2), self.fate.ended()).await;
        }
    }

    /// Opens a stream from this jump host to the next server.
    async fn open_stream(
        self: &Arc<Self>,
        hop: &Hop,
        limit: Duration,
        patience: &Patience,
    ) -> Result<Box<dyn ByteStream>, Setback> {
        let jump = &self.peer.address;
        let refused =
            |kind, text: String| TransportError::Connect { address: hop.address(), source: io::Error::new(kind, text) };
        let what = || format!("the jump host {jump} connecting to {}", hop.address());
        let opening = super::channel::open_tcp(self, &hop.host, hop.port);
        match patience.wait(what, limit, opening).await.map_err(Setback::few)? {
            Ok(stream) => Ok(stream),
            Err(russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::AdministrativelyProhibited)) => {
                let text = format!("the jump host {jump} does not allow forwarding");
                Err(Setback::last(refused(io::ErrorKind::PermissionDenied, text)))
            }
            Err(russh::Error::ChannelOpenFailure(_)) => {
                let text = format!("the jump host {jump} cannot connect to it");
                Err(Setback::few(refused(io::ErrorKind::ConnectionRefused, text)))
            }
            Err(_) => {
                let text = format!("the connection to the jump host {jump} was lost");
                Err(Setback::few(refused(io::ErrorKind::ConnectionReset, text)))
            }
        }
    }
}

/// Connects to the first address of the host's name that answers.
async fn connect_tcp(hop: &Hop, limit: Duration, patience: &Patience) -> Result<TcpStream, Setback> {
    let address = hop.address();
    let failed = |source| TransportError::Connect { address: address.clone(), source };
    let lookup = tokio::net::lookup_host((hop.host.as_str(), hop.port));
    let what = || format!("looking up {}", hop.host);
    let found = patience.wait(what, limit, lookup).await.map_err(Setback::few)?;
    let found: Vec<_> = found.map_err(|source| Setback::few(failed(source)))?.collect();
    let mut setback = Setback::last(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    for (index, socket) in found.iter().enumerate() {
        // One dead address (often IPv6) must not use up the time of those after it.
        let share = limit / u32::try_from(found.len() - index).unwrap_or(1);
        let what = || format!("connecting to {address}");
        match patience.wait(what, share, TcpStream::connect(socket)).await {
            Ok(Ok(stream)) => {
                // Without this every exec waits for a delayed acknowledgement. Not fatal where it fails.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(source)) => setback = Setback::few(failed(source)),
            Err(timeout) => setback = Setback::few(timeout),
        }
    }
    Err(setback)
}

fn handshake_setback(error: ClientError, address: &str) -> Setback {
    match error {
        ClientError::HostKey(error) => Setback::last(error),
        ClientError::Ssh(
            error @ (russh::Error::IO(_)
            | russh::Error::HUP
            | russh::Error::Disconnect
            | russh::Error::SendError
            | russh::Error::RecvError
            | russh::Error::Join(_)),
        ) => {
            tracing::debug!(address, %error, "closed during the handshake");
            // sshd drops connections like this when too many wait to log in (`MaxStartups`).
            Setback::many(closed_early(address))
        }
        ClientError::Ssh(error) => {
            Setback::last(TransportError::Handshake { address: address.to_owned(), source: Box::new(error) })
        }
    }
}

fn closed_early(address: &str) -> TransportError {
    TransportError::Connect {
        address: address.to_owned(),
        source: io::Error::new(io::ErrorKind::ConnectionReset, "the server closed the connection during the handshake"),
    }
}

/// Returns how long to wait before the next try: doubling from 0.3 s to 5 s, scattered by `scatter` (0.5 to 1).
fn back_off(tries: u32, scatter: f64) -> Duration {
    Duration::from_millis(300 << tries.saturating_sub(1).min(5)).min(Duration::from_secs(5)).mul_f64(scatter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_between_tries_doubles_up_to_a_limit() {
        let pauses: Vec<_> = (1..9).map(|tries| back_off(tries, 1.0).as_millis()).collect();
        assert_eq!(pauses, [300, 600, 1200, 2400, 4800, 5000, 5000, 5000]);
        assert_eq!(back_off(1, 0.5), Duration::from_millis(150));
    }
}
