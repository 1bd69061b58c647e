//! Hosts that restart, on purpose and never twice: each is a machine of its own as far as namespaces go.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use longshore::{event::Happening, model::HostOutcome};
use nix::sys::signal::Signal;

use crate::{
    command::Ran,
    fleet::Fleet,
    sshd::{is_root, skip},
};

const BOOT: &str = r#"#!/bin/sh
# Boots with the words given as its first process: all that it starts dies with it.
up=$(cut -d. -f1 /proc/uptime)
exec unshare --mount --pid --mount-proc --time --boottime $((20 - up)) --monotonic $((20 - up)) --fork --kill-child \
  sh -c 'mount --bind "$0/boot-id" /proc/sys/kernel/random/boot_id || exit
    [ ! -d "$0/bin" ] || { mount --bind "$0/bin" /usr/local/bin && /usr/local/bin/cron & }
    exec "$@"' "${0%/*}" "$@"
"#;

/// Hosts that can be restarted: processes, boot id and uptime are their own.
struct Machines {
    fleet: Fleet,
    boots: u32,
}

impl Machines {
    /// Starts them; `None` where this machine cannot.
    fn of(names: &[&str]) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let able = std::process::Command::new("unshare")
            .args(["--mount", "--pid", "--mount-proc", "--time", "--boottime", "0", "--fork", "true"])
            .status();
        if !able.is_ok_and(|status| status.success()) {
            skip("no time namespaces here");
            return None;
        }
        let mut machines = Self { fleet: Fleet::new()?, boots: 0 };
        for name in names {
            let boot = machines.folder(name).join("boot");
            fs::create_dir(machines.folder(name)).expect("a folder");
            fs::write(&boot, BOOT).expect("written");
            fs::set_permissions(&boot, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
            machines.next_boot(name);
            machines.fleet.add(name, |sshd| sshd.wrapper(&[&boot.display().to_string()]));
            fs::write(machines.home(name).join(name), "").expect("written");
        }
        machines.fleet.write_inventory("");
        machines.fleet.trust_all();
        Some(machines)
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.fleet.lab.path(&format!("{name}-machine"))
    }

