//! Leases and what hangs on them, on real shells of this machine: a host that forgot, a lease that went to
//! another controller, an undo that was cut off.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use super::{
    durable::{Wire, lines, plan_in},
    *,
};

/// The folder of the host's one install, in the state that [`plan_in`] gives it.
fn install(bench: &Bench) -> PathBuf {
    let key = crate::durable::InstallKey::of(&["web-1"]);
    bench.folder.path().join("state").join(key.as_str())
}

fn failure(bench: &Bench) -> String {
    bench.notes.state().hosts[0].failure.as_ref().map(|failure| format!("{failure:?}")).unwrap_or_default()
}

/// A step whose result nobody knows: it kills its own supervisor.
fn unknown(trace: &Path) -> String {
    format!("echo begun >>{}; kill -9 $PPID; exit 0", trace.display())
}

fn controller_step(action: serde_json::Value) -> PlannedStep {
    PlannedStep { action: serde_json::from_value(action).expect("a step"), ..bare_step("controller") }
}

#[tokio::test]
async fn r56_a_host_that_was_replaced_is_held_and_gets_no_new_attempt() {
    let bench = Bench::new(Wire::default());
    let trace = bench.folder.path().join("trace");
    let plan = plan_in(bench.folder.path(), &[unknown(&trace)]);
    assert_eq!(bench.apply(&plan).await, ExitCode::PersonNeeded);
    let id = bench.folder.path().join("state/host-id");
    fs::write(&id, "0b6f3d2e-7a51-4c0e-9f11-4f0f6a1f2a10\n").expect("there");
    assert_eq!(bench.resume(&plan, &["web-1"], "retry").await, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Held));
    assert!(failure(&bench).contains("state lost") && failure(&bench).contains("0b6f3d2e"), "{}", failure(&bench));
    // The lease was not kept from whoever the host belongs to now.
    assert!(fs::read_to_string(install(&bench).join("lease")).expect("there").starts_with("- "));
    assert_eq!(lines(&trace), 1);
}

#[tokio::test]
async fn r57_a_host_put_back_to_before_a_step_is_held() {
    let bench = Bench::new(Wire::default());
    let trace = bench.folder.path().join("trace");
    let plan = plan_in(bench.folder.path(), &[format!("echo one >>{}", trace.display()), unknown(&trace)]);
    assert_eq!(bench.apply(&plan).await, ExitCode::PersonNeeded);
    let attempts = install(&bench).join("runs").join(bench.means.run.as_str());
    for step in &plan.hosts[0].steps {
        fs::remove_dir_all(attempts.join(format!("{}.1", step.id))).expect("there");
    }
    assert_eq!(bench.resume(&plan, &["web-1"], "retry").await, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Held));
    assert!(failure(&bench).contains("put back"), "{}", failure(&bench));
    assert_eq!(lines(&trace), 2);
}

#[tokio::test]
async fn r58_a_host_without_the_run_s_folder_is_held() {
    let bench = Bench::new(Wire::default());
    let trace = bench.folder.path().join("trace");
    let plan = plan_in(bench.folder.path(), &[unknown(&trace)]);
    assert_eq!(bench.apply(&plan).await, ExitCode::PersonNeeded);
    fs::remove_dir_all(install(&bench).join("runs")).expect("there");
    for _ in 0..2 {
        assert_eq!(bench.resume(&plan, &["web-1"], "retry").await, ExitCode::PersonNeeded);
        assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Held));
        assert!(failure(&bench).contains("state lost"), "{}", failure(&bench));
    }
    assert_eq!(lines(&trace), 1);
}

#[tokio::test]
async fn a_host_that_was_taken_back_may_forget_the_run_and_be_tried_again() {
    let bench = Bench::new(Wire::default());
    let (trace, flag) = (bench.folder.path().join("trace"), bench.folder.path().join("flag"));
    let mut plan = plan_in(
        bench.folder.path(),
        &[format!("echo one >>{}", trace.display()), format!("[ -e {} ]", flag.display())],
    );
    let undo = bare_step(&format!("echo back >>{}", trace.display()));
    plan.hosts[0].steps[0].undo = PlannedUndo::By(vec![undo]);
    bench.apply(&plan).await;
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone), "{}", failure(&bench));
    fs::write(&flag, "").expect("writable");
    assert_eq!(bench.resume(&plan, &["web-1"], "retry").await, ExitCode::Good, "{}", failure(&bench));
    assert_eq!(fs::read_to_string(&trace).expect("there"), "one\nback\none\n");
}

/// A bench whose leases run out after a few seconds.
fn short_leases(wire: &Wire, seconds: u64) -> Bench {
    let mut bench = Bench::new(wire.clone());
    bench.means.lease_term = Duration::from_secs(seconds);
    bench
}

