//! Steps and checks: one kind each, no contradictions, templates whose every name is declared.

mod missing;
mod promises;

use std::{ops::Range, path::Path};

use indexmap::IndexMap;

use super::{Findings, development};
use crate::{
    config::{
        Place,
        documents::{OneOrMany, RoleCheck, StepDoc},
        resolve::Variables,
        source::{KeyPath, Source},
        suggest,
        template::{self, Scope, TemplateKind},
    },
    model::Effect,
    steps::Action,
};

pub(super) use missing::{Missing, missing, missing_in_checks};

/// Where steps stand and what their templates may use.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub source: &'a Source,
    /// The folder to which local files are relative.
    pub dir: &'a Path,
    pub scope: &'a Scope,
    /// The steps are those of a profile's verb.
    pub is_verb: bool,
}

/// What is asked of steps that change data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// They require a receipt.
    Protected,
    /// They come after the receipts, and put data back.
    Free,
}

/// Judges steps.
pub(super) struct Steps<'a, 'b, 'c> {
    pub setting: Setting<'a>,
    pub found: &'c mut Findings<'b>,
}

impl Steps<'_, '_, '_> {
    /// Judges a list of steps; a single one may stand at `path` without a list around it.
    pub fn list(&mut self, path: &KeyPath, steps: &[StepDoc]) {
        self.list_after(path, steps, &[], Data::Protected);
    }

    /// Judges steps that may rely on receipts of the steps called `before`.
    pub fn list_after(&mut self, path: &KeyPath, steps: &[StepDoc], before: &[&str], data: Data) {
        let mut earlier = before.to_vec();
        for (index, step) in steps.iter().enumerate() {
            let at = item(self.setting.source, path, index);
            self.step(&at, step, &earlier, false);
            if data == Data::Protected {
                self.protected(&at, step);
            }
            earlier.extend(step.name.as_deref());
        }
    }

    /// A step that changes data says what that data can be put back from.
    fn protected(&mut self, at: &KeyPath, step: &StepDoc) {
        // A restore keeps what it replaces.
        let passes = step.effect.is_some_and(Effect::passes_no_return) && step.restore.is_none();
        let source = self.setting.source;
        if passes && !self.setting.is_verb && step.requires.is_empty() && step.unprotected.is_none() {
            let message = "a step that changes data requires the receipt of a backup";
            let hint = "say `requires = [{ receipt = \"...\", younger-than = \"1h\" }]`, or `unprotected = \"...\"` \
                        with the reason why none is needed";
            self.found.error(source.key_place(&at.key("effect")), message, Some(hint.to_owned()));
        }
        self.passed_over(at, step);
        let Some(reason) = &step.unprotected else { return };
        let place = source.key_place(&at.key("unprotected"));
        if reason.trim().is_empty() {
            let hint = "say in a few words why no backup is needed".to_owned();
            self.found.error(source.place(&at.key("unprotected")), "`unprotected` needs a reason", Some(hint));
        } else if !step.requires.is_empty() {
            let message = "a step that requires a receipt is not unprotected";
            self.found.error(place, message, Some("keep `requires` or `unprotected`".to_owned()));
        } else if step.effect.is_some_and(|effect| !effect.passes_no_return()) {
            let message = "only a step that changes data can be unprotected";
            self.found.error(place, message, Some("take `unprotected` out".to_owned()));
        }
    }

    pub fn one(&mut self, path: &KeyPath, step: &StepDoc) {
        self.step(path, step, &[], false);
    }

    /// Judges a fact: a step that prints a line, under a name that templates can say.
    pub fn fact(&mut self, path: &KeyPath, name: &str, step: &StepDoc) {
        let source = self.setting.source;
        let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !is_word || matches!(name, "version" | "digest") {
            let message = format!("`{}` cannot be the name of a fact", name.escape_debug());
            let hint = "a name begins with a letter and consists of letters, digits, `-` and `_`; `version` and \
                        `digest` are there already";
            self.found.error(source.key_place(path), message, Some(hint.to_owned()));
        }
        if let [kind] = step.kinds().as_slice()
            && !["command", "script", "verb"].contains(kind)
        {
            let message = format!("a `{kind}` step prints no line that could be a fact");
            let hint = "use `command` or `script`".to_owned();
            self.found.error(source.key_place(&path.key(kind)), message, Some(hint));
        }
        self.step(path, step, &[], false);
    }

    pub fn checks(&mut self, path: &KeyPath, checks: &[RoleCheck]) {
        let mut names: Vec<&str> = Vec::new();
        for (index, check) in checks.iter().enumerate() {
            let at = path.index(index);
            let kinds = check.kinds();
            match kinds.as_slice() {
                // Whether the profiles of the hosts have the verb is a matter of the playbook.
                ["verb"] => {}
                [_] => self.action(&at, &mut Action::Check(check.to_check())),
                [] if self.setting.source.is_damaged(&at) => {}
                _ => {
                    self.kinds(
                        &at,
                        "check",
                        &kinds,
                        &["verb", "http", "tcp", "command", "disk", "ssh", "restarts", "scenario", "copy", "manual"],
                    );
                }
            }
            if let Some(when) = &check.when {
                self.when(&at.key("when"), when);
            }
            self.plain(&at.key("name"), &check.name);
            if check.manual.is_some() && !check.after_only {
                let message = "a person is asked once the new release runs, and not before";
                let hint = "add `after-only = true`".to_owned();
                self.found.error(self.setting.source.key_place(&at.key("manual")), message, Some(hint));
            }
            if names.contains(&check.name.as_str()) {
                let message = format!("there are two checks called `{}`", check.name.escape_debug());
                let hint = "tables tell checks apart by their names".to_owned();
                self.found.error(self.setting.source.place(&at.key("name")), message, Some(hint));
            }
            names.push(&check.name);
        }
    }

    fn step(&mut self, at: &KeyPath, step: &StepDoc, earlier: &[&str], in_undo: bool) {
        let source = self.setting.source;
        let kinds = step.kinds();
        match kinds.as_slice() {
            [_] => {}
            [] if source.is_damaged(at) => {}
            _ => {
                let all = [
                    "verb", "command", "script", "file", "tree", "fetch", "env", "line", "check", "wait", "notify",
                    "backup", "restore", "reboot", "health",
                ];
                self.kinds(at, "step", &kinds, &all);
            }
        }
        if let Some(name) = &step.name {
            self.plain(&at.key("name"), name);
        }
        if kinds == ["health"] {
            self.health(at, step, in_undo);
        }
        let action = if kinds.len() == 1 { step.action() } else { None };
        if let Some(mut action) = action.clone() {
            self.action(&at.key(action.name()), &mut action);
        }
        if let Some(mut action) = action.clone() {
            self.for_production(at, &mut action);
        }
        if step.check.as_ref().is_some_and(|check| check.manual.is_some()) {
            let message = "a person's answer is no step";
            let hint = "make it a `[[check]]` of the role, with `after-only = true`".to_owned();
            self.found.error(source.key_place(&at.key("check").key("manual")), message, Some(hint));
        }
        if let Some(when) = &step.when {
            self.when(&at.key("when"), when);
        }
        if let Some(each) = &step.for_each {
            self.for_each(&at.key("for-each"), each);
        }
        if let (Some(_), Some(action)) = (&step.retry, &action)
            && !step.is_repeat_safe()
        {
            self.found.error(
                source.key_place(&at.key("retry")),
                format!("a `{}` step may not be tried again: running it twice may do harm", action.name()),
                Some(if action.restarts_host() {
                    "a host is restarted once: take it out".to_owned()
                } else {
                    "if it does no more when it runs twice, say `repeat-safe = true`".to_owned()
                }),
            );
        }
        if let Some(retry) = &step.retry {
            self.retry(&at.key("retry"), retry.every.0, retry.within.0);
        }
        if step.repeat_safe == Some(false) && step.effect == Some(Effect::Read) {
            let message = "a step with the effect `read` changes nothing, and so may be repeated";
            self.found.error(source.key_place(&at.key("repeat-safe")), message, None);
        }
        if action.as_ref().is_some_and(Action::restarts_host) {
            self.restarts_once(at, step);
        }
        if step.undo.is_some() && step.no_undo.is_some() {
            let message = "a step with an `undo` has no reason for having none";
            let hint = "keep `undo` or `no-undo`".to_owned();
            self.found.error(source.key_place(&at.key("no-undo")), message, Some(hint));
        }
        if step.undo.is_some() && step.effect.is_some_and(|effect| effect == Effect::Irreversible) {
            let message = "a step with an `undo` is not irreversible";
            let hint = "write `effect = \"code\"` or `\"data\"`, or leave `undo` out".to_owned();
            self.found.error(source.key_place(&at.key("effect")), message, Some(hint));
        }
        if step.no_undo.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
            let hint = "say in a few words why the step cannot be taken back".to_owned();
            self.found.error(source.place(&at.key("no-undo")), "`no-undo` needs a reason", Some(hint));
        }
        for (index, requirement) in step.requires.iter().enumerate() {
            if !earlier.contains(&requirement.receipt.as_str()) && !self.setting.is_verb {
                let at = at.key("requires").index(index).key("receipt");
                let message = format!("no earlier step is called `{}`", requirement.receipt.escape_debug());
                self.found.error(source.place(&at), message, suggest::hint(&requirement.receipt, earlier.to_vec()));
            }
        }
        self.confirmed(at, step, action.as_ref());
        if step.ahead == Some(true) {
            self.ahead(at, step, action.as_ref(), in_undo);
        }
        if let Some(undo) = &step.undo {
            let list = at.key("undo");
            if in_undo {
                let message = "the steps of an undo have no undo of their own";
                return self.found.error(source.key_place(&list), message, Some("take it out".to_owned()));
            }
            let OneOrMany(steps) = undo.as_ref();
            for (index, step) in steps.iter().enumerate() {
                let at = item(source, &list, index);
                self.step(&at, step, &[], true);
            }
        }
    }

    /// Tells commands that are made for a developer's own machine.
    fn for_production(&mut self, at: &KeyPath, action: &mut Action) {
        let Some((key, (command, what))) = development::found_in(action) else { return };
        let place = self.setting.source.place(&follow(self.setting.source, &at.key(action.name()), &key));
        let hint = "use what the release itself offers for production".to_owned();
        self.found.error(place, format!("`{command}` {what}, and is for development alone"), Some(hint));
    }

    fn retry(&mut self, at: &KeyPath, every: std::time::Duration, within: std::time::Duration) {
        let source = self.setting.source;
        if every.is_zero() {
            let message = "`every` must be longer than nothing";
            self.found.error(source.place(&at.key("every")), message, Some("write `2s`".to_owned()));
        } else if every > within {
            let message = "`every` is longer than `for`, so there would be one try only";
            self.found.error(source.place(&at.key("every")), message, None);
        }
    }

    /// Tells that there is not exactly one kind.
    fn kinds(&mut self, at: &KeyPath, what: &str, kinds: &[&'static str], all: &[&str]) {
        let source = self.setting.source;
        if let [_, second, ..] = kinds {
            let message = format!("a {what} has exactly one kind, this one has {}", suggest::list(kinds));
            let hint = format!("write one {what} for each");
            self.found.error(source.key_place(&at.key(second)), message, Some(hint));
        } else {
            let hint = format!("add one of {}", suggest::list(all));
            self.found.error(source.place(at), format!("the {what} does not say what it does"), Some(hint));
        }
    }

    /// Judges what a step does. The keys of a check of a role stand beside its name, those of a step
    /// below its kind: `at` leads to where they begin.
    pub(super) fn action(&mut self, at: &KeyPath, action: &mut Action) {
        let source = self.setting.source;
        for problem in action.kind().problems() {
            let path = follow(source, at, &problem.key);
            // A problem of what was taken out is told where it was taken out.
            if problem.key.is_empty() && source.is_damaged(at) {
                continue;
            }
            // Where the message is about the key itself, it is the key that is underlined.
            let last = problem.key.rsplit('.').next().unwrap_or_default();
            let names_key = !last.is_empty() && problem.message.contains(&format!("`{last}`"));
            let place = if names_key { source.key_place(&path) } else { source.place(&path) };
            self.found.error(place, problem.message, problem.hint);
        }
        self.local_files(at, action);
        let scope = self.setting.scope;
        let file = template_file(action, self.setting.dir);
        action.kind_mut().templates(&mut |kind, key, text| {
            for problem in template::check(kind, text, scope) {
                let place = template_place(source, at, file.as_deref(), key, text, &problem.range);
                self.found.error(place, problem.message, problem.hint);
            }
        });
    }

    /// Looks whether the local files that a step names are there, and reads the templates among them.
    fn local_files(&mut self, at: &KeyPath, action: &mut Action) {
        let names: Vec<(&str, Option<&String>)> = match action {
            Action::File(file) => vec![("template", file.template.as_ref()), ("from", file.from.as_ref())],
            Action::Script(script) => vec![("file", script.file.as_ref())],
            _ => return,
        };
        let mut readable = true;
        for (key, name) in names {
            let Some(name) = name.filter(|name| !name.contains("{{")) else { continue };
            let path = self.setting.dir.join(name);
            if !path.is_file() {
                readable = false;
                let reason = if path.exists() { "it is no file" } else { "it does not exist" };
                let message = format!("`{}` cannot be read: {reason}", name.escape_debug());
                let hint = format!("the path is relative to `{}`", self.setting.dir.display());
                self.found.error(self.setting.source.place(&at.key(key)), message, Some(hint));
            }
        }
        let has_template = match action {
            Action::File(file) => file.template.is_some(),
            Action::Script(script) => script.template,
            _ => false,
        };
        if readable
            && has_template
            && let Err(error) = action.kind_mut().load(self.setting.dir)
        {
            self.found.error(self.setting.source.place(at), error.to_string(), None);
        }
    }

    /// A name is shown in tables and is no template.
    fn plain(&mut self, at: &KeyPath, text: &str) {
        if text.trim().is_empty() {
            self.found.error(self.setting.source.place(at), "a name cannot be empty", None);
        } else if text.contains("{{") {
            let hint = "names are the same on every host; leave the value out".to_owned();
            self.found.error(self.setting.source.place(at), "a name is no template", Some(hint));
        }
    }

    /// One variable goes through one list; both are declared, as any name in a template is.
    fn for_each(&mut self, at: &KeyPath, each: &IndexMap<String, String>) {
        let source = self.setting.source;
        let mut names = each.iter();
        let (Some((name, list)), None) = (names.next(), names.next()) else {
            let hint = "write `{ service = \"services\" }`".to_owned();
            return self.found.error(source.place(at), "`for-each` is one variable for one list", Some(hint));
        };
        if Variables::BUILT_IN.contains(&name.as_str()) {
            let message = format!("`{}` is not free to be set", name.escape_debug());
            let hint = "choose a variable of your own".to_owned();
            return self.found.error(source.key_place(&at.key(name)), message, Some(hint));
        }
        self.when(&at.key(name), list);
        for problem in template::check(TemplateKind::Text, &format!("{{{{{name}}}}}"), self.setting.scope) {
            self.found.error(source.key_place(&at.key(name)), problem.message, problem.hint);
        }
    }

    pub(super) fn when(&mut self, at: &KeyPath, when: &str) {
        let source = self.setting.source;
        let name = when.strip_prefix('!').unwrap_or(when);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || !name.chars().all(plain) {
            let hint =
                "`when` is the name of a variable, as in `when = \"has-gpu\"` or `when = \"!has-gpu\"`".to_owned();
            let message = format!("`{}` is not the name of a variable", when.escape_debug());
            return self.found.error(source.place(at), message, Some(hint));
        }
        for problem in
            template::check(TemplateKind::Text, &format!("{{{{#if {name}}}}}{{{{/if}}}}"), self.setting.scope)
        {
            self.found.error(source.place(at), problem.message, problem.hint);
        }
    }
}

