//! What no single value shows: names that lead nowhere, circles, steps that contradict themselves,
//! templates with names that nobody declares.

mod data;
mod development;
mod inventory;
mod playbook;
mod releases;
mod role;
mod rollout;
mod steps;
mod vars;
mod ways;
mod window;

pub(super) use inventory::inventory;
pub(super) use playbook::playbook;
pub(super) use role::role;

use super::{Diagnostic, Place};
use crate::model::HostName;

/// Collects diagnostics; the same words at the same place are told once.
struct Findings<'a>(&'a mut Vec<Diagnostic>);

impl Findings<'_> {
    fn add(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    fn error(&mut self, place: Place, message: impl Into<String>, hint: Option<String>) {
        let mut diagnostic = Diagnostic::error(message).at(place);
        diagnostic.hint = hint;
        self.add(diagnostic);
    }

    fn warning(&mut self, place: Place, message: impl Into<String>, hint: Option<String>) {
        let mut diagnostic = Diagnostic::warning(message).at(place);
        diagnostic.hint = hint;
        self.add(diagnostic);
    }
}

/// Names hosts in a sentence: the first ones, and how many more.
fn hosts(names: &[HostName]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("host `{one}`"),
        [one, other] => format!("hosts `{one}` and `{other}`"),
        [one, other, rest @ ..] => format!("hosts `{one}`, `{other}` and {} more", rest.len()),
    }
}
