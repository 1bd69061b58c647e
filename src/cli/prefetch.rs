//! `prefetch`: do what may be done days ahead, so that the window holds only the cut-over.

use std::path::PathBuf;

use super::{
    Global, OutputFormat, apply,
    course::{self, Course},
    error::CliError,
    open, plan,
    screen::Screen,
    windows,
};
use crate::{
    engine::Mode,
    model::ExitCode,
    plan::{Pace, Plan, Purpose},
    report::{self, Detail},
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
    let what = plan::What {
        playbook: args.playbook.clone(),
        to: args.to.clone(),
        limit: args.limit.clone(),
        // Release notes are read with the upgrade.
        course: Course { direct: args.direct, from: args.from.clone(), ack: Vec::new() },
    };
    let whole = plan::make(&project, &playbook, &what, false, global, screen).await?;
    let pace = Pace { at_once: args.at_once as usize, per_minute: args.per_minute };
    let plan = ahead(whole, pace)?;
    if args.plan || course::is_hopeless(&plan) {
        if let Some(out) = args.out.as_ref().filter(|_| args.plan) {
            plan::write(&plan, out)?;
        }
        if screen.format == OutputFormat::Json {
            screen.print(&serde_json::to_string_pretty(&plan).expect("a plan is plain data"))?;
        } else {
            screen.print(&report::plan(&plan, Detail::Brief, &screen.page()))?;
        }
        return Ok(course::exit_of(&plan));
    }
    let mode = if args.check { Mode::Look { diff: false } } else { Mode::Apply };
    apply::carry_out(
        &project.root,
        plan,
        std::collections::BTreeMap::new(),
        mode,
        args.windows.windows()?,
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
