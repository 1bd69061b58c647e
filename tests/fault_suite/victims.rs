//! Finds the processes of one host by a mark in their environment, and tells what each of them is.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, getsid},
};

/// What a process of a host is, for the one who kills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Runs the steps of a segment, one after the other.
    Wrapper,
    /// The parent of a step.
    Supervisor,
    /// The shell that runs the step itself.
    Step,
    /// Keeps the output of a step.
    Drainer,
    /// Keeps the time limit of a step.
    Watch,
    /// A shell that speaks with the controller: it launches, follows or renews.
    Follower,
    /// sshd's own process of a connection.
    Session,
    /// Whatever else was started for the host: sleeps and such.
    Other,
}

#[derive(Debug, Clone)]
pub struct Process {
    pub id: Pid,
    pub role: Role,
    pub command: String,
}

/// Lists the live processes that carry `mark` (`NAME=value`) in their environment.
pub fn of(mark: &str) -> Vec<Process> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let id = Pid::from_raw(name.parse().ok()?);
            if name == own {
                return None;
            }
            let environment = fs::read(entry.path().join("environ")).ok()?;
            environment.split(|byte| *byte == 0).find(|word| *word == mark.as_bytes())?;
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            Some(Process { id, role: role(id, &command), command })
        })
        .collect()
}

fn role(id: Pid, command: &str) -> Role {
    let leads = getsid(Some(id)).is_ok_and(|session| session == id);
    let file = |end: &str| command.split(' ').nth(1).is_some_and(|file| file.ends_with(end));
    // The subshells of both have the same command line, and are not the first of their session.
    if file("segment/wrapper") {
        if leads { Role::Wrapper } else { Role::Drainer }
    } else if file("segment/supervise") {
        if leads { Role::Supervisor } else { Role::Watch }
        // How the transport has a shell read its script.
    } else if command.contains("read -r lse") {
        Role::Follower
    } else if command.split(' ').nth(1).is_some_and(|file| file.ends_with("/act")) {
        Role::Step
    } else {
        Role::Other
    }
}

/// Kills all processes of a role; says how many there were.
pub fn kill_role(mark: &str, role: Role) -> usize {
    let found: Vec<_> = of(mark).into_iter().filter(|process| process.role == role).collect();
    for process in &found {
        let _ = kill(process.id, Signal::SIGKILL);
    }
    found.len()
}

/// Kills one process of a role, the `pick`-th where there are several; says whether there was one.
pub fn kill_one(mark: &str, role: Role, pick: usize) -> bool {
    let all = of(mark);
    let mut found: Vec<Pid> = if role == Role::Session {
        all.iter().filter_map(|process| parent(process.id)).filter(|parent| name(*parent).starts_with("sshd")).collect()
    } else {
        all.iter().filter(|process| process.role == role).map(|process| process.id).collect()
    };
    found.sort_unstable();
    found.dedup();
    !found.is_empty() && kill(found[pick % found.len()], Signal::SIGKILL).is_ok()
}

/// The sshd that listens at `port`, and the words that start it once more, in the background.
pub fn listener(port: u16) -> Option<(Pid, String)> {
    let configuration = format!("-{port}.conf");
    fs::read_dir("/proc").expect("/proc").flatten().find_map(|entry| {
        let id = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?.replace('\0', " ");
        let words: Vec<_> = command.split(' ').collect();
        let after = |flag: &str| words.iter().skip_while(|word| **word != flag).nth(1);
        let (file, log) = (after("-f").filter(|file| file.ends_with(&configuration))?, after("-E")?);
        Some((id, format!("/usr/sbin/sshd -f {file} -E {log}")))
    })
}

/// The sshd that listens at a port, whoever started it; ended when dropped.
pub struct Listening(pub u16);

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some((id, _)) = listener(self.0) {
            let _ = kill(id, Signal::SIGKILL);
        }
    }
}

fn parent(id: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok().map(Pid::from_raw)
}

fn name(id: Pid) -> String {
    fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default()
}

/// Sends `signal` to everything of the host; says how many there were.
pub fn signal_all(mark: &str, signal: Signal) -> usize {
    let found = of(mark);
    for process in &found {
        let _ = kill(process.id, signal);
    }
    found.len()
}

/// Kills everything of the host, and what is born meanwhile.
pub fn kill_all(mark: &str) -> usize {
    let (mut killed, mut quiet) = (0, 0);
    for _ in 0..50 {
        let now = signal_all(mark, Signal::SIGKILL);
        killed += now;
        // A process that is just turning into another program shows no environment for a moment.
        quiet = if now == 0 { quiet + 1 } else { 0 };
        if quiet == 2 || killed == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    killed
}
