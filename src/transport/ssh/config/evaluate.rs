//! Goes through the statements for one host: which blocks apply, which value comes first.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use super::{
    ConfigProblem, Overrides, ProblemKind, Resolved, StrictHostKeyChecking, Surroundings,
    directive::{Criterion, Setting, Test},
    exec,
    expand::{self, Tokens},
    jump::JumpHop,
    read::{File, Statement},
};
use crate::transport::ssh::pattern;

pub const DEFAULT_PORT: u16 = 22;

/// Resolves a host.
///
/// As in OpenSSH there may be a second pass, for `Match final`: in that one `Host` looks at the name
/// that the first has found.
pub fn resolve(roots: &[Arc<File>], surroundings: &Surroundings, alias: &str, overrides: &Overrides) -> Resolved {
    let found = Found { user: overrides.user.clone(), port: overrides.port, ..Found::default() };
    let mut pass = Pass {
        surroundings,
        alias,
        host: alias.to_owned(),
        is_final: false,
        wants_final: false,
        found,
        refused: None,
        problems: Vec::new(),
    };
    pass.roots(roots);
    let host_name = pass.host_name();
    if pass.wants_final || pass.found.canonicalize == Some(true) {
        pass.is_final = true;
        pass.host.clone_from(&host_name);
        pass.found.host_name = Some(host_name.clone());
        pass.roots(roots);
    }
    pass.finish(host_name, overrides)
}

/// The first value found for each setting.
#[derive(Debug, Default)]
pub struct Found {
    pub host_name: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub identity_files: Vec<Placed>,
    pub certificate_files: Vec<Placed>,
    pub identities_only: Option<bool>,
    pub identity_agent: Option<Placed>,
    pub forward_agent: Option<bool>,
    /// Empty for `none`.
    pub jump: Option<Vec<JumpHop>>,
    /// `none` where a `ProxyJump` came first.
    pub command: Option<String>,
    pub host_key_alias: Option<String>,
    pub user_known_hosts: Option<Vec<String>>,
    pub global_known_hosts: Option<Vec<String>>,
    pub strict_host_key_checking: Option<StrictHostKeyChecking>,
    pub connect_timeout: Option<Duration>,
    pub keepalive_interval: Option<Duration>,
    pub keepalive_count: Option<u32>,
    pub host_key_algorithms: Option<String>,
    pub pubkey_algorithms: Option<String>,
    pub preferred_authentications: Option<Vec<String>>,
    pub public_key: Option<bool>,
    pub password: Option<bool>,
    pub keyboard_interactive: Option<bool>,
    pub tag: Option<String>,
    pub canonicalize: Option<bool>,
    /// Keywords that are not honoured: only the first of each counts.
    pub not_honoured: BTreeSet<&'static str>,
}

pub struct Pass<'a> {
    pub surroundings: &'a Surroundings,
    /// As it was asked for.
    pub alias: &'a str,
    /// What `Host` looks at.
    pub host: String,
    pub is_final: bool,
    pub wants_final: bool,
    pub found: Found,
    pub refused: Option<String>,
    pub problems: Vec<ConfigProblem>,
}

