//! Tells people: by a command on the controller, or by a webhook.

use std::time::Duration;

use async_trait::async_trait;
use hyper::{
    HeaderMap, Method,
    header::{self, HeaderValue},
};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ControllerWork, Done, Problem, Progress, Reach, Side, StepError, StepKind, Template, Undoing, Work, answer,
    exchange::{Ask, Phase, Trust, exchange},
    http, shell,
};
use crate::{
    model::{Effect, Receipt, Redactor, RemoteCommand, Secret, Span, clean_line},
    transport::{Exec, local::LocalTransport},
};

/// Tells people, by a command on the controller or a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Notify {
    /// What to tell.
    pub message: String,
    /// Command as words, run on the controller: the message on its standard input and in
    /// `LONGSHORE_MESSAGE`, the facts of the run (`run`, `host`, `phase`) in `LONGSHORE_RUN` and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Address that gets a POST with JSON from the controller: `text` is the message, `run`, `host`
    /// and the other facts beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Headers for the webhook, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, String>,
    /// What a message that cannot be delivered does to the step. `ignore` when left out.
    #[serde(default, skip_serializing_if = "NotifyFailure::is_default")]
    pub on_failure: NotifyFailure,
}

/// What a message that cannot be delivered does to its step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyFailure {
    /// Noted in the receipt; the step is done.
    #[default]
    Ignore,
    /// The step fails.
    Fail,
}

impl NotifyFailure {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_default(&self) -> bool {
        *self == Self::Ignore
    }
}

impl StepKind for Notify {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "message", &mut self.message);
        for (index, word) in self.command.iter_mut().enumerate() {
            visit(Template::Text, &format!("command.{index}"), word);
        }
        if let Some(webhook) = &mut self.webhook {
            visit(Template::Text, "webhook", webhook);
        }
        for (name, value) in &mut self.headers {
            visit(Template::Text, &format!("headers.{name}"), value);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.message.trim().is_empty() {
            problems.push(Problem::new("message", "the message is empty"));
        }
        match (self.command.is_empty(), &self.webhook) {
            (true, None) => problems.push(Problem::new("", "`notify` needs `command` or `webhook`")),
            (false, Some(_)) => problems
                .push(Problem::new("webhook", "`command` and `webhook` exclude each other").hint("write two steps")),
            (true, Some(webhook)) => problems.extend(super::http::url_problem("webhook", webhook)),
            (false, None) => {
                if !self.headers.is_empty() {
                    problems.push(Problem::new("headers", "`headers` belong to `webhook`"));
                }
                if self.command[0].trim().is_empty() {
                    problems.push(Problem::new("command", "the command is empty"));
                }
            }
        }
        problems
    }

    fn summary(&self) -> String {
        shell::one_line(&format!("notify: {}", Redactor::mask(&self.message)))
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    fn timeout(&self) -> Duration {
        Duration::from_mins(1)
    }

    fn is_repeat_safe(&self) -> bool {
        false
    }

    fn undo(&self) -> Undoing {
        Undoing::Nothing
    }

    fn work(&self) -> Work<'_> {
        Work::Controller(self)
    }
}

#[async_trait]
impl ControllerWork for Notify {
    async fn look(&self, reach: &Reach<'_>) -> Result<Option<String>, StepError> {
        Ok(Some(format!("would tell: {}", self.told(reach.redactor))))
    }

    async fn act(&self, reach: &Reach<'_>) -> Result<Done, StepError> {
        let told = match (&self.webhook, self.command.is_empty()) {
            (Some(webhook), _) => self.post(webhook, reach).await,
            (None, false) => self.call(reach).await,
            (None, true) => Err("there is nobody to tell".to_owned()),
        };
        let receipt = Receipt::default().with("delivered", if told.is_ok() { "yes" } else { "no" });
        match (told, self.on_failure) {
            (Ok(()), _) => Ok(Done { changed: true, receipt, probe: None }),
            (Err(reason), NotifyFailure::Ignore) => {
                let reason = reach.redactor.hide(&reason);
                tracing::warn!(reason, "a notice was not delivered");
                (reach.progress)(Progress::Line(format!("not delivered: {reason}")));
                Ok(Done { changed: false, receipt: receipt.with("reason", reason), probe: None })
            }
            (Err(reason), NotifyFailure::Fail) => {
                Err(StepError::Refused(format!("the notice was not delivered: {}", reach.redactor.hide(&reason))))
            }
        }
    }
}

/// Longest time for telling.
const LIMIT: Duration = Duration::from_secs(30);

impl Notify {
    /// The message as people may see it: it leaves the run, so secrets stay behind.
    fn told(&self, redactor: &Redactor) -> String {
        redactor.hide(&self.message)
    }

