//! A playbook against the inventory and the role: whether every host it takes has all it needs.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::{
    Findings,
    role::widest_scope,
    rollout,
    steps::{self, Missing, Setting, Steps},
    vars,
};
use crate::{
    config::{
        Diagnostic, Place, Project, RoleFolder,
        documents::{OneOrMany, Playbook, Role, RoleCheck, StepDoc},
        resolve::{ResolvedHost, Variables},
        source::{KeyPath, Source},
        suggest, template,
        template::Scope,
    },
    model::HostName,
};

/// Judges a playbook.
pub fn playbook(project: &Project, playbook: &Playbook, source: &Source, dir: &Path, found: &mut Vec<Diagnostic>) {
    let mut found = Findings(found);
    let root = KeyPath::root();
    vars::variables(source, &root.key("vars"), &playbook.vars, &mut found);

    let selected = match project.select(&playbook.hosts) {
        Ok(hosts) => hosts,
        Err(error) => {
            let at = root.key("hosts");
            let place = match error.range() {
                Some(range) => source.inner_place(&at, &range),
                None => source.place(&at),
            };
            found.error(place, error.to_string(), error.hint());
            Vec::new()
        }
    };
    rollout::rollout(project, playbook, source, &selected, &mut found);
    let folder = role(project, playbook, source, &mut found);

    let mut scope = widest_scope(project, folder.map(|folder| &folder.role), &[]);
    scope.extend(playbook.vars.keys().map(|name| (name.clone(), Json::Null)));
    let setting = Setting { source, dir, scope: &scope, is_verb: false };
    let mut check = Steps { setting, found: &mut found };
    check.list(&root.key("steps"), &playbook.steps);
    check.checks(&root.key("gate"), &playbook.gate);
    check.checks(&root.key("check"), &playbook.check);
    check.never_ahead(&root.key("check"), &playbook.check);

    let play = Play { project, playbook, source, dir, folder, widest: &scope };
    let mut gaps = Gaps::default();
    for kin in play.alike(&selected) {
        play.judge(&kin, &mut gaps);
    }
    gaps.tell(&mut found);
}

/// What hosts lack. The same thing is told once, for all the hosts that lack it.
#[derive(Default)]
struct Gaps(IndexMap<String, Gap>);

struct Gap {
    place: Place,
    before: String,
    after: String,
    hint: String,
    hosts: Vec<HostName>,
}

impl Gaps {
    /// Notes a gap; its message is `before`, the hosts, and `after`.
    fn add(&mut self, kin: &Alike, place: Place, before: String, after: String, hint: impl FnOnce() -> String) {
        let key = format!("{before}\n{after}");
        let gap = self.0.entry(key).or_insert_with(|| Gap { place, before, after, hint: hint(), hosts: Vec::new() });
        for host in &kin.hosts {
            if !gap.hosts.contains(host) {
                gap.hosts.push(host.clone());
            }
        }
    }

    fn tell(self, found: &mut Findings<'_>) {
        for Gap { place, before, after, hint, hosts } in self.0.into_values() {
            found.error(place, format!("{before}{}{after}", super::hosts(&hosts)), Some(hint));
        }
    }
}

