//! What a person says about windows on the command line.

use super::error::CliError;
use crate::engine::Windows;

#[derive(Debug, Clone, Default, clap::Args)]
#[group(id = "windows")]
pub(super) struct Args {
    /// Wait for the window of each host that is outside of its own
    #[arg(long)]
    wait: bool,

    /// Start hosts outside their windows, on this person's word
    #[arg(long, value_name = "NAME", requires = "reason", conflicts_with = "wait")]
    break_glass: Option<String>,

    /// Why windows are set aside; recorded and shown
    #[arg(long, value_name = "TEXT", requires = "break_glass")]
    reason: Option<String>,
}

impl Args {
    pub(super) fn windows(&self) -> Result<Windows, CliError> {
        let Some(by) = &self.break_glass else {
            return Ok(if self.wait { Windows::Wait } else { Windows::AsPlanned });
        };
        let reason = self.reason.clone().unwrap_or_default();
        if by.trim().is_empty() || reason.trim().is_empty() {
            let hint = "say who answers for it and why: `--break-glass anna --reason \"CVE-2026-1234\"`";
            return Err(CliError::with_hint("`--break-glass` needs a name and a reason", hint));
        }
        Ok(Windows::Overridden { by: by.trim().to_owned(), reason: reason.trim().to_owned() })
    }
}
