//! Files of the repository that are made from the code: compared, or written where `BLESS` is set.

use std::{
    fs,
    path::{Path, PathBuf},
};

use similar::TextDiff;

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn blesses() -> bool {
    std::env::var_os("BLESS").is_some_and(|value| value == "1")
}

/// Asserts that a file is as it would be made now, or makes it.
pub(crate) fn keep(path: &str, made: &str) {
    let file = root().join(path);
    let there = fs::read_to_string(&file).unwrap_or_default();
    if there == made {
        return;
    }
    if blesses() {
        fs::create_dir_all(file.parent().expect("a file has a folder")).expect("the folder can be made");
        fs::write(&file, made).unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    let difference = TextDiff::from_lines(&there, made).unified_diff().context_radius(1).to_string();
    panic!("{path} is not what the code says; `BLESS=1 cargo test --test docs` writes it anew\n{difference}");
}

/// Returns `text` with what stands between two marks replaced.
pub(crate) fn between(text: &str, name: &str, made: &str) -> String {
    let (begin, end) = marks(name);
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("`{begin}` is missing"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("`{end}` is missing"));
    format!("{before}{begin}\n{made}\n{end}{after}")
}

/// Returns what stands between two marks.
pub(crate) fn inside(text: &str, name: &str) -> String {
    let (begin, end) = marks(name);
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("`{begin}` is missing"));
    rest.split_once(&end).unwrap_or_else(|| panic!("`{end}` is missing")).0.trim().to_owned()
}

fn marks(name: &str) -> (String, String) {
    (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"))
}

/// Every page of the documentation, by its path in the repository.
pub(crate) fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = Vec::new();
    let mut folders = vec![root().join("docs")];
    let mut files = vec![root().join("README.md"), root().join("CONTRIBUTING.md"), root().join("CHANGELOG.md")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        pages.push((file.strip_prefix(root()).expect("inside").to_path_buf(), text));
    }
    pages
}
