//! `resume` and `retry`: take a run up again, each host exactly where it was.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Global, OutputFormat, approve,
    error::CliError,
    open, others, prefetch,
    run::{Ran, Workshop},
    screen::Screen,
    windows,
};
use crate::{
    config::Project,
    engine::{self, Choice, Means, Windows},
    event::{HostState, RunState},
    ledger::{LedgerError, RunRecord},
    model::{ExitCode, Failure, FailureClass, HostName, HostOutcome, Version, Way},
    plan::{self, NeedsApproval, Plan, Purpose, Wave},
    report::{self, words},
};

/// Go on with a run that was cut off, interrupted or halted
///
/// Every host goes on exactly where it was, from what the ledger and the host's own spool say together.
/// What has started is never started again; hosts that ended stay as they ended.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The run: its number or id, or `last`
    #[arg(default_value = "last")]
    run: String,

    /// Go on as planned, although the playbook has changed since
    #[arg(long)]
    as_planned: bool,

    /// How held hosts go on: with the plan, back to the code of before, or back to the run's own backup as well
    #[arg(long = "as", value_name = "WAY", requires = "host")]
    way: Option<WayOn>,

    /// The held host that goes on that way; may be given several times
    #[arg(long, value_name = "HOST", requires = "way")]
    host: Vec<String>,

    #[command(flatten)]
    approvals: approve::ApprovalArgs,

    #[command(flatten)]
    windows: windows::Args,
}

/// The ways on from a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum WayOn {
    /// With the plan, from the step that failed, once what it failed for is mended
    RollForward,
    /// Back to the code of before; data stays as it is
    CodeRollback,
    /// Back to the data of the run's own backup, after a copy of it as it is, and to the code of before
    Restore,
}

impl From<WayOn> for Way {
    fn from(way: WayOn) -> Self {
        match way {
            WayOn::RollForward => Self::RollForward,
            WayOn::CodeRollback => Self::CodeRollback,
            WayOn::Restore => Self::Restore,
        }
    }
}

/// Take hosts of a run through the same plan and gates again
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of the command line")]
pub(super) struct RetryArgs {
    /// The run: its number or id, or `last`
    #[arg(default_value = "last")]
    run: String,

    /// Hosts that failed, were taken back or were parked
    #[arg(long, group = "which")]
    failed: bool,

    /// Hosts that could not be reached
    #[arg(long, group = "which")]
    unreached: bool,

    /// Hosts that wait for a person: held, or with a step nobody knows the result of
    #[arg(long, group = "which")]
    held: bool,

    /// Hosts that are stuck half taken back: taking back goes on where it failed
    #[arg(long, group = "which")]
    stuck: bool,

    /// Hosts that were refused: another run had their lease, or they had moved since the plan
    #[arg(long, group = "which")]
    refused: bool,

    /// Hosts that were not started: outside their windows, or the run ended first
    #[arg(long, group = "which")]
    not_started: bool,

    /// This host, however it ended
    #[arg(long, group = "which", value_name = "HOST")]
    host: Vec<String>,

    /// Go on as planned, although the playbook has changed since
    #[arg(long)]
    as_planned: bool,

    #[command(flatten)]
    approvals: approve::ApprovalArgs,

    #[command(flatten)]
    windows: windows::Args,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    if let Some(way) = args.way {
        return go_on_as(way.into(), args, global, screen).await;
    }
    let opened = Opened::open(&args.run, args.as_planned, global, screen)?;
    let hosts = opened.hosts(HostState::goes_on);
    // A run whose hosts all ended may still owe its last soak, and its end.
    let owes = opened.state.waves.iter().any(|wave| wave.started.is_some() && wave.ended.is_none());
    if hosts.is_empty() && opened.state.ended.is_some() && !owes {
        let (number, exit) = (opened.record.number, opened.state.exit_code());
        match exit {
            ExitCode::Good => screen.say(&format!("run {number}: nothing is left to do")),
            // Said with `--quiet`, too: it is the whole answer.
            _ => screen.tell(&format!(
                "run {number}: nothing of it goes on by itself; `longshore status {number}` says how its hosts stand and what to type"
            )),
        }
        return Ok(exit);
    }
    opened.go_on(hosts, "resume", &args.approvals, args.windows.windows()?, screen).await
}

