//! `SVRunner` on plain hosts: a real user manager of systemd, a small server of screens on real `SQLite`, real releases.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use longshore::event::HostState;

use crate::{
    command::{Longshore, Ran, flat},
    control_group::Group,
    fleet::Fleet,
    notices::Notices,
    sshd::{is_root, run},
};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
const SERVER: &str = include_str!("stand_ins/svrunner.py");
const UNIT: &str = "svrunner.service";
/// As `spot-password` and `session-key`: nobody may ever see them.
pub const PASSWORD: &str = "ada-knows-it";
const KEY: &str = "the-key-of-sessions";

/// Hosts with `SVRunner` 2.0.0, and the repository's own role, profile and playbook.
struct SvRunner {
    fleet: Fleet,
    notices: Notices,
    _groups: Vec<Group>,
}

/// A host to be: name, what its releases do wrong (`behaviour.json`), further variables.
type Wanted<'a> = (&'a str, &'a str, &'a str);

impl SvRunner {
    fn with(hosts: &[Wanted<'_>]) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let mut fleet = Fleet::new()?;
        let mut groups = Vec::new();
        let notices = Notices::listen();
        for (name, behaviour, vars) in hosts {
            let group = Group::new()?;
            let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
            let home = fleet.lab.path(name);
            let words = ["sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/products/systemd.sh")];
            let (group_text, home_text) = (group.0.display().to_string(), home.display().to_string());
            let wrapper: Vec<_> = words.into_iter().chain([group_text.as_str(), &home_text, UNIT]).collect();
            let host = fleet.add(name, |sshd| {
                install(&home, port, behaviour);
                sshd.wrapper(&wrapper)
            });
            let path = home.join("srv").display().to_string();
            // What is said further wins.
            let mut table = toml::Table::from_iter([("path".to_owned(), path.clone().into())]);
            for (key, value) in [
                ("data", format!("{path}/shared/files")),
                ("env-file", format!("{path}/shared/.env")),
                ("backups", format!("{home_text}/backups")),
                ("maintenance-file", format!("{path}/maintenance")),
                ("address", format!("http://localhost:{port}")),
                ("notices", notices.url.clone()),
                ("scope", "user".to_owned()),
            ] {
                table.insert(key.to_owned(), value.into());
            }
            table.insert("listens".to_owned(), i64::from(port).into());
            table.insert("settle".to_owned(), 1.into());
            table.extend(vars.replace("HOME", &home_text).parse::<toml::Table>().expect("variables"));
            let secrets = [("spot-password", "SPOT"), ("session-key", "KEY")];
            let secrets = secrets.into_iter().filter(|(name, _)| !table.contains_key(*name));
            let mut words: Vec<_> =
                secrets.map(|(name, from)| format!("{name} = {{ secret = {{ env = \"{from}\" }} }}")).collect();
            words.extend(table.iter().map(|(name, value)| format!("{name} = {value}")));
            host.lines = format!("profile = \"svrunner\"\nvars = {{ {} }}", words.join(", "));
            groups.push(group);
        }
        fleet.write_inventory("");
        fleet.trust_all();
        fleet.write("inventory/groups.toml", "[groups.svrunner]\nhosts = [\"sv-*\"]\n");
        let product = Self { fleet, notices, _groups: groups };
        product.copy("inventory/svrunner-profiles.toml", &[]);
        product.copy("roles/svrunner/role.toml", &[("for = \"30s\"", "for = \"3s\"")]);
        product.copy(
            "playbooks/svrunner-upgrade.toml",
            &[
                ("soak = \"5m\"", "soak = \"1s\"\nbudget = { failed = 99 }\nat-once = 12"),
                ("canary = { hosts = 1, represent = [\"profile\"] }\nwaves = [\"rest\"]\n", ""),
            ],
        );
        product.releases(&[]);
        Some(product)
    }

