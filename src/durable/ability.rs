//! Whether a host can keep steps safe from faults, and how.

use serde::{Deserialize, Serialize};

use super::{
    DurableError, HostSide,
    wire::{Answer, Script},
};

const PROBE: &str = include_str!("probe.sh");

/// Where a segment runs, so that the end of the login session does not end it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// A session of its own is enough.
    #[default]
    None,
    /// In a scope of the user's systemd.
    User,
    /// In a scope of the system's systemd.
    System,
}

impl Scope {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAbility {
    pub scope: Scope,
    pub file_system: String,
    pub free_kib: u64,
}

impl HostSide {
    /// Finds out whether the host can keep steps safe from faults. [`DurableError::NotDurable`] names what is
    /// missing: on such a host only `read` and repeat-safe steps may run, attached.
    pub async fn probe(&self) -> Result<HostAbility, DurableError> {
        let script = self.probing(self.script()).call("say", &["end"]);
        let answers = self.ask("probe", script).await?;
        read_ability(&answers)
    }

    /// Adds the probe to a script; afterwards `ABLE` says how it went.
    pub(super) fn probing(&self, script: Script) -> Script {
        let any = if self.any_disk { "yes" } else { "no" };
        script.set("ANY_DISK", any).add(PROBE).call("probe", &[])
    }
}

/// Reads the verdict of the probe.
pub(super) fn read_ability(answers: &[Answer]) -> Result<HostAbility, DurableError> {
    let Some(answer) = answers.iter().find(|answer| answer.verb == "durable") else {
        return Err(DurableError::Host { question: "probe", reason: "it gave no verdict".to_owned() });
    };
    if answer.word(0) != "yes" {
        return Err(DurableError::NotDurable { reason: answer.words.get(1..).unwrap_or_default().join(" ") });
    }
    let scope = match answer.word(1) {
        "system" => Scope::System,
        "user" => Scope::User,
        _ => Scope::None,
    };
    Ok(HostAbility { scope, file_system: answer.word(2).to_owned(), free_kib: answer.number(3).unwrap_or_default() })
}
