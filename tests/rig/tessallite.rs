//! Tessallite's runbook under Docker Compose, on a host of the rig, beside what is installed there.

use std::process::Command;

use crate::rig::{Install, Project, Rig, source};

const HOST: &str = "fovea-2";

/// An install of Tessallite; taken away when dropped.
struct Maps<'a> {
    rig: &'a Rig,
    project: Project<'a>,
}

impl Drop for Maps<'_> {
    fn drop(&mut self) {
        install("none");
    }
}

#[track_caller]
fn install(version: &str) {
    let ran =
        Command::new(source().join("tests/rig/tessallite/install")).args([HOST, version]).output().expect("it runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()));
}

impl<'a> Maps<'a> {
    fn installed(rig: &'a Rig, version: &str) -> Self {
        install(version);
        let hosts: [Install; 1] = [(HOST, "", "cpu")];
        let project = rig.project(&hosts);
        std::fs::create_dir_all(project.path("roles/tessallite")).expect("made");
        for file in ["role.toml", "releases.toml"] {
            let name = format!("roles/tessallite/{file}");
            std::fs::copy(source().join(&name), project.path(&name)).expect("copied");
        }
        let profiles = std::fs::read_to_string(source().join("inventory/tessallite-profiles.toml")).expect("read");
        assert!(profiles.contains(r#"for = "60s""#));
        project.write("inventory/tessallite-profiles.toml", &profiles.replace(r#"for = "60s""#, r#"for = "15s""#));
        let playbook = std::fs::read_to_string(source().join("playbooks/tessallite-upgrade.toml")).expect("read");
        project.write(
            "playbooks/tessallite-upgrade.toml",
            &playbook.replace("soak = \"5m\"\n", "").replace("hosts = \"tessallite\"", "hosts = \"maps\""),
        );
        let maps = Self { rig, project };
        maps.inventory("/var/backups");
        maps
    }

    fn inventory(&self, backups: &str) {
        self.project.inventory(&[(HOST, "", "cpu")], "");
        self.project.change("inventory/rig.toml", &format!("[hosts.{HOST}]"), "[hosts.maps]");
        self.project.change(
            "inventory/rig.toml",
            "profile = \"fovea\"",
            &format!("profile = \"tessallite\"\nvars = {{ path = \"/srv/tessallite\", backups = {backups:?} }}"),
        );
        self.project.change("inventory/rig.toml", "hosts = [\"fovea-*\"]", "hosts = [\"maps\"]");
    }

    fn upgrade(&self, to: &str) -> crate::command::Ran {
        self.project.longshore(["apply", "tessallite-upgrade", "--to", to, "--yes"]).run()
    }

    fn sql(&self, query: &str) -> String {
        let client = ["docker", "exec", "tessallite-postgres-1", "psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"];
        self.rig.says(HOST, &[&client[..], &["-U", "tessallite", "-d", "tessallite", "-c", query]].concat())
    }

    /// The rows that users made, each as often as it is there.
    fn tiles(&self) -> String {
        self.sql("select string_agg(name || zoom, ' ' order by name, zoom) from tiles")
    }

    /// The services that run, each with its image and when it started.
    fn running(&self) -> Vec<(String, String, String)> {
        let format = "{{index .Config.Labels \"com.docker.compose.service\"}} {{.Image}} {{.State.StartedAt}}";
        let script = format!(
            "docker inspect -f '{format}' $(docker ps -q --filter label=com.docker.compose.project=tessallite) | sort"
        );
        let listed = self.rig.says(HOST, &["sh", "-ec", &script]);
        let words = listed.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        words.map(|words| (words[0].clone(), words[1].clone(), words[2].clone())).collect()
    }

    /// The image of a release, by its id.
    fn image(&self, release: &str) -> String {
        let image = format!("registry:5000/tessallite/server:{release}");
        self.rig.says(HOST, &["docker", "image", "inspect", "-f", "{{.Id}}", &image])
    }

    fn shell(&self, script: &str) -> String {
        self.rig.says(HOST, &["sh", "-ec", &format!("cd /srv/tessallite\n{script}")])
    }
}

/// There, proven, and back again with the data: T-02, T-04, T-06 to T-09, T-11, T-12, T-21, T-22, T-25.
#[test]
fn t_04_t_06_t_07_t_08_t_09_t_11_t_12_t_21_t_22_t_25_compose_goes_there_in_order_and_back_with_its_data() {
    let Some(rig) = Rig::with(&[HOST]) else { return };
    let maps = Maps::installed(&rig, "1.3.0");
    let (tiles, old) = (maps.tiles(), maps.image("1.3.0"));
    assert_eq!(tiles, "a1 a1 b2");
    let settings = maps.shell("cat .env");

    let ran = maps.upgrade("1.4.0").expect_code(0);
    let row = ran.row("maps");
    assert_eq!([&row[1], &row[3]], ["done", "1.3.0 → 1.4.0"], "{ran}");
    let running = maps.running();
    let new = maps.image("1.4.0");
    let services: Vec<_> = running.iter().map(|(service, ..)| service.as_str()).collect();
    let all = ["frontend", "gateway", "model-service", "optimizer", "postgres", "query-router", "scheduler"];
    assert_eq!(services, all, "{ran}");
    assert!(running.iter().all(|(service, image, _)| service == "postgres" || *image == new), "{running:?}\n{ran}");
    let started = |service: &str| running.iter().find(|(name, ..)| name == service).expect("it runs").2.clone();
    for (service, needs) in [("gateway", "query-router"), ("query-router", "frontend"), ("scheduler", "optimizer")] {
        assert!(started(needs) < started(service), "{running:?}\n{ran}");
    }
    assert_eq!(maps.sql("select max(version) from schema_migrations"), "20260601_layers");
    assert_eq!(maps.tiles(), tiles);
    let copies = maps.shell("ls /var/backups");
    assert!(copies.contains("tessallite-"), "{copies}");
    // What ran before, by its id, and the copy are in what is kept of the run.
    let kept = maps.project.kept();
    let copy = copies.lines().find(|name| !name.contains("receipt")).expect("a copy");
    assert!(kept.contains(&old) && kept.contains(copy), "{old} {copy}");

    // Rows that come after the copy, and one that is changed.
    maps.sql("insert into tiles values ('new', 9); update tiles set zoom = 7 where name = 'b'");
    let refused = maps.project.longshore(["rollback", "last", "--yes"]).run().expect_code(6);
    assert_eq!(maps.tiles(), "a1 a1 b7 new9", "{refused}");
    let approvals = maps.project.approval(&refused, "maps");
    let ran = maps.project.longshore(["rollback", "last", "--yes", "--approvals", &approvals]).run().expect_code(0);
    assert_eq!(maps.tiles(), tiles, "{ran}");
    assert_eq!(maps.sql("select max(version) from schema_migrations"), "20260301_tiles");
    assert!(maps.running().iter().all(|(service, image, _)| service == "postgres" || *image == old), "{ran}");
    assert_eq!(maps.shell("cat .env"), settings);
    // What was replaced is kept beside it, whole.
    let left = maps.sql("select datname from pg_database where datname like 'tessallite\\_pre\\_%'");
    let client = format!(
        "docker exec tessallite-postgres-1 psql -X -A -t -U tessallite -d {left} -c 'select count(*) from tiles'"
    );
    assert_eq!(maps.shell(&client), "4", "{ran}");
}

#[test]
fn t_09_t_10_a_service_that_exits_fails_the_host_with_its_last_lines_and_the_host_goes_back() {
    let Some(rig) = Rig::with(&[HOST]) else { return };
    let maps = Maps::installed(&rig, "1.4.0");
    let (tiles, before) = (maps.tiles(), maps.image("1.4.0"));
    let ran = maps.upgrade("1.4.1");
    assert_eq!(ran.row("maps")[1], "undone", "{ran}");
    // `up` was content. What it said last is with the host's result.
    let ran = ran.says("optimizer is exited, and said last:").says("plan.bin has version 3, wanted 4");
    let running = maps.running();
    assert_eq!(running.len(), 7, "{running:?}\n{ran}");
    assert!(running.iter().all(|(service, image, _)| service == "postgres" || *image == before), "{running:?}\n{ran}");
    assert_eq!(maps.tiles(), tiles);

    // One that is down is no host to begin with, although nobody tried to start it.
    maps.shell("docker compose stop -t 1 scheduler");
    let ran = maps.upgrade("1.5.0");
    assert_eq!(ran.row("maps")[1], "parked", "{ran}");
    ran.says("scheduler is exited");
}

#[test]
fn t_20_t_22_t_03_a_release_that_migrates_and_is_not_well_is_held_and_the_run_s_own_copy_brings_it_back() {
    let Some(rig) = Rig::with(&[HOST]) else { return };
    let maps = Maps::installed(&rig, "1.4.0");
    let before = maps.sql("select string_agg(name || zoom || layer, ' ' order by name, zoom) from tiles");
    let ran = maps.upgrade("1.5.0").expect_code(3);
    assert_eq!(ran.row("maps")[1], "held", "{ran}");
    assert_eq!(maps.sql("select count(*) from tiles"), "2", "it was to lose a row: {ran}");
    // Stopped, with its logs kept; the database runs on.
    let running: Vec<_> = maps.running().into_iter().map(|(service, ..)| service).collect();
    assert_eq!(running, ["postgres"], "{ran}");
    assert!(maps.shell("cat incidents/*.log").contains("migrated to 20260901_grid"), "{ran}");

    let restore = ["resume", "--as", "restore", "--host", "maps"];
    let refused = maps.project.longshore(restore).run().expect_code(6);
    let approvals = maps.project.approval(&refused, "maps");
    let ran = maps.project.longshore(restore.into_iter().chain(["--approvals", &approvals])).run().expect_code(1);
    let ran = ran.says("the data of the run's own backup was put back");
    assert_eq!(
        maps.sql("select string_agg(name || zoom || layer, ' ' order by name, zoom) from tiles"),
        before,
        "{ran}"
    );
    assert_eq!(maps.running().len(), 7, "{ran}");
    assert!(maps.shell("curl -s localhost:3000/api/health").contains("\"version\": \"1.4.0\""), "{ran}");
}

#[test]
fn t_05_t_04_a_copy_inside_of_a_container_s_data_or_one_that_a_terminal_changed_stops_all_that_follows() {
    let Some(rig) = Rig::with(&[HOST]) else { return };
    let maps = Maps::installed(&rig, "1.3.0");
    let (running, tiles) = (maps.running(), maps.tiles());
    let volume = maps.shell("docker volume inspect -f '{{.Mountpoint}}' tessallite_data");
    let root = maps.shell("docker info -f '{{.DockerRootDir}}'");
    for backups in [volume.clone(), format!("{volume}/backups"), format!("{root}/backups"), format!("/srv/../{volume}")]
    {
        maps.inventory(&backups);
        let ran = maps.upgrade("1.4.0");
        assert_ne!(ran.code, Some(0), "{ran}");
        ran.says("which is a container's").says("set `backups` to another folder");
    }
    // A terminal puts a CR before each LF.
    maps.inventory("/var/backups");
    maps.shell("printf '#!/bin/sh\\ndocker compose exec -T postgres \"$@\" | sed \"s/\\$/\\\\r/\"\\n' >terminal; chmod 0755 terminal; chown deploy terminal");
    maps.project.change(
        "inventory/tessallite-profiles.toml",
        "keep = { daily = 14, weekly = 8 }\n[profiles.tessallite.verbs.backup.backup.postgres]\ndatabase = \"tessallite\"\nuser = \"tessallite\"\ndir = \"{{path}}\"\nthrough = \"docker compose exec -T postgres\"",
        "[profiles.tessallite.verbs.backup.backup.postgres]\ndatabase = \"tessallite\"\nuser = \"tessallite\"\ndir = \"{{path}}\"\nthrough = \"./terminal\"",
    );
    let ran = maps.upgrade("1.4.0");
    assert_ne!(ran.code, Some(0), "{ran}");
    let ran = ran.says("Back up the database");
    assert_eq!((maps.running(), maps.tiles()), (running, tiles), "{ran}");
    assert_eq!(maps.shell("find /var/backups -name 'tessallite-*' ! -name '.*'"), "", "{ran}");
    assert!(maps.shell("cat .env").contains("TESSALLITE_TAG=1.3.0"), "{ran}");
}
