//! The inventory as a whole: names that lead nowhere, circles, ways to hosts, profiles.

use indexmap::IndexMap;

use super::{
    Findings,
    steps::{Setting, Steps},
    vars, ways, window,
};
use crate::{
    config::{
        Diagnostic, Project,
        documents::{OneOrMany, Profile, Settings},
        select,
        source::{KeyPath, Source},
        suggest, template,
    },
    model::{GroupName, HostName, ProfileName},
};

/// Judges everything that the inventory says.
pub fn inventory(project: &Project, found: &mut Vec<Diagnostic>) {
    let mut check = Check { project, found: Findings(found) };
    let root = KeyPath::root();
    let files: Vec<&Source> = project.sources.iter().collect();
    for source in &files {
        let at = root.key("defaults");
        if source.has(&at) && !source.file().to_string_lossy().starts_with('<') {
            check.settings(source, &at, &project.inventory.defaults);
        }
    }
    for (name, entry) in &project.inventory.hosts {
        let Some(source) = project.host_source(name) else { continue };
        let at = root.key("hosts").key(name.as_str());
        check.settings(source, &at, &entry.settings());
        ways::address(source, &at.key("address"), &mut check.found);
        if project.inventory.groups.contains_key(name.as_str()) {
            check.found.warning(
                source.key_place(&at),
                format!("`{name}` is a host and a group"),
                Some("in a selector the name means both; `host=NAME` and `group=NAME` mean one".to_owned()),
            );
        }
    }
    for (name, group) in &project.inventory.groups {
        let Some(source) = project.group_files.get(name).and_then(|file| project.sources.get(*file)) else { continue };
        let at = root.key("groups").key(name.as_str());
        check.settings(source, &at.key("settings"), &group.settings);
        check.group(source, &at, name, &group.hosts, &group.groups);
    }
    for (name, profile) in &project.profiles {
        let Some(source) = project.profile_files.get(name).and_then(|file| project.sources.get(*file)) else {
            continue;
        };
        let at = if project.is_builtin(name) { root.clone() } else { root.key("profiles").key(name.as_str()) };
        check.profile(source, &at, name, profile);
    }
    check.jump_circles();
}

struct Check<'a, 'b> {
    project: &'a Project,
    found: Findings<'b>,
}

impl Check<'_, '_> {
    fn settings(&mut self, source: &Source, at: &KeyPath, settings: &Settings) {
        ways::user(source, &at.key("user"), &mut self.found);
        ways::user(source, &at.key("become").key("user"), &mut self.found);
        ways::address(source, &at.key("host-key-alias"), &mut self.found);
        vars::variables(source, &at.key("vars"), &settings.vars, &mut self.found);
        if let Some(profile) = &settings.profile {
            self.known_profile(source, &at.key("profile"), profile);
        }
        if let Some(OneOrMany(jumps)) = &settings.jump {
            for (index, jump) in jumps.iter().enumerate() {
                let list = at.key("jump");
                let at = if source.has(&list.index(index)) { list.index(index) } else { list };
                self.jump(source, &at, jump);
            }
        }
        if let Some(via) = &settings.via
            && via != "controller"
            && !self.project.inventory.hosts.contains_key(via.as_str())
        {
            let names = self.host_names();
            let hint = suggest::hint(via, names.iter().map(String::as_str).chain(["controller"]));
            let message = format!("there is no host `{}`", via.escape_debug());
            self.found.error(source.place(&at.key("via")), message, hint);
        }
        if let Some(OneOrMany(windows)) = &settings.window {
            for (index, one) in windows.iter().enumerate() {
                let list = at.key("window");
                let at = if source.has(&list.index(index)) { list.index(index) } else { list };
                window::window(source, &at, one, &mut self.found);
            }
        }
    }

    fn host_names(&self) -> Vec<String> {
        self.project.inventory.hosts.keys().map(ToString::to_string).collect()
    }

