//! What is expected of an answer's text, whether a web server or a command gave it.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{Problem, Template, Texts, json};
use crate::model::{Redactor, Secret, clean_line};

/// The conditions on an answer. Each that is there must hold.
pub(super) struct Expectations<'a> {
    pub contains: &'a Texts,
    pub not_contains: &'a Texts,
    pub matches: Option<&'a str>,
    pub json: &'a json::Expected,
    pub jq: Option<&'a str>,
}

/// The same, to be rendered.
pub(super) struct Parts<'a> {
    pub contains: &'a mut Texts,
    pub not_contains: &'a mut Texts,
    pub matches: &'a mut Option<String>,
    pub json: &'a mut json::Expected,
    pub jq: &'a mut Option<String>,
}

pub(super) fn templates(parts: &mut Parts<'_>, visit: &mut dyn FnMut(Template, &str, &mut String)) {
    for (key, texts) in [("contains", &mut *parts.contains), ("not-contains", &mut *parts.not_contains)] {
        match texts.0.as_mut_slice() {
            [one] => visit(Template::Text, key, one),
            many => {
                for (index, text) in many.iter_mut().enumerate() {
                    visit(Template::Text, &format!("{key}.{index}"), text);
                }
            }
        }
    }
    if let Some(expression) = parts.matches {
        visit(Template::Text, "matches", expression);
    }
    for (path, value) in parts.json.iter_mut() {
        json::templates(&format!("json.{path}"), value, visit);
    }
    if let Some(expression) = parts.jq {
        visit(Template::Text, "jq", expression);
    }
}

impl Expectations<'_> {
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, texts) in [("contains", self.contains), ("not-contains", self.not_contains)] {
            if texts.iter().any(String::is_empty) {
                problems.push(Problem::new(key, "every answer contains the empty text"));
            }
        }
        if let Some(expression) = self.matches.filter(|expression| !expression.contains("{{"))
            && let Err(error) = Regex::new(expression)
        {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            problems.push(Problem::new("matches", format!("`{expression}` is not a regular expression")).hint(reason));
        }
        if let Some(expression) = self.jq.filter(|expression| !expression.contains("{{"))
            && let Err(reason) = json::compile(expression)
        {
            problems.push(Problem::new("jq", format!("`{expression}` is not an expression of jq")).hint(reason));
        }
        problems
    }
}

impl Expectations<'_> {
    /// Judges an answer: what does not hold, `None` if all holds. `Err` says why it could not be judged.
    pub async fn judge(&self, answer: &[u8], redactor: &Redactor) -> Result<Option<String>, String> {
        let text = String::from_utf8_lossy(answer);
        for wanted in self.contains {
            if !text.contains(fill(redactor, wanted)?.reveal()) {
                return Ok(Some(format!("does not contain {}", brief(wanted))));
            }
        }
        for unwanted in self.not_contains {
            if text.contains(fill(redactor, unwanted)?.reveal()) {
                return Ok(Some(format!("contains {}", brief(unwanted))));
            }
        }
        if let Some(expression) = self.matches {
            let regex = RegexBuilder::new(fill(redactor, expression)?.reveal())
                .multi_line(true)
                .build()
                .map_err(|_| format!("{} is not a regular expression", brief(expression)))?;
            if !regex.is_match(&text) {
                return Ok(Some(format!("does not match {}", brief(expression))));
            }
        }
        if !self.json.is_empty() {
            let Ok(document) = serde_json::from_slice(answer) else {
                return Ok(Some(format!("is not JSON: {}", clean_line(answer, 60))));
            };
            let mut expected = self.json.clone();
            for value in expected.values_mut() {
                fill_value(redactor, value)?;
            }
            if let Some(difference) = json::difference(&document, &expected) {
                return Ok(Some(format!("says otherwise: {difference}")));
            }
        }
        if let Some(expression) = self.jq {
            match json::ask(fill(redactor, expression)?.reveal(), answer).await {
                json::Said::True => {}
                json::Said::False(seen) => {
                    return Ok(Some(format!("fails {}: {seen}", brief(expression))));
                }
                json::Said::Nothing(reason) => return Err(format!("{}: {reason}", brief(expression))),
            }
        }
        Ok(None)
    }
}

/// Puts secrets in place of their placeholders. The error names what has no value.
pub(super) fn fill(redactor: &Redactor, text: &str) -> Result<Secret, String> {
    redactor.fill(text).ok_or_else(|| {
        let known = redactor.secrets();
        let missing = Redactor::ids_in(text).into_iter().find(|id| !known.contains_key(id));
        format!("the secret `{}` has no value here", missing.as_ref().map_or("", |id| id.as_str()))
    })
}

pub(super) fn fill_value(redactor: &Redactor, value: &mut Value) -> Result<(), String> {
    match value {
        Value::String(text) => fill(redactor, text)?.reveal().clone_into(text),
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_value(redactor, item))?,
        Value::Object(map) => map.values_mut().try_for_each(|item| fill_value(redactor, item))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn brief(text: &str) -> String {
    format!("`{}`", clean_line(Redactor::mask(text).as_bytes(), 60))
}
