//! Tessallite on Cloud Run: the runbook of its six services, asked of `gcloud` before a stand-in of the API.

use std::{fs, path::Path, path::PathBuf, time::Duration};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    command::{Longshore, Ran, flat},
    google::{Gcloud, Google, SERVICES},
};

/// Longest that one call of longshore may take.
const LIMIT: Duration = Duration::from_secs(180);

/// A project with the repository's own role, profiles and playbook, for one install on Cloud Run.
struct Project {
    google: Google,
    folder: TempDir,
}

impl Project {
    fn on(gcloud: Gcloud, services: &[&str]) -> Option<Self> {
        let google = Google::up(gcloud, services)?;
        let folder = tempfile::Builder::new().prefix("longshore-tessallite-").tempdir().expect("a folder");
        let project = Self { google, folder };
        for made in ["inventory", "playbooks", "roles/tessallite", "home"] {
            fs::create_dir_all(project.path(made)).expect("made");
        }
        for file in
            ["roles/tessallite/role.toml", "roles/tessallite/releases.toml", "inventory/tessallite-profiles.toml"]
        {
            fs::copy(source().join(file), project.path(file)).expect("copied");
        }
        let playbook = fs::read_to_string(source().join("playbooks/tessallite-upgrade.toml")).expect("the playbook");
        assert!(playbook.contains("soak = \"5m\"\n"));
        project.write("playbooks/tessallite-upgrade.toml", &playbook.replace("soak = \"5m\"\n", ""));
        let names: Vec<_> = services.iter().map(|name| format!("{name:?}")).collect();
        project.write(
            "inventory/fleet.toml",
            &format!(
                "[hosts.maps]\nprofile = \"tessallite-cloud\"\nstate-dir = \"{}\"\n[hosts.maps.vars]\nproject = \"acme\"\n\
                 region = \"europe-west1\"\nrepository = \"registry.test/tessallite\"\nhealth-within = 3\nservices = [{}]\n\
                 [groups.tessallite]\nhosts = [\"maps\"]\n",
                project.path("state").display(),
                names.join(", "),
            ),
        );
        Some(project)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).expect("written");
        self.path(name).to_string_lossy().into_owned()
    }

    fn longshore<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Longshore {
        let mut call =
            Longshore::new(self.folder.path(), &self.path("home"), ("LONGSHORE_TEST", "google"), LIMIT).no_ssh_config();
        for (name, value) in self.google.environment() {
            call = call.env(name, &value);
        }
        call.args(arguments)
    }

    fn upgrade(&self, to: &str) -> Ran {
        self.longshore(["apply", "tessallite-upgrade", "--to", to, "--yes"]).run()
    }

    fn serving(&self) -> Vec<String> {
        let services = self.google.state()["services"].as_object().expect("services").clone();
        SERVICES.iter().filter(|name| services.contains_key(**name)).map(|name| self.google.serving(name)).collect()
    }

    /// Writes the `[[approve]]` that a restore asks for, and returns its path.
    fn approval(&self, refused: &Ran) -> String {
        let text = flat(&refused.err);
        let backup =
            text.split("backup = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it says the time");
        self.write(
            "approvals.toml",
            &format!("[[approve]]\nhost = \"maps\"\naction = \"restore\"\nbackup = {backup:?}\nby = \"anna\"\n"),
        )
    }
}

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Calls of `gcloud` that change something, as `VERB SERVICE` or the words of Cloud SQL, without what `describe` says.
fn changes(calls: &[String]) -> Vec<String> {
    let of = |call: &String| {
        let words: Vec<&str> = call.split(' ').collect();
        match words.as_slice() {
            ["run", "services", "update", service, ..] => Some(format!("update {service}")),
            ["run", "services", "update-traffic", service, rest @ ..] => {
                let to = if rest.contains(&"--to-latest") { "latest" } else { "revision" };
                Some(format!("{service} to {to}"))
            }
            ["sql", "backups", does @ ("create" | "restore"), ..] => Some((*does).to_owned()),
            _ => None,
        }
    };
    calls.iter().filter_map(of).collect()
}

