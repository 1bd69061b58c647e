//! `SVRunner` on Fly: its data on a volume, its releases as images, on the stand-in for `fly`.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use longshore::event::HostState;

use crate::{
    command::{Longshore, Ran, flat},
    edge::{self, Behind},
    fleet::Fleet,
    fly::{Fly, MOUNTS, TOKEN, toml},
    sshd::skip,
    svrunner_lab::{PASSWORD, install, release},
};

/// A server of a release, which ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct OnFly {
    fleet: Fleet,
    fly: Fly,
    _servers: Vec<Server>,
}

impl OnFly {
    fn with(apps: &[&str]) -> Option<Self> {
        let needed = ["/usr/bin/python3", "/usr/bin/jq", "/usr/bin/curl", "/usr/bin/sqlite3"];
        if let Some(missing) = needed.into_iter().find(|file| !Path::new(file).exists()) {
            skip(&format!("there is no {missing}"));
            return None;
        }
        let fleet = Fleet::new()?;
        let fly = Fly::new(fleet.lab.path("fly"));
        let mut servers = Vec::new();
        let mut inventory =
            "[defaults]\nprofile = \"svrunner-fly\"\n[groups.svrunner]\nhosts = [\"sv-*\"]\n".to_owned();
        for app in apps {
            let folder = fly.app(app, "2.0.0", &["2.0.0", "2.0.1", "2.1.0"], &[]);
            toml(&folder, app, "", MOUNTS);
            fs::create_dir(folder.join("snapshots")).expect("made");
            // What the volume has, and a server of each release that works on it; people reach the one that runs.
            let home = folder.join("home");
            install(&home, 0, "{}");
            fs::rename(home.join("srv/shared/files"), folder.join("data/files")).expect("moved");
            symlink(folder.join("data/files"), home.join("srv/shared/files")).expect("linked");
            fs::write(folder.join("behaviour.json"), "{}").expect("written");
            let mut behind = BTreeMap::new();
            for version in ["2.0.0", "2.0.1"] {
                let place = home.join("srv/releases").join(version);
                release(&place, version, 1);
                for (name, to) in [("files", folder.join("data/files")), (".env", home.join("srv/shared/.env"))] {
                    let _ = fs::remove_file(place.join(name));
                    symlink(to, place.join(name)).expect("linked");
                }
                let (server, port) = serve(&place);
                servers.push(server);
                behind.insert(version, Behind::Server(format!("127.0.0.1:{port}")));
            }
            let port = edge::listen(folder.join("running"), behind);
            let folder = folder.display();
            inventory += &format!(
                "[hosts.{app}]\n[hosts.{app}.vars]\napp = \"{app}\"\nimage = \"registry.fly.io/{app}\"\npath = \"{folder}\"\n\
                 snapshots = \"{folder}/snapshots\"\nsnapshot-tries = 3\naddress = \"http://127.0.0.1:{port}\"\n\
                 fly-token = {{ secret = {{ env = \"TOKEN\" }} }}\nspot-password = {{ secret = {{ env = \"SPOT\" }} }}\n"
            );
        }
        fleet.write("inventory/fleet.toml", &inventory);
        let copy = |file: &str, changes: &[(&str, &str)]| {
            let mut text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a document");
            for (old, new) in changes {
                assert!(text.contains(old), "{file} has no {old}");
                text = text.replace(old, new);
            }
            fleet.write(file, &text);
        };
        copy("inventory/svrunner-profiles.toml", &[]);
        copy("roles/svrunner/role.toml", &[("for = \"30s\"", "for = \"3s\"")]);
        copy("roles/svrunner/releases.toml", &[]);
        let canary = "canary = { hosts = 1, represent = [\"profile\"] }\nwaves = [\"rest\"]\nsoak = \"5m\"\n";
        copy("playbooks/svrunner-upgrade.toml", &[(canary, "budget = { failed = 99 }\n")]);
        Some(Self { fleet, fly, _servers: servers })
    }

    fn longshore<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Longshore {
        self.fleet.longshore(arguments).env("TOKEN", TOKEN).env("SPOT", PASSWORD).env("PATH", &self.fly.path())
    }

    fn upgrade(&self) -> Ran {
        self.longshore(["apply", "svrunner-upgrade", "--to", "2.0.1", "--yes"]).run()
    }
}

/// Starts a server in the folder of its release, and waits until it listens.
fn serve(place: &Path) -> (Server, u16) {
    let port = crate::svrunner_lab::port();
    let mut server = Command::new("/usr/bin/python3");
    server.args(["server.py", &port.to_string()]).current_dir(place).stdin(Stdio::null()).stderr(Stdio::null());
    let server = Server(server.spawn().expect("it starts"));
    let until = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "the server of {} does not listen", place.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    (server, port)
}

