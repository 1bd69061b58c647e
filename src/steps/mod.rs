//! One file for each kind of step: what it looks at, what it does, how it is taken back.
//!
//! A kind knows nothing of playbooks, waves, events or terminals. Its arguments are data from a
//! document; the strings in them are templates until the plan renders them.

mod answer;
mod backup;
mod check;
mod collect;
pub mod command;
mod copies;
mod deliver;
mod difference;
mod disk;
mod env;
mod exchange;
mod fetch;
mod file;
mod holds;
mod http;
mod json;
mod line;
mod local_file;
mod manual;
mod mirror;
mod notify;
mod outside;
mod probe_command;
mod probe_ssh;
mod reboot;
mod replace;
mod restarts;
mod restore;
mod scenario;
mod script;
mod shape;
mod shell;
#[cfg(test)]
mod stand;
mod tcp;
mod tree;
#[cfg(test)]
mod trial;
#[cfg(test)]
mod trial_postgres;
mod upload;
mod wait;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    model::{Effect, Failure, KeptBy, Receipt, Redactor, Span, Verdict},
    transport::{Session, TransportError},
};

pub use backup::{Backup, Keep, PostgresSource, SqliteSource, Verify};
pub use check::Check;
pub use collect::Collect;
pub use command::Command;
pub use copies::{CopyCheck, SavedCopy, list_copies, read_copies};
pub use deliver::Deliver;
pub use disk::DiskCheck;
pub use env::Env;
pub use fetch::Fetch;
pub use file::{File, FileState};
pub use holds::HOLDS;
pub use http::{HttpCheck, Side};
pub use line::Line;
pub use manual::ManualCheck;
pub use mirror::Mirror;
pub use notify::{Notify, NotifyFailure};
pub use outside::Outside;
pub use probe_command::CommandCheck;
pub use probe_ssh::SshCheck;
pub use reboot::Reboot;
pub use restarts::RestartsCheck;
pub use restore::Restore;
pub use scenario::ScenarioCheck;
pub use script::Script;
pub use shape::{Size, Statuses, Texts};
pub use tcp::TcpCheck;
pub use tree::{LoadedTree, Tree};
pub use upload::upload;
pub use wait::Wait;

/// What a step does: one variant for each kind. Written in documents as the key of the kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Command(Command),
    Script(Script),
    File(File),
    Tree(Tree),
    Fetch(Fetch),
    Env(Env),
    Line(Line),
    Check(Check),
    Wait(Wait),
    Notify(Notify),
    Backup(Backup),
    Restore(Restore),
    Mirror(Mirror),
    Collect(Collect),
    Deliver(Deliver),
    Reboot(Reboot),
}

impl Action {
    pub fn kind(&self) -> &dyn StepKind {
        match self {
            Self::Command(kind) => kind,
            Self::Script(kind) => kind,
            Self::File(kind) => kind,
            Self::Tree(kind) => kind,
            Self::Fetch(kind) => kind,
            Self::Env(kind) => kind,
            Self::Line(kind) => kind,
            Self::Check(kind) => kind,
            Self::Wait(kind) => kind,
            Self::Notify(kind) => kind,
            Self::Backup(kind) => kind,
            Self::Restore(kind) => kind,
            Self::Mirror(kind) => kind,
            Self::Collect(kind) => kind,
            Self::Deliver(kind) => kind,
            Self::Reboot(kind) => kind,
        }
    }

    pub fn kind_mut(&mut self) -> &mut dyn StepKind {
        match self {
            Self::Command(kind) => kind,
            Self::Script(kind) => kind,
            Self::File(kind) => kind,
            Self::Tree(kind) => kind,
            Self::Fetch(kind) => kind,
            Self::Env(kind) => kind,
            Self::Line(kind) => kind,
            Self::Check(kind) => kind,
            Self::Wait(kind) => kind,
            Self::Notify(kind) => kind,
            Self::Backup(kind) => kind,
            Self::Restore(kind) => kind,
            Self::Mirror(kind) => kind,
            Self::Collect(kind) => kind,
            Self::Deliver(kind) => kind,
            Self::Reboot(kind) => kind,
        }
    }

