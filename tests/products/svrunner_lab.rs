//! Hosts with `SVRunner`: a real manager of systemd on each, a small server of screens on real `SQLite`, real releases.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
};

use longshore::event::HostState;

use crate::{
    command::{Longshore, Ran, flat},
    control_group::Group,
    fleet::Fleet,
    notices::Notices,
    people::Person,
    sshd::{is_root, run, skip},
};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
const SERVER: &str = include_str!("stand_ins/svrunner.py");
const UNIT: &str = "svrunner.service";
/// As `spot-password` and `session-key`: nobody may ever see them.
pub const PASSWORD: &str = "ada-knows-it";
pub const KEY: &str = "the-key-of-sessions";

/// Hosts with `SVRunner` 2.0.0, and the repository's own role, profile and playbook.
pub struct SvRunner {
    pub fleet: Fleet,
    pub notices: Notices,
    _groups: Vec<Group>,
}

/// Whose manager runs the unit.
#[derive(Clone, Copy)]
pub enum Manager<'a> {
    /// That of the login user.
    User,
    /// That of the system, which runs it as `service`; `login` manages it by sudo.
    System { login: &'a Person, service: &'a Person },
}

/// A host to be: name, what its releases do wrong (`behaviour.json`), further variables.
type Wanted<'a> = (&'a str, &'a str, &'a str);

