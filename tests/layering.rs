//! Keeps the layers: each folder of `src` uses only the layers it is allowed to.
//!
//! To add an arrow, change the table here and in `docs/architecture.md` in the same commit, with the reason.

use std::{collections::BTreeMap, fs, path::Path};

/// Layer, and what it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("transport", &["model"]),
    ("event", &["model"]),
    ("durable", &["model", "transport"]),
    // A step as documents write it holds the arguments of the step kinds.
    ("config", &["model", "steps"]),
    ("steps", &["model", "transport"]),
    // A plan names the way to each host.
    ("plan", &["model", "config", "steps", "transport"]),
    ("engine", &["model", "transport", "steps", "plan", "event", "durable"]),
    ("ledger", &["model", "event"]),
    // Diagnostics are rendered like everything else a person sees.
    ("report", &["model", "plan", "event", "config"]),
    ("lab", &["model"]),
    (
        "cli",
        &["model", "transport", "event", "durable", "config", "steps", "plan", "engine", "ledger", "report", "lab"],
    ),
];

#[test]
fn every_layer_uses_only_what_it_may() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (layer, allowed) in ALLOWED {
        for (file, text) in rust_files(&src.join(layer)) {
            for (number, line) in text.lines().enumerate() {
                for used in layers_in(line) {
                    if used != *layer && !allowed.contains(&used) {
                        wrong.push(format!("{file}:{}: `{layer}` uses `{used}`", number + 1));
                    }
                }
            }
            for used in layers_in_braces(&text) {
                if used != *layer && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{file}: `{layer}` uses `{used}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_folder_of_src_is_a_layer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<_> = fs::read_dir(src)
        .expect("src is there")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    let mut layers: Vec<_> = ALLOWED.iter().map(|(layer, _)| (*layer).to_owned()).collect();
    layers.sort();
    assert_eq!(folders, layers);
}

fn is_layer(word: &str) -> Option<&'static str> {
    ALLOWED.iter().map(|(layer, _)| *layer).find(|layer| *layer == word)
}

/// Finds `crate::layer` in a line of code.
fn layers_in(line: &str) -> Vec<&'static str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split("crate::")
        .skip(1)
        .filter_map(|rest| is_layer(rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?))
        .collect()
}

/// Finds the layers in `use crate::{ a::..., b::... }`.
fn layers_in_braces(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in text.split("use crate::{").skip(1) {
        let (mut depth, mut word, mut at_start) = (1, String::new(), true);
        for c in block.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    at_start = true;
                    word.clear();
                    continue;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && at_start {
                if c.is_ascii_alphanumeric() || c == '_' {
                    word.push(c);
                } else if !word.is_empty() {
                    found.extend(is_layer(&word).map(str::to_owned));
                    at_start = false;
                }
            }
        }
    }
    found
}

fn rust_files(folder: &Path) -> Vec<(String, String)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the layer is there").flatten() {
            let path = entry.path();
            // A test may bring any layer to prove something of its own.
            if path.file_name().is_some_and(|name| name == "tests" || name == "tests.rs") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                files.insert(path.display().to_string(), text);
            }
        }
    }
    files.into_iter().collect()
}
