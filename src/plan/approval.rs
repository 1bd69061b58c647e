//! What a person is asked of a host: an approval, by name, of what is not done without; and what only a person can look at.

use jiff::Timestamp;

use super::{HostPlan, Plan, PlannedStep};
use crate::{
    model::{Approval, Effect, HostName, Version},
    steps::Action,
};

/// What a person has to approve before anything begins on a host. No flag takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedsApproval {
    /// `irreversible`, `restore`, `rollback`.
    pub action: &'static str,
    /// When the backup was made that is put back.
    pub backup: Option<Timestamp>,
    /// The steps that nothing takes back, or that put other data in the place of what is live, by name.
    pub steps: Vec<String>,
    /// The version to which those steps lead.
    pub to: Option<Version>,
}

impl NeedsApproval {
    /// Whether this approval is for exactly that.
    pub fn is_given_by(&self, approval: &Approval) -> bool {
        approval.action == self.action
            && (self.backup.is_none() || approval.backup == self.backup)
            && approval.steps == self.steps
            && approval.to == self.to
    }
}

impl HostPlan {
    /// The checks that only a person can answer, each once.
    pub fn manual_checks(&self) -> Vec<&str> {
        let of_steps = self.steps.iter().filter_map(|step| match &step.action {
            Action::Check(check) => Some((check, step.name.as_str())),
            _ => None,
        });
        let all = self.gates.iter().chain(&self.checks).map(|check| (&check.check, check.name.as_str()));
        let mut names = Vec::new();
        for (_, name) in all.chain(of_steps).filter(|(check, _)| check.manual.is_some()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl Plan {
    /// What a person has to approve for a host of this plan. `None`: nothing.
    pub fn approval(&self, host: &HostName) -> Option<NeedsApproval> {
        let of = self.hosts.get(host)?;
        if let Some(rollback) = &of.rollback {
            let (action, backup) = rollback.approval()?;
            return Some(NeedsApproval { action, backup, steps: Vec::new(), to: None });
        }
        let (irreversible, restores) = (of.irreversible(), of.restores());
        let action = if irreversible.is_empty() { "restore" } else { "irreversible" };
        let steps: Vec<String> = irreversible.into_iter().chain(restores).collect();
        (!steps.is_empty()).then(|| NeedsApproval { action, backup: None, steps, to: self.wanted.clone() })
    }
}

impl HostPlan {
    /// The names of the steps that nothing takes back, each once: a step of every hop is one.
    fn irreversible(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for step in self.steps.iter().filter(|step| step.effect == Effect::Irreversible) {
            if !names.contains(&step.name) {
                names.push(step.name.clone());
            }
        }
        names
    }

    /// The names of the steps that put other data in the place of what is live. Not those of which the document says that
    /// there is nothing to protect.
    fn restores(&self) -> Vec<String> {
        let is_one = |step: &&PlannedStep| matches!(step.action, Action::Restore(_)) && step.unprotected.is_none();
        self.steps.iter().filter(is_one).map(|step| step.name.clone()).collect()
    }
}
