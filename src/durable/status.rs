//! What a host knows of attempts: section 4 of the protocol, read back.

use std::time::Duration;

use super::{
    Attempt, AttemptState, AttemptStatus, Doubt, DurableError, Ending, HostSide, Refusal,
    wire::{Answer, check_name},
};

const STATUS: &str = include_str!("status.sh");

/// What the host knows of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStatus {
    /// The host's identity; `None`: it never gave a lease. Another one than the ledger's is another host.
    pub host_id: Option<String>,
    /// Whether the host knows the run. If not and the ledger sent something, its state is lost.
    pub known: bool,
    /// Whether the run was closed there: what its attempts printed is gone, their results are not.
    pub closed: bool,
    /// Segments whose wrapper lives.
    pub live_segments: Vec<String>,
    pub attempts: Vec<AttemptStatus>,
}

impl HostSide {
    /// Asks what became of attempts.
    pub async fn status(&self, attempts: &[Attempt]) -> Result<RunStatus, DurableError> {
        let question = "say what became of its steps";
        for attempt in attempts {
            check_name(attempt.step.as_str())?;
        }
        let names: Vec<String> = attempts.iter().map(ToString::to_string).collect();
        let answers = self.ask(question, self.script().set("ATTEMPTS", &names.join(" ")).add(STATUS)).await?;
        let mut status =
            RunStatus { host_id: None, known: false, closed: false, live_segments: Vec::new(), attempts: Vec::new() };
        for answer in &answers {
            match answer.verb.as_str() {
                "host" => {
                    status.host_id = Some(answer.word(0).to_owned()).filter(|id| id != "-");
                    status.closed = answer.word(1) == "closed";
                    status.known = status.closed || answer.word(1) == "known";
                }
                "segment" => status.live_segments.push(answer.word(0).to_owned()),
                _ => {}
            }
        }
        status.attempts = read_states(question, attempts, &answers)?;
        if !status.known {
            for attempt in &mut status.attempts {
                attempt.state = AttemptState::Ended(Ending::Unknown { why: Doubt::StateLost });
            }
        }
        Ok(status)
    }
}

/// Reads the `state` lines, one for each attempt asked about.
pub(super) fn read_states(
    question: &'static str,
    attempts: &[Attempt],
    answers: &[Answer],
) -> Result<Vec<AttemptStatus>, DurableError> {
    let read = |attempt: &Attempt| {
        let name = attempt.to_string();
        let answer = answers.iter().rfind(|answer| answer.verb == "state" && answer.word(0) == name);
        let state = answer.and_then(|answer| state(answer.word(1), answer.word(2)));
        let state =
            state.ok_or_else(|| DurableError::Host { question, reason: format!("it said nothing of {name}") })?;
        Ok(AttemptStatus { attempt: attempt.clone(), state })
    };
    attempts.iter().map(read).collect()
}

/// Reads a state and a result, as `judge` in `state.sh` names them.
pub(super) fn state(word: &str, result: &str) -> Option<AttemptState> {
    Some(match word {
        "none" => AttemptState::NotStarted,
        "queued" => AttemptState::Queued,
        "pending" => AttemptState::Pending,
        // Of one that restarts the host, the program has ended and the host has not.
        "running" | "restarting" => AttemptState::Running { orphaned: false },
        "orphaned" => AttemptState::Running { orphaned: true },
        "lingering" | "left" => AttemptState::Ended(Ending::Lingering { result: result.to_owned() }),
        "done" => AttemptState::Ended(ending(result)?),
        "void" => AttemptState::Ended(Ending::Void),
        "lost" => AttemptState::Ended(Ending::Unknown { why: Doubt::Lost }),
        "rebooted" => AttemptState::Ended(Ending::Unknown { why: Doubt::Rebooted }),
        _ => return None,
    })
}

/// Reads the name of a result file.
fn ending(result: &str) -> Option<Ending> {
    Some(match result.split_once('.').unwrap_or((result, "")) {
        ("unchanged", _) => Ending::Unchanged,
        ("rc", "0") | ("restarted", _) => Ending::Changed,
        ("not-restarted", _) => Ending::NotRestarted,
        ("rc", code) => Ending::Failed { status: code.parse().ok()? },
        ("look", code) => Ending::CannotTell { status: code.parse().ok()? },
        ("killed", "limit") => Ending::KilledByLimit,
        ("killed", "cancel") => Ending::Cancelled,
        ("closed", "done") => Ending::FoundDone,
        ("closed", "not-done") => Ending::FoundNotDone,
        _ => return None,
    })
}

/// Reads why the host did not start a step.
pub(super) fn refusal(word: &str, fence: Option<(String, u64)>) -> Option<Refusal> {
    Some(match word {
        // The wrapper died before it came to the step; nothing stands against sending it again.
        "gone" => return None,
        "fenced" => {
            let (run, token) = fence.unwrap_or_default();
            Refusal::Fenced { run, token }
        }
        "claimed" => Refusal::Claimed,
        "earlier-open" => Refusal::EarlierOpen,
        "still-runs" => Refusal::StillRuns,
        "nospace" => Refusal::NoSpace,
        "nosync" => Refusal::NoSync,
        "stuck" => Refusal::Stuck,
        // What lingers is the step before it.
        "failed" | "lingering" => Refusal::EarlierStep,
        "stopped" => Refusal::Stopped,
        "keep-gone" => Refusal::KeepGone,
        "unhooked" => Refusal::NoHook,
        other => Refusal::Host(other.to_owned()),
    })
}

/// The time between two readings of the host's uptime.
pub(super) fn took(began: &str, ended: &str) -> Option<Duration> {
    let seconds = ended.parse::<f64>().ok()? - began.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_the_host_can_name_is_read() {
        let ended = |ending| Some(AttemptState::Ended(ending));
        for (word, result, expected) in [
            ("none", "-", Some(AttemptState::NotStarted)),
            ("orphaned", "-", Some(AttemptState::Running { orphaned: true })),
            ("done", "rc.0", ended(Ending::Changed)),
            ("done", "rc.137", ended(Ending::Failed { status: 137 })),
            ("done", "look.2", ended(Ending::CannotTell { status: 2 })),
            ("done", "unchanged", ended(Ending::Unchanged)),
            ("done", "killed.limit", ended(Ending::KilledByLimit)),
            ("lost", "lost", ended(Ending::Unknown { why: Doubt::Lost })),
            ("lingering", "rc.0", ended(Ending::Lingering { result: "rc.0".into() })),
            ("restarting", "rc.0", Some(AttemptState::Running { orphaned: false })),
            ("done", "restarted", ended(Ending::Changed)),
            ("done", "not-restarted", ended(Ending::NotRestarted)),
            ("done", "rc.x", None),
            ("", "", None),
        ] {
            assert_eq!(state(word, result), expected, "{word} {result}");
        }
    }
}
