//! Compiles a playbook and its hosts into the plan: every verb resolved, every value put in.

mod facts;
mod host;
mod journey;
mod notes;
mod recovery;
mod steps;
mod stores;
mod target;
mod warnings;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::Value as Json;

use self::{host::Play, journey::Journey};
use super::{
    FailureBudget, HostPlan, Plan, Purpose, Reading, Rollout, Summary, Wave,
    path::TagKind,
    reading::usual_version,
    waves::{self, Rounding, Traits},
};
use crate::{
    config::{
        Diagnostic, Project, ResolvedHost, RoleFolder,
        documents::{Amount, Canary, CanaryHosts, Playbook, Release},
        suggest,
    },
    model::{HostName, Version},
};

pub use stores::{Keeper, Store, stores};
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
    /// What the hosts told before planning.
    pub read: BTreeMap<HostName, Reading>,
    /// Of what they told, the facts that only looking found: comparing with them proves nothing.
    pub unrecorded: BTreeMap<HostName, BTreeSet<String>>,
    /// Versions that a person says hosts have.
    pub from: BTreeMap<HostName, Version>,
    /// As few hops as required stops allow; also where the playbook does not say so.
    pub direct: bool,
    /// Folder the playbook's local files are relative to.
    pub base: PathBuf,
}

impl Order {
    /// An order of which nothing special is said.
    pub fn new(title: impl Into<String>, purpose: Purpose, base: PathBuf, now: Timestamp) -> Self {
        Self {
            title: title.into(),
            playbook: None,
            purpose,
            to: None,
            limit: None,
            now,
            read: BTreeMap::new(),
            unrecorded: BTreeMap::new(),
            from: BTreeMap::new(),
            direct: false,
            base,
        }
    }
}

/// Format of the plans made here.
pub const FORMAT: u32 = 1;

/// Hosts worked on at once, unless the playbook says otherwise.
const AT_ONCE: usize = 10;

/// Compiles `playbook`. All that is wrong is reported together; a plan is made only where nothing is.
pub fn compile(project: &Project, playbook: &Playbook, order: &Order) -> Result<Plan, Vec<Diagnostic>> {
    let mut compiler = Compiler::new(project, order);
    let plan = compiler.playbook(playbook);
    match plan {
        Some(mut plan) if compiler.problems.is_empty() => {
            plan.summary = Some(Summary::of(&plan));
            Ok(plan.seal())
        }
        _ => Err(compiler.problems),
    }
}

/// Resolves how the hosts of `playbook` are asked for their versions and facts, and nothing else: what a plan needs
/// to know before it can be made.
pub fn questions(
    project: &Project,
    playbook: &Playbook,
    order: &Order,
) -> Result<IndexMap<HostName, HostPlan>, Vec<Diagnostic>> {
    let mut compiler = Compiler::new(project, order);
    let hosts = compiler.hosts(playbook).unwrap_or_default();
    let folder = compiler.role(playbook);
    let wanted = compiler.wanted(playbook, folder);
    let play = Play { playbook, folder, wanted: wanted.as_ref() };
    let plans = hosts
        .into_iter()
        .map(|name| {
            let host = project.resolve_host(&name);
            (name, compiler.ask(&host, play))
        })
        .collect();
    if compiler.problems.is_empty() { Ok(plans) } else { Err(compiler.problems) }
}

struct Compiler<'a> {
    project: &'a Project,
    order: &'a Order,
    problems: Vec<Diagnostic>,
    /// Facts that something of the host at hand follows from.
    facts_used: BTreeSet<String>,
}

impl<'a> Compiler<'a> {
    fn new(project: &'a Project, order: &'a Order) -> Self {
        Self { project, order, problems: Vec::new(), facts_used: BTreeSet::new() }
    }

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
        let hosts = self.hosts(playbook)?;
        let folder = self.role(playbook);
        let wanted = self.wanted(playbook, folder);
        let play = Play { playbook, folder, wanted: wanted.as_ref() };

        let mut plans = IndexMap::with_capacity(hosts.len());
        let mut traits = BTreeMap::new();
        let usual = usual_version(hosts.iter(), &self.order.read);
        let mut odd_facts = IndexMap::new();
        for name in &hosts {
            let host = self.project.resolve_host(name);
            let journey = match (folder, &wanted) {
                (Some(folder), Some(wanted)) if self.has_path(playbook) => {
                    self.journey(&host, folder, playbook, wanted, usual)
                }
                _ => Journey::default(),
            };
            traits.insert(name.clone(), traits_of(&host, self.order.read.get(name)));
            warnings::note_odd_facts(&host, self.order.read.get(name), &mut odd_facts);
            let plan = self.host(&host, play, journey);
            plans.insert(name.clone(), plan);
        }

