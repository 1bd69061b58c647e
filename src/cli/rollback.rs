//! `rollback`: take a finished upgrade back, each host in the shape that fits what the run recorded of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Global, OutputFormat, approve,
    error::CliError,
    open, plan, prompt,
    run::{About, Show, Workshop},
    screen::Screen,
};
use crate::{
    engine::{self, Finished, Means, Mode, NotBack, Windows},
    event::{HostState, RunState},
    ledger::{Ledger, RunRecord},
    model::{ExitCode, HostName, HostOutcome, RunId, RunNumber},
    plan::{Plan, Purpose, Shape},
    report::{self, Detail, words},
};

/// Take a finished upgrade back
///
/// Goes by what the run recorded, for each host by itself: where no data was changed, or the old release can run
/// on it, the run's steps are taken back, last first. Where data moved, the backup that the run made of this very
/// host is put back first, after a copy of the data as it is, and only with a person's approval. There is no
/// canary: all hosts go back in one wave. Windows do not hold it up.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The run: its number or id, or `last` for the last upgrade
    run: String,

    /// Only these hosts: names or selectors. All that the run upgraded when left out
    hosts: Vec<String>,

    /// Only look: what would change, without changing it
    #[arg(long)]
    check: bool,

    /// Keep the plan in this file and do nothing yet; `longshore apply FILE` does it
    #[arg(short = 'o', long = "out", value_name = "FILE", conflicts_with = "check")]
    out: Option<PathBuf>,

    /// Do not ask before the plan is done. What changes data is asked about all the same
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    approvals: approve::ApprovalArgs,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let root = open::project_root(global)?;
    let workshop = Workshop::open(&root, global, screen)?;
    let record = find(workshop.ledger(), &args.run)?;
    let (of, state) = recorded(workshop.ledger(), &record)?;
    let named = named(&args.hosts, &of, global, screen)?;
    let mut hosts = named.clone().unwrap_or_else(|| of.hosts.keys().cloned().collect());
    let later = Later::than(workshop.ledger(), &record)?;
    let finished = Finished { id: &record.id, number: record.number, plan: &of, state: &state };
    // Where the run has nothing to take back, it does not matter what came later.
    let (_, mut refused) = engine::rollback(finished, &hosts, Timestamp::now());
    refused.retain(|not| not.nothing_to_do);
    hosts.retain(|host| !refused.iter().any(|not| not.host == *host));
    hosts.retain(|host| match later.why_not(host, &record) {
        None => true,
        Some(why) => {
            refused.push(NotBack { host: host.clone(), why, nothing_to_do: false });
            false
        }
    });
    let (plan, not_back) = engine::rollback(finished, &hosts, Timestamp::now());
    refused.extend(not_back);
    refused.retain(|not| named.is_some() || !not.nothing_to_do);
    let Some(plan) = plan else {
        let hint = format!("`longshore history show {}` tells how each host ended", record.number);
        return Err(nothing(&record, &refused, hint));
    };
    for NotBack { host, why, .. } in &refused {
        screen.say(&format!("note: {host} is left as it is: {why}"));
    }
    if let Some(out) = &args.out {
        plan::write(&plan, out)?;
        show(&plan, screen)?;
        screen.say(&format!("\nkept in {0}; `longshore apply {0}` does exactly this", out.display()));
        return Ok(ExitCode::Good);
    }
    if args.check {
        show(&plan, screen)?;
    } else if !args.yes {
        ask(&plan, &args.run, screen).await?;
    }
    let mode = if args.check { Mode::Look { diff: false } } else { Mode::Apply };
    carry_out(&workshop, plan, mode, &args.approvals, screen).await
}

/// Does what the kept plan of a rollback says, if it still can be done.
pub(super) async fn apply(
    root: &Path,
    plan: Plan,
    mode: Mode,
    approvals: &approve::ApprovalArgs,
    global: &Global,
    screen: &Screen,
) -> Result<ExitCode, CliError> {
    let workshop = Workshop::open(root, global, screen)?;
    let Some(of) = plan.hosts.values().find_map(|host| Some(host.rollback.as_ref()?.of.clone())) else {
        return Err(CliError::usage("the plan is that of a rollback, and names no run"));
    };
    let record = workshop.ledger().find(of.as_str())?;
    let later = Later::than(workshop.ledger(), &record)?;
    let refused: Vec<_> = plan
        .hosts
        .keys()
        .filter_map(|host| {
            let why = later.why_not(host, &record)?;
            Some(NotBack { host: host.clone(), why, nothing_to_do: false })
        })
        .collect();
    if !refused.is_empty() {
        let number = record.number;
        let hint = format!("`longshore rollback {number} -o FILE` makes a plan of the hosts that can go back now");
        return Err(nothing(&record, &refused, hint));
    }
    carry_out(&workshop, plan, mode, approvals, screen).await
}

