//! What is shipped names nobody's machines, and says what an operator has to say.

use std::{fs, path::Path, process::Command};

/// All files below some folders of the repository.
fn files(folder: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() { files(&entry, into) } else { into.push(entry) }
    }
}

/// F-49: addresses of probes are variables of hosts.
#[test]
fn f_49_no_role_profile_or_playbook_has_a_host_name_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = vec![root.join("inventory/fovea-profiles.toml")];
    for folder in ["roles", "playbooks", "src/config/profiles"] {
        files(&root.join(folder), &mut all);
    }
    let address = regex::Regex::new(r#"(?:https?|wss?|ssh)://([^/\s:}`'"]+)"#).expect("a pattern");
    let mut addresses = 0;
    for file in all.iter().filter(|file| file.extension().is_some_and(|kind| kind == "toml")) {
        let text = fs::read_to_string(file).expect("text");
        for found in address.captures_iter(&text) {
            addresses += 1;
            let host = &found[1];
            // Names that stand for nobody's, in what is said of a variable.
            let is_example = host.ends_with(".example.com") || host.ends_with(".example");
            let is_free = ["localhost", "127.0.0.1", "[::1]"].contains(&host) || host.starts_with("{{") || is_example;
            assert!(is_free, "{}: {}", file.display(), &found[0]);
        }
    }
    assert!(addresses > 5, "only {addresses} addresses were found");
}

/// F-48: what an operator forgot is told by host and key, before anything is asked of the host.
#[test]
fn f_48_a_variable_that_a_host_lacks_is_told_with_the_host_and_the_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = tempfile::tempdir().expect("a folder");
    for file in [
        "inventory/fovea-profiles.toml",
        "roles/fovea/role.toml",
        "roles/fovea/releases.toml",
        "playbooks/fovea-upgrade.toml",
    ] {
        let to = project.path().join(file);
        fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        fs::copy(root.join(file), to).expect("copied");
    }
    let hosts = "[hosts.fovea-1]\nprofile = \"fovea\"\nvars = { path = \"/srv/fovea\", spot-password = \"x\" }\n\
                 [hosts.fovea-2]\nprofile = \"fovea\"\nvars = { spot-password = \"x\" }\n[groups.fovea]\nhosts = [\"fovea-*\"]\n";
    fs::write(project.path().join("inventory/hosts.toml"), hosts).expect("written");
    let mut longshore = Command::new(env!("CARGO_BIN_EXE_longshore"));
    longshore.current_dir(project.path()).env("HOME", project.path());
    let ran = longshore.args(["plan", "fovea-upgrade", "--to", "0.3.1", "--offline"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("`path`") && said.contains("fovea-2") && !said.contains("fovea-1"), "{said}");
}