pub(super) async fn retry(args: &RetryArgs, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let opened = Opened::open(&args.run, args.as_planned, global, screen)?;
    let mut named = Vec::new();
    for name in &args.host {
        let host = HostName::new(name.as_str()).map_err(|error| CliError::usage(error.to_string()))?;
        if !opened.plan.hosts.contains_key(&host) {
            return Err(CliError::usage(format!("run {} did not concern `{host}`", opened.record.number)));
        }
        named.push(host);
    }
    let mut hosts = opened.hosts(|host| {
        use HostOutcome::{Failed, Held, Parked, Refused, Stuck, Undone, Unknown, Unreachable};
        match host.outcome {
            Some(Failed | Undone | Parked) => args.failed,
            Some(Unreachable) => args.unreached,
            Some(Held | Unknown) => args.held,
            Some(Stuck) => args.stuck,
            Some(Refused) => args.refused,
            None if host.started.is_none() => args.not_started,
            Some(HostOutcome::NotStarted) => args.not_started,
            _ => false,
        }
    });
    hosts.extend(named.into_iter().filter(|host| {
        let done = opened.state.hosts.get(host).and_then(|state| state.outcome).is_some_and(HostOutcome::is_good);
        if done {
            screen.say(&format!("note: {host} ended well and is left as it is"));
        }
        !done
    }));
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    if hosts.is_empty() {
        let number = opened.record.number;
        screen.tell(&format!("run {number}: no host of it stands so that this takes it up; `longshore status {number}` says how each stands"));
        return Ok(opened.state.exit_code());
    }
    opened.go_on(hosts, "retry", &args.approvals, args.windows.windows()?, screen).await
}

/// Takes held hosts further on the way that was chosen for them.
async fn go_on_as(way: Way, args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    // Going back is by what was recorded; only who goes forward is told what differs today.
    let as_planned = args.as_planned || way != Way::RollForward;
    let opened = Opened::open(&args.run, as_planned, global, screen)?;
    let approver = approve::Approver::new(&args.approvals, screen)?;
    let number = opened.record.number;
    let mut choices = BTreeMap::new();
    for name in &args.host {
        let host = HostName::new(name.as_str()).map_err(|error| CliError::usage(error.to_string()))?;
        let (Some(of), Some(state)) = (opened.plan.hosts.get(&host), opened.state.hosts.get(&host)) else {
            return Err(CliError::usage(format!("run {number} did not concern `{host}`")));
        };
        if state.outcome != Some(HostOutcome::Held) {
            let stands = state.outcome.map_or("not finished", HostOutcome::as_str);
            let message = format!("{host} is {stands}, not held: there is nothing to choose");
            return Err(CliError::with_hint(
                message,
                format!("`longshore history show {number} --host {host}` tells more"),
            ));
        }
        opened.refuse_changed(std::slice::from_ref(&host))?;
        let approval = match way {
            Way::RollForward | Way::CodeRollback => None,
            Way::Restore => {
                let Some(backup) = engine::backup_of(of, state).filter(|_| !of.recovery.restore.is_empty()) else {
                    let message = format!("run {number} left no verified backup of {host} that its role can restore");
                    return Err(CliError::with_hint(
                        message,
                        "`--as roll-forward` or `--as code-rollback` go on without one",
                    ));
                };
                let names: Vec<_> = of.recovery.safety_copy.iter().map(|step| format!("`{}`", step.name)).collect();
                let keeps = of.recovery.restore_keeps.clone().unwrap_or_else(|| words::and(&names));
                let newest = approve::newest([(&host, of)], &opened.workshop).await;
                let held = state.facts.get("newest").map(String::as_str);
                let facts = approve::held_facts(&host, &backup, newest.get(&host), held, &keeps);
                let needed =
                    NeedsApproval { action: "restore", backup: Some(backup.ended), steps: Vec::new(), to: None };
                let question = approve::Question { host: &host, needed, facts };
                Some(approver.ask(question).await?)
            }
        };
        choices.insert(host, Choice { way: Some(way), approval });
    }
    screen.say(&format!("run {number}: {way} for {}", words::count(choices.len(), "host")));
    let (plan, state) = (Arc::new(opened.plan), opened.state);
    let ran = opened.workshop.reopen(number, |means| engine::go_on(plan, state, choices, way.as_str(), means)).await?;
    if screen.format == OutputFormat::Human {
        screen.print(&report::results(&ran.state, Some(ran.number), &screen.page()))?;
    }
    Ok(ran.exit)
}

