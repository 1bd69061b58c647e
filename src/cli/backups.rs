//! `backups`: which copies of their data hosts have, and whether they are young enough.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde_json::json;

use super::{Global, OutputFormat, check::role_of, error::CliError, open, run::Workshop, screen::Screen};
use crate::{
    config::{Project, documents::Playbook},
    engine,
    ledger::Ledger,
    model::{ExitCode, Failure, HostName, RunNumber},
    plan::{self, Keeper, Plan, Purpose, Store},
    report::{self, CopyRow, CopyState, DataRow, DrillRow, RebuildRow, words},
    steps::{self, Action, SavedCopy},
};

/// Show which copies of the data hosts have
///
/// Goes by `[[data]]` of the role: the newest proven copy of each piece, whether it is young enough, whether there is a
/// copy of everything that a rebuild takes, and when a drill last proved it. Exit code 0 when all is there and young, 1
/// when something that must be there is missing or critical data is overdue, 4 when some hosts could not be reached.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`
    #[arg(default_value = "all")]
    selector: String,

    /// The role, where the project has several
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,

    /// List every copy that can be restored, the newest first
    #[arg(long)]
    points: bool,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let project = open::project(global, screen)?;
    open::select(&project, &args.selector)?;
    let role = of_role(&project, args.role.as_ref())?;
    let workshop = Workshop::open(&project.root, global, screen)?;
    let known = survey(&project, &role, &args.selector, &workshop, screen).await?;
    let mut exits = vec![ExitCode::Good];
    let (mut rows, mut points, mut rebuilds) = (Vec::new(), Vec::new(), Vec::new());
    for (host, kept) in &known {
        for kept in kept {
            if let CopyState::Unread(_) = kept.state {
                exits.push(ExitCode::SomeUnreachable);
            } else if !kept.state.is_good(kept.store.loss) {
                exits.push(ExitCode::HostFailed);
            }
            rows.push(kept.to_row(host));
            let whole = kept.whole().rev().map(|copy| (host.to_string(), kept.store.name.clone(), to_row(copy)));
            points.extend(whole);
        }
        let drill = last_drill(workshop.ledger(), &role, host)?;
        rebuilds.push(RebuildRow { host: host.to_string(), gaps: gaps(kept), drill });
    }
    if screen.format == OutputFormat::Json {
        for (host, kept) in &known {
            let drill = rebuilds
                .iter()
                .find(|rebuild| rebuild.host == host.as_str())
                .and_then(|rebuild| rebuild.drill.as_ref());
            screen.print(&to_json(host, kept, drill).to_string())?;
        }
    } else if args.points {
        screen.print(&report::restore_points(&points, &screen.page()))?;
    } else {
        screen.print(&report::backups(&rows, &rebuilds, &screen.page()))?;
    }
    Ok(ExitCode::most_telling(exits))
}

/// The role whose data is meant.
pub(super) fn of_role(project: &Project, named: Option<&String>) -> Result<String, CliError> {
    let Some(role) = role_of(project, named)? else {
        return Err(CliError::with_hint("no role is named", "`--role ROLE` says whose data is meant"));
    };
    if project.roles[&role].role.data.is_empty() {
        let hint = "write it down in `role.toml` as `[[data]]`, each with `name`, `loss` and `copy`";
        return Err(CliError::with_hint(format!("the role `{role}` does not say what data it keeps"), hint));
    }
    Ok(role)
}

/// A piece of data on one host, with what is known of its copies.
pub(super) struct Kept {
    pub(super) store: Store,
    pub(super) state: CopyState,
    /// Oldest first.
    pub(super) copies: Vec<SavedCopy>,
}

impl Kept {
    /// The proven copies, oldest first.
    pub(super) fn whole(&self) -> impl DoubleEndedIterator<Item = &SavedCopy> {
        self.copies.iter().filter(|copy| copy.flaw.is_none())
    }

    pub(super) fn to_row(&self, host: &HostName) -> DataRow {
        DataRow {
            host: host.to_string(),
            data: self.store.name.clone(),
            loss: self.store.loss,
            state: self.state.clone(),
            newest: self.whole().next_back().map(to_row),
            copies: self.whole().count(),
        }
    }
}

/// What there is no copy of, although a rebuild takes it.
pub(super) fn gaps(kept: &[Kept]) -> Vec<String> {
    let lacks = |kept: &&Kept| kept.store.loss.is_needed() && !kept.state.is_restorable();
    kept.iter().filter(lacks).map(|kept| kept.store.name.clone()).collect()
}

/// Asks the hosts for all their copies.
pub(super) async fn survey(
    project: &Project,
    role: &str,
    selector: &str,
    workshop: &Workshop,
    screen: &Screen,
) -> Result<IndexMap<HostName, Vec<Kept>>, CliError> {
    let playbook = Playbook::sweep(selector, Some(role.to_owned()));
    let order = plan::Order::new(selector, Purpose::Check, project.root.clone(), Timestamp::now());
    let keepers = plan::stores(project, &playbook, &order).map_err(CliError::Documents)?;
    if screen.live {
        screen.say(&format!("Asking {} for their copies", words::count(keepers.len(), "host")));
    }
    let questions = keepers.iter().filter(|(_, keeper)| keeper.stores.iter().any(|store| store.copy.is_some()));
    let questions = questions.map(|(host, keeper)| (host.clone(), (keeper.host.clone(), program(keeper)))).collect();
    let means = workshop.means_without_run();
    let control = means.control.clone();
    let said = engine::read_out(questions, means).await;
    if control.stop_now() > engine::Stop::No {
        return Err(CliError::Interrupted);
    }
    Ok(keepers.into_iter().map(|(host, keeper)| (host.clone(), judged(keeper, said.get(&host)))).collect())
}

