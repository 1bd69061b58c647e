//! Runs the commands of `Match exec`, which decide whether a block applies.

#![allow(clippy::disallowed_methods, reason = "`Match exec` is a command of the controller")]

use std::{
    io,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longest time a command may take: it holds up the connection to a host.
const LIMIT: Duration = Duration::from_secs(10);

/// Says whether a command ends with status 0. Neither reads nor prints anything.
pub fn succeeds(command: &str) -> io::Result<bool> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let deadline = Instant::now() + LIMIT;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() >= deadline {
            // Both may fail only when the command has just ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