    /// The key that names the kind in documents, and in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Script(_) => "script",
            Self::File(_) => "file",
            Self::Tree(_) => "tree",
            Self::Fetch(_) => "fetch",
            Self::Env(_) => "env",
            Self::Line(_) => "line",
            Self::Check(_) => "check",
            Self::Wait(_) => "wait",
            Self::Notify(_) => "notify",
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Mirror(_) => "mirror",
            Self::Collect(_) => "collect",
            Self::Deliver(_) => "deliver",
            Self::Reboot(_) => "reboot",
        }
    }

    /// Whether the host is gone for a while with the step, and comes back as another boot.
    pub fn restarts_host(&self) -> bool {
        matches!(self, Self::Reboot(_))
    }
}

/// How a template's values are put into its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// Text for a shell: `{{x}}` becomes one quoted word.
    Shell,
    /// Any other text: `{{x}}` becomes the value as it is.
    Text,
}

/// A kind of step.
#[async_trait]
pub trait StepKind: Send + Sync {
    /// Visits every string that is a template, in the order of the document. `key` is the path of
    /// the string within the step (`undo`, `url`, `set.TAG`), for messages.
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String));

    /// Lists what is wrong with the arguments beyond their types, each with the key concerned.
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Reads the local files that the step needs into itself, or notes their digest and size.
    /// Called by the plan, once, before [`StepKind::templates`]: a file that is a template is visited
    /// there. Paths are relative to `base` (the document's folder) and are not templates.
    fn load(&mut self, base: &std::path::Path) -> Result<(), StepError> {
        let _ = base;
        Ok(())
    }

    /// Reads the local files whose names are templates. Called by the plan once those are put in.
    fn load_rendered(&mut self, base: &std::path::Path) -> Result<(), StepError> {
        let _ = base;
        Ok(())
    }

    /// Says in one line what the step does, for plans and tables. Secrets are placeholders.
    fn summary(&self) -> String;

    /// The effect a step of this kind has unless the document says otherwise.
    fn effect(&self) -> Effect;

    /// Longest time the step may take unless the document says otherwise.
    fn timeout(&self) -> Duration {
        Duration::from_mins(5)
    }

    /// How long a step of this kind usually takes, where the document does not say.
    fn expected(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// Whether running it twice does no more than running it once.
    fn is_repeat_safe(&self) -> bool;

    /// Where the kind itself keeps the data that it replaces, in words; `RUN` stands for the run's number.
    fn keeps(&self) -> Option<String> {
        None
    }

    /// How the step can be taken back when the document names no undo.
    fn undo(&self) -> Undoing;

    /// Makes what a `look` printed readable: with `LONGSHORE_DIFF=1` in its environment a `look` may send
    /// content, in a form that only the kind can read. Run the output of every `look` through this.
    fn difference(&self, looked: &str) -> String {
        looked.to_owned()
    }

    /// The step as work: a program for the host, or something the controller does itself.
    fn work(&self) -> Work<'_>;
}

/// What is wrong with an argument of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key within the step: `mode`, `http.url`.
    pub key: String,
    pub message: String,
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(key: &str, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the problem below a key of what contains the arguments.
    #[must_use]
    pub fn below(mut self, key: &str) -> Self {
        self.key = if self.key.is_empty() { key.to_owned() } else { format!("{key}.{}", self.key) };
        self
    }
}

/// How a kind of step is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undoing {
    /// The step changes nothing.
    Nothing,
    /// By the `undo` text of its [`HostProgram`].
    ByProgram,
    /// Not at all, and why.
    Impossible { reason: &'static str },
}

/// Who does the work of a step.
pub enum Work<'a> {
    /// A program for the host's `sh`; may travel together with its neighbours.
    Host(HostProgram),
    /// Work that needs the controller.
    Controller(&'a dyn ControllerWork),
}

