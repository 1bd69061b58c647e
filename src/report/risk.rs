//! What a plan puts at risk, in a few lines at its head: time, downtime, the way back, the canary, windows, people.

use std::time::Duration;

use super::{
    page::{Page, Tone, cell, text_width},
    table::names_of,
    words,
};
use crate::{
    model::{Effect, HostName, Span},
    plan::{Baseline, Bound, Coverage, FailureBudget, HostPlan, Lengths, NoReturn, Plan, Purpose, Summary},
};

/// Column in which the sentences begin.
const INDENT: usize = 13;

/// Renders the summary of a plan's risk. Empty for one that changes nothing.
pub(super) fn risk(plan: &Plan, page: &Page) -> String {
    let summary = plan.summary.clone().unwrap_or_else(|| Summary::of(plan));
    if summary.hosts == 0 || plan.purpose == Purpose::Check {
        return String::new();
    }
    let lines = match plan.purpose {
        Purpose::Prefetch => {
            let mut lines =
                vec![("time", time_one_way(&summary)), ("downtime", "none: nothing that runs is changed".to_owned())];
            lines.extend(windows(plan, &summary, page).into_iter().map(|sentence| ("windows", sentence)));
            lines
        }
        Purpose::Rollback => back(plan, &summary),
        Purpose::Apply | Purpose::Check => lines(plan, &summary, page),
    };

    let mut text = format!("\n{}\n", page.paint(Tone::Strong, "At a glance"));
    let mut before = "";
    for (label, sentence) in lines {
        let shown = if label == before { "" } else { label };
        before = label;
        let shown = page.paint(Tone::Quiet, shown);
        let gap = " ".repeat((INDENT - 2).saturating_sub(text_width(&shown)));
        text.push_str(&page.wrap(&format!("  {shown}{gap}{sentence}"), INDENT));
    }
    text
}

/// What is taken back is not taken forward again where that fails, and neither canaries nor windows are asked.
fn back(plan: &Plan, summary: &Summary) -> Vec<(&'static str, String)> {
    let asked = people(plan, summary);
    vec![
        ("time", time_one_way(summary)),
        ("downtime", downtime(summary)),
        ("halts", halts(&plan.rollout.budget)),
        ("windows", "do not bind it".to_owned()),
        ("asked", if asked.is_empty() { "nothing, while all goes well".to_owned() } else { asked }),
    ]
}

fn lines(plan: &Plan, summary: &Summary, page: &Page) -> Vec<(&'static str, String)> {
    let mut lines = vec![("time", time(plan, summary)), ("downtime", downtime(summary))];
    lines.extend(summary.no_return.iter().map(|point| ("no return", no_return(point, plan, page))));
    if summary.no_return.is_empty() {
        lines.push(("no return", "none: a host that fails is taken back by itself".to_owned()));
    }
    if plan.rollout.baseline == Baseline::Tell {
        let gates = if plan.hosts.values().any(|host| !host.gates.is_empty()) { "; its gates must hold" } else { "" };
        lines.push(("red before", format!("a host that is red before is worked on all the same{gates}")));
    }
    lines.extend(canary(plan, &summary.canary, page).map(|sentence| ("canary", sentence)));
    let within = plan.waves.iter().any(|wave| !wave.budget.is_unlimited());
    let within = if within { "; within a wave as the rules below say" } else { "" };
    let mut budget = plan.rollout.budget.clone();
    if plan.waves.iter().all(|wave| wave.soak.0.is_zero()) {
        // Only a soak can be.
        budget.inconclusive = None;
    }
    lines.push(("halts", format!("{}{within}", halts(&budget))));
    lines.extend(windows(plan, summary, page).into_iter().map(|sentence| ("windows", sentence)));
    let asked = people(plan, summary);
    lines.push(("asked", if asked.is_empty() { "nothing, while all goes well".to_owned() } else { asked }));
    lines
}

/// A length that is only expected, so that nobody takes its seconds at their word.
fn about(length: Span) -> String {
    let seconds = length.0.as_secs().max(1);
    let grain = match seconds {
        0..60 => 1,
        60..600 => 10,
        _ => 60,
    };
    words::duration(Duration::from_secs(seconds.div_ceil(grain) * grain))
}

fn range(lengths: Lengths) -> String {
    let (least, most) = (about(lengths.least), about(lengths.most));
    if least == most { least } else { format!("{least} to {most}") }
}

