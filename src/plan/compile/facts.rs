//! How the version and the facts of a host are read, and which facts its plan relies on.

use std::{collections::BTreeSet, path::Path};

use indexmap::IndexMap;

use super::{Compiler, host::HostScope};
use crate::{
    config::{RoleFolder, builtin_facts, documents::StepDoc},
    plan::PlannedFact,
    steps::Action,
};

/// A fact that moves by itself: no plan is wrong because of it.
const RESTLESS: [&str; 1] = ["free-disk"];

impl Compiler<'_> {
    /// Resolves the sources of the installed version: the role's, or else those of the profile.
    pub(super) fn version_sources(&mut self, scope: &HostScope<'_>, folder: Option<&RoleFolder>) -> Vec<Action> {
        let profile_base = self.project.profile_dir();
        let of_role =
            folder.and_then(|folder| Some((folder.role.version.as_ref()?.0.as_slice(), folder.dir.as_path())));
        let of_profile = || Some((scope.host.verbs.get("version")?.as_slice(), profile_base.as_path()));
        let Some((docs, base)) = of_role.or_else(of_profile) else { return Vec::new() };
        let mut steps = Vec::new();
        for doc in docs {
            self.step(scope, doc, base, &mut steps);
        }
        steps.into_iter().map(|step| step.action).collect()
    }

    /// Resolves the facts of a host: the built-in ones, those of its profile, those of the role. The last wins.
    pub(super) fn facts(
        &mut self,
        scope: &HostScope<'_>,
        folder: Option<&RoleFolder>,
    ) -> IndexMap<String, PlannedFact> {
        let none = IndexMap::new();
        let profile_base = self.project.profile_dir();
        // What another machine says of itself is no fact of the host.
        let built_in = if scope.host.via.is_none() { builtin_facts() } else { &none };
        let of_role = folder.map_or((&none, Path::new("")), |folder| (&folder.role.facts, folder.dir.as_path()));
        let layers = [(built_in, Path::new("")), (&scope.host.facts, profile_base.as_path()), of_role];
        let mut facts = IndexMap::new();
        for (docs, base) in layers {
            for (name, doc) in docs {
                let mut steps = Vec::new();
                self.step(scope, &at_the_install(name, doc, scope), base, &mut steps);
                let how = steps.pop().map(|step| step.action);
                facts.insert(name.clone(), PlannedFact { how, ..PlannedFact::default() });
            }
        }
        facts
    }

    /// Notes the facts that a template or a condition names.
    pub(super) fn note_facts(&mut self, text: &str) {
        for (at, _) in text.match_indices("facts.") {
            let name: String = text[at + "facts.".len()..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
                .collect();
            self.facts_used.insert(name);
        }
    }
}

/// Puts in what the host told, and keeps of the rest only what an `apply` has to ask again.
pub(super) fn settle(
    facts: &mut IndexMap<String, PlannedFact>,
    read: &std::collections::BTreeMap<String, String>,
    used: &BTreeSet<String>,
) {
    // What moves by itself would make every plan another one.
    facts.retain(|name, _| !RESTLESS.contains(&name.as_str()));
    for (name, value) in read.iter().filter(|(name, _)| !RESTLESS.contains(&name.as_str())) {
        facts.entry(name.clone()).or_default().value = Some(value.clone());
    }
    for (name, fact) in facts.iter_mut() {
        fact.relied_on = used.contains(name);
        if !fact.relied_on {
            fact.how = None;
        }
    }
    facts.retain(|_, fact| fact.relied_on || fact.value.is_some());
    // Mostly none is left: with many hosts, the room for them is what a plan takes most memory for.
    facts.shrink_to_fit();
}

/// The free disk space that counts is that of the install, where its place is known.
fn at_the_install(name: &str, doc: &StepDoc, scope: &HostScope<'_>) -> StepDoc {
    let mut doc = doc.clone();
    if name == "free-disk"
        && let Some(command) = doc.command.as_mut().filter(|command| command.dir.is_none())
        && let Some(path) = scope.vars.scope.get("path").and_then(serde_json::Value::as_str)
        && path.starts_with(['/', '~'])
    {
        command.dir = Some(path.to_owned());
    }
    doc
}