const OLD: &str = "100 % 1.3.0;";
const NEW: &str = "100 % 1.4.0;";
const BACK: &str = "100 % 1.3.0 pinned;";

/// T-02, T-13 to T-17, T-19, T-25, T-26.
#[test]
fn t_13_t_15_t_16_t_17_t_19_t_25_t_26_six_services_are_updated_in_their_order_each_proven_before_the_next() {
    let Some(project) = Project::on(Gcloud::StandIn, &SERVICES) else { return };
    let serving_before = project.google.state();
    let ran = project.upgrade("1.4.0").expect_code(0);
    let row = ran.row("maps");
    assert_eq!([&row[1], &row[3]], ["done", "1.3.0 → 1.4.0"], "{ran}");
    assert_eq!(project.serving(), [NEW; 6], "{ran}");

    let calls = project.google.calls();
    let wanted: Vec<_> =
        ["create".to_owned()].into_iter().chain(SERVICES.map(|name| format!("update {name}"))).collect();
    assert_eq!(changes(&calls), wanted, "{ran}");
    // Described first, and asked for its address, where its users are answered, before the next one is described.
    let place = |call: &str| {
        calls.iter().position(|made| made.starts_with(call)).unwrap_or_else(|| panic!("{call}: {calls:#?}"))
    };
    for pair in SERVICES.windows(2) {
        let described = place(&format!("run services describe {} ", pair[0]));
        let updated = place(&format!("run services update {} ", pair[0]));
        let next = place(&format!("run services describe {} ", pair[1]));
        // The frontend is asked for the head of the migrations, too.
        assert!(described < updated && (updated < next || pair[1] == "frontend"), "{calls:#?}");
    }
    let asked = project.google.state()["asked"].to_string();
    for pair in SERVICES.windows(2) {
        let put = |name: &str| {
            asked
                .find(&format!("PUT /apis/serving.knative.dev/v1/namespaces/acme/services/{name}\""))
                .expect("it was updated")
        };
        let health = asked[put(pair[0])..].find(&format!("GET /at/{}/api/health", pair[0])).expect("it was asked")
            + put(pair[0]);
        assert!(health < put(pair[1]), "{asked}");
    }
    assert!(calls.len() <= 45, "{} calls: {calls:#?}", calls.len());

    // What served before, and the backup, are in what is kept of the run.
    let told = project.longshore(["--output", "json", "history", "show", "last"]).run().expect_code(0);
    for service in SERVICES {
        let before = serving_before["services"][service]["template"]["metadata"]["name"].as_str().expect("a revision");
        assert!(told.out.contains(&format!("\"before\":\"{before}\"")), "{service}: {told}");
    }
    let backup = project.google.state()["sql"]["backups"].as_object().expect("backups").keys().next().cloned();
    assert!(told.out.contains(&format!("\"id\":\"{}\"", backup.expect("a backup"))), "{told}");
    project.google.expect_no_surprise();
}

/// The whole way with the real `gcloud`: there and back, with the data; then there again over the pin.
#[test]
fn t_23_t_24_t_13_t_15_t_26_the_real_gcloud_upgrades_goes_back_with_the_data_and_upgrades_over_the_pin() {
    there_and_back(Gcloud::Real, &["frontend"]);
}

#[test]
fn t_23_t_24_a_rollback_sends_traffic_back_then_restores_that_very_backup_and_the_next_upgrade_serves() {
    there_and_back(Gcloud::StandIn, &SERVICES);
}

