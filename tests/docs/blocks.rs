//! The TOML of the pages is what longshore reads: a block marked as a document is loaded as one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use longshore::config::{Diagnostic, Project, Severity};

use crate::{
    kept::{pages, root},
    markdown::{Fence, split},
};

#[test]
fn the_toml_of_every_page_can_be_read() {
    let mut wrong = Vec::new();
    let mut documents = 0;
    for (path, page) in pages() {
        for block in split(&page).1 {
            let Some(kind) = block.info.strip_prefix("toml") else { continue };
            let place = format!("{}:{}", path.display(), block.line);
            let problems = match kind.trim() {
                "" => block.text.parse::<toml::Table>().err().map(|error| error.to_string()).into_iter().collect(),
                kind => {
                    documents += 1;
                    load(kind, &block)
                }
            };
            wrong.extend(problems.into_iter().map(|problem| format!("{place}: {problem}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(documents > 20, "only {documents} documents were found");
}

/// Loads a block as a document of the example project, and says what is wrong with it.
fn load(kind: &str, block: &Fence) -> Vec<String> {
    let project = tempfile::tempdir().expect("a temporary folder");
    let folder = project.path();
    let place = match kind {
        "inventory" => "inventory/doc.toml",
        "playbook" => "playbooks/doc.toml",
        "role" => "roles/doc/role.toml",
        "releases" => "roles/doc/releases.toml",
        other => return vec![format!("`{other}` is no kind of document")],
    };
    // An inventory stands alone; everything else is judged against the examples.
    if kind != "inventory" {
        for part in ["inventory", "playbooks", "roles"] {
            copy(&root().join(part), &folder.join(part));
        }
    }
    if kind == "releases" {
        write(&folder.join("roles/doc/role.toml"), "about = \"A product\"\n");
    }
    write(&folder.join(place), &block.text);
    let (project, mut found) = Project::load_with_home(folder, None);
    if kind != "inventory" {
        found.extend(project.lint());
    }
    found.into_iter().filter(|problem| problem.severity == Severity::Error).map(told).collect()
}

fn told(problem: Diagnostic) -> String {
    let line = problem.place.map(|place| place.text[..place.range.start].lines().count().max(1));
    format!("line {}: {}", line.unwrap_or_default(), problem.message)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder can be made");
    fs::write(path, text).expect("the file can be written");
}

fn copy(from: &Path, to: &PathBuf) {
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("the file can be copied");
        }
    }
}
