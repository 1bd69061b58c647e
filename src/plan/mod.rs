//! Documents to the plan: immutable, complete, plain data. The engine decides nothing it does not say.

mod approval;
mod compile;
mod estimate;
pub mod path;
mod prefetch;
mod reading;
mod recovery;
mod summary;
#[cfg(test)]
mod tests;
mod waves;
pub mod window;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The words of documents that plans keep as they are.
pub use crate::config::documents::{
    AfterData, Baseline, BeforeData, OutsideWindow, Promote, ReleaseKind, Requirement, Retry, Scope, Window, WindowKind,
};
use crate::{
    model::{Acknowledged, Effect, HostName, KeptBy, SecretId, SecretSource, Span, StepId, StepPart, Version},
    steps::{Action, Check, HostProgram, Work},
    transport::Target,
};

pub use approval::NeedsApproval;
pub use compile::{FORMAT, Keeper, Order, Store, compile, questions, stores, target};
pub use estimate::{Estimate, Timing};
pub use path::Hop;
pub use prefetch::{DoneAhead, Pace, Prefetched, made_ahead};
pub use reading::{Installed, PlannedFact, Reading};
pub use recovery::{HostRollback, KeptReceipt, Recovery, Shape, TakenStep, leaves};
pub use summary::{Bound, Coverage, Lengths, NoReturn, Summary};

/// What a run will do, completely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plan {
    /// Version of this format.
    pub format: u32,
    /// `sha256:` of everything else in the plan, with `null` in its own place. See [`Plan::seal`].
    #[serde(serialize_with = "null_while_unsealed")]
    pub digest: String,
    pub made_at: Timestamp,
    pub title: String,
    /// The playbook's file, as it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<std::path::PathBuf>,
    /// What for: `apply`, `check`, `rollback`, `prefetch`.
    pub purpose: Purpose,
    #[serde(default)]
    pub role: Option<String>,
    #[serde(default)]
    pub action: Option<String>,
    #[serde(default)]
    pub wanted: Option<Version>,
    pub waves: Vec<Wave>,
    pub hosts: IndexMap<HostName, HostPlan>,
    pub rollout: Rollout,
    /// What it puts at risk, in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The paths have as few hops as required stops allow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
    /// What the releases on the way of some host ask of a person, oldest first.
    #[serde(default)]
    pub notes: Vec<ReleaseNotes>,
    /// Who has read them.
    #[serde(default)]
    pub acknowledged: Vec<Acknowledged>,
    /// Things a person should know, in words: risks, what is not covered.
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    Apply,
    Check,
    Rollback,
    /// What may be done ahead of an upgrade, and nothing else.
    Prefetch,
}

impl Purpose {
    /// Returns the word by which plans, events and the ledger name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Check => "check",
            Self::Rollback => "rollback",
            Self::Prefetch => "prefetch",
        }
    }
}

/// Hosts taken before the next barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wave {
    /// `canary`, `wave 1`, ...
    pub name: String,
    pub hosts: Vec<HostName>,
    pub soak: Span,
    /// How the soak watches them.
    #[serde(default)]
    pub watch: Watch,
    pub promote: Promote,
    /// What may go wrong within this wave, beside the budget of the run.
    #[serde(default, skip_serializing_if = "FailureBudget::is_unlimited")]
    pub budget: FailureBudget,
}

/// How a soak watches the hosts of its wave, resolved to numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Watch {
    /// Time between two rounds.
    pub every: Span,
    /// Green rounds in a row that make a host healthy.
    pub healthy: usize,
    /// Time a host has until it is healthy.
    pub within: Span,
    /// Red rounds in a row after which a healthy host has failed.
    pub red: usize,
    /// Turns from green to red after which a host has failed.
    pub flaps: usize,
    /// Hosts not yet upgraded that are the control group.
    pub control: usize,
}

impl Default for Watch {
    fn default() -> Self {
        Self { every: Span::seconds(15), healthy: 1, within: Span::seconds(0), red: 3, flaps: 3, control: 3 }
    }
}

