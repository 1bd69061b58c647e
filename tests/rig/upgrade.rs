//! What goes well: a minor release over both flavours and two versions, a patch, a release that is slow to start.

use std::{collections::BTreeMap, fs};

use longshore::{
    event::{Happening, Phase},
    model::{HostOutcome, Verdict},
};

use crate::rig::{CLAIMS_KEY, Install, Rig, source};

pub const ALL: [Install; 4] = [
    ("fovea-1", "0.3.0", "cpu"),
    ("fovea-2", "0.3.0", "gpu"),
    ("fovea-3", "0.3.1", "cpu"),
    ("fovea-4", "0.3.1", "gpu"),
];

/// The runbook's minor release as a whole; B-02, B-09.
#[test]
fn f_15_f_19_f_21_f_22_f_26_f_27_f_28_f_29_f_35_f_36_f_41_f_42_a_minor_goes_over_four_hosts_in_its_order() {
    let Some(rig) = Rig::up() else { return };
    rig.installed(&ALL);
    let project = rig.project(&ALL);
    let before: BTreeMap<_, _> = ALL.map(|(host, ..)| (host, rig.data(host, "label"))).into();
    for (host, ..) in ALL {
        rig.listen(host);
    }
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
        let (counts, order) = rig.asked(host, flavour);
        assert_eq!(counts.get("/api/models/config"), Some(&1), "{counts:?}");
        let place = |path: &str| order.iter().position(|asked| asked == path);
        assert_eq!(place("/api/models/config"), Some(0), "{order:?}");
        // The one summary is what the spot check asks for, and not the warm-up.
        assert_eq!(counts.get("/api/summarize"), Some(&1), "{counts:?}");
        let summaries = rig.sql(host, "select string_agg(state || ': ' || summary, ', ') from summary_jobs");
        assert_eq!(summaries, format!("completed: 6 labels, read on the {flavour}"));

        // Whatever was asked of Compose was asked for this flavour, and that is what the flavour's profile has.
        let calls = rig.compose_calls(host);
        let other = if flavour == "cpu" { "gpu" } else { "cpu" };
        assert!(calls.len() > 15, "{calls:?}");
        for call in &calls {
            assert!(call.contains(&format!("--profile {flavour} ")), "{call}");
            assert!(!call.contains(&format!("--profile {other} ")), "{call}");
        }
        let services = |options: &str| {
            rig.shell(host, &format!("/usr/bin/docker compose {options} config --services | sort | tr '\\n' ' '"))
        };
        assert_eq!(services(""), "backend model-service postgres redis", "without a profile it is the CPU");
        assert_eq!(services(&format!("--profile {flavour}")), format!("backend {model} postgres redis"));

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
            "A user gets a summary",
        ];
        let places: Vec<_> = order.map(place).into();
        assert!(places.is_sorted(), "{started:?}");
        // A person's looks, as a script of requests.
        for look in ["A user logs in and loads a video", "The administrators' panel opens"] {
            let passed = |what: &Happening| {
                matches!(what, Happening::CheckFinished { phase: Phase::After, check, verdict, .. }
                if check == look && *verdict == Verdict::Pass)
            };
            assert!(told.happened(host).iter().any(passed), "{look} on {host}: {told}");
        }
    }

    // The secret is on the hosts, in a file that has kept its mode, owner and comment, and nowhere else.
    assert_eq!(rig.shell("fovea-1", "stat -c '%a %U' .env; head -n 1 .env"), mode);
    assert!(rig.shell("fovea-1", "cat .env").contains(&format!("CLAIMS_SIGNING_KEY={CLAIMS_KEY}")));
    assert!(!project.kept().contains(CLAIMS_KEY));
    assert!(!format!("{ran}{told}").contains(CLAIMS_KEY));
}

