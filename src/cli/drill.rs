//! `drill`: proves that a host can be rebuilt from its copies, on another host.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Global, apply,
    backups::{self, Kept, gaps, of_role, title_of_drill},
    error::CliError,
    open, prompt,
    run::Workshop,
    screen::Screen,
};
use crate::{
    config::{
        Project,
        documents::{Playbook, StepDoc},
        suggest,
    },
    engine::{Mode, Windows},
    model::{ExitCode, HostName},
    plan::{self, Plan, Purpose},
    report::{self, Detail, words},
    steps::{Collect, Deliver},
    transport::Way,
};

/// Prove that a host can be rebuilt from its copies
///
/// Brings the newest proven copy of each piece of the host's data to another host, by way of the controller, and does there
/// what the role's `[[drill]]` says: restore, start, check, take it down. Nothing is changed on the host that is drilled.
/// `longshore backups` tells when that was.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The host whose copies are tried
    host: String,

    /// The host to rebuild it on: another machine, with nothing of the product on it
    #[arg(long, value_name = "HOST")]
    onto: String,

    /// The role, where the project has several
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,

    /// Do not ask before it begins
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let mut project = open::project(global, screen)?;
    let (source, target) = (known(&project, &args.host)?, known(&project, &args.onto)?);
    let role = of_role(&project, args.role.as_ref())?;
    if project.roles[&role].role.drill.is_empty() {
        let hint =
            "its `[[drill]]` steps restore the copies on an empty host, start the product, check it and take it down";
        return Err(CliError::with_hint(format!("the role `{role}` does not say how it is drilled"), hint));
    }
    let workshop = Workshop::open(&project.root, global, screen)?;
    Box::pin(differ(&project, &source, &target, &workshop, global)).await?;

    let known = backups::survey(&project, &role, source.as_str(), &workshop, screen).await?;
    let kept = known.get(&source).map(Vec::as_slice).unwrap_or_default();
    let missing = gaps(kept);
    if !missing.is_empty() {
        screen.tell(&report::backups(&rows(&source, kept), &[], &screen.page_for_errors()));
        return Err(CliError::Refused {
            message: format!("{source} cannot be rebuilt: there is no copy of {}", words::and(&missing)),
            hint: Some("the role's `[[backup]]` makes the copies; nothing was done".to_owned()),
        });
    }
    let local = workshop.ledger().folder().join("drill");
    drop(workshop);

    let local_text = local.to_string_lossy().into_owned();
    let files: Vec<_> =
        kept.iter().filter_map(|kept| file_of(kept).map(|copy| (kept.store.name.clone(), copy))).collect();
    let folder = project.roles.get_mut(&role).expect("it was found");
    let collect = |(data, (folder, name)): &(String, (String, String))| StepDoc {
        name: Some(format!("Bring the copy of {data} here")),
        collect: Some(Collect {
            folder: folder.clone(),
            name: name.clone(),
            to: local_text.clone(),
            max: None,
            keep: None,
        }),
        ..StepDoc::default()
    };
    folder.role.actions.insert(COLLECT.to_owned(), files.iter().map(collect).collect());
    // Where the copies belong is written as the role has it, so that it is the other host's own folder.
    let stores: Vec<_> =
        folder.role.data.iter().filter(|doc| files.iter().any(|(data, _)| *data == doc.name)).collect();
    let deliver: Vec<StepDoc> = stores
        .into_iter()
        .filter_map(|doc| {
            let copy = doc.copy.as_ref()?;
            Some(StepDoc {
                name: Some(format!("Bring {source}'s copy of {}", doc.name)),
                deliver: Some(Deliver {
                    host: source.to_string(),
                    name: copy.name.clone(),
                    from: local_text.clone(),
                    folder: copy.folder.clone(),
                }),
                ..StepDoc::default()
            })
        })
        .collect();
    folder.role.drill.splice(0..0, deliver);

    let title = title_of_drill(&source, &target);
    let bring = compile(&project, &role, &source, COLLECT, &format!("copies of {source}"))?;
    let rebuild = compile(&project, &role, &target, "drill", &title)?;
    if !args.yes {
        if !screen.can_ask {
            let hint = "`--yes` goes ahead";
            return Err(CliError::with_hint("nobody can be asked here, so nothing is rebuilt", hint));
        }
        screen.tell(&report::plan(&rebuild, Detail::Brief, &screen.page_for_errors()));
        if !prompt::agreed(format!("Rebuild {source} on {target}? [y/N] ")).await? {
            return Err(CliError::usage("nothing was done"));
        }
    }
    let go = async |plan: Plan| {
        apply::carry_out(
            &project.root,
            plan,
            BTreeMap::new(),
            Mode::Apply,
            apply::Asking::of_windows(Windows::AsPlanned),
            global,
            screen,
        )
        .await
    };
    let mut exit = if files.is_empty() { ExitCode::Good } else { go(bring).await? };
    if exit == ExitCode::Good {
        exit = go(rebuild).await?;
    }
    // They were here for this alone. What cannot be removed is private, and told.
    if let Err(error) = std::fs::remove_dir_all(local.join(source.as_str()))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        screen.say(&format!("note: the copies below {} could not be removed: {error}", local.display()));
    }
    if exit == ExitCode::Good {
        let what: Vec<_> = kept.iter().filter_map(in_words).collect();
        screen.say(&format!("{source} was rebuilt on {target} from {}", words::and(&what)));
    } else {
        screen.say(&format!("{source} is NOT proven to be rebuildable: what {target} lacked is told above"));
    }
    Ok(exit)
}

