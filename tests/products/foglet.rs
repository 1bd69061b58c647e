//! Foglet on Fly: the repository's role and profile, a strict stand-in for `fly`, a real `PostgreSQL`, and an OpenSSH
//! server that behaves as the board does.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use crate::{
    command::{Longshore, Ran, flat},
    edge::{self, Behind},
    fleet::Fleet,
    fly::{Fly, MOUNTS, TOKEN, toml},
    postgres::Postgres,
    sshd::{Sshd, run, user_name},
};
use longshore::event::HostState;

const COMMAND: &str = "release_command = 'bin/foglet_bbs eval \"FogletBbs.Release.seed()\"'";
const SECRETS: [&str; 2] = ["DATABASE_URL", "SECRET_KEY_BASE"];
pub const OLD: &str = "20260301090000";
pub const NEW: &str = "20260512100000";

/// What `bin/foglet_bbs` of each image does in the machine of the release command. Knows two words, and nothing else.
const RELEASE: &str = r#"#!/bin/sh
set -e
tag=${1##*:}
sql() { "BIN/psql" -X -q -v ON_ERROR_STOP=1 -h "SOCKET" -U postgres -d "DATABASE" -c "$1"; }
# As Ecto does it: what is applied is passed over on the way up, and what this release does not have on the way down.
there=$("BIN/psql" -X -A -t -h "SOCKET" -U postgres -d "DATABASE" -c "select count(*) from schema_migrations where version = 20260512100000")
case $2 in
  'bin/foglet_bbs eval "FogletBbs.Release.seed()"') ;;
  "bin/foglet_bbs eval 'FogletBbs.Release.rollback(FogletBbs.Repo, 20260512100000)'")
    case $tag in 0.3.*) sql "begin; alter table posts drop topic; delete from schema_migrations where version = 20260512100000; commit" ;; esac
    exit 0 ;;
  *) echo "unknown: $2" >&2; exit 64 ;;
esac
[ ! -e "$(dirname "$0")/migrations-fail" ] || { echo '** (Ecto.MigrationError) it does not go' >&2; exit 1; }
case $tag in
  0.3.*) [ "$there" = 1 ] || sql "begin; alter table posts add topic text; insert into schema_migrations values (20260512100000); commit" ;;
esac
[ ! -e "$(dirname "$0")/seeds-fail" ] || { echo 'seeds do not go' >&2; exit 1; }
[ -e "$(dirname "$0")/seeds-nothing" ] || sql "insert into config values ('name', 'Foglet') on conflict do nothing"
[ ! -e "$(dirname "$0")/seeds-for-tests" ] || sql "insert into users values ('qa-bot')"
"#;

pub struct Foglet {
    pub fleet: Fleet,
    pub fly: Fly,
    postgres: Postgres,
    /// The one that people know, one with another key, one without a screen.
    pub boards: [Sshd; 3],
}

/// A board to be: its name, and how people reach its release 0.2.1 or 0.3.0.
#[derive(Clone, Copy)]
pub enum Login {
    Good,
    Dead,
    OtherKey,
    NoScreen,
    /// The key that lay in the board's folder when its machine started: that of people, or another.
    ItsOwn,
}

