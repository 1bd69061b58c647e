//! A login at an SSH server that is itself what is looked at: a product whose front door is SSH.
//!
//! Not the way to a host: no `~/.ssh/config`, no agent, no `known_hosts`. The stream is opened by whoever asks.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    ChannelMsg, client,
    keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key},
};

use crate::{
    model::{Secret, Span, clean},
    transport::ByteStream,
};

/// Most of the screen that is kept, in bytes.
const SCREEN: usize = 64 * 1024;

/// Silence after which a first screen that need not show anything certain counts as drawn.
const QUIET: Duration = Duration::from_millis(300);

/// Who logs in and what must be seen.
#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub proof: Proof,
    /// Fingerprint the host key must have; any key will do for `None`.
    pub host_key: Option<String>,
    /// Texts the first screen must show. With none of them, a terminal that opens is enough.
    pub wait_for: Vec<String>,
}

/// What the user proves to be the user with.
#[derive(Debug, Clone)]
pub enum Proof {
    Nothing,
    Password(Secret),
    /// A private key without a passphrase.
    KeyFile(PathBuf),
}

/// What was seen of a login that worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSeen {
    /// Fingerprint of the host key: `SHA256:...`.
    pub host_key: String,
    /// The screen, cleaned of control sequences.
    pub screen: String,
}

/// Why a login did not work.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("cannot use the key `{path}`: {reason}")]
    Key { path: String, reason: String },
    #[error("no SSH handshake: {0}")]
    Handshake(String),
    #[error("the host key is {seen}, expected {wanted}")]
    HostKey { wanted: String, seen: String },
    #[error("user `{user}` was refused (the server takes: {methods})")]
    Refused { user: String, methods: String },
    #[error("no terminal after the login: {0}")]
    Terminal(String),
    #[error("the screen did not show `{wanted}`{}", Shown(screen))]
    Screen { wanted: String, screen: String },
    #[error("not logged in within {}, while {phase}", Span(*limit))]
    TimedOut { limit: Duration, phase: &'static str },
}

impl LoginError {
    /// Whether the controller is at fault, so that nothing was measured.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Key { .. })
    }
}

struct Shown<'a>(&'a str);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = crate::model::clean_line(self.0.as_bytes(), 80);
        if line.is_empty() { f.write_str(" (it stayed empty)") } else { write!(f, ", but: {line}") }
    }
}

/// Logs in over `stream`, opens a terminal, and waits until the screen shows what it must.
pub async fn login(stream: Box<dyn ByteStream>, login: Login, limit: Duration) -> Result<LoginSeen, LoginError> {
    let phase = Mutex::new("waiting for the handshake");
    let result = tokio::time::timeout(limit, attempt(stream, login, &phase)).await;
    result.unwrap_or_else(|_| {
        let phase = *phase.lock().unwrap_or_else(PoisonError::into_inner);
        Err(LoginError::TimedOut { limit, phase })
    })
}

async fn attempt(
    stream: Box<dyn ByteStream>,
    login: Login,
    phase: &Mutex<&'static str>,
) -> Result<LoginSeen, LoginError> {
    let enter = |name| *phase.lock().unwrap_or_else(PoisonError::into_inner) = name;
    let key = match &login.proof {
        Proof::KeyFile(path) => {
            let wrong = |reason: String| LoginError::Key { path: path.display().to_string(), reason };
            let file = path.clone();
            // Reading a key can take a tenth of a second of computing.
            let key = tokio::task::spawn_blocking(move || load_secret_key(file, None)).await;
            Some(key.map_err(|error| wrong(error.to_string()))?.map_err(|error| wrong(error.to_string()))?)
        }
        Proof::Nothing | Proof::Password(_) => None,
    };
    let seen = Arc::new(Mutex::new(None));
    let visitor = Visitor { wanted: login.host_key.clone(), seen: Arc::clone(&seen) };
    let config = client::Config { nodelay: true, ..client::Config::default() };
    let connected = client::connect_stream(Arc::new(config), stream, visitor).await;
    let host_key = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut handle = connected.map_err(|error| match (&login.host_key, &host_key) {
        (Some(wanted), Some(seen)) if wanted != seen => {
            LoginError::HostKey { wanted: wanted.clone(), seen: seen.clone() }
        }
        _ => LoginError::Handshake(error.to_string()),
    })?;
    let host_key = host_key.unwrap_or_default();
    enter("logging in");
    authenticate(&mut handle, &login, key).await?;
    enter("waiting for the screen");
    let screen = screen(&handle, &login.wait_for).await?;
    let _ = handle.disconnect(russh::Disconnect::ByApplication, "", "").await;
    Ok(LoginSeen { host_key, screen })
}