fn there_and_back(gcloud: Gcloud, services: &[&str]) {
    let Some(project) = Project::on(gcloud, services) else { return };
    let before = project.google.database();
    // Somebody sent traffic back by hand some time ago: what is deployed now serves nobody, unless that is undone.
    for service in services {
        let revision = project.google.state()["services"][service]["template"]["metadata"]["name"].clone();
        let to = format!("{}=100", revision.as_str().expect("a name"));
        let region = ["--region", "europe-west1", "--quiet"];
        project
            .google
            .gcloud(&[&["run", "services", "update-traffic", service, "--to-revisions", &to], &region[..]].concat());
    }
    project.google.calls();

    let ran = project.upgrade("1.4.0").expect_code(0);
    assert_eq!(project.serving(), vec![NEW; services.len()], "{ran}");
    let backup = project.google.state()["sql"]["backups"].as_object().expect("backups").keys().next().cloned();
    assert_ne!(project.google.database().0, before.0, "the frontend was to migrate");
    let upgraded = project.google.calls();
    let latest: Vec<_> =
        services.iter().flat_map(|name| [format!("update {name}"), format!("{name} to latest")]).collect();
    assert_eq!(changes(&upgraded)[1..], latest, "{ran}");

    // Without an approval nothing is called that changes anything.
    let refused = project.longshore(["rollback", "last", "--yes"]).run().expect_code(6);
    assert_eq!(changes(&project.google.calls()), [""; 0], "{refused}");
    let approvals = project.approval(&refused);
    let ran = project.longshore(["rollback", "last", "--yes", "--approvals", &approvals]).run().expect_code(0);
    assert_eq!(project.serving(), vec![BACK; services.len()], "{ran}");
    let after = project.google.database();
    assert_eq!((&after.0, &after.1), (&before.0, &before.1), "{ran}");
    // The one of the upgrade, though a newer copy was made before the restore.
    assert_eq!((after.2, project.google.state()["sql"]["restored"].clone()), (2, json!([backup])), "{ran}");
    let calls = project.google.calls();
    let made = changes(&calls);
    let restored = made.iter().position(|call| call == "restore").expect("it was restored");
    let reversed: Vec<_> = services.iter().rev().map(|name| format!("{name} to revision")).collect();
    assert_eq!(made[..restored], [vec!["create".to_owned()], reversed].concat(), "{ran}");
    eprintln!("gcloud was called {} times to upgrade and {} times to go back", upgraded.len(), calls.len());
    project.google.expect_no_surprise();
    if gcloud == Gcloud::Real {
        // It takes a second for each call, and what a rollback leaves is what it began with.
        return;
    }

    let ran = project.upgrade("1.4.1").expect_code(0);
    assert_eq!(project.serving(), vec!["100 % 1.4.1;"; services.len()], "{ran}");
    assert_eq!(changes(&project.google.calls())[1..], latest, "{ran}");
    project.google.expect_no_surprise();
}

#[test]
fn t_18_t_20_a_third_service_that_is_not_well_stops_the_rest_and_all_three_go_back_in_reverse() {
    let Some(project) = Project::on(Gcloud::StandIn, &SERVICES) else { return };
    let before = project.google.state();
    project.google.faults(&json!({ "unhealthy": ["optimizer:1.3.1"] }));
    // A patch: its data does not move, so that the host goes back by itself.
    let ran = project.upgrade("1.3.1");
    assert_ne!(ran.code, Some(0), "{ran}");
    assert_eq!(ran.row("maps")[1], "undone", "{ran}");
    let ran = ran.says("It is well");
    let there = ["create", "update model-service", "update query-router", "update optimizer"];
    let back = ["optimizer to revision", "query-router to revision", "model-service to revision"];
    assert_eq!(changes(&project.google.calls()), [&there[..], &back[..]].concat(), "{ran}");
    assert_eq!(project.serving(), [BACK, BACK, BACK, OLD, OLD, OLD], "{ran}");
    let after = project.google.state();
    for untouched in &SERVICES[3..] {
        assert_eq!(after["services"][untouched], before["services"][untouched]);
    }
    for back in &SERVICES[..3] {
        let recorded = &before["services"][back]["template"]["metadata"]["name"];
        assert_eq!(&after["services"][back]["traffic"][0]["revisionName"], recorded);
    }
    // What was wrong is told.
    let told = project.longshore(["history", "show", "last", "--host", "maps"]).run().expect_code(0);
    told.says("is not well").says("degraded");
    project.google.expect_no_surprise();
}

