//! Channels: opened in turn, closed on every path.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use tokio::sync::{Notify, oneshot};

use super::{client::Ending, connect::Link};
use crate::transport::{ByteStream, TransportError};

/// How many sessions a server lets be open on one connection: sshd's default `MaxSessions`.
const USUAL: usize = 10;

const ALL_GIVEN_UP: &str = "programs that were given up still hold every session that the host allows on a connection";

/// A session channel. Dropping it closes the channel on the host's side too: russh alone would not.
pub(super) struct SessionChannel {
    read: Reading,
    write: Option<ChannelWriteHalf<Msg>>,
    slot: Slot,
}

/// The reading half, which remembers whether the host has closed the channel.
pub(super) struct Reading {
    half: ChannelReadHalf,
    is_over: bool,
}

impl Reading {
    pub(super) async fn wait(&mut self) -> Option<ChannelMsg> {
        let message = self.half.wait().await;
        self.is_over |= message.is_none();
        message
    }
}

impl SessionChannel {
    pub(super) fn write_half(&self) -> &ChannelWriteHalf<Msg> {
        self.write.as_ref().expect("taken only when dropped")
    }

    /// The two halves, to be read and written at the same time.
    pub(super) fn halves(&mut self) -> (&mut Reading, &ChannelWriteHalf<Msg>) {
        (&mut self.read, self.write.as_ref().expect("taken only when dropped"))
    }
}

impl Drop for SessionChannel {
    fn drop(&mut self) {
        if !self.read.is_over {
            self.slot.0.state().gave_up = true;
        }
        if let Some(write) = self.write.take() {
            close_later(write);
        }
    }
}

/// Closes a channel without waiting. Closing one that the host has closed is harmless.
fn close_later(write: ChannelWriteHalf<Msg>) {
    // Outside a runtime the process is ending, and the connection with it.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            // Fails only where the connection is gone.
            let _ = write.close().await;
        });
    }
}

/// How many session channels may be open: begins with what is usual and learns from refusals.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    open: usize,
    limit: usize,
    /// Whether a channel was closed before its program had ended. sshd counts it until the program ends.
    gave_up: bool,
}

/// One open session channel's place.
#[derive(Debug)]
struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.state().open -= 1;
        self.0.freed.notify_waiters();
    }
}

impl Slots {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { open: 0, limit: USUAL, gave_up: false }), freed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(self: &Arc<Self>) -> Slot {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Listen before looking: a place freed in between is not missed.
            freed.as_mut().enable();
            {
                let mut state = self.state();
                if state.open < state.limit {
                    state.open += 1;
                    return Slot(Arc::clone(self));
                }
            }
            freed.await;
        }
    }

    /// Takes note that the server refused one more; says whether others are open.
    fn refused(&self) -> bool {
        let mut state = self.state();
        let others = state.open.saturating_sub(1);
        if others > 0 {
            state.limit = state.limit.min(others);
        }
        others > 0
    }
}

/// Opens a session channel; waits for a place where the server allows no more at once.
///
/// `limit` is for each answer of the server. Waiting for a place ends when another program does. A connection whose
/// places are all held by programs that were given up and go on is as good as lost, and told so.
pub(super) async fn open_session(
    link: &Arc<Link>,
    slots: &Arc<Slots>,
    limit: Duration,
) -> Result<SessionChannel, TransportError> {
    let mut alone = 0;
    loop {
        let slot = slots.take().await;
        let opening = open_detached(link, |link| async move { link.handle.channel_open_session().await });
        let opened = tokio::time::timeout(limit, opening).await.map_err(|_| TransportError::ConnectTimeout {
            what: format!("opening a channel on {}", link.peer.address),
            limit,
        })?;
        match opened {
            Ok(channel) => {
                let (read, write) = channel.split();
                return Ok(SessionChannel { read: Reading { half: read, is_over: false }, write: Some(write), slot });
            }
            Err(russh::Error::ChannelOpenFailure(reason)) => {
                // With others open it is `MaxSessions`. Alone, the server may not yet have put away the
                // one before; after a second it means it.
                if !slots.refused() {
                    alone += 1;
                    if alone > 5 {
                        if slots.state().gave_up {
                            let source = Ending::Broken(ALL_GIVEN_UP.to_owned());
                            return Err(TransportError::LinkLost { source: Some(Box::new(source)) });
                        }
                        return Err(TransportError::Channel(format!("{reason:?}")));
                    }
                    drop(slot);
                    tokio::time::sleep(Duration::from_millis(20 << alone)).await;
                }
            }
            Err(_) => return Err(lost(link)),
        }
    }
}

/// Opens the channel in a task of its own: when the caller gives up half way, the channel that opens
/// later is closed and does not keep its place on the server.
async fn open_detached<F>(
    link: &Arc<Link>,
    open: impl FnOnce(Arc<Link>) -> F + Send + 'static,
) -> Result<Channel<Msg>, russh::Error>
where
    F: Future<Output = Result<Channel<Msg>, russh::Error>> + Send,
{
    let link = Arc::clone(link);
    let (give, take) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(Ok(channel)) = give.send(open(link).await) {
            close_later(channel.split().1);
        }
    });
    take.await.unwrap_or(Err(russh::Error::Disconnect))
}

/// Opens a TCP stream from the other end to `host:port`. It closes itself when dropped.
pub(super) async fn open_tcp(link: &Arc<Link>, host: &str, port: u16) -> Result<Box<dyn ByteStream>, russh::Error> {
    let host = host.to_owned();
    let open = move |link: Arc<Link>| async move {
        link.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await
    };
    Ok(Box::new(open_detached(link, open).await?.into_stream()))
}

/// The error for a connection that is gone, with what is known of why.
pub(super) fn lost(link: &Link) -> TransportError {
    TransportError::LinkLost { source: link.fate.ending().map(|ending| Box::new(ending) as _) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_lowers_the_limit_and_a_freed_place_is_taken() {
        let slots = Slots::new();
        let first = slots.take().await;
        let second = slots.take().await;
        assert!(slots.refused(), "another is open");
        drop(second);
        let waiting = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "the server takes one only");
        drop(first);
        let third = waiting.await.expect("no panic");
        assert!(!slots.refused(), "it is alone now");
        drop(third);
    }
}
