//! `roles/<product>/role.toml`: one product's runbook.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    inventory::Value,
    step::{OneOrMany, StepDoc},
};
use crate::{
    model::Span,
    steps::{Check, CopyCheck},
};

/// One product's runbook: its actions, checks and what they need.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Role {
    /// One line on the product.
    pub about: Option<String>,
    /// Values of variables for hosts that set none. Every variable that a template uses must be here, in the
    /// profile, in the playbook or in the inventory.
    pub vars: IndexMap<String, Value>,
    /// Variables that a host must set, each with what it is for.
    pub requires: IndexMap<String, String>,
    /// How to read the head of the data's migrations: a step that prints it on its first line, and fails where it
    /// cannot tell. Read before and after the steps: where it has not moved, a failed host is taken back by itself.
    /// The profile's verb `migration` when left out.
    pub migration: Option<StepDoc>,
    /// How to read when the newest data was written: a step that prints it on its first line. Shown beside the
    /// backup's time before anybody approves a restore. The profile's verb `newest` when left out.
    pub newest: Option<StepDoc>,
    /// How to read the installed version: a step that prints it on its first line, or as `tag=VERSION` and
    /// `digest=DIGEST`. Where there are several, all are asked and must agree; one that says nothing is passed over.
    /// The profile's verb `version` when left out.
    pub version: Option<OneOrMany<StepDoc>>,
    /// What else is read from a host while planning, by name: a step that prints it on its first line. Templates
    /// know it as `facts.NAME`, a canary can represent it, and a saved plan that uses it is refused where it moved.
    /// `arch`, `os` and `free-disk` are read without being named; the same name replaces.
    pub facts: IndexMap<String, StepDoc>,
    /// Values that a fact must have, each a text or glob, or the host is refused while planning.
    pub requires_facts: IndexMap<String, OneOrMany<String>>,
    /// Whether the release wanted, and every minor on the way to it, must have an entry in `CHANGELOG.md` or `notes`
    /// in `releases.toml`. When left out, wherever there is a `CHANGELOG.md` beside `role.toml`.
    pub changelog: Option<bool>,
    /// Bring a host to another version.
    pub upgrade: Vec<StepDoc>,
    /// What data the product keeps, what the loss of each piece costs, and which copies of it there must be: what
    /// `longshore backups` and `longshore drill` go by.
    pub data: Vec<DataStore>,
    /// Save the host's data.
    pub backup: Vec<StepDoc>,
    /// Put saved data back. At least one step must require the receipt of the backup, by the name of the step that
    /// made it: `requires = [{ receipt = "..." }]`.
    pub restore: Vec<StepDoc>,
    /// What happens by itself on a host that fails after its data was changed, before a person is asked: stop the
    /// broken release or keep traffic off it, keep logs and a dump of the data as it is now. What these steps undo
    /// is taken back on the way on.
    pub incident: Vec<StepDoc>,
    /// Copies the data as it is now, before a restore puts other data in its place. Must leave a receipt.
    pub safety_copy: Vec<StepDoc>,
    /// How `[[restore]]` itself keeps what it replaces, in words. Either this or `[[safety-copy]]` must be there
    /// where there is a `[[restore]]`.
    pub restore_keeps: Option<String>,
    /// Take a finished upgrade back, beyond what the undos of its steps do: traffic, schema. Run before them.
    pub rollback: Vec<StepDoc>,
    /// Install the product where it is not.
    pub deploy: Vec<StepDoc>,
    /// Prove that a backup restores.
    pub drill: Vec<StepDoc>,
    /// Actions of the product's own, by name.
    pub actions: IndexMap<String, Vec<StepDoc>>,
    /// Checks that must all pass before anything changes, or the host is left as it was found.
    pub gate: Vec<RoleCheck>,
    /// Checks of the product's health: made before the change (the baseline), after it, during the soak, and by
    /// `longshore check`.
    pub check: Vec<RoleCheck>,
}

impl Role {
    /// Names of the actions every role may have.
    pub const ACTIONS: [&str; 6] = ["upgrade", "backup", "restore", "rollback", "deploy", "drill"];

    /// Returns the steps of an action; `None` when the role has none of that name.
    pub fn action(&self, name: &str) -> Option<&[StepDoc]> {
        let steps = match name {
            "upgrade" => &self.upgrade,
            "backup" => &self.backup,
            "restore" => &self.restore,
            "rollback" => &self.rollback,
            "deploy" => &self.deploy,
            "drill" => &self.drill,
            other => self.actions.get(other)?,
        };
        (!steps.is_empty()).then_some(steps)
    }

    /// Lists the actions the role has, its own last.
    pub fn action_names(&self) -> Vec<&str> {
        let own = self.actions.keys().map(String::as_str);
        Self::ACTIONS.into_iter().chain(own).filter(|name| self.action(name).is_some()).collect()
    }
}

/// A piece of a product's data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataStore {
    /// What it is called in tables: `database`, `videos`.
    pub name: String,
    /// What it is, in one line.
    #[serde(default)]
    pub about: Option<String>,
    /// What its loss costs.
    pub loss: Loss,
    /// The copies that its `backup` step leaves, and how old the newest may be. `younger-than` is `26h` when left out, and
    /// `192h` for what is `bulk`. Without it nothing is saved, which is a gap where the loss is `critical` or `bulk`.
    #[serde(default)]
    pub copy: Option<CopyCheck>,
    /// Counts only on hosts where this variable is set and not false, empty or zero; `!name` the other way round. On all
    /// when left out.
    #[serde(default)]
    pub when: Option<String>,
    /// Whether its copies can be restored as of any moment. Only for what is `critical`: nothing else is worth it.
    #[serde(default)]
    pub point_in_time: bool,
}