/// Gives the host's lease to another run, as soon as `now` says so.
async fn take_away(bench: &Bench, now: impl Fn() -> bool) {
    const OTHER: &str = "01other 99 bob@desk boot 99999999 0\n";
    until(now).await;
    let file = install(bench).join("lease");
    // A renewal that read the lease just before may write it just after: no lock is held here.
    for _ in 0..10 {
        if fs::read_to_string(&file).ok().as_deref() != Some(OTHER) {
            fs::write(&file, OTHER).expect("writable");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_lease_that_went_to_another_controller_ends_the_controller_s_own_step() {
    let bench = short_leases(&Wire::default(), 4);
    let (begun, next) = (bench.folder.path().join("begun"), bench.folder.path().join("next"));
    let mut plan = plan_in(
        bench.folder.path(),
        &[format!("echo >{}", begun.display()), String::new(), format!("echo >{}", next.display())],
    );
    let wait = controller_step(json!({ "wait": { "for": "10m" } }));
    plan.hosts[0].steps[1].action = wait.action;
    // The controller's step waits, asked for under a lease that was good then.
    let waits = || bench.notes.state().hosts.values().any(|host| host.steps.len() == 2);
    let lease_is_old = async {
        until(waits).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        take_away(&bench, || true).await;
    };
    let (exit, ()) = tokio::join!(bench.apply(&plan), lease_is_old);
    assert_eq!(exit, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Unknown));
    assert!(failure(&bench).contains("bob@desk"), "{}", failure(&bench));
    assert!(!next.exists());
}

#[tokio::test]
async fn a_lease_that_went_to_another_controller_ends_the_checks() {
    let bench = short_leases(&Wire::default(), 4);
    let begun = bench.folder.path().join("begun");
    let mut plan = plan_in(bench.folder.path(), &[format!("echo no >>{}", begun.display())]);
    let mut gate = check(&format!("echo >{}; sleep 600", begun.display()));
    gate.timeout = Span::seconds(600);
    plan.hosts[0].gates = vec![gate];
    let (exit, ()) = tokio::join!(bench.apply(&plan), take_away(&bench, || begun.exists()));
    assert_eq!(exit, ExitCode::Refused, "{}", failure(&bench));
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Refused));
    assert_eq!(fs::read_to_string(&begun).expect("there"), "\n", "a step was begun");
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_ends_the_turn_and_leaves_what_runs_on_the_host() {
    let wire = Wire::default();
    wire.no_renewal.store(true, Ordering::SeqCst);
    let bench = short_leases(&wire, 2);
    let trace = bench.folder.path().join("trace");
    // On the host: it outlives the term, and is followed to its end.
    let plan = plan_in(bench.folder.path(), &[format!("sleep 4; echo done >>{}", trace.display())]);
    assert_eq!(bench.apply(&plan).await, ExitCode::Good, "{}", failure(&bench));
    assert_eq!(lines(&trace), 1);

    let bench = short_leases(&wire, 2);
    let mut plan = plan_in(bench.folder.path(), &["true".to_owned(), String::new()]);
    plan.hosts[0].steps[1].action = controller_step(json!({ "wait": { "for": "10m" } })).action;
    // Looking at the host is not begun under a lease that ran out.
    plan.hosts[0].steps[1].effect = Effect::Read;
    assert_eq!(bench.apply(&plan).await, ExitCode::PersonNeeded, "{}", failure(&bench));
    assert!(failure(&bench).contains("could not be renewed"), "{}", failure(&bench));
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Unknown));
    // Where nothing was under way, it is caught up like a host that could not be reached.
    wire.no_renewal.store(false, Ordering::SeqCst);
    let gone = bench.notes.state();
    assert!(gone.hosts[0].is_in_the_middle());
}

/// A plan whose one done step is taken back in two parts; the second needs `flag`.
fn two_part_undo(bench: &Bench, trace: &Path, second: &str) -> Plan {
    let mut plan = plan_in(bench.folder.path(), &["true".to_owned(), "false".to_owned()]);
    let first = bare_step(&format!("echo first >>{}", trace.display()));
    plan.hosts[0].steps[0].undo = PlannedUndo::By(vec![first, bare_step(second)]);
    plan
}

