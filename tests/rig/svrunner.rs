//! `SVRunner` in Docker: real containers of a real Engine, its data in a folder of the host.

use std::{fs, path::PathBuf};

use crate::rig::{Rig, source};

const HOST: &str = "fovea-4";
const SERVER: &str = include_str!("../products/stand_ins/svrunner.py");
const COMPOSE: &str = "name: svrunner
services:
  app:
    image: registry:5000/svrunner:${SVRUNNER_TAG:?set SVRUNNER_TAG in .env}
    user: \"1000:1000\"
    working_dir: /app
    command: [\"python3\", \"server.py\", \"4000\", \"0.0.0.0\"]
    ports: [\"127.0.0.1:4000:4000\"]
    volumes: [\"./files:/app/files\", \"./.env:/app/.env:ro\"]
    stop_grace_period: 1s
";

/// Installs 2.0.0, with images of it and of 2.0.1, in the place of whatever is there.
fn installed(rig: &Rig) -> PathBuf {
    let root = rig.fleet().parent().expect("the rig").join("hosts").join(HOST).join("root");
    let place = root.join("srv/svrunner");
    rig.says(
        HOST,
        &["sh", "-c", "cd /srv/svrunner 2>/dev/null && docker compose down -t 1 >/dev/null 2>&1; rm -rf /srv/svrunner"],
    );
    for folder in ["files/assets/icons", "files/logs", "backups", "build"] {
        fs::create_dir_all(place.join(folder)).expect("made");
    }
    fs::write(place.join("files/assets/large.png"), "x".repeat(40_000)).expect("written");
    fs::write(place.join("files/assets/icons/one.png"), "x".repeat(700)).expect("written");
    fs::write(place.join("files/logs/server.log"), "begun\n").expect("written");
    fs::write(place.join("docker-compose.yml"), COMPOSE).expect("written");
    fs::write(place.join(".env"), "SVRUNNER_TAG=2.0.0\nDATABASE_FILE=files/local.db\n").expect("written");
    fs::write(place.join("build/server.py"), SERVER).expect("written");
    fs::write(place.join("build/behaviour.json"), "{}").expect("written");
    let dockerfile = "FROM svrunner-base\nCOPY behaviour.json /behaviour.json\nCOPY server.py release.json /app/\n";
    fs::write(place.join("build/Dockerfile"), dockerfile).expect("written");
    rig.says(
        HOST,
        &[
            "sh",
            "-ec",
            "cd /srv/svrunner
             sum=$(printf %s ada-password | sha256sum | cut -c 1-64)
             sqlite3 files/local.db \"pragma journal_mode = wal; pragma user_version = 1;
               create table screens (id integer primary key autoincrement, name text, changed text);
               create table users (name text, password text);
               insert into users values ('ada', '$sum'); insert into screens (name) values ('welcome')\"
             chown -R 1000:1000 .
             # The rig's own Python, without the volume of the product that it comes with.
             docker rm -f -v base >/dev/null 2>&1 || :
             docker create --name base registry:5000/fovea/backend:0.3.0 true
             docker export base | docker import -c 'ENV PYTHONUNBUFFERED=1' - svrunner-base
             docker rm -v base
             for version in 2.0.0 2.0.1; do
               echo \"{\\\"version\\\": \\\"$version\\\", \\\"schema\\\": 1}\" >build/release.json
               DOCKER_BUILDKIT=0 docker build -q --force-rm -t registry:5000/svrunner:$version build
               docker push -q registry:5000/svrunner:$version
             done
             setpriv --reuid deploy --regid deploy --init-groups env HOME=/home/deploy docker compose --progress quiet up -d </dev/null",
        ],
    );
    place
}

/// S-13, S-29 to S-32: what is mounted stays, is what the server sees, and whatever would change it is refused or taken back.
#[test]
fn s_13_s_29_s_30_s_31_s_32_s_42_s_47_a_container_keeps_its_mounts_through_an_upgrade_and_back() {
    let Some(rig) = Rig::with(&[HOST]) else { return };
    let place = installed(&rig);
    let project = rig.project(&[]);
    fs::create_dir(project.path("roles/svrunner")).expect("made");
    for file in ["inventory/svrunner-profiles.toml", "roles/svrunner/releases.toml", "roles/svrunner/role.toml"] {
        project.write(file, &fs::read_to_string(source().join(file)).expect("a document"));
    }
    // A careless step, where one is asked for, that brings another folder below the container.
    let role = fs::read_to_string(source().join("roles/svrunner/role.toml")).expect("the role");
    let start = "[[upgrade]]\nname = \"Start the new release\"";
    let careless = "[[upgrade]]\nname = \"A careless step\"\nwhen = \"careless\"\n\
        command = { run = \"cp -a files other && sed -i 's|./files:|./other:|' docker-compose.yml\", dir = \"{{path}}\" }\n\
        undo = { command = { run = \"sed -i 's|./other:|./files:|' docker-compose.yml; rm -rf other\", dir = \"{{path}}\" } }\n\n";
    assert!(role.contains(start) && role.contains("session-key = \"\"\n"));
    let role = role.replace(start, &format!("{careless}{start}")).replace("for = \"30s\"", "for = \"10s\"");
    project.write(
        "roles/svrunner/role.toml",
        &role.replace("session-key = \"\"\n", "session-key = \"\"\ncareless = false\n"),
    );
    project.write(
        "playbooks/svrunner.toml",
        "role = \"svrunner\"\naction = \"upgrade\"\nhosts = \"fovea-4\"\nto = \"2.0.1\"\n",
    );
    project.inventory(&[(HOST, "", "cpu")], "");
    let inventory = fs::read_to_string(project.path("inventory/rig.toml")).expect("written");
    let own = "profile = \"svrunner-docker\"\nvars = { path = \"/srv/svrunner\", data = \"/srv/svrunner/files\", \
        env-file = \"/srv/svrunner/.env\", backups = \"/srv/svrunner/backups\", address = \"http://localhost:4000\" }";
    let write = |more: &str| {
        let own = own.replace("vars = { ", &format!("vars = {{ {more}"));
        project.write("inventory/rig.toml", &inventory.replace("profile = \"fovea\"", &own));
    };
    let apply = || project.longshore(["apply", "svrunner", "--yes"]).run();
    // Image and mounts, these in one order: the Engine's own differs from call to call.
    let container = || {
        let format = "{{.Config.Image}} {{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}};{{end}}";
        let said = rig.says(HOST, &["docker", "inspect", "-f", format, "svrunner-app-1"]);
        let (image, mounts) = said.split_once(' ').expect("an image and mounts");
        let mut mounts: Vec<_> = mounts.split(';').collect();
        mounts.sort_unstable();
        format!("{image} {}", mounts.join(";"))
    };
    let before = container();
    assert!(before.starts_with("registry:5000/svrunner:2.0.0 "), "{before}");

    // A compose file that was changed beforehand is found out before anything is touched.
    rig.says(HOST, &["sed", "-i", "s|./files:|./elsewhere:|", "/srv/svrunner/docker-compose.yml"]);
    write("");
    let ran = apply().expect_code(1);
    assert_eq!(ran.row(HOST)[1], "parked", "{ran}");
    let ran = ran.says("the compose file mounts /srv/svrunner/elsewhere at /app/files, not /srv/svrunner/files");
    assert_eq!(container(), before, "{ran}");
    rig.says(HOST, &["sed", "-i", "s|./elsewhere:|./files:|", "/srv/svrunner/docker-compose.yml"]);

    // One that changes on the way: the new container works, on other files. It is taken back.
    write("careless = true, ");
    let ran = apply().expect_code(1);
    assert_eq!(ran.row(HOST)[1], "undone", "{ran}");
    let ran = ran.says("bind /srv/svrunner/other /app/files");
    assert_eq!(container(), before, "{ran}");
    assert_eq!(
        fs::read_to_string(place.join(".env")).expect("there"),
        "SVRUNNER_TAG=2.0.0\nDATABASE_FILE=files/local.db\n"
    );

    // The good one: another image, the same mounts, the same file inside and outside.
    write("");
    let ran = apply().expect_code(0);
    let now = container();
    assert!(now.starts_with("registry:5000/svrunner:2.0.1 "), "{now}: {ran}");
    assert_eq!(
        now.split_once(' ').map(|(_, mounts)| mounts),
        before.split_once(' ').map(|(_, mounts)| mounts),
        "{ran}"
    );
    let told = project.longshore(["history", "show", "last", "--host", HOST]).run().expect_code(0);
    told.says("The server sees the files of the host: pass")
        .says("config: changed SVRUNNER_TAG")
        .says("compose: nothing was recorded before");

    // The finished upgrade goes back by its image alone: what was done since stays, in the same mounts.
    let sql = |query: &str| rig.says(HOST, &["sqlite3", "/srv/svrunner/files/local.db", query]);
    sql("insert into screens (name) values ('of today')");
    let ran = project.longshore(["rollback", "last", "--yes"]).run().expect_code(0);
    assert_eq!(container(), before, "{ran}");
    assert_eq!(sql("select group_concat(name) from screens"), "welcome,of today", "{ran}");
    project.longshore(["check", HOST, "--role", "svrunner"]).run().expect_code(0);

    // What an operator changed in the compose file for it is recorded by name, and not by value.
    fs::write(place.join("docker-compose.yml"), format!("{COMPOSE}    environment: {{ GREETING: good-day-9c2f }}\n"))
        .expect("written");
    apply().expect_code(0);
    let told = project.longshore(["history", "show", "last", "--host", HOST]).run().expect_code(0);
    let told = told.says("compose: services.app.environment.GREETING").says("config: changed SVRUNNER_TAG");
    assert!(!told.out.contains("good-day-9c2f") && !project.kept().contains("good-day-9c2f"), "{told}");
    rig.says(HOST, &["sh", "-c", "cd /srv/svrunner && docker compose down -t 1 >/dev/null 2>&1; rm -rf /srv/svrunner"]);
}
