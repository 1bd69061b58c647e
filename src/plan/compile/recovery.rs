//! How data is protected: receipts before it is changed, and what is prepared for when that goes wrong.

use std::path::Path;

use super::{Compiler, host::HostScope};
use crate::{
    config::documents::{Role, StepDoc},
    model::{StepId, StepPart},
    plan::{PlannedStep, Purpose, Recovery, leaves},
    steps::Action,
};

impl Compiler<'_> {
    /// What a role or a profile says is read from the host: a step whose first line of output counts.
    pub(super) fn reading(
        &mut self,
        scope: &HostScope<'_>,
        of_role: Option<&StepDoc>,
        verb: &str,
        base: &Path,
    ) -> Option<Action> {
        let profile_base = self.project.profile_dir();
        let of_profile = || scope.host.verbs.get(verb).and_then(|steps| steps.first()).map(|doc| (doc, &*profile_base));
        let (doc, base) = of_role.map(|doc| (doc, base)).or_else(of_profile)?;
        let mut made = Vec::new();
        self.step(scope, doc, base, &mut made);
        made.pop().map(|step| step.action)
    }

    /// Complains of steps that change data without anything to put it back from.
    pub(super) fn protected(&mut self, scope: &HostScope<'_>, steps: &[PlannedStep]) {
        let host = &scope.host.name;
        for (index, step) in steps.iter().enumerate() {
            let name = &step.name;
            let kept = step.action.kind().keeps().is_some();
            if step.effect.passes_no_return() && !kept && step.requires.is_empty() && step.unprotected.is_none() {
                let message =
                    format!("step `{name}` has the effect `{}`, and requires the receipt of no backup", step.effect);
                self.complain(Some(host), message).hint = Some(
                    "say `requires = [{ receipt = \"NAME OF THE BACKUP'S STEP\", younger-than = \"1h\" }]`, or \
                     `unprotected = \"...\"` with the reason why no backup is needed"
                        .to_owned(),
                );
            }
            for needed in &step.requires {
                // A backup of an earlier hop is one of other data.
                let earlier = steps[..index].iter().filter(|earlier| earlier.hop == step.hop);
                if !earlier.into_iter().any(|earlier| leaves(&earlier.name, &needed.receipt)) {
                    let message = format!(
                        "step `{name}` requires the receipt of `{}`, and no earlier step of the host is called so",
                        needed.receipt
                    );
                    self.complain(Some(host), message).hint = Some(
                        "receipts are of the same run; `longshore rollback RUN` and `longshore resume RUN --as restore` \
                         put back the backup of an earlier one"
                            .to_owned(),
                    );
                }
            }
        }
    }

    /// Compiles what a role prepares for a host whose data was changed.
    pub(super) fn recovery<'r>(
        &mut self,
        scope: &HostScope<'_>,
        role: Option<&'r Role>,
        base: &Path,
        steps: &[PlannedStep],
    ) -> Recovery {
        let Some(role) = role.filter(|_| self.order.purpose == Purpose::Apply && !steps.is_empty()) else {
            return Recovery::default();
        };
        let mut next = steps.len();
        let mut part = |compiler: &mut Self, docs: &[StepDoc], part: StepPart| {
            let mut made = Vec::new();
            for doc in docs {
                compiler.step(scope, doc, base, &mut made);
            }
            for step in &mut made {
                // Numbers go on from the plan's own, so that no two steps of a host share a place on it.
                step.id = StepId::new(next, &step.name);
                step.part = part;
                next += 1;
            }
            made
        };
        let passes = steps.iter().any(|step| step.effect.passes_no_return());
        let when = |docs: &'r [StepDoc], so: bool| if passes && so { docs } else { &[] };
        // What puts an upgrade's backup back is not for actions that make none: they have data of their own to go by.
        let is_named = |doc: &StepDoc| steps.iter().any(|step| doc.name.as_ref() == Some(&step.name));
        let needed = || role.restore.iter().flat_map(|doc| &doc.requires);
        let is_left = |needed: &crate::config::documents::Requirement| {
            steps.iter().any(|step| leaves(&step.name, &needed.receipt))
        };
        let fits = role.upgrade.iter().any(is_named) || needed().all(is_left);
        let mut recovery = Recovery {
            incident: part(self, when(&role.incident, true), StepPart::Incident),
            safety_copy: part(self, when(&role.safety_copy, fits), StepPart::SafetyCopy),
            restore: part(self, when(&role.restore, fits), StepPart::Restore),
            rollback: part(self, &role.rollback, StepPart::Main),
            ..Recovery::default()
        };
        if !recovery.restore.is_empty() {
            let own = || {
                let kept: Vec<_> = recovery.restore.iter().filter_map(|step| step.action.kind().keeps()).collect();
                (!kept.is_empty()).then(|| kept.join(", "))
            };
            recovery.restore_keeps = role.restore_keeps.clone().or_else(own);
        }
        // Whoever approves that other data takes the place of what is live is told what that would cost.
        let replaces = |step: &PlannedStep| matches!(step.action, Action::Restore(_));
        let takes_back = recovery.rollback.iter().any(|step| step.effect.passes_no_return());
        if !recovery.restore.is_empty() || takes_back || steps.iter().any(replaces) {
            recovery.newest = self.reading(scope, role.newest.as_ref(), "newest", base).map(Box::new);
        }
        let prepared = [&recovery.incident, &recovery.safety_copy, &recovery.restore, &recovery.rollback];
        for (index, list) in prepared.into_iter().enumerate() {
            for step in list {
                for needed in &step.requires {
                    let known = steps.iter().chain(&recovery.safety_copy);
                    // A safety copy's receipt is there for the restore alone.
                    let known = known.take(steps.len() + if index == 2 { recovery.safety_copy.len() } else { 0 });
                    if !known.map(|step| &step.name).any(|name| leaves(name, &needed.receipt)) {
                        let message = format!(
                            "step `{}` requires the receipt of `{}`, and no step of the host is called so",
                            step.name, needed.receipt
                        );
                        self.complain(Some(&scope.host.name), message);
                    }
                }
            }
        }
        recovery
    }
}
