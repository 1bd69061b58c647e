//! The table of faults: a row for each, and the tests that it names.

use std::{collections::BTreeSet, fs, path::Path};

use regex::Regex;

use crate::kept::{read, root};

/// The faults have the ids R1 to this.
const LAST: usize = 64;

/// All names of functions below a folder, and those that a macro makes tests of.
fn names(folder: &Path, of: &mut BTreeSet<String>) {
    let name = Regex::new(r"(?m)(?:fn (\w+)|^\s+(\w+): \w+, \w+;$)").expect("an expression");
    for path in fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            names(&path, of);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            of.extend(
                name.captures_iter(&text)
                    .filter_map(|found| found.get(1).or(found.get(2)))
                    .map(|name| name.as_str().to_owned()),
            );
        }
    }
}

#[test]
fn every_fault_has_a_row_and_every_test_that_a_row_names_is_there() {
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests"] {
        names(&root().join(folder), &mut tests);
    }
    let page = read("docs/faults.md");
    let row = Regex::new(r"(?m)^\| ((?:R\d+(?:, )?)+) \|(.*)$").expect("an expression");
    let id = Regex::new(r"R(\d+)").expect("an expression");
    let named = Regex::new(r"`(r\d+_[a-z0-9_]*)").expect("an expression");
    let mut rows = BTreeSet::new();
    for found in row.captures_iter(&page) {
        rows.extend(id.captures_iter(&found[1]).map(|id| id[1].parse::<usize>().expect("a number")));
        for name in named.captures_iter(&found[2]) {
            let is_there =
                tests.iter().any(|test| test.starts_with(&name[1]) || test.contains(&format!("_{}", &name[1])));
            assert!(is_there, "there is no test `{}...`", &name[1]);
        }
        let says_how = named.is_match(&found[2]) || found[2].contains("rounds") || found[2].contains("cargo test");
        assert!(says_how, "nothing shows {}", &found[1]);
    }
    assert_eq!(rows, (1..=LAST).collect());
    let carries = |number: usize| {
        let words = [format!("r{number}_"), format!("r{number:02}_")];
        tests.iter().any(|test| words.iter().any(|word| test.starts_with(word) || test.contains(&format!("_{word}"))))
    };
    // A killed `resume` is killed by the rounds only.
    let without: Vec<_> = (1..=LAST).filter(|number| !carries(*number)).collect();
    assert_eq!(without, [3], "faults that no test's name carries");
}
