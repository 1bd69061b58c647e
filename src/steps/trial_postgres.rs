//! A real `PostgreSQL` server for the tests of steps.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use super::trial::Trial;

/// A `PostgreSQL` server of the test's own, on a socket in a folder of its own.
pub(super) struct Postgres {
    pub folder: tempfile::TempDir,
    pub bin: PathBuf,
}

impl Postgres {
    pub fn start() -> Option<Self> {
        let skipped = |why: &str| {
            eprintln!("SKIPPED: {why}");
            None
        };
        let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
        found.sort_by_key(fs::DirEntry::file_name);
        let Some(bin) = found.pop().map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists())
        else {
            return skipped("no PostgreSQL server is installed");
        };
        if !nix::unistd::geteuid().is_root() || nix::unistd::User::from_name("postgres").ok().flatten().is_none() {
            return skipped("a PostgreSQL server is started as its own user, which root alone can become");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("writable");
        let own = Command::new("chown").arg("postgres").arg(folder.path()).status().expect("chown");
        assert!(own.success());
        let server = Self { folder, bin };
        server.as_server("initdb -D \"$1/data\" -A trust -U postgres --no-sync >/dev/null");
        server.as_server(
            "pg_ctl -D \"$1/data\" -w -l \"$1/log\" -o \"-k '$1' -c listen_addresses='' -c fsync=off\" start >/dev/null",
        );
        Some(server)
    }

    fn as_server(&self, text: &str) {
        let path = format!("PATH={}:$PATH; cd \"$1\"; {text}", self.bin.display());
        let done = Command::new("setpriv")
            .args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "sh", "-c", &path, "sh"])
            .arg(self.folder.path())
            .status()
            .expect("setpriv starts");
        assert!(done.success(), "{text}");
    }

    pub fn sql(&self, database: &str, sql: &str) -> String {
        let ran = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql, "-h"])
            .arg(self.folder.path())
            .output()
            .expect("psql starts");
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    /// Makes the client programs known to the shell.
    pub fn offer(&self, trial: &mut Trial) {
        if trial.path("bin").exists() {
            for tool in ["psql", "pg_dump", "pg_restore", "createdb", "dropdb"] {
                std::os::unix::fs::symlink(self.bin.join(tool), trial.path(&format!("bin/{tool}"))).expect("writable");
            }
        } else {
            let path = std::env::var("PATH").unwrap_or_default();
            trial.variable("PATH", &format!("{}:{path}", self.bin.display()));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.as_server("pg_ctl -D \"$1/data\" -m immediate stop >/dev/null");
    }
}
