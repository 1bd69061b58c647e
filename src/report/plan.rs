//! A plan, as a person reviews it: waves, steps with their effect and undo, the point of no return,
//! the rules in words, the risks, and what will be asked.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt::Write as _};

use indexmap::IndexMap;

use super::{
    page::{Page, Tone, cell, line},
    paths, risk,
    table::names_of,
    words,
};
use crate::{
    model::{Effect, HostName, Span, Version},
    plan::{
        AfterData, BeforeData, FailureBudget, HostPlan, Plan, PlannedCheck, PlannedStep, PlannedUndo, Promote, Purpose,
        Scope,
    },
};

/// How much of a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Hosts with the same steps are one, even where the values in the steps differ.
    Brief,
    /// Each different command line is shown.
    Full,
}

/// Says what a step does; its own words, passed in so that the rendering can be tested alone.
pub(super) type Summary<'a> = &'a dyn Fn(&PlannedStep) -> String;

/// Renders a plan.
pub fn plan(plan: &Plan, detail: Detail, page: &Page) -> String {
    render(plan, detail, page, &|step| step.action.kind().summary())
}

pub(super) fn render(plan: &Plan, detail: Detail, page: &Page, summary: Summary<'_>) -> String {
    let mut text = page.wrap(&page.paint(Tone::Strong, &cell(&plan.title)), 2);
    text.push_str(&page.wrap(&subtitle(plan), 2));
    if plan.hosts.is_empty() {
        text.push_str("\nno hosts\n");
        return text;
    }
    if plan.purpose != Purpose::Check {
        let _ = write!(text, "\n{}", waves(plan, page));
    }
    text.push_str(&paths::paths(plan, page));
    text.push_str(&paths::notes(plan, page));
    text.push_str(&risk::risk(plan, page));
    for (hosts, host) in alike(plan, detail, summary) {
        let _ = write!(text, "\n{}", host_plan(&hosts, host, plan, page, summary));
    }
    if plan.purpose != Purpose::Check {
        section(&mut text, "Rules", &rules(plan), page, Tone::Plain);
    }
    section(&mut text, "Know before", &risks(plan), page, Tone::Odd);
    text
}

fn section(text: &mut String, title: &str, sentences: &[String], page: &Page, tone: Tone) {
    if sentences.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", page.paint(Tone::Strong, title));
    for sentence in sentences {
        let mark = if tone == Tone::Plain { "-".to_owned() } else { page.paint(tone, "!") };
        text.push_str(&page.wrap(&format!("  {mark} {sentence}"), 4));
    }
}

fn subtitle(plan: &Plan) -> String {
    let purpose = plan.purpose.as_str();
    let mut parts = vec![format!(
        "{purpose}: {} in {}",
        words::count(plan.hosts.len(), "host"),
        words::count(plan.waves.len(), "wave")
    )];
    if let Some(role) = &plan.role {
        parts.push(format!(
            "role {}{}",
            cell(role),
            plan.action.as_ref().map(|a| format!(", {}", cell(a))).unwrap_or_default()
        ));
    }
    if let Some(wanted) = &plan.wanted {
        parts.push(format!("to {}", cell(wanted.as_str())));
    }
    let digest: String = plan.digest.chars().take("sha256:".len() + 12).collect();
    parts.push(format!("plan {}", cell(&digest)));
    parts.join("; ")
}

fn waves(plan: &Plan, page: &Page) -> String {
    let last = plan.waves.len().saturating_sub(1);
    let rows: Vec<Vec<String>> = plan
        .waves
        .iter()
        .enumerate()
        .map(|(index, wave)| {
            let names: Vec<_> = wave.hosts.iter().collect();
            let soak = if wave.soak == Span::seconds(0) { String::new() } else { wave.soak.to_string() };
            let then = match (wave.promote, index == last) {
                (_, true) => String::new(),
                (Promote::Auto, false) => "goes on by itself".to_owned(),
                (Promote::Manual, false) => "waits for `promote`".to_owned(),
            };
            vec![cell(&wave.name), wave.hosts.len().to_string(), names_of(&names), soak, then]
        })
        .collect();
    page.table(&["wave", "hosts", "which", "soak", "then"], &rows)
}

