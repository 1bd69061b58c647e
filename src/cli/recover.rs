//! `recover`: a new ledger from what the hosts know, when the old one is damaged or gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use indexmap::IndexMap;

use super::{
    Global, OutputFormat,
    error::CliError,
    open, resume,
    run::{self, Workshop},
    screen::Screen,
};
use crate::{
    config::{Project, documents::Playbook},
    engine::{self, Means, Remembered},
    event::{Event, Happening, Recorder, RunState, WaveLine},
    ledger::{Ledger, LedgerError, RunMeta},
    model::{ExitCode, Failure, FailureClass, HostName, HostOutcome, RunId, RunNumber},
    plan::{self, HostPlan, Installed, Plan, Reading},
    report::words,
};

/// Make a new ledger from what the hosts know, when the old one is damaged or gone
///
/// A damaged ledger is set aside under a name that says so, never repaired. Every host of the inventory is
/// asked for the runs it knows; runs that the ledger knows already stay as they are. A host is believed about
/// itself only, and only where the documents still say what it was to do. Nothing is changed on any host:
/// `longshore resume` then goes on with a run that was cut off.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this run: its id, as the hosts have it
    #[arg(value_name = "RUN-ID")]
    run: Option<String>,

    /// Ask only these hosts
    #[arg(long, value_name = "SELECTOR")]
    limit: Option<String>,

    /// Where the documents have changed since, take what the host says it was to do
    #[arg(long)]
    as_planned: bool,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let project = open::project(global, screen)?;
    let selector = args.limit.as_deref().unwrap_or("all");
    open::select(&project, selector)?;
    let only = match &args.run {
        Some(text) => Some(RunId::from_text(&text.to_ascii_lowercase()).ok_or_else(|| {
            CliError::with_hint(
                format!("`{text}` is not the id of a run"),
                "leave it out: every run the hosts know is taken",
            )
        })?),
        None => None,
    };
    if let Some(number) = Ledger::busy_run(&project.root) {
        let message = format!("run {number} is being worked on by another longshore, which has the ledger open");
        return Err(CliError::with_hint(message, "let it come to its end, or stop it, first"));
    }
    let ledger = open_ledger(&project.root, screen)?;
    let workshop = Workshop::with(ledger, &project.root, global, screen);
    let means = workshop.means_without_run();
    let asked = Arc::new(super::check::compile(&project, &Playbook::sweep(selector, None))?);
    screen.say(&format!("Asking {} what they know", words::count(asked.hosts.len(), "host")));
    let answers = engine::survey(Arc::clone(&asked), only, means.clone()).await;
    if means.control.stop_now() > engine::Stop::No {
        return Err(CliError::Interrupted);
    }
    let mut survey = Survey { project, asked, silent: Vec::new(), runs: BTreeMap::new(), as_planned: args.as_planned };
    for (host, answer) in answers {
        match answer {
            Ok((runs, odd)) => {
                for what in odd {
                    screen.say(&format!("note: {host}: {what}"));
                }
                for one in runs {
                    survey.runs.entry(one.run.clone()).or_default().insert(host.clone(), one);
                }
            }
            Err(failure) => {
                screen.say(&format!("note: {host} did not answer: {failure}"));
                survey.silent.push(host);
            }
        }
    }
    let mut codes = vec![if survey.silent.is_empty() { ExitCode::Good } else { ExitCode::SomeUnreachable }];
    let mut written = 0;
    // Ids sort by their time.
    for (id, hosts) in &survey.runs {
        if workshop.ledger().find(id.as_str()).is_ok() {
            continue;
        }
        let is_over = hosts.values().all(|seen| seen.ended().is_some_and(HostOutcome::is_good));
        match write(&survey, id, hosts, &workshop, global, screen).await {
            Ok(number) => {
                written += 1;
                tell(&survey, id, hosts, number, &workshop, screen)?;
            }
            Err(error @ CliError::Ledger(_)) => return Err(error),
            // Nothing of it is left to do, so what it was is history alone.
            Err(CliError::Usage { message, .. }) if is_over => {
                screen.say(&format!("note: run {id}, which is over, was left out: {message}"));
            }
            Err(error) => {
                screen.say(&format!("run {id} was not recovered:"));
                screen.error(&error);
                codes.push(error.exit_code());
            }
        }
    }
    if written == 0 {
        screen.say("no host knows of a run that the ledger does not have");
    }
    Ok(ExitCode::most_telling(codes))
}