    /// Brings a document of the repository into the project, changed where a test needs that.
    fn copy(&self, file: &str, changes: &[(&str, &str)]) {
        let mut text = fs::read_to_string(Path::new(SOURCE).join(file)).expect("a document of the repository");
        for (old, new) in changes {
            assert!(text.contains(old), "{file} has no {old}");
            text = text.replace(old, new);
        }
        self.fleet.write(file, &text);
    }

    /// Packs the releases and writes them down, with `sums` in place of the true ones.
    fn releases(&self, sums: &[(&str, &str)]) {
        let mut text = fs::read_to_string(Path::new(SOURCE).join("roles/svrunner/releases.toml")).expect("releases");
        for (version, schema) in [("2.0.1", 1), ("2.1.0", 2)] {
            let folder = self.fleet.lab.path(&format!("build-{version}"));
            release(&folder, version, schema);
            let archive = self.fleet.project().join(format!("archives/svrunner-{version}.tar.gz"));
            fs::create_dir_all(archive.parent().expect("a folder")).expect("made");
            run(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&folder).arg("."));
            let sum = Command::new("sha256sum").arg(&archive).output().expect("it runs").stdout;
            let sum = String::from_utf8(sum).expect("text")[..64].to_owned();
            let sum = sums.iter().find(|(of, _)| *of == version).map_or(sum, |(_, wrong)| (*wrong).to_owned());
            let line = format!("version = \"{version}\"\n");
            assert!(text.contains(&line));
            text = text.replace(&line, &format!("{line}archive = \"svrunner-{version}.tar.gz\"\nsha256 = \"{sum}\"\n"));
        }
        self.fleet.write("roles/svrunner/releases.toml", &text);
    }

    fn longshore<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Longshore {
        self.fleet.longshore(arguments).env("SPOT", PASSWORD).env("KEY", KEY)
    }

    fn upgrade(&self, to: &str) -> Ran {
        let read: &[&str] = if to == "2.1.0" { &["--ack", "2.1.0"] } else { &[] };
        self.longshore(["apply", "svrunner-upgrade", "--to", to, "--yes"].iter().chain(read).copied()).run()
    }

    fn path(&self, host: &str, file: &str) -> PathBuf {
        self.fleet.host(host).home.join(file)
    }

    fn read(&self, host: &str, file: &str) -> String {
        fs::read_to_string(self.path(host, file)).unwrap_or_default()
    }

    fn sql(&self, host: &str, file: &str, query: &str) -> String {
        let output = Command::new("sqlite3").arg(self.path(host, file)).arg(query).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// What became of the hosts of the first run.
    fn outcomes(&self) -> BTreeMap<String, String> {
        let state = self.longshore(["--output", "json", "history", "show", "1"]).run().expect_code(0).state();
        let outcome = |host: &HostState| host.outcome.map_or_else(String::new, |outcome| outcome.as_str().to_owned());
        state.hosts.iter().map(|(name, host)| (name.to_string(), outcome(host))).collect()
    }

    fn version(&self, host: &str) -> String {
        let target = fs::read_link(self.path(host, "srv/current")).expect("a link");
        target.file_name().expect("a name").to_string_lossy().into_owned()
    }

    /// The files that longshore keeps on its side and that hold a secret.
    fn kept(&self) -> Vec<String> {
        let mut search = Command::new("grep");
        let found =
            search.args(["-ral", "-e", PASSWORD, "-e", KEY, ".longshore"]).current_dir(self.fleet.project()).output();
        String::from_utf8(found.expect("it runs").stdout).expect("text").lines().map(str::to_owned).collect()
    }
}

/// A release as it is built: the server and what it is.
pub fn release(folder: &Path, version: &str, schema: u32) {
    fs::create_dir_all(folder).expect("made");
    fs::write(folder.join("server.py"), SERVER).expect("written");
    fs::write(folder.join("release.json"), format!("{{\"version\": \"{version}\", \"schema\": {schema}}}"))
        .expect("written");
}