    fn known_profile(&mut self, source: &Source, at: &KeyPath, profile: &ProfileName) {
        if !self.project.profiles.contains_key(profile) {
            let names = self.project.profiles.keys().map(ProfileName::as_str);
            let hint = suggest::hint(profile.as_str(), names);
            self.found.error(source.place(at), format!("there is no profile `{profile}`"), hint);
        }
    }

    fn jump(&mut self, source: &Source, at: &KeyPath, jump: &str) {
        if self.project.inventory.hosts.contains_key(jump) {
            return;
        }
        if let Some(problem) = ways::jump_problem(jump) {
            self.found.error(source.place(at), format!("the jump `{}` {problem}", jump.escape_debug()), None);
            return;
        }
        // A plain word is more likely a misspelt name than an address of one's own network.
        if jump.contains(['.', ':', '@']) {
            return;
        }
        let names = self.host_names();
        if let Some(near) = suggest::nearest(jump, names.iter().map(String::as_str)) {
            self.found.warning(
                source.place(at),
                format!("there is no host `{jump}`, so it is taken as an address"),
                Some(format!("did you mean `{near}`?")),
            );
        }
    }

    fn group(&mut self, source: &Source, at: &KeyPath, name: &GroupName, hosts: &[String], groups: &[GroupName]) {
        for (index, member) in hosts.iter().enumerate() {
            let at = at.key("hosts").index(index);
            if select::is_glob(member) {
                if !self.project.inventory.hosts.keys().any(|host| select::matches_glob(member, host.as_str())) {
                    let message = format!("no host is called like `{}`", member.escape_debug());
                    self.found.warning(source.place(&at), message, None);
                }
            } else if !self.project.inventory.hosts.contains_key(member.as_str()) {
                let names = self.host_names();
                let hint = if self.project.inventory.groups.contains_key(member.as_str()) {
                    Some(format!("`{member}` is a group: list it under `groups`"))
                } else {
                    suggest::hint(member, names.iter().map(String::as_str))
                };
                let message = format!("there is no host `{}`", member.escape_debug());
                self.found.error(source.place(&at), message, hint);
            }
        }
        for (index, inner) in groups.iter().enumerate() {
            let at = at.key("groups").index(index);
            if !self.project.inventory.groups.contains_key(inner) {
                let hint = suggest::hint(inner.as_str(), self.project.inventory.groups.keys().map(GroupName::as_str));
                self.found.error(source.place(&at), format!("there is no group `{inner}`"), hint);
            } else if self.contains(inner, name, &mut Vec::new()) {
                let message = format!("the group `{name}` contains itself through `{inner}`");
                self.found.error(source.place(&at), message, Some("take one of the two out".to_owned()));
            }
        }
    }

