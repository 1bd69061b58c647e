//! Acting on attempts from outside their segment: fence off, cancel, close, stop; and ending a run.

use serde::{Deserialize, Serialize};

use super::{
    Attempt, AttemptStatus, DurableError, HostSide,
    launch::BOOT,
    status::read_states,
    wire::{Script, check_name},
};

const CONTROL: &str = include_str!("control.sh");
pub(super) const CLOSING: &str = include_str!("closing.sh");

/// How an attempt whose result nobody knows was resolved, by its look or by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closing {
    /// It was found done.
    Done,
    /// It was found not done; a new attempt may start.
    NotDone,
}

/// What became of an attempt that takes itself back unless it is confirmed. Final: exactly one of both ever is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// It stands; the host will not take it back.
    Confirmed,
    /// Too late: the host takes it back, or has. `watcher` is the segment to [attach](HostSide::attach) to for the
    /// undo's attempt; should that end as not started, the undo may be sent as usual.
    Fired { watcher: Option<String> },
}

impl HostSide {
    /// Says that a step with a [`Deadman`](super::Deadman) may stand. For a person's or the controller's word that
    /// the host is well and can be reached, over a connection newer than the step; and, whatever came of the
    /// step, before anybody else takes it back. Asking again gives the same answer.
    pub async fn confirm(&self, attempt: &Attempt) -> Result<Confirmation, DurableError> {
        self.decide(attempt, "confirmed").await
    }

    /// Says that such a step may not stand: the host takes it back now, unless it was confirmed before.
    pub async fn refuse(&self, attempt: &Attempt) -> Result<Confirmation, DurableError> {
        self.decide(attempt, "fired").await
    }

    /// What would start this user's programs should the host restart now; `None`: nothing that is known of.
    pub async fn boot_hook(&self) -> Result<Option<String>, DurableError> {
        let question = "say what starts programs when it comes up";
        let script = self.script().add(BOOT).add("find_hook").add("say \"hook $HOOK\"").call("say", &["end"]);
        let answers = self.ask(question, script).await?;
        match answers.iter().find(|answer| answer.verb == "hook") {
            Some(answer) => Ok(Some(answer.word(0).to_owned()).filter(|hook| hook != "none")),
            None => Err(DurableError::Host { question, reason: "it gave no answer".to_owned() }),
        }
    }

    async fn decide(&self, attempt: &Attempt, verdict: &str) -> Result<Confirmation, DurableError> {
        let question = "confirm a step";
        check_name(attempt.step.as_str())?;
        let arguments = [&attempt.to_string(), verdict];
        let script = self.script().add(CONTROL).call("confirm", &arguments).call("say", &["end"]);
        let answers = self.ask(question, script).await?;
        let answer = answers.iter().find(|answer| answer.verb == "verdict");
        match answer.map(|answer| (answer.word(0), answer.word(1))) {
            Some(("confirmed", _)) => Ok(Confirmation::Confirmed),
            Some(("fired", watcher)) => {
                Ok(Confirmation::Fired { watcher: Some(watcher.to_owned()).filter(|watcher| watcher != "-") })
            }
            other => Err(DurableError::Host { question, reason: format!("it answered {other:?}") }),
        }
    }

    /// Fences attempts off for good, unless they have started: what is returned says which it was.
    pub async fn void(&self, attempts: &[Attempt]) -> Result<Vec<AttemptStatus>, DurableError> {
        self.act_on("void a step", "void", attempts, None).await
    }

    /// Stops attempts that run: TERM, and KILL after the grace to whatever is left of them.
    pub async fn cancel(&self, attempts: &[Attempt]) -> Result<Vec<AttemptStatus>, DurableError> {
        self.act_on("cancel a step", "cancel", attempts, None).await
    }

    /// Closes an unknown attempt, so that another of the step may start. Refused while it may still run.
    pub async fn close(&self, attempt: &Attempt, closing: Closing) -> Result<Vec<AttemptStatus>, DurableError> {
        let word = match closing {
            Closing::Done => "done",
            Closing::NotDone => "not-done",
        };
        self.act_on("close a step", "close", std::slice::from_ref(attempt), Some(word)).await
    }

    /// Asks a segment to end after the step it is at.
    pub async fn request_stop(&self, segment: &str) -> Result<(), DurableError> {
        check_name(segment)?;
        let script = self.script().add(CONTROL).call("request_stop", &[segment]).call("say", &["end"]);
        self.ask("stop a segment", script).await.map(|_| ())
    }

    /// Closes this run on the host: spools and programs go; results, receipts and what the steps kept for their
    /// undo stay for 30 days, for a rollback. Refused while any of it runs. Taking the lease opens it again.
    pub async fn shelve(&self) -> Result<(), DurableError> {
        let script = self.script().add(CLOSING).call("shelve", &[]).call("say", &["end"]);
        self.ask("close the run", script).await.map(|_| ())
    }

    /// Removes all that the host keeps of this run. Only where nothing of it is left to take back; refused
    /// while any of it runs.
    pub async fn forget(&self) -> Result<(), DurableError> {
        let script = self.script().add(CLOSING).call("forget", &[]).call("say", &["end"]);
        self.ask("forget the run", script).await.map(|_| ())
    }

    async fn act_on(
        &self,
        question: &'static str,
        function: &str,
        attempts: &[Attempt],
        word: Option<&str>,
    ) -> Result<Vec<AttemptStatus>, DurableError> {
        let mut script: Script = self.script().add(CONTROL);
        for attempt in attempts {
            check_name(attempt.step.as_str())?;
            let name = attempt.to_string();
            let mut arguments = vec![name.as_str()];
            arguments.extend(word);
            script = script.call(function, &arguments);
        }
        let answers = self.ask(question, script.call("say", &["end"])).await?;
        read_states(question, attempts, &answers)
    }
}
