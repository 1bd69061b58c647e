//! Receipts, incidents and the ways on, with plain files and real shells of this machine.

use std::{collections::BTreeMap, fs};

mod cut_off;
mod hops;

use super::*;
use crate::{
    engine::{Choice, go_on},
    model::{Approval, StepPart, Way},
    plan::{Recovery, Requirement},
    transport::local::LocalTransport,
};

/// An install: a file of code, a file of data with its migration head, and a trace of what was done.
struct Install {
    bench: Bench,
    plan: Plan,
}

const BACK_UP: &str = r#"cp data backup
echo "longshore-receipt file $PWD/backup"
echo "longshore-receipt size $(($(wc -c <backup)))"
echo "longshore-receipt sha256 $(sha256sum backup | cut -d ' ' -f 1)"
echo "longshore-receipt verified read to its end""#;

impl Install {
    fn new(migrate: &str, switch: &str) -> Self {
        let mut bench = Bench::new(LocalTransport::new());
        bench.means.now = Arc::new(|| Timestamp::UNIX_EPOCH);
        let folder = bench.folder.path().join("app");
        fs::create_dir(&folder).expect("a folder");
        let command =
            |run: &str| serde_json::from_value(json!({ "command": { "run": run, "dir": folder } })).expect("a command");
        let named = |name: &str, run: &str| PlannedStep {
            name: name.to_owned(),
            repeat_safe: false,
            action: command(run),
            ..bare_step(name)
        };
        let with_undo =
            |step: PlannedStep, undo: &str| PlannedStep { undo: PlannedUndo::By(vec![named("undo", undo)]), ..step };
        let requires = |step: PlannedStep| {
            let needed = Requirement { receipt: "Back up".to_owned(), younger_than: Some(Span::seconds(600)) };
            PlannedStep { requires: vec![needed], ..step }
        };
        let data = |step: PlannedStep| PlannedStep { effect: Effect::Data, ..step };
        let steps = vec![
            PlannedStep { effect: Effect::Read, ..named("Back up", BACK_UP) },
            with_undo(named("Pin", "echo 2 >code; echo pin >>trace"), "echo 1 >code; echo unpin >>trace"),
            data(requires(named("Migrate", migrate))),
            with_undo(named("Switch", switch), "echo switch-back >>trace"),
        ];
        let mut plan = plan(&[&["web-1"]], steps);
        let of = plan.hosts.get_index_mut(0).expect("a host").1;
        of.state_dir = Some(bench.folder.path().join("state").to_string_lossy().into_owned());
        of.migration = Some(Box::new(command("cat head")));
        let restore =
            "echo restore >>trace; [ ! -e no-restore ]; cp \"$LONGSHORE_RECEIPT_FILE\" data.new; mv data.new data";
        of.recovery = Recovery {
            incident: vec![
                with_undo(named("Stop", "echo stop >>trace"), "echo start >>trace"),
                PlannedStep { effect: Effect::Read, ..named("Keep evidence", "cp data evidence; echo keep >>trace") },
            ],
            safety_copy: vec![named(
                "Copy",
                "cp data copy; echo copy >>trace; echo \"longshore-receipt file $PWD/copy\"",
            )],
            restore: vec![data(requires(named("Restore", restore)))],
            ..Recovery::default()
        };
        for (index, step) in of.recovery.incident.iter_mut().enumerate() {
            step.part = StepPart::Incident;
            step.id = StepId::new(10 + index, &step.name);
        }
        for (index, (part, step)) in
            [(StepPart::SafetyCopy, &mut of.recovery.safety_copy[0]), (StepPart::Restore, &mut of.recovery.restore[0])]
                .into_iter()
                .enumerate()
        {
            step.part = part;
            step.id = StepId::new(20 + index, &step.name);
        }
        // A restore takes the backup however old it is by then.
        of.recovery.restore[0].requires[0].younger_than = None;
        let install = Self { bench, plan: plan.seal() };
        for (file, text) in [("data", "old\n"), ("head", "1\n"), ("code", "1\n"), ("trace", "")] {
            install.write(file, text);
        }
        install
    }

