//! What holds for one host once defaults, groups, the host itself and its profile are laid over one another.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use super::{
    Project, builtin,
    documents::{BecomeDoc, OneOrMany, Profile, Release, Settings, StepDoc, Value, Window, WindowKind},
    template::{self, Scope},
};
use crate::model::{GroupName, HostName, ProfileName, SecretId, SecretSource, Span, Tag, Version};

/// Everything the inventory says about one host.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedHost {
    pub name: HostName,
    /// Address, or name in `~/.ssh/config`.
    pub address: String,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub profile: ProfileName,
    pub tags: Vec<Tag>,
    /// The groups it is in, outer ones first.
    pub groups: Vec<GroupName>,
    /// Variables of the inventory, those of the profile not among them.
    pub vars: IndexMap<String, Value>,
    /// Jump hosts in order, each `[user@]address[:port]`.
    pub jump: Vec<String>,
    /// What the inventory says of those of them that stand in it.
    pub jump_logins: Vec<ResolvedJump>,
    /// The host on which this one's commands run, or `controller`. `None`: the host itself.
    pub via: Option<String>,
    pub identity_files: Vec<PathBuf>,
    pub password: Option<SecretSource>,
    pub run_as: Option<BecomeDoc>,
    pub connect_timeout: Option<Span>,
    pub host_key_alias: Option<String>,
    pub state_dir: Option<String>,
    pub forward_agent: bool,
    pub windows: Vec<Window>,
    /// Tags that are no releases and may be installed all the same, as globs.
    pub allow_tags: Vec<String>,
    /// Facts of the profile, those it extends included.
    pub facts: IndexMap<String, StepDoc>,
    /// Values that facts had better have.
    pub prefers_facts: IndexMap<String, OneOrMany<String>>,
    /// What the profile can do, those it extends included.
    pub verbs: IndexMap<String, Vec<StepDoc>>,
    /// Variables of the profile, those it extends included.
    pub profile_vars: IndexMap<String, Value>,
    /// Variables the profile wants set elsewhere, each with what it is for.
    pub requires: IndexMap<String, String>,
    /// Texts that templates can put in, those of profiles it extends included.
    pub snippets: IndexMap<String, String>,
}

/// How a jump host that is a host of the inventory is logged in to.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedJump {
    /// As it stands in [`ResolvedHost::jump`].
    pub jump: String,
    pub identity_files: Vec<PathBuf>,
    pub password: Option<SecretSource>,
    pub connect_timeout: Option<Span>,
    pub host_key_alias: Option<String>,
}

/// A profile with everything it extends.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct FlatProfile {
    pub verbs: IndexMap<String, Vec<StepDoc>>,
    pub vars: IndexMap<String, Value>,
    pub requires: IndexMap<String, String>,
    pub snippets: IndexMap<String, String>,
    pub facts: IndexMap<String, StepDoc>,
    pub prefers_facts: IndexMap<String, OneOrMany<String>>,
}

impl ResolvedHost {
    /// Returns what templates may say of the host under `host`.
    pub fn to_json(&self) -> Json {
        json!({
            "name": self.name,
            "address": self.address,
            "user": self.user,
            "port": self.port,
            "profile": self.profile,
            "tags": self.tags,
            "groups": self.groups,
        })
    }
}

/// The variables of one host in one play: what templates see, and where the secrets among them come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variables {
    pub scope: Scope,
    pub secrets: IndexMap<SecretId, SecretSource>,
}

impl Variables {
    /// Names that templates know beside the variables: the host, and the versions of the upgrade.
    pub const BUILT_IN: [&str; 8] =
        ["host", "release", "installed", "wanted", "hop", "upgrade", "facts", template::SNIPPETS];

    /// Lays the variables of all levels over one another: role, profile, playbook, host. The last wins.
    ///
    /// `host` is set from the host; `release`, `installed` and `wanted` are there without a value.
    pub fn of(
        host: &ResolvedHost,
        role: Option<&IndexMap<String, Value>>,
        playbook: Option<&IndexMap<String, Value>>,
    ) -> Self {
        let mut all = Self::default();
        let layers = [role, Some(&host.profile_vars), playbook, Some(&host.vars)];
        for (name, value) in layers.into_iter().flatten().flatten() {
            all.set(name, value);
        }
        Self::add_built_in(&mut all.scope);
        all.scope.insert("host".to_owned(), host.to_json());
        all.declare_facts(host.facts.keys());
        Self::add_snippets(&mut all.scope, &host.snippets);
        all
    }

    /// Adds texts that templates can put in.
    pub(super) fn add_snippets(scope: &mut Scope, snippets: &IndexMap<String, String>) {
        if let Some(Json::Object(known)) = scope.get_mut(template::SNIPPETS) {
            known.extend(snippets.iter().map(|(name, text)| (name.clone(), json!(text))));
        }
    }

