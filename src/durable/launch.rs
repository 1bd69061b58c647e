//! Sending a segment to a host, and finding one again that is already there.

use std::time::Duration;

use super::{
    Attempt, DurableError, HostSide, Lease, Outside, Segment, SegmentEnd, SegmentStep, StepNews,
    attempt::work_label,
    follow::{FOLLOW, Following, Reader},
    wire::{STATE, Script, check_name, check_program, garbled},
};
use crate::model::{Secret, quote};

const LAUNCH: &str = include_str!("launch.sh");
const ATTACH: &str = include_str!("attach.sh");
const WRAPPER: &str = include_str!("wrapper.sh");
const WATCH: &str = include_str!("watch.sh");
pub(super) const BOOT: &str = include_str!("boot.sh");
const SUPERVISE: &str = include_str!("supervise.sh");

/// Kept on the host of each stream from its beginning; the last 64 KiB come on top.
const SPOOL: u64 = 4 * 1024 * 1024;

/// Most steps of one segment: their ticks must fit into the smallest pipe there is.
pub const MOST_STEPS: usize = 500;

impl HostSide {
    /// Starts a segment on the host, detached, and tells how it goes until every attempt has ended.
    ///
    /// Sending attempts again that were sent before is safe: what has started does not start again.
    /// When the link is lost the host goes on; [`HostSide::attach`] with the same `following` goes on telling.
    /// An error that does not [leave doubt](DurableError::leaves_doubt) means that nothing has started.
    pub async fn run_segment(
        &self,
        lease: &Lease,
        segment: &Segment,
        secrets: &[(String, Secret)],
        following: &mut Following,
        on: &mut (dyn FnMut(&Attempt, StepNews<'_>) + Send),
    ) -> Result<SegmentEnd, DurableError> {
        following.expect(segment);
        if segment.steps.is_empty() {
            return Ok(SegmentEnd::default());
        }
        let script = self.launching(lease, segment, secrets)?;
        let limits = segment.steps.iter().map(|step| step.limit).sum();
        self.follow("start a segment", script, secrets, limits, following, on).await
    }

    /// Goes on telling of a segment that was started before, from where `following` was left.
    ///
    /// Starts nothing. Every attempt of `following` gets its end. `NotStarted` is final for this segment: a
    /// launch of it that is still on its way will start nothing.
    pub async fn attach(
        &self,
        following: &mut Following,
        on: &mut (dyn FnMut(&Attempt, StepNews<'_>) + Send),
    ) -> Result<SegmentEnd, DurableError> {
        check_name(following.segment())?;
        let script =
            self.script().set("SEG", following.segment()).set("ATTEMPTS", &following.offsets()).add(FOLLOW).add(ATTACH);
        let limits = following.limits();
        self.follow("follow a segment", script, &[], limits, following, on).await
    }

    async fn follow(
        &self,
        question: &'static str,
        script: Script,
        secrets: &[(String, Secret)],
        limits: Duration,
        following: &mut Following,
        on: &mut (dyn FnMut(&Attempt, StepNews<'_>) + Send),
    ) -> Result<SegmentEnd, DurableError> {
        let nonce = script.nonce().to_owned();
        let mut exec = self.exec(script);
        exec.secrets = secrets.to_vec();
        // Steps that wait for each other, each with its grace and with what stops its work outside; the host's
        // own limits come first.
        let steps = u32::try_from(following.len()).unwrap_or(u32::MAX);
        exec.timeout = Some(limits + (3 * self.grace + Duration::from_secs(75)).saturating_mul(steps));
        exec.keep = 16 * 1024;
        let mut reader = Reader::new(question, nonce, following, on);
        let ended = self.session.run(exec, &mut reader).await?;
        reader.finish(|| garbled(question, &ended.status, &ended.err.text()))
    }

    fn launching(
        &self,
        lease: &Lease,
        segment: &Segment,
        secrets: &[(String, Secret)],
    ) -> Result<Script, DurableError> {
        check_name(&segment.id)?;
        if segment.steps.len() > MOST_STEPS {
            return Err(DurableError::BadName(format!("{} with {} steps", segment.id, segment.steps.len())));
        }
        let watched = segment.steps.iter().find_map(|step| Some((step, step.deadman.as_ref()?)));
        if let Some((step, _)) = watched.filter(|_| segment.steps.len() > 1) {
            let reason = "it must be confirmed, so it travels alone";
            return Err(DurableError::BadProgram { attempt: step.attempt.to_string(), reason });
        }
        if let Some(step) = segment.steps.iter().find(|step| step.restarts).filter(|_| segment.steps.len() > 1) {
            let reason = "it restarts the host, so it travels alone";
            return Err(DurableError::BadProgram { attempt: step.attempt.to_string(), reason });
        }
        let undo = watched.map(|(_, deadman)| deadman.as_step());
        let names: Vec<String> = segment.steps.iter().chain(&undo).map(|step| step.attempt.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let attempts: Vec<String> =
            segment.steps.iter().map(|step| format!("{}:0:0:{}", step.attempt, yes(step.leaves_running))).collect();
        let watch = undo.as_ref().map(|_| watcher_of(&segment.id)).unwrap_or_default();
        let mut script = self
            .script()
            .set("SEG", &segment.id)
            .set("WATCH", &watch)
            .set("SCOPE", self.scope.as_str())
            .set("ATTEMPTS", &attempts.join(" "))
            .add(FOLLOW)
            .add(LAUNCH);
        for of in segment.steps.iter().filter_map(|step| step.keep_of.as_ref()) {
            check_name(of.step.as_str())?;
            script = script.call("need", &[of.run.as_str(), of.step.as_str()]);
        }
        script = script.call("prepare", &names);
        for step in segment.steps.iter().chain(&undo) {
            check_name(step.attempt.step.as_str())?;
            let outside = step.outside.as_ref().map(|outside| self.outside_texts(step, outside));
            let (alive, stop) = outside.as_ref().map_or((None, None), |(alive, stop)| (Some(alive), Some(stop)));
            for (file, text) in
                [("look", step.look.as_ref()), ("act", Some(&step.act)), ("outside", alive), ("outside-stop", stop)]
            {
                if let Some(text) = text {
                    check_program(&step.attempt, text)?;
                    script = put(script, &format!("{}/{file}", step.attempt), text);
                }
            }
            if step.restarts {
                script = put(script, &format!("{}/restarts", step.attempt), "yes\n");
            }
        }
        let token = lease.token.to_string();
        let facts = [("TOKEN", token.as_str()), ("OF", "")];
        let part = match watched {
            None => "",
            // What the undo would need of the controller is not there after a restart.
            Some((_, deadman)) if !deadman.secrets.is_empty() => "hook() { return 1; }\n",
            Some(_) => BOOT,
        };
        script = self.put_wrapper(script, &segment.id, &segment.steps, &facts, part, secrets);
        if let (Some((step, _)), Some(undo)) = (watched, undo) {
            let of = step.attempt.to_string();
            for (file, text) in [("of", format!("{of}\n")), ("fired", "fired\n".into()), ("void", "void\n".into())] {
                script = put(script, &format!("{watch}.segment/{file}"), &text);
            }
            script = self.put_wrapper(script, &watch, &[undo], &[("TOKEN", ""), ("OF", &of)], WATCH, secrets);
        }
        Ok(script.add("start").add("follow"))
    }

    /// Adds the programs of segment `id`. The wrapper is made on the host out of what the host knows: where its
    /// state is, its umask.
    fn put_wrapper(
        &self,
        script: Script,
        id: &str,
        steps: &[SegmentStep],
        facts: &[(&str, &str)],
        part: &str,
        secrets: &[(String, Secret)],
    ) -> Script {
        let words: Vec<String> = steps.iter().map(|step| self.step_word(step, secrets)).collect();
        let (cap, words) = (SPOOL.to_string(), words.join(" "));
        let own = [("CAP", cap.as_str()), ("STEPS", words.as_str())];
        let lines = facts.iter().chain(&own).map(|(name, value)| format!("{name}={}\n", quote(value)));
        let head = lines.collect::<Vec<_>>().concat();
        let names: Vec<String> = steps.iter().map(|step| step.attempt.to_string()).collect();
        let comment = format!("# {}\n", names.join(" "));
        let body = format!("{head}{STATE}{part}{WRAPPER}");
        let length = (comment.len() + body.len()).to_string();
        let script = script.call("put_wrapper", &[id, &comment, &body, &length]);
        put(script, &format!("{id}.segment/supervise"), &format!("{STATE}{SUPERVISE}"))
    }
}

/// The segment that waits beside segment `id` to take its step back.
pub fn watcher_of(id: &str) -> String {
    format!("{id}-w")
}

impl HostSide {
    /// A step as the wrapper's `STEPS` names it.
    fn step_word(&self, step: &SegmentStep, secrets: &[(String, Secret)]) -> String {
        let seconds = step.limit.as_millis().div_ceil(1000).clamp(1, 31_536_000);
        let hidden: Vec<&str> = secrets
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !step.secrets.iter().any(|own| own == name))
            .collect();
        let keep = step.keep_of.as_ref().map(ToString::to_string).unwrap_or_default();
        let work = work_label(&self.run, &step.attempt);
        let within = step.deadman.as_ref().map(|deadman| deadman.within.as_secs().max(1).to_string());
        let within = within.unwrap_or_default();
        let leaves = yes(step.leaves_running);
        format!("{}:{seconds}:{leaves}:{keep}:{work}:{within}:{}", step.attempt, hidden.join(","))
    }

    /// The programs about a step's work outside of it, with what they go by: they also run long after the step.
    fn outside_texts(&self, step: &SegmentStep, outside: &Outside) -> (String, String) {
        let keep = match &step.keep_of {
            Some(of) => format!("${{0%/runs/*}}/runs/{of}.keep"),
            // The program is STEP.N/outside.
            None => "${0%/*}; LONGSHORE_STEP_DIR=${LONGSHORE_STEP_DIR%.*}.keep".to_owned(),
        };
        let head = format!(
            "LONGSHORE_STEP_DIR={keep}; LONGSHORE_RUN={} LONGSHORE_STEP={} LONGSHORE_ATTEMPT={} LONGSHORE_WORK={}\n\
             export LONGSHORE_STEP_DIR LONGSHORE_RUN LONGSHORE_STEP LONGSHORE_ATTEMPT LONGSHORE_WORK\n",
            self.run,
            step.attempt.step,
            step.attempt,
            work_label(&self.run, &step.attempt)
        );
        (format!("{head}{}\n", outside.alive), format!("{head}{}\n", outside.stop))
    }
}

fn put(script: Script, file: &str, text: &str) -> Script {
    script.call("put", &[file, text, &text.len().to_string()])
}

fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}
