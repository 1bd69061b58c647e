//! `status`, `pause`, `promote`, `abort`, `unlock`: a run seen and steered from another terminal.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    Global, OutputFormat,
    error::CliError,
    open,
    run::{self, About, Show, Workshop},
    screen::Screen,
};
use crate::{
    engine,
    event::{Event, Happening, Pause, RunState},
    ledger::{Control, Ledger, RunRecord},
    model::{ExitCode, HostName},
    plan::{HostPlan, Plan, PlannedUndo, Promote},
    report::{self, words},
};

/// Show how a run stands, from any terminal
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// The run: its number or id, or `last`: the one that runs now
    #[arg(default_value = "last")]
    run: String,

    /// Show it again and again until the run ends
    #[arg(short, long)]
    watch: bool,
}

/// Start no new hosts of a running rollout until it is promoted
#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    #[command(flatten)]
    of: OfRun,
}

/// Let a paused or waiting rollout go on
#[derive(Debug, clap::Args)]
pub(super) struct PromoteArgs {
    #[command(flatten)]
    of: OfRun,
}

/// End a running rollout: no new hosts, running ones finish their step
#[derive(Debug, clap::Args)]
pub(super) struct AbortArgs {
    #[command(flatten)]
    of: OfRun,
}

#[derive(Debug, clap::Args)]
struct OfRun {
    /// The run: its number or id, or `last`: the one that runs now
    #[arg(default_value = "last")]
    run: String,

    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Take the lease on a host away from the run that holds it
///
/// For a run that is gone for good. Refused while a step of it runs. The reason is recorded.
#[derive(Debug, clap::Args)]
pub(super) struct UnlockArgs {
    /// The host
    host: String,

    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) async fn status(args: &StatusArgs, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let ledger = open_ledger(global)?;
    let record = find(&ledger, &args.run)?;
    loop {
        let record = ledger.run(record.number)?;
        let (state, paused) = standing_of(&ledger, &record)?;
        if screen.format == OutputFormat::Json {
            screen.print(&summary(&record, &state, paused).to_string())?;
        } else {
            if args.watch && screen.colour {
                screen.print("\x1b[H\x1b[2J")?;
            }
            screen.print(&report::standing_of(&state, Some(record.number), record.running, &screen.page()))?;
            screen.say(&standing(&record, &state, paused, ledger.plan(record.number).ok().as_deref()));
        }
        if !args.watch || !record.running {
            return Ok(ExitCode::Good);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What is known of a run, and whether a person has paused it.
fn standing_of(ledger: &Ledger, record: &RunRecord) -> Result<(RunState, bool), CliError> {
    let events = ledger.events(record.number, None)?;
    let state = RunState::fold(&events).map_err(|error| CliError::usage(error.to_string()))?;
    let begins = |event: &&Event| matches!(event.what, Happening::RunStarted { .. } | Happening::RunResumed { .. });
    let since = events.iter().rfind(begins).map_or(record.begun, |event| event.at);
    Ok((state, record.running && ledger.is_paused(record.number, since)?))
}

/// One line on how the run stands, and what can be typed.
fn standing(record: &RunRecord, state: &RunState, paused: bool, plan: Option<&str>) -> String {
    let number = record.number;
    let waits_after = || waits_after(state, &serde_json::from_str(plan?).ok()?);
    match (record.running, state.ended) {
        (true, _) if let Some(wave) = waits_after() => {
            format!(
                "run {number} waits for a person: `longshore promote {number}` lets the wave after {wave} begin, `abort` ends the run"
            )
        }
        (true, _) if paused => {
            // A word that was not taken yet names nobody.
            let word = |pause: &Pause| {
                let why = pause.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                format!(" by {}{why}", pause.by)
            };
            let by = state.paused.as_ref().map(word).unwrap_or_default();
            format!("run {number} is paused{by}: no new hosts until `longshore promote {number}`; `abort` ends the run")
        }
        (true, _) => {
            let soaking = state.waves.iter().find_map(|wave| Some((&wave.name, wave.soaking?.1)));
            let soak = soaking.map(|(wave, length)| format!(", and {wave} soaks for {length}")).unwrap_or_default();
            let by = &record.controller;
            format!("run {number} is running, by {by}{soak}; `longshore pause`, `promote` and `abort` steer it")
        }
        (false, Some(_)) => format!("run {number} has ended"),
        (false, None) => format!("run {number} was cut off; `longshore resume {number}` goes on with it"),
    }
}

/// The wave after which a person has to let the next one begin, while that is so.
fn waits_after<'a>(state: &'a RunState, plan: &Plan) -> Option<&'a str> {
    let begun = state.waves.iter().rposition(|wave| wave.started.is_some())?;
    let is_manual = plan.waves.get(begun)?.promote == Promote::Manual;
    let wave = &state.waves[begun];
    (is_manual && wave.ended.is_some() && begun + 1 < state.waves.len()).then_some(wave.name.as_str())
}

/// Says that nobody is waited for, and what the run does instead: a word before its time is for nothing.
fn nothing_to_promote(record: &RunRecord, state: &RunState, plan: &Plan) -> CliError {
    let number = record.number;
    let begun = state.waves.iter().rposition(|wave| wave.started.is_some());
    let doing = begun.map_or_else(
        || "no wave of it has begun".to_owned(),
        |index| {
            let wave = &state.waves[index];
            let ended = |host: &&HostName| state.hosts.get(*host).is_some_and(|host| host.outcome.is_some());
            let doing = match (wave.ended, wave.soaking) {
                (Some(_), _) => format!("{} is over", wave.name),
                (None, Some((_, length))) => format!("{} soaks for {length}", wave.name),
                (None, None) => {
                    let (done, all) = (wave.hosts.iter().filter(ended).count(), wave.hosts.len());
                    format!("{} is under way, {done} of {} ended", wave.name, words::count(all, "host"))
                }
            };
            let is_manual = plan.waves.get(index).is_some_and(|wave| wave.promote == Promote::Manual);
            if is_manual && wave.ended.is_none() && index + 1 < state.waves.len() {
                format!("{doing}; a person is asked once it is over")
            } else {
                doing
            }
        },
    );
    CliError::with_hint(
        format!("run {number} waits for nobody, so there is nothing to promote: {doing}"),
        format!("`longshore status {number}` says when it waits"),
    )
}

fn summary(record: &RunRecord, state: &RunState, paused: bool) -> serde_json::Value {
    let hosts: serde_json::Map<String, serde_json::Value> = state
        .hosts
        .iter()
        .map(|(name, host)| {
            let steps = serde_json::json!({ "done": host.steps_done(), "total": host.steps_total });
            let value = serde_json::json!({ "wave": host.wave_name, "outcome": host.outcome, "steps": steps, "version": host.version() });
            (name.to_string(), value)
        })
        .collect();
    serde_json::json!({
        "run": record.number, "id": record.id, "running": record.running, "ended": state.ended, "hosts": hosts,
        "exit": state.exit.map(ExitCode::number), "paused": paused,
    })
}

pub(super) fn pause(args: &PauseArgs, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    ask(&args.of, Control::Pause, global, screen)
}

pub(super) fn promote(args: &PromoteArgs, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    ask(&args.of, Control::Promote, global, screen)
}

pub(super) fn abort(args: &AbortArgs, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    ask(&args.of, Control::Abort, global, screen)
}

fn ask(of: &OfRun, control: Control, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let ledger = open_ledger(global)?;
    let record = find(&ledger, &of.run)?;
    if !record.running {
        let number = record.number;
        let message = format!("run {number} is not running");
        return Err(if record.ended.is_none() {
            CliError::with_hint(message, format!("it was cut off; `longshore resume {number}` goes on with it"))
        } else {
            CliError::usage(message)
        });
    }
    if control == Control::Promote {
        let (state, paused) = standing_of(&ledger, &record)?;
        let plan: Plan = serde_json::from_str(&ledger.plan(record.number)?)
            .map_err(|error| CliError::usage(format!("the plan of run {} cannot be read: {error}", record.number)))?;
        if !paused && waits_after(&state, &plan).is_none() {
            return Err(nothing_to_promote(&record, &state, &plan));
        }
    }
    ledger.request(record.number, control, &run::owner(), of.reason.as_deref())?;
    screen.say(&format!("asked run {} to {}", record.number, control.as_str()));
    Ok(ExitCode::Good)
}

pub(super) async fn unlock(args: &UnlockArgs, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let project = open::project(global, screen)?;
    let host = HostName::new(args.host.as_str()).map_err(|error| CliError::usage(error.to_string()))?;
    let names = open::select(&project, host.as_str())?;
    if names != [host.clone()] {
        return Err(CliError::usage(format!("`{host}` is not one host")));
    }
    let plan = super::check::compile(&project, &crate::config::documents::Playbook::sweep(host.as_str(), None))?;
    let workshop = Workshop::open(&project.root, global, screen)?;
    let about = About {
        title: format!("unlock {host}: {}", args.reason),
        purpose: "unlock",
        digest: plan.digest.clone(),
        hosts: 1,
        show: Show::Nothing,
    };
    let plan = Arc::new(plan);
    let reason = args.reason.clone();
    let users = users_of(workshop.ledger(), &plan.hosts[&host], &host)?;
    let ran = workshop.run("null", about, |means| engine::unlock(plan, host.clone(), users, reason, means)).await?;
    let state = &ran.state.hosts[&host];
    match (state.facts.get("unlocked"), &state.failure) {
        (Some(whose), _) => {
            let whose = whose.strip_suffix(&format!(": {}", args.reason)).unwrap_or(whose);
            screen.say(&format!("{host}: the lease of {whose} was taken away"));
        }
        (None, Some(failure)) => return Err(CliError::Failed(failure.clone())),
        (None, None) => screen.say(&format!("{host}: nobody held a lease")),
    }
    Ok(ran.exit)
}

/// Whom the programs of a host's latest runs become, and whom they usually do: each has a lease of its own.
fn users_of(ledger: &Ledger, of: &HostPlan, host: &HostName) -> Result<Vec<Option<String>>, CliError> {
    let mut users = BTreeSet::from([of.target.run_as.as_ref().map(|run_as| run_as.user.clone())]);
    let runs = ledger.runs(LOOKED_THROUGH)?.into_iter().filter(RunRecord::changes_hosts);
    for run in runs.take(PLANS_LOOKED_THROUGH) {
        // A plan that cannot be read any more says nothing.
        let Ok(plan) = serde_json::from_str::<Plan>(&ledger.plan(run.number)?) else { continue };
        let steps = plan.hosts.get(host).into_iter().flat_map(|of| &of.steps);
        users.extend(steps.flat_map(|step| {
            let undos = match &step.undo {
                PlannedUndo::By(undos) => undos.as_slice(),
                _ => &[],
            };
            [step].into_iter().chain(undos).map(|step| step.run_as.clone())
        }));
    }
    Ok(users.into_iter().collect())
}

/// How many of the latest plans are asked who becomes whom.
const PLANS_LOOKED_THROUGH: usize = 20;

/// Finds a run; `last` is the one that runs now, and otherwise the last rollout.
fn find(ledger: &Ledger, run: &str) -> Result<RunRecord, CliError> {
    if run != "last" {
        return Ok(ledger.find(run)?);
    }
    let mut runs = ledger.runs(LOOKED_THROUGH)?;
    let chosen = runs.iter().position(|run| run.running).or_else(|| runs.iter().position(RunRecord::changes_hosts));
    match chosen {
        Some(index) => Ok(runs.swap_remove(index)),
        None => Ok(ledger.find("last")?),
    }
}

/// How many of the latest runs are looked through for the one that is meant.
const LOOKED_THROUGH: usize = 200;

fn open_ledger(global: &Global) -> Result<Ledger, CliError> {
    Ok(Ledger::open(&open::project_root(global)?, Arc::new(jiff::Timestamp::now))?)
}
