//! `profile`: the built-in profiles as they are written, to read and to begin one's own with.

use std::fmt::Write as _;

use super::{error::CliError, screen::Screen};
use crate::{
    config::{builtin_profiles, suggest},
    model::ExitCode,
};

/// Show the built-in profiles
///
/// A profile says how a product is installed: which steps each verb is. A project's own are in its inventory; they build
/// on one of these by `extends`, or begin as a copy of one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List their names
    List,
    /// Print one as it is written
    Show {
        /// Its name
        name: String,
    },
}

pub(super) fn run(args: &Args, screen: &Screen) -> Result<ExitCode, CliError> {
    match &args.command {
        Command::List => {
            let mut text = String::new();
            for (name, _) in builtin_profiles() {
                let _ = writeln!(text, "{name}");
            }
            screen.print(text.trim_end())?;
        }
        Command::Show { name } => {
            let Some((_, text)) = builtin_profiles().find(|(known, _)| known == name) else {
                let near = suggest::hint(name, builtin_profiles().map(|(name, _)| name).collect::<Vec<_>>());
                let hint = near.unwrap_or_else(|| "`longshore profile list` lists them".to_owned());
                return Err(CliError::with_hint(format!("no profile `{name}` is built in"), hint));
            };
            screen.print(text.trim_end())?;
        }
    }
    Ok(ExitCode::Good)
}
