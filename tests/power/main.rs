//! Power cuts: the disk of a host, or of the controller, is cut off at a random moment, and then asked what it knows.
//!
//! A disk is an ext4 image that a loop device serves. It lies on an XFS of the test's own, so that a clone of the image is
//! made in one instant: it holds what had reached the disk, and nothing of what the page cache still had. The clone is
//! mounted as a machine would that starts again. Each test has a blind twin without flushing: that one must find
//! losses, or the test could not have found any.
//!
//! Needs root, loop devices and `mkfs.xfs`; says SKIPPED where they are missing. `tests/power-cuts --rounds N` is the long form.

mod disk;
#[path = "../durable/host.rs"]
#[expect(dead_code, reason = "the power is cut on one shell; the faults on many have their own tests")]
mod host;
mod ledger;
mod start;

use std::process::Command;

/// Cuts of each kind in one run of the tests.
fn rounds() -> usize {
    std::env::var("LONGSHORE_POWER_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(12)
}

/// A random time below `most` milliseconds.
fn moment(most: u64) -> std::time::Duration {
    std::time::Duration::from_micros(rand::random::<u64>() % (most * 1000))
}

/// Runs the ignored test `name` of this binary in a mount namespace of its own: whatever becomes of it, no mount stays.
/// Returns what it said; `None` where this machine cannot.
fn apart(name: &str, variables: &[(&str, &str)]) -> Option<String> {
    if let Err(why) = disk::able() {
        host::skipped(&format!("power cuts: {why}"));
        return None;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().expect("this test"))
        .args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .envs(variables.iter().copied())
        .output()
        .expect("unshare runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("power cuts: "), "{said}");
    for line in said.lines().filter(|line| line.contains("power cuts: ")) {
        eprintln!("{line}");
    }
    Some(said)
}

/// Says how it went, for [`apart`], and whether it went as it must.
fn report(what: &str, cuts: usize, looked: usize, lost: &[String], blind: bool) {
    println!(
        "power cuts: {what}: {cuts} cuts, {looked} looked at, {} lost{}",
        lost.len(),
        if blind { ", blind" } else { "" }
    );
    if blind {
        assert!(!lost.is_empty(), "without flushing nothing was lost: this test sees nothing");
    } else {
        assert!(lost.is_empty(), "{lost:#?}");
    }
}