/// The rules of the rollout, resolved to numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rollout {
    pub at_once: usize,
    pub budget: FailureBudget,
    pub before_data: BeforeData,
    pub after_data: AfterData,
    pub scope: Scope,
    /// What becomes of a host whose turn comes outside its window.
    #[serde(default)]
    pub outside_window: OutsideWindow,
    /// What becomes of a host that is red before anything is changed.
    #[serde(default, skip_serializing_if = "Baseline::is_park")]
    pub baseline: Baseline,
    /// Hosts that are begun within a minute at most. `None`: as many as can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<u32>,
}

/// How many hosts of each class may go wrong; the next one halts. `None`: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FailureBudget {
    pub failed: Option<usize>,
    pub unreachable: Option<usize>,
    pub inconclusive: Option<usize>,
    /// Hosts found red, or behind a closed gate, before anything was changed on them.
    #[serde(default)]
    pub parked: Option<usize>,
    /// So many hosts with the same error halt at once.
    pub same_failure: Option<usize>,
}

impl FailureBudget {
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// What will happen on one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HostPlan {
    pub target: Target,
    pub profile: String,
    #[serde(default)]
    pub tags: Vec<String>,
    /// What identifies the install on its machine: all who change it meet in one lease.
    #[serde(default)]
    pub install: String,
    /// Where longshore keeps its state on the host, when not in the usual place.
    #[serde(default)]
    pub state_dir: Option<String>,
    /// Where secrets of this host come from. Values are never here.
    #[serde(default)]
    pub secrets: IndexMap<SecretId, SecretSource>,
    /// The sources of the installed version: each prints it, and all must agree. Empty when there is no way to ask.
    #[serde(default)]
    pub version: Vec<Action>,
    /// Reads the head of the data's migrations: its first line of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Box<Action>>,
    /// The version found while planning; `None` when not asked or not known.
    #[serde(default)]
    pub found: Option<Version>,
    /// `found` is what most others have: the host could not be asked, and is refused should it have another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
    /// The version that a person said it has, where it does not tell itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<Version>,
    /// What else was read while planning, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub facts: IndexMap<String, PlannedFact>,
    /// The way to the version wanted. Empty where it is there already, or the playbook follows no path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Hop>,
    /// Why nothing is done on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    #[serde(default)]
    pub gates: Vec<PlannedCheck>,
    pub steps: Vec<PlannedStep>,
    /// The product's health: baseline before, proof after.
    #[serde(default)]
    pub checks: Vec<PlannedCheck>,
    /// When the host may be started; any time when there are none.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// How long it is expected to take.
    #[serde(default)]
    pub estimate: Option<Estimate>,
    /// Index of the first step after which pointing the code back is no rollback.
    #[serde(default)]
    pub point_of_no_return: Option<usize>,
    /// What is prepared for when it goes wrong after data was changed, or is to be taken back later.
    #[serde(default, skip_serializing_if = "Recovery::is_empty")]
    pub recovery: Recovery,
    /// The finished upgrade that this takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<HostRollback>,
}

/// Why nothing is done on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Refusal {
    pub reason: String,
    /// What the host said of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    #[serde(default)]
    pub hint: Option<String>,
    pub asked: Asked,
}

/// Whether a host that is refused was asked for what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Yes,
    /// It could not be reached: whether it can be now is what counts first.
    Unreached,
    /// The plan was made without asking, to be read and not to be done.
    Offline,
}

/// What a release on the way asks of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReleaseNotes {
    pub version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaking: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_action: Option<String>,
}

