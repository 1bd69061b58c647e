//! What a plan puts at risk, in numbers: what a person weighs before saying yes.

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    HostPlan, Plan, Promote,
    estimate::Estimate,
    window::{Answer, Schedule},
};
use crate::model::{Effect, HostName, Span};

/// The risk of a plan, counted from its hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Summary {
    /// Hosts on which something is done.
    pub hosts: usize,
    /// What one host is expected to take, and what taking it back takes at worst.
    pub forward: Lengths,
    pub back: Lengths,
    /// All waves with their soaks, when all goes well and nobody is waited for.
    pub whole: Span,
    /// How long a product is down. `None`: no step says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime: Option<Lengths>,
    /// Hosts of which no step says whether the product goes down.
    pub downtime_unknown: usize,
    /// Where pointing the code back is no rollback any more: hosts with the same step are one.
    pub no_return: Vec<NoReturn>,
    /// Of the first wave, where others follow: what it has of each fact, and what it has not.
    pub canary: Vec<Coverage>,
    /// Hosts that are bound by windows: those with the same ones are one.
    pub windows: Vec<Bound>,
    /// Waves after which a person lets the next begin.
    pub promotions: Vec<String>,
}

/// The shortest and the longest of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lengths {
    pub least: Span,
    pub most: Span,
}

/// A step after which hosts cannot simply be pointed back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NoReturn {
    pub hosts: Vec<HostName>,
    /// From 1.
    pub number: usize,
    pub step: String,
    pub effect: Effect,
}

/// What the canary has of one fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Coverage {
    /// `profile`, `version`, `arch`.
    pub fact: String,
    pub covered: Vec<String>,
    /// Values that later hosts have and the canary has not, and on how many.
    pub missing: BTreeMap<String, usize>,
    /// Hosts of which the value is not known.
    pub unknown: usize,
}

/// Hosts with the same windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bound {
    pub hosts: Vec<HostName>,
    /// As a person would say them.
    pub windows: Vec<String>,
    /// The longest any of the hosts may need, its rollback included.
    pub need: Span,
    /// When they could be started first: now or later. `None`: not within a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens: Option<Timestamp>,
    /// The same, as its zone says it; `None` where that is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_local: Option<String>,
}

impl Default for Lengths {
    fn default() -> Self {
        Self { least: Span::seconds(0), most: Span::seconds(0) }
    }
}

impl Lengths {
    fn of(lengths: impl IntoIterator<Item = Span>) -> Option<Self> {
        lengths.into_iter().fold(None, |so_far: Option<Self>, length| {
            Some(match so_far {
                None => Self { least: length, most: length },
                Some(Self { least, most }) => Self { least: least.min(length), most: most.max(length) },
            })
        })
    }
}

impl Summary {
    /// Counts a plan.
    pub fn of(plan: &Plan) -> Self {
        let changed: Vec<(&HostName, &HostPlan)> =
            plan.hosts.iter().filter(|(_, host)| !host.steps.is_empty()).collect();
        let estimates: Vec<_> = changed.iter().map(|(_, host)| estimate(host)).collect();
        let downtimes = || estimates.iter().filter_map(|estimate| estimate.downtime);
        Self {
            hosts: changed.len(),
            forward: Lengths::of(estimates.iter().map(|estimate| estimate.forward)).unwrap_or_default(),
            back: Lengths::of(estimates.iter().map(|estimate| estimate.back)).unwrap_or_default(),
            whole: whole(plan),
            downtime: Lengths::of(downtimes()),
            downtime_unknown: estimates.len() - downtimes().count(),
            no_return: no_return(&changed),
            canary: coverage(plan),
            windows: windows(plan, &changed),
            promotions: plan
                .waves
                .iter()
                .take(plan.waves.len().saturating_sub(1))
                .filter(|wave| wave.promote == Promote::Manual)
                .map(|wave| wave.name.clone())
                .collect(),
        }
    }
}

fn estimate(host: &HostPlan) -> Estimate {
    host.estimate.unwrap_or_else(|| Estimate::of(host))
}

