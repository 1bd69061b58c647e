//! Every crash point of the scripts, on every shell: one process killed, or all of them at once.
//!
//! The step is not repeat-safe: it appends to a trace. After each crash the host is asked, the run is resumed as
//! the engine would, and what was said is compared with the trace.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use longshore::durable::{
    Attempt, AttemptState, Beginning, Closing, Doubt, Ending, Following, HostSide, Lease, Segment, SegmentStep,
};

use crate::{
    host::{Host, Shell, step},
    play::until,
};

const RUN: &str = "run-1";
const WRAPPER: &[&str] = &[
    "woken",
    "staged",
    "locked",
    "checked",
    "linked",
    "durable",
    "before-exec",
    "after-exec",
    "exited",
    "renamed",
    "quiet",
];
const SUPERVISOR: &[&str] = &["supervising", "looked", "acted", "recorded"];
const LAUNCHER: &[&str] = &["launch-staged", "launch-moved", "launch-started"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// The shell that comes to the hook.
    Itself,
    /// Everything of the host, as `cgroup.kill`, logind or a power cut does.
    Everything,
}

fn names() -> [&'static str; 2] {
    ["first", "second"]
}

fn program(host: &Host, name: &str) -> String {
    let trace = host.place("trace");
    format!("echo begin {name} >>{trace}; sleep 0.02; echo end {name} >>{trace}; echo said {name}")
}

fn attempt(index: usize, number: u32) -> Attempt {
    Attempt::act(step(index, names()[index]), number)
}

fn segment(host: &Host, id: &str, attempts: &[Attempt]) -> Segment {
    let steps = attempts.iter().map(|attempt| {
        let name = attempt.step.as_str().rsplit('-').next().expect("name").to_owned();
        SegmentStep::new(attempt.clone(), program(host, &name), Duration::from_secs(20))
    });
    Segment { id: id.to_owned(), steps: steps.collect() }
}

async fn run(side: &HostSide, lease: &Lease, segment: &Segment) -> Option<Vec<Ending>> {
    let mut following = Following::of(segment);
    match side.run_segment(lease, segment, &[], &mut following, &mut |_, _| {}).await {
        Ok(end) => Some(end.endings.into_iter().map(|(_, ending)| ending).collect()),
        Err(error) if error.leaves_doubt() => None,
        Err(error) => panic!("{error}"),
    }
}

/// How often the step began and ended, by its own trace.
fn traced(host: &Host, index: usize) -> (usize, usize) {
    let lines = host.lines("trace");
    let count = |word: &str| lines.iter().filter(|line| **line == format!("{word} {}", names()[index])).count();
    (count("begin"), count("end"))
}

/// Asks until nothing is under way any more.
async fn settled(side: &HostSide, attempts: &[Attempt]) -> Result<Vec<AttemptState>, String> {
    for _ in 0..200 {
        let status = side.status(attempts).await.map_err(|error| error.to_string())?;
        let busy = status.attempts.iter().any(|status| {
            matches!(
                status.state,
                AttemptState::Queued
                    | AttemptState::Pending
                    | AttemptState::Running { .. }
                    | AttemptState::Ended(Ending::Lingering { .. })
            )
        });
        if !busy {
            return Ok(status.attempts.into_iter().map(|status| status.state).collect());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the host never settled".to_owned())
}

async fn survive(shell: Shell, hook: &str, kill: Kill) -> Result<(), String> {
    let host = Host::new(shell);
    let side = host.side(RUN);
    let lease = side.acquire("anna", "{}", Beginning::First).await.map_err(|error| error.to_string())?;
    let both = [attempt(0, 1), attempt(1, 1)];
    let once = host.place("once");
    // The first time only: what comes after is the resumed run.
    match kill {
        Kill::Itself => host.hook(hook, &format!("mkdir {once} 2>/dev/null || exit 0; kill -9 $PPID")),
        Kill::Everything => {
            host.hook(hook, &format!("mkdir {once} 2>/dev/null || exit 0; : >{}; sleep 60", host.place("here")));
        }
    }
    let killer = {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            if kill == Kill::Everything {
                until(|| std::path::Path::new(&host.place("here")).exists()).await;
                host.kill_all();
            }
        })
    };
    let told = run(&side, &lease, &segment(&host, "s1", &both)).await;
    killer.abort();
    if !std::path::Path::new(&once).exists() {
        return Err("the hook was never reached".to_owned());
    }
    let states = settled(&side, &both).await?;
    judge(&host, &states, told.as_deref())?;
    resume(&host, &both, &states).await?;
    host.falls_silent(Duration::from_secs(20)).await
}

