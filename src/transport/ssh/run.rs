//! One program on one channel: its input goes in while its output comes out, and its end is told exactly.
//!
//! The reader of a channel never waits for anyone: russh would stop the whole connection, keepalives
//! included. Output goes into bounded captures, or through a bounded queue to a writer that must keep up.

use std::{collections::VecDeque, future::pending, io, sync::Arc, time::Duration};

use russh::{ChannelMsg, ChannelWriteHalf, Sig, client::Msg};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::Instant,
};

use super::{
    Limits,
    channel::{self, Reading, Slots},
    connect::Link,
    script::{self, Input, Noise},
    sudo::{Cue, Doorkeeper},
};
use crate::{
    model::{Secret, clean_line},
    transport::{Capture, Captured, Ended, Exec, Output, Program, Status, Stream, TransportError},
};

/// Bytes given to the connection at a time.
const CHUNK: usize = 256 * 1024;

/// Output waiting for its writer, at most.
const QUEUE: usize = 8 * 1024 * 1024;

/// How long a writer may stand still with the queue full: the connection stands still with it.
const STALL: Duration = Duration::from_secs(10);

/// How long a program that was killed is still listened to when nothing comes. Something it started may hold its
/// output open for ever.
const KILLED: Duration = Duration::from_secs(10);

/// How long sudo may take to ask for a password, check it, or start a shell.
const SUDO: Duration = Duration::from_mins(1);

/// Where a program's input comes from and its output goes, besides `Exec`.
pub(super) struct Ends<'a> {
    pub(super) from: Option<&'a mut (dyn AsyncRead + Send + Unpin)>,
    pub(super) into: Option<&'a mut (dyn AsyncWrite + Send + Unpin)>,
    pub(super) output: &'a mut (dyn Output + 'a),
}

/// Runs one program to its end.
pub(super) async fn run(
    link: &Arc<Link>,
    slots: &Arc<Slots>,
    limits: &Limits,
    exec: Exec,
    ends: Ends<'_>,
) -> Result<Ended, TransportError> {
    let Prepared { command, head, mark, mut keeper } = prepare(&exec, ends.from.is_some(), &link.peer.user)?;
    let mut channel = channel::open_session(link, slots, limits.channel_open).await?;
    if link.forwards_agent && channel.write_half().agent_forward(false).await.is_err() {
        return Err(channel::lost(link));
    }
    if channel.write_half().exec(true, command).await.is_err() {
        return Err(channel::lost(link));
    }
    let began = Instant::now();
    let deadline = exec.timeout.map(|limit| began + limit);
    let mut last_word = began;
    let (cue, cues) = mpsc::channel(2);
    let password = keeper.as_ref().and_then(|keeper| keeper.password().cloned());
    let (read, write) = channel.halves();
    let writing = write_input(write, keeper.is_some().then_some(cues), password, head, exec.stdin, ends.from);
    tokio::pin!(writing);
    let mut is_written = false;
    let mut sudo_until = keeper.is_some().then(|| began + SUDO);
    let mut listener = Listener {
        noise: mark.as_deref().map(|mark| [Noise::before(mark), Noise::before(mark)]),
        captures: [Capture::new(exec.keep), Capture::new(exec.keep)],
        output: ends.output,
        queue: ends.into.is_some().then(Queue::default),
        streamed: 0,
    };
    let mut into = ends.into;
    let mut status = None;
    let mut has_begun = false;
    loop {
        let queued = listener.queue.as_ref().map_or(0, |queue| queue.bytes);
        let idle_at = exec.idle_timeout.map(|limit| last_word + limit);
        let was_killed = matches!(status, Some(Status::Signaled(_))) && queued == 0;
        let killed_at = was_killed.then(|| last_word + KILLED);
        let stalled_at = listener.queue.as_ref().filter(|_| queued >= QUEUE).map(|queue| queue.moved + STALL);
        let message = tokio::select! {
            message = read.wait(), if queued < QUEUE => message,
            written = &mut writing, if !is_written => {
                is_written = true;
                match written {
                    Ok(()) => continue,
                    // No end of input follows: what has arrived must not look complete.
                    Err(source) => {
                        stop(read, write).await;
                        return Err(TransportError::Local { doing: "reading", source });
                    }
                }
            }
            moved = write_some(&mut into, listener.queue.as_ref()), if queued > 0 => {
                match moved {
                    Ok(length) => listener.moved(length),
                    Err(source) => {
                        stop(read, write).await;
                        return Err(TransportError::Local { doing: "writing", source });
                    }
                }
                continue;
            }
            () = until(stalled_at) => {
                stop(read, write).await;
                let source = io::Error::new(io::ErrorKind::TimedOut, "it took nothing for too long");
                return Err(TransportError::Local { doing: "writing", source });
            }
            () = until(killed_at) => break,
            () = until(deadline) => {
                stop(read, write).await;
                return Err(TransportError::TimedOut { limit: exec.timeout.unwrap_or_default() });
            }
            () = until(idle_at) => {
                stop(read, write).await;
                return Err(TransportError::Idle { limit: exec.idle_timeout.unwrap_or_default() });
            }
            () = until(sudo_until) => {
                let Some(keeper) = &mut keeper else { continue };
                return Err(keeper.failure("sudo neither asked for a password nor started a shell"));
            }
        };
        let Some(message) = message else { break };
        last_word = Instant::now();
        match message {
            ChannelMsg::Data { data } => listener.hear(Stream::Out, &data),
            ChannelMsg::ExtendedData { data, ext: 1 } => match &mut keeper {
                Some(keeper) if sudo_until.is_some() => match keeper.hear(&data)? {
                    Cue::Wait => {}
                    Cue::SendPassword => {
                        // Two cues at most are ever sent, and the writer takes them: there is room.
                        let _ = cue.try_send(Go::Password);
                        sudo_until = Some(Instant::now() + SUDO);
                    }
                    Cue::Ready(rest) => {
                        let _ = cue.try_send(Go::Program);
                        sudo_until = None;
                        listener.hear(Stream::Err, &rest);
                    }
                },
                _ => listener.hear(Stream::Err, &data),
            },
            ChannelMsg::ExitStatus { exit_status } => status = Some(Status::Exited(exit_status)),
            ChannelMsg::ExitSignal { signal_name, .. } => status = Some(Status::Signaled(signal(signal_name))),
            ChannelMsg::Success => has_begun = true,
            ChannelMsg::Failure if !has_begun => {
                return Err(TransportError::Channel("it runs no programs for this user".to_owned()));
            }
            _ => {}
        }
    }
    let Some(status) = status else {
        return Err(if link.is_closed() { channel::lost(link) } else { TransportError::NoStatus });
    };
    if sudo_until.is_some()
        && let Some(keeper) = &mut keeper
    {
        return Err(keeper.failure(&format!("sudo ended with {status}")));
    }
    listener.finish(status, into).await
}

