//! What a command can end with, and its exit code.

use std::path::PathBuf;

use crate::{
    config::Diagnostic,
    engine::EngineError,
    lab::{ControlError, LabError},
    ledger::LedgerError,
    model::{ExitCode, Failure, FailureClass},
};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The documents are wrong; each diagnostic is printed.
    #[error("{}; nothing was done", problems(.0))]
    Documents(Vec<Diagnostic>),
    #[error("there is no project here: neither `{0}` nor a folder above it has an `inventory` folder")]
    NoProject(PathBuf),
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// Not allowed as things stand; nothing was done.
    #[error("{message}")]
    Refused { message: String, hint: Option<String> },
    #[error("cannot read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Ctrl-C at a question.
    #[error("interrupted; nothing was done")]
    Interrupted,
    #[error("cannot print")]
    Print(#[source] std::io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Lab(#[from] LabError),
    /// Its causes are printed apart.
    #[error("{}", .0.message)]
    Failed(Failure),
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Documents(_) | Self::NoProject(_) | Self::Usage { .. } | Self::Read { .. } | Self::Write { .. } => {
                ExitCode::BadInput
            }
            // Who asks for a run or a lab that is not there has mistyped; no host is concerned.
            Self::Ledger(LedgerError::NoRun(_))
            | Self::Lab(
                LabError::InUse { .. }
                | LabError::NotEmpty { .. }
                | LabError::Directory { .. }
                | LabError::Control(ControlError::NoLab { .. } | ControlError::Host { .. }),
            ) => ExitCode::BadInput,
            Self::Failed(failure) if failure.class == FailureClass::Refused => ExitCode::Refused,
            Self::Print(_) | Self::Runtime(_) | Self::Lab(_) | Self::Failed(_) => ExitCode::HostFailed,
            Self::Refused { .. } | Self::Ledger(LedgerError::Running(_)) => ExitCode::Refused,
            Self::Interrupted => ExitCode::Interrupted,
            Self::Ledger(_) | Self::Engine(_) => ExitCode::PersonNeeded,
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoProject(_) => Some("`longshore init myfleet` makes one; `-C DIR` names another".to_owned()),
            Self::Usage { hint, .. } | Self::Refused { hint, .. } => hint.clone(),
            Self::Failed(failure) => failure.hint.clone(),
            Self::Ledger(error) => error.hint(),
            Self::Lab(LabError::Control(ControlError::NoLab { path })) => {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                let dir = dir.map_or_else(|| ".".to_owned(), |dir| dir.display().to_string());
                Some(format!("`longshore lab up --dir {dir}` starts one; `--dir` names the folder of another"))
            }
            Self::Lab(LabError::NotEmpty { .. }) => Some("name another folder with `--dir`".to_owned()),
            Self::Lab(LabError::Control(ControlError::Host { .. })) => {
                Some("its hosts are web-1, web-2 and so on, as many as `--hosts` said".to_owned())
            }
            Self::Engine(_) => Some(
                "make room on this machine's disk, if it is full, or look at the disk; then `longshore resume` goes on. \
                 `longshore history` shows what is recorded"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn problems(diagnostics: &[Diagnostic]) -> String {
    crate::report::diagnostics::summary(diagnostics)
}
