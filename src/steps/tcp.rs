//! The tcp check: a port that accepts connections.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Probed, Problem, Reach, Side, Template, answer, check};
use crate::model::{Redactor, Span};

/// A TCP port that must accept connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TcpCheck {
    /// `address:port`. `localhost` is that of `from`.
    pub connect: String,
    /// Who connects. `host` when left out.
    #[serde(default, skip_serializing_if = "Side::is_host")]
    pub from: Side,
    /// Longest time for the connection. The limit of the check when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

impl TcpCheck {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "connect", &mut self.connect);
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        address_problem("connect", &self.connect, None).into_iter().collect()
    }

    pub(super) fn summary(&self) -> String {
        let from = if self.from == Side::Controller { " from the controller" } else { "" };
        format!("tcp {}{from}", Redactor::mask(&self.connect))
    }

    pub(super) async fn probe(&self, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let limit = self.timeout.map_or(timeout, Duration::from);
        let connect = match answer::fill(reach.redactor, &self.connect) {
            Ok(connect) => connect,
            Err(reason) => return Probed::error(reason),
        };
        let Some((address, port)) = split_address(connect.reveal(), None) else {
            return Probed::error(format!("`{}` is not `address:port`", self.connect));
        };
        let began = Instant::now();
        match tokio::time::timeout(limit, check::open(self.from, reach.session, &address, port)).await {
            Ok(Ok(_)) => Probed::pass(format!("connected in {}", check::took(began.elapsed()))),
            Ok(Err(error)) => Probed::from_transport(&error),
            Err(_) => Probed::fail(format!("no connection within {}", Span(limit))),
        }
    }
}

/// Says what is wrong with `address:port`. One with a template is judged once rendered.
pub(super) fn address_problem(key: &str, text: &str, port: Option<u16>) -> Option<Problem> {
    if text.contains("{{") || Redactor::mentions_secret(text) {
        return None;
    }
    split_address(text, port).is_none().then(|| {
        Problem::new(key, format!("`{text}` is not `address:port`")).hint("write `localhost:5432` or `[::1]:5432`")
    })
}

/// Splits `address:port`, or `[address]:port` for IPv6.
pub(super) fn split_address(text: &str, port: Option<u16>) -> Option<(String, u16)> {
    let (address, after) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            (address, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((address, after)) => (address, Some(after)),
            None => (text, None),
        },
    };
    let port = match after {
        Some(after) => after.parse().ok().filter(|port| *port != 0)?,
        None => port?,
    };
    let is_address = !address.is_empty() && !address.contains(char::is_whitespace);
    is_address.then(|| (address.to_owned(), port))
}