/// A program ready to be sent.
struct Prepared {
    command: String,
    head: Option<Secret>,
    mark: Option<String>,
    keeper: Option<Doorkeeper>,
}

fn prepare(exec: &Exec, streams: bool, login: &str) -> Result<Prepared, TransportError> {
    // Becoming who one is needs no sudo, and the host need not have it.
    let run_as = exec.run_as.as_ref().filter(|(user, _)| user != login);
    let text = match &exec.program {
        // No quoting of a new line is read alike by csh and all others.
        Program::Command(command)
            if exec.secrets.is_empty()
                && run_as.is_none()
                && !command.words().iter().any(|word| word.contains('\n')) =>
        {
            return Ok(Prepared { command: command.to_login_shell(), head: None, mark: None, keeper: None });
        }
        Program::Command(command) => &command.to_shell(),
        Program::Script(text) => text,
    };
    let input = if streams || !exec.stdin.is_empty() { Input::Follows } else { Input::Empty };
    let framed = script::frame(text, &exec.secrets, input)?;
    let keeper = run_as.map(|(user, password)| Doorkeeper::new(user, password.clone()));
    let command = keeper.as_ref().map_or_else(|| framed.command(), |keeper| keeper.command(&framed));
    Ok(Prepared { command, head: Some(framed.head), mark: Some(framed.mark), keeper })
}

/// What the writer waits for where sudo comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    Password,
    Program,
}

/// Writes the input. An error is the local reader's; a channel that went away is the reader's to report.
async fn write_input(
    write: &ChannelWriteHalf<Msg>,
    cues: Option<mpsc::Receiver<Go>>,
    password: Option<Secret>,
    head: Option<Secret>,
    stdin: Vec<u8>,
    from: Option<&mut (dyn AsyncRead + Send + Unpin)>,
) -> io::Result<()> {
    if let Some(mut cues) = cues {
        loop {
            match (cues.recv().await, &password) {
                (Some(Go::Password), Some(password)) => {
                    if write.data_bytes(format!("{}\n", password.reveal()).into_bytes()).await.is_err() {
                        return Ok(());
                    }
                }
                (Some(Go::Password), None) => {}
                (Some(Go::Program), _) => break,
                (None, _) => return Ok(()),
            }
        }
    }
    let head = head.as_ref().map_or(&[][..], |head| head.reveal().as_bytes());
    for chunk in head.chunks(CHUNK).chain(stdin.chunks(CHUNK)) {
        if write.data_bytes(chunk.to_vec()).await.is_err() {
            return Ok(());
        }
    }
    if let Some(from) = from {
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                break;
            }
            if write.data_bytes(buffer[..length].to_vec()).await.is_err() {
                return Ok(());
            }
        }
    }
    // Fails only where the connection is gone.
    let _ = write.eof().await;
    Ok(())
}

