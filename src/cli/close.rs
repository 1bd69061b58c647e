//! `close`: a person says what became of a step whose result nobody knows, or that a run is over on a host.

use std::sync::Arc;

use super::{
    Global,
    error::CliError,
    resume::Opened,
    run::{self, Ran},
    screen::Screen,
};
use crate::{
    engine,
    event::{HostState, StepState, UndoState},
    model::{ExitCode, FailureClass, HostName, HostOutcome, StepId, StepOutcome},
};

/// Say what became of a step whose result nobody knows, or that a run is over on a host
///
/// With `--step`: for a host that is `unknown` or `stuck` because a step was killed, or its host restarted, in the middle of it.
/// Look at the host first: what is said here is believed. The attempt is closed on the host, who said what and why
/// is recorded, and `retry` goes on from there: after `done` with the next step, after `not-done` with this one.
///
/// Without it: for a host that is `held` or `stuck`, and was brought back in another way: by hand, or by another run.
/// Nothing is done on it. In this run it counts as `failed` from then on, and nobody waits for a person any more.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The run: its number or id, or `last`
    #[arg(default_value = "last")]
    run: String,

    /// The host
    #[arg(long)]
    host: String,

    /// The step: its name, or its id as `history show` has it
    #[arg(long, requires = "is")]
    step: Option<String>,

    /// It is about taking the step back; `done` says that the whole step is taken back
    #[arg(long, requires = "step")]
    undo: bool,

    /// What became of it
    #[arg(long = "as", value_enum, requires = "step")]
    is: Option<Became>,

    /// How you know; recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Became {
    /// The host is as if the step had ended well
    Done,
    /// The host is as if it had never been started
    NotDone,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    // What is planned is not gone on with here, so a playbook that changed does not matter.
    let opened = Opened::open(&args.run, true, global, screen)?;
    let number = opened.record.number;
    let host = HostName::new(args.host.as_str()).map_err(|error| CliError::usage(error.to_string()))?;
    let Some(state) = opened.state.hosts.get(&host) else {
        return Err(CliError::usage(format!("run {number} did not concern `{host}`")));
    };
    let (Some(step), Some(is)) = (&args.step, args.is) else {
        return close_host(opened, host, args.reason.clone(), screen).await;
    };
    let step = find(state, step, &host)?;
    refuse_known(state, &step, args.undo, &host, number)?;
    let verdict = engine::Verdict {
        step: step.clone(),
        undo: args.undo,
        done: is == Became::Done,
        by: run::owner(),
        reason: args.reason.clone(),
    };
    let (plan, past) = (Arc::new(opened.plan), opened.state);
    let Ran { state, .. } =
        opened.workshop.reopen(number, |means| engine::close(plan, past, host.clone(), verdict, means)).await?;
    let failure = state.hosts[&host].failure.clone();
    // The class is that of a host that waits for a person's next word, and nothing else.
    match failure {
        Some(failure) if failure.class != FailureClass::Controller => Err(CliError::Failed(failure)),
        failure => {
            let stuck = state.hosts[&host].outcome == Some(HostOutcome::Stuck);
            let flag = if stuck { "--stuck" } else { "--held" };
            let what = failure.map_or_else(|| "closed".to_owned(), |failure| failure.message);
            screen.say(&format!("{host}: {what}; `longshore retry {number} {flag}` goes on with it"));
            Ok(ExitCode::Good)
        }
    }
}

/// Closes a host that waits for a person for other things than a step's result.
async fn close_host(opened: Opened, host: HostName, reason: String, screen: &Screen) -> Result<ExitCode, CliError> {
    let number = opened.record.number;
    let outcome = opened.state.hosts[&host].outcome;
    if !matches!(outcome, Some(HostOutcome::Held | HostOutcome::Stuck)) {
        let stands = outcome.map_or("not finished", HostOutcome::as_str);
        let hint = match outcome {
            Some(HostOutcome::Unknown) => {
                "say with `--step` and `--as` what became of the step that is in doubt".to_owned()
            }
            _ => format!("`longshore status {number}` says how its hosts stand and what to type"),
        };
        return Err(CliError::with_hint(format!("{host} is {stands}, neither held nor stuck"), hint));
    }
    let word = engine::Closed { by: run::owner(), reason };
    let past = opened.state;
    opened.workshop.reopen(number, |means| engine::close_host(past, host.clone(), word, means)).await?;
    screen.say(&format!("{host}: closed in run {number}; nothing was done on it"));
    Ok(ExitCode::Good)
}

/// Finds a step of the host by its id, or by a name that only one has.
fn find(host: &HostState, text: &str, name: &HostName) -> Result<StepId, CliError> {
    if let Some((id, _)) = host.steps.iter().find(|(id, _)| id.as_str() == text) {
        return Ok(id.clone());
    }
    let named: Vec<_> = host.steps.iter().filter(|(_, state)| state.name == text).collect();
    match named.as_slice() {
        [(id, _)] => Ok((*id).clone()),
        [] => Err(CliError::with_hint(
            format!("{name} has begun no step `{text}`"),
            format!("`longshore history show --host {name}` lists its steps"),
        )),
        several => {
            let ids: Vec<_> = several.iter().map(|(id, _)| id.as_str()).collect();
            Err(CliError::with_hint(
                format!("{name} has several steps `{text}`"),
                format!("name one of them by its id: {}", ids.join(", ")),
            ))
        }
    }
}

/// Refuses to overrule what is known.
fn refuse_known(
    host: &HostState,
    step: &StepId,
    undo: bool,
    name: &HostName,
    number: crate::model::RunNumber,
) -> Result<(), CliError> {
    let state = &host.steps[step];
    let (known, hint) = if undo {
        let open = matches!(&state.undo, UndoState::Failed(_) | UndoState::Running) && state.undo_sent.is_some();
        (!open, "only an undo that failed, or was cut off, can be closed".to_owned())
    } else {
        match &state.outcome {
            Some(StepOutcome::Unknown { .. }) => return Ok(()),
            None => (true, format!("`longshore resume {number}` asks the host what became of it")),
            Some(_) => (true, format!("`longshore history show {number} --host {name}` says how each step ended")),
        }
    };
    if known {
        let what = if undo { "the undo of step" } else { "step" };
        return Err(CliError::with_hint(
            format!("{what} `{}` on {name} is {}", state.name, standing(state, undo)),
            hint,
        ));
    }
    Ok(())
}

fn standing(state: &StepState, undo: bool) -> &'static str {
    if undo {
        return match state.undo {
            UndoState::None => "not begun",
            UndoState::Undone => "done",
            UndoState::Running | UndoState::Failed(_) => "not one of the host's programs",
        };
    }
    match &state.outcome {
        None => "not known to have ended",
        Some(StepOutcome::Failed { .. }) => "known to have failed",
        Some(StepOutcome::Unknown { .. }) => "in doubt",
        Some(_) => "known to have ended well",
    }
}
