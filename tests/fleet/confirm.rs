//! Steps that may lock the controller out: they stand when it comes back, and are taken back by the host otherwise.

use std::{fs, path::PathBuf};

use longshore::{event::Happening, model::HostOutcome};

use crate::fleet::Fleet;

const PLAYBOOK: &str = r#"
hosts = "all"

[rollout]
at-once = 4

[rollout.budget]
failed = 3

[[steps]]
name = "Before"
command = { run = "echo before >>trace", dir = "{{path}}", unless = "[ -e first ]" }
undo = { command = { run = "echo before-undone >>trace", dir = "{{path}}" } }

[[steps]]
name = "Close the door"
confirm-within = "8s"
command = { run = "echo close >>trace; : >shut; if [ -e cut ]; then mv {{keys}} {{keys}}.away; fi", dir = "{{path}}" }
undo = { command = { run = "if [ -e cut ]; then mv {{keys}}.away {{keys}}; fi; rm -f shut; echo opened >>trace", dir = "{{path}}" } }

[[steps]]
name = "After"
command = { run = "echo after >>trace", dir = "{{path}}" }
no-undo = "a line more or less"

[[check]]
name = "The host is well"
command = { run = "! { [ -e shut ] && [ -e ill ]; }", dir = "{{path}}" }
"#;

/// The file with the keys that a host's sshd lets in.
fn keys(fleet: &Fleet, port: u16) -> PathBuf {
    let end = format!("-{port}-authorized");
    let files = fs::read_dir(fleet.lab.path("")).expect("the lab's folder").flatten().map(|entry| entry.path());
    files.into_iter().find(|file| file.to_string_lossy().ends_with(&end)).expect("the sshd has one")
}

#[test]
fn a_step_that_locks_the_controller_out_is_taken_back_by_the_host_itself() {
    let Some(mut fleet) = Fleet::new() else { return };
    for name in ["good", "cut", "ill", "first"] {
        fleet.add(name, |sshd| sshd);
    }
    for index in 0..4 {
        let keys = keys(&fleet, fleet.hosts[index].sshd.port);
        let host = &mut fleet.hosts[index];
        fs::write(host.home.join("trace"), "").expect("written");
        fs::write(host.home.join(&host.name), "").expect("written");
        // Ill, too, and nothing was done there before.
        if host.name == "first" {
            fs::write(host.home.join("ill"), "").expect("written");
        }
        host.lines = format!("vars = {{ path = \"{}\", keys = \"{}\" }}\n", host.home.display(), keys.display());
    }
    fleet.write_inventory("");
    fleet.trust_all();
    fleet.write("playbooks/door.toml", PLAYBOOK);
    fleet.longshore(["plan", "door"]).run().expect_code(0).says("by the host itself unless confirmed within 8s");
    let ran = fleet.longshore(["--output", "json", "apply", "door", "--yes"]).run().expect_code(1);

    assert_eq!(fleet.read("good", "trace"), "before\nclose\nafter\n");
    // Neither came to the last step, and the door was opened once: by the host, before the rest was taken back.
    for name in ["cut", "ill"] {
        assert_eq!(fleet.read(name, "trace"), "before\nclose\nopened\nbefore-undone\n", "{name}");
    }
    assert_eq!(fleet.read("first", "trace"), "close\nopened\n");
    let state = ran.state();
    let outcome =
        |name: &str| state.hosts.iter().find(|(host, _)| host.as_str() == name).and_then(|(_, host)| host.outcome);
    assert_eq!(outcome("good"), Some(HostOutcome::Done));
    assert_eq!(outcome("cut"), Some(HostOutcome::Undone));
    assert_eq!(outcome("ill"), Some(HostOutcome::Undone));
    assert_eq!(outcome("first"), Some(HostOutcome::Undone), "the host took back all that was done");
    for (name, why) in [("cut", "refused user"), ("ill", "The host is well")] {
        let failure = ran
            .happened(name)
            .into_iter()
            .find_map(|what| if let Happening::HostFinished { failure, .. } = what { failure } else { None })
            .expect("it failed");
        let said = format!("{failure:?}");
        for part in ["it was not confirmed within 8s", "the host took it back by itself", why] {
            assert!(said.contains(part), "{name}: {said}");
        }
    }
    for name in ["good", "cut", "ill", "first"] {
        fleet.assert_released(name);
    }
    fleet.assert_nothing_runs();
}

#[test]
fn a_controller_that_dies_before_it_confirms_finds_the_step_taken_back() {
    let Some(mut fleet) = Fleet::of(1) else { return };
    let keys = keys(&fleet, fleet.hosts[0].sshd.port);
    let host = &mut fleet.hosts[0];
    fs::write(host.home.join("trace"), "").expect("written");
    fs::write(host.home.join("ill"), "").expect("written");
    host.lines = format!("vars = {{ path = \"{}\", keys = \"{}\" }}\n", host.home.display(), keys.display());
    fleet.write_inventory("");
    fleet.write("playbooks/door.toml", PLAYBOOK);
    let running = fleet.longshore(["apply", "door", "--yes"]).start();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !fleet.read("web-01", "trace").contains("close") {
        assert!(std::time::Instant::now() < until, "the step never began");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running.signal(nix::sys::signal::Signal::SIGKILL);
    drop(running);
    // Nobody is there, and yet the host takes it back.
    while !fleet.read("web-01", "trace").contains("opened") {
        assert!(std::time::Instant::now() < until, "the host never took it back");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    fleet.longshore(["resume"]).run().expect_code(1);
    assert_eq!(fleet.read("web-01", "trace"), "before\nclose\nopened\nbefore-undone\n");
    fleet.assert_released("web-01");
    fleet.assert_nothing_runs();
}
