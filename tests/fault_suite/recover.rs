//! R26, R27: the ledger is damaged or gone in mid-run; `recover` writes a new one from the hosts, `resume` finishes.

use std::{fs, path::Path, time::Duration};

use longshore::model::HostOutcome;

use crate::{
    controller::{self, Controller},
    field::{Field, Project},
    judge::state,
};

const WITHIN: Duration = Duration::from_secs(90);
const STEPS: usize = 4;

/// Lets one host after the other have its turn, and kills the controller in the middle of the second one's:
/// afterwards the first is done, the second in the middle, the third has not begun.
fn killed_in_mid_run(field: &Field) -> Project {
    let project = field.project(STEPS, &|_| "sleep 0.2".to_owned());
    let playbook = project.path.join("playbooks/work.toml");
    let text = fs::read_to_string(&playbook).expect("a playbook");
    fs::write(&playbook, text.replace("at-once = 16", "at-once = 1")).expect("written");
    let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
    project.wait_for(&field.hosts[1], 2);
    controller.kill();
    project
}

fn ledger(project: &Project, end: &str) -> std::path::PathBuf {
    project.path.join(format!(".longshore/ledger.db{end}"))
}

fn run(project: &Project, arguments: &[&str]) -> (i32, String) {
    controller::run(&project.path, arguments, WITHIN).expect("it ends")
}