#[test]
fn t_15_a_revision_that_never_becomes_ready_serves_nobody_and_is_taken_back() {
    let Some(project) = Project::on(Gcloud::StandIn, &SERVICES[4..]) else { return };
    project.google.faults(&json!({ "broken": ["gateway:1.3.1"] }));
    let ran = project.upgrade("1.3.1");
    assert_eq!(ran.row("maps")[1], "undone", "{ran}");
    assert_eq!(project.serving(), [BACK, BACK], "{ran}");
    let told = project.longshore(["history", "show", "last", "--host", "maps"]).run().expect_code(0);
    told.says("is not ready and cannot serve traffic");
    // The next one goes through, over the pins and the bad revision.
    project.google.faults(&json!({}));
    let ran = project.longshore(["retry", "--failed"]).run().expect_code(0);
    assert_eq!(project.serving(), ["100 % 1.3.1;", "100 % 1.3.1;"], "{ran}");
}

#[test]
fn t_15_an_unknown_service_is_never_created_whether_it_is_a_typo_or_went_in_between() {
    let Some(project) = Project::on(Gcloud::StandIn, &SERVICES) else { return };
    let fleet = fs::read_to_string(project.path("inventory/fleet.toml")).expect("read");
    project.write("inventory/fleet.toml", &fleet.replace("\"optimizer\"", "\"optimiser\""));
    project.upgrade("1.3.1").expect_code(6).says("the installed version is unknown");
    // Not even where somebody says what is installed.
    let said = ["apply", "tessallite-upgrade", "--to", "1.3.1", "--from", "maps=1.3.0", "--yes"];
    let ran = project.longshore(said).run();
    assert_eq!(ran.row("maps")[1], "parked", "{ran}");
    ran.says("optimiser: there is no such service");
    assert_eq!(changes(&project.google.calls()), [""; 0]);
    assert_eq!(project.serving(), [OLD; 6]);

    // There when the run began, and not any more when its turn comes.
    project.write("inventory/fleet.toml", &fleet);
    project.google.faults(&json!({ "gone": ["optimizer"] }));
    let ran = project.upgrade("1.3.1");
    assert_ne!(ran.code, Some(0), "{ran}");
    let made = changes(&project.google.calls());
    assert!(
        !made.contains(&"update optimizer".to_owned()) && made.contains(&"update query-router".to_owned()),
        "{made:?}\n{ran}"
    );
    let state = project.google.state();
    assert_eq!(state["services"].as_object().expect("services").len(), 5, "{ran}");
    let asked = state["asked"].to_string();
    assert!(!asked.contains("POST /apis/serving"), "{asked}");
}

#[test]
fn t_14_t_02_without_a_backup_that_is_listed_as_successful_nothing_is_updated() {
    for (faults, why) in [
        (json!({ "backup": "FAILED" }), "the BACKUP_VOLUME failed"),
        (json!({ "hidden": true }), "not in the list of backups"),
        (json!({ "failing": ["backupRuns"] }), "unavailable"),
    ] {
        let Some(project) = Project::on(Gcloud::StandIn, &SERVICES[4..]) else { return };
        project.google.faults(&faults);
        let ran = project.upgrade("1.4.0");
        assert_eq!(ran.row("maps")[1], "failed", "{faults}: {ran}");
        assert_eq!(project.serving(), [OLD; 2], "{ran}");
        assert!(changes(&project.google.calls()).iter().all(|call| call == "create"), "{ran}");
        project.longshore(["history", "show", "last", "--host", "maps"]).run().expect_code(0).says(why);
    }
}

