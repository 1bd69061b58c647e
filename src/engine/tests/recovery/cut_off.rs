//! What changes data or holds a host, cut off at each of its events and gone on with.

use super::*;
use crate::{
    engine::{Finished, apply_approved, rollback},
    model::RunNumber,
};

impl Install {
    /// How often something was done.
    fn count(&self, what: &str) -> usize {
        self.read("trace").split(' ').filter(|done| *done == what).count()
    }

    /// Nothing of what was written since the backup is lost: it is in the data, or in the copy of it.
    fn nothing_is_lost(&self) -> bool {
        ["data", "copy"].iter().any(|file| self.read(file) == "old new today")
    }
}

#[tokio::test]
async fn s_44_a_restore_that_is_cut_off_anywhere_goes_on_and_copies_and_restores_once() {
    let mut cuts = 0;
    loop {
        let install = held().await;
        install.write("data", "old\nnew\ntoday\n");
        let (notes, approval) = (&install.bench.notes, install.approval());
        notes.die_after(Some(notes.state().sequence + cuts));
        let choices =
            BTreeMap::from([(name("web-1"), Choice { way: Some(Way::Restore), approval: Some(approval.clone()) })]);
        let plan = Arc::new(install.plan.clone());
        let whole =
            go_on(plan, notes.state(), choices, Way::Restore.as_str(), install.bench.means.clone()).await.is_ok();
        notes.die_after(None);
        assert!(install.nothing_is_lost(), "cut off after {cuts} events: {}", install.read("data"));
        if cuts == 0 && !whole {
            // Not one word of it was recorded: the host is held as before, and `resume` leaves it alone.
            assert_eq!(install.outcome(), HostOutcome::Held);
            install.go_on(Way::Restore, Some(approval)).await;
        } else if !whole {
            let hosts: &[_] = if notes.state().hosts[&name("web-1")].goes_on() { &["web-1"] } else { &[] };
            install.bench.resume(&install.plan, hosts, "resume").await;
            if cuts == 1 {
                // The choice was recorded and the approval not: nothing goes forward, and nothing is restored.
                assert!(install.why().contains("nobody approved"), "{}", install.why());
                install.go_on(Way::Restore, Some(approval)).await;
            }
        }
        assert_eq!(install.outcome(), HostOutcome::Undone, "cut off after {cuts} events: {}", install.why());
        assert_eq!([install.read("code"), install.read("data")], ["1", "old"], "cut off after {cuts} events");
        assert_eq!(install.read("copy"), "old new today", "cut off after {cuts} events");
        assert_eq!([install.count("copy"), install.count("restore")], [1, 1], "cut off after {cuts} events");
        if whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 12, "only {cuts} events");
}

#[tokio::test]
async fn s_44_a_rollback_with_data_that_is_cut_off_anywhere_goes_on_and_copies_and_restores_once() {
    let mut cuts = 0;
    loop {
        let install = Install::new(MIGRATE, "echo switch >>trace");
        assert_eq!(install.apply().await, HostOutcome::Done);
        install.write("data", "old\nnew\ntoday\n");
        let state = install.bench.notes.state();
        let finished =
            Finished { id: &install.bench.means.run, number: RunNumber(1), plan: &install.plan, state: &state };
        let (back, _) = rollback(finished, &[name("web-1")], Timestamp::UNIX_EPOCH);
        let back = Arc::new(back.expect("it can be taken back"));
        let notes = Arc::new(Notes::default());
        let means = Means {
            recorder: Arc::clone(&notes) as Arc<dyn Recorder>,
            run: RunId::generate(),
            ..install.bench.means.clone()
        };
        notes.die_after(Some(cuts));
        let approvals = BTreeMap::from([(name("web-1"), install.approval())]);
        let whole = apply_approved(Arc::clone(&back), approvals, Mode::Apply, means.clone()).await.is_ok();
        notes.die_after(None);
        assert!(install.nothing_is_lost(), "cut off after {cuts} events: {}", install.read("data"));
        if !whole {
            let choices = BTreeMap::from([(name("web-1"), Choice::approved(Some(install.approval())))]);
            let choices = if notes.outcomes().first().is_some_and(|(_, outcome)| outcome.is_some()) {
                BTreeMap::new()
            } else {
                choices
            };
            go_on(back, notes.state(), choices, "resume", means).await.expect("events in a legal order");
        }
        assert_eq!(notes.outcome("web-1"), Some(HostOutcome::Done), "cut off after {cuts} events");
        assert_eq!([install.read("code"), install.read("data")], ["1", "old"], "cut off after {cuts} events");
        assert_eq!(install.read("copy"), "old new today", "cut off after {cuts} events");
        assert_eq!([install.count("copy"), install.count("restore")], [1, 1], "cut off after {cuts} events");
        if whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 12, "only {cuts} events");
}

