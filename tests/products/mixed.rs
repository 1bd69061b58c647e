//! One rollout over unlike hosts of several products: Docker Compose, systemd, Fly and Cloud Run in one inventory.

use std::{fs, os::unix::fs::symlink, process::Command};

use crate::{
    command::{Longshore, flat},
    control_group::Group,
    fleet::Fleet,
    fly::{self, Fly, TOKEN},
    google::{Gcloud, Google, stand_in},
    sshd::is_root,
};

/// What every product has in common: its profile knows the rest.
const ROLE: &str = r#"
about = "Whatever is installed there"

[vars]
# Whether the image or the archive is brought before it is switched to.
brings = false

[version]
verb = "version"

# None of these releases migrates.
[migration]
command = "echo 1"

[[upgrade]]
name = "Bring the release"
when = "brings"
verb = "fetch"

[[upgrade]]
name = "Write it down"
when = "brings"
verb = "pin"

[[upgrade]]
name = "Start the new release"
verb = "switch"
unprotected = "none of these releases touches data"
"#;

const PLAYBOOK: &str = r#"
name = "One release for all"
role = "any"
action = "upgrade"
hosts = "all"

[rollout]
canary = { hosts = ["shop"] }
waves = ["rest"]
at-once = 4
budget = { failed = 0 }
"#;

const UNIT: &str = "clock.service";
const SERVICES: [&str; 2] = ["model-service", "query-router"];

/// Four hosts: `shop` (Compose), `clock` (systemd, over SSH), `board` (Fly), `maps` (Cloud Run).
struct Mixed {
    fleet: Fleet,
    fly: Fly,
    google: Google,
    _group: Group,
}

impl Mixed {
    fn up() -> Option<Self> {
        if !is_root() {
            return None;
        }
        let google = Google::up(Gcloud::StandIn, &SERVICES)?;
        let group = Group::new()?;
        let mut fleet = Fleet::new()?;
        let path = |name: &str| fleet.lab.path(name);

        // A real unit of a real user manager.
        let home = path("clock");
        let words = [concat!(env!("CARGO_MANIFEST_DIR"), "/tests/products/systemd.sh"), &group.0.display().to_string()]
            .map(str::to_owned);
        let wrapper = ["sh", &words[0], &words[1], &home.display().to_string(), UNIT].map(str::to_owned);
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let clock = fleet.add("clock", |sshd| {
            for version in ["1.3.0", "1.3.1"] {
                let folder = home.join("srv/releases").join(version);
                fs::create_dir_all(&folder).expect("made");
                fs::write(folder.join("run"), format!("echo {version} >>../../ran\nexec sleep 1000\n"))
                    .expect("written");
            }
            symlink("releases/1.3.0", home.join("srv/current")).expect("linked");
            let units = home.join(".config/systemd/user");
            fs::create_dir_all(&units).expect("made");
            let folder = home.join("srv/current");
            let text = format!("[Service]\nWorkingDirectory={}\nExecStart=/bin/sh run\n", folder.display());
            fs::write(units.join(UNIT), text).expect("written");
            sshd.wrapper(&wrapper)
        });
        let srv = clock.home.join("srv").display().to_string();
        clock.lines = format!(
            "profile = \"systemd\"\nvars = {{ path = {srv:?}, unit = {UNIT:?}, scope = \"user\", brings = true, settle = 1 }}"
        );

        let fly = Fly::new(fleet.lab.path("fly"));
        let folder = fly.app("board", "1.3.0", &["1.3.0", "1.3.1"], &[]);
        fly::toml(&folder, "board", "", fly::MOUNTS);

        let shop = fleet.lab.path("shop");
        fs::create_dir_all(&shop).expect("made");
        fs::write(shop.join("docker-compose.yml"), "web registry.example.com/shop\n").expect("written");
        fs::write(shop.join(".env"), "TAG=1.3.0\n").expect("written");
        let bin = fleet.lab.path("fly").join("bin");
        symlink(stand_in("docker"), bin.join("docker")).expect("linked");
        let state = fleet.lab.path("docker");
        let mut up = Command::new(stand_in("docker"));
        let up = up.args(["compose", "up", "-d"]).current_dir(&shop).env("DOCKER_STAND_IN", state).status();
        assert!(up.expect("it runs").success());

        let at = |name: &str| fleet.lab.path(name).join("state").display().to_string();
        fs::create_dir_all(fleet.lab.path("maps")).expect("made");
        let others = format!(
            "[hosts.shop]\nprofile = \"compose\"\nvia = \"controller\"\nstate-dir = {:?}\n\
             vars = {{ path = {:?}, service = \"web\", brings = true }}\n\
             [hosts.board]\nprofile = \"fly\"\nstate-dir = {:?}\n[hosts.board.vars]\napp = \"board\"\n\
             image = \"registry.fly.io/board\"\npath = {:?}\nfly-token = {{ secret = {{ env = \"TOKEN\" }} }}\n\
             [hosts.maps]\nprofile = \"cloud-run\"\nstate-dir = {:?}\n[hosts.maps.vars]\nproject = \"acme\"\n\
             region = \"europe-west1\"\nrepository = \"registry.test/tessallite\"\nhealth-path = \"/api/health\"\n\
             health-within = 3\nservices = [\"model-service\", \"query-router\"]\n",
            at("shop"),
            shop.display().to_string(),
            at("fly/board"),
            folder.display().to_string(),
            at("maps"),
        );
        fleet.write_inventory(&others);
        fleet.trust_all();
        fleet.write("roles/any/role.toml", ROLE);
        fleet.write("roles/any/releases.toml", "release = [{ version = \"1.3.0\" }, { version = \"1.3.1\" }]\n");
        fleet.write("playbooks/all.toml", PLAYBOOK);
        Some(Self { fleet, fly, google, _group: group })
    }

