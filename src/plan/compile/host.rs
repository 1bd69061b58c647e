//! What will happen on one host: its steps for each hop of its path, its gates, its checks.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::{Compiler, facts, journey::Journey, target};
use crate::{
    config::{
        ResolvedHost, RoleFolder, Variables,
        documents::{Playbook, ReleaseKind, Role, RoleCheck, StepDoc},
        suggest,
    },
    model::{Effect, HostName, Span, StepId, StepPart, Version},
    plan::{
        Asked, Estimate, HostPlan, PlannedCheck, PlannedFact, PlannedStep, PlannedUndo, Purpose, Timing,
        estimate::prove_uptime, path::Hop, window::Schedule,
    },
    steps::Action,
};

/// What the steps of one host are made from.
#[derive(Clone)]
pub(super) struct HostScope<'a> {
    pub(super) host: &'a ResolvedHost,
    pub(super) vars: Variables,
    pub(super) run_as: Option<String>,
    pub(super) hop: Option<HopScope>,
}

/// The hop that steps are made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct HopScope {
    pub(super) index: usize,
    class: ReleaseKind,
    is_last: bool,
}

impl HostScope<'_> {
    /// Whether a step belongs to the hop. Where no hop is known, every step does: it looks for itself.
    pub(super) fn is_for(&self, doc: &StepDoc) -> bool {
        self.hop.is_none_or(|hop| {
            let class_fits = doc.only_for.is_empty() || doc.only_for.contains(&hop.class);
            class_fits && (hop.is_last || doc.once_per_hop != Some(false))
        })
    }
}

/// A playbook with what all its hosts share.
#[derive(Clone, Copy)]
pub(super) struct Play<'a> {
    pub(super) playbook: &'a Playbook,
    pub(super) folder: Option<&'a RoleFolder>,
    pub(super) wanted: Option<&'a Version>,
}

impl<'a> Play<'a> {
    fn role(self) -> Option<&'a Role> {
        self.folder.map(|folder| &folder.role)
    }
}

