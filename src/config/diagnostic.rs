//! What is wrong with a file a person wrote: plain data, rendered by `report`.

use std::{ops::Range, path::PathBuf, sync::Arc};

use crate::model::HostName;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// Where in a file it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    pub text: Arc<str>,
    /// Bytes of `text` to underline.
    pub range: Range<usize>,
}

impl Place {
    /// Names the file and the line, as editors open them: `roles/app/role.toml:8`.
    pub fn file_and_line(&self) -> String {
        let line = self.text[..self.range.start].matches('\n').count() + 1;
        format!("{}:{line}", self.file.display())
    }
}

/// One thing that is wrong, with where and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    pub place: Option<Place>,
    /// Said at the underlined text.
    pub label: Option<String>,
    /// What to change; names a key, a value or a command.
    pub hint: Option<String>,
    /// Hosts for which it shows, where it does not for all.
    pub hosts: Vec<HostName>,
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            label: None,
            hint: None,
            hosts: Vec::new(),
        }
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Puts diagnostics into the order in which a person reads the files: by file as first told, then by line.
pub(super) fn in_reading_order(diagnostics: &mut [Diagnostic]) {
    let mut files: Vec<PathBuf> = Vec::new();
    for place in diagnostics.iter().filter_map(|diagnostic| diagnostic.place.as_ref()) {
        if !files.contains(&place.file) {
            files.push(place.file.clone());
        }
    }
    diagnostics.sort_by_cached_key(|diagnostic| {
        let place = diagnostic.place.as_ref();
        place.map_or((usize::MAX, 0), |place| {
            (files.iter().position(|file| *file == place.file).unwrap_or(usize::MAX), place.range.start)
        })
    });
}
