//! Compiles a playbook and its hosts into the plan: every verb resolved, every value put in.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::Value as Json;

use super::{
    FailureBudget, HostPlan, Plan, PlannedCheck, PlannedStep, PlannedUndo, Purpose, Rollout, Wave,
    waves::{self, Rounding, Traits},
};
use crate::{
    config::{
        Diagnostic, Project, ResolvedHost, RoleFolder, Variables,
        documents::{Amount, Playbook, Release, RoleCheck, RolloutDoc, Scope as FailureScope, StepDoc},
        suggest, template,
    },
    model::{Effect, HostName, Span, StepId, Version},
    steps::{Action, Undoing},
    transport::{Become, JumpLogin, SshTarget, Target, Way},
};

/// What to compile beside the documents.
#[derive(Debug, Clone)]
pub struct Order {
    pub title: String,
    /// The playbook's file, for comparing with it later.
    pub playbook: Option<PathBuf>,
    pub purpose: Purpose,
    /// The version wanted; wins over the playbook's.
    pub to: Option<Version>,
    /// Narrows the playbook's hosts to these.
    pub limit: Option<Vec<HostName>>,
    pub now: Timestamp,
    /// Versions read from the hosts before planning.
    pub found: BTreeMap<HostName, Version>,
    /// Folder the playbook's local files are relative to.
    pub base: PathBuf,
}

/// Format of the plans made here.
pub const FORMAT: u32 = 1;

/// Longest time of one try of a check, unless it says otherwise.
const CHECK_TIMEOUT: Span = Span::seconds(10);

/// Hosts worked on at once, unless the playbook says otherwise.
const AT_ONCE: usize = 10;

/// Compiles `playbook`. All that is wrong is reported together; a plan is made only where nothing is.
pub fn compile(project: &Project, playbook: &Playbook, order: &Order) -> Result<Plan, Vec<Diagnostic>> {
    let mut compiler = Compiler { project, order, problems: Vec::new() };
    let plan = compiler.playbook(playbook);
    match plan {
        Some(plan) if compiler.problems.is_empty() => Ok(plan.seal()),
        _ => Err(compiler.problems),
    }
}

struct Compiler<'a> {
    project: &'a Project,
    order: &'a Order,
    problems: Vec<Diagnostic>,
}

/// What the steps of one host are made from.
struct HostScope<'a> {
    host: &'a ResolvedHost,
    vars: Variables,
    run_as: Option<String>,
}