/// Installs 2.0.0 with its data below a home.
pub fn install(home: &Path, port: u16, behaviour: &str) {
    let path = home.join("srv");
    let files = path.join("shared/files");
    for folder in ["assets/icons", "logs"] {
        fs::create_dir_all(files.join(folder)).expect("made");
    }
    fs::create_dir_all(home.join("backups")).expect("made");
    fs::create_dir_all(home.join(".config/systemd/user")).expect("made");
    for (name, size) in [("large.png", 40_000), ("odd name.png", 0), ("icons/one.png", 700)] {
        fs::write(files.join("assets").join(name.replace(' ', "-")), vec![b'x'; size]).expect("written");
    }
    fs::write(files.join("logs/server.log"), "begun\n").expect("written");
    fs::write(path.join("behaviour.json"), behaviour).expect("written");
    let env = path.join("shared/.env");
    fs::write(&env, "# of this installation\nDATABASE_FILE=files/local.db\nMAIL=off\n").expect("written");
    fs::set_permissions(&env, fs::Permissions::from_mode(0o600)).expect("private");
    let sum = Command::new("sh").args(["-c", &format!("printf %s {PASSWORD} | sha256sum")]).output().expect("it runs");
    let sum = String::from_utf8(sum.stdout).expect("text")[..64].to_owned();
    run(Command::new("sqlite3").arg(files.join("local.db")).arg(format!(
        "pragma journal_mode = wal; pragma user_version = 1;
         create table screens (id integer primary key autoincrement, name text, changed text);
         create table users (name text, password text);
         insert into users values ('ada', '{sum}'); insert into screens (name, changed) values ('welcome', '2026-11-20T12:00:00Z');"
    )));
    let old = path.join("releases/2.0.0");
    release(&old, "2.0.0", 1);
    symlink(files, old.join("files")).expect("linked");
    symlink(env, old.join(".env")).expect("linked");
    symlink("releases/2.0.0", path.join("current")).expect("linked");
    let path = path.display();
    fs::write(
        home.join(".config/systemd/user").join(UNIT),
        format!("[Service]\nWorkingDirectory={path}/current\nExecStart=/usr/bin/python3 server.py {port}\n"),
    )
    .expect("written");
}

/// What must be as it was on a host that was blocked or taken back: the version, what runs, the data, no page.
#[track_caller]
fn as_before(product: &SvRunner, host: &str, ran: &Ran) {
    assert_eq!(product.version(host), "2.0.0", "{host}: {ran}");
    assert!(!product.path(host, "srv/maintenance").exists(), "{host}: {ran}");
    assert_eq!(product.sql(host, "srv/shared/files/local.db", "pragma user_version"), "1", "{host}: {ran}");
    assert_eq!(product.sql(host, "srv/shared/files/local.db", "select group_concat(name) from screens"), "welcome");
    assert_eq!(product.serves(host), "2.0.0", "{host}: {ran}");
}

