//! Compares a document with the JSON Schema of its type, and tells every mistake it finds.
//!
//! Typed reading stops at the first mistake. The schema is made from the same types, so walking it
//! finds unknown keys, wrong types, missing keys and wrong words all at once, each with its place.

use serde_json::{Map, Value as Json};

use super::{
    Diagnostic,
    source::{Content, KeyPath, Node, Source},
    suggest,
};
use crate::{
    config::documents::{Amount, CanaryHosts},
    model::{HostName, Span},
};

/// A mistake, and the part of the document that cannot be used because of it.
#[derive(Debug)]
pub(super) struct Mistake {
    /// `None` when another mistake says it already.
    pub diagnostic: Option<Diagnostic>,
    pub prune: KeyPath,
}

/// Lists the mistakes of `source` against `schema`.
pub(super) fn mistakes(source: &Source, schema: &Json) -> Vec<Mistake> {
    let walker = Walker { source, root: schema };
    let mut found = Vec::new();
    walker.walk(source.root(), schema, &KeyPath::root(), None, &mut found);
    found
}

struct Walker<'a> {
    source: &'a Source,
    root: &'a Json,
}

/// A schema with its reference followed: its name among the definitions, and its content.
struct Resolved<'a> {
    name: Option<&'a str>,
    schema: &'a Map<String, Json>,
}