/// Opens the ledger, or sets a damaged one aside and makes a new one.
fn open_ledger(root: &Path, screen: &Screen) -> Result<Ledger, CliError> {
    let clock: crate::ledger::Clock = Arc::new(jiff::Timestamp::now);
    let opened = Ledger::open_anew(root, Arc::clone(&clock)).and_then(|ledger| ledger.verify().map(|()| ledger));
    match opened {
        Err(error @ (LedgerError::Damaged { .. } | LedgerError::NotALedger(_))) => {
            screen.say(&format!("{error}"));
            if let Some(aside) = Ledger::set_aside(root, clock())? {
                screen.say(&format!("it is now `{}`, with nothing in it changed", aside.display()));
            }
            Ok(Ledger::open_anew(root, clock)?)
        }
        opened => Ok(opened?),
    }
}

/// What the hosts said.
struct Survey {
    project: Project,
    /// How each host is reached, by today's inventory.
    asked: Arc<Plan>,
    silent: Vec<HostName>,
    runs: BTreeMap<RunId, BTreeMap<HostName, Remembered>>,
    as_planned: bool,
}

/// Writes one run into the ledger.
async fn write(
    survey: &Survey,
    id: &RunId,
    hosts: &BTreeMap<HostName, Remembered>,
    workshop: &Workshop,
    global: &Global,
    screen: &Screen,
) -> Result<RunNumber, CliError> {
    let bare = Means { run: id.clone(), ..workshop.means_without_run() };
    let header = agreed(id, hosts, screen);
    let hosts: BTreeMap<_, _> = hosts.iter().filter(|(_, seen)| seen.manifest.plan.digest == header.digest).collect();
    let planned = hosts.values().map(|seen| seen.manifest.hosts).max().unwrap_or(0);
    let plan = assemble(survey, header, &hosts, &bare, global, screen).await?;
    let (mut turns, mut silent) = (BTreeMap::new(), Vec::new());
    for (host, seen) in &hosts {
        match engine::recall(&plan, host, seen, &bare).await {
            Ok(events) => {
                if let Err(refused) = legal(&plan, id, host, seen.manifest.wave, &events) {
                    let message = format!("what {host} says of run {id} does not fit together: {refused}");
                    return Err(CliError::with_hint(
                        message,
                        format!("look at the host; `--limit '!{host}'` leaves it out"),
                    ));
                }
                turns.insert((*host).clone(), events);
            }
            Err(failure) => {
                screen.say(&format!("note: {host} did not answer: {failure}"));
                silent.push((*host).clone());
            }
        }
    }
    silent.extend(survey.silent.iter().filter(|host| plan.hosts.contains_key(*host)).cloned());
    let text = serde_json::to_string(&plan).expect("a plan is plain data");
    let meta = RunMeta {
        id: id.clone(),
        title: plan.title.clone(),
        purpose: plan.purpose.as_str().to_owned(),
        plan_digest: plan.digest.clone(),
        hosts: plan.hosts.len(),
        controller: format!("{}, recovered", run::owner()),
    };
    let before = Ledger::noted_runs(&survey.project.root).into_iter().find(|(_, noted)| noted == id);
    let handle = Arc::new(workshop.ledger().restore_run(&text, meta, before.map(|(number, _)| number))?);
    let number = handle.number();
    let means = Means { recorder: Arc::clone(&handle) as Arc<dyn Recorder>, ..bare };
    engine::record(&plan, &turns, silent, planned, &means).await.map_err(engine::EngineError::from)?;
    let state = folded(workshop, number)?;
    if state.hosts.len() == planned && state.hosts.values().all(|host| host.outcome.is_some()) {
        // Every host came to its end, so the run did.
        let over = Happening::RunFinished { exit: state.exit_code() };
        handle.record(None, over).await.map_err(engine::EngineError::from)?;
    }
    Ok(number)
}

/// The plan that most of the hosts name; one that names another is left out, and said.
fn agreed<'a>(id: &RunId, hosts: &'a BTreeMap<HostName, Remembered>, screen: &Screen) -> &'a Plan {
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for seen in hosts.values() {
        *votes.entry(seen.manifest.plan.digest.as_str()).or_default() += 1;
    }
    let most = votes.into_iter().max_by_key(|(_, count)| *count).map(|(digest, _)| digest).unwrap_or_default();
    for (host, seen) in hosts.iter().filter(|(_, seen)| seen.manifest.plan.digest != most) {
        let digest = &seen.manifest.plan.digest;
        screen.say(&format!("note: {host} is left out: it says that run {id} was of another plan ({digest})"));
    }
    let header = hosts.values().map(|seen| &seen.manifest.plan).find(|plan| plan.digest == most);
    header.expect("a run is known because a host named it")
}

