//! An error as data: what events, tables and resume know of a failure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it was: what a reader, a budget or an exit code would treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// No connection, or none that lasts: address, port, time limit, a server that closes.
    Unreachable,
    /// The host's key is not known.
    HostKeyUnknown,
    /// The host's key is not the one it had.
    HostKeyChanged,
    /// The host refused us: user, key, password.
    Authentication,
    /// `become` did not work.
    Become,
    /// A gate or a baseline check was not green, so nothing was begun.
    Gate,
    /// A step ended with an error.
    Step,
    /// A step passed its time limit.
    TimedOut,
    /// A check after the change was not green.
    Check,
    /// Nothing is wrong with the host: its wave or its run was given up for others, or a person closed it there.
    GivenUp,
    /// An undo ended with an error: the host is stuck.
    Undo,
    /// Nobody can tell whether a step happened.
    Unknown,
    /// Refused: lease held, host moved since the plan.
    Refused,
    /// Outside its window: nothing was begun.
    Window,
    /// A document, template or secret could not be used; nothing was touched.
    Input,
    /// The controller's own trouble: ledger, disk.
    Controller,
}

impl FailureClass {
    /// Whether the host was never reached, so that it belongs to the `unreachable` budget.
    ///
    /// A wrong or changed key and a refused login are failures of their own: a person has to act.
    pub fn is_unreachable(self) -> bool {
        matches!(self, Self::Unreachable)
    }
}

/// Why something did not work, ready to be stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub class: FailureClass,
    /// What was being tried, with which value. A lower-case fragment.
    pub message: String,
    /// The chain of causes, outermost first; none repeats the message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to change or type next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The last lines the host said about it, cleaned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl Failure {
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), causes: Vec::new(), hint: None, output: Vec::new() }
    }

    /// Takes the message and the chain of causes from an error.
    pub fn from_error(class: FailureClass, error: &dyn std::error::Error) -> Self {
        let mut failure = Self::new(class, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            failure.causes.push(error.to_string());
            cause = error.source();
        }
        failure
    }

    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn output(mut self, lines: Vec<String>) -> Self {
        self.output = lines;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}