fn time(plan: &Plan, summary: &Summary) -> String {
    let restores = |host: &HostPlan| host.may_go() && host.may_be_held() && !host.recovery.restore.is_empty();
    let data = if plan.hosts.values().any(restores) { ", a restore of its data included" } else { "" };
    let back = if summary.back.most.0.is_zero() {
        "nothing to take back".to_owned()
    } else {
        format!("at most {} to take it back{data}", about(summary.back.most))
    };
    let whole = about(summary.whole);
    format!("about {} a host, {back}; about {whole} in all, soaks included", range(summary.forward))
}

/// What is fetched, or taken back, is not taken back again, and nothing soaks.
fn time_one_way(summary: &Summary) -> String {
    format!("about {} a host; about {} in all", range(summary.forward), about(summary.whole))
}

fn downtime(summary: &Summary) -> String {
    let unknown = match summary.downtime_unknown {
        0 => String::new(),
        count => format!("; not said for {}", words::count(count, "host")),
    };
    match summary.downtime {
        Some(lengths) => format!("about {} a host{unknown}", range(lengths)),
        None => "not said: no step has `downtime`".to_owned(),
    }
}

fn no_return(point: &NoReturn, plan: &Plan, page: &Page) -> String {
    let names: Vec<&HostName> = point.hosts.iter().collect();
    let step = point.hosts.first().and_then(|name| plan.hosts.get(name)?.steps.get(point.number - 1));
    let host = point.hosts.first().and_then(|name| plan.hosts.get(name));
    let why = step.zip(host).map(|(step, host)| super::plan::no_return(step, host)).unwrap_or_default();
    let what = match point.effect {
        Effect::Irreversible => page.paint(Tone::Bad, "irreversible"),
        effect => page.paint(Tone::Odd, effect.as_str()),
    };
    let (step, hosts) = (cell(&point.step), words::count(names.len(), "host"));
    format!("{hosts} ({}) from step {}, `{step}` ({what}), on: {why}", names_of(&names), point.number)
}

/// Says what the first wave stands for, and what it does not.
fn canary(plan: &Plan, coverage: &[Coverage], page: &Page) -> Option<String> {
    let first = plan.waves.first().filter(|_| plan.waves.len() > 1)?;
    let is_refused = |name: &&HostName| plan.hosts.get(*name).is_some_and(|host| !host.may_go());
    let (hosts, all) = (first.hosts.len(), plan.hosts.len());
    let refused = first.hosts.iter().filter(is_refused).count();
    let count = |(value, hosts): (&String, &usize)| format!("{} ({})", cell(value), words::count(*hosts, "host"));
    let missing: Vec<_> = coverage
        .iter()
        .filter(|fact| !fact.missing.is_empty())
        .map(|fact| format!("{} {}", fact.fact, fact.missing.iter().map(count).collect::<Vec<_>>().join(", ")))
        .collect();
    let unknown: Vec<_> = coverage
        .iter()
        .filter(|fact| fact.unknown > 0)
        .map(|fact| format!("the {} of {} is not known", fact.fact, words::count(fact.unknown, "host")))
        .collect();
    let covers = if missing.is_empty() {
        let facts: Vec<_> = coverage.iter().map(|fact| fact.fact.clone()).collect();
        format!("every {} is in it", words::and(&facts))
    } else {
        format!("{}: {}", page.paint(Tone::Odd, "not in it"), missing.join("; "))
    };
    let refused =
        (refused > 0).then(|| page.paint(Tone::Bad, &format!("{} of it may not go", words::count(refused, "host"))));
    let parts: Vec<_> = refused.into_iter().chain([covers]).chain(unknown).collect();
    Some(format!("{} of {}; {}", words::count(hosts, "host"), all, parts.join("; ")))
}

/// The budget in one breath; the rules below say it in full.
fn halts(budget: &FailureBudget) -> String {
    let classes = [
        ("failed", budget.failed),
        ("unreachable", budget.unreachable),
        ("inconclusive", budget.inconclusive),
        ("parked", budget.parked),
    ];
    let mut limits: Vec<String> = classes
        .into_iter()
        .filter_map(|(class, limit)| Some((class, limit?)))
        .map(|(class, limit)| match limit {
            0 => format!("the first {class} host"),
            limit => format!("more than {limit} {class}"),
        })
        .collect();
    if let Some(count) = budget.same_failure {
        limits.push(format!("the same error on {}", words::count(count, "host")));
    }
    if limits.is_empty() { "nothing: no budget is set".to_owned() } else { format!("at {}", limits.join(", or ")) }
}