impl Pass<'_> {
    fn roots(&mut self, roots: &[Arc<File>]) {
        for file in roots {
            self.file(file, true);
        }
    }

    /// Goes through a file. Where the block that includes it does not apply, nothing in it does, but a
    /// `Match final` still asks for its pass.
    fn file(&mut self, file: &File, applies: bool) {
        let mut active = applies;
        for (line, statement) in &file.statements {
            let place = Place { file, line: *line };
            match statement {
                Statement::Host(patterns) => active = applies && self.host_applies(patterns),
                Statement::Match(criteria) => active = self.match_applies(criteria, applies, place) && applies,
                Statement::Include(files) => {
                    for file in files {
                        self.file(file, active);
                    }
                }
                Statement::Set(setting) if active => self.set(setting, place),
                Statement::Broken(message) if active => self.refuse(place, message),
                Statement::Set(_) | Statement::Broken(_) => {}
                Statement::BrokenBlock(message) => {
                    if applies {
                        self.refuse(place, message);
                    }
                    active = false;
                }
            }
        }
    }

    fn host_applies(&self, patterns: &[String]) -> bool {
        let mut positive = false;
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                Some(negated) if pattern::matches(&self.host, negated) => return false,
                None if pattern::matches(&self.host, pattern) => positive = true,
                _ => {}
            }
        }
        positive
    }

    fn match_applies(&mut self, criteria: &[Criterion], may_run: bool, place: Place) -> bool {
        let mut result = true;
        for Criterion { negated, test } in criteria {
            let answer = match test {
                Test::All => Some(true),
                Test::Final => {
                    self.wants_final |= !negated;
                    Some(self.is_final)
                }
                Test::Canonical => Some(self.is_final),
                Test::Host(list) => Some(pattern::host_list_matches(&self.current_host_name(), list)),
                Test::OriginalHost(list) => Some(pattern::host_list_matches(self.alias, list)),
                Test::User(list) => {
                    let user = self.found.user.as_ref().unwrap_or(&self.surroundings.local_user);
                    Some(pattern::list_matches(user, list))
                }
                Test::LocalUser(list) => Some(pattern::list_matches(&self.surroundings.local_user, list)),
                Test::Tagged(list) => Some(match self.found.tag.as_deref() {
                    None | Some("") => list.is_empty(),
                    Some(tag) => pattern::list_matches(tag, list),
                }),
                // Longshore always runs a command.
                Test::SessionType(list) => Some(pattern::list_matches("exec", list)),
                Test::Exec(command) if result && may_run => self.exec(command, place),
                Test::Exec(_) => None,
                Test::NotHonoured(name) => {
                    if result && may_run {
                        let message = format!("`Match {name}` is not honoured; the block is left out");
                        self.problem(place, message);
                    }
                    None
                }
            };
            // What cannot be answered leaves the block out, negated or not.
            result &= answer.is_some_and(|answer| answer != *negated);
        }
        result
    }

    fn exec(&mut self, command: &str, place: Place) -> Option<bool> {
        if !self.surroundings.allow_exec {
            self.problem(place, "`Match exec` is not allowed to run; the block is left out".to_owned());
            return None;
        }
        let tokens = self.tokens(self.current_host_name(), self.found.user.clone());
        let result = tokens.command(command).and_then(|command| exec::succeeds(&command).map_err(|e| e.to_string()));
        match result {
            Ok(answer) => Some(answer),
            Err(message) => {
                self.refuse(place, &format!("`Match exec`: {message}"));
                None
            }
        }
    }

    fn set(&mut self, setting: &Setting, place: Place) {
        let found = &mut self.found;
        match setting {
            Setting::HostName(text) => first(&mut found.host_name, text),
            Setting::Port(port) => first(&mut found.port, port),
            Setting::User(text) => first(&mut found.user, text),
            Setting::IdentityFile(text) => add(&mut found.identity_files, place.of(text)),
            Setting::CertificateFile(text) => add(&mut found.certificate_files, place.of(text)),
            Setting::IdentitiesOnly(flag) => first(&mut found.identities_only, flag),
            Setting::IdentityAgent(text) => first(&mut found.identity_agent, &place.of(text)),
            Setting::ForwardAgent(flag) => first(&mut found.forward_agent, flag),
            // The two exclude each other; the first one counts.
            Setting::ProxyJump(hops) if hops.is_empty() => first(&mut found.jump, hops),
            Setting::ProxyJump(hops) if found.jump.is_none() && found.command.is_none() => {
                found.jump = Some(hops.clone());
                found.command = Some("none".to_owned());
            }
            Setting::ProxyJump(_) => {}
            Setting::ProxyCommand(text) => first(&mut found.command, text),
            Setting::HostKeyAlias(text) => first(&mut found.host_key_alias, text),
            Setting::UserKnownHosts(files) => first(&mut found.user_known_hosts, files),
            Setting::GlobalKnownHosts(files) => first(&mut found.global_known_hosts, files),
            Setting::StrictHostKeyChecking(how) => {
                let is_first = found.strict_host_key_checking.is_none();
                first(&mut found.strict_host_key_checking, how);
                if is_first && matches!(how, StrictHostKeyChecking::No | StrictHostKeyChecking::AcceptNew) {
                    let message = "`StrictHostKeyChecking` is not honoured: unknown host keys are never accepted";
                    self.problem(place, message.to_owned());
                }
            }
            Setting::ConnectTimeout(time) => first_some(&mut found.connect_timeout, *time),
            Setting::KeepaliveInterval(time) => first_some(&mut found.keepalive_interval, *time),
            Setting::KeepaliveCount(count) => first(&mut found.keepalive_count, count),
            Setting::HostKeyAlgorithms(text) => first(&mut found.host_key_algorithms, text),
            Setting::PubkeyAlgorithms(text) => first(&mut found.pubkey_algorithms, text),
            Setting::PreferredAuthentications(names) => first(&mut found.preferred_authentications, names),
            Setting::PublicKey(flag) => first(&mut found.public_key, flag),
            Setting::Password(flag) => first(&mut found.password, flag),
            Setting::KeyboardInteractive(flag) => first(&mut found.keyboard_interactive, flag),
            Setting::Tag(text) => first(&mut found.tag, text),
            Setting::Canonicalize(flag) => {
                if found.canonicalize.is_none() && *flag {
                    let message = "`CanonicalizeHostname` changes the route to the host and is not honoured";
                    self.problem(place, message.to_owned());
                }
                first(&mut self.found.canonicalize, flag);
            }
            Setting::Refuse(message) => self.refuse(place, message),
            Setting::NotHonoured { keyword, changes, is_harmless } => {
                if found.not_honoured.insert(keyword) && !is_harmless {
                    self.problem(place, format!("`{keyword}` changes {changes} and is not honoured"));
                }
            }
        }
    }

    /// The host name as far as it is known, for conditions.
    fn current_host_name(&self) -> String {
        match &self.found.host_name {
            Some(name) if self.is_final => name.clone(),
            Some(template) => expand::host_name(template, self.alias).unwrap_or_else(|_| template.clone()),
            None => self.host.clone(),
        }
    }

    /// The host name after the first pass.
    fn host_name(&mut self) -> String {
        let name = match &self.found.host_name {
            None => self.alias.to_owned(),
            Some(template) => expand::host_name(template, self.alias).unwrap_or_else(|message| {
                self.refused.get_or_insert(message);
                self.alias.to_owned()
            }),
        };
        match name.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => name.to_ascii_lowercase(),
        }
    }

    pub fn tokens(&self, host_name: String, user: Option<String>) -> Tokens<'_> {
        let alias = self.found.host_key_alias.as_deref().unwrap_or(self.alias);
        let hops = self.found.jump.iter().flatten();
        Tokens {
            surroundings: self.surroundings,
            host_name,
            alias: self.alias,
            port: self.found.port.unwrap_or(DEFAULT_PORT),
            user,
            host_key_alias: alias.to_owned(),
            jump: hops.last().map(|hop| hop.host.clone()).unwrap_or_default(),
        }
    }

    fn problem(&mut self, place: Place, message: String) {
        let problem =
            ConfigProblem { file: place.file.path.clone(), line: place.line, kind: ProblemKind::NotHonoured, message };
        // A second pass comes by the same lines.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn refuse(&mut self, place: Place, message: &str) {
        let place = format!("{}:{}", place.file.path.display(), place.line);
        self.refused.get_or_insert_with(|| format!("{place}: {message}"));
    }
}

/// Where a statement stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a File,
    line: usize,
}

impl Place<'_> {
    fn of(self, text: &str) -> Placed {
        Placed { text: text.to_owned(), file: self.file.path.clone(), line: self.line }
    }
}

/// A text, and where it stands.
#[derive(Debug, Clone)]
pub struct Placed {
    pub text: String,
    pub file: PathBuf,
    pub line: usize,
}

impl Placed {
    pub fn problem(&self, why: &str) -> ConfigProblem {
        let message = format!("`{}` is left out: {why}", self.text);
        ConfigProblem { file: self.file.clone(), line: self.line, kind: ProblemKind::NotHonoured, message }
    }
}

fn first<T: Clone>(slot: &mut Option<T>, value: &T) {
    slot.get_or_insert_with(|| value.clone());
}

/// As [`first`], for `none`, which leaves it open.
fn first_some<T: Copy>(slot: &mut Option<T>, value: Option<T>) {
    *slot = slot.or(value);
}

fn add(list: &mut Vec<Placed>, file: Placed) {
    if !list.iter().any(|known| known.text == file.text) {
        list.push(file);
    }
}
