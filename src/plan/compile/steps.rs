//! One step of a document as the steps it stands for: verbs resolved, every value put in.

use std::path::Path;

use serde_json::Value as Json;

use super::{Compiler, host::HostScope};
use crate::{
    config::{
        documents::{RoleCheck, StepDoc},
        suggest, template,
    },
    model::{Downtime, Effect, Span, StepId, StepPart},
    plan::{PlannedCheck, PlannedStep, PlannedUndo, Purpose, Requirement, Timing},
    steps::{Action, Undoing},
};

/// Longest time of one try of a check, unless it says otherwise.
const CHECK_TIMEOUT: Span = Span::seconds(10);

impl Compiler<'_> {
    /// Turns one step of a document into the steps it stands for: itself, or those of its verb.
    pub(super) fn step(&mut self, scope: &HostScope<'_>, doc: &StepDoc, base: &Path, into: &mut Vec<PlannedStep>) {
        self.step_within(scope, doc, base, into, 0);
    }

    fn step_within(
        &mut self,
        scope: &HostScope<'_>,
        doc: &StepDoc,
        base: &Path,
        into: &mut Vec<PlannedStep>,
        depth: usize,
    ) {
        if !self.is_wanted(scope, doc.when.as_deref()) || !scope.is_for(doc) {
            return;
        }
        if let Some((name, list)) = doc.for_each.iter().flatten().next() {
            return self.each((name, list), scope, doc, base, into, depth);
        }
        let Some(verb) = &doc.verb else {
            if let Some(step) = self.action(scope, doc, base) {
                into.push(step);
            }
            return;
        };
        let Some(parts) = self.parts_of(scope, verb) else { return };
        if depth > 4 {
            self.complain(Some(&scope.host.name), format!("verb `{verb}` leads back to itself"));
            return;
        }
        let first = into.len();
        let profile_base = self.project.profile_dir();
        for part in parts {
            self.step_within(scope, part, &profile_base, into, depth + 1);
        }
        let several = into.len() > first + 1;
        let undo = self.explicit_undo(scope, doc, base);
        for (offset, step) in into[first..].iter_mut().enumerate() {
            match &doc.name {
                Some(name) if several => step.name = format!("{name}: {}", step.name),
                Some(name) => step.name.clone_from(name),
                None => {}
            }
            step.effect = doc.effect.unwrap_or(step.effect);
            step.timeout = doc.timeout.unwrap_or(step.timeout);
            step.idle_timeout = doc.idle_timeout.or(step.idle_timeout);
            step.retry = doc.retry.clone().or_else(|| step.retry.take());
            step.repeat_safe = doc.repeat_safe.unwrap_or(step.repeat_safe);
            if let Some(undo) = &undo {
                // The whole verb has one undo: it runs when the first of its parts is taken back, which is last.
                step.undo = if offset == 0 { undo.clone() } else { PlannedUndo::Nothing };
            }
            step.backward_compatible =
                step.effect.passes_no_return() && holds(&scope.vars.scope, "release.backward-compatible");
            step.ahead = doc.ahead.unwrap_or(step.ahead);
            if let Some(expected) = doc.expected {
                // Said of the verb as a whole: it stands once.
                step.timing.expected = if offset == 0 { expected } else { Span::seconds(0) };
            }
            if offset == 0 {
                step.requires.extend(doc.requires.iter().cloned());
            } else if step.effect.passes_no_return() {
                // Old enough at the verb's start is old enough for all of it; that it is still there is asked again.
                step.requires.extend(
                    doc.requires
                        .iter()
                        .map(|needed| Requirement { receipt: needed.receipt.clone(), younger_than: None }),
                );
            }
            step.unprotected = doc.unprotected.clone().or_else(|| step.unprotected.take());
            if step.action.restarts_host() && step.repeat_safe {
                self.complain(None, format!("step `{}` restarts the host, so it may not run twice", step.name)).hint =
                    Some("leave `repeat-safe` and `effect` of its verb out".to_owned());
            }
        }
        mark_downtime(&mut into[first..], doc.downtime);
    }

    /// What the host's profile says of a verb; told where it says nothing.
    fn parts_of<'h>(&mut self, scope: &HostScope<'h>, verb: &str) -> Option<&'h [StepDoc]> {
        let (host, profile) = (scope.host, &scope.host.profile);
        let parts = host.verbs.get(verb);
        if parts.is_none() {
            let near = suggest::nearest(verb, host.verbs.keys().map(String::as_str));
            let hint = near.map_or_else(
                || format!("write it down as `[profiles.{profile}.verbs.{verb}]`, or give the hosts another profile"),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("profile `{profile}` does not say what `{verb}` is");
            self.complain(Some(&host.name), message).hint = Some(hint);
        }
        parts.map(Vec::as_slice)
    }

    /// Makes the steps of one document's step for each item of a list, one item after the other.
    fn each(
        &mut self,
        (name, list): (&str, &str),
        scope: &HostScope<'_>,
        doc: &StepDoc,
        base: &Path,
        into: &mut Vec<PlannedStep>,
        depth: usize,
    ) {
        let is_name = |item: &&str| !item.is_empty() && !item.contains(char::is_control);
        let items: Option<Vec<_>> = match scope.vars.scope.get(list) {
            Some(Json::Array(items)) => items.iter().map(|item| item.as_str().filter(is_name)).collect(),
            _ => None,
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            let what = format!("`for-each` has nothing to go through: `{list}` is no list of names");
            self.complain(Some(&scope.host.name), what).hint =
                Some(format!("set `vars.{list}` of the host or its profile: `{list} = [\"...\"]`"));
            return;
        };
        let step = StepDoc { for_each: None, name: doc.name.clone().filter(|_| doc.verb.is_none()), ..doc.clone() };
        let mut inner = scope.clone();
        for item in items {
            inner.vars.scope.insert(name.to_owned(), Json::String(item.to_owned()));
            let first = into.len();
            self.step_within(&inner, &step, base, into, depth);
            for part in &mut into[first..] {
                part.name = match (&doc.name, &doc.verb) {
                    (Some(name), Some(_)) => format!("{name}: {item}: {}", part.name),
                    (Some(name), None) => format!("{name}: {item}"),
                    (None, _) => format!("{item}: {}", part.name),
                };
            }
        }
    }

    /// Renders one step that is not a verb.
    pub(super) fn action(&mut self, scope: &HostScope<'_>, doc: &StepDoc, base: &Path) -> Option<PlannedStep> {
        let mut action = doc.action()?;
        if let Err(error) = action.kind_mut().load(base) {
            let failure = error.to_failure();
            self.complain(None, failure.to_string()).hint.clone_from(&failure.hint);
            return None;
        }
        let mut problems = Vec::new();
        let mut facts = String::new();
        action.kind_mut().templates(&mut |kind, key, text| {
            if text.contains("facts.") {
                facts.push_str(text);
            }
            match template::render(kind, text, &scope.vars.scope) {
                Ok(rendered) => *text = rendered,
                Err(error) => problems.push(format!("`{key}`: {error}")),
            }
        });
        self.note_facts(&facts);
        problems.extend(
            action.kind().problems().into_iter().map(|problem| format!("`{}`: {}", problem.key, problem.message)),
        );
        if problems.is_empty()
            && let Err(error) = action.kind_mut().load_rendered(base)
        {
            let failure = error.to_failure();
            self.complain(Some(&scope.host.name), failure.to_string()).hint.clone_from(&failure.hint);
            return None;
        }
        let name = doc.name.clone().unwrap_or_else(|| crate::model::Redactor::mask(&action.kind().summary()));
        if !problems.is_empty() {
            for problem in problems {
                self.complain(Some(&scope.host.name), format!("step `{name}`: {problem}"));
            }
            return None;
        }
        let kind = action.kind();
        let effect = doc.effect.unwrap_or_else(|| kind.effect());
        let undo = match (self.explicit_undo(scope, doc, base), kind.undo()) {
            (Some(undo), _) => undo,
            (None, _) if effect == Effect::Read => PlannedUndo::Nothing,
            (None, _) if effect == Effect::Irreversible => {
                PlannedUndo::Impossible { reason: "it cannot be taken back at all".to_owned(), waived: true }
            }
            (None, _) if effect.passes_no_return() => {
                PlannedUndo::Impossible { reason: "only a restore takes data back".to_owned(), waived: true }
            }
            (None, Undoing::Nothing) => PlannedUndo::Nothing,
            (None, Undoing::ByProgram) => PlannedUndo::ByProgram,
            (None, Undoing::Impossible { reason }) => {
                PlannedUndo::Impossible { reason: reason.to_owned(), waived: false }
            }
        };
        let run_as = match doc.run_as.as_deref() {
            Some("login") => None,
            Some(user) => Some(user.to_owned()),
            None => scope.run_as.clone(),
        };
        let repeat_safe = doc.repeat_safe.unwrap_or_else(|| kind.is_repeat_safe() || effect == Effect::Read);
        if doc.confirm_within.is_some()
            && let PlannedUndo::By(steps) = &undo
            && steps.iter().any(|undo| undo.run_as != run_as)
        {
            self.complain(None, format!("step `{name}` and its undo run as different users")).hint =
                Some("a step with `confirm-within` and its undo have the same `become`".to_owned());
        }
        if doc.retry.is_some() && !repeat_safe {
            self.complain(None, format!("step `{name}` has `retry`, but running it twice may do harm")).hint =
                Some("say `repeat-safe = true` if it does not".to_owned());
        }
        Some(PlannedStep {
            id: StepId::new(0, &name),
            name,
            effect,
            timeout: doc.timeout.unwrap_or(Span(kind.timeout())),
            idle_timeout: doc.idle_timeout,
            confirm_within: doc.confirm_within,
            undo,
            run_as,
            repeat_safe,
            retry: doc.retry.clone(),
            requires: doc.requires.clone(),
            unprotected: doc.unprotected.clone(),
            backward_compatible: effect.passes_no_return() && holds(&scope.vars.scope, "release.backward-compatible"),
            part: StepPart::Main,
            takes_back: None,
            ahead: doc.ahead == Some(true),
            prefetched: None,
            timing: Timing {
                expected: doc.expected.unwrap_or(Span(action.kind().expected())),
                downtime: doc.downtime,
                ..Timing::default()
            },
            hop: scope.hop.map(|hop| hop.index),
            action,
        })
    }

    /// The undo a document spells out, or its reason why there is none.
    fn explicit_undo(&mut self, scope: &HostScope<'_>, doc: &StepDoc, base: &Path) -> Option<PlannedUndo> {
        if let Some(reason) = &doc.no_undo {
            return Some(PlannedUndo::Impossible { reason: reason.clone(), waived: true });
        }
        let docs = doc.undo.as_ref()?;
        let mut steps = Vec::new();
        for (index, doc) in docs.0.iter().enumerate() {
            let before = steps.len();
            self.step_within(scope, doc, base, &mut steps, 0);
            for step in &mut steps[before..] {
                step.id = StepId::new(index, &format!("undo {}", step.name));
            }
        }
        if let Some(expected) = doc.expected
            && docs.0.iter().all(|doc| doc.expected.is_none())
        {
            // Where nobody says otherwise the way back takes as long as the way there.
            for (index, step) in steps.iter_mut().enumerate() {
                step.timing.expected = if index == 0 { expected } else { Span::seconds(0) };
            }
        }
        Some(PlannedUndo::By(steps))
    }

    pub(super) fn checks(&mut self, scope: &HostScope<'_>, docs: &[RoleCheck], base: &Path) -> Vec<PlannedCheck> {
        // What holds for the new version alone says nothing while nothing is changed.
        let only_looking = self.order.purpose == Purpose::Check;
        let profile_base = self.project.profile_dir();
        let mut checks = Vec::new();
        for doc in docs.iter().filter(|doc| !(only_looking && doc.after_only)) {
            if !self.is_wanted(scope, doc.when.as_deref()) {
                continue;
            }
            let parts = match &doc.verb {
                Some(verb) => self.checks_of_verb(scope, verb, doc, &profile_base),
                None => self.check(scope, doc, base).into_iter().collect(),
            };
            checks.extend(parts);
        }
        checks
    }

    /// Whether a condition holds, or there is none.
    pub(super) fn is_wanted(&mut self, scope: &HostScope<'_>, condition: Option<&str>) -> bool {
        condition.is_none_or(|condition| {
            self.note_facts(condition);
            holds(&scope.vars.scope, condition)
        })
    }

    fn check(&mut self, scope: &HostScope<'_>, doc: &RoleCheck, base: &Path) -> Option<PlannedCheck> {
        let step = StepDoc { name: Some(doc.name.clone()), check: Some(doc.to_check()), ..StepDoc::default() };
        let (step, unrecorded) = self.comparing(scope, &step, base)?;
        let Action::Check(check) = step.action else { return None };
        Some(PlannedCheck {
            name: doc.name.clone(),
            check,
            timeout: doc.timeout.unwrap_or(CHECK_TIMEOUT),
            retry: doc.retry.clone(),
            after_only: doc.after_only,
            ahead: doc.is_ahead(),
            run_as: scope.run_as.clone(),
            unrecorded,
        })
    }

    /// Renders the step of a check, and says which facts it names of which nothing is known to compare with: that the
    /// host did not tell right before, or that a sweep has nothing recorded of.
    fn comparing(&mut self, scope: &HostScope<'_>, doc: &StepDoc, base: &Path) -> Option<(PlannedStep, Vec<String>)> {
        let others = std::mem::take(&mut self.facts_used);
        let step = self.action(scope, doc, base);
        let named = std::mem::replace(&mut self.facts_used, others);
        self.facts_used.extend(named.iter().cloned());
        let host = &scope.host.name;
        let is_recorded = |name: &String| {
            self.order.read.get(host).is_some_and(|reading| reading.facts.contains_key(name))
                && self.order.unrecorded.get(host).is_none_or(|unrecorded| !unrecorded.contains(name))
        };
        let unrecorded = named.into_iter().filter(|name| !is_recorded(name)).collect();
        Some((step?, unrecorded))
    }

    /// What the host's profile checks under a verb, under the name that `doc` gives it.
    fn checks_of_verb(&mut self, scope: &HostScope<'_>, verb: &str, doc: &RoleCheck, base: &Path) -> Vec<PlannedCheck> {
        let Some(parts) = self.parts_of(scope, verb) else { return Vec::new() };
        let several = parts.len() > 1;
        let mut checks = Vec::new();
        for part in parts {
            let Some(check) = self.verb_check(scope, part, base) else { continue };
            checks.push(PlannedCheck {
                name: if several { format!("{}: {}", doc.name, check.name) } else { doc.name.clone() },
                timeout: doc.timeout.unwrap_or(check.timeout),
                retry: doc.retry.clone().or(check.retry),
                after_only: doc.after_only,
                ahead: doc.is_ahead(),
                ..check
            });
        }
        checks
    }

    /// A check step of the profile's `health` verb, as a check of the host.
    pub(super) fn verb_check(&mut self, scope: &HostScope<'_>, doc: &StepDoc, base: &Path) -> Option<PlannedCheck> {
        if !self.is_wanted(scope, doc.when.as_deref()) {
            return None;
        }
        let (step, unrecorded) = self.comparing(scope, doc, base)?;
        let Action::Check(check) = step.action else { return None };
        let timeout = doc.timeout.unwrap_or(CHECK_TIMEOUT);
        Some(PlannedCheck {
            name: step.name,
            check,
            timeout,
            retry: step.retry,
            after_only: false,
            ahead: false,
            run_as: step.run_as,
            unrecorded,
        })
    }
}

