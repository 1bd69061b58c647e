//! Finds what is wrong with a template before anything is rendered.

use std::ops::Range;

use handlebars::{
    Path, PathSeg, Template,
    template::{BlockParam, HelperTemplate, Parameter, TemplateElement},
};
use serde_json::Value as Json;

use super::{
    Scope, TemplateKind, TemplateProblem,
    quoting::{Quotes, Reader},
};
use crate::config::suggest;

/// Whether a declared name may be without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unset {
    Allowed,
    Refused,
}

const BLOCKS: [&str; 4] = ["if", "unless", "each", "with"];
const HELPERS: [&str; 12] = ["raw", "lookup", "len", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not"];

/// Whether templates read a name as one of their own words, so that no variable can have it.
pub fn is_reserved(name: &str) -> bool {
    BLOCKS.contains(&name) || HELPERS.contains(&name) || matches!(name, "this" | "else" | "log" | "root")
}

pub(super) fn check(kind: TemplateKind, text: &str, scope: &Scope, unset: Unset) -> Vec<TemplateProblem> {
    if !text.contains("{{") {
        return Vec::new();
    }
    let template = match Template::compile(text) {
        Ok(template) => template,
        Err(error) => {
            let start = error.pos().map_or(0, |(line, column)| offset(text, line, column));
            return vec![TemplateProblem {
                range: tag_at(text, start),
                message: format!("the template is not complete: {}", reason(&error)),
                hint: Some("a value is written `{{name}}`, and braces that are no template `\\{{`".to_owned()),
                undeclared: None,
            }];
        }
    };
    let mut checker = Checker { kind, text, scope, unset, is_snippet: false, found: Vec::new() };
    checker.template(
        &template,
        &mut Reader::default(),
        &Frame { parent: None, names: Vec::new(), is_item: false, set: Vec::new() },
    );
    checker.found
}

fn reason(error: &handlebars::TemplateError) -> String {
    use handlebars::TemplateErrorReason as Reason;
    match error.reason() {
        Reason::InvalidSyntax(_) => "a `{{` or a block is not closed, or the words in it are not understood".to_owned(),
        Reason::MismatchingClosedHelper(open, close) | Reason::MismatchingClosedDecorator(open, close) => {
            format!("`{open}` was opened, but `{close}` is closed")
        }
        other => other.to_string(),
    }
}

/// A block around a part of a template, with the names it adds.
struct Frame<'a> {
    parent: Option<&'a Frame<'a>>,
    names: Vec<String>,
    /// Names are looked up in an item of a list first, of which nothing is known here.
    is_item: bool,
    /// Names that have a value wherever this part is rendered.
    set: Vec<String>,
}

impl Frame<'_> {
    /// Whether a block around has asked for a value of this name.
    fn has_value(&self, name: &str) -> bool {
        self.set.iter().any(|set| set == name) || self.parent.is_some_and(|parent| parent.has_value(name))
    }
}

struct Checker<'a> {
    kind: TemplateKind,
    text: &'a str,
    scope: &'a Scope,
    unset: Unset,
    /// The text is put into another.
    is_snippet: bool,
    found: Vec<TemplateProblem>,
}

/// What a value is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It is put into the text.
    Text,
    /// It is looked at.
    Condition,
    /// It is a list or a table to go through.
    Collection,
}

