//! The byte stream of one connection, which can be made slow, frozen or cut at any moment.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;

/// The state of a connection's link, shared by its stream and by who makes it misbehave.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Cancelled when the link is cut: whoever works for the connection stops.
    cut: CancellationToken,
    frozen: AtomicBool,
    /// Nanoseconds by which what the client sends is late.
    delay: AtomicU64,
    /// Bytes that may still be written before the link is cut; `u64::MAX` is no limit.
    left: AtomicU64,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Link {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(u64::MAX), ..Self::default() })
    }

    /// Ends the connection without a word.
    pub(super) fn cut(&self) {
        self.cut.cancel();
        self.wake();
    }

    /// Completes when the link is cut.
    pub(super) fn when_cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Release);
        self.wake();
    }

    pub(super) fn delay(&self, delay: Duration) {
        self.delay.store(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Cuts the link after so many more bytes to the client.
    pub(super) fn cut_after(&self, bytes: Option<u64>) {
        self.left.store(bytes.unwrap_or(u64::MAX), Ordering::Release);
    }

    fn wake(&self) {
        self.reader.wake();
        self.writer.wake();
    }

    /// `Ready(Ok)` when bytes may pass in the direction that `waker` belongs to.
    fn poll_open(&self, waker: &AtomicWaker, cx: &Context<'_>) -> Poll<io::Result<()>> {
        // Registered before looking, so that a change in between wakes.
        waker.register(cx.waker());
        if self.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.frozen.load(Ordering::Acquire) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

/// A TCP stream that obeys its [`Link`].
pub(super) struct Wire {
    stream: TcpStream,
    link: Arc<Link>,
    /// Runs from the arrival of bytes to when they may be seen.
    late: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, link: Arc<Link>) -> Self {
        Self { stream, link, late: None }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.link.poll_open(&this.link.reader, cx) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let delay = Duration::from_nanos(this.link.delay.load(Ordering::Acquire));
        if !delay.is_zero() {
            if this.late.is_none() {
                match this.stream.poll_read_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        this.late = Some(Box::pin(tokio::time::sleep_until(Instant::now() + delay)));
                    }
                    other => return other,
                }
            }
            if this.late.as_mut().is_some_and(|late| late.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
        }
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            // Readiness may be a false alarm: the next bytes are late on their own account.
            Poll::Pending => {
                this.late = None;
                Poll::Pending
            }
            done @ Poll::Ready(_) => {
                this.late = None;
                done
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match this.link.poll_open(&this.link.writer, cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        let left = this.link.left.load(Ordering::Acquire);
        if left == u64::MAX {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        if left == 0 {
            this.link.cut();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let some = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let written = Pin::new(&mut this.stream).poll_write(cx, some);
        if let Poll::Ready(Ok(count)) = written {
            this.link.left.store(left - count as u64, Ordering::Release);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