#[test]
fn s_01_s_02_s_03_s_04_s_05_s_18_s_19_s_20_s_22_s_25_s_26_s_27_s_47_the_build_is_replaced_and_the_data_stays() {
    let Some(product) = SvRunner::with(&[("sv-1", "{}", "")]) else { return };
    let of = |file: &str| fs::metadata(product.path("sv-1", file)).expect("there");
    let files = of("srv/shared/files").ino();
    let sums = || {
        let script = "cd srv/shared/files/assets && find . -type f -exec sha256sum {} + | sort";
        let output = Command::new("sh").args(["-c", script]).current_dir(&product.fleet.host("sv-1").home).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    let assets = sums();
    // Somebody reads through the link all the time, and never finds it missing.
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let stop = Arc::clone(&stop);
        let file = product.path("sv-1", "srv/current/server.py");
        std::thread::spawn(move || {
            let (mut missing, mut reads) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                reads += 1;
                missing += u32::from(!file.exists());
            }
            (missing, reads)
        })
    };
    let ran = product.upgrade("2.1.0").expect_code(0);
    stop.store(true, Ordering::Relaxed);
    let (missing, reads) = reader.join().expect("it reads");
    assert!(missing == 0 && reads > 1000, "{missing} of {reads} reads: {ran}");

    // The build is another one, the old one is kept, and what outlives releases is linked into the new one.
    assert_eq!((product.version("sv-1"), product.serves("sv-1")), ("2.1.0".to_owned(), "2.1.0".to_owned()));
    assert!(product.path("sv-1", "srv/releases/2.0.0/server.py").exists());
    for name in ["files", ".env"] {
        let link = fs::canonicalize(product.path("sv-1", "srv/releases/2.1.0").join(name)).expect("linked");
        assert_eq!(link, fs::canonicalize(product.path("sv-1", "srv/shared").join(name)).expect("there"));
    }
    // The data is what it was: the same folder, every asset, the same rows; the release migrated its own schema.
    assert_eq!((of("srv/shared/files").ino(), sums()), (files, assets));
    let sql = |query: &str| product.sql("sv-1", "srv/shared/files/local.db", query);
    assert_eq!([sql("select group_concat(name) from screens"), sql("pragma user_version")], ["welcome", "2"]);
    // Of `.env` only what was declared: the rest, its comments and its mode stay.
    let env = product.read("sv-1", "srv/shared/.env");
    assert_eq!(env, format!("# of this installation\nDATABASE_FILE=files/local.db\nMAIL=off\nSESSION_KEY={KEY}\n"));
    assert_eq!(of("srv/shared/.env").mode() & 0o777, 0o600);

    // Everything in its order, nothing before the one before has passed.
    let state = product.longshore(["--output", "json", "history", "show", "1"]).run().expect_code(0).state();
    let host = state.hosts.values().next().expect("one host");
    let names: Vec<_> = host.steps.values().map(|step| step.name.clone()).collect();
    let place = |name: &str| {
        names.iter().position(|step| step.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {names:#?}"))
    };
    let order = [
        "Tell operators that maintenance begins",
        "Fetch the release",
        "Back up the files",
        "Show the page for maintenance",
        "Keep .env as it is",
        "Stop the server",
        "Back up the database",
        "Note what must stay as it is",
        "Add what the release asks for to .env",
        "Point to the new release",
        "The data is as it was",
        "Start the new release",
        "Before operators come back",
        "Only what was declared has changed in .env",
        "Take the page for maintenance away",
        "Tell operators that maintenance is over",
    ];
    assert!(order.map(place).is_sorted(), "{names:#?}");
    assert_eq!(
        product.notices.of("sv-1"),
        ["sv-1: maintenance begins, SVRunner 2.0.0 to 2.1.0", "sv-1: maintenance is over, SVRunner 2.1.0"]
    );
    // Operators were without it for as long as the table says; config changes are recorded by their names.
    assert!(ran.out.contains("│ down"), "{ran}");
    assert!(ran.row("sv-1")[4].ends_with('s'), "{ran}");
    let told = product.longshore(["history", "show", "1", "--host", "sv-1"]).run().expect_code(0);
    let told = told.says("config: added SESSION_KEY");
    for secret in [PASSWORD, KEY] {
        assert!(!told.out.contains(secret) && !ran.out.contains(secret) && !ran.err.contains(secret));
    }
    assert_eq!(product.kept(), Vec::<String>::new());
    product.taken_back_with_its_data();
}

impl SvRunner {
    /// The version of the server that answers.
    fn serves(&self, host: &str) -> String {
        let inventory = fs::read_to_string(self.fleet.project().join("inventory/fleet.toml")).expect("written");
        let table = inventory.split(&format!("[hosts.{host}]")).nth(1).expect("the host");
        let address =
            table.split("address = \"http").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
        let output = Command::new("curl").args(["-s", "-m", "5", &format!("http{address}/dashboard")]).output();
        let text = String::from_utf8(output.expect("it runs").stdout).expect("text");
        text.split("\"version\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
    }

    /// The `[[approve]]` that a refusal asks for, as a file.
    fn approval(&self, ran: &Ran, host: &str) -> String {
        let text = flat(&ran.err);
        let backup =
            text.split("backup = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it says the time");
        let text =
            format!("[[approve]]\nhost = \"{host}\"\naction = \"restore\"\nbackup = \"{backup}\"\nby = \"anna\"\n");
        self.fleet.write("approvals.toml", &text).to_string_lossy().into_owned()
    }

    /// The database files that a restore kept, with the head of their migrations.
    fn kept_aside(&self, host: &str) -> Vec<String> {
        let folder = self.path(host, "srv/shared/files");
        let names = fs::read_dir(&folder)
            .expect("there")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let kept = names
            .filter(|name| name.starts_with("local.db_pre_") && !name.ends_with("-wal") && !name.ends_with("-shm"));
        kept.map(|name| self.sql(host, &format!("srv/shared/files/{name}"), "select group_concat(name) from screens"))
            .collect()
    }

    /// The finished upgrade goes back: only with an approval, to the backup of that run, and nothing good is overwritten.
    fn taken_back_with_its_data(&self) {
        // What operators did since is lost to them, and not to us.
        self.sql("sv-1", "srv/shared/files/local.db", "insert into screens (name) values ('of today')");
        let ran = self.longshore(["rollback", "1", "--yes"]).run().expect_code(6);
        assert_eq!(self.version("sv-1"), "2.1.0", "{ran}");
        let file = self.approval(&ran, "sv-1");
        let ran = self.longshore(["rollback", "1", "--yes", "--approvals", &file]).run();
        let ran = ran.expect_code(0);
        as_before(self, "sv-1", &ran);
        assert_eq!(self.kept_aside("sv-1"), ["welcome,of today"], "{ran}");
        assert!(!self.read("sv-1", "srv/shared/.env").contains("SESSION_KEY"), "{ran}");
    }
}

#[test]
fn s_07_s_23_s_28_s_34_s_35_s_36_s_37_s_38_s_39_s_40_s_41_s_46_every_check_finds_its_release_out_and_it_is_taken_back()
{
    let bad = |fault: &str| format!("{{\"2.0.1\": {{{fault}}}}}");
    let faults = [
        ("sv-dies", "\"dies\": true", "it was started and did not stay up"),
        ("sv-app", "\"app\": true", "The main app loads"),
        ("sv-docs", "\"docs\": true", "/docs loads"),
        ("sv-graphql", "\"graphql\": true", "/graphql responds"),
        ("sv-sign-in", "\"sign-in\": true", "`sign in`: status 401"),
        ("sv-asset", "\"asset\": \"icons/one.png\"", "icons/one.png: 404"),
        ("sv-preview", "\"preview\": true", "The preview works on a known screen"),
        ("sv-dashboard", "\"dashboard\": 7", "The dashboard looks normal"),
        ("sv-log", "\"log\": true", "server.log does not grow"),
        ("sv-read", "\"read\": true", "`read it`: status 500"),
        ("sv-env", "\"rewrites-env\": true", "changed in .env though nobody declared it: TELEMETRY"),
    ];
    let behaviours = faults.map(|(host, fault, _)| (host, bad(fault)));
    let sick = ("sv-sick", "{\"2.0.0\": {\"dashboard\": 7}}".to_owned());
    let all: Vec<_> =
        behaviours.iter().chain([&sick]).map(|(host, behaviour)| (*host, behaviour.as_str(), "")).collect();
    let Some(product) = SvRunner::with(&all) else { return };
    let ran = product.upgrade("2.0.1").expect_code(1);
    let outcomes = product.outcomes();
    for (host, _, cause) in faults {
        assert_eq!(outcomes[host], "undone", "{host}: {ran}");
        let said = product.longshore(["history", "show", "1", "--host", host]).run().expect_code(0);
        assert!(flat(&said.out).contains(cause), "{host} does not say {cause}: {said}");
        as_before(&product, host, &ran);
        let begun = product.notices.of(host);
        assert_eq!(begun, [format!("{host}: maintenance begins, SVRunner 2.0.0 to 2.0.1")], "{ran}");
        assert!(!product.read(host, "srv/shared/.env").contains("TELEMETRY"), "{host}: {ran}");
    }
    // A host that was ill before is nothing the upgrade could prove itself on: nothing happened there.
    assert_eq!(outcomes["sv-sick"], "parked", "{ran}");
    assert!(!product.path("sv-sick", "srv/incoming").exists() && product.notices.of("sv-sick").is_empty(), "{ran}");
    assert_eq!(product.serves("sv-sick"), "2.0.0");
}

#[test]
fn s_24_s_43_s_44_a_release_that_fails_once_it_has_migrated_keeps_the_page_and_goes_back_with_its_data() {
    let Some(product) = SvRunner::with(&[("sv-1", "{\"2.1.0\": {\"graphql\": true}}", "")]) else { return };
    let ran = product.upgrade("2.1.0").expect_code(3);
    assert_eq!(ran.row("sv-1")[1], "held", "{ran}");
    // Nobody comes back to it, nothing runs, the data stays as the new release left it, and its logs are kept.
    assert!(product.path("sv-1", "srv/maintenance").exists(), "{ran}");
    assert_eq!((product.serves("sv-1"), product.version("sv-1")), (String::new(), "2.1.0".to_owned()), "{ran}");
    assert_eq!(product.sql("sv-1", "srv/shared/files/local.db", "pragma user_version"), "2");
    let kept = fs::read_dir(product.path("sv-1", "backups")).expect("there").flatten();
    assert_eq!(kept.filter(|file| file.file_name().to_string_lossy().starts_with("incident-")).count(), 1, "{ran}");
    let told = product.notices.of("sv-1");
    assert_eq!(told.last().map(String::as_str), Some("sv-1: SVRunner 2.1.0 failed, maintenance goes on"));

    let restore = ["resume", "--as", "restore", "--host", "sv-1"];
    let ran = product.longshore(restore).run().expect_code(6);
    assert_eq!(product.version("sv-1"), "2.1.0", "{ran}");
    let file = product.approval(&ran, "sv-1");
    let ran = product.longshore(restore.into_iter().chain(["--approvals", &file])).run().expect_code(1);
    as_before(&product, "sv-1", &ran);
    assert_eq!(product.kept_aside("sv-1"), ["welcome"], "{ran}");
}

/// A careless step between what is noted and what is compared, on the hosts that have one.
const CARELESS: &str = "[[upgrade]]\nname = \"A careless step\"\nwhen = \"careless\"\nno-undo = \"for the test\"\n\
    command = { run = \"{{raw careless}}\", dir = \"{{data}}\" }\n\n[[upgrade]]\nname = \"Point to the new release\"";

#[test]
fn s_06_s_09_s_10_s_18_s_19_s_20_what_must_never_happen_is_found_out_before_the_new_release_starts() {
    // What goes on listening when the unit has stopped.
    let left = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listens = format!("listens = {}", left.local_addr().expect("bound").port());
    let hosts = [
        ("sv-port", "{}", listens.as_str()),
        ("sv-wrong-path", "{}", "data = \"HOME/srv/old-files\""),
        ("sv-no-key", "{}", "session-key = \"\""),
        ("sv-no-notice", "{}", "notices = \"http://127.0.0.1:9/\""),
        ("sv-asset", "{}", "careless = \"echo more >>assets/icons/one.png\""),
        ("sv-lost", "{}", "careless = \"rm assets/large.png\""),
        ("sv-database", "{}", "careless = \"sqlite3 local.db 'delete from screens'\""),
        ("sv-folder", "{}", "careless = \"cp -a . ../copy && mv ../files ../files.old && mv ../copy ../files\""),
        ("sv-stale", "{}", "careless = \"sleep 4\""),
    ];
    let Some(product) = SvRunner::with(&hosts) else { return };
    product.copy(
        "roles/svrunner/role.toml",
        &[
            ("for = \"30s\"", "for = \"3s\""),
            ("session-key = \"\"", "session-key = \"\"\ncareless = \"\""),
            ("[[upgrade]]\nname = \"Point to the new release\"", CARELESS),
            ("younger-than = \"1h\"", "younger-than = \"2s\""),
        ],
    );
    let old = product.path("sv-wrong-path", "srv/old-files");
    run(Command::new("cp").arg("-a").arg(product.path("sv-wrong-path", "srv/shared/files")).arg(&old));
    fs::remove_dir_all(old.join("logs")).expect("removed");
    symlink("../shared/files/logs", old.join("logs")).expect("linked");
    let ran = product.upgrade("2.1.0").expect_code(1);
    let outcomes = product.outcomes();
    for (host, result, cause) in [
        ("sv-port", "undone", "the unit is stopped, and something still listens on port"),
        ("sv-wrong-path", "parked", "shared/files, not /"),
        ("sv-no-key", "parked", "missing in .env: SESSION_KEY"),
        ("sv-no-notice", "failed", "the notice was not delivered"),
        ("sv-asset", "undone", "files/assets had 3 files, 40700 bytes, and has 3 files, 40705 bytes"),
        ("sv-lost", "undone", "files/assets had 3 files, 40700 bytes, and has 2 files, 700 bytes"),
        ("sv-database", "undone", "local.db has changed"),
        ("sv-folder", "undone", "files/ is another folder"),
        ("sv-stale", "undone", "younger than 2s"),
    ] {
        assert_eq!(outcomes[host], result, "{host}: {ran}");
        let said = product.longshore(["history", "show", "1", "--host", host]).run().expect_code(0);
        assert!(flat(&said.out).contains(cause), "{host} does not say {cause}: {said}");
        assert_eq!((product.version(host), product.serves(host)), ("2.0.0".to_owned(), "2.0.0".to_owned()), "{host}");
        assert_eq!(product.sql(host, "srv/shared/files/local.db", "pragma user_version"), "1", "{host}: {ran}");
        if result == "parked" || host == "sv-no-notice" {
            assert!(!product.path(host, "srv/incoming").exists(), "{host}: {ran}");
        }
    }
}

#[test]
fn s_21_an_archive_that_is_not_the_one_that_was_meant_is_refused_before_any_host_is_touched() {
    let Some(product) = SvRunner::with(&[("sv-1", "{}", "")]) else { return };
    product.releases(&[("2.0.1", "0000000000000000000000000000000000000000000000000000000000000000")]);
    let ran = product.upgrade("2.0.1").expect_code(2);
    let ran = ran.tells("is not the file that was meant: its SHA-256 is");
    assert!(!product.path("sv-1", "srv/incoming").exists() && product.notices.of("sv-1").is_empty(), "{ran}");
    // One that was damaged after it was reviewed does not reach the release's folder either.
    product.releases(&[]);
    let plan = product.fleet.project().join("plan.json").display().to_string();
    product.longshore(["plan", "svrunner-upgrade", "--to", "2.0.1", "-o", &plan]).run().expect_code(0);
    let archive = product.path("sv-1", "srv/incoming/svrunner-2.0.1.tar.gz");
    fs::create_dir_all(archive.parent().expect("a folder")).expect("made");
    fs::write(&archive, "half of it").expect("written");
    product.longshore(["apply", &plan, "--yes"]).run().expect_code(0);
    assert_eq!((product.version("sv-1"), product.serves("sv-1")), ("2.0.1".to_owned(), "2.0.1".to_owned()));
}