impl Compiler<'_> {
    /// Puts together what templates of one host can use; the nearer level wins.
    pub(super) fn scope<'h>(&self, host: &'h ResolvedHost, play: Play<'_>, journey: &Journey) -> HostScope<'h> {
        let mut vars = Variables::of(host, play.role().map(|role| &role.vars), Some(&play.playbook.vars));
        let release = play.wanted.and_then(|wanted| super::find_release(play.folder, wanted));
        vars.set_release(release);
        if let Some(wanted) = play.wanted {
            vars.set_wanted(wanted);
        }
        let installed = self.installed(&host.name, journey);
        if let Some(installed) = &installed {
            vars.set_installed(installed);
        }
        let number = json!(1);
        let hop = json!({
            "from": installed, "to": play.wanted, "class": null, "number": number, "first": true, "last": true,
            "requires-env": release.map(|release| release.requires_env.as_slice()).unwrap_or_default(),
            "migrations": release.and_then(|release| release.migration.as_ref()).into_iter().collect::<Vec<_>>(),
        });
        vars.set_hop(hop, journey.to_json(installed.as_ref(), play.wanted));
        HostScope { host, vars, run_as: host.run_as.as_ref().map(|run_as| run_as.user.clone()), hop: None }
    }

    /// The version that the host has, is said to have, or is taken to have.
    fn installed(&self, host: &HostName, journey: &Journey) -> Option<Version> {
        let read = self.order.read.get(host).and_then(|reading| reading.installed.version());
        journey.stated.as_ref().or(read).or(journey.assumed.as_ref()).cloned()
    }

    /// Resolves only how the host is asked for its version and its facts.
    pub(super) fn ask(&mut self, host: &ResolvedHost, play: Play<'_>) -> HostPlan {
        let scope = self.scope(host, play, &Journey::default());
        let mut of = HostPlan::bare(target::target(self.project, host), host.profile.to_string());
        of.version = self.version_sources(&scope, play.folder);
        of.facts = self.facts(&scope, play.folder);
        of.secrets = scope.vars.secrets;
        of
    }

    pub(super) fn host(&mut self, host: &ResolvedHost, play: Play<'_>, journey: Journey) -> HostPlan {
        self.facts_used.clear();
        let mut scope = self.scope(host, play, &journey);
        let reading = self.order.read.get(&host.name).cloned().unwrap_or_default();
        let version = self.version_sources(&scope, play.folder);
        let mut facts = self.facts(&scope, play.folder);
        self.facts_used.clear();
        scope.vars.set_facts(known_facts(&facts, &reading.facts));

        let role = play.role();
        self.required(&scope, role);
        let base = play.folder.map_or(self.order.base.clone(), |folder| folder.dir.clone());
        let is_refused = journey.refused.as_ref().is_some_and(|refusal| refusal.asked != Asked::Offline);
        let only_looks = self.order.purpose == Purpose::Check;
        let scopes = scopes(&scope, play, &journey.hops);
        let (mut steps, mut gates, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
        if !only_looks && !is_refused {
            let docs = self.action_of(play);
            for (index, hop) in scopes.iter().enumerate() {
                for doc in docs {
                    if doc.health == Some(true) {
                        let first = steps.len();
                        self.prove_here(hop, doc, play, &base, &mut steps);
                        proofs.push(first..steps.len());
                    } else {
                        self.step(hop, doc, &base, &mut steps);
                    }
                }
                if index + 1 < scopes.len() {
                    let first = steps.len();
                    self.prove_hop(hop, role, &base, &mut steps);
                    proofs.push(first..steps.len());
                }
                let mut of_hop = self.checks(hop, role.map(|role| role.gate.as_slice()).unwrap_or_default(), &base);
                of_hop.extend(self.checks(hop, &play.playbook.gate, &self.order.base.clone()));
                add_gates(&mut gates, of_hop, hop);
            }
        }
        prove_uptime(&mut steps, &proofs);
        for (index, step) in steps.iter_mut().enumerate() {
            step.id = StepId::new(index, &step.name);
        }
        let checks = if is_refused { Vec::new() } else { self.health(scopes.last().unwrap_or(&scope), play, &base) };
        let of_checks = only_looks.then(|| self.facts_used.clone());
        let migration = self.reading(&scope, role.and_then(|role| role.migration.as_ref()), "migration", &base);
        self.protected(&scope, &steps);
        let recovery = self.recovery(&scope, role, &base, &steps);
        if let Some(canary) = &play.playbook.rollout.canary {
            self.facts_used.extend(canary.represent.iter().cloned());
        }
        self.facts_used.extend(role.iter().flat_map(|role| role.requires_facts.keys().cloned()));
        facts::settle(&mut facts, &reading.facts, of_checks.as_ref().unwrap_or(&self.facts_used));
        if let Err(problem) = Schedule::new(&host.windows) {
            self.complain(Some(&host.name), problem);
        }
        let mut plan = HostPlan {
            target: target::target(self.project, host),
            profile: host.profile.to_string(),
            tags: host.tags.iter().map(ToString::to_string).collect(),
            install: target::install_of(&scope),
            state_dir: host.state_dir.clone(),
            secrets: scope.vars.secrets.clone(),
            version,
            migration: migration.map(Box::new),
            found: reading.installed.version().or(journey.assumed.as_ref()).cloned(),
            assumed: journey.assumed.is_some(),
            stated: journey.stated,
            facts,
            path: journey.hops,
            refused: journey.refused,
            gates,
            point_of_no_return: steps.iter().position(|step: &PlannedStep| step.effect.passes_no_return()),
            steps,
            checks,
            recovery,
            rollback: None,
            windows: host.windows.clone(),
            estimate: None,
        };
        plan.estimate = Some(Estimate::of(&plan));
        plan
    }

    /// Tells variables that the role or the profile wants from the host and nobody set.
    fn required(&mut self, scope: &HostScope<'_>, role: Option<&Role>) {
        let required = role.map(|role| &role.requires).into_iter().chain([&scope.host.requires]).flatten();
        for (name, what_for) in required {
            if scope.vars.scope.get(name).is_none_or(Json::is_null) {
                self.complain(Some(&scope.host.name), format!("variable `{name}` is not set ({what_for})")).hint =
                    Some(format!("set it under `vars` of the host, of its group, or of `[defaults]`: `{name} = ...`"));
            }
        }
    }

    /// The steps that the playbook is for: those of the role's action, or its own.
    fn action_of<'a>(&mut self, play: Play<'a>) -> &'a [StepDoc] {
        let (Some(role), Some(action)) = (play.role(), &play.playbook.action) else { return &play.playbook.steps };
        role.action(action).unwrap_or_else(|| {
            let name = play.folder.map_or("", |folder| folder.name.as_str());
            self.complain(None, format!("role `{name}` has no action `{action}`")).hint =
                suggest::hint(action, role.action_names());
            &[]
        })
    }

    /// The health of the product: the role's checks, the playbook's, those of the profile.
    fn health(&mut self, scope: &HostScope<'_>, play: Play<'_>, base: &Path) -> Vec<PlannedCheck> {
        let of_role = play.role().map(|role| role.check.as_slice()).unwrap_or_default();
        let mut checks = self.checks(scope, of_role, base);
        checks.extend(self.checks(scope, &play.playbook.check, &self.order.base.clone()));
        checks.extend(self.profile_health(scope));
        checks
    }

    fn profile_health(&mut self, scope: &HostScope<'_>) -> Vec<PlannedCheck> {
        let profile_base: PathBuf = self.project.profile_dir();
        let docs = scope.host.verbs.get("health").map(Vec::as_slice).unwrap_or_default();
        docs.iter().filter_map(|doc| self.verb_check(scope, doc, &profile_base)).collect()
    }

    /// Adds the product's health at the end of a hop as steps: no hop begins on one that did not hold.
    fn prove_hop(&mut self, scope: &HostScope<'_>, role: Option<&Role>, base: &Path, steps: &mut Vec<PlannedStep>) {
        let docs: &[RoleCheck] = role.map(|role| role.check.as_slice()).unwrap_or_default();
        let mut checks = self.checks(scope, docs, base);
        checks.extend(self.profile_health(scope));
        let to = scope.vars.scope.get("wanted").and_then(Json::as_str).unwrap_or_default().to_owned();
        add_checks(steps, checks, scope, |name| format!("{name} ({to})"));
    }

    /// Adds the product's health as steps where an action asks for it.
    fn prove_here(
        &mut self,
        scope: &HostScope<'_>,
        doc: &StepDoc,
        play: Play<'_>,
        base: &Path,
        steps: &mut Vec<PlannedStep>,
    ) {
        if !scope.is_for(doc) || !self.is_wanted(scope, doc.when.as_deref()) {
            return;
        }
        let checks = self.health(scope, play, base);
        add_checks(steps, checks, scope, |name| match &doc.name {
            Some(title) => format!("{title}: {name}"),
            None => name.to_owned(),
        });
    }
}