/// One step on one host, every value known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PlannedStep {
    pub id: StepId,
    pub name: String,
    pub effect: Effect,
    pub timeout: Span,
    #[serde(default)]
    pub idle_timeout: Option<Span>,
    /// The host takes the step back by itself unless it is confirmed within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<Span>,
    pub action: Action,
    pub undo: PlannedUndo,
    /// User to become; `None` is the login user.
    #[serde(default)]
    pub run_as: Option<String>,
    pub repeat_safe: bool,
    #[serde(default)]
    pub retry: Option<Retry>,
    #[serde(default)]
    pub requires: Vec<Requirement>,
    /// Why a step that changes data needs no backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprotected: Option<String>,
    /// The release before can run on the data that this step leaves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backward_compatible: bool,
    /// What the step belongs to.
    #[serde(default, skip_serializing_if = "StepPart::is_main")]
    pub part: StepPart,
    /// It takes back a step of a finished run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_back: Option<TakenStep>,
    /// A prefetch may do it days ahead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ahead: bool,
    /// A prefetch did it, and what it left was still there when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetched: Option<Prefetched>,
    /// What is expected of it; nothing is enforced.
    #[serde(default)]
    pub timing: Timing,
    /// Index of the hop that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<usize>,
}

/// How a step will be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedUndo {
    /// The step changes nothing.
    Nothing,
    /// The kind's own undo.
    ByProgram,
    /// By these steps, in order.
    By(Vec<PlannedStep>),
    Impossible {
        reason: String,
        /// The plan's author accepted it: what the step leaves does no harm.
        #[serde(default)]
        waived: bool,
    },
}

/// One check, every value known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PlannedCheck {
    pub name: String,
    pub check: Check,
    /// Longest time of one try.
    pub timeout: Span,
    #[serde(default)]
    pub retry: Option<Retry>,
    /// Not part of the baseline.
    #[serde(default)]
    pub after_only: bool,
    /// Of a gate: it must hold for a prefetch, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ahead: bool,
    #[serde(default)]
    pub run_as: Option<String>,
    /// Facts that it compares with and that nobody had recorded before it: it cannot pass, and is `unverified` at best.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unrecorded: Vec<String>,
}

impl HostPlan {
    /// A host with nothing to do but to be reached.
    pub fn bare(target: Target, profile: String) -> Self {
        Self {
            target,
            profile,
            tags: Vec::new(),
            install: String::new(),
            state_dir: None,
            secrets: IndexMap::new(),
            version: Vec::new(),
            migration: None,
            found: None,
            assumed: false,
            stated: None,
            facts: IndexMap::new(),
            path: Vec::new(),
            refused: None,
            gates: Vec::new(),
            steps: Vec::new(),
            checks: Vec::new(),
            windows: Vec::new(),
            estimate: None,
            point_of_no_return: None,
            recovery: Recovery::default(),
            rollback: None,
        }
    }
}

impl HostPlan {
    /// Whether the code of before can run on whatever data the steps leave: every one that changes data brings a
    /// release that says so.
    pub fn is_backward_compatible(&self) -> bool {
        let mut steps = self.steps.iter().filter(|step| step.effect.passes_no_return()).peekable();
        steps.peek().is_some() && steps.all(|step| step.effect == Effect::Data && step.backward_compatible)
    }

    /// Whether the host, where it fails, may have to be made safe and held: some step changes data, and the code of before
    /// is not said to run on it.
    pub fn may_be_held(&self) -> bool {
        self.steps.iter().any(|step| step.effect.passes_no_return()) && !self.is_backward_compatible()
    }

    /// Whether the checks at the end prove that what came up with a step is up, where no step before them does.
    pub fn is_proven_at_end(&self) -> bool {
        !self.checks.is_empty()
    }

    /// Whether anything is done on the host: it is not refused. One that was not asked can at least be read about.
    pub fn may_go(&self) -> bool {
        self.refused.as_ref().is_none_or(|refused| refused.asked == Asked::Offline)
    }