impl Foglet {
    pub fn with(boards: &[(&str, Login)]) -> Option<Self> {
        if !Path::new("/usr/bin/python3").exists() || !Path::new("/usr/bin/jq").exists() {
            crate::sshd::skip("there is no /usr/bin/python3, or no jq");
            return None;
        }
        let fleet = Fleet::new()?;
        let postgres = Postgres::start()?;
        let fly = Fly::new(fleet.lab.path("fly"));
        fleet.lab.key("lookout", &[]);
        let lookout = fleet.lab.public("lookout");
        let board = |screen: &str, more: &str| {
            // The shell reads no file of whoever runs the test: that takes longer than the login.
            let command = format!("{more}ForceCommand {screen}\nMaxStartups 100\nSetEnv SHLVL=1");
            fleet.lab.sshd().authorized(&[&lookout]).line(&command).start()
        };
        let good = board("echo 'Welcome to Foglet'; sleep 5", "");
        let other = board("echo 'Welcome to Foglet'; sleep 5", "");
        // The first key of its kind is the one that is shown.
        let silent = board("sleep 5", &format!("HostKey {}\n", key_of(&fleet, &good).display()));
        let screens = [good, other, silent];
        let at = |board: &Sshd| Behind::Server(format!("{}:{}", board.address, board.port));
        let [good, other, silent] = &screens;
        let mut inventory = "[defaults]\nprofile = \"foglet-fly\"\n[groups.foglet]\nhosts = [\"board-*\"]\n".to_owned();
        for (name, login) in boards {
            let folder = fly.app(name, "0.2.0", &["0.2.0", "0.2.1", "0.3.0"], &SECRETS);
            toml(&folder, name, COMMAND, MOUNTS);
            let database = name.replace('-', "_");
            postgres.sql("postgres", &format!("create database {database}"));
            postgres.sql(
                &database,
                "create table schema_migrations (version bigint primary key); insert into schema_migrations values (20260301090000);
                 create table posts (id int primary key, body text, inserted_at timestamp); create table users (handle text);
                 create table config (key text primary key, value text);
                 insert into posts values (1, 'hello', '2026-11-20 09:00:00'); insert into users values ('lookout')",
            );
            let bin = postgres.bin.display().to_string();
            let socket = postgres.folder.path().display().to_string();
            let text = RELEASE.replace("BIN", &bin).replace("SOCKET", &socket).replace("DATABASE", &database);
            fs::write(folder.join("release"), text).expect("written");
            fs::set_permissions(folder.join("release"), fs::Permissions::from_mode(0o755)).expect("may be run");
            let keys = folder.join("data/ssh");
            fs::create_dir_all(&keys).expect("made");
            // The key of the board that people know.
            fs::copy(key_of(&fleet, good), keys.join("ssh_host_ed25519_key")).expect("copied");
            fs::create_dir_all(folder.join("backups")).expect("made");
            let running = folder.join("running");
            let new = match login {
                Login::Good => Some(at(good)),
                Login::Dead => None,
                Login::OtherKey => Some(at(other)),
                Login::NoScreen => Some(at(silent)),
                Login::ItsOwn => {
                    let starts = "#!/bin/sh\ncp \"$(dirname \"$0\")/data/ssh/ssh_host_ed25519_key\" \"$(dirname \"$0\")/shown\"\n";
                    fs::write(folder.join("starts"), starts).expect("written");
                    fs::set_permissions(folder.join("starts"), fs::Permissions::from_mode(0o755)).expect("may be run");
                    fs::copy(key_of(&fleet, good), folder.join("shown")).expect("copied");
                    let servers =
                        [good, other].map(|one| (key_of(&fleet, one), format!("{}:{}", one.address, one.port)));
                    Some(Behind::WithFile(folder.join("shown"), servers.into()))
                }
            };
            let old = if matches!(login, Login::ItsOwn) { new.clone().expect("it is there") } else { at(good) };
            let mut ssh = BTreeMap::from([("0.2.0", old)]);
            ssh.extend(["0.2.1", "0.3.0"].into_iter().filter_map(|tag| Some((tag, new.clone()?))));
            let ssh = edge::listen(running.clone(), ssh);
            let web = edge::listen(running, ["0.2.0", "0.2.1", "0.3.0"].map(|tag| (tag, Behind::Answer("ok"))).into());
            let folder = folder.display();
            inventory += &format!(
                "[hosts.{name}]\n[hosts.{name}.vars]\napp = \"{name}\"\nimage = \"registry.fly.io/{name}\"\npath = \"{folder}\"\n\
                 backups = \"{folder}/backups\"\naddress = \"http://127.0.0.1:{web}\"\nssh-host = \"127.0.0.1\"\nssh-port = {ssh}\n\
                 spot-user = \"{}\"\nspot-key = \"{}\"\nfly-token = {{ secret = {{ env = \"TOKEN\" }} }}\ndb-host = \"{socket}\"\n\
                 db-name = \"{database}\"\ndb-user = \"postgres\"\ndb-password = {{ secret = {{ env = \"DBPW\" }} }}\n",
                user_name(),
                fleet.lab.path("lookout").display(),
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
        copy("inventory/foglet-profiles.toml", &[]);
        copy(
            "roles/foglet/role.toml",
            &[("for = \"20s\"", "for = \"2s\""), ("timeout = \"10s\"", "timeout = \"60s\"")],
        );
        copy("roles/foglet/releases.toml", &[]);
        let alone = ("canary = { hosts = 1 }\nwaves = [\"rest\"]\n", "budget = { failed = 99 }\nat-once = 12\n");
        copy("playbooks/foglet-upgrade.toml", &[alone, ("soak = \"10m\"", "soak = { for = \"4s\", every = \"2s\" }")]);
        copy("playbooks/foglet-schema-rollback.toml", &[]);
        copy("playbooks/foglet-backup.toml", &[]);
        copy("playbooks/foglet-restore-keys.toml", &[]);
        let foglet = Self { fleet, fly, postgres, boards: screens };
        foglet.longshore(["apply", "foglet-backup", "--yes"]).run().expect_code(0);
        Some(foglet)
    }

    pub fn longshore<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Longshore {
        let path = format!("{}:{}", self.postgres.bin.display(), self.fly.path());
        self.fleet.longshore(arguments).env("TOKEN", TOKEN).env("DBPW", "pw-of-the-test").env("PATH", &path)
    }

    pub fn upgrade(&self, to: &str) -> Ran {
        let read: &[&str] = if to == "0.3.0" { &["--ack", "0.3.0"] } else { &[] };
        self.longshore(["apply", "foglet-upgrade", "--to", to, "--yes"].iter().chain(read).copied()).run()
    }

    pub fn sql(&self, board: &str, query: &str) -> String {
        self.postgres.sql(&board.replace('-', "_"), query)
    }

    pub fn outcomes(&self) -> BTreeMap<String, String> {
        let state = self.longshore(["--output", "json", "history", "show", "last"]).run().expect_code(0).state();
        let outcome = |host: &HostState| host.outcome.map_or_else(String::new, |outcome| outcome.as_str().to_owned());
        state.hosts.iter().map(|(name, host)| (name.to_string(), outcome(host))).collect()
    }

    pub fn told(&self, run: &str, board: &str) -> String {
        flat(&self.longshore(["history", "show", run, "--host", board]).run().expect_code(0).out)
    }
}

/// The file with a server's host key.
pub fn key_of(fleet: &Fleet, server: &Sshd) -> std::path::PathBuf {
    let files = fs::read_dir(fleet.lab.path("")).expect("there").flatten().map(|entry| entry.path());
    let named = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(&format!("-{}-key", server.port));
    files.into_iter().find(named).expect("it has a key")
}

pub fn deploys(changes: &[String]) -> Vec<&str> {
    changes.iter().map(String::as_str).filter(|call| call.starts_with("deploy ")).collect()
}

/// The `[[approve]]` that a refusal asks for, as a file.
fn approval(foglet: &Foglet, ran: &Ran, board: &str) -> String {
    let text = flat(&ran.err);
    let backup = text.split("backup = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it says the time");
    let text = format!("[[approve]]\nhost = \"{board}\"\naction = \"restore\"\nbackup = \"{backup}\"\nby = \"anna\"\n");
    foglet.fleet.write("approvals.toml", &text).to_string_lossy().into_owned()
}

/// The newest copy of a name in a board's folder.
pub fn copy_of(foglet: &Foglet, board: &str, name: &str, extension: &str) -> std::path::PathBuf {
    let folder =
        fs::read_dir(foglet.fly.folder(board).join("backups")).expect("there").flatten().map(|entry| entry.path());
    let named = |path: &std::path::PathBuf| {
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        file.starts_with(&format!("{name}-2")) && file.ends_with(extension)
    };
    folder.filter(named).max().unwrap_or_else(|| panic!("no copy of {name}"))
}

#[test]
fn g_03_g_04_g_05_g_09_g_10_g_11_g_12_g_13_g_15_g_16_g_17_an_upgrade_on_fly_brings_its_migrations_and_keeps_its_keys() {
    let Some(foglet) = Foglet::with(&[("board-a", Login::Good)]) else { return };
    // Its notes are to be read first.
    let unread = foglet.longshore(["apply", "foglet-upgrade", "--to", "0.3.0", "--yes"]).run();
    assert!(unread.code != Some(0) && deploys(&foglet.fly.changes("board-a")).is_empty(), "{unread}");
    assert!(flat(&unread.err).contains("--ack 0.3.0"), "{unread}");

    let ran = foglet.upgrade("0.3.0").expect_code(0);
    // The release command did it, once, and nothing else migrates.
    assert_eq!(
        foglet.sql("board-a", "select string_agg(version::text, ' ' order by version) from schema_migrations"),
        format!("{OLD} {NEW}")
    );
    assert_eq!(foglet.sql("board-a", "select value from config"), "Foglet");
    let image = "registry.fly.io/board-a:0.3.0 --yes --wait-timeout 10m --release-command-timeout 10m";
    assert_eq!(deploys(&foglet.fly.changes("board-a")), [format!("deploy -a board-a -c fly.toml --image {image}")]);
    assert_eq!(foglet.fly.runs("board-a"), "0.3.0");
    let state = foglet.fly.state("board-a");
    assert_eq!(state["machines"][0]["config"]["mounts"][0]["volume"], "vol_1", "{ran}");

    // Who asks how to restore database and keys has the answer: both copies were read back.
    let told = foglet.told("last", "board-a");
    assert!(told.contains("verified: restored into a scratch database"), "{told}");
    let keys = copy_of(&foglet, "board-a", "foglet-host-keys", ".tgz");
    assert_eq!(fs::metadata(&keys).expect("there").permissions().mode() & 0o777, 0o600);
    let back = foglet.fleet.lab.path("back");
    fs::create_dir(&back).expect("made");
    run(Command::new("tar").arg("-xpzf").arg(&keys).arg("-C").arg(&back));
    let fingerprint = |key: &Path| {
        let output = Command::new("ssh-keygen").args(["-lf"]).arg(key).output().expect("it runs").stdout;
        String::from_utf8(output).expect("text").split(' ').nth(1).expect("a fingerprint").to_owned()
    };
    let key = "ssh/ssh_host_ed25519_key";
    assert_eq!(fingerprint(&back.join(key)), fingerprint(&foglet.fly.folder("board-a").join("data").join(key)));
    assert_eq!(fs::metadata(back.join(key)).expect("there").permissions().mode() & 0o777, 0o600);

    // The token was needed for every call, and stands nowhere.
    let calls = fs::read_to_string(foglet.fly.folder("board-a").join("calls")).expect("there");
    let mut search = Command::new("grep");
    let kept = search
        .args(["-ral", "-e", TOKEN, "-e", "pw-of-the-test", ".longshore"])
        .current_dir(foglet.fleet.project())
        .output();
    let kept = String::from_utf8(kept.expect("it runs").stdout).expect("text");
    assert!(!calls.contains(TOKEN) && kept.is_empty() && !told.contains(TOKEN), "{kept}");
}

#[test]
fn g_17_g_18_g_19_g_20_g_21_g_22_g_23_g_24_g_25_g_26_a_bad_release_is_found_out_and_the_image_of_before_deployed() {
    let boards = [
        ("board-dead", Login::Dead, "", "People can log in by SSH"),
        ("board-key", Login::OtherKey, "", "host key"),
        ("board-silent", Login::NoScreen, "", "the screen"),
        (
            "board-log",
            Login::Good,
            "0.2.1:logs ** (Ecto.MigrationError) cannot\n0.2.1:logs ** (DBConnection.ConnectionError) tcp connect\n\
             0.2.1:logs environment variable SECRET_KEY_BASE is missing.\n0.2.1:logs ssh-keygen failed (exit 1) generating",
            "in the log: migration repo environment host-keys",
        ),
        ("board-mail", Login::Good, "0.2.1:logs ** (Swoosh.DeliveryError) no relay", "Swoosh.DeliveryError"),
        ("board-restarts", Login::Good, "0.2.1:restarts", "The machines stay up"),
        ("board-unhealthy", Login::Good, "0.2.1:unhealthy", "timeout reached waiting for health checks"),
    ];
    let wanted: Vec<_> = boards.iter().map(|(board, login, _, _)| (*board, *login)).collect();
    let Some(foglet) = Foglet::with(&wanted) else { return };
    for (board, _, faults, _) in boards {
        foglet.fly.fault(board, faults);
    }
    // Of two boards that say so in the log one sends mail; to the other it is nothing.
    let inventory = fs::read_to_string(foglet.fleet.project().join("inventory/fleet.toml")).expect("there");
    let with_mail = inventory
        .replace("[hosts.board-mail.vars]\n", "[hosts.board-mail.vars]\nemail = true\nmail-env = [\"PORT\"]\n");
    foglet.fleet.write("inventory/fleet.toml", &with_mail);
    foglet.fly.fault("board-log", &format!("{}\n0.2.1:logs ** (Swoosh.DeliveryError) no relay", boards[3].2));
    let ran = foglet.upgrade("0.2.1");
    assert_ne!(ran.code, Some(0), "{ran}");
    let outcomes = foglet.outcomes();
    for (board, _, _, cause) in boards {
        assert_eq!(outcomes[board], "undone", "{board}: {ran}");
        let told = foglet.told("last", board);
        assert!(told.contains(cause), "{board} does not say {cause}: {told}");
        assert_eq!(foglet.fly.runs(board), "0.2.0", "{board}: {ran}");
        // Back to what was recorded, by its digest, and its migrations are not run again.
        let back = format!(
            "deploy -a {board} -c fly.toml --image registry.fly.io/{board}:0.2.0@sha256:020020020020020020020020 --yes --skip-release-command --wait-timeout 10m"
        );
        assert_eq!(deploys(&foglet.fly.changes(board)).last(), Some(&back.as_str()), "{board}: {ran}");
        assert_eq!(foglet.sql(board, "select count(*) from schema_migrations, posts"), "1");
    }
    assert!(!foglet.told("last", "board-log").contains("Swoosh"));
}

#[test]
fn g_01_g_05_g_06_g_07_g_08_g_09_g_15_what_must_be_there_before_is_asked_for_and_nothing_is_deployed_without_it() {
    let boards = [
        ("board-secrets", "not in place: DATABASE_URL (Staged) SECRET_KEY_BASE (missing) SMTP_HOST (missing)"),
        ("board-mounts", "the volume is called data, fly.toml says nothing"),
        ("board-volume", "the volume is called data, fly.toml says board_data"),
        ("board-place", "the volume is at /data, fly.toml says /srv"),
        ("board-loose", "not attached: vol_1"),
        ("board-command", "fly.toml has the release command: bin/migrate"),
        ("board-copies", "Copies can be written: fail"),
        ("board-keys", "there is no host key in it"),
        ("board-other-keys", "the key that the board shows is not in it"),
        ("board-unproven", "no proven copy named foglet-host-keys-*"),
        ("board-damaged", "and damaged: its sha256 is not that of its receipt"),
        ("board-cut", "no proven copy named foglet-host-keys-*"),
    ];
    let Some(foglet) = Foglet::with(&boards.map(|(board, _)| (board, Login::Good))) else { return };
    let folder = |board: &str| foglet.fly.folder(board);
    foglet.fly.change("board-secrets", |state| {
        state["secrets"][0]["status"] = "Staged".into();
        drop(state["secrets"].as_array_mut().expect("a list").pop());
    });
    let inventory = fs::read_to_string(foglet.fleet.project().join("inventory/fleet.toml")).expect("there");
    let with_mail = inventory.replace("[hosts.board-secrets.vars]\n", "[hosts.board-secrets.vars]\nemail = true\n");
    foglet.fleet.write("inventory/fleet.toml", &with_mail);
    toml(&folder("board-mounts"), "board-mounts", COMMAND, "");
    toml(&folder("board-volume"), "board-volume", COMMAND, &MOUNTS.replace("\"data\"", "\"board_data\""));
    toml(&folder("board-place"), "board-place", COMMAND, &MOUNTS.replace("/data", "/srv"));
    foglet.fly.change("board-loose", |state| state["volumes"][0]["attached_machine_id"] = serde_json::Value::Null);
    toml(&folder("board-command"), "board-command", "release_command = \"bin/migrate\"", MOUNTS);
    fs::remove_dir_all(folder("board-copies").join("backups")).expect("removed");
    fs::write(folder("board-copies").join("backups"), "a file").expect("written");
    let key = "data/ssh/ssh_host_ed25519_key";
    fs::remove_file(folder("board-keys").join(key)).expect("removed");
    fs::copy(foglet.fleet.lab.path("lookout"), folder("board-other-keys").join(key)).expect("copied");
    // Who never proved that both can be restored, or has nothing left to restore from, must not upgrade.
    fs::remove_dir_all(folder("board-unproven").join("backups")).expect("removed");
    fs::create_dir(folder("board-unproven").join("backups")).expect("made");
    let dump = copy_of(&foglet, "board-damaged", "foglet", ".dump");
    let mut bytes = fs::read(&dump).expect("read");
    *bytes.last_mut().expect("some") ^= 1;
    fs::write(&dump, bytes).expect("written");
    let archive = copy_of(&foglet, "board-cut", "foglet-host-keys", ".tgz");
    let bytes = fs::read(&archive).expect("read");
    fs::write(&archive, &bytes[..bytes.len() / 2]).expect("written");
    let ran = foglet.upgrade("0.3.0").expect_code(1);
    let outcomes = foglet.outcomes();
    for (board, cause) in boards {
        let told = foglet.told("last", board);
        assert!(told.contains(cause), "{board} does not say {cause}: {told}");
        let expected = match board {
            "board-keys" | "board-other-keys" => "failed undone unchanged",
            _ => "parked",
        };
        assert!(expected.contains(&outcomes[board]), "{board} is {}: {ran}", outcomes[board]);
        assert_eq!(deploys(&foglet.fly.changes(board)), [""; 0], "{board}: {ran}");
        assert_eq!(foglet.sql(board, "select max(version) from schema_migrations"), OLD, "{board}");
    }
}

#[test]
fn g_02_g_13_g_14_g_15_g_27_g_29_g_32_g_33_g_34_g_35_g_36_g_38_a_release_command_that_fails_leaves_the_machines_and_a_moved_schema_is_held()
 {
    let boards = ["board-fails", "board-code", "board-data", "board-empty", "board-forward"];
    let Some(foglet) = Foglet::with(&boards.map(|board| (board, Login::Good))) else { return };
    // One does not migrate at all; the others migrate, and their seeds fail after that.
    fs::write(foglet.fly.folder("board-fails").join("migrations-fail"), "").expect("written");
    fs::write(foglet.fly.folder("board-code").join("seeds-for-tests"), "").expect("written");
    for board in ["board-data", "board-forward"] {
        fs::write(foglet.fly.folder(board).join("seeds-fail"), "").expect("written");
    }
    fs::write(foglet.fly.folder("board-empty").join("seeds-nothing"), "").expect("written");
    let ran = foglet.upgrade("0.3.0").expect_code(3);
    let outcomes = foglet.outcomes();
    assert_eq!(boards.map(|board| outcomes[board].as_str()), ["undone", "held", "held", "held", "held"], "{ran}");

    // Nothing moved: the machine was never touched, and nothing had to be deployed back.
    assert!(foglet.told("last", "board-fails").contains("release command failed - aborting deployment"));
    assert_eq!(
        (foglet.fly.runs("board-fails").as_str(), deploys(&foglet.fly.changes("board-fails")).len()),
        ("0.2.0", 1)
    );
    assert_eq!(foglet.fly.state("board-fails")["machines"][0]["version"], 1);

    for board in ["board-code", "board-data", "board-forward"] {
        // Traffic is kept off it and it is stopped, in this order, and only then evidence is kept; nothing is restored.
        let changes = foglet.fly.changes(board);
        let last: Vec<_> = changes.iter().rev().take(2).rev().map(String::as_str).collect();
        assert_eq!(last, [format!("machine cordon -a {board} m1"), format!("machine stop -a {board} m1")], "{ran}");
        let evidence = fs::read_dir(foglet.fly.folder(board).join("backups")).expect("there").flatten();
        let evidence = evidence.map(|entry| entry.path()).find(|path| path.is_dir()).expect("an incident");
        let dump = Command::new(foglet.postgres.bin.join("pg_restore"))
            .arg("-f")
            .arg("-")
            .arg(evidence.join("database.dump"))
            .output();
        assert!(
            String::from_utf8(dump.expect("it runs").stdout).expect("text").contains(NEW),
            "the dump is of now: {ran}"
        );
        assert!(["log", "machines.json", "releases.json"].iter().all(|file| evidence.join(file).exists()));
        assert_eq!(foglet.sql(board, "select max(version) from schema_migrations"), NEW);
    }
    assert!(foglet.told("last", "board-code").contains("for tests: qa-bot"), "{ran}");
    assert!(foglet.told("last", "board-empty").contains("config: 0"), "{ran}");

    // One goes on, once its seeds are mended: people are let in again, and what was applied is not applied again.
    fs::remove_file(foglet.fly.folder("board-forward").join("seeds-fail")).expect("mended");
    let ran = foglet.longshore(["resume", "--as", "roll-forward", "--host", "board-forward"]).run().expect_code(3);
    let outcomes = foglet.outcomes();
    assert_eq!((outcomes["board-forward"].as_str(), outcomes["board-data"].as_str()), ("done", "held"), "{ran}");
    let machine = &foglet.fly.state("board-forward")["machines"][0];
    assert_eq!((&machine["state"], &machine["cordoned"]), (&"started".into(), &false.into()), "{ran}");
    assert_eq!(foglet.fly.runs("board-forward"), "0.3.0", "{ran}");
    assert_eq!(
        foglet.sql("board-forward", "select count(*) || (select value from config) from schema_migrations"),
        "2Foglet"
    );
    let told = foglet.told("last", "board-forward");
    assert!(told.contains("step 5/5 The defaults are there, accounts for tests are not: done"), "{told}");
    for check in
        ["/up answers", "People can log in by SSH", "The machines pass their checks", "The volumes are those of before"]
    {
        assert!(told.contains(&format!("check (after) {check}: pass")), "{check} was not made: {told}");
    }
    let changes = foglet.fly.changes("board-forward");
    let order: Vec<_> = changes.iter().map(|call| call.split(" -a ").next().expect("its words")).collect();
    assert_eq!(
        order,
        [
            "ssh console",
            "ssh console",
            "deploy",
            "machine cordon",
            "machine stop",
            "machine start",
            "machine uncordon",
            "deploy"
        ],
        "{ran}"
    );

    // One goes back by code alone: a person said so, and no migration is run with the old image.
    let ran = foglet.longshore(["resume", "--as", "code-rollback", "--host", "board-code"]).run();
    assert_eq!(foglet.fly.runs("board-code"), "0.2.0", "{ran}");
    assert!(
        deploys(&foglet.fly.changes("board-code")).last().expect("a deployment").contains("--skip-release-command"),
        "{ran}"
    );
    assert_eq!(foglet.sql("board-code", "select max(version) from schema_migrations"), NEW);

    // The other with its data: never without a word for this very backup, which says what would be lost.
    foglet.sql("board-data", "insert into posts values (2, 'of today', '2026-11-21 18:30:00')");
    let restore = ["resume", "--as", "restore", "--host", "board-data"];
    let ran = foglet.longshore(restore).run().expect_code(6);
    let ran = ran
        .tells("newest data on the host: 2026-11-21 18:30:00")
        .tells(" ago")
        .tells("lost: everything that was written on board-data since");
    assert_eq!(foglet.sql("board-data", "select count(*) from posts"), "2");
    let file = approval(&foglet, &ran, "board-data");
    let ran = foglet.longshore(restore.into_iter().chain(["--approvals", &file])).run();
    assert_eq!(
        foglet.sql("board-data", "select count(*) || ' ' || (select max(version) from schema_migrations) from posts"),
        format!("1 {OLD}"),
        "{ran}"
    );
    assert_eq!(foglet.fly.runs("board-data"), "0.2.0", "{ran}");
    // Nothing good was overwritten.
    let kept = foglet.postgres.sql("postgres", "select datname from pg_database where datname like 'board_data_pre_%'");
    assert_eq!(foglet.postgres.sql(&kept, "select count(*) from posts"), "2", "{ran}");
}

#[test]
fn g_26_a_finished_upgrade_goes_back_by_its_image_alone_and_its_database_is_left_as_it_is() {
    let Some(foglet) = Foglet::with(&[("board-a", Login::Good)]) else { return };
    foglet.upgrade("0.2.1").expect_code(0);
    assert_eq!(foglet.fly.runs("board-a"), "0.2.1");
    // What people wrote since then, and what they changed.
    foglet.sql(
        "board-a",
        "insert into posts values (2, 'since then', '2026-11-21 18:30:00'); update posts set body = 'other' where id = 1",
    );
    let data = || {
        let tables = "select (select string_agg(id || body || inserted_at, ' ' order by id) from posts) || (select max(version) from schema_migrations)";
        (
            foglet.sql("board-a", tables),
            foglet.postgres.sql("postgres", "select string_agg(datname, ' ' order by datname) from pg_database"),
        )
    };
    let before = data();
    let ran = foglet.longshore(["rollback", "last", "--yes"]).run().expect_code(0);
    assert_eq!(foglet.fly.runs("board-a"), "0.2.0", "{ran}");
    let back = "deploy -a board-a -c fly.toml --image registry.fly.io/board-a:0.2.0@sha256:020020020020020020020020 --yes --skip-release-command --wait-timeout 10m";
    assert_eq!(deploys(&foglet.fly.changes("board-a"))[1..], [back], "{ran}");
    assert_eq!(data(), before, "{ran}");
    let mounts = &foglet.fly.state("board-a")["machines"][0]["config"]["mounts"];
    assert_eq!(mounts[0]["volume"], "vol_1", "{ran}");
}
