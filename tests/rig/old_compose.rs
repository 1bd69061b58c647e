//! The older program `docker-compose` 1.29 does what the profile `compose` asks of it, where it is installed.

use crate::{
    command::Ran,
    rig::{Project, Rig},
};

const COMPOSE: &str = r#"version: "2.4"
services:
  web:
    image: registry:5000/fovea/model-service:${TAG}
    restart: unless-stopped
    stop_grace_period: 1s
"#;

const PROFILE: &str = r#"
[profiles.old]
extends = "compose"
[profiles.old.vars]
service = "web"
compose-program = ["docker-compose"]
"#;

const ROLE: &str = r#"
about = "A service under docker-compose 1.29"
[requires]
path = "folder of the compose file"
[[upgrade]]
verb = "fetch"
[[upgrade]]
verb = "pin"
[[upgrade]]
verb = "switch"
[[upgrade]]
name = "It is well"
health = true
[[upgrade]]
name = "Nobody says otherwise"
effect = "read"
command = "test ! -e {{path}}/otherwise"
[[actions.restart]]
verb = "stop"
[[actions.restart]]
verb = "start"
"#;

#[test]
fn t_09_docker_compose_1_29_is_upgraded_with_taken_back_and_restarted_and_a_service_that_is_down_is_found_out() {
    let Some(rig) = Rig::with(&["fovea-4"]) else { return };
    if !rig.host("fovea-4", &["sh", "-c", "docker-compose version --short | grep -q '^1[.]'"]).status.success() {
        eprintln!("SKIPPED: docker-compose 1.x is not installed (Debian 12: docker-compose)");
        return;
    }
    let at = |script: &str| rig.says("fovea-4", &["sh", "-ec", &format!("cd /srv/old\n{script}")]);
    rig.says("fovea-4", &["sh", "-ec", "rm -rf /srv/old; mkdir /srv/old"]);
    at(&format!("cat >docker-compose.yml <<'END'\n{COMPOSE}END\necho TAG=0.3.0 >.env; chown -R 1000:1000 ."));
    at("docker-compose up -d 2>&1");
    let project = rig.project(&[("fovea-4", "0.3.0", "cpu")]);
    project.write("inventory/old.toml", PROFILE);
    project.change("inventory/rig.toml", "profile = \"fovea\"", "profile = \"old\"");
    project.change("inventory/rig.toml", "path = \"/srv/fovea\"", "path = \"/srv/old\"");
    std::fs::create_dir(project.path("roles/old")).expect("made");
    project.write("roles/old/role.toml", ROLE);
    let releases = ["0.3.0", "0.3.1", "0.3.2"].map(|version| format!("[[release]]\nversion = \"{version}\"\n"));
    project.write("roles/old/releases.toml", &releases.concat());
    project.write("playbooks/old.toml", "role = \"old\"\naction = \"upgrade\"\nhosts = \"fovea-4\"\n");
    project.write("playbooks/restart.toml", "role = \"old\"\naction = \"restart\"\nhosts = \"fovea-4\"\n");
    let running = || at("docker ps --filter label=com.docker.compose.project=old --format '{{.Image}}'");
    let to = |project: &Project<'_>, version: &str| -> Ran {
        project.longshore(["apply", "old", "--to", version, "--yes"]).run()
    };

    to(&project, "0.3.1").expect_code(0);
    assert_eq!((running().as_str(), at("cat .env").as_str()), ("registry:5000/fovea/model-service:0.3.1", "TAG=0.3.1"));
    // What fails is taken back, to the image and the tag of before.
    at("touch otherwise");
    let ran = to(&project, "0.3.2").expect_code(1);
    assert_eq!(ran.row("fovea-4")[1], "undone", "{ran}");
    assert_eq!((running().as_str(), at("cat .env").as_str()), ("registry:5000/fovea/model-service:0.3.1", "TAG=0.3.1"));
    // A variable that nobody sets is an error before anything is fetched.
    at("rm otherwise; sed -i 's/stop_grace_period: 1s/stop_grace_period: 1s\\n    hostname: $WHO/' docker-compose.yml");
    let ran = to(&project, "0.3.2");
    assert_eq!(ran.code, Some(1), "{ran}");
    ran.says("WHO");
    at("sed -i '/hostname/d' docker-compose.yml");
    project.longshore(["apply", "restart", "--yes"]).run().expect_code(0);
    project.longshore(["check", "fovea-4", "--role", "old"]).run().expect_code(0);
    assert_eq!(running(), "registry:5000/fovea/model-service:0.3.1");
    // A service that is down is no good one, however it ended, and the text of `ps` is not asked.
    let check = || project.longshore(["check", "fovea-4", "--role", "old"]).run();
    at("docker-compose kill 2>&1");
    check().expect_code(1).says("/old_web_1 exited 137");
    // Nor is one that ended well, as long as it is none that is to end.
    at(
        "sed -i 's|restart: unless-stopped|restart: unless-stopped\\n    command: [\"true\"]|' docker-compose.yml; docker-compose up -d --no-deps 2>&1; docker-compose stop -t 1 2>&1",
    );
    check().expect_code(1).says("/old_web_1 exited 0");
    at("sed -i 's|restart: unless-stopped|restart: \"no\"|' docker-compose.yml; docker-compose up -d 2>&1; sleep 1");
    check().expect_code(0);
    at("docker-compose down -t 1 2>&1");
    rig.says("fovea-4", &["rm", "-rf", "/srv/old"]);
}
