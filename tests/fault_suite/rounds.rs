//! Random rounds: faults on every host at random times, the controller killed up to three times, then the verdict.
//!
//! A round is one seed; the same seed does the same again, as far as the machine's own timing lets it. The long form
//! is `tests/faults --rounds N [--seed S]`.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use longshore::model::HostOutcome;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    controller::{self, Controller},
    fault::{Now, Planned, Shape},
    field::Field,
    judge::{Allowed, judge, lease_left, state},
    tally::Tally,
};

/// Hosts of the lab and of the real ground in one round.
const LAB_HOSTS: usize = 4;
const REAL_HOSTS: usize = 3;

/// Steps of each host.
const STEPS: usize = 3;

/// Longest time for what a person types when nothing disturbs any more.
const CALM_WITHIN: Duration = Duration::from_secs(90);

const USUAL: Shape = Shape { faulty: 100, by_turn: None, within: CALM_WITHIN };

/// One round. All that is random is drawn before anything runs, so that a seed says all.
fn round(field: &Field, seed: u64) -> Tally {
    let mut random = StdRng::seed_from_u64(seed);
    let depth = random.random_range(0..=3);
    let deaths: Vec<Duration> = (0..depth).map(|_| Duration::from_millis(random.random_range(0..1000))).collect();
    shaped_round(field, seed, USUAL, &deaths)
}

