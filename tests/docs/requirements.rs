//! What the runbooks demand, each with the tests that carry its id.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

use crate::kept::{keep, read, root};

/// Rows `ID demand` below headings `# Runbook`.
const ROWS: &str = "tests/docs/requirements.txt";

/// A test by its name and the file it is in.
type Test = (String, PathBuf);

fn collect(folder: &Path, of: &mut BTreeMap<String, Vec<Test>>) {
    let name =
        Regex::new(r"#\[(?:tokio::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)").expect("an expression");
    let mut entries: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, of);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            for found in name.captures_iter(&text) {
                for id in ids(&found[1]) {
                    let file = path.strip_prefix(root()).expect("below the root").to_owned();
                    of.entry(id).or_default().push((found[1].to_owned(), file));
                }
            }
        }
    }
}

/// The ids in a test's name: `f_26_f_27_a_user_logs_in` carries F-26 and F-27.
fn ids(name: &str) -> impl Iterator<Item = String> {
    let words: Vec<_> = name.split('_').collect();
    let pairs: Vec<_> = words
        .windows(2)
        .filter(|pair| matches!(pair[0], "f" | "b" | "g" | "t" | "s"))
        .filter(|pair| pair[1].len() == 2 && pair[1].bytes().all(|byte| byte.is_ascii_digit()))
        .map(|pair| format!("{}-{}", pair[0].to_uppercase(), pair[1]))
        .collect();
    pairs.into_iter()
}

#[test]
fn every_demand_of_the_runbooks_is_listed_with_its_tests() {
    let mut of = BTreeMap::new();
    for folder in ["src", "tests"] {
        collect(&root().join(folder), &mut of);
    }
    let rows = read(ROWS);
    let mut page = String::new();
    let (mut all, mut shown) = (0, 0);
    for row in rows.lines() {
        if let Some(runbook) = row.strip_prefix("# ") {
            let _ = write!(page, "\n## {runbook}\n\n| id | demand | tests |\n| --- | --- | --- |\n");
            continue;
        }
        let (id, demand) = row.split_once(' ').expect("an id and a demand");
        all += 1;
        let tests = of.remove(id).unwrap_or_default();
        shown += usize::from(!tests.is_empty());
        let tests: Vec<_> = tests.iter().map(|(name, file)| format!("[`{name}`](../{})", file.display())).collect();
        let tests = if tests.is_empty() { "none yet".to_owned() } else { tests.join("<br>") };
        let _ = writeln!(page, "| {id} | {} | {tests} |", demand.replace('|', "\\|"));
    }
    assert!(of.is_empty(), "tests carry ids that no runbook has: {of:?}");
    let head = format!(
        "# What the runbooks demand\n\n<!-- Made from the tests by `BLESS=1 cargo test --test docs`. -->\n\n\
         Five runbooks of real products are the measure of longshore. Each of their demands has an id, and a test that shows a \
         demand, or a part of it, carries the id in its name. {shown} of {all} have at least one test.\n"
    );
    keep("docs/requirements.md", &format!("{head}{page}"));
}
