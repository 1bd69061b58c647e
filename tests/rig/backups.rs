//! Fovea's data is saved, brought back from an earlier day, and rebuilt on another host from its copies alone.

use crate::rig::{Install, Rig};

/// B-16 to B-23: with the product down, beside the database that is there, migrated to the release that runs.
#[test]
fn b_16_b_17_b_21_b_22_b_23_the_database_of_another_day_is_put_back_with_the_product_down() {
    const HOSTS: [Install; 1] = [("fovea-1", "0.3.1", "cpu")];
    let Some(rig) = Rig::with(&["fovea-1"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    let good = rig.data("fovea-1", "label");
    project.longshore(["apply", "fovea-backup", "--yes"]).run().expect_code(0);
    let ran = project.longshore(["backups", "fovea-1"]).run().expect_code(0);
    assert!(ran.out.contains("has a copy of everything"), "{ran}");
    // The release moves on, then somebody finds that annotations went wrong before.
    let upgrade = ["apply", "fovea-upgrade", "--to", "0.4.0", "--ack", "0.4.0", "--yes"];
    project.longshore(upgrade).run().expect_code(0);
    rig.sql("fovea-1", "delete from claims; delete from annotations");
    let points = project.longshore(["backups", "fovea-1", "--points", "--output", "json"]).run().expect_code(0);
    let points: serde_json::Value = serde_json::from_str(points.out.trim()).expect("JSON");
    let first = &points["data"][0]["copies"][0];
    assert_eq!(first["facts"]["head"], "20250915090000_summaries", "{points:#}");
    let moment = first["made"].as_str().expect("a time");
    project.change("playbooks/fovea-restore.toml", "2026-11-13T12:00:00Z", moment);

    let ran = project.longshore(["apply", "fovea-restore", "--yes"]).run().expect_code(6);
    ran.tells("to approve restore of fovea-1");
    project.write(
        "approvals.toml",
        "[[approve]]\nhost = 'fovea-1'\naction = 'restore'\nsteps = ['Put the database of then back']\nby = 'anna'\n",
    );
    let approvals = project.path("approvals.toml").to_string_lossy().into_owned();
    let ran = project.longshore(["apply", "fovea-restore", "--yes", "--approvals", &approvals]).run().expect_code(0);
    // The rows are those of then, under the schema of the release that runs.
    let data = rig.data("fovea-1", "type_name");
    for table in ["users", "videos", "annotations", "blobs"] {
        assert_eq!(data[table], good[table], "{table}: {ran}");
    }
    assert_eq!(rig.running("fovea-1"), "0.4.0", "{ran}");
    assert_eq!(rig.sql("fovea-1", "select count(*) from pg_database where datname like 'fovea\\_pre\\_%'"), "1");
    assert_eq!(rig.spot_check("fovea-1")["panel"], "SystemConfig");
}

/// B-02, B-03, B-28 to B-40: dump, videos and settings are all it takes, on a host that has nothing.
#[test]
fn b_02_b_03_b_31_b_33_b_34_b_35_b_36_b_37_fovea_is_rebuilt_on_an_empty_host_and_taken_down_again() {
    const HOSTS: [Install; 2] = [("fovea-1", "0.4.0", "cpu"), ("fovea-3", "0.3.1", "cpu")];
    let Some(rig) = Rig::with(&["fovea-1", "fovea-3"]) else { return };
    rig.installed(&HOSTS);
    let project = rig.project(&HOSTS);
    let before = rig.data("fovea-1", "type_name");
    project.longshore(["apply", "fovea-backup", "--limit", "fovea-1", "--yes"]).run().expect_code(0);
    let drill = ["drill", "fovea-1", "--onto", "fovea-3", "--yes"];
    let secrets =
        |run: crate::command::Longshore| run.env("DRILL_SECRET", "of-the-drill-5c1e").env("DRILL_PASSWORD", "pw9f2b");
    project.change(
        "inventory/rig.toml",
        "[defaults.vars]\n",
        "[defaults.vars]\ndrill-session-secret = { secret = { env = \"DRILL_SECRET\" } }\ndrill-database-password = { secret = { env = \"DRILL_PASSWORD\" } }\n",
    );
    // A host that runs something is left alone.
    let containers = rig.containers("fovea-3");
    let ran = secrets(project.longshore(drill)).run().expect_code(1);
    ran.says("Nothing of the product is here");
    assert_eq!(rig.containers("fovea-3"), containers);

    rig.emptied("fovea-3");
    let ran = secrets(project.longshore(drill)).run().expect_code(0);
    assert!(ran.err.contains("fovea-1 was rebuilt on fovea-3 from the database of 20"), "{ran}");
    assert_eq!(rig.says("fovea-3", &["docker", "ps", "-a", "-q"]), "");
    assert_eq!(rig.says("fovea-3", &["docker", "volume", "ls", "-q"]), "");
    assert_eq!(rig.data("fovea-1", "type_name"), before);
    let ran = secrets(project.longshore(["backups", "fovea-1"])).run().expect_code(0);
    assert!(ran.out.contains("; drilled "), "{ran}");
    let kept = project.kept();
    for secret in ["of-the-drill-5c1e", "pw9f2b", "secret-of-fovea-1", "ada-password"] {
        assert!(!kept.contains(secret), "{secret} is in what longshore keeps");
    }
}
