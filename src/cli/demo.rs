//! `demo`: the product's point in under a minute, on an embedded fleet: no root, no set-up, no leftovers.

use super::{
    Global,
    apply::{self, carry_out},
    check,
    error::CliError,
    open,
    run::{About, Show, Workshop},
    screen::Screen,
};
use crate::{
    config::documents::Playbook,
    engine::{self, Mode},
    event::RunState,
    lab::{Fleet, LabHost, LabOptions, app},
    model::{ExitCode, HostName, HostOutcome, Version},
    plan::{self, Purpose},
    report::{self, Detail},
};

/// Show an upgrade on an embedded fleet
///
/// Six SSH servers in this process, each host a folder of its own in which a real `sh` runs the
/// commands: a health sweep, a plan, a canary, two waves. One host gets a build that does not become
/// healthy; it is taken back by itself. Needs no root and no set-up, and leaves nothing behind. Exit code
/// 0 when the story went as told.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep the project in this folder afterwards, to look at
    #[arg(long, value_name = "DIR")]
    keep: Option<std::path::PathBuf>,
}

const HOSTS: usize = 6;
/// The host whose build does not become healthy.
const UNLUCKY: &str = "web-4";
const OLD: &str = "1.4.2";
const NEW: &str = "1.5.0";

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let hosts = (1..=HOSTS).map(|number| {
        let name = HostName::new(format!("web-{number}")).expect("`web-` and a number make a name");
        let build = if name.as_str() == UNLUCKY {
            app::Build::broken(NEW, "this host's library is too old for 1.5.0")
        } else {
            app::Build::good(NEW)
        };
        LabHost::new(name).seed(move |home| app::seed(home, &app::Build::good(OLD), std::slice::from_ref(&build)))
    });
    let fleet = Fleet::start(LabOptions { hosts: hosts.collect(), ..LabOptions::default() }).await?;
    let told = tell(&fleet, args, global, screen).await;
    fleet.stop().await?;
    told
}

async fn tell(fleet: &Fleet, args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let folder = args.keep.clone().unwrap_or_else(|| fleet.root().join("project"));
    fleet.write_project(&folder).map_err(|source| CliError::Write { path: folder.clone(), source })?;
    let global = Global { project: Some(folder.clone()), no_ssh_config: true, ..global.clone() };

    heading(screen, "1. How is the fleet?", "longshore check all");
    let before = sweep(&global, screen).await?;

    heading(screen, "2. What would be done?", "longshore plan upgrade");
    let (project, playbook) = open::playbook(&global, screen, std::path::Path::new("upgrade"))?;
    let plan = plan_upgrade(&project, &playbook, &before)?;
    screen.print(&report::plan(&plan, Detail::Brief, &screen.page()))?;

    heading(screen, "3. Do it: a canary first, then two waves.", "longshore apply upgrade");
    let exit = carry_out(
        &folder,
        plan,
        std::collections::BTreeMap::new(),
        Mode::Apply,
        apply::Asking::of_windows(engine::Windows::AsPlanned),
        &global,
        screen,
    )
    .await?;

    heading(screen, &format!("4. Is {UNLUCKY} really back on {OLD}?"), "longshore check all");
    let after = sweep(&global, screen).await?;

    let unlucky = HostName::new(UNLUCKY).expect("a valid name");
    let version_of = |state: &RunState, host: &HostName| state.hosts.get(host).and_then(|host| host.after.clone());
    let went_as_told = exit == ExitCode::HostFailed
        && after.hosts.values().all(|host| host.outcome == Some(HostOutcome::Unchanged))
        && after.hosts.keys().all(|host| {
            let expected = if *host == unlucky { OLD } else { NEW };
            version_of(&after, host) == Some(Version::new(expected))
        });
    if !went_as_told {
        screen.tell("The story did not go as told; the tables above say what happened instead.");
        return Ok(ExitCode::HostFailed);
    }
    screen.say(&format!(
        "\nFive hosts run {NEW}. {UNLUCKY} failed its check and was taken back to {OLD} by itself: every step\n\
         undone, last first, and its health proven. On a real fleet `apply` would have ended with exit code 1."
    ));
    Ok(ExitCode::Good)
}

fn heading(screen: &Screen, title: &str, command: &str) {
    let (bold, dim, plain) = if screen.colour_errors { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    screen.say(&format!("\n{bold}{title}{plain}  {dim}$ {command}{plain}"));
}

async fn sweep(global: &Global, screen: &Screen) -> Result<RunState, CliError> {
    let project = open::project(global, screen)?;
    let plan = std::sync::Arc::new(check::compile(&project, &Playbook::sweep("all", Some("shop".to_owned())))?);
    let workshop = Workshop::open(&project.root, global, screen)?;
    let about = About {
        title: "all".to_owned(),
        purpose: "check",
        digest: plan.digest.clone(),
        hosts: plan.hosts.len(),
        show: Show::Nothing,
    };
    let text = serde_json::to_string(&*plan).expect("a plan is plain data");
    let ran = workshop.run(&text, about, |means| engine::sweep(plan, means)).await?;
    if screen.format == super::OutputFormat::Human {
        screen.print(&report::sweep(&ran.state, Some(ran.number), &screen.page()))?;
    }
    Ok(ran.state)
}

/// Plans with the versions that the sweep has just read.
fn plan_upgrade(
    project: &crate::config::Project,
    playbook: &Playbook,
    sweep: &RunState,
) -> Result<plan::Plan, CliError> {
    let base = project.root.join("playbooks");
    let mut order = plan::Order::new("upgrade", Purpose::Apply, base, jiff::Timestamp::now());
    let versions = sweep.hosts.iter().filter_map(|(name, host)| Some((name.clone(), host.after.clone()?)));
    order.read = versions.map(|(name, version)| (name, plan::Reading::known(version))).collect();
    plan::compile(project, playbook, &order).map_err(CliError::Documents)
}
