//! Our end of an SSH connection as russh calls it: judges the host key, notes why the connection ended.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use russh::{
    Channel,
    client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session},
    keys::{PublicKey, PublicKeyOrCertificate},
};
use tokio::sync::watch;

use super::host_key::Judge;
use crate::transport::TransportError;

/// What russh calls while a connection lives.
pub(super) struct Client {
    pub(super) judge: Judge,
    pub(super) fate: Arc<Fate>,
    /// The agent's socket, where the inventory says that the host may use it.
    pub(super) forward_agent: Option<PathBuf>,
}

/// Why a handler ended the connection, or russh did.
#[derive(Debug)]
pub(super) enum ClientError {
    HostKey(TransportError),
    Ssh(russh::Error),
}

impl From<russh::Error> for ClientError {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

/// What is learnt of a connection while it lives, and of its end.
#[derive(Debug)]
pub(super) struct Fate {
    offered: OnceLock<PublicKey>,
    ending: Mutex<Option<Ending>>,
    ended: watch::Sender<bool>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The server said goodbye, in these words.
    Farewell(String),
    /// It broke.
    Broken(String),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Farewell(words) if words.is_empty() => f.write_str("the host closed the connection"),
            Self::Farewell(words) => write!(f, "the host closed the connection: {words}"),
            Self::Broken(cause) => f.write_str(cause),
        }
    }
}

impl std::error::Error for Ending {}

impl Fate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { offered: OnceLock::new(), ending: Mutex::new(None), ended: watch::channel(false).0 })
    }

    /// The key the server proved to hold.
    pub(super) fn offered(&self) -> Option<&PublicKey> {
        self.offered.get()
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the connection has ended.
    pub(super) async fn ended(&self) {
        // An error means that the sender is gone, and the connection with it.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    fn end(&self, ending: Ending) {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(ending);
        self.ended.send_replace(true);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.fate.ended.send_replace(true);
    }
}

impl Handler for Client {
    type Error = ClientError;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, ClientError> {
        let _ = self.fate.offered.set(offered.public_key());
        self.judge.judge(offered).map_err(ClientError::HostKey)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<ClientError>) -> Result<(), ClientError> {
        match reason {
            DisconnectReason::ReceivedDisconnect(farewell) => {
                self.fate.end(Ending::Farewell(crate::model::clean_line(farewell.message.as_bytes(), 200)));
                Ok(())
            }
            DisconnectReason::Error(error) => {
                self.fate.end(Ending::Broken(match &error {
                    ClientError::Ssh(russh::Error::KeepaliveTimeout) => {
                        "the host no longer answers keepalives".to_owned()
                    }
                    ClientError::Ssh(russh::Error::Disconnect | russh::Error::HUP) => "the connection broke".to_owned(),
                    ClientError::Ssh(error) => error.to_string(),
                    ClientError::HostKey(error) => error.to_string(),
                }));
                Err(error)
            }
        }
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        // Dropping `reply` refuses.
        let Some(socket) = self.forward_agent.clone() else { return Ok(()) };
        reply.accept().await;
        tokio::spawn(async move {
            let mut channel = channel.into_stream();
            if let Ok(mut agent) = tokio::net::UnixStream::connect(&socket).await {
                // Either end may go away at any time; nothing is left to be said then.
                let _ = tokio::io::copy_bidirectional(&mut channel, &mut agent).await;
            }
        });
        Ok(())
    }

    // A server opens nothing else here: russh would accept, so each is refused by dropping `reply`.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        Ok(())
    }
}
