//! `completions` and `man`: made from the same definitions as the help texts.

use std::path::PathBuf;

use clap::CommandFactory as _;

use super::{Cli, error::CliError, screen::Screen};
use crate::model::ExitCode;

/// Print a completion script for a shell
///
/// For bash: `longshore completions bash > ~/.local/share/bash-completion/completions/longshore`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Print the manual page, or write all of them into a folder
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Folder to write the pages of all commands into
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args, screen: &Screen) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "longshore", &mut script);
    screen.print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Good)
}

pub(super) fn man(args: &ManArgs, screen: &Screen) -> Result<ExitCode, CliError> {
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
            .map_err(|source| CliError::Write { path: dir.clone(), source })?;
        return Ok(ExitCode::Good);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(CliError::Print)?;
    screen.print(&String::from_utf8_lossy(&page))?;
    Ok(ExitCode::Good)
}
