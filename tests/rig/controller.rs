//! The rig's own promises, and a controller or a host that dies in the middle.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    command::Longshore,
    rig::{Install, Rig, source},
};

/// The project that `tests/rig/up` writes works as it is: four sshd from one inventory.
#[test]
fn f_46_the_project_of_the_rig_works_at_once() {
    let Some(rig) = Rig::up() else { return };
    rig.installed(&crate::upgrade::ALL);
    let folder = rig.fleet();
    let home = tempfile::tempdir().expect("a folder");
    let longshore = |arguments: &[&str]| {
        let minute = Duration::from_secs(60);
        Longshore::new(&folder, home.path(), ("LONGSHORE_TEST", "rig"), minute).no_ssh_config().args(arguments).run()
    };
    longshore(&["lint"]).expect_code(0);
    longshore(&["exec", "all", "--", "docker", "info", "--format", "{{.Driver}}"]).expect_code(0).says("overlay2");
    longshore(&["check", "fovea", "--role", "fovea"]).expect_code(0).says("green");
}

/// The migration runs once whatever becomes of the controller.
#[test]
fn f_22_a_controller_killed_during_the_migration_goes_on_where_it_was() {
    const HOSTS: [Install; 2] = [("fovea-1", "0.3.0", "cpu"), ("fovea-4", "0.3.1", "gpu")];
    let Some(rig) = Rig::with(&["fovea-1", "fovea-4"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    let before = HOSTS.map(|(host, ..)| rig.data(host, "label"));
    let running = project.longshore(["apply", "fovea-upgrade", "--to", "0.4.0", "--ack", "0.4.0", "--yes"]).start();
    let under_way = "select count(*) from _prisma_migrations where finished_at is null";
    let until = Instant::now() + Duration::from_secs(120);
    while HOSTS.iter().all(|(host, ..)| rig.sql(host, under_way) == "0") {
        assert!(Instant::now() < until, "no migration was seen under way");
    }
    running.signal(Signal::SIGKILL);
    drop(running);
    let ran = project.longshore(["resume"]).run().expect_code(0);
    for ((host, ..), before) in HOSTS.iter().zip(before) {
        assert_eq!(ran.row(host)[1], "done", "{ran}");
        assert_eq!(rig.running(host), "0.4.0");
        assert_eq!(rig.data(host, "type_name"), before, "{host}");
        let rows = "select count(*) || ' ' || count(distinct migration_name) || ' ' || count(finished_at) from _prisma_migrations";
        assert_eq!(rig.sql(host, rows), "4 4 4", "a migration ran twice: {ran}");
        assert_eq!(rig.spot_check(host)["panel"], "SystemConfig");
    }
}

/// A host is like any other: it can lose its power and its cable.
#[test]
fn a_host_comes_back_with_its_product_after_a_power_cut() {
    let Some(rig) = Rig::with(&["fovea-3"]) else { return };
    let hosts = [("fovea-3", "0.3.1", "cpu")];
    rig.installed(&hosts);
    let project = rig.project(&hosts);
    let before = rig.data("fovea-3", "label");
    assert!(rig.control("fovea-3", &["cut"]).status.success());
    project.longshore(["--connect-timeout", "2s", "check", "fovea", "--role", "fovea"]).run().expect_code(4);
    assert!(rig.control("fovea-3", &["mend"]).status.success());
    let boot = rig.says("fovea-3", &["cat", "/proc/sys/kernel/random/boot_id"]);
    assert!(rig.control("fovea-3", &["restart"]).status.success());
    assert_ne!(rig.says("fovea-3", &["cat", "/proc/sys/kernel/random/boot_id"]), boot);
    let until = Instant::now() + Duration::from_secs(60);
    while project.longshore(["check", "fovea", "--role", "fovea"]).run().code != Some(0) {
        assert!(Instant::now() < until, "it did not come back");
    }
    assert_eq!(rig.data("fovea-3", "label"), before);
}

/// A rig that is up already stays as it is.
#[test]
fn the_rig_can_be_brought_up_twice() {
    let Some(rig) = Rig::up() else { return };
    let containers = rig.containers("fovea-2");
    let up = Command::new(source().join("tests/rig/up")).output().expect("it runs");
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert_eq!(rig.containers("fovea-2"), containers);
}