async fn authenticate(
    handle: &mut client::Handle<Visitor>,
    login: &Login,
    key: Option<russh::keys::PrivateKey>,
) -> Result<(), LoginError> {
    let lost = |error: russh::Error| LoginError::Handshake(error.to_string());
    let result = match (&login.proof, key) {
        (Proof::Password(password), _) => {
            handle.authenticate_password(&login.user, password.reveal()).await.map_err(lost)?
        }
        (_, Some(key)) => {
            let hash = handle.best_supported_rsa_hash().await.map_err(lost)?.flatten();
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            handle.authenticate_publickey(&login.user, key).await.map_err(lost)?
        }
        (_, None) => handle.authenticate_none(&login.user).await.map_err(lost)?,
    };
    match result {
        client::AuthResult::Success => Ok(()),
        client::AuthResult::Failure { remaining_methods, .. } => {
            let methods: Vec<&str> = remaining_methods.iter().map(Into::into).collect();
            Err(LoginError::Refused { user: login.user.clone(), methods: methods.join(", ") })
        }
    }
}

/// Opens a terminal with a shell and reads its screen until every text has shown.
async fn screen(handle: &client::Handle<Visitor>, wait_for: &[String]) -> Result<String, LoginError> {
    let wrong = |error: russh::Error| LoginError::Terminal(error.to_string());
    let mut channel = handle.channel_open_session().await.map_err(wrong)?;
    channel.request_pty(true, "xterm-256color", 100, 30, 0, 0, &[]).await.map_err(wrong)?;
    channel.request_shell(true).await.map_err(wrong)?;
    let mut bytes: Vec<u8> = Vec::new();
    let mut is_open = false;
    loop {
        let text = clean(&bytes);
        let missing = wait_for.iter().find(|wanted| !text.contains(wanted.as_str()));
        let is_drawn = is_open && missing.is_none();
        let message = if is_drawn {
            if !wait_for.is_empty() {
                break;
            }
            // Nothing certain to wait for: a moment of silence ends the first screen.
            match tokio::time::timeout(QUIET, channel.wait()).await {
                Ok(message) => message,
                Err(_) => break,
            }
        } else {
            channel.wait().await
        };
        match message {
            Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                is_open = true;
                let room = SCREEN.saturating_sub(bytes.len());
                bytes.extend_from_slice(&data[..data.len().min(room)]);
                if room == 0 {
                    break;
                }
            }
            Some(ChannelMsg::Success) => is_open = true,
            Some(ChannelMsg::Failure) => {
                return Err(LoginError::Terminal("the server refused it".to_owned()));
            }
            Some(_) => {}
            None => break,
        }
    }
    let text = clean(&bytes);
    let _ = channel.close().await;
    match wait_for.iter().find(|wanted| !text.contains(wanted.as_str())) {
        Some(wanted) => Err(LoginError::Screen { wanted: wanted.clone(), screen: text }),
        None if is_open => Ok(text),
        None => Err(LoginError::Terminal("the server closed it".to_owned())),
    }
}

/// Looks at the host key and remembers it.
struct Visitor {
    wanted: Option<String>,
    seen: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Visitor {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let fingerprint = offered.public_key().fingerprint(HashAlg::Sha256).to_string();
        let is_wanted = self.wanted.as_ref().is_none_or(|wanted| *wanted == fingerprint);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
        Ok(is_wanted)
    }
}

#[cfg(test)]
mod tests;
