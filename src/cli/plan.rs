//! `plan`: what a playbook will do, completely, for review; can be kept in a file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;

use super::{
    Global, OutputFormat,
    course::{self, Course},
    error::CliError,
    open, prefetch, recorded,
    run::Workshop,
    screen::Screen,
};
use crate::{
    config::{
        Project,
        documents::{Baseline, Playbook},
        suggest,
    },
    engine,
    model::{ExitCode, HostName, Version},
    plan::{self, HostPlan, Installed, Plan, Purpose, Reading},
    report::{self, Detail, words},
};

/// Show what a playbook will do, and keep it in a file
///
/// Reads the installed version of each host (unless `--offline`), resolves every step, wave, gate and
/// undo, and says what cannot be taken back. `apply FILE` then does exactly that.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) what: What,

    /// Keep the plan in this file
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: Option<PathBuf>,

    /// Do not connect to any host; versions stay unknown
    #[arg(long)]
    offline: bool,

    /// Show the commands of each step
    #[arg(long, conflicts_with = "checklist")]
    steps: bool,

    /// Print a checklist in Markdown, to be followed or ticked by hand
    #[arg(long)]
    checklist: bool,
}

/// What a plan is made of.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct What {
    /// The playbook: a path, or a name under `playbooks/`
    #[arg(value_name = "PLAYBOOK")]
    pub(super) playbook: PathBuf,

    /// The version wanted
    #[arg(long, value_name = "VERSION")]
    pub(super) to: Option<String>,

    /// Narrow the playbook's hosts to these
    #[arg(long, value_name = "SELECTOR")]
    pub(super) limit: Option<String>,

    #[command(flatten)]
    pub(super) course: Course,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let (project, playbook) = open::playbook(global, screen, &args.what.playbook)?;
    let plan = make(&project, &playbook, &args.what, args.offline, global, screen).await?;
    let plan = args.what.course.acknowledge(plan)?;
    if let Some(out) = &args.out {
        write(&plan, out)?;
    }
    if screen.format == OutputFormat::Json {
        screen.print(&serde_json::to_string_pretty(&plan).expect("a plan is plain data"))?;
    } else if args.checklist {
        screen.print(&report::checklist(&plan, &screen.page()))?;
    } else {
        screen.print(&report::plan(&plan, if args.steps { Detail::Full } else { Detail::Brief }, &screen.page()))?;
        if let Some(out) = &args.out {
            screen.say(&format!("\nkept in {0}; `longshore apply {0}` does exactly this", out.display()));
        } else if course::is_offline(&plan) {
            screen.say("\nhint: leave out `--offline` for a plan that can be applied");
        } else {
            let playbook = args.what.playbook.display();
            screen.say(&format!(
                "\nhint: `longshore plan {playbook} -o plan.json` keeps it, and `longshore apply plan.json` does exactly this"
            ));
        }
    }
    Ok(course::exit_of(&plan))
}

/// Compiles the plan, with the versions read from the hosts unless it is made offline.
pub(super) async fn make(
    project: &Project,
    playbook: &Playbook,
    what: &What,
    offline: bool,
    global: &Global,
    screen: &Screen,
) -> Result<Plan, CliError> {
    let limit = what.limit.as_deref().map(|selector| open::select(project, selector)).transpose()?;
    let title = what.playbook.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let base = base_of(project, &what.playbook);
    let mut order = plan::Order::new(title, Purpose::Apply, base, jiff::Timestamp::now());
    order.playbook = Some(what.playbook.clone());
    order.to = what.to.as_ref().map(Version::new);
    order.limit = limit;
    order.direct = what.course.direct;
    order.from = what.course.stated()?;
    if let Some(stranger) = order.from.keys().find(|host| !project.inventory.hosts.contains_key(*host)) {
        let known = project.inventory.hosts.keys().map(HostName::as_str);
        return Err(CliError::Usage {
            message: format!("`--from` names `{stranger}`, which is no host of the inventory"),
            hint: suggest::hint(stranger.as_str(), known),
        });
    }
    if !offline {
        let questions = plan::questions(project, playbook, &order).map_err(CliError::Documents)?;
        let asked = questions.iter().map(|(host, of)| (host.clone(), of.facts.keys().cloned().collect())).collect();
        order.read = ask(project, questions, global, screen).await?;
        if playbook.rollout.baseline == Baseline::Tell {
            let workshop = Workshop::open(&project.root, global, screen)?;
            for (host, facts) in recorded::not_told(asked, &mut order.read, workshop.ledger())? {
                let facts: Vec<_> = facts.into_iter().collect();
                screen.say(&format!("note: {host} does not tell its {}: taken as recorded before", words::and(&facts)));
            }
        }
    }
    let plan = plan::compile(project, playbook, &order).map_err(CliError::Documents)?;
    if offline { Ok(plan) } else { prefetch::found_again(plan, project, global, screen).await }
}