/// An install whose release answers at first, and not any more in its soak.
fn ill_in_its_soak(migrate: &str) -> Install {
    let mut install = Install::new(migrate, "echo switch >>trace");
    let folder = install.path("").display().to_string();
    let look = format!("cd {folder}; [ $(cat code) = 1 ] || {{ echo >>looks; [ $(wc -l <looks) -le 1 ]; }}");
    install.host().checks = vec![check(&look)];
    let wave = &mut install.plan.waves[0];
    wave.soak = Span::seconds(1);
    wave.watch = Watch { every: Span::seconds(1), red: 1, control: 0, ..Watch::default() };
    install.plan = install.plan.clone().seal();
    install
}

#[tokio::test]
async fn g_32_g_33_a_host_that_fails_in_its_soak_after_its_data_moved_is_made_safe_and_held() {
    let install = ill_in_its_soak(MIGRATE);
    assert_eq!(install.apply().await, HostOutcome::Held);
    assert_eq!(install.read("trace"), "pin migrate switch stop keep");
    assert_eq!(install.read("evidence"), "old new");
    assert!(install.why().contains("done by itself since: `Stop`, `Keep evidence`"), "{}", install.why());
    // It goes on as any held host does.
    assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Undone);
    assert_eq!([install.read("code"), install.read("data")], ["1", "old"]);
}

#[tokio::test]
async fn g_29_a_host_that_fails_in_its_soak_is_taken_back_while_the_migration_head_did_not_move() {
    let install = ill_in_its_soak("echo migrate >>trace");
    assert_eq!(install.apply().await, HostOutcome::Undone, "{}", install.why());
    assert_eq!(install.read("trace"), "pin migrate switch switch-back unpin");
}

#[tokio::test]
async fn g_37_a_soak_s_failure_that_is_cut_off_anywhere_points_no_code_back_over_moved_data() {
    let whole = ill_in_its_soak(MIGRATE);
    whole.apply().await;
    let soaks = |event: &&Event| matches!(event.what, Happening::SoakStarted { .. });
    let begun = whole.bench.notes.events().iter().find(soaks).expect("a soak").sequence;
    let mut cuts = 0;
    loop {
        let install = ill_in_its_soak(MIGRATE);
        let notes = &install.bench.notes;
        notes.die_after(Some(begun + cuts));
        let plan = Arc::new(install.plan.clone());
        let whole = apply(plan, Mode::Apply, install.bench.means.clone()).await.is_ok();
        notes.die_after(None);
        if !whole {
            let open = notes.state().hosts[&name("web-1")].goes_on();
            let hosts = if open { &["web-1"][..] } else { &[] };
            install.bench.resume(&install.plan, hosts, "resume").await;
        }
        assert_eq!(install.outcome(), HostOutcome::Held, "cut off after {cuts} events: {}", install.why());
        assert_eq!(install.read("trace"), "pin migrate switch stop keep", "cut off after {cuts} events");
        if whole {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 8, "only {cuts} events");
}