/// Returns the path of a list's item, or of what stands there alone.
fn item(source: &Source, path: &KeyPath, index: usize) -> KeyPath {
    let inner = path.index(index);
    if source.has(&inner) { inner } else { path.clone() }
}

/// The project's file whose text is a template of the step.
fn template_file(action: &Action, dir: &Path) -> Option<std::path::PathBuf> {
    match action {
        Action::File(file) => file.template.as_ref().map(|name| dir.join(name)),
        Action::Script(script) if script.template => script.file.as_ref().map(|name| dir.join(name)),
        _ => None,
    }
}

/// Returns where a part of a template stands: in the document, or in the file it was read from.
fn template_place(
    source: &Source,
    at: &KeyPath,
    file: Option<&Path>,
    key: &str,
    text: &str,
    range: &Range<usize>,
) -> Place {
    if let Some(file) = file.filter(|_| matches!(key, "template" | "file" | "loaded")) {
        let shown = match (source.file().parent(), file.file_name()) {
            (Some(folder), Some(_)) if source.file().is_relative() => {
                // The folder of the document as it is shown, with the path inside it.
                let inside: std::path::PathBuf =
                    file.components().rev().take_while(|part| Some(part.as_os_str()) != folder.file_name()).collect();
                folder.join(inside.components().rev().collect::<std::path::PathBuf>())
            }
            _ => file.to_owned(),
        };
        return Place { file: shown, text: text.into(), range: range.clone() };
    }
    source.inner_place(&follow(source, at, key), range)
}

/// Follows a dotted key from `at` as far as it leads. Keys may contain dots themselves, and a short
/// form (`command = "..."`) leaves some out: what leads nowhere is skipped.
fn follow(source: &Source, at: &KeyPath, key: &str) -> KeyPath {
    let parts: Vec<&str> = key.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect();
    let mut path = at.clone();
    let mut index = 0;
    while index < parts.len() {
        let mut step = 1;
        for end in (index + 1..=parts.len()).rev() {
            let name = parts[index..end].join(".");
            let by_key = path.key(&name);
            if source.has(&by_key) {
                path = by_key;
                step = end - index;
                break;
            }
            if let Ok(position) = name.parse::<usize>()
                && source.has(&path.index(position))
            {
                path = path.index(position);
                step = end - index;
                break;
            }
        }
        index += step;
    }
    path
}