/// The action that brings the copies to the controller.
const COLLECT: &str = "collect-for-a-drill";

fn known(project: &Project, name: &str) -> Result<HostName, CliError> {
    let known = || project.inventory.hosts.keys().map(HostName::as_str);
    HostName::new(name).ok().filter(|name| project.inventory.hosts.contains_key(name)).ok_or_else(|| CliError::Usage {
        message: format!("`{name}` is no host of the inventory"),
        hint: suggest::hint(name, known()),
    })
}

/// Refuses a drill onto the very host that is drilled, whatever it is called.
async fn differ(
    project: &Project,
    source: &HostName,
    target: &HostName,
    workshop: &Workshop,
    global: &Global,
) -> Result<(), CliError> {
    let same = |how: &str| CliError::Refused {
        message: format!("{target} is {source} itself: {how}"),
        hint: Some("a drill is done on another machine, or it proves nothing and endangers what runs".to_owned()),
    };
    if source == target {
        return Err(same("it has the same name"));
    }
    let [one, other] = [source, target].map(|name| project.resolve_host(name));
    if one.via.is_some() && one.via == other.via && project_of(&one) == project_of(&other) {
        return Err(same("both are reached in the same way, with the same variables"));
    }
    if one.via.is_none() && other.via.is_none() && (&one.address, one.port) == (&other.address, other.port) {
        return Err(same("it has the same address"));
    }
    let key = async |host: &crate::config::ResolvedHost| {
        let target = plan::target(project, host);
        if matches!(target.way, Way::Controller) {
            return None;
        }
        workshop.ssh.probe_host_key(&target, global.connect_timeout.0).await.ok()
    };
    let (one, other) = futures::join!(key(&one), key(&other));
    match (one, other) {
        (Some(one), Some(other)) if one.key == other.key => Err(same("it has the same host key")),
        _ => Ok(()),
    }
}

/// What tells installs apart that are reached in the same way.
fn project_of(host: &crate::config::ResolvedHost) -> Vec<(String, String)> {
    host.vars.iter().map(|(name, value)| (name.clone(), format!("{value:?}"))).collect()
}

/// Folder and name of the newest copy of a piece of data, where it is a file.
fn file_of(kept: &Kept) -> Option<(String, String)> {
    let newest = kept.whole().next_back().filter(|copy| copy.fact("id").is_none())?;
    let (folder, _) = newest.file.rsplit_once('/')?;
    Some((folder.to_owned(), kept.store.copy.as_ref()?.name.clone()))
}

fn in_words(kept: &Kept) -> Option<String> {
    let newest = kept.whole().next_back()?;
    let rows = newest.fact("rows").map(|rows| format!(", {rows} rows")).unwrap_or_default();
    Some(format!("the {} of {:.0}{rows}", kept.store.name, newest.made))
}

fn rows(host: &HostName, kept: &[Kept]) -> Vec<report::DataRow> {
    kept.iter().map(|kept| kept.to_row(host)).collect()
}

/// Plans one action of the role on one host.
fn compile(project: &Project, role: &str, host: &HostName, action: &str, title: &str) -> Result<Plan, CliError> {
    let mut playbook = Playbook::sweep(host.as_str(), Some(role.to_owned()));
    playbook.action = Some(action.to_owned());
    playbook.name = Some(title.to_owned());
    let base = project.root.join("playbooks");
    let order = plan::Order::new(title, Purpose::Apply, base, Timestamp::now());
    let mut plan = plan::compile(project, &playbook, &order).map_err(CliError::Documents)?;
    for of in plan.hosts.values_mut() {
        // Where the product is not, or is to be gone again, nothing of it is healthy: the steps say what must be so, and when.
        of.gates.clear();
        of.checks.clear();
        of.migration = None;
    }
    Ok(plan.seal())
}