impl Compiler<'_> {
    /// Notes a problem. The same one on forty hosts is one problem, with their names.
    fn complain(&mut self, host: Option<&HostName>, message: String) -> &mut Diagnostic {
        let known = self.problems.iter().position(|known| known.message == message);
        let index = known.unwrap_or_else(|| {
            self.problems.push(Diagnostic::error(message));
            self.problems.len() - 1
        });
        let problem = &mut self.problems[index];
        if let Some(host) = host.filter(|host| !problem.hosts.contains(host)) {
            problem.hosts.push(host.clone());
        }
        problem
    }

    fn playbook(&mut self, playbook: &Playbook) -> Option<Plan> {
        let mut hosts = match self.project.select(&playbook.hosts) {
            Ok(hosts) => hosts,
            Err(error) => {
                self.complain(None, error.to_string()).hint = error.hint();
                return None;
            }
        };
        if let Some(limit) = &self.order.limit {
            hosts.retain(|host| limit.contains(host));
            if hosts.is_empty() {
                self.complain(None, "none of the hosts named is among the playbook's".to_owned()).hint =
                    Some(format!("the playbook is for `{}`", playbook.hosts));
                return None;
            }
        }
        let folder = match &playbook.role {
            Some(name) => {
                let folder = self.project.roles.get(name);
                if folder.is_none() {
                    let known = self.project.roles.keys().map(String::as_str);
                    self.complain(None, format!("there is no role `{name}`")).hint = suggest::hint(name, known);
                }
                folder
            }
            None => None,
        };
        if playbook.on_failure.scope != FailureScope::Host {
            self.complain(None, "`on-failure.scope` can only be `host` as yet".to_owned());
        }
        let wanted = self.order.to.clone().or_else(|| playbook.to.clone());
        let release = wanted.as_ref().and_then(|wanted| find_release(folder, wanted));
        if let (Some(wanted), Some(folder)) = (&wanted, folder)
            && let (Some(releases), None) = (&folder.releases, release)
        {
            let known: Vec<_> = releases.release.iter().map(|release| release.version.as_str()).collect();
            self.complain(None, format!("role `{}` has no release {wanted}", folder.name)).hint =
                Some(format!("its `releases.toml` has {}", suggest::list(&known)));
        }
        if let Some(why) = release.and_then(|release| release.blocked.as_ref()) {
            let wanted = wanted.as_ref().map_or("", Version::as_str);
            self.complain(None, format!("release {wanted} is blocked: {why}"));
        }

        let mut plans = IndexMap::new();
        let mut traits = BTreeMap::new();
        for name in &hosts {
            let host = self.project.resolve_host(name);
            let scope = self.scope(&host, playbook, folder, wanted.as_ref(), release);
            traits.insert(name.clone(), traits_of(&host, self.order.found.get(name)));
            let plan = self.host(&scope, playbook, folder);
            plans.insert(name.clone(), plan);
        }

        let select = |selector: &str| self.project.select(selector).ok();
        let made = match waves::waves(&hosts, &playbook.rollout, &traits, &select) {
            Ok(made) => made,
            Err(error) => {
                self.complain(None, error.to_string());
                return None;
            }
        };
        let warnings = warnings(&hosts, &made, &playbook.rollout, &traits, &plans);
        Some(Plan {
            format: FORMAT,
            digest: String::new(),
            made_at: self.order.now,
            title: playbook.name.clone().unwrap_or_else(|| self.order.title.clone()),
            playbook: self.order.playbook.clone(),
            purpose: self.order.purpose,
            role: playbook.role.clone(),
            action: playbook.action.clone(),
            wanted,
            waves: made,
            rollout: rollout(playbook, hosts.len()),
            hosts: plans,
            warnings,
        })
    }

    /// Puts together what templates of one host can use; the nearer level wins.
    fn scope<'h>(
        &self,
        host: &'h ResolvedHost,
        playbook: &Playbook,
        folder: Option<&RoleFolder>,
        wanted: Option<&Version>,
        release: Option<&Release>,
    ) -> HostScope<'h> {
        let mut vars = Variables::of(host, folder.map(|folder| &folder.role.vars), Some(&playbook.vars));
        vars.set_release(release);
        if let Some(wanted) = wanted {
            vars.set_wanted(wanted);
        }
        if let Some(found) = self.order.found.get(&host.name) {
            vars.set_installed(found);
        }
        HostScope { host, vars, run_as: host.run_as.as_ref().map(|run_as| run_as.user.clone()) }
    }
}

