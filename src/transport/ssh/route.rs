//! The way to a host, decided before anything is contacted: inventory first, then `~/.ssh/config`.

use std::{path::PathBuf, time::Duration};

use super::{
    SshOptions,
    config::{AgentChoice, AuthMethods, JumpHop, Overrides, Proxy, Resolved},
    known_hosts::HostId,
};
use crate::{
    model::{SecretSource, Span},
    transport::{SshTarget, TransportError},
};

/// Every server on the way, the host itself last.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) start: Start,
    pub(super) hops: Vec<Hop>,
}

/// How the first server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    Tcp,
    /// Through the standard streams of a command run on the controller.
    Command(String),
}

/// One SSH server, and how to log in there.
#[derive(Debug, Clone)]
pub(super) struct Hop {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    /// What the host is called in `known_hosts`.
    pub(super) id: HostId,
    pub(super) known_hosts: Vec<PathBuf>,
    /// Keys the inventory names: offered first.
    pub(super) named_keys: Vec<PathBuf>,
    pub(super) other_keys: Vec<PathBuf>,
    pub(super) certificates: Vec<PathBuf>,
    pub(super) identities_only: bool,
    pub(super) agent: Option<PathBuf>,
    /// What `~/.ssh/config` allows.
    pub(super) methods: AuthMethods,
    pub(super) password: Option<SecretSource>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) keepalive_interval: Option<Duration>,
    pub(super) keepalive_count: Option<u32>,
    pub(super) forward_agent: bool,
}

impl Hop {
    pub(super) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Route {
    /// Decides the way to `target`. May block: on `Match exec`, where that is allowed.
    pub(super) fn to(target: &SshTarget, options: &SshOptions) -> Result<Self, TransportError> {
        let configuration = |error: &dyn std::error::Error| TransportError::Configuration(error.to_string());
        let (mut jumps, mut logins) = (Vec::new(), Vec::new());
        for text in &target.jump {
            jumps.extend(JumpHop::parse_list(text).map_err(|error| configuration(&error))?);
            logins.resize(jumps.len(), target.jump_logins.iter().find(|login| login.jump == *text));
        }
        let asked = Overrides { user: target.user.clone(), port: target.port };
        let way = options.resolver.route(&target.address, &asked, &jumps).map_err(|error| configuration(&error))?;
        let start = match way.first().map(|first| &first.proxy) {
            Some(Proxy::Command(command)) => Start::Command(command.clone()),
            _ => Start::Tcp,
        };
        let mut hops = way.into_iter().map(|resolved| Hop::new(resolved, options)).collect::<Result<Vec<_>, _>>()?;
        let hop = hops.last_mut().expect("a route ends at its host");
        hop.named_keys.clone_from(&target.identity_files);
        hop.password.clone_from(&target.password);
        hop.forward_agent = target.forward_agent;
        hop.overrule(target.connect_timeout, target.host_key_alias.as_deref());
        // Jumps of `~/.ssh/config` may stand before those of the inventory, never between or after them.
        for (hop, login) in hops.iter_mut().rev().skip(1).zip(logins.into_iter().rev()) {
            let Some(login) = login else { continue };
            hop.named_keys.clone_from(&login.identity_files);
            hop.password.clone_from(&login.password);
            hop.overrule(login.connect_timeout, login.host_key_alias.as_deref());
        }
        Ok(Self { start, hops })
    }

    /// Names the server at `index` together with the way there: what one shared connection is kept under.
    pub(super) fn key(&self, index: usize) -> String {
        let mut key = match &self.start {
            Start::Tcp => String::new(),
            Start::Command(command) => format!("{command}\n"),
        };
        for hop in &self.hops[..=index] {
            for part in [&hop.user, "@", &hop.address(), "\n"] {
                key.push_str(part);
            }
        }
        key
    }
}

impl Hop {
    /// Lets what the inventory says win over `~/.ssh/config`.
    fn overrule(&mut self, connect_timeout: Option<Span>, host_key_alias: Option<&str>) {
        if let Some(timeout) = connect_timeout {
            self.connect_timeout = Some(timeout.0);
        }
        if let Some(alias) = host_key_alias {
            self.id = HostId::alias(alias);
        }
    }

