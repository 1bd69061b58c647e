//! The http check: one request, seen from the host or from the controller, and what is expected of the answer.

use std::time::{Duration, Instant};

use hyper::{
    HeaderMap,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Probed, Problem, Reach, Statuses, Template, Texts, answer, check,
    exchange::{self, Answered, Ask, Cookies, ExchangeError, Phase, Trust, exchange},
    json, local_file, shell,
};
use crate::model::{Redactor, Span, clean_line};

/// One HTTP request and what its answer must be. Every condition that is there must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpCheck {
    /// Address: `http://localhost:3000/health`, or `https`. `localhost` is that of `from`.
    pub url: String,
    /// Who asks. From the host nothing but its SSH server is needed. `host` when left out.
    #[serde(default, skip_serializing_if = "Side::is_host")]
    pub from: Side,
    /// Method. `GET` when left out, `POST` with a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Headers to send, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, String>,
    /// Text to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A value to send as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_body: Option<Value>,
    /// Fields to send as a form of HTML does.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub form: IndexMap<String, String>,
    /// Statuses expected: `200`, `"2xx"`, `[200, 304]`. `"2xx"` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Statuses>,
    /// Headers the answer must have, by name, each with the exact value.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub response_headers: IndexMap<String, String>,
    /// Texts the answer must contain.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub contains: Texts,
    /// Texts the answer must not contain.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub not_contains: Texts,
    /// A regular expression the answer must match somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// Values the JSON answer must have, by path: `status`, `db.migration`, `items.0.name`, `/a/b`.
    /// A text also equals a number, `true` or `false` that is written so.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub json: json::Expected,
    /// A jq expression on the JSON answer that must give `true` (or anything but `false` and `null`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jq: Option<String>,
    /// Smallest size of the answer in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<u64>,
    /// Redirections to follow at most. None when left out: a redirection is then an answer like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirects: Option<u8>,
    /// Longest time for the answer. The limit of the check when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// PEM file on the controller with the certificates to trust for `https`. The system's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Whether the certificate of `https` is verified. `true` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
}

/// Who makes a probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The host, through its SSH connection.
    #[default]
    Host,
    /// The controller.
    Controller,
}

impl Side {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn is_host(&self) -> bool {
        *self == Self::Host
    }
}

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl HttpCheck {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "url", &mut self.url);
        for (name, value) in &mut self.headers {
            visit(Template::Text, &format!("headers.{name}"), value);
        }
        if let Some(body) = &mut self.body {
            visit(Template::Text, "body", body);
        }
        if let Some(body) = &mut self.json_body {
            json::templates("json-body", body, visit);
        }
        for (name, value) in &mut self.form {
            visit(Template::Text, &format!("form.{name}"), value);
        }
        for (name, value) in &mut self.response_headers {
            visit(Template::Text, &format!("response-headers.{name}"), value);
        }
        answer::templates(
            &mut answer::Parts {
                contains: &mut self.contains,
                not_contains: &mut self.not_contains,
                matches: &mut self.matches,
                json: &mut self.json,
                jq: &mut self.jq,
            },
            visit,
        );
        if let Some(file) = &mut self.ca_file {
            visit(Template::Text, "ca-file", file);
        }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = url_problem("url", &self.url).into_iter().collect();
        if let Some(method) = self.method.as_deref().filter(|method| !METHODS.contains(method)) {
            problems.push(
                Problem::new("method", format!("`{method}` is not a method of HTTP"))
                    .hint(format!("one of {}", METHODS.join(", "))),
            );
        }
        if self.body.is_some() && self.json_body.is_some() {
            problems.push(Problem::new("json-body", "`body` and `json-body` exclude each other"));
        }
        if !self.form.is_empty() && (self.body.is_some() || self.json_body.is_some()) {
            problems.push(Problem::new("form", "a request has one body").hint("keep `form`, `body` or `json-body`"));
        }
        for (key, headers) in [("headers", &self.headers), ("response-headers", &self.response_headers)] {
            for name in headers.keys() {
                if HeaderName::from_bytes(name.as_bytes()).is_err() {
                    problems.push(Problem::new(
                        &format!("{key}.{name}"),
                        format!("`{name}` cannot be the name of a header"),
                    ));
                }
            }
        }
        if self.verify == Some(false) && self.ca_file.is_some() {
            problems.push(Problem::new("ca-file", "without verification no certificates are needed"));
        }
        problems.extend(self.expectations().problems());
        problems
    }

    pub(super) fn expectations(&self) -> answer::Expectations<'_> {
        answer::Expectations {
            contains: &self.contains,
            not_contains: &self.not_contains,
            matches: self.matches.as_deref(),
            json: &self.json,
            jq: self.jq.as_deref(),
        }
    }

    pub(super) fn summary(&self) -> String {
        let method = self.method();
        let from = if self.from == Side::Controller { " from the controller" } else { "" };
        let status = self.status.clone().unwrap_or_default();
        let method = if method == "GET" { String::new() } else { format!("{method} ") };
        shell::one_line(&format!("http {method}{} {status}{from}", Redactor::mask(&self.url)))
    }

    pub(super) fn method(&self) -> &str {
        let has_body = self.body.is_some() || self.json_body.is_some() || !self.form.is_empty();
        self.method.as_deref().unwrap_or(if has_body { "POST" } else { "GET" })
    }
}

impl HttpCheck {
    pub(super) async fn probe(&self, reach: &Reach<'_>, timeout: Duration) -> Probed {
        self.probe_with(reach, timeout, None).await.0
    }