/// A run from the ledger that may be gone on with.
pub(super) struct Opened {
    pub(super) workshop: Workshop,
    pub(super) record: RunRecord,
    pub(super) plan: Plan,
    pub(super) state: RunState,
}

impl Opened {
    pub(super) fn open(run: &str, as_planned: bool, global: &Global, screen: &Screen) -> Result<Self, CliError> {
        let root = open::project_root(global)?;
        let workshop = Workshop::open(&root, global, screen)?;
        let record = match run {
            "last" => last_rollout(&workshop)?,
            named => workshop.ledger().find(named)?,
        };
        if !record.changes_hosts() {
            let message =
                format!("run {} is a `{}`; only a rollout can be gone on with", record.number, record.purpose);
            return Err(CliError::usage(message));
        }
        if record.running {
            return Err(LedgerError::Running(record.number).into());
        }
        let text = workshop.ledger().plan(record.number)?;
        let plan: Plan = serde_json::from_str(&text)
            .map_err(|error| CliError::usage(format!("the plan of run {} cannot be read: {error}", record.number)))?;
        let events = workshop.ledger().events(record.number, None)?;
        let mut state = RunState::fold(&events).map_err(|error| CliError::usage(error.to_string()))?;
        for (host, by) in super::rollback::taken_back(workshop.ledger(), &record)? {
            screen.say(&format!("note: {host} was taken back since, by run {by}: it stands for the release no more"));
            state.hosts.entry(host).and_modify(|state| state.taken_back = Some(by));
        }
        if !as_planned {
            refuse_changes(&plan, global, screen)?;
        }
        Ok(Self { workshop, record, plan, state })
    }

    /// The hosts for which `which` holds, in the order of the plan.
    fn hosts(&self, which: impl Fn(&HostState) -> bool) -> Vec<HostName> {
        if self.state.run.is_none() {
            // Not one event was recorded: the run is known by its plan alone.
            return self.plan.hosts.keys().cloned().collect();
        }
        self.state.hosts.iter().filter(|(_, host)| which(host)).map(|(name, _)| name.clone()).collect()
    }

    /// Refuses to go on in the middle of what a later run has changed since.
    fn refuse_changed(&self, hosts: &[HostName]) -> Result<(), CliError> {
        let since = others::changed_since(self.workshop.ledger(), &self.record, &self.state, hosts)?;
        let Some((first, _)) = since.first_key_value() else { return Ok(()) };
        let number = self.record.number;
        let said = since.iter().map(|(host, run)| format!("{host} (by run {run})")).collect::<Vec<_>>();
        let mut message = format!("run {number} does not go on with what has changed since: {}", words::and(&said));
        message.push_str("; nothing was done");
        let hint = format!(
            "make a new plan for what is to be done there; where run {number} is over, `longshore close {number} --host \
             {first} --reason TEXT` says so"
        );
        Err(CliError::Refused { message, hint: Some(hint) })
    }

    async fn go_on(
        self,
        hosts: Vec<HostName>,
        purpose: &str,
        approvals: &approve::ApprovalArgs,
        windows: Windows,
        screen: &Screen,
    ) -> Result<ExitCode, CliError> {
        self.refuse_changed(&hosts)?;
        // Whoever began the run may have died before it was recorded what was approved.
        let given = |host| self.state.hosts.get(host).map_or(&[][..], |state| &state.approvals);
        let asked = hosts.iter().map(|host| (host, given(host)));
        let mut approved = approve::all(&self.plan, asked, approvals, &self.workshop, screen).await?;
        let answers = approvals.answers();
        screen.say(&format!("run {}: {purpose} for {}", self.record.number, words::count(hosts.len(), "host")));
        let choices = hosts.into_iter().map(|host| (host.clone(), Choice::approved(approved.remove(&host)))).collect();
        let (plan, state) = (Arc::new(self.plan), self.state);
        self.workshop.mind_descriptors(plan.rollout.at_once);
        let Ran { exit, state, number } = self
            .workshop
            .reopen(self.record.number, |means| {
                engine::go_on(plan, state, choices, purpose, Means { windows, answers, ..means })
            })
            .await?;
        if screen.format == OutputFormat::Human {
            screen.print(&report::results(&state, Some(number), &screen.page()))?;
        }
        Ok(exit)
    }
}

/// The last run that changed hosts: sweeps and ad-hoc commands in between do not count.
fn last_rollout(workshop: &Workshop) -> Result<RunRecord, CliError> {
    let runs = workshop.ledger().runs(200)?;
    let found = runs.into_iter().find(RunRecord::changes_hosts);
    found.ok_or_else(|| CliError::with_hint("there is no rollout to go on with", "`longshore history` lists the runs"))
}