    fn new(resolved: Resolved, options: &SshOptions) -> Result<Self, TransportError> {
        for problem in &resolved.problems {
            tracing::warn!(host = resolved.alias, "{problem}");
        }
        if let Some(reason) = resolved.refused {
            return Err(TransportError::Configuration(format!("no connection to `{}`: {reason}", resolved.alias)));
        }
        let id = resolved.host_id();
        let known_hosts =
            options.known_hosts.iter().chain(&resolved.user_known_hosts).chain(&resolved.global_known_hosts);
        Ok(Self {
            id,
            known_hosts: known_hosts.cloned().collect(),
            named_keys: Vec::new(),
            other_keys: resolved.identity_files,
            certificates: resolved.certificate_files,
            identities_only: resolved.identities_only,
            agent: match resolved.identity_agent {
                AgentChoice::Default => options.agent.clone(),
                AgentChoice::None => None,
                AgentChoice::Path(path) => Some(path),
            },
            methods: resolved.methods,
            password: None,
            connect_timeout: resolved.connect_timeout,
            keepalive_interval: resolved.keepalive_interval,
            keepalive_count: resolved.keepalive_count,
            forward_agent: false,
            host: resolved.host_name,
            port: resolved.port,
            user: resolved.user,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{JumpLogin, ssh::config::Resolver};

    fn route(target: &SshTarget) -> Route {
        Route::to(target, &SshOptions::new(Resolver::empty("/nowhere", "me"))).expect("a way")
    }

    #[test]
    fn the_inventorys_jump_hosts_come_in_order_and_the_host_last() {
        let target = SshTarget {
            address: "host.example".to_owned(),
            user: Some("deploy".to_owned()),
            jump: vec!["one.example".to_owned(), "you@two.example:2222".to_owned()],
            identity_files: vec!["/keys/deploy".into()],
            ..SshTarget::default()
        };
        let route = route(&target);
        let way: Vec<_> = route.hops.iter().map(|hop| format!("{}@{}", hop.user, hop.address())).collect();
        assert_eq!(way, ["me@one.example:22", "you@two.example:2222", "deploy@host.example:22"]);
        assert!(route.hops[..2].iter().all(|hop| hop.named_keys.is_empty()), "the host's key is not for the jumps");
        assert_ne!(route.key(0), route.key(1));
    }

    #[test]
    fn a_jump_host_of_the_inventory_is_logged_in_to_as_the_inventory_says() {
        let login = JumpLogin {
            jump: "you@two.example:2222".to_owned(),
            identity_files: vec!["/keys/two".into()],
            connect_timeout: Some(Span::seconds(7)),
            host_key_alias: Some("two".to_owned()),
            ..JumpLogin::default()
        };
        let target = SshTarget {
            address: "host.example".to_owned(),
            jump: vec!["one.example,other.example".to_owned(), login.jump.clone()],
            identity_files: vec!["/keys/deploy".into()],
            jump_logins: vec![login],
            ..SshTarget::default()
        };
        let route = route(&target);
        let keys: Vec<_> = route.hops.iter().map(|hop| hop.named_keys.first().cloned()).collect();
        assert_eq!(keys, [None, None, Some("/keys/two".into()), Some("/keys/deploy".into())]);
        assert_eq!(route.hops[2].id, HostId::alias("two"));
        assert_eq!(route.hops[2].connect_timeout, Some(std::time::Duration::from_secs(7)));
        assert_eq!(route.hops[3].connect_timeout, None);
    }

    #[test]
    fn an_ipv6_address_is_written_with_brackets() {
        let target = SshTarget { address: "2001:db8::1".to_owned(), port: Some(2222), ..SshTarget::default() };
        assert_eq!(route(&target).hops[0].address(), "[2001:db8::1]:2222");
    }

    #[test]
    fn a_jump_host_that_cannot_be_read_is_said() {
        let target = SshTarget { address: "host".to_owned(), jump: vec!["a:99999".to_owned()], ..SshTarget::default() };
        let error = Route::to(&target, &SshOptions::new(Resolver::empty("/nowhere", "me"))).expect_err("no port");
        assert!(error.to_string().contains("a:99999"), "{error}");
    }
}
