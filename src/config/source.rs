//! The text of one document, and where in it each value stands.
//!
//! TOML is parsed with recovery, so that one slip of the keyboard does not hide the mistakes after
//! it. What cannot be used is taken out of the tree, and the table it was in is marked, so that later
//! checks do not complain about what is only missing because it was wrong.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};
use toml::de::{DeTable, DeValue};

use super::{Diagnostic, Place, literal, masking};

/// A way through a document: keys of tables and positions in lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct KeyPath(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    Key(String),
    Index(usize),
}

impl KeyPath {
    pub fn root() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Key(key.to_owned()));
        path
    }

    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Index(index));
        path
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.0
    }

    pub(super) fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }
}

/// The text of one document with the place of every value.
#[derive(Debug, Clone)]
pub struct Source {
    file: PathBuf,
    text: Arc<str>,
    /// The text as diagnostics show it: what looks like a secret is blotted out, byte for byte.
    shown: Arc<str>,
    root: Node,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The value's bytes; for a table with a header, the header's.
    pub span: Range<usize>,
    /// The bytes of the key it stands under.
    pub key: Option<Range<usize>>,
    pub content: Content,
    /// Something was taken out of this table or list because it was wrong.
    pub damaged: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Table(IndexMap<String, Node>),
    Array(Vec<Node>),
    Text(String),
    Integer(Option<i64>),
    Float(f64),
    Bool(bool),
    Date(String),
}

impl Source {
    /// Parses a text as TOML. All mistakes of syntax are told, and the rest of the document is kept.
    pub fn parse(file: impl Into<PathBuf>, text: &str) -> (Self, Vec<Diagnostic>) {
        let file = file.into();
        let text: Arc<str> = Arc::from(text);
        let mut diagnostics = Vec::new();

        let (table, errors) = DeTable::parse_recoverable(&text);
        let mut root = Node { span: 0..0, key: None, content: table_content(table.get_ref()), damaged: false };
        let mut secrets = Vec::new();
        root.find_secrets(&mut secrets);
        for span in errors.iter().filter_map(toml::de::Error::span) {
            secrets.extend(masking::broken_line(&text, &span));
        }
        let shown = masking::blot(&text, &secrets);
        let place = |range: Range<usize>| Place { file: file.clone(), text: Arc::clone(&shown), range };

        let mut bad_spans = Vec::new();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let message = error.message();
            // Of the many things that could begin a value, the parser names one; the hint says more.
            let message = message.split_once(", expected literal string").map_or(message, |(what, _)| what);
            let mut diagnostic =
                Diagnostic::error(format!("this is not TOML: {message}")).at(place(visible(&text, &span)));
            diagnostic.hint = syntax_hint(error.message());
            diagnostics.push(diagnostic);
            bad_spans.push(span);
        }
        if !bad_spans.is_empty() {
            root.drop_broken(&bad_spans);
        }
        let mut odd = Vec::new();
        root.find_odd_text(&mut odd);
        for (range, found) in odd {
            diagnostics.push(
                Diagnostic::error(format!("a text may not contain {found}"))
                    .at(place(range))
                    .hint("remove the character"),
            );
        }
        (Self { file, text, shown, root }, diagnostics)
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// Returns the place of the value at `path`, or of the nearest table around it.
    pub fn place(&self, path: &KeyPath) -> Place {
        self.at(self.nearest(path).span.clone())
    }

    /// Returns the place of the key at `path`, or of the nearest one around it.
    pub fn key_place(&self, path: &KeyPath) -> Place {
        let node = self.nearest(path);
        self.at(node.key.clone().unwrap_or_else(|| node.span.clone()))
    }

    /// Returns the place of a part of the text at `path`; `range` counts bytes of the text as it is
    /// read, without quotes and with escapes resolved.
    pub fn inner_place(&self, path: &KeyPath, range: &Range<usize>) -> Place {
        let node = self.nearest(path);
        let inner = match &node.content {
            Content::Text(value) => literal::inner(&self.text[node.span.clone()], value, range)
                .map(|inner| node.span.start + inner.start..node.span.start + inner.end),
            _ => None,
        };
        self.at(inner.unwrap_or_else(|| node.span.clone()))
    }

    /// Whether something was taken out of the table or list at `path` because it was wrong.
    pub fn is_damaged(&self, path: &KeyPath) -> bool {
        self.get(path).is_none_or(|node| node.damaged)
    }

