//! Work outside of a step's processes, on hosts that cannot keep steps safe: there nobody but the controller asks for it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Worker, jobs::Job};
use crate::{
    durable::{Attempt, Ending, work_label},
    engine::{Stop, attached, host::Stopped, link::Link},
    model::{Failure, FailureClass, StepOutcome},
    steps::{Outside, Progress},
    transport::{Exec, Status},
};

/// Longest times to ask for such work, and to stop it, as where the host itself asks.
const ASK_WITHIN: Duration = Duration::from_secs(10);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How long what a step started may take to be gone once the step has ended, as where the host itself waits.
const GRACE: Duration = Duration::from_secs(10);

/// Longest pause between two questions.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Whether a program may be run beside what is there.
pub(super) enum Place {
    Free,
    /// Something of the step lives.
    Taken(Failure),
    /// A person wants to leave; nothing was begun.
    Left,
}

/// Work that may live: its name, and how it is found.
struct Named<'a> {
    label: String,
    by: &'a Outside,
}

impl Worker {
    /// Waits, for as long as the step may take, until nothing lives that its attempts started outside of their processes: those
    /// before this one, and this one before the link was lost or the controller died.
    pub(super) async fn place_for(&self, job: &Job<'_>, link: &mut Link) -> Result<Place, Stopped> {
        let until = Instant::now() + job.step.timeout.0;
        for named in self.may_live(job) {
            let mut is_told = false;
            let mut pause = Duration::from_millis(500);
            while self.lives(job, &named, link).await? {
                // An undo goes on: a host half taken back is no safe point.
                if self.means.control.stop_now() > Stop::No && !job.is_undo {
                    return Ok(Place::Left);
                }
                if Instant::now() + pause > until {
                    return Ok(Place::Taken(still_lives(&named.label)));
                }
                if !std::mem::replace(&mut is_told, true) {
                    let line = "waits for what an earlier attempt left running".to_owned();
                    (self.means.progress)(&self.host, Progress::Line(line));
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.means.control.asked_for(Stop::Drain), if !job.is_undo => {}
                }
                pause = (pause * 2).min(ASK_AGAIN);
            }
        }
        Ok(Place::Free)
    }

    /// What becomes of a job that has ended as `result`, should what it started live on for longer than the grace.
    pub(super) async fn lingers(
        &self,
        job: &Job<'_>,
        result: &str,
        output: &[String],
        link: &mut Link,
    ) -> Result<Option<StepOutcome>, Stopped> {
        let Some(named) = self.own(job) else { return Ok(None) };
        let until = Instant::now() + GRACE;
        while self.lives(job, &named, link).await? {
            if Instant::now() >= until {
                let ending = Ending::Lingering { result: result.to_owned() };
                return Ok(super::outcome(&ending, output).map(|(outcome, _)| outcome));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(None)
    }

    /// Stops what a job started that came to its time limit. Says whether something of it lives all the same.
    pub(super) async fn stop_outside(&self, job: &Job<'_>, link: &mut Link) -> Result<Option<String>, Stopped> {
        let Some(named) = self.own(job) else { return Ok(None) };
        let session = link.session().await?;
        let _ = session.run(self.about(job, &named, &named.by.stop, link).timeout(STOP_WITHIN), &mut ()).await;
        let lives = self.lives(job, &named, link).await?;
        Ok(lives.then(|| format!("what it started as `{}` could not be stopped", named.label)))
    }

    fn own<'a>(&self, job: &'a Job<'_>) -> Option<Named<'a>> {
        let by = job.program.outside.as_deref()?;
        Some(Named { label: work_label(&self.means.run, &job.attempt), by })
    }

    /// All that could live of the step when the job is to begin.
    fn may_live<'a>(&'a self, job: &'a Job<'_>) -> Vec<Named<'a>> {
        let id = &job.attempt.step;
        let named = |attempt: Attempt, by: &'a Outside| Named { label: work_label(&self.means.run, &attempt), by };
        let own = job.program.outside.as_deref().into_iter().flat_map(|by| {
            (1..=job.attempt.number).map(move |number| {
                let step = id.clone();
                named(if job.is_undo { Attempt::undo(step, number) } else { Attempt::act(step, number) }, by)
            })
        });
        let acts = self.attempts.get(&(id.clone(), false)).copied().unwrap_or_default();
        let taken_back = self
            .outside
            .get(id)
            .filter(|_| job.is_undo)
            .into_iter()
            .flat_map(|by| (1..=acts).map(move |number| named(Attempt::act(id.clone(), number), by)));
        own.chain(taken_back).collect()
    }

    /// Whether it lives. Who cannot tell says yes; a lost link is found again first.
    async fn lives(&self, job: &Job<'_>, named: &Named<'_>, link: &mut Link) -> Result<bool, Stopped> {
        loop {
            let session = link.session().await?;
            let asked = session.run(self.about(job, named, &named.by.alive, link).timeout(ASK_WITHIN), &mut ()).await;
            match asked {
                Ok(ended) => return Ok(ended.status != Status::Exited(1)),
                Err(_) if link.open_session().is_none() => {}
                Err(_) => return Ok(true),
            }
        }
    }

    fn about(&self, job: &Job<'_>, named: &Named<'_>, program: &str, link: &Link) -> Exec {
        let keep_of = job.program.keep_of.as_ref();
        let run = self.means.run.as_str();
        let text = attached::about_work(run, &job.attempt.step, keep_of, &named.label, program);
        let mut exec = Exec::script(text);
        exec.run_as = link.run_as(job.step.run_as.as_deref());
        exec
    }
}

fn still_lives(label: &str) -> Failure {
    Failure::new(FailureClass::Unknown, "what an earlier attempt of it started still runs on the host")
        .because(format!("its name is `{label}`; nothing is begun beside it"))
        .hint("wait for it to end, or end it on the host; then `longshore retry --held` goes on")
}