#[test]
fn t_24_t_20_after_the_schema_moved_a_person_decides_and_only_an_approved_restore_touches_the_data() {
    let Some(project) = Project::on(Gcloud::StandIn, &SERVICES[3..]) else { return };
    let before = project.google.database();
    project.google.faults(&json!({ "unhealthy": ["gateway:1.4.0"] }));
    let ran = project.upgrade("1.4.0").expect_code(3);
    assert_eq!(ran.row("maps")[1], "held", "{ran}");
    assert_eq!(project.google.database().0, "20260601_layers", "the frontend was to migrate: {ran}");
    project.google.calls();

    let restore = ["resume", "--as", "restore", "--host", "maps"];
    let refused = project.longshore(restore).run().expect_code(6).tells("the default is no");
    assert_eq!(changes(&project.google.calls()), [""; 0], "{refused}");
    let approvals = project.approval(&refused);
    // A restore that fails leaves the host held, and can be asked for again.
    project.google.faults(&json!({ "unhealthy": ["gateway:1.4.0"], "restore": "FAILED" }));
    let ran = project.longshore(restore.into_iter().chain(["--approvals", &approvals])).run();
    assert_eq!(ran.row("maps")[1], "held", "{ran}");
    assert_eq!(project.google.database().0, "20260601_layers", "{ran}");

    project.google.faults(&json!({ "unhealthy": ["gateway:1.4.0"] }));
    let backup = project.google.state()["sql"]["backups"].as_object().expect("backups").keys().next().cloned();
    let refused = project.longshore(restore).run().expect_code(6);
    let approvals = project.approval(&refused);
    let ran = project.longshore(restore.into_iter().chain(["--approvals", &approvals])).run().expect_code(1);
    let ran = ran.says("the data of the run's own backup was put back");
    let after = project.google.database();
    assert_eq!((&after.0, &after.1), (&before.0, &before.1), "{ran}");
    assert_eq!(project.google.state()["sql"]["restored"], json!([backup]), "{ran}");
    assert_eq!(project.serving(), [BACK; 3], "{ran}");
}

#[test]
fn t_26_traffic_that_is_split_is_no_upgrade() {
    let Some(project) = Project::on(Gcloud::StandIn, &SERVICES[..2]) else { return };
    project.google.faults(&json!({ "split": ["query-router"] }));
    let ran = project.upgrade("1.3.1");
    assert_eq!(ran.row("maps")[1], "undone", "{ran}");
    assert_eq!(project.serving(), [BACK, BACK], "{ran}");
    let told = project.longshore(["history", "show", "last", "--host", "maps"]).run().expect_code(0);
    told.says("the new revision does not get all the traffic");
}

#[test]
fn t_19_t_12_a_schema_that_is_not_the_one_of_the_release_is_no_success() {
    let Some(project) = Project::on(Gcloud::StandIn, &SERVICES[4..]) else { return };
    let releases = fs::read_to_string(project.path("roles/tessallite/releases.toml")).expect("read");
    let other = releases.replace(
        "version = \"1.3.1\"\nmigration = \"20260301_tiles\"",
        "version = \"1.3.1\"\nmigration = \"20260401_other\"\nkind = \"patch\"",
    );
    assert_ne!(other, releases);
    project.write("roles/tessallite/releases.toml", &other);
    let ran = project.upgrade("1.3.1");
    assert_ne!(ran.code, Some(0), "{ran}");
    let told = project.longshore(["history", "show", "last", "--host", "maps"]).run().expect_code(0);
    told.says("wanted db_migration 20260401_other");
    assert_eq!(project.serving(), [BACK; 2], "{ran}");
}

#[test]
fn t_17_a_service_that_lets_nobody_in_is_asked_as_the_user_of_gcloud_whose_token_no_argument_shows() {
    let Some(project) = Project::on(Gcloud::StandIn, &SERVICES[4..]) else { return };
    project.google.faults(&json!({ "private": ["gateway"] }));
    let ran = project.upgrade("1.3.1");
    assert_eq!(ran.row("maps")[1], "undone", "{ran}");
    let fleet = fs::read_to_string(project.path("inventory/fleet.toml")).expect("read");
    project
        .write("inventory/fleet.toml", &fleet.replace("health-within = 3", "health-within = 3\nauthenticate = true"));
    let ran = project.upgrade("1.3.1").expect_code(0);
    assert_eq!(project.serving(), ["100 % 1.3.1;"; 2], "{ran}");
    let told = project.longshore(["--output", "json", "history", "show", "last"]).run().expect_code(0);
    let asked = project.google.asked();
    assert!(asked.contains("/at/gateway/api/health"), "{asked}");
    assert!(!format!("{asked}{ran}{told}").contains("identity-of-the-test"), "{asked}");
}
