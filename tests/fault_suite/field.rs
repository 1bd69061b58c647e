//! The hosts of a test and the projects that work on them: an embedded lab, or sshd behind proxies.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use longshore::{
    event::Event,
    lab::{Fault, Fleet, LabOptions},
    ledger::Ledger,
    model::HostName,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    proxy::Proxy,
    sshd::{Lab, Sshd, user_name},
};

/// One host, as far as a test needs to know it.
pub struct Host {
    pub name: HostName,
    address: SocketAddr,
    /// Past the proxy.
    pub direct: SocketAddr,
    /// Where steps leave their lines.
    pub dir: PathBuf,
    pub state: PathBuf,
    /// `NAME=value` in the environment of everything that runs for it.
    pub mark: String,
    /// Between it and the controller, where there is one.
    pub proxy: Option<Proxy>,
}

enum Ground {
    Lab(Option<Fleet>),
    /// The folder of the servers' files lives as long as they do.
    Real {
        _servers: Vec<Sshd>,
        _lab: Lab,
    },
}

/// Hosts that run.
pub struct Field {
    pub runtime: Runtime,
    pub hosts: Vec<Host>,
    known_hosts: String,
    identity: PathBuf,
    user: String,
    ground: Ground,
    dir: TempDir,
    projects: std::cell::Cell<u32>,
}

/// A project folder with one playbook, `work`.
pub struct Project {
    pub path: PathBuf,
    pub steps: usize,
    pub tag: String,
}

/// What each step does between its two lines, as shell.
pub type Between<'a> = &'a dyn Fn(usize) -> String;

impl Field {
    /// Starts an embedded lab.
    pub fn lab(count: usize) -> Self {
        let runtime = runtime();
        let fleet = runtime.block_on(Fleet::start(LabOptions::numbered(count))).expect("a lab starts");
        let hosts = fleet.hosts().iter().map(|host| Host {
            name: host.name.clone(),
            address: SocketAddr::new(host.address, host.port),
            direct: SocketAddr::new(host.address, host.port),
            dir: host.home.clone(),
            state: host.home.join(".local/state/longshore"),
            mark: format!("HOME={}", host.home.display()),
            proxy: None,
        });
        Self {
            hosts: hosts.collect(),
            known_hosts: fs::read_to_string(fleet.known_hosts()).expect("host keys"),
            identity: fleet.client_key().to_owned(),
            user: fleet.user().to_owned(),
            runtime,
            ground: Ground::Lab(Some(fleet)),
            dir: folder(),
            projects: std::cell::Cell::default(),
        }
    }

    /// Starts real sshd, each behind a proxy; `None` where there is none.
    pub fn sshd(count: usize) -> Option<Self> {
        Self::sshd_wrapped(count, &|_| Vec::new())
    }

    /// As [`Field::sshd`], each started through the words that `wrapper` gives for its directory.
    pub fn sshd_wrapped(count: usize, wrapper: &dyn Fn(&Path) -> Vec<String>) -> Option<Self> {
        let lab = Lab::new()?;
        let (runtime, dir) = (runtime(), folder());
        let (mut hosts, mut servers, mut known_hosts) = (Vec::new(), Vec::new(), String::new());
        for number in 1..=count {
            let home = dir.path().join(format!("host-{number}"));
            fs::create_dir(&home).expect("a folder");
            let mark = format!("LONGSHORE_FAULT_HOST={}", home.display());
            // A home of its own: what the user's login scripts do on this machine must not be killed halfway.
            let words = wrapper(&home);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let server = lab.sshd().line(&format!("SetEnv {mark} HOME={}", home.display())).wrapper(&words).start();
            let to = SocketAddr::new(server.address.parse().expect("an address"), server.port);
            let proxy = runtime.block_on(Proxy::start(to));
            let address = proxy.address;
            for known in [address, to] {
                let _ = writeln!(known_hosts, "[{}]:{} {}", known.ip(), known.port(), server.public_key());
            }
            let name = HostName::new(format!("real-{number}")).expect("a name");
            let state = home.join("state");
            hosts.push(Host { name, address, direct: to, state, dir: home, mark, proxy: Some(proxy) });
            servers.push(server);
        }
        Some(Self {
            runtime,
            hosts,
            known_hosts,
            identity: lab.path("me"),
            user: user_name(),
            ground: Ground::Real { _servers: servers, _lab: lab },
            dir,
            projects: std::cell::Cell::default(),
        })
    }

    pub fn is_real(&self) -> bool {
        matches!(self.ground, Ground::Real { .. })
    }

    /// Lets a lab host misbehave.
    pub fn fault(&self, host: &Host, fault: Fault) {
        if let Ground::Lab(Some(fleet)) = &self.ground {
            fleet.set_fault(&host.name, fault);
        }
    }

    /// Lets everything work again.
    pub fn calm(&self, host: &Host) {
        if let Ground::Lab(Some(fleet)) = &self.ground {
            fleet.clear_faults(&host.name);
        }
        if let Some(proxy) = &host.proxy {
            proxy.calm();
        }
    }

