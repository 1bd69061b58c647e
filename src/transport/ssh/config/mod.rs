//! Resolves hosts by `~/.ssh/config` and `/etc/ssh/ssh_config`, as OpenSSH does.
//!
//! The files are read once and resolved for each host. Whatever changes the route to a host or the
//! trust in it and is not honoured here is told as a [`ConfigProblem`]; where going on would mean
//! another route than the one written down, the host is refused (see [`Resolved::refused`]).

mod complete;
#[cfg(test)]
mod differential;
mod directive;
mod evaluate;
mod exec;
mod expand;
mod glob;
mod jump;
mod read;
#[cfg(test)]
mod tests;
mod words;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

pub use jump::{JumpError, JumpHop};

use super::known_hosts::HostId;
use read::File;

/// Longest way of jump hosts. A longer one is a loop: `Host *` with a `ProxyJump` that covers itself.
const ROUTE_LIMIT: usize = 64;

/// Resolves hosts by the files it has read.
#[derive(Debug, Clone)]
pub struct Resolver {
    roots: Vec<Arc<File>>,
    problems: Vec<ConfigProblem>,
    surroundings: Surroundings,
}

impl Resolver {
    /// Reads the files, the user's before the system's; missing ones are fine. `${NAME}` is never set.
    pub fn load(options: ResolverOptions) -> Self {
        Self::load_with(options, |_| None)
    }

    /// As [`Self::load`], with a look-up for `${NAME}`.
    pub fn load_with(
        options: ResolverOptions,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let ResolverOptions { files, home, local_user, local_host, allow_exec } = options;
        let environment = Environment(Arc::new(environment));
        let surroundings = Surroundings { home, local_user, local_host, allow_exec, environment };
        let mut reader = read::Reader::new(&surroundings);
        let roots = files.iter().filter_map(|file| reader.root(file)).collect();
        let problems = reader.finish();
        Self { roots, problems, surroundings }
    }

    /// Resolves by defaults alone.
    pub fn empty(home: impl Into<PathBuf>, local_user: impl Into<String>) -> Self {
        Self::load(ResolverOptions { home: home.into(), local_user: local_user.into(), ..ResolverOptions::default() })
    }

    /// Returns what is wrong with the files themselves, for whichever host: bad syntax, files that
    /// cannot be read. What is not honoured for one host is in [`Resolved::problems`].
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }

    /// Resolves one host. Overrides, from the inventory, win over the files.
    ///
    /// Waits for the commands of `Match exec` where those are allowed.
    pub fn resolve(&self, alias: &str, overrides: &Overrides) -> Resolved {
        evaluate::resolve(&self.roots, &self.surroundings, alias, overrides)
    }

    /// Resolves a host and all its jump hosts: the first one to connect to first, the host itself last.
    ///
    /// `jump`, from the inventory, replaces the `ProxyJump` of the host where it is not empty. The first
    /// jump host of a list is reached by its own `ProxyJump`, as OpenSSH does it.
    pub fn route(&self, alias: &str, overrides: &Overrides, jump: &[JumpHop]) -> Result<Vec<Resolved>, RouteError> {
        let mut route = Vec::new();
        let (mut alias, mut overrides, mut jump) = (alias.to_owned(), overrides.clone(), jump.to_vec());
        loop {
            let mut resolved = self.resolve(&alias, &overrides);
            if !jump.is_empty() {
                resolved.proxy = Proxy::Jump(std::mem::take(&mut jump));
            }
            let next = match &resolved.proxy {
                Proxy::Jump(hops) => hops.split_last().map(|(last, before)| (last.clone(), before.to_vec())),
                Proxy::None | Proxy::Command(_) => None,
            };
            route.push(resolved);
            let Some((hop, before)) = next else { break };
            if route.len() > ROUTE_LIMIT {
                return Err(RouteError { alias: route[0].alias.clone(), hop: hop.host });
            }
            alias = hop.host;
            overrides = Overrides { user: hop.user, port: hop.port };
            jump = before;
        }
        route.reverse();
        Ok(route)
    }
}

