//! Becoming another user: `sudo`, and what it says before the shell of that user answers.
//!
//! Two random marks keep apart what must not be mixed up. The password is sent only when sudo printed
//! our prompt; the program only when the target user's shell printed that it is ready. So a password is
//! never run as a line of the program, nor a line of the program taken for a password.

use super::script::{Framed, find, mark};
use crate::{
    model::{Secret, clean_line, quote},
    transport::TransportError,
};

/// Kept of what sudo says, for the error.
const MOST_SAID: usize = 4096;

/// sudo's side of a conversation, up to the shell that is ready.
#[derive(Debug)]
pub(super) struct Doorkeeper {
    user: String,
    password: Option<Secret>,
    prompt: String,
    ready: String,
    held: Vec<u8>,
    said: Vec<u8>,
    was_asked: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cue {
    Wait,
    SendPassword,
    /// The shell is ready; these bytes of standard error came after that.
    Ready(Vec<u8>),
}

impl Doorkeeper {
    pub(super) fn new(user: &str, password: Option<Secret>) -> Self {
        Self {
            user: user.to_owned(),
            password,
            // A space, so that it can be told from the mark of the shell even when cut short.
            prompt: format!("[{}] ", mark()),
            ready: mark(),
            held: Vec::new(),
            said: Vec::new(),
            was_asked: false,
        }
    }

    /// The command that starts the other user's shell, which reports to be ready and then reads `framed`.
    ///
    /// Without a password sudo is told not to ask (`-n`): it would wait for an answer until it times out.
    pub(super) fn command(&self, framed: &Framed) -> String {
        let ask = match &self.password {
            Some(_) => format!("-S -p '{}'", self.prompt),
            None => "-n".to_owned(),
        };
        format!(
            "sudo {ask} -H -u {} -- /bin/sh -c 'echo \"$0\" >&2; {}' {}",
            quote(&self.user),
            framed.body,
            self.ready
        )
    }

    pub(super) fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Takes standard error; says what to do next.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<Cue, TransportError> {
        self.held.extend_from_slice(bytes);
        let ready = format!("{}\n", self.ready);
        if let Some(at) = find(&self.held, ready.as_bytes()) {
            return Ok(Cue::Ready(self.held.split_off(at + ready.len())));
        }
        if let Some(at) = find(&self.held, self.prompt.as_bytes()) {
            let rest = self.held.split_off(at + self.prompt.len());
            self.held.truncate(at);
            self.keep();
            self.held = rest;
            if self.was_asked {
                return Err(self.refusal("the password was refused"));
            }
            self.was_asked = true;
            return Ok(Cue::SendPassword);
        }
        if self.held.len() > 2 * MOST_SAID {
            let rest = self.held.split_off(self.held.len() - MOST_SAID);
            self.keep();
            self.held = rest;
        }
        Ok(Cue::Wait)
    }

    /// The error for a sudo that ended, or never came to the point.
    pub(super) fn failure(&mut self, otherwise: &str) -> TransportError {
        self.keep();
        let said = self.said();
        self.refusal(if said.is_empty() { otherwise } else { &said })
    }

    fn refusal(&self, reason: &str) -> TransportError {
        TransportError::Become { user: self.user.clone(), reason: reason.to_owned() }
    }

    fn keep(&mut self) {
        self.said.append(&mut self.held);
        let excess = self.said.len().saturating_sub(MOST_SAID);
        self.said.drain(..excess);
    }

    /// The last line said: sudo's lecture and its first words are not the reason.
    fn said(&self) -> String {
        self.said
            .split(|byte| *byte == b'\n')
            .rev()
            .map(|line| clean_line(line, 200))
            .find(|line| !line.is_empty())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_cued_by_the_prompt_alone_and_only_once() {
        let mut keeper = Doorkeeper::new("root", Some(Secret::new("x")));
        let prompt = keeper.prompt.clone();
        assert_eq!(keeper.hear(b"We trust you have received\nPassword: ").expect("no refusal"), Cue::Wait);
        let (begin, end) = prompt.split_at(9);
        assert_eq!(keeper.hear(begin.as_bytes()).expect("no refusal"), Cue::Wait);
        assert_eq!(keeper.hear(end.as_bytes()).expect("no refusal"), Cue::SendPassword);
        let error = keeper.hear(format!("Sorry, try again.\n{prompt}").as_bytes()).expect_err("asked twice");
        assert_eq!(error.to_string(), "cannot become `root`: the password was refused");
    }

    #[test]
    fn what_follows_the_ready_mark_belongs_to_the_program() {
        let mut keeper = Doorkeeper::new("root", None);
        let text = format!("lecture\n{}\nfirst words", keeper.ready);
        assert_eq!(keeper.hear(text.as_bytes()).expect("ready"), Cue::Ready(b"first words".to_vec()));
    }

    #[test]
    fn a_failure_repeats_what_sudo_said_last() {
        let mut keeper = Doorkeeper::new("root", None);
        assert_eq!(keeper.hear(b"lecture\nsudo: a password is required\n").expect("no refusal"), Cue::Wait);
        assert_eq!(keeper.failure("?").to_string(), "cannot become `root`: sudo: a password is required");
    }
}
