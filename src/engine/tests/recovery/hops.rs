//! Which backup counts where a way has several hops.

use super::*;
use crate::{
    engine::{Finished, backup_of, rollback},
    model::RunNumber,
};

/// An install that goes two hops. Each hop's backup is a file of its own; the release of the second may be broken.
fn two_hops() -> Install {
    let switch = "echo between >>data; echo switch >>trace; [ $(grep -c switch trace) = 1 ] || [ ! -e broken ]";
    let mut install = Install::new(MIGRATE, switch);
    let of = install.host();
    let hops = (0..2).flat_map(|hop| {
        let mut steps = of.steps.clone();
        for step in &mut steps {
            let action = serde_json::to_string(&step.action).expect("text").replace("backup", &format!("backup-{hop}"));
            step.action = serde_json::from_str(&action).expect("an action");
            step.hop = Some(hop);
        }
        steps
    });
    of.steps = numbered(hops.collect());
    install
}

fn backup(install: &Install) -> String {
    let state = install.bench.notes.state();
    let (host, of) = (name("web-1"), &install.plan.hosts[0]);
    let backup = backup_of(of, &state.hosts[&host]).expect("there is one");
    backup.receipt.get("file").and_then(|file| file.rsplit('/').next()).expect("a file").to_owned()
}

#[tokio::test]
async fn a_restore_goes_back_over_all_hops_and_so_to_the_backup_of_the_first_that_changed_data() {
    let mut install = two_hops();
    install.plan = install.plan.clone().seal();
    install.write("broken", "");
    assert_eq!(install.apply().await, HostOutcome::Held);
    assert_eq!(install.read("backup-1"), "old new between", "the second hop made one of its own");
    assert_eq!(backup(&install), "backup-0");
    assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Undone);
    assert_eq!([install.read("code"), install.read("data")], ["1", "old"]);
    assert_eq!(install.read("copy"), "old new between new between");
}

#[tokio::test]
async fn where_the_first_hop_changed_no_data_the_backup_of_the_second_loses_less() {
    let mut install = two_hops();
    let of = install.host();
    of.steps.remove(2);
    of.steps = numbered(of.steps.clone());
    install.plan = install.plan.clone().seal();
    install.write("broken", "");
    assert_eq!(install.apply().await, HostOutcome::Held);
    assert_eq!(backup(&install), "backup-1");
    assert_eq!(install.go_on(Way::Restore, Some(install.approval())).await, HostOutcome::Undone);
    assert_eq!([install.read("code"), install.read("data")], ["1", "old between"]);
}

#[tokio::test]
async fn the_rollback_of_two_hops_puts_the_first_hop_s_backup_back() {
    let mut install = two_hops();
    install.plan = install.plan.clone().seal();
    assert_eq!(install.apply().await, HostOutcome::Done);
    let state = install.bench.notes.state();
    let finished = Finished { id: &install.bench.means.run, number: RunNumber(1), plan: &install.plan, state: &state };
    let (back, _) = rollback(finished, &[name("web-1")], Timestamp::UNIX_EPOCH);
    let back = back.expect("it can be taken back");
    let kept = &back.hosts[0].rollback.as_ref().expect("a rollback").receipts;
    let files: Vec<_> = kept.iter().filter_map(|kept| kept.receipt.get("file")?.rsplit('/').next()).collect();
    assert_eq!(files, ["backup-0"], "any other is of data that was changed already");
}

#[tokio::test]
async fn f_16_the_backup_of_one_hop_lets_no_data_of_the_next_be_changed() {
    let mut install = two_hops();
    let of = install.host();
    of.steps[4].action = serde_json::from_value(json!({ "command": "true" })).expect("a command");
    install.plan = install.plan.clone().seal();
    assert_eq!(install.apply().await, HostOutcome::Held);
    assert!(install.why().contains("there is no receipt of `Back up`"), "{}", install.why());
    assert_eq!(install.read("trace"), "pin migrate switch pin stop keep");
}