#[test]
fn s_13_s_33_s_42_on_fly_the_volume_stays_and_whatever_would_lose_it_is_refused_or_taken_back() {
    let apps = [
        ("sv-good", "done", ""),
        // A deployment would leave the machine with another volume, or the data beside it.
        ("sv-other", "parked", "mounted is /data, fly.toml says /srv"),
        // Nobody knows why: the platform gave the machine a new one, which the image of before has, too.
        ("sv-new", "stuck", "vol_2=/data instead of vol_1=/data"),
        // A snapshot that is only promised is none.
        ("sv-promised", "undone", "the snapshot was not made in time"),
    ];
    let Some(product) = OnFly::with(&apps.map(|(app, _, _)| app)) else { return };
    toml(&product.fly.folder("sv-other"), "sv-other", "", &MOUNTS.replace("/data", "/srv"));
    product.fly.fault("sv-new", "2.0.1:new-volume");
    product.fly.fault("sv-promised", "snapshots");
    let ran = product.upgrade().expect_code(3);
    let state = product.longshore(["--output", "json", "history", "show", "1"]).run().expect_code(0).state();
    for (app, outcome, cause) in apps {
        let of = |host: &HostState| host.outcome.map_or_else(String::new, |outcome| outcome.as_str().to_owned());
        let (_, host) = state.hosts.iter().find(|(name, _)| name.as_str() == app).expect("the host");
        let told = flat(&product.longshore(["history", "show", "1", "--host", app]).run().expect_code(0).out);
        assert_eq!(of(host), outcome, "{app}: {told}\n{ran}");
        assert!(told.contains(cause), "{app} does not say {cause}: {told}");
        let deployed: Vec<_> =
            product.fly.changes(app).into_iter().filter(|call| call.starts_with("deploy ")).collect();
        let expected = if outcome == "done" { "2.0.1" } else { "2.0.0" };
        assert_eq!(product.fly.runs(app), expected, "{app}: {deployed:?}\n{ran}");
        match app {
            "sv-good" => assert_eq!(deployed.len(), 1, "{ran}"),
            "sv-new" => assert!(deployed.len() == 2 && deployed[1].contains("--skip-release-command"), "{deployed:?}"),
            _ => assert!(deployed.is_empty(), "{app}: {deployed:?}\n{ran}"),
        }
    }
    // The copy that counts is a snapshot that was made in this run, of the volume that the machine has.
    let records = fs::read_dir(product.fly.folder("sv-good").join("snapshots")).expect("there").flatten();
    let records: Vec<PathBuf> =
        records.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    let record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&records[0]).expect("there")).expect("JSON");
    assert_eq!(
        (record["id"].as_str(), record["volume"].as_str(), record["status"].as_str()),
        (Some("vs_1"), Some("vol_1"), Some("created"))
    );
    // Whoever looks later compares with what the upgrade recorded.
    product.longshore(["check", "sv-good"]).run().expect_code(0);
    product.fly.change("sv-good", |state| {
        let mut other = state["volumes"][0].clone();
        other["id"] = "vol_2".into();
        state["volumes"].as_array_mut().expect("a list").push(other);
        state["machines"][0]["config"]["mounts"][0]["volume"] = "vol_2".into();
    });
    let ran = product.longshore(["check", "sv-good"]).run().expect_code(1);
    ran.says("vol_2=/data instead of vol_1=/data");
}