/// What the loss of a piece of data costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The work of people. It is saved nightly or oftener, and nothing changes it without a fresh copy.
    Critical,
    /// Much, and hardly ever changed: saved at leisure. What is late here is told, and nobody is held up.
    Bulk,
    /// It can be made or fetched again. Not saved, unless `when` asks for it.
    Cache,
    /// Work under way, which its users begin again. Not saved, unless `when` asks for it.
    Transient,
}

impl Loss {
    /// How old the newest copy may be where the document does not say.
    pub fn usual_age(self) -> Span {
        let day = 24 * 60 * 60;
        // No night is as long as the other.
        Span::seconds(if self == Self::Critical { day + 2 * 60 * 60 } else { 8 * day })
    }

    /// Whether the product cannot be rebuilt without a copy.
    pub fn is_needed(self) -> bool {
        matches!(self, Self::Critical | Self::Bulk)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Bulk => "bulk",
            Self::Cache => "cache",
            Self::Transient => "transient",
        }
    }
}

impl DataStore {
    /// The copies as a check, with the age that holds for them.
    pub fn to_check(&self) -> Option<Check> {
        let mut copy = self.copy.clone()?;
        copy.younger_than.get_or_insert(self.loss.usual_age());
        Some(Check { copy: Some(copy), ..Check::default() })
    }
}

/// A check of a role: exactly one kind of probe, with a name and how often to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoleCheck {
    /// What it proves, as tables show it.
    pub name: String,
    /// What the host's profile checks under this verb. What is said here of `retry`, `timeout` and so on holds for all of it.
    #[serde(default)]
    pub verb: Option<String>,
    /// An HTTP request, seen from the host or from the controller.
    #[serde(default)]
    pub http: Option<crate::steps::HttpCheck>,
    /// A TCP connection.
    #[serde(default)]
    pub tcp: Option<crate::steps::TcpCheck>,
    /// A command on the host.
    #[serde(default)]
    pub command: Option<crate::steps::CommandCheck>,
    /// Free space on the host.
    #[serde(default)]
    pub disk: Option<crate::steps::DiskCheck>,
    /// A login by SSH, for products that are SSH servers themselves.
    #[serde(default)]
    pub ssh: Option<crate::steps::SshCheck>,
    /// How often the product was restarted: a count that may not grow during a soak.
    #[serde(default)]
    pub restarts: Option<crate::steps::RestartsCheck>,
    /// HTTP requests in order, as a user would make them: log in, ask, wait for a job.
    #[serde(default)]
    pub scenario: Option<crate::steps::ScenarioCheck>,
    /// A proven copy of the data that must be there, and young enough.
    #[serde(default)]
    pub copy: Option<CopyCheck>,
    /// A question to a person, who answers by `--approvals`; `unverified` until then. Only for a `[[check]]` with
    /// `after-only`; no upgrade is taken back for want of an answer.
    #[serde(default)]
    pub manual: Option<crate::steps::ManualCheck>,
    /// Try again until it passes; the last verdict counts. One try when left out. The baseline is never tried again.
    #[serde(default)]
    pub retry: Option<super::step::Retry>,
    /// Make the check only where this variable is set and not false, empty or zero; `!name` the other way round.
    /// Everywhere when left out.
    #[serde(default)]
    pub when: Option<String>,
    /// Longest time of one try. `10s` when left out.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Made only after the change, and neither for the baseline nor by `longshore check`: it holds for the new
    /// version alone.
    #[serde(default)]
    pub after_only: bool,
    /// Of a gate: whether it must hold for `longshore prefetch`, too. When left out, a `disk` gate must.
    #[serde(default)]
    pub ahead: Option<bool>,
}

impl RoleCheck {
    /// Lists the kinds of probe that are there, by key. A well-formed check has exactly one.
    pub fn kinds(&self) -> Vec<&'static str> {
        let present = [
            ("verb", self.verb.is_some()),
            ("http", self.http.is_some()),
            ("tcp", self.tcp.is_some()),
            ("command", self.command.is_some()),
            ("disk", self.disk.is_some()),
            ("ssh", self.ssh.is_some()),
            ("restarts", self.restarts.is_some()),
            ("scenario", self.scenario.is_some()),
            ("copy", self.copy.is_some()),
            ("manual", self.manual.is_some()),
        ];
        present.into_iter().filter_map(|(kind, there)| there.then_some(kind)).collect()
    }

    /// Whether the gate must hold for a prefetch, too.
    pub fn is_ahead(&self) -> bool {
        self.ahead.unwrap_or(self.disk.is_some())
    }

    /// Returns what it asks of the host's profile, as a step has it.
    pub fn to_verb(&self) -> StepDoc {
        StepDoc { verb: self.verb.clone(), ..StepDoc::default() }
    }

    /// Returns the probe as the check step has it.
    pub fn to_check(&self) -> Check {
        Check {
            http: self.http.clone(),
            tcp: self.tcp.clone(),
            command: self.command.clone(),
            disk: self.disk.clone(),
            ssh: self.ssh.clone(),
            restarts: self.restarts.clone(),
            scenario: self.scenario.clone(),
            copy: self.copy.clone(),
            manual: self.manual.clone(),
        }
    }
}
