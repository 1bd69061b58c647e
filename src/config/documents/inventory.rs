//! `inventory/*.toml`: hosts, groups, defaults, profiles.

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    step::{OneOrMany, StepDoc},
    window::Window,
};
use crate::model::{GroupName, HostName, ProfileName, SecretSource, Span, Tag};

/// The hosts, and everything that is to be said of them. All files of `inventory/` are read as one; the same
/// host in two of them is an error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Inventory {
    /// What holds for every host that does not say otherwise.
    pub defaults: Settings,
    /// The hosts by name.
    pub hosts: IndexMap<HostName, HostEntry>,
    /// Named sets of hosts, with settings of their own.
    pub groups: IndexMap<GroupName, Group>,
    /// How products are installed. Added to the built-in ones; the same name replaces.
    pub profiles: IndexMap<ProfileName, Profile>,
}

/// What can be said of a host at every level: defaults, groups from the outermost in, the host itself. The
/// nearer level wins; variables merge by name, and tags add up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// User to log in as. What `~/.ssh/config` says, or else your own name, when left out.
    pub user: Option<String>,
    /// Port of the SSH server. 22 when left out, unless `~/.ssh/config` says otherwise.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// How the product is installed there. `host` when left out.
    pub profile: Option<ProfileName>,
    /// Free labels for selectors. Those of all levels add up.
    pub tags: Vec<Tag>,
    /// Variables for templates, by name.
    pub vars: IndexMap<String, Value>,
    /// Jump hosts in order, each a host of the inventory or `[user@]address[:port]`. The `ProxyJump` of
    /// `~/.ssh/config` when left out.
    pub jump: Option<OneOrMany<String>>,
    /// Where this host's commands run instead of on itself: `controller`, or a host of the inventory. The host
    /// itself when left out, and the controller with the profiles `fly` and `cloud-run`.
    pub via: Option<String>,
    /// Key files on the controller to offer first, relative to the project or below `~/`.
    pub identity_files: Vec<PathBuf>,
    /// Where the login password comes from. Never the password itself.
    pub password: Option<SecretSource>,
    /// The user that steps run as, by sudo. The login user when left out.
    #[serde(rename = "become")]
    pub run_as: Option<BecomeDoc>,
    /// Longest time for connecting and logging in, all tries together. `--connect-timeout` when left out.
    pub connect_timeout: Option<Span>,
    /// Name under which the host key stands in `known_hosts`, where several addresses share one. The address
    /// when left out.
    pub host_key_alias: Option<String>,
    /// Folder in which longshore keeps its state on the host: absolute, on a local disk. `/var/lib/longshore` for
    /// root and `~/.local/state/longshore` for others when left out, and for steps that run as another user than
    /// the host's others.
    pub state_dir: Option<String>,
    /// Lets the host use the SSH agent of the controller. `false` when left out.
    pub forward_agent: Option<bool>,
    /// When a run may start on the host, and when it must not. Times that are allowed replace those of farther
    /// levels, `[]` for any time; those that are denied add up. Any time when left out.
    pub window: Option<OneOrMany<Window>>,
    /// Tags beside the product's releases that may be installed there, as texts or globs: `pr-*`, `develop`. None when
    /// left out.
    pub allow_tags: Vec<String>,
}

/// A host of the inventory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HostEntry {
    /// Address, or name in `~/.ssh/config`. The host's own name when left out.
    pub address: Option<String>,
    /// User to log in as. What `~/.ssh/config` says, or else your own name, when left out.
    pub user: Option<String>,
    /// Port of the SSH server. 22 when left out, unless `~/.ssh/config` says otherwise.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// How the product is installed there. `host` when left out.
    pub profile: Option<ProfileName>,
    /// Free labels for selectors, beside those of the defaults and of its groups.
    pub tags: Vec<Tag>,
    /// Variables for templates, by name. They win over all others.
    pub vars: IndexMap<String, Value>,
    /// Jump hosts in order, each a host of the inventory or `[user@]address[:port]`; `[]` for none of the
    /// inventory's. Those of its groups, or the `ProxyJump` of `~/.ssh/config`, when left out.
    pub jump: Option<OneOrMany<String>>,
    /// Where this host's commands run instead of on itself: `controller`, or a host of the inventory. The host
    /// itself when left out, and the controller with the profiles `fly` and `cloud-run`.
    pub via: Option<String>,
    /// Key files on the controller to offer first, relative to the project or below `~/`.
    pub identity_files: Vec<PathBuf>,
    /// Where the login password comes from. Never the password itself.
    pub password: Option<SecretSource>,
    /// The user that steps run as, by sudo. The login user when left out.
    #[serde(rename = "become")]
    pub run_as: Option<BecomeDoc>,
    /// Longest time for connecting and logging in, all tries together. `--connect-timeout` when left out.
    pub connect_timeout: Option<Span>,
    /// Name under which the host key stands in `known_hosts`, where several addresses share one. The address
    /// when left out.
    pub host_key_alias: Option<String>,
    /// Folder in which longshore keeps its state on the host: absolute, on a local disk. `/var/lib/longshore` for
    /// root and `~/.local/state/longshore` for others when left out, and for steps that run as another user than
    /// the host's others.
    pub state_dir: Option<String>,
    /// Lets the host use the SSH agent of the controller. `false` when left out.
    pub forward_agent: Option<bool>,
    /// When a run may start on the host, and when it must not. Times that are allowed replace those of farther
    /// levels, `[]` for any time; those that are denied add up. Any time when left out.
    pub window: Option<OneOrMany<Window>>,
    /// Tags beside the product's releases that may be installed there, as texts or globs: `pr-*`, `develop`. None when
    /// left out.
    pub allow_tags: Vec<String>,
}

