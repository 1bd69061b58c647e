//! Runs a client's command in a real `sh`, in the host's own directory, and carries its streams.
//!
//! As with OpenSSH's server, a program outlives its channel and its connection: only its streams go.
//! Its exit status is told as soon as it ends, and the channel is closed once nobody holds its output
//! open any more.
//!
//! A full disk without root: the shell ignores `SIGXFSZ` and sets its file size limit to zero, and both
//! are handed down. So every write to a file fails (with "file too large" where a full disk would say "no
//! space left"), an existing file that is opened for writing is truncated, and nothing else changes. `df`
//! is replaced by one that shows no space left.

#![allow(clippy::disallowed_methods, reason = "a lab host runs what it is told, as a process with a search path")]

use std::{
    ffi::OsStr,
    io,
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use russh::{
    Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig,
    server::{Handle, Msg},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{fault::Fault, host::Host, processes::MARK};

/// What a host with a full disk runs instead of the command itself, which is its first argument.
const FULL_DISK: &str = r#"trap '' XFSZ; ulimit -f 0; exec /bin/sh -c "$1""#;

/// A `df` that shows a full disk, whatever it is asked for: the format of POSIX's `df -P`.
pub(super) const FULL_DF: &str = "#!/bin/sh
echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'
echo 'lab 1048576 1048576 0 100% /'
";

/// What a client asks to be run.
pub(super) enum Wanted<'a> {
    Command(&'a [u8]),
    /// A shell that reads its commands from standard input.
    Shell,
}

/// A program that was started for a channel.
pub(super) struct Program {
    child: Child,
    leader: Pid,
    host: Arc<Host>,
}

/// Starts a program on a host, as the leader of a process group of its own.
pub(super) fn start(host: &Arc<Host>, wanted: &Wanted<'_>, variables: &[(String, String)]) -> io::Result<Program> {
    let is_full = host.has(Fault::FullDisk);
    let mut command = Command::new("/bin/sh");
    match wanted {
        Wanted::Command(text) if is_full => command.arg("-c").arg(FULL_DISK).arg("sh").arg(OsStr::from_bytes(text)),
        Wanted::Shell if is_full => command.arg("-c").arg(FULL_DISK).arg("sh").arg("exec /bin/sh"),
        Wanted::Command(text) => command.arg("-c").arg(OsStr::from_bytes(text)),
        Wanted::Shell => &mut command,
    };
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    if is_full {
        let mut first = host.tools.join("full-disk").into_os_string();
        first.push(":");
        first.push(path);
        path = first;
    }
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", &host.home)
        .env("USER", &host.user)
        .env("LOGNAME", &host.user)
        .env("SHELL", "/bin/sh")
        .env("TMPDIR", host.home.join("tmp"))
        .env("LONGSHORE_LAB_HOST", host.name.as_str())
        .env(MARK, host.processes.mark())
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(&host.home)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let spawn = || {
        let child = command.spawn()?;
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw)
            .expect("a child that was not waited for has an id");
        Ok((Program { child, leader, host: host.clone() }, leader))
    };
    host.processes.start(spawn).unwrap_or_else(|| Err(io::ErrorKind::ConnectionAborted.into()))
}

impl Program {
    /// Carries the program's streams until it has ended and its output is at its end.
    ///
    /// `gone` is cancelled when the channel or its connection is no more: the streams are let go, the
    /// program goes on and is waited for. `signals` are passed on to the program's group.
    pub(super) async fn attend(
        self,
        channel: Channel<Msg>,
        session: Handle,
        mut signals: mpsc::UnboundedReceiver<Sig>,
        gone: CancellationToken,
    ) {
        let Self { mut child, leader, host } = self;
        let id = channel.id();
        let (read, write) = channel.split();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let kill_at = host.faults().exit_signal();
        let ended = async {
            let status = wait(&mut child, leader, &mut signals, kill_at).await;
            host.processes.ended(leader);
            if !host.has(Fault::NoStatus) {
                report(&session, id, status).await;
            }
        };
        tokio::pin!(ended);
        let mut has_ended = false;
        let streams = async {
            let finish = async {
                ended.as_mut().await;
                has_ended = true;
            };
            tokio::join!(finish, carry(stdout, &write, None), carry(stderr, &write, Some(1)));
        };
        tokio::select! {
            () = gone.cancelled() => {}
            // Never ends by itself: what the client still sends is taken, or its connection would stall.
            () = carry_input(read, stdin) => {}
            () = streams => {
                // The order that clients know: status (already told), end of output, close.
                let _ = session.eof(id).await;
                let _ = session.close(id).await;
            }
        }
        if !has_ended {
            ended.await;
        }
    }
}

/// Waits for the leader; until then the number of its group is surely its own.
async fn wait(
    child: &mut Child,
    leader: Pid,
    signals: &mut mpsc::UnboundedReceiver<Sig>,
    kill_at: Option<Duration>,
) -> io::Result<ExitStatus> {
    let killing = async {
        match kill_at {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(killing);
    let mut is_killed = false;
    loop {
        tokio::select! {
            status = child.wait() => return status,
            () = &mut killing, if !is_killed => {
                is_killed = true;
                let _ = killpg(leader, Signal::SIGKILL);
            }
            Some(signal) = signals.recv() => {
                if let Some(signal) = to_unix(&signal) {
                    let _ = killpg(leader, signal);
                }
            }
        }
    }
}

/// Carries one stream of output to its end. An error means that the channel is no more.
async fn carry(stream: Option<impl AsyncRead + Unpin>, write: &ChannelWriteHalf<Msg>, extended: Option<u32>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let bytes = buffer[..count].to_vec();
        let sent = match extended {
            None => write.data_bytes(bytes).await,
            Some(kind) => write.extended_data_bytes(kind, bytes).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Carries the input, and goes on taking it when the program reads no more. Never completes.
async fn carry_input(mut read: ChannelReadHalf, mut stdin: Option<ChildStdin>) {
    loop {
        match read.wait().await {
            Some(ChannelMsg::Data { data }) => {
                if let Some(open) = stdin.as_mut()
                    && open.write_all(&data).await.is_err()
                {
                    stdin = None;
                }
            }
            Some(ChannelMsg::Eof | ChannelMsg::Close) => stdin = None,
            Some(_) => {}
            None => {
                drop(stdin.take());
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn report(session: &Handle, id: russh::ChannelId, status: io::Result<ExitStatus>) {
    // A status that could not be had is not made up: the client sees that none came.
    let Ok(status) = status else { return };
    if let Some(code) = status.code() {
        let _ = session.exit_status_request(id, code.unsigned_abs()).await;
    } else if let Some(signal) = status.signal() {
        let _ =
            session.exit_signal_request(id, to_ssh(signal), status.core_dumped(), String::new(), String::new()).await;
    }
}

fn to_ssh(signal: i32) -> Sig {
    match Signal::try_from(signal) {
        Ok(Signal::SIGABRT) => Sig::ABRT,
        Ok(Signal::SIGALRM) => Sig::ALRM,
        Ok(Signal::SIGFPE) => Sig::FPE,
        Ok(Signal::SIGHUP) => Sig::HUP,
        Ok(Signal::SIGILL) => Sig::ILL,
        Ok(Signal::SIGINT) => Sig::INT,
        Ok(Signal::SIGKILL) => Sig::KILL,
        Ok(Signal::SIGPIPE) => Sig::PIPE,
        Ok(Signal::SIGQUIT) => Sig::QUIT,
        Ok(Signal::SIGSEGV) => Sig::SEGV,
        Ok(Signal::SIGTERM) => Sig::TERM,
        Ok(Signal::SIGUSR1) => Sig::USR1,
        Ok(other) => Sig::Custom(other.as_str().trim_start_matches("SIG").to_owned()),
        Err(_) => Sig::Custom(signal.to_string()),
    }
}

fn to_unix(signal: &Sig) -> Option<Signal> {
    Some(match signal {
        Sig::ABRT => Signal::SIGABRT,
        Sig::ALRM => Signal::SIGALRM,
        Sig::FPE => Signal::SIGFPE,
        Sig::HUP => Signal::SIGHUP,
        Sig::ILL => Signal::SIGILL,
        Sig::INT => Signal::SIGINT,
        Sig::KILL => Signal::SIGKILL,
        Sig::PIPE => Signal::SIGPIPE,
        Sig::QUIT => Signal::SIGQUIT,
        Sig::SEGV => Signal::SIGSEGV,
        Sig::TERM => Signal::SIGTERM,
        Sig::USR1 => Signal::SIGUSR1,
        Sig::Custom(name) => format!("SIG{name}").parse().ok()?,
    })
}
