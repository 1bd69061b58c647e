//! Connections that a host makes for its client (direct-tcpip): to itself only.
//!
//! Every lab host wants to have its own `localhost:8080`, and all of them share one loopback. So a port of
//! a host is, in this order: a line `8080 43121` in the host's `.lab/ports` (left by a service that
//! listens on a port of its own choice), the built-in app's port, the same port of the machine.

use std::{path::Path, sync::Arc};

use russh::{
    Channel, ChannelOpenFailure,
    server::{ChannelOpenHandle, Msg},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_util::sync::CancellationToken;

use super::{app, host::Host};

/// Where a client wants to be connected to, as the host sees it.
pub(super) struct Wanted {
    pub(super) address: String,
    pub(super) port: u32,
}

/// Connects, answers the request, and carries bytes until both sides are done or the channel is gone.
pub(super) async fn connect(
    host: Arc<Host>,
    wanted: Wanted,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    gone: CancellationToken,
) {
    if !matches!(wanted.address.as_str(), "localhost" | "127.0.0.1" | "::1" | "[::1]")
        && wanted.address != host.name.as_str()
    {
        return reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    }
    let Ok(port) = u16::try_from(wanted.port) else {
        return reply.reject(ChannelOpenFailure::ConnectFailed).await;
    };
    let mapped = mapped_port(&host.home, port).await;
    if mapped.is_none() && port == host.app_port {
        if !app::is_running(&host.home) {
            return reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
        reply.accept().await;
        let stream = channel.into_stream();
        tokio::select! {
            () = gone.cancelled() => {}
            // A client that breaks off in the middle is no matter of ours.
            _ = app::serve(&host.home, stream) => {}
        }
        return;
    }
    match TcpStream::connect(("127.0.0.1", mapped.unwrap_or(port))).await {
        Ok(mut service) => {
            reply.accept().await;
            let mut stream = channel.into_stream();
            tokio::select! {
                () = gone.cancelled() => {}
                _ = tokio::io::copy_bidirectional(&mut stream, &mut service) => {}
            }
            let _ = service.shutdown().await;
        }
        Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
    }
}

/// Reads the host's own map of ports; lines that are not two numbers are nobody's.
async fn mapped_port(home: &Path, port: u16) -> Option<u16> {
    let map = tokio::fs::read_to_string(home.join(".lab/ports")).await.ok()?;
    map.lines().find_map(|line| {
        let (from, to) = line.trim().split_once(char::is_whitespace)?;
        (from.parse() == Ok(port)).then(|| to.trim().parse().ok())?
    })
}