impl SvRunner {
    pub fn with(hosts: &[Wanted<'_>]) -> Option<Self> {
        Self::under(Manager::User, hosts)
    }

    pub fn under(manager: Manager<'_>, hosts: &[Wanted<'_>]) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let mut fleet = Fleet::new()?;
        let mut groups = Vec::new();
        let notices = Notices::listen();
        for (name, behaviour, vars) in hosts {
            let group = Group::new()?;
            let port = port();
            let home = fleet.lab.path(name);
            let wrapper = manager.wrapper(&group, &home);
            let host = fleet.add(name, |sshd| {
                install(&home, port, behaviour);
                manager.take_over(&home);
                sshd.wrapper(&wrapper.iter().map(String::as_str).collect::<Vec<_>>())
            });
            let home_text = home.display().to_string();
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
                ("scope", manager.scope().to_owned()),
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
            host.lines = format!("profile = \"svrunner\"\nvars = {{ {} }}\n{}", words.join(", "), manager.login());
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
    pub fn copy(&self, file: &str, changes: &[(&str, &str)]) {
        let mut text = fs::read_to_string(Path::new(SOURCE).join(file)).expect("a document of the repository");
        for (old, new) in changes {
            assert!(text.contains(old), "{file} has no {old}");
            text = text.replace(old, new);
        }
        self.fleet.write(file, &text);
    }

    /// Packs the releases and writes them down, with `sums` in place of the true ones.
    pub fn releases(&self, sums: &[(&str, &str)]) {
        let mut text = fs::read_to_string(Path::new(SOURCE).join("roles/svrunner/releases.toml")).expect("releases");
        for (version, schema) in [("2.0.1", 1), ("2.1.0", 2)] {
            let folder = self.fleet.lab.path(&format!("build-{version}"));
            release(&folder, version, schema);
            let archive = self.fleet.project().join(format!("archives/svrunner-{version}.tar.gz"));
            fs::create_dir_all(archive.parent().expect("a folder")).expect("made");
            run(Command::new("tar")
                .arg("-czf")
                .arg(&archive)
                .arg("-C")
                .arg(&folder)
                .args(["server.py", "release.json"]));
            let sum = Command::new("sha256sum").arg(&archive).output().expect("it runs").stdout;
            let sum = String::from_utf8(sum).expect("text")[..64].to_owned();
            let sum = sums.iter().find(|(of, _)| *of == version).map_or(sum, |(_, wrong)| (*wrong).to_owned());
            let line = format!("version = \"{version}\"\n");
            assert!(text.contains(&line));
            text = text.replace(&line, &format!("{line}archive = \"svrunner-{version}.tar.gz\"\nsha256 = \"{sum}\"\n"));
        }
        self.fleet.write("roles/svrunner/releases.toml", &text);
    }

    pub fn longshore<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Longshore {
        self.fleet.longshore(arguments).env("SPOT", PASSWORD).env("KEY", KEY)
    }

    pub fn upgrade(&self, to: &str) -> Ran {
        let read: &[&str] = if to == "2.1.0" { &["--ack", "2.1.0"] } else { &[] };
        self.longshore(["apply", "svrunner-upgrade", "--to", to, "--yes"].iter().chain(read).copied()).run()
    }

    pub fn path(&self, host: &str, file: &str) -> PathBuf {
        self.fleet.host(host).home.join(file)
    }

    pub fn read(&self, host: &str, file: &str) -> String {
        fs::read_to_string(self.path(host, file)).unwrap_or_default()
    }

    pub fn sql(&self, host: &str, file: &str, query: &str) -> String {
        let output = Command::new("sqlite3").arg(self.path(host, file)).arg(query).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// What became of the hosts of the first run.
    pub fn outcomes(&self) -> BTreeMap<String, String> {
        let state = self.longshore(["--output", "json", "history", "show", "1"]).run().expect_code(0).state();
        let outcome = |host: &HostState| host.outcome.map_or_else(String::new, |outcome| outcome.as_str().to_owned());
        state.hosts.iter().map(|(name, host)| (name.to_string(), outcome(host))).collect()
    }

    pub fn version(&self, host: &str) -> String {
        let target = fs::read_link(self.path(host, "srv/current")).expect("a link");
        target.file_name().expect("a name").to_string_lossy().into_owned()
    }

    /// The files that longshore keeps on its side and that hold a secret.
    pub fn kept(&self) -> Vec<String> {
        let mut search = Command::new("grep");
        let found =
            search.args(["-ral", "-e", PASSWORD, "-e", KEY, ".longshore"]).current_dir(self.fleet.project()).output();
        String::from_utf8(found.expect("it runs").stdout).expect("text").lines().map(str::to_owned).collect()
    }

    /// The version of the server that answers.
    pub fn serves(&self, host: &str) -> String {
        let inventory = fs::read_to_string(self.fleet.project().join("inventory/fleet.toml")).expect("written");
        let table = inventory.split(&format!("[hosts.{host}]")).nth(1).expect("the host");
        let address =
            table.split("address = \"http").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
        let output = Command::new("curl").args(["-s", "-m", "5", &format!("http{address}/dashboard")]).output();
        let text = String::from_utf8(output.expect("it runs").stdout).expect("text");
        text.split("\"version\": \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
    }

    /// The `[[approve]]` that a refusal asks for, as a file.
    pub fn approval(&self, ran: &Ran, host: &str) -> String {
        let text = flat(&ran.err);
        let backup =
            text.split("backup = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it says the time");
        let text =
            format!("[[approve]]\nhost = \"{host}\"\naction = \"restore\"\nbackup = \"{backup}\"\nby = \"anna\"\n");
        self.fleet.write("approvals.toml", &text).to_string_lossy().into_owned()
    }

    /// The database files that a restore kept, with the head of their migrations.
    pub fn kept_aside(&self, host: &str) -> Vec<String> {
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
}

impl Manager<'_> {
    fn scope(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System { .. } => "system",
        }
    }

    /// What starts the host's sshd beside its systemd.
    fn wrapper(self, group: &Group, home: &Path) -> Vec<String> {
        let (group, home) = (group.0.display(), home.display());
        match self {
            Self::User => vec![
                "sh".to_owned(),
                format!("{SOURCE}/tests/products/systemd.sh"),
                group.to_string(),
                home.to_string(),
                UNIT.to_owned(),
            ],
            Self::System { login, .. } => vec![
                "env".to_owned(),
                format!("UNITS={home}/units"),
                "sh".to_owned(),
                format!("{SOURCE}/tests/fleet/systemd.sh"),
                group.to_string(),
                login.name.clone(),
            ],
        }
    }

    /// Gives what was installed to the user that runs it, and the unit to the system's manager.
    fn take_over(self, home: &Path) {
        let Self::System { service, .. } = self else { return };
        let wants = home.join("units/test.target.wants");
        fs::create_dir_all(&wants).expect("made");
        let unit = fs::read_to_string(home.join(".config/systemd/user").join(UNIT)).expect("the unit");
        fs::remove_dir_all(home.join(".config")).expect("removed");
        let own = format!("[Unit]\nDefaultDependencies=no\n{unit}User={}\n", service.name);
        fs::write(home.join("units").join(UNIT), own).expect("written");
        symlink(format!("../{UNIT}"), wants.join(UNIT)).expect("linked");
        run(Command::new("chown").args(["-R", &service.name]).arg(home.join("srv/shared")));
    }

    /// How the host is logged in to, as the inventory has it.
    fn login(self) -> String {
        match self {
            Self::User => String::new(),
            Self::System { login, .. } => format!("user = \"{}\"\nbecome = {{ user = \"root\" }}\n", login.name),
        }
    }
}

/// A release as it is built: the server and what it is.
pub fn release(folder: &Path, version: &str, schema: u32) {
    fs::create_dir_all(folder).expect("made");
    fs::write(folder.join("server.py"), SERVER).expect("written");
    fs::write(folder.join("release.json"), format!("{{\"version\": \"{version}\", \"schema\": {schema}}}"))
        .expect("written");
}

/// A port for a server that is stopped and started: below those that the system gives to whoever asks for any.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    let mut ports = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed)).take(5_000);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
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

/// Whether this machine can have a systemd of the system; says `SKIPPED` if not.
pub fn can_have_a_system() -> bool {
    let needed = ["/lib/systemd/systemd-logind", "/usr/bin/dbus-daemon", "/usr/bin/sudo"];
    let missing = needed.into_iter().find(|file| !Path::new(file).exists());
    if let Some(missing) = missing {
        skip(&format!("there is no {missing}"));
    }
    missing.is_none() && is_root()
}

/// What must be as it was on a host that was blocked or taken back: the version, what runs, the data, no page.
#[track_caller]
pub fn as_before(product: &SvRunner, host: &str, ran: &Ran) {
    assert_eq!(product.version(host), "2.0.0", "{host}: {ran}");
    assert!(!product.path(host, "srv/maintenance").exists(), "{host}: {ran}");
    assert_eq!(product.sql(host, "srv/shared/files/local.db", "pragma user_version"), "1", "{host}: {ran}");
    assert_eq!(product.sql(host, "srv/shared/files/local.db", "select group_concat(name) from screens"), "welcome");
    assert_eq!(product.serves(host), "2.0.0", "{host}: {ran}");
}