impl Compiler<'_> {
    fn host(&mut self, scope: &HostScope<'_>, playbook: &Playbook, folder: Option<&RoleFolder>) -> HostPlan {
        let host = scope.host;
        let role = folder.map(|folder| &folder.role);
        let required = role.map(|role| &role.requires).into_iter().chain([&host.requires]).flatten();
        {
            for (name, what_for) in required {
                if scope.vars.scope.get(name).is_none_or(Json::is_null) {
                    self.complain(Some(&host.name), format!("variable `{name}` is not set ({what_for})")).hint = Some(
                        format!("set it under `vars` of the host, of its group, or of `[defaults]`: `{name} = ...`"),
                    );
                }
            }
        }
        let docs: &[StepDoc] = match (role, &playbook.action) {
            (Some(role), Some(action)) => role.action(action).unwrap_or_else(|| {
                let name = folder.map_or("", |folder| folder.name.as_str());
                self.complain(None, format!("role `{name}` has no action `{action}`")).hint =
                    suggest::hint(action, role.action_names());
                &[]
            }),
            _ => &playbook.steps,
        };
        let base = folder.map_or(self.order.base.clone(), |folder| folder.dir.clone());
        let profile_base = self.project.profile_dir();
        let mut steps = Vec::new();
        if self.order.purpose != Purpose::Check {
            for doc in docs {
                self.step(scope, doc, &base, &mut steps);
            }
        }
        for (index, step) in steps.iter_mut().enumerate() {
            step.id = StepId::new(index, &step.name);
        }
        let health = host.verbs.get("health").map(Vec::as_slice).unwrap_or_default();
        let mut checks = self.checks(scope, role.map(|role| role.check.as_slice()).unwrap_or_default(), &base);
        checks.extend(self.checks(scope, &playbook.check, &self.order.base.clone()));
        for doc in health {
            if let Some(check) = self.verb_check(scope, doc, &profile_base) {
                checks.push(check);
            }
        }
        let mut gates = Vec::new();
        if self.order.purpose != Purpose::Check {
            gates = self.checks(scope, role.map(|role| role.gate.as_slice()).unwrap_or_default(), &base);
            gates.extend(self.checks(scope, &playbook.gate, &self.order.base.clone()));
        }
        let of_role = role.and_then(|role| role.version.as_ref()).map(|doc| (doc, &base));
        let of_profile = || host.verbs.get("version").and_then(|steps| steps.first()).map(|doc| (doc, &profile_base));
        let version = of_role.or_else(of_profile).and_then(|(doc, base)| {
            let mut made = Vec::new();
            self.step(scope, doc, base, &mut made);
            made.pop().map(|step| step.action)
        });
        HostPlan {
            target: target(self.project, host),
            profile: host.profile.to_string(),
            tags: host.tags.iter().map(ToString::to_string).collect(),
            install: install_of(scope),
            state_dir: host.state_dir.clone(),
            secrets: scope.vars.secrets.clone(),
            version,
            found: self.order.found.get(&host.name).cloned(),
            gates,
            point_of_no_return: steps.iter().position(|step| step.effect.passes_no_return()),
            steps,
            checks,
        }
    }

    /// Turns one step of a document into the steps it stands for: itself, or those of its verb.
    fn step(&mut self, scope: &HostScope<'_>, doc: &StepDoc, base: &Path, into: &mut Vec<PlannedStep>) {
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
        if doc.when.as_deref().is_some_and(|condition| !holds(&scope.vars.scope, condition)) {
            return;
        }
        let Some(verb) = &doc.verb else {
            if let Some(step) = self.action(scope, doc, base) {
                into.push(step);
            }
            return;
        };
        let Some(parts) = scope.host.verbs.get(verb) else {
            let (host, profile) = (scope.host, &scope.host.profile);
            let near = suggest::nearest(verb, host.verbs.keys().map(String::as_str));
            self.complain(Some(&host.name), format!("profile `{profile}` does not say what `{verb}` is")).hint =
                Some(near.map_or_else(
                    || {
                        format!(
                            "write it down as `[profiles.{profile}.verbs.{verb}]`, or give the hosts another profile"
                        )
                    },
                    |near| format!("did you mean `{near}`?"),
                ));
            return;
        };
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
            if offset == 0 {
                step.requires.extend(doc.requires.iter().cloned());
            }
        }
    }

    /// Renders one step that is not a verb.
    fn action(&mut self, scope: &HostScope<'_>, doc: &StepDoc, base: &Path) -> Option<PlannedStep> {
        let mut action = doc.action()?;
        if let Err(error) = action.kind_mut().load(base) {
            let failure = error.to_failure();
            self.complain(None, failure.to_string()).hint.clone_from(&failure.hint);
            return None;
        }
        let mut problems = Vec::new();
        action.kind_mut().templates(&mut |kind, key, text| match template::render(kind, text, &scope.vars.scope) {
            Ok(rendered) => *text = rendered,
            Err(error) => problems.push(format!("`{key}`: {error}")),
        });
        problems.extend(
            action.kind().problems().into_iter().map(|problem| format!("`{}`: {}", problem.key, problem.message)),
        );
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
            undo,
            run_as,
            repeat_safe,
            retry: doc.retry.clone(),
            requires: doc.requires.clone(),
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
        Some(PlannedUndo::By(steps))
    }

    fn checks(&mut self, scope: &HostScope<'_>, docs: &[RoleCheck], base: &Path) -> Vec<PlannedCheck> {
        // What holds for the new version alone says nothing while nothing is changed.
        let only_looking = self.order.purpose == Purpose::Check;
        docs.iter()
            .filter(|doc| !(only_looking && doc.after_only))
            .filter_map(|doc| {
                let step = StepDoc { name: Some(doc.name.clone()), check: Some(doc.to_check()), ..StepDoc::default() };
                let step = self.action(scope, &step, base)?;
                let Action::Check(check) = step.action else { return None };
                Some(PlannedCheck {
                    name: doc.name.clone(),
                    check,
                    timeout: doc.timeout.unwrap_or(CHECK_TIMEOUT),
                    retry: doc.retry.clone(),
                    after_only: doc.after_only,
                    run_as: scope.run_as.clone(),
                })
            })
            .collect()
    }

    /// A check step of the profile's `health` verb, as a check of the host.
    fn verb_check(&mut self, scope: &HostScope<'_>, doc: &StepDoc, base: &Path) -> Option<PlannedCheck> {
        let step = self.action(scope, doc, base)?;
        let Action::Check(check) = step.action else { return None };
        let timeout = doc.timeout.unwrap_or(CHECK_TIMEOUT);
        Some(PlannedCheck {
            name: step.name,
            check,
            timeout,
            retry: step.retry,
            after_only: false,
            run_as: step.run_as,
        })
    }
}

