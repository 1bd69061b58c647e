//! A project folder: its inventory, profiles and roles, read and judged together.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;

use super::{
    Changelog, Diagnostic, Place, SelectError, builtin,
    diagnostic::in_reading_order,
    documents::{Inventory, Playbook, Profile, Release, Releases, Role},
    lint, read,
    resolve::{self, FlatProfile},
    schema::DocumentKind,
    select,
    source::{KeyPath, Source},
    suggest,
};
use crate::model::{GroupName, HostName, ProfileName, Version};

/// Everything that the documents of a project folder say.
#[derive(Debug, Clone)]
pub struct Project {
    pub root: PathBuf,
    /// All files of `inventory/` as one.
    pub inventory: Inventory,
    /// The built-in profiles and those of the inventory. The same name replaces.
    pub profiles: IndexMap<ProfileName, Profile>,
    /// By the name of the folder under `roles/`.
    pub roles: IndexMap<String, RoleFolder>,

    /// For `~` in paths of key files.
    pub(super) home: Option<PathBuf>,
    pub(super) sources: Vec<Source>,
    /// Which source says it.
    pub(super) host_files: HashMap<HostName, usize>,
    pub(super) group_files: HashMap<GroupName, usize>,
    pub(super) profile_files: HashMap<ProfileName, usize>,
    pub(super) flat_profiles: IndexMap<ProfileName, FlatProfile>,
    memberships: HashMap<HostName, Vec<GroupName>>,
    members: HashMap<GroupName, Vec<HostName>>,
}

/// One folder under `roles/`.
#[derive(Debug, Clone)]
pub struct RoleFolder {
    pub name: String,
    /// Where its templates and files are.
    pub dir: PathBuf,
    pub role: Role,
    pub releases: Option<Releases>,
    /// `CHANGELOG.md`, if the product's is kept there.
    pub changelog: Option<Changelog>,
    pub(super) source: Source,
    pub(super) releases_source: Option<Source>,
    /// `role.toml` could not be read, so that nothing is known of what it says.
    pub(super) is_unknown: bool,
}

impl RoleFolder {
    /// Returns where `releases.toml` says that a release is never to be installed.
    pub fn blocked_at(&self, version: &Version) -> Option<Place> {
        let (releases, source) = (self.releases.as_ref()?, self.releases_source.as_ref()?);
        let is_it = |release: &Release| {
            release.blocked.is_some() && release.version.compare(version) == Some(std::cmp::Ordering::Equal)
        };
        let index = releases.release.iter().position(is_it)?;
        Some(source.place(&KeyPath::root().key("release").index(index).key("blocked")))
    }
}

impl Project {
    /// Reads the documents of a folder and tells everything that is wrong with them.
    ///
    /// What could not be read is left out, so that the rest can still be judged. With an error among
    /// the diagnostics nothing may be run.
    #[expect(clippy::disallowed_methods, reason = "the one caller that does not say what `~` is gets the user's")]
    pub fn load(root: &Path) -> (Self, Vec<Diagnostic>) {
        Self::load_with_home(root, etcetera::home_dir().ok().as_deref())
    }

    /// As [`Project::load`], with the folder that `~` stands for.
    pub fn load_with_home(root: &Path, home: Option<&Path>) -> (Self, Vec<Diagnostic>) {
        let mut project = Self {
            root: root.to_owned(),
            inventory: Inventory::default(),
            profiles: IndexMap::new(),
            roles: IndexMap::new(),
            home: home.map(Path::to_owned),
            sources: Vec::new(),
            host_files: HashMap::new(),
            group_files: HashMap::new(),
            profile_files: HashMap::new(),
            flat_profiles: IndexMap::new(),
            memberships: HashMap::new(),
            members: HashMap::new(),
        };
        for (name, (profile, source)) in builtin::read_all() {
            project.profile_files.insert(name.clone(), project.sources.len());
            project.sources.push(source);
            project.profiles.insert(name, profile);
        }
        let mut found = Vec::new();
        project.read_inventory(&mut found);
        project.read_roles(&mut found);
        project.flat_profiles = resolve::flatten(&project.profiles);
        project.find_members();
        lint::inventory(&project, &mut found);
        for role in project.roles.values() {
            lint::role(&project, role, &mut found);
        }
        in_reading_order(&mut found);
        (project, found)
    }

