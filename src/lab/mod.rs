//! A fleet of embedded SSH servers to try everything on: `longshore demo` and `longshore lab`.
//!
//! Every host is a russh server on a port of 127.0.0.1 in this process, with a directory of its own in
//! which a real `sh` runs what clients ask for. It needs no root and no set-up; when it stops, its
//! processes and directories are gone. Hosts can be told to misbehave, one by one ([`Fault`]).

pub mod app;
mod connection;
pub mod control;
mod fault;
mod forward;
mod host;
mod processes;
mod program;
mod project;
mod root;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    borrow::Cow,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use russh::{
    MethodKind, MethodSet,
    keys::{Algorithm, PrivateKey, PublicKey, ssh_key::LineEnding},
    server::Config,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::model::HostName;
use app::Build;
use host::{Host, Parts};
use processes::Processes;
use root::Root;

pub use control::{ControlError, FaultTable};
pub use fault::{Fault, FaultError, Faults};
pub use project::FILES as SHOP_FILES;

/// The user of every lab host.
const USER: &str = "lab";

/// How long `stop` waits for the lab's own tasks. All they wait for has been killed or cut by then.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How often the file with the faults is looked at.
const CONTROL_EVERY: Duration = Duration::from_millis(500);

/// Puts a host's first files into its directory.
pub type Seed = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

/// A host to be.
pub struct LabHost {
    pub name: HostName,
    pub faults: Faults,
    pub seed: Option<Seed>,
}

impl LabHost {
    pub fn new(name: HostName) -> Self {
        Self { name, faults: Faults::default(), seed: None }
    }

    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.set(fault);
        self
    }

    #[must_use]
    pub fn seed(mut self, seed: impl Fn(&Path) -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.seed = Some(Box::new(seed));
        self
    }
}

/// What a lab is to be.
#[derive(Default)]
pub struct LabOptions {
    pub hosts: Vec<LabHost>,
    /// Where to keep everything. A private temporary directory when `None`.
    pub root: Option<PathBuf>,
    /// A password that is accepted beside the key, by `password` and `keyboard-interactive`.
    pub password: Option<String>,
    /// Whether faults can be set from another terminal, through [`control`].
    pub is_controllable: bool,
}

impl LabOptions {
    /// Hosts named `web-1`, `web-2`, ...
    pub fn numbered(count: usize) -> Self {
        let hosts = (1..=count)
            .map(|number| HostName::new(format!("web-{number}")).expect("`web-` and a number make a name"))
            .map(LabHost::new)
            .collect();
        Self { hosts, ..Self::default() }
    }

    /// Gives every host the shop, version 1.4.2 installed and running, and a build of 1.5.0 to go to.
    ///
    /// The build of the hosts in `broken` does not become healthy.
    #[must_use]
    pub fn with_shop(mut self, broken: &[HostName]) -> Self {
        for host in &mut self.hosts {
            let next = if broken.contains(&host.name) {
                Build::broken("1.5.0", "no connection to the price service")
            } else {
                Build::good("1.5.0")
            };
            host.seed = Some(Box::new(move |home| app::seed(home, &Build::good("1.4.2"), std::slice::from_ref(&next))));
        }
        self
    }
}

/// Where a lab host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabAddress {
    pub name: HostName,
    pub address: IpAddr,
    pub port: u16,
    /// The host's directory on this machine: its home.
    pub home: PathBuf,
}

/// Why a lab could not start, or left something behind.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("cannot use `{path}`")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another lab runs in `{path}`")]
    InUse { path: PathBuf },
    #[error("`{path}` holds files that are not a lab's")]
    NotEmpty { path: PathBuf },
    #[error("two hosts are called `{0}`")]
    SameName(HostName),
    #[error("cannot fill the directory of `{host}`")]
    Seed {
        host: HostName,
        #[source]
        source: io::Error,
    },
    #[error("cannot listen on 127.0.0.1 for `{host}`")]
    Listen {
        host: HostName,
        #[source]
        source: io::Error,
    },
    #[error("cannot make a key")]
    Key(#[source] russh::keys::ssh_key::Error),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("{0} processes of the lab are still there")]
    ProcessesLeft(usize),
}

