//! A host for the tests: a directory of its own, one of several shells as `sh`, faults at named places.

use std::{
    collections::HashMap,
    fmt::Write as _,
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use longshore::{
    durable::{HostSide, InstallKey},
    model::{RunId, StepId},
    transport::{ByteStream, Capture, Ended, Exec, Output, Peer, Program, Session, Status, Stream, TransportError},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

/// The shells that hosts have as `/bin/sh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    Dash,
    Bash,
    /// Busybox for every command, not for the shell alone.
    Busybox,
}

impl Shell {
    /// The shells this machine has; dash is the one that every test needs.
    pub fn all() -> Vec<Self> {
        let shells: Vec<Self> = [Self::Dash, Self::Bash, Self::Busybox]
            .into_iter()
            .filter(|shell| Path::new(shell.path()).exists())
            .collect();
        assert!(!shells.is_empty(), "no shell to test with");
        shells
    }

    fn path(self) -> &'static str {
        match self {
            Self::Dash => "/bin/dash",
            Self::Bash => "/bin/bash",
            Self::Busybox => "/bin/busybox",
        }
    }
}

/// A host in a temporary directory. Whatever still runs of it is killed when it goes.
pub struct Host {
    pub dir: TempDir,
    path: String,
    shell: Shell,
    hooks: Mutex<HashMap<String, String>>,
    /// Shell text that a login runs first: what profiles print, resource limits, another boot id.
    login: Mutex<String>,
    /// The boot that it is in; `None` before it was restarted.
    boot: Mutex<Option<Boot>>,
    boots: std::sync::atomic::AtomicU32,
    /// What else is mounted in each boot.
    mounted: Mutex<String>,
}

/// What a login needs to be in another boot than this machine's.
struct Boot {
    /// Seconds by which its uptime differs.
    offset: i64,
    mount: String,
}

impl Boot {
    /// Runs the words that are added to it in namespaces of their own.
    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new("/usr/bin/unshare");
        let offset = self.offset.to_string();
        command.args(["--mount", "--time", "--boottime", &offset, "--monotonic", &offset, "--fork", "--kill-child"]);
        // The host's own folder may have nothing to mount by.
        let text = format!("path=$PATH; PATH=/usr/bin:/bin; {} && PATH=$path && exec \"$0\" \"$@\"", self.mount);
        command.args(["/bin/sh", "-c", &text]);
        command
    }
}

impl Host {
    pub fn new(shell: Shell) -> Arc<Self> {
        Self::of(shell, TempDir::new().expect("temporary directory"))
    }

    /// A host whose directory is below `base`.
    pub fn new_in(shell: Shell, base: &str) -> Arc<Self> {
        Self::of(shell, TempDir::new_in(base).expect("temporary directory"))
    }

