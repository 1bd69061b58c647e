//! The ledger on a real disk: what is recorded is there after a crash, and only its user can read it.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicI64, Ordering},
};

use tempfile::TempDir;

use super::*;
use crate::{
    event::{Happening, RecordError, Recorder, RunState, story::Story},
    model::{ExitCode, HostName, HostOutcome, RunId},
};

fn clock() -> Clock {
    let seconds = AtomicI64::new(1_772_355_600);
    Arc::new(move || Timestamp::from_second(seconds.fetch_add(1, Ordering::Relaxed)).expect("a time"))
}

fn meta(id: &str) -> RunMeta {
    RunMeta {
        id: RunId::from_text(id).expect("an id"),
        title: "Upgrade fovea to 0.4.0".to_owned(),
        purpose: "apply".to_owned(),
        plan_digest: "sha256:0f0f".to_owned(),
        hosts: 8,
        controller: "anna@laptop, process 4711".to_owned(),
    }
}

fn project() -> (TempDir, Ledger) {
    let project = TempDir::new().expect("a folder");
    let ledger = Ledger::open(project.path(), clock()).expect("a new ledger");
    (project, ledger)
}

async fn tell(run: &RunHandle, story: &Story) {
    for event in &story.events {
        run.record(event.host.as_ref(), event.what.clone()).await.expect("recorded");
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("a file").mode() & 0o777
}

fn wave(index: usize) -> Happening {
    Happening::WaveStarted { wave: index, name: "x".repeat(100) }
}

#[tokio::test]
async fn what_is_recorded_reads_back_in_order_and_folds() {
    let (_project, ledger) = project();
    let run = ledger.begin_run("{\"format\":1}", meta("01aaa")).expect("a run");
    assert_eq!(run.number().to_string(), "0001");
    let mut heard = run.subscribe();
    let story = Story::upgrade();
    tell(&run, &story).await;

    let events = ledger.events(run.number(), None).expect("events");
    assert_eq!(
        events.iter().map(|e| &e.what).collect::<Vec<_>>(),
        story.events.iter().map(|e| &e.what).collect::<Vec<_>>()
    );
    assert_eq!(RunState::fold(&events).expect("a legal run").exit_code(), ExitCode::PersonNeeded);
    for event in &events {
        assert_eq!(heard.try_recv().as_ref(), Ok(event));
    }
    let host = HostName::new("web-5").expect("a name");
    let of_host = ledger.events(run.number(), Some(&host)).expect("events");
    assert_eq!(of_host, events.iter().filter(|e| e.host.as_ref() == Some(&host)).cloned().collect::<Vec<_>>());
    assert_eq!(ledger.plan(run.number()).expect("the plan"), "{\"format\":1}");
}

#[tokio::test]
async fn the_history_counts_outcomes_and_tells_running_from_cut_off() {
    let (project, ledger) = project();
    let first = ledger.begin_run("{}", meta("01aaa")).expect("a run");
    tell(&first, &Story::upgrade()).await;
    let second = ledger.begin_run("{}", meta("01aab")).expect("a run");
    second.record(None, wave(0)).await.expect("recorded");

    let runs = ledger.runs(10).expect("runs");
    assert_eq!(
        runs.iter().map(|r| (r.number.0, r.running, r.exit)).collect::<Vec<_>>(),
        [(2, true, None), (1, false, Some(ExitCode::PersonNeeded)),]
    );
    assert_eq!(
        runs[1].outcomes.clone().into_iter().collect::<Vec<_>>(),
        [(HostOutcome::Done, 4), (HostOutcome::Undone, 1), (HostOutcome::Stuck, 1), (HostOutcome::Unreachable, 2),]
    );
    // What is taken up again runs, though it had come to an end once.
    let again = Happening::RunResumed { by: "bea@laptop".to_owned(), purpose: "retry".to_owned(), hosts: Vec::new() };
    first.record(None, again).await.expect("recorded");
    let record = ledger.run(RunNumber(1)).expect("the run");
    assert_eq!((record.running, record.exit, record.ended), (true, None, None));

    drop((first, second, ledger));
    let ledger = Ledger::open(project.path(), clock()).expect("the ledger again");
    assert!(!ledger.run(RunNumber(2)).expect("the run").running);
}

#[test]
fn a_run_is_found_as_people_name_it() {
    let (_project, ledger) = project();
    assert!(matches!(ledger.find("last"), Err(LedgerError::NoRun(_))));
    for id in ["01aaa", "01aab", "01bbb"] {
        ledger.begin_run("{}", meta(id)).expect("a run");
    }
    for (text, number) in [("1", 1), ("0002", 2), ("#3", 3), ("last", 3), ("01b", 3), ("01aaa", 1)] {
        assert_eq!(ledger.find(text).expect(text).number, RunNumber(number), "{text}");
    }
    for text in ["9", "01a", "", "01zz", "' or 1=1 --", "\u{1b}[2J"] {
        let error = ledger.find(text).expect_err(text);
        assert!(matches!(error, LedgerError::NoRun(_)), "{error}");
        assert!(!error.to_string().contains('\u{1b}'));
    }
}

#[tokio::test]
async fn an_acknowledged_event_survives_a_crash_of_the_controller() {
    let (project, ledger) = project();
    let run = ledger.begin_run("{}", meta("01aaa")).expect("a run");
    let crashed = TempDir::new().expect("a folder");
    std::fs::create_dir(crashed.path().join(".longshore")).expect("a folder");
    for count in 1..=20 {
        run.record(None, wave(count)).await.expect("recorded");
        if count % 5 == 0 {
            // What a killed process leaves: the files as they are, nothing closed.
            for name in ["ledger.db", "ledger.db-wal"] {
                let from = project.path().join(".longshore").join(name);
                std::fs::copy(from, crashed.path().join(".longshore").join(name)).expect("a copy");
            }
            let copy = Ledger::open(crashed.path(), clock()).expect("the ledger after a crash");
            assert_eq!(copy.events(RunNumber(1), None).expect("events").len(), count);
        }
    }
}

#[tokio::test]
async fn a_run_taken_up_again_counts_on_and_only_one_process_has_it() {
    let (project, ledger) = project();
    let run = ledger.begin_run("{}", meta("01aaa")).expect("a run");
    run.record(None, wave(0)).await.expect("recorded");
    let other = Ledger::open(project.path(), clock()).expect("another process's ledger");
    assert!(matches!(other.reopen_run(RunNumber(1), "ben@desk"), Err(LedgerError::Running(RunNumber(1)))));
    drop(run);
    // A word that came when nobody worked on it any more is for nobody.
    other.request(RunNumber(1), Control::Abort, "ben", None).expect("asked");
    let run = other.reopen_run(RunNumber(1), "ben@desk, process 2").expect("the run, taken up again");
    assert_eq!(other.take_requests(RunNumber(1)).expect("requests"), []);
    assert_eq!(ledger.run(RunNumber(1)).expect("the run").controller, "ben@desk, process 2");
    run.record(None, wave(1)).await.expect("recorded");
    let sequences: Vec<_> = ledger.events(RunNumber(1), None).expect("events").iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, [1, 2]);
}

