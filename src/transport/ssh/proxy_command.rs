//! A `ProxyCommand`: a child process whose standard streams stand in for the TCP connection.

#![allow(clippy::disallowed_methods, reason = "a `ProxyCommand` is a process of the controller")]

use std::{
    io,
    pin::Pin,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
};

/// The running command. Dropping it kills the command and what that started.
pub(super) struct ProxyCommand {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    complaints: Complaints,
}

/// What the command prints on standard error: the reason, when it fails.
#[derive(Clone)]
pub(super) struct Complaints(Arc<watch::Sender<(Vec<u8>, bool)>>);

impl ProxyCommand {
    /// Starts `command` in a process group of its own, so that pipelines in it end with it.
    pub(super) fn start(command: &str) -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let gone = || io::Error::other("the command's streams were not opened");
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        let mut errors = child.stderr.take().ok_or_else(gone)?;
        let complaints = Complaints(Arc::new(watch::channel((Vec::new(), false)).0));
        let heard = complaints.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            // Reads to the end whatever comes, so that the command never blocks; keeps the beginning.
            while let Ok(length @ 1..) = errors.read(&mut buffer).await {
                heard.0.send_modify(|(kept, _)| {
                    let room = 1024_usize.saturating_sub(kept.len()).min(length);
                    kept.extend_from_slice(&buffer[..room]);
                });
            }
            heard.0.send_modify(|(_, ended)| *ended = true);
        });
        Ok(Self { child, input, output, complaints })
    }

    pub(super) fn complaints(&self) -> Complaints {
        self.complaints.clone()
    }
}

impl Complaints {
    /// Returns what was said, in one line; waits a moment for a command that is just ending.
    pub(super) async fn text(&self) -> String {
        let mut heard = self.0.subscribe();
        let _ = tokio::time::timeout(Duration::from_millis(200), heard.wait_for(|(_, ended)| *ended)).await;
        crate::model::clean_line(&heard.borrow().0, 200)
    }
}

impl Drop for ProxyCommand {
    fn drop(&mut self) {
        // `id` is `None` once the child was reaped: then the number may belong to somebody else.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // Gone already is what is wanted.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl AsyncRead for ProxyCommand {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ProxyCommand {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}