/// What a resolver reads, and for whom.
#[derive(Debug, Clone, Default)]
pub struct ResolverOptions {
    /// The user's file, then the system's. Files under `/etc/ssh` count as the system's.
    pub files: Vec<PathBuf>,
    /// What `~` and `%d` stand for.
    pub home: PathBuf,
    /// `%u`, and the remote user where nothing else is said.
    pub local_user: String,
    /// The name of this machine: `%l`, and `%L` up to its first dot.
    pub local_host: String,
    /// Whether the commands of `Match exec` may run.
    pub allow_exec: bool,
}

/// What the inventory says, and no file changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub user: Option<String>,
    pub port: Option<u16>,
}

/// What the files say of one host, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The name that was looked up.
    pub alias: String,
    /// The name or address to connect to, lower case.
    pub host_name: String,
    pub port: u16,
    pub user: String,
    /// Key files to offer, in order. Without any in the files: those of the usual names that exist.
    pub identity_files: Vec<PathBuf>,
    /// Whether `identity_files` are the usual ones, because no file names any.
    pub default_identities: bool,
    pub certificate_files: Vec<PathBuf>,
    /// Offer only the keys of `identity_files` and `certificate_files`, even when an agent has more.
    pub identities_only: bool,
    pub identity_agent: AgentChoice,
    pub forward_agent: bool,
    pub methods: AuthMethods,
    /// `PreferredAuthentications`, in order.
    pub preferred_authentications: Option<Vec<String>>,
    pub proxy: Proxy,
    pub host_key_alias: Option<String>,
    pub user_known_hosts: Vec<PathBuf>,
    pub global_known_hosts: Vec<PathBuf>,
    /// Only to warn: host keys are always checked.
    pub strict_host_key_checking: StrictHostKeyChecking,
    /// `HostKeyAlgorithms` as written, with its leading `+`, `-` or `^`.
    pub host_key_algorithms: Option<String>,
    /// `PubkeyAcceptedAlgorithms` as written, with its leading `+`, `-` or `^`.
    pub pubkey_algorithms: Option<String>,
    pub connect_timeout: Option<Duration>,
    pub keepalive_interval: Option<Duration>,
    pub keepalive_count: Option<u32>,
    /// Why no connection may be made: the files ask for it, or a line that applies to this host cannot
    /// be understood, and going on without it could take another route or trust another key.
    pub refused: Option<String>,
    /// What applies to this host, changes route or trust, and is not honoured.
    pub problems: Vec<ConfigProblem>,
}

impl Resolved {
    /// Returns what the host is looked up as in `known_hosts`.
    pub fn host_id(&self) -> HostId {
        match &self.host_key_alias {
            Some(alias) => HostId::alias(alias),
            None => HostId::new(&self.host_name, self.port),
        }
    }
}

/// Which agent holds keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AgentChoice {
    /// The one that `SSH_AUTH_SOCK` names.
    #[default]
    Default,
    None,
    Path(PathBuf),
}

/// Which ways to authenticate are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthMethods {
    pub public_key: bool,
    pub password: bool,
    pub keyboard_interactive: bool,
}

/// What lies between the controller and the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Proxy {
    #[default]
    None,
    /// Jump hosts, the first one to connect to first. Resolve each of them too; [`Resolver::route`] does.
    Jump(Vec<JumpHop>),
    /// A command for `/bin/sh`, tokens expanded, that speaks to the host on its standard streams.
    Command(String),
}

/// `StrictHostKeyChecking`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StrictHostKeyChecking {
    Yes,
    No,
    #[default]
    Ask,
    AcceptNew,
}

/// Something in the files that a person should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    pub file: PathBuf,
    /// From 1; 0 for the file as a whole.
    pub line: usize,
    pub kind: ProblemKind,
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What sort of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A line that OpenSSH would not take either.
    Syntax,
    /// A file that cannot or must not be read.
    File,
    /// Understood, changes route or trust, and is not honoured here.
    NotHonoured,
}

/// Jump hosts that lead back to themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the jump hosts of `{alias}` lead round in a circle through `{hop}`")]
pub struct RouteError {
    pub alias: String,
    pub hop: String,
}

/// Everything that is not in the files.
#[derive(Debug, Clone)]
struct Surroundings {
    home: PathBuf,
    local_user: String,
    local_host: String,
    allow_exec: bool,
    environment: Environment,
}

/// A look-up for `${NAME}`.
#[derive(Clone)]
struct Environment(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}
