//! A role and its releases.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{
    Findings, releases,
    steps::{Data, Setting, Steps},
    vars,
};
use crate::{
    config::{
        Diagnostic, Project, RoleFolder,
        documents::{OneOrMany, Role},
        resolve::Variables,
        source::{KeyPath, Source},
        suggest,
        template::Scope,
    },
    model::Effect,
};

/// Judges a role by itself. Whether hosts have what it needs is asked for each playbook.
pub fn role(project: &Project, folder: &RoleFolder, found: &mut Vec<Diagnostic>) {
    let mut found = Findings(found);
    if let (Some(releases), Some(source)) = (&folder.releases, &folder.releases_source) {
        releases::releases(releases, source, &mut found);
        if let Some(changelog) = &folder.changelog {
            releases::against_changelog(releases, changelog, source, &mut found);
        }
    }
    if folder.is_unknown {
        return;
    }
    let role = &folder.role;
    let source = &folder.source;
    let root = KeyPath::root();
    vars::variables(source, &root.key("vars"), &role.vars, &mut found);
    vars::required(source, &root.key("requires"), &role.requires, &mut found);
    for name in role.requires.keys().filter(|name| role.vars.contains_key(*name)) {
        let message = format!("`{name}` has a value here, and so no host must set it");
        let hint = "keep it in `[vars]` or in `[requires]`".to_owned();
        found.error(source.key_place(&root.key("requires").key(name)), message, Some(hint));
    }
    for name in role.actions.keys().filter(|name| Role::ACTIONS.contains(&name.as_str())) {
        let message = format!("`{name}` is an action every role may have");
        let hint = format!("write its steps as `[[{name}]]`");
        found.error(source.key_place(&root.key("actions").key(name)), message, Some(hint));
    }

    let scope = widest_scope(project, Some(role), &[]);
    let setting = Setting { source, dir: &folder.dir, scope: &scope, is_verb: false };
    let mut steps = Steps { setting, found: &mut found };
    if let Some(OneOrMany(version)) = &role.version {
        steps.list(&root.key("version"), version);
    }
    for (name, fact) in &role.facts {
        steps.fact(&root.key("facts").key(name), name, fact);
    }
    let known: Vec<&str> =
        scope["facts"].as_object().map_or_else(Vec::new, |facts| facts.keys().map(String::as_str).collect());
    for name in role.requires_facts.keys().filter(|name| !known.contains(&name.as_str())) {
        let message = format!("there is no fact `{}`", name.escape_debug());
        let place = source.key_place(&root.key("requires-facts").key(name));
        steps.found.error(place, message, suggest::hint(name, known.iter().copied()));
    }
    for (key, reading) in [("migration", &role.migration), ("newest", &role.newest)] {
        if let Some(reading) = reading {
            steps.one(&root.key(key), reading);
        }
    }
    // What puts data back relies on what an upgrade left.
    let left: Vec<&str> = role.upgrade.iter().filter_map(|step| step.name.as_deref()).collect();
    let copied: Vec<&str> =
        left.iter().copied().chain(role.safety_copy.iter().filter_map(|step| step.name.as_deref())).collect();
    for name in Role::ACTIONS {
        let Some(list) = role.action(name) else { continue };
        match name {
            "restore" => steps.list_after(&root.key(name), list, &copied, Data::Free),
            "rollback" => steps.list_after(&root.key(name), list, &left, Data::Free),
            _ => steps.list(&root.key(name), list),
        }
    }
    steps.list_after(&root.key("incident"), &role.incident, &left, Data::Free);
    steps.list_after(&root.key("safety-copy"), &role.safety_copy, &left, Data::Free);
    by_itself(role, source, steps.found);
    restorable(role, source, steps.found);
    for (name, list) in &role.actions {
        steps.list(&root.key("actions").key(name), list);
    }
    steps.data(&root.key("data"), &role.data);
    steps.checks(&root.key("gate"), &role.gate);
    steps.checks(&root.key("check"), &role.check);
    steps.never_ahead(&root.key("check"), &role.check);
}

