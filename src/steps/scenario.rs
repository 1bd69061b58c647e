//! The scenario check: several HTTP requests one after the other, as a user's browser or client would make them.
//!
//! Cookies are kept from one to the next, and values of answers can be used in later requests; a request may be repeated
//! until its answer is the expected one, such as for a job that takes its time. The verdict is that of the first request
//! that does not pass.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cookie_store::CookieStore;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{HttpCheck, Probed, Problem, Reach, Template, answer, check, json, shell};
use crate::model::{Redactor, Span, Verdict};

/// HTTP requests in order. Each must pass; cookies are kept from one to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScenarioCheck {
    /// The requests.
    pub requests: Vec<ScenarioRequest>,
}

/// One request of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScenarioRequest {
    /// What it is for, as messages name it.
    pub name: String,
    /// The request, and what is expected of its answer. `${NAME}` is a value that an earlier request kept.
    pub http: HttpCheck,
    /// Values of the JSON answer to keep, by a name of your own: `{ job = "id" }`. Paths as in `json`. They are taken out
    /// of what is shown.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub keep: IndexMap<String, String>,
    /// Repeat the request until it passes, for so long. Once when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// Make the request even where an earlier one did not pass, once the values it uses were kept: to take away what those
    /// left behind. Every request of the kind is made, and the verdict stays that of the first that did not pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// Pause between two tries. `1s` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Values of the JSON answer that end the waiting at once: `{ status = "failed" }`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub give_up: json::Expected,
}

/// Pause between two tries unless the document says otherwise.
const PAUSE: Duration = Duration::from_secs(1);

/// Shortest kept value that is hidden in what is shown: a shorter one says nothing, and hides everything.
const HIDDEN: usize = 6;

/// What the requests of one scenario share.
#[derive(Default)]
struct Journey {
    cookies: Arc<Mutex<CookieStore>>,
    kept: IndexMap<String, String>,
}

impl ScenarioCheck {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        for (index, request) in self.requests.iter_mut().enumerate() {
            request.http.templates(&mut |template, key, text| {
                visit(template, &format!("requests.{index}.http.{key}"), text);
            });
            for (path, value) in &mut request.give_up {
                json::templates(&format!("requests.{index}.give-up.{path}"), value, visit);
            }
        }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.requests.is_empty() {
            problems.push(Problem::new("requests", "a scenario needs requests"));
        }
        let mut known: Vec<&str> = Vec::new();
        for (index, request) in self.requests.iter().enumerate() {
            let at = |key: &str| format!("requests.{index}.{key}");
            if request.name.trim().is_empty() {
                problems.push(Problem::new(&at("name"), "a request of a scenario needs a name"));
            }
            // An address that begins with a kept value is known only later.
            let http = request
                .http
                .problems()
                .into_iter()
                .filter(|problem| !(problem.key == "url" && request.http.url.starts_with("${")));
            problems.extend(http.map(|problem| problem.below(&at("http"))));
            let mut unknown = Vec::new();
            request.http.clone().templates(&mut |_, key, text| {
                for name in names_in(text).filter(|name| !known.contains(name)) {
                    unknown.push((key.to_owned(), name.to_owned()));
                }
            });
            for (key, name) in unknown {
                problems.push(
                    Problem::new(&at(&format!("http.{key}")), format!("no earlier request keeps `{name}`"))
                        .hint(format!("add `keep = {{ {name} = \"PATH\" }}` to the request that is answered with it")),
                );
            }
            for name in request.keep.keys() {
                if !is_name(name) {
                    problems.push(
                        Problem::new(&at(&format!("keep.{name}")), format!("`{name}` cannot stand in `${{...}}`"))
                            .hint("use letters, digits and `_`"),
                    );
                }
                known.push(name);
            }
            if request.within.is_none() {
                for (key, there) in [("every", request.every.is_some()), ("give-up", !request.give_up.is_empty())] {
                    if there {
                        problems
                            .push(Problem::new(&at(key), "it is for a request that is repeated").hint("add `within`"));
                    }
                }
            }
        }
        problems
    }

    pub(super) fn summary(&self) -> String {
        let names: Vec<_> = self.requests.iter().map(|request| request.name.as_str()).collect();
        shell::one_line(&format!("http: {}", Redactor::mask(&names.join(", "))))
    }

    /// How long all of it may take at most, with this limit for one answer.
    pub(super) fn longest(&self, one: Duration) -> Duration {
        let longest = |request: &ScenarioRequest| {
            let answer = request.http.timeout.map_or(one, Duration::from);
            answer + request.within.map_or(Duration::ZERO, Duration::from)
        };
        self.requests.iter().map(longest).sum()
    }

    pub(super) async fn probe(&self, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let began = Instant::now();
        let mut journey = Journey::default();
        let mut failed: Option<Probed> = None;
        for request in &self.requests {
            if failed.is_some() && !(request.always && journey.has_what(request)) {
                continue;
            }
            let probed = journey.go(request, reach, timeout).await;
            if probed.verdict == Verdict::Pass {
                continue;
            }
            let seen = format!("`{}`: {}", request.name, journey.hide(&probed.seen));
            match &mut failed {
                None => failed = Some(Probed { seen, ..probed }),
                // What is left behind has to be known, too.
                Some(first) => first.seen = format!("{}; {seen}", first.seen),
            }
        }
        if let Some(failed) = failed {
            return failed;
        }
        Probed::pass(format!("{} requests in {}", self.requests.len(), check::took(began.elapsed())))
    }
}