/// What identifies the install on its machine: its variable `install` or `path`, or there is one for the whole machine.
///
/// Many installs behind one controller are told apart by their host names.
fn install_of(scope: &HostScope<'_>) -> String {
    let named = ["install", "path"].iter().find_map(|name| scope.vars.scope.get(*name)?.as_str().map(str::to_owned));
    named.unwrap_or_else(|| match &scope.host.via {
        Some(_) => scope.host.name.to_string(),
        None => "/".to_owned(),
    })
}

/// Hosts that commands may go `via`, one from the other, before that counts as a circle.
const MOST_VIA: usize = 8;

/// The connection the inventory describes: that of the host `via` which its commands run, where it names one.
///
/// The name and the user to become stay the host's own.
pub fn target(project: &Project, host: &ResolvedHost) -> Target {
    let mut on = host.clone();
    for _ in 0..MOST_VIA {
        let Some(next) = on.via.as_deref().filter(|via| *via != "controller").and_then(|via| HostName::new(via).ok())
        else {
            break;
        };
        if !project.inventory.hosts.contains_key(next.as_str()) {
            break;
        }
        on = project.resolve_host(&next);
    }
    let run_as = host.run_as.as_ref().map(|doc| Become { user: doc.user.clone(), password: doc.password.clone() });
    Target { host: host.name.clone(), way: way(&on), run_as }
}