    /// Sets one variable. A secret becomes its placeholder.
    pub fn set(&mut self, name: &str, value: &Value) {
        let id = SecretId::new(name);
        self.secrets.shift_remove(&id);
        let value = match value.secret() {
            Some(source) => {
                let placeholder = id.placeholder();
                self.secrets.insert(id, source);
                Json::String(placeholder)
            }
            None => value.0.clone(),
        };
        self.scope.insert(name.to_owned(), value);
    }

    /// Sets `installed`: the version found on the host.
    pub fn set_installed(&mut self, version: &Version) {
        self.scope.insert("installed".to_owned(), json!(version));
    }

    /// Sets `release`: what the role's releases say of the version that the steps bring, and `wanted` with it.
    pub fn set_release(&mut self, release: Option<&Release>) {
        let fields = release_fields(release);
        self.scope.insert("wanted".to_owned(), fields.get("version").cloned().unwrap_or_default());
        self.scope.insert("release".to_owned(), Json::Object(fields));
    }

    /// Sets `wanted`, and `release.version` where the role lists no such release.
    pub fn set_wanted(&mut self, version: &Version) {
        self.scope.insert("wanted".to_owned(), json!(version));
        if let Some(Json::Object(release)) = self.scope.get_mut("release")
            && release.get("version").is_none_or(Json::is_null)
        {
            release.insert("version".to_owned(), json!(version));
        }
    }

    /// Sets `facts`: what was read from the host while planning. A fact that is not known is there without a value.
    pub fn set_facts<'a>(&mut self, facts: impl Iterator<Item = (&'a str, Option<&'a str>)>) {
        let facts = facts.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        self.scope.insert("facts".to_owned(), Json::Object(facts));
    }

    /// Adds facts that are known later.
    pub(super) fn declare_facts<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        if let Some(Json::Object(facts)) = self.scope.get_mut("facts") {
            facts.extend(names.map(|name| (name.clone(), Json::Null)));
        }
    }

    /// Sets `hop`, the part of the path that the steps do, and `upgrade`, the whole of it.
    pub fn set_hop(&mut self, hop: Json, upgrade: Json) {
        self.scope.insert("hop".to_owned(), hop);
        self.scope.insert("upgrade".to_owned(), upgrade);
    }

    /// Sets what `release` needs, and whether the one before can run on its data: not its own word alone where the
    /// hop to it passes others over.
    pub fn set_passed_over(&mut self, requires_env: &[String], backward_compatible: bool) {
        if let Some(Json::Object(release)) = self.scope.get_mut("release") {
            release.insert("requires-env".to_owned(), json!(requires_env));
            release.insert("backward-compatible".to_owned(), json!(backward_compatible));
        }
    }

    /// Adds the names that templates know beside the variables, without values.
    pub(super) fn add_built_in(scope: &mut Scope) {
        let mut host: Map<String, Json> = ["name", "address", "user", "port", "profile"]
            .map(|name| (name.to_owned(), Json::Null))
            .into_iter()
            .collect();
        host.insert("tags".to_owned(), json!([]));
        host.insert("groups".to_owned(), json!([]));
        scope.insert("host".to_owned(), Json::Object(host));
        scope.insert("installed".to_owned(), Json::Null);
        scope.insert("wanted".to_owned(), Json::Null);
        scope.insert("release".to_owned(), Json::Object(release_fields(None)));
        let hop = json!({
            "from": null, "to": null, "class": null, "number": 1, "first": true, "last": true, "requires-env": [],
            "migrations": [],
        });
        scope.insert("hop".to_owned(), hop);
        let upgrade = json!({ "from": null, "to": null, "hops": [], "requires-env": [], "migrations": [] });
        scope.insert("upgrade".to_owned(), upgrade);
        let facts = builtin::facts().keys().map(|name| (name.clone(), Json::Null)).collect();
        scope.insert("facts".to_owned(), Json::Object(facts));
        scope.insert(template::SNIPPETS.to_owned(), json!({}));
    }
}

fn release_fields(release: Option<&Release>) -> Map<String, Json> {
    let mut fields: Map<String, Json> = ["version", "kind", "migration", "notes", "archive", "sha256"]
        .map(|name| (name.to_owned(), Json::Null))
        .into_iter()
        .collect();
    fields.insert("requires-env".to_owned(), json!([]));
    if let Some(release) = release
        && let Ok(Json::Object(known)) = serde_json::to_value(release)
    {
        fields.extend(known);
    }
    fields
}

