//! `lint`: everything that is wrong in the documents, at once, without touching a host.

use super::{Global, OutputFormat, error::CliError, open, screen::Screen};
use crate::{
    config::{Diagnostic, Project, Severity},
    model::ExitCode,
    report::words,
};

/// Check all documents without touching a host
///
/// Reports every problem at once, with file, line, the text underlined and a hint.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let root = open::project_root(global)?;
    let (project, mut diagnostics) = Project::load(&root);
    diagnostics.extend(project.lint());
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    if screen.format == OutputFormat::Json {
        for diagnostic in &diagnostics {
            screen.print(&to_json(diagnostic).to_string())?;
        }
    } else {
        if !diagnostics.is_empty() {
            screen.print(&crate::report::diagnostics::render(&diagnostics, screen.colour))?;
        }
        let playbooks = open::playbooks(&root).len();
        let what = format!(
            "{}, {}, {}",
            words::count(project.inventory.hosts.len(), "host"),
            words::count(project.roles.len(), "role"),
            words::count(playbooks, "playbook")
        );
        let found = match (errors, warnings) {
            (0, 0) => "no problems".to_owned(),
            (0, _) => words::count(warnings, "warning"),
            (_, 0) => words::count(errors, "error"),
            _ => format!("{}, {}", words::count(errors, "error"), words::count(warnings, "warning")),
        };
        screen.say(&format!("{what}: {found}"));
    }
    Ok(if errors == 0 { ExitCode::Good } else { ExitCode::BadInput })
}

/// A diagnostic for programs: line and column count from 1, columns in characters.
fn to_json(diagnostic: &Diagnostic) -> serde_json::Value {
    let place = diagnostic.place.as_ref().map(|place| {
        let before = &place.text[..place.range.start.min(place.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        serde_json::json!({ "file": place.file, "line": line, "column": column })
    });
    serde_json::json!({
        "severity": if diagnostic.severity == Severity::Error { "error" } else { "warning" },
        "message": diagnostic.message, "place": place, "label": diagnostic.label, "hint": diagnostic.hint,
        "hosts": diagnostic.hosts,
    })
}
