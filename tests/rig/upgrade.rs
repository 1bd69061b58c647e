//! What goes well: a minor release over both flavours and two versions, a patch, a release that is slow to start.

use std::collections::BTreeMap;

use longshore::{event::Happening, model::HostOutcome};

use crate::rig::{CLAIMS_KEY, Install, Rig};

pub const ALL: [Install; 4] = [
    ("fovea-1", "0.3.0", "cpu"),
    ("fovea-2", "0.3.0", "gpu"),
    ("fovea-3", "0.3.1", "cpu"),
    ("fovea-4", "0.3.1", "gpu"),
];

/// F-13, F-15, F-19, F-21 to F-24, F-26 to F-29, F-32, F-35, F-36, F-40 to F-42, B-02, B-09.
#[test]
fn f_21_a_minor_release_goes_over_four_hosts_in_its_order_and_data_stays() {
    let Some(rig) = Rig::up() else { return };
    rig.installed(&ALL);
    let project = rig.project(&ALL);
    let before: BTreeMap<_, _> = ALL.map(|(host, ..)| (host, rig.data(host, "label"))).into();
    let mode = rig.shell("fovea-1", "stat -c '%a %U' .env; head -n 1 .env");

    // Not without its notes having been read (F-06, F-14).
    let unread = project.longshore(["apply", "fovea-upgrade", "--to", "0.4.0", "--yes"]).run();
    assert_ne!(unread.code, Some(0), "{unread}");
    assert_eq!(rig.running("fovea-1"), "0.3.0");

    let ran =
        project.longshore(["apply", "fovea-upgrade", "--to", "0.4.0", "--ack", "0.4.0", "--yes"]).run().expect_code(0);
    // A canary of each flavour and each version.
    assert!(ran.err.contains("canary: fovea-[1,4]"), "{ran}");
    for (host, version, flavour) in ALL {
        let row = ran.row(host);
        assert_eq!([&row[2], &row[4]], ["done", &format!("{version} → 0.4.0")], "{ran}");
        assert_eq!(rig.running(host), "0.4.0");
        // The users' data is the same under the new names, and the videos were not touched at all.
        assert_eq!(rig.data(host, "type_name"), before[host], "{host}");
        // Claims were made of what was there, so the migration ran, and once.
        assert_eq!(rig.sql(host, "select count(*) = (select count(*) from annotations) from claims"), "t");

        // The other flavour's service is not there, and the models were asked once and for nothing but their settings.
        let model = if flavour == "cpu" { "model-service" } else { "model-service-gpu" };
        let services: Vec<_> = rig.containers(host).into_keys().collect();
        assert_eq!(services, ["backend", model, "postgres", "redis"]);
        let port = if flavour == "cpu" { "8000" } else { "8001" };
        let asked: BTreeMap<String, u32> =
            serde_json::from_str(&rig.says(host, &["curl", "-sf", &format!("http://localhost:{port}/asked")]))
                .expect("JSON");
        assert_eq!(asked.get("/api/models/config"), Some(&1), "{asked:?}");
        assert_eq!(asked.get("/api/summarize"), None, "{asked:?}");

        // A verified copy with its receipt.
        let copies = rig.shell(host, "ls backups");
        assert!(copies.contains("fovea-"), "{copies}");
        // It is as good as a person finds it, the panel with the new permission included.
        let spot = rig.spot_check(host);
        assert_eq!(spot["panel"], "SystemConfig", "{spot}");
        assert_eq!(spot["bytes"], 200_000, "{spot}");
        assert_eq!(spot["summary"], format!("6 labels, read on the {flavour}"), "{spot}");
    }

    // Each step after its gate: backup before the tag, migrations before the new release, the seed after it.
    let told = project.told();
    for (host, ..) in ALL {
        let started = told.happened(host).into_iter().filter_map(|what| match what {
            Happening::StepStarted { name, .. } => Some(name),
            _ => None,
        });
        let started: Vec<_> = started.collect();
        let place = |step: &str| {
            started
                .iter()
                .position(|name| name.starts_with(step))
                .unwrap_or_else(|| panic!("{step} is not in {started:?}"))
        };
        let order = [
            "Add what the release asks for to .env",
            "Fetch the images",
            "Back up the database",
            "Write the new tag down",
            "Stop the backend",
            "Apply migrations with the new image",
            "Start the new release",
            "Seed the catalog of permissions",
            "Warm the models up",
        ];
        let places: Vec<_> = order.map(place).into();
        assert!(places.is_sorted(), "{started:?}");
    }

    // The secret is on the hosts, in a file that has kept its mode, owner and comment, and nowhere else.
    assert_eq!(rig.shell("fovea-1", "stat -c '%a %U' .env; head -n 1 .env"), mode);
    assert!(rig.shell("fovea-1", "cat .env").contains(&format!("CLAIMS_SIGNING_KEY={CLAIMS_KEY}")));
    assert!(!project.kept().contains(CLAIMS_KEY));
    assert!(!format!("{ran}{told}").contains(CLAIMS_KEY));
}

/// F-04, F-12, F-25, F-39.
#[test]
fn f_04_a_patch_needs_no_backup_and_leaves_the_database_alone() {
    let Some(rig) = Rig::up() else { return };
    let hosts = [("fovea-1", "0.3.0", "cpu")];
    rig.installed(&hosts);
    let project = rig.project(&hosts);
    let before = rig.data("fovea-1", "label");
    let containers = rig.containers("fovea-1");
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes"]).run().expect_code(0);
    assert_eq!(rig.running("fovea-1"), "0.3.1", "{ran}");
    assert_eq!(rig.data("fovea-1", "label"), before);
    assert_eq!(rig.containers("fovea-1")["postgres"], containers["postgres"], "the database was restarted: {ran}");
    assert_eq!(rig.shell("fovea-1", "ls"), "docker-compose.yml", "{ran}");

    // The seed may run as often as one likes.
    let rows = "select count(*) from permissions";
    let permissions = rig.sql("fovea-1", rows);
    rig.shell("fovea-1", "docker compose run --rm -T --no-deps backend npm run seed </dev/null");
    assert_eq!(rig.sql("fovea-1", rows), permissions);
}

/// F-10: slow is not broken.
#[test]
fn f_10_a_release_that_is_slow_to_start_is_waited_for() {
    let Some(rig) = Rig::up() else { return };
    let hosts = [("fovea-2", "0.4.0", "gpu")];
    rig.installed(&hosts);
    let project = rig.project(&hosts);
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.4.2", "--yes"]).run().expect_code(0);
    assert_eq!(ran.row("fovea-2")[1], "done", "{ran}");
    assert_eq!(rig.running("fovea-2"), "0.4.2");
    let told = project.told();
    assert!(told.state().hosts.values().all(|host| host.outcome == Some(HostOutcome::Done)), "{told}");
}
