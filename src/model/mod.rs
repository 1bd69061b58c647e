//! The words of the product: names, versions, effects, outcomes. No input, no output.

mod acknowledged;
mod command;
mod downtime;
mod duration;
mod effect;
mod exit;
mod failure;
mod names;
mod outcome;
mod receipt;
mod secret;
mod text;
mod version;
mod way;

pub use acknowledged::Acknowledged;
pub use command::{RemoteCommand, quote};
pub use downtime::Downtime;
pub use duration::Span;
pub use effect::Effect;
pub use exit::ExitCode;
pub use failure::{Failure, FailureClass};
pub use names::{GroupName, HostName, KeptBy, NameError, ProfileName, RunId, RunNumber, StepId, Tag};
pub use outcome::{HostOutcome, StepOutcome, Verdict};
pub use receipt::Receipt;
pub(crate) use secret::SECRET_MARK;
pub use secret::{Redactor, Secret, SecretId, SecretSource};
pub(crate) use text::is_invisible;
pub use text::{clean, clean_line};
pub use version::Version;
pub use way::{Approval, StepPart, Way};
