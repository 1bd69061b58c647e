//! Variables that steps and checks use and nothing declares: what a host or a playbook has still to set.

use std::path::Path;

use super::{item, template_file, template_place};
use crate::{
    config::{
        Place,
        documents::{RoleCheck, StepDoc},
        source::{KeyPath, Source},
        template::{self, Scope, TemplateKind, TemplateProblem},
    },
    steps::Action,
};

/// A name that templates use and a host does not declare.
pub(in crate::config::lint) struct Missing {
    pub name: String,
    pub place: Place,
}

/// Lists the names that templates of these steps use and `scope` does not declare.
pub(in crate::config::lint) fn missing(
    source: &Source,
    dir: &Path,
    path: &KeyPath,
    steps: &[StepDoc],
    scope: &Scope,
) -> Vec<Missing> {
    let mut all = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let at = item(source, path, index);
        if let Some(mut action) = step.action() {
            missing_in(source, dir, &at.key(action.name()), &mut action, scope, &mut all);
        }
        missing_in_condition(source, &at, step.when.as_deref(), scope, &mut all);
        if let Some(undo) = &step.undo {
            all.extend(missing(source, dir, &at.key("undo"), &undo.0, scope));
        }
    }
    all
}

/// As [`missing`], for checks.
pub(in crate::config::lint) fn missing_in_checks(
    source: &Source,
    dir: &Path,
    path: &KeyPath,
    checks: &[RoleCheck],
    scope: &Scope,
) -> Vec<Missing> {
    let mut all = Vec::new();
    for (index, check) in checks.iter().enumerate() {
        let at = path.index(index);
        missing_in(source, dir, &at, &mut Action::Check(check.to_check()), scope, &mut all);
        missing_in_condition(source, &at, check.when.as_deref(), scope, &mut all);
    }
    all
}

fn missing_in_condition(source: &Source, at: &KeyPath, when: Option<&str>, scope: &Scope, all: &mut Vec<Missing>) {
    let Some(when) = when else { return };
    let asked = format!("{{{{#if {}}}}}{{{{/if}}}}", when.strip_prefix('!').unwrap_or(when));
    for problem in template::check(TemplateKind::Text, &asked, scope) {
        all.extend(problem.undeclared.map(|name| Missing { name, place: source.place(&at.key("when")) }));
    }
}

fn missing_in(source: &Source, dir: &Path, at: &KeyPath, action: &mut Action, scope: &Scope, all: &mut Vec<Missing>) {
    let has_template = match action {
        Action::File(file) => file.template.is_some(),
        Action::Script(script) => script.template,
        _ => false,
    };
    if has_template && action.kind_mut().load(dir).is_err() {
        // Told when the document itself was judged.
        return;
    }
    let file = template_file(action, dir);
    action.kind_mut().templates(&mut |kind, key, text| {
        for TemplateProblem { range, undeclared, .. } in template::check(kind, text, scope) {
            let Some(name) = undeclared else { continue };
            let place = template_place(source, at, file.as_deref(), key, text, &range);
            all.push(Missing { name, place });
        }
    });
}
