//! Durable steps on real shells of this machine: nothing runs twice, nothing is forgotten.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use super::*;
use crate::transport::{ByteStream, Ended, Output, Peer, Session, local::LocalTransport};

/// Reaches this machine, and loses the link when it is told to.
#[derive(Clone, Default)]
pub(super) struct Wire {
    /// Cuts the link this long after a segment was sent; so many times.
    cuts: Arc<AtomicU32>,
    /// Answers every question about a segment with nonsense.
    is_garbled: Arc<AtomicBool>,
    /// Answers every request to renew a lease with nonsense.
    pub(super) no_renewal: Arc<AtomicBool>,
}

#[async_trait]
impl Transport for Wire {
    async fn connect(&self, target: &Target, within: Duration) -> Result<Arc<dyn Session>, TransportError> {
        let inner = LocalTransport::new().connect(target, within).await?;
        Ok(Arc::new(Wired { inner, wire: self.clone(), is_cut: AtomicBool::new(false) }))
    }
}

struct Wired {
    inner: Arc<dyn Session>,
    wire: Wire,
    is_cut: AtomicBool,
}

#[async_trait]
impl Session for Wired {
    async fn run(&self, exec: Exec, output: &mut (dyn Output + '_)) -> Result<Ended, TransportError> {
        let Program::Script(text) = &exec.program else { return self.inner.run(exec, output).await };
        let follows = text.contains("follow_one");
        if follows && self.wire.is_garbled.load(Ordering::SeqCst) {
            return self.inner.run(Exec::script("echo no"), output).await;
        }
        if text.lines().any(|line| line.trim() == "renew") && self.wire.no_renewal.load(Ordering::SeqCst) {
            return self.inner.run(Exec::script("echo no"), output).await;
        }
        let cut = follows
            && self.wire.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if !cut {
            return self.inner.run(exec, output).await;
        }
        tokio::select! {
            ended = self.inner.run(exec, output) => ended,
            () = tokio::time::sleep(Duration::from_millis(400)) => {
                self.is_cut.store(true, Ordering::SeqCst);
                Err(TransportError::LinkLost { source: None })
            }
        }
    }

    async fn open_tcp(&self, address: &str, port: u16) -> Result<Box<dyn ByteStream>, TransportError> {
        self.inner.open_tcp(address, port).await
    }

    fn is_closed(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    fn peer(&self) -> &Peer {
        self.inner.peer()
    }

    async fn close(&self) {}
}

/// A plan for one host that keeps its state below `folder`, and steps that must not run twice.
pub(super) fn plan_in(folder: &Path, texts: &[String]) -> Plan {
    let steps = texts.iter().map(|text| PlannedStep { name: "s".to_owned(), repeat_safe: false, ..bare_step(text) });
    let mut plan = plan(&[&["web-1"]], steps.collect());
    plan.hosts[0].state_dir = Some(folder.join("state").to_string_lossy().into_owned());
    plan.seal()
}

pub(super) fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn a_step_runs_once_though_the_link_is_lost_again_and_again() {
    let wire = Wire::default();
    wire.cuts.store(3, Ordering::SeqCst);
    let bench = Bench::new(wire);
    let trace = bench.folder.path().join("trace");
    let text = format!("echo begun >>{0}; sleep 2; echo done >>{0}", trace.display());
    let plan = plan_in(bench.folder.path(), &[text, format!("echo next >>{}", trace.display())]);
    assert_eq!(bench.apply(&plan).await, ExitCode::Good);
    assert_eq!(fs::read_to_string(&trace).expect("it ran"), "begun\ndone\nnext\n");
    assert!(bench.notes.events().iter().filter(|event| matches!(event.what, Happening::LinkLost { .. })).count() >= 3);
}

#[tokio::test]
async fn a_host_that_answers_nonsense_is_left_to_a_person_and_not_asked_for_ever() {
    let wire = Wire::default();
    wire.is_garbled.store(true, Ordering::SeqCst);
    let bench = Bench::new(wire);
    let plan = plan_in(bench.folder.path(), &["true".to_owned()]);
    let exit = tokio::time::timeout(Duration::from_secs(60), bench.apply(&plan)).await.expect("it ends");
    assert_eq!(exit, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Unknown));
}

#[tokio::test]
async fn a_step_killed_from_outside_is_unknown_and_resume_does_not_begin_it_again() {
    let bench = Bench::new(Wire::default());
    let trace = bench.folder.path().join("trace");
    // It kills its own supervisor, which alone knows the result.
    let text = format!("echo begun >>{}; kill -9 $PPID; exit 0", trace.display());
    let plan = plan_in(bench.folder.path(), &[text]);
    assert_eq!(bench.apply(&plan).await, ExitCode::PersonNeeded);
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Unknown));
    for _ in 0..2 {
        assert_eq!(bench.resume(&plan, &["web-1"], "resume").await, ExitCode::PersonNeeded);
        assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Unknown));
    }
    // Not even where the host has lost what it knew.
    fs::remove_dir_all(bench.folder.path().join("state")).expect("it is there");
    assert_eq!(bench.resume(&plan, &["web-1"], "resume").await, ExitCode::PersonNeeded);
    assert_eq!(lines(&trace), 1);
}

