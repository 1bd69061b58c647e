//! Hosts whose systemd ends a user's processes at logout: a real one, with logind, in namespaces of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    fleet::Fleet,
    people::Person,
    sshd::{is_root, run, skip},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fleet/systemd.sh");

/// A control group that systemd has for itself. Removed, with all below, when it goes.
struct Group(PathBuf);

impl Group {
    /// `None`, said aloud, where this machine cannot run a systemd of the test's own.
    fn for_systemd() -> Option<Self> {
        let needed = ["/lib/systemd/systemd", "/lib/systemd/systemd-logind", "/usr/bin/dbus-daemon"];
        if let Some(missing) = needed.into_iter().find(|file| !Path::new(file).exists()) {
            skip(&format!("there is no {missing}"));
            return None;
        }
        if !fs::read_to_string("/etc/pam.d/common-session").is_ok_and(|text| text.contains("pam_systemd")) {
            skip("logins are not told to systemd here (libpam-systemd)");
            return None;
        }
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists());
        let group = root.map(|root| Self(root.join(format!("longshore-systemd-{}", std::process::id()))));
        let able = group.filter(|group| {
            let namespaces = ["--cgroup", "--mount", "--pid", "--fork", "--mount-proc", "true"];
            fs::create_dir(&group.0).is_ok()
                && Command::new("unshare").args(namespaces).output().is_ok_and(|output| output.status.success())
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

#[track_caller]
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const PLAYBOOK: &str = r#"
hosts = "all"
rollout = { budget = { failed = 3 } }

[[steps]]
name = "Take a while"
command = { run = "cat /proc/self/cgroup >group; echo begun >>trace; sleep 5; echo ended >>trace", dir = "{{path}}" }
no-undo = "there is nothing to take back"
"#;

#[test]
fn r15_a_step_outlives_its_login_where_systemd_ends_a_users_processes_or_does_not_begin() {
    if !is_root() {
        return;
    }
    let (Some(mut fleet), Some(group)) = (Fleet::new(), Group::for_systemd()) else { return };
    let people = [(); 2].map(|()| Person::with_shell("/bin/bash"));
    let [plain, lingering] = &people;
    let wrapper = ["sh", SCRIPT, group.0.to_str().expect("text"), &lingering.name];
    let (address, port, home) = {
        let root = fleet.add("root", |sshd| sshd.line("UsePAM yes").wrapper(&wrapper));
        (root.sshd.address.clone(), root.sshd.port, root.home.clone())
    };
    let mut others = String::new();
    for (name, person) in [("plain", plain), ("lingering", lingering)] {
        let own = home.join(name);
        fs::create_dir(&own).expect("written");
        run(Command::new("chmod").arg("1777").arg(&own));
        let own = own.display();
        others += &format!(
            "[hosts.{name}]\naddress = {address:?}\nport = {port}\nuser = {:?}\nstate-dir = \"{own}/state\"\n\
             vars = {{ path = \"{own}\" }}\n",
            person.name
        );
    }
    fleet.write_inventory(&others);
    fleet.trust_all();
    fleet.write("playbooks/slow.toml", PLAYBOOK);
    let read = |host: &str, file: &str| {
        let folder = if host == "root" { home.clone() } else { home.join(host) };
        fs::read_to_string(folder.join(file)).unwrap_or_default()
    };

    // systemd here is one that does it: what a login leaves running ends with it, in whichever session it is.
    let left =
        format!("setsid sh -c 'echo $$ >{}/left; exec sleep 300' </dev/null >/dev/null 2>&1 & sleep 1", home.display());
    fleet.longshore(["exec", "lingering", "--", "sh", "-c", &left]).run().expect_code(0);
    assert!(!read("root", "left").is_empty());
    let is_left = || fleet.processes().iter().any(|process| process.contains("sleep 300"));
    wait_for("systemd did not end what the login left", || !is_left());

    let running = fleet.longshore(["apply", "slow", "--yes"]).start();
    wait_for("no step began", || ["root", "lingering"].iter().all(|host| read(host, "trace") == "begun\n"));
    running.signal(Signal::SIGKILL);
    drop(running.finish());
    wait_for("a step ended with its login", || {
        ["root", "lingering"].iter().all(|host| read(host, "trace") == "begun\nended\n")
    });
    for host in ["root", "lingering"] {
        let group = read(host, "group");
        assert!(group.contains(".scope") && !group.contains("session-"), "{host}: {group}");
    }
    let ran = fleet.longshore(["resume"]).run().expect_code(6).says("3 hosts: 2 done, 1 refused");
    assert_eq!(ran.row("lingering, root")[1], "done", "{ran}");
    assert_eq!(["root", "lingering"].map(|host| read(host, "trace")), ["begun\nended\n"; 2], "{ran}");
    // Without lingering there is no place for a step that may not run twice.
    assert_eq!(read("plain", "trace"), "", "{ran}");
    ran.says("systemd ends this user's processes at logout").says("loginctl enable-linger");
}