    /// Returns the text at `path`, if there is one.
    pub fn text_at(&self, path: &KeyPath) -> Option<&str> {
        match &self.get(path)?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn has(&self, path: &KeyPath) -> bool {
        self.get(path).is_some()
    }

    pub(super) fn at(&self, range: Range<usize>) -> Place {
        Place { file: self.file.clone(), text: Arc::clone(&self.shown), range: visible(&self.text, &range) }
    }

    pub(super) fn get(&self, path: &KeyPath) -> Option<&Node> {
        path.segments().iter().try_fold(&self.root, |node, segment| node.child(segment))
    }

    fn nearest(&self, path: &KeyPath) -> &Node {
        let mut node = &self.root;
        for segment in path.segments() {
            match node.child(segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }

    /// Takes the value at `path` out. The root itself stays.
    pub(super) fn prune(&mut self, path: &KeyPath) {
        let Some((last, before)) = path.segments().split_last() else {
            self.root.damaged = true;
            return;
        };
        let mut node = &mut self.root;
        for segment in before {
            match node.child_mut(segment) {
                Some(child) => node = child,
                None => return,
            }
        }
        match (&mut node.content, last) {
            (Content::Table(table), Segment::Key(key)) => node.damaged |= table.shift_remove(key).is_some(),
            (Content::Array(items), Segment::Index(index)) if *index < items.len() => {
                items.remove(*index);
                node.damaged = true;
            }
            _ => {}
        }
    }
}

impl Node {
    pub fn child(&self, segment: &Segment) -> Option<&Self> {
        match (&self.content, segment) {
            (Content::Table(table), Segment::Key(key)) => table.get(key),
            (Content::Array(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    fn child_mut(&mut self, segment: &Segment) -> Option<&mut Self> {
        match (&mut self.content, segment) {
            (Content::Table(table), Segment::Key(key)) => table.get_mut(key),
            (Content::Array(items), Segment::Index(index)) => items.get_mut(*index),
            _ => None,
        }
    }

    /// Says what the value is, for messages.
    pub fn described(&self) -> &'static str {
        match self.content {
            Content::Table(_) => "a table",
            Content::Array(_) => "a list",
            Content::Text(_) => "text",
            Content::Integer(_) => "a whole number",
            Content::Float(_) => "a number with a fraction",
            Content::Bool(_) => "true or false",
            Content::Date(_) => "a date",
        }
    }

    pub fn to_json(&self) -> Json {
        match &self.content {
            Content::Table(table) => {
                Json::Object(table.iter().map(|(key, node)| (key.clone(), node.to_json())).collect::<Map<_, _>>())
            }
            Content::Array(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Content::Text(text) | Content::Date(text) => Json::String(text.clone()),
            Content::Integer(number) => number.map_or(Json::Null, Json::from),
            Content::Float(number) => Json::from(*number),
            Content::Bool(value) => Json::Bool(*value),
        }
    }

    /// Takes out the values in which the parser found a mistake. They are leaves: tables recover.
    fn drop_broken(&mut self, spans: &[Range<usize>]) {
        let broken = |node: &Self| {
            !matches!(node.content, Content::Table(_) | Content::Array(_))
                && (node.span.is_empty()
                    || spans.iter().any(|bad| bad.start <= node.span.end && bad.end >= node.span.start))
        };
        match &mut self.content {
            Content::Table(table) => {
                let before = table.len();
                table.retain(|_, node| !broken(node));
                self.damaged |= table.len() < before;
                for node in table.values_mut() {
                    node.drop_broken(spans);
                }
            }
            Content::Array(items) => {
                let before = items.len();
                items.retain(|node| !broken(node));
                self.damaged |= items.len() < before;
                for node in items {
                    node.drop_broken(spans);
                }
            }
            _ => {}
        }
    }

    /// Finds the texts that look like secrets: they are not shown, whatever else is wrong near them.
    fn find_secrets(&self, found: &mut Vec<Range<usize>>) {
        match &self.content {
            Content::Table(table) => {
                for (key, node) in table {
                    match &node.content {
                        Content::Text(text) if masking::is_secret(key, text) => found.push(node.span.clone()),
                        _ => node.find_secrets(found),
                    }
                }
            }
            Content::Array(items) => items.iter().for_each(|item| item.find_secrets(found)),
            _ => {}
        }
    }

    /// Finds texts with characters that longshore uses for its own purposes or that no program takes.
    fn find_odd_text(&self, found: &mut Vec<(Range<usize>, &'static str)>) {
        match &self.content {
            Content::Table(table) => {
                for (key, node) in table {
                    if let (Some(odd), Some(range)) = (odd_character(key), &node.key) {
                        found.push((range.clone(), odd));
                    }
                    node.find_odd_text(found);
                }
            }
            Content::Array(items) => items.iter().for_each(|item| item.find_odd_text(found)),
            Content::Text(text) => found.extend(odd_character(text).map(|odd| (self.span.clone(), odd))),
            _ => {}
        }
    }
}

/// Returns the name of a character that no text of a document may contain.
pub(super) fn odd_character(text: &str) -> Option<&'static str> {
    text.chars().find_map(|c| match c {
        '\0' => Some("a NUL character"),
        '\u{f8ff}' => Some("the character U+F8FF, which marks secrets inside longshore"),
        _ => None,
    })
}

fn table_content(table: &DeTable<'_>) -> Content {
    Content::Table(
        table
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), node(value.span(), Some(key.span()), value.get_ref())))
            .collect(),
    )
}

fn node(span: Range<usize>, key: Option<Range<usize>>, value: &DeValue<'_>) -> Node {
    let content = match value {
        DeValue::String(text) => Content::Text(text.to_string()),
        DeValue::Integer(number) => {
            Content::Integer(i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok())
        }
        DeValue::Float(number) => Content::Float(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Content::Bool(*value),
        DeValue::Datetime(date) => Content::Date(date.to_string()),
        DeValue::Array(items) => {
            Content::Array(items.iter().map(|item| node(item.span(), None, item.get_ref())).collect())
        }
        DeValue::Table(table) => table_content(table),
    };
    Node { span, key, content, damaged: false }
}

/// Widens an empty range so that there is something to underline, on character boundaries.
fn visible(text: &str, range: &Range<usize>) -> Range<usize> {
    let mut start = range.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = range.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

fn syntax_hint(message: &str) -> Option<String> {
    if message.contains("string values must be quoted") {
        return Some("write a text in quotes: `key = \"value\"`".to_owned());
    }
    if message.contains("invalid basic string") || message.contains("invalid literal string") {
        return Some("a text ends with the quote it began with, on the same line".to_owned());
    }
    if message.contains("duplicate key") {
        return Some("keep one of them".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn underlined(place: &Place) -> &str {
        &place.text[place.range.clone()]
    }

    #[test]
    fn every_value_knows_where_it_stands() {
        let (source, wrong) = Source::parse("a.toml", "[hosts.web]\naddress = 'x'\n[[step]]\nrun = [\"a\", 2]\n");
        assert_eq!(wrong, []);
        let web = KeyPath::root().key("hosts").key("web");
        assert_eq!(underlined(&source.place(&web)), "[hosts.web]");
        assert_eq!(underlined(&source.key_place(&web)), "web");
        assert_eq!(underlined(&source.place(&web.key("address"))), "'x'");
        assert_eq!(underlined(&source.key_place(&web.key("address"))), "address");
        let run = KeyPath::root().key("step").index(0).key("run");
        assert_eq!(underlined(&source.place(&run.index(1))), "2");
        assert_eq!(underlined(&source.place(&run.index(7).key("beyond"))), "[\"a\", 2]");
    }

    #[test]
    fn several_mistakes_of_syntax_are_told_and_the_rest_is_kept() {
        let (source, wrong) = Source::parse("a.toml", "good = 1\nbad = \nworse == 2\nlast = 3\n");
        assert!(wrong.len() >= 2, "{wrong:?}");
        assert!(source.has(&KeyPath::root().key("good")) && source.has(&KeyPath::root().key("last")));
        assert!(!source.has(&KeyPath::root().key("bad")));
        assert!(source.is_damaged(&KeyPath::root()));
    }

    #[test]
    fn characters_that_secrets_or_programs_could_stumble_over_are_refused() {
        for text in ["x = \"\\uF8FF\"", "x = \"a\\u0000b\"", "x = [{ y = \"\u{f8ff}\" }]", "\"\\u0000\" = 1"] {
            let (_, wrong) = Source::parse("a.toml", text);
            assert_eq!(wrong.len(), 1, "{text}: {wrong:?}");
        }
    }

    #[test]
    fn no_place_shows_what_looks_like_a_secret() {
        let text = "password = \"hunter2\"\n[vars]\nx = { token = 'hunter2', y = [{ api-key = \"\"\"\nhunter2\nhunter2\"\"\" }] }\n\
                    set = { PASSWORD = \"{{password}}\" }\nsecret = \"hunter2 \nDB_PASSWORD = hunter2\n";
        let (source, wrong) = Source::parse("a.toml", text);
        assert!(wrong.len() >= 2, "{wrong:?}");
        for place in wrong.into_iter().filter_map(|wrong| wrong.place).chain([source.place(&KeyPath::root())]) {
            assert!(!place.text.contains("hunter2"), "{}", place.text);
            assert!(place.text.contains("{{password}}"), "{}", place.text);
            assert_eq!(place.text.len(), text.len());
        }
    }
}
