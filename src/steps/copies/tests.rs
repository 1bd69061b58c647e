//! Copies are found, and judged by their receipts and the host's own clock.

use super::*;
use crate::steps::{stand::Stand, trial::in_every_shell};

/// `20261113T235959Z` of so many hours ago.
fn ago(hours: i64) -> String {
    let then = Timestamp::now().checked_sub(SignedDuration::from_hours(hours)).expect("in range");
    then.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn receipt(stamp: &str, more: &str) -> String {
    format!(
        "source postgres\nname app\nrun 0007\nstamp {stamp}\nrow public.t 12\nrows 12\nhead 4\nverified counted\n{more}"
    )
}

#[test]
fn b_15_copies_are_listed_with_time_size_counts_and_head_in_every_shell() {
    in_every_shell(|trial| {
        assert_eq!(read_copies(&trial.run(&list_copies(&trial.at("copies"), "app")).out), Ok(vec![]));
        std::fs::create_dir(trial.path("copies")).expect("writable");
        let names: Vec<_> = [50, 26, 2].map(|hours| format!("copies/app-{}-0007.dump", ago(hours))).into();
        for (name, hours) in names.iter().zip([50, 26, 2]) {
            trial.write(name, "whole");
            trial.write(&format!("{name}.receipt"), receipt(&ago(hours), "size 5\n"));
        }
        // Of another name, without a receipt, and gone.
        trial.write(&format!("copies/app-two-{}-0001.dump.receipt", ago(1)), receipt(&ago(1), "size 5\n"));
        trial.write(&format!("copies/app-{}-0008.dump", ago(0)), "half");
        trial.write(&names[2], "cut");
        trial.write(&format!("copies/app-{}-0009.id.receipt", ago(1)), receipt(&ago(1), "id tank/app@x\nsize 9\n"));
        let said = trial.run(&list_copies(&trial.at("copies"), "app")).out;
        assert!(!said.contains("public.t"), "{said}");
        let copies = read_copies(&said).expect("told");
        let ages: Vec<_> = copies.iter().map(|copy| (copy.age.0.as_secs() + 60) / 3600).collect();
        assert_eq!(ages, [50, 26, 2, 1], "{copies:?}");
        let flaws: Vec<_> = copies.iter().map(|copy| copy.flaw.as_deref()).collect();
        assert_eq!(flaws, [None, None, Some("it has 3 bytes, its receipt says 5"), None]);
        assert_eq!(
            (copies[0].fact("rows"), copies[0].fact("head"), copies[0].size()),
            (Some("12"), Some("4"), Some(5))
        );
        assert!(copies[1].name().starts_with("app-2"), "{copies:?}");
    });
}

#[test]
fn what_is_said_by_a_hostile_host_is_no_copy() {
    for said in ["", "copy /x\n", "now yesterday\n"] {
        assert!(read_copies(said).is_err(), "{said:?}");
    }
    let copies = read_copies(
        "now 20261121T000000Z\nlength 5\nfact size 5\ncopy /a\u{1b}[2Jb\nfact stamp 20271121T000000Z\n\
         fact verified x\nfact size 5\nlength 5\ncopy /c\nfact size 5\ncopy\nnonsense",
    )
    .expect("read");
    let flaws: Vec<_> = copies.iter().filter_map(|copy| copy.flaw.as_deref()).collect();
    assert_eq!(copies.len(), 2);
    assert!(flaws.iter().any(|flaw| flaw.contains("in the future")), "{flaws:?}");
    assert!(flaws.iter().any(|flaw| flaw.contains("does not say when")), "{flaws:?}");
    assert!(copies.iter().all(|copy| !copy.file.contains('\u{1b}')));
}

#[tokio::test]
async fn b_11_s_10_g_09_a_copy_must_be_there_proven_and_young() {
    let stand = Stand::new();
    let copies = stand.path("copies");
    let check = |more: &str| format!("copy = {{ folder = '{}', name = 'app'{more} }}", copies.display());
    let seen = stand.check(&check("")).await;
    assert!(
        seen.verdict == crate::model::Verdict::Fail && seen.seen.contains("no proven copy named app-*"),
        "{seen:?}"
    );
    std::fs::create_dir(&copies).expect("writable");
    let file = copies.join(format!("app-{}-0007.dump", ago(30)));
    std::fs::write(&file, "whole").expect("writable");
    let sidecar = format!("{}.receipt", file.display());
    std::fs::write(&sidecar, receipt(&ago(30), "size 5\n")).expect("writable");
    let seen = stand.check(&check(", younger-than = '31h'")).await;
    assert!(seen.verdict == crate::model::Verdict::Pass && seen.seen.contains("is 30h old, 5B"), "{seen:?}");
    let seen = stand.check(&check(", younger-than = '26h'")).await;
    assert!(seen.verdict == crate::model::Verdict::Fail && seen.seen.ends_with("expected less than 26h"), "{seen:?}");
    // One that nobody proved, or that is not whole, does not count however young it is.
    std::fs::write(&sidecar, receipt(&ago(1), "size 6\n")).expect("writable");
    let seen = stand.check(&check(", younger-than = '26h'")).await;
    assert!(seen.verdict == crate::model::Verdict::Fail && seen.seen.contains("its receipt says 6"), "{seen:?}");
    std::fs::write(&sidecar, receipt(&ago(1), "size 5\n").replace("verified", "seen")).expect("writable");
    let seen = stand.check(&check("")).await;
    assert!(seen.verdict == crate::model::Verdict::Fail && seen.seen.contains("nobody proved it"), "{seen:?}");
    // What cannot be looked at is not missing.
    std::fs::remove_dir_all(&copies).expect("removed");
    std::fs::write(&copies, "a file").expect("writable");
    let seen = stand.check(&check("")).await;
    assert!(seen.verdict == crate::model::Verdict::Error && seen.seen.contains("cannot be read"), "{seen:?}");
}

#[tokio::test]
async fn g_09_a_copy_that_was_damaged_where_it_lies_is_none() {
    let stand = Stand::new();
    let copies = stand.path("copies");
    let check = format!("copy = {{ folder = '{}', name = 'app', intact = true }}", copies.display());
    std::fs::create_dir(&copies).expect("writable");
    let file = copies.join(format!("app-{}-0007.dump", ago(30)));
    let sidecar = format!("{}.receipt", file.display());
    let sum = "sha256 ee50cc10b1370c0ea94b1eaf8af8ae0b3ff2daeeab9d2b5b6d0d1e7e0a9d2f00\n";
    std::fs::write(&file, "whole").expect("writable");
    for (more, seen) in [("size 5\n", "has no sha256"), (&format!("size 5\n{sum}"), "is not that of its receipt")] {
        std::fs::write(&sidecar, receipt(&ago(30), more)).expect("writable");
        let probed = stand.check(&check).await;
        assert!(probed.verdict == crate::model::Verdict::Fail && probed.seen.contains(seen), "{probed:?}");
    }
    let sum = "sha256 5d5766cf2d78701614200418ee1450690d9af12c84d52545e4802f001ad53099\n";
    std::fs::write(&sidecar, receipt(&ago(30), &format!("size 5\n{sum}"))).expect("writable");
    let probed = stand.check(&check).await;
    assert!(probed.verdict == crate::model::Verdict::Pass && probed.seen.ends_with(", and whole"), "{probed:?}");
}