fn add_checks(
    steps: &mut Vec<PlannedStep>,
    checks: Vec<PlannedCheck>,
    scope: &HostScope<'_>,
    called: impl Fn(&str) -> String,
) {
    for check in checks {
        let name = called(&check.name);
        let within = check.retry.as_ref().map_or(Span::seconds(0), |retry| retry.within);
        steps.push(PlannedStep {
            id: StepId::new(0, &name),
            name,
            effect: Effect::Read,
            timeout: Span(check.timeout.0 + within.0),
            idle_timeout: None,
            action: Action::Check(check.check),
            undo: PlannedUndo::Nothing,
            run_as: check.run_as,
            repeat_safe: true,
            retry: check.retry,
            requires: Vec::new(),
            unprotected: None,
            backward_compatible: false,
            part: StepPart::Main,
            takes_back: None,
            ahead: false,
            prefetched: None,
            timing: Timing { expected: Span::seconds(1), ..Timing::default() },
            hop: scope.hop.map(|hop| hop.index),
            confirm_within: None,
        });
    }
}

/// The scopes of the hops, in order; where there is no path, one that goes to the version wanted.
fn scopes<'h>(scope: &HostScope<'h>, play: Play<'_>, hops: &[Hop]) -> Vec<HostScope<'h>> {
    if hops.is_empty() {
        return vec![scope.clone()];
    }
    let last = hops.len() - 1;
    let of_hop = |(index, hop): (usize, &Hop)| {
        let mut scope = scope.clone();
        scope.vars.set_release(super::find_release(play.folder, &hop.to));
        scope.vars.set_wanted(&hop.to);
        scope.vars.set_passed_over(&hop.requires_env, hop.backward_compatible);
        scope.vars.set_installed(&hop.from);
        let upgrade = scope.vars.scope.get("upgrade").cloned().unwrap_or_default();
        let fields = json!({
            "from": hop.from, "to": hop.to, "class": hop.class, "number": index + 1, "first": index == 0,
            "last": index == last, "requires-env": hop.requires_env, "migrations": hop.migrations,
        });
        scope.vars.set_hop(fields, upgrade);
        scope.hop = Some(HopScope { index, class: hop.class, is_last: index == last });
        scope
    };
    hops.iter().enumerate().map(of_hop).collect()
}

/// Adds the gates of a hop. All are made before the first, and one that is the same for all hops is made once.
fn add_gates(gates: &mut Vec<PlannedCheck>, of_hop: Vec<PlannedCheck>, scope: &HostScope<'_>) {
    for mut gate in of_hop {
        if gates.contains(&gate) {
            continue;
        }
        if gates.iter().any(|known| known.name == gate.name) {
            let to = scope.vars.scope.get("wanted").and_then(Json::as_str).unwrap_or_default();
            gate.name = format!("{} ({to})", gate.name);
        }
        gates.push(gate);
    }
}

/// What templates see of the facts: those that are known, and the names of those that are not.
fn known_facts<'a>(
    facts: &'a IndexMap<String, PlannedFact>,
    read: &'a std::collections::BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
    let unknown = facts.keys().filter(|name| !read.contains_key(*name)).map(|name| (name.as_str(), None));
    unknown.chain(read.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))))
}