    /// Gives a host a small cron, which it starts whenever it comes up.
    fn install_cron(&mut self, name: &str) {
        let folder = self.folder(name).join("bin");
        fs::create_dir(&folder).expect("a folder");
        let crontab = include_str!("../durable/cron/crontab");
        for (file, text) in [("crontab", crontab), ("cron", include_str!("../durable/cron/cron"))] {
            fs::write(folder.join(file), text).expect("written");
            fs::set_permissions(folder.join(file), std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .expect("a mode");
        }
        self.goes_down(name);
        self.comes_up(name);
    }

    /// Asserts that the host starts nothing of ours any more.
    fn assert_unhooked(&self, name: &str) {
        let table = fs::read_to_string(self.folder(name).join("bin/tab")).unwrap_or_default();
        assert_eq!(table, "", "{name}");
    }

    fn home(&self, name: &str) -> PathBuf {
        self.fleet.host(name).home.clone()
    }

    fn next_boot(&mut self, name: &str) {
        self.boots += 1;
        let id = format!("00000000-0000-4000-8000-{:012}\n", self.boots);
        fs::write(self.folder(name).join("boot-id"), id).expect("written");
    }

    /// Ends all that runs on it.
    fn goes_down(&mut self, name: &str) {
        self.fleet.hosts.iter_mut().find(|host| host.name == name).expect("a host").sshd.stop();
    }

    fn comes_up(&mut self, name: &str) {
        self.next_boot(name);
        self.fleet.hosts.iter_mut().find(|host| host.name == name).expect("a host").sshd.start_again();
    }

    /// Waits until a line is in the host's trace.
    fn wait_for(&self, name: &str, line: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.fleet.read(name, "trace").contains(line) {
            assert!(Instant::now() < until, "`{line}` never happens on {name}: {}", self.fleet.read(name, "trace"));
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

const PLAYBOOK: &str = r#"
hosts = "all"

[rollout]
at-once = 3

[rollout.budget]
failed = 3
unreachable = 3

[[steps]]
name = "Before"
command = { run = "echo before >>trace", dir = "{{path}}" }
undo = { command = { run = "echo before-undone >>trace", dir = "{{path}}" } }

[[steps]]
name = "Restart"
timeout = "TIMEOUT"
reboot = { only-if = "test ! -e {{path}}/well", command = "echo order >>{{path}}/trace" }

[[steps]]
name = "After"
command = { run = "echo after >>trace", dir = "{{path}}" }
undo = { command = { run = "echo after-undone >>trace", dir = "{{path}}" } }
"#;

fn outcome(ran: &Ran, name: &str) -> Option<HostOutcome> {
    let state = ran.state();
    state.hosts.iter().find(|(host, _)| host.as_str() == name).and_then(|(_, host)| host.outcome)
}

#[test]
fn r18_a_restart_is_done_with_a_new_boot_id_alone_and_the_run_goes_on_behind_it() {
    let Some(mut machines) = Machines::of(&["good", "stays", "well"]) else { return };
    machines.fleet.write("playbooks/kernel.toml", &PLAYBOOK.replace("TIMEOUT", "12s"));
    let ran = machines.fleet.longshore(["plan", "kernel"]).run().expect_code(0);
    // A restart is the one order of which it is known whether it was obeyed.
    ran.says("leave them in doubt: `After` and `Before`");
    let running = machines.fleet.longshore(["--output", "json", "apply", "kernel", "--yes"]).start();
    machines.wait_for("good", "order");
    machines.wait_for("stays", "order");
    // One restarts; the other loses its link and all that runs on it, which is no restart.
    machines.goes_down("good");
    let stays = machines.fleet.hosts.iter_mut().find(|host| host.name == "stays").expect("a host");
    stays.sshd.stop();
    stays.sshd.start_again();
    std::thread::sleep(Duration::from_secs(2));
    machines.comes_up("good");
    let ran = running.finish().expect_code(1);

    let fleet = &machines.fleet;
    assert_eq!(fleet.read("good", "trace"), "before\norder\nafter\n", "{ran}");
    assert_eq!(fleet.read("stays", "trace"), "before\norder\nbefore-undone\n", "{ran}");
    assert_eq!(fleet.read("well", "trace"), "before\nafter\n", "{ran}");
    let outcomes = ["good", "stays", "well"].map(|name| outcome(&ran, name));
    assert_eq!(outcomes, [Some(HostOutcome::Done), Some(HostOutcome::Undone), Some(HostOutcome::Done)], "{ran}");
    let failure = ran.happened("stays").into_iter().find_map(|what| match what {
        Happening::HostFinished { failure, .. } => failure,
        _ => None,
    });
    let said = format!("{failure:?}");
    for part in ["step `Restart` failed", "the host did not restart in time", "boot id", "retry --failed"] {
        assert!(said.contains(part), "{said}");
    }
    let before = ran.happened("good").into_iter().find_map(|what| match what {
        Happening::StepFinished { receipt, .. } => receipt.get("boot-id-before").map(str::to_owned),
        _ => None,
    });
    assert_eq!(before.as_deref(), Some("00000000-0000-4000-8000-000000000001"), "{ran}");
    for name in ["good", "stays", "well"] {
        fleet.assert_released(name);
    }
    fleet.assert_nothing_runs();
}

#[test]
fn r18_a_controller_that_dies_while_the_host_restarts_does_not_restart_it_again() {
    let Some(mut machines) = Machines::of(&["web-01"]) else { return };
    machines.fleet.write("playbooks/kernel.toml", &PLAYBOOK.replace("TIMEOUT", "60s"));
    for dies_after in ["order", "down", "up"] {
        fs::remove_file(machines.home("web-01").join("trace")).ok();
        let running = machines.fleet.longshore(["apply", "kernel", "--yes"]).start();
        machines.wait_for("web-01", "order");
        if dies_after == "down" {
            machines.goes_down("web-01");
        }
        if dies_after == "up" {
            running.signal(Signal::SIGSTOP);
            machines.goes_down("web-01");
            machines.comes_up("web-01");
        }
        running.signal(Signal::SIGKILL);
        drop(running);
        if dies_after == "order" {
            machines.goes_down("web-01");
        }
        if dies_after != "up" {
            machines.comes_up("web-01");
        }
        machines.fleet.longshore(["resume"]).run().expect_code(0);
        assert_eq!(machines.fleet.read("web-01", "trace"), "before\norder\nafter\n", "{dies_after}");
        machines.fleet.assert_released("web-01");
    }
    machines.fleet.assert_nothing_runs();
}

#[test]
fn r18_a_host_that_does_not_come_back_in_time_is_unreachable_and_goes_on_once_it_is_there() {
    let Some(mut machines) = Machines::of(&["web-01"]) else { return };
    machines.fleet.write("playbooks/kernel.toml", &PLAYBOOK.replace("TIMEOUT", "5s"));
    let running = machines.fleet.longshore(["apply", "kernel", "--yes"]).start();
    machines.wait_for("web-01", "order");
    machines.goes_down("web-01");
    let ran = running.finish();
    assert!(ran.took < Duration::from_secs(45), "{ran}");
    let ran = ran.says("was told to restart and could not be reached again within 5s");
    let ran = ran.says("look at its console").says("retry --unreached");
    assert_eq!(ran.row("web-01")[1], "unreachable", "{ran}");
    // Still away: nothing else is believed of it.
    let ran = machines.fleet.longshore(["retry", "--unreached"]).run();
    assert_eq!(ran.row("web-01")[1], "unreachable", "{ran}");
    machines.comes_up("web-01");
    machines.fleet.longshore(["retry", "--unreached"]).run().expect_code(0);
    assert_eq!(machines.fleet.read("web-01", "trace"), "before\norder\nafter\n");
    machines.fleet.assert_released("web-01");
    machines.fleet.assert_nothing_runs();
}

#[test]
fn r18_a_host_that_restarts_after_its_time_is_not_restarted_again_by_a_retry() {
    let Some(mut machines) = Machines::of(&["web-01"]) else { return };
    // Nothing of it is taken back, so that the run keeps what it knows.
    let playbook = PLAYBOOK.replace("TIMEOUT", "2s") + "\n[on-failure]\nbefore-data = \"hold\"\n";
    machines.fleet.write("playbooks/kernel.toml", &playbook);
    let ran = machines.fleet.longshore(["apply", "kernel", "--yes"]).run();
    let ran = ran.says("the host did not restart in time");
    assert_eq!(machines.fleet.read("web-01", "trace"), "before\norder\n", "{ran}");
    machines.goes_down("web-01");
    machines.comes_up("web-01");
    machines.fleet.longshore(["retry", "--held"]).run().expect_code(0);
    assert_eq!(machines.fleet.read("web-01", "trace"), "before\norder\nafter\n");
}

const CONFIRMED: &str = r#"
hosts = "all"

[rollout]
at-once = 3

[rollout.budget]
failed = 3

[[steps]]
name = "Before"
command = { run = "echo before >>trace", dir = "{{path}}" }
undo = { command = { run = "echo before-undone >>trace", dir = "{{path}}" } }

[[steps]]
name = "Restart into the new kernel"
timeout = "60s"
confirm-within = "8s"
reboot = { command = "echo order >>{{path}}/trace" }
undo = { command = { run = "rm -f ill; echo old-kernel >>trace", dir = "{{path}}" } }

[[steps]]
name = "After"
command = { run = "echo after >>trace", dir = "{{path}}" }
no-undo = "a line more or less"

[[check]]
name = "The host is well"
command = { run = "! { [ -e ill ] && grep -q order trace; }", dir = "{{path}}" }
"#;

fn why(ran: &Ran, name: &str) -> String {
    let failure = ran.happened(name).into_iter().find_map(|what| match what {
        Happening::HostFinished { failure, .. } => failure,
        _ => None,
    });
    format!("{failure:?}")
}

#[test]
fn r18_a_host_that_is_not_well_after_its_restart_takes_itself_back() {
    let Some(mut machines) = Machines::of(&["good", "ill", "bare"]) else { return };
    for name in ["good", "ill"] {
        machines.install_cron(name);
        fs::write(machines.home(name).join("trace"), "").expect("written");
    }
    machines.fleet.write("playbooks/kernel.toml", CONFIRMED);
    let running = machines.fleet.longshore(["--output", "json", "apply", "kernel", "--yes"]).start();
    for name in ["good", "ill"] {
        machines.wait_for(name, "order");
        machines.goes_down(name);
        machines.comes_up(name);
    }
    let ran = running.finish();
    let fleet = &machines.fleet;
    assert_eq!(fleet.read("good", "trace"), "before\norder\nafter\n", "{ran}");
    assert_eq!(fleet.read("ill", "trace"), "before\norder\nold-kernel\nbefore-undone\n", "{ran}");
    // Nothing starts when this one comes up: it is not touched.
    assert_eq!(fleet.read("bare", "trace"), "", "{ran}");
    let outcomes = ["good", "ill", "bare"].map(|name| outcome(&ran, name));
    let wanted = [HostOutcome::Done, HostOutcome::Undone, HostOutcome::Refused].map(Some);
    assert_eq!(outcomes, wanted, "{ran}");
    for part in ["it was not confirmed within 8s", "The host is well", "the host took it back by itself"] {
        assert!(why(&ran, "ill").contains(part), "{}", why(&ran, "ill"));
    }
    for part in ["back by itself after its restart", "no cron runs", "nothing was begun", "enable-linger"] {
        assert!(why(&ran, "bare").contains(part), "{}", why(&ran, "bare"));
    }
    for name in ["good", "ill"] {
        machines.assert_unhooked(name);
        machines.fleet.assert_released(name);
    }
    machines.fleet.assert_nothing_runs();
}

#[test]
fn r18_a_host_that_nobody_finds_after_its_restart_takes_itself_back_alone() {
    let Some(mut machines) = Machines::of(&["web-01"]) else { return };
    machines.install_cron("web-01");
    machines.fleet.write("playbooks/kernel.toml", CONFIRMED);
    let running = machines.fleet.longshore(["apply", "kernel", "--yes"]).start();
    machines.wait_for("web-01", "order");
    running.signal(Signal::SIGKILL);
    drop(running);
    machines.goes_down("web-01");
    // Longer than it would have had.
    std::thread::sleep(Duration::from_secs(10));
    let up = Instant::now();
    machines.comes_up("web-01");
    machines.wait_for("web-01", "old-kernel");
    assert!(up.elapsed() >= Duration::from_secs(8), "taken back after {:?}", up.elapsed());
    let ran = machines.fleet.longshore(["resume"]).run().expect_code(1);
    assert_eq!(machines.fleet.read("web-01", "trace"), "before\norder\nold-kernel\nbefore-undone\n", "{ran}");
    machines.assert_unhooked("web-01");
    machines.fleet.assert_released("web-01");
    machines.fleet.assert_nothing_runs();
}
