//! Runs programs on the controller itself: for hosts without an SSH server, whose commands run beside
//! longshore.
//!
//! Each program leads a process group of its own, which is ended as a whole: at a time limit, and when
//! whoever waits for it goes away.

#![allow(clippy::disallowed_methods, reason = "this is the transport that starts processes")]

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    time::Instant,
};

use super::{
    ByteStream, Capture, Captured, Ended, Exec, Output, Peer, Program, Session, Status, Stream, Target, Transport,
    TransportError, Way,
};
use crate::model::Secret;

/// Time between asking a process group to end and ending it.
const GRACE: Duration = Duration::from_secs(2);

/// Longest silence for which output is read on after a program has ended: something it started may hold
/// its output open for ever.
const LINGER: Duration = Duration::from_millis(500);

/// What a program can have left in its pipes when it ended, at most.
const PIPE: usize = 2 * 1024 * 1024;

/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;

/// Reads the program to its end before any of it runs. The program's own standard input is empty.
const WHOLE: &str = r#"lsp=$(cat); exec </dev/null; eval "unset lsp; $lsp""#;

/// Reads the program up to a mark, line by line: what follows is the program's own standard input.
/// `cat` and `sh` itself read in blocks and would swallow some of it.
const STREAM: &str = r#"IFS= read -r lse; lsn='
'; lsp=; while IFS= read -r lsl && [ "$lsl" != "$lse" ]; do lsp=$lsp$lsl$lsn; done
eval "unset lse lsn lsp lsl; $lsp""#;

/// Opens sessions on the controller.
#[derive(Debug, Clone, Default)]
pub struct LocalTransport {
    folder: Option<PathBuf>,
}

impl LocalTransport {
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes programs begin in this folder instead of that of longshore.
    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Opens a session without a host's name: for whoever knows that it is the controller that is meant.
    pub fn session(&self) -> Arc<dyn Session> {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
            .ok()
            .flatten()
            .map_or_else(|| nix::unistd::geteuid().to_string(), |user| user.name);
        Arc::new(LocalSession {
            folder: self.folder.clone(),
            peer: Peer {
                user,
                address: "the controller".to_owned(),
                host_key: None,
                authenticated_by: "nothing".to_owned(),
            },
        })
    }
}

#[async_trait]
impl Transport for LocalTransport {
    async fn connect(&self, target: &Target, _: Duration) -> Result<Arc<dyn Session>, TransportError> {
        match &target.way {
            Way::Controller => Ok(self.session()),
            Way::Ssh(ssh) => Err(TransportError::Configuration(format!(
                "`{}` is reached over SSH ({}), not on the controller",
                target.host, ssh.address
            ))),
        }
    }
}

/// A session on the controller. There is no connection that could be lost.
#[derive(Debug)]
pub struct LocalSession {
    folder: Option<PathBuf>,
    peer: Peer,
}

