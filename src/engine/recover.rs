//! A run written anew from what its hosts know of it, for a controller whose ledger is gone.
//!
//! A host is believed about itself alone. What is written is a ledger as a controller would have left it
//! that was cut off: `resume` then goes on as it always does, and asks each host again before it acts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream};

use super::{
    Manifest, Means, hold,
    link::{Link, LinkError},
    program::{self, kept_lines},
    run_started,
};
use crate::{
    durable::{Attempt, AttemptState, AttemptStatus, DurableError, Ending, Following, KnownRun, Part, StepNews},
    event::{Happening, RecordError, SentStep},
    model::{
        Effect, Failure, FailureClass, HostName, HostOutcome, Receipt, RunId, Span, StepId, StepOutcome, StepPart,
    },
    plan::{HostPlan, Plan, PlannedStep, PlannedUndo},
};

/// Hosts asked together.
const AT_ONCE: usize = 32;

/// The segment under which results are asked for. It never runs, so that nothing waits for what may.
const ASKING: &str = "seg-0-recovered";

/// What one host knows of one run.
#[derive(Debug, Clone)]
pub struct Remembered {
    pub run: RunId,
    pub manifest: Manifest,
    /// By the user whose state it is: steps may run as several.
    known: Vec<(Option<String>, KnownRun)>,
}

impl Remembered {
    /// How the host came to its end in the run, where it did.
    pub fn ended(&self) -> Option<HostOutcome> {
        self.known.iter().find_map(|(_, known)| known.ended)
    }

    /// How many steps are done, run now, and have another end or none that is known.
    pub fn counts(&self) -> (usize, usize, usize) {
        let latest: BTreeMap<_, _> =
            self.attempts().filter(|status| status.attempt.part == Part::Act).map(|s| (&s.attempt.step, s)).collect();
        let mut counts = (0, 0, 0);
        for status in latest.values() {
            match &status.state {
                AttemptState::Ended(Ending::Changed | Ending::Unchanged | Ending::FoundDone) => counts.0 += 1,
                AttemptState::Running { .. } => counts.1 += 1,
                AttemptState::NotStarted | AttemptState::Queued | AttemptState::Pending => {}
                AttemptState::Ended(_) => counts.2 += 1,
            }
        }
        counts
    }

    fn attempts(&self) -> impl Iterator<Item = &AttemptStatus> {
        self.known.iter().flat_map(|(_, known)| &known.attempts)
    }

    /// The attempts at one part of a step, in order.
    fn of_step(&self, step: &StepId, part: Part) -> Vec<&AttemptStatus> {
        let mut found: Vec<_> =
            self.attempts().filter(|status| status.attempt.step == *step && status.attempt.part == part).collect();
        found.sort_by_key(|status| status.attempt.number);
        found
    }

    /// The segment sent last, with its attempts; by `holding` only those that hold it.
    fn last_segment(&self, holding: Option<&Attempt>) -> Option<(&str, &[String])> {
        let segments = self.known.iter().flat_map(|(_, known)| &known.segments);
        let name = holding.map(ToString::to_string);
        let holds = segments.filter(|(_, names)| name.as_ref().is_none_or(|name| names.contains(name)));
        let number = |segment: &str| segment.split('-').nth(1).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
        holds.max_by_key(|(segment, _)| number(segment)).map(|(segment, names)| (segment.as_str(), names.as_slice()))
    }
}

/// What came of asking one host: its runs, and what it keeps that cannot be read.
pub type Asked = Result<(Vec<Remembered>, Vec<String>), Failure>;

