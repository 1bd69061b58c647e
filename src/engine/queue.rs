//! The hosts of a wave whose turn has not come: in the plan's order, and none outside its window.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

use super::{Means, Mode, Windows};
use crate::{
    event::{Happening, RecordError, RunState},
    model::{ExitCode, Failure, FailureClass, HostName, HostOutcome, Span},
    plan::{
        OutsideWindow, Plan, Purpose,
        window::{Answer, Schedule},
    },
};

/// Longest sleep before the clock is looked at again: a controller that was asleep, or whose clock was set, must not
/// miss a window.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Hands out hosts whose turn may begin.
pub(super) struct Queue {
    plan: Arc<Plan>,
    means: Means,
    mode: Mode,
    waiting: VecDeque<HostName>,
    /// Hosts that wait for their window, and when it opens.
    later: Vec<(Timestamp, HostName)>,
    /// When the next host may begin, where the plan bounds how many do so in a minute.
    not_before: Option<Timestamp>,
    /// Exit codes of the hosts that are left for their window.
    pub(super) codes: Vec<ExitCode>,
}

/// Why a host must not be started now.
struct Shut {
    why: String,
    opens: Option<Timestamp>,
}

impl Queue {
    pub(super) fn new(plan: &Arc<Plan>, means: &Means, mode: Mode, hosts: &[HostName]) -> Self {
        Self {
            plan: Arc::clone(plan),
            means: means.clone(),
            mode,
            waiting: hosts.iter().cloned().collect(),
            later: Vec::new(),
            not_before: None,
            codes: Vec::new(),
        }
    }

    /// Whether every host had its turn, or was left.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.later.is_empty()
    }

    /// Takes the next host that may be started now. One outside its window is left or waits, as the run says.
    pub(super) async fn next(&mut self, past: Option<&RunState>) -> Result<Option<HostName>, RecordError> {
        let now = (self.means.now)();
        if self.not_before.is_some_and(|next| now < next) {
            return Ok(None);
        }
        // Those that waited come first: their time is short.
        let (open, shut): (Vec<_>, _) =
            std::mem::take(&mut self.later).into_iter().partition(|(opens, _)| *opens <= now);
        self.later = shut;
        for (_, host) in open.into_iter().rev() {
            self.waiting.push_front(host);
        }
        while let Some(host) = self.waiting.pop_front() {
            let Some(shut) = self.shut(&host, past, now) else {
                self.not_before = self.pause().and_then(|pause| now.checked_add(pause).ok());
                return Ok(Some(host));
            };
            let waits = match &self.means.windows {
                Windows::Wait => true,
                Windows::AsPlanned => self.plan.rollout.outside_window == OutsideWindow::Wait,
                Windows::Overridden { .. } => false,
            };
            match shut.opens {
                Some(opens) if waits => {
                    let what = Happening::HostDeferred { reason: shut.why, until: opens };
                    self.means.recorder.record(Some(&host), what).await?;
                    self.later.push((opens, host));
                }
                _ => self.leave(&host, shut).await?,
            }
        }
        Ok(None)
    }

    /// The pause between two hosts, where the plan bounds how many begin in a minute.
    fn pause(&self) -> Option<SignedDuration> {
        let per_minute = i64::from(self.plan.rollout.per_minute?.max(1));
        Some(SignedDuration::from_millis(60_000 / per_minute))
    }

    /// Returns when the next host's window opens, or its turn has come. Never, while none waits for that.
    pub(super) async fn opens(&self) {
        let turn = self.not_before.filter(|_| !self.waiting.is_empty());
        let Some(next) = self.later.iter().map(|(opens, _)| *opens).chain(turn).min() else {
            return std::future::pending().await;
        };
        loop {
            let left = Duration::try_from(next.duration_since((self.means.now)())).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            sleep(left.min(LOOK_AGAIN)).await;
        }
    }

    async fn leave(&mut self, host: &HostName, shut: Shut) -> Result<(), RecordError> {
        let hint = match shut.opens {
            Some(_) => "`longshore retry --not-started` takes it in its window; with `--wait` the run waits for it",
            None => "its window never is long enough: widen it, or correct `expected` of the steps",
        };
        let failure = Failure::new(FailureClass::Window, shut.why).hint(hint);
        let outcome = HostOutcome::NotStarted;
        self.codes.push(outcome.exit_code_for(Some(&failure)));
        let what = Happening::HostFinished {
            outcome,
            failure: Some(failure),
            before: None,
            after: None,
            took: Span::seconds(0),
        };
        self.means.recorder.record(Some(host), what).await
    }

    /// Why a host must not be started; `None` where it may.
    fn shut(&self, host: &HostName, past: Option<&RunState>, now: Timestamp) -> Option<Shut> {
        let binds = matches!(self.plan.purpose, Purpose::Apply | Purpose::Prefetch);
        let bound = self.mode == Mode::Apply && binds;
        if !bound || matches!(self.means.windows, Windows::Overridden { .. }) {
            return None;
        }
        // What is half done is not left so because the clock went on.
        if past.and_then(|past| past.hosts.get(host)).is_some_and(crate::event::HostState::is_under_way) {
            return None;
        }
        let of = &self.plan.hosts[host];
        let need = of.estimate.map_or(Span::seconds(0), |estimate| estimate.need());
        match Schedule::new(&of.windows) {
            Ok(schedule) => {
                let answer = schedule.ask(now, need);
                let why = answer.refusal(now)?;
                let Answer::Closed { opens, .. } = answer else { return None };
                Some(Shut { why, opens: opens.map(|opens| opens.timestamp()) })
            }
            // A plan from elsewhere may name a zone that is not known here. Nobody can tell, so it is shut.
            Err(problem) => Some(Shut { why: format!("its window cannot be read: {problem}"), opens: None }),
        }
    }
}