async fn carry_out(
    workshop: &Workshop,
    plan: Plan,
    mode: Mode,
    approvals: &approve::ApprovalArgs,
    screen: &Screen,
) -> Result<ExitCode, CliError> {
    let approved = match mode {
        Mode::Apply => {
            let hosts = plan.hosts.keys().map(|host| (host, &[][..]));
            approve::all(&plan, hosts, approvals, workshop, screen).await?
        }
        Mode::Look { .. } => BTreeMap::new(),
    };
    let plan = Arc::new(plan);
    let about = About {
        title: plan.title.clone(),
        purpose: if mode == Mode::Apply { "rollback" } else { "look" },
        digest: plan.digest.clone(),
        hosts: plan.hosts.len(),
        show: Show::Everything,
    };
    let text = serde_json::to_string(&*plan).expect("a plan is plain data");
    let run = |means| {
        let means = Means { windows: Windows::default(), ..means };
        engine::apply_approved(Arc::clone(&plan), approved, mode, means)
    };
    let ran = workshop.run(&text, about, run).await?;
    if screen.format == OutputFormat::Human {
        let page = screen.page();
        if let Mode::Look { .. } = mode {
            screen.print(&report::differences(&ran.state, &page))?;
        }
        screen.print(&report::results(&ran.state, Some(ran.number), &page))?;
    }
    Ok(ran.exit)
}

/// The run to take back: `last` is the last upgrade, whatever was looked at since.
fn find(ledger: &Ledger, text: &str) -> Result<RunRecord, CliError> {
    let record = match text {
        "last" => ledger.runs(200)?.into_iter().find(|run| run.purpose == "apply").ok_or_else(|| {
            CliError::with_hint("there is no upgrade to take back", "`longshore history` lists the runs")
        })?,
        named => ledger.find(named)?,
    };
    if record.purpose != "apply" {
        let message = format!("run {} is a `{}`; only an upgrade is taken back", record.number, record.purpose);
        return Err(CliError::with_hint(message, "`longshore history` lists the runs"));
    }
    if record.running {
        let message = format!("run {} is going on", record.number);
        return Err(CliError::Refused {
            message,
            hint: Some(format!("`longshore abort {}` ends it first", record.number)),
        });
    }
    Ok(record)
}

fn recorded(ledger: &Ledger, record: &RunRecord) -> Result<(Plan, RunState), CliError> {
    let of = serde_json::from_str(&ledger.plan(record.number)?)
        .map_err(|error| CliError::usage(format!("the plan of run {} cannot be read: {error}", record.number)))?;
    let events = ledger.events(record.number, None)?;
    let state = RunState::fold(&events).map_err(|error| CliError::usage(error.to_string()))?;
    Ok((of, state))
}

