//! Runs what is fuzzed on its seeds, on changed seeds and on random bytes: the short form of fuzzing, for every
//! day and any compiler. The long form is `cargo fuzz`, see `fuzz/`.
//!
//! The bytes are the same in every run. `FUZZ_CASES=100000` makes more of them. A case that `cargo fuzz` finds
//! becomes a seed.

#[path = "../fuzz/entries/mod.rs"]
mod entries;

use std::{env, fs, path::Path};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Cases for each entry unless asked for more.
const CASES: u32 = 256;

fn seeds(entry: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(entry);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.expect("a seed").path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a seed")).collect()
}

/// One change to a seed.
#[derive(Debug, Clone)]
enum Change {
    Put(Index, Vec<u8>),
    Cut(Index, usize),
    Repeat(Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let pieces: Vec<&[u8]> = vec![
        b"\"",
        b"'",
        b"\n",
        b"\r",
        b"\0",
        b"\t",
        b" ",
        b"=",
        b"[",
        b"]",
        b"{",
        b"{{",
        b"}}",
        b":",
        b",",
        b"*",
        b"!",
        b"@",
        b"-",
        b"%",
        b"\x1b[",
        b"\xff",
        b"\xc3",
        "\u{202e}".as_bytes(),
        "é".as_bytes(),
        b"0",
        b"18446744073709551615",
        b"99999999999h",
        b"1e400",
        b"..",
        b"/",
        b"#",
        b"|1|",
    ];
    prop_oneof![
        (any::<Index>(), select(pieces)).prop_map(|(at, piece)| Change::Put(at, piece.to_vec())),
        (any::<Index>(), vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Change::Put(at, bytes)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<Index>(), 1..200_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: &Index, length: usize| {
            let start = at.index(bytes.len() + 1);
            start..(start + length).min(bytes.len())
        };
        match change {
            Change::Put(at, piece) => {
                let at = place(at, 0);
                bytes.splice(at, piece.iter().copied());
            }
            Change::Cut(at, length) => {
                let cut = place(at, *length);
                bytes.drain(cut);
            }
            Change::Repeat(at, length) => {
                let again = bytes[place(at, *length)].to_vec();
                let at = place(at, 0);
                bytes.splice(at, again);
            }
        }
    }
    bytes
}

fn endure(name: &str) {
    let seeds = seeds(name);
    for seed in &seeds {
        entries::run(name, seed);
    }
    let cases = env::var("FUZZ_CASES").map_or(CASES, |cases| cases.parse().expect("a number of cases"));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let bytes = prop_oneof![
        8 => (select(seeds), vec(change(), 1..6)).prop_map(|(seed, changes)| changed(seed, &changes)),
        1 => vec(any::<u8>(), 0..400),
        1 => "\\PC{0,200}".prop_map(String::into_bytes),
    ];
    let ended = runner.run(&bytes, |bytes| {
        entries::run(name, &bytes);
        Ok(())
    });
    if let Err(error) = ended {
        panic!("{name}: {error}");
    }
}

macro_rules! endures {
    ($($test:ident: $entry:literal,)*) => {
        $(#[test]
        fn $test() {
            endure($entry);
        })*

        #[test]
        fn every_entry_is_here_and_has_a_target() {
            let names: Vec<_> = entries::ENTRIES.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$($entry),*]);
            let manifest = include_str!("../fuzz/Cargo.toml");
            for name in names {
                assert!(manifest.contains(&format!("fuzz_targets/{name}.rs")), "{name} has no target");
            }
        }
    };
}

endures! {
    checks_endure_any_answer: "check_answers",
    documents_endure_any_text: "diagnostics",
    the_durable_protocol_endures_any_answer: "durable_answers",
    reports_endure_any_stored_event: "events",
    known_hosts_endures_any_file: "known_hosts",
    cleaning_endures_any_output: "output_cleaning",
    a_plan_file_endures_any_change: "plan_file",
    selectors_endure_any_text: "selectors",
    ssh_config_endures_any_file: "ssh_config",
    templates_endure_any_text: "templates",
    words_endure_any_text: "words",
}
