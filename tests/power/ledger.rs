//! R20: the controller's disk is cut off while runs are recorded. No event that was acknowledged may be gone.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use longshore::{
    event::{Happening, HostLine, Recorder as _, RunState, WaveLine},
    ledger::{Ledger, RunMeta},
    model::{HostName, RunId},
};

use crate::{apart, disk::Shelf, moment, report, rounds};

/// What lets `fsync` and its kin do nothing.
const DEAF: &str = "int fsync(int f){(void)f;return 0;} int fdatasync(int f){(void)f;return 0;} \
                    int sync_file_range(int f,long o,long n,unsigned g){(void)f;(void)o;(void)n;(void)g;return 0;}";

#[test]
fn r20_no_acknowledged_event_is_lost_when_the_controller_s_power_is_cut() {
    let _ = apart("ledger::cuts", &[]);
}

#[test]
fn r20_without_flushing_the_same_test_finds_lost_events() {
    let _ = apart("ledger::cuts", &[("LONGSHORE_POWER_BLIND", "yes")]);
}

/// Records events for ever, and says after each what was acknowledged. Run as a process of its own.
#[test]
#[ignore = "the writing half of the test, in a process of its own"]
fn writes() {
    let Some(project) = std::env::var_os("LONGSHORE_POWER_PROJECT") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let ledger = Ledger::open(Path::new(&project), Arc::new(jiff::Timestamp::now)).expect("opens");
        let meta = RunMeta {
            id: RunId::from_text("power").expect("an id"),
            title: "power".to_owned(),
            purpose: "apply".to_owned(),
            plan_digest: String::new(),
            hosts: 8,
            controller: "test".to_owned(),
        };
        let run = ledger.begin_run("{}", meta).expect("begins");
        let hosts: Vec<HostName> = (1..=8).map(|n| HostName::new(format!("h-{n}")).expect("a name")).collect();
        let lines = hosts.iter().map(|host| (host.clone(), HostLine::default())).collect();
        let waves = vec![WaveLine { name: "all".to_owned(), hosts: hosts.clone() }];
        let began = Happening::RunStarted {
            title: "power".to_owned(),
            acknowledged: Vec::new(),
            plan_digest: String::new(),
            purpose: "apply".to_owned(),
            waves,
            hosts: lines,
            rolls_back: None,
            looks_at: None,
        };
        run.record(None, began).await.expect("recorded");
        run.record(None, Happening::WaveStarted { wave: 0, name: "all".to_owned() }).await.expect("recorded");
        for host in &hosts {
            run.record(Some(host), Happening::HostStarted { wave: 0 }).await.expect("recorded");
        }
        // In order, whatever the number recorded together: the n-th acknowledgement says that n are safe.
        let said = AtomicU64::new(2 + hosts.len() as u64);
        let say = |count: u64| {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "ack {count}").and_then(|()| out.flush());
        };
        say(said.load(Ordering::SeqCst));
        let each = hosts.iter().map(|host| {
            let (run, said) = (&run, &said);
            async move {
                for value in 0..u64::MAX {
                    let what = Happening::FactRead { fact: "n".to_owned(), value: value.to_string() };
                    run.record(Some(host), what).await.expect("recorded");
                    say(said.fetch_add(1, Ordering::SeqCst) + 1);
                    // Now one event at a time, now many together.
                    tokio::time::sleep(std::time::Duration::from_millis(rand::random::<u64>() % 8)).await;
                }
            }
        });
        futures::future::join_all(each).await;
    });
}

/// Makes the library that lets nothing be flushed.
fn deaf(folder: &Path) -> std::path::PathBuf {
    let (source, library) = (folder.join("deaf.c"), folder.join("deaf.so"));
    std::fs::write(&source, DEAF).expect("written");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(made.is_ok_and(|made| made.success()), "a C compiler");
    library
}

#[test]
#[ignore = "run by the tests above, in a mount namespace"]
fn cuts() {
    let blind = std::env::var_os("LONGSHORE_POWER_BLIND").is_some();
    let shelf = Shelf::new();
    let tools = tempfile::tempdir().expect("a folder");
    let (mut cuts, mut looked, mut lost) = (0, 0, Vec::new());
    while cuts < rounds() && (lost.is_empty() || !blind) {
        let disk = shelf.disk();
        let project = disk.root.join("project");
        std::fs::create_dir(&project).expect("a folder");
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["ledger::writes", "--exact", "--ignored", "--nocapture"]);
        command.env("LONGSHORE_POWER_PROJECT", &project).stdout(Stdio::piped()).stderr(Stdio::null());
        if blind {
            command.env("LD_PRELOAD", deaf(tools.path()));
        }
        let mut writer = command.spawn().expect("a writer");
        let acknowledged = Arc::new(AtomicU64::new(0));
        let (lines, counter) = (BufReader::new(writer.stdout.take().expect("its output")), Arc::clone(&acknowledged));
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some(count) = line.strip_prefix("ack ").and_then(|count| count.parse().ok()) {
                    counter.store(count, Ordering::SeqCst);
                }
            }
        });
        // A disk for some dozens of cuts, so that checkpoints come and the image never fills.
        for _ in 0..40.min(rounds() - cuts) {
            std::thread::sleep(moment(60));
            let before = acknowledged.load(Ordering::SeqCst);
            let clone = shelf.cut();
            cuts += 1;
            looked += usize::try_from(before).expect("few");
            if let Err(why) = survives(&clone.root.join("project"), before) {
                lost.push(format!("cut {cuts}, {before} acknowledged: {why}"));
            }
        }
        let _ = writer.kill();
        let _ = writer.wait();
        let _ = reader.join();
    }
    report("ledger, acknowledged events", cuts, looked, &lost, blind);
}

/// Whether a ledger has all events that were acknowledged, and what it has is legal.
fn survives(project: &Path, acknowledged: u64) -> Result<(), String> {
    if acknowledged == 0 {
        return Ok(());
    }
    let ledger = Ledger::open(project, Arc::new(jiff::Timestamp::now)).map_err(|error| error.to_string())?;
    let number = ledger.runs(1).map_err(|error| error.to_string())?.pop().ok_or("the run is gone")?.number;
    let events = ledger.events(number, None).map_err(|error| error.to_string())?;
    RunState::fold(&events).map_err(|error| error.to_string())?;
    if (events.len() as u64) < acknowledged { Err(format!("{} are left", events.len())) } else { Ok(()) }
}