/// Recovers and resumes; every line must be there exactly once, and every host done.
fn recovers_and_finishes(field: &Field, project: &Project) {
    let (code, said) = run(project, &["resume"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("longshore recover"), "{said}");
    let before = traces(field, project);
    let (code, said) = run(project, &["recover"]);
    assert_eq!(code, 0, "{said}");
    for wanted in ["run 0001", "lab-1  done", "lab-2  cut off", "not begun: lab-3", "longshore resume 0001"] {
        let wanted = wanted.replace("lab-", field.hosts[0].name.as_str().trim_end_matches('1'));
        assert!(said.contains(&wanted), "nothing of `{wanted}` in:\n{said}");
    }
    // What runs may go on meanwhile; nothing new begins.
    let after = traces(field, project);
    assert!(after[0] == before[0] && after[2] == before[2], "{before:?} {after:?}");
    let (code, said) = run(project, &["recover"]);
    assert!(code == 0 && said.contains("no host knows of a run that the ledger does not have"), "{said}");
    finishes(field, project);
}

fn traces(field: &Field, project: &Project) -> Vec<Vec<(usize, usize)>> {
    field.hosts.iter().map(|host| (1..=STEPS).map(|step| project.traced(host, step)).collect()).collect()
}

fn finishes(field: &Field, project: &Project) {
    let (code, said) = run(project, &["resume"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(traces(field, project), vec![vec![(1, 1); STEPS]; field.hosts.len()], "{said}");
    let state = state(project).expect("a run");
    for (host, of) in &state.hosts {
        assert_eq!(of.outcome, Some(HostOutcome::Done), "{host}");
        assert_eq!(of.steps.len(), STEPS, "{host}: {:?}", of.steps.keys());
    }
}

fn aside(project: &Project) -> Vec<String> {
    let entries = fs::read_dir(project.path.join(".longshore")).expect("the folder").flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.contains("damaged")).collect()
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[test]
fn r27_a_ledger_deleted_in_mid_run_is_written_anew_from_the_hosts_and_the_run_finishes() {
    let field = Field::lab(3);
    let project = killed_in_mid_run(&field);
    for end in ["", "-wal", "-shm"] {
        remove(&ledger(&project, end));
    }
    recovers_and_finishes(&field, &project);
    assert!(aside(&project).is_empty());
}

#[test]
fn r26_a_damaged_ledger_is_refused_and_set_aside_unchanged_and_the_run_finishes() {
    let field = Field::lab(3);
    // The kinds of damage, one project each.
    for (kind, damage) in [
        ("zeroes in the middle", (|bytes: &mut Vec<u8>| bytes[4096..12288].fill(0)) as fn(&mut Vec<u8>)),
        ("cut in half", |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2)),
        ("no database at all", |bytes: &mut Vec<u8>| bytes[..64].fill(0xff)),
        ("a flipped byte in an event", |bytes: &mut Vec<u8>| {
            let wanted = b"step-started";
            let at = bytes.windows(wanted.len()).rposition(|window| window == wanted).expect("an event");
            bytes[at + 5] ^= 0x01;
        }),
    ] {
        let project = killed_in_mid_run(&field);
        // All of it in one file, as it is after a checkpoint.
        drop(longshore::ledger::Ledger::open(&project.path, std::sync::Arc::new(jiff::Timestamp::now)).expect("opens"));
        let mut bytes = fs::read(ledger(&project, "")).expect("a ledger");
        damage(&mut bytes);
        fs::write(ledger(&project, ""), &bytes).expect("written");
        eprintln!("damage: {kind}");
        recovers_and_finishes(&field, &project);
        let aside = aside(&project);
        let kept = aside.iter().find(|name| !name.contains(".db-")).expect("set aside");
        assert!(fs::read(project.path.join(".longshore").join(kept)).expect("kept") == bytes, "{kind}: changed");
    }
}

#[test]
fn r26_a_log_that_lost_its_tail_loses_no_start() {
    let field = Field::lab(3);
    for left in [0, 40, 70, 95] {
        let project = killed_in_mid_run(&field);
        let log = ledger(&project, "-wal");
        let length = fs::metadata(&log).expect("a log").len();
        fs::OpenOptions::new().write(true).open(&log).expect("a log").set_len(length * left / 100).expect("cut");
        // Where the run itself went with the tail, the ledger has nothing to resume, and its host says so.
        let (_, said) = run(&project, &["resume"]);
        if said.contains("there is no rollout to go on with") {
            let (code, said) = run(&project, &["recover"]);
            assert_eq!(code, 0, "{said}");
            finishes(&field, &project);
        } else {
            assert_eq!(traces(&field, &project), vec![vec![(1, 1); STEPS]; 3], "{left}: {said}");
        }
    }
}

#[test]
fn r27_documents_that_changed_are_not_overruled_by_a_host_unless_told() {
    let field = Field::lab(2);
    let project = field.project(STEPS, &|_| "sleep 0.2".to_owned());
    let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
    project.wait_for(&field.hosts[0], 2);
    project.wait_for(&field.hosts[1], 1);
    controller.kill();
    for end in ["", "-wal", "-shm"] {
        remove(&ledger(&project, end));
    }
    let playbook = project.path.join("playbooks/work.toml");
    let text = fs::read_to_string(&playbook).expect("a playbook");
    fs::write(&playbook, text.replace("printf 'b 4", "printf 'x 4")).expect("written");
    let (code, said) = run(&project, &["recover"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("the documents do not say any more") && said.contains("--as-planned"), "{said}");
    let (code, said) = run(&project, &["recover", "--as-planned"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = run(&project, &["resume", "--as-planned"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(traces(&field, &project), vec![vec![(1, 1); STEPS]; 2], "{said}");
}

#[test]
fn r27_a_host_that_does_not_answer_is_told_and_taken_later_and_nothing_of_it_runs_twice() {
    let field = Field::lab(2);
    let project = field.project(STEPS, &|_| "sleep 0.2".to_owned());
    let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
    project.wait_for(&field.hosts[0], 2);
    project.wait_for(&field.hosts[1], 2);
    controller.kill();
    for end in ["", "-wal", "-shm"] {
        remove(&ledger(&project, end));
    }
    field.fault(&field.hosts[1], longshore::lab::Fault::Refuse);
    let (code, said) = run(&project, &["recover"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains(&format!("{} did not answer", field.hosts[1].name)), "{said}");
    let (code, said) = run(&project, &["resume"]);
    assert_eq!(code, 4, "{said}");
    field.calm(&field.hosts[1]);
    let (code, said) = run(&project, &["retry", "--unreached"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(traces(&field, &project), vec![vec![(1, 1); STEPS]; 2], "{said}");
}
