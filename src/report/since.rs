//! What a sweep found otherwise than the one before it: versions, verdicts, hosts that were out of reach.

use indexmap::IndexMap;

use super::{
    page::{Page, cell},
    sweep::word,
    table::names_of,
};
use crate::{
    event::{HostState, Phase, RunState},
    model::{HostName, RunNumber},
};

/// Says what differs from an earlier sweep, host by host, the same changes folded. Empty where nothing does. Hosts and checks
/// that only one of the two has are passed over.
pub fn since(before: &RunState, number: RunNumber, now: &RunState, page: &Page) -> String {
    let mut changes: IndexMap<String, Vec<&HostName>> = IndexMap::new();
    for (name, host) in &now.hosts {
        for change in before.hosts.get(name).into_iter().flat_map(|before| changes_of(before, host)) {
            changes.entry(change).or_default().push(name);
        }
    }
    if changes.is_empty() {
        return String::new();
    }
    let mut text = format!("\nSince run {number}:\n");
    for (change, names) in changes {
        text.push_str(&page.wrap(&format!("  {}: {change}", names_of(&names)), 4));
    }
    text
}

fn changes_of(before: &HostState, now: &HostState) -> Vec<String> {
    let mut changes = Vec::new();
    // Of a host that was not reached, only that is known.
    let was_seen = before.address.is_some();
    if was_seen != now.address.is_some() {
        changes.push(format!("{} → {}", word(before), word(now)));
        return changes;
    }
    if let (true, Some(was), Some(is)) = (was_seen, before.version(), now.version())
        && was != is
    {
        changes.push(format!("version {} → {}", cell(was), cell(is)));
    }
    let swept = |host: &HostState| -> Vec<_> {
        host.checks.iter().filter(|check| check.phase == Phase::Sweep).map(|c| (c.name.clone(), c.verdict)).collect()
    };
    let earlier: IndexMap<_, _> = swept(before).into_iter().collect();
    for (name, verdict) in swept(now) {
        if let Some(was) = earlier.get(&name).filter(|was| **was != verdict) {
            changes.push(format!("{}: {was} → {verdict}", cell(&name)));
        }
    }
    changes
}
