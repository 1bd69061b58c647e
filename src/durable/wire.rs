//! Scripts to a host and answers from it: the only place where the two halves of the protocol meet.

use std::{fmt::Write as _, time::Duration};

use super::{DurableError, HostSide};
use crate::{
    model::{Redactor, quote},
    transport::{Exec, KEEP, Status},
};

/// Longest time of a question: the host may wait 10 s for its mutex, and a full `sync` takes a while.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) const STATE: &str = include_str!("state.sh");
const PRELUDE: &str = include_str!("prelude.sh");

/// A script for the host under construction: assignments, the prelude, then parts and calls.
pub(super) struct Script {
    text: String,
    nonce: String,
}

impl Script {
    /// Sets a variable of the script.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        let _ = writeln!(self.text, "{name}={}", quote(value));
        self
    }

    /// Adds one of the `.sh` files, or a call of a function in it.
    pub fn add(mut self, part: &str) -> Self {
        self.text.push_str(part);
        if !part.ends_with('\n') {
            self.text.push('\n');
        }
        self
    }

    /// Adds a call of a function, its arguments quoted.
    pub fn call(mut self, function: &str, arguments: &[&str]) -> Self {
        self.text.push_str(function);
        for argument in arguments {
            self.text.push(' ');
            self.text.push_str(&quote(argument));
        }
        self.text.push('\n');
        self
    }

    pub fn nonce(&self) -> &str {
        &self.nonce
    }
}

impl HostSide {
    /// Begins a script with what all of them know.
    pub(super) fn script(&self) -> Script {
        let nonce = format!("{:032x}", rand::random::<u128>());
        let head = Script { text: String::new(), nonce: nonce.clone() };
        head.set("N", &nonce)
            .set("ROOT", self.root.as_deref().unwrap_or_default())
            .set("KEY", self.install.as_str())
            .set("RUN", self.run.as_str())
            .set("GRACE", &self.grace.as_secs().max(1).to_string())
            .add(PRELUDE)
            .add(STATE)
    }

    pub(super) fn exec(&self, script: Script) -> Exec {
        let mut exec = Exec::script(script.text);
        exec.run_as.clone_from(&self.run_as);
        exec
    }

    /// Sends a script and returns its answers, each as words. Failures that the host names become errors.
    pub(super) async fn ask(&self, question: &'static str, script: Script) -> Result<Vec<Answer>, DurableError> {
        let nonce = script.nonce.clone();
        let mut exec = self.exec(script).timeout(PATIENCE);
        exec.keep = 4 * KEEP;
        let ended = self.session.run(exec, &mut ()).await?;
        let out = ended.out.text();
        let answers: Vec<Answer> = out.lines().filter_map(|line| Answer::parse(line, &nonce)).collect();
        if let Some(failure) = answers.iter().find_map(|answer| answer.failure(question)) {
            return Err(failure);
        }
        match answers.split_last() {
            Some((last, before)) if last.verb == "end" => Ok(before.to_vec()),
            _ => Err(garbled(question, &ended.status, &ended.err.text())),
        }
    }
}

/// The answer that says less than it should: the shell died, or never was one.
pub(super) fn garbled(question: &'static str, status: &Status, said: &str) -> DurableError {
    let said = crate::model::clean_line(said.as_bytes(), 200);
    let said = if said.is_empty() { "nothing on standard error".to_owned() } else { said };
    DurableError::Garbled { question, status: status.to_string(), said }
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub verb: String,
    pub words: Vec<String>,
}

impl Answer {
    pub fn parse(line: &str, nonce: &str) -> Option<Self> {
        let mut words = line.strip_prefix(nonce)?.strip_prefix(' ')?.split_ascii_whitespace().map(str::to_owned);
        Some(Self { verb: words.next()?, words: words.collect() })
    }

    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    pub fn number(&self, index: usize) -> Option<u64> {
        self.word(index).parse().ok()
    }

    /// Reads the word at `index` as seconds.
    pub fn seconds(&self, index: usize) -> Option<Duration> {
        self.number(index).map(Duration::from_secs)
    }

    /// Reads a `fail KIND ...` line.
    pub fn failure(&self, question: &'static str) -> Option<DurableError> {
        if self.verb != "fail" {
            return None;
        }
        let rest = self.words.get(1..).unwrap_or_default().join(" ");
        Some(match self.word(0) {
            "nospace" => DurableError::NoSpace { path: rest },
            "stuck" => DurableError::Stuck { path: rest },
            "statelost" => DurableError::StateLost { path: rest },
            "stillruns" => DurableError::StillRuns { what: rest },
            "keepgone" => DurableError::KeepGone { path: rest },
            "damaged" => DurableError::Damaged { path: rest },
            "badroot" => {
                DurableError::NotDurable { reason: format!("`{rest}` cannot be used as a directory for state") }
            }
            "nosync" => DurableError::NoSync { path: rest },
            other => DurableError::Host { question, reason: format!("{other} {rest}") },
        })
    }
}

/// Checks a word that becomes a file name on the host.
pub(super) fn check_name(name: &str) -> Result<(), DurableError> {
    let good = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-');
    if good { Ok(()) } else { Err(DurableError::BadName(name.to_owned())) }
}

/// Checks a program's text: it must arrive as it is, and carry no secret into a file.
pub(super) fn check_program(attempt: &impl ToString, text: &str) -> Result<(), DurableError> {
    let reason = if text.contains('\0') {
        "it contains a NUL byte"
    } else if Redactor::mentions_secret(text) {
        "it contains a secret's placeholder instead of its variable"
    } else {
        return Ok(());
    };
    Err(DurableError::BadProgram { attempt: attempt.to_string(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_this_call_are_answers() {
        assert_eq!(Answer::parse("abc state x", "abc"), Some(Answer { verb: "state".into(), words: vec!["x".into()] }));
        assert_eq!(Answer::parse("Welcome to abc", "abc"), None);
        assert_eq!(Answer::parse("abcd state", "abc"), None);
    }

    #[test]
    fn a_name_that_could_leave_its_directory_is_refused() {
        for bad in ["", "..", "a/b", "a.b", "-a", "A", "a b", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(check_name("01-back-up").is_ok());
    }
}