/// The hosts a person named: names of the run's hosts first, so that one that left the inventory can go back.
fn named(words: &[String], of: &Plan, global: &Global, screen: &Screen) -> Result<Option<Vec<HostName>>, CliError> {
    if words.is_empty() {
        return Ok(None);
    }
    let mut named = Vec::new();
    for word in words {
        match HostName::new(word.as_str()).ok().filter(|host| of.hosts.contains_key(host)) {
            Some(host) => named.push(host),
            None => named.extend(open::select(&open::project(global, screen)?, word)?),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    named.retain(|host| seen.insert(host.clone()));
    Ok(Some(named))
}

/// The hosts that later runs took back to where a run had found them, and which run did so.
pub(super) fn taken_back(ledger: &Ledger, record: &RunRecord) -> Result<BTreeMap<HostName, RunNumber>, CliError> {
    let later = Later::than(ledger, record)?;
    let mut hosts = BTreeMap::new();
    for run in &later.runs {
        let back = run.state.hosts.keys().filter(|host| run.took_back(&record.id, host));
        hosts.extend(back.map(|host| (host.clone(), run.record.number)));
    }
    Ok(hosts)
}

/// The runs after the one that is taken back, as far as they changed hosts.
struct Later {
    runs: Vec<LaterRun>,
}

struct LaterRun {
    record: RunRecord,
    state: RunState,
    /// What going back meant for each host, where the run itself took one back.
    shapes: BTreeMap<HostName, Shape>,
}

impl LaterRun {
    /// Whether it took back all that the run `of` did to a host.
    fn took_back(&self, of: &RunId, host: &HostName) -> bool {
        let outcome = self.state.hosts.get(host).and_then(|known| known.outcome.as_ref());
        self.state.rolls_back.as_ref() == Some(of)
            && matches!(outcome, Some(HostOutcome::Done | HostOutcome::Unchanged))
    }
}

impl Later {
    fn than(ledger: &Ledger, record: &RunRecord) -> Result<Self, CliError> {
        let changes = |run: &RunRecord| matches!(run.purpose.as_str(), "apply" | "rollback");
        let later = ledger.runs(usize::MAX)?.into_iter().filter(|run| run.number > record.number && changes(run));
        let mut runs = Vec::new();
        for run in later {
            let events = ledger.events(run.number, None)?;
            let state = RunState::fold(&events).map_err(|error| CliError::usage(error.to_string()))?;
            let mut shapes = BTreeMap::new();
            if state.rolls_back.is_some() {
                // Of a plan of another longshore no shape is known: what it took back counts as code alone.
                let plan = serde_json::from_str::<Plan>(&ledger.plan(run.number)?);
                let hosts = plan.into_iter().flat_map(|plan| plan.hosts);
                shapes = hosts.filter_map(|(host, of)| Some((host, of.rollback?.shape))).collect();
            }
            runs.push(LaterRun { record: run, state, shapes });
        }
        Ok(Self { runs })
    }

    /// Says why what the run did to a host cannot be taken back any more, or not again.
    fn why_not(&self, host: &HostName, record: &RunRecord) -> Option<String> {
        self.runs.iter().find_map(|run| {
            let known = run.state.hosts.get(host)?;
            let number = run.record.number;
            match &run.state.rolls_back {
                None => self.upgraded_since(host, run, known),
                Some(of) if *of == record.id => match known.outcome {
                    Some(HostOutcome::Done | HostOutcome::Unchanged) => {
                        Some(format!("it was taken back already, by run {number}"))
                    }
                    _ if engine::changed_by(known) || run.record.running => Some(format!(
                        "run {number} began to take it back: `longshore retry {number} --host {host}` goes on"
                    )),
                    _ => None,
                },
                // Judged with the run that it took back.
                Some(of) if run.took_back(of, host) && self.runs.iter().any(|run| run.record.id == *of) => None,
                Some(_) => engine::changed_by(known).then(|| {
                    format!("run {number} is taking a later run back: `longshore retry {number} --host {host}` goes on")
                }),
            }
        })
    }

    /// Says why a later upgrade of the host is in the way.
    fn upgraded_since(&self, host: &HostName, upgrade: &LaterRun, known: &HostState) -> Option<String> {
        if !engine::changed_by(known) {
            return None;
        }
        let number = upgrade.record.number;
        let Some(back) = self.runs.iter().find(|run| run.took_back(&upgrade.record.id, host)) else {
            return Some(format!(
                "run {number} changed it since: take that back first, with `longshore rollback {number} {host}`"
            ));
        };
        let brought_back = matches!(back.shapes.get(host), Some(Shape::Data | Shape::Schema));
        (engine::leaves_data_new(known) && !brought_back).then(|| {
            format!(
                "run {number} changed its data since, and run {} took back the code alone: what is older may not read it",
                back.record.number
            )
        })
    }
}

/// Nothing can be taken back: says why, host by host.
fn nothing(record: &RunRecord, refused: &[NotBack], hint: String) -> CliError {
    let mut message = format!("run {} is not taken back; nothing was done", record.number);
    for NotBack { host, why, .. } in refused.iter().take(20) {
        message.push_str(&format!("\n  {host}: {why}"));
    }
    if refused.len() > 20 {
        message.push_str(&format!("\n  and {} more", words::count(refused.len() - 20, "host")));
    }
    if refused.is_empty() {
        message = format!("run {} changed no host that could be taken back", record.number);
    }
    CliError::Refused { message, hint: Some(hint) }
}

fn show(plan: &Plan, screen: &Screen) -> Result<(), CliError> {
    if screen.format == OutputFormat::Json {
        screen.print(&serde_json::to_string_pretty(plan).expect("a plan is plain data"))
    } else {
        screen.print(&report::plan(plan, Detail::Brief, &screen.page()))
    }
}

/// Shows the plan and asks whether to go on.
async fn ask(plan: &Plan, run: &str, screen: &Screen) -> Result<(), CliError> {
    debug_assert_eq!(plan.purpose, Purpose::Rollback);
    if !screen.can_ask {
        return Err(CliError::with_hint(
            "nobody can be asked here, so nothing is taken back unread",
            format!("`--yes` goes ahead; or `longshore rollback {run} -o plan.json`, and apply that once it is read"),
        ));
    }
    screen.tell(&report::plan(plan, Detail::Brief, &screen.page_for_errors()));
    if prompt::agreed(format!("Take {} back? [y/N] ", words::count(plan.hosts.len(), "host"))).await? {
        Ok(())
    } else {
        Err(CliError::usage("nothing was done"))
    }
}
