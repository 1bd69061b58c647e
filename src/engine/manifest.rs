//! What a host keeps of the plan it is part of: enough for a controller without a ledger to go on.
//!
//! Its own part, and the rules of the rollout; nothing of any other host. How the host is reached and where its
//! secrets come from are left out: those are never taken from a host's word.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Means;
use crate::{
    model::{HostName, SECRET_MARK, Version},
    plan::{HostPlan, Plan, Reading},
};

/// Version of the manifest.
const FORMAT: u32 = 1;

/// A host's part that is longer than this is not kept: the documents must then say it again.
const MOST_KEPT: usize = 64 * 1024;

/// What of a host's part never comes from the host.
const NEVER_KEPT: [&str; 2] = ["target", "secrets"];

/// What a host keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    format: u32,
    /// What the inventory called the host.
    pub host: HostName,
    /// How many hosts the plan was for.
    pub hosts: usize,
    /// Index of the host's wave.
    pub wave: usize,
    /// What the host told while the plan was made.
    #[serde(default)]
    pub read: Reading,
    /// The version that a person said it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<Version>,
    /// The plan as the host may know it.
    pub plan: Plan,
    /// `sha256:` of the host's part.
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<Value>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("what the host kept of the plan cannot be read")]
    Json(#[from] serde_json::Error),
    #[error("what the host kept of the plan is of format {0}, this longshore reads {FORMAT}")]
    Format(u32),
    #[error("what the host kept of the plan was too long to be kept whole")]
    TooLong,
    #[error("what the host kept of the plan was changed: its digest does not fit")]
    Changed,
}

impl Manifest {
    /// Takes one host's part out of a plan.
    pub fn of(plan: &Plan, host: &HostName, wave: usize) -> Self {
        let of = &plan.hosts[host];
        let part = part_of(of);
        let text = part.to_string();
        Self {
            format: FORMAT,
            host: host.clone(),
            hosts: plan.hosts.len(),
            wave,
            read: of.reading(),
            stated: of.stated.clone(),
            plan: plan.seen_from(host, wave),
            digest: digest_of(&text),
            part: (text.len() <= MOST_KEPT).then_some(part),
        }
    }

    /// Two lines: one for a person who looks at the file, one to be read back.
    pub(super) fn to_text(&self, means: &Means) -> String {
        let json = serde_json::to_string(self).expect("a manifest is plain data");
        // The shell would put a variable in a placeholder's place: the host must keep what was said of it.
        let json = json.replace(SECRET_MARK, &format!("\\u{:04x}", u32::from(SECRET_MARK)));
        format!("{} {}\n{json}", means.run, means.owner)
    }

    /// Reads the second line back.
    pub fn read(line: &str) -> Result<Self, ManifestError> {
        let value: Value = serde_json::from_str(line)?;
        let format = value["format"].as_u64().and_then(|format| u32::try_from(format).ok()).unwrap_or(0);
        if format != FORMAT {
            return Err(ManifestError::Format(format));
        }
        Ok(serde_json::from_value(value)?)
    }

    /// Whether the host was to do just what `of` says.
    pub fn fits(&self, of: &HostPlan) -> bool {
        self.digest == digest_of(&part_of(of).to_string())
    }

    /// Returns the host's part by its own word, reached as `now` says and with the secrets that `now` names.
    pub fn part(&self, now: &HostPlan) -> Result<HostPlan, ManifestError> {
        let mut part = self.part.clone().ok_or(ManifestError::TooLong)?;
        if digest_of(&part.to_string()) != self.digest {
            return Err(ManifestError::Changed);
        }
        let now = serde_json::to_value(now)?;
        for name in NEVER_KEPT {
            part[name] = now[name].clone();
        }
        Ok(serde_json::from_value(part)?)
    }
}

fn part_of(of: &HostPlan) -> Value {
    let mut part = serde_json::to_value(of).expect("a plan is plain data");
    if let Some(fields) = part.as_object_mut() {
        fields.retain(|name, _| !NEVER_KEPT.contains(&name.as_str()));
    }
    part
}

fn digest_of(text: &str) -> String {
    Sha256::digest(text).iter().fold("sha256:".to_owned(), |digest, byte| digest + &format!("{byte:02x}"))
}
