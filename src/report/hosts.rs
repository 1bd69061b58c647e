//! The table of the inventory's hosts.

use super::page::{Page, cell};

/// A host as `longshore hosts` lists it.
#[derive(Debug, Clone, Default)]
pub struct HostRow {
    pub name: String,
    /// `user@address:port`, as the inventory has it, or how its commands run: `controller`.
    pub reached: String,
    /// Jump hosts, in order.
    pub jump: Vec<String>,
    pub profile: String,
    pub groups: Vec<String>,
    pub tags: Vec<String>,
}

/// Renders the table of hosts, in the order given. One row for each: it is a list to look things up in.
pub fn hosts(hosts: &[HostRow], page: &Page) -> String {
    let rows: Vec<Vec<String>> = hosts
        .iter()
        .map(|host| {
            vec![
                cell(&host.name),
                cell(&host.reached),
                cell(&host.jump.join(", ")),
                cell(&host.profile),
                cell(&host.groups.join(", ")),
                cell(&host.tags.join(", ")),
            ]
        })
        .collect();
    let table = page.table(&["host", "reached at", "through", "profile", "groups", "tags"], &rows);
    format!("{table}{}\n", super::words::count(hosts.len(), "host"))
}
