//! What a host remembers of runs: for a controller whose ledger is gone.

use super::{
    Attempt, AttemptState, AttemptStatus, DurableError, HostSide, Part,
    control::CLOSING,
    status::state,
    wire::{Answer, garbled},
};
use crate::model::{HostOutcome, RunId, StepId};

const RECOVER: &str = include_str!("recover.sh");

/// Most bytes of a host's answer: some dozens of runs with their manifests.
const MOST_ANSWERED: usize = 4 * 1024 * 1024;

/// One run as a host remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRun {
    pub install: String,
    pub run: RunId,
    /// How the host came to its end in the run, where it did.
    pub ended: Option<HostOutcome>,
    /// The manifest's second line, as the controller handed it in.
    pub manifest: String,
    /// Segments with the attempts sent in them, in the order in which they were sent.
    pub segments: Vec<(String, Vec<String>)>,
    pub attempts: Vec<AttemptStatus>,
}

impl HostSide {
    /// Lists what this user's state on the host knows of runs; of all installs, not of this one alone.
    pub async fn known_runs(&self, only: Option<&RunId>) -> Result<Vec<KnownRun>, DurableError> {
        let question = "say what it knows of runs";
        let only = only.map_or("", RunId::as_str);
        let script = self.script().set("ONLY", only).add(RECOVER).call("known", &[]).call("say", &["end"]);
        let nonce = script.nonce().to_owned();
        let mut exec = self.exec(script).timeout(std::time::Duration::from_mins(2));
        exec.keep = MOST_ANSWERED;
        let ended = self.session.run(exec, &mut ()).await?;
        let out = ended.out.text();
        let mut runs: Vec<KnownRun> = Vec::new();
        let mut whole = false;
        for line in out.lines() {
            // A manifest is taken as it is; an answer would lose its blanks.
            if let Some(text) = line.strip_prefix(&nonce).and_then(|rest| rest.strip_prefix(" manifest ")) {
                if let Some(run) = runs.last_mut() {
                    text.clone_into(&mut run.manifest);
                }
                continue;
            }
            let Some(answer) = Answer::parse(line, &nonce) else { continue };
            if let Some(failure) = answer.failure(question) {
                return Err(failure);
            }
            match answer.verb.as_str() {
                "run" => runs.extend(known_run(&answer)),
                "segment" => {
                    if let Some(run) = runs.last_mut() {
                        run.segments.push((answer.word(0).to_owned(), answer.words[1..].to_vec()));
                    }
                }
                "state" => {
                    if let Some(run) = runs.last_mut() {
                        run.attempts.extend(known_attempt(&answer));
                    }
                }
                "end" => whole = true,
                _ => {}
            }
        }
        if !whole || !ended.out.is_complete() {
            return Err(garbled(question, &ended.status, &ended.err.text()));
        }
        for run in &mut runs {
            run.segments.sort_by_key(|(name, _)| number_of(name));
            run.attempts.sort_by(|a, b| a.attempt.cmp(&b.attempt));
        }
        Ok(runs)
    }

    /// Removes what the host keeps of this run but for its manifest, and notes how the host ended.
    /// Refused while any of it runs.
    pub async fn finish(&self, outcome: HostOutcome) -> Result<(), DurableError> {
        let word = word_of(outcome);
        let script = self.script().add(CLOSING).add(RECOVER).call("finish", &[&word]).call("say", &["end"]);
        self.ask("note its end", script).await.map(|_| ())
    }

    /// Notes how the host ended in this run, and keeps all that the run left there.
    pub async fn note_end(&self, outcome: HostOutcome) -> Result<(), DurableError> {
        let word = word_of(outcome);
        let script = self.script().add(RECOVER).call("note_end", &[&word]).call("say", &["end"]);
        self.ask("note its end", script).await.map(|_| ())
    }
}

/// An outcome as the word of a file name on the host.
fn word_of(outcome: HostOutcome) -> String {
    outcome.as_str().replace(' ', "-")
}

/// Reads the word of a note; one that only a newer version writes is none.
pub(super) fn outcome_of(word: &str) -> Option<HostOutcome> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}

/// The number in the name of a segment: `seg-NUMBER-...`.
fn number_of(segment: &str) -> u32 {
    segment.split('-').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn known_run(answer: &Answer) -> Option<KnownRun> {
    Some(KnownRun {
        install: answer.word(0).to_owned(),
        run: RunId::from_text(answer.word(1))?,
        ended: outcome_of(answer.word(2)),
        manifest: String::new(),
        segments: Vec::new(),
        attempts: Vec::new(),
    })
}

fn known_attempt(answer: &Answer) -> Option<AttemptStatus> {
    let attempt = Attempt::read(answer.word(0))?;
    let state: AttemptState = state(answer.word(1), answer.word(2))?;
    Some(AttemptStatus { attempt, state })
}

impl Attempt {
    /// Reads the name of an attempt's directory: `STEP.N` or `STEP.undoN`.
    pub fn read(name: &str) -> Option<Self> {
        let (step, number) = name.rsplit_once('.')?;
        let step = StepId::try_from(step.to_owned()).ok()?;
        let (part, digits) = number.strip_prefix("undo").map_or((Part::Act, number), |digits| (Part::Undo, digits));
        Some(Self { step, part, number: digits.parse().ok().filter(|number| *number > 0)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_attempt_reads_back() {
        let step = StepId::new(0, "Back up");
        for attempt in [Attempt::act(step.clone(), 3), Attempt::undo(step, 12)] {
            assert_eq!(Attempt::read(&attempt.to_string()), Some(attempt));
        }
        for odd in ["01-x", "01-x.", "01-x.0", "01-x.undo", "01-x.keep", "../x.1", "seg-1.segment"] {
            assert_eq!(Attempt::read(odd), None, "{odd}");
        }
    }

    #[test]
    fn every_outcome_reads_back_from_its_note() {
        for outcome in [HostOutcome::Done, HostOutcome::Undone, HostOutcome::NotStarted, HostOutcome::Stuck] {
            assert_eq!(outcome_of(&word_of(outcome)), Some(outcome));
        }
        assert_eq!(outcome_of("-"), None);
    }
}
