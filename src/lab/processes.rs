//! Finds and ends every process that the lab's hosts have started, detached ones included.
//!
//! Each program gets the lab's mark in its environment and hands it on to whatever it starts, so
//! that a process which left its group, or outlived its shell, is still known. Where processes cannot
//! be looked at (no `/proc`), their groups have to do; what wiped its environment *and* left its group
//! is not found there.

use std::{
    collections::BTreeSet,
    io,
    sync::{Mutex, PoisonError, RwLock},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// The environment variable that marks a lab's processes.
pub(super) const MARK: &str = "LONGSHORE_LAB";

/// How often, and how far apart, to look again for processes born while others were killed.
const ROUNDS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The processes of one lab.
#[derive(Debug)]
pub(super) struct Processes {
    mark: String,
    /// Groups whose leader has not been waited for, so that the number is surely still ours.
    groups: Mutex<BTreeSet<i32>>,
    /// Whether the lab ends: what would be started now would be missed.
    is_closed: RwLock<bool>,
}

impl Processes {
    pub(super) fn new(mark: String) -> Self {
        Self { mark, groups: Mutex::default(), is_closed: RwLock::new(false) }
    }

    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Starts a program by `start`, which returns the leader of its group. `None` when the lab ends.
    pub(super) fn start<T>(&self, start: impl FnOnce() -> io::Result<(T, Pid)>) -> Option<io::Result<T>> {
        let is_closed = self.is_closed.read().unwrap_or_else(PoisonError::into_inner);
        if *is_closed {
            return None;
        }
        Some(start().map(|(program, leader)| {
            self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(leader.as_raw());
            program
        }))
    }

    /// Notes that the leader has been waited for.
    pub(super) fn ended(&self, leader: Pid) {
        // Without `/proc` a group that still has members is remembered: while it has any, its number
        // cannot be given to anybody else.
        if cfg!(target_os = "linux") || killpg(leader, None).is_err() {
            self.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&leader.as_raw());
        }
    }

    /// Lets no more be started, kills all there are, and looks again until none is left.
    ///
    /// Returns how many would not go within a second. Blocks; the leaders are to be waited for by
    /// whoever started them.
    pub(super) fn kill_all(&self) -> usize {
        *self.is_closed.write().unwrap_or_else(PoisonError::into_inner) = true;
        let mut left = 0;
        for _ in 0..ROUNDS {
            let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for group in groups {
                // Gone already is what is wanted.
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let marked = marked(&self.mark);
            left = marked.len();
            if left == 0 {
                break;
            }
            for process in marked {
                let _ = kill(process, Signal::SIGKILL);
            }
            std::thread::sleep(PAUSE);
        }
        left
    }
}

/// Lists the live processes that carry the mark.
#[cfg(target_os = "linux")]
pub(super) fn marked(mark: &str) -> Vec<Pid> {
    let wanted = format!("{MARK}={mark}");
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| *process != own)
        // Unreadable means another user's, and a zombie has no environment any more.
        .filter(|process| {
            std::fs::read(format!("/proc/{process}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
            })
        })
        .filter_map(|process| i32::try_from(process).ok().map(Pid::from_raw))
        .collect()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn marked(_: &str) -> Vec<Pid> {
    Vec::new()
}