/// Asks hosts what is installed and what they are, and tells who did not say.
pub(super) async fn ask(
    project: &Project,
    mut questions: IndexMap<HostName, HostPlan>,
    global: &Global,
    screen: &Screen,
) -> Result<BTreeMap<HostName, Reading>, CliError> {
    // Of whom nothing can be asked, nothing is known.
    let mut silent: BTreeMap<HostName, Reading> = BTreeMap::new();
    questions.retain(|name, of| {
        let is_asked = can_be_asked(of);
        if !is_asked {
            silent.insert(name.clone(), Reading::default());
        }
        is_asked
    });
    if questions.is_empty() {
        return Ok(silent);
    }
    let workshop = Workshop::open(&project.root, global, screen)?;
    if screen.live {
        screen.say(&format!("Asking {} for their versions", words::count(questions.len(), "host")));
    }
    let means = workshop.means_without_run();
    let control = means.control.clone();
    let is_asked: Vec<HostName> =
        questions.iter().filter(|(_, of)| !of.version.is_empty()).map(|(name, _)| name.clone()).collect();
    let mut read = engine::ask(questions, means).await;
    if control.stop_now() > engine::Stop::No {
        return Err(CliError::Interrupted);
    }
    for (host, reading) in read.iter().filter(|(host, _)| is_asked.contains(host)) {
        match &reading.installed {
            Installed::Known(_) if !reading.silent.is_empty() => {
                let why = reading.silent.join("; ");
                screen
                    .say(&format!("note: a source of the version of {host} told nothing, and the others agree: {why}"));
            }
            Installed::Known(_) | Installed::NotAsked => {}
            Installed::Unknown => {
                let why = if reading.silent.is_empty() { "" } else { ": " };
                screen.say(&format!("note: the version of {host} is not known{why}{}", reading.silent.join("; ")));
            }
            disagree @ Installed::Disagree(_) => screen.say(&format!("note: {host}: its {}", disagree.shown())),
            Installed::Unreached(why) => screen.say(&format!("note: {host} did not tell its version: {why}")),
        }
    }
    read.append(&mut silent);
    Ok(read)
}

/// Whether there is a way to ask a host for its version or any fact.
pub(super) fn can_be_asked(of: &HostPlan) -> bool {
    !of.version.is_empty() || of.facts.values().any(|fact| fact.how.is_some())
}

/// Local files of a playbook are relative to its folder.
pub(super) fn base_of(project: &Project, playbook: &Path) -> PathBuf {
    let beside = playbook.parent().filter(|parent| !parent.as_os_str().is_empty() && playbook.is_file());
    beside.map_or_else(|| project.root.join("playbooks"), Path::to_path_buf)
}

/// Keeps a plan in a private file: it names hosts, users and commands.
pub(super) fn write(plan: &Plan, path: &Path) -> Result<(), CliError> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let text = serde_json::to_string_pretty(plan).expect("a plan is plain data");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|source| CliError::Write { path: path.to_path_buf(), source })
}

/// Reads a plan that was kept, and proves that nobody changed it.
pub(super) fn read(path: &Path) -> Result<Plan, CliError> {
    let text = std::fs::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => CliError::with_hint(
            format!("there is no plan `{}`", path.display()),
            "make one with `longshore plan PLAYBOOK -o FILE`",
        ),
        _ => CliError::Read { path: path.to_path_buf(), source },
    })?;
    let plan: Plan = serde_json::from_str(&text).map_err(|error| {
        CliError::with_hint(
            format!("`{}` is not a plan: {error}", path.display()),
            "make one with `longshore plan PLAYBOOK -o FILE`",
        )
    })?;
    if plan.format != plan::FORMAT {
        return Err(CliError::usage(format!(
            "`{}` is a plan of format {}, this longshore reads {}",
            path.display(),
            plan.format,
            plan::FORMAT
        )));
    }
    if !plan.is_intact() {
        return Err(CliError::with_hint(
            format!("`{}` was changed after it was made: its digest does not fit", path.display()),
            "make a new plan and review that",
        ));
    }
    Ok(plan)
}