/// One round of a shape; the controller dies so long after each of its births.
pub fn shaped_round(field: &Field, seed: u64, shape: Shape, deaths: &[Duration]) -> Tally {
    let mut random = StdRng::seed_from_u64(seed ^ 0x5eed);
    let naps: Vec<u64> = (0..STEPS).map(|_| random.random_range(50..400)).collect();
    let mut planned: Vec<Planned> =
        (0..field.hosts.len()).map(|host| Planned::draw(&mut random, field, host, STEPS, shape)).collect();

    let project =
        field.project(STEPS, &|step| format!("sleep 0.{:03}; {}", naps[step - 1], Planned::wait_to_be_hit(step)));
    for one in &planned {
        one.prepare(field, &project);
    }
    let mut tally = Tally { rounds: 1, turns: field.hosts.len() as u64, ..Tally::default() };
    let begun = Instant::now();
    let mut tick = |tally: &mut Tally, now: Now| {
        for one in &mut planned {
            if let Some(words) = one.tick(field, &project, begun.elapsed(), now) {
                *tally.faults.entry(words).or_default() += 1;
            }
        }
        planned.iter().all(Planned::is_over)
    };

    let resume = |project: &crate::field::Project| {
        // Where not even the run was recorded, nothing was done and it is begun anew.
        let what: &[&str] = if has_run(project) { &["resume"] } else { &["apply", "work", "--yes"] };
        Controller::start(&project.path, what)
    };
    let mut controller = resume(&project);
    let mut ended = None;
    for death in deaths {
        let born = Instant::now();
        while born.elapsed() < *death {
            tick(&mut tally, Now::Runs);
            std::thread::sleep(Duration::from_millis(3));
        }
        if controller.ended().is_none() {
            tally.controllers_killed += 1;
        }
        controller.kill();
        tally.resumes += 1;
        controller = resume(&project);
    }
    let until = Instant::now() + shape.within;
    let mut over = false;
    while Instant::now() < until {
        over = tick(&mut tally, if ended.is_none() { Now::Runs } else { Now::HasEnded });
        ended = ended.or_else(|| controller.ended());
        if over && ended.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    if !over {
        tick(&mut tally, Now::Over);
    }
    let mut words = controller.said();
    let of_rivals: Vec<String> = planned.iter_mut().filter_map(|one| one.rival_is_wrong(field)).collect();
    let exit = ended.map_or_else(
        || Err(format!("did not end within {:?}", shape.within)),
        |exit| settle(&project, exit, shape.within, &mut words, &mut tally),
    );
    let allowed: BTreeMap<String, Allowed> =
        planned.iter().map(|one| (field.hosts[one.host].name.to_string(), one.fault.allows())).collect();
    let (mut wrong, ends) = match exit {
        Ok(exit) => judge(field, &project, exit, &allowed),
        Err(why) => (vec![why], BTreeMap::new()),
    };
    wrong.extend(of_rivals);
    for host in &field.hosts {
        // The next round is to find the host free; taking a lease away is a person's part.
        if lease_left(host).is_some() {
            let arguments = ["unlock", host.name.as_str(), "--reason", "its run is over"];
            if !matches!(controller::run(&project.path, &arguments, CALM_WITHIN), Ok((0, _))) {
                wrong.push(format!("{} cannot be unlocked", host.name));
            }
        }
    }
    for one in &planned {
        let name = field.hosts[one.host].name.to_string();
        if one.is_single_hit() {
            tally.single_kills += 1;
            tally.single_unknown += u64::from(ends.get(&name) == Some(&HostOutcome::Unknown));
        }
    }
    for end in ends.values() {
        *tally.ends.entry(format!("{end:?}").to_lowercase()).or_default() += 1;
    }
    if !wrong.is_empty() {
        let faults: Vec<_> = planned
            .iter()
            .map(|one| format!("{} {:?} {:?}..{:?}", field.hosts[one.host].name, one.fault, one.begins, one.ends))
            .collect();
        let ground = if field.is_real() { "sshd" } else { "lab" };
        wrong.insert(0, format!("seed {seed} ({ground}); {}; controller dies after {deaths:?}", faults.join(", ")));
        tally.violations.push(format!("{}\n{words}", wrong.join("\n  ")));
        if std::env::var_os("LONGSHORE_FAULT_KEEP").is_some() {
            let _ = std::process::Command::new("cp")
                .arg("-a")
                .arg(&project.path)
                .arg(format!("/tmp/fault-{seed}"))
                .status();
        }
    } else {
        let _ = std::fs::remove_dir_all(&project.path);
    }
    tally
}

fn has_run(project: &crate::field::Project) -> bool {
    let Ok(ledger) = longshore::ledger::Ledger::open(&project.path, std::sync::Arc::new(jiff::Timestamp::now)) else {
        return false;
    };
    ledger.runs(50).is_ok_and(|runs| runs.iter().any(|run| run.purpose == "apply"))
}

/// Whether a host is held, and nothing about its steps is in doubt: the disk was full, say.
fn can_go_on(host: &longshore::event::HostState) -> bool {
    host.outcome == Some(HostOutcome::Held)
        && !host.steps.values().any(|step| matches!(step.outcome, Some(longshore::model::StepOutcome::Unknown { .. })))
}

/// Does what a person would until every host has a lasting outcome. Returns the last exit code.
fn settle(
    project: &crate::field::Project,
    mut exit: i32,
    within: Duration,
    words: &mut String,
    tally: &mut Tally,
) -> Result<i32, String> {
    for _ in 0..8 {
        let Some(state) = state(project) else { return Ok(exit) };
        let outcomes: Vec<_> = state.hosts.values().map(|host| host.outcome).collect();
        let open = |outcome: &Option<HostOutcome>| {
            matches!(outcome, None | Some(HostOutcome::Interrupted | HostOutcome::NotStarted))
        };
        let unreached = |outcome: &Option<HostOutcome>| matches!(outcome, Some(HostOutcome::Unreachable));
        let refused = state.hosts.iter().find(|(_, host)| host.outcome == Some(HostOutcome::Refused));
        let arguments: &[&str] = if outcomes.iter().any(open) {
            &["resume"]
        } else if outcomes.iter().any(unreached) {
            &["retry", "--unreached"]
        } else if let Some((name, _)) = refused {
            // The disk was full then.
            &["retry", "--host", name.as_str()]
        } else if state.hosts.values().any(can_go_on) {
            &["retry", "--held"]
        } else {
            return Ok(exit);
        };
        tally.resumes += 1;
        let (code, said) = controller::run(&project.path, arguments, within)?;
        exit = code;
        words.push_str(&said);
    }
    Ok(exit)
}

/// Runs `count` rounds from `seed` on, on as many fields at once as asked.
fn rounds(count: u64, seed: u64, at_once: u64) -> Tally {
    let (next, end) = (AtomicU64::new(seed), seed + count);
    let total = Mutex::new(Tally::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                let (mut lab, mut real) = (None, None);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    // The seed decides on what ground: a replay stands on the same one.
                    let on_real = seed % 3 == 0 && real.get_or_insert_with(|| Field::sshd(REAL_HOSTS)).is_some();
                    let tally = if on_real {
                        round(real.as_ref().and_then(Option::as_ref).expect("looked at above"), seed)
                    } else {
                        round(lab.get_or_insert_with(|| Field::lab(LAB_HOSTS)), seed)
                    };
                    if let Some(violation) = tally.violations.first() {
                        println!("VIOLATION {violation}");
                        // What is left of it must not disturb the next one.
                        (lab, real) = (None, None);
                    }
                    let mut total = total.lock().expect("no panic");
                    total.add(tally);
                    if total.rounds % 50 == 0 {
                        println!(
                            "{} rounds, {} violations, {:?}",
                            total.rounds,
                            total.violations.len(),
                            begun.elapsed()
                        );
                    }
                }
            });
        }
    });
    total.into_inner().expect("no panic")
}

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_is_killed_cut_or_frozen_no_step_runs_twice_and_no_outcome_is_lost() {
    let (count, seed) = (number("LONGSHORE_FAULT_ROUNDS", 6), number("LONGSHORE_FAULT_SEED", 1));
    let begun = Instant::now();
    let tally = rounds(count, seed, number("LONGSHORE_FAULT_JOBS", 2));
    println!("seeds {seed} to {}, {:?}\n{}", seed + count - 1, begun.elapsed(), tally.text());
    assert!(tally.rounds == count, "{} of {count} rounds were made", tally.rounds);
    assert!(tally.violations.is_empty(), "{} violations", tally.violations.len());
    assert!(tally.is_unknown_rare(), "{} of {}", tally.single_unknown, tally.single_kills);
}