    fn of(shell: Shell, dir: TempDir) -> Arc<Self> {
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).expect("bin");
        let path = if shell == Shell::Busybox {
            let list = std::process::Command::new(shell.path()).arg("--list").output().expect("busybox");
            for applet in String::from_utf8_lossy(&list.stdout).lines() {
                symlink(shell.path(), bin.join(applet)).expect("applet");
            }
            // Some builds leave the applet out; such hosts have the other one.
            if !bin.join("flock").exists() {
                symlink("/usr/bin/flock", bin.join("flock")).expect("flock");
            }
            bin.display().to_string()
        } else {
            symlink(shell.path(), bin.join("sh")).expect("sh");
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display())
        };
        Arc::new(Self {
            dir,
            path,
            shell,
            hooks: Mutex::default(),
            login: Mutex::default(),
            boot: Mutex::default(),
            boots: std::sync::atomic::AtomicU32::default(),
            mounted: Mutex::default(),
        })
    }

    pub fn session(self: &Arc<Self>) -> Arc<dyn Session> {
        Arc::new(Link { host: Arc::clone(self), peer: Peer::default(), cut: Mutex::new(None) })
    }

    /// A session whose link is lost once so many bytes have come.
    pub fn session_cut_after(self: &Arc<Self>, bytes: usize) -> Arc<dyn Session> {
        Arc::new(Link { host: Arc::clone(self), peer: Peer::default(), cut: Mutex::new(Some(bytes)) })
    }

    /// The protocol's host side, for run `run`.
    pub fn side(self: &Arc<Self>, run: &str) -> HostSide {
        let run = RunId::from_text(run).expect("run");
        HostSide::new(self.session(), run, InstallKey::of(&["test"]))
            .state_root(self.root().display().to_string())
            .grace(Duration::from_secs(1))
            .any_disk()
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The directory of a run's attempt.
    pub fn attempt(&self, run: &str, attempt: &str) -> PathBuf {
        self.root().join(InstallKey::of(&["test"]).as_str()).join("runs").join(run).join(attempt)
    }

    /// Runs `text` with `sh` whenever a script comes to the hook `name`, its shell's process being `$PPID`.
    pub fn hook(&self, name: &str, text: &str) {
        let file = self.dir.path().join("bin").join(format!("__hook__{name}"));
        std::fs::write(&file, format!("#!{}/bin/sh\n{text}\n", self.dir.path().display())).expect("hook");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&file, mode).expect("hook");
        self.hooks.lock().expect("hooks").insert(format!("# hook: {name}\n"), format!("__hook__{name}\n"));
    }

    /// Takes all hooks away again.
    pub fn unhook(&self) {
        self.hooks.lock().expect("hooks").clear();
    }

    /// Runs `text` at the beginning of every login from now on.
    pub fn login(&self, text: &str) {
        text.clone_into(&mut self.login.lock().expect("login"));
    }

    /// Has every login from now on see a mount of its own; `false` where this machine cannot.
    pub fn mounts(&self, mount: &str) -> bool {
        self.boot_into(Boot { offset: 0, mount: mount.to_owned() })
    }

    /// Restarts the host: nothing of it lives on, its boot id is another, and it counts its time anew; `false` where
    /// this machine cannot.
    pub fn restart(&self) -> bool {
        self.kill_all();
        let number = self.boots.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let file = self.dir.path().join("boot-id");
        std::fs::write(&file, format!("00000000-0000-4000-8000-{number:012}\n")).expect("boot id");
        let uptime = std::fs::read_to_string("/proc/uptime").expect("uptime");
        let up: i64 = uptime.split('.').next().and_then(|seconds| seconds.parse().ok()).expect("seconds");
        let more = self.mounted.lock().expect("mounted").clone();
        let mount = format!("mount --bind {} /proc/sys/kernel/random/boot_id{more}", file.display());
        // It has been up for some seconds when it lets anybody in.
        let able = self.boot_into(Boot { offset: 20 - up, mount });
        if !able {
            skipped("no namespaces here, so no other boot id");
        }
        able
    }

    fn boot_into(&self, boot: Boot) -> bool {
        let able = boot.command().args(["/bin/true"]).stderr(Stdio::null()).status();
        let able = able.is_ok_and(|status| status.success());
        if able {
            *self.boot.lock().expect("boot") = Some(boot);
        }
        able
    }

    /// Shows the folder `from` of the host as `to` in all boots that follow.
    pub fn mount_at_boot(&self, from: &str, to: &str) {
        let mount = format!(" && mount --bind {} {to}", self.place(from));
        self.mounted.lock().expect("mounted").push_str(&mount);
    }

    /// Installs a small cron, with `lines` as the user's table.
    pub fn install_cron(&self, lines: &str) {
        for (name, text) in [("crontab", include_str!("cron/crontab")), ("cron", include_str!("cron/cron"))] {
            let file = self.dir.path().join("bin").join(name);
            // On a host of busybox that is a link to all of it.
            let _ = std::fs::remove_file(&file);
            std::fs::write(&file, text).expect("written");
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        }
        std::fs::write(self.dir.path().join("bin/tab"), lines).expect("written");
    }

    /// Starts the small cron, and waits until it is one.
    pub fn start_cron(&self) {
        self.start(&[&self.place("bin/cron")]);
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while !self
            .processes()
            .iter()
            .any(|(_, command)| command.starts_with(&format!("/bin/sh {}", self.place("bin/cron"))))
        {
            assert!(std::time::Instant::now() < until, "cron does not start: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts a program as the host does when it comes up.
    pub fn start(&self, words: &[&str]) {
        let mut command = match &*self.boot.lock().expect("boot") {
            Some(boot) => {
                let mut command = boot.command();
                command.arg(words[0]);
                command
            }
            None => std::process::Command::new(words[0]),
        };
        let command = command.args(&words[1..]).env_clear().env("PATH", &self.path).current_dir("/");
        let command = command.env("LONGSHORE_TEST_HOST", self.dir.path()).stdin(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        // Nobody waits for it, and it must not stay behind as a corpse.
        std::thread::spawn(move || child.wait());
    }

    /// Lines of a file below the host's directory.
    pub fn lines(&self, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A path below the host's directory, as text for scripts.
    pub fn place(&self, file: &str) -> String {
        self.dir.path().join(file).display().to_string()
    }

    /// Processes that still carry this host's environment.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark = format!("LONGSHORE_TEST_HOST={}", self.dir.path().display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(id) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()) {
                let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                found.push((id, String::from_utf8_lossy(&command).replace('\0', " ")));
            }
        }
        found
    }

    /// Kills all of the host's processes: what `cgroup.kill`, or a reboot, does.
    pub fn kill_all(&self) {
        let mut quiet = 0;
        for _ in 0..50 {
            let processes = self.processes();
            // A process that is just turning into another program shows no environment for a moment.
            quiet = if processes.is_empty() { quiet + 1 } else { 0 };
            if quiet == 2 {
                return;
            }
            for (id, _) in processes {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until nothing of the host runs any more.
    pub async fn falls_silent(&self, within: Duration) -> Result<(), String> {
        self.falls_silent_but_for(within, "\0").await
    }

    /// As [`Host::falls_silent`], where a command with these words, and what it sleeps by, may go on.
    pub async fn falls_silent_but_for(&self, within: Duration, words: &str) -> Result<(), String> {
        let begin = std::time::Instant::now();
        loop {
            let mut processes = self.processes();
            processes.retain(|(_, command)| !command.contains(words) && command.trim() != "sleep 1000");
            if processes.is_empty() {
                return Ok(());
            }
            if begin.elapsed() > within {
                return Err(format!("still running: {processes:?}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Runs a test on every shell, side by side: they mostly wait.
pub async fn for_each_shell(test: impl AsyncFn(Shell)) {
    futures::future::join_all(Shell::all().into_iter().map(|shell| test(shell))).await;
}

/// Says aloud that a test proves nothing on this machine.
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

pub fn step(position: usize, name: &str) -> StepId {
    StepId::new(position, name)
}

/// A connection: a shell for each exec, as sshd would start it.
struct Link {
    host: Arc<Host>,
    peer: Peer,
    cut: Mutex<Option<usize>>,
}

#[async_trait]
impl Session for Link {
    async fn run(&self, exec: Exec, output: &mut (dyn Output + '_)) -> Result<Ended, TransportError> {
        if self.is_closed() {
            return Err(TransportError::LinkLost { source: None });
        }
        let Program::Script(mut text) = exec.program else { panic!("only scripts are sent") };
        for (hook, replacement) in self.host.hooks.lock().expect("hooks").iter() {
            text = text.replace(hook, replacement);
        }
        let mut variables = String::new();
        for (name, value) in &exec.secrets {
            let _ = writeln!(variables, "export {name}={}", longshore::model::quote(value.reveal()));
        }
        let mut command = match &*self.host.boot.lock().expect("boot") {
            Some(boot) => {
                let mut command = Command::from(boot.command());
                command.arg(self.host.shell.path());
                command
            }
            None => Command::new(self.host.shell.path()),
        };
        let login = self.host.login.lock().expect("login").clone();
        let mut child = command
            .args((self.host.shell == Shell::Busybox).then_some("sh"))
            .env_clear()
            .env("PATH", &self.host.path)
            .env("HOME", self.host.dir.path())
            .env("LONGSHORE_TEST_HOST", self.host.dir.path())
            .current_dir(self.host.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("shell");
        let mut stdin = child.stdin.take().expect("stdin");
        let program = format!("{{\n{login}\n{variables}{text}\n}}\n");
        tokio::spawn(async move {
            let _ = stdin.write_all(program.as_bytes()).await;
        });
        let mut stdout = child.stdout.take().expect("stdout");
        let mut stderr = child.stderr.take().expect("stderr");
        let (mut out, mut err) = (Capture::new(exec.keep), Capture::new(exec.keep));
        let (mut out_open, mut err_open) = (true, true);
        let (mut out_buffer, mut err_buffer) = (vec![0; 32 * 1024], vec![0; 4096]);
        let work = async {
            while out_open || err_open {
                tokio::select! {
                    read = stdout.read(&mut out_buffer), if out_open => {
                        let mut count = read.unwrap_or(0);
                        out_open = count > 0;
                        let mut lost = false;
                        if let Some(left) = self.cut.lock().expect("cut").as_mut() {
                            lost = count >= *left;
                            count = count.min(*left);
                            *left -= count;
                        }
                        out.push(&out_buffer[..count]);
                        output.absorb(Stream::Out, &out_buffer[..count]);
                        if lost {
                            return Err(TransportError::LinkLost { source: None });
                        }
                    }
                    read = stderr.read(&mut err_buffer), if err_open => {
                        let count = read.unwrap_or(0);
                        err_open = count > 0;
                        err.push(&err_buffer[..count]);
                        output.absorb(Stream::Err, &err_buffer[..count]);
                    }
                }
            }
            Ok(())
        };
        match exec.timeout {
            Some(limit) => {
                tokio::time::timeout(limit, work).await.map_err(|_| TransportError::TimedOut { limit })??;
            }
            None => work.await?,
        }
        let status = child.wait().await.expect("status");
        let status = match status.signal() {
            Some(signal) => Status::Signaled(signal.to_string()),
            None => Status::Exited(status.code().unwrap_or_default().unsigned_abs()),
        };
        Ok(Ended { status, out: out.finish(), err: err.finish() })
    }

    async fn open_tcp(&self, _: &str, _: u16) -> Result<Box<dyn ByteStream>, TransportError> {
        Err(TransportError::Channel("not in this test".to_owned()))
    }

    fn is_closed(&self) -> bool {
        *self.cut.lock().expect("cut") == Some(0)
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    async fn close(&self) {}
}
