//! A fleet: hosts with an sshd, a home and a state folder each, and the project that knows them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    command::Longshore,
    sshd::{Builder, Lab, Sshd, run, user_name},
};

/// Hosts and the project that knows them. Its sshds stop, and its files go, when it is dropped.
pub struct Fleet {
    pub lab: Lab,
    pub hosts: Vec<Host>,
    /// In the environment of everything that runs for this fleet, on either side.
    mark: String,
}

/// One host: an sshd whose sessions have a home of their own.
pub struct Host {
    pub name: String,
    pub sshd: Sshd,
    /// The host's home, and its variable `path`.
    pub home: PathBuf,
    /// Further lines of its table in the inventory.
    pub lines: String,
}

/// Longest that one call may take.
const LIMIT: Duration = Duration::from_secs(90);

/// The variable that marks what runs for a fleet.
const MARK: &str = "FLEET_OF_THE_TEST";

impl Fleet {
    /// An empty fleet; `None` where there is no sshd.
    pub fn new() -> Option<Self> {
        let lab = Lab::new()?;
        let mark = lab.path("").file_name().expect("a folder").to_string_lossy().into_owned();
        for folder in ["home", "project", "project/inventory", "project/playbooks", "project/roles"] {
            fs::create_dir(lab.path(folder)).expect("the lab's folder is writable");
        }
        Some(Self { lab, hosts: Vec::new(), mark })
    }

    /// A fleet of `count` good hosts, `web-01` and so on, trusted and written down.
    pub fn of(count: usize) -> Option<Self> {
        let mut fleet = Self::new()?;
        for number in 1..=count {
            fleet.add(&format!("web-{number:02}"), |sshd| sshd);
        }
        fleet.write_inventory("");
        fleet.trust_all();
        Some(fleet)
    }

    /// Starts one more host, its sshd changed by `change`.
    pub fn add(&mut self, name: &str, change: impl FnOnce(Builder<'_>) -> Builder<'_>) -> &mut Host {
        let home = self.lab.path(name);
        fs::create_dir(&home).expect("the lab's folder is writable");
        // Sessions as other users, too, work in there.
        run(std::process::Command::new("chmod").arg("1777").arg(&home));
        let marks = format!("SetEnv {MARK}={} HOME={}", self.mark, home.display());
        let sshd = change(self.lab.sshd().line(&marks)).start();
        self.hosts.push(Host { name: name.to_owned(), sshd, home, lines: String::new() });
        self.hosts.last_mut().expect("just put there")
    }

    pub fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).unwrap_or_else(|| panic!("there is no host {name}"))
    }

    /// Writes the hosts down. `defaults` are further lines of that table, or further tables.
    pub fn write_inventory(&self, defaults: &str) {
        let mut text = format!(
            "[defaults]\nuser = {:?}\nidentity-files = [\"{}\"]\n{defaults}\n",
            user_name(),
            self.lab.path("me").display(),
        );
        for Host { name, sshd, home, lines } in &self.hosts {
            let own = |key: &str| lines.lines().any(|line| line.trim_start().starts_with(key));
            let _ = writeln!(text, "[hosts.{name}]\naddress = {:?}\nport = {}", sshd.address, sshd.port);
            if !own("state-dir") {
                let _ = writeln!(text, "state-dir = \"{}/state\"", home.display());
            }
            if !own("vars") {
                let _ = writeln!(text, "vars = {{ path = \"{}\" }}", home.display());
            }
            let _ = writeln!(text, "{lines}");
        }
        self.write("inventory/fleet.toml", &text);
    }

    /// Writes every host's key into the project's `known_hosts`.
    pub fn trust_all(&self) {
        let line = |host: &Host| format!("{} {}", host.sshd.known_as(), host.sshd.public_key());
        let lines: Vec<_> = self.hosts.iter().map(line).collect();
        self.write("known_hosts", &(lines.join("\n") + "\n"));
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.project().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the project is writable");
        fs::write(&path, text).expect("the project is writable");
        path
    }

    pub fn project(&self) -> PathBuf {
        self.lab.path("project")
    }

    /// Prepares `longshore ARGUMENTS`: for this project, with a home of its own, nobody at the terminal.
    pub fn longshore<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Longshore {
        let mark = (MARK, self.mark.as_str());
        Longshore::new(&self.project(), &self.lab.path("home"), mark, LIMIT).no_ssh_config().args(arguments)
    }

    /// What a host's session wrote into a file below its home; empty where there is none.
    pub fn read(&self, host: &str, file: &str) -> String {
        fs::read_to_string(self.host(host).home.join(file)).unwrap_or_default()
    }

    /// Returns what `fetch` brought as `file` in all runs, by host.
    pub fn fetched(&self, file: &str) -> BTreeMap<String, String> {
        let runs = fs::read_dir(self.project().join(".longshore/runs")).into_iter().flatten().flatten();
        let hosts = runs.flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten());
        let text = |host: &fs::DirEntry| fs::read_to_string(host.path().join(file)).ok();
        hosts.filter_map(|host| Some((host.file_name().to_string_lossy().into_owned(), text(&host)?))).collect()
    }

    /// Asserts that the host's leases are free, and that every run is closed there: at most what its rollback would
    /// need is left. Returns how many leases there were.
    pub fn assert_released(&self, host: &str) -> usize {
        let installs = self.assert_lease_free(host);
        for install in &installs {
            let runs = fs::read_dir(install.join("runs")).into_iter().flatten().flatten();
            for run in runs.map(|run| run.path()) {
                assert!(run.join("closed").exists(), "{host} still has {}", run.display());
                let left = fs::read_dir(&run).into_iter().flatten().flatten();
                let segments: Vec<_> =
                    left.filter(|entry| entry.file_name().to_string_lossy().ends_with(".segment")).collect();
                assert!(segments.is_empty(), "{host} still has {segments:?}");
            }
        }
        installs.len()
    }

    /// Asserts that the host's leases are free. Returns the folders of their installs.
    pub fn assert_lease_free(&self, host: &str) -> Vec<PathBuf> {
        let installs = fs::read_dir(self.host(host).home.join("state")).into_iter().flatten().flatten();
        let installs: Vec<_> =
            installs.map(|entry| entry.path()).filter(|install| install.join("lease").exists()).collect();
        for install in &installs {
            let lease = text_of(&install.join("lease"));
            assert!(lease.starts_with("- "), "{host} is still held: {lease}");
        }
        installs
    }

    /// Asserts that of all that ran for this fleet nothing runs any more, on either side.
    ///
    /// What was told to end may take a moment to be gone.
    pub fn assert_nothing_runs(&self) {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "still running: {left:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Lists what runs for this fleet: marked in its environment, or its folder in its arguments.
    pub fn processes(&self) -> Vec<String> {
        let folder = self.lab.path("");
        let folder = folder.to_string_lossy();
        let mark = format!("{MARK}={}", self.mark);
        let ours = std::process::id().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.bytes().all(|byte| byte.is_ascii_digit()) || name == ours {
                continue;
            }
            let words = text_of(&entry.path().join("cmdline")).replace('\0', " ");
            let marked = text_of(&entry.path().join("environ")).split('\0').any(|variable| variable == mark);
            let is_listener = words.contains("/usr/sbin/sshd -D");
            if marked || (words.contains(folder.as_ref()) && !is_listener) {
                found.push(format!("{name} {words}"));
            }
        }
        found
    }
}

/// The text of a file; empty where it cannot be read, as a process may just have ended.
fn text_of(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