fn way(host: &ResolvedHost) -> Way {
    match host.via.as_deref() {
        Some("controller") => Way::Controller,
        _ => Way::Ssh(SshTarget {
            address: host.address.clone(),
            port: host.port,
            user: host.user.clone(),
            jump: host.jump.clone(),
            identity_files: host.identity_files.clone(),
            password: host.password.clone(),
            connect_timeout: host.connect_timeout,
            host_key_alias: host.host_key_alias.clone(),
            forward_agent: host.forward_agent,
            jump_logins: host
                .jump_logins
                .iter()
                .map(|login| JumpLogin {
                    jump: login.jump.clone(),
                    identity_files: login.identity_files.clone(),
                    password: login.password.clone(),
                    connect_timeout: login.connect_timeout,
                    host_key_alias: login.host_key_alias.clone(),
                })
                .collect(),
        }),
    }
}

/// Whether a variable is set and not false, empty or zero; `!name` the other way round.
fn holds(scope: &template::Scope, condition: &str) -> bool {
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

fn find_release<'a>(folder: Option<&'a RoleFolder>, wanted: &Version) -> Option<&'a Release> {
    folder?
        .releases
        .as_ref()?
        .release
        .iter()
        .find(|release| release.version.compare(wanted) == Some(std::cmp::Ordering::Equal))
}

fn traits_of(host: &ResolvedHost, found: Option<&Version>) -> Traits {
    let mut traits = Traits::from([("profile".to_owned(), host.profile.to_string())]);
    if let Some(found) = found {
        traits.insert("version".to_owned(), found.to_string());
    }
    for (name, value) in &host.vars {
        if let Json::String(_) | Json::Number(_) | Json::Bool(_) = value.0 {
            let text = value.0.as_str().map_or_else(|| value.0.to_string(), str::to_owned);
            traits.entry(name.clone()).or_insert(text);
        }
    }
    traits
}

fn rollout(playbook: &Playbook, total: usize) -> Rollout {
    let doc = &playbook.rollout;
    let limit = |amount: Option<Amount>| amount.and_then(|amount| waves::resolve(amount, total, Rounding::Down));
    Rollout {
        at_once: doc.at_once.map_or(AT_ONCE, |count| count.max(1) as usize),
        budget: FailureBudget {
            failed: doc.budget.failed.map_or(Some(0), |amount| limit(Some(amount))),
            unreachable: limit(doc.budget.unreachable),
            inconclusive: limit(doc.budget.inconclusive),
            same_failure: doc.budget.same_failure.map(|count| count.max(1) as usize),
        },
        before_data: playbook.on_failure.before_data,
        after_data: playbook.on_failure.after_data,
        scope: playbook.on_failure.scope,
    }
}

/// What a person should know before saying yes.
fn warnings(
    hosts: &[HostName],
    made: &[Wave],
    rollout: &RolloutDoc,
    traits: &BTreeMap<HostName, Traits>,
    plans: &IndexMap<HostName, HostPlan>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let (Some(canary), Some(first)) = (&rollout.canary, made.first()) {
        let mut facts = canary.represent.clone();
        if facts.is_empty() {
            facts.push("profile".to_owned());
        }
        let missing = waves::uncovered(hosts, &first.hosts, &facts, traits);
        if !missing.is_empty() {
            warnings.push(format!("the canary does not cover: {}", missing.join(", ")));
        }
    } else if hosts.len() > 1 && plans.values().any(|plan| plan.steps.iter().any(|step| step.effect != Effect::Read)) {
        warnings.push("there is no canary: all hosts get the change without a trial".to_owned());
    }
    let mut without = IndexMap::<String, usize>::new();
    for step in plans.values().flat_map(|plan| &plan.steps) {
        if let PlannedUndo::Impossible { waived: false, .. } = &step.undo {
            *without.entry(step.name.clone()).or_default() += 1;
        }
    }
    for (step, count) in without {
        warnings.push(format!(
            "step `{step}` has no undo (on {count} hosts): a host that fails after it is not fully taken back"
        ));
    }
    if plans.values().any(|plan| !plan.steps.is_empty() && plan.checks.is_empty()) {
        warnings.push("some hosts have no health check: their success means only that the steps ended well".to_owned());
    }
    warnings
}