#[tokio::test]
async fn after_a_failed_commit_every_later_record_fails_at_once() {
    let (_project, ledger) = project();
    let run = ledger.begin_run("{}", meta("01aaa")).expect("a run");
    let mut heard = run.subscribe();
    run.record(None, wave(0)).await.expect("recorded");
    // A full disk, as SQLite sees it.
    let limit = |pages: &'static str| {
        ledger.inner.writer.run(move |connection| {
            connection.query_row(&format!("pragma max_page_count = {pages}"), [], |_| Ok(()))?;
            Ok(())
        })
    };
    limit("1").expect("a limit");
    let large = Happening::WaveStarted { wave: 1, name: "x".repeat(100_000) };
    let RecordError(reason) = run.record(None, large).await.expect_err("no room");
    assert!(reason.contains("full"), "{reason}");
    limit("1000000").expect("no limit");
    assert!(run.record(None, wave(2)).await.is_err(), "an event after a gap was recorded");
    assert_eq!(ledger.events(RunNumber(1), None).expect("events").len(), 1);
    assert!(heard.try_recv().is_ok());
    assert!(heard.try_recv().is_err(), "an event was told that is not durable");
}

#[test]
fn the_folder_and_all_in_it_are_private_and_what_is_ours_is_repaired() {
    let (project, ledger) = project();
    let run = ledger.begin_run("{}", meta("01aaa")).expect("a run");
    let folder = project.path().join(".longshore");
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(run.folder()), 0o700);
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    assert_eq!(std::fs::read_to_string(folder.join(".gitignore")).expect("a file"), "*\n");
    drop((run, ledger));
    for (path, open) in [(folder.clone(), 0o755), (folder.join("ledger.db"), 0o644)] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(open)).expect("opened wide");
    }
    drop(Ledger::open(project.path(), clock()).expect("the ledger again"));
    assert_eq!((mode(&folder), mode(&folder.join("ledger.db"))), (0o700, 0o600));
}

#[test]
fn a_link_in_the_place_of_the_ledger_is_refused() {
    let project = TempDir::new().expect("a folder");
    let elsewhere = TempDir::new().expect("a folder");
    symlink(elsewhere.path(), project.path().join(".longshore")).expect("a link");
    assert!(matches!(Ledger::open(project.path(), clock()), Err(LedgerError::Symlink(_))));
    assert_eq!(std::fs::read_dir(elsewhere.path()).expect("a folder").count(), 0);

    let (project, ledger) = self::project();
    drop(ledger);
    let database = project.path().join(".longshore/ledger.db");
    std::fs::rename(&database, elsewhere.path().join("theirs")).expect("moved");
    symlink(elsewhere.path().join("theirs"), &database).expect("a link");
    assert!(matches!(Ledger::open(project.path(), clock()), Err(LedgerError::Symlink(_))));
}

