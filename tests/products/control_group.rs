//! A control group that a systemd of the test's own can have for itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::sshd::skip;

/// Removed, with all below, when it goes.
pub struct Group(pub PathBuf);

impl Group {
    /// `None`, said aloud, where this machine cannot run a user manager of systemd.
    pub fn new() -> Option<Self> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let needed =
            ["/lib/systemd/systemd", "/usr/bin/systemctl", "/usr/bin/sqlite3", "/usr/bin/python3", "/usr/bin/curl"];
        if let Some(missing) = needed.into_iter().find(|file| !Path::new(file).exists()) {
            skip(&format!("there is no {missing}"));
            return None;
        }
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists());
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("longshore-products-{}-{number}", std::process::id());
        let group = root.map(|root| Self(root.join(name)));
        let able = group.filter(|group| {
            let namespaces = ["--cgroup", "--mount", "--pid", "--fork", "--mount-proc", "true"];
            fs::create_dir(&group.0).is_ok()
                && (number > 0
                    || Command::new("unshare").args(namespaces).output().is_ok_and(|output| output.status.success()))
        });
        if able.is_none() {
            skip("no control group of the unified hierarchy, or no namespaces here");
        }
        able
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..100 {
            let removed = Command::new("find").arg(&self.0).args(["-depth", "-type", "d", "-delete"]).output();
            if removed.is_ok_and(|removed| removed.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
