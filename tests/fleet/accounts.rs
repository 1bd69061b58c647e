//! Accounts and servers as one meets them: sudo with a password, other shells, one session, a forced command.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    fleet::Fleet,
    people::{PASSWORD, Person},
    sshd::{is_root, skip},
};

const AS_ROOT: &str = r#"
hosts = "all"

[[steps]]
name = "As root"
command = { run = "id -un >who-root", dir = "{{path}}" }
undo = { command = { run = "rm -f who-root", dir = "{{path}}" } }

[[steps]]
name = "Owned by root"
file = { to = "{{path}}/root.conf", content = "x\n", mode = "0600", owner = "root" }

[[steps]]
name = "As oneself"
become = "login"
command = { run = "id -un >who-login", dir = "{{path}}" }
undo = { command = { run = "rm -f who-login", dir = "{{path}}" } }

[[check]]
name = "Checked as root"
command = { run = "id -un", contains = "root" }
"#;

#[test]
fn steps_become_root_by_a_password_that_is_seen_nowhere() {
    if !is_root() {
        return;
    }
    if !Path::new("/usr/bin/sudo").exists() {
        return skip("there is no sudo");
    }
    let Some(mut fleet) = Fleet::new() else { return };
    let person = Person::with_shell("/bin/bash").sudoer("ALL=(ALL) ALL");
    let lines = format!(
        "user = \"{}\"\nbecome = {{ user = \"root\", password = {{ env = \"SUDO_PASSWORD\" }} }}\n",
        person.name
    );
    fleet.add("web-1", |sshd| sshd).lines = lines;
    fleet.write_inventory("");
    fleet.trust_all();
    fleet.write("playbooks/root.toml", AS_ROOT);
    let apply = |password: Option<&str>| {
        let call = fleet.longshore(["--output", "json", "apply", "root", "--yes"]);
        match password {
            Some(password) => call.env("SUDO_PASSWORD", password),
            None => call,
        }
        .run()
    };
    let home = fleet.host("web-1").home.clone();

    let ran = apply(None).expect_code(1);
    assert!(ran.out.contains("become.password") && !home.join("who-root").exists(), "{ran}");
    let ran = apply(Some("rm -rf /nonexistent")).expect_code(1);
    assert!(ran.out.contains("the password was refused") && !home.join("who-root").exists(), "{ran}");

    let ran = apply(Some(PASSWORD)).expect_code(0);
    assert_eq!(
        [fleet.read("web-1", "who-root"), fleet.read("web-1", "who-login")],
        ["root\n".to_owned(), format!("{}\n", person.name)]
    );
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(home.join("root.conf")).expect("written"));
    assert_eq!(owner, 0);
    assert!(!ran.out.contains("correct horse") && !ran.err.contains("correct horse"), "{ran}");

    // Ad hoc as well, and as oneself when asked for.
    let exec = |arguments: &[&'static str]| {
        fleet.longshore(arguments.iter().copied()).env("SUDO_PASSWORD", PASSWORD).run().expect_code(0).out
    };
    assert_eq!(exec(&["exec", "all", "--", "id", "-un"]), "root\n");
    assert_eq!(exec(&["exec", "all", "--become", "login", "--", "id", "-un"]), format!("{}\n", person.name));
    fleet.assert_nothing_runs();
}

const OF_TWO: &str = r#"
hosts = "all"

[[steps]]
name = "As root"
command = { run = "echo root >>trace", dir = "{{path}}" }
no-undo = "a line stays"

[[steps]]
name = "As oneself"
become = "login"
command = { run = "echo login >>trace-login", dir = "{{path}}" }
no-undo = "a line stays"

[[steps]]
name = "Take a while"
command = { run = "touch begun; n=0; until [ -e go ] || [ $n -gt 900 ]; do sleep 0.05; n=$((n + 1)); done; touch ended", dir = "{{path}}" }
no-undo = "there is nothing to take back"
"#;