    /// As [`HttpCheck::probe`], with cookies of earlier requests; returns also what was answered.
    pub(super) async fn probe_with(
        &self,
        reach: &Reach<'_>,
        timeout: Duration,
        cookies: Option<&Cookies>,
    ) -> (Probed, Vec<u8>) {
        let limit = self.timeout.map_or(timeout, Duration::from);
        let nothing = |probed| (probed, Vec::new());
        let ask = match self.ask(reach.redactor) {
            Ok(ask) => Ask { cookies: cookies.cloned(), ..ask },
            Err(reason) => return nothing(Probed::error(reason)),
        };
        let phase = Phase::default();
        let began = Instant::now();
        let answered = match tokio::time::timeout(limit, exchange(self.from, reach.session, ask, &phase)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(ExchangeError::Connect(error))) => return nothing(Probed::from_transport(&error)),
            Ok(Err(error)) => {
                let seen = clean_line(error.to_string().as_bytes(), 200);
                return nothing(if error.is_ours() { Probed::error(seen) } else { Probed::fail(seen) });
            }
            Err(_) => {
                let seen = format!("no answer within {}, while {}", Span(limit), phase.name());
                return nothing(Probed::fail(seen));
            }
        };
        (self.judge(&answered, began.elapsed(), reach.redactor).await, answered.body)
    }

    fn ask(&self, redactor: &Redactor) -> Result<Ask, String> {
        let fill = |text: &str| answer::fill(redactor, text);
        let mut headers = HeaderMap::new();
        let mut body = Bytes::new();
        if let Some(text) = &self.body {
            body = fill(text)?.reveal().to_owned().into();
        } else if let Some(value) = &self.json_body {
            let mut value = value.clone();
            answer::fill_value(redactor, &mut value)?;
            body = value.to_string().into();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        } else if !self.form.is_empty() {
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, value) in &self.form {
                form.append_pair(name, fill(value)?.reveal());
            }
            body = form.finish().into();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        for (name, value) in &self.headers {
            let (name, value) = header_of(name, fill(value)?.reveal())?;
            headers.insert(name, value);
        }
        let url = fill(&self.url)?;
        Ok(Ask {
            url: url
                .reveal()
                .parse()
                .map_err(|_| format!("`{}` is not an address of HTTP", Redactor::mask(&self.url)))?,
            method: self.method().parse().map_err(|_| format!("`{}` is not a method of HTTP", self.method()))?,
            headers,
            body,
            trust: match (&self.ca_file, self.verify) {
                (_, Some(false)) => Trust::All,
                (Some(path), _) => Trust::File(local_file::at_home(fill(path)?.reveal())),
                (None, _) => Trust::System,
            },
            redirects: self.redirects.unwrap_or(0),
            read: self.min_bytes.unwrap_or(0),
            cookies: None,
        })
    }

    async fn judge(&self, answered: &Answered, time: Duration, redactor: &Redactor) -> Probed {
        // How long it took differs from host to host, and would keep the same failure from being told once.
        let seen = format!("status {}", answered.status);
        let expected = self.status.clone().unwrap_or_default();
        if !expected.contains(answered.status) {
            let said = match clean_line(&answered.body, 80) {
                said if said.is_empty() || said.starts_with('<') => exchange::reason(answered.status),
                said => said,
            };
            return Probed::fail(format!("{seen} (expected {expected}): {said}"));
        }
        for (name, wanted) in &self.response_headers {
            let wanted = match answer::fill(redactor, wanted) {
                Ok(wanted) => wanted,
                Err(reason) => return Probed::error(reason),
            };
            let all: Vec<_> = answered.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            if !all.contains(&wanted.reveal().as_bytes()) {
                let found = match all.first() {
                    Some(value) => format!("is `{}`", clean_line(value, 60)),
                    None => "is missing".to_owned(),
                };
                return Probed::fail(format!(
                    "{seen}, but the header `{name}` {found} (expected `{}`)",
                    wanted.reveal()
                ));
            }
        }
        if let Some(least) = self.min_bytes.filter(|least| answered.size < *least) {
            return Probed::fail(format!("{seen}, but the answer has {} bytes (expected {least})", answered.size));
        }
        match self.expectations().judge(&answered.body, redactor).await {
            Ok(None) => Probed::pass(format!("{seen} in {}", check::took(time))),
            // What is not in the part that was read may be in the rest.
            Ok(Some(_)) if !answered.is_whole => {
                Probed::error(format!("{seen}, but the answer was too long to be judged"))
            }
            Ok(Some(wrong)) => Probed::fail(format!("{seen}, but the answer {wrong}")),
            Err(reason) => Probed::error(reason),
        }
    }
}

/// Makes a header of a name and a value; the value is kept out of logs.
pub(super) fn header_of(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let header =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` cannot be the name of a header"))?;
    let mut value =
        HeaderValue::from_str(value).map_err(|_| format!("the value of `{name}` cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// Says what is wrong with an address. One with a template is judged once rendered.
pub(super) fn url_problem(key: &str, url: &str) -> Option<Problem> {
    if url.contains("{{") || Redactor::mentions_secret(url) {
        return None;
    }
    let wrong = |message: String| {
        Some(Problem::new(key, message).hint("write the whole address: `http://localhost:3000/health`"))
    };
    match url.parse::<hyper::Uri>() {
        Err(_) => wrong(format!("`{url}` is not an address of HTTP")),
        Ok(uri) if uri.host().is_none_or(str::is_empty) => wrong(format!("`{url}` names no host")),
        Ok(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => Some(
            Problem::new(key, "a name and password do not belong into an address")
                .hint("send a header `authorization`"),
        ),
        Ok(uri) if !matches!(uri.scheme_str(), Some("http" | "https")) => {
            wrong(format!("`{url}` is neither `http` nor `https`"))
        }
        Ok(_) => None,
    }
}
