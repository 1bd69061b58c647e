//! What of a plan may be done days ahead: the steps and gates that say so, on a few hosts at once.
//!
//! Taken out of the plan of the upgrade itself, so that both do the same. It changes nothing that runs.

use std::{fmt::Write as _, time::Duration};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    FailureBudget, HostPlan, Plan, PlannedStep, Promote, Purpose, Recovery, Requirement, Summary, Watch, Wave,
    estimate::Estimate, leaves,
};
use crate::{
    model::{Effect, HostName, Receipt, RunNumber, Span, StepId, quote},
    steps::{Action, HOLDS, Work},
};

/// What a prefetch left of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Prefetched {
    /// The prefetch that did it.
    pub run: RunNumber,
    pub at: Timestamp,
    /// What it left as proof, where other steps rely on that.
    #[serde(default, skip_serializing_if = "Receipt::is_empty")]
    pub receipt: Receipt,
    /// How old it may become at most: what relies on its proof says so. `None`: any age, for it is looked for alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_for: Option<Span>,
}

/// A step that a prefetch did, as the ledger has it.
#[derive(Debug, Clone, PartialEq)]
pub struct DoneAhead {
    pub host: HostName,
    pub action: Action,
    pub run_as: Option<String>,
    pub run: RunNumber,
    pub at: Timestamp,
    pub receipt: Receipt,
}

/// The fact by which a receipt that was found again says when it was left.
const MADE_AHEAD: &str = "prefetched";

/// Returns when a prefetch left what a receipt proves; `None` where the step that has it left it itself.
pub fn made_ahead(receipt: &Receipt) -> Option<Timestamp> {
    receipt.get(MADE_AHEAD)?.parse().ok()
}

impl Prefetched {
    /// Returns a look for a step that has none of its own: whether the file of its receipt is still what it was. Finds
    /// nothing to do only then, and leaves the receipt again. `None`: there is no such file.
    pub(super) fn look(&self, name: &str) -> Option<String> {
        let file = self.receipt.get("file")?;
        let word = |fact: &str| quote(self.receipt.get(fact).unwrap_or_default());
        let mut text = HOLDS.to_owned();
        let _ = writeln!(
            text,
            "why=$(longshore_holds {} {} {} {}) || {{ printf '%s\\n' \"${{why#longshore-receipt refused }}\"; exit 10; }}",
            quote(name),
            quote(file),
            word("size"),
            word("sha256")
        );
        let facts = self.receipt.0.iter().filter(|(fact, _)| *fact != MADE_AHEAD);
        for (fact, value) in facts {
            let _ = writeln!(text, "printf '%s\\n' {}", quote(&format!("longshore-receipt {fact} {value}")));
        }
        let _ = writeln!(text, "printf '%s\\n' 'longshore-receipt {MADE_AHEAD} {}'\nexit 0", self.at);
        Some(text)
    }
}

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
        self.waves = vec![one_wave(&self.hosts)];
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

impl Plan {
    /// Notes which steps were done ahead, by the record alone. What would do something else today was not; nor was what
    /// left a proof that is too old for those who rely on it.
    #[must_use]
    pub fn with_prefetched(mut self, done: &[DoneAhead]) -> Self {
        let now = self.made_at;
        for did in done {
            let Some(host) = self.hosts.get_mut(&did.host) else { continue };
            for index in 0..host.steps.len() {
                let step = &host.steps[index];
                let is_older = step.prefetched.as_ref().is_some_and(|known| known.at >= did.at);
                if !step.ahead || is_older || step.action != did.action || step.run_as != did.run_as {
                    continue;
                }
                let mut found = Prefetched { run: did.run, at: did.at, receipt: Receipt::default(), good_for: None };
                if !can_look(step) {
                    let Some(good_for) = host.good_for(index).filter(|_| proves(&did.receipt)) else { continue };
                    found = Prefetched { receipt: did.receipt.clone(), good_for: Some(good_for), ..found };
                }
                if found.is_good(now, Duration::ZERO) {
                    host.steps[index].prefetched = Some(found);
                }
            }
        }
        self.counted()
    }

    /// Returns the plan of the steps alone that the record says were done ahead: to be looked at. `None`: there are none.
    pub fn to_look_at(&self) -> Option<Self> {
        let mut plan = self.clone();
        for host in plan.hosts.values_mut() {
            host.steps.retain(|step| step.prefetched.is_some());
            for found in host.steps.iter_mut().filter_map(|step| step.prefetched.as_mut()) {
                // What the upgrade relies on it sums itself: here its size is enough.
                found.receipt.0.remove("sha256");
            }
        }
        // Who could not be asked a moment ago is not asked again.
        plan.hosts.retain(|_, host| !host.steps.is_empty() && host.refused.is_none() && !host.assumed);
        plan.waves = vec![one_wave(&plan.hosts)];
        plan.rollout.budget = FailureBudget::default();
        (!plan.hosts.is_empty()).then(|| plan.seal())
    }