#[tokio::test]
async fn r51_an_undo_that_fails_leaves_the_host_stuck_and_goes_on_where_it_failed() {
    let bench = Bench::new(Wire::default());
    let (trace, flag) = (bench.folder.path().join("trace"), bench.folder.path().join("flag"));
    let second = format!("echo second >>{}; [ -e {} ]", trace.display(), flag.display());
    let plan = two_part_undo(&bench, &trace, &second);
    assert_eq!(bench.apply(&plan).await, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Stuck));
    assert_eq!(bench.resume(&plan, &["web-1"], "retry").await, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Stuck));
    fs::write(&flag, "").expect("writable");
    bench.resume(&plan, &["web-1"], "retry").await;
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone), "{}", failure(&bench));
    assert_eq!(fs::read_to_string(&trace).expect("there"), "first\nsecond\nsecond\nsecond\n");
}

#[tokio::test]
async fn r51_an_undo_that_was_stuck_and_then_cut_off_skips_no_part_and_runs_each_once() {
    let bench = Bench::new(Wire::default());
    let (trace, flag) = (bench.folder.path().join("trace"), bench.folder.path().join("flag"));
    let second = format!(
        "[ -e {flag} ] || exit 1; echo begun >>{trace}; sleep 2; echo second >>{trace}",
        flag = flag.display(),
        trace = trace.display()
    );
    let plan = two_part_undo(&bench, &trace, &second);
    assert_eq!(bench.apply(&plan).await, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Stuck));
    fs::write(&flag, "").expect("writable");
    bench.stop.send_replace(Stop::No);
    let (exit, ()) =
        tokio::join!(bench.resume(&plan, &["web-1"], "retry"), bench.stop_at(&trace, "begun", Stop::Detach));
    assert_eq!(exit, ExitCode::Interrupted);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Interrupted));
    bench.resume(&plan, &["web-1"], "resume").await;
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone), "{}", failure(&bench));
    assert_eq!(fs::read_to_string(&trace).expect("there"), "first\nbegun\nsecond\n");
}

#[tokio::test]
async fn r51_a_controller_that_dies_at_any_event_of_an_undo_leaves_no_part_out() {
    // Every prefix of the events is what a controller may have left behind; the host is as it was then.
    let bench = Bench::new(Wire::default());
    let trace = bench.folder.path().join("trace");
    let plan = two_part_undo(&bench, &trace, &format!("echo second >>{}", trace.display()));
    bench.apply(&plan).await;
    let events = bench.notes.events();
    let first = events.iter().position(|event| matches!(event.what, Happening::UndoStarted { .. })).expect("an undo");
    let last = events.iter().position(|event| matches!(event.what, Happening::UndoFinished { .. })).expect("its end");
    for length in first..=last {
        let bench = Bench::new(Wire::default());
        let trace = bench.folder.path().join("trace");
        let plan = two_part_undo(&bench, &trace, &format!("echo second >>{}", trace.display()));
        bench.notes.die_after(Some(length as u64));
        let died = apply(Arc::new(plan.clone()), Mode::Apply, bench.means.clone()).await;
        assert!(died.is_err(), "it did not die at event {length}");
        bench.notes.die_after(None);
        bench.resume(&plan, &["web-1"], "resume").await;
        assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone), "event {length}: {}", failure(&bench));
        assert_eq!(fs::read_to_string(&trace).expect("there"), "first\nsecond\n", "event {length}");
    }
}

#[tokio::test]
async fn r52_leaving_at_any_event_leaves_a_legal_state_and_resume_ends_as_without() {
    let texts = |bench: &Bench| -> Vec<String> {
        let trace = bench.folder.path().join("trace");
        ["one", "two"].map(|word| format!("echo {word} >>{}", trace.display())).to_vec()
    };
    let bench = Bench::new(Wire::default());
    bench.apply(&plan_in(bench.folder.path(), &texts(&bench))).await;
    let events = bench.notes.events().len() as u64;
    for (at, stop) in (1..events).flat_map(|at| [(at, Stop::Drain), (at, Stop::Detach)]) {
        let bench = Bench::new(Wire::default());
        let plan = plan_in(bench.folder.path(), &texts(&bench));
        let asked = async {
            until(|| bench.notes.state().sequence >= at).await;
            bench.stop.send_replace(stop);
        };
        let (_, ()) = tokio::join!(bench.apply(&plan), asked);
        let left = bench.notes.outcome("web-1");
        let legal = matches!(left, None | Some(HostOutcome::Interrupted | HostOutcome::Done));
        assert!(legal, "{stop:?} at event {at}: {left:?} {}", failure(&bench));
        if left != Some(HostOutcome::Done) {
            let exit = bench.resume(&plan, &["web-1"], "resume").await;
            assert_eq!(exit, ExitCode::Good, "{stop:?} at event {at}: {}", failure(&bench));
        }
        let trace = fs::read_to_string(bench.folder.path().join("trace")).expect("there");
        assert_eq!(trace, "one\ntwo\n", "{stop:?} at event {at}");
    }
}