/// A running lab. Stops when it is dropped; [`Fleet::stop`] also says whether all went well.
pub struct Fleet {
    addresses: Vec<LabAddress>,
    hosts: Vec<Arc<Host>>,
    client_key: PathBuf,
    known_hosts: PathBuf,
    known_lines: Vec<String>,
    processes: Arc<Processes>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Last: what is in it is used until then.
    root: Root,
}

impl Fleet {
    /// Starts all hosts. They accept connections when this returns.
    pub async fn start(options: LabOptions) -> Result<Self, LabError> {
        raise_descriptor_limit();
        let mut names = std::collections::BTreeSet::new();
        if let Some(host) = options.hosts.iter().find(|host| !names.insert(host.name.clone())) {
            return Err(LabError::SameName(host.name.clone()));
        }
        let mark = ulid::Ulid::generate().to_string();
        let root = Root::create(options.root.as_deref(), &mark)?;
        for directory in ["hosts", "keys", "tools"] {
            root::make(&root.path().join(directory))?;
        }
        let tools = root.path().join("tools");
        write_tools(&tools).map_err(|source| LabError::Directory { path: tools.clone(), source })?;
        let client_key = root.path().join("keys/client");
        let public_key = make_client_key(&client_key)?;

        let mut fleet = Self {
            addresses: Vec::new(),
            hosts: Vec::new(),
            client_key,
            known_hosts: root.path().join("known_hosts"),
            known_lines: Vec::new(),
            processes: Arc::new(Processes::new(mark)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            root,
        };
        let methods = methods(options.password.is_some());
        let wrong_config = Arc::new(config(new_key()?, &methods));
        for wanted in options.hosts {
            let home = fleet.root.path().join("hosts").join(wanted.name.as_str());
            make_home(&home, wanted.seed.as_ref())
                .map_err(|source| LabError::Seed { host: wanted.name.clone(), source })?;
            let listen = |source| LabError::Listen { host: wanted.name.clone(), source };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(listen)?;
            let address = listener.local_addr().map_err(listen)?;
            let host_key = new_key()?;
            fleet.known_lines.push(project::known_host(address, host_key.public_key())?);
            let host = Host::new(Parts {
                name: wanted.name.clone(),
                address,
                home: home.clone(),
                tools: tools.clone(),
                user: USER.to_owned(),
                key: public_key.clone(),
                password: options.password.clone(),
                app_port: app::PORT,
                processes: fleet.processes.clone(),
                tasks: fleet.tasks.clone(),
                stop: fleet.stop.clone(),
                config: Arc::new(config(host_key, &methods)),
                wrong_config: wrong_config.clone(),
                faults: wanted.faults,
            });
            fleet.tasks.spawn(host.clone().listen(listener));
            fleet.addresses.push(LabAddress { name: wanted.name, address: address.ip(), port: address.port(), home });
            fleet.hosts.push(host);
        }
        fs::write(&fleet.known_hosts, fleet.known_lines.concat())
            .map_err(|source| LabError::Directory { path: fleet.known_hosts.clone(), source })?;
        if options.is_controllable {
            fleet.obey_control()?;
        }
        Ok(fleet)
    }

    pub fn hosts(&self) -> &[LabAddress] {
        &self.addresses
    }

    /// The lab's directory. It, or all that the lab has put into it, goes when the lab stops.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The private key to log in with, as OpenSSH writes it, mode 0600.
    pub fn client_key(&self) -> &Path {
        &self.client_key
    }

    /// The host keys, as OpenSSH's `known_hosts`.
    pub fn known_hosts(&self) -> &Path {
        &self.known_hosts
    }

    /// The user to log in as.
    pub fn user(&self) -> &str {
        USER
    }

    /// Adds a fault to a host. Says whether there is such a host. Other terminals, which see the file
    /// of [`control`] only, do not learn of it.
    pub fn set_fault(&self, host: &HostName, fault: Fault) -> bool {
        self.change(host, |faults| faults.set(fault))
    }

    /// Makes a host behave again. Says whether there is such a host.
    pub fn clear_faults(&self, host: &HostName) -> bool {
        self.change(host, Faults::clear)
    }

    fn change(&self, host: &HostName, how: impl FnOnce(&mut Faults)) -> bool {
        let found = self.hosts.iter().find(|known| known.name == *host);
        if let Some(host) = found {
            host.change_faults(how);
        }
        found.is_some()
    }

    /// Lists the lab's processes that live now.
    pub fn processes(&self) -> Vec<i32> {
        processes::marked(self.processes.mark()).into_iter().map(nix::unistd::Pid::as_raw).collect()
    }

    /// Stops all hosts, kills every process they have started, and removes the directories.
    pub async fn stop(self) -> Result<(), LabError> {
        self.stop.cancel();
        self.tasks.close();
        let processes = self.processes.clone();
        let left = tokio::task::spawn_blocking(move || processes.kill_all()).await.unwrap_or_default();
        // The tasks wait for the killed children, so that not even zombies stay.
        let _ = tokio::time::timeout(STOP_WITHIN, self.tasks.wait()).await;
        self.root.remove().map_err(|source| LabError::Directory { path: self.root.path().to_owned(), source })?;
        if left > 0 { Err(LabError::ProcessesLeft(left)) } else { Ok(()) }
    }

    /// Does what the file with the faults says, whenever it changes.
    fn obey_control(&self) -> Result<(), LabError> {
        let lab = self.root.path().to_owned();
        let table = self.hosts.iter().map(|host| (host.name.clone(), host.faults())).collect();
        control::write(&lab, &table)?;
        let hosts = self.hosts.clone();
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut known = table;
            while stop.run_until_cancelled(tokio::time::sleep(CONTROL_EVERY)).await.is_some() {
                // Half-written or mistaken by a hand: the last good state holds.
                let Ok(new) = control::read(&lab) else { continue };
                for host in &hosts {
                    let faults = new.get(&host.name).cloned().unwrap_or_default();
                    if known.get(&host.name) != Some(&faults) {
                        host.change_faults(|old| *old = faults);
                    }
                }
                known = new;
            }
        });
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
        // The directory goes after this, by its own drop.
        self.processes.kill_all();
    }
}