    fn host(&mut self) -> &mut HostPlan {
        self.plan.hosts.get_index_mut(0).expect("a host").1
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.bench.folder.path().join("app").join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("written");
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    async fn apply(&self) -> HostOutcome {
        self.bench.apply(&self.plan).await;
        self.outcome()
    }

    async fn go_on(&self, way: Way, approval: Option<Approval>) -> HostOutcome {
        let choices = BTreeMap::from([(name("web-1"), Choice { way: Some(way), approval })]);
        let plan = Arc::new(self.plan.clone());
        let gone = go_on(plan, self.bench.notes.state(), choices, way.as_str(), self.bench.means.clone());
        gone.await.expect("events in a legal order");
        self.outcome()
    }

    fn outcome(&self) -> HostOutcome {
        self.bench.notes.outcome("web-1").expect("it ended")
    }

    /// Everything the table says about why.
    fn why(&self) -> String {
        self.bench.notes.state().hosts[&name("web-1")].failure.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// A person's word for the backup of this run.
    fn approval(&self) -> Approval {
        let state = self.bench.notes.state();
        let step = state.hosts[&name("web-1")].steps.get(&StepId::new(0, "Back up"));
        let backup = step.and_then(|step| step.ended);
        Approval {
            action: "restore".to_owned(),
            by: "anna".to_owned(),
            how: "typed".to_owned(),
            backup,
            steps: Vec::new(),
            to: None,
        }
    }
}

const MIGRATE: &str = "echo new >>data; echo 2 >head; echo migrate >>trace";
const BROKEN: &str = "echo switch >>trace; [ ! -e broken ]";

/// An install whose migration moved its head, and whose new release does not start.
async fn held() -> Install {
    let install = Install::new(MIGRATE, BROKEN);
    install.write("broken", "");
    assert_eq!(install.apply().await, HostOutcome::Held);
    install
}

#[tokio::test]
async fn g_29_f_11_f_12_code_is_taken_back_by_itself_while_the_migration_head_did_not_move() {
    let install = Install::new("echo cached >>trace", BROKEN);
    install.write("broken", "");
    assert_eq!(install.apply().await, HostOutcome::Undone);
    assert_eq!(install.read("trace"), "pin cached switch switch-back unpin");
    assert_eq!([install.read("code"), install.read("data")], ["1", "old"]);
    let why = install.why();
    assert!(why.contains("data stays as `Migrate` left it (its migrations did not move: 1)"), "{why}");
}

#[tokio::test]
async fn g_29_a_release_marked_backward_compatible_is_taken_back_and_the_table_says_that_data_stays_new() {
    let mut install = Install::new(MIGRATE, BROKEN);
    install.host().steps[2].backward_compatible = true;
    install.write("broken", "");
    assert_eq!(install.apply().await, HostOutcome::Undone);
    assert_eq!([install.read("code"), install.read("data")], ["1", "old new"]);
    let why = install.why();
    assert!(why.contains("data stays as `Migrate` left it (the release is marked `backward-compatible`)"), "{why}");
}

#[tokio::test]
async fn g_29_a_head_that_cannot_be_read_counts_as_moved() {
    let install = Install::new("rm head; echo half >>data; exit 1", BROKEN);
    assert_eq!(install.apply().await, HostOutcome::Held);
    assert!(install.why().contains("its migrations were at 1, now unknown"), "{}", install.why());
}

#[tokio::test]
async fn g_30_g_32_g_33_g_37_after_migrations_the_release_is_stopped_evidence_kept_and_a_person_asked() {
    let install = held().await;
    assert_eq!(install.read("trace"), "pin migrate switch stop keep");
    assert_eq!([install.read("code"), install.read("data"), install.read("evidence")], ["2", "old new", "old new"]);
    let why = install.why();
    for said in [
        "step `Switch` failed",
        "data was changed by `Migrate`; its migrations were at 1, now 2",
        "done by itself since: `Stop`, `Keep evidence`",
        "the backup of this run: `Back up`, 19",
        "verified: read to its end",
    ] {
        assert!(why.contains(said), "{said:?} is not in {why}");
    }
    // The steps of the incident are not steps of the plan.
    let state = install.bench.notes.state();
    let host = &state.hosts[&name("web-1")];
    assert_eq!((host.steps_reached(), host.steps_total), (3, 4));
}

#[tokio::test]
async fn g_33_a_step_of_the_incident_that_fails_keeps_none_of_the_others_from_running() {
    let mut install = Install::new(MIGRATE, BROKEN);
    install.host().recovery.incident[0].action =
        serde_json::from_value(json!({ "command": "exit 7" })).expect("a command");
    install.write("broken", "");
    assert_eq!(install.apply().await, HostOutcome::Held);
    assert_eq!(install.read("evidence"), "old new");
    assert!(
        install.why().contains("`Stop` could not be done for the incident: it ended with status 7"),
        "{}",
        install.why()
    );
}

#[tokio::test]
async fn g_34_roll_forward_takes_the_incident_back_and_goes_on_with_the_step_that_failed() {
    let install = held().await;
    // Nothing was mended: it fails again, and what is kept is kept anew.
    install.write("data", "older\n");
    assert_eq!(install.go_on(Way::RollForward, None).await, HostOutcome::Held);
    assert_eq!(install.read("trace"), "pin migrate switch stop keep start switch stop keep");
    assert_eq!(install.read("evidence"), "older");
    fs::remove_file(install.path("broken")).expect("mended");
    assert_eq!(install.go_on(Way::RollForward, None).await, HostOutcome::Done);
    assert!(install.read("trace").ends_with("stop keep start switch"), "{}", install.read("trace"));
    assert_eq!(install.read("code"), "2");
}

#[tokio::test]
async fn g_34_g_26_code_rollback_takes_the_code_back_and_leaves_data_alone() {
    let install = held().await;
    assert_eq!(install.go_on(Way::CodeRollback, None).await, HostOutcome::Undone);
    assert_eq!(install.read("trace"), "pin migrate switch stop keep switch-back unpin start");
    assert_eq!([install.read("code"), install.read("data")], ["1", "old new"]);
    assert!(install.why().contains("data stays as `Migrate` left it"), "{}", install.why());
}

#[tokio::test]
async fn g_34_f_30_t_22_s_44_restore_copies_first_then_puts_back_the_run_s_own_backup_and_the_code() {
    let install = held().await;
    let approval = Some(install.approval());
    assert_eq!(install.go_on(Way::Restore, approval).await, HostOutcome::Undone);
    assert_eq!(install.read("trace"), "pin migrate switch stop keep copy restore switch-back unpin start");
    assert_eq!([install.read("code"), install.read("data"), install.read("copy")], ["1", "old", "old new"]);
    assert!(install.why().contains("the data of the run's own backup was put back"), "{}", install.why());
}

#[tokio::test]
async fn g_36_t_24_without_an_approval_of_this_very_backup_nothing_is_restored() {
    let install = held().await;
    let other = Some(Approval { backup: Some(Timestamp::MAX), ..install.approval() });
    for approval in [None, other] {
        assert_eq!(install.go_on(Way::Restore, approval).await, HostOutcome::Held);
        assert_eq!(install.read("trace"), "pin migrate switch stop keep");
        assert!(install.why().contains("nobody approved putting back the backup"), "{}", install.why());
    }
}

#[tokio::test]
async fn f_31_s_43_a_newer_foreign_dump_in_place_of_the_backup_is_not_restored() {
    let install = held().await;
    install.write("backup", "foreign\n");
    assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Held);
    assert_eq!([install.read("data"), install.read("trace")], ["old new", "pin migrate switch stop keep copy"]);
    let why = install.why();
    assert!(why.contains("nothing was restored") && why.contains("bytes, not 4"), "{why}");
}

#[tokio::test]
async fn s_44_a_restore_that_fails_names_the_copy_and_does_not_make_it_twice() {
    let install = held().await;
    install.write("no-restore", "");
    assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Held);
    let why = install.why();
    assert!(why.contains("restoring failed at `Restore`") && why.contains("/copy"), "{why}");
    assert_eq!(install.read("copy"), "old new");
    // Half restored data must not become the only copy.
    install.write("data", "half\n");
    fs::remove_file(install.path("no-restore")).expect("mended");
    assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Undone);
    assert_eq!([install.read("copy"), install.read("data")], ["old new", "old"]);
}

