//! Cases: folders with input files and the texts that are expected of them. `BLESS=1` rewrites those.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use longshore::{
    config::Project,
    report::diagnostics::{render, summary},
};

#[path = "scenarios/mod.rs"]
mod scenarios;

/// Lists the folders of a topic.
fn cases(topic: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(topic);
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("cases")
        .map(|entry| entry.expect("a case").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "there are no cases in {}", folder.display());
    cases
}

/// Compares a text with the file that expects it; returns what differs.
fn compare(file: &Path, found: &str) -> Result<(), String> {
    if env::var_os("BLESS").is_some() {
        return fs::write(file, found).map_err(|error| error.to_string());
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    let difference = similar::TextDiff::from_lines(&expected, found).unified_diff().to_string();
    Err(format!("{}\n{difference}", file.display()))
}

#[test]
fn documents_are_judged_as_the_cases_say() {
    let mut wrong = Vec::new();
    for case in cases("lint") {
        let (project, mut found) = Project::load_with_home(&case, None);
        found.extend(project.lint());
        // The folder of the tests is not the same on every machine.
        let place = format!("{}/", case.display());
        let text = format!("{}{}\n", render(&found, false).replace(&place, ""), summary(&found));
        wrong.extend(compare(&case.join("errors.txt"), &text).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_example_project_is_without_complaint() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (project, mut found) = Project::load_with_home(root, None);
    found.extend(project.lint());
    assert!(found.is_empty(), "{}", render(&found, false));
    assert!(project.inventory.hosts.len() >= 5 && project.roles.contains_key("webapp"));
}

#[test]
fn g_14_seeds_for_development_are_refused_and_those_of_a_release_are_not() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/lint/development-seeds");
    let (project, mut found) = Project::load_with_home(&case, None);
    found.extend(project.lint());
    let told: Vec<_> = found.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told[0].contains("`priv/repo/seeds.exs` brings sample data and accounts"), "{told:?}");
}