/// Finds the role, and tells what is wrong with `role`, `action`, `steps` and `to`.
fn role<'a>(
    project: &'a Project,
    playbook: &Playbook,
    source: &Source,
    found: &mut Findings<'_>,
) -> Option<&'a RoleFolder> {
    let root = KeyPath::root();
    if playbook.role.is_none() {
        if playbook.action.is_some() {
            let message = "`action` is one of a role, and the playbook names no role";
            found.error(source.key_place(&root.key("action")), message, Some("add `role = \"...\"`".to_owned()));
        } else if playbook.steps.is_empty() && playbook.check.is_empty() && !source.is_damaged(&root) {
            let hint = "add `role` and `action`, or `[[steps]]`, or `[[check]]`".to_owned();
            let place = source.key_place(&root.key("hosts"));
            found.error(place, "the playbook does not say what to do", Some(hint));
        }
    } else if !playbook.steps.is_empty() && playbook.action.is_some() {
        let message = "a playbook has an `action` of a role or `steps` of its own, not both";
        found.error(source.key_place(&root.key("steps")), message, Some("take one of them out".to_owned()));
    }

    let name = playbook.role.as_ref()?;
    let Some(folder) = project.roles.get(name) else {
        let message = format!("there is no role `{}`", name.escape_debug());
        let mut hint = suggest::hint(name, project.roles.keys().map(String::as_str));
        if project.roles.is_empty() {
            hint = Some(format!("a role is a folder with a `role.toml`: `roles/{}/role.toml`", name.escape_debug()));
        }
        found.error(source.place(&root.key("role")), message, hint);
        return None;
    };
    if folder.is_unknown {
        return Some(folder);
    }
    match &playbook.action {
        Some(action) if folder.role.action(action).is_none() && !folder.source.is_damaged(&KeyPath::root()) => {
            let message = format!("the role `{name}` has no action `{}`", action.escape_debug());
            let hint = suggest::hint(action, folder.role.action_names());
            found.error(source.place(&root.key("action")), message, hint);
        }
        None if playbook.steps.is_empty() && playbook.check.is_empty() && folder.role.check.is_empty() => {
            let names = folder.role.action_names();
            let hint = format!("the role has {}", suggest::list(&names));
            let message = "the playbook does not say which action of the role";
            found.error(source.place(&root.key("role")), message, Some(hint));
        }
        _ => {}
    }
    if playbook.allow_major && playbook.action.as_deref().is_none_or(|action| Role::ACTIONS.contains(&action)) {
        let message = "a major release is a project of its own: `allow-major` needs an action made for it";
        let hint = "write its steps as `[[actions.NAME]]` in the role, and `action = \"NAME\"` here".to_owned();
        found.error(source.key_place(&root.key("allow-major")), message, Some(hint));
    }
    if let (Some(wanted), Some(releases)) = (&playbook.to, &folder.releases) {
        let at = root.key("to");
        match releases.get(wanted) {
            // A tag that is no release is for the hosts to allow.
            None if !releases.release.is_empty() && wanted.semver().is_some() => {
                let versions = releases.release.iter().map(|release| release.version.as_str());
                let message = format!("`releases.toml` of the role `{name}` has no release `{wanted}`");
                found.error(source.place(&at), message, suggest::hint(wanted.as_str(), versions));
            }
            Some(release) => {
                if let Some(reason) = &release.blocked {
                    let message = format!("the release `{wanted}` is never to be installed: {reason}");
                    let says = folder.blocked_at(wanted).map(|place| place.file_and_line()).unwrap_or_default();
                    let hint = format!("choose another release; `{says}` blocks this one");
                    found.error(source.place(&at), message, Some(hint));
                }
            }
            None => {}
        }
    }
    Some(folder)
}

/// One playbook with everything it is judged against.
struct Play<'a> {
    project: &'a Project,
    playbook: &'a Playbook,
    source: &'a Source,
    dir: &'a Path,
    folder: Option<&'a RoleFolder>,
    /// The names that some host declares: whatever is not there was told before.
    widest: &'a Scope,
}

/// Hosts that declare the same names and have the same profile: judged once for all of them.
struct Alike {
    hosts: Vec<HostName>,
    first: ResolvedHost,
    scope: Scope,
}