/// Folds hosts for which the same is planned.
pub(super) fn alike<'a>(
    plan: &'a Plan,
    detail: Detail,
    summary: Summary<'_>,
) -> Vec<(Vec<&'a HostName>, &'a HostPlan)> {
    type Shape = (String, Option<String>, Vec<Version>, Vec<String>, Vec<String>, Vec<String>, Option<usize>);
    let mut groups: IndexMap<Shape, (Vec<&HostName>, &HostPlan)> = IndexMap::new();
    // Who is refused is told once, with the reason.
    for (name, host) in plan.hosts.iter().filter(|(_, host)| host.may_go()) {
        let steps = host
            .steps
            .iter()
            .map(|step| {
                let said = if detail == Detail::Full { summary(step) } else { String::new() };
                let there = step.prefetched.as_ref().map(|found| found.run);
                format!("{}\0{}\0{}\0{there:?}\0{said}", step.name, step.effect, undo(&step.undo))
            })
            .chain(host.rollback.iter().map(|back| format!("{:?} {} {:?}", back.shape, back.why, back.to)))
            .chain(host.recovery.steps().map(|step| format!("{:?} {}", step.part, step.name)))
            .collect();
        let names = |checks: &[PlannedCheck]| checks.iter().map(|check| check.name.clone()).collect();
        let shape = (
            host.profile.clone(),
            host.found.as_ref().map(ToString::to_string),
            host.path.iter().map(|hop| hop.to.clone()).collect(),
            steps,
            names(&host.gates),
            names(&host.checks),
            host.point_of_no_return,
        );
        groups.entry(shape).or_insert((Vec::new(), host)).0.push(name);
    }
    groups.into_values().collect()
}

fn host_plan(hosts: &[&HostName], host: &HostPlan, plan: &Plan, page: &Page, summary: Summary<'_>) -> String {
    let known = host.stated.as_ref().or(host.found.as_ref());
    let found = known.map(|version| cell(version.as_str()));
    let wanted = plan.wanted.as_ref().map(|version| cell(version.as_str()));
    let versions = match (found, wanted) {
        (Some(found), Some(wanted)) if found == wanted => format!(", has {found} already"),
        (Some(found), Some(wanted)) => format!(", {found} {} {wanted}", page.arrow()),
        (Some(found), None) => format!(", has {found}"),
        (None, _) => String::new(),
    };
    let title = format!("{} (profile {}{versions})", page.paint(Tone::Strong, &names_of(hosts)), cell(&host.profile));
    let mut text = page.wrap(&title, 2);

    if let Some(back) = &host.rollback {
        let to = back.to.as_ref().map(|to| format!(" to {}", cell(to.as_str()))).unwrap_or_default();
        let sentence = format!("  back{to}: {}, because {}", back.shape.as_str(), line(&back.why, 400));
        text.push_str(&page.wrap(&sentence, 4));
    }
    let width = (page.width / 2).max(30);
    let rows: Vec<Vec<String>> = host
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let said = summary(step);
            let others = hosts.iter().filter_map(|name| plan.hosts.get(*name)?.steps.get(index));
            let said = if others.map(summary).all(|other| other == said) {
                line(&said, width * 2)
            } else {
                "(differs from host to host)".to_owned()
            };
            let name = cell(&step.name);
            let mut what = if said.is_empty() || said == name { name } else { format!("{name}\n  {said}") };
            if let Some(found) = &step.prefetched {
                what.push_str(&format!("\n  there since run {}, {}", found.run, page.date(found.at)));
            }
            let tone = if step.effect.passes_no_return() { Tone::Odd } else { Tone::Plain };
            let mark = if host.point_of_no_return == Some(index) { " !" } else { "" };
            // With one hop it is clear where a step leads.
            let hop = step.hop.filter(|_| host.path.len() > 1).and_then(|hop| host.path.get(hop));
            let what = hop.map_or(what.clone(), |hop| format!("{}: {what}", cell(hop.to.as_str())));
            let passed_over = step.effect.passes_no_return() && step.confirm_within.is_none();
            let mut back = match &step.undo {
                // It is never done by itself, whatever it is.
                PlannedUndo::By(_) | PlannedUndo::ByProgram if passed_over => {
                    "none by itself: it changes data".to_owned()
                }
                of => cell(&undo(of)),
            };
            if let Some(within) = step.confirm_within {
                back.push_str(&format!("\n  by the host itself unless confirmed within {within}"));
            }
            vec![format!("{}{mark}", index + 1), what, page.paint(tone, step.effect.as_str()), back]
        })
        .collect();
    if rows.is_empty() && plan.purpose != Purpose::Check {
        text.push_str("  nothing to do\n");
    } else if !rows.is_empty() {
        text.push_str(&page.table(&["", "step", "effect", "undo"], &rows));
    }
    if let Some((index, step)) = host.point_of_no_return.and_then(|index| Some((index, host.steps.get(index)?))) {
        let sentence = format!(
            "! Step {}, `{}`, is the point of no return: {}. {}",
            index + 1,
            cell(&step.name),
            no_return(step, host),
            after_no_return(step, host)
        );
        text.push_str(&page.wrap(&sentence, 2));
    }
    if host.point_of_no_return.is_some() {
        text.push_str(&page.wrap(&format!("  {}", prepared(host)), 2));
    }
    for (label, checks) in [("gates", &host.gates), ("health", &host.checks)] {
        if !checks.is_empty() {
            let names: Vec<_> = checks
                .iter()
                .map(|check| format!("{}{}", cell(&check.name), if check.after_only { " (after only)" } else { "" }))
                .collect();
            text.push_str(&page.wrap(&format!("{label}: {}", names.join("; ")), 2));
        }
    }
    text
}