    /// Keeps what was noted of the steps for which `is_there` holds.
    #[must_use]
    pub fn with_prefetched_only(mut self, is_there: impl Fn(&HostName, &StepId) -> bool) -> Self {
        for (name, host) in &mut self.hosts {
            for step in &mut host.steps {
                if !is_there(name, &step.id) {
                    step.prefetched = None;
                }
            }
        }
        self.counted()
    }

    /// Counts anew what the plan takes.
    fn counted(mut self) -> Self {
        for host in self.hosts.values_mut().filter(|host| host.estimate.is_some()) {
            host.estimate = Some(Estimate::of(host));
        }
        self.summary = self.summary.is_some().then(|| Summary::of(&self));
        self.seal()
    }
}

impl Prefetched {
    /// Whether it is young enough for what begins after `more`.
    fn is_good(&self, now: Timestamp, more: Duration) -> bool {
        let age = Duration::try_from(now.duration_since(self.at));
        self.good_for.is_none_or(|limit| age.is_ok_and(|age| age + more < limit.0))
    }
}

impl HostPlan {
    /// Returns the host's plan without what became too old to be relied on by the end of its turn; `None`: nothing did.
    pub fn without_stale(&self, now: Timestamp) -> Option<Self> {
        let turn = self.estimate.map_or(Duration::ZERO, |estimate| estimate.forward.0);
        let is_stale = |step: &PlannedStep| step.prefetched.as_ref().is_some_and(|found| !found.is_good(now, turn));
        if !self.steps.iter().any(is_stale) {
            return None;
        }
        let mut fresh = self.clone();
        for step in fresh.steps.iter_mut().filter(|step| is_stale(step)) {
            step.prefetched = None;
        }
        Some(fresh)
    }

    /// The steps that rely on what a step leaves as proof.
    fn relying_on(&self, step: &PlannedStep) -> impl Iterator<Item = &Requirement> {
        let needed = self.steps.iter().flat_map(|other| &other.requires);
        needed.filter(move |needed| leaves(&step.name, &needed.receipt))
    }

    /// How old the proof of a step may be, by all who rely on it. `None`: it must be of the same run.
    ///
    /// What was saved ahead is no backup of what a later hop changes.
    fn good_for(&self, index: usize) -> Option<Span> {
        let step = &self.steps[index];
        if step.hop.is_some_and(|hop| hop > 0) {
            return None;
        }
        let limits: Option<Vec<Span>> = self.relying_on(step).map(|needed| needed.younger_than).collect();
        limits?.into_iter().min()
    }

    fn keep_ahead(&mut self, problems: &mut Vec<String>) {
        for step in self.steps.iter().filter(|step| step.ahead) {
            if let Some(problem) = self.problem(step)
                && !problems.contains(&problem)
            {
                problems.push(problem);
            }
        }
        // What is relied on must be of the hop's own time, which for all but the first has not come.
        let is_early =
            |step: &PlannedStep| step.hop.is_none_or(|hop| hop == 0) || self.relying_on(step).next().is_none();
        let kept: Vec<PlannedStep> = self.steps.iter().filter(|step| step.ahead && is_early(step)).cloned().collect();
        self.steps = kept;
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

impl HostPlan {
    /// Why a step cannot be done ahead of the others.
    fn problem(&self, step: &PlannedStep) -> Option<String> {
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
        let is_later = |name: &str| !self.steps.iter().any(|other| other.ahead && leaves(&other.name, name));
        if let Some(needed) = step.requires.iter().find(|needed| is_later(&needed.receipt)) {
            return cannot(&format!("requires the receipt of `{}`, which is not done ahead", needed.receipt));
        }
        let mut relying = self.relying_on(step).peekable();
        let (is_relied_on, looks) = (relying.peek().is_some(), can_look(step));
        if is_relied_on && looks {
            return cannot("others rely on its receipt, which it does not leave again where it finds nothing to do");
        }
        if relying.any(|needed| needed.younger_than.is_none()) {
            return cannot("what relies on its receipt does not say how old that may be: add `younger-than`");
        }
        if !looks && !step.repeat_safe {
            return cannot("cannot tell whether it is done, and must not run twice: give it `creates` or `unless`");
        }
        None
    }
}

/// Whether a step tells by itself that there is nothing to do.
fn can_look(step: &PlannedStep) -> bool {
    match step.action.kind().work() {
        Work::Host(program) => program.look.is_some(),
        Work::Controller(_) => true,
    }
}

/// Whether a receipt proves something that can be looked at again.
fn proves(receipt: &Receipt) -> bool {
    receipt.get("verified").is_some_and(|how| !how.trim().is_empty()) && receipt.get("file").is_some()
}

/// All hosts, one as soon as another.
fn one_wave(hosts: &IndexMap<HostName, HostPlan>) -> Wave {
    Wave {
        name: "prefetch".to_owned(),
        hosts: hosts.keys().cloned().collect(),
        soak: Span::seconds(0),
        watch: Watch::default(),
        promote: Promote::Auto,
        budget: FailureBudget::default(),
    }
}
