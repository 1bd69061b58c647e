//! The JSON Schemas accept the example documents, refuse wrong ones, and describe every key.

use std::{
    fs,
    path::{Path, PathBuf},
};

use longshore::config::{
    builtin_profiles, init,
    schema::{self, DocumentKind},
};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::to_value(text.parse::<toml::Table>().expect("TOML")).expect("JSON")
}

fn problems(kind: DocumentKind, document: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema::of(kind)).expect("a schema");
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn kind_of(path: &Path) -> Option<DocumentKind> {
    let folder = path.components().next()?.as_os_str().to_str()?;
    match (folder, path.file_name()?.to_str()?) {
        _ if path.extension().is_none_or(|extension| extension != "toml") => None,
        ("inventory", _) => Some(DocumentKind::Inventory),
        ("playbooks", _) => Some(DocumentKind::Playbook),
        ("roles", "role.toml") => Some(DocumentKind::Role),
        ("roles", "releases.toml") => Some(DocumentKind::Releases),
        _ => None,
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn the_examples_are_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["inventory", "playbooks", "roles"] {
        files(&root.join(folder), &mut paths);
    }
    let mut seen = 0;
    for path in paths {
        let inside = path.strip_prefix(root).expect("inside");
        let Some(kind) = kind_of(inside) else { continue };
        let found = problems(kind, &json(&fs::read_to_string(&path).expect("a text")));
        assert!(found.is_empty(), "{}: {found:#?}", inside.display());
        seen += 1;
    }
    assert!(seen >= 6, "only {seen} examples were found");
}

#[test]
fn what_init_writes_and_the_built_in_profiles_are_valid() {
    for (path, text) in init::files() {
        if let Some(kind) = kind_of(Path::new(path)) {
            assert_eq!(problems(kind, &json(text)), Vec::<String>::new(), "{path}");
        }
    }
    for (name, text) in builtin_profiles() {
        assert_eq!(problems(DocumentKind::Profile, &json(text)), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_is_wrong_is_invalid() {
    let table = [
        (DocumentKind::Inventory, "[hosts.x]\naddres = \"y\""),
        (DocumentKind::Inventory, "[hosts.\"a b\"]"),
        (DocumentKind::Inventory, "[hosts.x]\nport = 70000"),
        (DocumentKind::Inventory, "[defaults]\npassword = \"hunter2\""),
        (DocumentKind::Playbook, "role = \"x\""),
        (DocumentKind::Playbook, "hosts = \"all\"\n[rollout]\nwaves = [\"rset\"]"),
        (DocumentKind::Role, "[[upgrade]]\neffect = \"dta\"\ncommand = \"true\""),
        (DocumentKind::Role, "[[check]]\nhttp = { url = \"http://x\" }"),
        (DocumentKind::Releases, "[[release]]\nkind = \"minor\""),
        (DocumentKind::Profile, "[verbs]\nstop = { comand = \"true\" }"),
    ];
    for (kind, text) in table {
        assert!(!problems(kind, &json(text)).is_empty(), "{text}");
    }
}

#[test]
fn every_key_of_the_documents_is_described() {
    let mut without = Vec::new();
    for kind in DocumentKind::ALL {
        let schema = schema::of(kind);
        let own = schema.get("properties").map(|properties| (kind.as_str(), properties));
        let defined = schema.get("$defs").and_then(Value::as_object).into_iter().flatten();
        let defined = defined.filter_map(|(name, schema)| Some((name.as_str(), schema.get("properties")?)));
        for (name, properties) in own.into_iter().chain(defined) {
            for (key, schema) in properties.as_object().into_iter().flatten() {
                let described = schema.get("description").or_else(|| {
                    let target = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
                    schema::of(kind).get("$defs")?.get(target)?.get("description")
                });
                if described.is_none() {
                    without.push(format!("{name}.{key}"));
                }
            }
        }
    }
    without.sort();
    without.dedup();
    assert!(without.is_empty(), "no description: {without:#?}");
}