impl Checker<'_> {
    fn template(&mut self, template: &Template, reader: &mut Reader, frame: &Frame<'_>) {
        for (element, mapping) in template.elements.iter().zip(&template.mapping) {
            let range = tag_at(self.text, offset(self.text, mapping.0, mapping.1));
            match element {
                TemplateElement::RawString(text) => reader.read(text),
                TemplateElement::Comment(_) => {}
                TemplateElement::Expression(tag) => {
                    self.expression(tag, &range, reader, frame);
                    reader.value();
                }
                TemplateElement::HtmlExpression(tag) => {
                    if self.kind == TemplateKind::Shell {
                        self.problem(
                            range.clone(),
                            "`{{{ }}}` does not quote the value for the shell".to_owned(),
                            Some("write `{{x}}` for one quoted word, or `{{raw x}}` to put it in as it is".to_owned()),
                        );
                    }
                    self.parameter(&tag.name, Use::Text, &range, frame);
                    reader.value();
                }
                TemplateElement::HelperBlock(block) => self.block(block, &range, reader, frame),
                TemplateElement::PartialExpression(tag) if tag.params.is_empty() && tag.hash.is_empty() => {
                    self.snippet(tag.name.as_name().unwrap_or_default(), &range, reader, frame);
                }
                // Decorators, and whatever a newer engine may add.
                _ => {
                    let hint = "a snippet of the profile is put in by `{{> NAME}}`";
                    self.problem(range, "templates cannot do this".to_owned(), Some(hint.to_owned()));
                }
            }
        }
    }

    /// Judges a snippet where it is put in: what is wrong with it there is told of its tag.
    fn snippet(&mut self, name: &str, range: &Range<usize>, reader: &mut Reader, frame: &Frame<'_>) {
        let known = self.scope.get(super::SNIPPETS).and_then(Json::as_object);
        let Some(text) = known.and_then(|known| known.get(name)).and_then(Json::as_str) else {
            let names = known.into_iter().flat_map(|known| known.keys().map(String::as_str));
            let hint = suggest::hint(name, names);
            return self.problem(range.clone(), format!("the profile has no snippet `{name}`"), hint);
        };
        if self.is_snippet {
            let hint = Some("write it out".to_owned());
            return self.problem(range.clone(), "a snippet cannot put in another".to_owned(), hint);
        }
        let Ok(template) = Template::compile(text) else {
            return self.problem(range.clone(), format!("the snippet `{name}` is no template"), None);
        };
        let (kind, scope, unset) = (self.kind, self.scope, self.unset);
        let mut inner = Checker { kind, text, scope, unset, is_snippet: true, found: Vec::new() };
        inner.template(&template, reader, frame);
        self.found.extend(inner.found.into_iter().map(|problem| TemplateProblem {
            range: range.clone(),
            message: format!("in the snippet `{name}`: {}", problem.message),
            ..problem
        }));
    }

    fn expression(&mut self, tag: &HelperTemplate, range: &Range<usize>, reader: &Reader, frame: &Frame<'_>) {
        let name = tag.name.as_name().unwrap_or_default();
        let is_value = tag.params.is_empty() && tag.hash.is_empty();
        if !is_value && !self.is_helper(name, range) {
            return;
        }
        if is_value && HELPERS.contains(&name) {
            return self.problem(
                range.clone(),
                format!("`{name}` needs a value"),
                Some(format!("write `{{{{{name} x}}}}`")),
            );
        }
        if is_value {
            self.parameter(&tag.name, Use::Text, range, frame);
        } else {
            let used = match name {
                "raw" => Use::Text,
                "len" | "lookup" => Use::Collection,
                _ => Use::Condition,
            };
            tag.params.iter().for_each(|parameter| self.parameter(parameter, used, range, frame));
        }
        if self.kind == TemplateKind::Shell && name != "raw" {
            self.quotes(reader.quotes(), range);
        }
    }

    /// A value brings its own quotes: inside others they would end them, or stay as text.
    fn quotes(&mut self, quotes: Quotes, range: &Range<usize>) {
        let inner = self.text[range.clone()].trim_matches(['{', '}', '~', ' ']).to_owned();
        let (message, hint) = match quotes {
            Quotes::None | Quotes::Comment => return,
            Quotes::Single => (
                "brings its own quotes and would end the single quotes around it",
                format!("leave out the quotes: `{{{{{inner}}}}}` is one word, whatever it contains"),
            ),
            Quotes::Double => (
                "brings its own quotes, which would stand in the text between the double quotes",
                format!("end the double quotes before it: `\"...\"{{{{{inner}}}}}\"...\"`"),
            ),
            Quotes::HereDocument => (
                "brings its own quotes, which would stand in the here-document",
                format!("write `{{{{raw {inner}}}}}` if the shell may read the value as it is, or use a `file` step"),
            ),
        };
        self.problem(range.clone(), format!("`{{{{{inner}}}}}` {message}"), Some(hint));
    }

    fn is_helper(&mut self, name: &str, range: &Range<usize>) -> bool {
        if HELPERS.contains(&name) {
            return true;
        }
        let hint = suggest::hint(name, HELPERS);
        self.problem(range.clone(), format!("`{name}` is nothing that templates can do"), hint);
        false
    }

    fn block(&mut self, block: &HelperTemplate, range: &Range<usize>, reader: &mut Reader, frame: &Frame<'_>) {
        let name = block.name.as_name().unwrap_or_default();
        if name == "raw" {
            if let Some(body) = &block.template {
                self.template(body, reader, frame);
            }
            return;
        }
        if !BLOCKS.contains(&name) {
            let hint = suggest::hint(name, BLOCKS);
            return self.problem(range.clone(), format!("`{name}` is no block that templates know"), hint);
        }
        let is_item = matches!(name, "each" | "with");
        if block.params.is_empty() {
            self.problem(range.clone(), format!("`{name}` needs a value"), Some(format!("write `{{{{#{name} x}}}}`")));
        }
        for parameter in &block.params {
            self.parameter(parameter, if is_item { Use::Collection } else { Use::Condition }, range, frame);
        }
        let names = match &block.block_param {
            Some(BlockParam::Single(one)) => vec![one.as_name().unwrap_or_default().to_owned()],
            Some(BlockParam::Pair((one, other))) => {
                [one, other].iter().map(|name| name.as_name().unwrap_or_default().to_owned()).collect()
            }
            _ => Vec::new(),
        };
        let set = match (name, block.params.as_slice()) {
            ("if", [one]) => one.as_name().map(str::to_owned).into_iter().collect(),
            _ => Vec::new(),
        };
        let inner = Frame { parent: Some(frame), names, is_item, set };
        let otherwise = Frame { parent: Some(frame), names: Vec::new(), is_item: false, set: Vec::new() };
        let before = reader.clone();
        if let Some(body) = &block.template {
            self.template(body, reader, &inner);
        }
        if let Some(other) = &block.inverse {
            // Whichever branch is taken, it begins in the quotes in which the block stands.
            let mut reader = before;
            self.template(other, &mut reader, &otherwise);
        }
    }

    fn parameter(&mut self, parameter: &Parameter, used: Use, range: &Range<usize>, frame: &Frame<'_>) {
        match parameter {
            Parameter::Name(name) => self.name(&[name.as_str()], name, used, range, frame),
            Parameter::Path(path) => self.path(path, used, range, frame),
            Parameter::Subexpression(inner) => {
                if let TemplateElement::Expression(tag) = inner.as_element() {
                    let name = tag.name.as_name().unwrap_or_default();
                    if tag.params.is_empty() && tag.hash.is_empty() {
                        return self.parameter(&tag.name, used, range, frame);
                    }
                    if !self.is_helper(name, range) {
                        return;
                    }
                    let used = if matches!(name, "len" | "lookup") { Use::Collection } else { Use::Condition };
                    tag.params.iter().for_each(|parameter| self.parameter(parameter, used, range, frame));
                }
            }
            // Literals, which are what they are.
            _ => {}
        }
    }

    fn path(&mut self, path: &Path, used: Use, range: &Range<usize>, frame: &Frame<'_>) {
        // `@index` and its kind belong to the block around them.
        let Path::Relative((segments, raw)) = path else { return };
        let names: Vec<&str> = segments
            .iter()
            .filter_map(|segment| match segment {
                PathSeg::Named(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let raw = raw.as_str();
        if raw == "this" || raw.starts_with("this.") || raw.starts_with("this/") || raw.starts_with("./") {
            return;
        }
        let from_root = raw.starts_with("@root");
        let mut frame = frame;
        for _ in 0..raw.matches("..").count() {
            frame = frame.parent.unwrap_or(frame);
        }
        if from_root {
            while let Some(parent) = frame.parent {
                frame = parent;
            }
        }
        self.name(&names, raw, used, range, frame);
    }

    fn name(&mut self, names: &[&str], raw: &str, used: Use, range: &Range<usize>, frame: &Frame<'_>) {
        let Some(first) = names.first() else { return };
        let mut around = Some(frame);
        while let Some(frame) = around {
            if frame.is_item || frame.names.iter().any(|name| name == first) {
                return;
            }
            around = frame.parent;
        }
        let place = || {
            let tag = &self.text[range.clone()];
            tag.find(raw).map_or_else(|| range.clone(), |at| range.start + at..range.start + at + raw.len())
        };

        let mut table = self.scope;
        let mut value = &Json::Null;
        for (depth, name) in names.iter().enumerate() {
            let Some(found) = table.get(*name) else {
                let range = place();
                return self.found.push(undeclared(names, depth, table, range));
            };
            value = found;
            match value {
                Json::Object(inner) => table = inner,
                Json::Null | Json::Array(_) => break,
                _ if depth + 1 < names.len() => {
                    let range = place();
                    let message = format!("`{}` is a plain value and has no parts", names[..=depth].join("."));
                    return self.problem(range, message, None);
                }
                _ => {}
            }
        }
        match value {
            Json::Null if self.unset == Unset::Refused && used != Use::Condition && !frame.has_value(raw) => {
                let range = place();
                self.problem(range, format!("`{raw}` has no value here"), None);
            }
            Json::Array(_) if used == Use::Text && names.len() == 1 => {
                let range = place();
                let hint = format!("go through it: `{{{{#each {raw}}}}}{{{{this}}}} {{{{/each}}}}`");
                self.problem(range, format!("`{raw}` is a list, not a plain value"), Some(hint));
            }
            Json::Object(inner) if used == Use::Text => {
                let range = place();
                let keys: Vec<&str> = inner.keys().map(String::as_str).collect();
                let hint = keys.first().map(|key| format!("name one of its parts: `{raw}.{key}`"));
                self.problem(range, format!("`{raw}` is a table, not a plain value"), hint);
            }
            _ => {}
        }
    }

    fn problem(&mut self, range: Range<usize>, message: String, hint: Option<String>) {
        self.found.push(TemplateProblem { range, message, hint, undeclared: None });
    }
}

/// The problem of a name, the last of the first `depth` + 1 of `names`, that is not in the table it is looked up in.
fn undeclared(names: &[&str], depth: usize, table: &Scope, range: Range<usize>) -> TemplateProblem {
    let (name, before) = (names[depth], names[..depth].join("."));
    let known: Vec<&str> = table.keys().map(String::as_str).collect();
    let near = suggest::nearest(name, known.iter().copied());
    let hint = match near {
        Some(near) => format!("did you mean `{}`?", [&names[..depth], &[near]].concat().join(".")),
        None if depth == 0 => {
            "declare it in the role's `[vars]`, or set it in the inventory or the playbook".to_owned()
        }
        None => format!("`{before}` has {}", suggest::list(&known)),
    };
    let message = if depth == 0 {
        format!("the variable `{name}` is not declared")
    } else {
        format!("`{before}` has no `{name}`")
    };
    TemplateProblem { range, message, hint: Some(hint), undeclared: Some(names[..=depth].join(".")) }
}

/// Returns the byte at a line and a column, both counted from one, the column in characters.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start = match line {
        0 | 1 => 0,
        _ => text.match_indices('\n').nth(line - 2).map_or(text.len(), |(at, _)| at + 1),
    };
    let rest = &text[start..];
    start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

/// Returns the bytes of the tag that begins at or after `start`.
fn tag_at(text: &str, start: usize) -> Range<usize> {
    let start = text[start..].find("{{").map_or(start, |at| start + at);
    let end = text[start..].find("}}").map_or_else(
        || text[start..].find('\n').map_or(text.len(), |at| start + at),
        |at| {
            let mut end = start + at + 2;
            while text[end..].starts_with('}') {
                end += 1;
            }
            end
        },
    );
    start..end
}