/// The tag stands in the compose file itself here. And a finished patch goes back to the very image that ran.
#[test]
fn f_04_f_08_f_11_a_patch_changes_the_tag_alone_and_goes_back_to_the_image_of_before() {
    let Some(rig) = Rig::with(&["fovea-4"]) else { return };
    let hosts = [("fovea-4", "0.3.0", "cpu")];
    rig.installed(&hosts);
    let project = rig.project(&hosts);
    let images = ["backend", "model-service", "model-service-gpu"].map(|name| format!("registry:5000/fovea/{name}"));
    project.inventory(&hosts, &format!("pinned-images = {images:?}"));
    rig.shell(
        "fovea-4",
        "sed -i 's/[$]{FOVEA_TAG:.*}/0.3.0 # pinned/' docker-compose.yml; sed -i /^FOVEA_TAG/d .env; chmod 0640 docker-compose.yml",
    );
    let file = || rig.shell("fovea-4", "stat -c '%a %U' docker-compose.yml; cat docker-compose.yml .env");
    let (before, containers, written) = (rig.data("fovea-4", "label"), rig.containers("fovea-4"), file());
    let image = rig.image("fovea-4");
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.3.1", "--yes"]).run().expect_code(0);
    assert_eq!(rig.running("fovea-4"), "0.3.1", "{ran}");
    assert_eq!(rig.data("fovea-4", "label"), before);
    assert_eq!(rig.containers("fovea-4")["postgres"], containers["postgres"], "the database was restarted: {ran}");
    assert_eq!(rig.shell("fovea-4", "ls"), "docker-compose.yml", "{ran}");
    // One word in each line that has an image of the product, and nothing else.
    assert_eq!(file(), written.replace(":0.3.0 # pinned", ":0.3.1 # pinned"));
    let asked = rig.shell("fovea-4", "docker compose config --images backend | sort");
    assert!(asked.contains("fovea/backend:0.3.1"), "{asked}");

    // Meanwhile somebody moves the old tag. What ran goes back all the same.
    let repository = &images[0];
    rig.shell("fovea-4", &format!("docker tag {repository}:0.3.1 {repository}:0.3.0"));
    let ran = project.longshore(["rollback", "last", "--yes"]).run().expect_code(0);
    assert_eq!(rig.running("fovea-4"), "0.3.0", "{ran}");
    assert_eq!(rig.image("fovea-4"), image, "{ran}");
    assert_eq!(file(), written);
    assert_eq!(rig.data("fovea-4", "label"), before);
}

/// F-10: slow is not broken.
#[test]
fn f_10_a_release_that_is_slow_to_start_is_waited_for() {
    let Some(rig) = Rig::with(&["fovea-2"]) else { return };
    let hosts = [("fovea-2", "0.4.0", "gpu")];
    rig.installed(&hosts);
    let project = rig.project(&hosts);
    let ran = project.longshore(["apply", "fovea-upgrade", "--to", "0.4.2", "--yes"]).run().expect_code(0);
    assert_eq!(ran.row("fovea-2")[1], "done", "{ran}");
    assert_eq!(rig.running("fovea-2"), "0.4.2");
    let told = project.told();
    assert!(told.state().hosts.values().all(|host| host.outcome == Some(HostOutcome::Done)), "{told}");
}