/// A step as shell text, complete: values are quoted, secrets are references to variables.
///
/// Every text runs under `sh` with its own directory as `$LONGSHORE_STEP_DIR`: private, empty at
/// first, the same for `act` and `undo` of one step. `act` keeps there what `undo` needs. Standard
/// input is empty. Nothing but POSIX and the step's own command is assumed of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostProgram {
    /// Looks before acting: exit 0 there is nothing to do, 10 there is, anything else cannot tell.
    /// What it prints says what would change (`--check`, `--diff`). Changes nothing. `None`: always act.
    pub look: Option<String>,
    /// Does it: exit 0 done. Prints `longshore-receipt KEY VALUE` lines for its receipt.
    pub act: String,
    /// Takes it back, also when `act` was cut half way: exit 0 done. `None`: see [`StepKind::undo`].
    pub undo: Option<String>,
    /// What is to be brought to `$LONGSHORE_STEP_DIR/upload` first.
    pub upload: Option<Upload>,
    /// Whose directory `$LONGSHORE_STEP_DIR` is, where not the step's own: a rollback runs the undo of a
    /// finished run's step with what that step kept.
    pub keep_of: Option<KeptBy>,
    /// `act` restarts the host: not its status, but the host's next boot id says that it is done.
    pub restarts: bool,
    /// What it starts outside of its own processes. `act` sees `$LONGSHORE_WORK` to name it by.
    pub outside: Option<Box<Outside>>,
}

/// Exit status of a `look` that found something to do.
pub const LOOK_TO_DO: u32 = 10;

/// What is streamed to the host before the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upload {
    /// A file, resumed where it stopped.
    File(LargeFile),
    /// What the host lacks of a folder, as a folder.
    Tree(Box<LoadedTree>),
}

/// A local file that is too large for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargeFile {
    pub from: PathBuf,
    pub size: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// A step the controller does itself, with or without a session to the host.
#[async_trait]
pub trait ControllerWork: Send + Sync {
    /// Looks only: what `--check` shows. `Ok(None)` means there is nothing to do.
    async fn look(&self, reach: &Reach<'_>) -> Result<Option<String>, StepError>;

    /// Does it.
    async fn act(&self, reach: &Reach<'_>) -> Result<Done, StepError>;
}

/// What a step the controller does can reach.
pub struct Reach<'a> {
    pub session: &'a Arc<dyn Session>,
    pub redactor: &'a Redactor,
    /// The user to become for what runs on the host.
    pub run_as: Option<(String, Option<crate::model::Secret>)>,
    /// Facts of the run for notices: `run`, `host`, `phase`, ...
    pub words: &'a BTreeMap<String, String>,
    /// Where this run keeps files on the controller (fetched files, evidence), private.
    pub local: PathBuf,
    pub progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// Makes what a step's `look` printed readable. See [`StepKind::difference`].
pub fn difference(action: &Action, looked: &str) -> String {
    action.kind().difference(looked)
}

/// What happens inside a step, for the live display only. May be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A line the host said.
    Line(String),
    /// Bytes moved, of how many.
    Bytes { done: u64, of: u64 },
    /// What a waiting check saw last.
    Waiting(String),
}

/// How a step that worked ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    pub changed: bool,
    pub receipt: Receipt,
    /// Verdict of a check step, with what was seen.
    pub probe: Option<Probed>,
}

/// What one probe saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    pub verdict: Verdict,
    /// What was seen, in one line: `status 200 in 12 ms`, `expected 200, got 503`.
    pub seen: String,
    /// A count that may not grow while the host is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Why a step did not work.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("cannot read `{path}`")]
    LocalFile {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write `{path}`")]
    LocalWrite {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// A program of the step ended badly; the last lines it said follow.
    #[error("`{program}` ended with {status}")]
    Ended { program: String, status: crate::transport::Status, output: Vec<String> },
    #[error("{what}: {seen}")]
    Check { what: String, verdict: Verdict, seen: String },
    #[error("{what} was not so within {}", Span(*limit))]
    WaitedInVain { what: String, limit: Duration, seen: String },
    #[error("the secret `{0}` has no value here")]
    Secret(String),
    #[error("{0}")]
    Refused(String),
}

impl StepError {
    /// Turns the error into data.
    pub fn to_failure(&self) -> Failure {
        use crate::model::FailureClass as Class;
        let class = match self {
            Self::Transport(error) => error.class(),
            Self::LocalFile { .. } | Self::LocalWrite { .. } => Class::Controller,
            Self::Ended { .. } | Self::Refused(_) => Class::Step,
            Self::Check { .. } | Self::WaitedInVain { .. } => Class::Check,
            Self::Secret(_) => Class::Input,
        };
        let failure = Failure::from_error(class, self);
        match self {
            Self::Ended { output, .. } => failure.output(output.clone()),
            Self::WaitedInVain { seen, .. } => failure.because(format!("last seen: {seen}")),
            _ => failure,
        }
    }
}
