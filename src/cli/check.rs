//! `check`: a health sweep over hosts.

use std::{path::PathBuf, sync::Arc};

use super::{
    Global, OutputFormat,
    error::CliError,
    open, recorded,
    run::{About, Show, Workshop},
    screen::Screen,
};
use crate::{
    config::{Project, documents::Playbook, suggest},
    engine,
    event::RunState,
    ledger::{Ledger, RunRecord},
    model::{ExitCode, RunNumber},
    plan::{self, Order, Purpose},
    report,
};

/// Runs among which the sweep before is looked for.
const RECENT: usize = 50;

/// Look at the health of hosts, without changing anything
///
/// Reads each host's version and makes the checks of its profile, and of a role or playbook if named.
/// Checks that compare with what was there before, such as mounts, volumes or a host key, compare with what the last
/// upgrade or sweep recorded. Where nothing was recorded it is now, and such a check is `unverified` this once.
/// Below the table stands what is otherwise than in the last sweep over the same hosts.
/// Exit code 0 when all are green, 1 when a check is red, 4 when some hosts could not be reached.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`
    selector: Option<String>,

    /// Make the checks of this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,

    /// Make the checks of this playbook, on its hosts unless a selector says otherwise
    #[arg(long, value_name = "FILE", conflicts_with = "role")]
    playbook: Option<PathBuf>,

    /// Hosts looked at together
    #[arg(long, default_value_t = 50, value_name = "N")]
    at_once: u32,

    /// Take what the hosts say now as what checks compare with, now and in later sweeps, in place of what was recorded
    #[arg(long)]
    anew: bool,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let (project, mut playbook) = if let Some(path) = &args.playbook {
        open::playbook(global, screen, path)?
    } else {
        let project = open::project(global, screen)?;
        let Some(selector) = &args.selector else {
            return Err(CliError::with_hint("no hosts are named", "`longshore check all` looks at the whole fleet"));
        };
        open::select(&project, selector)?;
        let role = role_of(&project, args.role.as_ref())?;
        (project, Playbook::sweep(selector, role))
    };
    if let Some(selector) = &args.selector {
        open::select(&project, selector)?;
        playbook.hosts.clone_from(selector);
    }
    playbook.rollout.at_once = Some(args.at_once);
    let plan = compile(&project, &playbook)?;
    let workshop = Workshop::open(&project.root, global, screen)?;
    let documents = (&project, &playbook);
    let order = order(&project, &playbook);
    let plan = recorded::with_records(plan, args.anew, documents, order, &workshop).await?;
    let plan = Arc::new(plan);
    let about = About {
        title: playbook.hosts.clone(),
        purpose: "check",
        digest: plan.digest.clone(),
        hosts: plan.hosts.len(),
        show: Show::Everything,
    };
    workshop.mind_descriptors(plan.rollout.at_once);
    let text = serde_json::to_string(&*plan).expect("a plan is plain data");
    let ran = workshop.run(&text, about, |means| engine::sweep(Arc::clone(&plan), means)).await?;
    if screen.format == OutputFormat::Human {
        let mut text = report::sweep(&ran.state, Some(ran.number), &screen.page());
        if let Some((number, before)) = sweep_before(workshop.ledger(), &playbook.hosts, ran.number)? {
            text.push_str(&report::since(&before, number, &ran.state, &screen.page()));
        }
        screen.print(&text)?;
    }
    Ok(ran.exit)
}

/// The last sweep over the same hosts that came to its end before this one.
fn sweep_before(ledger: &Ledger, hosts: &str, this: RunNumber) -> Result<Option<(RunNumber, RunState)>, CliError> {
    let is_one =
        |run: &RunRecord| run.purpose == "check" && run.title == hosts && run.number < this && run.exit.is_some();
    let Some(run) = ledger.runs(RECENT)?.into_iter().find(is_one) else { return Ok(None) };
    // What another longshore wrote may be nothing that can be read here.
    Ok(RunState::fold(&ledger.events(run.number, None)?).ok().map(|state| (run.number, state)))
}

/// The role that is meant: the one named, or the only one there is.
pub(super) fn role_of(project: &Project, named: Option<&String>) -> Result<Option<String>, CliError> {
    match named {
        Some(role) if !project.roles.contains_key(role) => Err(no_role(project, role)),
        Some(role) => Ok(Some(role.clone())),
        // With one role in the project there is no doubt which is meant.
        None if project.roles.len() == 1 => Ok(project.roles.keys().next().cloned()),
        None => Ok(None),
    }
}

fn no_role(project: &Project, role: &str) -> CliError {
    let hint = suggest::hint(role, project.roles.keys().map(String::as_str));
    CliError::Usage { message: format!("there is no role `{role}`"), hint }
}

/// Compiles a plan that only looks.
pub(super) fn compile(project: &Project, playbook: &Playbook) -> Result<plan::Plan, CliError> {
    plan::compile(project, playbook, &order(project, playbook)).map_err(CliError::Documents)
}

fn order(project: &Project, playbook: &Playbook) -> Order {
    Order::new(playbook.hosts.clone(), Purpose::Check, project.root.clone(), jiff::Timestamp::now())
}