    /// Makes a project of `steps` steps for all hosts, each with lines in a file of its own.
    pub fn project(&self, steps: usize, between: Between<'_>) -> Project {
        self.project_with(steps, between, "")
    }

    /// As [`Field::project`], with more lines at the playbook's beginning.
    pub fn project_with(&self, steps: usize, between: Between<'_>, head: &str) -> Project {
        let number = self.projects.get() + 1;
        self.projects.set(number);
        let tag = format!("trace-{number}");
        let path = self.dir.path().join(format!("project-{number}"));
        for folder in ["inventory", "playbooks"] {
            fs::create_dir_all(path.join(folder)).expect("a folder");
        }
        let mut inventory = format!("[defaults]\nuser = {:?}\nidentity-files = [{:?}]\n", self.user, self.identity);
        for host in &self.hosts {
            let _ = write!(
                inventory,
                "\n[hosts.{}]\naddress = \"{}\"\nport = {}\nstate-dir = {:?}\nvars = {{ trace = {:?} }}\n",
                host.name,
                host.address.ip(),
                host.address.port(),
                host.state,
                host.dir.join(&tag),
            );
        }
        let mut playbook = format!(
            "name = \"Work\"\nhosts = \"all\"\n{head}\n[rollout]\nat-once = 16\n[rollout.budget]\nfailed = \"100%\"\nunreachable = \"100%\"\n"
        );
        for step in 1..=steps {
            let _ = write!(
                playbook,
                "\n[[steps]]\nname = \"Append {step}\"\nno-undo = \"a line stays\"\ntimeout = \"2m\"\n\
                 command = {{ run = '''printf 'b {step}\\n' >>{{{{trace}}}}; {}; printf 'e {step}\\n' >>{{{{trace}}}}''' }}\n",
                between(step),
            );
        }
        fs::write(path.join("inventory/field.toml"), inventory).expect("written");
        fs::write(path.join("playbooks/work.toml"), playbook).expect("written");
        fs::write(path.join("known_hosts"), &self.known_hosts).expect("written");
        Project { path, steps, tag }
    }
}

impl Project {
    /// Puts another playbook in the place of `work`. `steps` is how many lines it leaves on each host.
    pub fn with_playbook(mut self, steps: usize, text: &str) -> Self {
        fs::write(self.path.join("playbooks/work.toml"), format!("name = \"Work\"\nhosts = \"all\"\n{text}"))
            .expect("written");
        self.steps = steps;
        self
    }

    /// Has its controller go to the hosts past their proxies.
    pub fn past_proxies(self, field: &Field) -> Self {
        let path = self.path.join("inventory/field.toml");
        let mut text = fs::read_to_string(&path).expect("written before");
        for host in &field.hosts {
            let of = |place: SocketAddr| format!("address = \"{}\"\nport = {}\n", place.ip(), place.port());
            text = text.replace(&of(host.address), &of(host.direct));
        }
        fs::write(path, text).expect("written");
        self
    }

    /// Waits until what happened last in the ledger, or before, is this.
    pub fn wait_until(&self, what: impl Fn(&Event) -> bool) -> Event {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            if let Some(event) = self.events().into_iter().find(&what) {
                return event;
            }
            assert!(std::time::Instant::now() < until, "it does not happen: {:#?}", self.events().last());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// The events of the last rollout, as far as the ledger can be read just now.
    pub fn events(&self) -> Vec<Event> {
        let read = || {
            let ledger = Ledger::open(&self.path, std::sync::Arc::new(jiff::Timestamp::now)).ok()?;
            let run = ledger.runs(50).ok()?.into_iter().find(|run| run.purpose == "apply")?;
            ledger.events(run.number, None).ok()
        };
        read().unwrap_or_default()
    }

    /// How often a step began and ended on a host, by the host's own file.
    pub fn traced(&self, host: &Host, step: usize) -> (usize, usize) {
        let text = fs::read_to_string(host.dir.join(&self.tag)).unwrap_or_default();
        let count = |word: &str| text.lines().filter(|line| *line == format!("{word} {step}")).count();
        (count("b"), count("e"))
    }

    /// Waits until a step began on a host.
    pub fn wait_for(&self, host: &Host, step: usize) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while self.traced(host, step).0 == 0 {
            assert!(std::time::Instant::now() < until, "step {step} of {} does not begin", host.name);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        if let Ground::Lab(fleet) = &mut self.ground
            && let Some(fleet) = fleet.take()
        {
            let _ = self.runtime.block_on(fleet.stop());
        }
        for host in &self.hosts {
            crate::victims::kill_all(&host.mark);
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn folder() -> TempDir {
    let dir = tempfile::Builder::new().prefix("longshore-fault-").tempdir().expect("a temporary folder");
    // Users of lab hosts and of real ones alike pass through it.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), mode).expect("a mode");
    dir
}
