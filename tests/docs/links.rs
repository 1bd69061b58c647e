//! Links between pages lead somewhere, and every page can be found.

use std::path::{Component, Path, PathBuf};

use crate::{
    kept::{pages, read, root},
    markdown::{anchors, split},
};

/// The targets of the links of a page, with their lines.
fn links(page: &str) -> Vec<(usize, String)> {
    let (prose, _) = split(page);
    let mut found = Vec::new();
    for (number, line) in prose.iter().enumerate() {
        // What stands in code is no link.
        let text: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for part in text.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                found.push((number + 1, target.to_owned()));
            }
        }
    }
    found
}

/// Joins a link to the folder of its page, without `..`.
fn resolve(page: &Path, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in page.parent().unwrap_or(Path::new("")).join(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for (path, page) in pages() {
        for (line, link) in links(&page) {
            if link.starts_with("http:") || link.starts_with("https:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { resolve(&path, file) };
            let exists = root().join(&target).exists();
            let is_page = target.extension().is_some_and(|extension| extension == "md");
            let has_anchor = anchor.is_empty()
                || exists && is_page && anchors(&read(&target.to_string_lossy())).iter().any(|known| known == anchor);
            if !exists || !has_anchor {
                broken.push(format!("{}:{line}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let contents = Path::new("docs/README.md");
    let linked: Vec<_> = links(&read("docs/README.md")).into_iter().map(|(_, link)| resolve(contents, &link)).collect();
    let lost: Vec<_> = pages()
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.starts_with("docs") && path != contents && !linked.contains(path))
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");
}
