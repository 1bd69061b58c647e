//! What the pages say of the code is so: dependencies, layers, directives, messages, names.

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

use longshore::{model::Span, transport::ssh::Limits};
use regex::Regex;

use crate::kept::{read, root};

/// Every source file, as one text.
fn source() -> String {
    fn collect(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "sh") {
                text.push_str(&fs::read_to_string(path).expect("a source file is text"));
            }
        }
    }
    let mut text = String::new();
    collect(&root().join("src"), &mut text);
    // Literals that are broken over lines are one text.
    Regex::new(r"\\\n\s*").expect("an expression").replace_all(&text, "").into_owned()
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("a manifest");
    let reasons = read("docs/decisions/0001-dependencies.md");
    let names = ["dependencies", "dev-dependencies"]
        .iter()
        .flat_map(|part| manifest[*part].as_table().expect("a table").keys());
    let without: Vec<_> = names.filter(|name| !reasons.contains(&format!("`{name}`"))).collect();
    assert!(without.is_empty(), "no reason is given for {without:?}");
    let told = Regex::new(r"(?m)^\| `([a-z0-9_-]+)` \|").expect("an expression");
    let known =
        |name: &str| ["dependencies", "dev-dependencies"].iter().any(|part| manifest[*part].get(name).is_some());
    let gone: Vec<_> =
        told.captures_iter(&reasons).map(|found| found[1].to_owned()).filter(|name| !known(name)).collect();
    assert!(gone.is_empty(), "these are no dependencies any more: {gone:?}");
}

#[test]
fn the_table_of_layers_is_the_one_that_is_kept() {
    let test = read("tests/layering.rs");
    let allowed = test.split_once("const ALLOWED").and_then(|(_, rest)| rest.split_once("];")).expect("the table").0;
    let layer = Regex::new(r#"\(\s*"(\w+)",\s*&\[([^\]]*)\]"#).expect("an expression");
    let names = |text: &str| {
        let mut names: Vec<_> = text
            .split(',')
            .map(|name| name.trim().trim_matches(['"', '`', '–']).to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        names.sort();
        names
    };
    let kept: BTreeMap<_, _> =
        layer.captures_iter(allowed).map(|found| (found[1].to_owned(), names(&found[2]))).collect();
    let row = Regex::new(r"(?m)^\| `(\w+)` \| ([^|]*) \| [^|]+ \|$").expect("an expression");
    let page = read("docs/architecture.md");
    let told: BTreeMap<_, _> = row.captures_iter(&page).map(|found| (found[1].to_owned(), names(&found[2]))).collect();
    assert_eq!(told, kept);
}

/// Older spellings of directives, and the blocks, which are told in words.
const OLD: [&str; 8] = [
    "identityfile2",
    "dsaauthentication",
    "pubkeyacceptedkeytypes",
    "challengeresponseauthentication",
    "skeyauthentication",
    "tisauthentication",
    "host",
    "match",
];

#[test]
fn every_directive_of_ssh_is_told_to_be_honoured_or_not() {
    let code = read("src/transport/ssh/config/directive.rs");
    let page = read("docs/ssh.md").to_lowercase();
    let arms =
        code.split_once("let setting = match").and_then(|(_, rest)| rest.split_once("other =>")).expect("a match").0;
    let keyword = Regex::new(r#"(?m)^\s*(?:\|\s*)?((?:"[a-z0-9]+"(?:\s*\|\s*)?)+)(?:\s*=>|$)"#).expect("an expression");
    let word = Regex::new(r#""([a-z0-9]+)""#).expect("an expression");
    let mut names: Vec<String> = keyword
        .captures_iter(arms)
        .flat_map(|found| word.captures_iter(&found[1]).map(|word| word[1].to_owned()).collect::<Vec<_>>())
        .collect();
    let table = code.split_once("const NOT_HONOURED").and_then(|(_, rest)| rest.split_once("];")).expect("a table").0;
    let in_table = Regex::new(r#"\("(\w+)","#).expect("an expression");
    names.extend(in_table.captures_iter(table).map(|found| found[1].to_lowercase()));
    assert!(names.len() > 35, "only {names:?} were found");
    let lost: Vec<_> =
        names.iter().filter(|name| !OLD.contains(&name.as_str()) && !page.contains(&format!("`{name}`"))).collect();
    assert!(lost.is_empty(), "docs/ssh.md does not tell of {lost:?}");
}

/// Words that stand for what varies in a message.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[A-Z][A-Z0-9]+\b").expect("an expression"));

#[test]
fn every_message_that_is_explained_exists() {
    let source = source();
    let page = read("docs/troubleshooting.md");
    let message = Regex::new(r"(?m)^### `(.+)`$").expect("an expression");
    let mut lost = Vec::new();
    let mut seen = 0;
    for found in message.captures_iter(&page) {
        seen += 1;
        for part in VARIABLE.split(&found[1]) {
            let part = part.trim_matches(|c: char| !c.is_alphanumeric());
            if part.len() > 3 && !source.contains(part) {
                lost.push(format!("`{}`: no message says `{part}`", &found[1]));
            }
        }
    }
    assert!(seen >= 20, "only {seen} messages are explained");
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn every_class_of_failure_is_explained() {
    let code = read("src/model/failure.rs");
    let body =
        code.split_once("pub enum FailureClass {").and_then(|(_, rest)| rest.split_once("\n}")).expect("the enum").0;
    let variant = Regex::new(r"(?m)^    ([A-Z]\w+),$").expect("an expression");
    let page = read("docs/troubleshooting.md");
    let lost: Vec<_> = variant
        .captures_iter(body)
        .map(|found| {
            let mut name = String::new();
            for letter in found[1].chars() {
                if letter.is_uppercase() && !name.is_empty() {
                    name.push('-');
                }
                name.push(letter.to_ascii_lowercase());
            }
            name
        })
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(lost.is_empty(), "docs/troubleshooting.md does not explain {lost:?}");
}

#[test]
fn every_word_of_templates_is_told() {
    let page = read("docs/templates.md");
    let code = read("src/config/template/check.rs");
    let mut words = Vec::new();
    for name in ["BLOCKS", "HELPERS"] {
        let list =
            code.split_once(&format!("const {name}")).and_then(|(_, rest)| rest.split_once("= [")).expect("a list").1;
        let list = list.split_once(']').expect("a list").0;
        words.extend(
            list.split(',').map(|word| word.trim().trim_matches('"').to_owned()).filter(|word| !word.is_empty()),
        );
    }
    words.extend(longshore::config::Variables::BUILT_IN.map(str::to_owned));
    let lost: Vec<_> = words.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
    assert!(words.len() > 15 && lost.is_empty(), "docs/templates.md does not tell of {lost:?}");
}

#[test]
fn the_limits_of_ssh_are_those_of_the_code() {
    let limits = Limits::default();
    let page = read("docs/ssh.md");
    let rows = [
        format!("| TCP connection of one try | {} |", Span(limits.tcp)),
        format!("| handshake of one try | {} |", Span(limits.handshake)),
        format!("| answer to one key or password | {} |", Span(limits.authentication)),
        format!("| opening a channel | {} |", Span(limits.channel_open)),
        format!("counts as lost | {}, {} times |", Span(limits.keepalive_interval), limits.keepalive_count),
        format!("opened at once | {}, {} to one address |", limits.opening, limits.opening_per_address),
    ];
    let lost: Vec<_> = rows.iter().filter(|row| !page.contains(row.as_str())).collect();
    assert!(lost.is_empty(), "docs/ssh.md does not say {lost:#?}");
}
