//! The way of one host to the version wanted: what is known of it, its hops, or why it may not go.

use serde_json::{Value as Json, json};

use super::Compiler;
use crate::{
    config::{ResolvedHost, RoleFolder, documents::Playbook, matches_glob},
    model::Version,
    plan::{
        Asked, Installed, Purpose, Refusal,
        path::{Atlas, Hop, NoWay},
    },
};

/// How one host gets to the version wanted.
#[derive(Debug, Default)]
pub(super) struct Journey {
    pub(super) hops: Vec<Hop>,
    /// The host may not go.
    pub(super) refused: Option<Refusal>,
    /// The version the hops begin at, where the host did not tell it: that of the others, to be proven.
    pub(super) assumed: Option<Version>,
    /// The version a person said that it has.
    pub(super) stated: Option<Version>,
}

impl Journey {
    fn refused(reason: impl Into<String>, hint: Option<String>, asked: Asked) -> Self {
        Self { refused: Some(Refusal { reason: reason.into(), causes: Vec::new(), hint, asked }), ..Self::default() }
    }

    /// Returns what templates know as `upgrade`: the whole way.
    pub(super) fn to_json(&self, installed: Option<&Version>, wanted: Option<&Version>) -> Json {
        let from = self.hops.first().map(|hop| &hop.from).or(installed);
        let mut requires_env: Vec<&String> = Vec::new();
        for name in self.hops.iter().flat_map(|hop| &hop.requires_env) {
            if !requires_env.contains(&name) {
                requires_env.push(name);
            }
        }
        let migrations: Vec<&String> = self.hops.iter().flat_map(|hop| &hop.migrations).collect();
        let hops: Vec<&Version> = self.hops.iter().map(|hop| &hop.to).collect();
        json!({ "from": from, "to": wanted, "hops": hops, "requires-env": requires_env, "migrations": migrations })
    }
}

impl Compiler<'_> {
    /// Whether the playbook brings hosts to another release by the product's own rules.
    ///
    /// A rollback, a backup or an action of the product's own that names a version follows none of them.
    pub(super) fn has_path(&self, playbook: &Playbook) -> bool {
        let is_upgrade = playbook.action.as_deref() == Some("upgrade") || playbook.allow_major;
        self.order.purpose == Purpose::Apply && playbook.role.is_some() && is_upgrade
    }

    /// Finds the way of one host. `usual` is the version that most others have.
    pub(super) fn journey(
        &self,
        host: &ResolvedHost,
        folder: &RoleFolder,
        playbook: &Playbook,
        wanted: &Version,
        usual: Option<&Version>,
    ) -> Journey {
        let unasked = Installed::NotAsked;
        let reading = self.order.read.get(&host.name);
        let installed = reading.map_or(&unasked, |reading| &reading.installed);
        let stated = self.order.from.get(&host.name);
        let is_listed = folder.releases.as_ref().is_some_and(|releases| !releases.release.is_empty());
        let name = &host.name;
        let state_it = format!("find out which release it has, and say `--from {name}=VERSION`");

        if let Some(refused) = self.lacking_fact(host, folder) {
            return Journey { refused: Some(refused), ..Journey::default() };
        }
        let mut journey = Journey::default();
        let from = match (installed, stated) {
            (Installed::Known(version), Some(stated)) if version != stated && version.semver().is_some() => {
                let reason = format!("{version} is installed, not {stated} as `--from` says");
                return Journey::refused(reason, Some("leave out `--from` for this host".to_owned()), Asked::Yes);
            }
            (_, Some(stated)) => {
                journey.stated = Some(stated.clone());
                stated
            }
            (Installed::Known(version), None) => version,
            (Installed::Disagree(said), None) => {
                let reason = format!("its sources do not agree on the version: {}", said.join(", "));
                return Journey::refused(reason, Some(state_it), Asked::Yes);
            }
            // Without a list of releases there is no path to take, and the steps look for themselves.
            (_, None) if !is_listed => return journey,
            (Installed::Unknown, None) => {
                let mut journey = Journey::refused("the installed version is unknown", Some(state_it), Asked::Yes);
                if let (Some(refused), Some(reading)) = (&mut journey.refused, reading) {
                    refused.causes.clone_from(&reading.silent);
                }
                return journey;
            }
            (Installed::Unreached(_), None) => {
                if let Some(usual) = usual.filter(|_| folder.role.requires_facts.is_empty()) {
                    journey.assumed = Some(usual.clone());
                    usual
                } else {
                    let reason = "it could not be asked for its version, so its path is not known";
                    let hint = "make a plan for it once it can be reached".to_owned();
                    return Journey::refused(reason, Some(hint), Asked::Unreached);
                }
            }
            (Installed::NotAsked, None) if reading.is_some() => {
                let reason = "nothing says which version it has";
                let hint = format!("write `[version]` into the role, or say `--from {name}=VERSION`");
                return Journey::refused(reason, Some(hint), Asked::Yes);
            }
            (Installed::NotAsked, None) => {
                let reason = "the plan was made without asking for its version, so its path is not known";
                let hint = "make the plan without `--offline`, or say `--from HOST=VERSION`".to_owned();
                return Journey::refused(reason, Some(hint), Asked::Offline);
            }
        };
        let atlas = Atlas {
            releases: folder.releases.as_ref(),
            changelog: folder.changelog.as_ref(),
            needs_notes: is_listed && folder.role.changelog.unwrap_or(folder.changelog.is_some()),
            direct: playbook.direct || self.order.direct,
            allow_major: playbook.allow_major,
        };
        let allows = |tag: &Version| host.allow_tags.iter().any(|glob| matches_glob(glob, tag.as_str()));
        match atlas.way(from, wanted, &allows) {
            Ok(hops) => Journey { hops, ..journey },
            Err(no_way) => {
                let mut journey = Journey::refused(no_way.to_string(), no_way.hint(), Asked::Yes);
                if let (Some(refused), NoWay::BlockedStop { version, .. }) = (&mut journey.refused, &no_way) {
                    let says = folder.blocked_at(version);
                    refused.causes.extend(says.map(|place| format!("`{}` blocks it", place.file_and_line())));
                }
                journey
            }
        }
    }

    /// Says which fact the role wants of its hosts and this one does not have.
    fn lacking_fact(&self, host: &ResolvedHost, folder: &RoleFolder) -> Option<Refusal> {
        let reading = self.order.read.get(&host.name)?;
        if matches!(reading.installed, Installed::NotAsked | Installed::Unreached(_)) {
            return None;
        }
        folder.role.requires_facts.iter().find_map(|(name, wanted)| {
            let found = reading.facts.get(name);
            let fits = found.is_some_and(|found| wanted.0.iter().any(|glob| matches_glob(glob, found)));
            (!fits).then(|| {
                let found = found.map_or_else(|| "unknown".to_owned(), |found| format!("`{found}`"));
                let wanted = wanted.0.join("`, `");
                Refusal {
                    causes: Vec::new(),
                    reason: format!("the fact `{name}` is {found}, and the role wants `{wanted}`"),
                    hint: Some("`requires-facts` of the role says what it runs on".to_owned()),
                    asked: Asked::Yes,
                }
            })
        })
    }
}
