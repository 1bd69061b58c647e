//! Reads a text into a document, telling every mistake instead of the first.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::{
    Diagnostic,
    schema::{self, DocumentKind},
    source::{KeyPath, Source},
    walk,
};

/// Reads `text` as a document of `kind`.
///
/// What is wrong is told and left out, so that the rest can still be judged. `None` when nothing
/// usable is left. The source that comes back is of what was kept; its paths fit the document.
pub(super) fn document<T: DeserializeOwned>(
    kind: DocumentKind,
    file: &Path,
    text: &str,
) -> (Option<T>, Source, Vec<Diagnostic>) {
    let (mut source, mut diagnostics) = Source::parse(file, text);
    let mut mistakes = walk::mistakes(&source, schema::of(kind));
    let mut prunes: Vec<KeyPath> = mistakes.iter().map(|mistake| mistake.prune.clone()).collect();
    diagnostics.extend(mistakes.drain(..).filter_map(|mistake| mistake.diagnostic));
    // From the back, so that positions in lists stay true.
    prunes.sort_by_cached_key(|path| std::cmp::Reverse(order(path)));
    prunes.dedup();
    for path in &prunes {
        source.prune(path);
    }

    // What the schema cannot say, the types do: one mistake at a time, leaving out what was wrong.
    // The bound is generous; each round takes something out of the document.
    let mut after_pruning = !diagnostics.is_empty();
    for _ in 0..1000 {
        let json = source.root().to_json();
        let error = match serde_path_to_error::deserialize::<_, T>(json) {
            Ok(document) => return (Some(document), source, diagnostics),
            Err(error) => error,
        };
        let path = key_path(error.path());
        let message = error.inner().to_string();
        let missing = message.starts_with("missing field");
        if !(missing && after_pruning && source.is_damaged(&path)) {
            diagnostics.push(Diagnostic::error(message).at(source.place(&path)));
        }
        after_pruning = true;
        if path.segments().is_empty() {
            break;
        }
        source.prune(&path);
    }
    (None, source, diagnostics)
}

fn order(path: &KeyPath) -> Vec<(usize, String)> {
    use super::source::Segment;
    path.segments()
        .iter()
        .map(|segment| match segment {
            Segment::Key(key) => (0, key.clone()),
            Segment::Index(index) => (index + 1, String::new()),
        })
        .collect()
}

fn key_path(path: &serde_path_to_error::Path) -> KeyPath {
    use serde_path_to_error::Segment;
    let mut keys = KeyPath::root();
    for segment in path {
        match segment {
            Segment::Seq { index } => keys = keys.index(*index),
            Segment::Map { key } => keys = keys.key(key),
            Segment::Enum { variant } => keys = keys.key(variant),
            Segment::Unknown => break,
        }
    }
    keys
}

#[cfg(test)]
mod tests;
