//! How a host is reached, and what identifies the install on it.

use super::host::HostScope;
use crate::{
    config::{Project, ResolvedHost},
    model::HostName,
    transport::{Become, JumpLogin, SshTarget, Target, Way},
};

/// What identifies the install on its machine: its variable `install` or `path`, or there is one for the whole machine.
///
/// Many installs behind one controller are told apart by their host names.
pub(super) fn install_of(scope: &HostScope<'_>) -> String {
    let named = ["install", "path"].iter().find_map(|name| scope.vars.scope.get(*name)?.as_str().map(str::to_owned));
    named.unwrap_or_else(|| match &scope.host.via {
        Some(_) => scope.host.name.to_string(),
        None => "/".to_owned(),
    })
}

/// Hosts that commands may go `via`, one from the other, before that counts as a circle.
const MOST_VIA: usize = 8;

/// The connection the inventory describes: that of the host `via` which its commands run, where it names one.
///
/// The name and the user to become stay the host's own.
pub fn target(project: &Project, host: &ResolvedHost) -> Target {
    let mut on = host.clone();
    for _ in 0..MOST_VIA {
        let Some(next) = on.via.as_deref().filter(|via| *via != "controller").and_then(|via| HostName::new(via).ok())
        else {
            break;
        };
        if !project.inventory.hosts.contains_key(next.as_str()) {
            break;
        }
        on = project.resolve_host(&next);
    }
    let run_as = host.run_as.as_ref().map(|doc| Become { user: doc.user.clone(), password: doc.password.clone() });
    Target { host: host.name.clone(), way: way(&on), run_as }
}

fn way(host: &ResolvedHost) -> Way {
    match host.via.as_deref() {
        Some("controller") => Way::Controller,
        _ => Way::Ssh(SshTarget {
            address: host.address.clone(),
            port: host.port,
            user: host.user.clone(),
            jump: host.jump.clone(),
            identity_files: host.identity_files.clone(),
            password: host.password.clone(),
            connect_timeout: host.connect_timeout,
            host_key_alias: host.host_key_alias.clone(),
            forward_agent: host.forward_agent,
            jump_logins: host
                .jump_logins
                .iter()
                .map(|login| JumpLogin {
                    jump: login.jump.clone(),
                    identity_files: login.identity_files.clone(),
                    password: login.password.clone(),
                    connect_timeout: login.connect_timeout,
                    host_key_alias: login.host_key_alias.clone(),
                })
                .collect(),
        }),
    }
}