    fn contains<'a>(&'a self, outer: &'a GroupName, wanted: &GroupName, seen: &mut Vec<&'a GroupName>) -> bool {
        if outer == wanted {
            return true;
        }
        if seen.contains(&outer) {
            return false;
        }
        seen.push(outer);
        let Some(group) = self.project.inventory.groups.get(outer) else { return false };
        group.groups.iter().any(|inner| self.contains(inner, wanted, seen))
    }

    fn profile(&mut self, source: &Source, at: &KeyPath, name: &ProfileName, profile: &Profile) {
        if let Some(extends) = &profile.extends {
            let key = at.key("extends");
            self.known_profile(source, &key, extends);
            let mut chain = vec![name];
            let mut next = Some(extends);
            while let Some(name) = next {
                if chain[0] == name {
                    let way: Vec<&str> = chain.iter().chain([&name]).map(|name| name.as_str()).collect();
                    let message = format!("the profile `{name}` extends itself: {}", way.join(" -> "));
                    self.found.error(source.place(&key), message, Some("take one `extends` out".to_owned()));
                    break;
                }
                if chain.contains(&name) {
                    break;
                }
                chain.push(name);
                next = self.project.profiles.get(name).and_then(|profile| profile.extends.as_ref());
            }
        }
        vars::variables(source, &at.key("vars"), &profile.vars, &mut self.found);
        vars::required(source, &at.key("requires"), &profile.requires, &mut self.found);

        let scope = super::role::widest_scope(self.project, None, &profile_layers(self.project, name));
        let dir = self.project.profile_dir();
        for (name, text) in &profile.snippets {
            self.snippet(source, &at.key("snippets").key(name), name, text, &scope);
        }
        for (name, fact) in &profile.facts {
            let setting = Setting { source, dir: &dir, scope: &scope, is_verb: true };
            Steps { setting, found: &mut self.found }.fact(&at.key("facts").key(name), name, fact);
        }
        for (verb, OneOrMany(steps)) in &profile.verbs {
            let list = at.key("verbs").key(verb);
            let setting = Setting { source, dir: &dir, scope: &scope, is_verb: true };
            Steps { setting, found: &mut self.found }.list(&list, steps);
            for (index, step) in steps.iter().enumerate() {
                // For each item of a list a verb's steps are needed together, so they are a verb of their own.
                if let Some(inner) = step.verb.as_ref().filter(|_| step.for_each.is_none()) {
                    let item = list.index(index);
                    let at = if source.has(&item) { item } else { list.clone() };
                    let message = format!("the verb `{verb}` cannot be made of the verb `{}`", inner.escape_debug());
                    let hint = "say the steps themselves, or `for-each` of what: a profile that extends this one may \
                                replace each verb alone";
                    self.found.error(source.place(&at.key("verb")), message, Some(hint.to_owned()));
                }
            }
        }
    }

    fn snippet(&mut self, source: &Source, at: &KeyPath, name: &str, text: &str, scope: &template::Scope) {
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') || name.is_empty() {
            let message = format!("`{}` cannot be the name of a snippet", name.escape_debug());
            let hint = "use letters, digits, `-` and `_`".to_owned();
            self.found.error(source.key_place(at), message, Some(hint));
        }
        // Most are beginnings of commands, and what is wrong with one is told where it is put in otherwise.
        for problem in template::check(template::TemplateKind::Shell, text, scope) {
            self.found.error(source.inner_place(at, &problem.range), problem.message, problem.hint);
        }
    }

    /// Jumps among the hosts of the inventory that come back to where they began.
    fn jump_circles(&mut self) {
        let hosts = &self.project.inventory.hosts;
        let jumps: IndexMap<&HostName, Vec<&HostName>> = hosts
            .keys()
            .map(|name| {
                let jumps = self.project.jumps_of(name).iter();
                (name, jumps.filter_map(|jump| hosts.get_key_value(jump.as_str())).map(|(name, _)| name).collect())
            })
            .collect();
        for (name, first) in &jumps {
            let mut open = first.clone();
            let mut seen: Vec<&HostName> = Vec::new();
            while let Some(next) = open.pop() {
                if seen.contains(&next) {
                    continue;
                }
                seen.push(next);
                open.extend(jumps.get(next).into_iter().flatten());
            }
            if seen.contains(name)
                && let Some(source) = self.project.host_source(name)
            {
                let at = KeyPath::root().key("hosts").key(name.as_str()).key("jump");
                let message = format!("the way to `{name}` leads through `{name}` itself");
                self.found.error(source.place(&at), message, Some("take one of the jumps out".to_owned()));
            }
            let via = hosts.get(*name).and_then(|entry| entry.via.as_deref()).filter(|via| *via == name.as_str());
            if via.is_some()
                && let Some(source) = self.project.host_source(name)
            {
                let at = KeyPath::root().key("hosts").key(name.as_str()).key("via");
                let message = format!("the commands of `{name}` cannot run `via` the host itself");
                self.found.error(source.place(&at), message, Some("leave `via` out".to_owned()));
            }
        }
    }
}

/// The variables that a profile itself declares or wants, those it extends included.
fn profile_layers(project: &Project, name: &ProfileName) -> Vec<String> {
    let flat = project.flat_profiles.get(name);
    flat.into_iter().flat_map(|flat| flat.vars.keys().chain(flat.requires.keys())).cloned().collect()
}
