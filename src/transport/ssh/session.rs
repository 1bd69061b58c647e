//! A connection to a host as the engine and the steps see it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Limits,
    channel::{self, Slots},
    connect::Link,
    run::{self, Ends},
};
use crate::transport::{ByteStream, Ended, Exec, Output, Peer, Session, TransportError};

/// One connection to one host; programs on it run side by side, as many as the server allows.
pub(super) struct SshSession {
    link: Arc<Link>,
    slots: Arc<Slots>,
    limits: Limits,
}

impl SshSession {
    pub(super) fn new(link: Arc<Link>, limits: Limits) -> Self {
        Self { link, slots: Slots::new(), limits }
    }
}

#[async_trait]
impl Session for SshSession {
    async fn run(&self, exec: Exec, output: &mut (dyn Output + '_)) -> Result<Ended, TransportError> {
        let ends = Ends { from: None, into: None, output };
        run::run(&self.link, &self.slots, &self.limits, exec, ends).await
    }

    async fn push(&self, from: &mut (dyn AsyncRead + Send + Unpin), exec: Exec) -> Result<Ended, TransportError> {
        let ends = Ends { from: Some(from), into: None, output: &mut () };
        run::run(&self.link, &self.slots, &self.limits, exec, ends).await
    }

    async fn pull(&self, exec: Exec, into: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<Ended, TransportError> {
        let ends = Ends { from: None, into: Some(into), output: &mut () };
        run::run(&self.link, &self.slots, &self.limits, exec, ends).await
    }

    async fn open_tcp(&self, address: &str, port: u16) -> Result<Box<dyn ByteStream>, TransportError> {
        let limit = self.limits.channel_open;
        let opened = tokio::time::timeout(limit, channel::open_tcp(&self.link, address, port)).await;
        let opened = opened.map_err(|_| TransportError::ConnectTimeout {
            what: format!("connecting from the host to {address}:{port}"),
            limit,
        })?;
        opened.map_err(|error| match error {
            russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::ConnectFailed) => {
                TransportError::Channel(format!("it cannot connect to {address}:{port}"))
            }
            russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::AdministrativelyProhibited) => {
                TransportError::Channel(format!("it does not allow forwarding to {address}:{port}"))
            }
            russh::Error::ChannelOpenFailure(reason) => TransportError::Channel(format!("{reason:?}")),
            _ => channel::lost(&self.link),
        })
    }

    fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    fn peer(&self) -> &Peer {
        &self.link.peer
    }

    async fn close(&self) {
        self.link.close().await;
    }
}
