//! Waits for a time, or until a check passes.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    Check, ControllerWork, Done, Probed, Problem, Progress, Reach, StepError, StepKind, Template, Undoing, Work, check,
};
use crate::model::{Effect, Receipt, Span, Verdict};

/// How often a check is made, and for how long, unless the step says otherwise.
const EVERY: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_mins(2);

/// Waits for a time (`for`), or until a check passes (`until`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Wait {
    /// How long to wait.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub length: Option<Span>,
    /// The check to wait for: exactly one kind of probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Check>,
    /// Time between two tries: `2s` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Longest time until the check must pass: `2m` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

impl Wait {
    fn within(&self) -> Duration {
        self.within.map_or(WITHIN, Duration::from)
    }
}

impl StepKind for Wait {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        if let Some(check) = &mut self.until {
            check.templates(&mut |template, key, text| visit(template, &format!("until.{key}"), text));
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        match (&self.length, &self.until) {
            (None, None) => problems.push(Problem::new("", "`wait` needs `for` or `until`")),
            (Some(_), Some(_)) => problems.push(Problem::new("for", "`for` and `until` exclude each other")),
            (None, Some(check)) => problems.extend(check.problems().into_iter().map(|problem| problem.below("until"))),
            (Some(_), None) => {
                for (key, there) in [("every", self.every.is_some()), ("within", self.within.is_some())] {
                    if there {
                        problems.push(Problem::new(key, format!("`{key}` belongs to `until`")));
                    }
                }
            }
        }
        if self.every.is_some_and(|every| every.0.is_zero()) {
            problems.push(Problem::new("every", "the time between two tries cannot be zero"));
        }
        problems
    }

    fn summary(&self) -> String {
        match (&self.length, &self.until) {
            (Some(length), _) => format!("wait {length}"),
            (None, Some(check)) => format!("wait until {} (within {})", check.summary(), Span(self.within())),
            (None, None) => "wait".to_owned(),
        }
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    fn timeout(&self) -> Duration {
        // The step's own limit says more than the engine's could, so that it comes first.
        self.length.map_or_else(|| self.within(), Duration::from) + Duration::from_mins(1)
    }

    fn expected(&self) -> Duration {
        // What is waited for comes long before the waiting is given up.
        self.length.map_or_else(|| self.within() / 4, Duration::from)
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        Undoing::Nothing
    }

    fn work(&self) -> Work<'_> {
        Work::Controller(self)
    }
}

#[async_trait]
impl ControllerWork for Wait {
    async fn look(&self, reach: &Reach<'_>) -> Result<Option<String>, StepError> {
        match (&self.length, &self.until) {
            (Some(length), _) => Ok(Some(format!("would wait {length}"))),
            (None, Some(check)) => {
                let probed = check.probe(reach, check::LIMIT).await;
                Ok((probed.verdict != Verdict::Pass).then(|| format!("would wait: {}", probed.seen)))
            }
            (None, None) => Ok(None),
        }
    }

    async fn act(&self, reach: &Reach<'_>) -> Result<Done, StepError> {
        let (None, Some(check)) = (&self.length, &self.until) else {
            let length = self.length.map_or(Duration::ZERO, Duration::from);
            (reach.progress)(Progress::Waiting(format!("waiting {}", Span(length))));
            tokio::time::sleep(length).await;
            return Ok(Done::default());
        };
        let within = self.within();
        let every = self.every.map_or(EVERY, Duration::from);
        let deadline = Instant::now() + within;
        let mut tries: u32 = 0;
        loop {
            tries += 1;
            let left = deadline.saturating_duration_since(Instant::now());
            // A try that begins in time may end a little late, but not hang.
            let one = check.probe(reach, check::LIMIT.min(left.max(Duration::from_secs(1))));
            let probed = match tokio::time::timeout(left.max(Duration::from_secs(1)), one).await {
                Ok(probed) => probed,
                Err(_) => Probed::fail(format!("no answer within {}", Span(within))),
            };
            if probed.verdict == Verdict::Pass {
                let receipt = Receipt::default().with("seen", probed.seen.clone()).with("tries", tries.to_string());
                return Ok(Done { changed: false, receipt, probe: Some(probed) });
            }
            (reach.progress)(Progress::Waiting(probed.seen.clone()));
            if reach.session.is_closed() || Instant::now() + every >= deadline {
                let (what, seen) = (check.summary(), probed.seen);
                return Err(StepError::WaitedInVain { what, limit: within, seen });
            }
            tokio::time::sleep(every).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::HostName,
        steps::stand::Stand,
        transport::scripted::{Answer, ScriptedTransport},
    };

    fn wait(text: &str) -> Wait {
        let wait: Wait = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(wait.problems(), [], "{text}");
        wait
    }

    fn stand(transport: &ScriptedTransport) -> Stand {
        let host: HostName = "web-1".parse().expect("a name");
        Stand { session: transport.session(&host), ..Stand::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_is_waited() {
        let began = Instant::now();
        let stand = stand(&ScriptedTransport::new());
        stand.with(async |reach| wait("for = '10m'").act(reach).await).await.expect("waited");
        assert_eq!(began.elapsed(), Duration::from_mins(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_is_made_until_it_passes() {
        let transport = ScriptedTransport::new().answer(Answer::to("is-active").times(3).status(3));
        let stand = stand(&transport);
        let step = wait("until = { command = 'is-active' }\nevery = '5s'\nwithin = '1m'");
        let looked = stand.with(async |reach| step.look(reach).await).await.expect("looked");
        assert!(looked.is_some_and(|seen| seen.starts_with("would wait: exit status 3")));
        let began = Instant::now();
        let done = stand.with(async |reach| step.act(reach).await).await.expect("it passed");
        assert_eq!((done.receipt.get("tries"), began.elapsed()), (Some("3"), Duration::from_secs(10)));
        assert_eq!(stand.told.lock().expect("not poisoned").len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_in_vain_says_what_was_seen_last() {
        let stand = stand(&ScriptedTransport::new().answer(Answer::to_all().status(3).err("activating\n")));
        let step = wait("until = { command = 'is-active' }\nevery = '5s'\nwithin = '1m'");
        let began = Instant::now();
        let error = stand.with(async |reach| step.act(reach).await).await.expect_err("in vain");
        assert!(began.elapsed() <= Duration::from_mins(1), "{:?}", began.elapsed());
        assert_eq!(error.to_string(), "is-active was not so within 1m");
        assert!(error.to_failure().causes[0].ends_with("(expected 0): activating"), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_does_not_outlast_the_wait() {
        let stand = stand(&ScriptedTransport::new().answer(Answer::to_all().hangs()));
        let began = Instant::now();
        let step = wait("until = { command = 'hang' }\nwithin = '45s'");
        assert!(stand.with(async |reach| step.act(reach).await).await.is_err());
        assert!(began.elapsed() <= Duration::from_secs(46), "{:?}", began.elapsed());
    }

    #[test]
    fn wrong_arguments_are_all_named() {
        for (text, keys) in [
            ("", &[""][..]),
            ("for = '1s'\nuntil = { command = 'x' }", &["for"]),
            ("for = '1s'\nevery = '1s'\nwithin = '1s'", &["every", "within"]),
            ("until = { tcp = { connect = 'x' } }\nevery = '0s'", &["until.tcp.connect", "every"]),
        ] {
            let wait: Wait = toml::from_str(text).expect(text);
            assert_eq!(wait.problems().into_iter().map(|problem| problem.key).collect::<Vec<_>>(), keys, "{text}");
        }
    }
}