/// How long a program that was told to end may take to tidy up.
const GRACE: Duration = Duration::from_secs(2);

/// Asks the host to end the program, and lets it end in good order before the channel closes.
///
/// Ordinary users' sshd passes the signal on; for root it refuses, and closing the channel leaves the
/// program running: hence `leaves_doubt`.
async fn stop(read: &mut Reading, write: &ChannelWriteHalf<Msg>) {
    let ending = async {
        if write.signal(Sig::TERM).await.is_ok() {
            // What it still says is read, or its last words would kill it; and belongs to no one.
            while read.wait().await.is_some() {}
        }
    };
    let _ = tokio::time::timeout(GRACE, ending).await;
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => pending().await,
    }
}

/// Output on its way to a writer.
#[derive(Debug)]
struct Queue {
    chunks: VecDeque<Vec<u8>>,
    /// Written already of the first chunk.
    done: usize,
    bytes: usize,
    /// When the writer last took something.
    moved: Instant,
}

impl Default for Queue {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), done: 0, bytes: 0, moved: Instant::now() }
    }
}

async fn write_some(
    into: &mut Option<&mut (dyn AsyncWrite + Send + Unpin)>,
    queue: Option<&Queue>,
) -> io::Result<usize> {
    match (into, queue.and_then(|queue| Some((queue.chunks.front()?, queue.done)))) {
        (Some(into), Some((chunk, done))) => match into.write(&chunk[done..]).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            length => Ok(length),
        },
        _ => pending().await,
    }
}

/// Takes the output apart: noise away, a stretch kept of each stream, the rest passed on.
struct Listener<'a> {
    noise: Option<[Noise; 2]>,
    captures: [Capture; 2],
    output: &'a mut (dyn Output + 'a),
    queue: Option<Queue>,
    streamed: u64,
}

impl Listener<'_> {
    fn hear(&mut self, stream: Stream, bytes: &[u8]) {
        match &mut self.noise {
            Some(noise) => {
                let own = noise[index(stream)].pass(bytes).into_owned();
                self.deliver(stream, &own);
            }
            None => self.deliver(stream, bytes),
        }
    }

    fn deliver(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.queue {
            Some(queue) if stream == Stream::Out => {
                if queue.bytes == 0 {
                    queue.moved = Instant::now();
                }
                queue.bytes += bytes.len();
                queue.chunks.push_back(bytes.to_vec());
                self.streamed += bytes.len() as u64;
            }
            _ => {
                self.captures[index(stream)].push(bytes);
                self.output.absorb(stream, bytes);
            }
        }
    }

    fn moved(&mut self, length: usize) {
        let Some(queue) = &mut self.queue else { return };
        queue.moved = Instant::now();
        queue.bytes -= length;
        queue.done += length;
        if queue.chunks.front().is_some_and(|chunk| chunk.len() == queue.done) {
            queue.chunks.pop_front();
            queue.done = 0;
        }
    }

    /// Passes on what is left and tells how it ended.
    async fn finish(
        mut self,
        status: Status,
        mut into: Option<&mut (dyn AsyncWrite + Send + Unpin)>,
    ) -> Result<Ended, TransportError> {
        if let Some(mut noise) = self.noise.take() {
            let [out, err] = &mut noise;
            let has_run = out.was_found() || err.was_found();
            let (out, err) = (out.rest(), err.rest());
            if !has_run {
                let said = if err.iter().all(u8::is_ascii_whitespace) { &out } else { &err };
                return Err(TransportError::NotRun { status, said: clean_line(said, 200) });
            }
            self.deliver(Stream::Out, &out);
            self.deliver(Stream::Err, &err);
        }
        let local = |source| TransportError::Local { doing: "writing", source };
        while self.queue.as_ref().is_some_and(|queue| queue.bytes > 0) {
            let length = tokio::time::timeout(STALL, write_some(&mut into, self.queue.as_ref()))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                .map_err(local)?;
            self.moved(length);
        }
        if let Some(into) = into {
            into.flush().await.map_err(local)?;
        }
        let [out, err] = self.captures;
        let out = match self.queue {
            Some(_) => Captured { total: self.streamed, ..Captured::default() },
            None => out.finish(),
        };
        Ok(Ended { status, out, err: err.finish() })
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Out => 0,
        Stream::Err => 1,
    }
}

/// The name of a signal as SSH sends it.
fn signal(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => name.split('@').next().unwrap_or_default().to_owned(),
        known => format!("{known:?}"),
    }
}