impl HostEntry {
    /// Returns what can be said at every level, to lay it over the groups and defaults.
    pub fn settings(&self) -> Settings {
        Settings {
            user: self.user.clone(),
            port: self.port,
            profile: self.profile.clone(),
            tags: self.tags.clone(),
            vars: self.vars.clone(),
            jump: self.jump.clone(),
            via: self.via.clone(),
            identity_files: self.identity_files.clone(),
            password: self.password.clone(),
            run_as: self.run_as.clone(),
            connect_timeout: self.connect_timeout,
            host_key_alias: self.host_key_alias.clone(),
            state_dir: self.state_dir.clone(),
            forward_agent: self.forward_agent,
            window: self.window.clone(),
            allow_tags: self.allow_tags.clone(),
        }
    }
}

/// A named set of hosts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Group {
    /// Members: names of hosts, or globs over them.
    pub hosts: Vec<String>,
    /// Groups whose members belong, too.
    pub groups: Vec<GroupName>,
    /// What holds for the members.
    pub settings: Settings,
}

/// Becomes another user, by sudo, for every step on the host that does not say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BecomeDoc {
    /// User to become. `root` when left out.
    #[serde(default = "root")]
    pub user: String,
    /// Where the password for sudo comes from, if it asks for one. Never the password itself.
    #[serde(default)]
    pub password: Option<SecretSource>,
}

fn root() -> String {
    "root".to_owned()
}

/// How a product is installed on a host, as data: which steps each verb is.
///
/// A profile builds on another by `extends`: verbs, variables and what is required are taken from there by
/// name, and those of the same name are replaced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Profile {
    /// One line on what it is for.
    pub about: Option<String>,
    /// Profile whose variables and verbs hold where this one says nothing.
    pub extends: Option<ProfileName>,
    /// Values of the variables that the verbs use. They win over the role's, and lose to the playbook's and the host's.
    pub vars: IndexMap<String, Value>,
    /// Variables that a host or a role must set, each with what it is for.
    pub requires: IndexMap<String, String>,
    /// Beginnings of commands and other texts that several templates share, by name: `{{> NAME}}` puts one in. They
    /// are templates themselves, for the host that they are put in for.
    pub snippets: IndexMap<String, String>,
    /// What is read from a host while planning, by name: a step that prints it on its first line. A role's fact of the
    /// same name wins.
    pub facts: IndexMap<String, StepDoc>,
    /// Values that a fact of the role or the profile had better have, each a text or glob. Where it has another one, the
    /// plan warns.
    pub prefers_facts: IndexMap<String, OneOrMany<String>>,
    /// What this installation can do: each verb is a step or a list of steps.
    pub verbs: IndexMap<String, OneOrMany<StepDoc>>,
}

/// The value of a variable: text, number, yes or no, list, table, or where a secret comes from.
///
/// A table with the single key `secret` is a reference: `{ secret = { env = "DB_PASSWORD" } }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Value(pub serde_json::Value);

impl Value {
    /// Returns where the secret comes from, if the value is a reference to one.
    ///
    /// Documents are checked when they are read: whatever has the key `secret` is a proper reference.
    pub fn secret(&self) -> Option<SecretSource> {
        let source = self.0.as_object()?.get("secret")?;
        serde_json::from_value(source.clone()).ok()
    }
}