/// Refuses when the documents would make another plan today, and says where it differs.
fn refuse_changes(planned: &Plan, global: &Global, screen: &Screen) -> Result<(), CliError> {
    let Some(path) = &planned.playbook else { return Ok(()) };
    let (project, playbook) = open::playbook(global, screen, path)?;
    let read = planned.hosts.iter().map(|(name, host)| (name.clone(), host.reading())).collect();
    let from = planned.hosts.iter().filter_map(|(name, host)| Some((name.clone(), host.stated.clone()?))).collect();
    let limit = Some(planned.hosts.keys().cloned().collect());
    let order = order_of(planned, limit, read, from, base_of(&project, path));
    let today = plan::compile(&project, &playbook, &order).map_err(CliError::Documents)?;
    let today = prefetch::as_much_of(today, planned)?;
    // What was there already counts for how long it takes, and not for what is done.
    let bare = planned.clone().with_prefetched_only(|_, _| false);
    let differences = differences(&bare, &today);
    if differences.is_empty() {
        return Ok(());
    }
    let short = |digest: &str| digest.chars().take(DIGEST_SHOWN).collect::<String>();
    let what = format!(
        "the documents have changed since the run was planned (its plan is {}, today's would be {})",
        short(&planned.digest),
        short(&today.digest),
    );
    let mut failure = Failure::new(FailureClass::Refused, what);
    failure.causes = differences;
    Err(CliError::Failed(failure.hint("`--as-planned` goes on with the plan as it was recorded; or make a new plan")))
}

/// What was asked for when a plan was made, for `limit`: with what hosts told then, and what a person said of them.
pub(super) fn order_of(
    planned: &Plan,
    limit: Option<Vec<HostName>>,
    read: BTreeMap<HostName, plan::Reading>,
    from: BTreeMap<HostName, Version>,
    base: PathBuf,
) -> plan::Order {
    plan::Order {
        title: planned.title.clone(),
        playbook: planned.playbook.clone(),
        // What is done ahead is taken out of the plan of the upgrade.
        purpose: if planned.purpose == Purpose::Prefetch { Purpose::Apply } else { planned.purpose },
        to: planned.wanted.clone(),
        limit,
        now: planned.made_at,
        read,
        unrecorded: BTreeMap::new(),
        from,
        direct: planned.direct,
        base,
    }
}

fn base_of(project: &Project, playbook: &Path) -> std::path::PathBuf {
    super::plan::base_of(project, playbook)
}

/// How much of a digest is shown: what tells two apart.
const DIGEST_SHOWN: usize = 19;

/// Says in words where two plans differ, at most a handful of places.
fn differences(planned: &Plan, today: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    if planned.rollout != today.rollout {
        found.push("the rules of the rollout".to_owned());
    }
    if planned.waves.iter().map(|wave| &wave.hosts).ne(today.waves.iter().map(|wave| &wave.hosts)) {
        found.push("who is in which wave".to_owned());
    }
    let rules = |wave: &Wave| (wave.soak, wave.watch.clone(), wave.promote, wave.budget.clone());
    if planned.waves.iter().map(rules).ne(today.waves.iter().map(rules)) {
        found.push("what its waves are held to: soak, promotion or budget".to_owned());
    }
    for (name, host) in &planned.hosts {
        let Some(now) = today.hosts.get(name) else {
            found.push(format!("{name} is not among the hosts any more"));
            continue;
        };
        // Nothing was to be done there, for whichever reason.
        if host == now || (host.refused.is_some() && now.refused.is_some()) {
            continue;
        }
        let steps =
            host.steps.iter().zip(&now.steps).find(|(then, now)| then != now).map(|(then, _)| then.name.as_str());
        found.push(match steps {
            Some(step) => format!("{name}: step `{step}`"),
            None if host.steps.len() != now.steps.len() => format!("{name}: the number of its steps"),
            None if host.checks != now.checks || host.gates != now.gates => format!("{name}: its checks"),
            None if host.windows != now.windows => format!("{name}: its windows"),
            None if host.target != now.target => format!("{name}: how it is reached"),
            None => format!("{name}: what is known of it, or prepared for it"),
        });
    }
    let more = found.len().saturating_sub(8);
    found.truncate(8);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}
