//! The ssh check: a login at an SSH server, for products that are one.

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Probed, Problem, Reach, Side, Template, Texts, answer, check, local_file, tcp};
use crate::{
    model::{Redactor, Span, clean_line},
    transport::ssh::login::{self, Login, LoginSeen, Proof},
};

/// A login over SSH that must work, with a terminal and what its first screen must show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SshCheck {
    /// `address:port`, port 22 when left out. `localhost` is that of `from`.
    pub connect: String,
    /// Name to log in with.
    pub user: String,
    /// Who connects. `host` when left out.
    #[serde(default, skip_serializing_if = "Side::is_host")]
    pub from: Side,
    /// Private key on the controller, without a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_file: Option<String>,
    /// Password: a variable that is a secret. Neither this nor a key: a login that needs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Fingerprint the host key must have: `SHA256:...`. Without it, or where it is empty, any key is accepted: give it
    /// wherever a password goes through a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,
    /// Texts that the first screen must show.
    #[serde(default, skip_serializing_if = "Texts::is_empty")]
    pub contains: Texts,
    /// Longest time until all of it is there. The limit of the check when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

impl SshCheck {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "connect", &mut self.connect);
        visit(Template::Text, "user", &mut self.user);
        if let Some(file) = &mut self.identity_file {
            visit(Template::Text, "identity-file", file);
        }
        if let Some(password) = &mut self.password {
            visit(Template::Text, "password", password);
        }
        if let Some(key) = &mut self.host_key {
            visit(Template::Text, "host-key", key);
        }
        match self.contains.0.as_mut_slice() {
            [one] => visit(Template::Text, "contains", one),
            many => {
                for (index, text) in many.iter_mut().enumerate() {
                    visit(Template::Text, &format!("contains.{index}"), text);
                }
            }
        }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = tcp::address_problem("connect", &self.connect, Some(22)).into_iter().collect();
        if self.user.is_empty() {
            problems.push(Problem::new("user", "the name of the user is empty"));
        }
        if self.identity_file.is_some() && self.password.is_some() {
            problems.push(Problem::new("password", "`identity-file` and `password` exclude each other"));
        }
        if let Some(key) = self.host_key.as_deref().filter(|key| !key.contains("{{") && !key.is_empty())
            && !key.starts_with("SHA256:")
        {
            problems.push(
                Problem::new("host-key", format!("`{key}` is not a fingerprint"))
                    .hint("write it as `ssh-keygen -l` shows it: `SHA256:...`"),
            );
        }
        problems
    }

    pub(super) fn summary(&self) -> String {
        format!("ssh {}@{}", Redactor::mask(&self.user), Redactor::mask(&self.connect))
    }

    pub(super) async fn probe(&self, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let limit = self.timeout.map_or(timeout, Duration::from);
        let (login, address, port) = match self.prepare(reach.redactor) {
            Ok(prepared) => prepared,
            Err(reason) => return Probed::error(reason),
        };
        let began = Instant::now();
        let stream = match tokio::time::timeout(limit, check::open(self.from, reach.session, &address, port)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Probed::from_transport(&error),
            Err(_) => return Probed::fail(format!("no connection within {}", Span(limit))),
        };
        match login::login(stream, login, limit.saturating_sub(began.elapsed())).await {
            Ok(LoginSeen { host_key, .. }) => {
                Probed::pass(format!("logged in within {}, host key {host_key}", check::took(began.elapsed())))
            }
            Err(error) if error.is_ours() => Probed::error(error.to_string()),
            Err(error) => Probed::fail(clean_line(error.to_string().as_bytes(), 200)),
        }
    }

    fn prepare(&self, redactor: &Redactor) -> Result<(Login, String, u16), String> {
        let fill = |text: &str| answer::fill(redactor, text);
        let (address, port) = tcp::split_address(fill(&self.connect)?.reveal(), Some(22))
            .ok_or_else(|| format!("`{}` is not `address:port`", self.connect))?;
        let proof = match (&self.identity_file, &self.password) {
            (Some(path), _) => Proof::KeyFile(local_file::at_home(fill(path)?.reveal())),
            (None, Some(password)) => Proof::Password(fill(password)?),
            (None, None) => Proof::Nothing,
        };
        let wait_for =
            self.contains.iter().map(|text| Ok(fill(text)?.reveal().to_owned())).collect::<Result<_, String>>()?;
        let host_key =
            self.host_key.as_deref().map(|key| Ok::<_, String>(fill(key)?.reveal().to_owned())).transpose()?;
        // A fact that is not known leaves nothing to compare with.
        let host_key = host_key.filter(|key| !key.is_empty());
        Ok((Login { user: fill(&self.user)?.reveal().to_owned(), proof, host_key, wait_for }, address, port))
    }
}