/// Hosts of a wave go so many at once, as slow as the slowest; then it soaks.
fn whole(plan: &Plan) -> Span {
    let wave = |wave: &super::Wave| {
        let hosts = wave.hosts.iter().filter_map(|name| plan.hosts.get(name));
        let slowest = hosts.map(|host| estimate(host).forward.0).max().unwrap_or_default();
        let rounds = wave.hosts.len().div_ceil(plan.rollout.at_once.max(1));
        let worked = slowest.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        // The last may not begin before its turn, however fast the others are.
        let others = u64::try_from(wave.hosts.len().saturating_sub(1)).unwrap_or(u64::MAX);
        let paced = plan.rollout.per_minute.map_or(0, |count| others.saturating_mul(60) / u64::from(count.max(1)));
        worked.max(slowest + Duration::from_secs(paced)) + wave.soak.0
    };
    let total: Duration = plan.waves.iter().map(wave).sum();
    Span(Duration::from_secs(total.as_secs()))
}

fn no_return(changed: &[(&HostName, &HostPlan)]) -> Vec<NoReturn> {
    let mut groups: IndexMap<(usize, &str, Effect), Vec<HostName>> = IndexMap::new();
    for (name, host) in changed {
        let Some(index) = host.point_of_no_return else { continue };
        let Some(step) = host.steps.get(index) else { continue };
        groups.entry((index + 1, step.name.as_str(), step.effect)).or_default().push((*name).clone());
    }
    let group = |((number, step, effect), hosts): ((usize, &str, Effect), Vec<HostName>)| NoReturn {
        hosts,
        number,
        step: step.to_owned(),
        effect,
    };
    groups.into_iter().map(group).collect()
}

/// What tells installs apart: its name, and how a host's plan tells it.
type Fact = (&'static str, fn(&HostPlan) -> Option<String>);

/// Looks at what tells installs apart, whether the canary was chosen by it or not. A host that is refused tries nothing
/// for the others, and needs nobody to try for it.
fn coverage(plan: &Plan) -> Vec<Coverage> {
    let Some(first) = plan.waves.first().filter(|_| plan.waves.len() > 1) else { return Vec::new() };
    let facts: [Fact; 3] = [
        ("profile", |host| Some(host.profile.clone())),
        ("version", |host| host.found.as_ref().map(ToString::to_string)),
        ("arch", |host| host.facts.get("arch").and_then(|fact| fact.value.clone())),
    ];
    let judged = facts.into_iter().filter_map(|(fact, read)| {
        let mut coverage =
            Coverage { fact: fact.to_owned(), covered: Vec::new(), missing: BTreeMap::new(), unknown: 0 };
        for host in first.hosts.iter().filter_map(|name| plan.hosts.get(name)).filter(|host| host.may_go()) {
            coverage.covered.extend(read(host));
        }
        coverage.covered.sort();
        coverage.covered.dedup();
        for host in plan.hosts.values().filter(|host| host.may_go()) {
            match read(host) {
                Some(value) if !coverage.covered.contains(&value) => *coverage.missing.entry(value).or_default() += 1,
                Some(_) => {}
                None => coverage.unknown += 1,
            }
        }
        // What is known of nobody tells nobody anything.
        (coverage.unknown < plan.hosts.values().filter(|host| host.may_go()).count()).then_some(coverage)
    });
    judged.collect()
}

fn windows(plan: &Plan, changed: &[(&HostName, &HostPlan)]) -> Vec<Bound> {
    let mut groups: IndexMap<Vec<String>, (Vec<HostName>, &HostPlan, Span)> = IndexMap::new();
    for (name, host) in changed.iter().filter(|(_, host)| !host.windows.is_empty()) {
        let said: Vec<_> = host.windows.iter().map(ToString::to_string).collect();
        let group = groups.entry(said).or_insert((Vec::new(), host, Span::seconds(0)));
        group.0.push((*name).clone());
        group.2 = group.2.max(estimate(host).need());
    }
    let bound = |(windows, (hosts, host, need)): (Vec<String>, (Vec<HostName>, &HostPlan, Span))| {
        let now = plan.made_at;
        let (opens, opens_local) = match Schedule::new(&host.windows).map(|schedule| schedule.ask(now, need)) {
            Ok(Answer::Open { .. }) => (Some(now), None),
            Ok(Answer::Closed { opens: Some(opens), .. }) => {
                (Some(opens.timestamp()), Some(super::window::when(&opens, now)))
            }
            Ok(Answer::Closed { opens: None, .. }) | Err(_) => (None, None),
        };
        Bound { hosts, windows, need, opens, opens_local }
    };
    groups.into_iter().map(bound).collect()
}
