//! Runs the programs of steps in real shells, for tests: dash, bash, and busybox with nothing but its own tools.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{HostProgram, StepKind, Work};

/// A host's worth of files below a temporary folder, and one shell.
pub(super) struct Trial {
    root: tempfile::TempDir,
    shell: &'static str,
    variables: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// Runs `test` once in each shell that is installed.
pub(super) fn in_every_shell(test: impl Fn(&mut Trial)) {
    let mut ran = 0;
    for shell in ["/bin/dash", "/bin/bash", "/bin/busybox"] {
        if Path::new(shell).exists() {
            let mut trial =
                Trial { root: tempfile::tempdir().expect("a temporary folder"), shell, variables: Vec::new() };
            fs::create_dir(trial.path("step")).expect("writable");
            if shell.ends_with("busybox") {
                fs::create_dir(trial.path("bin")).expect("writable");
                let list = Command::new(shell).arg("--list").output().expect("busybox lists its tools").stdout;
                for tool in String::from_utf8_lossy(&list).lines() {
                    symlink(shell, trial.path("bin").join(tool)).expect("writable");
                }
            }
            eprintln!("in {shell}");
            test(&mut trial);
            ran += 1;
        }
    }
    assert!(ran > 0, "no shell was found");
}

impl Trial {
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The same as text, for arguments of steps.
    pub fn at(&self, name: &str) -> String {
        self.path(name).to_str().expect("a temporary folder in UTF-8").to_owned()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("writable");
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))).expect("UTF-8")
    }

    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Runs a text as the host would: from a folder of no meaning, with nothing on standard input.
    pub fn run(&self, text: &str) -> Ran {
        let file = self.path("program");
        fs::write(&file, text).expect("writable");
        let mut command = Command::new(self.shell);
        if self.shell.ends_with("busybox") {
            command.arg("sh").env("PATH", self.path("bin"));
        }
        let output = command
            .arg(&file)
            .current_dir("/")
            .env("HOME", self.root.path())
            .env("LONGSHORE_STEP_DIR", self.path("step"))
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .expect("the shell starts");
        Ran {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn look(&self, kind: &dyn StepKind) -> Ran {
        self.run(&program(kind).look.expect("the step looks"))
    }

    pub fn act(&self, kind: &dyn StepKind) -> Ran {
        self.run(&program(kind).act)
    }

    /// Acts, and insists that it worked.
    pub fn acts(&self, kind: &dyn StepKind) -> Ran {
        let ran = self.act(kind);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        ran
    }

    /// Takes it back, and insists that it worked.
    pub fn undoes(&self, kind: &dyn StepKind) {
        let ran = self.run(&program(kind).undo.expect("the step has an undo"));
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    }

    /// The names in a folder, sorted: leftovers show.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(folder))
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

pub(super) fn program(kind: &dyn StepKind) -> HostProgram {
    match kind.work() {
        Work::Host(program) => program,
        Work::Controller(_) => panic!("a step of the controller"),
    }
}

/// Waits until something is so: what is waited for in vain fails a test instead of hanging it.
#[track_caller]
pub(super) fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}