    /// What the host told when the plan was made, as far as the plan says.
    pub fn reading(&self) -> Reading {
        let facts = self.facts.iter().filter_map(|(name, fact)| Some((name.clone(), fact.value.clone()?)));
        let asked = self.refused.as_ref().map(|refused| refused.asked);
        let installed = match (&self.found, asked) {
            (_, Some(Asked::Unreached)) => Installed::Unreached(String::new()),
            (Some(_), _) if self.assumed => Installed::Unreached(String::new()),
            (Some(found), _) => Installed::Known(found.clone()),
            (None, Some(Asked::Yes)) => Installed::Unknown,
            (None, _) if self.stated.is_some() => Installed::Unknown,
            (None, _) => Installed::NotAsked,
        };
        let silent = self.refused.as_ref().map(|refused| refused.causes.clone()).unwrap_or_default();
        Reading { installed, facts: facts.collect(), silent }
    }
}

impl PlannedStep {
    /// The step as work: what its kind does, or, where it takes back a step of a finished run, the undo of its kind.
    /// Such a step works in the folder that the other left.
    pub fn work(&self) -> Work<'_> {
        match (self.action.kind().work(), &self.takes_back) {
            (Work::Host(program), Some(taken)) => {
                let keep_of = Some(KeptBy { run: taken.run.clone(), step: taken.step.clone() });
                if !taken.by_kind {
                    return Work::Host(HostProgram { keep_of, ..program });
                }
                let act = program.undo.unwrap_or_else(|| "exit 0".to_owned());
                Work::Host(HostProgram { act, keep_of, ..HostProgram::default() })
            }
            (Work::Host(program), None) => {
                let again = || self.prefetched.as_ref()?.look(&self.name);
                Work::Host(HostProgram { look: program.look.or_else(again), ..program })
            }
            (work, _) => work,
        }
    }

    /// Whether the plan's author accepted that the step is not taken back.
    pub fn undo_is_waived(&self) -> bool {
        matches!(self.undo, PlannedUndo::Impossible { waived: true, .. })
    }
}

impl Plan {
    /// Returns the plan as one host may know it: without what concerns any other, its own part left out too.
    ///
    /// The digest stays that of the whole plan.
    #[must_use]
    pub fn seen_from(&self, host: &HostName, wave: usize) -> Self {
        let waves = self.waves.iter().enumerate().map(|(index, of)| Wave {
            name: of.name.clone(),
            hosts: if index == wave { vec![host.clone()] } else { Vec::new() },
            soak: of.soak,
            watch: of.watch.clone(),
            promote: of.promote,
            budget: of.budget.clone(),
        });
        Self {
            format: self.format,
            digest: self.digest.clone(),
            made_at: self.made_at,
            title: self.title.clone(),
            playbook: self.playbook.clone(),
            purpose: self.purpose,
            role: self.role.clone(),
            action: self.action.clone(),
            wanted: self.wanted.clone(),
            waves: waves.collect(),
            hosts: IndexMap::new(),
            rollout: self.rollout.clone(),
            summary: None,
            direct: self.direct,
            notes: Vec::new(),
            acknowledged: self.acknowledged.clone(),
            warnings: Vec::new(),
        }
    }

    /// Computes the digest over everything else and puts it in.
    #[must_use]
    pub fn seal(mut self) -> Self {
        self.digest.clear();
        let mut hash = Hashing(Sha256::new());
        // Straight into the hash: the text of a large fleet's plan is several times the plan.
        serde_json::to_writer(&mut hash, &self).expect("a plan is plain data");
        let hash = hash.0.finalize();
        self.digest = hash.iter().fold("sha256:".to_owned(), |digest, byte| digest + &format!("{byte:02x}"));
        self
    }

    /// Lists the releases whose notes nobody has acknowledged.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &ReleaseNotes> {
        let is_read = |notes: &ReleaseNotes| self.acknowledged.iter().any(|read| read.version == notes.version);
        self.notes.iter().filter(move |notes| !is_read(notes))
    }

    /// Whether the plan is what it was when it was sealed.
    pub fn is_intact(&self) -> bool {
        self.digest == self.clone().seal().digest
    }
}

fn null_while_unsealed<S: serde::Serializer>(digest: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if digest.is_empty() { serializer.serialize_none() } else { serializer.serialize_str(digest) }
}

/// Hashes what is written.
struct Hashing(Sha256);

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
