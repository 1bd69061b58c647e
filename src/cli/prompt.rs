//! Asks the person at the terminal: yes or no, a passphrase, a password.

use std::{io::Write as _, path::Path, sync::Arc};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{error::CliError, voice::Voice};
use crate::{
    model::{Secret, clean_line},
    transport::ssh::{Prompter, Questions},
};

/// Asks at the terminal, one question at a time.
pub(crate) struct TerminalPrompter {
    voice: Voice,
    /// Held while a question stands, so that two hosts never ask at once.
    asking: Arc<Mutex<()>>,
}

impl TerminalPrompter {
    pub(crate) fn new(voice: Voice) -> Self {
        Self { voice, asking: Arc::new(Mutex::new(())) }
    }

    async fn hidden(&self, question: String) -> Option<Secret> {
        if !self.voice.can_ask() {
            return None;
        }
        let _asking = self.asking.lock().await;
        let voice = self.voice.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _room = voice.room();
            rpassword::prompt_password(question)
        });
        let asked = asked.await.ok()?;
        asked.ok().filter(|answer| !answer.is_empty()).map(Secret::new)
    }

    async fn visible(&self, question: String) -> Option<Secret> {
        if !self.voice.can_ask() {
            return None;
        }
        let _asking = self.asking.lock().await;
        let voice = self.voice.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _room = voice.room();
            ask(&question)
        });
        asked.await.ok()?.map(Secret::new)
    }
}

#[async_trait]
impl Prompter for TerminalPrompter {
    async fn passphrase(&self, key: &Path, again: bool) -> Option<Secret> {
        let again = if again { "That did not open it. " } else { "" };
        self.hidden(format!("{again}Passphrase of `{}`: ", key.display())).await
    }

    async fn password(&self, user: &str, address: &str, again: bool) -> Option<Secret> {
        let again = if again { "That was refused. " } else { "" };
        self.hidden(format!("{again}Password of `{user}` at {address}: ")).await
    }

    async fn answers(&self, questions: &Questions) -> Option<Vec<Secret>> {
        let mut answers = Vec::new();
        for question in &questions.prompts {
            // The host's words, so that nobody takes them for ours.
            let said = clean_line(question.prompt.as_bytes(), 200);
            let text = format!("{}@{} asks: {said} ", questions.user, questions.address);
            answers.push(if question.echo { self.visible(text).await? } else { self.hidden(text).await? });
        }
        Some(answers)
    }
}

/// Asks a question on standard error and reads one line; `None` at the end of input.
pub(crate) fn ask(question: &str) -> Option<String> {
    let mut err = std::io::stderr().lock();
    write!(err, "{question}").and_then(|()| err.flush()).ok()?;
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

/// Asks for a yes before anything is begun. Ctrl-C ends the command, as it does while nothing is asked.
pub(crate) async fn agreed(question: String) -> Result<bool, CliError> {
    let asked = tokio::task::spawn_blocking(move || confirmed(&question));
    tokio::select! {
        answer = asked => Ok(answer.unwrap_or(false)),
        _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
    }
}

/// Asks for words before anything is begun. Ctrl-C ends the command, as it does while nothing is asked.
pub(crate) async fn typed(question: String) -> Result<Option<String>, CliError> {
    let asked = tokio::task::spawn_blocking(move || ask(&question));
    tokio::select! {
        answer = asked => Ok(answer.unwrap_or(None)),
        _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
    }
}

/// Asks for a yes. Anything else is a no.
pub(crate) fn confirmed(question: &str) -> bool {
    ask(question).is_some_and(|answer| matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
}
