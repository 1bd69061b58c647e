//! What is fuzzed: one function for each kind of bytes that somebody else wrote, with the laws that hold
//! whatever the bytes are.
//!
//! The targets of `cargo fuzz` call these, and so does `tests/fuzz_corpus.rs`, which needs no nightly
//! compiler and runs with the other tests. They use what the crate offers everybody, and nothing else.

mod answers;
mod documents;
mod files;
mod words;

/// An entry: a name, which is also that of its target and of its seeds, and the function.
pub type Entry = (&'static str, fn(&[u8]));

/// All entries, by name.
pub const ENTRIES: &[Entry] = &[
    ("check_answers", answers::checks),
    ("diagnostics", documents::diagnostics),
    ("durable_answers", answers::durable),
    ("events", files::events),
    ("known_hosts", files::known_hosts),
    ("output_cleaning", words::cleaning),
    ("plan_file", files::plan),
    ("selectors", documents::selectors),
    ("ssh_config", files::ssh_config),
    ("templates", documents::templates),
    ("words", words::words),
];

/// Runs the entry of this name.
pub fn run(name: &str, data: &[u8]) {
    let (_, entry) = ENTRIES.iter().find(|(known, _)| *known == name).expect("an entry");
    entry(data);
}

/// A text for people has line breaks and nothing else that moves a cursor.
fn assert_is_tame(text: &str) {
    let wild = text.chars().find(|c| c.is_control() && *c != '\n');
    assert!(wild.is_none(), "{wild:?} was let through: {text:?}");
}
