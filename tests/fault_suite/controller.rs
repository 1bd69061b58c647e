//! The controller as people run it: the real binary, in a process that can be killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A `longshore` that runs.
pub struct Controller {
    child: Child,
    log: PathBuf,
    what: String,
}

impl Controller {
    /// Starts `longshore ARGUMENTS` for the project, with its output in the project's `logs`.
    pub fn start(project: &Path, arguments: &[&str]) -> Self {
        let logs = project.join("logs");
        fs::create_dir_all(&logs).expect("a folder for logs");
        let number = fs::read_dir(&logs).expect("logs").count();
        let what = arguments.join(" ");
        let log = logs.join(format!("{number:02}-{}", arguments[0]));
        let file = fs::File::create(&log).expect("a log");
        // Another build, say a released one, may be tried instead of the one made for the tests.
        let binary = std::env::var_os("LONGSHORE_FAULT_BINARY");
        let child = Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_longshore").into()))
            .args(["--no-ssh-config", "--connect-timeout", "10s", "-C"])
            .arg(project)
            .args(arguments)
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .expect("longshore starts");
        Self { child, log, what }
    }

    pub fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    /// Returns the exit code, if it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        // A signal has no code of its own.
        self.child.try_wait().expect("a child").map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for the end and returns the exit code, or what was said until then.
    pub fn wait(&mut self, within: Duration) -> Result<i32, String> {
        let until = Instant::now() + within;
        loop {
            if let Some(code) = self.ended() {
                return Ok(code);
            }
            if Instant::now() > until {
                return Err(format!("`{}` did not end within {within:?}:\n{}", self.what, self.said()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill(self.id(), signal);
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `longshore ARGUMENTS` to its end.
pub fn run(project: &Path, arguments: &[&str], within: Duration) -> Result<(i32, String), String> {
    let mut controller = Controller::start(project, arguments);
    let code = controller.wait(within)?;
    Ok((code, controller.said()))
}
