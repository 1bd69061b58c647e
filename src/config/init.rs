//! The example project that `longshore init` writes: small, commented, without complaint.

/// Lists the files of the example, each with its path in the project and its text.
pub fn files() -> Vec<(&'static str, &'static str)> {
    vec![
        ("inventory/fleet.toml", include_str!("init/fleet.toml")),
        ("playbooks/hello.toml", include_str!("init/hello.toml")),
        ("playbooks/upgrade.toml", include_str!("init/upgrade.toml")),
        ("roles/myapp/role.toml", include_str!("init/role.toml")),
        ("roles/myapp/releases.toml", include_str!("init/releases.toml")),
        ("roles/myapp/CHANGELOG.md", include_str!("init/CHANGELOG.md")),
        (
            ".gitignore",
            "# What longshore keeps of its runs. The known host keys beside it belong to the project.\n/.longshore/\n",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Project;

    #[test]
    fn the_example_that_init_writes_is_without_complaint() {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files() {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let (project, mut found) = Project::load_with_home(folder.path(), None);
        found.extend(project.lint());
        assert_eq!(found, []);
        assert_eq!(project.inventory.hosts.len(), 2);
        assert!(project.roles["myapp"].role.action("upgrade").is_some());
    }
}