/// Says what is prepared for a failure after the point of no return.
fn prepared(host: &HostPlan) -> String {
    let names = |steps: &[PlannedStep]| {
        words::and(&steps.iter().map(|step| format!("`{}`", cell(&step.name))).collect::<Vec<_>>())
    };
    let recovery = &host.recovery;
    let first = if recovery.incident.is_empty() {
        "From there on the host is held as it stands, for the role has no `[[incident]]`".to_owned()
    } else {
        format!("From there on it does {} by itself, then asks a person", names(&recovery.incident))
    };
    let restore = if recovery.restore.is_empty() {
        "the role has no `[[restore]]`".to_owned()
    } else {
        format!("a restore is {}, on approval", names(&recovery.restore))
    };
    format!("{first}; {restore}")
}

/// Says why pointing the code back is no rollback once a step has run.
pub(super) fn no_return(step: &PlannedStep, host: &HostPlan) -> String {
    let why = match (&step.undo, step.effect) {
        (PlannedUndo::Impossible { reason, .. }, _) => cell(reason),
        (_, Effect::Data) => "it changes data, which only a restore takes back".to_owned(),
        (_, Effect::Irreversible) => "it cannot be taken back at all".to_owned(),
        (_, Effect::Read | Effect::Code) => "what it does cannot be taken back".to_owned(),
    };
    let Some(hop) = step.hop.and_then(|hop| host.path.get(hop)).filter(|_| step.effect == Effect::Data) else {
        return why;
    };
    let (from, to) = (cell(hop.from.as_str()), cell(hop.to.as_str()));
    let moves = hop.migrations.last().map(|head| format!(" at {}", cell(head))).unwrap_or_default();
    if step.backward_compatible {
        format!("{why}; {from} can run on the data of {to}{moves} all the same, which is marked `backward-compatible`")
    } else {
        format!("{why}, and {to}{moves} is not marked `backward-compatible`: {from} may not run on it")
    }
}

/// Says what becomes of a host that fails once the step has run.
fn after_no_return(step: &PlannedStep, host: &HostPlan) -> String {
    if host.is_backward_compatible() {
        "A host that fails from there on is taken back by itself, and its data stays as it is by then.".to_owned()
    } else if host.migration.is_some() && step.effect == Effect::Data {
        let last = host.steps.iter().find(|step| step.effect == Effect::Irreversible);
        let never = last.map(|last| format!(", and never once `{}` has run", cell(&last.name))).unwrap_or_default();
        format!(
            "A failure from there on is taken back by itself only where the head of its migrations did not move{never}."
        )
    } else {
        "A failure from there on is not taken back by itself.".to_owned()
    }
}

fn undo(undo: &PlannedUndo) -> String {
    match undo {
        PlannedUndo::Nothing => "nothing to undo".to_owned(),
        PlannedUndo::ByProgram => "by itself".to_owned(),
        PlannedUndo::By(steps) => steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(", then "),
        PlannedUndo::Impossible { reason, .. } => format!("none: {reason}"),
    }
}

/// The rules of the rollout, in words. Numbers of hosts, never percentages: they are what will happen.
pub(super) fn rules(plan: &Plan) -> Vec<String> {
    let rollout = &plan.rollout;
    if plan.purpose == Purpose::Prefetch {
        return ahead(plan);
    }
    let mut rules = vec![format!("Up to {} at once within a wave.", words::count(rollout.at_once, "host"))];
    // Only a soak can be inconclusive.
    let soaks = plan.waves.iter().any(|wave| !wave.soak.0.is_zero());
    rules.extend(allowed(&rollout.budget, soaks));
    for wave in plan.waves.iter().filter(|wave| !wave.budget.is_unlimited()) {
        let within =
            allowed(&wave.budget, !wave.soak.0.is_zero()).into_iter().filter(|rule| !rule.starts_with("Any number"));
        rules.extend(within.map(|rule| format!("{}: {rule}", cell(&wave.name))));
    }
    if let Some(count) = rollout.budget.same_failure {
        rules.push(format!("The same error on {} halts the run at once.", words::count(count, "host")));
    }
    if plan.purpose == Purpose::Rollback {
        rules.push("A host that cannot be taken back is stuck: it is left as it stands, for a person.".to_owned());
        return rules;
    }
    rules.push(match rollout.before_data {
        BeforeData::Undo => {
            "A host that fails before its point of no return is taken back, last step first.".to_owned()
        }
        BeforeData::Hold => {
            "A host that fails before its point of no return is left as it stands, for a person.".to_owned()
        }
    });
    if plan.hosts.values().any(|host| host.point_of_no_return.is_some()) {
        rules.push(match rollout.after_data {
            AfterData::Hold if plan.hosts.values().any(|host| !host.recovery.incident.is_empty()) => {
                "A host that fails after it, and may not be pointed back, is made safe and held for a person."
                    .to_owned()
            }
            AfterData::Hold => {
                "A host that fails after it, and may not be pointed back, is left as it stands, for a person."
                    .to_owned()
            }
        });
    }
    match rollout.scope {
        Scope::Host => {}
        Scope::Wave => {
            rules.push("When failed hosts halt the run, the upgraded hosts of their wave are taken back.".to_owned());
        }
        Scope::Run => {
            rules.push("When failed hosts halt the run, all its upgraded hosts are taken back.".to_owned());
        }
    }
    rules
}