#[async_trait]
impl Session for LocalSession {
    async fn run(&self, exec: Exec, output: &mut (dyn Output + '_)) -> Result<Ended, TransportError> {
        self.drive(exec, None, None, output).await
    }

    async fn push(&self, from: &mut (dyn AsyncRead + Send + Unpin), exec: Exec) -> Result<Ended, TransportError> {
        self.drive(exec, Some(from), None, &mut ()).await
    }

    async fn pull(&self, exec: Exec, into: &mut (dyn AsyncWrite + Send + Unpin)) -> Result<Ended, TransportError> {
        self.drive(exec, None, Some(into), &mut ()).await
    }

    async fn open_tcp(&self, address: &str, port: u16) -> Result<Box<dyn ByteStream>, TransportError> {
        match tokio::net::TcpStream::connect((address, port)).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(source) => Err(TransportError::Connect { address: format!("{address}:{port}"), source }),
        }
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    async fn close(&self) {}
}

impl LocalSession {
    async fn drive(
        &self,
        exec: Exec,
        from: Option<&mut (dyn AsyncRead + Send + Unpin)>,
        mut into: Option<&mut (dyn AsyncWrite + Send + Unpin)>,
        output: &mut (dyn Output + '_),
    ) -> Result<Ended, TransportError> {
        if let Some((user, _)) = exec.run_as.as_ref().filter(|(user, _)| *user != self.peer.user) {
            return Err(TransportError::Become {
                user: user.clone(),
                reason: "on the controller, programs run as whoever started longshore".to_owned(),
            });
        }
        let (mut child, head) = self.spawn(&exec, from.is_some())?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
        let stdin = child.stdin.take();
        let mut out = child.stdout.take();
        let mut err = child.stderr.take();
        let feeding = feed(stdin, head, exec.stdin, from);
        tokio::pin!(feeding);
        let mut is_fed = false;

        let began = Instant::now();
        let mut last_word = began;
        let mut captures = [Capture::new(exec.keep), Capture::new(exec.keep)];
        let mut streamed = 0;
        let (mut out_buffer, mut err_buffer) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut ended: Option<(ExitStatus, Instant)> = None;
        let mut after_end = 0;
        while ended.is_none() || out.is_some() || err.is_some() {
            if ended.is_some_and(|(_, at)| after_end > PIPE || at.elapsed() > LINGER * 20) {
                break;
            }
            let lingering = ended.map(|(_, at)| at.max(last_word) + LINGER);
            let (stream, read) = tokio::select! {
                read = read(out.as_mut(), &mut out_buffer) => (Stream::Out, read),
                read = read(err.as_mut(), &mut err_buffer) => (Stream::Err, read),
                fed = &mut feeding, if !is_fed => {
                    is_fed = true;
                    if let Err((source, stdin)) = fed {
                        // Ended before its input is closed: what has arrived must not look complete.
                        group.end(&mut child).await;
                        drop(stdin);
                        return Err(TransportError::Local { doing: "reading", source });
                    }
                    continue;
                }
                status = child.wait(), if ended.is_none() => {
                    let status = status.map_err(|_| TransportError::NoStatus)?;
                    group.disarm();
                    // What the program left unread is nobody's.
                    is_fed = true;
                    ended = Some((status, Instant::now()));
                    continue;
                }
                () = until(lingering) => break,
                () = until(exec.timeout.filter(|_| ended.is_none()).map(|limit| began + limit)) => {
                    group.end(&mut child).await;
                    return Err(TransportError::TimedOut { limit: exec.timeout.unwrap_or_default() });
                }
                () = until(exec.idle_timeout.filter(|_| ended.is_none()).map(|limit| last_word + limit)) => {
                    group.end(&mut child).await;
                    return Err(TransportError::Idle { limit: exec.idle_timeout.unwrap_or_default() });
                }
            };
            let length = match (stream, read) {
                (Stream::Out, Ok(0) | Err(_)) => {
                    out = None;
                    continue;
                }
                (Stream::Err, Ok(0) | Err(_)) => {
                    err = None;
                    continue;
                }
                (_, Ok(length)) => length,
            };
            if ended.is_some() {
                after_end += length;
            }
            match (stream, &mut into) {
                (Stream::Out, Some(into)) => {
                    streamed += length as u64;
                    if let Err(source) = into.write_all(&out_buffer[..length]).await {
                        group.end(&mut child).await;
                        return Err(TransportError::Local { doing: "writing", source });
                    }
                }
                (Stream::Out, None) => {
                    captures[0].push(&out_buffer[..length]);
                    output.absorb(stream, &out_buffer[..length]);
                }
                (Stream::Err, _) => {
                    captures[1].push(&err_buffer[..length]);
                    output.absorb(stream, &err_buffer[..length]);
                }
            }
            // After the writing: a slow writer is no silence of the program.
            last_word = Instant::now();
        }
        if let Some(into) = into {
            into.flush().await.map_err(|source| TransportError::Local { doing: "writing", source })?;
        }
        let Some((status, _)) = ended else { return Err(TransportError::NoStatus) };
        let [out, err] = captures.map(Capture::finish);
        let out = Captured { total: out.total + streamed, ..out };
        Ok(Ended { status: status_of(status)?, out, err })
    }

    /// Starts the program; the text returned goes in on its standard input first.
    fn spawn(&self, exec: &Exec, has_input: bool) -> Result<(Child, Vec<u8>), TransportError> {
        let has_input = has_input || !exec.stdin.is_empty();
        let (mut command, program, head) = match &exec.program {
            Program::Script(text) => {
                let mut command = Command::new("/bin/sh");
                let (body, head) = if has_input {
                    let mark = format!("longshore-{:032x}", rand::random::<u128>());
                    (STREAM, format!("{mark}\n{text}\n{mark}\n"))
                } else {
                    (WHOLE, text.clone())
                };
                command.args(["-c", body]);
                (command, "/bin/sh".to_owned(), head.into_bytes())
            }
            Program::Command(words) => {
                let Some((program, arguments)) = words.words().split_first() else {
                    return Err(TransportError::Configuration("the command is empty".to_owned()));
                };
                let mut command = Command::new(program);
                command.args(arguments);
                (command, program.clone(), Vec::new())
            }
        };
        // Other than an argument, the environment of a process is its own user's alone.
        command.envs(exec.secrets.iter().map(|(name, value): &(String, Secret)| (name, value.reveal())));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| TransportError::Spawn { program, source })?;
        Ok((child, head))
    }
}

/// A process group, ended when this is dropped before the program was seen to end.
struct Group(Option<Pid>);

impl Group {
    /// Asks the group to end, and ends it.
    async fn end(mut self, child: &mut Child) {
        let Some(group) = self.0 else { return };
        // An error means that nothing is left to end.
        let _ = killpg(group, Signal::SIGTERM);
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
        // The leader may be gone and others of its group not.
        let _ = killpg(group, Signal::SIGKILL);
        let _ = child.wait().await;
        self.disarm();
    }

    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

async fn read(stream: Option<&mut (impl AsyncRead + Unpin)>, buffer: &mut [u8]) -> io::Result<usize> {
    match stream {
        Some(stream) => stream.read(buffer).await,
        None => std::future::pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Writes the input and closes it. A program that stops reading is no error; our own reader's is.
async fn feed(
    stdin: Option<ChildStdin>,
    head: Vec<u8>,
    bytes: Vec<u8>,
    from: Option<&mut (dyn AsyncRead + Send + Unpin)>,
) -> Result<(), (io::Error, ChildStdin)> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    if stdin.write_all(&head).await.is_err() || stdin.write_all(&bytes).await.is_err() {
        return Ok(());
    }
    let Some(from) = from else { return Ok(()) };
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(length) => length,
            Err(error) => return Err((error, stdin)),
        };
        if length == 0 || stdin.write_all(&buffer[..length]).await.is_err() {
            return Ok(());
        }
    }
}

fn status_of(status: ExitStatus) -> Result<Status, TransportError> {
    if let Some(code) = status.code().and_then(|code| u32::try_from(code).ok()) {
        return Ok(Status::Exited(code));
    }
    let signal = status.signal().and_then(|number| Signal::try_from(number).ok()).ok_or(TransportError::NoStatus)?;
    Ok(Status::Signaled(signal.as_str().trim_start_matches("SIG").to_owned()))
}

#[cfg(test)]
mod tests;