fn methods(with_password: bool) -> MethodSet {
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    if with_password {
        methods.push(MethodKind::Password);
        methods.push(MethodKind::KeyboardInteractive);
    }
    methods
}

fn config(key: PrivateKey, methods: &MethodSet) -> Config {
    Config {
        server_id: russh::SshId::Standard(Cow::Borrowed("SSH-2.0-longshore-lab")),
        methods: methods.clone(),
        keys: vec![key],
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    }
}

fn new_key() -> Result<PrivateKey, LabError> {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).map_err(LabError::Key)
}

/// Makes the key to log in with; returns its public half.
fn make_client_key(path: &Path) -> Result<PublicKey, LabError> {
    let key = new_key()?;
    let text = key.to_openssh(LineEnding::LF).map_err(LabError::Key)?;
    let public = key.public_key().to_openssh().map_err(LabError::Key)?;
    let write = || -> io::Result<()> {
        use io::Write as _;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        fs::write(path.with_extension("pub"), format!("{public}\n"))
    };
    write().map_err(|source| LabError::Directory { path: path.to_owned(), source })?;
    Ok(key.public_key().clone())
}

fn make_home(home: &Path, seed: Option<&Seed>) -> io::Result<()> {
    for directory in [home.to_owned(), home.join("tmp"), home.join(".lab")] {
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
    }
    seed.map_or(Ok(()), |seed| seed(home))
}

/// Writes what hosts with certain faults find first on their `PATH`.
fn write_tools(tools: &Path) -> io::Result<()> {
    let full_disk = tools.join("full-disk");
    fs::create_dir(&full_disk)?;
    let df = full_disk.join("df");
    fs::write(&df, program::FULL_DF)?;
    fs::set_permissions(&df, fs::Permissions::from_mode(0o755))
}

/// Allows as many open files as this process may have: each host needs one, and each connection two here.
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // Where the system refuses, a small fleet still works and a large one says what it lacks.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Formats an address as `known_hosts` has it.
fn bracketed(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}