#[test]
fn r35_unlock_takes_the_leases_of_all_users_of_a_dead_run_or_while_a_step_runs_none() {
    if !is_root() {
        return;
    }
    if !Path::new("/usr/bin/sudo").exists() {
        return skip("there is no sudo");
    }
    let Some(mut fleet) = Fleet::new() else { return };
    let person = Person::with_shell("/bin/bash").sudoer("ALL=(ALL) NOPASSWD: ALL");
    fleet.add("web-1", |sshd| sshd).lines = format!("user = \"{}\"\nbecome = {{ user = \"root\" }}\n", person.name);
    fleet.write_inventory("");
    fleet.trust_all();
    fleet.write("playbooks/of-two.toml", OF_TWO);
    let home = fleet.host("web-1").home.clone();
    let appears = |file: &str| {
        let until = Instant::now() + Duration::from_secs(30);
        while !home.join(file).exists() {
            assert!(Instant::now() < until, "`{file}` does not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // Whose lease it is, in the folders of both users.
    let leases = || -> Vec<String> {
        let of = |folder: &str| {
            let installs = fs::read_dir(home.join(folder)).into_iter().flatten().flatten();
            let lease = installs.map(|install| install.path().join("lease")).find(|lease| lease.exists());
            let text = fs::read_to_string(lease.expect("a lease was taken")).expect("readable");
            text.split(' ').next().expect("a run").to_owned()
        };
        [of("state"), of(".local/state/longshore")].to_vec()
    };

    let running = fleet.longshore(["apply", "of-two", "--yes"]).start();
    let until = Instant::now() + Duration::from_secs(20);
    while !home.join("begun").exists() {
        if Instant::now() > until {
            running.signal(nix::sys::signal::Signal::SIGINT);
            panic!("it does not begin: {}", running.finish());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.finish();
    let held = leases();
    assert!(held[0] != "-" && held[0] == held[1], "{held:?}");

    let unlock = || fleet.longshore(["unlock", "web-1", "--reason", "its laptop burnt"]).run();
    let ran =
        unlock().expect_code(6).tells("still runs on the host, so no lease was taken away").tells("asked as root");
    assert_eq!(leases(), held, "{ran}");

    fs::write(home.join("go"), "").expect("writable");
    appears("ended");
    let other = ["apply", "of-two", "--yes", "--limit", "web-1"];
    fleet
        .longshore(other)
        .run()
        .expect_code(6)
        .says("has this host")
        .says("`longshore unlock HOST --reason TEXT` takes the host earlier");
    let ran = unlock().expect_code(0).tells(&format!("the lease of run {} of ", held[0])).tells("was taken away");
    assert_eq!(leases(), ["-", "-"], "{ran}");
    fleet.longshore(["history"]).run().expect_code(0).says("its laptop burnt");
    unlock().expect_code(0).tells("nobody held a lease");
    fleet.longshore(other).run().expect_code(0);
    assert_eq!(
        [fleet.read("web-1", "trace"), fleet.read("web-1", "trace-login")],
        ["root\n".repeat(2), "login\n".repeat(2)]
    );
    fleet.assert_nothing_runs();
}

const MIXED: &str = r#"
hosts = "all"
rollout = { budget = { failed = 5 } }

[[steps]]
name = "Shell"
command = { run = "echo $0 >>trace; readlink /proc/$$/exe >shell", dir = "{{path}}" }
undo = { command = { run = "echo back >>trace", dir = "{{path}}" } }

[[steps]]
name = "Settings"
file = { to = "{{path}}/app.conf", content = "it's = \"{{host.name}}\" $HOME\n" }

[[steps]]
name = "Pin"
env = { file = "{{path}}/.env", create = true, set = { A = "b c", D = "it's" } }

[[steps]]
name = "Text"
script = { text = "printf '%s\\n' \"$1\" >said", args = ["a 'b' \"c\" $d"], dir = "{{path}}" }
undo = { command = { run = "rm -f said", dir = "{{path}}" } }

[[steps]]
name = "Look"
check = { command = { run = ["grep", "-q", "it's", "{{path}}/app.conf"] } }

[[check]]
name = "Alive"
command = "true"
"#;

#[test]
fn r31_any_shell_and_one_session_will_do_and_a_forced_command_is_told_plainly() {
    let Some(mut fleet) = Fleet::new() else { return };
    fleet.add("one-session", |sshd| sshd.line("MaxSessions 1"));
    let me = fleet.lab.public("me");
    fleet.add("forced", |sshd| sshd.authorized(&[&format!("command=\"echo only this\" {me}")]));
    let mut good = vec!["one-session"];
    let busybox_sh = fleet.lab.path("sh");
    let mut people = Vec::new();
    if is_root() {
        std::os::unix::fs::symlink("/bin/busybox", &busybox_sh).expect("a link");
        for (name, shell) in [
            ("dash", Path::new("/bin/dash")),
            ("busybox", &busybox_sh),
            ("noisy", Path::new("/bin/bash")),
            ("fish", Path::new("/usr/bin/fish")),
            ("tcsh", Path::new("/usr/bin/tcsh")),
            ("zsh", Path::new("/usr/bin/zsh")),
        ] {
            if !shell.exists() {
                skip(&format!("there is no {}", shell.display()));
                continue;
            }
            let person = Person::with_shell(shell.to_str().expect("text"));
            fleet.add(name, |sshd| sshd).lines = format!("user = \"{}\"", person.name);
            if name == "noisy" {
                let profile = fleet.host(name).home.join(".bashrc");
                fs::write(profile, "echo WELCOME; echo 'be good' >&2; printf 'no newline'\n").expect("written");
            }
            good.push(name);
            people.push(person);
        }
        // Here every `sh` is busybox's, those of our own programs included.
        let real = fs::canonicalize("/bin/sh").expect("a shell");
        let script = format!("mount --bind /bin/busybox {} && exec \"$@\"", real.display());
        let unshare = ["unshare", "-m", "/bin/bash", "-c", &script, "x"];
        let tried = std::process::Command::new(unshare[0]).args(&unshare[1..]).arg("true").output();
        if Path::new("/bin/busybox").exists() && tried.is_ok_and(|output| output.status.success()) {
            fleet.add("ash", |sshd| sshd.wrapper(&unshare));
            good.push("ash");
        } else {
            skip("no mount namespaces, or no busybox");
        }
    }
    fleet.write_inventory("");
    fleet.trust_all();
    fleet.write("playbooks/mixed.toml", MIXED);

    let ran = fleet.longshore(["apply", "mixed", "--yes"]).run().expect_code(1);
    let ran = ran.says(&format!("{} hosts: {} done, 1 failed", good.len() + 1, good.len()));
    assert_eq!(ran.row("forced")[1], "failed", "{ran}");
    let ran = ran.says("the host did not run the program").says("only this").says("no forced command");
    for name in &good {
        assert_eq!(fleet.read(name, "trace").lines().count(), 1, "{name}: {ran}");
        assert_eq!(fleet.read(name, "app.conf"), format!("it's = \"{name}\" $HOME\n"));
        assert_eq!(fleet.read(name, "said"), "a 'b' \"c\" $d\n");
        assert!(fleet.read(name, ".env").lines().count() == 2, "{}", fleet.read(name, ".env"));
        assert_eq!(fleet.assert_released(name), 1, "{name}");
    }
    if good.contains(&"ash") {
        assert!(fleet.read("ash", "shell").contains("busybox") || fleet.read("ash", "shell").contains("sh"), "{ran}");
    }
    // A second time there is nothing left to write; what may not run twice without harm says so by running.
    let hosts = good.join(":");
    let ran = fleet.longshore(["apply", "mixed", "--yes", "--limit", &hosts]).run().expect_code(0);
    assert!(good.iter().all(|name| fleet.read(name, "trace").lines().count() == 2), "{ran}");
    let ran = fleet.longshore(["check", &hosts, "--playbook", "mixed"]).run().expect_code(0);
    ran.says(&format!("{0} hosts: {0} green", good.len()));
    fleet.assert_nothing_runs();
}