#[tokio::test]
async fn a_failure_that_nobody_acted_on_yet_is_not_a_reason_to_begin_the_step_again() {
    let texts = |bench: &Bench| format!("echo begun >>{}; kill -9 $$", bench.folder.path().join("trace").display());
    let bench = Bench::new(Wire::default());
    bench.apply(&plan_in(bench.folder.path(), &[texts(&bench)])).await;
    let whole = bench.notes.events();
    let first = whole.iter().position(|event| matches!(event.what, Happening::StepFinished { .. })).expect("its end");
    for length in first..whole.len() {
        let bench = Bench::new(Wire::default());
        let plan = plan_in(bench.folder.path(), &[texts(&bench)]);
        bench.notes.die_after(Some(length as u64));
        let died = apply(Arc::new(plan.clone()), Mode::Apply, bench.means.clone()).await;
        assert!(died.is_err(), "it did not die at event {length}");
        bench.notes.die_after(None);
        if bench.notes.outcome("web-1").is_none() {
            bench.resume(&plan, &["web-1"], "resume").await;
        }
        assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone), "event {length}");
        assert_eq!(lines(&bench.folder.path().join("trace")), 1, "event {length}");
        // A person's word is another matter.
        bench.resume(&plan, &["web-1"], "retry").await;
        assert_eq!(lines(&bench.folder.path().join("trace")), 2, "event {length}");
    }
}

#[tokio::test]
async fn a_repeat_safe_step_that_was_lost_runs_again_and_the_steps_after_it_keep_their_numbers() {
    let bench = Bench::new(Wire::default());
    let trace = bench.folder.path().join("trace");
    let first = format!("echo begun >>{0}; [ \"$(wc -l <{0})\" -gt 1 ] || kill -9 $PPID", trace.display());
    let mut plan = plan_in(bench.folder.path(), &[first, format!("echo next >>{}", trace.display())]);
    plan.hosts[0].steps[0].repeat_safe = true;
    assert_eq!(bench.apply(&plan).await, ExitCode::Good);
    assert_eq!(fs::read_to_string(&trace).expect("it ran"), "begun\nbegun\nnext\n");
}

#[tokio::test]
async fn what_an_undo_needs_outlives_an_interruption() {
    let bench = Bench::new(Wire::default());
    let file = bench.folder.path().join("motd");
    fs::write(&file, "old\n").expect("writable");
    let mut plan = plan_in(bench.folder.path(), &["true".to_owned(), "sleep 1".to_owned(), "false".to_owned()]);
    let step = &mut plan.hosts[0].steps[0];
    let action = json!({ "file": { "to": file.to_string_lossy(), "content": "new\n" } });
    step.action = serde_json::from_value(action).expect("a file step");
    step.undo = PlannedUndo::ByProgram;
    let stopping = async {
        until(|| fs::read_to_string(&file).is_ok_and(|text| text == "new\n")).await;
        bench.stop.send_replace(Stop::Drain);
    };
    let (exit, ()) = tokio::join!(bench.apply(&plan), stopping);
    assert_eq!(exit, ExitCode::Interrupted);
    assert_eq!(fs::read_to_string(&file).expect("there"), "new\n");
    bench.resume(&plan, &["web-1"], "resume").await;
    assert_eq!(bench.notes.outcome("web-1"), Some(HostOutcome::Undone));
    assert_eq!(fs::read_to_string(&file).expect("there"), "old\n");
}

#[tokio::test]
async fn a_large_file_is_there_before_its_step_is_sent() {
    let bench = Bench::new(Wire::default());
    let (from, to) = (bench.folder.path().join("large"), bench.folder.path().join("there"));
    let content: Vec<u8> = (0..5 * 1024 * 1024_u32).map(|i| (i * 7 % 253) as u8).collect();
    fs::write(&from, &content).expect("writable");
    let mut plan = plan_in(bench.folder.path(), &["true".to_owned()]);
    let action = json!({ "file": { "to": to.to_string_lossy(), "from": "large" } });
    let mut action: crate::steps::Action = serde_json::from_value(action).expect("a file step");
    action.kind_mut().load_rendered(bench.folder.path()).expect("readable");
    plan.hosts[0].steps[0].action = action;
    assert_eq!(bench.apply(&plan).await, ExitCode::Good, "{:?}", bench.notes.state().hosts[0].failure);
    assert!(fs::read(&to).expect("there") == content);
}

#[tokio::test]
async fn the_lease_is_given_back_whatever_the_end() {
    for text in ["true", "false"] {
        let bench = Bench::new(Wire::default());
        let plan = plan_in(bench.folder.path(), &[text.to_owned()]);
        bench.apply(&plan).await;
        let key = crate::durable::InstallKey::of(&["web-1"]);
        let lease = fs::read_to_string(bench.folder.path().join("state").join(key.as_str()).join("lease"));
        assert!(lease.expect("one was taken").starts_with("- "), "{text}");
    }
}
