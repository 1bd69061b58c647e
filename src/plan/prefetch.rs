//! What of a plan may be done days ahead: the steps and gates that say so, on a few hosts at once.
//!
//! Taken out of the plan of the upgrade itself, so that both do the same. It changes nothing that runs.

use super::{
    FailureBudget, HostPlan, Plan, PlannedStep, Promote, Purpose, Recovery, Summary, Watch, Wave, estimate::Estimate,
    leaves,
};
use crate::{
    model::{Effect, Span, StepId},
    steps::{Action, Work},
};

/// How fast a prefetch takes its hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Hosts worked on together; one at least.
    pub at_once: usize,
    /// Hosts begun within a minute at most.
    pub per_minute: Option<u32>,
}

impl Pace {
    /// Returns the pace of a plan.
    pub fn of(plan: &Plan) -> Self {
        Self { at_once: plan.rollout.at_once, per_minute: plan.rollout.per_minute }
    }
}

impl Plan {
    /// Returns what of the plan may be done ahead; says of steps that say so and cannot be why not.
    ///
    /// Hosts on which nothing is left to do are left out; those that are refused stay, to be told.
    pub fn ahead(mut self, pace: Pace) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        for host in self.hosts.values_mut() {
            host.keep_ahead(&mut problems);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.hosts.retain(|_, host| !host.steps.is_empty() || host.refused.is_some());
        self.purpose = Purpose::Prefetch;
        self.waves = vec![Wave {
            name: "prefetch".to_owned(),
            hosts: self.hosts.keys().cloned().collect(),
            soak: Span::seconds(0),
            watch: Watch::default(),
            promote: Promote::Auto,
            budget: FailureBudget::default(),
        }];
        // A host that fails has lost nothing, and holds up nobody.
        self.rollout.budget = FailureBudget::default();
        self.rollout.at_once = pace.at_once.max(1);
        self.rollout.per_minute = pace.per_minute;
        // What the releases ask of a person is asked with the upgrade.
        self.notes.clear();
        self.acknowledged.clear();
        self.warnings.clear();
        self.summary = Some(Summary::of(&self));
        Ok(self.seal())
    }
}

impl HostPlan {
    fn keep_ahead(&mut self, problems: &mut Vec<String>) {
        for step in self.steps.iter().filter(|step| step.ahead) {
            if let Some(problem) = problem(step, &self.steps)
                && !problems.contains(&problem)
            {
                problems.push(problem);
            }
        }
        self.steps.retain(|step| step.ahead);
        for (index, step) in self.steps.iter_mut().enumerate() {
            step.id = StepId::new(index, &step.name);
        }
        self.gates.retain(|gate| gate.ahead);
        // A host that is not well is fetched for all the same: whether it is, counts when it is upgraded.
        self.checks.clear();
        self.windows.retain(|window| window.ahead);
        self.migration = None;
        self.recovery = Recovery::default();
        self.point_of_no_return = None;
        self.estimate = Some(Estimate::of(self));
    }
}

/// Why a step cannot be done ahead of the others.
fn problem(step: &PlannedStep, all: &[PlannedStep]) -> Option<String> {
    let cannot = |why: &str| Some(format!("step `{}` has `ahead`, but {why}", step.name));
    if step.effect > Effect::Code {
        return cannot(&format!("its effect is `{}`", step.effect));
    }
    if step.timing.downtime.is_some() {
        return cannot("it takes the product down or up");
    }
    if step.confirm_within.is_some() {
        return cannot("it may cut the controller off");
    }
    let is_later = |name: &str| !all.iter().any(|other| other.ahead && leaves(&other.name, name));
    if let Some(needed) = step.requires.iter().find(|needed| is_later(&needed.receipt)) {
        return cannot(&format!("requires the receipt of `{}`, which is not done ahead", needed.receipt));
    }
    let looks = match step.action.kind().work() {
        Work::Host(program) => program.look.is_some(),
        Work::Controller(_) => true,
    };
    if !looks && !step.repeat_safe && !matches!(step.action, Action::Backup(_)) {
        return cannot("cannot tell whether it is done, and must not run twice: give it `creates` or `unless`");
    }
    None
}