impl Journey {
    /// Makes one request, again and again where it says so.
    async fn go(&mut self, request: &ScenarioRequest, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let mut http = request.http.clone();
        http.templates(&mut |_, _, text| *text = self.put_in(text));
        let deadline = request.within.map(|Span(within)| Instant::now() + within);
        loop {
            let (probed, body) = http.probe_with(reach, timeout, Some(&self.cookies)).await;
            if probed.verdict == Verdict::Pass {
                return self.keep(request, &body).unwrap_or(probed);
            }
            let Some(deadline) = deadline else { return probed };
            if let Some(over) = over(request, &body, reach.redactor) {
                return over;
            }
            if Instant::now() >= deadline {
                let within = request.within.expect("there is a deadline");
                return Probed { seen: format!("not within {within}: {}", probed.seen), ..probed };
            }
            tokio::time::sleep(request.every.map_or(PAUSE, Duration::from)).await;
        }
    }

    /// Keeps the values that are wanted. `Some` where one is not there.
    fn keep(&mut self, request: &ScenarioRequest, body: &[u8]) -> Option<Probed> {
        if request.keep.is_empty() {
            return None;
        }
        let Ok(document) = serde_json::from_slice::<Value>(body) else {
            return Some(Probed::fail("the answer is no JSON, so nothing can be kept of it"));
        };
        for (name, path) in &request.keep {
            let value = match json::find(&document, path) {
                Some(Value::String(text)) => text.clone(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                Some(_) => return Some(Probed::fail(format!("`{path}` of the answer is no single value"))),
                None => return Some(Probed::fail(format!("the answer has no `{path}`"))),
            };
            self.kept.insert(name.clone(), value);
        }
        None
    }

    /// Whether all values that the request uses were kept.
    fn has_what(&self, request: &ScenarioRequest) -> bool {
        let mut has = true;
        request
            .http
            .clone()
            .templates(&mut |_, _, text| has &= names_in(text).all(|name| self.kept.contains_key(name)));
        has
    }

    fn put_in(&self, text: &str) -> String {
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, name, after)) = next_name(rest) {
            whole.push_str(before);
            match self.kept.get(name) {
                Some(value) => whole.push_str(value),
                None => whole.push_str(&rest[before.len()..rest.len() - after.len()]),
            }
            rest = after;
        }
        whole + rest
    }

    fn hide(&self, seen: &str) -> String {
        let secret = |value: &&String| value.len() >= HIDDEN;
        self.kept.values().filter(secret).fold(seen.to_owned(), |seen, value| seen.replace(value.as_str(), "***"))
    }
}

/// Whether an answer says that waiting for a better one is in vain.
fn over(request: &ScenarioRequest, body: &[u8], redactor: &Redactor) -> Option<Probed> {
    if request.give_up.is_empty() {
        return None;
    }
    let document = serde_json::from_slice::<Value>(body).ok()?;
    for (path, wanted) in &request.give_up {
        let mut wanted = wanted.clone();
        if let Err(reason) = answer::fill_value(redactor, &mut wanted) {
            return Some(Probed::error(reason));
        }
        let one = IndexMap::from([(path.clone(), wanted)]);
        if json::difference(&document, &one).is_none() {
            return Some(Probed::fail(format!("given up: the answer says `{path}` is {}", one[path])));
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Finds the next `${NAME}`: what stands before it, the name, what comes after.
fn next_name(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find("${")?;
        let (name, after) = text[at + 2..].split_once('}')?;
        if is_name(name) {
            return Some((&text[..at], name, after));
        }
        from = at + 2;
    }
}

fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, name, after) = next_name(rest)?;
        rest = after;
        Some(name)
    })
}

#[cfg(test)]
mod tests;
