//! Random faults: each round kills something at a random time, resumes, and compares with the trace.
//!
//! `LONGSHORE_ROUNDS=1000 cargo test --test durable rounds -- --nocapture` for more of them.

use std::{io::Write as _, time::Duration};

use futures::StreamExt;
use longshore::durable::{AttemptState, Beginning, Closing, Ending, Following, LeaseError};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    host::{Host, Shell},
    play::{act_of, segment},
};

const STEPS: usize = 4;

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    rounds: usize,
    unknown: usize,
    half: usize,
}

/// How often the step began and ended, by its own trace.
fn traced(host: &Host, index: usize) -> (usize, usize) {
    let lines = host.lines("trace");
    let count = |word: &str| lines.iter().filter(|line| **line == format!("{word} {index}")).count();
    (count("begin"), count("end"))
}

fn finish_by_hand(host: &Host, index: usize) {
    let mut trace = std::fs::OpenOptions::new().append(true).open(host.place("trace")).expect("trace");
    writeln!(trace, "end {index}").expect("trace");
}

/// One round: a segment of steps that are not repeat-safe, one to three faults, and resumes until all is closed.
async fn round(seed: u64) -> Result<Tally, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let shells = Shell::all();
    let host = Host::new(shells[random.random_range(0..shells.len())]);
    let mut tally = Tally { rounds: 1, ..Tally::default() };
    let trace = host.place("trace");
    let programs: Vec<(String, String)> = (0..STEPS)
        .map(|index| {
            let nap = random.random_range(0..30);
            (
                format!("s{index}"),
                format!("echo begin {index} >>{trace}; sleep 0.0{nap:02}; echo end {index} >>{trace}"),
            )
        })
        .collect();
    let whole = segment("whole", programs.iter().map(|(name, act)| (name.as_str(), act.as_str())));
    let mut numbers = [1; STEPS];
    let mut faults = random.random_range(1..=3);
    let mut sent: Vec<String> = Vec::new();
    for life in 0..12 {
        let beginning = if life == 0 { Beginning::First } else { Beginning::Again };
        let side = host.side("run-1");
        let lease = match side.acquire("anna", "{}", beginning).await {
            Ok(lease) => lease,
            // Killed in mid-question: ask again.
            Err(LeaseError::Durable(error)) if error.leaves_doubt() => continue,
            Err(error) => return Err(format!("lease: {error}")),
        };
        let attempts: Vec<_> = (0..STEPS)
            .map(|index| longshore::durable::Attempt { number: numbers[index], ..act_of(index, &format!("s{index}")) })
            .collect();
        // Wait until whatever runs has ended, over every segment that was ever sent.
        for id in &sent {
            let limits = attempts.iter().map(|attempt| (attempt.clone(), Duration::from_secs(20), false));
            let mut following = Following::new(id.clone(), limits);
            side.attach(&mut following, &mut |_, _| {}).await.map_err(|error| format!("attach: {error}"))?;
        }
        let mut status = side.status(&attempts).await.map_err(|error| format!("status: {error}"))?;
        // What a killed wrapper had just started may hold its lock a moment longer.
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while status.attempts.iter().any(|status| status.state == AttemptState::Pending) {
            if std::time::Instant::now() > end {
                return Err("an attempt stays pending".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            status = side.status(&attempts).await.map_err(|error| format!("status: {error}"))?;
        }
        let mut open = Vec::new();
        for (index, status) in status.attempts.iter().enumerate() {
            let traced = traced(&host, index);
            match &status.state {
                AttemptState::Ended(Ending::Changed | Ending::FoundDone) if traced == (1, 1) => {}
                AttemptState::NotStarted if traced == (0, 0) => open.push(index),
                AttemptState::Ended(Ending::Unknown { .. }) if traced.0 <= 1 => {
                    tally.unknown += 1;
                    let closing = if traced == (0, 0) { Closing::NotDone } else { Closing::Done };
                    if traced == (1, 0) {
                        // Half done: a person would be asked, and here finishes it by hand.
                        tally.half += 1;
                        finish_by_hand(&host, index);
                    }
                    side.close(&attempts[index], closing).await.map_err(|error| format!("close: {error}"))?;
                    if closing == Closing::NotDone {
                        numbers[index] += 1;
                        open.push(index);
                    }
                }
                // Its shell was killed, perhaps before its first word: it failed, and says so.
                AttemptState::Ended(Ending::Failed { status }) if *status > 128 && traced.0 <= 1 => {
                    if traced.1 == 0 {
                        finish_by_hand(&host, index);
                    }
                }
                other => return Err(format!("step {index} has the trace {traced:?}, the host says {other:?}")),
            }
        }
        if open.is_empty() {
            side.release(&lease).await.map_err(|error| format!("release: {error}"))?;
            host.falls_silent(Duration::from_secs(20)).await?;
            return Ok(tally);
        }
        let mut part = whole.clone();
        part.id = format!("life-{life}");
        part.steps = open
            .iter()
            .map(|index| {
                let mut step = whole.steps[*index].clone();
                step.attempt.number = numbers[*index];
                step
            })
            .collect();
        sent.push(part.id.clone());
        let mut following = Following::of(&part);
        let mut ignore = |_: &longshore::durable::Attempt, _: longshore::durable::StepNews<'_>| {};
        let run = side.run_segment(&lease, &part, &[], &mut following, &mut ignore);
        if faults == 0 {
            run.await.map_err(|error| format!("segment: {error}"))?;
            continue;
        }
        faults -= 1;
        let after = Duration::from_micros(random.random_range(0..120_000));
        let everything = random.random_bool(0.3);
        let pick = random.random_range(0..1000);
        let fault = async {
            tokio::time::sleep(after).await;
            if everything {
                host.kill_all();
            } else {
                let processes = host.processes();
                if let Some((id, _)) = processes.get(pick % processes.len().max(1)) {
                    let id = nix::unistd::Pid::from_raw(*id);
                    let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
                }
            }
        };
        // The controller dies with the link: it does not hear the end.
        let ((), _) = tokio::join!(fault, tokio::time::timeout(after + Duration::from_millis(50), run));
    }
    Err("it never came to an end".to_owned())
}

#[tokio::test]
async fn r01_r15_r62_rounds_of_random_kills_start_each_step_once_and_agree_with_its_trace() {
    let rounds: u64 = std::env::var("LONGSHORE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let base: u64 = std::env::var("LONGSHORE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let results: Vec<(u64, Result<Tally, String>)> = futures::stream::iter(base..base + rounds)
        .map(|seed| async move { (seed, round(seed).await) })
        .buffer_unordered(6)
        .collect()
        .await;
    let mut sum = Tally::default();
    let mut violations = Vec::new();
    for (seed, result) in results {
        match result {
            Ok(tally) => {
                sum.rounds += tally.rounds;
                sum.unknown += tally.unknown;
                sum.half += tally.half;
            }
            Err(violation) => violations.push(format!("seed {seed}: {violation}")),
        }
    }
    println!(
        "{rounds} rounds, {} unknown ({} of them half done), {} violations",
        sum.unknown,
        sum.half,
        violations.len()
    );
    assert!(violations.is_empty(), "{violations:#?}");
}