#[test]
fn a_damaged_a_newer_and_a_foreign_file_are_told_apart_and_left_alone() {
    let open = |write: &dyn Fn(&Path)| {
        let (project, ledger) = project();
        for id in ["01aaa", "01bbb"] {
            ledger.begin_run(&"x".repeat(20_000), meta(id)).expect("a run");
        }
        drop(ledger);
        let path = project.path().join(".longshore/ledger.db");
        write(&path);
        let before = std::fs::read(&path).expect("the file");
        let error = Ledger::open(project.path(), clock()).err().expect("an error");
        assert_eq!(std::fs::read(&path).expect("the file"), before, "{error}");
        assert!(error.hint().is_some(), "{error}");
        error
    };
    let error =
        open(&|path| std::fs::write(path, "a letter to a friend, long enough to be read".repeat(50)).expect("written"));
    assert!(matches!(error, LedgerError::NotALedger(_)), "{error}");

    let error = open(&|path| {
        let mut bytes = std::fs::read(path).expect("the file");
        let end = bytes.len();
        bytes[4096..end - 4096].fill(0xaa);
        std::fs::write(path, bytes).expect("written");
    });
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");

    let error = open(&|path| {
        let connection = Connection::open(path).expect("the database");
        connection.pragma_update(None, "user_version", 99).expect("a newer format");
    });
    assert!(matches!(error, LedgerError::Newer { found: 99, .. }), "{error}");
}

#[test]
fn a_request_is_taken_once_and_in_order() {
    let (project, ledger) = project();
    let run = ledger.begin_run("{}", meta("01aaa")).expect("a run");
    let terminal = Ledger::open(project.path(), clock()).expect("another terminal's ledger");
    assert_eq!(ledger.take_requests(run.number()).expect("requests"), []);
    terminal.request(run.number(), Control::Pause, "anna", Some("lunch")).expect("asked");
    terminal.request(run.number(), Control::Promote, "ben", None).expect("asked");
    assert!(matches!(terminal.request(RunNumber(9), Control::Abort, "ben", None), Err(LedgerError::NoRun(_))));
    let taken = ledger.take_requests(run.number()).expect("requests");
    assert_eq!(
        taken.iter().map(|r| (r.control, r.by.as_str())).collect::<Vec<_>>(),
        [(Control::Pause, "anna"), (Control::Promote, "ben"),]
    );
    assert_eq!(ledger.take_requests(run.number()).expect("requests"), []);
}

#[test]
fn a_run_is_paused_until_it_is_promoted_or_its_controller_is_gone() {
    let (_project, ledger) = project();
    let run = ledger.begin_run("{}", meta("01aaa")).expect("a run");
    let now = clock()();
    let (before, after) = (now - jiff::SignedDuration::from_hours(1), now + jiff::SignedDuration::from_hours(1));
    let paused = |since| ledger.is_paused(run.number(), since).expect("it is read");
    assert!(!paused(before), "nobody has said anything");
    ledger.request(run.number(), Control::Pause, "anna", None).expect("asked");
    // Whichever controller takes it will heed it.
    assert!(paused(before) && paused(after));
    ledger.take_requests(run.number()).expect("taken");
    assert!(paused(before));
    assert!(!paused(after), "another controller heeded it, and is gone");
    ledger.request(run.number(), Control::Abort, "anna", None).expect("asked");
    assert!(paused(before), "a word about something else changes nothing");
    ledger.request(run.number(), Control::Promote, "ben", None).expect("asked");
    assert!(!paused(before));
}

#[tokio::test]
async fn two_processes_record_their_own_runs_side_by_side() {
    let (project, first) = project();
    let second = Ledger::open(project.path(), clock()).expect("another process's ledger");
    let runs =
        [first.begin_run("{}", meta("01aaa")), second.begin_run("{}", meta("01bbb"))].map(|run| run.expect("a run"));
    assert_eq!(runs.each_ref().map(|run| run.number().0), [1, 2]);
    let record = |run: RunHandle| async move {
        for index in 0..50 {
            run.record(None, wave(index)).await.expect("recorded");
        }
    };
    let [a, b] = runs;
    tokio::join!(record(a), record(b));
    for number in [1, 2] {
        assert_eq!(first.events(RunNumber(number), None).expect("events").len(), 50);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: cargo test --release --lib ledger::tests::durable -- --ignored --nocapture"]
async fn durable_events_a_second() {
    const HOSTS: usize = 256;
    const EACH: usize = 200;
    let (_project, ledger) = project();
    let run = ledger.begin_run("{}", meta("01aaa")).expect("a run");
    let story = Story::upgrade();
    let sample = story.events.iter().find(|e| e.what.kind() == "step-finished").expect("a step").clone();
    let begun = std::time::Instant::now();
    let hosts: Vec<_> = (0..HOSTS)
        .map(|_| {
            let (run, sample) = (run.clone(), sample.clone());
            tokio::spawn(async move {
                for _ in 0..EACH {
                    run.record(sample.host.as_ref(), sample.what.clone()).await.expect("recorded");
                }
            })
        })
        .collect();
    for host in hosts {
        host.await.expect("a host");
    }
    let took = begun.elapsed();
    println!(
        "{} durable events in {took:?}: {} a second",
        HOSTS * EACH,
        (HOSTS * EACH * 1000) as u128 / took.as_millis()
    );
}