/// Marks where the product goes down and comes up with a verb: at its first and its last step.
fn mark_downtime(steps: &mut [PlannedStep], mark: Option<Downtime>) {
    let Some(mark) = mark else { return };
    for step in steps.iter_mut() {
        step.timing.downtime = None;
    }
    match steps {
        [] => {}
        [one] => one.timing.downtime = Some(mark),
        [first, .., last] => {
            first.timing.downtime = mark.begins().then_some(Downtime::Begins);
            last.timing.downtime = mark.ends().then_some(Downtime::Ends);
        }
    }
}

/// Whether a variable is set and not false, empty or zero; `!name` the other way round.
pub(super) fn holds(scope: &template::Scope, condition: &str) -> bool {
    let (name, wanted) = condition.strip_prefix('!').map_or((condition, true), |name| (name, false));
    let mut parts = name.trim().split('.');
    let first = parts.next().and_then(|part| scope.get(part));
    let value = parts.try_fold(first, |value, part| value.map(|value| value.get(part))).flatten();
    let is_set = match value {
        None | Some(Json::Null) => false,
        Some(Json::Bool(yes)) => *yes,
        Some(Json::Number(number)) => number.as_f64() != Some(0.0),
        Some(Json::String(text)) => !text.is_empty(),
        Some(Json::Array(items)) => !items.is_empty(),
        Some(Json::Object(fields)) => !fields.is_empty(),
    };
    is_set == wanted
}