#[tokio::test]
async fn s_44_no_copy_no_restore() {
    for (copy, why) in [
        ("exit 1", "the copy of the data as it is now was not made"),
        ("cp data copy", "the safety copy left no receipt"),
        ("echo \"longshore-receipt file $PWD/backup\"", "the safety copy went into the very file of the backup"),
    ] {
        let mut install = Install::new(MIGRATE, BROKEN);
        let dir = install.path("");
        install.host().recovery.safety_copy[0].action =
            serde_json::from_value(json!({ "command": { "run": copy, "dir": dir } })).expect("a command");
        install.write("broken", "");
        assert_eq!(install.apply().await, HostOutcome::Held);
        assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Held);
        assert!(install.why().contains(why), "{}", install.why());
        assert_eq!(install.read("data"), "old new");
    }
}

#[tokio::test]
async fn f_16_g_35_r59_no_data_step_starts_without_a_verified_receipt_that_still_holds() {
    for (backup, why) in [
        ("cp data backup", "there is no receipt of `Back up`"),
        ("echo \"longshore-receipt file $PWD/data\"", "does not say what verified it"),
        ("echo \"longshore-receipt verified no\"; echo \"longshore-receipt file $PWD/gone\"", "is not there any more"),
        (
            "cp data backup; echo \"longshore-receipt verified yes\"; echo \"longshore-receipt file $PWD/backup\"\n\
             echo longshore-receipt size 9",
            "has 4 bytes, not 9",
        ),
    ] {
        let mut install = Install::new(MIGRATE, BROKEN);
        let dir = install.path("");
        install.host().steps[0].action =
            serde_json::from_value(json!({ "command": { "run": backup, "dir": dir } })).expect("a command");
        assert_eq!(install.apply().await, HostOutcome::Undone, "{why}");
        assert_eq!(install.read("trace"), "pin unpin", "the command started: {why}");
        assert!(install.why().contains(why), "{}", install.why());
    }
}

