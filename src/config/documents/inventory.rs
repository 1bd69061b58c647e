//! `inventory/*.toml`: hosts, groups, defaults, profiles.

use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::step::{OneOrMany, StepDoc};
use crate::model::{GroupName, HostName, ProfileName, SecretSource, Span, Tag};

/// An inventory file. All files of the folder are merged; the same host in two of them is an error.
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

/// What can be said of a host at every level: defaults, group, host. The nearer level wins; variables merge by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// User to log in as.
    pub user: Option<String>,
    /// Port of the SSH server.
    pub port: Option<u16>,
    pub profile: Option<ProfileName>,
    /// Labels. Those of all levels add up.
    pub tags: Vec<Tag>,
    /// Variables for templates.
    pub vars: IndexMap<String, Value>,
    /// Jump hosts in order, each a host of the inventory or `[user@]address[:port]`.
    pub jump: Option<OneOrMany<String>>,
    /// Host on which this host's commands run, or `controller`.
    pub via: Option<String>,
    /// Key files on the controller to offer first.
    pub identity_files: Vec<PathBuf>,
    /// Where the login password comes from. Never the password itself.
    pub password: Option<SecretSource>,
    /// Run steps as another user, by sudo.
    #[serde(rename = "become")]
    pub run_as: Option<BecomeDoc>,
    /// Longest time for connecting and logging in.
    pub connect_timeout: Option<Span>,
    /// Name under which the host key is kept, where several addresses share one.
    pub host_key_alias: Option<String>,
    pub forward_agent: Option<bool>,
    /// When a run may start on the host.
    pub window: Option<OneOrMany<Window>>,
}

/// A host of the inventory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HostEntry {
    /// Address, or name in `~/.ssh/config`. The host's own name when left out.
    pub address: Option<String>,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub profile: Option<ProfileName>,
    pub tags: Vec<Tag>,
    pub vars: IndexMap<String, Value>,
    pub jump: Option<OneOrMany<String>>,
    pub via: Option<String>,
    pub identity_files: Vec<PathBuf>,
    pub password: Option<SecretSource>,
    #[serde(rename = "become")]
    pub run_as: Option<BecomeDoc>,
    pub connect_timeout: Option<Span>,
    pub host_key_alias: Option<String>,
    pub forward_agent: Option<bool>,
    pub window: Option<OneOrMany<Window>>,
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

/// Become another user for every step on the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BecomeDoc {
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Profile {
    /// One line on what it is for.
    pub about: Option<String>,
    /// Profile whose variables and verbs hold where this one says nothing.
    pub extends: Option<ProfileName>,
    pub vars: IndexMap<String, Value>,
    /// What this installation can do: each verb is a step or a list of steps.
    pub verbs: IndexMap<String, OneOrMany<StepDoc>>,
}

/// The value of a variable: text, number, yes or no, list, table, or where a secret comes from.
///
/// A table with the single key `secret` is a reference: `{ secret = { env = "DB_PASSWORD" } }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Value(pub serde_json::Value);

/// A time in which a run may start on a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Window {
    /// Days and ranges of days: `Mon-Thu`, `Sat,Sun`. Every day when left out.
    #[serde(default)]
    pub days: Option<String>,
    /// Local time it opens, `HH:MM`.
    pub from: String,
    /// Local time it closes, `HH:MM`; before `from` it is on the next day.
    pub to: String,
    /// IANA time zone: `Europe/Berlin`.
    pub zone: String,
    /// `allow` (the default) or `deny`.
    #[serde(default)]
    pub kind: Option<String>,
}

/// A day of the week, as windows name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}