    async fn call(&self, reach: &Reach<'_>) -> Result<(), String> {
        if self.command.iter().any(|word| Redactor::mentions_secret(word)) {
            return Err("a secret cannot be a word of a command, which others can read".to_owned());
        }
        let told = self.told(reach.redactor);
        let mut exec = Exec::command(RemoteCommand::new(&self.command)).timeout(LIMIT).stdin(format!("{told}\n"));
        exec.secrets = reach
            .words
            .iter()
            .map(|(name, value)| (variable(name), Secret::new(reach.redactor.hide(value))))
            .chain([("LONGSHORE_MESSAGE".to_owned(), Secret::new(told))])
            .collect();
        let ended = LocalTransport::new().session().run(exec, &mut ()).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        })?;
        if ended.is_success() {
            return Ok(());
        }
        let said = clean_line(&ended.err.bytes(), 100);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        Err(format!("`{}` ended with {}{said}", self.command.join(" "), ended.status))
    }

    async fn post(&self, webhook: &str, reach: &Reach<'_>) -> Result<(), String> {
        let mut document = serde_json::Map::new();
        for (name, value) in reach.words {
            document.insert(name.clone(), reach.redactor.hide(value).into());
        }
        // Chat services read `text`; nothing among the facts may take its place.
        document.insert("text".to_owned(), self.told(reach.redactor).into());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &self.headers {
            let (name, value) = http::header_of(name, answer::fill(reach.redactor, value)?.reveal())?;
            headers.insert(name, value);
        }
        let url = answer::fill(reach.redactor, webhook)?;
        let ask = Ask {
            url: url.reveal().parse().map_err(|_| "the webhook is not an address of HTTP".to_owned())?,
            method: Method::POST,
            headers,
            body: serde_json::Value::Object(document).to_string().into(),
            trust: Trust::System,
            redirects: 0,
            read: 0,
            cookies: None,
        };
        let phase = Phase::default();
        let answered = tokio::time::timeout(LIMIT, exchange(Side::Controller, reach.session, ask, &phase))
            .await
            .map_err(|_| format!("no answer within {}, while {}", Span(LIMIT), phase.name()))?
            .map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                format!("{error}{cause}")
            })?;
        if (200..300).contains(&answered.status) {
            return Ok(());
        }
        Err(format!("the webhook answered with status {}: {}", answered.status, clean_line(&answered.body, 100)))
    }
}

/// The environment variable of a fact: `LONGSHORE_HOST`.
fn variable(fact: &str) -> String {
    let name = fact.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    format!("LONGSHORE_{}", name.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        model::SecretId,
        steps::stand::{Stand, WebServer, answer},
    };

    fn stand() -> Stand {
        let mut stand = Stand::new().secret("token", "s3cret-token");
        stand.words.insert("host".to_owned(), "web-1".to_owned());
        stand.words.insert("text".to_owned(), "not the message".to_owned());
        stand
    }

    fn notify(text: &str) -> Notify {
        let mut notify: Notify = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(notify.problems(), [], "{text}");
        let token = SecretId::new("token").placeholder();
        notify.templates(&mut |_, _, text| *text = text.replace("TOKEN", &token));
        notify
    }

    async fn act(stand: &Stand, notify: &Notify) -> Result<Done, StepError> {
        stand.with(async |reach| notify.act(reach).await).await
    }

    #[tokio::test]
    async fn a_command_gets_message_and_facts_and_no_secret() {
        let stand = stand();
        let file = stand.at("told");
        let step = notify(&format!(
            "message = \"it's up, TOKEN\"\ncommand = ['sh', '-c', 'cat >\"$0\"; echo \"$LONGSHORE_HOST $LONGSHORE_MESSAGE\" >>\"$0\"', '{file}']"
        ));
        let done = act(&stand, &step).await.expect("told");
        assert_eq!(done.receipt.get("delivered"), Some("yes"));
        let told = fs::read_to_string(file).expect("written");
        assert_eq!(told, "it's up, [hidden]\nweb-1 it's up, [hidden]\n");
        let leaky = notify("message = 'x'\ncommand = ['echo', 'TOKEN']\non-failure = 'fail'");
        assert!(act(&stand, &leaky).await.is_err());
    }

    #[tokio::test]
    async fn a_webhook_gets_json() {
        let server = WebServer::start(|_| answer(200, "", "ok")).await;
        let step = notify(&format!(
            "message = 'done with \"web-1\"'\nwebhook = 'http://127.0.0.1:{}/hook?key=TOKEN'\nheaders = {{ X-Key = 'TOKEN' }}",
            server.port
        ));
        assert_eq!(act(&stand(), &step).await.expect("told").receipt.get("delivered"), Some("yes"));
        let asked = server.asked().remove(0);
        assert!(asked.starts_with("POST /hook?key=s3cret-token HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("x-key: s3cret-token\r\n"), "{asked}");
        assert!(asked.ends_with(r#"{"host":"web-1","text":"done with \"web-1\""}"#), "{asked}");
    }

    #[tokio::test]
    async fn a_notice_that_is_lost_fails_only_when_asked() {
        let server = WebServer::start(|_| answer(403, "", "bad key s3cret-token")).await;
        let hook = format!("message = 'x'\nwebhook = 'http://127.0.0.1:{}/'", server.port);
        let done = act(&stand(), &notify(&hook)).await.expect("ignored");
        assert_eq!(done.receipt.get("delivered"), Some("no"));
        assert_eq!(done.receipt.get("reason"), Some("the webhook answered with status 403: bad key [hidden]"));
        let error = act(&stand(), &notify(&format!("{hook}\non-failure = 'fail'"))).await.expect_err("asked for");
        assert!(error.to_string().starts_with("the notice was not delivered: "), "{error}");
        let broken = notify("message = 'x'\ncommand = ['sh', '-c', 'echo no >&2; exit 3']\non-failure = 'fail'");
        let error = act(&stand(), &broken).await.expect_err("asked for");
        assert!(error.to_string().ends_with("ended with status 3: no"), "{error}");
    }

    #[test]
    fn wrong_arguments_are_all_named() {
        for (text, keys) in [
            ("message = ' '", &["message", ""][..]),
            ("message = 'x'\ncommand = ['a']\nwebhook = 'http://x/'", &["webhook"]),
            ("message = 'x'\ncommand = ['']\nheaders = { a = 'b' }", &["headers", "command"]),
            ("message = 'x'\nwebhook = 'x'", &["webhook"]),
        ] {
            let notify: Notify = toml::from_str(text).expect(text);
            assert_eq!(notify.problems().into_iter().map(|problem| problem.key).collect::<Vec<_>>(), keys, "{text}");
        }
    }
}
