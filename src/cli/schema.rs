//! `schema`: the JSON Schema of a document, for editors.

use super::{error::CliError, screen::Screen};
use crate::{
    config::schema::{self, DocumentKind},
    model::ExitCode,
};

/// Print the JSON Schema of a kind of document
///
/// Editors use it to complete and check TOML files. It is made from the types that read the documents.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kind of document
    kind: Kind,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Inventory,
    Role,
    Playbook,
    Profile,
    Releases,
}

pub(super) fn run(args: &Args, screen: &Screen) -> Result<ExitCode, CliError> {
    let kind = match args.kind {
        Kind::Inventory => DocumentKind::Inventory,
        Kind::Role => DocumentKind::Role,
        Kind::Playbook => DocumentKind::Playbook,
        Kind::Profile => DocumentKind::Profile,
        Kind::Releases => DocumentKind::Releases,
    };
    let text = serde_json::to_string_pretty(schema::of(kind)).expect("a schema is plain data");
    screen.print(&text)?;
    Ok(ExitCode::Good)
}
