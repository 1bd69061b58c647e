//! Which hosts of a rollout are still on an old version, and for how long they have been behind.

use std::{cmp::Ordering, collections::BTreeMap, time::Duration};

use super::{
    page::{Page, cell},
    table::names_of,
    words,
};
use crate::{
    event::{RunState, StepState},
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
    let until = page.now.or(state.ended)?;
    let mut versions: BTreeMap<String, Vec<(&HostName, Duration)>> = BTreeMap::new();
    for (name, host) in state.hosts.iter().filter(|(_, host)| !is_good(host.outcome)) {
        let Some(wanted) = &host.wanted else { continue };
        let version = host.version();
        // Of what cannot be compared nobody knows that it is newer.
        let order = version.map_or(Some(Ordering::Less), |version| Version::new(version).compare(wanted));
        if !matches!(order, Some(Ordering::Equal | Ordering::Greater)) {
            // Counted from when the run left it behind, and up to when it is read.
            let since = host.left_behind.or(state.ended)?;
            let lasts = until.duration_since(since).unsigned_abs();
            // One that stopped half way may be on neither.
            let half_way = host.after.is_none() && host.steps.values().any(StepState::stands);
            let told = match version {
                Some(version) if half_way => format!("half way from {}", cell(version)),
                version => format!("on {}", cell(version.unwrap_or("an unknown version"))),
            };
            versions.entry(told).or_default().push((name, lasts));
        }
    }
    if versions.is_empty() {
        return None;
    }
    let told = versions.into_iter().map(|(version, hosts)| {
        let names: Vec<&HostName> = hosts.iter().map(|(name, _)| *name).collect();
        format!("{} {}{}", names_of(&names), version, lasting(hosts.iter().map(|(_, lasts)| *lasts)))
    });
    Some(page.wrap(&format!("still behind: {}", told.collect::<Vec<_>>().join("; ")), 2))
}

/// What is shorter is only how long a run takes to end.
const MOMENT: Duration = Duration::from_secs(1);

/// For how long, where that is any time at all.
fn lasting(lengths: impl Iterator<Item = Duration> + Clone) -> String {
    let (least, most) = (lengths.clone().min().unwrap_or_default(), lengths.max().unwrap_or_default());
    match (words::duration(least), words::duration(most)) {
        _ if most < MOMENT => String::new(),
        (least, most) if least == most => format!(", for {most}"),
        (_, most) if least < MOMENT => format!(", for up to {most}"),
        (least, most) => format!(", for {least} to {most}"),
    }
}
