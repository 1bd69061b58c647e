//! What is measured and not only judged. Ignored by default: minutes of waiting. `tests/faults --figures` runs it.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use longshore::{event::Happening, ledger::Ledger};

use crate::{
    controller::{self, Controller},
    fault::Shape,
    field::{Field, Project},
    rounds::shaped_round,
};

const WITHIN: Duration = Duration::from_secs(180);

fn has_happened(project: &Project, what: impl Fn(&Happening) -> bool) -> bool {
    let Ok(ledger) = Ledger::open(&project.path, Arc::new(jiff::Timestamp::now)) else { return false };
    let Some(run) = ledger.runs(1).ok().and_then(|runs| runs.first().map(|run| run.number)) else { return false };
    ledger.events(run, None).is_ok_and(|events| events.iter().any(|event| what(&event.what)))
}

#[test]
#[ignore = "a figure: takes a minute"]
fn r6_a_black_hole_is_noticed_and_the_step_followed_again_within_45_s() {
    let Some(field) = Field::sshd(1) else { return };
    let host = &field.hosts[0];
    let project = field.project(1, &|_| "sleep 60".to_owned());
    let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
    project.wait_for(host, 1);
    let begun = Instant::now();
    // The connections there are fall silent for ever; new ones work.
    host.proxy.as_ref().expect("a proxy").now(crate::proxy::Mode::Swallow);
    while !has_happened(&project, |what| matches!(what, Happening::LinkRestored { .. })) {
        assert!(begun.elapsed() < WITHIN, "{}", controller.said());
        std::thread::sleep(Duration::from_millis(200));
    }
    let took = begun.elapsed();
    println!("R6: from the black hole to re-attached: {took:.1?}");
    assert_eq!(controller.wait(WITHIN), Ok(0), "{}", controller.said());
    assert_eq!(project.traced(host, 1), (1, 1));
    assert!(took <= Duration::from_secs(45), "{took:?}");
}

#[test]
#[ignore = "a figure: takes two minutes"]
fn r35_the_lease_of_a_dead_controller_is_free_120_s_after_the_last_step() {
    let field = Field::lab(1);
    let host = &field.hosts[0];
    let (first, second) = (field.project(1, &|_| "sleep 2".to_owned()), field.project(1, &|_| "true".to_owned()));
    let mut controller = Controller::start(&first.path, &["apply", "work", "--yes"]);
    first.wait_for(host, 1);
    controller.kill();
    while first.traced(host, 1) != (1, 1) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (ended, ended_at) = (Instant::now(), jiff::Timestamp::now());
    let mut arguments = vec!["apply", "work", "--yes"];
    loop {
        let (code, said) = controller::run(&second.path, &arguments, WITHIN).expect("it ends");
        if code == 0 {
            break;
        }
        assert!(code == 6 && ended.elapsed() < WITHIN, "{code}: {said}");
        arguments = vec!["retry", "--host", host.name.as_str()];
        std::thread::sleep(Duration::from_secs(1));
    }
    // Whoever sends a segment has the lease; how long the run took after that is another matter.
    let sent = second.wait_until(|event| matches!(event.what, Happening::SegmentSent { .. }));
    let took = Duration::try_from(sent.at.duration_since(ended_at)).expect("after it");
    println!("R35: from the end of the dead controller's last step to a lease for another: {took:.1?}");
    assert!(took <= Duration::from_secs(120), "{took:?}");
}

#[test]
#[ignore = "a figure: prints 10 GB"]
fn r37_ten_gigabytes_of_output_cost_the_controller_at_most_64_mib() {
    let field = Field::lab(1);
    let host = &field.hosts[0];
    let project = field.project(1, &|_| "head -c 10000000000 /dev/zero".to_owned());
    let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
    let (mut memory, mut disk) = (0, 0);
    let code = loop {
        if let Some(code) = controller.ended() {
            break code;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", controller.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        memory = memory.max(peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default());
        disk = disk.max(size(&host.state));
        std::thread::sleep(Duration::from_millis(50));
    };
    println!(
        "R37: 10 GB of output: controller at most {} MiB, state on the host at most {} MiB",
        memory / 1024,
        disk >> 20
    );
    assert_eq!(code, 0, "{}", controller.said());
    assert!(memory <= 64 * 1024 && disk <= 9 << 20, "{memory} kB, {disk} bytes");
}

#[test]
#[ignore = "a figure: a thousand hosts"]
fn r62_of_a_thousand_hosts_with_faults_on_five_percent_each_has_one_class_that_agrees_with_its_lines() {
    let field = Field::lab(1000);
    let shape = Shape { faulty: 5, by_turn: Some(Duration::from_secs(120)), within: Duration::from_secs(1800) };
    let begun = Instant::now();
    let seed = std::env::var("LONGSHORE_FAULT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(62);
    let tally = shaped_round(&field, seed, shape, &[Duration::from_secs(25), Duration::from_secs(40)]);
    println!("R62: seed {seed}, {:.0?}\n{}", begun.elapsed(), tally.text());
    assert_eq!(tally.ends.values().sum::<u64>(), 1000, "a host has no class");
    assert!(tally.violations.is_empty(), "{} violations", tally.violations.len());
}

/// Bytes of all files below a folder.
fn size(folder: &std::path::Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
