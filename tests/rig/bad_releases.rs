//! What goes wrong: each bad release ends as the runbook says, and the users' data is what it was.

use crate::rig::{Install, Rig};

/// F-10, F-11, F-12, F-32: `up` and `--wait` call it good; the checks do not.
#[test]
fn f_11_a_patch_that_crashes_without_a_health_check_is_taken_back() {
    taken_back("0.4.1");
}

/// Its endpoints say that all is well, and name the version of before.
#[test]
fn f_11_a_patch_that_answers_with_the_old_version_is_taken_back() {
    taken_back("0.4.3");
}

/// Upgrades two hosts to a patch that is no good: the canary is taken back, and the other never begins.
#[track_caller]
fn taken_back(bad: &str) {
    const HOSTS: [Install; 2] = [("fovea-1", "0.4.0", "cpu"), ("fovea-2", "0.4.0", "gpu")];
    let Some(rig) = Rig::with(&["fovea-1", "fovea-2"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    project.change("playbooks/fovea-upgrade.toml", "hosts = 2, represent", "hosts = 1, represent");
    let before = HOSTS.map(|(host, ..)| rig.data(host, "type_name"));
    let containers = HOSTS.map(|(host, ..)| rig.containers(host));
    let settings = rig.shell("fovea-1", "cat .env");

    let ran = project.longshore(["apply", "fovea-upgrade", "--to", bad, "--yes"]).run().expect_code(5);
    let row = ran.row("fovea-1");
    assert_eq!([&row[1], &row[2]], ["canary", "undone"], "{ran}");
    let ran = ran.says("It is the new release, on its schema");
    assert_eq!(rig.running("fovea-1"), "0.4.0", "{ran}");
    // The very image that ran before, and the tag in the file, too.
    assert_eq!(rig.shell("fovea-1", "cat .env"), settings);
    assert_eq!(HOSTS.map(|(host, ..)| rig.data(host, "type_name")), before, "{ran}");
    let [one, two] = HOSTS.map(|(host, ..)| rig.containers(host));
    assert_eq!(one["backend"].0, containers[0]["backend"].0);
    for untouched in ["postgres", "redis"] {
        assert_eq!(one[untouched], containers[0][untouched], "{ran}");
    }
    assert_eq!(two, containers[1], "nothing was to begin there: {ran}");
    assert_eq!(rig.spot_check("fovea-1")["panel"], "SystemConfig");
}

/// F-07: nobody said that it migrates; the image does.
#[test]
fn f_07_a_patch_that_secretly_migrates_is_stopped_before_anything_changes() {
    let Some(rig) = Rig::with(&["fovea-3"]) else { return };
    let hosts = [("fovea-3", "0.3.1", "cpu")];
    rig.installed(&hosts);
    let project = rig.project(&hosts);
    let (before, containers) = (rig.data("fovea-3", "label"), rig.containers("fovea-3"));
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.2", "--yes"]).run();
    assert_eq!(ran.code, Some(1), "{ran}");
    let ran = ran.says("The patch brings no migrations");
    assert_eq!(ran.row("fovea-3")[1], "failed", "{ran}");
    assert_eq!(rig.containers("fovea-3"), containers, "{ran}");
    assert_eq!(rig.data("fovea-3", "label"), before);
    let told = project.longshore(["history", "show", "last", "--host", "fovea-3"]).run().expect_code(0);
    told.says("20251020080000_durations").says("say kind = \"minor\" of it in releases.toml");

    // As a minor it is backed up and migrated.
    project.change("roles/fovea/releases.toml", "version = \"0.3.2\"\n", "version = \"0.3.2\"\nkind = \"minor\"\n");
    project.change(
        "roles/fovea/releases.toml",
        "kind = \"minor\"\nmigration = \"20250915090000_summaries\"",
        "kind = \"minor\"\nmigration = \"20251020080000_durations\"",
    );
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.2", "--yes"]).run().expect_code(0);
    assert_eq!(rig.running("fovea-3"), "0.3.2", "{ran}");
    assert_eq!(rig.data("fovea-3", "label"), before);
    assert!(rig.shell("fovea-3", "ls backups").contains("fovea-"), "{ran}");
}

/// Half a migration is no way back for code, so a person decides. Of the two hosts one stops its backend for migrations, and
/// the other says that the old release bears them. B-20.
#[test]
fn f_22_f_23_f_30_f_31_f_32_a_migration_that_fails_half_way_holds_and_the_run_s_own_backup_brings_the_data_back() {
    const HOSTS: [Install; 2] = [("fovea-3", "0.4.0", "cpu"), ("fovea-4", "0.4.0", "gpu")];
    let Some(rig) = Rig::with(&["fovea-3", "fovea-4"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    project.change(
        "inventory/rig.toml",
        "[hosts.fovea-3]\n",
        "[hosts.fovea-3]\nvars = { stop-for-migrations = false }\n",
    );
    let before = HOSTS.map(|(host, ..)| rig.data(host, "type_name"));
    let containers = HOSTS.map(|(host, ..)| rig.containers(host));
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.5.0", "--ack", "0.5.0", "--yes"]).run();
    let ran = ran.expect_code(3).says("Apply migrations with the new image");
    for (host, ..) in HOSTS {
        // The first half of the migration stands, and the new release was never started.
        assert_eq!(rig.sql(host, "select to_regclass('ontology_types') is not null"), "t", "{ran}");
        let told = project.longshore(["history", "show", "last", "--host", host]).run().expect_code(0);
        told.says("P3018").says("20251201100000_ontology");
        assert!(rig.shell(host, "ls incidents").contains(".log"), "{ran}");
    }
    assert_eq!(rig.data("fovea-4", "type_name"), before[1]);
    assert_eq!(rig.containers("fovea-3")["backend"], containers[0]["backend"], "the old one was to go on: {ran}");
    assert_eq!(rig.running("fovea-4"), "", "nothing was to answer on half a schema: {ran}");

    // A newer copy of somebody else's lies beside it: not this one is put back.
    rig.shell("fovea-4", "cp -a backups foreign; for file in foreign/*; do cp \"$file\" \"backups/fovea-99991231T000000Z-x.${file##*.}\"; done");
    let restore = ["resume", "--as", "restore", "--host", "fovea-4"];
    let ran = project.longshore(restore).run().expect_code(6).tells("the default is no");
    let approvals = project.approval(&ran, "fovea-4");
    let ran = project.longshore(restore.into_iter().chain(["--approvals", &approvals])).run();
    let ran = ran.says("the data of the run's own backup was put back");
    assert_eq!(rig.running("fovea-4"), "0.4.0", "{ran}");
    // Counts and checksums of every table, and the videos by name, size, time and checksum.
    assert_eq!(rig.data("fovea-4", "type_name"), before[1], "{ran}");
    assert_eq!(rig.sql("fovea-4", "select to_regclass('ontology_types') is null"), "t", "{ran}");
    assert_eq!(rig.sql("fovea-4", "select count(*) from _prisma_migrations where finished_at is null"), "0");
    // What was replaced is kept (B-18).
    assert_eq!(rig.sql("fovea-4", "select count(*) from pg_database where datname like 'fovea\\_pre\\_%'"), "1");
    assert_eq!(rig.spot_check("fovea-4")["panel"], "SystemConfig");
}

/// A seed that fails is a failure, after the data has changed: so the host is held, and goes on once what was in the way is gone.
#[test]
fn f_24_f_25_a_seed_that_fails_holds_the_host_and_may_run_as_often_as_one_likes() {
    const HOSTS: [Install; 1] = [("fovea-3", "0.3.1", "cpu")];
    let Some(rig) = Rig::with(&["fovea-3"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    let before = rig.data("fovea-3", "label");
    rig.sql("fovea-3", "alter table permissions add constraint in_the_way check (permission <> 'claims.review')");
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.4.0", "--ack", "0.4.0", "--yes"]).run();
    let ran = ran.expect_code(3).says("Seed the catalog of permissions");
    assert_eq!(ran.row("fovea-3")[1], "held", "{ran}");
    assert_eq!(rig.running("fovea-3"), "", "{ran}");

    rig.sql("fovea-3", "alter table permissions drop constraint in_the_way");
    let ran = project.longshore(["resume", "--as", "roll-forward", "--host", "fovea-3"]).run().expect_code(0);
    assert_eq!(rig.running("fovea-3"), "0.4.0", "{ran}");
    assert_eq!(rig.data("fovea-3", "type_name"), before, "{ran}");
    assert_eq!(rig.sql("fovea-3", "select count(*) from _prisma_migrations"), "4", "a migration ran twice: {ran}");
    assert_eq!(rig.spot_check("fovea-3")["panel"], "SystemConfig");
    // The catalog with the new permission, counted in the record of the run.
    let catalog =
        "select count(*) || ' ' || md5(string_agg(role || permission, ',' order by role, permission)) from permissions";
    let rows = rig.sql("fovea-3", catalog);
    assert!(rows.starts_with("3 "), "{rows}");
    let told = project.longshore(["history", "show", "last", "--host", "fovea-3"]).run().expect_code(0);
    told.says("permission catalog: 3 permissions");
    rig.shell("fovea-3", "docker compose run --rm -T --no-deps backend npm run seed </dev/null");
    assert_eq!(rig.sql("fovea-3", catalog), rows);
}