    fn longshore<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Longshore {
        let mut call = self.fleet.longshore(arguments);
        let fly = self.fly.path();
        let fly = fly.split(':').next().expect("its folder").to_owned();
        for (name, value) in self.google.environment() {
            let value = if name == "PATH" { format!("{fly}:{value}") } else { value };
            call = call.env(name, &value);
        }
        call.env("TOKEN", TOKEN).env("DOCKER_STAND_IN", &self.fleet.lab.path("docker").to_string_lossy())
    }

    /// What runs, as each platform itself tells it.
    fn runs(&self) -> [String; 4] {
        let docker = fs::read_to_string(self.fleet.lab.path("docker/state")).expect("a state");
        let docker: serde_json::Value = serde_json::from_str(&docker).expect("JSON");
        let web = docker["containers"][0]["Image"].as_str().expect("an image").to_owned();
        let clock = self.fleet.read("clock", "srv/ran").lines().last().unwrap_or_default().to_owned();
        let maps = SERVICES.map(|service| self.google.serving(service)).concat();
        [web.rsplit_once(':').expect("a tag").1.to_owned(), clock, self.fly.runs("board"), maps]
    }
}

#[test]
fn unlike_hosts_of_several_products_are_in_one_check_one_rollout_and_one_rollback() {
    let Some(mixed) = Mixed::up() else { return };
    let before = ["1.3.0", "1.3.0", "1.3.0", "100 % 1.3.0;100 % 1.3.0;"].map(str::to_owned);
    assert_eq!(mixed.runs(), before);
    // The first look has nothing to compare the volumes of Fly with, and says so.
    let ran = mixed.longshore(["check", "all"]).run().expect_code(1);
    let ran = ran.says("board: unverified: The volumes are those of before: nothing was recorded to compare with");
    assert!(ran.out.contains("4 hosts: 3 green, 1 red"), "{ran}");
    let ran = mixed.longshore(["check", "all"]).run().expect_code(0);
    for host in ["shop", "clock", "board", "maps"] {
        assert!(ran.out.contains(host), "{ran}");
    }

    // A plan that is kept, and done exactly so. It says for each host what runs there and what it goes back to.
    let plan = mixed.fleet.project().join("plan.json").to_string_lossy().into_owned();
    let ran = mixed.longshore(["plan", "all", "--to", "1.3.1", "-o", &plan]).run().expect_code(0);
    let kept = fs::read_to_string(&plan).expect("a plan");
    let state = mixed.google.state();
    let revision =
        state["services"]["model-service"]["template"]["metadata"]["name"].as_str().expect("a name").to_owned();
    assert!(kept.contains(&format!("model-service={revision}")), "{ran}");
    assert!(kept.contains("registry.fly.io/board:1.3.0@sha256:"), "{ran}");
    assert!(!format!("{kept}{ran}").contains(TOKEN));
    let ran = mixed.longshore(["apply", &plan, "--yes"]).run().expect_code(0);
    for host in ["shop", "clock", "board", "maps"] {
        let row = ran.row(host);
        assert!(row.contains(&"done".to_owned()) && row.contains(&"1.3.0 → 1.3.1".to_owned()), "{ran}");
    }
    let after = ["1.3.1", "1.3.1", "1.3.1", "100 % 1.3.1;100 % 1.3.1;"].map(str::to_owned);
    assert_eq!(mixed.runs(), after, "{ran}");

    // Each goes back in the shape that is its own.
    let ran = mixed.longshore(["rollback", "last", "--yes"]).run().expect_code(0);
    for host in ["shop", "clock", "board", "maps"] {
        assert!(ran.out.contains(host), "{ran}");
    }
    let back = ["1.3.0", "1.3.0", "1.3.0", "100 % 1.3.0 pinned;100 % 1.3.0 pinned;"].map(str::to_owned);
    assert_eq!(mixed.runs(), back, "{ran}");
    let calls = mixed.fly.changes("board").join("\n");
    assert!(calls.contains("--skip-release-command"), "{calls}");

    // One that fails halts the run; the others of its wave come to their end, and it is taken back alone.
    mixed.fly.fault("board", "deploy");
    let ran = mixed.longshore(["apply", "all", "--to", "1.3.1", "--yes"]).run();
    assert_ne!(ran.code, Some(0), "{ran}");
    assert!(flat(&ran.out).contains("board"), "{ran}");
    assert_eq!(mixed.runs(), ["1.3.1", "1.3.1", "1.3.0", "100 % 1.3.1;100 % 1.3.1;"].map(str::to_owned), "{ran}");
}
