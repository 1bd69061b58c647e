//! A real `PostgreSQL` server on a socket in a folder of its own.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::sshd::skip;

/// Stopped when dropped.
pub struct Postgres {
    pub folder: TempDir,
    pub bin: PathBuf,
}

impl Postgres {
    /// `None`, said aloud, where none can be started.
    pub fn start() -> Option<Self> {
        let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
        found.sort_by_key(fs::DirEntry::file_name);
        let bin = found.pop().map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
        let has_user = nix::unistd::User::from_name("postgres").ok().flatten().is_some();
        let (Some(bin), true) = (bin, has_user && nix::unistd::geteuid().is_root()) else {
            skip("no PostgreSQL server is installed, or its user cannot be become");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("longshore-pg-").tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("writable");
        assert!(Command::new("chown").arg("postgres").arg(folder.path()).status().expect("chown").success());
        let server = Self { folder, bin };
        server.as_server("initdb -D \"$1/data\" -A trust -U postgres --no-sync >/dev/null");
        server.as_server(
            "pg_ctl -D \"$1/data\" -w -l \"$1/log\" -o \"-k '$1' -c listen_addresses='' -c fsync=off\" start >/dev/null",
        );
        Some(server)
    }

    fn as_server(&self, text: &str) {
        let text = format!("PATH={}:$PATH; cd \"$1\"; {text}", self.bin.display());
        let user = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "sh", "-c", &text, "sh"];
        let done = Command::new("setpriv").args(user).arg(self.folder.path()).status().expect("setpriv starts");
        assert!(done.success(), "{text}");
    }

    #[track_caller]
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let ran = Command::new(self.bin.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql, "-h"])
            .arg(self.folder.path())
            .output()
            .expect("psql starts");
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.as_server("pg_ctl -D \"$1/data\" -m immediate stop >/dev/null");
    }
}