/// The reference's own way: the sources are brought to the host and built there, and the registry is not even up. All gates
/// and steps are those of an upgrade.
#[test]
fn f_43_f_44_f_47_a_minor_is_deployed_from_source_while_the_registry_is_away() {
    let Some(rig) = Rig::with(&["fovea-1"]) else { return };
    let hosts = [("fovea-1", "0.3.0", "cpu")];
    rig.installed(&hosts);
    let project = rig.project(&hosts);
    let (before, image) = (rig.data("fovea-1", "label"), rig.image("fovea-1"));

    // The tree of the release: what changed since the image that it builds on, and the compose file with `build`.
    let product = source().join("tests/rig/product");
    let tree = project.path("source");
    let put = |from: &str, to: &str| {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        fs::copy(product.join(from), to).expect("copied");
    };
    let compose = fs::read_to_string(product.join("docker-compose.yml")).expect("read");
    let built = |name: &str| format!("image: registry:5000/fovea/{name}:");
    let compose = ["backend", "model-service"]
        .iter()
        .fold(compose, |text, name| text.replace(&built(name), &format!("build: ./{name}\n    {}", built(name))));
    put("releases/0.4.0.json", "backend/app/release.json");
    put("model/model.py", "model-service/model.py");
    for migration in ["20251020080000_durations", "20251101100000_claims"] {
        let file = format!("migrations/{migration}/migration.sql");
        put(&file, &format!("backend/app/prisma/{file}"));
    }
    fs::write(tree.join("docker-compose.yml"), compose).expect("written");
    fs::write(tree.join("backend/Dockerfile"), "FROM registry:5000/fovea/backend:0.3.0\nCOPY app /app\n")
        .expect("written");
    let model = "FROM registry:5000/fovea/model-service:0.3.0\nCOPY model.py /app/model.py\n";
    fs::write(tree.join("model-service/Dockerfile"), model).expect("written");
    fs::create_dir_all(tree.join(".git")).expect("made");
    fs::write(tree.join(".git/HEAD"), "not for the host\n").expect("written");
    fs::copy(source().join("playbooks/fovea-deploy.toml"), project.path("playbooks/fovea-deploy.toml"))
        .expect("copied");
    project.change("playbooks/fovea-deploy.toml", "~/src/fovea", &tree.to_string_lossy());
    project.change("playbooks/fovea-deploy.toml", "soak = \"5m\"", "soak = \"3s\"");

    rig.shell("fovea-1", "docker images -q registry:5000/fovea/backend:0.4.0 | xargs -r docker rmi -f");
    let rule = "OUTPUT -p tcp --dport 5000 -j REJECT --reject-with tcp-reset";
    rig.shell("fovea-1", &format!("iptables -I {rule}"));
    let ran = project.longshore(["apply", "fovea-deploy", "--to", "0.4.0", "--ack", "0.4.0", "--yes"]).run();
    rig.shell("fovea-1", &format!("iptables -D {rule}"));
    let ran = ran.expect_code(0);
    assert_eq!(rig.running("fovea-1"), "0.4.0", "{ran}");
    assert_eq!(rig.data("fovea-1", "type_name"), before, "{ran}");
    let inspect =
        |image: &str, format: &str| rig.says("fovea-1", &["docker", "image", "inspect", "--format", format, image]);
    assert_eq!(
        inspect("registry:5000/fovea/backend:0.4.0", "{{len .RepoDigests}}"),
        "0",
        "it came from a registry: {ran}"
    );
    assert_eq!(inspect("registry:5000/fovea/backend:rollback", "{{.Id}}"), image, "{ran}");
    assert_eq!(rig.shell("fovea-1", "ls -d .git 2>/dev/null || echo none"), "none");
    assert!(rig.shell("fovea-1", "cat .env").contains("SESSION_SECRET=secret-of-fovea-1"), "{ran}");
    assert_eq!(rig.spot_check("fovea-1")["panel"], "SystemConfig");
    let told = project.told();
    let started = told.happened("fovea-1").into_iter().filter_map(|what| match what {
        Happening::StepStarted { name, .. } => Some(name.clone()),
        _ => None,
    });
    let started: Vec<_> = started.collect();
    let order = [
        "Bring the source tree",
        "Fetch the images",
        "Back up",
        "Write the new tag",
        "Stop the backend",
        "Apply migrations",
        "Start the new release",
        "Seed",
        "Warm",
        "It is the new release",
    ];
    let place = |step: &str| {
        started.iter().position(|name| name.starts_with(step)).unwrap_or_else(|| panic!("{step}: {started:?}"))
    };
    assert!(order.map(place).is_sorted(), "{started:?}");
}
