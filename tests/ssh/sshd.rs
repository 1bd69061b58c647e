//! Real sshd instances on loopback addresses, with keys of their own, stopped when dropped.
//!
//! Also for fleets: every [`Sshd`] has an address of its own in 127/8 and a free port.

use std::{
    fmt::Write as _,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use longshore::{
    model::{HostName, Secret},
    transport::{
        Session, SshTarget, Target, Transport, TransportError, Way,
        ssh::{
            Prompter, Questions, SshOptions, SshTransport,
            config::{Resolver, ResolverOptions},
        },
    },
};
use tempfile::TempDir;

/// Longest any connection of a test may take.
pub const WITHIN: Duration = Duration::from_secs(30);

/// A folder with keys, configuration and the sshd instances' files.
pub struct Lab {
    folder: TempDir,
    config: Mutex<String>,
}

/// Says that a case did not run, and why.
pub fn skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

/// Whether the tests run as root; says `SKIPPED` if not.
pub fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip("needs root");
    }
    is_root
}

impl Lab {
    /// Makes a lab; `None` where there is no sshd.
    pub fn new() -> Option<Self> {
        if !Path::new("/usr/sbin/sshd").exists() {
            skip("there is no /usr/sbin/sshd");
            return None;
        }
        if nix::unistd::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").expect("sshd's own folder");
        }
        let folder = tempfile::Builder::new().prefix("longshore-ssh-").tempdir().expect("a temporary folder");
        // Other users' sshd sessions read their authorized keys in here.
        Command::new("chmod").arg("755").arg(folder.path()).status().expect("chmod runs");
        let lab = Self { folder, config: Mutex::default() };
        lab.key("me", &[]);
        Some(lab)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the lab's folder is writable");
        path
    }

    /// Makes a key pair by ssh-keygen; ed25519 without a passphrase unless `arguments` say otherwise.
    pub fn key(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-C", name, "-f"]).arg(&path);
        if !arguments.contains(&"-t") {
            command.args(["-t", "ed25519"]);
        }
        if !arguments.contains(&"-N") {
            command.args(["-N", ""]);
        }
        run(command.args(arguments));
        path
    }

    /// Signs a public key with `authority`; the certificate goes beside it (`NAME-cert.pub`).
    pub fn sign(&self, authority: &str, name: &str, principals: &str, arguments: &[&str]) -> PathBuf {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-s"]).arg(self.path(authority)).args(["-I", name, "-n", principals]).args(arguments);
        run(command.arg(self.path(&format!("{name}.pub"))));
        self.path(&format!("{name}-cert.pub"))
    }

    pub fn public(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.pub"))).expect("a public key").trim().to_owned()
    }

    /// Begins an sshd that takes the lab's key `me` for any user.
    pub fn sshd(&self) -> Builder<'_> {
        Builder { lab: self, lines: String::new(), authorized: vec![self.public("me")], wrapper: Vec::new() }
    }

    /// Writes the host keys of `hosts` into the lab's `known_hosts`.
    pub fn trust(&self, hosts: &[&Sshd]) {
        let lines: Vec<_> = hosts.iter().map(|host| format!("{} {}\n", host.known_as(), host.public_key())).collect();
        self.write("known_hosts", &lines.concat());
    }

    /// Adds to the lab's `~/.ssh/config`.
    pub fn config(&self, text: &str) {
        self.config.lock().expect("no panic").push_str(text);
    }

    /// Options that know the lab's `known_hosts` and configuration, and nothing of this machine.
    pub fn options(&self) -> SshOptions {
        let config = self.write("config", &self.config.lock().expect("no panic"));
        // Neither the user's nor the system's files of this machine may count.
        let defaults =
            self.write("defaults", "Host *\n  UserKnownHostsFile /nonexistent\n  GlobalKnownHostsFile /nonexistent\n");
        let resolver = Resolver::load(ResolverOptions {
            files: vec![config, defaults],
            home: self.folder.path().to_owned(),
            local_user: user_name(),
            local_host: "controller".to_owned(),
            allow_exec: false,
        });
        let mut options = SshOptions::new(resolver);
        options.known_hosts = Some(self.path("known_hosts"));
        options
    }

    pub fn transport(&self) -> SshTransport {
        SshTransport::new(self.options())
    }

    /// Trusts the host and connects to it with the key `me`.
    pub async fn session(&self, host: &Sshd) -> Arc<dyn Session> {
        self.trust(&[host]);
        self.connect(&host.target(self)).await.expect("the host is reached")
    }

    pub async fn connect(&self, target: &Target) -> Result<Arc<dyn Session>, TransportError> {
        self.transport().connect(target, WITHIN).await
    }
}

/// An sshd to be.
pub struct Builder<'a> {
    lab: &'a Lab,
    lines: String,
    authorized: Vec<String>,
    wrapper: Vec<String>,
}