fn windows(plan: &Plan, summary: &Summary, page: &Page) -> Vec<String> {
    let bound: usize = summary.windows.iter().map(|group| group.hosts.len()).sum();
    let group = |group: &Bound| {
        let names: Vec<&HostName> = group.hosts.iter().collect();
        let need = about(group.need);
        let opens = match (&group.opens, &group.opens_local) {
            (Some(_), Some(opens)) => format!("opens {}", cell(opens)),
            (Some(_), None) => "open now".to_owned(),
            (None, _) => page.paint(Tone::Bad, &format!("never long enough for the {need} that may be needed")),
        };
        let said = group.windows.iter().map(|window| cell(window)).collect::<Vec<_>>().join("; ");
        format!("{}: {said}; {opens}", names_of(&names))
    };
    let mut lines: Vec<_> = summary.windows.iter().map(group).collect();
    if bound > 0 {
        let outside = match plan.rollout.outside_window {
            crate::plan::OutsideWindow::Leave => "a host outside is left for `retry --not-started`",
            crate::plan::OutsideWindow::Wait => "a host outside is waited for",
        };
        let free = summary.hosts - bound;
        let others = if free > 0 { format!("{} at any time; ", words::count(free, "host")) } else { String::new() };
        lines.push(format!("{others}{outside}"));
    }
    lines
}

fn people(plan: &Plan, summary: &Summary) -> String {
    let mut asked = super::plan::questions(plan);
    if !summary.no_return.is_empty() {
        asked.push("how to go on, where a host fails after its point of no return".to_owned());
    }
    asked.join("; ")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn name(text: &str) -> HostName {
        HostName::new(text).expect("a name")
    }

    fn lengths(least: u64, most: u64) -> Lengths {
        Lengths { least: Span::seconds(least), most: Span::seconds(most) }
    }

    #[test]
    fn s_12_lengths_are_told_as_roughly_as_they_are_known() {
        let said = |seconds| about(Span::seconds(seconds));
        assert_eq!([said(0), said(7), said(61), said(243), said(1683)], ["1s", "7s", "1m 10s", "4m 10s", "29m"]);
        assert_eq!(range(lengths(7, 7)), "7s");
        assert_eq!(range(lengths(7, 61)), "7s to 1m 10s");
    }

    #[test]
    fn budgets_are_told_in_one_breath() {
        let of = |failed, unreachable: Option<usize>, same_failure| {
            let parked = unreachable.map(|count| count + 1);
            halts(&FailureBudget { failed, unreachable, same_failure, parked, inconclusive: failed })
        };
        assert_eq!(of(None, None, None), "nothing: no budget is set");
        assert_eq!(
            of(Some(0), Some(2), Some(2)),
            "at the first failed host, or more than 2 unreachable, or the first inconclusive host, or more than 3 parked, \
             or the same error on 2 hosts"
        );
    }

    #[test]
    fn s_11_windows_are_told_with_when_they_open_and_whether_they_ever_do() {
        let bound = |host: &str, window: &str, opens: Option<&str>, local: Option<&str>| Bound {
            hosts: vec![name(host)],
            windows: vec![window.to_owned()],
            need: Span::seconds(5400),
            opens: opens.map(|at| at.parse().expect("a time")),
            opens_local: local.map(str::to_owned),
        };
        let noon = Some("2026-11-21T12:00:00Z");
        let summary = Summary {
            hosts: 5,
            forward: lengths(60, 60),
            back: lengths(0, 0),
            whole: Span::seconds(60),
            downtime: None,
            downtime_unknown: 5,
            no_return: Vec::new(),
            canary: Vec::new(),
            windows: vec![
                bound("web-1", "Mon-Thu 01:00-04:00 UTC", noon, Some("Mon 01:00 UTC")),
                bound("web-2", "10:00-14:00 UTC", noon, None),
                bound("web-3", "01:00-02:00 UTC", None, None),
            ],
            promotions: Vec::new(),
        };
        let plan: Plan = serde_json::from_value(serde_json::json!({
            "format": 1, "digest": "", "made-at": "2026-11-21T12:00:00Z", "title": "test", "purpose": "apply",
            "waves": [], "hosts": {},
            "rollout": {
                "at-once": 1, "budget": { "failed": 0, "unreachable": null, "inconclusive": null, "same-failure": null },
                "before-data": "undo", "after-data": "hold", "scope": "host",
            },
        }))
        .expect("a plan");
        let page = Page::plain(100);
        assert_snapshot!(windows(&plan, &summary, &page).join("\n"), @r"
        web-1: Mon-Thu 01:00-04:00 UTC; opens Mon 01:00 UTC
        web-2: 10:00-14:00 UTC; open now
        web-3: 01:00-02:00 UTC; never long enough for the 1h 30m that may be needed
        2 hosts at any time; a host outside is left for `retry --not-started`
        ");
        assert_eq!(people(&plan, &summary), "");
    }
}
