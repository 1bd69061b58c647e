//! What the releases on the way ask of a person, to be shown and acknowledged by name.

use indexmap::IndexMap;

use crate::{
    config::RoleFolder,
    model::{HostName, Version},
    plan::{HostPlan, ReleaseNotes},
};

/// Collects the notes of every release on the way of some host, oldest first as far as versions have an order.
pub(super) fn on_the_way(plans: &IndexMap<HostName, HostPlan>, folder: Option<&RoleFolder>) -> Vec<ReleaseNotes> {
    let Some(folder) = folder else { return Vec::new() };
    let mut versions: Vec<&Version> = Vec::new();
    for version in plans.values().flat_map(|plan| &plan.path).flat_map(|hop| &hop.notes) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    versions.sort_by(|one, other| one.compare(other).unwrap_or(std::cmp::Ordering::Equal));
    versions
        .into_iter()
        .map(|version| {
            let entry = folder.changelog.as_ref().and_then(|changelog| changelog.get(version));
            ReleaseNotes {
                version: version.clone(),
                notes: folder.releases.as_ref().and_then(|releases| releases.get(version)?.notes.clone()),
                breaking: entry.and_then(|entry| entry.breaking.clone()),
                required_action: entry.and_then(|entry| entry.required_action.clone()),
            }
        })
        .collect()
}