impl Builder<'_> {
    /// Adds a line of `sshd_config`; the first of a keyword wins, so it overrides what follows here.
    pub fn line(mut self, line: &str) -> Self {
        let _ = writeln!(self.lines, "{line}");
        self
    }

    /// Replaces the authorized keys.
    pub fn authorized(mut self, lines: &[&str]) -> Self {
        self.authorized = lines.iter().map(|&line| line.to_owned()).collect();
        self
    }

    /// Starts sshd by another command, which gets sshd's own as arguments.
    pub fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Sshd {
        static LAST: AtomicU8 = AtomicU8::new(1);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.0.0.{}", 2 + number % 250);
        let port = TcpListener::bind((address.as_str(), 0)).and_then(|free| free.local_addr()).expect("a port").port();
        let name = format!("sshd-{number}-{port}");
        let key = self.lab.key(&format!("{name}-key"), &[]);
        let authorized = self.lab.write(&format!("{name}-authorized"), &(self.authorized.join("\n") + "\n"));
        let config = format!(
            "{}Port {port}\nListenAddress {address}\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nUseDNS no\n\
             Subsystem sftp internal-sftp\nLogLevel VERBOSE\n",
            self.lines,
            key.display(),
            authorized.display(),
        );
        let config = self.lab.write(&format!("{name}.conf"), &config);
        let log = self.lab.path(&format!("{name}.log"));
        let mut words = self.wrapper;
        words.push("/usr/sbin/sshd".to_owned());
        words.extend(["-D", "-f"].map(str::to_owned));
        words.extend([config, PathBuf::from("-E"), log.clone()].map(|word| word.display().to_string()));
        let mut sshd = Sshd { child: spawn(&words), words, address, port, key, log, authorized };
        sshd.listens();
        sshd
    }
}

fn spawn(words: &[String]) -> Child {
    Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).spawn().expect("sshd starts")
}

/// A running sshd.
pub struct Sshd {
    child: Child,
    words: Vec<String>,
    pub address: String,
    pub port: u16,
    key: PathBuf,
    log: PathBuf,
    authorized: PathBuf,
}

impl Sshd {
    /// The name in `known_hosts`.
    pub fn known_as(&self) -> String {
        format!("[{}]:{}", self.address, self.port)
    }

    pub fn public_key(&self) -> String {
        fs::read_to_string(self.key.with_extension("pub")).expect("a host key").trim().to_owned()
    }

    /// The way there, for the user of the tests with the lab's key `me`.
    pub fn target(&self, lab: &Lab) -> Target {
        let mut target = self.target_without_keys();
        ssh(&mut target).identity_files = vec![lab.path("me")];
        target
    }

    pub fn target_without_keys(&self) -> Target {
        target(SshTarget {
            address: self.address.clone(),
            port: Some(self.port),
            user: Some(user_name()),
            ..SshTarget::default()
        })
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Sshd {
    /// Replaces the keys that are let in from now on.
    #[allow(dead_code, reason = "for the tests of whole fleets")]
    pub fn authorize(&self, lines: &str) {
        fs::write(&self.authorized, lines).expect("the lab's folder is writable");
    }

    /// Cuts every connection; what runs on the host goes on.
    #[allow(dead_code, reason = "for the tests of whole fleets")]
    pub fn cut(&self) {
        for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
            let id = entry.file_name().to_string_lossy().parse();
            if let (true, Ok(id)) = (parent == Some(self.child.id()), id) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
            }
        }
    }

    /// Starts it again after [`Sshd::stop`], as it was, and waits until it listens.
    #[allow(dead_code, reason = "for the tests of whole fleets")]
    pub fn start_again(&mut self) {
        self.child = spawn(&self.words);
        self.listens();
    }

    fn listens(&mut self) {
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect((self.address.as_str(), self.port)).is_err() {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < until, "sshd does not listen ({ended:?}): {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets nobody in any more. Its sessions end by themselves when their connections do.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn target(ssh: SshTarget) -> Target {
    Target { host: HostName::new("host-1").expect("a name"), way: Way::Ssh(ssh), run_as: None }
}

/// The SSH part of a target, to be changed.
pub fn ssh(target: &mut Target) -> &mut SshTarget {
    match &mut target.way {
        Way::Ssh(ssh) => ssh,
        Way::Controller => panic!("not an SSH target"),
    }
}

pub fn user_name() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().expect("a user").name
}

pub fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the command starts");
    assert!(
        output.status.success(),
        "{command:?}: {} {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Answers every question with the same words, and counts them.
pub struct Answering {
    pub words: &'static str,
    pub asked: Mutex<Vec<String>>,
}

impl Answering {
    pub fn with(words: &'static str) -> Arc<Self> {
        Arc::new(Self { words, asked: Mutex::default() })
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }

    fn note(&self, what: String) -> Secret {
        self.asked.lock().expect("no panic").push(what);
        Secret::new(self.words)
    }
}

#[async_trait]
impl Prompter for Answering {
    async fn passphrase(&self, key: &Path, _: bool) -> Option<Secret> {
        Some(self.note(format!("passphrase of {}", key.file_name()?.display())))
    }

    async fn password(&self, user: &str, _: &str, _: bool) -> Option<Secret> {
        Some(self.note(format!("password of {user}")))
    }

    async fn answers(&self, questions: &Questions) -> Option<Vec<Secret>> {
        Some(questions.prompts.iter().map(|question| self.note(question.prompt.clone())).collect())
    }
}
