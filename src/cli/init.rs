//! `init`: a new project, commented, that lints clean.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use super::{error::CliError, screen::Screen};
use crate::model::ExitCode;

/// Make a new project: inventory, playbooks, roles, commented
///
/// Existing files are never overwritten.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder to make
    #[arg(default_value = ".")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args, screen: &Screen) -> Result<ExitCode, CliError> {
    let files = crate::config::init::files();
    // So that paths read `inventory/fleet.toml` and not `./inventory/fleet.toml`.
    let here = args.dir == std::path::Path::new(".");
    let dir = if here { PathBuf::new() } else { args.dir.clone() };
    let taken: Vec<_> = files.iter().map(|(path, _)| dir.join(path)).filter(|path| path.exists()).collect();
    if let Some(first) = taken.first() {
        let message = format!("`{}` is there already; nothing was written", first.display());
        return Err(CliError::with_hint(message, "name a new folder: `longshore init myfleet`"));
    }
    for (path, text) in &files {
        let path = dir.join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path)?;
            file.write_all(text.as_bytes())
        });
        written.map_err(|source| CliError::Write { path: path.clone(), source })?;
        screen.say(&format!("made {}", path.display()));
    }
    screen.say(&format!(
        "\nNext: write your hosts into {}, then\n{}  longshore lint\n  longshore trust all\n  longshore check all",
        dir.join("inventory/fleet.toml").display(),
        if here { String::new() } else { format!("  cd {}\n", dir.display()) },
    ));
    Ok(ExitCode::Good)
}
