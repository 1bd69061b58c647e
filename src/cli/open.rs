//! Opens what commands work on: the project's folder, its documents, its playbooks.

use std::path::{Path, PathBuf};

use super::{Global, error::CliError, screen::Screen};
use crate::{
    config::{Diagnostic, Project, Severity, documents::Playbook, suggest},
    model::HostName,
};

/// Finds the project's folder: the one named, or the nearest above with an `inventory` folder.
pub(crate) fn project_root(global: &Global) -> Result<PathBuf, CliError> {
    if let Some(named) = &global.project {
        if named.join("inventory").is_dir() {
            return Ok(named.clone());
        }
        return Err(CliError::NoProject(named.clone()));
    }
    let here = std::env::current_dir().map_err(|source| CliError::Read { path: PathBuf::from("."), source })?;
    let root = here.ancestors().find(|folder| folder.join("inventory").is_dir());
    root.map(Path::to_path_buf).ok_or(CliError::NoProject(here))
}

/// Loads the project; all that is wrong in it is reported at once.
pub(crate) fn project(global: &Global, screen: &Screen) -> Result<Project, CliError> {
    let root = project_root(global)?;
    let (project, diagnostics) = Project::load(&root);
    refuse_errors(diagnostics, screen)?;
    Ok(project)
}

/// Loads the project and one of its playbooks, reporting what is wrong in both together.
pub(crate) fn playbook(global: &Global, screen: &Screen, path: &Path) -> Result<(Project, Playbook), CliError> {
    let root = project_root(global)?;
    let (project, mut diagnostics) = Project::load(&root);
    let path = find_playbook(&root, path);
    if !path.is_file() {
        refuse_errors(diagnostics, screen)?;
        return Err(no_playbook(&root, &path));
    }
    let (playbook, more) = project.load_playbook(&path);
    diagnostics.extend(more);
    refuse_errors(diagnostics, screen)?;
    playbook
        .map(|playbook| (project, playbook))
        .ok_or_else(|| CliError::usage(format!("`{}` is no playbook", path.display())))
}

/// A playbook may be named by its path, or by its name alone.
fn find_playbook(root: &Path, path: &Path) -> PathBuf {
    let candidates = [
        path.to_path_buf(),
        root.join(path),
        root.join("playbooks").join(path),
        root.join("playbooks").join(path).with_extension("toml"),
    ];
    candidates.iter().find(|candidate| candidate.is_file()).unwrap_or(&candidates[0]).clone()
}

/// Names the playbooks there are, as they may be typed.
fn no_playbook(root: &Path, path: &Path) -> CliError {
    let known: Vec<String> = playbooks(root)
        .iter()
        .filter_map(|path| path.file_stem())
        .map(|stem| stem.to_string_lossy().into_owned())
        .collect();
    let typed = path.file_stem().unwrap_or_default().to_string_lossy();
    let hint = suggest::hint(&typed, known.iter().map(String::as_str));
    CliError::Usage { message: format!("there is no playbook `{}`", path.display()), hint }
}

/// Lists the project's playbooks, sorted.
pub(crate) fn playbooks(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("playbooks")).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    found.sort();
    found
}

/// Resolves a selector, as a person typed it.
pub(crate) fn select(project: &Project, selector: &str) -> Result<Vec<HostName>, CliError> {
    project.select(selector).map_err(|error| match error.hint() {
        Some(hint) => CliError::with_hint(error.to_string(), hint),
        None => CliError::usage(error.to_string()),
    })
}

/// Prints warnings and goes on; errors end the command.
pub(crate) fn refuse_errors(diagnostics: Vec<Diagnostic>, screen: &Screen) -> Result<(), CliError> {
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(CliError::Documents(diagnostics));
    }
    if !diagnostics.is_empty() {
        screen.say(&crate::report::diagnostics::render(&diagnostics, screen.colour_errors));
    }
    Ok(())
}
