//! What the profile `compose` promises, where only a stand-in for Docker can be made to break it.

use std::{fs, os::unix::fs::symlink, process::Command};

use crate::{
    command::flat,
    fleet::Fleet,
    google::{found, stand_in},
    sshd::skip,
};

#[test]
fn g_32_a_stop_after_which_a_container_still_runs_is_a_stop_that_failed() {
    if found("/usr/bin/python3").is_none() {
        return skip("there is no /usr/bin/python3");
    }
    let Some(fleet) = Fleet::new() else { return };
    let path = |name: &str| fleet.lab.path(name);
    fs::create_dir(path("bin")).expect("made");
    symlink(stand_in("docker"), path("bin/docker")).expect("linked");
    let mut inventory = String::from("[defaults]\nprofile = \"compose\"\n");
    // `deaf` says that it stopped, and goes on; of `half` one service is to be stopped, and the other goes on.
    for (name, tag, more) in [("shop", "1", ""), ("deaf", "2", ""), ("half", "1", ", stop-services = [\"web\"]")] {
        fs::create_dir(path(name)).expect("made");
        fs::write(path(name).join("docker-compose.yml"), "web registry.test/web\ndb registry.test/db\n")
            .expect("written");
        fs::write(path(name).join(".env"), format!("TAG={tag}\n")).expect("written");
        let mut up = Command::new(stand_in("docker"));
        let up =
            up.args(["compose", "up", "-d"]).current_dir(path(name)).env("DOCKER_STAND_IN", path("docker")).status();
        assert!(up.expect("it runs").success());
        let [folder, state] = [path(name), path(&format!("{name}-state"))].map(|path| path.display().to_string());
        inventory += &format!(
            "[hosts.{name}]\nvia = \"controller\"\nstate-dir = {state:?}\nvars = {{ path = {folder:?}, service = \"web\"{more} }}\n"
        );
    }
    fs::write(path("docker/faults"), "unstoppable 2\n").expect("written");
    fleet.write("inventory/fleet.toml", &inventory);
    let steps = "hosts = \"all\"\n[rollout.budget]\nfailed = 3\n[[steps]]\nname = \"Stop it\"\nverb = \"stop\"\n";
    fleet.write("playbooks/stop.toml", steps);
    let search = format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let call = fleet.longshore(["apply", "stop", "--yes"]).env("PATH", &search);
    let ran = call.env("DOCKER_STAND_IN", &path("docker").display().to_string()).run();
    assert!(flat(&ran.out).contains("still running: deaf-web-1 deaf-db-1"), "{ran}");
    assert_eq!((ran.row("shop, half")[1].as_str(), ran.row("deaf")[1].as_str()), ("done", "undone"), "{ran}");
    let state = fs::read_to_string(path("docker/state")).expect("a state");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    let containers = state["containers"].as_array().expect("containers").iter();
    let running = containers.filter(|one| one["Status"] == "running").map(|one| one["Name"].as_str().expect("a name"));
    assert_eq!(running.collect::<Vec<_>>(), ["deaf-web-1", "deaf-db-1", "half-db-1"], "{ran}");
}