/// What happens by itself is nothing that a person would have to approve.
fn by_itself(role: &Role, source: &Source, found: &mut Findings<'_>) {
    for (key, list) in [("incident", &role.incident), ("safety-copy", &role.safety_copy)] {
        for (index, step) in list.iter().enumerate() {
            if step.effect == Some(Effect::Irreversible) {
                let at = KeyPath::root().key(key).index(index).key("effect");
                let message = format!("`{key}` happens by itself, so none of it may be irreversible");
                let hint = "what cannot be taken back belongs to `[[upgrade]]`, where a person approves it".to_owned();
                found.error(source.key_place(&at), message, Some(hint));
            }
        }
    }
}

/// A restore puts back what a run itself saved, and destroys no only copy.
fn restorable(role: &Role, source: &Source, found: &mut Findings<'_>) {
    let root = KeyPath::root();
    if role.restore.is_empty() {
        for (key, there) in
            [("safety-copy", !role.safety_copy.is_empty()), ("restore-keeps", role.restore_keeps.is_some())]
        {
            if there {
                let message = format!("`{key}` is for a `[[restore]]`, and there is none");
                found.error(source.key_place(&root.key(key)), message, None);
            }
        }
        return;
    }
    let at = root.key("restore").index(0);
    if role.restore.iter().all(|step| step.requires.is_empty()) && !role.upgrade.is_empty() {
        let message = "the restore does not say which backup it puts back";
        let hint =
            "say `requires = [{ receipt = \"...\" }]` with the name of the upgrade's step that makes it".to_owned();
        found.error(source.place(&at), message, Some(hint));
    }
    let itself = role.restore.iter().any(|step| step.restore.is_some());
    if role.safety_copy.is_empty() && role.restore_keeps.is_none() && !itself {
        let message = "a restore must not destroy the only copy of the data it replaces";
        let hint = "add `[[safety-copy]]` steps that leave a receipt, or say in `restore-keeps` how the restore itself \
                    keeps the old data";
        found.error(source.place(&at), message, Some(hint.to_owned()));
    }
}

/// Returns every name that a template could use on some host: what any level of any document declares.
///
/// A name that is not even here is a slip, whichever host it is for.
pub(super) fn widest_scope(project: &Project, role: Option<&Role>, more: &[String]) -> Scope {
    let mut names: Vec<&String> = Vec::new();
    let inventory = &project.inventory;
    names.extend(inventory.defaults.vars.keys());
    names.extend(inventory.groups.values().flat_map(|group| group.settings.vars.keys()));
    names.extend(inventory.hosts.values().flat_map(|host| host.vars.keys()));
    // A profile is judged against the roles it may meet, a role against the profiles of the inventory.
    match role {
        Some(role) => {
            names.extend(role.vars.keys().chain(role.requires.keys()));
            let used = inventory.hosts.keys().map(|host| project.profile_of(host));
            let flat: Vec<_> = used.filter_map(|profile| project.flat_profiles.get(&profile)).collect();
            names.extend(flat.iter().flat_map(|flat| flat.vars.keys().chain(flat.requires.keys())));
        }
        None => names.extend(
            project.roles.values().flat_map(|folder| folder.role.vars.keys().chain(folder.role.requires.keys())),
        ),
    }
    let mut scope: Scope = names.into_iter().chain(more).map(|name| (name.clone(), Json::Null)).collect();
    Variables::add_built_in(&mut scope);
    // Where profiles have snippets of one name, those of hosts count: their variables are declared, too.
    let used: BTreeSet<_> = inventory.hosts.keys().map(|host| project.profile_of(host)).collect();
    let (of_hosts, others): (Vec<_>, Vec<_>) =
        project.flat_profiles.iter().partition(|(profile, _)| used.contains(*profile));
    for (_, flat) in others.into_iter().chain(of_hosts) {
        Variables::add_snippets(&mut scope, &flat.snippets);
    }
    let of_roles = project.roles.values().map(|folder| &folder.role).filter(|one| role.is_none_or(|role| role == *one));
    let of_profiles = project.flat_profiles.values().flat_map(|flat| flat.facts.keys());
    if let Some(Json::Object(facts)) = scope.get_mut("facts") {
        facts.extend(
            of_roles.flat_map(|role| role.facts.keys()).chain(of_profiles).map(|name| (name.clone(), Json::Null)),
        );
    }
    scope
}