#[test]
fn s_42_s_43_s_44_on_fly_a_restore_gives_the_machine_a_volume_of_the_run_s_own_snapshot_and_keeps_the_old_one() {
    let Some(product) = OnFly::with(&["sv-a"]) else { return };
    let folder = product.fly.folder("sv-a");
    let sql = |place: &str, query: &str| {
        let ran = Command::new("/usr/bin/sqlite3").arg(folder.join(place).join("files/local.db")).arg(query).output();
        let ran = ran.expect("sqlite3 runs");
        assert!(ran.status.success(), "{query}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("text").trim().to_owned()
    };
    let all = "select (select user_version from pragma_user_version) || ' ' || group_concat(id || name) from screens";
    let before = sql("data", all);
    let toml_before = fs::read_to_string(folder.join("fly.toml")).expect("there");
    // A release that migrates when it starts, badly, and then is not well. It would do so again.
    let starts = format!(
        "#!/bin/sh\n[ \"$1\" != 2.1.0 ] || sqlite3 {0}/data/files/local.db \"pragma user_version = 2; delete from screens\"\n\
         echo \"$1\" >>{0}/started\n",
        folder.display()
    );
    fs::write(folder.join("starts"), starts).expect("written");
    fs::set_permissions(folder.join("starts"), fs::Permissions::from_mode(0o755)).expect("may be run");
    product.fly.fault("sv-a", "2.1.0:unhealthy");
    let ran = product.longshore(["apply", "svrunner-upgrade", "--to", "2.1.0", "--ack", "2.1.0", "--yes"]).run();
    let ran = ran.expect_code(3);
    assert_eq!(ran.row("sv-a")[1], "held", "{ran}");
    assert_ne!(sql("data", all), before, "{ran}");
    sql("data", "insert into screens (name) values ('since then')");
    let moved = sql("data", all);

    // Nobody's data is replaced without a word for this very snapshot.
    let restore = ["resume", "--as", "restore", "--host", "sv-a"];
    let refused = product.longshore(restore).run().expect_code(6);
    assert!(!product.fly.changes("sv-a").iter().any(|call| call.starts_with("volumes create")), "{refused}");
    let text = flat(&refused.err);
    let backup = text.split("backup = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it says the time");
    let word = format!("[[approve]]\nhost = \"sv-a\"\naction = \"restore\"\nbackup = \"{backup}\"\nby = \"anna\"\n");
    let approvals = product.fleet.write("approvals.toml", &word).to_string_lossy().into_owned();
    // A volume that is never made leaves what is there in its place.
    product.fly.fault("sv-a", "2.1.0:unhealthy\nvolumes");
    let ran = product.longshore(restore.into_iter().chain(["--approvals", &approvals])).run().expect_code(3);
    assert_eq!(ran.row("sv-a")[1], "held", "{ran}");
    let state = product.fly.state("sv-a");
    assert!(sql("data", all) == moved && state["volumes"][0]["attached_machine_id"] == "m1", "{ran}");
    assert_eq!(fs::read_to_string(folder.join("fly.toml")).expect("there"), toml_before);
    product.fly.fault("sv-a", "2.1.0:unhealthy");
    let ran = product.longshore(restore.into_iter().chain(["--approvals", &approvals])).run();
    assert_eq!(ran.row("sv-a")[1], "undone", "{ran}");
    let state = product.fly.state("sv-a");
    assert_eq!(state["volumes"].as_array().map(Vec::len), Some(2), "one was made, once: {state}");

    // Another machine, with the image of before and a volume of the snapshot; the bad release never saw that.
    assert_eq!((sql("data", all), product.fly.runs("sv-a").as_str()), (before, "2.0.0"), "{ran}");
    let started = fs::read_to_string(folder.join("started")).expect("there");
    assert_eq!(started.lines().last(), Some("2.0.0"), "{started}");
    assert_eq!(started.lines().filter(|tag| *tag == "2.1.0").count(), 1, "{started}");
    let state = product.fly.state("sv-a");
    let mount = &state["machines"][0]["config"]["mounts"][0];
    assert_eq!((mount["volume"].as_str(), mount["path"].as_str()), (Some("vol_2"), Some("/data")), "{ran}");
    assert_eq!(state["machines"].as_array().map(Vec::len), Some(1), "{ran}");
    // What was there is kept, with nothing attached to it, and so is the file of before.
    assert_eq!(sql("volumes/vol_1", all), moved, "{ran}");
    assert!(state["volumes"][0]["id"] == "vol_1" && state["volumes"][0]["attached_machine_id"].is_null(), "{state}");
    let kept = fs::read_dir(&folder).expect("there").flatten().map(|entry| entry.path());
    let kept = kept.into_iter().find(|path| path.to_string_lossy().contains("fly.toml.pre_")).expect("it is kept");
    assert_eq!(fs::read_to_string(kept).expect("there"), toml_before);
    let changes = product.fly.changes("sv-a");
    let deployed = changes.iter().rfind(|call| call.starts_with("deploy ")).expect("a deployment");
    assert!(deployed.contains(":2.0.0@sha256:") && deployed.contains("--skip-release-command"), "{changes:?}");

    // It is the host's volume from now on: whoever looks is content, and so is the next upgrade.
    product.fly.fault("sv-a", "");
    product.longshore(["check", "sv-a", "--role", "svrunner"]).run().expect_code(0);
    product.upgrade().expect_code(0);
    assert_eq!(product.fly.state("sv-a")["machines"][0]["config"]["mounts"][0]["volume"], "vol_2");
}
