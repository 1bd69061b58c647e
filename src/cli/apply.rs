//! `apply`: do what a plan says.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{
    Global, OutputFormat, approve,
    course::{self, Course},
    error::CliError,
    open, others, plan, prompt, rollback,
    run::{About, Show, Workshop},
    screen::Screen,
    windows,
};
use crate::{
    engine::{self, Answers, Means, Mode, Windows},
    model::{Approval, ExitCode, HostName},
    plan::{Plan, Purpose},
    report::{self, Detail, words},
};

/// Do what a plan or a playbook says
///
/// A plan kept by `plan -o` is done exactly as it was reviewed; hosts that moved since are refused. A
/// playbook is planned first, and a person at the terminal is asked before anything is changed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A plan kept in a file, or a playbook
    #[arg(value_name = "PLAN|PLAYBOOK")]
    what: PathBuf,

    /// The version wanted; only with a playbook
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,

    /// Narrow the playbook's hosts to these; only with a playbook
    #[arg(long, value_name = "SELECTOR")]
    limit: Option<String>,

    #[command(flatten)]
    course: Course,

    /// Only look: what would change, without changing it
    #[arg(long)]
    check: bool,

    /// With `--check`: show the differences of files, secrets hidden
    #[arg(long, requires = "check")]
    diff: bool,

    #[command(flatten)]
    approvals: approve::ApprovalArgs,

    #[command(flatten)]
    windows: windows::Args,

    /// Do not ask before a playbook is applied. What cannot be taken back is asked about all the same
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let (root, plan) = if args.what.extension().is_some_and(|extension| extension == "json") {
        if args.to.is_some() || args.limit.is_some() || args.course.direct || !args.course.from.is_empty() {
            return Err(CliError::with_hint(
                "a kept plan is applied as it is",
                "leave out `--to`, `--limit`, `--direct` and `--from`, or make a new plan",
            ));
        }
        let plan = args.course.acknowledge(plan::read(&args.what)?)?;
        (open::project_root(global)?, read_first(plan, args, screen).await?)
    } else {
        let (project, playbook) = open::playbook(global, screen, &args.what)?;
        let what = plan::What {
            playbook: args.what.clone(),
            to: args.to.clone(),
            limit: args.limit.clone(),
            course: args.course.clone(),
        };
        let plan = plan::make(&project, &playbook, &what, false, global, screen).await?;
        let plan = args.course.acknowledge(plan)?;
        if course::is_hopeless(&plan) {
            screen.print(&report::plan(&plan, Detail::Brief, &screen.page()))?;
            return Ok(course::exit_of(&plan));
        }
        if !args.check && !args.yes {
            ask(&plan, &args.what, screen).await?;
        }
        (project.root, read_first(plan, args, screen).await?)
    };
    let mode = if args.check { Mode::Look { diff: args.diff } } else { Mode::Apply };
    if plan.purpose == Purpose::Rollback {
        return rollback::apply(&root, plan, mode, &args.approvals, global, screen).await;
    }
    let approved = match mode {
        Mode::Apply => {
            let workshop = Workshop::open(&root, global, screen)?;
            let hosts = plan.hosts.keys().map(|host| (host, &[][..]));
            approve::all(&plan, hosts, &args.approvals, &workshop, screen).await?
        }
        Mode::Look { .. } => BTreeMap::new(),
    };
    let asked = Asking { windows: args.windows.windows()?, answers: args.approvals.answers() };
    carry_out(&root, plan, approved, mode, asked, global, screen).await
}

/// Nothing is changed before what the releases ask of a person was read; looking is free.
async fn read_first(plan: Plan, args: &Args, screen: &Screen) -> Result<Plan, CliError> {
    if args.check { Ok(plan) } else { course::all_read(plan, screen).await }
}

/// What people have said beforehand of windows and of manual checks.
pub(super) struct Asking {
    pub(super) windows: Windows,
    pub(super) answers: Answers,
}

impl Asking {
    /// Nobody has said anything of manual checks.
    pub(super) fn of_windows(windows: Windows) -> Self {
        Self { windows, answers: Arc::new(|_, _| None) }
    }
}

/// Runs a plan and prints its tables.
pub(super) async fn carry_out(
    root: &std::path::Path,
    plan: Plan,
    approved: BTreeMap<HostName, Approval>,
    mode: Mode,
    asked: Asking,
    global: &Global,
    screen: &Screen,
) -> Result<ExitCode, CliError> {
    let Asking { windows, answers } = asked;
    let workshop = Workshop::open(root, global, screen)?;
    let plan = Arc::new(plan);
    let about = About {
        title: plan.title.clone(),
        purpose: if mode == Mode::Apply { plan.purpose.as_str() } else { "look" },
        digest: plan.digest.clone(),
        hosts: plan.hosts.len(),
        show: Show::Everything,
    };
    workshop.mind_descriptors(plan.rollout.at_once);
    let text = serde_json::to_string(&*plan).expect("a plan is plain data");
    let run = |means| engine::apply_approved(Arc::clone(&plan), approved, mode, Means { windows, answers, ..means });
    let ran = workshop.run(&text, about, run).await?;
    if screen.format == OutputFormat::Human {
        let page = screen.page();
        if let Mode::Look { .. } = mode {
            screen.print(&report::differences(&ran.state, &page))?;
        }
        screen.print(&report::results(&ran.state, Some(ran.number), &page))?;
    }
    if mode == Mode::Apply {
        others::say_what_waits(workshop.ledger(), ran.number, &ran.state, screen)?;
    }
    Ok(ran.exit)
}

/// Shows the plan and asks whether to go on.
async fn ask(plan: &Plan, playbook: &std::path::Path, screen: &Screen) -> Result<(), CliError> {
    if !screen.can_ask {
        return Err(CliError::with_hint(
            "nobody can be asked here, so a playbook is not applied unread",
            format!(
                "`--yes` goes ahead; or `longshore plan {} -o plan.json`, and apply that once it is read",
                playbook.display()
            ),
        ));
    }
    screen.tell(&report::plan(plan, Detail::Brief, &screen.page_for_errors()));
    let hosts = words::count(plan.hosts.len(), "host");
    if prompt::agreed(format!("Apply this to {hosts}? [y/N] ")).await? {
        Ok(())
    } else {
        Err(CliError::usage("nothing was done"))
    }
}
