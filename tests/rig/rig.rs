//! The rig as the tests see it: its hosts, what is installed there, and projects that know them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use tempfile::TempDir;

use crate::command::{Longshore, Ran, flat};

/// Longest that one call of longshore may take: hosts share two cores.
const LIMIT: Duration = Duration::from_secs(300);

/// The hosts that a test has, and who waits for one of them.
static TAKEN: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
static GIVEN_BACK: Condvar = Condvar::new();

const HOSTS: [&str; 4] = ["fovea-1", "fovea-2", "fovea-3", "fovea-4"];

/// The rig, with hosts of it that no other test has meanwhile.
pub struct Rig {
    folder: PathBuf,
    hosts: Vec<&'static str>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A test that failed has nothing to say to the next one.
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|host| !self.hosts.contains(host));
        GIVEN_BACK.notify_all();
    }
}

/// An install: host, version, flavour of the model service.
pub type Install = (&'static str, &'static str, &'static str);

impl Rig {
    /// The whole rig; waits until no test has any of it. `None` where no rig is up.
    pub fn up() -> Option<Self> {
        Self::with(&HOSTS)
    }

    /// These hosts of it; waits until no other test has one of them. `None` where no rig is up.
    pub fn with(hosts: &[&'static str]) -> Option<Self> {
        let folder = std::env::var_os("LONGSHORE_RIG").map_or_else(|| source().join("target/rig"), PathBuf::from);
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        // All at once: whoever waits has none that another waits for.
        let wanted = |taken: &mut BTreeSet<&str>| hosts.iter().any(|host| taken.contains(host));
        let mut taken = GIVEN_BACK.wait_while(taken, wanted).unwrap_or_else(PoisonError::into_inner);
        taken.extend(hosts);
        drop(taken);
        let rig = Self { folder, hosts: hosts.to_vec() };
        let is_up = |host| rig.host(host, &["true"]).status.success();
        if rig.folder.join("fleet/known_hosts").exists() && hosts.iter().all(|host| is_up(host)) {
            return Some(rig);
        }
        eprintln!("SKIPPED: no rig is up (tests/rig/up, as root)");
        None
    }

    /// The project that `tests/rig/up` wrote.
    pub fn fleet(&self) -> PathBuf {
        self.folder.join("fleet")
    }

    /// Has the product installed as asked for, with its sample data and nothing of earlier tests.
    pub fn installed(&self, installs: &[Install]) {
        let begun: Vec<_> = installs
            .iter()
            .filter_map(|(host, version, flavour)| {
                let fresh = self.folder.join("hosts").join(host).join("fresh");
                let has = fs::read_to_string(&fresh).unwrap_or_default();
                if has.trim() == format!("{version} {flavour}") {
                    // No longer, once this test has worked on it.
                    fs::remove_file(fresh).expect("removed");
                    return None;
                }
                let mut install = Command::new(source().join("tests/rig/install"));
                let install = install.args([host, version, flavour]).stdin(Stdio::null());
                Some((host, fresh, install.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")))
            })
            .collect();
        for (host, fresh, install) in begun {
            let Output { status, stdout, stderr } = install.wait_with_output().expect("it ends");
            let said = [stdout, stderr].concat();
            assert!(status.success(), "{host} was not installed: {}", String::from_utf8_lossy(&said));
            fs::remove_file(fresh).expect("removed");
        }
    }

    /// Takes the product and everything of it away from a host.
    pub fn emptied(&self, host: &str) {
        let down = "docker compose --progress quiet --profile '*' down -v --remove-orphans -t 1 </dev/null";
        self.shell(host, &format!("{down}\nfind . -mindepth 1 -delete"));
        let _ = fs::remove_file(self.folder.join("hosts").join(host).join("installed"));
    }

    /// Runs a verb of `tests/rig/host`.
    #[expect(clippy::unused_self, reason = "hosts are there while their rig is")]
    pub fn control(&self, host: &str, words: &[&str]) -> Output {
        Command::new(source().join("tests/rig/host")).arg(host).args(words).output().expect("it runs")
    }

    /// Runs a command on a host as root, not by SSH.
    pub fn host(&self, host: &str, command: &[&str]) -> Output {
        self.control(host, &[&["run"], command].concat())
    }

    /// What a command on a host prints.
    #[track_caller]
    pub fn says(&self, host: &str, command: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.host(host, command);
        assert!(status.success(), "{host}: {command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text").trim().to_owned()
    }

    /// What a script for `sh` prints in the folder of the install.
    #[track_caller]
    pub fn shell(&self, host: &str, script: &str) -> String {
        self.says(host, &["sh", "-ec", &format!("cd /srv/fovea\n{script}")])
    }

    #[track_caller]
    pub fn sql(&self, host: &str, query: &str) -> String {
        let client =
            ["docker", "exec", "fovea-postgres-1", "psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "fovea"];
        self.says(host, &[&client[..], &["-d", "fovea", "-c", query]].concat())
    }

    /// The data that users made, summaries apart, which whoever looks at the product asks for: every table by number of rows and checksum, every video by name, size and checksum.
    ///
    /// `label` is the name that the release has for the label of an annotation.
    #[track_caller]
    pub fn data(&self, host: &str, label: &str) -> BTreeMap<String, String> {
        let tables = [
            ("users", "select username, password, role from users order by 1".to_owned()),
            ("videos", "select id, name, blob, size from videos order by 1".to_owned()),
            ("annotations", format!("select id, video_id, {label} from annotations order by 1")),
        ];
        let sum = |rows: &str| {
            format!("select count(*) || ' ' || md5(coalesce(string_agg(r::text, '|'), '')) from ({rows}) r")
        };
        let mut data: BTreeMap<_, _> =
            tables.iter().map(|(table, rows)| ((*table).to_owned(), self.sql(host, &sum(rows)))).collect();
        data.insert("blobs".to_owned(), self.blobs(host));
        data
    }

    /// The files of the videos: names, sizes, times of change and checksums.
    #[track_caller]
    pub fn blobs(&self, host: &str) -> String {
        let folder = self.says(host, &["docker", "volume", "inspect", "-f", "{{.Mountpoint}}", "fovea_videos"]);
        let list = "find . -type f -printf '%f %s %T@\\n' | sort; sha256sum * | sort";
        self.says(host, &["sh", "-ec", &format!("cd {folder}; {list}")])
    }

    /// Containers of the install by service: image and id.
    #[track_caller]
    pub fn containers(&self, host: &str) -> BTreeMap<String, (String, String)> {
        let format = "{{.Label \"com.docker.compose.service\"}} {{.Image}} {{.ID}}";
        let listed = self.says(host, &["docker", "ps", "--no-trunc", "--format", format]);
        let words = listed.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        words.map(|words| (words[0].clone(), (words[1].clone(), words[2].clone()))).collect()
    }

    /// The version that the running backend's image is tagged with; empty where it does not run.
    #[track_caller]
    pub fn running(&self, host: &str) -> String {
        let containers = self.containers(host);
        let image = containers.get("backend").map(|(image, _)| image.as_str()).unwrap_or_default();
        image.rsplit_once(':').map(|(_, tag)| tag.to_owned()).unwrap_or_default()
    }

    /// Notes every call of `docker` on a host from now on. The host has it until it is installed anew.
    pub fn listen(&self, host: &str) {
        let shim = "#!/bin/sh\n{ printf \"%s \" \"$@\"; echo; } >>/tmp/docker-calls\nexec /usr/bin/docker \"$@\"\n";
        let install = format!(
            "printf '%s' '{shim}' >/usr/local/bin/docker; chmod 0755 /usr/local/bin/docker; \
                               : >/tmp/docker-calls; chmod 0666 /tmp/docker-calls"
        );
        self.shell(host, &install);
    }

    /// The calls of Compose since [`Rig::listen`].
    pub fn compose_calls(&self, host: &str) -> Vec<String> {
        let calls = self.shell(host, "cat /tmp/docker-calls");
        calls.lines().filter(|call| call.starts_with("compose ")).map(str::to_owned).collect()
    }

    /// What the model service was asked since it started: how often each path, and in which order.
    pub fn asked(&self, host: &str, flavour: &str) -> (BTreeMap<String, u32>, Vec<String>) {
        let port = if flavour == "cpu" { "8000" } else { "8001" };
        let said = self.says(host, &["curl", "-sf", &format!("http://localhost:{port}/asked")]);
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let read = |key: &str| said[key].clone();
        (serde_json::from_value(read("counts")).expect("counts"), serde_json::from_value(read("order")).expect("paths"))
    }

    /// The image that the backend's container runs, by its id.
    #[track_caller]
    pub fn image(&self, host: &str) -> String {
        self.says(host, &["docker", "inspect", "--format", "{{.Image}}", "fovea-backend-1"])
    }

    /// Does what a person would: logs in, loads a video, has it summarized, opens the panel. Returns what came of it.
    #[track_caller]
    pub fn spot_check(&self, host: &str) -> serde_json::Value {
        let program = fs::read_to_string(source().join("tests/rig/product/spot.py")).expect("the program");
        serde_json::from_str(&self.says(host, &["/usr/bin/python3", "-c", &program])).expect("JSON")
    }

    /// A project of the repository's own role and profiles that knows these hosts.
    pub fn project(&self, hosts: &[Install]) -> Project<'_> {
        let folder = tempfile::Builder::new().prefix("longshore-rig-").tempdir().expect("a folder");
        for made in ["inventory", "playbooks", "roles/fovea", "home"] {
            fs::create_dir_all(folder.path().join(made)).expect("made");
        }
        for file in ["inventory/fovea-profiles.toml", "roles/fovea/releases.toml", "roles/fovea/CHANGELOG.md"] {
            fs::copy(source().join(file), folder.path().join(file)).expect("copied");
        }
        let project = Project { rig: self, folder };
        // A release that never comes up is waited for as long as the checks are tried.
        let role = fs::read_to_string(source().join("roles/fovea/role.toml")).expect("the role");
        assert!(role.contains(r#"for = "60s""#));
        project.write("roles/fovea/role.toml", &role.replace(r#"for = "60s""#, r#"for = "20s""#));
        fs::copy(source().join("playbooks/fovea-flavour.toml"), project.path("playbooks/fovea-flavour.toml"))
            .expect("copied");
        for playbook in ["playbooks/fovea-backup.toml", "playbooks/fovea-restore.toml"] {
            fs::copy(source().join(playbook), project.path(playbook)).expect("copied");
        }
        let playbook = fs::read_to_string(source().join("playbooks/fovea-upgrade.toml")).expect("the playbook");
        assert!(playbook.contains("soak = \"5m\""));
        project.write("playbooks/fovea-upgrade.toml", &playbook.replace("soak = \"5m\"", "soak = \"3s\""));
        fs::copy(self.folder.join("fleet/known_hosts"), project.path("known_hosts")).expect("copied");
        project.inventory(hosts, "");
        project
    }
}

/// A project of one test.
pub struct Project<'a> {
    rig: &'a Rig,
    folder: TempDir,
}

/// What the hosts' variable of that name is.
pub const CLAIMS_KEY: &str = "claims-of-the-rig-7f3a";

impl Project<'_> {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Replaces a text of a file, which must be there.
    pub fn change(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).expect("read");
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replace(from, to));
    }

    /// Writes the inventory: these hosts, all of the group `fovea`; `defaults` are further variables of theirs.
    pub fn inventory(&self, hosts: &[Install], defaults: &str) {
        let key = self.rig.folder.join("key");
        let mut text = format!(
            "[defaults]\nuser = \"deploy\"\nidentity-files = [\"{}\"]\n[defaults.vars]\npath = \"/srv/fovea\"\n\
             spot-password = {{ secret = {{ env = \"SPOT_PASSWORD\" }} }}\n{defaults}\n",
            key.display()
        );
        if !defaults.contains("admin-password") {
            text.push_str("admin-password = { secret = { env = \"ADMIN_PASSWORD\" } }\n");
        }
        if !defaults.contains("claims-signing-key") {
            text.push_str("claims-signing-key = { secret = { env = \"CLAIMS_KEY\" } }\n");
        }
        for (host, _, flavour) in hosts {
            let address =
                fs::read_to_string(self.rig.folder.join("hosts").join(host).join("address")).expect("an address");
            let profile = if *flavour == "cpu" { "fovea" } else { "fovea-gpu" };
            let _ = writeln!(text, "[hosts.{host}]\naddress = {:?}\nprofile = {profile:?}", address.trim());
        }
        text.push_str("[groups.fovea]\nhosts = [\"fovea-*\"]\n");
        self.write("inventory/rig.toml", &text);
    }

    pub fn longshore<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Longshore {
        Longshore::new(self.folder.path(), &self.path("home"), ("LONGSHORE_TEST", "rig"), LIMIT)
            .env("SPOT_PASSWORD", "ada-password")
            .env("ADMIN_PASSWORD", "admin-password")
            .env("CLAIMS_KEY", CLAIMS_KEY)
            .no_ssh_config()
            .args(arguments)
    }

    /// Writes the `[[approve]]` that a refusal asks for, and returns its path.
    pub fn approval(&self, refused: &Ran, host: &str) -> String {
        let text = flat(&refused.err);
        let backup =
            text.split("backup = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it says the time");
        let text = format!("[[approve]]\nhost = {host:?}\naction = \"restore\"\nbackup = {backup:?}\nby = \"anna\"\n");
        self.write("approvals.toml", &text);
        self.path("approvals.toml").to_string_lossy().into_owned()
    }

    /// The event stream of the last run, as `history` tells it.
    pub fn told(&self) -> Ran {
        self.longshore(["--output", "json", "history", "show", "last"]).run().expect_code(0)
    }

    /// Everything that longshore kept of its runs, to look for what must not be there.
    pub fn kept(&self) -> String {
        fn read(folder: &Path, into: &mut String) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    read(&path, into);
                } else {
                    into.push_str(&String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()));
                }
            }
        }
        let mut all = String::new();
        read(&self.path(".longshore"), &mut all);
        all
    }
}

pub fn source() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