    /// Reads a playbook and judges it against the inventory and the roles.
    pub fn load_playbook(&self, path: &Path) -> (Option<Playbook>, Vec<Diagnostic>) {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(diagnostic) => return (None, vec![self.with_playbook_hint(path, *diagnostic)]),
        };
        let (playbook, source, mut found) =
            read::document::<Playbook>(DocumentKind::Playbook, self.shown_path(path), &text);
        if let Some(playbook) = &playbook {
            let dir = path.parent().unwrap_or(&self.root);
            lint::playbook(self, playbook, &source, dir, &mut found);
        }
        in_reading_order(&mut found);
        (playbook, found)
    }

    /// Judges every playbook in `playbooks/`. What is wrong elsewhere was told by [`Project::load`].
    pub fn lint(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for path in toml_files(&self.root.join("playbooks"), &mut found) {
            for diagnostic in self.load_playbook(&path).1 {
                // Several playbooks may find the same thing missing in a role or a host.
                if !found.contains(&diagnostic) {
                    found.push(diagnostic);
                }
            }
        }
        found
    }

    /// Returns the hosts that a selector means, in the order of the inventory. Never an empty list.
    pub fn select(&self, selector: &str) -> Result<Vec<HostName>, SelectError> {
        select::select(self, selector)
    }

    /// Lists the groups a host is in, outer ones first.
    pub fn groups_of(&self, host: &HostName) -> &[GroupName] {
        self.memberships.get(host).map(Vec::as_slice).unwrap_or_default()
    }

    /// Lists the hosts in a group and in the groups it contains, in the order of the inventory.
    pub fn members(&self, group: &GroupName) -> &[HostName] {
        self.members.get(group).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the folder to which paths in the steps of profiles are relative.
    pub fn profile_dir(&self) -> PathBuf {
        self.root.join("inventory")
    }

    pub(super) fn host_source(&self, host: &HostName) -> Option<&Source> {
        self.sources.get(*self.host_files.get(host)?)
    }

    pub(super) fn is_builtin(&self, profile: &ProfileName) -> bool {
        self.profile_files.get(profile).is_some_and(|file| *file < builtin::builtin_profiles().count())
    }

    /// Returns a path as messages show it: relative to the project where it is inside.
    fn shown_path<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    fn read_inventory(&mut self, found: &mut Vec<Diagnostic>) {
        let folder = self.root.join("inventory");
        for path in toml_files(&folder, found) {
            let text = match read_text(&path) {
                Ok(text) => text,
                Err(diagnostic) => {
                    found.push(*diagnostic);
                    continue;
                }
            };
            let (inventory, source, wrong) =
                read::document::<Inventory>(DocumentKind::Inventory, self.shown_path(&path), &text);
            found.extend(wrong);
            let index = self.sources.len();
            self.sources.push(source);
            if let Some(inventory) = inventory {
                self.merge(inventory, index, found);
            }
        }
        if self.sources.len() == builtin::builtin_profiles().count() && found.is_empty() {
            found.push(
                Diagnostic::warning(format!("there is no inventory in `{}`", folder.display()))
                    .hint("`longshore init` writes an example to begin with"),
            );
        }
    }

    fn merge(&mut self, inventory: Inventory, file: usize, found: &mut Vec<Diagnostic>) {
        let Inventory { defaults, hosts, groups, profiles } = inventory;
        let root = KeyPath::root();
        let twice = |sources: &[Source], what: &str, path: &KeyPath, first: usize| {
            Diagnostic::error(format!("{what} is in two files"))
                .at(sources[file].key_place(path))
                .hint(format!("it is in `{}`, too: keep one of them", sources[first].file().display()))
        };
        for (name, host) in hosts {
            if let Some(first) = self.host_files.get(&name) {
                let path = root.key("hosts").key(name.as_str());
                found.push(twice(&self.sources, &format!("the host `{name}`"), &path, *first));
                continue;
            }
            self.host_files.insert(name.clone(), file);
            self.inventory.hosts.insert(name, host);
        }
        for (name, group) in groups {
            if let Some(first) = self.group_files.get(&name) {
                let path = root.key("groups").key(name.as_str());
                found.push(twice(&self.sources, &format!("the group `{name}`"), &path, *first));
                continue;
            }
            self.group_files.insert(name.clone(), file);
            self.inventory.groups.insert(name, group);
        }
        for (name, profile) in profiles {
            if let Some(first) = self.profile_files.get(&name)
                && !self.is_builtin(&name)
            {
                let path = root.key("profiles").key(name.as_str());
                found.push(twice(&self.sources, &format!("the profile `{name}`"), &path, *first));
                continue;
            }
            self.profile_files.insert(name.clone(), file);
            self.inventory.profiles.insert(name.clone(), profile.clone());
            self.profiles.insert(name, profile);
        }
        if defaults != super::documents::Settings::default() {
            if self.inventory.defaults == super::documents::Settings::default() {
                self.inventory.defaults = defaults;
            } else {
                let first = (builtin::builtin_profiles().count()..file)
                    .find(|index| self.sources[*index].has(&root.key("defaults")))
                    .unwrap_or(file);
                found.push(twice(&self.sources, "`[defaults]`", &root.key("defaults"), first));
            }
        }
    }

    fn read_roles(&mut self, found: &mut Vec<Diagnostic>) {
        for dir in folders(&self.root.join("roles"), found) {
            let Some(name) = dir.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
            let path = dir.join("role.toml");
            let text =
                match read_text(&path) {
                    Ok(text) => text,
                    Err(diagnostic) => {
                        found.push(diagnostic.hint(format!(
                            "every folder under `roles/` is a role; `{name}` has no readable `role.toml`"
                        )));
                        continue;
                    }
                };
            let (role, source, wrong) = read::document::<Role>(DocumentKind::Role, self.shown_path(&path), &text);
            found.extend(wrong);

            let path = dir.join("releases.toml");
            let (releases, releases_source) = match fs::read_to_string(&path) {
                Ok(text) => {
                    let (releases, source, wrong) =
                        read::document::<Releases>(DocumentKind::Releases, self.shown_path(&path), &text);
                    found.extend(wrong);
                    (releases, Some(source))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
                Err(error) => {
                    found.push(unreadable(&path, &error));
                    (None, None)
                }
            };
            let changelog = match read_text(&dir.join("CHANGELOG.md")) {
                Ok(text) => Some(Changelog::parse(&text)),
                Err(_) if !dir.join("CHANGELOG.md").exists() => None,
                Err(diagnostic) => {
                    found.push(*diagnostic);
                    None
                }
            };
            let is_unknown = role.is_none();
            let role = role.unwrap_or_default();
            self.roles.insert(
                name.clone(),
                RoleFolder { name, dir, role, releases, changelog, source, releases_source, is_unknown },
            );
        }
    }

    /// Works out who is in which group. Groups come in the order of the inventory, parents first.
    fn find_members(&mut self) {
        let groups = &self.inventory.groups;
        let mut order: Vec<&GroupName> = Vec::new();
        for name in groups.keys() {
            self.order_group(name, &mut order, &mut Vec::new());
        }
        let mut members: HashMap<GroupName, Vec<HostName>> = HashMap::new();
        let mut memberships: HashMap<HostName, Vec<GroupName>> = HashMap::new();
        for name in order {
            let mut direct = std::collections::HashSet::new();
            let mut globs = Vec::new();
            let mut seen = Vec::new();
            let mut open = vec![name];
            while let Some(inner) = open.pop() {
                if seen.contains(&inner) {
                    continue;
                }
                seen.push(inner);
                let Some(group) = groups.get(inner) else { continue };
                for member in &group.hosts {
                    if select::is_glob(member) {
                        globs.push(member.as_str());
                    } else {
                        direct.insert(member.as_str());
                    }
                }
                open.extend(&group.groups);
            }
            let all: Vec<HostName> = self
                .inventory
                .hosts
                .keys()
                .filter(|host| {
                    direct.contains(host.as_str()) || globs.iter().any(|glob| select::matches_glob(glob, host.as_str()))
                })
                .cloned()
                .collect();
            for host in &all {
                memberships.entry(host.clone()).or_default().push(name.clone());
            }
            members.insert(name.clone(), all);
        }
        self.members = members;
        self.memberships = memberships;
    }

    /// Puts a group into the order after all groups that contain it.
    fn order_group<'a>(&'a self, name: &'a GroupName, order: &mut Vec<&'a GroupName>, open: &mut Vec<&'a GroupName>) {
        if order.contains(&name) || open.contains(&name) {
            return;
        }
        open.push(name);
        let parents = self.inventory.groups.iter().filter(|(_, group)| group.groups.contains(name));
        for (parent, _) in parents {
            self.order_group(parent, order, open);
        }
        open.pop();
        order.push(name);
    }

    fn with_playbook_hint(&self, path: &Path, mut diagnostic: Diagnostic) -> Diagnostic {
        let all = toml_files(&self.root.join("playbooks"), &mut Vec::new());
        let names: Vec<String> = all.iter().map(|path| self.shown_path(path).display().to_string()).collect();
        let shown = self.shown_path(path).display().to_string();
        if let Some(hint) = suggest::hint(&shown, names.iter().map(String::as_str)) {
            diagnostic.hint = Some(hint);
        }
        diagnostic
    }
}

/// Lists the TOML files of a folder, sorted. A folder that is not there has none.
fn toml_files(folder: &Path, found: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    entries(folder, found)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml") && path.is_file())
        .collect()
}

fn folders(folder: &Path, found: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    entries(folder, found).into_iter().filter(|path| path.is_dir()).collect()
}

/// Lists a folder, sorted; hidden names and those of editors are left out.
fn entries(folder: &Path, found: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            found.push(unreadable(folder, &error));
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = read.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.starts_with(['.', '#', '~']))
    });
    paths.sort();
    paths
}

fn read_text(path: &Path) -> Result<String, Box<Diagnostic>> {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = String::from_utf8_lossy(&error.as_bytes()[..valid]).matches('\n').count() + 1;
            Box::new(
                Diagnostic::error(format!("`{}` is not UTF-8 text: line {line}", path.display()))
                    .hint("save the file as UTF-8"),
            )
        }),
        Err(error) => Err(Box::new(unreadable(path, &error))),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Diagnostic::error(format!("`{}` cannot be read: {reason}", path.display()))
}