/// Makes the plan again: from the documents where they still say the same, else from what the hosts kept.
async fn assemble(
    survey: &Survey,
    header: &Plan,
    hosts: &BTreeMap<&HostName, &Remembered>,
    means: &Means,
    global: &Global,
    screen: &Screen,
) -> Result<Plan, CliError> {
    let began: Vec<HostName> = hosts.keys().map(|host| (*host).clone()).collect();
    let told: BTreeMap<_, _> = hosts.iter().map(|(host, seen)| ((*host).clone(), seen.manifest.read.clone())).collect();
    let from: BTreeMap<_, _> =
        hosts.iter().filter_map(|(host, seen)| Some(((*host).clone(), seen.manifest.stated.clone()?))).collect();
    let mut today = None;
    if let Some(path) = &header.playbook {
        match open::playbook(global, screen, path) {
            Ok((project, playbook)) => {
                let base = super::plan::base_of(&project, path);
                let order = |limit, read| resume::order_of(header, limit, read, from.clone(), base.clone());
                let compile = |limit, read| {
                    let compiled = plan::compile(&project, &playbook, &order(limit, read)).ok()?;
                    // Who has read what the releases ask is no matter of the documents.
                    Some(Plan { acknowledged: header.acknowledged.clone(), ..compiled }.seal())
                };
                // What hosts whose turn had not come tell is read again, and mostly still the same.
                let mut all = told.clone();
                if let Ok(mut questions) = plan::questions(&project, &playbook, &order(None, told.clone())) {
                    questions.retain(|host, _| !hosts.contains_key(host));
                    let strangers: Vec<_> = questions.keys().cloned().collect();
                    questions.retain(|host, of| super::plan::can_be_asked(of) && !survey.silent.contains(host));
                    all.extend(engine::ask(questions, means.clone()).await);
                    suppose(&mut all, strangers, &survey.silent);
                }
                for (limit, read) in [(None, all), (Some(began.clone()), told)] {
                    let Some(compiled) = compile(limit, read) else { continue };
                    if compiled.digest == header.digest {
                        return Ok(compiled);
                    }
                    today = Some(compiled);
                }
            }
            Err(error) => screen.say(&format!("note: the playbook cannot be used any more: {error}")),
        }
    }
    let mut plan = Plan { waves: header.waves.clone(), hosts: IndexMap::new(), ..header.clone() };
    plan.waves.iter_mut().for_each(|wave| wave.hosts.clear());
    let mut differ = Vec::new();
    for (host, seen) in hosts {
        let now = today.as_ref().and_then(|today| today.hosts.get(*host));
        let part = match now {
            Some(now) if seen.manifest.fits(now) => now.clone(),
            _ if survey.as_planned => by_its_word(survey, host, seen, now)?,
            _ => {
                differ.push(host.to_string());
                continue;
            }
        };
        plan.hosts.insert((*host).clone(), part);
        if let Some(wave) = plan.waves.get_mut(seen.manifest.wave) {
            wave.hosts.push((*host).clone());
        }
    }
    if !differ.is_empty() {
        return Err(CliError::with_hint(
            format!("the documents do not say any more what these hosts were to do: {}", differ.join(", ")),
            "put the documents back as they were and recover again; or `--as-planned` takes what the hosts themselves \
             say that they were to do",
        ));
    }
    let seal = plan.seal();
    screen.say(&format!(
        "note: of the plan for {} only the part of those that had begun is known again; make a new plan for the others",
        words::count(hosts.values().map(|seen| seen.manifest.hosts).max().unwrap_or(0), "host")
    ));
    Ok(seal)
}

/// Takes hosts that cannot be asked now to have told what most others did. Nothing rests on it: only a plan with
/// the very digest that the hosts name is taken, and it has what they told then.
fn suppose(read: &mut BTreeMap<HostName, Reading>, hosts: Vec<HostName>, silent: &[HostName]) {
    let is_unreached =
        |host: &HostName| matches!(read.get(host), Some(Reading { installed: Installed::Unreached(_), .. }));
    let mute: Vec<_> = hosts.into_iter().filter(|host| silent.contains(host) || is_unreached(host)).collect();
    let mut said: Vec<(&Reading, usize)> = Vec::new();
    for (_, reading) in read.iter().filter(|(host, _)| !mute.contains(host)) {
        match said.iter_mut().find(|(known, _)| *known == reading) {
            Some((_, count)) => *count += 1,
            None => said.push((reading, 1)),
        }
    }
    let Some(usual) = said.into_iter().max_by_key(|(_, count)| *count).map(|(reading, _)| reading.clone()) else {
        return;
    };
    read.extend(mute.into_iter().map(|host| (host, usual.clone())));
}