/// The rules of a prefetch, in words.
fn ahead(plan: &Plan) -> Vec<String> {
    let at_once = words::count(plan.rollout.at_once, "host");
    let pace = plan.rollout.per_minute.map(|count| format!(", and {count} begun in a minute")).unwrap_or_default();
    let mut rules = vec![
        format!("Up to {at_once} at once{pace}."),
        "A host that fails holds up no other; what was fetched there stays, and the step that failed is taken back."
            .to_owned(),
        "The upgrade looks at each step anew, and does what is missing by then.".to_owned(),
    ];
    if plan.hosts.values().any(|host| !host.gates.is_empty()) {
        rules.push("Of the gates, these must hold already; all of them are asked for when it is upgraded.".to_owned());
    }
    rules
}

/// Says what a budget allows. Failed and unreachable hosts are always told of, inconclusive ones where there is a soak, parked
/// ones where they count.
fn allowed(budget: &FailureBudget, soaks: bool) -> Vec<String> {
    let say = |limit: Option<usize>, is: &str, may: &str| match limit {
        Some(0) => format!("The first host that {is} halts the run."),
        Some(limit) => format!("{} may {may}; one more halts the run.", words::count(limit, "host")),
        None => format!("Any number of hosts may {may}."),
    };
    let mut said =
        vec![say(budget.failed, "fails", "fail"), say(budget.unreachable, "cannot be reached", "be unreachable")];
    if soaks {
        said.push(say(budget.inconclusive, "is inconclusive", "be inconclusive"));
    }
    if budget.parked.is_some() {
        said.push(say(budget.parked, "is parked", "be parked"));
    }
    said
}

fn risks(plan: &Plan) -> Vec<String> {
    let mut risks = Vec::new();
    let unsure: Vec<_> = plan
        .hosts
        .iter()
        .flat_map(|(_, host)| host.steps.iter().filter(|step| !step.repeat_safe && step.effect != Effect::Read))
        // Of a restart the host's boot id tells.
        .filter(|step| !step.action.restarts_host())
        .map(|step| format!("`{}`", cell(&step.name)))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if !unsure.is_empty() {
        risks.push(format!("Never run twice, so a lost link may leave them in doubt: {}.", words::and(&unsure)));
    }
    risks.extend(plan.warnings.iter().map(|warning| line(warning, 400)));
    risks
}

pub(super) fn questions(plan: &Plan) -> Vec<String> {
    let mut questions = Vec::new();
    let unread: Vec<_> = plan.unacknowledged().map(|notes| cell(notes.version.as_str())).collect();
    if !unread.is_empty() {
        questions.push(format!("whether the notes of {} were read", words::and(&unread)));
    }
    let last = plan.waves.len().saturating_sub(1);
    for wave in plan.waves.iter().take(last).filter(|wave| wave.promote == Promote::Manual) {
        questions.push(format!("whether to go on after {}", cell(&wave.name)));
    }
    let (mut data, mut irreversible) = (Vec::new(), Vec::new());
    for name in plan.hosts.keys() {
        match plan.approval(name) {
            Some(needed) if needed.steps.is_empty() => data.push(name),
            Some(_) => irreversible.push(name),
            None => {}
        }
    }
    let mut looked: IndexMap<&str, Vec<&HostName>> = IndexMap::new();
    for (name, host) in &plan.hosts {
        for check in host.manual_checks() {
            looked.entry(check).or_default().push(name);
        }
    }
    for (check, hosts) in looked {
        questions.push(format!("to look at `{}` on {}, or it stays unverified", cell(check), names_of(&hosts)));
    }
    let asked = [(data, "change the data of"), (irreversible, "do what cannot be taken back on")];
    for (hosts, what) in asked.iter().filter(|(hosts, _)| !hosts.is_empty()) {
        questions.push(format!("whether to {what} {}: its name, typed for each", names_of(hosts)));
    }
    questions
}