/// Asks for the copies of each store. What one program says cannot be taken for what another says.
fn program(keeper: &Keeper) -> String {
    let mut text = String::new();
    for (index, copy) in
        keeper.stores.iter().enumerate().filter_map(|(index, store)| Some((index, store.copy.as_ref()?)))
    {
        let listing = steps::list_copies(&copy.folder, &copy.name);
        text.push_str(&format!("echo 'store {index}'\n(\n{listing}) 2>&1 || echo failed\n"));
    }
    text
}

fn judged(keeper: Keeper, said: Option<&Result<String, Failure>>) -> Vec<Kept> {
    let answers: BTreeMap<usize, String> = match said {
        Some(Ok(text)) => apart(text),
        _ => BTreeMap::new(),
    };
    let judge = |(index, store): (usize, Store)| {
        let Some(wanted) = &store.copy else {
            return Kept { store, state: CopyState::NotSaved, copies: Vec::new() };
        };
        let copies = match (said, answers.get(&index)) {
            (Some(Err(failure)), _) => Err(failure.to_string()),
            (_, Some(text)) => match text.trim_end().strip_suffix("failed") {
                Some(said) => Err(said.lines().last().unwrap_or_default().to_owned()),
                None => steps::read_copies(text),
            },
            (_, None) => Err("the host did not answer".to_owned()),
        };
        match copies {
            Err(why) => Kept { store, state: CopyState::Unread(why), copies: Vec::new() },
            Ok(copies) => {
                let newest = copies.iter().rev().find(|copy| copy.flaw.is_none());
                let state = match (newest, wanted.younger_than) {
                    (None, _) => CopyState::Missing,
                    (Some(copy), Some(limit)) if copy.age >= limit => CopyState::Overdue(limit.0),
                    (Some(_), _) => CopyState::Fresh,
                };
                Kept { store, state, copies }
            }
        }
    };
    keeper.stores.into_iter().enumerate().map(judge).collect()
}

/// Takes apart what the programs of the stores said.
fn apart(said: &str) -> BTreeMap<usize, String> {
    let mut answers: BTreeMap<usize, String> = BTreeMap::new();
    let mut at = None;
    for line in said.lines() {
        if let Some(index) = line.strip_prefix("store ") {
            at = index.parse().ok();
        } else if let Some(index) = at {
            let answer = answers.entry(index).or_default();
            answer.push_str(line);
            answer.push('\n');
        }
    }
    answers
}

fn to_row(copy: &SavedCopy) -> CopyRow {
    CopyRow {
        file: copy.file.clone(),
        made: copy.made,
        age: copy.age.0,
        size: copy.size(),
        rows: copy.fact("rows").map(str::to_owned),
        head: copy.fact("head").map(str::to_owned),
        proof: copy.fact("verified").unwrap_or_default().to_owned(),
    }
}

fn to_json(host: &HostName, kept: &[Kept], drill: Option<&DrillRow>) -> serde_json::Value {
    let data: Vec<_> = kept
        .iter()
        .map(|kept| {
            json!({
                "name": kept.store.name, "loss": kept.store.loss, "point-in-time": kept.store.point_in_time,
                "state": kept.state.shown(), "good": kept.state.is_good(kept.store.loss), "copies": kept.copies,
            })
        })
        .collect();
    let drill =
        drill.map(|drill| json!({ "run": drill.run, "passed": drill.passed, "seconds-ago": drill.age.as_secs() }));
    json!({ "host": host, "data": data, "gaps": gaps(kept), "drill": drill })
}

/// Runs of the ledger that are looked through for a drill.
const LOOKED_THROUGH: usize = 2_000;

/// The name of a drill's run.
pub(super) fn title_of_drill(source: &HostName, target: &HostName) -> String {
    format!("drill of {source} onto {target}")
}

/// Finds the last drill of a host's data that came to an end.
fn last_drill(ledger: &Ledger, role: &str, host: &HostName) -> Result<Option<DrillRow>, CliError> {
    let is_drill = |number: RunNumber| -> bool {
        let plan = ledger.plan(number).ok().and_then(|text| serde_json::from_str::<Plan>(&text).ok());
        plan.is_some_and(|plan| {
            let brought = plan.hosts.values().flat_map(|of| &of.steps);
            let mut from = brought.filter_map(|step| match &step.action {
                Action::Deliver(deliver) => Some(deliver.host.as_str()),
                _ => None,
            });
            plan.role.as_deref() == Some(role)
                && plan.action.as_deref() == Some("drill")
                && from.any(|from| from == host.as_str())
        })
    };
    let begins = format!("drill of {host} onto ");
    for run in ledger.runs(LOOKED_THROUGH)?.into_iter().filter(|run| run.title.starts_with(&begins)) {
        let Some((ended, exit)) = run.ended.zip(run.exit).filter(|_| is_drill(run.number)) else { continue };
        let age = Timestamp::now().duration_since(ended).try_into().unwrap_or_default();
        return Ok(Some(DrillRow { age, run: run.number.to_string(), passed: exit == ExitCode::Good }));
    }
    Ok(None)
}