impl Project {
    /// Returns everything the inventory says about a host. Of a host it does not name, that is the defaults.
    pub fn resolve_host(&self, name: &HostName) -> ResolvedHost {
        let address = self.inventory.hosts.get(name).and_then(|entry| entry.address.clone());
        let settings = self.settings_of(name);
        let profile = settings.profile.clone().unwrap_or_else(plain);
        let flat = self.flat_profiles.get(&profile).cloned().unwrap_or_default();
        let via = settings.via.clone().or_else(|| default_via(&profile, self));
        let (jump, jump_logins) = self.jump_addresses(name);
        ResolvedHost {
            name: name.clone(),
            address: address.unwrap_or_else(|| name.to_string()),
            user: settings.user,
            port: settings.port,
            profile,
            tags: settings.tags,
            groups: self.groups_of(name).to_vec(),
            vars: settings.vars,
            jump,
            jump_logins,
            via: via.filter(|via| via != name.as_str()),
            identity_files: settings.identity_files.iter().map(|path| self.local_path(path)).collect(),
            password: settings.password,
            run_as: settings.run_as,
            connect_timeout: settings.connect_timeout,
            host_key_alias: settings.host_key_alias,
            state_dir: settings.state_dir,
            forward_agent: settings.forward_agent.unwrap_or(false),
            windows: settings.window.map(|OneOrMany(windows)| windows).unwrap_or_default(),
            allow_tags: settings.allow_tags,
            facts: flat.facts,
            verbs: flat.verbs,
            profile_vars: flat.vars,
            requires: flat.requires,
            snippets: flat.snippets,
            prefers_facts: flat.prefers_facts,
        }
    }

    /// Lays the settings of all levels over one another: defaults, groups from the outermost in, the host.
    pub(super) fn settings_of(&self, host: &HostName) -> Settings {
        let mut settings = self.inventory.defaults.clone();
        for group in self.groups_of(host) {
            if let Some(group) = self.inventory.groups.get(group) {
                overlay(&mut settings, &group.settings);
            }
        }
        if let Some(entry) = self.inventory.hosts.get(host) {
            overlay(&mut settings, &entry.settings());
        }
        settings
    }

    pub(super) fn profile_of(&self, host: &HostName) -> ProfileName {
        let own = |profile: &Option<ProfileName>| profile.clone();
        let entry = self.inventory.hosts.get(host).and_then(|entry| own(&entry.profile));
        let group = || {
            self.groups_of(host).iter().rev().find_map(|group| own(&self.inventory.groups.get(group)?.settings.profile))
        };
        entry.or_else(group).or_else(|| own(&self.inventory.defaults.profile)).unwrap_or_else(plain)
    }

    pub(super) fn tags_of(&self, host: &HostName) -> Vec<Tag> {
        let groups = self.groups_of(host).iter().filter_map(|group| self.inventory.groups.get(group));
        let entry = self.inventory.hosts.get(host).map(|entry| &entry.tags);
        let levels =
            std::iter::once(&self.inventory.defaults.tags).chain(groups.map(|group| &group.settings.tags)).chain(entry);
        let mut tags = Vec::new();
        levels.for_each(|level| add(&mut tags, level));
        tags
    }

    /// Returns the jumps before a host, as they are written. What a whole group or the fleet jumps through
    /// is not a way to itself: of such a list a jump host takes what comes before it.
    pub(super) fn jumps_of(&self, host: &HostName) -> &[String] {
        let own = self.inventory.hosts.get(host).and_then(|entry| entry.jump.as_ref());
        if let Some(OneOrMany(jumps)) = own {
            return jumps;
        }
        let group = |group| self.inventory.groups.get(group)?.settings.jump.as_ref();
        let shared = self.groups_of(host).iter().rev().find_map(group).or(self.inventory.defaults.jump.as_ref());
        let jumps = shared.map(|jump| jump.0.as_slice()).unwrap_or_default();
        let before = jumps.iter().position(|jump| jump == host.as_str()).unwrap_or(jumps.len());
        &jumps[..before]
    }

    /// Turns names of the inventory into addresses, with the jumps that lead to them before them.
    fn jump_addresses(&self, host: &HostName) -> (Vec<String>, Vec<ResolvedJump>) {
        let mut way = (Vec::new(), Vec::new());
        let mut seen = vec![host.as_str()];
        self.jumps_of(host).iter().for_each(|jump| self.add_jump(jump, &mut seen, &mut way));
        way
    }