/// Compares what the host says with what the steps did.
fn judge(host: &Host, states: &[AttemptState], told: Option<&[Ending]>) -> Result<(), String> {
    for (index, state) in states.iter().enumerate() {
        let (begun, ended) = traced(host, index);
        let agrees = match state {
            AttemptState::Ended(Ending::Changed) => (begun, ended) == (1, 1),
            AttemptState::NotStarted => (begun, ended) == (0, 0),
            AttemptState::Ended(Ending::Unknown { why: Doubt::Lost }) => begun <= 1,
            _ => false,
        };
        if !agrees {
            return Err(format!("step {index} began {begun} and ended {ended} times, the host says {state:?}"));
        }
        let same = match told.map(|told| &told[index]) {
            None => true,
            Some(Ending::NotStarted { .. }) => *state == AttemptState::NotStarted,
            Some(ending) => *state == AttemptState::Ended(ending.clone()),
        };
        if !same {
            return Err(format!("step {index} was told as {told:?}, the host says {state:?}"));
        }
    }
    Ok(())
}

/// Goes on as the engine does: what has not started is sent again, what is unknown is looked at.
async fn resume(host: &Arc<Host>, both: &[Attempt], states: &[AttemptState]) -> Result<(), String> {
    let side = host.side(RUN);
    let lease = side.acquire("anna", "{}", Beginning::Again).await.map_err(|error| error.to_string())?;
    let mut open = Vec::new();
    for (index, state) in states.iter().enumerate() {
        match state {
            AttemptState::NotStarted => open.push(both[index].clone()),
            AttemptState::Ended(Ending::Unknown { .. }) => {
                let found = match traced(host, index) {
                    (1, 1) => Closing::Done,
                    (0, 0) => Closing::NotDone,
                    // Half done: a person would be asked. Nothing may be sent for it.
                    _ => continue,
                };
                side.close(&both[index], found).await.map_err(|error| error.to_string())?;
                if found == Closing::NotDone {
                    open.push(attempt(index, 2));
                }
            }
            _ => {}
        }
    }
    if !open.is_empty() {
        let endings = run(&side, &lease, &segment(host, "s2", &open)).await.ok_or("the resumed segment was lost")?;
        if endings.iter().any(|ending| *ending != Ending::Changed) {
            return Err(format!("after {states:?} the resumed steps ended as {endings:?}"));
        }
    }
    for index in 0..both.len() {
        let (begun, _) = traced(host, index);
        if begun != 1 {
            return Err(format!("step {index} began {begun} times in all"));
        }
    }
    side.release(&lease).await.map_err(|error| error.to_string())
}

async fn survive_all(shell: Shell, hooks: &[&str]) {
    if !Shell::all().contains(&shell) {
        eprintln!("SKIPPED: this machine has no {shell:?}");
        return;
    }
    let cases = hooks.iter().flat_map(|hook| [Kill::Itself, Kill::Everything].map(|kill| (*hook, kill)));
    let violations: Vec<String> = futures::stream::iter(cases)
        .map(|(hook, kill)| async move {
            let violation = survive(shell, hook, kill).await.err()?;
            Some(format!("{shell:?}, {kill:?} killed at `{hook}`: {violation}"))
        })
        .buffer_unordered(10)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(violations.is_empty(), "{violations:#?}");
}

macro_rules! crash_points {
    ($($name:ident: $shell:ident, $hooks:ident;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                survive_all(Shell::$shell, $hooks).await;
            }
        )*
    };
}

crash_points! {
    r11_r15_a_step_starts_at_most_once_wherever_its_wrapper_dies_under_dash: Dash, WRAPPER;
    r11_r15_a_step_starts_at_most_once_wherever_its_wrapper_dies_under_bash: Bash, WRAPPER;
    r11_r15_a_step_starts_at_most_once_wherever_its_wrapper_dies_under_busybox: Busybox, WRAPPER;
    r12_r15_a_step_starts_at_most_once_wherever_its_supervisor_dies_under_dash: Dash, SUPERVISOR;
    r12_r15_a_step_starts_at_most_once_wherever_its_supervisor_dies_under_bash: Bash, SUPERVISOR;
    r12_r15_a_step_starts_at_most_once_wherever_its_supervisor_dies_under_busybox: Busybox, SUPERVISOR;
    r09_a_step_starts_at_most_once_wherever_its_launcher_dies_under_dash: Dash, LAUNCHER;
    r09_a_step_starts_at_most_once_wherever_its_launcher_dies_under_bash: Bash, LAUNCHER;
    r09_a_step_starts_at_most_once_wherever_its_launcher_dies_under_busybox: Busybox, LAUNCHER;
}

#[tokio::test]
async fn every_hook_that_the_scripts_name_is_tried() {
    let mut tried: Vec<&str> = [WRAPPER, SUPERVISOR, LAUNCHER].concat();
    tried.extend(["hooking", "hooked", "armed", "watching", "fired", "watch-stopped", "confirm-written"]);
    tried.extend(["lease-written", "void-written", "attach-staged", "run-marked", "segments-gone", "spools-gone"]);
    let mut named = Vec::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/durable")).expect("sources").flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if entry.path().extension().is_some_and(|extension| extension == "sh") {
            named.extend(text.lines().filter_map(|line| line.trim().strip_prefix("# hook: ").map(str::to_owned)));
        }
    }
    named.sort();
    tried.sort_unstable();
    assert_eq!(named, tried);
}
