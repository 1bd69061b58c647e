//! The ways of a plan's hosts to the version wanted: who goes which, what each hop is, what must be read first.

use std::fmt::Write as _;

use indexmap::IndexMap;

use super::{
    page::{Page, Tone, cell, line},
    table::names_of,
    words,
};
use crate::{
    model::{HostName, Version},
    plan::{Asked, Hop, HostPlan, Plan, ReleaseKind, ReleaseNotes},
};

/// Lines of a release's notes that are shown for each of its sections.
const MOST_LINES: usize = 40;

/// Renders the paths of a plan. Empty where no host takes one.
pub(super) fn paths(plan: &Plan, page: &Page) -> String {
    let mut text = String::new();
    let mut ways: IndexMap<Vec<&Version>, (Vec<&HostName>, &HostPlan)> = IndexMap::new();
    for (name, host) in plan.hosts.iter().filter(|(_, host)| !host.path.is_empty()) {
        let way: Vec<_> = host.path.iter().map(|hop| &hop.from).chain(host.path.last().map(|hop| &hop.to)).collect();
        ways.entry(way).or_insert((Vec::new(), host)).0.push(name);
    }
    // The ways most hosts go come first.
    ways.sort_by(|_, (one, _), _, (other, _)| other.len().cmp(&one.len()));
    if !ways.is_empty() {
        let _ = writeln!(text, "\n{}", page.paint(Tone::Strong, "Paths"));
    }
    let mut told: Vec<&Hop> = Vec::new();
    for (way, (names, host)) in &ways {
        let arrow = format!(" {} ", page.arrow());
        let way = way.iter().map(|version| cell(version.as_str())).collect::<Vec<_>>().join(&arrow);
        let title = format!("  {}: {way} ({})", words::count(names.len(), "host"), names_of(names));
        text.push_str(&page.wrap(&title, 4));
        for hop in &host.path {
            if !told.contains(&hop) {
                text.push_str(&self::hop(hop, page));
                told.push(hop);
            }
        }
    }
    text.push_str(&refused(plan, page));
    text
}

fn hop(hop: &Hop, page: &Page) -> String {
    let tone = if hop.class > ReleaseKind::Patch { Tone::Odd } else { Tone::Plain };
    let class = page.paint(tone, hop.class.as_str());
    let mut parts = vec![format!("{class}: to {}", cell(hop.to.as_str()))];
    let list = |items: &[String]| items.iter().map(|item| cell(item)).collect::<Vec<_>>().join(", ");
    let versions = |items: &[Version]| items.iter().map(|item| cell(item.as_str())).collect::<Vec<_>>().join(", ");
    if !hop.raised.is_empty() {
        parts.push(format!("treated as a {}: {}", hop.class.as_str(), list(&hop.raised)));
    }
    if hop.required_stop {
        parts.push("a required stop".to_owned());
    }
    if !hop.skips.is_empty() {
        parts.push(format!("passes over {}", versions(&hop.skips)));
    }
    match hop.migrations.as_slice() {
        [] => {}
        [one] => parts.push(format!("migrates to {}", cell(one))),
        several => parts.push(format!("migrates through {}", list(several))),
    }
    if !hop.requires_env.is_empty() {
        parts.push(format!("needs {}", list(&hop.requires_env)));
    }
    if !hop.notes.is_empty() {
        parts.push(format!("to be read: {}", versions(&hop.notes)));
    }
    page.wrap(&format!("    {}", parts.join("; ")), 6)
}

/// Says who is refused and why, the same reasons folded.
fn refused(plan: &Plan, page: &Page) -> String {
    type Reason<'a> = (&'a str, &'a [String], Option<&'a str>);
    let mut reasons: IndexMap<Reason<'_>, Vec<&HostName>> = IndexMap::new();
    let mut offline = 0;
    for (name, host) in &plan.hosts {
        match &host.refused {
            Some(refused) if refused.asked == Asked::Offline => offline += 1,
            Some(refused) => {
                let reason = (refused.reason.as_str(), refused.causes.as_slice(), refused.hint.as_deref());
                reasons.entry(reason).or_default().push(name);
            }
            None => {}
        }
    }
    let mut text = String::new();
    if !reasons.is_empty() {
        let _ = writeln!(text, "\n{}", page.paint(Tone::Strong, "Refused"));
    }
    for ((reason, causes, hint), names) in reasons {
        let mark = page.paint(Tone::Bad, "!");
        text.push_str(&page.wrap(&format!("  {mark} {}: {}", names_of(&names), line(reason, 400)), 4));
        for cause in causes {
            text.push_str(&page.wrap(&format!("    cause: {}", line(cause, 400)), 6));
        }
        if let Some(hint) = hint {
            text.push_str(&page.wrap(&format!("    hint: {}", line(hint, 400)), 6));
        }
    }
    if offline > 0 {
        let hosts = words::count(offline, "host");
        let what = format!(
            "  {} made without asking {hosts} for their versions: it can be read, but not be applied to them",
            page.paint(Tone::Odd, "!")
        );
        let _ = write!(text, "\n{}", page.wrap(&what, 4));
    }
    text
}

/// Renders what the releases on the way ask of a person, and by whom it was read.
pub(super) fn notes(plan: &Plan, page: &Page) -> String {
    if plan.notes.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", page.paint(Tone::Strong, "To be read"));
    for notes in &plan.notes {
        text.push_str(&release_notes(notes, page));
        let read = plan.acknowledged.iter().find(|read| read.version == notes.version);
        let said = match read {
            Some(read) => format!("    read by {}, {}", cell(&read.by), page.date(read.at)),
            None => format!("    acknowledge it by `--ack {}`", cell(notes.version.as_str())),
        };
        text.push_str(&page.wrap(&said, 6));
    }
    text
}

/// Renders what one release asks of a person.
pub fn release_notes(notes: &ReleaseNotes, page: &Page) -> String {
    let mut text = page.wrap(&format!("  {}", page.paint(Tone::Strong, &cell(notes.version.as_str()))), 4);
    let sections =
        [("BREAKING CHANGES", &notes.breaking), ("Required action", &notes.required_action), ("", &notes.notes)];
    for (title, said) in sections {
        let Some(said) = said else { continue };
        if !title.is_empty() {
            text.push_str(&page.wrap(&format!("    {}", page.paint(Tone::Odd, title)), 6));
        }
        let lines: Vec<&str> = said.lines().collect();
        for said in lines.iter().take(MOST_LINES) {
            let indent = said.len() - said.trim_start().len();
            text.push_str(&page.wrap(&format!("    {}{}", " ".repeat(indent.min(8)), line(said.trim_start(), 400)), 6));
        }
        if lines.len() > MOST_LINES {
            let _ = writeln!(text, "    ... and {} more lines in `CHANGELOG.md`", lines.len() - MOST_LINES);
        }
    }
    text
}