/// A host's part of the plan as the host kept it, reached as the inventory says today.
fn by_its_word(
    survey: &Survey,
    host: &HostName,
    seen: &Remembered,
    now: Option<&HostPlan>,
) -> Result<HostPlan, CliError> {
    let now = now.unwrap_or(&survey.asked.hosts[host]);
    seen.manifest.part(now).map_err(|error| CliError::usage(format!("{host}: {error}")))
}

/// Whether a host's events can follow each other, tried before any is recorded.
fn legal(
    plan: &Plan,
    id: &RunId,
    host: &HostName,
    wave: usize,
    events: &[Happening],
) -> Result<(), crate::event::IllegalEvent> {
    let names = |index| if index == wave { vec![host.clone()] } else { Vec::new() };
    let waves = plan.waves.iter().enumerate();
    let waves = waves.map(|(index, wave)| WaveLine { name: wave.name.clone(), hosts: names(index) }).collect();
    let begin = Happening::RunStarted {
        title: plan.title.clone(),
        plan_digest: plan.digest.clone(),
        purpose: plan.purpose.as_str().to_owned(),
        waves,
        hosts: BTreeMap::from([(host.clone(), crate::event::HostLine::default())]),
        rolls_back: None,
        looks_at: None,
        acknowledged: Vec::new(),
    };
    let opened = Happening::WaveStarted { wave, name: String::new() };
    let all = [begin, opened].into_iter().chain(events.iter().cloned());
    let events: Vec<Event> = all
        .zip(1..)
        .map(|(what, sequence)| Event {
            run: id.clone(),
            sequence,
            at: jiff::Timestamp::UNIX_EPOCH,
            host: (sequence > 2).then(|| host.clone()),
            what,
        })
        .collect();
    RunState::fold(&events).map(|_| ())
}

fn folded(workshop: &Workshop, number: RunNumber) -> Result<RunState, CliError> {
    RunState::fold(&workshop.ledger().events(number, None)?)
        .map_err(|error| CliError::Failed(Failure::from_error(FailureClass::Controller, &error)))
}

/// Says what was recovered, and what to type next.
fn tell(
    survey: &Survey,
    id: &RunId,
    hosts: &BTreeMap<HostName, Remembered>,
    number: RunNumber,
    workshop: &Workshop,
    screen: &Screen,
) -> Result<(), CliError> {
    let state = folded(workshop, number)?;
    if screen.format == OutputFormat::Json {
        let hosts: serde_json::Map<_, _> = state
            .hosts
            .iter()
            .map(|(name, host)| {
                let value = serde_json::json!({
                    "known": hosts.contains_key(name), "outcome": host.outcome, "steps-done": host.steps_done(),
                });
                (name.to_string(), value)
            })
            .collect();
        screen.print(&serde_json::json!({ "run": number, "id": id, "hosts": hosts }).to_string())?;
        return Ok(());
    }
    screen.print(&format!("run {number} ({id}) {}", state.title))?;
    let mut not_begun = BTreeSet::new();
    for (name, host) in &state.hosts {
        let stands = match (hosts.get(name), host.outcome) {
            (_, Some(outcome)) => outcome.to_string(),
            (None, None) => {
                not_begun.insert(name.to_string());
                continue;
            }
            (Some(seen), None) => {
                let (done, running, other) = seen.counts();
                let mut stands = format!("cut off: {done} of {} done", words::count(host.steps_total, "step"));
                if running > 0 {
                    stands.push_str(", one runs now");
                }
                if other > 0 {
                    stands.push_str(", one did not end well or nobody knows");
                }
                stands
            }
        };
        screen.print(&format!("  {name}  {stands}"))?;
    }
    if !not_begun.is_empty() {
        let names: Vec<_> = not_begun.into_iter().collect();
        screen.print(&format!("  not begun: {}", names.join(", ")))?;
    }
    let silent: Vec<_> =
        survey.silent.iter().filter(|host| !state.hosts.contains_key(*host)).map(ToString::to_string).collect();
    if !silent.is_empty() {
        screen.say(&format!(
            "note: whether the run concerned these is not known, they did not answer: {}",
            silent.join(", ")
        ));
    }
    if state.ended.is_none() {
        screen.say(&format!("hint: `longshore resume {number}` goes on with it"));
    }
    Ok(())
}
