//! `prefetch`: do what may be done days ahead, so that the window holds only the cut-over.

use std::{path::PathBuf, sync::Arc};

use super::{
    Global, OutputFormat, apply,
    course::{self, Course},
    error::CliError,
    open,
    plan::{What, make, write},
    run::Workshop,
    screen::Screen,
    windows,
};
use crate::{
    config::Project,
    engine::{self, Mode},
    event::RunState,
    ledger::{Ledger, RunRecord},
    model::{ExitCode, HostName, StepId, StepOutcome},
    plan::{DoneAhead, Pace, Plan, Purpose},
    report::{self, Detail, words},
};

/// Do what a playbook may do days ahead, on a few hosts at once
///
/// Runs the steps that say `ahead = true`, behind the gates that must hold for them; they change nothing that runs. What
/// is there already is not fetched again. `apply` looks at each of them anew, and fetches what is missing by then.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The playbook: a path, or a name under `playbooks/`
    #[arg(value_name = "PLAYBOOK")]
    playbook: PathBuf,

    /// The version wanted
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,

    /// Narrow the playbook's hosts to these
    #[arg(long, value_name = "SELECTOR")]
    limit: Option<String>,

    /// Go there in one hop where no required stop lies between
    #[arg(long)]
    direct: bool,

    /// Say which version a host has that does not tell it; may be given several times
    #[arg(long, value_name = "HOST=VERSION")]
    from: Vec<String>,

    /// Hosts worked on together
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: u32,

    /// Hosts begun within a minute at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    per_minute: Option<u32>,

    /// Only show what would be done ahead
    #[arg(long, conflicts_with = "check")]
    plan: bool,

    /// With `--plan`: keep it in this file, for `apply`
    #[arg(short = 'o', long = "out", value_name = "FILE", requires = "plan")]
    out: Option<PathBuf>,

    /// Only look: what is missing on each host
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    windows: windows::Args,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let (project, playbook) = open::playbook(global, screen, &args.playbook)?;
    let what = What {
        playbook: args.playbook.clone(),
        to: args.to.clone(),
        limit: args.limit.clone(),
        // Release notes are read with the upgrade.
        course: Course { direct: args.direct, from: args.from.clone(), ack: Vec::new() },
    };
    let whole = make(&project, &playbook, &what, false, global, screen).await?;
    let pace = Pace { at_once: args.at_once as usize, per_minute: args.per_minute };
    let plan = ahead(whole, pace)?;
    if args.plan || course::is_hopeless(&plan) {
        if let Some(out) = args.out.as_ref().filter(|_| args.plan) {
            write(&plan, out)?;
        }
        if screen.format == OutputFormat::Json {
            screen.print(&serde_json::to_string_pretty(&plan).expect("a plan is plain data"))?;
        } else {
            screen.print(&report::plan(&plan, Detail::Brief, &screen.page()))?;
        }
        if let Some(out) = args.out.as_ref().filter(|_| args.plan) {
            screen.say(&format!("\nkept in {0}; `longshore apply {0}` does exactly this", out.display()));
        }
        return Ok(course::exit_of(&plan));
    }
    let mode = if args.check { Mode::Look { diff: false } } else { Mode::Apply };
    apply::carry_out(
        &project.root,
        plan,
        std::collections::BTreeMap::new(),
        mode,
        apply::Asking::of_windows(args.windows.windows()?),
        global,
        screen,
    )
    .await
}

/// Takes out of a plan what may be done ahead.
fn ahead(whole: Plan, pace: Pace) -> Result<Plan, CliError> {
    let plan = whole.ahead(pace).map_err(|problems| CliError::usage(problems.join("\n")))?;
    if plan.hosts.is_empty() {
        let hint = "steps say so with `ahead = true`, in the role, the playbook or the profile's verb";
        return Err(CliError::with_hint("nothing of this playbook may be done ahead", hint));
    }
    Ok(plan)
}

/// Takes as much out of a plan as another one holds: all of it, or what may be done ahead.
pub(super) fn as_much_of(whole: Plan, planned: &Plan) -> Result<Plan, CliError> {
    if planned.purpose == Purpose::Prefetch { ahead(whole, Pace::of(planned)) } else { Ok(whole) }
}

/// Runs of the ledger that are looked through for prefetches, and how many of those are read.
const LOOKED_THROUGH: usize = 500;
const MOST_READ: usize = 20;

/// Finds what earlier prefetches did of a plan, and looks whether it is still there.
///
/// What cannot be read, or looked at, was not done: the upgrade does it then.
pub(super) async fn found_again(
    plan: Plan,
    project: &Project,
    global: &Global,
    screen: &Screen,
) -> Result<Plan, CliError> {
    if !plan.hosts.values().flat_map(|host| &host.steps).any(|step| step.ahead) {
        return Ok(plan);
    }
    let workshop = Workshop::open(&project.root, global, screen)?;
    let plan = plan.with_prefetched(&recorded(workshop.ledger()));
    let Some(look) = plan.to_look_at() else { return Ok(plan) };
    if screen.live {
        screen.say(&format!("Looking for what was fetched on {}", words::count(look.hosts.len(), "host")));
    }
    let means = workshop.means_without_run();
    let control = means.control.clone();
    let seen = engine::look_over(Arc::new(look), means).await?;
    if control.stop_now() > engine::Stop::No {
        return Err(CliError::Interrupted);
    }
    let there = |host: &HostName, step: &StepId| {
        let step = seen.hosts.get(host).and_then(|host| host.steps.get(step));
        step.is_some_and(|step| step.outcome == Some(StepOutcome::Unchanged))
    };
    Ok(plan.with_prefetched_only(there))
}

/// Reads from the ledger which steps prefetches did.
fn recorded(ledger: &Ledger) -> Vec<DoneAhead> {
    let runs = ledger.runs(LOOKED_THROUGH).unwrap_or_default();
    let read = |run: &RunRecord| -> Option<(Plan, RunState)> {
        let plan = serde_json::from_str(&ledger.plan(run.number).ok()?).ok()?;
        Some((plan, RunState::fold(&ledger.events(run.number, None).ok()?).ok()?))
    };
    let mut done = Vec::new();
    for run in runs.iter().filter(|run| run.purpose == Purpose::Prefetch.as_str()).take(MOST_READ) {
        let Some((plan, state)) = read(run) else { continue };
        done.extend(engine::done_ahead(&plan, &state, run.number));
    }
    done
}
