//! Compiles a playbook and its hosts into the plan: every verb resolved, every value put in.

mod recovery;
mod steps;
mod target;
mod warnings;

use std::{collections::BTreeMap, path::PathBuf};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::Value as Json;

use super::{
    Estimate, FailureBudget, HostPlan, Plan, Purpose, Rollout, Summary,
    waves::{self, Rounding, Traits},
    window::Schedule,
};
use crate::{
    config::{
        Diagnostic, Project, ResolvedHost, RoleFolder, Variables,
        documents::{Amount, Playbook, Release, Scope as FailureScope, StepDoc},
        suggest,
    },
    model::{HostName, StepId, Version},
};

pub use target::target;

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

/// Hosts worked on at once, unless the playbook says otherwise.
const AT_ONCE: usize = 10;

/// Compiles `playbook`. All that is wrong is reported together; a plan is made only where nothing is.
pub fn compile(project: &Project, playbook: &Playbook, order: &Order) -> Result<Plan, Vec<Diagnostic>> {
    let mut compiler = Compiler { project, order, problems: Vec::new() };
    let plan = compiler.playbook(playbook);
    match plan {
        Some(mut plan) if compiler.problems.is_empty() => {
            plan.summary = Some(Summary::of(&plan));
            Ok(plan.seal())
        }
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
        let warnings = warnings::warnings(&hosts, &made, &playbook.rollout, &traits, &plans);
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
            summary: None,
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
        let migration = self.reading(scope, role.and_then(|role| role.migration.as_ref()), "migration", &base);
        self.protected(scope, &steps);
        let recovery = self.recovery(scope, role, &base, &steps);
        if let Err(problem) = Schedule::new(&host.windows) {
            self.complain(Some(&host.name), problem);
        }
        let mut plan = HostPlan {
            target: target::target(self.project, host),
            profile: host.profile.to_string(),
            tags: host.tags.iter().map(ToString::to_string).collect(),
            install: target::install_of(scope),
            state_dir: host.state_dir.clone(),
            secrets: scope.vars.secrets.clone(),
            version,
            found: self.order.found.get(&host.name).cloned(),
            gates,
            point_of_no_return: steps.iter().position(|step| step.effect.passes_no_return()),
            steps,
            checks,
            migration,
            recovery,
            rollback: None,
            windows: host.windows.clone(),
            estimate: None,
        };
        plan.estimate = Some(Estimate::of(&plan));
        plan
    }
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
            inconclusive: doc.budget.inconclusive.map_or(Some(0), |amount| limit(Some(amount))),
            parked: limit(doc.budget.parked),
            same_failure: doc.budget.same_failure.map(|count| count.max(1) as usize),
        },
        before_data: playbook.on_failure.before_data,
        after_data: playbook.on_failure.after_data,
        scope: playbook.on_failure.scope,
        outside_window: doc.outside_window,
    }
}
