//! Users made for one test, and removed after it.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::sshd::run;

/// A local user with a home, a password and a shell.
pub struct Person {
    pub name: String,
    pub home: PathBuf,
    sudoers: Option<PathBuf>,
}

pub const PASSWORD: &str = "correct horse 'battery' $staple";

impl Person {
    pub fn with_shell(shell: &str) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("lst{}x{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let home = PathBuf::from(format!("/tmp/{name}"));
        run(Command::new("useradd").args(["-m", "-d"]).arg(&home).args(["-s", shell, &name]));
        let person = Self { name, home, sudoers: None };
        let mut chpasswd = Command::new("chpasswd").stdin(Stdio::piped()).spawn().expect("chpasswd starts");
        let line = format!("{}:{PASSWORD}\n", person.name);
        chpasswd.stdin.take().expect("a pipe").write_all(line.as_bytes()).expect("chpasswd reads");
        assert!(chpasswd.wait().expect("chpasswd ends").success());
        person
    }

    /// Lets the user do by sudo what `rule` says, after `NAME`.
    pub fn sudoer(mut self, rule: &str) -> Self {
        let path = PathBuf::from(format!("/etc/sudoers.d/{}", self.name));
        fs::write(&path, format!("Defaults:{0} lecture=always\n{0} {rule}\n", self.name))
            .expect("sudoers.d is writable");
        run(Command::new("chmod").arg("440").arg(&path));
        self.sudoers = Some(path);
        self
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if let Some(path) = &self.sudoers {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_file(format!("/run/sudo/ts/{}", self.name));
        // `-f`: a session may be just ending.
        let _ = Command::new("userdel").args(["-f", "-r", &self.name]).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.home);
    }
}