#[tokio::test]
async fn f_16_a_receipt_s_age_is_counted_from_when_its_step_ended_also_after_the_run_was_taken_up_again() {
    let mut install = Install::new("echo migrate >>trace; exit 1", BROKEN);
    install.plan.rollout.before_data = BeforeData::Hold;
    assert_eq!(install.apply().await, HostOutcome::Held);
    // Taken up again in time, it counts; an hour later it does not.
    install.bench.resume(&install.plan, &["web-1"], "retry").await;
    assert_eq!(install.read("trace"), "pin migrate migrate");
    install.bench.means.now = Arc::new(|| Timestamp::from_second(3600).expect("a time"));
    install.bench.resume(&install.plan, &["web-1"], "retry").await;
    assert_eq!(install.read("trace"), "pin migrate migrate");
    assert!(install.why().contains("the receipt of `Back up` is not younger than 10m"), "{}", install.why());
}

#[tokio::test]
async fn values_of_a_receipt_reach_the_step_that_relies_on_it_as_variables() {
    let install =
        Install::new("printf '%s %s' \"$LONGSHORE_RECEIPT_SIZE\" \"$LONGSHORE_RECEIPT_VERIFIED\" >said", "true");
    assert_eq!(install.apply().await, HostOutcome::Done);
    assert_eq!(install.read("said"), "4 read to its end");
}

#[tokio::test]
async fn s_44_a_restore_after_another_incident_copies_and_restores_the_data_of_now() {
    let install = held().await;
    install.write("no-restore", "");
    assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Held);
    assert_eq!(install.go_on(Way::RollForward, None).await, HostOutcome::Held);
    install.write("data", "newer\n");
    fs::remove_file(install.path("no-restore")).expect("mended");
    assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Undone);
    assert_eq!([install.read("copy"), install.read("data")], ["newer", "old"]);
}

#[tokio::test]
async fn g_36_what_cannot_be_taken_back_is_not_begun_without_an_approval_of_exactly_that() {
    let mut install = Install::new(MIGRATE, "echo switch >>trace");
    install.host().steps[2].effect = Effect::Irreversible;
    install.plan = install.plan.clone().seal();
    assert_eq!(install.apply().await, HostOutcome::Refused);
    assert!(install.why().contains("nobody approved what cannot be taken back: `Migrate`"), "{}", install.why());
    let approval = Approval { action: "irreversible".to_owned(), backup: None, ..install.approval() };
    let go_on = async |steps: &[&str]| {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        let choice = Choice { way: None, approval: Some(Approval { steps, ..approval.clone() }) };
        let choices = BTreeMap::from([(name("web-1"), choice)]);
        let (plan, state) = (Arc::new(install.plan.clone()), install.bench.notes.state());
        go_on(plan, state, choices, "retry", install.bench.means.clone()).await.expect("events in a legal order");
        install.outcome()
    };
    assert_eq!(go_on(&["Switch"]).await, HostOutcome::Refused);
    assert_eq!(install.read("trace"), "");
    assert_eq!(go_on(&["Migrate"]).await, HostOutcome::Done);
    assert_eq!(install.read("trace"), "pin migrate switch");
}

#[tokio::test]
async fn a_host_whose_data_was_put_back_goes_forward_again_with_a_backup_and_a_migration_of_its_own() {
    let install = held().await;
    assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Undone);
    install.write("data", "younger\n");
    fs::remove_file(install.path("broken")).expect("mended");
    install.bench.resume(&install.plan, &["web-1"], "retry").await;
    assert_eq!(install.outcome(), HostOutcome::Done, "{}", install.why());
    assert_eq!([install.read("data"), install.read("backup")], ["younger new", "younger"]);
}

#[tokio::test]
async fn a_host_whose_code_alone_was_taken_back_goes_forward_again_without_changing_its_data_twice() {
    let install = held().await;
    assert_eq!(install.go_on(Way::CodeRollback, None).await, HostOutcome::Undone);
    install.write("trace", "");
    // It fails once more: its data moved in this run, and that is not forgotten.
    install.bench.resume(&install.plan, &["web-1"], "retry").await;
    assert_eq!(install.read("trace"), "pin switch switch-back unpin", "{}", install.why());
    assert!(install.why().contains("data stays as `Migrate` left it"), "{}", install.why());
    fs::remove_file(install.path("broken")).expect("mended");
    install.bench.resume(&install.plan, &["web-1"], "retry").await;
    assert_eq!(install.outcome(), HostOutcome::Done, "{}", install.why());
    assert_eq!([install.read("data"), install.read("backup")], ["old new", "old"]);
    assert_eq!(install.read("trace"), "pin switch switch-back unpin pin switch");
}