impl Play<'_> {
    fn alike(&self, selected: &[HostName]) -> Vec<Alike> {
        let mut kinds: IndexMap<String, Alike> = IndexMap::new();
        for name in selected {
            let host = self.project.resolve_host(name);
            let role = self.folder.map(|folder| &folder.role.vars);
            let mut vars = Variables::of(&host, role, Some(&self.playbook.vars));
            vars.declare_facts(self.folder.into_iter().flat_map(|folder| folder.role.facts.keys()));
            let scope = shape(&vars.scope);
            let key = format!("{} {}", host.profile, Json::Object(scope.clone()));
            kinds
                .entry(key)
                .or_insert_with(|| Alike { hosts: Vec::new(), first: host, scope })
                .hosts
                .push(name.clone());
        }
        kinds.into_values().collect()
    }

    fn judge(&self, kin: &Alike, gaps: &mut Gaps) {
        let root = KeyPath::root();
        let mut reported: Vec<String> = Vec::new();
        if let Some(folder) = self.folder.filter(|folder| !folder.is_unknown) {
            let places = folder.role.requires.iter().map(|(name, what)| (name, what, "role", folder.name.as_str()));
            self.required(kin, places, &mut reported, gaps);
        }
        let profile = kin.first.profile.as_str();
        let places = kin.first.requires.iter().map(|(name, what)| (name, what, "profile", profile));
        if self.uses_verbs() {
            self.required(kin, places, &mut reported, gaps);
        }

        let mut missing = steps::missing(self.source, self.dir, &root.key("steps"), &self.playbook.steps, &kin.scope);
        for (key, checks) in [("gate", &self.playbook.gate), ("check", &self.playbook.check)] {
            missing.extend(steps::missing_in_checks(self.source, self.dir, &root.key(key), checks, &kin.scope));
            let verbs: Vec<_> = checks.iter().map(RoleCheck::to_verb).collect();
            self.verbs(kin, self.source, &root.key(key), &verbs, gaps);
        }
        self.verbs(kin, self.source, &root.key("steps"), &self.playbook.steps, gaps);
        if let Some(folder) = self.folder {
            let (source, dir, role) = (&folder.source, folder.dir.as_path(), &folder.role);
            if let Some(action) = &self.playbook.action
                && let Some(list) = role.action(action)
            {
                let is_common = Role::ACTIONS.contains(&action.as_str());
                let at = if is_common { root.key(action) } else { root.key("actions").key(action) };
                missing.extend(steps::missing(source, dir, &at, list, &kin.scope));
                self.verbs(kin, source, &at, list, gaps);
            }
            if let Some(OneOrMany(version)) = &role.version {
                missing.extend(steps::missing(source, dir, &root.key("version"), version, &kin.scope));
                self.verbs(kin, source, &root.key("version"), version, gaps);
            }
            for (name, fact) in &role.facts {
                let (at, fact) = (root.key("facts").key(name), std::slice::from_ref(fact));
                missing.extend(steps::missing(source, dir, &at, fact, &kin.scope));
                self.verbs(kin, source, &at, fact, gaps);
            }
            for (key, checks) in [("gate", &role.gate), ("check", &role.check)] {
                missing.extend(steps::missing_in_checks(source, dir, &root.key(key), checks, &kin.scope));
                let verbs: Vec<_> = checks.iter().map(RoleCheck::to_verb).collect();
                self.verbs(kin, source, &root.key(key), &verbs, gaps);
            }
        }
        for Missing { name, place } in missing {
            self.undeclared(kin, &name, place, &mut reported, gaps);
        }
    }

    /// Notes a name that these hosts do not declare, though others may.
    fn undeclared(&self, kin: &Alike, name: &str, place: Place, reported: &mut Vec<String>, gaps: &mut Gaps) {
        let first = name.split('.').next().unwrap_or(name);
        let declared = self.widest.get(first);
        // What no host declares was told where it stands.
        if reported.iter().any(|told| told == first) || !declared.is_some_and(|value| name == first || value.is_null())
        {
            return;
        }
        reported.push(first.to_owned());
        gaps.add(kin, place, format!("the variable `{name}` is not declared for "), String::new(), || {
            if name == first {
                "give it a default in the role's `[vars]`, or set it for these hosts in the inventory".to_owned()
            } else {
                format!("`{first}` of these hosts has no such part")
            }
        });
    }

    /// Notes the variables that a role or profile wants from its hosts and these do not have.
    fn required<'a>(
        &self,
        kin: &Alike,
        wanted: impl Iterator<Item = (&'a String, &'a String, &'a str, &'a str)>,
        reported: &mut Vec<String>,
        gaps: &mut Gaps,
    ) {
        for (name, what, kind, owner) in wanted {
            if kin.scope.contains_key(name) || reported.contains(name) {
                continue;
            }
            reported.push(name.clone());
            let Some(source) = self.project.host_source(&kin.first.name) else { continue };
            let place = source.key_place(&KeyPath::root().key("hosts").key(kin.first.name.as_str()));
            let before = format!("the {kind} `{owner}` wants the variable `{name}` from ");
            gaps.add(kin, place, before, String::new(), || format!("set `vars.{name}`: {what}"));
        }
    }

    fn uses_verbs(&self) -> bool {
        let own = self.playbook.steps.iter().any(|step| step.verb.is_some());
        let action = self.playbook.action.as_deref();
        let of_role = self.folder.is_some_and(|folder| {
            let steps = action.and_then(|action| folder.role.action(action)).unwrap_or_default();
            steps
                .iter()
                .chain(folder.role.version.iter().flat_map(|version| &version.0))
                .any(|step| step.verb.is_some())
        });
        own || of_role
    }

    /// Notes verbs that the profile of these hosts does not have.
    fn verbs(&self, kin: &Alike, source: &Source, path: &KeyPath, steps: &[StepDoc], gaps: &mut Gaps) {
        for (index, step) in steps.iter().enumerate() {
            let inner = path.index(index);
            let at = if source.has(&inner) { inner } else { path.clone() };
            if let Some(undo) = &step.undo {
                self.verbs(kin, source, &at.key("undo"), &undo.0, gaps);
            }
            let Some(verb) = &step.verb else { continue };
            let Some(of_verb) = kin.first.verbs.get(verb) else {
                // An unknown profile was told with the inventory. Whether a step with `when` is for these hosts depends
                // on values: the plan tells.
                if !self.project.profiles.contains_key(&kin.first.profile) || step.when.is_some() {
                    continue;
                }
                let before = format!("the profile `{}` of ", kin.first.profile);
                let after = format!(" has no verb `{}`", verb.escape_debug());
                gaps.add(kin, source.place(&at.key("verb")), before, after, || {
                    let verbs: Vec<&str> = kin.first.verbs.keys().map(String::as_str).collect();
                    let own = format!("add `[profiles.{}.verbs.{verb}]` to the inventory", kin.first.profile);
                    suggest::hint(verb, verbs.iter().copied()).unwrap_or(own)
                });
                continue;
            };
            let is_safe = step.is_repeat_safe() || of_verb.iter().all(StepDoc::is_repeat_safe);
            if step.retry.is_some() && !is_safe {
                let before = format!("the verb `{verb}` may not be tried again on ");
                let place = source.key_place(&at.key("retry"));
                gaps.add(kin, place, before, ": running it twice may do harm".to_owned(), || {
                    "if it does no more when it runs twice, say `repeat-safe = true`".to_owned()
                });
            }
        }
    }
}

/// Keeps of a scope what can be judged without values: the names, and which are lists or tables.
fn shape(scope: &Scope) -> Scope {
    fn of(value: &Json) -> Json {
        match value {
            Json::Array(_) => Json::Array(Vec::new()),
            Json::Object(table) => Json::Object(shape(table)),
            _ => Json::Null,
        }
    }
    let kept = |name: &String, value: &Json| if name == template::SNIPPETS { value.clone() } else { of(value) };
    scope.iter().map(|(name, value)| (name.clone(), kept(name, value))).collect()
}