/// Asks the hosts of a plan what they know of runs; with `only`, of that one.
pub async fn survey(plan: Arc<Plan>, only: Option<RunId>, means: Means) -> BTreeMap<HostName, Asked> {
    let hosts: Vec<_> = plan.hosts.keys().cloned().collect();
    stream::iter(hosts)
        .map(|host| {
            let (plan, only, means) = (Arc::clone(&plan), only.clone(), means.clone());
            async move {
                let asked = ask(&host, &plan.hosts[&host], only.as_ref(), &means).await;
                (host, asked)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

async fn ask(host: &HostName, of: &HostPlan, only: Option<&RunId>, means: &Means) -> Asked {
    let mut link = Link::watching(host, of, means).await.map_err(to_failure)?;
    let usual = of.target.run_as.as_ref().map(|run_as| run_as.user.clone());
    let (mut runs, mut odd) = (Vec::<Remembered>::new(), Vec::new());
    // Steps may run as others than the usual user; the plan, once it is known, says as whom.
    let mut users = vec![usual.clone()];
    if usual.is_some() {
        users.push(None);
    }
    let mut at = 0;
    while let Some(user) = users.get(at).cloned() {
        at += 1;
        let session = link.session().await.map_err(to_failure)?;
        let mut asked = of.clone();
        if user != usual {
            // A folder that is private to one user is no place for another.
            asked.state_dir = None;
        }
        let side = hold::host_side(&asked, session, link.run_as(user.as_deref()), means);
        let known = match side.known_runs(only).await {
            Ok(known) => known,
            // Only the usual user must be one that we may become.
            Err(error) if user != usual && !matches!(error, DurableError::Transport(_)) => continue,
            Err(error) => return Err(Failure::from_error(error.class(), &error)),
        };
        for known in known {
            let manifest = match Manifest::read(&known.manifest) {
                Ok(manifest) => manifest,
                Err(error) => {
                    odd.push(format!("run {}: {error}", known.run));
                    continue;
                }
            };
            // Another install on the same machine, under the same user.
            if manifest.host != *host {
                continue;
            }
            for named in manifest.part(of).iter().flat_map(|part| &part.steps).map(|step| step.run_as.clone()) {
                if !users.contains(&named) {
                    users.push(named);
                }
            }
            match runs.iter_mut().find(|run| run.run == known.run) {
                Some(run) => run.known.push((user.clone(), known)),
                None => runs.push(Remembered { run: known.run.clone(), manifest, known: vec![(user.clone(), known)] }),
            }
        }
    }
    link.close().await;
    Ok((runs, odd))
}

/// Reads the results of what has ended, and returns all of it as the events of the host's turn.
pub async fn recall(plan: &Plan, host: &HostName, seen: &Remembered, means: &Means) -> Result<Vec<Happening>, Failure> {
    let of = &plan.hosts[host];
    let means = Means { run: seen.run.clone(), ..means.clone() };
    let told = results(host, of, seen, &means).await?;
    Ok(events(of, seen, &told))
}

/// What is known of an attempt that has ended.
struct Told {
    outcome: StepOutcome,
    receipt: Receipt,
    took: Span,
    output: Vec<String>,
}

async fn results(
    host: &HostName,
    of: &HostPlan,
    seen: &Remembered,
    means: &Means,
) -> Result<BTreeMap<Attempt, Told>, Failure> {
    let mut told = BTreeMap::new();
    let mut link = Link::watching(host, of, means).await.map_err(to_failure)?;
    for (user, known) in &seen.known {
        let ended: Vec<_> = known.attempts.iter().filter(|status| has_result(status)).collect();
        if ended.is_empty() {
            continue;
        }
        let session = link.session().await.map_err(to_failure)?;
        let mut asked = of.clone();
        if *user != of.target.run_as.as_ref().map(|run_as| run_as.user.clone()) {
            asked.state_dir = None;
        }
        let side = hold::host_side(&asked, session, link.run_as(user.as_deref()), means);
        let limit = std::time::Duration::from_secs(30);
        let mut following = Following::new(ASKING, ended.iter().map(|status| (status.attempt.clone(), limit, true)));
        let redactor = link.redactor.clone();
        let mut on = |attempt: &Attempt, news: StepNews<'_>| {
            let StepNews::Ended(end) = news else { return };
            let output = kept_lines(&end.out, &end.err, &redactor);
            let Some((outcome, _)) = program::outcome(&end.ending, &output) else { return };
            let outcome = match outcome {
                StepOutcome::Failed { failure } => StepOutcome::Failed { failure: program::hidden(failure, &redactor) },
                StepOutcome::Unknown { failure } => {
                    StepOutcome::Unknown { failure: program::hidden(failure, &redactor) }
                }
                other => other,
            };
            let receipt = program::hidden_receipt(&end.receipt, &redactor);
            let took = end.took.map_or(Span::seconds(0), Span);
            told.insert(attempt.clone(), Told { outcome, receipt, took, output });
        };
        side.attach(&mut following, &mut on).await.map_err(|error| Failure::from_error(error.class(), &error))?;
    }
    link.close().await;
    Ok(told)
}

/// Whether what became of an attempt stands fast, with what it printed.
fn has_result(status: &AttemptStatus) -> bool {
    match &status.state {
        AttemptState::Ended(ending) => !matches!(
            ending,
            Ending::Unknown { .. } | Ending::Lingering { .. } | Ending::NotStarted { .. } | Ending::Void
        ),
        _ => false,
    }
}

/// The events of a host's turn up to where it was cut off.
///
/// What did not end well, and may be what the turn came to its end for, is left open unless the host says that
/// the turn did: `resume` asks for it again, and decides what it means.
fn events(of: &HostPlan, seen: &Remembered, told: &BTreeMap<Attempt, Told>) -> Vec<Happening> {
    let mut events = vec![Happening::HostStarted { wave: seen.manifest.wave }];
    let ended = seen.ended();
    let unwinding = seen.attempts().any(|status| status.attempt.part == Part::Undo);
    if let Some((segment, names)) = seen.last_segment(None) {
        let steps = names.iter().filter_map(|name| sent_step(name)).collect();
        events.push(Happening::SegmentSent { segment: segment.to_owned(), steps });
    } else if ended.is_some() {
        // So that nobody takes it for a host to which nothing was ever sent.
        events.push(Happening::SegmentSent { segment: ASKING.to_owned(), steps: Vec::new() });
    }
    let last = of.steps.iter().rposition(|step| seen.of_step(&step.id, Part::Act).into_iter().any(has_begun));
    let mut begun = BTreeSet::new();
    let mut failure = None;
    for step in &of.steps[..last.map_or(0, |last| last + 1)] {
        let attempts: Vec<_> =
            seen.of_step(&step.id, Part::Act).into_iter().filter(|status| has_begun(status)).collect();
        if attempts.is_empty() {
            // The controller did it itself, and would not have gone on without it.
            let outcome = if step.effect == Effect::Read { StepOutcome::Unchanged } else { StepOutcome::Changed };
            events.push(started(step, 1));
            events.push(finished(step, 1, outcome, None));
            continue;
        }
        let mut number = 0;
        for (index, status) in attempts.iter().enumerate() {
            while number + 1 < status.attempt.number {
                number += 1;
                let gone = Failure::new(FailureClass::Step, "nothing is left of this attempt, and another followed it");
                events.push(started(step, number));
                events.push(finished(step, number, StepOutcome::Failed { failure: gone }, None));
            }
            number = status.attempt.number;
            begun.insert(step.id.clone());
            events.push(started(step, number));
            let (outcome, told) = match told.get(&status.attempt) {
                Some(told) => (told.outcome.clone(), Some(told)),
                None => match &status.state {
                    AttemptState::Ended(ending) => match program::outcome(ending, &[]) {
                        Some((outcome, _)) => (outcome, None),
                        None => continue,
                    },
                    _ => continue,
                },
            };
            let again = matches!(status.state, AttemptState::Ended(Ending::FoundNotDone | Ending::Void));
            let is_last = index + 1 == attempts.len();
            if is_last && !outcome.is_good() && !again && ended.is_none() && !unwinding {
                continue;
            }
            if let Some(why) = outcome.failure() {
                failure = Some(named(step, why));
            }
            events.push(finished(step, number, outcome, told));
        }
    }
    if unwinding {
        let why = failure.clone().unwrap_or_else(|| {
            Failure::new(FailureClass::Controller, "the host was being taken back; the ledger that knew why is gone")
        });
        events.push(Happening::UnwindStarted { failure: why });
        for step in of.steps.iter().rev().filter(|step| begun.contains(&step.id)) {
            events.extend(undone(step, seen, told, ended.is_some()));
        }
    }
    if let Some(outcome) = ended {
        let why = failure.unwrap_or_else(|| {
            Failure::new(
                FailureClass::Controller,
                format!("the host says that it ended {outcome}; the ledger that knew why is gone"),
            )
        });
        let good = outcome.is_good();
        events.push(Happening::HostFinished {
            outcome,
            failure: (!good).then_some(why),
            before: of.found.clone(),
            after: None,
            took: Span::seconds(0),
        });
    }
    events
}

/// How far a step was taken back.
fn undone(step: &PlannedStep, seen: &Remembered, told: &BTreeMap<Attempt, Told>, ended: bool) -> Vec<Happening> {
    let undos = seen.of_step(&step.id, Part::Undo);
    let Some(last) = undos.last() else { return Vec::new() };
    let programs = match &step.undo {
        PlannedUndo::By(steps) => u32::try_from(steps.len()).unwrap_or(u32::MAX).max(1),
        _ => 1,
    };
    let segment = seen.last_segment(Some(&last.attempt)).map_or(ASKING, |(segment, _)| segment);
    // One attempt was made for each of the step's undos, in order, unless one failed.
    let part = usize::try_from((last.attempt.number - 1) % programs).unwrap_or(0);
    let sent = SentStep { step: step.id.clone(), attempt: last.attempt.number, undo: true, part };
    let mut events = vec![
        Happening::UndoStarted { step: step.id.clone(), name: step.name.clone() },
        Happening::SegmentSent { segment: segment.to_owned(), steps: vec![sent] },
    ];
    let finished = |failure: Option<Failure>| {
        let at = if failure.is_some() { part } else { 0 };
        Happening::UndoFinished { step: step.id.clone(), failure, part: at, took: Span::seconds(0) }
    };
    match told.get(&last.attempt).map(|told| &told.outcome) {
        Some(outcome) if outcome.is_good() && last.attempt.number % programs == 0 => events.push(finished(None)),
        Some(outcome) if ended => events.push(finished(outcome.failure().cloned())),
        _ => {}
    }
    events
}

/// Whether an attempt's start is on the host's disk.
fn has_begun(status: &AttemptStatus) -> bool {
    match &status.state {
        AttemptState::NotStarted | AttemptState::Queued | AttemptState::Pending => false,
        AttemptState::Ended(ending) => !matches!(ending, Ending::NotStarted { .. }),
        AttemptState::Running { .. } => true,
    }
}

fn sent_step(name: &str) -> Option<SentStep> {
    let attempt = Attempt::read(name)?;
    Some(SentStep { step: attempt.step, attempt: attempt.number, undo: attempt.part == Part::Undo, part: 0 })
}

fn started(step: &PlannedStep, attempt: u32) -> Happening {
    Happening::StepStarted {
        step: step.id.clone(),
        name: step.name.clone(),
        effect: step.effect,
        attempt,
        part: StepPart::Main,
    }
}

fn finished(step: &PlannedStep, attempt: u32, outcome: StepOutcome, told: Option<&Told>) -> Happening {
    Happening::StepFinished {
        step: step.id.clone(),
        attempt,
        outcome,
        took: told.map_or(Span::seconds(0), |told| told.took),
        receipt: told.map_or_else(Receipt::default, |told| told.receipt.clone()),
        difference: None,
        output: told.map_or_else(Vec::new, |told| told.output.clone()),
    }
}

fn named(step: &PlannedStep, failure: &Failure) -> Failure {
    let mut named = failure.clone();
    named.causes.insert(0, named.message.clone());
    named.message = format!("step `{}` failed", step.name);
    named
}

/// Writes a run anew: its beginning, then what each host told. Waves whose hosts all ended are over.
pub async fn record(
    plan: &Plan,
    hosts: &BTreeMap<HostName, Vec<Happening>>,
    silent: Vec<HostName>,
    planned: usize,
    means: &Means,
) -> Result<(), RecordError> {
    let recorder = &means.recorder;
    recorder.record(None, run_started(plan, plan.purpose.as_str())).await?;
    let what = Happening::RunRecovered { by: means.owner.clone(), planned, silent: silent.clone() };
    recorder.record(None, what).await?;
    for (index, wave) in plan.waves.iter().enumerate() {
        let began = |host: &&HostName| hosts.contains_key(*host) || silent.contains(host);
        if !wave.hosts.iter().any(|host| began(&host)) {
            continue;
        }
        recorder.record(None, Happening::WaveStarted { wave: index, name: wave.name.clone() }).await?;
        for host in wave.hosts.iter().filter(began) {
            let Some(events) = hosts.get(host) else {
                recorder.record(Some(host), Happening::HostStarted { wave: index }).await?;
                recorder.record(Some(host), unreached()).await?;
                continue;
            };
            for what in events {
                let what = match what {
                    // The wave is the plan's, whatever the host was told.
                    Happening::HostStarted { .. } => Happening::HostStarted { wave: index },
                    other => other.clone(),
                };
                recorder.record(Some(host), what).await?;
            }
        }
    }
    Ok(())
}

fn unreached() -> Happening {
    let failure = Failure::new(FailureClass::Unreachable, "the host did not answer when the run was recovered")
        .because("what the run did there is not known")
        .hint("once it can be reached, `longshore retry --unreached` goes on with it: what had started does not start again");
    Happening::HostFinished {
        outcome: HostOutcome::Unreachable,
        failure: Some(failure),
        before: None,
        after: None,
        took: Span::seconds(0),
    }
}

fn to_failure(error: LinkError) -> Failure {
    match error {
        LinkError::Failed(failure) => failure,
        LinkError::Ledger(error) => Failure::from_error(FailureClass::Controller, &error),
    }
}