impl<'a> Walker<'a> {
    fn resolve(&self, schema: &'a Json) -> Option<Resolved<'a>> {
        let mut name = None;
        let mut schema = schema.as_object()?;
        // Definitions refer to one another at most a few times; a circle of bare references cannot be made from types.
        for _ in 0..8 {
            let Some(reference) = schema.get("$ref").and_then(Json::as_str) else { break };
            let target = reference.strip_prefix("#/$defs/")?;
            name = Some(target);
            schema = self.root.get("$defs")?.get(target)?.as_object()?;
        }
        Some(Resolved { name, schema })
    }

    fn walk(&self, node: &Node, schema: &'a Json, path: &KeyPath, within: Option<&'a str>, found: &mut Vec<Mistake>) {
        let Some(Resolved { name, schema }) = self.resolve(schema) else { return };
        let name = name.or(within);

        if let Some(name) = name
            && !self.is_well_formed(node, name, path, found)
        {
            return;
        }
        if let Some(branches) = schema.get("anyOf").and_then(Json::as_array) {
            return self.any_of(node, branches, path, name, found);
        }
        if let Some(branches) = schema.get("oneOf").and_then(Json::as_array) {
            return self.one_of(node, branches, path, name, found);
        }
        if let Some(all) = schema.get("allOf").and_then(Json::as_array) {
            for one in all {
                self.walk(node, one, path, name, found);
            }
        }
        if let Some(words) = words_of(schema) {
            self.word(node, &words, path, found);
            return;
        }
        if !fits(node, schema) {
            self.wrong_type(node, &kinds(schema), name, path, found);
            return;
        }
        match &node.content {
            Content::Table(table) => self.table(node, table, schema, path, found),
            Content::Array(items) => self.array(items, schema, path, found),
            Content::Integer(number) => self.number(*number, schema, path, found),
            _ => {}
        }
    }

    /// Checks values whose form the schema says by a pattern or not at all, in their own words.
    fn is_well_formed(&self, node: &Node, name: &str, path: &KeyPath, found: &mut Vec<Mistake>) -> bool {
        let wrong = match (name, &node.content) {
            ("Duration", Content::Text(text)) => {
                text.parse::<Span>().err().map(|message| (message, Some("write `90s`, `5m` or `1h 30m`".to_owned())))
            }
            ("HostName" | "GroupName" | "ProfileName" | "Tag", Content::Text(text)) => HostName::new(text.as_str())
                .err()
                .map(|error| (format!("`{}` cannot be a name: {error}", text.escape_debug()), None)),
            ("Amount", _) => serde_json::from_value::<Amount>(node.to_json())
                .err()
                .map(|error| (format!("this is not a number of hosts: {error}"), None)),
            ("CanaryHosts", _) => {
                serde_json::from_value::<CanaryHosts>(node.to_json()).err().map(|error| (error.to_string(), None))
            }
            ("SecretSource", Content::Text(_)) => {
                let message = format!("{} says where a secret comes from, never the secret itself", subject(path));
                let hint = "write `{ env = \"NAME\" }`, `{ file = \"PATH\" }` or `{ command = [\"pass\", \"show\", \"NAME\"] }`";
                let diagnostic = Diagnostic::error(message).at(self.source.place(path)).hint(hint);
                report(diagnostic, path, found);
                return false;
            }
            _ => None,
        };
        let Some((message, hint)) = wrong else { return true };
        let mut diagnostic = Diagnostic::error(message).at(self.source.place(path));
        diagnostic.hint = hint;
        report(diagnostic, path, found);
        false
    }

    fn any_of(
        &self,
        node: &Node,
        branches: &'a [Json],
        path: &KeyPath,
        name: Option<&'a str>,
        found: &mut Vec<Mistake>,
    ) {
        let fitting: Vec<&Json> = branches.iter().filter(|branch| self.fits(node, branch)).collect();
        if fitting.is_empty() {
            let mut expected: Vec<&'static str> = branches.iter().flat_map(|branch| self.kinds(branch)).collect();
            expected.dedup();
            let only_name = branches.iter().find_map(|branch| self.resolve(branch)?.name).or(name);
            // A reference has more to say of its own, as for a secret written as text.
            if let Some(own) = only_name
                && !self.is_well_formed(node, own, path, found)
            {
                return;
            }
            return self.wrong_type(node, &expected, only_name, path, found);
        }
        // The fewest mistakes show which of several shapes was meant.
        let mut best: Option<Vec<Mistake>> = None;
        for branch in fitting {
            let mut tried = Vec::new();
            self.walk(node, branch, path, name, &mut tried);
            if best.as_ref().is_none_or(|best| tried.len() < best.len()) {
                best = Some(tried);
            }
        }
        found.extend(best.unwrap_or_default());
    }

    /// A set of words, or a table with exactly one of several keys.
    fn one_of(
        &self,
        node: &Node,
        branches: &'a [Json],
        path: &KeyPath,
        name: Option<&'a str>,
        found: &mut Vec<Mistake>,
    ) {
        let mut words = Vec::new();
        let mut tagged: Vec<(&str, &Json)> = Vec::new();
        for branch in branches {
            let Some(resolved) = self.resolve(branch) else { continue };
            if let Some(more) = words_of(resolved.schema) {
                words.extend(more);
            } else if let Some((key, value)) = tag_of(resolved.schema) {
                tagged.push((key, value));
            } else {
                return self.any_of(node, branches, path, name, found);
            }
        }
        match &node.content {
            Content::Table(table) if !tagged.is_empty() => {
                let keys: Vec<&str> = tagged.iter().map(|(key, _)| *key).collect();
                let before = found.len();
                for (key, value) in table {
                    match tagged.iter().find(|(tag, _)| tag == key) {
                        Some((_, schema)) => self.walk(value, schema, &path.key(key), None, found),
                        None => self.unknown_key(key, &keys, path, found),
                    }
                }
                if found.len() == before && table.len() != 1 && !node.damaged {
                    let message = format!("{} needs exactly one of {}", subject(path), suggest::list(&keys));
                    report(Diagnostic::error(message).at(self.source.place(path)), path, found);
                }
            }
            Content::Text(_) if !words.is_empty() => self.word(node, &words, path, found),
            _ => {
                let mut expected = Vec::new();
                if !words.is_empty() {
                    expected.push("text");
                }
                if !tagged.is_empty() {
                    expected.push("a table");
                }
                self.wrong_type(node, &expected, name, path, found);
            }
        }
    }

    fn word(&self, node: &Node, words: &[&str], path: &KeyPath, found: &mut Vec<Mistake>) {
        let Content::Text(text) = &node.content else {
            return self.wrong_type(node, &["text"], None, path, found);
        };
        if words.contains(&text.as_str()) {
            return;
        }
        let message = format!("{} cannot be `{}`", subject(path), text.escape_debug());
        let mut diagnostic = Diagnostic::error(message).at(self.source.place(path));
        diagnostic.hint = suggest::hint(text, words.iter().copied());
        report(diagnostic, path, found);
    }

    fn table(
        &self,
        node: &Node,
        table: &indexmap::IndexMap<String, Node>,
        schema: &'a Map<String, Json>,
        path: &KeyPath,
        found: &mut Vec<Mistake>,
    ) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let named = schema.get("patternProperties").and_then(Json::as_object).and_then(|map| map.values().next());
        let others = schema.get("additionalProperties");
        for (key, value) in table {
            let below = path.key(key);
            if let Some(schema) = properties.and_then(|map| map.get(key)) {
                self.walk(value, schema, &below, None, found);
            } else if let Some(schema) = named {
                // The only patterns of keys are those of names.
                if let Err(error) = HostName::new(key.as_str()) {
                    let message = format!("`{}` cannot be a name: {error}", key.escape_debug());
                    report(Diagnostic::error(message).at(self.source.key_place(&below)), &below, found);
                } else {
                    self.walk(value, schema, &below, None, found);
                }
            } else if others == Some(&Json::Bool(false)) {
                let known: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                self.unknown_key(key, &known, path, found);
            } else if let Some(schema) = others.filter(|schema| schema.is_object()) {
                self.walk(value, schema, &below, None, found);
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        for key in required.filter(|key| !table.contains_key(*key)) {
            if node.damaged {
                continue;
            }
            // The mistyped key was told already; that its right spelling is missing is the same mistake.
            let mistyped = found.iter().any(|mistake| {
                mistake.prune.parent().as_ref() == Some(path)
                    && mistake
                        .diagnostic
                        .as_ref()
                        .and_then(|diagnostic| diagnostic.hint.as_ref())
                        .is_some_and(|hint| hint.contains(&format!("`{key}`")))
            });
            let (message, place) = if path.segments().is_empty() {
                let first_line = 0..self.source.text().find('\n').unwrap_or(0);
                (format!("the key `{key}` is missing"), self.source.at(first_line))
            } else {
                (format!("{} has no `{key}`", subject(path)), self.source.place(path))
            };
            let mut diagnostic = Diagnostic::error(message).at(place);
            diagnostic.hint = properties
                .and_then(|map| map.get(key)?.get("description")?.as_str())
                .and_then(|text| text.lines().next())
                .map(|text| format!("`{key}`: {text}"));
            if mistyped {
                // Without the key the table cannot be read, all the same.
                found.push(Mistake { diagnostic: None, prune: path.clone() });
                continue;
            }
            report(diagnostic, path, found);
        }
    }

    fn unknown_key(&self, key: &str, known: &[&str], path: &KeyPath, found: &mut Vec<Mistake>) {
        let below = path.key(key);
        let mut diagnostic =
            Diagnostic::error(format!("unknown key `{}`", key.escape_debug())).at(self.source.key_place(&below));
        diagnostic.hint = suggest::hint(key, known.iter().copied());
        report(diagnostic, &below, found);
    }

    fn array(&self, items: &[Node], schema: &'a Map<String, Json>, path: &KeyPath, found: &mut Vec<Mistake>) {
        let Some(schema) = schema.get("items") else { return };
        for (index, item) in items.iter().enumerate() {
            self.walk(item, schema, &path.index(index), None, found);
        }
    }

    fn number(&self, number: Option<i64>, schema: &'a Map<String, Json>, path: &KeyPath, found: &mut Vec<Mistake>) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_i64);
        let least = bound("minimum");
        let most = bound("maximum").or(match schema.get("format").and_then(Json::as_str) {
            Some("uint8") => Some(255),
            Some("uint16") => Some(65_535),
            Some("uint32") => Some(i64::from(u32::MAX)),
            _ => None,
        });
        let fits = number
            .is_some_and(|number| least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most));
        if !fits {
            let range = match (least, most) {
                (Some(least), Some(most)) => format!("between {least} and {most}"),
                (Some(least), None) => format!("{least} or more"),
                (None, Some(most)) => format!("{most} or less"),
                (None, None) => "smaller".to_owned(),
            };
            let message = format!("{} must be {range}", subject(path));
            report(Diagnostic::error(message).at(self.source.place(path)), path, found);
        }
    }

    fn wrong_type(
        &self,
        node: &Node,
        expected: &[&'static str],
        name: Option<&str>,
        path: &KeyPath,
        found: &mut Vec<Mistake>,
    ) {
        let mut expected: Vec<&str> = expected.to_vec();
        expected.dedup();
        let written = &self.source.text()[node.span.clone()];
        let hint = if name == Some("Duration") {
            expected = vec!["a length of time"];
            Some(match &node.content {
                Content::Integer(Some(number)) => format!("write `\"{number}s\"` for seconds, in quotes"),
                _ => "write `\"90s\"`, `\"5m\"` or `\"1h 30m\"`, in quotes".to_owned(),
            })
        } else {
            type_hint(&expected, node, written)
        };
        let message = format!("{} must be {}", subject(path), expected.join(" or "));
        let mut diagnostic =
            Diagnostic::error(message).at(self.source.place(path)).label(format!("this is {}", node.described()));
        diagnostic.hint = hint;
        report(diagnostic, path, found);
    }

    fn fits(&self, node: &Node, schema: &'a Json) -> bool {
        let Some(Resolved { schema, .. }) = self.resolve(schema) else { return true };
        match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
            Some(branches) => branches.iter().any(|branch| self.fits(node, branch)),
            None => fits(node, schema),
        }
    }

    fn kinds(&self, schema: &'a Json) -> Vec<&'static str> {
        let Some(Resolved { schema, .. }) = self.resolve(schema) else { return Vec::new() };
        match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
            Some(branches) => {
                let mut all: Vec<_> = branches.iter().flat_map(|branch| self.kinds(branch)).collect();
                all.dedup();
                all
            }
            None => kinds(schema),
        }
    }
}

/// Says how what was probably meant is written.
fn type_hint(expected: &[&str], node: &Node, written: &str) -> Option<String> {
    match (&node.content, expected) {
        (Content::Integer(_) | Content::Float(_) | Content::Date(_) | Content::Bool(_), ["text", ..]) => {
            Some(format!("write `\"{written}\"`, in quotes"))
        }
        (Content::Text(text), ["true or false"]) => match text.as_str() {
            "true" | "yes" | "on" => Some("write `true`, without quotes".to_owned()),
            "false" | "no" | "off" => Some("write `false`, without quotes".to_owned()),
            _ => None,
        },
        (Content::Text(text), ["a list"]) => Some(format!("write `[\"{}\"]`", text.escape_debug())),
        (Content::Text(text), expected) if expected.contains(&"a whole number") => {
            text.trim().parse::<i64>().ok().map(|number| format!("write `{number}`, without quotes"))
        }
        _ => None,
    }
}

fn report(diagnostic: Diagnostic, path: &KeyPath, found: &mut Vec<Mistake>) {
    found.push(Mistake { diagnostic: Some(diagnostic), prune: path.clone() });
}

/// Names what a path leads to, as the subject of a sentence.
fn subject(path: &KeyPath) -> String {
    use super::source::Segment;
    match path.segments() {
        [] => "the document".to_owned(),
        [.., Segment::Key(key)] => format!("`{key}`"),
        [.., Segment::Key(key), Segment::Index(index)] => format!("item {} of `{key}`", index + 1),
        [.., Segment::Index(index)] => format!("item {}", index + 1),
    }
}

fn types(schema: &Map<String, Json>) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one.as_str()],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn fits(node: &Node, schema: &Map<String, Json>) -> bool {
    let types = types(schema);
    if types.is_empty() {
        // A bare `const` or `enum` is of words.
        return words_of(schema).is_none() || matches!(node.content, Content::Text(_));
    }
    types.iter().any(|kind| match &node.content {
        Content::Table(_) => *kind == "object",
        Content::Array(_) => *kind == "array",
        Content::Text(_) => *kind == "string",
        Content::Integer(_) => matches!(*kind, "integer" | "number"),
        Content::Float(_) => *kind == "number",
        Content::Bool(_) => *kind == "boolean",
        Content::Date(_) => false,
    })
}

fn kinds(schema: &Map<String, Json>) -> Vec<&'static str> {
    if types(schema).is_empty() && words_of(schema).is_some() {
        return vec!["text"];
    }
    types(schema)
        .into_iter()
        .filter_map(|kind| match kind {
            "object" => Some("a table"),
            "array" => Some("a list"),
            "string" => Some("text"),
            "integer" => Some("a whole number"),
            "number" => Some("a number"),
            "boolean" => Some("true or false"),
            _ => None,
        })
        .collect()
}

/// Returns the words a schema allows, if it is a set of words.
fn words_of(schema: &Map<String, Json>) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Json::as_str) {
        return Some(vec![word]);
    }
    schema.get("enum")?.as_array()?.iter().map(Json::as_str).collect()
}

/// Returns the key and its value's schema of a table that has exactly this one key.
fn tag_of(schema: &Map<String, Json>) -> Option<(&str, &Json)> {
    let properties = schema.get("properties")?.as_object()?;
    let required = schema.get("required")?.as_array()?;
    match (properties.len(), required.as_slice()) {
        (1, [Json::String(key)]) => properties.get_key_value(key).map(|(key, value)| (key.as_str(), value)),
        _ => None,
    }
}
