//! What a step promises of itself: the health it proves, a restart that happens once, a confirmation that the host waits
//! for, being done days ahead.

use std::time::Duration;

use super::Steps;
use crate::{
    config::{
        documents::{RoleCheck, StepDoc},
        source::KeyPath,
    },
    model::Effect,
    steps::{Action, Undoing, Work},
};

impl Steps<'_, '_, '_> {
    /// All checks at once are no step of a profile, and look only.
    pub(super) fn health(&mut self, at: &KeyPath, step: &StepDoc, in_undo: bool) {
        let message = if self.setting.is_verb || in_undo {
            "`health` is for the steps of an action and of a playbook"
        } else if step.health == Some(false) {
            "`health = false` does nothing"
        } else if step.undo.is_some() || step.effect.is_some_and(|effect| effect != Effect::Read) {
            "checks change nothing"
        } else {
            return;
        };
        self.found.error(self.setting.source.key_place(&at.key("health")), message, None);
    }

    /// Tells an undo of what changes data: it is passed over. Unless the host itself takes the step back, where nobody
    /// confirms it.
    pub(super) fn passed_over(&mut self, at: &KeyPath, step: &StepDoc) {
        let effect = step.effect.or_else(|| step.action().map(|action| action.kind().effect()));
        if step.undo.is_some() && step.confirm_within.is_none() && effect == Some(Effect::Data) {
            let message = "this undo never runs: only a restore takes data back";
            let hint = "take it out, or put what is code into a step of its own, with an `undo` of its own".to_owned();
            self.found.warning(self.setting.source.key_place(&at.key("undo")), message, Some(hint));
        }
    }

    /// No host is restarted twice because nobody heard of the first time.
    pub(super) fn restarts_once(&mut self, at: &KeyPath, step: &StepDoc) {
        let says_so = [
            ("repeat-safe", step.repeat_safe == Some(true)),
            ("effect", step.effect.is_some_and(|effect| effect != Effect::Code)),
            ("ahead", step.ahead == Some(true)),
        ];
        for (key, _) in says_so.into_iter().filter(|(_, there)| *there) {
            let message = format!("`{key}` cannot be that of a step which restarts the host");
            let hint = "take it out: the host is restarted once, and it is known when that is done".to_owned();
            self.found.error(self.setting.source.key_place(&at.key(key)), message, Some(hint));
        }
    }

    /// A step that the host takes back by itself needs a way back that the host can go alone.
    pub(super) fn confirmed(&mut self, at: &KeyPath, step: &StepDoc, action: Option<&Action>) {
        let Some(within) = step.confirm_within else { return };
        let source = self.setting.source;
        let place = source.key_place(&at.key("confirm-within"));
        let on_host = |action: &Action| matches!(action.kind().work(), Work::Host(_));
        if within.0 < Duration::from_secs(5) {
            let message = "the controller cannot come back that fast";
            self.found.error(source.place(&at.key("confirm-within")), message, Some("write `60s`".to_owned()));
        }
        if step.verb.is_some() {
            let message = "a verb cannot be confirmed as one";
            self.found.error(place, message, Some("say `confirm-within` on the step of the verb".to_owned()));
            return;
        }
        let Some(action) = action else { return };
        if !on_host(action) {
            let message =
                format!("a `{}` step does not run on the host alone, so it cannot be confirmed", action.name());
            self.found.error(place, message, Some("take `confirm-within` out".to_owned()));
        } else if step.retry.is_some() {
            let message = "a step that must be confirmed is not tried again by itself";
            self.found.error(place, message, Some("keep `retry` or `confirm-within`".to_owned()));
        } else {
            let alone = match &step.undo {
                None => step.no_undo.is_none() && action.kind().undo() == Undoing::ByProgram,
                Some(undo) => match undo.0.as_slice() {
                    [undo] => undo.action().as_ref().is_some_and(on_host),
                    _ => false,
                },
            };
            let again = step.undo.as_ref().is_some_and(|undo| undo.0.iter().any(|undo| undo.retry.is_some()));
            if alone && again {
                let message = "what the host takes back by itself it does not try again";
                let hint = "take `retry` out of its `undo`, or try again within the undo's own program".to_owned();
                self.found.error(place.clone(), message, Some(hint));
            }
            if !alone {
                let message =
                    "the host can take this step back by itself only by an `undo` that is one program on the host";
                let hint = "add `undo = { command = \"...\" }`, or put several commands into one `script`".to_owned();
                self.found.error(place, message, Some(hint));
            }
        }
    }

    /// A step that is done days ahead changes nothing that runs, and can be asked for again.
    pub(super) fn ahead(&mut self, at: &KeyPath, step: &StepDoc, action: Option<&Action>, in_undo: bool) {
        let out = || Some("take `ahead` out".to_owned());
        let effect = step.effect.or_else(|| action.map(|action| action.kind().effect()));
        let (message, hint) = if in_undo {
            ("an undo is not done ahead".to_owned(), out())
        } else if let Some(effect) = effect.filter(|effect| effect.passes_no_return()) {
            (format!("a step with the effect `{effect}` is not done ahead"), out())
        } else if step.downtime.is_some() {
            ("a step with `downtime` is not done ahead".to_owned(), out())
        } else if step.confirm_within.is_some() {
            ("a step with `confirm-within` is not done ahead".to_owned(), out())
        } else if let Some(Action::Notify(_) | Action::Wait(_)) = action {
            let name = action.map_or("", Action::name);
            (format!("a `{name}` step leaves nothing that could be there already"), out())
        } else if let Some(Action::Env(env)) = action
            && env.changes()
        {
            ("keys that are set ahead count as soon as the product starts anew".to_owned(), out())
        } else if let Some(Action::Command(_) | Action::Script(_)) = action
            && !step.is_repeat_safe()
            && !action.is_some_and(can_look)
        {
            let hint =
                "give it `creates` or `unless`, or say `repeat-safe = true` if it does no more when it runs twice";
            ("nobody could tell whether this step is done already".to_owned(), Some(hint.to_owned()))
        } else {
            return;
        };
        self.found.error(self.setting.source.key_place(&at.key("ahead")), message, hint);
    }

    /// Only a gate can have to hold ahead.
    pub fn never_ahead(&mut self, path: &KeyPath, checks: &[RoleCheck]) {
        for (index, _) in checks.iter().enumerate().filter(|(_, check)| check.ahead.is_some()) {
            let place = self.setting.source.key_place(&path.index(index).key("ahead"));
            self.found.error(place, "only a gate has to hold ahead of an upgrade", Some("take `ahead` out".to_owned()));
        }
    }
}

/// Whether an action tells by looking that there is nothing to do.
fn can_look(action: &Action) -> bool {
    match action.kind().work() {
        Work::Host(program) => program.look.is_some(),
        Work::Controller(_) => true,
    }
}
