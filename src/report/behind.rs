//! Which hosts of a rollout are still on an old version, and for how long they have been behind.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{
    page::{Page, cell},
    table::names_of,
    words,
};
use crate::{
    event::RunState,
    model::{HostName, HostOutcome, Version},
};

/// Names the hosts that do not have the version that was wanted, once the run has ended and others have it.
pub(super) fn behind(state: &RunState, page: &Page) -> Option<String> {
    if matches!(state.purpose.as_str(), "check" | "exec" | "look") || state.ended.is_none() {
        return None;
    }
    let is_good = |outcome: Option<HostOutcome>| outcome.is_some_and(HostOutcome::is_good);
    if !state.hosts.values().any(|host| is_good(host.outcome)) {
        return None;
    }
    let mut versions: BTreeMap<&str, Vec<&HostName>> = BTreeMap::new();
    for (name, host) in state.hosts.iter().filter(|(_, host)| !is_good(host.outcome)) {
        let Some(wanted) = &host.wanted else { continue };
        let version = host.version();
        // Of what cannot be compared nobody knows that it is newer.
        let order = version.map_or(Some(Ordering::Less), |version| Version::new(version).compare(wanted));
        if !matches!(order, Some(Ordering::Equal | Ordering::Greater)) {
            versions.entry(version.unwrap_or("an unknown version")).or_default().push(name);
        }
    }
    if versions.is_empty() {
        return None;
    }
    let told: Vec<_> =
        versions.into_iter().map(|(version, names)| format!("{} on {}", names_of(&names), cell(version))).collect();
    // Counted from when the new version began to be rolled out, and up to when it is read.
    let since = state.started?;
    let until = page.now.or(state.ended)?;
    let lasts = words::duration(until.duration_since(since).unsigned_abs());
    Some(page.wrap(&format!("still behind, for {lasts}: {}", told.join("; ")), 2))
}