        let waves = match self.waves(&hosts, playbook, &plans, &traits) {
            Ok(waves) => waves,
            Err(error) => {
                self.complain(None, error.to_string());
                return None;
            }
        };
        let mut warnings = warnings::warnings(&hosts, &waves, &playbook.rollout, &traits, &plans);
        warnings.extend(warnings::of_versions(&plans));
        warnings.extend(warnings::of_facts(&odd_facts));
        if self.order.purpose != Purpose::Check {
            warnings.extend(warnings::of_silence(&plans));
        }
        let notes = notes::on_the_way(&plans, folder);
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
            waves,
            rollout: rollout(playbook, hosts.len()),
            hosts: plans,
            direct: playbook.direct || self.order.direct,
            notes,
            acknowledged: Vec::new(),
            summary: None,
            warnings,
        })
    }

    /// Selects the hosts.
    fn hosts(&mut self, playbook: &Playbook) -> Option<Vec<HostName>> {
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
        Some(hosts)
    }

    fn role(&mut self, playbook: &Playbook) -> Option<&'a RoleFolder> {
        let name = playbook.role.as_ref()?;
        let project = self.project;
        let folder = project.roles.get(name);
        if folder.is_none() {
            let known = project.roles.keys().map(String::as_str);
            self.complain(None, format!("there is no role `{name}`")).hint = suggest::hint(name, known);
        }
        folder
    }

    /// The version wanted. One that no host could be brought to is a problem of the order, not of a host.
    fn wanted(&mut self, playbook: &Playbook, folder: Option<&RoleFolder>) -> Option<Version> {
        let wanted = self.order.to.clone().or_else(|| playbook.to.clone())?;
        let release = find_release(folder, &wanted);
        if let Some(folder) = folder
            && let (Some(releases), None, TagKind::Release) = (&folder.releases, release, TagKind::of(&wanted))
        {
            let known: Vec<_> = releases.release.iter().map(|release| release.version.as_str()).collect();
            self.complain(None, format!("role `{}` has no release {wanted}", folder.name)).hint =
                Some(format!("its `releases.toml` has {}", suggest::list(&known)));
        }
        if let Some(why) = release.and_then(|release| release.blocked.as_ref()) {
            let problem = self.complain(None, format!("release {wanted} is blocked: {why}"));
            problem.place = folder.and_then(|folder| folder.blocked_at(&wanted));
            problem.hint = Some("choose another release with `--to`".to_owned());
        }
        Some(wanted)
    }

    /// Makes the waves. Hosts that are refused are no canaries: they come last, to be told.
    fn waves(
        &self,
        hosts: &[HostName],
        playbook: &Playbook,
        plans: &IndexMap<HostName, HostPlan>,
        traits: &BTreeMap<HostName, Traits>,
    ) -> Result<Vec<Wave>, waves::WaveError> {
        let is_counted = matches!(&playbook.rollout.canary, Some(Canary { hosts: CanaryHosts::Count(_), .. }));
        let is_refused = |host: &HostName| plans[host].refused.is_some();
        let select = |selector: &str| self.project.select(selector).ok();
        if !is_counted || hosts.iter().all(is_refused) {
            return waves::waves(hosts, &playbook.rollout, traits, &select);
        }
        let (refused, going): (Vec<_>, Vec<_>) = hosts.iter().cloned().partition(is_refused);
        let mut made = waves::waves(&going, &playbook.rollout, traits, &select)?;
        if let Some(last) = made.last_mut() {
            last.hosts.extend(refused);
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests;

fn find_release<'a>(folder: Option<&'a RoleFolder>, wanted: &Version) -> Option<&'a Release> {
    folder?
        .releases
        .as_ref()?
        .release
        .iter()
        .find(|release| release.version.compare(wanted) == Some(std::cmp::Ordering::Equal))
}

fn traits_of(host: &ResolvedHost, read: Option<&Reading>) -> Traits {
    let mut traits = Traits::from([("profile".to_owned(), host.profile.to_string())]);
    if let Some(read) = read {
        traits.extend(read.installed.version().map(|version| ("version".to_owned(), version.to_string())));
        traits.extend(read.facts.iter().map(|(name, value)| (name.clone(), value.clone())));
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
        baseline: doc.baseline,
        per_minute: None,
    }
}