    fn add_jump<'a>(&'a self, jump: &'a str, seen: &mut Vec<&'a str>, way: &mut (Vec<String>, Vec<ResolvedJump>)) {
        let Some((name, entry)) = self.inventory.hosts.get_key_value(jump) else {
            return way.0.push(jump.to_owned());
        };
        // A circle is an error of the inventory; here it only must not go on for ever.
        if seen.contains(&name.as_str()) {
            return;
        }
        seen.push(name.as_str());
        let settings = self.settings_of(name);
        for before in self.jumps_of(name) {
            self.add_jump(before, seen, way);
        }
        let address = entry.address.as_deref().unwrap_or(name.as_str());
        let user = settings.user.map(|user| format!("{user}@")).unwrap_or_default();
        let address = if address.contains(':') && settings.port.is_some() && !address.starts_with('[') {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        let port = settings.port.map(|port| format!(":{port}")).unwrap_or_default();
        let jump = format!("{user}{address}{port}");
        way.0.push(jump.clone());
        way.1.push(ResolvedJump {
            jump,
            identity_files: settings.identity_files.iter().map(|path| self.local_path(path)).collect(),
            password: settings.password,
            connect_timeout: settings.connect_timeout,
            host_key_alias: settings.host_key_alias,
        });
    }

    fn local_path(&self, path: &Path) -> PathBuf {
        if let Ok(rest) = path.strip_prefix("~")
            && let Some(home) = &self.home
        {
            return home.join(rest);
        }
        if path.starts_with("~") { path.to_owned() } else { self.root.join(path) }
    }
}

fn plain() -> ProfileName {
    ProfileName::new(builtin::PLAIN).expect("a built-in name is a name")
}

/// Installs without an SSH server of their own are reached from the controller unless the inventory says otherwise.
fn default_via(profile: &ProfileName, project: &Project) -> Option<String> {
    let mut name = profile;
    for _ in 0..=project.profiles.len() {
        if matches!(name.as_str(), "fly" | "cloud-run") {
            return Some("controller".to_owned());
        }
        name = project.profiles.get(name)?.extends.as_ref()?;
    }
    None
}

fn overlay(below: &mut Settings, above: &Settings) {
    fn set<T: Clone>(below: &mut Option<T>, above: Option<&T>) {
        if let Some(above) = above {
            *below = Some(above.clone());
        }
    }
    set(&mut below.user, above.user.as_ref());
    set(&mut below.port, above.port.as_ref());
    set(&mut below.profile, above.profile.as_ref());
    add(&mut below.tags, &above.tags);
    below.vars.extend(above.vars.iter().map(|(name, value)| (name.clone(), value.clone())));
    set(&mut below.jump, above.jump.as_ref());
    set(&mut below.via, above.via.as_ref());
    if !above.identity_files.is_empty() {
        below.identity_files.clone_from(&above.identity_files);
    }
    set(&mut below.password, above.password.as_ref());
    set(&mut below.run_as, above.run_as.as_ref());
    set(&mut below.connect_timeout, above.connect_timeout.as_ref());
    set(&mut below.host_key_alias, above.host_key_alias.as_ref());
    set(&mut below.state_dir, above.state_dir.as_ref());
    set(&mut below.forward_agent, above.forward_agent.as_ref());
    windows(&mut below.window, above.window.as_ref());
    below.allow_tags.extend(above.allow_tags.iter().cloned());
}

/// The nearer level says when a host may be worked on; a time that any level denies stays denied.
fn windows(below: &mut Option<OneOrMany<Window>>, above: Option<&OneOrMany<Window>>) {
    let Some(OneOrMany(above)) = above else { return };
    let denies = |window: &Window| window.kind == WindowKind::Deny;
    // A level that only adds a freeze leaves the times of the others as they are.
    let replaces = above.is_empty() || !above.iter().all(denies);
    let mut all = below.take().map(|OneOrMany(windows)| windows).unwrap_or_default();
    all.retain(|window| denies(window) || !replaces);
    for window in above {
        if !all.contains(window) {
            all.push(window.clone());
        }
    }
    *below = Some(OneOrMany(all));
}

fn add(tags: &mut Vec<Tag>, more: &[Tag]) {
    for tag in more {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
}

/// Lays each profile over the one it extends. A circle ends where it closes; it is told elsewhere.
pub(super) fn flatten(profiles: &IndexMap<ProfileName, Profile>) -> IndexMap<ProfileName, FlatProfile> {
    profiles
        .keys()
        .map(|name| {
            let mut chain = Vec::new();
            let mut next = Some(name);
            while let Some(name) = next {
                let Some((name, profile)) = profiles.get_key_value(name) else { break };
                if chain.iter().any(|(seen, _)| *seen == name) {
                    break;
                }
                chain.push((name, profile));
                next = profile.extends.as_ref();
            }
            let mut flat = FlatProfile::default();
            for (_, profile) in chain.into_iter().rev() {
                flat.requires.extend(profile.requires.clone());
                flat.vars.extend(profile.vars.clone());
                flat.facts.extend(profile.facts.clone());
                flat.snippets.extend(profile.snippets.clone());
                flat.prefers_facts.extend(profile.prefers_facts.clone());
                flat.verbs.extend(profile.verbs.iter().map(|(verb, steps)| (verb.clone(), steps.0.clone())));
            }
            (name.clone(), flat)
        })
        .collect()
}

#[cfg(test)]
mod tests;
